//! The proof that what was written answers as what was trained: the same texts through both, token by token.
//!
//! The reference is the base with its adapter beside it, as it was trained; the other is the file just written, read
//! back as anybody would read it. Compared are the distributions over the next token, since a difference in a weight
//! says nothing that a user would notice.

use hone_model::weights::{BaseWeights, DecoderConfig};
use hone_model::{GenerateError, Model, Reading, Residual};
use hone_tensor::Format;
use hone_text::{Conversation, RenderError, Renderer, Role, Turn};
use serde::Serialize;
use std::num::NonZero;

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

/// Tokens of texts that are read at once: enough for weights that come from disk to be worth the way.
const TOKENS_AT_ONCE: usize = 1024;

/// Bytes of a model's logits in memory at a time.
const LOGITS_BYTES: usize = 32 << 20;

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

    /// Reads the texts with a model, up to its head.
    pub fn read(&self, model: &Model) -> Result<Vec<Reading>, GenerateError> {
        let mut read = Vec::new();
        let mut rest = &self.ids[..];
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|ids| {
                tokens += ids.len();
                tokens <= TOKENS_AT_ONCE
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            read.push(model.read(now)?);
            rest = later;
        }
        Ok(read)
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
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

/// How far what `written` says after every token that both have read is from what `reference` says. Logits are in memory
/// for some tokens at a time.
pub fn distance_of(
    (reference, expected): (&Model, &[Reading]),
    (written, found): (&Model, &[Reading]),
) -> Result<Distance, GenerateError> {
    let (vocab, other_vocab) = (reference.config().vocab_size, written.config().vocab_size);
    let step = (LOGITS_BYTES / (4 * vocab.max(other_vocab)).max(1)).max(1);
    let mut sum = Sum::default();
    for (expected, found) in expected.iter().zip(found) {
        let times = expected.times();
        for first in (0..times.len()).step_by(step) {
            let rows = first..times.len().min(first + step);
            let ours = reference.logits_of(expected, rows.clone())?;
            let theirs = written.logits_of(found, rows.clone())?;
            sum.add((&ours, vocab), (&theirs, other_vocab), &times[rows]);
        }
    }
    Ok(sum.mean())
}

impl Replay {
    /// How far `other` is from this.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut sum = Sum::default();
        for (ours, theirs) in self.rows.iter().zip(&other.rows) {
            let times = vec![1; ours.len() / self.vocab.max(1)];
            sum.add((ours, self.vocab), (theirs, other.vocab), &times);
        }
        sum.mean()
    }
}

/// A distance in the making: sums over tokens where the distance has means.
#[derive(Default)]
struct Sum(Distance);

impl Sum {
    /// Rows of logits, each with the width of a row, and the number of tokens that each row stands for. Rows are compared
    /// on all threads and added in their order.
    fn add(&mut self, ours: (&[f32], usize), theirs: (&[f32], usize), times: &[usize]) {
        let rows = ours
            .0
            .chunks_exact(ours.1)
            .zip(theirs.0.chunks_exact(theirs.1));
        let rows: Vec<(&[f32], &[f32])> = rows.collect();
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let share = rows.len().div_ceil(threads).max(1);
        let apart: Vec<Apart> = std::thread::scope(|scope| {
            let compare = |rows: &[(&[f32], &[f32])]| -> Vec<Apart> {
                rows.iter().map(|(p, q)| Apart::of(p, q)).collect()
            };
            let workers: Vec<_> = rows
                .chunks(share)
                .map(|rows| scope.spawn(move || compare(rows)))
                .collect();
            let join = |worker: std::thread::ScopedJoinHandle<Vec<Apart>>| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect()
        });
        for (apart, times) in apart.iter().zip(times) {
            self.add_row(apart, *times);
        }
    }

