//! A conversation that remembers: what a new prompt shares with the last one is not computed again.

use super::cache::{Cache, Piece, part_of};
use super::sampling::Answer;
use super::{Completion, GenerateError, Generation, Stop};
use crate::finite::not_finite;
use crate::model::Model;

/// Tokens of a prompt that are read at a time: the memory for more would not make it faster.
const TOKENS: usize = 512;

/// One conversation with the adapters that are on.
#[derive(Debug)]
pub struct Session {
    cache: Cache,
    ids: Vec<u32>,
}

impl Session {
    /// Nothing said yet.
    pub fn new(model: &Model) -> Self {
        Self {
            cache: Cache::new(model, 1),
            ids: vec![],
        }
    }

    /// Answers `prompt`, the whole conversation so far; `say` hears each token and may end the answer.
    pub fn answer(
        &mut self,
        model: &Model,
        prompt: &[u32],
        settings: &Generation,
        mut say: impl FnMut(u32) -> bool + Send,
    ) -> Result<Completion, GenerateError> {
        model.check_prompt(prompt)?;
        let mut answer = Answer::new(settings, 0, model.max_positions() - prompt.len());
        if settings.max_new_tokens == 0 {
            return Ok(answer.ended(Stop::Length));
        }
        let device = model.device().clone();
        device.scope(|| {
            let mut logits = self.read_prompt(model, prompt)?;
            loop {
                if not_finite(&logits).is_some() {
                    let cause = model.why_not_finite(&[prompt, &answer.ids].concat())?;
                    return Err(GenerateError::NotFinite { prompt: 0, cause });
                }
                let (token, stop) = answer.take(&logits, settings);
                let goes_on = token.is_none_or(&mut say);
                if let Some(stop) = stop.or((!goes_on).then_some(Stop::Caller)) {
                    return Ok(answer.ended(stop));
                }
                logits = self.read(model, token.as_slice(), true)?;
                self.ids.extend(token);
            }
        })
    }

    /// Reads what is new in `prompt`; at least its last token, whose logits are wanted.
    fn read_prompt(&mut self, model: &Model, prompt: &[u32]) -> Result<Vec<f32>, GenerateError> {
        let pairs = self.ids.iter().zip(prompt);
        let same = pairs.take_while(|(a, b)| a == b).count();
        let mut read = self.cache.rewind(0, same.min(prompt.len() - 1));
        // A reading that is given up halfway leaves what came before it.
        self.ids.truncate(read);
        loop {
            let part = part_of(prompt.len() - read, TOKENS);
            let new = &prompt[read..read + part];
            read += part;
            let logits = self.read(model, new, read == prompt.len())?;
            self.ids.extend(new);
            if read == prompt.len() {
                return Ok(logits);
            }
        }
    }

    /// Reads tokens; the logits after the last of them, if they are wanted.
    fn read(
        &mut self,
        model: &Model,
        ids: &[u32],
        is_asked: bool,
    ) -> Result<Vec<f32>, GenerateError> {
        let piece = Piece {
            slot: 0,
            share: 0,
            ids,
            next: is_asked.then(|| ids.len() - 1),
            scored: vec![],
        };
        let shares = model.pass().shares;
        let read = self.cache.read(model, shares, &[piece]);
        if read.is_err() {
            self.cache.rewind(0, self.ids.len());
        }
        Ok(read?.logits.pop().unwrap_or_default())
    }
}
