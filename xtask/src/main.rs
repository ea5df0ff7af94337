//! Checks, golden fixtures and benchmarks of this repository: `cargo xtask --help`.
//!
//! One place, in Rust, because a check that lives in a workflow file cannot be run on the desk where it failed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

mod api;
mod ci;
mod circles;
mod deploy;
mod fuzz;
mod layers;
mod node;
mod pages;
mod python;
mod same;
mod sizes;
#[cfg(unix)]
mod torture;

/// Checks, golden fixtures and benchmarks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything CI runs, cheapest first: layers, pages, format, clippy, docs, fuzz targets, tests.
    Ci,
    /// Compares the crates' dependencies with the picture in ARCHITECTURE.md, circles between modules with its list, and files with the most they may have.
    Layers,
    /// Compares the public items of the library with the list that is checked in.
    Api,
    /// Looks whether every path that the project's pages name exists.
    Pages,
    /// Makes the golden numbers in fixtures/ again with the pinned Python packages.
    Golden {
        /// SmolLM2-135M-Instruct.Q4_1.gguf, for the numbers of the real base model.
        #[arg(long)]
        base: Option<PathBuf>,
        /// Only these parts, by the name of their script.
        #[arg(long, num_args = 1..)]
        only: Vec<String>,
    },
    /// Throws hostile files at everything that reads them, for some time each; installs cargo-fuzz if absent.
    Fuzz {
        /// For each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// These only.
        #[arg(value_parser = fuzz::NAMES)]
        targets: Vec<String>,
    },
    /// Renders conversations with every chat template that TRL, transformers and llama.cpp carry, beside transformers.
    Templates {
        /// For the script; `-- --help` lists them.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Trains a small adapter and lets PEFT load it and compare logits.
    Interop,
    /// Exports the real base with adapters, and lets llama.cpp answer twenty prompts.
    Deploy,
    /// Compares ids of 2,000 odd texts with those of tokenizers and sentencepiece, for the tokenizers that packages carry.
    Tokenizers,
    /// Kills the command, fails its disk, runs it twice and damages its files, and counts what that changes.
    #[cfg(unix)]
    Torture {
        /// How long.
        #[arg(long, default_value_t = 1.0)]
        minutes: f64,
        /// At most so many rounds.
        #[arg(long)]
        rounds: Option<u64>,
        /// Of the first round; each further one has the next.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Only commands whose names contain this, as `pull`.
        #[arg(long)]
        only: Option<String>,
    },
    /// Trains, merges, exports and builds with the command of the tree and of a commit, and says which bytes and numbers differ.
    Same {
        /// Built in a work tree of its own the first time.
        #[arg(long, default_value = "HEAD")]
        against: String,
        /// Cases with this in their name.
        #[arg(long)]
        only: Option<String>,
    },
    /// Times the engine against the machine: steps, ops, generation; a table and JSON.
    Bench {
        /// For the benchmark; `-- --help` lists them.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Times training against PEFT, TRL and Unsloth: bench/compare_peft.py with the arguments given.
    Compare {
        /// These only; none for Hone alone.
        #[arg(long, num_args = 0.., value_parser = python::PEERS, default_values = python::PEERS)]
        peers: Vec<String>,
        /// For the script; `-- --help` lists them.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Times merging against PEFT: bench/merge_peft.py with the arguments given.
    CompareMerge {
        /// For the script; `-- --help` lists them.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Merges a made-up base of eight billion parameters under a limit of 2 GB: bench/merge_large.py.
    MergeLarge {
        /// For the script; `-- --help` lists them.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository's root");
    match task {
        Task::Ci => ci::run(root),
        Task::Layers => layers::check(root),
        Task::Api => api::check(root),
        Task::Pages => pages::check(root),
        Task::Golden { base, only } => python::golden(root, base.as_deref(), &only),
        Task::Fuzz { seconds, targets } => fuzz::run(root, &targets, seconds),
        Task::Templates { arguments } => python::templates(root, &arguments),
        Task::Interop => python::interop(root),
        Task::Deploy => deploy::deploy(root),
        Task::Tokenizers => python::tokenizers(root),
        #[cfg(unix)]
        Task::Torture {
            minutes,
            rounds,
            seed,
            only,
        } => torture::run(
            root,
            &torture::Asked {
                minutes,
                rounds,
                seed,
                only,
            },
        ),
        Task::Same { against, only } => same::run(root, &against, only.as_deref()),
        Task::Bench { arguments } => bench(root, &arguments),
        Task::Compare { peers, arguments } => python::compare(root, peers, &arguments),
        Task::CompareMerge { arguments } => python::compare_merge(root, &arguments),
        Task::MergeLarge { arguments } => python::merge_large(root, &arguments),
    }
}

fn bench(root: &Path, arguments: &[String]) -> Result<()> {
    // What of others stands beside it.
    let mut beside = Vec::new();
    let only = arguments.iter().any(|argument| argument == "--only");
    if !only || arguments.iter().any(|argument| argument == "decode") {
        match node::llama_cpp(root) {
            Ok(place) => beside = vec!["--llama-cpp".into(), place.into_os_string()],
            Err(error) => println!("skipped: llama.cpp beside Hone, since {error:#}"),
        }
    }
    let status = cargo()
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "hone-bench",
            "--",
        ])
        .args(arguments)
        .args(beside)
        .current_dir(root)
        .status()?;
    ensure!(
        status.success(),
        "the benchmark ended with an error, shown above"
    );
    Ok(())
}

/// Cargo, as if nobody had run it from a program of a package. Build scripts that look at the package they are run for, as
/// ring's does, would otherwise be run anew, and all that depends on them built, whenever a cargo of ours follows another.
fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    let names = std::env::vars_os().map(|(name, _)| name);
    let is_of_package = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for name in names.filter(is_of_package) {
        command.env_remove(name);
    }
    command
}

/// The command as tests have it.
fn built(root: &Path) -> Result<PathBuf> {
    // Not by package, for which Cargo would choose other features and build what tests have built once more.
    // Cargo says what it compiles, or whom it waits for: either may take minutes.
    let status = cargo()
        .args(["build", "--bin", "hone"])
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "hone could not be built, as shown above");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(target.join("debug/hone"))
}
