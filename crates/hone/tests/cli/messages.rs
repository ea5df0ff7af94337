//! What is said where something cannot be done: each sentence true, and with it what to type next.

use crate::command::{Place, fixtures, model};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn place_with_rows() -> Place {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn base(place: &Place, name: &str) {
    copy(
        &fixtures().join("models/tiny-llama-untied"),
        &place.path(name),
    );
}

fn changed(place: &Place, file: &str, change: impl Fn(&mut Value)) {
    let path = place.path(file);
    let mut object: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut object);
    fs::write(path, object.to_string()).unwrap();
}

#[test]
fn whatever_is_refused_says_what_to_type_next() {
    let place = place_with_rows();
    fs::create_dir(place.path("empty")).unwrap();
    place.write("bad.txt", "");
    fs::write(place.path("bad.txt"), b"caf\xe9\n").unwrap();
    let tied = model("tiny-llama-tied");
    for (line, says) in [
        (
            "train --model {tied} --data rows.jsonl --out o --ia3 --rank 8",
            "hint: leave out --ia3 or --rank",
        ),
        (
            "train --model {tied} --data rows.jsonl --out o --epochs 0",
            "hint: `hone train --help` says what --epochs is for",
        ),
        (
            "train --model {tied} --data rows.jsonl --out o --valid-share 2",
            "hint: `hone train --help` says what --valid-share is for",
        ),
        (
            "train --model {tied} --data row.jsonl --out o",
            "hint: did you mean rows.jsonl?",
        ),
        (
            "train --model {tied} --data no/where/*.jsonl --out o",
            "hint: check the path: no/where is no directory",
        ),
        (
            "train absent.toml",
            "hint: check the path: . holds bad.txt, empty, rows.jsonl",
        ),
        (
            "train --resume --out absent",
            "hint: `hone runs` lists the runs",
        ),
        ("data show row.jsonl", "hint: did you mean rows.jsonl?"),
        (
            "data check something.csv",
            "hint: check the path: . holds bad.txt, empty, rows.jsonl",
        ),
        (
            "data diff absent empty",
            "error: absent is not there\nhint: check the path",
        ),
        (
            "data diff empty empty",
            "error: empty is no dataset directory\nhint: datasets are compared that were built: hone data build --from empty --out DIR",
        ),
        (
            "eval --model {tied} --data row.jsonl",
            "hint: did you mean rows.jsonl?",
        ),
        (
            "export --to gguf --model {tied} --out e --prompts absent.jsonl",
            "error: --prompts absent.jsonl is not there\nhint: a line of a .txt file is a prompt",
        ),
        (
            "export --to gguf --model {tied} --out e --prompts empty",
            "error: --prompts empty is not a file\nhint: ",
        ),
        (
            "export --to gguf --model {tied} --out e --prompts bad.txt",
            "error: bad.txt is not UTF-8 text\nhint: write it again as UTF-8",
        ),
        (
            "generate --model empty --prompt Hi",
            "hint: the directory is empty: give one with a model, or fetch one: hone pull",
        ),
        ("chat --model empty", "hint: the directory is empty"),
        (
            "quickstart --minutes 0",
            "error: --minutes is 0, but it has to be above 0\nhint: --minutes 1",
        ),
        (
            "quickstart --minutes=-3",
            "error: --minutes is -3, but it has to be above 0",
        ),
    ] {
        let said = place.refusal(line);
        assert!(said.contains(says), "{line}:\n{said}\nand not: {says}");
    }
    let adapter = fixtures().join("adapters/tiny-llama-tied");
    let said = place.refusal(&format!(
        "generate --model '{}' --prompt Hi",
        adapter.display()
    ));
    assert!(
        said.contains("is an adapter: give its base as --model ")
            && said.contains(" and the adapter as --adapter FIXTURES/adapters/tiny-llama-tied"),
        "{said}"
    );
    assert!(
        !place.path("home/models").exists(),
        "quickstart has fetched a model before it looked at --minutes"
    );
    assert!(Path::new(&tied).is_dir());
}

