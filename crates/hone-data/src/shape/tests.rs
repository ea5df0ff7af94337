//! Which rows are of which shape, and what they become.

use super::*;

fn turns(json: &str) -> Result<Vec<(Role, String)>, String> {
    let row: Row = serde_json::from_str(json).unwrap();
    let shape = Shape::of(&row).ok_or("no shape")?;
    match shape
        .body(&row, &mut Account::default())
        .map_err(|reason| reason.to_string())?
    {
        Body::Chat(conversation) => Ok(conversation
            .turns
            .into_iter()
            .map(|turn| (turn.role, turn.text))
            .collect()),
        Body::Text(text) => Ok(vec![(Role::Tool, text)]),
        Body::Unpaired(judged) => Ok(judged
            .conversation
            .turns
            .into_iter()
            .map(|turn| (turn.role, turn.text))
            .collect()),
        Body::Preference(pair) => Ok([pair.prompt, pair.chosen, pair.rejected]
            .into_iter()
            .flat_map(|part| part.turns)
            .map(|turn| (turn.role, turn.text))
            .collect()),
    }
}

fn dialogue(turns: &[(Role, &str)]) -> Result<Vec<(Role, String)>, String> {
    Ok(turns
        .iter()
        .map(|&(role, text)| (role, text.to_owned()))
        .collect())
}

use Role::{Assistant as A, System as S, User as U};

