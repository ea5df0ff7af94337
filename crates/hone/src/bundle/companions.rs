//! What a model is not without: configuration, tokenizer, chat template, licence.

use super::Bundle;
use super::source::Source;
use anyhow::{Context, Result};
use hone_model::export::hf_config;
use hone_model::weights::{DecoderConfig, Typed};
use hone_text::GgufVocabulary;
use serde_json::{Map, Value, json};

/// Files of a Hugging Face directory that are copied as they are.
const COPIED: [&str; 16] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "USE_POLICY.md",
    "Notice.txt",
];

/// Puts beside merged safetensors what a Hugging Face directory has: copied from a base that is one, made from the
/// metadata of a GGUF file. `merged` is what was written, `dtype` what transformers calls the type of most numbers.
pub fn copy_companions(
    bundle: &mut Bundle,
    source: &Source,
    merged: &DecoderConfig,
    dtype: &str,
) -> Result<()> {
    let weights = &source.open.weights;
    if weights.gguf().is_some() {
        return make_companions(bundle, source, merged, dtype);
    }
    for name in COPIED {
        if let Some(bytes) = weights.file(name)? {
            bundle.write(name, &bytes)?;
        }
    }
    let config = weights
        .file("config.json")?
        .context("a model directory has a config.json")?;
    let mut config: Map<String, Value> = serde_json::from_slice(&config)?;
    // What was quantised is written as plain numbers.
    config.remove("quantization_config");
    if merged.tied_head != weights.config().tied_head {
        config.insert("tie_word_embeddings".into(), merged.tied_head.into());
    }
    // transformers 5 says `dtype`, 4 says `torch_dtype`.
    let key = if config.contains_key("dtype") {
        "dtype"
    } else {
        "torch_dtype"
    };
    config.insert(key.into(), dtype.into());
    bundle.write(
        "config.json",
        (serde_json::to_string_pretty(&config)? + "\n").as_bytes(),
    )
}

fn make_companions(
    bundle: &mut Bundle,
    source: &Source,
    merged: &DecoderConfig,
    dtype: &str,
) -> Result<()> {
    let (weights, renderer) = (&source.open.weights, &source.open.renderer);
    let tokenizer = renderer.tokenizer();
    let mut write = |name: &str, value: &Value| {
        bundle.write(
            name,
            (serde_json::to_string_pretty(value)? + "\n").as_bytes(),
        )
    };
    write("config.json", &hf_config(merged, dtype)?)?;
    write(
        "generation_config.json",
        &json!({ "bos_token_id": weights.config().bos, "eos_token_id": renderer.stop_ids() }),
    )?;
    let mut settings = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": tokenizer.adds_bos(),
        "model_max_length": weights.config().context_len,
        "clean_up_tokenization_spaces": false,
    });
    for (name, token) in tokenizer.named_tokens() {
        settings[name] = token.into();
    }
    if let Some(template) = weights.chat_template()? {
        settings["chat_template"] = template.into();
    }
    write("tokenizer_config.json", &settings)?;
    bundle.write("tokenizer.json", tokenizer.to_json().as_bytes())
}

/// The tokenizer and the chat template as GGUF metadata.
pub fn tokenizer_metadata(source: &Source) -> Result<Vec<(String, Typed)>> {
    let weights = &source.open.weights;
    let vocabulary = GgufVocabulary::of_tokenizer(
        source.open.renderer.tokenizer(),
        weights.config().vocab_size,
    )?;
    let mut rows: Vec<(String, Typed)> = Vec::new();
    let mut put = |key: &str, value: Option<Typed>| {
        rows.extend(value.map(|value| (format!("tokenizer.ggml.{key}"), value)))
    };
    put("model", Some(Typed::Text(vocabulary.model)));
    put(
        "pre",
        vocabulary
            .pre
            .map(Typed::Text)
            .or_else(|| Some(Typed::Text("default".into()))),
    );
    put("tokens", Some(Typed::Texts(vocabulary.tokens)));
    put("token_type", Some(Typed::I32s(vocabulary.token_types)));
    put(
        "scores",
        (!vocabulary.scores.is_empty()).then_some(Typed::F32s(vocabulary.scores)),
    );
    put(
        "merges",
        (!vocabulary.merges.is_empty()).then_some(Typed::Texts(vocabulary.merges)),
    );
    put("bos_token_id", vocabulary.bos.map(Typed::U32));
    // llama.cpp stops at this one; of several, the one that ends a turn is what a chat needs.
    put(
        "eos_token_id",
        ends_a_reply(source).or(vocabulary.eos).map(Typed::U32),
    );
    put("unknown_token_id", vocabulary.unknown.map(Typed::U32));
    put("padding_token_id", vocabulary.padding.map(Typed::U32));
    put("add_bos_token", vocabulary.add_bos.map(Typed::Bool));
    put(
        "add_space_prefix",
        vocabulary.add_space_prefix.map(Typed::Bool),
    );
    let template = weights.chat_template()?;
    rows.extend(
        template.map(|template| ("tokenizer.chat_template".to_owned(), Typed::Text(template))),
    );
    Ok(rows)
}

/// The token that the renderer ends a reply with.
fn ends_a_reply(source: &Source) -> Option<u32> {
    source.open.renderer.stop_ids().first().copied()
}
