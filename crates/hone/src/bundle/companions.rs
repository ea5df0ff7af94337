//! What a model is not without: configuration, tokenizer, chat template, licence.

use super::Bundle;
use super::source::Source;
use crate::base::{OpenBase, read_vocabulary};
use anyhow::{Context, Result};
use hone_model::export::hf_config;
use hone_model::weights::{DecoderConfig, Gguf, Typed};
use hone_text::GgufVocabulary;
use serde_json::{Map, Value, json};

/// Files of a Hugging Face directory that are copied as they are.
const COPIED: [&str; 7] = [
    "generation_config.json",
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
    for (name, bytes) in source.open.tokenizer_files()? {
        bundle.write(&name, &bytes)?;
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
    if weights.new_tokens() > 0 {
        // Models that also see say it of the part that speaks.
        let vocab_size = Value::from(merged.vocab_size);
        match config.get_mut("text_config") {
            Some(Value::Object(speaks)) => speaks.insert("vocab_size".into(), vocab_size),
            _ => config.insert("vocab_size".into(), vocab_size),
        };
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
    for (name, bytes) in source.open.tokenizer_files()? {
        bundle.write(&name, &bytes)?;
    }
    Ok(())
}

/// The tokenizer and the chat template as GGUF metadata; of a base that is a GGUF file what changes in its own.
pub fn tokenizer_metadata(source: &Source) -> Result<Vec<(String, Typed)>> {
    let weights = &source.open.weights;
    if let Some(gguf) = weights.gguf() {
        return grown_metadata(&source.open, gguf);
    }
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

/// The lists of a GGUF file with the new tokens behind; rows that no token has are filled, as llama.cpp's converter does.
fn grown_metadata(open: &OpenBase, gguf: &Gguf) -> Result<Vec<(String, Typed)>> {
    if open.new_tokens.is_empty() && open.weights.new_tokens() == 0 {
        return Ok(vec![]);
    }
    let mut vocabulary = read_vocabulary(gguf)?;
    let tokenizer = open.renderer.tokenizer();
    for token in &open.new_tokens {
        let id = tokenizer.token_id(token);
        vocabulary.push(token, id.is_some_and(|id| tokenizer.is_special(id)));
    }
    vocabulary.fill(open.weights.config().vocab_size);
    let mut rows = vec![
        ("tokens", Typed::Texts(vocabulary.tokens)),
        ("token_type", Typed::I32s(vocabulary.token_types)),
    ];
    if !vocabulary.scores.is_empty() {
        rows.push(("scores", Typed::F32s(vocabulary.scores)));
    }
    let named = |(key, value): (&str, Typed)| (format!("tokenizer.ggml.{key}"), value);
    Ok(rows.into_iter().map(named).collect())
}

/// The token that the renderer ends a reply with.
fn ends_a_reply(source: &Source) -> Option<u32> {
    source.open.renderer.stop_ids().first().copied()
}
