//! What rounding alone does, measured on the base: the same texts through the base as it is and through the base rounded to the
//! types that were written.
//!
//! How much 4 bits change depends on the model, so that no figure holds for all. The tuned model is the same network with
//! a small change, rounded in the same way: what it differs by is judged against what its base does.
//!
//! A base that is stored in a coarse type itself can tell if it is written in fewer bits: its numbers are other ones then.
//! Written in as many bits or more, they stand where rounding puts them, while those of the tuned model lie between: the
//! base would show too little, or nothing. There nothing is to be measured, and the comparison of every number decides.

use super::{BOUNDS, Distance, place_of};
use hone_model::weights::BaseWeights;
use serde::Serialize;

/// The tuned model may differ by so many times what rounding changes its base by: three times the most that was seen, 1.6 to 5.2
/// for adapters of random numbers, which change a model far more than a training does, on two bases of random numbers in
/// 4 to 8 bits.
pub const TIMES: f64 = 16.0;

/// A divergence that is always explained, in nats: what 8 bits may cause on any model.
pub const LEAST: f64 = 1e-2;

/// What rounding changes the base by, and what that explains.
#[derive(Debug, Clone, Serialize)]
pub struct BaseRounding {
    /// How far the rounded base is from the base, over the same texts.
    #[serde(flatten)]
    pub distance: Distance,
    /// The mean divergence of the tuned model that this explains, in nats.
    pub explains_mean_kl: f64,
}

impl BaseRounding {
    /// Judges by what was measured.
    pub fn of(distance: Distance) -> Self {
        Self {
            explains_mean_kl: (TIMES * distance.mean_kl).max(LEAST),
            distance,
        }
    }

    /// Whether it explains how far the tuned model is from what it was to be.
    pub fn explains(&self, tuned: &Distance) -> bool {
        tuned.mean_kl <= self.explains_mean_kl
    }
}

/// Why rounding was not measured on the base, or what came of it.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Measured {
    /// It was.
    Yes(Box<BaseRounding>),
    /// It was not, for this reason.
    No {
        /// Why not.
        not_measured: String,
    },
}

impl Measured {
    /// Why it cannot be measured on this base where it is written as `written`, if it cannot.
    pub fn why_not(base: &BaseWeights, written: &BaseWeights) -> Option<String> {
        if base.is_streamed() {
            return Some("the base is read from disk as it is used".into());
        }
        // The last that keeps 16 bits.
        const FINE: usize = 2;
        let coarsest = |weights: &BaseWeights| {
            let formats = weights.formats().into_iter().map(|row| row.0);
            formats.max_by_key(|format| place_of(*format))
        };
        let (of_base, of_written) = (coarsest(base)?, coarsest(written)?);
        let is_finer = place_of(of_base) < place_of(of_written);
        (place_of(of_base) > FINE && !is_finer).then(|| {
            format!(
                "the base is stored in {} itself ({}) and written in no fewer, so that its own numbers hardly move; every number of \
                 the merged model was compared with what was written instead",
                BOUNDS[place_of(of_base)].1.precision,
                of_base.name()
            )
        })
    }

    /// What it says of a tuned model that differs by more than it explains.
    pub fn refusal(&self, tuned: &Distance) -> Option<String> {
        let Self::Yes(rounding) = self else {
            return None;
        };
        (!rounding.explains(tuned)).then(|| {
            format!(
                "it differs by {:.1e} nats, where rounding changes the base by {:.1e} and so explains {:.1e}",
                tuned.mean_kl, rounding.distance.mean_kl, rounding.explains_mean_kl
            )
        })
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Yes(rounding) => format!(
                "rounding alone changes the base by {:.2e} nats over the same texts, which explains up to {:.1e}",
                rounding.distance.mean_kl, rounding.explains_mean_kl
            ),
            Self::No { not_measured } => {
                format!("what rounding alone does is not measured on the base: {not_measured}")
            }
        }
    }
}
