//! Hardware addresses.

use std::sync::LazyLock;

use regex::Regex;

use super::card::touches_number;
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "mac-address",
    family: Family::PersonalData,
    summary: "a hardware (MAC) address",
    why: "A hardware address stays with a device for life and follows its owner from network to network.",
    what: "Six pairs of hexadecimal digits joined by `:` or by `-`, or three groups of four joined by `.`. The null and broadcast addresses, the documentation range `00:00:5e:00:53` (RFC 7042), counting patterns such as `00:11:22:33:44:55` and parts of longer fingerprints are nobody's. Label `MAC_ADDRESS`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

static PAIRS: LazyLock<Regex> = LazyLock::new(|| {
    let pair = "[0-9A-Fa-f]{2}";
    let pattern = format!(
        r"(?-u:\b)(?:{pair}(?::{pair}){{5}}|{pair}(?:-{pair}){{5}}|[0-9A-Fa-f]{{4}}\.[0-9A-Fa-f]{{4}}\.[0-9A-Fa-f]{{4}})(?-u:\b)"
    );
    Regex::new(&pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    let joints = text.bytes().filter(|byte| b":-.".contains(byte));
    if joints.take(2).count() < 2 {
        return;
    }
    for found in PAIRS.find_iter(text) {
        let (start, end) = (found.start(), found.end());
        let goes_on = text[end..].strip_prefix(':').is_some_and(begins_with_pair);
        let joined = goes_on || ends_with_pair(&text[..start]);
        let digits = found
            .as_str()
            .replace([':', '-', '.'], "")
            .to_ascii_lowercase();
        let dotted_decimal =
            found.as_str().contains('.') && digits.bytes().all(|c| c.is_ascii_digit());
        if joined || dotted_decimal || touches_number(text, start, end) || is_nobodys(&digits) {
            continue;
        }
        seen.push(Sighting::new(start..end, "MAC_ADDRESS", "a hardware (MAC) address").scored(0.8));
    }
}

/// Is this the rest of a longer row of pairs?
fn begins_with_pair(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    digits == 2 && !text[2..].starts_with(|c: char| c.is_alphanumeric())
}

/// Is this the beginning of one?
fn ends_with_pair(text: &str) -> bool {
    let Some(text) = text.strip_suffix(':') else {
        return false;
    };
    let bytes = text.bytes().rev();
    let digits = bytes
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    digits == 2
        && text
            .bytes()
            .rev()
            .take(2)
            .all(|byte| byte.is_ascii_hexdigit())
}

fn is_nobodys(digits: &str) -> bool {
    let first = digits.chars().next();
    let same = digits.chars().all(|c| Some(c) == first);
    same || digits.starts_with("00005e0053")
        || [
            "001122334455",
            "112233445566",
            "0123456789ab",
            "aabbccddeeff",
            "deadbeefcafe",
        ]
        .contains(&digits)
}
