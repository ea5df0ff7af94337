//! Keys, tokens and passwords.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::sighting::{self, Sighting};
use super::url_credentials::is_stand_in;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "api-key",
    family: Family::PersonalData,
    summary: "a key, token or password",
    why: "A secret that is learnt can be recited, and whoever hears it can act as its owner. It should be revoked as well, since the data has been elsewhere.",
    what: "Beginnings that issuers give their secrets so that they can be found (AWS, GitHub, GitLab, Slack, Google, OpenAI, Anthropic, Stripe, SendGrid, npm, PyPI, Hugging Face, DigitalOcean, Shopify), followed by as many characters as they have; JSON web tokens; blocks of private keys (RFC 7468); and values of at least 8 characters of 3 bits each (Shannon) with letters and digits that are assigned to a *password*, *secret*, *token* or *key*. Values that are visibly stand-ins are none. Label `SECRET`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

/// A beginning, the characters that follow it beside letters and digits, how many at least and at most.
struct Issued(&'static str, &'static [u8], usize, usize, &'static str);

#[rustfmt::skip]
const ISSUED: &[Issued] = &[
    Issued("AKIA", b"", 16, 16, "an AWS access key id"),
    Issued("ASIA", b"", 16, 16, "an AWS access key id"),
    Issued("ghp_", b"", 36, 36, "a GitHub token"),
    Issued("gho_", b"", 36, 36, "a GitHub token"),
    Issued("ghu_", b"", 36, 36, "a GitHub token"),
    Issued("ghs_", b"", 36, 36, "a GitHub token"),
    Issued("ghr_", b"", 36, 76, "a GitHub token"),
    Issued("github_pat_", b"_", 40, 90, "a GitHub token"),
    Issued("glpat-", b"-_", 20, 64, "a GitLab token"),
    Issued("xoxb-", b"-", 20, 80, "a Slack token"),
    Issued("xoxp-", b"-", 20, 90, "a Slack token"),
    Issued("xoxa-", b"-", 20, 90, "a Slack token"),
    Issued("xoxs-", b"-", 20, 90, "a Slack token"),
    Issued("xapp-", b"-", 20, 120, "a Slack token"),
    Issued("hooks.slack.com/services/", b"/", 30, 60, "a Slack webhook"),
    Issued("AIza", b"-_", 35, 35, "a Google API key"),
    Issued("ya29.", b"-_", 20, 512, "a Google access token"),
    Issued("GOCSPX-", b"-_", 28, 28, "a Google client secret"),
    Issued("sk-ant-", b"-_", 32, 128, "an Anthropic API key"),
    Issued("sk-proj-", b"-_", 32, 200, "an OpenAI API key"),
    Issued("sk-", b"", 32, 64, "an OpenAI API key"),
    Issued("sk_live_", b"", 16, 128, "a Stripe key"),
    Issued("rk_live_", b"", 16, 128, "a Stripe key"),
    Issued("sk_test_", b"", 16, 128, "a Stripe test key"),
    Issued("whsec_", b"", 24, 64, "a Stripe webhook secret"),
    Issued("SG.", b"-_.", 50, 70, "a SendGrid key"),
    Issued("npm_", b"", 36, 36, "an npm token"),
    Issued("pypi-AgE", b"-_", 50, 200, "a PyPI token"),
    Issued("hf_", b"", 34, 40, "a Hugging Face token"),
    Issued("dop_v1_", b"", 64, 64, "a DigitalOcean token"),
    Issued("shpat_", b"", 32, 32, "a Shopify token"),
    Issued("eyJ", b"-_.", 40, 4096, "a JSON web token"),
];

const BEGIN_KEY: &str = "-----BEGIN ";

static BEGINNINGS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let beginnings = ISSUED.iter().map(|issued| issued.0).chain([BEGIN_KEY]);
    AhoCorasick::builder()
        .match_kind(aho_corasick::MatchKind::LeftmostLongest)
        .build(beginnings)
        .expect("a few dozen beginnings fit")
});

