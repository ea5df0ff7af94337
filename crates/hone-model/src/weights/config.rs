//! What a decoder looks like: the settings that make one definition compute every family.
//!
//! A family is a file under [`families`](super::families) that turns its own `config.json` or GGUF metadata into
//! these settings. A field that would change the arithmetic either is read or has to hold the one value that is
//! computed; nothing of that kind is skipped.

use std::path::{Path, PathBuf};

use hone_tensor::{Gelu, Heads};
use serde::Serialize;

use super::gguf::{Gguf, GgufError};
use super::names::{Names, NormAt};
use super::rope::Rope;
use super::{hf, metadata};

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
    /// How norms and branches follow each other.
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
    pub rope_pairs: Pairs,
    /// Whether a learned vector for each position is added to the embedding.
    pub learned_positions: bool,
    /// Where the layers differ.
    pub layers: Vec<LayerKind>,
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

/// The MLP of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mlp {
    /// One for all tokens.
    #[default]
    Dense,
    /// Several, and a router that sends each token to a few of them.
    Experts,
}

impl Mlp {
    fn is_dense(&self) -> bool {
        *self == Self::Dense
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
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// The first with the first of the second half.
    Halves,
    /// The first with the second.
    Neighbours,
}

/// What one layer does differently from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerKind {
    /// How many tokens back it sees, itself among them; all of them if not said.
    pub window: Option<usize>,
    /// How its queries and keys turn.
    pub positions: Positions,
    /// One MLP or experts.
    #[serde(skip_serializing_if = "Mlp::is_dense")]
    pub mlp: Mlp,
}

/// How queries and keys of a layer know where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// They turn as [`DecoderConfig::rope`] says.
    Rope,
    /// They turn as [`DecoderConfig::local_rope`] says.
    LocalRope,
    /// They do not turn.
    Unmarked,
}

impl LayerKind {
    /// Sees everything before it, with rotary positions.
    pub const PLAIN: Self = Self {
        window: None,
        positions: Positions::Rope,
        mlp: Mlp::Dense,
    };
}

/// A configuration that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, a key twice in an object, or a key that is no name.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A field of a wrong type.
    #[error("{}: `{field}`: {source}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Metadata of a wrong type.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// A field that must be there.
    #[error("{}: `{field}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// A model that computes something else.
    #[error("{}: `{field}` is {found}; Hone supports {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// The values that are supported.
        supported: String,
    },
    /// Numbers that contradict each other.
    #[error("{}: {problem}", path.display())]
    Impossible {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        problem: String,
    },
}

/// Most of what a size may be: products of two, and sums of a few of those, stay below 2^64.
const MOST: usize = i32::MAX as usize;

/// Most layers, heads and columns of a head. There is a list of each before a tensor has been looked at.
pub(super) const MOST_PARTS: usize = 1 << 16;

impl DecoderConfig {
    /// Reads the contents of a `config.json`; `path` is for messages.
    pub fn from_hf(json: &[u8], path: &Path) -> Result<Self, ConfigError> {
        hf::read(json, path)?.checked(path)
    }

    /// Reads the metadata of a GGUF file; `path` is for messages.
    pub fn from_gguf(gguf: &Gguf, path: &Path) -> Result<Self, ConfigError> {
        metadata::read(gguf, path)?.checked(path)
    }

    /// The shape of attention in one layer.
    pub(crate) fn heads(&self, layer: usize) -> Heads {
        Heads {
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            scale: self.attention_scale,
            window: self.layers[layer].window,
            cap: self.attention_cap,
        }
    }

    /// Whether what enters the first layer depends on the token alone.
    pub(crate) fn is_first_layer_blind(&self) -> bool {
        !self.learned_positions
    }

