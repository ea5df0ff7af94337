//! Words of strangers in messages: whatever a file or a template says, a message stays one line.

/// What was said, in one line and without control characters.
pub(crate) fn tame(said: &str) -> String {
    let tame = |c: char| if c.is_control() { ' ' } else { c };
    said.chars().map(tame).collect()
}
