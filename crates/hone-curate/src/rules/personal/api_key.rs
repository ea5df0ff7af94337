//! Keys, tokens and passwords.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::sighting::{self, Sighting};
use super::stand_in::is_stand_in;
use crate::text::has_no_spaces;
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "api-key",
    family: Family::PersonalData,
    summary: "a key, token or password",
    why: "A secret that a model has learned can be recited, and whoever hears it can act as its owner. It should be revoked as well, since the data has been elsewhere.",
    what: "Beginnings that issuers give their secrets so that they can be found, as the rule sets of gitleaks and detect-secrets list them (clouds, code hosts, chats, payment, mail, model and monitoring services), followed by as many characters as they have; tokens of Discord and Telegram, client secrets and account keys of Azure; JSON web tokens; blocks of private keys (RFC 7468); what follows `Bearer`, `--token`, `--password`, `curl -u` and the like; and values of at least 8 characters of 3 bits each (Shannon) with letters and digits that are assigned to a *password*, *secret*, *token* or *key*, or to what thirty languages call one. Values that are visibly stand-ins are none. Label `SECRET`.",
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
    Issued("ABIA", b"", 16, 16, "an AWS access key id"),
    Issued("ACCA", b"", 16, 16, "an AWS access key id"),
    Issued("glptt-", b"", 40, 40, "a GitLab token"),
    Issued("gldt-", b"-_", 20, 64, "a GitLab token"),
    Issued("glrt-", b"-_", 20, 64, "a GitLab token"),
    Issued("xoxe.", b"-.", 20, 200, "a Slack token"),
    Issued("xoxe-", b"-", 20, 200, "a Slack token"),
    Issued("discord.com/api/webhooks/", b"/-_", 70, 100, "a Discord webhook"),
    Issued("sk-svcacct-", b"-_", 32, 200, "an OpenAI API key"),
    Issued("sk-admin-", b"-_", 32, 200, "an OpenAI API key"),
    Issued("sk-or-v1-", b"", 64, 64, "an OpenRouter API key"),
    Issued("gsk_", b"", 40, 60, "a Groq API key"),
    Issued("xai-", b"", 64, 100, "an xAI API key"),
    Issued("pplx-", b"", 40, 64, "a Perplexity API key"),
    Issued("r8_", b"", 36, 40, "a Replicate token"),
    Issued("tvly-", b"-", 20, 64, "a Tavily API key"),
    Issued("fw_", b"", 20, 40, "a Fireworks API key"),
    Issued("api_org_", b"", 30, 40, "a Hugging Face token"),
    Issued("rk_test_", b"", 16, 128, "a Stripe test key"),
    Issued("sk_prod_", b"", 16, 128, "a Stripe key"),
    Issued("doo_v1_", b"", 64, 64, "a DigitalOcean token"),
    Issued("dor_v1_", b"", 64, 64, "a DigitalOcean token"),
    Issued("shpss_", b"", 32, 32, "a Shopify secret"),
    Issued("shpca_", b"", 32, 32, "a Shopify token"),
    Issued("shppa_", b"", 32, 32, "a Shopify token"),
    Issued("dapi", b"-", 32, 36, "a Databricks token"),
    Issued("dp.pt.", b"", 40, 48, "a Doppler token"),
    Issued("dt0c01.", b".", 80, 100, "a Dynatrace token"),
    Issued("glc_", b"+/=", 32, 400, "a Grafana token"),
    Issued("glsa_", b"_", 32, 64, "a Grafana token"),
    Issued("HRKU-", b"-_", 36, 70, "a Heroku key"),
    Issued("hvs.", b"-_", 90, 120, "a Vault token"),
    Issued("hvb.", b"-_", 130, 220, "a Vault token"),
    Issued("lin_api_", b"", 40, 40, "a Linear API key"),
    Issued("ntn_", b"", 40, 50, "a Notion token"),
    Issued("secret_", b"", 43, 43, "a Notion token"),
    Issued("PMAK-", b"-", 59, 59, "a Postman API key"),
    Issued("pul-", b"", 40, 40, "a Pulumi token"),
    Issued("pscale_tkn_", b"-_.=", 32, 64, "a PlanetScale token"),
    Issued("pscale_pw_", b"-_.=", 32, 64, "a PlanetScale password"),
    Issued("rubygems_", b"", 48, 48, "a RubyGems API key"),
    Issued("xkeysib-", b"-", 64, 90, "a Brevo API key"),
    Issued("key-", b"", 32, 32, "a Mailgun API key"),
    Issued("sbp_", b"", 40, 40, "a Supabase token"),
    Issued("tskey-", b"-", 20, 64, "a Tailscale key"),
    Issued("tfp_", b"-_=.", 59, 59, "a Typeform token"),
    Issued("ATATT3", b"-_=", 150, 200, "an Atlassian token"),
    Issued("ATBB", b"", 32, 32, "a Bitbucket password"),
    Issued("CLOJARS_", b"", 60, 60, "a Clojars token"),
    Issued("NRAK-", b"", 27, 27, "a New Relic key"),
    Issued("sntrys_", b"+/=_-", 60, 400, "a Sentry token"),
    Issued("sntryu_", b"", 64, 64, "a Sentry token"),
    Issued("sq0atp-", b"-_", 22, 22, "a Square token"),
    Issued("sq0csp-", b"-_", 43, 43, "a Square secret"),
    Issued("AGE-SECRET-KEY-1", b"", 58, 58, "an age key"),
    Issued("ico-", b"", 32, 32, "an Infracost key"),
    Issued("rdme_", b"", 70, 70, "a ReadMe key"),
    Issued("dckr_pat_", b"-_", 27, 27, "a Docker token"),
    Issued("EAACEdEose0cBA", b"", 20, 300, "a Facebook token"),
    Issued("AAAAAAAAAAAAAAAAAAAAA", b"%=", 60, 120, "a Twitter token"),
    Issued("figd_", b"-_", 40, 50, "a Figma token"),
    Issued("cfut_", b"-_", 40, 50, "a Cloudflare token"),
    Issued("phc_", b"", 43, 43, "a PostHog key"),
];

