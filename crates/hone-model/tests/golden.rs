//! The networks against PyTorch, transformers and PEFT, on the tiny models of `fixtures/`.

use std::collections::HashMap;
use std::path::PathBuf;

use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{
    Activations, Adapter, AdapterFiles, BaseFormat, Generation, LoraConfig, LossSum, Model, Packed,
    Provenance, Sampling, SaveDtype, Session, Shortcuts, StepOptions, Targets,
};
use hone_tensor::{Device, Tensor};
use safetensors::SafeTensors;
use serde_json::Value;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(path)
}

fn load(name: &str, format: BaseFormat, threads: usize) -> Model {
    let base = BaseWeights::open(&fixture(&format!("models/{name}"))).unwrap();
    Model::load(&base, &Device::cpu(threads).unwrap(), format, 64).unwrap()
}

fn with_adapter(mut model: Model, name: &str) -> Model {
    let files = AdapterFiles::read(&fixture(&format!("adapters/{name}"))).unwrap();
    let adapter = files.into_adapter(model.config(), model.device()).unwrap();
    model.attach(adapter);
    model
}

struct Golden {
    bytes: Vec<u8>,
    json: Value,
}

impl Golden {
    fn open(name: &str) -> Self {
        let json = std::fs::read(fixture(&format!("golden/{name}.json"))).unwrap();
        Self {
            bytes: std::fs::read(fixture(&format!("golden/{name}.safetensors"))).unwrap(),
            json: serde_json::from_slice(&json).unwrap(),
        }
    }

    fn raw(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.bytes)
            .unwrap()
            .tensor(name)
            .unwrap()
            .data()
            .to_vec()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.raw(name)
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    }

    fn u32(&self, name: &str) -> Vec<u32> {
        self.raw(name)
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b))
            .collect()
    }

    fn names(&self) -> Vec<String> {
        SafeTensors::deserialize(&self.bytes)
            .unwrap()
            .names()
            .iter()
            .map(|n| n.to_string())
            .collect()
    }

    fn sequence(&self, i: usize) -> (Vec<u32>, Vec<u8>) {
        (
            self.u32(&format!("ids.{i}")),
            self.raw(&format!("supervised.{i}")),
        )
    }

    fn sequences(&self) -> Vec<(Vec<u32>, Vec<u8>)> {
        (0..3).map(|i| self.sequence(i)).collect()
    }
}

/// Owns what a [`Packed`] borrows.
#[derive(Default)]
struct Batch {
    ids: Vec<u32>,
    boundaries: Vec<usize>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Batch {
    fn pack(sequences: &[(Vec<u32>, Vec<u8>)]) -> Self {
        let mut batch = Self {
            boundaries: vec![0],
            ..Self::default()
        };
        for (ids, supervised) in sequences {
            for t in (1..ids.len()).filter(|&t| supervised[t] == 1) {
                batch.rows.push(batch.ids.len() + t - 1);
                batch.targets.push(ids[t]);
            }
            batch.ids.extend(ids);
            batch.boundaries.push(batch.ids.len());
        }
        batch
    }

    fn packed(&self) -> Packed<'_> {
        Packed {
            ids: &self.ids,
            boundaries: &self.boundaries,
            rows: &self.rows,
            targets: &self.targets,
            weights: None,
        }
    }
}

fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn assert_logits(what: &str, model: &Model, ids: &[u32], want: &[f32]) {
    let difference = greatest_difference(&model.logits(ids).unwrap(), want);
    assert!(difference < 1e-4, "{what}: logits differ by {difference}");
}

fn gradients(
    model: &Model,
    sequences: &[(Vec<u32>, Vec<u8>)],
    options: StepOptions,
) -> (LossSum, Tensor) {
    let mut grads = model
        .device()
        .zeros(1, model.adapter().unwrap().num_parameters());
    let batch = Batch::pack(sequences);
    let nats = model
        .loss_and_grads(batch.packed(), options, &mut grads)
        .unwrap();
    (nats.into_iter().collect(), grads)
}

const KEEP_ALL: StepOptions = StepOptions {
    kept_layers: usize::MAX,
    activations: Activations::F32,
    shortcuts: Shortcuts::ALL,
    dropout_seed: 0,
};

