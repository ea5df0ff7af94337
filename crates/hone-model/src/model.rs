//! A base and, if there is one, the adapter on it.

use hone_tensor::{Device, Tensor, TensorError};

use crate::adapter::Adapter;
use crate::batch::Packed;
use crate::decoder::{BaseFormat, Decoder, LoadError};
use crate::generate::GenerateError;
use crate::pass::{Pass, Rows};
use crate::weights::{BaseWeights, DecoderConfig};

/// A frozen decoder with at most one adapter.
#[derive(Debug)]
pub struct Model {
    decoder: Decoder,
    adapter: Option<Adapter>,
}

/// How one micro-batch is worked on; the numbers do not depend on it, dropout aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// Layers, counted from the top, that keep their activations instead of computing them again.
    pub kept_layers: usize,
    /// Where dropout masks come from; unused at dropout zero.
    pub dropout_seed: u64,
}

impl Model {
    /// Takes a base into memory for sequences of up to `max_positions` tokens.
    pub fn load(
        base: &BaseWeights,
        device: &Device,
        format: BaseFormat,
        max_positions: usize,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            decoder: Decoder::load(base, device, format, max_positions)?,
            adapter: None,
        })
    }

    /// Puts an adapter on the base, in place of any other.
    pub fn attach(&mut self, adapter: Adapter) {
        self.adapter = Some(adapter);
    }

    /// Takes the adapter off.
    pub fn detach(&mut self) -> Option<Adapter> {
        self.adapter.take()
    }

    /// The adapter, if there is one.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The adapter, for the optimiser.
    pub fn adapter_mut(&mut self) -> Option<&mut Adapter> {
        self.adapter.as_mut()
    }

    /// The frozen network.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The shape of the network.
    pub fn config(&self) -> &DecoderConfig {
        self.decoder.config()
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        self.decoder.device()
    }

    /// The longest sequence it was loaded for.
    pub fn max_positions(&self) -> usize {
        self.decoder.max_positions()
    }

    pub(crate) fn pass(&self) -> Pass<'_> {
        Pass {
            decoder: &self.decoder,
            adapter: self.adapter.as_ref(),
            dropout: None,
        }
    }

    /// Negative log-likelihood of each target of the batch, in nats.
    pub fn nats(&self, batch: Packed) -> Result<Vec<f64>, TensorError> {
        self.device().scope(|| self.pass().nats(batch))
    }

    /// Negative log-likelihood of each target, in nats; adds the gradient of their sum to `grads`, a flat
    /// tensor laid out like the adapter's parameters.
    pub fn loss_and_grads(
        &self,
        batch: Packed,
        options: StepOptions,
        grads: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        let dropout = self
            .adapter()
            .map(|adapter| (adapter.config().dropout, options.dropout_seed));
        let pass = Pass {
            dropout,
            ..self.pass()
        };
        self.device()
            .scope(|| pass.nats_and_grads(batch, options.kept_layers, grads))
    }

    /// Logits after every token of one sequence, `[ids, vocabulary]` in row-major order.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>, GenerateError> {
        self.check_ids(ids)?;
        if ids.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if ids.len() > self.max_positions() {
            return Err(GenerateError::PromptTooLong {
                tokens: ids.len(),
                limit: self.max_positions(),
            });
        }
        let batch = Packed {
            ids,
            boundaries: &[0, ids.len()],
            rows: &[],
            targets: &[],
        };
        let rows = Rows {
            positions: batch.positions(),
            spans: batch.spans(),
        };
        let all: Vec<usize> = (0..ids.len()).collect();
        Ok(self.device().scope(|| {
            let pass = self.pass();
            let last = |hidden, layer| pass.layer(layer, &hidden, &rows, None, false).0;
            let hidden = (0..self.config().num_layers).fold(pass.embed(ids), last);
            pass.logits(&hidden, &all).to_vec()
        })?)
    }
}
