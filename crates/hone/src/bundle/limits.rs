//! What the program that a directory is written for will not do with it.
//!
//! The files are right; what is said here is what their reader leaves out or does otherwise, so that nobody finds it out from
//! answers that are a little worse than they should be.

use super::Source;
use super::companions::{end_tokens, trained_without_bos};
use hone_ledger::words::in_markdown;
use hone_text::TOOL_USE;

/// The program that reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// transformers, vLLM and whatever else reads a Hugging Face directory.
    Transformers,
    /// llama.cpp, a model.
    LlamaCpp,
    /// llama.cpp, an adapter beside a base of the user's.
    LlamaCppAdapter,
    /// Ollama, a model.
    Ollama,
    /// Ollama, an adapter on a model of its own.
    OllamaAdapter,
    /// mlx-lm, an adapter.
    Mlx,
}

/// In sentences, what `reader` will not do; the Modelfile's own are said by it.
pub fn of(reader: Reader, source: &Source) -> Vec<String> {
    let open = &source.open;
    let renderer = &open.renderer;
    let template = renderer.template_source();
    let mut limits = Vec::new();
    let is_adapter = matches!(
        reader,
        Reader::LlamaCppAdapter | Reader::OllamaAdapter | Reader::Mlx
    );
    if is_adapter && reader != Reader::OllamaAdapter && !open.form.is_the_models() {
        limits.push(format!(
            "the base's files know nothing of the chat template that was trained ({}): give the program chat_template.jinja, \
             which lies beside the adapter",
            open.form.origin()
        ));
    }
    if is_adapter && reader != Reader::OllamaAdapter && open.form.tool_use().is_some() {
        limits.push(format!(
            "rows with tools were trained in the `{TOOL_USE}` template: it lies beside the adapter, and is used where the base has it"
        ));
    }
    if is_adapter && !open.new_tokens.is_empty() {
        limits.push(format!(
            "the base's vocabulary lacks {} that the adapter was trained with: export a model to have them",
            open.new_tokens.join(", ")
        ));
    }
    let is_gguf = matches!(reader, Reader::LlamaCpp | Reader::Ollama);
    let named: Vec<u32> = end_tokens(open, renderer.tokenizer().eos())
        .into_iter()
        .flatten()
        .collect();
    let unnamed = renderer.stop_ids().iter().filter(|id| !named.contains(id));
    let unnamed: Vec<String> = unnamed
        .filter_map(|id| renderer.tokenizer().token(*id))
        .collect();
    if reader == Reader::LlamaCpp && !unnamed.is_empty() {
        limits.push(format!(
            "a GGUF file names two end tokens: llama.cpp stops at {} too only where it knows the text",
            unnamed.join(", ")
        ));
    }
    if is_gguf && trained_without_bos(source).is_some() {
        limits.push(
            "the chat template writes no BOS and the tokenizer would: the file says `add_bos_token` false, so that prompts \
             are as trained; plain text that should begin with BOS needs it written out"
                .into(),
        );
    }
    let set: Vec<String> = open
        .form
        .options()
        .iter()
        .map(ToString::to_string)
        .collect();
    if !set.is_empty() && !is_adapter {
        limits.push(format!(
            "the chat template says {} itself, as it was trained: `chat_template_kwargs` of a request do not change that",
            set.join(" and ")
        ));
    }
    let is_llama_cpp = matches!(reader, Reader::LlamaCpp | Reader::LlamaCppAdapter);
    if is_llama_cpp && template.contains("strftime_now") {
        limits.push(
            "the chat template writes the day's date: llama.cpp writes that of the day of the question".into(),
        );
    }
    if is_llama_cpp && (template.contains("tools") || open.form.tool_use().is_some()) {
        limits.push(
            "llama.cpp shows tools where it runs the chat template itself: with --jinja in versions that ask for it"
                .into(),
        );
    }
    if reader == Reader::Transformers && template.contains("strftime_now") {
        limits.push(
            "the chat template writes the day's date: that of the day of the question".into(),
        );
    }
    limits
}

/// The part of the card that says so; empty where there is nothing to say.
pub fn section(limits: &[String]) -> String {
    if limits.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = limits
        .iter()
        .map(|limit| format!("- {}\n", in_markdown(limit)))
        .collect();
    format!("\n## What its reader does not do\n\n{}", lines.concat())
}
