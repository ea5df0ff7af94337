//! Sides of a dataset stay sides: folders as the Hub, mlx-lm, LLaMA-Factory and `save_to_disk` lay them out.

use std::fs;
use std::path::Path;

use crate::command::{Place, Ran, fixtures};

/// Rows of prompt and completion that say where they stand.
fn rows(side: &str, count: usize) -> String {
    let row =
        |n: usize| format!("{{\"prompt\": \"{side} {n}?\", \"completion\": \"{side} {n}.\"}}\n");
    (0..count).map(row).collect()
}

fn write(place: &Place, name: &str, text: &str) {
    fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
    place.write(name, text);
}

fn mlx(place: &Place) {
    for (side, count) in [("train", 12), ("valid", 4), ("test", 3)] {
        write(place, &format!("mlx/{side}.jsonl"), &rows(side, count));
    }
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim);
    let is_named = |line: &&str| {
        let note = line
            .strip_prefix("note: ")
            .and_then(|note| note.strip_prefix(name));
        let rest = line.strip_prefix(name);
        note.is_some_and(|rest| rest.starts_with(':'))
            || rest.is_some_and(|rest| rest.starts_with("  "))
    };
    lines
        .find(is_named)
        .unwrap_or_else(|| panic!("no line `{name}` in {text}"))
}

fn run_json(place: &Place, out: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(place.path(out).join("run.json")).unwrap()).unwrap()
}

