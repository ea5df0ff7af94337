//! The rules of the house, one file each.
//!
//! To add one: a file in the folder of its family with a `DOC` and a type that is a [`Rule`](crate::Rule), cases in
//! the `.md` beside it, and a line in the family's `RULES`.

use crate::{Entry, Family, duplicates, leaks, mix, select};

pub mod format;
pub mod harm;
pub mod licence;
pub mod personal;
mod phrases;
mod prose;
pub mod quality;

/// All rules, family by family.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    [
        format::RULES,
        duplicates::RULES,
        personal::RULES,
        harm::RULES,
        licence::RULES,
        leaks::RULES,
        quality::RULES,
        select::RULES,
        mix::RULES,
    ]
    .into_iter()
    .flatten()
}

/// The rule of a name.
pub fn named(name: &str) -> Option<&'static Entry> {
    all().find(|entry| entry.doc.name == name)
}

/// The family of a name.
pub fn family(name: &str) -> Option<Family> {
    Family::ALL.into_iter().find(|family| family.name() == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_words_joined_by_hyphens_and_used_once() {
        let mut seen = HashSet::new();
        for entry in all() {
            let name = entry.doc.name;
            assert!(seen.insert(name), "{name} is used twice");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{name}"
            );
            assert!(family(name).is_none(), "{name} is a family");
        }
    }
}
