//! How far two models are from each other: their distributions over the next token, text by text.

use super::texts::{Prompts, Text};
use hone_model::{GenerateError, Model, Reading};
use serde::Serialize;
use std::num::NonZero;

/// Bytes of a model's logits in memory at a time.
const LOGITS_BYTES: usize = 32 << 20;

/// How far from each other two models are, over some tokens.
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
    /// The greatest difference as a share of the greatest logit, or of 1 where that is smaller.
    pub max_logit_difference_share: f64,
    /// Share of tokens after which both find the same token likeliest.
    pub top1_agreement: f64,
}

/// Two models beside each other.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Over every token of the texts that count.
    pub all: Distance,
    /// Over the tokens that a reply is written after, and the reply's own but the last.
    pub replies: Distance,
    /// For each text, what both say after each of its tokens.
    pub after: Vec<Vec<After>>,
}

/// What two models say after a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct After {
    /// The token that the reference finds likeliest.
    pub reference: u32,
    /// The one that the written model finds likeliest.
    pub written: u32,
    /// How much likelier the first of these is than the second to the reference, in nats.
    pub lead: f32,
    /// Negative log-likelihood of the token that follows, by both, in nats; only where that is a reply's.
    pub nll: Option<(f64, f64)>,
}

/// What a row of a reading is looked at for.
#[derive(Default, Clone)]
struct Wanted {
    times: usize,
    times_before_replies: usize,
    next: Vec<u32>,
}

/// How far what `written` says after every token that both have read is from what `reference` says. Logits are in memory
/// for some tokens at a time.
pub fn compare(
    prompts: &Prompts,
    (reference, expected): (&Model, &[Reading]),
    (written, found): (&Model, &[Reading]),
) -> Result<Comparison, GenerateError> {
    let (vocab, other_vocab) = (reference.config().vocab_size, written.config().vocab_size);
    let step = (LOGITS_BYTES / (4 * vocab.max(other_vocab)).max(1)).max(1);
    let mut sums = Sums::default();
    let mut texts = &prompts.texts[..];
    for (expected, found) in expected.iter().zip(found) {
        let (now, later) = texts.split_at(expected.num_texts());
        texts = later;
        let wanted = wanted_of(expected, now);
        let mut beside = Vec::with_capacity(wanted.len());
        for first in (0..wanted.len()).step_by(step) {
            let rows = first..wanted.len().min(first + step);
            let ours = reference.logits_of(expected, rows.clone())?;
            let theirs = written.logits_of(found, rows.clone())?;
            beside.extend(apart((&ours, vocab), (&theirs, other_vocab), &wanted[rows]));
        }
        sums.add(&beside, &wanted);
        for (at, text) in now.iter().enumerate() {
            let rows = expected.rows_of(at).iter().enumerate();
            let after = rows.map(|(token, row)| beside[*row].after(text, token));
            sums.after.push(after.collect());
        }
    }
    Ok(sums.mean())
}

fn wanted_of(reading: &Reading, texts: &[Text]) -> Vec<Wanted> {
    let mut wanted = vec![Wanted::default(); reading.times().len()];
    for (at, text) in texts.iter().enumerate() {
        for (token, row) in reading.rows_of(at).iter().enumerate() {
            wanted[*row].add(text, token);
        }
    }
    wanted
}

impl Wanted {
    fn add(&mut self, text: &Text, token: usize) {
        let next = text.ids.get(token + 1);
        let is_before_reply = next.is_some() && text.is_reply[token + 1];
        if text.counts {
            self.times += 1;
            self.times_before_replies += usize::from(is_before_reply);
        }
        if let Some(next) = next.filter(|next| is_before_reply && !self.next.contains(next)) {
            self.next.push(*next);
        }
    }
}

/// What a model says after each token of some texts, as another program gives it.
#[derive(Debug)]
pub struct Replay {
    /// Logits `[tokens, vocab]` for each text, row-major.
    pub rows: Vec<Vec<f32>>,
    /// Width of a row.
    pub vocab: usize,
}

impl Replay {
    /// What a model says after each token of the texts that count.
    pub fn of(prompts: &Prompts, model: &Model) -> Result<Self, GenerateError> {
        let counted = prompts.counted();
        let rows = counted.iter().map(|ids| model.logits(ids));
        Ok(Self {
            rows: rows.collect::<Result<_, _>>()?,
            vocab: model.config().vocab_size,
        })
    }

    /// How far `other` is from this.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut sums = Sums::default();
        for (ours, theirs) in self.rows.iter().zip(&other.rows) {
            let once = Wanted {
                times: 1,
                ..Wanted::default()
            };
            let wanted = vec![once; ours.len() / self.vocab.max(1)];
            let beside = apart((ours, self.vocab), (theirs, other.vocab), &wanted);
            sums.add(&beside, &wanted);
        }
        sums.mean().all
    }
}

/// A row of logits of either model, and what is asked of it.
type Pair<'a> = ((&'a [f32], &'a [f32]), &'a Wanted);

