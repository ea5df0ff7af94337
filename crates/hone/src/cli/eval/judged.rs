//! What models made of the rows of an evaluation.

use super::arguments::Eval;
use super::rows::RowExam;
use super::seen::Seen;
use crate::judge::{Verdict, metric_row, per_task, rows_of, score_rows};
use crate::report::TaskRow;
use anyhow::Result;
use hone_eval::answers::{AnswerLine, Said};
use hone_eval::harness::Judged;
use hone_eval::labels::Labelled;
use hone_eval::report::Comparison;
use hone_eval::scored::{self, Scored};
use hone_ledger::Seed;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Rows as one model, or base and tuned model, answered them.
pub struct JudgedRows {
    pub exam: RowExam,
    pub base: Vec<Judged>,
    /// The tuned model's, and how they compare.
    tuned: Option<(Vec<Judged>, Vec<Comparison>)>,
    /// By the metrics that were asked for, task by task.
    pub scored: BTreeMap<String, Vec<Scored>>,
    /// Of tasks of labels, how base and tuned model gave them.
    pub labels: (BTreeMap<String, Labelled>, BTreeMap<String, Labelled>),
}

impl JudgedRows {
    /// Scores what models made of the rows.
    pub fn new(
        args: &Eval,
        exam: RowExam,
        base: Vec<Judged>,
        tuned: Option<Vec<Judged>>,
    ) -> Result<Self> {
        let scored = scored::per_task(&args.metrics, &base, tuned.as_deref(), Seed::new(0))?;
        let of_tuned = tuned.as_deref().map(Labelled::per_task);
        let labels = (Labelled::per_task(&base), of_tuned.unwrap_or_default());
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
                "labels": { "base": self.labels.0 },
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
                    "labels": { "base": self.labels.0, "tuned": self.labels.1 },
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
