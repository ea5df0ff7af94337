//! One decoder, driven by its configuration: the frozen matrices and where they sit.
//!
//! The decoder says *what* is projected; a [`Weight`] knows *how* it is stored. So one definition serves
//! f32, 16-bit and 4-bit bases, with an adapter or without.

use std::sync::Arc;

use half::bf16;
use hone_tensor::{Bytes, Device, Format, StoredError, StoredMatrix, Tensor, Weight, nf4};

use crate::arch::{
    Attention, DecoderConfig, Experts, Group, Mixer, NormAt, Part, Positions, QueryKeyNorm, Rope,
    Site,
};
use crate::weights::{BaseWeights, WeightsError};

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

/// A frozen norm, ready for use: what the family adds to its weights is added.
#[derive(Debug)]
pub(crate) struct Norm {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    /// Columns that are normed together.
    pub width: usize,
}

/// One transformer block: a mixer and a feed-forward, each with the norms around it.
#[derive(Debug)]
pub(crate) struct Layer {
    pub mixer_norm: Option<Arc<Norm>>,
    pub mixer: MixerWeights,
    pub mixer_out_norm: Option<Norm>,
    /// In a parallel block of one norm, the mixer's own.
    pub feed_forward_norm: Option<Arc<Norm>>,
    pub feed_forward: FeedForwardWeights,
    pub feed_forward_out_norm: Option<Norm>,
}

/// What mixes tokens in a block.
#[derive(Debug)]
pub(crate) enum MixerWeights {
    Attention(AttentionWeights),
}

/// The attention of a block.
#[derive(Debug)]
pub(crate) struct AttentionWeights {
    pub spec: Attention,
    pub into: Vec<Projection>,
    /// On queries and on keys.
    pub query_key_norms: Option<[Norm; 2]>,
    pub out: Vec<Projection>,
}

/// What works on each token by itself.
#[derive(Debug)]
pub(crate) enum FeedForwardWeights {
    /// One MLP for all tokens.
    Dense {
        into: Vec<Projection>,
        out: Vec<Projection>,
    },
    /// Several, of which each token takes a few.
    Experts {
        /// One projection.
        router: Vec<Projection>,
        experts: Vec<Expert>,
    },
}

/// One of a block's experts.
#[derive(Debug)]
pub(crate) struct Expert {
    pub gate: Arc<Weight>,
    pub up: Arc<Weight>,
    pub down: Arc<Weight>,
}

impl Layer {
    /// Linear layers that all tokens go through, by what they read.
    pub fn projections(&self) -> Vec<(Group, &[Projection])> {
        let MixerWeights::Attention(attention) = &self.mixer;
        let mut groups = vec![
            (Group::AttentionIn, &attention.into[..]),
            (Group::AttentionOut, &attention.out),
        ];
        match &self.feed_forward {
            FeedForwardWeights::Dense { into, out } => {
                groups.extend([(Group::MlpIn, &into[..]), (Group::MlpOut, out)]);
            }
            FeedForwardWeights::Experts { router, .. } => {
                groups.push((Group::Router, router));
            }
        }
        groups
    }

    /// Its experts, if it has some.
    pub fn experts(&self) -> &[Expert] {
        match &self.feed_forward {
            FeedForwardWeights::Dense { .. } => &[],
            FeedForwardWeights::Experts { experts, .. } => experts,
        }
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let groups = self.projections().into_iter();
        let projections = groups.flat_map(|(_, projections)| projections);
        let experts = self.experts().iter();
        let of_experts = experts.flat_map(|expert| [&expert.gate, &expert.up, &expert.down]);
        projections
            .map(|projection| &projection.weight)
            .chain(of_experts)
            .map(|weight| &**weight)
    }
}

/// The frozen network.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) device: Device,
    pub(crate) embedding: Arc<Weight>,
    pub(crate) layers: Vec<Layer>,
    /// A vector for each position, where positions are learned.
    pub(crate) positions: Option<Arc<Weight>>,
    pub(crate) final_norm: Norm,
    /// One projection; its matrix is the embedding's own when the two are tied.
    pub(crate) head: Vec<Projection>,
    rope_table: Tensor,
    local_rope_table: Option<Tensor>,
    max_positions: usize,
}

impl Decoder {
    /// Takes a base into memory, or maps it where its format allows. `max_positions` bounds the rotary
    /// table: the longest sequence that will be asked for. Learned positions end with the context.
    pub fn load(
        base: &BaseWeights,
        device: &Device,
        format: BaseFormat,
        max_positions: usize,
    ) -> Result<Self, LoadError> {
        Self::load_as(base, device, format, max_positions, None)
    }

