//! The real base model against transformers on its dequantised weights.
//!
//! The weights are not in the repository: `hone pull smollm2-135m-instruct` fetches them, as CI does first.
//! Without them these tests say so and pass.

use std::path::PathBuf;

use hone::base::{Home, OpenBase, OpenOptions, find};
use hone::model::{BaseFormat, Generation, LossSum, Model, Packed, Sampling};
use hone::tensor::Device;
use hone::text::Conversation;
use serde_json::Value;

fn golden() -> Value {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/smollm2_losses.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn open() -> Option<OpenBase> {
    match find("smollm2-135m-instruct", &Home::from_env().ok()?) {
        Ok(base) => Some(OpenBase::open(base, &OpenOptions::default()).unwrap()),
        Err(why) => {
            println!("skipped: {why}; `hone pull smollm2-135m-instruct` fetches it");
            None
        }
    }
}

fn load(open: &OpenBase) -> Model {
    let device = Device::cpu(2).unwrap();
    Model::load(&open.weights, &device, BaseFormat::Stored, 256).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn the_mean_loss_of_fifty_texts_is_that_of_transformers() {
    let (Some(open), golden) = (open(), golden()) else {
        return;
    };
    let model = load(&open);
    let mut sum = LossSum::default();
    for text in golden["texts"].as_array().unwrap() {
        let ids = ids(&text["ids"]);
        let rows: Vec<usize> = (0..ids.len() - 1).collect();
        let batch = Packed {
            ids: &ids,
            boundaries: &[0, ids.len()],
            rows: &rows,
            targets: &ids[1..],
            weights: None,
        };
        let loss: LossSum = model.nats(batch).unwrap().into_iter().collect();
        let difference = loss.nats - text["nats"].as_f64().unwrap();
        assert!(
            difference.abs() < 0.01 * loss.tokens as f64,
            "{} differs by {difference} nats",
            text["text"]
        );
        sum += loss;
    }
    let difference = sum.mean().unwrap() - golden["mean"].as_f64().unwrap();
    println!("mean loss differs from transformers' by {difference:e} nats per token");
    assert!(difference.abs() < 1e-3, "mean loss differs by {difference}");
}

#[test]
fn text_becomes_the_ids_of_transformers() {
    let (Some(open), golden) = (open(), golden()) else {
        return;
    };
    for text in golden["texts"].as_array().unwrap() {
        let words = text["text"].as_str().unwrap();
        assert_eq!(
            open.renderer.tokenizer().encode_plain(words).unwrap(),
            ids(&text["ids"]),
            "{words}"
        );
    }
    for chat in golden["greedy"].as_array().unwrap() {
        let turns: Conversation = serde_json::from_value(chat["messages"].clone()).unwrap();
        assert_eq!(
            open.renderer.encode_prompt(&turns).unwrap(),
            ids(&chat["prompt_ids"])
        );
    }
}

#[test]
fn greedy_replies_are_those_of_transformers_while_it_is_sure() {
    let (Some(open), golden) = (open(), golden()) else {
        return;
    };
    let model = load(&open);
    let chats = golden["greedy"].as_array().unwrap();
    let prompts: Vec<Vec<u32>> = chats.iter().map(|chat| ids(&chat["prompt_ids"])).collect();
    let settings = Generation {
        max_new_tokens: 24,
        stop_ids: vec![],
        sampling: Sampling::GREEDY,
    };
    let answers = model
        .generate_many(&prompts, &settings, 5, |_, _| {})
        .unwrap();
    for (chat, answer) in chats.iter().zip(answers) {
        let lead = |lead: &Value| lead.as_f64().unwrap();
        let sure = chat["margins"]
            .as_array()
            .unwrap()
            .iter()
            .take_while(|m| lead(m) > 0.01)
            .count();
        assert!(
            sure > 5,
            "a reply that transformers was sure of for {sure} tokens shows nothing"
        );
        assert_eq!(
            answer.ids[..sure],
            ids(&chat["ids"])[..sure],
            "{}",
            chat["messages"]
        );
    }
}
