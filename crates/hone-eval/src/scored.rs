//! Answers scored by the metrics that somebody names, task by task, with how sure one can be.

use std::collections::BTreeMap;

use hone_ledger::Seed;
use serde::Serialize;

use crate::harness::Judged;
use crate::metric::bleu::{self, Bleu};
use crate::metric::chrf::{self, Chrf};
use crate::metric::distance::{edit_distance, edit_similarity};
use crate::metric::exact::{Rule, exact_match, token_f1};
use crate::metric::scores::{Metric, OverRows, Scores};
use crate::metric::{json, lm_eval, rouge, tool_call};
use crate::statistics::estimate::Estimate;
use crate::statistics::paired::PairedDifference;

/// Names of the metrics that need a reference and an answer and nothing else.
pub const BY_REFERENCE: [&str; 18] = [
    "squad_exact_match",
    "squad_f1",
    "lm_eval_exact_match",
    "gsm8k_strict",
    "gsm8k_flexible",
    "rouge1",
    "rouge2",
    "rougeL",
    "rougeLsum",
    "bleu",
    "chrf",
    "chrf++",
    "edit_similarity",
    "edit_distance",
    "json_parse",
    "json_equal",
    "json_field_f1",
    "tool_call",
];

/// One metric on one task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// Which one, and how to read it.
    pub metric: Metric,
    /// What has to be quoted beside the score, where its authors ask for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The base's score.
    pub base: Estimate,
    /// The tuned model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuned: Option<Estimate>,
    /// Tuned minus base, row by row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<PairedDifference>,
}

/// A metric that has nothing to score.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NothingToScore {
    /// No such metric, or one that needs more than a reference.
    #[error("`{0}` is no metric that a reference and an answer are enough for")]
    Unknown(String),
    /// The references of a task are not what the metric is about.
    #[error("`{metric}` has nothing to compare in task `{task}`: no reference {lacks}")]
    NoReference {
        /// The metric.
        metric: &'static str,
        /// The task.
        task: String,
        /// What a reference would be.
        lacks: &'static str,
    },
}

/// What a metric keeps of each row.
pub(crate) enum Rows {
    Means(Vec<Option<f64>>),
    Bleu(Vec<bleu::Counts>),
    Chrf(Chrf, Vec<chrf::Counts>),
    /// Two numbers that are summed over the rows and divided once, and what the quotient becomes.
    Quotient(Vec<(f64, f64)>, fn(f64) -> f64),
}

const BLEU: Bleu = Bleu {
    lowercase: false,
    effective_order: false,
};

/// The scores of each task by these metrics, in their order; of the rows of both models that were asked. A task of which
/// nothing was asked has none.
///
/// # Errors
/// A name that is none of [`BY_REFERENCE`], and a task none of whose references is what a metric compares.
pub fn per_task(
    metrics: &[String],
    base: &[Judged],
    tuned: Option<&[Judged]>,
    seed: Seed,
) -> Result<BTreeMap<String, Vec<Scored>>, NothingToScore> {
    let (base, tuned) = (by_task(base), tuned.map(by_task));
    let mut scored = BTreeMap::new();
    for (task, base) in &base {
        let tuned = tuned.as_ref().map(|tuned| &tuned[task]);
        let of = |name: &String| {
            let metric = known(name)?;
            let seed = seed.child(task).child(name);
            let (base, tuned) = (
                Rows::of(metric, base),
                tuned.map(|rows| Rows::of(metric, rows)),
            );
            let nothing = || no_reference(metric, task);
            Ok(Scored {
                metric,
                signature: base.signature(Some(1)),
                base: base.estimate(metric, seed).ok_or_else(nothing)?,
                tuned: tuned
                    .as_ref()
                    .and_then(|tuned| tuned.estimate(metric, seed)),
                difference: tuned.and_then(|tuned| base.compare(&tuned, metric, seed)),
            })
        };
        let all = metrics.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        scored.insert((*task).to_owned(), all);
    }
    Ok(scored)
}

/// Scores that a command gave to answers, one of each row, of one model or of two.
pub fn by_scorer(base: Vec<f64>, tuned: Option<Vec<f64>>, seed: Seed) -> Option<Scored> {
    let metric = Metric::named("scorer").expect("it is in the list");
    let rows = |scores: Vec<f64>| Rows::Means(scores.into_iter().map(Some).collect());
    let (base, tuned) = (rows(base), tuned.map(rows));
    Some(Scored {
        metric,
        signature: None,
        base: base.estimate(metric, seed)?,
        tuned: tuned
            .as_ref()
            .and_then(|tuned| tuned.estimate(metric, seed)),
        difference: tuned.and_then(|tuned| base.compare(&tuned, metric, seed)),
    })
}

/// References and answers of the rows of each task that are scored.
fn by_task(judged: &[Judged]) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut tasks: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for row in judged {
        if let Some(pair) = row.scored() {
            tasks.entry(&row.score.task).or_default().push(pair);
        }
    }
    tasks
}

