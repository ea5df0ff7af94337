//! What a decoder looks like: the settings that make one definition compute every family.
//!
//! Plain values, which readers of files fill: what reads a `config.json` or GGUF metadata stands above and knows this.

use hone_tensor::{Gelu, Heads};
use serde::Serialize;

use super::layer::{Attention, Block, LayerSpec, Mixer};
use super::names::Names;
use super::rope::{Rope, RopeScaling};

/// Everything the decoder needs to know before it sees a weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecoderConfig {
    /// The family, as Hugging Face names it.
    pub model_type: String,
    /// Tokens the embedding knows.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; each serves as many query heads as divide evenly.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width inside the MLP; inside one of several experts as [`Experts`] says.
    pub d_ff: usize,
    /// The experts of those layers that have some in place of an MLP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
    /// How norms and branches of each layer follow each other.
    pub block: Block,
    /// What the norms of a block and the one before the head compute.
    pub norm: NormKind,
    /// What norms add under the root.
    pub norm_eps: f32,
    /// What is added to a norm's weights: 1 for Gemma, which stores them less one.
    pub norm_offset: f32,
    /// Whether queries and keys are normed before they turn.
    pub query_key_norm: QueryKeyNorm,
    /// What stands between the linear layers of the MLP.
    pub activation: Activation,
    /// Rotary positions.
    pub rope: Rope,
    /// Rotary positions of layers that say so.
    pub local_rope: Option<Rope>,
    /// How much of a head turns, from its beginning.
    pub rotary_dim: usize,
    /// Which columns turn together.
    pub rope_pairs: RopeLayout,
    /// Whether a learned vector for each position is added to the embedding.
    pub learned_positions: bool,
    /// What stands in each layer.
    pub layers: Vec<LayerSpec>,
    /// What attention scores are multiplied with.
    pub attention_scale: f32,
    /// Scores become `cap · tanh(score / cap)`.
    pub attention_cap: Option<f32>,
    /// Logits become `cap · tanh(logit / cap)`.
    pub logit_cap: Option<f32>,
    /// What the embedding is multiplied with.
    pub embedding_scale: f32,
    /// What attention and MLP are multiplied with before they are added to the stream.
    pub residual_scale: f32,
    /// What logits are multiplied with.
    pub logit_scale: f32,
    /// Whether the embedding is the head too.
    pub tied_head: bool,
    /// Whether q, k and v add a bias.
    pub attention_bias: bool,
    /// Whether the output of attention adds a bias.
    pub output_bias: bool,
    /// Whether the linear layers of the MLP add a bias.
    pub mlp_bias: bool,
    /// Whether the head adds a bias.
    pub head_bias: bool,
    /// Longest text the model was made for, in tokens.
    pub context_len: usize,
    /// Token that starts a text, if the model has one.
    pub bos: Option<u32>,
    /// Tokens that end a reply.
    pub eos: Vec<u32>,
    /// What its tensors are called.
    #[serde(skip)]
    pub(crate) names: &'static Names,
}

/// The MLPs of a layer of which each token takes a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// How many a layer has.
    pub count: usize,
    /// How many a token goes to: those with the greatest shares of the router's softmax.
    pub per_token: usize,
    /// Width inside one.
    pub d_ff: usize,
    /// Whether the shares of the chosen are divided by their sum.
    pub is_normalised: bool,
}

impl Experts {
    fn contradiction(self) -> Option<String> {
        let Self {
            count, per_token, ..
        } = self;
        (per_token > count).then(|| format!("a token goes to {per_token} of {count} experts"))
    }
}

/// What a norm computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// By the root mean square (Zhang & Sennrich 2019).
    Rms,
    /// By mean and variance (Ba et al. 2016), with weight and bias.
    Layer,
    /// The same without a bias.
    LayerNoBias,
}

impl NormKind {
    pub(crate) fn has_bias(self) -> bool {
        self == Self::Layer
    }
}

/// Norms on queries and keys, of the block's kind but without a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryKeyNorm {
    /// None.
    None,
    /// Each head by itself, one weight vector for all.
    PerHead,
    /// Each head by itself, with weights of its own, stored as a matrix.
    EachHead,
    /// The same, stored as a list of vectors.
    ListOfHeads,
    /// All heads together.
    Whole,
}

