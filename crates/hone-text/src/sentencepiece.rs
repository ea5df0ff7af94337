//! A SentencePiece model (`tokenizer.model`) as a `tokenizer.json`.
//!
//! Older directories have nothing else. The file is a protocol buffer: pieces with scores and kinds, how the model was
//! trained, how text is normalised. It says everything that a `tokenizer.json` says, but a merge list, which follows from
//! the scores. Ids are SentencePiece's own: where transformers orders merges by number instead of score, ids differ from
//! those that the model was trained on, and the model's own are followed. What has no place in a `tokenizer.json` is refused.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::tokenizer::malformed;
use crate::{GgufVocabulary, Tokenizer, TokenizerError};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

/// A space, as pieces spell it.
const SPACE: &str = "▁";

/// What is read of the file.
#[derive(Debug)]
struct Model {
    pieces: Vec<Piece>,
    trainer: Trainer,
    normalizer: Normalizer,
}

#[derive(Debug)]
struct Piece {
    text: String,
    score: f32,
    kind: i32,
}

/// `TrainerSpec`, with the defaults of its definition.
#[derive(Debug)]
struct Trainer {
    model_type: u64,
    byte_fallback: bool,
    whitespace_as_suffix: bool,
    unknown: i32,
    bos: i32,
    eos: i32,
    padding: i32,
}

/// `NormalizerSpec`, with the defaults of its definition.
#[derive(Debug)]
struct Normalizer {
    /// A table of its own (`precompiled_charsmap`). The step of a `tokenizer.json` that carries one looks up whole graphemes and
    /// drops their accents, where SentencePiece goes on behind what it found.
    has_rules: bool,
    dummy_prefix: bool,
    single_spaces: bool,
    escapes_spaces: bool,
}

/// What a `tokenizer_config.json` says about the conversion.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    /// `false`: a space is put before the first text only, not after each control token.
    legacy: Option<bool>,
    add_prefix_space: Option<bool>,
}

impl Tokenizer {
    /// From the bytes of a SentencePiece model and, if there is one, of the `tokenizer_config.json` beside it, which may say
    /// whether a space is put before a text. Named tokens are the model's; [`Tokenizer::with_config`] takes those of the
    /// configuration.
    ///
    /// # Errors
    /// A file that is none, and models that a `tokenizer.json` cannot say: other kinds than BPE and Unigram, spaces behind words.
    pub fn from_sentence_piece(
        model: &[u8],
        config: Option<&[u8]>,
    ) -> Result<Self, TokenizerError> {
        let settings = match config {
            Some(config) => serde_json::from_slice(config).map_err(malformed)?,
            None => Settings::default(),
        };
        let model = Model::read(model)?;
        let json = model.to_tokenizer_json(&settings)?.to_string();
        let named = |id: i32| {
            let id = usize::try_from(id).ok()?;
            (id < model.pieces.len()).then_some(id as u32)
        };
        let bos = named(model.trainer.bos);
        Ok(Self::from_json(json.as_bytes())?.with_named(
            bos,
            named(model.trainer.eos),
            named(model.trainer.unknown),
            named(model.trainer.padding),
        ))
    }
}

