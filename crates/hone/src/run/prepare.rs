//! From a wish to a run that is ready to start: everything read, checked, measured, and nothing written yet.

use super::record::{RUN_LOCK, RunRecord, has_others, has_remains};
use crate::base::{self, Home, OpenBase, OpenOptions};
use crate::dataset::Dataset;
use crate::plan::{Machine, OptionInfo, Origin, RawTrain, ResumeKind, Settings, Size, TrainPlan};
use crate::refusal::Refusal;
use anyhow::Result;
use hone_ledger::words::{for_shell, path_for_shell};
use hone_ledger::{ContentId, Held, Lock, LockError, RunStatus, Seed, sweep, who_writes_in};
use hone_model::{Adapter, Model};
use hone_tensor::Device;
use hone_train::{Change, Data, two_digits};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A run that could start now.
pub struct Prepared {
    /// What was asked, paths made absolute.
    pub asked: RawTrain,
    /// What will happen.
    pub plan: TrainPlan,
    /// The base, opened.
    pub open: OpenBase,
    /// Its fingerprint.
    pub fingerprint: ContentId,
    /// The examples.
    pub dataset: Dataset,
    /// The base in memory, a fresh adapter on it.
    pub model: Model,
    /// The record of the run that is continued.
    pub resumed: Option<RunRecord>,
    /// Whether that run has nothing left to do.
    pub is_done: bool,
    /// Options of it that are other ones now.
    pub changes: Vec<Change>,
    /// What of it was not found as it was left, a sentence each.
    pub remarks: Vec<String>,
    /// The right to write in its directory, from the start on.
    pub(super) lock: Option<Lock>,
}

/// Room for sample answers beyond the longest row.
const ANSWER_ROOM: usize = 256;

impl Prepared {
    /// Prepares a new run, or the continuation of one.
    pub fn new(
        flags: &RawTrain,
        file: Option<RawTrain>,
        resume: bool,
        home: &Home,
    ) -> Result<Self> {
        let machine = Machine::measure();
        let resume = match resume {
            true => Some(Begun::find(flags, file.clone())?),
            false => None,
        };
        let is_done = resume.as_ref().is_some_and(Begun::is_done);
        let remarks = resume.as_ref().map_or(Vec::new(), Begun::remarks);
        let (mut asked, settings, resumed, changes) = if let Some(begun) = resume {
            begun.go_on(machine)?
        } else {
            let file = file.unwrap_or_default();
            let settings = Settings::resolve(flags, &file, Origin::RunFile, machine)?;
            refuse_used_directory(&settings.out.value)?;
            let asked = absolute(flags.over(&file));
            (asked, settings, None, Vec::new())
        };

        let options = OpenOptions {
            chat_template: settings.chat_template.value.clone(),
            template_options: settings.template_option.value.clone(),
            adapter: None,
            date: settings.date.value,
        };
        let mut open = OpenBase::open(base::find(&settings.model.value, home)?, &options)?;
        open.add_tokens(&settings.new_tokens.value)?;
        // A run that goes on tomorrow prints the day that it began.
        asked.date = asked.date.or(open.printed_date());
        let limit = open.weights.config().context_len;
        let settings = settings.within_context(limit)?;
        let max_length = settings.max_length.value;
        let dataset = Dataset::load(&settings, &open.renderer, max_length)?;
        let fingerprint = open.weights.fingerprint()?;
        let begun = resumed.as_ref().map(|run| &run.training);
        if let Some(record) = &resumed {
            refuse_other_content(record, &settings, &open, fingerprint, &dataset)?;
        }
        let plan = TrainPlan::draw(settings, &open, &dataset, fingerprint, begun)?;
        if plan.streams_base {
            open.weights.stream();
        }
        let model = load(&plan, &open, (max_length + ANSWER_ROOM).min(limit))?;
        let mut prepared = Self {
            asked,
            plan,
            open,
            fingerprint,
            dataset,
            model,
            resumed,
            is_done,
            changes,
            remarks,
            lock: None,
        };
        if prepared.plan.settings.minutes.value.is_some() {
            prepared.time_a_step()?;
        }
        Ok(prepared)
    }