/// What stands between the linear layers of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `silu(gate) · up`.
    GatedSilu,
    /// `gelu(gate) · up`, with the tanh.
    GatedGeluTanh,
    /// `gelu(gate) · up`, with the normal distribution.
    GatedGeluErf,
    /// `gelu(up)`, with the tanh.
    GeluTanh,
    /// `gelu(up)`, with the normal distribution.
    GeluErf,
}

impl Activation {
    /// The form of its GELU; none for SiLU.
    pub(crate) fn gelu(self) -> Option<Gelu> {
        match self {
            Self::GatedSilu => None,
            Self::GatedGeluTanh | Self::GeluTanh => Some(Gelu::Tanh),
            Self::GatedGeluErf | Self::GeluErf => Some(Gelu::Erf),
        }
    }
}

/// Which columns of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RopeLayout {
    /// The first with the first of the second half.
    #[serde(rename = "halves")] // as the identities of runs have it
    HalfSplit,
    /// The first with the second.
    #[serde(rename = "neighbours")]
    Interleaved,
}

/// Most of what a size may be: products of two, and sums of a few of those, stay below 2^64.
const MOST: usize = i32::MAX as usize;

/// Most layers, heads and columns of a head. There is a list of each before a tensor has been looked at.
const MOST_PARTS: usize = 1 << 16;

