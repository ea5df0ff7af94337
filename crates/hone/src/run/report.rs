//! `report.html` of a finished run, from its record, its events, and what both models said.

use super::diagnose::Told;
use super::prepare::Prepared;
use super::record::{RunRecord, Summary};
use super::start::{EVENTS, REPORT, missing_steps};
use crate::judge::{Verdict, judge_both, rules};
use crate::plan::Size;
use crate::report::{Headline, Page, PlanRow, Point};
use crate::screen::{duration, plural};
use anyhow::Result;
use hone_data::Record;
use hone_eval::diagnosis::Weight;
use hone_eval::harness::{Exam, Progress, Rules};
use hone_ledger::words::{for_shell, path_for_shell};
use hone_ledger::{read_events, write_whole};
use hone_model::AdapterFiles;
use hone_train::Event;
use std::path::PathBuf;

/// What is on the page beyond the run's own numbers.
pub struct Judgement {
    /// What was answered.
    pub verdict: Verdict,
    /// How it was scored, in a sentence.
    pub note: String,
    /// Whether there are enough rows for a table.
    pub has_table: bool,
}

/// Rows shown before and after when no exam was asked for.
const SAMPLE_ROWS: usize = 3;

/// Longest sample answer.
const SAMPLE_TOKENS: usize = 96;

impl Prepared {
    /// Has both models answer a few held-out rows, for the report of a plain run.
    pub fn sample(&mut self, summary: &Summary) -> Result<Judgement> {
        let (train, valid) = self.dataset.records.split_at(self.dataset.num_train);
        let (source, side) = match valid.is_empty() {
            true => (train, "training rows, as none was held out"),
            false => (valid, "held-out rows"),
        };
        let stride = (source.len() / SAMPLE_ROWS).max(1);
        let records: Vec<Record> = source
            .iter()
            .step_by(stride)
            .take(SAMPLE_ROWS)
            .cloned()
            .collect();
        let note = format!("{side}, greedy decoding, at most {SAMPLE_TOKENS} new tokens");
        let exam = self
            .set_exam(&records)
            .with_continuations(&self.open.renderer)?;
        let verdict = self.judge(summary, &exam, &rules(SAMPLE_TOKENS), |_| {})?;
        Ok(Judgement {
            verdict,
            note,
            has_table: false,
        })
    }

    /// An exam of these rows.
    pub fn set_exam(&self, records: &[Record]) -> Exam {
        Exam::set(
            &self.open.renderer,
            records,
            self.plan.settings.max_length.value,
        )
    }

    /// Has both models sit an exam.
    pub fn judge(
        &mut self,
        summary: &Summary,
        exam: &Exam,
        rules: &Rules,
        told: impl FnMut(Progress) + Send,
    ) -> Result<Verdict> {
        let files = AdapterFiles::read(&summary.adapter)?;
        let adapter = files.into_adapter(self.model.config(), self.model.device())?;
        judge_both(
            &mut self.model,
            adapter,
            &self.open.renderer,
            exam,
            rules,
            told,
        )
    }

    /// Writes the report and returns its path.
    pub fn write_report(&self, summary: &Summary, judgement: &Judgement) -> Result<PathBuf> {
        let out = &self.plan.settings.out.value;
        let record = RunRecord::read(out)?;
        let events = read_events::<Event>(&out.join(EVENTS))?;
        let (train, valid) = curves(&events.rows);
        let mut page = self.page(&record, summary, judgement);
        let missing = missing_steps(&events.rows, summary.steps);
        if !missing.is_empty() {
            let warning = format!("{EVENTS} has nothing of {missing}: the curves lack them");
            page.warnings.push(warning);
        }
        let findings = Told::read(out)?.short().findings.into_iter();
        let matters = findings.filter(|finding| finding.weight < Weight::Note);
        page.warnings
            .extend(matters.map(|finding| match finding.change {
                Some(change) => format!("{}: {change}", finding.what),
                None => finding.what,
            }));
        page.warnings.extend(summary.stopped_early.clone());
        (page.train, page.valid) = (train, valid);
        let path = out.join(REPORT);
        write_whole(&path, page.render()?.as_bytes())?;
        Ok(path)
    }

