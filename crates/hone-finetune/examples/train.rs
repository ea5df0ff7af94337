//! Trains a LoRA adapter on rows of a file, with a validation set, and writes it as PEFT does.
//!
//! `cargo run --example train -- MODEL_DIR ROWS.jsonl OUT_DIR`

use std::error::Error;
use std::path::Path;

use hone_finetune::{
    Event, LoadOptions, LoraConfig, Trained, Trainer, TrainerConfig, get_peft_model, load_base,
};

/// Trains on four fifths of the rows and validates on the rest.
pub fn run(base: &Path, rows: &Path, out: &Path) -> Result<Trained, Box<dyn Error>> {
    let base = load_base(base, LoadOptions::default())?;
    let mut examples = base.encode_files(&[rows])?;
    // Every fifth row is for validation.
    let mut valid = base.encode(&[])?;
    valid.tasks = examples.tasks.clone();
    let all = std::mem::take(&mut examples.examples);
    for (place, example) in all.into_iter().enumerate() {
        match place % 5 {
            4 => valid.examples.push(example),
            _ => examples.examples.push(example),
        }
    }

    let lora = LoraConfig {
        rank: 8,
        alpha: 16.0,
        ..LoraConfig::default()
    };
    let mut model = get_peft_model(base, lora, 0)?;
    let (trained, all) = model.num_parameters()?;
    println!("{trained} of {all} parameters are trained");

    let config = TrainerConfig {
        epochs: 3.0,
        batch_size: 4,
        ..TrainerConfig::default()
    };
    let trainer = Trainer::new(config, out);
    let trained = trainer.train(&mut model, &examples, Some(&valid), |event| match event {
        Event::Stepped(step) => println!("step {}: loss {:.4}", step.step, step.loss),
        Event::Validated(valid) => println!("validation loss {:.4}", valid.loss),
        _ => {}
    })?;
    println!("{trained:?}");
    Ok(trained)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, rows, out] = &arguments[..] else {
        return Err("usage: train MODEL_DIR ROWS.jsonl OUT_DIR".into());
    };
    run(base.as_ref(), rows.as_ref(), out.as_ref()).map(|_| ())
}
