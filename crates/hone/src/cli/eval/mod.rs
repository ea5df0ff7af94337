//! `hone eval`: loss, exact match and ROUGE-L per task, for a base and, beside it, an adapter on it.

mod seen;
pub mod tables;

use self::seen::Seen;
use self::tables::{print_metrics, print_scores, show_comparison, show_labels};
use super::failure::{Exit, Refusal};
use super::generate::at_least_one;
use super::model::ModelArgs;
use super::progress::Count;
use crate::base::{Home, OpenBase};
use crate::curation::{count_line, tell_remarks};
use crate::data_flags::{DataFlags, KeyArgs, chosen_inputs};
use crate::judge::{Verdict, metric_row, per_task};
use crate::kept_answers::KeptAnswers;
use crate::place::{begin, refuse_used};
use crate::screen::{self, Talk, plural};
use crate::sifted::{SieveArgs, Sifted};
use anyhow::Result;
use clap::ValueEnum;
use hone_curate::Sifting;
use hone_data::{Record, Side};
use hone_eval::answers::{AnswerLine, Said};
use hone_eval::harness::{Exam, Judged, Rules};
use hone_eval::labels::Labelled;
use hone_eval::metric::exact::Rule;
use hone_eval::scored::{self, BY_REFERENCE};
use hone_ledger::{Seed, WriteError};
use hone_model::Model;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Arguments of `hone eval`.
#[derive(Debug, clap::Args)]
pub struct Eval {
    #[command(flatten)]
    model: ModelArgs,
    /// Files or folders of rows; of a folder with sides, its test side. A row's last assistant turn is the reference
    #[arg(long, value_name = "F", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    flags: DataFlags,
    /// Side of a folder or dataset directory to judge by: train, valid or test [default: test]
    #[arg(long, value_name = "SIDE")]
    split: Option<Side>,
    /// Judge this many rows, chosen by seed; all if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Seed of the choice of rows
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    sieve: SieveArgs,
    /// Longest answer in tokens; a longer one is cut there and judged as it is
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    max_tokens: usize,
    /// What counts as an exact match: strict ignores white space at the ends, squad also case, punctuation and articles
    #[arg(long = "match", value_name = "RULE", default_value = "strict")]
    rule: Match,
    /// Answers written at the same time; more need more memory
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    slots: u16,
    /// Further metrics by which answers are scored against their references; may be given more than once. docs/metrics.md
    /// says whose definitions they follow
    #[arg(long = "metric", value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(BY_REFERENCE))]
    metrics: Vec<String>,
    /// Ask again, and do not take answers that an earlier evaluation of the same rows has left in HONE_HOME
    #[arg(long)]
    fresh: bool,
    /// Directory for the report, which must not exist: answers.jsonl has each row's prompt, reference, answers and scores,
    /// report.json every number
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Match {
    Strict,
    Squad,
}

/// The models on their way through one exam.
struct Sitting<'a> {
    args: &'a Eval,
    open: &'a OpenBase,
    exam: &'a Exam,
    rules: &'a Rules,
    kept: KeptAnswers<'a>,
    /// Loaded once somebody has to answer.
    model: Option<Model>,
    talk: Talk,
}

impl Sitting<'_> {
    /// What the base, or an adapter on it, made of the exam before.
    fn kept(&self, adapter: Option<&Path>) -> Result<Option<Vec<Judged>>> {
        match self.args.fresh {
            true => Ok(None),
            false => self.kept.read(adapter),
        }
    }

    fn model(&mut self) -> Result<&mut Model> {
        Ok(match &mut self.model {
            Some(model) => model,
            unloaded => {
                let limit = self.open.weights.config().context_len;
                let positions = self.exam.max_positions(self.rules).min(limit);
                unloaded.insert(self.args.model.load_plain(self.open, positions)?)
            }
        })
    }

    /// What the model, as it is now, makes of the exam, unless that is known.
    fn answers(
        &mut self,
        who: &str,
        adapter: Option<&Path>,
        kept: Option<Vec<Judged>>,
    ) -> Result<Vec<Judged>> {
        let (exam, open, rules, talk) = (self.exam, self.open, self.rules, self.talk);
        if let Some(judged) = kept {
            talk.say(format!(
                "{who}: answers of an earlier evaluation of the same rows (--fresh asks again)"
            ));
            return Ok(judged);
        }
        let mut progress = Count::start(talk);
        let told = |at| progress.tell(&format!("{who} model"), at);
        let judged = exam.sit(self.model()?, &open.renderer, rules, told)?;
        progress.finish();
        if let Err(error) = self.kept.keep(adapter, &judged) {
            talk.warn(format!(
                "the answers are not kept for a next time: {error:#}"
            ));
        }
        Ok(judged)
    }
}

