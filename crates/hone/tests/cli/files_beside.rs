//! Models as they are found: in several files, and with files beside them that say a thing twice, otherwise, or not at all.

use crate::command::{Place, fixtures};
use hone_model::weights::{Gguf, GgufTensor, GgufWriter, Typed};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Writes the GGUF fixture again: those of its keys that stay, more of them, and every so many of its tensors.
fn write_gguf(
    path: &Path,
    stays: impl Fn(&str) -> bool,
    more: Vec<(String, Typed)>,
    (part, parts): (usize, usize),
) {
    let whole = Gguf::open(&fixtures().join("models/tiny-llama.gguf")).unwrap();
    let keys = whole
        .keys()
        .filter(|key| *key != "general.alignment" && stays(key));
    let mut rows: Vec<(String, Typed)> = keys
        .map(|key| (key.to_owned(), whole.typed(key).unwrap()))
        .collect();
    rows.extend(more);
    let mine = whole
        .tensors()
        .enumerate()
        .filter(|(at, _)| at % parts == part);
    let headers: Vec<GgufTensor> = mine
        .map(|(_, (name, entry))| GgufTensor {
            name: name.into(),
            dims: entry.dims.clone(),
            format: entry.format,
        })
        .collect();
    let mut writer = GgufWriter::create(path, &rows, &headers).unwrap();
    for header in &headers {
        let matrix = whole.matrix(&header.name).unwrap().unwrap();
        matrix.read_rows(|row| writer.append(&header.name, row).unwrap());
    }
    writer.finish().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn change(place: &Place, file: &str, key: &str, value: Value) {
    let path = place.path(file);
    let mut object: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    object[key] = value;
    fs::write(path, object.to_string()).unwrap();
}

#[test]
fn a_gguf_model_in_parts_is_one_model_whichever_part_is_given() {
    let place = Place::new();
    for part in 0..2 {
        let more = vec![
            ("split.no".to_owned(), Typed::U16(part as u16)),
            ("split.count".to_owned(), Typed::U16(2)),
        ];
        let name = format!("tiny-0000{}-of-00002.gguf", part + 1);
        write_gguf(&place.path(&name), |_| part == 0, more, (part, 2));
    }
    let asked = |model: &str| {
        place
            .ok(&format!("logits --model {model} --ids 1,40,77 --json"))
            .json()
    };
    let whole = asked("{gguf}");
    assert_eq!(asked("tiny-00001-of-00002.gguf"), whole);
    assert_eq!(asked("tiny-00002-of-00002.gguf"), whole);
    place.ok("export --to gguf --type q8_0 --model tiny-00002-of-00002.gguf --out one");
    let one = Gguf::open(&place.path("one/model.gguf")).unwrap();
    assert_eq!(one.u32("split.count").unwrap(), None);

    fs::remove_file(place.path("tiny-00001-of-00002.gguf")).unwrap();
    let said = place.refusal("logits --model tiny-00002-of-00002.gguf --ids 1");
    assert_eq!(
        said,
        "error: tiny-00002-of-00002.gguf: this is part 2 of 2, and tiny-00001-of-00002.gguf is not beside it\n\
         hint: all parts lie in one folder under the names that they came with; `hone pull` fetches all of them"
    );
}

#[test]
fn a_gguf_file_that_does_not_say_how_words_are_cut_is_warned_of() {
    let place = Place::new();
    write_gguf(
        &place.path("old.gguf"),
        |key| key != "tokenizer.ggml.pre",
        vec![],
        (0, 1),
    );
    let ran = place.ok("generate --model old.gguf --prompt Hi --max-tokens 1");
    assert!(
        ran.stderr.contains("warning: the GGUF file does not say how its tokenizer cuts words (tokenizer.ggml.pre): `default` is assumed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn end_tokens_that_contradict_one_another_are_said_and_exported_as_trained() {
    let place = Place::new();
    copy(
        &fixtures().join("models/tiny-llama-untied"),
        &place.path("base"),
    );
    change(&place, "base/config.json", "eos_token_id", json!([0, 5]));
    let ran = place.ok("generate --model base --prompt Hi --max-tokens 1");
    assert!(
        ran.stderr.contains(
            "and its tokenizer with <|im_end|> (2): replies are trained to end with <|im_end|> (2)"
        ),
        "{}",
        ran.stderr
    );
    place.ok("export --to hf --model base --out hf");
    let generation = fs::read(place.path("hf/generation_config.json")).unwrap();
    let generation: Value = serde_json::from_slice(&generation).unwrap();
    assert_eq!(generation["eos_token_id"], json!([2, 0, 5]));
}

#[test]
fn tokens_that_only_older_files_name_are_used() {
    let place = Place::new();
    copy(
        &fixtures().join("models/tiny-llama-untied"),
        &place.path("base"),
    );
    fs::remove_file(place.path("base/tokenizer_config.json")).unwrap();
    place.write(
        "base/special_tokens_map.json",
        r#"{"eos_token": {"content": "<|im_end|>", "special": true}, "pad_token": "[PAD]"}"#,
    );
    let ran =
        place.ok("generate --model base --chat-template instruction --prompt Hi --max-tokens 1");
    assert!(
        ran.stderr.contains(
            "warning: the padding token `[PAD]` is not in the vocabulary, and is not used"
        ),
        "{}",
        ran.stderr
    );
    // Only the model's configuration names the end now.
    fs::remove_file(place.path("base/special_tokens_map.json")).unwrap();
    place.ok("generate --model base --chat-template instruction --prompt Hi --max-tokens 1");
}

#[test]
fn a_token_that_the_model_has_no_row_for_makes_a_row_unusable_to_every_command() {
    let place = Place::new();
    copy(
        &fixtures().join("models/tiny-llama-untied"),
        &place.path("base"),
    );
    place.write("base/added_tokens.json", r#"{"<part>": 300}"#);
    place.write(
        "rows.jsonl",
        "{\"prompt\":\"a <part> here\",\"completion\":\"yes\"}\n{\"prompt\":\"no\",\"completion\":\"no\"}\n",
    );
    const COUNT: &str = "2 rows read: 1 usable, 1 not (1 not-rendered)";
    const WHY: &str =
        "it holds the token \"<part>\" (number 300), and the model has rows for 300 tokens only";
    for line in [
        "data show rows.jsonl --model base --rows 2",
        "data check rows.jsonl --model base",
        "eval --data rows.jsonl --model base --max-tokens 2",
        "train --data rows.jsonl --model base --valid-share 0 --out run --dry-run",
    ] {
        let ran = place.run(line);
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains(COUNT) && said.contains(WHY), "{line}: {said}");
        assert!(ran.code == 0 || ran.code == 4, "{line}: {said}");
    }
    let error = place.refusal("generate --model base --prompt '<part>'");
    assert!(error.contains(WHY) && error.contains("hint: "), "{error}");
}

#[test]
fn files_that_are_not_what_they_should_be_are_named_with_what_to_do() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n";
    const IS_POINTER: &str = " cannot be read: it is a pointer of Git LFS in place of the file\nhint: fetch the files themselves: git lfs pull";
    let place = Place::new();
    for (file, text, says) in [
        ("tokenizer.json", POINTER, IS_POINTER),
        ("config.json", POINTER, IS_POINTER),
        ("model.safetensors", POINTER, IS_POINTER),
        ("chat_template.jinja", POINTER, IS_POINTER),
        (
            "tokenizer_config.json",
            "",
            "tokenizer_config.json: it is empty\nhint: fetch tokenizer_config.json again",
        ),
        (
            "special_tokens_map.json",
            "[]",
            "special_tokens_map.json: it is no JSON object",
        ),
        (
            "special_tokens_map.json",
            r#"{"eos_token": 2}"#,
            "special_tokens_map.json: it is neither the text of a token nor an object",
        ),
        (
            "added_tokens.json",
            r#"{"<a>": "x"}"#,
            "hint: fetch added_tokens.json again",
        ),
        (
            "added_tokens.json",
            r#"{"<a>": 305}"#,
            "list the token `<a>` as number 305, where the vocabulary goes on with 300\nhint: ",
        ),
        (
            "tokenizer_config.json",
            r#"{"eos_token": "</s>"}"#,
            "hint: write a token of the vocabulary, or null, as \"eos_token\" in tokenizer_config.json",
        ),
        (
            "generation_config.json",
            r#"{"eos_token_id": "x"}"#,
            "it is neither the number of a token nor a list of such numbers",
        ),
        (
            "generation_config.json",
            "{",
            "hint: fetch generation_config.json again",
        ),
        (
            "tokenizer.json",
            "<!DOCTYPE html>",
            "hint: fetch tokenizer.json again",
        ),
    ] {
        copy(
            &fixtures().join("models/tiny-llama-untied"),
            &place.path("base"),
        );
        place.write(&format!("base/{file}"), text);
        let error = place.refusal("generate --model base --prompt Hi --max-tokens 1");
        assert!(error.contains(says), "{file} {text:?}: {error}");
        assert!(
            !error.contains("enum") && !error.contains("struct"),
            "{error}"
        );
        fs::remove_dir_all(place.path("base")).unwrap();
    }
    place.write("model.gguf", POINTER);
    let error = place.refusal("generate --model model.gguf --prompt Hi --max-tokens 1");
    assert!(error.contains(IS_POINTER), "{error}");
}

#[test]
fn a_modelfile_is_what_was_trained_or_says_what_it_leaves_out() {
    let place = Place::new();
    copy(
        &fixtures().join("models/tiny-llama-untied"),
        &place.path("base"),
    );
    place.write(
        "base/chat_template.jinja",
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}\
         <|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    );
    let ran = place.ok("export --to ollama --model base --out out --json");
    const LEFT_OUT: &str =
        "the chat template has no place for a system message: Ollama leaves one out";
    assert!(
        ran.stderr.contains(&format!("note: {LEFT_OUT}")),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.json()["notes"], json!([LEFT_OUT]));
    let card = fs::read_to_string(place.path("out/README.md")).unwrap();
    assert!(
        card.contains("## What its reader does not do") && card.contains(LEFT_OUT),
        "{card}"
    );
    let modelfile = fs::read_to_string(place.path("out/Modelfile")).unwrap();
    assert!(
        modelfile.contains("TEMPLATE \"\"\"<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}<|im_end|>\n\"\"\""),
        "{modelfile}"
    );
}
