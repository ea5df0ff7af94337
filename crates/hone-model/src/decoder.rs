//! One decoder, driven by its configuration: the frozen matrices and where they sit.
//!
//! The decoder says *what* is projected; a [`Weight`] knows *how* it is stored. So one definition serves
//! f32, 16-bit and 4-bit bases, with an adapter or without.

use std::sync::Arc;

use half::bf16;
use hone_tensor::{Bytes, Device, Format, Heads, StoredError, StoredMatrix, Tensor, Weight, nf4};

use crate::weights::{BaseWeights, DecoderConfig, WeightsError};

/// Projections that read the same input, in the order of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Query, key and value.
    AttentionIn,
    /// What attention gives back.
    AttentionOut,
    /// Gate and up.
    MlpIn,
    /// Down.
    MlpOut,
    /// Hidden state to vocabulary.
    Head,
}

/// One projection of one layer: a place where an adapter can sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    layer: Option<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
    Head,
}

/// Name on disk, group, and parent module of each kind.
const KINDS: [(Kind, &str, Group, &str); 8] = [
    (Kind::Query, "q_proj", Group::AttentionIn, "self_attn"),
    (Kind::Key, "k_proj", Group::AttentionIn, "self_attn"),
    (Kind::Value, "v_proj", Group::AttentionIn, "self_attn"),
    (Kind::Output, "o_proj", Group::AttentionOut, "self_attn"),
    (Kind::Gate, "gate_proj", Group::MlpIn, "mlp"),
    (Kind::Up, "up_proj", Group::MlpIn, "mlp"),
    (Kind::Down, "down_proj", Group::MlpOut, "mlp"),
    (Kind::Head, "lm_head", Group::Head, ""),
];

impl Site {
    /// The head.
    pub const HEAD: Self = Self {
        layer: None,
        kind: Kind::Head,
    };

    fn row(self) -> &'static (Kind, &'static str, Group, &'static str) {
        KINDS
            .iter()
            .find(|row| row.0 == self.kind)
            .expect("each kind has a row")
    }

    /// The last part of its path: `q_proj`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Its module path as Hugging Face names it: `model.layers.0.self_attn.q_proj`.
    pub fn path(self) -> String {
        let (_, name, _, parent) = self.row();
        match self.layer {
            Some(layer) => format!("model.layers.{layer}.{parent}.{name}"),
            None => (*name).to_owned(),
        }
    }

    /// The projections that read the same input.
    pub(crate) fn group(self) -> Group {
        self.row().2
    }

    /// Its place among the projections of its group.
    pub(crate) fn slot(self) -> usize {
        let same_group = KINDS.iter().filter(|row| row.2 == self.group());
        same_group.take_while(|row| row.0 != self.kind).count()
    }

    /// Its layer; the head counts as one past the last.
    pub(crate) fn layer_index(self, num_layers: usize) -> usize {
        self.layer.unwrap_or(num_layers)
    }
}

impl DecoderConfig {
    /// Every projection, in the order of the network.
    pub fn sites(&self) -> Vec<Site> {
        let in_layer = |layer| {
            KINDS
                .iter()
                .filter(|row| row.0 != Kind::Head)
                .map(move |row| Site {
                    layer: Some(layer),
                    kind: row.0,
                })
        };
        (0..self.num_layers)
            .flat_map(in_layer)
            .chain([Site::HEAD])
            .collect()
    }

    /// `(out, in)` of a projection.
    pub fn projection(&self, site: Site) -> (usize, usize) {
        let (queries, keys) = (
            self.num_heads * self.head_dim,
            self.num_kv_heads * self.head_dim,
        );
        match site.kind {
            Kind::Query => (queries, self.d_model),
            Kind::Key | Kind::Value => (keys, self.d_model),
            Kind::Output => (self.d_model, queries),
            Kind::Gate | Kind::Up => (self.d_ff, self.d_model),
            Kind::Down => (self.d_model, self.d_ff),
            Kind::Head => (self.vocab_size, self.d_model),
        }
    }

    /// Numbers in the linear layers, the head not counted: the `N` of the cost formulas.
    pub fn linear_parameters(&self) -> usize {
        let size = |site: &Site| self.projection(*site).0 * self.projection(*site).1;
        self.sites()
            .iter()
            .filter(|site| **site != Site::HEAD)
            .map(size)
            .sum()
    }

