//! What PEFT loads with a warning or without a word, each defect by itself: here it is an error, or a decision that is
//! written down.

use std::path::{Path, PathBuf};

use hone_model::weights::BaseWeights;
use hone_model::{
    AdapterCheck, AdapterFiles, AdapterWeights, CheckedBase, Finding, Outcome, PeftError,
    RawAdapter, Runtime, Severity, check_adapter,
};
use hone_tensor::Device;
use serde_json::{Map, Value, json};

const Q: &str = "base_model.model.model.layers.0.self_attn.q_proj";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn base(name: &str) -> BaseWeights {
    BaseWeights::open(&fixtures().join("models").join(name)).unwrap()
}

/// An adapter's two files, to be damaged.
struct Files {
    config: Map<String, Value>,
    /// Name, type, shape, bytes; names may repeat.
    tensors: Vec<(String, String, Vec<usize>, Vec<u8>)>,
    metadata: Map<String, Value>,
}

impl Files {
    fn of(name: &str) -> Self {
        let dir = fixtures().join("adapters").join(name);
        let file = std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        let mut tensors: Vec<_> = tensors
            .iter()
            .map(|(name, view)| {
                (
                    name.to_owned(),
                    "F32".to_owned(),
                    view.shape().to_vec(),
                    view.data().to_vec(),
                )
            })
            .collect();
        tensors.sort();
        Self {
            config: serde_json::from_slice(
                &std::fs::read(dir.join("adapter_config.json")).unwrap(),
            )
            .unwrap(),
            tensors,
            metadata: Map::from_iter([("format".to_owned(), json!("pt"))]),
        }
    }

    fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.into(), value);
    }

    fn at(&mut self, end: &str) -> &mut (String, String, Vec<usize>, Vec<u8>) {
        self.tensors
            .iter_mut()
            .find(|tensor| tensor.0.ends_with(end))
            .unwrap()
    }

    fn push(&mut self, name: &str, shape: &[usize]) {
        let bytes = 0.5f32.to_le_bytes().repeat(shape.iter().product());
        self.tensors
            .push((name.into(), "F32".into(), shape.to_vec(), bytes));
    }

    fn write(&self, dir: &Path) {
        let mut entries = vec![format!(
            "\"__metadata__\":{}",
            Value::Object(self.metadata.clone())
        )];
        let mut data: Vec<u8> = Vec::new();
        for (name, dtype, shape, bytes) in &self.tensors {
            let start = data.len();
            data.extend(bytes);
            let entry =
                json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
            // By hand, because a map would swallow names that repeat.
            entries.push(format!("{}:{entry}", json!(name)));
        }
        let header = format!("{{{}}}", entries.join(","));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        std::fs::write(dir.join("adapter_model.safetensors"), file).unwrap();
        std::fs::write(
            dir.join("adapter_config.json"),
            Value::Object(self.config.clone()).to_string(),
        )
        .unwrap();
    }

    fn check(&self, base: Option<CheckedBase>) -> AdapterCheck {
        let dir = tempfile::tempdir().unwrap();
        self.write(dir.path());
        check_adapter(&RawAdapter::read(dir.path()).unwrap(), base)
    }
}

fn with(config: &BaseWeights) -> CheckedBase<'_> {
    CheckedBase {
        config: config.config(),
        new_tokens: config.new_tokens(),
        fingerprint: Some("1111"),
        template_hash: Some("2222"),
    }
}

/// Codes of everything above a note.
fn codes(check: &AdapterCheck) -> Vec<&'static str> {
    let found = check
        .findings
        .iter()
        .filter(|finding| finding.severity() > Severity::Note);
    let mut codes: Vec<&str> = found.map(|finding| finding.code()).collect();
    codes.sort();
    codes.dedup();
    codes
}

type Damage = fn(&mut Files);

