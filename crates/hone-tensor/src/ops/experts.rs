//! A router's choice of experts, forward and backward.

use std::ops::Range;

use super::{StorageOps, assert_same_shape, host, put};
use crate::index::Index;
use crate::tensor::{Element, Tensor};

/// How a router's logits choose experts: the `count` greatest of their softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// Experts for each row, at least one and no more than there are.
    pub count: usize,
    /// Whether the chosen shares of a row are divided by their sum.
    pub is_normalised: bool,
}

/// Which rows go to which expert. A place is one row at one expert; places lie expert by expert, the rows of an
/// expert rising.
#[derive(Debug)]
pub struct Routing {
    /// The row of each place.
    pub rows: Index,
    /// Where each expert's places begin, and after them where the last one's end.
    pub starts: Vec<usize>,
    /// What comes back from each place is multiplied with, `[places, 1]`.
    pub weights: Tensor,
}

impl Routing {
    /// The places of an expert.
    pub fn places(&self, expert: usize) -> Range<usize> {
        self.starts[expert]..self.starts[expert + 1]
    }
}

/// Which rows go to which expert.
pub trait ExpertOps: StorageOps {
    /// Sends rows to experts by the logits `[rows, experts]` of a router: softmax, its greatest shares, of equal ones the
    /// lower expert's. A device that failed may send them anywhere; the failure surfaces where a number is read back.
    fn route(&self, logits: &Tensor, top: TopK) -> Routing {
        let (rows, experts) = (logits.rows(), logits.cols());
        check_top(logits, top);
        let logits_on_host = host(self, logits).unwrap_or_else(|| vec![0.0; logits.len()]);
        let mut places: Vec<(usize, usize, f32)> = Vec::new();
        for (row, logits) in logits_on_host.chunks_exact(experts).enumerate() {
            let shares = softmax(logits);
            let mut order: Vec<usize> = (0..experts).collect();
            order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
            let chosen = &order[..top.count];
            let sum = divisor(&shares, chosen.iter().copied(), top);
            places.extend(chosen.iter().map(|&e| (e, row, (shares[e] / sum) as f32)));
        }
        places.sort_by_key(|(expert, row, _)| (*expert, *row));
        let before = |expert| places.partition_point(|(other, ..)| *other < expert);
        let mut weights = logits.like(
            rows * top.count,
            1,
            self.allocate(Element::F32, places.len()),
        );
        put(
            self,
            &mut weights,
            &places.iter().map(|place| place.2).collect::<Vec<_>>(),
        );
        Routing {
            rows: places.iter().map(|place| place.1).collect(),
            starts: (0..=experts).map(before).collect(),
            weights,
        }
    }
    /// The gradient of `logits` from that of [`Routing::weights`], `[places, 1]`. Which experts are chosen is taken for
    /// given, as autograd does.
    fn route_backward(
        &self,
        logits: &Tensor,
        routing: &Routing,
        top: TopK,
        dweights: &Tensor,
        dlogits: &mut Tensor,
    ) {
        assert_same_shape(logits, dlogits);
        check_places(logits, top, dweights);
        let experts = logits.cols();
        let (Some(logits), Some(given)) = (host(self, logits), host(self, dweights)) else {
            return;
        };
        // The slope of each row's factors, an expert's place in its column.
        let mut dfactors = vec![None; logits.len()];
        for expert in 0..experts {
            for place in routing.places(expert) {
                dfactors[routing.rows[place] as usize * experts + expert] =
                    Some(f64::from(given[place]));
            }
        }
        let mut slopes = Vec::with_capacity(logits.len());
        for (logits, dfactors) in logits
            .chunks_exact(experts)
            .zip(dfactors.chunks_exact(experts))
        {
            let shares = softmax(logits);
            let chosen = (0..experts).filter(|e| dfactors[*e].is_some());
            let sum = divisor(&shares, chosen, top);
            let weighted = |e: usize| shares[e] * dfactors[e].unwrap_or(0.0);
            // With factors `w = p` or `w = p / Σp` over the chosen: `dp = dw`, or `(dw - Σ dw·w) / Σp`.
            let mean = match top.is_normalised {
                true => (0..experts).map(weighted).sum::<f64>() / sum,
                false => 0.0,
            };
            let dshare = |e: usize| dfactors[e].map_or(0.0, |dw| (dw - mean) / sum);
            let along: f64 = (0..experts).map(|e| shares[e] * dshare(e)).sum();
            slopes.extend((0..experts).map(|e| (shares[e] * (dshare(e) - along)) as f32));
        }
        put(self, dlogits, &slopes);
    }
}

/// The promise of [`ExpertOps::route`].
pub(crate) fn check_top(logits: &Tensor, top: TopK) {
    assert!(
        (1..=logits.cols()).contains(&top.count),
        "at least one expert, and no more than there are"
    );
}

/// The promise of [`ExpertOps::route_backward`].
pub(crate) fn check_places(logits: &Tensor, top: TopK, dweights: &Tensor) {
    assert_eq!(
        (dweights.rows(), dweights.cols()),
        (logits.rows() * top.count, 1),
        "one gradient for each place"
    );
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|x| f64::from(x - greatest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// What the chosen shares are divided by.
fn divisor(shares: &[f64], chosen: impl Iterator<Item = usize>, top: TopK) -> f64 {
    match top.is_normalised {
        true => chosen.map(|expert| shares[expert]).sum(),
        false => 1.0,
    }
}
