//! The page of an evaluation: scores, and what models said beside what was expected.

use super::page::{TaskRow, engine};
use hone_eval::evaluation::{Evaluation, Shown};
use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

/// Answers on a page: the worst; all are in the directory beside it.
const ANSWERS: usize = 300;
/// Beyond so many characters an answer is not compared word by word.
const LONGEST: usize = 20_000;

/// Everything on the page, in the order it is read.
#[derive(Debug, Default, Serialize)]
pub struct EvaluationPage {
    /// What was judged.
    pub title: String,
    /// One line below it.
    pub subtitle: String,
    /// What a careful reader should know before believing the scores.
    pub warnings: Vec<String>,
    /// Whether there is a tuned model beside the base.
    pub has_tuned: bool,
    /// Scores of each task.
    pub scores: Vec<TaskRow>,
    /// How they were made.
    pub note: String,
    /// The tasks of the answers.
    pub tasks: Vec<String>,
    /// Which answers are shown.
    pub answers_note: String,
    /// What models answered.
    pub samples: Vec<AnswerShown>,
}

/// A row and what models said to it.
#[derive(Debug, Serialize)]
pub struct AnswerShown {
    task: String,
    task_number: usize,
    source: String,
    asked: String,
    expected: String,
    base: Vec<Part>,
    tuned: Vec<Part>,
    is_wrong: bool,
    is_trained_on: bool,
}

/// Some words of an answer or of what was expected.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Part {
    kind: &'static str,
    text: String,
}

impl EvaluationPage {
    /// Puts the answers on the page, the worst first.
    pub fn with_answers(mut self, evaluation: &Evaluation) -> Self {
        let shown = evaluation.shown();
        let num_shown = shown.len().min(ANSWERS);
        self.answers_note = match shown.len() > num_shown {
            false => format!("{num_shown} answers."),
            true => format!(
                "The {num_shown} worst of {} answers; all are in answers.jsonl beside this page.",
                shown.len()
            ),
        };
        for shown in shown.into_iter().take(ANSWERS) {
            let known = self.tasks.iter().position(|task| *task == shown.task);
            let place = known.unwrap_or_else(|| {
                self.tasks.push(shown.task.clone());
                self.tasks.len() - 1
            });
            self.samples.push(sample(shown, place + 1));
        }
        self
    }

    /// The page as HTML.
    pub fn render(&self) -> Result<String, minijinja::Error> {
        let engine = engine("evaluation.html", include_str!("evaluation.html"))?;
        let page = engine.get_template("evaluation.html")?;
        page.render(context! { page => Serde(self), version => env!("CARGO_PKG_VERSION") })
    }
}

fn sample(shown: Shown, task_number: usize) -> AnswerShown {
    let parts = |said: &Option<String>| match said {
        Some(said) => words(&shown.expected, said),
        None => vec![],
    };
    AnswerShown {
        task_number,
        base: parts(&shown.base),
        tuned: parts(&shown.tuned),
        is_wrong: shown.right < 1.0,
        task: shown.task,
        source: shown.source,
        asked: shown.asked,
        expected: shown.expected,
        is_trained_on: shown.is_trained_on,
    }
}

/// An answer, with the words that it lacks and those that it adds.
fn words(expected: &str, said: &str) -> Vec<Part> {
    if expected.len().max(said.len()) > LONGEST {
        let text = said.to_owned();
        return vec![Part {
            kind: "equal",
            text,
        }];
    }
    let mut parts: Vec<Part> = Vec::new();
    for change in TextDiff::from_words(expected, said).iter_all_changes() {
        let kind = match change.tag() {
            ChangeTag::Equal => "equal",
            ChangeTag::Delete => "delete",
            ChangeTag::Insert => "insert",
        };
        match parts.last_mut().filter(|last| last.kind == kind) {
            Some(last) => last.text += change.value(),
            None => parts.push(Part {
                kind,
                text: change.value().to_owned(),
            }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn page(answers: &str) -> String {
        let report = "{}";
        let evaluation = Evaluation::of(Path::new("eval"), answers, report).unwrap();
        let page = EvaluationPage {
            title: "An <i>evaluation</i>".into(),
            has_tuned: true,
            ..EvaluationPage::default()
        };
        page.with_answers(&evaluation).render().unwrap()
    }

    #[test]
    fn the_worst_answer_comes_first_with_what_it_lacks_and_adds() {
        let line = |row: &str, said: &str, exact: bool, rouge: f64| {
            serde_json::json!({
                "source": row, "task": "fix", "reference": "one two",
                "prompt": [{ "role": "user", "content": "<script>alert(1)</script>" }],
                "tuned": { "text": said, "exact_match": exact, "rougeL": rouge },
            })
            .to_string()
        };
        let html = page(
            &[
                line("r:1", "one two", true, 1.0),
                line("r:2", "one <b>", false, 0.5),
            ]
            .join("\n"),
        );
        assert!(html.find("r:2").unwrap() < html.find("r:1").unwrap());
        let marked = "one <del>two</del><ins>&lt;b&gt;</ins>";
        assert!(html.contains(marked), "{html}");
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
        for reference in ["src=", "href=\"http", "@import", "url("] {
            assert!(!html.contains(reference), "{reference}");
        }
    }

    #[test]
    fn words_join_to_what_was_said_and_what_was_expected() {
        let (expected, said) = ("a b  c\nd", "a x  c e");
        let parts = words(expected, said);
        let without = |kind: &str| -> String {
            let kept = parts.iter().filter(|part| part.kind != kind);
            kept.map(|part| part.text.as_str()).collect()
        };
        assert_eq!(
            (without("insert"), without("delete")),
            (expected.into(), said.into())
        );
    }
}
