//! `hone pull`: fetch a base model, once.

use super::failure::Exit;
use super::interrupt::Interrupt;
use super::progress::PullProgress;
use crate::base::{self, BaseError, CATALOGUE, Home, HubError, Pulled};
use crate::screen::{self, Talk};
use anyhow::Result;
use serde_json::json;

/// Arguments of `hone pull`.
#[derive(Debug, clap::Args)]
pub struct Pull {
    /// A built-in name, or a hub id owner/name
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// List the built-in names
    #[arg(long, conflicts_with = "name")]
    list: bool,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

impl Pull {
    /// Fetches, and prints where the model is.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let home = Home::from_env()?;
        let Some(name) = self.name.filter(|_| !self.list) else {
            return list(&home, self.json);
        };
        let interrupt = Interrupt::listen_and_say(talk, "stopping; Ctrl-C again leaves at once")?;
        let mut progress = PullProgress::start(talk, interrupt);
        let pulled = base::pull(&name, &home, &mut progress);
        progress.finish();
        match pulled {
            Ok(Pulled {
                base,
                was_here: true,
            }) => {
                talk.say(format!("{name} is already here"));
                print(&base, self.json)
            }
            Ok(Pulled { base, .. }) => {
                talk.say(format!("{name} is here; try: hone chat --model {name}"));
                print(&base, self.json)
            }
            Err(BaseError::Hub(stopped @ HubError::Stopped { .. })) => {
                talk.say(stopped.to_string());
                for hint in stopped.hints() {
                    talk.say(hint);
                }
                Ok(Exit::Interrupted)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn print(base: &base::Base, json: bool) -> Result<Exit> {
    let path = std::path::absolute(&base.path).unwrap_or_else(|_| base.path.clone());
    if json {
        screen::data_json(&json!({ "model": base.name, "path": path }))?;
    } else {
        screen::data_path(&path)?;
    }
    Ok(Exit::Done)
}

fn list(home: &Home, json: bool) -> Result<Exit> {
    for entry in CATALOGUE {
        let is_here = base::is_here(entry, home);
        if json {
            screen::data_json(
                &json!({ "model": entry.name, "licence": entry.licence, "here": is_here }),
            )?;
        } else {
            let here = if is_here { "here" } else { "not fetched" };
            screen::data(format!(
                "{}  {}  {}  {here}",
                entry.name, entry.licence, entry.summary
            ))?;
        }
    }
    Ok(Exit::Done)
}
