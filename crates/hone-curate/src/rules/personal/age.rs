//! Ages of people.

use std::sync::LazyLock;

use regex::Regex;

use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "age",
    family: Family::PersonalData,
    summary: "a person's age",
    why: "Beside a place and an occupation, an age narrows a person down; HIPAA's Safe Harbor counts ages over 89 as identifying. Alone it says little, so this rule is off unless asked for.",
    what: "A number up to 120 in a turn of phrase that tells an age: *aged 45*, *45 years old*, *a 45-year-old*, *turned 45*, *at the age of 45*, *I'm 45*. The stretch is the number. Label `AGE`.",
    default: Action::Off,
    params: &[sighting::THRESHOLD],
};

static TOLD: LazyLock<Regex> = LazyLock::new(|| {
    let age = "(1[01][0-9]|120|[1-9]?[0-9])";
    let after = r"(?:[ -](?:years?|yrs?|months?)[ -]olds?|[ -]?y/?o|[ -]y\.o\.)(?-u:\b)";
    let before =
        r"(?:aged|ages?|age of|age:|age is|turned|turns|turn|turning|alter(?: von)?:?|edad:?)";
    let being =
        r"(?:i['’]m|i am|(?:s?he) (?:is|was)|(?:s?he)['’]s|when (?:i|s?he|they) (?:was|were))";
    let pattern = format!(
        r"(?i)(?-u:\b)(?:{age}{after}|{before} {age}(?-u:\b)|{being} {age}(?:(?:\.?\s|[,;!?)]|\.$|$)))"
    );
    Regex::new(&pattern).expect("the pattern is valid")
});

/// Words after the number that make it a measure of something else.
const MEASURES: &[&str] = &[
    "%", "percent", "minutes", "hours", "days", "weeks", "km", "miles", "meters", "metres",
    "times", "of", "degrees", "feet", "points",
];

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    for found in TOLD.captures_iter(text) {
        let age = found
            .iter()
            .skip(1)
            .flatten()
            .next()
            .expect("one alternative took part");
        let rest = text[age.end()..].trim_start();
        let measure = MEASURES.iter().any(|word| rest.starts_with(word));
        seen.extend(
            (!measure).then(|| Sighting::new(age.range(), "AGE", "a person's age").scored(0.6)),
        );
    }
}
