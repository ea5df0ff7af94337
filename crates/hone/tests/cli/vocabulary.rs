//! Tokens that are added to a vocabulary, from the wish to every form that an adapter is given away in.

use crate::command::{Place, fixtures};
use hone_model::RawAdapter;
use hone_model::weights::BaseWeights;
use serde_json::Value;

/// Two words of a domain, which the tiny vocabulary of 300 does not have.
const ROW: &str = r#"{"prompt": "What holds <part>?", "completion": "<kit> holds it."}"#;

fn trained(place: &Place, model: &str, flags: &str) {
    std::fs::write(place.path("rows.jsonl"), [ROW; 12].join("\n")).unwrap();
    let train = "train --data rows.jsonl --epochs 2 --lr 1e-2 --rank 2 --max-length 256";
    let ran = place.ok(&format!(
        "{train} --model {model} --new-tokens <part>,<kit> {flags} --out run"
    ));
    assert!(
        ran.stderr.contains("new-tokens <part>,<kit> (flag)"),
        "{}",
        ran.stderr
    );
}

/// Numbers of the row's tokens, to a model and perhaps an adapter.
fn ids(place: &Place, model: &str) -> Vec<u64> {
    let shown = place.ok(&format!(
        "data show rows.jsonl --rows 1 --json --model {model}"
    ));
    let row: Value = serde_json::from_str(shown.stdout.lines().next().unwrap()).unwrap();
    let ids = row["ids"].as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap()).collect()
}

fn logits(place: &Place, model: &str) -> Vec<Vec<f64>> {
    let said = place.ok(&format!(
        "logits --model {model} --ids 1,40,300,77,301 --json"
    ));
    let rows = said.json()["logits"].as_array().unwrap().clone();
    let row = |row: &Value| {
        let row = row.as_array().unwrap().iter();
        row.map(|x| x.as_f64().unwrap()).collect()
    };
    rows.iter().map(row).collect()
}

#[test]
fn new_tokens_go_wherever_their_adapter_goes() {
    for (model, flags) in [
        ("{tied}", ""),
        ("{untied}", ""),
        ("{gguf}", ""),
        ("{untied}", "--whole embed_tokens,lm_head"),
        ("{untied}", "--method qlora"),
    ] {
        let place = Place::new();
        trained(&place, model, flags);
        let with = format!("{model} --adapter run/adapter");
        let wanted = ids(&place, &with);
        assert!(wanted.contains(&300) && wanted.contains(&301), "{wanted:?}");
        assert!(!ids(&place, model).contains(&300));
        let beside = logits(&place, &with);
        assert!(beside.iter().all(|row| row.len() == 302), "{model}");

        let checked = place.ok(&format!("adapter check run/adapter --model {model}"));
        let grows =
            "it brings 2 tokens that the base does not have, so the vocabulary grows to 302";
        assert!(checked.stdout.contains(grows), "{}", checked.stdout);
        assert!(
            checked.stdout.contains("vllm       refuses"),
            "{}",
            checked.stdout
        );

        let base = match flags.contains("qlora") {
            true => "--base dequantised-nf4",
            false => "",
        };
        let source = format!("--model {model} --adapter run/adapter {base}");
        place.ok(&format!("merge {source} --dtype f32 --out merged"));
        place.ok(&format!("export {source} --to hf --out hf"));
        place.ok(&format!("export {source} --to gguf --type f32 --out gguf"));
        for (written, bound) in [("merged", 1e-4), ("hf", 0.5), ("gguf/model.gguf", 1e-4)] {
            assert_eq!(ids(&place, written), wanted, "{model} {flags}: {written}");
            // Numbers of QLoRA's adapter belong to the dequantised base, which is what was merged.
            if flags.contains("qlora") {
                continue;
            }
            let apart = beside
                .iter()
                .flatten()
                .zip(logits(&place, written).concat());
            let apart = apart.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(apart < bound, "{model} {flags}: {written} is {apart} apart");
        }
    }
}

