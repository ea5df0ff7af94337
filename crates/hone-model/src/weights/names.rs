//! The tensors a decoder has, under their Hugging Face names, and what GGUF calls them: one table for each family.
//!
//! Readers, the decoder and adapters share the tables; a file with one tensor missing, or one too many, is refused
//! by them.

use hone_tensor::Columns;

use super::config::{DecoderConfig, Experts, Mlp, QueryKeyNorm};

/// What the outputs of a linear layer are, all of them or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Queries of all heads.
    Query,
    /// Keys of all key heads.
    Key,
    /// Values of all key heads.
    Value,
    /// What attention adds to the stream.
    Output,
    /// The gate of the MLP.
    Gate,
    /// What the gate lets through, or the only way in of an MLP without one.
    Up,
    /// What the MLP adds to the stream.
    Down,
    /// Logits.
    Head,
    /// A router's logits, one for each expert.
    Router,
}

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
    /// Hidden state to experts.
    Router,
    /// Gate and up of each expert.
    ExpertsIn,
    /// Down of each expert.
    ExpertsOut,
}

impl Group {
    /// Whether each expert has its own.
    pub(crate) fn is_of_experts(self) -> bool {
        matches!(self, Self::ExpertsIn | Self::ExpertsOut)
    }
}

/// How the parts of a fused linear layer lie in its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packing {
    /// One after the other.
    Blocks,
    /// By key head: its queries, its key, its value, and then those of the next.
    ByKeyHead,
}

/// A linear layer of a family: where it is, what GGUF calls it, and what it computes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Module path inside a block, `self_attn.q_proj`, or inside the model. Of experts, the parameter that holds all of
    /// them in transformers and PEFT, `mlp.experts.gate_up_proj`.
    pub module: &'static str,
    /// The module path in files, where it is another one.
    pub stored: &'static str,
    /// The same in GGUF.
    pub gguf: &'static str,
    /// What else reads its input.
    pub group: Group,
    /// What its outputs are; several if it is fused.
    pub parts: &'static [Part],
    /// How they lie.
    pub packing: Packing,
    /// Whether PEFT adapts it as a parameter, by `target_parameters`, and not as a module: routers and experts, and the
    /// other MLPs of families with experts, whose names PEFT gives to the experts.
    pub is_parameter: bool,
}

impl Place {
    /// A linear layer of one part.
    pub(super) const fn one(
        module: &'static str,
        gguf: &'static str,
        group: Group,
        part: &'static [Part],
    ) -> Self {
        Self {
            module,
            stored: module,
            gguf,
            group,
            parts: part,
            packing: Packing::Blocks,
            is_parameter: false,
        }
    }

    /// A linear layer that PEFT adapts as a parameter.
    pub(super) const fn parameter(self) -> Self {
        Self {
            is_parameter: true,
            ..self
        }
    }

    /// The last part of its path: `q_proj`.
    pub fn name(&self) -> &'static str {
        self.module.rsplit('.').next().unwrap_or(self.module)
    }
}

/// Where a norm of a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormAt {
    /// Before attention.
    AttentionIn,
    /// On queries.
    Query,
    /// On keys.
    Key,
    /// On what attention gives back.
    AttentionOut,
    /// Before the MLP.
    MlpIn,
    /// On what the MLP gives back.
    MlpOut,
}

/// A matrix that every expert has: its name below the expert's number, what GGUF calls those of all experts together,
/// and what it computes.
#[derive(Debug, PartialEq, Eq)]
pub struct ExpertMatrix {
    /// `w1`, or `gate_proj`.
    pub name: &'static str,
    /// `ffn_gate_exps`.
    pub gguf: &'static str,
    /// Gate, up or down.
    pub part: Part,
}

/// What files call the experts of a layer.
#[derive(Debug, PartialEq, Eq)]
pub struct ExpertNames {
    /// Path inside a block, before the expert's number: `mlp.experts`.
    pub list: &'static str,
    /// The matrices of one, gate, up and down.
    pub matrices: [ExpertMatrix; 3],
}

impl ExpertNames {
    /// The matrix of an expert that computes one part.
    pub(crate) fn of(&self, part: Part) -> &ExpertMatrix {
        let found = self.matrices.iter().find(|matrix| matrix.part == part);
        found.expect("an expert has a gate, an up and a down")
    }
}

/// A norm of a block: where it stands, its module path, and what GGUF calls it.
pub type NormName = (NormAt, &'static str, &'static str);

