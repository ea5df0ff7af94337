//! The name of a thing is the hash of its bytes.
//!
//! One algorithm everywhere (SHA-256, the one that wheels, hubs and OCI registries already publish),
//! so an id printed by Hone can be checked with `sha256sum`.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::obstacle::Obstacle;

/// SHA-256 of some content; shown and stored as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId([u8; 32]);

impl ContentId {
    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The id of a file, read piece by piece: weights need not fit in memory.
    pub fn of_file(path: &Path) -> Result<Self, ReadError> {
        let fail = |source| ReadError {
            path: path.to_path_buf(),
            source,
        };
        let mut file = File::open(path).map_err(fail)?;
        let mut hasher = Hasher::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => hasher.update(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }

    /// The first eight bytes as a number in the same order, for tables of many rows: among a million ids, the chance that
    /// two begin alike is one in thirty million.
    pub fn prefix(&self) -> u64 {
        let (first, _) = self.0.split_first_chunk().expect("an id has 32 bytes");
        u64::from_be_bytes(*first)
    }

    /// The first twelve digits, for screens and directory names.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_string()
    }
}

/// A [`ContentId`] in the making, for content that arrives in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece. Where pieces are cut does not matter.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id of everything seen.
    pub fn finish(self) -> ContentId {
        ContentId(self.0.finalize().into())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

impl FromStr for ContentId {
    type Err = NotAContentId;

    fn from_str(text: &str) -> Result<Self, NotAContentId> {
        let refuse = || NotAContentId {
            text: text.to_string(),
        };
        // Upper case is refused: two spellings of one id would make two cache entries.
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(refuse());
        }
        let mut id = [0; 32];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| refuse())?;
        }
        Ok(Self(id))
    }
}

impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a content id: 64 lower-case hex digits are expected")]
pub struct NotAContentId {
    /// What was given.
    pub text: String,
}

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl ReadError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        let path = self.path.display();
        let hint = match self.source.kind() {
            ErrorKind::NotFound => format!("put {path} back, if something removed it"),
            ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                format!("move away what is there in place of {path}, and put back what was")
            }
            ErrorKind::PermissionDenied => {
                format!("check that you may read {path} (`ls -l` tells)")
            }
            _ => {
                return Obstacle::hint_without_place(&self.source)
                    .into_iter()
                    .collect();
            }
        };
        vec![hint]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_plain_sha256() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(ContentId::of(b"abc").to_string(), abc);
        assert_eq!(ContentId::of(b"abc").short(), &abc[..12]);
    }

    #[test]
    fn a_file_larger_than_one_piece_has_the_id_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        let bytes: Vec<u8> = (0..(1 << 20) + 7).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(ContentId::of_file(&path).unwrap(), ContentId::of(&bytes));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = ContentId::of_file(Path::new("/nowhere/weights.gguf")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nowhere/weights.gguf");
    }

    #[test]
    fn only_one_spelling_is_an_id() {
        let id = ContentId::of(b"abc").to_string();
        assert!(id.to_uppercase().parse::<ContentId>().is_err());
        assert!(id[1..].parse::<ContentId>().is_err());
        assert!("é".repeat(32).parse::<ContentId>().is_err());
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut hasher = Hasher::new();
            hasher.update(head);
            hasher.update(tail);
            prop_assert_eq!(hasher.finish(), ContentId::of(&bytes));
        }

        #[test]
        fn text_and_json_give_the_id_back(bytes: Vec<u8>) {
            let id = ContentId::of(&bytes);
            prop_assert_eq!(id.to_string().parse::<ContentId>().unwrap(), id);
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<ContentId>(&json).unwrap(), id);
        }
    }
}