    /// Times a step of a new run, so that the plan can say how long it takes. Without a time budget the
    /// plan does not depend on it, and a run that starts at once tells soon enough.
    pub fn time_a_step(&mut self) -> Result<()> {
        if self.resumed.is_some() || self.plan.is_timed() {
            return Ok(());
        }
        // The first time also brings the weights into memory, so it is not the one that counts.
        let mut seconds = 0.0;
        for _ in 0..2 {
            seconds = hone_train::measure_step(&self.model, self.data(), &self.plan.training, 0)?;
        }
        self.plan.fit_into_time(&self.dataset, seconds);
        Ok(())
    }

    /// What the training loop learns from.
    pub fn data(&self) -> Data<'_> {
        data(&self.dataset)
    }
}

/// What the training loop learns from.
pub fn data(dataset: &Dataset) -> Data<'_> {
    Data {
        train: &dataset.train,
        valid: &dataset.valid,
        tasks: &dataset.tasks,
    }
}

fn load(plan: &TrainPlan, open: &OpenBase, max_positions: usize) -> Result<Model> {
    let device = Device::cpu(plan.settings.threads.value)?;
    let mut model = Model::load(&open.weights, &device, plan.base_format, max_positions)?;
    let seed = Seed::new(plan.settings.seed.value).child("adapter");
    let adapter = Adapter::new(plan.lora.clone(), model.config(), &device, seed)?;
    model.init_and_attach(adapter, &open.weights)?;
    open.start_new_tokens(&mut model)?;
    Ok(model)
}

/// The run that `--resume` means.
pub struct Begun {
    /// Its directory.
    pub dir: PathBuf,
    /// What it says of itself.
    pub record: RunRecord,
    /// Where that was found, if not where it was left.
    found: Option<String>,
    given: RawTrain,
}

impl Begun {
    /// The run in `--out`, whose options flags may repeat but not change.
    pub fn find(flags: &RawTrain, file: Option<RawTrain>) -> Result<Self> {
        let given = absolute(flags.over(&file.unwrap_or_default()));
        let Some(dir) = given.out.clone() else {
            return Err(Refusal::usage(
                "--resume needs --out, the directory of the run to continue",
            )
            .hint("`hone runs` lists the runs of this machine and their directories")
            .into());
        };
        refuse_busy(&dir)?;
        let (record, found) = RunRecord::find(&dir)?;
        let peak = record.training.learning_rate.peak;
        let changed = changed_options(&given, &record.asked, peak)?;
        if !changed.is_empty() {
            return Err(Refusal::usage(format!(
                "a resumed run keeps its options, but {} changed",
                changed.join(", ")
            ))
            .hint(way_on(&record, &changed))
            .into());
        }
        Ok(Self {
            dir,
            record,
            found,
            given,
        })
    }

