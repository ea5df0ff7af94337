//! What a model is not without: configuration, tokenizer, chat template, licence.

use super::Bundle;
use super::source::Source;
use crate::base::{OpenBase, read_vocabulary};
use anyhow::Result;
use hone_model::arch::DecoderConfig;
use hone_model::weights::{Gguf, Typed};
use hone_text::{Conversation, GgufVocabulary, Role, Turn};

/// Puts beside merged safetensors what a Hugging Face directory has. `merged` is what was written, `dtype` what transformers
/// calls the type of most numbers.
pub fn copy_companions(
    bundle: &mut Bundle,
    source: &Source,
    merged: &DecoderConfig,
    dtype: &str,
) -> Result<()> {
    let files = source.open.model_files(merged, dtype)?;
    files
        .iter()
        .try_for_each(|(name, bytes)| bundle.write(name, bytes))
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
