//! The parts of an evaluation: scores of rows by their source, length, language or a key of theirs.

use super::judged::JudgedRows;
use super::rows::RowExam;
use super::tables::{print_scores, print_task, show_comparison};
use super::tasks::{TaskPaper, TaskResult};
use crate::judge::{Verdict, per_task};
use crate::refusal::Refusal;
use crate::report::TaskRow;
use crate::screen::{self, Talk};
use anyhow::Result;
use hone_eval::harness::Judged;
use hone_eval::report::Comparison;
use hone_eval::task::TaskScored;
use hone_eval::task::slices::SliceBy;
use serde_json::{Map, Value, json};

/// The parts by one thing that rows have.
pub struct Slices {
    by: SliceBy,
    /// The rows of each part.
    base: Vec<Judged>,
    tuned: Option<(Vec<Judged>, Vec<Comparison>)>,
    /// Of each task and part the scores.
    tasks: Vec<(String, Vec<TaskScored>)>,
}

impl Slices {
    /// Parts what was judged.
    pub fn of(by: &SliceBy, judged: Option<&JudgedRows>, tasks: &[TaskResult<'_>]) -> Result<Self> {
        let relabelled = |rows: &[Judged]| -> Vec<Judged> {
            let records = judged.map_or(&[][..], |judged| &judged.exam.records);
            let relabel = |row: &Judged| {
                let slice = by.of_record(&records[row.score.row])?;
                let mut row = row.clone();
                row.score.task = format!("{by} {slice}");
                Some(row)
            };
            rows.iter().filter_map(relabel).collect()
        };
        let base = judged.map_or_else(Vec::new, |judged| relabelled(&judged.base));
        let tuned = match judged.and_then(|judged| judged.tuned.as_ref()) {
            Some((tuned, _)) if !base.is_empty() => {
                let verdict = Verdict::new(base.clone(), relabelled(tuned))?;
                Some((verdict.tuned, verdict.comparisons))
            }
            _ => None,
        };
        let of_tasks = tasks.iter().flat_map(|task| task.by(by));
        Ok(Self {
            by: by.clone(),
            base,
            tuned,
            tasks: of_tasks.collect(),
        })
    }

    /// Refuses a key that no row has, before a model answers.
    pub fn check(by: &SliceBy, rows: Option<&RowExam>, papers: &[TaskPaper]) -> Result<()> {
        let has_rows = rows.is_some() && !matches!(by, SliceBy::Key(_));
        let has = |paper: &TaskPaper| {
            let mut questions = paper.task.questions.iter();
            questions.any(|question| by.of_question("", question).is_some())
        };
        match has_rows || papers.iter().any(has) {
            true => Ok(()),
            false => Err(Refusal::usage(format!("--by {by}: no row of a task has such a key"))
                .hint("--by task, source, length or language part all rows; a key is one of the rows of a task")
                .into()),
        }
    }

    /// The lines of a table of two models.
    fn rows(&self) -> Vec<TaskRow> {
        let comparisons = self.tuned.iter().flat_map(|(_, comparisons)| comparisons);
        let mut rows: Vec<TaskRow> = comparisons.flat_map(crate::judge::rows_of).collect();
        for (name, scores) in &self.tasks {
            let row = |score: &TaskScored| TaskRow {
                metric: score.label(),
                ..crate::judge::metric_row(name, &score.scored)
            };
            rows.extend(scores.iter().map(row));
        }
        rows
    }

    /// Shows them under the table of all rows.
    pub fn show(&self, is_tuned: bool, talk: Talk) -> Result<()> {
        screen::data(String::new())?;
        if is_tuned {
            let rows = self.rows();
            show_comparison(&rows, ["base", "tuned"], screen::data)?;
            talk.say(format!(
                "by {}: {} more lines, of which one in 20 is told to differ by chance alone; they are not corrected for that",
                self.by,
                rows.len()
            ));
            return Ok(());
        }
        if !self.base.is_empty() {
            print_scores(&self.base)?;
        }
        for (name, scores) in &self.tasks {
            print_task(name, scores)?;
        }
        Ok(())
    }

    /// Every number of them.
    pub fn object(&self) -> Value {
        let mut object = Map::new();
        if !self.base.is_empty() {
            object.insert("base".into(), json!(per_task(&self.base)));
        }
        if let Some((tuned, comparisons)) = &self.tuned {
            object.insert("tuned".into(), json!(per_task(tuned)));
            object.insert("comparisons".into(), json!(comparisons));
        }
        let tasks = self.tasks.iter();
        let tasks: Map<String, Value> = tasks
            .map(|(name, scores)| (name.clone(), json!(scores)))
            .collect();
        object.insert("task_files".into(), Value::Object(tasks));
        object.insert("corrected_for_many_comparisons".into(), false.into());
        Value::Object(object)
    }
}
