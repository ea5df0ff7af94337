//! The one writer of adapters: two files as PEFT writes them, `adapter_config.json` and `adapter_model.safetensors`.
//!
//! An adapter that was trained and one that was made of others say what they are in [`PeftFiles`]; how that is spelled is said
//! here and nowhere else. Writing is plain, so that every reader understands it.

use std::collections::BTreeMap;
use std::path::Path;

use hone_ledger::write_whole;
use serde_json::{Map, Value, json};

use super::Adapter;
use super::config::TrainedBias;
use super::pairs::LowRank;
use super::peft::{CONFIG, PeftError, SaveDtype, WEIGHTS, make_dir};
use super::provenance::{Provenance, SCALING, scaling_hash};
use super::settings::{EXPERTS, is_of_experts, wrapped};
use super::spelling::{PREFIX, Role};
use super::table::{Param, less};
use super::targets::{exact_names, target_matches};
use super::weights::{AdapterWeights, expert_of};
use crate::arch::{DecoderConfig, Site};
use crate::weights::{TensorSpec, safetensors_header};

/// Everything that the two files of an adapter say.
#[derive(Default)]
struct PeftFiles {
    provenance: Provenance,
    is_transposed: bool,
    /// The general rank and alpha, as numbers of JSON.
    rank: Value,
    alpha: Value,
    pairs: Vec<WrittenPair>,
    targets: Value,
    parameters: Vec<String>,
    dropout: f32,
    rank_stabilised: bool,
    dora: bool,
    bias: TrainedBias,
    modules_to_save: Vec<String>,
    /// Embedding and head are one matrix, saved by both names.
    ties_weights: bool,
    token_rows: Option<Value>,
    /// IA³, and the modules whose inputs it multiplies.
    feed_forward: Option<Vec<String>>,
    params: Vec<Param>,
    /// Of all `params`, in the order of the file.
    numbers: Vec<f32>,
}

/// A low-rank pair, as patterns tell of it.
struct WrittenPair {
    /// What PEFT's patterns call its module.
    path: String,
    /// Whether PEFT adapts it as a parameter.
    is_parameter: bool,
    rank: usize,
    alpha: f32,
    scale: f32,
}

impl PeftFiles {
    /// Writes them into `dir`, each whole or not at all, the configuration last.
    fn save(&self, dir: &Path, dtype: SaveDtype) -> Result<(), PeftError> {
        let (config, weights) = self.to_bytes(dtype)?;
        make_dir(dir)?;
        write_whole(&dir.join(WEIGHTS), &weights)?;
        Ok(write_whole(&dir.join(CONFIG), &config)?)
    }

    /// Configuration, weights.
    fn to_bytes(&self, dtype: SaveDtype) -> Result<(Vec<u8>, Vec<u8>), PeftError> {
        let mut metadata = self.provenance.to_metadata();
        let scales = self
            .pairs
            .iter()
            .map(|pair| (pair.path.as_str().into(), pair.scale));
        metadata.insert(SCALING, scaling_hash(scales));
        let weights = to_safetensors(&self.params, &self.numbers, dtype, &metadata)?;
        let config = serde_json::to_string_pretty(&self.config());
        let config = config.expect("an object of plain values is JSON");
        Ok((config.into_bytes(), weights))
    }

    /// The keys that are used and the classic ones: PEFT from 0.6 on reads plain LoRA without a warning.
    fn config(&self) -> Value {
        if let Some(feed_forward) = &self.feed_forward {
            return json!({
                "base_model_name_or_path": self.provenance.base_name,
                "fan_in_fan_out": self.is_transposed,
                "feedforward_modules": feed_forward,
                "inference_mode": true,
                "init_ia3_weights": true,
                "modules_to_save": null,
                "peft_type": "IA3",
                "revision": null,
                "target_modules": self.targets,
                "task_type": "CAUSAL_LM",
            });
        }
        let (alpha, alpha_pattern) = self.patterns(&self.alpha, |pair| number(pair.alpha));
        let (rank, rank_pattern) = self.patterns(&self.rank, |pair| json!(pair.rank));
        let saved = &self.modules_to_save;
        let mut written = json!({
            "alpha_pattern": alpha_pattern,
            "base_model_name_or_path": self.provenance.base_name,
            "bias": self.bias.peft_name(),
            "fan_in_fan_out": self.is_transposed,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": alpha,
            "lora_dropout": number(self.dropout),
            "modules_to_save": (!saved.is_empty()).then_some(saved),
            "peft_type": "LORA",
            "r": rank,
            "rank_pattern": rank_pattern,
            "revision": null,
            "target_modules": self.targets,
            "task_type": "CAUSAL_LM",
            "use_dora": self.dora,
            "use_rslora": self.rank_stabilised,
        });
        if self.ties_weights {
            written["ensure_weight_tying"] = json!(true);
        }
        if !self.parameters.is_empty() {
            written["target_parameters"] = json!(self.parameters);
        }
        if let Some(rows) = &self.token_rows {
            written["trainable_token_indices"] = rows.clone();
        }
        written
    }

