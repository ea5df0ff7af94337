//! What PEFT calls the tensors of an adapter, read back: which module, and which part of its adapter.

use super::methods::METHODS;
use super::table::Role;

/// PEFT puts this before every module's path.
pub(crate) const PREFIX: &str = "base_model.model.";

/// A tensor's name, taken apart.
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

/// Ends of names of other methods, which are known to be refused.
const FOREIGN: [(&str, Role); 8] = [
    (".lora_E", Role::Foreign),
    (".lora_A", Role::Foreign),
    (".lora_B", Role::Foreign),
    (".vera_lambda_b", Role::Foreign),
    (".vera_lambda_d", Role::Foreign),
    (".lora_diag", Role::Foreign),
    (".oft_R.weight", Role::Foreign),
    (".ln_tuning_layers.weight", Role::Foreign),
];

fn ends() -> impl Iterator<Item = &'static (&'static str, Role)> {
    let own = METHODS.iter().flat_map(|method| method.ends());
    own.chain(&FOREIGN)
}

/// How the name of a tensor ends when it is written.
pub(super) fn written_end(role: Role) -> &'static str {
    let own = ends().find(|(_, own)| *own == role);
    own.map_or("", |(end, _)| end)
}

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
    let (at, part, names_adapter) = ends().filter_map(at).min_by_key(|(at, ..)| *at)?;
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
                Role::A,
                true,
                false,
            ),
            (
                "model.layers.0.self_attn.q_proj.lora_B.default.weight",
                q,
                Role::B,
                false,
                true,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias",
                q,
                Role::OutBias,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
                q,
                Role::Magnitude,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight",
                q,
                Role::Magnitude,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.default.weight",
                q,
                Role::Magnitude,
                true,
                true,
            ),
            (
                "base_model.model.model.embed_tokens.lora_embedding_A",
                "model.embed_tokens",
                Role::EmbeddingA,
                true,
                false,
            ),
            (
                "base_model.model.model.embed_tokens.lora_embedding_B.default",
                "model.embed_tokens",
                Role::EmbeddingB,
                true,
                true,
            ),
            (
                "base_model.model.model.embed_tokens.base_layer.weight",
                "model.embed_tokens",
                Role::BaseWeight,
                true,
                false,
            ),
            (
                "base_model.model.lm_head.weight",
                "lm_head",
                Role::Whole,
                true,
                false,
            ),
            (
                "base_model.model.model.layers.0.mlp.up_proj.ia3_l",
                "model.layers.0.mlp.up_proj",
                Role::Factors,
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
