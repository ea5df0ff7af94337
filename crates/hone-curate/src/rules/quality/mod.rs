//! How much there is to learn from it.

use crate::{Check, Entry};

mod c4_debris;
mod gopher_quality;
mod gopher_repetition;
mod language;
mod low_alpha;
mod prompt_overlap;
mod repeated_sentence;
mod reply_language;
mod reply_length;
mod small_words;

pub use language::{LanguageDetector, called};

/// The family's rules.
pub const RULES: &[Entry] = &[
    Entry {
        doc: &gopher_repetition::DOC,
        check: Check::Row(gopher_repetition::rule),
    },
    Entry {
        doc: &gopher_quality::DOC,
        check: Check::Row(gopher_quality::rule),
    },
    Entry {
        doc: &c4_debris::DOC,
        check: Check::Row(|_| Ok(Box::new(c4_debris::C4Debris::default()))),
    },
    Entry {
        doc: &low_alpha::DOC,
        check: Check::Row(low_alpha::rule),
    },
    Entry {
        doc: &repeated_sentence::DOC,
        check: Check::Row(repeated_sentence::rule),
    },
    Entry {
        doc: &prompt_overlap::DOC,
        check: Check::Row(prompt_overlap::rule),
    },
    Entry {
        doc: &reply_length::DOC,
        check: Check::Row(reply_length::rule),
    },
    Entry {
        doc: &language::DOC,
        check: Check::Row(language::rule),
    },
    Entry {
        doc: &reply_language::DOC,
        check: Check::Row(reply_language::rule),
    },
];
