//! The examples, run on the fixtures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[path = "../examples/adapters.rs"]
mod adapters;
#[path = "../examples/another_backend.rs"]
mod another_backend;
#[path = "../examples/curate.rs"]
mod curate;
#[path = "../examples/generate.rs"]
mod generate;
#[path = "../examples/own_loop.rs"]
mod own_loop;
#[path = "../examples/train.rs"]
mod train;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(path)
}

fn base() -> PathBuf {
    fixture("models/tiny-llama-tied")
}

/// A file of rows that have something to learn from each other.
fn rows(place: &Path) -> PathBuf {
    let file = place.join("rows.jsonl");
    let mut rows = String::new();
    for row in 0..20 {
        let (prompt, completion) = (row % 4, row % 2);
        writeln!(rows, "{{\"prompt\": \"Which way, {prompt}?\", \"completion\": \"Up the hill {completion}.\"}}").unwrap();
    }
    std::fs::write(&file, rows).unwrap();
    file
}

#[test]
fn train_lowers_the_validation_loss_and_leaves_an_adapter() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("run");
    let trained = train::run(&base(), &rows(place.path()), &out).unwrap();
    assert_eq!((trained.steps, trained.best_step > 0), (12, true));
    assert!(out.join("adapter/adapter_model.safetensors").is_file());
}

#[test]
fn own_loop_stops_early_or_learns_to_the_end_and_keeps_the_best() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("adapter");
    let losses = own_loop::run(&base(), &rows(place.path()), &out).unwrap();
    assert!(
        losses.iter().skip(1).any(|loss| loss < &losses[0]),
        "{losses:?}"
    );
    let kept = hone_finetune::load_base(base(), Default::default()).unwrap();
    kept.load_adapter(&out).unwrap();
}

#[test]
fn adapters_answer_each_in_its_own_way() {
    let adapter = |name: &str| fixture(&format!("adapters/{name}"));
    let replies = adapters::run(
        &base(),
        &adapter("tiny-llama-tied"),
        &adapter("tiny-llama-tied-qv"),
    );
    let [first, second, _, plain] = replies.unwrap();
    assert!(first != plain && second != plain && first != second);
}

#[test]
fn generate_says_what_it_returns_as_it_comes() {
    let mut heard = Vec::new();
    let reply = generate::run(&base(), "Which way is north?", &mut heard).unwrap();
    assert_eq!(reply.text.as_bytes(), heard);
    assert!(reply.tokens > 0);
}

#[test]
fn curate_redacts_and_skips_before_a_model_sees_a_row() {
    let examples = curate::run(&base()).unwrap();
    assert!(
        (1..=2).contains(&examples.examples.len()),
        "{}",
        examples.examples.len()
    );
}

#[test]
fn another_backend_counts_the_work_of_a_step() {
    let cost = another_backend::run(&base()).unwrap();
    assert!(cost.flops > 0.0 && cost.memory.peak_bytes > 0);
}
