//! Tokens that an adapter brings: its users added them to the tokenizer, and gave the base rows for them before it was trained.

use super::raw::{RawAdapter, RawTensor};
use super::spelling::{Role, read_name};
use crate::arch::DecoderConfig;
use crate::weights::NewRows;

impl RawAdapter {
    /// Rows for tokens that `base` does not have and this adapter does: in whole embeddings and heads, or as single trained
    /// rows, one after another from the first that `base` does not have. Of a tokenizer with `known` tokens single rows need
    /// not be one after another. A number alone asks for nothing: rows count where there are as many in the file.
    ///
    /// Rows that are not trained come from the copy of the grown matrix that PEFT saves beside the adapter; where it saves
    /// none they are the mean of all rows, around which transformers draws them as well.
    pub fn new_rows(&self, base: &DecoderConfig, known: usize) -> Option<NewRows> {
        let (embedding, head) = (base.names.embedding.0, base.names.head.module);
        let copies = [embedding, head].map(|module| self.whole(module, base));
        let ends = copies.iter().flatten().map(|tensor| tensor.shape[0]).max();
        let all = ends.unwrap_or(0).max(self.named(base, known));
        let tokens = all.checked_sub(base.vocab_size).filter(|more| *more > 0)?;
        let own = |copies: &[&RawTensor]| {
            let mut grown = copies.iter().filter(|tensor| tensor.shape[0] == all);
            let numbers = grown.find_map(|tensor| self.numbers(tensor))?;
            Some(numbers[base.vocab_size * base.d_model..].to_vec())
        };
        Some(NewRows {
            tokens,
            embedding: own(&copies[0]),
            head: own(&copies[1]).filter(|_| !base.tied_head),
        })
    }

    /// How many tokens there are if its single rows are trained rows of the model.
    fn named(&self, base: &DecoderConfig, known: usize) -> usize {
        let mut ids: Vec<usize> = Vec::new();
        for (module, named) in [
            (base.names.embedding.0, &self.settings.token_ids),
            (base.names.head.module, &self.settings.head_ids),
        ] {
            let mut rows = self.part(module, &[Role::TokenRows]);
            if rows.any(|tensor| tensor.shape == [named.len(), base.d_model]) {
                ids.extend(named.iter().map(|id| *id as usize));
            }
        }
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
    fn whole(&self, module: &str, base: &DecoderConfig) -> Vec<&RawTensor> {
        let wholes = self.part(module, &[Role::BaseWeight, Role::Whole]);
        let is_wide =
            |tensor: &&RawTensor| matches!(tensor.shape[..], [_, width] if width == base.d_model);
        wholes.filter(is_wide).collect()
    }

    fn part(&self, module: &str, parts: &[Role]) -> impl Iterator<Item = &RawTensor> {
        self.tensors.iter().filter(move |tensor| {
            let spelled = read_name(&tensor.name);
            spelled.is_some_and(|spelled| spelled.module == module && parts.contains(&spelled.part))
        })
    }
}
