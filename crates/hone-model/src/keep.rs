//! What the forward pass keeps for the way back, as it was or rounded to half the room.

use hone_tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// How activations are kept between the two passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16: half the memory, gradients a little off.
    Bf16,
}

impl Activations {
    /// Bytes of `numbers` numbers.
    pub fn bytes(self, numbers: usize) -> usize {
        match self {
            Self::F32 => 4 * numbers,
            Self::Bf16 => 2 * numbers,
        }
    }
}

/// What a layer's backward pass reads.
pub(crate) struct Kept<T = Tensor> {
    pub q: T,
    pub k: T,
    pub v: T,
    pub attended: T,
    /// Small, and its error would be magnified: never rounded.
    pub lse: Tensor,
    pub middle: T,
    pub gate: T,
    pub up: T,
    pub lows: [Option<T>; 4],
}

impl<T> Kept<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Kept<U> {
        Kept {
            q: f(self.q),
            k: f(self.k),
            v: f(self.v),
            attended: f(self.attended),
            lse: self.lse,
            middle: f(self.middle),
            gate: f(self.gate),
            up: f(self.up),
            lows: self.lows.map(|low| low.map(&f)),
        }
    }
}

impl Kept {
    /// For the time until the way back.
    pub fn hold(self, activations: Activations) -> Kept<Held> {
        self.map(|tensor| Held::new(tensor, activations))
    }
}

impl Kept<Held> {
    /// For use.
    pub fn release(self) -> Kept {
        self.map(Held::release)
    }
}

/// A tensor in safekeeping.
pub(crate) enum Held {
    /// As it was.
    Whole(Tensor),
    /// Rounded.
    Rounded {
        halves: Tensor,
        rows: usize,
        cols: usize,
    },
}

impl Held {
    pub fn new(tensor: Tensor, activations: Activations) -> Self {
        match activations {
            Activations::F32 => Self::Whole(tensor),
            Activations::Bf16 => {
                let mut halves = device_of(&tensor).empty(1, tensor.len().div_ceil(2));
                device_of(&tensor).round_to_bf16(&tensor, &mut halves);
                let (rows, cols) = (tensor.rows(), tensor.cols());
                Self::Rounded { halves, rows, cols }
            }
        }
    }

    pub fn release(self) -> Tensor {
        match self {
            Self::Whole(tensor) => tensor,
            Self::Rounded { halves, rows, cols } => {
                let mut tensor = device_of(&halves).empty(rows, cols);
                device_of(&halves).widen_bf16(&halves, &mut tensor);
                tensor
            }
        }
    }
}

fn device_of(tensor: &Tensor) -> Device {
    tensor.device().clone()
}
