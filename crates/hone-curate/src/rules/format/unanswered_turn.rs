//! Conversations that break off before the last reply.

use hone_data::{Body, Place};
use hone_text::Role;

use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "unanswered-turn",
    family: Family::Format,
    summary: "the last turn is not the assistant's",
    why: "Turns after the last reply are read and never trained on: they cost time and memory, and often the export lost the reply that belonged to them.",
    what: "Conversations with a reply that do not end in one. Conversations without any reply are found by `role-order`.",
    default: Action::Report,
    params: &[],
};

/// See [`DOC`].
pub struct UnansweredTurn;

impl Rule for UnansweredTurn {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let Body::Chat(chat) = &row.record.body else {
            return;
        };
        let Some(reply) = chat
            .turns
            .iter()
            .rposition(|turn| turn.role == Role::Assistant)
        else {
            return;
        };
        if reply + 1 < chat.turns.len() {
            let last = Place::Turn(chat.turns.len() - 1);
            hits.push(Hit::of(last, "nothing answers the last turn"));
        }
    }
}
