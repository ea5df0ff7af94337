//! A merged model as a bundle: safetensors, what belongs to them, and the proof.

use super::{Bundle, Prover, Source, Written, copy_companions, limits};
use crate::card;
use crate::screen::{Talk, duration, plural};
use anyhow::Result;
use hone_model::export::{MergeDtype, write_safetensors};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Merges, replays what was written, and gives it its name; what comes back is what `hone merge --json` says.
pub fn write_merged(
    source: &Source,
    out: &Path,
    dtype: MergeDtype,
    shard_bytes: u64,
    prover: &Prover,
    talk: Talk,
) -> Result<Value> {
    let merged = source.merged()?;
    let started = Instant::now();
    let mut bundle = Bundle::begin(out, "hone merge", talk)?;
    let dir = bundle.dir();
    let word = source.dtype_word(dtype);
    let (expected, seconds) = prover.beside(source, talk, || {
        let files = write_safetensors(&merged, &dir, dtype, shard_bytes)?;
        bundle.list(&files);
        copy_companions(&mut bundle, source, merged.config(), word)?;
        bundle.settle();
        Ok(started.elapsed().as_secs_f64())
    })?;
    let slots = merged.slots();
    let num_changed = slots.iter().filter(|slot| merged.is_changed(&slot.name));
    talk.say(format!(
        "wrote {} in {}, {} of them changed",
        plural(slots.len(), "tensor"),
        duration(seconds),
        num_changed.count()
    ));
    let parity = prover.prove(
        source,
        expected,
        Written::Model(&dir),
        finer_dtype(word),
        talk,
    )?;
    let limits = limits::of(limits::Reader::Transformers, source);
    for limit in &limits {
        talk.say(format!("note: {limit}"));
    }
    let card = card::of_model(source, &parity, word)? + &limits::section(&limits);
    bundle.write("README.md", card.as_bytes())?;
    source.check_unchanged()?;
    let mut written = bundle.publish(&parity, prover.keep_anyway, "merged model")?;
    written["seconds"] = json!(seconds);
    written["notes"] = limits.into();
    Ok(written)
}

/// How to write a merged model with less rounding.
fn finer_dtype(word: &str) -> Option<String> {
    let is_rounded = word != "float32";
    is_rounded.then(|| "--dtype f32 writes the numbers without rounding".into())
}
