//! Bad input gets a sentence and a next step, never a panic, and nothing is lost.

use crate::command::{Place, fixtures};

const TRAIN: &str = "train --model {tied} --out run --data";

fn place_with_rows() -> Place {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    place
}

#[test]
fn files_that_are_not_data_are_refused_by_name_and_line() {
    let place = Place::new();
    place.write("empty.jsonl", "");
    assert_eq!(
        place.refusal(&format!("{TRAIN} empty.jsonl")),
        "error: empty.jsonl: the file is empty"
    );

    place.write("broken.jsonl", "{\"text\": \n");
    let error = place.refusal(&format!("{TRAIN} broken.jsonl"));
    assert!(
        error.starts_with("error: ") && error.contains("broken.jsonl:1: not JSON"),
        "{error}"
    );

    place.write("strange.jsonl", "{\"question\": \"a\", \"reply\": \"b\"}\n");
    let error = place.refusal(&format!("{TRAIN} strange.jsonl"));
    assert!(
        error.contains("question, reply") && error.contains("hint: known shape: alpaca"),
        "{error}"
    );

    let error = place.refusal(&format!("{TRAIN} nowhere.jsonl"));
    assert!(error.contains("nowhere.jsonl"), "{error}");
}

#[test]
fn rows_that_cannot_be_learnt_are_counted_and_listed() {
    let place = Place::new();
    let long = "many words ".repeat(200);
    let rows = format!(
        "{{\"prompt\":\"a\",\"completion\":\"b\"}}\n{{\"prompt\":\"{long}\",\"completion\":\"c\"}}\n{}\n",
        "{\"prompt\": \n{\"messages\":[{\"role\":\"user\",\"content\":\"alone\"}]}"
    );
    place.write("rows.jsonl", &rows);
    let ran = place
        .ok("train --model {tied} --data rows.jsonl --out run --max-length 200 --valid-share 0");
    assert!(
        ran.stderr.contains("set aside: rows.jsonl:2: ") && ran.stderr.contains("the limit is 200"),
        "{}",
        ran.stderr
    );
    let listed = std::fs::read_to_string(place.path("run/set-aside.txt")).unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(
        lines.len() == 3 && lines[0].starts_with("rows.jsonl:3: not JSON"),
        "{listed}"
    );

    place.write(
        "short.jsonl",
        &format!("{{\"prompt\":\"{long}\",\"completion\":\"c\"}}\n"),
    );
    let error = place.refusal("train --model {tied} --data short.jsonl --out run2 --max-length 50");
    assert!(
        error.starts_with("error: none of the ") && error.contains("hint: rows may have 50 tokens"),
        "{error}"
    );
}

#[test]
fn damaged_weights_are_refused() {
    let place = place_with_rows();
    let whole = std::fs::read(fixtures().join("models/tiny-llama.gguf")).unwrap();
    for (name, bytes) in [
        ("cut.gguf", whole[..whole.len() / 2].to_vec()),
        ("magic.gguf", [b"FUGG", &whole[4..]].concat()),
    ] {
        std::fs::write(place.path(name), bytes).unwrap();
        let error = place.refusal(&format!("train --model {name} --data rows.jsonl --out run"));
        assert!(
            error.starts_with("error: ") && error.contains(name),
            "{error}"
        );
    }
    std::fs::create_dir(place.path("hollow")).unwrap();
    let config = fixtures().join("models/tiny-llama-tied/config.json");
    std::fs::copy(config, place.path("hollow/config.json")).unwrap();
    let error = place.refusal("generate --model hollow --prompt hello");
    assert!(error.contains("hollow"), "{error}");
}

#[test]
fn a_model_that_is_not_here_says_how_to_get_it() {
    let place = Place::new();
    assert_eq!(
        place.refusal("generate --model smollm2-135m-instruct --prompt hello"),
        "error: `smollm2-135m-instruct` is not on this machine yet\nhint: fetch it once: hone pull smollm2-135m-instruct"
    );
    let error = place.refusal("generate --model smollm-135m-instruct --prompt hello");
    assert!(
        error.contains("hint: did you mean `smollm2-135m-instruct`?"),
        "{error}"
    );
}

