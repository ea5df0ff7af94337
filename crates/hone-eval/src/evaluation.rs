//! Evaluations that were written, read again: what models made of rows, paired by what was asked and not by where it stood.
//!
//! An evaluation's directory has `answers.jsonl`, a line for each row with what one model or two made of it, and
//! `report.json`. Two evaluations can be compared where they have rows in common, whatever else each has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hone_ledger::{ContentId, Seed};
use hone_model::Stop;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::harness::{Answer, Judged};
use crate::metric::scores::Metric;
use crate::report::{self, RowScore};
use crate::scored::{self, Scored};
use crate::statistics::Interval;
use crate::statistics::paired::PairedDifference;

/// The file of an evaluation that has a line for each row.
pub const ANSWERS: &str = "answers.jsonl";
/// The file of an evaluation that has every number.
pub const REPORT: &str = "report.json";

/// An evaluation of one model or two.
#[derive(Debug)]
pub struct Evaluation {
    dir: PathBuf,
    lines: Vec<Line>,
    /// Metrics that were asked for, beside those that every row has.
    metrics: Vec<String>,
    /// Every score that the report has, by task and name.
    scores: Vec<(String, String)>,
    /// How answers were made and matched.
    rules: Value,
}

/// Which model of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// The base.
    Base,
    /// The base with the adapter.
    Tuned,
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Tuned => "tuned",
        })
    }
}

/// A line of the answers, of a row or of a question of a task.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    source: String,
    task: String,
    prompt: Value,
    /// Of a row.
    reference: Option<String>,
    /// Of a question.
    target: Option<Value>,
    #[serde(default)]
    choices: Value,
    trained_on: Option<bool>,
    base: Option<Said>,
    tuned: Option<Said>,
}

/// What a model said, as far as a comparison needs it.
#[derive(Clone, Debug, Deserialize)]
struct Said {
    text: Option<String>,
    exact_match: Option<bool>,
    #[serde(rename = "rougeL")]
    rouge_l: Option<f64>,
    loss: Option<f64>,
    #[serde(default)]
    loss_tokens: u64,
    #[serde(default)]
    answers: Vec<String>,
    #[serde(default)]
    scores: BTreeMap<String, f64>,
}

/// Why an evaluation cannot be read or compared.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationError {
    /// A file is missing or cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what `hone eval` writes.
    #[error("{file}, line {line}: not what `hone eval --out` writes: {why}")]
    Malformed {
        /// Which.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// It has answers of the base only.
    #[error("{dir} has no answers of a tuned model")]
    NotTuned {
        /// Which.
        dir: PathBuf,
    },
    /// Two evaluations asked different things.
    #[error("{first} and {second} have no row in common that both have answered in words")]
    NothingInCommon {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

impl EvaluationError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Unreadable { .. } | Self::Malformed { .. } => {
                "name a directory that `hone eval --out` has written".into()
            }
            Self::NotTuned { dir } => format!("{}:base names its base", dir.display()),
            Self::NothingInCommon { .. } => {
                "evaluate both on the same rows: --data, --split, --rows and --seed alike".into()
            }
        }]
    }
}

/// A model of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Where it was evaluated.
    pub evaluation: &'a Evaluation,
    /// Which of those there.
    pub which: Which,
}

/// One metric of one task, for two models on the rows that both answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// Rows that both were scored on.
    pub rows: usize,
    /// The first model's score.
    pub first: f64,
    /// The second's.
    pub second: f64,
    /// Second minus first.
    pub difference: f64,
    /// The range that it falls into in 95 of 100 resamples of the rows.
    pub interval: Option<Interval>,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Whether chance alone is an unlikely explanation of the difference.
    pub is_clear: bool,
}

impl Compared {
    /// Whether the second model is better, however little.
    pub fn is_better(&self) -> bool {
        (self.difference > 0.0) == self.higher_is_better && self.difference != 0.0
    }

    /// By how much the second model is worse at the bad end of the range; negative where it is better even there.
    pub fn loss_at_most(&self) -> f64 {
        let (low, high) = self.interval.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        if self.higher_is_better { -low } else { high }
    }
}