/// Have these metrics something to compare in every task? So that it is known before a model answers.
///
/// # Errors
/// As [`per_task`].
pub fn check<'a>(
    metrics: &[String],
    references: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), NothingToScore> {
    let mut tasks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    references.for_each(|(task, reference)| tasks.entry(task).or_default().push(reference));
    for name in metrics {
        let metric = known(name)?;
        let mut rouge = rouge::Scorer::new(false);
        let mut compares = |reference: &str| match metric.over_rows {
            OverRows::Mean => of_row(name, reference, "", &mut rouge).is_some(),
            OverRows::Counts => true,
        };
        for (task, references) in &tasks {
            if !references.iter().any(|reference| compares(reference)) {
                return Err(no_reference(metric, task));
            }
        }
    }
    Ok(())
}

fn known(name: &str) -> Result<Metric, NothingToScore> {
    let metric = Metric::named(name).filter(|_| BY_REFERENCE.contains(&name));
    metric.ok_or_else(|| NothingToScore::Unknown(name.to_owned()))
}

fn no_reference(metric: Metric, task: &str) -> NothingToScore {
    NothingToScore::NoReference {
        metric: metric.name,
        task: task.to_owned(),
        lacks: match metric.name {
            "tool_call" => "is a tool call",
            _ => "is JSON",
        },
    }
}

impl Rows {
    fn of(metric: Metric, rows: &[(&str, &str)]) -> Self {
        let rows = rows
            .iter()
            .map(|&(reference, said)| (vec![reference], said));
        Self::of_any(metric, &rows.collect::<Vec<_>>())
    }

    /// Of answers that may be right in several ways: the reference that it is nearest to counts, and BLEU and chrF know
    /// several by themselves.
    pub fn of_any(metric: Metric, rows: &[(Vec<&str>, &str)]) -> Self {
        let rows = rows.iter();
        let chrf = |chrf: Chrf| {
            let counts = rows
                .clone()
                .map(|(references, said)| chrf.counts(references, said));
            Self::Chrf(chrf, counts.collect())
        };
        match metric.name {
            "bleu" => {
                let counts = rows.map(|(references, said)| BLEU.counts(references, said));
                Self::Bleu(counts.collect())
            }
            "chrf" => chrf(Chrf::Letters),
            "chrf++" => chrf(Chrf::Words),
            name => {
                let mut rouge = rouge::Scorer::new(false);
                let better = |best: f64, score: f64| match metric.higher_is_better {
                    true => best.max(score),
                    false => best.min(score),
                };
                let scores = rows.map(|(references, said)| {
                    let scores = references
                        .iter()
                        .filter_map(|reference| of_row(name, reference, said, &mut rouge));
                    scores.reduce(better)
                });
                Self::Means(scores.collect())
            }
        }
    }

    /// What is quoted beside the score of rows with so many references each; `None` where that differs.
    pub fn signature(&self, references: Option<usize>) -> Option<String> {
        match self {
            Self::Means(_) | Self::Quotient(..) => None,
            Self::Bleu(_) => Some(BLEU.signature(references)),
            Self::Chrf(chrf, _) => Some(chrf.signature(references)),
        }
    }

    pub fn estimate(&self, metric: Metric, seed: Seed) -> Option<Estimate> {
        match self {
            Self::Means(rows) => Scores {
                metric,
                rows: rows.clone(),
            }
            .estimate(seed),
            Self::Bleu(rows) => Estimate::by(rows.len(), seed, |drawn| {
                bleu_of(drawn.iter().map(|at| rows[*at]))
            }),
            Self::Chrf(chrf, rows) => Estimate::by(rows.len(), seed, |drawn| {
                chrf.score(&drawn.iter().map(|at| rows[*at]).sum())
            }),
            Self::Quotient(rows, finish) => Estimate::by(rows.len(), seed, |drawn| {
                finish(quotient(drawn.iter().map(|at| rows[*at])))
            }),
        }
    }

    /// Tuned minus base, of rows of one metric.
    pub fn compare(&self, tuned: &Self, metric: Metric, seed: Seed) -> Option<PairedDifference> {
        match (self, tuned) {
            (Self::Means(base), Self::Means(tuned)) => {
                let scores = |rows: &[Option<f64>]| Scores {
                    metric,
                    rows: rows.to_vec(),
                };
                scores(base).compare(&scores(tuned), seed).ok()?
            }
            (Self::Bleu(base), Self::Bleu(tuned)) => {
                PairedDifference::by(base.len(), seed, |drawn| {
                    bleu_of(chosen(drawn, base, tuned))
                })
            }
            (Self::Chrf(chrf, base), Self::Chrf(_, tuned)) => {
                PairedDifference::by(base.len(), seed, |drawn| {
                    chrf.score(&chosen(drawn, base, tuned).sum())
                })
            }
            (Self::Quotient(base, finish), Self::Quotient(tuned, _)) => {
                PairedDifference::by(base.len(), seed, |drawn| {
                    finish(quotient(chosen(drawn, base, tuned)))
                })
            }
            _ => unreachable!("both models are scored by one metric"),
        }
    }
}

fn quotient(rows: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (above, below) = rows.fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    above / below
}

fn bleu_of(counts: impl Iterator<Item = bleu::Counts>) -> f64 {
    BLEU.score(&counts.sum()).bleu
}

