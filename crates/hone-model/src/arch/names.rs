//! What a family's linear layers, norms and experts are called in both kinds of file, and what each of them computes: one
//! table for each family, which readers, the decoder and adapters share.

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
    pub(crate) const fn one(
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
    pub(crate) const fn parameter(self) -> Self {
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
    pub(crate) fn gguf_name(&self, name: &str) -> Option<String> {
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
    pub(super) fn in_layer<'a>(&self, module: &'a str) -> Option<(&'a str, &'a str)> {
        module
            .strip_prefix(self.layers)?
            .strip_prefix('.')?
            .split_once('.')
    }

    /// The number of the block that a tensor is in.
    pub(crate) fn layer_of<'a>(&self, tensor: &'a str) -> Option<&'a str> {
        Some(self.in_layer(tensor)?.0)
    }

    /// The matrix and the number of an expert, from a path inside a block.
    pub(super) fn expert(&self, part: &str) -> Option<(&ExpertMatrix, usize)> {
        let experts = self.experts.as_ref()?;
        let inside = part.strip_prefix(experts.list)?.strip_prefix('.')?;
        let (number, name) = inside.split_once('.')?;
        let matrix = experts.matrices.iter().find(|row| row.name == name)?;
        Some((matrix, number.parse().ok()?))
    }

    /// The linear layer that a weight or a bias belongs to.
    pub(crate) fn place_of(&self, name: &str) -> Option<&'static Place> {
        let (_, part) = self.in_layer(name.rsplit_once('.')?.0)?;
        self.places.iter().find(|place| place.stored == part)
    }

    /// Whether a tensor is the weight of a norm.
    pub(crate) fn is_norm(&self, name: &str) -> bool {
        let Some(module) = name.strip_suffix(".weight") else {
            return false;
        };
        match self.in_layer(module) {
            Some((_, part)) => self.norms.iter().any(|row| row.1 == part),
            None => module == self.final_norm.0,
        }
    }
}