/// A value that follows an option or a scheme of HTTP, without a mark between; a name may stand before it.
const SHOWN_BY: &[(&str, bool)] = &[
    ("bearer ", false),
    ("authorization: basic ", false),
    ("authorization: token ", false),
    ("authorization: ", false),
    ("--token ", false),
    ("--token=", false),
    ("--password ", false),
    ("--password=", false),
    ("--passwd ", false),
    ("--pass ", false),
    ("--api-key ", false),
    ("--api-key=", false),
    ("--apikey ", false),
    ("--secret ", false),
    ("--secret=", false),
    ("--access-token ", false),
    ("--auth-token ", false),
    ("--client-secret ", false),
    ("--private-key ", false),
    ("--secret-key ", false),
    ("--key ", false),
    ("sshpass -p ", false),
    (" -p", false),
    ("--requirepass ", false),
    ("curl -u ", true),
    (" -u ", true),
    ("--user ", true),
    ("--user=", true),
    ("accountkey=", false),
    ("sharedaccesskey=", false),
    ("x-api-key: ", false),
    ("sig=", false),
];

/// What a value is called that nobody else may know; the languages of those without spaces need no mark after them.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "password", "passwd", "pass", "pw", "passphrase", "passcode", "pwd", "secret", "token", "api key", "api_key", "api-key", "apikey", "access key", "access_key", "access-key", "accesskey", "private key", "private_key", "private-key", "privatekey", "auth key", "auth_key", "auth-key", "authkey", "secret key", "secret_key", "secretkey", "encryption key", "encryption_key", "signing key", "signing_key", "client secret", "credential",
    "passwort", "kennwort", "passphrase", "schlüssel", "zugangsdaten", "mot de passe", "mdp", "clé api", "clé d'api", "clef api", "jeton", "contraseña", "contrasena", "clave", "senha", "chave de api", "chave api", "chave", "palavra-passe", "parola d'ordine", "parola", "parolă", "chiave api", "chiave", "wachtwoord", "sleutel", "lösenord", "nyckel", "adgangskode", "kodeord", "passord", "salasana", "avain",
    "hasło", "hasla", "klucz api", "klucz", "heslo", "jelszó", "cheie api", "cheie", "parool", "slaptažodis", "parole", "lozinka", "geslo", "пароль", "пароля", "ключ", "токен", "парола", "κωδικός", "συνθηματικό", "şifre", "sifre", "anahtarı", "anahtar", "mật khẩu", "kata sandi", "sandi",
    "密码", "密碼", "口令", "密钥", "密鑰", "令牌", "パスワード", "キー", "トークン", "비밀번호", "암호", "키", "토큰", "كلمة المرور", "كلمة السر", "مفتاح", "رمز", "گذرواژه", "סיסמה", "סיסמא", "पासवर्ड", "कुंजी", "टोकन", "รหัสผ่าน",
];

