//! Base and tuned model side by side on the same rows.

use crate::report::{Sample, TaskRow};
use anyhow::Result;
use hone_eval::evaluation::Compared;
use hone_eval::harness::{Answer, Exam, Judged, Progress, Rules};
use hone_eval::metric::exact::Rule;
use hone_eval::metric::repetition::Repetition;
use hone_eval::report::{Comparison, Difference, RowScore, TaskScore, compare};
use hone_eval::scored::Scored;
use hone_eval::sitting::Candidate;
use hone_ledger::Seed;
use hone_model::{Adapter, Adapters, Model, Stop};
use hone_text::Renderer;
use std::collections::BTreeMap;

/// What both models made of an exam.
pub struct Verdict {
    /// The base model's rows.
    pub base: Vec<Judged>,
    /// The tuned model's rows.
    pub tuned: Vec<Judged>,
    /// Task by task.
    pub comparisons: Vec<Comparison>,
}

/// Has the model sit the exam without and with the adapter, which is on it afterwards.
pub fn judge_both(
    model: &mut Model,
    adapter: Adapter,
    renderer: &Renderer,
    exam: &Exam,
    rules: &Rules,
    mut told: impl FnMut(Progress) + Send,
) -> Result<Verdict> {
    model.attach(adapter);
    let both = [Adapters::None, Adapters::Active].map(|adapters| Candidate {
        adapters,
        known: vec![],
    });
    let judged = exam.sit_together(model, renderer, rules, &both, |heard| told(heard.progress))?;
    let [base, tuned] = <[_; 2]>::try_from(judged).expect("two sat it");
    Verdict::new(base, tuned)
}

/// The numbers of judged rows.
pub fn scores(judged: &[Judged]) -> Vec<RowScore> {
    judged.iter().map(|row| row.score.clone()).collect()
}

/// Scores per task.
pub fn per_task(judged: &[Judged]) -> BTreeMap<String, TaskScore> {
    TaskScore::per_task(&scores(judged))
}

impl Verdict {
    /// What both made of one exam.
    pub fn new(base: Vec<Judged>, tuned: Vec<Judged>) -> Result<Self> {
        let comparisons = compare(&scores(&base), &scores(&tuned), Seed::new(0))?;
        Ok(Self {
            base,
            tuned,
            comparisons,
        })
    }

    /// Nothing judged yet.
    pub fn empty() -> Self {
        Self {
            base: Vec::new(),
            tuned: Vec::new(),
            comparisons: Vec::new(),
        }
    }

    /// Two exams as one: the rows of `other` come after the `num_rows` rows of this one.
    pub fn join(self, num_rows: usize, other: Self) -> Result<Self> {
        let shift = |mut row: Judged| {
            row.score.row += num_rows;
            row
        };
        let after = |first: Vec<Judged>, second: Vec<Judged>| {
            first.into_iter().chain(second.into_iter().map(shift))
        };
        let (base, tuned) = (
            after(self.base, other.base).collect(),
            after(self.tuned, other.tuned).collect(),
        );
        Self::new(base, tuned)
    }

    /// The report's table: loss, exact match and ROUGE-L of every task.
    pub fn rows(&self) -> Vec<TaskRow> {
        self.comparisons.iter().flat_map(rows_of).collect()
    }

    /// Rows as they were asked and answered, one of each task in turn.
    pub fn samples(&self, num_samples: usize) -> Vec<Sample> {
        let mut by_task: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
        for (base, tuned) in self.base.iter().zip(&self.tuned) {
            let (Some(before), Some(after)) = (&base.answer, &tuned.answer) else {
                continue;
            };
            let task = base.score.task.as_str();
            by_task
                .entry(task)
                .or_default()
                .push(sample(task, before, after));
        }
        let deepest = by_task.values().map(Vec::len).max().unwrap_or(0);
        let in_turn =
            (0..deepest).flat_map(|at| by_task.values().filter_map(move |samples| samples.get(at)));
        in_turn.take(num_samples).cloned().collect()
    }

    /// Signs that answers repeat themselves or do not end.
    pub fn warnings(&self) -> Vec<String> {
        let answers: Vec<&Answer> = self
            .tuned
            .iter()
            .filter_map(|row| row.answer.as_ref())
            .collect();
        let mut warnings = Vec::new();
        let cut = answers
            .iter()
            .filter(|answer| answer.stop == Stop::Length)
            .count();
        if cut * 5 > answers.len() {
            warnings.push(format!(
                "{cut} of {} answers of the tuned model did not end before the limit",
                answers.len()
            ));
        }
        let texts: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
        if let Some(share) = Repetition::of(&texts).rep_4.filter(|share| *share > 0.3) {
            warnings.push(format!(
                "the tuned model repeats itself: {:.0} % of four-word runs occur before",
                share * 100.0
            ));
        }
        warnings
    }
}

