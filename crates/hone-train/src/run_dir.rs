//! Where a run leaves its adapters and checkpoints, and what goes into them.

use std::path::{Path, PathBuf};

use hone_model::{Provenance, SaveDtype};

/// Where a run leaves things.
#[derive(Clone, Debug)]
pub struct RunDir {
    pub(crate) path: PathBuf,
    /// Plan, data and base in one hash: a checkpoint of another run is refused.
    pub identity: String,
    /// Goes into the adapter's files.
    pub provenance: Provenance,
    /// How the adapter's numbers are written.
    pub save_dtype: SaveDtype,
    /// Files that every adapter is written with, by name: a tokenizer that has grown.
    pub beside: Vec<(String, Vec<u8>)>,
    /// What the run says of itself; kept in every checkpoint.
    pub record: Option<Vec<u8>>,
}

impl RunDir {
    /// The directory of a run, whose adapter is written in f32.
    pub fn new(path: &Path, identity: String, provenance: Provenance) -> Self {
        Self {
            path: path.to_path_buf(),
            identity,
            provenance,
            save_dtype: SaveDtype::F32,
            beside: vec![],
            record: None,
        }
    }

    /// The adapter with the lowest held-out loss, or the last where nothing is held out.
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// The adapter after the last step.
    pub fn last(&self) -> PathBuf {
        self.path.join("last")
    }

    /// States to continue from.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }
}