/// Tokens known by their form: Discord's and Telegram's, client secrets of Azure, lists' keys of Mailchimp, Twilio's.
static FORMED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)(?:[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}|[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}|[0-9a-f]{32}-us[0-9]{1,2}|SK[0-9a-f]{32})";
    Regex::new(pattern).expect("the pattern is valid")
});

const BEGIN_KEY: &str = "-----BEGIN ";

/// What a secret begins with or is announced by: [`ISSUED`], a key's block, [`SHOWN_BY`] and [`NAMES`], in one look.
static SIGNS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let issued = ISSUED.iter().map(|issued| issued.0);
    let shown = SHOWN_BY.iter().map(|(shown, _)| *shown);
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(aho_corasick::AhoCorasickKind::DFA))
        .match_kind(aho_corasick::MatchKind::LeftmostLongest)
        .build(
            issued
                .chain([BEGIN_KEY])
                .chain(shown)
                .chain(NAMES.iter().copied()),
        )
        .expect("a few hundred signs fit")
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    for found in SIGNS.find_iter(text) {
        let (sign, first_shown) = (found.pattern().as_usize(), ISSUED.len() + 1);
        let secret = match sign.checked_sub(first_shown) {
            None => issued(text, found.range(), sign),
            Some(shown) if shown < SHOWN_BY.len() => shown_by(text, found.end(), SHOWN_BY[shown])
                .map(|span| (span, "a value given as a secret", 0.7)),
            Some(_) => {
                let name = &text[found.range()];
                let value = assigned(text, &found.range());
                let value = value.filter(|value| is_value_of(name, &text[value.clone()]));
                value.map(|span| (span, "a value assigned to a secret", 0.7))
            }
        };
        seen.extend(
            secret
                .map(|(span, message, score)| Sighting::new(span, "SECRET", message).scored(score)),
        );
    }
    // The shortest of them has 33 letters and digits in a row, or marks between them.
    if view.longest_code() >= 10 {
        for found in FORMED
            .find_iter(text)
            .filter(|found| bits(found.as_str()) >= 3.0)
        {
            seen.push(Sighting::new(found.range(), "SECRET", "a token").scored(0.9));
        }
    }
}

/// A secret that its issuer marks, or the block of a private key.
fn issued(
    text: &str,
    begins: Range<usize>,
    sign: usize,
) -> Option<(Range<usize>, &'static str, f32)> {
    let before = text[..begins.start].chars().next_back();
    if before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let (span, message) = match ISSUED.get(sign) {
        Some(issued) if text[begins.clone()] == *issued.0 => issued_secret(text, begins, issued)?,
        None if text[begins.clone()] == *BEGIN_KEY => {
            (private_key(text, begins.start)?, "a private key")
        }
        _ => return None,
    };
    Some((span, message, 0.95))
}

/// The secret behind an option or a scheme of HTTP.
fn shown_by(text: &str, end: usize, (shown, has_name): (&str, bool)) -> Option<Range<usize>> {
    // Of the programs whose `-p` takes something, that of the data base takes a password, without a blank.
    let before = &text[text.floor_char_boundary(end.saturating_sub(64))..end];
    if shown == " -p" && (!before.contains("mysql") || text[end..].starts_with(' ')) {
        return None;
    }
    let (mut value, _) = value_at(text, end)?;
    if has_name {
        value.start += text[value.clone()].find(':')? + 1;
    }
    let secret = &text[value.clone()];
    let is_long = secret.len() >= 16 || has_name || shown.contains("pass") || shown == " -p";
    (is_long && (is_random(secret) || is_key(secret))).then_some(value)
}

/// Could this be what is called so? Words of everyday life, as *key*, take what is longer and drawn at random.
fn is_value_of(name: &str, value: &str) -> bool {
    is_random(value) || is_key(value) || is_password_name(name) && is_mixed(value)
}

fn is_password_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let others = [
        "token",
        "key",
        "schlüssel",
        "jeton",
        "clave",
        "chave",
        "chiave",
        "sleutel",
        "nyckel",
        "avain",
        "klucz",
        "cheie",
        "ключ",
        "токен",
        "anahtar",
        "密钥",
        "密鑰",
        "令牌",
        "キー",
        "トークン",
        "키",
        "토큰",
        "مفتاح",
        "رمز",
        "कुंजी",
        "टोकन",
        "secret",
        "credential",
        "pat",
        "clé",
        "clef",
    ];
    !others.iter().any(|other| name.contains(other))
}

