//! Replies that break off.

use std::ops::Range;

use hone_text::Role;

use crate::rules::prose;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "truncated-reply",
    family: Family::Format,
    summary: "a reply breaks off before its end",
    why: "A reply cut at somebody's token limit teaches the model to stop in the middle of a sentence, or to leave a block of code open.",
    what: "Assistant turns with a fenced block that is never closed; whose last line of prose ends in a comma, an opening bracket or a word that wants another one (`the`, `of`, `and` …); or that hold at least three finished sentences and then end in a line of six words or more without a mark at its end. Lists, headings, links and code end as they like.",
    default: Action::Report,
    params: &[],
};

/// Words that no English sentence ends with.
const WANTING: &[&str] = &[
    "a", "an", "and", "are", "as", "because", "but", "for", "from", "if", "is", "of", "or", "such",
    "than", "that", "the", "their", "to", "was", "were", "which", "with", "your",
];

/// See [`DOC`].
pub struct TruncatedReply;

impl Rule for TruncatedReply {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row
            .parts()
            .filter(|part| part.role == Some(Role::Assistant))
        {
            if prose::has_open_fence(part.text) {
                hits.push(Hit::of(part.place, "a fenced block is never closed"));
            } else if let Some(line) = broken_off(part.text) {
                hits.push(Hit::at(part.place, line, "the reply breaks off"));
            }
        }
    }
}

/// The last line, if it cannot be the end.
fn broken_off(text: &str) -> Option<Range<usize>> {
    let end = text.trim_end().len();
    let start = text[..end].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..end].trim();
    let span = end - line.len()..end;
    let prose = prose::stretches(text).pop()?;
    if prose.end < end || !ends_openly(line) {
        return None;
    }
    let sentence = line.rsplit(['.', '!', '?']).next().unwrap_or(line);
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let wants_more =
        line.ends_with([',', '(', '[']) || words.len() > 2 && WANTING.contains(words.last()?);
    let unfinished = words.len() >= 6 && finished_sentences(&text[..span.end]) >= 3;
    (wants_more || unfinished).then_some(span)
}

/// Is the line prose that ends in a letter, a digit, a comma or an opening bracket?
fn ends_openly(line: &str) -> bool {
    let starts_openly = line
        .chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || "\"'“‘(".contains(c));
    let ends_openly = line.ends_with(|c: char| c.is_alphanumeric() || ",([".contains(c));
    let is_numbered = line
        .split_once(['.', ')'])
        .is_some_and(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()));
    let last = line.rsplit(char::is_whitespace).next().unwrap_or(line);
    starts_openly && ends_openly && !is_numbered && !last.contains(['/', '=', '_', '<', '|'])
}

fn finished_sentences(text: &str) -> usize {
    let ends = |sentence: &Range<usize>| text[sentence.clone()].ends_with(['.', '!', '?']);
    prose::sentences(text, 0..text.len()).filter(ends).count()
}
