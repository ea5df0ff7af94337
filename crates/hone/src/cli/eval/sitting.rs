//! Models on their way through exams: each answers what is not known of an earlier evaluation, and is loaded for that.

use super::arguments::Eval;
use crate::base::OpenBase;
use crate::cli::progress::Count;
use crate::kept_answers::{Asked, KeptAnswers};
use crate::screen::Talk;
use anyhow::Result;
use hone_eval::harness::{Exam, Judged, Rules};
use hone_eval::sitting::{Candidate, Heard};
use hone_eval::task::{Paper, Reply};
use hone_model::{Adapters, Model};
use std::path::Path;

/// Rows under the rules that they are judged by.
pub struct RowsUnder<'a> {
    pub exam: &'a Exam,
    pub rules: &'a Rules,
}

impl RowsUnder<'_> {
    /// What is asked, and how often.
    fn asked(&self) -> Asked {
        Asked {
            id: self.exam.id(self.rules),
            rows: self.exam.num_rows(),
        }
    }

    /// The most tokens a model has to be loaded for.
    pub fn max_positions(&self) -> usize {
        self.exam.max_positions(self.rules)
    }
}

/// A paper, and how many answers are written at the same time.
#[derive(Clone, Copy)]
pub struct PaperIn<'a> {
    pub paper: &'a Paper,
    pub slots: usize,
}

impl PaperIn<'_> {
    fn asked(&self) -> Asked {
        Asked {
            id: self.paper.id(),
            rows: self.paper.num_questions(),
        }
    }
}

/// The models on their way.
pub struct Sitting<'a> {
    pub args: &'a Eval,
    pub open: &'a OpenBase,
    pub kept: KeptAnswers,
    /// The most tokens that anything asks for.
    pub positions: usize,
    /// Loaded once somebody has to answer.
    pub model: Option<Model>,
    pub talk: Talk,
}

impl Sitting<'_> {
    /// What the base, or an adapter on it, made of the questions before.
    pub fn known(
        &self,
        questions: &PaperIn<'_>,
        adapter: Option<&Path>,
    ) -> Result<Option<Vec<Reply>>> {
        match self.args.fresh {
            true => Ok(None),
            false => self.kept.read(questions.asked(), adapter),
        }
    }

    /// The model, loaded if it is not.
    pub fn model(&mut self) -> Result<&mut Model> {
        Ok(match &mut self.model {
            Some(model) => model,
            unloaded => {
                let limit = self.open.weights.config().context_len;
                let positions = self.positions.min(limit);
                unloaded.insert(self.args.model.load_plain(self.open, positions)?)
            }
        })
    }

    /// What base and tuned model, side by side, make of the rows. What is known of an earlier evaluation is not asked again;
    /// what is new is kept row by row.
    pub fn rows(
        &mut self,
        rows: &RowsUnder<'_>,
        adapter: Option<&Path>,
    ) -> Result<(Vec<Judged>, Option<Vec<Judged>>)> {
        let (open, talk, asked) = (self.open, self.talk, rows.asked());
        let mut candidates = vec![(None, self.candidate(rows, None)?)];
        if adapter.is_some() {
            candidates.push((adapter, self.candidate(rows, adapter)?));
        }
        let mut keepers = Vec::new();
        for (place, (adapter, candidate)) in candidates.iter().enumerate() {
            let (who, known) = (WHO[place], candidate.known.len());
            if known == asked.rows {
                talk.say(format!(
                    "{who}: answers of an earlier evaluation of the same rows (--fresh asks again)"
                ));
            } else if known > 0 {
                talk.say(format!(
                    "{who}: answers to {known} of {} rows are those of an evaluation that was broken off",
                    asked.rows
                ));
            }
            let keeper = self.kept.keep(asked, *adapter, &candidate.known);
            keepers.push(keeper.map_err(|error| not_kept(&error, talk)).ok());
        }
        let candidates: Vec<Candidate> = candidates.into_iter().map(|own| own.1).collect();
        let asks: Vec<&str> = candidates
            .iter()
            .zip(WHO)
            .filter_map(|(own, who)| (own.known.len() < asked.rows).then_some(who))
            .collect();
        let mut judged = match asks.is_empty() {
            true => candidates.into_iter().map(|own| own.known).collect(),
            false => {
                let who = asks.join(" and ");
                let mut progress = Count::start(talk);
                let told = |heard: Heard| {
                    progress.tell(&who, heard.progress);
                    let Some((place, judged)) = heard.done else {
                        return;
                    };
                    if let Some(keeper) = &mut keepers[place]
                        && let Err(error) = keeper.add(judged)
                    {
                        not_kept(&error, talk);
                        keepers[place] = None;
                    }
                };
                let model = &*self.model()?;
                let exam = rows.exam;
                let judged =
                    exam.sit_together(model, &open.renderer, rows.rules, &candidates, told)?;
                progress.finish();
                judged
            }
        };
        let tuned = (judged.len() > 1).then(|| judged.remove(1));
        Ok((judged.remove(0), tuned))
    }

    /// Is all of it known that the base, or an adapter on it, would be asked of the rows?
    pub fn knows_rows(&self, rows: &RowsUnder<'_>, adapter: &Path) -> Result<bool> {
        let candidate = self.candidate(rows, Some(adapter))?;
        Ok(candidate.known.len() == rows.exam.num_rows())
    }

    fn candidate(&self, rows: &RowsUnder<'_>, adapter: Option<&Path>) -> Result<Candidate> {
        let known = match self.args.fresh {
            true => vec![],
            false => rows
                .exam
                .in_order(self.kept.read_some(rows.asked(), adapter)?),
        };
        Ok(Candidate {
            adapters: match adapter {
                None => Adapters::None,
                Some(_) => Adapters::Active,
            },
            known,
        })
    }

    /// What the model, as it is now, makes of the questions, unless that is known.
    pub fn replies(
        &mut self,
        who: &str,
        adapter: Option<&Path>,
        questions: &PaperIn<'_>,
        known: Option<Vec<Reply>>,
    ) -> Result<Vec<Reply>> {
        let (open, talk) = (self.open, self.talk);
        if let Some(replies) = known {
            talk.say(format!(
                "{who}: answers of an earlier evaluation of the same rows (--fresh asks again)"
            ));
            return Ok(replies);
        }
        let mut progress = Count::start(talk);
        let told = |at| progress.tell(who, at);
        let PaperIn { paper, slots } = *questions;
        let replies = paper.sit(self.model()?, &open.renderer, slots, told)?;
        progress.finish();
        if let Err(error) = self.kept.keep(questions.asked(), adapter, &replies) {
            not_kept(&error, talk);
        }
        Ok(replies)
    }
}

/// The models, by their place among those who sit.
const WHO: [&str; 2] = ["base", "tuned"];

fn not_kept(error: &anyhow::Error, talk: Talk) {
    talk.warn(format!(
        "the answers are not kept for a next time: {error:#}"
    ));
}
