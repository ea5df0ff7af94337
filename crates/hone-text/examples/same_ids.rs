//! Compares ids with those of other implementations: `same_ids DIR`, where `golden_tokenizers.py compare` wrote DIR.
//!
//! Each tokenizer is read from its own file and once more from the GGUF vocabulary that it is exported as. A line each;
//! ends with 1 where ids differ that nothing refused by name.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use hone_text::{GgufVocabulary, Tokenizer};
use serde_json::Value;

fn main() -> ExitCode {
    let dir = std::env::args().nth(1).expect("a directory is named");
    let dir = Path::new(&dir);
    let texts: Vec<String> = read(&dir.join("texts.json"));
    let list = fs::read_to_string(dir.join("list.jsonl")).expect("the list is there");
    let mut all_same = true;
    for line in list.lines() {
        let row: Value = serde_json::from_str(line).expect("a line is JSON");
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        let expected: Vec<Vec<u32>> = read(&dir.join(text("ids")));
        all_same &= compare(text("name"), text("kind"), text("file"), &texts, &expected);
        if !text("transformers").is_empty() {
            println!("    {}", text("transformers"));
        }
    }
    match all_same {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("it is what the script writes")
}

fn compare(name: &str, kind: &str, file: &str, texts: &[String], expected: &[Vec<u32>]) -> bool {
    let bytes = fs::read(file).expect("a listed file is there");
    let is_json = kind == "tokenizer.json";
    let tokenizer = match is_json {
        true => Tokenizer::from_json(&bytes),
        false => Tokenizer::from_sentence_piece(&bytes, None),
    };
    let tokenizer = match tokenizer {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            println!("{name}: refused: {error}");
            return true;
        }
    };
    // To SentencePiece a control token in a text is letters.
    let ids = |tokenizer: &Tokenizer, text: &str| match is_json {
        true => tokenizer.encode(text),
        false => tokenizer.encode_plain(text),
    };
    let same = same_as(name, texts, expected, |text| ids(&tokenizer, text));
    // Some number their tokens with gaps.
    let rows = tokenizer.vocab_size() + 64;
    let vocabulary = GgufVocabulary::of_tokenizer(&tokenizer, rows);
    match vocabulary.and_then(|vocabulary| Tokenizer::from_gguf(&vocabulary)) {
        Ok(again) => {
            let name = format!("{name}, as GGUF");
            same & same_as(&name, texts, expected, |text| ids(&again, text))
        }
        Err(error) => {
            println!("    as GGUF refused: {error}");
            same
        }
    }
}

fn same_as<E: std::fmt::Display>(
    name: &str,
    texts: &[String],
    expected: &[Vec<u32>],
    ids: impl Fn(&str) -> Result<Vec<u32>, E>,
) -> bool {
    let mut other = Vec::new();
    let mut written = 0;
    for (text, expected) in texts.iter().zip(expected) {
        match ids(text) {
            Ok(found) if found == *expected => {}
            // llama.cpp looks for tokens of several spaces before it writes a space as `▁`, so one that somebody wrote is none.
            Ok(_) if name.ends_with("as GGUF") && text.contains('▁') => written += 1,
            Ok(found) => other.push(format!("{text:?}: {found:?}, expected {expected:?}")),
            Err(error) => other.push(format!("{text:?}: {error}")),
        }
    }
    let same = texts.len() - other.len() - written;
    println!("{name}: {same} of {} texts have the same ids", texts.len());
    if written > 0 {
        println!(
            "    {written} others have a `▁` in them, which llama.cpp takes otherwise as well"
        );
    }
    for line in other.iter().take(5) {
        let line: String = line.chars().take(300).collect();
        println!("    {line}");
    }
    other.is_empty()
}
