//! Postal codes.

use std::sync::LazyLock;

use regex::Regex;

use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "postal-code",
    family: Family::PersonalData,
    summary: "a postal code",
    why: "A code covers a few streets, in Britain and Canada a few doors; HIPAA's Safe Harbor lists all but its first three digits. By itself it names nobody, so this rule is off unless asked for.",
    what: "British and Canadian codes by their form, a code of the United States after the letters of a state, Polish, Portuguese and Brazilian ones by their hyphen; other codes of three to six digits, with Dutch and Swedish ones, after *zip*, *postal code*, *PLZ* and the like. Label `POSTAL_CODE`.",
    default: Action::Off,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "zip",
    "zip code",
    "zipcode",
    "postcode",
    "post code",
    "postal",
    "postal code",
    "plz",
    "postleitzahl",
    "code postal",
    "cap",
    "código postal",
    "cep",
    "pin code",
    "postnummer",
];

const STATES: &str = "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]";

static SURE: LazyLock<Regex> = LazyLock::new(|| {
    let british = "(?:GIR 0AA|[A-PR-UWYZ](?:[0-9]{1,2}|[A-HK-Y][0-9]{1,2}|[0-9][A-HJKPSTUW]|[A-HK-Y][0-9][ABEHMNPRVWXY]) [0-9][ABD-HJLNP-UW-Z]{2})";
    let canadian = "[ABCEGHJ-NPRSTVXY][0-9][ABCEGHJ-NPRSTV-Z][ -][0-9][ABCEGHJ-NPRSTV-Z][0-9]";
    let american = format!("(?:{STATES}) ([0-9]{{5}}(?:-[0-9]{{4}})?)");
    let pattern = format!(r"(?-u:\b)(?:{british}|{canadian}|{american})(?-u:\b)");
    Regex::new(&pattern).expect("the pattern is valid")
});

static LOOSE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)(?:[0-9]{5}-[0-9]{3,4}|[0-9]{4}-[0-9]{3}|[0-9]{2}-[0-9]{3}|[0-9]{3} [0-9]{2}|[1-9][0-9]{3} ?[A-Z]{2}|[0-9]{3,6})(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    // The shortest, `W1A 0AX`, has two digits.
    if text.bytes().filter(u8::is_ascii_digit).take(2).count() < 2 {
        return;
    }
    for found in SURE.captures_iter(text) {
        let code = found
            .get(1)
            .or(found.get(0))
            .expect("group 0 always takes part");
        seen.push(Sighting::new(code.range(), "POSTAL_CODE", "a postal code").scored(0.6));
    }
    seen.extend(LOOSE.find_iter(text).map(|found| {
        Sighting::new(found.range(), "POSTAL_CODE", "a postal code")
            .scored(0.15)
            .beside(CONTEXT)
    }));
}