#[test]
fn training_takes_the_training_side_validates_on_the_validation_side_and_leaves_the_test() {
    let place = Place::new();
    mlx(&place);
    let ran = place.ok("train --model {tied} --data mlx --out run --epochs 1");
    assert!(
        line(&ran.stderr, "training set").contains("12 examples"),
        "{}",
        ran.stderr
    );
    let held_out = line(&ran.stderr, "validation set");
    assert!(
        held_out.contains("4 examples of mlx/valid.jsonl, the validation side"),
        "{held_out}"
    );
    let test = line(&ran.stderr, "test");
    assert!(
        test.contains("mlx/test.jsonl: left for `hone eval`"),
        "{test}"
    );
    let data = &run_json(&place, "run")["data"];
    assert_eq!(data["files"].as_array().unwrap().len(), 2);
    assert_eq!(data["files"][0]["side"], "train");
    // Files named together have sides as well, and so have those of a pattern.
    for data in [
        "'mlx/*.jsonl'",
        "mlx/train.jsonl mlx/valid.jsonl mlx/test.jsonl",
    ] {
        let ran = place.ok(&format!("train --model {{tied}} --data {data} --dry-run"));
        assert!(
            line(&ran.stderr, "training set").contains("12 examples"),
            "{}",
            ran.stderr
        );
        assert!(
            line(&ran.stderr, "test").contains("left for"),
            "{}",
            ran.stderr
        );
    }
    // What the user says wins.
    let ran = place.ok("train --data mlx --valid mlx/test.jsonl --dry-run");
    assert!(
        line(&ran.stderr, "validation set").contains("3 examples of mlx/test.jsonl"),
        "{}",
        ran.stderr
    );
    assert!(
        line(&ran.stderr, "not read").contains("mlx/valid.jsonl"),
        "{}",
        ran.stderr
    );
    let ran = place.ok("train --data mlx --side test=train --dry-run");
    assert!(
        line(&ran.stderr, "training set").contains("15 rows"),
        "{}",
        ran.stderr
    );
    let ran = place.ok("train --data mlx/test.jsonl --valid-share 0 --dry-run");
    assert!(
        line(&ran.stderr, "training set").contains("3 rows"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_only_the_user_knows_is_asked_for_with_the_flag_that_answers() {
    let place = Place::new();
    mlx(&place);
    write(&place, "mlx/forget.jsonl", &rows("forget", 2));
    let refusal = place.refusal("train --model {tied} --data mlx --out run");
    assert!(
        refusal.contains("mlx/forget.jsonl: nothing says which side it is"),
        "{refusal}"
    );
    assert!(
        refusal.contains("hint: --side forget=train, or =valid, =test, =skip"),
        "{refusal}"
    );
    let ran = place.ok("train --data mlx --side forget=skip --dry-run");
    assert!(
        line(&ran.stderr, "training set").contains("12 rows"),
        "{}",
        ran.stderr
    );
    let slip = place.refusal("train --data mlx --side forgte=skip --dry-run");
    assert!(
        slip.contains("--side forgte: nothing is called so"),
        "{slip}"
    );
    assert!(slip.contains("did you mean --side forget?"), "{slip}");
    write(&place, "only/test.jsonl", &rows("test", 2));
    let refusal = place.refusal("train --model {tied} --data only --out run");
    assert!(refusal.contains("no files to train on"), "{refusal}");
    assert!(refusal.contains("--side test.jsonl=train"), "{refusal}");
}

#[test]
fn a_build_keeps_each_row_on_the_side_of_its_file() {
    let place = Place::new();
    mlx(&place);
    place.ok("data build --from mlx --out built");
    let rows = |side: &str| {
        let text = fs::read_to_string(place.path(&format!("built/{side}.jsonl"))).unwrap();
        // All rows are of one task, which has the folder's name.
        assert_eq!(
            text.matches("\"task\":\"mlx\"").count(),
            text.lines().count()
        );
        let count = |side: &str| {
            let of_side = |line: &&str| line.contains(&format!("\"{side} "));
            text.lines().filter(of_side).count()
        };
        (count("train"), count("valid"), count("test"))
    };
    assert_eq!(rows("train"), (12, 0, 0));
    assert_eq!(rows("valid"), (0, 4, 0));
    assert_eq!(rows("test"), (0, 0, 3));
    // A recipe's `side` says it for all.
    place.write(
        "recipe.toml",
        "split = { valid = 0.0 }\n[[sources]]\nfiles = [\"mlx\"]\nside = \"train\"\n",
    );
    place.ok("data build recipe.toml --out all");
    assert_eq!(
        fs::read_to_string(place.path("all/train.jsonl"))
            .unwrap()
            .lines()
            .count(),
        19
    );
    // Sides are sides also where each is a source of its own.
    place.write(
        "two.toml",
        "split = { valid = 0.0 }\n[[sources]]\nfiles = [\"mlx/train.jsonl\"]\n[[sources]]\nfiles = [\"mlx/test.jsonl\"]\n",
    );
    place.ok("data build two.toml --out two");
    assert_eq!(
        fs::read_to_string(place.path("two/test.jsonl"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    // What was built is judged by its test side, and a folder too.
    for data in ["built", "mlx"] {
        let ran = place.ok(&format!(
            "eval --model {{tied}} --data {data} --max-tokens 4 --json"
        ));
        assert_eq!(ran.json()["tasks"]["mlx"]["rows"], 3, "{}", ran.stdout);
        assert!(ran.stderr.contains("test side"), "{}", ran.stderr);
    }
    let ran = place.ok("eval --model {tied} --data mlx --split valid --max-tokens 4 --json");
    assert_eq!(ran.json()["tasks"]["mlx"]["rows"], 4, "{}", ran.stdout);
}

#[test]
fn a_row_of_the_test_side_among_those_to_train_on_is_found() {
    let place = Place::new();
    write(
        &place,
        "leaky/train.jsonl",
        &(rows("train", 9) + &rows("test", 1)),
    );
    write(
        &place,
        "leaky/test.jsonl",
        &rows("test", 3).replace("0.", "zero."),
    );
    let ran = place.run("data check leaky");
    assert_eq!(ran.code, 4);
    assert!(ran.stdout.contains("prompt-exact"), "{}", ran.stdout);
    // Training does not read the test side but for this.
    let refusal = place.refusal("train --model {tied} --data leaky --out run");
    assert!(refusal.contains("1 of prompt-exact"), "{refusal}");
    assert!(refusal.contains("--rule prompt-exact=drop"), "{refusal}");
    let ran = place.ok("train --model {tied} --data leaky --rule leak=drop --out run --dry-run");
    assert!(
        line(&ran.stderr, "training set").contains("1 row skipped"),
        "{}",
        ran.stderr
    );
}

#[test]
fn of_rows_on_two_sides_that_say_the_same_the_held_out_one_stays() {
    let place = Place::new();
    write(
        &place,
        "twins/train.jsonl",
        &(rows("train", 9) + &rows("test", 2)),
    );
    write(&place, "twins/test.jsonl", &rows("test", 3));
    let ran = place.ok("data build --from twins --out built");
    assert!(ran.stdout.contains("exact-duplicate"), "{}", ran.stdout);
    let count = |side: &str| {
        let text = fs::read_to_string(place.path(&format!("built/{side}.jsonl"))).unwrap();
        (text.lines().count(), text.matches("\"test ").count())
    };
    let (train, valid) = (count("train"), count("valid"));
    assert_eq!((train.0 + valid.0, train.1 + valid.1), (9, 0));
    assert_eq!(count("test").0, 3);
    let refusal = place.refusal("train --model {tied} --data twins --out run");
    assert!(refusal.contains("2 of prompt-exact"), "{refusal}");
}

fn check(place: &Place, folder: &str) -> Ran {
    let ran = place.run(&format!("data check {folder}"));
    assert!(ran.code == 0 || ran.code == 4, "{}", ran.stderr);
    ran
}

/// Lines of `data check` about files: side and name.
fn sides(ran: &Ran) -> Vec<(String, String)> {
    let lines = ran.stdout.lines().take_while(|line| !line.contains("): "));
    lines
        .filter_map(|line| {
            let (side, rest) = line.split_once("  ")?;
            let file = rest.trim().split(": ").next()?;
            let name = Path::new(file).iter().rev().take(2).collect::<Vec<_>>();
            let name: Vec<_> = name
                .iter()
                .rev()
                .map(|part| part.to_string_lossy())
                .collect();
            Some((side.trim().to_owned(), name.join("/")))
        })
        .collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(side, file)| ((*side).to_owned(), (*file).to_owned()))
        .collect()
}

#[test]
fn data_check_says_which_side_each_file_of_every_layout_is() {
    let place = Place::new();
    mlx(&place);
    assert_eq!(
        sides(&check(&place, "mlx")),
        owned(&[
            ("test", "mlx/test.jsonl"),
            ("train", "mlx/train.jsonl"),
            ("valid", "mlx/valid.jsonl")
        ])
    );
    write(
        &place,
        "hub/data/train-00000-of-00001.jsonl",
        &rows("train", 5),
    );
    write(&place, "hub/data/more.jsonl", &rows("test", 3));
    write(
        &place,
        "hub/dataset_infos.json",
        "{\"default\": {\"splits\": {}}}",
    );
    write(
        &place,
        "hub/README.md",
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n  - split: test\n    path: data/more.jsonl\n---\n# A card\n",
    );
    let hub = check(&place, "hub");
    assert_eq!(
        sides(&hub)[..2],
        owned(&[
            ("train", "data/train-00000-of-00001.jsonl"),
            ("test", "data/more.jsonl")
        ])
    );
    assert!(hub.stdout.contains("README.md)"), "{}", hub.stdout);
    write(
        &place,
        "factory/a.json",
        &format!("[{}]", rows("a", 4).trim().replace('\n', ",")),
    );
    write(
        &place,
        "factory/b.json",
        "[{\"q\": \"one?\", \"a\": \"one.\"}]",
    );
    write(
        &place,
        "factory/dataset_info.json",
        "{\"my_train\": {\"file_name\": \"a.json\", \"columns\": {\"prompt\": \"prompt\", \"response\": \"completion\"}}, \"my_test\": {\"file_name\": \"b.json\", \"columns\": {\"prompt\": \"q\", \"response\": \"a\"}}}",
    );
    assert_eq!(
        sides(&check(&place, "factory"))[..2],
        owned(&[("train", "factory/a.json"), ("test", "factory/b.json")])
    );
    let saved = fixtures().join("rows/saved/chats");
    assert_eq!(
        sides(&check(&place, &format!("'{}'", saved.display())))[..2],
        owned(&[
            ("test", "test/data-00000-of-00001.arrow"),
            ("train", "train/data-00000-of-00001.arrow")
        ])
    );
}

#[test]
fn columns_of_other_names_are_read_by_a_flag_on_every_command() {
    let place = Place::new();
    let table: String = (0..10)
        .map(|n| format!("{n},What is {n}?,It is {n}.\n"))
        .collect();
    place.write("table.csv", &format!("nr,question,answer\n{table}"));
    let refusal = place.refusal("train --model {tied} --data table.csv --out run");
    let flags = "--column prompt=question --column completion=answer";
    assert!(refusal.contains(flags), "{refusal}");
    let ran = place.ok(&format!(
        "train --model {{tied}} --data table.csv {flags} --out run"
    ));
    assert!(
        line(&ran.stderr, "training set").contains("9 examples"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        run_json(&place, "run")["asked"]["column"][0],
        "prompt=question"
    );
    place.ok(&format!(
        "eval --model {{tied}} --data table.csv {flags} --max-tokens 2"
    ));
    let shown = place.ok(&format!("data show table.csv {flags} --rows 1"));
    assert!(
        shown.stdout.contains("What is 0?") && shown.stdout.contains("10 rows"),
        "{}",
        shown.stdout
    );
    check(&place, &format!("table.csv {flags}"));
    place.ok(&format!("data build --from table.csv {flags} --out built"));
    place.write(
        "run.toml",
        "data = [\"table.csv\"]\ncolumn = [\"prompt=question\", \"completion=answer\"]\n",
    );
    place.ok("train run.toml --dry-run");
    let slip = place.refusal("train --data table.csv --column promt=question --dry-run");
    assert!(slip.contains("did you mean `prompt`?"), "{slip}");
}

#[test]
fn the_only_usable_row_is_trained_on_and_small_sets_say_what_is_held_out() {
    let place = Place::new();
    let long = "word ".repeat(1500);
    place.write(
        "rows.jsonl",
        &format!("{{\"prompt\": \"Tell\", \"completion\": \"{long}\"}}\n{{\"prompt\": \"hi\", \"completion\": \"ho\"}}\n"),
    );
    let ran = place.ok("train --model {tied} --data rows.jsonl --out run");
    assert!(
        line(&ran.stderr, "training set").contains("1 example,"),
        "{}",
        ran.stderr
    );
    assert!(
        line(&ran.stderr, "training set").contains("1 row skipped"),
        "{}",
        ran.stderr
    );
    assert!(
        line(&ran.stderr, "validation set").contains("1 row is too few"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("rows.jsonl:1: ") && ran.stderr.contains("tokens long"),
        "{}",
        ran.stderr
    );
    place.write("three.jsonl", &rows("three", 3));
    let ran = place.ok("train --model {tied} --data three.jsonl --dry-run");
    assert!(
        line(&ran.stderr, "validation set").contains("1 example, 33.3 % of 3"),
        "{}",
        ran.stderr
    );
    place.write(
        "long.jsonl",
        &format!("{{\"prompt\": \"Tell\", \"completion\": \"{long}\"}}\n"),
    );
    let refusal = place.refusal("train --model {tied} --data long.jsonl --out other");
    assert!(refusal.contains("none of the 1 rows"), "{refusal}");
    assert!(
        refusal.contains("--max-length") && refusal.contains("tokens long"),
        "{refusal}"
    );
}

#[test]
fn rules_say_what_can_be_done_and_what_was_meant() {
    let place = Place::new();
    place.write("rows.jsonl", &rows("row", 3));
    let refusal = |rule: &str| {
        place.refusal(&format!(
            "data build --from rows.jsonl --out x --rule {rule}"
        ))
    };
    assert!(refusal("persnal-data=drop").contains("did you mean `personal-data`?"));
    assert!(refusal("personal-data=allow").contains("--rule 'personal-data=allow:REASON'"));
    place.write("file", "");
    let unwritable = place.refusal("data build --from rows.jsonl --out file/x");
    assert!(
        unwritable.contains("file/x cannot be made: file is not a directory"),
        "{unwritable}"
    );
}

/// What a refusal proposes, typed as it stands.
fn first_side_of(stderr: &str) -> String {
    let (_, after) = stderr.split_once("--side ").expect(stderr);
    after
        .split_whitespace()
        .next()
        .expect(stderr)
        .trim_end_matches(',')
        .to_owned()
}

#[test]
fn the_side_that_a_hint_names_is_that_of_the_doubtful_file_alone() {
    let place = Place::new();
    for side in ["train", "test", "gold"] {
        write(&place, &format!("s/{side}/data.jsonl"), &rows(side, 6));
    }
    let ran = place.run("train --model {tied} --valid-share 0 --data s --dry-run");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let said = first_side_of(&ran.stderr);
    assert_eq!(said, "gold=train");
    let ran = place.ok(&format!(
        "train --model {{tied}} --valid-share 0 --data s --side {said} --dry-run"
    ));
    assert!(
        line(&ran.stderr, "training set").contains("12 examples"),
        "{}",
        ran.stderr
    );
    assert!(
        line(&ran.stderr, "test").contains("s/test/data.jsonl"),
        "{}",
        ran.stderr
    );

    write(&place, "t/train_data/train/train.jsonl", &rows("train", 6));
    write(&place, "t/train_data/test/train.jsonl", &rows("test", 6));
    let ran = place.run("train --model {tied} --valid-share 0 --data t --dry-run");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(
        first_side_of(&ran.stderr),
        "train_data/test/train.jsonl=train"
    );
    let ran = place.ok("train --model {tied} --valid-share 0 --data t --side train_data/test/train.jsonl=test --dry-run");
    assert!(
        line(&ran.stderr, "training set").contains("6 examples"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_name_of_several_files_moves_none_of_them_from_its_known_side() {
    let place = Place::new();
    for side in ["train", "test", "gold"] {
        write(&place, &format!("s/{side}/data.jsonl"), &rows(side, 6));
    }
    for side in ["train", "test"] {
        let ran = place.run(&format!(
            "train --model {{tied}} --valid-share 0 --data s --side data={side} --dry-run"
        ));
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        for named in [
            "s/test/data.jsonl (test)",
            "s/gold/data.jsonl (of no known side)",
            "gold=",
        ] {
            assert!(ran.stderr.contains(named), "{named}: {}", ran.stderr);
        }
    }
    let ran = place.run("train --model {tied} --valid-share 0 --data s --side data=skip --dry-run");
    assert!(
        ran.stderr.contains("--side leaves out all"),
        "{}",
        ran.stderr
    );
    // A name that is more exact counts before one that means more.
    let ran = place.ok("train --model {tied} --valid-share 0 --data s --side data=skip --side gold/data.jsonl=train --dry-run");
    assert!(
        line(&ran.stderr, "training set").contains("6 examples"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_dataset_of_which_a_file_is_missing_is_refused_by_the_name_of_the_file() {
    let place = Place::new();
    let state = r#"{"_data_files": [{"filename": "data-00000-of-00002.jsonl"}, {"filename": "data-00001-of-00002.jsonl"}]}"#;
    for side in ["train", "test"] {
        write(
            &place,
            &format!("s/{side}/data-00000-of-00002.jsonl"),
            &rows(side, 6),
        );
        write(&place, &format!("s/{side}/state.json"), state);
    }
    write(
        &place,
        "s/train/data-00001-of-00002.jsonl",
        &rows("more", 6),
    );
    let card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: [a.jsonl, b.jsonl]\n---\n";
    write(&place, "c/README.md", card);
    write(&place, "c/a.jsonl", &rows("a", 6));
    write(
        &place,
        "d/README.md",
        "---\nconfigs:\n- config_name: x\n  data_dir: nowhere\n---\n",
    );
    write(&place, "d/a.jsonl", &rows("a", 6));
    for (folder, missing, who) in [
        ("s", "s/test/data-00001-of-00002.jsonl", "state.json"),
        ("c", "c/b.jsonl", "README.md"),
        ("d", "d/nowhere", "README.md"),
    ] {
        for command in [
            "train --model {tied} --dry-run --data",
            "data show",
            "data build --out built --from",
        ] {
            let ran = place.run(&format!("{command} {folder}"));
            assert_eq!(ran.code, 1, "{command}: {}", ran.stderr);
            let told = format!("{missing}: {who} names it, and it is not here");
            assert!(
                ran.stderr.contains(&told),
                "{command} {folder}: {}",
                ran.stderr
            );
        }
    }
    let ran = place.run("train --model {tied} --valid-share 0 --data s --dry-run");
    let said = first_side_of(&ran.stderr);
    let ran = place.ok(&format!(
        "train --model {{tied}} --valid-share 0 --data s --side {said} --dry-run"
    ));
    assert!(
        line(&ran.stderr, "training set").contains("12 examples"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_selection_of_rows_that_is_not_read_is_not_taken_for_all_of_them() {
    let place = Place::new();
    write(&place, "s/data.jsonl", &rows("a", 6));
    for key in ["_indices_files", "_indices_data_files"] {
        let state = format!(
            r#"{{"_data_files": [{{"filename": "data.jsonl"}}], "{key}": [{{"filename": "indices.arrow"}}]}}"#
        );
        write(&place, "s/state.json", &state);
        let ran = place.run("train --model {tied} --valid-share 0 --data s --dry-run");
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(
            ran.stderr.contains(key) && ran.stderr.contains("flatten_indices"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn names_of_configurations_are_read_as_they_are_written() {
    let place = Place::new();
    write(&place, "c/a.jsonl", &rows("a", 6));
    write(&place, "c/b.jsonl", &rows("b", 6));
    for name in ["no", "yes", "on", "2023", "1.0", "null"] {
        let card = format!(
            "---\nconfigs:\n- config_name: en\n  data_files: a.jsonl\n- config_name: {name}\n  data_files: b.jsonl\n---\n"
        );
        write(&place, "c/README.md", &card);
        let ran = place.run("train --data c --dry-run");
        let asks = format!("2 configurations and no default: en, {name}");
        assert!(ran.stderr.contains(&asks), "{name}: {}", ran.stderr);
        place.ok(&format!("train --data c --config {name} --dry-run"));
    }
}

#[test]
fn keys_beside_the_rows_of_a_document_refuse_it_or_are_listed() {
    let place = Place::new();
    let list: String = rows("a", 6).trim_end().replace('\n', ",");
    for (name, before, after, key) in [
        (
            "a.json",
            r#""system": "Always answer in French", "#,
            "",
            "system",
        ),
        (
            "b.json",
            "",
            r#", "system": "Always answer in French""#,
            "system",
        ),
    ] {
        let text = format!("{{{before}\"data\": [{list}]{after}, \"version\": \"1\"}}");
        place.write(name, &text);
        let ran = place.run(&format!("train --data {name} --dry-run"));
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let told = format!("`{key}` beside the rows");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        assert!(ran.stderr.contains("--ignore-key system"), "{}", ran.stderr);
        let ran = place.ok(&format!("data check {name} --ignore-key system"));
        let both = ran.stdout + &ran.stderr;
        assert!(both.contains("system, version"), "{both}");
    }
}

#[test]
fn a_list_named_as_another_side_is_not_trained_on() {
    let place = Place::new();
    let list: String = rows("a", 6).trim_end().replace('\n', ",");
    // The only list is the side that its name says, as a file of that name beside others is.
    place.write("one.json", &format!("{{\"test\": [{list}]}}"));
    let ran = place.run("train --data one.json --dry-run");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let told = "one.json (test) is test (by the name of its list)";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    for name in ["one.json", "test"] {
        let ran = place.ok(&format!(
            "train --data one.json --side {name}=train --dry-run"
        ));
        assert!(
            line(&ran.stderr, "data").contains("6 rows"),
            "{}",
            ran.stderr
        );
    }
    let ran = place.ok("eval --model {tied} --data one.json --max-tokens 2 --json");
    assert_eq!(ran.json()["count"]["read"], 6, "{}", ran.stdout);
    let ran = place.ok("data check one.json");
    assert!(
        ran.stdout.contains("test   one.json (test): 6 rows"),
        "{}",
        ran.stdout
    );
    place.write(
        "some.json",
        &format!("{{\"train\": [{list}], \"version\": 2}}"),
    );
    let ran = place.ok("data check some.json");
    assert!(
        ran.stdout.contains("train  some.json (train): 6 rows"),
        "{}",
        ran.stdout
    );
    place.ok("train --data some.json --dry-run");
    // Two names that contradict each other are for the user to settle.
    place.write("train.json", &format!("{{\"test\": [{list}]}}"));
    let refusal = place.refusal("train --data train.json --dry-run");
    assert!(
        refusal.contains("`test` is the name of a list of rows"),
        "{refusal}"
    );
    assert!(
        refusal.contains("--side test=test, or =valid, =train"),
        "{refusal}"
    );
    place.ok("train --data train.json --side test=train --dry-run");
    // A list of another name is read, and said; one row may have tests.
    place.write("data.json", &format!("{{\"instances\": [{list}]}}"));
    let ran = place.ok("data check data.json");
    assert!(
        ran.stderr.contains("its rows are the list `instances`"),
        "{}",
        ran.stderr
    );
    let row = "{\"prompt\": \"q\", \"completion\": \"a\", \"tests\": [{\"in\": 1}]}";
    place.write("row.json", row);
    let ran = place.ok("data check row.json");
    assert!(
        ran.stdout.contains("-      row.json: 1 row"),
        "{}",
        ran.stdout
    );
    // Several of them are sides, as the files of a folder are.
    let test: String = rows("b", 3).trim_end().replace('\n', ",");
    place.write(
        "two.json",
        &format!("{{\"train\": [{list}], \"test\": [{test}]}}"),
    );
    let ran = place.ok("train --data two.json --valid-share 0 --dry-run");
    let (data, left) = (line(&ran.stderr, "data"), line(&ran.stderr, "test"));
    assert!(data.contains("two.json (train) (6 rows"), "{data}");
    assert!(left.contains("two.json (test): left for"), "{left}");
    let ran = place.ok("eval --model {tied} --data two.json --max-tokens 2 --json");
    assert_eq!(ran.json()["count"]["read"], 3, "{}", ran.stdout);
    place.ok("data build --from two.json --out built");
    let built = fs::read_to_string(place.path("built/test.jsonl")).unwrap();
    assert_eq!(built.lines().count(), 3);
    place.write(
        "same.json",
        &format!("{{\"train\": [{list}], \"test\": [{list}]}}"),
    );
    let ran = place.ok("train --data same.json --ignore-key test --valid-share 0 --dry-run");
    assert!(
        line(&ran.stderr, "training set").contains("6 rows"),
        "{}",
        ran.stderr
    );
    place.write("test.json", &format!("{{\"test\": [{list}]}}"));
    place.ok("data check test.json");
}

#[test]
fn entries_of_an_index_that_are_not_known_are_refused_by_name() {
    let place = Place::new();
    write(&place, "f/a.jsonl", &rows("a", 6));
    for (entry, told) in [
        ("\"subset\": \"x\"", "subset"),
        ("\"mask_history\": true", "mask_history"),
    ] {
        let index = format!("{{\"one\": {{\"file_name\": \"a.jsonl\", {entry}}}}}");
        write(&place, "f/dataset_info.json", &index);
        let ran = place.run("train --data f --dry-run");
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("`{told}` =")),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_column_that_some_files_lack_is_read_in_the_others_by_every_command() {
    let place = Place::new();
    write(&place, "d/a.csv", "question,answer\nWhat is 1?,It is 1.\n");
    write(&place, "d/b.jsonl", &rows("b", 3));
    let flags = "--column prompt=question --column completion=answer";
    for command in [
        "train --data d --valid-share 0 --dry-run",
        "data check d",
        "data show d",
    ] {
        let ran = place.ok(&format!("{command} {flags}"));
        let all = ran.stdout + &ran.stderr;
        assert!(all.contains("4 rows read: 4 usable"), "{all}");
    }
    let flags = "--column prompt=qestion --column completion=answer";
    for command in ["train --dry-run --data d", "data check d", "data show d"] {
        let ran = place.run(&format!("{command} {flags}"));
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        let near = "did you mean --column prompt=question?";
        assert!(ran.stderr.contains(near), "{}", ran.stderr);
    }
}

#[test]
fn a_key_to_pass_over_that_no_row_has_is_refused_by_every_command() {
    let place = Place::new();
    let row = |n: usize| {
        format!("{{\"prompt\": \"Say {n}\", \"completion\": \"It is {n}.\", \"notes\": \"x\"}}\n")
    };
    place.write("rows.jsonl", &(0..6).map(row).collect::<String>());
    for command in [
        "train --data rows.jsonl --dry-run",
        "train --model {tied} --data rows.jsonl --dry-run",
        "data check rows.jsonl",
        "data show rows.jsonl",
        "data build --from rows.jsonl --out built",
        "eval --model {tied} --data rows.jsonl --max-tokens 2",
    ] {
        let ran = place.run(&format!("{command} --ignore-key notse"));
        assert_eq!(ran.code, 1, "{command}: {}", ran.stderr);
        for told in ["no row has `notse`", "did you mean --ignore-key notes?"] {
            assert!(ran.stderr.contains(told), "{command}: {}", ran.stderr);
        }
        assert!(!place.path("built").exists(), "{command}");
        let quiet = command.replace("built", "built2");
        let ran = place.ok(&format!("{quiet} --ignore-key notes"));
        assert!(!ran.stderr.contains("no row has"), "{}", ran.stderr);
        if command.contains("built") {
            std::fs::remove_dir_all(place.path("built2")).unwrap();
            std::fs::remove_dir_all(place.path("built")).ok();
        }
    }
    // In a run file and in a recipe the name is as wrong, also where the rows of another source have the key.
    place.write(
        "run.toml",
        "data = [\"rows.jsonl\"]\nignore-key = [\"notse\"]\n",
    );
    let ran = place.run("train run.toml --dry-run");
    assert!(
        ran.stderr.contains("did you mean --ignore-key notes?"),
        "{}",
        ran.stderr
    );
    place.write("other.jsonl", &rows("other", 6));
    let sources = |first: &str, second: &str| {
        format!(
            "[[sources]]\nfiles = [\"rows.jsonl\"]\n{first}\n[[sources]]\nfiles = [\"other.jsonl\"]\n{second}\n"
        )
    };
    place.write("ours.toml", &sources("ignore-keys = [\"notes\"]", ""));
    place.ok("data check --recipe ours.toml");
    place.write("theirs.toml", &sources("", "ignore-keys = [\"notes\"]"));
    let ran = place.run("data check --recipe theirs.toml");
    assert!(ran.stderr.contains("no row has `notes`"), "{}", ran.stderr);
}

#[test]
fn whoever_judges_is_not_sent_to_the_rows_that_were_trained_on() {
    let place = Place::new();
    write(&place, "d/train.jsonl", &rows("train", 6));
    let refusal = place.refusal("eval --model {tied} --data d");
    assert!(!refusal.contains("--split train"), "{refusal}");
    assert!(refusal.contains("--test-share 0.1"), "{refusal}");
    write(&place, "d/valid.jsonl", &rows("valid", 2));
    let refusal = place.refusal("eval --model {tied} --data d");
    assert!(refusal.contains("hint: --split valid"), "{refusal}");
    place.ok("data build --from d --out built");
    let refusal = place.refusal("eval --model {tied} --data built");
    assert!(refusal.ends_with("hint: --split valid"), "{refusal}");
}

#[test]
fn a_file_that_holds_no_rows_is_named_with_the_flag_that_leaves_it_out() {
    let place = Place::new();
    write(&place, "d/train.jsonl", &rows("train", 6));
    write(&place, "d/stats.csv", "metric,value\nloss,1\n");
    let refusal = place.refusal("data check d");
    assert!(
        refusal.contains("d/stats.csv:2: rows of no known shape"),
        "{refusal}"
    );
    let flag = "--side stats.csv=skip";
    assert!(
        refusal.contains(&format!("leave it out: {flag}")),
        "{refusal}"
    );
    let ran = place.ok(&format!("data check d {flag}"));
    assert!(ran.stdout.contains("left out by --side"), "{}", ran.stdout);
}
