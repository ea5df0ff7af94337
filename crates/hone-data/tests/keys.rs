//! No key of a row is dropped without a word: changed alone, it changes the record, or refuses the row, or is listed.

use std::fs;

use hone_data::{Nulls, ReadError, ReadOptions, Reading};
use serde_json::{Value, json};

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

/// Rows with every key that the formats document: OpenAI's, TRL's, ShareGPT's, ms-swift's, LLaMA-Factory's, Axolotl's,
/// Unsloth's and mlx-lm's.
fn documented() -> Vec<(&'static str, Value)> {
    let tool = json!({"type": "function", "function": {"name": "find", "description": "d", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}});
    let call = json!({"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"q\": \"x\"}"}});
    let asked = json!({"role": "user", "content": "2+2?"});
    let answered = json!({"role": "assistant", "content": "Four."});
    vec![
        (
            "openai",
            json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Find x", "name": "ann"}, {"role": "assistant", "content": "No.", "weight": 0}, {"role": "user", "content": "Please."}, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "5"}, {"role": "assistant", "content": "Five.", "weight": 1, "refusal": "no way, it is not what I do"}], "tools": [tool], "parallel_tool_calls": false, "metadata": {"a": "b"}}),
        ),
        (
            "openai functions",
            json!({"messages": [asked, {"role": "assistant", "content": null, "function_call": {"name": "find", "arguments": "{\"q\": \"x\"}"}}, {"role": "function", "name": "find", "content": "5"}, answered], "functions": [{"name": "find", "parameters": {}}]}),
        ),
        (
            "openai audio",
            json!({"messages": [asked, {"role": "assistant", "content": "Four.", "audio": {"id": "a1"}}]}),
        ),
        (
            "trl conversational",
            json!({"messages": [asked, {"role": "assistant", "content": "Four.", "thinking": "two and two"}], "tools": [tool]}),
        ),
        (
            "trl chat_template_kwargs",
            json!({"messages": [asked, answered], "chat_template_kwargs": {"enable_thinking": false}}),
        ),
        (
            "trl images",
            json!({"messages": [asked, answered], "images": ["a.png"]}),
        ),
        (
            "trl prompt-completion",
            json!({"prompt": "2+2?", "completion": "Four."}),
        ),
        (
            "trl prompt-completion, conversational",
            json!({"prompt": [asked], "completion": [{"role": "assistant", "content": "Four.", "reasoning_content": "two and two"}], "tools": [tool]}),
        ),
        (
            "trl preference",
            json!({"prompt": "2+2?", "chosen": "Four.", "rejected": "Five."}),
        ),
        (
            "trl preference, implicit",
            json!({"chosen": [asked, answered], "rejected": [asked, {"role": "assistant", "content": "Five."}], "score_chosen": 5, "score_rejected": 1}),
        ),
        (
            "trl unpaired",
            json!({"prompt": "2+2?", "completion": "Four.", "label": true}),
        ),
        (
            "trl stepwise",
            json!({"prompt": "2+2?", "completions": ["a", "b"], "labels": [true, false]}),
        ),
        ("trl prompt-only", json!({"prompt": "2+2?"})),
        ("language modeling", json!({"text": "Some words."})),
        (
            "sharegpt",
            json!({"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "Four.", "weight": 1}], "system": "Be brief.", "tools": "[]", "id": "7", "source": "web"}),
        ),
        (
            "sharegpt, called",
            json!({"conversations": [{"from": "human", "value": "2+2?"}, {"from": "function_call", "value": "{\"name\": \"find\", \"arguments\": {\"q\": \"x\"}}"}, {"from": "observation", "value": "4"}, {"from": "gpt", "value": "Four."}], "tools": "[{\"name\": \"find\"}]"}),
        ),
        (
            "swift messages",
            json!({"messages": [asked, answered], "rejected_response": "Five.", "channel": "math"}),
        ),
        (
            "swift rejected_messages",
            json!({"messages": [asked, answered], "rejected_messages": [asked, {"role": "assistant", "content": "Five."}]}),
        ),
        (
            "swift label",
            json!({"messages": [asked, answered], "label": false}),
        ),
        ("swift class", json!({"messages": [asked], "label": 1})),
        (
            "swift query",
            json!({"system": "Be brief.", "query": "2+2?", "response": "Four.", "history": [["hi", "hello"]]}),
        ),
        (
            "swift conversation",
            json!({"system": "Be brief.", "conversation": [{"human": "2+2?", "assistant": "Four."}]}),
        ),
        (
            "swift grounding",
            json!({"messages": [asked, answered], "objects": {"ref": ["dog"], "bbox": [[1, 2]]}, "videos": ["v.mp4"], "audios": ["a.wav"]}),
        ),
        (
            "swift agent",
            json!({"messages": [asked, {"role": "tool_call", "content": "{\"name\": \"find\", \"arguments\": {\"q\": \"x\"}}"}, {"role": "tool_response", "content": "4"}, {"role": "assistant", "content": "Four.", "loss": true}], "tools": "[{\"name\": \"find\"}]"}),
        ),
        (
            "llama-factory alpaca",
            json!({"instruction": "Add", "input": "2+2", "output": "Four.", "system": "Be brief.", "history": [["hi", "hello"]]}),
        ),
        (
            "llama-factory preference",
            json!({"instruction": "Add", "input": "2+2", "chosen": "Four.", "rejected": "Five."}),
        ),
        (
            "llama-factory ranking",
            json!({"conversations": [{"from": "human", "value": "2+2?"}], "chosen": {"from": "gpt", "value": "Four."}, "rejected": {"from": "gpt", "value": "Five."}}),
        ),
        (
            "llama-factory kto",
            json!({"instruction": "Add", "input": "2+2", "output": "Four.", "kto_tag": true}),
        ),
        (
            "llama-factory media",
            json!({"instruction": "Add", "input": "2+2", "output": "Four.", "images": ["a.png"], "videos": ["v"], "audios": ["a"]}),
        ),
        (
            "axolotl chat_template",
            json!({"conversations": [{"from": "system", "value": "Be brief.", "train": false}, {"from": "human", "value": "2+2?", "train": false}, {"from": "assistant", "value": "Four.", "train": true}]}),
        ),
        (
            "axolotl train_detail",
            json!({"conversations": [{"from": "human", "value": "2+2?"}, {"from": "assistant", "value": "Four.", "train_detail": [{"begin_offset": 0, "end_offset": 1, "train": false}]}]}),
        ),
        (
            "axolotl training on people",
            json!({"conversations": [{"from": "human", "value": "2+2?", "train": true}, {"from": "assistant", "value": "Four."}]}),
        ),
        (
            "axolotl pygmalion",
            json!({"conversations": [{"role": "human", "value": "2+2?"}, {"role": "bot", "value": "Four."}]}),
        ),
        (
            "axolotl input_output",
            json!({"segments": [{"label": true, "text": "a"}, {"label": false, "text": "b"}]}),
        ),
        (
            "axolotl tokenized",
            json!({"input_ids": [1, 2], "attention_mask": [1, 1], "labels": [1, -100]}),
        ),
        (
            "axolotl question",
            json!({"question": "2+2?", "answer": "Four.", "category": "math"}),
        ),
        (
            "axolotl reflection",
            json!({"instruction": "Add", "input": "2+2", "output": "Five.", "reflection": "Wrong.", "corrected": "Four."}),
        ),
        (
            "axolotl orca",
            json!({"system_prompt": "Be brief.", "question": "2+2?", "response": "Four."}),
        ),
        (
            "axolotl context",
            json!({"context": "On sums.", "question": "2+2?", "answer": "Four."}),
        ),
        (
            "unsloth",
            json!({"instruction": "Add", "input": "2+2", "output": "Four.", "text": "Below is an instruction. Add 2+2. Four."}),
        ),
        (
            "mlx tools",
            json!({"messages": [asked, {"role": "assistant", "tool_calls": [call]}], "tools": [tool]}),
        ),
        (
            "mlx dpo",
            json!({"system": "Be brief.", "prompt": "2+2?", "chosen": "Four.", "rejected": "Five."}),
        ),
        (
            "reasoning of a row",
            json!({"prompt": "2+2?", "completion": "Four.", "reasoning_content": "two and two"}),
        ),
        (
            "rollouts",
            json!({"prompt": "2+2?", "completion": "Four.", "rollouts": ["a", "b"]}),
        ),
    ]
}

/// Every place of a row where a key stands, as a path of keys and indices.
fn places(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    for (key, inner) in inner {
        path.push(key);
        if !inner.is_object() && !inner.is_array() {
            found.push(path.clone());
        }
        places(inner, path, found);
        path.pop();
    }
}

fn changed(row: &Value, path: &[String]) -> Value {
    let mut changed = row.clone();
    let place = changed
        .pointer_mut(&format!("/{}", path.join("/")))
        .unwrap();
    *place = match place.take() {
        Value::Bool(truth) => (!truth).into(),
        Value::Number(number) => (1.0 - number.as_f64().unwrap()).into(),
        Value::String(text) => format!("{text} changed").into(),
        _ => "something".into(),
    };
    changed
}

#[test]
fn each_documented_key_changed_alone_changes_the_record_or_refuses_it_or_is_listed() {
    let mut silent = Vec::new();
    for (name, row) in documented() {
        let before = read(row.clone());
        let mut found = Vec::new();
        places(&row, &mut Vec::new(), &mut found);
        for path in found {
            let after = read(changed(&row, &path));
            let key = path
                .iter()
                .rfind(|key| key.parse::<usize>().is_err())
                .unwrap();
            let top = &path[0];
            let is_listed = after
                .1
                .iter()
                .any(|listed| listed == top || listed == key || *listed == format!("turn.{key}"));
            // A row that is refused by another key says nothing about this one; it is not trained on.
            let is_refused = !after.0.starts_with('{');
            // The kind of a call is a function, or the row is refused.
            if after.0 == before.0 && !is_listed && !is_refused && key != "type" {
                silent.push(format!("{name}: {}", path.join(".")));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn each_documented_row_is_read_as_what_it_is_or_refused_by_name() {
    let starts = [
        ("openai", "`messages[6].refusal` is a refusal beside"),
        ("openai functions", "{\"task\":\"rows\",\"messages\""),
        ("openai audio", "`messages[1].audio` holds pictures, sounds"),
        ("trl conversational", "{\"task\":\"rows\",\"messages\""),
        (
            "trl chat_template_kwargs",
            "`chat_template_kwargs` is an argument",
        ),
        ("trl images", "`images` holds pictures"),
        ("trl prompt-completion", "{\"task\":\"rows\",\"messages\""),
        (
            "trl prompt-completion, conversational",
            "{\"task\":\"rows\",\"messages\"",
        ),
        ("trl preference", "{\"task\":\"rows\",\"prompt\""),
        ("trl preference, implicit", "{\"task\":\"rows\",\"prompt\""),
        ("trl unpaired", "{\"task\":\"rows\",\"prompt\""),
        ("trl stepwise", "`completions` holds steps"),
        ("trl prompt-only", "`prompt` has no completion"),
        ("language modeling", "{\"task\":\"rows\",\"text\""),
        (
            "sharegpt",
            "{\"task\":\"rows\",\"group\":\"7\",\"messages\":[{\"role\":\"system\"",
        ),
        ("sharegpt, called", "{\"task\":\"rows\",\"messages\""),
        ("swift messages", "{\"task\":\"rows\",\"prompt\""),
        ("swift rejected_messages", "{\"task\":\"rows\",\"prompt\""),
        ("swift label", "{\"task\":\"rows\",\"prompt\""),
        ("swift class", "`label` is a class to be told"),
        (
            "swift query",
            "{\"task\":\"rows\",\"messages\":[{\"role\":\"system\"",
        ),
        (
            "swift conversation",
            "{\"task\":\"rows\",\"messages\":[{\"role\":\"system\"",
        ),
        ("swift grounding", "holds pictures"),
        ("swift agent", "{\"task\":\"rows\",\"messages\""),
        (
            "llama-factory alpaca",
            "{\"task\":\"rows\",\"messages\":[{\"role\":\"system\"",
        ),
        (
            "llama-factory preference",
            "{\"task\":\"rows\",\"prompt\":[{\"role\":\"user\",\"content\":\"Add\\n\\n2+2\"",
        ),
        (
            "llama-factory ranking",
            "{\"task\":\"rows\",\"prompt\":[{\"role\":\"user\",\"content\":\"2+2?\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":\"Four.\"}]",
        ),
        ("llama-factory kto", "{\"task\":\"rows\",\"prompt\""),
        ("llama-factory media", "holds pictures"),
        ("axolotl chat_template", "{\"task\":\"rows\",\"messages\""),
        (
            "axolotl train_detail",
            "train_detail` masks or weighs tokens",
        ),
        (
            "axolotl training on people",
            "`conversations[0].train` asks to train on a turn of the user",
        ),
        ("axolotl pygmalion", "{\"task\":\"rows\",\"messages\""),
        ("axolotl input_output", "`segments` holds text in segments"),
        ("axolotl tokenized", "`labels` masks or weighs tokens"),
        (
            "axolotl question",
            "rows of no known shape (keys: question, answer, category)",
        ),
        (
            "axolotl reflection",
            "`reflection` is no part of rows of this shape",
        ),
        ("axolotl orca", "rows of no known shape"),
        ("axolotl context", "rows of no known shape"),
        ("unsloth", "{\"task\":\"rows\",\"messages\""),
        ("mlx tools", "{\"task\":\"rows\",\"messages\""),
        (
            "mlx dpo",
            "{\"task\":\"rows\",\"prompt\":[{\"role\":\"system\"",
        ),
        (
            "reasoning of a row",
            "{\"task\":\"rows\",\"messages\":[{\"role\":\"user\",\"content\":\"2+2?\"},{\"role\":\"assistant\",\"content\":\"Four.\",\"reasoning_content\":\"two and two\"}]",
        ),
        ("rollouts", "`rollouts` holds several answers"),
    ];
    let rows = documented();
    assert_eq!(rows.len(), starts.len());
    let mut wrong = Vec::new();
    for ((name, row), (named, start)) in rows.into_iter().zip(starts) {
        assert_eq!(name, named);
        let (told, _) = read(row);
        if !told.contains(start) {
            wrong.push(format!("{name}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_label_is_a_verdict_a_class_or_a_question() {
    let row =
        |label: Value, reply: &str| json!({"prompt": "q", "completion": reply, "label": label});
    for (label, verdict) in [
        (json!(true), true),
        (json!(false), false),
        (json!(1), true),
        (json!(0), false),
        (json!(0.0), false),
        (json!("True"), true),
        (json!("false"), false),
        (json!("1"), true),
    ] {
        let (told, unused) = read(row(label.clone(), "a"));
        assert!(
            told.ends_with(&format!("\"label\":{verdict}}}")),
            "{label}: {told}"
        );
        assert!(unused.is_empty());
    }
    for (label, reply) in [
        (json!("sports"), "a"),
        (json!("positive"), "Positive"),
        (Value::Null, "a"),
    ] {
        let (told, unused) = read(row(label.clone(), reply));
        assert!(told.contains("\"messages\""), "{label}: {told}");
        assert_eq!(unused.is_empty(), label.is_null());
    }
    for label in [
        json!(3),
        json!(0.5),
        json!("good"),
        json!("positive"),
        json!([1, 2]),
        json!("x".repeat(200)),
    ] {
        let (told, _) = read(row(label.clone(), "a"));
        assert!(
            told.contains("`label` is neither true nor false"),
            "{label}: {told}"
        );
        assert!(told.contains("--ignore-key label"), "{told}");
    }
    let (told, _) =
        read(json!({"prompt": "q", "completion": "a", "label": true, "kto_tag": false}));
    assert!(told.contains("says the opposite of `kto_tag`"), "{told}");
    let (told, _) = read(json!({"text": "t", "label": 0}));
    assert!(told.contains("`label` stands beside a text"), "{told}");
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
fn a_turn_that_is_not_to_be_trained_on_is_context_in_every_spelling() {
    for (key, no, yes) in [
        ("weight", json!(0), json!(1)),
        ("train", json!(false), json!(true)),
        ("training", json!(false), json!(true)),
        ("loss", json!(false), json!(true)),
        ("loss_weight", json!(0.0), json!(1.0)),
        ("trainable", json!(false), json!(true)),
        ("masked", json!(true), json!(false)),
    ] {
        let row = |value: &Value| json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", key: value}]});
        let (told, _) = read(row(&no));
        assert!(
            told.contains("\"content\":\"a\",\"weight\":0}"),
            "{key}: {told}"
        );
        let (told, _) = read(row(&yes));
        assert!(told.contains("\"content\":\"a\"}"), "{key}: {told}");
        let (told, _) = read(row(&json!(0.5)));
        assert!(
            told.contains(&format!("conversations[1].{key}` must be 0 or 1, not 0.5")),
            "{told}"
        );
        let (told, _) = read(json!({"prompt": "q", "completion": "a", key: no}));
        assert!(
            told.contains(&format!("`{key}` says that the row is not trained on")),
            "{told}"
        );
    }
    let (told, _) = read(
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "mask": 1}]}),
    );
    assert!(
        told.contains("`messages[1].mask` masks or weighs tokens"),
        "{told}"
    );
    let (told, _) = read(
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "train": true, "weight": 0}]}),
    );
    assert!(told.contains("says the opposite of"), "{told}");
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
fn orders_verdicts_and_pictures_under_any_name_refuse_the_row_by_the_key() {
    let with = |key: &str, value: &Value| {
        let mut row = json!({"prompt": "Is 0 `<image>` rejected?", "completion": "a"});
        row[key] = value.clone();
        read(row)
    };
    for (key, refused, listed) in [
        ("system_message", json!("Be rude."), Value::Null),
        ("instructions", json!("Be rude."), Value::Null),
        ("character", json!("a pirate"), Value::Null),
        ("prompt_suffix", json!("in French"), Value::Null),
        ("skip", json!(true), json!(false)),
        ("mask_history", json!("true"), json!("false")),
        ("train_on_inputs", json!(1), json!(0)),
        ("sample_weight", json!(0.5), json!(1.0)),
        ("deleted", json!(true), json!(false)),
        ("approved", json!(false), json!(true)),
        ("is_correct", json!(0), json!(1)),
        ("status", json!("rejected"), json!("done")),
        ("feedback", json!("Thumbs down"), json!("thumbs_up")),
        ("rating", json!(-1), json!(4)),
        ("reward", json!("-0.5"), json!(0.5)),
        ("image_path", json!("a/b.PNG"), json!("none")),
        ("audio_filepath", json!(["a.wav"]), Value::Null),
        ("images", json!([]), Value::Null),
    ] {
        let (told, _) = with(key, &refused);
        assert!(told.contains(&format!(": `{key}` ")), "{key}: {told}");
        let way_out = format!("--ignore-key {key}");
        assert!(told.contains(&way_out), "{key}: {told}");
        if !listed.is_null() {
            assert_eq!(with(key, &listed).1, [key]);
        }
    }
    let turn = |ignore: bool| {
        read(
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "ignore": ignore}]}),
        )
    };
    assert!(turn(true).0.contains(": `messages[1].ignore` says"));
    assert_eq!(turn(false).1, ["turn.ignore"]);
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
fn a_place_for_a_picture_refuses_the_row_and_prose_about_tags_does_not() {
    let asked = |text: &str| json!({"prompt": text, "completion": "A cat."});
    let replied = |text: &str| json!({"prompt": "Draw a cat.", "completion": text});
    let whole = |text: &str| json!({"text": text});
    for row in [
        asked("<image>\nWhat is this?"),
        asked("What is this?\n<image>"),
        asked("Compare <image> with <image>."),
        asked("<video>What happens?"),
        replied("<image>"),
        replied("Here it is:\n<image>\n"),
        whole("<image> A cat on a mat."),
        json!({"messages": [{"role": "user", "content": "<audio>"}, {"role": "assistant", "content": "Hello."}]}),
    ] {
        let (told, _) = read(row.clone());
        assert!(
            told.contains("> stands in a text") || told.contains(">` stands in a text"),
            "{row}: {told}"
        );
        assert!(told.contains("--ignore-key '<"), "{told}");
        let shown = ["<image>", "<audio>", "<video>"];
        let shown = shown.into_iter().find(|place| told.contains(*place));
        let (told, unused) = self::told(&row, &ignoring(shown.as_slice()));
        assert!(told.starts_with('{'), "{row}: {told}");
        assert_eq!(unused.len(), 1, "{row}");
    }
    for row in [
        asked("What does `<image>` mean?"),
        asked("```html\n<video>\n```\nWhat is this?"),
        asked("<image href=\"a.png\"/> is what in SVG?"),
        asked("<channel><image><url>a</url></image></channel>"),
        replied("The <video> tag plays a film."),
        whole("In HTML the <video> tag plays a film."),
    ] {
        let (told, unused) = read(row.clone());
        assert!(told.starts_with('{') && unused.is_empty(), "{row}: {told}");
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
fn a_key_of_any_name_that_says_a_row_is_bad_or_masked_refuses_it() {
    let with = |key: &str, value: Value| {
        let row = json!({"prompt": "What is 2+2?", "completion": "It is 4.", key: value});
        read(row).0
    };
    for (key, value) in [
        ("is_good", json!(false)),
        ("desirable", json!(0)),
        ("humanPreference", json!("rejected")),
        ("review-verdict", json!("bad")),
        ("flagged", json!(true)),
        ("thumbs", json!("down")),
        ("some_name", json!("Thumbs down")),
        ("use_for_training", json!(false)),
        ("loss_mask_2", json!([1, 0])),
        ("no_train", json!(true)),
        ("loss_scale", json!(0.0)),
        ("compute_loss", json!(false)),
        ("enable_thinking", json!(false)),
    ] {
        let told = with(key, value);
        assert!(told.contains(&format!("`{key}` ")), "{key}: {told}");
        assert!(
            told.contains("supervised") || told.contains("trained on") || told.contains("template"),
            "{told}"
        );
    }
    for (key, value) in [
        ("is_good", json!(true)),
        ("flagged", json!(false)),
        ("verdict", json!("it is 4")),
        ("sentiment", json!("negative")),
        ("no_train", json!(false)),
        ("validation_id", json!(0)),
        ("training_source", json!("web")),
        ("is_synthetic", json!(false)),
        ("toxic", json!(true)),
    ] {
        let told = with(key, value);
        assert!(told.starts_with('{'), "{key}: {told}");
    }
    // A class that the reply names is no verdict about it.
    let (told, _) =
        read(json!({"prompt": "Right?", "completion": "That is wrong", "decision": "wrong"}));
    assert!(told.starts_with('{'), "{told}");
    for (key, value) in [
        ("thought", json!("because")),
        ("prefix", json!(true)),
        ("end_turn", json!(false)),
        ("supervise_this", json!(false)),
        ("is_bad", json!("yes")),
    ] {
        let turn = json!({"role": "assistant", "content": "It is 4.", key: value});
        let (told, _) = read(json!({"messages": [{"role": "user", "content": "q"}, turn]}));
        assert!(
            told.contains(&format!("messages[1].{key}")),
            "{key}: {told}"
        );
    }
}

#[test]
fn a_place_for_a_picture_is_known_in_every_spelling() {
    let asked = |text: &str| read(json!({"prompt": text, "completion": "A cat."})).0;
    for place in [
        "<IMAGE>",
        "<image1>",
        "<image_2>",
        "<|image|>",
        "<|image_1|>",
        "<|image_pad|>",
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|audio_3|>",
        "<|video_pad|>",
        "<img>a.png</img>",
    ] {
        let told = asked(&format!("{place} What is this?"));
        assert!(told.contains("stands in a text"), "{place}: {told}");
    }
    for text in [
        "What does <img src=\"a.png\"> do?",
        "A <picture> of 1 < 2 and 3 > 2",
        "```\n<|image_1|>\n``` is what?",
        "<imagery> is no tag, nor is <images of cats>",
    ] {
        let told = asked(text);
        assert!(told.starts_with('{'), "{text}: {told}");
    }
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
