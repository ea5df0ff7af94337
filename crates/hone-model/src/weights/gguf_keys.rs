//! GGUF metadata of a family being read, key by key as llama.cpp writes them, and being written.

use std::path::Path;

use super::config_error::ConfigError;
use super::gguf::{Gguf, GgufError, Malformed, Typed};
use crate::arch::{Rope, RopeScaling, yarn_magnitude};
use crate::one_line::one_line;

/// GGUF metadata being read.
#[derive(Clone, Copy)]
pub(super) struct Metadata<'a> {
    pub gguf: &'a Gguf,
    pub path: &'a Path,
    pub prefix: &'a str,
}

impl<'a> Metadata<'a> {
    /// Whether there is a tensor of that name.
    pub fn has(self, tensor: &str) -> bool {
        self.gguf.tensor(tensor).is_some()
    }

    pub fn vocab_size(self) -> Result<usize, ConfigError> {
        let embedding = || {
            self.gguf
                .tensor("token_embd.weight")
                .and_then(|entry| entry.dims.get(1).copied())
        };
        let written = self
            .maybe("vocab_size", Gguf::u32)?
            .map(|size| size as usize);
        written
            .or_else(embedding)
            .ok_or_else(|| self.missing(&self.key("vocab_size")))
    }

    pub fn rope(self, default_theta: f64) -> Result<Rope, ConfigError> {
        let theta = self.maybe("rope.freq_base", Gguf::f32)?;
        let theta = theta.unwrap_or(default_theta as f32);
        let factor = self.maybe("rope.scaling.factor", Gguf::f32)?;
        let scaling = match (self.maybe("rope.scaling.type", Gguf::str)?, factor) {
            (Some("none" | "longrope"), _) | (None, None | Some(1.0)) => self.factors()?,
            (Some("linear") | None, Some(factor)) => match self.factors()? {
                RopeScaling::None => RopeScaling::Linear { factor },
                _ => {
                    return Err(self.unsupported(
                        "rope.scaling.type",
                        "linear beside rope_freqs",
                        "one of them",
                    ));
                }
            },
            (Some("yarn"), Some(factor)) => self.yarn(factor)?,
            (Some("linear" | "yarn"), None) => {
                return Err(self.missing(&self.key("rope.scaling.factor")));
            }
            (Some(kind), _) => {
                return Err(self.unsupported(
                    "rope.scaling.type",
                    &format!("`{kind}`"),
                    "none, linear, yarn, longrope",
                ));
            }
        };
        Ok(Rope { theta, scaling })
    }

    /// llama.cpp forms YaRN's factor on queries and keys itself, from the same formula.
    fn yarn(self, factor: f32) -> Result<RopeScaling, ConfigError> {
        for key in [
            "rope.scaling.attn_factor",
            "rope.scaling.yarn_log_multiplier",
        ] {
            if self.maybe(key, Gguf::f32)?.is_some() {
                return Err(self.unsupported(key, "set beside yarn", "models without it"));
            }
        }
        Ok(RopeScaling::Yarn {
            factor,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            original_context: self.size("rope.scaling.original_context_length")?,
            attention_factor: yarn_magnitude(factor, 1.0),
        })
    }

    /// Llama 3's stretching, and LongRoPE's, which llama.cpp's converter writes as tensors.
    fn factors(self) -> Result<RopeScaling, ConfigError> {
        let list = |name: &str| match self.gguf.matrix(name) {
            None => Ok(None),
            Some(Ok(factors)) => Ok(Some(factors.to_f32())),
            Some(Err(problem)) => Err(self.malformed(problem)),
        };
        let long = list("rope_factors_long.weight")?;
        match (list("rope_factors_short.weight")?, long) {
            (Some(short), Some(long)) => Ok(RopeScaling::Long {
                short,
                long,
                original_context: self.size("rope.scaling.original_context_length")?,
                attention_factor: self
                    .maybe("rope.scaling.attn_factor", Gguf::f32)?
                    .unwrap_or(1.0),
            }),
            (None, None) => Ok(match list("rope_freqs.weight")? {
                Some(factors) => RopeScaling::Factors { factors },
                None => RopeScaling::None,
            }),
            _ => Err(self.missing("rope_factors_short.weight and rope_factors_long.weight")),
        }
    }