#[test]
fn logits_equal_transformers() {
    for name in ["tied", "untied"] {
        let golden = Golden::open(name);
        let model = load(&format!("tiny-llama-{name}"), BaseFormat::Stored, 2);
        for i in 0..3 {
            assert_logits(
                name,
                &model,
                &golden.sequence(i).0,
                &golden.f32(&format!("logits.{i}")),
            );
        }
    }
}

#[test]
fn logits_of_biased_sharded_and_gguf_models_equal_transformers() {
    let plain = Golden::open("plain");
    for name in ["bias", "untied-sharded"] {
        let model = load(&format!("tiny-llama-{name}"), BaseFormat::Stored, 1);
        assert_logits(
            name,
            &model,
            &plain.u32("ids"),
            &plain.f32(&format!("{name}.logits")),
        );
    }
    let gguf = Golden::open("gguf");
    let model = load("tiny-llama.gguf", BaseFormat::Stored, 1);
    assert_logits("gguf", &model, &gguf.u32("ids"), &gguf.f32("logits"));
}

#[test]
fn adapters_made_by_peft_give_its_logits() {
    for (base, adapter, tensor) in [
        ("tied", "tied", "tuned.logits"),
        ("untied", "untied", "tuned.logits"),
        ("tied", "tied-rslora", "rslora.logits"),
        ("untied", "untied-rslora", "rslora.logits"),
        ("tied", "tied-qv", "qv.logits"),
        ("untied", "untied-patterns", "patterns.logits"),
    ] {
        let golden = Golden::open(base);
        let model = load(&format!("tiny-llama-{base}"), BaseFormat::Stored, 1);
        let model = with_adapter(model, &format!("tiny-llama-{adapter}"));
        assert_logits(
            adapter,
            &model,
            &golden.sequence(0).0,
            &golden.f32(&format!("{tensor}.0")),
        );
    }
}

#[test]
fn losses_equal_pytorch_packed_or_alone() {
    for name in ["tied", "untied"] {
        let golden = Golden::open(name);
        let base = load(&format!("tiny-llama-{name}"), BaseFormat::Stored, 1);
        let tuned = with_adapter(
            load(&format!("tiny-llama-{name}"), BaseFormat::Stored, 1),
            &format!("tiny-llama-{name}"),
        );
        for (which, model) in [("base", &base), ("tuned", &tuned)] {
            let loss = |sequences: &[(Vec<u32>, Vec<u8>)]| -> LossSum {
                model
                    .nats(Batch::pack(sequences).packed())
                    .unwrap()
                    .into_iter()
                    .collect()
            };
            let want = &golden.json[which];
            let all = loss(&golden.sequences());
            assert_eq!(all.tokens, want["tokens"].as_u64().unwrap());
            let difference = (all.mean().unwrap() - want["mean"].as_f64().unwrap()).abs();
            assert!(
                difference < 1e-5,
                "{name} {which}: mean loss differs by {difference}"
            );
            for (i, sequence) in golden.sequences().into_iter().enumerate() {
                let difference =
                    loss(&[sequence]).nats - want["per_sequence"][i]["nats"].as_f64().unwrap();
                assert!(
                    difference.abs() < 1e-4,
                    "{name} {which}: sequence {i} differs by {difference}"
                );
            }
        }
    }
}

#[test]
fn nf4_base_with_adapter_gives_the_losses_of_bitsandbytes_weights() {
    for name in ["tied", "untied"] {
        let golden = Golden::open(name);
        let model = load(&format!("tiny-llama-{name}"), BaseFormat::Nf4, 1);
        let model = with_adapter(model, &format!("tiny-llama-{name}"));
        assert_logits(
            name,
            &model,
            &golden.sequence(0).0,
            &golden.f32("nf4.tuned.logits.0"),
        );
    }
}

#[test]
fn every_lora_gradient_equals_pytorch() {
    for name in ["tied", "untied"] {
        let golden = Golden::open(name);
        let model = with_adapter(
            load(&format!("tiny-llama-{name}"), BaseFormat::Stored, 1),
            &format!("tiny-llama-{name}"),
        );
        let (loss, grads) = gradients(&model, &golden.sequences(), KEEP_ALL);
        let (grads, tokens) = (grads.to_vec().unwrap(), loss.tokens as f32);
        let matrices = model.adapter().unwrap().matrices();
        assert_eq!(
            matrices.len(),
            golden
                .names()
                .iter()
                .filter(|n| n.starts_with("grad."))
                .count()
        );
        for matrix in matrices {
            let got: Vec<f32> = grads[matrix.offset..][..matrix.rows * matrix.cols]
                .iter()
                .map(|g| g / tokens)
                .collect();
            let want = golden.f32(&format!("grad.base_model.model.{}", matrix.name));
            let scale = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let difference = greatest_difference(&got, &want) / scale;
            assert!(
                difference < 1e-4,
                "{name}: {} differs by {difference} of its greatest",
                matrix.name
            );
        }
    }
}

