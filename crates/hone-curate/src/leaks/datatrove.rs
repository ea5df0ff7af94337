//! Twelve words in a row, as datatrove's filter looks for them.

use super::{Overlap, Texts};
use crate::text::Numbers;
use crate::{Action, Doc, Family, Param};

/// `datatrove-12`.
pub static DOC: Doc = Doc {
    name: "datatrove-12",
    family: Family::Leak,
    summary: "the row shares 12 words in a row with an evaluation row, numbers aside",
    why: "The strictest of the usual rules: numbers are folded, so that a benchmark with changed figures is found as well. It \
          also finds quotations and forms, so it reports and does not stop a build.",
    what: "Version 1. `NGramsDecontFilter` of datatrove 0.10.1: `simplify_text` (numbers to 0), 12-grams, any collision. \
           Differences: all n-grams of the evaluation row count, also those of its prompt alone (there an option), and words \
           are those between spaces, without spaCy. `common-rows`, which discounts the template of a task, is not part of the source.",
    default: Action::Report,
    params: &[Param {
        name: "common-rows",
        what: "what more training rows or more evaluation rows than this share is their template and not compared; 10, 0 for never",
    }],
};

/// The rule.
pub const RULE: Overlap = Overlap {
    name: "datatrove-12",
    version: 1,
    ngram: 12,
    numbers: Numbers::Zero,
    texts: Texts::All,
    common_rows: Some(10),
    coverage: 0.0,
};
