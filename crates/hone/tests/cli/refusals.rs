//! Bad input gets a sentence and a next step, never a panic, and nothing is lost.

use crate::command::{Place, fixtures};

const TRAIN: &str = "train --model {tied} --out run --data";

fn place_with_rows() -> Place {
    let place = Place::new();
    place.examples("rows.jsonl", 20);
    place
}

#[test]
fn files_that_are_not_data_are_refused_by_name_and_line() {
    let place = Place::new();
    place.write("empty.jsonl", "");
    assert_eq!(
        place.refusal(&format!("{TRAIN} empty.jsonl")),
        "error: empty.jsonl: the file is empty\nhint: write rows into it, such as one JSON object a line, or leave it out"
    );

    place.write("broken.jsonl", "{\"text\": \n");
    let error = place.refusal(&format!("{TRAIN} broken.jsonl"));
    assert!(
        error.starts_with("error: ") && error.contains("broken.jsonl:1: not JSON"),
        "{error}"
    );

    place.write("strange.jsonl", "{\"question\": \"a\", \"reply\": \"b\"}\n");
    let error = place.refusal(&format!("{TRAIN} strange.jsonl"));
    assert!(
        error.contains("question, reply") && error.contains("hint: known shape: alpaca"),
        "{error}"
    );

    let error = place.refusal(&format!("{TRAIN} nowhere.jsonl"));
    assert!(error.contains("nowhere.jsonl"), "{error}");
}

#[test]
fn rows_that_cannot_be_trained_on_are_counted_and_listed() {
    let place = Place::new();
    let long = "many words ".repeat(200);
    let rows = format!(
        "{{\"prompt\":\"a\",\"completion\":\"b\"}}\n{{\"prompt\":\"{long}\",\"completion\":\"c\"}}\n{}\n",
        "{\"prompt\": \n{\"messages\":[{\"role\":\"user\",\"content\":\"alone\"}]}"
    );
    place.write("rows.jsonl", &rows);
    let ran = place
        .ok("train --model {tied} --data rows.jsonl --out run --max-length 200 --valid-share 0");
    assert!(
        ran.stderr.contains("skipped: rows.jsonl:2: ") && ran.stderr.contains("the limit is 200"),
        "{}",
        ran.stderr
    );
    let listed = std::fs::read_to_string(place.path("run/skipped.txt")).unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    assert!(
        lines.len() == 3 && lines[0].starts_with("rows.jsonl:3: not JSON"),
        "{listed}"
    );

    place.write(
        "short.jsonl",
        &format!("{{\"prompt\":\"{long}\",\"completion\":\"c\"}}\n"),
    );
    let error = place.refusal("train --model {tied} --data short.jsonl --out run2 --max-length 50");
    assert!(
        error.starts_with("error: none of the ") && error.contains("hint: rows may have 50 tokens"),
        "{error}"
    );
}

#[test]
fn damaged_weights_are_refused() {
    let place = place_with_rows();
    let whole = std::fs::read(fixtures().join("models/tiny-llama.gguf")).unwrap();
    for (name, bytes) in [
        ("cut.gguf", whole[..whole.len() / 2].to_vec()),
        ("magic.gguf", [b"FUGG", &whole[4..]].concat()),
    ] {
        std::fs::write(place.path(name), bytes).unwrap();
        let error = place.refusal(&format!("train --model {name} --data rows.jsonl --out run"));
        assert!(
            error.starts_with("error: ") && error.contains(name),
            "{error}"
        );
    }
    std::fs::create_dir(place.path("hollow")).unwrap();
    let config = fixtures().join("models/tiny-llama-tied/config.json");
    std::fs::copy(config, place.path("hollow/config.json")).unwrap();
    let error = place.refusal("generate --model hollow --prompt hello");
    assert!(error.contains("hollow"), "{error}");
}

#[test]
fn a_model_that_is_not_here_says_how_to_get_it() {
    let place = Place::new();
    assert_eq!(
        place.refusal("generate --model smollm2-135m-instruct --prompt hello"),
        "error: `smollm2-135m-instruct` is not on this machine yet\nhint: fetch it once: hone pull smollm2-135m-instruct"
    );
    let error = place.refusal("generate --model smollm-135m-instruct --prompt hello");
    assert!(
        error.contains("hint: did you mean `smollm2-135m-instruct`?"),
        "{error}"
    );
}

