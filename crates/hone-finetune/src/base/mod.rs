//! From what the user calls a model to the file or directory that holds it.
//!
//! A name is a path that exists, a built-in name, or a hub id, in that order. Finding never touches the network;
//! only `pull`, with the feature `hub`, does, so a run on a train or in a sealed room behaves like any other.

mod catalogue;
mod chat_form;
mod home;
#[cfg(feature = "hub")]
mod hub;
mod model_files;
mod opened;
mod tokenizer_files;
#[cfg(feature = "hub")]
mod watch;
#[cfg(feature = "hub")]
mod wheel;

pub use catalogue::{CATALOGUE, Entry, Wheel};
pub use chat_form::{ChatForm, FormOrigin, TEMPLATE_FILE};
pub use home::{Home, NoHome};
#[cfg(feature = "hub")]
pub use hub::{Cached, Denied, HubError, HubId};
pub use model_files::FilesError;
pub use opened::{AdapterError, AdapterOrigin, OpenBase, OpenError, OpenOptions, read_vocabulary};
#[cfg(feature = "hub")]
pub use watch::{PullEvent, PullWatch, Unwatched};
#[cfg(feature = "hub")]
pub use wheel::WheelError;

use hone_data::nearest::nearest;
use hone_ledger::words::{for_shell, path_for_shell};
use hone_model::weights::PartName;
use std::path::{Path, PathBuf};

/// A base model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// What the user called it.
    pub name: String,
    /// A Hugging Face directory or a GGUF file.
    pub path: PathBuf,
}

/// Why a name did not lead to a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// The name of a model that is fetched, and no place for those.
    #[error("`{name}` is not a path, and it is not said where fetched models lie")]
    NoHome {
        /// The name.
        name: String,
    },
    /// Known, but not on this machine.
    #[error("`{name}` is not on this machine yet")]
    NotPulled {
        /// The name.
        name: String,
    },
    /// Known, and not all of it on this machine.
    #[error("`{name}` is only partly on this machine: {missing} is missing or cut short")]
    PartlyPulled {
        /// The name.
        name: String,
        /// A file that is missing.
        missing: String,
    },
    /// A path that leads nowhere.
    #[error("there is no model at {}", .path.display())]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },
    /// A directory that is no model.
    #[error("{} has no config.json, so it is not a model directory", .path.display())]
    NotAModel {
        /// The directory.
        path: PathBuf,
        /// What it holds instead.
        holds: Vec<String>,
    },
    /// A directory that cannot be looked into.
    #[error("{} cannot be looked into: {source}", .path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that is not GGUF by name.
    #[error("{} is neither a model directory nor a .gguf file", .path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
    },
    /// No model of this name is known.
    #[error("no model is called `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The hub.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The package index.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Wheel(#[from] WheelError),
}

impl BaseError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoHome { .. } => {
                vec!["pass a path, or say where they lie: `LoadOptions::home`".into()]
            }
            Self::NotPulled { name } => vec![format!("fetch it once: hone pull {name}")],
            Self::PartlyPulled { name, .. } => vec![format!("fetch the rest: hone pull {name}")],
            Self::NoSuchPath { .. } => vec![known_names()],
            Self::NotAModel { path, holds } => not_a_model(path, holds),
            Self::Unreadable { path, .. } => vec![format!(
                "check whose it is and what you may do there: ls -ld {}",
                path_for_shell(path)
            )],
            Self::NotGguf { .. } => {
                vec!["pass a directory with config.json and *.safetensors, or a GGUF file".into()]
            }
            Self::Unknown { name } => {
                let near = nearest(name, CATALOGUE.iter().map(|entry| entry.name));
                near.map(|name| format!("did you mean `{name}`?"))
                    .into_iter()
                    .chain([known_names()])
                    .collect()
            }
            #[cfg(feature = "hub")]
            Self::Hub(error) => error.hints(),
            #[cfg(feature = "hub")]
            Self::Wheel(error) => error.hints(),
        }
    }
}

