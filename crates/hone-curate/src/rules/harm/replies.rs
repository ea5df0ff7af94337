//! One pattern looked for in the assistant's replies.

use hone_text::Role;
use regex::Regex;

use crate::{Hit, Row};

/// Adds the first match in each reply, or in the stretch of it that `within` gives.
pub fn first_match(
    row: &Row<'_>,
    pattern: &Regex,
    within: fn(&str) -> &str,
    message: &str,
    hits: &mut Vec<Hit>,
) {
    let replies = row
        .parts()
        .filter(|part| part.role == Some(Role::Assistant));
    hits.extend(replies.filter_map(|part| {
        let found = pattern.find(within(part.text))?;
        Some(Hit::at(part.place, found.range(), message))
    }));
}
