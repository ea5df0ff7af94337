//! What was asked for: the options of `hone train`, all optional, as flags or as keys of a run file.
//!
//! One struct serves both, so a knob has one name, one type and one description wherever it is met. Nothing is decided
//! here; [`super::Settings`] does that.

use crate::curation::{RuleFlag, nulls};
use crate::data_flags::{ColumnFlag, SideFlag};
use clap::{Args, ValueEnum};
use hone_data::Nulls;
use hone_model::{Initial, LayerRange};
use hone_text::{Date, TemplateOption};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Options of a training run as written by the user.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawTrain {
    /// Base model: a directory, a .gguf file, a built-in name, or a hub id
    #[arg(long, value_name = "M")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Chat template: a name that the model has for one, `instruction`, `chatml`, or a .jinja file [default: the model's own]
    #[arg(long, value_name = "TEMPLATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// What the chat template reads beside the turns, such as enable_thinking=false: JSON or text; may be given more than once
    #[arg(long = "template-option", value_name = "NAME=VALUE")]
    #[serde(rename = "template-option", skip_serializing_if = "Option::is_none")]
    pub template_options: Option<Vec<TemplateOption>>,
    /// Day that the chat template prints, where it prints one, as 2026-11-30 [default: today]
    #[arg(long, value_name = "DATE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
    /// Dataset directory of `hone data build`, or files and folders of rows in any form that it reads; of folders with sides, train is trained on and validation evaluated on
    #[arg(long, value_name = "F", num_args = 1..)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<PathBuf>>,
    /// File of the validation set, in place of a validation side of --data or a share of it
    #[arg(long, value_name = "F")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<PathBuf>,
    /// Share of the data held out where neither --valid nor a validation side of --data is the validation set [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_share: Option<f64>,
    /// Split rows that come as train and validation rows anew, with what belongs together on one side [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regroup: Option<bool>,
    /// A field that stands in a column of another name, such as prompt=question; may be given more than once
    #[arg(long = "column", value_name = "FIELD=COLUMN")]
    #[serde(rename = "column", skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<ColumnFlag>>,
    /// Which side a file or a split of a folder is: train, valid, test or skip, such as forget=train
    #[arg(long = "side", value_name = "NAME=SIDE")]
    #[serde(rename = "side", skip_serializing_if = "Option::is_none")]
    pub sides: Option<Vec<SideFlag>>,
    /// Configuration of a folder's README.md, or dataset of its dataset_info.json
    #[arg(long = "config", value_name = "NAME")]
    #[serde(rename = "config", skip_serializing_if = "Option::is_none")]
    pub configs: Option<Vec<String>>,
    /// What to do about what a rule or a family of rules sees in files, such as personal-data=redact or leak=drop
    #[arg(long = "rule", value_name = "RULE=ACTION")]
    #[serde(rename = "rule", skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RuleFlag>>,
    /// Key of a row that is passed over whatever it holds; turn.KEY for keys of turns
    #[arg(long = "ignore-key", value_name = "KEY")]
    #[serde(rename = "ignore-key", skip_serializing_if = "Option::is_none")]
    pub ignore_keys: Option<Vec<String>>,
    /// What null properties of tool calls and tools are: keep or drop; rows of JSON that have one are refused without it
    #[arg(long, value_name = "WHAT", value_parser = nulls)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nulls: Option<Nulls>,
    /// Directory of the run: adapter, events, report
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<PathBuf>,
    /// lora keeps the base as stored, qlora holds it in 4-bit NF4 [default: lora]
    #[arg(long, value_name = "METHOD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Rank of the adapter [default: 16]
    #[arg(long, value_name = "R")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Scale of the adapter, divided by its rank [default: 32]
    #[arg(long, value_name = "A")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// all-linear, or names such as q_proj,v_proj [default: all-linear]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<String>>,
    /// Projections that get no adapter although --targets names them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// Ranks that differ, such as down_proj=32,layers.0.self_attn.q_proj=4
    #[arg(long, value_name = "NAME=R", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_pattern: Option<Vec<Own>>,
    /// Alphas that differ, written as --rank-pattern
    #[arg(long, value_name = "NAME=A", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_pattern: Option<Vec<Own>>,
    /// Layers that get an adapter, such as 20-29 or 20- [default: all]
    #[arg(long, value_name = "RANGE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerRange>,
    /// Share of adapter inputs dropped while training [default: 0]
    #[arg(long, value_name = "P")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Divide alpha by the root of the rank [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rslora: Option<bool>,
    /// Learning rate of B over that of A (LoRA+); its authors use 16 [default: 1]
    #[arg(long, value_name = "RATIO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_plus: Option<f64>,
    /// Train length and direction of each row apart (DoRA) [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dora: Option<bool>,
    /// What A and B start from: random, pissa, pissa-16 (16 rounds of a quicker search), olora, loftq [default: random]
    #[arg(long, value_name = "START")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Initial>,
    /// Biases of the base that are trained: none, all, or those of adapted projections [default: none]
    #[arg(long, value_name = "WHICH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<Bias>,
    /// Modules that are fully trained: embed_tokens, lm_head, projections by name, or layers.3 for all of a layer
    #[arg(
        long = "modules-to-save",
        alias = "whole",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    #[serde(
        rename = "modules-to-save",
        alias = "whole",
        skip_serializing_if = "Option::is_none"
    )]
    pub whole: Option<Vec<String>>,
    /// Tokens whose rows of the embedding are trained, by number
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_rows: Option<Vec<u32>>,
    /// Tokens to add to the vocabulary, by their text; their rows are trained
    #[arg(long, value_name = "TOKENS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_tokens: Option<Vec<String>>,
    /// Train a factor for each output of the targets in place of A and B (IA3) [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ia3: Option<bool>,
    /// Targets of --ia3 whose inputs get the factors; down_proj if not given
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward: Option<Vec<String>>,
    /// Passes over the data [default: 1]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Time budget; decides the number of steps, at most --epochs (3 if not given)
    #[arg(long, value_name = "MIN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// AdamW with its state in f32 or in 8 bits; a paged state may leave memory when it is short [default: adamw]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Optimizer>,
    /// Peak learning rate [default: by the base's width]
    #[arg(long, value_name = "LR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// How the learning rate falls [default: cosine]
    #[arg(long, value_name = "SHAPE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Share of the steps over which the learning rate rises [default: 0.05]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// Examples per optimiser step [default: 8]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Parts a batch is computed in; more parts need less memory [default: 1]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accumulate: Option<usize>,
    /// Longest example in tokens [default: 1024]
    #[arg(long, value_name = "TOKENS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// What happens to longer examples; either way they are counted and listed [default: drop]
    #[arg(long, value_name = "POLICY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_long: Option<TooLong>,
    /// Largest norm of the gradient; 0 leaves it alone [default: 1]
    #[arg(long, value_name = "NORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Decoupled weight decay of AdamW [default: 0]
    #[arg(long, value_name = "W")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Steps between validations; ten a run if not given, fewer where --minutes is short
    #[arg(long, value_name = "STEPS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<usize>,
    /// Steps between checkpoints; as --eval-every if not given
    #[arg(long, value_name = "STEPS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<usize>,
    /// Form in which the adapter is written; it is trained in f32 [default: f32]
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_dtype: Option<SaveDtype>,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "SEED")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Threads; the result does not depend on it. All cores if not given
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Memory the run may use, such as 2GB; what is free if not given
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Form in which activations are kept for the backward pass; bf16 takes half the memory and rounds gradients a little [default: f32]
    #[arg(long, value_name = "FORM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activations: Option<Activations>,
    /// Shortcuts not to take, for comparison; each leaves out work that changes nothing
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<Vec<Shortcut>>,
}

