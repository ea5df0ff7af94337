//! `adapter_config.json` as PEFT understands it: which modules it names, with which rank and strength.
//!
//! Reading goes on after a mistake, so that a check can name all of them; what could not be read stands at PEFT's
//! default.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value};

use super::config::{Ia3, LoraConfig, MOST_RANK, Targets, TrainedBias, scale};
use super::finding::Finding;
use super::targets::{
    EMBEDDINGS, HEADS, Names, is_inside, names_any, path_pattern, target_matches,
};
use crate::arch::DecoderConfig;
use crate::one_line::one_line;

/// What the configuration says, as far as Hone knows what it means.
#[derive(Debug)]
pub(crate) struct Settings {
    pub rank: usize,
    pub alpha: f32,
    pub rank_stabilised: bool,
    pub dora: bool,
    pub out_bias: bool,
    pub bias: TrainedBias,
    pub dropout: f32,
    pub targets: Names,
    /// PEFT's `target_parameters`: routers and experts, whole paths or their ends after a dot.
    pub parameters: Vec<String>,
    pub exclude: Names,
    pub layers: Vec<usize>,
    /// What the list of layers is called in paths; `None` for one that cannot be matched.
    layer_patterns: Vec<Option<Regex>>,
    pub rank_patterns: Vec<Pattern>,
    pub alpha_patterns: Vec<Pattern>,
    pub modules_to_save: Vec<String>,
    /// PEFT's `ensure_weight_tying`.
    pub ties_weights: bool,
    pub token_rows: bool,
    /// Which tokens' rows of the embedding are trained.
    pub token_ids: Vec<u32>,
    /// Which tokens' rows of the head are trained, where it is named.
    pub head_ids: Vec<u32>,
    /// IA³: modules whose inputs are multiplied; of the others it is the outputs. `None` for LoRA.
    pub feed_forward: Option<Names>,
    /// Linear layers of the base are said to be stored the other way round.
    pub transposed: bool,
    /// The initialisation, where it changed the base's own weights.
    pub changes_base: Option<String>,
}

/// A value for some modules: PEFT matches `(.*\.)?(key)$` from the beginning of the path, first match first.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub key: String,
    pub value: f64,
    regex: Regex,
}

impl Pattern {
    pub fn picks(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }
}

/// Keys of PEFT 0.21's configurations of LoRA and IA³ that change no number of a finished adapter.
const HARMLESS: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "revision",
    "peft_version",
    "loftq_config",
    "corda_config",
    "eva_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
];

/// Keys of methods within LoRA that Hone does not know how to apply.
const NOT_APPLIED: [&str; 8] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
    "velora_config",
];

const TASKS: [&str; 6] = [
    "SEQ_CLS",
    "SEQ_2_SEQ_LM",
    "CAUSAL_LM",
    "TOKEN_CLS",
    "QUESTION_ANS",
    "FEATURE_EXTRACTION",
];

/// Initialisations that leave the base as it is; the others subtract from it, and PEFT does so again when it loads.
const HARMLESS_INITS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

impl Settings {
    /// Reads the configuration of a LoRA or an IA³; every mistake becomes a finding. Of other methods nothing else is said.
    pub fn read(map: &Map<String, Value>, findings: &mut Vec<Finding>) -> Self {
        let mut reader = Reader {
            map,
            findings: Vec::new(),
            read: BTreeSet::new(),
        };
        let method = reader.get("peft_type").unwrap_or(&Value::Null);
        let is_ia3 = method == "IA3";
        let must = "null, CAUSAL_LM or another of PEFT's tasks";
        let is_task = |task: &Value| task.as_str().is_some_and(|task| TASKS.contains(&task));
        reader.read("task_type", (), must, |task| is_task(task).then_some(()));
        let (token_ids, head_ids) = reader.token_ids();
        let settings = Self {
            rank: reader.number("r", 8.0, A_RANK, is_rank) as usize,
            alpha: reader.number("lora_alpha", 8.0, "a number", |_| true) as f32,
            rank_stabilised: reader.flag("use_rslora"),
            dora: reader.flag("use_dora") && !is_ia3,
            out_bias: reader.flag("lora_bias") && !is_ia3,
            bias: reader.bias(),
            dropout: reader.number("lora_dropout", 0.0, "at least 0 and below 1", |x| {
                (0.0..1.0).contains(&x)
            }) as f32,
            targets: reader.names("target_modules"),
            parameters: reader.texts("target_parameters"),
            exclude: reader.names("exclude_modules"),
            layers: reader.layers(),
            layer_patterns: reader.layer_patterns(),
            rank_patterns: reader.patterns("rank_pattern", A_RANK, is_rank),
            alpha_patterns: reader.patterns("alpha_pattern", "a number", |_| true),
            modules_to_save: reader.texts("modules_to_save"),
            ties_weights: reader.flag("ensure_weight_tying"),
            token_rows: is_set(map.get("trainable_token_indices")),
            token_ids,
            head_ids,
            feed_forward: is_ia3.then(|| reader.feed_forward()),
            transposed: reader.flag("fan_in_fan_out"),
            changes_base: reader.changes_base(),
        };
        if method == "LORA" || is_ia3 {
            reader.look_at_keys(findings);
        } else {
            let found = method.to_string();
            findings.push(Finding::UnknownMethod { found });
        }
        settings
    }

