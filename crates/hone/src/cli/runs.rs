//! `hone runs`: the runs of this machine, newest first.

use super::failure::Exit;
use crate::base::Home;
use crate::run::EVENTS;
use crate::screen::{self, Talk};
use anyhow::Result;
use hone_ledger::{Registry, RunRow, RunStatus, is_being_written};
use serde_json::Value;
use std::path::Path;

/// Arguments of `hone runs`.
#[derive(Debug, clap::Args)]
pub struct Runs {
    /// Print one JSON object per run
    #[arg(long)]
    json: bool,
}

impl Runs {
    /// Lists the runs.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let home = Home::from_env()?;
        std::fs::create_dir_all(home.root())?;
        let registry = Registry::open(&home.registry())?;
        if let Some(aside) = registry.set_aside() {
            talk.say(format!(
                "the registry was damaged and is now {}; its runs are on disk as before",
                aside.display()
            ));
        }
        let mut runs = registry.list()?;
        runs.iter_mut().for_each(tell_the_dead);
        if runs.is_empty() {
            talk.say("no runs yet: `hone train` and `hone quickstart` make them");
        }
        if !runs.is_empty() && !self.json {
            talk.say("run, how it stands, validation loss before → at its best, base, directory");
        }
        for run in &runs {
            if self.json {
                screen::data_json(run)?;
            } else {
                screen::data(line(run))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// A run that was killed could not say so: where nobody is at work, it is one that can be resumed, or one that failed.
fn tell_the_dead(run: &mut RunRow) {
    let dir = Path::new(&run.dir);
    if run.status == RunStatus::Running && !is_being_written(&dir.join(EVENTS)) {
        run.status = RunStatus::Interrupted;
    }
}

fn line(run: &RunRow) -> String {
    let number = |name: &str| {
        run.metrics
            .get(name)
            .and_then(Value::as_f64)
            .map_or("-".into(), |x| format!("{x:.3}"))
    };
    let (first, best) = (number("valid_loss_first"), number("valid_loss_best"));
    format!(
        "{:12}  {:11}  {first:>7} → {best:>7}  {:28}  {}",
        run.id,
        run.status.word(),
        run.model,
        run.dir
    )
}
