//! What stands in for text that must not be trained on.
//!
//! A placeholder names the kind (`<EMAIL>`). A pseudonym is made up, the same for the same text in the
//! whole dataset and in later builds with the same key file, so that who said what stays visible. Only
//! the key file leads back; without it a pseudonym is a keyed hash.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hone_ledger::{ContentId, Lock, LockError, WriteError, write_private};
use serde::{Deserialize, Serialize};

use hone_data::Place;

use crate::rules::personal::phone;
use crate::text::has_no_spaces;
use crate::view::View;

/// A stretch of text to be replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Where, in bytes.
    pub span: Range<usize>,
    /// By what.
    pub by: StandIn,
    /// How sure the rule was.
    pub score: f32,
}

/// What stands in for a stretch of text.
#[derive(Clone, Debug, PartialEq)]
pub struct StandIn {
    /// In a text.
    pub text: String,
    /// Where only a number can stand, as in JSON without quotes.
    pub number: String,
}

impl StandIn {
    /// The placeholder of a kind of text, and the number 0.
    pub fn placeholder(label: &str) -> Self {
        Self {
            text: placeholder(label),
            number: "0".into(),
        }
    }
}

/// The placeholder of a kind of text.
pub fn placeholder(label: &str) -> String {
    match label {
        "" => "<REDACTED>".to_owned(),
        label => format!("<{label}>"),
    }
}

/// A text with stretches replaced. Stretches that overlap are replaced as one, by what stands in for the surest of them,
/// then for the longest: nothing of any of them stays. A number of JSON or of a program becomes a number, so that
/// what could be read by a program still can.
pub fn replace(text: &str, replacements: Vec<Replacement>) -> String {
    let (mut changed, mut at) = (String::with_capacity(text.len()), 0);
    for Replacement { span, by, .. } in merged(replacements) {
        changed.push_str(&text[at..span.start]);
        changed.push_str(&written(text, &span, &by));
        at = span.end;
    }
    changed + &text[at..]
}

/// Stretches of which no two overlap, in their order, that cover what the given ones cover.
fn merged(mut replacements: Vec<Replacement>) -> Vec<Replacement> {
    replacements.sort_by_key(|replacement| (replacement.span.start, replacement.span.end));
    let mut merged: Vec<(Replacement, usize)> = Vec::new();
    for next in replacements {
        let length = next.span.len();
        match merged.last_mut() {
            Some((last, best)) if next.span.start < last.span.end => {
                let is_better = match next.score.total_cmp(&last.score) {
                    Ordering::Equal => length > *best,
                    order => order.is_gt(),
                };
                let span = last.span.start..last.span.end.max(next.span.end);
                if is_better {
                    (*last, *best) = (next, length);
                }
                last.span = span;
            }
            _ => merged.push((next, length)),
        }
    }
    merged
        .into_iter()
        .map(|(replacement, _)| replacement)
        .collect()
}

/// What is written for a stretch where it stands.
fn written<'a>(text: &str, span: &Range<usize>, by: &'a StandIn) -> Cow<'a, str> {
    let (before, after) = (&text[..span.start], &text[span.end..]);
    if is_bare_number(&text[span.clone()], before, after) {
        return by.number.as_str().into();
    }
    // Between two tags a `<` would begin a third.
    if before.ends_with('>') && after.starts_with("</") {
        return by.text.replace('<', "&lt;").replace('>', "&gt;").into();
    }
    by.text.as_str().into()
}

/// Is this a number of JSON or of a program, where a placeholder could not be read?
fn is_bare_number(number: &str, before: &str, after: &str) -> bool {
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let (left, right) = (before.trim_end(), after.trim_start());
    let closes = right.is_empty() || right.starts_with([',', '}', ']', ')', ';']);
    let line = before.rsplit('\n').next().unwrap_or_default();
    let is_name = |text: &str| text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    closes
        && match left.chars().next_back() {
            Some(':') => left[..left.len() - 1].trim_end().ends_with(['"', '\'']),
            Some('[') => true,
            Some(',') => is_in_list(left) && !right.is_empty(),
            Some('(') => is_name(&left[..left.len() - 1]) || left.ends_with("VALUES ("),
            Some('=') => {
                let is_spaced = before.ends_with(' ') && is_name(left[..left.len() - 1].trim_end());
                (is_spaced || right.starts_with([';', ')', ',']))
                    && !line.contains(['?', '&'])
                    && left.chars().rev().nth(1).is_some_and(|c| c.is_ascii())
            }
            _ => false,
        }
}

