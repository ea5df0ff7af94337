//! The examples of a run: read, split, encoded, and every row that was skipped on the way.
//!
//! Rows to learn from and rows held out are encoded together, so that both speak of the same tasks and a row number
//! leads back to a file and a line.

mod error;

pub use error::DatasetError;

use crate::curation::{count_line, estimated_tokens, sections};
use crate::data_flags::{SideFlag, choices, columns, only};
use crate::plan::{Chosen, Origin, Settings, Valid};
use crate::screen::plural;
use hone_curate::dataset::{DatasetDir, is_dataset};
use hone_curate::recipe::{Curation, RawRecipe, RawSource, RawSplit, Side};
use hone_curate::{
    CurateError, Decision, Family, Finding, RowCount, Rows as _, RowsError, Sieve, Tools, curate,
};
use hone_data::{
    Choices, Count, Encoding, Example, FileReport, Inputs, Kind, ReadOptions, Reading, Record,
    Refused, Truncated, Usable,
};
use hone_ledger::ContentId;
use hone_ledger::words::{for_shell, path_for_shell};
use hone_text::Renderer;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a run learns from and is judged by.
pub struct Dataset {
    /// Every row; the first `num_train` are trained on, the others held out.
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
    /// Replies that the template makes context of.
    pub num_context_replies: usize,
    /// Which side each file is, and what was passed over.
    pub inputs: Inputs,
    /// Where the validation set comes from.
    pub validation: Validation,
    /// Rows read, by whether they can be trained on and why not.
    pub count: RowCount,
}

/// Where the validation set of a run comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Validation {
    /// A share of the rows.
    Share(f64),
    /// A share of rows that came as train and validation rows.
    Regrouped(f64),
    /// The file that the user names.
    File(PathBuf),
    /// The validation side of what the user names.
    Side(Vec<String>),
    /// The validation side of a dataset directory.
    Built,
}

impl Validation {
    fn line(&self, num_train: usize, num_valid: usize) -> String {
        let examples = plural(num_valid, "example");
        match self {
            Self::Share(0.0) | Self::Regrouped(0.0) => "none: no rows are held out".to_owned(),
            Self::Share(share) | Self::Regrouped(share) if num_valid == 0 => match num_train {
                0 => "none: there are no rows".to_owned(),
                1 => format!("none: 1 row is too few to hold out {share} of it"),
                rows => format!(
                    "none: each of {rows} rows is the only one of its task, or belongs with more rows than {share} of them"
                ),
            },
            Self::Share(asked) | Self::Regrouped(asked) => {
                let anew = match self {
                    Self::Regrouped(_) => ", train and validation rows split anew",
                    _ => "",
                };
                let all = num_train + num_valid;
                let share = 100.0 * num_valid as f64 / all as f64;
                format!(
                    "{examples}, {share:.1} % of {all} (asked for {asked}, rounded up for each task{anew})"
                )
            }
            Self::File(file) => format!("{examples} of {}", file.display()),
            Self::Side(files) => {
                format!(
                    "{examples} of {}, the validation side of the data",
                    files.join(", ")
                )
            }
            Self::Built => format!("{examples}, the validation side of the dataset"),
        }
    }

    fn unread_lines(&self, inputs: &Inputs) -> Vec<(&'static str, String)> {
        let (test, valid) = (names(inputs, Side::Test), names(inputs, Side::Valid));
        let is_used = matches!(self, Self::Side(_) | Self::Regrouped(_)) || valid.is_empty();
        let test = (!test.is_empty()).then(|| {
            (
                "test",
                format!(
                    "{}: left for `hone eval`; what it asks is not trained on unseen",
                    test.join(", ")
                ),
            )
        });
        let valid = (!is_used).then(|| {
            (
                "not read",
                format!("{}: --valid or --valid-share is given", valid.join(", ")),
            )
        });
        test.into_iter().chain(valid).collect()
    }
}

/// What a plan can say of the rows before a model is named: name and value, in lines.
///
/// # Errors
/// As [`Dataset::load`], but for what only a tokenizer can tell.
pub fn preview(settings: &Settings) -> Result<Vec<(&'static str, String)>, DatasetError> {
    let read = Read::open(settings, None, usize::MAX)?;
    let skipped = read
        .findings
        .iter()
        .filter(|finding| finding.decision == Decision::Dropped)
        .count();
    let rows = format!(
        "{} to train on; {} skipped",
        plural(read.train.len(), "row"),
        plural(skipped, "row")
    );
    if read.train.is_empty() {
        let mut dropped = read.findings.iter();
        let first = dropped.find(|finding| finding.decision == Decision::Dropped);
        return Err(nothing_left(
            settings,
            &read.files,
            first.map(|finding| format!("{}: {}", finding.source(), finding.message)),
            None,
            read.valid.len(),
            read.hints,
        ));
    }
    let held_out = read.validation.line(read.train.len(), read.valid.len());
    let mut lines = vec![
        ("data", files_line(&read.files)),
        ("rows read", read_line(&read.count, false)),
        ("training set", rows),
        ("validation set", held_out),
    ];
    lines.extend(read.validation.unread_lines(&read.inputs));
    Ok(lines)
}

