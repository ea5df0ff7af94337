//! What a model is not without: configuration, tokenizer, chat template, licence.

use super::Bundle;
use super::source::Source;
use crate::base::{OpenBase, read_vocabulary};
use anyhow::{Context, Result};
use hone_model::export::hf_config;
use hone_model::weights::{DecoderConfig, Gguf, Typed};
use hone_text::{Conversation, GgufVocabulary, Role, Turn};
use serde_json::{Map, Value, json};

/// Files of a Hugging Face directory that are copied as they are.
const COPIED: [&str; 6] = [
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
    if let Some(bytes) = generation_config(&source.open)? {
        bundle.write(GENERATION, &bytes)?;
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

const GENERATION: &str = "generation_config.json";

/// Programs stop where this file says, so it has to name the token that replies are trained to end with. The base's own
/// bytes where it does, or where the model's configuration says so instead.
fn generation_config(open: &OpenBase) -> Result<Option<Vec<u8>>> {
    let (weights, taught) = (&open.weights, open.renderer.end_of_reply());
    let own = weights.file(GENERATION)?;
    let mut config: Map<String, Value> = match &own {
        Some(bytes) => serde_json::from_slice(bytes)?,
        None => Map::new(),
    };
    let read = |value: &Value| -> Vec<u64> {
        let ids = value
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![value.clone()]);
        ids.iter().filter_map(Value::as_u64).collect()
    };
    let mut ends = config.get("eos_token_id").map(read).unwrap_or_default();
    if ends.is_empty() {
        ends = match weights.file("config.json")? {
            Some(bytes) => read(&serde_json::from_slice::<Value>(&bytes)?["eos_token_id"]),
            None => vec![],
        };
    }
    match taught
        .map(u64::from)
        .filter(|taught| !ends.contains(taught))
    {
        None => Ok(own),
        Some(taught) => {
            ends.insert(0, taught);
            config.insert("eos_token_id".into(), ends.into());
            Ok(Some(
                (serde_json::to_string_pretty(&config)? + "\n").into_bytes(),
            ))
        }
    }
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
        return grown_metadata(source, gguf);
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
    let [eos, eot] = end_tokens(&source.open, vocabulary.eos);
    put("eos_token_id", eos.map(Typed::U32));
    put("eot_token_id", eot.map(Typed::U32));
    put("unknown_token_id", vocabulary.unknown.map(Typed::U32));
    put("padding_token_id", vocabulary.padding.map(Typed::U32));
    let add_bos = trained_without_bos(source).or(vocabulary.add_bos);
    put("add_bos_token", add_bos.map(Typed::Bool));
    put(
        "add_space_prefix",
        vocabulary.add_space_prefix.map(Typed::Bool),
    );
    rows.extend(template_metadata(&source.open));
    Ok(rows)
}

/// The chat template that was trained, and those that lie beside it.
fn template_metadata(open: &OpenBase) -> Vec<(String, Typed)> {
    let templates = open.templates();
    let names = templates.iter().skip(1).map(|(name, _)| name.clone());
    let names: Vec<String> = names.collect();
    let rows = templates
        .into_iter()
        .enumerate()
        .map(|(at, (name, source))| {
            let key = match at {
                0 => TEMPLATE_KEY.to_owned(),
                _ => format!("{TEMPLATE_KEY}.{name}"),
            };
            (key, Typed::Text(source))
        });
    let listed = (!names.is_empty()).then(|| (TEMPLATE_NAMES.to_owned(), Typed::Texts(names)));
    rows.chain(listed).collect()
}

/// Keys of a GGUF file that are not true of what is written: templates beside one that is not the file's own.
pub fn outdated_metadata(source: &Source) -> Vec<String> {
    let Some(gguf) = source.open.weights.gguf() else {
        return vec![];
    };
    let written = template_metadata(&source.open);
    let is_written = |key: &str| written.iter().any(|(name, _)| name == key);
    let is_of_templates = |key: &&str| key.starts_with(TEMPLATE_KEY) && !is_written(key);
    match source.open.form.is_the_models() {
        true => vec![],
        false => gguf
            .keys()
            .filter(is_of_templates)
            .map(str::to_owned)
            .collect(),
    }
}

const TEMPLATE_KEY: &str = "tokenizer.chat_template";
const TEMPLATE_NAMES: &str = "tokenizer.chat_templates";

/// The lists of a GGUF file with the new tokens behind; rows that no token has are filled, as llama.cpp's converter does.
fn grown_metadata(source: &Source, gguf: &Gguf) -> Result<Vec<(String, Typed)>> {
    let open = &source.open;
    let mut template = match open.form.is_the_models() {
        true => vec![],
        false => template_metadata(open),
    };
    if !open.form.is_the_models() {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let [eos, eot] = end_tokens(open, open.renderer.tokenizer().eos());
        let ends = [("eos_token_id", eos), ("eot_token_id", eot)];
        let ends = ends
            .into_iter()
            .filter_map(|(name, id)| Some((key(name), Typed::U32(id?))));
        template.extend(ends);
    }
    let add_bos = trained_without_bos(source).map(Typed::Bool);
    template.extend(add_bos.map(|no| ("tokenizer.ggml.add_bos_token".to_owned(), no)));
    if open.new_tokens.is_empty() && open.weights.new_tokens() == 0 {
        return Ok(template);
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
    Ok(rows.into_iter().map(named).chain(template).collect())
}

/// The two end tokens that a GGUF file names. Programs that know one only stop at the first: that is the one that ends a
/// reply, unless the chat template writes the end of a text by its name, which is the first one's too.
pub(super) fn end_tokens(open: &OpenBase, of_texts: Option<u32>) -> [Option<u32>; 2] {
    let taught = open.renderer.end_of_reply();
    let writes_eos = open.renderer.template_source().contains("eos_token");
    let (first, second) = match writes_eos {
        true => (of_texts.or(taught), taught),
        false => (taught.or(of_texts), of_texts),
    };
    [first, second.filter(|second| Some(*second) != first)]
}

/// `Some(false)` where the file would have the runner put BOS before a prompt that was trained without: the tokenizer begins
/// texts with it, and the chat template does not. A base that nothing was trained on stays as it is.
pub(super) fn trained_without_bos(source: &Source) -> Option<bool> {
    let open = &source.open;
    if source.parts.is_empty() {
        return None;
    }
    let tokenizer = open.renderer.tokenizer();
    let bos = tokenizer.bos().and_then(|id| tokenizer.token(id))?;
    let hi = Conversation::new([Turn::new(Role::User, "Hi")]);
    let text = open.renderer.render(&hi, true).ok()?;
    (tokenizer.adds_bos() && !text.starts_with(&bos)).then_some(false)
}
