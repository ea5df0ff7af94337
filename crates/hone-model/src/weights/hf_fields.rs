//! A `config.json` being read, field by field: what a family asks of it.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::config_error::ConfigError;
use crate::arch::{DecoderConfig, Rope, RopeScaling, long_magnitude, yarn_magnitude};
use crate::one_line::one_line;

/// The one value a field may have; null and absence are always allowed.
#[derive(Clone, Copy)]
pub(super) enum Only {
    Text(&'static str),
    Number(f64),
    Flag(bool),
    Nothing,
}

impl Only {
    fn allows(self, value: &Json) -> bool {
        match (self, value) {
            (_, Json::Null) => true,
            (Self::Text(text), Json::String(found)) => text == found,
            (Self::Number(number), Json::Number(found)) => found.as_f64() == Some(number),
            (Self::Flag(flag), Json::Bool(found)) => flag == *found,
            (Self::Nothing, Json::Bool(found)) => !found,
            _ => false,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Text(text) => format!("`{text}`"),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Nothing => "models without it".to_owned(),
        }
    }
}

/// Hugging Face writes one end token as a number and several as a list.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "it is neither the number of a token nor a list of such numbers"
)]
pub(super) enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl OneOrMany {
    pub(super) fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// A `config.json` being read.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub path: &'a Path,
    pub map: &'a Map<String, Json>,
    /// The usual name of a field and the family's own.
    pub aliases: &'static [(&'static str, &'static str)],
    /// Whether the family reads which share of a head turns.
    pub is_partial: bool,
}

