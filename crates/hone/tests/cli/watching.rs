//! Watching a run: what validations cost and say, patience, losses of rows.

use crate::command::Place;
use serde_json::Value;

const TRAIN: &str = "train --model {tied} --data rows.jsonl --lr 1e-2 --eval-every 3 --save-every 2 --max-length 256";

fn events(place: &Place, run: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path(run).join("events.jsonl")).unwrap();
    let event = |line: &str| serde_json::from_str(line).unwrap();
    text.lines().map(event).collect()
}

#[test]
fn a_run_ends_when_it_is_out_of_patience_and_says_why_everywhere() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let train = "train --model {tied} --data rows.jsonl --valid-share 0.1 --batch-size 4 --epochs 30 --lr 0.1 --schedule constant \
                 --eval-every 3 --patience 2 --min-improvement 0.05 --out run --json";
    let ran = place.ok(train);
    let summary = ran.json();
    let why = summary["stopped_early"].as_str().unwrap_or_default();
    assert!(why.starts_with("stopped early after step "), "{summary}");
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("the run ends after 2 validations that are not better by more than 0.05"),
        "{}",
        ran.stderr
    );
    let stopped: Vec<Value> = events(&place, "run")
        .into_iter()
        .filter(|event| event["event"] == "stopped_early")
        .collect();
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0]["step"], summary["steps"]);
    assert_eq!(stopped[0]["best_step"], summary["best_step"]);
    let record = std::fs::read_to_string(place.path("run/run.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["result"]["stopped_early"], why);
    let report = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(report.contains("stopped early after step"));
    // It is finished, and not to be continued.
    let again = place.ok("train --resume --out run");
    assert!(
        again.stderr.contains("nothing is left to do"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_validation_tells_how_far_the_base_was_moved() {
    let place = Place::new();
    place.examples("rows.jsonl", 40);
    let ran = place.ok(&format!("{TRAIN} --out run --json"));
    let looks: Vec<Value> = events(&place, "run")
        .into_iter()
        .filter(|event| event["event"] == "validated")
        .collect();
    assert_eq!(
        looks[0]["divergence"], 0.0,
        "before the first step nothing was moved"
    );
    let last = looks.last().unwrap()["divergence"].as_f64().unwrap();
    assert!(last > 0.0, "{looks:?}");
    assert_eq!(ran.json()["divergence"], last);
    assert!(
        ran.stderr.contains("; KL from the base 0."),
        "{}",
        ran.stderr
    );
    let report = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(report.contains("Moved from the base"));
}

#[test]
fn a_dear_validation_set_is_sampled_and_the_plan_says_so() {
    let place = Place::new();
    place.examples("all.jsonl", 440);
    let all = std::fs::read_to_string(place.path("all.jsonl")).unwrap();
    let rows: Vec<&str> = all.split_inclusive('\n').collect();
    place.write("rows.jsonl", &rows[..40].concat());
    place.write("held.jsonl", &rows[40..].concat());
    let plan = |options: &str| {
        let plan = "train --model {tied} --data rows.jsonl --valid held.jsonl --dry-run --rule leak=report -v";
        let said = place.ok(&format!("{plan} {options}")).stderr;
        let line = |name: &str| {
            let found = said.lines().find(|line| line.trim().starts_with(name));
            found
                .unwrap_or_else(|| panic!("no {name} in {said}"))
                .to_owned()
        };
        (line("validations "), line("eval-rows "))
    };
    let (line, rows) = plan("");
    assert!(line.contains("2 of 16 of "), "{line}");
    assert!(line.contains(" rows, chosen by the seed: about "), "{line}");
    assert!(rows.contains("16"), "{rows}");
    let (line, _) = plan("--epochs 300");
    let share: f64 = line
        .split("about ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(share <= 10.0 && line.contains("11 of "), "{line}");
    let (line, rows) = plan("--eval-rows 30 --eval-every 2");
    assert!(
        line.contains(" of 30 of ") && rows.contains("(flag)"),
        "{line} {rows}"
    );
}

/// A letter after the other, as a seed has it.
struct Letters(u64);

impl Letters {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn word(&mut self, letters: usize) -> String {
        let mut letter = || char::from(b'a' + self.below(16) as u8);
        (0..letters).map(|_| letter()).collect()
    }
}

fn row(prompt: &str, reply: &str) -> String {
    serde_json::json!({ "prompt": prompt, "completion": reply }).to_string() + "\n"
}

/// Rows of which none tells anything about another.
fn noise(count: usize, seed: u64) -> String {
    let mut letters = Letters(seed);
    (0..count)
        .map(|_| row(&letters.word(6), &letters.word(24)))
        .collect()
}

/// Rows that follow a rule: what is said is said again.
fn rule(count: usize, seed: u64) -> String {
    const WORDS: [&str; 12] = [
        "amber", "river", "stone", "cloud", "paper", "green", "seven", "winter", "garden",
        "copper", "silver", "bridge",
    ];
    let mut letters = Letters(seed);
    let mut word = || WORDS[letters.below(12) as usize];
    let mut of = |number: usize| {
        let (a, b) = (word(), word());
        row(
            &format!("Say {a} {b} {number}"),
            &format!("{a} {b}, {a} {b}"),
        )
    };
    (0..count).map(&mut of).collect()
}

const AS_THEY_ARE: &str = "--rule reworded-prompt=report --rule near-duplicate=report --rule leak=report --rule exact-duplicate=report";

#[test]
fn a_run_that_was_trained_too_long_on_thirty_rows_is_called_overfitted() {
    let place = Place::new();
    place.write("rows.jsonl", &noise(30, 1));
    place.write("held.jsonl", &noise(20, 2));
    let ran = place.ok(&format!(
        "train --model {{tied}} --data rows.jsonl --valid held.jsonl --epochs 40 --lr 1e-2 --rank 32 --out run --json {AS_THEY_ARE}"
    ));
    let said = &ran.stderr;
    assert!(said.contains("diagnosis  overfitted"), "{said}");
    assert!(said.contains("validation loss rose from"), "{said}");
    let report = std::fs::read_to_string(place.path("run/report.html")).unwrap();
    assert!(report.contains("validation loss rose from"));
    let best_step = ran.json()["best_step"].as_u64().unwrap();
    assert!(best_step < 60, "{best_step}");

    let diagnosis = place.ok("diagnose run --json --rows 20").json();
    assert_eq!(diagnosis["verdict"], "overfitted");
    assert_eq!(diagnosis["recommended"]["adapter"], "adapter");
    assert_eq!(diagnosis["recommended"]["step"], best_step);
    let first = &diagnosis["findings"][0];
    assert_eq!(first["rule"], "validation-rose");
    let change = first["change"].as_str().unwrap();
    assert!(change.contains("epochs in place of 40.0"), "{change}");
    for name in ["base", "tuned", "references"] {
        assert_eq!(diagnosis["outputs"][name]["texts"], 20, "{name}");
    }
    assert!(diagnosis["forgetting"]["texts"].as_u64().unwrap() >= 20);
    let words = std::fs::read_to_string(place.path("run/diagnosis.md")).unwrap();
    assert!(words.starts_with("# Diagnosis\n\noverfitted"), "{words}");
    let kept: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("run/diagnosis.json")).unwrap())
            .unwrap();
    assert_eq!(kept, diagnosis);
    // The same run says the same again, in words, on another number of threads.
    let again = place.ok("diagnose run --rows 20 --threads 1");
    assert!(
        again.stdout.contains("take adapter/: it is that of step"),
        "{}",
        again.stdout
    );
    assert_eq!(
        std::fs::read_to_string(place.path("run/diagnosis.md")).unwrap(),
        words
    );
}

/// The verdict on a run that goes on and on over thirty rows of nothing to learn.
fn overtrained(place: &Place, seed: u64) -> Value {
    place.write("rows.jsonl", &noise(30, 2 * seed));
    place.write("held.jsonl", &noise(20, 2 * seed + 1));
    let _ = std::fs::remove_dir_all(place.path("run"));
    place.ok(&format!(
        "train --model {{tied}} --data rows.jsonl --valid held.jsonl --epochs 40 --lr 1e-2 --rank 32 --seed {seed} --out run {AS_THEY_ARE}"
    ));
    place.ok("diagnose run --json").json()
}

/// The verdict on a run that has rows enough and is not trained too long.
fn sound(place: &Place, seed: u64) -> Value {
    place.write("rows.jsonl", &rule(240, seed));
    place.write("held.jsonl", &rule(40, 1000 + seed));
    let _ = std::fs::remove_dir_all(place.path("run"));
    place.ok(&format!(
        "train --model {{tied}} --data rows.jsonl --valid held.jsonl --epochs 3 --seed {seed} --out run {AS_THEY_ARE}"
    ));
    place.ok("diagnose run --json").json()
}

#[test]
fn a_sound_run_is_not_called_anything_else() {
    let place = Place::new();
    for seed in 0..2 {
        let diagnosis = sound(&place, seed);
        assert_eq!(diagnosis["verdict"], "sound", "{seed}: {diagnosis}");
    }
}

/// What `docs/watching.md` states; `cargo test --test cli -- --ignored false_alarms` measures it again.
#[test]
#[ignore = "twenty runs"]
fn false_alarms_over_twenty_seeds() {
    let place = Place::new();
    let of = |seed| sound(&place, seed)["verdict"].as_str().unwrap().to_owned();
    let verdicts: Vec<String> = (0..20).map(of).collect();
    let alarms = verdicts
        .iter()
        .filter(|verdict| *verdict != "sound")
        .count();
    let overfitted = (0..20).filter(|seed| overtrained(&place, *seed)["verdict"] == "overfitted");
    let found = overfitted.count();
    println!(
        "{alarms} of 20 sound runs are called something else, {found} of 20 overtrained ones overfitted: {verdicts:?}"
    );
    assert!(alarms <= 1 && found >= 19, "{verdicts:?}");
}

#[test]
fn a_passage_that_is_repeated_is_found_and_fresh_ones_are_not() {
    let place = Place::new();
    let passage = row("the key", "the seven grey boats left at dawn");
    let rows: String = noise(40, 3)
        .lines()
        .map(|line| format!("{line}\n{passage}"))
        .collect();
    place.write("rows.jsonl", &rows);
    place.write("held.jsonl", &noise(12, 4));
    place.ok(&format!(
        "train --model {{tied}} --data rows.jsonl --valid held.jsonl --epochs 15 --lr 1e-2 --rank 32 --out run {AS_THEY_ARE}"
    ));
    let diagnosis = place.ok("diagnose run --last --json --rows 31").json();
    let by_heart = diagnosis["memorization"]["by_heart"].as_array().unwrap();
    assert!(!by_heart.is_empty(), "{diagnosis}");
    for found in by_heart {
        let source = found["source"].as_str().unwrap();
        let line: usize = source.rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(line % 2, 0, "{source} is no copy of the passage");
    }
    let at = &diagnosis["memorization"]["at"][0];
    assert_eq!(
        (&at["valid"]["extracted"], &at["base"]["extracted"]),
        (&0.into(), &0.into())
    );
    assert_eq!(at["valid"]["rows"], 12);
}

#[test]
fn a_diagnosis_of_what_is_no_run_says_what_to_type() {
    let place = Place::new();
    let refused = place.refusal("diagnose nowhere");
    assert!(refused.contains("there is no run in nowhere"), "{refused}");
    place.examples("rows.jsonl", 40);
    place.ok(&format!("{TRAIN} --out run"));
    place.write("empty.txt", " \n");
    let refused = place.refusal("diagnose run --text empty.txt");
    assert!(refused.contains("holds no text"), "{refused}");
    place.write(
        "own.txt",
        "A text of my own, about nothing.\n\nAnother one.\n",
    );
    let diagnosis = place.ok("diagnose run --text own.txt --json").json();
    assert_eq!(diagnosis["forgetting"]["texts"], 2);
    assert_eq!(diagnosis["forgetting"]["origin"], "own.txt");
}
