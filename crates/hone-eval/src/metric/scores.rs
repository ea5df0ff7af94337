//! What a metric is, and its scores row by row: so that every metric is shown with the same standard error, interval and
//! comparison, by the same functions.

use hone_ledger::Seed;
use serde::Serialize;

use crate::statistics::estimate::Estimate;
use crate::statistics::paired::{PairedDifference, Unequal};

/// How a metric is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// Its name in tables and files.
    pub name: &'static str,
    /// Whose definition and numbers it follows.
    pub follows: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// The lowest and the highest score there is.
    pub range: (f64, f64),
    /// How rows become one score.
    pub over_rows: OverRows,
}

/// How the scores of rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OverRows {
    /// Their mean: [`Scores`] holds them.
    Mean,
    /// From counts of all rows, divided once: [`Estimate::by`] and [`PairedDifference::by`] are given a function of rows.
    Counts,
}

/// The scores of rows by one metric. Base and tuned model are paired by position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// What they are scores of.
    pub metric: Metric,
    /// One for each row; `None` where the metric does not apply, such as a reply that was not asked for.
    pub rows: Vec<Option<f64>>,
}

impl Scores {
    /// Their mean with standard error and interval; `None` when no row is scored.
    pub fn estimate(&self, seed: Seed) -> Option<Estimate> {
        let scored: Vec<f64> = self.rows.iter().copied().flatten().collect();
        Estimate::of_mean(&scored, seed)
    }

    /// Tuned minus base over the rows that both have a score of; `None` when there is none.
    pub fn compare(&self, tuned: &Self, seed: Seed) -> Result<Option<PairedDifference>, Unequal> {
        if self.rows.len() != tuned.rows.len() {
            return Err(Unequal {
                base: self.rows.len(),
                tuned: tuned.rows.len(),
            });
        }
        let pairs = self.rows.iter().zip(&tuned.rows);
        let (base, tuned): (Vec<f64>, Vec<f64>) = pairs
            .filter_map(|(base, tuned)| Some(((*base)?, (*tuned)?)))
            .unzip();
        PairedDifference::of_means(&base, &tuned, seed)
    }
}

impl Metric {
    const fn mean(name: &'static str, follows: &'static str) -> Self {
        Self {
            name,
            follows,
            higher_is_better: true,
            range: (0.0, 1.0),
            over_rows: OverRows::Mean,
        }
    }

    const fn counts(name: &'static str, follows: &'static str, range: (f64, f64)) -> Self {
        Self {
            range,
            over_rows: OverRows::Counts,
            ..Self::mean(name, follows)
        }
    }

    const fn lower_is_better(self) -> Self {
        Self {
            higher_is_better: false,
            ..self
        }
    }

    /// The metric of a name.
    pub fn named(name: &str) -> Option<Self> {
        METRICS.into_iter().find(|metric| metric.name == name)
    }
}

const ROUGE_SCORE: &str = "rouge_score 0.1.2";
const SACREBLEU: &str = "sacrebleu 2.6.0";
const SCIKIT_LEARN: &str = "scikit-learn 1.9.1";
const LM_EVAL: &str = "lm_eval 0.4.13";