    /// What is not as the run left it, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let lost = match self.record.status {
            RunStatus::Finished => self.record.lost(&self.dir),
            _ => Vec::new(),
        };
        self.found.iter().cloned().chain(lost).collect()
    }

    /// Whether nothing is left to be trained or written: all steps were taken, both adapters are in place as they were left,
    /// and nobody asks for another optimizer or another form of the files.
    pub fn is_done(&self) -> bool {
        let (given, asked) = (&self.given, &self.record.asked);
        let is_same = given
            .optimizer
            .is_none_or(|kind| asked.optimizer == Some(kind))
            && given
                .save_dtype
                .is_none_or(|form| asked.save_dtype == Some(form));
        self.record.status == RunStatus::Finished && is_same && self.remarks().is_empty()
    }

    /// Options given now that are other ones than the run began with, as flags.
    pub fn changed(&self) -> Result<Vec<String>> {
        let changes = changes(&self.given, &self.record.asked)?.into_iter();
        let changes = changes
            .filter(|change| change.option != "out" && OptionInfo::may_change(&change.option));
        Ok(changes
            .map(|change| format!("--{}", change.option))
            .collect())
    }

    /// Whether one of them says where something lies, so that it has to be looked at.
    pub fn has_other_places(&self) -> Result<bool> {
        let changed = self.changed()?;
        let is_place = |flag: &String| {
            let option = OptionInfo::of(flag.trim_start_matches("--"));
            let resume = option.and_then(|option| option.on_resume);
            resume.is_some_and(|resume| resume.kind == ResumeKind::Place)
        };
        Ok(changed.iter().any(is_place))
    }

    /// Its options as they were, but for those that may change.
    fn go_on(
        self,
        machine: Machine,
    ) -> Result<(RawTrain, Settings, Option<RunRecord>, Vec<Change>)> {
        let Self {
            dir, record, given, ..
        } = self;
        let only = |is_meant: fn(ResumeKind) -> bool| -> Result<RawTrain> {
            let mut given = options(&given)?;
            given.retain(|name, _| {
                let resume = OptionInfo::of(name).and_then(|option| option.on_resume);
                resume.is_some_and(|resume| is_meant(resume.kind))
            });
            Ok(serde_json::from_value(Value::Object(given))?)
        };
        let allowed = only(|_| true)?;
        let kept = only(|kind| kind != ResumeKind::Moment)?;
        let saved = RawTrain {
            out: Some(dir),
            ..kept.over(&record.asked)
        };
        let changes = changes(&allowed, &record.asked)?;
        let settings = Settings::resolve(&allowed, &saved, Origin::SavedRun, machine)?;
        Ok((saved, settings, Some(record), changes))
    }
}

/// Options as a JSON object: those that were given, by name.
fn options(raw: &RawTrain) -> Result<Map<String, Value>> {
    let raw = serde_json::to_value(raw)?;
    Ok(raw.as_object().cloned().unwrap_or_default())
}

/// The options given now that are not what the run was begun with.
fn changes(given: &RawTrain, begun_with: &RawTrain) -> Result<Vec<Change>> {
    let (given, begun_with) = (options(given)?, options(begun_with)?);
    let change = |(option, to): (String, Value)| {
        let from = begun_with.get(&option).cloned().unwrap_or_default();
        (from != to).then_some(Change { option, from, to })
    };
    Ok(given.into_iter().filter_map(change).collect())
}

/// Those of them that a resumed run has to keep, as flags; `peak` is the learning rate of the record. One that was not given
/// at the beginning, and says now what was decided then, changes nothing.
fn changed_options(given: &RawTrain, begun_with: &RawTrain, peak: f32) -> Result<Vec<String>> {
    let changes = changes(given, begun_with)?.into_iter();
    let fixed = changes.filter(|change| !OptionInfo::may_change(&change.option));
    let mut changed = Vec::new();
    for change in fixed {
        let mut alone = Map::new();
        alone.insert(change.option.clone(), change.to);
        let alone: RawTrain = serde_json::from_value(Value::Object(alone))?;
        let is_decided = match change.option.as_str() {
            // What was decided by the width of the base is in the record alone.
            "lr" => begun_with.lr.is_none() && given.lr == Some(two_digits(f64::from(peak))),
            // A date is recorded where it counts.
            "date" => false,
            _ => change.from.is_null() && decided(&alone.over(begun_with))? == decided(begun_with)?,
        };
        if !is_decided {
            changed.push(format!("--{}", change.option));
        }
    }
    Ok(changed)
}

/// What options come to, each by its name; the machine does not matter.
fn decided(asked: &RawTrain) -> Result<Vec<(&'static str, Value)>> {
    let machine = Machine {
        threads: 1,
        memory: Size { bytes: 1 << 30 },
    };
    let settings = Settings::resolve(asked, &RawTrain::default(), Origin::SavedRun, machine)?;
    let settings = settings.json().into_iter();
    Ok(settings
        .map(|(name, chosen)| (name, chosen.value))
        .collect())
}

