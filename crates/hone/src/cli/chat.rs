//! `hone chat`: a conversation at the terminal.

use super::failure::Exit;
use super::generate::{SamplingArgs, speak};
use super::interrupt::Interrupt;
use super::model::ModelArgs;
use crate::screen::{self, Talk};
use anyhow::Result;
use hone_model::{GenerateError, Session, Stop};
use hone_text::{Conversation, Role, Turn};
use std::io::{BufRead, IsTerminal};

/// Arguments of `hone chat`.
#[derive(Debug, clap::Args)]
pub struct Chat {
    #[command(flatten)]
    model: ModelArgs,
    /// A system message at the start
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Longest conversation in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = at_least_two)]
    context: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// A context has room for a question and an answer.
fn at_least_two(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0 | 1) => Err("a question and its answer have at least 2 tokens".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("not a whole number".into()),
    }
}

impl Chat {
    /// Answers line after line, until there is none.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        self.sampling.check()?;
        let open = self.model.open(talk)?;
        let model = self
            .model
            .load(&open, self.context.min(open.weights.config().context_len))?;
        let generation = self.sampling.generation(&open.renderer);
        let interrupt = Interrupt::listen(Talk::new(true))?;
        interrupt.leave_at_once();
        let mut session = Session::new(&model);
        let mut turns: Vec<Turn> = self.opening();
        talk.say("type a line; /reset forgets, /quit or Ctrl-D leaves, Ctrl-C stops an answer");

        while let Some(line) = read_line()? {
            match line.trim() {
                "" => continue,
                "/quit" => break,
                "/reset" => {
                    turns = self.opening();
                    talk.say("forgotten");
                    continue;
                }
                text => turns.push(Turn::new(Role::User, text)),
            }
            let prompt = open
                .renderer
                .encode_prompt(&Conversation::new(turns.clone()))?;
            let mut stream = open.renderer.tokenizer().stream(true);
            let mut spoken = Ok(());
            interrupt.clear();
            let answer = session.answer(&model, &prompt, &generation, |id| {
                spoken = speak(&mut stream, id);
                spoken.is_ok() && !interrupt.is_raised()
            });
            interrupt.leave_at_once();
            let answer = match answer {
                Err(full @ GenerateError::PromptTooLong { .. }) => {
                    talk.say(format!("({full}: /reset begins anew)"));
                    turns.pop();
                    continue;
                }
                answered => answered?,
            };
            spoken?;
            screen::data_piece(&(stream.finish()? + "\n"))?;
            turns.push(Turn::new(
                Role::Assistant,
                open.renderer.tokenizer().decode(&answer.ids, true)?,
            ));
            match answer.stop {
                Stop::Length => talk.say(format!(
                    "(cut at --max-tokens {})",
                    self.sampling.max_tokens
                )),
                Stop::Context => talk.say(format!(
                    "(the context of {} tokens is full: /reset)",
                    model.max_positions()
                )),
                Stop::Token(_) | Stop::Caller => {}
            }
        }
        Ok(Exit::Done)
    }

    fn opening(&self) -> Vec<Turn> {
        self.system
            .iter()
            .map(|text| Turn::new(Role::System, text.clone()))
            .collect()
    }
}

/// The next line; `None` at the end. A prompt is shown only to a person.
fn read_line() -> Result<Option<String>> {
    if std::io::stdin().is_terminal() {
        Talk::prompt("> ");
    }
    let mut line = String::new();
    let num_bytes = std::io::stdin().lock().read_line(&mut line)?;
    Ok((num_bytes > 0).then_some(line))
}
