//! `hone adapter combine`: one adapter of several.

use crate::cli::failure::Exit;
use crate::place::{begin, refuse_used};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_ledger::Seed;
use hone_model::{Combination, CombineKind, LoraParts, SaveDtype, combine};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `hone adapter combine`.
#[derive(Debug, clap::Args)]
pub struct Combine {
    /// Adapter directories, all for the same base
    #[arg(value_name = "DIR", required = true, num_args = 1..)]
    adapters: Vec<PathBuf>,
    /// How: linear, svd, cat, ties, dare-linear, dare-ties or magnitude-prune; cat and svd are exact
    #[arg(long, value_name = "KIND", default_value = "svd")]
    kind: CombineKind,
    /// One number for each adapter, separated by commas; 1 each if not given
    #[arg(
        long,
        value_name = "W",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    weights: Vec<f32>,
    /// Share of the numbers that is kept, for the kinds that drop some
    #[arg(long, value_name = "SHARE")]
    density: Option<f32>,
    /// Rank of the result of svd; the greatest of the adapters' if not given
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u16).range(1..))]
    rank: Option<u16>,
    /// Seed of what is dropped at random
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

impl Combine {
    /// Reads, combines, writes.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        refuse_used(&self.out)?;
        let parts: Vec<LoraParts> = self
            .adapters
            .iter()
            .map(|dir| LoraParts::read(dir, None))
            .collect::<Result<_, _>>()?;
        let how = Combination {
            kind: self.kind,
            weights: match self.weights.is_empty() {
                true => vec![1.0; parts.len()],
                false => self.weights,
            },
            density: self.density,
            rank: self.rank.map(usize::from),
            seed: Seed::new(self.seed).child("combine"),
        };
        let combined = combine(&parts, &how)?;
        let made = begin(&self.out, "hone adapter combine", talk)?;
        combined.save(&made.dir(), SaveDtype::F32, &combined.paths())?;
        made.publish_without_manifest()?;
        let rank = combined
            .pairs
            .values()
            .map(|pair| pair.rank)
            .max()
            .unwrap_or(0);
        talk.say(format!(
            "wrote {}: {} combined by {}, rank {rank} on {}",
            self.out.display(),
            plural(parts.len(), "adapter"),
            self.kind.name(),
            plural(combined.pairs.len(), "module")
        ));
        if self.json {
            screen::data_json(&json!({
                "written": self.out.display().to_string(),
                "kind": self.kind.name(),
                "weights": how.weights,
                "rank": rank,
                "modules": combined.pairs.len(),
            }))?;
        }
        Ok(Exit::Done)
    }
}