    fn page(&self, record: &RunRecord, summary: &Summary, judgement: &Judgement) -> Page {
        let settings = &self.plan.settings;
        let adapter = path_for_shell(&summary.adapter);
        Page {
            title: format!(
                "{}, tuned on {}",
                self.open.base.name,
                self.dataset.tasks.join(", ")
            ),
            subtitle: format!(
                "{}, {}, {}, seed {}",
                settings.method.value,
                match settings.ia3.value {
                    true => "IA3".to_owned(),
                    false => format!("rank {}", settings.rank.value),
                },
                plural(summary.steps, "step"),
                settings.seed.value
            ),
            headlines: headlines(summary, &record.plan),
            warnings: judgement.verdict.warnings(),
            tasks: if judgement.has_table {
                judgement.verdict.rows()
            } else {
                Vec::new()
            },
            tasks_note: judgement.note.clone(),
            samples: judgement.verdict.samples(6),
            plan: record
                .plan
                .iter()
                .map(|line| PlanRow {
                    name: line.name.clone(),
                    value: line.value.clone(),
                    origin: line.origin.to_string(),
                })
                .collect(),
            provenance: provenance(record),
            commands: vec![
                format!(
                    "hone chat --model {} --adapter {adapter}",
                    for_shell(&settings.model.value)
                ),
                format!(
                    "hone eval --model {} --adapter {adapter} --data FILE",
                    for_shell(&settings.model.value)
                ),
            ],
            ..Page::default()
        }
    }
}

fn headlines(summary: &Summary, plan: &[crate::plan::PlanLine]) -> Vec<Headline> {
    let headline = |label: &str, value: String, note: String| Headline {
        label: label.into(),
        value,
        note,
    };
    let mut headlines = Vec::new();
    if let (Some(first), Some(best)) = (summary.valid_loss_first, summary.valid_loss_best) {
        let note = format!(
            "the lowest, after step {}; {first:.3} before the first",
            summary.best_step
        );
        headlines.push(headline("Validation loss", format!("{best:.3}"), note));
    } else if let Some(loss) = summary.train_loss {
        headlines.push(headline(
            "Training loss",
            format!("{loss:.3}"),
            "mean over the run".into(),
        ));
    }
    if let Some(divergence) = summary.divergence {
        let note =
            "KL(tuned‖base) on prompts of the validation set at the last validation, nats a token";
        headlines.push(headline(
            "Moved from the base",
            format!("{divergence:.4}"),
            note.into(),
        ));
    }
    let speed = format!("{:.0} tokens a second", summary.tokens_per_second);
    let beside = match summary.validation_seconds {
        0.0 => speed,
        seconds => format!("{speed}; validations took {} more", duration(seconds)),
    };
    headlines.push(headline("Training time", duration(summary.seconds), beside));
    let peak = Size {
        bytes: summary.peak_memory_bytes,
    };
    let planned = plan
        .iter()
        .find(|line| line.name == "memory needed")
        .map(|line| line.value.as_str());
    let expected = planned
        .and_then(|value| value.split(',').next())
        .map(|value| format!("{value} expected"));
    headlines.push(headline(
        "Peak memory",
        peak.to_string(),
        expected.unwrap_or_default(),
    ));
    let trained = plan
        .iter()
        .find(|line| line.name == "adapter")
        .map(|line| line.value.as_str());
    if let Some((parameters, share)) = trained.and_then(|value| value.split_once(" parameters, ")) {
        headlines.push(headline(
            "Trained parameters",
            parameters.into(),
            share.into(),
        ));
    }
    headlines
}

fn provenance(record: &RunRecord) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), String::from)
    };
    let row = |name: &str, value: String| (name.to_string(), value);
    vec![
        row("hone", record.hone.clone()),
        row("base", text(&record.base["fingerprint"])),
        row("training data", text(&record.data["train"]["id"])),
        row("held-out data", text(&record.data["valid"]["id"])),
        row("tokenizer", text(&record.text["tokenizer"])),
        row("chat template", text(&record.text["template"])),
        row(
            "machine",
            format!(
                "{} {}",
                text(&record.machine["system"]),
                text(&record.machine["architecture"])
            ),
        ),
    ]
}

/// Training and validation loss by step.
fn curves(events: &[Event]) -> (Vec<Point>, Vec<Point>) {
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Stepped(stepped) => train.push((stepped.step, stepped.loss)),
            Event::Validated(look) => valid.push((look.step, look.loss)),
            Event::StoppedEarly(_) | Event::Saved { .. } | Event::Resumed(_) => {}
        }
    }
    (train, valid)
}