/// A number of its own for some projections, written `down_proj=32`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Own {
    /// Name of projections, or the path of one.
    pub name: String,
    /// Their number.
    pub value: f64,
}

impl std::str::FromStr for Own {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` gives no number; write it like down_proj=32");
        let (name, value) = text.split_once('=').ok_or_else(refuse)?;
        let value: f64 = value.trim().parse().map_err(|_| refuse())?;
        match name.trim() {
            "" => Err(refuse()),
            name if value.is_finite() => Ok(Self {
                name: name.to_owned(),
                value,
            }),
            _ => Err(refuse()),
        }
    }
}

impl TryFrom<String> for Own {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Own> for String {
    fn from(own: Own) -> Self {
        own.to_string()
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// Biases of the base that are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// None of them.
    None,
    /// Every bias of every linear layer.
    All,
    /// Those of adapted projections.
    Adapted,
}

/// Form of the activations between the two passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activations {
    /// As computed.
    F32,
    /// Rounded to half the memory.
    Bf16,
}

/// Work that is left out because it would change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcut {
    /// Beginnings that examples of a batch have in common are computed once.
    SharedPrefix,
    /// The first layer projects each distinct token once.
    DistinctTokens,
    /// The last layer computes only rows that feed a supervised token.
    LastLayer,
    /// The head computes supervised rows only.
    SupervisedHead,
    /// The backward pass ends at the lowest adapted layer.
    LowestLayer,
    /// What enters the lowest adapted layer is kept from epoch to epoch.
    ActivationCache,
}

/// How the frozen base is held while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// As stored on disk.
    Lora,
    /// In NF4 with double quantisation, made on load.
    Qlora,
}

/// How the optimiser keeps its two moments of every trained number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// In f32.
    Adamw,
    /// In 8 bits, as bitsandbytes does.
    Adamw8bit,
    /// In f32, in pages of a file.
    PagedAdamw,
    /// In 8 bits, in pages of a file.
    PagedAdamw8bit,
}

/// Form of an adapter on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaveDtype {
    /// As trained.
    F32,
    /// Half the size, the range of f32.
    Bf16,
    /// Half the size, more digits, up to 65504.
    F16,
}

/// Shape of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine down to zero.
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// Flat.
    Constant,
}

/// What happens to an example longer than the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TooLong {
    /// It is left out.
    Drop,
    /// Its end is cut.
    Truncate,
}

macro_rules! display_as_flag {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = self.to_possible_value().expect("no variant is skipped");
                f.pad(value.get_name())
            }
        }
    )*};
}
display_as_flag!(
    Method,
    Bias,
    Optimizer,
    SaveDtype,
    Schedule,
    TooLong,
    Activations,
    Shortcut
);

/// A number of bytes, written `1500MB`, `2GB` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size {
    /// The number of bytes.
    pub bytes: u64,
}

/// Units of a [`Size`], longest suffix first so that `GiB` is not read as `B`.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("B", 1),
];

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a size; write it like 1500MB, 2GB or 2GiB");
        let split = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
        let (number, factor) = split.unwrap_or((text, 1));
        let number: f64 = number.trim().parse().map_err(|_| refuse())?;
        let bytes = number * factor as f64;
        if !bytes.is_finite() || bytes < 1.0 {
            return Err(refuse());
        }
        Ok(Self {
            bytes: bytes as u64,
        })
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        format!("{}B", size.bytes)
    }
}

impl fmt::Display for Size {
    /// Three digits are enough to compare with what a machine has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.bytes {
            n if n >= 1_000_000_000 => format!("{:.2} GB", n as f64 / 1e9),
            n if n >= 100_000_000 => format!("{:.0} MB", n as f64 / 1e6),
            n if n >= 1_000_000 => format!("{} MB", (n as f64 / 1e5).round() / 10.0),
            n if n >= 1_000 => format!("{:.0} kB", n as f64 / 1e3),
            n => format!("{n} B"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.bytes);
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(bytes("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(bytes("512 MB"), Ok(512_000_000));
        assert_eq!(bytes("77"), Ok(77));
        let shown = |bytes| Size { bytes }.to_string();
        assert_eq!(shown(21_560_000), "21.6 MB");
        assert_eq!(shown(1_000_000), "1 MB");
        assert_eq!(shown(1_234_000_000), "1.23 GB");
        for bad in ["", "GB", "-1GB", "0", "many", "nan", "inf"] {
            assert!(bytes(bad).unwrap_err().contains("1500MB"), "{bad}");
        }
    }
}
