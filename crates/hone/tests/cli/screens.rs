//! What the screens and records say is what was done, and a refusal comes before the work.

use crate::command::Place;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const TRAIN: &str = "train --model {tied} --data rows.jsonl --max-length 256";

fn place_with_rows() -> Place {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    place
}

fn record(place: &Place, run: &str) -> Value {
    serde_json::from_slice(&std::fs::read(place.path(run).join("run.json")).unwrap()).unwrap()
}

/// Value and origin of a line of the plan.
fn planned(record: &Value, name: &str) -> [String; 2] {
    let lines = record["plan"].as_array().unwrap();
    let line = lines.iter().find(|line| line["name"] == name);
    let line = line.unwrap_or_else(|| panic!("the plan has no {name}"));
    ["value", "origin"].map(|key| line[key].as_str().unwrap().to_owned())
}

#[test]
fn a_rate_that_nobody_asked_for_follows_from_the_bases_width_and_says_so() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --whole embed_tokens --out run"));
    let run = record(&place, "run");
    assert_eq!(
        planned(&run, "lr"),
        [
            "2e-3 (width 32, Llama form, at most 2e-3), 2e-4 for fully trained modules",
            "default, by the base's width"
        ]
    );
    let peak = run["training"]["learning_rate"]["peak"].as_f64().unwrap();
    assert_eq!(peak as f32, 2e-3);
    assert_eq!(run["training"]["optimizer"]["whole"], 0.1);

    place.ok(&format!(
        "{TRAIN} --whole embed_tokens --lr 3e-4 --out asked"
    ));
    let asked = record(&place, "asked");
    assert_eq!(planned(&asked, "lr"), ["3e-4", "flag"]);
    assert!(asked["training"]["optimizer"].get("whole").is_none());
}

#[test]
fn a_resumed_run_keeps_the_rate_it_began_with() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --out run"));
    // As a run of an earlier version left it that was killed at once, whose rate was the same for every base.
    std::fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    std::fs::remove_file(place.path("run/events.jsonl")).unwrap();
    let mut run = record(&place, "run");
    run["status"] = "running".into();
    run["training"]["learning_rate"]["peak"] = 2e-4.into();
    place.write("run/run.json", &run.to_string());
    let said = place.ok("train --resume --out run").stderr;
    assert!(
        said.contains("2e-4, cosine, warm-up 0.05  (saved run)"),
        "{said}"
    );
    let again = &record(&place, "run")["training"]["learning_rate"]["peak"];
    assert_eq!(again.as_f64().unwrap() as f32, 2e-4);
}

/// Every file of a run with its bytes.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn resuming_a_finished_run_says_so_and_changes_nothing() {
    let place = place_with_rows();
    let summary = place.ok(&format!("{TRAIN} --out run --json")).json();
    let before = files(&place.path("run"));
    let again = place.ok("train --resume --out run --json");
    assert!(
        again.stderr.contains("is finished, nothing is left to do"),
        "{}",
        again.stderr
    );
    assert_eq!(
        again.json()["peak_memory_bytes"],
        summary["peak_memory_bytes"]
    );
    assert!(files(&place.path("run")) == before, "something changed");

    // A report that was never written is made up for, and nothing else changes.
    std::fs::remove_file(place.path("run/report.html")).unwrap();
    place.ok("train --resume --out run");
    let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    let after = files(&place.path("run"));
    assert_eq!(names(&after), names(&before));
    for (now, then) in after
        .iter()
        .zip(&before)
        .filter(|(now, _)| !now.0.ends_with("html"))
    {
        assert!(now == then, "{} changed", now.0);
    }
}

