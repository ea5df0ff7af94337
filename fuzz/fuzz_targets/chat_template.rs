//! Any text as a model's chat template, rendering a conversation that has everything: system, tools, calls, two replies.

#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use hone_fuzz::assert_one_line;
use hone_text::{
    ChatTemplate, Conversation, Limits, Renderer, Role, TemplateError, TemplateOption, Tokenizer,
    ToolCall, Turn,
};
use libfuzzer_sys::fuzz_target;

const JSON: &[u8] = include_bytes!("../../fixtures/models/tiny-llama-tied/tokenizer.json");

thread_local! {
    static TOKENIZER: Tokenizer = Tokenizer::from_json(JSON).expect("a fixture");
    static CONVERSATION: RefCell<Conversation> = RefCell::new(conversation());
}

fn conversation() -> Conversation {
    let json = |text: &str| serde_json::from_str(text).expect("an object");
    let call = ToolCall {
        id: Some("1".into()),
        name: "add".into(),
        arguments: json(r#"{"numbers": [3, 3], "note": "<|im_end|>"}"#),
        written: None,
    };
    let calling = Turn {
        calls: vec![call],
        ..Turn::new(Role::Assistant, "")
    };
    let answer = Turn {
        call_id: Some("1".into()),
        name: Some("add".into()),
        ..Turn::new(Role::Tool, "6")
    };
    let turns = [
        Turn::new(Role::System, "Be brief."),
        Turn::new(Role::User, "What is 2 + 2?"),
        Turn::new(Role::Assistant, "4"),
        Turn::new(Role::User, "And 3 + 3?"),
        calling,
        answer,
        Turn::new(Role::Assistant, "6 {{ x }} <|im_end|>"),
    ];
    let tool =
        r#"{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}"#;
    Conversation::new(turns).with_tools(vec![serde_json::from_str(tool).expect("JSON")])
}

fuzz_target!(|input: &str| {
    let limits = Limits {
        time: Duration::from_secs(3),
        ..Limits::default()
    };
    let template = match ChatTemplate::with_limits(input, limits) {
        Ok(template) => template,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    // What it reads can be set, and the template with it is one.
    let options = template.reads().iter().map(|name| TemplateOption {
        name: name.clone(),
        value: true.into(),
    });
    let set = template.clone().with_options(&options.collect::<Vec<_>>());
    if let Err(error) = &set {
        let is_long = matches!(
            error,
            TemplateError::SourceTooLong { .. } | TemplateError::OutOfTime { .. }
        );
        assert!(is_long, "{error}");
    }
    let tokenizer = TOKENIZER.with(Tokenizer::clone);
    let renderer = match Renderer::new(tokenizer, Some(template), &[]) {
        Ok(renderer) => renderer,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    CONVERSATION.with_borrow(|conversation| {
        match renderer.encode_conversation(conversation) {
            Ok(encoded) => assert_eq!(encoded.ids.len(), encoded.supervised.len()),
            Err(error) => assert_one_line(&error.to_string()),
        }
        if let Err(error) = renderer.encode_prompt(&conversation.up_to(4)) {
            assert_one_line(&error.to_string());
        }
    });
});
