//! `hone eval`: scores of rows and of tasks, for a base and, beside it, an adapter on it.

mod arguments;
mod judged;
mod rows;
mod scorer;
mod seen;
mod sitting;
mod slices;
pub mod tables;
mod tasks;

pub use self::arguments::Eval;
use self::judged::JudgedRows;
use self::rows::RowExam;
use self::sitting::{PaperIn, RowsUnder, Sitting};
use self::slices::Slices;
use self::tables::{print_metrics, print_scores, print_task, show_comparison, show_labels};
use self::tasks::{TaskPaper, TaskResult};
use super::failure::{Exit, Refusal};
use crate::base::Home;
use crate::kept_answers::KeptAnswers;
use crate::place::{begin, refuse_used};
use crate::report::EvaluationPage;
use crate::screen::{self, Talk};
use anyhow::Result;
use clap::ValueEnum;
use hone_eval::evaluation::{ANSWERS, Evaluation, REPORT};
use hone_eval::task::Reply;
use hone_eval::task::slices::SliceBy;
use hone_ledger::WriteError;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What both parts of an evaluation are made into: lines of a table, keys of an object, lines of answers.
struct Told {
    object: Map<String, Value>,
    answers: String,
    rows: usize,
}

impl Eval {
    /// Judges, and prints a table or an object.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        self.out.as_deref().map_or(Ok(()), refuse_used)?;
        self.check()?;
        // What is wrong with a task is told before a model is opened.
        let tasks = TaskPaper::read(&self, talk)?;
        let open = self.model.open(talk)?;
        let exam = match self.data.is_empty() {
            true => None,
            false => Some(RowExam::set(&self, &open, talk)?),
        };
        let papers = tasks
            .into_iter()
            .map(|task| TaskPaper::set(task, &self, &open, talk))
            .collect::<Result<Vec<_>>>()?;
        for by in &self.by {
            Slices::check(by, exam.as_ref(), &papers)?;
        }
        let rows = exam.as_ref().map(|rows| RowsUnder {
            exam: &rows.exam,
            rules: &rows.rules,
        });
        let positions = papers.iter().map(|paper| paper.paper.max_positions());
        let among = exam.as_ref().and_then(|rows| rows.among.as_ref());
        let among = among.map(|among| PaperIn {
            paper: among.paper(),
            slots: usize::from(self.slots),
        });
        let put = Put {
            among: among.as_ref(),
            papers: &papers,
        };
        let positions = positions.chain(among.iter().map(|among| among.paper.max_positions()));
        let positions = positions.chain(rows.iter().map(RowsUnder::max_positions));
        let mut sitting = Sitting {
            args: &self,
            open: &open,
            kept: KeptAnswers::of(&Home::from_env()?, &open)?,
            positions: positions.max().unwrap_or(1),
            model: None,
            talk,
        };
        let adapter = self.model.adapter.as_deref();
        // What is wrong with an adapter is told before the base answers for minutes.
        let attached = match adapter {
            Some(dir) if !sitting.knows_all(rows.as_ref(), put, dir)? => {
                Some(open.read_adapter(sitting.model()?, dir)?)
            }
            _ => None,
        };
        let base = sitting.papers("base", None, put)?;
        if let Some(adapter) = attached {
            sitting.model()?.attach(adapter);
        }
        let of_rows = match &rows {
            None => None,
            Some(rows) => Some(sitting.rows(rows, adapter)?),
        };
        let tuned = match adapter {
            None => None,
            Some(dir) => Some(sitting.papers("tuned", Some(dir), put)?),
        };
        open.weights.check_unchanged(None)?;
        let (tuned_among, tuned_papers) =
            tuned.map_or((None, None), |tuned| (tuned.among, Some(tuned.papers)));
        let mut tuned_papers = tuned_papers.map(Vec::into_iter);
        let results = papers.iter().zip(base.papers);
        let results: Vec<TaskResult<'_>> = results
            .map(|(paper, base)| {
                paper.result(base, tuned_papers.as_mut().and_then(Iterator::next), talk)
            })
            .collect::<Result<_>>()?;
        let among = (base.among, tuned_among);
        let judged = match (exam, of_rows) {
            (Some(exam), Some((base, tuned))) => {
                Some(JudgedRows::new(&self, exam, base, tuned, among, talk)?)
            }
            _ => None,
        };
        let slices = self.by.iter();
        let slices = slices.map(|by| Ok((by, Slices::of(by, judged.as_ref(), &results)?)));
        let slices: Vec<(&SliceBy, Slices)> = slices.collect::<Result<_>>()?;
        let mut told = self.told(judged.as_ref(), &results)?;
        if !slices.is_empty() {
            let by = slices
                .iter()
                .map(|(by, slices)| (by.to_string(), slices.object()));
            told.object.insert("by".into(), Value::Object(by.collect()));
        }
        let page = self.page(judged.as_ref(), &results);
        self.write(&told, page, talk)?;
        if self.json {
            screen::data_json(&Value::Object(told.object))?;
            return Ok(Exit::Done);
        }
        match adapter {
            None => show_one(judged.as_ref(), &results)?,
            Some(_) => show_both(judged.as_ref(), &results, talk)?,
        }
        for (_, slices) in &slices {
            slices.show(adapter.is_some(), talk)?;
        }
        Ok(Exit::Done)
    }

    fn check(&self) -> Result<()> {
        if self.data.is_empty() && !self.metrics.is_empty() {
            return Err(Refusal::usage("--metric is about the rows of --data")
                .hint("`metrics` in a task's file says what a task is scored by")
                .into());
        }
        if self.data.is_empty() && self.scorer.is_some() {
            return Err(Refusal::usage("--scorer is about the rows of --data")
                .hint("`scorer` in a task's file names a command for its answers")
                .into());
        }
        if self.tasks.is_empty() && self.apply_chat_template {
            return Err(Refusal::usage("--apply-chat-template is about tasks")
                .hint("rows of --data go through the chat template always")
                .into());
        }
        Ok(())
    }

    /// Everything as an object and as lines.
    fn told(&self, judged: Option<&JudgedRows>, tasks: &[TaskResult<'_>]) -> Result<Told> {
        let mut told = Told {
            object: Map::new(),
            answers: String::new(),
            rows: 0,
        };
        if let Some(judged) = judged {
            told.object = judged.object();
            told.answers = judged.answer_lines()?;
            told.rows = judged.base.len();
        }
        let matched = self.rule.to_possible_value();
        let rules = json!({
            "max_tokens": self.max_tokens,
            "match": matched.map(|rule| rule.get_name().to_owned()),
        });
        told.object.insert("rules".into(), rules);
        if !tasks.is_empty() {
            let of_tasks = tasks.iter().map(TaskResult::object).collect();
            told.object.insert("task_files".into(), of_tasks);
            let model = if self.model.adapter.is_some() {
                "tuned"
            } else {
                "base"
            };
            told.object.insert("model".into(), model.into());
            for task in tasks {
                let lines = task.answer_lines()?;
                told.rows += lines.lines().count();
                told.answers += &lines;
            }
        }
        Ok(told)
    }

    /// The scores as a page shows them.
    fn page(&self, judged: Option<&JudgedRows>, tasks: &[TaskResult<'_>]) -> EvaluationPage {
        let has_tuned = self.model.adapter.is_some();
        let mut scores = judged.map_or_else(Vec::new, JudgedRows::rows);
        scores.extend(tasks.iter().flat_map(TaskResult::rows));
        let adapter = self.model.adapter.as_ref();
        let data = self.data.iter().chain(&self.tasks);
        let data: Vec<String> = data.map(|file| file.display().to_string()).collect();
        let note = match has_tuned {
            true => format!(
                "Difference: tuned less base, with the range of 95 % of resamples of the rows; grey where chance may explain it. Lines are judged one by one: of 20 lines without a difference one is told to have one, and here are {}.",
                scores.len()
            ),
            false => String::new(),
        };
        EvaluationPage {
            title: match adapter {
                None => self.model.model.clone(),
                Some(adapter) => format!("{} with {}", self.model.model, adapter.display()),
            },
            subtitle: format!("judged by {}", data.join(", ")),
            warnings: contaminated(judged, tasks),
            has_tuned,
            scores,
            note,
            ..EvaluationPage::default()
        }
    }

    /// Writes the report, if one is asked for: all of it or nothing.
    fn write(&self, told: &Told, page: EvaluationPage, talk: Talk) -> Result<()> {
        let Some(out) = &self.out else {
            return Ok(());
        };
        let mut dir = begin(out, "hone eval", talk)?;
        let report = serde_json::to_string_pretty(&told.object)? + "\n";
        let evaluation = Evaluation::of(out, &told.answers, &report)?;
        let page = page.with_answers(&evaluation).render()?;
        for (name, text) in [
            (ANSWERS, &told.answers),
            (REPORT, &report),
            ("report.html", &page),
        ] {
            let path = dir.path_of(name);
            let bytes = text.len() as u64;
            std::fs::write(&path, text).map_err(|source| WriteError::new(&path, bytes, source))?;
        }
        let adapter = self
            .model
            .adapter
            .as_ref()
            .map(|dir| dir.display().to_string());
        dir.publish(json!({ "kind": "evaluation", "adapter": adapter, "rows": told.rows }))?;
        talk.say(format!("answers and scores: {}", out.display()));
        Ok(())
    }
}

/// What is put to a model beside rows.
#[derive(Clone, Copy)]
struct Put<'a> {
    /// The labels of the rows.
    among: Option<&'a PaperIn<'a>>,
    papers: &'a [TaskPaper],
}