    /// Refuses what no decoder could be.
    fn checked(self, path: &Path) -> Result<Self, ConfigError> {
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
        match zero.or(huge).or_else(|| self.contradiction()) {
            Some(problem) => Err(ConfigError::Impossible {
                path: path.into(),
                problem,
            }),
            None => Ok(self),
        }
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
        if self.layers.iter().any(|layer| layer.window == Some(0)) {
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

#[cfg(test)]
mod tests {
    use super::super::gguf::tests as written;
    use super::super::rope::RopeScaling;
    use super::*;
    use serde_json::{Value as Json, json};

    fn small() -> Json {
        json!({
            "model_type": "llama", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 80,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
            "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": [2, 5],
            "torch_dtype": "float32", "use_cache": true,
        })
    }

    fn with(changes: Json) -> Result<DecoderConfig, ConfigError> {
        let mut config = small();
        for (field, value) in changes.as_object().unwrap() {
            config[field] = value.clone();
        }
        DecoderConfig::from_hf(config.to_string().as_bytes(), Path::new("config.json"))
    }

    fn refusal(changes: Json) -> String {
        with(changes).unwrap_err().to_string()
    }

    #[test]
    fn absent_fields_have_the_values_transformers_gives_them() {
        let config = with(json!({})).unwrap();
        let expected = DecoderConfig {
            model_type: "llama".into(),
            vocab_size: 300,
            d_model: 32,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 8,
            d_ff: 80,
            norm_eps: 1e-5,
            block: Block::PreNorm,
            norm: NormKind::Rms,
            norm_offset: 0.0,
            query_key_norm: QueryKeyNorm::None,
            activation: Activation::GatedSilu,
            rope: Rope {
                theta: 10_000.0,
                scaling: RopeScaling::None,
            },
            local_rope: None,
            rotary_dim: 8,
            rope_pairs: Pairs::Halves,
            learned_positions: false,
            layers: vec![LayerKind::PLAIN; 2],
            experts: None,
            attention_scale: 8_f32.sqrt().recip(),
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
            names: &super::super::families::LLAMA_NAMES,
            context_len: 2048,
            bos: Some(1),
            eos: vec![2, 5],
        };
        assert_eq!(config, expected);
        assert_eq!(with(json!({"eos_token_id": 2})).unwrap().eos, [2]);
        assert_eq!(
            with(json!({"num_key_value_heads": null}))
                .unwrap()
                .num_kv_heads,
            4
        );
    }

    #[test]
    fn rope_is_read_as_transformers_4_and_5_write_it() {
        let llama3 = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024,
        });
        let older = with(json!({"rope_theta": 500000.0, "rope_scaling": llama3}))
            .unwrap()
            .rope;
        let mut newer = llama3.clone();
        newer["rope_theta"] = json!(500000.0);
        assert_eq!(with(json!({"rope_parameters": newer})).unwrap().rope, older);
        assert_eq!(older.theta, 500_000.0);
        let expected = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 1024,
        };
        assert_eq!(older.scaling, expected);
        let linear = with(json!({"rope_scaling": {"type": "linear", "factor": 2}})).unwrap();
        assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 2.0 });
    }

    #[test]
    fn what_would_change_the_arithmetic_is_refused_by_name() {
        let cases = [
            (
                json!({"model_type": "mamba"}),
                "`model_type` is `mamba`; Hone supports llama, mistral, qwen2, qwen3, granite, smollm3, olmo2, phi3, gemma, gemma2, gemma3_text, cohere, stablelm, starcoder2, phi, gpt_neox, falcon, gpt2, mixtral, qwen3_moe",
            ),
            (
                json!({"hidden_act": "gelu"}),
                "`hidden_act` is \"gelu\"; Hone supports `silu`",
            ),
            (
                json!({"pretraining_tp": 2}),
                "`pretraining_tp` is 2; Hone supports 1",
            ),
            (
                json!({"attention_dropout": 0.1}),
                "`attention_dropout` is 0.1; Hone supports 0",
            ),
            (
                json!({"sliding_window": 4096}),
                "`sliding_window` is 4096; Hone supports models without it",
            ),
            (
                json!({"rope_scaling": {"rope_type": "dynamic", "factor": 4}}),
                "`rope_scaling.rope_type` is `dynamic`; Hone supports default, linear, llama3, yarn, longrope",
            ),
            (
                json!({"rope_scaling": {"factor": 4}}),
                "`rope_scaling.factor` is set; Hone supports no such setting for rope type `default`",
            ),
            (
                json!({"rope_parameters": {"rope_type": "linear", "factor": 2, "mscale": 1}}),
                "`rope_parameters.mscale` is set; Hone supports no such setting for rope type `linear`",
            ),
            (
                json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
                "`rope_parameters.partial_rotary_factor` is set; Hone supports no such setting for rope type `default`",
            ),
        ];
        for (changes, message) in cases {
            assert_eq!(refusal(changes), format!("config.json: {message}"));
        }
    }

    #[test]
    fn missing_and_contradictory_fields_are_refused() {
        let cases = [
            (json!({"vocab_size": null}), "`vocab_size` is missing"),
            (
                json!({"rope_scaling": {"type": "linear"}}),
                "`rope_scaling.factor` is missing",
            ),
            (
                json!({"num_attention_heads": 0}),
                "a width of 32 does not divide into 0 heads",
            ),
            (
                json!({"num_attention_heads": 5}),
                "a width of 32 does not divide into 5 heads",
            ),
            (
                json!({"num_key_value_heads": 3}),
                "4 query heads cannot share 3 key/value heads evenly",
            ),
            (
                json!({"num_key_value_heads": 0}),
                "the key/value head count is 0",
            ),
            (
                json!({"head_dim": 7}),
                "rotary positions need an even head width, not 7",
            ),
            (
                json!({"intermediate_size": 1_u64 << 40}),
                "the MLP width is 1099511627776, and 2147483647 is the most",
            ),
            (
                json!({"rope_theta": -1}),
                "norm epsilon 0.00001 and rope theta -1 must be positive",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 0}}),
                "rope scaling Linear { factor: 0.0 } makes a pair turn by inf",
            ),
        ];
        for (changes, message) in cases {
            assert_eq!(refusal(changes), format!("config.json: {message}"));
        }
    }

    /// A llama's metadata with some keys set to other values (an empty one takes the key away), and its tensors.
    fn gguf(
        changes: &[(&str, u32, &[u8])],
        tensors: Vec<Vec<u8>>,
    ) -> Result<DecoderConfig, ConfigError> {
        let number = |value: u32| value.to_le_bytes().to_vec();
        let mut keys = vec![
            ("general.architecture", 8, written::text("llama")),
            ("llama.context_length", 4, number(2048)),
            ("llama.embedding_length", 4, number(32)),
            ("llama.block_count", 4, number(2)),
            ("llama.feed_forward_length", 4, number(80)),
            ("llama.attention.head_count", 4, number(4)),
            ("llama.attention.head_count_kv", 4, number(2)),
            (
                "llama.attention.layer_norm_rms_epsilon",
                6,
                1e-5_f32.to_le_bytes().to_vec(),
            ),
            ("llama.vocab_size", 4, number(300)),
            ("tokenizer.ggml.bos_token_id", 4, number(1)),
            ("tokenizer.ggml.eos_token_id", 4, number(2)),
        ];
        for (key, id, value) in changes {
            keys.retain(|row| row.0 != *key);
            keys.extend((!value.is_empty()).then(|| (*key, *id, value.to_vec())));
        }
        let metadata = keys
            .iter()
            .map(|(key, id, value)| written::key(key, *id, value))
            .collect();
        let file = written::Writer {
            version: 3,
            metadata,
            tensors,
            data: 4096,
        }
        .parse()
        .unwrap();
        DecoderConfig::from_gguf(&file, Path::new("m.gguf"))
    }

    #[test]
    fn gguf_metadata_says_what_config_json_says() {
        let hf = with(json!({"tie_word_embeddings": true, "eos_token_id": 2})).unwrap();
        assert_eq!(gguf(&[], vec![]).unwrap(), hf);
        let linear: [(&str, u32, &[u8]); 3] = [
            ("llama.rope.scaling.type", 8, &written::text("linear")),
            ("llama.rope.scaling.factor", 6, &4_f32.to_le_bytes()),
            ("tokenizer.ggml.eot_token_id", 4, &7_u32.to_le_bytes()),
        ];
        let config = gguf(
            &linear,
            vec![written::tensor("output.weight", &[32, 3], 0, 0)],
        )
        .unwrap();
        assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 4.0 });
        assert_eq!((config.eos, config.tied_head), (vec![2, 7], false));
    }

    #[test]
    fn stretching_stored_as_a_tensor_is_read() {
        let factors = || vec![written::tensor("rope_freqs.weight", &[4], 0, 0)];
        // The writer's data is zeros: a pair that turns infinitely fast is refused, so the factors were read.
        let error = gguf(&[], factors()).unwrap_err().to_string();
        assert!(
            error.contains("Factors { factors: [0.0, 0.0, 0.0, 0.0] } makes a pair turn by inf"),
            "{error}"
        );
        let error = gguf(&[], vec![written::tensor("rope_freqs.weight", &[3], 0, 0)]).unwrap_err();
        assert_eq!(error.to_string(), "m.gguf: 3 rope factors for heads 8 wide");
        let factor: (&str, u32, &[u8]) = ("llama.rope.scaling.factor", 6, &4_f32.to_le_bytes());
        assert!(
            gguf(&[factor], factors())
                .unwrap_err()
                .to_string()
                .contains("linear beside rope_freqs")
        );
    }

    #[test]
    fn gguf_metadata_that_would_change_the_arithmetic_is_refused() {
        let cases: [(&str, u32, &[u8], &str); 9] = [
            (
                "general.architecture",
                8,
                &written::text("mamba"),
                "`general.architecture` is `mamba`; Hone supports llama, qwen2, qwen3, granite, smollm3, olmo2, phi3, gemma, gemma2, gemma3, command-r, stablelm, starcoder2, phi2, gptneox, falcon, gpt2, qwen3moe",
            ),
            (
                "general.architecture",
                8,
                &[],
                "`general.architecture` is missing",
            ),
            (
                "llama.logit_scale",
                6,
                &[0; 4],
                "`llama.logit_scale` is set; Hone supports models without it",
            ),
            (
                "llama.expert_count",
                4,
                &[8, 0, 0, 0],
                "`llama.expert_used_count` is missing",
            ),
            (
                "llama.rope.dimension_count",
                4,
                &[4, 0, 0, 0],
                "`llama.rope.dimension_count` is 4; Hone supports the head width, 8",
            ),
            (
                "llama.rope.scaling.type",
                8,
                &written::text("yarn"),
                "`llama.rope.scaling.factor` is missing",
            ),
            (
                "llama.rope.scaling.type",
                8,
                &written::text("ntk"),
                "`llama.rope.scaling.type` is `ntk`; Hone supports none, linear, yarn, longrope",
            ),
            (
                "llama.block_count",
                4,
                &[],
                "`llama.block_count` is missing",
            ),
            (
                "llama.block_count",
                6,
                &[0; 4],
                "metadata `llama.block_count` should be an integer of 32 bits, found 0",
            ),
        ];
        for (key, id, value, message) in cases {
            let error = gguf(&[(key, id, value)], vec![]).unwrap_err();
            assert_eq!(error.to_string(), format!("m.gguf: {message}"));
        }
        assert!(gguf(&[("llama.expert_count", 4, &[0; 4])], vec![]).is_ok());
    }

    #[test]
    fn broken_json_is_refused_by_line() {
        let error =
            DecoderConfig::from_hf(b"{\n\"model_type\": ", Path::new("config.json")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.json: EOF while parsing a value at line 2 column 14"
        );
        assert!(
            refusal(json!({"hidden_size": "wide"}))
                .contains("invalid type: string \"wide\", expected usize")
        );
    }
}
