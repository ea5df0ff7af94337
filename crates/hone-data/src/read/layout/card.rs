//! The card of a dataset: `README.md`, whose head may say in YAML which files are which split.

use hone_ledger::words::for_shell;
use std::path::Path;

use glob::{MatchOptions, Pattern};
use serde_json::Value;

use super::super::licence_named;
use super::{Candidate, Choices, Doubt, Found, PassedOver, Told, text_at};

/// The card's name.
pub(super) const FILE: &str = "README.md";

/// Configurations that name files.
pub(super) struct Card {
    configs: Result<Vec<Config>, String>,
}

struct Config {
    name: String,
    is_default: bool,
    data_dir: Option<String>,
    /// Split and path; no path at all means all files of `data_dir`.
    files: Vec<(Option<String>, String)>,
    /// Keys that change how files are read and are not known here.
    strange: Vec<String>,
}

/// The YAML at the head of a folder's card, from which [`read`] and [`licence`] take what they are for.
pub(super) fn head(root: &Path) -> Option<String> {
    let text = text_at(&root.join(FILE))?;
    let rest = text.trim_start_matches('\u{feff}').strip_prefix("---")?;
    let rest = rest
        .trim_start_matches([' ', '\t', '\r'])
        .strip_prefix('\n')?;
    let end = rest
        .split_inclusive('\n')
        .scan(0, |at, line| {
            let from = *at;
            *at += line.len();
            Some((from, line.trim_end()))
        })
        .find(|(_, line)| *line == "---")
        .map(|(at, _)| at)?;
    Some(rest[..end].to_owned())
}

/// The licence that the head of a card declares, by its own name where it has one that the Hub has not.
pub(super) fn licence(head: &str) -> Option<String> {
    let head: Value = serde_saphyr::from_str(head).ok()?;
    let named = |key: &str| licence_named(&head[key]);
    let licence = named("license").or_else(|| named("licence"))?;
    let own_name = (licence == "other")
        .then(|| named("license_name"))
        .flatten();
    Some(own_name.unwrap_or(licence))
}

/// Reads the head of a card, if it names files.
pub(super) fn read(head: &str) -> Option<Card> {
    if !head.lines().any(|line| line.starts_with("configs:")) {
        return None;
    }
    let configs = match serde_saphyr::from_str::<Value>(head) {
        Err(error) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            Err(format!("its head is not sound YAML: {first}"))
        }
        Ok(value) => value["configs"]
            .as_array()
            .ok_or_else(|| "`configs` is no list".to_owned())
            .and_then(|configs| {
                let names = names(head, configs.len())?;
                let configs = configs.iter().zip(names);
                configs.map(|(value, name)| config(value, name)).collect()
            }),
    };
    Some(Card { configs })
}

/// The configurations' names as they are written: `no`, `2023` and `null` are names like others.
fn names(head: &str, count: usize) -> Result<Vec<Option<String>>, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        configs: Vec<Named>,
    }
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default, deserialize_with = "written")]
        config_name: Option<String>,
    }
    fn written<'de, D: serde::Deserializer<'de>>(name: D) -> Result<Option<String>, D::Error> {
        let name = <Option<String> as serde::Deserialize>::deserialize(name)?;
        // A name of nothing is still not that of the default.
        Ok(Some(name.unwrap_or_else(|| "null".to_owned())))
    }
    let unsound = |what: String| format!("a `config_name` is no name: {what}");
    let read = serde_saphyr::from_str::<Head>(head).map_err(|error| {
        let error = error.to_string();
        unsound(error.lines().next().unwrap_or_default().to_owned())
    })?;
    match read.configs.len() == count {
        true => Ok(read
            .configs
            .into_iter()
            .map(|named| named.config_name)
            .collect()),
        false => Err("`configs` is no list of configurations".to_owned()),
    }
}

fn config(value: &Value, name: Option<String>) -> Result<Config, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = name.unwrap_or_else(|| "default".into());
    let files = match value.get("data_files") {
        None | Some(Value::Null) => Vec::new(),
        Some(files) => data_files(files).ok_or_else(|| {
            format!("`data_files` of `{name}` is neither paths nor splits with paths")
        })?,
    };
    const KNOWN: [&str; 10] = [
        "config_name",
        "data_files",
        "data_dir",
        "default",
        "description",
        "version",
        // Told by the file itself.
        "sep",
        "delimiter",
        "features",
        "drop_labels",
    ];
    let keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
    Ok(Config {
        is_default: value.get("default") == Some(&Value::Bool(true)),
        data_dir: text("data_dir"),
        files,
        strange: keys
            .filter(|key| !KNOWN.contains(&key.as_str()))
            .cloned()
            .collect(),
        name,
    })
}

/// Splits and paths, in every way in which the Hub lets them be written.
fn data_files(value: &Value) -> Option<Vec<(Option<String>, String)>> {
    let paths = |split: Option<&str>, value: &Value| -> Option<Vec<(Option<String>, String)>> {
        let split = split.map(str::to_owned);
        match value {
            Value::String(path) => Some(vec![(split, path.clone())]),
            Value::Array(paths) => paths
                .iter()
                .map(|path| Some((split.clone(), path.as_str()?.to_owned())))
                .collect(),
            _ => None,
        }
    };
    match value {
        Value::String(_) => paths(None, value),
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match item {
                    Value::Object(item) => {
                        all.extend(paths(
                            Some(item.get("split")?.as_str()?),
                            item.get("path")?,
                        )?);
                    }
                    path => all.extend(paths(None, path)?),
                }
            }
            Some(all)
        }
        Value::Object(splits) => {
            let mut all = Vec::new();
            for (split, value) in splits {
                all.extend(paths(Some(split), value)?);
            }
            Some(all)
        }
        _ => None,
    }
}

