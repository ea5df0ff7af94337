//! Ids of 2,000 odd texts against `sentencepiece` and `tokenizers`, as `fixtures/scripts/golden_tokenizers.py` stored them.

use std::fs;
use std::path::{Path, PathBuf};

use hone_text::{GgufVocabulary, Tokenizer};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name)
}

fn golden() -> Value {
    serde_json::from_slice(&fs::read(fixture("golden/tokenizers.json")).unwrap()).unwrap()
}

fn texts(golden: &Value) -> Vec<String> {
    serde_json::from_value(golden["texts"].clone()).unwrap()
}

fn hash(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    let digest = Sha256::digest(ids.join(",").as_bytes());
    digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The texts whose ids are others than the golden ones.
fn differing<'a>(
    texts: &'a [String],
    hashes: &str,
    ids: impl Fn(&str) -> Vec<u32>,
) -> Vec<&'a str> {
    assert_eq!(hashes.len(), 8 * texts.len());
    let places = texts.iter().enumerate();
    let other = places.filter(|(at, text)| hash(&ids(text)) != hashes[8 * at..8 * at + 8]);
    other.map(|(_, text)| text.as_str()).collect()
}

#[test]
fn a_sentencepiece_model_gives_the_ids_of_sentencepiece() {
    let golden = golden();
    let texts = texts(&golden);
    assert!(texts.len() >= 2000);
    let models = golden["sentencepiece"].as_object().unwrap();
    assert_eq!(models.len(), 5);
    for (name, hashes) in models {
        let bytes = fs::read(fixture(&format!("tokenizers/{name}.model"))).unwrap();
        let tokenizer = Tokenizer::from_sentence_piece(&bytes, None).unwrap();
        // To SentencePiece a control token in a text is letters.
        let other = differing(&texts, hashes.as_str().unwrap(), |text| {
            tokenizer.encode_plain(text).unwrap()
        });
        // Two ways to spell a text with Unigram may score alike: SentencePiece adds scores in f32, `tokenizers` in f64.
        let ties = if name.starts_with("unigram") { 10 } else { 0 };
        assert!(
            other.len() <= ties,
            "{name}: {} texts, {:?}",
            other.len(),
            &other[..other.len().min(8)]
        );
    }
}

#[test]
fn a_sentencepiece_model_with_rules_of_its_own_is_refused() {
    let bytes = fs::read(fixture("tokenizers/unigram-rules.model")).unwrap();
    let refusal = Tokenizer::from_sentence_piece(&bytes, None).err().unwrap();
    assert!(
        refusal
            .to_string()
            .contains("its own rules of normalisation"),
        "{refusal}"
    );
}

#[test]
fn a_tokenizer_json_gives_the_ids_of_tokenizers_and_so_does_its_vocabulary_in_gguf() {
    let golden = golden();
    let texts = texts(&golden);
    for (name, hashes) in golden["tokenizers"].as_object().unwrap() {
        let json = fs::read(fixture(&format!("models/{name}/tokenizer.json"))).unwrap();
        let tokenizer = Tokenizer::from_json(&json).unwrap();
        let vocabulary = GgufVocabulary::of_tokenizer(&tokenizer, 300).unwrap();
        for tokenizer in [tokenizer, Tokenizer::from_gguf(&vocabulary).unwrap()] {
            let other = differing(&texts, hashes.as_str().unwrap(), |text| {
                tokenizer.encode(text).unwrap()
            });
            assert!(
                other.is_empty(),
                "{name}: {:?}",
                &other[..other.len().min(8)]
            );
        }
    }
}