/// What is done to an adapter, what PEFT 0.21.2 says, and what is found here.
const DEFECTS: &[(&str, &str, Damage, &[&str])] = &[
    ("nothing", "loads", |_| {}, &[]),
    (
        "a lora tensor is missing",
        "a warning, and runs with its initial value",
        |files| {
            files
                .tensors
                .retain(|tensor| tensor.0 != format!("{Q}.lora_B.weight"))
        },
        &["missing"],
    ),
    (
        "a module is missing",
        "a warning, and runs without it",
        |files| files.tensors.retain(|tensor| !tensor.0.starts_with(Q)),
        &["missing"],
    ),
    (
        "all names lack base_model.model.",
        "one warning, and the adapter is random",
        |files| {
            files
                .tensors
                .iter_mut()
                .for_each(|tensor| tensor.0 = tensor.0.replacen("base_model.model.", "", 1))
        },
        &["no-prefix"],
    ),
    (
        "a tensor on a module that does not exist",
        "silence",
        |files| {
            files.push(
                "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight",
                &[4, 32],
            );
            files.push(
                "base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight",
                &[32, 4],
            );
        },
        &["unexpected"],
    ),
    (
        "v_proj is not in target_modules",
        "silence",
        |files| {
            files.set(
                "target_modules",
                json!([
                    "q_proj",
                    "k_proj",
                    "o_proj",
                    "gate_proj",
                    "up_proj",
                    "down_proj"
                ]),
            )
        },
        &["unexpected"],
    ),
    (
        "a tensor of no adapter",
        "silence",
        |files| files.push("optimizer.step", &[1]),
        &["unexpected"],
    ),
    (
        "the lora_A.default.weight spelling",
        "accepts it; so do we, with a warning, as other readers do not",
        |files| {
            files.at("0.self_attn.q_proj.lora_A.weight").0 = format!("{Q}.lora_A.default.weight")
        },
        &["names-adapter"],
    ),
    (
        "one tensor under two spellings",
        "takes the last",
        |files| files.push(&format!("{Q}.lora_A.default.weight"), &[4, 32]),
        &["duplicate", "names-adapter"],
    ),
    (
        "one name twice in the header",
        "takes the last",
        |files| files.push(&format!("{Q}.lora_A.weight"), &[4, 32]),
        &["duplicate"],
    ),
    (
        "a tensor of another shape",
        "an error",
        |files| files.at("q_proj.lora_A.weight").2 = vec![32, 4],
        &["misshaped"],
    ),
    (
        "r in the configuration is not the tensors'",
        "an error",
        |files| files.set("r", json!(8)),
        &["other-rank"],
    ),
    (
        "an unknown key in the configuration",
        "a warning, and drops it; here it is refused where it is set",
        |files| files.set("lora_sparkle", json!(3)),
        &["unknown-settings"],
    ),
    (
        "fan_in_fan_out of a base that does not lie so",
        "a warning, and turns it off; so do we",
        |files| files.set("fan_in_fan_out", json!(true)),
        &["transposed"],
    ),
    (
        "a negative alpha",
        "applies it; so do we",
        |files| files.set("lora_alpha", json!(-8)),
        &[],
    ),
    (
        "no peft_type",
        "KeyError",
        |files| drop(files.config.remove("peft_type")),
        &["unknown-method"],
    ),
    (
        "an unknown peft_type",
        "KeyError",
        |files| files.set("peft_type", json!("LARO")),
        &["unknown-method"],
    ),
    (
        "a bad task_type",
        "ValueError",
        |files| files.set("task_type", json!("CHAT")),
        &["bad-setting"],
    ),
    (
        "target_modules that are not in the model",
        "an error",
        |files| files.set("target_modules", json!(["wq", "wv"])),
        &["idle-target", "unexpected"],
    ),
    (
        "target_modules null",
        "an error, or its own table of models",
        |files| files.set("target_modules", Value::Null),
        &["contradiction", "unexpected"],
    ),
    (
        "another base, by fingerprint",
        "silence",
        |files| {
            drop(
                files
                    .metadata
                    .insert("hone.base_fingerprint".into(), json!("9999")),
            )
        },
        &["other-base"],
    ),
    (
        "another chat template",
        "silence",
        |files| {
            drop(
                files
                    .metadata
                    .insert("hone.template_hash".into(), json!("9999")),
            )
        },
        &["other-template"],
    ),
    (
        "use_rslora flipped after saving",
        "silence, and other answers; found where the scaling was written down",
        |files| {
            files.metadata.insert("hone.scaling".into(), json!("0000"));
            files.set("use_rslora", json!(true));
        },
        &["edited-scaling"],
    ),
    (
        "use_dora false with magnitudes present",
        "silence, and wrong output",
        |files| files.push(&format!("{Q}.lora_magnitude_vector"), &[32]),
        &["unexpected"],
    ),
    (
        "use_dora true without magnitudes",
        "a warning, and wrong output",
        |files| files.set("use_dora", json!(true)),
        &["missing"],
    ),
    (
        "lora_bias true without biases",
        "a warning",
        |files| files.set("lora_bias", json!(true)),
        &["missing", "not-applied"],
    ),
    (
        "a tensor of modules_to_save is missing",
        "KeyError",
        |files| files.set("modules_to_save", json!(["lm_head"])),
        &["missing"],
    ),
    (
        "a whole matrix of the head that is not the base's",
        "silence, and puts it in place of the base's; here it is refused by name",
        |files| files.push("base_model.model.lm_head.weight", &[300, 32]),
        &["not-applied"],
    ),
    (
        "a whole matrix that modules_to_save does not name",
        "silence",
        |files| {
            let name = "base_model.model.model.layers.0.self_attn.k_proj.weight";
            files.push(name, &[16, 32]);
        },
        &["unexpected"],
    ),
    (
        "a bias of a module that has none",
        "silence",
        |files| {
            files.set("bias", json!("all"));
            files.push(&format!("{Q}.base_layer.bias"), &[32]);
        },
        &["unexpected"],
    ),
    (
        "a pair of an embedding on a linear layer",
        "silence",
        |files| {
            files.push(&format!("{Q}.lora_embedding_A"), &[4, 32]);
            files.push(&format!("{Q}.lora_embedding_B"), &[32, 4]);
        },
        &["unexpected"],
    ),
    (
        "a tied embedding that was trained without its head",
        "two matrices from then on; here it is refused by name",
        |files| {
            files.set("modules_to_save", json!(["embed_tokens"]));
            files.push("base_model.model.model.embed_tokens.weight", &[300, 32]);
        },
        &["not-applied"],
    ),
    (
        "rows of tokens on a linear layer",
        "silence",
        |files| {
            files.set("trainable_token_indices", json!([7]));
            let rows = "token_adapter.trainable_tokens_delta";
            files.push(
                &format!("base_model.model.model.embed_tokens.{rows}"),
                &[1, 32],
            );
            files.push(
                &format!("base_model.model.model.layers.0.self_attn.q_proj.{rows}"),
                &[1, 32],
            );
        },
        &["unexpected"],
    ),
    (
        "one token twice",
        "trains one row of the two",
        |files| {
            files.set("trainable_token_indices", json!([7, 7]));
            let name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";
            files.push(name, &[2, 32]);
        },
        &["contradiction"],
    ),
    (
        "bf16 tensors",
        "widens them; so do we",
        |files| {
            let tensor = files.at("q_proj.lora_A.weight");
            tensor.1 = "BF16".into();
            tensor.3 = tensor
                .3
                .chunks(4)
                .flat_map(|number| [number[2], number[3]])
                .collect();
        },
        &[],
    ),
    (
        "integers in a tensor",
        "casts them",
        |files| files.at("q_proj.lora_A.weight").1 = "I32".into(),
        &["not-numbers"],
    ),
    (
        "a number that is none",
        "silence",
        |files| files.at("q_proj.lora_A.weight").3[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        &["not-finite"],
    ),
    (
        "an infinite number",
        "silence",
        |files| {
            files.at("q_proj.lora_B.weight").3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes())
        },
        &["not-finite"],
    ),
    (
        "no tensors at all",
        "a warning, and the adapter is random",
        |files| files.tensors.clear(),
        &["empty", "missing"],
    ),
    (
        "initialised by pissa",
        "repeats it on the base; others do not",
        |files| files.set("init_lora_weights", json!("pissa_niter_4")),
        &["changes-base"],
    ),
    (
        "a setting that changes the numbers and is not applied here",
        "applies it",
        |files| files.set("layer_replication", json!([[0, 2], [1, 2]])),
        &["not-applied"],
    ),
    (
        "patterns of rank that overlap",
        "takes the first, as we do, and sorts them when it saves",
        |files| files.set("alpha_pattern", json!({"q_proj": 3, "self_attn.q_proj": 5})),
        &["overlapping-patterns"],
    ),
    (
        "a pattern that matches nothing",
        "a warning",
        |files| files.set("rank_pattern", json!({"wq": 3})),
        &["idle-pattern"],
    ),
    (
        "a pattern with look-around",
        "applies it; here the tensors decide",
        |files| files.set("target_modules", json!("(?!x).*proj")),
        &["unread-pattern"],
    ),
    (
        "rank zero",
        "ValueError",
        |files| files.set("r", json!(0)),
        &["bad-setting", "other-rank"],
    ),
    (
        "a rank in words",
        "TypeError",
        |files| files.set("r", json!("four")),
        &["bad-setting", "other-rank"],
    ),
];

