//! Replies that say the prompt back.

use hone_text::Role;

use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "echoed-reply",
    family: Family::Format,
    summary: "a reply is its prompt again",
    why: "The row teaches to repeat the question instead of answering it; it is usually a mistake of the export, such as one column read twice.",
    what: "Assistant turns equal to the user turn before them, apart from case and white space. A short greeting may well be answered by itself, so texts of less than `shortest` characters pass.",
    default: Action::Drop,
    params: &[Param {
        name: "shortest",
        what: "characters from which an equal reply is an echo; 24",
    }],
};

/// See [`DOC`].
pub struct EchoedReply {
    shortest: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let shortest = params.count("shortest", 24)?;
    Ok(Box::new(EchoedReply { shortest }))
}

impl Rule for EchoedReply {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut asked = None;
        for part in row.parts() {
            match part.role {
                Some(Role::User) => asked = Some(part.text),
                Some(Role::Assistant) => {
                    let echoes = asked.is_some_and(|asked| self.echoes(asked, part.text));
                    hits.extend(
                        echoes.then(|| Hit::of(part.place, "the reply repeats the prompt")),
                    );
                }
                _ => {}
            }
        }
    }
}

impl EchoedReply {
    fn echoes(&self, asked: &str, reply: &str) -> bool {
        folded(asked).eq(folded(reply))
            && folded(reply).nth(self.shortest.saturating_sub(1)).is_some()
    }
}

/// Lower case, any white space as nothing.
fn folded(text: &str) -> impl Iterator<Item = char> {
    let visible = text.chars().filter(|c| !c.is_whitespace());
    visible.flat_map(char::to_lowercase)
}