    /// What the adapter was asked to be, as far as a finished one still says. Where no list does, the modules that it is
    /// on are its targets.
    pub fn config(&self, adapted: Vec<String>) -> LoraConfig {
        let targets = match &self.targets {
            Names::AllLinear => Targets::AllLinear,
            Names::List(names) => {
                let parameters = self.parameters.iter();
                let short = parameters.map(|name| name.trim_end_matches(".weight").to_owned());
                Targets::Names(names.iter().cloned().chain(short).collect())
            }
            Names::Pattern(_) | Names::Unread | Names::Unsaid => Targets::Names(adapted),
        };
        LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            targets,
            rank_stabilised: self.rank_stabilised,
            exclude: self.exclude.list(),
            dora: self.dora,
            bias: self.bias,
            whole: self.modules_to_save.clone(),
            token_rows: self.token_ids.clone(),
            head_rows: self.head_ids.clone(),
            ia3: self.feed_forward.as_ref().map(|names| Ia3 {
                feed_forward: names.list(),
            }),
            ..LoraConfig::default()
        }
    }

    /// Which tokens the trained rows of the module at `path` are for. The head of a tied model has the embedding's.
    pub fn tokens_at(&self, path: &str) -> &[u32] {
        match names_any(path, &HEADS) && !self.head_ids.is_empty() {
            true => &self.head_ids,
            false => &self.token_ids,
        }
    }

    /// IA³: whether it multiplies the inputs of the module at `path`, and not its outputs.
    pub fn scales_input(&self, path: &str) -> bool {
        let names = self.feed_forward.as_ref();
        names.is_some_and(|names| names.pick(path) == Some(true))
    }

    /// Whether the weight of the module at `path`, or the parameter if it is one of experts, is named by
    /// `target_parameters`.
    pub fn targets_parameter(&self, path: &str) -> bool {
        let parameter = match is_of_experts(path) {
            true => path.to_owned(),
            false => format!("{path}.weight"),
        };
        let mut names = self.parameters.iter();
        names.any(|name| target_matches(name, &parameter))
    }

    /// What patterns of ranks and alphas call the module at `path`.
    pub fn pattern_path(&self, path: &str) -> String {
        let is_weight = !is_of_experts(path) && self.targets_parameter(path);
        match is_weight && self.targets.pick(path) != Some(true) {
            true => format!("{path}.weight"),
            false => path.to_owned(),
        }
    }

    /// The path of the parameter that a tensor's module stands for: PEFT wraps the parameters of experts one around the
    /// other, the second outside, so that `experts.base_layer` is the first. Other modules are what they are.
    pub fn parameter_of(&self, module: &str, has: impl Fn(&str) -> bool) -> String {
        let [inner, outer] = EXPERTS;
        if let Some(experts) = module.strip_suffix(".base_layer")
            && experts.ends_with(".experts")
        {
            return format!("{experts}.{inner}");
        }
        if !module.ends_with(".experts") {
            return module.to_owned();
        }
        let is_alone = !has(&format!("{module}.base_layer"));
        let first = format!("{module}.{inner}");
        let second = format!("{module}.{outer}");
        match is_alone && self.targets_parameter(&first) && !self.targets_parameter(&second) {
            true => first,
            false => second,
        }
    }

    /// Rank of the adapter on a module.
    pub fn rank_of(&self, path: &str) -> usize {
        let path = &self.pattern_path(path);
        pattern(&self.rank_patterns, path).map_or(self.rank, |rank| rank as usize)
    }

    /// Alpha of the adapter on a module.
    pub fn alpha_of(&self, path: &str) -> f32 {
        let path = &self.pattern_path(path);
        pattern(&self.alpha_patterns, path).map_or(self.alpha, |alpha| alpha as f32)
    }

    /// What the product of a module is multiplied with.
    pub fn scale_of(&self, path: &str) -> f32 {
        scale(
            self.alpha_of(path),
            self.rank_of(path),
            self.rank_stabilised,
        )
    }

    /// Whether the configuration puts an adapter on the module at `path`, in PEFT's order; `None` where a pattern that
    /// Hone cannot match decides.
    pub fn targets(&self, path: &str) -> Option<bool> {
        // PEFT looks at neither exclusions nor layers for parameters.
        if self.targets_parameter(path) || is_of_experts(path) {
            let all = matches!(self.targets, Names::AllLinear) && self.parameters.is_empty();
            return Some(all || self.targets_parameter(path));
        }
        let is_saved = |name: &String| is_inside(path, name);
        if self.modules_to_save.iter().any(is_saved) {
            return Some(false);
        }
        let named = match self.targets.names_exactly(path) {
            // A module named in full is not held to the range of layers.
            true => Some(true),
            false => both(self.targets.pick(path), self.is_in_layers(path)),
        };
        both(self.exclude.pick(path).map(|picked| !picked), named)
    }

    fn is_in_layers(&self, path: &str) -> Option<bool> {
        if self.layers.is_empty() {
            return Some(true);
        }
        let mut layer = None;
        for pattern in &self.layer_patterns {
            layer = layer.or(pattern
                .as_ref()?
                .captures(path)
                .and_then(|found| found[1].parse().ok()));
        }
        if self.layer_patterns.is_empty() {
            layer = layer_of(path);
        }
        Some(layer.is_some_and(|layer| self.layers.contains(&layer)))
    }

    /// Whether nothing is expected of a target's name: what it picks is excluded, or saved whole.
    pub fn is_taken_back(&self, name: &str) -> bool {
        let is_saved = |saved: &String| is_inside(name, saved);
        self.exclude.pick(name) != Some(false) || self.modules_to_save.iter().any(is_saved)
    }

    /// The names that it targets, where they alone decide.
    pub fn plain_targets(&self) -> Option<&[String]> {
        match &self.targets {
            Names::List(names)
                if self.layers.is_empty()
                    && self.parameters.is_empty()
                    && matches!(self.exclude, Names::Unsaid) =>
            {
                Some(names)
            }
            _ => None,
        }
    }

    /// Whether the module is saved whole: PEFT looks for modules whose paths end with a name, whatever stands before it, and
    /// saves all that is in them.
    pub fn saves_whole(&self, path: &str) -> bool {
        let mut names = self.modules_to_save.iter();
        names.any(|name| self.names_whole(name, path))
    }

    /// Whether the embedding or the head of a base is saved whole; in a tied model they are one matrix.
    pub fn saves_end(&self, module: &str, base: &DecoderConfig) -> bool {
        let ends = [base.names.embedding.0, base.names.head.module];
        match base.tied_head {
            true => ends.iter().any(|end| self.saves_whole(end)),
            false => self.saves_whole(module),
        }
    }

    /// Whether one name of `modules_to_save` saves the module.
    pub fn names_whole(&self, name: &str, path: &str) -> bool {
        let mut above = std::iter::successors(Some(path), |path| Some(path.rsplit_once('.')?.0));
        above.any(|path| path.ends_with(name))
    }
}