#[test]
fn every_defect_that_peft_lets_pass_is_found() {
    let base = base("tiny-llama-tied");
    for (defect, peft, damage, expected) in DEFECTS {
        let mut files = Files::of("tiny-llama-tied");
        damage(&mut files);
        let check = files.check(Some(with(&base)));
        assert_eq!(
            codes(&check),
            *expected,
            "{defect} (PEFT: {peft}): {:?}",
            check.findings
        );
        // No program reads right what is wrong, but for what is only wrong in some of them.
        let only_in_some = [
            "no-prefix",
            "changes-base",
            "not-applied",
            "unknown-settings",
        ];
        let errors: Vec<&str> = check.errors().map(|finding| finding.code()).collect();
        let is_wrong = errors.iter().any(|code| !only_in_some.contains(code));
        let mut verdicts = check.facts.verdicts().into_iter();
        assert!(
            !is_wrong || verdicts.all(|verdict| verdict.outcome != Outcome::Right),
            "{defect}: {errors:?}",
        );
        let in_hone = check.facts.verdict(Runtime::Hone).outcome;
        let expected = match errors.is_empty() {
            true => Outcome::Right,
            false => Outcome::Refuses,
        };
        assert_eq!(in_hone, expected, "{defect}: {errors:?}");
        let alone = CheckedBase {
            fingerprint: None,
            template_hash: None,
            ..with(&base)
        };
        let dir = tempfile::tempdir().unwrap();
        files.write(dir.path());
        let attached = AdapterFiles::read(dir.path())
            .and_then(|files| files.into_adapter(base.config(), &Device::cpu(1).unwrap()));
        let is_sound = files.check(Some(alone)).is_sound();
        assert_eq!(attached.is_ok(), is_sound, "{defect}: {attached:?}");
    }
}

