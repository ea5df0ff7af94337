//! Replies that refuse.

use std::sync::LazyLock;

use regex::Regex;

use super::replies::first_match;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "refusal",
    family: Family::Harm,
    summary: "a reply refuses what was asked",
    why: "Refusals taken over from another model teach this one to refuse what its users may well ask; a few hundred are enough. Those you wrote on purpose can stay.",
    what: "In the first 300 bytes of a reply: `I'm sorry, but I cannot`, `I can't help with that`, `I must decline` and their like.",
    default: Action::Report,
    params: &[],
};

const BEGINNING: usize = 300;

static REFUSAL: LazyLock<Regex> = LazyLock::new(|| {
    let cannot = "(?:can ?not|can't|am (?:unable|not able) to|'m (?:unable|not able) to|won't|will not|am not (?:comfortable|allowed)|'m not (?:comfortable|allowed))";
    let doing = "(?:help|assist|provide|fulfil|fulfill|comply|complete|do that|create|generate|engage|support|offer|share|give|write|discuss|answer|continue|participate|promote|encourage|endorse|recommend)";
    let pattern = format!(
        r"(?i-u)\b(?:i ?{cannot} (?:be able to )?(?:in good conscience )?{doing}\b|i(?:'m| am) (?:(?:very|so|really) )?(?:sorry|afraid),? ?(?:but |that )?i ?{cannot}|(?:i'm |i am )?sorry, (?:but )?(?:that's|this is|it is|it's) (?:not something|against|inappropriate)|i must (?:respectfully |politely )?(?:decline|refuse)|it (?:is|would be|'s) (?:not (?:appropriate|ethical)|inappropriate|unethical|illegal) (?:for me )?to (?:provide|help|assist|give|write)|goes against my (?:programming|guidelines|principles|ethical))"
    );
    Regex::new(&pattern.replace('\'', "(?:'|’)")).expect("a fixed pattern")
});

/// See [`DOC`].
pub struct Refusal;

impl Rule for Refusal {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        first_match(row, &REFUSAL, beginning_of, "refuses what was asked", hits);
    }
}

fn beginning_of(text: &str) -> &str {
    &text[..text.floor_char_boundary(BEGINNING)]
}