#[test]
fn a_memory_that_the_program_itself_does_not_fit_into_is_not_answered_with_options() {
    let place = place_with_rows();
    let said = place.refusal("train --model {tied} --data rows.jsonl --out o --memory 5MB");
    assert!(
        !said.contains("qlora") && !said.contains("--max-length"),
        "{said}"
    );
    assert!(
        said.contains("hint: the program itself, with its tokenizer, takes ")
            && said.contains(" with --memory"),
        "{said}"
    );
}

#[test]
fn rows_that_cannot_be_read_are_rows_of_their_file() {
    let place = Place::new();
    place.write(
        "rows.jsonl",
        "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"c\",\"completion\":\"d\"}\nno JSON\n",
    );
    let said = place
        .ok("train --model {tied} --data rows.jsonl --out o --dry-run")
        .stderr;
    assert!(
        said.contains("rows.jsonl (3 rows, 1 of them unusable, prompt/completion)"),
        "{said}"
    );
    let said = place.run("data check rows.jsonl").stdout;
    assert!(
        said.contains("rows.jsonl: 3 rows, 1 of them unusable, prompt/completion"),
        "{said}"
    );
}

#[test]
fn an_end_token_that_is_none_is_said() {
    let place = Place::new();
    base(&place, "base");
    for ends in [json!(5000), json!([2, 5000])] {
        changed(&place, "base/config.json", |config| {
            config["eos_token_id"] = ends.clone()
        });
        let said = place
            .ok("generate --model base --prompt Hi --max-tokens 1")
            .stderr;
        assert!(
            said.contains("the model's configuration ends texts with 5000, and its tokenizer has no such token (it has 300): replies end with <|im_end|> (2); eos_token_id in"),
            "{said}"
        );
    }
}

#[test]
fn an_end_token_that_only_the_configuration_names_is_exported_by_its_name() {
    let place = Place::new();
    base(&place, "base");
    changed(&place, "base/tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("eos_token");
    });
    place.ok("export --to hf --model base --out named");
    let config: Value =
        serde_json::from_slice(&fs::read(place.path("named/tokenizer_config.json")).unwrap())
            .unwrap();
    assert_eq!(config["eos_token"], "<|im_end|>");
    assert_eq!(config["bos_token"], "<|im_start|>");

    fs::remove_file(place.path("base/tokenizer_config.json")).unwrap();
    place.ok("export --to hf --model base --out alone");
    let config: Value =
        serde_json::from_slice(&fs::read(place.path("alone/tokenizer_config.json")).unwrap())
            .unwrap();
    assert_eq!(config["eos_token"], "<|im_end|>");
}

#[test]
fn a_tokenizer_that_cannot_be_read_is_named_by_its_file() {
    let place = Place::new();
    base(&place, "base");
    place.write("base/tokenizer.json", "{}");
    let said = place.refusal("generate --model base --prompt Hi --max-tokens 1");
    assert!(
        said.contains("tokenizer.json: ") && said.contains("hint: fetch tokenizer.json again"),
        "{said}"
    );
    fs::remove_file(place.path("base/tokenizer.json")).unwrap();
    place.write("base/tokenizer.model", "garbage");
    let said = place.refusal("generate --model base --prompt Hi --max-tokens 1");
    assert!(
        said.contains("tokenizer.model: ") && said.contains("hint: fetch tokenizer.model again"),
        "{said}"
    );
}

#[test]
fn a_directory_in_place_of_a_file_is_told_as_that() {
    let place = Place::new();
    for (file, says) in [
        (
            "chat_template.jinja",
            "hint: give the directory another name, or take it away",
        ),
        (
            "tokenizer_config.json",
            "hint: give the directory another name, or take it away",
        ),
        ("config.json", "hint: its config.json is a directory"),
    ] {
        base(&place, "base");
        fs::remove_file(place.path("base").join(file)).unwrap();
        fs::create_dir(place.path("base").join(file)).unwrap();
        let said = place.refusal("generate --model base --prompt Hi --max-tokens 1");
        assert!(said.contains(says), "{file}: {said}");
        fs::remove_dir_all(place.path("base")).unwrap();
    }
}

