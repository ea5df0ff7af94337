//! What is wrong with an adapter: everything, by name, before it is used.
//!
//! PEFT loads most damaged adapters and says a warning or nothing, and the model then answers without them. Here a
//! tensor that is missing, left over, of the wrong shape, there twice or not a number is an error, and so is a
//! configuration that says something else than the tensors. The model is not needed; with it the check also knows
//! which modules must be there, and whether this is the base that the adapter was trained on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::peft::{Provenance, SCALING, scaling_hash};
use super::peft_config::{EMBEDDINGS, HEADS, names_any};
use super::raw::{RawAdapter, RawTensor};
use super::runtimes::Facts;
use super::settings::{Settings, is_of_experts, layer_of};
use super::spelling::{PREFIX, Part, Spelled, read_name};
use crate::weights::{DecoderConfig, slots};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; the numbers are right.
    Note,
    /// Another reader, or another version, may take it differently.
    Warning,
    /// The adapter would do something else than it was trained to do.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing about an adapter that its user should know.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum Finding {
    #[error("`peft_type` is {found}, and Hone checks LORA and IA3")]
    UnknownMethod { found: String },
    #[error("`{key}` is {value}, and must be {must}")]
    BadSetting {
        key: String,
        value: String,
        must: &'static str,
    },
    #[error("`{key}` is given more than once in adapter_config.json")]
    RepeatedSetting { key: String },
    #[error("settings that no version of PEFT up to 0.21 knows: {}", keys.join(", "))]
    UnknownSettings { keys: Vec<String> },
    #[error("`{key}` is {value}, which Hone does not apply")]
    NotApplied { key: String, value: String },
    #[error(
        "the adapter was initialised by `{method}`, which changed the base; on the plain base it gives other numbers"
    )]
    ChangesBase { method: String },
    #[error("`{tensor}` is missing")]
    Missing { tensor: String },
    #[error(
        "{} adapted in some layers but not in {}: {modules}",
        if *is_one { "one module is" } else { "modules are" }, layers
    )]
    Uneven {
        modules: String,
        layers: String,
        is_one: bool,
    },
    #[error("`{tensor}` {why}")]
    Unexpected { tensor: String, why: String },
    #[error(
        "{count} of {of} tensors do not begin with `{PREFIX}`, so PEFT would pass over them and start at random"
    )]
    NoPrefix { count: usize, of: usize },
    #[error(
        "{count} tensors carry the adapter's own name (`lora_A.default.weight`), as PEFT does not write them"
    )]
    NamesAdapter { count: usize },
    #[error("`{tensor}` has shape {found:?}, and must be {must}")]
    Misshaped {
        tensor: String,
        found: Vec<usize>,
        must: String,
    },
    #[error("the configuration gives `{module}` rank {says}, but its tensors have rank {found}")]
    OtherRank {
        module: String,
        says: usize,
        found: usize,
    },
    #[error("`{tensor}` is there twice{how}")]
    Duplicate { tensor: String, how: &'static str },
    #[error("element {at} of `{tensor}` is {value}")]
    NotFinite {
        tensor: String,
        at: usize,
        value: f32,
    },
    #[error("`{tensor}` is stored as {dtype}, not as floating-point numbers of 16 or 32 bits")]
    NotNumbers { tensor: String, dtype: String },
    #[error("{what}")]
    Contradiction { what: String },
    #[error("`{key}` has `{pattern}`, which matches no adapted module")]
    IdlePattern { key: &'static str, pattern: String },
    #[error(
        "`{key}` has `{first}` and `{second}`, which both match `{module}`; PEFT sorts them when it saves, so which one wins may change"
    )]
    OverlappingPatterns {
        key: &'static str,
        first: String,
        second: String,
        module: String,
    },
    #[error("no tensor of the adapter changes the model")]
    Empty,
    #[error("every `B` is zero, so the adapter changes nothing yet")]
    Untrained,
    #[error("its targets {targets} match no projection of this model")]
    NoTarget { targets: String },
    #[error(
        "it was trained on another base: fingerprint {trained_on}, and this base has {this_base}"
    )]
    OtherBase {
        trained_on: String,
        this_base: String,
    },
    #[error(
        "it was trained with another chat template: hash {trained_with}, and this base has {this_base}"
    )]
    OtherTemplate {
        trained_with: String,
        this_base: String,
    },
    #[error(
        "it brings {tokens} tokens that the base does not have, so the vocabulary grows to {vocab_size}; PEFT wants `resize_token_embeddings({vocab_size})` before it loads it"
    )]
    Grows { tokens: usize, vocab_size: usize },
    #[error("rank, alpha or scaling were edited after it was saved")]
    EditedScaling,
    #[error(
        "the adapter does not say which weights it was trained on, so another revision or another quantisation of its base goes unnoticed"
    )]
    NoFingerprint,
    #[error("its base is named as the path of a machine: {name}")]
    LocalBaseName { name: String },
}

