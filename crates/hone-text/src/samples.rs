//! Small hand-made vocabularies for the tests of this crate.

use crate::{GgufVocabulary, Tokenizer};

/// Byte-level BPE over all 256 bytes; the control tokens come first, merges make a few words.
pub fn byte_level(pre: &str, control: &[&str]) -> GgufVocabulary {
    let merges = ["h i", "Ġ hi", "Ċ Ċ", "1 2", "12 3", "e \u{cc}"];
    let mut tokens: Vec<String> = control.iter().map(|token| (*token).to_owned()).collect();
    tokens.extend((0..=255).map(byte_symbol).map(String::from));
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut token_types = vec![1; tokens.len()];
    token_types[..control.len()].fill(3);
    GgufVocabulary {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        tokens,
        token_types,
        merges: merges.map(String::from).to_vec(),
        bos: Some(0),
        eos: Some(1),
        ..GgufVocabulary::default()
    }
}

/// ChatML's control tokens on [`byte_level`]; `<|im_end|>` ends a sequence.
pub fn chatml() -> Tokenizer {
    Tokenizer::from_gguf(&byte_level("smollm", &["<|im_start|>", "<|im_end|>"]))
        .expect("a sound vocabulary")
}

/// SentencePiece with byte tokens; merges follow from the scores.
pub fn sentence_piece() -> GgufVocabulary {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into()];
    let mut token_types = vec![2, 3, 3];
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    token_types.resize(tokens.len(), 6);
    tokens.extend(
        [
            "▁h", "ello", "▁hello", "he", "llo", "ll", "▁", "h", "e", "l", "o", "[", "]", "I", "/",
            "b",
        ]
        .map(String::from),
    );
    token_types.resize(tokens.len(), 1);
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    GgufVocabulary {
        model: "llama".into(),
        tokens,
        token_types,
        scores,
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..GgufVocabulary::default()
    }
}

/// GPT-2's printable stand-in for a byte.
fn byte_symbol(byte: u32) -> char {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = match printable(byte) {
        true => byte,
        false => 256 + (0..byte).filter(|&before| !printable(before)).count() as u32,
    };
    char::from_u32(code).expect("below the surrogates")
}
