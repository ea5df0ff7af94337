//! An adapter as mathematics: for each module the two narrow matrices and what their product is multiplied with.
//!
//! This is what merging, combining and exporting work on. It needs no model and no device, and it comes from files
//! that have passed the check, so that none of them has to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hone_ledger::write_whole;
use serde_json::{Value, json};

use super::check::{AdapterCheck, CheckedBase, check_adapter};
use super::finding::Finding;
use super::peft::{
    CONFIG, PeftError, Provenance, SCALING, SaveDtype, WEIGHTS, make_dir, number, patterns,
    scaling_hash, to_safetensors,
};
use super::plain::REPEATABLE;
use super::raw::{RawAdapter, RawTensor};
use super::settings::{EXPERTS, Settings, is_of_experts};
use super::spelling::PREFIX;
use super::table::{Param, Role, transposed};
use crate::weights::{BaseWeights, WeightsError};

/// The pieces of a checked adapter, by module.
#[derive(Clone, Debug, Default)]
pub struct LoraParts {
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

/// Why an adapter cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// It cannot be read at all.
    #[error(transparent)]
    Peft(#[from] PeftError),
    /// The base that it is for.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// It has a part that this cannot be done with.
    #[error("the adapter in `{}` has {part}, which {verb} does not take", path.display())]
    Untaken {
        /// Which adapter.
        path: PathBuf,
        /// What it has.
        part: String,
        /// What was to be done with it.
        verb: &'static str,
    },
}

impl PartsError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Peft(error) => error.hints(),
            Self::Weights(error) => error.hints(),
            Self::Untaken { .. } => {
                vec!["merge it first: `hone merge` takes every part of an adapter".into()]
            }
        }
    }
}

impl LoraParts {
    /// Reads an adapter directory that has to pass the check, against `base` if one is given.
    pub fn read(dir: &Path, base: Option<CheckedBase>) -> Result<Self, PartsError> {
        let raw = RawAdapter::read(dir)?;
        let check = check_adapter(&raw, base);
        Self::of(&raw, &check)
    }

    /// Takes apart what has been checked.
    pub fn of(raw: &RawAdapter, check: &AdapterCheck) -> Result<Self, PartsError> {
        check.accept(raw.path())?;
        Self::taken_apart(raw)
    }

    /// Refuses a base other than the one that the adapter in `dir` names, if it names one: the one check that needs the
    /// hash of the whole base, and so may come later than the others.
    pub fn check_base(&self, dir: &Path, fingerprint: &str) -> Result<(), PartsError> {
        let other = Finding::other_base(&self.provenance, fingerprint);
        Ok(PeftError::refuse(dir, other.iter())?)
    }

    /// As [`Self::of`], and takes names without PEFT's prefix, whose meaning is plain. With
    /// `base`, the one that it was trained on, also PiSSA and OLoRA that were saved as they were trained: what they took
    /// out of the base is found again, and the adapter is plain LoRA of twice the rank.
    pub fn repaired(
        raw: &RawAdapter,
        check: &AdapterCheck,
        base: Option<&BaseWeights>,
    ) -> Result<Self, PartsError> {
        let method = check.facts.changes_base.as_deref();
        let again = base.zip(method.filter(|method| REPEATABLE.contains(method)));
        let is_plain = |finding: &&Finding| match finding {
            Finding::NoPrefix { .. } => true,
            Finding::ChangesBase { .. } => again.is_some(),
            _ => false,
        };
        let others = check.errors().filter(|finding| !is_plain(finding));
        PeftError::refuse(raw.path(), others)?;
        let parts = Self::taken_apart(raw)?;
        match again {
            Some((base, method)) => Ok(parts.less_its_start(base, method)?),
            None => Ok(parts),
        }
    }