#[test]
fn every_shape_becomes_turns() {
    let talk = [(S, "s"), (U, "q"), (A, "a")];
    for row in [
        r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#,
        r#"{"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": "a", "weight": 1}]}"#,
        r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"}"#,
        r#"{"system": "s", "instruction": "q", "input": "", "output": "a", "id": 7}"#,
        r#"{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
        r#"{"system": "s", "prompt": "q", "response": "a"}"#,
    ] {
        assert_eq!(turns(row), dialogue(&talk), "{row}");
    }
    assert_eq!(
        turns(r#"{"instruction": "", "input": "i", "output": "a"}"#),
        dialogue(&[(U, "i"), (A, "a")])
    );
    assert_eq!(
        turns(r#"{"instruction": "q", "input": "i", "output": "a"}"#),
        dialogue(&[(U, "q\n\ni"), (A, "a")])
    );
    assert_eq!(
        turns(r#"{"instruction": "q", "output": "a", "history": [["x", "y"], ["z", ""]]}"#),
        dialogue(&[(U, "x"), (A, "y"), (U, "z"), (A, ""), (U, "q"), (A, "a")])
    );
    for pair in [
        r#"{"prompt": "q", "chosen": "a", "rejected": "b"}"#,
        r#"{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}"#,
    ] {
        assert_eq!(turns(pair), dialogue(&[(U, "q"), (A, "a"), (A, "b")]));
    }
    assert_eq!(turns(r#"{"text": "t"}"#), dialogue(&[(Role::Tool, "t")]));
}

#[test]
fn what_cannot_be_honoured_refuses_the_row_by_field() {
    for (row, told) in [
        (
            r#"{"messages": [{"role": "robot", "content": ""}]}"#,
            "`messages[0].role` is \"robot\"",
        ),
        (
            r#"{"messages": [{"content": "x"}]}"#,
            "`messages[0]` needs `role`",
        ),
        (
            r#"{"messages": [{"role": "user", "content": 3}]}"#,
            "`messages[0].content` must be text, not a number",
        ),
        (
            r#"{"messages": [{"role": "user", "content": [{"type": "image"}]}]}"#,
            "of type `image`",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": null, "tool_calls": [{}]}]}"#,
            "`messages[0].tool_calls[0]` needs a function's `name`",
        ),
        (
            r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]}"#,
            "function.arguments` must be an object, not a list",
        ),
        (
            r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]}"#,
            "function.arguments` is not JSON",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]}"#,
            "only the assistant calls tools",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": "x"}], "tools": [{"type": "function"}]}"#,
            "`tools` must be a list of function schemas",
        ),
        (
            r#"{"chosen": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}], "rejected": "b"}"#,
            "`chosen` calls tools",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]}"#,
            "`messages[0].weight` must be 0 or 1, not 0.5",
        ),
        (r#"{"messages": []}"#, "`messages` has no turns"),
        (
            r#"{"messages": "x"}"#,
            "`messages` must be a list, not text",
        ),
        (
            r#"{"conversations": [{"from": "alien", "value": "x"}]}"#,
            "\"alien\"",
        ),
        (
            r#"{"instruction": "q", "output": "a", "history": [["x"]]}"#,
            "`history[0]` must be a question and an answer",
        ),
        (
            r#"{"instruction": "q", "output": null}"#,
            "`output` must be text, not nothing",
        ),
        (r#"{"text": "a\u0000b"}"#, "`text` holds a NUL"),
        (
            r#"{"chosen": [{"role": "user", "content": "q"}], "rejected": [{"role": "user", "content": "q"}]}"#,
            "`chosen` has nothing that the other",
        ),
        (r#"{"question": "x"}"#, "no shape"),
    ] {
        let error = turns(row).unwrap_err();
        assert!(error.contains(told), "{row}: {error}");
    }
}

fn body(json: &str) -> Body {
    let row: Row = serde_json::from_str(json).unwrap();
    Shape::of(&row)
        .unwrap()
        .body(&row, &mut Account::default())
        .unwrap()
}

#[test]
fn calls_are_the_same_with_arguments_as_text_or_as_an_object_and_tools_likewise() {
    let openai = body(
        r#"{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [\"x\"]}"}}]}, {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"}], "tools": "[{\"type\": \"function\", \"function\": {\"name\": \"f\"}}]"}"#,
    );
    let hugging_face = body(
        r#"{"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"arguments": {"a": ["x"]}, "name": "f"}}]}, {"role": "tool", "tool_call_id": "c", "name": "f", "content": "1"}], "tools": [{"type": "function", "function": {"name": "f"}}]}"#,
    );
    let (Body::Chat(mut chat), Body::Chat(same)) = (openai, hugging_face) else {
        panic!("two chats")
    };
    // A template that prints them shows the row's own text.
    let written = chat.turns[0].calls[0].written.take();
    assert_eq!(written.as_deref(), Some(r#"{"a": ["x"]}"#));
    assert_eq!(chat, same);
    assert_eq!(chat.turns[0].calls[0].arguments["a"][0], "x");
    assert_eq!(chat.tools[0]["function"]["name"], "f");
    assert_eq!(chat.turns[1].call_id.as_deref(), Some("c"));
}

#[test]
fn replies_inside_a_prompt_are_context_unless_they_ask_to_be_supervised() {
    let supervised = |turns: &[Turn]| {
        let replies = turns.iter().filter(|turn| turn.role == Role::Assistant);
        replies.map(|turn| turn.is_supervised).collect::<Vec<_>>()
    };
    for (weight, expected) in [("", false), (r#", "weight": 1"#, true)] {
        let asked = format!(
            r#"[{{"role": "user", "content": "q"}}, {{"role": "assistant", "content": "old"{weight}}}, {{"role": "user", "content": "again"}}]"#
        );
        let row = format!(
            r#"{{"prompt": {asked}, "completion": [{{"role": "assistant", "content": "a"}}]}}"#
        );
        let Body::Chat(chat) = body(&row) else {
            panic!("a chat")
        };
        assert_eq!(supervised(&chat.turns), [expected, true], "{row}");
    }
    for pairs in [
        r#"{"prompt": [{"human": "q", "assistant": "old"}, {"role": "user", "content": "again"}], "chosen": "a", "rejected": "b"}"#,
        r#"{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "old"}, {"role": "user", "content": "again"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "old"}, {"role": "user", "content": "again"}, {"role": "assistant", "content": "b"}]}"#,
    ] {
        let Body::Preference(pair) = body(pairs) else {
            panic!("a pair")
        };
        assert_eq!(supervised(&pair.prompt.turns), [false], "{pairs}");
        assert_eq!(supervised(&pair.chosen.turns), [true], "{pairs}");
    }
}

#[test]
fn a_weight_of_nothing_keeps_a_reply_from_being_trained_on_and_one_changes_nothing() {
    let supervised = |weight: &str| {
        let row = format!(
            r#"{{"messages": [{{"role": "user", "content": "q", "weight": 0}}, {{"role": "assistant", "content": "a"{weight}}}]}}"#
        );
        let Body::Chat(chat) = body(&row) else {
            panic!("a chat")
        };
        chat.turns
            .iter()
            .map(|turn| turn.is_supervised)
            .collect::<Vec<_>>()
    };
    assert_eq!(supervised(r#", "weight": 0"#), [true, false]);
    assert_eq!(supervised(r#", "weight": 1"#), supervised(""));
}
