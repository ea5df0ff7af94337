//! The chat templates that a model brings: one, or several by name.
//!
//! Files hold them in several ways: text, a list of `{name, template}`, an object of texts. What is none of these is
//! refused, and so is a choice that the model leaves open: it would be a guess.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::TemplateError;
use crate::one_line::tame;

/// The name of the template that is used unless another is asked for.
const DEFAULT: &str = "default";

/// The name of the template that conversations with tools are shown in, where a model has one: transformers and llama.cpp
/// choose it by themselves.
pub const TOOL_USE: &str = "tool_use";

/// Templates by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateSet {
    sources: BTreeMap<String, String>,
}

impl TemplateSet {
    /// What `chat_template` in the bytes of a `tokenizer_config.json` holds; nothing if it is not there.
    ///
    /// # Errors
    /// Bytes that are no JSON, and a `chat_template` that is neither text, nor a list or an object of named texts.
    pub fn from_config(json: &[u8]) -> Result<Self, TemplateError> {
        let config: Value = serde_json::from_slice(json).map_err(|error| {
            let found = format!("no JSON: {error}");
            TemplateError::NotATemplate { found }
        })?;
        let mut set = Self::default();
        match config.get("chat_template") {
            None | Some(Value::Null) => {}
            Some(Value::String(source)) => set.add(DEFAULT, source)?,
            Some(Value::Array(list)) => {
                for entry in list {
                    match (entry["name"].as_str(), entry["template"].as_str()) {
                        (Some(name), Some(source)) => set.add(name, source)?,
                        _ => return Err(not_a_template(entry)),
                    }
                }
            }
            Some(Value::Object(named)) => {
                for (name, source) in named {
                    let text = source.as_str().ok_or_else(|| not_a_template(source))?;
                    set.add(name, text)?;
                }
            }
            Some(other) => return Err(not_a_template(other)),
        }
        Ok(set)
    }

    /// Adds the template that is used unless another is asked for.
    ///
    /// # Errors
    /// Another one is there already.
    pub fn add_default(&mut self, source: &str) -> Result<(), TemplateError> {
        self.add(DEFAULT, source)
    }

    /// Adds a template. One without a word in it is none, as bases have that were never trained on conversations.
    ///
    /// # Errors
    /// Another template has this name already; a name that no file could have.
    pub fn add(&mut self, name: &str, source: &str) -> Result<(), TemplateError> {
        let is_odd = |c: char| c.is_control() || "/\\:".contains(c);
        if name.is_empty() || name.starts_with('.') || name.contains(is_odd) {
            let name = tame(name);
            return Err(TemplateError::OddName { name });
        }
        if source.trim().is_empty() {
            return Ok(());
        }
        match self.sources.insert(name.to_owned(), source.to_owned()) {
            Some(other) if other != source => {
                let name = tame(name);
                Err(TemplateError::NamedTwice { name })
            }
            _ => Ok(()),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// All names, in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// The template of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.sources.get(name).map(String::as_str)
    }

    /// The one that is used unless another is asked for; `None` where there is no template at all.
    ///
    /// # Errors
    /// There are templates, and none of them is called `default`.
    pub fn default_source(&self) -> Result<Option<&str>, TemplateError> {
        match self.get(DEFAULT) {
            None if !self.is_empty() => Err(TemplateError::NoDefault {
                names: self.names().map(tame).collect(),
            }),
            source => Ok(source),
        }
    }
}

fn not_a_template(found: &Value) -> TemplateError {
    let found = tame(&found.to_string()).chars().take(80).collect();
    TemplateError::NotATemplate { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<TemplateSet, String> {
        TemplateSet::from_config(json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn text_a_list_and_an_object_hold_templates() {
        let one = read(r#"{"chat_template": "x"}"#).unwrap();
        assert_eq!(one.default_source().unwrap(), Some("x"));
        for several in [
            r#"{"chat_template": [{"name": "rag", "template": "y"}, {"name": "default", "template": "x"}]}"#,
            r#"{"chat_template": {"rag": "y", "default": "x"}}"#,
        ] {
            let set = read(several).unwrap();
            assert_eq!(set.names().collect::<Vec<_>>(), ["default", "rag"]);
            assert_eq!(set.default_source().unwrap(), Some("x"));
            assert_eq!(set.get("rag"), Some("y"));
        }
        for none in [
            "{}",
            r#"{"chat_template": null}"#,
            r#"{"chat_template": []}"#,
        ] {
            assert_eq!(read(none).unwrap().default_source().unwrap(), None);
        }
    }

    #[test]
    fn names_without_a_default_leave_the_choice_to_the_user() {
        let set = read(
            r#"{"chat_template": [{"name": "rag", "template": "y"}, {"name": "tool_use", "template": "z"}]}"#,
        );
        let error = set.unwrap().default_source().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there are chat templates by name, and none of them is the `default`: rag, tool_use"
        );
    }

    #[test]
    fn what_holds_no_template_is_refused() {
        for odd in [
            "3",
            "true",
            r#"["x"]"#,
            r#"[{"name": "default"}]"#,
            r#"{"default": 3}"#,
        ] {
            let said = read(&format!(r#"{{"chat_template": {odd}}}"#)).unwrap_err();
            assert!(said.contains("is neither text nor"), "{odd}: {said}");
        }
        let twice = r#"{"chat_template": [{"name": "a", "template": "x"}, {"name": "a", "template": "y"}]}"#;
        assert_eq!(
            read(twice).unwrap_err(),
            "two different chat templates are called `a`"
        );
        for odd in ["../a", "", ".", "a\\\\b"] {
            let said = read(&format!(r#"{{"chat_template": {{"{odd}": "x"}}}}"#)).unwrap_err();
            assert!(said.contains("which is no name of a file"), "{odd}: {said}");
        }
    }
}
