//! Licence identifiers in headers.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "spdx-header",
    family: Family::Licence,
    summary: "a header names the text's licence by its SPDX identifier",
    why: "The header says under which terms the text may be used; the recipe can write it on the row.",
    what: "`SPDX-License-Identifier:` with the expression that follows (SPDX 2.3, annex E).",
    default: Action::Report,
    params: &[],
};

static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    let id = r"[A-Za-z0-9][A-Za-z0-9.+:-]*";
    let pattern = format!(
        r"SPDX-License-Identifier:[ \t]*(\(?{id}(?:\)?[ \t]+(?:AND|OR|WITH)[ \t]+\(?{id})*\)*)"
    );
    Regex::new(&pattern).expect("a fixed pattern")
});

/// See [`DOC`].
pub struct SpdxHeader;

/// Each header with its expression.
pub fn find(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    HEADER.captures_iter(text).map(|found| {
        let id = found.get(1).expect("the pattern has one group").as_str();
        (found.get(0).expect("the match itself").range(), id)
    })
}

impl Rule for SpdxHeader {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            let found = find(part.text);
            hits.extend(
                found
                    .map(|(span, id)| Hit::at(part.place, span, format!("under the licence {id}"))),
            );
        }
    }
}
