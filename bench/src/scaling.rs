//! How a step's time and memory grow: with threads, and with the length of sequences at equal tokens.

use anyhow::Result;
use hone::base::OpenBase;
use hone::model::{BaseFormat, LoraConfig, Model, StepOptions};
use hone::tensor::Device;

use crate::measure::Figure;
use crate::step::{Batch, Contestant, compare, load};

/// One thread against all; 8×512 against 1×4096.
pub fn all(
    base: &OpenBase,
    device: &Device,
    threads: usize,
    repeats: usize,
) -> Result<Vec<Figure>> {
    let vocab_size = base.weights.config().vocab_size;
    let model = |device: &Device| load(base, device, BaseFormat::F32, LoraConfig::default());
    let (one, many) = (model(&Device::cpu(1)?)?, model(device)?);
    let batch = Batch::dense(2, 512, vocab_size);
    let mut figures = compare(
        repeats,
        &[
            contestant("1 thread".into(), &one, &batch),
            contestant(format!("{threads} threads"), &many, &batch),
        ],
    );
    let lengths = [(8, 512), (1, 4096)]
        .map(|(sequences, length)| Batch::dense(sequences, length, vocab_size));
    let recomputed = lengths.iter().map(|batch| Contestant {
        options: StepOptions::default(),
        ..contestant("recomputed".into(), &many, batch)
    });
    figures.extend(compare(repeats, &recomputed.collect::<Vec<_>>()));
    Ok(figures)
}

fn contestant<'a>(name: String, model: &'a Model, batch: &'a Batch) -> Contestant<'a> {
    Contestant {
        name: format!("step {}, {name}", batch.name),
        model,
        batch,
        options: StepOptions {
            kept_layers: usize::MAX,
            ..StepOptions::default()
        },
    }
}
