//! The library on another back-end: one that computes nothing and counts what a step would take.
//!
//! A back-end is a `hone_finetune::Backend`; `Device::from_backend` makes a device of it, and everything else stays as it is.
//!
//! `cargo run --example another_backend -- MODEL_DIR`

use std::error::Error;
use std::path::Path;

use hone_finetune::{
    Cost, LoadOptions, LoraConfig, Record, Rehearsal, get_peft_model, load_base, pack,
};

/// What a step would take.
pub fn run(base: &Path) -> Result<Cost, Box<dyn Error>> {
    let backend = Rehearsal::new();
    let options = LoadOptions {
        device: Some(backend.device()),
        ..LoadOptions::default()
    };
    let base = load_base(base, options)?;
    let row =
        Record::from_json(r#"{"prompt": "Which way is north?", "completion": "Up the hill."}"#)?;
    let examples = base.encode(&[row])?;
    let model = get_peft_model(base, LoraConfig::default(), 0)?;
    let mut grads = model.gradients(0)?;
    let batch = pack(&examples.examples.iter().collect::<Vec<_>>());
    let (loss, cost) = backend.of(|| model.accumulate(&batch, 0, &mut grads));
    loss?;
    println!(
        "{:.3e} operations, {} bytes at most",
        cost.flops, cost.memory.peak_bytes
    );
    Ok(cost)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args()
        .nth(1)
        .ok_or("usage: another_backend MODEL_DIR")?;
    run(base.as_ref()).map(|_| ())
}
