//! What others do with an adapter: read it right, refuse it, or, worst, read it wrong and say nothing.
//!
//! Each rule is what the source of that program does: PEFT 0.21, vLLM's `peft_helper.py`, llama.cpp's
//! `convert_lora_to_gguf.py` and `llama-adapter.cpp`, Ollama's converter, mlx-lm's `tuner`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::TrainedBias;
use super::check::CheckedBase;
use super::finding::{Finding, Severity};
use super::methods::METHODS;
use super::raw::{Modules, RawAdapter, RawTensor};
use super::settings::{Settings, is_of_experts};
use super::spelling::read_name;
use super::table::Role;
use super::targets::{HEADS, Names, names_any};

/// A program that can be given an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Runtime {
    /// Hone itself.
    #[serde(rename = "hone")]
    Hone,
    /// Hugging Face PEFT.
    #[serde(rename = "peft")]
    Peft,
    /// vLLM.
    #[serde(rename = "vllm")]
    Vllm,
    /// llama.cpp, through its converter.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// Ollama, given the safetensors.
    #[serde(rename = "ollama")]
    Ollama,
    /// mlx-lm.
    #[serde(rename = "mlx")]
    Mlx,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Hone,
        Self::Peft,
        Self::Vllm,
        Self::LlamaCpp,
        Self::Ollama,
        Self::Mlx,
    ];

    /// As a person writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hone => "hone",
            Self::Peft => "peft",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "ollama",
            Self::Mlx => "mlx",
        }
    }
}

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|runtime| runtime.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|runtime| runtime.name()).collect();
            format!("`{text}` is none of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a program would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It gives the logits that were trained.
    Right,
    /// It says no.
    Refuses,
    /// It gives other logits and does not say so.
    Wrong,
}

