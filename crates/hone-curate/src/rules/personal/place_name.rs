//! Names of places, and streets with a number.

use super::gazetteer::{PLACE_BEGINNINGS, PLACES, Run, each_run};
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "place-name",
    family: Family::PersonalData,
    summary: "a place or a street where somebody may be found, with lower confidence",
    why: "Where a person lives, works or was born narrows them down to few, and a street with a number to a door. A place alone says nothing about anybody: this rule points, it does not know.",
    what: "Countries, their regions and some 400 cities from a list of our own score 0.3, and 0.65 beside words such as *live*, *moved*, *born* or *hometown*; a number and capitalised words that end in *Street*, *Road* and the like, or a word in *-straße*, *-gatan*, *-straat* and the like with a number, scores 0.6. Label `PLACE`.",
    default: Action::Report,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "live",
    "lives",
    "lived",
    "living",
    "reside*",
    "resident",
    "moved",
    "moving",
    "born",
    "hometown",
    "home town",
    "native of",
    "i am from",
    "i m from",
    "is from",
    "are from",
    "was from",
    "come from",
    "comes from",
    "address",
    "mailing",
    "based in",
    "located in",
    "travel to",
    "traveling to",
    "travelling to",
    "fly to",
    "flying to",
    "flight to",
    "visiting",
    "city of",
    "ship to",
    "wohne*",
    "wohnhaft",
    "geboren",
    "habite*",
    "né à",
    "vive en",
    "vivo en",
    "abita",
    "nato a",
    "woont",
];

const STREETS: &[&str] = &[
    "Street",
    "St",
    "Avenue",
    "Ave",
    "Road",
    "Rd",
    "Lane",
    "Ln",
    "Drive",
    "Dr",
    "Boulevard",
    "Blvd",
    "Court",
    "Ct",
    "Square",
    "Terrace",
    "Crescent",
    "Highway",
    "Hwy",
    "Parkway",
    "Pkwy",
    "Close",
    "Way",
    "Place",
    "Pl",
    "Circle",
    "Trail",
];

const STREET_ENDINGS: &[&str] = &[
    "straße", "strasse", "str", "weg", "gasse", "platz", "allee", "straat", "laan", "plein",
    "gracht", "gatan", "gata", "vägen", "gränd", "vej", "gade", "vegen", "veien", "katu", "tie",
    "kuja", "polku",
];

/// What stands before the name of a street in Romance and Slavic languages.
const STREET_HEADS: &[&str] = &[
    "Rue", "Via", "Viale", "Calle", "Avenida", "Rua", "Ulica", "Plaza", "Piazza", "Corso", "Paseo",
    "Carrer",
];

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    each_run(text, |run| {
        if let Some(street) = street(run) {
            seen.push(street);
            return;
        }
        let mut at = 0;
        while at < run.len() {
            let begins = PLACE_BEGINNINGS.contains(run.word(at));
            let named = (at + 1..=run.len().min(at + 4))
                .rev()
                .find(|&end| begins && PLACES.contains(&run.text[run.span(at..end)]));
            seen.extend(named.map(|end| place(run.span(at..end)).scored(0.3).beside(CONTEXT)));
            at = named.unwrap_or(at + 1);
        }
    });
}

fn place(span: std::ops::Range<usize>) -> Sighting {
    Sighting::new(span, "PLACE", "perhaps a place")
}

/// A street with the number of a house, before or after it.
fn street(run: &Run<'_>) -> Option<Sighting> {
    if let Some(start) = number_before(run) {
        let is_street = |&at: &usize| STREETS.contains(&run.word(at).trim_end_matches('.'));
        if let Some(last) = (1..run.len()).rev().find(is_street) {
            return Some(place(start..run.words[last].end).scored(0.6));
        }
    }
    let end = number_after(run)?;
    let ends = |word: &str| {
        STREET_ENDINGS
            .iter()
            .any(|ending| word.len() > ending.len() + 2 && word.ends_with(ending))
    };
    let is_street = |&at: &usize| ends(run.word(at)) || STREET_HEADS.contains(&run.word(at));
    let first = (0..run.len()).find(is_street)?;
    Some(place(run.words[first].start..end).scored(0.6))
}

/// Where the number begins that stands right before the run.
fn number_before(run: &Run<'_>) -> Option<usize> {
    let head = run.text[..run.words[0].start].strip_suffix(' ')?;
    let digits = head.bytes().rev().take_while(u8::is_ascii_digit).count();
    let start = head.len() - digits;
    ((1..=5).contains(&digits)
        && !head[..start].ends_with(|c: char| c.is_alphanumeric() || "-.,/#$€£".contains(c)))
    .then_some(start)
}

/// Where the number ends that stands right after the run, with its letter.
fn number_after(run: &Run<'_>) -> Option<usize> {
    let end = run.words.last()?.end;
    let rest = run.text[end..]
        .strip_prefix(". ")
        .or_else(|| run.text[end..].strip_prefix(' '))?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let letter = usize::from(
        rest[digits..].starts_with(|c: char| c.is_ascii_lowercase())
            && !rest[digits + 1..].starts_with(char::is_alphanumeric),
    );
    let start = run.text.len() - rest.len();
    let whole = !rest[digits + letter..].starts_with(|c: char| {
        c.is_alphanumeric()
            || c == '.' && rest[digits + letter + 1..].starts_with(|c: char| c.is_ascii_digit())
    });
    ((1..=4).contains(&digits) && whole).then_some(start + digits + letter)
}
