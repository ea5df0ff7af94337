//! A GGUF file's vocabulary as a `tokenizer.json`.
//!
//! GGUF stores the parts (tokens, types, scores, merges) and only *names* the rule that cuts text into
//! words. Writing the same `tokenizer.json` the model was published with, and loading that, leaves one
//! tokenizer implementation for both formats and something to save beside an adapter.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::TokenizerError;

/// The tokenizer part of a GGUF header, as plain data.
#[derive(Clone, Debug, Default)]
pub struct GgufVocabulary {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the rule that cuts text into words.
    pub pre: Option<String>,
    /// Every token; its index is its id.
    pub tokens: Vec<String>,
    /// 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// SentencePiece scores.
    pub scores: Vec<f32>,
    /// BPE merges, `left right`, most frequent first.
    pub merges: Vec<String>,
    /// Beginning of sequence.
    pub bos: Option<u32>,
    /// End of sequence.
    pub eos: Option<u32>,
    /// Stands for what the vocabulary cannot spell.
    pub unknown: Option<u32>,
    /// Fills batches elsewhere; kept for export.
    pub padding: Option<u32>,
    /// Whether plain text starts with `bos`.
    pub add_bos: Option<bool>,
    /// Whether SentencePiece puts a space before a text.
    pub add_space_prefix: Option<bool>,
}

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// GPT-2's words: contractions, letters, numbers, the rest, with a leading space attached.
pub(crate) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// How one family of byte-level tokenizers cuts text into words.
pub(crate) struct Words {
    /// The names GGUF files use for it.
    pub names: &'static [&'static str],
    /// Applied one after another; each piece is cut further by the next.
    pub patterns: &'static [&'static str],
    /// A word that is itself a token is taken whole, without merging.
    pub whole_words: bool,
    /// Text is composed (Unicode NFC) first.
    pub compose: bool,
    /// Plain text starts with BOS unless the file says otherwise.
    add_bos: bool,
}

const fn words(names: &'static [&'static str], patterns: &'static [&'static str]) -> Words {
    Words {
        names,
        patterns,
        whole_words: false,
        compose: false,
        add_bos: false,
    }
}

pub(crate) const WORDS: &[Words] = &[
    words(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "exaone4",
            "granite-docling",
            "roberta-bpe",
        ],
        &[GPT2],
    ),
    words(
        &["default"],
        &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    ),
    words(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        &[r"\p{N}", GPT2],
    ),
    words(
        &["falcon"],
        &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    ),
    Words {
        whole_words: true,
        add_bos: true,
        ..words(
            &[
                "llama-bpe",
                "llama3",
                "llama-v3",
                "falcon3",
                "pixtral",
                "lfm2",
            ],
            &[LLAMA3],
        )
    },
    words(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], &[LLAMA3]),
    Words {
        compose: true,
        ..words(&["qwen2", "deepseek-r1-qwen"], &[QWEN2])
    },
    words(&["stablelm2", "hunyuan", "megrez", "grok-2"], &[QWEN2]),
    Words {
        compose: true,
        ..words(&["qwen35"], &[QWEN35])
    },
    Words {
        whole_words: true,
        add_bos: true,
        ..words(&["tekken"], &[TEKKEN])
    },
    words(&["gpt-4o", "llama4"], &[GPT4O]),
    words(
        &["deepseek-v3", "hunyuan-dense"],
        &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3],
    ),
];

/// The names of pre-tokenizers that [`crate::Tokenizer::from_gguf`] knows.
pub static KNOWN_PRE_TOKENIZERS: std::sync::LazyLock<Vec<&'static str>> =
    std::sync::LazyLock::new(|| {
        WORDS
            .iter()
            .flat_map(|words| words.names)
            .copied()
            .collect()
    });

impl GgufVocabulary {
    /// The `tokenizer.json` this vocabulary describes.
    pub(crate) fn to_tokenizer_json(&self) -> Result<Value, TokenizerError> {
        self.check()?;
        match self.model.as_str() {
            "gpt2" => self.byte_level(),
            "llama" => Ok(self.sentence_piece()),
            other => Err(TokenizerError::UnknownModel {
                model: other.to_owned(),
            }),
        }
    }

    /// Whether plain text starts with BOS: the file's word, else the family's habit.
    pub(crate) fn adds_bos(&self) -> bool {
        let habit = match self.model.as_str() {
            "llama" => true,
            _ => self.words().is_ok_and(|words| words.add_bos),
        };
        self.bos.is_some() && self.add_bos.unwrap_or(habit)
    }