#[test]
fn an_unreachable_hub_is_one_sentence() {
    let place = Place::new();
    let pull = |name: &str, value: &str| {
        let mut command = place.command("pull owner/name");
        let output = command
            .env("HF_HOME", place.path("hf"))
            .env(name, value)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines()
            .filter(|line| line.starts_with("error:"))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    // Nothing listens on port 9 of this machine.
    let errors = pull("HF_ENDPOINT", "http://127.0.0.1:9");
    assert!(
        errors.len() == 1 && errors[0].contains("cannot be reached to fetch `owner/name`"),
        "{errors:?}"
    );
    assert_eq!(
        pull("HF_HUB_OFFLINE", "1"),
        ["error: `owner/name` is not in the hub cache, and HF_HUB_OFFLINE forbids fetching it"]
    );
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} rows.jsonl"));
    let error = place.refusal("generate --model {untied} --adapter run/adapter --prompt hello");
    assert!(error.contains("was trained on another base"), "{error}");
    let foreign = fixtures()
        .join("adapters/tiny-llama-tied")
        .display()
        .to_string();
    let error = place.refusal(&format!(
        "generate --model {{untied}} --adapter {foreign} --prompt hello"
    ));
    assert!(error.contains("does not fit this model"), "{error}");
}

#[test]
fn a_target_that_matches_nothing_is_answered_with_what_exists() {
    let place = place_with_rows();
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --targets q_prj"));
    assert!(
        error.contains("`q_prj`") && error.contains("q_proj") && error.contains("down_proj"),
        "{error}"
    );
}

#[test]
fn a_directory_that_holds_a_run_is_left_alone() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} rows.jsonl"));
    let before = std::fs::read(place.path("run/run.json")).unwrap();
    assert_eq!(
        place.refusal(&format!("{TRAIN} rows.jsonl")),
        "error: run already holds a run (it has run.json)\nhint: --resume continues it; another --out starts a new one"
    );
    assert_eq!(std::fs::read(place.path("run/run.json")).unwrap(), before);
}

#[test]
fn a_resumed_run_cannot_change_its_mind() {
    let place = place_with_rows();
    place.ok(&format!("{TRAIN} rows.jsonl"));
    let error = place.refusal("train --resume --out run --rank 4");
    assert!(
        error.starts_with("error: a resumed run keeps its options, but --rank changed"),
        "{error}"
    );
    let record = std::fs::read_to_string(place.path("run/run.json")).unwrap();
    place.write(
        "run/run.json",
        &record.replace("\"finished\"", "\"interrupted\""),
    );
    place.examples("rows.jsonl", 19);
    let error = place.refusal("train --resume --out run");
    assert!(
        error.contains("rows.jsonl has other rows")
            && error.contains("hint: put back what was there, or begin another run"),
        "{error}"
    );
    assert!(
        place
            .refusal("train --resume --out nowhere")
            .contains("there is no run to resume")
    );
}

#[test]
fn what_a_built_dataset_holds_was_decided_when_it_was_built() {
    let place = place_with_rows();
    let row = r#"{"instruction":"Write to me at jane.doe@firm.org","output":"Gladly."}"#;
    let rows = std::fs::read_to_string(place.path("rows.jsonl")).unwrap();
    place.write("mail.jsonl", &format!("{rows}{row}\n"));
    assert_eq!(place.run("data build --from mail.jsonl --out asks").code, 4);
    let error = place.refusal(&format!("{TRAIN} asks"));
    assert!(
        error.contains("hint: build it again into another directory, with `hone data build` and --rule email=redact"),
        "{error}"
    );
    let error = place.refusal(&format!("{TRAIN} asks --rule email=redact"));
    assert_eq!(
        error,
        "error: --rule can change nothing about asks: what a built dataset holds was decided when it was built\n\
         hint: give --rule to `hone data build`, and build it again into another directory"
    );
    place.ok("data build --from mail.jsonl --rule email=redact --out decided");
    place.ok(&format!("{TRAIN} decided --dry-run"));
    // Beside a built dataset, files are still read by the options.
    let both = place.run(&format!(
        "{TRAIN} decided rows.jsonl --rule email=redact --dry-run"
    ));
    assert!(
        !both.stderr.contains("can change nothing"),
        "{}",
        both.stderr
    );
}

