//! Payment card numbers.

use std::sync::LazyLock;

use regex::Regex;

use super::check_digits::{digits, luhn};
use super::sighting::{self, Sighting};
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "card",
    family: Family::PersonalData,
    summary: "a payment card number",
    why: "A card number can be charged. Card schemes forbid keeping it without need, and a model keeps it for good.",
    what: "12 to 19 digits, bare or in groups joined by one blank or hyphen, that begin with an issuer's range (ISO/IEC 7812: Visa, Mastercard, American Express, Diners, Discover, JCB, Maestro, UnionPay) of that scheme's length and whose Luhn sum is right. Schemes with a narrow range score 1; Maestro's wide one, 13 digits of Visa, the rest of JCB's 35 and 15 digits of the former JCB take a word such as *card* beside them. The numbers that payment providers give out for tests are nobody's. Label `CREDIT_CARD`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "card*",
    "credit",
    "debit",
    "cc",
    "visa",
    "mastercard",
    "amex",
    "american express",
    "diners",
    "discover",
    "jcb",
    "maestro",
    "unionpay",
    "pan",
    "karte*",
    "kreditkarte*",
    "tarjeta",
    "carte",
    "carta",
    "cartão",
];

static GROUPED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)[1-6][0-9]{3}[ -]?[0-9]{2,6}(?:[ -]?[0-9]{1,6}){1,3}(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

/// Given out for tests by payment providers, so often written that they are no finding.
const TEST_NUMBERS: &[&str] = &[
    "4111111111111111",
    "4242424242424242",
    "4012888888881881",
    "4000056655665556",
    "4222222222222",
    "5555555555554444",
    "5105105105105100",
    "2223003122003222",
    "5200828282828210",
    "378282246310005",
    "371449635398431",
    "378734493671000",
    "6011111111111117",
    "6011000990139424",
    "6011981111111113",
    "30569309025904",
    "38520000023237",
    "3056930009020004",
    "36227206271667",
    "3530111333300000",
    "3566002020360505",
    "6200000000000005",
];

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    for found in GROUPED.find_iter(text) {
        let number: String = found
            .as_str()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let Some(alone) = issued(&number) else {
            continue;
        };
        let inside = touches_number(text, found.start(), found.end());
        if inside || !luhn(&digits(&number)) || TEST_NUMBERS.contains(&number.as_str()) {
            continue;
        }
        seen.push(
            Sighting::new(found.range(), "CREDIT_CARD", "a payment card number")
                .scored(alone)
                .beside(CONTEXT)
                .checked(),
        );
    }
}

/// How sure a number's beginning and length make; `None` where no scheme issues such numbers.
fn issued(number: &str) -> Option<f32> {
    let begin = |digits: usize| number[..digits].parse::<u32>().unwrap_or(0);
    match (number.len(), begin(1), begin(2), begin(4)) {
        (16 | 19, 4, ..) => Some(1.0),
        (13, 4, ..) => Some(0.4),
        (16, _, 51..=55, _) | (16, .., 2221..=2720) => Some(1.0),
        (15, _, 34 | 37, _) => Some(1.0),
        (14, _, 36 | 38 | 39, _) | (14, .., 3000..=3059) => Some(1.0),
        (16, _, 65, _) | (16, .., 6011 | 6440..=6499) => Some(1.0),
        (16, .., 3528..=3589) => Some(1.0),
        (16, _, 35, _) => Some(0.4),
        (15, .., 1800 | 2131) => Some(0.4),
        (16..=19, _, 62, _) => Some(0.5),
        (12..=19, _, 50 | 56..=58 | 60..=69, _) => Some(0.3),
        _ => None,
    }
}

/// Does a longer number, a decimal fraction or a word go on before or after?
pub fn touches_number(text: &str, start: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    let joins = |c: u8| matches!(c, b'.' | b',' | b'-' | b'/' | b'_' | b'=' | b'%');
    let before = start > 1 && joins(bytes[start - 1]) && bytes[start - 2].is_ascii_alphanumeric();
    let after = matches!(bytes.get(end..end + 2), Some(&[c, next]) if joins(c) && next.is_ascii_alphanumeric());
    let word = |c: Option<&u8>| c.is_some_and(|&c| c == b'_' || c >= 0x80);
    before
        || after
        || word(start.checked_sub(1).and_then(|at| bytes.get(at)))
        || word(bytes.get(end))
}
