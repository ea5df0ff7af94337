//! One batch whose sequences go through adapters of their own, or through the base alone.
//!
//! Which adapter is in force is a property of the rows of a batch: the base is computed once for all of them, and each row's
//! numbers are, to the bit, those of a run with its adapter alone. So rows of many adapters can be served together, and a
//! reference pass of the base can go beside the pass of an adapter that learns.

use hone_tensor::{Tensor, TensorError};

use crate::adapter::Adapter;
use crate::batch::Packed;
use crate::layout::{Layout, Shortcuts};
use crate::model::{ActiveError, Model, StepOptions};
use crate::pass::Pass;
use crate::pass::shares::{Adapters, Grads, Share};

/// Why a batch cannot go through the adapters asked for.
#[derive(Debug, thiserror::Error)]
pub enum MixedError {
    /// There is no such adapter.
    #[error(transparent)]
    Active(#[from] ActiveError),
    /// Each sequence has one adapter, or none.
    #[error("the batch has {sequences} sequences, and adapters are named for {named}")]
    Count {
        /// Sequences of the batch.
        sequences: usize,
        /// For how many an adapter, or none, is named.
        named: usize,
    },
    /// It changes what all rows of a batch share.
    #[error("adapter `{name}` has {part}, which one batch does not mix with other adapters")]
    Unmixable {
        /// Which adapter.
        name: String,
        /// What it has.
        part: &'static str,
    },
    /// Gradients of an adapter of the batch have no place, or one of another size.
    #[error("the gradients of adapter `{name}` need a tensor of {numbers} numbers")]
    Gradients {
        /// Which adapter.
        name: String,
        /// How many numbers it trains.
        numbers: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl MixedError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Active(error) => error.hints(),
            Self::Count { .. } => vec!["name an adapter, or none, for each sequence".into()],
            Self::Unmixable { .. } => vec!["give its sequences a batch of their own".into()],
            Self::Gradients { .. } => {
                vec!["give a tensor laid out like its parameters for each adapter".into()]
            }
            Self::Tensor(_) => vec![],
        }
    }
}

fn refuse_unmixable(name: &str, adapter: &Adapter) -> Result<(), MixedError> {
    match adapter.unmixable() {
        None => Ok(()),
        Some(part) => Err(MixedError::Unmixable {
            name: name.to_owned(),
            part,
        }),
    }
}

/// The sequences of a batch that have the same adapter.
struct Group<'a> {
    adapter: Option<(&'a str, &'a Adapter)>,
    sequences: Vec<usize>,
}

impl<'a> Group<'a> {
    fn share(&self, dropout_seed: Option<u64>) -> Share<'a> {
        let active: Vec<(&Adapter, f32)> = self.adapter.iter().map(|own| (own.1, 1.0)).collect();
        let p = active.first().map_or(0.0, |own| own.0.config().dropout);
        Share {
            dropout: dropout_seed.map(|seed| (p, seed)),
            active,
        }
    }

    /// The first layer where something is trained.
    fn lowest_layer(&self) -> usize {
        self.adapter
            .map_or(usize::MAX, |(_, own)| own.lowest_layer())
    }
}

