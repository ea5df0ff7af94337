//! The examples of a run: read, split, encoded, and everything that was set aside on the way.
//!
//! Rows to learn from and rows held out are encoded together, so that both speak of the same tasks and a row number
//! leads back to a file and a line.

use crate::plan::{Settings, TooLong, Valid};
use hone_data::{
    Count, Encoding, Example, FileReport, ReadError, Record, Refused, ShareOutOfRange, Truncated,
};
use hone_ledger::{ContentId, Seed};
use hone_text::Renderer;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::PathBuf;

/// What a run learns from and is judged by.
pub struct Dataset {
    /// Every row; the first `num_train` are learnt from, the others held out.
    pub records: Vec<Record>,
    /// Where the held-out rows begin.
    pub num_train: usize,
    /// Examples to learn from.
    pub train: Vec<Example>,
    /// Examples held out.
    pub valid: Vec<Example>,
    /// Names of the tasks.
    pub tasks: Vec<String>,
    /// What each file turned out to be.
    pub files: Vec<FileReport>,
    /// Rows that are not used.
    pub refused: Vec<Refused>,
    /// Rows whose end was cut.
    pub truncated: Vec<Truncated>,
}

/// Why there is nothing to learn from.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The share of held-out rows.
    #[error(transparent)]
    Share(#[from] ShareOutOfRange),
    /// No row is left.
    #[error("none of the {num_rows} rows of {} can be learnt from", list(.files))]
    NothingLeft {
        /// Rows that were read.
        num_rows: usize,
        /// Where from.
        files: Vec<PathBuf>,
        /// Why the first of them is not used.
        first: Option<String>,
        /// How many tokens a row may have.
        max_length: usize,
    },
}

fn list(files: &[PathBuf]) -> String {
    files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

impl DatasetError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Read(error) => error.hints(),
            Self::Share(_) => Vec::new(),
            Self::NothingLeft {
                first, max_length, ..
            } => {
                let first = first
                    .iter()
                    .map(|reason| format!("the first one: {reason}"));
                first
                    .chain([format!(
                        "rows may have {max_length} tokens: see --max-length and --too-long"
                    )])
                    .collect()
            }
        }
    }
}

impl Dataset {
    /// Reads, splits and encodes what the settings name.
    pub fn load(
        settings: &Settings,
        renderer: &Renderer,
        max_length: usize,
    ) -> Result<Self, DatasetError> {
        let mut reading = hone_data::read(&settings.data.value)?;
        let (train, valid) = match &settings.valid.value {
            Valid::Share(share) => {
                let sides = hone_data::split(
                    reading.records,
                    *share,
                    Seed::new(settings.seed.value).child("split"),
                )?;
                (sides.train, sides.valid)
            }
            Valid::File(path) => {
                let held_out = hone_data::read(&[path])?;
                reading.files.extend(held_out.files);
                reading.refused.extend(held_out.refused);
                (reading.records, held_out.records)
            }
        };
        let num_train = train.len();
        let records: Vec<Record> = train.into_iter().chain(valid).collect();
        let too_long = match settings.too_long.value {
            TooLong::Drop => hone_data::TooLong::Drop,
            TooLong::Truncate => hone_data::TooLong::TruncateEnd,
        };
        let Encoding {
            examples,
            tasks,
            refused,
            truncated,
        } = hone_data::encode(renderer, &records, max_length, too_long);
        let (train, valid): (Vec<Example>, Vec<Example>) = examples
            .into_iter()
            .partition(|example| example.row < num_train);
        reading.refused.extend(refused);
        let dataset = Self {
            records,
            num_train,
            train,
            valid,
            tasks,
            files: reading.files,
            refused: reading.refused,
            truncated,
        };
        dataset.refuse_if_empty(settings, max_length)
    }

    fn refuse_if_empty(self, settings: &Settings, max_length: usize) -> Result<Self, DatasetError> {
        if !self.train.is_empty() {
            return Ok(self);
        }
        Err(DatasetError::NothingLeft {
            num_rows: self.num_train + self.refused.len(),
            files: settings.data.value.clone(),
            first: self.refused.first().map(describe),
            max_length,
        })
    }

    /// Rows per task, learnt from and held out.
    pub fn counts(&self) -> (Vec<Count>, Vec<Count>) {
        let (train, valid) = self.records.split_at(self.num_train);
        (hone_data::counts(train), hone_data::counts(valid))
    }

    /// The ids of what is learnt and of what is held out.
    pub fn ids(&self) -> (ContentId, ContentId) {
        let (train, valid) = self.records.split_at(self.num_train);
        (hone_data::dataset_id(train), hone_data::dataset_id(valid))
    }

    /// Held-out rows that say the same as a row that is learnt, so that they judge nothing.
    pub fn num_leaked(&self) -> usize {
        let (train, valid) = self.records.split_at(self.num_train);
        let learnt: HashSet<ContentId> = train.iter().map(Record::content_id).collect();
        valid
            .iter()
            .filter(|record| learnt.contains(&record.content_id()))
            .count()
    }

    /// Rows set aside, one line each: where and why.
    pub fn set_aside(&self) -> Vec<String> {
        let cut = |row: &Truncated| format!("{}: cut from {} tokens", row.source, row.tokens);
        self.refused
            .iter()
            .map(describe)
            .chain(self.truncated.iter().map(cut))
            .collect()
    }

    /// Tokens and supervised tokens to learn from in one epoch.
    pub fn tokens(&self) -> (usize, usize) {
        let tokens = self.train.iter().map(|example| example.ids.len()).sum();
        (tokens, self.train.iter().map(Example::num_supervised).sum())
    }

    /// What `run.json` keeps of it.
    pub fn summary(&self) -> Value {
        let (train, valid) = self.ids();
        let (tokens, supervised) = self.tokens();
        let file = |file: &FileReport| json!({ "file": file.file.display().to_string(), "shape": file.shape.to_string(), "rows": file.rows, "refused": file.refused });
        json!({
            "train": { "id": train, "examples": self.train.len(), "tokens": tokens, "supervised_tokens": supervised },
            "valid": { "id": valid, "examples": self.valid.len() },
            "tasks": self.tasks,
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "refused": self.refused.len(),
            "truncated": self.truncated.len(),
        })
    }
}

fn describe(refused: &Refused) -> String {
    format!("{}: {}", refused.source, refused.reason)
}
