//! Addresses of machines on the internet.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "ip-address",
    family: Family::PersonalData,
    summary: "a public IP address",
    why: "An address at a time of day points to a household; European courts count it as personal data.",
    what: "IPv4 in four decimal numbers and IPv6 as RFC 4291 writes it, public ones only: private, loopback, link-local, multicast, shared and documentation ranges (RFC 5737, 3849) are nobody's, nor are whole networks (`/24`) and ten well-known resolvers. Four small numbers look like a version and score 0.4 unless a word such as *host* stands beside; after *version* or *v* they are one. IPv6 with fewer than three groups counts only if the first has four characters and a digit, since `a::b` is a path in a program. Label `IP_ADDRESS`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "ip",
    "адрес",
    "地址",
    "アドレス",
    "주소",
    "عنوان",
    "पता",
    "adresi",
    "adres",
    "indirizzo",
    "endereço",
    "adresa",
    "sunucu",
    "сервер",
    "сервера",
    "服务器",
    "サーバー",
    "서버",
    "serveur",
    "servidor",
    "remote",
    "ssh",
    "endpoint",
    "port",
    "peer",
    "ipv4",
    "ipv6",
    "address",
    "addresses",
    "host",
    "hostname",
    "client",
    "server",
    "dns",
    "ping",
    "login",
    "logged in",
    "visitor",
    "adresse",
    "dirección",
];

const VERSION: &[&str] = &[
    "version", "v", "ver", "release", "released", "update", "upgrade", "firmware", "section",
    "sections", "spec", "chapter", "oid", "requires", "python", "chrome", "mozilla", "firefox",
    "safari", "build",
];

/// Public resolvers, in every manual.
const KNOWN: &[[u8; 4]] = &[
    [8, 8, 8, 8],
    [8, 8, 4, 4],
    [1, 1, 1, 1],
    [1, 0, 0, 1],
    [9, 9, 9, 9],
    [149, 112, 112, 112],
    [208, 67, 222, 222],
    [208, 67, 220, 220],
    [1, 2, 3, 4],
    [4, 3, 2, 1],
];

static V4: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

static V6: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)[0-9A-Fa-f]{1,4}(?::{1,2}[0-9A-Fa-f]{1,4}){1,7}(?-u:\b)";
    Regex::new(pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    for found in V4.find_iter(text) {
        let alone = (!goes_on(text, &found.range())).then(|| score_v4(text, &found.range()));
        seen.extend(alone.flatten().map(|alone| sighting(found.range(), alone)));
    }
    for found in V6.find_iter(text) {
        if is_public_v6(found.as_str()) && !goes_on(text, &found.range()) {
            seen.push(sighting(found.range(), 0.8));
        }
    }
}

fn sighting(span: Range<usize>, alone: f32) -> Sighting {
    Sighting::new(span, "IP_ADDRESS", "a public IP address")
        .scored(alone)
        .beside(CONTEXT)
}

/// Does the length of a prefix follow that leaves more than one address?
fn is_network(rest: &str) -> bool {
    let length = rest.strip_prefix('/').map(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse::<u8>()
    });
    matches!(length, Some(Ok(8..32)))
}

/// How sure four numbers make; `None` when they are no address of somebody.
fn score_v4(text: &str, span: &Range<usize>) -> Option<f32> {
    let address: Ipv4Addr = text[span.clone()].parse().ok()?;
    let octets = address.octets();
    let (a, b) = (octets[0], octets[1]);
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || matches!(
            (a, b),
            (0 | 240.., _) | (100, 64..=127) | (192, 0) | (198, 18 | 19)
        )
        || KNOWN.contains(&octets);
    let is_nobodys = special || is_network(&text[span.end..]);
    if is_nobodys
        || follows_version(&text[..span.start])
        || text[..span.start].ends_with(['v', 'V'])
    {
        return None;
    }
    Some(if octets.iter().all(|&octet| octet < 32) {
        0.15
    } else {
        0.6
    })
}

/// Is one of the two words before a word for a version?
fn follows_version(before: &str) -> bool {
    let near = &before[before.floor_char_boundary(before.len().saturating_sub(40))..];
    let words = near.split(|c: char| !c.is_alphanumeric());
    let mut last = words.filter(|word| !word.is_empty()).rev().take(2);
    last.any(|word| VERSION.contains(&&*word.to_lowercase()))
}

fn is_public_v6(text: &str) -> bool {
    let Ok(address) = text.parse::<Ipv6Addr>() else {
        return false;
    };
    let segments = address.segments();
    // Pairs of digits are a hardware address or a fingerprint, or a time of day.
    let wide = text.split(':').any(|group| group.len() > 2);
    let written = text.split(':').filter(|group| !group.is_empty()).count();
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || (segments[0] & 0xfe00) == 0xfc00
        || (segments[0] & 0xffc0) == 0xfe80
        || segments[..2] == [0x2001, 0xdb8]
        || segments[0] == 0x3fff;
    let global = (0x2000..0x4000).contains(&segments[0]);
    // `2a02::1` is an address, `a::b` a path of a program.
    let first = text.split(':').next().unwrap_or_default();
    let begins_long = first.len() == 4 && first.bytes().any(|byte| byte.is_ascii_digit());
    wide && !special && (written == 8 || global && (written >= 3 || begins_long))
}

/// Is it part of a longer dotted, joined or colon-separated thing?
fn goes_on(text: &str, span: &Range<usize>) -> bool {
    let bytes = text.as_bytes();
    let joins = |c: u8| matches!(c, b'.' | b'-' | b':');
    let before = match &bytes[..span.start] {
        // `IP:` says what follows, `ab:cd:` is a part of it.
        [rest @ .., b':'] => {
            let word = rest
                .iter()
                .rev()
                .take(5)
                .take_while(|c| c.is_ascii_hexdigit());
            let word = word.count();
            let is_mapped = text[..span.start].to_ascii_lowercase().ends_with("::ffff:");
            !is_mapped && word > 0 && rest[..rest.len() - word].ends_with(b":")
        }
        [.., c, joint] => joins(*joint) && c.is_ascii_alphanumeric(),
        _ => false,
    };
    let after = match &bytes[span.end..] {
        [b':', c, ..] => !c.is_ascii_digit() && c.is_ascii_alphanumeric(),
        [joint, c, ..] => joins(*joint) && c.is_ascii_alphanumeric(),
        _ => false,
    };
    before || after
}
