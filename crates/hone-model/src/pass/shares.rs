//! Which adapters are in force on which rows of a batch.
//!
//! Rows lie share by share, and each share goes through adapters of its own, or through none. The frozen base is computed
//! for all rows at once; what adapters add is computed share by share, on as many rows as it would be alone, so that its
//! numbers are those of a run alone, to the bit. Most batches are one share, which costs them nothing.

use std::ops::Range;

use hone_tensor::Tensor;

use super::Pass;
use crate::adapter::Adapter;

/// The adapters that a sequence goes through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Adapters {
    /// Those that are on.
    #[default]
    Active,
    /// None: the base alone.
    None,
    /// The one of this name, on or off.
    Named(String),
}

/// The adapters of some rows.
pub(crate) struct Share<'a> {
    /// Those that are on, and how strongly; none for the base.
    pub active: Vec<(&'a Adapter, f32)>,
    /// Probability and seed, while training.
    pub dropout: Option<(f32, u64)>,
}

impl<'a> Share<'a> {
    /// Rows of which nothing is dropped.
    pub fn of(active: Vec<(&'a Adapter, f32)>) -> Self {
        Self {
            active,
            dropout: None,
        }
    }
}

/// Gradients of the adapter of each share, where it has one that learns.
pub(crate) struct Grads<'g>(pub Vec<Option<&'g mut Tensor>>);

impl Grads<'_> {
    /// Those of a share whose adapter learns.
    pub fn of(&mut self, share: usize) -> &mut Tensor {
        let own = self.0[share].as_deref_mut();
        own.expect("an adapter that learns has gradients")
    }
}

impl<'a> Pass<'a> {
    /// The adapters of all rows, where all have the same.
    pub fn active(&self) -> &[(&'a Adapter, f32)] {
        match &self.shares[..] {
            [all] => &all.active,
            _ => &[],
        }
    }

    /// Some rows of a tensor in a tensor of their own.
    pub(super) fn rows_of(&self, x: &Tensor, rows: &Range<usize>) -> Tensor {
        let mut own = self.device().empty(rows.len(), x.cols());
        self.device()
            .copy_rows(x, rows.start, rows.len(), &mut own, 0);
        own
    }

    /// The reverse of [`Self::rows_of`].
    pub(super) fn put_rows(&self, own: &Tensor, rows: &Range<usize>, x: &mut Tensor) {
        self.device().copy_rows(own, 0, rows.len(), x, rows.start);
    }
}

/// The rows of each share that has some.
pub(super) fn shares_of(division: &[usize]) -> impl Iterator<Item = (usize, Range<usize>)> {
    let ranges = division.windows(2).map(|ends| ends[0]..ends[1]);
    ranges.enumerate().filter(|(_, rows)| !rows.is_empty())
}
