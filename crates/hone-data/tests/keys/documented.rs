//! Every key that a format documents, changed alone.

use super::*;

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
