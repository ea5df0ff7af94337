//! What a model made of an exam, kept from one evaluation to the next: a second adapter costs its own answers only, the same
//! evaluation again costs nothing, and one that was broken off goes on where it was.
//!
//! A file has a line for each answer, written as it comes.

use crate::base::{Home, OpenBase};
use anyhow::Result;
use hone_ledger::{ContentId, Hasher, write_private};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Raised when the same model would answer or be scored otherwise.
const VERSION: u32 = 2;

/// What an adapter is.
const ADAPTER_FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// The answers of one base and of adapters on it.
pub struct KeptAnswers {
    dir: PathBuf,
    /// All that every answer depends on.
    id: Hasher,
    /// What is known of adapters: they are read once.
    adapters: RefCell<HashMap<PathBuf, [ContentId; 2]>>,
}

/// Which questions, and how many answers there have to be.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The id of all that a sitting depends on but for the model and its tokenizer.
    pub id: ContentId,
    /// Rows or questions.
    pub rows: usize,
}

impl KeptAnswers {
    /// For the base that is open. Reads all of it once.
    pub fn of(home: &Home, open: &OpenBase) -> Result<Self> {
        let tokenizer = open.renderer.tokenizer().to_json();
        let mut id = Hasher::new();
        for what in [
            format!("{} {VERSION}", env!("CARGO_PKG_VERSION")),
            hone_tensor::instruction_set().to_owned(),
            open.weights.fingerprint()?.to_string(),
            ContentId::of(tokenizer.as_bytes()).to_string(),
            format!("{:?}", open.renderer.stop_ids()),
        ] {
            id.update(format!("{what}\n").as_bytes());
        }
        Ok(Self {
            dir: home.evaluations(),
            id,
            adapters: RefCell::default(),
        })
    }

    /// The file of the base, or of an adapter on it. Its name is the id of everything that the answers depend on.
    fn path(&self, asked: Asked, adapter: Option<&Path>) -> Result<PathBuf> {
        let mut id = self.id.clone();
        id.update(format!("{}\n", asked.id).as_bytes());
        if let Some(dir) = adapter {
            for (name, file) in ADAPTER_FILES.iter().zip(self.files_of(dir)?) {
                id.update(format!("{name} {file}\n").as_bytes());
            }
        }
        Ok(self.dir.join(format!("{}.jsonl", id.finish())))
    }

    fn files_of(&self, adapter: &Path) -> Result<[ContentId; 2]> {
        if let Some(known) = self.adapters.borrow().get(adapter) {
            return Ok(*known);
        }
        let [config, weights] = ADAPTER_FILES.map(|name| ContentId::of_file(&adapter.join(name)));
        let files = [config?, weights?];
        self.adapters.borrow_mut().insert(adapter.into(), files);
        Ok(files)
    }

    /// The answers that are there, as many as the file has before it is damaged or was broken off.
    pub fn read_some<A: DeserializeOwned>(
        &self,
        asked: Asked,
        adapter: Option<&Path>,
    ) -> Result<Vec<A>> {
        Ok(Keeper::lines(&self.path(asked, adapter)?))
    }

    /// All answers, if they are there.
    pub fn read<A: DeserializeOwned>(
        &self,
        asked: Asked,
        adapter: Option<&Path>,
    ) -> Result<Option<Vec<A>>> {
        let answers = self.read_some(asked, adapter)?;
        Ok((answers.len() == asked.rows).then_some(answers))
    }

    /// Keeps these answers, which hold the user's rows: for nobody else to read. More can follow.
    pub fn keep<A: Serialize>(
        &self,
        asked: Asked,
        adapter: Option<&Path>,
        answers: &[A],
    ) -> Result<Keeper> {
        Keeper::begin(&self.path(asked, adapter)?, answers)
    }
}

/// A file that answers are added to as they come.
#[derive(Debug)]
pub struct Keeper {
    file: File,
}

impl Keeper {
    /// What a file has before it is damaged or was broken off; nothing if it is not there.
    pub fn lines<A: DeserializeOwned>(path: &Path) -> Vec<A> {
        let read = std::fs::read(path).unwrap_or_default();
        let lines = read.split_inclusive(|byte| *byte == b'\n');
        let whole = lines.filter_map(|line| line.strip_suffix(b"\n"));
        whole
            .map_while(|line| serde_json::from_slice(line).ok())
            .collect()
    }

    /// Begins a file anew with these answers, for nobody else to read.
    pub fn begin<A: Serialize>(path: &Path, answers: &[A]) -> Result<Self> {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let mut lines = Vec::new();
        for answer in answers {
            serde_json::to_writer(&mut lines, answer)?;
            lines.push(b'\n');
        }
        write_private(path, &lines)?;
        Ok(Self {
            file: File::options().append(true).open(path)?,
        })
    }

    /// Adds one: all of its line at once, so that a run that is killed leaves whole lines but for the last.
    pub fn add<A: Serialize>(&mut self, answer: &A) -> Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        Ok(self.file.write_all(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_broken_off_gives_its_whole_lines_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let kept = KeptAnswers {
            dir: dir.path().join("evaluations"),
            id: Hasher::new(),
            adapters: RefCell::default(),
        };
        let asked = Asked {
            id: ContentId::of(b"rows"),
            rows: 3,
        };
        assert_eq!(kept.read_some::<u32>(asked, None).unwrap(), [] as [u32; 0]);
        let mut keeper = kept.keep(asked, None, &[7_u32]).unwrap();
        keeper.add(&8_u32).unwrap();
        keeper.file.write_all(b"9").unwrap();
        assert_eq!(kept.read_some::<u32>(asked, None).unwrap(), [7, 8]);
        assert_eq!(kept.read::<u32>(asked, None).unwrap(), None);
        let known = kept.read_some::<u32>(asked, None).unwrap();
        let mut keeper = kept.keep(asked, None, &known).unwrap();
        keeper.add(&9_u32).unwrap();
        assert_eq!(kept.read(asked, None).unwrap(), Some(vec![7_u32, 8, 9]));
    }
}
