//! Rows that say the same, but for case and white space.

use super::{Cluster, Fingerprint, alike};
use crate::{Action, Doc, Family};

/// `exact-duplicate`.
pub static DOC: Doc = Doc {
    name: "exact-duplicate",
    family: Family::Duplicate,
    summary: "the row says the same as another one",
    why: "A row that stands there twice counts twice, is memorized sooner, and tells nothing new. If one of the two \
          is held out, the evaluation measures memory.",
    what: "All texts of the row with their roles, compared by SHA-256 after lower-casing, joining white space and Unicode \
           composition (NFC). Numbers, punctuation and accents count: in `2 + 3` and `2 - 3` they are the point. Of the rows \
           of a cluster one that its file holds out stays before others, then the one with the most bytes to learn; among \
           equals, the one with the least content id.",
    default: Action::Drop,
    params: &[],
};

/// Clusters of equal rows.
pub fn clusters(prints: &[Fingerprint]) -> Vec<Cluster> {
    alike(prints, |print| Some(print.exact))
        .iter()
        .filter_map(|group| Cluster::around_the_kept(group))
        .collect()
}
