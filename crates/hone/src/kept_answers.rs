//! What a model made of an exam, kept from one evaluation to the next: a second adapter costs its own answers only, and
//! the same evaluation again costs nothing.

use crate::base::{Home, OpenBase};
use anyhow::Result;
use hone_eval::harness::{Exam, Judged, Rules};
use hone_ledger::{ContentId, Hasher, write_private};
use std::path::{Path, PathBuf};

/// Raised when the same model would answer or be scored otherwise.
const VERSION: u32 = 1;

/// The files of one exam, on one base and adapters on it. A name is the id of everything that the answers depend on.
pub struct KeptAnswers<'a> {
    exam: &'a Exam,
    dir: PathBuf,
    /// All but the adapter.
    id: Hasher,
}

impl<'a> KeptAnswers<'a> {
    /// For the base that is open. Reads all of it once.
    pub fn of(home: &Home, open: &OpenBase, exam: &'a Exam, rules: &Rules) -> Result<Self> {
        let tokenizer = open.renderer.tokenizer().to_json();
        let mut id = Hasher::new();
        for what in [
            format!("{} {VERSION}", env!("CARGO_PKG_VERSION")),
            hone_tensor::instruction_set().to_owned(),
            open.weights.fingerprint()?.to_string(),
            ContentId::of(tokenizer.as_bytes()).to_string(),
            format!("{:?}", open.renderer.stop_ids()),
            exam.id(rules).to_string(),
        ] {
            id.update(format!("{what}\n").as_bytes());
        }
        Ok(Self {
            exam,
            dir: home.evaluations(),
            id,
        })
    }

    /// The file of the base, or of an adapter on it.
    fn path(&self, adapter: Option<&Path>) -> Result<PathBuf> {
        let mut id = self.id.clone();
        if let Some(dir) = adapter {
            for name in ["adapter_config.json", "adapter_model.safetensors"] {
                let file = ContentId::of_file(&dir.join(name))?;
                id.update(format!("{name} {file}\n").as_bytes());
            }
        }
        Ok(self.dir.join(format!("{}.json", id.finish())))
    }

    /// The answers, if they are there. A file that is damaged is none: it is made again.
    pub fn read(&self, adapter: Option<&Path>) -> Result<Option<Vec<Judged>>> {
        let read = std::fs::read(self.path(adapter)?).ok();
        let judged = read.and_then(|bytes| serde_json::from_slice::<Vec<Judged>>(&bytes).ok());
        Ok(judged.filter(|judged| judged.len() == self.exam.num_rows()))
    }

    /// Keeps the answers, which hold the user's rows: for nobody else to read.
    pub fn keep(&self, adapter: Option<&Path>, judged: &[Judged]) -> Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        Ok(write_private(
            &self.path(adapter)?,
            &serde_json::to_vec(judged)?,
        )?)
    }
}
