//! An adapter as mathematics: for each module the two narrow matrices and what their product is multiplied with.
//!
//! This is what merging, combining and exporting work on. It needs no model and no device, and it comes from files
//! that have passed the check, so that none of them has to look again.

use std::collections::{BTreeMap, BTreeSet};

use super::provenance::Provenance;
use super::spelling::PREFIX;

/// The pieces of a checked adapter, by module.
#[derive(Clone, Debug, Default)]
pub struct AdapterWeights {
    /// Adapted linear layers, by path: `model.layers.0.self_attn.q_proj`. Of experts each has its own, by the path of the
    /// parameter and its number: `model.layers.0.mlp.experts.down_proj[3]`.
    pub pairs: BTreeMap<String, LoraPair>,
    /// Adapted embeddings, by path, as pairs for a matrix `[vocabulary, width]`: `B` is PEFT's `lora_embedding_A`
    /// the other way round, and `A` its `lora_embedding_B`.
    pub embeddings: BTreeMap<String, LoraPair>,
    /// IA³'s factors, by path of the linear layer.
    pub factors: BTreeMap<String, Factors>,
    /// Rows of single tokens, which stand in place of the embedding's, by its path.
    pub token_rows: BTreeMap<String, TrainedRows>,
    /// Matrices and biases that stand in place of the base's, by tensor: `lm_head.weight`. `(shape, numbers)`.
    pub whole: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Modules that PEFT adapts by their weight, as a parameter: routers.
    pub parameters: BTreeSet<String>,
    /// Dropout it was trained with; it changes nothing any more.
    pub dropout: f32,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// The adapter of one module: `ΔW = scale · B A`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraPair {
    /// Width of the bottleneck.
    pub rank: usize,
    /// Inputs of the layer.
    pub width: usize,
    /// Outputs of the layer.
    pub out: usize,
    /// What the product is multiplied with.
    pub scale: f32,
    /// `[rank, width]`, row-major.
    pub a: Vec<f32>,
    /// `[out, rank]`, row-major.
    pub b: Vec<f32>,
    /// DoRA: the lengths that rows of `W + ΔW` are brought to.
    pub magnitude: Option<Vec<f32>>,
    /// Bias of `B`, `[out]`, multiplied with the scale as well.
    pub bias: Option<Vec<f32>>,
}

/// What IA³ multiplies a linear layer with (Liu et al. 2022).
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// One for each input or output.
    pub numbers: Vec<f32>,
    /// Whether they are for inputs, columns of the matrix; otherwise for outputs, rows of it and its bias.
    pub is_input: bool,
}

/// Trained rows of an embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedRows {
    /// Which tokens, in the order of the rows.
    pub ids: Vec<u32>,
    /// `[ids, width]`, row-major.
    pub numbers: Vec<f32>,
}

/// Shape and numbers of a tensor.
type Held = (Vec<usize>, Vec<f32>);

impl AdapterWeights {
    /// The first part that is more than a pair of matrices, in the user's words.
    pub fn beyond_pairs(&self) -> Option<String> {
        if let Some(name) = self.whole.keys().next() {
            return Some(format!("`{name}` whole"));
        }
        if !self.factors.is_empty() {
            return Some("IA3's factors".into());
        }
        if !self.token_rows.is_empty() {
            return Some("rows of single tokens".into());
        }
        if !self.embeddings.is_empty() {
            return Some("an adapter on the embedding".into());
        }
        let dora = self.pairs.values().any(|pair| pair.magnitude.is_some());
        let bias = self.pairs.values().any(|pair| pair.bias.is_some());
        match (dora, bias) {
            (true, _) => Some("DoRA's magnitudes".into()),
            (_, true) => Some("biases".into()),
            _ => None,
        }
    }

    /// The same adapter with one rank and a scale of 1 everywhere: `B` takes the scale, and narrower pairs are filled up
    /// with zeros. Readers that pass over patterns and rsLoRA then read it right.
    pub fn uniform(&self) -> Self {
        let rank = self.pairs.values().map(|pair| pair.rank).max().unwrap_or(1);
        let pairs = self
            .pairs
            .iter()
            .map(|(path, pair)| (path.clone(), pair.baked().widened(rank)));
        Self {
            pairs: pairs.collect(),
            ..self.clone()
        }
    }

    /// Experts of a parameter in one pair again, as PEFT keeps them.
    pub(super) fn stacked(&self) -> BTreeMap<String, LoraPair> {
        let mut groups: BTreeMap<String, Vec<(usize, &LoraPair)>> = BTreeMap::new();
        for (path, pair) in &self.pairs {
            let (path, expert) = expert_of(path).unwrap_or((path, 0));
            groups
                .entry(path.to_owned())
                .or_default()
                .push((expert, pair));
        }
        let stack = |(path, mut pairs): (String, Vec<(usize, &LoraPair)>)| {
            pairs.sort_by_key(|(expert, _)| *expert);
            let pairs: Vec<&LoraPair> = pairs.into_iter().map(|(_, pair)| pair).collect();
            (path, LoraPair::stacked(&pairs))
        };
        groups.into_iter().map(stack).collect()
    }