impl Eval {
    /// Judges, and prints a table or an object.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        self.out.as_deref().map_or(Ok(()), refuse_used)?;
        let open = self.model.open(talk)?;
        let sifted = self.sifted(&open, talk)?;
        let count = sifted.count.clone();
        let records = self.records(sifted, talk)?;
        let seen = match &self.model.adapter {
            Some(adapter) => Seen::by(adapter, &records, talk)?,
            None => None,
        };
        let limit = open.weights.config().context_len;
        let exam = Exam::set(&open.renderer, &records, self.sieve.max_length.min(limit));
        // Before a model has answered for minutes.
        scored::check(&self.metrics, exam.references()).map_err(|error| {
            Refusal::usage(error.to_string())
                .hint("take the metric out, or judge by rows whose replies are of that kind")
        })?;
        let rules = Rules {
            max_new_tokens: self.max_tokens,
            slots: usize::from(self.slots),
            exact: match self.rule {
                Match::Strict => Rule::Strict,
                Match::Squad => Rule::Squad,
            },
            with_loss: true,
        };
        let mut sitting = Sitting {
            args: &self,
            open: &open,
            exam: &exam,
            rules: &rules,
            kept: KeptAnswers::of(&Home::from_env()?, &open, &exam, &rules)?,
            model: None,
            talk,
        };
        let tuned = match &self.model.adapter {
            None => None,
            Some(dir) => {
                let kept = sitting.kept(Some(dir))?;
                // What is wrong with an adapter is told before the base answers for minutes.
                let adapter = match &kept {
                    Some(_) => None,
                    None => Some(open.read_adapter(sitting.model()?, dir)?),
                };
                Some((dir, kept, adapter))
            }
        };
        let kept = sitting.kept(None)?;
        let judged = sitting.answers("base", None, kept)?;
        let Some((dir, kept, adapter)) = tuned else {
            open.weights.check_unchanged(None)?;
            let labels = Labelled::per_task(&judged);
            let scored = scored::per_task(&self.metrics, &judged, None, Seed::new(0))?;
            let object = json!({
                "tasks": per_task(&judged),
                "metrics": scored,
                "labels": { "base": labels },
                "model": "base",
                "count": count,
            });
            self.write((&records, None), &judged, &[], &object, talk)?;
            if self.json {
                screen::data_json(&object)?;
                return Ok(Exit::Done);
            }
            print_scores(&object)?;
            print_metrics(&scored)?;
            for (task, base) in &labels {
                show_labels(task, base, None)?;
            }
            return Ok(Exit::Done);
        };
        if let Some(adapter) = adapter {
            sitting.model()?.attach(adapter);
        }
        let verdict = Verdict::new(judged, sitting.answers("tuned", Some(dir), kept)?)?;
        open.weights.check_unchanged(None)?;
        let (base, tuned) = (per_task(&verdict.base), per_task(&verdict.tuned));
        let labels = [&verdict.base, &verdict.tuned].map(|judged| Labelled::per_task(judged));
        let tuned_rows = Some(&verdict.tuned[..]);
        let scored = scored::per_task(&self.metrics, &verdict.base, tuned_rows, Seed::new(0))?;
        let object = json!({
            "tasks": tuned,
            "model": "tuned",
            "base": { "tasks": base },
            "tuned": { "tasks": tuned },
            "comparisons": verdict.comparisons,
            "metrics": scored,
            "labels": { "base": labels[0], "tuned": labels[1] },
            "trained_on": seen.as_ref().map(Seen::count),
            "refused": count.read - count.usable,
            "count": count,
        });
        self.write(
            (&records, seen.as_ref()),
            &verdict.base,
            &verdict.tuned,
            &object,
            talk,
        )?;
        if self.json {
            screen::data_json(&object)?;
            return Ok(Exit::Done);
        }
        if let Some(line) = seen.as_ref().and_then(Seen::line) {
            screen::data(line)?;
        }
        let mut rows = verdict.rows();
        for (task, scored) in &scored {
            // Behind the task's own lines.
            let behind = rows.iter().rposition(|row| row.task == *task);
            let at = behind.map_or(rows.len(), |last| last + 1);
            rows.splice(at..at, scored.iter().map(|scored| metric_row(task, scored)));
        }
        show_comparison(&rows, screen::data)?;
        talk.say("range: 95 % of resamples of the rows");
        talk.say(format!(
            "better and worse are told line by line: of 20 lines without a difference, one is told to have one; here are {}",
            rows.len()
        ));
        for (task, base) in &labels[0] {
            show_labels(task, base, labels[1].get(task))?;
        }
        Ok(Exit::Done)
    }

    /// Writes the report, if one is asked for: all of it or nothing.
    fn write(
        &self,
        (records, seen): (&[Record], Option<&Seen>),
        base: &[Judged],
        tuned: &[Judged],
        object: &Value,
        talk: Talk,
    ) -> Result<()> {
        let Some(out) = &self.out else {
            return Ok(());
        };
        let mut dir = begin(out, "hone eval", talk)?;
        let mut lines = String::new();
        for (at, judged) in base.iter().enumerate() {
            let line = AnswerLine {
                base: Some(Said::of(judged)),
                tuned: tuned.get(at).map(Said::of),
                trained_on: seen.map(|seen| seen.rows[judged.score.row]),
                ..AnswerLine::of(records, judged)
            };
            lines += &serde_json::to_string(&line)?;
            lines.push('\n');
        }
        let report = format!("{object:#}\n");
        for (name, text) in [("answers.jsonl", lines), ("report.json", report)] {
            let path = dir.path_of(name);
            let bytes = text.len() as u64;
            std::fs::write(&path, text).map_err(|source| WriteError::new(&path, bytes, source))?;
        }
        let adapter = self
            .model
            .adapter
            .as_ref()
            .map(|dir| dir.display().to_string());
        dir.publish(json!({ "kind": "evaluation", "adapter": adapter, "rows": base.len() }))?;
        talk.say(format!("answers and scores: {}", out.display()));
        Ok(())
    }

    /// Why no row is left, and what would change that.
    fn nothing_to_judge(&self, sifted: &Sifted) -> Refusal {
        let files: Vec<String> = self
            .data
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let rows = plural(sifted.count.read, "row");
        let refusal = Refusal::failed(format!(
            "nothing can be judged: none of the {rows} of {} can be used",
            files.join(", ")
        ));
        let first = sifted
            .rows
            .iter()
            .find_map(|(record, sifting)| Some((record, sifting.why_not()?)));
        let refusal = match first {
            Some((record, why)) => {
                let first = format!("the first one: {}: {}", record.source, why.message);
                let hints = why.hints.iter().cloned();
                hints.fold(refusal.hint(first), Refusal::hint)
            }
            None => refusal.hint("a row to judge by has a reply of the assistant at its end"),
        };
        match sifted.count.not_usable.get("too-long") {
            None => refusal,
            Some(long) => refusal.hint(format!(
                "{long} of them are too long: --max-length is {}",
                self.sieve.max_length
            )),
        }
    }

    /// All rows of the side, each with the reason why it is not judged by, if so.
    fn sifted(&self, open: &OpenBase, talk: Talk) -> Result<Sifted> {
        let inputs = chosen_inputs(&self.data, &self.flags, self.split, Side::Test, talk)?;
        let options = self.flags.options(&self.keys);
        let sifted = self.sieve.read(&inputs, &options, Some(open), |_| true)?;
        tell_remarks(&sifted.files, talk);
        for refused in &sifted.refused {
            talk.say(format!("skipped: {}: {}", refused.source, refused.reason));
        }
        for (record, sifting) in &sifted.rows {
            match sifting {
                Sifting::Usable => {}
                Sifting::Odd(why) => talk.say(format!(
                    "odd, and judged by: {}: {}",
                    record.source, why.message
                )),
                Sifting::Unusable(why) => {
                    talk.say(format!("skipped: {}: {}", record.source, why.message));
                }
            }
        }
        talk.say(count_line(&sifted.count, true));
        Ok(sifted)
    }

    /// The rows to judge by.
    fn records(&self, sifted: Sifted, talk: Talk) -> Result<Vec<Record>> {
        if sifted.count.usable == 0 {
            return Err(self.nothing_to_judge(&sifted).into());
        }
        let rows = sifted.rows.into_iter();
        let mut records: Vec<Record> = rows
            .filter_map(|(record, sifting)| sifting.why_not().is_none().then_some(record))
            .collect();
        let Some(num_rows) = self
            .rows
            .map(|rows| rows as usize)
            .filter(|&rows| rows < records.len())
        else {
            return Ok(records);
        };
        talk.say(format!(
            "judging {num_rows} of {}",
            plural(records.len(), "row")
        ));
        Seed::new(self.seed)
            .child("eval-rows")
            .stream()
            .shuffle(&mut records);
        records.truncate(num_rows);
        Ok(records)
    }
}