    fn check(&self) -> Result<(), TokenizerError> {
        let count = self.tokens.len();
        let malformed = |what: String| Err(TokenizerError::Malformed { what });
        if count == 0 {
            return malformed("the vocabulary has no tokens".into());
        }
        if !self.token_types.is_empty() && self.token_types.len() != count {
            return malformed(format!(
                "{} token types for {count} tokens",
                self.token_types.len()
            ));
        }
        if self.model == "llama" && self.scores.len() != count {
            return malformed(format!("{} scores for {count} tokens", self.scores.len()));
        }
        let named = [
            ("bos", self.bos),
            ("eos", self.eos),
            ("unknown", self.unknown),
            ("padding", self.padding),
        ];
        for (name, id) in named {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                return malformed(format!(
                    "the {name} token is {id}, but there are {count} tokens"
                ));
            }
        }
        Ok(())
    }

    fn words(&self) -> Result<&'static Words, TokenizerError> {
        let name = self.pre.as_deref().unwrap_or("default");
        WORDS
            .iter()
            .find(|words| words.names.contains(&name))
            .ok_or_else(|| TokenizerError::UnknownPreTokenizer {
                name: name.to_owned(),
            })
    }

    fn byte_level(&self) -> Result<Value, TokenizerError> {
        let words = self.words()?;
        let mut steps: Vec<Value> = words
            .patterns
            .iter()
            .map(|pattern| isolate(pattern))
            .collect();
        steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}));
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": words.whole_words,
            "vocab": self.vocabulary(), "merges": self.merges,
        });
        let normalizer = words.compose.then(|| json!({"type": "NFC"}));
        let pre_tokenizer = json!({"type": "Sequence", "pretokenizers": steps});
        let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        Ok(self.assemble(normalizer, Some(pre_tokenizer), decoder, model))
    }

    fn sentence_piece(&self) -> Value {
        let prefix = self.add_space_prefix.unwrap_or(true);
        let mut normalizers =
            vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = self.unknown.map(|id| self.tokens[id as usize].as_str());
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": unknown,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": self.vocabulary(), "merges": self.merges_from_scores(),
        });
        let normalizer = json!({"type": "Sequence", "normalizers": normalizers});
        self.assemble(
            Some(normalizer),
            None,
            json!({"type": "Sequence", "decoders": decoders}),
            model,
        )
    }

    fn assemble(
        &self,
        normalizer: Option<Value>,
        pre_tokenizer: Option<Value>,
        decoder: Value,
        model: Value,
    ) -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added_tokens(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": null, "decoder": decoder, "model": model,
        })
    }

    pub(crate) fn vocabulary(&self) -> Value {
        let ids = self
            .tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.clone(), Value::from(id)));
        Value::Object(ids.collect())
    }

    fn added_tokens(&self) -> Vec<Value> {
        let added = |(id, kind): (usize, &i32)| {
            let special = match *kind {
                // llama.cpp looks for the unknown token in a text as well.
                CONTROL | UNKNOWN => true,
                USER_DEFINED => false,
                _ => return None,
            };
            Some(json!({
                "id": id, "content": self.tokens[id], "special": special, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            }))
        };
        self.token_types
            .iter()
            .enumerate()
            .filter_map(added)
            .collect()
    }

    /// SentencePiece merges the pair whose union scores best; as BPE that is a list of merges sorted
    /// by the score of the result. Ties go to the longer left half, then the longer right half, the
    /// order Hugging Face's converter writes.
    pub(crate) fn merges_from_scores(&self) -> Vec<[&str; 2]> {
        let is_normal = |id: usize| self.token_types.get(id).is_none_or(|&kind| kind == NORMAL);
        let normal = || {
            self.tokens
                .iter()
                .enumerate()
                .filter(|&(id, _)| is_normal(id))
        };
        let ids: HashMap<&str, usize> = normal().map(|(id, token)| (token.as_str(), id)).collect();
        let mut merges = Vec::new();
        for (id, token) in normal() {
            let mut halves: Vec<_> = token
                .char_indices()
                .skip(1)
                .map(|(middle, _)| token.split_at(middle))
                .filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?, left, right)))
                .collect();
            halves.sort_unstable_by_key(|&(left, right, ..)| (left, right));
            merges.extend(
                halves
                    .into_iter()
                    .map(|(_, _, left, right)| (self.scores[id], left, right)),
            );
        }
        let length = |half: &str| half.chars().count();
        merges.sort_by(|a, b| {
            b.0.total_cmp(&a.0)
                .then_with(|| length(b.1).cmp(&length(a.1)))
                .then_with(|| length(b.2).cmp(&length(a.2)))
        });
        merges
            .into_iter()
            .map(|(_, left, right)| [left, right])
            .collect()
    }
}

/// Every match becomes a piece of its own; so does what lies between.
fn isolate(pattern: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
}
