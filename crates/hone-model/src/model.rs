//! A base and the adapters on it.

use hone_tensor::{Device, Tensor, TensorError};

use crate::adapter::{Adapter, InitError};
use crate::arch::DecoderConfig;
use crate::batch::Packed;
use crate::decoder::{BaseFormat, Decoder, LoadError};
use crate::keep::Activations;
use crate::layout::{Layout, Shortcuts};
use crate::pass::shares::Grads;
use crate::pass::{BackwardOptions, Pass};
use crate::stop_signal::StopSignal;
use crate::weights::BaseWeights;

/// A frozen decoder with any number of adapters, of which one learns.
#[derive(Debug)]
pub struct Model {
    decoder: Decoder,
    format: BaseFormat,
    attached: Vec<AttachedAdapter>,
    stop: StopSignal,
}

/// An adapter on a model.
#[derive(Debug)]
pub(crate) struct AttachedAdapter {
    pub name: String,
    pub adapter: Adapter,
    /// What its contribution is multiplied with; zero while it is off.
    pub weight: f32,
}

/// The name of an adapter that was given none, as in PEFT.
const DEFAULT: &str = "default";

/// Why adapters cannot be used as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ActiveError {
    /// There is none of this name.
    #[error("this model has no adapter `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The weight is no number.
    #[error("the weight of adapter `{name}` is {weight}, and must be a number")]
    BadWeight {
        /// Which adapter.
        name: String,
        /// Its weight.
        weight: f32,
    },
    /// It does more than add, so it cannot be one of several or count in part.
    #[error(
        "adapter `{name}` does more than add low-rank products, so it can only be used alone and whole"
    )]
    NotAdditive {
        /// Which adapter.
        name: String,
    },
    /// It is named twice.
    #[error("adapter `{name}` is named twice")]
    Twice {
        /// Which adapter.
        name: String,
    },
}

