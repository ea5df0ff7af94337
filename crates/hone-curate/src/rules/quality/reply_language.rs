//! Replies in another language than their prompt's.

use hone_text::Role;

use super::language::{CONFIDENCE, LanguageDetector, MIN_LENGTH};
use crate::{Action, BadParam, Doc, Family, Hit, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "reply-language",
    family: Family::Quality,
    summary: "a reply is in another language than its prompt",
    why: "Who asks in one language expects an answer in it; translated halves of rows are a common fault of merged collections. Translation tasks are meant to be like this; for them, switch the rule off.",
    what: "The languages of the assistant's turn and of the user's turn before it, as `language` finds them, where it is sure of both.",
    default: Action::Report,
    params: &[MIN_LENGTH, CONFIDENCE],
};

/// See [`DOC`].
pub struct ReplyLanguage {
    detector: LanguageDetector,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let detector = LanguageDetector::new(params)?;
    Ok(Box::new(ReplyLanguage { detector }))
}

impl Rule for ReplyLanguage {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut asked = None;
        for part in row.parts() {
            match part.role {
                Some(Role::User) => asked = self.detector.language(&part),
                Some(Role::Assistant) => {
                    let Some(asked) = asked else { continue };
                    let said = self.detector.language(&part);
                    if let Some(said) = said.filter(|said| *said != asked) {
                        let message =
                            format!("in {}, asked in {}", said.eng_name(), asked.eng_name());
                        hits.push(Hit::of(part.place, message));
                    }
                }
                _ => {}
            }
        }
    }
}
