//! One block: what mixes tokens, and what works on each by itself; and the order of norms and branches in all of them.
//!
//! A kind of either is a variant here; whatever has to know all kinds matches on them, so that the compiler names every
//! place that a new one concerns.

use serde::Serialize;

use super::names::{Group, NormAt};

/// A block. Written down it is part of what a run is about, so what is there keeps its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerSpec {
    /// Where a token learns of those before it.
    #[serde(flatten)]
    pub mixer: Mixer,
    /// One MLP or experts.
    #[serde(rename = "mlp", skip_serializing_if = "FeedForward::is_dense")]
    pub feed_forward: FeedForward,
}

impl LayerSpec {
    /// Attention to everything before, with rotary positions, and an MLP.
    pub const PLAIN: Self = Self {
        mixer: Mixer::Attention(Attention {
            window: None,
            positions: Positions::Rope,
        }),
        feed_forward: FeedForward::Dense,
    };
}

/// What mixes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Mixer {
    /// Softmax attention.
    Attention(Attention),
}

impl Mixer {
    /// Its projections by what they read, in the order of the network.
    pub(crate) fn groups(self) -> &'static [Group] {
        match self {
            Self::Attention(_) => &[Group::AttentionIn, Group::AttentionOut],
        }
    }

    /// Which work may be left out at it without another result.
    pub(crate) fn exact(self) -> Exact {
        match self {
            Self::Attention(_) => Exact {
                shared_prefix: true,
                distinct_tokens: true,
                asked_rows: true,
            },
        }
    }
}

/// Shortcuts that are exact at a mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exact {
    /// Tokens that begin several sequences stand once: what follows reads their keys wherever they are.
    pub shared_prefix: bool,
    /// Its projections may be computed once for equal rows.
    pub distinct_tokens: bool,
    /// Results may be asked for of some rows alone.
    pub asked_rows: bool,
}

/// Where a layer's attention differs from that of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Attention {
    /// How many tokens back it sees, itself among them; all of them if not said.
    pub window: Option<usize>,
    /// How its queries and keys turn.
    pub positions: Positions,
}

/// How queries and keys of a layer know where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// They turn as [`super::DecoderConfig::rope`] says.
    Rope,
    /// They turn as [`super::DecoderConfig::local_rope`] says.
    LocalRope,
    /// They do not turn.
    Unmarked,
}

/// What works on each token by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// One MLP for all tokens.
    #[default]
    Dense,
    /// Several, and a router that sends each token to a few of them.
    Experts,
}

impl FeedForward {
    fn is_dense(&self) -> bool {
        *self == Self::Dense
    }

    /// Its projections by what they read, in the order of the network.
    pub(crate) fn groups(self) -> &'static [Group] {
        match self {
            Self::Dense => &[Group::MlpIn, Group::MlpOut],
            Self::Experts => &[Group::Router, Group::ExpertsIn, Group::ExpertsOut],
        }
    }
}

/// The order of a block; `x` is what enters it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// `h = x + attention(norm(x))`, `h + mlp(norm(h))`.
    PreNorm,
    /// `h = x + norm(attention(x))`, `h + norm(mlp(h))`.
    PostNorm,
    /// `h = x + norm(attention(norm(x)))`, `h + norm(mlp(norm(h)))`.
    Sandwich,
    /// `x + attention(norm(x)) + mlp(norm(x))`, one norm for both.
    Parallel,
    /// `x + attention(norm(x)) + mlp(norm(x))`, each with a norm of its own.
    ParallelTwoNorms,
}

impl Block {
    /// Whether attention and MLP read the same.
    pub(crate) fn is_parallel(self) -> bool {
        matches!(self, Self::Parallel | Self::ParallelTwoNorms)
    }

    pub(super) fn has(self, at: NormAt) -> bool {
        match at {
            NormAt::AttentionIn => self != Self::PostNorm,
            NormAt::MlpIn => !matches!(self, Self::PostNorm | Self::Parallel),
            NormAt::AttentionOut | NormAt::MlpOut => {
                matches!(self, Self::PostNorm | Self::Sandwich)
            }
            NormAt::Query | NormAt::Key => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run's identity is made of it: another form would be another run.
    #[test]
    fn a_layer_is_written_down_in_one_form() {
        let written = |layer| serde_json::to_string(&layer).unwrap();
        let plain = r#"{"window":null,"positions":"rope"}"#;
        assert_eq!(written(LayerSpec::PLAIN), plain);
        let experts = LayerSpec {
            feed_forward: FeedForward::Experts,
            ..LayerSpec::PLAIN
        };
        let with_experts = r#"{"window":null,"positions":"rope","mlp":"experts"}"#;
        assert_eq!(written(experts), with_experts);
    }
}