#[test]
fn a_run_with_new_tokens_is_resumed_with_them() {
    let place = Place::new();
    trained(&place, "{tied}", "--save-every 1");
    let whole = std::fs::read(place.path("run/last/adapter_model.safetensors")).unwrap();
    let mut checkpoints: Vec<_> = std::fs::read_dir(place.path("run/checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    checkpoints.sort();
    std::fs::remove_dir_all(checkpoints.last().unwrap()).unwrap();
    std::fs::remove_dir_all(place.path("run/last")).unwrap();
    place.ok("train --out run --resume");
    let again = std::fs::read(place.path("run/last/adapter_model.safetensors")).unwrap();
    assert!(whole == again);
}

#[test]
fn tokens_that_cannot_be_new_and_adapters_without_names_for_theirs_are_refused() {
    let place = Place::new();
    place.examples("rows.jsonl", 12);
    let train = "train --model {tied} --data rows.jsonl --out run --new-tokens";
    for (tokens, refusal) in [
        (
            "<|im_end|>",
            "`<|im_end|>` cannot be a new token: it is token 2 already",
        ),
        ("a,<b>", "`a` cannot be a new token: it is token"),
        ("<b>,<b>", "`<b>` cannot be a new token: it is named twice"),
    ] {
        let said = place.refusal(&format!("{train} {tokens}"));
        assert!(said.contains(refusal), "{said}");
    }
    let said = place.refusal(&format!("{train} <b> --targets embed_tokens,q_proj"));
    assert!(said.contains("another adapter of the embedding"), "{said}");

    // PEFT's own, saved without the tokenizer that it was trained with.
    let adapter = fixtures().join("adapters/tiny-llama-untied-grown");
    let logits = format!(
        "logits --model {{untied}} --adapter '{}' --ids 1,300",
        adapter.display()
    );
    let said = place.refusal(&logits);
    assert!(
        said.contains("has rows for 3 tokens more than the base, and no tokenizer.json"),
        "{said}"
    );
    assert!(said.contains("tokenizer.save_pretrained("), "{said}");

    trained(&place, "{tied}", "");
    let path = place.path("run/adapter/tokenizer.json");
    let json = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, json.replace("\"id\": 300", "\"id\": 299")).unwrap();
    let said = place.refusal("logits --model {tied} --adapter run/adapter --ids 1");
    assert!(
        said.contains("numbers `<part>` 299, and here it is 300"),
        "{said}"
    );
    std::fs::write(&path, "{").unwrap();
    let said = place.refusal("chat --model {tied} --adapter run/adapter");
    assert!(said.contains("not a usable tokenizer"), "{said}");
}

#[test]
fn rows_that_a_base_has_to_spare_start_from_the_spelling_too() {
    let place = Place::new();
    trained(&place, "{untied}", "");
    place.ok("merge --model {untied} --adapter run/adapter --out padded");
    let tokenizer = fixtures().join("models/tiny-llama-untied/tokenizer.json");
    std::fs::copy(tokenizer, place.path("padded/tokenizer.json")).unwrap();
    // So little that nothing moves.
    let train = "train --data rows.jsonl --epochs 1 --lr 1e-30 --rank 2 --max-length 256";
    place.ok(&format!(
        "{train} --model padded --new-tokens <part>,<kit> --out still"
    ));

    let base = BaseWeights::open(&place.path("padded")).unwrap();
    assert_eq!(base.config().vocab_size, 302);
    let adapter = RawAdapter::read(&place.path("still/adapter")).unwrap();
    assert!(adapter.new_rows(base.config(), 302).is_none());
    let tokenizer = std::fs::read(place.path("padded/tokenizer.json")).unwrap();
    let tokenizer = hone_text::Tokenizer::from_json(&tokenizer).unwrap();
    let spellings = ["<part>", "<kit>"].map(|text| tokenizer.encode_plain(text).unwrap());
    let wanted = base.rows_spelt(&spellings).unwrap();
    let parts = hone_model::AdapterWeights::read(&place.path("still/adapter"), None).unwrap();
    for (module, rows) in [
        ("model.embed_tokens", wanted.embedding.unwrap()),
        ("lm_head", wanted.head.unwrap()),
    ] {
        let trained = &parts.token_rows[module];
        assert_eq!(
            (&trained.ids[..], &trained.numbers),
            (&[300, 301][..], &rows),
            "{module}"
        );
    }
}

#[test]
fn a_base_whose_tokenizer_has_more_tokens_than_it_has_rows_grows_by_those_too() {
    let place = Place::new();
    trained(&place, "{untied}", "");
    std::fs::create_dir(place.path("short")).unwrap();
    for entry in std::fs::read_dir(fixtures().join("models/tiny-llama-untied")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), place.path("short").join(entry.file_name())).unwrap();
    }
    std::fs::copy(
        place.path("run/adapter/tokenizer.json"),
        place.path("short/tokenizer.json"),
    )
    .unwrap();
    let row = r#"{"prompt": "Where?", "completion": "<box> of it."}"#;
    std::fs::write(place.path("rows.jsonl"), [row; 12].join("\n")).unwrap();
    let train = "train --data rows.jsonl --epochs 1 --rank 2 --max-length 256";
    place.ok(&format!(
        "{train} --model short --new-tokens <box> --out boxed"
    ));
    let said = place
        .ok("logits --model short --adapter boxed/adapter --ids 1,302 --json")
        .json();
    assert_eq!(said["logits"][0].as_array().unwrap().len(), 303);
}

