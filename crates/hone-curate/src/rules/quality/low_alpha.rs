//! Replies with few letters.

use crate::rules::prose;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "low-alpha",
    family: Family::Quality,
    summary: "few of a supervised text's characters are letters",
    why: "Separator lines, ASCII art, dumps and torn tables are learned symbol by symbol.",
    what: "Learnt texts of at least `min-length` visible characters outside of code of which less than `least` are letters or digits.",
    default: Action::Report,
    params: &[
        Param {
            name: "least",
            what: "share of letters and digits, 0 to 1; 0.6",
        },
        Param {
            name: "min-length",
            what: "visible characters from which a text is measured; 60",
        },
    ],
};

/// See [`DOC`].
pub struct LowAlpha {
    least: f64,
    min_length: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let least = params.number("least", 0.6)?;
    let min_length = params.count("min-length", 60)?.max(1);
    Ok(Box::new(LowAlpha { least, min_length }))
}

impl Rule for LowAlpha {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.supervised() {
            let (mut visible, mut letters) = (0, 0);
            for stretch in prose::stretches(part.text) {
                for c in part.text[stretch].chars().filter(|c| !c.is_whitespace()) {
                    visible += 1;
                    letters += usize::from(c.is_alphanumeric());
                }
            }
            let share = letters as f64 / visible.max(1) as f64;
            if visible >= self.min_length && share < self.least {
                let message = format!(
                    "{:.0} % of the characters are letters or digits",
                    share * 100.0
                );
                hits.push(Hit::of(part.place, message));
            }
        }
    }
}
