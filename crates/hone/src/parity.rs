//! The proof that what was written answers as what was trained: the same texts through both, token by token.
//!
//! The reference is the base with its adapter beside it, as it was trained; the other is the file just written, read
//! back as anybody would read it. Compared are the distributions over the next token, since a difference in a weight
//! says nothing that a user would notice.

use hone_model::weights::{BaseWeights, DecoderConfig};
use hone_model::{GenerateError, Model};
use hone_tensor::Format;
use hone_text::{Conversation, RenderError, Renderer, Role, Turn};
use serde::Serialize;

/// Token ids of the texts that are replayed, and where they come from.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// One row of ids for each text.
    pub ids: Vec<Vec<u32>>,
    /// `8 held-out rows of the run`.
    pub origin: String,
}

/// Texts of several kinds, for adapters that come without rows of their own.
const BUILT_IN: [&str; 8] = [
    "What is the capital of France, and which river runs through it?",
    "Write a haiku about a lighthouse in winter.",
    "Compute 17 * 23 and explain each step.",
    "Explain this line: fn add(a: i32, b: i32) -> i32 { a + b }",
    "Summarise in one sentence: The meeting moved to Tuesday because the room was taken.",
    "Translate to German: The train leaves at seven.",
    "List three animals that sleep in winter.",
    "Is 91 a prime number? Answer yes or no, then say why.",
];

/// Longest text that is replayed, in tokens: longer ones tell little more and cost much.
const LONGEST: usize = 96;

impl Prompts {
    /// The built-in texts, as a user would say them.
    pub fn built_in(renderer: &Renderer) -> Result<Self, RenderError> {
        Self::said(
            renderer,
            BUILT_IN.into_iter(),
            format!("{} built-in prompts", BUILT_IN.len()),
        )
    }

    /// Texts as a user would say them.
    pub fn said<'a>(
        renderer: &Renderer,
        texts: impl Iterator<Item = &'a str>,
        origin: String,
    ) -> Result<Self, RenderError> {
        let ids = texts
            .map(|text| renderer.encode_prompt(&Conversation::new([Turn::new(Role::User, text)])));
        Ok(Self::of_ids(ids.collect::<Result<_, _>>()?, origin))
    }

    /// Rows that are ids already; each is cut where it becomes too long to be worth it.
    pub fn of_ids(mut ids: Vec<Vec<u32>>, origin: String) -> Self {
        ids.iter_mut().for_each(|ids| ids.truncate(LONGEST));
        ids.retain(|ids| !ids.is_empty());
        Self { ids, origin }
    }

    /// The longest, in tokens.
    pub fn longest(&self) -> usize {
        self.ids.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The logits after each token, text by text, and the size of the vocabulary.
    pub fn replay(&self, model: &Model) -> Result<Replay, GenerateError> {
        let rows = self
            .ids
            .iter()
            .map(|ids| model.logits(ids))
            .collect::<Result<_, _>>()?;
        Ok(Replay {
            rows,
            vocab: model.config().vocab_size,
        })
    }
}

/// What a model says after each token of some texts.
#[derive(Debug)]
pub struct Replay {
    /// Logits `[tokens, vocab]` for each text, row-major.
    pub rows: Vec<Vec<f32>>,
    /// Width of a row.
    pub vocab: usize,
}

/// How far from each other two models are, over the tokens of some texts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distance {
    /// Tokens compared.
    pub tokens: usize,
    /// Kullback-Leibler divergence of the written model from the reference, in nats, averaged over tokens.
    pub mean_kl: f64,
    /// The greatest of a token.
    pub max_kl: f64,
    /// The greatest difference of two logits.
    pub max_logit_difference: f64,
    /// The greatest logit of the reference, to compare that with.
    pub largest_logit: f64,
    /// Share of tokens after which both find the same token likeliest.
    pub top1_agreement: f64,
}

