//! A tokenizer as a GGUF vocabulary: the way back from `tokenizer.json`.
//!
//! GGUF only names the rule that cuts text into words, so a tokenizer can be written if its rule is one that the reader
//! knows by a name: the same table serves both ways. Any other is refused, because llama.cpp would cut text elsewhere
//! and the model would read tokens that it never learned.

use std::collections::HashMap;

use serde_json::Value;

use crate::gguf::{GPT2, GgufVocabulary, WORDS};
use crate::{Tokenizer, TokenizerError};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

impl GgufVocabulary {
    /// The vocabulary of a tokenizer for a model whose embedding has `vocab_size` rows; ids that no token has are filled
    /// with unused ones, as llama.cpp's converter does.
    pub fn of_tokenizer(tokenizer: &Tokenizer, vocab_size: usize) -> Result<Self, TokenizerError> {
        let json: Value = serde_json::from_str(&tokenizer.to_json())
            .map_err(|error| malformed(error.to_string()))?;
        let model = &json["model"];
        if model["type"] != "BPE" {
            return Err(refused(&format!("a model of type {}", model["type"])));
        }
        let merges = read_merges(model)?;
        let (mut tokens, mut token_types) = read_tokens(&json, vocab_size)?;
        let is_sentence_piece = model["byte_fallback"] == true;
        let mut vocabulary = Self {
            model: if is_sentence_piece { "llama" } else { "gpt2" }.into(),
            pre: None,
            bos: tokenizer.bos(),
            eos: tokenizer.eos(),
            unknown: None,
            padding: None,
            add_bos: Some(tokenizer.adds_bos()),
            ..Self::default()
        };
        for (name, token) in tokenizer.named_tokens() {
            let id = tokenizer.token_id(&token);
            match name {
                "unk_token" => vocabulary.unknown = id,
                "pad_token" => vocabulary.padding = id,
                _ => {}
            }
        }
        if is_sentence_piece {
            vocabulary.add_space_prefix = Some(read_space_prefix(&json)?);
            let unknown = model["unk_token"].as_str();
            for (token, kind) in tokens.iter().zip(&mut token_types) {
                match token {
                    token if Some(token.as_str()) == unknown => *kind = UNKNOWN,
                    token if is_byte(token) => *kind = BYTE,
                    _ => {}
                }
            }
            vocabulary.scores = scores(&tokens, &merges);
            // Tokens that are found wherever they are written are looked for before a space becomes a `▁`.
            let kinds = tokens.iter_mut().zip(&token_types);
            for (token, _) in kinds.filter(|(_, kind)| **kind == USER_DEFINED) {
                *token = token.replace('▁', " ");
            }
        } else {
            vocabulary.pre = Some(name_of_words(&json)?.to_owned());
            vocabulary.merges = merges
                .iter()
                .map(|(left, right)| format!("{left} {right}"))
                .collect();
        }
        vocabulary.tokens = tokens;
        vocabulary.token_types = token_types;
        Ok(vocabulary)
    }

    /// Puts a token behind all others: one that is found wherever it is written, or a control token.
    pub fn push(&mut self, token: &str, is_control: bool) {
        let kind = if is_control { CONTROL } else { USER_DEFINED };
        self.put(token.to_owned(), kind);
    }

    /// Fills up to `vocab_size` with tokens that are not used, for rows that no token has.
    pub fn fill(&mut self, vocab_size: usize) {
        for id in self.tokens.len()..vocab_size {
            self.put(unused(id), UNUSED);
        }
    }

    /// Without a list of types all were normal tokens; without scores there are none to give.
    fn put(&mut self, token: String, kind: i32) {
        self.token_types.resize(self.tokens.len(), NORMAL);
        self.token_types.push(kind);
        if !self.scores.is_empty() {
            self.scores.push(0.0);
        }
        self.tokens.push(token);
    }
}

fn malformed(what: String) -> TokenizerError {
    TokenizerError::Malformed { what }
}

fn refused(what: &str) -> TokenizerError {
    TokenizerError::NotInGguf {
        what: what.to_owned(),
    }
}

/// `"left right"` of older files, `["left", "right"]` of newer ones.
fn read_merges(model: &Value) -> Result<Vec<(String, String)>, TokenizerError> {
    let merge = |merge: &Value| match merge {
        Value::String(text) => text
            .split_once(' ')
            .map(|(left, right)| (left.to_owned(), right.to_owned())),
        Value::Array(pair) => match &pair[..] {
            [Value::String(left), Value::String(right)] => Some((left.clone(), right.clone())),
            _ => None,
        },
        _ => None,
    };
    let merges = model["merges"]
        .as_array()
        .map(|merges| merges.iter().map(merge).collect());
    merges
        .flatten()
        .ok_or_else(|| malformed("its merges are not pairs of tokens".into()))
}