/// Does the text end within the brackets of a list whose values are numbers and quoted texts?
fn is_in_list(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or_default();
    let Some(open) = line.rfind(['[', ']', '(', ')']) else {
        return false;
    };
    let values = &line[open + 1..];
    let is_value = |value: &str| {
        let value = value.trim();
        value.is_empty()
            || value.starts_with(['"', '\''])
            || value
                .bytes()
                .all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c))
    };
    match line.as_bytes()[open] {
        b'[' => values.split(',').all(is_value),
        b'(' => values.contains(['"', '\'']) && values.split(',').all(is_value),
        _ => false,
    }
}

/// Values that must not stand anywhere in a row, each with what stands in for it.
///
/// A rule finds a value where its form or the words beside it tell. The same value may stand elsewhere in the row, as a
/// group, in the definition of a tool, in another turn without such words: there it is looked for as it is.
#[derive(Debug, Default)]
pub struct Values {
    /// The longest first, so that a value within another leaves nothing of it.
    values: Vec<(String, StandIn)>,
}

impl Values {
    /// Adds a value; one that is there stays what it is.
    pub fn add(&mut self, value: &str, by: StandIn) {
        // An age or a house number says nothing where it stands elsewhere.
        let is_short = value.len() < 5 && value.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = self.values.iter().any(|(known, _)| known == value);
        if value.trim().is_empty() || is_short || is_known {
            return;
        }
        // A bracket or a quote around it stands only where it was seen.
        let bare = value.trim_matches(|c: char| !c.is_alphanumeric());
        if bare.len() > 4 && bare.len() < value.len() {
            self.add(bare, by.clone());
        }
        let at = self
            .values
            .partition_point(|(known, _)| known.len() >= value.len());
        self.values.insert(at, (value.to_owned(), by));
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The text with every value in it replaced, if there is one. A value that ends in a letter or a digit is not a part
    /// of a longer word or number.
    pub fn replaced(&self, text: &str, is_number: bool) -> Option<String> {
        let mut found = Vec::new();
        for (value, by) in &self.values {
            if is_number && value == text {
                return Some(by.number.clone());
            }
            found.extend(whole(text, value).map(|span| Replacement {
                span,
                by: by.clone(),
                score: 1.0,
            }));
        }
        (!found.is_empty()).then(|| replace(text, found))
    }

    /// The text with every value in it masked.
    pub fn masked(&self, text: &str) -> Option<String> {
        let mut found = Vec::new();
        for (value, _) in &self.values {
            let by = masked(value);
            found.extend(whole(text, value).map(|span| Replacement {
                span,
                by: StandIn {
                    text: by.clone(),
                    number: by.clone(),
                },
                score: 1.0,
            }));
        }
        (!found.is_empty()).then(|| replace(text, found))
    }
}

/// Where a value stands in a text: not as a part of a longer word or number, unless it is too odd to be one by chance.
fn whole<'a>(text: &'a str, value: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let is_odd = value.contains('@') || digits > 8 || digits > 1 && value.len() > 8;
    let joined = |a: Option<char>, b: Option<char>| {
        let both =
            |kind: fn(&char) -> bool| a.as_ref().is_some_and(kind) && b.as_ref().is_some_and(kind);
        both(char::is_ascii_digit) || both(|c| c.is_alphabetic() && !has_no_spaces(*c))
    };
    text.match_indices(value).filter_map(move |(at, _)| {
        let (before, after) = (&text[..at], &text[at + value.len()..]);
        let is_part = joined(before.chars().next_back(), value.chars().next())
            || joined(value.chars().next_back(), after.chars().next());
        (is_odd || !is_part).then(|| at..at + value.len())
    })
}