/// Two models side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Task by task and metric by metric.
    pub metrics: Vec<Compared>,
    /// Rows that both answered.
    pub rows: usize,
    /// Rows that only the first has.
    pub only_first: usize,
    /// Rows that only the second has.
    pub only_second: usize,
    /// Scores that both reports have and that their lines do not: they cannot be compared row by row.
    pub not_compared: Vec<String>,
    /// Whether answers were made and matched by different rules, which makes scores differ by itself.
    pub rules_differ: bool,
}

impl Evaluation {
    /// Reads a directory.
    ///
    /// # Errors
    /// What is missing or malformed, with its line.
    pub fn read(dir: &Path) -> Result<Self, EvaluationError> {
        let text = |name: &str| {
            let file = dir.join(name);
            std::fs::read_to_string(&file)
                .map_err(|source| EvaluationError::Unreadable { file, source })
        };
        Self::of(dir, &text(ANSWERS)?, &text(REPORT)?)
    }

    /// What its two files say.
    ///
    /// # Errors
    /// What is malformed, with its line.
    pub fn of(dir: &Path, answers: &str, report: &str) -> Result<Self, EvaluationError> {
        let malformed = |name: &str, line: usize, error: serde_json::Error| {
            let why = error.to_string();
            EvaluationError::Malformed {
                file: dir.join(name),
                line,
                why,
            }
        };
        let lines = answers.lines().enumerate().map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| malformed(ANSWERS, at + 1, error))
        });
        let report: Value =
            serde_json::from_str(report).map_err(|error| malformed(REPORT, error.line(), error))?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let name = |scored: &Value| scored["metric"]["name"].as_str().map(str::to_owned);
        let (mut metrics, mut scores) = (Vec::new(), Vec::new());
        for (task, scored) in report["metrics"].as_object().into_iter().flatten() {
            for name in list(scored).iter().filter_map(name) {
                scores.push((task.clone(), name.clone()));
                if !metrics.contains(&name) {
                    metrics.push(name);
                }
            }
        }
        for file in list(&report["task_files"]) {
            let task = file["task"].as_str().unwrap_or_default();
            for scored in list(&file["scores"]) {
                let filter = scored["filter"].as_str().filter(|filter| *filter != "none");
                let own = name(&scored).map(|name| match filter {
                    Some(filter) => format!("{name},{filter}"),
                    None => name,
                });
                scores.extend(own.map(|name| (task.to_owned(), name)));
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            lines: lines.collect::<Result<_, _>>()?,
            metrics,
            scores,
            rules: report["rules"].clone(),
        })
    }

    /// One of its models: the tuned one where there is one and nothing is said.
    ///
    /// # Errors
    /// There is no tuned model.
    pub fn model(&self, which: Option<Which>) -> Result<Model<'_>, EvaluationError> {
        let is_tuned = self.lines.iter().any(|line| line.tuned.is_some());
        let which = which.unwrap_or(if is_tuned { Which::Tuned } else { Which::Base });
        match which == Which::Tuned && !is_tuned {
            true => Err(EvaluationError::NotTuned {
                dir: self.dir.clone(),
            }),
            false => Ok(Model {
                evaluation: self,
                which,
            }),
        }
    }

    /// How many rows it says the tuned model was trained on.
    pub fn num_trained_on(&self) -> usize {
        let lines = self.lines.iter();
        lines.filter(|line| line.trained_on == Some(true)).count()
    }
}

/// What was asked: all that the model was given and what was expected, and which of several equal rows it is. Not the task, which
/// is called otherwise where a file is.
type Question = (ContentId, usize);

impl<'a> Model<'a> {
    /// Where it was evaluated, and which of the models there.
    pub fn name(&self) -> String {
        format!("{} ({})", self.evaluation.dir.display(), self.which)
    }