#[test]
fn rows_where_a_recipe_is_wanted_are_answered_with_their_option() {
    let place = place_with_rows();
    for line in ["data build rows.jsonl", "data build rows.jsonl --out set"] {
        assert_eq!(
            place.refusal(line),
            "error: rows.jsonl is no recipe\nhint: use --from rows.jsonl, as in hone data build --from rows.jsonl --out DIR"
        );
    }
    let error = place.refusal("train rows.jsonl");
    assert!(
        error.ends_with("what this is goes with --data rows.jsonl"),
        "{error}"
    );
    let error = place.refusal("train {untied}");
    assert!(error.contains("goes with --model "), "{error}");
    let error = place.refusal("generate {untied}");
    assert!(error.contains("hint: use --model "), "{error}");
    place.write(
        "recipe.toml",
        "seed = \"one\"\n[[sources]]\nfiles = [\"rows.jsonl\"]\n",
    );
    assert_eq!(
        place.refusal("data build recipe.toml --out set"),
        "error: recipe.toml:1: `seed` is the text \"one\", and has to be a whole number, 0 or more, as in seed = 8"
    );
}

#[test]
fn rows_longer_than_the_model_takes_are_not_answered_with_a_length_that_it_refuses() {
    let place = Place::new();
    let row = format!(
        r#"{{"instruction":"Say it","output":"{}"}}"#,
        "word ".repeat(3000)
    );
    place.write("rows.jsonl", &format!("{row}\n"));
    let longest = "--valid-share 0 --max-length 2048";
    let error = place.refusal(&format!("{TRAIN} rows.jsonl {longest}"));
    assert!(
        error.contains("hint: the model was made for 2048 tokens")
            && !error.contains("--max-length takes"),
        "{error}"
    );
    let error = place.refusal(&format!(
        "{TRAIN} rows.jsonl --valid-share 0 --max-length 20"
    ));
    assert!(
        error.contains("rows may have 20 tokens: --max-length takes longer ones"),
        "{error}"
    );
}

#[test]
fn a_plan_that_does_not_fit_says_what_would() {
    let place = place_with_rows();
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --memory 1MB"));
    assert!(
        error.starts_with("error: this run needs about") && error.contains("may use 1 MB"),
        "{error}"
    );
    assert!(error.contains("hint: the program itself"), "{error}");
    assert!(!place.path("run").exists(), "a refused run wrote something");
}

#[test]
#[cfg(target_os = "linux")]
fn where_the_system_gives_no_more_memory_or_threads_a_sentence_says_so() {
    let place = place_with_rows();
    let line = "train --model {untied} --data rows.jsonl --threads 2 --out run";
    let mut told = 0;
    for kilobytes in [60_000, 70_000, 90_000, 120_000, 150_000, 200_000] {
        let limited = place
            .limited(&format!("ulimit -v {kilobytes}"), line)
            .output();
        let ran: crate::command::Ran = limited.unwrap().into();
        let _ = std::fs::remove_dir_all(place.path("run"));
        let is_told = ran.stderr.contains("error: ") && ran.stderr.contains("\nhint: ");
        assert!(
            ran.code == 0 || (ran.code == 1 && is_told),
            "{kilobytes} kB: {} {}",
            ran.code,
            ran.stderr
        );
        told += usize::from(ran.stderr.contains("the system gives no more "));
    }
    assert!(told > 0, "none of the limits is too low");
}