/// The files as a plan says them.
pub fn files_line(files: &[FileReport]) -> String {
    let line = |file: &FileReport| format!("{} ({}, {})", file.name(), file.num_rows(), file.shape);
    files.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// The count of rows as a plan says it.
fn read_line(count: &RowCount, counts_lengths: bool) -> String {
    let line = count_line(count, counts_lengths);
    match count.exact_duplicates {
        0 => line,
        1 => format!("{line}; it is trained on: `hone data build` leaves it out"),
        _ => format!("{line}; they are trained on: `hone data build` leaves them out"),
    }
}

/// The files of a side as people read them.
fn names(inputs: &Inputs, side: Side) -> Vec<String> {
    inputs.on(side).map(hone_data::Input::name).collect()
}

impl Dataset {
    /// Reads, checks, splits and encodes what the settings name.
    pub fn load(
        settings: &Settings,
        renderer: &Renderer,
        max_length: usize,
    ) -> Result<Self, DatasetError> {
        let read = Read::open(settings, Some(renderer), max_length)?;
        let train = repeated(read.train);
        let num_train = train.len();
        let records: Vec<Record> = train.into_iter().chain(read.valid).collect();
        let too_long = settings.too_long.value;
        let Encoding {
            examples,
            tasks,
            refused,
            truncated,
            num_context_replies,
        } = hone_data::encode(renderer, &records, max_length, too_long);
        let has_too_long = read.has_too_long || refused.iter().any(|row| row.reason.is_too_long());
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
            num_context_replies,
            inputs: read.inputs,
            validation: read.validation,
            count: read.count,
        };
        dataset.refuse_if_empty(settings, has_too_long.then_some(max_length), read.hints)
    }

    /// `max_length` is the limit that some rows are too long for.
    fn refuse_if_empty(
        self,
        settings: &Settings,
        max_length: Option<usize>,
        hints: BTreeSet<String>,
    ) -> Result<Self, DatasetError> {
        if !self.train.is_empty() {
            return Ok(self);
        }
        Err(nothing_left(
            settings,
            &self.files,
            self.skipped().into_iter().next(),
            max_length,
            self.valid.len(),
            hints,
        ))
    }

    /// Rows per task, trained on and held out.
    pub fn counts(&self) -> (Vec<Count>, Vec<Count>) {
        let (train, valid) = self.records.split_at(self.num_train);
        (hone_data::counts(train), hone_data::counts(valid))
    }

    /// The ids of what is trained on and of what is held out.
    pub fn ids(&self) -> (ContentId, ContentId) {
        let (train, valid) = self.records.split_at(self.num_train);
        (hone_data::dataset_id(train), hone_data::dataset_id(valid))
    }

    /// Rows skipped, one line each: where and why.
    pub fn skipped(&self) -> Vec<String> {
        let cut = |row: &Truncated| format!("{}: cut from {} tokens", row.source, row.tokens);
        let left_out = self
            .findings
            .iter()
            .filter(|finding| finding.decision == Decision::Dropped);
        left_out
            .map(|finding| format!("{}: {}", finding.source(), finding.message))
            .chain(self.refused.iter().map(describe))
            .chain(self.truncated.iter().map(cut))
            .collect()
    }

    /// How many rows are skipped.
    pub fn num_skipped(&self) -> usize {
        self.skipped().len() - self.truncated.len()
    }

    /// The rows read in a line: how many can be trained on, and why not the others.
    pub fn read_line(&self) -> String {
        read_line(&self.count, true)
    }

    /// The validation set in a line: how many examples, of what.
    pub fn validation_line(&self) -> String {
        self.validation.line(self.train.len(), self.valid.len())
    }

    /// Files of the named data that this run does not read, in lines: the test side, and a validation side that the
    /// user has replaced.
    pub fn unread_lines(&self) -> Vec<(&'static str, String)> {
        self.validation.unread_lines(&self.inputs)
    }

    /// What the rules saw without anything being left out: how often, by rule.
    pub fn noted(&self) -> BTreeMap<&str, usize> {
        let mut noted = BTreeMap::new();
        let stays = self
            .findings
            .iter()
            .filter(|finding| finding.decision != Decision::Dropped && !finding.leaves);
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
        let file = |file: &FileReport| {
            let mut inputs = self.inputs.files.iter();
            let side = inputs
                .find(|input| input.is_of(file))
                .and_then(|input| input.side);
            json!({ "file": file.name(), "side": side, "shape": file.shape.to_string(), "rows": file.rows, "refused": file.refused })
        };
        json!({
            "train": { "id": train, "examples": self.train.len(), "tokens": tokens, "supervised_tokens": supervised },
            "valid": { "id": valid, "examples": self.valid.len() },
            "tasks": self.tasks,
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
            "refused": self.num_skipped(),
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
    inputs: Inputs,
    validation: Validation,
    /// Were rows skipped for their length?
    has_too_long: bool,
    /// What to do about rows that were skipped because they cannot be shown to the model.
    hints: BTreeSet<String>,
    count: RowCount,
}

impl Read {
    /// Dataset directories as they are; files under the rules.
    fn open(
        settings: &Settings,
        renderer: Option<&Renderer>,
        max_length: usize,
    ) -> Result<Self, DatasetError> {
        refuse_what_was_decided(settings)?;
        let mut read = Self::curated(settings, renderer, max_length)?;
        for path in settings.data.value.iter().filter(|path| is_dataset(path)) {
            let usable = Usable {
                renderer,
                max_length,
                too_long: settings.too_long.value,
            };
            read.take(&DatasetDir::open(path)?, settings, path, usable)?;
        }
        Ok(read)
    }

    /// Takes a dataset that has no open questions; its own held-out rows count where the user names none.
    fn take(
        &mut self,
        dataset: &DatasetDir,
        settings: &Settings,
        path: &Path,
        usable: Usable<'_>,
    ) -> Result<(), DatasetError> {
        let undecided = &dataset.note.undecided;
        if !undecided.is_empty() {
            let regroup = || {
                let out = format!("{}-regrouped", path.display());
                let (from, to) = (path_for_shell(path), for_shell(&out).to_string());
                let command = format!("hone data build --from {from} --regroup --out {to}");
                Some(format!("{command}; then train with --data {to}"))
            };
            return Err(DatasetError::undecided(
                undecided.clone(),
                dataset.findings()?,
                Some(path),
                regroup,
            ));
        }
        let mut sieve = Sieve::new(usable, &[]);
        sieve.count = std::mem::take(&mut self.count);
        let mut counted = |records: Vec<Record>| {
            for record in &records {
                sieve.sift(record, true, false);
            }
            records
        };
        self.train.extend(counted(dataset.records(Side::Train)?));
        if settings.validation().origin == Origin::Default {
            self.valid.extend(counted(dataset.records(Side::Valid)?));
            if matches!(self.validation, Validation::Share(_)) {
                self.validation = Validation::Built;
            }
        }
        self.count = sieve.count;
        for side in [Side::Train, Side::Valid] {
            if let Some(file) = dataset.rows_of(side) {
                let options = ReadOptions::of_own_rows();
                self.files.extend(Reading::of(&[file], &options)?.files);
            }
        }
        Ok(())
    }

    fn curated(
        settings: &Settings,
        renderer: Option<&Renderer>,
        max_length: usize,
    ) -> Result<Self, DatasetError> {
        let mut findings = Vec::new();
        let wanted = Wanted::of(settings)?;
        let Some(recipe) = wanted.recipe(settings) else {
            return Ok(Self {
                train: vec![],
                valid: vec![],
                files: vec![],
                findings,
                inputs: Inputs::default(),
                validation: wanted.validation,
                has_too_long: false,
                hints: BTreeSet::new(),
                count: RowCount::default(),
            });
        };
        let mut curation = Curation::resolve(recipe)?;
        curation.unread = wanted.unread();
        let usable = Usable {
            renderer,
            max_length,
            too_long: settings.too_long.value,
        };
        let has_too_long = AtomicBool::new(false);
        let hints = Mutex::new(BTreeSet::new());
        let usable = |record: &Record| {
            usable.tokens(record).inspect_err(|reason| {
                if reason.is_too_long() {
                    has_too_long.store(true, Ordering::Relaxed);
                }
                let mut hints = hints.lock().unwrap_or_else(PoisonError::into_inner);
                hints.extend(reason.hints());
            })
        };
        let text_tokens = |text: &str| {
            let ids = renderer.map(|renderer| renderer.tokenizer().encode_plain(text));
            match ids {
                None => estimated_tokens(text),
                Some(ids) => ids.map_or(0, |ids| ids.len()),
            }
        };
        let tools = Tools {
            usable: &usable,
            skips_unusable: true,
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
            let regroup = || (!settings.regroup.value).then(|| "--regroup".to_owned());
            return Err(DatasetError::undecided(undecided, findings, None, regroup));
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
            inputs: wanted.inputs,
            validation: wanted.validation,
            has_too_long: has_too_long.load(Ordering::Relaxed),
            hints: hints.into_inner().unwrap_or_else(PoisonError::into_inner),
            count: curated.count,
        })
    }
}

/// Refuses options about the reading of files where there are none: what a dataset directory holds was decided when it was
/// built.
fn refuse_what_was_decided(settings: &Settings) -> Result<(), DatasetError> {
    let has_files = files_of(settings).next().is_some() || settings.valid.value.is_some();
    if has_files {
        return Ok(());
    }
    let given = [
        ("rule", !settings.rule.value.is_empty()),
        ("regroup", settings.regroup.value),
        ("column", !settings.column.value.is_empty()),
        ("side", !settings.side.value.is_empty()),
        ("config", !settings.config.value.is_empty()),
        ("ignore-key", !settings.ignore_key.value.is_empty()),
        ("nulls", settings.nulls.value.is_some()),
    ];
    let options: Vec<String> = given
        .into_iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(name, _)| format!("--{name}"))
        .collect();
    match options.is_empty() {
        true => Ok(()),
        false => Err(DatasetError::Decided {
            options,
            datasets: settings.data.value.clone(),
        }),
    }
}

/// The files that the settings mean, beside dataset directories, and where the validation set comes from.
struct Wanted {
    inputs: Inputs,
    validation: Validation,
    /// The files of `--valid`.
    valid: Vec<PathBuf>,
}

impl Wanted {
    fn of(settings: &Settings) -> Result<Self, DatasetError> {
        let files: Vec<&PathBuf> = files_of(settings).collect();
        let choices = choices(&settings.side.value, &settings.config.value);
        let (mut valid, without) = match &settings.valid.value {
            None => (Vec::new(), Vec::new()),
            Some(path) => {
                let valid = valid_files(path)?;
                (valid.clone(), valid)
            }
        };
        // Rows that are split anew are those of all files, whatever each was for.
        let regroup = settings.regroup.value;
        let without = if regroup { Vec::new() } else { without };
        let choices = Choices { without, ..choices };
        let mut inputs = match files.is_empty() {
            true => Inputs::default(),
            false => Inputs::find_as(&files, &choices)?.decided()?,
        };
        inputs.pass_over(&settings.ignore_key.value);
        if !files.is_empty() && inputs.to_train_on().next().is_none() {
            return Err(nothing_to_train_on(&files, &inputs));
        }
        if regroup {
            let read = inputs.files.iter();
            let read: BTreeSet<PathBuf> = read.map(|input| same_file(&input.file)).collect();
            valid.retain(|file| !read.contains(&same_file(file)));
        }
        let Chosen { value, origin } = settings.validation();
        let validation = match value {
            _ if regroup => Validation::Regrouped(settings.valid_share.value),
            Valid::File(path) => Validation::File(path),
            Valid::Share(_) if origin == Origin::Default && inputs.has(Side::Valid) => {
                Validation::Side(names(&inputs, Side::Valid))
            }
            Valid::Share(share) => Validation::Share(share),
        };
        Ok(Self {
            inputs,
            validation,
            valid,
        })
    }

    /// Sides of the data that this run has no use for.
    fn unread(&self) -> Vec<Side> {
        match self.validation {
            Validation::Side(_) | Validation::Regrouped(_) => vec![Side::Test],
            _ => vec![Side::Valid, Side::Test],
        }
    }

    /// What is done to files that were not curated: what cannot be trained on is left out, what must not be trained on unseen
    /// stops the run, and the rest is noted. `None` if there are only dataset directories.
    fn recipe(&self, settings: &Settings) -> Option<RawRecipe> {
        let name = |path: &PathBuf| path.display().to_string();
        let files: Vec<String> = files_of(settings).map(name).collect();
        let share = match self.validation {
            Validation::Share(share) | Validation::Regrouped(share) => share,
            _ => 0.0,
        };
        let source = |files: Vec<String>, side| RawSource {
            files,
            side,
            columns: columns(&settings.column.value),
            ignore_keys: settings.ignore_key.value.clone(),
            nulls: settings.nulls.value,
            ..RawSource::default()
        };
        let side = |flag: &SideFlag| {
            let side = flag.side.map_or("skip", Side::name);
            (flag.name.clone(), side.to_owned())
        };
        let trained_on = (!files.is_empty()).then(|| RawSource {
            sides: settings.side.value.iter().map(side).collect(),
            configs: settings.config.value.clone(),
            ..source(files, None)
        });
        let regroup = settings.regroup.value;
        let mut valid: Vec<Vec<String>> = vec![self.valid.iter().map(name).collect()];
        if regroup {
            // Each by itself, so that it is what it is named for and nothing else.
            valid = self.valid.iter().map(|file| vec![name(file)]).collect();
        }
        valid.retain(|files| !files.is_empty());
        let side_of_valid = (!regroup).then_some(Side::Valid);
        let valid = valid.into_iter().map(|files| source(files, side_of_valid));
        let sources: Vec<RawSource> = trained_on.into_iter().chain(valid).collect();
        let noted = [Family::Duplicate, Family::Harm, Family::Quality]
            .map(|family| (family.to_string(), "report".into()));
        let mut rules: BTreeMap<String, toml::Value> = noted.into();
        let decided = sections(&settings.rule.value);
        // A build writes down what leaves as a leak; a run, which keeps no findings, asks first.
        if !decided.contains_key(Family::Leak.name()) {
            rules.insert("prompt-exact".into(), "ask".into());
        }
        rules.extend(decided);
        (!sources.is_empty()).then(|| RawRecipe {
            sources,
            rules,
            seed: Some(settings.seed.value),
            max_bad_rows: Some(1.0),
            split: Some(RawSplit {
                valid: Some(share),
                test: None,
                regroup: Some(regroup),
            }),
            ..RawRecipe::default()
        })
    }
}

/// A file by the one name it has, however it was named.
fn same_file(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_path_buf())
}

