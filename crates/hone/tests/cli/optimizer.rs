//! Optimisers and forms of the adapter as a user chooses them.

use crate::command::Place;
use std::path::Path;

const TRAIN: &str = "train --model {untied} --data rows.jsonl --lr 1e-2 --rank 64 --eval-every 3 --save-every 2 --max-length 256";

fn weights(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("last/adapter_model.safetensors")).unwrap()
}

#[test]
fn paged_runs_write_the_adapter_of_the_others_and_the_plan_says_what_is_kept() {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    let train = |optimizer: &str| {
        let ran = place.ok(&format!(
            "{TRAIN} --optimizer {optimizer} --out {optimizer} --verbose"
        ));
        let shown = |name: &str| {
            let line = ran
                .stderr
                .lines()
                .filter(|line| !name.ends_with(' ') || !line.contains("optimizer state"))
                .find(|line| line.trim().starts_with(name));
            let words: Vec<&str> = line.unwrap().split_whitespace().collect();
            words.join(" ")
        };
        assert_eq!(shown("optimizer "), format!("optimizer {optimizer} (flag)"));
        let left = std::fs::read_dir(place.path(optimizer)).unwrap();
        let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!names.into_iter().any(|name| name.starts_with(".tmp")));
        (shown("optimizer state"), weights(&place.path(optimizer)))
    };
    let [full, eight, paged, paged_eight] =
        ["adamw", "adamw8bit", "paged-adamw", "paged-adamw8bit"].map(train);
    assert!(full.1 == paged.1 && eight.1 == paged_eight.1 && full.1 != eight.1);
    assert!(full.0.ends_with("in memory (derived)"), "{}", full.0);
    let pages = "paged: in a file, which memory need not hold (derived)";
    assert!(paged_eight.0.ends_with(pages), "{}", paged_eight.0);
    assert_ne!(full.0, eight.0);
}

#[test]
fn a_run_goes_on_in_pages_but_not_in_eight_bits() {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    place.ok(&format!("{TRAIN} --out run"));
    let text = place.refusal("train --resume --out run --optimizer adamw8bit");
    let line = "was made with adamw, whose state adamw8bit cannot use";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("hint: --optimizer adamw continues it"),
        "{text}"
    );
    let whole = weights(&place.path("run"));
    place.ok("train --resume --out run --optimizer paged-adamw");
    assert!(weights(&place.path("run")) == whole);
}

#[test]
fn an_adapter_is_written_in_the_form_asked_for_and_answers() {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    let size = |dtype: &str| {
        place.ok(&format!("{TRAIN} --save-dtype {dtype} --out {dtype}"));
        let logits =
            format!("logits --model {{untied}} --adapter {dtype}/adapter --ids 1,40,77 --json");
        let row = place.ok(&logits).json()["logits"][2][0].as_f64().unwrap();
        (weights(&place.path(dtype)).len(), row)
    };
    let [full, brain, half] = ["f32", "bf16", "f16"].map(size);
    assert!(brain.0 < full.0 * 6 / 10 && half.0 < full.0 * 6 / 10);
    assert!((brain.1 - full.1).abs() < 0.05 && (half.1 - full.1).abs() < 0.01);
    assert!(full.1 != half.1, "16 bits round");
    // Written again in another form, by a run that had nothing left to do.
    place.ok("train --resume --out f16 --save-dtype f32");
    assert!(weights(&place.path("f16")) == weights(&place.path("f32")));
}

#[test]
fn unknown_names_are_answered_with_the_list() {
    let place = Place::new();
    let text = place.refusal("train --optimizer adam8");
    for name in ["adamw", "adamw8bit", "paged-adamw", "paged-adamw8bit"] {
        assert!(text.contains(name), "{text}");
    }
    let text = place.refusal("train --save-dtype f64");
    assert!(text.contains("f32, bf16, f16"), "{text}");
    place.write("run.toml", "optimizer = \"sgd\"\n");
    let text = place.refusal("train run.toml");
    assert!(
        text.contains("run.toml:1: ") && text.contains("paged-adamw8bit"),
        "{text}"
    );
}
