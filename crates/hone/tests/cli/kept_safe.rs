//! What is kept safe: files of others, one writer at a time, and whatever a killed command leaves.

use crate::command::{Place, fixtures};
use hone_ledger::Lock;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

fn adapter() -> String {
    let adapter = fixtures().join("adapters/tiny-llama-untied");
    adapter.display().to_string()
}

/// Commands that make a directory, without its name.
fn makers() -> [String; 5] {
    [
        format!(
            "merge --model {{untied}} --adapter '{}' --replies 0 --out",
            adapter()
        ),
        format!(
            "export --to gguf-adapter --model {{untied}} --adapter '{}' --replies 0 --out",
            adapter()
        ),
        "data build --from rows.jsonl --out".to_owned(),
        format!("adapter combine '{0}' '{0}' --out", adapter()),
        format!("adapter check '{}' --for peft --fix", adapter()),
    ]
}

fn place_with_rows() -> Place {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    place
}

#[test]
fn directories_of_others_beside_an_out_are_left_alone() {
    let place = place_with_rows();
    for (i, maker) in makers().iter().enumerate() {
        let out = format!("m{i}");
        let others = [".partial", ".replaced", ".tmp"].map(|suffix| format!("{out}{suffix}"));
        for other in &others {
            std::fs::create_dir(place.path(other)).unwrap();
            place.write(&format!("{other}/thesis.txt"), "precious");
        }
        place.ok(&format!("{maker} {out}"));
        assert!(place.path(&out).is_dir());
        for other in &others {
            let thesis = std::fs::read_to_string(place.path(other).join("thesis.txt"));
            assert_eq!(thesis.unwrap(), "precious", "{maker}");
        }
        assert!(place.hidden().is_empty(), "{:?}", place.hidden());
    }
}

#[test]
#[cfg(unix)]
fn a_second_command_with_the_same_out_is_refused_and_told_who_is_at_work() {
    let place = place_with_rows();
    for maker in makers() {
        let lock = Lock::take_beside(&place.path("m"), "hone merge").unwrap();
        let error = place.refusal(&format!("{maker} m"));
        let who = format!("process {} (`hone merge`, for ", std::process::id());
        assert!(
            error.starts_with("error: m is being written by ") && error.contains(&who),
            "{error}"
        );
        assert!(error.contains("hint: wait until it ends"), "{error}");
        assert!(!place.path("m").exists());
        drop(lock);
    }
    // What a dead process left of its lock hinders nobody.
    place.write(
        ".m.hone-lock",
        "{\"pid\":1,\"command\":\"hone merge\",\"since_unix\":0}\n",
    );
    place.ok(&format!("{} m", makers()[0]));
    assert!(place.hidden().is_empty(), "{:?}", place.hidden());
}

#[test]
#[cfg(unix)]
fn what_a_killed_command_left_is_removed_by_the_next_with_that_out() {
    let place = place_with_rows();
    let merge = &makers()[0];
    let begun = Instant::now();
    while !place
        .hidden()
        .iter()
        .any(|name| name.starts_with(".m.hone-") && !name.ends_with("lock"))
    {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "no merge is caught in the middle"
        );
        let _ = std::fs::remove_dir_all(place.path("m"));
        let mut child = place.start(&format!("{merge} m"));
        while place.hidden().len() < 2 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Another name does not own it.
    place.ok(&format!("{merge} other"));
    assert!(!place.hidden().is_empty());
    let _ = std::fs::remove_dir_all(place.path("m"));
    place.ok(&format!("{merge} m"));
    assert!(place.hidden().is_empty(), "{:?}", place.hidden());
}

const TRAIN: &str = "train --model {untied} --data rows.jsonl --threads 1 --batch-size 4 --eval-every 2 --save-every 2";