#[test]
fn a_tokenizer_that_gguf_has_no_name_for_is_answered_with_a_form_that_keeps_it() {
    let place = Place::new();
    base(&place, "base");
    changed(&place, "base/tokenizer.json", |tokenizer| {
        let cut = json!({"type": "Split", "pattern": {"Regex": "[a-m]+|[^a-m]+"}, "behavior": "Isolated", "invert": false});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        tokenizer["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [cut, bytes]});
    });
    let said = place.refusal("export --to gguf --model base --out gguf");
    assert!(
        said.contains("error: llama.cpp has no name for this tokenizer")
            && said.contains("hint: `hone export --to hf` keeps the tokenizer as it is"),
        "{said}"
    );
    place.ok("export --to hf --model base --out hf");
}

#[test]
fn rows_that_do_not_divide_into_a_types_blocks_are_told_with_what_they_become() {
    let place = Place::new();
    let said = place
        .ok("export --to gguf --type q4_k_m --model {untied} --out gguf")
        .stderr;
    assert!(
        said.contains("note: rows of 32 and 64 and 96 numbers do not divide into the blocks of 256 of q4_k_m: such matrices are stored in other types, and the file has "),
        "{said}"
    );
}

#[test]
fn a_rate_that_is_a_rule_of_another_method_says_so() {
    let place = place_with_rows();
    let line = |options: &str| {
        let ran = place.ok(&format!(
            "train --data rows.jsonl --out o --dry-run {options}"
        ));
        let mut lines = ran.stderr.lines().map(str::to_owned);
        lines
            .find(|line| line.starts_with("  learning rate"))
            .unwrap()
    };
    let of_factors = line("--model {tied} --ia3");
    assert!(
        of_factors.contains("a rule for LoRA: IA3's authors took 3e-3, as --lr 3e-3 does"),
        "{of_factors}"
    );
    assert!(!line("--model {tied} --ia3 --lr 3e-3").contains("a rule for LoRA"));
    assert!(!line("--model {tied}").contains("a rule for LoRA"));
}

#[test]
fn the_rate_of_a_qwen_base_is_that_of_its_own_form() {
    let place = Place::new();
    copy(&fixtures().join("families/qwen2/base"), &place.path("qwen"));
    let untied = fixtures().join("models/tiny-llama-untied");
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(untied.join(file), place.path("qwen").join(file)).unwrap();
    }
    // Nothing but what the first 96 tokens spell.
    place.write(
        "form.jinja",
        "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}",
    );
    let letters = ["x", "q", "z", "j"];
    let row = |n: usize| {
        let (a, b, c) = (letters[n % 4], letters[n / 4 % 4], letters[n / 16]);
        format!("{{\"prompt\":\"{a}{b}{c}\",\"completion\":\"{c}{b}{a}\"}}\n")
    };
    place.write("letters.jsonl", &(0..20).map(row).collect::<String>());
    let ran = place.ok("train --model qwen --chat-template form.jinja --data letters.jsonl --valid-share 0 --out o --dry-run");
    // 5e-4 · (2000 / 32)^0.0775 = 6.9e-4, where Llama's form gives 1.3e-2.
    assert!(
        ran.stderr
            .contains("  learning rate   6.9e-4 (width 32, Qwen form), cosine"),
        "{}",
        ran.stderr
    );
}

#[test]
fn tables_and_lines_say_what_was_done() {
    let place = place_with_rows();
    let table = place
        .ok("eval --model {tied} --data rows.jsonl --max-tokens 2")
        .stdout;
    let mut lines = table.lines();
    let end = |line: &str, word: &str| line.find(word).unwrap() + word.len();
    let head = lines.next().unwrap().to_owned();
    let row = lines.next().unwrap();
    assert_eq!(end(&head, "rows"), end(row, " 10"), "{table}");

    let adapter = fixtures().join("adapters/tiny-llama-tied-qv");
    let said = place
        .ok(&format!(
            "merge --model {{tied}} --adapter '{}' --out merged",
            adapter.display()
        ))
        .stderr;
    assert!(
        said.contains("wrote 20 tensors in ") && said.contains(", 4 of them changed"),
        "{said}"
    );
}
