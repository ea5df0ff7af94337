//! Numbers by which states know people.
//!
//! One table: how a number is written, what its check digits say, how sure that makes, and the words beside it. A
//! number whose form alone is common (nine bare digits) counts only beside such a word, even if its check digit agrees.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::check_digits::{digits, is_day, luhn, mod_11_10, verhoeff, weighted};
use super::sighting::{self, Sighting};
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "national-number",
    family: Family::PersonalData,
    summary: "a number by which a state knows a person",
    why: "Such a number stays with a person for life and opens accounts, records and credit in their name.",
    what: "US SSN, ITIN, NPI and bank routing number (ABA); UK NHS number and NINO; German tax id; French NIR; Spanish NIF and NIE; Italian codice fiscale; Polish PESEL; Dutch BSN; Swedish personnummer; Finnish HETU; Indian Aadhaar; Australian TFN and Medicare; Chinese resident identity number; Korean RRN; Brazilian CPF. Form, calendar days inside and check digits as the issuers publish them. Labels such as `US_SSN`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

/// One kind of number.
struct Scheme {
    label: &'static str,
    message: &'static str,
    pattern: &'static str,
    is_valid: fn(&str) -> bool,
    /// How sure form and check digits make.
    alone: f32,
    context: &'static [&'static str],
}

