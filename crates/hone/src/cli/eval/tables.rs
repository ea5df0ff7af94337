//! What an evaluation shows on the screen: scores of one model, base beside tuned, and how labels were given.

use crate::judge::UNCLEAR;
use crate::judge::per_task;
use crate::report::TaskRow;
use crate::screen;
use anyhow::Result;
use hone_eval::harness::Judged;
use hone_eval::labels::Labelled;
use hone_eval::scored::Scored;
use hone_eval::task::TaskScored;
use hone_ledger::words::{on_terminal, shortened_to};
use std::collections::BTreeMap;

/// Loss, exact match and ROUGE-L of one model.
pub fn print_scores(judged: &[Judged]) -> Result<()> {
    let number = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.3}"));
    screen::data(format!(
        "{:20} {:>6} {:>8} {:>12} {:>8}",
        "task", "rows", "loss", "exact match", "ROUGE-L"
    ))?;
    for (task, score) in per_task(judged) {
        let (loss, exact, rouge) = (
            number(score.loss),
            number(score.exact_match),
            number(score.rouge_l),
        );
        screen::data(format!(
            "{:20} {:>6} {loss:>8} {exact:>12} {rouge:>8}",
            cell(&task),
            score.rows
        ))?;
    }
    Ok(())
}

/// One model by the scores of a task.
pub fn print_task(task: &str, scores: &[TaskScored]) -> Result<()> {
    let width = scores.iter().map(|score| score.label().len()).max();
    let width = width.unwrap_or_default().max(20);
    for score in scores {
        let base = &score.scored.base;
        let error = base
            .standard_error
            .map_or_else(String::new, |error| format!(" ± {error:.3}"));
        let range = base.interval.map_or_else(String::new, |range| {
            format!(" ({:.3} to {:.3})", range.0, range.1)
        });
        screen::data(format!(
            "{:20} {:>6} {:width$} {:.3}{error}{range}",
            cell(task),
            base.rows,
            score.label(),
            base.value
        ))?;
    }
    Ok(())
}

/// One model by the metrics that were asked for.
pub fn print_metrics(scored: &BTreeMap<String, Vec<Scored>>) -> Result<()> {
    for (task, scored) in scored {
        for Scored { metric, base, .. } in scored {
            let range = base.interval.map_or_else(String::new, |range| {
                format!(" ({:.3} to {:.3})", range.0, range.1)
            });
            screen::data(format!(
                "{:20} {:>6} {:20} {:.3}{range}",
                cell(task),
                base.rows,
                metric.name,
                base.value
            ))?;
        }
    }
    Ok(())
}

/// How a task of labels was answered, one line for each model, and what was mistaken for what. `among` is the share of rows
/// in which the right label is the likeliest.
pub fn show_labels(
    task: &str,
    base: &Labelled,
    tuned: Option<&Labelled>,
    among: Option<&Scored>,
) -> Result<()> {
    let (label, share) = &base.majority;
    screen::data(String::new())?;
    screen::data(format!(
        "{}: {} labels; always `{}` would be right in {share:.3} of {} rows",
        cell(task),
        base.per_label.len(),
        cell(label),
        base.confusion.rows(),
    ))?;
    screen::data(format!(
        "{:6} {:>9} {:>9} {:>7} {:>13}  answers that are no label",
        "model", "accuracy", "macro F1", "MCC", "among labels"
    ))?;
    let of_tuned = among.and_then(|among| among.tuned);
    let models = [
        ("base", Some(base), among.map(|among| among.base)),
        ("tuned", tuned, of_tuned),
    ];
    let models = models
        .into_iter()
        .filter_map(|(name, model, among)| Some((name, model?, among.map(|among| among.value))));
    for (name, model, among) in models.clone() {
        let among = among.map_or_else(|| "-".to_owned(), |among| format!("{among:.3}"));
        screen::data(format!(
            "{name:6} {:>9.3} {:>9.3} {:>7.3} {among:>13}  {} of {}",
            model.accuracy,
            model.macro_f1,
            model.mcc,
            model.unparseable,
            model.confusion.rows(),
        ))?;
    }
    for (name, model, among) in models {
        if 2 * model.unparseable > model.confusion.rows() {
            screen::data(by_form(name, among, *share))?;
            continue;
        }
        let mistaken = model.mistaken();
        let told = mistaken
            .iter()
            .take(MISTAKES)
            .map(|(gold, answer, count)| format!("`{}` as `{}` {count}", cell(gold), cell(answer)));
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            screen::data(format!("{name} took {}", told.join(", ")))?;
        }
    }
    Ok(())
}

/// What is said of a model that hardly ever answers with a label.
fn by_form(name: &str, among: Option<f64>, majority: f64) -> String {
    let form = "most answers are no label at all, so it fails by the form of its answers";
    match among {
        None => format!("{name}: {form}; what it knows is not told by this"),
        Some(among) => {
            let more = match among > majority {
                true => "more than",
                false => "no more than",
            };
            format!(
                "{name}: {form}; the right label is the likeliest of all in {among:.3} of the rows, {more} always giving the commonest"
            )
        }
    }
}

/// Mistakes that are told; all are in the report.
const MISTAKES: usize = 5;

/// A task's name in a table, where rows may have chosen a very long one.
fn cell(task: &str) -> String {
    shortened_to(&on_terminal(task), 60).into_owned()
}

/// Two models side by side, one line per task and metric: those that differ by more than chance first.
pub fn show_comparison(
    rows: &[TaskRow],
    [first, second]: [&str; 2],
    say: impl Fn(String) -> std::io::Result<()>,
) -> Result<()> {
    let width = rows.iter().map(|row| row.metric.len()).max().unwrap_or(0);
    let width = width.max(12);
    let line = |cells: [&str; 7]| {
        let [task, metric, rows, base, tuned, difference, verdict] = cells;
        format!(
            "{task:16} {metric:width$} {rows:>5} {base:>8} {tuned:>8}  {difference:26} {verdict}"
        )
    };
    say(line([
        "task",
        "metric",
        "rows",
        first,
        second,
        "difference",
        "",
    ]))?;
    let (unclear, clear): (Vec<&TaskRow>, Vec<&TaskRow>) =
        rows.iter().partition(|row| row.verdict == UNCLEAR);
    for row in clear.into_iter().chain(unclear) {
        let count = row.rows.to_string();
        say(line([
            &cell(&row.task),
            &row.metric,
            &count,
            &row.base,
            &row.tuned,
            &row.difference,
            row.verdict,
        ]))?;
    }
    Ok(())
}
