//! Which tensor of a GGUF file gets which type: llama.cpp's mixtures.
//!
//! A model "in Q4_K_M" has most matrices in Q4_K, and in Q6_K those whose errors do the most harm: the head, and values
//! and down projections of the outer layers and of every third in between. The rules are those of `llama_tensor_get_type`
//! in llama.cpp's `llama-quant.cpp`, so that a file made here has the types that a file made there has.

use hone_tensor::Format;

/// What the choice depends on beside a tensor's name and width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixtureFacts<'a> {
    /// `general.architecture`.
    pub architecture: &'a str,
    /// Layers of the model.
    pub num_layers: usize,
    /// Heads of queries.
    pub num_heads: usize,
    /// Heads of keys and values.
    pub num_kv_heads: usize,
    /// Experts of a layer; 0 or 1 for a dense model.
    pub num_experts: usize,
    /// Whether the embedding is the head too.
    pub is_tied: bool,
}

/// Whether a tensor is quantised at all: matrices are, but not norms, the routers of experts and positions.
///
/// `dims` is fastest first, as in the file. What is not quantised stays F32.
pub fn is_quantised(name: &str, dims: &[usize]) -> bool {
    dims.len() >= 2
        && name.ends_with("weight")
        && !name.contains("_norm.weight")
        && !name.contains("ffn_gate_inp.weight")
        && name != "position_embd.weight"
        && name != "token_types.weight"
}

/// The type of a quantised tensor in the mixture Q4_K_M. `name` is GGUF's, `cols` the width of its rows.
///
/// Rows that do not divide into 256 get a simple type with a bit more, those that do not divide into 32 F16.
pub fn q4_k_m(name: &str, cols: usize, facts: &MixtureFacts) -> Format {
    let wanted = wanted(name, cols, facts);
    if cols.is_multiple_of(wanted.block_len()) {
        return wanted;
    }
    let simple = match wanted {
        Format::Q4K => Format::Q5_0,
        Format::Q5K => Format::Q5_1,
        _ => Format::Q8_0,
    };
    match cols.is_multiple_of(simple.block_len()) {
        true => simple,
        false => Format::F16,
    }
}

fn wanted(name: &str, cols: usize, facts: &MixtureFacts) -> Format {
    let is = |part: &str| name.contains(part);
    let is_falcon = facts.architecture == "falcon";
    let layer = layer_of(name).unwrap_or(0);
    if name == "output.weight" || facts.is_tied && name == "token_embd.weight" {
        let fits = cols.is_multiple_of(Format::Q4K.block_len()) && !is_falcon;
        return if fits { Format::Q6K } else { Format::Q8_0 };
    }
    if is("attn_qkv.weight") || is("attn_kv_b.weight") || is("attn_v.weight") {
        return match more_bits(layer, facts.num_layers) {
            _ if facts.num_experts == 8 => Format::Q8_0,
            true => Format::Q6K,
            // Eight heads of queries share a head of values there, so the bits cost little.
            false if is_70b(facts) => Format::Q5K,
            false => Format::Q4K,
        };
    }
    if is("attn_k.weight") && facts.num_experts == 8 {
        return Format::Q8_0;
    }
    if is("ffn_down") {
        return match (is_falcon, more_bits(layer, facts.num_layers)) {
            (true, _) if layer < facts.num_layers / 16 => Format::Q6K,
            (true, true) => Format::Q5K,
            (false, true) => Format::Q6K,
            (_, false) => Format::Q4K,
        };
    }
    if is("attn_output.weight") && facts.num_experts == 8 && !is_falcon {
        return Format::Q5K;
    }
    Format::Q4K
}

/// The first and last eighth of the layers, and every third between.
fn more_bits(layer: usize, num_layers: usize) -> bool {
    let eighth = num_layers / 8;
    layer < eighth || layer >= 7 * num_layers / 8 || (layer - eighth) % 3 == 2
}

