//! Every option of `hone train` does something: it changes what will be computed, or is known to change only where or how.

use hone::base::Home;
use hone::plan::{OPTIONS, OptionInfo, RawTrain, TrainPlan, options_page};
use hone::run::Prepared;
use std::path::Path;

/// Options that change no number of a run, and what they are for.
const BY_NATURE: [(&str, &str); 4] = [
    (
        "date",
        "this base's chat template prints none; tests/cli has one that does",
    ),
    ("out", "where results go"),
    ("threads", "the result does not depend on it"),
    ("save-dtype", "the form of the adapter's file"),
];

/// Options that say which rows of a folder or a table are read, and which of their keys; `tests/cli` gives them folders and
/// tables, and hone-data's `tests/keys` rows with such keys.
const ABOUT_FILES: [&str; 5] = ["column", "side", "config", "ignore-key", "nulls"];

fn rows(dir: &Path, name: &str, range: std::ops::Range<usize>) {
    let long = "and again ".repeat(8);
    let row = |i: usize| {
        let tail = if i.is_multiple_of(5) {
            long.as_str()
        } else {
            ""
        };
        format!("{{\"instruction\":\"Say the number {i}\",\"output\":\"It is {i} {tail}.\"}}\n")
    };
    std::fs::write(dir.join(name), range.map(row).collect::<String>()).unwrap();
}

/// An option with a value that is not what is assumed where nothing is said, as a run file has it, and what it has to be
/// compared with: the example that it is described with, but where that needs files of its own or an option beside it.
fn other(option: &OptionInfo, dir: &Path) -> (String, String) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    let model = |name: &str| format!("{:?}", fixtures.join(name).display().to_string());
    let path = |name: &str| format!("{:?}", dir.join(name).display().to_string());
    let value = match option.name {
        "model" => model("tiny-llama-untied"),
        "template-option" => "[\"loud=true\"]".into(),
        "data" => format!("[{}]", path("other.jsonl")),
        "valid" => path("other.jsonl"),
        "minutes" => "0.000001".into(),
        "memory" => {
            // Enough for the program, which is larger in some builds, and too little to keep what a step computed.
            let needed = plans(dir)("").memory.bytes as f64;
            format!("\"{:.1}MB\"", needed / 1e6 - 0.3)
        }
        _ => option.example.to_owned(),
    };
    let beside = match option.name {
        "regroup" => format!("valid = {}", path("other.jsonl")),
        "bias" => format!("model = {}", model("tiny-llama-bias")),
        "template-option" => {
            let source = "{{ '!' if loud else '' }}{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
            std::fs::write(dir.join("switch.jinja"), source).unwrap();
            format!("chat-template = {}", path("switch.jinja"))
        }
        "feed-forward" => "ia3 = true\ntargets = [\"up_proj\", \"down_proj\"]".into(),
        "too-long" => "max-length = 60".into(),
        _ => String::new(),
    };
    (format!("{} = {value}\n{beside}", option.name), beside)
}

/// What is computed by a plan, without the words it is described in.
fn computed(plan: &TrainPlan) -> String {
    format!(
        "{:?} {:?} {:?} {} {}",
        plan.lora, plan.base_format, plan.training, plan.streams_base, plan.content
    )
}

#[test]
fn the_page_about_options_is_made_from_their_definitions() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(&path, options_page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == options_page(),
        "docs/options.md is stale; UPDATE_PAGES=1 cargo test -p hone --test options"
    );
}

#[test]
fn every_option_changes_the_identity_of_a_run_or_may_change_when_it_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let plan = plans(place.path());
    // The date counts by the day that is printed, and this base prints none.
    let fixed = OPTIONS
        .iter()
        .filter(|option| option.on_resume.is_none() && option.name != "date");
    for option in fixed {
        let about_files = about_files(option.name, place.path());
        let (asked, plain) = about_files.unwrap_or_else(|| other(option, place.path()));
        assert_ne!(
            plan(&asked).identity,
            plan(&plain).identity,
            "a checkpoint made with another --{} would be taken for one of this run",
            option.name
        );
    }
    let free = |text: &str| assert_eq!(plan(text).identity, plan("").identity, "{text}");
    free(
        "threads = 2\nmemory = \"3GB\"\nsave-every = 3\noptimizer = \"paged-adamw\"\nsave-dtype = \"bf16\"",
    );
}

