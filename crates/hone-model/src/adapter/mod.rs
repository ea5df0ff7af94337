//! Adapters: what is trained on a frozen base, how its numbers lie in memory, and what it makes of the base.
//!
//! All matrices of an adapter live in one flat buffer, so that the optimiser makes one pass and a
//! checkpoint is one blob. Projections that read the same input (query, key and value; gate and up)
//! have their `A` side by side, so that one product serves them all.
//!
//! From below: roles and names ([`spelling`]), what is asked for ([`config`]) and what a file says ([`settings`], [`raw`]);
//! what is trained and where it lies ([`table`], [`pairs`], [`trained`], [`layout`]); what a [`method`] has to say of itself,
//! and the [`methods`], a file each; above them what goes through all methods: [`check`], [`attach`], [`take`], [`verdicts`]
//! and, for what is written, [`mod@write`].

mod attach;
mod check;
mod config;
mod facts;
mod finding;
mod fitting;
mod growth;
mod init;
mod layout;
mod method;
mod methods;
mod pairs;
mod peft;
mod plain;
mod provenance;
mod raw;
mod runtimes;
mod select;
mod settings;
mod spelling;
mod table;
mod take;
mod targets;
mod trained;
mod verdicts;
mod weights;
mod write;

pub use attach::AdapterFiles;
pub use check::{AdapterCheck, check_adapter};
pub use config::{AttachError, Ia3, Initial, LayerRange, LoraConfig, Targets, TrainedBias};
pub use facts::{CheckedBase, Facts};
pub use finding::{Finding, Severity};
pub use init::InitError;
pub(crate) use layout::{Layout, Wanted};
pub(crate) use methods::dora::Lengths;
pub(crate) use methods::lora::AddedBias;
pub(crate) use methods::whole::OwnNumbers;
pub(crate) use pairs::{AdaptedGroup, LowRank};
pub use peft::{PeftError, SaveDtype, write_beside};
pub use provenance::Provenance;
pub use raw::RawAdapter;
pub use runtimes::{Outcome, Runtime, Verdict};
pub use spelling::{RateGroup, Role};
pub use table::Param;
pub use take::AdapterWeightsError;
pub(crate) use trained::{AtSite, Edit, Flow, Rows, Stage, Step, Through, copy_of};
pub(crate) use weights::expert_of;
pub use weights::{AdapterWeights, Factors, LoraPair, TrainedRows};

use hone_ledger::Seed;
use hone_tensor::{Device, Tensor};

use crate::arch::{DecoderConfig, Group};
use methods::METHODS;

/// A trained or trainable adapter of one decoder.
#[derive(Debug)]
pub struct Adapter {
    config: LoraConfig,
    layout: Layout,
    parameters: Tensor,
    /// What a low-rank pair started from, laid out as the parameters are; subtracted whenever it is used.
    start: Option<Tensor>,
    /// Whether numbers of the base are in their places.
    is_filled: bool,
    /// Whether low-rank pairs are what they are to start from.
    is_decomposed: bool,
}

impl Adapter {
    /// A fresh adapter as PEFT starts one: `A` uniform within `±1/√in` (Kaiming with `a = √5`), `B` zero,
    /// so that it changes nothing yet. What starts from the base's own numbers is filled in when it is put on a model.
    pub fn new(
        config: LoraConfig,
        base: &DecoderConfig,
        device: &Device,
        seed: Seed,
    ) -> Result<Self, AttachError> {
        let layout = Layout::new(Wanted::of(&config, base)?, base);
        let mut adapter = Self::of_layout(config, layout, device);
        adapter.is_filled = false;
        adapter.is_decomposed = adapter.config.initial == Initial::Random;
        let mut numbers = vec![0.0f32; adapter.layout.table.len()];
        for group in &adapter.layout.groups {
            group.draw(&mut numbers, seed);
        }
        for (_, own) in adapter.layout.trained() {
            own.draw(&mut numbers, seed);
        }
        device.write(&numbers, &mut adapter.parameters);
        Ok(adapter)
    }

    /// The places of a fresh adapter and no numbers in them: what is needed to plan with one, whatever its size.
    pub fn unfilled(
        config: LoraConfig,
        base: &DecoderConfig,
        device: &Device,
    ) -> Result<Self, AttachError> {
        let layout = Layout::new(Wanted::of(&config, base)?, base);
        Ok(Self::of_layout(config, layout, device))
    }

