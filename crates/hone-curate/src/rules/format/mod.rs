//! The shape of conversations and text.

use crate::{Check, Entry};

mod empty_reply;

/// The family's rules.
pub const RULES: &[Entry] = &[Entry {
    doc: &empty_reply::DOC,
    check: Check::Row(|_| Ok(Box::new(empty_reply::EmptyReply))),
}];
