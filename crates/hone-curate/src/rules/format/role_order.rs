//! Turns in an order that chat templates cannot render well.

use hone_data::{Body, Place};
use hone_text::{Conversation, Role};

use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "role-order",
    family: Family::Format,
    summary: "turns stand in an order that templates cannot render",
    why: "Templates of Llama 2, Mistral and Gemma stop with an error when roles do not alternate; others render the row, and the model learns to answer itself or to speak first.",
    what: "A conversation that the assistant or a tool begins, two turns of the user or of the assistant in a row, a tool's result that no assistant asked for, and a conversation without any reply. Preferences are read as prompt and continuation, each of the two.",
    default: Action::Drop,
    params: &[],
};

/// See [`DOC`].
pub struct RoleOrder;

impl Rule for RoleOrder {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        match &row.record.body {
            Body::Text(_) => {}
            Body::Chat(chat) => examine(&turns(chat, Place::Turn), hits),
            Body::Unpaired(judged) => examine(&turns(&judged.conversation, Place::Turn), hits),
            Body::Preference(pair) => {
                let prompt = turns(&pair.prompt, Place::Turn);
                let chosen = turns(&pair.chosen, Place::Chosen);
                let rejected = turns(&pair.rejected, Place::Rejected);
                examine(&[prompt.as_slice(), &chosen].concat(), hits);
                examine(&[prompt.as_slice(), &rejected].concat(), hits);
                hits.dedup();
            }
        }
    }
}

type Seat = (Role, Place);

fn turns(chat: &Conversation, place: fn(usize) -> Place) -> Vec<Seat> {
    let turns = chat.turns.iter().enumerate();
    turns
        .map(|(index, turn)| (turn.role, place(index)))
        .collect()
}

fn examine(turns: &[Seat], hits: &mut Vec<Hit>) {
    if !turns.iter().any(|(role, _)| *role == Role::Assistant) {
        hits.push(Hit::of_row(
            "no turn is the assistant's, so there is nothing to learn",
        ));
        return;
    }
    let mut before = None;
    for &(role, place) in turns.iter().filter(|(role, _)| *role != Role::System) {
        if let Some(problem) = problem(before, role) {
            hits.push(Hit::of(place, problem));
        }
        before = Some(role);
    }
}

fn problem(before: Option<Role>, role: Role) -> Option<&'static str> {
    use Role::{Assistant, Tool, User};
    match (before, role) {
        (None, Assistant) => Some("the assistant speaks first"),
        (Some(User), User) => Some("the user speaks twice in a row"),
        (Some(Assistant), Assistant) => Some("the assistant speaks twice in a row"),
        (None | Some(User), Tool) => Some("a tool answers that nobody called"),
        _ => None,
    }
}