impl DecoderConfig {
    /// A llama of this size: what a family starts from. What every file says is yet to be said.
    pub(crate) fn plain(
        (model_type, names): (&str, &'static Names),
        d_model: usize,
        num_heads: usize,
        head_dim: usize,
        num_layers: usize,
    ) -> Self {
        Self {
            model_type: model_type.to_owned(),
            vocab_size: 0,
            d_model,
            num_layers,
            num_heads,
            num_kv_heads: num_heads,
            head_dim,
            d_ff: 0,
            block: Block::PreNorm,
            norm: NormKind::Rms,
            norm_eps: 0.0,
            norm_offset: 0.0,
            query_key_norm: QueryKeyNorm::None,
            activation: Activation::GatedSilu,
            rope: Rope {
                theta: 0.0,
                scaling: RopeScaling::None,
            },
            local_rope: None,
            rotary_dim: head_dim,
            rope_pairs: RopeLayout::HalfSplit,
            learned_positions: false,
            // A size that cannot be is refused later; until then it must not be allocated.
            layers: vec![LayerSpec::PLAIN; num_layers.min(MOST_PARTS)],
            attention_scale: (head_dim as f32).sqrt().recip(),
            experts: None,
            attention_cap: None,
            logit_cap: None,
            embedding_scale: 1.0,
            residual_scale: 1.0,
            logit_scale: 1.0,
            tied_head: false,
            attention_bias: false,
            output_bias: false,
            mlp_bias: false,
            head_bias: false,
            context_len: 0,
            bos: None,
            eos: Vec::new(),
            names,
        }
    }

    /// The shape of a layer's attention.
    pub(crate) fn heads(&self, attention: Attention) -> Heads {
        Heads {
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            scale: self.attention_scale,
            window: attention.window,
            cap: self.attention_cap,
        }
    }

    /// Whether what enters the first layer depends on the token alone.
    pub(crate) fn is_first_layer_blind(&self) -> bool {
        !self.learned_positions
    }

    /// Layers with attention, each with its number.
    pub(crate) fn attention(&self) -> impl Iterator<Item = (usize, &Attention)> {
        let layers = self.layers.iter().enumerate();
        layers.map(|(index, layer)| match &layer.mixer {
            Mixer::Attention(attention) => (index, attention),
        })
    }

    /// The same, to be changed.
    pub(crate) fn attention_mut(&mut self) -> impl Iterator<Item = (usize, &mut Attention)> {
        let layers = self.layers.iter_mut().enumerate();
        layers.map(|(index, layer)| match &mut layer.mixer {
            Mixer::Attention(attention) => (index, attention),
        })
    }

    /// How many tokens back layers with attention see, where they do not see all.
    pub fn windows(&self) -> impl Iterator<Item = Option<usize>> + Clone {
        let layers = self.layers.iter();
        layers.map(|layer| match layer.mixer {
            Mixer::Attention(attention) => attention.window,
        })
    }

    /// Why no decoder could be so, if that is it.
    pub(crate) fn problem(&self) -> Option<String> {
        let experts = self.experts.map_or([1; 3], |experts| {
            [experts.count, experts.per_token, experts.d_ff]
        });
        let [num_experts, per_token, expert_width] = experts;
        let sizes = [
            ("expert count", num_experts, MOST_PARTS),
            ("count of experts for a token", per_token, MOST_PARTS),
            ("width of an expert", expert_width, MOST),
            ("vocabulary size", self.vocab_size, MOST),
            ("model width", self.d_model, MOST),
            ("layer count", self.num_layers, MOST_PARTS),
            ("head count", self.num_heads, MOST_PARTS),
            ("key/value head count", self.num_kv_heads, MOST_PARTS),
            ("head width", self.head_dim, MOST_PARTS),
            ("MLP width", self.d_ff, MOST),
            ("context length", self.context_len, MOST),
        ];
        let zero = sizes
            .iter()
            .find(|size| size.1 == 0)
            .map(|size| format!("the {} is 0", size.0));
        let huge = sizes
            .iter()
            .find(|size| size.1 > size.2)
            .map(|size| format!("the {} is {}, and {} is the most", size.0, size.1, size.2));
        zero.or(huge).or_else(|| self.contradiction())
    }

    fn contradiction(&self) -> Option<String> {
        let (heads, kv) = (self.num_heads, self.num_kv_heads);
        if !heads.is_multiple_of(kv) {
            return Some(format!(
                "{heads} query heads cannot share {kv} key/value heads evenly"
            ));
        }
        let width = self.rotary_dim;
        if !width.is_multiple_of(2) {
            return Some(format!(
                "rotary positions need an even head width, not {width}"
            ));
        }
        if width == 0 || width > self.head_dim {
            return Some(format!(
                "{width} columns of a head {} wide are said to turn",
                self.head_dim
            ));
        }
        if let Some(problem) = self.experts.and_then(Experts::contradiction) {
            return Some(problem);
        }
        let positive = |number: f32| number > 0.0 && number.is_finite();
        let ropes = || {
            [Some(&self.rope), self.local_rope.as_ref()]
                .into_iter()
                .flatten()
        };
        if let Some(rope) = ropes().find(|rope| !positive(self.norm_eps) || !positive(rope.theta)) {
            return Some(format!(
                "norm epsilon {} and rope theta {} must be positive",
                self.norm_eps, rope.theta
            ));
        }
        let scales = [
            ("attention scale", self.attention_scale),
            ("attention cap", self.attention_cap.unwrap_or(1.0)),
            ("logit cap", self.logit_cap.unwrap_or(1.0)),
            ("embedding scale", self.embedding_scale),
            ("residual scale", self.residual_scale),
            ("logit scale", self.logit_scale),
        ];
        if let Some((name, scale)) = scales.into_iter().find(|row| !positive(row.1)) {
            return Some(format!("the {name} is {scale}, and must be positive"));
        }
        if self.windows().any(|window| window == Some(0)) {
            return Some("a layer sees 0 tokens".to_owned());
        }
        ropes().find_map(|rope| self.wrong_rope(rope))
    }

    fn wrong_rope(&self, rope: &Rope) -> Option<String> {
        if let Some(count) = rope.scaling.wrong_count(self.rotary_dim / 2) {
            return Some(format!(
                "{count} rope factors for heads {} wide",
                self.rotary_dim
            ));
        }
        let positive = |number: f32| number > 0.0 && number.is_finite();
        let speeds = [0, usize::MAX].map(|positions| rope.speeds(self.rotary_dim, positions));
        let factor = rope.scaling.attention_factor();
        let mut numbers = speeds.into_iter().flatten().chain([factor]);
        let wrong = numbers.find(|number| !positive(*number))?;
        Some(format!(
            "rope scaling {:?} makes a pair turn by {wrong}",
            rope.scaling
        ))
    }
}
