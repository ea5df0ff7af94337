//! The contamination guard: which of the rows that are judged by an adapter was trained on.

use crate::run::TRAINED_PROMPTS;
use crate::screen::{Talk, plural};
use anyhow::{Context, Result};
use hone_curate::leaks::TrainedPrompts;
use hone_data::Record;
use std::path::Path;

/// Which rows an adapter was trained on.
pub struct Seen {
    /// Of each row, whether it was.
    pub rows: Vec<bool>,
}

impl Seen {
    /// Which of the rows the adapter was trained on, told before it answers; `None` where that is not known. `of` says whose
    /// rows they are, ` of capitals`, where there are others.
    pub fn by(adapter: &Path, records: &[Record], of: &str, talk: Talk) -> Result<Option<Self>> {
        // Of RUN/adapter, RUN/last and RUN/checkpoints/step-N, which are links or not.
        let real = adapter
            .canonicalize()
            .unwrap_or_else(|_| adapter.to_path_buf());
        let runs = [adapter, &real];
        let mut places = runs
            .into_iter()
            .flat_map(|dir| dir.ancestors().skip(1).take(2));
        let path = places.find_map(|run| {
            let path = run.join(TRAINED_PROMPTS);
            path.is_file().then_some(path)
        });
        let Some(path) = path else {
            talk.say(format!(
                "whether {} was trained on these rows{of} is not known: no run has left {TRAINED_PROMPTS} beside it",
                adapter.display()
            ));
            return Ok(None);
        };
        let read = TrainedPrompts::read(&path);
        let trained = read.with_context(|| format!("{} cannot be read", path.display()))?;
        let trained = trained.unwrap_or_default();
        let seen = Self {
            rows: records.iter().map(|record| trained.has(record)).collect(),
        };
        match seen.count() {
            0 if of.is_empty() => talk.say("none of these rows was trained on"),
            0 => talk.say(format!("none of the rows{of} was trained on")),
            count => talk.warn(format!(
                "the adapter was trained on the prompts of {count} of these {}{of}",
                plural(records.len(), "row")
            )),
        }
        Ok(Some(seen))
    }

    /// How many it was trained on.
    pub fn count(&self) -> usize {
        self.rows.iter().filter(|seen| **seen).count()
    }

    /// What stands above every table of such rows.
    pub fn line(&self) -> Option<String> {
        let count = self.count();
        (count > 0).then(|| {
            format!(
                "contaminated: the adapter was trained on the prompts of {count} of these {}, so scores tell what it remembers; judge by rows that it has not seen",
                plural(self.rows.len(), "row")
            )
        })
    }
}