/// A family's tensors by name.
#[derive(Debug, PartialEq)]
pub struct Names {
    /// Path of the blocks, before their number.
    pub layers: &'static str,
    /// The embedding, in Hugging Face's words and in GGUF's.
    pub embedding: (&'static str, &'static str),
    /// Learned positions.
    pub positions: Option<(&'static str, &'static str)>,
    /// The norm before the head.
    pub final_norm: (&'static str, &'static str),
    /// The head.
    pub head: Place,
    /// Linear layers of a block, in the order of the network.
    pub places: &'static [Place],
    /// Experts, in families that have them.
    pub experts: Option<ExpertNames>,
    /// Norms of a block.
    pub norms: &'static [NormName],
    /// What the names of some files leave out at their beginning.
    pub optional_prefix: &'static str,
    /// Ends of the names of tensors that hold no weights.
    pub buffers: &'static [&'static str],
    /// Linear layers are stored `[in, out]`, as GPT-2's `Conv1D` does.
    pub is_transposed: bool,
    /// llama.cpp's converter interleaves the rows of q and k.
    pub gguf_interleaves: bool,
}

impl Names {
    /// The linear layers that read one input.
    pub(crate) fn group(&self, group: Group) -> impl Iterator<Item = &'static Place> + use<> {
        self.places.iter().filter(move |place| place.group == group)
    }

    /// The norm at one point of a block, if the family has one there.
    pub(crate) fn norm(&self, at: NormAt) -> Option<&'static str> {
        self.norms.iter().find(|row| row.0 == at).map(|row| row.1)
    }

    /// What GGUF calls a tensor with this Hugging Face name.
    pub(super) fn gguf_name(&self, name: &str) -> Option<String> {
        let (module, kind) = name.rsplit_once('.')?;
        let outside = [
            Some(self.embedding),
            self.positions,
            Some(self.final_norm),
            Some((self.head.module, self.head.gguf)),
        ];
        let Some((layer, part)) = self.in_layer(module) else {
            let row = outside.into_iter().flatten().find(|row| row.0 == module)?;
            return Some(format!("{}.{kind}", row.1));
        };
        if let Some((matrix, _)) = self.expert(part) {
            return Some(format!("blk.{layer}.{}.{kind}", matrix.gguf));
        }
        let places = self.places.iter().map(|place| (place.stored, place.gguf));
        let norms = self.norms.iter().map(|row| (row.1, row.2));
        let row = places.chain(norms).find(|row| row.0 == part)?;
        Some(format!("blk.{layer}.{}.{kind}", row.1))
    }

    /// The block's number and the path inside it.
    fn in_layer<'a>(&self, module: &'a str) -> Option<(&'a str, &'a str)> {
        module
            .strip_prefix(self.layers)?
            .strip_prefix('.')?
            .split_once('.')
    }

    /// The number of the block that a tensor is in.
    pub(super) fn layer_of<'a>(&self, tensor: &'a str) -> Option<&'a str> {
        Some(self.in_layer(tensor)?.0)
    }

    /// The matrix and the number of an expert, from a path inside a block.
    fn expert(&self, part: &str) -> Option<(&ExpertMatrix, usize)> {
        let experts = self.experts.as_ref()?;
        let inside = part.strip_prefix(experts.list)?.strip_prefix('.')?;
        let (number, name) = inside.split_once('.')?;
        let matrix = experts.matrices.iter().find(|row| row.name == name)?;
        Some((matrix, number.parse().ok()?))
    }

    /// The linear layer that a weight or a bias belongs to.
    pub(super) fn place_of(&self, name: &str) -> Option<&'static Place> {
        let (_, part) = self.in_layer(name.rsplit_once('.')?.0)?;
        self.places.iter().find(|place| place.stored == part)
    }

    /// Whether a tensor is the weight of a norm.
    pub(super) fn is_norm(&self, name: &str) -> bool {
        let Some(module) = name.strip_suffix(".weight") else {
            return false;
        };
        match self.in_layer(module) {
            Some((_, part)) => self.norms.iter().any(|row| row.1 == part),
            None => module == self.final_norm.0,
        }
    }
}

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
        match config.norm_width(*at) {
            Some(width) => slots.extend(norm_slots_at(config, *at, within(module), width)),
            None => continue,
        }
    }
    for place in config
        .groups(layer)
        .iter()
        .flat_map(|group| config.names.group(*group))
    {
        if place.group.is_of_experts() {
            continue;
        }
        let (rows, cols) = config.place(place);
        slots.push(slot(&within(place.stored), "weight", rows, cols));
        let bias = config.has_bias(place.group);
        slots.extend(bias.then(|| slot(&within(place.stored), "bias", 1, rows)));
    }
    if let Some(experts) = config.experts_of(layer) {
        let names = config.names.experts.as_ref();
        let matrices = names.expect(EXPERTS).matrices.iter();
        slots.extend((0..experts.count).flat_map(|expert| {
            matrices.clone().map(move |matrix| Slot {
                name: config.expert_tensor(layer, expert, matrix),
                rows: config.part_width(matrix.part, true),
                cols: config.expert_cols(matrix.part, experts),
                expert: Some((expert, matrix.part)),
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
    pub(crate) fn place(&self, place: &Place) -> (usize, usize) {
        let in_expert = place.group.is_of_experts();
        let widths = place.parts.iter();
        let out = widths.map(|part| self.part_width(*part, in_expert)).sum();
        let width = match place.group {
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
        let has_experts = self.layers.get(layer)?.mlp == Mlp::Experts;
        self.experts.filter(|_| has_experts)
    }

    /// The projections of a layer by what they read, in the order of the network.
    pub(crate) fn groups(&self, layer: usize) -> &'static [Group] {
        match self.experts_of(layer) {
            None => &[
                Group::AttentionIn,
                Group::AttentionOut,
                Group::MlpIn,
                Group::MlpOut,
            ],
            Some(_) => &[
                Group::AttentionIn,
                Group::AttentionOut,
                Group::Router,
                Group::ExpertsIn,
                Group::ExpertsOut,
            ],
        }
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

    fn expert_cols(&self, part: Part, experts: Experts) -> usize {
        match part {
            Part::Down => experts.d_ff,
            _ => self.d_model,
        }
    }

    fn part_width(&self, part: Part, in_expert: bool) -> usize {
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
    pub(crate) fn columns(&self, place: &Place) -> Vec<Columns> {
        let in_expert = place.group.is_of_experts();
        let parts = place.parts.iter();
        let widths = parts.map(|part| self.part_width(*part, in_expert));
        let count = match place.packing {
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

    pub(crate) fn has_bias(&self, group: Group) -> bool {
        match group {
            Group::AttentionIn => self.attention_bias,
            Group::AttentionOut => self.output_bias,
            Group::MlpIn | Group::MlpOut => self.mlp_bias,
            Group::Router | Group::ExpertsIn | Group::ExpertsOut => false,
            Group::Head => self.head_bias,
        }
    }

    /// The length of a norm's weights, all heads together; `None` where this model has no such norm.
    pub(crate) fn norm_width(&self, at: NormAt) -> Option<usize> {
        let heads = match at {
            NormAt::Query => self.num_heads,
            NormAt::Key => self.num_kv_heads,
            NormAt::AttentionIn | NormAt::AttentionOut | NormAt::MlpIn | NormAt::MlpOut => {
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

/// The name among `known` that takes the fewest changed letters, when it is close at all.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let far = name.len() / 3;
    // Lengths alone tell most names apart, and a hostile one may be long.
    let known = known.filter(|other| name.len().abs_diff(other.len()) <= far);
    let (distance, near) = known.map(|other| (distance(name, other), other)).min()?;
    (distance <= far).then(|| near.to_owned())
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::families;
    use super::*;

    #[test]
    fn gguf_names_follow_the_table() {
        let pairs = [
            (
                "model.layers.11.self_attn.o_proj.weight",
                Some("blk.11.attn_output.weight"),
            ),
            (
                "model.layers.0.self_attn.q_proj.bias",
                Some("blk.0.attn_q.bias"),
            ),
            ("model.norm.weight", Some("output_norm.weight")),
            ("lm_head.weight", Some("output.weight")),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", None),
            ("weight", None),
        ];
        for (name, expected) in pairs {
            let found = families::LLAMA_NAMES.gguf_name(name);
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn the_nearest_name_is_the_one_with_fewest_changes() {
        let known = [
            "model.norm.weight",
            "lm_head.weight",
            "model.layers.0.mlp.up_proj.weight",
        ];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(
            near("model.norms.weight").as_deref(),
            Some("model.norm.weight")
        );
        assert_eq!(near("transformer.h.0.attn"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
