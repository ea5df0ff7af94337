//! A process that publishes without pause is watched and killed at random moments; what is there must always be whole.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hone_ledger::{EventLog, Seed, complete_dirs, open_dir, publish_dir, read_events, write_whole};
use serde_json::{Value, json};

const PLACE: &str = "HONE_LEDGER_KILL_TEST";

#[test]
#[ignore = "the victim, started by the test below"]
fn victim() {
    let place = env::var(PLACE).unwrap();
    let root = Path::new(&place);
    let mut log = EventLog::open(&root.join("events.jsonl")).unwrap();
    // The last step is done again, since the kill may have come before its best and its run file.
    let done = complete_dirs(&root.join("steps"), "step-").unwrap().len();
    for step in done.saturating_sub(1).. {
        let weights = vec![step as u8; 40_000 + step % 7 * 10_000];
        let files: [(&str, &[u8]); 2] =
            [("adapter.bin", &weights), ("state.bin", &weights[..9_000])];
        log.append(&json!({"step": step})).unwrap();
        publish_dir(
            &root.join(format!("steps/step-{step}")),
            &files,
            json!({"step": step}),
        )
        .unwrap();
        publish_dir(&root.join("best"), &files, json!({"step": step})).unwrap();
        write_whole(
            &root.join("run.json"),
            json!({"step": step, "pad": "x".repeat(50_000)})
                .to_string()
                .as_bytes(),
        )
        .unwrap();
    }
}

#[test]
fn whatever_the_moment_of_a_kill_only_whole_things_are_found() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("steps")).unwrap();
    let mut moments = Seed::new(1).stream();
    let (mut kills, mut published) = (0, 0);
    // A slow disk publishes little between two kills, and then more of them are needed.
    while kills < 12 || published < 12 {
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored"])
            .env(PLACE, root.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let moment = Instant::now() + Duration::from_millis(20 + moments.below(120));
        while Instant::now() < moment {
            step_of(&root.path().join("run.json"));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        published = check(root.path());
        kills += 1;
        assert!(kills < 500, "the victim publishes nothing");
    }
}

/// Returns how many steps are there.
fn check(root: &Path) -> usize {
    let steps = complete_dirs(&root.join("steps"), "step-").unwrap();
    for path in &steps {
        let dir = open_dir(path).unwrap();
        let step = dir.note()["step"].as_u64().unwrap();
        assert!(path.ends_with(format!("step-{step}")));
        assert!(
            dir.read("adapter.bin")
                .unwrap()
                .iter()
                .all(|&byte| byte == step as u8)
        );
    }
    if steps.len() > 1 {
        let best = open_dir(&root.join("best")).unwrap().note()["step"]
            .as_u64()
            .unwrap();
        assert!(
            best + 2 >= steps.len() as u64,
            "best is of step {best}, {} steps are there",
            steps.len()
        );
        let run = step_of(&root.join("run.json")).unwrap();
        assert!(run + 2 >= steps.len() as u64);
    }
    let events = read_events::<Value>(&root.join("events.jsonl"));
    assert!(events.unwrap().rows.len() >= steps.len());
    steps.len()
}

/// `None` before the first one is written; a half-written one would not parse.
fn step_of(run: &Path) -> Option<u64> {
    let bytes = fs::read(run).ok()?;
    let run: Value = serde_json::from_slice(&bytes).unwrap();
    Some(run["step"].as_u64().unwrap())
}
