//! Licences that somebody has to decide about, declared of a row or by its text.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::spdx_header;
use super::terms::{self, Named, Terms};
use super::texts::{self, Kind};
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "restrictive-licence",
    family: Family::Licence,
    summary: "the text is under copyleft, or not for commerce, or not to be changed, or not to be used at all",
    why: "Whether a model may learn from such text, and what then holds for the model, is for its owner to decide before training, not for a tool and not afterwards.",
    what: "What is declared of a row: its `licence` or `license`, that of its source in the recipe, or that of the card of its dataset. What its text declares of itself: SPDX headers, `license: …`, `Licensed under …`, and the notices and links of the GNU and the Creative Commons licences. All are judged by one table: licences that permit pass; those that ask (GPL, LGPL, AGPL, GFDL, EUPL, CC with NC or ND, OpenRAIL, Llama, Gemma, `other`, …) and those that forbid (`proprietary`, all rights reserved) are named with the reason. Of `A OR B` the easier counts, of `A AND B` the stricter. The name of a licence alone is talk about it, and passes.",
    default: Action::Ask,
    params: &[],
};

/// `license: …`, `"licence" = "…"`.
static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)\blicen[sc]e["']?[ \t]*[:=][ \t]*["']?"#).expect("a fixed pattern")
});

/// `Licensed under …`, `is distributed under the terms of …`.
static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:licen[sc]ed|released|distributed|published|shared|made available)[ \t]+under[ \t]+(?:the[ \t]+terms[ \t]+of[ \t]+)?").expect("a fixed pattern")
});

/// See [`DOC`].
pub struct RestrictiveLicence;

impl Rule for RestrictiveLicence {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let declared = row
            .record
            .licence
            .as_deref()
            .and_then(terms::of_declaration);
        if let Some(named) = declared.filter(|named| named.terms != Terms::Permits) {
            hits.push(Hit::of_row(format!("declared {}", told(&named))));
        }
        for part in row.parts() {
            let found = declared_in(part.text).into_iter();
            hits.extend(found.map(|(span, what)| Hit::at(part.place, span, what)));
        }
    }
}

fn told(named: &Named) -> String {
    format!("under the licence {}: {}", named.name, named.because)
}

/// What a text declares of itself, first to last, each place once.
fn declared_in(text: &str) -> Vec<(Range<usize>, String)> {
    let mut found: Vec<(Range<usize>, String)> = Vec::new();
    if !texts::may_hold_one(text) {
        return found;
    }
    let sentences = texts::find(text, Kind::Restrictive).into_iter();
    found.extend(sentences.map(|found| (found.span, format!("under the licence {}", found.spdx))));
    let headers = spdx_header::find(text).map(|(span, id)| (span, terms::of_declaration(id)));
    let fields = FIELD
        .find_iter(text)
        .filter_map(|field| named_at(text, field.range()));
    let said = SENTENCE
        .find_iter(text)
        .filter(|said| speaks_of_itself(text, &said.range()));
    let said = said.filter_map(|said| named_at(text, said.range()));
    for (span, named) in headers.chain(fields).chain(said) {
        let is_seen =
            |other: &(Range<usize>, String)| other.0.start < span.end && span.start < other.0.end;
        if let Some(named) = named.filter(|named| named.terms != Terms::Permits)
            && !found.iter().any(is_seen)
        {
            found.push((span, told(&named)));
        }
    }
    found.sort_by_key(|(span, _)| span.start);
    found
}

/// The licence that is named behind a stretch of the text, with the stretch.
fn named_at(text: &str, before: Range<usize>) -> Option<(Range<usize>, Option<Named>)> {
    /// No name is longer.
    const LONGEST: usize = 120;
    let line = text[before.end..].lines().next()?;
    let (named, len) = terms::at_beginning(&line[..line.floor_char_boundary(LONGEST)])?;
    Some((before.start..before.end + len, Some(named)))
}

/// Does the sentence say it of the text at hand, and not of something that the text is about, nor ask?
fn speaks_of_itself(text: &str, said: &Range<usize>) -> bool {
    let is_end = |c: char| matches!(c, '.' | '!' | '?' | '\n');
    let begins = text[..said.start].rfind(is_end).map_or(0, |at| at + 1);
    let subject = text[begins..said.start].to_lowercase();
    let mut words = subject
        .split(|c: char| !c.is_alphanumeric() && c != '©')
        .filter(|word| !word.is_empty());
    let of_it = |word: &str| {
        matches!(
            word,
            "article"
                | "code"
                | "content"
                | "contents"
                | "copyright"
                | "data"
                | "dataset"
                | "document"
                | "file"
                | "files"
                | "image"
                | "library"
                | "material"
                | "program"
                | "project"
                | "software"
                | "source"
                | "text"
                | "work"
        )
    };
    let is_own = match words.next() {
        None => true,
        Some("this" | "these" | "all" | "©" | "c") => true,
        Some("the" | "our") => words.next().is_some_and(of_it),
        Some(word) => of_it(word),
    };
    let ends = text[said.end..]
        .find(['!', '?', '\n'])
        .map(|at| &text[said.end + at..]);
    is_own && !ends.is_some_and(|rest| rest.starts_with('?'))
}
