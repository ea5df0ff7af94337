//! The tensors a decoder has, under their Hugging Face names, and what GGUF calls them.
//!
//! Readers and the decoder share this list; a file with one tensor missing, or one too many, is refused by it.

use super::config::DecoderConfig;

/// A tensor the configuration calls for; a vector has one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Hugging Face name, for example `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Outputs of a linear layer.
    pub rows: usize,
    /// Inputs of a linear layer, or the length of a vector.
    pub cols: usize,
}

/// Every tensor the configuration calls for, from the embedding to the head.
pub fn slots(config: &DecoderConfig) -> impl Iterator<Item = Slot> {
    let embedding = slot(
        "model.embed_tokens.weight",
        config.vocab_size,
        config.d_model,
    );
    let norm = slot("model.norm.weight", 1, config.d_model);
    let head =
        (!config.tied_head).then(|| slot("lm_head.weight", config.vocab_size, config.d_model));
    let layers = (0..config.num_layers).flat_map(|layer| layer_slots(config, layer));
    std::iter::once(embedding)
        .chain(layers)
        .chain([norm])
        .chain(head)
}

fn layer_slots(config: &DecoderConfig, layer: usize) -> Vec<Slot> {
    let (d, ff) = (config.d_model, config.d_ff);
    let (q, kv) = (
        config.num_heads * config.head_dim,
        config.num_kv_heads * config.head_dim,
    );
    let linears = [
        ("self_attn.q_proj", q, d, config.attention_bias),
        ("self_attn.k_proj", kv, d, config.attention_bias),
        ("self_attn.v_proj", kv, d, config.attention_bias),
        ("self_attn.o_proj", d, q, config.attention_bias),
        ("mlp.gate_proj", ff, d, config.mlp_bias),
        ("mlp.up_proj", ff, d, config.mlp_bias),
        ("mlp.down_proj", d, ff, config.mlp_bias),
    ];
    let within = |part: &str, rows, cols| slot(&format!("model.layers.{layer}.{part}"), rows, cols);
    let mut slots: Vec<Slot> = ["input_layernorm.weight", "post_attention_layernorm.weight"]
        .map(|norm| within(norm, 1, d))
        .into();
    for (part, rows, cols, bias) in linears {
        slots.push(within(&format!("{part}.weight"), rows, cols));
        slots.extend(bias.then(|| within(&format!("{part}.bias"), 1, rows)));
    }
    slots
}

fn slot(name: &str, rows: usize, cols: usize) -> Slot {
    Slot {
        name: name.to_owned(),
        rows,
        cols,
    }
}

const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

const IN_LAYER: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// What GGUF calls a tensor with this Hugging Face name.
pub(super) fn gguf_name(name: &str) -> Option<String> {
    let (part, kind) = name.rsplit_once('.')?;
    let find = |table: &[(&str, &'static str)], part| {
        table.iter().find(|row| row.0 == part).map(|row| row.1)
    };
    match part
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once('.'))
    {
        Some((layer, part)) => Some(format!("blk.{layer}.{}.{kind}", find(&IN_LAYER, part)?)),
        None => Some(format!("{}.{kind}", find(&OUTSIDE, part)?)),
    }
}

/// The name among `known` that takes the fewest changed letters, when it is close at all.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let (distance, near) = known.map(|other| (distance(name, other), other)).min()?;
    (distance <= name.len() / 3).then(|| near.to_owned())
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
            assert_eq!(gguf_name(name).as_deref(), expected, "{name}");
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