impl Model {
    /// Rows that go through the adapters that are on.
    pub(crate) fn active_share(&self) -> Share<'_> {
        let active = self.active().map(|own| (&own.adapter, own.weight));
        Share::of(active.collect())
    }

    /// Rows that go through these adapters.
    pub(crate) fn share_of(&self, adapters: &Adapters) -> Result<Share<'_>, ActiveError> {
        Ok(match adapters {
            Adapters::Active => self.active_share(),
            Adapters::None => Share::of(vec![]),
            Adapters::Named(name) => Share::of(vec![(self.named(name)?.1, 1.0)]),
        })
    }

    /// Whether rows that go through these adapters can stand in one batch with rows that go through others.
    ///
    /// # Errors
    /// An adapter that there is none of, and one that changes what all rows of a batch share.
    pub fn check_mixes(&self, adapters: &Adapters) -> Result<(), MixedError> {
        let active: Vec<(&str, &Adapter)> = match adapters {
            Adapters::Active => self
                .active()
                .map(|own| (&*own.name, &own.adapter))
                .collect(),
            Adapters::None => vec![],
            Adapters::Named(name) => vec![self.named(name)?],
        };
        for (name, adapter) in active {
            refuse_unmixable(name, adapter)?;
        }
        Ok(())
    }

    /// As [`Self::nats`], each sequence of the batch with the adapter of this name, or with the base alone, whatever adapters
    /// are on. Each number is, to the bit, that of a batch of this adapter's sequences alone.
    ///
    /// # Errors
    /// A name that no adapter has, and an adapter that cannot share a batch.
    pub fn nats_with(
        &self,
        batch: Packed,
        adapters: &[Option<&str>],
    ) -> Result<Vec<f64>, MixedError> {
        let groups = self.groups(&batch, adapters)?;
        let layout = self.layout_of(&batch, &groups, |_| Shortcuts::ALL);
        let shares = groups.iter().map(|group| group.share(None)).collect();
        let pass = Pass {
            shares,
            ..self.pass()
        };
        Ok(self.device().scope(|| pass.nats(&layout))?)
    }

    /// As [`Self::loss_and_grads`], each sequence with the adapter of this name, or with the base alone. `grads` has a tensor
    /// for each adapter of the batch, laid out like its parameters; gradients are added to it.
    ///
    /// # Errors
    /// Those of [`Self::nats_with`], and gradients without a place.
    pub fn loss_and_grads_with(
        &self,
        batch: Packed,
        adapters: &[Option<&str>],
        options: StepOptions,
        grads: &mut [(&str, &mut Tensor)],
    ) -> Result<Vec<f64>, MixedError> {
        let groups = self.groups(&batch, adapters)?;
        let shortcuts = |group: &Group| {
            let adapter = group.adapter.map(|own| own.1);
            Self::shortcuts_of(adapter, options.shortcuts)
        };
        let layout = self.layout_of(&batch, &groups, shortcuts);
        let mut places: Vec<Option<&mut Tensor>> = groups.iter().map(|_| None).collect();
        for (name, tensor) in grads {
            let is_own = |group: &Group| group.adapter.is_some_and(|own| own.0 == *name);
            if let Some(place) = groups.iter().position(is_own) {
                places[place] = Some(tensor);
            }
        }
        for (group, place) in groups.iter().zip(&places) {
            let Some((name, adapter)) = group.adapter else {
                continue;
            };
            let numbers = adapter.num_parameters();
            if place.as_ref().is_none_or(|own| own.len() != numbers) {
                let name = name.to_owned();
                return Err(MixedError::Gradients { name, numbers });
            }
        }
        let shares = groups
            .iter()
            .map(|group| group.share(Some(options.dropout_seed)));
        let pass = Pass {
            shares: shares.collect(),
            ..self.pass()
        };
        let lowest = groups.iter().map(Group::lowest_layer).min();
        let backward = self.backward_options(options, lowest.unwrap_or(usize::MAX));
        let grads = &mut Grads(places);
        Ok(self.device().scope(|| {
            let entry = pass.embed(&layout.ids, &layout.rows.positions);
            pass.nll_and_grads(&layout, (0, entry), backward, grads)
        })?)
    }

    /// The sequences by their adapters, in the order in which these appear.
    fn groups<'a>(
        &'a self,
        batch: &Packed,
        adapters: &[Option<&str>],
    ) -> Result<Vec<Group<'a>>, MixedError> {
        let sequences = batch.boundaries.len().saturating_sub(1);
        if adapters.len() != sequences {
            let named = adapters.len();
            return Err(MixedError::Count { sequences, named });
        }
        let mut groups: Vec<Group> = Vec::new();
        for (sequence, name) in adapters.iter().enumerate() {
            let adapter = name.map(|name| self.named(name)).transpose()?;
            let is_own = |group: &&mut Group| group.adapter.map(|own| own.0) == *name;
            let found = groups.iter_mut().find(is_own);
            match found {
                Some(group) => group.sequences.push(sequence),
                None => groups.push(Group {
                    adapter,
                    sequences: vec![sequence],
                }),
            }
        }
        let mixed = groups.iter().filter(|_| groups.len() > 1);
        for (name, adapter) in mixed.filter_map(|group| group.adapter) {
            refuse_unmixable(name, adapter)?;
        }
        Ok(groups)
    }

    fn layout_of(
        &self,
        batch: &Packed,
        groups: &[Group],
        shortcuts: impl Fn(&Group) -> Shortcuts,
    ) -> Layout {
        match groups {
            [one] => self.layout(batch, shortcuts(one)),
            _ => {
                let shares = groups.iter().map(|group| {
                    let shortcuts = self.exact(shortcuts(group));
                    (group.sequences.clone(), shortcuts)
                });
                Layout::of_shares(batch, &shares.collect::<Vec<_>>())
            }
        }
    }
}
