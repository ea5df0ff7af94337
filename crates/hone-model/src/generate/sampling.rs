//! How the next token is chosen from the logits.

use hone_ledger::{Seed, Stream};

use super::{Completion, Generation, Stop};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token; 1 samples from the model's own distribution.
    pub temperature: f32,
    /// Sample from the smallest set of tokens that holds this much probability.
    pub top_p: f32,
    /// Sample from at most this many tokens; 0 means all.
    pub top_k: usize,
    /// Where the randomness comes from.
    pub seed: u64,
}

impl Sampling {
    /// The most likely token each time.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        seed: 0,
    };
}

/// An answer as far as it has come.
#[derive(Debug)]
pub(super) struct Answer {
    pub ids: Vec<u32>,
    /// So many tokens fill the context.
    limit: usize,
    stream: Stream,
}

impl Answer {
    /// Nothing said yet, of the sequence of this number.
    pub fn new(settings: &Generation, number: u64, limit: usize) -> Self {
        let seed = Seed::new(settings.sampling.seed);
        Self {
            ids: vec![],
            limit,
            stream: seed.child("sampling").index(number).stream(),
        }
    }

    /// Takes the next token from its logits, if it is no end, and says why the answer stops, if it does.
    pub fn take(&mut self, logits: &[f32], settings: &Generation) -> (Option<u32>, Option<Stop>) {
        let token = choose(logits, settings.sampling, &mut self.stream);
        if settings.stop_ids.contains(&token) {
            return (None, Some(Stop::Token(token)));
        }
        self.ids.push(token);
        let stop = match self.ids.len() {
            said if said >= settings.max_new_tokens => Some(Stop::Length),
            said if said >= self.limit => Some(Stop::Context),
            _ => None,
        };
        (Some(token), stop)
    }

    pub fn ended(self, stop: Stop) -> Completion {
        let ids = self.ids;
        Completion { ids, stop }
    }
}

/// The index of the greatest logit, or one drawn from the softened, cut distribution.
fn choose(logits: &[f32], sampling: Sampling, stream: &mut Stream) -> u32 {
    let greatest = || {
        let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
        (0..logits.len()).fold(0, better) as u32
    };
    if sampling.temperature <= 0.0 {
        return greatest();
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let max = logits[order[0] as usize];
    let weight = |id: u32| f64::from((logits[id as usize] - max) / sampling.temperature).exp();
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    let mut held = 0.0;
    let nucleus = order.iter().take_while(|&&id| {
        let inside = held < f64::from(sampling.top_p) * total;
        held += weight(id);
        inside
    });
    let nucleus: Vec<u32> = nucleus.copied().collect();
    let mut point =
        f64::from(stream.unit_f32()) * nucleus.iter().map(|&id| weight(id)).sum::<f64>();
    for &id in &nucleus {
        point -= weight(id);
        if point < 0.0 {
            return id;
        }
    }
    *nucleus.last().unwrap_or(&order[0])
}

/// The natural logarithm of the probability that the model itself gives a token, whatever it was chosen by.
pub(super) fn log_probability(logits: &[f32], id: u32) -> f64 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let above = |logit: f32| f64::from(logit) - f64::from(greatest);
    let sum: f64 = logits.iter().map(|logit| above(*logit).exp()).sum();
    above(logits[id as usize]) - sum.ln()
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn sampling_follows_the_distribution_within_its_cuts() {
        let logits = [2.0f32.ln(), 1.0f32.ln(), 1.0f32.ln(), f32::MIN];
        let count = |sampling| {
            let mut stream = Seed::new(1).stream();
            let mut counts = [0; 4];
            (0..4000).for_each(|_| counts[choose(&logits, sampling, &mut stream) as usize] += 1);
            counts
        };
        let plain = Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        };
        let counts = count(plain);
        assert!(
            (1850..2150).contains(&counts[0]) && counts[3] == 0,
            "{counts:?}"
        );
        assert_eq!(
            count(Sampling {
                top_p: 0.5,
                ..plain
            })[0],
            4000
        );
        assert_eq!(count(Sampling { top_k: 2, ..plain })[2], 0);
        assert_eq!(count(Sampling::GREEDY)[0], 4000);
    }
}
