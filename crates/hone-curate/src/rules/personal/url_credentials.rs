//! Addresses that carry a user's name and password.

use super::sighting::{self, Sighting};
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "url-credentials",
    family: Family::PersonalData,
    summary: "a name and password in a URL",
    why: "Whoever can ask the model can log in.",
    what: "The user information `user:password@` of a URL (RFC 3986, 3.2.1), at most 256 bytes of it. Passwords that are visibly stand-ins (`password`, `<…>`, `${…}`, `***`, …), reserved hosts and local ones are nobody's. The stretch is `user:password`, so the host stays when it is redacted. Label `CREDENTIALS`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let reach = text.floor_char_boundary((start + 256).min(text.len()));
        let ends = |c: char| {
            c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`' | '<' | '>')
        };
        let authority = text[start..reach].split(ends).next().unwrap_or_default();
        let Some((user, host)) = authority.rsplit_once('@') else {
            continue;
        };
        let Some((name, password)) = user.split_once(':') else {
            continue;
        };
        let host = host.split(':').next().unwrap_or_default();
        let nobody = super::email::is_reserved(host) || host == "127.0.0.1" || host.is_empty();
        let whole = !name.is_empty() && !nobody && !is_stand_in(password);
        seen.extend(whole.then(|| {
            Sighting::new(
                start..start + user.len(),
                "CREDENTIALS",
                "a name and password in a URL",
            )
            .scored(0.9)
        }));
    }
}

/// Is this a word that stands where a secret would?
pub fn is_stand_in(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    let first = lower.chars().next();
    let shown = [
        "password",
        "passwd",
        "pass",
        "pwd",
        "secret",
        "token",
        "changeme",
        "change_me",
        "hunter2",
        "admin",
        "root",
        "test",
        "user",
        "guest",
        "postgres",
        "mysql",
    ];
    lower.chars().all(|c| Some(c) == first)
        || shown.contains(&lower.as_str())
        || lower.starts_with(['<', '$', '{', '[', '%', '*'])
        || [
            "your",
            "example",
            "xxxx",
            "****",
            "...",
            "…",
            "placeholder",
            "redacted",
            "dummy",
            "my_",
            "my-",
            "mypass",
            "insert",
            "sample",
        ]
        .iter()
        .any(|word| lower.contains(word))
}
