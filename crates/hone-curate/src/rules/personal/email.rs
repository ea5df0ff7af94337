//! E-mail addresses.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::sighting::{self, Sighting};
use crate::text::has_no_spaces;
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "email",
    family: Family::PersonalData,
    summary: "an e-mail address",
    why: "An address names a person and reaches them. A model that has learned it hands it out to whoever asks for that name.",
    what: "`local@domain` with letters of any script (RFC 6531), at most 64 characters and 255 bytes; written out with `[at]`, `(dot)`, `%40` and the like, and as `name at domain dot org`. What stands before it in a URL's query is no part of it, and what stands before an `@` in a URL is a name and a password (`url-credentials`). A top-level domain of two letters or a common longer one scores 0.9, another 0.4, which takes a word such as *mail* beside it. Reserved domains (RFC 2606: `example.com`, `.test`, `.invalid`, …), what people write in their place (`foo@bar.com`) and the address of a `git` host are nobody's and score 0.2. Label `EMAIL`.",
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

/// Countries' own and other top-level domains in other scripts.
const INTERNATIONAL: &[&str] = &[
    "рф",
    "рус",
    "москва",
    "дети",
    "онлайн",
    "сайт",
    "орг",
    "ком",
    "бел",
    "укр",
    "срб",
    "бг",
    "қаз",
    "мкд",
    "ею",
    "中国",
    "中國",
    "公司",
    "网络",
    "網路",
    "香港",
    "台湾",
    "台灣",
    "新加坡",
    "在线",
    "中文网",
    "我爱你",
    "集团",
    "网址",
    "商城",
    "みんな",
    "コム",
    "한국",
    "닷컴",
    "닷넷",
    "भारत",
    "संगठन",
    "বাংলা",
    "ভারত",
    "భారత్",
    "ਭਾਰਤ",
    "ભારત",
    "இந்தியா",
    "இலங்கை",
    "சிங்கப்பூர்",
    "ไทย",
    "คอม",
    "السعودية",
    "مصر",
    "امارات",
    "الاردن",
    "المغرب",
    "تونس",
    "قطر",
    "سورية",
    "عمان",
    "فلسطين",
    "ایران",
    "پاکستان",
    "شبكة",
    "موقع",
    "بازار",
    "الجزائر",
    "لبنان",
    "ישראל",
    "קום",
    "ελ",
    "ευ",
    "გე",
    "հայ",
];

/// Joints between name and domain beside `@` itself; those in brackets are nothing else.
static JOINTS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let open = ["[", "(", "{", "<"];
    let words = [
        "at",
        " at ",
        "AT",
        " AT ",
        "At",
        "@",
        "ät",
        "arroba",
        "ARROBA",
        "chez",
        "chiocciola",
        "собака",
        "małpa",
        "kukac",
    ];
    let bracketed = open.into_iter().flat_map(|open| {
        let close = match open {
            "[" => "]",
            "(" => ")",
            "{" => "}",
            _ => ">",
        };
        words
            .into_iter()
            .map(move |word| format!("{open}{word}{close}"))
    });
    let plain = [
        " at ", " AT ", "_at_", "_AT_", "%40", "&#64;", "&commat;", " arroba ", "-at-", " -at- ",
    ]
    .map(str::to_owned);
    AhoCorasick::new(plain.into_iter().chain(bracketed)).expect("a few dozen joints fit")
});

/// The first of [`JOINTS`] stand in ordinary sentences and in names of programs too.
const IN_SENTENCES: usize = 4;

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    for (at, _) in text.match_indices('@') {
        let Some((span, domain)) = address(text, at..at + 1) else {
            continue;
        };
        let local = &text[span.start..at];
        let at_git_host = local == "git" && text[span.end..].starts_with(':');
        let alone = match at_git_host || is_nobodys(local, &domain) {
            true => 0.2,
            false if is_top_level(&domain) => 0.9,
            false => 0.4,
        };
        let sighting = Sighting::new(span, "EMAIL", "an e-mail address").scored(alone);
        seen.push(match alone {
            0.4 => sighting.beside(CONTEXT),
            _ => sighting,
        });
    }
    for joint in JOINTS.find_iter(text) {
        let Some((span, domain)) = address(text, joint.range()) else {
            continue;
        };
        let local = text[span.start..joint.start()].trim_end();
        if is_nobodys(local, &domain) || !is_top_level(&domain) {
            continue;
        }
        let in_sentence = joint.pattern().as_usize() < IN_SENTENCES;
        let is_no_name = NO_NAMES.contains(&&*local.to_lowercase());
        let is_spelt = !text[joint.end()..span.end].contains(&*domain);
        let start = span.start;
        let sighting = Sighting::new(span, "EMAIL", "an e-mail address written out");
        seen.push(match in_sentence {
            false => sighting.scored(0.8),
            true if is_dotted_name(local) || is_spelt && !is_no_name => sighting.scored(0.7),
            true if follows_mail(&text[..start]) && !is_no_name => sighting.scored(0.6),
            true => sighting.scored(0.2),
        });
    }
}