/// A copy of a fixture's directory without its `tokenizer.json`; what that says.
fn without_tokenizer_json(place: &Place, out: &str) -> Value {
    let from = fixtures().join("models/tiny-llama-untied");
    std::fs::create_dir(place.path(out)).unwrap();
    for name in [
        "config.json",
        "model.safetensors",
        "chat_template.jinja",
        "tokenizer_config.json",
    ] {
        std::fs::copy(from.join(name), place.path(&format!("{out}/{name}"))).unwrap();
    }
    serde_json::from_slice(&std::fs::read(from.join("tokenizer.json")).unwrap()).unwrap()
}

#[test]
fn a_vocabulary_in_two_files_gives_the_ids_of_the_one_that_was_made_of_it() {
    let place = Place::new();
    place.write("rows.jsonl", ROW);
    let json = without_tokenizer_json(&place, "older");
    let refusal = place.refusal("data show rows.jsonl --model older");
    assert!(
        refusal.contains("has no tokenizer.json, no tokenizer.model, and no vocab.json"),
        "{refusal}"
    );
    assert!(
        refusal.contains("hint: save it with transformers'"),
        "{refusal}"
    );

    let mut vocabulary = json["model"]["vocab"].clone();
    for added in json["added_tokens"].as_array().unwrap() {
        vocabulary[added["content"].as_str().unwrap()] = added["id"].clone();
    }
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let merges: Vec<String> = merges
        .map(|merge| match merge.as_array() {
            Some(pair) => format!(
                "{} {}",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            ),
            None => merge.as_str().unwrap().to_owned(),
        })
        .collect();
    place.write("older/vocab.json", &vocabulary.to_string());
    place.write(
        "older/merges.txt",
        &format!("#version: 0.2\n{}\n", merges.join("\n")),
    );
    let refusal = place.refusal("data show rows.jsonl --model older");
    assert!(
        refusal.contains("the class `PreTrainedTokenizerFast`; known are GPT2Tokenizer"),
        "{refusal}"
    );
    assert!(
        refusal.contains("hint: save it with transformers'"),
        "{refusal}"
    );

    let config = place.path("older/tokenizer_config.json");
    let said = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        said.replace("PreTrainedTokenizerFast", "GPT2TokenizerFast"),
    )
    .unwrap();
    assert_eq!(ids(&place, "older"), ids(&place, "{untied}"));
}

#[test]
fn a_sentencepiece_model_is_read_where_there_is_no_tokenizer_json() {
    let place = Place::new();
    place.write("rows.jsonl", r#"{"text": "the is near the"}"#);
    without_tokenizer_json(&place, "older");
    let config =
        r#"{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": true}"#;
    place.write("older/tokenizer_config.json", config);
    std::fs::copy(
        fixtures().join("tokenizers/bpe.model"),
        place.path("older/tokenizer.model"),
    )
    .unwrap();
    let shown = ids(&place, "older");
    assert_eq!(
        (shown.first(), shown.last()),
        (Some(&1), Some(&2)),
        "{shown:?}"
    );
    assert!(
        shown.len() < 8,
        "words are spelt with few pieces: {shown:?}"
    );
    place.write("older/tokenizer.model", "no model");
    let refusal = place.refusal("data show rows.jsonl --model older");
    assert!(
        refusal.contains("the tokenizer of older: tokenizer.model: not a usable tokenizer"),
        "{refusal}"
    );
}
