//! How fast the engine is, against the best matrix product of the same minutes on the same machine.
//!
//! Machines are shared and noisy, so contestants take turns, every figure is repeated, and the minimum
//! and the median are given. Shares of the roofline compare minimum with minimum. Useful work is
//! counted by `4·N + 6·N_lora + attention + 4·V·d` on supervised rows; work done twice is not counted.

mod decode;
mod llama_cpp;
mod measure;
mod ops;
mod scaling;
mod shortcuts;
mod step;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use hone::base::{Home, OpenBase, OpenOptions, find};
use hone::tensor::Device;
use serde_json::json;

use measure::{Figure, print_table};

/// Benchmarks of the engine: a table on stderr, JSON on stdout.
#[derive(Parser)]
struct Arguments {
    /// Base model, as for `hone train`.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    model: String,
    /// Examples for the packed step; the dataset of the quickstart, for example.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How often each figure is taken.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Directory with node-llama-cpp, to read and write the same tokens with llama.cpp; the base has to be a GGUF file.
    #[arg(long)]
    llama_cpp: Option<PathBuf>,
    /// Only these parts.
    #[arg(long, num_args = 1.., value_parser = ["ops", "step", "shortcuts", "scaling", "decode"])]
    only: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let base = OpenBase::open(
        find(&arguments.model, &Home::from_env()?)?,
        &OpenOptions::default(),
    )?;
    let device = Device::cpu(arguments.threads)?;
    eprintln!("{} on {}", arguments.model, device.name());
    let wanted =
        |part: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == part);

    let roofline = ops::roofline(base.weights.config(), &device, arguments.repeats);
    eprintln!(
        "roofline: {:.1} GFLOP/s, the best f32 matrix product at this model's shapes\n",
        roofline / 1e9
    );
    let mut figures: Vec<Figure> = Vec::new();
    if wanted("ops") {
        figures.extend(ops::all(base.weights.config(), &device, arguments.repeats));
    }
    if wanted("step") {
        figures.extend(step::all(
            &base,
            &device,
            arguments.data.as_deref(),
            arguments.repeats,
        )?);
    }
    if wanted("shortcuts") && (arguments.data.is_some() || !arguments.only.is_empty()) {
        figures.extend(shortcuts::all(
            &base,
            &device,
            arguments.data.as_deref(),
            arguments.repeats,
        )?);
    }
    if wanted("scaling") {
        figures.extend(scaling::all(
            &base,
            &device,
            arguments.threads,
            arguments.repeats,
        )?);
    }
    if wanted("decode") {
        figures.extend(decode::all(&base, &device, arguments.repeats)?);
        if let Some(dir) = &arguments.llama_cpp {
            let on = (&device, arguments.threads);
            figures.extend(llama_cpp::beside(&base, dir, on, arguments.repeats)?);
        }
    }
    print_table(&figures, roofline);
    let rows: Vec<_> = figures
        .iter()
        .map(|figure| figure.to_json(roofline))
        .collect();
    println!(
        "{}",
        json!({ "device": device.name(), "roofline_flops": roofline, "figures": rows })
    );
    Ok(())
}
