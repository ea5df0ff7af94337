//! Where tokens come in: rows of the base's embedding, and what an adapter makes of them.

use hone_tensor::Tensor;

use super::Pass;
use crate::adapter::{Adapter, TokenRows};

impl<'a> Pass<'a> {
    /// What enters the first layer, `[ids, d_model]`.
    pub fn embed(&self, ids: &[u32], positions: &[u32]) -> Tensor {
        let (device, decoder) = (self.device(), self.decoder);
        let mut hidden = self.rows(ids);
        if decoder.config.embedding_scale != 1.0 {
            device.scale(&mut hidden, decoder.config.embedding_scale);
        }
        if let Some(learned) = &decoder.positions {
            let mut rows = device.empty(ids.len(), decoder.config.d_model);
            device.embed(positions, learned, &mut rows);
            device.add(&mut hidden, &rows);
        }
        hidden
    }

    /// Rows of the embedding, as the adapters make them.
    fn rows(&self, ids: &[u32]) -> Tensor {
        let (device, width) = (self.device(), self.decoder.config.d_model);
        let mut hidden = device.empty(ids.len(), width);
        device.embed(ids, &self.decoder.embedding, &mut hidden);
        for (adapter, weight) in self.active() {
            let (trained, parameters) = (adapter.embedding(), adapter.parameters());
            if let Some(offset) = trained.whole {
                let window = parameters.window(offset, self.decoder.config.vocab_size, width);
                device.gather_window(window, &places(ids), &mut hidden);
            }
            if let Some(low) = &trained.low_rank {
                let narrow = self.narrow_rows(adapter, ids);
                let b = parameters.window(low.b_offset, width, low.rank);
                let scale = weight * low.scale;
                device.matmul(narrow.view(), b.t(), scale, hidden.view_mut(), true);
            }
            if let Some(rows) = &trained.token_rows {
                let (at, which) = found(ids, rows);
                let mut own = device.empty(at.len(), width);
                let window = parameters.window(rows.offset, rows.ids.len(), width);
                device.gather_window(window, &which, &mut own);
                for (from, to) in at.into_iter().enumerate() {
                    device.copy_rows(&own, from, 1, &mut hidden, to);
                }
            }
        }
        hidden
    }

    /// Whether the way back goes on to the embedding.
    pub(super) fn trains_embedding(&self) -> bool {
        self.active()
            .any(|(adapter, _)| adapter.embedding().is_trained())
    }

    /// Adds the gradients of what is trained at the embedding.
    pub(super) fn embed_backward(&self, ids: &[u32], dhidden: &Tensor, grads: &mut Tensor) {
        if !self.trains_embedding() {
            return;
        }
        let (device, width) = (self.device(), self.decoder.config.d_model);
        let scale = self.decoder.config.embedding_scale;
        let scaled = (scale != 1.0).then(|| {
            let mut scaled = device.empty(dhidden.rows(), width);
            device.copy_rows(dhidden, 0, dhidden.rows(), &mut scaled, 0);
            device.scale(&mut scaled, scale);
            scaled
        });
        let dhidden = scaled.as_ref().unwrap_or(dhidden);
        for (adapter, weight) in self.active() {
            let (trained, parameters) = (adapter.embedding(), adapter.parameters());
            let vocab_size = self.decoder.config.vocab_size;
            if let Some(offset) = trained.whole {
                let window = grads.window_mut(offset, vocab_size, width);
                device.scatter_add_window(dhidden, &places(ids), window);
            }
            if let Some(low) = &trained.low_rank {
                let (scale, rank) = (weight * low.scale, low.rank);
                let narrow = self.narrow_rows(adapter, ids);
                let db = grads.window_mut(low.b_offset, width, rank);
                device.matmul(dhidden.view().t(), narrow.view(), scale, db, true);
                let b = parameters.window(low.b_offset, width, rank);
                let mut dnarrow = device.empty(ids.len(), rank);
                device.matmul(dhidden.view(), b, scale, dnarrow.view_mut(), false);
                let da = grads.window_mut(low.a_offset, vocab_size, rank);
                device.scatter_add_window(&dnarrow, &places(ids), da);
            }
            if let Some(rows) = &trained.token_rows {
                let (at, which) = found(ids, rows);
                let own = self.gather(dhidden, &at);
                let window = grads.window_mut(rows.offset, rows.ids.len(), width);
                device.scatter_add_window(&own, &which, window);
            }
        }
    }

    /// The low-rank numbers of tokens, `[ids, rank]`.
    fn narrow_rows(&self, adapter: &Adapter, ids: &[u32]) -> Tensor {
        let low = adapter.embedding().low_rank.as_ref();
        let low = low.expect("only an embedding with a low-rank pair is asked");
        let mut narrow = self.device().empty(ids.len(), low.rank);
        let vocab_size = self.decoder.config.vocab_size;
        let window = adapter
            .parameters()
            .window(low.a_offset, vocab_size, low.rank);
        self.device()
            .gather_window(window, &places(ids), &mut narrow);
        narrow
    }
}

fn places(ids: &[u32]) -> Vec<usize> {
    ids.iter().map(|&id| id as usize).collect()
}

/// Where trained tokens stand among `ids`, and which of them each is.
fn found(ids: &[u32], rows: &TokenRows) -> (Vec<usize>, Vec<usize>) {
    let place = |(at, id): (usize, &u32)| Some((at, rows.ids.binary_search(id).ok()?));
    ids.iter().enumerate().filter_map(place).unzip()
}
