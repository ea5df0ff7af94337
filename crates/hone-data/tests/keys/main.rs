//! No key of a row is dropped without a word: changed alone, it changes the record, or refuses the row, or is listed.

use hone_data::{Nulls, ReadError, ReadOptions, Reading};
use serde_json::{Value, json};
use std::fs;

mod documented;
mod pictures;
mod verdicts;

/// What a file of one row says: the record without its source, the keys that are listed, or why it is refused.
fn told(row: &Value, options: &ReadOptions<'_>) -> (String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.jsonl");
    fs::write(&file, row.to_string()).unwrap();
    match Reading::of(&[&file], options) {
        Ok(reading) => match reading.records.first() {
            Some(record) => (
                record.to_json().to_string(),
                reading.files[0].unused.clone(),
            ),
            None => (reading.refused[0].reason.to_string(), Vec::new()),
        },
        Err(error) => {
            let name = file.display().to_string();
            (error.to_string().replace(&name, "rows.jsonl"), Vec::new())
        }
    }
}

fn read(row: Value) -> (String, Vec<String>) {
    told(&row, &ReadOptions::default())
}

#[test]
fn unknown_keys_are_listed_if_they_are_short_and_refuse_the_row_if_they_hold_text() {
    let long =
        "A river is a stream of water that flows in a channel to a lake or to the sea. ".repeat(2);
    let row = |key: &str, value: Value| {
        let mut row = json!({"prompt": "What is a river?", "completion": "A stream of water."});
        row[key] = value;
        row
    };
    for (key, value) in [
        ("source", json!(long)),
        ("score", json!(0.5)),
        ("whatever", json!("short")),
        ("whatever", json!([1, 2, 3])),
        ("whatever", json!(true)),
        ("metadata", json!({"a": long})),
        ("answer", json!("water")),
        ("article", json!("a stream of Water".to_lowercase())),
    ] {
        let (told, unused) = read(row(key, value.clone()));
        let repeats = told.contains("\"messages\"");
        assert!(repeats || key == "article", "{key}: {value}: {told}");
        assert_eq!(
            unused,
            if repeats {
                vec![key.to_owned()]
            } else {
                vec![]
            }
        );
    }
    for (key, value) in [
        ("whatever", json!(long)),
        ("whatever", json!("two\nlines")),
        ("whatever", json!({"a": [long]})),
        ("context", json!("short")),
        ("document", json!("short")),
        ("passage", json!(long)),
        ("answer", json!("Something else")),
    ] {
        let (told, _) = read(row(key, value.clone()));
        assert!(
            told.contains(&format!("`{key}` is ")),
            "{key}: {value}: {told}"
        );
        assert!(told.contains(&format!("--ignore-key {key}")), "{told}");
    }
    for value in [
        Value::Null,
        json!(""),
        json!([]),
        json!({}),
        json!([null]),
        json!("[]"),
    ] {
        let (told, unused) = read(row("images", value));
        assert!(told.contains("\"messages\"") && unused.is_empty(), "{told}");
    }
    let options = ReadOptions {
        ignored_keys: ["context".to_owned()].into(),
        ..ReadOptions::default()
    };
    let (told, unused) = told(&row("context", json!(long)), &options);
    assert!(told.contains("\"messages\""), "{told}");
    assert_eq!(unused, ["context"]);
}

