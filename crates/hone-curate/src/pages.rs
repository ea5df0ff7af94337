//! A rule's page, made from its documentation: for the terminal and for `docs/rules/`.

use serde::Serialize;

use crate::{Action, Entry, Family, rules};

/// The page of a rule inside a report, which is read without a network.
#[derive(Clone, Debug, Serialize)]
pub struct RulePage {
    /// The rule.
    pub rule: &'static str,
    /// What it sees, as a sentence without a full stop.
    pub summary: String,
    /// Why it matters.
    pub why: Vec<Piece>,
    /// What it looks at.
    pub what: Vec<Piece>,
    /// What it can be told to do.
    pub actions: Vec<&'static str>,
    /// What can be set, with what it means.
    pub params: Vec<(&'static str, Vec<Piece>)>,
}

/// A piece of a text: code, or words.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Piece {
    /// Is it code?
    pub is_code: bool,
    /// What it says.
    pub text: String,
}

impl RulePage {
    /// The page of a rule.
    pub fn of(entry: &'static Entry) -> Self {
        let doc = entry.doc;
        let takes = |action: &Action| entry.takes(*action);
        let actions = Action::ALL.into_iter().filter(takes).map(Action::name);
        Self {
            rule: doc.name,
            summary: capital(doc.summary),
            why: pieces(doc.why),
            what: pieces(doc.what),
            actions: actions.collect(),
            params: doc
                .params
                .iter()
                .map(|param| (param.name, pieces(param.what)))
                .collect(),
        }
    }
}

/// Words and code of Markdown; what else it has to mark words is left away.
fn pieces(markdown: &str) -> Vec<Piece> {
    let parts = markdown.split('`').enumerate();
    let piece = |(at, text): (usize, &str)| Piece {
        is_code: at % 2 == 1,
        text: match at % 2 {
            0 => text.replace('*', ""),
            _ => text.to_owned(),
        },
    };
    parts
        .map(piece)
        .filter(|piece| !piece.text.is_empty())
        .collect()
}

/// The page of one rule, in Markdown.
pub fn page(entry: &Entry) -> String {
    let doc = entry.doc;
    let mut page = format!(
        "# {}\n\n{}. Family: `{}`. Unless the recipe says otherwise: `{}`.\n\n## Why it matters\n\n{}\n\n## What it looks at\n\n{}\n\n## How to switch it\n\n```toml\n[rules]\n{} = {}\n```\n\nActions: {}.\n",
        doc.name,
        capital(doc.summary),
        doc.family,
        doc.default,
        doc.why,
        doc.what,
        doc.name,
        example(entry),
        actions(entry).join(", "),
    );
    if !doc.params.is_empty() {
        page += "\nParameters, written beside `action` in a table:\n\n";
        for param in doc.params {
            page += &format!("- `{}`: {}\n", param.name, param.what);
        }
    }
    page
}

/// The list of all rules, in Markdown.
pub fn index() -> String {
    let mut index = "# Rules\n\nEvery rule of `hone data build` and `hone data check`; made from the rules themselves.\n".to_owned();
    for family in Family::ALL {
        let of_family = rules::all().filter(|entry| entry.doc.family == family);
        let lines: Vec<String> = of_family
            .map(|Entry { doc, .. }| {
                format!(
                    "| [{0}]({0}.md) | {1} | {2} |\n",
                    doc.name, doc.summary, doc.default
                )
            })
            .collect();
        if !lines.is_empty() {
            index += &format!(
                "\n## {family}\n\n| rule | sees that | by default |\n|---|---|---|\n{}",
                lines.concat()
            );
        }
    }
    index
}

/// What a rule can be told to do.
fn actions(entry: &Entry) -> Vec<String> {
    let told = Action::ALL
        .into_iter()
        .filter(|&action| entry.takes(action));
    told.map(|action| format!("`{action}`")).collect()
}

fn example(entry: &Entry) -> &'static str {
    match entry.doc.default {
        Action::Drop if entry.takes(Action::Report) => "\"report\"",
        Action::Ask => "{ action = \"allow\", reason = \"…\" }",
        _ => "\"drop\"",
    }
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
