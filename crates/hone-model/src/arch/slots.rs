//! The tensors that a decoder has, with their shapes: a file with one missing, or one too many, is refused by them.

use hone_tensor::Columns;

use super::config::{DecoderConfig, Experts, QueryKeyNorm};
use super::layer::{FeedForward, LayerSpec, Mixer};
use super::names::{ExpertMatrix, Group, NormAt, Packing, Part};
use super::site::Site;

/// A tensor the configuration calls for; a vector has one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Hugging Face name, for example `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Outputs of a linear layer.
    pub rows: usize,
    /// Inputs of a linear layer, or the length of a vector.
    pub cols: usize,
    /// Which of a layer's experts it belongs to, and as what: some files hold those of all experts as one tensor.
    pub expert: Option<(usize, Part)>,
}

/// Every tensor the configuration calls for, from the embedding to the head.
pub fn slots(config: &DecoderConfig) -> impl Iterator<Item = Slot> {
    let (names, d, vocab) = (config.names, config.d_model, config.vocab_size);
    let mut before = vec![slot(names.embedding.0, "weight", vocab, d)];
    let positions = names.positions.filter(|_| config.learned_positions);
    before.extend(positions.map(|row| slot(row.0, "weight", config.context_len, d)));
    let mut after = norm_slots(config, names.final_norm.0.to_owned(), d);
    if !config.tied_head {
        after.push(slot(names.head.module, "weight", vocab, d));
    }
    after.extend(
        config
            .head_bias
            .then(|| slot(names.head.module, "bias", 1, vocab)),
    );
    let layers = (0..config.num_layers).flat_map(|layer| layer_slots(config, layer));
    before.into_iter().chain(layers).chain(after)
}

fn layer_slots(config: &DecoderConfig, layer: usize) -> Vec<Slot> {
    let within = |module: &str| format!("{}.{layer}.{module}", config.names.layers);
    let mut slots = Vec::new();
    for (at, module, _) in config.names.norms {
        match config.norm_width(layer, *at) {
            Some(width) => slots.extend(norm_slots_at(config, *at, within(module), width)),
            None => continue,
        }
    }
    let groups = config.groups(layer);
    let sites = groups.flat_map(|group| config.group_sites(layer, group));
    for site in sites.filter(|site| !site.group().is_of_experts()) {
        let (rows, cols) = config.projection(site);
        slots.push(slot(&site.stored_path(), "weight", rows, cols));
        let bias = config.has_bias(site);
        slots.extend(bias.then(|| slot(&site.stored_path(), "bias", 1, rows)));
    }
    if let Some(experts) = config.experts_of(layer) {
        let names = config.names.experts.as_ref();
        let matrices = names.expect(EXPERTS).matrices.iter();
        slots.extend((0..experts.count).flat_map(|expert| {
            matrices.clone().map(move |matrix| {
                let (rows, cols) = match matrix.part {
                    Part::Down => (config.d_model, experts.d_ff),
                    _ => (experts.d_ff, config.d_model),
                };
                Slot {
                    name: config.expert_tensor(layer, expert, matrix),
                    rows,
                    cols,
                    expert: Some((expert, matrix.part)),
                }
            })
        }));
    }
    slots
}

fn norm_slots(config: &DecoderConfig, module: String, width: usize) -> Vec<Slot> {
    let mut slots = vec![slot(&module, "weight", 1, width)];
    slots.extend(
        config
            .norm
            .has_bias()
            .then(|| slot(&module, "bias", 1, width)),
    );
    slots
}

/// Queries' and keys' norms have no bias in any family; those of each head by itself are a matrix, or as many
/// vectors as there are heads.
fn norm_slots_at(config: &DecoderConfig, at: NormAt, module: String, width: usize) -> Vec<Slot> {
    if !matches!(at, NormAt::Query | NormAt::Key) {
        return norm_slots(config, module, width);
    }
    let heads = width / config.head_dim;
    match config.query_key_norm {
        QueryKeyNorm::EachHead => vec![slot(&module, "weight", heads, config.head_dim)],
        QueryKeyNorm::ListOfHeads => (0..heads)
            .map(|head| {
                slot(
                    &format!("{module}.norms.{head}"),
                    "weight",
                    1,
                    config.head_dim,
                )
            })
            .collect(),
        _ => vec![slot(&module, "weight", 1, width)],
    }
}

fn slot(module: &str, kind: &str, rows: usize, cols: usize) -> Slot {
    let name = format!("{module}.{kind}");
    Slot {
        name,
        rows,
        cols,
        expert: None,
    }
}

const EXPERTS: &str = "a family whose layers have experts names them";

impl DecoderConfig {
    /// What GGUF calls a tensor with this Hugging Face name, if this family has it.
    pub fn gguf_name(&self, name: &str) -> Option<String> {
        self.names.gguf_name(name)
    }

