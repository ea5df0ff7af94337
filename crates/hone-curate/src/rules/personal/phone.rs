//! Telephone numbers.

use std::sync::LazyLock;

use regex::Regex;

use super::sighting::{self, Sighting};
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "phone",
    family: Family::PersonalData,
    summary: "a telephone number",
    why: "A number reaches a person, at home and at night. A model that has learnt it gives it to whoever asks for that name.",
    what: "`+` and 8 to 15 digits (E.164) in groups (score 0.8); ten digits of the North American plan, area and exchange from 2 on, grouped as people write them (0.6); a trunk `0` and three groups or more of 9 to 11 digits (0.6); other groups of 7 to 13 digits, and ten bare ones, beside a word such as *phone*, *call*, *Telefon* (0.2 without). Numbers set apart for fiction (555-01xx) are nobody's. Lengths of single countries are not checked. Label `PHONE`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "phone*",
    "telephone*",
    "tel",
    "call*",
    "fax",
    "mobile",
    "cell",
    "cellphone",
    "whatsapp",
    "number is",
    "reach",
    "dial",
    "text",
    "sms",
    "telefon*",
    "handy",
    "mobil*",
    "rufnummer",
    "anruf*",
    "durchwahl",
    "téléphone",
    "portable",
    "teléfono",
    "móvil",
    "telefono",
    "cellulare",
    "telefoon",
    "contact",
    "office",
    "message*",
    "registered",
];

static INTERNATIONAL: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"\+[1-9][0-9]{0,2}(?:[ .\-/]?\(?[0-9]{1,5}\)?){2,7}(?: ?(?:x|ext\.?) ?[0-9]{1,6})?(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

static GROUPED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?:\([2-9][0-9]{2}\) ?|(?-u:\b)(?:1[ .-])?[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}(?: ?(?:x|ext\.?) ?[0-9]{1,6})?(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

static NATIONAL: LazyLock<Regex> = LazyLock::new(|| {
    let trunk = r"0[0-9]{1,5}\)?(?:[ ./-]?[0-9]{2,8}){1,4}";
    let groups = r"[2-9][0-9]{1,3}\)?(?:[ .-][0-9]{2,6}){1,4}";
    let pattern = format!(r"(?:\(|(?-u:\b))(?:{trunk}|{groups}|[2-9][0-9]{{9}})(?-u:\b)");
    Regex::new(&pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    if text.bytes().filter(u8::is_ascii_digit).take(7).count() < 7 {
        return;
    }
    let sighting = |span| Sighting::new(span, "PHONE", "a telephone number");
    for found in INTERNATIONAL.find_iter(text) {
        let joined = text[..found.start()].ends_with(|c: char| c.is_alphanumeric());
        let digits = digits_of(found.as_str());
        if !joined && (8..=15).contains(&digits.len()) && !is_fiction(&digits) {
            seen.push(sighting(found.range()).scored(0.8));
        }
    }
    for found in GROUPED.find_iter(text) {
        if stands_free(text, found.start(), found.end()) && !is_fiction(&digits_of(found.as_str()))
        {
            seen.push(sighting(found.range()).scored(0.6).beside(CONTEXT));
        }
    }
    for found in NATIONAL.find_iter(text) {
        let digits = digits_of(found.as_str());
        if stands_free(text, found.start(), found.end())
            && (7..=13).contains(&digits.len())
            && !is_fiction(&digits)
        {
            seen.push(
                sighting(found.range())
                    .scored(sure_by_groups(found.as_str(), digits.len()))
                    .beside(CONTEXT),
            );
        }
    }
}

/// A trunk `0` and three groups or more are how a telephone number is written, and little else is.
fn sure_by_groups(number: &str, digits: usize) -> f32 {
    let groups = number.split([' ', '.', '-', '/']).count();
    // A year in brackets is a citation's: `31 (2010) 455-461`.
    let trunk = number.starts_with("(0") || number.starts_with('0');
    match trunk && groups >= 3 && (9..=11).contains(&digits) {
        true => 0.6,
        false => 0.2,
    }
}

fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Numbers of the North American plan that are kept for films and examples.
fn is_fiction(digits: &str) -> bool {
    let national = digits
        .strip_prefix('1')
        .filter(|rest| rest.len() == 10)
        .unwrap_or(digits);
    national.len() == 10 && &national[3..8] == "55501"
}

/// Is this neither a part of a longer number nor of an identifier?
fn stands_free(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    let joins = |c: char| c.is_alphanumeric() || "-_/=#$€£%.+".contains(c);
    !before.is_some_and(joins) && !after.is_some_and(|c| c.is_alphanumeric() || "-_/=%".contains(c))
}
