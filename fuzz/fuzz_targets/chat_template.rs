//! Any text as a model's chat template, rendering a conversation that has everything: system, tools, calls, two replies.

#![no_main]

use std::cell::RefCell;

use hone_text::{ChatTemplate, Conversation, Renderer, Role, Tokenizer, Turn};
use libfuzzer_sys::fuzz_target;

const TOKENIZER: &[u8] = include_bytes!("../../fixtures/models/tiny-llama-tied/tokenizer.json");

thread_local! {
    static CONVERSATION: RefCell<Conversation> = RefCell::new(Conversation::new([
        Turn::new(Role::System, "Be brief."),
        Turn::new(Role::User, "What is 2 + 2?"),
        Turn::new(Role::Assistant, "4"),
        Turn::new(Role::User, "And 3 + 3?"),
        Turn::new(Role::Assistant, "6 {{ x }} <|im_end|>"),
    ]));
}

fuzz_target!(|input: &str| {
    let Ok(template) = ChatTemplate::new(input) else {
        return;
    };
    let tokenizer = Tokenizer::from_json(TOKENIZER).expect("a fixture");
    let Ok(renderer) = Renderer::new(tokenizer, Some(template), &[]) else {
        return;
    };
    CONVERSATION.with_borrow(|conversation| {
        if let Ok(encoded) = renderer.encode_conversation(conversation) {
            assert_eq!(encoded.ids.len(), encoded.supervised.len());
        }
        let _ = renderer.encode_prompt(&conversation.up_to(4));
    });
});
