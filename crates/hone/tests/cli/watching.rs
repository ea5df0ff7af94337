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
    place.write("valid.jsonl", &rows[40..].concat());
    let plan = |options: &str| {
        let plan = "train --model {tied} --data rows.jsonl --valid valid.jsonl --dry-run --rule leak=report -v";
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
