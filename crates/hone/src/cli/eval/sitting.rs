//! Models on their way through exams: each answers what is not known of an earlier evaluation, and is loaded for that.

use super::arguments::Eval;
use crate::base::OpenBase;
use crate::cli::progress::Count;
use crate::kept_answers::{Asked, KeptAnswers};
use crate::screen::Talk;
use anyhow::Result;
use hone_eval::harness::{Exam, ExamError, Judged, Progress, Rules};
use hone_eval::task::{Paper, Reply};
use hone_model::Model;
use hone_text::Renderer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Something that a model can be asked.
pub trait Questions {
    /// What it makes of one row or question.
    type Reply: Serialize + DeserializeOwned;

    /// What is asked, and how often.
    fn asked(&self) -> Asked;

    /// The most tokens a model has to be loaded for.
    fn max_positions(&self) -> usize;

    /// Has a model reply to all of it.
    fn sit(
        &self,
        model: &Model,
        renderer: &Renderer,
        told: impl FnMut(Progress) + Send,
    ) -> Result<Vec<Self::Reply>, ExamError>;
}

/// Rows under the rules that they are judged by.
pub struct RowsUnder<'a> {
    pub exam: &'a Exam,
    pub rules: &'a Rules,
}

impl Questions for RowsUnder<'_> {
    type Reply = Judged;

    fn asked(&self) -> Asked {
        Asked {
            id: self.exam.id(self.rules),
            rows: self.exam.num_rows(),
        }
    }

    fn max_positions(&self) -> usize {
        self.exam.max_positions(self.rules)
    }

    fn sit(
        &self,
        model: &Model,
        renderer: &Renderer,
        told: impl FnMut(Progress) + Send,
    ) -> Result<Vec<Judged>, ExamError> {
        self.exam.sit(model, renderer, self.rules, told)
    }
}

/// A paper, and how many answers are written at the same time.
pub struct PaperIn<'a> {
    pub paper: &'a Paper,
    pub slots: usize,
}

impl Questions for PaperIn<'_> {
    type Reply = Reply;

    fn asked(&self) -> Asked {
        Asked {
            id: self.paper.id(),
            rows: self.paper.num_questions(),
        }
    }

    fn max_positions(&self) -> usize {
        self.paper.max_positions()
    }

    fn sit(
        &self,
        model: &Model,
        renderer: &Renderer,
        told: impl FnMut(Progress) + Send,
    ) -> Result<Vec<Reply>, ExamError> {
        self.paper.sit(model, renderer, self.slots, told)
    }
}

/// What an adapter, or the base, made of something before; nothing where it is not known.
pub type Known<Q> = Option<Vec<<Q as Questions>::Reply>>;

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
    pub fn known<Q: Questions>(&self, questions: &Q, adapter: Option<&Path>) -> Result<Known<Q>> {
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

    /// What the model, as it is now, makes of the questions, unless that is known.
    pub fn replies<Q: Questions>(
        &mut self,
        who: &str,
        adapter: Option<&Path>,
        questions: &Q,
        known: Known<Q>,
    ) -> Result<Vec<Q::Reply>> {
        let (open, talk) = (self.open, self.talk);
        if let Some(replies) = known {
            talk.say(format!(
                "{who}: answers of an earlier evaluation of the same rows (--fresh asks again)"
            ));
            return Ok(replies);
        }
        let mut progress = Count::start(talk);
        let told = |at| progress.tell(&format!("{who} model"), at);
        let replies = questions.sit(self.model()?, &open.renderer, told)?;
        progress.finish();
        if let Err(error) = self.kept.keep(questions.asked(), adapter, &replies) {
            talk.warn(format!(
                "the answers are not kept for a next time: {error:#}"
            ));
        }
        Ok(replies)
    }
}