    pub fn eos(self) -> Result<Vec<u32>, ConfigError> {
        let mut ids = Vec::new();
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            ids.extend(self.get(key, Gguf::u32)?.filter(|id| !ids.contains(id)));
        }
        Ok(ids)
    }

    pub fn same_width(self, key: &str, head_dim: usize) -> Result<(), ConfigError> {
        match self.maybe(key, Gguf::u32)? {
            Some(width) if width as usize != head_dim => Err(self.unsupported(
                key,
                &width.to_string(),
                &format!("the head width, {head_dim}"),
            )),
            _ => Ok(()),
        }
    }

    pub fn key(self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// A count of the family's.
    pub fn size(self, key: &str) -> Result<usize, ConfigError> {
        Ok(self.need(&self.key(key), Gguf::u32)? as usize)
    }

    /// A count of the family's that may be absent.
    pub fn maybe_size(self, key: &str) -> Result<Option<usize>, ConfigError> {
        let size = self.maybe(key, Gguf::u32)?;
        Ok(size.map(|size| size as usize))
    }

    /// A number of the family's.
    pub fn number(self, key: &str) -> Result<Option<f32>, ConfigError> {
        self.maybe(key, Gguf::f32)
    }

    /// A yes or no of the family's.
    pub fn flag(self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.maybe(key, Gguf::bool)
    }

    /// How many tokens back layers with a window see; converters write 0 for all.
    pub fn window(self) -> Result<Option<usize>, ConfigError> {
        let window = self.maybe("attention.sliding_window", Gguf::u32)?;
        Ok(window
            .filter(|width| *width > 0)
            .map(|width| width as usize))
    }

    pub fn maybe<T>(
        self,
        key: &str,
        read: impl Fn(&'a Gguf, &str) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, ConfigError> {
        self.get(&self.key(key), read)
    }

    pub fn need<T>(
        self,
        key: &str,
        read: impl Fn(&'a Gguf, &str) -> Result<Option<T>, Malformed>,
    ) -> Result<T, ConfigError> {
        self.get(key, read)?.ok_or_else(|| self.missing(key))
    }

    pub fn get<T>(
        self,
        key: &str,
        read: impl Fn(&'a Gguf, &str) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, ConfigError> {
        read(self.gguf, key).map_err(|problem| self.malformed(problem))
    }

    fn malformed(self, problem: Malformed) -> ConfigError {
        GgufError {
            path: self.path.into(),
            problem,
        }
        .into()
    }

    fn missing(self, key: &str) -> ConfigError {
        ConfigError::Missing {
            path: self.path.into(),
            field: key.into(),
        }
    }

    /// A value that is not computed.
    pub fn unsupported(self, key: &str, found: &str, supported: &str) -> ConfigError {
        ConfigError::Unsupported {
            path: self.path.into(),
            field: self.key(key),
            found: one_line(found),
            supported: supported.to_owned(),
        }
    }
}

/// Metadata being written.
pub(super) struct Keys {
    pub prefix: &'static str,
    pub rows: Vec<(String, Typed)>,
}

impl Keys {
    fn put(&mut self, key: &str, value: Typed) {
        self.rows.push((format!("{}.{key}", self.prefix), value));
    }

    /// A size; everything above 32 bits was refused when the settings were read.
    pub fn count(&mut self, key: &str, count: usize) {
        self.put(key, Typed::U32(count.try_into().unwrap_or(u32::MAX)));
    }

    /// A number.
    pub fn number(&mut self, key: &str, number: f32) {
        self.put(key, Typed::F32(number));
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &str, flag: bool) {
        self.put(key, Typed::Bool(flag));
    }

    /// A word.
    pub fn text(&mut self, key: &str, text: &str) {
        self.put(key, Typed::Text(text.to_owned()));
    }
}
