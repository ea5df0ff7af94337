//! What models made of the rows of an evaluation.

use super::arguments::Eval;
use super::rows::RowExam;
use super::scorer::{Scorer, ToScore};
use super::seen::Seen;
use crate::judge::{Verdict, metric_row, per_task, rows_of, score_rows};
use crate::report::TaskRow;
use crate::screen::Talk;
use anyhow::Result;
use hone_eval::answers::{AnswerLine, Said};
use hone_eval::harness::Judged;
use hone_eval::labels::Labelled;
use hone_eval::report::Comparison;
use hone_eval::scored::{self, Scored};
use hone_eval::task::Reply;
use hone_ledger::Seed;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Rows as one model, or base and tuned model, answered them.
pub struct JudgedRows {
    pub exam: RowExam,
    pub base: Vec<Judged>,
    /// The tuned model's, and how they compare.
    pub tuned: Option<(Vec<Judged>, Vec<Comparison>)>,
    /// By the metrics that were asked for, task by task.
    pub scored: BTreeMap<String, Vec<Scored>>,
    /// Of tasks of labels, how base and tuned model gave them.
    pub labels: (BTreeMap<String, Labelled>, BTreeMap<String, Labelled>),
    /// Of those, in what share of the rows the right label is the likeliest.
    pub among: BTreeMap<String, Scored>,
}

impl JudgedRows {
    /// Scores what models made of the rows.
    pub fn new(
        args: &Eval,
        exam: RowExam,
        base: Vec<Judged>,
        tuned: Option<Vec<Judged>>,
        (base_among, tuned_among): (Option<Vec<Reply>>, Option<Vec<Reply>>),
        talk: Talk,
    ) -> Result<Self> {
        let mut scored = scored::per_task(&args.metrics, &base, tuned.as_deref(), Seed::new(0))?;
        if let Some(scorer) = &exam.scorer {
            let base = by_task(scorer, &exam, &base, "base", talk)?;
            let tuned = match &tuned {
                None => None,
                Some(tuned) => Some(by_task(scorer, &exam, tuned, "tuned", talk)?),
            };
            for (task, base) in base {
                let tuned = tuned.as_ref().and_then(|tuned| tuned.get(&task).cloned());
                let seed = Seed::new(0).child(&task).child("scorer");
                let score = scored::by_scorer(base, tuned, seed);
                scored.entry(task).or_default().extend(score);
            }
        }
        let of_tuned = tuned.as_deref().map(Labelled::per_task);
        let labels = (Labelled::per_task(&base), of_tuned.unwrap_or_default());
        let among = match (&exam.among, &base_among) {
            (Some(among), Some(base)) => among.scored(base, tuned_among.as_deref(), Seed::new(0)),
            _ => BTreeMap::new(),
        };
        let (base, tuned) = match tuned {
            None => (base, None),
            Some(tuned) => {
                let Verdict {
                    base,
                    tuned,
                    comparisons,
                } = Verdict::new(base, tuned)?;
                (base, Some((tuned, comparisons)))
            }
        };
        Ok(Self {
            exam,
            base,
            tuned,
            scored,
            labels,
            among,
        })
    }

    /// Every number.
    pub fn object(&self) -> Map<String, Value> {
        let RowExam { count, seen, .. } = &self.exam;
        let base = per_task(&self.base);
        let object = match &self.tuned {
            None => json!({
                "tasks": base,
                "metrics": self.scored,
                "labels": { "base": self.labels.0, "among": self.among },
                "model": "base",
                "count": count,
            }),
            Some((tuned, comparisons)) => {
                let tuned = per_task(tuned);
                json!({
                    "tasks": tuned,
                    "model": "tuned",
                    "base": { "tasks": base },
                    "tuned": { "tasks": tuned },
                    "comparisons": comparisons,
                    "metrics": self.scored,
                    "labels": { "base": self.labels.0, "tuned": self.labels.1, "among": self.among },
                    "trained_on": seen.as_ref().map(Seen::count),
                    "refused": count.read - count.usable,
                    "count": count,
                })
            }
        };
        match object {
            Value::Object(object) => object,
            _ => unreachable!("it is written as an object above"),
        }
    }

    /// The lines of a table of one model or two.
    pub fn rows(&self) -> Vec<TaskRow> {
        let mut rows: Vec<TaskRow> = match &self.tuned {
            Some((_, comparisons)) => comparisons.iter().flat_map(rows_of).collect(),
            None => per_task(&self.base)
                .iter()
                .flat_map(|(task, score)| score_rows(task, score))
                .collect(),
        };
        for (task, scored) in &self.scored {
            // Behind the task's own lines.
            let behind = rows.iter().rposition(|row| row.task == *task);
            let at = behind.map_or(rows.len(), |last| last + 1);
            rows.splice(at..at, scored.iter().map(|scored| metric_row(task, scored)));
        }
        rows
    }

    /// A line of a report for each row.
    pub fn answer_lines(&self) -> Result<String> {
        let RowExam { records, seen, .. } = &self.exam;
        let tuned = self.tuned.as_ref().map(|(tuned, _)| &tuned[..]);
        let mut lines = String::new();
        for (at, judged) in self.base.iter().enumerate() {
            let line = AnswerLine {
                base: Some(Said::of(judged)),
                tuned: tuned.and_then(|tuned| tuned.get(at)).map(Said::of),
                trained_on: seen.as_ref().map(|seen| seen.rows[judged.score.row]),
                ..AnswerLine::of(records, judged)
            };
            lines += &serde_json::to_string(&line)?;
            lines.push('\n');
        }
        Ok(lines)
    }
}

/// What a command makes of the answers to the rows of each task.
fn by_task(
    scorer: &Scorer,
    exam: &RowExam,
    judged: &[Judged],
    who: &str,
    talk: Talk,
) -> Result<BTreeMap<String, Vec<f64>>> {
    let scored = judged.iter().filter(|row| row.score.exact_match.is_some());
    let scored: Vec<&Judged> = scored.filter(|row| row.answer.is_some()).collect();
    let to_score = |judged: &&Judged| {
        let line = AnswerLine::of(&exam.records, judged);
        ToScore {
            place: line.source.clone(),
            told: json!({
                "task": line.task,
                "source": line.source,
                "prompt": line.prompt,
                "reference": line.reference,
                "answer": judged.answer.as_ref().map(|answer| &answer.text),
            }),
        }
    };
    let answers: Vec<ToScore> = scored.iter().map(to_score).collect();
    let scores = scorer.score(&answers, who, talk)?;
    let mut tasks: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (judged, score) in scored.iter().zip(scores) {
        tasks
            .entry(judged.score.task.clone())
            .or_default()
            .push(score);
    }
    Ok(tasks)
}
