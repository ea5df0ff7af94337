//! Ids to text, one id at a time, for a reply that is shown while it is made.
//!
//! A character may be spread over several ids, and a decoder may treat the first id of a text
//! differently (a leading space is dropped). So each step decodes a short window that starts before
//! the new ids, and shows what the window gained once it no longer ends inside a character.

use crate::{Tokenizer, TokenizerError};

/// Text that arrives id by id; holds back a character until it is whole.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    ids: Vec<u32>,
    /// Start of the window that is decoded.
    window: usize,
    /// Ids before this one are already shown.
    shown: usize,
}

impl<'a> StreamDecoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self {
            tokenizer,
            skip_special,
            ids: Vec::new(),
            window: 0,
            shown: 0,
        }
    }

    /// Takes one id and returns the text that became certain, which may be empty.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let (before, after) = self.decode_window()?;
        let Some(new) = after.strip_prefix(&before) else {
            return Ok(String::new());
        };
        if new.is_empty() || new.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.window = self.shown;
        self.shown = self.ids.len();
        Ok(new.to_owned())
    }

    /// What is still held back: an incomplete character shows as U+FFFD.
    pub fn finish(self) -> Result<String, TokenizerError> {
        let (before, after) = self.decode_window()?;
        Ok(after.strip_prefix(&before).unwrap_or_default().to_owned())
    }

    fn decode_window(&self) -> Result<(String, String), TokenizerError> {
        let decode = |ids: &[u32]| self.tokenizer.decode(ids, self.skip_special);
        Ok((
            decode(&self.ids[self.window..self.shown])?,
            decode(&self.ids[self.window..])?,
        ))
    }
}
