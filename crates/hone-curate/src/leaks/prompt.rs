//! Prompts that are the same.

use std::collections::HashMap;

use hone_data::{Part, Record};
use hone_ledger::{ContentId, Hasher};
use hone_text::Role;

use super::Leak;
use crate::text::same_but_case;
use crate::{Action, Doc, Family};

/// `prompt-exact`.
pub static DOC: Doc = Doc {
    name: "prompt-exact",
    family: Family::Leak,
    summary: "the row answers the very prompt of an evaluation row",
    why: "The plainest leak, and the only one that short prompts show: they have too few words for any n-gram.",
    what: "Version 1. What is said before a reply, roles included and system turns left out, equal but for case and white \
           space (SHA-256): any reply of the training row against the last one of the evaluation row. Texts that are trained on \
           whole are compared whole.",
    default: Action::Drop,
    params: &[],
};

/// The evaluation prompts, by their ids.
#[derive(Default)]
pub(super) struct Prompts(HashMap<ContentId, Vec<usize>>);

impl Prompts {
    /// What an evaluation row asks in the end.
    pub fn of_row(record: &Record) -> Option<ContentId> {
        prompts(record).pop().map(|(id, _)| id)
    }

    pub fn add(&mut self, evaluation: usize, asked: Option<ContentId>) {
        if let Some(id) = asked {
            self.0.entry(id).or_default().push(evaluation);
        }
    }

    pub fn contains(&self, record: &Record) -> bool {
        prompts(record)
            .iter()
            .any(|(id, _)| self.0.contains_key(id))
    }

    /// The leak through the first prompt that an evaluation row has too, and all evaluation rows with any of the prompts.
    pub fn leak(&self, row: usize, record: &Record) -> Option<(Leak, Vec<usize>)> {
        let shared: Vec<(&Vec<usize>, Part<'_>)> = prompts(record)
            .iter()
            .filter_map(|(id, part)| Some((self.0.get(id)?, *part)))
            .collect();
        let &(evaluations, part) = shared.first()?;
        let mut all: Vec<usize> = shared
            .iter()
            .flat_map(|(rows, _)| rows.iter().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        let leak = Leak {
            rule: DOC.name,
            row,
            evaluation: evaluations[0],
            others: all.len() - 1,
            place: part.place,
            span: 0..part.text.len(),
            coverage: 1.0,
        };
        Some((leak, all))
    }
}

/// The prefixes of the ids of all prompts of a record, first to last, by its parts and their texts as [`same_but_case`] has them. Two rows
/// leak into one another where the last prompt of one is among those of the other.
pub(crate) fn ids(said: &[(&Part<'_>, &str)]) -> Vec<u64> {
    let said = said.iter().map(|&(part, text)| (*part, text));
    let prompts = prompts_of(said).into_iter();
    prompts.map(|(id, _)| id.prefix()).collect()
}

/// The prefixes of the ids of all prompts of a record, first to last.
pub(super) fn prefixes(record: &Record) -> impl Iterator<Item = u64> {
    prompts(record).into_iter().map(|(id, _)| id.prefix())
}

/// The ids of all prompts of a record, each with its last text; a text trained on whole is its own.
fn prompts(record: &Record) -> Vec<(ContentId, Part<'_>)> {
    prompts_of(record.parts().map(|part| (part, same_but_case(part.text))))
}

fn prompts_of<'a>(
    said_in: impl Iterator<Item = (Part<'a>, impl AsRef<str>)>,
) -> Vec<(ContentId, Part<'a>)> {
    let mut prompts = Vec::new();
    let mut said = Hasher::new();
    let mut last: Option<Part<'_>> = None;
    let compared = said_in.filter(|(part, _)| {
        let is_asked_or_answered = !part.place.is_reasoning() && !part.place.is_rejected();
        part.role != Some(Role::System) && is_asked_or_answered
    });
    for (part, text) in compared {
        if let (Some(Role::Assistant), Some(prompt)) = (part.role, last) {
            prompts.push((said.clone().finish(), prompt));
        }
        let text = text.as_ref();
        let role = part.role.map_or(Role::User, |role| role);
        said.update(format!("{role} {} {text}", text.len()).as_bytes());
        last = Some(part);
        if part.role.is_none() {
            prompts.push((said.clone().finish(), part));
        }
    }
    // Rows of a benchmark may ask and leave the answer out.
    if let Some(prompt) = last.filter(|last| last.role == Some(Role::User)) {
        prompts.push((said.finish(), prompt));
    }
    prompts
}