/// The first twelve digits of a hash.
fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

impl Finding {
    /// Whether an adapter names another base than this one.
    pub(super) fn other_base(provenance: &Provenance, this_base: &str) -> Option<Self> {
        let trained_on = provenance.base_fingerprint.as_deref()?;
        (trained_on != this_base).then(|| Self::OtherBase {
            trained_on: short(trained_on),
            this_base: short(this_base),
        })
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::UnknownSettings { .. }
            | Self::Uneven { .. }
            | Self::NamesAdapter { .. }
            | Self::IdlePattern { .. } => Severity::Warning,
            Self::Untrained
            | Self::NoFingerprint
            | Self::LocalBaseName { .. }
            | Self::Grows { .. } => Severity::Note,
            _ => Severity::Error,
        }
    }

    /// What is wrong, if every program would go wrong with it; names, patterns and other bases are judged program by
    /// program.
    fn damage(&self) -> Option<String> {
        let is_judged = matches!(
            self,
            Self::NoPrefix { .. } | Self::OverlappingPatterns { .. } | Self::ChangesBase { .. }
        );
        (self.severity() == Severity::Error && !is_judged).then(|| self.to_string())
    }

    /// Its name for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownMethod { .. } => "unknown-method",
            Self::BadSetting { .. } => "bad-setting",
            Self::RepeatedSetting { .. } => "repeated-setting",
            Self::UnknownSettings { .. } => "unknown-settings",
            Self::NotApplied { .. } => "not-applied",
            Self::ChangesBase { .. } => "changes-base",
            Self::Missing { .. } => "missing",
            Self::Uneven { .. } => "uneven",
            Self::Unexpected { .. } => "unexpected",
            Self::NoPrefix { .. } => "no-prefix",
            Self::NamesAdapter { .. } => "names-adapter",
            Self::Misshaped { .. } => "misshaped",
            Self::OtherRank { .. } => "other-rank",
            Self::Duplicate { .. } => "duplicate",
            Self::NotFinite { .. } => "not-finite",
            Self::NotNumbers { .. } => "not-numbers",
            Self::Contradiction { .. } => "contradiction",
            Self::IdlePattern { .. } => "idle-pattern",
            Self::OverlappingPatterns { .. } => "overlapping-patterns",
            Self::Empty => "empty",
            Self::Untrained => "untrained",
            Self::NoTarget { .. } => "no-target",
            Self::OtherBase { .. } => "other-base",
            Self::OtherTemplate { .. } => "other-template",
            Self::Grows { .. } => "grows",
            Self::EditedScaling => "edited-scaling",
            Self::NoFingerprint => "no-fingerprint",
            Self::LocalBaseName { .. } => "local-base-name",
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::ChangesBase { .. } => {
                "save it with PEFT's save_pretrained(path_initial_model_for_weight_conversion=…), which makes it a plain LoRA"
            }
            Self::NoPrefix { .. } | Self::NamesAdapter { .. } => {
                "`hone adapter check --for peft --fix OUT` writes the names that PEFT reads"
            }
            Self::OverlappingPatterns { .. } => {
                "`hone adapter check --for vllm --fix OUT` puts ranks and alphas into the numbers and needs no patterns"
            }
            Self::OtherBase { .. } | Self::OtherTemplate { .. } => {
                "name the base that the adapter was trained on with --model"
            }
            Self::Uneven { .. } => "with --model the check knows which modules must be there",
            Self::NotFinite { .. } => {
                "train it again with a lower learning rate, or fetch it again"
            }
            Self::Missing { .. } | Self::Duplicate { .. } => {
                "fetch or save the adapter again; where PEFT loads it without a warning, please report it to Hone"
            }
            _ => return None,
        })
    }
}

