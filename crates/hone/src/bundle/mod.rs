//! A directory that somebody else can use: a written model or adapter, what belongs to it, and the proof that it is right.
//!
//! Everything is written aside and takes its name at the end, after the proof: there is a whole bundle or none.

mod companions;
pub mod limits;
mod merged;
mod prove;
mod source;

use crate::parity::Parity;
use crate::place::begin;
use crate::screen::Talk;
use anyhow::Result;
use hone_ledger::{Unpublished, WriteError};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub use companions::{copy_companions, outdated_metadata, tokenizer_metadata};
pub use merged::write_merged;
pub use prove::{Prover, Verifier, Written};
pub use source::{Source, SourceArgs};

/// The file that holds the proof.
pub const PARITY_JSON: &str = "parity.json";

/// A bundle in the making.
pub struct Bundle {
    dir: Unpublished,
    out: PathBuf,
}

impl Bundle {
    /// Begins a bundle that will be called `out`, which must not exist. `command` is what a second one is told that wants
    /// the same name meanwhile, and is refused.
    pub fn begin(out: &Path, command: &str, talk: Talk) -> Result<Self> {
        Ok(Self {
            dir: begin(out, command, talk)?,
            out: out.to_path_buf(),
        })
    }

    /// Where to write the file of this name.
    pub fn path_of(&mut self, name: &str) -> PathBuf {
        self.dir.path_of(name)
    }

    /// Where files are written until the bundle has its name.
    pub fn dir(&self) -> PathBuf {
        self.dir.dir()
    }

    /// Lists files that were written into the directory by others.
    pub fn list(&mut self, files: &[PathBuf]) {
        for name in files.iter().filter_map(|path| path.file_name()?.to_str()) {
            self.dir.path_of(name);
        }
    }

    /// Begins to hash what is there and to bring it to the disk, beside whatever comes next.
    pub fn settle(&mut self) {
        self.dir.settle();
    }

    /// Writes a small file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.path_of(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| WriteError::new(&path, 0, source))?;
        }
        Ok(hone_ledger::write_whole(&path, bytes)?)
    }

    /// Writes the proof and gives the bundle its name; refuses a bundle that is not what was trained, unless it is to be
    /// kept anyway.
    pub fn publish(mut self, parity: &Parity, keep_anyway: bool, what: &str) -> Result<Value> {
        if !parity.all_hold() && !keep_anyway {
            return Err(crate::refusal::Refusal::failed(format!(
                "what was written does not answer as what was trained: {} ({}); nothing was left at {}",
                parity.reasons.join("; "),
                parity.sentence(),
                self.out.display()
            ))
            .hint("--keep-anyway keeps it, with these figures in parity.json")
            .into());
        }
        self.write(
            PARITY_JSON,
            format!("{}\n", serde_json::to_string_pretty(parity)?).as_bytes(),
        )?;
        let note = json!({ "what": what, "hone": env!("CARGO_PKG_VERSION"), "parity_holds": parity.all_hold() });
        let id = self.dir.publish(note)?;
        Ok(
            json!({ "written": self.out.display().to_string(), "id": id, "what": what, "parity": parity }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::{Bound, Comparison, Prompts, Replay, Replies, Text};

    #[test]
    fn a_bundle_that_answers_otherwise_leaves_nothing_unless_it_is_to_be_kept() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("out");
        let replay = |logits: [f32; 2]| Replay {
            rows: vec![logits.to_vec()],
            vocab: 2,
        };
        let text = Text::of_prompt(vec![1]);
        let prompts = Prompts::of_texts(vec![text], "one prompt".into(), 64);
        let parity = |other| {
            let comparison = Comparison {
                all: replay([1.0, 2.0]).distance(&replay(other)),
                ..Comparison::default()
            };
            let replies = Replies::not_asked("in a test");
            Parity::new(&prompts, &comparison, Bound::FULL, replies, None)
        };
        let begin = || {
            let mut bundle = Bundle::begin(&out, "a test", Talk::new(true)).unwrap();
            bundle.write("model.gguf", b"numbers").unwrap();
            bundle
        };
        let error = begin()
            .publish(&parity([2.0, 1.0]), false, "test")
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("does not answer as what was trained"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);

        begin().publish(&parity([2.0, 1.0]), true, "test").unwrap();
        let kept: Value =
            serde_json::from_slice(&std::fs::read(out.join(PARITY_JSON)).unwrap()).unwrap();
        assert_eq!(
            (&kept["holds"], &kept["prompts"]),
            (&json!(false), &json!("one prompt"))
        );
        std::fs::remove_dir_all(&out).unwrap();
        begin().publish(&parity([1.0, 2.0]), false, "test").unwrap();
        assert!(out.join("model.gguf").is_file());
    }
}
