//! What is wrong with an adapter: everything, by name, before it is used.
//!
//! PEFT loads most damaged adapters and says a warning or nothing, and the model then answers without them. Here a
//! tensor that is missing, left over, of the wrong shape, there twice or not a number is an error. The tensors decide which
//! modules are adapted; settings that chose them (targets, exclusions, layers) are compared with what is there. The model is
//! not needed; with it the check also knows which modules must be there, whether this is the base that the adapter was
//! trained on, and what the adapter puts on it. Using an adapter goes through the same findings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::facts::{CheckedBase, Facts};
use super::finding::{Finding, Severity, short};
use super::layout::Layout;
use super::methods::METHODS;
use super::peft::PeftError;
use super::provenance::{SCALING, scaling_hash};
use super::raw::{Module, Modules, RawAdapter};
use super::settings::{Settings, is_of_experts, layer_of};
use super::spelling::{PREFIX, Role, read_name};
use super::targets::{Names, target_matches};
use crate::arch::DecoderConfig;

/// What a check found.
#[derive(Debug)]
pub struct AdapterCheck {
    /// Everything there is to say, errors first.
    pub findings: Vec<Finding>,
    /// What the adapter is, as far as others care.
    pub facts: Facts,
    /// What it puts on the base that it was checked against, if that can be done.
    pub(super) layout: Option<Layout>,
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

    /// Refuses an adapter with errors; `path` is where it lies.
    pub(super) fn accept(&self, path: &Path) -> Result<(), PeftError> {
        PeftError::refuse(path, self.errors())
    }
}

/// Looks at everything that can be wrong with an adapter, with or without the base that it is for.
pub fn check_adapter(raw: &RawAdapter, base: Option<CheckedBase>) -> AdapterCheck {
    let mut findings = raw.of_settings.clone();
    if let Some(Finding::UnknownMethod { .. }) = findings.last() {
        let mut facts = Facts::default();
        facts.judge(&findings);
        return AdapterCheck {
            findings,
            facts,
            layout: None,
        };
    }
    let modules = raw.modules(&mut findings);
    let mut checker = Checker {
        raw,
        settings: &raw.settings,
        modules: &modules,
        findings,
    };
    checker.look_at_names();
    checker.look_at_numbers();
    for module in modules.values() {
        checker.look_at_module(module);
    }
    checker.look_at_what_is_promised(base);
    checker.look_at_patterns();
    let layout = match base {
        Some(base) => Some(checker.compare_with(base)),
        None => {
            checker.compare_layers();
            None
        }
    };
    checker.look_at_provenance(base);
    let mut findings = checker.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    let mut check = AdapterCheck {
        facts: Facts::of(&modules, raw, base),
        findings,
        layout,
    };
    check.facts.judge(&check.findings);
    check
}