    pub(crate) fn heads(&self) -> Heads {
        Heads {
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            scale: (self.head_dim as f32).sqrt().recip(),
        }
    }
}

/// How a base is taken into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BaseFormat {
    /// As it is on disk.
    #[default]
    Stored,
    /// Linear layers as f32, whatever they were.
    F32,
    /// Linear layers as bf16, rounded to nearest.
    Bf16,
    /// Linear layers but the head as NF4 with double quantisation (Dettmers et al. 2023).
    Nf4,
}

/// Why a base cannot be made into a decoder.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The files are at fault.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A matrix is not of the size that the configuration says.
    #[error("`{name}` is {got_rows}×{got_cols}, but the configuration says {rows}×{cols}")]
    Shape {
        /// Which.
        name: String,
        /// What is there.
        got_rows: usize,
        /// What is there.
        got_cols: usize,
        /// What should be.
        rows: usize,
        /// What should be.
        cols: usize,
    },
    /// A matrix cannot be brought into the form asked for.
    #[error("`{name}` cannot be converted: {source}")]
    Convert {
        /// Which.
        name: String,
        /// Why.
        source: StoredError,
    },
}

/// A frozen linear layer.
#[derive(Debug)]
pub(crate) struct Projection {
    pub weight: Arc<Weight>,
    pub bias: Option<Tensor>,
}

/// One transformer block.
#[derive(Debug)]
pub(crate) struct Layer {
    pub attention_norm: Tensor,
    pub attention_in: Vec<Projection>,
    pub attention_out: Vec<Projection>,
    pub mlp_norm: Tensor,
    pub mlp_in: Vec<Projection>,
    pub mlp_out: Vec<Projection>,
}

impl Layer {
    fn projections(&self) -> impl Iterator<Item = &Projection> {
        [
            &self.attention_in,
            &self.attention_out,
            &self.mlp_in,
            &self.mlp_out,
        ]
        .into_iter()
        .flatten()
    }
}

/// The frozen network.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) device: Device,
    pub(crate) embedding: Arc<Weight>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_norm: Tensor,
    /// One projection; its matrix is the embedding's own when the two are tied.
    pub(crate) head: Vec<Projection>,
    pub(crate) rope_table: Tensor,
}

impl Decoder {
    /// Takes a base into memory, or maps it where its format allows. `max_positions` bounds the rotary
    /// table: the longest sequence that will be asked for.
    pub fn load(
        base: &BaseWeights,
        device: &Device,
        format: BaseFormat,
        max_positions: usize,
    ) -> Result<Self, LoadError> {
        let config = base.config().clone();
        let loader = Loader {
            base,
            device,
            config: &config,
            format,
        };
        let layers = (0..config.num_layers)
            .map(|layer| loader.layer(layer))
            .collect::<Result<_, _>>()?;
        let (vocab, d_model) = (config.vocab_size, config.d_model);
        let embedding = loader.weight(
            "model.embed_tokens.weight",
            vocab,
            d_model,
            BaseFormat::Stored,
        )?;
        let head = match config.tied_head {
            true => Arc::clone(&embedding),
            false => loader.weight("lm_head.weight", vocab, d_model, BaseFormat::Stored)?,
        };
        Ok(Self {
            embedding,
            layers,
            final_norm: loader.norm("model.norm.weight")?,
            head: vec![Projection {
                weight: head,
                bias: None,
            }],
            rope_table: rope_table(&config, device, max_positions),
            device: device.clone(),
            config,
        })
    }

    /// What it is.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The longest sequence it was loaded for.
    pub fn max_positions(&self) -> usize {
        self.rope_table.rows()
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let head = self.head.iter().filter(|_| !self.config.tied_head);
        let linear = self.layers.iter().flat_map(Layer::projections).chain(head);
        linear
            .map(|projection| &*projection.weight)
            .chain([&*self.embedding])
    }

    /// Bytes of the frozen matrices, in the form they are kept in.
    pub fn size_bytes(&self) -> usize {
        self.weights().map(Weight::size_bytes).sum()
    }

