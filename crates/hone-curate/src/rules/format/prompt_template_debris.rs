//! Headings of prompt templates inside the text they framed.

use std::sync::LazyLock;

use regex::Regex;

use crate::rules::prose;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "prompt-template-debris",
    family: Family::Format,
    summary: "headings of a prompt template stand in the text",
    why: "`### Instruction:` and `Human:` framed the rows for another model. Inside the new template they are text: the model learns to write both sides of a conversation.",
    what: "Lines outside of code that begin with Alpaca's headings or its opening sentence; and, in replies and whole texts, lines that begin with `Human:` or `User:` while another begins with `Assistant:`, `AI:` or `Bot:`.",
    default: Action::Report,
    params: &[],
};

static HEADING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?mi-u)^[ \t]*(?:#{2,3} ?(?:instruction|input|response|human|assistant|user|system) ?:|below is an instruction that describes a task)").expect("a fixed pattern")
});
static ASKER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m-u)^[ \t]*(?:Human|HUMAN|User|USER) ?:").expect("a fixed pattern")
});
static ANSWERER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m-u)^[ \t]*(?:Assistant|ASSISTANT|AI|Bot|GPT|Chatbot) ?:")
        .expect("a fixed pattern")
});

/// See [`DOC`].
pub struct PromptTemplateDebris;

impl Rule for PromptTemplateDebris {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row
            .parts()
            .filter(|part| part.text.contains([':', 'B', 'b']))
        {
            let is_dialogue =
                part.is_supervised() && ASKER.is_match(part.text) && ANSWERER.is_match(part.text);
            let pattern: &Regex = if is_dialogue { &ASKER } else { &HEADING };
            if !pattern.is_match(part.text) {
                continue;
            }
            let in_prose = prose::stretches(part.text).into_iter().find_map(|stretch| {
                let found = pattern.find(&part.text[stretch.clone()])?;
                Some(stretch.start + found.start()..stretch.start + found.end())
            });
            hits.extend(
                in_prose.map(|span| Hit::at(part.place, span, "a heading of a prompt template")),
            );
        }
    }
}