struct Checker<'a> {
    raw: &'a RawAdapter,
    settings: &'a Settings,
    modules: &'a Modules<'a>,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn look_at_names(&mut self) {
        let spelled = || {
            self.raw
                .tensors
                .iter()
                .filter_map(|tensor| read_name(&tensor.name))
        };
        let without_prefix = spelled().filter(|spelled| !spelled.has_prefix).count();
        let with_name = spelled().filter(|spelled| spelled.names_adapter).count();
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

    fn look_at_numbers(&mut self) {
        let found = self.raw.of_numbers.get_or_init(|| of_numbers(self.raw));
        self.findings.extend(found.iter().cloned());
    }

    fn look_at_module(&mut self, module: &Module) {
        let path = &module.path;
        if is_of_one_expert(path) {
            let what = "is on one expert by itself, as transformers 4 has them (load it with PEFT under transformers 5 and save it again)";
            let tensors = module.tensors.values();
            self.findings
                .extend(tensors.map(|tensor| tensor.unapplied(what)));
            return;
        }
        for (a, b) in [(Role::A, Role::B), (Role::EmbeddingA, Role::EmbeddingB)] {
            if module.has(&[a, b]) {
                self.look_at_pair(module, a, b);
            }
        }
        let count = self.settings.tokens_at(path).len();
        let rows = module.at(Role::TokenRows);
        if let Some(rows) = rows.filter(|rows| rows.shape.first() != Some(&count)) {
            self.report(rows.misshaped(format!(
                "[{count}, width], as `trainable_token_indices` names {count} tokens"
            )));
        }
        for (role, tensor) in &module.tensors {
            let mut methods = METHODS
                .iter()
                .filter(|method| method.roles().contains(role));
            let why = match methods.next() {
                Some(method) => method.unexpected(*role, module),
                None => Some("belongs to another method than LoRA"),
            };
            self.findings.extend(why.map(|why| tensor.unexpected(why)));
        }
        for role in METHODS.iter().filter_map(|method| method.lacks(module)) {
            self.report(Finding::missing(path, role));
        }
    }

    /// Both halves, two axes each, one rank, and that the one which the configuration gives.
    fn look_at_pair(&mut self, module: &Module, a: Role, b: Role) {
        let (path, mut ranks) = (&module.path, Vec::new());
        for (role, rank_axis) in [(a, 0), (b, 1)] {
            match module.at(role) {
                None => self.report(Finding::missing(path, role)),
                Some(tensor) if tensor.shape.len() != 2 || tensor.len() == 0 => {
                    self.report(tensor.misshaped("a matrix with rows and columns"));
                }
                Some(tensor) => ranks.push((tensor, tensor.shape[rank_axis])),
            }
        }
        if let [(_, a), (tensor, b)] = ranks[..]
            && a != b
        {
            self.report(tensor.misshaped(format!("[out, {a}], as its `A` has {a} rows")));
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
                module: path.clone(),
                says,
                found: *found,
            });
        }
        if let Some(magnitude) = module.at(Role::Magnitude)
            && let Some(b) = module.at(b).filter(|b| b.shape.len() == 2)
            && magnitude.shape != [b.shape[0]]
        {
            let must = format!("[{}], one length for each output", b.shape[0]);
            self.report(magnitude.misshaped(must));
        }
    }

    /// What the configuration promises and no tensor keeps. Of a base it is known whether it has such a module.
    fn look_at_what_is_promised(&mut self, base: Option<CheckedBase>) {
        let has_whole = |module: &Module, name: &str| {
            let is_whole = module.has(&[Role::Whole, Role::BaseWeight]);
            is_whole && self.settings.names_whole(name, &module.path)
        };
        let mut found = Vec::new();
        for name in &self.settings.modules_to_save {
            if !self.modules.values().any(|module| has_whole(module, name)) {
                let tensor = format!("{PREFIX}….{name}.weight");
                found.push(Finding::Missing { tensor });
            }
        }
        let mut paths: Vec<String> = self.modules.keys().cloned().collect();
        if let Some(CheckedBase { config, .. }) = base {
            paths.extend(config.sites().into_iter().map(|site| site.path()));
            paths.push(config.names.embedding.0.to_owned());
        }
        let is_idle = |name: &String| {
            let names = |path: &String| {
                target_matches(name, path) || target_matches(name, &format!("{path}.weight"))
            };
            !paths.iter().any(names)
        };
        let mut idle = |key, name: &String| {
            let name = name.clone();
            found.extend(is_idle(&name).then_some(Finding::IdleTarget { key, name }));
        };
        let parameters = self.settings.parameters.iter();
        parameters.for_each(|name| idle("target_parameters", name));
        match &self.settings.targets {
            Names::List(names) => {
                let is_due = |name: &&String| !self.settings.is_taken_back(name);
                let due = names.iter().filter(is_due);
                due.for_each(|name| idle("target_modules", name));
            }
            Names::Unsaid if self.settings.parameters.is_empty() => {
                let what = "`target_modules` names nothing".into();
                found.push(Finding::Contradiction { what });
            }
            _ => {}
        }
        let refused = [
            (self.settings.dora, "use_dora"),
            (self.settings.out_bias, "lora_bias"),
            (self.settings.dropout > 0.0, "lora_dropout"),
            (self.settings.feed_forward.is_some(), "peft_type"),
        ];
        let has_experts = self.modules.keys().any(|path| is_of_experts(path));
        let at_parameters = has_experts || !self.settings.parameters.is_empty();
        for (_, key) in refused.iter().filter(|row| row.0 && at_parameters) {
            let what = format!("`{key}` is set beside `target_parameters`, which PEFT refuses");
            found.push(Finding::Contradiction { what });
        }
        let mut modules = self.modules.values();
        if self.settings.token_rows && !modules.any(|module| module.has(&[Role::TokenRows])) {
            let tensor = format!("{PREFIX}….token_adapter.trainable_tokens_delta");
            found.push(Finding::Missing { tensor });
        }
        if self.settings.out_bias {
            let (key, value) = ("lora_bias".into(), "true".into());
            found.push(Finding::NotApplied { key, value });
        }
        self.findings.extend(found);
    }

    fn look_at_patterns(&mut self) {
        let adapted = self.adapted();
        let adapted: Vec<String> = adapted
            .map(|path| self.settings.pattern_path(path))
            .collect();
        let kinds = [
            ("rank_pattern", &self.settings.rank_patterns),
            ("alpha_pattern", &self.settings.alpha_patterns),
        ];
        for (key, patterns) in kinds {
            for (at, pattern) in patterns.iter().enumerate() {
                let hits = adapted.iter().filter(|path| pattern.picks(path));
                let hits: Vec<&String> = hits.collect();
                if hits.is_empty() {
                    let pattern = pattern.key.clone();
                    self.report(Finding::IdlePattern { key, pattern });
                }
                let later = patterns[at + 1..].iter();
                let mut others = later.filter(|later| later.value != pattern.value);
                let overlap = others
                    .find_map(|later| Some((later, hits.iter().find(|path| later.picks(path))?)));
                if let Some((later, module)) = overlap {
                    self.report(Finding::OverlappingPatterns {
                        key,
                        first: pattern.key.clone(),
                        second: later.key.clone(),
                        module: (*module).clone(),
                    });
                }
            }
        }
    }

    /// Paths of the modules with an adapter.
    fn adapted(&self) -> impl Iterator<Item = &'a String> + use<'a> {
        let adapted = self.modules.values().filter(|module| module.is_adapted());
        adapted.map(|module| &module.path)
    }

    /// Without the model: a module that some layers have adapted, and others not.
    fn compare_layers(&mut self) {
        let mut of_kind: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for path in self.adapted() {
            if let Some(layer) = layer_of(path) {
                let (_, kind) = path.split_once(&format!(".{layer}.")).unwrap_or(("", path));
                of_kind.entry(kind).or_default().insert(layer);
            }
        }
        let all: BTreeSet<usize> = of_kind.values().flatten().copied().collect();
        of_kind.retain(|_, layers| layers.len() < all.len());
        let lacking = of_kind.values().flat_map(|layers| all.difference(layers));
        let lacking: BTreeSet<&usize> = lacking.collect();
        if !of_kind.is_empty() {
            let numbers: Vec<String> = lacking.iter().map(ToString::to_string).collect();
            let kinds: Vec<&str> = of_kind.keys().copied().collect();
            self.report(Finding::Uneven {
                modules: kinds.join(", "),
                layers: format!("layer {}", numbers.join(", ")),
                is_one: kinds.len() == 1,
            });
        }
    }

    /// With the model: every module that the configuration names, no other, each of its shape. What the tensors put on it.
    fn compare_with(&mut self, base: CheckedBase) -> Layout {
        let (config, vocab_size) = (base.config, base.config.vocab_size);
        if self.settings.transposed && !config.names.is_transposed {
            self.report(Finding::Transposed);
        }
        if base.new_tokens > 0 {
            let tokens = base.new_tokens;
            self.report(Finding::Grows { tokens, vocab_size });
        }
        for ids in [&self.settings.token_ids, &self.settings.head_ids] {
            let mut sorted = ids.clone();
            sorted.sort_unstable();
            let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
            let what = match (sorted.last(), twice) {
                (Some(id), _) if *id as usize >= vocab_size => format!(
                    "`trainable_token_indices` names token {id}, and this model has {vocab_size}: was the vocabulary resized?"
                ),
                (_, Some(pair)) => {
                    format!("`trainable_token_indices` names token {} twice", pair[0])
                }
                _ => continue,
            };
            self.report(Finding::Contradiction { what });
        }
        let missing = self.missing(config);
        let is_idle = missing.is_empty();
        self.findings.extend(missing);
        let layout = Layout::of_tensors(self.raw, self.modules, config, &mut self.findings);
        if is_idle && layout.is_empty() && !self.modules.is_empty() {
            let targets = self.raw.config.get("target_modules");
            let targets = targets.map_or("nothing".into(), Value::to_string);
            self.report(Finding::NoTarget { targets });
        }
        layout
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
            .values()
            .filter(|module| module.has(&[Role::A]));
        let scaling = scaling_hash(linear.map(|Module { path, settings, .. }| {
            (settings.pattern_path(path).into(), settings.scale_of(path))
        }));
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

/// Whether a module is inside one expert: `mlp.experts.3.up_proj`.
fn is_of_one_expert(path: &str) -> bool {
    let inside = path.split_once(".experts.");
    inside.is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// What is to be said of the numbers in the file.
fn of_numbers(raw: &RawAdapter) -> Vec<Finding> {
    let (mut findings, mut has_b, mut moves) = (Vec::new(), false, false);
    for tensor in &raw.tensors {
        let Some(numbers) = raw.numbers(tensor) else {
            let (tensor, dtype) = (tensor.name.clone(), tensor.dtype.clone());
            findings.push(Finding::NotNumbers { tensor, dtype });
            continue;
        };
        if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
            let (tensor, value) = (tensor.name.clone(), numbers[at]);
            findings.push(Finding::NotFinite { tensor, at, value });
        }
        let part = read_name(&tensor.name).map(|spelled| spelled.part);
        let is_b = part == Some(Role::B);
        has_b |= is_b;
        moves |=
            !matches!(part, Some(Role::A | Role::B)) || is_b && numbers.iter().any(|x| *x != 0.0);
    }
    if has_b && !moves {
        findings.push(Finding::Untrained);
    }
    findings
}

impl Checker<'_> {
    /// Tensors that must be there on `base`: PEFT would go on with what they begin with.
    fn missing(&self, base: &DecoderConfig) -> Vec<Finding> {
        let mut missing = Vec::new();
        for site in base.sites() {
            let empty = Module::empty(site.path(), self.raw);
            let module = self.modules.get(&empty.path).unwrap_or(&empty);
            let promised = METHODS
                .iter()
                .filter_map(|method| method.promised(site, module, base));
            missing.extend(promised.map(|role| Finding::missing(&module.path, role)));
        }
        let empty = Module::empty(base.names.embedding.0.to_owned(), self.raw);
        let module = self.modules.get(&empty.path).unwrap_or(&empty);
        let is_due = module.is_target() && self.settings.feed_forward.is_none();
        if is_due && !module.has(&[Role::EmbeddingA, Role::EmbeddingB]) {
            missing.push(Finding::missing(&module.path, Role::EmbeddingA));
        }
        missing
    }
}
