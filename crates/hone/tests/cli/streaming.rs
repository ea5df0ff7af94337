//! Bases larger than the memory that a command may have: shaped like large ones, of a few layers.

use crate::command::{Place, fixtures};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

struct Shape {
    layers: usize,
    d_model: usize,
    d_ff: usize,
    heads: usize,
    key_heads: usize,
    vocab: usize,
}

const HEAD: usize = 128;

/// As a model of eight billion parameters, 1.9 GB of it.
const EIGHT_BILLION: Shape = Shape {
    layers: 2,
    d_model: 4096,
    d_ff: 14336,
    heads: 32,
    key_heads: 8,
    vocab: 128_256,
};

/// As a model of one billion parameters, 460 MB of it.
const ONE_BILLION: Shape = Shape {
    layers: 4,
    d_model: 2048,
    d_ff: 5632,
    heads: 16,
    key_heads: 4,
    vocab: 32_000,
};

/// What the run may take, by its own promise and by the system's limit.
const MEMORY_BYTES: u64 = 300_000_000;

#[test]
fn a_base_six_times_larger_than_its_memory_trains_from_disk() {
    let place = Place::new();
    if free_bytes(&place.path("")) < 6_000_000_000 {
        println!("skipped: 6 GB of free disk are needed for the base and what the run writes");
        return;
    }
    let base_bytes = write_base(&EIGHT_BILLION, &place.path("base")).unwrap();
    assert!(base_bytes > 6 * MEMORY_BYTES);
    place.examples("rows.jsonl", 8);

    let line = "train --model base --data rows.jsonl --valid-share 0 --batch-size 2 --epochs 50 --rank 4 --memory 300MB --out run";
    let mut limited = place.limited(&limit(MEMORY_BYTES), line);
    limited.stdout(Stdio::null());
    limited.stderr(File::create(place.path("talk")).unwrap());
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

#[test]
fn a_base_three_times_larger_than_its_memory_merges_and_is_proven() {
    let place = Place::new();
    if free_bytes(&place.path("")) < 2_000_000_000 {
        println!("skipped: 2 GB of free disk are needed for the base and what is merged");
        return;
    }
    let base_bytes = write_base(&ONE_BILLION, &place.path("base")).unwrap();
    place.examples("rows.jsonl", 2);
    place.ok("train --model base --data rows.jsonl --valid-share 0 --batch-size 2 --epochs 1 --rank 2 --targets q_proj,down_proj --out run");
    place.write("prompts.txt", "one\ntwo\n");

    let memory_bytes = 150_000_000;
    assert!(base_bytes > 3 * memory_bytes, "{base_bytes}");
    let line = "merge --model base --adapter run/adapter --shard-size 100MB --prompts prompts.txt --out merged --json";
    let ended = place.limited(&limit(memory_bytes), line).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let talk = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{talk}");
    let said: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(said["parity"]["holds"], true, "{said}");
    place.ok("merge --model base --adapter run/adapter --check merged");
    // What the shell sets is a limit indeed.
    let line = "merge --model base --adapter run/adapter --out again";
    let ended = place.limited(&limit(10_000_000), line).output().unwrap();
    assert!(!ended.status.success() && !place.path("again").exists());
}

/// The limit of this much anonymous memory, as the shell has it.
fn limit(memory_bytes: u64) -> String {
    format!("ulimit -d {}", memory_bytes / 1024)
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
fn write_base(shape: &Shape, dir: &Path) -> io::Result<u64> {
    std::fs::create_dir(dir)?;
    let tiny = fixtures().join("models/tiny-llama-tied");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(tiny.join(name), dir.join(name))?;
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(tiny.join("config.json"))?)?;
    for (field, value) in [
        ("hidden_size", shape.d_model),
        ("intermediate_size", shape.d_ff),
        ("num_attention_heads", shape.heads),
        ("num_key_value_heads", shape.key_heads),
        ("head_dim", HEAD),
        ("num_hidden_layers", shape.layers),
        ("vocab_size", shape.vocab),
    ] {
        config[field] = value.into();
    }
    std::fs::write(dir.join("config.json"), config.to_string())?;
    write_weights(&tensors(shape), &dir.join("model.safetensors"))
}

fn write_weights(tensors: &[(String, Vec<usize>)], path: &Path) -> io::Result<u64> {
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in tensors {
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
    for (_, shape) in tensors {
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

fn tensors(shape: &Shape) -> Vec<(String, Vec<usize>)> {
    let (d_model, d_ff) = (shape.d_model, shape.d_ff);
    let (queries, keys) = (shape.heads * HEAD, shape.key_heads * HEAD);
    let mut tensors = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![shape.vocab, d_model],
        ),
        ("model.norm.weight".to_owned(), vec![d_model]),
    ];
    for layer in 0..shape.layers {
        let parts: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[d_model]),
            ("post_attention_layernorm", &[d_model]),
            ("self_attn.q_proj", &[queries, d_model]),
            ("self_attn.k_proj", &[keys, d_model]),
            ("self_attn.v_proj", &[keys, d_model]),
            ("self_attn.o_proj", &[d_model, queries]),
            ("mlp.gate_proj", &[d_ff, d_model]),
            ("mlp.up_proj", &[d_ff, d_model]),
            ("mlp.down_proj", &[d_model, d_ff]),
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
