//! `hone judge`: a language model rates the answers of evaluations.

use super::compare::Named;
use super::failure::{Exit, Refusal};
use super::progress::Count;
use crate::base::Home;
use crate::judging::{Endpoint, Judge as Asked, JudgeError};
use crate::place::{begin, refuse_used};
use crate::screen::{self, Talk, count, plural};
use anyhow::{Context, Result};
use clap::ValueEnum;
use hone_eval::evaluation::{Pair, pairs};
use hone_eval::judging::{
    Order, Pairwise, Ratings, Single, Verdict, choice, of_pair, pairwise, rating, single,
};
use hone_eval::statistics::corrected::Rated;
use hone_eval::statistics::estimate::Estimate;
use hone_ledger::{Seed, WriteError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `hone judge`.
#[derive(Debug, clap::Args)]
pub struct Judge {
    /// Evaluations, as `hone eval --out` writes them: two, or one whose base and tuned model are judged; DIR:base and DIR:tuned
    /// name a model
    #[arg(value_name = "DIR", required = true, num_args = 1..=2)]
    evaluations: Vec<String>,
    /// Server that speaks OpenAI's chat completions; a local one works. Rows and answers are sent there
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// Model to ask of the server
    #[arg(long, value_name = "NAME")]
    judge: String,
    /// pairwise shows both answers, in both orders, and takes a verdict that changes with the order for a tie; single rates each
    /// from 1 to 10
    #[arg(long, value_name = "HOW", default_value = "pairwise")]
    how: How,
    /// What the judge is told to look at
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Look at whether it is right, whether it does what was asked, and whether it is clear."
    )]
    criteria: String,
    /// Do not show the judge what was expected
    #[arg(long)]
    no_reference: bool,
    /// Judge this many rows, chosen by seed; all if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Seed of the choice of rows
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Most tokens to spend in this run, of questions and replies
    #[arg(long, value_name = "TOKENS", default_value_t = 1_000_000)]
    budget: u64,
    /// Rows that people have rated, to correct the judge by: JSON lines with source and better, which is first, second or tie
    #[arg(long, value_name = "F")]
    rated: Option<PathBuf>,
    /// Environment variable with the key of the server, if it is set
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_variable: String,
    /// Seconds that the server may take for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// How often a question is put to a server that is busy, silent or confused
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    tries: u32,
    /// Directory for the report, which must not exist: verdicts.jsonl, transcript.jsonl and report.json
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    Pairwise,
    Single,
}

/// What became of a row.
#[derive(Debug, Serialize)]
struct Judged {
    task: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratings: Option<Ratings>,
}

/// A row that people have rated.
#[derive(Debug, Deserialize)]
struct RatedRow {
    source: String,
    better: Verdict,
}

