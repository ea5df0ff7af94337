//! Kills, failing disks, second writers and damaged files against the built command: `cargo xtask torture`.
//!
//! Each round takes a command that was run undisturbed before, disturbs it once, does what its user would do next, and
//! compares: the same bytes, each event once, nothing left over, the true state in the list of runs, and messages that
//! name a path and a next step. A round that finds something keeps its directory and prints how to run it alone.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use disturb::{Disturbance, Draw};
use work::{Bench, Hang, Work};

mod disturb;
#[allow(dead_code)] // the tests of pulls use the rest of it
#[path = "../../../crates/hone/tests/imitated_hub/mod.rs"]
mod imitated_hub;
mod judge;
mod work;

/// What is asked for.
pub struct Asked {
    /// How long.
    pub minutes: f64,
    /// At most so many rounds.
    pub rounds: Option<u64>,
    /// The seed of the first round; each further one has the next.
    pub seed: u64,
    /// Only commands whose names contain this.
    pub only: Option<String>,
}

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Something that a round found.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub what: String,
}

/// Kinds of faults, each counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Bytes,
    Events,
    Leftover,
    Status,
    Message,
    Crash,
    Stuck,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Bytes, "results with other bytes"),
    (Kind::Events, "events lost or doubled"),
    (Kind::Leftover, "files left over"),
    (Kind::Status, "wrong states in `hone runs`"),
    (Kind::Message, "messages without path or hint"),
    (Kind::Crash, "panics and signals"),
    (Kind::Stuck, "no way on"),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = KINDS.iter().find(|(kind, _)| kind == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

/// Tortures for the time asked for; an error if anything was found.
pub fn run(root: &Path, asked: &Asked) -> Result<()> {
    let bench = Bench::set_up(root, &crate::built(root)?, &preload(root)?)?;
    let started = Instant::now();
    let only = asked.only.as_deref().unwrap_or_default();
    let all: Vec<Work> = Work::all()
        .into_iter()
        .filter(|work| work.name.contains(only))
        .collect();
    ensure!(!all.is_empty(), "no command is called `{only}`");
    let references = all.iter().map(|work| bench.reference(work));
    let references = references.collect::<Result<Vec<_>>>()?;
    println!(
        "{} commands undisturbed in {:.0} s, {} calls that change files",
        all.len(),
        started.elapsed().as_secs_f64(),
        references
            .iter()
            .map(|reference| reference.calls)
            .sum::<u64>()
    );
    let (started, limit) = (
        Instant::now(),
        Duration::from_secs_f64(60.0 * asked.minutes),
    );
    let mut faults: Vec<Fault> = Vec::new();
    let (mut rounds, mut disturbed) = (0, [0_u64; Disturbance::NAMES.len()]);
    let (mut of_each, mut told) = (BTreeMap::<&str, u64>::new(), started);
    while started.elapsed() < limit && asked.rounds.is_none_or(|most| rounds < most) {
        let seed = asked.seed + rounds;
        let mut draw = Draw::new(seed);
        let reference = &references[draw.below(references.len() as u64) as usize];
        let disturbance = Disturbance::draw(&mut draw, reference);
        let place = bench.place(seed)?;
        let found = match disturbance.run(&bench, reference, &place, &mut draw) {
            // To wait for ever is a fault like others.
            Err(error) if error.is::<Hang>() => vec![Fault {
                kind: Kind::Stuck,
                what: error.to_string(),
            }],
            found => found.with_context(|| format!("round {seed}"))?,
        };
        match found.is_empty() {
            true => fs::remove_dir_all(&place.dir)?,
            false => println!(
                "round {seed}: {}, {disturbance}; kept in {}; again with `cargo xtask torture --seed {seed} --rounds 1{}`",
                reference.work.name,
                place.dir.display(),
                match only {
                    "" => String::new(),
                    only => format!(" --only {only:?}"),
                }
            ),
        }
        for fault in &found {
            println!("  {}: {}", fault.kind, fault.what);
        }
        faults.extend(found);
        disturbed[disturbance.kind()] += 1;
        *of_each.entry(&reference.work.name).or_insert(0) += 1;
        rounds += 1;
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!(
                "{rounds} rounds in {:.0} s, {} faults",
                started.elapsed().as_secs_f64(),
                faults.len()
            );
        }
    }
    println!(
        "{rounds} rounds in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    for (name, count) in Disturbance::NAMES.iter().zip(disturbed) {
        println!("{count:6} {name}");
    }
    for (name, count) in of_each {
        println!("{count:6} of {name}");
    }
    for (kind, name) in KINDS {
        let count = faults.iter().filter(|fault| fault.kind == kind).count();
        println!("{count:6} {name}");
    }
    ensure!(faults.is_empty(), "{} faults, shown above", faults.len());
    Ok(())
}

/// Compiles what lets calls fail.
fn preload(root: &Path) -> Result<PathBuf> {
    let library = root.join("target/torture/faults.so");
    fs::create_dir_all(library.parent().expect("it lies in a directory"))?;
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .arg(&library)
        .arg(root.join("xtask/src/torture/faults.c"))
        .arg("-ldl")
        .status()
        .context("cc, a C compiler, is needed")?;
    ensure!(status.success(), "faults.c could not be compiled");
    Ok(library)
}
