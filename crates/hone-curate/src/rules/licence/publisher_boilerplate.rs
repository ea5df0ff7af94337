//! Traces of published works.

use crate::rules::phrases::Phrases;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "publisher-boilerplate",
    family: Family::Licence,
    summary: "the text carries traces of a published work",
    why: "An imprint, a reprint notice or a takedown notice says that the text was somebody's product. Its source should be known before a model learns it.",
    what: "`Reproduced with permission` and its like, `first published in`, library catalogue and takedown notices, and ISBNs with a valid check digit.",
    default: Action::Report,
    params: &[],
};

const PHRASES: &[&str] = &[
    "reproduced with permission",
    "reprinted with permission",
    "reproduced by permission",
    "reprinted by permission",
    "used by permission of the publisher",
    "library of congress cataloging",
    "cataloguing in publication",
    "cataloguing-in-publication",
    "dmca notice",
    "dmca takedown",
    "digital millennium copyright act notice",
    "first published in great britain",
    "first published in the united states",
    "this is a work of fiction. names",
];

/// See [`DOC`].
pub struct PublisherBoilerplate(Phrases);

impl Default for PublisherBoilerplate {
    fn default() -> Self {
        Self(Phrases::new(&[PHRASES, &["isbn"]].concat()))
    }
}

impl Rule for PublisherBoilerplate {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            for span in self.0.find(part.text) {
                if !part.text[span.clone()].eq_ignore_ascii_case("isbn") {
                    hits.push(Hit::at(part.place, span, "boilerplate of a published work"));
                } else if let Some(end) = isbn(&part.text[span.end..]) {
                    let span = span.start..span.end + end;
                    hits.push(Hit::at(part.place, span, "the number of a published book"));
                }
            }
        }
    }
}

/// Bytes up to and with the number that follows the letters `ISBN`, if it is one.
fn isbn(after: &str) -> Option<usize> {
    let gap = after.len()
        - after
            .trim_start_matches("-13")
            .trim_start_matches("-10")
            .trim_start_matches([':', ' '])
            .len();
    let number = &after[gap..];
    let length = number
        .find(|c: char| !c.is_ascii_digit() && !"-– Xx".contains(c))
        .unwrap_or(number.len());
    let number = number[..length].trim_end_matches([' ', '-', '–']);
    let digits: Vec<u32> = number
        .chars()
        .filter_map(|c| {
            if matches!(c, 'X' | 'x') {
                Some(10)
            } else {
                c.to_digit(10)
            }
        })
        .collect();
    let (lengths, tens) = (digits.len(), digits.iter().position(|&digit| digit == 10));
    let valid = match (lengths, tens) {
        (10, None | Some(9)) => weighted(&digits, |index| 10 - index).is_multiple_of(11),
        (13, None) => {
            weighted(&digits, |index| if index % 2 == 0 { 1 } else { 3 }).is_multiple_of(10)
        }
        _ => false,
    };
    valid.then_some(gap + number.len())
}

fn weighted(digits: &[u32], weight: impl Fn(u32) -> u32) -> u32 {
    digits
        .iter()
        .zip(0..)
        .map(|(digit, index)| digit * weight(index))
        .sum()
}
