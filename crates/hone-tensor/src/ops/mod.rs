//! What a back-end does, topic by topic: some forty coarse ops, each with a plain loop that says exactly what it is.
//!
//! Ops are coarse so that dispatch costs nothing and each back-end may fuse as it likes. They do not
//! return errors: shapes are promises of the network above, and a device that works asynchronously
//! learns of a failure only later. A failure surfaces where a number is read back
//! ([`StorageOps::download`], [`LossOps::cross_entropy`], [`LossOps::sum_squares`]).
//!
//! A back-end must write what has no body: six methods of [`StorageOps`]. Everything else has one, over numbers fetched
//! to the host and brought back, so that a new back-end is right from its first day and becomes quick op by op.
//! `out` arguments are written whole unless `accumulate` is set. Tokens, rows and the like come as lists that a device may
//! keep in its own form from the first op that reads one to the last ([`crate::List`]).

mod activation;
pub(crate) mod adam8bit;
mod adamw;
mod attention;
mod experts;
mod linear;
mod loss;
mod norm;
mod optimizer;
mod rotary;
mod rounding;
mod rows;
mod storage;

use std::io;
use std::path::PathBuf;

use crate::tensor::{MatMut, MatRef, Tensor};

pub use activation::{ActivationOps, DropoutMask, Gelu};
pub use adamw::AdamWStep;
pub(crate) use adamw::run_length;
pub use attention::{AttentionGrads, AttentionOps, AttentionSaved, FEW_QUERIES, Heads, PAGE};
pub(crate) use attention::{check_paged, check_spans};
pub use experts::{ExpertOps, Routing, TopK};
pub(crate) use experts::{check_places, check_top};
pub use linear::LinearOps;
pub(crate) use linear::{check_bias, check_linear, check_linear_backward};
pub use loss::LossOps;
pub use norm::{LayerNorm, NormOps};
pub(crate) use norm::{check_layer_norm, check_rms};
pub use optimizer::OptimizerOps;
pub use rotary::RotaryOps;
pub(crate) use rotary::check_rope;
pub use rounding::RoundingOps;
pub(crate) use rounding::check_rounding;
pub use rows::{Columns, RowOps};
pub(crate) use rows::{
    check_column_factors, check_columns, check_divide, check_dot_cols, check_dot_rows, check_embed,
    check_gather, check_row_factors, check_scatter,
};
pub use storage::StorageOps;

/// All of it: what a [`crate::Device`] is made of.
pub trait Backend:
    StorageOps
    + LinearOps
    + RowOps
    + RoundingOps
    + NormOps
    + RotaryOps
    + AttentionOps
    + ActivationOps
    + ExpertOps
    + LossOps
    + OptimizerOps
{
}

impl<B> Backend for B where
    B: StorageOps
        + LinearOps
        + RowOps
        + RoundingOps
        + NormOps
        + RotaryOps
        + AttentionOps
        + ActivationOps
        + ExpertOps
        + LossOps
        + OptimizerOps
{
}

/// Why a number could not be read back from a device.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The device failed while working on what was asked of it.
    #[error("device `{device}` failed: {reason}")]
    Device {
        /// Its name.
        device: String,
        /// What it said.
        reason: String,
    },
    /// The thread pool could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
    /// There is no file to page numbers out to.
    #[error("cannot keep {bytes} bytes in a file under `{}`: {source}", dir.display())]
    Paged {
        /// How much.
        bytes: usize,
        /// Where.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Whoever wanted the numbers asked to stop before they were there.
    #[error("stopped before the numbers were there, as was asked")]
    Stopped,
}

impl TensorError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Threads { threads, .. } => {
                let fewer =
                    (*threads > 1).then(|| format!("--threads {} asks for fewer", threads / 2));
                let limit = "the system gives no more processes or memory to this user: `ulimit -u` and `ulimit -v` say how much, \
                             and programs that have ended give theirs back";
                fewer.into_iter().chain([limit.to_owned()]).collect()
            }
            Self::Paged { .. } => vec!["TMPDIR names another directory for such files".into()],
            Self::Device { .. } | Self::Stopped => Vec::new(),
        }
    }
}

/// Bytes of tensors on a device, frozen weights not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Alive now.
    pub live_bytes: usize,
    /// The most there have been.
    pub peak_bytes: usize,
}

/// A tensor's numbers, if the device has not failed; where it has, whoever reads the result back will hear of it.
fn host<D: StorageOps + ?Sized>(device: &D, tensor: &Tensor) -> Option<Vec<f32>> {
    device.download(tensor).ok()
}

/// The numbers of a matrix inside a tensor, row by row as it is read.
fn host_window<D: StorageOps + ?Sized>(device: &D, matrix: MatRef) -> Option<Vec<f32>> {
    let all = device.download(matrix.tensor).ok()?;
    let ((rows, cols), (row, col)) = match matrix.transposed {
        true => (matrix.shape(), (1, matrix.stride)),
        false => (matrix.shape(), (matrix.stride, 1)),
    };
    let places = (0..rows).flat_map(|i| (0..cols).map(move |j| i * row + j * col));
    Some(places.map(|place| all[matrix.offset + place]).collect())
}

/// Overwrites a tensor.
fn put<D: StorageOps + ?Sized>(device: &D, out: &mut Tensor, numbers: &[f32]) {
    device.write(numbers, out);
}

/// Overwrites a matrix inside a tensor.
fn put_window<D: StorageOps + ?Sized>(device: &D, out: MatMut, numbers: &[f32]) {
    let Ok(mut all) = device.download(out.tensor) else {
        return;
    };
    for (row, numbers) in numbers.chunks_exact(out.cols.max(1)).enumerate() {
        all[out.offset + row * out.stride..][..out.cols].copy_from_slice(numbers);
    }
    device.write(&all, out.tensor);
}

/// A promise of ops between two tensors.
pub(crate) fn assert_same_shape(a: &Tensor, b: &Tensor) {
    assert_eq!(
        (a.rows(), a.cols()),
        (b.rows(), b.cols()),
        "operands of one shape"
    );
}