impl<'a> Fields<'a> {
    fn value(&self, field: &str) -> Option<&'a Json> {
        let own = self.aliases.iter().find(|row| row.0 == field);
        let names = [own.map(|row| row.1), Some(field)];
        let found = names
            .into_iter()
            .flatten()
            .find_map(|name| self.map.get(name));
        found.filter(|value| !value.is_null())
    }

    /// A field that may be absent or null.
    pub fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, ConfigError> {
        let parse = |value: &Json| {
            T::deserialize(value).map_err(|source| ConfigError::Field {
                path: self.path.into(),
                field: field.into(),
                source,
            })
        };
        self.value(field).map(parse).transpose()
    }

    /// A field by this very name, that may be absent or null.
    pub fn own<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, ConfigError> {
        let plain = Self {
            aliases: &[],
            ..*self
        };
        plain.get(field)
    }

    /// Whether a field is there, be it null.
    pub fn is_said(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// A field that must be there.
    pub fn need<T: DeserializeOwned>(&self, field: &str) -> Result<T, ConfigError> {
        self.get(field)?.ok_or_else(|| self.missing(field))
    }

    /// A number, or what transformers takes where there is none.
    pub fn number(&self, field: &str, default: f64) -> Result<f32, ConfigError> {
        Ok(self.get::<f64>(field)?.unwrap_or(default) as f32)
    }

    /// Yes or no, or what transformers takes where neither is said.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.get(field)?.unwrap_or(default))
    }

    /// One of several words, each with its meaning.
    pub fn one_of<T: Copy>(
        &self,
        field: &str,
        default: &str,
        known: &[(&str, T)],
    ) -> Result<T, ConfigError> {
        let found = self.get::<String>(field)?.unwrap_or_else(|| default.into());
        let known_word = known.iter().find(|row| row.0 == found);
        known_word.map(|row| row.1).ok_or_else(|| {
            let words: Vec<String> = known.iter().map(|row| format!("`{}`", row.0)).collect();
            self.unsupported(field, format_args!("`{found}`"), &words.join(", "))
        })
    }

    /// Refuses any value but one.
    pub fn only(&self, field: &str, only: Only) -> Result<(), ConfigError> {
        match self.value(field) {
            Some(found) if !only.allows(found) => {
                Err(self.unsupported(field, found, &only.describe()))
            }
            _ => Ok(()),
        }
    }

    pub fn missing(&self, field: &str) -> ConfigError {
        ConfigError::Missing {
            path: self.path.into(),
            field: field.into(),
        }
    }

    /// A value that is not computed.
    pub fn unsupported(&self, field: &str, found: impl ToString, supported: &str) -> ConfigError {
        ConfigError::Unsupported {
            path: self.path.into(),
            field: field.into(),
            found: one_line(found.to_string()),
            supported: supported.into(),
        }
    }

    pub fn context_len(&self) -> Result<usize, ConfigError> {
        Ok(self.get("max_position_embeddings")?.unwrap_or(2048))
    }

    /// Windows of the layers: as `layer_types` says, or where `is_local` says of a layer's number.
    pub fn windows(
        &self,
        config: &mut DecoderConfig,
        window: Option<usize>,
        is_local: impl Fn(usize) -> bool,
    ) -> Result<(), ConfigError> {
        let types: Option<Vec<String>> = self.get("layer_types")?;
        if let Some(types) = &types {
            let unknown =
                |kind: &&String| !matches!(kind.as_str(), "full_attention" | "sliding_attention");
            if let Some(kind) = types.iter().find(unknown) {
                return Err(self.unsupported(
                    "layer_types",
                    format_args!("`{kind}`"),
                    "full_attention, sliding_attention",
                ));
            }
            if types.len() != config.num_layers {
                return Err(self.unsupported(
                    "layer_types",
                    format_args!("a list of {}", types.len()),
                    &format!("one for each of {} layers", config.num_layers),
                ));
            }
        }
        for (index, attention) in config.attention_mut() {
            let local = match &types {
                Some(types) => types[index] == "sliding_attention",
                None => is_local(index),
            };
            if local && window.is_none() && types.is_some() {
                return Err(self.missing("sliding_window"));
            }
            attention.window = window.filter(|_| local);
        }
        Ok(())
    }

    /// Rotary positions as `rope_scaling` of transformers 4 or `rope_parameters` of transformers 5 say.
    pub fn rope(&self, theta: f64) -> Result<ReadRope, ConfigError> {
        let newer: Option<Map<String, Json>> = self.get("rope_parameters")?;
        let older: Option<Map<String, Json>> = self.get("rope_scaling")?;
        let theta = self.get("rope_theta")?.unwrap_or(theta);
        match (newer, older) {
            // By kind of layer: the family reads it.
            (Some(map), None) if map.values().any(Json::is_object) => {
                self.rope_at("", Map::new(), theta)
            }
            (Some(map), None) => self.rope_at("rope_parameters", map, theta),
            (None, map) => self.rope_at("rope_scaling", map.unwrap_or_default(), theta),
            (Some(_), Some(_)) => {
                Err(self.unsupported("rope_scaling", "set beside rope_parameters", "one of them"))
            }
        }
    }

    /// Rotary positions from one object of settings.
    pub fn rope_at(
        &self,
        field: &str,
        map: Map<String, Json>,
        theta: f64,
    ) -> Result<ReadRope, ConfigError> {
        let raw = RawRope::deserialize(Json::Object(map)).map_err(|source| ConfigError::Field {
            path: self.path.into(),
            field: field.into(),
            source,
        })?;
        let theta = raw.rope_theta.unwrap_or(theta) as f32;
        let named = |name: &str| format!("{field}.{name}");
        let need = |name: &str, value: Option<f64>| {
            value
                .map(|value| value as f32)
                .ok_or_else(|| self.missing(&named(name)))
        };
        let list = |name: &str, value: &Option<Vec<f64>>| {
            let numbers = value.as_ref().ok_or_else(|| self.missing(&named(name)))?;
            Ok::<Vec<f32>, ConfigError>(numbers.iter().map(|x| *x as f32).collect())
        };
        let context_len = self.context_len()?;
        let original = raw
            .original_max_position_embeddings
            .or(self.get("original_max_position_embeddings")?)
            .unwrap_or(context_len);
        let stretch = || match raw.factor {
            Some(factor) => factor as f32,
            None => context_len as f32 / original as f32,
        };
        let kind = raw.kind();
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear {
                factor: need("factor", raw.factor)?,
            },
            "llama3" => RopeScaling::Llama3 {
                factor: need("factor", raw.factor)?,
                low_freq_factor: need("low_freq_factor", raw.low_freq_factor)?,
                high_freq_factor: need("high_freq_factor", raw.high_freq_factor)?,
                original_context: original,
            },
            "yarn" => RopeScaling::Yarn {
                factor: stretch(),
                beta_fast: raw.beta_fast.unwrap_or(32.0) as f32,
                beta_slow: raw.beta_slow.unwrap_or(1.0) as f32,
                truncate: raw.truncate.unwrap_or(true),
                original_context: original,
                attention_factor: raw.yarn_attention_factor(stretch()),
            },
            "longrope" => RopeScaling::Long {
                short: list("short_factor", &raw.short_factor)?,
                long: list("long_factor", &raw.long_factor)?,
                original_context: original,
                attention_factor: match raw.attention_factor {
                    Some(factor) => factor as f32,
                    None => long_magnitude(stretch(), original),
                },
            },
            _ => {
                let known = "default, linear, llama3, yarn, longrope";
                return Err(self.unsupported(&named("rope_type"), format_args!("`{kind}`"), known));
            }
        };
        if let Some(name) = raw.idle_setting(kind, self.is_partial) {
            return Err(self.unsupported(
                &named(&name),
                "set",
                &format!("no such setting for rope type `{kind}`"),
            ));
        }
        let partial = raw.partial_rotary_factor;
        Ok(ReadRope {
            rope: Rope { theta, scaling },
            partial,
        })
    }
}

