//! What a directory of weights is not without: configuration, tokenizer, chat template, licence.

use std::path::PathBuf;

use hone_model::arch::DecoderConfig;
use hone_model::export::{ExportError, hf_config};
use hone_model::weights::WeightsError;
use serde_json::{Map, Value, json};

use super::{OpenBase, OpenError};

/// Files of a Hugging Face directory that are copied as they are.
const COPIED: [&str; 6] = [
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "USE_POLICY.md",
    "Notice.txt",
];

const CONFIG: &str = "config.json";

/// Why the files beside a model's weights cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The base's own files.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its tokenizer or chat template.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A configuration that Hugging Face's has no words for.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file that is not JSON.
    #[error("{}: {source}", path.display())]
    NotJson {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// A model directory without a configuration.
    #[error("{} has no config.json", path.display())]
    NoConfig {
        /// The directory.
        path: PathBuf,
    },
}

impl FilesError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Weights(error) => error.hints(),
            Self::Open(error) => error.hints(),
            Self::Export(error) => error.hints(),
            Self::NotJson { .. } | Self::NoConfig { .. } => vec![],
        }
    }
}

impl OpenBase {
    /// What a Hugging Face directory has beside its weights, by name: copied from a base that is one, made from the metadata of
    /// a GGUF file. `merged` is what the weights are, `dtype` what transformers calls the type of most of them.
    ///
    /// # Errors
    /// Files of the base that cannot be read.
    pub fn model_files(
        &self,
        merged: &DecoderConfig,
        dtype: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, FilesError> {
        let weights = &self.weights;
        if weights.gguf().is_some() {
            return self.made_files(merged, dtype);
        }
        let mut files = Vec::new();
        for name in COPIED {
            files.extend(weights.file(name)?.map(|bytes| (name.to_owned(), bytes)));
        }
        files.extend(self.tokenizer_files()?);
        let generation = generation_config(self)?;
        files.extend(generation.map(|bytes| (GENERATION.to_owned(), bytes)));
        let path = weights.path().to_path_buf();
        let config = weights.file(CONFIG)?.ok_or(FilesError::NoConfig { path })?;
        let mut config: Map<String, Value> = parsed(self, CONFIG, &config)?;
        // What was quantised is written as plain numbers.
        config.remove("quantization_config");
        if merged.tied_head != weights.config().tied_head {
            config.insert("tie_word_embeddings".into(), merged.tied_head.into());
        }
        if weights.new_tokens() > 0 {
            // Models that also see say it of the part that speaks.
            let vocab_size = Value::from(merged.vocab_size);
            match config.get_mut("text_config") {
                Some(Value::Object(speaks)) => speaks.insert("vocab_size".into(), vocab_size),
                _ => config.insert("vocab_size".into(), vocab_size),
            };
        }
        // transformers 5 says `dtype`, 4 says `torch_dtype`.
        let key = if config.contains_key("dtype") {
            "dtype"
        } else {
            "torch_dtype"
        };
        config.insert(key.into(), dtype.into());
        files.push((CONFIG.to_owned(), pretty(&config.into())));
        Ok(files)
    }

    fn made_files(
        &self,
        merged: &DecoderConfig,
        dtype: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, FilesError> {
        let (bos, stops) = (self.weights.config().bos, self.renderer.stop_ids());
        let generation = json!({ "bos_token_id": bos, "eos_token_id": stops });
        let mut files = vec![
            (CONFIG.to_owned(), pretty(&hf_config(merged, dtype)?)),
            (GENERATION.to_owned(), pretty(&generation)),
        ];
        files.extend(self.tokenizer_files()?);
        Ok(files)
    }
}

fn parsed<T: serde::de::DeserializeOwned>(
    open: &OpenBase,
    name: &str,
    bytes: &[u8],
) -> Result<T, FilesError> {
    serde_json::from_slice(bytes).map_err(|source| FilesError::NotJson {
        path: open.weights.path().join(name),
        source,
    })
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

const GENERATION: &str = "generation_config.json";

/// Programs stop where this file says, so it has to name the token that replies are trained to end with. The base's own
/// bytes where it does, or where the model's configuration says so instead.
fn generation_config(open: &OpenBase) -> Result<Option<Vec<u8>>, FilesError> {
    let (weights, taught) = (&open.weights, open.renderer.end_of_reply());
    let own = weights.file(GENERATION)?;
    let mut config: Map<String, Value> = match &own {
        Some(bytes) => parsed(open, GENERATION, bytes)?,
        None => Map::new(),
    };
    let read = |value: &Value| -> Vec<u64> {
        let ids = value
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![value.clone()]);
        ids.iter().filter_map(Value::as_u64).collect()
    };
    let mut ends = config.get("eos_token_id").map(read).unwrap_or_default();
    if ends.is_empty() {
        ends = match weights.file(CONFIG)? {
            Some(bytes) => {
                let config: Value = parsed(open, CONFIG, &bytes)?;
                read(&config["eos_token_id"])
            }
            None => vec![],
        };
    }
    match taught
        .map(u64::from)
        .filter(|taught| !ends.contains(taught))
    {
        None => Ok(own),
        Some(taught) => {
            ends.insert(0, taught);
            config.insert("eos_token_id".into(), ends.into());
            Ok(Some(pretty(&config.into())))
        }
    }
}
