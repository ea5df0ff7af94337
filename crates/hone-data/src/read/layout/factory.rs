//! LLaMA-Factory's `dataset_info.json`: datasets by name, each with its file and what its columns mean.
//!
//! What it says is used, or refused by name where it would change what rows mean: a dataset that is read otherwise
//! than its author meant it trains something else without a word.

use hone_ledger::words::for_shell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::{Candidate, Choices, Doubt, Found, PassedOver, Told, json_at};
use crate::Shape;

const FILE: &str = "dataset_info.json";

/// Datasets by name.
pub(super) struct Infos(Vec<(String, Map<String, Value>)>);

/// Reads the index of a folder, if it is LLaMA-Factory's: that of the datasets library has the same name.
pub(super) fn read(root: &Path) -> Option<Infos> {
    let Value::Object(entries) = json_at(&root.join(FILE))? else {
        return None;
    };
    const PLACES: [&str; 6] = [
        "file_name",
        "hf_hub_url",
        "ms_hub_url",
        "om_hub_url",
        "script_url",
        "cloud_file_name",
    ];
    let is_entry = |entry: &Value| PLACES.iter().any(|place| entry.get(place).is_some());
    if entries.is_empty() || !entries.values().all(is_entry) {
        return None;
    }
    let entries = entries.into_iter().filter_map(|(name, entry)| match entry {
        Value::Object(entry) => Some((name, entry)),
        _ => None,
    });
    Some(Infos(entries.collect()))
}

impl Infos {
    /// The files of the datasets that are meant, with their columns.
    pub(super) fn sort(
        self,
        root: &Path,
        all: &[Candidate],
        choices: &Choices,
        found: &mut Found,
    ) -> Vec<Candidate> {
        let index = root.join(FILE);
        found
            .known
            .extend(self.0.iter().map(|(name, _)| name.clone()));
        let mut sorted: Vec<(String, Candidate)> = Vec::new();
        let mut doubts = Vec::new();
        for (name, entry) in &self.0 {
            let is_chosen = choices.configs.contains(name);
            if is_chosen {
                found.met.push(name.clone());
            } else if !choices.configs.is_empty() {
                continue;
            }
            let of_entry = |what: String| Doubt {
                what: format!("{}: `{name}` {what}", index.display()),
                hint: "name the file itself, and its columns with --column FIELD=COLUMN".into(),
                is_of_one_file: false,
            };
            let Some(file) = entry.get("file_name").and_then(Value::as_str) else {
                if is_chosen {
                    doubts.push(of_entry(
                        "is not in this folder; it has no `file_name`".into(),
                    ));
                }
                continue;
            };
            let below = |candidate: &&Candidate| candidate.within.starts_with(file);
            let files: Vec<&Candidate> = all.iter().filter(below).collect();
            if files.is_empty() {
                let absent = Candidate::absent(Path::new(file), root, FILE);
                sorted.push((name.clone(), absent));
                continue;
            }
            let Columns { named, unread } = match columns(entry) {
                Ok(columns) => columns,
                Err(what) => {
                    doubts.push(of_entry(what));
                    Columns::default()
                }
            };
            // A split of local files is the name by which all of them are meant.
            let split = entry.get("split").and_then(Value::as_str);
            let split = split.map(|split| (split.to_owned(), Told::Factory));
            for candidate in files {
                sorted.push((
                    name.clone(),
                    Candidate {
                        split: split.clone(),
                        columns: named.clone(),
                        unread: unread.clone(),
                        ..candidate.clone()
                    },
                ));
            }
        }
        found.doubts.extend(doubts);
        for candidate in all {
            if !sorted.iter().any(|(_, taken)| taken.file == candidate.file) {
                found.passed_over.push(PassedOver {
                    file: candidate.file.clone(),
                    why: match choices.configs.is_empty() {
                        true => format!("{FILE} does not name it"),
                        false => "not of the datasets chosen by --config".to_owned(),
                    },
                });
            }
        }
        self.name_sides(&index, choices, found, sorted)
    }

    /// Datasets of one name each are different sets of rows, unless their names are those of sides.
    fn name_sides(
        &self,
        index: &Path,
        choices: &Choices,
        found: &mut Found,
        sorted: Vec<(String, Candidate)>,
    ) -> Vec<Candidate> {
        let mut names: Vec<&str> = sorted.iter().map(|(name, _)| name.as_str()).collect();
        names.dedup();
        let side = |name: &str, candidate: &Candidate| {
            super::said(name) != super::Said::Nothing
                || super::say(candidate, false).0 != super::Said::Nothing
        };
        let have_sides = sorted.iter().all(|(name, candidate)| side(name, candidate));
        if names.len() > 1 && !have_sides && choices.configs.is_empty() {
            found.doubts.push(Doubt {
                what: format!(
                    "{} has {} datasets: {}",
                    index.display(),
                    names.len(),
                    names.join(", ")
                ),
                hint: format!(
                    "--config {} takes one of them; --config may be given more than once",
                    for_shell(names[0])
                ),
                is_of_one_file: false,
            });
        }
        let by_name = |(name, candidate): (String, Candidate)| {
            let says_nothing = super::say(&candidate, false).0 == super::Said::Nothing;
            let split = match (&candidate.split, says_nothing && have_sides) {
                (None, true) => Some((name, Told::Factory)),
                (split, _) => split.clone(),
            };
            Candidate { split, ..candidate }
        };
        sorted.into_iter().map(by_name).collect()
    }
}

/// What an entry says of the columns of its files.
#[derive(Default)]
struct Columns {
    /// Our fields that stand in columns of another name.
    named: BTreeMap<String, String>,
    /// Columns by the names of fields of ours that the entry leaves unread.
    unread: BTreeSet<String>,
}

