//! What the forward pass keeps for the backward pass, as it was or rounded to half the room.

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
    pub mixer: KeptMixer<T>,
    /// What the mixer gives back, before its norm.
    pub mixer_out: Option<T>,
    /// What the feed-forward reads, where that is not what the layer reads.
    pub middle: Option<T>,
    pub feed_forward: KeptFeedForward<T>,
    /// What the feed-forward gives back, before its norm.
    pub feed_forward_out: Option<T>,
}

/// What a mixer's backward pass reads.
pub(crate) enum KeptMixer<T = Tensor> {
    Attention(KeptAttention<T>),
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
    pub lows: [Lows<T>; 2],
}

/// What a feed-forward's backward pass reads.
pub(crate) enum KeptFeedForward<T = Tensor> {
    Dense(KeptMlp<T>),
    Experts(KeptExperts<T>),
}

/// What the MLP's backward pass reads.
pub(crate) struct KeptMlp<T = Tensor> {
    pub gate: Option<T>,
    pub up: T,
    pub lows: [Lows<T>; 2],
}

/// What the experts' backward pass reads: gate and up of each place, where rows went, and `x·Aᵀ` of each place on the way
/// in and out.
pub(crate) struct KeptExperts<T = Tensor> {
    pub gate: T,
    pub up: T,
    pub routing: KeptRouting<T>,
    pub lows: [Lows<T>; 2],
}

/// What a router's backward pass reads.
pub(crate) struct KeptRouting<T = Tensor> {
    /// Small, and another choice would follow from others: never rounded.
    pub logits: Tensor,
    pub low: Lows<T>,
}

impl<T> Kept<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Kept<U> {
        Kept {
            mixer: match self.mixer {
                KeptMixer::Attention(kept) => KeptMixer::Attention(KeptAttention {
                    raw: kept.raw.map(|raw| raw.map(&f)),
                    q: f(kept.q),
                    k: f(kept.k),
                    v: f(kept.v),
                    attended: f(kept.attended),
                    lse: kept.lse,
                    lows: kept.lows.map(|lows| map_lows(lows, &f)),
                }),
            },
            mixer_out: self.mixer_out.map(&f),
            middle: self.middle.map(&f),
            feed_forward: match self.feed_forward {
                KeptFeedForward::Dense(kept) => KeptFeedForward::Dense(KeptMlp {
                    gate: kept.gate.map(&f),
                    up: f(kept.up),
                    lows: kept.lows.map(|lows| map_lows(lows, &f)),
                }),
                KeptFeedForward::Experts(kept) => KeptFeedForward::Experts(KeptExperts {
                    gate: f(kept.gate),
                    up: f(kept.up),
                    routing: KeptRouting {
                        logits: kept.routing.logits,
                        low: map_lows(kept.routing.low, &f),
                    },
                    lows: kept.lows.map(|lows| map_lows(lows, &f)),
                }),
            },
            feed_forward_out: self.feed_forward_out.map(&f),
        }
    }
}

impl Kept {
    /// For the time until the backward pass.
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
