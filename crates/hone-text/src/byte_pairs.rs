//! A byte-level vocabulary in two files, `vocab.json` and `merges.txt`, as GPT-2 was published.
//!
//! The files say which pieces there are and how they are joined, not how text is cut into words: that is known by the class
//! that `tokenizer_config.json` names. A class that is not known here is refused, since another cut gives other ids.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::tokenizer::malformed;
use crate::{GgufVocabulary, Tokenizer, TokenizerError};

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// Classes of transformers, GGUF's name of their words, and the control token of the class's own.
const CLASSES: [(&str, &str, &str); 3] = [
    ("GPT2Tokenizer", "gpt-2", "<|endoftext|>"),
    ("CodeGenTokenizer", "gpt-2", "<|endoftext|>"),
    ("Qwen2Tokenizer", "qwen2", "<|endoftext|>"),
];

/// What is read of a `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct Settings {
    tokenizer_class: Option<String>,
    add_prefix_space: Option<bool>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Settings {
    /// Tokens that the configuration names, which are control tokens.
    fn named(&self) -> impl Iterator<Item = &str> {
        let named = ["bos_token", "eos_token", "unk_token", "pad_token"];
        let token = |name| {
            let token = self.more.get(name)?;
            token.as_str().or_else(|| token["content"].as_str())
        };
        named.into_iter().filter_map(token)
    }
}

impl Tokenizer {
    /// From the bytes of a `vocab.json`, a `merges.txt` and a `tokenizer_config.json`. Named tokens are taken by
    /// [`Tokenizer::with_config`].
    ///
    /// # Errors
    /// Files that are none, numbers that leave gaps, and a class whose words are not known.
    pub fn from_byte_pairs(
        vocabulary: &[u8],
        merges: &[u8],
        config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        let settings: Settings = match config {
            Some(config) => serde_json::from_slice(config).map_err(malformed)?,
            None => Settings::default(),
        };
        let class = settings.tokenizer_class.as_deref().unwrap_or_default();
        let plain = class.trim_end_matches("Fast");
        let known = CLASSES.iter().find(|(name, ..)| *name == plain);
        let Some((_, words, own)) = known else {
            let classes = CLASSES.map(|(name, ..)| name);
            return Err(TokenizerError::UnknownClass {
                class: class.to_owned(),
                known: classes.join(", "),
            });
        };
        if settings.add_prefix_space == Some(true) {
            let what = "a space is put before every text, which vocab.json and merges.txt are not read with";
            return Err(malformed(what));
        }
        let tokens = by_number(vocabulary)?;
        let merges = std::str::from_utf8(merges).map_err(malformed)?;
        let named: Vec<&str> = settings.named().chain([*own]).collect();
        let kind = |token: &String| match named.contains(&token.as_str()) {
            true => CONTROL,
            false => NORMAL,
        };
        Self::from_gguf(&GgufVocabulary {
            model: "gpt2".into(),
            pre: Some((*words).to_owned()),
            token_types: tokens.iter().map(kind).collect(),
            tokens,
            merges: read_merges(merges)?,
            add_bos: Some(false),
            ..GgufVocabulary::default()
        })
    }
}

fn by_number(vocabulary: &[u8]) -> Result<Vec<String>, TokenizerError> {
    let numbers: Map<String, Value> = serde_json::from_slice(vocabulary).map_err(malformed)?;
    let mut tokens: Vec<Option<String>> = vec![None; numbers.len()];
    for (token, number) in numbers {
        let place = number.as_u64().and_then(|id| usize::try_from(id).ok());
        let place = place.and_then(|id| tokens.get_mut(id));
        match place {
            Some(place) if place.is_none() => *place = Some(token),
            _ => {
                let what = format!(
                    "vocab.json numbers {token:?} {number}: numbers have a gap or are there twice"
                );
                return Err(malformed(what));
            }
        }
    }
    Ok(tokens.into_iter().flatten().collect())
}

/// A merge a line, `left right`; a first line may say the version.
fn read_merges(text: &str) -> Result<Vec<String>, TokenizerError> {
    let lines = text.lines().enumerate();
    let lines =
        lines.filter(|(at, line)| !(line.is_empty() || *at == 0 && line.starts_with("#version")));
    let merge = |(at, line): (usize, &str)| match line.split(' ').count() {
        2 => Ok(line.to_owned()),
        _ => Err(malformed(format!(
            "line {} of merges.txt is no pair: {line:?}",
            at + 1
        ))),
    };
    lines.map(merge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::byte_level;

    fn files() -> (Vec<u8>, Vec<u8>) {
        let vocabulary = byte_level("gpt-2", &["<|endoftext|>"]);
        let numbers = vocabulary.tokens.iter().enumerate();
        let numbers: Map<String, Value> = numbers
            .map(|(id, token)| (token.clone(), id.into()))
            .collect();
        let merges = format!("#version: 0.2\n{}\n", vocabulary.merges.join("\n"));
        (serde_json::to_vec(&numbers).unwrap(), merges.into_bytes())
    }

    fn read(config: &str) -> Result<Tokenizer, TokenizerError> {
        let (vocabulary, merges) = files();
        Tokenizer::from_byte_pairs(&vocabulary, &merges, Some(config.as_bytes()))
    }

    #[test]
    fn two_files_spell_as_one_does() {
        let one = Tokenizer::from_gguf(&byte_level("gpt-2", &["<|endoftext|>"])).unwrap();
        for class in ["GPT2Tokenizer", "GPT2TokenizerFast"] {
            let two = read(&format!(r#"{{"tokenizer_class": "{class}"}}"#)).unwrap();
            for text in ["hello  hi 123\n\n", "hi<|endoftext|>hi", "é\u{1f980}"] {
                assert_eq!(
                    two.encode(text).unwrap(),
                    one.encode(text).unwrap(),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn a_class_that_is_not_known_is_refused_with_those_that_are() {
        for config in [r#"{"tokenizer_class": "RobertaTokenizer"}"#, "{}"] {
            let error = read(config).err().unwrap().to_string();
            assert!(
                error.contains("GPT2Tokenizer, CodeGenTokenizer, Qwen2Tokenizer"),
                "{error}"
            );
        }
        assert!(read(r#"{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true}"#).is_err());
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let config = br#"{"tokenizer_class": "GPT2Tokenizer"}"#;
        let (vocabulary, merges) = files();
        let refusal = |vocabulary: &[u8], merges: &[u8]| {
            let outcome = Tokenizer::from_byte_pairs(vocabulary, merges, Some(config));
            outcome.err().unwrap().to_string()
        };
        assert!(refusal(br#"{"a": 0, "b": 7}"#, &merges).contains("gap"));
        assert!(refusal(br#"{"a": 0, "b": 0}"#, &merges).contains("twice"));
        assert!(refusal(br#"{"a": -1}"#, &merges).contains("gap"));
        assert!(refusal(&vocabulary, b"a b c\n").contains("line 1 of merges.txt"));
        assert!(!refusal(&vocabulary, b"q zzz\n").is_empty());
    }
}
