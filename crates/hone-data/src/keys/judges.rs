//! Keys that judge a row or say whether it is trained on, by the words of their names.
//!
//! Nobody can list all names that people give to a verdict (`is_good`, `reviewVerdict`, `flagged`) or to a mask
//! (`no_train`, `loss_on`), and a bad row that is trained on is the worst that can become of one. So a key that is not known and whose
//! name has such a word is taken at its word where its value says no.

use serde_json::Value;

use super::truth;
use crate::read::words;

/// Words that say that a row is bad.
pub(super) const BAD: &[&str] = &[
    "bad",
    "rejected",
    "reject",
    "undesirable",
    "negative",
    "incorrect",
    "wrong",
    "no",
    "dislike",
    "disliked",
    "unhelpful",
    "fail",
    "failed",
    "thumbs_down",
    "down",
    "downvote",
    "declined",
    "unapproved",
    "invalid",
    "deleted",
    "removed",
    "discarded",
    "spam",
];

/// Words of [`BAD`] that say so under a key of any name.
const BAD_ANYWHERE: &[&str] = &[
    "bad",
    "rejected",
    "reject",
    "undesirable",
    "incorrect",
    "wrong",
    "dislike",
    "disliked",
    "unhelpful",
    "thumbs_down",
    "downvote",
    "unapproved",
    "discarded",
];

/// Words in the names of keys by which a row is good if they say yes.
const GOOD_NAMES: &[&str] = &[
    "good",
    "desirable",
    "preferred",
    "preference",
    "chosen",
    "verdict",
    "judgement",
    "judgment",
    "decision",
    "approved",
    "accepted",
    "acceptable",
    "correct",
    "correctness",
    "valid",
    "helpful",
    "helpfulness",
    "usable",
    "passed",
    "keep",
    "quality",
    "thumbs",
    "vote",
];

/// Words in the names of keys by which a row is bad if they say yes.
const BAD_NAMES: &[&str] = &[
    "bad",
    "undesirable",
    "rejected",
    "incorrect",
    "invalid",
    "wrong",
    "unhelpful",
    "unusable",
    "flagged",
    "spam",
    "discard",
    "discarded",
    "excluded",
    "skipped",
    "ignored",
    "removed",
];

/// Words in the names of keys that say whether something is trained on.
const TRAINING_NAMES: &[&str] = &[
    "train",
    "trained",
    "training",
    "trainable",
    "loss",
    "mask",
    "masked",
    "masks",
    "supervise",
    "supervised",
    "weight",
];

/// Does a value judge a row as bad: no, 0, a negative number, or a word that says so?
pub(super) fn is_bad(value: &Value) -> bool {
    match value {
        Value::Bool(is_good) => !is_good,
        Value::Number(number) => number.as_f64().is_some_and(|number| number <= 0.0),
        Value::String(text) => {
            let number = text.trim().parse::<f64>();
            BAD.contains(&word_of(text).as_str())
                || truth(value) == Some(false)
                || number.is_ok_and(|number| number <= 0.0)
        }
        Value::Array(items) => items.iter().any(is_bad),
        _ => false,
    }
}

fn word_of(text: &str) -> String {
    text.trim().to_lowercase().replace([' ', '-'], "_")
}

/// Why a key that is not known may say that its row or turn is not to be trained on, if its name and value can be read so.
pub(super) fn may_forbid(key: &str, value: &Value) -> Option<&'static str> {
    let names = words(key);
    let has = |list: &[&str]| names.iter().any(|word| list.contains(&word.as_str()));
    let is_yes =
        || truth(value) == Some(true) || value.as_str().is_some_and(|text| word_of(text) == "yes");
    let is_bad_word = || {
        let word = value.as_str().map(word_of);
        word.is_some_and(|word| BAD_ANYWHERE.contains(&word.as_str()))
    };
    let is_measure = || match value {
        Value::Bool(_) => true,
        Value::Number(number) => number
            .as_f64()
            .is_some_and(|number| (0.0..=1.0).contains(&number)),
        Value::Array(items) => items
            .iter()
            .all(|item| item.is_boolean() || item.is_number()),
        _ => false,
    };
    if has(TRAINING_NAMES) && is_measure() {
        Some(
            "is a key that Hone does not know, and it may say what is trained on; write `weight`: 0 or 1 for that",
        )
    } else if is_bad_word() || has(GOOD_NAMES) && is_bad(value) || has(BAD_NAMES) && is_yes() {
        Some(
            "is a key that Hone does not know, and it may say that this is bad and not to be trained on",
        )
    } else {
        None
    }
}