/// What to give in place of a directory that is no model, by what it holds.
fn not_a_model(path: &Path, holds: &[String]) -> Vec<String> {
    if holds.is_empty() {
        return vec![format!(
            "the directory is empty: give one with a model, or fetch one: hone pull {}",
            CATALOGUE[0].name
        )];
    }
    let holds_file = |name: &str| holds.iter().any(|held| held == name);
    if path.join("config.json").is_dir() {
        return vec![
            "its config.json is a directory: give it another name, and put the model's file there"
                .into(),
        ];
    }
    if holds_file("adapter_config.json") {
        return vec![adapter_in(path)];
    }
    let models = holds.iter().map(|name| path.join(name));
    let models: Vec<String> = models
        .filter(|inner| {
            inner.join("config.json").is_file()
                || (inner.extension().is_some_and(|end| end == "gguf") && inner.is_file())
        })
        .map(|inner| path_for_shell(&inner).to_string())
        .collect();
    let adapter = holds.iter().map(|name| path.join(name));
    let mut adapters = adapter.filter(|inner| inner.join("adapter_config.json").is_file());
    match (&models[..], adapters.next()) {
        ([one], _) => vec![format!("did you mean {one}?")],
        ([_, _, ..], _) => vec![format!("give the path of one of the models in it: {}", models.join(", "))],
        ([], Some(adapter)) => vec![adapter_in(&adapter)],
        ([], None) => vec![
            format!("it holds: {}", holds.join(", ")),
            "a model directory has config.json, a tokenizer and *.safetensors, as transformers' save_pretrained writes them; a GGUF file is \
             given by its own path"
                .into(),
        ],
    }
}

/// How an adapter is given, and the base that it names.
fn adapter_in(dir: &Path) -> String {
    let config = std::fs::read(dir.join("adapter_config.json"));
    let config: serde_json::Value = config
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let base = config["base_model_name_or_path"].as_str();
    let base = base
        .filter(|base| !base.trim().is_empty())
        .unwrap_or("BASE");
    format!(
        "{} is an adapter: give its base as --model {} and the adapter as --adapter {}",
        dir.display(),
        for_shell(base),
        path_for_shell(dir)
    )
}

fn known_names() -> String {
    let names: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
    format!(
        "built-in: {}; or a directory, a .gguf file, or a hub id owner/name",
        names.join(", ")
    )
}

/// What a name refers to, before looking whether it is here.
enum Named {
    Here(PathBuf),
    Listed(&'static Entry),
    #[cfg(feature = "hub")]
    Hub(HubId),
}

fn read_name(name: &str) -> Result<Named, BaseError> {
    let path = Path::new(name);
    if path.exists() {
        return check_path(path).map(Named::Here);
    }
    if let Some(entry) = catalogue::entry(name) {
        return Ok(Named::Listed(entry));
    }
    #[cfg(feature = "hub")]
    if let Some(id) = HubId::parse(name) {
        return Ok(Named::Hub(id));
    }
    let is_path = name.contains(std::path::MAIN_SEPARATOR)
        || name.ends_with(".gguf")
        || name.starts_with('~');
    Err(if is_path {
        BaseError::NoSuchPath {
            path: path.to_path_buf(),
        }
    } else {
        BaseError::Unknown {
            name: name.to_string(),
        }
    })
}

fn check_path(path: &Path) -> Result<PathBuf, BaseError> {
    let path = path.to_path_buf();
    if !path.is_dir() {
        return if path.extension().is_some_and(|e| e == "gguf") {
            Ok(first_part(path))
        } else {
            Err(BaseError::NotGguf { path })
        };
    }
    if path.join("config.json").is_file() {
        return Ok(path);
    }
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries.flatten(),
        Err(source) => return Err(BaseError::Unreadable { path, source }),
    };
    let mut holds: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    holds.sort();
    holds.truncate(8);
    Err(BaseError::NotAModel { path, holds })
}

/// Of a model that is spread over several files the first, which other programs want to be given.
fn first_part(path: PathBuf) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy());
    let first = name.and_then(|name| Some(path.with_file_name(PartName::parse(&name)?.other(1))));
    first.filter(|first| first.is_file()).unwrap_or(path)
}

fn listed_path(entry: &Entry, home: &Home) -> PathBuf {
    home.models().join(entry.name).join(entry.wheel.file_name())
}

/// The model of this name, if it is on this machine.
pub fn find(name: &str, home: &Home) -> Result<Base, BaseError> {
    find_in(name, Some(home))
}

/// As [`find`], where there may be no place for fetched models: a path needs none.
pub fn find_in(name: &str, home: Option<&Home>) -> Result<Base, BaseError> {
    let path = match read_name(name)? {
        Named::Here(path) => Some(path),
        Named::Listed(entry) => {
            let home = home.ok_or_else(|| BaseError::NoHome { name: name.into() })?;
            Some(listed_path(entry, home)).filter(|path| path.is_file())
        }
        #[cfg(feature = "hub")]
        Named::Hub(id) => match id.cached() {
            Cached::Whole(path) => Some(path),
            Cached::Absent => None,
            Cached::Partial { missing } => {
                return Err(BaseError::PartlyPulled {
                    name: name.to_string(),
                    missing,
                });
            }
        },
    };
    let path = path.ok_or_else(|| BaseError::NotPulled {
        name: name.to_string(),
    })?;
    Ok(Base {
        name: name.to_string(),
        path,
    })
}

