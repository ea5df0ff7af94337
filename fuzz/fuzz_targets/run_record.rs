//! What lies in a run's directory and in the registry of runs, of any bytes: the first byte chooses which of the files.
//!
//! Whatever one of them holds, the runs are listed, and what is read of a log is what a resumed run goes on with.

#![no_main]

use std::fs;
use std::path::Path;

use hone::base::Home;
use hone::registry;
use hone::run::{EVENTS, RUN_JSON, RunRecord};
use hone_fuzz::{DIR, assert_one_line};
use hone_ledger::{EventLog, Registry, RunStatus, publish_dir, read_events};
use hone_train::{Checkpoint, Event, LearningRate, Schedule, TrainingPlan};
use libfuzzer_sys::fuzz_target;
use rusqlite::Connection;
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let place = DIR.path().join("place");
    let _ = fs::remove_dir_all(&place);
    let (run, home) = (place.join("run"), Home::at(place.join("home")));
    for dir in [&run, home.root()] {
        fs::create_dir_all(dir).expect("a directory");
    }
    let list = format!("{}\n", json!(run.display().to_string()));
    fs::write(home.run_list(), list).expect("room for a list");
    // `RECORDS` in xtask/src/fuzz.rs has their places.
    match choice % 7 {
        0 => record(&run, bytes),
        6 => record(&run, &changed(bytes)),
        1 => return log(&run.join(EVENTS), bytes),
        2 => fs::write(home.registry(), bytes).expect("room for an input"),
        3 => rows(&home, bytes),
        4 => fs::write(home.run_list(), bytes).expect("room for an input"),
        _ => checkpoint(&run, bytes),
    }
    let listing = registry::list(&home);
    for remark in &listing.remarks {
        assert!(!remark.is_empty());
    }
    if let Err(error) = registry::enter(&run, &home) {
        assert!(!registry::in_words(&error).is_empty());
    }
    // Whatever was there, one that can be used has taken its place.
    let registry = Registry::open(&home.registry()).and_then(|registry| registry.list());
    if let Err(error) = registry {
        assert!(!error.is_damage(), "{error:?}");
    }
});

/// The record of a sound run, with whatever fields an object names in place of its own.
fn changed(bytes: &[u8]) -> Vec<u8> {
    fn change(whole: &mut Value, by: Value) {
        match (whole, by) {
            (Value::Object(whole), Value::Object(by)) => {
                for (key, value) in by {
                    change(whole.entry(key).or_insert(Value::Null), value);
                }
            }
            (whole, by) => *whole = by,
        }
    }
    let training = TrainingPlan {
        steps: 4,
        batch_size: 2,
        accumulate: 1,
        max_tokens: 64,
        kept_layers: 2,
        activations: Default::default(),
        shortcuts: Default::default(),
        activation_cache: false,
        learning_rate: LearningRate::new(1e-3, Schedule::Cosine, 0.1, 4),
        optimizer: Default::default(),
        seed: 0,
        eval_every: 2,
        save_every: 2,
        eval_rows: None,
        patience: None,
        min_improvement: 0.0,
    };
    let record = RunRecord {
        hone: "0".into(),
        status: RunStatus::Finished,
        started_unix: 1,
        finished_unix: Some(2),
        asked: Default::default(),
        plan: Vec::new(),
        training,
        identity: "1".into(),
        base: json!({"name": "tiny"}),
        text: json!({}),
        data: json!({"train": {"id": "2"}}),
        machine: json!({}),
        result: None,
        adapters: Default::default(),
    };
    let mut record = serde_json::to_value(record).expect("a record has a JSON form");
    change(
        &mut record,
        serde_json::from_slice(bytes).unwrap_or_default(),
    );
    record.to_string().into_bytes()
}

fn record(run: &Path, bytes: &[u8]) {
    fs::write(run.join(RUN_JSON), bytes).expect("room for an input");
    if let Err(error) = RunRecord::find(run) {
        assert_one_line(&error.to_string());
    }
    let Ok(record) = RunRecord::read(run) else {
        return;
    };
    record.lost(run);
    record.summary(run);
    // As it is written again at the end.
    let again = record.to_json().expect("a record has a JSON form");
    fs::write(run.join(RUN_JSON), &again).expect("room for a record");
    let read = RunRecord::read(run).expect("what was written is read");
    assert_eq!(read.to_json().expect("as before"), again);
}

fn log(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("room for an input");
    let before = read_events::<Event>(path).expect("a file that is there");
    let mut log = EventLog::open(path).expect("a file that is there");
    let retained = log.retain(|_: &Event| true).expect("a file that is there");
    assert_eq!(retained.damaged, before.damaged);
    assert_eq!(retained.cut, 0);
    log.append(&Event::Saved { step: 1 }).expect("room");
    let after = read_events::<Event>(path).expect("a file that is there");
    assert!(after.damaged.is_empty() && after.torn_bytes == 0);
    assert_eq!(after.rows.len(), before.rows.len() + 1);
}

/// A registry of our own version whose rows hold any values: a JSON list of rows, each a list of values.
fn rows(home: &Home, bytes: &[u8]) {
    let rows: Vec<Vec<Value>> = serde_json::from_slice(bytes).unwrap_or_default();
    let connection = Connection::open(home.registry()).expect("room for a registry");
    connection
        .execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA user_version = 1;
             CREATE TABLE runs (id, dir, started_unix, finished_unix, status, model, data, metrics)",
        )
        .expect("an empty database");
    let rows = rows.iter().take(20);
    let mut count = 0;
    for row in rows {
        let of_json = |at: usize| match row.get(at) {
            Some(Value::Number(number)) => match number.as_i64() {
                Some(whole) => whole.into(),
                None => number.as_f64().unwrap_or_default().into(),
            },
            Some(Value::String(text)) => text.clone().into(),
            Some(Value::Array(bytes)) => {
                let bytes = bytes.iter().map(|byte| byte.as_u64().unwrap_or(0) as u8);
                bytes.collect::<Vec<u8>>().into()
            }
            Some(Value::Object(object)) => json!(object).to_string().into(),
            Some(Value::Bool(_) | Value::Null) | None => rusqlite::types::Value::Null,
        };
        let values: Vec<rusqlite::types::Value> = (0..8).map(of_json).collect();
        connection
            .execute(
                "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                rusqlite::params_from_iter(values),
            )
            .expect("room for a row");
        count += 1;
    }
    drop(connection);
    let listed = Registry::read(&home.registry()).expect("a table with these columns");
    assert_eq!(listed.runs.len() + listed.odd, count);
}

/// A checkpoint whose note says anything, without the record it should have a copy of.
fn checkpoint(run: &Path, bytes: &[u8]) {
    let note: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let files: [(&str, &[u8]); 4] = [
        ("parameters.f32", &[0; 8]),
        ("first.f32", &[0; 8]),
        ("second.f32", &[0; 8]),
        (RUN_JSON, b"{}"),
    ];
    let checkpoints = run.join("checkpoints");
    fs::create_dir(&checkpoints).expect("a directory");
    publish_dir(&checkpoints.join("step-00000002"), &files, note).expect("room for a checkpoint");
    if let Err(error) = Checkpoint::newest(&checkpoints) {
        assert_one_line(&error.to_string());
    }
    if let Err(error) = RunRecord::find(run) {
        assert_one_line(&error.to_string());
    }
}