/// The value that is assigned to a name: `name: value`, `name = "value"`, `"name": "value"`, `name is value`.
fn assigned(text: &str, name: &Range<usize>) -> Option<Range<usize>> {
    let joined = text[..name.start]
        .chars()
        .next_back()
        .is_some_and(char::is_alphabetic);
    let needs_no_mark = text[name.clone()]
        .chars()
        .next()
        .is_some_and(|c| !c.is_ascii() && (has_no_spaces(c) || c > '\u{5ff}'));
    // `tokenize` and `passwords` are other words; `user_password` and `dbPassword` are not.
    let is_suffix = text[name.clone()].starts_with(|c: char| c.is_ascii_uppercase());
    if joined && !is_suffix && !needs_no_mark && !text[..name.start].ends_with(['_', '-']) {
        // `dbpassword`, `mypwd`: a name in one piece.
        let ascii = text[..name.start].ends_with(|c: char| c.is_ascii_alphabetic());
        if !ascii {
            return None;
        }
    }
    // The rest of the name: `password_hash` is none, `password2` and `token_prod` are.
    let mut at = name.end;
    let reach = text.floor_char_boundary((at + LONGEST).min(text.len()));
    let text = &text[..reach];
    let rest = &text[at..];
    let tail = rest.len()
        - rest
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            .len();
    // `secretsmanager` is another word, `tokens` and `secretKey` are not.
    let lower = rest[..tail]
        .bytes()
        .take_while(u8::is_ascii_lowercase)
        .count();
    let before_name =
        text[text.floor_char_boundary(name.start.saturating_sub(12))..name.start].to_lowercase();
    let of_pages = [
        "next",
        "page",
        "paging",
        "lock",
        "update",
        "sync",
        "continuation",
        "resume",
        "cursor",
        "::",
    ];
    let is_other = of_pages
        .iter()
        .any(|other| before_name.trim_end_matches(['_', '-']).ends_with(other));
    let is_english = ["secret", "token", "credential"]
        .iter()
        .any(|english| text[name.clone()].eq_ignore_ascii_case(english));
    let is_longer = is_english && (lower > 1 || lower == 1 && !rest.starts_with('s'));
    if is_other || is_longer {
        return None;
    }
    if ["hash", "_len", "_count", "izer", "ize"]
        .iter()
        .any(|other| rest[..tail].to_lowercase().contains(other))
    {
        return None;
    }
    let is_short = text[name.clone()].len() <= 4 && text[name.clone()].is_ascii();
    if is_short && (tail > 0 || joined) {
        return None;
    }
    at += tail.min(24);
    // What Markdown and quotes put around a name.
    let skip = |at: usize, marks: &[char]| {
        at + (text[at..].len() - text[at..].trim_start_matches(marks).len())
    };
    let after_name = skip(at, &['"', '\'', '`', '*', ']', ')', ' ', '\t']);
    if after_name - at > 6 {
        return None;
    }
    let rest = &text[after_name..];
    const MARKS: [&str; 26] = [
        ":=", "=>", "==", "->", ":", "=", "|", "is ", "lautet ", "ist ", "est ", "es ", "è ", "é ",
        "to ", "on ", "är ", "este ", "это ", "— ", "– ", "- ", "是", "为", "は", "는 ",
    ];
    let mark = MARKS.iter().find(|mark| rest.starts_with(**mark));
    let is_word = mark.is_some_and(|mark| mark.ends_with(' '));
    let has_blank = after_name > at && text[at..after_name].contains(' ');
    let value = match mark {
        Some(_) if is_word && !has_blank && !needs_no_mark => return None,
        Some(mark) => after_name + mark.len(),
        None if needs_no_mark
            || has_blank && tail == 0 && is_password_name(&text[name.clone()]) =>
        {
            after_name
        }
        None => return None,
    };
    let (value, next) = value_at(text, skip(value, &[' ', '\t']))?;
    let called = matches!(next, Some('(' | '[' | '{'));
    (!called).then_some(value)
}

/// The longest value that is looked at, with what stands between it and its name, in bytes.
const LONGEST: usize = 320;