#[test]
fn without_the_model_a_gap_in_the_layers_is_a_warning() {
    let mut files = Files::of("tiny-llama-tied");
    files.tensors.retain(|tensor| !tensor.0.starts_with(Q));
    let check = files.check(None);
    assert_eq!(codes(&check), ["uneven"], "{:?}", check.findings);
    assert!(check.is_sound());
}

#[test]
fn a_setting_given_twice_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::of("tiny-llama-tied");
    files.write(dir.path());
    let config = dir.path().join("adapter_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen('{', "{\"lora_alpha\": 99,", 1)).unwrap();
    let check = check_adapter(&RawAdapter::read(dir.path()).unwrap(), None);
    assert_eq!(codes(&check), ["repeated-setting"]);
}

#[test]
fn files_that_cannot_be_read_at_all_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let refused = || RawAdapter::read(dir.path()).unwrap_err();
    assert!(matches!(refused(), PeftError::NoAdapter { .. }));
    Files::of("tiny-llama-tied").write(dir.path());
    let weights = dir.path().join("adapter_model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(refused(), PeftError::Damaged { .. }));
    std::fs::remove_file(&weights).unwrap();
    assert!(matches!(refused(), PeftError::NoAdapter { .. }));
    std::fs::write(dir.path().join("adapter_model.bin"), b"\x80\x02").unwrap();
    assert!(matches!(refused(), PeftError::Pickle { .. }));
}

