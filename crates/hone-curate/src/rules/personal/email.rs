//! E-mail addresses.

use std::ops::Range;

use super::sighting::{self, Sighting};
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "email",
    family: Family::PersonalData,
    summary: "an e-mail address",
    why: "An address names a person and reaches them. A model that has learnt it hands it out to whoever asks for that name.",
    what: "`local@domain` of RFC 5321 in ASCII, at most 64 and 255 bytes. A top-level domain of two letters or a common longer one scores 0.9, another 0.4, which takes a word such as *mail* beside it. Reserved domains (RFC 2606: `example.com`, `.test`, `.invalid`, …) and the address of a `git` host are nobody's and score 0.2. Label `EMAIL`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "mail*", "email*", "e mail", "correo", "courriel", "contact", "write to",
];

/// Longer top-level domains in common use; all of two letters are countries'.
const TOP_LEVEL: &[&str] = &[
    "com",
    "org",
    "net",
    "edu",
    "gov",
    "mil",
    "int",
    "info",
    "biz",
    "name",
    "pro",
    "mobi",
    "aero",
    "coop",
    "museum",
    "jobs",
    "travel",
    "tel",
    "cat",
    "asia",
    "post",
    "app",
    "dev",
    "blog",
    "cloud",
    "online",
    "site",
    "tech",
    "store",
    "shop",
    "xyz",
    "agency",
    "digital",
    "email",
    "email",
    "group",
    "live",
    "media",
    "news",
    "solutions",
    "space",
    "studio",
    "systems",
    "team",
    "today",
    "top",
    "website",
    "work",
    "world",
    "zone",
    "bank",
    "berlin",
    "london",
    "paris",
    "tokyo",
    "wien",
    "hamburg",
    "koeln",
    "bayern",
    "swiss",
    "academy",
    "care",
    "center",
    "club",
    "company",
    "consulting",
    "design",
    "education",
    "expert",
    "finance",
    "foundation",
    "global",
    "health",
    "institute",
    "international",
    "law",
    "legal",
    "life",
    "network",
    "page",
    "science",
    "services",
    "social",
    "software",
    "support",
    "technology",
    "university",
];

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    for (at, _) in text.match_indices('@') {
        let Some(span) = address(text, at) else {
            continue;
        };
        let (local, domain) = (&text[span.start..at], &text[at + 1..span.end]);
        let at_git_host = local == "git" && text[span.end..].starts_with(':');
        let alone = match at_git_host || is_reserved(domain) {
            true => 0.2,
            false if is_top_level(domain) => 0.9,
            false => 0.4,
        };
        let sighting = Sighting::new(span, "EMAIL", "an e-mail address").scored(alone);
        seen.push(match alone {
            0.4 => sighting.beside(CONTEXT),
            _ => sighting,
        });
    }
}

/// The address around an `@`.
fn address(text: &str, at: usize) -> Option<Range<usize>> {
    let before = text.as_bytes()[..at].iter().rev().take(65);
    let local = before.take_while(|&&c| is_local(c)).count();
    let after = text.as_bytes()[at + 1..].iter().take(256);
    let domain = after.take_while(|&&c| is_domain(c)).count();
    let mut start = at - local;
    // A quote or a dot before the address belongs to the sentence.
    start += text[start..at].len()
        - text[start..at]
            .trim_start_matches(['.', '\'', '`', '/', '='])
            .len();
    let end = at
        + 1
        + text[at + 1..at + 1 + domain]
            .trim_end_matches(['.', '-'])
            .len();
    let labels: Vec<&str> = text[at + 1..end].split('.').collect();
    let whole = labels.iter().all(|label| {
        !label.is_empty() && label.len() < 64 && !label.starts_with('-') && !label.ends_with('-')
    });
    let top = labels.last().expect("split gives at least one");
    let named = top.len() > 1 && top.bytes().all(|c| c.is_ascii_alphabetic());
    let bounded = (1..=64).contains(&(at - start)) && end - at <= 255;
    (bounded && whole && named && labels.len() > 1).then_some(start..end)
}

fn is_local(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&c)
}

fn is_domain(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'.' || c == b'-'
}

fn is_top_level(domain: &str) -> bool {
    let top = domain.rsplit('.').next().unwrap_or_default();
    top.len() == 2
        || TOP_LEVEL
            .iter()
            .any(|known| top.eq_ignore_ascii_case(known))
}

/// Domains set apart for examples and tests (RFC 2606, RFC 6762, RFC 8375).
pub fn is_reserved(domain: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    let mut labels = domain.rsplit('.');
    let top = labels.next().unwrap_or_default();
    let second = labels.next().unwrap_or_default();
    match top {
        "example" | "test" | "invalid" | "localhost" | "local" | "internal" => true,
        "com" | "org" | "net" | "edu" => second == "example",
        _ => false,
    }
}
