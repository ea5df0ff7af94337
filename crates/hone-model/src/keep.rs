//! What the forward pass keeps for the way back, as it was or rounded to half the room.

use hone_tensor::{Element, Tensor};
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

/// `x·Aᵀ` of the adapter on each share of the rows, where it has a pair.
pub(crate) type Lows<T = Tensor> = Vec<Option<T>>;

fn map_lows<T, U>(lows: Lows<T>, f: impl Fn(T) -> U) -> Lows<U> {
    lows.into_iter().map(|low| low.map(&f)).collect()
}

/// What a layer's backward pass reads beside the layer's input.
pub(crate) struct Kept<T = Tensor> {
    pub attention: KeptAttention<T>,
    /// What the MLP reads, where that is not what the layer reads.
    pub middle: Option<T>,
    pub mlp: KeptMlp<T>,
}

/// What attention's backward pass reads.
pub(crate) struct KeptAttention<T = Tensor> {
    /// Queries and keys before their norms.
    pub raw: Option<[T; 2]>,
    pub q: T,
    pub k: T,
    pub v: T,
    pub attended: T,
    /// Small, and its error would be magnified: never rounded.
    pub lse: Tensor,
    /// What it gives back, before its norm.
    pub out: Option<T>,
    pub lows: [Lows<T>; 2],
}

/// What the MLP's backward pass reads.
pub(crate) struct KeptMlp<T = Tensor> {
    pub gate: Option<T>,
    pub up: T,
    /// What it gives back, before its norm.
    pub out: Option<T>,
    pub lows: [Lows<T>; 2],
    /// With experts, where rows went; gate, up and lows are then of places.
    pub routing: Option<KeptRouting<T>>,
}

/// What a router's backward pass reads.
pub(crate) struct KeptRouting<T = Tensor> {
    /// Small, and another choice would follow from others: never rounded.
    pub logits: Tensor,
    pub low: Lows<T>,
}

impl<T> Kept<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Kept<U> {
        let (attention, mlp) = (self.attention, self.mlp);
        Kept {
            attention: KeptAttention {
                raw: attention.raw.map(|raw| raw.map(&f)),
                q: f(attention.q),
                k: f(attention.k),
                v: f(attention.v),
                attended: f(attention.attended),
                lse: attention.lse,
                out: attention.out.map(&f),
                lows: attention.lows.map(|lows| map_lows(lows, &f)),
            },
            middle: self.middle.map(&f),
            mlp: KeptMlp {
                gate: mlp.gate.map(&f),
                up: f(mlp.up),
                out: mlp.out.map(&f),
                lows: mlp.lows.map(|lows| map_lows(lows, &f)),
                routing: mlp.routing.map(|routing| KeptRouting {
                    logits: routing.logits,
                    low: map_lows(routing.low, &f),
                }),
            },
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
    Rounded(Tensor),
}

impl Held {
    pub fn new(tensor: Tensor, activations: Activations) -> Self {
        match activations {
            Activations::F32 => Self::Whole(tensor),
            Activations::Bf16 => {
                let (rows, cols, device) = (tensor.rows(), tensor.cols(), tensor.device());
                let mut rounded = device.empty_of(Element::Bf16, rows, cols);
                device.round_to_bf16(&tensor, &mut rounded);
                Self::Rounded(rounded)
            }
        }
    }

    pub fn release(self) -> Tensor {
        match self {
            Self::Whole(tensor) => tensor,
            Self::Rounded(rounded) => {
                let device = rounded.device();
                let mut tensor = device.empty(rounded.rows(), rounded.cols());
                device.widen_bf16(&rounded, &mut tensor);
                tensor
            }
        }
    }
}