    fn said(&self, line: &'a Line) -> Option<&'a Said> {
        match self.which {
            Which::Base => line.base.as_ref(),
            Which::Tuned => line.tuned.as_ref(),
        }
    }

    /// Its answers in their order, each with what was asked; of a row that stands there twice, the first and the second.
    fn answers(&self) -> Vec<(Question, (&'a Line, &'a Said))> {
        let (mut all, mut seen) = (Vec::new(), BTreeMap::new());
        for line in &self.evaluation.lines {
            let Some(said) = self.said(line) else {
                continue;
            };
            let asked = serde_json::json!([line.prompt, line.reference, line.target, line.choices]);
            let id = ContentId::of(asked.to_string().as_bytes());
            let times = seen.entry(id).or_insert(0);
            all.push(((id, *times), (line, said)));
            *times += 1;
        }
        all
    }
}

/// Compares two models on the rows that both answered.
///
/// # Errors
/// No row is common.
pub fn compare(first: Model<'_>, second: Model<'_>) -> Result<Comparison, EvaluationError> {
    let own = first.answers();
    let mut other: BTreeMap<_, _> = second.answers().into_iter().collect();
    let num_first = own.len();
    let pairs: Vec<(&Line, &Said, &Said)> = own
        .into_iter()
        .filter_map(|(key, (line, said))| Some((line, said, other.remove(&key)?.1)))
        .collect();
    if pairs.is_empty() {
        return Err(EvaluationError::NothingInCommon {
            first: first.evaluation.dir.clone(),
            second: second.evaluation.dir.clone(),
        });
    }
    let judged = |of: fn(&(&Line, &Said, &Said)) -> Option<Judged>| -> Vec<Judged> {
        let rows = pairs.iter().enumerate();
        rows.filter_map(|(row, pair)| {
            let mut judged = of(pair)?;
            judged.score.row = row;
            Some(judged)
        })
        .collect()
    };
    let (a, b) = (
        judged(|(line, first, second)| judged_of(line, first, second)),
        judged(|(line, first, second)| judged_of(line, second, first)),
    );
    let scores = |judged: &[Judged]| -> Vec<RowScore> {
        judged.iter().map(|judged| judged.score.clone()).collect()
    };
    let seed = Seed::new(0);
    // The same rows in the same order: each pair is of a row of either kind.
    let of_rows = report::compare(&scores(&a), &scores(&b), seed).unwrap_or_default();
    let common = |name: &&String| {
        let is_known = scored::BY_REFERENCE.contains(&name.as_str());
        is_known && second.evaluation.metrics.contains(name)
    };
    let names: Vec<String> = first
        .evaluation
        .metrics
        .iter()
        .filter(common)
        .cloned()
        .collect();
    let scored = scored::per_task(&names, &a, Some(&b), seed).unwrap_or_default();
    let mut metrics = Vec::new();
    for comparison in &of_rows {
        metrics.extend(of_comparison(comparison));
        let own = scored.get(&comparison.task).into_iter().flatten();
        metrics.extend(own.filter_map(|scored| of_scored(&comparison.task, scored)));
    }
    metrics.extend(of_questions(&pairs, seed));
    let is_compared = |task: &str, name: &str| {
        let mut own = metrics.iter();
        own.any(|own| own.task == task && own.metric == name)
    };
    let both = first.evaluation.scores.iter();
    let both = both.filter(|own| second.evaluation.scores.contains(own));
    let not_compared = both
        .filter(|(task, name)| !is_compared(task, name))
        .map(|(task, name)| format!("{task}:{name}"))
        .collect();
    Ok(Comparison {
        not_compared,
        rules_differ: first.evaluation.rules != second.evaluation.rules,
        metrics,
        rows: pairs.len(),
        only_first: num_first - pairs.len(),
        only_second: other.len(),
    })
}

/// What a model made of a row; nothing of a question of a task, which has scores of its own. A loss counts where both have one.
fn judged_of(line: &Line, said: &Said, other: &Said) -> Option<Judged> {
    let reference = line.reference.as_ref()?;
    let tokens = match (said.loss, other.loss) {
        (Some(_), Some(_)) => said.loss_tokens,
        _ => 0,
    };
    Some(Judged {
        score: RowScore {
            row: 0,
            task: line.task.clone(),
            nats: said.loss.unwrap_or(0.0) * tokens as f64,
            tokens,
            exact_match: said.exact_match,
            rouge_l: said.rouge_l,
        },
        answer: said.text.as_ref().map(|text| Answer {
            asked: String::new(),
            text: text.clone(),
            reference: reference.clone(),
            stop: Stop::Length,
        }),
    })
}

fn of_comparison(comparison: &report::Comparison) -> Vec<Compared> {
    let (base, tuned) = (&comparison.base, &comparison.tuned);
    let of =
        |metric: &str, first: Option<f64>, second: Option<f64>, difference, higher_is_better| {
            let difference: report::Difference = difference?;
            Some(Compared {
                task: comparison.task.clone(),
                metric: metric.into(),
                rows: base.rows,
                first: first?,
                second: second?,
                difference: difference.value,
                interval: difference.interval,
                higher_is_better,
                is_clear: difference.is_clear(),
            })
        };
    let all = [
        of("loss", base.loss, tuned.loss, comparison.loss, false),
        of(
            "exact match",
            base.exact_match,
            tuned.exact_match,
            comparison.exact_match,
            true,
        ),
        of(
            "ROUGE-L",
            base.rouge_l,
            tuned.rouge_l,
            comparison.rouge_l,
            true,
        ),
    ];
    all.into_iter().flatten().collect()
}

fn of_scored(task: &str, scored: &Scored) -> Option<Compared> {
    let difference = scored.difference?;
    let (first, second) = (scored.base.value, scored.tuned?.value);
    let Metric {
        name,
        higher_is_better,
        ..
    } = scored.metric;
    let ends = (first, second);
    Some(of_difference(
        (task, name),
        ends,
        &difference,
        higher_is_better,
    ))
}

fn of_difference(
    (task, metric): (&str, &str),
    (first, second): (f64, f64),
    difference: &PairedDifference,
    higher_is_better: bool,
) -> Compared {
    Compared {
        task: task.to_owned(),
        metric: metric.to_owned(),
        rows: difference.rows,
        first,
        second,
        difference: difference.value,
        interval: difference.interval,
        higher_is_better,
        is_clear: difference.is_clear(),
    }
}

/// The scores of questions, which each line has by name.
fn of_questions(pairs: &[(&Line, &Said, &Said)], seed: Seed) -> Vec<Compared> {
    type Pairs = (Vec<f64>, Vec<f64>);
    let mut scores: BTreeMap<(&str, &str), Pairs> = BTreeMap::new();
    for (line, first, second) in pairs {
        for (name, own) in &first.scores {
            if let Some(other) = second.scores.get(name) {
                let (a, b) = scores.entry((&line.task, name)).or_default();
                a.push(*own);
                b.push(*other);
            }
        }
    }
    let compared = scores.into_iter().filter_map(|((task, name), (a, b))| {
        let seed = seed.child(task).child(name);
        let difference = PairedDifference::of_means(&a, &b, seed).ok()??;
        let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
        // A name with its filter behind it.
        let metric = Metric::named(name.split(',').next().unwrap_or(name));
        let higher_is_better = metric.is_none_or(|metric| metric.higher_is_better);
        let ends = (mean(&a), mean(&b));
        Some(of_difference(
            (task, name),
            ends,
            &difference,
            higher_is_better,
        ))
    });
    compared.collect()
}

/// A row that two models answered, or one, for a judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The task.
    pub task: String,
    /// Where the row was read.
    pub source: String,
    /// All that was asked.
    pub asked: String,
    /// What should be said.
    pub expected: String,
    /// What the first model said.
    pub first: String,
    /// What the second said.
    pub second: Option<String>,
}

