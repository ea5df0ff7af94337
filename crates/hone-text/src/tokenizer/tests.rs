//! What a tokenizer makes of texts, and of files that are none.

use proptest::prelude::*;

use super::*;
use crate::samples::{byte_level, chatml, sentence_piece};

fn tokens(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter()
        .map(|&id| tokenizer.token(id).expect("an id of this tokenizer"))
        .collect()
}

#[test]
fn a_file_that_the_library_gives_up_on_is_refused() {
    // Cut inside the decoder, which `tokenizers` unwraps.
    let json = br#"{"version":"1.0","decoder":{"type":"ByteLevel","add"#;
    let error = Tokenizer::from_json(json).err().expect("a hostile file");
    let line = error.to_string();
    assert!(
        line.starts_with("not a usable tokenizer: ") && !line.contains(char::is_control),
        "{line}"
    );
}

#[test]
fn control_tokens_are_letters_in_plain_text() {
    let tokenizer = chatml();
    let text = "hi<|im_end|>";
    assert_eq!(
        tokens(&tokenizer, &tokenizer.encode(text).unwrap()),
        ["hi", "<|im_end|>"]
    );
    let plain = tokenizer.encode_plain(text).unwrap();
    assert!(!plain.contains(&1), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain, true).unwrap(), text);
}

#[test]
fn words_follow_the_named_rule() {
    let spell = |pre: &str| {
        let tokenizer = Tokenizer::from_gguf(&byte_level(pre, &["<s>", "</s>"])).unwrap();
        tokens(&tokenizer, &tokenizer.encode("123 hi\n\n").unwrap())
    };
    assert_eq!(spell("gpt-2"), ["123", "Ġhi", "ĊĊ"]);
    assert_eq!(spell("smollm"), ["1", "2", "3", "Ġhi", "ĊĊ"]);
    assert_eq!(spell("llama-bpe"), ["123", "Ġhi", "ĊĊ"]);
    assert_eq!(spell("qwen2"), ["1", "2", "3", "Ġhi", "ĊĊ"]);
}

#[test]
fn every_known_rule_compiles() {
    for pre in KNOWN_PRE_TOKENIZERS.iter() {
        let tokenizer = Tokenizer::from_gguf(&byte_level(pre, &["<s>", "</s>"])).unwrap();
        let text = "It's 2026: naïve café, 日本語!\r\n\tx  = y;";
        assert_eq!(
            tokenizer
                .decode(&tokenizer.encode(text).unwrap(), true)
                .unwrap(),
            text,
            "{pre}"
        );
    }
}

#[test]
fn an_unknown_rule_is_refused_by_name_with_the_known_ones() {
    let Err(error) = Tokenizer::from_gguf(&byte_level("nonesuch", &[])) else {
        panic!("it was accepted")
    };
    let error = error.to_string();
    assert!(
        error.contains("`nonesuch`") && error.contains("smollm"),
        "{error}"
    );
}

