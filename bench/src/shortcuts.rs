//! What each piece of work left out is worth: a step with all shortcuts, without each, and with none.

use std::path::Path;

use anyhow::{Context, Result};
use hone::base::OpenBase;
use hone::model::{Activations, BaseFormat, LoraConfig, Model, Shortcuts, StepOptions};
use hone::tensor::Device;

use crate::measure::{Figure, in_turns};
use crate::step::{Batch, Contestant, compare, load};

/// Real rows, all linear layers; then the upper third of the layers with and without a cache below.
pub fn all(
    base: &OpenBase,
    device: &Device,
    data: Option<&Path>,
    repeats: usize,
) -> Result<Vec<Figure>> {
    let data = data.context("shortcuts are measured on real rows: name some with --data")?;
    let batch = Batch::real(base, data)?;
    let shared = batch.packed().distinct_rows();
    eprintln!(
        "{} tokens, {shared} rows after sharing beginnings",
        batch.ids.len()
    );

    let model = load(base, device, BaseFormat::Stored, LoraConfig::default())?;
    let options = |shortcuts| StepOptions {
        kept_layers: usize::MAX,
        shortcuts,
        ..StepOptions::default()
    };
    let contestant = |(name, shortcuts): (&str, Shortcuts)| Contestant {
        name: format!("step {}, {name}", batch.name),
        model: &model,
        batch: &batch,
        options: options(shortcuts),
    };
    let mut contestants: Vec<Contestant> = ways().into_iter().map(contestant).collect();
    contestants.push(Contestant {
        name: format!("step {}, bf16 activations", batch.name),
        options: StepOptions {
            activations: Activations::Bf16,
            ..options(Shortcuts::ALL)
        },
        ..contestant(("", Shortcuts::ALL))
    });
    let mut figures = compare(repeats, &contestants);
    figures.extend(upper_layers(base, device, &batch, repeats)?);
    Ok(figures)
}

fn ways() -> Vec<(&'static str, Shortcuts)> {
    let all = Shortcuts::ALL;
    let without = |change: fn(&mut Shortcuts)| {
        let mut shortcuts = all;
        change(&mut shortcuts);
        shortcuts
    };
    vec![
        ("all shortcuts", all),
        (
            "without shared-prefix",
            without(|s| s.shared_prefix = false),
        ),
        (
            "without distinct-tokens",
            without(|s| s.distinct_tokens = false),
        ),
        ("without last-layer", without(|s| s.last_layer = false)),
        (
            "without supervised-head",
            without(|s| s.supervised_head = false),
        ),
        ("none", Shortcuts::NONE),
    ]
}

/// Adapters on the upper third only: the way back ends early, and below a cache serves.
fn upper_layers(
    base: &OpenBase,
    device: &Device,
    batch: &Batch,
    repeats: usize,
) -> Result<Vec<Figure>> {
    let layers = base.weights.config().num_layers;
    let first = layers - layers / 3;
    let lora = LoraConfig {
        layers: Some(format!("{first}-").parse().map_err(anyhow::Error::msg)?),
        ..LoraConfig::default()
    };
    let model = load(base, device, BaseFormat::Stored, lora)?;
    let entry = model.entry(batch.packed())?;
    let count = model.adapter().map_or(0, |a| a.num_parameters());
    let step = |model: &Model, shortcuts, cached: bool| {
        let options = StepOptions {
            kept_layers: usize::MAX,
            shortcuts,
            ..StepOptions::default()
        };
        let mut grads = model.device().zeros(1, count);
        let nats = match cached {
            true => model.loss_and_grads_above(&entry, batch.packed(), options, &mut grads),
            false => model.loss_and_grads(batch.packed(), options, &mut grads),
        };
        nats.expect("the CPU does not fail");
    };
    let to_the_bottom = Shortcuts {
        lowest_layer: false,
        ..Shortcuts::ALL
    };
    let times = in_turns(
        repeats,
        &mut [
            &mut || step(&model, to_the_bottom, false),
            &mut || step(&model, Shortcuts::ALL, false),
            &mut || step(&model, Shortcuts::ALL, true),
        ],
    );
    let names = [
        "way back to the bottom",
        "way back to the lowest adapter",
        "cached below",
    ];
    let figure = |(name, seconds): (&str, Vec<f64>)| Figure {
        tokens: batch.ids.len(),
        ..Figure::new(
            format!("step {}, layers {first}-, {name}", batch.name),
            seconds,
            0.0,
        )
    };
    Ok(names.into_iter().zip(times).map(figure).collect())
}