#[test]
fn the_time_of_validations_is_told_beside_that_of_the_steps() {
    let place = place_with_rows();
    let ran = place.ok(&format!("{TRAIN} --eval-every 1 --out run --json"));
    let seconds = ran.json()["validation_seconds"].as_f64().unwrap();
    assert!(seconds > 0.0);
    assert!(
        ran.stderr.contains(" with validations, peak memory "),
        "{}",
        ran.stderr
    );
    let events = std::fs::read_to_string(place.path("run/events.jsonl")).unwrap();
    let of_looks: f64 = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "validated")
        .map(|event| event["seconds"].as_f64().unwrap())
        .sum();
    assert!((of_looks - seconds).abs() < 1e-9);
    let without = place.ok(&format!("{TRAIN} --valid-share 0 --out without"));
    assert!(
        !without.stderr.contains("with validations"),
        "{}",
        without.stderr
    );
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{what} does not come"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &std::process::Child, name: &str) {
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args([name, &pid])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
#[cfg(unix)]
fn a_run_at_work_is_listed_as_running_and_a_killed_one_as_interrupted() {
    let place = place_with_rows();
    let listed = || place.ok("runs").stdout;
    let long = format!("{TRAIN} --epochs 400 --eval-every 1000 --save-every 1 --out run");
    let mut child = place.start(&long);
    wait_until("a checkpoint", || {
        std::fs::read_dir(place.path("run/checkpoints")).is_ok_and(|found| found.count() > 2)
    });
    assert!(listed().contains("  running "), "{}", listed());
    let second = place.refusal("train --resume --out run");
    assert!(
        second.contains("is being written by process ") && second.contains("`hone train`"),
        "{second}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(listed().contains("  interrupted "), "{}", listed());

    let mut resumed = place.start("train --resume --out run");
    wait_until("the resumed run", || listed().contains("  running "));
    signal(&resumed, "-TERM");
    assert_eq!(resumed.wait().unwrap().code(), Some(3));
    assert!(listed().contains("  interrupted "), "{}", listed());
}

#[test]
#[cfg(unix)]
fn whoever_asks_a_run_to_stop_is_answered_at_once() {
    let place = place_with_rows();
    let mut command = place.command(&format!("{TRAIN} --epochs 400 --eval-every 1000 --out run"));
    let said = std::fs::File::create(place.path("said.txt")).unwrap();
    let mut child = command.stderr(said).spawn().unwrap();
    wait_until("a step", || {
        let events = std::fs::read_to_string(place.path("run/events.jsonl"));
        events.is_ok_and(|events| events.contains("stepped"))
    });
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let said = std::fs::read_to_string(place.path("said.txt")).unwrap();
    assert!(
        said.contains("stopping; what is done is saved first"),
        "{said}"
    );
    assert!(said.contains("saved; --resume continues"), "{said}");
}

#[test]
fn an_out_that_cannot_be_written_is_named_before_anything_is_opened() {
    let place = Place::new();
    place.write("notes.txt", "mine");
    for line in [
        "train --model nowhere --data nowhere.jsonl",
        "merge --model nowhere --adapter nowhere",
        "export --to gguf --model nowhere",
        "adapter combine nowhere nowhere",
        "data build --from nowhere.jsonl",
    ] {
        let error = place.refusal(&format!("{line} --out notes.txt/out"));
        assert!(
            error.starts_with(
                "error: notes.txt/out cannot be made: notes.txt is not a directory\nhint: "
            ),
            "{line}: {error}"
        );
    }
}

#[test]
fn an_answer_of_no_tokens_is_refused_as_what_it_is() {
    let place = place_with_rows();
    for line in [
        "generate --model {tied} --prompt hello --max-tokens 0",
        "chat --model {tied} --max-tokens 0",
        "eval --model {tied} --data rows.jsonl --max-tokens 0",
    ] {
        let error = place.refusal(line);
        assert!(
            error.contains("an answer has at least 1 token"),
            "{line}: {error}"
        );
    }
    let error = place.refusal("chat --model {tied} --context 0");
    assert!(error.contains("at least 2 tokens"), "{error}");
}

#[test]
fn sampling_flags_that_would_change_nothing_are_refused() {
    let place = Place::new();
    for flag in ["--top-p 0.9", "--top-k 5"] {
        let line = format!("generate --model {{tied}} --prompt hello --max-tokens 2 {flag}");
        let error = place.refusal(&line);
        let name = flag.split(' ').next().unwrap();
        assert!(
            error.starts_with(&format!("error: {name} changes nothing at temperature 0")),
            "{error}"
        );
        place.ok(&format!("{line} --temperature 1"));
    }
}

#[test]
fn rows_that_cannot_be_judged_are_explained_by_their_own_reason() {
    let place = Place::new();
    place.write(
        "rows.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"alone\"}]}\n",
    );
    let error = place.refusal("eval --model {tied} --data rows.jsonl");
    assert!(
        error.contains("hint: the first one: rows.jsonl:1: "),
        "{error}"
    );
    assert!(!error.contains("--max-length"), "{error}");
    place.examples("rows.jsonl", 3);
    let error = place.refusal("eval --model {tied} --data rows.jsonl --max-length 10");
    assert!(
        error.contains("hint: 3 of them are too long: --max-length is 10"),
        "{error}"
    );
}

#[test]
fn an_adapter_that_hone_does_not_take_is_not_called_damaged() {
    let place = Place::new();
    let from = crate::command::fixtures().join("adapters/tiny-llama-tied-qv");
    std::fs::create_dir(place.path("adapter")).unwrap();
    std::fs::copy(
        from.join("adapter_model.safetensors"),
        place.path("adapter/adapter_model.safetensors"),
    )
    .unwrap();
    let config = std::fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["target_modules"] = r"model\.layers\.\d+\.self_attn\.(q|v)_proj".into();
    place.write("adapter/adapter_config.json", &config.to_string());
    let ran = place.run("generate --model {tied} --adapter adapter --prompt hello --max-tokens 2");
    assert!(
        ran.code == 0 || !ran.stderr.contains("damaged") && !ran.stderr.contains("fetch"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_run_of_one_step_learns_and_one_that_got_nowhere_says_so() {
    let place = Place::new();
    place.examples("few.jsonl", 3);
    let train = "train --model {tied} --data few.jsonl --epochs 1";
    let ran = place.ok(&format!("{train} --valid-share 0 --out one"));
    assert!(!ran.stderr.contains("it learned nothing"), "{}", ran.stderr);
    let events = std::fs::read_to_string(place.path("one/events.jsonl")).unwrap();
    assert!(!events.contains("\"lr\":0.0,"), "{events}");
    let check = place.run("adapter check one/adapter").stdout;
    assert!(!check.contains("every B is zero"), "{check}");
    let ran = place.ok(&format!("{train} --valid-share 0.4 --lr 1e-12 --out none"));
    assert!(
        ran.stderr
            .contains("the adapter is as it was initialized: it learned nothing"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_plan_is_a_screenful_and_verbose_shows_the_rest() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let plan = "train --model {tied} --data rows.jsonl --rank 4 --dry-run";
    let lines = |said: &str| -> Vec<String> {
        let lines = said.lines().filter(|line| line.starts_with("  "));
        lines.map(str::to_owned).collect()
    };
    let short = lines(&place.ok(plan).stderr);
    assert!(short.len() <= 13, "{short:#?}");
    let names: Vec<&str> = short
        .iter()
        .filter_map(|line| line.trim().split("  ").next())
        .collect();
    assert_eq!(
        names,
        [
            "model",
            "chat template",
            "data",
            "rows read",
            "training set",
            "validation set",
            "validations",
            "adapter",
            "learning rate",
            "steps",
            "needed",
            "time",
            "options"
        ]
    );
    assert!(short[12].ends_with("rank 4 (flag)"), "{}", short[12]);
    let whole = lines(&place.ok(&format!("{plan} -v")).stderr);
    for name in ["rank", "alpha", "warmup-ratio", "optimizer state", "seed"] {
        assert!(
            whole
                .iter()
                .any(|line| line.trim().starts_with(name) && line.ends_with(')')),
            "{name}: {whole:#?}"
        );
    }
}

#[test]
fn a_number_below_zero_is_a_value_however_it_is_written() {
    let place = place_with_rows();
    for number in ["-1e-4", "-1E3", "-0.0001"] {
        let error = place.refusal(&format!("{TRAIN} --out run --lr {number}"));
        assert!(
            error.starts_with("error: --lr is -") && error.contains("but it has to be above 0"),
            "{error}"
        );
    }
}

#[test]
fn the_rate_of_b_is_told_where_it_is_another() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --lora-plus 16 --out run"));
    assert_eq!(
        planned(&record(&place, "run"), "lr")[0],
        "2e-3 (width 32, Llama form, at most 2e-3), 3.2e-2 for B"
    );
}

#[test]
fn a_plan_without_a_model_does_not_promise_to_train_on_nothing() {
    let place = Place::new();
    place.write(
        "mixed.jsonl",
        "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}\nno JSON\n",
    );
    let error = place.refusal("train --data mixed.jsonl --dry-run");
    assert!(
        error.starts_with("error: none of the 3 rows of mixed.jsonl can be trained on\nhint: the first one: mixed.jsonl:2: "),
        "{error}"
    );
}