    /// Storage formats of the matrices and how many there are of each, most frequent first.
    pub fn formats(&self) -> Vec<(&'static str, usize)> {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for weight in self.weights() {
            let name = weight.format().name();
            match counts.iter_mut().find(|(n, _)| *n == name) {
                Some((_, count)) => *count += 1,
                None => counts.push((name, 1)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

struct Loader<'a> {
    base: &'a BaseWeights,
    device: &'a Device,
    config: &'a DecoderConfig,
    format: BaseFormat,
}

impl Loader<'_> {
    fn layer(&self, layer: usize) -> Result<Layer, LoadError> {
        let group = |group| -> Result<Vec<Projection>, LoadError> {
            let of_layer = KINDS.iter().filter(|row| row.2 == group).map(|row| Site {
                layer: Some(layer),
                kind: row.0,
            });
            of_layer.map(|site| self.projection(site)).collect()
        };
        Ok(Layer {
            attention_norm: self.norm(&format!("model.layers.{layer}.input_layernorm.weight"))?,
            attention_in: group(Group::AttentionIn)?,
            attention_out: group(Group::AttentionOut)?,
            mlp_norm: self.norm(&format!(
                "model.layers.{layer}.post_attention_layernorm.weight"
            ))?,
            mlp_in: group(Group::MlpIn)?,
            mlp_out: group(Group::MlpOut)?,
        })
    }

    fn projection(&self, site: Site) -> Result<Projection, LoadError> {
        let (rows, cols) = self.config.projection(site);
        let path = site.path();
        let has_bias = match site.group() {
            Group::AttentionIn | Group::AttentionOut => self.config.attention_bias,
            _ => self.config.mlp_bias,
        };
        let bias = if has_bias {
            Some(self.vector(&format!("{path}.bias"), rows)?)
        } else {
            None
        };
        Ok(Projection {
            weight: self.weight(&format!("{path}.weight"), rows, cols, self.format)?,
            bias,
        })
    }

    fn weight(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        format: BaseFormat,
    ) -> Result<Arc<Weight>, LoadError> {
        let matrix = self.base.matrix(name)?;
        let (got_rows, got_cols) = (matrix.rows(), matrix.cols());
        if (got_rows, got_cols) != (rows, cols) {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                got_rows,
                got_cols,
                rows,
                cols,
            });
        }
        if format == BaseFormat::Stored {
            return Ok(Arc::new(self.device.weight(matrix)));
        }
        let values = matrix.to_f32();
        // Its pages are not needed again, and would count beside the converted form.
        matrix.release();
        let converted = match format {
            BaseFormat::Nf4 => nf4::quantize(&values, rows, cols, true),
            BaseFormat::Bf16 => to_bf16(&values, rows, cols),
            BaseFormat::F32 | BaseFormat::Stored => StoredMatrix::from_f32(&values, rows, cols),
        };
        let converted = converted.map_err(|source| LoadError::Convert {
            name: name.to_owned(),
            source,
        })?;
        Ok(Arc::new(self.device.weight(converted)))
    }

    fn norm(&self, name: &str) -> Result<Tensor, LoadError> {
        self.vector(name, self.config.d_model)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Tensor, LoadError> {
        let numbers = self.base.vector(name)?;
        if numbers.len() != len {
            let got_cols = numbers.len();
            return Err(LoadError::Shape {
                name: name.to_owned(),
                got_rows: 1,
                got_cols,
                rows: 1,
                cols: len,
            });
        }
        Ok(self.device.tensor(1, len, &numbers))
    }
}

fn to_bf16(values: &[f32], rows: usize, cols: usize) -> Result<StoredMatrix, StoredError> {
    let bytes = values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes());
    let bytes = Bytes::from_vec(bytes.collect());
    StoredMatrix::new(rows, cols, Format::Bf16, bytes)
}

/// `[positions, head_dim]`: cosines, then sines, of `position · frequency` (Su et al. 2021).
fn rope_table(config: &DecoderConfig, device: &Device, max_positions: usize) -> Tensor {
    let dim = config.head_dim;
    let frequencies = config.rope.inverse_frequencies(dim);
    let mut table = vec![0.0; max_positions * dim];
    for (position, row) in table.chunks_exact_mut(dim).enumerate() {
        let (cos, sin) = row.split_at_mut(dim / 2);
        for (i, frequency) in frequencies.iter().enumerate() {
            // The product in f32, as transformers forms it: the angle itself must agree.
            let angle = f64::from(position as f32 * frequency);
            (cos[i], sin[i]) = (angle.cos() as f32, angle.sin() as f32);
        }
    }
    device.tensor(max_positions, dim, &table)
}
