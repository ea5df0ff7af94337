//! What a check has to say of an adapter: each finding a sentence, how much it matters, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::provenance::Provenance;
use super::spelling::{PREFIX, Role, written_end};

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
    UnknownSettings { keys: Vec<String>, are_set: bool },
    #[error("`{key}` is {value}, which Hone does not apply")]
    NotApplied { key: String, value: String },
    #[error("`{tensor}` {what}, which Hone does not apply")]
    Unapplied { tensor: String, what: String },
    #[error(
        "`{key}` is a pattern that Hone cannot match, so the tensors alone say which modules are adapted"
    )]
    UnreadPattern { key: &'static str },
    #[error("`{key}` names `{name}`, and no tensor is on such a module")]
    IdleTarget { key: &'static str, name: String },
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
    #[error("`{tensor}` is on a module that this model does not have")]
    NoModule { tensor: String },
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
    #[error("`{tensor}` has shape {found:?}, and must be {must} in this model")]
    OtherShape {
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
    #[error(
        "`fan_in_fan_out` is true, and the linear layers of this base are not stored the other way round; PEFT turns it off"
    )]
    Transposed,
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
pub(super) fn short(hash: &str) -> String {
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

    /// A tensor that is missing at a module.
    pub(super) fn missing(path: &str, role: Role) -> Self {
        let tensor = format!("{PREFIX}{path}{}", written_end(role));
        Self::Missing { tensor }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::UnknownSettings { are_set: false, .. }
            | Self::UnreadPattern { .. }
            | Self::IdleTarget { .. }
            | Self::Transposed
            | Self::Uneven { .. }
            | Self::NamesAdapter { .. }
            | Self::OverlappingPatterns { .. }
            | Self::IdlePattern { .. } => Severity::Warning,
            Self::Untrained
            | Self::NoFingerprint
            | Self::LocalBaseName { .. }
            | Self::Grows { .. } => Severity::Note,
            _ => Severity::Error,
        }
    }

    /// Whether it is about the adapter itself, so that every program would go wrong with it. The others are judged program by
    /// program: names, other bases, and what PEFT applies and Hone does not.
    pub(super) fn is_damage(&self) -> bool {
        let is_judged = matches!(
            self,
            Self::NoPrefix { .. }
                | Self::ChangesBase { .. }
                | Self::NotApplied { .. }
                | Self::Unapplied { .. }
                | Self::UnknownSettings { .. }
        );
        self.severity() == Severity::Error && !is_judged
    }

    /// The tensor that it is about, where it is about one.
    pub(super) fn tensor(&self) -> Option<&str> {
        match self {
            Self::Missing { tensor }
            | Self::Unapplied { tensor, .. }
            | Self::Unexpected { tensor, .. }
            | Self::NoModule { tensor }
            | Self::OtherShape { tensor, .. }
            | Self::Misshaped { tensor, .. }
            | Self::Duplicate { tensor, .. }
            | Self::NotFinite { tensor, .. }
            | Self::NotNumbers { tensor, .. } => Some(tensor),
            _ => None,
        }
    }

    /// Its name for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownMethod { .. } => "unknown-method",
            Self::BadSetting { .. } => "bad-setting",
            Self::RepeatedSetting { .. } => "repeated-setting",
            Self::UnknownSettings { .. } => "unknown-settings",
            Self::NotApplied { .. } | Self::Unapplied { .. } => "not-applied",
            Self::UnreadPattern { .. } => "unread-pattern",
            Self::IdleTarget { .. } => "idle-target",
            Self::Transposed => "transposed",
            Self::ChangesBase { .. } => "changes-base",
            Self::Missing { .. } => "missing",
            Self::Uneven { .. } => "uneven",
            Self::Unexpected { .. } | Self::NoModule { .. } => "unexpected",
            Self::NoPrefix { .. } => "no-prefix",
            Self::NamesAdapter { .. } => "names-adapter",
            Self::Misshaped { .. } | Self::OtherShape { .. } => "misshaped",
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
            Self::NotApplied { .. } | Self::Unapplied { .. } | Self::UnknownSettings { .. } => {
                "where PEFT loads it, its `merge_and_unload` and `save_pretrained` make a model that Hone reads"
            }
            Self::OtherBase { .. }
            | Self::OtherTemplate { .. }
            | Self::OtherShape { .. }
            | Self::NoModule { .. } => "name the base that the adapter was trained on with --model",
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