    /// Names for `target_modules` that fit any base: whole paths.
    pub fn paths(&self) -> Vec<String> {
        self.pairs.keys().cloned().collect()
    }

    /// Where PEFT's names begin.
    pub const PREFIX: &str = PREFIX;
}

/// The parameter and the number of an expert, from the path of its pair.
pub(crate) fn expert_of(path: &str) -> Option<(&str, usize)> {
    let (parameter, number) = path.strip_suffix(']')?.rsplit_once('[')?;
    Some((parameter, number.parse().ok()?))
}

impl LoraPair {
    /// `A` and `B` as they lie in a file, with what their product is multiplied with.
    pub(super) fn of((a_shape, a): Held, (b_shape, b): Held, scale: f32) -> Self {
        Self {
            rank: a_shape[0],
            width: a_shape[1],
            out: b_shape[0],
            scale,
            a,
            b,
            magnitude: None,
            bias: None,
        }
    }

    /// The pairs of all experts, taken out of one: `A` has them one after the other, the columns of `B` go from expert to
    /// expert.
    pub(super) fn by_expert(self, path: &str, experts: usize) -> Vec<(String, Self)> {
        let (stacked, rank) = (self.rank, self.rank / experts.max(1));
        let one = |expert: usize| {
            let rows = self.b.chunks_exact(stacked.max(1));
            let own = |row: &[f32]| {
                (0..rank)
                    .map(|r| row[r * experts + expert])
                    .collect::<Vec<f32>>()
            };
            let pair = Self {
                rank,
                a: self.a[expert * rank * self.width..][..rank * self.width].to_vec(),
                b: rows.flat_map(own).collect(),
                ..self.clone()
            };
            (format!("{path}[{expert}]"), pair)
        };
        (0..experts).map(one).collect()
    }

    /// The reverse of [`Self::by_expert`]; they are of one size.
    fn stacked(pairs: &[&Self]) -> Self {
        let (first, experts) = (pairs[0], pairs.len());
        let cell = |row: usize, r: usize, expert: usize| pairs[expert].b[row * first.rank + r];
        let b = (0..first.out).flat_map(|row| {
            let ranks =
                (0..first.rank).flat_map(move |r| (0..experts).map(move |expert| (r, expert)));
            ranks.map(move |(r, expert)| cell(row, r, expert))
        });
        Self {
            rank: first.rank * experts,
            a: pairs.iter().flat_map(|pair| &pair.a).copied().collect(),
            b: b.collect(),
            ..(*first).clone()
        }
    }

    /// Some of its outputs.
    pub(crate) fn outputs(&self, rows: std::ops::Range<usize>) -> Self {
        Self {
            out: rows.len(),
            b: self.b[rows.start * self.rank..rows.end * self.rank].to_vec(),
            ..self.clone()
        }
    }

    /// The same product with a scale of 1: `B` takes it.
    pub fn baked(&self) -> Self {
        Self {
            scale: 1.0,
            b: self.b.iter().map(|x| x * self.scale).collect(),
            bias: self
                .bias
                .as_ref()
                .map(|bias| bias.iter().map(|x| x * self.scale).collect()),
            ..self.clone()
        }
    }

    /// The same product through a wider bottleneck, whose new rows of `A` and columns of `B` are zero.
    pub fn widened(&self, rank: usize) -> Self {
        if rank <= self.rank {
            return self.clone();
        }
        let mut a = self.a.clone();
        a.resize(rank * self.width, 0.0);
        let mut b = vec![0.0; self.out * rank];
        for (wide, narrow) in b.chunks_exact_mut(rank).zip(self.b.chunks_exact(self.rank)) {
            wide[..self.rank].copy_from_slice(narrow);
        }
        Self {
            rank,
            a,
            b,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(rank: usize, scale: f32) -> LoraPair {
        let (width, out) = (3, 2);
        LoraPair {
            rank,
            width,
            out,
            scale,
            a: (0..rank * width).map(|i| i as f32 + 1.0).collect(),
            b: (0..out * rank).map(|i| i as f32 - 1.0).collect(),
            magnitude: None,
            bias: None,
        }
    }

    fn product(pair: &LoraPair) -> Vec<f64> {
        let cell = |o: usize, i: usize| {
            let terms = (0..pair.rank).map(|r| {
                f64::from(pair.b[o * pair.rank + r]) * f64::from(pair.a[r * pair.width + i])
            });
            terms.sum::<f64>() * f64::from(pair.scale)
        };
        (0..pair.out * pair.width)
            .map(|at| cell(at / pair.width, at % pair.width))
            .collect()
    }

    #[test]
    fn a_uniform_adapter_has_the_same_products() {
        let mut weights = AdapterWeights::default();
        weights.pairs.insert("a".into(), pair(1, 2.0));
        weights.pairs.insert("b".into(), pair(4, 0.5));
        let uniform = weights.uniform();
        for (path, pair) in &weights.pairs {
            let same = &uniform.pairs[path];
            assert_eq!((same.rank, same.scale), (4, 1.0));
            assert_eq!(product(same), product(pair), "{path}");
        }
    }
}