/// What one program would do with an adapter, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which program.
    pub runtime: Runtime,
    /// What it would do.
    pub outcome: Outcome,
    /// Why, and what to know besides.
    pub reasons: Vec<String>,
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
    pub(crate) fn of(
        settings: &Settings,
        modules: &Modules,
        raw: &RawAdapter,
        base: Option<CheckedBase>,
    ) -> Self {
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
        for tensor in raw.copies.iter() {
            facts.base_weights |= spelled(tensor) == Some(Role::BaseWeight);
            facts
                .copies
                .extend((spelled(tensor) == Some(Role::Whole)).then(|| tensor.name.clone()));
        }
        let (mut unusual, mut shapes) = (BTreeSet::new(), BTreeSet::new());
        for (path, parts) in modules {
            facts.embedding |= parts.contains_key(&Role::EmbeddingA);
            facts.base_weights |= parts.contains_key(&Role::BaseWeight);
            facts.dora |= parts.contains_key(&Role::Magnitude);
            facts.experts |= is_of_experts(path);
            facts.head |= parts.contains_key(&Role::A) && names_any(path, &HEADS);
            let whole = parts.get(&Role::Whole);
            if let Some(tensor) = whole.filter(|_| !settings.saves_whole(path)) {
                facts.copies.push(tensor.name.clone());
            }
            if let Some(tensor) = whole.filter(|_| settings.saves_whole(path)) {
                shapes.insert(tensor.shape.len());
            }
            if !parts.contains_key(&Role::A) && !parts.contains_key(&Role::EmbeddingA) {
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

    /// What each program would do.
    pub fn verdicts(&self) -> Vec<Verdict> {
        Runtime::ALL
            .into_iter()
            .map(|runtime| self.verdict(runtime))
            .collect()
    }

    /// What one program would do.
    pub fn verdict(&self, runtime: Runtime) -> Verdict {
        let mut said = Said::default();
        let damage = self.damage.as_ref().filter(|_| runtime != Runtime::Hone);
        if let Some(damage) = damage {
            said.wrong(&format!("the adapter itself is wrong: {damage}"));
        }
        match runtime {
            Runtime::Hone => self
                .refusal
                .iter()
                .for_each(|refusal| said.refuses(refusal)),
            Runtime::Peft => self.in_peft(&mut said),
            Runtime::Vllm => self.in_vllm(&mut said),
            Runtime::LlamaCpp => self.in_llama_cpp(&mut said),
            Runtime::Ollama => self.in_ollama(&mut said),
            Runtime::Mlx => said.refuses("reads its own format: `hone export --to mlx` writes it"),
        }
        Verdict {
            runtime,
            outcome: said.outcome,
            reasons: said.reasons,
        }
    }

    fn in_peft(&self, said: &mut Said) {
        said.wrong_if(
            self.lacks_prefix,
            "names without `base_model.model.` are passed over with one warning",
        );
        if let Some(method) = &self.changes_base {
            said.notes(format!("repeats `{method}` on the base when it loads: right only with the same base, rank and precision"));
        }
    }

    fn wrong_if_passed_over(&self, said: &mut Said, but: &str) {
        for key in self.passed_over.iter().filter(|key| *key != but) {
            said.wrong(&format!("`{key}` is passed over"));
        }
    }

    fn refuses_if_unsaid(&self, said: &mut Said, wanted: &[&str]) {
        for key in self
            .unsaid
            .iter()
            .filter(|key| wanted.contains(key) && !self.ia3)
        {
            said.refuses(&format!("wants `{key}` to be set"));
        }
    }

    fn in_vllm(&self, said: &mut Said) {
        self.refuses_if_unsaid(said, &["r", "lora_alpha", "target_modules"]);
        self.wrong_if_passed_over(said, "");
        self.judge_methods(Runtime::Vllm, said);
        said.refuses_if(
            self.lacks_prefix,
            "names without `base_model.model.` are refused",
        );
        self.wrong_if_base_changed(said);
        self.refuses_new_tokens(said);
    }

    fn in_llama_cpp(&self, said: &mut Said) {
        self.refuses_if_unsaid(said, &["lora_alpha"]);
        self.wrong_if_passed_over(said, "alora_invocation_tokens");
        self.judge_methods(Runtime::LlamaCpp, said);
        self.refuses_new_tokens(said);
        self.wrong_if_base_changed(said);
        if said.outcome == Outcome::Wrong {
            said.notes("`hone export --to gguf-adapter` writes it with the scales in the numbers");
        }
    }

    fn judge_methods(&self, runtime: Runtime, said: &mut Said) {
        METHODS
            .iter()
            .for_each(|method| method.judge(self, runtime, said));
    }

    fn refuses_new_tokens(&self, said: &mut Said) {
        said.refuses_if(
            self.new_tokens > 0,
            "has no rows for tokens beyond the base's vocabulary: `hone merge` makes a model that has",
        );
    }

    fn in_ollama(&self, said: &mut Said) {
        self.in_llama_cpp(said);
        said.refuses_if(
            !self.unusual_modules.is_empty(),
            &format!(
                "its converter knows q, k, v, o, gate, up and down, not {}",
                self.unusual_modules.join(", ")
            ),
        );
        said.notes("one adapter for one model; a GGUF adapter in the Modelfile is the surer way");
    }

    fn wrong_if_base_changed(&self, said: &mut Said) {
        if let Some(method) = &self.changes_base {
            said.wrong(&format!(
                "`{method}` changed the base, and this is not done again here"
            ));
        }
    }
}

/// What a program would do, as it comes to light.
pub(crate) struct Said {
    outcome: Outcome,
    reasons: Vec<String>,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            outcome: Outcome::Right,
            reasons: vec![],
        }
    }
}

impl Said {
    pub fn notes(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    pub fn notes_if(&mut self, holds: bool, reason: &str) {
        if holds {
            self.notes(reason);
        }
    }

    /// What is refused is not read wrong any more.
    pub fn refuses(&mut self, reason: &str) {
        self.outcome = Outcome::Refuses;
        self.notes(reason);
    }

    pub fn refuses_if(&mut self, holds: bool, reason: &str) {
        if holds {
            self.refuses(reason);
        }
    }

    pub fn wrong(&mut self, reason: &str) {
        if self.outcome == Outcome::Right {
            self.outcome = Outcome::Wrong;
        }
        self.notes(reason);
    }

    pub fn wrong_if(&mut self, holds: bool, reason: &str) {
        if holds {
            self.wrong(reason);
        }
    }
}
