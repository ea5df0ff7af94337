//! The whole state of a run between two steps, on disk complete or not at all.
//!
//! Shuffling and dropout are functions of the seed and the step, so a checkpoint needs no generator
//! state and no place in the data: the adapter, its moments, the step count and the totals are all. Beside
//! them lie the best adapter so far and the run's record, so that a run directory of which only checkpoints
//! are left can be completed again.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use hone_ledger::{
    DirError, VerifiedDir, complete_dirs, discard_dir, keep_newest, open_newest, publish_dir, sweep,
};
use serde::{Deserialize, Serialize};

use crate::optimizer::OptimizerKind;
use crate::totals::Totals;

/// What stands in a checkpoint beside the numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Steps taken.
    pub step: usize,
    /// Plan, data and base that the run was started with; another run's state is refused.
    pub identity: String,
    /// What made the moments.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Sums over the steps so far.
    pub totals: Totals,
    /// Validations that the last step still owes, because the run was stopped before they were done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<Due>,
}

impl Note {
    /// Whether no step was better than the last.
    fn is_best(&self) -> bool {
        self.totals.valid_loss_best.is_some() && self.totals.best_step == self.step
    }
}

/// A validation that comes after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Due {
    /// Of the adapter as it was before the first step.
    Unchanged,
    /// Of the adapter as it is.
    Changed,
}

/// A checkpoint in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What is not a number of the adapter.
    pub note: Note,
    /// The adapter's flat buffer.
    pub parameters: Vec<f32>,
    /// First moments, as the optimiser gave them.
    pub first: Vec<u32>,
    /// Second moments.
    pub second: Vec<u32>,
    /// The adapter of the lowest validation loss, where one was measured.
    pub best: Option<Vec<f32>>,
    /// What the run says of itself, as its caller wrote it.
    pub record: Option<Vec<u8>>,
}

/// Why there is no checkpoint to continue from.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Files are at fault.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// It is complete but not a checkpoint of this kind.
    #[error("`{}` is not a training checkpoint: {reason}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Each is called so, and by the number of its steps.
const SERIES: &str = "step-";

/// At least two are kept, so that a damaged one has a predecessor.
const KEPT: usize = 2;

impl Checkpoint {
    /// Publishes it under `checkpoints` and forgets older ones.
    pub fn save(&self, checkpoints: &Path) -> Result<(), CheckpointError> {
        let note = serde_json::to_value(&self.note).expect("a note is plain JSON");
        let words = [
            bytemuck::cast_slice(&self.parameters),
            &self.first,
            &self.second,
        ];
        let [parameters, first, second] = words.map(little_endian);
        let [first_name, second_name] = moment_files(self.note.optimizer);
        let mut files: Vec<(&str, &[u8])> = vec![
            (PARAMETERS, &parameters),
            (first_name, &first),
            (second_name, &second),
        ];
        // Where the last step is the best, it is not written twice.
        let best = self.best.as_ref().filter(|_| !self.note.is_best());
        let best = best.map(|best| little_endian(bytemuck::cast_slice(best)));
        files.extend(best.as_ref().map(|best| (BEST, &best[..])));
        files.extend(self.record.as_ref().map(|record| (RECORD, &record[..])));
        publish_dir(&checkpoints.join(name_of(self.note.step)), &files, note)?;
        keep_newest(checkpoints, SERIES, KEPT)?;
        Ok(())
    }

    /// The newest complete one under `checkpoints`, and what was damaged and passed over.
    pub fn newest(checkpoints: &Path) -> Result<(Option<Self>, Vec<DirError>), CheckpointError> {
        let newest = open_newest(checkpoints, SERIES)?;
        let read = newest.dir.map(|dir| Self::read(&dir)).transpose()?;
        Ok((read, newest.damaged))
    }

    /// Whether there is a complete one under `checkpoints`, intact or not.
    ///
    /// # Errors
    /// A directory that cannot be listed.
    pub fn exists(checkpoints: &Path) -> Result<bool, CheckpointError> {
        Ok(!complete_dirs(checkpoints, SERIES)?.is_empty())
    }

    /// Removes what killed processes left under `checkpoints`, and of those that are older than the one to continue from, of
    /// so many `steps`, all that would have been forgotten by now. Only for the one writer of the run.
    pub fn tidy(checkpoints: &Path, steps: usize) -> Result<(), CheckpointError> {
        sweep(checkpoints);
        let used = checkpoints.join(name_of(steps));
        let found = complete_dirs(checkpoints, SERIES)?;
        let older = found.iter().skip_while(|path| **path != used);
        older.skip(KEPT).try_for_each(|path| discard_dir(path))?;
        Ok(())
    }

    fn read(dir: &VerifiedDir) -> Result<Self, CheckpointError> {
        let foreign = |reason: String| CheckpointError::Foreign {
            path: dir.path().to_path_buf(),
            reason,
        };
        let note: Note = serde_json::from_value(dir.note().clone())
            .map_err(|error| foreign(error.to_string()))?;
        let words = |name: &str| -> Result<Vec<u32>, CheckpointError> {
            let bytes = dir.read(name)?;
            let (words, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(foreign(format!("{name} ends in the middle of a number")));
            }
            Ok(words.iter().map(|b| u32::from_le_bytes(*b)).collect())
        };
        let [first_name, second_name] = moment_files(note.optimizer);
        let floats = |name: &str| -> Result<Vec<f32>, CheckpointError> {
            Ok(words(name)?.into_iter().map(f32::from_bits).collect())
        };
        let has = |file: &str| dir.names().any(|name| name == file);
        let parameters = floats(PARAMETERS)?;
        let best = match has(BEST) {
            true => Some(floats(BEST)?),
            false => note.is_best().then(|| parameters.clone()),
        };
        let record = has(RECORD).then(|| dir.read(RECORD)).transpose()?;
        let (first, second) = (words(first_name)?, words(second_name)?);
        if first.len() != second.len() {
            return Err(foreign("first and second moments differ in length".into()));
        }
        Ok(Self {
            note,
            parameters,
            first,
            second,
            best,
            record,
        })
    }
}

fn name_of(steps: usize) -> String {
    format!("{SERIES}{steps:08}")
}

const PARAMETERS: &str = "parameters.f32";
const BEST: &str = "best.f32";
const RECORD: &str = "run.json";

/// Names of the files of first and second moments.
fn moment_files(optimizer: OptimizerKind) -> [&'static str; 2] {
    if optimizer.is_8bit() {
        ["first.8bit", "second.8bit"]
    } else {
        ["first.f32", "second.f32"]
    }
}

/// As they lie in memory on most machines, so that a checkpoint is not held twice.
fn little_endian(words: &[u32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return bytemuck::cast_slice(words).into();
    }
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.collect::<Vec<u8>>().into()
}
