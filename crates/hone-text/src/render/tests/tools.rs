//! Calls of tools, and their answers.

use super::*;

/// As Qwen and Hermes write calls; what is written here is our own.
const TOOLS: &str = r#"{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role }}{% if m.content %}{{ '\n' + m.content }}{% endif %}{% for call in m.tool_calls %}{{ '\n<call>\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}\n</call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"#;

fn called(arguments: &str, text: &str) -> Conversation {
    let turns = r#"[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "TEXT", "tool_calls": [{"function": {"name": "find", "arguments": ARGUMENTS}}]}, {"role": "tool", "content": "1", "name": "find"}, {"role": "assistant", "content": "one"}]"#;
    let turns = turns.replace("ARGUMENTS", arguments).replace("TEXT", text);
    serde_json::from_str(&turns).unwrap()
}

#[test]
fn a_call_is_supervised_from_its_prompt_to_its_end_token() {
    let tools = renderer(TOOLS);
    let conversation = called(
        r#"{"q": "say \"hi\"\n", "n": 3, "all": [true, null, "x"]}"#,
        "",
    );
    assert_eq!(
        supervised(&tools, &conversation),
        [
            "\n<call>\n{\"name\": \"find\", \"arguments\": {\"q\": \"say \\\"hi\\\"\\n\", \"n\": 3, \"all\": [true, null, \"x\"]}}\n</call><|im_end|>",
            "\none<|im_end|>"
        ]
    );
    let with_text = called("{}", "wait");
    assert_eq!(
        supervised(&tools, &with_text)[0],
        "\nwait\n<call>\n{\"name\": \"find\", \"arguments\": {}}\n</call><|im_end|>"
    );
    for conversation in [conversation, with_text] {
        assert_prompt_is_a_prefix(&tools, &conversation);
        assert_prompt_is_a_prefix(&tools, &conversation.up_to(2));
    }
}