impl Model {
    fn read(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let mut model = Self {
            pieces: Vec::new(),
            trainer: Trainer {
                model_type: UNIGRAM,
                byte_fallback: false,
                whitespace_as_suffix: false,
                unknown: 0,
                bos: 1,
                eos: 2,
                padding: -1,
            },
            normalizer: Normalizer {
                has_rules: false,
                dummy_prefix: true,
                single_spaces: true,
                escapes_spaces: true,
            },
        };
        for field in Fields(bytes) {
            match field? {
                (1, Field::Bytes(piece)) => model.pieces.push(Piece::read(piece)?),
                (2, Field::Bytes(trainer)) => model.trainer.read(trainer)?,
                (3, Field::Bytes(normalizer)) => model.normalizer.read(normalizer)?,
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err(malformed(
                "it has no pieces, so it is no SentencePiece model",
            ));
        }
        let mut known = HashSet::new();
        for piece in &model.pieces {
            if piece.text.is_empty() || !known.insert(piece.text.as_str()) {
                let what = format!("the piece {:?} is empty or there twice", piece.text);
                return Err(malformed(what));
            }
        }
        Ok(model)
    }

    fn to_tokenizer_json(&self, settings: &Settings) -> Result<Value, TokenizerError> {
        if self.trainer.whitespace_as_suffix {
            return Err(refused("spaces behind words instead of before them"));
        }
        if self.normalizer.has_rules {
            return Err(refused("its own rules of normalisation"));
        }
        if !self.normalizer.escapes_spaces {
            return Err(refused("spaces that are not written as `▁`"));
        }
        let model = match self.trainer.model_type {
            BPE => self.bpe(),
            UNIGRAM => self.unigram(),
            3 => return Err(refused("words as pieces (model_type WORD)")),
            4 => return Err(refused("characters as pieces (model_type CHAR)")),
            other => return Err(refused(&format!("a model of type {other}"))),
        };
        let has_prefix = settings
            .add_prefix_space
            .unwrap_or(self.normalizer.dummy_prefix);
        let is_first_only = settings.legacy == Some(false);
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if has_prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": self.added_tokens(has_prefix),
            "normalizer": self.normalizers(has_prefix && !is_first_only),
            "pre_tokenizer": self.pre_tokenizers(has_prefix && is_first_only),
            "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": model,
        }))
    }

    /// Spaces are cleaned up as SentencePiece does: at the beginning and in runs those that were written as spaces, at the end a
    /// `▁` that somebody wrote as well.
    fn normalizers(&self, has_prefix: bool) -> Value {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let mut steps = Vec::new();
        let cleans = self.normalizer.single_spaces;
        if cleans {
            steps.push(replace(json!({"Regex": r"\A +"}), ""));
            steps.push(replace(json!({"Regex": " {2,}"}), " "));
        }
        steps.push(replace(json!({"String": " "}), SPACE));
        if cleans {
            steps.push(replace(json!({"Regex": r"▁+\z"}), ""));
        }
        if has_prefix {
            steps.push(json!({"type": "Prepend", "prepend": SPACE}));
        }
        json!({"type": "Sequence", "normalizers": steps})
    }

    /// Where a space is put before the first text only; and before that, where the pieces of bytes are among those that a
    /// text is spelt with, which only Unigram's are, a cut in whatever reads like one.
    fn pre_tokenizers(&self, is_first_only: bool) -> Value {
        let mut steps = Vec::new();
        if self.trainer.model_type == UNIGRAM && self.trainer.byte_fallback {
            let pattern = json!({"Regex": "<(?=0x[0-9A-F]{2}>)"});
            steps.push(json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false}));
        }
        if is_first_only {
            steps.insert(0, json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": false}));
        }
        match steps.is_empty() {
            true => Value::Null,
            false => json!({"type": "Sequence", "pretokenizers": steps}),
        }
    }

    fn bpe(&self) -> Value {
        let vocabulary = GgufVocabulary {
            model: "llama".into(),
            tokens: self.pieces.iter().map(|piece| piece.text.clone()).collect(),
            token_types: self.pieces.iter().map(|piece| piece.kind).collect(),
            scores: self.pieces.iter().map(|piece| piece.score).collect(),
            ..GgufVocabulary::default()
        };
        json!({
            "type": "BPE", "dropout": null, "unk_token": self.unknown(),
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": self.trainer.byte_fallback, "ignore_merges": false,
            "vocab": vocabulary.vocabulary(), "merges": vocabulary.merges_from_scores(),
        })
    }

    fn unigram(&self) -> Value {
        let vocab = self.pieces.iter();
        let vocab: Vec<Value> = vocab
            .map(|piece| json!([piece.text, f64::from(piece.score)]))
            .collect();
        json!({
            "type": "Unigram", "unk_id": self.unknown_id(), "vocab": vocab,
            "byte_fallback": self.trainer.byte_fallback,
        })
    }

    fn unknown_id(&self) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.kind == UNKNOWN)
    }

    fn unknown(&self) -> Option<&str> {
        self.unknown_id().map(|id| self.pieces[id].text.as_str())
    }

    /// Control tokens; and what the trainer was told to keep whole, which is found wherever it is written. A space in such a
    /// piece is a `▁`: without a space before every text pieces are looked for once spaces are written so, else in the text
    /// as it is.
    fn added_tokens(&self, has_prefix: bool) -> Vec<Value> {
        let added = |(id, piece): (usize, &Piece)| {
            let is_kept = piece.kind == USER_DEFINED;
            let is_normalized = is_kept && piece.text.contains(SPACE) && !has_prefix;
            matches!(piece.kind, UNKNOWN | CONTROL | USER_DEFINED).then(|| {
                json!({
                    "id": id, "content": piece.text, "special": !is_kept, "normalized": is_normalized,
                    "single_word": false, "lstrip": false, "rstrip": false,
                })
            })
        };
        self.pieces.iter().enumerate().filter_map(added).collect()
    }
}

