//! Families whose layers have experts, and adapters on them.

use super::*;

/// Matrices of experts, by expert and place.
type Stack = BTreeMap<(usize, usize), (Vec<usize>, Vec<u8>)>;

/// Tensors by name: shape and bytes.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// As transformers 5 has experts in memory: gates above ups, all experts in one tensor.
fn restacked(family: &str, change: impl Fn(&mut Tensors)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(path(family, "base/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut written: Tensors = BTreeMap::new();
    let mut stacks: BTreeMap<String, Stack> = BTreeMap::new();
    for (name, view) in tensors.iter() {
        let held = (view.shape().to_vec(), view.data().to_vec());
        let Some((before, after)) = name.split_once("experts.") else {
            written.insert(name.to_owned(), held);
            continue;
        };
        let before = before.replace("block_sparse_moe", "mlp");
        let (expert, matrix) = after.split_once('.').unwrap();
        let (parameter, at) = match matrix {
            "w1.weight" | "gate_proj.weight" => ("gate_up_proj", 0),
            "w3.weight" | "up_proj.weight" => ("gate_up_proj", 1),
            _ => ("down_proj", 0),
        };
        let stack = stacks
            .entry(format!("{before}experts.{parameter}"))
            .or_default();
        stack.insert((expert.parse().unwrap(), at), held);
    }
    for (name, stack) in stacks {
        let experts = stack.keys().map(|key| key.0).max().unwrap() + 1;
        let (rows, cols) = stack
            .values()
            .fold((0, 0), |(rows, _), held| (rows + held.0[0], held.0[1]));
        let bytes = stack.into_values().flat_map(|held| held.1).collect();
        written.insert(name, (vec![experts, rows / experts, cols], bytes));
    }
    change(&mut written);
    let views = written.iter().map(|(name, (shape, bytes))| {
        (
            name,
            safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape.clone(), bytes)
                .unwrap(),
        )
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
    std::fs::copy(
        path(family, "base/config.json"),
        dir.path().join("config.json"),
    )
    .unwrap();
    dir
}

const WITH_EXPERTS: [&str; 3] = ["mixtral", "qwen3_moe", "qwen3_moe-normed"];

#[test]
fn experts_stacked_in_a_directory_are_the_same_model() {
    for family in WITH_EXPERTS {
        let dir = restacked(family, |_| ());
        let stacked = BaseWeights::open(dir.path()).unwrap();
        let single = BaseWeights::open(&path(family, "base")).unwrap();
        assert_eq!(
            stacked.fingerprint().unwrap(),
            single.fingerprint().unwrap(),
            "{family}"
        );
        // One expert less than the configuration says, or gates without ups.
        for (short, found) in [(0, "3 × "), (1, "4 × ")] {
            let dir = restacked("mixtral", |tensors| {
                let name = "model.layers.1.mlp.experts.gate_up_proj";
                let (shape, bytes) = tensors.get_mut(name).unwrap();
                shape[short] = if short == 0 { 3 } else { shape[1] / 2 };
                bytes.truncate(2 * shape.iter().product::<usize>());
            });
            let error = BaseWeights::open(dir.path()).unwrap_err().to_string();
            assert!(
                error.contains("gate_up_proj` is") && error.contains(found),
                "{error}"
            );
        }
    }
}

/// Which rows a token has for company must not matter to it, although they share its experts.
#[test]
fn sequences_with_experts_are_the_same_alone_and_packed_on_any_number_of_threads() {
    for family in WITH_EXPERTS {
        let golden = Golden::of(family);
        let base = BaseWeights::open(&path(family, "base")).unwrap();
        let nats = |threads, batch: &Batch| {
            let device = Device::cpu(threads).unwrap();
            let model = Model::load(&base, &device, BaseFormat::Stored, 64).unwrap();
            model.nats(batch.packed()).unwrap()
        };
        let packed = nats(1, &golden.batch());
        assert_eq!(packed, nats(3, &golden.batch()), "{family}");
        let alone = (0..2).flat_map(|sequence| nats(1, &golden.one(sequence)));
        assert_eq!(packed, alone.collect::<Vec<f64>>(), "{family}");
    }
}

#[test]
fn targets_of_experts_are_what_peft_makes_of_them() {
    let members = |family: &str, config: LoraConfig| {
        let model = open(family, "base");
        Adapter::new(config, model.config(), model.device(), Seed::new(0)).map(|adapter| {
            let matrices = adapter.matrices().into_iter();
            let a = matrices.filter(|matrix| matrix.name.ends_with("lora_A.weight"));
            let row = |matrix: hone_model::Param| (matrix.name, matrix.rows);
            a.map(row).collect::<BTreeMap<String, usize>>()
        })
    };
    let with = |targets: &str| LoraConfig {
        rank: 2,
        targets: Targets::parse(targets),
        ..LoraConfig::default()
    };
    let experts = |name: &str| format!("model.layers.1.mlp.experts.{name}lora_A.weight");
    // Alone, a parameter is the outer one whichever it is.
    for targets in ["gate_up_proj", "down_proj"] {
        let found = members("mixtral", with(targets)).unwrap();
        assert_eq!((found.len(), found[&experts("")]), (2, 4 * 2), "{targets}");
    }
    for (family, targets) in [
        ("mixtral", "w1,w2,w3,gate"),
        ("qwen3_moe-normed", "gate_proj,up_proj,down_proj,gate"),
    ] {
        let found = members(family, with(targets)).unwrap();
        assert_eq!(found.len(), 6, "{family}: {found:?}");
        assert_eq!(found[&experts("base_layer.")], 4 * 4, "{family}");
        assert_eq!(
            (
                found[&experts("")],
                found["model.layers.1.mlp.gate.lora_A.weight"]
            ),
            (4 * 2, 2)
        );
    }
    let refusal = |config: LoraConfig| members("mixtral", config).unwrap_err().to_string();
    assert_eq!(
        refusal(with("w1")),
        "the adapter target `w1` is one parameter with `w3`, which is not among the targets"
    );
    for (config, what) in [
        (
            LoraConfig {
                dropout: 0.1,
                ..with("all-linear")
            },
            "dropout",
        ),
        (
            LoraConfig {
                dora: true,
                ..with("gate")
            },
            "DoRA",
        ),
        (
            LoraConfig {
                initial: hone_model::Initial::Pissa,
                ..with("down_proj")
            },
            "a start",
        ),
        (
            LoraConfig {
                whole: vec!["gate_up_proj".into()],
                ..with("q_proj")
            },
            "modules trained whole",
        ),
    ] {
        let message = refusal(config);
        assert!(
            message.contains(what) && message.contains("experts"),
            "{message}"
        );
    }
    let own = LoraConfig {
        rank_pattern: vec![("layers.1.mlp.experts.gate_up_proj".into(), 5)],
        rank_stabilised: true,
        ..with("q_proj,gate_up_proj,down_proj,gate")
    };
    assert_eq!(
        members("mixtral", own).unwrap()[&experts("base_layer.")],
        4 * 5
    );
}

/// The logits of a base with an adapter directory on it.
fn logits_with(family: &str, adapter: &Path, ids: &[u32]) -> Vec<f32> {
    let mut model = open(family, "base");
    let files = AdapterFiles::read(adapter).unwrap();
    let adapter = files.into_adapter(model.config(), model.device()).unwrap();
    model.attach(adapter);
    model.logits(ids).unwrap()
}

#[test]
fn adapters_on_experts_are_combined_and_written_again() {
    let how = |kind, weights: &[f32]| Combination {
        kind,
        weights: weights.to_vec(),
        density: None,
        rank: None,
        seed: Seed::new(0),
    };
    for family in WITH_EXPERTS {
        let golden = Golden::of(family);
        let (ids, want) = (golden.ids(0), golden.numbers("tuned.logits.0"));
        let parts = AdapterWeights::read(&path(family, "adapter"), None).unwrap();
        let twice = [parts.clone(), parts.clone()];
        let combined = |kind| combine(&twice, &how(kind, &[0.25, 0.75])).unwrap();
        let all = [
            ("as it was", parts.clone()),
            ("of one rank", parts.uniform()),
            ("cat", combined(CombineKind::Cat)),
            (
                "linear",
                combine(&twice[..1], &how(CombineKind::Linear, &[1.0])).unwrap(),
            ),
        ];
        for (name, parts) in all {
            let dir = tempfile::tempdir().unwrap();
            parts
                .save(dir.path(), SaveDtype::F32, &parts.paths())
                .unwrap();
            let off = difference(&logits_with(family, dir.path(), &ids), &want);
            assert!(off < LOGITS, "{family}, {name}: {off:e}");
            let base = BaseWeights::open(&path(family, "base")).unwrap();
            let base = CheckedBase {
                config: base.config(),
                new_tokens: 0,
                fingerprint: None,
                template_hash: None,
            };
            let check = check_adapter(&RawAdapter::read(dir.path()).unwrap(), Some(base));
            assert!(check.is_sound(), "{family}, {name}: {:?}", check.findings);
            for runtime in [Runtime::Vllm, Runtime::LlamaCpp, Runtime::Ollama] {
                let outcome = check.facts.verdict(runtime).outcome;
                assert_eq!(outcome, Outcome::Refuses, "{family} in {runtime}");
            }
        }
    }
}

/// An adapter directory with its tensors and its configuration changed.
fn spoilt(change: impl Fn(&mut Tensors, &mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(path("mixtral", "adapter/adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let held =
        |view: &safetensors::tensor::TensorView| (view.shape().to_vec(), view.data().to_vec());
    let mut written = tensors
        .iter()
        .map(|(name, view)| (name.to_owned(), held(&view)))
        .collect();
    let config = std::fs::read(path("mixtral", "adapter/adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    change(&mut written, &mut config);
    let views = written.iter().map(|(name, (shape, bytes))| {
        (
            name,
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)
                .unwrap(),
        )
    });
    std::fs::write(
        dir.path().join("adapter_model.safetensors"),
        safetensors::serialize(views, None).unwrap(),
    )
    .unwrap();
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
    dir
}

#[test]
fn what_is_wrong_with_an_adapter_on_experts_is_named() {
    const EXPERTS: &str = "base_model.model.model.layers.1.mlp.experts";
    type Change = fn(&mut Tensors, &mut Value);
    let cases: [(Change, &str); 7] = [
        (
            |tensors, _| drop(tensors.remove(&format!("{EXPERTS}.base_layer.lora_B.weight"))),
            "is missing",
        ),
        (
            |tensors, _| {
                tensors.retain(|name, _| !name.starts_with(&format!("{EXPERTS}.base_layer")))
            },
            "is missing",
        ),
        (
            |tensors, _| {
                for half in ["A", "B"] {
                    let (shape, bytes) = tensors
                        .get_mut(&format!("{EXPERTS}.lora_{half}.weight"))
                        .unwrap();
                    let axis = usize::from(half == "B");
                    shape[axis] = 6;
                    bytes.truncate(4 * shape.iter().product::<usize>());
                }
            },
            "for the 4 experts of this model",
        ),
        (
            |_, config| config["rank_pattern"] = json!({}),
            "for the 4 experts",
        ),
        (
            |_, config| config["target_parameters"] = json!(["gate_up_proj", "gate.weight"]),
            "is on a module",
        ),
        (
            |_, config| config["lora_dropout"] = json!(0.1),
            "`lora_dropout` is set beside `target_parameters`",
        ),
        (
            |_, config| config["use_dora"] = json!(true),
            "`use_dora` is set beside `target_parameters`",
        ),
    ];
    let base = BaseWeights::open(&path("mixtral", "base")).unwrap();
    for (change, finding) in cases {
        let dir = spoilt(change);
        let raw = RawAdapter::read(dir.path()).unwrap();
        let checked = CheckedBase {
            config: base.config(),
            new_tokens: 0,
            fingerprint: None,
            template_hash: None,
        };
        let check = check_adapter(&raw, Some(checked));
        let said: Vec<String> = check.errors().map(ToString::to_string).collect();
        assert!(
            said.iter().any(|line| line.contains(finding)),
            "{finding}: {said:?}"
        );
        let refused = AdapterFiles::read(dir.path())
            .and_then(|files| files.into_adapter(base.config(), &Device::cpu(1).unwrap()));
        let error = refused.unwrap_err().to_string();
        assert!(said.iter().any(|line| error.contains(line)), "{error}");
    }
}

#[test]
fn an_mlx_adapter_has_no_place_for_experts() {
    let parts = AdapterWeights::read(&path("mixtral", "adapter"), None).unwrap();
    let (base, dir) = (open("mixtral", "base"), tempfile::tempdir().unwrap());
    let error = write_mlx_adapter(&parts, base.config(), dir.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "an MLX adapter has no place for an adapter on experts one by one, as `model.layers.0.mlp.experts.down_proj[0]`"
    );
}

#[test]
fn adapters_on_single_experts_are_refused_with_what_to_do() {
    let dir = spoilt(|tensors, _| {
        let name = "base_model.model.model.layers.0.block_sparse_moe.experts.0.w1.lora_A.weight";
        tensors.insert(name.into(), (vec![1, 1], vec![0; 4]));
    });
    let config = open("mixtral", "base").config().clone();
    let error = AdapterFiles::read(dir.path())
        .and_then(|files| files.into_adapter(&config, &Device::cpu(1).unwrap()))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("load it with PEFT under transformers 5"),
        "{error}"
    );
}

#[test]
fn experts_that_are_read_whenever_they_are_used_give_the_same_numbers() {
    for (family, file) in [
        ("mixtral", "base"),
        ("mixtral", "base.gguf"),
        ("qwen3_moe", "base"),
    ] {
        let ids = Golden::of(family).ids(0);
        let mut base = BaseWeights::open(&path(family, file)).unwrap();
        assert!(base.is_mapped());
        base.stream();
        let device = Device::cpu(2).unwrap();
        let streamed = Model::load(&base, &device, BaseFormat::Stored, 64).unwrap();
        let (streamed, held) = (streamed.logits(&ids), open(family, file).logits(&ids));
        assert_eq!(streamed.unwrap(), held.unwrap(), "{family}: {file}");
    }
}

#[test]
fn experts_in_nf4_are_merged_as_they_were_trained() {
    for family in WITH_EXPERTS {
        let base = BaseWeights::open(&path(family, "base")).unwrap();
        let device = Device::cpu(2).unwrap();
        let mut model = Model::load(&base, &device, BaseFormat::Nf4, 64).unwrap();
        let files = AdapterFiles::read(&path(family, "adapter")).unwrap();
        let adapter = files.into_adapter(model.config(), model.device()).unwrap();
        model.attach(adapter);
        let parts = AdapterWeights::read(&path(family, "adapter"), None).unwrap();
        let kind = MergeBase::DequantisedNf4;
        let merged = Merged::new(&base, vec![parts], kind, &device).unwrap();
        let dir = tempfile::tempdir().unwrap();
        write_safetensors(&merged, dir.path(), MergeDtype::F32, u64::MAX).unwrap();
        let config = path(family, "base/config.json");
        std::fs::copy(config, dir.path().join("config.json")).unwrap();
        let written = BaseWeights::open(dir.path()).unwrap();
        let written = Model::load(&written, &device, BaseFormat::Stored, 64).unwrap();
        let ids = Golden::of(family).ids(0);
        let (ours, theirs) = (written.logits(&ids).unwrap(), model.logits(&ids).unwrap());
        let off = difference(&ours, &theirs);
        assert!(off < LOGITS, "{family}: {off:e}");
    }
}