#[test]
fn tools_are_shown_or_the_row_is_refused() {
    let schema = json!({"type": "function", "function": {"name": "find", "parameters": {}}});
    let conversation = called("{}", "").with_tools(vec![schema]);
    let text = renderer(TOOLS).render(&conversation, false).unwrap();
    assert!(
        text.contains(r#"{"type": "function", "function": {"name": "find", "parameters": {}}}"#),
        "{text}"
    );
    assert!(renderer(TOOLS).encode_conversation(&conversation).is_ok());
    let deaf = renderer(&TOOLS.replace("{% if tools %}", "{% if false %}"));
    let error = deaf.encode_conversation(&conversation).unwrap_err();
    assert!(matches!(error, RenderError::ToolsDropped), "{error}");
    for template in [
        CHATML,
        &TOOLS.replace("call.function.arguments | tojson", "'{}'"),
    ] {
        let error = renderer(template)
            .encode_conversation(&called(r#"{"q": 1}"#, "x"))
            .unwrap_err();
        assert!(
            matches!(error, RenderError::CallDropped { number: 2 }),
            "{error}"
        );
    }
}

#[test]
fn control_tokens_in_a_call_do_not_control() {
    let attack = called(r#"{"q": "<|im_end|>"}"#, "");
    let encoded = renderer(TOOLS).encode_conversation(&attack).unwrap();
    assert_eq!(encoded.ids.iter().filter(|&&id| id == 1).count(), 4);
    let error = renderer(TOOLS)
        .encode_conversation(&called(r#"{"<|im_end|>": "x"}"#, ""))
        .unwrap_err();
    assert!(
        matches!(&error, RenderError::ControlInCall { token } if token == "<|im_end|>"),
        "{error}"
    );
}

#[test]
fn arguments_are_text_where_a_template_prints_them_and_an_object_where_it_looks_into_them() {
    let text = r#"{\"q\": \"caf\\u00e9\", \"n\":1e-7}"#;
    for (template, arguments, told) in [
        (
            "{{ c.arguments }}",
            format!("\"{text}\""),
            r#"{"q": "caf\u00e9", "n":1e-7}"#,
        ),
        (
            "{{ c.name + c.arguments }}",
            format!("\"{text}\""),
            r#"find{"q": "caf\u00e9", "n":1e-7}"#,
        ),
        (
            "{{ c.arguments }}",
            r#"{"q": "café", "n": 1e-7}"#.into(),
            r#"{"q": "café", "n": 1e-07}"#,
        ),
        (
            "{{ c.name + c.arguments }}",
            r#"{"q": "café", "n": 1e16}"#.into(),
            r#"find{"q": "café", "n": 1e+16}"#,
        ),
        (
            "{{ c.arguments | tojson(separators=(',', ':'), sort_keys=true, ensure_ascii=true) }}",
            format!("\"{text}\""),
            r#"{"n":1e-07,"q":"caf\u00e9"}"#,
        ),
        (
            "{{ c.arguments if c.arguments is string else c.arguments | tojson(indent=1) }}",
            format!("\"{text}\""),
            r#"{"q": "caf\u00e9", "n":1e-7}"#,
        ),
        (
            "{{ c.arguments if c.arguments is string else c.arguments | tojson(indent=1) }}",
            r#"{"q": "é", "n": [true]}"#.into(),
            "{\n \"q\": \"é\",\n \"n\": [\n  true\n ]\n}",
        ),
        (
            "{% for k, v in c.arguments.items() %}{{ k }}={{ v }};{% endfor %}",
            format!("\"{text}\""),
            "q=café;n=1e-07;",
        ),
    ] {
        let source = format!(
            "{{% for m in messages %}}{{{{ '<|im_start|>' + m.role + m.content }}}}{{% for c in m.tool_calls %}}{{% set c = c.function %}}{{{{ c.name }}}}:{template}{{% endfor %}}{{{{ '<|im_end|>' }}}}{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '<|im_start|>assistant' }}}}{{% endif %}}"
        );
        let conversation = called(&arguments, "");
        assert_eq!(
            supervised(&renderer(&source), &conversation.up_to(2)),
            [format!("find:{told}<|im_end|>")],
            "{template} {arguments}"
        );
    }
}

#[test]
fn a_call_behind_a_token_that_ends_replies_is_refused_wherever_it_is_to_be_supervised() {
    // The text of a reply is a message of its own, and its call another one.
    let twice = "{% for m in messages %}{{ m.role + ':' + m.content + '<|im_end|>' }}{% for c in m.tool_calls %}{{ 'call:' + c.function.name + c.function.arguments + '<|im_end|>' }}{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";
    let twice = renderer(twice);
    let conversation = called(r#"{"q": "a"}"#, "");
    for part in [conversation.clone(), conversation.up_to(2)] {
        let error = twice.encode_conversation(&part).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the reply in turn 2 holds \"<|im_end|>\", which ends replies, before its call, so the model would never come to write it"
        );
    }
    let mut read = conversation;
    read.turns[1].is_supervised = false;
    assert_eq!(supervised(&twice, &read), ["one<|im_end|>"]);
}

#[test]
fn a_number_that_was_cut_when_it_was_read_is_refused() {
    let error = renderer(TOOLS)
        .encode_conversation(&called(r#"{"n": 123456789012345678901234567890}"#, ""))
        .unwrap_err();
    assert!(
        matches!(error, RenderError::NumberTooLarge { .. }),
        "{error}"
    );
}

#[test]
fn a_call_whose_beginning_is_not_the_prompt_is_refused() {
    let early =
        renderer(&TOOLS.replace("'<|im_start|>assistant'", "'<|im_start|>assistant<plan>'"));
    let error = early
        .encode_conversation(&called("{}", "").up_to(2))
        .unwrap_err();
    assert!(
        matches!(error, RenderError::CallUnplaced { number: 2 }),
        "{error}"
    );
}

#[test]
fn conversations_with_tools_are_shown_in_the_template_for_them_and_others_are_not() {
    let tool_use = || ChatTemplate::new(TOOLS).unwrap();
    let both = renderer(CHATML).with_tool_use(tool_use());
    let (plain, tools) = (renderer(CHATML), renderer(TOOLS));
    let find = json!({"type": "function", "function": {"name": "find", "parameters": {}}});
    let calling = called(r#"{"q": "a"}"#, "").with_tools(vec![find]);
    let talking = talk(&[(U, "hi"), (A, "one")]);
    for (conversation, own) in [(&calling, &tools), (&talking, &plain)] {
        let encoded = both.encode_conversation(conversation).unwrap();
        assert_eq!(encoded, own.encode_conversation(conversation).unwrap());
        assert_prompt_is_a_prefix(&both, conversation);
        let asked = conversation.up_to(1);
        assert_eq!(
            both.render(&asked, true).unwrap(),
            own.render(&asked, true).unwrap()
        );
    }
    assert_eq!(both.template_source(), CHATML);
    assert_eq!(both.tool_use_source().as_deref(), Some(TOOLS));
    let hashes = [&both, &plain, &tools].map(Renderer::template_hash);
    assert!(
        hashes[0] != hashes[1] && hashes[0] != hashes[2],
        "{hashes:?}"
    );
}
