//! From raw rows to a dataset, as somebody at a terminal does it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

use crate::command::Place;

/// Rows of which some should not be trained on as they are.
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
        ran.stdout.contains("empty-reply (format): 1 dropped"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout
            .contains("exact-duplicate (duplicate): 1 dropped"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("unusable-row (format): 1 dropped"),
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
        "[[sources]]\nfiles = [\"rows.jsonl\"]\nside = \"train\"\n[[sources]]\nfiles = [\"held.jsonl\"]\nside = \"valid\"\n[rules]\nduplicate = \"report\"\nprompt-exact = \"ask\"\n",
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
    place.ok("data build recipe.toml --rule prompt-exact=drop --out decided");
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
    let supervised = format!(
        "{{\"prompt\": \"Here is one for you. {}! Think.\", \"completion\": \"Twenty-six.\"}}\n",
        question.to_uppercase()
    );
    place.write(
        "rows.jsonl",
        &format!(
            "{}\n{supervised}",
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
        manifest(&place, "clean")["note"]["counts"]["dropped"],
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

/// Words that are made up, the same ones for the same number.
pub(crate) fn made_up(number: usize, words: usize) -> String {
    let mut state = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut word = || -> String {
        let syllables = 2 + next(2);
        let mut syllable = || {
            let (a, b) = (next(17) as usize, next(5) as usize);
            [&"bcdfghjklmnprstvz"[a..=a], &"aeiou"[b..=b]].concat()
        };
        (0..syllables).map(|_| syllable()).collect()
    };
    (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn asked(prompt: &str, reply: &str) -> String {
    json!({ "prompt": prompt, "completion": reply }).to_string() + "\n"
}

fn num_lines(place: &Place, file: &str) -> usize {
    fs::read_to_string(place.path(file))
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn a_test_set_does_not_shrink_and_the_training_rows_that_repeat_it_leave_as_contamination() {
    let place = Place::new();
    let row = |number: usize| asked(&made_up(number, 12), &made_up(number + 500, 12));
    let rows: String = (0..30).map(row).collect();
    // Ten rows of the test are trained on, one of them with a typing error; two rows of the test are the same.
    let test: String = (20..34).map(row).chain([row(33)]).collect();
    place.write("rows.jsonl", &(rows + &row(31).replacen("b", "bb", 1)));
    place.write("held.jsonl", &test);
    place.write(
        "recipe.toml",
        "[[sources]]\nfiles = [\"rows.jsonl\"]\n[[sources]]\nfiles = [\"held.jsonl\"]\nside = \"test\"\n[split]\nvalid = 0.0\n",
    );
    let ran = place.ok("data build recipe.toml --out built");
    assert_eq!(num_lines(&place, "built/test.jsonl"), 15);
    assert_eq!(num_lines(&place, "built/train.jsonl"), 20, "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("contaminated: 11 of the training rows repeat evaluation rows")
            && ran.stdout.contains("exact-duplicate 10"),
        "{}",
        ran.stdout
    );
}

#[test]
fn all_rows_count_for_a_benchmark_also_those_that_fall_to_the_validation_share() {
    let place = Place::new();
    let row = |number: usize, reply: usize| asked(&made_up(number, 12), &made_up(reply, 12));
    let rows: String = (0..40).map(|number| row(number, number + 500)).collect();
    let bench: String = (0..40).map(|number| row(number, number + 900)).collect();
    place.write("rows.jsonl", &rows);
    place.write("bench.jsonl", &bench);
    let ran = place.run(
        "data check --from rows.jsonl --benchmark bench.jsonl --valid-share 0.5 --rule prompt-exact=report",
    );
    assert!(
        ran.stdout.contains("prompt-exact (leak): 40 reported"),
        "{}",
        ran.stdout
    );
}

/// Rows of kinds that belong together: whatever part of them is held out, something of it is in another row.
fn related_rows(seed: usize) -> String {
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let mut rows = String::new();
    for family in 20 * seed..20 * (seed + 1) {
        let text = |number: usize, words: usize| made_up(1000 * (family + 1) + number, words);
        let talk = |turns: Vec<Value>| json!({ "messages": turns }).to_string() + "\n";
        let asked =
            |prompt: &str, reply: &str| talk(vec![turn("user", prompt), turn("assistant", reply)]);
        let exchange = |number: usize| {
            [
                turn("user", &text(number, 10)),
                turn("assistant", &text(number + 50, 14)),
            ]
        };
        // Beginnings of one conversation.
        rows += &talk(exchange(1).to_vec());
        rows += &talk([exchange(1), exchange(2)].concat());
        // The same prompt, answered twice and under another system turn.
        rows += &asked(&text(3, 9), &text(4, 12));
        rows += &asked(&text(3, 9), &text(5, 12));
        let system = [turn("system", &text(6, 8)), turn("user", &text(3, 9))];
        rows += &talk([&system[..], &[turn("assistant", &text(7, 12))]].concat());
        // Other questions about one passage, and other wishes about one document.
        for question in 0..3 {
            rows += &asked(
                &format!("Read this. {} {}?", text(8, 40), text(10 + question, 8)),
                &text(20 + question, 6),
            );
            rows += &asked(
                &format!("{}: {}", text(30 + question, 4), text(9, 40)),
                &text(40 + question, 12),
            );
        }
        // A reworded prompt.
        let prompt = text(70, 12);
        let reworded = prompt.replacen(prompt.split(' ').nth(4).unwrap(), "otherwise", 1);
        rows += &asked(&prompt, &text(71, 12));
        rows += &asked(&format!("Please say {reworded}"), &text(72, 12));
        // One long answer, pieces of one text, rows of one group.
        rows += &asked(&text(80, 9), &text(81, 30));
        rows += &asked(&text(82, 9), &text(81, 30));
        let document = text(90, 60);
        let words: Vec<&str> = document.split(' ').collect();
        rows += &asked(&text(91, 9), &words[..40].join(" "));
        rows += &asked(&text(92, 9), &words[20..].join(" "));
    }
    rows
}

/// What a check of a dataset finds between its sides.
fn between_sides(place: &Place, dataset: &str) -> String {
    let ran = place.run(&format!("data check {dataset} --json"));
    let findings = ran.stdout.lines();
    let between: Vec<&str> = findings
        .filter(|line| {
            line.starts_with("{\"rule\"")
                && (line.contains("\"leak\"") || line.contains("\"against\""))
        })
        .collect();
    between.join("\n")
}

#[test]
fn a_build_finds_nothing_across_its_own_sides() {
    let place = Place::new();
    place.write("rows.jsonl", &related_rows(0));
    place.ok("data build --from rows.jsonl --valid-share 0.3 --out built");
    assert!(num_lines(&place, "built/valid.jsonl") > 20);
    assert_eq!(between_sides(&place, "built"), "");
}

#[test]
fn a_choice_and_a_mixture_make_no_leaks_between_the_sides() {
    let place = Place::new();
    let task = |number: usize| {
        let instruction = "Sort the following message into one of the classes that the service desk of the harbour works with and say only the class";
        asked(
            &format!("{instruction}: {}", made_up(number, 10)),
            &made_up(number + 7000, 3),
        )
    };
    for seed in 0..3 {
        place.write("a.jsonl", &related_rows(seed));
        let template: String = (0..30).map(|number| task(100 * seed + number)).collect();
        place.write("b.jsonl", &template);
        let sources = "[[sources]]\nfiles = [\"a.jsonl\", \"b.jsonl\"]\n[split]\nvalid = 0.3\n";
        let head = format!("seed = {seed}\n");
        place.write(
            "mix.toml",
            &format!("{head}{sources}[mix]\nweights = {{ a = 1, b = 0.05 }}\n"),
        );
        let select = format!(
            "model = \"{}\"\n{head}{sources}[select]\nrows = 60\n",
            crate::command::model("tiny-llama-tied")
        );
        place.write("select.toml", &select);
        for recipe in ["mix", "select"] {
            let out = format!("{recipe}{seed}");
            place.ok(&format!("data build {recipe}.toml --out {out}"));
            assert!(num_lines(&place, &format!("{out}/valid.jsonl")) > 20);
            assert_eq!(between_sides(&place, &out), "", "{out}");
        }
    }
}

#[test]
fn what_leaves_as_a_copy_stands_beside_what_stays() {
    let place = Place::new();
    let text =
        "The ferry leaves the old harbour shortly after the fishermen return with their nets.";
    let rows = asked(
        text,
        "It carries parcels for the islands and a few passengers.",
    ) + &asked(
        &text.replace("fishermen", "fishremen"),
        "It carries parcels for the islands and a few passengers!",
    );
    place.write("rows.jsonl", &rows);
    let ran = place.run("data check rows.jsonl");
    assert!(
        ran.stdout.contains("⟦fishremen⟧") && ran.stdout.contains("stays:"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_class_of_which_much_leaves_is_warned_of_with_the_labels_before_and_after() {
    let place = Place::new();
    let rows: String = (0..40)
        .map(|number| {
            let label = if number % 2 == 0 { "ham" } else { "spam" };
            // Nine of ten spam rows are one.
            let told = if label == "spam" && number > 4 {
                1
            } else {
                number
            };
            asked(&made_up(told, 9), label)
        })
        .collect();
    place.write("rows.jsonl", &rows);
    let ran = place.ok("data build --from rows.jsonl --valid-share 0 --out built");
    assert!(
        ran.stderr.contains("of the rows answered `spam` left")
            && ran.stdout.contains("  ham: 20, 20")
            && ran.stdout.contains("  spam: 20, 2"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn a_split_that_came_with_the_rows_can_be_made_anew() {
    let place = Place::new();
    let row = |number: usize, reply: usize| asked(&made_up(number, 12), &made_up(reply, 12));
    let rows: String = (0..20).map(|number| row(number, number + 500)).collect();
    // The same prompts with other answers.
    let valid: String = (0..4).map(|number| row(number, number + 900)).collect();
    place.write("train.jsonl", &rows);
    place.write("valid.jsonl", &valid);
    const BUILD: &str = "data build --from train.jsonl valid.jsonl --rule prompt-exact=ask";
    let ran = place.run(&format!("{BUILD} --out open"));
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("split train and validation rows anew")
            && ran.stdout.contains("validation row of your split"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    place.ok(&format!("{BUILD} --regroup --valid-share 0.3 --out anew"));
    assert_eq!(
        num_lines(&place, "anew/train.jsonl") + num_lines(&place, "anew/valid.jsonl"),
        24
    );
}

#[test]
fn a_licence_is_judged_wherever_it_is_declared() {
    let place = Place::new();
    place.write(
        "rows.jsonl",
        "{\"prompt\": \"What is red and round?\", \"completion\": \"An apple.\"}\n",
    );
    // By the recipe.
    place.write(
        "recipe.toml",
        "[[sources]]\nfiles = [\"rows.jsonl\"]\nlicence = \"CC-BY-NC-4.0\"\n[split]\nvalid = 0.0\n",
    );
    let ran = place.run("data build recipe.toml --out one");
    let said = "restrictive-licence (licence): 1 undecided";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
    assert!(
        String::from_utf8_lossy(&files(&place, "one")["findings.jsonl"])
            .contains("declared under the licence CC-BY-NC-4.0: it is not for commercial use"),
    );
    // By the card of a dataset, and by a row, which knows better.
    fs::create_dir(place.path("hub")).unwrap();
    place.write("hub/README.md", "---\nlicense: gpl-3.0\n---\n# Rows\n");
    place.write(
        "hub/train.jsonl",
        "{\"prompt\": \"What is long and yellow?\", \"completion\": \"A banana.\"}\n\
         {\"prompt\": \"What is small and blue?\", \"completion\": \"A berry.\", \"license\": \"mit\"}\n",
    );
    let ran = place.run("data check --from hub --json");
    assert!(
        ran.stdout.contains("declared under the licence gpl-3.0"),
        "{}",
        ran.stdout
    );
    let built = place.run("data build --from hub --valid-share 0 --out two");
    assert!(built.stdout.contains(said), "{}", built.stdout);
    let train = String::from_utf8_lossy(&files(&place, "two")["train.jsonl"]).into_owned();
    assert!(
        train.contains("\"licence\":\"gpl-3.0\"") && train.contains("\"licence\":\"mit\""),
        "{train}"
    );
    // The same on the way of `hone train`, where nobody has decided.
    let refusal = place.refusal("train --dry-run --model {tied} --data hub");
    assert!(refusal.contains("restrictive-licence"), "{refusal}");
}
