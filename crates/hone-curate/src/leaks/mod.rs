//! Evaluation rows that are also learnt.
//!
//! ```text
//! evaluation rows ─Index::new→ Index;  training rows ─note→ rows worth a second look ─leaks→ Leak
//! ```
//!
//! The index holds every n-gram of every evaluation row: there is no sample and no first hundred. Training rows
//! stream past it twice, the second time only those that share something, once it is known which n-grams so
//! many training rows share that they prove nothing. Each rule is named after its source and keeps to it; where
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
mod tulu3;

pub use index::{Index, find};
pub use overlap::{Overlap, Texts};

/// The name of the rule about equal prompts.
pub const PROMPT_EXACT: &str = prompt::DOC.name;

/// The family's rules.
pub const RULES: &[Entry] = &[
    Entry {
        doc: &prompt::DOC,
        check: Check::Dataset(|_| Ok(())),
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
    /// The rules about shared n-grams.
    pub overlaps: Vec<Overlap>,
}

impl LeakOptions {
    /// All rules, as their sources have them.
    pub fn all() -> Self {
        Self {
            prompt_exact: true,
            overlaps: vec![gpt3::RULE, tulu3::RULE, datatrove::RULE],
        }
    }

    /// No rule yet.
    pub fn none() -> Self {
        Self {
            prompt_exact: false,
            overlaps: Vec::new(),
        }
    }

    /// Adds a rule by its name, with what the recipe says; false if the name is no rule about leaks.
    pub fn add(&mut self, name: &str, params: &mut Params) -> Result<bool, BadParam> {
        if name == prompt::DOC.name {
            self.prompt_exact = true;
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