impl Replay {
    /// How far `other` is from this.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut distance = Distance {
            tokens: 0,
            mean_kl: 0.0,
            max_kl: 0.0,
            max_logit_difference: 0.0,
            largest_logit: 0.0,
            top1_agreement: 0.0,
        };
        for (ours, theirs) in self.rows.iter().zip(&other.rows) {
            for (p, q) in ours
                .chunks_exact(self.vocab)
                .zip(theirs.chunks_exact(other.vocab))
            {
                let q = &q[..self.vocab.min(q.len())];
                let kl = divergence(p, q);
                distance.tokens += 1;
                distance.mean_kl += kl;
                distance.max_kl = distance.max_kl.max(kl);
                distance.top1_agreement += f64::from(u8::from(likeliest(p) == likeliest(q)));
                for (x, y) in p.iter().zip(q) {
                    let difference = f64::from(x - y).abs();
                    // A number that is none must not hide behind a comparison.
                    let difference = if difference.is_nan() {
                        f64::INFINITY
                    } else {
                        difference
                    };
                    distance.max_logit_difference = distance.max_logit_difference.max(difference);
                    distance.largest_logit = distance.largest_logit.max(f64::from(x.abs()));
                }
            }
        }
        let tokens = distance.tokens.max(1) as f64;
        distance.mean_kl /= tokens;
        distance.top1_agreement /= tokens;
        distance
    }
}

/// `Σ p (ln p − ln q)` of two rows of logits.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (log_p, log_q) = (log_sum(p), log_sum(q));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p) - log_p, f64::from(*q) - log_q);
        p.exp() * (p - q)
    };
    let kl: f64 = p.iter().zip(q).map(term).sum();
    // Below zero only by rounding; not a number is as bad as can be.
    if kl.is_nan() {
        f64::INFINITY
    } else {
        kl.max(0.0)
    }
}

fn log_sum(row: &[f32]) -> f64 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - most).exp()).sum();
    f64::from(most) + sum.ln()
}

fn likeliest(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = at;
        }
    }
    best
}

/// What is still the same model, at some precision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    /// The precision: `bf16`.
    pub precision: &'static str,
    /// Mean divergence that is allowed, in nats per token.
    pub mean_kl: f64,
    /// Greatest difference of logits that is allowed, as a share of the largest logit.
    pub logits: f64,
    /// Where the numbers come from.
    pub reason: &'static str,
}

/// One bound for each precision, coarsest last. Where blocks are rounded a single logit may jump, so there the mean decides. Each allows some four times what SmolLM2-135M shows, the smallest and so
/// the most delicate model that people use; a wrong scale, permutation or tensor shows a hundred times as much.
const BOUNDS: [(&[Format], Bound); 6] = [
    (
        &[Format::F32],
        Bound {
            precision: "f32",
            mean_kl: 1e-6,
            logits: 1e-3,
            reason: "the same numbers, added in another order",
        },
    ),
    (
        &[Format::F16],
        Bound {
            precision: "f16",
            mean_kl: 1e-4,
            logits: 1e-1,
            reason: "weights rounded to 11 bits",
        },
    ),
    (
        &[Format::Bf16],
        Bound {
            precision: "bf16",
            mean_kl: 5e-3,
            logits: 1.0,
            reason: "weights rounded to 8 bits",
        },
    ),
    (
        &[Format::Q8_0],
        Bound {
            precision: "8 bits",
            mean_kl: 1e-2,
            logits: 1.0,
            reason: "weights rounded to 8 bits of their block's largest",
        },
    ),
    (
        &[Format::Q5_0, Format::Q5_1, Format::Q5K, Format::Q6K],
        Bound {
            precision: "5 or 6 bits",
            mean_kl: 1e-1,
            logits: 1.0,
            reason: "weights rounded to 5 or 6 bits of their block's largest",
        },
    ),
    (
        &[Format::Q4_0, Format::Q4_1, Format::Q4K, Format::Nf4],
        Bound {
            precision: "4 bits",
            mean_kl: 4e-1,
            logits: 1.0,
            reason: "weights rounded to 16 levels",
        },
    ),
];

impl Bound {
    /// The bound for numbers written in full.
    pub const FULL: Self = BOUNDS[0].1;

    /// The wider of this and that of 8 bits, for programs that compute in 8 bits what is stored in fewer.
    pub fn at_least_eight_bits(self) -> Self {
        let eight = BOUNDS[3].1;
        if self.mean_kl < eight.mean_kl {
            eight
        } else {
            self
        }
    }

    /// The bound of a model's coarsest format.
    pub fn of(written: &BaseWeights) -> Self {
        let place = |format: Format| {
            let found = BOUNDS
                .iter()
                .position(|(formats, _)| formats.contains(&format));
            found.unwrap_or(BOUNDS.len() - 1)
        };
        let coarsest = written.formats().iter().map(|row| place(row.0)).max();
        BOUNDS[coarsest.unwrap_or(0)].1
    }

