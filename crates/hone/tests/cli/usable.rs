//! One answer to the question which rows of a file can be used, whichever command is asked.

use std::fs;

use crate::command::{Place, Ran};

/// Rows of every reason, with the names of the reasons as they are counted.
fn every_reason() -> (String, &'static str) {
    let long = "word ".repeat(1500);
    let good = |n: usize| format!("{{\"prompt\": \"Say {n}\", \"completion\": \"It is {n}.\"}}\n");
    let rows: String = [
        (0..8).map(good).collect::<String>(),
        good(3),
        "not a row\n".into(),
        "[1, 2]\n".into(),
        "{\"prompt\": \"a\\u0000\", \"completion\": \"b\"}\n".into(),
        "{\"other\": 1}\n".into(),
        "{\"text\": \"of another shape\"}\n".into(),
        "{\"prompt\": \"a\", \"completion\": 5}\n".into(),
        "{\"prompt\": \"a\", \"prompt\": \"b\", \"completion\": \"c\"}\n".into(),
        "{\"prompt\": \"a\", \"completion\": \"b\", \"images\": [\"a.png\"]}\n".into(),
        "{\"prompt\": \"a\", \"completion\": \"b\", \"weight\": 0}\n".into(),
        format!("{{\"prompt\": \"a\", \"completion\": \"b\", \"notes\": \"{long}\"}}\n"),
        "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": false}\n".into(),
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"completion\": [{\"role\": \"assistant\", \"content\": \"b\", \"weight\": 0}]}\n".into(),
        "{\"prompt\": \"Who rings the bell?\", \"completion\": \"\"}\n".into(),
        format!("{{\"prompt\": \"Say much\", \"completion\": \"{long}\"}}\n"),
    ]
    .concat();
    let counted = "23 rows read: 9 usable, 14 not (1 empty-reply, 6 key, 1 no-reply, 1 not-an-object, 1 not-json, 1 other-shape, 1 too-long, 1 unknown-shape, 1 unpaired-preference); 1 of the usable is an exact duplicate";
    (rows, counted)
}

/// The count of rows, from whichever stream holds it.
fn counted(ran: &Ran) -> String {
    let all = format!("{}\n{}", ran.stdout, ran.stderr);
    let line = all.lines().find(|line| line.contains(" read: "));
    let line = line.unwrap_or_else(|| panic!("no count of rows in\n{all}"));
    let at = line.find(|c: char| c.is_ascii_digit()).unwrap();
    line[at..].to_owned()
}

#[test]
fn every_command_counts_the_same_rows_as_usable_and_gives_the_same_reasons() {
    let place = Place::new();
    let (rows, expected) = every_reason();
    place.write("rows.jsonl", &rows);
    for command in [
        "data show rows.jsonl --model {tied}",
        "data check rows.jsonl --model {tied}",
        "data build --from rows.jsonl --model {tied} --rule unusable-row=drop --out built",
        "train --model {tied} --data rows.jsonl --dry-run",
        "eval --model {tied} --data rows.jsonl --max-tokens 2",
    ] {
        let ran = place.run(command);
        assert!(ran.code == 0 || ran.code == 4, "{command}: {}", ran.stderr);
        let count = counted(&ran);
        assert!(
            count.starts_with(expected),
            "{command}\n{count}\n{expected}"
        );
    }
    // Without a model nobody knows lengths, and says so.
    let shorter = expected
        .replace("9 usable, 14 not", "10 usable, 13 not")
        .replace("1 too-long, ", "");
    for command in [
        "data show rows.jsonl",
        "data check rows.jsonl",
        "train --data rows.jsonl --dry-run",
    ] {
        let count = counted(&place.run(command));
        assert!(count.starts_with(&shorter), "{command}\n{count}\n{shorter}");
        let told = "lengths are not counted without --model";
        assert!(count.contains(told), "{command}\n{count}");
    }
}

