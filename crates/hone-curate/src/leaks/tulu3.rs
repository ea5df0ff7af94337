//! Half of a prompt in 8-grams, as Tülu 3's data was checked.

use super::{Overlap, Texts};
use crate::text::Numbers;
use crate::{Action, Doc, Family, Param};

/// `tulu3-8`.
pub static DOC: Doc = Doc {
    name: "tulu3-8",
    family: Family::Leak,
    summary: "more than half of an evaluation prompt stands in the row's prompt",
    why: "Prompts are reused with other replies, shortened and embedded; a share of covered words finds those without a \
          finding for every quotation.",
    what: "Version 1. Lambert et al. 2024, section 3.2 and `open-instruct`: a word of the evaluation prompt matches if it lies \
           in an 8-gram shared with the same training prompt; the row leaks if more than `coverage` of the words match. Only \
           what users say is compared, and texts that are trained on whole. Differences: words are those between spaces, without \
           spaCy; and the search is exact, where the original asks Elasticsearch for the first hundred. `common-rows`, which discounts the template of a \
           task, is not part of the source.",
    default: Action::Report,
    params: &[
        Param {
            name: "coverage",
            what: "share of the prompt's words that must be exceeded, 0 to 1; 0.5",
        },
        Param {
            name: "common-rows",
            what: "what more training rows or more evaluation rows than this share is their template and not compared; 10, 0 for never",
        },
    ],
};

/// The rule.
pub const RULE: Overlap = Overlap {
    name: "tulu3-8",
    version: 1,
    ngram: 8,
    numbers: Numbers::Kept,
    texts: Texts::Asked,
    common_rows: Some(10),
    coverage: 0.5,
};
