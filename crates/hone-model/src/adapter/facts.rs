//! What an adapter is, as far as other programs care: what the rules about them are asked of.

use std::collections::BTreeSet;

use serde::Serialize;

use super::config::TrainedBias;
use super::finding::{Finding, Severity};
use super::raw::{Modules, RawAdapter, RawTensor};
use super::settings::is_of_experts;
use super::spelling::{Role, read_name};
use super::targets::{HEADS, Names, names_any};
use crate::arch::DecoderConfig;

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

/// What an adapter is, as far as others care.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    /// Adapted modules.
    pub modules: usize,
    /// Tensors in the file.
    pub tensors: usize,
    /// Ranks of its modules, each once.
    pub ranks: BTreeSet<usize>,
    /// What the products are multiplied with, the smallest and the greatest.
    pub scales: Option<(f32, f32)>,
    /// Strength is `alpha / √rank`.
    pub rank_stabilised: bool,
    /// Some modules have an alpha of their own.
    pub own_alphas: bool,
    /// Some modules have a rank of their own.
    pub own_ranks: bool,
    /// DoRA.
    pub dora: bool,
    /// Modules that are saved whole.
    pub whole_modules: Vec<String>,
    /// Biases of the base, or of `B`, are trained.
    pub biases: bool,
    /// An adapter on the embedding.
    pub embedding: bool,
    /// An adapter on the head.
    pub head: bool,
    /// Embedding and head of the base it is checked against are one matrix.
    pub tied: bool,
    /// Whole matrices of the base beside an adapter.
    pub base_weights: bool,
    /// Whole matrices that no setting names, which PEFT saves of embedding and head.
    pub copies: Vec<String>,
    /// Norms are trained, and nothing else is saved whole.
    pub only_norms: bool,
    /// Settings that PEFT applies and others pass over.
    pub passed_over: Vec<String>,
    /// Settings that some programs want and the file does not have.
    pub unsaid: Vec<&'static str>,
    /// Rows of single tokens.
    pub token_rows: bool,
    /// Pairs on experts, which PEFT keeps as parameters.
    pub experts: bool,
    /// Tokens that the base it is checked against does not have.
    pub new_tokens: usize,
    /// IA³: factors instead of narrow matrices.
    pub ia3: bool,
    /// Targets are a pattern.
    pub target_pattern: bool,
    /// Some names lack PEFT's prefix.
    pub lacks_prefix: bool,
    /// The initialisation changed the base.
    pub changes_base: Option<String>,
    /// What is wrong with it, whoever reads it.
    pub damage: Option<String>,
    /// Why Hone does not take it.
    pub refusal: Option<String>,
    /// Modules that llama-like models do not have under these names.
    pub unusual_modules: Vec<String>,
}

/// The projections whose names Ollama's converter knows.
const LLAMA_LIKE: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

impl Facts {
    pub(super) fn of(modules: &Modules, raw: &RawAdapter, base: Option<CheckedBase>) -> Self {
        let settings = &raw.settings;
        let is_unsaid = |key: &&str| !raw.config.contains_key(*key);
        let mut facts = Self {
            tensors: raw.tensors.len() + raw.copies.len(),
            rank_stabilised: settings.rank_stabilised,
            dora: settings.dora,
            whole_modules: settings.modules_to_save.clone(),
            biases: settings.bias != TrainedBias::None || settings.out_bias,
            token_rows: settings.token_rows,
            ia3: settings.feed_forward.is_some(),
            target_pattern: matches!(settings.targets, Names::Pattern(_) | Names::Unread),
            changes_base: settings.changes_base.clone(),
            tied: base.is_some_and(|base| base.config.tied_head),
            new_tokens: base.map_or(0, |base| base.new_tokens),
            unsaid: ["r", "lora_alpha", "target_modules"]
                .into_iter()
                .filter(is_unsaid)
                .collect(),
            ..Self::default()
        };
        let spelled = |tensor: &RawTensor| read_name(&tensor.name).map(|spelled| spelled.part);
        for tensor in &raw.copies {
            match spelled(tensor) {
                Some(Role::BaseWeight) => facts.base_weights = true,
                Some(Role::Whole) => facts.copies.push(tensor.name.clone()),
                _ => {}
            }
        }
        let (mut unusual, mut shapes) = (BTreeSet::new(), BTreeSet::new());
        for (path, module) in modules {
            facts.embedding |= module.has(&[Role::EmbeddingA]);
            facts.base_weights |= module.has(&[Role::BaseWeight]);
            facts.dora |= module.has(&[Role::Magnitude]);
            facts.experts |= is_of_experts(path);
            facts.head |= module.has(&[Role::A]) && names_any(path, &HEADS);
            match module.at(Role::Whole) {
                Some(tensor) if settings.saves_whole(path) => {
                    shapes.insert(tensor.shape.len());
                }
                Some(tensor) => facts.copies.push(tensor.name.clone()),
                None => {}
            }
            if !module.has(&[Role::A, Role::EmbeddingA]) {
                continue;
            }
            let scale = settings.scale_of(path);
            let (least, most) = facts.scales.unwrap_or((scale, scale));
            facts.scales = Some((least.min(scale), most.max(scale)));
            facts.modules += 1;
            facts.ranks.insert(settings.rank_of(path));
            facts.own_alphas |= settings.alpha_of(path) != settings.alpha;
            facts.own_ranks |= settings.rank_of(path) != settings.rank;
            let name = path.rsplit('.').next().unwrap_or(path);
            if !LLAMA_LIKE.contains(&name) {
                unusual.insert(name.to_owned());
            }
        }
        facts.only_norms = shapes.into_iter().eq([1]);
        facts.unusual_modules = unusual.into_iter().collect();
        let lacks = |name: &str| read_name(name).is_some_and(|spelled| !spelled.has_prefix);
        facts.lacks_prefix = raw.tensors.iter().any(|tensor| lacks(&tensor.name));
        facts
    }

    /// Takes over what the findings mean to each program.
    pub(super) fn judge(&mut self, findings: &[Finding]) {
        let damage = findings.iter().find(|finding| finding.is_damage());
        self.damage = damage.map(ToString::to_string);
        let mut errors = findings.iter().filter(|f| f.severity() == Severity::Error);
        self.refusal = errors.next().map(ToString::to_string);
        let setting = |finding: &Finding| match finding {
            Finding::NotApplied { key, .. } => Some(key.clone()),
            _ => None,
        };
        self.passed_over = findings.iter().filter_map(setting).collect();
    }

    pub(super) fn max_rank(&self) -> usize {
        self.ranks.last().copied().unwrap_or(0)
    }
}