static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    let name = r"(?i-u:passw(?:or)?d|passphrase|pwd|secret|token|api[_ -]?key|access[_ -]?key|private[_ -]?key|auth[_ -]?key)";
    let value = r#"["']?[ \t]*(?:[:=]|=>|:=|(?-u:\b)is(?-u:\b))[ \t]*["']?([^\s"'`,;<>(){}\[\]]{8,128})(["'(\[{]?)"#;
    Regex::new(&format!("{name}{value}")).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    for found in BEGINNINGS.find_iter(text) {
        let before = text[..found.start()].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let secret = match ISSUED.get(found.pattern().as_usize()) {
            Some(issued) => issued_secret(text, found.range(), issued),
            None => private_key(text, found.start()).map(|span| (span, "a private key")),
        };
        seen.extend(
            secret.map(|(span, message)| Sighting::new(span, "SECRET", message).scored(0.95)),
        );
    }
    for found in ASSIGNED.captures_iter(text) {
        let (value, next) = (found.get(1).expect("group 1 always takes part"), &found[2]);
        let called = matches!(next, "(" | "[" | "{");
        if !called && is_random(value.as_str()) {
            seen.push(
                Sighting::new(value.range(), "SECRET", "a value assigned to a secret").scored(0.7),
            );
        }
    }
}

fn issued_secret(
    text: &str,
    begins: Range<usize>,
    issued: &Issued,
) -> Option<(Range<usize>, &'static str)> {
    let &Issued(_, beside, least, most, message) = issued;
    let body = text.as_bytes()[begins.end..].iter().take(most + 1);
    let length = body
        .take_while(|c| c.is_ascii_alphanumeric() || beside.contains(c))
        .count();
    let secret = text[begins.end..begins.end + length].trim_end_matches(['.', '-', '_', '/']);
    let whole =
        (least..=most).contains(&secret.len()) && !is_stand_in(secret) && bits(secret) >= 2.5;
    let web_token =
        issued.0 != "eyJ" || secret.split('.').filter(|part| part.len() > 9).count() == 3;
    (whole && web_token).then(|| (begins.start..begins.end + secret.len(), message))
}

/// The longest private key block that is looked at, in bytes: 16384-bit RSA takes 13,000.
const KEY_BYTES: usize = 16 << 10;

/// A block of a private key with something in it.
fn private_key(text: &str, start: usize) -> Option<Range<usize>> {
    let reach = text.floor_char_boundary((start + KEY_BYTES).min(text.len()));
    let block = &text[start..reach];
    let kind = block[BEGIN_KEY.len()..].split("-----").next()?;
    let end_line = format!("-----END {kind}-----");
    let end = block.find(&end_line)?;
    let body = block.get(BEGIN_KEY.len() + kind.len() + 5..end)?;
    let filled = body.bytes().filter(u8::is_ascii_alphanumeric).count() >= 32 && bits(body) >= 3.0;
    let private =
        kind.len() < 40 && kind.ends_with("PRIVATE KEY") || kind == "PGP PRIVATE KEY BLOCK";
    (private && filled).then(|| start..start + end + end_line.len())
}

/// Could this be drawn at random, rather than be a word, a number, a path, a type or a call?
fn is_random(value: &str) -> bool {
    let value = value.trim_end_matches(['.', ':', '!', '?', '\\']);
    let count = |kind: fn(&u8) -> bool| value.bytes().filter(kind).count();
    let (digits, letters) = (count(u8::is_ascii_digit), count(u8::is_ascii_alphabetic));
    let named = ["::", "->", "//"].iter().any(|joint| value.contains(joint))
        || value.starts_with(['/', '.', '&', '@', '-'])
        || value.starts_with("0x");
    // A mark that identifiers have not makes up for a digit.
    let (least_digits, least_bits) = if has_mark(value) { (1, 2.75) } else { (2, 3.0) };
    let mixed = digits >= least_digits && letters >= 2;
    value.len() >= 8 && mixed && !named && !is_stand_in(value) && bits(value) >= least_bits
}

/// Has it a mark that identifiers and paths have not?
fn has_mark(value: &str) -> bool {
    value.contains(['!', '#', '$', '%', '^', '&', '*', '~', '?', '+', '@'])
}

/// Shannon's entropy of its bytes, in bits a byte.
fn bits(text: &str) -> f64 {
    let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
    for byte in text.bytes() {
        *counts.entry(byte).or_default() += 1;
    }
    let share = |&count: &u32| f64::from(count) / text.len() as f64;
    -counts
        .values()
        .map(share)
        .map(|p| p * p.log2())
        .sum::<f64>()
}
