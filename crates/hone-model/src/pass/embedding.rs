//! Where tokens come in: rows of the base's embedding, and what an adapter makes of them.

use hone_tensor::{Index, Tensor};

use super::Pass;
use super::shares::Grads;

impl<'a> Pass<'a> {
    /// What enters the first layer, `[ids, d_model]`.
    pub fn embed(&self, ids: &Index, positions: &Index) -> Tensor {
        let (device, decoder) = (self.device(), self.decoder);
        let mut hidden = self.rows(ids);
        if decoder.config.embedding_scale != 1.0 {
            device.scale(&mut hidden, decoder.config.embedding_scale);
        }
        if let Some(learned) = &decoder.positions {
            let mut rows = device.empty(ids.len(), decoder.config.d_model);
            device.embed(positions.all(), learned, &mut rows);
            device.add(&mut hidden, &rows);
        }
        hidden
    }

    /// Rows of the embedding, as the adapters make them.
    fn rows(&self, ids: &Index) -> Tensor {
        let (device, width) = (self.device(), self.decoder.config.d_model);
        let mut hidden = device.empty(ids.len(), width);
        device.embed(ids.all(), &self.decoder.embedding, &mut hidden);
        for &(adapter, weight) in self.active() {
            for rows in adapter.embedding() {
                rows.forward(adapter.parameters(), ids, weight, &mut hidden);
            }
        }
        hidden
    }

    /// Whether the backward pass goes on to the embedding.
    pub(super) fn trains_embedding(&self) -> bool {
        self.active()
            .iter()
            .any(|(adapter, _)| !adapter.embedding().is_empty())
    }

    /// Adds the gradients of what is trained at the embedding.
    pub(super) fn embed_backward(&self, ids: &Index, dhidden: &Tensor, grads: &mut Grads) {
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
        for &(adapter, weight) in self.active() {
            for rows in adapter.embedding() {
                rows.backward(adapter.parameters(), ids, weight, dhidden, grads.of(0));
            }
        }
    }
}
