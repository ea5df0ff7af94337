//! What PEFT calls the tensors of an adapter, read back: which module, and which part of its adapter.

/// PEFT puts this before every module's path.
pub(crate) const PREFIX: &str = "base_model.model.";

/// What a tensor is to its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// `A` of a linear layer, `[rank, in]`.
    A,
    /// `B` of a linear layer, `[out, rank]`.
    B,
    /// Bias of `B`, `[out]`.
    OutBias,
    /// `A` of an embedding, `[rank, vocabulary]`.
    EmbeddingA,
    /// `B` of an embedding, `[width, rank]`.
    EmbeddingB,
    /// DoRA's lengths of rows, `[out]`.
    Magnitude,
    /// The base's own matrix below an adapter, saved with it.
    BaseWeight,
    /// The base's own bias below an adapter, trained with it.
    BaseBias,
    /// New rows of an embedding.
    TokenRows,
    /// A whole matrix or vector in place of the base's.
    Weight,
    /// A whole bias in place of the base's.
    Bias,
    /// IA³'s factors: of outputs `[out, 1]`, of inputs `[1, in]`.
    Factors,
    /// A part of some other method.
    Foreign,
}

/// A tensor's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelled<'a> {
    /// `model.layers.0.self_attn.q_proj`.
    pub module: &'a str,
    pub part: Part,
    /// Whether it begins as PEFT begins it.
    pub has_prefix: bool,
    /// Whether it carries the adapter's own name, as `lora_A.default.weight` does.
    pub names_adapter: bool,
}

/// Ends of names, longest first where one ends like another.
const ENDS: [(&str, Part); 25] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_B.bias", Part::OutBias),
    (".lora_embedding_A", Part::EmbeddingA),
    (".lora_embedding_B", Part::EmbeddingB),
    (".lora_magnitude_vector", Part::Magnitude),
    (".lora_magnitude_vector.weight", Part::Magnitude),
    (".token_adapter.base_layer.weight", Part::BaseWeight),
    (".base_layer.weight", Part::BaseWeight),
    (".base_layer.bias", Part::BaseBias),
    (".token_adapter.trainable_tokens_delta", Part::TokenRows),
    (".trainable_tokens_delta", Part::TokenRows),
    (".lora_E", Part::Foreign),
    (".lora_A", Part::Foreign),
    (".lora_B", Part::Foreign),
    (".ia3_l", Part::Factors),
    (".vera_lambda_b", Part::Foreign),
    (".vera_lambda_d", Part::Foreign),
    (".lora_diag", Part::Foreign),
    (".oft_R.weight", Part::Foreign),
    (".ln_tuning_layers.weight", Part::Foreign),
    (".modules_to_save.weight", Part::Weight),
    (".modules_to_save.bias", Part::Bias),
    (".weight", Part::Weight),
    (".bias", Part::Bias),
];

const ADAPTER_NAME: &str = ".default";

/// Takes a name apart; `None` when it ends like nothing that PEFT writes.
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
    let at = |(end, part): &(&str, Part)| {
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
    let (at, part, names_adapter) = ENDS.iter().find_map(at)?;
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
        for (name, module, part, has_prefix, names_adapter) in [
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                q,
                Part::A,
                true,
                false,
            ),
            (
                "model.layers.0.self_attn.q_proj.lora_B.default.weight",
                q,
                Part::B,
                false,
                true,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias",
                q,
                Part::OutBias,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
                q,
                Part::Magnitude,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight",
                q,
                Part::Magnitude,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight",
                q,
                Part::Magnitude,
                true,
                true,
            ),
            (
                "base_model.model.model.embed_tokens.lora_embedding_A",
                "model.embed_tokens",
                Part::EmbeddingA,
                true,
                false,
            ),
            (
                "base_model.model.model.embed_tokens.lora_embedding_B.default",
                "model.embed_tokens",
                Part::EmbeddingB,
                true,
                true,
            ),
            (
                "base_model.model.model.embed_tokens.base_layer.weight",
                "model.embed_tokens",
                Part::BaseWeight,
                true,
                false,
            ),
            (
                "base_model.model.lm_head.weight",
                "lm_head",
                Part::Weight,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.mlp.up_proj.ia3_l",
                "model.layers.0.mlp.up_proj",
                Part::Factors,
                true,
                false,
            ),
        ] {
            let spelled = read_name(name).unwrap_or_else(|| panic!("{name}"));
            let expected = Spelled {
                module,
                part,
                has_prefix,
                names_adapter,
            };
            assert_eq!(spelled, expected, "{name}");
        }
        assert_eq!(read_name("prompt_embeddings"), None);
        assert_eq!(read_name(""), None);
    }
}