#[test]
fn nulls_that_may_be_padding_of_a_table_wait_for_a_word() {
    let call = |arguments: Value| json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}]});
    let padded = call(json!({"city": "Oslo", "deep": {"unit": null}}));
    let (refused, _) = read(padded.clone());
    assert!(
        refused.contains("`messages[1].tool_calls[0].function.arguments.deep.unit` is null"),
        "{refused}"
    );
    let with = |nulls| ReadOptions {
        nulls: Some(nulls),
        ..ReadOptions::default()
    };
    let (dropped, _) = told(&padded, &with(Nulls::Drop));
    assert!(
        dropped.contains(r#""arguments":{"city":"Oslo","deep":{}}"#),
        "{dropped}"
    );
    let (kept, _) = told(&padded, &with(Nulls::Keep));
    assert!(kept.contains(r#"{"unit":null}"#), "{kept}");
    let (text, _) = read(call(json!(r#"{"city": null}"#)));
    assert!(text.contains(r#""arguments":"{\"city\": null}""#), "{text}");
    let (list, _) = read(call(json!({"all": [1, null]})));
    assert!(list.contains("[1,null]"), "{list}");
    let tools = |schema: Value| json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]});
    let (default, _) = read(tools(
        json!({"properties": {"q": {"type": "string", "default": null}}}),
    ));
    assert!(default.contains(r#""default":null"#), "{default}");
    let (refused, _) = read(tools(
        json!({"properties": {"q": {"type": "string", "enum": null}, "city": null}}),
    ));
    assert!(
        refused.contains("`tools[0].function.parameters.properties.q.enum` is null"),
        "{refused}"
    );
}

#[test]
fn lists_written_as_json_in_a_text_and_mixed_spellings_are_read() {
    let talk = read(json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})).0;
    let json_text = r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#;
    for row in [
        json!({"messages": json_text}),
        json!({"conversations": json_text}),
        json!({"messages": [{"from": "human", "value": "q"}, {"role": "assistant", "content": "a"}]}),
        json!({"conversations": [{"role": "user", "content": "q"}, {"from": "gpt", "value": "a"}]}),
        json!({"conversation": [{"human": "q", "assistant": "a"}]}),
        json!({"query": "q", "response": "a"}),
        json!({"prompt": r#"[{"role": "user", "content": "q"}]"#, "completion": "a"}),
    ] {
        assert_eq!(read(row.clone()).0, talk, "{row}");
    }
    let (told, _) = read(json!({"messages": "[{'role': 'user', 'content': 'q'}]"}));
    assert!(told.contains("as Python prints lists"), "{told}");
}

#[test]
fn a_system_beside_turns_is_the_first_turn_and_two_are_refused() {
    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
    let (told, _) = read(json!({"messages": turns, "system": "s"}));
    assert!(
        told.contains(r#"[{"role":"system","content":"s"},{"role":"user""#),
        "{told}"
    );
    let (told, _) = read(
        json!({"messages": [{"role": "system", "content": "t"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "system": "s"}),
    );
    assert!(
        told.contains("`system` stands beside a turn of the system"),
        "{told}"
    );
}

#[test]
fn a_key_that_stands_twice_in_an_object_refuses_the_row_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.jsonl");
    for (twice, key) in [
        (
            r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good", "content": "bad"}]}"#,
            "content",
        ),
        (
            r#"{"prompt": "q", "completion": "good", "c\u006fmpletion": "bad"}"#,
            "completion",
        ),
    ] {
        let good = json!({"prompt": "1", "completion": "2.5"});
        fs::write(&file, format!("{good}\n{twice}\n")).unwrap();
        let reading = Reading::of(&[&file], &ReadOptions::default()).unwrap();
        assert_eq!(reading.records.len(), 1);
        let reason = reading.refused[0].reason.to_string();
        let expected = format!("`{key}` stands twice in one object");
        assert!(reason.starts_with(&expected), "{reason}");
    }
}

#[test]
fn a_refusal_in_place_of_the_content_is_the_reason_that_is_told() {
    let (told, _) = read(
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "refusal": "I will not."}]}),
    );
    assert!(
        told.contains(": `messages[1].refusal` is a refusal"),
        "{told}"
    );
}

#[test]
fn a_column_without_a_name_is_listed_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.csv");
    fs::write(&file, ",prompt,completion\n0,q,a\n").unwrap();
    let reading = Reading::of(&[&file], &ReadOptions::default()).unwrap();
    let remarks = reading.files[0].remarks();
    assert_eq!(remarks, ["other keys, not used: \"\" (no name)"]);
}

/// A file of rows as it is written, under these options.
fn file_of(
    name: &str,
    text: &str,
    options: &ReadOptions<'_>,
) -> Result<(Reading, String), ReadError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs::write(&file, text).unwrap();
    let reading = Reading::of(&[&file], options)?;
    let refused: Vec<String> = reading
        .refused
        .iter()
        .map(|row| {
            row.to_string()
                .replace(&format!("{}/", dir.path().display()), "")
        })
        .collect();
    Ok((reading, refused.join("\n")))
}

fn ignoring(keys: &[&str]) -> ReadOptions<'static> {
    ReadOptions {
        ignored_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..ReadOptions::default()
    }
}

#[test]
fn a_key_that_is_short_in_one_row_and_long_in_another_is_one_question_about_the_file() {
    let long = "A river flows to the sea. ".repeat(8);
    let rows = |notes: &[&str]| {
        let row =
            |notes: &&str| json!({"prompt": "q", "completion": "a", "notes": notes}).to_string();
        notes.iter().map(row).collect::<Vec<_>>().join("\n")
    };
    for notes in [["short", long.as_str()], [long.as_str(), "short"]] {
        let text = rows(&notes);
        let error = file_of("x.jsonl", &text, &ReadOptions::default())
            .err()
            .unwrap();
        let told = error.to_string();
        assert!(
            told.contains("`notes` is a key that Hone does not know"),
            "{told}"
        );
        assert!(told.contains("line 1") && told.contains("line 2"), "{told}");
        assert!(error.hints()[0].contains("--ignore-key notes"), "{error:?}");
        let (reading, _) = file_of("x.jsonl", &text, &ignoring(&["notes"])).unwrap();
        assert_eq!(reading.records.len(), 2);
    }
    let all_short = file_of("x.jsonl", &rows(&["a", "b"]), &ReadOptions::default()).unwrap();
    assert_eq!(all_short.0.records.len(), 2);
    let turns = |notes: &str| {
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "Four.", "notes": notes}]}).to_string()
    };
    let text = format!("{}\n{}\n", turns("short"), turns(&long));
    let error = file_of("x.jsonl", &text, &ReadOptions::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("`turn.notes` is"), "{error}");
}

