//! What an adapter is asked to be: its method, rank, alpha, targets, and what is trained beside.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A low-rank adapter (Hu et al. 2021) and its relatives, as the user describes it.
///
/// Settings are read by these names or by PEFT's (`r`, `lora_alpha`, `target_modules`, `modules_to_save`, …), and what is not
/// said is as in [`LoraConfig::default`]; a name that is neither is refused.
///
/// ```
/// use hone_model::LoraConfig;
///
/// let peft = r#"{"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "lora_only", "modules_to_save": ["lm_head"]}"#;
/// let config: LoraConfig = serde_json::from_str(peft).unwrap();
/// assert_eq!((config.rank, config.alpha), (8, 16.0));
/// assert_eq!(config.whole, ["lm_head"]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Width of the bottleneck.
    #[serde(alias = "r")]
    pub rank: usize,
    /// Strength: the product is multiplied with `alpha / rank`.
    #[serde(alias = "lora_alpha")]
    pub alpha: f32,
    /// Which projections it sits on.
    #[serde(alias = "target_modules")]
    pub targets: Targets,
    /// Which layers; all of them if not said.
    #[serde(
        skip_serializing_if = "Option::is_none",
        alias = "layers_to_transform",
        deserialize_with = "range_of"
    )]
    pub layers: Option<LayerRange>,
    /// Share of the adapter's inputs that are zeroed while training.
    #[serde(alias = "lora_dropout")]
    pub dropout: f32,
    /// Multiply with `alpha / √rank` instead (Kalajdzievski 2023).
    #[serde(alias = "use_rslora")]
    pub rank_stabilised: bool,
    /// Projections that get no adapter although `targets` names them; matched as `targets` is.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        alias = "exclude_modules",
        deserialize_with = "list_or_null"
    )]
    pub exclude: Vec<String>,
    /// Ranks that differ from `rank`; the first pattern that matches decides.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "pairs_or_map"
    )]
    pub rank_pattern: Vec<(String, usize)>,
    /// Alphas that differ from `alpha`; the first pattern that matches decides.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "pairs_or_map"
    )]
    pub alpha_pattern: Vec<(String, f32)>,
    /// Direction and magnitude trained apart (DoRA, Liu et al. 2024).
    #[serde(skip_serializing_if = "is_default", alias = "use_dora")]
    pub dora: bool,
    /// What `A` and `B` start from.
    #[serde(
        skip_serializing_if = "is_default",
        alias = "init_lora_weights",
        deserialize_with = "start_of"
    )]
    pub initial: Initial,
    /// Which biases of the base are trained with it.
    #[serde(skip_serializing_if = "is_default")]
    pub bias: TrainedBias,
    /// Modules that are trained whole, PEFT's `modules_to_save`: `embed_tokens`, `lm_head`, or projections by name or
    /// path.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        alias = "modules_to_save",
        deserialize_with = "list_or_null"
    )]
    pub whole: Vec<String>,
    /// Tokens whose embedding is trained, PEFT's `trainable_token_indices`; in a tied model their rows of the head too.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        alias = "trainable_token_indices",
        deserialize_with = "list_or_null"
    )]
    pub token_rows: Vec<u32>,
    /// Tokens whose rows of a head that is not tied are trained, PEFT's `trainable_token_indices` by module.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub head_rows: Vec<u32>,
    /// Learnt factors in place of low-rank pairs (IA³, Liu et al. 2022).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ia3: Option<Ia3>,
}

/// IA³: a factor for each output of a target, or for each input of those that count as feed-forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ia3 {
    /// Targets whose inputs are scaled, matched as targets are.
    pub feed_forward: Vec<String>,
}

/// What a low-rank pair starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Initial {
    /// `A` uniform within `±1/√in`, `B` zero.
    #[default]
    Random,
    /// The base's greatest singular vectors, which are taken out of it while training (PiSSA, Meng et al. 2024).
    Pissa,
    /// The same found by so many rounds of a randomised search, PEFT's `pissa_niter_k`.
    PissaRounds(usize),
    /// The beginning of the base's QR decomposition (OLoRA, Büyükakyüz 2024).
    Olora,
    /// What quantising the base to NF4 took away, as far as the rank reaches (LoftQ, Li et al. 2023, one round).
    Loftq,
}

impl Initial {
    /// Whether what it starts from is subtracted again, so that nothing has changed before the first step.
    pub fn is_subtracted(self) -> bool {
        matches!(self, Self::Pissa | Self::PissaRounds(_) | Self::Olora)
    }
}

