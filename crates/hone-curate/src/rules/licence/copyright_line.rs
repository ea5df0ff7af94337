//! Copyright notices.

use std::sync::LazyLock;

use regex::Regex;

use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "copyright-line",
    family: Family::Licence,
    summary: "a copyright notice names an owner",
    why: "Somebody claims the text. A model should not learn to write other people's notices under its own replies.",
    what: "`Copyright`, `©` or `(c)` with a year, to the end of the owner's name.",
    default: Action::Report,
    params: &[],
};

static NOTICE: LazyLock<Regex> = LazyLock::new(|| {
    let year = r"(?:19|20)[0-9]{2}";
    let years = format!(r"{year}(?:\s*(?:[-–,]|to)\s*(?:{year}|[0-9]{{2}}\b|present))*");
    let mark = r"(?:(?i:copyright)\s*(?:\([cC]\)|©|&copy;)?|©|\([cC]\)|&copy;)";
    let pattern = format!(
        r"{mark}\s*(?:by\s+)?(?:{years},?(?:[ \t]+(?:by[ \t]+)?\p{{Lu}}[^\n.,;<(]*)?|\p{{Lu}}[^\n.;<(0-9]{{1,60}}{years})"
    );
    Regex::new(&pattern).expect("a fixed pattern")
});

/// See [`DOC`].
pub struct CopyrightLine;

impl Rule for CopyrightLine {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            let bare = |at: usize| part.text[at..].starts_with(['(', '©']);
            for found in NOTICE.find_iter(part.text) {
                let named = found.as_str().trim_end().ends_with(char::is_alphabetic);
                let span = found.start()..found.start() + found.as_str().trim_end().len();
                if named || !bare(span.start) || found.as_str().starts_with('©') {
                    hits.push(Hit::at(part.place, span, "a copyright notice"));
                }
            }
        }
    }
}