/// Words before *at* that are no name: `mail us at kiosk.org`, `we met at kiosk dot org`.
#[rustfmt::skip]
const NO_NAMES: &[&str] = &[
    "us", "me", "him", "her", "them", "you", "it", "is", "are", "was", "were", "be", "been", "available", "address", "form", "here", "there", "met", "meet", "look", "looked", "looking", "found", "find", "hosted", "stay", "stayed", "staying",
    "live", "lives", "lived", "work", "works", "worked", "working", "arrive", "arrived", "buy", "bought", "sold", "up", "in", "out", "one", "page", "site", "website", "shop", "store", "order", "book", "booked", "read", "see", "seen", "visit",
    "online", "home", "up", "today", "now", "store", "team", "people", "support", "not", "and", "or", "the", "a", "all", "that", "this", "aimed", "laughed", "good", "bad", "best", "least", "most", "once", "docs", "code", "files", "posted", "published", "download", "downloaded",
];

/// Is the last word one for an address, as in `E-Mail: olga at …`?
fn follows_mail(before: &str) -> bool {
    let word = before.trim_end_matches([' ', ':', '=']);
    let tail = &word[word.floor_char_boundary(word.len().saturating_sub(8))..];
    let tail = tail.to_lowercase();
    ["mail", "email", "correo", "courriel"]
        .iter()
        .any(|known| tail.ends_with(known))
}

/// The address around a joint, and its domain as it would be written with dots.
fn address(text: &str, joint: Range<usize>) -> Option<(Range<usize>, String)> {
    let start = local(text, joint.start)?;
    let (end, domain) = domain(text, joint.end)?;
    let is_at = &text[joint.clone()] == "@";
    let near = &text[text.floor_char_boundary(start.saturating_sub(256))..start];
    let authority = near.rsplit([' ', '\n', '"', '\'', '<', '(']).next();
    // Between `://` and `@` stand a name and a password.
    let in_url = authority.is_some_and(|before| {
        let after = before.rsplit_once("://").map(|(_, after)| after);
        after.is_some_and(|after| !after.contains(['/', '?', '#']))
    });
    (!(is_at && in_url)).then_some((start..end, domain))
}

/// Where the name before a joint begins.
fn local(text: &str, end: usize) -> Option<usize> {
    let blank = match text.as_bytes().get(end) {
        // `name [at] domain`, not `name @ domain`, which is an operator.
        Some(b'@') => text[..end].len(),
        _ => text[..end].trim_end_matches(' ').len(),
    };
    if end - blank > 1 {
        return None;
    }
    let is_joined = text[..blank].chars().next_back().is_some_and(has_no_spaces);
    let allowed = |c: char| {
        c.is_ascii_alphanumeric()
            || ".!%'+_~-".contains(c)
            || c.is_alphabetic() && !c.is_ascii() && has_no_spaces(c) == is_joined
    };
    let mut start = blank;
    for (count, c) in text[..blank].chars().rev().enumerate() {
        if count > 64 {
            return None;
        }
        if !allowed(c) {
            break;
        }
        start -= c.len_utf8();
    }
    // A quote or a dot before the address belongs to the sentence, `%3D` to the URL.
    let name = &text[start..blank];
    if let Some(at) = name.rfind('%').filter(|at| {
        name[at + 1..]
            .bytes()
            .take(2)
            .filter(u8::is_ascii_hexdigit)
            .count()
            == 2
    }) {
        start += at + 3;
    }
    let name = text[start..blank].trim_start_matches(['.', '\'', '!', '~', '-', '+', '%']);
    let is_whole =
        name.ends_with(|c: char| c.is_alphanumeric() || "_-+~".contains(c)) && !name.contains("..");
    is_whole.then(|| blank - name.len())
}

/// Where the domain after a joint ends, and what it is with dots where words stand for them.
fn domain(text: &str, start: usize) -> Option<(usize, String)> {
    const DOTS: [&str; 19] = [
        "-dot-",
        "_dot_",
        "_DOT_",
        "[dot]",
        "(dot)",
        "{dot}",
        "<dot>",
        "[DOT]",
        "(DOT)",
        "[.]",
        "(.)",
        "[punkt]",
        "(punkt)",
        "(Punkt)",
        "[punto]",
        "(punto)",
        "[point]",
        "(point)",
        "(точка)",
    ];
    const WORDS: [&str; 5] = [" dot ", " DOT ", " punkt ", " Punkt ", " punto "];
    let blanks = text[start..].len() - text[start..].trim_start_matches(' ').len();
    let is_at = text[..start].ends_with('@');
    if blanks > usize::from(!is_at) {
        return None;
    }
    let (mut at, mut domain, mut labels) = (start + blanks, String::new(), 0);
    let mut end = at;
    loop {
        let near = text.floor_char_boundary((at + 256).min(text.len()));
        let label = label(&text[at..near]);
        if label.is_empty() || label.len() > 63 || domain.len() > 255 {
            break;
        }
        (end, labels) = (at + label.len(), labels + 1);
        domain.push_str(label);
        let rest = &text[end..];
        let spaced = rest.strip_prefix(' ').unwrap_or(rest);
        let dot = DOTS.iter().find(|dot| spaced.starts_with(**dot));
        let next = match dot {
            Some(dot) => {
                let after = end + (rest.len() - spaced.len()) + dot.len();
                Some(after + usize::from(text[after..].starts_with(' ')))
            }
            None if rest.starts_with('.') => Some(end + 1),
            None if !is_at => WORDS
                .iter()
                .find(|word| rest.starts_with(**word))
                .map(|word| end + word.len()),
            None => None,
        };
        let Some(next) = next.filter(|&next| label_begins(&text[next..])) else {
            break;
        };
        at = next;
        domain.push('.');
    }
    let top = domain.rsplit('.').next()?;
    let named = top.chars().count() > 1
        && (top.chars().all(char::is_alphabetic) || top.starts_with("xn--"));
    (labels > 1 && named).then_some((end, domain))
}

