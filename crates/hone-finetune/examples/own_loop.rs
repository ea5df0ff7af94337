//! A training loop of one's own: accumulation, validation after each epoch, early stopping, and the best parameters at the end.
//!
//! `cargo run --example own_loop -- MODEL_DIR ROWS.jsonl OUT_DIR`

use std::error::Error;
use std::path::Path;

use hone_finetune::{
    AdamWConfig, Example, LoadOptions, LoraConfig, SaveDtype, get_peft_model, load_base, pack,
};

const EPOCHS: usize = 20;
const BATCH_SIZE: usize = 4;
const PATIENCE: usize = 3;

/// Returns the validation losses, epoch by epoch.
pub fn run(base: &Path, rows: &Path, out: &Path) -> Result<Vec<f64>, Box<dyn Error>> {
    let base = load_base(base, LoadOptions::default())?;
    let mut train = base.encode_files(&[rows])?;
    let mut valid = base.encode(&[])?;
    valid.examples = train.examples.split_off(train.examples.len() * 4 / 5);

    let lora = LoraConfig {
        dropout: 0.1,
        ..LoraConfig::default()
    };
    let mut model = get_peft_model(base, lora, 0)?;
    let mut optimizer = model.optimizer(AdamWConfig::default())?;
    let mut grads = model.gradients(0)?;

    let mut losses = vec![model.evaluate(&valid)?];
    let (mut best, mut best_epoch) = (model.parameters()?, 0);
    let mut step = 0;
    for epoch in 1..=EPOCHS {
        for batch in train.examples.chunks(BATCH_SIZE) {
            // Two micro-batches a step; what they add up to does not depend on how a batch is dealt.
            for part in batch.chunks(BATCH_SIZE / 2) {
                let batch = pack(&part.iter().collect::<Vec<&Example>>());
                model.accumulate(&batch, step, &mut grads)?;
            }
            optimizer.step(&mut model, &grads, 5e-3)?;
            step += 1;
        }
        let loss = model.evaluate(&valid)?;
        println!("epoch {epoch}: validation loss {loss:.4}");
        if loss < losses[best_epoch] {
            (best, best_epoch) = (model.parameters()?, epoch);
        }
        losses.push(loss);
        if epoch - best_epoch == PATIENCE {
            println!("no better for {PATIENCE} epochs");
            break;
        }
    }
    model.restore(&best)?;
    model.save_adapter(out, SaveDtype::F32)?;
    Ok(losses)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, rows, out] = &arguments[..] else {
        return Err("usage: own_loop MODEL_DIR ROWS.jsonl OUT_DIR".into());
    };
    run(base.as_ref(), rows.as_ref(), out.as_ref()).map(|_| ())
}