    /// A general value, and patterns for pairs that have another one.
    ///
    /// PEFT warns of a pattern that fits parameters alone. So a value that only parameters have becomes the general one, and
    /// parameters that share one with modules share their pattern too.
    fn patterns(&self, general: &Value, of: impl Fn(&WrittenPair) -> Value) -> (Value, Value) {
        let mut values: Vec<(Value, Vec<&WrittenPair>)> = Vec::new();
        for pair in &self.pairs {
            let value = of(pair);
            match values.iter_mut().find(|(own, _)| *own == value) {
                Some((_, with)) => with.push(pair),
                None => values.push((value, vec![pair])),
            }
        }
        let mut alone = values.iter();
        let alone = alone.find(|(_, with)| with.iter().all(|pair| pair.is_parameter));
        let general = alone.map_or(general, |(value, _)| value).clone();
        let mut patterns = Map::new();
        for (value, with) in values.iter().filter(|(value, _)| *value != general) {
            let paths: Vec<String> = with.iter().map(|pair| regex::escape(&pair.path)).collect();
            let keys = match with.iter().any(|pair| pair.is_parameter) {
                true => vec![format!("^(?:{})$", paths.join("|"))],
                false => paths.iter().map(|path| format!("^{path}$")).collect(),
            };
            patterns.extend(keys.into_iter().map(|key| (key, value.clone())));
        }
        (general, Value::Object(patterns))
    }
}

/// PEFT's own name for an adapter without targets.
const NO_TARGETS: &str = "dummy-target-modules";

impl Adapter {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, each whole or not at all, the
    /// configuration last.
    pub fn save(
        &self,
        dir: &Path,
        base: &DecoderConfig,
        provenance: &Provenance,
        dtype: SaveDtype,
    ) -> Result<(), PeftError> {
        self.to_peft(base, provenance)?.save(dir, dtype)
    }

    fn to_peft(
        &self,
        base: &DecoderConfig,
        provenance: &Provenance,
    ) -> Result<PeftFiles, PeftError> {
        let config = self.config();
        // What was subtracted doubles the rank; the scale stays what it was.
        let doubled = if self.start().is_some() { 2 } else { 1 };
        let stretched = match config.rank_stabilised {
            true => (doubled as f32).sqrt(),
            false => doubled as f32,
        };
        let pair = |m: &LowRank| WrittenPair {
            path: m.site.pattern_path(),
            is_parameter: m.site.place().is_parameter,
            rank: m.rank * doubled,
            alpha: m.alpha * stretched,
            scale: m.scale,
        };
        let (params, numbers) = self.to_disk(base)?;
        let mut targets = self.target_names(base);
        let feed_forward = config
            .ia3
            .is_some()
            .then(|| self.feed_forward_names(&mut targets));
        let name = |param: &Param| match param.site {
            Some(site) => site.path(),
            None => last(base.names.embedding.0),
        };
        let mut wholes = self.of_role(Role::Whole);
        Ok(PeftFiles {
            provenance: provenance.clone(),
            is_transposed: base.names.is_transposed,
            rank: json!(config.rank * doubled),
            alpha: number(config.alpha * stretched),
            pairs: self.members().map(pair).collect(),
            targets,
            parameters: self.parameter_names(base),
            dropout: config.dropout,
            rank_stabilised: config.rank_stabilised,
            dora: config.dora,
            bias: config.bias,
            modules_to_save: self.of_role(Role::Whole).map(name).collect(),
            ties_weights: base.tied_head && wholes.any(|own| own.site.is_none()),
            token_rows: self.token_rows(base),
            feed_forward,
            params,
            numbers,
        })
    }

    /// What it trains of one kind.
    fn of_role(&self, role: Role) -> impl Iterator<Item = &Param> {
        let params = self.layout.table.params().iter();
        params.filter(move |param| param.role() == role)
    }

