//! What a word that stands alone on a command line was probably meant as: the value of an option that was left out.

use crate::base::CATALOGUE;
use hone_data::Format;
use std::path::Path;

/// The options that may be meant by a word, the likeliest first; which of them there are depends on the verb.
pub fn options_for(word: &str) -> &'static [&'static str] {
    const ROWS: &[&str] = &["data", "from", "find"];
    const MODEL: &[&str] = &["model"];
    let path = Path::new(word);
    if path.is_dir() {
        let has = |name: &str| path.join(name).is_file();
        return match () {
            () if has("adapter_config.json") => &["adapter"],
            () if has("config.json") => MODEL,
            () => ROWS,
        };
    }
    match path.extension().and_then(|end| end.to_str()) {
        Some("gguf") => MODEL,
        Some("jinja") => &["chat-template"],
        _ if Format::is_told_by_name(path) => ROWS,
        _ if CATALOGUE.iter().any(|entry| entry.name == word) => MODEL,
        // The id of a model on the hub.
        _ if word.split('/').count() == 2 && !word.contains(char::is_whitespace) => MODEL,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_models_and_adapters_are_told_apart_by_what_they_are() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        let of = |name: &str| options_for(models.join(name).to_str().unwrap())[0];
        assert_eq!(of("models/tiny-llama-tied"), "model");
        assert_eq!(of("models/tiny-llama.gguf"), "model");
        assert_eq!(of("adapters/tiny-llama-untied"), "adapter");
        assert_eq!(of("models"), "data");
        assert_eq!(options_for("rows.jsonl")[0], "data");
        assert_eq!(options_for("meta/llama")[0], "model");
        assert_eq!(options_for("smollm2-135m-instruct")[0], "model");
        assert_eq!(options_for("Why is it so?"), [] as [&str; 0]);
    }
}
