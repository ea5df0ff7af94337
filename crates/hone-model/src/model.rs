//! A base and, if there is one, the adapter on it.

use hone_tensor::{Device, Tensor, TensorError};

use crate::adapter::Adapter;
use crate::batch::Packed;
use crate::decoder::{BaseFormat, Decoder, LoadError};
use crate::generate::GenerateError;
use crate::keep::Activations;
use crate::layout::{Layout, Shortcuts};
use crate::pass::{Pass, Way};
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
    /// In which form they are kept; bf16 is the one option that changes numbers.
    pub activations: Activations,
    /// Work that is left out because it would change nothing.
    pub shortcuts: Shortcuts,
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
        let layout = self.layout(&batch, Shortcuts::ALL);
        self.device().scope(|| self.pass().nats(&layout))
    }

    /// Negative log-likelihood of each target, in nats; adds the gradient of their sum to `grads`, a flat
    /// tensor laid out like the adapter's parameters.
    pub fn loss_and_grads(
        &self,
        batch: Packed,
        options: StepOptions,
        grads: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        let (pass, layout) = self.step(&batch, options);
        let way = self.way(options);
        self.device().scope(|| {
            let entry = pass.embed(&layout.ids, &layout.rows.positions);
            pass.nats_and_grads(&layout, (0, entry), way, grads)
        })
    }

    /// The first layer with an adapter, or the number of layers. What enters it depends on the tokens and
    /// the base alone, so it is the same in every epoch.
    pub fn lowest_adapted_layer(&self) -> usize {
        let layers = self.config().num_layers;
        self.adapter()
            .map_or(layers, |a| a.lowest_layer().min(layers))
    }

    /// What enters the lowest adapted layer, `[tokens, d_model]`.
    pub fn entry(&self, batch: Packed) -> Tensor {
        let layout = self.layout(&batch, Shortcuts::ALL);
        self.device().scope(|| {
            let hidden = self.pass().below(self.lowest_adapted_layer(), &layout);
            self.pass().gather(&hidden, &layout.row_of)
        })
    }

    /// As [`Model::loss_and_grads`], with what [`Model::entry`] gave for the same tokens: the layers below
    /// the lowest adapter are not computed.
    pub fn loss_and_grads_above(
        &self,
        entry: &Tensor,
        batch: Packed,
        options: StepOptions,
        grads: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        let (pass, layout) = self.step(&batch, options);
        let (start, way) = (self.lowest_adapted_layer(), self.way(options));
        self.device().scope(|| {
            let entry = pass.gather(entry, &layout.sources);
            let lowest = way.lowest.max(start);
            pass.nats_and_grads(&layout, (start, entry), Way { lowest, ..way }, grads)
        })
    }

    fn step(&self, batch: &Packed, options: StepOptions) -> (Pass<'_>, Layout) {
        let dropout = self.adapter().map_or(0.0, |a| a.config().dropout);
        let shortcuts = match dropout > 0.0 {
            true => options.shortcuts.with_rows_apart(),
            false => options.shortcuts,
        };
        let pass = Pass {
            dropout: Some((dropout, options.dropout_seed)),
            ..self.pass()
        };
        (pass, self.layout(batch, shortcuts))
    }

    /// Where positions are learned, equal tokens enter the first layer differently.
    fn layout(&self, batch: &Packed, shortcuts: Shortcuts) -> Layout {
        let distinct_tokens = shortcuts.distinct_tokens && self.config().is_first_layer_blind();
        let shortcuts = Shortcuts {
            distinct_tokens,
            ..shortcuts
        };
        Layout::new(batch, shortcuts)
    }

    fn way(&self, options: StepOptions) -> Way {
        let lowest = match options.shortcuts.lowest_layer {
            true => self.lowest_adapted_layer(),
            false => 0,
        };
        Way {
            kept_layers: options.kept_layers,
            activations: options.activations,
            lowest,
        }
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
        let layout = Layout::new(&batch, Shortcuts::NONE);
        let all: Vec<usize> = (0..ids.len()).collect();
        Ok(self.device().scope(|| {
            let hidden = self.pass().below(self.config().num_layers, &layout);
            self.pass().logits(&hidden, &all).to_vec()
        })?)
    }
}
