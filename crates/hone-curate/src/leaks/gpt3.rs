//! Thirteen words in a row, as GPT-3's training data was cleaned.

use super::{Overlap, Texts};
use crate::text::Numbers;
use crate::{Action, Doc, Family, Param};

/// `gpt3-13`.
pub static DOC: Doc = Doc {
    name: "gpt3-13",
    family: Family::Leak,
    summary: "the row shares 13 words in a row with an evaluation row",
    why: "A score on rows that were trained on measures memory. Thirteen words in a row are seldom chance, and less of it is \
          removed than by shorter runs.",
    what: "Version 1. Brown et al. 2020, appendix C: words in lower case without punctuation, 13-grams, any collision; \
           13-grams found in more than `common-rows` training rows are ignored, since a template or a citation proves nothing; nor do \
           those in more than so many evaluation rows, and those that are mostly words of such runs of five. \
           Differences: the whole row is the finding, where GPT-3 cuts out 200 characters around the collision; punctuation \
           parts words instead of vanishing; system turns are left out. Evaluation rows shorter than 13 words cannot be found; \
           how many there are is reported.",
    default: Action::Ask,
    params: &[Param {
        name: "common-rows",
        what: "what more training rows or more evaluation rows than this share is their template and not compared; 10, 0 for never",
    }],
};

/// The rule.
pub const RULE: Overlap = Overlap {
    name: "gpt3-13",
    version: 1,
    ngram: 13,
    numbers: Numbers::Kept,
    texts: Texts::All,
    common_rows: Some(10),
    coverage: 0.0,
};
