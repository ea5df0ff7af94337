//! What a run's numbers say of it, and, when its model is asked as well, what that writes and knows by heart.
//!
//! The rules are `hone-eval`'s; here is where their numbers come from: events, losses of rows, and passes over rows.

use super::prepare::Prepared;
use super::record::RunRecord;
use super::start::{EVENTS, TRAIN_ROWS};
use crate::judge::{Verdict, judge_both, rules};
use crate::refusal::Refusal;
use anyhow::Result;
use hone_data::{Example, Record, pack};
use hone_eval::diagnosis::curves::Curves;
use hone_eval::diagnosis::forgetting::{self, TextLoss};
use hone_eval::diagnosis::memorization::{self, Hits, TrainRow};
use hone_eval::diagnosis::outputs::{Compared, Habits};
use hone_eval::diagnosis::{Diagnosis, Finding, rows};
use hone_eval::harness::{Answer, Exam, Judged, Progress};
use hone_ledger::{RunStatus, read_events};
use hone_model::{AdapterFiles, Model, Stop};
use hone_train::{Event, RowLosses, with_packed};
use std::fs;
use std::path::Path;

/// Longest answer that is looked at.
const ANSWER_TOKENS: usize = 96;

/// Longest general text that is read, in tokens.
const TEXT_TOKENS: usize = 512;

/// Prompts are asked these many at a time.
const HELD_TOGETHER: usize = 8;

/// What a run left that a diagnosis reads.
pub struct Told {
    curves: Curves,
    rows: Option<RowLosses>,
    sources: Vec<String>,
    divergence: Option<f64>,
}

impl Told {
    /// Reads the run in `dir`.
    pub fn read(dir: &Path) -> Result<Self> {
        let events = read_events::<Event>(&dir.join(EVENTS))?.rows;
        let rows = RowLosses::read(dir)?;
        let sources = fs::read_to_string(dir.join(TRAIN_ROWS)).unwrap_or_default();
        let sources = sources.lines().map(str::to_owned).collect();
        let mut curves = Curves::default();
        let mut divergence = None;
        for event in &events {
            match event {
                Event::Stepped(step) => {
                    curves.train.push((step.step, step.loss));
                    curves.steps = curves.steps.max(step.step);
                    if step.epoch == 0 {
                        curves.steps_per_epoch += 1;
                        curves.rows += step.examples;
                    }
                }
                Event::Validated(look) => {
                    curves.valid.push((look.step, look.loss));
                    divergence = look.divergence;
                }
                Event::StoppedEarly(_) | Event::Saved { .. } | Event::Resumed(_) => {}
            }
        }
        if let Some(rows) = &rows {
            curves.rows = rows.tokens.len();
        }
        Ok(Self {
            curves,
            rows,
            sources,
            divergence,
        })
    }

    /// Where a training row was read.
    fn source(&self, row: usize) -> String {
        let found = self.sources.get(row).cloned();
        found.unwrap_or_else(|| format!("training row {}", row + 1))
    }

    fn judge_rows(&self) -> Option<(rows::Figures, Vec<Finding>)> {
        let by_row = self.rows.as_ref()?.by_row();
        Some(rows::judge(&by_row, |row| self.source(row)))
    }

    /// What can be said without asking the model anything.
    pub fn short(&self) -> Diagnosis {
        Diagnosis::of(&self.curves, self.judge_rows(), None, None, None)
    }
}

/// How much is asked of the model.
pub struct Depth {
    /// Rows of each side that are read and answered, at most.
    pub rows: usize,
    /// General texts of the user's, one a paragraph.
    pub texts: Option<(String, Vec<String>)>,
    /// Which adapter: `adapter` or `last`.
    pub which: &'static str,
}

