//! Texts of licences that ask for little.

use super::texts::{self, Kind};
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "licence-text",
    family: Family::Licence,
    summary: "the text of a permissive licence, whole or in part",
    why: "Most of these licences want their notice kept, and a model that learned a hundred copies of one recites it.",
    what: "Sentences that only one licence has: MIT, Apache-2.0, BSD, ISC, Zlib, MPL-2.0, EPL-2.0, BSL-1.0, Unlicense, CC0, CC-BY and CC-BY-SA, wrapped and framed by comment marks as in headers of files. Licences that restrict more are `restrictive-licence`.",
    default: Action::Report,
    params: &[],
};

/// See [`DOC`].
pub struct LicenceText;

impl Rule for LicenceText {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            let found = texts::find(part.text, Kind::Permissive).into_iter();
            hits.extend(found.map(|found| {
                Hit::at(
                    part.place,
                    found.span,
                    format!("text of the licence {}", found.spdx),
                )
            }));
        }
    }
}