#[test]
fn inconsistent_vocabularies_are_refused() {
    let refused = |change: fn(&mut GgufVocabulary)| {
        let mut vocabulary = sentence_piece();
        change(&mut vocabulary);
        Tokenizer::from_gguf(&vocabulary)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    assert!(refused(|v| v.tokens.clear()).contains("no tokens"));
    assert!(refused(|v| v.scores.truncate(3)).contains("3 scores"));
    assert!(refused(|v| v.token_types.truncate(3)).contains("3 token types"));
    assert!(refused(|v| v.eos = Some(9999)).contains("the eos token is 9999"));
    assert!(refused(|v| v.model = "bert".into()).contains("`bert`"));
    assert_eq!(refused(|_| {}), "");
}

#[test]
fn sentence_piece_merges_the_best_score_first() {
    let tokenizer = Tokenizer::from_gguf(&sentence_piece()).unwrap();
    // `▁h` + `ello` needs `ello` first, which needs `e` + `llo`; all of them score above `he`.
    assert_eq!(
        tokens(&tokenizer, &tokenizer.encode("hello").unwrap()),
        ["▁hello"]
    );
    assert_eq!(
        tokens(&tokenizer, &tokenizer.encode("hehe").unwrap()),
        ["▁h", "e", "he"]
    );
    let bytes = tokenizer.encode("é").unwrap();
    assert_eq!(tokens(&tokenizer, &bytes), ["▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(tokenizer.decode(&bytes, true).unwrap(), "é");
    assert!(tokenizer.adds_bos());
}

#[test]
fn what_the_vocabulary_cannot_spell_is_an_error() {
    let mut vocabulary = byte_level("gpt-2", &["<s>", "</s>"]);
    let z = vocabulary
        .tokens
        .iter()
        .position(|token| token == "z")
        .unwrap();
    vocabulary.tokens[z] = "zzz".into();
    let error = Tokenizer::from_gguf(&vocabulary)
        .unwrap()
        .encode("zoo")
        .unwrap_err();
    assert!(
        matches!(&error, TokenizerError::Unspeakable { text } if text == "zoo"),
        "{error}"
    );
}

#[test]
fn a_stream_shows_only_whole_characters() {
    let tokenizer = chatml();
    let ids = tokenizer.encode("hi é\u{1f980}").unwrap();
    let mut stream = tokenizer.stream(true);
    let shown: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(shown, ["hi", " ", "", "é", "", "", "", "\u{1f980}"]);
    assert_eq!(stream.finish().unwrap(), "");
}

#[test]
fn a_stream_ends_with_what_it_held_back() {
    let tokenizer = chatml();
    let ids = tokenizer.encode("é").unwrap();
    let mut stream = tokenizer.stream(true);
    assert_eq!(stream.push(ids[0]).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{fffd}");
}

#[test]
fn named_tokens_come_from_the_configuration() {
    let json = chatml().to_json();
    let tokenizer = || Tokenizer::from_json(json.as_bytes()).unwrap();
    let config = br#"{"bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>", "unk_token": null}"#;
    let named = tokenizer().with_config(config).unwrap();
    assert_eq!(
        (named.bos(), named.eos(), named.adds_bos()),
        (Some(0), Some(1), false)
    );
    let Err(error) = tokenizer().with_config(br#"{"eos_token": "</s>"}"#) else {
        panic!("it was accepted")
    };
    assert!(error.to_string().contains("`</s>`"), "{error}");
}

#[test]
fn the_hash_is_of_the_content() {
    let again = Tokenizer::from_json(chatml().to_json().as_bytes()).unwrap();
    assert_eq!(chatml().hash(), again.hash());
    let other =
        Tokenizer::from_gguf(&byte_level("gpt-2", &["<|im_start|>", "<|im_end|>"])).unwrap();
    assert_ne!(chatml().hash(), other.hash());
}

fn awkward() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "hi",
        " ",
        "  ",
        "\n",
        "\n\n",
        "<|im_end|>",
        "<|im_start|>",
        "<s>",
        "</s>",
        "123",
        "é",
        "e\u{301}",
        "日",
        "<",
        "hello",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn without_borders_the_ids_are_those_of_the_tokenizers_crate(text in awkward()) {
        for vocabulary in [byte_level("qwen2", &["<|im_start|>", "<|im_end|>"]), sentence_piece()] {
            let tokenizer = Tokenizer::from_gguf(&vocabulary).unwrap();
            let theirs = tokenizer.inner.encode(text.as_str(), false).unwrap();
            prop_assert_eq!(tokenizer.encode(&text).unwrap(), theirs.get_ids());
        }
    }

    #[test]
    fn a_cut_keeps_the_ids_before_it(text in awkward(), at in any::<prop::sample::Index>()) {
        for vocabulary in [byte_level("smollm", &["<|im_start|>", "<|im_end|>"]), sentence_piece()] {
            let tokenizer = Tokenizer::from_gguf(&vocabulary).unwrap();
            let cut = (0..=at.index(text.len() + 1)).rev().find(|&at| text.is_char_boundary(at)).unwrap();
            let borders = Borders { cuts: vec![cut], ..Borders::plain(&text) };
            let whole = tokenizer.spans(&text, &borders).unwrap();
            let before = tokenizer.encode_plain(&text[..cut]).unwrap();
            prop_assert!(ids(whole).starts_with(&before));
        }
    }
}