fn record(place: &Place, run: &str) -> Value {
    let text = std::fs::read(place.path(run).join("run.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// A run with all its steps taken and its last checkpoint on disk, killed before it could say so.
fn killed_at_the_end(place: &Place, run: &str, options: &str) {
    place.ok(&format!("{TRAIN} {options} --out {run}"));
    let mut killed = record(place, run);
    killed["status"] = "running".into();
    killed["result"] = Value::Null;
    place.write(&format!("{run}/run.json"), &killed.to_string());
}

/// The weights of the best and the last adapter.
fn adapters(run: &Path) -> [Vec<u8>; 2] {
    ["adapter", "last"]
        .map(|name| std::fs::read(run.join(name).join("adapter_model.safetensors")).unwrap())
}

fn events(place: &Place, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(run).join("events.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
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

#[test]
fn runs_that_begin_in_the_same_second_are_all_listed() {
    let place = place_with_rows();
    let runs: Vec<_> = (1..=6)
        .map(|i| place.start(&format!("{TRAIN} --lr {i}e-4 --out run{i}")))
        .collect();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    let listed = place.ok("runs --json").stdout;
    let ids: std::collections::BTreeSet<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string())
        .collect();
    assert_eq!((listed.lines().count(), ids.len()), (6, 6), "{listed}");
    let identity = |i: usize| record(&place, &format!("run{i}"))["identity"].to_string();
    let identities: std::collections::BTreeSet<String> = (1..=6).map(identity).collect();
    assert_eq!(identities.len(), 6);
}

#[test]
fn a_checkpoint_of_another_plan_is_refused_and_changes_nothing() {
    let place = place_with_rows();
    killed_at_the_end(&place, "a", "--seed 0 --lr 1e-4 --valid-share 0");
    killed_at_the_end(&place, "b", "--seed 1 --lr 1e-3 --valid-share 0");
    std::fs::remove_dir_all(place.path("b/checkpoints")).unwrap();
    std::fs::rename(place.path("a/checkpoints"), place.path("b/checkpoints")).unwrap();
    let before = record(&place, "b");
    let error = place.refusal("train --resume --out b");
    assert!(
        error.contains("was made with other data, another base or another plan"),
        "{error}"
    );
    assert_eq!(record(&place, "b"), before);
}

#[test]
fn a_base_that_computes_something_else_with_the_same_weights_is_another_one() {
    let place = place_with_rows();
    let config = copied_base(&place).with_file_name("config.json");
    let line = TRAIN.replace("{untied}", "base");
    place.ok(&format!("{line} --out run"));
    let mut killed = record(&place, "run");
    killed["status"] = "running".into();
    place.write("run/run.json", &killed.to_string());
    let sound = std::fs::read_to_string(&config).unwrap();
    for (field, other) in [("rms_norm_eps", 1e-3), ("rope_theta", 500.0)] {
        let mut changed: Value = serde_json::from_str(&sound).unwrap();
        changed[field] = other.into();
        std::fs::write(&config, changed.to_string()).unwrap();
        let error = place.refusal("train --resume --out run");
        assert!(
            error.contains("was made with other data, another base or another plan"),
            "{field}: {error}"
        );
    }
    std::fs::write(&config, sound).unwrap();
    place.ok("train --resume --out run");
}

#[test]
fn what_may_change_when_a_run_goes_on_is_on_record() {
    let place = place_with_rows();
    killed_at_the_end(&place, "run", "");
    std::fs::rename(place.path("rows.jsonl"), place.path("moved.jsonl")).unwrap();
    std::fs::rename(place.path("run"), place.path("there")).unwrap();
    place.ok("train --resume --out there --data moved.jsonl --threads 2");
    let events = events(&place, "there");
    let resumed = events
        .iter()
        .find(|event| event["event"] == "resumed")
        .unwrap();
    let mut changed: Vec<&str> = resumed["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["option"].as_str().unwrap())
        .collect();
    changed.sort_unstable();
    assert_eq!(changed, ["data", "out", "threads"]);
    assert!(place.ok("runs").stdout.contains("there"));
}

#[test]
fn base_and_intervals_may_be_others_when_a_run_goes_on() {
    let place = place_with_rows();
    let whole = {
        place.ok(&format!("{TRAIN} --out whole"));
        adapters(&place.path("whole"))
    };
    let copy = |to: &str| {
        std::fs::create_dir(place.path(to)).unwrap();
        for entry in std::fs::read_dir(fixtures().join("models/tiny-llama-untied")).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, place.path(to).join(from.file_name().unwrap())).unwrap();
        }
    };
    copy("base");
    place.ok(&format!("{} --out run", TRAIN.replace("{untied}", "base")));
    let mut killed = record(&place, "run");
    killed["status"] = "running".into();
    place.write("run/run.json", &killed.to_string());
    std::fs::rename(place.path("base"), place.path("moved")).unwrap();
    // The newest checkpoint is taken away, so that there is something left to do.
    let newest = std::fs::read_dir(place.path("run/checkpoints")).unwrap();
    let newest = newest.map(|entry| entry.unwrap().path()).max().unwrap();
    std::fs::remove_dir_all(newest).unwrap();
    place.ok("train --resume --out run --model moved --save-every 1");
    assert!(adapters(&place.path("run")) == whole);
    let error = place.refusal("train --resume --out run --eval-every 1");
    assert!(
        error.contains("keeps its options, but --eval-every changed"),
        "{error}"
    );
}

#[test]
fn a_finished_run_is_asked_about_no_other_rows_base_or_template() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --out run"));
    let before = record(&place, "run");
    place.examples("other.jsonl", 9);
    let held = r#"{"instruction":"Name a color","output":"Blue."}"#;
    place.write("held.jsonl", &format!("{held}\n"));
    for (given, named) in [
        (
            "--data other.jsonl",
            "--data DIR/other.jsonl has other rows",
        ),
        (
            "--valid held.jsonl",
            "--valid DIR/held.jsonl has other rows",
        ),
        ("--model {tied}", "tiny-llama-tied is another base"),
        (
            "--chat-template chatml",
            "--chat-template chatml is another one",
        ),
    ] {
        let error = place.refusal(&format!("train --resume --out run {given}"));
        assert!(
            error.starts_with("error: a resumed run goes on with what it began with, but ")
                && error.contains(named),
            "{given}: {error}"
        );
    }
    // The same rows elsewhere are the same run, and what is not taken over is said.
    std::fs::rename(place.path("rows.jsonl"), place.path("moved.jsonl")).unwrap();
    let said = place.ok("train --resume --out run --data moved.jsonl --threads 2");
    assert!(
        said.stderr
            .contains("--data, --threads not taken over, as nothing is left to do"),
        "{}",
        said.stderr
    );
    assert_eq!(record(&place, "run"), before);
    // What a finished run cannot change is not answered with a way to continue it.
    let error = place.refusal("train --resume --out run --lr 1e-5");
    assert!(
        error.ends_with("hint: this run is finished; begin another run with --lr and a new --out"),
        "{error}"
    );
}

#[test]
fn a_run_that_ended_in_numbers_that_are_not_finite_is_not_to_be_continued() {
    let place = place_with_rows();
    let exploding = "--lr 1e30 --clip 0 --warmup-ratio 0 --epochs 4";
    let error = place.refusal(&format!("{TRAIN} --out run {exploding}"));
    assert!(error.contains("is not finite; its rows are"), "{error}");
    assert!(error.contains("a new --out"), "{error}");
    let error = place.refusal("train --resume --out run --lr 1e-4");
    assert!(error.contains("but --lr changed"), "{error}");
    assert!(
        error.contains("were not finite, and would be so again")
            && error.ends_with("begin another run with --lr and a new --out"),
        "{error}"
    );
    place.ok(&format!("{TRAIN} --out another --lr 1e-4"));
}

#[test]
fn a_run_whose_record_is_lost_goes_on_by_the_copy_in_its_checkpoint() {
    let place = place_with_rows();
    let whole = {
        place.ok(&format!("{TRAIN} --out whole"));
        adapters(&place.path("whole"))
    };
    for (run, harm) in [("missing", None), ("empty", Some(0)), ("cut", Some(300))] {
        killed_at_the_end(&place, run, "");
        std::fs::remove_dir_all(place.path(run).join("adapter")).unwrap();
        let path = place.path(run).join("run.json");
        match harm {
            None => std::fs::remove_file(&path).unwrap(),
            Some(length) => {
                let text = std::fs::read(&path).unwrap();
                std::fs::write(&path, &text[..length]).unwrap();
            }
        }
        // Whoever begins anew there is told the way that leads on.
        let error = place.refusal(&format!("{TRAIN} --out {run}"));
        assert!(error.contains("hint: --resume continues it"), "{error}");
        let said = place.ok(&format!("train --resume --out {run}")).stderr;
        assert!(
            said.contains("the copy in the checkpoint of step"),
            "{run}: {said}"
        );
        assert!(adapters(&place.path(run)) == whole, "{run}");
        assert_eq!(record(&place, run)["status"], "finished");
    }
}

#[test]
fn a_record_that_was_altered_is_what_is_blamed_and_its_copy_takes_its_place() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --out whole"));
    let whole = adapters(&place.path("whole"));
    for (run, part, key) in [
        ("numbers", "training", "seed"),
        ("options", "asked", "rank"),
    ] {
        killed_at_the_end(&place, run, "");
        let mut altered = record(&place, run);
        altered[part][key] = 3.into();
        place.write(&format!("{run}/run.json"), &altered.to_string());
        let said = place.ok(&format!("train --resume --out {run}")).stderr;
        assert!(
            said.contains(&format!(
                "run.json is damaged: its part `{part}` is not that of this run; the copy in the checkpoint of step"
            )),
            "{run}: {said}"
        );
        assert!(adapters(&place.path(run)) == whole, "{run}");
    }
}

#[test]
#[cfg(unix)]
fn a_lock_that_was_removed_by_hand_admits_no_second_writer() {
    let place = place_with_rows();
    copied_base(&place);
    let mut run = long_run(&place);
    std::fs::remove_file(place.path("run/run.lock")).unwrap();
    let said = place.refusal("train --resume --out run");
    assert!(
        said.contains("run is being written by another process"),
        "{said}"
    );
    let listed = place.ok("runs").stdout;
    assert!(listed.contains("running"), "{listed}");
    run.kill().unwrap();
    run.wait().unwrap();
    place.ok("train -q --resume --out run");
}

#[test]
#[cfg(unix)]
fn a_merge_notices_a_base_that_is_overwritten_and_its_time_put_back() {
    let place = place_with_rows();
    let weights = copied_base(&place);
    let adapter = fixtures().join("adapters/tiny-llama-untied");
    // The base is open while rows are waited for.
    let line = format!(
        "merge --model base --adapter '{}' --out merged --prompts prompts.txt",
        adapter.display()
    );
    place.write(
        "prompts.txt",
        &"Say the number 7, and then say all numbers that come after it.\n".repeat(400),
    );
    let merge = place
        .command(&line)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the merge's directory", || !place.hidden().is_empty());
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&weights)
        .unwrap();
    let (modified, length) = (
        file.metadata().unwrap().modified().unwrap(),
        file.metadata().unwrap().len(),
    );
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4], length - 4).unwrap();
    file.set_modified(modified).unwrap();
    let ended = merge.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "by another program while it was in use: it was written and its time put back"
        ),
        "{said}"
    );
    assert!(!place.path("merged").exists());
}

