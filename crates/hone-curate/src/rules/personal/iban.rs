//! International bank account numbers.

use super::check_digits::mod_97;
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "iban",
    family: Family::PersonalData,
    summary: "a bank account number (IBAN)",
    why: "An account number belongs to one holder, and money can be drawn with it where direct debit is usual.",
    what: "ISO 13616: a country of the registry, two check digits and as many letters and digits as that country has, bare or in groups joined by one blank or hyphen, with rest 1 modulo 97 (score 1). The registry's own examples are nobody's. Label `IBAN`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

/// Countries of the registry and the length of their numbers.
#[rustfmt::skip]
const LENGTHS: &[(&str, usize)] = &[
    ("AD", 24), ("AE", 23), ("AL", 28), ("AT", 20), ("AZ", 28), ("BA", 20), ("BE", 16), ("BG", 22),
    ("BH", 22), ("BI", 27), ("BR", 29), ("BY", 28), ("CH", 21), ("CR", 22), ("CY", 28), ("CZ", 24),
    ("DE", 22), ("DJ", 27), ("DK", 18), ("DO", 28), ("EE", 20), ("EG", 29), ("ES", 24), ("FI", 18),
    ("FK", 18), ("FO", 18), ("FR", 27), ("GB", 22), ("GE", 22), ("GI", 23), ("GL", 18), ("GR", 27),
    ("GT", 28), ("HR", 21), ("HU", 28), ("IE", 22), ("IL", 23), ("IQ", 23), ("IS", 26), ("IT", 27),
    ("JO", 30), ("KW", 30), ("KZ", 20), ("LB", 28), ("LC", 32), ("LI", 21), ("LT", 20), ("LU", 20),
    ("LV", 21), ("LY", 25), ("MC", 27), ("MD", 24), ("ME", 22), ("MK", 19), ("MN", 20), ("MR", 27),
    ("MT", 31), ("MU", 30), ("NI", 28), ("NL", 18), ("NO", 15), ("OM", 23), ("PK", 24), ("PL", 28),
    ("PS", 29), ("PT", 25), ("QA", 29), ("RO", 24), ("RS", 22), ("RU", 33), ("SA", 24), ("SC", 31),
    ("SD", 18), ("SE", 24), ("SI", 19), ("SK", 24), ("SM", 27), ("SO", 23), ("ST", 25), ("SV", 28),
    ("TL", 23), ("TN", 24), ("TR", 26), ("UA", 29), ("VA", 22), ("VG", 24), ("XK", 20), ("YE", 30),
];

/// The examples of the registry that manuals repeat.
const EXAMPLES: &[&str] = &[
    "GB29NWBK60161331926819",
    "GB82WEST12345698765432",
    "GB33BUKB20201555555555",
    "DE89370400440532013000",
    "DE75512108001245126199",
    "FR1420041010050500013M02606",
    "FR7630006000011234567890189",
    "NL91ABNA0417164300",
    "ES9121000418450200051332",
    "IT60X0542811101000000123456",
    "AT611904300234573201",
    "BE68539007547034",
    "CH9300762011623852957",
    "SE4550000000058398257466",
];

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    // The shortest numbers are Norway's; no country's have fewer digits than ten.
    if view.num_digits() < 10 {
        return;
    }
    let bytes = text.as_bytes();
    for start in 0..bytes.len().saturating_sub(14) {
        let begins = bytes[start + 2].is_ascii_digit()
            && bytes[start + 3].is_ascii_digit()
            && bytes[start].is_ascii_alphabetic()
            && bytes[start + 1].is_ascii_alphabetic()
            && (start == 0 || !is_word(bytes[start - 1]) || is_announced(&bytes[..start]));
        let number = begins.then(|| account(bytes, start)).flatten();
        seen.extend(
            number.map(|end| Sighting::new(start..end, "IBAN", "a bank account number (IBAN)")),
        );
    }
}

/// Does the word stand right before it, as where words are not parted?
fn is_announced(before: &[u8]) -> bool {
    before.len() >= 4 && before[before.len() - 4..].eq_ignore_ascii_case(b"IBAN")
}

/// The end of the account number that starts here.
fn account(bytes: &[u8], start: usize) -> Option<usize> {
    let country = [
        bytes[start].to_ascii_uppercase(),
        bytes[start + 1].to_ascii_uppercase(),
    ];
    let (_, length) = LENGTHS
        .iter()
        .find(|(code, _)| code.as_bytes() == country)?;
    let (number, end) = characters(&bytes[start..], *length)?;
    let moved = number[4..].iter().chain(&number[..4]).copied();
    let whole = !bytes.get(start + end).is_some_and(|&c| is_word(c));
    let example = EXAMPLES.iter().any(|known| known.as_bytes() == number);
    (whole && !example && mod_97(moved) == 1).then_some(start + end)
}

/// As many letters and digits, with at most one blank or hyphen between two, and where they end.
fn characters(bytes: &[u8], length: usize) -> Option<(Vec<u8>, usize)> {
    let (mut number, mut joined) = (Vec::with_capacity(length), false);
    for (at, &c) in bytes.iter().enumerate() {
        match c {
            b' ' | b'-' if !joined => joined = true,
            _ if c.is_ascii_alphanumeric() => {
                joined = false;
                number.push(c.to_ascii_uppercase());
            }
            _ => return None,
        }
        if number.len() == length {
            return Some((number, at + 1));
        }
    }
    None
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_'
}
