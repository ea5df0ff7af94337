//! Text that harms.

use crate::{Check, Entry};

mod assistant_self;
mod harmful_text;
mod harmful_words;
mod known_words;
mod network;
mod refusal;
mod replies;
mod wordings;

/// The family's rules.
pub const RULES: &[Entry] = &[
    Entry {
        doc: &harmful_words::DOC,
        check: Check::Row(harmful_words::rule),
    },
    Entry {
        doc: &harmful_text::DOC,
        check: Check::Row(harmful_text::rule),
    },
    Entry {
        doc: &refusal::DOC,
        check: Check::Row(|_| Ok(Box::new(refusal::Refusal))),
    },
    Entry {
        doc: &assistant_self::DOC,
        check: Check::Row(|_| Ok(Box::new(assistant_self::AssistantSelf))),
    },
];