#[test]
fn computing_layers_again_changes_no_bit() {
    let golden = Golden::open("untied");
    let model = with_adapter(
        load("tiny-llama-untied", BaseFormat::Stored, 1),
        "tiny-llama-untied",
    );
    let run = |kept_layers| {
        let options = StepOptions {
            kept_layers,
            ..KEEP_ALL
        };
        let (loss, grads) = gradients(&model, &golden.sequences(), options);
        (
            loss.nats.to_bits(),
            grads
                .to_vec()
                .unwrap()
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>(),
        )
    };
    let kept = run(2);
    assert!(kept == run(1) && kept == run(0));
}

#[test]
fn any_number_of_threads_gives_the_same_gradients() {
    let golden = Golden::open("tied");
    let run = |threads| {
        let model = with_adapter(
            load("tiny-llama-tied", BaseFormat::Stored, threads),
            "tiny-llama-tied",
        );
        let (loss, grads) = gradients(&model, &golden.sequences(), KEEP_ALL);
        (
            loss.nats.to_bits(),
            grads
                .to_vec()
                .unwrap()
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>(),
        )
    };
    let one = run(1);
    assert!(one == run(2) && one == run(4));
}

#[test]
fn packed_equals_alone_and_parts_add_up() {
    let golden = Golden::open("tied");
    let model = with_adapter(
        load("tiny-llama-tied", BaseFormat::Stored, 1),
        "tiny-llama-tied",
    );
    let (together, packed) = gradients(&model, &golden.sequences(), KEEP_ALL);
    let mut grads = model.device().zeros(1, packed.len());
    let mut apart = LossSum::default();
    for sequence in golden.sequences() {
        let batch = Batch::pack(&[sequence]);
        let nats = model
            .loss_and_grads(batch.packed(), KEEP_ALL, &mut grads)
            .unwrap();
        apart += nats.into_iter().collect();
    }
    // Each row's own sums are the same; only their order of addition differs.
    assert!((together.nats - apart.nats).abs() < 1e-12 * together.nats);
    assert_eq!(together.tokens, apart.tokens);
    let (packed, apart) = (packed.to_vec().unwrap(), grads.to_vec().unwrap());
    let scale = packed.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    assert!(greatest_difference(&packed, &apart) < 1e-5 * scale);
}

#[test]
fn every_trainable_receives_a_gradient() {
    let sites = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "lm_head",
    ];
    let mut model = load("tiny-llama-untied", BaseFormat::Stored, 1);
    let config = LoraConfig {
        targets: Targets::parse(&sites.join(",")),
        dropout: 0.1,
        ..LoraConfig::default()
    };
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(1)).unwrap();
    model.attach(adapter);
    fill_with_noise(&mut model);
    let (_, grads) = gradients(&model, &Golden::open("untied").sequences(), KEEP_ALL);
    let grads = grads.to_vec().unwrap();
    let matrices = model.adapter().unwrap().matrices();
    assert_eq!(matrices.len(), 2 * (2 * 7 + 1));
    for matrix in matrices {
        let part = &grads[matrix.offset..][..matrix.rows * matrix.cols];
        assert!(
            part.chunks(matrix.cols)
                .all(|row| row.iter().any(|&g| g != 0.0)),
            "a row of {} gets none",
            matrix.name
        );
    }
}

fn fill_with_noise(model: &mut Model) {
    let device = model.device().clone();
    let adapter = model.adapter_mut().unwrap();
    let mut stream = Seed::new(9).stream();
    let noise: Vec<f32> = (0..adapter.num_parameters())
        .map(|_| 0.2 * stream.unit_f32() - 0.1)
        .collect();
    device.write(&noise, adapter.parameters_mut());
}