#[test]
fn a_run_that_cannot_go_on_is_not_sent_round_in_a_circle() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --out run"));
    std::fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    std::fs::remove_file(place.path("run/run.json")).unwrap();
    let begun = place.refusal(&format!("{TRAIN} --out run"));
    assert!(begun.contains("already holds a run"), "{begun}");
    assert!(!begun.contains("--resume continues it"), "{begun}");
    let resumed = place.refusal("train --resume --out run");
    assert!(
        resumed.contains("run.json is missing, and no intact checkpoint holds a copy of it"),
        "{resumed}"
    );
    assert!(
        resumed.contains("hint: begin again with another --out"),
        "{resumed}"
    );
}

#[test]
fn a_finished_run_is_one_whose_adapters_are_there() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --out run"));
    let whole = adapters(&place.path("run"));
    let best = place.path("run/adapter/adapter_model.safetensors");
    let harms: [&dyn Fn(); 3] = [
        &|| std::fs::write(&best, &whole[0][..200]).unwrap(),
        &|| std::fs::write(&best, "").unwrap(),
        &|| std::fs::remove_dir_all(place.path("run/adapter")).unwrap(),
    ];
    for harm in harms {
        harm();
        let said = place.ok("train --resume --out run").stderr;
        assert!(said.contains("adapter_model.safetensors is "), "{said}");
        assert!(adapters(&place.path("run")) == whole);
    }
    // Nothing is trained again over what is left.
    std::fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    std::fs::write(place.path("run/last/adapter_model.safetensors"), "").unwrap();
    let before = record(&place, "run");
    let error = place.refusal("train --resume --out run");
    assert!(
        error.contains("adapter_model.safetensors is damaged, and the checkpoints")
            && error.contains("hint: put them back, or begin again with another --out"),
        "{error}"
    );
    assert_eq!(record(&place, "run"), before);
    assert_eq!(std::fs::read(&best).unwrap(), whole[0]);
}