/// A value of an option about files that changes nothing of what is read, and what it has to be compared with.
fn about_files(name: &str, dir: &Path) -> Option<(String, String)> {
    let folder = dir.join("folder");
    let plain = match name {
        "config" => {
            std::fs::create_dir_all(&folder).unwrap();
            rows(&folder, "rows.jsonl", 0..40);
            let card = "---\nconfigs:\n- config_name: default\n  data_files: rows.jsonl\n---\n";
            std::fs::write(folder.join("README.md"), card).unwrap();
            format!("data = [{:?}]\n", folder.display().to_string())
        }
        "ignore-key" => {
            rows(dir, "noted.jsonl", 0..40);
            let noted = dir.join("noted.jsonl");
            let text = std::fs::read_to_string(&noted).unwrap();
            std::fs::write(&noted, text.replace("{\"", "{\"note\":\"x\",\"")).unwrap();
            format!("data = [{:?}]\n", noted.display().to_string())
        }
        _ => String::new(),
    };
    let value = match name {
        "column" => "[\"instruction=instruction\"]",
        "side" => "[\"rows=train\"]",
        "config" => "[\"default\"]",
        "ignore-key" => "[\"note\"]",
        "nulls" => "\"keep\"",
        _ => return None,
    };
    Some((format!("{plain}{name} = {value}\n"), plain))
}

#[test]
fn every_option_changes_what_is_computed_or_is_known_not_to() {
    let place = tempfile::tempdir().unwrap();
    let plan = plans(place.path());
    let plan = |text: &str| computed(&plan(text));
    let dir = place.path();
    for option in OPTIONS {
        let is_known = BY_NATURE.iter().any(|(known, _)| *known == option.name);
        if is_known || ABOUT_FILES.contains(&option.name) {
            continue;
        }
        let (asked, plain) = other(option, dir);
        assert_ne!(
            plan(&asked),
            plan(&plain),
            "--{} changes nothing",
            option.name
        );
    }
}

/// The plan of a run file, for a base, rows and a directory that are given.
fn plans(dir: &Path) -> impl Fn(&str) -> TrainPlan {
    let dir = dir.to_path_buf();
    rows(&dir, "rows.jsonl", 0..40);
    let twice = std::fs::read_to_string(dir.join("rows.jsonl")).unwrap();
    let first = twice.lines().next().unwrap().to_owned();
    std::fs::write(dir.join("rows.jsonl"), format!("{twice}{first}\n")).unwrap();
    rows(&dir, "other.jsonl", 100..130);
    let home = Home::at(dir.join("home"));
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-tied");
    let flags = RawTrain {
        model: Some(base.display().to_string()),
        data: Some(vec![dir.join("rows.jsonl")]),
        out: Some(dir.join("run")),
        threads: Some(1),
        ..RawTrain::default()
    };
    move |text: &str| {
        std::fs::write(dir.join("run.toml"), text).unwrap();
        let file = hone::plan::read_run_file(&dir.join("run.toml"))
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        // What the file says has to count, so what it says is not a flag too.
        let flags = RawTrain {
            model: flags.model.clone().filter(|_| file.model.is_none()),
            data: flags.data.clone().filter(|_| file.data.is_none()),
            threads: flags.threads.filter(|_| file.threads.is_none()),
            ..flags.clone()
        };
        let prepared = Prepared::new(&flags, Some(file), false, &home)
            .unwrap_or_else(|error| panic!("{text}: {error:#}"));
        prepared.plan
    }
}
