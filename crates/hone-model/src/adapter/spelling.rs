//! The roles that tensors have at their modules, and what PEFT calls them: names are written and read back here alone.

/// What a tensor is to its module; what a method trains has a role of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Input to bottleneck of a linear layer, `[rank, in]`.
    A,
    /// Bottleneck to output of a linear layer, `[out, rank]`.
    B,
    /// Bias of `B`, `[out]`; not trained here.
    OutBias,
    /// Token to bottleneck, `[rank, vocabulary]`; transposed in the flat buffer, so that the numbers of a token lie together.
    EmbeddingA,
    /// Bottleneck to embedding, `[d_model, rank]`.
    EmbeddingB,
    /// DoRA's length of each row, `[out]`.
    Magnitude,
    /// The base's own matrix below an adapter, saved with it; not trained here.
    BaseWeight,
    /// The base's bias below an adapter, trained, `[out]`.
    BaseBias,
    /// Rows of an embedding or a head, trained, `[tokens, d_model]`.
    TokenRows,
    /// A matrix in place of the base's, `[out, in]`.
    Whole,
    /// A bias in place of the base's, `[out]`.
    Bias,
    /// IA³'s factors: of outputs `[out, 1]`, of inputs `[1, in]`.
    Factors,
    /// A part of some other method; not trained here.
    Foreign,
}

/// Which learning rate a tensor is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateGroup {
    /// The general one.
    General,
    /// That of LoRA+ (Hayou et al. 2024): `B`, and vectors as PEFT counts them.
    LoraPlus,
    /// That of fully trained modules.
    Module,
}

impl Role {
    /// Which learning rate it is trained with.
    pub fn rate_group(self) -> RateGroup {
        match self {
            Self::B | Self::EmbeddingB | Self::Magnitude | Self::Bias | Self::BaseBias => {
                RateGroup::LoraPlus
            }
            Self::Whole => RateGroup::Module,
            _ => RateGroup::General,
        }
    }

    /// Whether it is a vector on disk.
    pub(super) fn is_vector(self) -> bool {
        matches!(self, Self::Magnitude | Self::Bias | Self::BaseBias)
    }
}

/// PEFT puts this before every module's path.
pub(crate) const PREFIX: &str = "base_model.model.";

/// A tensor's name, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelled<'a> {
    /// `model.layers.0.self_attn.q_proj`.
    pub module: &'a str,
    pub part: Role,
    /// Whether it begins as PEFT begins it.
    pub has_prefix: bool,
    /// Whether it carries the adapter's own name, as `lora_A.default.weight` does.
    pub names_adapter: bool,
}

/// How names end behind the module, method by method. Of one role the first is written, and all are read.
const ENDS: [(&str, Role); 25] = [
    (".lora_A.weight", Role::A),
    (".lora_B.weight", Role::B),
    (".lora_B.bias", Role::OutBias),
    (".lora_embedding_A", Role::EmbeddingA),
    (".lora_embedding_B", Role::EmbeddingB),
    (".lora_magnitude_vector", Role::Magnitude),
    (".lora_magnitude_vector.weight", Role::Magnitude),
    (".base_layer.bias", Role::BaseBias),
    (".bias", Role::Bias),
    (".modules_to_save.bias", Role::Bias),
    (".weight", Role::Whole),
    (".modules_to_save.weight", Role::Whole),
    (".base_layer.weight", Role::BaseWeight),
    (".token_adapter.trainable_tokens_delta", Role::TokenRows),
    (".trainable_tokens_delta", Role::TokenRows),
    (".token_adapter.base_layer.weight", Role::BaseWeight),
    (".ia3_l", Role::Factors),
    // Methods that are known to be refused.
    (".lora_E", Role::Foreign),
    (".lora_A", Role::Foreign),
    (".lora_B", Role::Foreign),
    (".vera_lambda_b", Role::Foreign),
    (".vera_lambda_d", Role::Foreign),
    (".lora_diag", Role::Foreign),
    (".oft_R.weight", Role::Foreign),
    (".ln_tuning_layers.weight", Role::Foreign),
];

/// How the name of a tensor ends when it is written.
pub(super) fn written_end(role: Role) -> &'static str {
    let own = ENDS.iter().find(|(_, own)| *own == role);
    own.map_or("", |(end, _)| end)
}

const ADAPTER_NAME: &str = ".default";

/// Reads a name; `None` when it ends like nothing that PEFT writes.
pub(crate) fn read_name(name: &str) -> Option<Spelled<'_>> {
    let (rest, has_prefix) = match name.strip_prefix(PREFIX) {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    let find = |rest: &str, end: &str| {
        rest.len()
            .checked_sub(end.len())
            .filter(|at| *at > 0 && rest.ends_with(end))
    };
    let at = |(end, part): &(&str, Role)| {
        if let Some(at) = find(rest, end) {
            return Some((at, *part, false));
        }
        // `lora_A.weight` may be written `lora_A.default.weight`, and `lora_embedding_A` `lora_embedding_A.default`.
        let (head, tail) = match end.rsplit_once('.') {
            Some((head, tail @ ("weight" | "bias"))) if !head.is_empty() => (head, tail),
            Some((_, "weight" | "bias")) | None => return None,
            Some(_) => (*end, ""),
        };
        let named = match tail {
            "" => format!("{head}{ADAPTER_NAME}"),
            tail => format!("{head}{ADAPTER_NAME}.{tail}"),
        };
        find(rest, &named).map(|at| (at, *part, true))
    };
    // The longest end, where one ends like another.
    let (at, part, names_adapter) = ENDS.iter().filter_map(at).min_by_key(|(at, ..)| *at)?;
    Some(Spelled {
        module: &rest[..at],
        part,
        has_prefix,
        names_adapter,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_taken_apart() {
        let q = "model.layers.0.self_attn.q_proj";
        // Behind a module's path, and whether the adapter's own name is in it.
        for (end, part, names_adapter) in [
            ("lora_A.weight", Role::A, false),
            ("lora_B.default.weight", Role::B, true),
            ("lora_B.bias", Role::OutBias, false),
            ("lora_magnitude_vector", Role::Magnitude, false),
            ("lora_magnitude_vector.weight", Role::Magnitude, false),
            (
                "lora_magnitude_vector.default.weight",
                Role::Magnitude,
                true,
            ),
            ("lora_embedding_A", Role::EmbeddingA, false),
            ("lora_embedding_B.default", Role::EmbeddingB, true),
            ("base_layer.weight", Role::BaseWeight, false),
            ("weight", Role::Whole, false),
            ("ia3_l", Role::Factors, false),
        ] {
            for (module, prefix) in [(q, PREFIX), (q, ""), ("lm_head", PREFIX)] {
                let name = format!("{prefix}{module}.{end}");
                let has_prefix = !prefix.is_empty();
                let expected = Spelled {
                    module,
                    part,
                    has_prefix,
                    names_adapter,
                };
                assert_eq!(read_name(&name), Some(expected), "{name}");
            }
        }
        assert_eq!(read_name("prompt_embeddings"), None);
        assert_eq!(read_name(""), None);
    }
}
