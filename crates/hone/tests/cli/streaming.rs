//! A base larger than the memory that a run may have: shaped like one of eight billion parameters, of two layers.

use crate::command::{Place, fixtures};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LAYERS: usize = 2;
const D_MODEL: usize = 4096;
const D_FF: usize = 14336;
const KEYS: usize = 1024;
const VOCAB: usize = 128_256;

/// What the run may take, by its own promise and by the system's limit.
const MEMORY_BYTES: u64 = 300_000_000;

#[test]
fn a_base_six_times_larger_than_its_memory_trains_from_disk() {
    let place = Place::new();
    if free_bytes(&place.path("")) < 6_000_000_000 {
        println!("skipped: 6 GB of free disk are needed for the base and what the run writes");
        return;
    }
    let base_bytes = write_base(&place.path("base")).unwrap();
    assert!(base_bytes > 6 * MEMORY_BYTES);
    place.examples("rows.jsonl", 8);

    // The shell takes the limit on itself, and the command inherits it.
    let command = place.command(
        "train --model base --data rows.jsonl --valid-share 0 --batch-size 2 --epochs 50 --rank 4 --memory 300MB --out run",
    );
    let mut limited = Command::new("sh");
    limited
        .args(["-c", r#"ulimit -d "$0" && exec "$@""#])
        .arg((MEMORY_BYTES / 1024).to_string())
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(place.path(""))
        .env("HONE_HOME", place.path("home"))
        .stdout(Stdio::null())
        .stderr(File::create(place.path("talk")).unwrap());
    let mut child = limited.spawn().unwrap();
    wait_for_steps(&place, 2);
    let peak_bytes = peak_bytes(child.id());
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(3), "{}", talk(&place));

    assert!(
        talk(&place).contains("streamed from disk"),
        "{}",
        talk(&place)
    );
    println!(
        "base {} MB, peak {} MB",
        base_bytes / 1_000_000,
        peak_bytes / 1_000_000
    );
    assert!(peak_bytes < MEMORY_BYTES, "peak {peak_bytes}");
    let losses: Vec<f64> = steps(&place)
        .iter()
        .map(|step| step["loss"].as_f64().unwrap())
        .collect();
    assert!(
        losses.iter().all(|loss| loss.is_finite() && *loss > 1.0),
        "{losses:?}"
    );
}

fn talk(place: &Place) -> String {
    std::fs::read_to_string(place.path("talk")).unwrap_or_default()
}

fn steps(place: &Place) -> Vec<Value> {
    let events = std::fs::read_to_string(place.path("run/events.jsonl")).unwrap_or_default();
    let whole = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.filter(|event| event["event"] == "stepped").collect()
}

fn wait_for_steps(place: &Place, count: usize) {
    let begun = Instant::now();
    while steps(place).len() < count {
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "the run does not get anywhere\n{}",
            talk(place)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn peak_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    1024 * line
        .split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
}

fn free_bytes(dir: &Path) -> u64 {
    let of = rustix::fs::statvfs(dir).unwrap();
    of.f_frsize * of.f_bavail
}

/// A directory as Hugging Face lays it out, in bf16; returns its size.
fn write_base(dir: &Path) -> io::Result<u64> {
    std::fs::create_dir(dir)?;
    let tiny = fixtures().join("models/tiny-llama-tied");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny.join(name), dir.join(name))?;
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(tiny.join("config.json"))?)?;
    for (field, value) in [
        ("hidden_size", D_MODEL),
        ("intermediate_size", D_FF),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 8),
        ("head_dim", 128),
        ("num_hidden_layers", LAYERS),
        ("vocab_size", VOCAB),
    ] {
        config[field] = value.into();
    }
    std::fs::write(dir.join("config.json"), config.to_string())?;
    write_weights(&dir.join("model.safetensors"))
}

fn write_weights(path: &Path) -> io::Result<u64> {
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in &tensors() {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let noise = noise();
    for (_, shape) in tensors() {
        let bytes = 2 * shape.iter().product::<usize>();
        if shape.len() == 1 {
            file.write_all(&[0x80, 0x3f].repeat(bytes / 2))?;
            continue;
        }
        for start in (0..bytes).step_by(noise.len()) {
            file.write_all(&noise[..noise.len().min(bytes - start)])?;
        }
    }
    file.flush()?;
    Ok(end as u64)
}

/// Numbers around ±0.01 as bf16, 1 MiB and a little of them so that no two rows are alike.
fn noise() -> Vec<u8> {
    let number = |i: u32| {
        let bits = i.wrapping_mul(2_654_435_761) >> 16;
        0x3c00 | (bits & 0x80ff) as u16
    };
    (0..524_309).flat_map(|i| number(i).to_le_bytes()).collect()
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, D_MODEL]),
        ("model.norm.weight".to_owned(), vec![D_MODEL]),
    ];
    for layer in 0..LAYERS {
        let parts: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[D_MODEL]),
            ("post_attention_layernorm", &[D_MODEL]),
            ("self_attn.q_proj", &[D_MODEL, D_MODEL]),
            ("self_attn.k_proj", &[KEYS, D_MODEL]),
            ("self_attn.v_proj", &[KEYS, D_MODEL]),
            ("self_attn.o_proj", &[D_MODEL, D_MODEL]),
            ("mlp.gate_proj", &[D_FF, D_MODEL]),
            ("mlp.up_proj", &[D_FF, D_MODEL]),
            ("mlp.down_proj", &[D_MODEL, D_FF]),
        ];
        tensors.extend(parts.map(|(part, shape)| {
            (
                format!("model.layers.{layer}.{part}.weight"),
                shape.to_vec(),
            )
        }));
    }
    tensors
}