    fn add_row(&mut self, row: &Apart, times: usize) {
        let Self(sum) = self;
        sum.tokens += times;
        sum.mean_kl += times as f64 * row.kl;
        sum.max_kl = sum.max_kl.max(row.kl);
        sum.top1_agreement += times as f64 * f64::from(u8::from(row.same_token));
        sum.max_logit_difference = sum.max_logit_difference.max(row.difference);
        sum.largest_logit = sum.largest_logit.max(row.largest);
    }

    fn mean(self) -> Distance {
        let Self(mut distance) = self;
        let tokens = distance.tokens.max(1) as f64;
        distance.mean_kl /= tokens;
        distance.top1_agreement /= tokens;
        distance
    }
}

/// Two rows of logits beside each other.
struct Apart {
    kl: f64,
    difference: f64,
    largest: f64,
    same_token: bool,
}

impl Apart {
    /// `p` is the reference; `q` may have more columns, which are padding.
    fn of(p: &[f32], q: &[f32]) -> Self {
        let q = &q[..p.len().min(q.len())];
        let (mut difference, mut largest) = (0.0_f64, 0.0_f64);
        for (x, y) in p.iter().zip(q) {
            let apart = f64::from(x - y).abs();
            // A number that is none must not hide behind a comparison.
            difference = difference.max(if apart.is_nan() { f64::INFINITY } else { apart });
            largest = largest.max(f64::from(x.abs()));
        }
        Self {
            kl: divergence(p, q),
            difference,
            largest,
            same_token: likeliest(p) == likeliest(q),
        }
    }
}

/// `Σ p (ln p − ln q)` of two rows of logits: with `P = Σ exp(x)` and `Q = Σ exp(y)`, each relative to its largest logit,
/// that is `Σ exp(x) (x − y) / P − (ln P − ln Q)`, in one pass.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let largest = |row: &[f32]| f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let (most_p, most_q) = (largest(p), largest(q));
    let (mut sum_p, mut sum_q, mut apart) = (0.0, 0.0, 0.0);
    for (x, y) in p.iter().zip(q) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        let weight = (x - most_p).exp();
        sum_p += weight;
        sum_q += (y - most_q).exp();
        apart += weight * (x - y);
    }
    let kl = apart / sum_p - (most_p + sum_p.ln() - most_q - sum_q.ln());
    // Below zero only by rounding; not a number is as bad as can be.
    if kl.is_nan() {
        f64::INFINITY
    } else {
        kl.max(0.0)
    }
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

