//! Evaluation rows that are also trained on.
//!
//! ```text
//! evaluation rows ─Index::new→ Index;  training rows ─note→ rows worth a second look ─leaks→ Leak
//! ```
//!
//! The index holds every n-gram of every evaluation row: there is no sample and no first hundred. Training rows
//! stream past it twice, the second time only those that share something, once it is known what so many rows share
//! that it proves nothing: the template of a task is found by the number of rows that have it, and overlap is counted
//! on the rest. Each rule is named after its source and keeps to it; where
//! it cannot, its page says so.

use std::ops::Range;

use hone_data::Place;
use serde::Serialize;

use crate::{BadParam, Check, Entry, Params};

mod datatrove;
mod gpt3;
mod index;
mod overlap;
pub(crate) mod prompt;
mod reading;
mod reworded;
mod template;
mod trained;
mod tulu3;

pub(crate) use index::related;
pub use index::{Index, find};
pub use overlap::Overlap;
pub use reading::Texts;
pub use trained::TrainedPrompts;

/// The family's rules.
pub const RULES: &[Entry] = &[
    Entry {
        doc: &prompt::DOC,
        check: Check::Dataset(|_| Ok(())),
    },
    Entry {
        doc: &reworded::DOC,
        check: Check::Dataset(|params| reworded::take(params).map(drop)),
    },
    Entry {
        doc: &gpt3::DOC,
        check: Check::Dataset(|params| gpt3::RULE.take(params).map(drop)),
    },
    Entry {
        doc: &tulu3::DOC,
        check: Check::Dataset(|params| tulu3::RULE.take(params).map(drop)),
    },
    Entry {
        doc: &datatrove::DOC,
        check: Check::Dataset(|params| datatrove::RULE.take(params).map(drop)),
    },
];

/// The rules to look by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeakOptions {
    /// Whether `prompt-exact` is asked.
    pub prompt_exact: bool,
    /// The least share of a reworded prompt's words, where `reworded-prompt` is asked.
    pub reworded: Option<f64>,
    /// The rules about shared n-grams.
    pub overlaps: Vec<Overlap>,
    /// What more evaluation rows than this have, or more training rows, is their template.
    pub template_rows: usize,
}

/// What more rows than this have is their template, as GPT-3's cleaning has it for training rows.
const TEMPLATE_ROWS: usize = 10;

impl LeakOptions {
    /// All rules, as their sources have them.
    pub fn all() -> Self {
        Self {
            prompt_exact: true,
            reworded: Some(reworded::SHARE),
            overlaps: vec![gpt3::RULE, tulu3::RULE, datatrove::RULE],
            template_rows: TEMPLATE_ROWS,
        }
    }

    /// No rule yet.
    pub fn none() -> Self {
        Self {
            prompt_exact: false,
            reworded: None,
            overlaps: Vec::new(),
            template_rows: TEMPLATE_ROWS,
        }
    }

    /// Is there no rule?
    pub fn is_none(&self) -> bool {
        !self.prompt_exact && self.reworded.is_none() && self.overlaps.is_empty()
    }

    /// The rules as they are for rows of one set, whatever two sides are made of it: what many rows of a side share, up to
    /// twice as many of the set do, and shares of words move with what counts.
    fn of_one_set(&self) -> Self {
        let overlap = |rule: &Overlap| Overlap {
            common_rows: rule.common_rows.map(|rows| 2 * rows),
            coverage: rule.coverage / 2.0,
            ..rule.clone()
        };
        Self {
            prompt_exact: false,
            reworded: self.reworded.map(|share| 0.85 * share),
            overlaps: self.overlaps.iter().map(overlap).collect(),
            template_rows: 2 * self.template_rows,
        }
    }

    /// Adds a rule by its name, with what the recipe says; false if the name is no rule about leaks.
    pub fn add(&mut self, name: &str, params: &mut Params) -> Result<bool, BadParam> {
        if name == prompt::DOC.name {
            self.prompt_exact = true;
            return Ok(true);
        }
        if name == reworded::DOC.name {
            self.reworded = Some(reworded::take(params)?);
            return Ok(true);
        }
        let rule = Self::all()
            .overlaps
            .into_iter()
            .find(|rule| rule.name == name);
        let Some(rule) = rule else { return Ok(false) };
        self.overlaps.push(rule.take(params)?);
        Ok(true)
    }
}

/// Is this a rule about shared n-grams?
pub fn counts_ngrams(rule: &str) -> bool {
    LeakOptions::all()
        .overlaps
        .iter()
        .any(|overlap| overlap.name == rule)
}

/// A training row that shares text with an evaluation row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leak {
    /// The rule's name.
    pub rule: &'static str,
    /// The training row.
    pub row: usize,
    /// The evaluation row with the most in common; among equals the first.
    pub evaluation: usize,
    /// How many more evaluation rows the rule finds in this training row.
    pub others: usize,
    /// Which text of the training row.
    #[serde(serialize_with = "as_text")]
    pub place: Place,
    /// The longest stretch there that both share, in bytes.
    pub span: Range<usize>,
    /// How much of the evaluation text is in the training row: words within shared n-grams, over all words.
    pub coverage: f64,
}

fn as_text<S: serde::Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}
