//! The files that say how text becomes tokens, as a Hugging Face directory has them.

use super::{OpenBase, OpenError};
use hone_model::weights::WeightsError;
use serde_json::{Map, Value, json};

const VOCABULARY: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

/// Files that name tokens. The older forms say again what `tokenizer.json` says, and know nothing of new tokens.
const OF_A_VOCABULARY: [&str; 6] = [
    VOCABULARY,
    CONFIG,
    "tokenizer.model",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

const OF_ANY_VOCABULARY: [&str; 3] = [
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

impl OpenBase {
    /// Name and bytes of each file: copied from a base that has them, with the new tokens if there are any; made from the
    /// metadata of a GGUF file.
    pub fn tokenizer_files(&self) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
        let vocabulary = || {
            let json = self.renderer.tokenizer().to_json();
            (VOCABULARY.to_owned(), json.into_bytes())
        };
        if self.weights.gguf().is_some() {
            let config = (CONFIG.to_owned(), in_full(&self.made_config()?));
            return Ok(vec![config, vocabulary()]);
        }
        let mut names = OF_ANY_VOCABULARY.to_vec();
        let mut files = Vec::new();
        match self.new_tokens.is_empty() {
            true => names.extend(OF_A_VOCABULARY),
            false => files.extend(self.grown_config()?.into_iter().chain([vocabulary()])),
        }
        for name in names {
            let bytes = self.weights.file(name)?;
            files.extend(bytes.map(|bytes| (name.to_owned(), bytes)));
        }
        Ok(files)
    }

    /// What is written beside an adapter: the tokenizer, if it is no longer the base's.
    pub fn files_beside_an_adapter(&self) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
        match self.new_tokens.is_empty() {
            true => Ok(vec![]),
            false => self.tokenizer_files(),
        }
    }

    /// `tokenizer_config.json`, which may list added tokens once more.
    fn grown_config(&self) -> Result<Option<(String, Vec<u8>)>, OpenError> {
        let Some(bytes) = self.weights.file(CONFIG)? else {
            return Ok(None);
        };
        // It was read when the base was opened.
        let mut config: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
        if let Some(Value::Object(listed)) = config.get_mut("added_tokens_decoder") {
            let own = self.renderer.tokenizer().to_json();
            let own: Value = serde_json::from_str(&own).unwrap_or_default();
            for token in own["added_tokens"].as_array().into_iter().flatten() {
                let (mut token, id) = (token.clone(), token["id"].to_string());
                if let Some(token) = token.as_object_mut() {
                    token.remove("id");
                }
                listed.entry(id).or_insert(token);
            }
        }
        Ok(Some((CONFIG.to_owned(), in_full(&config.into()))))
    }

    fn made_config(&self) -> Result<Value, WeightsError> {
        let tokenizer = self.renderer.tokenizer();
        let mut settings = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": tokenizer.adds_bos(),
            "model_max_length": self.weights.config().context_len,
            "clean_up_tokenization_spaces": false,
        });
        for (name, token) in tokenizer.named_tokens() {
            settings[name] = token.into();
        }
        if let Some(template) = self.weights.chat_template()? {
            settings["chat_template"] = template.into();
        }
        Ok(settings)
    }
}

fn in_full(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("an object of plain values is JSON");
    (text + "\n").into_bytes()
}