impl Prepared {
    /// Everything there is to say of the run, its model asked as well.
    pub fn diagnose(
        &mut self,
        depth: &Depth,
        mut told: impl FnMut(&str, usize, usize) + Send,
    ) -> Result<Diagnosis> {
        let out = self.plan.settings.out.value.clone();
        let mut run = Told::read(&out)?;
        run.curves.is_unfinished = RunRecord::read(&out)?.status != RunStatus::Finished;
        run.curves.held_out = self.dataset.valid.len();
        let path = out.join(depth.which);
        if !path.is_dir() {
            let what = format!(
                "the run in {} has no adapter yet: there is no {}",
                out.display(),
                path.display()
            );
            return Err(Refusal::failed(what)
                .hint(format!(
                    "`hone train --resume --out {}` goes on with it",
                    out.display()
                ))
                .into());
        }
        let adapter =
            AdapterFiles::read(&path)?.into_adapter(self.model.config(), self.model.device())?;

        let (train, valid) = (
            evenly(&self.dataset.train, depth.rows),
            evenly(&self.dataset.valid, depth.rows),
        );
        let texts = self.texts(depth)?;
        self.model.attach(adapter);
        let mut progress = Counted {
            done: 0,
            total: 2 * train.len() + valid.len() + 2 * texts.1.len(),
            told: &mut told,
        };
        let tuned = hits_of(
            &self.model,
            train.iter().map(|(_, row)| *row),
            &mut progress,
        )?;
        let of_valid = hits_of(
            &self.model,
            valid.iter().map(|(_, row)| *row),
            &mut progress,
        )?;
        let tuned_texts = losses_of(&self.model, &texts.1, &mut progress)?;
        let adapter = self.model.detach();
        let base = hits_of(
            &self.model,
            train.iter().map(|(_, row)| *row),
            &mut progress,
        )?;
        let base_texts = losses_of(&self.model, &texts.1, &mut progress)?;

        let rows = train.iter().zip(tuned.into_iter().zip(base));
        let rows: Vec<TrainRow> = rows
            .map(|(&(at, _), (tuned, base))| TrainRow {
                source: run.source(at),
                tuned,
                base,
            })
            .collect();
        let memorized = memorization::judge(&rows, &of_valid);
        let losses = base_texts.into_iter().zip(tuned_texts);
        let losses: Vec<TextLoss> = losses
            .map(|(base, tuned)| TextLoss { base, tuned })
            .collect();
        let forgot = forgetting::judge(&losses, &texts.0, run.divergence);

        let outputs = match adapter {
            Some(adapter) => {
                let verdict = self.answers(adapter, depth.rows, |progress| {
                    told(
                        "answers of base and tuned model",
                        progress.done,
                        progress.total,
                    );
                })?;
                self.habits(&verdict)?
            }
            None => None,
        };
        let outputs = outputs.map(Compared::judge);
        Ok(Diagnosis::of(
            &run.curves,
            run.judge_rows(),
            outputs,
            Some(memorized),
            forgot,
        ))
    }

    /// Both models' answers to rows of the validation set, or of the training set where there is none.
    fn answers(
        &mut self,
        adapter: hone_model::Adapter,
        most: usize,
        told: impl FnMut(Progress) + Send,
    ) -> Result<Verdict> {
        let (train, valid) = self.dataset.records.split_at(self.dataset.num_train);
        let side = if valid.is_empty() { train } else { valid };
        let records: Vec<Record> = evenly(side, most)
            .into_iter()
            .map(|(_, record)| record.clone())
            .collect();
        let exam: Exam = self.set_exam(&records);
        let rules = hone_eval::harness::Rules {
            with_loss: false,
            slots: HELD_TOGETHER,
            ..rules(ANSWER_TOKENS)
        };
        judge_both(
            &mut self.model,
            adapter,
            &self.open.renderer,
            &exam,
            &rules,
            told,
        )
    }

    /// Habits of what was answered, and of what should have been.
    fn habits(&self, verdict: &Verdict) -> Result<Option<Compared>> {
        let answers = |judged: &[Judged]| -> Vec<Answer> {
            judged.iter().filter_map(|row| row.answer.clone()).collect()
        };
        let (base, tuned) = (answers(&verdict.base), answers(&verdict.tuned));
        if tuned.is_empty() {
            return Ok(None);
        }
        let tokenizer = self.open.renderer.tokenizer();
        let mut fits = Vec::with_capacity(tuned.len());
        for answer in &tuned {
            fits.push(tokenizer.encode_plain(&answer.reference)?.len() < ANSWER_TOKENS);
        }
        let of = |answers: &[Answer]| {
            let texts: Vec<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
            let unended = answers.iter().zip(&fits);
            let unended = unended.map(|(answer, fits)| fits.then_some(answer.stop == Stop::Length));
            Habits::of(&texts, &unended.collect::<Vec<_>>())
        };
        let references: Vec<&str> = tuned
            .iter()
            .map(|answer| answer.reference.as_str())
            .collect();
        Ok(Some(Compared {
            base: of(&base),
            tuned: of(&tuned),
            references: Habits::of(&references, &[]),
        }))
    }

