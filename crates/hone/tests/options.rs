//! Every option of `hone train` does something: it changes what will be computed, or is known to change only where or how.

use hone::base::Home;
use hone::plan::{MAY_CHANGE, RawTrain, TrainPlan, option_names, options_page};
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
/// tables, and hone-data's `tests/keys.rs` rows with such keys.
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

/// A key of a run file that is not what is assumed where nothing is said, and what it has to be compared with.
fn other(name: &str, dir: &Path) -> Option<(String, String)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    let model = |name: &str| format!("{:?}", fixtures.join(name).display().to_string());
    let path = |name: &str| format!("{:?}", dir.join(name).display().to_string());
    let switch = || {
        let source = "{{ '!' if loud else '' }}{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
        std::fs::write(dir.join("switch.jinja"), source).unwrap();
        format!("chat-template = {}", path("switch.jinja"))
    };
    let value = match name {
        "model" => model("tiny-llama-untied"),
        "chat-template" => "\"chatml\"".into(),
        "template-option" => format!("[\"loud=true\"]\n{}", switch()),
        "data" => format!("[{}]", path("other.jsonl")),
        "valid" => path("other.jsonl"),
        "valid-share" => "0.3".into(),
        "rule" => "[\"exact-duplicate=drop\"]".into(),
        "method" => "\"qlora\"".into(),
        "rank" => "4".into(),
        "alpha" => "8".into(),
        "targets" => "[\"q_proj\"]".into(),
        "exclude" => "[\"q_proj\"]".into(),
        "rank-pattern" => "[\"q_proj=2\"]".into(),
        "alpha-pattern" => "[\"q_proj=2\"]".into(),
        "layers" => "\"1-\"".into(),
        "dropout" => "0.1".into(),
        "regroup" => format!("true\nvalid = {}", path("other.jsonl")),
        "rslora" | "dora" | "ia3" => "true".into(),
        "lora-plus" => "4.0".into(),
        "init" => "\"olora\"".into(),
        "bias" => format!("\"adapted\"\nmodel = {}", model("tiny-llama-bias")),
        "modules-to-save" => "[\"embed_tokens\"]".into(),
        "token-rows" => "[5]".into(),
        "new-tokens" => "[\"<part>\"]".into(),
        "feed-forward" => {
            "[\"up_proj\"]\nia3 = true\ntargets = [\"up_proj\", \"down_proj\"]".into()
        }
        "epochs" => "3".into(),
        "minutes" => "0.000001".into(),
        "optimizer" => "\"adamw8bit\"".into(),
        "lr" => "0.0003".into(),
        "schedule" => "\"constant\"".into(),
        "warmup-ratio" => "0.5".into(),
        "batch-size" => "4".into(),
        "accumulate" => "2".into(),
        "max-length" => "60".into(),
        "too-long" => "\"truncate\"\nmax-length = 60".into(),
        "clip" => "0.3".into(),
        "weight-decay" => "0.1".into(),
        "eval-every" => "7".into(),
        "save-every" => "7".into(),
        "seed" => "1".into(),
        "memory" => {
            // Enough for the program, which is larger in some builds, and too little to keep what a step computed.
            let needed = plans(dir)("").memory.bytes as f64;
            format!("\"{:.1}MB\"", needed / 1e6 - 0.3)
        }
        "activations" => "\"bf16\"".into(),
        "without" => "[\"last-layer\"]".into(),
        _ => return None,
    };
    let plain = match name {
        "regroup" => format!("valid = {}", path("other.jsonl")),
        "bias" => format!("model = {}", model("tiny-llama-bias")),
        "template-option" => switch(),
        "feed-forward" => "ia3 = true\ntargets = [\"up_proj\", \"down_proj\"]".into(),
        "too-long" => "max-length = 60".into(),
        _ => String::new(),
    };
    Some((format!("{name} = {value}\n"), plain))
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
    let unknown: Vec<&str> = MAY_CHANGE
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !option_names().iter().any(|option| option == name))
        .collect();
    assert!(unknown.is_empty(), "no options: {unknown:?}");
    for name in option_names() {
        let is_free = MAY_CHANGE.iter().any(|(free, _)| *free == name);
        // It counts by the day that is printed, and this base prints none.
        if is_free || name == "date" {
            continue;
        }
        let Some((asked, plain)) =
            other(&name, place.path()).or_else(|| about_files(&name, place.path()))
        else {
            panic!("--{name} is new: say here what it changes");
        };
        assert_ne!(
            plan(&asked).identity,
            plan(&plain).identity,
            "a checkpoint made with another --{name} would be taken for one of this run"
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
    for name in option_names() {
        let is_known = BY_NATURE.iter().any(|(known, _)| *known == name);
        if is_known || ABOUT_FILES.contains(&name.as_str()) {
            continue;
        }
        let Some((asked, plain)) = other(&name, dir) else {
            panic!("--{name} is new: say here what it changes, or why it changes no number");
        };
        assert_ne!(plan(&asked), plan(&plain), "--{name} changes nothing");
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
