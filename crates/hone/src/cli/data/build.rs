//! `hone data build`: from raw files to a dataset directory that can be defended.

use super::check::{print_losses, print_tally};
use super::rust_lints::{build_rust_lints, rust_lints_at_home};
use crate::base::Home;
use crate::cli::failure::{Exit, Refusal};
use crate::curation::{
    Curator, REGROUP, RecipeArgs, beside, count_line, tell_losses, tell_remarks, tell_shortfalls,
    ways_to_decide,
};
use crate::meant::options_for;
use crate::place::{refuse_unwritable, unlocked};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_curate::dataset::{FINDINGS, REPORT};
use hone_curate::{Written, write};
use hone_data::recipe::rust_lints;
use hone_ledger::words::path_for_shell;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `hone data build`.
#[derive(Debug, clap::Args)]
pub struct Build {
    /// Recipe file, or the name of a dataset that Hone makes: rust-lints
    recipe: Option<PathBuf>,
    #[command(flatten)]
    flags: RecipeArgs,
    /// Directory of the dataset; rust-lints is kept in HONE_HOME if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// Whether it is what a recipe is made of and no recipe.
fn is_of_rows(recipe: &Path) -> bool {
    let named = recipe.to_str().map_or(&[] as &[&str], options_for);
    named.contains(&"from")
}

impl Build {
    /// Builds, and ends with 4 if something waits for a decision, or if rows are kept that nothing trains on yet.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        match self.recipe.as_deref() {
            Some(name) if name == Path::new("rust-lints") && !name.exists() => {
                self.rust_lints(talk)
            }
            _ => self.curated(talk),
        }
    }

    fn curated(&self, talk: Talk) -> Result<Exit> {
        if let Some(rows) = self.recipe.as_deref().filter(|recipe| is_of_rows(recipe)) {
            let rows = path_for_shell(rows);
            return Err(Refusal::usage(format!("{rows} is no recipe"))
                .hint(format!(
                    "use --from {rows}, as in hone data build --from {rows} --out DIR"
                ))
                .into());
        }
        let out = self.out.as_deref().ok_or_else(|| {
            Refusal::usage("--out is missing: where the dataset will stand")
                .hint("a new directory: --out data/first")
        })?;
        let raw = self.flags.over(self.recipe.as_deref())?;
        if raw.sources.is_empty() {
            return Err(Refusal::usage("there is nothing to build from")
                .hint("hone data build recipe.toml --out DIR, or hone data build --from rows.jsonl --out DIR")
                .into());
        }
        let curator = Curator::new(raw)?;
        refuse_unwritable(out)?;
        let run = |sink: &mut dyn FnMut(&hone_curate::Finding) -> std::io::Result<()>| {
            curator.curate(&beside(out), talk, sink)
        };
        let written = write(out, &curator.curation, curator.length_unit(), run)?;
        if !written.is_locked {
            talk.warn(unlocked(out));
        }
        let findings = out.join(FINDINGS);
        print_tally(
            &written.tally,
            &format!("all are in {}", findings.display()),
        )?;
        print_losses(&written.losses)?;
        tell_remarks(&written.files, talk);
        if let Some(said) = &written.names_not_looked_for {
            talk.say(said);
        }
        tell_shortfalls(&written.portions, curator.mixes_by(), talk);
        tell_losses(&written.losses, curator.curation.max_dropped, talk);
        let count = count_line(&written.count, curator.counts_lengths());
        self.tell(out, &written, &count, talk)?;
        Ok(
            if written.note.undecided.is_empty() && written.untrained.is_empty() {
                Exit::Done
            } else {
                Exit::Found
            },
        )
    }

    fn tell(&self, out: &Path, written: &Written, count: &str, talk: Talk) -> Result<()> {
        let note = &written.note;
        if self.json {
            return Ok(screen::data_json(
                &json!({ "out": out, "id": written.id, "count": written.count, "manifest": note }),
            )?);
        }
        let sides: Vec<String> = note
            .sides
            .iter()
            .map(|(side, of)| format!("{} {}", of.rows, side.name()))
            .collect();
        talk.say(count);
        talk.say(format!(
            "{} in: {}",
            plural(note.counts["read"], "row"),
            sides.join(", ")
        ));
        if written.was_there {
            talk.say("the dataset is there already, byte for byte");
        }
        if !note.undecided.is_empty() {
            let open = note.undecided.iter();
            let open: Vec<String> = open
                .map(|(rule, count)| format!("{count} of {rule}"))
                .collect();
            talk.say(format!(
                "undecided: {}; training is refused until they are decided",
                open.join(", ")
            ));
            for ways in ways_to_decide(&note.undecided) {
                talk.say(format!("decide with {ways}, or in the recipe"));
            }
            if written.tally.own_split() > 0 {
                talk.say(REGROUP);
            }
        }
        talk.say(format!("content  {}", note.content));
        talk.say(format!("report   {}", out.join(REPORT).display()));
        Ok(screen::data_path(out)?)
    }

    fn rust_lints(&self, talk: Talk) -> Result<Exit> {
        let home = Home::from_env()?;
        let written: rust_lints::Written = match &self.out {
            Some(dir) => build_rust_lints(dir, talk)?,
            None => rust_lints_at_home(&home, talk)?,
        };
        let provenance = written.provenance.display().to_string();
        if self.json {
            let object = json!({
                "train": written.train, "valid": written.valid, "provenance": provenance,
                "train_rows": written.train_rows, "valid_rows": written.valid_rows,
            });
            screen::data_json(&object)?;
        } else {
            talk.say(format!(
                "{} to learn from, {} held out",
                plural(written.train_rows, "row"),
                written.valid_rows
            ));
            for path in [&written.train, &written.valid, &written.provenance] {
                screen::data_path(path)?;
            }
        }
        Ok(Exit::Done)
    }
}