#[test]
fn what_was_built_is_counted_by_the_same_question() {
    let place = Place::new();
    let (rows, _) = every_reason();
    place.write("rows.jsonl", &rows);
    place.run("data build --from rows.jsonl --rule unusable-row=drop --valid-share 0 --out built");
    let built = fs::read_to_string(place.path("built/train.jsonl")).unwrap();
    // Unpaired preferences and rows without a reply are kept for later, duplicates are not, and lengths were not counted.
    assert_eq!(built.lines().count(), 11, "{built}");
    let expected = "11 rows read: 8 usable, 3 not (1 no-reply, 1 too-long, 1 unpaired-preference)";
    for command in [
        "data show built --model {tied}",
        "data check built --model {tied}",
        "train --model {tied} --data built --dry-run",
        "eval --model {tied} --data built --split train --max-tokens 2",
    ] {
        let ran = place.run(command);
        assert!(ran.code == 0 || ran.code == 4, "{command}: {}", ran.stderr);
        let count = counted(&ran);
        assert!(count.starts_with(expected), "{command}\n{count}");
    }
}

#[test]
fn a_reply_that_nothing_trains_on_is_not_marked_as_trained_on() {
    let place = Place::new();
    place.write(
        "pairs.jsonl",
        "{\"prompt\": \"2+2?\", \"chosen\": \"Four.\", \"rejected\": \"Five.\"}\n",
    );
    let ran = place.ok("data show pairs.jsonl");
    assert!(!ran.stdout.contains('⟦'), "{}", ran.stdout);
    let told = "not usable: a preference pair";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
}

#[test]
fn a_check_says_that_a_build_would_stop_and_the_flag_that_it_names_has_an_effect() {
    let place = Place::new();
    let (rows, _) = every_reason();
    place.write("rows.jsonl", &rows);
    let ran = place.run("data check rows.jsonl");
    assert!(
        ran.stderr.contains("`hone data build` stops at rows.jsonl"),
        "{}",
        ran.stderr
    );
    let refusal = place.refusal("data build --from rows.jsonl --out built");
    assert!(refusal.contains("--rule unusable-row=drop"), "{refusal}");
    assert!(refusal.contains("hone data check rows.jsonl"), "{refusal}");
    place.run("data build --from rows.jsonl --rule unusable-row=drop --out built");
    assert!(place.path("built/train.jsonl").is_file());
    let ran = place.run("data check rows.jsonl --rule unusable-row=drop");
    assert!(!ran.stderr.contains("stops at"), "{}", ran.stderr);
}

#[test]
fn what_is_noted_of_rows_can_be_listed_by_the_command_that_is_told() {
    let place = Place::new();
    let (rows, _) = every_reason();
    place.write("rows.jsonl", &rows);
    let ran = place.ok("train --model {tied} --data rows.jsonl --ignore-key notes --dry-run");
    let told = "to list them: hone ";
    let line = ran.stderr.lines().find(|line| line.contains(told));
    let (_, command) = line.unwrap().split_once(told).unwrap();
    let begin = "data check rows.jsonl --ignore-key notes --model ";
    assert!(command.starts_with(begin), "{command}");
    let listed = place.run(command);
    assert!(
        listed.stdout.contains("exact-duplicate"),
        "{}",
        listed.stdout
    );
    // A list that is cut says how much is left out, and where it is.
    let ran = place.run("data check rows.jsonl");
    let more = "more; --json lists all";
    assert!(ran.stdout.contains(more), "{}", ran.stdout);
}

#[test]
fn a_rule_that_cannot_leave_out_a_row_is_refused_where_rows_are_only_shown_or_judged() {
    let place = Place::new();
    place.write(
        "rows.jsonl",
        "{\"prompt\": \"a\", \"completion\": \"\"}\n{\"prompt\": \"b\", \"completion\": \"c\"}\n",
    );
    let refusal = place.refusal("data show rows.jsonl --rule email=drop");
    assert!(refusal.contains("has no effect here"), "{refusal}");
    let count = |flags: &str| counted(&place.ok(&format!("data show rows.jsonl {flags}")));
    assert!(count("").starts_with("2 rows read: 1 usable"));
    assert!(count("--rule empty-reply=report").starts_with("2 rows read: 2 usable"));
}

