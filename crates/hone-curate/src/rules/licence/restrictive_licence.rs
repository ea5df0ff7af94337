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
    what: "What is declared of a row: its `licence` or `license`, that of its source in the recipe, or that of the card of its dataset. What its text declares of itself: SPDX headers, `license: …`, `Licensed under …`, and the notices and links of the GNU and the Creative Commons licences. Conditions that it says of itself in words of its own (`for research purposes only`, `commercial use is prohibited`, `may not be used to train models`, `redistribution is prohibited`). All names are judged by one table: licences that permit pass; those that ask (GPL, LGPL, AGPL, GFDL, EUPL, CC with NC or ND, OpenRAIL, Llama, Gemma, `other`, …) and those that forbid (`proprietary`, all rights reserved) are named with the reason. Of `A OR B` the easier counts, of `A AND B` the stricter. The name of a licence alone is talk about it, and passes.",
    default: Action::Ask,
    params: &[],
};

/// `license: …`, `"licence" = "…"`.
static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)\blicen[sc]e["']?[ \t]*[:=][ \t]*["']?"#).expect("a fixed pattern")
});

/// `Licensed under …`, `is distributed under the terms of …`, `is subject to …`.
static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b(?:(?:licen[sc]ed|released|distributed|published|shared|made available)(?:[ \t]+for[ \t]+[\w -]{1,40})?[ \t]+under|(?:redistribute|modify)[ \t]+it[ \t]+under|(?:is|are)[ \t]+subject[ \t]+to)[ \t]+(?:the[ \t]+terms[ \t]+of[ \t]+)?").expect("a fixed pattern")
});

/// Conditions that are said without the name of a licence, and what they ask.
static CONDITIONS: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
    let without = r"without (?:the |our |prior |express |written )*(?:permission|consent|authori[sz]ation|leave)";
    let no = r"(?:strictly )?(?:prohibited|forbidden|not (?:allowed|permitted))";
    let used = r"(?:used?|copied|reproduced?|sold|sell|exploit(?:ed)?|redistributed?|scraped)";
    let kept = r"(?:research|academic|educational|scientific|teaching|personal|non-?commercial)";
    let commerce = format!(
        r"\b(?:for|to) {kept}(?:(?:,| and| or|,? and| /)? {kept})*(?: (?:use|usage|purposes?))? only\b|\b{kept}(?:[ -]{kept})? (?:use|purposes) only\b|\brestricted to {kept}\b|\bmay only be {used}\b[^.\n]*\b{kept}\b|\bcommercial (?:use|usage|exploitation)\b[^.;\n]*\b(?:is|are) {no}|\b(?:may|must|can|shall) ?not (?:be )?{used}\b[^.\n]*\b(?:for (?:any )?commercial|commercially)|\bforbidden to use\b[^.\n]*\bcommercial|\bno commercial use\b"
    );
    let training = format!(
        r"\b(?:may|must|can|shall) ?not\b[^.\n]*\b(?:train|training)\b[^.\n]*\b(?:models?|ai|llms?|networks?)\b|\b(?:ai|machine learning|model) training\b[^.;\n]*\b(?:is|are) {no}|\bno ai training\b"
    );
    let closed = format!(
        r"\b(?:confidential and proprietary|proprietary and confidential)\b|\b(?:redistribution|reproduction|copying)\b[^.;\n]*\b(?:is|are) {no}|\b(?:may|must|can|shall) ?not be {used}\b[^.\n]*\b{without}|\bno part of this\b[^.\n]*\bmay be {used}\b"
    );
    let of = |pattern: &str| Regex::new(&format!("(?i){pattern}")).expect("a fixed pattern");
    [
        (of(&commerce), "it is not for commercial use"),
        (of(&training), "models may not be trained on it"),
        (of(&closed), "it may not be used without leave of its owner"),
    ]
});

/// See [`DOC`].
pub struct RestrictiveLicence;

impl Rule for RestrictiveLicence {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let declared = row.record.licence.as_deref().and_then(terms::of_row);
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
    let mut found = conditions_in(text);
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

/// Conditions that a text says of itself in words of its own.
fn conditions_in(text: &str) -> Vec<(Range<usize>, String)> {
    static CUES: LazyLock<aho_corasick::AhoCorasick> = LazyLock::new(|| {
        let cues = [
            "commercial",
            "purposes only",
            "use only",
            "research only",
            "restricted to",
            "train",
            "proprietary",
            "prohibited",
            "forbidden",
            "permission",
            "consent",
            "only be",
        ];
        aho_corasick::AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(cues)
            .expect("a short list of cues")
    });
    if !CUES.is_match(text) {
        return Vec::new();
    }
    let each = CONDITIONS.iter().filter_map(|(pattern, because)| {
        let mut said = pattern.find_iter(text).map(|said| said.range());
        let said = said.find(|said| speaks_of_itself(text, said))?;
        Some((said, format!("says of itself that {because}")))
    });
    each.collect()
}

/// The licence that is named behind a stretch of the text, with the stretch.
fn named_at(text: &str, before: Range<usize>) -> Option<(Range<usize>, Option<Named>)> {
    /// No name is longer.
    const LONGEST: usize = 120;
    let line = text[before.end..].lines().next()?;
    // Of an expression in quotation marks the whole counts.
    if text[..before.end].ends_with('"')
        && let Some((whole, _)) = line.split_once('"')
        && let Some(named) = terms::of_declaration(whole)
    {
        return Some((before.start..before.end + whole.len(), Some(named)));
    }
    let (named, len) = terms::at_beginning(&line[..line.floor_char_boundary(LONGEST)])?;
    Some((before.start..before.end + len, Some(named)))
}

/// Does the sentence say it of the text at hand, and not of something that the text is about, nor ask?
fn speaks_of_itself(text: &str, said: &Range<usize>) -> bool {
    let is_end = |c: char| matches!(c, '.' | '!' | '?' | ';' | '\n');
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
                | "book"
                | "collection"
                | "corpus"
                | "database"
                | "documentation"
                | "images"
                | "module"
                | "package"
                | "page"
                | "paper"
                | "photos"
                | "repository"
                | "script"
                | "site"
                | "texts"
                | "use"
                | "website"
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
        Some("this" | "these" | "all" | "©" | "c" | "except" | "unless" | "you" | "it") => true,
        Some("the" | "our") => words.next().is_some_and(of_it),
        // `This file is part of NAME. NAME is …`
        Some(word) => {
            of_it(word)
                || text[..begins]
                    .to_lowercase()
                    .contains(&format!("part of {word}"))
        }
    };
    let ends = text[said.end..]
        .find(['!', '?', '\n'])
        .map(|at| &text[said.end + at..]);
    is_own && !ends.is_some_and(|rest| rest.starts_with('?'))
}