/// The base that an adapter is checked against.
#[derive(Clone, Copy, Debug)]
pub struct CheckedBase<'a> {
    /// Its shape, with the tokens that the adapter brings.
    pub config: &'a DecoderConfig,
    /// How many of its tokens the adapter brings: those that its files do not have.
    pub new_tokens: usize,
    /// Hash of its weights.
    pub fingerprint: Option<&'a str>,
    /// Hash of its chat template.
    pub template_hash: Option<&'a str>,
}

/// What a check found.
#[derive(Debug)]
pub struct AdapterCheck {
    /// Everything there is to say, errors first.
    pub findings: Vec<Finding>,
    /// What the adapter is, as far as others care.
    pub facts: Facts,
}

impl AdapterCheck {
    /// Whether it does what it was trained to do.
    pub fn is_sound(&self) -> bool {
        self.errors().next().is_none()
    }

    /// The findings that are errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        let is_error = |finding: &&Finding| finding.severity() == Severity::Error;
        self.findings.iter().filter(is_error)
    }
}

/// Looks at everything that can be wrong with an adapter, with or without the base that it is for.
pub fn check_adapter(raw: &RawAdapter, base: Option<CheckedBase>) -> AdapterCheck {
    let mut findings: Vec<Finding> = raw
        .repeated_settings
        .iter()
        .map(|key| Finding::RepeatedSetting { key: key.clone() })
        .collect();
    let method = raw.config.get("peft_type").unwrap_or(&Value::Null);
    if method != "LORA" && method != "IA3" {
        let found = method.to_string();
        findings.push(Finding::UnknownMethod { found });
        let facts = Facts {
            damage: findings.iter().find_map(Finding::damage),
            ..Facts::default()
        };
        return AdapterCheck { findings, facts };
    }
    let settings = Settings::read(&raw.config, &mut findings);
    if let Some(method) = &settings.changes_base {
        let method = method.clone();
        findings.push(Finding::ChangesBase { method });
    }
    let mut checker = Checker {
        raw,
        settings: &settings,
        modules: BTreeMap::new(),
        findings,
        grows: base.is_some_and(|base| base.new_tokens > 0),
    };
    checker.sort_out();
    checker.look_at_numbers();
    checker.look_at_modules();
    checker.look_at_patterns();
    match base {
        Some(base) => checker.compare_with(base),
        None => checker.compare_layers(),
    }
    checker.look_at_provenance(base);
    let mut facts = Facts::of(&settings, &checker.modules, raw);
    facts.new_tokens = base.map_or(0, |base| base.new_tokens);
    let mut findings = checker.findings;
    facts.damage = findings.iter().find_map(Finding::damage);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    AdapterCheck { findings, facts }
}

/// The tensors of each module, by their part.
pub(crate) type Modules<'a> = BTreeMap<String, BTreeMap<Part, &'a RawTensor>>;

struct Checker<'a> {
    raw: &'a RawAdapter,
    settings: &'a Settings,
    modules: Modules<'a>,
    findings: Vec<Finding>,
    /// Whether it brings tokens that the base does not have.
    grows: bool,
}

impl<'a> Checker<'a> {
    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Gives every tensor its place in a module; what has none, or comes second, is reported.
    fn sort_out(&mut self) {
        let (mut without_prefix, mut with_name) = (0, 0);
        for tensor in &self.raw.tensors {
            let Some(spelled) = read_name(&tensor.name) else {
                let why = "is no tensor of an adapter".into();
                self.report(Finding::Unexpected {
                    tensor: tensor.name.clone(),
                    why,
                });
                continue;
            };
            without_prefix += usize::from(!spelled.has_prefix);
            with_name += usize::from(spelled.names_adapter);
            self.place(tensor, &spelled);
        }
        let of = self.raw.tensors.len();
        if without_prefix > 0 {
            let count = without_prefix;
            self.report(Finding::NoPrefix { count, of });
        }
        if with_name > 0 {
            self.report(Finding::NamesAdapter { count: with_name });
        }
        if of == 0 {
            self.report(Finding::Empty);
        }
    }

