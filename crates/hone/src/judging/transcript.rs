//! A judge whose every reply is kept: a question that was asked before costs nothing, and a run that broke off goes on.

use super::endpoint::{Endpoint, EndpointError};
use crate::base::Home;
use crate::kept_answers::Keeper;
use crate::screen::Talk;
use hone_ledger::ContentId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;

/// A question and its reply, as a line of the transcript.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Exchange {
    id: ContentId,
    question: Value,
    reply: String,
    tokens: u64,
}

/// Why a judge says no more.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The server.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The next question could cost more than is allowed.
    #[error(
        "the budget of {budget} tokens is spent: {spent} are, and the next question may take {next}"
    )]
    Budget {
        /// What is allowed.
        budget: u64,
        /// What was spent in this run.
        spent: u64,
        /// What the next question may take.
        next: u64,
    },
    /// The transcript cannot be written.
    #[error("the judge's replies cannot be kept in {path}: {why}")]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl JudgeError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Endpoint(error) => error.hints(),
            Self::Budget { .. } => vec!["--budget allows more".into()],
            Self::Keep { .. } => vec!["HONE_HOME names another place".into()],
        }
    }
}

/// A judge and its transcript.
pub struct Judge {
    endpoint: Endpoint,
    known: HashMap<ContentId, Exchange>,
    keeper: Keeper,
    path: PathBuf,
    budget: u64,
    talk: Talk,
    /// Tokens of this run.
    pub spent: u64,
    /// Questions that were put to the server in this run.
    pub asked: usize,
    /// Exchanges that this run has used, in their order.
    used: Vec<ContentId>,
}

impl Judge {
    /// A judge with what it said before.
    ///
    /// # Errors
    /// The transcript cannot be written.
    pub fn open(
        home: &Home,
        endpoint: Endpoint,
        budget: u64,
        talk: Talk,
    ) -> Result<Self, JudgeError> {
        let id = ContentId::of(endpoint.name().as_bytes());
        let path = home.evaluations().join(format!("judge-{id}.jsonl"));
        let known: Vec<Exchange> = Keeper::lines(&path);
        let keeper = Keeper::begin(&path, &known).map_err(|error| JudgeError::Keep {
            path: path.clone(),
            why: format!("{error:#}"),
        })?;
        Ok(Self {
            endpoint,
            known: known.into_iter().map(|own| (own.id, own)).collect(),
            keeper,
            path,
            budget,
            talk,
            spent: 0,
            asked: 0,
            used: vec![],
        })
    }

    /// The judge's reply to a system and a user message.
    ///
    /// # Errors
    /// The server gives none, or the budget is spent. What was said before is kept.
    pub fn ask(&mut self, messages: &[String; 2]) -> Result<String, JudgeError> {
        let question = self.endpoint.question(messages);
        let id = ContentId::of(question.to_string().as_bytes());
        self.used.push(id);
        if let Some(known) = self.known.get(&id) {
            return Ok(known.reply.clone());
        }
        let next = Endpoint::most_tokens(&question);
        if self.spent + next > self.budget {
            return Err(JudgeError::Budget {
                budget: self.budget,
                spent: self.spent,
                next,
            });
        }
        let talk = self.talk;
        let spoken = self.endpoint.ask(&question, |error, pause| {
            talk.say(format!("{error}; asking again in {pause:?}"));
        })?;
        self.spent += spoken.tokens;
        self.asked += 1;
        let exchange = Exchange {
            id,
            question,
            reply: spoken.text,
            tokens: spoken.tokens,
        };
        let added = self.keeper.add(&exchange);
        added.map_err(|error| JudgeError::Keep {
            path: self.path.clone(),
            why: format!("{error:#}"),
        })?;
        let reply = exchange.reply.clone();
        self.known.insert(id, exchange);
        Ok(reply)
    }

    /// The questions of this run with their replies, a line for each.
    pub fn transcript(&self) -> serde_json::Result<String> {
        let mut lines = String::new();
        for id in &self.used {
            if let Some(exchange) = self.known.get(id) {
                lines += &serde_json::to_string(exchange)?;
                lines.push('\n');
            }
        }
        Ok(lines)
    }
}
