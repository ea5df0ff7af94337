//! Control tokens of chat templates, written out in text.

use std::ops::Range;

use aho_corasick::AhoCorasick;

use crate::rules::prose;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "special-token-in-text",
    family: Family::Format,
    summary: "a control token of a chat template stands in the text",
    why: "Rows that went through another model's template carry its marks. Hone reads them as plain letters, so the model would be trained to write them; tools that read them as control tokens let the row's text take over the conversation.",
    what: "The tokens of ChatML, Llama 2 to 4, Mistral, Gemma, Phi, DeepSeek, Command-R, GLM and GPT-2 outside of code. `<s>` and `</s>` are HTML for struck-out text as well, so they count only where a text begins or ends with them, or beside `[INST]`.",
    default: Action::Drop,
    params: &[],
};

/// Tokens that mean nothing else.
const TOKENS: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|im_sep|>",
    "<|endoftext|>",
    "<|endofprompt|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|python_tag|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|observation|>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "[AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
];

/// Tokens that are markup elsewhere.
const AT_THE_ENDS: [&str; 2] = ["<s>", "</s>"];

/// See [`DOC`].
pub struct SpecialToken {
    tokens: AhoCorasick,
}

impl Default for SpecialToken {
    fn default() -> Self {
        let tokens = AhoCorasick::new(TOKENS).expect("a short list of short tokens");
        Self { tokens }
    }
}

impl Rule for SpecialToken {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            if let Some(span) = self.first(part.text) {
                hits.push(Hit::at(
                    part.place,
                    span,
                    "a control token of a chat template",
                ));
            }
        }
    }
}

impl SpecialToken {
    fn first(&self, text: &str) -> Option<Range<usize>> {
        if !text.contains(['<', '[']) {
            return None;
        }
        self.anywhere(text).or_else(|| at_an_end(text))
    }

    fn anywhere(&self, text: &str) -> Option<Range<usize>> {
        self.tokens.find(text)?;
        let stretches = prose::stretches(text).into_iter();
        stretches
            .filter_map(|stretch| {
                let found = self.tokens.find(&text[stretch.clone()])?;
                Some(stretch.start + found.start()..stretch.start + found.end())
            })
            .next()
    }
}

fn at_an_end(text: &str) -> Option<Range<usize>> {
    let start = text.len() - text.trim_start().len();
    let end = text.trim_end().len();
    AT_THE_ENDS.iter().find_map(|token| {
        let first = text[start..]
            .starts_with(token)
            .then(|| start..start + token.len());
        let closes = text[..end].ends_with(token) && !text.contains("<s>");
        let struck_out = *token == "<s>" && text.contains("</s>") && !text[..end].ends_with("</s>");
        first
            .filter(|_| !struck_out)
            .or_else(|| closes.then(|| end - token.len()..end))
    })
}