    fn place(&mut self, tensor: &'a RawTensor, spelled: &Spelled) {
        let path = self.settings.path_of(spelled.module, self.raw);
        let parts = self.modules.entry(path).or_default();
        if let Some(other) = parts.insert(spelled.part, tensor) {
            let how = match other.name == tensor.name {
                true => "",
                false => ", under two spellings",
            };
            let tensor = tensor.name.clone();
            self.report(Finding::Duplicate { tensor, how });
        }
    }

    fn look_at_numbers(&mut self) {
        let (mut has_b, mut moves) = (false, false);
        for tensor in &self.raw.tensors {
            let Some(numbers) = self.raw.numbers(tensor) else {
                self.report(Finding::NotNumbers {
                    tensor: tensor.name.clone(),
                    dtype: tensor.dtype.clone(),
                });
                continue;
            };
            if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
                self.report(Finding::NotFinite {
                    tensor: tensor.name.clone(),
                    at,
                    value: numbers[at],
                });
            }
            let part = read_name(&tensor.name).map(|spelled| spelled.part);
            let is_b = part == Some(Part::B);
            has_b |= is_b;
            moves |= !matches!(part, Some(Part::A | Part::B))
                || is_b && numbers.iter().any(|x| *x != 0.0);
        }
        if has_b && !moves {
            self.report(Finding::Untrained);
        }
    }

    fn look_at_modules(&mut self) {
        let modules = std::mem::take(&mut self.modules);
        for (path, parts) in &modules {
            self.look_at_module(path, parts);
        }
        self.modules = modules;
        self.look_at_what_is_promised();
    }

    fn look_at_module(&mut self, path: &str, parts: &BTreeMap<Part, &RawTensor>) {
        let pair = |a, b| parts.contains_key(&a) || parts.contains_key(&b);
        if pair(Part::A, Part::B) {
            self.look_at_pair(
                path,
                parts,
                (Part::A, "lora_A.weight"),
                (Part::B, "lora_B.weight"),
            );
        }
        if pair(Part::EmbeddingA, Part::EmbeddingB) {
            let (a, b) = (
                (Part::EmbeddingA, "lora_embedding_A"),
                (Part::EmbeddingB, "lora_embedding_B"),
            );
            self.look_at_pair(path, parts, a, b);
        }
        if let Some(rows) = parts.get(&Part::TokenRows)
            && rows.shape.first() != Some(&self.settings.tokens_at(path).len())
        {
            let count = self.settings.tokens_at(path).len();
            self.report(Finding::Misshaped {
                tensor: rows.name.clone(),
                found: rows.shape.clone(),
                must: format!(
                    "[{count}, width], as `trainable_token_indices` names {count} tokens"
                ),
            });
        }
        let adapted = pair(Part::A, Part::B) || pair(Part::EmbeddingA, Part::EmbeddingB);
        for (part, tensor) in parts {
            let why = match part {
                Part::A | Part::B | Part::EmbeddingA | Part::EmbeddingB
                    if !self.settings.targets(path) =>
                {
                    "is on a module that `target_modules` does not name"
                }
                Part::Magnitude | Part::OutBias if !adapted => "belongs to no adapted module",
                Part::Magnitude if !self.settings.dora => {
                    "holds DoRA's magnitudes, but `use_dora` is false: PEFT would leave them out"
                }
                Part::OutBias if !self.settings.out_bias => {
                    "is a bias of `B`, but `lora_bias` is false"
                }
                Part::BaseBias if self.settings.bias == "none" => {
                    "is a bias of the base, but `bias` is none"
                }
                Part::BaseWeight
                    if !self.settings.targets(path) && !parts.contains_key(&Part::TokenRows) =>
                {
                    "is a matrix of the base on a module that `target_modules` does not name"
                }
                Part::TokenRows if !self.settings.token_rows => {
                    "holds rows of tokens, but `trainable_token_indices` is not set"
                }
                Part::Weight if !self.settings.saves_whole(path) && !self.is_copy(path) => {
                    "is a whole matrix, but `modules_to_save` does not name it"
                }
                Part::Bias if self.settings.bias != "all" && !self.settings.saves_whole(path) => {
                    "is a whole bias, but neither `bias` nor `modules_to_save` names it"
                }
                Part::Factors if self.settings.feed_forward.is_some() => {
                    match self.settings.targets(path) {
                        false => "is on a module that `target_modules` does not name",
                        true => continue,
                    }
                }
                Part::A | Part::B | Part::EmbeddingA | Part::EmbeddingB
                    if self.settings.feed_forward.is_some() =>
                {
                    "belongs to LoRA, and `peft_type` is IA3"
                }
                Part::Factors | Part::Foreign => "belongs to another method than LoRA",
                _ => continue,
            };
            self.report(Finding::Unexpected {
                tensor: tensor.name.clone(),
                why: why.into(),
            });
        }
        if adapted && self.settings.dora && !parts.contains_key(&Part::Magnitude) {
            let tensor = format!("{PREFIX}{path}.lora_magnitude_vector");
            self.report(Finding::Missing { tensor });
        }
        if adapted && self.settings.out_bias && !parts.contains_key(&Part::OutBias) {
            let tensor = format!("{PREFIX}{path}.lora_B.bias");
            self.report(Finding::Missing { tensor });
        }
    }

    /// Whether a whole matrix is one that PEFT saves because the vocabulary grew: `modules_to_save` does not name it, and
    /// PEFT loads it all the same.
    fn is_copy(&self, path: &str) -> bool {
        let is_end = names_any(path, &EMBEDDINGS) || names_any(path, &HEADS);
        is_end && (self.grows || self.settings.token_rows)
    }

    /// Both halves, two axes each, one rank, and that the one which the configuration gives.
    fn look_at_pair(
        &mut self,
        path: &str,
        parts: &BTreeMap<Part, &RawTensor>,
        a: (Part, &str),
        b: (Part, &str),
    ) {
        let mut ranks = Vec::new();
        for ((part, end), rank_axis) in [(a, 0), (b, 1)] {
            let Some(tensor) = parts.get(&part) else {
                let tensor = format!("{PREFIX}{path}.{end}");
                self.report(Finding::Missing { tensor });
                continue;
            };
            if tensor.shape.len() != 2 || tensor.len() == 0 {
                self.report(Finding::Misshaped {
                    tensor: tensor.name.clone(),
                    found: tensor.shape.clone(),
                    must: "a matrix with rows and columns".into(),
                });
                continue;
            }
            ranks.push((tensor, tensor.shape[rank_axis]));
        }
        if let [(_, a), (tensor, b)] = ranks[..]
            && a != b
        {
            self.report(Finding::Misshaped {
                tensor: tensor.name.clone(),
                found: tensor.shape.clone(),
                must: format!("[out, {a}], as its `A` has {a} rows"),
            });
            return;
        }
        let says = self.settings.rank_of(path);
        let is_wrong = |found: usize| match is_of_experts(path) {
            // One after the other; how many there are, the base knows.
            true => !found.is_multiple_of(says),
            false => found != says,
        };
        if let Some((_, found)) = ranks.first().filter(|(_, found)| is_wrong(*found)) {
            self.report(Finding::OtherRank {
                module: path.to_owned(),
                says,
                found: *found,
            });
        }
        if let Some(magnitude) = parts.get(&Part::Magnitude)
            && let Some(b) = parts.get(&b.0).filter(|b| b.shape.len() == 2)
            && magnitude.shape != [b.shape[0]]
        {
            self.report(Finding::Misshaped {
                tensor: magnitude.name.clone(),
                found: magnitude.shape.clone(),
                must: format!("[{}], one length for each output", b.shape[0]),
            });
        }
    }

    /// What the configuration promises and no tensor keeps.
    fn look_at_what_is_promised(&mut self) {
        let holds = |name: &str, part: Part| {
            self.modules
                .iter()
                .any(|(path, parts)| parts.contains_key(&part) && super::target_matches(name, path))
        };
        let missing: Vec<String> = self
            .settings
            .modules_to_save
            .iter()
            .filter(|name| !holds(name, Part::Weight) && !holds(name, Part::BaseWeight))
            .cloned()
            .collect();
        for name in missing {
            let tensor = format!("{PREFIX}….{name}.weight");
            self.report(Finding::Missing { tensor });
        }
        let idle = |name: &&String| {
            let mut paths = self.modules.keys();
            !paths.any(|path| {
                let weight = format!("{path}.weight");
                super::target_matches(name, path) || super::target_matches(name, &weight)
            })
        };
        let idle: Vec<String> = self
            .settings
            .parameters
            .iter()
            .filter(idle)
            .cloned()
            .collect();
        for name in idle {
            let what =
                format!("`target_parameters` names `{name}`, and no tensor is on such a parameter");
            self.report(Finding::Contradiction { what });
        }
        let refused = [
            (self.settings.dora, "use_dora"),
            (self.settings.out_bias, "lora_bias"),
            (self.settings.dropout > 0.0, "lora_dropout"),
        ];
        for (_, key) in refused
            .iter()
            .filter(|row| row.0 && !self.settings.parameters.is_empty())
        {
            let what = format!("`{key}` is set beside `target_parameters`, which PEFT refuses");
            self.report(Finding::Contradiction { what });
        }
        let has = |part| self.modules.values().any(|parts| parts.contains_key(&part));
        if self.settings.token_rows && !has(Part::TokenRows) {
            let tensor = format!("{PREFIX}….token_adapter.trainable_tokens_delta");
            self.report(Finding::Missing { tensor });
        }
        if let super::settings::Names::List(names) = &self.settings.targets {
            let idle = |name: &&String| {
                let mut paths = self.modules.keys();
                !paths.any(|path| super::target_matches(name, path))
            };
            let idle: Vec<String> = names.iter().filter(idle).cloned().collect();
            for name in idle {
                let what =
                    format!("`target_modules` names `{name}`, and no tensor is on such a module");
                self.report(Finding::Contradiction { what });
            }
        } else if matches!(self.settings.targets, super::settings::Names::Unsaid)
            && self.settings.parameters.is_empty()
        {
            let what = "`target_modules` names nothing".into();
            self.report(Finding::Contradiction { what });
        }
    }

    fn look_at_patterns(&mut self) {
        let adapted: Vec<String> = self.adapted();
        let adapted: Vec<String> = adapted
            .iter()
            .map(|path| self.settings.pattern_path(path))
            .collect();
        let kinds = [
            ("rank_pattern", &self.settings.rank_patterns),
            ("alpha_pattern", &self.settings.alpha_patterns),
        ];
        for (key, patterns) in kinds {
            for (at, pattern) in patterns.iter().enumerate() {
                let hits: Vec<&String> =
                    adapted.iter().filter(|path| pattern.picks(path)).collect();
                if hits.is_empty() {
                    let pattern = pattern.key.clone();
                    self.report(Finding::IdlePattern { key, pattern });
                }
                let later = patterns[at + 1..]
                    .iter()
                    .filter(|later| later.value != pattern.value);
                let both = later
                    .filter_map(|later| Some((later, hits.iter().find(|path| later.picks(path))?)));
                let overlaps: Vec<Finding> = both
                    .map(|(later, module)| Finding::OverlappingPatterns {
                        key,
                        first: pattern.key.clone(),
                        second: later.key.clone(),
                        module: (*module).clone(),
                    })
                    .collect();
                self.findings.extend(overlaps.into_iter().take(1));
            }
        }
    }

    /// Paths of the modules with an adapter.
    fn adapted(&self) -> Vec<String> {
        let is_adapted = |parts: &BTreeMap<Part, &RawTensor>| {
            let kinds = [
                Part::A,
                Part::B,
                Part::EmbeddingA,
                Part::EmbeddingB,
                Part::Factors,
            ];
            kinds.iter().any(|part| parts.contains_key(part))
        };
        let adapted = self.modules.iter().filter(|(_, parts)| is_adapted(parts));
        adapted.map(|(path, _)| path.clone()).collect()
    }

    /// Without the model: a module that some layers have adapted, and others not.
    fn compare_layers(&mut self) {
        let adapted = self.adapted();
        let layers: BTreeSet<usize> = adapted.iter().filter_map(|path| layer_of(path)).collect();
        let mut of_kind: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for path in &adapted {
            if let Some(layer) = layer_of(path) {
                let (_, kind) = path.split_once(&format!(".{layer}.")).unwrap_or(("", path));
                of_kind.entry(kind).or_default().insert(layer);
            }
        }
        let complete = |kind: &&str| of_kind[*kind].len() == layers.len();
        let uneven: Vec<&str> = of_kind
            .keys()
            .filter(|kind| !complete(kind))
            .copied()
            .collect();
        let lacking = uneven
            .iter()
            .flat_map(|kind| layers.difference(&of_kind[kind]));
        let lacking: BTreeSet<usize> = lacking.copied().collect();
        if !uneven.is_empty() {
            let numbers: Vec<String> = lacking.iter().map(usize::to_string).collect();
            let finding = Finding::Uneven {
                modules: uneven.join(", "),
                layers: format!("layer {}", numbers.join(", ")),
                is_one: uneven.len() == 1,
            };
            self.report(finding);
        }
    }

    /// With the model: every module that the configuration names, no other, each of its shape.
    fn compare_with(&mut self, base: CheckedBase) {
        let config = base.config;
        let sites: BTreeMap<String, (usize, usize)> = config
            .sites()
            .into_iter()
            .map(|site| (site.path(), config.projection(site)))
            .collect();
        let mut shapes: BTreeMap<String, (usize, usize)> = slots(config)
            .map(|slot| (slot.name, (slot.rows, slot.cols)))
            .collect();
        if config.tied_head {
            // PEFT may save the one matrix by both its names.
            let head = format!("{}.weight", config.names.head.module);
            shapes.insert(head, (config.vocab_size, config.d_model));
        }
        let adapted = self.adapted();
        let named = sites.keys().filter(|path| self.settings.targets(path));
        let missing: Vec<String> = named
            .filter(|path| !adapted.contains(path))
            .map(|path| match self.settings.feed_forward.is_some() {
                true => format!("{PREFIX}{path}.ia3_l"),
                false => format!("{PREFIX}{path}.lora_A.weight"),
            })
            .collect();
        if self.settings.transposed && !config.names.is_transposed {
            let (key, value) = ("fan_in_fan_out".to_owned(), "true".to_owned());
            let must = "false: the linear layers of this base are not stored the other way round";
            self.report(Finding::BadSetting { key, value, must });
        }
        let vocab = config.vocab_size;
        if base.new_tokens > 0 {
            let (tokens, vocab_size) = (base.new_tokens, vocab);
            self.report(Finding::Grows { tokens, vocab_size });
        }
        let mut ids = self
            .settings
            .token_ids
            .iter()
            .chain(&self.settings.head_ids);
        if let Some(id) = ids.find(|id| **id as usize >= vocab) {
            let what = format!(
                "`trainable_token_indices` names token {id}, and this model has {vocab}: was the vocabulary resized?"
            );
            self.report(Finding::Contradiction { what });
        }
        if adapted.is_empty() && missing.is_empty() && !self.modules.is_empty() {
            let targets = self
                .raw
                .config
                .get("target_modules")
                .map_or("nothing".into(), Value::to_string);
            self.report(Finding::NoTarget { targets });
        }
        for tensor in missing {
            self.report(Finding::Missing { tensor });
        }
        let modules = std::mem::take(&mut self.modules);
        for site in config.sites() {
            let (path, copies) = (site.path(), config.copies(site));
            let a = modules.get(&path).and_then(|parts| parts.get(&Part::A));
            let rows = self.settings.rank_of(&path) * copies;
            let is_wrong = |a: &&&RawTensor| {
                site.place().group.is_of_experts() && a.shape.first() != Some(&rows)
            };
            if let Some(a) = a.filter(is_wrong) {
                self.report(Finding::Misshaped {
                    tensor: a.name.clone(),
                    found: a.shape.clone(),
                    must: format!("[{rows}, in], for the {copies} experts of this model"),
                });
            }
        }
        for (path, parts) in &modules {
            for (part, tensor) in parts {
                let must = match part {
                    Part::A => sites.get(path).map(|(_, width)| (1, *width)),
                    Part::B | Part::OutBias | Part::Magnitude => {
                        sites.get(path).map(|(out, _)| (0, *out))
                    }
                    Part::EmbeddingA => shapes
                        .get(&format!("{path}.weight"))
                        .map(|(rows, _)| (1, *rows)),
                    Part::EmbeddingB => shapes
                        .get(&format!("{path}.weight"))
                        .map(|(_, cols)| (0, *cols)),
                    Part::TokenRows => shapes
                        .get(&format!("{path}.weight"))
                        .map(|(_, cols)| (1, *cols)),
                    Part::Weight | Part::BaseWeight => {
                        let has_axis = |axis, size| tensor.shape.get(axis) == Some(&size);
                        let shape = shapes.get(&format!("{path}.weight"));
                        shape.map(|&(rows, cols)| match has_axis(1, cols) && rows > 1 {
                            true => (0, rows),
                            false => (1, cols),
                        })
                    }
                    Part::Bias | Part::BaseBias => shapes
                        .get(&format!("{path}.bias"))
                        .map(|(_, cols)| (0, *cols)),
                    Part::Factors => {
                        let is_input = self.settings.scales_input(path);
                        let size = |(out, width): &(usize, usize)| match is_input {
                            true => (1, *width),
                            false => (0, *out),
                        };
                        sites.get(path).map(size)
                    }
                    Part::Foreign => continue,
                };
                let Some((axis, size)) = must else {
                    let why = "is on a module that this model does not have".into();
                    let tensor = tensor.name.clone();
                    self.report(Finding::Unexpected { tensor, why });
                    continue;
                };
                // A vector's only axis is its last.
                let axis = axis.min(tensor.shape.len().saturating_sub(1));
                if tensor.shape.get(axis) != Some(&size) {
                    self.report(Finding::Misshaped {
                        tensor: tensor.name.clone(),
                        found: tensor.shape.clone(),
                        must: format!("{size} along axis {axis} in this model"),
                    });
                }
            }
        }
        self.modules = modules;
    }

    fn look_at_provenance(&mut self, base: Option<CheckedBase>) {
        let provenance = self.raw.provenance();
        let fingerprint = base.and_then(|base| base.fingerprint);
        if let Some(finding) = fingerprint.and_then(|base| Finding::other_base(&provenance, base)) {
            self.report(finding);
        }
        if let (Some(trained_with), Some(this_base)) = (
            &provenance.template_hash,
            base.and_then(|base| base.template_hash),
        ) && trained_with != this_base
        {
            self.report(Finding::OtherTemplate {
                trained_with: short(trained_with),
                this_base: short(this_base),
            });
        }
        let linear = self
            .modules
            .iter()
            .filter(|(_, parts)| parts.contains_key(&Part::A));
        let scaling = linear.map(|(path, _)| {
            (
                self.settings.pattern_path(path),
                self.settings.scale_of(path),
            )
        });
        let scaling: Vec<(String, f32)> = scaling.collect();
        let scaling = scaling_hash(scaling.iter().map(|(path, scale)| (path.as_str(), *scale)));
        let saved = self.raw.metadata.get(SCALING);
        if saved.is_some_and(|saved| *saved != scaling) {
            self.report(Finding::EditedScaling);
        }
        if provenance.base_fingerprint.is_none() {
            self.report(Finding::NoFingerprint);
        }
        if let Some(name) = provenance
            .base_name
            .filter(|name| name.starts_with(['/', '.', '~']))
        {
            self.report(Finding::LocalBaseName { name });
        }
    }
}