impl Judge {
    /// Judges, and prints what came of it.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        self.out.as_deref().map_or(Ok(()), refuse_used)?;
        if self.rated.is_some() && self.how == How::Single {
            return Err(Refusal::usage("--rated is about pairs")
                .hint("leave --how single out")
                .into());
        }
        let named = self.evaluations.iter().map(|name| Named::read(name));
        let named: Vec<Named> = named.collect::<Result<_>>()?;
        let (first, second) = match &named[..] {
            [one] if self.how == How::Single && one.is_single() => (one.model()?, None),
            [one] => one.both().map(|(first, second)| (first, Some(second)))?,
            [first, second] => (first.model()?, Some(second.model()?)),
            _ => unreachable!("clap asks for one or two"),
        };
        named.iter().for_each(|own| own.warn_of_contamination(talk));
        let mut pairs = pairs(first, second)?;
        if let Some(rows) = self.rows.map(|rows| rows as usize) {
            let mut stream = Seed::new(self.seed).child("judge-rows").stream();
            stream.shuffle(&mut pairs);
            pairs.truncate(rows);
        }
        let rated = self.rated_rows()?;
        let unknown = rated
            .keys()
            .filter(|source| pairs.iter().all(|pair| pair.source != **source));
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        if let Some(first) = unknown.first() {
            talk.warn(format!(
                "{} of --rated is not among the rows that are judged, so it counts for nothing: {first}",
                plural(unknown.len(), "row")
            ));
        }
        let key = std::env::var(&self.key_variable).ok();
        let timeout = Duration::from_secs(self.timeout);
        let endpoint = Endpoint::new(&self.endpoint, &self.judge, key, timeout, self.tries)?;
        let name = endpoint.name();
        talk.say(format!(
            "{} go to {name}; at most {} tokens",
            plural(pairs.len(), "row"),
            count(self.budget)
        ));
        let mut judge = Asked::open(&Home::from_env()?, endpoint, self.budget, talk)?;
        let mut judged = Vec::new();
        let mut progress = Count::start(talk);
        for (at, pair) in pairs.iter().enumerate() {
            match self.judge_row(&mut judge, pair) {
                Ok(row) => judged.push(row),
                // What there is, is told; the same command with a larger budget goes on.
                Err(error @ JudgeError::Budget { .. }) => {
                    talk.warn(format!(
                        "{error}; judged are {at} of {}, and the same command with a larger --budget goes on from there",
                        plural(pairs.len(), "row")
                    ));
                    break;
                }
                Err(error) => {
                    progress.finish();
                    return Err(anyhow::Error::from(error).context(format!(
                        "{} was not judged, {at} before it were",
                        pair.source
                    )));
                }
            }
            progress.tell_of(at + 1, pairs.len(), "judged");
        }
        progress.finish();
        if judged.is_empty() {
            return Err(Refusal::failed("no row was judged")
                .hint("--budget has to allow for one row, in both orders")
                .into());
        }
        let names = (first.name(), second.map(|second| second.name()));
        let report = self.report(
            (&names.0, names.1.as_deref()),
            &name,
            &judged,
            &rated,
            &judge,
        );
        self.write(&judged, &judge, &report, talk)?;
        talk.say(format!(
            "{} asked, {} tokens",
            plural(judge.asked, "question"),
            count(judge.spent)
        ));
        if self.json {
            screen::data_json(&report)?;
            return Ok(Exit::Done);
        }
        self.show(&judged, &rated, &names)?;
        Ok(Exit::Done)
    }

    fn judge_row(&self, judge: &mut Asked, pair: &Pair) -> Result<Judged, JudgeError> {
        let reference =
            (!self.no_reference && !pair.expected.is_empty()).then_some(pair.expected.as_str());
        let mut row = Judged {
            task: pair.task.clone(),
            source: pair.source.clone(),
            verdict: None,
            ratings: None,
        };
        let second = pair.second.as_deref();
        match (self.how, second) {
            (How::Pairwise, Some(second)) => {
                let answers = (pair.first.as_str(), second);
                // Equal answers need no judge.
                let verdict = match pair.first == second {
                    true => Verdict::Tie,
                    false => {
                        let mut ask = |order| {
                            let asked =
                                pairwise(&self.criteria, &pair.asked, reference, answers, order);
                            judge.ask(&asked).map(|reply| choice(&reply))
                        };
                        of_pair(ask(Order::FirstIsA)?, ask(Order::SecondIsA)?)
                    }
                };
                row.verdict = Some(verdict);
            }
            _ => {
                let mut rate = |answer: &str| {
                    let asked = single(&self.criteria, &pair.asked, reference, answer);
                    judge.ask(&asked).map(|reply| rating(&reply))
                };
                let first = rate(&pair.first)?;
                let second = second.map(&mut rate).transpose()?.flatten();
                row.ratings = Some((first, second));
            }
        }
        Ok(row)
    }

    fn rated_rows(&self) -> Result<BTreeMap<String, Verdict>> {
        let Some(path) = &self.rated else {
            return Ok(BTreeMap::new());
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let mut rated = BTreeMap::new();
        for (at, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let row: RatedRow = serde_json::from_str(line).map_err(|error| {
                Refusal::failed(format!("{}, line {}: {error}", path.display(), at + 1))
                    .hint(r#"an example: {"source": "rows.jsonl:7", "better": "second"}"#)
            })?;
            if !matches!(row.better, Verdict::First | Verdict::Second | Verdict::Tie) {
                return Err(Refusal::failed(format!(
                    "{}, line {}: better is first, second or tie",
                    path.display(),
                    at + 1
                ))
                .into());
            }
            let before = rated.insert(row.source.clone(), row.better);
            if before.is_some_and(|before| before != row.better) {
                return Err(Refusal::failed(format!(
                    "{}, line {}: {} is rated in two ways",
                    path.display(),
                    at + 1,
                    row.source
                ))
                .hint("leave one line for each row")
                .into());
            }
        }
        Ok(rated)
    }

    /// How the judge did on the rows that people rated: does the second win?
    fn rated(judged: &[Judged], rated: &BTreeMap<String, Verdict>) -> Option<Rated> {
        let mut all = Rated::default();
        for row in judged {
            let (Some(verdict), Some(people)) = (row.verdict, rated.get(&row.source)) else {
                continue;
            };
            if verdict != Verdict::Unreadable {
                all.add(*people == Verdict::Second, verdict == Verdict::Second);
            }
        }
        (all != Rated::default()).then_some(all)
    }

    fn report(
        &self,
        (first, second): (&str, Option<&str>),
        judge: &str,
        judged: &[Judged],
        rated: &BTreeMap<String, Verdict>,
        asked: &Asked,
    ) -> Value {
        let tasks: BTreeMap<&str, Value> = by_task(judged)
            .into_iter()
            .map(|(task, rows)| (task, self.tally(&rows, None)))
            .collect();
        let rows: Vec<&Judged> = judged.iter().collect();
        let by_people = Self::rated(judged, rated);
        json!({
            "first": first,
            "second": second,
            "judge": judge,
            "how": match self.how { How::Pairwise => "pairwise", How::Single => "single" },
            "criteria": self.criteria,
            "shows_reference": !self.no_reference,
            "rows": judged.len(),
            "all": self.tally(&rows, by_people),
            "tasks": tasks,
            "rated_by_people": by_people,
            "tokens": asked.spent,
            "questions": asked.asked,
        })
    }

    fn tally(&self, rows: &[&Judged], rated: Option<Rated>) -> Value {
        match self.how {
            How::Pairwise => json!(Pairwise::of(&verdicts(rows), rated, Seed::new(0))),
            How::Single => json!(Single::of(&ratings(rows), Seed::new(0))),
        }
    }

    /// Writes the report, if one is asked for: all of it or nothing.
    fn write(&self, judged: &[Judged], judge: &Asked, report: &Value, talk: Talk) -> Result<()> {
        let Some(out) = &self.out else {
            return Ok(());
        };
        let mut dir = begin(out, "hone judge", talk)?;
        let mut verdicts = String::new();
        for row in judged {
            verdicts += &serde_json::to_string(row)?;
            verdicts.push('\n');
        }
        for (name, text) in [
            ("verdicts.jsonl", verdicts),
            ("transcript.jsonl", judge.transcript()?),
            ("report.json", serde_json::to_string_pretty(report)? + "\n"),
        ] {
            let path = dir.path_of(name);
            let bytes = text.len() as u64;
            std::fs::write(&path, text).map_err(|source| WriteError::new(&path, bytes, source))?;
        }
        dir.publish(json!({ "kind": "judgement", "rows": judged.len() }))?;
        talk.say(format!(
            "verdicts, and all that was asked and said: {}",
            out.display()
        ));
        Ok(())
    }

    fn show(
        &self,
        judged: &[Judged],
        rated: &BTreeMap<String, Verdict>,
        names: &(String, Option<String>),
    ) -> Result<()> {
        screen::data(format!("first:  {}", names.0))?;
        if let Some(second) = &names.1 {
            screen::data(format!("second: {second}"))?;
        }
        let mut tasks = by_task(judged);
        if tasks.len() > 1 {
            tasks.insert("all", judged.iter().collect());
        }
        match self.how {
            How::Pairwise => {
                screen::data(format!(
                    "{:16} {:>5} {:>7} {:>7} {:>5} {:>9}  second wins, ties as half",
                    "task", "rows", "first", "second", "ties", "by order"
                ))?;
                for (task, rows) in &tasks {
                    let tally = Pairwise::of(&verdicts(rows), None, Seed::new(0));
                    let clear = tally.difference.filter(|own| own.is_clear());
                    let word = match clear.map(|own| own.value > 0.0) {
                        None => "unclear",
                        Some(true) => "second is better",
                        Some(false) => "first is better",
                    };
                    screen::data(format!(
                        "{task:16} {:>5} {:>7} {:>7} {:>5} {:>9}  {}  {word}",
                        rows.len(),
                        tally.first,
                        tally.second,
                        tally.ties,
                        tally.inconsistent,
                        estimate(tally.win_rate)
                    ))?;
                    unreadable(tally.unreadable, rows.len())?;
                }
                self.show_correction(judged, rated)?;
            }
            How::Single => {
                screen::data(format!("{:16} {:>5}  ratings from 1 to 10", "task", "rows"))?;
                for (task, rows) in &tasks {
                    let tally = Single::of(&ratings(rows), Seed::new(0));
                    let second = match (names.1.is_some(), tally.difference) {
                        (true, Some(own)) => format!(
                            "  second {}, {:+.2}{}",
                            estimate(tally.second),
                            own.value,
                            if own.is_clear() { "" } else { ", unclear" }
                        ),
                        _ => String::new(),
                    };
                    let first = estimate(tally.first);
                    screen::data(format!(
                        "{task:16} {:>5}  first {first}{second}",
                        rows.len()
                    ))?;
                    let expected = u64::from(names.1.is_none()) * rows.len() as u64;
                    unreadable(tally.unreadable.saturating_sub(expected), rows.len())?;
                }
            }
        }
        Ok(())
    }

    fn show_correction(&self, judged: &[Judged], rated: &BTreeMap<String, Verdict>) -> Result<()> {
        if rated.is_empty() {
            return Ok(());
        }
        let rows: Vec<&Judged> = judged.iter().collect();
        let by_people = Self::rated(judged, rated);
        let corrected = Pairwise::of(&verdicts(&rows), by_people, Seed::new(0)).corrected;
        Ok(screen::data(match (by_people, corrected) {
            (Some(own), Some(corrected)) => format!(
                "corrected by {} that people rated: the second wins {:.3} ({:.3} to {:.3}) of the rows; the judge sees {:.2} of its wins and {:.2} of the others",
                plural((own.yes + own.no) as usize, "row"),
                corrected.value,
                corrected.interval.0,
                corrected.interval.1,
                corrected.sensitivity,
                corrected.specificity
            ),
            (Some(_), None) => "not corrected: people have rated rows of one kind only, or the judge agrees with them no more than chance does".into(),
            (None, _) => "not corrected: none of the rows that people rated was judged; their `source` is that of answers.jsonl".into(),
        })?)
    }
}

fn by_task(judged: &[Judged]) -> BTreeMap<&str, Vec<&Judged>> {
    let mut tasks: BTreeMap<&str, Vec<&Judged>> = BTreeMap::new();
    for row in judged {
        tasks.entry(&row.task).or_default().push(row);
    }
    tasks
}

fn verdicts(rows: &[&Judged]) -> Vec<Verdict> {
    rows.iter().filter_map(|row| row.verdict).collect()
}

fn ratings(rows: &[&Judged]) -> Vec<Ratings> {
    rows.iter().filter_map(|row| row.ratings).collect()
}

fn estimate(estimate: Option<Estimate>) -> String {
    match estimate {
        None => "-".into(),
        Some(own) => match own.interval {
            Some((low, high)) => format!("{:.3} ({low:.3} to {high:.3})", own.value),
            None => format!("{:.3}", own.value),
        },
    }
}

fn unreadable(count: u64, rows: usize) -> Result<()> {
    if count > 0 {
        screen::data(format!(
            "  {count} without a verdict, of {rows} rows, do not count; transcript.jsonl of --out has what was said"
        ))?;
    }
    Ok(())
}