    /// `(out, in)` of a linear layer; of experts, of one of them.
    pub fn projection(&self, site: Site) -> (usize, usize) {
        let parts = site.place().parts.iter();
        let out = parts.map(|part| self.part_width(site, *part)).sum();
        let width = match site.group() {
            Group::AttentionIn | Group::MlpIn | Group::Head | Group::Router | Group::ExpertsIn => {
                self.d_model
            }
            Group::AttentionOut => self.num_heads * self.head_dim,
            Group::MlpOut => self.d_ff,
            Group::ExpertsOut => self.experts.map_or(0, |experts| experts.d_ff),
        };
        (out, width)
    }

    /// Whether a tensor is the matrix of an expert.
    pub(crate) fn is_of_expert(&self, tensor: &str) -> bool {
        let module = tensor.strip_suffix(".weight").unwrap_or(tensor);
        let inside = self.names.in_layer(module);
        inside.is_some_and(|(_, part)| self.names.expert(part).is_some())
    }

    /// The experts of a layer, if it has some.
    pub(crate) fn experts_of(&self, layer: usize) -> Option<Experts> {
        let has_experts = self.layers.get(layer)?.feed_forward == FeedForward::Experts;
        self.experts.filter(|_| has_experts)
    }

    /// The projections of a layer by what they read, in the order of the network.
    pub(crate) fn groups(&self, layer: usize) -> impl Iterator<Item = Group> + use<> {
        let LayerSpec {
            mixer,
            feed_forward,
        } = self.layers[layer];
        let groups = mixer.groups().iter().chain(feed_forward.groups());
        groups.copied()
    }

    /// The name of an expert's matrix: `model.layers.0.mlp.experts.3.gate_proj.weight`.
    pub(crate) fn expert_tensor(
        &self,
        layer: usize,
        expert: usize,
        matrix: &ExpertMatrix,
    ) -> String {
        let list = self.names.experts.as_ref().expect(EXPERTS).list;
        let (layers, name) = (self.names.layers, matrix.name);
        format!("{layers}.{layer}.{list}.{expert}.{name}.weight")
    }

    /// Outputs of one part of a linear layer. A site knows its layer, so that layers can come to differ in them.
    fn part_width(&self, site: Site, part: Part) -> usize {
        let in_expert = site.group().is_of_experts();
        match part {
            Part::Router => self.experts.map_or(0, |experts| experts.count),
            Part::Gate | Part::Up if in_expert => self.experts.map_or(0, |experts| experts.d_ff),
            Part::Query => self.num_heads * self.head_dim,
            Part::Key | Part::Value => self.num_kv_heads * self.head_dim,
            Part::Output | Part::Down => self.d_model,
            Part::Gate | Part::Up => self.d_ff,
            Part::Head => self.vocab_size,
        }
    }

    /// Where the parts of a fused linear layer lie in its outputs, in their order.
    pub(crate) fn columns(&self, site: Site) -> Vec<Columns> {
        let parts = site.place().parts.iter();
        let widths = parts.map(|part| self.part_width(site, *part));
        let count = match site.place().packing {
            Packing::Blocks => 1,
            Packing::ByKeyHead => self.num_kv_heads,
        };
        let period = widths.clone().sum::<usize>() / count;
        let mut first = 0;
        let columns = widths.map(|width| {
            let width = width / count;
            first += width;
            Columns {
                first: first - width,
                width,
                period,
                count,
            }
        });
        columns.collect()
    }

    pub(crate) fn has_bias(&self, site: Site) -> bool {
        match site.group() {
            Group::AttentionIn => self.attention_bias,
            Group::AttentionOut => self.output_bias,
            Group::MlpIn | Group::MlpOut => self.mlp_bias,
            Group::Router | Group::ExpertsIn | Group::ExpertsOut => false,
            Group::Head => self.head_bias,
        }
    }

    /// The length of a norm's weights, all heads together; `None` where this model has no such norm.
    pub(crate) fn norm_width(&self, layer: usize, at: NormAt) -> Option<usize> {
        let heads = match (at, self.layers[layer].mixer) {
            (NormAt::Query, Mixer::Attention(_)) => self.num_heads,
            (NormAt::Key, Mixer::Attention(_)) => self.num_kv_heads,
            (NormAt::AttentionIn | NormAt::AttentionOut | NormAt::MlpIn | NormAt::MlpOut, _) => {
                return self.block.has(at).then_some(self.d_model);
            }
        };
        match self.query_key_norm {
            QueryKeyNorm::None => None,
            QueryKeyNorm::PerHead => Some(self.head_dim),
            QueryKeyNorm::EachHead | QueryKeyNorm::ListOfHeads | QueryKeyNorm::Whole => {
                Some(heads * self.head_dim)
            }
        }
    }
}
