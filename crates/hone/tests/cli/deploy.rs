//! From an adapter to what somebody else can use: checked, repaired, combined, merged, exported, proven.

use crate::command::{Place, fixtures};
use serde_json::Value;

fn adapter(name: &str) -> String {
    fixtures().join("adapters").join(name).display().to_string()
}

fn logits(place: &Place, model: &str, adapter: &str) -> Vec<f64> {
    let adapter = if adapter.is_empty() {
        String::new()
    } else {
        format!("--adapter '{adapter}'")
    };
    let said = place
        .ok(&format!(
            "logits --model {model} {adapter} --ids 1,40,77,5,130 --json"
        ))
        .json();
    let rows = said["logits"].as_array().unwrap();
    rows.iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|x| x.as_f64().unwrap())
        .collect()
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f64::max)
}

#[test]
fn a_check_tells_what_each_program_would_do() {
    let place = Place::new();
    let patterns = adapter("tiny-llama-untied-patterns");
    let ran = place.ok(&format!("adapter check '{patterns}' --model {{untied}}"));
    assert!(
        ran.stdout
            .contains("28 tensors in 14 modules, rank 2, 4, 8, scales 0.75 to 16"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout
            .contains("vllm       WRONG    `alpha_pattern` is passed over"),
        "{}",
        ran.stdout
    );

    // For scripts: 0 sound, 4 found something, 2 a wrong command.
    assert_eq!(
        place
            .run(&format!("adapter check '{patterns}' --for peft"))
            .code,
        0
    );
    assert_eq!(
        place
            .run(&format!("adapter check '{patterns}' --for vllm"))
            .code,
        4
    );
    assert_eq!(
        place
            .run(&format!("adapter check '{patterns}' --for onnx"))
            .code,
        2
    );
    let other_base = place.run(&format!(
        "adapter check '{patterns}' --model {{tied}} --json"
    ));
    assert_eq!(
        (other_base.code, &other_base.json()["sound"]),
        (4, &Value::Bool(false))
    );
    assert_eq!(other_base.json()["findings"][0]["code"], "misshaped");
}

#[test]
fn no_fix_is_promised_for_pairs_on_experts() {
    let place = Place::new();
    let adapter = fixtures().join("families/mixtral/adapter");
    for runtime in ["vllm", "llama.cpp", "ollama"] {
        let said = place.refusal(&format!(
            "adapter check '{}' --for {runtime} --fix fixed",
            adapter.display()
        ));
        assert!(said.contains("does not read pairs on experts"), "{said}");
        assert!(!place.path("fixed").exists());
    }
}

#[test]
fn a_fixed_adapter_gives_the_same_logits() {
    let place = Place::new();
    for (name, model) in [
        ("tiny-llama-untied-patterns", "{untied}"),
        ("tiny-llama-tied-rslora", "{tied}"),
    ] {
        let before = adapter(name);
        for program in ["peft", "vllm", "llama.cpp", "ollama"] {
            let out = format!("{name}-{program}");
            place.ok(&format!(
                "adapter check '{before}' --model {model} --for {program} --fix {out}"
            ));
            let difference = apart(
                &logits(&place, model, &before),
                &logits(&place, model, &out),
            );
            assert!(difference < 1e-5, "{name} for {program}: {difference}");
            assert_eq!(
                place
                    .run(&format!(
                        "adapter check {out} --model {model} --for {program}"
                    ))
                    .code,
                0
            );
        }
    }
}

#[test]
fn what_rounding_alone_does_is_measured_on_the_base_and_stands_in_the_proof() {
    let place = Place::new();
    let adapter = fixtures().join("adapters/tiny-llama-untied");
    let line = format!(
        "export --model {{untied}} --adapter '{}' --to gguf --replies 0",
        adapter.display()
    );
    let proof = |out: &str| -> serde_json::Value {
        let text = std::fs::read(place.path(out).join("parity.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    for kind in ["q8_0", "q5_0", "q4_0"] {
        let ran = place.ok(&format!("{line} --type {kind} --out {kind}"));
        let proof = proof(kind);
        let rounding = &proof["base_rounding"];
        let measured = rounding["mean_kl"].as_f64().unwrap();
        assert!(measured > 0.0, "{kind}: {proof}");
        assert_eq!(rounding["tokens"], proof["tokens"], "the same texts");
        assert!(
            proof["mean_kl"].as_f64().unwrap() <= rounding["explains_mean_kl"].as_f64().unwrap(),
            "{kind}: {proof}"
        );
        assert!(
            ran.stderr.contains("rounding alone changes the base by"),
            "{}",
            ran.stderr
        );
    }
    place.ok(&format!("{line} --type f16 --out f16"));
    assert!(
        proof("f16")["base_rounding"].is_null(),
        "f16 has a bound that holds for every model"
    );
    // A base of 8 bits shows what fewer do; one that is stored as it is written shows nothing, and the verdict says what stands
    // in for it.
    let of_rounded = |base: &str, kind: &str, out: &str| {
        place.ok(&format!(
            "export --model {base}/model.gguf --adapter '{}' --to gguf --type {kind} --out {out} --replies 0",
            adapter.display()
        ))
    };
    of_rounded("q8_0", "q4_0", "8to4");
    let measured = &proof("8to4")["base_rounding"];
    let of_full = proof("q4_0")["base_rounding"]["mean_kl"].as_f64().unwrap();
    let share = measured["mean_kl"].as_f64().unwrap() / of_full;
    assert!((0.5..2.0).contains(&share), "{measured} against {of_full}");
    for (base, kind) in [("q4_0", "q4_0"), ("q4_0", "q8_0"), ("q8_0", "q8_0")] {
        let out = format!("{base}-{kind}");
        let ran = of_rounded(base, kind, &out);
        let why = proof(&out)["base_rounding"]["not_measured"].to_string();
        assert!(
            why.contains("bits itself") && why.contains("written in no fewer"),
            "{why}"
        );
        assert!(
            ran.stderr.contains("is not measured on the base"),
            "{}",
            ran.stderr
        );
        assert_eq!(
            proof(&out)["compared"]["beyond_rounding"],
            serde_json::json!([])
        );
    }
}

#[test]
fn combined_adapters_are_what_was_asked_for() {
    let place = Place::new();
    let (first, second) = (adapter("tiny-llama-tied"), adapter("tiny-llama-tied-qv"));
    place.ok(&format!(
        "adapter combine '{first}' '{second}' --kind cat --weights 1,0 --out sum"
    ));
    assert!(
        apart(
            &logits(&place, "{tied}", &first),
            &logits(&place, "{tied}", "sum")
        ) < 1e-5
    );
    let error = place.refusal(&format!(
        "adapter combine '{first}' '{second}' --kind linear --out sum2"
    ));
    assert!(
        error.contains("hint: `cat` and `svd` take adapters of any ranks"),
        "{error}"
    );
    assert!(!place.path("sum2").exists());
}

#[test]
fn a_merged_model_stands_on_its_own_and_proves_itself() {
    let place = Place::new();
    let tuned = adapter("tiny-llama-tied");
    let said = place
        .ok(&format!(
            "merge --model {{tied}} --adapter '{tuned}' --out merged --shard-size 20KB --json"
        ))
        .json();
    assert_eq!(said["parity"]["holds"], true, "{said}");
    assert!(said["parity"]["mean_kl"].as_f64().unwrap() < 1e-6);
    let want = logits(&place, "{tied}", &tuned);
    assert!(apart(&want, &logits(&place, "merged", "")) < 1e-4);
    for file in [
        "model.safetensors.index.json",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "parity.json",
        "README.md",
        "manifest.json",
    ] {
        assert!(place.path(&format!("merged/{file}")).is_file(), "{file}");
    }
    let left = place.ok(&format!(
        "merge --model {{tied}} --adapter '{tuned}' --check merged"
    ));
    assert!(
        left.stdout.contains("14 of them changed") && left.stdout.contains("which is rounding"),
        "{}",
        left.stdout
    );
    let other = adapter("tiny-llama-tied-rslora");
    assert_eq!(
        place
            .run(&format!(
                "merge --model {{tied}} --adapter '{other}' --check merged"
            ))
            .code,
        4
    );

    let again = place.refusal(&format!(
        "merge --model {{tied}} --adapter '{tuned}' --out merged"
    ));
    assert!(again.starts_with("error: merged exists already"), "{again}");
    let wrong = place.refusal(&format!(
        "merge --model {{untied}} --adapter '{tuned}' --out wrong"
    ));
    assert!(wrong.contains("does not fit this model"), "{wrong}");
    assert!(!place.path("wrong").exists() && place.hidden().is_empty());
}

#[test]
fn every_export_reads_back_as_it_was_trained() {
    let place = Place::new();
    for (name, model) in [
        ("tiny-llama-tied-rslora", "{tied}"),
        ("tiny-llama-untied-patterns", "{untied}"),
        ("tiny-llama-untied", "{gguf}"),
    ] {
        let tuned = adapter(name);
        for (form, file) in [
            ("gguf --type q8_0", "model.gguf"),
            ("gguf-adapter", "adapter.gguf"),
            ("ollama --type f16", "Modelfile"),
            ("ollama --ollama-from smollm2", "Modelfile"),
            ("mlx", "adapters.safetensors"),
            ("hf", "model.safetensors"),
        ] {
            let out = format!("{name}-{}", form.replace([' ', '-'], ""));
            let said = place
                .ok(&format!(
                    "export --to {form} --model {model} --adapter '{tuned}' --out {out} --json"
                ))
                .json();
            assert_eq!(said["parity"]["holds"], true, "{form}: {said}");
            let tensors = said["parity"]["compared"]["tensors"].as_u64();
            assert_eq!(tensors.is_some(), form.contains("q8_0"), "{form}: {said}");
            assert!(place.path(&format!("{out}/{file}")).is_file(), "{form}");
            let card = std::fs::read_to_string(place.path(&format!("{out}/README.md"))).unwrap();
            assert!(card.contains("| Hone |"), "{card}");
        }
    }
    let modelfile = std::fs::read_to_string(
        place.path("tiny-llama-tied-rslora-ollamaollamafromsmollm2/Modelfile"),
    )
    .unwrap();
    assert!(modelfile.starts_with("FROM smollm2\nADAPTER ./adapter.gguf\nTEMPLATE \"\"\"{{ if .System }}<|im_start|>system\n"), "{modelfile}");
    assert!(
        modelfile.contains("PARAMETER stop \"<|im_end|>\""),
        "{modelfile}"
    );
}

#[test]
fn the_card_tells_of_the_run_and_the_proof_replays_its_held_out_rows() {
    let place = Place::new();
    place.examples("rows.jsonl", 24);
    place.ok("train --model {tied} --data rows.jsonl --out run --rank 2 --epochs 1");
    let said = place
        .ok("export --to hf --model {tied} --adapter run/adapter --out out --json")
        .json();
    let prompts = said["parity"]["prompts"].as_str().unwrap();
    assert!(prompts.ends_with("held-out rows of the run"), "{prompts}");
    let card = std::fs::read_to_string(place.path("out/README.md")).unwrap();
    for line in [
        "`rows.jsonl`: 24 rows",
        "## Training",
        "held-out loss, best",
        "license: other",
    ] {
        assert!(card.contains(line), "{line}:\n{card}");
    }
    assert!(
        !card.contains(&place.path("").display().to_string()),
        "no place of this machine:\n{card}"
    );
}

#[test]
fn prompts_of_ones_own_are_replayed() {
    let place = Place::new();
    place.write("prompts.txt", "Hello there\n\nHow are you?\n");
    let tuned = adapter("tiny-llama-tied");
    let said = place.ok(&format!("export --to mlx --model {{tied}} --adapter '{tuned}' --out out --prompts prompts.txt --json")).json();
    assert_eq!(said["parity"]["prompts"], "2 prompts of prompts.txt");
}

/// Questions of more than a hundred tokens whose answer is one word at the end; no two files share one.
fn classification(place: &Place, name: &str, (first, count): (usize, usize), who: &[&str]) {
    let row = |at: usize| {
        let label = ["refund", "delivery", "account"][at % 3];
        let asked = format!(
            "{} in office {} writes: {} Which department is this for? Answer with one word: it is about the {label}.",
            who[at % who.len()],
            first + 7 * at,
            "I have waited for a long time and nobody told me anything. ".repeat(3)
        );
        serde_json::json!({ "prompt": asked, "completion": label }).to_string()
    };
    let rows: Vec<String> = (0..count).map(row).collect();
    place.write(name, &(rows.join("\n") + "\n"));
}

#[test]
fn the_proof_of_a_classifier_looks_at_its_labels_and_says_how_many_changed() {
    let place = Place::new();
    let (supervised, others) = (["Ann", "Bob", "Cid", "Dora"], ["Eve", "Fred", "Gus"]);
    classification(&place, "train.jsonl", (100, 24), &supervised);
    classification(&place, "valid.jsonl", (1003, 9), &others);
    place.ok(
        "train --model {untied} --data train.jsonl --valid valid.jsonl --out run --rank 8 --epochs 6 --lr 2e-2 --quiet",
    );
    let export = |kind: &str, more: &str| {
        place.ok(&format!(
            "export --to gguf --type {kind} --model {{untied}} --adapter run/adapter --out {kind} --json {more}"
        ))
    };
    let exact = export("f32", "--replies 9").json();
    let parity = &exact["parity"];
    assert_eq!(parity["version"], 2);
    assert_eq!(parity["verdict"], "holds", "{parity}");
    assert_eq!(parity["prompts"], "9 held-out rows of the run");
    // Every row is longer than what was once looked at, and none is cut: its label and end token are among what is compared.
    assert_eq!(parity["texts_cut"], 0);
    assert!(parity["tokens"].as_u64().unwrap() > 9 * 109, "{parity}");
    let (of_replies, validation) = (&parity["reply_tokens"], &parity["validation"]);
    assert!(of_replies["tokens"].as_u64().unwrap() >= 9 * 2, "{parity}");
    assert_eq!(
        (&validation["rows"], &validation["tokens"]),
        (&9.into(), &of_replies["tokens"])
    );
    let loss = |side: &str, parity: &Value| parity["validation"][side].as_f64().unwrap();
    assert!((loss("loss_before", parity) - loss("loss_after", parity)).abs() < 1e-4);
    assert_eq!(
        (&parity["replies"]["asked"], &parity["replies"]["changed"]),
        (&9.into(), &0.into())
    );
    let short = &parity["replies"]["short"];
    assert_eq!(short["asked"], 9, "{parity}");
    assert!(short["right_before"].as_u64().unwrap() > 0, "{parity}");

    // Four bits are too few for this one: that is seen, said, and what to do about it.
    let ran = export("q4_0", "--replies 9");
    let said = ran.json();
    let parity = &said["parity"];
    assert_eq!(
        (&parity["verdict"], &parity["holds"]),
        (&"warned".into(), &true.into()),
        "{parity}"
    );
    let replies = &parity["replies"];
    assert!(
        replies["changed_beyond_ties"].as_u64().unwrap() > 0,
        "{parity}"
    );
    let example = &replies["examples"][0];
    assert_ne!(example["before"], example["after"], "{parity}");
    assert!(
        example["prompt_end"]
            .as_str()
            .unwrap()
            .contains("it is about the"),
        "{parity}"
    );
    assert!(parity["bound"]["mean_kl"].is_null(), "{parity}");
    for line in [
        "of 9 replies changed",
        "WARNING: 4 bits answer otherwise",
        "hint: --type q8_0",
    ] {
        assert!(ran.stderr.contains(line), "{line}:\n{}", ran.stderr);
    }
    let card = std::fs::read_to_string(place.path("q4_0/README.md")).unwrap();
    assert!(card.contains("**but it shows**"), "{card}");

    // Quiet is no reason not to hear it.
    let quiet = place.ok(
        "export --to gguf --type q4_0 --model {untied} --adapter run/adapter --out quiet --quiet --replies 9",
    );
    assert!(
        quiet.stderr.starts_with("WARNING: 4 bits answer otherwise")
            && quiet.stderr.lines().count() == 1,
        "{}",
        quiet.stderr
    );

    let none = export("q8_0", "--replies 0").json();
    assert_eq!(none["parity"]["replies"]["not_asked"], "--replies 0");
}

#[test]
fn a_type_where_no_gguf_model_is_written_is_refused() {
    let place = Place::new();
    let tied = adapter("tiny-llama-tied");
    for form in ["hf", "mlx", "gguf-adapter", "ollama --ollama-from llama3"] {
        let error = place.refusal(&format!(
            "export --to {form} --type q4_0 --model {{tied}} --adapter '{tied}' --out out"
        ));
        assert!(
            error.starts_with("error: --type is how a GGUF model stores its matrices, and no GGUF model is written here\nhint: leave it out"),
            "{form}: {error}"
        );
    }
}

#[test]
fn a_question_alone_is_replayed_and_what_cannot_be_is_said() {
    let place = Place::new();
    place.write(
        "prompts.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}\n{\"messages\":[{\"role\":\"user\",\"content\":7}]}\n",
    );
    let ran = place.ok("export --to hf --model {tied} --out out --prompts prompts.jsonl --json");
    assert_eq!(ran.json()["parity"]["prompts"], "1 prompt of prompts.jsonl");
    assert_eq!(ran.json()["parity"]["replies"]["asked"], 1);
    assert!(
        ran.stderr.contains(
            "warning: 1 row of prompts.jsonl cannot be replayed, the first one: prompts.jsonl:2: "
        ),
        "{}",
        ran.stderr
    );
    place.write(
        "pairs.jsonl",
        "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n",
    );
    let error = place.refusal("export --to hf --model {tied} --out none --prompts pairs.jsonl");
    assert_eq!(
        error,
        "error: pairs.jsonl holds no prompt\n\
         hint: the first row: pairs.jsonl:1: a preference pair: nothing trains on them yet\n\
         hint: a line of a .txt file is a prompt, a row of any other a conversation, with a reply at its end or without"
    );
}