fn refused(what: &str) -> TokenizerError {
    TokenizerError::NotConvertible {
        what: what.to_owned(),
    }
}

impl Piece {
    fn read(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let mut piece = Self {
            text: String::new(),
            score: 0.0,
            kind: NORMAL,
        };
        for field in Fields(bytes) {
            match field? {
                (1, Field::Bytes(text)) => {
                    piece.text = String::from_utf8(text.to_vec())
                        .map_err(|_| malformed("a piece is not UTF-8"))?;
                }
                (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
                (3, Field::Varint(kind)) => piece.kind = i32::try_from(kind).unwrap_or(i32::MAX),
                _ => {}
            }
        }
        match piece.score.is_finite() {
            true => Ok(piece),
            false => Err(malformed(format!(
                "the score of {:?} is no number",
                piece.text
            ))),
        }
    }
}

impl Trainer {
    fn read(&mut self, bytes: &[u8]) -> Result<(), TokenizerError> {
        // Negative numbers are written as 64 bits; -1 stands for a token that there is not.
        let id = |value: u64| i32::try_from(value as i64).unwrap_or(-1);
        for field in Fields(bytes) {
            match field? {
                (3, Field::Varint(value)) => self.model_type = value,
                (24, Field::Varint(value)) => self.whitespace_as_suffix = value != 0,
                (35, Field::Varint(value)) => self.byte_fallback = value != 0,
                (40, Field::Varint(value)) => self.unknown = id(value),
                (41, Field::Varint(value)) => self.bos = id(value),
                (42, Field::Varint(value)) => self.eos = id(value),
                (43, Field::Varint(value)) => self.padding = id(value),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Normalizer {
    fn read(&mut self, bytes: &[u8]) -> Result<(), TokenizerError> {
        for field in Fields(bytes) {
            match field? {
                (2, Field::Bytes(table)) => self.has_rules = !table.is_empty(),
                (3, Field::Varint(value)) => self.dummy_prefix = value != 0,
                (4, Field::Varint(value)) => self.single_spaces = value != 0,
                (5, Field::Varint(value)) => self.escapes_spaces = value != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The fields of a protocol buffer, by number. Lengths are looked at before anything is taken: nothing is allocated that the
/// file does not hold.
struct Fields<'a>(&'a [u8]);

enum Field<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64,
    Bytes(&'a [u8]),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), TokenizerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| malformed("it is cut short, or no SentencePiece model")))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Field::Fixed64
            }
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, field))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn number(field: u64, value: u64) -> Vec<u8> {
        [varint(field << 3), varint(value)].concat()
    }

    fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
        [
            varint(field << 3 | 2),
            varint(value.len() as u64),
            value.to_vec(),
        ]
        .concat()
    }

    fn piece(text: &str, score: f32, kind: u64) -> Vec<u8> {
        let score = [vec![2 << 3 | 5], score.to_le_bytes().to_vec()].concat();
        bytes(
            1,
            &[bytes(1, text.as_bytes()), score, number(3, kind)].concat(),
        )
    }

    /// Pieces of a model of type `kind` that falls back on bytes, without clean-up of spaces.
    fn model(kind: u64, more: &[Vec<u8>]) -> Vec<u8> {
        let pieces = [
            piece("<unk>", 0.0, 2),
            piece("<s>", 0.0, 3),
            piece("</s>", 0.0, 3),
            piece("<0x21>", 0.0, 6),
            piece("▁ab", -1.0, 1),
            piece("ab", -2.0, 1),
            piece("▁", -3.0, 1),
            piece("a", -4.0, 1),
            piece("b", -5.0, 1),
            piece("KEEP", 0.0, 4),
        ];
        let trainer = bytes(2, &[number(3, kind), number(35, 1)].concat());
        let normalizer = bytes(3, &number(4, 0));
        [pieces.concat(), trainer, normalizer, more.concat()].concat()
    }

    fn spelt(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
        let ids = tokenizer.encode(text).unwrap();
        ids.iter().map(|id| tokenizer.token(*id).unwrap()).collect()
    }

    #[test]
    fn both_kinds_of_model_spell_with_their_pieces() {
        for kind in [BPE, UNIGRAM] {
            let tokenizer = Tokenizer::from_sentence_piece(&model(kind, &[]), None).unwrap();
            assert_eq!(spelt(&tokenizer, "ab ab!"), ["▁ab", "▁ab", "<0x21>"]);
            assert_eq!(spelt(&tokenizer, " abKEEPab"), ["▁", "▁ab", "KEEP", "▁ab"]);
            assert_eq!(spelt(&tokenizer, "<s>ab"), ["<s>", "▁ab"]);
            let ids = tokenizer.encode("ab ab").unwrap();
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), "ab ab");
            assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
            assert!(tokenizer.adds_bos());
        }
    }

    #[test]
    fn a_control_token_that_somebody_writes_is_only_letters_in_both_kinds() {
        let letters = ["<", "s", ">", "/"].map(|letter| piece(letter, -6.0, 1));
        for kind in [BPE, UNIGRAM] {
            let tokenizer = Tokenizer::from_sentence_piece(&model(kind, &letters), None).unwrap();
            let plain = tokenizer.encode_plain("ab<s>").unwrap();
            assert!(!plain.contains(&1), "{plain:?}");
            assert_eq!(tokenizer.decode(&plain, true).unwrap(), "ab<s>");
        }
    }

    #[test]
    fn the_configuration_says_where_a_space_is_put() {
        let with = |config: &str| {
            let config = Some(config.as_bytes());
            Tokenizer::from_sentence_piece(&model(BPE, &[]), config).unwrap()
        };
        assert_eq!(spelt(&with(r#"{"legacy": false}"#), "<s>ab"), ["<s>", "ab"]);
        assert_eq!(spelt(&with(r#"{"legacy": false}"#), "ab"), ["▁ab"]);
        assert_eq!(spelt(&with(r#"{"legacy": true}"#), "<s>ab"), ["<s>", "▁ab"]);
        assert_eq!(spelt(&with(r#"{"add_prefix_space": false}"#), "ab"), ["ab"]);
    }

    #[test]
    fn spaces_are_cleaned_up_where_the_model_says_so() {
        let cleans = bytes(3, &number(4, 1));
        let tokenizer = Tokenizer::from_sentence_piece(&model(BPE, &[cleans]), None).unwrap();
        assert_eq!(spelt(&tokenizer, "  ab   ab "), ["▁ab", "▁ab"]);
    }

    #[test]
    fn what_a_tokenizer_json_cannot_say_is_refused_by_name() {
        let refusal = |bytes: &[u8]| {
            let outcome = Tokenizer::from_sentence_piece(bytes, None);
            outcome.err().expect("a refusal").to_string()
        };
        assert!(refusal(&model(3, &[])).contains("model_type WORD"));
        assert!(refusal(&model(4, &[])).contains("model_type CHAR"));
        let suffix = bytes(2, &number(24, 1));
        assert!(refusal(&model(BPE, &[suffix])).contains("spaces behind words"));
        let unescaped = bytes(3, &number(5, 0));
        assert!(refusal(&model(BPE, &[unescaped])).contains("not written as"));
        let rules = bytes(3, &bytes(2, b"table"));
        assert!(refusal(&model(BPE, &[rules])).contains("its own rules of normalisation"));
        assert!(refusal(b"").contains("no pieces"));
        assert!(refusal(b"{\"not\": \"a model\"}").starts_with("not a usable tokenizer"));
        let bad = piece("x", f32::NAN, 1);
        assert!(refusal(&model(BPE, &[bad])).contains("no number"));
        let twice = piece("ab", -9.0, 1);
        assert!(refusal(&model(BPE, &[twice])).contains("twice"));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tokenizer::from_sentence_piece(&bytes, None);
        }

        #[test]
        fn a_file_that_is_cut_or_changed_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut whole = model(BPE, &[]);
            let at = at.index(whole.len());
            let _ = Tokenizer::from_sentence_piece(&whole[..at], None);
            whole[at] = byte;
            let _ = Tokenizer::from_sentence_piece(&whole, None);
        }
    }
}