#[test]
fn a_rate_that_the_engine_cannot_hold_is_refused_by_its_option() {
    let place = place_with_rows();
    for (given, shown) in [
        ("1e39", "1000000000000000000000000000000000000000"),
        ("1e-60", "0."),
    ] {
        let error = place.refusal(&format!("{TRAIN} rows.jsonl --lr {given}"));
        assert!(
            error.starts_with(&format!("error: --lr is {shown}"))
                && error.contains("has to be above 0 and in the range of f32"),
            "{error}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_rank_that_no_memory_holds_is_refused_before_memory_is_asked_for() {
    let place = place_with_rows();
    for (rank, told) in [
        ("65536", "memory"),
        (
            "1000000000",
            "adapter rank is 1000000000, and must be at most 65536",
        ),
        ("18446744073709551615", "must be at most 65536"),
    ] {
        // What is mapped beyond 2 GB ends the process, whether it is touched or not.
        let line = format!(
            "train --model {{untied}} --data rows.jsonl --memory 1GB --threads 1 --rank {rank} --out run"
        );
        let limited = place.limited("ulimit -v 2000000", &line).output();
        let ran: crate::command::Ran = limited.unwrap().into();
        assert!(
            matches!(ran.code, 1 | 2)
                && ran.stderr.contains("error: ")
                && ran.stderr.contains(told),
            "{rank}: {} {}",
            ran.code,
            ran.stderr
        );
    }
}

#[test]
fn wrong_options_are_refused_before_anything_is_read() {
    let place = place_with_rows();
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --rank 0"));
    assert_eq!(
        error,
        "error: --rank is 0, but it has to be at least 1\nhint: `hone train --help` says what --rank is for"
    );
    let error = place.refusal(&format!("{TRAIN} rows.jsonl --rnak 4"));
    assert!(
        error.starts_with(
            "error: `hone train` has no option `--rnak`\nhint: did you mean `--rank`?"
        ),
        "{error}"
    );
    place.write("run.toml", "model = \"x\"\nmax_seq_length = 12\n");
    let error = place.refusal("train run.toml");
    assert!(
        error.starts_with("error: run.toml:2: unknown name `max_seq_length`\nhint: `max_seq_length` is `max-length` here"),
        "{error}"
    );
    assert_eq!(place.run("train run.toml").code, 2);
    let error = place.refusal("train --data rows.jsonl --out run");
    assert!(
        error.starts_with("error: --model is needed\nhint: "),
        "{error}"
    );
}

/// A safetensors file of this header and as many zeros.
fn safetensors(header: &str, data_bytes: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

#[test]
fn hostile_models_end_in_one_line_that_names_the_file() {
    let config = std::fs::read_to_string(fixtures().join("models/tiny-llama-tied/config.json"));
    let config = config.unwrap();
    let overlapping = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    let cases: [(&str, Vec<u8>, &str); 8] = [
        (
            "model.safetensors",
            u64::MAX.to_le_bytes().to_vec(),
            "hostile/model.safetensors is not a whole safetensors file",
        ),
        (
            "model.safetensors",
            safetensors(overlapping, 8),
            "hostile/model.safetensors is not a whole safetensors file",
        ),
        (
            "model.safetensors",
            safetensors(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                4,
            ),
            "`a` appears twice",
        ),
        (
            "model.safetensors.index.json",
            br#"{"weight_map":{"a":"../../secret.safetensors"}}"#.to_vec(),
            "names the shard `../../secret.safetensors`, which is not a file name in the same directory",
        ),
        (
            "model.safetensors.index.json",
            br#"{"weight_map":{"a":"\u001b[2Jgone"}}"#.to_vec(),
            r"names the shard `\u{1b}[2Jgone`",
        ),
        (
            "pytorch_model.bin",
            b"\x80\x04cos\nsystem\n".to_vec(),
            "pytorch_model.bin may be pickles, which can run code, and are not opened",
        ),
        (
            "config.json",
            config
                .replace(
                    "\"num_hidden_layers\": 2",
                    "\"num_hidden_layers\": 4294967295",
                )
                .into(),
            "hostile/config.json: the layer count is 4294967295",
        ),
        (
            "config.json",
            config.replace("\"llama\"", "\"a\\nb\"").into(),
            r"hostile/config.json: `model_type` is `a\nb`",
        ),
    ];
    for (file, bytes, part) in cases {
        let place = Place::new();
        std::fs::create_dir(place.path("hostile")).unwrap();
        place.write("hostile/config.json", &config);
        std::fs::write(place.path("hostile").join(file), bytes).unwrap();
        let error = place.refusal("generate --model hostile --prompt hello");
        let first = error.lines().next().unwrap();
        assert!(
            first.starts_with("error: ") && first.contains(part),
            "{file}: {error}"
        );
        let rest = error.lines().skip(1);
        assert!(
            rest.into_iter().all(|line| line.starts_with("hint: ")),
            "{file}: {error}"
        );
    }
    let place = Place::new();
    let whole = std::fs::read(fixtures().join("models/tiny-llama.gguf")).unwrap();
    let mut counts = whole.clone();
    counts[8..24].fill(0xff);
    for (name, bytes, part) in [
        (
            "cut.gguf",
            &whole[..whole.len() / 2],
            "bytes at data offset",
        ),
        (
            "counts.gguf",
            &counts,
            "claims 18446744073709551615 metadata keys",
        ),
    ] {
        std::fs::write(place.path(name), bytes).unwrap();
        let error = place.refusal(&format!("generate --model {name} --prompt hello"));
        let first = error.lines().next().unwrap();
        assert!(first.contains(name) && first.contains(part), "{error}");
    }
}

#[test]
fn hostile_adapters_end_in_one_line_that_names_the_file() {
    let from = fixtures().join("adapters/tiny-llama-tied-qv");
    let config = std::fs::read_to_string(from.join("adapter_config.json")).unwrap();
    let weights = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let rank = |rank: &str| config.replace("\"r\": 3", &format!("\"r\": {rank}"));
    let cases = [
        (
            config.clone(),
            weights[..50].to_vec(),
            "adapter_model.safetensors` is damaged",
        ),
        (
            config.clone(),
            safetensors(twice, 4),
            "`a` lies at the bytes 0 to 4 of 4, and 4 is where",
        ),
        (rank("1e300"), weights.clone(), "`r` is 1e+300"),
        (rank("65536"), weights.clone(), "rank 65536"),
        (
            rank("3, \"r\": 3"),
            weights.clone(),
            "`r` is given more than once",
        ),
    ];
    for (config, weights, part) in cases {
        let place = Place::new();
        std::fs::create_dir(place.path("hostile")).unwrap();
        place.write("hostile/adapter_config.json", &config);
        std::fs::write(place.path("hostile/adapter_model.safetensors"), weights).unwrap();
        let error = place.refusal("generate --model {tied} --adapter hostile --prompt hello");
        let first = error.lines().next().unwrap();
        assert!(
            first.contains("hostile") && first.contains(part),
            "{part}: {error}"
        );
        // A check says it too, in its own words.
        assert_ne!(place.run("adapter check hostile").code, 0, "{part}");
    }
    let place = Place::new();
    std::fs::create_dir(place.path("hostile")).unwrap();
    place.write("hostile/adapter_config.json", &config);
    place.write("hostile/adapter_model.bin", "cos\nsystem\n");
    let pickle = "error: `hostile` holds its weights in adapter_model.bin, a pickle, which Hone does not open";
    for line in [
        "generate --model {tied} --adapter hostile --prompt hello",
        "adapter check hostile",
    ] {
        let error = place.refusal(line);
        assert!(error.starts_with(pickle), "{error}");
    }
}

#[test]
fn a_tokenizer_cut_anywhere_is_an_error_and_no_bug() {
    let place = Place::new();
    std::fs::create_dir(place.path("cut")).unwrap();
    for entry in std::fs::read_dir(fixtures().join("models/tiny-llama-tied")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), place.path("cut").join(entry.file_name())).unwrap();
    }
    let whole = std::fs::read_to_string(place.path("cut/tokenizer.json")).unwrap();
    let decoder = whole.find("\"decoder\"").unwrap() + 20;
    for end in [0, 1, decoder, whole.len() / 2, whole.len() - 3] {
        place.write("cut/tokenizer.json", &whole[..end]);
        let ran = place.run("generate --model cut --prompt hello");
        let said = ran.stderr;
        assert!(ran.code == 1 && said.lines().count() == 2, "{end}: {said}");
        assert!(
            said.contains("cut: tokenizer.json: not a usable tokenizer")
                && said.contains("\nhint: fetch tokenizer.json again")
                && !said.contains("bug"),
            "{end}: {said}"
        );
    }
}

/// A copy of the untied fixture in which the numbers of `tensor` are `value` here and there.
fn spoilt_base(place: &Place, name: &str, tensor: &str, value: f32) {
    std::fs::create_dir(place.path(name)).unwrap();
    for entry in std::fs::read_dir(fixtures().join("models/tiny-llama-untied")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), place.path(name).join(entry.file_name())).unwrap();
    }
    let path = place.path(name).join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let table: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let place = &table[tensor]["data_offsets"];
    let [start, end] = [0, 1].map(|at| 8 + header + place[at].as_u64().unwrap() as usize);
    assert_eq!(table[tensor]["dtype"], "F32");
    for number in bytes[start..end].chunks_exact_mut(4) {
        number.copy_from_slice(&value.to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn numbers_that_are_not_finite_are_an_error_that_names_their_tensor_and_never_an_empty_answer() {
    let place = Place::new();
    place.examples("rows.jsonl", 4);
    for name in ["inf", "nan", "huge"] {
        let recipe = format!(
            "model = \"{name}\"\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[select]\nrows = 2\n"
        );
        place.write(&format!("{name}.toml"), &recipe);
    }
    let tensor = "model.layers.1.mlp.up_proj.weight";
    for (name, value) in [("inf", f32::INFINITY), ("nan", f32::NAN), ("huge", 3e38)] {
        spoilt_base(&place, name, tensor, value);
        let cause = match value.is_finite() {
            true => "overflows in layer 1".to_owned(),
            false => format!("the base's `{tensor}` holds {value}"),
        };
        for command in [
            format!("generate --model {name} --prompt hi --max-tokens 3"),
            format!("generate --model {name} --prompt hi --max-tokens 3 --temperature 1"),
            format!("eval -q --model {name} --data rows.jsonl --max-tokens 3"),
            format!("data build -q {name}.toml --out built"),
        ] {
            let error = place.refusal(&command);
            assert!(error.contains(&cause), "{command}: {error}");
            assert!(error.contains("hint: "), "{error}");
            let has_rows = !command.starts_with("generate");
            assert_eq!(error.contains("rows.jsonl:"), has_rows, "{error}");
        }
    }
}

/// The fixture of an adapter with one number that is none.
fn spoilt_adapter(place: &Place, name: &str, tensor: &str) {
    std::fs::create_dir(place.path(name)).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = fixtures().join("adapters/tiny-llama-untied").join(file);
        std::fs::copy(from, place.path(name).join(file)).unwrap();
    }
    let path = place.path(name).join("adapter_model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let table: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let start = table[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[8 + header + start..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_command_names_the_tensor_of_the_base_or_the_adapter_that_holds_no_number() {
    let place = Place::new();
    place.examples("rows.jsonl", 4);
    let of_base = "model.layers.1.mlp.up_proj.weight";
    let of_adapter = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    spoilt_base(&place, "base", of_base, f32::NAN);
    spoilt_adapter(&place, "adapter", of_adapter);
    let recipe = "model = \"base\"\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[select]\nrows = 2\n";
    place.write("recipe.toml", recipe);
    let sound = fixtures().join("adapters/tiny-llama-untied");
    let with_models = [
        "generate {m} --prompt hi --max-tokens 3",
        "chat {m} --max-tokens 3",
        "eval -q {m} --data rows.jsonl --max-tokens 3",
        "merge {m} --out out",
        "merge {m} --out out --dtype f16",
        "export {m} --out out --to gguf",
        "export {m} --out out --to gguf --type q8_0",
        "export {m} --out out --to gguf --type q4_k_m",
        "export {m} --out out --to gguf-adapter",
        "export {m} --out out --to mlx",
        "export {m} --out out --to hf",
        "export {m} --out out --to ollama",
    ];
    let base = format!("--model base --adapter '{}'", sound.display());
    let cases = with_models
        .iter()
        .map(|line| (line.replace("{m}", &base), of_base, "base"))
        .chain(with_models.iter().map(|line| {
            let models = "--model {untied} --adapter adapter";
            (line.replace("{m}", models), of_adapter, "adapter")
        }))
        .chain([
            (
                "data build -q recipe.toml --out out".to_owned(),
                of_base,
                "base",
            ),
            (
                "train --model base --data rows.jsonl --out run".to_owned(),
                of_base,
                "base",
            ),
            (
                "train --model base --method qlora --data rows.jsonl --out four".to_owned(),
                of_base,
                "row 0",
            ),
            (
                format!("adapter combine adapter '{}' --out out", sound.display()),
                of_adapter,
                "adapter",
            ),
        ]);
    for (line, tensor, holder) in cases {
        let ran = place.command(&line).stdin(asking(&place)).output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{line}: {said}");
        let error = said.lines().find(|line| line.starts_with("error: "));
        let error = error.unwrap_or_else(|| panic!("{line}: {said}"));
        assert!(
            error.contains(&format!("`{tensor}`")) && error.contains("NaN"),
            "{line}: {said}"
        );
        assert!(error.contains(holder), "{line}: {said}");
        assert!(!place.path("out").exists(), "{line}");
    }
}

#[test]
fn a_tensor_that_is_copied_is_looked_at_like_one_that_is_made() {
    let place = Place::new();
    let sound = fixtures().join("adapters/tiny-llama-untied");
    // Of the embedding, the row of a token that no text has.
    for tensor in ["model.norm.weight", "model.embed_tokens.weight"] {
        spoilt_base(&place, tensor, tensor, f32::NAN);
        for line in [
            "merge",
            "export --to hf",
            "export --to gguf",
            "export --to ollama",
        ] {
            let error = place.refusal(&format!(
                "{line} --model ./{tensor} --adapter '{}' --replies 0 --out out",
                sound.display()
            ));
            assert!(
                error.starts_with(&format!("error: `{tensor}` of the base "))
                    && error.contains("holds NaN; nothing was written\nhint: fetch the base again"),
                "{line}: {error}"
            );
            assert!(!place.path("out").exists(), "{line}");
        }
    }
}

/// Somebody who asks a question, for `chat`.
fn asking(place: &Place) -> std::process::Stdio {
    let path = place.write("asked.txt", "hi\n");
    std::fs::File::open(path).unwrap().into()
}

#[test]
#[cfg(target_os = "linux")]
fn a_run_takes_no_more_memory_than_its_plan_says() {
    let place = place_with_rows();
    let line = "train --model {untied} --data rows.jsonl --valid-share 0 --threads 2 --epochs 20";
    for options in ["", "--method qlora", "--dora", "--activations bf16"] {
        let out = format!("run{}", options.replace(' ', ""));
        place.ok(&format!("{line} {options} --out {out}"));
        let record = std::fs::read(place.path(&out).join("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let peak = record["result"]["peak_memory_bytes"].as_f64().unwrap() / 1e6;
        let text = record.to_string();
        let (_, planned) = text
            .split_once("\"memory needed\",\"value\":\"about ")
            .unwrap();
        let planned: f64 = planned.split_once(" MB").unwrap().0.parse().unwrap();
        // Most of it is the program, of which a run of a few thousand numbers touches less than others do.
        assert!(
            peak <= planned && peak > 0.4 * planned,
            "{options}: {peak} MB instead of {planned} MB"
        );
    }
}

/// A base whose tokenizer numbers one token more, as it likes.
fn base_with_token(place: &Place, name: &str, id: u32) {
    spoilt_base(place, name, "model.norm.weight", 1.0);
    let path = place.path(name).join("tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut added = json["added_tokens"][0].clone();
    added["content"] = "<far>".into();
    added["id"] = id.into();
    json["added_tokens"].as_array_mut().unwrap().push(added);
    json["model"]["vocab"]["<far>"] = id.into();
    std::fs::write(&path, json.to_string()).unwrap();
}

#[test]
fn a_token_with_an_id_far_beyond_the_others_is_refused_at_once() {
    let place = Place::new();
    base_with_token(&place, "far", 2_147_483_647);
    let begun = std::time::Instant::now();
    let error = place.refusal("generate --model far --prompt hi --max-tokens 1");
    assert!(error.contains("\"<far>\" has the id 2147483647"), "{error}");
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn a_token_that_the_model_has_no_row_for_is_refused_with_both_sizes() {
    let place = Place::new();
    for id in [301, 100_000, (1 << 20) - 1] {
        base_with_token(&place, &format!("m{id}"), id);
        let error = place.refusal(&format!(
            "generate --model m{id} --prompt hi --max-tokens 1"
        ));
        let wanted = format!(
            "the token \"<far>\" has the id {id}, but the model knows 300 tokens and the tokenizer has 301\n\
             hint: fetch tokenizer and weights again, both from one place"
        );
        assert!(error.contains(&wanted), "{error}");
    }
    // A padding token without a row, as many tokenizers have it, is never looked up.
    base_with_token(&place, "padded", 300);
    place.ok("generate --model padded --prompt hi --max-tokens 1");
    let error = place.refusal("generate --model padded --raw --prompt <far> --max-tokens 1");
    assert!(error.contains("token 300"), "{error}");
}
