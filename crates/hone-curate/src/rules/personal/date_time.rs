//! Days, years and times.

use std::sync::LazyLock;

use regex::Regex;

use super::dates::days;
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "date-time",
    family: Family::PersonalData,
    summary: "a day, a year or a time",
    why: "HIPAA's Safe Harbor (45 CFR 164.514) counts every element of a date finer than a year as identifying in medical records. Elsewhere dates are seldom personal, so this rule is off unless asked for.",
    what: "Days in numbers or with the month's name, with a time of day where one follows (score 0.8); names of weekdays (0.6); years from 1900 to 2049 that stand alone (0.5). A threshold of 0.55 leaves years, as Safe Harbor does. Label `DATE`.",
    default: Action::Off,
    params: &[sighting::THRESHOLD],
};

static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?:T|,? (?:at )?)[0-2]?[0-9]:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?: ?[AaPp]\.?[Mm]\.?|Z)?").expect("the pattern is valid")
});

static LOOSE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)(?:(?i-u:mon|tues|wednes|thurs|fri|satur|sun)day|(?:19[0-9]{2}|20[0-4][0-9]))(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    for span in days(view) {
        let time = TIME.find(&text[span.end..]).map_or(0, |time| time.end());
        seen.push(Sighting::new(span.start..span.end + time, "DATE", "a day").scored(0.8));
    }
    for found in LOOSE.find_iter(text) {
        let year = found.as_str().starts_with(['1', '2']);
        let (alone, message) = if year {
            (0.5, "a year")
        } else {
            (0.6, "a day of the week")
        };
        if !year || stands_alone(text, found.start(), found.end()) {
            seen.push(Sighting::new(found.range(), "DATE", message).scored(alone));
        }
    }
}

/// Is this number not joined to others, as in an amount, an extension or a telephone number?
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let joins = |c: u8| b"-./:_+#$%@&=".contains(&c);
    let bytes = text.as_bytes();
    let before = &bytes[..start];
    let after = &bytes[end..];
    let numbered = |c: &u8| c.is_ascii_digit();
    let joined_before =
        before.last().is_some_and(|&c| joins(c)) || matches!(before, [.., c, b' '] if numbered(c));
    let joined_after = matches!(after, [c, next, ..] if joins(*c) && next.is_ascii_alphanumeric())
        || matches!(after, [b' ', next, ..] if numbered(next));
    !joined_before && !joined_after
}
