//! What the questions of a task are scored by, and which metrics a kind of task has.

use serde_json::Value;

use super::keys::Keys;
use super::{Kind, TaskError};
use crate::metric::lm_eval::ExactMatch;
use crate::metric::scores::Metric;
use crate::scored::BY_REFERENCE;

/// One metric of a task.
#[derive(Clone, Debug)]
pub(super) struct TaskMetric {
    pub metric: Metric,
    pub how: How,
}

/// How a metric looks at a reply.
#[derive(Clone, Debug)]
pub(super) enum How {
    Acc,
    AccNorm,
    AccBytes,
    AccMutualInfo,
    Brier,
    /// Is the right choice what the model would have written?
    ChoiceExact,
    /// Is the target what the model would have written?
    LikelihoodAcc,
    Perplexity,
    WordPerplexity,
    BytePerplexity,
    BitsPerByte,
    Exact(ExactMatch),
    /// One of those that a reference and an answer are enough for, by its name.
    Reference,
}

impl Kind {
    /// Names of the metrics that can be asked for.
    pub(super) fn metrics(self) -> Vec<&'static str> {
        match self {
            Self::MultipleChoice => vec![
                "acc",
                "acc_norm",
                "acc_bytes",
                "acc_mutual_info",
                "exact_match",
                "brier_score",
            ],
            Self::Loglikelihood => vec!["perplexity", "acc"],
            Self::LoglikelihoodRolling => {
                vec!["word_perplexity", "byte_perplexity", "bits_per_byte"]
            }
            Self::GenerateUntil => {
                let others = BY_REFERENCE.iter().copied();
                let others = others.filter(|name| *name != "lm_eval_exact_match");
                ["exact_match"].into_iter().chain(others).collect()
            }
        }
    }

    /// Those of a task that names none, as lm-evaluation-harness has them.
    pub(super) fn default_metrics(self) -> &'static [&'static str] {
        match self {
            Self::MultipleChoice => &["acc", "acc_norm"],
            Self::Loglikelihood => &["perplexity", "acc"],
            Self::LoglikelihoodRolling => &["word_perplexity", "byte_perplexity", "bits_per_byte"],
            Self::GenerateUntil => &["exact_match"],
        }
    }
}

impl TaskMetric {
    /// The metric of a name, without options.
    pub fn named(kind: Kind, name: &str) -> Option<Self> {
        let known = kind.metrics().into_iter().find(|known| *known == name)?;
        let how = match (kind, known) {
            (Kind::MultipleChoice, "acc") => How::Acc,
            (Kind::MultipleChoice, "acc_norm") => How::AccNorm,
            (Kind::MultipleChoice, "acc_bytes") => How::AccBytes,
            (Kind::MultipleChoice, "acc_mutual_info") => How::AccMutualInfo,
            (Kind::MultipleChoice, "brier_score") => How::Brier,
            (Kind::MultipleChoice, _) => How::ChoiceExact,
            (Kind::Loglikelihood, "acc") => How::LikelihoodAcc,
            (Kind::Loglikelihood, _) => How::Perplexity,
            (Kind::LoglikelihoodRolling, "word_perplexity") => How::WordPerplexity,
            (Kind::LoglikelihoodRolling, "byte_perplexity") => How::BytePerplexity,
            (Kind::LoglikelihoodRolling, _) => How::BitsPerByte,
            (Kind::GenerateUntil, "exact_match") => How::Exact(ExactMatch::default()),
            (Kind::GenerateUntil, _) => How::Reference,
        };
        let metric = match known {
            // Ours of this name leaves white space out of account.
            "exact_match" => Metric {
                name: "exact_match",
                ..Metric::named("lm_eval_exact_match").expect("it is in the list")
            },
            name => Metric::named(name).expect("every metric of a task is in the list"),
        };
        Some(Self { metric, how })
    }

    /// A metric of a file: its name, or a table with `name_key` and options.
    pub fn read(
        keys: &Keys<'_>,
        (list, at): (&str, usize),
        value: Value,
        name_key: &'static str,
        kind: Kind,
    ) -> Result<Self, TaskError> {
        let place = format!("{list}[{at}]");
        let mut keys = match value {
            Value::String(name) => {
                let map = [(name_key.to_owned(), Value::String(name))];
                keys.within(&place, Value::Object(map.into_iter().collect()))?
            }
            other => keys.within(&place, other)?,
        };
        let name = keys.text(name_key)?;
        let name = name.ok_or_else(|| keys.wrong(name_key, "is missing: which metric"))?;
        let mut metric = Self::named(kind, &name).ok_or_else(|| {
            let name = hone_ledger::words::quoted(&name);
            let what = format!(
                "names the metric `{name}`, which a task of kind {} has not",
                kind.name()
            );
            let hint = format!("its metrics: {}", kind.metrics().join(", "));
            keys.wrong_with(name_key, what, hint)
        })?;
        if let Some(text) = keys.text("aggregation")? {
            let usual = metric.aggregation();
            if text != usual {
                let what = format!("is `{text}`, and {name} is put together by `{usual}`");
                return Err(keys.wrong("aggregation", what));
            }
        }
        if let Some(higher) = keys.flag("higher_is_better")?
            && higher != metric.metric.higher_is_better
        {
            let what = format!("is {higher}, and of {name} it is {}", !higher);
            return Err(keys.wrong("higher_is_better", what));
        }
        if let How::Exact(exact) = &mut metric.how {
            exact.ignore_case = keys.flag("ignore_case")?.unwrap_or_default();
            exact.ignore_punctuation = keys.flag("ignore_punctuation")?.unwrap_or_default();
            exact.ignore_numbers = keys.flag("ignore_numbers")?.unwrap_or_default();
            if let Some(patterns) = keys.texts("regexes_to_ignore")? {
                *exact = exact.clone().ignoring(&patterns).map_err(|error| {
                    keys.wrong("regexes_to_ignore", format!("cannot be used: {error}"))
                })?;
            }
        }
        keys.finish()?;
        Ok(metric)
    }

    /// How scores of rows become one, in lm-evaluation-harness's word.
    fn aggregation(&self) -> &'static str {
        match self.how {
            How::Perplexity => "perplexity",
            How::WordPerplexity | How::BytePerplexity => "weighted_perplexity",
            How::BitsPerByte => "bits_per_byte",
            How::Brier => "brier_score",
            How::Reference if ["bleu", "chrf"].contains(&self.metric.name) => self.metric.name,
            _ => "mean",
        }
    }

    /// Must the model say what it would have written itself?
    pub fn asks_for_greedy(&self) -> bool {
        matches!(self.how, How::ChoiceExact | How::LikelihoodAcc)
    }
}
