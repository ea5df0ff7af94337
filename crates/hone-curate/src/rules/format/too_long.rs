//! Rows that do not fit the model.

use hone_data::DEFAULT_MAX_LENGTH;

use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "too-long",
    family: Family::Format,
    summary: "the row has more tokens than a sequence may have",
    why: "What does not fit is refused or cut when training starts; better to know now, while the row can still be split.",
    what: "Rows whose rendered length in tokens of the target model is above `max-tokens`. Says nothing while no model is named, as nothing is known about tokens then.",
    default: Action::Report,
    params: &[Param {
        name: "max-tokens",
        what: "tokens that a row may have; 1024, or what the model can take if that is less, as for `hone train`",
    }],
};

/// See [`DOC`].
pub struct TooLong {
    max_tokens: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let max_tokens = params.count("max-tokens", DEFAULT_MAX_LENGTH)?;
    Ok(Box::new(TooLong { max_tokens }))
}

impl Rule for TooLong {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let tokens = row.tokens.filter(|tokens| *tokens > self.max_tokens);
        let message = |tokens| format!("{tokens} tokens long; the limit is {}", self.max_tokens);
        hits.extend(tokens.map(|tokens| Hit::of_row(message(tokens))));
    }
}

#[cfg(test)]
mod tests {
    use hone_data::Record;

    use super::*;

    #[test]
    fn a_row_is_too_long_from_one_token_above_the_limit() {
        let record = Record::from_json(r#"{"text": "a"}"#).unwrap();
        let messages = |tokens| {
            let mut hits = Vec::new();
            let row = Row::new(&record, tokens);
            TooLong { max_tokens: 8 }.check(&row, &mut hits);
            hits.into_iter().map(|hit| hit.message).collect::<Vec<_>>()
        };
        assert_eq!(messages(None), [""; 0]);
        assert_eq!(messages(Some(8)), [""; 0]);
        assert_eq!(messages(Some(9)), ["9 tokens long; the limit is 8"]);
    }
}
