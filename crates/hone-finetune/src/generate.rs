//! A model's reply to a conversation, piece by piece.

use hone_model::{Generation, Model, Sampling, Session, Stop};
use hone_text::Conversation;
use hone_train::SettingError;

use crate::base::OpenBase;
use crate::control::Control;
use crate::error::FineTuneError;

/// How a reply is generated; the defaults take the most likely token each time.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// At most this many tokens.
    pub max_new_tokens: usize,
    /// 0 takes the most likely token; 1 samples from the model's own distribution.
    pub temperature: f32,
    /// Sample from the smallest set of tokens that holds this much probability; above 0 and at most 1.
    pub top_p: f32,
    /// Sample from at most this many tokens; 0 means all.
    pub top_k: usize,
    /// Where the randomness comes from; the same seed gives the same reply.
    pub seed: u64,
    /// Texts that end the reply where they come up in it, and are no part of it. The model's own end tokens always do.
    pub stop: Vec<String>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: 0,
            stop: vec![],
        }
    }
}

impl GenerateOptions {
    /// Refuses settings that nothing can be sampled with.
    ///
    /// # Errors
    /// The first setting that is out of its range, by its name.
    pub fn check(&self) -> Result<(), SettingError> {
        let temperature = self.temperature;
        let is_right = temperature.is_finite() && temperature >= 0.0;
        SettingError::unless(
            is_right,
            "temperature",
            temperature,
            "a number of at least 0",
        )?;
        let is_right = self.top_p > 0.0 && self.top_p <= 1.0;
        SettingError::unless(is_right, "top_p", self.top_p, "above 0 and at most 1")?;
        let is_right = self.stop.iter().all(|text| !text.is_empty());
        SettingError::unless(
            is_right,
            "stop",
            "an empty text",
            "texts of at least one character",
        )
    }
}

/// A reply, and why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// What was said.
    pub text: String,
    /// Tokens that were generated for it.
    pub tokens: usize,
    /// Why it ended.
    pub end: ReplyEnd,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyEnd {
    /// The model ended it.
    Ended,
    /// A text of [`GenerateOptions::stop`] came up.
    StopText,
    /// It has as many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// The caller stopped it.
    Stopped,
}

/// See `PeftModel::generate`.
pub(crate) fn generate<C: Into<Control>>(
    (open, model): (&OpenBase, &Model),
    conversation: &Conversation,
    options: &GenerateOptions,
    mut on_text: impl FnMut(&str) -> C + Send,
) -> Result<Reply, FineTuneError> {
    options.check()?;
    let renderer = &open.renderer;
    let prompt = renderer.encode_prompt(conversation)?;
    let settings = Generation {
        max_new_tokens: options.max_new_tokens,
        stop_ids: renderer.stop_ids().to_vec(),
        sampling: Sampling {
            temperature: options.temperature,
            top_p: options.top_p,
            top_k: options.top_k,
            seed: options.seed,
        },
    };
    let mut stream = renderer.tokenizer().stream(true);
    let mut said = Said::new(&options.stop);
    let mut broken = Ok(());
    let mut is_stopped = false;
    let mut hear = |piece: Option<&str>| {
        if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
            let control: Control = on_text(piece).into();
            is_stopped |= control == Control::Stop;
        }
        is_stopped
    };
    let answer = Session::new(model).answer(model, &prompt, &settings, |id| {
        let piece = match stream.push(id) {
            Ok(piece) => piece,
            Err(error) => {
                broken = Err(error);
                return false;
            }
        };
        let is_stopped = hear(said.push(&piece));
        !(is_stopped || said.is_ended)
    })?;
    broken?;
    if !said.is_ended {
        let last = stream.finish()?;
        hear(said.push(&last));
        hear(said.finish());
    }
    let end = match answer.stop {
        _ if is_stopped => ReplyEnd::Stopped,
        _ if said.is_ended => ReplyEnd::StopText,
        Stop::Token(_) => ReplyEnd::Ended,
        Stop::Length => ReplyEnd::Length,
        Stop::Context => ReplyEnd::Context,
        Stop::Caller => ReplyEnd::Stopped,
    };
    Ok(Reply {
        text: said.text[..said.told].to_owned(),
        tokens: answer.ids.len(),
        end,
    })
}

/// A reply as far as it has come; what may yet turn out to be the beginning of a stop text is held back.
struct Said<'a> {
    text: String,
    /// Bytes that the caller has heard.
    told: usize,
    stops: &'a [String],
    /// Whether a stop text came up.
    is_ended: bool,
}

impl<'a> Said<'a> {
    fn new(stops: &'a [String]) -> Self {
        Self {
            text: String::new(),
            told: 0,
            stops,
            is_ended: false,
        }
    }

    /// Takes the next piece; returns what may be told now.
    fn push(&mut self, piece: &str) -> Option<&str> {
        self.text.push_str(piece);
        let untold = &self.text[self.told..];
        let found = self.stops.iter().filter_map(|stop| untold.find(stop)).min();
        let end = match found {
            Some(at) => self.told + at,
            None => self.text.len() - self.may_begin_a_stop(untold),
        };
        self.is_ended = found.is_some();
        self.tell(end)
    }

    /// What was held back, now that nothing follows.
    fn finish(&mut self) -> Option<&str> {
        self.tell(self.text.len())
    }

    fn tell(&mut self, end: usize) -> Option<&str> {
        let start = std::mem::replace(&mut self.told, end);
        self.text.get(start..end)
    }

    /// Bytes at the end that a stop text could begin with.
    fn may_begin_a_stop(&self, untold: &str) -> usize {
        let begins = |from: &usize| {
            let end = &untold[*from..];
            self.stops.iter().any(|stop| stop.starts_with(end))
        };
        let mut starts = untold.char_indices().map(|(at, _)| at);
        let longest = starts.find(begins);
        longest.map_or(0, |from| untold.len() - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut said = Said::new(&stops);
        let mut told = Vec::new();
        for piece in pieces {
            told.extend(said.push(piece).map(str::to_owned));
            if said.is_ended {
                return (told, true);
            }
        }
        told.extend(said.finish().map(str::to_owned));
        (told, false)
    }

    #[test]
    fn what_may_begin_a_stop_text_is_held_back_until_it_is_known() {
        let (heard, is_ended) = told(&["END"], &["one E", "N", "D two"]);
        assert_eq!((heard.concat().as_str(), is_ended), ("one ", true));
        let (heard, is_ended) = told(&["END"], &["one E", "N", "T"]);
        assert_eq!((heard.concat().as_str(), is_ended), ("one ENT", false));
        let (heard, _) = told(&[], &["a", "b"]);
        assert_eq!(heard[..2], ["a", "b"]);
        // The first of several decides, and pieces are cut between characters.
        let (heard, _) = told(&["ü", "z"], &["aüz"]);
        assert_eq!(heard.concat(), "a");
    }

    #[test]
    fn settings_that_nothing_can_be_sampled_with_are_named() {
        let fine = GenerateOptions::default();
        fine.check().unwrap();
        let top_p = GenerateOptions {
            top_p: 0.0,
            ..fine.clone()
        };
        assert_eq!(top_p.check().unwrap_err().name, "top_p");
        let hot = GenerateOptions {
            temperature: f32::NAN,
            ..fine
        };
        assert_eq!(hot.check().unwrap_err().name, "temperature");
    }
}