    /// [`Self::load`], with every matrix rounded to the type that it has in `rounded_as`.
    pub(crate) fn load_as(
        base: &BaseWeights,
        device: &Device,
        format: BaseFormat,
        max_positions: usize,
        rounded_as: Option<&BaseWeights>,
    ) -> Result<Self, LoadError> {
        let config = base.config().clone();
        let loader = Loader {
            base,
            device,
            config: &config,
            format,
            rounded_as,
        };
        let layers = (0..config.num_layers)
            .map(|layer| loader.layer(layer))
            .collect::<Result<_, _>>()?;
        let (names, vocab, d_model) = (config.names, config.vocab_size, config.d_model);
        let whole = |module: &str, rows| {
            let name = format!("{module}.weight");
            loader.weight(&name, rows, d_model, BaseFormat::Stored)
        };
        let embedding = whole(names.embedding.0, vocab)?;
        let head = match config.tied_head {
            true => Arc::clone(&embedding),
            false => whole(names.head.module, vocab)?,
        };
        let positions = match names.positions.filter(|_| config.learned_positions) {
            Some((module, _)) => Some(whole(module, config.context_len)?),
            None => None,
        };
        let max_positions = match positions {
            Some(_) => max_positions.min(config.context_len),
            None => max_positions,
        };
        let table = |rope: &Rope| rope_table(rope, config.rotary_dim, device, max_positions);
        Ok(Self {
            embedding,
            layers,
            positions,
            final_norm: loader.norm(names.final_norm.0, d_model, config.logit_scale)?,
            head: vec![Projection {
                weight: head,
                bias: loader.bias(config.head(), names.head.module)?,
            }],
            rope_table: table(&config.rope),
            local_rope_table: config.local_rope.as_ref().map(table),
            max_positions,
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

    /// The frozen matrix of a projection, of which there is one for all tokens.
    pub(crate) fn at(&self, site: Site) -> &Projection {
        let layer = self.layers.get(site.layer_index(self.layers.len()));
        let groups = match layer {
            Some(layer) => layer.projections(),
            None => vec![(Group::Head, &self.head[..])],
        };
        let found = groups.into_iter().find(|row| row.0 == site.group());
        let (_, group) = found.expect("nothing but low-rank pairs is trained at experts");
        &group[site.slot()]
    }

    /// The longest sequence it was loaded for.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// By how much queries and keys of a layer turn, if they do.
    pub(crate) fn rope_table(&self, attention: Attention) -> Option<&Tensor> {
        match attention.positions {
            Positions::Rope => Some(&self.rope_table),
            Positions::LocalRope => self.local_rope_table.as_ref(),
            Positions::Unmarked => None,
        }
    }

    fn weights(&self) -> impl Iterator<Item = &Weight> {
        let head = self.head.iter().filter(|_| !self.config.tied_head);
        let linear = self.layers.iter().flat_map(Layer::weights);
        linear
            .chain(head.map(|projection| &*projection.weight))
            .chain([&*self.embedding])
            .chain(self.positions.as_deref())
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
    /// Files whose types the matrices are rounded to.
    rounded_as: Option<&'a BaseWeights>,
}

impl Loader<'_> {
    fn layer(&self, layer: usize) -> Result<Layer, LoadError> {
        let group = |group| -> Result<Vec<Projection>, LoadError> {
            let sites = self.config.group_sites(layer, group);
            sites.map(|site| self.projection(site)).collect()
        };
        let norm = |at| self.block_norm(layer, at);
        let spec = self.config.layers[layer];
        let mixer_norm = norm(NormAt::AttentionIn)?.map(Arc::new);
        let feed_forward_norm = match norm(NormAt::MlpIn)? {
            None if self.config.block.is_parallel() => mixer_norm.clone(),
            own => own.map(Arc::new),
        };
        Ok(Layer {
            mixer: match spec.mixer {
                Mixer::Attention(spec) => MixerWeights::Attention(AttentionWeights {
                    spec,
                    into: group(Group::AttentionIn)?,
                    query_key_norms: norm(NormAt::Query)?
                        .zip(norm(NormAt::Key)?)
                        .map(<[Norm; 2]>::from),
                    out: group(Group::AttentionOut)?,
                }),
            },
            mixer_out_norm: norm(NormAt::AttentionOut)?,
            feed_forward: match self.config.experts_of(layer) {
                None => FeedForwardWeights::Dense {
                    into: group(Group::MlpIn)?,
                    out: group(Group::MlpOut)?,
                },
                Some(experts) => FeedForwardWeights::Experts {
                    router: group(Group::Router)?,
                    experts: (0..experts.count)
                        .map(|expert| self.expert(layer, expert, experts))
                        .collect::<Result<_, _>>()?,
                },
            },
            feed_forward_out_norm: norm(NormAt::MlpOut)?,
            mixer_norm,
            feed_forward_norm,
        })
    }

    fn expert(&self, layer: usize, expert: usize, experts: Experts) -> Result<Expert, LoadError> {
        let (width, d_model) = (experts.d_ff, self.config.d_model);
        let names = self.config.names.experts.as_ref();
        let names = names.expect("a family whose layers have experts names them");
        let weight = |part, rows, cols| {
            let name = self.config.expert_tensor(layer, expert, names.of(part));
            self.weight(&name, rows, cols, self.format)
        };
        Ok(Expert {
            gate: weight(Part::Gate, width, d_model)?,
            up: weight(Part::Up, width, d_model)?,
            down: weight(Part::Down, d_model, width)?,
        })
    }

    fn projection(&self, site: Site) -> Result<Projection, LoadError> {
        let (rows, cols) = self.config.projection(site);
        let path = site.stored_path();
        // What a router says decides about everything after it, and it is small.
        let format = match site.group() {
            Group::Router => BaseFormat::Stored,
            _ => self.format,
        };
        Ok(Projection {
            weight: self.weight(&format!("{path}.weight"), rows, cols, format)?,
            bias: self.bias(site, &path)?,
        })
    }

    fn bias(&self, site: Site, path: &str) -> Result<Option<Tensor>, LoadError> {
        let len = self.config.projection(site).0;
        match self.config.has_bias(site) {
            true => Ok(Some(
                self.tensor(&self.vector(&format!("{path}.bias"), len)?),
            )),
            false => Ok(None),
        }
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
        let rounded_to = match self.rounded_as {
            Some(like) => Some(like.matrix(name)?.format()),
            None => None,
        };
        let is_rounded = rounded_to.is_none_or(|rounded| rounded == matrix.format());
        if format == BaseFormat::Stored && is_rounded {
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
        let rounded = converted.and_then(|converted| match rounded_to {
            Some(rounded) if rounded != converted.format() => {
                StoredMatrix::encode(rounded, &converted.to_f32(), rows, cols)
            }
            _ => Ok(converted),
        });
        let converted = rounded.map_err(|source| LoadError::Convert {
            name: name.to_owned(),
            source,
        })?;
        Ok(Arc::new(self.device.weight(converted)))
    }

    /// A norm of a block, if this model has one there.
    fn block_norm(&self, layer: usize, at: NormAt) -> Result<Option<Norm>, LoadError> {
        let found = self
            .config
            .names
            .norm(at)
            .zip(self.config.norm_width(layer, at));
        let Some((module, len)) = found else {
            return Ok(None);
        };
        let module = format!("{}.{layer}.{module}", self.config.names.layers);
        match at {
            NormAt::Query | NormAt::Key => self.heads_norm(&module, len).map(Some),
            _ => self.norm(&module, len, 1.0).map(Some),
        }
    }

    /// A norm of the block's kind. Weight and bias are multiplied with `scale`, as if what comes out were.
    fn norm(&self, module: &str, len: usize, scale: f32) -> Result<Norm, LoadError> {
        let weight = self.vector(&format!("{module}.weight"), len)?;
        let scaled = |numbers: Vec<f32>, offset: f32| -> Tensor {
            let numbers: Vec<f32> = numbers.iter().map(|x| (x + offset) * scale).collect();
            self.tensor(&numbers)
        };
        let bias = match self.config.norm.has_bias() {
            true => Some(scaled(self.vector(&format!("{module}.bias"), len)?, 0.0)),
            false => None,
        };
        Ok(Norm {
            weight: scaled(weight, self.config.norm_offset),
            bias,
            width: len,
        })
    }

    /// A norm of queries or keys, which has no bias.
    fn heads_norm(&self, module: &str, len: usize) -> Result<Norm, LoadError> {
        let head_dim = self.config.head_dim;
        let weight = match self.config.query_key_norm {
            QueryKeyNorm::ListOfHeads => {
                let name = |head| format!("{module}.norms.{head}.weight");
                let heads = (0..len / head_dim).map(|head| self.vector(&name(head), head_dim));
                heads.collect::<Result<Vec<_>, _>>()?.concat()
            }
            _ => self.vector(&format!("{module}.weight"), len)?,
        };
        let weight: Vec<f32> = weight.iter().map(|x| x + self.config.norm_offset).collect();
        Ok(Norm {
            weight: self.tensor(&weight),
            bias: None,
            width: match self.config.query_key_norm {
                QueryKeyNorm::Whole => len,
                _ => head_dim,
            },
        })
    }

    fn tensor(&self, numbers: &[f32]) -> Tensor {
        self.device.tensor(1, numbers.len(), numbers)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
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
        Ok(numbers)
    }
}

fn to_bf16(values: &[f32], rows: usize, cols: usize) -> Result<StoredMatrix, StoredError> {
    let bytes = values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes());
    let bytes = Bytes::from_vec(bytes.collect());
    StoredMatrix::new(rows, cols, Format::Bf16, bytes)
}

/// `[positions, rotary_dim]`: cosines, then sines, of `position · frequency` (Su et al. 2021).
fn rope_table(rope: &Rope, rotary_dim: usize, device: &Device, max_positions: usize) -> Tensor {
    let frequencies = rope.speeds(rotary_dim, max_positions);
    let factor = rope.scaling.attention_factor();
    let mut table = vec![0.0; max_positions * rotary_dim];
    for (position, row) in table.chunks_exact_mut(rotary_dim).enumerate() {
        let (cos, sin) = row.split_at_mut(rotary_dim / 2);
        for (i, frequency) in frequencies.iter().enumerate() {
            // The product in f32, as transformers forms it: the angle itself must agree.
            let angle = f64::from(position as f32 * frequency);
            (cos[i], sin[i]) = (angle.cos() as f32 * factor, angle.sin() as f32 * factor);
        }
    }
    device.tensor(max_positions, rotary_dim, &table)
}