/// Every metric of this library.
pub const METRICS: [Metric; 40] = [
    Metric::mean("exact_match", "equality, but for white space at the ends"),
    Metric::mean("squad_exact_match", "SQuAD's evaluation script"),
    Metric::mean("squad_f1", "SQuAD's evaluation script"),
    Metric::mean("lm_eval_exact_match", LM_EVAL),
    Metric::mean("gsm8k_strict", LM_EVAL),
    Metric::mean("gsm8k_flexible", LM_EVAL),
    Metric::mean("rouge1", ROUGE_SCORE),
    Metric::mean("rouge2", ROUGE_SCORE),
    Metric::mean("rougeL", ROUGE_SCORE),
    Metric::mean("rougeLsum", ROUGE_SCORE),
    Metric::counts("bleu", SACREBLEU, (0.0, 100.0)),
    Metric::counts("chrf", SACREBLEU, (0.0, 100.0)),
    Metric::counts("chrf++", SACREBLEU, (0.0, 100.0)),
    Metric::mean("accuracy", SCIKIT_LEARN),
    Metric::counts("macro_f1", SCIKIT_LEARN, (0.0, 1.0)),
    Metric::counts("micro_f1", SCIKIT_LEARN, (0.0, 1.0)),
    Metric::counts("mcc", SCIKIT_LEARN, (-1.0, 1.0)),
    Metric::mean(
        "edit_similarity",
        "Levenshtein's distance over the longer text",
    ),
    Metric::mean("json_parse", "RFC 8259"),
    Metric::mean("json_schema", "JSON Schema"),
    Metric::mean("json_equal", "equality of JSON values"),
    Metric::mean(
        "json_field_f1",
        "F1 over the paths and values of two JSON values",
    ),
    Metric::mean("tool_name", "equality of the called names, in any order"),
    Metric::mean("tool_call", "equality of names and arguments, in any order"),
    Metric::mean("ifeval_prompt_strict", LM_EVAL),
    Metric::mean("ifeval_prompt_loose", LM_EVAL),
    // Over all instructions of all prompts, some of which have several.
    Metric::counts("ifeval_instruction_strict", LM_EVAL, (0.0, 1.0)),
    Metric::counts("ifeval_instruction_loose", LM_EVAL, (0.0, 1.0)),
    Metric {
        range: (0.0, f64::INFINITY),
        ..Metric::mean("edit_distance", "Levenshtein's distance").lower_is_better()
    },
    Metric {
        range: (f64::NEG_INFINITY, f64::INFINITY),
        ..Metric::mean("scorer", "a command that the user names")
    },
    Metric::mean(
        "accuracy_among_labels",
        "the likeliest of the labels as the whole reply",
    ),
    // Of tasks: a choice by its likelihood, as it is, for each letter, for each byte, and against how likely it is by itself.
    Metric::mean("acc", LM_EVAL),
    Metric::mean("acc_norm", LM_EVAL),
    Metric::mean("acc_bytes", LM_EVAL),
    Metric::mean("acc_mutual_info", LM_EVAL),
    Metric {
        range: (0.0, 2.0),
        ..Metric::mean("brier_score", LM_EVAL).lower_is_better()
    },
    Metric::counts("perplexity", LM_EVAL, (1.0, f64::INFINITY)).lower_is_better(),
    Metric::counts("word_perplexity", LM_EVAL, (1.0, f64::INFINITY)).lower_is_better(),
    Metric::counts("byte_perplexity", LM_EVAL, (1.0, f64::INFINITY)).lower_is_better(),
    Metric::counts("bits_per_byte", LM_EVAL, (0.0, f64::INFINITY)).lower_is_better(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once() {
        let mut names = METRICS.map(|metric| metric.name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(Metric::named("rougeL").unwrap().follows, ROUGE_SCORE);
        assert_eq!(Metric::named("rougeX"), None);
    }

    #[test]
    fn rows_without_a_score_are_left_out_and_pairs_stay_pairs() {
        let metric = Metric::named("squad_f1").unwrap();
        let scores = |rows: &[Option<f64>]| Scores {
            metric,
            rows: rows.to_vec(),
        };
        let base = scores(&[Some(0.5), None, Some(0.0), Some(0.25)]);
        let tuned = scores(&[Some(1.0), Some(1.0), None, Some(0.75)]);
        assert_eq!(base.estimate(Seed::new(0)).unwrap().value, 0.25);
        assert_eq!(base.estimate(Seed::new(0)).unwrap().rows, 3);
        let difference = base.compare(&tuned, Seed::new(0)).unwrap().unwrap();
        assert_eq!((difference.rows, difference.value), (2, 0.5));
        assert_eq!(scores(&[None]).estimate(Seed::new(0)), None);
        assert!(base.compare(&scores(&[]), Seed::new(0)).is_err());
    }
}
