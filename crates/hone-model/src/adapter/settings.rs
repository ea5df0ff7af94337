//! `adapter_config.json` as PEFT understands it: which modules it names, with which rank and strength.
//!
//! Reading goes on after a mistake, so that a check can name all of them; what could not be read stands at PEFT's
//! default.

use regex::Regex;
use serde_json::{Map, Value};

use super::check::Finding;
use super::config::{path_pattern, scale, target_matches};
use super::peft_config::{HEADS, names_any, read_token_rows};
use super::raw::RawAdapter;
use super::spelling::read_name;

/// What the configuration says, as far as Hone knows what it means.
#[derive(Debug)]
pub(crate) struct Settings {
    pub rank: usize,
    pub alpha: f32,
    pub rank_stabilised: bool,
    pub dora: bool,
    pub out_bias: bool,
    pub bias: String,
    pub dropout: f32,
    pub targets: Names,
    /// PEFT's `target_parameters`: routers and experts, whole paths or their ends after a dot.
    pub parameters: Vec<String>,
    pub exclude: Names,
    pub layers: Vec<usize>,
    pub rank_patterns: Vec<Pattern>,
    pub alpha_patterns: Vec<Pattern>,
    pub modules_to_save: Vec<String>,
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

/// A rule for names of modules.
#[derive(Debug)]
pub(crate) enum Names {
    /// Whole paths, or their ends after a dot.
    List(Vec<String>),
    /// A pattern that the whole path must fit.
    Pattern(Regex),
    /// Every linear layer but the head.
    AllLinear,
    /// Nothing is said.
    Unsaid,
}

impl Names {
    pub fn pick(&self, path: &str) -> bool {
        match self {
            Self::List(names) => names.iter().any(|name| target_matches(name, path)),
            Self::Pattern(pattern) => pattern.is_match(path),
            Self::AllLinear => !["lm_head", "embed_out"].contains(&path),
            Self::Unsaid => false,
        }
    }

