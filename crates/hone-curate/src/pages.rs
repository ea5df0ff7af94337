//! A rule's page, made from its documentation: for the terminal and for `docs/rules/`.

use crate::{Action, Entry, Family, rules};

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
