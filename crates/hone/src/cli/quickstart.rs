//! `hone quickstart`: the whole road once, on a real model and real data, in minutes.
//!
//! It does nothing that the other verbs do not do; it only chooses for a newcomer and says what it chooses. Rows that
//! decide which adapter is kept are not among the rows that judge it.

use super::data::rust_lints_at_home;
use super::eval::tables::show_comparison;
use super::failure::{Exit, Refusal};
use super::interrupt::Interrupt;
use super::progress::{Count, PullProgress};
use super::train::{enter_registry, show_plan, show_summary};
use crate::base::{self, BaseError, CATALOGUE, Home};
use crate::data_flags::SideFlag;
use crate::judge::{Verdict, per_task, rules};
use crate::place::refuse_unwritable;
use crate::plan::RawTrain;
use crate::run::{Ended, Judgement, Prepared, Summary};
use crate::screen::{self, Talk, duration, plural};
use anyhow::Result;
use hone_curate::recipe::Side;
use hone_data::recipe::rust_lints::Written;
use hone_data::{Body, Record};
use hone_eval::harness::Rules;
use hone_ledger::words::path_for_shell;
use hone_ledger::{Seed, write_whole};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Arguments of `hone quickstart`.
#[derive(Debug, clap::Args)]
pub struct Quickstart {
    /// Time for training; fetching, building and judging need about two more
    #[arg(long, value_name = "MIN", default_value_t = 5.0)]
    minutes: f64,
    /// Directory of the run; runs/quickstart, or the next number that is free
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Threads; all cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// Rows per task that watch over the training.
const WATCH_ROWS: usize = 4;

/// Rows per task that judge, at most.
const EXAM_ROWS: usize = 40;

/// Rows that both models answer before the clock is looked at.
const PORTION: usize = 8;

/// Longest answer when judging; shorter where the references are.
const EXAM_TOKENS: usize = 64;

/// Everything together is over by about then.
const ALL_SECONDS: f64 = 450.0;

impl Quickstart {
    /// Fetches, builds, trains, judges, reports.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        if !(self.minutes > 0.0 && self.minutes.is_finite()) {
            let what = format!("--minutes is {}, but it has to be above 0", self.minutes);
            return Err(Refusal::usage(what)
                .hint("--minutes 1 is enough to see the whole road")
                .into());
        }
        let begun = Instant::now();
        let home = Home::from_env()?;
        let interrupt = Interrupt::listen(talk)?;
        let out = self
            .out
            .clone()
            .unwrap_or_else(|| free_directory(Path::new("runs/quickstart")));
        refuse_unwritable(&out)?;
        talk.say("1/5  base model");
        let model = fetch(&home, talk, &interrupt)?;
        interrupt.leave_at_once();
        talk.say("2/5  dataset rust-lints, from the documentation of the installed Rust toolchain");
        let written = rust_lints_at_home(&home, talk)?;
        talk.say(format!(
            "     {} to train on, {} held out",
            plural(written.train_rows, "row"),
            written.valid_rows
        ));
        let held_out = HeldOut::divide(&written)?;

        talk.say("3/5  plan, from two measured steps");
        let asked = self.options(model, &written, &held_out, out.clone());
        let mut run = Prepared::new(&asked, None, false, &home)?;
        show_plan(&run.plan, false, talk);

        // Fewer minutes than there are, where all passes over the data take less.
        let time = run.plan.facts.time.as_ref();
        let time = time.map_or("", |line| line.value.as_str());
        talk.say(format!("4/5  training, {time}"));
        interrupt.clear();
        let ended = run.start(talk, &interrupt.signal(), |out| {
            enter_registry(out, &home, talk);
        });
        interrupt.leave_at_once();
        enter_registry(&out, &home, talk);
        let summary = match ended? {
            Ended::Finished(summary) => summary,
            Ended::Interrupted { step } => {
                talk.say(format!(
                    "stopped after {}, saved: hone train --resume --out {}",
                    plural(step, "step"),
                    path_for_shell(&out)
                ));
                return Ok(Exit::Interrupted);
            }
        };