/// One bound for each precision, coarsest last. Where blocks are rounded a single logit may jump, so there the mean decides. Each allows three times and more of what
/// SmolLM2-135M shows, the smallest and so the most delicate model that people use: 2e-11 nats in f32, 5e-6 in f16, 3e-4 in bf16, 2e-3 in 8 bits, 0.09 to 0.28 in 5
/// and 6, up to 0.57 in 4. One permuted tensor shows 0.27, all of them 8; so below 8 bits a replay tells a wrong model, and only [`Compared`] a wrong tensor.
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
            mean_kl: 8e-1,
            logits: 1.0,
            reason: "weights rounded to 5 or 6 bits of their block's largest",
        },
    ),
    (
        &[Format::Q4_0, Format::Q4_1, Format::Q4K, Format::Nf4],
        Bound {
            precision: "4 bits",
            mean_kl: 2.0,
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

    /// Whether rounding may hide a single wrong tensor from a replay.
    pub fn is_coarse(&self) -> bool {
        self.mean_kl >= BOUNDS[3].1.mean_kl
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
    /// Every number compared with the merged one, where precision is coarse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// Read back by others, each with its own distance.
    pub others: Vec<OtherReader>,
}

/// Written tensors, number by number beside the merged ones.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// How many.
    pub tensors: usize,
    /// Those with a number that rounding does not explain.
    pub beyond_rounding: Vec<String>,
}

impl Compared {
    /// Judges what is left between them.
    pub fn of(residuals: &[Residual]) -> Self {
        let beyond = residuals.iter().filter(|residual| !residual.is_rounding());
        Self {
            tensors: residuals.len(),
            beyond_rounding: beyond.map(|residual| residual.tensor.clone()).collect(),
        }
    }

    fn sentence(&self) -> String {
        match &self.beyond_rounding[..] {
            [] => format!(
                "; all {} tensors are the merged ones, rounded",
                self.tensors
            ),
            [first, ..] => format!(
                "; {} of {} tensors are not the merged ones, `{first}` among them",
                self.beyond_rounding.len(),
                self.tensors
            ),
        }
    }
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
            compared: None,
            others: vec![],
        }
    }

    /// Whether every tensor is what it should be, and everyone who read it within the bound.
    pub fn all_hold(&self) -> bool {
        let compared = self.compared.as_ref();
        self.holds
            && compared.is_none_or(|compared| compared.beyond_rounding.is_empty())
            && self.others.iter().all(|other| other.holds)
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
             top-1 agreement {:.1} % over {tokens} tokens of {}{}",
            self.bound.mean_kl,
            self.bound.precision,
            100.0 * top1_agreement,
            self.prompts,
            self.compared
                .as_ref()
                .map(Compared::sentence)
                .unwrap_or_default()
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
    fn a_tensor_that_rounding_does_not_explain_is_named_though_the_replay_holds() {
        let residual = |tensor: &str, largest| Residual {
            tensor: tensor.into(),
            largest,
            scale: 1.0,
            rounding: 0.1,
            is_changed: true,
        };
        let rows = [1.0, 2.0, 0.5];
        let same = replay(&rows).distance(&replay(&rows));
        let prompts = Prompts::of_ids(vec![vec![1]], "one prompt".into());
        let mut parity = Parity::new(&prompts, same, Bound::FULL);
        let [right, wrong] = [residual("q", 0.05), residual("k", 0.5)];
        parity.compared = Some(Compared::of(&[right.clone(), wrong]));
        assert!(parity.holds && !parity.all_hold());
        let said = parity.sentence();
        assert!(
            said.ends_with("; 1 of 2 tensors are not the merged ones, `k` among them"),
            "{said}"
        );
        parity.compared = Some(Compared::of(&[right]));
        assert!(
            parity.all_hold()
                && parity
                    .sentence()
                    .ends_with("; all 1 tensors are the merged ones, rounded")
        );
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

    #[test]
    fn what_is_read_at_once_is_as_far_apart_as_text_by_text() {
        let load = |name: &str| {
            let base =
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
            let weights = BaseWeights::open(&base.join(name)).unwrap();
            let device = hone_tensor::Device::cpu(2).unwrap();
            Model::load(&weights, &device, hone_model::BaseFormat::Stored, LONGEST).unwrap()
        };
        let (ours, theirs) = (load("tiny-llama-untied"), load("tiny-llama-untied-sharded"));
        let begins: Vec<u32> = (10..60).collect();
        let text = |end: u32| [begins.clone(), vec![end; 40]].concat();
        let prompts = Prompts::of_ids((100..130).map(text).collect(), "texts".into());
        // More than are read at once.
        assert!(prompts.ids.concat().len() > 2 * TOKENS_AT_ONCE);
        let (expected, found) = (prompts.read(&ours).unwrap(), prompts.read(&theirs).unwrap());
        assert_eq!(expected.len(), 3);
        let at_once = distance_of((&ours, &expected), (&theirs, &found)).unwrap();
        let one_by_one = prompts.replay(&ours).unwrap();
        let one_by_one = one_by_one.distance(&prompts.replay(&theirs).unwrap());
        let rounded = |distance: Distance| Distance {
            mean_kl: 0.0,
            top1_agreement: 0.0,
            ..distance
        };
        assert_eq!(rounded(at_once), rounded(one_by_one));
        assert!(one_by_one.mean_kl > 1e-8, "{one_by_one:?}");
        assert!((at_once.mean_kl / one_by_one.mean_kl - 1.0).abs() < 1e-12);
        assert!((at_once.top1_agreement - one_by_one.top1_agreement).abs() < 1e-12);
    }
}