#[test]
fn a_list_says_of_finished_runs_what_they_do_not_have_any_more() {
    let place = place_with_rows();
    for run in ["first", "second", "third"] {
        place.ok(&format!("{TRAIN} --epochs 0.5 --out {run}"));
    }
    assert!(!place.ok("runs").stderr.contains("warning"));
    std::fs::remove_dir_all(place.path("first/adapter")).unwrap();
    std::fs::rename(place.path("second"), place.path("moved")).unwrap();
    let said = place.ok("runs -q").stderr;
    let again = format!(
        "first is not there; `hone train --resume --out {}` makes it again",
        place.path("first").display()
    );
    assert!(said.contains(&again), "{said}");
    assert!(said.contains("second is no more\n"), "{said}");
    // Of one that was moved it is known where it is once it has been looked at there.
    place.ok("train --resume --out moved");
    assert_eq!(place.ok("runs").stdout.lines().count(), 4);
}

#[test]
fn lost_and_broken_events_are_told_of_and_stop_nobody() {
    let place = place_with_rows();
    killed_at_the_end(&place, "run", "");
    let path = place.path("run/events.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let second = lines
        .iter()
        .position(|line| line.contains("\"step\":2,"))
        .unwrap();
    let mut broken = lines.clone();
    broken[second] = "{\"event\":\"step\0ped\"";
    // The last event, of the last checkpoint, is what a kill loses.
    assert!(broken.pop().unwrap().contains("saved"));
    std::fs::write(&path, broken.join("\n") + "\n").unwrap();
    let said = place.ok("train --resume --out run").stderr;
    assert!(
        said.contains("1 line of ") && said.contains("events.jsonl.damaged-1"),
        "{said}"
    );
    assert!(
        said.contains("has nothing of step 2, which the run has taken: "),
        "{said}"
    );
    let kept = events(&place, "run");
    assert_eq!(kept.len(), lines.len() - 1);
    assert_eq!(kept.last().unwrap()["event"], "saved");
    let report = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(report.contains("has nothing of step 2"));

    killed_at_the_end(&place, "gone", "");
    std::fs::remove_file(place.path("gone/events.jsonl")).unwrap();
    let said = place.ok("train --resume --out gone").stderr;
    assert!(said.contains("has nothing of steps 1 to "), "{said}");
}

#[test]
#[cfg(unix)]
fn a_run_that_was_killed_before_its_first_checkpoint_is_listed_and_goes_on() {
    let place = place_with_rows();
    let long = TRAIN.replace("--save-every 2", "--save-every 5000");
    let mut child = place.start(&format!("{long} --epochs 2000 --out run"));
    wait_until("a running run", || {
        place.ok("runs").stdout.contains("  running ")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = place.ok("runs").stdout;
    assert!(listed.contains("  interrupted "), "{listed}");
    let mut child = place.start("train --resume --out run");
    wait_until("a running run", || {
        place.ok("runs").stdout.contains("  running ")
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_registry_that_cannot_be_used_hides_no_run() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} --out run"));
    let listed = place.ok("runs").stdout;
    place.write("home/runs.sqlite", &"no registry ".repeat(1000));
    let again = place.ok("runs");
    assert_eq!(again.stdout, listed);
    assert!(
        again.stderr.contains("was made again from the directories"),
        "{}",
        again.stderr
    );
    assert_eq!(place.ok("runs").stdout, listed);
    // Runs that were there before there was a list are in it from the next run on.
    std::fs::remove_file(place.path("home/runs.list")).unwrap();
    place.ok(&format!("{TRAIN} --out second"));
    place.write("home/runs.sqlite", "no registry");
    assert_eq!(place.ok("runs").stdout.lines().count(), 2);
    std::fs::remove_dir_all(place.path("second")).unwrap();
    // Of a home that is gone, the directories are left.
    std::fs::remove_dir_all(place.path("home")).unwrap();
    assert_eq!(place.ok("runs").stdout, "");
    assert!(!place.path("home").exists(), "listing wrote something");
    assert_eq!(place.ok("runs --find .").stdout, listed);
}

#[test]
#[cfg(target_os = "linux")]
fn listing_needs_no_writing() {
    let place = Place::new();
    let mut command = place.command("runs");
    let ran = command.env("HONE_HOME", "/proc/x").output().unwrap();
    assert!(ran.status.success());
    assert!(String::from_utf8_lossy(&ran.stderr).starts_with("no runs yet"));
}

#[test]
#[cfg(unix)]
fn the_library_trains_where_nobody_else_does() {
    use hone::finetune::{FineTuneError, LoadOptions, LoraConfig, Trainer, TrainerConfig};
    let place = place_with_rows();
    let base = fixtures()
        .join("models/tiny-llama-tied")
        .display()
        .to_string();
    let base = hone::finetune::load_base(&base, LoadOptions::default()).unwrap();
    let examples = base.encode_files(&[place.path("rows.jsonl")]).unwrap();
    let mut model = hone::finetune::get_peft_model(base, LoraConfig::default(), 0).unwrap();
    let run = place.path("run");
    std::fs::create_dir(&run).unwrap();
    let lock = Lock::take(&run.join("run.lock"), &run, "hone train").unwrap();
    let trainer = Trainer::new(TrainerConfig::default(), &run);
    let error = trainer
        .train(&mut model, &examples, None, |_| {})
        .unwrap_err();
    assert!(matches!(error, FineTuneError::Locked(_)), "{error}");
    drop(lock);
    trainer.train(&mut model, &examples, None, |_| {}).unwrap();
    assert!(!run.join("run.lock").exists());
}

/// A copy of the untied fixture.
pub fn copied_base(place: &Place) -> std::path::PathBuf {
    let base = place.path("base");
    std::fs::create_dir(&base).unwrap();
    for entry in std::fs::read_dir(fixtures().join("models/tiny-llama-untied")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), base.join(entry.file_name())).unwrap();
    }
    base.join("model.safetensors")
}

/// A run of many steps on the base that `copied_base` made, of which at least two are taken.
fn long_run(place: &Place) -> std::process::Child {
    let line = "train -q --model base --data rows.jsonl --threads 1 --epochs 400 --batch-size 4 --save-every 5 --out run";
    let mut command = place.command(line);
    let run = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let log = place.path("run/events.jsonl");
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < 12 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no steps");
        std::thread::sleep(Duration::from_millis(5));
    }
    run
}

#[test]
#[cfg(unix)]
fn a_base_that_is_cut_short_or_overwritten_under_a_run_ends_it_with_a_sentence() {
    let place = place_with_rows();
    let weights = copied_base(&place);
    let whole = std::fs::read(&weights).unwrap();

    let run = long_run(&place);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&weights)
        .unwrap()
        .set_len(4096)
        .unwrap();
    let ended = run.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        matches!(ended.status.code(), Some(1 | 5)),
        "{:?}: {said}",
        ended.status
    );
    assert!(
        said.contains("error: ")
            && said.contains("model.safetensors was c")
            && said.contains("by another program while it was in use"),
        "{said}"
    );
    assert!(said.contains("hint: put the file back as it was"), "{said}");

    std::fs::write(&weights, &whole).unwrap();
    std::fs::remove_dir_all(place.path("run")).unwrap();
    let run = long_run(&place);
    // Other numbers in place, where nothing would be noticed.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&weights)
        .unwrap();
    let numbers = [0.5f32.to_le_bytes(); 16].concat();
    let modified = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &numbers, whole.len() as u64 / 2 / 4 * 4)
        .unwrap();
    // As some programs do that copy.
    file.set_modified(modified).unwrap();
    let ended = run.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        matches!(ended.status.code(), Some(1 | 5)),
        "{:?}: {said}",
        ended.status
    );
    assert!(
        said.contains("by another program while it was in use"),
        "{said}"
    );
    assert_eq!(record(&place, "run")["status"], "failed");
}

