//! The tasks of an evaluation: files that are read, put to the models, and scored.

use super::arguments::Eval;
use super::scorer::{Scorer, ToScore};
use super::seen::Seen;
use super::sitting::PaperIn;
use crate::base::OpenBase;
use crate::judge::metric_row;
use crate::refusal::Refusal;
use crate::report::TaskRow;
use crate::screen::{Talk, plural};
use anyhow::Result;
use hone_eval::scored::by_scorer;
use hone_eval::task::slices::SliceBy;
use hone_eval::task::{
    Definition, Paper, Reply, Task, TaskError, TaskScored, filtered, report_rows, scored,
};
use hone_ledger::{Seed, mistyped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A task as it is put to the models.
pub struct TaskPaper {
    /// The task, with the questions that are asked.
    pub task: Task,
    /// As token ids.
    pub paper: Paper,
    /// Which questions the adapter was trained on.
    pub seen: Option<Seen>,
    scorer: Option<Scorer>,
}

/// What models made of a task.
pub struct TaskResult<'a> {
    asked: &'a TaskPaper,
    base: Vec<Reply>,
    tuned: Option<Vec<Reply>>,
    /// Score by score.
    pub scores: Vec<TaskScored>,
}

/// A file of a task, by its ending.
fn definition(file: &Path) -> Result<Definition> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => from_toml(file),
        Some("yaml" | "yml") => Ok(Definition::from_lm_eval(file)?),
        _ => Err(Refusal::usage(format!("{} is no task", file.display()))
            .hint("a task is a .toml file, or a .yaml file of lm-evaluation-harness; rows go with --data")
            .into()),
    }
}

/// A larger file is no task.
const MOST_BYTES: u64 = 1 << 20;

fn from_toml(file: &Path) -> Result<Definition> {
    let unreadable = |source| TaskError::Unreadable {
        file: file.into(),
        source,
    };
    if std::fs::metadata(file).map_err(unreadable)?.len() > MOST_BYTES {
        let what = format!("is larger than {MOST_BYTES} bytes");
        return Err(TaskError::Malformed {
            file: file.into(),
            what,
        }
        .into());
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let table = toml::from_str::<serde_json::Map<String, Value>>(&text).map_err(|error| {
        let at = error.span().map(|span| span.start);
        let line = at.map_or(1, |at| text[..at].matches('\n').count() + 1);
        let why = mistyped(&text, at, error.message());
        TaskError::Malformed {
            file: file.into(),
            what: format!("line {line}: {why}"),
        }
    })?;
    Ok(Definition::from_toml(file, table)?)
}

impl TaskPaper {
    /// Reads the tasks that are named; a model need not be there yet.
    pub fn read(args: &Eval, talk: Talk) -> Result<Vec<Task>> {
        let mut tasks: Vec<Task> = Vec::new();
        for file in &args.tasks {
            let mut task = Task::read(definition(file)?, args.apply_chat_template)?;
            let name = &task.definition.name;
            if tasks.iter().any(|other| other.definition.name == *name) {
                return Err(Refusal::usage(format!("two tasks are called `{name}`"))
                    .hint("`name` in a TOML task, and `task` in a YAML one, says what it is called")
                    .into());
            }
            if let Some(rows) = args.rows.map(|rows| rows as usize)
                && rows < task.questions.len()
            {
                talk.say(format!(
                    "{name}: {rows} of {}",
                    plural(task.questions.len(), "question")
                ));
                let seed = Seed::new(args.seed).child("eval-rows");
                seed.stream().shuffle(&mut task.questions);
                task.questions.truncate(rows);
                task.questions.sort_by_key(|question| question.row);
            }
            tasks.push(task);
        }
        Ok(tasks)
    }

    /// Spells a task for a model.
    pub fn set(task: Task, args: &Eval, open: &OpenBase, talk: Talk) -> Result<Self> {
        let limit = open.weights.config().context_len;
        let paper = Paper::set(&task, &open.renderer, args.sieve.max_length.min(limit))?;
        let name = &task.definition.name;
        let version = task.definition.version.as_ref();
        let version = version.map_or_else(String::new, |version| format!(", version {version}"));
        talk.say(format!(
            "{name}{version}: {}",
            plural(task.questions.len(), "question")
        ));
        if paper.cut > 0 {
            talk.warn(format!(
                "{name}: {} longer than --max-length {}, and lose their beginnings",
                match paper.cut {
                    1 => "1 question is".to_owned(),
                    cut => format!("{cut} questions are"),
                },
                args.sieve.max_length.min(limit)
            ));
        }
        let seen = match &args.model.adapter {
            Some(adapter) => Seen::by(adapter, &task.records(), &format!(" of {name}"), talk)?,
            None => None,
        };
        let scorer = match &task.definition.scorer {
            None => None,
            Some(words) => {
                let dir = task.definition.file.parent().unwrap_or(Path::new(""));
                let dir = if dir == Path::new("") {
                    Path::new(".")
                } else {
                    dir
                };
                Some(Scorer::new(words, Some(dir), args.scorer_limits())?)
            }
        };
        Ok(Self {
            task,
            paper,
            seen,
            scorer,
        })
    }

    /// What is put to a model.
    pub fn questions(&self, args: &Eval) -> PaperIn<'_> {
        PaperIn {
            paper: &self.paper,
            slots: usize::from(args.slots),
        }
    }

    /// Scores what models made of it.
    pub fn result(
        &self,
        base: Vec<Reply>,
        tuned: Option<Vec<Reply>>,
        talk: Talk,
    ) -> Result<TaskResult<'_>> {
        let every: Vec<usize> = (0..self.task.questions.len()).collect();
        let mut scores = scored(&self.task, &every, &base, tuned.as_deref(), Seed::new(0));
        if let Some(scorer) = &self.scorer {
            scores.extend(self.by_scorer(scorer, &base, tuned.as_deref(), talk)?);
        }
        Ok(TaskResult {
            asked: self,
            base,
            tuned,
            scores,
        })
    }

    /// What the task's own command makes of the answers, after each filter.
    fn by_scorer(
        &self,
        scorer: &Scorer,
        base: &[Reply],
        tuned: Option<&[Reply]>,
        talk: Talk,
    ) -> Result<Vec<TaskScored>> {
        let name = &self.task.definition.name;
        let score = |who: &str, answers: &[String]| {
            let questions = self.task.questions.iter().zip(answers);
            let answers = questions.map(|(question, answer)| ToScore {
                place: question.source.to_string(),
                told: json!({
                    "task": name,
                    "source": question.source.to_string(),
                    "row": question.fields,
                    "prompt": question.asked,
                    "target": question.gold.shown(&question.choices),
                    "answer": answer,
                }),
            });
            let answers: Vec<ToScore> = answers.collect();
            scorer.score(&answers, &format!("{name}, {who}"), talk)
        };
        let mut tuned = tuned.map(|tuned| filtered(&self.task, tuned).into_iter());
        let mut all = Vec::new();
        for (filter, answers) in filtered(&self.task, base) {
            let base = score("base", &answers)?;
            let tuned = match tuned.as_mut().and_then(Iterator::next) {
                None => None,
                Some((_, answers)) => Some(score("tuned", &answers)?),
            };
            let seed = Seed::new(0).child(name).child("scorer");
            let scored = by_scorer(base, tuned, seed);
            all.extend(scored.map(|scored| TaskScored { filter, scored }));
        }
        Ok(all)
    }
}