    fn taken_apart(raw: &RawAdapter) -> Result<Self, PartsError> {
        let settings = Settings::read(&raw.config, &mut vec![]);
        let mut all = Self {
            dropout: settings.dropout,
            provenance: raw.provenance(),
            ..Self::default()
        };
        for (path, parts) in raw.modules(&settings, &mut vec![]) {
            let held = |part| {
                let tensor: &RawTensor = parts.get(&part)?;
                let numbers = raw.numbers(tensor);
                let numbers = numbers.expect("the check has read every number");
                Some((tensor.shape.clone(), numbers))
            };
            if let Some(tensor) = parts.get(&Role::Foreign) {
                return Err(PartsError::Untaken {
                    path: raw.path().to_path_buf(),
                    part: format!("`{}`", tensor.name),
                    verb: "taking an adapter apart",
                });
            }
            if let Some((a, b)) = held(Role::A).zip(held(Role::B)) {
                let pair = LoraPair {
                    magnitude: held(Role::Magnitude).map(|held| held.1),
                    bias: held(Role::OutBias).map(|held| held.1),
                    ..LoraPair::of(a, b, settings.scale_of(&path))
                };
                if settings.pattern_path(&path) != path {
                    all.parameters.insert(path.clone());
                }
                match is_of_experts(&path) {
                    true => {
                        let experts = pair.rank / settings.rank_of(&path).max(1);
                        all.pairs.extend(pair.by_expert(&path, experts));
                    }
                    false => drop(all.pairs.insert(path.clone(), pair)),
                }
            }
            if let Some((a, b)) = held(Role::EmbeddingA).zip(held(Role::EmbeddingB)) {
                let ((a_shape, a), (b_shape, b)) = (a, b);
                let (vocab, rank) = (a_shape[1], a_shape[0]);
                let a_turned = (vec![vocab, rank], transposed(&a, rank, vocab));
                let b_turned = (vec![rank, b_shape[0]], transposed(&b, b_shape[0], rank));
                let pair = LoraPair::of(b_turned, a_turned, settings.scale_of(&path));
                all.embeddings.insert(path.clone(), pair);
            }
            if let Some((_, numbers)) = held(Role::Factors) {
                let is_input = settings.scales_input(&path);
                all.factors
                    .insert(path.clone(), Factors { numbers, is_input });
            }
            if let Some((_, numbers)) = held(Role::TokenRows) {
                let ids = settings.tokens_at(&path).to_vec();
                all.token_rows
                    .insert(path.clone(), TrainedRows { ids, numbers });
            }
            for (end, kinds) in [
                ("weight", [Role::BaseWeight, Role::Whole]),
                ("bias", [Role::BaseBias, Role::Bias]),
            ] {
                let whole = kinds.into_iter().filter_map(held).next_back();
                all.whole
                    .extend(whole.map(|held| (format!("{path}.{end}"), held)));
            }
        }
        Ok(all)
    }

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

    /// Writes a PEFT directory, configuration last. `targets` become `target_modules`.
    pub fn save(&self, dir: &Path, dtype: SaveDtype, targets: &[String]) -> Result<(), PeftError> {
        let (config, weights) = self.to_files(dtype, targets)?;
        make_dir(dir)?;
        write_whole(&dir.join(WEIGHTS), &weights)?;
        Ok(write_whole(&dir.join(CONFIG), &config)?)
    }

    /// The bytes of the two files: configuration, weights.
    pub(super) fn to_files(
        &self,
        dtype: SaveDtype,
        targets: &[String],
    ) -> Result<(Vec<u8>, Vec<u8>), PeftError> {
        let stacked = self.stacked();
        let (matrices, numbers) = stacked.laid_out();
        let scales = stacked
            .pairs
            .iter()
            .map(|(path, pair)| (stacked.pattern_path(path), pair.scale));
        let scales: Vec<(String, f32)> = scales.collect();
        let scales = || scales.iter().map(|(path, scale)| (path.as_str(), *scale));
        let mut metadata = self.provenance.to_metadata();
        metadata.insert(SCALING, scaling_hash(scales()));
        let weights = to_safetensors(&matrices, &numbers, dtype, &metadata)?;
        let config = serde_json::to_string_pretty(&stacked.to_peft(targets, &self.pairs))
            .expect("plain values are JSON");
        Ok((config.into_bytes(), weights))
    }

    /// Experts of a parameter in one pair again, as PEFT keeps them.
    fn stacked(&self) -> Self {
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
        Self {
            pairs: groups.into_iter().map(stack).collect(),
            ..self.clone()
        }
    }

    /// Every tensor by PEFT's name without the prefix, and all numbers one after another.
    fn laid_out(&self) -> (Vec<Param>, Vec<f32>) {
        let (mut matrices, mut numbers) = (Vec::new(), Vec::new());
        let mut push = |module: &str, role: Role, rows: usize, cols: usize, part: &[f32]| {
            matrices.push(Param {
                offset: numbers.len(),
                ..Param::new(module, role, (rows, cols))
            });
            numbers.extend_from_slice(part);
        };
        for (path, pair) in &self.pairs {
            let path = &self.module_of(path);
            push(path, Role::A, pair.rank, pair.width, &pair.a);
            push(path, Role::B, pair.out, pair.rank, &pair.b);
        }
        (matrices, numbers)
    }

    /// What PEFT's patterns and `target_parameters` call the module of a pair.
    fn pattern_path(&self, path: &str) -> String {
        match self.parameters.contains(path) {
            true => format!("{path}.weight"),
            false => path.to_owned(),
        }
    }