    /// Its matrices and numbers in the order and form of the file.
    fn to_disk(&self, base: &DecoderConfig) -> Result<(Vec<Param>, Vec<f32>), PeftError> {
        let flat = self.parameters().to_vec()?;
        let start = self.start().map(|start| start.to_vec()).transpose()?;
        let (mut params, mut numbers) = (Vec::new(), Vec::new());
        for param in self.matrices() {
            let mut own = param.to_disk(&flat);
            let (mut rows, mut cols) = (param.rows, param.cols);
            if let Some(start) = &start {
                let start = param.to_disk(start);
                match param.role() {
                    // `B·A − B₀·A₀` is the product of `[B, −B₀]` and `A` over `A₀`.
                    Role::A => {
                        own.extend(start);
                        rows *= 2;
                    }
                    Role::B => {
                        own = less(&own, &start, cols);
                        cols *= 2;
                    }
                    _ => {}
                }
            }
            let offset = numbers.len();
            // A tied head is one matrix with the embedding; PEFT wants it by both names.
            if base.tied_head && param.site.is_none() && param.role() == Role::Whole {
                let head = Param::new(&base.head().path(), Role::Whole, (rows, cols));
                params.push(Param { offset, ..head });
            }
            params.push(Param {
                offset,
                rows,
                cols,
                ..param
            });
            numbers.extend(own);
        }
        Ok((params, numbers))
    }

    /// PEFT's `trainable_token_indices`: a list for the embedding, lists by module where the head has one too.
    fn token_rows(&self, base: &DecoderConfig) -> Option<Value> {
        let mut by_module = Map::new();
        let mut of_embedding = None;
        for own in self.of_role(Role::TokenRows) {
            let module = match own.site {
                Some(_) => base.names.head.module,
                None => base.names.embedding.0,
            };
            by_module.insert(last(module), json!(own.tokens));
            of_embedding = own.site.is_none().then(|| json!(own.tokens));
        }
        match by_module.len() {
            0 => None,
            1 => of_embedding.or(Some(by_module.into())),
            _ => Some(by_module.into()),
        }
    }

    /// PEFT's `target_parameters`: ends of paths if they pick exactly the adapted ones, whole paths otherwise.
    fn parameter_names(&self, base: &DecoderConfig) -> Vec<String> {
        let adapted: Vec<String> = self.members().filter_map(|m| m.site.parameter()).collect();
        let end = |path: &String| {
            let parts = if path.ends_with(".weight") { 2 } else { 1 };
            let from = path.rmatch_indices('.').nth(parts - 1);
            from.map_or(path.clone(), |(at, _)| path[at + 1..].to_owned())
        };
        let all = base.sites().into_iter().filter_map(|site| site.parameter());
        exact_names(adapted, end, all)
    }

    /// PEFT's `target_modules`: short names if they pick exactly the adapted projections, whole paths otherwise. PEFT passes
    /// over modules that are trained whole, so they may be named.
    fn target_names(&self, base: &DecoderConfig) -> Value {
        let modules = self.members().map(|m| m.site);
        let modules = modules.filter(|site| !site.place().is_parameter);
        let factors = self.of_role(Role::Factors).filter_map(|own| own.site);
        let adapted: Vec<String> = modules.chain(factors).map(|site| site.path()).collect();
        let has_embedding = self.of_role(Role::EmbeddingA).next().is_some();
        let embedding = has_embedding.then(|| last(base.names.embedding.0));
        if adapted.is_empty() && embedding.is_none() {
            return match self.members().next() {
                // Parameters alone.
                Some(_) => json!([]),
                None => json!(NO_TARGETS),
            };
        }
        let wholes: Vec<_> = self.of_role(Role::Whole).map(|own| own.site).collect();
        let may_be = |site: &Site| !site.place().is_parameter && !wholes.contains(&Some(*site));
        let all = base
            .sites()
            .into_iter()
            .filter(may_be)
            .map(|site| site.path());
        let names = exact_names(adapted, |path| last(path), all);
        json!(embedding.into_iter().chain(names).collect::<Vec<_>>())
    }

    /// Feed-forward modules of IA3 among its `targets`: PEFT wants the second among the first, name by name, so where a name
    /// means both kinds the targets become whole paths.
    fn feed_forward_names(&self, targets: &mut Value) -> Vec<String> {
        // Factors for inputs are a row, others a column.
        let factors = self.of_role(Role::Factors);
        let sites = factors.filter_map(|own| Some((own.site?.path(), own.rows == 1)));
        let sites: Vec<(String, bool)> = sites.collect();
        let names = targets.as_array().into_iter().flatten();
        let (mut feed_forward, mut is_mixed) = (Vec::new(), false);
        for name in names.filter_map(Value::as_str) {
            let named = sites.iter().filter(|(path, _)| target_matches(name, path));
            let inputs: Vec<bool> = named.map(|(_, is_input)| *is_input).collect();
            is_mixed |= inputs.contains(&true) && inputs.contains(&false);
            if inputs.contains(&true) {
                feed_forward.push(name.to_owned());
            }
        }
        if !is_mixed {
            return feed_forward;
        }
        *targets = json!(sites.iter().map(|(path, _)| path).collect::<Vec<_>>());
        let inputs = sites.into_iter().filter(|(_, is_input)| *is_input);
        inputs.map(|(path, _)| path).collect()
    }
}