/// The head, dropout and partial targets have no golden numbers, so their gradients are checked here.
#[test]
fn gradients_of_head_dropout_and_single_targets_by_finite_differences() {
    for targets in [
        "all-linear",
        "lm_head",
        "o_proj",
        "down_proj,k_proj",
        "model.layers.1.mlp.up_proj",
    ] {
        let mut model = load("tiny-llama-untied", BaseFormat::Stored, 1);
        let config = LoraConfig {
            rank: 3,
            targets: Targets::parse(targets),
            dropout: 0.3,
            ..LoraConfig::default()
        };
        let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(1)).unwrap();
        model.attach(adapter);
        fill_with_noise(&mut model);
        let sequences = Golden::open("untied").sequences();
        let options = StepOptions {
            kept_layers: 1,
            dropout_seed: 7,
            ..KEEP_ALL
        };
        let grads = gradients(&model, &sequences, options).1.to_vec().unwrap();
        let device = model.device().clone();
        let start = model.adapter().unwrap().parameters().to_vec().unwrap();
        let mut loss_at = |index: usize, shift: f32| {
            let mut moved = start.clone();
            moved[index] += shift;
            device.write(&moved, model.adapter_mut().unwrap().parameters_mut());
            gradients(&model, &sequences, options).0.nats
        };
        let scale = grads.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for index in (0..start.len()).step_by(start.len() / 25 + 1) {
            let h = 2e-3;
            let numeric = ((loss_at(index, h) - loss_at(index, -h)) / f64::from(2.0 * h)) as f32;
            let difference = (numeric - grads[index]).abs();
            assert!(
                difference < 5e-3 * scale,
                "{targets} [{index}]: {} and {numeric}",
                grads[index]
            );
        }
    }
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let mut model = load("tiny-llama-tied", BaseFormat::Stored, 1);
    let ids = Golden::open("tied").sequence(2).0;
    let base = model.logits(&ids).unwrap();
    let adapter = Adapter::new(
        LoraConfig::default(),
        model.config(),
        model.device(),
        Seed::new(3),
    )
    .unwrap();
    model.attach(adapter);
    assert_eq!(base, model.logits(&ids).unwrap());
}

#[test]
fn an_adapter_written_and_read_again_is_the_same() {
    let golden = Golden::open("untied");
    for name in ["untied", "untied-rslora", "untied-patterns"] {
        let model = with_adapter(
            load("tiny-llama-untied", BaseFormat::Stored, 1),
            &format!("tiny-llama-{name}"),
        );
        let dir = tempfile::tempdir().unwrap();
        let provenance = Provenance {
            base_fingerprint: Some("abc".into()),
            ..Provenance::default()
        };
        model
            .adapter()
            .unwrap()
            .save(dir.path(), model.config(), &provenance, SaveDtype::F32)
            .unwrap();
        let files = AdapterFiles::read(dir.path()).unwrap();
        assert_eq!(files.provenance(), &provenance);
        assert!(files.check_base("abc").is_ok() && files.check_base("abd").is_err());
        let again = files.into_adapter(model.config(), model.device()).unwrap();
        assert_eq!(
            again.parameters().to_vec().unwrap(),
            model.adapter().unwrap().parameters().to_vec().unwrap()
        );
        let mut copy = load("tiny-llama-untied", BaseFormat::Stored, 1);
        copy.attach(again);
        let ids = golden.sequence(0).0;
        assert_eq!(copy.logits(&ids).unwrap(), model.logits(&ids).unwrap());
    }
}

#[test]
fn an_adapter_in_16_bits_is_the_nearest_and_is_read_back() {
    let model = with_adapter(
        load("tiny-llama-untied", BaseFormat::Stored, 1),
        "tiny-llama-untied-patterns",
    );
    let adapter = model.adapter().unwrap();
    let exact = adapter.parameters().to_vec().unwrap();
    type Round = fn(f32) -> f32;
    let nearest: [(SaveDtype, Round); 2] = [
        (SaveDtype::Bf16, |x| half::bf16::from_f32(x).to_f32()),
        (SaveDtype::F16, |x| half::f16::from_f32(x).to_f32()),
    ];
    for (dtype, nearest) in nearest {
        let dir = tempfile::tempdir().unwrap();
        adapter
            .save(dir.path(), model.config(), &Provenance::default(), dtype)
            .unwrap();
        let size = std::fs::metadata(dir.path().join("adapter_model.safetensors"));
        let half_size = 2 * adapter.num_parameters() as u64;
        assert!((half_size..2 * half_size).contains(&size.unwrap().len()));
        let files = AdapterFiles::read(dir.path()).unwrap();
        let again = files.into_adapter(model.config(), model.device()).unwrap();
        let want: Vec<f32> = exact.iter().map(|x| nearest(*x)).collect();
        assert_eq!(again.parameters().to_vec().unwrap(), want, "{dtype:?}");
        assert_ne!(want, exact);
    }
}

