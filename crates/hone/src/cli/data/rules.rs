//! `hone data rules`: what is looked for, why, and how to switch it.

use crate::cli::failure::{Exit, Refusal};
use crate::nearest::nearest;
use crate::screen;
use anyhow::Result;
use hone_curate::{Entry, Family, pages, rules};
use serde_json::json;

/// Arguments of `hone data rules`.
#[derive(Debug, clap::Args)]
pub struct Rules {
    /// A rule or a family; all rules if not given
    name: Option<String>,
    /// Print one JSON object per rule
    #[arg(long)]
    json: bool,
}

impl Rules {
    /// Prints what was asked for.
    pub fn run(self) -> Result<Exit> {
        let chosen = self.chosen()?;
        if self.json {
            for Entry { doc, .. } in chosen {
                let params: Vec<_> = doc
                    .params
                    .iter()
                    .map(|param| json!({ "name": param.name, "what": param.what }))
                    .collect();
                screen::data_json(&json!({
                    "name": doc.name, "family": doc.family, "summary": doc.summary, "why": doc.why, "what": doc.what,
                    "default": doc.default, "params": params,
                }))?;
            }
        } else if let [entry] = chosen[..] {
            screen::data_lines(pages::page(entry).trim_end())?;
        } else {
            print_list(&chosen)?;
        }
        Ok(Exit::Done)
    }

    fn chosen(&self) -> Result<Vec<&'static Entry>> {
        let Some(name) = &self.name else {
            return Ok(rules::all().collect());
        };
        let chosen: Vec<_> = rules::all()
            .filter(|entry| entry.doc.name == name || entry.doc.family.name() == name)
            .collect();
        if chosen.is_empty() {
            let known = rules::all()
                .map(|entry| entry.doc.name)
                .chain(Family::ALL.map(Family::name));
            let refusal = Refusal::usage(format!("there is no rule and no family `{name}`"));
            return Err(match nearest(name, known) {
                Some(near) => refusal.hint(format!("did you mean `{near}`?")),
                None => refusal.hint("`hone data rules` lists them"),
            }
            .into());
        }
        Ok(chosen)
    }
}

fn print_list(chosen: &[&'static Entry]) -> Result<()> {
    let width = chosen
        .iter()
        .map(|entry| entry.doc.name.len())
        .max()
        .unwrap_or(0);
    for family in Family::ALL {
        let of_family: Vec<_> = chosen
            .iter()
            .filter(|entry| entry.doc.family == family)
            .collect();
        if of_family.is_empty() {
            continue;
        }
        screen::data(format!("{family}"))?;
        for Entry { doc, .. } in of_family {
            screen::data(format!(
                "  {:width$}  {:<7} {}",
                doc.name,
                doc.default.name(),
                doc.summary
            ))?;
        }
    }
    Ok(())
}