/// Which of our fields stand in which columns, or what would change the rows and is not done. As LLaMA-Factory does it
/// (`data/parser.py`): an entry without `columns` has `instruction`, `input` and `output`, or `conversations`; one with
/// `columns` has what it names there and nothing else.
fn columns(entry: &Map<String, Value>) -> Result<Columns, String> {
    let is_set = |key: &str| {
        entry
            .get(key)
            .is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
    };
    if is_set("ranking") {
        return Err("holds pairs of answers (`ranking`), which nothing trains on yet".into());
    }
    if is_set("num_samples") {
        let number = &entry["num_samples"];
        return Err(format!(
            "takes `num_samples` = {number} of its rows at random, which Hone does not"
        ));
    }
    const KNOWN_ENTRIES: [&str; 11] = [
        "file_name",
        "file_sha1",
        "hf_hub_url",
        "ms_hub_url",
        "om_hub_url",
        "script_url",
        "cloud_file_name",
        "columns",
        "tags",
        "formatting",
        "split",
    ];
    let mut keys = entry.keys().filter(|key| is_set(key));
    if let Some(key) = keys.find(|key| !KNOWN_ENTRIES.contains(&key.as_str())) {
        return Err(format!(
            "says `{key}` = {}, which may change what is trained on and is not known",
            entry[key]
        ));
    }
    let empty = Map::new();
    let object = |key: &str| entry.get(key).and_then(Value::as_object).unwrap_or(&empty);
    let (named, tags) = (object("columns"), object("tags"));
    let text =
        |of: &Map<String, Value>, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
    for key in [
        "images", "videos", "audios", "kto_tag", "chosen", "rejected",
    ] {
        if let Some(column) = text(named, key) {
            return Err(format!(
                "has a column for `{key}` (`{column}`), which nothing trains on yet"
            ));
        }
    }
    let formatting = entry
        .get("formatting")
        .and_then(Value::as_str)
        .unwrap_or("alpaca");
    // Field of ours, key of theirs, column where there are no `columns`.
    let fields: &[(&str, &str, Option<&str>)] = match formatting {
        "alpaca" => &[
            ("instruction", "prompt", Some("instruction")),
            ("input", "query", Some("input")),
            ("output", "response", Some("output")),
            ("system", "system", None),
            ("history", "history", None),
            ("tools", "tools", None),
        ],
        "sharegpt" | "openai" => &[("system", "system", None), ("tools", "tools", None)],
        other => {
            return Err(format!(
                "is of the formatting `{other}`, which is not known"
            ));
        }
    };
    const KNOWN: [&str; 8] = [
        "prompt", "query", "response", "history", "messages", "system", "tools", "label",
    ];
    if let Some(key) = named.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("has a column for `{key}`, which is not known"));
    }
    let has_columns = entry.get("columns").is_some_and(Value::is_object);
    let column = |key: &str, default: Option<&str>| {
        let default = default.filter(|_| !has_columns).map(str::to_owned);
        text(named, key).or(default)
    };
    let needed: &[(&str, &str)] = match formatting {
        "alpaca" => &[("prompt", "instruction"), ("response", "output")],
        _ => &[("messages", "conversations")],
    };
    for (key, default) in needed {
        if column(key, Some(default)).is_none() {
            return Err(format!(
                "has `columns` and names none for `{key}`, so there is nothing to train on"
            ));
        }
    }
    let mut columns = Columns::default();
    let mut used = BTreeSet::new();
    let mut add = |field: &str, column: String| {
        used.insert(column.clone());
        if column != field {
            columns.named.insert(field.to_owned(), column);
        }
    };
    for (field, key, default) in fields {
        if let Some(column) = column(key, *default) {
            add(field, column);
        }
    }
    if formatting != "alpaca" {
        let field = turns_field(tags, formatting == "openai")?;
        if let Some(column) = column("messages", Some("conversations")) {
            add(field, column);
        }
    }
    columns.unread = Shape::names()
        .filter(|field| !used.contains(*field))
        .map(str::to_owned)
        .collect();
    Ok(columns)
}

/// Our name for the turns, by how each turn is written; tags that are read otherwise are refused.
fn turns_field(tags: &Map<String, Value>, is_openai: bool) -> Result<&'static str, String> {
    let tag = |key: &str, (theirs, openai): (&'static str, &'static str)| {
        let default = if is_openai { openai } else { theirs };
        tags.get(key)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    };
    let (role, content) = (
        tag("role_tag", ("from", "role")),
        tag("content_tag", ("value", "content")),
    );
    let field = match (role.as_str(), content.as_str()) {
        ("from", "value") => "conversations",
        ("role", "content") => "messages",
        _ => {
            return Err(format!(
                "writes turns as `{role}` and `{content}`, which is not known"
            ));
        }
    };
    const ROLES: [(&str, (&str, &str), &[&str]); 5] = [
        ("user_tag", ("human", "user"), &["human", "user"]),
        (
            "assistant_tag",
            ("gpt", "assistant"),
            &["gpt", "assistant", "chatgpt", "model", "bot"],
        ),
        (
            "observation_tag",
            ("observation", "tool"),
            &["observation", "tool", "function_response"],
        ),
        (
            "function_tag",
            ("function_call", "function_call"),
            &["function_call"],
        ),
        ("system_tag", ("system", "system"), &["system"]),
    ];
    for (key, defaults, known) in ROLES {
        let written = tag(key, defaults);
        if !known.contains(&written.as_str()) {
            return Err(format!(
                "calls a role `{written}` (`{key}`), which is not known"
            ));
        }
    }
    Ok(field)
}
