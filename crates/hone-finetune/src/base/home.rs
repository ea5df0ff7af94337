//! Where Hone keeps what it has fetched or built: one directory, resolved once.
//!
//! `HONE_HOME` if set, else `$XDG_CACHE_HOME/hone`, else `~/.cache/hone`. It is a cache: everything in it can be made
//! again, so deleting it loses time and nothing else.

use std::path::{Path, PathBuf};

/// The directory of everything Hone keeps between runs.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// Neither `HONE_HOME`, `XDG_CACHE_HOME` nor `HOME` is set.
#[derive(Debug, thiserror::Error)]
#[error("no directory to keep models in: HONE_HOME, XDG_CACHE_HOME and HOME are all unset")]
pub struct NoHome;

impl NoHome {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        vec!["set HONE_HOME to a directory with some space".into()]
    }
}

impl Home {
    /// The home this process was told of by its environment.
    pub fn from_env() -> Result<Self, NoHome> {
        let dir = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        dir("HONE_HOME")
            .or_else(|| dir("XDG_CACHE_HOME").map(|cache| cache.join("hone")))
            .or_else(|| dir("HOME").map(|home| home.join(".cache/hone")))
            .map(Self::at)
            .ok_or(NoHome)
    }

    /// The home at a given place.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Base models of the catalogue, one directory each.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Datasets built by recipes, one directory each.
    pub fn datasets(&self) -> PathBuf {
        self.root.join("datasets")
    }

    /// Answers of evaluations, a file for each model and set of rows.
    pub fn evaluations(&self) -> PathBuf {
        self.root.join("evaluations")
    }

    /// The registry of runs.
    pub fn registry(&self) -> PathBuf {
        self.root.join("runs.sqlite")
    }

    /// The directories of runs, a line each, which the registry can be made again from.
    pub fn run_list(&self) -> PathBuf {
        self.root.join("runs.list")
    }
}
