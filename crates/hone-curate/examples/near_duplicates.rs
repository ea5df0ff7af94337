//! Near-duplicates of some rows as one JSON object: seconds, and the rows of each cluster.
//!
//! ```text
//! cargo run --release -p hone-curate --example near_duplicates -- ROWS.jsonl [--threads N] [--tell-apart]
//! ```
//!
//! `bench/near_duplicates.py` runs it beside datasketch, which looks for similar texts whatever tells them apart; with
//! `--tell-apart` it looks for copies, as a build does. Seconds run from rows in memory to clusters whose pairs have been verified.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use hone_curate::duplicates::{Fingerprint, Fingerprints, NearOptions, near};
use hone_data::Record;
use rayon::prelude::*;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let file = PathBuf::from(args.next().ok_or("the file of rows is missing")?);
    let (mut threads, mut tell_apart) = (2, false);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => threads = args.next().ok_or("--threads wants a number")?.parse()?,
            "--tell-apart" => tell_apart = true,
            other => return Err(format!("{other} is no option").into()),
        }
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let records = hone_data::read(&[file])?.records;
    let parts = records.iter().flat_map(Record::parts);
    let bytes: usize = parts.map(|part| part.text.len()).sum();
    let start = Instant::now();
    let options = NearOptions {
        tell_apart,
        ..NearOptions::default()
    };
    let prints = Fingerprints::new(&options);
    let prints: Vec<Fingerprint> = records
        .par_iter()
        .enumerate()
        .map(|(row, record)| prints.of(row, record))
        .collect();
    let fingerprinted = start.elapsed().as_secs_f64();
    let clusters = near::clusters(&prints, &records, &options)?;
    let seconds = start.elapsed().as_secs_f64();
    let rows: Vec<&[usize]> = clusters.iter().map(|cluster| &cluster.rows[..]).collect();
    let told = json!({
        "rows": records.len(), "bytes": bytes, "threads": threads,
        "fingerprint_seconds": fingerprinted, "seconds": seconds, "clusters": rows,
    });
    println!("{told}");
    Ok(())
}