/// What to do with a run whose options are to be other ones.
fn way_on(record: &RunRecord, changed: &[String]) -> String {
    let begin = format!(
        "begin another run with {} and a new --out",
        changed.join(", ")
    );
    match (record.status, record.ended_not_finite()) {
        (RunStatus::Finished, _) => format!("this run is finished; {begin}"),
        (_, Some(step)) => format!(
            "the numbers of step {step} were not finite, and would be so again with the options that this run has: {begin}"
        ),
        _ => format!("leave them out to continue the run, or {begin}"),
    }
}

/// Refuses another base, other rows or another template than the run began with, by the option that names them.
fn refuse_other_content(
    record: &RunRecord,
    settings: &Settings,
    open: &OpenBase,
    base: ContentId,
    dataset: &Dataset,
) -> Result<()> {
    let mut others = Vec::new();
    if record.base["fingerprint"] != serde_json::to_value(base)? {
        let model = for_shell(&settings.model.value);
        others.push(format!("--model {model} is another base"));
    }
    let (then, now) = (&record.data, dataset.summary());
    if ["train", "valid"]
        .iter()
        .any(|side| then[side]["id"] != now[side]["id"])
    {
        let valid = match &settings.valid.value {
            Some(file) if Some(file) != record.asked.valid.as_ref() => Some(file),
            _ => None,
        };
        let data = &settings.data.value;
        let has_moved = Some(data) != record.asked.data.as_ref();
        // What was named anew is at fault; if nothing was, a file is not what it was.
        if has_moved || valid.is_none() {
            let files: Vec<String> = data.iter().map(|file| path_for_shell(file)).collect();
            others.push(format!("--data {} has other rows", files.join(" ")));
        }
        others.extend(valid.map(|file| format!("--valid {} has other rows", path_for_shell(file))));
    }
    let renderer = &open.renderer;
    let text = [
        ("template", renderer.template_hash()),
        ("tokenizer", renderer.tokenizer().hash()),
    ];
    let mut text = text.iter();
    // A base that is another one has its own words.
    if others.is_empty() && text.any(|(name, hash)| record.text[*name] != **hash) {
        others.push(match &settings.chat_template.value {
            Some(template) => format!("--chat-template {} is another one", for_shell(template)),
            None => "the base has another chat template or tokenizer".into(),
        });
    }
    if others.is_empty() {
        return Ok(());
    }
    Err(Refusal::usage(format!(
        "a resumed run goes on with what it began with, but {}",
        others.join(", and ")
    ))
    .hint("put back what was there, or begin another run with a new --out")
    .into())
}

/// The same options from whatever directory they are read again.
fn absolute(mut asked: RawTrain) -> RawTrain {
    let make = |path: &mut PathBuf| {
        if let Ok(absolute) = std::path::absolute(&*path) {
            *path = absolute;
        }
    };
    asked
        .data
        .iter_mut()
        .flatten()
        .chain(&mut asked.valid)
        .chain(&mut asked.out)
        .for_each(make);
    if let Some(model) = asked
        .model
        .as_mut()
        .filter(|model| Path::new(model).exists())
    {
        let mut path = PathBuf::from(&*model);
        make(&mut path);
        *model = path.display().to_string();
    }
    if let Some(template) = asked
        .chat_template
        .as_mut()
        .filter(|template| is_template_file(template))
    {
        let mut path = PathBuf::from(&*template);
        make(&mut path);
        *template = path.display().to_string();
    }
    asked
}

/// Whether it is a file and not a name: a name stays a name, whatever lies in this directory.
fn is_template_file(template: &str) -> bool {
    let is_path = template.contains(std::path::is_separator) || template.contains('.');
    is_path && Path::new(template).is_file()
}

/// Removes what a process left in the directory of a run that was killed after it had recorded the end. Record and results
/// stay as they are.
pub fn tidy(dir: &Path) {
    let path = dir.join(RUN_LOCK);
    if path.is_file()
        && let Ok(_lock) = Lock::take(&path, dir, "hone train")
    {
        sweep(dir);
    }
}

/// Refuses a directory that another process is writing to at this moment.
fn refuse_busy(dir: &Path) -> Result<()> {
    match who_writes_in(dir, RUN_LOCK) {
        Held::By(holder) => Err(LockError::Held {
            what: dir.to_path_buf(),
            holder,
        }
        .into()),
        Held::Free | Held::Unknown => Ok(()),
    }
}