/// What a model made of it.
struct Replies {
    among: Option<Vec<Reply>>,
    papers: Vec<Vec<Reply>>,
}

impl Sitting<'_> {
    /// Is all of it known that an adapter would be asked?
    fn knows_all(
        &self,
        rows: Option<&RowsUnder<'_>>,
        put: Put<'_>,
        adapter: &Path,
    ) -> Result<bool> {
        if let Some(rows) = rows
            && !self.knows_rows(rows, adapter)?
        {
            return Ok(false);
        }
        let papers = put.papers.iter().map(|paper| paper.questions(self.args));
        for questions in put.among.copied().into_iter().chain(papers) {
            if self.known(&questions, Some(adapter))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the model, as it is now, makes of labels and tasks.
    fn papers(&mut self, who: &str, adapter: Option<&Path>, put: Put<'_>) -> Result<Replies> {
        let mut replies = Replies {
            among: None,
            papers: Vec::with_capacity(put.papers.len()),
        };
        if let Some(among) = put.among {
            let known = self.known(among, adapter)?;
            let who = format!("labels, {who}");
            replies.among = Some(self.replies(&who, adapter, among, known)?);
        }
        for paper in put.papers {
            let questions = paper.questions(self.args);
            let known = self.known(&questions, adapter)?;
            let who = format!("{}, {who}", paper.task.definition.name);
            let made = self.replies(&who, adapter, &questions, known)?;
            replies.papers.push(made);
        }
        Ok(replies)
    }
}

/// The table of one model.
fn show_one(judged: Option<&JudgedRows>, tasks: &[TaskResult<'_>]) -> Result<()> {
    if let Some(judged) = judged {
        print_scores(&judged.base)?;
        print_metrics(&judged.scored)?;
    }
    for task in tasks {
        print_task(task.name(), &task.scores)?;
    }
    if let Some(judged) = judged {
        for (task, base) in &judged.labels.0 {
            show_labels(task, base, None, judged.among.get(task))?;
        }
    }
    Ok(())
}

/// What stands above tables of rows that the adapter was trained on.
fn contaminated(judged: Option<&JudgedRows>, tasks: &[TaskResult<'_>]) -> Vec<String> {
    let of_rows = judged.and_then(|judged| judged.exam.seen.as_ref()?.line());
    let of_tasks = tasks.iter().filter_map(TaskResult::contaminated);
    of_rows.into_iter().chain(of_tasks).collect()
}

/// The table of two models.
fn show_both(judged: Option<&JudgedRows>, tasks: &[TaskResult<'_>], talk: Talk) -> Result<()> {
    for line in contaminated(judged, tasks) {
        screen::data(line)?;
    }
    let mut rows = judged.map_or_else(Vec::new, JudgedRows::rows);
    rows.extend(tasks.iter().flat_map(TaskResult::rows));
    show_comparison(&rows, ["base", "tuned"], screen::data)?;
    talk.say("range: 95 % of resamples of the rows");
    talk.say(format!(
        "better and worse are told line by line: of 20 lines without a difference, one is told to have one; here are {}",
        rows.len()
    ));
    if let Some(judged) = judged {
        for (task, base) in &judged.labels.0 {
            let tuned = judged.labels.1.get(task);
            show_labels(task, base, tuned, judged.among.get(task))?;
        }
    }
    Ok(())
}