/// Rows of logits, each with the width of a row, compared on all threads.
fn apart(ours: (&[f32], usize), theirs: (&[f32], usize), wanted: &[Wanted]) -> Vec<Apart> {
    let rows = ours
        .0
        .chunks_exact(ours.1)
        .zip(theirs.0.chunks_exact(theirs.1))
        .zip(wanted);
    let rows: Vec<Pair<'_>> = rows.collect();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = rows.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let compare = |rows: &[Pair<'_>]| -> Vec<Apart> {
            let rows = rows.iter();
            rows.map(|((p, q), wanted)| Apart::of(p, q, &wanted.next))
                .collect()
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
    })
}

/// A comparison in the making: sums over tokens where distances have means. Rows are added in their order, so that the
/// number of threads makes no difference.
#[derive(Default)]
struct Sums {
    all: Distance,
    replies: Distance,
    after: Vec<Vec<After>>,
}

impl Sums {
    fn add(&mut self, rows: &[Apart], wanted: &[Wanted]) {
        for (row, wanted) in rows.iter().zip(wanted) {
            self.all.add(row, wanted.times);
            self.replies.add(row, wanted.times_before_replies);
        }
    }

    fn mean(self) -> Comparison {
        Comparison {
            all: self.all.mean(),
            replies: self.replies.mean(),
            after: self.after,
        }
    }
}

impl Distance {
    fn add(&mut self, row: &Apart, times: usize) {
        if times == 0 {
            return;
        }
        self.tokens += times;
        self.mean_kl += times as f64 * row.kl;
        self.max_kl = self.max_kl.max(row.kl);
        let same = row.likeliest.0 == row.likeliest.1;
        self.top1_agreement += times as f64 * f64::from(u8::from(same));
        self.max_logit_difference = self.max_logit_difference.max(row.difference);
        self.largest_logit = self.largest_logit.max(row.largest);
    }

    fn mean(mut self) -> Self {
        let tokens = self.tokens.max(1) as f64;
        self.mean_kl /= tokens;
        self.top1_agreement /= tokens;
        self.max_logit_difference_share = self.max_logit_difference / self.largest_logit.max(1.0);
        self
    }
}

/// Two rows of logits beside each other.
struct Apart {
    kl: f64,
    difference: f64,
    largest: f64,
    likeliest: (u32, u32),
    lead: f32,
    /// Tokens that may follow, and what both think of them.
    next: Vec<(u32, (f64, f64))>,
}

impl Apart {
    /// `p` is the reference; `q` may have more columns, which are padding.
    fn of(p: &[f32], q: &[f32], next: &[u32]) -> Self {
        let q = &q[..p.len().min(q.len())];
        let (mut difference, mut largest) = (0.0_f64, 0.0_f64);
        for (x, y) in p.iter().zip(q) {
            let apart = f64::from(x - y).abs();
            // A number that is none must not hide behind a comparison.
            difference = difference.max(if apart.is_nan() { f64::INFINITY } else { apart });
            largest = largest.max(f64::from(x.abs()));
        }
        let divergence = Divergence::of(p, q);
        let nll = |row: &[f32], whole: f64, id: u32| {
            let logit = row.get(id as usize);
            logit.map_or(f64::INFINITY, |logit| whole - f64::from(*logit))
        };
        let of_next = |&id: &u32| {
            let both = (
                nll(p, divergence.whole_p, id),
                nll(q, divergence.whole_q, id),
            );
            (id, both)
        };
        let likeliest = (likeliest(p), likeliest(q));
        Self {
            kl: divergence.kl,
            difference,
            largest,
            lead: p[likeliest.0] - p[likeliest.1],
            likeliest: (likeliest.0 as u32, likeliest.1 as u32),
            next: next.iter().map(of_next).collect(),
        }
    }

    fn after(&self, text: &Text, token: usize) -> After {
        let next = text.ids.get(token + 1);
        let is_reply = next.is_some() && text.is_reply[token + 1];
        let found = self.next.iter().find(|(id, _)| Some(id) == next);
        After {
            reference: self.likeliest.0,
            written: self.likeliest.1,
            lead: self.lead,
            nll: found.filter(|_| is_reply).map(|(_, both)| *both),
        }
    }
}

/// `Σ p (ln p − ln q)` of two rows of logits, and the logarithm of each row's sum.
struct Divergence {
    kl: f64,
    whole_p: f64,
    whole_q: f64,
}

impl Divergence {
    /// With `P = Σ exp(x)` and `Q = Σ exp(y)`, each relative to its largest logit, it is
    /// `Σ exp(x) (x − y) / P − (ln P − ln Q)`, in one pass.
    fn of(p: &[f32], q: &[f32]) -> Self {
        let largest =
            |row: &[f32]| f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let (most_p, most_q) = (largest(p), largest(q));
        let (mut sum_p, mut sum_q, mut apart) = (0.0, 0.0, 0.0);
        for (x, y) in p.iter().zip(q) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            let weight = (x - most_p).exp();
            sum_p += weight;
            sum_q += (y - most_q).exp();
            apart += weight * (x - y);
        }
        let (whole_p, whole_q) = (most_p + sum_p.ln(), most_q + sum_q.ln());
        let kl = apart / sum_p - (whole_p - whole_q);
        // Below zero only by rounding; not a number is as bad as can be.
        Self {
            kl: if kl.is_nan() {
                f64::INFINITY
            } else {
                kl.max(0.0)
            },
            whole_p,
            whole_q,
        }
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

#[cfg(test)]
mod tests {
    use super::super::texts::TOKENS_AT_ONCE;
    use super::*;
    use hone_model::weights::BaseWeights;

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
        assert_eq!(shifted.max_logit_difference_share, 5.0 / 4.0);
    }