/// The rows that both models answered, or all of one, in the order of the first.
///
/// # Errors
/// None is common, or none was answered.
pub fn pairs(first: Model<'_>, second: Option<Model<'_>>) -> Result<Vec<Pair>, EvaluationError> {
    let other: Option<BTreeMap<_, _>> = second.map(|own| own.answers().into_iter().collect());
    let pair = |(question, (line, said)): (Question, (&Line, &Said))| {
        let answer = |said: &Said| said.text.clone().or(said.answers.first().cloned());
        let second = match &other {
            None => None,
            Some(other) => Some(answer(other.get(&question)?.1)?),
        };
        Some(Pair {
            task: line.task.clone(),
            source: line.source.clone(),
            asked: line.asked_whole(),
            expected: line.expected(),
            first: answer(said)?,
            second,
        })
    };
    let pairs: Vec<Pair> = first.answers().into_iter().filter_map(pair).collect();
    match pairs.is_empty() {
        true => Err(EvaluationError::NothingInCommon {
            first: first.evaluation.dir.clone(),
            second: second.unwrap_or(first).evaluation.dir.clone(),
        }),
        false => Ok(pairs),
    }
}

impl Line {
    /// All turns, each with who says it; a text as it is.
    fn asked_whole(&self) -> String {
        match &self.prompt {
            Value::String(text) => text.clone(),
            Value::Array(turns) => {
                let turn = |turn: &Value| {
                    let of = |name: &str| turn[name].as_str().unwrap_or_default().to_owned();
                    format!("{}: {}", of("role"), of("content"))
                };
                turns.iter().map(turn).collect::<Vec<_>>().join("\n\n")
            }
            _ => String::new(),
        }
    }

