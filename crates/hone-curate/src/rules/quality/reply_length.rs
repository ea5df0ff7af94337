//! Replies far shorter or longer than their prompt asks for.

use hone_text::Role;

use crate::rules::prose;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "reply-length",
    family: Family::Quality,
    summary: "a reply is far longer than its prompt, or far shorter",
    why: "Rows at the ends of the ratio are often two rows run together, or a reply that lost its body.",
    what: "Words of the reply divided by words of the user's turns before it, code included: above `longest`, or below `shortest`. A label is a good reply to a long text, so nothing is too short by default.",
    default: Action::Report,
    params: &[
        Param {
            name: "longest",
            what: "words of reply per word of prompt; 300",
        },
        Param {
            name: "shortest",
            what: "words of reply per word of prompt; 0",
        },
    ],
};

/// See [`DOC`].
pub struct ReplyLength {
    longest: f64,
    shortest: f64,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let (longest, shortest) = (
        params.number("longest", 300.0)?,
        params.number("shortest", 0.0)?,
    );
    Ok(Box::new(ReplyLength { longest, shortest }))
}

impl Rule for ReplyLength {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let count = |text: &str| prose::words(text, 0..text.len()).count();
        let mut asked = 0;
        for part in row.parts() {
            match part.role {
                Some(Role::User) => asked += count(part.text),
                Some(Role::Assistant) if asked > 0 => {
                    let said = count(part.text);
                    let ratio = said as f64 / asked as f64;
                    if ratio > self.longest || ratio < self.shortest {
                        let message = format!("{said} words answer {asked}");
                        hits.push(Hit::of(part.place, message));
                    }
                }
                _ => {}
            }
        }
    }
}
