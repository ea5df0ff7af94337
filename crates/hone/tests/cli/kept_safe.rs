//! What is kept safe: files of others, one writer at a time, and whatever a killed command leaves.

use crate::command::{Place, fixtures};
use hone_ledger::Lock;
use std::time::{Duration, Instant};

fn adapter() -> String {
    let adapter = fixtures().join("adapters/tiny-llama-untied");
    adapter.display().to_string()
}

/// Commands that make a directory, without its name.
fn makers() -> [String; 3] {
    [
        format!(
            "merge --model {{untied}} --adapter '{}' --replies 0 --out",
            adapter()
        ),
        format!(
            "export --to gguf-adapter --model {{untied}} --adapter '{}' --replies 0 --out",
            adapter()
        ),
        "data build --from rows.jsonl --out".to_owned(),
    ]
}

fn place_with_rows() -> Place {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    place
}

#[test]
fn directories_of_others_beside_an_out_are_left_alone() {
    let place = place_with_rows();
    for (i, maker) in makers().iter().enumerate() {
        let out = format!("m{i}");
        let others = [".partial", ".replaced", ".tmp"].map(|suffix| format!("{out}{suffix}"));
        for other in &others {
            std::fs::create_dir(place.path(other)).unwrap();
            place.write(&format!("{other}/thesis.txt"), "precious");
        }
        place.ok(&format!("{maker} {out}"));
        assert!(place.path(&out).join("manifest.json").is_file());
        for other in &others {
            let thesis = std::fs::read_to_string(place.path(other).join("thesis.txt"));
            assert_eq!(thesis.unwrap(), "precious", "{maker}");
        }
        assert!(place.hidden().is_empty(), "{:?}", place.hidden());
    }
}

#[test]
#[cfg(unix)]
fn a_second_command_with_the_same_out_is_refused_and_told_who_is_at_work() {
    let place = place_with_rows();
    for maker in makers() {
        let lock = Lock::take_beside(&place.path("m"), "hone merge").unwrap();
        let error = place.refusal(&format!("{maker} m"));
        let who = format!("process {} (`hone merge`, for ", std::process::id());
        assert!(
            error.starts_with("error: m is being written by ") && error.contains(&who),
            "{error}"
        );
        assert!(error.contains("hint: wait until it ends"), "{error}");
        assert!(!place.path("m").exists());
        drop(lock);
    }
    // What a dead process left of its lock hinders nobody.
    place.write(
        ".m.hone-lock",
        "{\"pid\":1,\"command\":\"hone merge\",\"since_unix\":0}\n",
    );
    place.ok(&format!("{} m", makers()[0]));
    assert!(place.hidden().is_empty(), "{:?}", place.hidden());
}

#[test]
#[cfg(unix)]
fn what_a_killed_command_left_is_removed_by_the_next_with_that_out() {
    let place = place_with_rows();
    let merge = &makers()[0];
    let begun = Instant::now();
    while !place
        .hidden()
        .iter()
        .any(|name| name.starts_with(".m.hone-") && !name.ends_with("lock"))
    {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "no merge is caught in the middle"
        );
        let _ = std::fs::remove_dir_all(place.path("m"));
        let mut child = place.start(&format!("{merge} m"));
        while place.hidden().len() < 2 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    // Another name does not own it.
    place.ok(&format!("{merge} other"));
    assert!(!place.hidden().is_empty());
    let _ = std::fs::remove_dir_all(place.path("m"));
    place.ok(&format!("{merge} m"));
    assert!(place.hidden().is_empty(), "{:?}", place.hidden());
}
