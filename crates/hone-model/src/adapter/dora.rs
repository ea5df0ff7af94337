//! DoRA's factors: the trained magnitude of each row over the length that the row has.
//!
//! The length of a row of `W + s·BA` is needed at each step, and the dense matrix is not:
//! `‖w + s·ba‖² = ‖w‖² + 2s · b·(A·wᵀ) + s² · b·(A·Aᵀ)·bᵀ`, which takes `rank` rows through the base instead of all
//! tokens. Kept until a number of the adapter changes, so that a token that is generated alone does not pay for it.

use std::sync::OnceLock;

use hone_tensor::{Device, Tensor, Weight};

use super::{Adapter, AtSite};

/// The factors of one projection.
#[derive(Debug)]
pub(crate) struct Gain {
    /// Squared length of each row of `W + s·BA`, `[1, out]`.
    pub squares: Tensor,
    /// Magnitude over length, `[1, out]`: what an output is multiplied with.
    pub factors: Tensor,
}

/// What is known of each projection's lengths.
#[derive(Debug)]
pub(crate) struct Gains {
    /// Squared lengths of the base's rows.
    base: Vec<OnceLock<Tensor>>,
    gains: Vec<OnceLock<Gain>>,
}

impl Gains {
    pub fn new(sites: usize) -> Self {
        Self {
            base: (0..sites).map(|_| OnceLock::new()).collect(),
            gains: (0..sites).map(|_| OnceLock::new()).collect(),
        }
    }

    /// A number of the adapter may change.
    pub fn forget(&mut self) {
        for gain in &mut self.gains {
            gain.take();
        }
    }

    /// The base changes.
    pub fn forget_base(&mut self) {
        self.forget();
        for squares in &mut self.base {
            squares.take();
        }
    }
}

impl Adapter {
    /// The factors of an adapted projection whose frozen matrix is `weight`.
    pub(crate) fn gain(&self, at: &AtSite, weight: &Weight) -> &Gain {
        self.gains.gains[at.index].get_or_init(|| {
            let device = self.parameters.device();
            let squares = self.row_squares(at, weight);
            let mut factors = device.empty(1, at.out);
            let offset = at
                .magnitude
                .expect("only a projection with a magnitude is asked");
            let magnitude = self.parameters.window(offset, 1, at.out);
            device.divide_by_root(magnitude, &squares, factors.view_mut(), false);
            Gain { squares, factors }
        })
    }

    /// Squared length of each row of `W + s·BA`, `[1, out]`.
    pub(super) fn row_squares(&self, at: &AtSite, weight: &Weight) -> Tensor {
        let device = self.parameters.device();
        let base = self.gains.base[at.index].get_or_init(|| base_squares(device, weight));
        let mut squares = device.empty(1, at.out);
        device.copy_rows(base, 0, 1, &mut squares, 0);
        let Some((group, member)) = self.layout.member(at.site) else {
            return squares;
        };
        let (rank, scale) = (member.rank, member.scale);
        let a_offset = group.a_offset + member.rank_offset * group.width;
        let a = self.parameters.window(a_offset, rank, group.width);
        let b = self.parameters.window(member.b_offset, member.out, rank);
        let mut through = device.empty(rank, at.out);
        device.linear(a, weight, &mut through, false);
        device.dot_cols(through.view(), b.t(), 2.0 * scale, squares.view_mut(), true);
        let mut gram = device.empty(rank, rank);
        device.matmul(a, a.t(), 1.0, gram.view_mut(), false);
        let mut product = device.empty(at.out, rank);
        device.matmul(b, gram.view(), 1.0, product.view_mut(), false);
        device.dot_cols(
            product.view().t(),
            b.t(),
            scale * scale,
            squares.view_mut(),
            true,
        );
        squares
    }
}

/// Rows of a frozen matrix that are decoded at a time.
pub(super) const PANEL: usize = 256;

/// Squared length of each row of a frozen matrix, `[1, out]`.
fn base_squares(device: &Device, weight: &Weight) -> Tensor {
    let mut squares = device.empty(1, weight.rows());
    for first in (0..weight.rows()).step_by(PANEL) {
        let rows = panel(device, weight, first);
        let place = squares.view_cols_mut(first..first + rows.rows());
        device.dot_cols(rows.view().t(), rows.view().t(), 1.0, place, false);
    }
    squares
}

/// Some rows of a frozen matrix as numbers.
pub(super) fn panel(device: &Device, weight: &Weight, first: usize) -> Tensor {
    let rows: Vec<u32> = (first..weight.rows().min(first + PANEL))
        .map(|row| row as u32)
        .collect();
    let mut numbers = device.empty(rows.len(), weight.cols());
    device.embed(&rows, weight, &mut numbers);
    numbers
}