#[test]
fn every_program_is_told_apart() {
    use Outcome::{Refuses, Right, Wrong};
    type Rows = [(&'static str, Damage, [Outcome; 6]); 12];
    // In the order of Runtime::ALL: hone, peft, vllm, llama.cpp, ollama, mlx.
    let rows: Rows = [
        (
            "plain",
            |_| {},
            [Right, Right, Right, Right, Right, Refuses],
        ),
        (
            "rsLoRA",
            |f| f.set("use_rslora", json!(true)),
            [Right, Right, Right, Wrong, Wrong, Refuses],
        ),
        (
            "alphas of their own",
            |f| f.set("alpha_pattern", json!({"q_proj": 3})),
            [Right, Right, Wrong, Wrong, Wrong, Refuses],
        ),
        (
            "DoRA",
            |f| f.set("use_dora", json!(true)),
            [Right, Right, Refuses, Refuses, Refuses, Refuses],
        ),
        (
            "whole modules",
            |f| f.set("modules_to_save", json!(["lm_head"])),
            [Right, Right, Refuses, Refuses, Refuses, Refuses],
        ),
        (
            "biases",
            |f| f.set("bias", json!("all")),
            [Right, Right, Refuses, Refuses, Refuses, Refuses],
        ),
        (
            "pissa",
            |f| f.set("init_lora_weights", json!("pissa")),
            [Refuses, Right, Wrong, Wrong, Wrong, Refuses],
        ),
        (
            "a head",
            |f| {
                f.push("base_model.model.lm_head.lora_A.weight", &[4, 32]);
                f.push("base_model.model.lm_head.lora_B.weight", &[300, 4]);
            },
            [Right, Right, Right, Right, Refuses, Refuses],
        ),
        (
            "copies of embedding and head",
            |f| {
                f.push("base_model.model.lm_head.weight", &[300, 32]);
                f.push("base_model.model.model.embed_tokens.weight", &[300, 32]);
            },
            [Right, Right, Refuses, Refuses, Refuses, Refuses],
        ),
        (
            "activated LoRA",
            |f| f.set("alora_invocation_tokens", json!([5, 7])),
            [Refuses, Right, Wrong, Right, Right, Refuses],
        ),
        (
            "no alpha",
            |f| drop(f.config.remove("lora_alpha")),
            [Right, Right, Refuses, Refuses, Refuses, Refuses],
        ),
        (
            "trained norms",
            |f| {
                f.set("modules_to_save", json!(["norm"]));
                f.push("base_model.model.model.norm.weight", &[32]);
            },
            [Right, Right, Refuses, Wrong, Wrong, Refuses],
        ),
    ];
    for (what, change, expected) in rows {
        let mut files = Files::of("tiny-llama-tied");
        change(&mut files);
        let mut check = files.check(None);
        // Some settings ask for tensors that are not there; here it is about the settings.
        if check.facts.damage.take().is_some() {
            check.facts.refusal = None;
        }
        let found = Runtime::ALL.map(|runtime| check.facts.verdict(runtime).outcome);
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn a_fixed_adapter_has_one_scale_and_is_sound() {
    for name in ["tiny-llama-untied-patterns", "tiny-llama-untied-rslora"] {
        let parts = AdapterWeights::read(&fixtures().join("adapters").join(name), None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let fixed = parts.uniform();
        fixed
            .save(dir.path(), hone_model::SaveDtype::F32, &fixed.paths())
            .unwrap();
        let base = base("tiny-llama-untied");
        let check = check_adapter(&RawAdapter::read(dir.path()).unwrap(), Some(with(&base)));
        assert_eq!(codes(&check), Vec::<&str>::new(), "{name}");
        for runtime in [
            Runtime::Peft,
            Runtime::Vllm,
            Runtime::LlamaCpp,
            Runtime::Ollama,
        ] {
            assert_eq!(
                check.facts.verdict(runtime).outcome,
                Outcome::Right,
                "{name} in {runtime}"
            );
        }
    }
}

#[test]
fn every_method_of_peft_passes_and_others_are_told_what_they_refuse() {
    for (name, model, refusing) in [
        ("tied-dora", "tied", 3),
        ("bias-dora", "bias", 3),
        ("bias-all", "bias", 3),
        ("bias-own", "bias", 3),
        ("bias-ia3", "bias", 3),
        ("tied-ia3", "tied", 3),
        ("tied-rows", "tied", 2),
        ("untied-rows", "untied", 2),
        ("tied-embedding", "tied", 2),
        ("untied-head", "untied", 1),
        ("untied-saved", "untied", 3),
        ("untied-whole", "untied", 3),
        ("tied-grown", "tied", 3),
        ("untied-grown", "untied", 3),
        ("untied-grown-saved", "untied", 3),
    ] {
        let dir = fixtures().join(format!("adapters/tiny-llama-{name}"));
        let mut raw = RawAdapter::read(&dir).unwrap();
        let mut base = base(&format!("tiny-llama-{model}"));
        if name.contains("grown") {
            let check = check_adapter(&raw, Some(with(&base)));
            assert!(!check.is_sound(), "{name} fits a base without its tokens");
            let rows = raw.new_rows(base.config(), 303).unwrap();
            base.grow(&rows).unwrap();
        }
        raw.leave_out_copies(&base);
        let check = check_adapter(&raw, Some(with(&base)));
        assert!(codes(&check).is_empty(), "{name}: {:?}", check.findings);
        let grows = |finding: &Finding| finding.code() == "grows";
        let is_grown = name.contains("grown");
        assert_eq!(check.findings.iter().any(grows), is_grown, "{name}");
        let refuses = |runtime: &Runtime| check.facts.verdict(*runtime).outcome == Outcome::Refuses;
        let others = [Runtime::Vllm, Runtime::LlamaCpp, Runtime::Ollama];
        assert_eq!(
            others.iter().filter(|runtime| refuses(runtime)).count(),
            refusing,
            "{name}"
        );
        assert!(
            !refuses(&Runtime::Peft) && !refuses(&Runtime::Hone),
            "{name}"
        );
    }
}

/// Directories with an adapter, and the bases that they are for.
fn every_adapter() -> Vec<(PathBuf, PathBuf)> {
    let dirs = |path: &str| {
        let entries = std::fs::read_dir(fixtures().join(path)).unwrap();
        entries.map(|entry| entry.unwrap().path())
    };
    let of_methods = dirs("adapters").map(|dir| {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let kind = name.split('-').nth(2).unwrap();
        let base = fixtures().join(format!("models/tiny-llama-{kind}"));
        (dir, base)
    });
    let of_families = dirs("families").map(|dir| (dir.join("adapter"), dir.join("base")));
    let all = of_methods.chain(of_families);
    all.filter(|(dir, _)| dir.is_dir()).collect()
}

#[test]
fn what_a_check_says_of_hone_is_what_attaching_and_merging_do() {
    let adapters = every_adapter();
    assert!(adapters.len() > 40, "{}", adapters.len());
    for (dir, base) in adapters {
        let what = dir.display();
        let mut raw = RawAdapter::read(&dir).unwrap();
        let mut base = BaseWeights::open(&base).unwrap();
        let is_grown = what.to_string().contains("grown");
        if let Some(rows) = raw.new_rows(base.config(), 303).filter(|_| is_grown) {
            base.grow(&rows).unwrap();
        }
        for copies_are_left_out in [false, true] {
            if copies_are_left_out {
                raw.leave_out_copies(&base);
            }
            let check = check_adapter(&raw, Some(with(&base)));
            let mut files = AdapterFiles::read(&dir).unwrap();
            if copies_are_left_out {
                files.leave_out_copies(&base);
            }
            let attached = files.into_adapter(base.config(), &Device::cpu(1).unwrap());
            let parts = AdapterWeights::of(&raw, &check);
            let verdict = check.facts.verdict(Runtime::Hone);
            assert_eq!(
                verdict.outcome == Outcome::Right,
                attached.is_ok(),
                "{what}"
            );
            assert_eq!(verdict.outcome == Outcome::Right, parts.is_ok(), "{what}");
            assert!(
                attached.is_ok() || !copies_are_left_out,
                "{what}: {attached:?}"
            );
            if let (Err(attached), Err(parts)) = (attached, parts) {
                assert_eq!(attached.to_string(), parts.to_string());
            }
        }
    }
}