#[rustfmt::skip]
const SCHEMES: &[Scheme] = &[
    Scheme { label: "US_SSN", message: "a US social security number", pattern: r"[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}", is_valid: us_ssn, alone: 0.6, context: &["ssn*", "social security"] },
    Scheme { label: "US_SSN", message: "a US social security number", pattern: r"[0-8][0-9]{2} ?[0-9]{2} ?[0-9]{4}", is_valid: us_ssn, alone: 0.1, context: &["ssn*", "social security"] },
    Scheme { label: "US_ITIN", message: "a US taxpayer number", pattern: r"9[0-9]{2}[- ]?(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])[- ]?[0-9]{4}", is_valid: always, alone: 0.1, context: &["itin", "taxpayer", "tax id"] },
    Scheme { label: "US_NPI", message: "a US provider number", pattern: r"[12][0-9]{9}", is_valid: us_npi, alone: 0.1, context: &["npi", "provider"] },
    Scheme { label: "US_ABA", message: "a US bank routing number", pattern: r"[0-3][0-9]{8}", is_valid: us_aba, alone: 0.05, context: &["aba", "routing"] },
    Scheme { label: "UK_NHS", message: "an NHS number", pattern: r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", is_valid: uk_nhs, alone: 0.1, context: &["nhs", "national health"] },
    Scheme { label: "UK_NINO", message: "a UK national insurance number", pattern: r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", is_valid: uk_nino, alone: 0.6, context: &["national insurance", "nino", "ni"] },
    Scheme { label: "DE_TAX_ID", message: "a German tax id", pattern: r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", is_valid: de_tax_id, alone: 0.1, context: &["steuer*", "idnr", "tin", "tax id", "identifikationsnummer"] },
    Scheme { label: "FR_NIR", message: "a French social security number", pattern: r"[12] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}", is_valid: fr_nir, alone: 0.6, context: &["nir", "sécurité sociale", "insee", "social security"] },
    Scheme { label: "ES_NIF", message: "a Spanish identity number", pattern: r"(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-HJ-NP-TV-Z]", is_valid: es_nif, alone: 0.6, context: &["nif", "dni", "nie"] },
    Scheme { label: "IT_FISCAL_CODE", message: "an Italian fiscal code", pattern: r"[A-Z]{6}[0-9]{2}[A-EHLMPR-T][0-9]{2}[A-Z][0-9]{3}[A-Z]", is_valid: it_fiscal_code, alone: 0.9, context: &["codice fiscale", "cf"] },
    Scheme { label: "PL_PESEL", message: "a Polish PESEL", pattern: r"[0-9]{11}", is_valid: pl_pesel, alone: 0.2, context: &["pesel"] },
    Scheme { label: "NL_BSN", message: "a Dutch citizen service number", pattern: r"[0-9]{9}", is_valid: nl_bsn, alone: 0.05, context: &["bsn", "burgerservicenummer", "sofinummer"] },
    Scheme { label: "SE_PERSONNUMMER", message: "a Swedish personal number", pattern: r"(?:[12][0-9])?[0-9]{6}[-+][0-9]{4}", is_valid: se_personnummer, alone: 0.6, context: &["personnummer", "personnr"] },
    Scheme { label: "FI_HETU", message: "a Finnish identity code", pattern: r"[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]", is_valid: fi_hetu, alone: 0.9, context: &["hetu", "henkilötunnus"] },
    Scheme { label: "IN_AADHAAR", message: "an Aadhaar number", pattern: r"[2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}", is_valid: in_aadhaar, alone: 0.2, context: &["aadhaar", "aadhar", "uid", "uidai"] },
    Scheme { label: "AU_TFN", message: "an Australian tax file number", pattern: r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", is_valid: au_tfn, alone: 0.05, context: &["tfn", "tax file"] },
    Scheme { label: "AU_MEDICARE", message: "an Australian Medicare number", pattern: r"[2-6][0-9]{3} ?[0-9]{5} ?[0-9]", is_valid: au_medicare, alone: 0.05, context: &["medicare"] },
    Scheme { label: "CN_RESIDENT_ID", message: "a Chinese resident identity number", pattern: r"[1-9][0-9]{16}[0-9Xx]", is_valid: cn_resident_id, alone: 0.9, context: &["身份证"] },
    Scheme { label: "KR_RRN", message: "a Korean resident number", pattern: r"[0-9]{6}-[1-8][0-9]{6}", is_valid: kr_rrn, alone: 0.6, context: &["rrn", "주민등록번호"] },
    Scheme { label: "BR_CPF", message: "a Brazilian CPF", pattern: r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", is_valid: br_cpf, alone: 0.9, context: &["cpf"] },
    Scheme { label: "BR_CPF", message: "a Brazilian CPF", pattern: r"[0-9]{11}", is_valid: br_cpf, alone: 0.1, context: &["cpf"] },
];

fn bounded(scheme: &Scheme) -> String {
    format!(r"(?-u:\b)(?:{})(?-u:\b)", scheme.pattern)
}

/// Which schemes have any match at all: one pass over the text for all of them.
static ANY: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(SCHEMES.iter().map(bounded)).expect("the patterns are valid"));

static EACH: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let regex = |scheme| Regex::new(&bounded(scheme)).expect("the pattern is valid");
    SCHEMES.iter().map(regex).collect()
});

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    // The shortest of them has six digits.
    if text.bytes().filter(u8::is_ascii_digit).take(6).count() < 6 {
        return;
    }
    for scheme in &ANY.matches(text) {
        let (scheme, regex) = (&SCHEMES[scheme], &EACH[scheme]);
        for found in regex.find_iter(text) {
            if !touches_number(text, found.start(), found.end())
                && (scheme.is_valid)(found.as_str())
            {
                seen.push(
                    Sighting::new(found.range(), scheme.label, scheme.message)
                        .scored(scheme.alone)
                        .beside(scheme.context)
                        .checked(),
                );
            }
        }
    }
}

/// Is this a part of a longer number, an amount or an identifier?
fn touches_number(text: &str, start: usize, end: usize) -> bool {
    let joins = |c: u8| b"-_./+#$".contains(&c);
    let (before, after) = (&text.as_bytes()[..start], &text.as_bytes()[end..]);
    let behind = before.last().is_some_and(|&c| joins(c));
    let ahead = matches!(after, [c, next, ..] if joins(*c) && next.is_ascii_alphanumeric());
    behind || ahead
}

fn always(_: &str) -> bool {
    true
}

/// Areas 000, 666 and 9xx, group 00 and serial 0000 were never given (SSA); three numbers became famous.
fn us_ssn(number: &str) -> bool {
    let d = digits(number);
    let part = |range: std::ops::Range<usize>| {
        d[range]
            .iter()
            .fold(0u32, |sum, &digit| sum * 10 + u32::from(digit))
    };
    let (area, group, serial) = (part(0..3), part(3..5), part(5..9));
    let famous = matches!(
        (area, group, serial),
        (123, 45, 6789) | (78, 5, 1120) | (219, 9, 9999)
    );
    !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0 && !famous && !all_alike(&d)
}

fn us_npi(number: &str) -> bool {
    luhn(&[&[8, 0, 8, 4, 0], digits(number).as_slice()].concat())
}

fn us_aba(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 == 0 && !all_alike(&d)
}

fn uk_nhs(number: &str) -> bool {
    let d = digits(number);
    let check = 11 - weighted(&d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    check % 11 == i32::from(d[9]) && check != 10 && !all_alike(&d)
}

fn uk_nino(number: &str) -> bool {
    !["BG", "GB", "NK", "KN", "TN", "NT", "ZZ"].contains(&&number[..2])
}

/// Of the first ten digits one stands there twice or three times (BZSt).
fn de_tax_id(number: &str) -> bool {
    let d = digits(number);
    let most = (0..10)
        .map(|digit| d[..10].iter().filter(|&&other| other == digit).count())
        .max();
    matches!(most, Some(2 | 3)) && mod_11_10(&d)
}

fn fr_nir(number: &str) -> bool {
    let plain: String = number.chars().filter(|c| !c.is_whitespace()).collect();
    let (body, key) = plain.split_at(13);
    // Corsica's departments 2A and 2B count as 19 and 18.
    let body = body.replace("2A", "19").replace("2B", "18");
    match (body.parse::<u64>(), key.parse::<u64>()) {
        (Ok(body), Ok(key)) => key == 97 - body % 97,
        _ => false,
    }
}

fn es_nif(number: &str) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let plain = number.replace('-', "");
    let (body, letter) = plain.split_at(8);
    let body = body
        .replacen('X', "0", 1)
        .replacen('Y', "1", 1)
        .replacen('Z', "2", 1);
    let rest = body.parse::<usize>().map(|body| body % 23);
    rest.is_ok_and(|rest| letter.as_bytes() == [LETTERS[rest]])
}

/// Values of characters at odd places; at even places a letter counts its place in the alphabet.
fn it_fiscal_code(code: &str) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let value = |c: u8| {
        u32::from(if c.is_ascii_digit() {
            c - b'0'
        } else {
            c - b'A'
        })
    };
    let bytes = code.as_bytes();
    let sum: u32 = bytes[..15]
        .iter()
        .enumerate()
        .map(|(place, &c)| {
            if place % 2 == 0 {
                ODD[value(c) as usize]
            } else {
                value(c)
            }
        })
        .sum();
    sum % 26 == u32::from(bytes[15] - b'A')
}