/// The value that begins here, behind what quotes it, and the character after it.
fn value_at(text: &str, at: usize) -> Option<(Range<usize>, Option<char>)> {
    let marks = ['"', '\'', '`', '*', ' '];
    let reach = text.floor_char_boundary((at + LONGEST).min(text.len()));
    let text = &text[..reach];
    let rest = &text[at..];
    let opened = rest.len() - rest.trim_start_matches(marks).len();
    if opened > 4 {
        return None;
    }
    let start = at + opened;
    let quote = rest[..opened]
        .chars()
        .rev()
        .find(|c| *c != ' ' && *c != '*');
    // Within quotes all but the quote itself may stand; without, what closes a list or a sentence ends it.
    let ends = |c: char| {
        c.is_whitespace()
            || matches!(c, '"' | '`' | '<' | '>')
            || (c == '\'' && quote != Some('"'))
            || quote.is_none()
                && (matches!(c, ',' | ';' | '|' | '(' | ')' | '{' | '}' | '[' | ']')
                    || !c.is_ascii())
    };
    let length = text[start..].find(ends).unwrap_or(text.len() - start);
    let value = text[start..start + length].trim_end_matches(['.', ':', '\\', '*']);
    let next = text[start + length..].chars().next();
    let long = (8..=256).contains(&value.len());
    long.then(|| (start..start + value.len(), next))
}

/// Is this a password as people make them: upper and lower case that change as no name's do?
fn is_mixed(value: &str) -> bool {
    let kind = |c: char| match c {
        'a'..='z' => Some(0),
        'A'..='Z' => Some(1),
        '0'..='9' => Some(2),
        _ => None,
    };
    let kinds: Option<Vec<i32>> = value.chars().map(kind).collect();
    let Some(kinds) = kinds else { return false };
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // `getUserName` changes twice a word of four letters or more, what is drawn changes two times in three.
    !is_stand_in(value)
        && kinds.contains(&0)
        && kinds.contains(&1)
        && 2 * changes >= value.len()
        && bits(value) >= 2.75
}

/// Is this a long row drawn from an alphabet of keys: hexadecimal or base 64?
fn is_key(value: &str) -> bool {
    let plain = value.trim_end_matches('=');
    let of = |more: &[u8]| {
        plain
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let hexadecimal = plain.len() >= 24 && plain.bytes().all(|c| c.is_ascii_hexdigit());
    let digits = plain.bytes().filter(u8::is_ascii_digit).count();
    let base64 = plain.len() >= 24
        && of(b"+/-_.~")
        && digits >= 1
        && is_mixed(&plain.replace(['+', '/', '-', '_', '.', '~'], ""));
    !is_stand_in(value)
        && digits > 0
        && (hexadecimal && bits(plain) >= 2.8 || base64 && bits(plain) >= 3.5)
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
    let whole = (least..=most).contains(&secret.len())
        && !is_stand_in(secret)
        && !secret.ends_with("EXAMPLE")
        && bits(secret) >= 2.5;
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
    let body_start = BEGIN_KEY.len() + kind.len() + 5;
    let (body, end) = match block.find(&end_line) {
        Some(end) => (block.get(body_start..end)?, end + end_line.len()),
        // What is cut off is as secret as far as it goes.
        None => {
            let rest = block.get(body_start..)?;
            let of_key = |c: char| c.is_ascii_alphanumeric() || "+/=\n\r\\".contains(c);
            let length = rest.find(|c| !of_key(c)).unwrap_or(rest.len());
            (&rest[..length], body_start + length)
        }
    };
    let filled = body.bytes().filter(u8::is_ascii_alphanumeric).count() >= 32 && bits(body) >= 3.0;
    let private =
        kind.len() < 40 && kind.ends_with("PRIVATE KEY") || kind == "PGP PRIVATE KEY BLOCK";
    (private && filled).then(|| start..start + end)
}

/// Could this be drawn at random, rather than be a word, a number, a path, a type or a call?
pub fn is_random(value: &str) -> bool {
    let value = value.trim_end_matches(['.', ':', '!', '?', '\\']);
    let count = |kind: fn(&u8) -> bool| value.bytes().filter(kind).count();
    let (digits, letters) = (count(u8::is_ascii_digit), count(u8::is_ascii_alphabetic));
    let named = ["::", "->", "//", "${", "{{"]
        .iter()
        .any(|joint| value.contains(joint))
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
