//! Renderings, ids and masks against transformers' own, for the tiny tokenizer and several templates.

use std::fs;
use std::path::Path;

use hone_text::{ChatTemplate, Conversation, Renderer, Tokenizer};
use serde_json::Value;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn tokenizer() -> Tokenizer {
    let tokenizer =
        Tokenizer::from_json(&fixture("models/tiny-llama-tied/tokenizer.json")).unwrap();
    tokenizer
        .with_config(&fixture("models/tiny-llama-tied/tokenizer_config.json"))
        .unwrap()
}

fn golden() -> Value {
    serde_json::from_slice(&fixture("golden/templates.json")).unwrap()
}

fn ids(list: &Value) -> Vec<u32> {
    serde_json::from_value(list.clone()).unwrap()
}

#[test]
fn renderings_ids_and_masks_are_those_of_transformers() {
    let golden = golden();
    for templates in ["templates", "templates_with_generation"] {
        for (name, source) in golden[templates].as_object().unwrap() {
            let template = ChatTemplate::new(source.as_str().unwrap()).unwrap();
            let renderer = Renderer::new(tokenizer(), Some(template), &[]).unwrap();
            let cases = golden["cases"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|case| case["template"] == name.as_str());
            let count = cases.map(|case| check(&renderer, case)).count();
            assert!(count > 5, "{name} has {count} cases");
        }
    }
}

fn check(renderer: &Renderer, case: &Value) {
    let conversation: Conversation = serde_json::from_value(case["messages"].clone()).unwrap();
    let tools = case["tools"].as_array().cloned().unwrap_or_default();
    let conversation = conversation.with_tools(tools);
    let encoded = renderer.encode_conversation(&conversation).unwrap();
    let context = format!("{} {:?}", case["template"], encoded.text);
    assert_eq!(encoded.text, case["text"].as_str().unwrap(), "{context}");
    assert_eq!(
        renderer.encode_prompt(&conversation).unwrap(),
        ids(&case["prompt_ids"]),
        "{context}"
    );
    if case["clean"] == false {
        return;
    }
    assert_eq!(encoded.ids, ids(&case["ids"]), "{context}");
    let theirs: Vec<bool> = ids(&case["assistant"])
        .into_iter()
        .map(|mark| mark == 1)
        .collect();
    let ours: Vec<bool> = match case["template"] == "inst" {
        // The template writes a space between the prompt and the reply. At serving time the model has to
        // write it, so it is supervised here; transformers marks only what stands inside the tags.
        true => encoded
            .supervised
            .iter()
            .enumerate()
            .map(|(at, &mark)| mark && theirs[at])
            .collect(),
        false => encoded.supervised.clone(),
    };
    assert_eq!(ours, theirs, "{context}");
    let replies = conversation
        .turns
        .iter()
        .filter(|turn| turn.role == hone_text::Role::Assistant)
        .count();
    let extra = encoded.supervised.iter().filter(|&&mark| mark).count()
        - theirs.iter().filter(|&&mark| mark).count();
    assert_eq!(
        extra,
        if case["template"] == "inst" {
            replies
        } else {
            0
        },
        "{context}"
    );
}

#[test]
fn the_models_own_template_is_read_from_its_configuration() {
    let config = fixture("models/tiny-llama-tied/tokenizer_config.json");
    let template = ChatTemplate::from_config(&config).unwrap().unwrap();
    let renderer = Renderer::new(tokenizer(), Some(template), &[]).unwrap();
    let golden = golden();
    for case in golden["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["template"] == "chatml")
    {
        check(&renderer, case);
    }
    assert_eq!(renderer.stop_ids(), [2]);
}