    /// General texts as ids, and where they are from.
    fn texts(&self, depth: &Depth) -> Result<(String, Vec<Example>)> {
        let built_in = || {
            forgetting::built_in()
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let (origin, texts): (String, Vec<String>) = match &depth.texts {
            Some(given) => given.clone(),
            None => ("built-in texts".into(), built_in()),
        };
        let tokenizer = self.open.renderer.tokenizer();
        let mut examples = Vec::new();
        let most = TEXT_TOKENS.min(self.model.max_positions());
        for (row, text) in texts.iter().enumerate() {
            let mut ids: Vec<u32> = tokenizer.bos().into_iter().collect();
            ids.extend(tokenizer.encode_plain(text)?);
            ids.truncate(most);
            // A text of one token has nothing to be predicted.
            if ids.len() > 1 {
                let supervised = (0..ids.len()).map(|at| at > 0).collect();
                examples.push(Example {
                    ids,
                    supervised,
                    task: 0,
                    row,
                });
            }
        }
        Ok((origin, examples))
    }
}

/// At most so many of them, evenly spread, with their places.
fn evenly<T>(all: &[T], most: usize) -> Vec<(usize, &T)> {
    let taken = most.min(all.len());
    let at = |index: usize| index * all.len() / taken.max(1);
    (0..taken)
        .map(|index| (at(index), &all[at(index)]))
        .collect()
}

/// Tells how many rows are read.
struct Counted<'a, F> {
    done: usize,
    total: usize,
    told: &'a mut F,
}

impl<F: FnMut(&str, usize, usize)> Counted<'_, F> {
    fn count(&mut self) {
        self.done += 1;
        (self.told)("rows and texts read", self.done, self.total);
    }
}

/// For each row, which tokens of its longest reply the model would write next.
fn hits_of<'a, F: FnMut(&str, usize, usize)>(
    model: &Model,
    rows: impl Iterator<Item = &'a Example>,
    progress: &mut Counted<'_, F>,
) -> Result<Vec<Hits>> {
    let mut all = Vec::new();
    for row in rows {
        let batch = pack(&[&longest_reply(row)]);
        let likely = with_packed(&batch, |packed| model.most_likely(packed))?;
        let hits = likely.iter().zip(&batch.targets);
        all.push(
            hits.map(|(likely, target)| *likely == target.token)
                .collect(),
        );
        progress.count();
    }
    Ok(all)
}

/// The row with nothing supervised but its longest reply.
fn longest_reply(row: &Example) -> Example {
    let mut best = 0..0;
    let mut start = None;
    // The first token has nothing before it to be predicted from.
    for at in 1..=row.ids.len() {
        match (row.supervised.get(at), start) {
            (Some(true), None) => start = Some(at),
            (Some(false) | None, Some(from)) => {
                if at - from > best.len() {
                    best = from..at;
                }
                start = None;
            }
            _ => {}
        }
    }
    Example {
        supervised: (0..row.ids.len()).map(|at| best.contains(&at)).collect(),
        ..row.clone()
    }
}

/// Mean loss of each text, in nats a token.
fn losses_of<F: FnMut(&str, usize, usize)>(
    model: &Model,
    texts: &[Example],
    progress: &mut Counted<'_, F>,
) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for text in texts {
        let nats = with_packed(&pack(&[text]), |packed| model.nats(packed))?;
        all.push(nats.iter().sum::<f64>() / nats.len() as f64);
        progress.count();
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_reply_of_a_conversation_is_asked_for() {
        let row = Example {
            ids: (0..10).collect(),
            supervised: [1, 1, 0, 1, 1, 1, 0, 0, 1, 1].map(|is| is == 1).to_vec(),
            task: 0,
            row: 0,
        };
        let only: Vec<usize> = (0..10)
            .filter(|&at| longest_reply(&row).supervised[at])
            .collect();
        assert_eq!(only, [3, 4, 5]);
    }

    #[test]
    fn rows_are_taken_evenly() {
        let all: Vec<usize> = (0..10).collect();
        let at = |most| {
            evenly(&all, most)
                .into_iter()
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        };
        assert_eq!(at(4), [0, 2, 5, 7]);
        assert_eq!(at(20), all);
        assert_eq!(at(0), [0; 0]);
    }
}
