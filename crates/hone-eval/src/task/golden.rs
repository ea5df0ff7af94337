//! What lm-evaluation-harness made of the task files in `fixtures/tasks` with a tiny model, against what is made of them here.

use std::path::{Path, PathBuf};

use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{BaseFormat, Model};
use hone_tensor::Device;
use hone_text::{ChatTemplate, Renderer, Tokenizer};
use serde_json::Value;

use super::questions::Context;
use super::{Definition, Kind, Paper, Reply, Task, scored};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

pub(super) fn tiny(max_positions: usize) -> (Model, Renderer) {
    let weights = BaseWeights::open(&fixtures().join("models/tiny-llama-tied")).unwrap();
    let config = weights.file("tokenizer_config.json").unwrap().unwrap();
    let tokenizer = Tokenizer::from_json(&weights.tokenizer_json().unwrap().unwrap()).unwrap();
    let template = ChatTemplate::from_config(&config).unwrap();
    let renderer = Renderer::new(tokenizer.with_config(&config).unwrap(), template, &[]).unwrap();
    let device = Device::cpu(1).unwrap();
    let model = Model::load(&weights, &device, BaseFormat::Stored, max_positions).unwrap();
    (model, renderer)
}

fn golden() -> Value {
    let text = std::fs::read_to_string(fixtures().join("golden/tasks.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn task(name: &str) -> Task {
    let file = fixtures().join("tasks").join(format!("{name}.yaml"));
    Task::read(Definition::from_lm_eval(&file).unwrap(), false).unwrap()
}

/// The contexts and continuations that were given, as the harness lists them.
fn given(task: &Task, at: usize) -> Vec<(String, Option<String>)> {
    let question = &task.questions[at];
    let Context::Text(context) = &question.context else {
        panic!("the tasks are texts")
    };
    let delimiter = &task.definition.target_delimiter;
    let text = question.gold.shown(&question.choices).remove(0);
    let answer = |choice: &String| Some(format!("{delimiter}{choice}"));
    let choices = question.choices.iter();
    match task.definition.kind {
        Kind::MultipleChoice => choices
            .map(|choice| (context.clone(), answer(choice)))
            .collect(),
        Kind::Loglikelihood => vec![(context.clone(), Some(text))],
        Kind::LoglikelihoodRolling => vec![(text, None)],
        Kind::GenerateUntil => vec![(context.clone(), None)],
    }
}

fn likelihoods(made: &Value) -> Vec<(f64, Option<bool>)> {
    let one = |value: &Value| match value {
        Value::Array(pair) => (pair[0].as_f64().unwrap(), pair[1].as_bool()),
        number => (number.as_f64().unwrap(), None),
    };
    made.as_array()
        .unwrap()
        .iter()
        .map(|made| one(&made[0]))
        .collect()
}

#[test]
fn tasks_are_what_lm_eval_makes_of_them() {
    let golden = golden();
    let length = golden["length"].as_u64().unwrap() as usize;
    let (model, renderer) = tiny(length + 64);
    for (name, expected) in golden["tasks"].as_object().unwrap() {
        let task = task(name);
        let paper = Paper::set(&task, &renderer, length).unwrap();
        let replies = paper.sit(&model, &renderer, 4, |_| ()).unwrap();
        for sample in expected["samples"].as_array().unwrap() {
            let row = sample["row"].as_u64().unwrap() as usize;
            let own = given(&task, row);
            let theirs = sample["given"].as_array().unwrap();
            for (own, theirs) in own.iter().zip(theirs) {
                assert_eq!(own.0, theirs[0], "{name}, row {row}");
                if let Some(continuation) = &own.1 {
                    assert_eq!(*continuation, theirs[1], "{name}, row {row}");
                }
            }
            check_reply(name, row, &task, &replies[row], sample);
        }
        let every: Vec<usize> = (0..task.questions.len()).collect();
        let scores = scored(&task, &every, &replies, None, Seed::new(0));
        let theirs = expected["scores"].as_object().unwrap();
        assert_eq!(scores.len(), theirs.len(), "{name}");
        for score in scores {
            let filter = score.filter.as_deref().unwrap_or("none");
            let name = format!("{},{filter}", score.scored.metric.name);
            let (own, theirs) = (score.scored.base.value, theirs[&name].as_f64().unwrap());
            let apart = (own - theirs).abs() / theirs.abs().max(1.0);
            // Perplexities are powers of sums that differ in their seventh digit.
            let allowed = if name.contains("perplexity") || name.contains("brier") {
                1e-4
            } else {
                1e-6
            };
            assert!(
                apart < allowed,
                "{}: {name} is {own}, there {theirs}",
                task.definition.name
            );
        }
    }
}

fn check_reply(name: &str, row: usize, task: &Task, reply: &Reply, sample: &Value) {
    if task.definition.kind == Kind::GenerateUntil {
        assert_eq!(reply.answers[0], sample["made"][0][0], "{name}, row {row}");
        let filter = sample["filter"].as_str().unwrap();
        let filter = task
            .definition
            .filters
            .iter()
            .find(|own| own.name == filter)
            .unwrap();
        assert_eq!(
            filter.apply(&reply.answers),
            sample["filtered"][0],
            "{name}, row {row}"
        );
        return;
    }
    let theirs = likelihoods(&sample["made"]);
    // A text of several windows is one sum there.
    let own: Vec<f64> = match task.definition.kind {
        Kind::LoglikelihoodRolling => vec![reply.log_likelihoods.iter().sum()],
        _ => reply.log_likelihoods.clone(),
    };
    assert_eq!(own.len(), theirs.len(), "{name}, row {row}");
    for (at, (own, (theirs, greedy))) in own.iter().zip(theirs).enumerate() {
        let apart = (own - theirs).abs() / theirs.abs().max(1.0);
        assert!(apart < 1e-5, "{name}, row {row}: {own}, there {theirs}");
        if let (Some(own), Some(theirs)) = (reply.greedy.get(at), greedy) {
            assert_eq!(*own, theirs, "{name}, row {row}");
        }
    }
}

#[test]
fn a_question_replies_alike_alone_and_among_others() {
    let (model, renderer) = tiny(512);
    let task = task("choices");
    let together = Paper::set(&task, &renderer, 256).unwrap();
    let together = together.sit(&model, &renderer, 4, |_| ()).unwrap();
    for (at, question) in task.questions.iter().enumerate().step_by(5) {
        let alone = Task {
            definition: Definition::from_lm_eval(&task.definition.file).unwrap(),
            questions: vec![question.clone()],
        };
        let alone = Paper::set(&alone, &renderer, 256).unwrap();
        let alone = alone.sit(&model, &renderer, 4, |_| ()).unwrap().remove(0);
        for (alone, together) in alone
            .log_likelihoods
            .iter()
            .zip(&together[at].log_likelihoods)
        {
            assert!((alone - together).abs() < 1e-4, "question {at}");
        }
    }
}
