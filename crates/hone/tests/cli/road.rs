//! The whole road on a tiny model: train, resume, judge, generate, look.

use crate::command::{Place, Ran, fixtures};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const TRAIN: &str = "train --model {tied} --data rows.jsonl --lr 1e-2 --eval-every 3 --save-every 2 --max-length 256";

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// The files of the best and the last adapter and what is kept of rows, byte for byte.
fn adapters(dir: &Path) -> Vec<Vec<u8>> {
    let files = ["adapter_config.json", "adapter_model.safetensors"];
    let read = |name: &str| files.map(|file| std::fs::read(dir.join(name).join(file)).unwrap());
    let of_rows = ["row-losses.bin", "train-rows.txt"];
    ["adapter", "last"]
        .iter()
        .flat_map(|name| read(name))
        .chain(of_rows.map(|file| std::fs::read(dir.join(file)).unwrap()))
        .collect()
}

#[test]
fn training_leaves_adapter_record_events_and_report() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let ran = place.ok(&format!("{TRAIN} --out run --json"));

    let summary = ran.json();
    for name in [
        "steps",
        "tokens",
        "supervised_tokens",
        "examples_per_second",
        "tokens_per_second",
        "seconds",
        "peak_memory_bytes",
        "train_loss",
        "valid_loss_first",
        "valid_loss_best",
        "adapter",
    ] {
        assert!(
            summary.get(name).is_some(),
            "{name} is missing from {summary}"
        );
    }
    assert_eq!(summary["steps"], 5);
    let loss = |name: &str| summary[name].as_f64().unwrap();
    assert!(
        loss("valid_loss_best") < loss("valid_loss_first") - 0.5,
        "nothing was learned: {summary}"
    );

    let record: Value =
        serde_json::from_slice(&std::fs::read(place.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(
        (&record["status"], &record["result"]["steps"]),
        (&Value::from("finished"), &Value::from(5))
    );
    let origins: Vec<&str> = record["plan"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["origin"].as_str().unwrap())
        .collect();
    assert!(
        origins.contains(&"flag") && origins.contains(&"default") && origins.contains(&"data"),
        "{origins:?}"
    );
    for part in ["fingerprint", "path"] {
        assert!(record["base"][part].is_string(), "{part}");
    }

    let events = std::fs::read_to_string(place.path("run/events.jsonl")).unwrap();
    assert_eq!(
        events
            .lines()
            .filter(|line| line.contains(r#""event":"stepped""#))
            .count(),
        5
    );
    let report = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(
        report.contains("<svg") && report.contains("Before and after"),
        "the report lacks its curves or samples"
    );
    assert!(
        place.ok("runs").stdout.contains("finished"),
        "the registry does not list the run"
    );
}

#[test]
fn the_plan_says_where_every_value_comes_from() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    place.write("run.toml", "rank = 4\nout = \"run\"\n");
    let plan = place
        .ok("train run.toml --model {tied} --data rows.jsonl --alpha 8 --dry-run --verbose")
        .stderr;
    let line = |name: &str| {
        plan.lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap_or_default()
            .to_string()
    };
    for (name, value, origin) in [
        ("rank", "4", "(run file)"),
        ("alpha", "8", "(flag)"),
        ("seed", "0", "(default)"),
        ("training set", "38 examples", "(data)"),
        ("time", "about", "(measured)"),
        ("adapter", "parameters", "(derived)"),
    ] {
        assert!(
            line(name).contains(value) && line(name).ends_with(origin),
            "{name}: {:?}",
            line(name)
        );
    }
    assert!(!place.path("run").exists(), "a dry run wrote something");
}

#[test]
fn an_interrupted_run_saves_and_resumes_to_the_same_adapters() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let long = TRAIN.replace(
        "--eval-every 3 --save-every 2",
        "--epochs 40 --eval-every 50 --save-every 70",
    );
    place.ok(&format!("{long} --out whole"));

    let mut child = place.start(&format!("{long} --out parts"));
    wait_for_step(&place.path("parts/events.jsonl"), 5);
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        child.wait().unwrap().code(),
        Some(3),
        "an interrupted run ends with its own code"
    );
    let record = std::fs::read_to_string(place.path("parts/run.json")).unwrap();
    assert!(record.contains(r#""status": "interrupted""#), "{record}");

    place.ok("train --resume --out parts");
    assert!(
        adapters(&place.path("parts")) == adapters(&place.path("whole")),
        "resumed and uninterrupted adapters differ"
    );
    let steps = |name: &str| {
        let events = std::fs::read_to_string(place.path(name).join("events.jsonl")).unwrap();
        let step = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let stepped = events
            .lines()
            .map(step)
            .filter(|event| event["event"] == "stepped");
        stepped
            .map(|event| (event["step"].clone(), event["loss"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        steps("parts"),
        steps("whole"),
        "the log of a resumed run has gaps or repeats"
    );
}

#[test]
fn a_killed_run_resumes_from_its_last_checkpoint_to_the_same_adapters() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let long = TRAIN.replace(
        "--eval-every 3 --save-every 2",
        "--epochs 40 --eval-every 50 --save-every 3",
    );
    place.ok(&format!("{long} --out whole"));
    let mut child = place.start(&format!("{long} --out parts"));
    wait_for_step(&place.path("parts/events.jsonl"), 10);
    child.kill().unwrap();
    child.wait().unwrap();
    place.ok("train --resume --out parts --threads 1");
    assert!(
        adapters(&place.path("parts")) == adapters(&place.path("whole")),
        "resumed and uninterrupted adapters differ"
    );
}

fn wait_for_step(events: &Path, step: usize) {
    let begun = Instant::now();
    let reached = || {
        let text = std::fs::read_to_string(events).unwrap_or_default();
        text.lines()
            .filter(|line| line.contains(r#""event":"stepped""#))
            .count()
            >= step
    };
    while !reached() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "the run does not get anywhere"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_thread_and_two_threads_give_the_same_adapters() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    for threads in [1, 2] {
        place.ok(&format!(
            "{TRAIN} --dropout 0.1 --out run{threads} --threads {threads}"
        ));
    }
    assert!(
        adapters(&place.path("run1")) == adapters(&place.path("run2")),
        "the number of threads shows"
    );
}

#[test]
fn base_and_tuned_model_are_judged_side_by_side() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    place.ok(&format!("{TRAIN} --epochs 4 --out run"));
    let scores = place
        .ok("eval --model {tied} --adapter run/adapter --data rows.jsonl --max-tokens 8 --json")
        .json();
    for side in [&scores, &scores["base"], &scores["tuned"]] {
        assert_eq!(keys(&side["tasks"]), ["even", "odd"]);
        assert_eq!(
            keys(&side["tasks"]["odd"]),
            ["rows", "loss", "loss_tokens", "exact_match", "rougeL"]
        );
    }
    let loss = |side: &str| scores[side]["tasks"]["odd"]["loss"].as_f64().unwrap();
    assert!(loss("tuned") < loss("base") - 0.5, "{scores}");
    assert_eq!(scores["tasks"], scores["tuned"]["tasks"]);

    let alone = place
        .ok("eval --model {tied} --data rows.jsonl --max-tokens 8 --json")
        .json();
    assert_eq!(
        alone["tasks"], scores["base"]["tasks"],
        "the base scores differently beside an adapter"
    );
}

#[test]
fn answers_come_as_text_or_as_an_object() {
    let place = Place::new();
    let adapter = fixtures()
        .join("adapters/tiny-llama-tied")
        .display()
        .to_string();
    let base = "generate --model {tied} --prompt 'Say something' --max-tokens 6";
    let answer = place.ok(&format!("{base} --json")).json();
    assert_eq!(keys(&answer), ["text", "token_ids", "stop"]);
    assert_eq!(
        place.ok(base).stdout.trim_end_matches('\n'),
        answer["text"].as_str().unwrap().trim_end_matches('\n')
    );
    let tuned = place
        .ok(&format!("{base} --adapter {adapter} --json"))
        .json();
    assert_ne!(
        tuned["token_ids"], answer["token_ids"],
        "the adapter makes no difference"
    );
    let again = place
        .ok(&format!("{base} --temperature 1 --seed 3 --json"))
        .json();
    assert_eq!(
        again,
        place
            .ok(&format!("{base} --temperature 1 --seed 3 --json"))
            .json()
    );
}

#[test]
fn a_gguf_file_trains_and_answers_like_a_directory() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let train = TRAIN.replace("{tied}", "{gguf}");
    let summary = place.ok(&format!("{train} --out run --json")).json();
    assert!(
        summary["valid_loss_best"].as_f64() < summary["valid_loss_first"].as_f64(),
        "{summary}"
    );
    place.ok("generate --model {gguf} --adapter run/adapter --prompt hello --max-tokens 3");
}

#[test]
fn qlora_trains_on_a_base_in_four_bits() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let summary = place
        .ok(&format!("{TRAIN} --method qlora --out run --json"))
        .json();
    assert!(
        summary["valid_loss_best"].as_f64() < summary["valid_loss_first"].as_f64(),
        "{summary}"
    );
}

#[test]
fn plain_texts_are_trained_on_whole_and_continued_in_the_report() {
    let place = Place::new();
    let text = |i: usize| format!("{{\"text\":\"Note {i}: the lamp is on the table.\"}}");
    let rows: Vec<String> = (0..20).map(text).collect();
    place.write("rows.jsonl", &rows.join("\n"));
    let summary = place.ok(&format!("{TRAIN} --out run --json")).json();
    assert!(
        summary["supervised_tokens"].as_u64() > summary["steps"].as_u64(),
        "{summary}"
    );
    let report = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(
        report.contains("Before and after"),
        "the report continues no text"
    );
}

#[test]
fn a_conversation_goes_on_until_its_input_ends_and_survives_a_full_context() {
    let place = Place::new();
    let lines = format!("hello\n\n{}\n/reset\nhello\n", "many words ".repeat(100));
    place.write("lines.txt", &lines);
    let mut command = place.command("chat --model {tied} --max-tokens 4 --context 100");
    let input = std::fs::File::open(place.path("lines.txt")).unwrap();
    let ran = Ran::from(command.stdin(input).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("/reset begins anew") && ran.stderr.contains("forgotten"),
        "{}",
        ran.stderr
    );
    let answers: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(
        answers.first(),
        answers.last(),
        "a forgotten conversation changed the answer"
    );
}

#[test]
fn logits_are_one_row_per_token() {
    let place = Place::new();
    let logits = place
        .ok("logits --model {untied} --ids 1,2,3 --json")
        .json()["logits"]
        .clone();
    let rows = logits.as_array().unwrap();
    assert!(
        rows.len() == 3 && rows.iter().all(|row| row.as_array().unwrap().len() == 300),
        "{}",
        rows.len()
    );
}

#[test]
fn shown_rows_mark_what_is_supervised() {
    let place = Place::new();
    place.write(
        "rows.jsonl",
        "{\"prompt\":\"Two and two?\",\"completion\":\"Four.\"}\n",
    );
    let shown = place.ok("data show rows.jsonl --model {tied}").stdout;
    assert!(shown.contains("⟦Four.<|im_end|>⟧"), "{shown}");
    assert!(!shown.contains('\x1b'), "colour went into a pipe");
    assert_eq!(shown.matches('⟦').count(), 1, "{shown}");
}

#[test]
fn quiet_means_quiet() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let ran = place.ok(&format!("{TRAIN} --out run --quiet"));
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn a_run_of_files_named_by_their_side_goes_on_and_is_diagnosed() {
    let place = Place::new();
    place.examples("all.jsonl", 18);
    // Rows that name their task themselves would hide how a file names it.
    let text = std::fs::read_to_string(place.path("all.jsonl")).unwrap();
    let untold = text.lines().map(|line| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        row.as_object_mut().unwrap().remove("task");
        row.to_string() + "\n"
    });
    let untold: Vec<String> = untold.collect();
    place.write("train.jsonl", &untold[..12].concat());
    place.write("valid.jsonl", &untold[12..].concat());
    place.ok(
        "train --model {tied} --data train.jsonl --valid valid.jsonl --max-length 256 --out run",
    );
    // Both look whether the rows are still those of the run, which they name by their whole paths.
    place.ok("train --resume --out run");
    place.ok("diagnose run");
}
