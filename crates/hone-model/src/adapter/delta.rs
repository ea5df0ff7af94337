//! What an adapter makes of the base's matrices, row by row: for merging, for export, and for whoever wants to see it.
//!
//! A row of a merged matrix depends on the same row of the base alone, whatever the method: a low-rank product is added,
//! DoRA gives it another length, IA³ factors, a matrix trained whole takes its place. So a base of any size is merged
//! in pieces.

use std::ops::Range;

use hone_tensor::TensorError;

use super::{Adapter, AtSite};
use crate::site::Site;

/// An adapter's numbers on the host, ready to change rows of the base.
#[derive(Debug)]
pub struct Deltas<'a> {
    adapter: &'a Adapter,
    numbers: Vec<f32>,
    start: Option<Vec<f32>>,
}

impl Adapter {
    /// Its numbers, copied to the host.
    pub fn deltas(&self) -> Result<Deltas<'_>, TensorError> {
        Ok(Deltas {
            adapter: self,
            numbers: self.parameters.to_vec()?,
            start: self
                .start
                .as_ref()
                .map(|start| start.to_vec())
                .transpose()?,
        })
    }
}

impl Deltas<'_> {
    /// Whether the matrix of a projection changes. The head of a tied model changes with its embedding and is not
    /// asked about.
    pub fn touches(&self, site: Site) -> bool {
        let changes = |at: &AtSite| at.whole.is_some() || at.factors.is_some();
        self.adapter.layout.member(site).is_some() || self.at(site).is_some_and(changes)
    }

    /// Whether rows of the embedding change.
    pub fn touches_embedding(&self) -> bool {
        self.adapter.layout.embedding.is_trained()
    }

    /// Whether the embedding changes and a head that is tied to it does not: such a model merges only with a head of
    /// its own.
    pub fn unties_head(&self) -> bool {
        self.adapter.layout.embedding.low_rank.is_some()
    }

    /// Rows of the low-rank product alone, `scale · B·A` less what it started from, `[rows, in]`; `None` where a
    /// projection has no low-rank pair. For plain LoRA this is all there is to a projection.
    pub fn low_rank(&self, site: Site, rows: Range<usize>) -> Option<Vec<f32>> {
        let (group, _) = self.adapter.layout.member(site)?;
        let mut sums = vec![0.0; rows.len() * group.width];
        self.add_low_rank(site, rows.start, &mut sums);
        Some(sums.into_iter().map(|x| x as f32).collect())
    }

    /// What is added to rows of a projection's matrix, of which `base_rows` are the base's, from `first` on.
    pub fn delta_rows(&self, site: Site, first: usize, base_rows: &[f32]) -> Vec<f32> {
        let mut rows = base_rows.to_vec();
        self.merge_rows(site, first, &mut rows);
        for (row, base) in rows.iter_mut().zip(base_rows) {
            *row -= base;
        }
        rows
    }

    /// Turns whole rows of a projection's matrix, from `first` on, into those of the merged one. Sums are in f64.
    pub fn merge_rows(&self, site: Site, first: usize, rows: &mut [f32]) {
        if !self.touches(site) {
            return;
        }
        let at = self.at(site);
        if let Some(offset) = at.and_then(|at| at.whole) {
            let width = at.map_or(0, |at| at.width);
            rows.copy_from_slice(&self.numbers[offset + first * width..][..rows.len()]);
            return;
        }
        let mut sums: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
        self.add_low_rank(site, first, &mut sums);
        if let Some(at) = at {
            self.stretch(at, first, &mut sums);
        }
        for (row, sum) in rows.iter_mut().zip(sums) {
            *row = sum as f32;
        }
    }

    /// DoRA's lengths and IA³'s factors.
    fn stretch(&self, at: &AtSite, first: usize, rows: &mut [f64]) {
        for (i, row) in rows.chunks_exact_mut(at.width).enumerate() {
            if let Some(offset) = at.magnitude {
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                let magnitude = f64::from(self.numbers[offset + first + i]);
                let factor = if length > 0.0 {
                    magnitude / length
                } else {
                    0.0
                };
                row.iter_mut().for_each(|x| *x *= factor);
            }
            match at.factors {
                None => {}
                Some((offset, true)) => {
                    let factors = &self.numbers[offset..][..at.width];
                    for (x, factor) in row.iter_mut().zip(factors) {
                        *x *= f64::from(*factor);
                    }
                }
                Some((offset, false)) => {
                    let factor = f64::from(self.numbers[offset + first + i]);
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
        }
    }

    fn add_low_rank(&self, site: Site, first: usize, rows: &mut [f64]) {
        let Some((group, member)) = self.adapter.layout.member(site) else {
            return;
        };
        let (rank, width) = (member.rank, group.width);
        let a_offset = group.a_offset + member.rank_offset * width;
        let halves = [(Some(&self.numbers), 1.0), (self.start.as_ref(), -1.0)];
        for (numbers, sign) in halves {
            let Some(numbers) = numbers else { continue };
            let a = &numbers[a_offset..][..rank * width];
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let b = &numbers[member.b_offset + (first + i) * rank..][..rank];
                for (b, a) in b.iter().zip(a.chunks_exact(width)) {
                    let factor = sign * f64::from(member.scale) * f64::from(*b);
                    for (x, a) in row.iter_mut().zip(a) {
                        *x += factor * f64::from(*a);
                    }
                }
            }
        }
    }

    /// The bias of a merged projection, where the adapter changes it; `base` is the base's.
    pub fn merge_bias(&self, site: Site, base: Option<&[f32]>) -> Option<Vec<f32>> {
        let at = self.at(site)?;
        if let Some(offset) = at.bias {
            return Some(self.numbers[offset..][..at.out].to_vec());
        }
        let (offset, is_input) = at.factors?;
        let base = base.filter(|_| !is_input)?;
        let factors = &self.numbers[offset..][..at.out];
        Some(base.iter().zip(factors).map(|(x, l)| x * l).collect())
    }

    /// Turns whole rows of the embedding, from `first` on, into those of the merged one.
    pub fn merge_embedding_rows(&self, first: usize, rows: &mut [f32]) {
        let embedding = &self.adapter.layout.embedding;
        let width = self.adapter.layout.d_model;
        if let Some(offset) = embedding.whole {
            rows.copy_from_slice(&self.numbers[offset + first * width..][..rows.len()]);
        }
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let id = first + i;
            if let Some(low) = &embedding.low_rank {
                let a = &self.numbers[low.a_offset + id * low.rank..][..low.rank];
                let b = &self.numbers[low.b_offset..][..width * low.rank];
                for (x, b) in row.iter_mut().zip(b.chunks_exact(low.rank)) {
                    let product = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
                    let sum: f64 = a.iter().zip(b).map(product).sum();
                    *x = (f64::from(*x) + f64::from(low.scale) * sum) as f32;
                }
            }
            if let Some(trained) = &embedding.token_rows
                && let Ok(place) = trained.ids.binary_search(&(id as u32))
            {
                row.copy_from_slice(&self.numbers[trained.offset + place * width..][..width]);
            }
        }
    }

    fn at(&self, site: Site) -> Option<&AtSite> {
        self.adapter.layout.sites.iter().find(|at| at.site == site)
    }
}
