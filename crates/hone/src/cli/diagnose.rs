//! `hone diagnose`: has a run overfitted, memorized, forgotten; which of its adapters to take, and what to change.

use super::failure::Exit;
use super::progress::Count;
use crate::base::Home;
use crate::plan::RawTrain;
use crate::refusal::Refusal;
use crate::run::{Depth, Prepared, has_remains, write_diagnosis};
use crate::screen::{self, Talk};
use anyhow::Result;
use std::fs;
use std::path::PathBuf;

/// Arguments of `hone diagnose`.
#[derive(Debug, clap::Args)]
pub struct Diagnose {
    /// Directory of the run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Rows of the training and of the validation set that the models are asked about, at most
    #[arg(long, value_name = "N", default_value_t = 32)]
    rows: usize,
    /// File of general texts, a blank line between two, by which forgetting is told; built-in ones if not given
    #[arg(long, value_name = "F")]
    text: Option<PathBuf>,
    /// Ask the adapter of the last step, and not the best one
    #[arg(long)]
    last: bool,
    /// Where the base lies, if not where it was
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Where the rows lie, if not where they were
    #[arg(long, value_name = "F", num_args = 1..)]
    data: Option<Vec<PathBuf>>,
    /// Threads; all cores if not given
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

impl Diagnose {
    /// Reads the run, asks its model, and writes the diagnosis beside it.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let home = Home::from_env()?;
        if has_remains(&self.run).is_none() {
            let what = format!("there is no run in {}", self.run.display());
            return Err(Refusal::usage(what)
                .hint("`hone runs` lists the runs of this machine and their directories")
                .into());
        }
        let depth = Depth {
            rows: self.rows,
            texts: self.text.as_ref().map(read_texts).transpose()?,
            which: if self.last { "last" } else { "adapter" },
        };
        let options = RawTrain {
            out: Some(self.run.clone()),
            model: self.model,
            data: self.data,
            threads: self.threads,
            ..RawTrain::default()
        };
        let mut prepared = Prepared::new(&options, None, true, &home)?;
        prepared.remarks.iter().for_each(|remark| talk.warn(remark));
        let mut count = Count::start(talk);
        let diagnosis =
            prepared.diagnose(&depth, |what, done, total| count.tell_of(done, total, what));
        count.finish();
        let diagnosis = diagnosis?;
        let words = write_diagnosis(&self.run, &diagnosis)?;
        match self.json {
            true => screen::data_json(&diagnosis)?,
            false => diagnosis.lines().iter().try_for_each(screen::data)?,
        }
        talk.say(format!("diagnosis  {}", words.display()));
        Ok(Exit::Done)
    }
}

/// The texts of a file, and its name.
fn read_texts(path: &PathBuf) -> Result<(String, Vec<String>)> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Refusal::usage(format!("--text {name} cannot be read: {error}"))
            .hint("name a file of plain text in UTF-8, a blank line between two texts")
    })?;
    let text = text.replace("\r\n", "\n");
    let texts = text
        .split("\n\n")
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let texts: Vec<String> = texts.map(str::to_owned).collect();
    if texts.is_empty() {
        return Err(Refusal::usage(format!("--text {name} holds no text"))
            .hint("leave it out: there are built-in texts")
            .into());
    }
    Ok((name, texts))
}
