//! Addresses that carry a user's name and password.

use super::sighting::{self, Sighting};
use super::stand_in::is_stand_in;
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "url-credentials",
    family: Family::PersonalData,
    summary: "a name and password in a URL",
    why: "Whoever can ask the model can log in.",
    what: "The user information `user:password@` of a URL (RFC 3986, 3.2.1), at most 256 bytes of it; `:password@` and a token alone; in addresses of data bases also where `/`, `?` or `#` stand unescaped in the password. Passwords that are visibly stand-ins (`password`, `<…>`, `${…}`, `***`, …), reserved hosts and local ones are nobody's. The stretch is `user:password`, so the host stays when it is redacted. Label `CREDENTIALS`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let reach = text.floor_char_boundary((start + 256).min(text.len()));
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
        let rest = text[start..reach].split(ends).next().unwrap_or_default();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let Some((user, host)) = split_user(authority, rest, &text[..at]) else {
            continue;
        };
        let host = host.split([':', '/', ',']).next().unwrap_or_default();
        let is_local = host == "127.0.0.1" || host.is_empty();
        let is_secret = match user.split_once(':') {
            Some((_, password)) => !password.is_empty() && !is_stand_in(password),
            None => super::api_key::is_random(user),
        };
        let whole = is_secret && !is_local && !super::email::is_reserved(host);
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

/// Name and password, and what follows them. Passwords of data bases are written as they are, with `/`, `?` and `#` in them.
fn split_user<'a>(authority: &'a str, rest: &'a str, before: &str) -> Option<(&'a str, &'a str)> {
    const BASES: &[&str] = &[
        "postgres",
        "postgresql",
        "mysql",
        "mariadb",
        "mongodb",
        "srv",
        "redis",
        "rediss",
        "amqp",
        "amqps",
        "mssql",
        "sqlserver",
        "oracle",
        "ftp",
        "sftp",
        "ftps",
        "smtp",
        "smtps",
        "imap",
        "imaps",
        "ldap",
        "ldaps",
        "psycopg2",
        "asyncpg",
        "pymysql",
        "clickhouse",
    ];
    if let Some(split) = authority.rsplit_once('@') {
        return Some(split);
    }
    let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
    let (user, host) = rest.rsplit_once('@').filter(|_| BASES.contains(&scheme))?;
    let is_host = host.starts_with(|c: char| c.is_alphanumeric()) && user.contains(':');
    is_host.then_some((user, host))
}