/// Whether both hold, as far as that is known.
fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn is_rank(rank: f64) -> bool {
    (1.0..=MOST_RANK as f64).contains(&rank) && rank.fract() == 0.0
}

const A_RANK: &str = "a whole number of at least 1 and at most 65536";

/// The parameters of experts, in the order in which transformers has them.
pub(crate) const EXPERTS: [&str; 2] = ["gate_up_proj", "down_proj"];

/// The module that PEFT hangs a pair's tensors on. Experts are parameters of one module, and their wrappers stand around
/// each other in the order of the parameters: the first is inside the second, if that one is adapted.
pub(super) fn wrapped(path: &str, is_outer_adapted: bool) -> String {
    match path.rsplit_once('.').filter(|_| is_of_experts(path)) {
        None => path.to_owned(),
        Some((experts, name)) if name == EXPERTS[0] && is_outer_adapted => {
            format!("{experts}.base_layer")
        }
        Some((experts, _)) => experts.to_owned(),
    }
}

/// Whether a path is that of a parameter of experts.
pub(crate) fn is_of_experts(path: &str) -> bool {
    let parts = path.rsplit_once('.');
    parts.is_some_and(|(module, name)| module.ends_with(".experts") && EXPERTS.contains(&name))
}

/// The number of the layer that a module is in.
pub(crate) fn layer_of(path: &str) -> Option<usize> {
    let mut parts = path.split('.').skip(2);
    parts.find_map(|part| part.parse().ok())
}

