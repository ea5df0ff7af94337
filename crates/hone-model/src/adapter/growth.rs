//! Tokens that an adapter brings: its users added them to the tokenizer, and gave the base rows for them before it was trained.

use super::raw::{RawAdapter, RawTensor};
use super::settings::Settings;
use super::spelling::{Part, read_name};
use crate::weights::{DecoderConfig, NewRows};

impl RawAdapter {
    /// Rows for tokens that `base` does not have and this adapter does: in whole embeddings and heads, in a low-rank pair of
    /// the embedding, or as single trained rows, one after another from the first that `base` does not have. Of a tokenizer
    /// with `known` tokens single rows need not be one after another.
    ///
    /// Rows that are not trained come from the copy of the grown matrix that PEFT saves beside the adapter; where it saves
    /// none they are the mean of all rows, around which transformers draws them as well.
    pub fn new_rows(&self, base: &DecoderConfig, known: usize) -> Option<NewRows> {
        let (embedding, head) = (base.names.embedding.0, base.names.head.module);
        let rows = |module: &str| {
            let copies = self.whole(module).into_iter();
            copies.filter_map(|tensor| tensor.shape.first().copied())
        };
        let low_rank = self.part(embedding, &[Part::EmbeddingA]);
        let low_rank = low_rank.filter_map(|tensor| tensor.shape.get(1).copied());
        let ends = rows(embedding).chain(rows(head)).chain(low_rank).max();
        let all = ends.unwrap_or(0).max(self.named(base, known));
        let tokens = all.checked_sub(base.vocab_size).filter(|more| *more > 0)?;
        let own = |module: &str| {
            let copies = self.whole(module).into_iter();
            let mut grown = copies.filter(|tensor| tensor.shape == [all, base.d_model]);
            let numbers = grown.find_map(|tensor| self.numbers(tensor))?;
            Some(numbers[base.vocab_size * base.d_model..].to_vec())
        };
        Some(NewRows {
            tokens,
            embedding: own(embedding),
            head: own(head).filter(|_| !base.tied_head),
        })
    }

    /// How many tokens its trained rows ask for. A number alone costs nothing to write and memory to believe, so one counts
    /// only if those before it are there too.
    fn named(&self, base: &DecoderConfig, known: usize) -> usize {
        let settings = Settings::read(&self.config, &mut Vec::new());
        let named = settings.token_ids.iter().chain(&settings.head_ids);
        let mut ids: Vec<usize> = named.map(|id| *id as usize).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut all = base.vocab_size;
        for id in ids.into_iter().filter(|id| *id >= base.vocab_size) {
            if id == all || id < known {
                all = id + 1;
            }
        }
        all
    }

    /// The whole matrices of a module that PEFT saves: below an adapter, below trained rows, and in place of the base's.
    fn whole(&self, module: &str) -> Vec<&RawTensor> {
        let wholes = self.part(module, &[Part::BaseWeight, Part::Weight]);
        wholes.filter(|tensor| tensor.shape.len() == 2).collect()
    }

    fn part(&self, module: &str, parts: &[Part]) -> impl Iterator<Item = &RawTensor> {
        self.tensors.iter().filter(move |tensor| {
            let spelled = read_name(&tensor.name);
            spelled.is_some_and(|spelled| spelled.module == module && parts.contains(&spelled.part))
        })
    }
}