#[test]
fn a_number_beyond_f16_is_refused_by_matrix_and_nothing_is_written() {
    let mut model = load("tiny-llama-tied", BaseFormat::Stored, 1);
    let device = model.device().clone();
    let config = LoraConfig::default();
    let mut adapter = Adapter::new(config, model.config(), &device, Seed::new(3)).unwrap();
    let mut numbers = adapter.parameters().to_vec().unwrap();
    numbers[3] = 65_520.0;
    device.write(&numbers, adapter.parameters_mut());
    model.attach(adapter);
    let adapter = model.adapter().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let save = |dtype| adapter.save(dir.path(), model.config(), &Provenance::default(), dtype);
    let error = save(SaveDtype::F16).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`model.layers.0.self_attn.q_proj.lora_A.weight` holds 65520, which cannot be written as f16; nothing was written"
    );
    assert!(error.hints()[0].starts_with("--save-dtype bf16"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    save(SaveDtype::Bf16).unwrap();
}

fn greedy(max_new_tokens: usize) -> Generation {
    Generation {
        max_new_tokens,
        stop_ids: vec![],
        sampling: Sampling::GREEDY,
    }
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn greedy_tokens_equal_transformers_alone_and_in_company() {
    for name in ["tied", "untied"] {
        let golden = Golden::open(name);
        let base = load(&format!("tiny-llama-{name}"), BaseFormat::Stored, 1);
        let tuned = with_adapter(
            load(&format!("tiny-llama-{name}"), BaseFormat::Stored, 1),
            &format!("tiny-llama-{name}"),
        );
        for (which, model) in [("base", &base), ("tuned", &tuned)] {
            let prompt = ids(&golden.json["greedy"]["prompt"]);
            let want = ids(&golden.json["greedy"][which]["ids"]);
            let alone = Session::new(model)
                .answer(model, &prompt, &greedy(20), |_| true)
                .unwrap();
            assert_eq!(alone.ids, want, "{name} {which}");
            let crowd: Vec<Vec<u32>> = (1..12)
                .map(|n| vec![5; n])
                .chain([prompt.clone()])
                .collect();
            let answers = model
                .generate_many(&crowd, &greedy(20), 5, |_, _| {})
                .unwrap();
            assert_eq!(answers[11].ids, want, "{name} {which} in company");
        }
    }
}

#[test]
fn a_session_remembers_a_shared_beginning_and_answers_the_same() {
    let model = load("tiny-llama-tied", BaseFormat::Stored, 1);
    let (first, second) = (vec![7, 8, 9, 10], vec![7, 8, 9, 11, 12]);
    let mut session = Session::new(&model);
    session
        .answer(&model, &first, &greedy(6), |_| true)
        .unwrap();
    let continued = session
        .answer(&model, &second, &greedy(6), |_| true)
        .unwrap();
    assert_eq!(
        continued,
        Session::new(&model)
            .answer(&model, &second, &greedy(6), |_| true)
            .unwrap()
    );
}

#[test]
fn prompts_that_cannot_be_answered_are_refused() {
    let model = load("tiny-llama-tied", BaseFormat::Stored, 1);
    let refused = |prompt: Vec<u32>| {
        model
            .generate_many(&[prompt], &greedy(1), 1, |_, _| {})
            .unwrap_err()
            .to_string()
    };
    assert!(refused(vec![]).contains("no tokens"));
    assert!(refused(vec![1; 64]).contains("at most 63"));
    assert!(refused(vec![300]).contains("vocabulary of 300"));
}

/// What PEFT would load without a word or with a warning is an error here.
#[test]
fn a_defective_adapter_is_refused_with_its_defect() {
    let good = fixture("adapters/tiny-llama-tied-qv");
    type Edit<'a> = &'a dyn Fn(&mut Value, &mut HashMap<String, Vec<f32>>);
    let refused = |edit: Edit| -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(good.join("adapter_config.json")).unwrap())
                .unwrap();
        let bytes = std::fs::read(good.join("adapter_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let shapes: HashMap<String, Vec<usize>> = tensors
            .iter()
            .map(|(n, t)| (n.to_string(), t.shape().to_vec()))
            .collect();
        let mut numbers: HashMap<String, Vec<f32>> = tensors
            .iter()
            .map(|(n, t)| {
                (
                    n.to_string(),
                    t.data()
                        .as_chunks::<4>()
                        .0
                        .iter()
                        .map(|b| f32::from_le_bytes(*b))
                        .collect(),
                )
            })
            .collect();
        edit(&mut config, &mut numbers);
        let raw: Vec<(String, Vec<usize>, Vec<u8>)> = numbers
            .iter()
            .map(|(n, x)| {
                let shape = shapes
                    .get(n)
                    .filter(|s| s.iter().product::<usize>() == x.len())
                    .cloned();
                (
                    n.clone(),
                    shape.unwrap_or_else(|| vec![x.len()]),
                    x.iter().flat_map(|x| x.to_le_bytes()).collect(),
                )
            })
            .collect();
        let views = raw.iter().map(|(n, shape, data)| {
            (
                n.as_str(),
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data)
                    .unwrap(),
            )
        });
        std::fs::write(
            dir.path().join("adapter_model.safetensors"),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
        std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
        let model = load("tiny-llama-tied", BaseFormat::Stored, 1);
        let adapter = AdapterFiles::read(dir.path())
            .and_then(|files| files.into_adapter(model.config(), model.device()));
        adapter
            .err()
            .map_or("accepted".into(), |error| error.to_string())
    };
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    assert_eq!(refused(&|_, _| {}), "accepted");
    assert!(refused(&|_, t| drop(t.remove(name))).contains("lora_A.weight` is missing"));
    assert!(
        refused(&|_, t| drop(
            t.insert("base_model.model.other.lora_A.weight".into(), vec![0.0; 3])
        ))
        .contains("other.lora_")
    );
    assert!(refused(&|_, t| t.get_mut(name).unwrap()[5] = f32::NAN).contains("element 5"));
    assert!(refused(&|_, t| drop(t.insert(name.into(), vec![0.0; 5]))).contains("has shape [5]"));
    assert!(refused(&|c, _| c["r"] = 4.into()).contains("rank 4, but its tensors"));
    assert!(refused(&|c, _| c["r"] = 0.into()).contains("at least 1"));
    assert!(refused(&|c, _| c["use_dora"] = true.into()).contains("lora_magnitude_vector"));
    assert!(refused(&|c, _| c["peft_type"] = "IA3".into()).contains("`peft_type` is IA3"));
    assert!(refused(&|c, _| c["peft_type"] = "LOHA".into()).contains("peft_type"));
    assert!(refused(&|c, _| c["some_future_setting"] = 3.into()).contains("some_future_setting"));
    assert!(
        refused(&|c, _| c["init_lora_weights"] = "pissa".into()).contains("initialised by `pissa`")
    );
    assert!(
        refused(&|c, _| c["target_modules"] = serde_json::json!(["nothing"]))
            .contains("`target_modules` does not name")
    );
    assert!(
        refused(&|c, _| c["target_modules"] = serde_json::json!(["q_proj"]))
            .contains("`target_modules` does not name")
    );
}

#[test]
fn targets_that_match_nothing_are_answered_with_what_exists() {
    let model = load("tiny-llama-tied", BaseFormat::Stored, 1);
    let attach = |targets: &str| {
        let config = LoraConfig {
            targets: Targets::parse(targets),
            ..LoraConfig::default()
        };
        Adapter::new(config, model.config(), model.device(), Seed::new(0)).map(|_| ())
    };
    let error = attach("query_proj").unwrap_err();
    assert!(error.hints()[0].contains("q_proj") && error.hints()[0].contains("down_proj"));
    assert!(
        attach("q_pro")
            .unwrap_err()
            .to_string()
            .contains("did you mean `q_proj`?")
    );
    assert!(attach("lm_head").unwrap_err().to_string().contains("tied"));
    assert!(attach("").is_err());
}