fn sample(task: &str, before: &Answer, after: &Answer) -> Sample {
    Sample {
        task: task.to_string(),
        prompt: after.asked.clone(),
        expected: after.reference.clone(),
        base: before.text.clone(),
        tuned: after.text.clone(),
    }
}

/// The lines of one task: loss, exact match and ROUGE-L.
pub fn rows_of(comparison: &Comparison) -> Vec<TaskRow> {
    let (base, tuned) = (&comparison.base, &comparison.tuned);
    let row = |metric: &str,
               base: Option<f64>,
               tuned: Option<f64>,
               difference: Option<Difference>,
               lower_is_better| {
        let difference = difference?;
        Some(TaskRow {
            task: comparison.task.clone(),
            metric: metric.into(),
            rows: comparison.base.rows,
            base: format!("{:.3}", base?),
            tuned: format!("{:.3}", tuned?),
            difference: words(difference.value, difference.interval),
            verdict: verdict(difference.is_clear(), difference.value, lower_is_better),
        })
    };
    let rows = [
        row("loss", base.loss, tuned.loss, comparison.loss, true),
        row(
            "exact match",
            base.exact_match,
            tuned.exact_match,
            comparison.exact_match,
            false,
        ),
        row(
            "ROUGE-L",
            base.rouge_l,
            tuned.rouge_l,
            comparison.rouge_l,
            false,
        ),
    ];
    rows.into_iter().flatten().collect()
}

/// The table's lines for one model alone.
pub fn score_rows(task: &str, score: &TaskScore) -> Vec<TaskRow> {
    let row = |metric: &str, value: Option<f64>| {
        Some(TaskRow {
            task: task.to_owned(),
            metric: metric.into(),
            rows: score.rows,
            base: format!("{:.3}", value?),
            tuned: String::new(),
            difference: String::new(),
            verdict: "",
        })
    };
    let rows = [
        row("loss", score.loss),
        row("exact match", score.exact_match),
        row("ROUGE-L", score.rouge_l),
    ];
    rows.into_iter().flatten().collect()
}

/// The table's line for a metric that was asked for.
pub fn metric_row(task: &str, scored: &Scored) -> TaskRow {
    let number = |value: f64| format!("{value:.3}");
    let lower_is_better = !scored.metric.higher_is_better;
    let difference = scored.difference.as_ref();
    TaskRow {
        task: task.to_owned(),
        metric: scored.metric.name.into(),
        rows: scored.base.rows,
        base: number(scored.base.value),
        tuned: scored
            .tuned
            .map_or_else(String::new, |tuned| number(tuned.value)),
        difference: difference.map_or_else(String::new, |difference| {
            words(difference.value, difference.interval)
        }),
        verdict: difference.map_or("", |difference| {
            verdict(difference.is_clear(), difference.value, lower_is_better)
        }),
    }
}

/// The table's line for a metric of two evaluations.
pub fn compared_row(compared: &Compared) -> TaskRow {
    let number = |value: f64| format!("{value:.3}");
    TaskRow {
        task: compared.task.clone(),
        metric: compared.metric.clone(),
        rows: compared.rows,
        base: number(compared.first),
        tuned: number(compared.second),
        difference: words(compared.difference, compared.interval),
        verdict: verdict(
            compared.is_clear,
            compared.difference,
            !compared.higher_is_better,
        ),
    }
}

fn words(value: f64, interval: Option<(f64, f64)>) -> String {
    match interval {
        Some((low, high)) => format!("{value:+.3} ({low:+.3} to {high:+.3})"),
        None => format!("{value:+.3}"),
    }
}

/// The verdict on a difference that chance may explain.
pub const UNCLEAR: &str = "unclear";

fn verdict(is_clear: bool, value: f64, lower_is_better: bool) -> &'static str {
    match (is_clear, (value < 0.0) == lower_is_better) {
        (false, _) => UNCLEAR,
        (true, true) => "better",
        (true, false) => "worse",
    }
}

/// Rules that fit most tasks.
pub fn rules(max_new_tokens: usize) -> Rules {
    Rules {
        max_new_tokens,
        slots: 16,
        exact: Rule::Strict,
        with_loss: true,
    }
}