/// Refuses to begin where a run has been, or is.
fn refuse_used_directory(dir: &Path) -> Result<()> {
    refuse_busy(dir)?;
    refuse_remains(dir)
}

/// Refuses to begin where a run has been.
pub(super) fn refuse_remains(dir: &Path) -> Result<()> {
    let Some(name) = has_remains(dir) else {
        let Some(name) = has_others(dir) else {
            return Ok(());
        };
        let what = format!(
            "{} holds no run, but a {name}, which a run would write over",
            dir.display()
        );
        return Err(Refusal::usage(what)
            .hint("choose another --out, or move it to another name")
            .into());
    };
    let hint = match RunRecord::find(dir) {
        Ok(_) => "--resume continues it; another --out starts a new one",
        Err(_) => {
            "it cannot be continued, as nothing in it says what it was: another --out starts a new one"
        }
    };
    let what = format!("{} already holds a run (it has {name})", dir.display());
    Err(Refusal::usage(what).hint(hint).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_keeps_its_options_but_not_its_threads() {
        let begun = RawTrain {
            model: Some("base".into()),
            data: Some(vec!["rows.jsonl".into()]),
            out: Some("run".into()),
            rank: Some(8),
            threads: Some(2),
            seed: Some(1),
            ..RawTrain::default()
        };
        let given = RawTrain {
            rank: Some(16),
            threads: Some(1),
            seed: Some(1),
            lr: Some(0.1),
            ..RawTrain::default()
        };
        let changed = |given: &RawTrain| changed_options(given, &begun, 2e-4).unwrap();
        assert_eq!(changed(&given), ["--rank", "--lr"]);
        // What was decided for the user, said by the user.
        let given = RawTrain {
            batch_size: Some(8),
            lr: Some(2e-4),
            valid_share: Some(0.05),
            ..RawTrain::default()
        };
        assert_eq!(changed(&given), [] as [&str; 0]);
        let given = RawTrain {
            batch_size: Some(4),
            valid_share: Some(0.2),
            ..RawTrain::default()
        };
        assert_eq!(changed(&given), ["--valid-share", "--batch-size"]);
    }

    #[test]
    fn flags_replace_keys_of_the_file() {
        let file = RawTrain {
            rank: Some(8),
            valid: Some("held.jsonl".into()),
            ..RawTrain::default()
        };
        let flags = RawTrain {
            rank: Some(4),
            valid_share: Some(0.5),
            ..RawTrain::default()
        };
        let merged = flags.over(&file);
        assert_eq!(
            (merged.rank, merged.valid, merged.valid_share),
            (Some(4), None, Some(0.5))
        );
    }

    #[test]
    fn a_directory_that_holds_a_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        refuse_used_directory(dir.path()).unwrap();
        std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        refuse_used_directory(dir.path()).unwrap();
        // What a run leaves that is killed before it has begun.
        std::fs::write(dir.path().join("events.jsonl"), "").unwrap();
        std::fs::write(dir.path().join(RUN_LOCK), "").unwrap();
        refuse_used_directory(dir.path()).unwrap();
        std::fs::write(dir.path().join("events.jsonl"), "{}\n").unwrap();
        let error = refuse_used_directory(dir.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("already holds a run (it has events.jsonl)"),
            "{error}"
        );
    }

    #[test]
    #[cfg(unix)]
    fn nothing_is_begun_over_files_of_others() {
        let link = |path: &Path| std::os::unix::fs::symlink("nowhere", path).unwrap();
        for name in ["report.html", "skipped.txt", "adapter", "events.jsonl"] {
            let dir = tempfile::tempdir().unwrap();
            link(&dir.path().join(name));
            let error = refuse_used_directory(dir.path()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("report.html"), "my own").unwrap();
        let error = refuse_used_directory(dir.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("holds no run, but a report.html, which a run would write over"),
            "{error}"
        );
    }
}