/// Personal text as it may be shown: its first and last character and its length.
pub fn masked(text: &str) -> String {
    let length = text.chars().count();
    match (text.chars().next(), text.chars().next_back()) {
        (Some(first), Some(last)) if length > 4 => {
            format!("{first}{}{last}", "•".repeat(length - 2))
        }
        _ => "•".repeat(length),
    }
}

/// Made-up names and what they stand for.
#[derive(Debug)]
pub struct Pseudonyms {
    path: PathBuf,
    key: String,
    known: Mutex<BTreeMap<String, String>>,
    countries: phone::Countries,
    _lock: Lock,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    key: String,
    pseudonyms: BTreeMap<String, String>,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum KeyError {
    #[error("cannot read the pseudonym key {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not a pseudonym key: {what}", path.display())]
    NotAKey { path: PathBuf, what: String },
    #[error("the system gives no random numbers for a key: {source}")]
    NoKey { source: io::Error },
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl KeyError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Locked(LockError::Held { .. }) => {
                vec![
                    "wait until it ends: two commands at once would make up names by two keys"
                        .into(),
                ]
            }
            Self::Locked(error) => error.hints(),
            Self::Write(error) => error.hints(),
            Self::Unreadable { .. } | Self::NotAKey { .. } => vec![
                "name another file as `pseudonym-key`; it is made where there is none, and the file there stays as it is"
                    .into(),
            ],
            Self::NoKey { .. } => Vec::new(),
        }
    }
}

impl Pseudonyms {
    /// Those of a key file; if there is none yet, `fresh` makes the key of a new one. Nobody else opens it meanwhile, so that
    /// no name is lost that another command adds.
    pub fn open(path: &Path, fresh: impl FnOnce() -> io::Result<String>) -> Result<Self, KeyError> {
        // Of a link the file that it leads to is the key: that is the one to keep, and to keep from others.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let lock = Lock::take_beside(path, "hone data")?;
        let (key, known) = match fs::read(path) {
            Ok(bytes) => {
                let file: KeyFile =
                    serde_json::from_slice(&bytes).map_err(|error| KeyError::NotAKey {
                        path: path.to_path_buf(),
                        // The parser quotes what it reads, which may be a secret.
                        what: format!("line {}, column {}", error.line(), error.column()),
                    })?;
                (file.key, file.pseudonyms)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = fresh().map_err(|source| KeyError::NoKey { source })?;
                (key, BTreeMap::new())
            }
            Err(source) => {
                return Err(KeyError::Unreadable {
                    path: path.to_path_buf(),
                    source,
                });
            }
        };
        let mut pseudonyms = Self {
            path: path.to_path_buf(),
            key,
            known: Mutex::new(BTreeMap::new()),
            countries: phone::Countries::default(),
            _lock: lock,
        };
        // Of numbers of earlier builds it is known which country they are of.
        let numbers = known.iter().filter(|(name, _)| name.starts_with("<PHONE-"));
        numbers.for_each(|(_, number)| pseudonyms.meet_number(number));
        pseudonyms.known = Mutex::new(known);
        Ok(pseudonyms)
    }

    /// Takes note of a telephone number of the rows before any is replaced: one with the code of a country tells the country
    /// of the same number without it.
    pub fn meet_number(&mut self, number: &str) {
        self.countries.meet(&plain(number));
    }

