//! What an adapter is asked to be: rank, alpha, targets.

use serde::{Deserialize, Serialize};

/// A low-rank adapter (Hu et al. 2021), as the user describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// Width of the bottleneck.
    pub rank: usize,
    /// Strength: the product is multiplied with `alpha / rank`.
    pub alpha: f32,
    /// Which projections it sits on.
    pub targets: Targets,
    /// Which layers; all of them if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerRange>,
    /// Share of the adapter's inputs that are zeroed while training.
    pub dropout: f32,
    /// Multiply with `alpha / √rank` instead (Kalajdzievski 2023).
    pub rank_stabilised: bool,
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

impl TryFrom<String> for LayerRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LayerRange> for String {
    fn from(range: LayerRange) -> Self {
        range.to_string()
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

/// Whether PEFT's rule for a list of targets picks the module at `path`.
pub fn target_matches(target: &str, path: &str) -> bool {
    path == target
        || path
            .strip_suffix(target)
            .is_some_and(|head| head.ends_with('.'))
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
            Self::BadNumber { .. } | Self::NoSuchLayer { .. } => vec![],
            Self::TiedHead => vec!["leave `lm_head` out of the targets".into()],
        }
    }
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref()
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}

impl LoraConfig {
    /// Refuses numbers that make no adapter.
    pub fn check(&self) -> Result<(), AttachError> {
        let bad = |name, value: String, must| Err(AttachError::BadNumber { name, value, must });
        if self.rank == 0 {
            return bad("rank", "0".into(), "at least 1");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return bad("alpha", self.alpha.to_string(), "a positive number");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad(
                "dropout",
                self.dropout.to_string(),
                "at least 0 and below 1",
            );
        }
        Ok(())
    }

    /// What the low-rank product is multiplied with.
    pub fn scale(&self) -> f32 {
        scale(self.alpha, self.rank, self.rank_stabilised)
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
    fn targets_match_whole_paths_and_ends_after_a_dot() {
        let path = "model.layers.1.self_attn.q_proj";
        assert!(
            target_matches("q_proj", path)
                && target_matches("self_attn.q_proj", path)
                && target_matches(path, path)
        );
        assert!(!target_matches("proj", path) && !target_matches("_proj", path));
    }

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