    fn expected(&self) -> String {
        let target = self.target.as_ref().map(|target| match target {
            Value::Array(all) => {
                let texts = all.iter().map(|text| text.as_str().unwrap_or_default());
                texts.collect::<Vec<_>>().join("\n")
            }
            other => other.to_string(),
        });
        self.reference.clone().or(target).unwrap_or_default()
    }
}

/// A row as a page shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The task.
    pub task: String,
    /// Where the row was read.
    pub source: String,
    /// What was asked last.
    pub asked: String,
    /// What should be said.
    pub expected: String,
    /// What the base said; nothing where it was not asked.
    pub base: Option<String>,
    /// What the tuned model said.
    pub tuned: Option<String>,
    /// From 0, wrong, to 1, right: by exact match where there is one, else by ROUGE-L or the first score of a task. Of the tuned
    /// model where there is one.
    pub right: f64,
    /// Whether the tuned model was trained on it.
    pub is_trained_on: bool,
}

impl Evaluation {
    /// The rows that something was asked of, worst first.
    pub fn shown(&self) -> Vec<Shown> {
        let mut shown: Vec<Shown> = self.lines.iter().filter_map(shown_of).collect();
        shown.sort_by(|a, b| a.right.total_cmp(&b.right));
        shown
    }
}

fn shown_of(line: &Line) -> Option<Shown> {
    let said = |said: &Said| {
        let answers = (!said.answers.is_empty()).then(|| said.answers.join("\n"));
        said.text.clone().or(answers)
    };
    let (base, tuned) = (
        line.base.as_ref().and_then(said),
        line.tuned.as_ref().and_then(said),
    );
    base.as_ref().or(tuned.as_ref())?;
    let judged = line.tuned.as_ref().or(line.base.as_ref())?;
    let right = match judged.exact_match {
        // Of wrong ones the nearest come last.
        Some(false) => judged.rouge_l.unwrap_or(0.0) * 0.999,
        Some(true) => 1.0,
        None => judged
            .rouge_l
            .or(judged.scores.values().next().copied())
            .unwrap_or(0.0),
    };
    let asked = match &line.prompt {
        Value::String(text) => text.clone(),
        Value::Array(turns) => {
            let last = turns.iter().rfind(|turn| turn["role"] == "user");
            let last = last.or(turns.last());
            let text = last.and_then(|turn| turn["content"].as_str());
            text.unwrap_or_default().to_owned()
        }
        _ => String::new(),
    };
    Some(Shown {
        task: line.task.clone(),
        source: line.source.clone(),
        asked,
        expected: line.expected(),
        base,
        tuned,
        right,
        is_trained_on: line.trained_on == Some(true),
    })
}