impl TaskResult<'_> {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.asked.task.definition.name
    }

    /// The scores of its parts, each by its name.
    pub fn by(&self, by: &SliceBy) -> Vec<(String, Vec<TaskScored>)> {
        let mut parts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, question) in self.asked.task.questions.iter().enumerate() {
            if let Some(part) = by.of_question(self.name(), question) {
                parts.entry(part).or_default().push(at);
            }
        }
        let score = |(part, chosen): (String, Vec<usize>)| {
            let (base, tuned) = (&self.base, self.tuned.as_deref());
            let scores = scored(&self.asked.task, &chosen, base, tuned, Seed::new(0));
            (format!("{}, {by} {part}", self.name()), scores)
        };
        parts.into_iter().map(score).collect()
    }

    /// What stands above a table of questions that were trained on.
    pub fn contaminated(&self) -> Option<String> {
        let line = self.asked.seen.as_ref()?.line()?;
        Some(format!("{}: {line}", self.name()))
    }

    /// Its lines in a table of two models.
    pub fn rows(&self) -> Vec<TaskRow> {
        let row = |score: &TaskScored| TaskRow {
            metric: score.label(),
            ..metric_row(self.name(), &score.scored)
        };
        self.scores.iter().map(row).collect()
    }

    /// Every number of it.
    pub fn object(&self) -> Value {
        let definition = &self.asked.task.definition;
        json!({
            "task": definition.name,
            "version": definition.version,
            "about": definition.about,
            "file": definition.file,
            "rows_file": definition.rows,
            "kind": definition.kind.name(),
            "questions": self.asked.task.questions.len(),
            "cut": self.asked.paper.cut,
            "trained_on": self.asked.seen.as_ref().map(Seen::count),
            "scores": self.scores,
        })
    }

    /// A line of a report for each question.
    pub fn answer_lines(&self) -> Result<String> {
        let mut lines = String::new();
        let rows = report_rows(&self.asked.task, &self.base, self.tuned.as_deref());
        for (at, mut row) in rows.into_iter().enumerate() {
            row.trained_on = self.asked.seen.as_ref().map(|seen| seen.rows[at]);
            lines += &serde_json::to_string(&row)?;
            lines.push('\n');
        }
        Ok(lines)
    }
}
