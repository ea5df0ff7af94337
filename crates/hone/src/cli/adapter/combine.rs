//! `hone adapter combine`: one adapter of several.

use crate::cli::failure::{Exit, Refusal};
use crate::place::{begin, refuse_used};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_ledger::Seed;
use hone_model::{
    AdapterWeights, BesideSum, Combination, CombineKind, ROUNDING, SaveDtype, beside_weighted_sum,
    combine,
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `hone adapter combine`.
#[derive(Debug, clap::Args)]
pub struct Combine {
    /// Adapter directories, all for the same base
    #[arg(value_name = "DIR", required = true, num_args = 1..)]
    adapters: Vec<PathBuf>,
    /// How: linear, svd, cat, ties, dare-linear, dare-ties or magnitude-prune; cat is the weighted sum itself, svd the nearest
    /// to it of its rank, and the others are sums of their own
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
    /// Directory to write; must not exist
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
        let parts: Vec<AdapterWeights> = self
            .adapters
            .iter()
            .map(|dir| AdapterWeights::read(dir, None))
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
        // What a program will read, not what is in memory.
        let written = AdapterWeights::read(&made.dir(), None)?;
        let proof = Proof::of(&parts, &how, &written);
        proof.refuse_wrong()?;
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
        talk.say(proof.sentence());
        if self.json {
            screen::data_json(&json!({
                "proof": proof.to_json(),
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

/// What was written beside the weighted sum of the adapters.
struct Proof {
    kind: CombineKind,
    modules: Vec<BesideSum>,
}

impl Proof {
    fn of(parts: &[AdapterWeights], how: &Combination, written: &AdapterWeights) -> Self {
        Self {
            kind: how.kind,
            modules: beside_weighted_sum(parts, &how.weights, written),
        }
    }

    /// Modules that are not what the kind makes of them.
    fn wrong(&self) -> Vec<&str> {
        let wrong = self.modules.iter();
        let wrong = wrong.filter(|module| module.is_right(self.kind) == Some(false));
        wrong.map(|module| module.module.as_str()).collect()
    }

    /// The greatest difference, as a share of a module's weighted sum.
    fn apart(&self) -> f64 {
        let shares = self.modules.iter().map(BesideSum::share);
        shares.fold(0.0, f64::max)
    }

    /// Whether the kind promises anything about the weighted sum.
    fn is_judged(&self) -> bool {
        matches!(self.kind, CombineKind::Cat | CombineKind::Svd)
    }

    fn refuse_wrong(&self) -> Result<(), Refusal> {
        let wrong = self.wrong();
        match wrong.first() {
            None => Ok(()),
            Some(first) => Err(Refusal::failed(format!(
                "refused: {} of {} are not what `{}` makes of these adapters, `{first}` among them; nothing is left at --out",
                wrong.len(),
                plural(self.modules.len(), "module"),
                self.kind.name()
            ))
            .hint("`hone adapter check` says whether one of them is damaged")),
        }
    }

    fn sentence(&self) -> String {
        let modules = plural(self.modules.len(), "module");
        let (apart, kind) = (self.apart(), self.kind.name());
        match self.kind {
            _ if !self.is_judged() => format!(
                "`{kind}` is no weighted sum of the adapters' changes: up to {:.1} % of a module's is other than that",
                100.0 * apart
            ),
            _ if apart <= ROUNDING => format!(
                "all {modules} read back are the weighted sum of the adapters' changes, rounded (apart by {apart:.1e} of it at most, bound {ROUNDING:.0e})"
            ),
            _ => format!(
                "all {modules} read back are the nearest of their rank to the weighted sum of the adapters' changes; up to {:.1} % of a module's length is left out, which a greater --rank or --kind cat keeps",
                100.0 * apart
            ),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "verdict": if self.is_judged() { "holds" } else { "not_judged" },
            "modules": self.modules.len(),
            "greatest_difference_share": self.apart(),
            "bound": self.is_judged().then_some(ROUNDING),
        })
    }
}
