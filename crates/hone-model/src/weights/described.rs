//! A decoder's settings as GGUF metadata: the keys that [`metadata`](super::metadata) reads, written.
//!
//! GGUF has no word for some settings, and llama.cpp takes what it knows of the family instead. [`DecoderConfig::in_gguf`]
//! says what a reader of the file will understand, so that a writer can see beforehand whether that is the model it has.

use super::families::{self, Windows};
use super::gguf::Typed;
use super::gguf_keys::Keys;
use crate::arch::{DecoderConfig, NormKind, Rope, RopeScaling};

impl DecoderConfig {
    /// The settings under the keys of its architecture, in the types that llama.cpp asks for. Tokens that begin and end a
    /// text are the tokenizer's to say. `None` where llama.cpp does not have the family.
    pub fn gguf_metadata(&self) -> Option<Vec<(String, Typed)>> {
        let prefix = self.gguf_architecture()?;
        let family = families::by_name(&self.model_type)?;
        let mut keys = Keys {
            prefix,
            rows: vec![],
        };
        keys.count("vocab_size", self.vocab_size);
        keys.count("context_length", self.gguf_context_len());
        keys.count("embedding_length", self.d_model);
        keys.count("block_count", self.num_layers);
        keys.count("feed_forward_length", self.d_ff);
        keys.count("attention.head_count", self.num_heads);
        keys.count("attention.head_count_kv", self.num_kv_heads);
        keys.count("attention.key_length", self.head_dim);
        keys.count("attention.value_length", self.head_dim);
        let eps = match self.norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer | NormKind::LayerNoBias => "attention.layer_norm_epsilon",
        };
        keys.number(eps, self.norm_eps);
        if !self.learned_positions {
            keys.count("rope.dimension_count", self.rotary_dim);
            keys.number("rope.freq_base", self.rope.theta);
            self.write_scaling(&mut keys);
        }
        (family.write_gguf)(self, &mut keys);
        Some(keys.rows)
    }

    /// Why llama.cpp computes something else than this model, or does not load it, if that is so.
    pub fn not_in_llama_cpp(&self) -> Option<&'static str> {
        let family = families::by_name(&self.model_type)?;
        (family.not_in_llama_cpp)(self)
    }

    fn write_scaling(&self, keys: &mut Keys) {
        match &self.rope.scaling {
            // In tensors of their own.
            RopeScaling::None | RopeScaling::Factors { .. } | RopeScaling::Llama3 { .. } => {}
            RopeScaling::Linear { factor } => {
                keys.text("rope.scaling.type", "linear");
                keys.number("rope.scaling.factor", *factor);
            }
            RopeScaling::Yarn {
                factor,
                original_context,
                ..
            } => {
                keys.text("rope.scaling.type", "yarn");
                keys.number("rope.scaling.factor", *factor);
                keys.count("rope.scaling.original_context_length", *original_context);
            }
            RopeScaling::Long {
                original_context,
                attention_factor,
                ..
            } => {
                keys.count("rope.scaling.original_context_length", *original_context);
                keys.number("rope.scaling.attn_factor", *attention_factor);
            }
        }
    }

    /// How much slower each pair of a head turns than without stretching, as tensors of a GGUF file: name and
    /// `rotary_dim / 2` numbers.
    pub fn gguf_rope_factors(&self) -> Vec<(&'static str, Vec<f32>)> {
        match &self.rope.scaling {
            RopeScaling::Factors { factors } => vec![("rope_freqs.weight", factors.clone())],
            RopeScaling::Llama3 { .. } => {
                let plain = Rope {
                    scaling: RopeScaling::None,
                    ..self.rope.clone()
                };
                let plain = plain.inverse_frequencies(self.rotary_dim);
                let slowed = self.rope.inverse_frequencies(self.rotary_dim);
                let factors = plain.iter().zip(&slowed);
                let factors = factors.map(|(plain, slowed)| plain / slowed).collect();
                vec![("rope_freqs.weight", factors)]
            }
            RopeScaling::Long { short, long, .. } => vec![
                ("rope_factors_long.weight", long.clone()),
                ("rope_factors_short.weight", short.clone()),
            ],
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Yarn { .. } => vec![],
        }
    }

    /// Where the context of a GGUF file ends. Of some families llama.cpp has no windows, and without one computes the same
    /// only as long as the text is no longer than the narrowest.
    pub fn gguf_context_len(&self) -> usize {
        let windows = self.windows().flatten();
        match self.windows_in_llama_cpp() {
            Windows::Computed => self.context_len,
            Windows::Unsaid | Windows::PassedOver => windows.fold(self.context_len, usize::min),
        }
    }

    fn windows_in_llama_cpp(&self) -> Windows {
        let family = families::by_name(&self.model_type);
        family.map_or(Windows::Unsaid, |family| family.windows_in_llama_cpp)
    }

    /// These settings as the reader of a GGUF file will have them, if the file can say all that matters: under the
    /// architecture's name, without windows that end the context instead, stretched pair by pair.
    pub fn in_gguf(&self) -> Self {
        let mut there = self.clone();
        let has_experts = self.experts.is_some();
        let family = |name| families::by_architecture(name, has_experts);
        if let Some(family) = self.gguf_architecture().and_then(family) {
            there.model_type = family.name.to_owned();
        }
        there.context_len = self.gguf_context_len();
        if self.windows_in_llama_cpp() == Windows::Unsaid {
            for (_, attention) in there.attention_mut() {
                attention.window = None;
            }
        }
        if let (RopeScaling::Llama3 { .. }, [(_, factors)]) =
            (&self.rope.scaling, &self.gguf_rope_factors()[..])
        {
            there.rope.scaling = RopeScaling::Factors {
                factors: factors.clone(),
            };
        }
        there
    }

    /// The first setting in which `other` differs, and its values here and there. Tokens that begin and end a text are not
    /// looked at.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let fields = |config: &Self| {
            let config = Self {
                bos: None,
                eos: vec![],
                ..config.clone()
            };
            match serde_json::to_value(config) {
                Ok(serde_json::Value::Object(fields)) => fields,
                _ => unreachable!("settings are an object of plain values"),
            }
        };
        let (ours, theirs) = (fields(self), fields(other));
        let said = |fields: &serde_json::Map<_, serde_json::Value>, name: &String| {
            fields
                .get(name)
                .map_or("nothing".into(), ToString::to_string)
        };
        let mut names = ours.keys().chain(theirs.keys());
        let name = names.find(|name| ours.get(*name) != theirs.get(*name))?;
        Some((name.clone(), said(&ours, name), said(&theirs, name)))
    }
}