    /// The name made up for a text of a kind, and the number where only a number can stand. Spellings of one number or
    /// address have one name: blanks, hyphens and case tell no two people apart, and no more does the code of a country,
    /// if the number is met with one code only; the same number in two countries is two people's.
    pub fn of(&self, label: &str, text: &str) -> StandIn {
        let canonical = self.canonical(label, text);
        let id = ContentId::of(format!("{}\n{label}\n{canonical}", self.key).as_bytes());
        let digits = id.to_string();
        let short = &digits[..10];
        // Fifteen digits from 99 on are no card, account or telephone number, and a double holds them exactly.
        let number =
            u64::from_str_radix(&digits[..12], 16).unwrap_or_default() % 10_000_000_000_000;
        let number = format!("99{number:013}");
        let made_up = match label {
            // Domains and numbers that are reserved: nobody has them, and no rule takes them for real.
            "EMAIL" => format!("user-{short}@example.com"),
            "PERSON" => format!("Person-{short}"),
            "" => format!("<REDACTED-{short}>"),
            label => format!("<{label}-{short}>"),
        };
        let mut known = self.known.lock().expect("nobody panics while holding it");
        for name in [&made_up, &number] {
            known.entry(name.clone()).or_insert_with(|| text.to_owned());
        }
        StandIn {
            text: made_up,
            number,
        }
    }

    /// A text as it is the same for all spellings of one person's number or address.
    fn canonical(&self, label: &str, text: &str) -> String {
        let plain = plain(text);
        match label {
            "PHONE" => self.countries.canonical(&plain),
            "EMAIL" | "PERSON" | "LOCATION" | "ORGANISATION" | "SECRET" | "CREDENTIALS" | "URL" => {
                plain
            }
            _ => {
                let characters: String = plain.chars().filter(|c| c.is_alphanumeric()).collect();
                match characters.is_empty() {
                    true => plain,
                    false => characters,
                }
            }
        }
    }

    /// Writes the key file, which leads back from each name to what it stands for. Only its owner may read it.
    pub fn save(&self) -> Result<(), KeyError> {
        let file = KeyFile {
            key: self.key.clone(),
            pseudonyms: self
                .known
                .lock()
                .expect("nobody panics while holding it")
                .clone(),
        };
        let mut json = serde_json::to_vec_pretty(&file).expect("texts are JSON");
        json.push(b'\n');
        Ok(write_private(&self.path, &json)?)
    }
}

