//! `diagnosis.md` and `diagnosis.json`: a diagnosis as it lies in a run's directory.

use anyhow::Result;
use hone_eval::diagnosis::outputs::Habits;
use hone_eval::diagnosis::{Diagnosis, memorization, rows};
use hone_ledger::words::in_markdown;
use hone_ledger::write_whole;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The diagnosis in a run's directory: in words, and as JSON.
pub const DIAGNOSIS: [&str; 2] = ["diagnosis.md", "diagnosis.json"];

/// Writes the diagnosis into the run's directory and returns the path of the words.
pub fn write_diagnosis(dir: &Path, diagnosis: &Diagnosis) -> Result<PathBuf> {
    let [words, json] = DIAGNOSIS.map(|name| dir.join(name));
    let mut text = serde_json::to_vec_pretty(diagnosis)?;
    text.push(b'\n');
    write_whole(&json, &text)?;
    write_whole(&words, page(diagnosis).as_bytes())?;
    Ok(words)
}

/// A figure of a set of answers.
type Figure = fn(&Habits) -> Option<f64>;

/// The diagnosis as a page of Markdown.
fn page(diagnosis: &Diagnosis) -> String {
    let mut page = format!("# Diagnosis\n\n{}\n", in_markdown(&diagnosis.sentence()));
    for finding in &diagnosis.findings {
        let weight = serde_json::to_value(finding.weight).unwrap_or_default();
        let weight = weight.as_str().unwrap_or_default().to_owned();
        let _ = write!(
            page,
            "\n- **{}** ({weight}): {}",
            finding.rule,
            in_markdown(&finding.what)
        );
        if let Some(change) = &finding.change {
            let _ = write!(page, " *To change:* {}", in_markdown(change));
        }
    }
    let recommended = &diagnosis.recommended;
    let _ = write!(
        page,
        "\n\nTake `{}/`: {}\n",
        recommended.adapter,
        in_markdown(&recommended.why)
    );
    if let Some(rows) = &diagnosis.rows {
        let _ = write!(
            page,
            "\n## Training rows\n\n{}. Rule: {}.\n\n",
            in_markdown(&rows::summary(rows)),
            rows.rule
        );
        if !rows.listed.is_empty() {
            page.push_str("| what | row | loss in each epoch |\n|---|---|---|\n");
        }
        for row in &rows.listed {
            let losses: Vec<String> = row.losses.iter().map(|loss| format!("{loss:.3}")).collect();
            let course = serde_json::to_value(row.course).unwrap_or_default();
            let _ = writeln!(
                page,
                "| {} | {} | {} |",
                course.as_str().unwrap_or_default(),
                in_markdown(&row.source),
                losses.join(", ")
            );
        }
    }
    if let Some(memorization) = &diagnosis.memorization {
        let _ = write!(
            page,
            "\n## By heart\n\n{} tokens of the reply after so many given ones, or all that are left, exactly as they stand; in brackets the mean tokens until the first other one.\n\n\
             | given | training rows | validation rows | training rows, base |\n|---|---|---|---|\n",
            memorization.length
        );
        for at in &memorization.at {
            let cell = |group: &memorization::Extracted| {
                let mean = group
                    .common_prefix
                    .map_or(String::new(), |mean| format!(" ({mean:.1})"));
                format!("{} of {}{mean}", group.extracted, group.rows)
            };
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} |",
                at.prefix,
                cell(&at.train),
                cell(&at.valid),
                cell(&at.base)
            );
        }
    }
    if let Some(forgot) = &diagnosis.forgetting {
        let _ = write!(
            page,
            "\n## General texts\n\n{} ({}): {:.3} nats a token by the base, {:.3} by the tuned model",
            forgot.texts,
            in_markdown(&forgot.origin),
            forgot.base,
            forgot.tuned
        );
        if let Some(error) = forgot.standard_error {
            let _ = write!(page, " (standard error of the difference {error:.3})");
        }
        page.push_str(".\n");
    }
    if let Some(outputs) = &diagnosis.outputs {
        page.push_str("\n## Answers\n\n| | base | tuned | references |\n|---|---|---|---|\n");
        let rows: [(&str, Figure); 7] = [
            ("distinct pairs of words", |habits| habits.distinct[1]),
            ("self-BLEU (0 to 100)", |habits| habits.self_bleu),
            ("repeated four-word runs", |habits| habits.rep_4),
            ("most common beginning", |habits| habits.opener_share),
            ("most common last sentence", |habits| {
                habits.last_sentence_share
            }),
            ("near-duplicates", |habits| habits.near_duplicates),
            ("not ended at the limit", |habits| habits.unended),
        ];
        for (name, of) in rows {
            let cell =
                |habits| of(habits).map_or("–".to_owned(), |number| format!("{number:.2}"));
            let _ = writeln!(
                page,
                "| {name} | {} | {} | {} |",
                cell(&outputs.base),
                cell(&outputs.tuned),
                cell(&outputs.references)
            );
        }
    }
    page
}
