//! `hone generate`: one answer to one prompt.

use super::failure::{Exit, Refusal};
use super::model::ModelArgs;
use crate::screen::{self, Talk};
use anyhow::Result;
use hone_model::{Generation, Sampling, Session};
use hone_text::{Conversation, Renderer, Role, Turn};
use serde_json::json;
use std::io::Read;

/// Arguments of `hone generate`.
#[derive(Debug, clap::Args)]
pub struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    /// What to answer; `-` reads it from stdin
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// A system message before it
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as plain text, without the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// End with one JSON object instead of streaming
    #[arg(long)]
    json: bool,
}

/// Flags that choose among tokens.
#[derive(Debug, Clone, clap::Args)]
pub struct SamplingArgs {
    /// Longest answer in tokens
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub max_tokens: usize,
    /// 0 takes the likeliest token, 1 samples as the model believes
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = zero_or_more)]
    pub temperature: f32,
    /// Sample from the likeliest tokens that hold this much probability
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = probability)]
    pub top_p: f32,
    /// Sample from this many likeliest tokens; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: usize,
    /// Seed of the sampling
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
}

/// A count of tokens that leaves room for one.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("an answer has at least 1 token".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("not a whole number".into()),
    }
}

fn zero_or_more(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "not a number".to_string())?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err("must be 0 or more".into())
    }
}

fn probability(text: &str) -> Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "not a number".to_string())?;
    if number > 0.0 && number <= 1.0 {
        Ok(number)
    } else {
        Err("must be above 0 and at most 1".into())
    }
}

impl SamplingArgs {
    /// Refuses flags that would change nothing: at temperature 0 there is nothing to choose among.
    pub fn check(&self) -> Result<(), Refusal> {
        let idle = [("--top-p", self.top_p != 1.0), ("--top-k", self.top_k != 0)];
        match idle.into_iter().find(|(_, is_set)| *is_set) {
            Some((flag, _)) if self.temperature == 0.0 => Err(Refusal::usage(format!(
                "{flag} changes nothing at temperature 0, which takes the likeliest token"
            ))
            .hint(format!("--temperature 0.7 samples; or leave out {flag}"))),
            _ => Ok(()),
        }
    }

    /// These flags as the engine wants them.
    pub fn generation(&self, renderer: &Renderer) -> Generation {
        let Self {
            temperature,
            top_p,
            top_k,
            seed,
            ..
        } = *self;
        Generation {
            max_new_tokens: self.max_tokens,
            stop_ids: renderer.stop_ids().to_vec(),
            sampling: Sampling {
                temperature,
                top_p,
                top_k,
                seed,
            },
        }
    }
}

impl Generate {
    /// Answers.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        self.sampling.check()?;
        let open = self.model.open(talk)?;
        let prompt = self.prompt_ids(&open.renderer)?;
        let room = prompt.len().saturating_add(self.sampling.max_tokens);
        let model = self
            .model
            .load(&open, room.min(open.weights.config().context_len))?;
        let generation = self.sampling.generation(&open.renderer);

        let mut stream = open.renderer.tokenizer().stream(true);
        let mut spoken = Ok(());
        let answer = Session::new(&model).answer(&model, &prompt, &generation, |id| {
            if !self.json {
                spoken = speak(&mut stream, id);
            }
            spoken.is_ok()
        })?;
        spoken?;
        if self.json {
            let text = open.renderer.tokenizer().decode(&answer.ids, true)?;
            screen::data_json(
                &json!({ "text": text, "token_ids": answer.ids, "stop": answer.stop.to_string() }),
            )?;
        } else {
            screen::data_piece(&(stream.finish()? + "\n"))?;
        }
        Ok(Exit::Done)
    }

    fn prompt_ids(&self, renderer: &Renderer) -> Result<Vec<u32>> {
        let mut prompt = self.prompt.clone();
        if prompt == "-" {
            prompt.clear();
            std::io::stdin().read_to_string(&mut prompt)?;
        }
        if prompt.is_empty() {
            let refusal = Refusal::usage("the prompt is empty");
            return Err(match self.prompt.as_str() {
                "-" => refusal.hint("nothing came from stdin, which --prompt - reads"),
                _ => refusal.hint("write something after --prompt"),
            }
            .into());
        }
        if self.raw {
            let tokenizer = renderer.tokenizer();
            let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
            return Ok(bos.into_iter().chain(tokenizer.encode(&prompt)?).collect());
        }
        let system = self
            .system
            .iter()
            .map(|text| Turn::new(Role::System, text.clone()));
        let turns = system.chain([Turn::new(Role::User, prompt)]);
        Ok(renderer.encode_prompt(&Conversation::new(turns))?)
    }
}

/// Writes what a token adds to the text.
pub fn speak(stream: &mut hone_text::StreamDecoder<'_>, id: u32) -> Result<()> {
    Ok(screen::data_piece(&stream.push(id)?)?)
}
