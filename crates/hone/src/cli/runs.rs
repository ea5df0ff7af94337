//! `hone runs`: the runs of this machine, newest first.

use super::failure::Exit;
use crate::base::Home;
use crate::refusal::Refusal;
use crate::registry::{self, Listing};
use crate::screen::{self, Talk};
use anyhow::Result;
use hone_ledger::RunRow;
use serde_json::Value;
use std::path::PathBuf;

/// Arguments of `hone runs`.
#[derive(Debug, clap::Args)]
pub struct Runs {
    /// Look for runs below this directory first, and list them from now on; may be given more than once
    #[arg(long, value_name = "DIR")]
    find: Vec<PathBuf>,
    /// Print one JSON object per run
    #[arg(long)]
    json: bool,
}

impl Runs {
    /// Lists the runs.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let home = Home::from_env()?;
        for root in &self.find {
            if !root.is_dir() {
                let what = format!("{} is not a directory", root.display());
                return Err(Refusal::usage(what)
                    .hint("name a directory that has directories of runs in it")
                    .into());
            }
            for dir in registry::runs_below(root) {
                // A directory with a file of that name need not be a run.
                if let Err(error) = registry::enter(&dir, &home) {
                    talk.warn(format!(
                        "{} is not listed: {}",
                        dir.display(),
                        registry::in_words(&error)
                    ));
                }
            }
        }
        let Listing { runs, remarks } = registry::list(&home);
        remarks.iter().for_each(|remark| talk.warn(remark));
        if runs.is_empty() && remarks.is_empty() {
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