impl Card {
    /// The files that the card names, each with its split; `None` if it names none.
    pub(super) fn sort(
        self,
        root: &Path,
        all: &[Candidate],
        choices: &Choices,
        found: &mut Found,
    ) -> Option<Vec<Candidate>> {
        let card = root.join("README.md");
        let doubt = |what: String| Doubt {
            what: format!("{}: {what}", card.display()),
            hint: "name the files themselves, and those of the validation set with --valid".into(),
            is_of_one_file: false,
        };
        let configs = match self.configs {
            Ok(configs) => configs,
            Err(what) => {
                found.doubts.push(doubt(what));
                return None;
            }
        };
        let named: Vec<&Config> = configs
            .iter()
            .filter(|config| !config.files.is_empty() || config.data_dir.is_some())
            .collect();
        if named.is_empty() {
            return None;
        }
        found
            .known
            .extend(named.iter().map(|config| config.name.clone()));
        let chosen: Vec<&Config> = named
            .iter()
            .copied()
            .filter(|config| choices.configs.contains(&config.name))
            .collect();
        found
            .met
            .extend(chosen.iter().map(|config| config.name.clone()));
        let default = named
            .iter()
            .copied()
            .find(|config| config.is_default)
            .or_else(|| {
                named
                    .iter()
                    .copied()
                    .find(|config| config.name == "default")
            });
        let chosen = match (&chosen[..], &named[..], default) {
            ([], [only], _) => vec![*only],
            ([], _, Some(default)) => vec![default],
            ([], several, None) => {
                let names: Vec<&str> = several.iter().map(|config| config.name.as_str()).collect();
                found.doubts.push(Doubt {
                    what: format!(
                        "{} has {} configurations and no default: {}",
                        card.display(),
                        names.len(),
                        names.join(", ")
                    ),
                    hint: format!("--config {} takes the first of them", for_shell(names[0])),
                    is_of_one_file: false,
                });
                several.to_vec()
            }
            (chosen, _, _) => chosen.to_vec(),
        };
        let mut sorted: Vec<Candidate> = Vec::new();
        for config in chosen {
            if let Some(key) = config.strange.first() {
                found.doubts.push(doubt(format!(
                    "`{key}` of the configuration `{}` says how its files are read, which Hone does not know",
                    config.name
                )));
            }
            for (split, path) in config.paths() {
                let matched = match matching(&path, all) {
                    Ok(matched) => matched,
                    Err(what) => {
                        found.doubts.push(doubt(what));
                        continue;
                    }
                };
                if matched.is_empty() {
                    let path = Path::new(path.trim_end_matches("/**"));
                    sorted.push(Candidate {
                        split: split.clone().map(|split| (split, Told::Card)),
                        ..Candidate::absent(path, root, FILE)
                    });
                }
                for candidate in matched {
                    let split = split.clone().map(|split| (split, Told::Card));
                    let before = sorted.iter().find(|other| other.file == candidate.file);
                    match before {
                        None => sorted.push(Candidate {
                            split,
                            ..candidate.clone()
                        }),
                        Some(before) if before.split == split => {}
                        Some(_) => found.doubts.push(doubt(format!(
                            "{} is in more than one split",
                            candidate.within.display()
                        ))),
                    }
                }
            }
        }
        for candidate in all {
            if !sorted.iter().any(|taken| taken.file == candidate.file) {
                found.passed_over.push(PassedOver {
                    file: candidate.file.clone(),
                    why: format!("{FILE} does not name it"),
                });
            }
        }
        Some(sorted)
    }
}

impl Config {
    fn paths(&self) -> Vec<(Option<String>, String)> {
        let dir = self.data_dir.as_deref().unwrap_or("").trim_matches('/');
        let join = |path: &str| match dir {
            "" | "." => path.to_owned(),
            dir => format!("{dir}/{path}"),
        };
        match &self.files[..] {
            [] => vec![(None, join("**"))],
            files => files
                .iter()
                .map(|(split, path)| (split.clone(), join(path)))
                .collect(),
        }
    }
}

/// The files that a path of the card means: itself, what it matches, or what lies below it.
fn matching<'a>(path: &str, all: &'a [Candidate]) -> Result<Vec<&'a Candidate>, String> {
    if path.contains("://") {
        return Err(format!("`{path}` is not in this folder"));
    }
    let path = path.trim_start_matches("./").trim_end_matches('/');
    // The Hub's `**` may end in a name, as in `**.jsonl`.
    let written = path.replace("**.", "**/*.");
    let written = match written.strip_suffix("**") {
        Some(folder) => format!("{folder}**/*"),
        None => written,
    };
    let pattern =
        Pattern::new(&written).map_err(|error| format!("`{path}` is no pattern: {}", error.msg))?;
    let options = MatchOptions {
        require_literal_separator: true,
        ..MatchOptions::new()
    };
    let is_meant = |candidate: &&Candidate| {
        candidate.within == Path::new(path)
            || candidate.within.starts_with(path)
            || pattern.matches_path_with(&candidate.within, options)
    };
    Ok(all.iter().filter(is_meant).collect())
}
