//! What stands in for text that must not be learnt.
//!
//! A placeholder names the kind (`<EMAIL>`). A pseudonym is made up, the same for the same text in the
//! whole dataset and in later builds with the same key file, so that who said what stays visible. Only
//! the key file leads back; without it a pseudonym is a keyed hash.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hone_ledger::{ContentId, Lock, LockError, WriteError, write_private};
use serde::{Deserialize, Serialize};

/// A stretch of text to be replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Where, in bytes.
    pub span: Range<usize>,
    /// By what.
    pub by: String,
    /// How sure the rule was.
    pub score: f32,
}

/// The placeholder of a kind of text.
pub fn placeholder(label: &str) -> String {
    match label {
        "" => "<REDACTED>".to_owned(),
        label => format!("<{label}>"),
    }
}

/// A text with stretches replaced. Of stretches that overlap the surer one counts, then the longer, then the first.
pub fn replace(text: &str, mut replacements: Vec<Replacement>) -> String {
    replacements.sort_by(|a, b| {
        (b.score.total_cmp(&a.score))
            .then(b.span.len().cmp(&a.span.len()))
            .then(a.span.start.cmp(&b.span.start))
    });
    let mut taken = Taken::default();
    let mut chosen = replacements;
    chosen.retain(|replacement| taken.take(&replacement.span));
    chosen.sort_by_key(|replacement| replacement.span.start);
    let (mut changed, mut at) = (String::with_capacity(text.len()), 0);
    for Replacement { span, by, .. } in chosen {
        changed.push_str(&text[at..span.start]);
        changed.push_str(&by);
        at = span.end;
    }
    changed + &text[at..]
}

/// Stretches of one text of which no two overlap: a text may have a million.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The end of each, by its start.
    ends: BTreeMap<usize, usize>,
}

impl Taken {
    /// Takes a stretch, unless it overlaps one that is taken.
    pub fn take(&mut self, span: &Range<usize>) -> bool {
        let before = self.ends.range(..span.end).next_back();
        let is_free = before.is_none_or(|(_, &end)| end <= span.start);
        if is_free {
            self.ends.insert(span.start, span.end);
        }
        is_free
    }
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
            _ => Vec::new(),
        }
    }
}

impl Pseudonyms {
    /// Those of a key file; if there is none yet, `fresh` makes the key of a new one. Nobody else opens it meanwhile, so that
    /// no name is lost that another command adds.
    pub fn open(path: &Path, fresh: impl FnOnce() -> io::Result<String>) -> Result<Self, KeyError> {
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
        Ok(Self {
            path: path.to_path_buf(),
            key,
            known: Mutex::new(known),
            _lock: lock,
        })
    }

    /// The name made up for a text of a kind.
    pub fn of(&self, label: &str, text: &str) -> String {
        let digits =
            ContentId::of(format!("{}\n{label}\n{}", self.key, text.to_lowercase()).as_bytes())
                .to_string();
        let short = &digits[..10];
        let made_up = match label {
            // Domains and numbers that are reserved: nobody has them, and no rule takes them for real.
            "EMAIL" => format!("user-{short}@example.com"),
            "PERSON" => format!("Person-{short}"),
            "" => format!("<REDACTED-{short}>"),
            label => format!("<{label}-{short}>"),
        };
        let mut known = self.known.lock().expect("nobody panics while holding it");
        known
            .entry(made_up.clone())
            .or_insert_with(|| text.to_owned());
        made_up
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

#[cfg(test)]
mod tests {
    use super::*;

    fn by(span: Range<usize>, by: &str, score: f32) -> Replacement {
        Replacement {
            span,
            by: by.into(),
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
    fn of_overlapping_stretches_the_surer_then_the_longer_counts() {
        let both = vec![by(0..4, "<SHORT>", 0.5), by(2..8, "<SURE>", 0.9)];
        assert_eq!(replace("abcdefgh", both), "ab<SURE>");
        let alike = vec![by(2..4, "<SHORT>", 0.5), by(0..6, "<LONG>", 0.5)];
        assert_eq!(replace("abcdefgh", alike), "<LONG>gh");
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
        let first = Pseudonyms::open(&path, || Ok("k1".into())).unwrap();
        let name = first.of("EMAIL", "ann@corp.test");
        assert_eq!(name, first.of("EMAIL", "Ann@corp.test"));
        assert_ne!(name, first.of("EMAIL", "bob@corp.test"));
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