        talk.say("5/5  base and tuned model answer held-out rows");
        let left = ALL_SECONDS - begun.elapsed().as_secs_f64();
        let judgement = judge(&mut run, &summary, &held_out, left.clamp(40.0, 110.0), talk)?;
        let report = run.write_report(&summary, &judgement)?;
        show_comparison(&judgement.verdict.rows(), ["base", "tuned"], |line| {
            talk.say(line);
            Ok(())
        })?;
        talk.say(&judgement.note);
        show_summary(&summary, &report, &asked.model.unwrap_or_default(), talk);
        talk.say(format!(
            "all in {}",
            duration(begun.elapsed().as_secs_f64())
        ));
        if self.json {
            screen::data_json(&object(&summary, &judgement.verdict, &report)?)?;
        }
        Ok(Exit::Done)
    }

    /// What a newcomer would have to choose; the learning rate is the one that suits the base's width.
    fn options(
        &self,
        model: &str,
        written: &Written,
        held_out: &HeldOut,
        out: PathBuf,
    ) -> RawTrain {
        RawTrain {
            model: Some(model.into()),
            data: Some(vec![written.train.clone(), held_out.judging.clone()]),
            // Not read but for what it asks, which training must not have seen.
            side: Some(vec![SideFlag {
                name: JUDGING.into(),
                side: Some(Side::Test),
            }]),
            valid: Some(held_out.watch.clone()),
            out: Some(out),
            minutes: Some(self.minutes),
            batch_size: Some(4),
            max_length: Some(512),
            seed: Some(self.seed),
            // Rows that say nearly what a held-out row says leave the training side, and a newcomer has nothing to decide.
            rule: Some(vec!["leak=drop".parse().expect("a family and an action")]),
            threads: self.threads,
            ..RawTrain::default()
        }
    }
}

fn fetch(home: &Home, talk: Talk, interrupt: &Interrupt) -> Result<&'static str> {
    let name = CATALOGUE[0].name;
    match base::find(name, home) {
        Err(BaseError::NotPulled { .. }) => {
            talk.say(format!("     fetching {name} ({})", CATALOGUE[0].licence));
            let mut progress = PullProgress::start(talk, interrupt.clone());
            base::pull(name, home, &mut progress)?;
            progress.finish();
        }
        found => {
            found?;
        }
    }
    talk.say(format!("     {name} is here"));
    Ok(name)
}

/// The first of `runs/quickstart`, `runs/quickstart-2`, … that is free.
fn free_directory(wanted: &Path) -> PathBuf {
    let numbered = |n: usize| PathBuf::from(format!("{}-{n}", wanted.display()));
    let all = std::iter::once(wanted.to_path_buf()).chain((2..).map(numbered));
    all.into_iter()
        .find(|dir| !dir.exists())
        .expect("there are more numbers than directories")
}

/// The held-out rows, divided into those that watch and those that judge.
struct HeldOut {
    watch: PathBuf,
    /// The file of those that judge.
    judging: PathBuf,
    /// The same, one list per task.
    exam: Vec<Vec<Record>>,
    /// How many there would be to judge by.
    num_unwatched: usize,
}

/// The file of rows that judge, beside the dataset's own.
const JUDGING: &str = "test.jsonl";

impl HeldOut {
    fn divide(written: &Written) -> Result<Self> {
        let reading = hone_data::read(&[&written.valid])?;
        let text = std::fs::read_to_string(&written.valid)?;
        let lines: Vec<&str> = text.lines().collect();
        let mut by_task: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in reading.records {
            by_task.entry(record.task.clone()).or_default().push(record);
        }
        let (mut watched, mut exam, mut num_unwatched) = (Vec::new(), Vec::new(), 0);
        for (task, mut records) in by_task {
            Seed::new(0).child(&task).stream().shuffle(&mut records);
            let mut judging = records.split_off(WATCH_ROWS.min(records.len()));
            num_unwatched += judging.len();
            judging.truncate(EXAM_ROWS);
            watched.extend(records);
            exam.push(judging);
        }
        let write = |name: &str, records: &mut dyn Iterator<Item = &Record>| -> Result<PathBuf> {
            let path = written.valid.with_file_name(name);
            let rows: String = records
                .flat_map(|record| [lines[record.source.line - 1], "\n"])
                .collect();
            write_whole(&path, rows.as_bytes())?;
            Ok(path)
        };
        Ok(Self {
            watch: write("watch.jsonl", &mut watched.iter())?,
            judging: write(JUDGING, &mut exam.iter().flatten())?,
            exam,
            num_unwatched,
        })
    }
}

