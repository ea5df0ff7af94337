//! A training step: loss and gradients of one packed batch, over storage forms and with recompute.

use std::path::Path;

use anyhow::{Context, Result};
use hone::base::OpenBase;
use hone::data::{TooLong, encode, pack, read};
use hone::ledger::Seed;
use hone::model::arch::DecoderConfig;
use hone::model::{Adapter, BaseFormat, LoraConfig, Model, Packed, StepOptions};
use hone::tensor::Device;

use crate::measure::{Figure, in_turns};
use crate::ops::{attention_flops, heads};

/// The longest sequence of any benchmark.
const MOST_POSITIONS: usize = 4096;

/// One packed batch.
pub struct Batch {
    pub name: String,
    pub ids: Vec<u32>,
    boundaries: Vec<usize>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Batch {
    /// Sequences of one length, every token but the first supervised.
    pub fn dense(sequences: usize, length: usize, vocab_size: usize) -> Self {
        let tokens = sequences * length;
        let ids: Vec<u32> = (0..tokens)
            .map(|i| (i * 7919 % vocab_size) as u32)
            .collect();
        let rows: Vec<usize> = (0..tokens).filter(|i| (i + 1) % length != 0).collect();
        let targets = rows.iter().map(|&row| ids[row + 1]).collect();
        let boundaries = (0..=sequences).map(|i| i * length).collect();
        Self {
            name: format!("{sequences}×{length}"),
            ids,
            boundaries,
            rows,
            targets,
        }
    }

    /// Eight real rows.
    pub fn real(base: &OpenBase, data: &Path) -> Result<Self> {
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

    pub fn packed(&self) -> Packed<'_> {
        Packed {
            ids: &self.ids,
            boundaries: &self.boundaries,
            rows: &self.rows,
            targets: &self.targets,
            weights: None,
        }
    }

    /// Work that a plain step needs, `4·N + 6·N_lora + attention + 4·V·d` on supervised rows.
    pub fn flops(&self, config: &DecoderConfig, adapter: usize) -> f64 {
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
    let mut batches = vec![Batch::dense(4, 512, config.vocab_size)];
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
                load(base, device, format, LoraConfig::default())
                    .with_context(|| format!("loading as {name}"))?,
            ))
        })
        .collect::<Result<_>>()?;
    let layers = config.num_layers;
    let mut figures = Vec::new();
    for batch in &batches {
        for (kept_layers, how) in [(layers, "kept"), (0, "recomputed")] {
            let options = StepOptions {
                kept_layers,
                ..StepOptions::default()
            };
            let steps = models.iter().map(|(form, model)| Contestant {
                name: format!("step {}, {form}, {how}", batch.name),
                model,
                batch,
                options,
            });
            figures.extend(compare(repeats, &steps.collect::<Vec<_>>()));
        }
    }
    Ok(figures)
}

/// One way of taking a step.
pub struct Contestant<'a> {
    pub name: String,
    pub model: &'a Model,
    pub batch: &'a Batch,
    pub options: StepOptions,
}

impl Contestant<'_> {
    fn step(&self) {
        let adapter = self.model.adapter().expect("an adapter was attached");
        let mut grads = self.model.device().zeros(1, adapter.num_parameters());
        self.model
            .loss_and_grads(self.batch.packed(), self.options, &mut grads)
            .expect("the CPU does not fail");
    }

    fn peak_bytes(&self) -> usize {
        let device = self.model.device();
        device.reset_peak();
        let before = device.memory().live_bytes;
        self.step();
        device.memory().peak_bytes - before
    }
}

/// Times the ways in turns.
pub fn compare(repeats: usize, contestants: &[Contestant]) -> Vec<Figure> {
    let peaks: Vec<usize> = contestants.iter().map(Contestant::peak_bytes).collect();
    let mut steps: Vec<_> = contestants.iter().map(|c| || c.step()).collect();
    let mut turns: Vec<&mut dyn FnMut()> =
        steps.iter_mut().map(|s| s as &mut dyn FnMut()).collect();
    let times = in_turns(repeats, &mut turns);
    let figure = |((contestant, seconds), peak_bytes): ((&Contestant, Vec<f64>), usize)| {
        let adapter = contestant
            .model
            .adapter()
            .map_or(0, Adapter::num_parameters);
        let flops = contestant.batch.flops(contestant.model.config(), adapter);
        Figure {
            tokens: contestant.batch.ids.len(),
            peak_bytes,
            ..Figure::new(contestant.name.clone(), seconds, flops)
        }
    };
    contestants
        .iter()
        .zip(times)
        .zip(peaks)
        .map(figure)
        .collect()
}

/// A base in one of its forms with a fresh adapter of the default size.
pub fn load(
    base: &OpenBase,
    device: &Device,
    format: BaseFormat,
    lora: LoraConfig,
) -> Result<Model> {
    let mut model = Model::load(&base.weights, device, format, MOST_POSITIONS)?;
    let adapter = Adapter::new(lora, model.config(), device, Seed::new(0))?;
    model.attach(adapter);
    Ok(model)
}