    /// Whether a distance is within it.
    pub fn holds(&self, distance: &Distance) -> bool {
        distance.mean_kl <= self.mean_kl
            && distance.max_logit_difference <= self.logits * distance.largest_logit.max(1.0)
    }
}

/// The outcome, for `parity.json` and the card.
#[derive(Debug, Clone, Serialize)]
pub struct Parity {
    /// Where the texts come from.
    pub prompts: String,
    /// How far the written model is from the reference.
    #[serde(flatten)]
    pub distance: Distance,
    /// What is allowed.
    pub bound: Bound,
    /// Whether it is within the bound.
    pub holds: bool,
    /// Read back by others, each with its own distance.
    pub others: Vec<OtherReader>,
}

/// What another program made of the written files.
#[derive(Debug, Clone, Serialize)]
pub struct OtherReader {
    /// Which, and its version.
    pub program: String,
    /// Its distance from the reference.
    #[serde(flatten)]
    pub distance: Distance,
    /// Greedy continuations that are those of the reference, of how many.
    pub same_continuations: (usize, usize),
    /// Whether it is within the bound.
    pub holds: bool,
}

impl Parity {
    /// Judges a distance.
    pub fn new(prompts: &Prompts, distance: Distance, bound: Bound) -> Self {
        Self {
            prompts: prompts.origin.clone(),
            distance,
            bound,
            holds: bound.holds(&distance),
            others: vec![],
        }
    }

    /// Whether everyone who read it is within the bound.
    pub fn all_hold(&self) -> bool {
        self.holds && self.others.iter().all(|other| other.holds)
    }

    /// In a line.
    pub fn sentence(&self) -> String {
        let Distance {
            tokens,
            mean_kl,
            max_logit_difference,
            largest_logit,
            top1_agreement,
            ..
        } = self.distance;
        format!(
            "mean KL {mean_kl:.2e} nats (bound {:.0e} for {}), greatest logit difference {max_logit_difference:.2e} of {largest_logit:.1}, \
             top-1 agreement {:.1} % over {tokens} tokens of {}",
            self.bound.mean_kl,
            self.bound.precision,
            100.0 * top1_agreement,
            self.prompts
        )
    }
}

/// Whether two decoders can be compared at all.
pub fn same_shape(ours: &DecoderConfig, theirs: &DecoderConfig) -> bool {
    (ours.vocab_size, ours.num_layers, ours.d_model)
        == (theirs.vocab_size, theirs.num_layers, theirs.d_model)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(rows: &[f32]) -> Replay {
        Replay {
            rows: vec![rows.to_vec()],
            vocab: 3,
        }
    }

    #[test]
    fn a_model_is_at_no_distance_from_itself_and_shifted_logits_are_the_same_model() {
        let rows = [1.0, 2.0, 0.5, -3.0, 0.0, 4.0];
        let same = replay(&rows).distance(&replay(&rows));
        assert_eq!(
            (same.tokens, same.mean_kl, same.top1_agreement),
            (2, 0.0, 1.0)
        );
        let shifted = replay(&rows).distance(&replay(&rows.map(|x| x + 5.0)));
        assert!(shifted.mean_kl < 1e-12 && shifted.max_logit_difference == 5.0);
    }

    #[test]
    fn the_divergence_is_that_of_the_formula() {
        // p = (½, ¼, ¼), q = (¼, ½, ¼): ½ ln 2 − ¼ ln 2.
        let logits = |p: [f64; 3]| p.map(|x| x.ln() as f32);
        let distance =
            replay(&logits([0.5, 0.25, 0.25])).distance(&replay(&logits([0.25, 0.5, 0.25])));
        assert!(
            (distance.mean_kl - 0.25 * 2f64.ln()).abs() < 1e-6,
            "{distance:?}"
        );
        assert_eq!(distance.top1_agreement, 0.0);
    }

    #[test]
    fn what_is_no_number_is_never_within_a_bound() {
        let rows = [1.0, 2.0, 0.5];
        let broken = replay(&rows).distance(&replay(&[1.0, f32::NAN, 0.5]));
        assert!(
            BOUNDS.iter().all(|(_, bound)| !bound.holds(&broken)),
            "{broken:?}"
        );
    }
}
