//! The shape of conversations and text.

use crate::{Check, Entry};

mod echoed_reply;
mod empty_reply;
mod html_debris;
mod invisible_character;
mod mojibake;
mod prompt_template_debris;
mod role_order;
mod special_token;
mod too_long;
mod truncated_reply;
mod unanswered_turn;
pub mod unusable_row;

/// The family's rules.
pub const RULES: &[Entry] = &[
    Entry {
        doc: &unusable_row::DOC,
        check: Check::Dataset(|_| Ok(())),
    },
    Entry {
        doc: &role_order::DOC,
        check: Check::Row(|_| Ok(Box::new(role_order::RoleOrder))),
    },
    Entry {
        doc: &unanswered_turn::DOC,
        check: Check::Row(|_| Ok(Box::new(unanswered_turn::UnansweredTurn))),
    },
    Entry {
        doc: &empty_reply::DOC,
        check: Check::Row(|_| Ok(Box::new(empty_reply::EmptyReply))),
    },
    Entry {
        doc: &echoed_reply::DOC,
        check: Check::Row(echoed_reply::rule),
    },
    Entry {
        doc: &truncated_reply::DOC,
        check: Check::Row(|_| Ok(Box::new(truncated_reply::TruncatedReply))),
    },
    Entry {
        doc: &special_token::DOC,
        check: Check::Row(|_| Ok(Box::new(special_token::SpecialToken::default()))),
    },
    Entry {
        doc: &prompt_template_debris::DOC,
        check: Check::Row(|_| Ok(Box::new(prompt_template_debris::PromptTemplateDebris))),
    },
    Entry {
        doc: &mojibake::DOC,
        check: Check::Row(mojibake::rule),
    },
    Entry {
        doc: &invisible_character::DOC,
        check: Check::Row(|_| Ok(Box::new(invisible_character::InvisibleCharacter))),
    },
    Entry {
        doc: &html_debris::DOC,
        check: Check::Row(|_| Ok(Box::new(html_debris::HtmlDebris))),
    },
    Entry {
        doc: &too_long::DOC,
        check: Check::Row(too_long::rule),
    },
];