    fn names_exactly(&self, path: &str) -> bool {
        matches!(self, Self::List(names) if names.iter().any(|name| name == path))
    }
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

/// Keys of PEFT 0.21's LoRA configuration that are read here.
const READ: [&str; 22] = [
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "bias",
    "lora_dropout",
    "target_modules",
    "target_parameters",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "trainable_token_indices",
    "init_lora_weights",
    "fan_in_fan_out",
    "base_model_name_or_path",
    "revision",
    "task_type",
];

/// Keys of its IA³ configuration that are read here.
const READ_IA3: [&str; 11] = [
    "peft_type",
    "target_modules",
    "exclude_modules",
    "feedforward_modules",
    "modules_to_save",
    "fan_in_fan_out",
    "init_ia3_weights",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "bias",
];

/// Keys that change no number of a finished adapter.
const HARMLESS: [&str; 11] = [
    "auto_mapping",
    "inference_mode",
    "peft_version",
    "loftq_config",
    "corda_config",
    "eva_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "ensure_weight_tying",
];

/// Keys of methods within LoRA that Hone does not know how to apply.
const NOT_APPLIED: [&str; 9] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
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
    /// Reads the configuration of a LoRA or an IA³; every mistake becomes a finding.
    pub fn read(map: &Map<String, Value>, findings: &mut Vec<Finding>) -> Self {
        let mut reader = Reader { map, findings };
        let is_ia3 = map.get("peft_type").is_some_and(|method| method == "IA3");
        reader.look_at_keys(if is_ia3 { &READ_IA3 } else { &READ });
        let (token_ids, head_ids) = reader.token_ids();
        Self {
            rank: reader.rank(),
            alpha: reader.number("lora_alpha", 8.0, "a positive number", |x| x > 0.0) as f32,
            rank_stabilised: reader.flag("use_rslora"),
            dora: reader.flag("use_dora"),
            out_bias: reader.flag("lora_bias"),
            bias: reader.bias(),
            dropout: reader.number("lora_dropout", 0.0, "at least 0 and below 1", |x| {
                (0.0..1.0).contains(&x)
            }) as f32,
            targets: reader.names("target_modules"),
            parameters: reader.texts("target_parameters"),
            exclude: reader.names("exclude_modules"),
            layers: reader.layers(),
            rank_patterns: reader.patterns("rank_pattern", |x| x.fract() == 0.0),
            alpha_patterns: reader.patterns("alpha_pattern", |_| true),
            modules_to_save: reader.texts("modules_to_save"),
            token_rows: is_set(map.get("trainable_token_indices")),
            token_ids,
            head_ids,
            feed_forward: is_ia3.then(|| reader.names("feedforward_modules")),
            transposed: reader.flag("fan_in_fan_out"),
            changes_base: reader.changes_base(),
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
        names.is_some_and(|names| names.pick(path))
    }

    /// Whether the module at `path`, or the parameter if it is one of experts, is named by `target_parameters`.
    pub fn targets_parameter(&self, path: &str) -> bool {
        let weight = format!("{path}.weight");
        let names = |name: &String| target_matches(name, path) || target_matches(name, &weight);
        self.parameters.iter().any(names)
    }

    /// What patterns of ranks and alphas call the module at `path`.
    pub fn pattern_path(&self, path: &str) -> String {
        let is_weight = !is_of_experts(path) && self.targets_parameter(path);
        match is_weight && !self.targets.pick(path) {
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

    /// [`Self::parameter_of`] among the tensors of an adapter.
    pub fn path_of(&self, module: &str, raw: &RawAdapter) -> String {
        let has = |module: &str| {
            let mut tensors = raw.tensors.iter();
            let spelled = |name| read_name(name).is_some_and(|spelled| spelled.module == module);
            tensors.any(|tensor| spelled(&tensor.name))
        };
        self.parameter_of(module, has)
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

    /// Whether the configuration puts an adapter on the module at `path`.
    pub fn targets(&self, path: &str) -> bool {
        // PEFT looks at neither exclusions nor layers for parameters.
        if self.targets_parameter(path) || is_of_experts(path) {
            return self.targets_parameter(path);
        }
        if self.exclude.pick(path) {
            return false;
        }
        // A module named in full is not held to the range of layers.
        let in_layers = || {
            self.layers.is_empty()
                || layer_of(path).is_some_and(|layer| self.layers.contains(&layer))
        };
        self.targets.names_exactly(path) || self.targets.pick(path) && in_layers()
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

    /// Whether the module is saved whole.
    pub fn saves_whole(&self, path: &str) -> bool {
        self.modules_to_save
            .iter()
            .any(|name| target_matches(name, path))
    }
}

/// The parameters of experts, in the order in which transformers has them.
pub(crate) const EXPERTS: [&str; 2] = ["gate_up_proj", "down_proj"];

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
    findings: &'a mut Vec<Finding>,
}

impl Reader<'_> {
    fn bad(&mut self, key: &str, value: impl ToString, must: &'static str) {
        self.findings.push(Finding::BadSetting {
            key: key.to_owned(),
            value: value.to_string(),
            must,
        });
    }

    fn look_at_keys(&mut self, read: &[&str]) {
        let mut unknown = Vec::new();
        for (key, value) in self.map {
            let known = |list: &[&str]| list.contains(&key.as_str());
            if known(&NOT_APPLIED) && is_set(Some(value)) {
                let (key, value) = (key.clone(), value.to_string());
                self.findings.push(Finding::NotApplied { key, value });
            } else if !known(read) && !known(&HARMLESS) && !known(&NOT_APPLIED) {
                unknown.push(key.clone());
            }
        }
        if !unknown.is_empty() {
            self.findings
                .push(Finding::UnknownSettings { keys: unknown });
        }
        match self.map.get("task_type") {
            None | Some(Value::Null) => {}
            Some(Value::String(task)) if TASKS.contains(&task.as_str()) => {}
            Some(other) => self.bad(
                "task_type",
                other,
                "null, CAUSAL_LM or another of PEFT's tasks",
            ),
        }
    }

    fn rank(&mut self) -> usize {
        let whole = |x: f64| x >= 1.0 && x.fract() == 0.0 && x <= 65536.0;
        self.number("r", 8.0, "a whole number of at least 1", whole) as usize
    }

    fn number(
        &mut self,
        key: &str,
        default: f64,
        must: &'static str,
        fits: impl Fn(f64) -> bool,
    ) -> f64 {
        match self.map.get(key) {
            None | Some(Value::Null) => default,
            Some(value) => match value.as_f64().filter(|x| x.is_finite() && fits(*x)) {
                Some(number) => number,
                None => {
                    self.bad(key, value, must);
                    default
                }
            },
        }
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.map.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(is_set)) => *is_set,
            Some(other) => {
                self.bad(key, other, "true or false");
                false
            }
        }
    }

    fn bias(&mut self) -> String {
        match self.map.get("bias") {
            None | Some(Value::Null) => "none".into(),
            Some(Value::String(bias)) if ["none", "all", "lora_only"].contains(&bias.as_str()) => {
                bias.clone()
            }
            Some(other) => {
                self.bad("bias", other, "none, all or lora_only");
                "none".into()
            }
        }
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        match self.map.get(key) {
            None | Some(Value::Null) => vec![],
            Some(Value::Array(items)) => {
                let texts: Option<Vec<String>> = items
                    .iter()
                    .map(|item| item.as_str().map(str::to_owned))
                    .collect();
                texts.unwrap_or_else(|| {
                    self.bad(key, Value::from(items.clone()), "a list of names");
                    vec![]
                })
            }
            Some(other) => {
                self.bad(key, other, "a list of names");
                vec![]
            }
        }
    }

    fn names(&mut self, key: &str) -> Names {
        match self.map.get(key) {
            Some(Value::String(text)) if text.eq_ignore_ascii_case("all-linear") => {
                Names::AllLinear
            }
            Some(Value::String(text)) => match path_pattern(text) {
                Ok(pattern) => Names::Pattern(pattern),
                Err(_) => {
                    self.bad(
                        key,
                        text,
                        "a list of names, or a pattern without look-around and back-references",
                    );
                    Names::Unsaid
                }
            },
            _ => match self.texts(key) {
                names if names.is_empty() => Names::Unsaid,
                names => Names::List(names),
            },
        }
    }

    /// A list for the embedding, or lists by module, of which one is read.
    fn token_ids(&mut self) -> (Vec<u32>, Vec<u32>) {
        const KEY: &str = "trainable_token_indices";
        let value = self.map.get(KEY);
        read_token_rows(value).unwrap_or_else(|_| {
            let value = self.map[KEY].clone();
            self.bad(
                KEY,
                value,
                "a list of tokens, or one for the embedding and one for the head",
            );
            (vec![], vec![])
        })
    }

    fn layers(&mut self) -> Vec<usize> {
        let whole = |value: &Value| value.as_u64().map(|layer| layer as usize);
        let layers = match self.map.get("layers_to_transform") {
            None | Some(Value::Null) => return vec![],
            Some(Value::Array(items)) => items.iter().map(whole).collect(),
            Some(one) => whole(one).map(|layer| vec![layer]),
        };
        layers.unwrap_or_else(|| {
            let value = self.map["layers_to_transform"].clone();
            self.bad(
                "layers_to_transform",
                value,
                "a layer's number or a list of them",
            );
            vec![]
        })
    }

    fn patterns(&mut self, key: &'static str, fits: impl Fn(f64) -> bool) -> Vec<Pattern> {
        let entries = match self.map.get(key) {
            None | Some(Value::Null) => return vec![],
            Some(Value::Object(entries)) => entries,
            Some(other) => {
                self.bad(key, other, "an object of patterns and numbers");
                return vec![];
            }
        };
        let mut patterns = Vec::new();
        for (name, value) in entries {
            let number = value
                .as_f64()
                .filter(|x| x.is_finite() && *x > 0.0 && fits(*x));
            let regex = path_pattern(&format!(r"(?:.*\.)?(?:{name})"));
            match (number, regex) {
                (Some(value), Ok(regex)) => patterns.push(Pattern {
                    key: name.clone(),
                    value,
                    regex,
                }),
                (None, _) => self.bad(key, format!("{value} for `{name}`"), "a positive number"),
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
        match self.map.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => None,
            Some(Value::String(init)) if HARMLESS_INITS.contains(&init.as_str()) => None,
            Some(Value::String(init)) => Some(init.clone()),
            Some(other) => {
                self.bad(
                    "init_lora_weights",
                    other,
                    "true, false or the name of a method",
                );
                None
            }
        }
    }
}
