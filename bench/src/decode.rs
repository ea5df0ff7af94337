//! Tokens a second of greedy generation, for one sequence and for sixteen.

use anyhow::Result;
use hone::base::OpenBase;
use hone::model::{BaseFormat, Generation, Model, Sampling};
use hone::tensor::Device;

use crate::measure::{Figure, in_turns};

const NEW_TOKENS: usize = 32;

/// One sequence and sixteen, in turns.
pub fn all(base: &OpenBase, device: &Device, repeats: usize) -> Result<Vec<Figure>> {
    let model = Model::load(&base.weights, device, BaseFormat::Stored, 128)?;
    let settings = Generation {
        max_new_tokens: NEW_TOKENS,
        stop_ids: vec![],
        sampling: Sampling::GREEDY,
    };
    let prompts: Vec<Vec<u32>> = (0..16).map(|i| vec![i + 1, i + 2]).collect();
    let speak = |sequences: usize| {
        model
            .generate_many(&prompts[..sequences], &settings, sequences, |_, _| {})
            .expect("prompts fit the model");
    };
    let times = in_turns(repeats, &mut [&mut || speak(1), &mut || speak(16)]);
    let figures = [1, 16].into_iter().zip(times).map(|(sequences, seconds)| {
        let figure = Figure::new(format!("decode, {sequences} at once"), seconds, 0.0);
        Figure {
            tokens: sequences * NEW_TOKENS,
            ..figure
        }
    });
    Ok(figures.collect())
}
