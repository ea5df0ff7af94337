//! The report of a run: one HTML page that needs nothing but itself.
//!
//! A [`Page`] holds finished words and numbers; the template only lays them out. Everything goes through the
//! template engine's escaping: a model's output may contain markup, and it is shown, not run.

use super::chart::{Point, loss_chart};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

/// Everything on the page, in the order it is read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Page {
    /// What was tuned on what.
    pub title: String,
    /// One line below it.
    pub subtitle: String,
    /// The numbers to see first.
    pub headlines: Vec<Headline>,
    /// What a careful reader should know before believing them.
    pub warnings: Vec<String>,
    /// Training loss by step.
    pub train: Vec<Point>,
    /// Validation loss by step.
    pub valid: Vec<Point>,
    /// Base and tuned model per task.
    pub tasks: Vec<TaskRow>,
    /// How the tasks were scored.
    pub tasks_note: String,
    /// What both models answered.
    pub samples: Vec<Sample>,
    /// Every value of the plan.
    pub plan: Vec<PlanRow>,
    /// Hashes and versions.
    pub provenance: Vec<(String, String)>,
    /// Commands to go on with.
    pub commands: Vec<String>,
}

/// One number to see first.
#[derive(Debug, Clone, Serialize)]
pub struct Headline {
    /// What it is.
    pub label: String,
    /// The number with its unit.
    pub value: String,
    /// What it compares with.
    pub note: String,
}

/// One metric of one task, base beside tuned.
#[derive(Debug, Clone, Serialize)]
pub struct TaskRow {
    /// The task.
    pub task: String,
    /// The metric.
    pub metric: String,
    /// How many rows were scored.
    pub rows: usize,
    /// The base model's score.
    pub base: String,
    /// The tuned model's score.
    pub tuned: String,
    /// The difference with its range.
    pub difference: String,
    /// Whether the difference is `better`, `worse`, or `unclear`.
    pub verdict: &'static str,
}

/// One held-out row and what both models made of it.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// The task.
    pub task: String,
    /// What was asked.
    pub prompt: String,
    /// What was expected.
    pub expected: String,
    /// What the base model said.
    pub base: String,
    /// What the tuned model said.
    pub tuned: String,
}

/// One value of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanRow {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Who decided it.
    pub origin: String,
}

impl Page {
    /// The page as HTML.
    pub fn render(&self) -> Result<String, minijinja::Error> {
        let engine = engine("report.html", include_str!("report.html"))?;
        let chart = loss_chart(&self.train, &self.valid).map(Value::from_safe_string);
        engine
            .get_template("report.html")?
            .render(context! { page => Serde(self), chart, version => env!("CARGO_PKG_VERSION") })
    }
}

/// A page's template, with the style that all pages have. A name ends in .html: that is what turns escaping on.
pub fn engine<'t>(name: &'t str, template: &'t str) -> Result<Environment<'t>, minijinja::Error> {
    let mut engine = Environment::new();
    engine.add_template("style.css", include_str!("style.css"))?;
    engine.add_template(name, template)?;
    Ok(engine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page {
            title: "A <b>bold</b> model".into(),
            train: vec![(1, 2.0), (2, 1.5)],
            valid: vec![(2, 1.4)],
            samples: vec![Sample {
                task: "fix".into(),
                prompt: "<script>alert(1)</script>".into(),
                expected: "a < b".into(),
                base: "base".into(),
                tuned: "\"quoted\"".into(),
            }],
            ..Page::default()
        }
    }

    #[test]
    fn what_a_model_said_is_shown_and_never_run() {
        let html = page().render().unwrap();
        assert!(!html.contains("<script"), "a script tag got through");
        assert!(
            html.contains("&lt;script&gt;") && html.contains("A &lt;b&gt;bold"),
            "escaping is off"
        );
        assert!(
            html.contains("<svg"),
            "the drawing itself must not be escaped"
        );
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let html = page().render().unwrap();
        for reference in ["src=", "href=\"http", "@import", "url("] {
            assert!(!html.contains(reference), "{reference}");
        }
    }
}
