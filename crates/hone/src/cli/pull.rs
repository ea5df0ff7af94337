//! `hone pull`: fetch a base model, once.

use super::failure::Exit;
use crate::base::{self, BaseError, CATALOGUE, Home};
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
        match base::find(&name, &home) {
            Ok(base) => {
                talk.say(format!("{name} is already here"));
                return print(&base, self.json);
            }
            Err(BaseError::NotPulled { .. }) => talk.say(format!("fetching {name} …")),
            Err(error) => return Err(error.into()),
        }
        let base = base::pull(&name, &home, talk.is_live())?;
        talk.say(format!("{name} is here; try: hone chat --model {name}"));
        print(&base, self.json)
    }
}

fn print(base: &base::Base, json: bool) -> Result<Exit> {
    let path = std::path::absolute(&base.path).unwrap_or_else(|_| base.path.clone());
    if json {
        screen::data_json(&json!({ "model": base.name, "path": path }))?;
    } else {
        screen::data(path.display().to_string())?;
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