impl AdapterWeights {
    /// Writes a PEFT directory, configuration last. `targets` become `target_modules`.
    pub fn save(&self, dir: &Path, dtype: SaveDtype, targets: &[String]) -> Result<(), PeftError> {
        self.to_peft(targets).save(dir, dtype)
    }

    /// The bytes of the two files: configuration, weights.
    pub(super) fn to_files(&self, dtype: SaveDtype) -> Result<(Vec<u8>, Vec<u8>), PeftError> {
        self.to_peft(&self.paths()).to_bytes(dtype)
    }

    /// The commonest rank and alpha are the general ones, the others patterns of whole paths. Ranks are those of single pairs,
    /// each expert by itself; the tensors of experts are stacked.
    fn to_peft(&self, targets: &[String]) -> PeftFiles {
        let stacked = self.stacked();
        let pair = |path: &String| {
            let first = self
                .pairs
                .get(path)
                .or_else(|| self.pairs.get(&format!("{path}[0]")));
            let of_one = first.expect("a stack is made of pairs");
            let is_weight = self.parameters.contains(path);
            WrittenPair {
                path: match is_weight {
                    true => format!("{path}.weight"),
                    false => path.clone(),
                },
                is_parameter: is_weight || is_of_experts(path),
                rank: of_one.rank,
                alpha: of_one.scale * of_one.rank as f32,
                scale: of_one.scale,
            }
        };
        let mut pairs: Vec<WrittenPair> = stacked.keys().map(pair).collect();
        pairs.sort_by(|one, other| one.path.cmp(&other.path));
        let rank = commonest(pairs.iter().map(|pair| pair.rank)).unwrap_or(8);
        let alpha = commonest(pairs.iter().map(|pair| pair.alpha.to_bits()));
        let parameters = pairs.iter().filter(|pair| pair.is_parameter);
        let parameters: Vec<String> = parameters.map(|pair| pair.path.clone()).collect();
        let is_module = |name: &&String| {
            let is_parameter = parameters.contains(name) || self.parameters.contains(*name);
            !is_parameter && expert_of(name).is_none()
        };
        let targets: Vec<&String> = targets.iter().filter(is_module).collect();
        let (mut params, mut numbers) = (Vec::new(), Vec::new());
        for (path, pair) in &stacked {
            let experts = path.rsplit_once('.').map_or("", |(experts, _)| experts);
            let outer = format!("{experts}.{}", EXPERTS[1]);
            let module = wrapped(path, stacked.contains_key(&outer));
            let halves = [
                (Role::A, (pair.rank, pair.width), &pair.a),
                (Role::B, (pair.out, pair.rank), &pair.b),
            ];
            for (role, shape, own) in halves {
                params.push(Param {
                    offset: numbers.len(),
                    ..Param::new(&module, role, shape)
                });
                numbers.extend_from_slice(own);
            }
        }
        PeftFiles {
            provenance: self.provenance.clone(),
            rank: json!(rank),
            alpha: number(alpha.map_or(8.0, f32::from_bits)),
            targets: json!(targets),
            pairs,
            parameters,
            dropout: self.dropout,
            params,
            numbers,
            ..PeftFiles::default()
        }
    }
}

/// The value that occurs most often; of several, the smallest.
fn commonest<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    let mut counts = counts.into_iter();
    let found = counts.find(|(_, count)| *count == most)?;
    Some(found.0)
}

/// The last part of a path.
fn last(path: &str) -> String {
    path.rsplit('.').next().unwrap_or(path).to_owned()
}

/// A safetensors file: header, numbers.
fn to_safetensors(
    matrices: &[Param],
    numbers: &[f32],
    dtype: SaveDtype,
    metadata: &BTreeMap<&str, String>,
) -> Result<Vec<u8>, PeftError> {
    let mut sorted: Vec<&Param> = matrices.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let spec = |matrix: &&Param| TensorSpec {
        name: format!("{PREFIX}{}", matrix.name),
        dtype: dtype.stored(),
        shape: matrix.shape(),
    };
    let specs: Vec<TensorSpec> = sorted.iter().map(spec).collect();
    let mut file = safetensors_header(&specs, metadata);
    for matrix in sorted {
        let part = &numbers[matrix.offset..][..matrix.size()];
        dtype
            .encode(part, &mut file)
            .map_err(|value| PeftError::OutOfRange {
                matrix: matrix.name.clone(),
                value,
                dtype,
            })?;
    }
    Ok(file)
}

/// Integers without a decimal point, as PEFT writes them.
fn number(x: f32) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e9 {
        return json!(x as i64);
    }
    // Through the shortest decimal form, so that 0.05 does not become 0.05000000074505806.
    x.to_string()
        .parse::<f64>()
        .map_or(Value::Null, |x| json!(x))
}
