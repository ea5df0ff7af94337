//! Words of strangers in messages: whatever a file says, a message stays one line and moves no cursor.

use std::fmt::Display;

use serde_json::Value;

/// The most that is repeated of what a file says.
const MOST_CHARS: usize = 2000;

/// What a file says, its control characters and those that turn the direction of text written as escapes.
pub(crate) fn one_line(said: impl Display) -> String {
    let said = said.to_string();
    let mut line = String::with_capacity(said.len().min(MOST_CHARS));
    for (at, c) in said.chars().enumerate() {
        if at == MOST_CHARS {
            line.push('…');
            break;
        }
        match is_unruly(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

/// The first key or text in some JSON that is not one line.
pub(crate) fn unruly_text(json: &Value) -> Option<&str> {
    let unruly = |text: &str| text.contains(is_unruly);
    match json {
        Value::String(text) => Some(text.as_str()).filter(|text| unruly(text)),
        Value::Array(items) => items.iter().find_map(unruly_text),
        Value::Object(entries) => entries.iter().find_map(|(key, value)| {
            let key = Some(key.as_str()).filter(|key| unruly(key));
            key.or_else(|| unruly_text(value))
        }),
        _ => None,
    }
}

/// Whether a character ends a line, steers a terminal, or turns the direction of what follows.
pub(crate) fn is_unruly(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_written_as_an_escape() {
        assert_eq!(one_line("grüß `x`"), "grüß `x`");
        assert_eq!(
            one_line("a\nb\x1b[2J\u{85}\u{202e}c"),
            r"a\nb\u{1b}[2J\u{85}\u{202e}c"
        );
        let long = one_line("x".repeat(1 << 20));
        assert_eq!(long.chars().count(), MOST_CHARS + 1);
    }
}
