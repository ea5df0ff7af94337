//! Replies in which another assistant tells its own name.

use std::sync::LazyLock;

use regex::Regex;

use super::replies::first_match;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "assistant-self",
    family: Family::Harm,
    summary: "a reply speaks as another assistant, or of its training",
    why: "Generated rows carry their maker's name and the date its knowledge ended. The tuned model then says that it is somebody else, and lies about when it was made.",
    what: "In replies: `As an AI language model` and its like, `I am ChatGPT` and other assistants' names, `I was trained by OpenAI` and other makers, and a knowledge cutoff of one's own. Open-Instruct's filters look for the same (`filter_cutoff_date`, `filter_hardcoded`).",
    default: Action::Report,
    params: &[],
};

static SELF: LazyLock<Regex> = LazyLock::new(|| {
    let names = "chatgpt|gpt-?[345]|openai|claude|bard|gemini|llama|qwen|tongyi|deepseek|mistral|copilot|bing chat|grok|vicuna|alpaca|ernie|kimi|phi-?[1-4]";
    let makers = "openai|anthropic|google|meta|microsoft|deepseek|alibaba|mistral|xai|moonshot|zhipu|baidu|cohere|nvidia|lmsys|hugging face";
    let pattern = format!(
        r"(?i-u)\bas an? (?:large |helpful |advanced )?(?:ai|artificial intelligence|language)[- ](?:language )?(?:model|assistant|chatbot|program|system)\b|\bas an ai\b[,.]|\b(?:i am|i'm|my name is) (?:an? )?(?:{names})\b|\bi(?:'m| am|'ve been| have been| was)\b[ a-z,]{{0,60}}\b(?:trained|developed|created|made|built) by (?:{makers})\b|\b(?:my|as of my) (?:last )?(?:knowledge|training(?: data)?) (?:cut-?off|(?:last )?update|(?:only )?(?:extends|goes) (?:up )?to)\b|\bas of my last (?:knowledge |training )?update\b"
    );
    Regex::new(&pattern.replace('\'', "(?:'|’)")).expect("a fixed pattern")
});

/// See [`DOC`].
pub struct AssistantSelf;

impl Rule for AssistantSelf {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        first_match(row, &SELF, |text| text, "speaks as another assistant", hits);
    }
}
