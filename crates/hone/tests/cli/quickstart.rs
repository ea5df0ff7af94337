//! The whole road as a newcomer walks it, with a tiny base where the built-in one lies and a Clippy of a few lints.

use crate::command::{Place, Ran, fixtures};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A program in the place's `bin` directory that says what it is told to.
fn program(place: &Place, name: &str, script: &str) {
    let path = place.path("bin").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What lints may be about.
const THINGS: [&str; 20] = [
    "lamp", "kettle", "door", "wheel", "spoon", "rope", "mill", "boat", "clock", "fence", "stove",
    "bell", "ladder", "bucket", "saw", "oven", "plough", "anvil", "loom", "cart",
];

/// Words of which no two lints have the same ones in the same order.
const WORDS: [&str; 23] = [
    "early", "river", "stone", "green", "window", "paper", "letter", "garden", "silver", "morning",
    "under", "bridge", "winter", "market", "yellow", "corner", "shadow", "harbour", "copper",
    "forest", "button", "island", "mirror",
];

/// A Clippy with two lints for each thing, which say the same but for a word: wherever the split falls, rows to learn from
/// say nearly what held-out rows say.
fn clippy(place: &Place) {
    let (mut help, mut explained, mut members) = (String::new(), String::new(), vec![]);
    for (at, thing) in THINGS.iter().enumerate() {
        let words = |step: usize| -> Vec<&str> {
            let words = (0..12).map(|n| WORDS[(at + n * step) % WORDS.len()]);
            words.collect()
        };
        let (about, why) = (words(at + 1).join(" "), words(at + 2).join(" "));
        for how in ["left", "found"] {
            help += &format!("    clippy::{thing}-{how}  warn  a {thing} that was {how}\n");
            members.push(format!("clippy::{thing}-{how}"));
            explained += &format!(
                "{thing}_{how}) cat <<'END'\n### What it does\nChecks for {about} {how}.\n\n### Why is this bad\nOf {why}.\n\n\
                 ### Example\n```rust\nlet {thing} = {how}();\n```\nUse instead:\n```rust\nlet {thing} = kept(\"{thing}\");\n```\nEND\n;;\n"
            );
        }
    }
    help += &format!("    clippy::style  {}\n", members.join(", "));
    program(
        place,
        "clippy-driver",
        &format!(
            "case \"$1\" in -V) echo 'clippy 0.0.1 (made for a test)';; *) cat <<'END'\n{help}END\n;; esac"
        ),
    );
    let unknown = "*) echo \"error: no lint $3\" >&2; exit 1;;";
    program(
        place,
        "cargo",
        &format!("case \"$3\" in\n{explained}{unknown} esac"),
    );
}

fn place() -> Place {
    let place = Place::new();
    clippy(&place);
    let base = place.path("home/models/smollm2-135m-instruct");
    fs::create_dir_all(&base).unwrap();
    let tiny = fixtures().join("models/tiny-llama.gguf");
    fs::copy(tiny, base.join("SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    place
}

/// With the place's own programs before those of the machine.
fn with_programs(place: &Place, mut command: Command) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [place.path("bin")]
        .into_iter()
        .chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all).unwrap());
    command
}

fn run(place: &Place, line: &str) -> Ran {
    let mut command = with_programs(place, place.command(line));
    command.output().unwrap().into()
}

/// What training is given, under the rules of `hone train` alone.
fn trained_on(place: &Place, rule: &str) -> Ran {
    let mut folders = fs::read_dir(place.path("home/datasets")).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    let [train, watch] =
        ["train.jsonl", "watch.jsonl"].map(|name| folder.join(name).display().to_string());
    place.run(&format!(
        "train --model {{tied}} --data '{train}' --valid '{watch}' {rule} --out again --dry-run"
    ))
}

#[test]
fn one_command_leads_from_nothing_to_two_judged_models_without_a_question() {
    let place = place();
    let ran = run(&place, "quickstart --minutes 0.05 --json");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let said = ran.json();
    for step in ["1/5", "2/5", "3/5", "4/5", "5/5"] {
        assert!(ran.stderr.contains(step), "{step}:\n{}", ran.stderr);
    }
    assert!(said["steps"].as_u64().unwrap() > 0, "{said}");
    // The time that the plan tells, which may end before the minutes do.
    let value = |line: &str| {
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut lines = ran.stderr.lines();
    let planned = lines.find(|line| line.starts_with("  time ")).unwrap();
    let planned = value(planned.trim_end_matches("  (measured)"));
    assert!(
        ran.stderr.contains(&format!("4/5  training, {planned}\n")),
        "{planned}:\n{}",
        ran.stderr
    );
    for who in ["base", "tuned"] {
        let tasks = said[who]["tasks"].as_object().unwrap();
        let names: Vec<&String> = tasks.keys().collect();
        assert_eq!(names, ["fix", "group", "meaning"], "{said}");
    }
    for file in ["report.html", "run.json", "adapter/adapter_config.json"] {
        assert!(place.path("runs/quickstart").join(file).is_file(), "{file}");
    }
    // These rows are such that a training of one's own would ask, and a newcomer is not asked.
    let asked = trained_on(&place, "");
    assert_eq!(asked.code, 1);
    assert!(
        asked.stderr.contains("for a decision before training: "),
        "{}",
        asked.stderr
    );
    assert_eq!(trained_on(&place, "--rule leak=drop").code, 0);

    // Rows that judge are looked at as well as those that watch.
    let skipped = |said: &str| -> usize {
        let (before, _) = said.split_once(" rows skipped").unwrap();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let watched = trained_on(&place, "--rule leak=drop").stderr;
    assert!(
        skipped(&ran.stderr) > skipped(&watched),
        "{}\n{watched}",
        ran.stderr
    );

    // The dataset is there now, and the next run goes into a directory of its own.
    let again = run(&place, "quickstart --minutes 0.01 --quiet");
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(place.path("runs/quickstart-2/report.html").is_file());
}

#[test]
fn a_machine_without_clippy_is_told_how_to_get_it() {
    let place = place();
    program(
        &place,
        "clippy-driver",
        "echo \"error: 'clippy-driver' is not installed\" >&2; exit 1",
    );
    let ran = run(&place, "quickstart");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.ends_with(
            "error: Clippy, whose documentation `rust-lints` is made of, is not installed\nhint: rustup component add clippy\n"
        ),
        "{}",
        ran.stderr
    );
}