fn label_begins(text: &str) -> bool {
    text.starts_with(char::is_alphanumeric)
}

/// A label of a domain: letters and digits of one kind of script, hyphens within. Scripts that do not part their words go
/// on behind a label in letters that do.
fn label(text: &str) -> &str {
    let Some(first) = text.chars().next().filter(|c| c.is_alphanumeric()) else {
        return "";
    };
    let joined = has_no_spaces(first);
    let is_part = |c: char| {
        c == '-' || c.is_ascii_digit() || c.is_alphabetic() && has_no_spaces(c) == joined && (is_latin(first) == is_latin(c) || first.is_ascii_digit())
            || c.is_alphanumeric() && !c.is_ascii() && !is_latin(first) && !is_latin(c) && has_no_spaces(c) == joined
            // Vowel signs of India's scripts are marks.
            || matches!(c, '\u{900}'..='\u{dff}' | '\u{e30}'..='\u{e4e}') && !is_latin(first)
    };
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text[..end].trim_end_matches('-')
}

fn is_latin(c: char) -> bool {
    c.is_alphabetic() && c < '\u{250}'
}

/// Is it two words with a dot between, as names of people are and names of files are not?
fn is_dotted_name(local: &str) -> bool {
    let labels: Vec<&str> = local.split(['.', '_']).collect();
    let word = |label: &&str| label.chars().count() > 1 && label.chars().all(char::is_alphabetic);
    let last = labels.last().copied().unwrap_or_default();
    let is_file = [
        "md", "rs", "py", "js", "ts", "go", "txt", "html", "htm", "json", "toml", "yml", "yaml",
        "csv", "com", "org", "net", "io", "xml", "css", "php", "sh", "pdf",
    ];
    labels.len() > 1 && labels.iter().all(word) && !is_file.contains(&last)
}

fn is_top_level(domain: &str) -> bool {
    let top = domain.rsplit('.').next().unwrap_or_default();
    top.len() == 2 && top.is_ascii()
        || top.starts_with("xn--")
        || INTERNATIONAL.contains(&top)
        || TOP_LEVEL
            .iter()
            .any(|known| top.eq_ignore_ascii_case(known))
}

/// Names and domains that stand where somebody's would.
fn is_nobodys(local: &str, domain: &str) -> bool {
    const LOCALS: &[&str] = &[
        "foo",
        "bar",
        "baz",
        "user",
        "username",
        "you",
        "your",
        "yourname",
        "your.name",
        "your_name",
        "your-name",
        "your.email",
        "name",
        "someone",
        "somebody",
        "email",
        "test",
        "someuser",
        "myname",
        "me",
        "xxx",
        "abc",
        "a",
        "b",
        "x",
    ];
    const DOMAINS: &[&str] = &[
        "mail.com",
        "email.com",
        "company.com",
        "host.com",
        "site.com",
        "website.com",
        "server.com",
        "somewhere.com",
        "acme.com",
        "abc.com",
        "xyz.com",
        "b.com",
        "b.c",
        "y.com",
        "x.com",
        "gmail.com",
    ];
    let domain = domain.to_lowercase();
    let is_stand_in = || LOCALS.contains(&&*local.to_lowercase()) && DOMAINS.contains(&&*domain);
    is_reserved(&domain) || is_stand_in()
}

/// Domains set apart for examples and tests (RFC 2606, RFC 6762, RFC 8375), and those that people write in their place.
pub fn is_reserved(domain: &str) -> bool {
    const STAND_INS: &[&str] = &[
        "foo",
        "bar",
        "baz",
        "foobar",
        "test",
        "domain",
        "yourdomain",
        "mydomain",
        "your-domain",
        "yourcompany",
        "mycompany",
        "your-company",
        "yoursite",
        "somedomain",
        "mail-example",
    ];
    let domain = domain.to_lowercase();
    let mut labels = domain.rsplit('.');
    let top = labels.next().unwrap_or_default();
    let second = labels.next().unwrap_or_default();
    let general = matches!(top, "com" | "org" | "net" | "edu");
    match top {
        "example" | "test" | "invalid" | "localhost" | "local" | "internal" | "lan" | "tld" => true,
        _ if second == "example" => true,
        // `example.co.uk`
        _ if matches!(second, "co" | "com" | "org") && labels.next() == Some("example") => true,
        _ => general && STAND_INS.contains(&second),
    }
}
