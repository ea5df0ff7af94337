//! What is trained at one place: a [`Step`] at a projection, a [`Matrix`] in place of one, or [`Rows`] of the embedding; and
//! what merging makes of it, an [`Edit`].

use std::fmt::Debug;

use hone_ledger::Seed;
use hone_tensor::{Device, Index, MatRef, Tensor, TensorError, Weight};

use super::pairs::LowRank;
use super::table::ParamTable;
use crate::arch::{DecoderConfig, Group, Site};
use crate::decoder::Projection;

/// What a method trains at one place.
pub(crate) trait Trained: Debug + Send + Sync {
    /// Takes its places in the flat buffer; `pair` is the low-rank pair at the same projection, which has its own.
    fn place(&mut self, pair: Option<&LowRank>, table: &mut ParamTable);

    /// Puts in what it begins with, where that needs no base.
    fn draw(&self, _numbers: &mut [f32], _seed: Seed) {}

    /// Puts in what it takes over from the base; the places hold zeros.
    fn fill(&self, _weight: &Weight, _bias: Option<&Tensor>, _numbers: &mut Tensor) {}

    /// A number of the adapter may change, or even the base: what was derived from them does not hold any more.
    fn forget(&mut self, _base_too: bool) {}
}

/// Where on the way through a projection a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Before the matrix.
    Input,
    /// After the matrix and the low-rank pair.
    Gain,
    /// In place of the base's bias.
    Bias,
    /// After all.
    Output,
}

/// Something that is done to the input or the outputs of a projection.
pub(crate) trait Step: Trained {
    /// Where it stands.
    fn stage(&self) -> Stage;

    /// From what is given to it, `[rows, in]` or `[rows, out]`, to what it makes of it.
    fn forward(&self, at: &Through, y: &mut Tensor);

    /// Whether the backward pass needs what was given to it.
    fn needs_given(&self) -> bool {
        true
    }

    /// Adds its gradients, and returns that of what was given to it.
    fn backward<'d>(
        &self,
        at: &Through,
        given: Option<&Tensor>,
        dy: Flow<'d>,
        grads: &mut Tensor,
    ) -> Flow<'d>;
}

/// Something that stands in place of a projection's matrix.
pub(crate) trait Matrix: Trained {
    /// `x·Wᵀ`, `[rows, out]`.
    fn product(&self, at: &Through, x: &Tensor, y: &mut Tensor);

    /// Adds its gradients.
    fn gradients(&self, at: &Through, x: &Tensor, dy: &Tensor, grads: &mut Tensor);

    /// `dx (+)= dy·W`.
    fn input_gradient(&self, at: &Through, dy: &Tensor, dx: &mut Tensor, accumulate: bool);
}

/// Something that is trained at the embedding.
pub(crate) trait Rows: Trained {
    /// Changes the rows of these tokens, `[ids, d_model]`; `weight` is how strongly the adapter counts.
    fn forward(&self, numbers: &Tensor, ids: &Index, weight: f32, rows: &mut Tensor);

    /// Adds its gradients.
    fn backward(
        &self,
        numbers: &Tensor,
        ids: &Index,
        weight: f32,
        drows: &Tensor,
        grads: &mut Tensor,
    );

    /// Whether it only adds to the rows, so that several adapters can.
    fn is_additive(&self) -> bool {
        false
    }

    /// What it is to a head that shares the embedding's matrix.
    fn at_tied_head(&self) -> Option<Box<dyn Matrix>> {
        None
    }
}

/// What merging makes of a tensor of the base, whose rows come a few at a time.
pub(crate) trait Edit: Debug + Send + Sync {
    /// Ready for the rows of one tensor.
    fn begin<'e>(&'e self, device: &'e Device) -> EditRows<'e>;
}

/// Changes rows, given their numbers in the tensor and all of their elements one after another.
pub(crate) type EditRows<'e> =
    Box<dyn FnMut(&[usize], &mut Vec<f32>) -> Result<(), TensorError> + 'e>;

/// An edit that changes row by row.
pub(super) fn row_by_row<'e>(edit: impl Fn(usize, &mut [f32]) + 'e) -> EditRows<'e> {
    Box::new(move |rows, panel| {
        let cols = panel.len() / rows.len().max(1);
        for (row, out) in rows.iter().zip(panel.chunks_exact_mut(cols.max(1))) {
            edit(*row, out);
        }
        Ok(())
    })
}