/// Rotary positions and the share of a head that turns, if it was said beside them.
pub(super) struct ReadRope {
    pub rope: Rope,
    pub partial: Option<f64>,
}

#[derive(Default, Deserialize)]
struct RawRope {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
    #[serde(rename = "type")]
    older_type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    truncate: Option<bool>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    attention_factor: Option<f64>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    partial_rotary_factor: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Json>,
}

impl RawRope {
    fn kind(&self) -> &str {
        let kind = self.rope_type.as_deref().or(self.older_type.as_deref());
        match kind.unwrap_or("default") {
            "su" => "longrope",
            // Phi-3's first files call it so.
            "yarn" if self.long_factor.is_some() => "longrope",
            kind => kind,
        }
    }

    fn yarn_attention_factor(&self, factor: f32) -> f32 {
        if let Some(factor) = self.attention_factor {
            return factor as f32;
        }
        let said = |number: Option<f64>| number.filter(|x| *x != 0.0).map(|x| x as f32);
        match (said(self.mscale), said(self.mscale_all_dim)) {
            (Some(m), Some(all)) => yarn_magnitude(factor, m) / yarn_magnitude(factor, all),
            _ => yarn_magnitude(factor, 1.0),
        }
    }

    /// A setting that the chosen type does not read would have no effect, which nobody who wrote it expects.
    fn idle_setting(&self, kind: &str, is_partial: bool) -> Option<String> {
        let in_part = self.partial_rotary_factor.is_some_and(|share| share != 1.0);
        let stretched = ["yarn", "longrope"].contains(&kind);
        let settings = [
            ("factor", self.factor.is_some(), kind != "default"),
            (
                "low_freq_factor",
                self.low_freq_factor.is_some(),
                kind == "llama3",
            ),
            (
                "high_freq_factor",
                self.high_freq_factor.is_some(),
                kind == "llama3",
            ),
            ("beta_fast", self.beta_fast.is_some(), kind == "yarn"),
            ("beta_slow", self.beta_slow.is_some(), kind == "yarn"),
            ("truncate", self.truncate.is_some(), kind == "yarn"),
            ("mscale", self.mscale.is_some(), kind == "yarn"),
            (
                "mscale_all_dim",
                self.mscale_all_dim.is_some(),
                kind == "yarn",
            ),
            (
                "attention_factor",
                self.attention_factor.is_some(),
                stretched,
            ),
            (
                "short_factor",
                self.short_factor.is_some(),
                kind == "longrope",
            ),
            (
                "long_factor",
                self.long_factor.is_some(),
                kind == "longrope",
            ),
            ("partial_rotary_factor", in_part, is_partial),
        ];
        let idle = settings.iter().find(|row| row.1 && !row.2).map(|row| row.0);
        let other = || self.others.iter().find(|other| !other.1.is_null());
        idle.map(str::to_owned)
            .or_else(|| other().map(|other| other.0.clone()))
    }
}
