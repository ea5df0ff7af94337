//! What a model made of an exam, kept from one evaluation to the next: a second adapter costs its own answers only, and
//! the same evaluation again costs nothing.

use crate::base::{Home, OpenBase};
use anyhow::Result;
use hone_ledger::{ContentId, Hasher, write_private};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Raised when the same model would answer or be scored otherwise.
const VERSION: u32 = 1;

/// The answers of one base and of adapters on it.
pub struct KeptAnswers {
    dir: PathBuf,
    /// All that every answer depends on.
    id: Hasher,
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
        })
    }

    /// The file of the base, or of an adapter on it. Its name is the id of everything that the answers depend on.
    fn path(&self, asked: Asked, adapter: Option<&Path>) -> Result<PathBuf> {
        let mut id = self.id.clone();
        id.update(format!("{}\n", asked.id).as_bytes());
        if let Some(dir) = adapter {
            for name in ["adapter_config.json", "adapter_model.safetensors"] {
                let file = ContentId::of_file(&dir.join(name))?;
                id.update(format!("{name} {file}\n").as_bytes());
            }
        }
        Ok(self.dir.join(format!("{}.json", id.finish())))
    }

    /// The answers, if they are there. A file that is damaged is none: it is made again.
    pub fn read<A: DeserializeOwned>(
        &self,
        asked: Asked,
        adapter: Option<&Path>,
    ) -> Result<Option<Vec<A>>> {
        let read = std::fs::read(self.path(asked, adapter)?).ok();
        let answers = read.and_then(|bytes| serde_json::from_slice::<Vec<A>>(&bytes).ok());
        Ok(answers.filter(|answers| answers.len() == asked.rows))
    }

    /// Keeps the answers, which hold the user's rows: for nobody else to read.
    pub fn keep<A: Serialize>(
        &self,
        asked: Asked,
        adapter: Option<&Path>,
        answers: &[A],
    ) -> Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let path = self.path(asked, adapter)?;
        Ok(write_private(&path, &serde_json::to_vec(answers)?)?)
    }
}
