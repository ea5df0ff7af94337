//! Replies with nothing to learn from.

use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "empty-reply",
    family: Family::Format,
    summary: "a reply of the assistant is empty",
    why: "An empty reply still contributes its end-of-turn token to the loss, so the model is trained to stop at once.",
    what: "Assistant turns, and texts trained on whole, that are empty or only white space. A turn that calls a tool may have no text.",
    default: Action::Drop,
    params: &[],
};

/// See [`DOC`].
pub struct EmptyReply;

impl Rule for EmptyReply {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let empty = row.supervised().filter(|part| part.text.trim().is_empty());
        hits.extend(empty.map(|part| Hit::of(part.place, "the reply is empty")));
    }
}