#[test]
fn a_key_that_stands_twice_in_json_in_a_text_refuses_the_row_by_its_name() {
    let turns = r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "good", "content": "bad"}]"#;
    let cell = turns.replace('"', "\"\"");
    let table = format!(
        "messages,tools\n\"{cell}\",\n\"[{{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}}]\",\n"
    );
    let (_, refused) = file_of("x.csv", &table, &ReadOptions::default()).unwrap();
    assert!(
        refused.starts_with("x.csv:2: `messages` is JSON in which `content` stands twice"),
        "{refused}"
    );
    let asked = json!({"role": "user", "content": "q"});
    let tool = r#"[{"type": "function", "function": {"name": "f", "name": "g"}}]"#;
    let call = json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": 1, \"a\": 2}"}}]});
    let called = json!({"from": "function_call", "value": "{\"name\": \"f\", \"name\": \"g\", \"arguments\": {}}"});
    for (row, key) in [
        (
            json!({"messages": [asked, {"role": "assistant", "content": "a"}], "tools": tool}),
            "name",
        ),
        (json!({"messages": [asked, call]}), "a"),
        (json!({"messages": [asked, called]}), "name"),
        (
            json!({"prompt": "q", "completion": "a", "history": "[{\"a\": 1, \"a\": 2}]"}),
            "a",
        ),
    ] {
        let (told, _) = read(row);
        assert!(
            told.contains(&format!("in which `{key}` stands twice")),
            "{told}"
        );
    }
}

#[test]
fn a_key_that_no_row_has_cannot_be_passed_over_and_the_nearest_is_named() {
    let row = json!({"prompt": "q", "completion": "a", "notes": "n"}).to_string();
    let refused = |row: &str, keys: &[&str]| {
        let error = file_of("x.jsonl", row, &ignoring(keys)).unwrap_err();
        (error.to_string(), error.hints().join("; "))
    };
    assert!(file_of("x.jsonl", &row, &ignoring(&["notes"])).is_ok());
    let (told, hint) = refused(&row, &["notse", "notes", "xyz"]);
    assert!(
        told.contains("`notse` and no `xyz`") && !told.contains("`notes`"),
        "{told}"
    );
    assert_eq!(hint, "did you mean --ignore-key notes?");
    let (_, hint) = refused(&row, &["xyz"]);
    assert!(
        hint.contains("there are completion, notes, prompt"),
        "{hint}"
    );
    let (_, hint) = refused(&row, &["turn.notes"]);
    assert_eq!(hint, "did you mean --ignore-key notes?");
    let row = json!({"messages": [{"role": "user", "content": "q", "mood": "x"}, {"role": "assistant", "content": "a", "weight": 1}]}).to_string();
    assert!(file_of("x.jsonl", &row, &ignoring(&["turn.mood"])).is_ok());
    let (_, hint) = refused(&row, &["mood"]);
    assert_eq!(hint, "did you mean --ignore-key turn.mood?");
    let (_, hint) = refused(&row, &["turn.wieght"]);
    assert_eq!(hint, "did you mean --ignore-key turn.weight?");
}

#[test]
fn a_key_of_turns_is_passed_over_even_where_a_turn_would_use_it() {
    let row = json!({"messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "thinking": "hm", "weight": 0}
    ]})
    .to_string();
    let keys = ["turn.thinking", "turn.weight"];
    let (reading, _) = file_of("x.jsonl", &row, &ignoring(&keys)).unwrap();
    let text: Vec<&str> = reading.records[0].parts().map(|part| part.text).collect();
    assert_eq!(text, ["q", "a"]);
    assert_eq!(reading.files[0].unused, keys);
}

#[test]
fn reasoning_that_stands_twice_and_tools_of_white_space_are_told_apart() {
    let answer =
        json!({"role": "assistant", "content": "<think>hm</think>4", "reasoning_content": "hm"});
    let (told, _) = read(json!({"messages": [{"role": "user", "content": "q"}, answer]}));
    assert!(told.contains("one of the two is enough"), "{told}");
    let (told, _) = read(json!({"prompt": "q", "completion": "hm</think>4", "thinking": "hm"}));
    assert!(told.contains("one of the two is enough"), "{told}");
    let (told, _) = read(json!({"prompt": "q", "completion": "a", "tools": " "}));
    assert!(told.starts_with('{'), "{told}");
}
