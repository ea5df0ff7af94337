//! Rows that must not be trained on, in the shapes they come in; and what belongs together though no rule names it.

use std::fs;

use serde_json::json;

use crate::command::Place;
use crate::curation::{asked, made_up};

#[test]
fn a_benchmark_may_leave_its_answers_out() {
    let place = Place::new();
    let question = |number: usize| format!("Which {}?", made_up(number, 14));
    let row = |number: usize| asked(&question(number), &made_up(number + 500, 8));
    place.write("rows.jsonl", &(0..30).map(row).collect::<String>());
    let bare = |key: &str| -> String {
        let row = |number| json!({ key: question(number) }).to_string() + "\n";
        (0..5).map(row).collect()
    };
    place.write("prompts.jsonl", &bare("prompt"));
    place.write("instructions.jsonl", &bare("instruction"));
    let turns = |number: usize| {
        json!({ "messages": [{ "role": "user", "content": question(number) }] }).to_string() + "\n"
    };
    place.write("turns.jsonl", &(0..5).map(turns).collect::<String>());
    let table: String = (0..5)
        .map(|number| format!("\"{}\",a\n", question(number)))
        .collect();
    place.write("table.csv", &format!("Question,Right answer\n{table}"));
    for (benchmark, columns) in [
        ("prompts.jsonl", ""),
        ("instructions.jsonl", ""),
        ("turns.jsonl", ""),
        ("table.csv", " --column prompt=Question"),
    ] {
        let ran = place.run(&format!(
            "data check --from rows.jsonl --benchmark {benchmark}{columns}"
        ));
        assert!(
            ran.stdout.contains("prompt-exact (leak): 5 dropped"),
            "{benchmark}: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
    let refused =
        place.refusal("data check --from rows.jsonl --benchmark table.csv --column prompt=Qestion");
    assert!(refused.contains("Qestion"), "{refused}");
}

#[test]
fn a_benchmark_that_nothing_compares_is_refused() {
    let place = Place::new();
    place.examples("rows.jsonl", 12);
    place.write(
        "off.toml",
        "benchmarks = [\"rows.jsonl\"]\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[rules]\nleak = \"off\"\n",
    );
    let refused = place.refusal("data build off.toml --out off");
    assert!(
        refused.contains("off.toml:5: the recipe asks to compare rows with benchmarks"),
        "{refused}"
    );
}

#[test]
fn weights_that_leave_no_row_are_refused_with_their_line() {
    let place = Place::new();
    place.examples("a.jsonl", 12);
    place.write(
        "zero.toml",
        "[[sources]]\nfiles = [\"a.jsonl\"]\n[mix]\nweights = { a = 0 }\n",
    );
    let refused = place.refusal("data build zero.toml --out zero");
    assert!(
        refused.contains("zero.toml:4: mix.weights: every weight is 0"),
        "{refused}"
    );
}

/// Pairs of rows of which both have the number of their pair as origin: on how many sides does a pair stand?
fn pairs_on_two_sides(place: &Place, rows: &str) -> usize {
    place.write("rows.jsonl", rows);
    place.run("data build --from rows.jsonl --valid-share 0.3 --out built");
    let origins = |side: &str| -> Vec<String> {
        let rows = fs::read_to_string(place.path(&format!("built/{side}.jsonl"))).unwrap();
        let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let origin = |line| row(line)["origin"].as_str().unwrap().to_owned();
        rows.lines().map(origin).collect()
    };
    let (train, valid) = (origins("train"), origins("valid"));
    assert!(!valid.is_empty());
    valid.iter().filter(|pair| train.contains(pair)).count()
}

#[test]
fn rows_about_one_passage_in_their_system_turns_stand_on_one_side() {
    let row = |pair: usize, number: usize| {
        let passage = format!("Answer from this text. {}.", made_up(pair, 30));
        json!({
            "origin": format!("pair {pair}"),
            "messages": [
                { "role": "system", "content": passage },
                { "role": "user", "content": made_up(1000 + number, 9) },
                { "role": "assistant", "content": made_up(2000 + number, 9) },
            ],
        })
        .to_string()
            + "\n"
    };
    let rows: String = (0..80).map(|number| row(number % 40, number)).collect();
    assert_eq!(pairs_on_two_sides(&Place::new(), &rows), 0);
}

#[test]
fn a_prompt_of_full_width_stands_on_the_side_of_its_narrow_one() {
    let row = |number: usize| {
        let mut prompt = format!("Why does {}?", made_up(number % 40, 11));
        if number >= 40 {
            let wide = |c: char| match c {
                '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap(),
                _ => c,
            };
            prompt = prompt.chars().map(wide).collect();
        }
        json!({
            "origin": format!("pair {}", number % 40),
            "prompt": prompt,
            "completion": made_up(2000 + number, 9),
        })
        .to_string()
            + "\n"
    };
    let rows: String = (0..80).map(row).collect();
    assert_eq!(pairs_on_two_sides(&Place::new(), &rows), 0);
}

#[test]
fn an_address_that_is_a_key_of_what_a_tool_is_told_is_replaced() {
    let place = Place::new();
    let call = json!({ "id": "1", "type": "function", "function": {
        "name": "put", "arguments": { "olga.berg@kranich-it.ch": { "share": 0.5 } },
    }});
    let row = json!({ "messages": [
        { "role": "user", "content": "Share it." },
        { "role": "assistant", "content": "", "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "1", "content": "done" },
        { "role": "assistant", "content": "Shared." },
    ]});
    place.write("rows.jsonl", &(row.to_string() + "\n"));
    place.ok("data build --from rows.jsonl --valid-share 0 --rule email=redact --out built");
    let built = fs::read_to_string(place.path("built/train.jsonl")).unwrap();
    assert!(
        built.contains("<EMAIL>") && !built.contains("olga.berg"),
        "{built}"
    );
}