/// A projection on the way through it: the frozen one, and the adapter's numbers.
#[derive(Clone, Copy)]
pub(crate) struct Through<'a> {
    pub numbers: &'a Tensor,
    pub at: &'a AtSite,
    pub projection: &'a Projection,
}

impl<'a> Through<'a> {
    /// Where it is computed.
    pub fn device(&self) -> &'a Device {
        self.numbers.device()
    }

    /// One number for each of `cols` columns.
    pub fn row(&self, offset: usize, cols: usize) -> MatRef<'a> {
        self.numbers.window(offset, 1, cols)
    }
}

/// A gradient in the backward pass: lent, or owned and free to be changed.
pub(crate) enum Flow<'d> {
    Lent(&'d Tensor),
    Own(Tensor),
}

impl std::ops::Deref for Flow<'_> {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        match self {
            Self::Lent(tensor) => tensor,
            Self::Own(tensor) => tensor,
        }
    }
}

impl Flow<'_> {
    /// Each column multiplied.
    pub fn scaled(self, factors: MatRef) -> Self {
        let mut own = match self {
            Self::Own(tensor) => tensor,
            Self::Lent(tensor) => copy_of(tensor),
        };
        let device = own.device().clone();
        device.scale_cols(&mut own, factors);
        Self::Own(own)
    }
}

/// The same numbers in a place of their own.
pub(crate) fn copy_of(tensor: &Tensor) -> Tensor {
    let device = tensor.device();
    let mut copy = device.empty(tensor.rows(), tensor.cols());
    device.copy_rows(tensor, 0, tensor.rows(), &mut copy, 0);
    copy
}

/// Rows of a frozen matrix that are decoded at a time.
pub(super) const PANEL: usize = 256;

/// Some rows of a frozen matrix as numbers.
pub(super) fn panel(device: &Device, weight: &Weight, first: usize) -> Tensor {
    let rows: Index = (first..weight.rows().min(first + PANEL)).collect();
    let mut numbers = device.empty(rows.len(), weight.cols());
    device.embed(rows.all(), weight, &mut numbers);
    numbers
}

/// Something that is trained at a projection beside a low-rank pair.
#[derive(Debug)]
pub(crate) enum AtProjection {
    Step(Box<dyn Step>),
    Matrix(Box<dyn Matrix>),
}

impl AtProjection {
    pub fn trained(&mut self) -> &mut dyn Trained {
        match self {
            Self::Step(step) => &mut **step,
            Self::Matrix(matrix) => &mut **matrix,
        }
    }
}

/// What is trained at one projection beside a low-rank pair.
#[derive(Debug)]
pub(crate) struct AtSite {
    pub site: Site,
    pub layer: usize,
    pub group: Group,
    pub out: usize,
    pub width: usize,
    /// The pair, if there is one.
    pub pair: Option<LowRank>,
    /// In the order in which an input goes through them.
    pub steps: Vec<Box<dyn Step>>,
    /// In place of the base's matrix.
    pub matrix: Option<Box<dyn Matrix>>,
    /// It is the head of a model whose embedding it shares, and its numbers are the embedding's.
    pub is_tied: bool,
}

impl AtSite {
    pub fn empty(site: Site, base: &DecoderConfig, pair: Option<&LowRank>) -> Self {
        let (out, width) = base.projection(site);
        Self {
            site,
            layer: site.layer_index(base.num_layers),
            group: site.group(),
            out,
            width,
            pair: pair.cloned(),
            steps: vec![],
            matrix: None,
            is_tied: false,
        }
    }

    pub fn add(&mut self, own: AtProjection) {
        match own {
            AtProjection::Matrix(matrix) => self.matrix = Some(matrix),
            AtProjection::Step(step) => {
                self.steps.push(step);
                self.steps.sort_by_key(|step| step.stage());
            }
        }
    }

    pub fn is_trained(&self) -> bool {
        !self.steps.is_empty() || self.matrix.is_some()
    }

    pub fn trained(&self) -> impl Iterator<Item = &dyn Trained> {
        let steps = self.steps.iter().map(|step| &**step as &dyn Trained);
        let matrix = self.matrix.iter().map(|own| &**own as &dyn Trained);
        steps.chain(matrix)
    }
}