    /// The module that PEFT hangs a pair's tensors on.
    fn module_of(&self, path: &str) -> String {
        let Some((experts, name)) = path.rsplit_once('.').filter(|_| is_of_experts(path)) else {
            return path.to_owned();
        };
        let [inner, outer] = EXPERTS;
        let is_inside = name == inner && self.pairs.contains_key(&format!("{experts}.{outer}"));
        match is_inside {
            true => format!("{experts}.base_layer"),
            false => experts.to_owned(),
        }
    }

    /// The classic keys. The commonest rank and alpha are the general ones, the others patterns of whole paths. Ranks are
    /// those of `single` pairs, each expert by itself.
    fn to_peft(&self, targets: &[String], single: &BTreeMap<String, LoraPair>) -> Value {
        let of_one = |path: &String| {
            let first = format!("{path}[0]");
            single
                .get(path)
                .or_else(|| single.get(&first))
                .expect("a stack is made of pairs")
        };
        let pairs: BTreeMap<String, &LoraPair> = self
            .pairs
            .keys()
            .map(|path| (self.pattern_path(path), of_one(path)))
            .collect();
        let rank = commonest(pairs.values().map(|pair| pair.rank)).unwrap_or(8);
        let alpha_of = |pair: &LoraPair| pair.scale * pair.rank as f32;
        let alpha = commonest(pairs.values().map(|pair| alpha_of(pair).to_bits()))
            .map_or(8.0, f32::from_bits);
        let is_parameter = |path: &String| is_of_experts(path) || path.ends_with(".weight");
        let own = |of: &dyn Fn(&LoraPair) -> Value| -> Vec<(String, bool, Value)> {
            let entries = pairs.iter();
            entries
                .map(|(path, pair)| (path.clone(), is_parameter(path), of(pair)))
                .collect()
        };
        let (alpha, alpha_pattern) = patterns(number(alpha), &own(&|pair| number(alpha_of(pair))));
        let (rank, rank_pattern) = patterns(json!(rank), &own(&|pair| json!(pair.rank)));
        let parameters = self.pairs.keys().map(|path| self.pattern_path(path));
        let parameters: Vec<String> = parameters.filter(is_parameter).collect();
        let is_module = |name: &&String| {
            !parameters.contains(&self.pattern_path(name)) && expert_of(name).is_none()
        };
        let targets: Vec<&String> = targets.iter().filter(is_module).collect();
        let mut written = json!({
            "alpha_pattern": alpha_pattern,
            "base_model_name_or_path": self.provenance.base_name,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": number(self.dropout),
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": rank,
            "rank_pattern": rank_pattern,
            "revision": null,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        });
        if !parameters.is_empty() {
            written["target_parameters"] = json!(parameters);
        }
        written
    }

    /// Names for `target_modules` that fit any base: whole paths.
    pub fn paths(&self) -> Vec<String> {
        self.pairs.keys().cloned().collect()
    }

    /// Names for `target_modules` of an adapter on the same modules as `raw`: its own list, where that is one and
    /// nothing else narrows it, whole paths otherwise.
    pub fn target_names(&self, raw: &RawAdapter) -> Vec<String> {
        let settings = Settings::read(&raw.config, &mut vec![]);
        match settings.plain_targets() {
            Some(names) => names.to_vec(),
            None => self.paths(),
        }
    }

    /// Where PEFT's names begin.
    pub const PREFIX: &str = PREFIX;
}

/// The parameter and the number of an expert, from the path of its pair.
pub(crate) fn expert_of(path: &str) -> Option<(&str, usize)> {
    let (parameter, number) = path.strip_suffix(']')?.rsplit_once('[')?;
    Some((parameter, number.parse().ok()?))
}

/// The value that occurs most often; of several, the smallest.
fn commonest<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(value, _)| value)
}

impl LoraPair {
    /// `A` and `B` as they lie in a file, with what their product is multiplied with.
    fn of((a_shape, a): Held, (b_shape, b): Held, scale: f32) -> Self {
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
    fn by_expert(self, path: &str, experts: usize) -> Vec<(String, Self)> {
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
        let mut parts = LoraParts::default();
        parts.pairs.insert("a".into(), pair(1, 2.0));
        parts.pairs.insert("b".into(), pair(4, 0.5));
        let uniform = parts.uniform();
        for (path, pair) in &parts.pairs {
            let same = &uniform.pairs[path];
            assert_eq!((same.rank, same.scale), (4, 1.0));
            assert_eq!(product(same), product(pair), "{path}");
        }
    }
}