/// A text in plain digits and lower case.
fn plain(text: &str) -> String {
    View::new(Place::Text, text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(span: Range<usize>, by: &str, score: f32) -> Replacement {
        Replacement {
            span,
            by: StandIn {
                text: by.into(),
                number: "0".into(),
            },
            score,
        }
    }

    #[test]
    fn stretches_are_replaced_and_the_rest_is_kept() {
        assert_eq!(
            replace(
                "call 555 or 556",
                vec![by(12..15, "<B>", 1.0), by(5..8, "<A>", 0.5)]
            ),
            "call <A> or <B>"
        );
        assert_eq!(replace("same", Vec::new()), "same");
    }

    #[test]
    fn overlapping_stretches_leave_together_under_the_name_of_the_surer_then_the_longer() {
        let both = vec![by(0..4, "<SHORT>", 0.5), by(2..7, "<SURE>", 0.9)];
        assert_eq!(replace("abcdefgh", both), "<SURE>h");
        let alike = vec![by(2..4, "<SHORT>", 0.5), by(0..6, "<LONG>", 0.5)];
        assert_eq!(replace("abcdefgh", alike), "<LONG>gh");
        let chain = vec![
            by(0..3, "<A>", 0.9),
            by(2..5, "<B>", 0.5),
            by(4..7, "<C>", 0.5),
        ];
        assert_eq!(replace("abcdefgh", chain), "<A>h");
        let beside = vec![by(0..3, "<A>", 0.9), by(3..5, "<B>", 0.5)];
        assert_eq!(replace("abcdefgh", beside), "<A><B>fgh");
    }

    #[test]
    fn a_number_becomes_a_number_where_a_program_reads_it_and_a_placeholder_where_people_do() {
        let number = "4539578763621486";
        let replaced = |text: &str| {
            let at = text.find(number).unwrap();
            replace(text, vec![by(at..at + number.len(), "<CARD>", 1.0)])
        };
        for (text, expected) in [
            (
                r#"{"pan":4539578763621486,"ok":true}"#,
                r#"{"pan":0,"ok":true}"#,
            ),
            (r#"{"pan": "4539578763621486"}"#, r#"{"pan": "<CARD>"}"#),
            ("[1, 4539578763621486, 2]", "[1, 0, 2]"),
            ("[4539578763621486]", "[0]"),
            ("pan = 4539578763621486;", "pan = 0;"),
            ("charge(4539578763621486, 5)", "charge(0, 5)"),
            ("VALUES ('a', 4539578763621486)", "VALUES ('a', 0)"),
            ("Karte: 4539578763621486, danke", "Karte: <CARD>, danke"),
            ("my card (4539578763621486)", "my card (<CARD>)"),
            ("Bo,4539578763621486,x", "Bo,<CARD>,x"),
            ("?card=4539578763621486&x=1", "?card=<CARD>&x=1"),
            ("<pan>4539578763621486</pan>", "<pan>&lt;CARD&gt;</pan>"),
        ] {
            assert_eq!(replaced(text), expected);
        }
    }

    #[test]
    fn a_value_is_found_anywhere_but_within_a_longer_word_or_number() {
        let mut values = Values::default();
        values.add("Bo", StandIn::placeholder("PERSON"));
        values.add("bo@x.org", StandIn::placeholder("EMAIL"));
        values.add("12345678", StandIn::placeholder("PHONE"));
        let replaced = |text: &str| values.replaced(text, false);
        assert_eq!(
            replaced("Bo, bo@x.org; Bob 12345678号").unwrap(),
            "<PERSON>, <EMAIL>; Bob <PHONE>号"
        );
        assert_eq!(replaced("Bob 912345678"), None);
        assert_eq!(values.replaced("12345678", true).unwrap(), "0");
        assert_eq!(values.masked("to bo@x.org").unwrap(), "to b••••••g");
    }

    #[test]
    fn masking_keeps_the_ends_of_long_texts_only() {
        assert_eq!(masked("jörg@x.org"), "j••••••••g");
        assert_eq!(masked("1234"), "••••");
    }

    #[test]
    fn pseudonyms_are_stable_under_their_key_and_lead_back_only_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        let mut first = Pseudonyms::open(&path, || Ok("k1".into())).unwrap();
        first.meet_number("+41 79 234 56 78");
        let name = first.of("EMAIL", "ann@corp.test");
        assert_eq!(name, first.of("EMAIL", "Ann@corp.test"));
        assert_ne!(name, first.of("EMAIL", "bob@corp.test"));
        let spellings = |label: &str, spellings: &[&str]| {
            let names: Vec<StandIn> = spellings.iter().map(|text| first.of(label, text)).collect();
            assert!(
                names.windows(2).all(|pair| pair[0] == pair[1]),
                "{spellings:?}"
            );
        };
        spellings(
            "CREDIT_CARD",
            &[
                "4539 5787 6362 1486",
                "4539-5787-6362-1486",
                "４５３９578763621486",
            ],
        );
        spellings(
            "IBAN",
            &["DE02 1203 0000 0000 2020 51", "de02120300000000202051"],
        );
        spellings(
            "PHONE",
            &["+41 79 234 56 78", "0041792345678", "079 234 56 78"],
        );
        first.save().unwrap();
        let at_once = Pseudonyms::open(&path, || Ok("k2".into())).unwrap_err();
        assert!(
            at_once.to_string().contains("is being written by process"),
            "{at_once}"
        );
        drop(first);
        let again = Pseudonyms::open(&path, || Ok("k2".into())).unwrap();
        assert_eq!(again.of("EMAIL", "ann@corp.test"), name);
        let other = Pseudonyms::open(&dir.path().join("other"), || Ok("k2".into())).unwrap();
        assert_ne!(other.of("EMAIL", "ann@corp.test"), name);
        assert!(fs::read_to_string(&path).unwrap().contains("ann@corp.test"));
    }

    #[test]
    fn another_file_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        fs::write(&path, "{}").unwrap();
        let error = Pseudonyms::open(&path, || Ok("k".into()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("is not a pseudonym key"), "{error}");
    }
}
