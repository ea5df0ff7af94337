//! The files that say how text becomes tokens, as a Hugging Face directory has them.

use super::chat_form::{DEFAULT, MORE_TEMPLATES, TEMPLATE_FILE, more_templates};
use super::{OpenBase, OpenError};
use hone_text::TOOL_USE;
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

const SPECIAL: &str = "special_tokens_map.json";

const OF_ANY_VOCABULARY: [&str; 1] = [SPECIAL];

/// Files that hold nothing but chat templates.
const OF_TEMPLATES: [&str; 2] = [TEMPLATE_FILE, "chat_template.json"];

impl OpenBase {
    /// Name and bytes of each file: copied from a base that has them, with the new tokens if there are any; made from the
    /// metadata of a GGUF file. A chat template that is not the base's own stands in all places where programs look for
    /// one: older ones read the configuration only.
    pub fn tokenizer_files(&self) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
        let vocabulary = || {
            let json = self.renderer.tokenizer().to_json();
            (VOCABULARY.to_owned(), json.into_bytes())
        };
        if self.weights.gguf().is_some() {
            let config = (CONFIG.to_owned(), in_full(&self.made_config()));
            let files = [config, vocabulary()].into_iter();
            return Ok(files.chain(self.template_files()).collect());
        }
        let mut names = OF_ANY_VOCABULARY.to_vec();
        let mut files = Vec::new();
        match self.new_tokens.is_empty() {
            true => names.extend(OF_A_VOCABULARY),
            false => files.push(vocabulary()),
        }
        let more: Vec<String> = more_templates(self.weights.path())
            .iter()
            .map(|name| format!("{MORE_TEMPLATES}/{name}.jinja"))
            .collect();
        match self.form.is_the_models() {
            true => names.extend(
                OF_TEMPLATES
                    .into_iter()
                    .chain(more.iter().map(String::as_str)),
            ),
            false => files.extend(self.template_files()),
        }
        let eos = self.unnamed_eos()?;
        if !self.new_tokens.is_empty() || !self.form.is_the_models() || eos.is_some() {
            names.retain(|name| *name != CONFIG);
            files.extend(self.changed_config(eos)?);
        }
        for name in names {
            let bytes = self.weights.file(name)?;
            files.extend(bytes.map(|bytes| (name.to_owned(), bytes)));
        }
        Ok(files)
    }

    /// What is written beside an adapter: the chat template that it is trained with, the one for rows with tools, and the
    /// tokenizer, if it is no longer the base's. A base's own template may change with its next version; the adapter's does
    /// not.
    pub fn files_beside_an_adapter(&self) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
        let mut files = match self.new_tokens.is_empty() {
            true => vec![],
            false => self.tokenizer_files()?,
        };
        files.retain(|(name, _)| name != TEMPLATE_FILE && !name.contains('/'));
        files.extend(self.trained_template_files());
        Ok(files)
    }

    /// The files of the templates that rows are rendered with.
    pub fn trained_template_files(&self) -> Vec<(String, Vec<u8>)> {
        let trained = self.templates().into_iter();
        let trained = trained.filter(|(name, _)| [DEFAULT, TOOL_USE].contains(&name.as_str()));
        trained.map(template_file).collect()
    }

    /// Name and text of every chat template that goes where the model goes, as transformers, vLLM and llama.cpp run them: the
    /// default one first.
    pub fn templates(&self) -> Vec<(String, String)> {
        let default = (DEFAULT.to_owned(), self.renderer.template_source());
        let tool_use = self.renderer.tool_use_source();
        let tool_use = tool_use.map(|source| (TOOL_USE.to_owned(), source));
        let others = self.form.others().iter();
        let others = others.filter(|(name, _)| name != TOOL_USE).cloned();
        [default]
            .into_iter()
            .chain(tool_use)
            .chain(others)
            .collect()
    }

    fn template_files(&self) -> Vec<(String, Vec<u8>)> {
        self.templates().into_iter().map(template_file).collect()
    }

    /// The templates as `tokenizer_config.json` has them: one as text, several as a list.
    fn template_setting(&self) -> Value {
        match &self.templates()[..] {
            [(_, only)] => only.as_str().into(),
            several => several
                .iter()
                .map(|(name, source)| json!({"name": name, "template": source}))
                .collect(),
        }
    }

    /// The EOS where only the model's own configuration says which it is: programs that ask the tokenizer would not know it.
    fn unnamed_eos(&self) -> Result<Option<String>, OpenError> {
        for name in [CONFIG, SPECIAL] {
            let file = self.weights.file(name)?.unwrap_or_default();
            // It was read when the base was opened.
            let file: Value = serde_json::from_slice(&file).unwrap_or_default();
            if !file["eos_token"].is_null() {
                return Ok(None);
            }
        }
        let tokenizer = self.renderer.tokenizer();
        // A SentencePiece model names its own.
        let is_json = self.weights.file(VOCABULARY)?.is_some();
        Ok(tokenizer
            .eos()
            .filter(|_| is_json)
            .and_then(|id| tokenizer.token(id)))
    }

    /// `tokenizer_config.json`, which may list added tokens once more, the chat template, and `eos` where no file names it.
    fn changed_config(&self, eos: Option<String>) -> Result<Option<(String, Vec<u8>)>, OpenError> {
        let mut config: Map<String, Value> = match self.weights.file(CONFIG)? {
            // It was read when the base was opened.
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            None if eos.is_none() => return Ok(None),
            None => Map::new(),
        };
        if let Some(eos) = eos {
            config.insert("eos_token".into(), eos.into());
        }
        if !self.form.is_the_models() {
            config.insert("chat_template".into(), self.template_setting());
        }
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

    fn made_config(&self) -> Value {
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
        settings["chat_template"] = self.template_setting();
        settings
    }
}

fn template_file((name, source): (String, String)) -> (String, Vec<u8>) {
    let file = match name.as_str() {
        DEFAULT => TEMPLATE_FILE.to_owned(),
        name => format!("{MORE_TEMPLATES}/{name}.jinja"),
    };
    (file, source.into_bytes())
}

fn in_full(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("an object of plain values is JSON");
    (text + "\n").into_bytes()
}