fn pattern(patterns: &[Pattern], path: &str) -> Option<f64> {
    let first = patterns.iter().find(|pattern| pattern.picks(path));
    first.map(|pattern| pattern.value)
}

fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty(),
        Some(_) => true,
    }
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
    findings: Vec<Finding>,
    /// Keys that were asked for: no others mean anything.
    read: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.read.insert(key);
        self.map.get(key)
    }

    fn bad(&mut self, key: &str, value: impl ToString, must: &'static str) {
        self.findings.push(Finding::BadSetting {
            key: key.to_owned(),
            value: value.to_string(),
            must,
        });
    }

    /// What is to be said of keys that were not read, and then everything else.
    fn look_at_keys(mut self, findings: &mut Vec<Finding>) {
        let (mut set, mut unset) = (Vec::new(), Vec::new());
        for (key, value) in self.map {
            let (name, is_set) = (&key.as_str(), is_set(Some(value)));
            if NOT_APPLIED.contains(name) {
                if is_set {
                    let (key, value) = (key.clone(), value.to_string());
                    findings.push(Finding::NotApplied { key, value });
                }
            } else if !self.read.contains(name) && !HARMLESS.contains(name) {
                let keys = if is_set { &mut set } else { &mut unset };
                keys.push(key.clone());
            }
        }
        for (keys, are_set) in [(set, true), (unset, false)] {
            if !keys.is_empty() {
                findings.push(Finding::UnknownSettings { keys, are_set });
            }
        }
        findings.append(&mut self.findings);
    }

    /// A setting, or what it is where nothing is said; what cannot be read as `must` says is a finding.
    fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        must: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> T {
        match self.get(key) {
            None | Some(Value::Null) => default,
            Some(value) => read(value).unwrap_or_else(|| {
                self.bad(key, value, must);
                default
            }),
        }
    }

    fn number(
        &mut self,
        key: &'static str,
        default: f64,
        must: &'static str,
        fits: impl Fn(f64) -> bool,
    ) -> f64 {
        self.read(key, default, must, |value| number(value, &fits))
    }

    fn flag(&mut self, key: &'static str) -> bool {
        self.read(key, false, "true or false", Value::as_bool)
    }

    fn bias(&mut self) -> TrainedBias {
        let must = "none, all or lora_only";
        self.read("bias", TrainedBias::None, must, |value| {
            TrainedBias::of_peft(value.as_str()?)
        })
    }

    fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.read(key, vec![], "a list of names", |value| {
            let items = value.as_array()?.iter();
            items.map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    fn names(&mut self, key: &'static str) -> Names {
        match self.get(key) {
            Some(Value::String(text)) if text.eq_ignore_ascii_case("all-linear") => {
                Names::AllLinear
            }
            Some(Value::String(text)) => match path_pattern(text) {
                Ok(pattern) => Names::Pattern(pattern),
                Err(_) => {
                    self.findings.push(Finding::UnreadPattern { key });
                    Names::Unread
                }
            },
            _ => match self.texts(key) {
                names if names.is_empty() => Names::Unsaid,
                names => Names::List(names),
            },
        }
    }

    /// Which of IA³'s modules have factors for inputs: the numbers mean something else without it.
    fn feed_forward(&mut self) -> Names {
        const KEY: &str = "feedforward_modules";
        let names = self.names(KEY);
        if let Names::Unread = names {
            let must = "a list of names, or a pattern without look-around and back-references";
            self.bad(KEY, self.map[KEY].clone(), must);
        }
        names
    }

    /// One name for the list of layers, or several; PEFT takes the first that a path has.
    fn layer_patterns(&mut self) -> Vec<Option<Regex>> {
        const KEY: &str = "layers_pattern";
        let names = match self.get(KEY) {
            Some(Value::String(name)) if name.is_empty() => vec![],
            Some(Value::String(name)) => vec![name.clone()],
            _ => self.texts(KEY),
        };
        let pattern = |name: &String| path_pattern(&format!(r".*?\.(?:{name})\.(\d+)\..*")).ok();
        let patterns: Vec<Option<Regex>> = names.iter().map(pattern).collect();
        if patterns.iter().any(Option::is_none) {
            self.findings.push(Finding::UnreadPattern { key: KEY });
        }
        patterns
    }

    /// A list for the embedding, or lists by module: the embedding's and the head's.
    fn token_ids(&mut self) -> (Vec<u32>, Vec<u32>) {
        const KEY: &str = "trainable_token_indices";
        let by_module = self.get(KEY).and_then(Value::as_object);
        let mut modules = by_module.into_iter().flat_map(Map::keys);
        let is_end = |module: &str| names_any(module, &EMBEDDINGS) || names_any(module, &HEADS);
        if let Some(module) = modules.find(|module| !is_end(module)) {
            let (key, module) = (KEY.to_owned(), one_line(module));
            let value = format!("for `{module}`, which is neither the embedding nor the head");
            self.findings.push(Finding::NotApplied { key, value });
            return (vec![], vec![]);
        }
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = |list: &Value| -> Option<Vec<u32>> { list.as_array()?.iter().map(id).collect() };
        let of = |modules: &Map<String, Value>, names: &[&str]| {
            let mut lists = modules
                .iter()
                .filter(|(module, _)| names_any(module, names));
            lists.try_fold(vec![], |_, (_, list)| ids(list))
        };
        let must = "a list of tokens, or one for the embedding and one for the head";
        self.read(KEY, (vec![], vec![]), must, |value| match value {
            Value::Object(lists) => Some((of(lists, &EMBEDDINGS)?, of(lists, &HEADS)?)),
            list => Some((ids(list)?, vec![])),
        })
    }

    fn layers(&mut self) -> Vec<usize> {
        let whole = |value: &Value| value.as_u64().map(|layer| layer as usize);
        let must = "a layer's number or a list of them";
        self.read("layers_to_transform", vec![], must, |value| match value {
            Value::Array(items) => items.iter().map(whole).collect(),
            one => whole(one).map(|layer| vec![layer]),
        })
    }

    fn patterns(
        &mut self,
        key: &'static str,
        must: &'static str,
        fits: impl Fn(f64) -> bool,
    ) -> Vec<Pattern> {
        let an_object = "an object of patterns and numbers";
        let entries = self.read(key, Map::new(), an_object, |value| {
            value.as_object().cloned()
        });
        let mut patterns = Vec::new();
        for (name, value) in entries {
            let number = number(&value, &fits);
            let regex = path_pattern(&format!(r"(?:.*\.)?(?:{name})"));
            match (number, regex) {
                (Some(value), Ok(regex)) => patterns.push(Pattern {
                    key: name,
                    value,
                    regex,
                }),
                (None, _) => self.bad(key, format!("{value} for `{name}`"), must),
                (_, Err(_)) => self.bad(
                    key,
                    format!("the pattern `{name}`"),
                    "a pattern without look-around and back-references",
                ),
            }
        }
        patterns
    }

    fn changes_base(&mut self) -> Option<String> {
        let must = "true, false or the name of a method";
        let method = self.read("init_lora_weights", None, must, |value| match value {
            Value::Bool(_) => Some(None),
            Value::String(init) if HARMLESS_INITS.contains(&init.as_str()) => Some(None),
            Value::String(init) => Some(Some(init.clone())),
            _ => None,
        })?;
        let changed = method.clone();
        self.findings.push(Finding::ChangesBase { method: changed });
        Some(method)
    }
}

/// A finite number that fits.
fn number(value: &Value, fits: impl Fn(f64) -> bool) -> Option<f64> {
    value.as_f64().filter(|x| x.is_finite() && fits(*x))
}
