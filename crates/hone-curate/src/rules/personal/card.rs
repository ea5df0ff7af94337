//! Payment card numbers.

use std::ops::Range;

use super::check_digits::{digits, luhn};
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "card",
    family: Family::PersonalData,
    summary: "a payment card number",
    why: "A card number can be charged. Card schemes forbid keeping it without need, and a model keeps it for good.",
    what: "12 to 19 digits, bare or in groups joined by one blank, hyphen or dot, whatever group of digits stands before or after them, that begin with an issuer's range (ISO/IEC 7812: Visa, Mastercard, American Express, Diners, Discover, JCB, Maestro, UnionPay) of that scheme's length and whose Luhn sum is right. Schemes with a narrow range score 1; Maestro's wide one, 13 digits of Visa, the rest of JCB's 35 and 15 digits of the former JCB take a word such as *card* beside them. The numbers that payment providers give out for tests are nobody's. Label `CREDIT_CARD`.",
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
    "credito",
    "crédito",
    "kort*",
    "kreditkort*",
    "kortnummer*",
    "creditcard*",
    "betaalkaart*",
    "kaart*",
    "karta*",
    "karty",
    "kartę",
    "kartou",
    "kart*",
    "luottokort*",
    "korttinumero*",
    "card number",
    "карт*",
    "номер карты",
    "картк*",
    "κάρτα*",
    "bankkártya*",
    "kártya*",
    "thẻ*",
    "kartu*",
    "信用卡",
    "信用卡号",
    "银行卡",
    "卡号",
    "卡號",
    "カード",
    "クレジット",
    "카드",
    "بطاقة",
    "البطاقة",
    "کارت",
    "कार्ड",
    "কার্ড",
    "บัตร",
    "כרטיס",
    "charge*",
    "payment",
    "zahl*",
    "betalen",
    "pay*",
];

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
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    if view.num_digits_together() < 12 {
        return;
    }
    let mut at = 0;
    while let Some(digit) = text.as_bytes()[at..].iter().position(u8::is_ascii_digit) {
        let start = at + digit;
        let groups = groups(text.as_bytes(), start);
        let end = groups.last().map_or(start + 1, |group| group.end);
        at = end;
        // A number may begin at any group: an order's number may stand before it.
        for first in 0..groups.len() {
            if let Some((span, alone)) = number(text, &groups[first..]) {
                at = span.end;
                let sighting = Sighting::new(span, "CREDIT_CARD", "a payment card number");
                seen.push(sighting.scored(alone).beside(CONTEXT).checked());
                break;
            }
        }
    }
}

/// Groups of digits joined by one blank, hyphen or dot.
fn groups(bytes: &[u8], start: usize) -> Vec<Range<usize>> {
    let (mut groups, mut at) = (Vec::new(), start);
    loop {
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let end = at + digits.count();
        groups.push(at..end);
        match &bytes[end..] {
            [b' ' | b'-' | b'.', next, ..] if next.is_ascii_digit() && groups.len() < 12 => {
                at = end + 1
            }
            _ => return groups,
        }
    }
}

/// The card number that begins with the first group and ends with one, and how sure its form makes: what follows may be the
/// month in which it expires.
fn number(text: &str, groups: &[Range<usize>]) -> Option<(Range<usize>, f32)> {
    let start = groups[0].start;
    if groups[0].len() < 4 {
        return None;
    }
    let mut number = String::with_capacity(19);
    let mut found = None;
    for group in groups {
        // The last group of a card may be short, those in the middle have four to six digits.
        number.push_str(&text[group.clone()]);
        if number.len() > 19 {
            break;
        }
        let Some(alone) = issued(&number).filter(|_| number.len() >= 12) else {
            continue;
        };
        let inside = touches_number(text, start, group.end);
        let is_test = TEST_NUMBERS.contains(&number.as_str());
        if !inside && !is_test && luhn(&digits(&number)) {
            found = Some((start..group.end, alone));
            // The usual length of a sure scheme: a longer one is chance.
            if alone >= 1.0 {
                break;
            }
        }
    }
    found
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
    let joins = |c: u8| matches!(c, b'.' | b'-' | b'/' | b'_');
    let before = start > 1 && joins(bytes[start - 1]) && bytes[start - 2].is_ascii_alphanumeric();
    let after = matches!(bytes.get(end..end + 2), Some(&[c, next]) if joins(c) && next.is_ascii_alphanumeric());
    let fraction = text[..start].ends_with("0,") || text[..start].ends_with('.');
    let word = |c: Option<&u8>| c.is_some_and(|&c| c == b'_' || c.is_ascii_alphabetic());
    before
        || after
        || fraction
        || word(start.checked_sub(1).and_then(|at| bytes.get(at)))
        || word(bytes.get(end))
}
