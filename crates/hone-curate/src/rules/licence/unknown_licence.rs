//! Licences that are declared and not known.

use super::terms;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "unknown-licence",
    family: Family::Licence,
    summary: "the row is declared under a licence that Hone does not know",
    why: "What it allows is not known here, so nobody is asked and nobody is told that it is fine: look it up once.",
    what: "The `licence` or `license` of a row, of its source in the recipe, or of the card of its dataset, where it is neither in the table of `restrictive-licence` nor an SPDX expression of such.",
    default: Action::Report,
    params: &[],
};

/// See [`DOC`].
pub struct UnknownLicence;

impl Rule for UnknownLicence {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let Some(declared) = &row.record.licence else {
            return;
        };
        if terms::of_row(declared).is_none() {
            hits.push(Hit::of_row(format!(
                "declared under the licence {declared}, which is not known"
            )));
        }
    }
}