/// The counts of rows that were drawn, each of the base or of the tuned model.
fn chosen<'a, C: Copy>(
    drawn: &'a [(usize, bool)],
    base: &'a [C],
    tuned: &'a [C],
) -> impl Iterator<Item = C> + 'a {
    let side = move |is_tuned| if is_tuned { tuned } else { base };
    drawn
        .iter()
        .map(move |&(row, is_tuned)| side(is_tuned)[row])
}

/// One row's score; `None` where the reference is not what the metric compares.
fn of_row(name: &str, reference: &str, said: &str, rouge: &mut rouge::Scorer) -> Option<f64> {
    let yes = |is_so: bool| Some(f64::from(is_so));
    match name {
        "squad_exact_match" => yes(exact_match(reference, said, Rule::Squad)),
        "squad_f1" => Some(token_f1(reference, said)),
        "lm_eval_exact_match" => yes(lm_eval::ExactMatch::default().matches(reference, said)),
        "gsm8k_strict" => yes(lm_eval::gsm8k(reference, said).strict),
        "gsm8k_flexible" => yes(lm_eval::gsm8k(reference, said).flexible),
        "rouge1" => Some(rouge.rouge_n(1, reference, said).f),
        "rouge2" => Some(rouge.rouge_n(2, reference, said).f),
        "rougeL" => Some(rouge::rouge_l(reference, said).f),
        "rougeLsum" => Some(rouge.score(reference, said).rouge_lsum.f),
        "edit_similarity" => Some(edit_similarity(reference, said)),
        "edit_distance" => Some(edit_distance(reference, said) as f64),
        "json_parse" => yes(json::read(said).value.is_some()),
        "json_equal" | "json_field_f1" => {
            let expected = json::read(reference).value?;
            let score = json::fields(&expected, json::read(said).value.as_ref());
            match name {
                "json_equal" => yes(score.equal),
                _ => Some(score.f1),
            }
        }
        "tool_call" => {
            let expected = tool_call::read(reference)?;
            let said = tool_call::read(said);
            yes(said.is_some_and(|said| tool_call::compare(&expected, &said).calls))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Answer;
    use crate::report::RowScore;
    use hone_model::Stop;

    fn judged(rows: &[(&str, &str)]) -> Vec<Judged> {
        let row = |(row, &(reference, text)): (usize, &(&str, &str))| Judged {
            score: RowScore {
                row,
                task: "t".into(),
                nats: 0.0,
                tokens: 0,
                exact_match: Some(reference == text),
                rouge_l: None,
            },
            answer: Some(Answer {
                asked: String::new(),
                text: text.into(),
                reference: reference.into(),
                stop: Stop::Length,
            }),
        };
        rows.iter().enumerate().map(row).collect()
    }

    #[test]
    fn every_metric_by_reference_scores_what_is_right_best() {
        let call = r#"{"name":"f","arguments":{"a":1}}"#;
        let references = [call; 6];
        let right = judged(&references.map(|text| (text, text)));
        let wrong = judged(&references.map(|text| (text, "#### 12")));
        let names = BY_REFERENCE.map(str::to_owned);
        let scored = per_task(&names, &wrong, Some(&right), Seed::new(0)).unwrap();
        for scored in &scored["t"] {
            let (metric, tuned) = (scored.metric, scored.tuned.unwrap().value);
            if metric.name.starts_with("gsm8k") {
                continue;
            }
            let best = match metric.higher_is_better {
                true => metric.range.1,
                false => metric.range.0,
            };
            assert!((tuned - best).abs() < 1e-9, "{}: {tuned}", metric.name);
            let difference = scored.difference.unwrap();
            assert_eq!(
                difference.value,
                tuned - scored.base.value,
                "{}",
                metric.name
            );
            assert_eq!(
                difference.value > 0.0,
                metric.higher_is_better,
                "{}",
                metric.name
            );
        }
        assert!(scored["t"].iter().any(|scored| scored.signature.is_some()));
    }

    #[test]
    fn one_model_has_no_difference() {
        let rows = judged(&[("a b c", "a b"), ("d", "e")]);
        let scored = per_task(&["squad_f1".into()], &rows, None, Seed::new(0)).unwrap();
        let scored = &scored["t"][0];
        assert_eq!((scored.tuned, scored.difference), (None, None));
        assert!((scored.base.value - 0.4 / 1.0).abs() < 0.1, "{scored:?}");
    }

    #[test]
    fn a_metric_without_a_reference_for_it_is_refused() {
        let rows = judged(&[("words", "words")]);
        let error = |name: &str| {
            let metrics = [name.to_owned()];
            let before = check(&metrics, [("t", "words")].into_iter()).unwrap_err();
            let after = per_task(&metrics, &rows, None, Seed::new(0)).unwrap_err();
            assert_eq!(before, after);
            after.to_string()
        };
        assert_eq!(
            error("json_equal"),
            "`json_equal` has nothing to compare in task `t`: no reference is JSON"
        );
        assert!(error("ifeval_prompt_strict").contains("is no metric that a reference"));
    }
}
