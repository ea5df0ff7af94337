//! A training step: loss and gradients of one packed batch, over storage forms and with recompute.

use std::path::Path;

use anyhow::{Context, Result};
use hone::base::OpenBase;
use hone::data::{TooLong, encode, pack, read};
use hone::ledger::Seed;
use hone::model::weights::DecoderConfig;
use hone::model::{Adapter, BaseFormat, LoraConfig, Model, Packed, StepOptions};
use hone::tensor::Device;

use crate::measure::{Figure, in_turns};
use crate::ops::{TOKENS, attention_flops, heads};

/// One packed batch.
struct Batch {
    name: String,
    ids: Vec<u32>,
    boundaries: Vec<usize>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Batch {
    /// Sequences of one length, every token but the first supervised.
    fn dense(sequence: usize, vocab_size: usize) -> Self {
        let ids: Vec<u32> = (0..TOKENS)
            .map(|i| (i * 7919 % vocab_size) as u32)
            .collect();
        let rows: Vec<usize> = (0..TOKENS).filter(|i| (i + 1) % sequence != 0).collect();
        let targets = rows.iter().map(|&row| ids[row + 1]).collect();
        let boundaries = (0..=TOKENS / sequence).map(|i| i * sequence).collect();
        Self {
            name: format!("{}×{sequence}", TOKENS / sequence),
            ids,
            boundaries,
            rows,
            targets,
        }
    }

    /// Eight real rows.
    fn real(base: &OpenBase, data: &Path) -> Result<Self> {
        let records = read(&[data])?.records;
        let encoding = encode(&base.renderer, &records, 1024, TooLong::Drop);
        let examples: Vec<_> = encoding.examples.iter().take(8).collect();
        anyhow::ensure!(
            !examples.is_empty(),
            "{} has no usable rows",
            data.display()
        );
        let batch = pack(&examples);
        let (rows, targets) = batch.targets.iter().map(|t| (t.row, t.token)).unzip();
        Ok(Self {
            name: "8 real rows".into(),
            ids: batch.ids,
            boundaries: batch.boundaries,
            rows,
            targets,
        })
    }

    fn packed(&self) -> Packed<'_> {
        Packed {
            ids: &self.ids,
            boundaries: &self.boundaries,
            rows: &self.rows,
            targets: &self.targets,
        }
    }

    fn flops(&self, config: &DecoderConfig, adapter: usize) -> f64 {
        let lengths: Vec<usize> = self
            .boundaries
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        let (forward, backward) = attention_flops(&heads(config), &lengths);
        let tokens = self.ids.len() as f64;
        let body = tokens * (4.0 * config.linear_parameters() as f64 + 6.0 * adapter as f64);
        let head = 4.0 * (self.rows.len() * config.vocab_size * config.d_model) as f64;
        body + head + config.num_layers as f64 * (forward + backward)
    }
}

/// Every configuration of interest, the storage forms in turns.
pub fn all(
    base: &OpenBase,
    device: &Device,
    data: Option<&Path>,
    repeats: usize,
) -> Result<Vec<Figure>> {
    let config = base.weights.config();
    let mut batches = vec![Batch::dense(512, config.vocab_size)];
    batches.extend(data.map(|data| Batch::real(base, data)).transpose()?);
    let forms = [
        ("f32", BaseFormat::F32),
        ("bf16", BaseFormat::Bf16),
        ("NF4", BaseFormat::Nf4),
        ("as stored", BaseFormat::Stored),
    ];
    let models: Vec<(&str, Model)> = forms
        .into_iter()
        .map(|(name, format)| {
            Ok((
                name,
                load(base, device, format).with_context(|| format!("loading as {name}"))?,
            ))
        })
        .collect::<Result<_>>()?;
    let layers = config.num_layers;
    let mut figures = Vec::new();
    for batch in &batches {
        for (kept_layers, how) in [(layers, "kept"), (0, "recomputed")] {
            let mut steps: Vec<_> = models
                .iter()
                .map(|(_, model)| step(model, batch, kept_layers))
                .collect();
            let peaks: Vec<usize> = steps.iter_mut().map(|step| peak(device, step)).collect();
            let mut contestants: Vec<&mut dyn FnMut()> = steps
                .iter_mut()
                .map(|step| step as &mut dyn FnMut())
                .collect();
            let times = in_turns(repeats, &mut contestants);
            for (((form, model), seconds), peak_bytes) in models.iter().zip(times).zip(peaks) {
                let adapter = model.adapter().map_or(0, Adapter::num_parameters);
                let name = format!("step {}, {form}, {how}", batch.name);
                let figure = Figure::new(name, seconds, batch.flops(config, adapter));
                figures.push(Figure {
                    tokens: batch.ids.len(),
                    peak_bytes,
                    ..figure
                });
            }
        }
    }
    Ok(figures)
}

fn load(base: &OpenBase, device: &Device, format: BaseFormat) -> Result<Model> {
    let mut model = Model::load(&base.weights, device, format, TOKENS)?;
    let adapter = Adapter::new(LoraConfig::default(), model.config(), device, Seed::new(0))?;
    model.attach(adapter);
    Ok(model)
}

fn step<'a>(model: &'a Model, batch: &'a Batch, kept_layers: usize) -> impl FnMut() + 'a {
    let options = StepOptions {
        kept_layers,
        dropout_seed: 0,
    };
    move || {
        let adapter = model.adapter().expect("an adapter was attached");
        let mut grads = model.device().zeros(1, adapter.num_parameters());
        model
            .loss_and_grads(batch.packed(), options, &mut grads)
            .expect("the CPU does not fail");
    }
}

fn peak(device: &Device, step: &mut impl FnMut()) -> usize {
    device.reset_peak();
    let before = device.memory().live_bytes;
    step();
    device.memory().peak_bytes - before
}
