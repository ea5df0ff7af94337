//! Methods of adapting as a user chooses them.

use crate::command::Place;

const TRAIN: &str = "train --data rows.jsonl --epochs 1 --lr 1e-2 --max-length 256";

#[test]
fn methods_are_planned_trained_written_and_used() {
    for (index, (model, flags, shown, written)) in [
        (
            "untied",
            "--rank 4 --dora --lora-plus 8",
            "dora true (flag)",
            "lora_magnitude_vector",
        ),
        (
            "untied",
            "--rank 4 --init pissa --exclude k_proj",
            "init pissa (flag)",
            "lora_B",
        ),
        (
            "untied",
            "--rank 4 --rank-pattern down_proj=2",
            "rank-pattern down_proj=2 (flag)",
            "lora_A",
        ),
        (
            "untied",
            "--rank 4 --method qlora --init loftq",
            "init loftq (flag)",
            "lora_A",
        ),
        (
            "untied",
            "--rank 4 --modules-to-save lm_head,layers.1",
            "modules-to-save lm_head,layers.1 (flag)",
            "lm_head.weight",
        ),
        (
            "untied",
            "--rank 4 --token-rows 7,9",
            "token-rows 7,9 (flag)",
            "trainable_tokens_delta",
        ),
        (
            "untied",
            "--ia3",
            "feed-forward down_proj (default)",
            "ia3_l",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let place = Place::new();
        place.examples("rows.jsonl", 12);
        let ran = place.ok(&format!(
            "{TRAIN} --model {{{model}}} {flags} --out run --verbose"
        ));
        let lines = ran.stderr.lines();
        let lines: Vec<String> = lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert!(
            lines.iter().any(|line| line == shown),
            "{index}: {shown} in {lines:?}"
        );
        let weights = std::fs::read(place.path("run/adapter/adapter_model.safetensors")).unwrap();
        let names = String::from_utf8_lossy(&weights[8..weights.len().min(20_000)]).into_owned();
        assert!(names.contains(written), "{flags}: no {written}");
        place.ok(&format!(
            "logits --model {{{model}}} --adapter run/adapter --ids 1,40,7 --json"
        ));
    }
}

#[test]
fn options_that_would_change_nothing_are_refused_by_name() {
    let place = Place::new();
    place.examples("rows.jsonl", 12);
    for (flags, refusal) in [
        ("--ia3 --rank 4", "--ia3 and --rank cannot both be given"),
        ("--feed-forward down_proj", "--feed-forward is given"),
        (
            "--init loftq",
            "another start, or loftq with --method qlora",
        ),
        ("--init best", "`best` is no start"),
        ("--rank-pattern down_proj", "`down_proj` gives no number"),
        (
            "--rank-pattern down_proj=1.5",
            "a whole number of at least 1",
        ),
        ("--lora-plus 0.5", "--lora-plus is 0.5"),
        (
            "--dora --dropout 0.1",
            "DoRA together with dropout is not supported",
        ),
        ("--bias all", "linear layers have none"),
        ("--token-rows 300", "this model has 300 tokens"),
        ("--exclude lm_head", "matches no adapted projection"),
    ] {
        let text = place.refusal(&format!("{TRAIN} --model {{untied}} {flags} --out run"));
        assert!(text.contains(refusal), "{flags}: {text}");
    }
}
