//! `hone data build`: from raw files to a dataset directory that can be defended.

use super::again::again;
use super::check::print_told;
use super::rust_lints::{build_rust_lints, rust_lints_at_home};
use crate::base::Home;
use crate::cli::failure::{Exit, Refusal};
use crate::cli::interrupt::leave_at_once;
use crate::curation::{
    Curator, RecipeArgs, beside, count_line, tell_losses, tell_remarks, tell_shortfalls,
};
use crate::meant::options_for;
use crate::place::{refuse_unwritable, unlocked};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_curate::dataset::REPORT;
use hone_curate::{Written, write};
use hone_data::Side;
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

/// Cleans up after a build that is stopped, and tells what was kept of it.
fn kept_of(out: &Path, names: Option<PathBuf>) -> impl Fn() -> String + Send + 'static {
    let (out, was_there) = (out.to_path_buf(), out.exists());
    move || {
        hone_ledger::abandon();
        let names = names.as_ref().filter(|names| names.is_file());
        let names = names.map_or(String::new(), |names| {
            format!("; {} keeps the names that were made up", names.display())
        });
        match (was_there, out.exists()) {
            (true, _) => format!("{} is as it was{names}", out.display()),
            (false, true) => format!("{} is complete{names}", out.display()),
            (false, false) => format!("nothing is kept of {}{names}", out.display()),
        }
    }
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
        let curator = Curator::new(raw, &self.flags.open_options(), talk)?;
        refuse_unwritable(out)?;
        leave_at_once(talk, kept_of(out, curator.curation.pseudonym_key.clone()))?;
        let run = |sink: &mut dyn FnMut(&hone_curate::Finding) -> std::io::Result<()>| {
            curator.curate(&beside(out), talk, sink)
        };
        let again = again();
        let written = write(out, &curator.curation, curator.length_unit(), &again, run)?;
        if !written.is_locked {
            talk.warn(unlocked(out));
        }
        print_told(&written.told, &written.tally, &written.losses)?;
        tell_remarks(&written.files, talk);
        if let Some(said) = &written.names_not_looked_for {
            talk.say(said);
        }
        tell_shortfalls(&written.portions, curator.mixes_by(), talk);
        tell_losses(&written.losses, curator.curation.max_dropped, talk);
        let count = count_line(&written.count, curator.counts_lengths());
        self.tell(out, &written, &count, talk)?;
        if written
            .note
            .sides
            .get(&Side::Train)
            .is_none_or(|side| side.rows == 0)
        {
            let read = plural(written.note.counts["read"], "row");
            let what = format!("no row is left to train on, of {read} read");
            return Err(Refusal::failed(what)
                .hint(format!(
                    "{} says what left and why, and how to decide otherwise",
                    out.join(REPORT).display()
                ))
                .into());
        }
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
                &json!({ "out": out, "id": written.id, "count": written.count, "kinds": written.told, "losses": written.losses, "names_not_looked_for": written.names_not_looked_for, "manifest": note }),
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
                "{} to train on, {} held out",
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