#[test]
fn rows_to_evaluate_by_stay_and_what_is_odd_about_them_is_told() {
    let place = Place::new();
    let mut rows: String = (0..4)
        .map(|n| format!("{{\"prompt\": \"Say {n}\", \"completion\": \"It is {n}.\"}}\n"))
        .collect();
    rows += "{\"prompt\": \"Who rings?\", \"completion\": \"Die TÃ¼r mit dem BÃ¤r und der GrÃ¼ÃŸe fÃ¼r Ã„pfel.\"}\n";
    rows += "{\"prompt\": \"Which token ends it?\", \"completion\": \"It ends with <|im_end|> here.\"}\n";
    rows += "{\"prompt\": \"Who rings the bell?\", \"completion\": \"  \"}\n";
    fs::create_dir(place.path("rows")).unwrap();
    place.write("rows/test.jsonl", &rows);
    place.write("rows/train.jsonl", &rows);
    place.write("mine.jsonl", &rows);
    let odd = "7 rows read: 6 usable, 1 not (1 empty-reply); 2 to evaluate by are odd (1 mojibake, 1 special-token-in-text)";
    for command in [
        "eval --model {tied} --max-tokens 2 --data rows",
        "eval --model {tied} --max-tokens 2 --data mine.jsonl",
        "data show rows --split test",
        "data show rows --split test --model {tied}",
    ] {
        let ran = place.ok(command);
        assert!(
            counted(&ran).starts_with(odd),
            "{command}: {}",
            counted(&ran)
        );
    }
    let ran = place.ok("eval --model {tied} --max-tokens 2 --data mine.jsonl --json");
    let line = "odd, and judged by: mine.jsonl:5: ";
    assert!(ran.stderr.contains(line), "{}", ran.stderr);
    let object: serde_json::Value = serde_json::from_str(ran.stdout.trim()).unwrap();
    assert_eq!(object["count"]["odd"]["mojibake"], 1);
    let judged: u64 = object["tasks"]
        .as_object()
        .unwrap()
        .values()
        .map(|task| task["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(judged, 6);
    let ran = place.ok("data show rows --split test --from 5");
    assert!(
        ran.stdout.contains("; odd, and evaluated by: ") && ran.stdout.contains('⟦'),
        "{}",
        ran.stdout
    );
    // Rows to train on leave, and so does what the user has a rule drop.
    let train = "7 rows read: 4 usable, 3 not (1 empty-reply, 1 mojibake, 1 special-token-in-text)";
    assert!(counted(&place.ok("data show rows")).starts_with(train));
    let dropped = "7 rows read: 5 usable, 2 not (1 empty-reply, 1 mojibake); 1 to evaluate by is odd (1 special-token-in-text)";
    let ran = place.ok("eval --model {tied} --max-tokens 2 --data rows --rule mojibake=drop");
    assert!(counted(&ran).starts_with(dropped), "{}", counted(&ran));
}

#[test]
fn a_check_shows_rows_in_the_template_that_is_trained() {
    let place = Place::new();
    place.write(
        "rows.jsonl",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n\
         {\"prompt\":\"no\",\"completion\":\"no\"}\n{\"messages\":[{\"role\":\"user\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"d\"}]}\n",
    );
    place.write(
        "no-system.jinja",
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}\
         <|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    );
    let flags = "--model {tied} --chat-template no-system.jinja";
    for line in [
        "data show rows.jsonl",
        "data check rows.jsonl",
        "train --dry-run --valid-share 0 --out run --data rows.jsonl",
    ] {
        let ran = place.run(&format!("{line} {flags}"));
        let said = ran.stdout + &ran.stderr;
        assert!(
            said.contains("not-rendered") && said.contains("no system here"),
            "{line}: {said}"
        );
    }
    let error = place.refusal("data check rows.jsonl --chat-template chatml");
    assert!(
        error.contains("hint: name the base that is to be trained: --model M"),
        "{error}"
    );
}
