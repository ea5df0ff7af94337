//! Rows that cannot be read.

use crate::{Action, Doc, Family};

/// `unusable-row`.
pub static DOC: Doc = Doc {
    name: "unusable-row",
    family: Family::Format,
    summary: "the row cannot be read",
    why: "A row that breaks a loader is often passed over in silence, and with it whatever made it odd.",
    what: "Rows that are not JSON, of no known shape, of another shape than their file, too long for a line, not UTF-8, with a NUL, or \
           with fields that would change the meaning and cannot be honoured. They are always dropped; a file with more of them \
           than `max-bad-rows` stops the build, unless the recipe or `--rule unusable-row=drop` says that they are dropped. Rows that \
           can be read and that the named model cannot render, or that have no reply to train on, are reported and kept; `hone train` \
           skips them.",
    default: Action::Drop,
    params: &[],
};