#[test]
#[cfg(unix)]
fn a_file_that_may_not_be_so_large_is_an_error_and_no_signal() {
    let place = place_with_rows();
    for maker in makers() {
        // In blocks of 512 or 1024 bytes, by shell.
        let limited = place.limited("ulimit -f 1", &format!("{maker} m")).output();
        let ran: crate::command::Ran = limited.unwrap().into();
        assert!(
            ran.code == 1
                && ran.stderr.contains("it would be larger than a file may be")
                && ran
                    .stderr
                    .contains("hint: lift the limit (`ulimit -f` tells it)"),
            "{maker}: {} {}",
            ran.code,
            ran.stderr
        );
        assert!(!place.path("m").exists(), "{maker}");
        assert!(place.hidden().is_empty(), "{:?}", place.hidden());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_path_that_is_not_utf8_is_refused_by_its_option() {
    use std::os::unix::ffi::OsStrExt;
    let place = place_with_rows();
    let odd = std::ffi::OsStr::from_bytes(b"r\xff");
    for (option, line) in [
        ("--out", TRAIN.to_owned()),
        ("--data", TRAIN.replace("--data rows.jsonl", "--out run")),
        ("--valid", format!("{TRAIN} --out run")),
        ("--out", "train --resume".to_owned()),
    ] {
        let ran = place.command(&line).arg(option).arg(odd).output().unwrap();
        let ran: crate::command::Ran = ran.into();
        let told =
            format!("error: the name {option} r\u{fffd} is not UTF-8\nhint: give it another name");
        assert!(
            ran.code == 2 && ran.stderr.contains(&told),
            "{}",
            ran.stderr
        );
    }
}

#[test]
#[cfg(unix)]
fn a_run_that_no_list_takes_is_told_of_to_the_quiet_too() {
    let place = place_with_rows();
    place.write("home", "a file in place of the directory");
    let said = place.ok(&format!("{TRAIN} -q --out run")).stderr;
    assert!(
        said.contains("warning: the run is not in the registry (")
            && said.contains("run.json has it all"),
        "{said}"
    );
}