fn pl_pesel(number: &str) -> bool {
    let d = digits(number);
    let (year, month, day) = (pair(&d, 0), pair(&d, 2), pair(&d, 4));
    let century = [1900, 2000, 2100, 2200, 1800][(month / 20) as usize % 5];
    let sum = weighted(&d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    is_day(century + year, month % 20, day) && (10 - sum % 10) % 10 == i32::from(d[10])
}

fn nl_bsn(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0 && !all_alike(&d)
}

fn se_personnummer(number: &str) -> bool {
    let d = digits(number);
    let d = &d[d.len() - 10..];
    // Coordination numbers add sixty to the day.
    is_day(2000 + pair(d, 0), pair(d, 2), pair(d, 4) % 60) && luhn(d)
}

fn fi_hetu(code: &str) -> bool {
    const CHECKS: &[u8] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let d = digits(&format!("{}{}", &code[..6], &code[7..10]));
    let number = d
        .iter()
        .fold(0usize, |sum, &digit| sum * 10 + usize::from(digit));
    is_day(2000 + pair(&d, 4), pair(&d, 2), pair(&d, 0))
        && CHECKS[number % 31] == code.as_bytes()[10]
}

fn in_aadhaar(number: &str) -> bool {
    let d = digits(number);
    verhoeff(&d) && !all_alike(&d)
}

fn au_tfn(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 == 0 && !all_alike(&d)
}

fn au_medicare(number: &str) -> bool {
    let d = digits(number);
    weighted(&d, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == i32::from(d[8])
}

/// ISO 7064 mod 11-2 (GB 11643).
fn cn_resident_id(number: &str) -> bool {
    let d = digits(&number[..17]);
    let year = pair(&d, 6) * 100 + pair(&d, 8);
    let sum = weighted(&d, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let check = b"10X98765432"[(sum % 11) as usize];
    (1850..2100).contains(&year)
        && is_day(year, pair(&d, 10), pair(&d, 12))
        && number.as_bytes()[17].to_ascii_uppercase() == check
}

/// Numbers given since October 2020 have no check digit; the day of birth is all there is to check.
fn kr_rrn(number: &str) -> bool {
    let d = digits(number);
    is_day(2000 + pair(&d, 0), pair(&d, 2), pair(&d, 4))
}

fn br_cpf(number: &str) -> bool {
    let d = digits(number);
    let check = |sum: i32| sum * 10 % 11 % 10;
    let first = check(weighted(&d[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]));
    let second = check(weighted(&d[..10], &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]));
    first == i32::from(d[9]) && second == i32::from(d[10]) && !all_alike(&d)
}

fn pair(digits: &[u8], at: usize) -> u32 {
    u32::from(digits[at]) * 10 + u32::from(digits[at + 1])
}

fn all_alike(digits: &[u8]) -> bool {
    digits.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What python-stdnum holds for valid is found beside its word, and what it refuses is not
    /// (`fixtures/scripts/national_numbers.py`).
    #[test]
    fn numbers_are_told_from_their_neighbours_as_python_stdnum_tells_them() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/golden/national_numbers.json"
        );
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let golden = golden.as_object().unwrap();
        for (label, numbers) in golden {
            let is_found = |number: &Value| {
                let text = format!(
                    "{}: {}",
                    numbers["beside"].as_str().unwrap(),
                    number.as_str().unwrap()
                );
                let mut seen = Vec::new();
                see(&text, &mut seen);
                seen.iter()
                    .any(|sighting| sighting.label == label && sighting.score(&text) >= 0.5)
            };
            for number in numbers["valid"].as_array().unwrap() {
                assert!(is_found(number), "{label} {number}");
            }
            // Korea gives no check digit any more, nor the United States, whose wrong numbers are of areas never given.
            for number in numbers["wrong"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|_| label != "KR_RRN")
            {
                assert!(!is_found(number), "{label} {number}");
            }
        }
        let beside_the_rule = ["US_NPI", "UK_NINO", "AU_MEDICARE"];
        let untested = SCHEMES.iter().find(|scheme| {
            !golden.contains_key(scheme.label) && !beside_the_rule.contains(&scheme.label)
        });
        assert!(untested.is_none(), "{}", untested.unwrap().label);
    }

    type Case = (fn(&str) -> bool, &'static str, &'static str);

    /// Numbers from the issuers' own documents or made to their rules, and the same with its last character moved on.
    #[test]
    fn valid_numbers_pass_and_their_neighbours_do_not() {
        let cases: [Case; 15] = [
            (us_npi, "1234567893", "1234567894"),
            (us_aba, "011000015", "011000016"),
            (uk_nhs, "943 476 5919", "943 476 5918"),
            (de_tax_id, "86095742719", "86095742718"),
            (fr_nir, "2 55 08 14 168 025 38", "2 55 08 14 168 025 39"),
            (es_nif, "12345678Z", "12345678A"),
            (es_nif, "X1234567L", "X1234567M"),
            (it_fiscal_code, "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
            (pl_pesel, "44051401359", "44051401358"),
            (nl_bsn, "111222333", "111222334"),
            (se_personnummer, "811228-9874", "811228-9873"),
            (fi_hetu, "131052-308T", "131052-308U"),
            (au_tfn, "123 456 782", "123 456 783"),
            (cn_resident_id, "11010519491231002X", "110105194912310021"),
            (br_cpf, "529.982.247-25", "529.982.247-26"),
        ];
        for (is_valid, right, wrong) in cases {
            assert!(is_valid(right), "{right}");
            assert!(!is_valid(wrong), "{wrong}");
        }
        assert!(au_medicare("2123 45670 1") && !au_medicare("2123 45680 1"));
        assert!(us_ssn("536-90-4399") && !us_ssn("666-90-4399") && !us_ssn("123-45-6789"));
    }
}
