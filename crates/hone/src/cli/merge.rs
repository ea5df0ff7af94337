//! `hone merge`: a base with its adapters worked in, as safetensors that stand on their own.

use super::failure::{Exit, Refusal};
use crate::bundle::{Prover, SourceArgs, write_merged};
use crate::place::refuse_used;
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_model::Residual;
use hone_model::export::MergeDtype;
use hone_model::weights::BaseWeights;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `hone merge`.
#[derive(Debug, clap::Args)]
pub struct Merge {
    #[command(flatten)]
    source: SourceArgs,
    /// Directory to write; must not exist
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Type of the weights: keep, f32, bf16 or f16. keep is the base's own; block formats of GGUF become f16
    #[arg(long, value_name = "TYPE", default_value = "keep")]
    dtype: MergeDtype,
    /// Most a file of weights may hold: 5GB, 500MB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = read_size)]
    shard_size: u64,
    /// Instead of writing: take the adapters out of this merged model again and compare what is left with the base
    #[arg(long, value_name = "MERGED", conflicts_with = "out")]
    check: Option<PathBuf>,
    #[command(flatten)]
    prover: Prover,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

fn read_size(text: &str) -> Result<u64, String> {
    let units = [
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
        ("B", 1),
    ];
    let upper = text.to_uppercase();
    let found = units
        .iter()
        .find_map(|(unit, bytes)| Some((upper.strip_suffix(unit)?, *bytes)));
    let (number, unit) = found.unwrap_or((&upper, 1_u64));
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| "write it like 5GB or 500MB".to_string())?;
    match number * unit as f64 {
        bytes if (1.0..1e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err("must be at least one byte".into()),
    }
}

impl Merge {
    /// Merges, proves, writes; or checks a merge.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        self.out.as_deref().map_or(Ok(()), refuse_used)?;
        let source = self.source.open(talk)?;
        if source.parts.is_empty()
            && source.kind == hone_model::MergeBase::Original
            && self.check.is_none()
        {
            return Err(Refusal::usage("there is no adapter to merge")
                .hint("name one with --adapter DIR")
                .into());
        }
        if let Some(written) = &self.check {
            source.check_base()?;
            let residuals = source.merged()?.residual(&BaseWeights::open(written)?)?;
            return self.look(&residuals, written);
        }
        let out = self.out.as_deref().expect("clap asks for --out");
        let written = write_merged(
            &source,
            out,
            self.dtype,
            self.shard_size,
            &self.prover,
            talk,
        )?;
        match self.json {
            true => screen::data_json(&written)?,
            false => screen::data_path(out)?,
        }
        Ok(Exit::Done)
    }

    fn look(&self, residuals: &[Residual], written: &Path) -> Result<Exit> {
        let wrong: Vec<&Residual> = residuals
            .iter()
            .filter(|residual| !residual.is_rounding())
            .collect();
        let share = |residual: &Residual| {
            f64::from(residual.largest) / f64::from(residual.scale.max(f32::MIN_POSITIVE))
        };
        let worst = residuals.iter().map(share).fold(0.0, f64::max);
        let adapted = residuals
            .iter()
            .filter(|residual| residual.is_changed)
            .count();
        if self.json {
            let names: Vec<&str> = wrong
                .iter()
                .map(|residual| residual.tensor.as_str())
                .collect();
            screen::data_json(&json!({
                "merged": written.display().to_string(),
                "tensors": residuals.len(),
                "adapted": adapted,
                "largest_relative_residual": worst,
                "beyond_rounding": names,
            }))?;
        } else {
            for residual in &wrong {
                screen::data(format!(
                    "{}: {:.3e} is left of numbers up to {:.3e}; rounding explains {:.3e}",
                    residual.tensor,
                    residual.largest,
                    residual.scale,
                    residual.rounding * residual.scale
                ))?;
            }
            screen::data(format!(
                "{}, {adapted} of them changed: without the adapters the base is left, but for {worst:.2e} of a tensor's largest number{}",
                plural(residuals.len(), "tensor"),
                if wrong.is_empty() {
                    ", which is rounding"
                } else {
                    ""
                }
            ))?;
        }
        Ok(if wrong.is_empty() {
            Exit::Done
        } else {
            Exit::Found
        })
    }
}
