//! From raw rows to a dataset, as somebody at a terminal does it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

use crate::command::Place;

/// Rows of which some should not be learnt as they are.
const ROWS: &str = r#"{"prompt": "How tall is the tower in the middle of the old town?", "completion": "About sixty metres, counted from the pavement to the tip of the spire."}
{"prompt": "How tall is the tower in the middle of the old town?", "completion": "About sixty metres, counted from the pavement to the tip of the spire. "}
{"prompt": "Who rings the bell?", "completion": ""}
{"prompt": "What is red and round?", "completion": "An apple."}
{"prompt": "What is long and yellow?", "completion": "A banana."}
{"prompt": "What is small and blue?", "completion": "A berry."}
{"prompt": "What barks at night?", "completion": "The dog next door."}
{"prompt": "What flies south?", "completion": "Geese, in autumn."}
not a row
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("rows.jsonl", ROWS);
    place
}

fn files(place: &Place, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(place.path(dir)).unwrap();
    let read = |path: std::path::PathBuf| {
        (
            path.file_name().unwrap().to_string_lossy().into_owned(),
            fs::read(&path).unwrap(),
        )
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

fn manifest(place: &Place, dir: &str) -> Value {
    serde_json::from_slice(&files(place, dir)["manifest.json"]).unwrap()
}

const BUILD: &str = "data build --from rows.jsonl --valid-share 0.2";

#[test]
fn a_build_says_what_left_and_why_and_the_same_inputs_give_the_same_bytes() {
    let place = place();
    place.write(
        "recipe.toml",
        "max-bad-rows = 0.5\nsplit = { valid = 0.2 }\n[[sources]]\nfiles = [\"rows.jsonl\"]\n",
    );
    let ran = place.ok("data build recipe.toml --out one");
    assert!(
        ran.stdout.contains("empty-reply (format): 1 set aside"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout
            .contains("exact-duplicate (duplicate): 1 set aside"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("unusable-row (format): 1 set aside"),
        "{}",
        ran.stdout
    );
    let mut one_thread = place.command("data build recipe.toml --out two");
    assert!(
        one_thread
            .env("RAYON_NUM_THREADS", "1")
            .output()
            .unwrap()
            .status
            .success()
    );
    let (one, two) = (files(&place, "one"), files(&place, "two"));
    for name in ["train.jsonl", "valid.jsonl", "findings.jsonl"] {
        assert_eq!(one[name], two[name], "{name}");
    }
    let note = &manifest(&place, "one")["note"];
    assert_eq!(note["counts"]["read"], 9);
    assert_eq!(note["counts"]["kept"], 6);
    assert_eq!(note["sides"]["valid"]["rows"], 2);
    assert_eq!(
        one["findings.jsonl"]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
        3
    );

    let again = place.ok("data build recipe.toml --out one");
    assert!(again.stderr.contains("byte for byte"), "{}", again.stderr);
    place.ok("data diff one two");
}

#[test]
fn building_a_dataset_from_itself_changes_nothing() {
    let place = place();
    place.write("recipe.toml", "max-bad-rows = 0.5\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[mix]\nweights = { rows = 1 }\n");
    place.ok("data build recipe.toml --out one");
    place.ok("data build --from one --out two");
    for name in ["train.jsonl", "valid.jsonl"] {
        assert_eq!(
            files(&place, "one")[name],
            files(&place, "two")[name],
            "{name}"
        );
    }
    assert_eq!(
        manifest(&place, "one")["note"]["content"],
        manifest(&place, "two")["note"]["content"]
    );
}

#[test]
fn one_changed_character_is_another_dataset_and_diff_names_the_row() {
    let place = place();
    place.write(
        "recipe.toml",
        "max-bad-rows = 0.5\n[[sources]]\nfiles = [\"rows.jsonl\"]\n",
    );
    place.ok("data build recipe.toml --out one");
    place.write(
        "rows.jsonl",
        &ROWS.replace("Geese, in autumn.", "Geese, in autumn!"),
    );
    place.ok("data build recipe.toml --out two");
    let content = |dir: &str| manifest(&place, dir)["note"]["content"].clone();
    assert_ne!(content("one"), content("two"));
    let ran = place.run("data diff one two");
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("Geese, in autumn!") && ran.stdout.contains("1 row only in the second"),
        "{}",
        ran.stdout
    );
    let refused = place.refusal("data build recipe.toml --out one");
    assert!(refused.contains("holds another dataset"), "{refused}");
}

#[test]
fn too_many_bad_rows_stop_a_build() {
    let place = place();
    let refused = place.refusal(&format!("{BUILD} --out one"));
    assert!(
        refused.contains("1 of 9 rows are unusable") && refused.contains("hint: "),
        "{refused}"
    );
    assert!(!place.path("one").exists());
}

#[test]
fn a_check_changes_nothing_and_its_exit_code_tells() {
    let place = place();
    place.write(
        "clean.jsonl",
        "{\"prompt\": \"What flies south?\", \"completion\": \"Geese, in autumn.\"}\n",
    );
    let ran = place.ok("data check clean.jsonl");
    assert_eq!(
        ran.stdout,
        "-      clean.jsonl: 1 row, prompt/completion, JSONL\n"
    );
    place.write(
        "double.jsonl",
        ROWS.lines().take(2).collect::<Vec<_>>().join("\n").as_str(),
    );
    let ran = place.run("data check double.jsonl --json");
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let finding: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(finding["rule"], "exact-duplicate");
}

#[test]
fn every_rule_tells_why_it_matters() {
    let place = place();
    let list = place.ok("data rules").stdout;
    assert!(
        list.contains("near-duplicate") && list.contains("empty-reply"),
        "{list}"
    );
    let page = place.ok("data rules near-duplicate").stdout;
    assert!(
        page.contains("## Why it matters") && page.contains("`threshold`"),
        "{page}"
    );
    let refused = place.refusal("data rules near-duplicat");
    assert!(
        refused.contains("did you mean `near-duplicate`?"),
        "{refused}"
    );
}

#[test]
fn rows_that_give_away_the_held_out_ones_stop_a_run_until_it_is_decided() {
    let place = Place::new();
    place.examples("rows.jsonl", 12);
    place.examples("held.jsonl", 3);
    const TRAIN: &str = "train --model {tied} --out run --dry-run --data";
    let refused = place.refusal(&format!("{TRAIN} rows.jsonl --valid held.jsonl"));
    assert!(
        refused.contains("3 findings wait for a decision before training: 3 of prompt-exact"),
        "{refused}"
    );
    assert!(
        refused.contains("--rule prompt-exact=drop") && !refused.contains("redact"),
        "{refused}"
    );
    place.ok(&format!(
        "{TRAIN} rows.jsonl --valid held.jsonl --rule leak=drop"
    ));
    place.ok(&format!("{TRAIN} rows.jsonl"));
}

#[test]
fn a_split_keeps_a_conversation_on_the_side_of_the_rows_that_ask_what_it_asks() {
    let place = Place::new();
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let row = |number: usize, goes_on: bool| {
        let mut turns = vec![
            turn("user", &format!("What is {number} and {number}?")),
            turn("assistant", &format!("It is {}.", 2 * number)),
        ];
        if goes_on {
            turns.push(turn("user", &format!("And {number} more?")));
            turns.push(turn("assistant", &format!("Then {}.", 3 * number)));
        }
        json!({ "messages": turns }).to_string() + "\n"
    };
    let rows: String = (0..20)
        .flat_map(|number| [row(number, false), row(number, true)])
        .collect();
    place.write("rows.jsonl", &rows);
    place.ok(
        "data build --from rows.jsonl --valid-share 0.3 --rule near-duplicate=report --out built",
    );
    let findings = fs::read_to_string(place.path("built/findings.jsonl")).unwrap();
    assert!(!findings.contains("prompt-exact"), "{findings}");
    let held_out = fs::read_to_string(place.path("built/valid.jsonl")).unwrap();
    assert_eq!(held_out.lines().count(), 12, "{held_out}");
}

#[test]
fn a_dataset_is_trained_on_as_it_is_unless_something_in_it_is_undecided() {
    let place = Place::new();
    place.examples("rows.jsonl", 12);
    place.examples("held.jsonl", 3);
    place.write(
        "recipe.toml",
        "[[sources]]\nfiles = [\"rows.jsonl\"]\nside = \"train\"\n[[sources]]\nfiles = [\"held.jsonl\"]\nside = \"valid\"\n[rules]\nduplicate = \"report\"\n",
    );
    let ran = place.run("data build recipe.toml --out open");
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("undecided: 3 of prompt-exact"),
        "{}",
        ran.stderr
    );
    let refused = place.refusal("train --model {tied} --out run --dry-run --data open");
    assert!(
        refused.contains("build it again into another directory, with `hone data build` and --rule prompt-exact=drop"),
        "{refused}"
    );
    place.ok("data build recipe.toml --rule leak=drop --out decided");
    let ran = place.ok("train --model {tied} --out run --dry-run --data decided");
    assert!(ran.stderr.contains("9 "), "{}", ran.stderr);
}

#[test]
fn a_benchmark_inside_a_longer_row_waits_for_a_decision() {
    let place = place();
    let question = "A farmer has seventeen sheep in the north field and nine goats in the south field, how many animals is that";
    place.write(
        "bench.jsonl",
        &format!("{{\"prompt\": \"{question}?\", \"completion\": \"26\"}}\n"),
    );
    let learnt = format!(
        "{{\"prompt\": \"Here is one for you. {}! Think.\", \"completion\": \"Twenty-six.\"}}\n",
        question.to_uppercase()
    );
    place.write(
        "rows.jsonl",
        &format!(
            "{}\n{learnt}",
            ROWS.lines().skip(3).take(5).collect::<Vec<_>>().join("\n")
        ),
    );
    const LOOK: &str = "data build --from rows.jsonl --benchmark bench.jsonl --valid-share 0";
    let ran = place.run(&format!("{LOOK} --out open"));
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("gpt3-13 (leak): 1 undecided"),
        "{}",
        ran.stdout
    );
    let ran = place.ok(&format!("{LOOK} --rule leak=drop --out clean"));
    assert_eq!(
        manifest(&place, "clean")["note"]["counts"]["set aside"],
        1,
        "{}",
        ran.stdout
    );
}

#[test]
fn personal_data_stops_a_run_until_it_is_redacted() {
    let place = Place::new();
    place.examples("rows.jsonl", 6);
    let rows = fs::read_to_string(place.path("rows.jsonl")).unwrap();
    let row =
        r#"{"instruction": "Whom do I ask?", "output": "Write to ana.berg@nordlicht-mail.de."}"#;
    place.write("rows.jsonl", &format!("{rows}{row}\n"));
    let train = "train --model {tied} --out run --dry-run --data rows.jsonl";
    let refused = place.refusal(train);
    assert!(
        refused.contains("1 finding waits for a decision before training: 1 of email"),
        "{refused}"
    );
    assert!(
        refused.contains("--rule email=redact") && !refused.contains("ana.berg"),
        "{refused}"
    );
    place.ok(&format!("{train} --rule personal-data=redact"));

    place
        .ok("data build --from rows.jsonl --valid-share 0 --rule personal-data=redact --out clean");
    let clean = files(&place, "clean");
    for (name, bytes) in &clean {
        assert!(
            !String::from_utf8_lossy(bytes).contains("ana.berg"),
            "{name}"
        );
    }
    assert!(String::from_utf8_lossy(&clean["train.jsonl"]).contains("Write to <EMAIL>."));

    place.write(
        "recipe.toml",
        "pseudonym-key = \"names.key\"\nsplit = { valid = 0.0 }\nrules = { email = \"pseudonymise\" }\n[[sources]]\nfiles = [\"rows.jsonl\"]\n",
    );
    place.ok("data build recipe.toml --out named");
    let named = files(&place, "named")["train.jsonl"].clone();
    let named = String::from_utf8_lossy(&named);
    assert!(
        named.contains("@example.com") && !named.contains("ana.berg"),
        "{named}"
    );
    assert!(
        fs::read_to_string(place.path("names.key"))
            .unwrap()
            .contains("ana.berg@nordlicht-mail.de")
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(place.path("names.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(
            mode & 0o777,
            0o600,
            "who stands behind a name is for its owner only"
        );
    }

    // What is in a file that is no key may be a secret of another kind.
    place.write("names.key", "\"hf_SECRET\"");
    let error = place.refusal("data build recipe.toml --out again");
    assert!(
        error.contains("names.key is not a pseudonym key: line 1") && !error.contains("SECRET"),
        "{error}"
    );
}

#[test]
fn a_mixture_that_cannot_be_reached_is_told_and_a_collection_without_a_weight_is_refused() {
    let place = Place::new();
    let rows = |what: &str, count: usize| -> String {
        let row = |number| {
            json!({ "prompt": format!("What is {what} number {number}?"), "completion": format!("It is {number}.") })
                .to_string()
                + "\n"
        };
        (0..count).map(row).collect()
    };
    place.write("a.jsonl", &rows("apple", 100));
    place.write("b.jsonl", &rows("berry", 5));
    let recipe = |weights: &str| {
        format!(
            "[[sources]]\nfiles = [\"a.jsonl\", \"b.jsonl\"]\n[split]\nvalid = 0.0\n[mix]\nweights = {{ {weights} }}\n"
        )
    };
    place.write("short.toml", &recipe("a = 1, b = 1"));
    let ran = place.ok("data build short.toml --out short");
    assert!(
        ran.stderr
            .contains("b gives 20 of the 53 rows asked for (max-repeats = 4)"),
        "{}",
        ran.stderr
    );
    place.write("unlisted.toml", &recipe("a = 1"));
    let refused = place.refusal("data build unlisted.toml --out unlisted");
    assert!(
        refused.contains("unlisted.toml:6: mix.weights has no weight for the collection b")
            && refused.contains("0 leaves it out"),
        "{refused}"
    );
    assert!(!place.path("unlisted").exists());
}

#[test]
fn a_family_that_is_switched_off_leaves_the_mixture_alone_and_a_contradiction_names_its_line() {
    let place = place();
    let recipe = |rules: &str| {
        format!(
            "max-bad-rows = 0.5\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[rules]\n{rules}\n[mix]\nweights = {{ rows = 1 }}\n"
        )
    };
    place.write("family.toml", &recipe("quality = \"off\""));
    place.ok("data build family.toml --out family");
    place.write("rule.toml", &recipe("mixed-out = \"off\""));
    let refused = place.refusal("data build rule.toml --out rule");
    assert!(
        refused.contains("rule.toml:5: the recipe asks to mix collections")
            && refused.contains("hint: take `mixed-out = \"off\"` out of [rules]"),
        "{refused}"
    );
    place.write("misspelt.toml", &recipe("near-duplicat = \"off\""));
    let refused = place.refusal("data build misspelt.toml --out rule");
    assert!(
        refused.contains("misspelt.toml:5: there is no rule and no family `near-duplicat`"),
        "{refused}"
    );
}

#[test]
fn a_benchmark_is_redacted_as_the_rows_are_so_that_a_leak_does_not_hide() {
    let place = Place::new();
    let row = |reply: &str| {
        json!({ "prompt": "Mail olga.berg@kranich-it.ch now", "completion": reply }).to_string()
            + "\n"
    };
    place.write("rows.jsonl", &row("fine"));
    place.write("bench.jsonl", &row("ok"));
    for action in ["redact", "report"] {
        let ran = place.run(&format!(
            "data check --from rows.jsonl --benchmark bench.jsonl --rule personal-data={action}"
        ));
        assert!(
            ran.stdout.contains("prompt-exact (leak): 1 "),
            "{action}: {}",
            ran.stdout
        );
    }
}