/// Both models answer as many rows of every task as the time allows.
fn judge(
    run: &mut Prepared,
    summary: &Summary,
    held_out: &HeldOut,
    seconds: f64,
    talk: Talk,
) -> Result<Judgement> {
    let HeldOut {
        exam,
        num_unwatched,
        ..
    } = held_out;
    let task_seconds = seconds / exam.len().max(1) as f64;
    let (mut verdict, mut num_rows) = (Verdict::empty(), 0);
    let mut count = Count::start(talk);
    for records in exam {
        let rules = Rules {
            with_loss: false,
            ..rules(longest_answer(run, records)?)
        };
        let begun = Instant::now();
        for (portion, records) in records.chunks(PORTION).enumerate() {
            let elapsed = begun.elapsed().as_secs_f64();
            // A portion takes as long as the ones before it did.
            if portion > 0 && elapsed + elapsed / portion as f64 > task_seconds {
                break;
            }
            let exam = run.set_exam(records);
            let answered = run.judge(summary, &exam, &rules, |progress| {
                count.tell_of(progress.done, progress.total, "base and tuned")
            })?;
            verdict = verdict.join(num_rows, answered)?;
            num_rows += records.len();
        }
    }
    count.finish();
    let note = format!(
        "{num_rows} of {num_unwatched} held-out rows, none of which had a part in training or in choosing the adapter; greedy \
         decoding, at most {EXAM_TOKENS} new tokens, fewer where the expected answers are short; exact match but for white space \
         at the ends; ranges are 95 % of paired bootstrap resamples",
    );
    Ok(Judgement {
        verdict,
        note,
        has_table: true,
    })
}

/// Twice the longest expected answer and a little: more cannot be right, and a model that rambles need not be heard out.
fn longest_answer(run: &Prepared, records: &[Record]) -> Result<usize> {
    let mut longest = 0;
    for record in records {
        let Body::Chat(conversation) = &record.body else {
            continue;
        };
        let Some((_, reply)) = conversation.split_reply() else {
            continue;
        };
        longest = longest.max(run.open.renderer.tokenizer().encode_plain(reply)?.len());
    }
    Ok((2 * longest + 8).min(EXAM_TOKENS))
}

fn object(summary: &Summary, verdict: &Verdict, report: &Path) -> Result<serde_json::Value> {
    let mut object = serde_json::to_value(summary)?;
    object["base"] = json!({ "tasks": per_task(&verdict.base) });
    object["tuned"] = json!({ "tasks": per_task(&verdict.tuned) });
    object["report"] = json!(report);
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_directory_gets_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().join("quickstart");
        assert_eq!(free_directory(&wanted), wanted);
        std::fs::create_dir(&wanted).unwrap();
        assert_eq!(free_directory(&wanted), dir.path().join("quickstart-2"));
    }

    #[test]
    fn rows_that_watch_do_not_judge() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let row = |task: &str, i: usize| {
            format!("{{\"task\":\"{task}\",\"prompt\":\"{task} {i}\",\"completion\":\"b\"}}\n")
        };
        let rows: String = (0..10)
            .flat_map(|i| [row("fix", i), row("group", i)])
            .collect();
        std::fs::write(path("valid.jsonl"), rows).unwrap();
        let written = Written {
            train: path("train.jsonl"),
            valid: path("valid.jsonl"),
            provenance: path("provenance.json"),
            train_rows: 0,
            valid_rows: 20,
        };
        let HeldOut {
            watch,
            judging: file,
            exam,
            num_unwatched,
        } = HeldOut::divide(&written).unwrap();
        let watching = hone_data::read(&[watch]).unwrap().records;
        assert_eq!(num_unwatched, 20 - 2 * WATCH_ROWS);
        assert_eq!(
            hone_data::read(&[file]).unwrap().records.len(),
            num_unwatched
        );
        let judging: Vec<&Record> = exam.iter().flatten().collect();
        assert_eq!(
            (watching.len(), judging.len()),
            (2 * WATCH_ROWS, 20 - 2 * WATCH_ROWS)
        );
        assert!(
            judging
                .iter()
                .all(|row| watching.iter().all(|other| other.body != row.body))
        );
        assert!(
            exam.iter()
                .all(|rows| rows.iter().all(|row| row.task == rows[0].task))
        );
    }
}
