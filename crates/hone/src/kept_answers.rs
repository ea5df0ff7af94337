//! What a model made of an exam, kept from one evaluation to the next: a second adapter costs its own answers only, and
//! the same evaluation again costs nothing.

use crate::base::{Home, OpenBase};
use anyhow::Result;
use hone_eval::harness::{Exam, Judged, Rules};
use hone_ledger::{ContentId, Hasher, write_private};
use std::path::{Path, PathBuf};

/// Raised when the same model would answer or be scored otherwise.
const VERSION: u32 = 1;

/// The file of one model and one exam. A name is the id of everything that the answers depend on.
pub struct KeptAnswers {
    path: PathBuf,
}

impl KeptAnswers {
    /// For the base that is open, or for an adapter on it.
    pub fn of(
        home: &Home,
        open: &OpenBase,
        adapter: Option<&Path>,
        (exam, rules): (&Exam, &Rules),
    ) -> Result<Self> {
        let mut hasher = Hasher::new();
        let mut add = |what: String| hasher.update(format!("{what}\n").as_bytes());
        add(format!("{} {VERSION}", env!("CARGO_PKG_VERSION")));
        add(hone_tensor::instruction_set().to_owned());
        add(open.weights.fingerprint()?.to_string());
        let tokenizer = open.renderer.tokenizer().to_json();
        add(ContentId::of(tokenizer.as_bytes()).to_string());
        add(format!("{:?}", open.renderer.stop_ids()));
        add(exam.id(rules).to_string());
        if let Some(dir) = adapter {
            for name in ["adapter_config.json", "adapter_model.safetensors"] {
                add(format!("{name} {}", ContentId::of_file(&dir.join(name))?));
            }
        }
        let name = format!("{}.json", hasher.finish());
        Ok(Self {
            path: home.evaluations().join(name),
        })
    }

    /// The answers, if they are there. A file that is damaged is none: it is made again.
    pub fn read(&self, exam: &Exam) -> Option<Vec<Judged>> {
        let bytes = std::fs::read(&self.path).ok()?;
        let judged: Vec<Judged> = serde_json::from_slice(&bytes).ok()?;
        (judged.len() == exam.num_rows()).then_some(judged)
    }

    /// Keeps the answers, which hold the user's rows: for nobody else to read.
    pub fn keep(&self, judged: &[Judged]) -> Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(write_private(&self.path, &serde_json::to_vec(judged)?)?)
    }
}