impl std::str::FromStr for Initial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{text}` is no start; there are random, pissa, pissa-16 (rounds of a quicker search), olora, loftq"
            )
        };
        Ok(match text {
            "random" => Self::Random,
            "pissa" => Self::Pissa,
            "olora" => Self::Olora,
            "loftq" => Self::Loftq,
            _ => {
                let rounds = text.strip_prefix("pissa-").ok_or_else(refuse)?;
                Self::PissaRounds(rounds.parse().map_err(|_| refuse())?)
            }
        })
    }
}

impl std::fmt::Display for Initial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Random => f.pad("random"),
            Self::Pissa => f.pad("pissa"),
            Self::PissaRounds(rounds) => write!(f, "pissa-{rounds}"),
            Self::Olora => f.pad("olora"),
            Self::Loftq => f.pad("loftq"),
        }
    }
}

/// Types that files hold as their text.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

as_text!(Initial, LayerRange);

/// Which biases of the base are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainedBias {
    /// None of them.
    #[default]
    None,
    /// Every bias of every linear layer.
    All,
    /// Those of adapted projections, PEFT's `lora_only`.
    #[serde(alias = "lora_only")]
    Adapted,
}

impl TrainedBias {
    /// What PEFT calls them.
    const IN_PEFT: [(Self, &str); 3] = [
        (Self::None, "none"),
        (Self::All, "all"),
        (Self::Adapted, "lora_only"),
    ];

    pub(super) fn peft_name(self) -> &'static str {
        let mut all = Self::IN_PEFT.into_iter();
        all.find(|row| row.0 == self).map_or("", |row| row.1)
    }

    pub(super) fn of_peft(name: &str) -> Option<Self> {
        let mut all = Self::IN_PEFT.into_iter();
        all.find(|row| row.1 == name).map(|row| row.0)
    }
}

/// PEFT writes null where there is no list.
fn list_or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Pairs in their order, or PEFT's map; its entries count in the order of their names.
fn pairs_or_map<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<(String, T)>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Pattern<T> {
        Pairs(Vec<(String, T)>),
        Map(BTreeMap<String, T>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => vec![],
        Some(Pattern::Pairs(pairs)) => pairs,
        Some(Pattern::Map(map)) => map.into_iter().collect(),
    })
}

/// A range by its text, or PEFT's number or list of layers that lie side by side.
fn range_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LayerRange>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Layers {
        Range(LayerRange),
        One(usize),
        List(Vec<usize>),
    }
    let list = match Option::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Layers::Range(range)) => return Ok(Some(range)),
        Some(Layers::One(layer)) => vec![layer],
        Some(Layers::List(list)) => list,
    };
    match (list.first(), list.last()) {
        (Some(&first), Some(&last)) if (first..=last).eq(list.iter().copied()) => {
            let last = Some(last);
            Ok(Some(LayerRange { first, last }))
        }
        _ => Err(D::Error::custom(
            "layers must lie side by side, in rising order",
        )),
    }
}

/// A start by its name here, or as PEFT writes it: true is random, `pissa_niter_16` has rounds.
fn start_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Initial, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Start {
        Flag(bool),
        Name(String),
    }
    let name = match Start::deserialize(deserializer)? {
        Start::Flag(true) => "random".to_owned(),
        Start::Flag(false) => {
            return Err(D::Error::custom(
                "a start that is not zero is not supported: PEFT's false",
            ));
        }
        Start::Name(name) => name.replace("pissa_niter_", "pissa-"),
    };
    name.parse().map_err(D::Error::custom)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            targets: Targets::AllLinear,
            layers: None,
            dropout: 0.0,
            rank_stabilised: false,
            exclude: vec![],
            rank_pattern: vec![],
            alpha_pattern: vec![],
            dora: false,
            initial: Initial::Random,
            bias: TrainedBias::None,
            whole: vec![],
            token_rows: vec![],
            head_rows: vec![],
            ia3: None,
        }
    }
}

/// Layers counted from 0, both ends included: `20-29`, or `20-` to the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerRange {
    first: usize,
    last: Option<usize>,
}

impl LayerRange {
    /// Whether a layer is in it.
    pub fn contains(self, layer: usize) -> bool {
        (self.first..=self.last.unwrap_or(usize::MAX)).contains(&layer)
    }
}

impl std::str::FromStr for LayerRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no range of layers; write it like 20-29, 20- or 7");
        let number = |part: &str| part.trim().parse::<usize>().map_err(|_| refuse());
        let (first, last) = match text.split_once('-') {
            None => (number(text)?, Some(number(text)?)),
            Some((first, last)) if last.trim().is_empty() => (number(first)?, None),
            Some((first, last)) => (number(first)?, Some(number(last)?)),
        };
        match last {
            Some(last) if last < first => Err(refuse()),
            _ => Ok(Self { first, last }),
        }
    }
}

impl std::fmt::Display for LayerRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.last {
            None => write!(f, "{}-", self.first),
            Some(last) => write!(f, "{}-{last}", self.first),
        }
    }
}

/// Which projections an adapter sits on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// Every linear layer but the head.
    #[serde(with = "all_linear")]
    AllLinear,
    /// By name, matched as PEFT does: the whole path, or its end after a dot.
    Names(Vec<String>),
}

impl Targets {
    /// `all-linear`, or names separated by commas.
    pub fn parse(text: &str) -> Self {
        if text.eq_ignore_ascii_case(all_linear::NAME) {
            return Self::AllLinear;
        }
        let names = text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        Self::Names(names.map(str::to_owned).collect())
    }
}

impl std::fmt::Display for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AllLinear => f.write_str(all_linear::NAME),
            Self::Names(names) => f.write_str(&names.join(",")),
        }
    }
}

mod all_linear {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub const NAME: &str = "all-linear";

    pub fn serialize<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(NAME)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.eq_ignore_ascii_case(NAME) {
            return Ok(());
        }
        Err(D::Error::custom(format!(
            "expected `{NAME}` or a list of names"
        )))
    }
}

/// Why an adapter cannot be attached as asked.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A name that is no projection of this model.
    #[error("no projection of this model matches adapter target `{target}`{}", did_you_mean(.near))]
    UnknownTarget {
        /// What was asked for.
        target: String,
        /// The closest name that exists.
        near: Option<String>,
        /// Every name that exists.
        available: Vec<String>,
    },
    /// One of two matrices that are one parameter.
    #[error(
        "the adapter target `{first}` is one parameter with `{second}`, which is not among the targets"
    )]
    Alone {
        /// What was asked for.
        first: &'static str,
        /// What belongs to it.
        second: &'static str,
    },
    /// A number that makes no adapter.
    #[error("adapter {name} is {value}, and must be {must}")]
    BadNumber {
        /// Which number.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// Layers that the model does not have.
    #[error("layers {layers} were asked for, and this model has layers 0-{}", num_layers - 1)]
    NoSuchLayer {
        /// What was asked for.
        layers: LayerRange,
        /// How many there are.
        num_layers: usize,
    },
    /// The head shares its matrix with the embedding.
    #[error(
        "`lm_head` is tied to the embedding in this model, so an adapter on it would change both"
    )]
    TiedHead,
    /// A module that is to be trained whole, and is tied to another.
    #[error(
        "`{module}` is tied in this model; train `embed_tokens` whole, which trains the head with it"
    )]
    TiedWhole {
        /// What was asked for.
        module: String,
    },
    /// A name that was to be left out or to have a rank of its own, and is adapted by nothing.
    #[error("`{name}` in {list} matches no adapted projection")]
    Unmatched {
        /// Which setting.
        list: &'static str,
        /// The name.
        name: String,
    },
    /// Two wishes that have no meaning together, or none that is built.
    #[error("{first} together with {second} is not supported")]
    Together {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Biases are to be trained and there are none.
    #[error("the biases were to be trained, and this model's linear layers have none")]
    NoBias,
    /// A token that the model does not have.
    #[error("token {id} was to be trained, and this model has {vocab_size} tokens")]
    NoSuchToken {
        /// The token.
        id: u32,
        /// How many there are.
        vocab_size: usize,
    },
}

impl AttachError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownTarget { available, .. } => {
                vec![format!(
                    "projections in this model: {}, or `all-linear`",
                    available.join(", ")
                )]
            }
            Self::BadNumber { .. } | Self::NoSuchLayer { .. } | Self::TiedWhole { .. } => vec![],
            Self::Alone { second, .. } => vec![format!("name `{second}` too, or `gate_up_proj`")],
            Self::Unmatched { .. } => {
                vec!["names match as targets do: a whole path, or its end after a dot".into()]
            }
            Self::Together { first, second } => vec![format!("leave out {first} or {second}")],
            Self::NoBias => vec!["leave the biases as they are".into()],
            Self::NoSuchToken { vocab_size, .. } => vec![format!(
                "tokens are numbered from 0 to {}; `--new-tokens` adds others by their text",
                vocab_size - 1
            )],
            Self::TiedHead => vec!["leave `lm_head` out of the targets".into()],
        }
    }
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref()
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}

/// What a rank may be: more than any layer is wide is no rank, and would only take memory.
pub(super) const MOST_RANK: usize = 65536;

impl LoraConfig {
    /// Refuses numbers that make no adapter.
    pub(super) fn check_numbers(&self) -> Result<(), AttachError> {
        let bad = |name, value: String, must| Err(AttachError::BadNumber { name, value, must });
        let own = self
            .rank_pattern
            .iter()
            .map(|row| ("rank of a pattern", row.1));
        for (name, rank) in std::iter::once(("rank", self.rank)).chain(own) {
            match rank {
                0 => return bad(name, "0".into(), "at least 1"),
                1..=MOST_RANK => {}
                _ => return bad(name, rank.to_string(), "at most 65536"),
            }
        }
        let own = self
            .alpha_pattern
            .iter()
            .map(|row| ("alpha of a pattern", row.1));
        for (name, alpha) in std::iter::once(("alpha", self.alpha)).chain(own) {
            if !(alpha.is_finite() && alpha > 0.0) {
                return bad(name, alpha.to_string(), "a positive number");
            }
        }
        match self.dropout {
            dropout if (0.0..1.0).contains(&dropout) => Ok(()),
            dropout => bad("dropout", dropout.to_string(), "at least 0 and below 1"),
        }
    }

    /// What the low-rank product is multiplied with.
    pub fn scale(&self) -> f32 {
        scale(self.alpha, self.rank, self.rank_stabilised)
    }
}

/// Refuses the first two wishes of which both hold.
pub(super) fn together(
    wishes: impl IntoIterator<Item = (bool, &'static str, &'static str)>,
) -> Result<(), AttachError> {
    match wishes.into_iter().find(|(both, _, _)| *both) {
        Some((_, first, second)) => Err(AttachError::Together { first, second }),
        None => Ok(()),
    }
}

/// `alpha / rank`, or `alpha / √rank` when rank-stabilised.
pub fn scale(alpha: f32, rank: usize, rank_stabilised: bool) -> f32 {
    let rank = rank as f64;
    (f64::from(alpha) / if rank_stabilised { rank.sqrt() } else { rank }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_ranges_read_and_write_themselves() {
        for (text, shown, inside, outside) in [
            ("20-29", "20-29", 29, 30),
            ("20-", "20-", 1000, 19),
            ("7", "7-7", 7, 8),
        ] {
            let range: LayerRange = text.parse().unwrap();
            assert_eq!(range.to_string(), shown);
            assert!(range.contains(inside) && !range.contains(outside), "{text}");
        }
        for bad in ["", "-", "-3", "9-2", "a-b", "1-2-3"] {
            assert!(bad.parse::<LayerRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_read_by_pefts_names_and_refused_by_unknown_ones() {
        let peft = r#"{
            "r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "use_rslora": true, "use_dora": false,
            "target_modules": ["q_proj"], "exclude_modules": null, "modules_to_save": ["lm_head"],
            "layers_to_transform": [1, 2], "rank_pattern": {"v_proj": 4}, "alpha_pattern": {},
            "init_lora_weights": "pissa_niter_16", "bias": "lora_only", "trainable_token_indices": [3]
        }"#;
        let read: LoraConfig = serde_json::from_str(peft).unwrap();
        let expected = LoraConfig {
            rank: 8,
            alpha: 16.0,
            dropout: 0.1,
            rank_stabilised: true,
            targets: Targets::parse("q_proj"),
            whole: vec!["lm_head".into()],
            layers: Some("1-2".parse().unwrap()),
            rank_pattern: vec![("v_proj".into(), 4)],
            initial: Initial::PissaRounds(16),
            bias: TrainedBias::Adapted,
            token_rows: vec![3],
            ..LoraConfig::default()
        };
        assert_eq!(read, expected);
        let own = serde_json::to_string(&expected).unwrap();
        assert_eq!(serde_json::from_str::<LoraConfig>(&own).unwrap(), expected);
        assert_eq!(
            serde_json::from_str::<LoraConfig>("{}").unwrap(),
            LoraConfig::default()
        );
        let start = r#"{"init_lora_weights": true}"#;
        assert_eq!(
            serde_json::from_str::<LoraConfig>(start).unwrap(),
            LoraConfig::default()
        );
        for wrong in [r#"{"lora_r": 8}"#, r#"{"init_lora_weights": false}"#] {
            assert!(
                serde_json::from_str::<LoraConfig>(wrong).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn targets_read_and_write_themselves() {
        assert_eq!(Targets::parse("All-Linear"), Targets::AllLinear);
        assert_eq!(
            Targets::parse("q_proj, v_proj").to_string(),
            "q_proj,v_proj"
        );
        for targets in [Targets::AllLinear, Targets::parse("q_proj,v_proj")] {
            let text = serde_json::to_string(&targets).unwrap();
            assert_eq!(
                serde_json::from_str::<Targets>(&text).unwrap(),
                targets,
                "{text}"
            );
        }
    }
}
