//! `hone eval`: answers that are kept, metrics that are asked for, and tasks of labels.

use crate::command::Place;
use crate::kept_safe::copied_base;
use serde_json::{Value, json};

fn lines(place: &Place, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn trained(place: &Place) {
    place.examples("rows.jsonl", 16);
    place.ok("train --model {tied} --data rows.jsonl --lr 1e-2 --max-length 256 --out run");
}

#[test]
fn every_answer_of_both_models_is_kept_with_its_scores() {
    let place = Place::new();
    trained(&place);
    let eval = "eval --model {tied} --adapter run/adapter --data rows.jsonl --max-tokens 6 --metric bleu --metric squad_f1";
    let ran = place.ok(&format!("{eval} --out report --json"));

    let answers = lines(&place, "report/answers.jsonl");
    assert_eq!(answers.len(), 16);
    let first = &answers[0];
    assert!(
        first["source"].as_str().unwrap().ends_with("rows.jsonl:1"),
        "{first}"
    );
    assert_eq!(first["prompt"][0]["content"], "Say the number 0");
    assert_eq!(first["reference"], "It is 0.");
    for model in ["base", "tuned"] {
        let said = &first[model];
        assert!(
            said["text"].is_string() && said["stop"].is_string(),
            "{said}"
        );
        assert!(said["loss"].as_f64().unwrap() > 0.0);
        assert!(said["exact_match"].is_boolean() && said["rougeL"].is_number());
    }

    let report = std::fs::read(place.path("report/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report, ran.json(), "the report is what is said");
    let metrics = report["metrics"]["even"].as_array().unwrap();
    assert_eq!(metrics[0]["metric"]["name"], "bleu");
    assert!(
        metrics[0]["signature"]
            .as_str()
            .unwrap()
            .contains("tok:13a")
    );
    for metric in metrics {
        let value = |model: &str| metric[model]["value"].as_f64().unwrap();
        let difference = metric["difference"]["value"].as_f64().unwrap();
        assert!(
            (difference - (value("tuned") - value("base"))).abs() < 1e-9,
            "{metric}"
        );
    }

    // The same answers whatever stands in a batch, and whatever the number of threads.
    place.ok(&format!("{eval} --out again --slots 1 --threads 1 --fresh"));
    assert_eq!(lines(&place, "again/answers.jsonl"), answers);
    let error = place.refusal(&format!("{eval} --out report"));
    assert!(error.contains("report exists already"), "{error}");
}

#[test]
fn a_table_has_a_line_for_each_metric_that_was_asked_for() {
    let place = Place::new();
    trained(&place);
    let both = "eval --model {tied} --adapter run/adapter --data rows.jsonl --max-tokens 4 --metric chrf --metric squad_exact_match";
    let ran = place.ok(both);
    let table: Vec<&str> = ran.stdout.lines().collect();
    let tasks = |name: &str| table.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!((tasks("even "), tasks("odd ")), (5, 5), "{}", ran.stdout);
    // What changed by more than chance comes first.
    for (line, task) in [(table[2], "even"), (table[3], "odd")] {
        let is_loss = line.starts_with(&format!("{task:16} loss"));
        assert!(is_loss && line.ends_with("better"), "{}", ran.stdout);
    }
    assert!(table[7].contains("squad_exact_match"), "{}", ran.stdout);
    assert!(ran.stderr.contains("here are 10"), "{}", ran.stderr);

    let one = place.ok("eval --model {tied} --data rows.jsonl --max-tokens 4 --metric chrf");
    assert!(one.stdout.contains("chrf"), "{}", one.stdout);
}

#[test]
fn a_metric_that_has_nothing_to_compare_is_refused_before_the_model_answers() {
    let place = Place::new();
    place.examples("rows.jsonl", 4);
    let error = place.refusal("eval --model {tied} --data rows.jsonl --metric json_equal");
    let first = "error: `json_equal` has nothing to compare in task `even`: no reference is JSON\nhint: take the metric out";
    assert!(error.starts_with(first), "{error}");
    let error = place.refusal("eval --model {tied} --data rows.jsonl --metric rouge7");
    assert!(
        error.contains("rouge7") && error.contains("rougeLsum"),
        "{error}"
    );
}

#[test]
fn labels_are_told_with_the_share_that_the_commonest_would_reach() {
    let place = Place::new();
    let row = |i: usize| {
        let label = if i.is_multiple_of(3) { "idea" } else { "bug" };
        format!(r#"{{"task":"tickets","instruction":"Ticket {i}","output":"{label}"}}"#)
    };
    let rows: Vec<String> = (0..12).map(row).collect();
    place.write("rows.jsonl", &rows.join("\n"));
    let ran = place.ok("eval --model {tied} --data rows.jsonl --max-tokens 3");
    let told = "tickets: 2 labels; always `bug` would be right in 0.667 of 12 rows";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
    assert!(ran.stdout.contains("12 of 12"), "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("base: most answers are no label at all"),
        "{}",
        ran.stdout
    );
    // A small random model's favourite among two labels is one of them always.
    let among = "the right label is the likeliest of all in ";
    assert!(ran.stdout.contains(among), "{}", ran.stdout);
    let report = place.ok("eval --model {tied} --data rows.jsonl --max-tokens 3 --json");
    let among = &report.json()["labels"]["among"]["tickets"];
    let value = among["base"]["value"].as_f64().unwrap();
    assert_eq!(
        (among["base"]["rows"].as_u64(), value >= 0.0),
        (Some(12), true)
    );
    assert!(
        ran.stdout.contains(&format!("{value:>13.3}  12 of 12")),
        "{}",
        ran.stdout
    );
    assert_eq!(
        report
            .stderr
            .matches("answers of an earlier evaluation")
            .count(),
        2
    );
}

#[test]
fn rows_that_an_adapter_was_trained_on_are_marked_above_the_table() {
    let place = Place::new();
    trained(&place);
    let fresh: Vec<String> = (100..104)
        .map(|i| format!(r#"{{"instruction":"Say the number {i}","output":"It is {i}."}}"#))
        .collect();
    place.write("fresh.jsonl", &fresh.join("\n"));
    // The same prompt in other letters, with another answer.
    let seen = r#"{"instruction":"say the  number 2","output":"Two."}"#;
    place.write(
        "mixed.jsonl",
        &[&fresh.join("\n"), seen].map(str::to_owned).join("\n"),
    );
    let eval = |adapter: &str, rows: &str| {
        place.ok(&format!(
            "eval --model {{tied}} --adapter {adapter} --data {rows} --max-tokens 3"
        ))
    };
    for adapter in ["run/adapter", "run/last"] {
        let clean = eval(adapter, "fresh.jsonl");
        assert!(!clean.stdout.contains("contaminated"), "{}", clean.stdout);
        assert!(clean.stderr.contains("none of these rows was trained on"));
        let mixed = eval(adapter, "mixed.jsonl");
        let first = "contaminated: the adapter was trained on the prompts of 1 of these 5 rows";
        assert!(mixed.stdout.starts_with(first), "{}", mixed.stdout);
    }
    place.ok(
        "eval --model {tied} --adapter run/adapter --data mixed.jsonl --max-tokens 3 --out report",
    );
    let marks: Vec<Value> = lines(&place, "report/answers.jsonl")
        .iter()
        .map(|line| line["trained_on"].clone())
        .collect();
    assert_eq!(marks, [false, false, false, false, true].map(Value::from));

    std::fs::rename(place.path("run/adapter"), place.path("moved")).unwrap();
    let moved = eval("moved", "mixed.jsonl");
    assert!(
        moved
            .stderr
            .contains("is not known: no run has left trained-prompts.bin beside it")
    );
    std::fs::write(place.path("run/trained-prompts.bin"), "odd").unwrap();
    let error = place.refusal("eval --model {tied} --adapter run/last --data mixed.jsonl");
    assert!(
        error.contains("trained-prompts.bin cannot be read"),
        "{error}"
    );
}

#[test]
fn the_same_evaluation_again_and_a_second_adapter_do_not_ask_the_base_again() {
    const KEPT: &str = "answers of an earlier evaluation of the same rows";
    let place = Place::new();
    trained(&place);
    let eval = "eval --model {tied} --data rows.jsonl --max-tokens 4 --json";
    let kept = |ran: &crate::command::Ran| -> Vec<String> {
        let lines = ran.stderr.lines().filter(|line| line.contains(KEPT));
        lines
            .map(|line| line.split(':').next().unwrap().to_owned())
            .collect()
    };
    let first = place.ok(&format!("{eval} --adapter run/adapter"));
    assert_eq!(kept(&first), [""; 0]);
    let again = place.ok(&format!(
        "{eval} --adapter run/adapter --slots 2 --threads 1"
    ));
    assert_eq!(kept(&again), ["base", "tuned"]);
    assert_eq!(again.json(), first.json());
    // The last adapter is another one, the base is the same.
    place.ok("train --model {tied} --data rows.jsonl --lr 2e-2 --max-length 256 --out other");
    let other = place.ok(&format!("{eval} --adapter other/adapter"));
    assert_eq!(kept(&other), ["base"]);
    assert_ne!(other.json()["tuned"], first.json()["tuned"]);
    assert_eq!(kept(&place.ok(eval)), ["base"]);

    // Whatever the answers depend on asks again.
    for change in ["--max-tokens 5", "--match squad", "--rows 9", "--fresh"] {
        let line = eval.replace(
            "--max-tokens 4 ",
            if change.contains("tokens") {
                ""
            } else {
                "--max-tokens 4 "
            },
        );
        assert_eq!(
            kept(&place.ok(&format!("{line} {change}"))),
            [""; 0],
            "{change}"
        );
    }
    for entry in std::fs::read_dir(place.path("home/evaluations")).unwrap() {
        std::fs::write(entry.unwrap().path(), "[]").unwrap();
    }
    let damaged = place.ok(eval);
    assert_eq!(kept(&damaged), [""; 0], "a damaged file is made again");
    assert_eq!(kept(&place.ok(eval)), ["base"]);
}

#[test]
fn an_evaluation_that_was_killed_goes_on_where_it_was() {
    let place = Place::new();
    trained(&place);
    let eval = "eval --model {tied} --data rows.jsonl --adapter run/adapter --max-tokens 4 --json";
    let whole = place.ok(eval);
    let mut cuts = [1_usize, 3].into_iter();
    for entry in std::fs::read_dir(place.path("home/evaluations")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // Some whole lines, in the order in which they were done, and the beginning of one.
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let (kept, rest) = lines.split_at(cuts.next().unwrap());
        std::fs::write(&path, kept.concat() + &rest[0][..9]).unwrap();
    }
    let resumed = place.ok(eval);
    let broken_off = |rows: usize| format!("answers to {rows} of");
    let said = |rows| resumed.stderr.contains(&broken_off(rows));
    assert!(said(1) && said(3), "{}", resumed.stderr);
    assert_eq!(resumed.json(), whole.json());
    let again = place.ok(eval);
    assert!(!again.stderr.contains("broken off"), "{}", again.stderr);
    assert_eq!(again.json(), whole.json());
}

#[test]
fn an_adapter_of_another_base_is_refused_before_the_base_answers() {
    let place = Place::new();
    place.examples("rows.jsonl", 16);
    let weights = copied_base(&place);
    place.ok("train --model base --data rows.jsonl --max-length 256 --out run");
    // Another number somewhere: a base of the same shape.
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = place.refusal("eval --model base --adapter run/adapter --data rows.jsonl");
    assert!(error.contains("another base"), "{error}");
    let has_asked = place.path("home/evaluations").exists();
    assert!(!has_asked, "the base has answered first");
}

#[test]
fn a_report_has_a_page_with_scores_and_answers() {
    let place = Place::new();
    trained(&place);
    place.ok(
        "eval --model {tied} --data rows.jsonl --adapter run/adapter --max-tokens 4 --out both",
    );
    let page = std::fs::read_to_string(place.path("both/report.html")).unwrap();
    assert!(
        !page.contains("<script") && !page.contains("http"),
        "it needs nothing"
    );
    let answers = lines(&place, "both/answers.jsonl").len();
    assert_eq!(page.matches("class=\"card sample").count(), answers);
    assert!(page.contains("Difference (95 %)") && page.contains("exact match"));
    place.ok("eval --model {tied} --data rows.jsonl --max-tokens 4 --out base");
    let page = std::fs::read_to_string(place.path("base/report.html")).unwrap();
    assert!(page.contains("loss") && !page.contains("Tuned"));
}

#[test]
fn two_evaluations_are_compared_on_the_rows_that_both_have() {
    let place = Place::new();
    trained(&place);
    let eval = "eval --model {tied} --data rows.jsonl --max-tokens 4 --metric chrf";
    place.ok(&format!("{eval} --adapter run/adapter --out both"));
    let own = place
        .ok(&format!("{eval} --adapter run/adapter --json"))
        .json();
    // What one directory says of its two models is what the evaluation said.
    let compared = place.ok("compare both --json").json();
    let metrics = compared["comparisons"][0]["comparison"]["metrics"]
        .as_array()
        .unwrap()
        .clone();
    let loss = metrics.iter().find(|own| own["metric"] == "loss").unwrap();
    let said = &own["comparisons"][0];
    for (name, want) in [
        ("first", &said["base"]["loss"]),
        ("second", &said["tuned"]["loss"]),
    ] {
        let difference = loss[name].as_f64().unwrap() - want.as_f64().unwrap();
        assert!(difference.abs() < 1e-9, "{name}: {loss}, {said}");
    }
    let ends = [&loss["interval"], &said["loss"]["interval"]];
    let [low, high] = ends.map(|ends| ends[0].as_f64().unwrap());
    assert!((low - high).abs() < 1e-9, "{ends:?}");
    assert!(metrics.iter().any(|own| own["metric"] == "chrf"));

    // Rows in another order, and fewer of them.
    let rows = std::fs::read_to_string(place.path("rows.jsonl")).unwrap();
    let fewer: Vec<&str> = rows.lines().rev().skip(4).collect();
    place.write("fewer.jsonl", &(fewer.join("\n") + "\n"));
    place.ok("eval --model {tied} --data fewer.jsonl --max-tokens 4 --out fewer");
    let compared = place.ok("compare both:base fewer");
    assert!(
        compared.stderr.contains(&format!(
            "{} rows that both have; 4 are of the first",
            fewer.len()
        )),
        "{}",
        compared.stderr
    );
    let same: Vec<&str> = compared
        .stdout
        .lines()
        .filter(|line| line.contains("+0.000"))
        .collect();
    assert_eq!(same.len(), 6, "{}", compared.stdout);

    let refused = |command: &str, code: i32| {
        let ran = place.run(command);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        ran.stderr
    };
    assert!(refused("compare fewer", 1).contains("no answers of a tuned model"));
    assert!(refused("compare run", 1).contains("answers.jsonl cannot be read"));
    place.write(
        "other.jsonl",
        "{\"prompt\": \"What else is there to say?\", \"completion\": \"Nothing.\"}\n",
    );
    place.ok("eval --model {tied} --data other.jsonl --max-tokens 4 --out other");
    assert!(refused("compare both other", 1).contains("no row in common"));
    place.write("both/answers.jsonl", "{}\n");
    assert!(refused("compare both", 1).contains("answers.jsonl, line 1"));
}

#[test]
fn a_gate_passes_by_its_conditions_alone() {
    let place = Place::new();
    trained(&place);
    place.ok(
        "eval --model {tied} --data rows.jsonl --max-tokens 4 --adapter run/adapter --out both",
    );
    let gate = |conditions: &str| {
        let ran = place.run(&format!("gate both {conditions}"));
        (ran.code, ran.stdout, ran.stderr)
    };
    let task = "even";
    let (code, said, error) = gate(&format!("--win {task}:loss --keep {task}=1"));
    assert_eq!(code, 0, "{said} {error}");
    assert!(
        said.contains(&format!("holds  {task}:loss wins: better")),
        "{said}"
    );
    let (code, said, _) = gate(&format!("--win {task}:exact_match --keep {task}:loss=0"));
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("FAILS") && said.contains("holds") && said.contains("1 of 3"),
        "{said}"
    );
    let (code, said, _) = gate(&format!(
        "--reach {task}:loss=100 --reach {task}:exact_match=0.999"
    ));
    assert_eq!(code, 4, "{said}");
    // The other way round the base would lose.
    let back = place.run(&format!(
        "gate both:tuned both:base --keep {task}:loss=0.001 --json"
    ));
    assert_eq!(
        (back.code, &back.json()["passes"]),
        (4, &serde_json::Value::Bool(false))
    );
    for (conditions, why) in [
        ("", "no condition"),
        ("--win nothing", "no such task or metric"),
        ("--win even", "could mean several"),
        ("--keep even=x", "not understood"),
        ("--keep=-1", "0 or more"),
        ("--reach 3", "not understood"),
    ] {
        let (code, said, error) = gate(conditions);
        assert_eq!(code, 2, "{conditions}: {said} {error}");
        assert!(error.contains(why), "{conditions}: {error}");
    }
}

#[test]
fn a_gate_does_not_pass_by_what_is_missing() {
    let place = Place::new();
    trained(&place);
    let eval = "eval --model {tied} --data rows.jsonl --max-tokens 4";
    place.ok(&format!("{eval} --adapter run/adapter --out both"));
    let gate = |command: &str| {
        let ran = place.run(&format!("gate {command}"));
        (ran.code, ran.stdout + &ran.stderr)
    };
    // Rows that the second lacks.
    place.ok(&format!(
        "{eval} --adapter run/adapter --rows 9 --out fewer"
    ));
    let (code, said) = gate("both fewer --keep 1");
    assert!(
        code == 4 && said.contains("FAILS  the second answered every row"),
        "{said}"
    );
    // Answers that were cut otherwise.
    place.ok(
        "eval --model {tied} --data rows.jsonl --max-tokens 3 --adapter run/adapter --out shorter",
    );
    let (code, said) = gate("both shorter --keep 1");
    assert!(
        code == 4 && said.contains("FAILS  both were made and matched by the same rules"),
        "{said}"
    );
    // So few rows that they change one way by chance.
    place.ok(&format!("{eval} --adapter run/adapter --rows 2 --out two"));
    let lines = lines(&place, "two/answers.jsonl");
    let task = lines[0]["task"].as_str().unwrap();
    let (code, said) = gate(&format!("two --win {task}:loss --keep {task}:loss=100"));
    assert!(
        code == 4 && said.contains("3 conditions fail") | said.contains("2 of 3"),
        "{said}"
    );
    // A metric of all rows at once.
    place.write(
        "task.toml",
        "name = \"all\"\nkind = \"generate_until\"\nrows = \"pairs.jsonl\"\nprompt = \"{{ ask }}\"\ntarget = \"say\"\nmetrics = [\"bleu\"]\n",
    );
    let row = |at: usize| {
        json!({ "ask": format!("Word {at}"), "say": format!("word {at}") }).to_string() + "\n"
    };
    place.write("pairs.jsonl", &(0..7).map(row).collect::<String>());
    place.ok("eval --model {tied} --task task.toml --adapter run/adapter --out task");
    let (code, said) = gate("task --keep 1");
    assert!(
        code == 2 && said.contains("is about no metric") && said.contains("all:bleu"),
        "{said}"
    );
}
