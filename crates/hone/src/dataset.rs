//! The examples of a run: read, split, encoded, and everything that was set aside on the way.
//!
//! Rows to learn from and rows held out are encoded together, so that both speak of the same tasks and a row number
//! leads back to a file and a line.

use crate::curation::{sections, ways_to_decide};
use crate::plan::{Origin, Settings, TooLong, Valid};
use hone_curate::dataset::{DatasetDir, FINDINGS, is_dataset};
use hone_curate::recipe::{Curation, RawRecipe, RawSource, RawSplit, RecipeError, Side};
use hone_curate::{CurateError, Decision, Family, Finding, Rows as _, RowsError, Tools, curate};
use hone_data::{
    Count, Encoding, Example, FileReport, Kind, ReadError, ReadOptions, Reading, Record, Refused,
    Truncated, encode_row,
};
use hone_ledger::ContentId;
use hone_text::Renderer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// What the rules saw, and what became of it.
    pub findings: Vec<Finding>,
    /// Rows that cannot be encoded.
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
    /// The rules.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// What the rules were asked to do could not be done.
    #[error(transparent)]
    Curate(#[from] CurateError),
    /// A dataset directory.
    #[error(transparent)]
    Dir(#[from] hone_curate::dataset::DatasetError),
    /// Something must not be learnt unseen.
    #[error("{} for a decision before training: {}", waits(.undecided), told(.undecided))]
    Undecided {
        /// How often, by rule.
        undecided: BTreeMap<String, usize>,
        /// The first of them.
        first: Option<String>,
        /// The dataset directory whose recipe has to decide; files are decided about by flags.
        dataset: Option<PathBuf>,
    },
    /// All rows are of kinds that nothing trains on.
    #[error("the rows of {} are {what}: nothing trains on them yet", list(.files))]
    Untrained {
        /// Where from.
        files: Vec<PathBuf>,
        /// What they are.
        what: String,
    },
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

fn waits(undecided: &BTreeMap<String, usize>) -> String {
    match undecided.values().sum() {
        1 => "1 finding waits".into(),
        findings => format!("{findings} findings wait"),
    }
}

fn told(undecided: &BTreeMap<String, usize>) -> String {
    let rules: Vec<String> = undecided
        .iter()
        .map(|(rule, count)| format!("{count} of {rule}"))
        .collect();
    rules.join(", ")
}

impl DatasetError {
    fn undecided(
        undecided: BTreeMap<String, usize>,
        first: Option<Finding>,
        dataset: Option<&Path>,
    ) -> Self {
        Self::Undecided {
            undecided,
            first: first.map(|finding| finding.to_string()),
            dataset: dataset.map(Path::to_path_buf),
        }
    }

    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Read(error) => error.hints(),
            Self::Recipe(error) => error.hints(),
            Self::Curate(error) => error.hints(),
            Self::Dir(_) => Vec::new(),
            Self::Untrained { .. } => vec![
                "`hone data build` keeps them for later; to train on good replies alone, write them as prompt and completion without a label".into(),
            ],
            Self::Undecided {
                undecided,
                first,
                dataset,
            } => {
                let first = first.iter().map(|first| format!("the first one: {first}"));
                let decide = match dataset {
                    Some(dataset) => format!(
                        "decide in the recipe and build again; all are in {}",
                        dataset.join(FINDINGS).display()
                    ),
                    None => format!("decide with {}", ways_to_decide(undecided)),
                };
                first.chain([decide]).collect()
            }
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
    /// Reads, checks, splits and encodes what the settings name.
    pub fn load(
        settings: &Settings,
        renderer: &Renderer,
        max_length: usize,
    ) -> Result<Self, DatasetError> {
        let read = Read::open(settings, renderer)?;
        let train = repeated(read.train);
        let num_train = train.len();
        let records: Vec<Record> = train.into_iter().chain(read.valid).collect();
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
        let dataset = Self {
            records,
            num_train,
            train,
            valid,
            tasks,
            files: read.files,
            findings: read.findings,
            refused,
            truncated,
        };
        dataset.refuse_if_empty(settings, max_length)
    }

    fn refuse_if_empty(self, settings: &Settings, max_length: usize) -> Result<Self, DatasetError> {
        if !self.train.is_empty() {
            return Ok(self);
        }
        let untrained: BTreeMap<Kind, usize> =
            self.files.iter().fold(BTreeMap::new(), |mut all, file| {
                let of_file = file.untrained.iter();
                of_file.for_each(|(kind, rows)| *all.entry(*kind).or_default() += rows);
                all
            });
        let num_rows: usize = self.files.iter().map(|file| file.rows).sum();
        if num_rows > 0 && untrained.values().sum::<usize>() == num_rows {
            let names: Vec<&str> = untrained.keys().map(|kind| kind.name()).collect();
            return Err(DatasetError::Untrained {
                files: settings.data.value.clone(),
                what: names.join(" and "),
            });
        }
        Err(DatasetError::NothingLeft {
            num_rows: self.files.iter().map(|file| file.rows + file.refused).sum(),
            files: settings.data.value.clone(),
            first: self.set_aside().into_iter().next(),
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

    /// Rows set aside, one line each: where and why.
    pub fn set_aside(&self) -> Vec<String> {
        let cut = |row: &Truncated| format!("{}: cut from {} tokens", row.source, row.tokens);
        let left_out = self
            .findings
            .iter()
            .filter(|finding| finding.decision == Decision::SetAside);
        left_out
            .map(|finding| format!("{}:{}: {}", finding.file, finding.line, finding.message))
            .chain(self.refused.iter().map(describe))
            .chain(self.truncated.iter().map(cut))
            .collect()
    }

    /// What the rules saw without anything being left out: how often, by rule.
    pub fn noted(&self) -> BTreeMap<&str, usize> {
        let mut noted = BTreeMap::new();
        let stays = self
            .findings
            .iter()
            .filter(|finding| finding.decision != Decision::SetAside);
        stays.for_each(|finding| *noted.entry(finding.rule.as_str()).or_default() += 1);
        noted
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
            "refused": self.set_aside().len() - self.truncated.len(),
            "truncated": self.truncated.len(),
        })
    }
}

/// Each row as often as its mixture says.
fn repeated(records: Vec<Record>) -> Vec<Record> {
    let times = |record: Record| std::iter::repeat_n(record.clone(), record.copies);
    records.into_iter().flat_map(times).collect()
}

/// Rows on their sides, before they are encoded.
struct Read {
    train: Vec<Record>,
    valid: Vec<Record>,
    files: Vec<FileReport>,
    findings: Vec<Finding>,
}

impl Read {
    /// Dataset directories as they are; files under the rules.
    fn open(settings: &Settings, renderer: &Renderer) -> Result<Self, DatasetError> {
        let mut read = Self::curated(settings, renderer)?;
        for path in settings.data.value.iter().filter(|path| is_dataset(path)) {
            read.take(&DatasetDir::open(path)?, settings, path)?;
        }
        Ok(read)
    }

    /// Takes a dataset that has no open questions; its own held-out rows count where the user names none.
    fn take(
        &mut self,
        dataset: &DatasetDir,
        settings: &Settings,
        path: &Path,
    ) -> Result<(), DatasetError> {
        let undecided = &dataset.note.undecided;
        if !undecided.is_empty() {
            let first = dataset
                .findings()?
                .into_iter()
                .find(|finding| finding.decision == Decision::Undecided);
            return Err(DatasetError::undecided(
                undecided.clone(),
                first,
                Some(path),
            ));
        }
        self.train.extend(dataset.records(Side::Train)?);
        if settings.valid.origin == Origin::Default {
            self.valid.extend(dataset.records(Side::Valid)?);
        }
        for side in [Side::Train, Side::Valid] {
            if let Some(file) = dataset.rows_of(side) {
                let options = ReadOptions::of_own_rows();
                self.files.extend(Reading::of(&[file], &options)?.files);
            }
        }
        Ok(())
    }

    fn curated(settings: &Settings, renderer: &Renderer) -> Result<Self, DatasetError> {
        let mut findings = Vec::new();
        let Some(recipe) = recipe(settings) else {
            return Ok(Self {
                train: vec![],
                valid: vec![],
                files: vec![],
                findings,
            });
        };
        let curation = Curation::resolve(recipe)?;
        let row_tokens = |record: &Record| {
            encode_row(renderer, record)
                .ok()
                .map(|encoded| encoded.ids.len())
        };
        let text_tokens = |text: &str| {
            renderer
                .tokenizer()
                .encode_plain(text)
                .map_or(0, |ids| ids.len())
        };
        let tools = Tools {
            row_tokens: Some(&row_tokens),
            text_tokens: &text_tokens,
            worth: None,
            watch: &|_, _, _| {},
        };
        let curated = curate(&curation, tools, &std::env::temp_dir(), &mut |finding| {
            findings.push(finding.clone());
            Ok(())
        })?;
        let undecided = curated.tally.undecided();
        if !undecided.is_empty() {
            let first = findings
                .into_iter()
                .find(|finding| finding.decision == Decision::Undecided);
            return Err(DatasetError::undecided(undecided, first, None));
        }
        let on = |side: Side| -> Result<Vec<Record>, DatasetError> {
            let rows = curated.kept.iter().filter(|kept| kept.side == side);
            let rows = rows.map(|kept| Ok(curated.spool.record(kept.row)?.into_owned()));
            rows.collect::<Result<_, RowsError>>()
                .map_err(|error| CurateError::from(error).into())
        };
        Ok(Self {
            train: on(Side::Train)?,
            valid: on(Side::Valid)?,
            files: curated.files,
            findings,
        })
    }
}

/// What is done to files that were not curated: what cannot be learnt is left out, what must not be learnt unseen stops
/// the run, and the rest is noted. `None` if there are only dataset directories.
fn recipe(settings: &Settings) -> Option<RawRecipe> {
    let files: Vec<String> = settings
        .data
        .value
        .iter()
        .filter(|path| !is_dataset(path))
        .map(|path| path.display().to_string())
        .collect();
    let (share, held_out) = match &settings.valid.value {
        Valid::Share(share) => (*share, None),
        Valid::File(path) => (0.0, Some(path.display().to_string())),
    };
    let source = |files: Vec<String>, side| RawSource {
        files,
        side,
        ignore_keys: settings.ignore_keys.value.clone(),
        nulls: settings.nulls.value,
        ..RawSource::default()
    };
    let pinned = held_out.as_ref().map(|_| Side::Train);
    let learnt = (!files.is_empty()).then(|| source(files, pinned));
    let sources: Vec<RawSource> = learnt
        .into_iter()
        .chain(held_out.map(|file| source(vec![file], Some(Side::Valid))))
        .collect();
    let noted = [Family::Duplicate, Family::Harm, Family::Quality]
        .map(|family| (family.to_string(), "report".into()));
    let mut rules: BTreeMap<String, toml::Value> = noted.into();
    rules.extend(sections(&settings.rules.value));
    (!sources.is_empty()).then(|| RawRecipe {
        sources,
        rules,
        seed: Some(settings.seed.value),
        max_bad_rows: Some(1.0),
        split: Some(RawSplit {
            valid: Some(share),
            test: None,
        }),
        ..RawRecipe::default()
    })
}

fn describe(refused: &Refused) -> String {
    format!("{}: {}", refused.source, refused.reason)
}