fn read_tokens(json: &Value, vocab_size: usize) -> Result<(Vec<String>, Vec<i32>), TokenizerError> {
    let mut held: Vec<Option<(String, i32)>> = vec![None; vocab_size];
    let mut put = |id: u64, token: &str, kind: i32| match held.get_mut(id as usize) {
        Some(place) => {
            *place = Some((token.to_owned(), kind));
            Ok(())
        }
        None => Err(malformed(format!(
            "`{token}` is token {id}, and the model knows {vocab_size}"
        ))),
    };
    let vocab = json["model"]["vocab"].as_object();
    for (token, id) in vocab.ok_or_else(|| malformed("it has no vocabulary".into()))? {
        put(id.as_u64().unwrap_or(u64::MAX), token, NORMAL)?;
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = if added["special"] == true {
            CONTROL
        } else {
            USER_DEFINED
        };
        let (id, token) = (added["id"].as_u64(), added["content"].as_str());
        put(id.unwrap_or(u64::MAX), token.unwrap_or_default(), kind)?;
    }
    let filled =
        |(id, held): (usize, Option<(String, i32)>)| held.unwrap_or_else(|| (unused(id), UNUSED));
    Ok(held.into_iter().enumerate().map(filled).unzip())
}

fn unused(id: usize) -> String {
    format!("[PAD{id}]")
}

fn is_byte(token: &str) -> bool {
    let hex = token
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'));
    hex.is_some_and(|hex| hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// SentencePiece joins the pair whose union scores best; a token's score is where its first merge stands in the list.
fn scores(tokens: &[String], merges: &[(String, String)]) -> Vec<f32> {
    let mut first: HashMap<String, usize> = HashMap::new();
    for (at, (left, right)) in merges.iter().enumerate() {
        first.entry(format!("{left}{right}")).or_insert(at);
    }
    let last = merges.len();
    tokens
        .iter()
        .map(|token| -(*first.get(token).unwrap_or(&last) as f32))
        .collect()
}

/// Steps of a sequence, or the one step that there is.
fn steps<'a>(json: &'a Value, key: &str, inner: &str) -> Vec<&'a Value> {
    match &json[key] {
        Value::Null => vec![],
        step if step["type"] == "Sequence" => {
            step[inner].as_array().into_iter().flatten().collect()
        }
        step => vec![step],
    }
}

/// Whether SentencePiece puts a space before a text; anything else than its own steps is refused.
fn read_space_prefix(json: &Value) -> Result<bool, TokenizerError> {
    let (mut prefix, mut replaces) = (false, false);
    for step in steps(json, "normalizer", "normalizers") {
        match step["type"].as_str() {
            Some("Prepend") if step["prepend"] == "▁" => prefix = true,
            Some("Replace") if step["pattern"]["String"] == " " && step["content"] == "▁" => {
                replaces = true;
            }
            _ => return Err(refused(&format!("a normaliser {step}"))),
        }
    }
    for step in steps(json, "pre_tokenizer", "pretokenizers") {
        match step["type"].as_str() {
            // Gemma's, which comes after every space was written as `▁` and finds none.
            Some("Split") if step["pattern"]["String"] == " " && replaces => {}
            Some("Metaspace") if step["replacement"] == "▁" && step["split"] != true => {
                prefix |= step["prepend_scheme"] != "never";
            }
            _ => return Err(refused(&format!("a pre-tokenizer {step}"))),
        }
    }
    Ok(prefix)
}