impl ActiveError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { available, .. } if available.is_empty() => {
                vec!["add it first, under that name".into()]
            }
            Self::Unknown { available, .. } => {
                vec![format!("adapters of this model: {}", available.join(", "))]
            }
            Self::NotAdditive { .. } => vec!["give it weight 1 and no other beside it".into()],
            Self::BadWeight { .. } | Self::Twice { .. } => vec![],
        }
    }
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
            format,
            attached: vec![],
            stop: StopSignal::never(),
        })
    }

    /// [`Self::load`], with every matrix rounded to the type that it has in `like`, a file of the same model: what that type
    /// alone makes of a base. The rounded matrices are in memory.
    pub fn load_rounded(
        base: &BaseWeights,
        like: &BaseWeights,
        device: &Device,
        format: BaseFormat,
        max_positions: usize,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            decoder: Decoder::load_as(base, device, format, max_positions, Some(like))?,
            format,
            attached: vec![],
            stop: StopSignal::never(),
        })
    }

    /// Puts an adapter on the base, in place of any other. A fresh one takes lengths, biases and whole matrices from
    /// the base; one that starts from the base's vectors goes through [`Self::init_and_attach`] instead.
    pub fn attach(&mut self, adapter: Adapter) {
        self.attached.clear();
        self.add(DEFAULT, adapter);
    }

    /// [`Self::attach`] for a fresh adapter, once its low-rank pairs are what the configuration says they start from;
    /// `base` is the files that this model was loaded from.
    pub fn init_and_attach(
        &mut self,
        mut adapter: Adapter,
        base: &BaseWeights,
    ) -> Result<(), InitError> {
        adapter.decompose(&self.decoder, base, self.format)?;
        self.attach(adapter);
        Ok(())
    }

    /// Takes all adapters off, and gives back the first.
    pub fn detach(&mut self) -> Option<Adapter> {
        let first = self.attached.drain(..).next();
        first.map(|attached| attached.adapter)
    }

    /// Puts an adapter on the base under a name, in place of one of that name. The first one is on at once, later ones
    /// when they are asked for.
    pub fn add(&mut self, name: &str, mut adapter: Adapter) {
        adapter.fill_from(&self.decoder);
        let had = self
            .attached
            .iter()
            .position(|attached| attached.name == name);
        let had = had.map_or(0.0, |place| self.attached.remove(place).weight);
        let weight = match (self.attached.is_empty(), adapter.is_additive()) {
            (true, _) => 1.0,
            // One that does more than add may not stand where an adding one stood.
            (false, is_additive) => f32::from(u8::from(is_additive)) * had,
        };
        let name = name.to_owned();
        self.attached.push(AttachedAdapter {
            name,
            adapter,
            weight,
        });
    }

    /// Takes one adapter off.
    pub fn remove(&mut self, name: &str) -> Option<Adapter> {
        let place = self
            .attached
            .iter()
            .position(|attached| attached.name == name)?;
        Some(self.attached.remove(place).adapter)
    }

    /// Names of the adapters and what each is multiplied with, in the order they were added.
    pub fn adapters(&self) -> Vec<(&str, f32)> {
        let attached = self.attached.iter();
        attached
            .map(|attached| (attached.name.as_str(), attached.weight))
            .collect()
    }

    /// Uses these adapters, each with a weight, and no others: their contributions are added up. No adapter at all
    /// gives the base.
    pub fn set_active(&mut self, active: &[(&str, f32)]) -> Result<(), ActiveError> {
        for (i, (name, weight)) in active.iter().enumerate() {
            let (_, adapter) = self.named(name)?;
            let name = || (*name).to_owned();
            if !weight.is_finite() {
                return Err(ActiveError::BadWeight {
                    name: name(),
                    weight: *weight,
                });
            }
            if active[..i].iter().any(|(other, _)| *other == name()) {
                return Err(ActiveError::Twice { name: name() });
            }
            let is_alone = active.len() == 1 && (*weight == 1.0 || *weight == 0.0);
            if !adapter.is_additive() && !is_alone {
                return Err(ActiveError::NotAdditive { name: name() });
            }
        }
        for attached in &mut self.attached {
            let asked = active.iter().find(|(name, _)| *name == attached.name);
            attached.weight = asked.map_or(0.0, |(_, weight)| *weight);
        }
        Ok(())
    }

    /// Does something with the base alone; afterwards the same adapters are on again.
    pub fn with_adapter_disabled<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let attached = std::mem::take(&mut self.attached);
        let result = work(self);
        self.attached = attached;
        result
    }

    /// The adapter that is on, if it is the only one and counts whole: the one that learns and is saved.
    pub fn adapter(&self) -> Option<&Adapter> {
        let mut on = self.active();
        let attached = on.next().filter(|attached| attached.weight == 1.0)?;
        on.next().is_none().then_some(&attached.adapter)
    }

    /// The same, for the optimiser.
    pub fn adapter_mut(&mut self) -> Option<&mut Adapter> {
        self.adapter()?;
        let on = self
            .attached
            .iter_mut()
            .find(|attached| attached.weight != 0.0);
        on.map(|attached| &mut attached.adapter)
    }

    /// Gives up a pass between two layers, with [`TensorError::Stopped`], once this is raised. Until then, and after
    /// [`StopSignal::never`], nothing changes.
    pub fn stop_at(&mut self, stop: StopSignal) {
        self.stop = stop;
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

    /// The form its linear layers were taken into memory in.
    pub fn format(&self) -> BaseFormat {
        self.format
    }

    /// The longest sequence it was loaded for.
    pub fn max_positions(&self) -> usize {
        self.decoder.max_positions()
    }

    /// A pass of all rows through the adapters that are on.
    pub(crate) fn pass(&self) -> Pass<'_> {
        Pass {
            decoder: &self.decoder,
            shares: vec![self.active_share()],
            stop: &self.stop,
        }
    }

    /// The adapters that are on.
    pub(crate) fn active(&self) -> impl Iterator<Item = &AttachedAdapter> {
        self.attached
            .iter()
            .filter(|attached| attached.weight != 0.0)
    }

    /// An adapter, on or off, with its name.
    pub(crate) fn named(&self, name: &str) -> Result<(&str, &Adapter), ActiveError> {
        let found = self.attached.iter().find(|attached| attached.name == name);
        let found = found.map(|attached| (attached.name.as_str(), &attached.adapter));
        found.ok_or_else(|| ActiveError::Unknown {
            name: name.to_owned(),
            available: self
                .attached
                .iter()
                .map(|attached| attached.name.clone())
                .collect(),
        })
    }

    /// Negative log-likelihood of each target of the batch, in nats.
    pub fn nats(&self, batch: Packed) -> Result<Vec<f64>, TensorError> {
        let layout = self.layout(&batch, Shortcuts::ALL);
        self.device().scope(|| self.pass().nats(&layout))
    }

    /// Negative log-likelihood of each target, in nats; adds the gradient of their sum to `grads`, a flat
    /// tensor laid out like the parameters of [`Self::adapter`], the one adapter that is on.
    pub fn loss_and_grads(
        &self,
        batch: Packed,
        options: StepOptions,
        grads: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        let (pass, layout) = self.step(&batch, options);
        let backward = self.backward_options(options, self.lowest_adapted_layer());
        self.device().scope(|| {
            let entry = pass.embed(&layout.ids, &layout.rows.positions);
            let grads = &mut Grads(vec![Some(grads)]);
            pass.nll_and_grads(&layout, (0, entry), backward, grads)
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
    pub fn entry(&self, batch: Packed) -> Result<Tensor, TensorError> {
        let layout = self.layout(&batch, Shortcuts::ALL);
        self.device().scope(|| {
            let hidden = self.pass().below(self.lowest_adapted_layer(), &layout)?;
            Ok(self.pass().gather(&hidden, &layout.row_of))
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
        let (start, backward) = (
            self.lowest_adapted_layer(),
            self.backward_options(options, self.lowest_adapted_layer()),
        );
        self.device().scope(|| {
            let entry = pass.gather(entry, &layout.sources);
            let lowest = backward.lowest.max(start);
            let grads = &mut Grads(vec![Some(grads)]);
            pass.nll_and_grads(
                &layout,
                (start, entry),
                BackwardOptions { lowest, ..backward },
                grads,
            )
        })
    }

    fn step(&self, batch: &Packed, options: StepOptions) -> (Pass<'_>, Layout) {
        let adapter = self.adapter();
        let dropout = adapter.map_or(0.0, |a| a.config().dropout);
        let mut pass = self.pass();
        for share in &mut pass.shares {
            share.dropout = Some((dropout, options.dropout_seed));
        }
        let shortcuts = Self::shortcuts_of(adapter, options.shortcuts);
        (pass, self.layout(batch, shortcuts))
    }

    /// What may be left out of a step of an adapter.
    pub(crate) fn shortcuts_of(adapter: Option<&Adapter>, asked: Shortcuts) -> Shortcuts {
        let dropout = adapter.map_or(0.0, |a| a.config().dropout);
        let mut shortcuts = match dropout > 0.0 {
            true => asked.with_rows_apart(),
            false => asked,
        };
        // The backward pass to the embedding needs the gradient of every row.
        shortcuts.distinct_tokens &= adapter.is_none_or(|own| own.embedding().is_empty());
        shortcuts
    }

    pub(crate) fn layout(&self, batch: &Packed, shortcuts: Shortcuts) -> Layout {
        Layout::new(batch, self.exact(shortcuts))
    }

    /// What may be left out of these shortcuts' work in this network: what its mixers allow, and, where positions are learned,
    /// not the second of two equal tokens, which enter the first layer differently.
    pub(crate) fn exact(&self, asked: Shortcuts) -> Shortcuts {
        let layers = || self.config().layers.iter().map(|layer| layer.mixer.exact());
        Shortcuts {
            shared_prefix: asked.shared_prefix && layers().all(|exact| exact.shared_prefix),
            distinct_tokens: asked.distinct_tokens
                && self.config().is_first_layer_blind()
                && layers().next().is_none_or(|exact| exact.distinct_tokens),
            last_layer: asked.last_layer
                && layers().next_back().is_none_or(|exact| exact.asked_rows),
            ..asked
        }
    }

    /// How far back a step goes whose lowest adapter is in this layer.
    pub(crate) fn backward_options(&self, options: StepOptions, lowest: usize) -> BackwardOptions {
        let lowest = match options.shortcuts.lowest_layer {
            true => lowest.min(self.config().num_layers),
            false => 0,
        };
        BackwardOptions {
            kept_layers: options.kept_layers,
            activations: options.activations,
            lowest,
        }
    }
}