    #[test]
    fn the_divergence_is_that_of_the_formula() {
        // p = (½, ¼, ¼), q = (¼, ½, ¼): ½ ln 2 − ¼ ln 2.
        let logits = |p: [f64; 3]| p.map(|x| x.ln() as f32);
        let (p, q) = (logits([0.5, 0.25, 0.25]), logits([0.25, 0.5, 0.25]));
        let distance = replay(&p).distance(&replay(&q));
        assert!(
            (distance.mean_kl - 0.25 * 2f64.ln()).abs() < 1e-6,
            "{distance:?}"
        );
        assert_eq!(distance.top1_agreement, 0.0);
        let apart = Apart::of(&p, &q, &[2]);
        let (_, (ours, theirs)) = apart.next[0];
        assert!((ours - 4f64.ln()).abs() < 1e-6 && (theirs - 4f64.ln()).abs() < 1e-6);
        assert!((f64::from(apart.lead) - 2f64.ln()).abs() < 1e-6);
    }

    fn load(name: &str) -> Model {
        let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
        let weights = BaseWeights::open(&base.join(name)).unwrap();
        let device = hone_tensor::Device::cpu(2).unwrap();
        Model::load(&weights, &device, hone_model::BaseFormat::Stored, 96).unwrap()
    }

    #[test]
    fn what_is_read_at_once_is_as_far_apart_as_text_by_text() {
        let (ours, theirs) = (load("tiny-llama-untied"), load("tiny-llama-untied-sharded"));
        let begins: Vec<u32> = (10..60).collect();
        let text = |end: u32| Text::of_prompt([begins.clone(), vec![end; 40]].concat());
        let prompts = Prompts::of_texts((100..130).map(text).collect(), "texts".into(), 4096);
        // More than are read at once.
        assert!(prompts.counted().concat().len() > 2 * TOKENS_AT_ONCE);
        let (expected, found) = (prompts.read(&ours).unwrap(), prompts.read(&theirs).unwrap());
        assert_eq!(expected.len(), 3);
        let at_once = compare(&prompts, (&ours, &expected), (&theirs, &found)).unwrap();
        let one_by_one = Replay::of(&prompts, &ours).unwrap();
        let one_by_one = one_by_one.distance(&Replay::of(&prompts, &theirs).unwrap());
        let at_once = at_once.all;
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

    #[test]
    fn tokens_of_replies_are_counted_apart_and_their_likelihood_is_the_models_own() {
        let (ours, theirs) = (load("tiny-llama-untied"), load("tiny-llama-untied-sharded"));
        let row = |ids: Vec<u32>, reply: usize| {
            let supervised = (0..ids.len()).map(|at| at >= reply).collect();
            Text::of_row(ids, supervised)
        };
        let begins: Vec<u32> = (10..40).collect();
        let texts = vec![
            row([begins.clone(), vec![7, 8]].concat(), 30),
            row([begins, vec![7, 9, 2]].concat(), 31),
        ];
        let prompts = Prompts::of_texts(texts, "rows".into(), 4096);
        let (expected, found) = (prompts.read(&ours).unwrap(), prompts.read(&theirs).unwrap());
        let compared = compare(&prompts, (&ours, &expected), (&theirs, &found)).unwrap();
        // Two of the first row's tokens, two of the second's.
        assert_eq!((compared.all.tokens, compared.replies.tokens), (65, 4));
        for (text, after) in prompts.texts.iter().zip(&compared.after) {
            let supervised: Vec<usize> = (1..text.ids.len())
                .filter(|at| text.is_reply[*at])
                .collect();
            let rows: Vec<usize> = supervised.iter().map(|at| at - 1).collect();
            let targets: Vec<u32> = supervised.iter().map(|at| text.ids[*at]).collect();
            for (which, model) in [&ours, &theirs].into_iter().enumerate() {
                let batch = hone_model::Packed {
                    ids: &text.ids,
                    boundaries: &[0, text.ids.len()],
                    rows: &rows,
                    targets: &targets,
                    weights: None,
                };
                let nats = model.nats(batch).unwrap();
                for (row, nats) in rows.iter().zip(nats) {
                    let both = after[*row].nll.unwrap();
                    let own = if which == 0 { both.0 } else { both.1 };
                    assert!((own - nats).abs() < 1e-5, "{own} {nats}");
                }
            }
            assert_eq!(
                after.iter().filter(|after| after.nll.is_some()).count(),
                rows.len()
            );
        }
    }
}