fn is_70b(facts: &MixtureFacts) -> bool {
    let has_name = matches!(facts.architecture, "llama" | "qwen2");
    has_name && facts.num_layers == 80 && facts.num_heads != facts.num_kv_heads
}

fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: MixtureFacts = MixtureFacts {
        architecture: "llama",
        num_layers: 32,
        num_heads: 32,
        num_kv_heads: 8,
        num_experts: 0,
        is_tied: false,
    };

    #[test]
    fn a_llama_of_32_layers_has_the_types_of_llama_cpp() {
        // As listed in published Q4_K_M files of Llama-3.1-8B.
        let wide = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31];
        for layer in 0..32 {
            let of = |part: &str| q4_k_m(&format!("blk.{layer}.{part}.weight"), 4096, &SMALL);
            let expected = match wide.contains(&layer) {
                true => Format::Q6K,
                false => Format::Q4K,
            };
            assert_eq!(
                (of("attn_v"), of("ffn_down")),
                (expected, expected),
                "{layer}"
            );
            for part in ["attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"] {
                assert_eq!(of(part), Format::Q4K);
            }
        }
        assert_eq!(q4_k_m("output.weight", 4096, &SMALL), Format::Q6K);
        assert_eq!(q4_k_m("token_embd.weight", 4096, &SMALL), Format::Q4K);
        let tied = MixtureFacts {
            is_tied: true,
            ..SMALL
        };
        assert_eq!(q4_k_m("token_embd.weight", 4096, &tied), Format::Q6K);
    }

    #[test]
    fn rows_that_do_not_divide_get_the_next_simple_type() {
        // SmolLM2-135M is 576 wide.
        let at = |name: &str, cols| q4_k_m(name, cols, &SMALL);
        assert_eq!(at("blk.4.attn_q.weight", 576), Format::Q5_0);
        assert_eq!(at("blk.0.attn_v.weight", 576), Format::Q8_0);
        assert_eq!(at("output.weight", 576), Format::Q8_0);
        assert_eq!(at("blk.4.ffn_up.weight", 80), Format::F16);
    }

    #[test]
    fn experts_large_models_and_falcon_have_rules_of_their_own() {
        let experts = MixtureFacts {
            num_experts: 8,
            ..SMALL
        };
        let of = |part: &str| q4_k_m(&format!("blk.4.{part}.weight"), 4096, &experts);
        assert_eq!(
            (
                of("attn_k"),
                of("attn_v"),
                of("attn_output"),
                of("ffn_down_exps")
            ),
            (Format::Q8_0, Format::Q8_0, Format::Q5K, Format::Q4K)
        );
        let large = MixtureFacts {
            num_layers: 80,
            ..SMALL
        };
        assert_eq!(q4_k_m("blk.10.attn_v.weight", 8192, &large), Format::Q5K);
        let falcon = MixtureFacts {
            architecture: "falcon",
            ..SMALL
        };
        assert_eq!(q4_k_m("blk.0.ffn_down.weight", 4096, &falcon), Format::Q6K);
        assert_eq!(q4_k_m("blk.3.ffn_down.weight", 4096, &falcon), Format::Q5K);
        assert_eq!(q4_k_m("output.weight", 4096, &falcon), Format::Q8_0);
    }

    #[test]
    fn norms_routers_and_vectors_stay_as_they_are() {
        for (name, dims) in [
            ("blk.0.attn_norm.weight", &[64][..]),
            ("blk.0.attn_q_norm.weight", &[64, 2]),
            ("blk.0.ffn_gate_inp.weight", &[64, 8]),
            ("blk.0.attn_q.bias", &[64]),
            ("position_embd.weight", &[64, 64]),
        ] {
            assert!(!is_quantised(name, dims), "{name}");
        }
        assert!(is_quantised("blk.0.ffn_down_exps.weight", &[64, 64, 8]));
        assert!(is_quantised("output.weight", &[64, 64]));
    }
}