#[test]
fn an_unreachable_hub_is_one_sentence() {
    let place = Place::new();
    let pull = |name: &str, value: &str| {
        let mut command = place.command("pull owner/name");
        let output = command
            .env("HF_HOME", place.path("hf"))
            .env(name, value)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines()
            .filter(|line| line.starts_with("error:"))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    // Nothing listens on port 9 of this machine.
    let errors = pull("HF_ENDPOINT", "http://127.0.0.1:9");
    assert!(
        errors.len() == 1 && errors[0].contains("cannot be reached to fetch `owner/name`"),
        "{errors:?}"
    );
    assert_eq!(
        pull("HF_HUB_OFFLINE", "1"),
        ["error: `owner/name` is not in the hub cache, and HF_HUB_OFFLINE forbids fetching it"]
    );
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} rows.jsonl"));
    let error = place.refusal("generate --model {untied} --adapter run/adapter --prompt hello");
    assert!(error.contains("was trained on another base"), "{error}");
    let foreign = fixtures()
        .join("adapters/tiny-llama-tied")
        .display()
        .to_string();
    let error = place.refusal(&format!(
        "generate --model {{untied}} --adapter {foreign} --prompt hello"
    ));
    assert!(error.contains("does not fit this model"), "{error}");
}

#[test]
fn a_target_that_matches_nothing_is_answered_with_what_exists() {
    let place = place_with_rows();
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --targets q_prj"));
    assert!(
        error.contains("`q_prj`") && error.contains("q_proj") && error.contains("down_proj"),
        "{error}"
    );
}

#[test]
fn a_directory_that_holds_a_run_is_left_alone() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} rows.jsonl"));
    let before = std::fs::read(place.path("run/run.json")).unwrap();
    assert_eq!(
        place.refusal(&format!("{TRAIN} rows.jsonl")),
        "error: run already holds a run (it has run.json)\nhint: --resume continues it; another --out starts a new one"
    );
    assert_eq!(std::fs::read(place.path("run/run.json")).unwrap(), before);
}

#[test]
fn a_resumed_run_cannot_change_its_mind() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} rows.jsonl"));
    let error = place.refusal("train --resume --out run --rank 4");
    assert!(
        error.starts_with("error: a resumed run keeps its options, but --rank changed"),
        "{error}"
    );
    place.examples("rows.jsonl", 19);
    let error = place.refusal("train --resume --out run");
    assert!(error.contains("was made with other data"), "{error}");
    assert!(
        place
            .refusal("train --resume --out nowhere")
            .contains("there is no run to resume")
    );
}

#[test]
fn a_plan_that_does_not_fit_says_what_would() {
    let place = place_with_rows();
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --memory 1MB"));
    assert!(
        error.starts_with("error: this run needs about") && error.contains("may use 1 MB"),
        "{error}"
    );
    assert!(error.contains("hint: --method qlora"), "{error}");
    assert!(!place.path("run").exists(), "a refused run wrote something");
}

#[test]
fn wrong_options_are_refused_before_anything_is_read() {
    let place = place_with_rows();
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --rank 0"));
    assert_eq!(error, "error: --rank is 0, but it has to be at least 1");
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --rnak 4"));
    assert!(
        error.contains("'--rnak'") && error.contains("'--rank'"),
        "{error}"
    );
    place.write("run.toml", "model = \"x\"\nmax_seq_length = 12\n");
    let error = place.refusal("train run.toml");
    assert!(
        error.starts_with("error: run.toml:2: unknown name `max_seq_length`"),
        "{error}"
    );
    assert_eq!(place.run("train run.toml").code, 2);
    let error = place.refusal("train --data rows.jsonl --out run");
    assert!(
        error.starts_with("error: --model is needed\nhint: "),
        "{error}"
    );
}
