//! The prompts that a run is trained on, kept beside it, so that an evaluation knows which of its rows it has seen.

use std::io;
use std::path::Path;

use hone_data::Record;

use super::prompt;

/// The prompts of training rows, as `prompt-exact` compares them: eight bytes of each one's id, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainedPrompts(Vec<u64>);

impl TrainedPrompts {
    /// The prompts of these rows.
    pub fn of(records: &[Record]) -> Self {
        let mut ids: Vec<u64> = records.iter().flat_map(prompt::prefixes).collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids)
    }

    /// Does a row ask, in the end, what was trained on?
    pub fn has(&self, record: &Record) -> bool {
        let asked = prompt::prefixes(record).last();
        asked.is_some_and(|id| self.0.binary_search(&id).is_ok())
    }

    /// As bytes, eight for each prompt, the least significant first.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|id| id.to_le_bytes()).collect()
    }

    /// What a run has kept in a file; `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or that is not one that a run has written.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let (ids, rest) = bytes.as_chunks::<8>();
        let ids: Vec<u64> = ids.iter().map(|id| u64::from_le_bytes(*id)).collect();
        match rest.is_empty() && ids.is_sorted() {
            true => Ok(Some(Self(ids))),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is damaged, or nothing that a run has written",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(row: &str) -> Record {
        Record::from_json(row).unwrap()
    }

    #[test]
    fn a_row_is_known_by_its_last_prompt_whatever_answers_it() {
        let trained = TrainedPrompts::of(&[
            row(r#"{"prompt": "Who  are you?", "completion": "Me."}"#),
            row(r#"{"text": "All of this."}"#),
        ]);
        let has = |text: &str| trained.has(&row(text));
        assert!(has(
            r#"{"prompt": "who are you?", "completion": "Nobody."}"#
        ));
        assert!(has(r#"{"text": "all of this."}"#));
        assert!(!has(r#"{"prompt": "Who am I?", "completion": "Me."}"#));
        let further = r#"{"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Me."}, {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}"#;
        assert!(!has(further), "it asks something else in the end");
    }

    #[test]
    fn what_is_kept_is_read_and_what_is_not_such_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prompts");
        assert_eq!(TrainedPrompts::read(&path).unwrap(), None);
        let rows: Vec<Record> = (0..9)
            .map(|i| row(&format!(r#"{{"prompt": "{i}?", "completion": "x"}}"#)))
            .collect();
        let kept = TrainedPrompts::of(&rows);
        std::fs::write(&path, kept.to_bytes()).unwrap();
        assert_eq!(TrainedPrompts::read(&path).unwrap(), Some(kept.clone()));
        for bytes in [&kept.to_bytes()[1..], &[9; 7], &[[9; 8], [1; 8]].concat()] {
            std::fs::write(&path, bytes).unwrap();
            assert!(TrainedPrompts::read(&path).is_err());
        }
    }
}