/// GGUF's name of the rule that cuts text into words.
fn name_of_words(json: &Value) -> Result<&'static str, TokenizerError> {
    let mut compose = false;
    for step in steps(json, "normalizer", "normalizers") {
        match step["type"].as_str() {
            Some("NFC") => compose = true,
            _ => return Err(refused(&format!("a normaliser {step}"))),
        }
    }
    let mut patterns: Vec<String> = Vec::new();
    let mut is_byte_level = false;
    for step in steps(json, "pre_tokenizer", "pretokenizers") {
        match step["type"].as_str() {
            Some("ByteLevel") if step["add_prefix_space"] != true => {
                is_byte_level = true;
                // Its own pattern is GPT-2's, unless it is switched off.
                if step["use_regex"] != false {
                    patterns.push(GPT2.to_owned());
                }
            }
            Some("Digits") if step["individual_digits"] == true => patterns.push(r"\p{N}".into()),
            Some("Split") if step["behavior"] == "Isolated" && step["invert"] != true => {
                let pattern = step["pattern"]["Regex"].as_str();
                let pattern = pattern.ok_or_else(|| refused(&format!("a pre-tokenizer {step}")))?;
                // Some files have line ends in a pattern as they are.
                patterns.push(pattern.replace('\r', r"\r").replace('\n', r"\n"));
            }
            _ => return Err(refused(&format!("a pre-tokenizer {step}"))),
        }
    }
    if !is_byte_level {
        return Err(refused("words that are not bytes"));
    }
    let whole_words = json["model"]["ignore_merges"] == true;
    let same = |words: &&crate::gguf::Words| {
        words.patterns.iter().eq(patterns.iter())
            && words.compose == compose
            && words.whole_words == whole_words
    };
    let words = WORDS.iter().find(same);
    words
        .map(|words| words.names[0])
        .ok_or_else(|| refused(&format!("words cut by {patterns:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(name: &str) -> Tokenizer {
        let dir = format!(
            "{}/../../fixtures/models/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let read = |file: &str| std::fs::read(format!("{dir}/{file}")).unwrap();
        Tokenizer::from_json(&read("tokenizer.json"))
            .unwrap()
            .with_config(&read("tokenizer_config.json"))
            .unwrap()
    }

    #[test]
    fn a_byte_level_tokenizer_comes_back_from_its_vocabulary() {
        let ours = tokenizer("tiny-llama-tied");
        let vocabulary = GgufVocabulary::of_tokenizer(&ours, 300).unwrap();
        assert_eq!(
            (vocabulary.model.as_str(), vocabulary.pre.as_deref()),
            ("gpt2", Some("gpt-2"))
        );
        assert_eq!(vocabulary.tokens.len(), 300);
        let again = Tokenizer::from_gguf(&vocabulary).unwrap();
        for text in [
            "Hello there, 123 things!",
            "  two  spaces\n\nand <|im_end|>",
            "Grüße, мир 你好",
        ] {
            assert_eq!(
                again.encode(text).unwrap(),
                ours.encode(text).unwrap(),
                "{text}"
            );
        }
        assert_eq!((again.bos(), again.eos()), (ours.bos(), ours.eos()));
    }

    #[test]
    fn every_named_rule_finds_its_name_again() {
        for words in WORDS {
            let vocabulary = GgufVocabulary {
                model: "gpt2".into(),
                pre: Some(words.names[0].into()),
                tokens: vec!["a".into(), "b".into()],
                ..GgufVocabulary::default()
            };
            let tokenizer = Tokenizer::from_gguf(&vocabulary).unwrap();
            let again = GgufVocabulary::of_tokenizer(&tokenizer, 2).unwrap();
            assert_eq!(again.pre.as_deref(), Some(words.names[0]));
        }
    }

    #[test]
    fn a_sentence_piece_tokenizer_comes_back_from_its_vocabulary() {
        let tokens = [
            "<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "ab", "▁ab", "▁a",
        ];
        let vocabulary = GgufVocabulary {
            model: "llama".into(),
            tokens: tokens.map(str::to_owned).into(),
            token_types: vec![2, 3, 3, 6, 1, 1, 1, 1, 1, 1],
            scores: vec![0.0, 0.0, 0.0, 0.0, -5.0, -6.0, -7.0, -1.0, -2.0, -3.0],
            bos: Some(1),
            eos: Some(2),
            unknown: Some(0),
            ..GgufVocabulary::default()
        };
        let ours = Tokenizer::from_gguf(&vocabulary).unwrap();
        let found = GgufVocabulary::of_tokenizer(&ours, 10).unwrap();
        assert_eq!(
            (found.model.as_str(), found.add_space_prefix),
            ("llama", Some(true))
        );
        assert_eq!(found.token_types, vocabulary.token_types);
        let again = Tokenizer::from_gguf(&found).unwrap();
        for text in ["ab", "ab ab", "a b\nab"] {
            assert_eq!(
                again.encode(text).unwrap(),
                ours.encode(text).unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_rule_with_line_ends_as_they_are_finds_its_name() {
        let vocabulary = GgufVocabulary {
            model: "gpt2".into(),
            pre: Some("deepseek-v3".into()),
            tokens: vec!["a".into(), "b".into()],
            ..GgufVocabulary::default()
        };
        let json = Tokenizer::from_gguf(&vocabulary).unwrap().to_json();
        let json = json.replace(r"\\r\\n", r"\r\n");
        let tokenizer = Tokenizer::from_json(json.as_bytes()).unwrap();
        let again = GgufVocabulary::of_tokenizer(&tokenizer, 2).unwrap();
        assert_eq!(again.pre.as_deref(), Some("deepseek-v3"));
    }

    #[test]
    fn a_rule_without_a_name_is_refused() {
        let ours = tokenizer("tiny-llama-tied");
        let mut json: Value = serde_json::from_str(&ours.to_json()).unwrap();
        json["pre_tokenizer"]["add_prefix_space"] = true.into();
        let other = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
        let error = GgufVocabulary::of_tokenizer(&other, 300).unwrap_err();
        assert!(error.to_string().contains("ByteLevel"), "{error}");
        let error = GgufVocabulary::of_tokenizer(&ours, 299).unwrap_err();
        assert!(error.to_string().contains("the model knows 299"), "{error}");
    }
}