    /// All places, numbers still zero.
    pub(crate) fn of_layout(config: LoraConfig, layout: Layout, device: &Device) -> Self {
        let zeros = || device.zeros(1, layout.table.len());
        Self {
            start: config.initial.is_subtracted().then(zeros),
            parameters: zeros(),
            config,
            layout,
            is_filled: true,
            is_decomposed: true,
        }
    }

    /// What it was asked to be.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// All trainable numbers, flat `[1, n]`.
    pub fn parameters(&self) -> &Tensor {
        &self.parameters
    }

    /// All trainable numbers, for the optimiser.
    pub fn parameters_mut(&mut self) -> &mut Tensor {
        self.layout.forget(false);
        &mut self.parameters
    }

    /// How many numbers are trained.
    pub fn num_parameters(&self) -> usize {
        self.parameters.len()
    }

    /// What it trains, in the order of the flat buffer.
    pub fn matrices(&self) -> Vec<Param> {
        self.layout.table.params().to_vec()
    }

    /// The adapted projections of one input, if there are any.
    pub(crate) fn group(&self, layer: usize, group: Group) -> Option<&AdaptedGroup> {
        self.layout
            .groups
            .iter()
            .find(|g| g.layer == layer && g.group == group)
    }

    /// What is trained at one projection beside a low-rank pair.
    pub(crate) fn at(&self, layer: usize, group: Group, slot: usize) -> Option<&AtSite> {
        let mut sites = self.layout.sites.iter();
        sites.find(|at| at.layer == layer && at.group == group && at.site.slot() == slot)
    }

    /// What is trained at the embedding.
    pub(crate) fn embedding(&self) -> &[Box<dyn Rows>] {
        &self.layout.embedding
    }

    /// What low-rank pairs started from, where that is subtracted.
    pub(crate) fn start(&self) -> Option<&Tensor> {
        self.start.as_ref()
    }

    /// The first layer with an adapter: nothing below it needs a gradient.
    pub(crate) fn lowest_layer(&self) -> usize {
        self.layout.lowest_layer()
    }

    /// Whether it does nothing but add low-rank products, so that several can be added up.
    pub fn is_additive(&self) -> bool {
        let rows = &self.layout.embedding;
        self.layout.sites.is_empty() && rows.iter().all(|rows| rows.is_additive())
    }

    /// What keeps it from sharing a batch with other adapters, if something does.
    pub(crate) fn unmixable(&self) -> Option<&'static str> {
        if self.layout.groups.iter().any(|group| group.copies > 1) {
            return Some("pairs on experts");
        }
        let roles = self.layout.table.params().iter().map(Param::role);
        let of_role = |role| METHODS.iter().find(|method| method.roles().contains(&role));
        let mut methods = roles.filter_map(of_role);
        match methods.find(|method| !method.mixes()) {
            Some(method) => Some(method.name()),
            None if !self.layout.embedding.is_empty() => Some("a pair of the embedding"),
            None => None,
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &LowRank> {
        self.layout.groups.iter().flat_map(|group| &group.members)
    }

    /// Lengths of the matrices of an adapter that does not exist yet, in the order of the flat buffer.
    pub fn lengths(config: &LoraConfig, base: &DecoderConfig) -> Result<Vec<usize>, AttachError> {
        let layout = Layout::new(Wanted::of(config, base)?, base);
        Ok(layout.table.params().iter().map(Param::size).collect())
    }

    /// Trainable numbers and summed ranks of an adapter that does not exist yet, for plans.
    pub fn size(config: &LoraConfig, base: &DecoderConfig) -> Result<AdapterSize, AttachError> {
        let layout = Layout::new(Wanted::of(config, base)?, base);
        Ok(AdapterSize {
            parameters: layout.table.len(),
            rank_sum: layout.groups.iter().map(|g| g.copies * g.total_rank).sum(),
            lowest_layer: layout.lowest_layer().min(base.num_layers),
        })
    }
}

/// How large an adapter will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterSize {
    /// Trainable numbers.
    pub parameters: usize,
    /// Bottleneck widths of all adapted projections, added.
    pub rank_sum: usize,
    /// The first layer with an adapter.
    pub lowest_layer: usize,
}