/// A model that is on this machine, now if not before.
#[cfg(feature = "hub")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The model.
    pub base: Base,
    /// Whether nothing had to be fetched.
    pub was_here: bool,
}

/// The model of this name; what is missing of it is fetched.
#[cfg(feature = "hub")]
pub fn pull(name: &str, home: &Home, watch: &mut dyn PullWatch) -> Result<Pulled, BaseError> {
    let (path, was_here) = match read_name(name)? {
        Named::Here(path) => (path, true),
        Named::Listed(entry) => match listed_path(entry, home) {
            path if path.is_file() => (path, true),
            _ => (wheel::fetch(entry, &home.models(), watch)?, false),
        },
        Named::Hub(id) => id.fetch(watch)?,
    };
    let name = name.to_string();
    Ok(Pulled {
        base: Base { name, path },
        was_here,
    })
}

/// Whether a built-in model is on this machine.
pub fn is_here(entry: &Entry, home: &Home) -> bool {
    listed_path(entry, home).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> (String, Vec<String>) {
        let home = tempfile::tempdir().unwrap();
        let error = find(name, &Home::at(home.path())).unwrap_err();
        (error.to_string(), error.hints())
    }

    #[test]
    fn a_known_name_that_is_absent_says_how_to_fetch_it() {
        let (error, hints) = refusal("smollm2-135m-instruct");
        assert_eq!(error, "`smollm2-135m-instruct` is not on this machine yet");
        assert_eq!(hints, ["fetch it once: hone pull smollm2-135m-instruct"]);
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        let (error, hints) = refusal("smollm2-135-instruct");
        assert_eq!(error, "no model is called `smollm2-135-instruct`");
        assert_eq!(hints[0], "did you mean `smollm2-135m-instruct`?");
    }

    #[test]
    fn a_path_that_leads_nowhere_is_named() {
        assert_eq!(
            refusal("./no/model.gguf").0,
            "there is no model at ./no/model.gguf"
        );
    }

    #[test]
    fn a_directory_without_config_says_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("weights.gguf"), b"").unwrap();
        let (error, hints) = refusal(dir.path().to_str().unwrap());
        assert!(
            error.ends_with("has no config.json, so it is not a model directory"),
            "{error}"
        );
        assert!(hints[0].ends_with("weights.gguf?"), "{hints:?}");
    }

    #[test]
    fn a_directory_that_is_no_model_is_answered_with_what_to_give_instead() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_str().unwrap();
        let hint = || refusal(place).1.join("\n");
        assert!(hint().contains("is empty: give one"), "{}", hint());
        std::fs::create_dir_all(dir.path().join("base")).unwrap();
        assert!(
            hint().contains("it holds: base\na model directory has config.json"),
            "{}",
            hint()
        );
        std::fs::write(dir.path().join("base/config.json"), "{}").unwrap();
        assert!(hint().ends_with("/base?"), "{}", hint());
        std::fs::create_dir_all(dir.path().join("other")).unwrap();
        std::fs::write(dir.path().join("other/config.json"), "{}").unwrap();
        assert!(
            hint().contains("/base, ") && hint().ends_with("/other"),
            "{}",
            hint()
        );
        let named = r#"{"base_model_name_or_path": "own/base"}"#;
        std::fs::write(dir.path().join("adapter_config.json"), named).unwrap();
        let said = hint();
        assert!(
            said.contains(
                "is an adapter: give its base as --model own/base and the adapter as --adapter /"
            ),
            "{said}"
        );
    }

    #[test]
    fn a_configuration_that_is_a_directory_is_told_as_that() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("config.json")).unwrap();
        let (_, hints) = refusal(dir.path().to_str().unwrap());
        assert!(
            hints[0].contains("its config.json is a directory"),
            "{hints:?}"
        );
    }

    #[test]
    #[cfg(feature = "hub")]
    fn a_pulled_model_is_found_without_network() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let path = listed_path(&CATALOGUE[0], &home);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"GGUF").unwrap();
        assert_eq!(find(CATALOGUE[0].name, &home).unwrap().path, path);
        let pulled = pull(CATALOGUE[0].name, &home, &mut Unwatched).unwrap();
        assert!(pulled.was_here && pulled.base.path == path, "{pulled:?}");
    }
}
