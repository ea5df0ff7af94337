//! Stability's StableLM: llama with layer norms, of whose heads a part turns; the larger in parallel.

use super::Family;
use super::llama::{LLAMA, NAMES, NORMS};
use crate::arch::{Block, Names, NormAt, NormKind, QueryKeyNorm};
use crate::weights::hf_fields::Only;

const STABLELM_NAMES: Names = Names {
    norms: &[
        NORMS[0],
        (NormAt::Query, "self_attn.q_layernorm", "attn_q_norm"),
        (NormAt::Key, "self_attn.k_layernorm", "attn_k_norm"),
        NORMS[1],
    ],
    gguf_interleaves: false,
    ..NAMES
};

/// StableLM 2 and 3B.
pub const STABLELM: Family = Family {
    name: "stablelm",
    architecture: Some("stablelm"),
    names: &STABLELM_NAMES,
    fixed: &[("hidden_act", Only::Text("silu"))],
    eps: ("layer_norm_eps", 1e-5),
    is_partial: true,
    rotary_share: 0.25,
    common: |config| config.norm = NormKind::Layer,
    hf: |fields, config| {
        config.attention_bias = fields.flag("use_qkv_bias", false)?;
        if fields.flag("use_parallel_residual", false)? {
            config.block = Block::Parallel;
        }
        if fields.flag("qk_layernorm", false)? {
            config.query_key_norm = QueryKeyNorm::ListOfHeads;
        }
        Ok(())
    },
    gguf_keys: &["use_parallel_residual"],
    read_gguf: |metadata, config| {
        // The key is there whether or not the model has it; the missing second norm tells.
        metadata.flag("use_parallel_residual")?;
        if !metadata.has("blk.0.ffn_norm.weight") {
            config.block = Block::Parallel;
        }
        if metadata.has("blk.0.attn_q_norm.weight") {
            let found = "beside blk.0.attn_q_norm.weight";
            return Err(metadata.unsupported("block_count", found, "models without it"));
        }
        Ok(())
    },
    write_gguf: |config, keys| keys.flag("use_parallel_residual", config.block.is_parallel()),
    class: "StableLmForCausalLM",
    write_hf: |config, fields| {
        fields.insert("hidden_act".into(), "silu".into());
        fields.insert("use_qkv_bias".into(), config.attention_bias.into());
        let is_parallel = config.block.is_parallel();
        fields.insert("use_parallel_residual".into(), is_parallel.into());
        let has_norms = config.query_key_norm != QueryKeyNorm::None;
        fields.insert("qk_layernorm".into(), has_norms.into());
    },
    not_in_llama_cpp: |config| {
        let why = "norms on the queries and keys of each head are not written yet";
        (config.query_key_norm != QueryKeyNorm::None).then_some(why)
    },
    peft_targets: &["q_proj", "v_proj"],
    ..LLAMA
};