/// What the settings name beside dataset directories.
fn files_of(settings: &Settings) -> impl Iterator<Item = &PathBuf> {
    settings.data.value.iter().filter(|path| !is_dataset(path))
}

/// The files of `--valid`: of a folder of several sides, its validation side.
fn valid_files(path: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut inputs = Inputs::find(&[path])?;
    only(&mut inputs, None, Side::Valid, &path.display().to_string())?;
    Ok(inputs.files.into_iter().map(|input| input.file).collect())
}

fn nothing_to_train_on(files: &[&PathBuf], inputs: &Inputs) -> DatasetError {
    let told = |input: &hone_data::Input| {
        let side = input.side.map_or("", Side::name);
        format!("{} is {side} ({})", input.name(), input.told)
    };
    let there: Vec<String> = inputs.files.iter().take(4).map(told).collect();
    let example = inputs
        .files
        .first()
        .and_then(|input| input.file.file_name());
    DatasetError::NothingToTrainOn {
        files: files.iter().map(|file| file.to_path_buf()).collect(),
        there: match there.is_empty() {
            true => "they are all left out".to_owned(),
            false => there.join(", "),
        },
        example: example.unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Why no row is left to train on, and what would change that; `max_length` is the limit that some rows are too long for.
fn nothing_left(
    settings: &Settings,
    files: &[FileReport],
    first: Option<String>,
    max_length: Option<usize>,
    num_valid: usize,
    hints: BTreeSet<String>,
) -> DatasetError {
    let untrained: BTreeMap<Kind, usize> = files.iter().fold(BTreeMap::new(), |mut all, file| {
        let of_file = file.untrained.iter();
        of_file.for_each(|(kind, rows)| *all.entry(*kind).or_default() += rows);
        all
    });
    let num_rows: usize = files.iter().map(|file| file.rows + file.refused).sum();
    if num_rows > 0 && untrained.values().sum::<usize>() == num_rows {
        let names: Vec<&str> = untrained.keys().map(|kind| kind.name()).collect();
        return DatasetError::Untrained {
            files: settings.data.value.clone(),
            what: names.join(" and "),
        };
    }
    DatasetError::NothingLeft {
        num_rows,
        files: settings.data.value.clone(),
        max_length: max_length.map(|tokens| {
            (
                tokens,
                settings.base.context.is_some_and(|all| tokens >= all),
            )
        }),
        first,
        num_valid,
        hints,
    }
}

fn describe(refused: &Refused) -> String {
    format!("{}: {}", refused.source, refused.reason)
}
