//! Adapters of every method against PEFT, on the tiny models of `fixtures/`.

use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{
    Activations, Adapter, AdapterFiles, AdapterWeights, BaseFormat, Ia3, Initial, LoraConfig,
    LoraPair, Model, Packed, Provenance, RawAdapter, SaveDtype, Shortcuts, StepOptions, Targets,
    TrainedBias, check_adapter,
};
use hone_tensor::{Device, Rehearsal, Tensor, nf4};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;
use std::path::{Path, PathBuf};

mod starts;
mod together;

const CASES: [&str; 15] = [
    "tied-dora",
    "bias-dora",
    "bias-all",
    "bias-own",
    "untied-saved",
    "untied-whole",
    "tied-embedding",
    "untied-head",
    "tied-rows",
    "untied-rows",
    "tied-ia3",
    "bias-ia3",
    "tied-grown",
    "untied-grown",
    "untied-grown-saved",
];

/// New tokens of the cases whose vocabulary has grown.
const NEW: usize = 3;

/// Gradients of more rows are stored as every tenth row.
const STRIDE: usize = 10;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(path)
}

/// The base of a case, with the tokens that its adapter brings.
fn base(case: &str) -> BaseWeights {
    let name = case.split('-').next().unwrap();
    let mut base = BaseWeights::open(&fixture(&format!("models/tiny-llama-{name}"))).unwrap();
    if case.contains("grown") {
        let raw = RawAdapter::read(&fixture(&format!("adapters/tiny-llama-{case}"))).unwrap();
        let known = base.config().vocab_size + NEW;
        let rows = raw.new_rows(base.config(), known).unwrap();
        base.grow(&rows).unwrap();
        assert_eq!((rows.tokens, base.new_tokens()), (NEW, NEW), "{case}");
    }
    base
}

/// What a case says in place of `id`: every third token is one of the new ones.
fn spoken(case: &str, id: u32) -> u32 {
    match case.contains("grown") && id.is_multiple_of(3) {
        true => 300 + id / 3 % NEW as u32,
        false => id,
    }
}

fn load(name: &str, threads: usize) -> Model {
    let device = Device::cpu(threads).unwrap();
    Model::load(&base(name), &device, BaseFormat::Stored, 64).unwrap()
}

fn read(model: &Model, case: &str) -> Adapter {
    let mut files = AdapterFiles::read(&fixture(&format!("adapters/tiny-llama-{case}"))).unwrap();
    files.leave_out_copies(&base(case));
    files.into_adapter(model.config(), model.device()).unwrap()
}

fn tuned(case: &str, threads: usize) -> Model {
    let mut model = load(case, threads);
    let adapter = read(&model, case);
    model.attach(adapter);
    model
}

fn fresh(model: &mut Model, name: &str, config: LoraConfig) {
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(1)).unwrap();
    model.init_and_attach(adapter, &base(name)).unwrap();
}

fn golden(file: &str, name: &str) -> Option<Vec<u8>> {
    let bytes = std::fs::read(fixture(&format!("golden/{file}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    Some(tensors.tensor(name).ok()?.data().to_vec())
}

fn floats(file: &str, name: &str) -> Vec<f32> {
    let bytes = golden(file, name).unwrap_or_else(|| panic!("no {name}"));
    let floats = bytes.as_chunks::<4>().0.iter();
    floats.map(|b| f32::from_le_bytes(*b)).collect()
}

/// The three sequences of the golden numbers, as one batch.
struct Batch {
    ids: Vec<u32>,
    boundaries: Vec<usize>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Batch {
    fn golden() -> Self {
        Self::of("tied")
    }

    fn of(case: &str) -> Self {
        let mut batch = Self {
            ids: vec![],
            boundaries: vec![0],
            rows: vec![],
            targets: vec![],
        };
        for i in 0..3 {
            let ids: Vec<u32> = ids(i).iter().map(|id| spoken(case, *id)).collect();
            let supervised = golden("tied", &format!("supervised.{i}")).unwrap();
            for t in (1..ids.len()).filter(|&t| supervised[t] == 1) {
                batch.rows.push(batch.ids.len() + t - 1);
                batch.targets.push(ids[t]);
            }
            batch.ids.extend(&ids);
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

fn ids(i: usize) -> Vec<u32> {
    let bytes = golden("tied", &format!("ids.{i}")).unwrap();
    let ids = bytes.as_chunks::<4>().0.iter();
    ids.map(|b| u32::from_le_bytes(*b)).collect()
}

const OPTIONS: StepOptions = StepOptions {
    kept_layers: usize::MAX,
    activations: Activations::F32,
    shortcuts: Shortcuts::ALL,
    dropout_seed: 0,
};

/// Nats of the batch, and the gradient of their sum.
fn gradients(model: &Model, options: StepOptions) -> (f64, Vec<f32>) {
    gradients_of(&Batch::golden(), model, options)
}

fn gradients_of(batch: &Batch, model: &Model, options: StepOptions) -> (f64, Vec<f32>) {
    let count = model.adapter().unwrap().num_parameters();
    let mut grads: Tensor = model.device().zeros(1, count);
    let nats = model
        .loss_and_grads(batch.packed(), options, &mut grads)
        .unwrap();
    (nats.iter().sum(), grads.to_vec().unwrap())
}

fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Moves every trained number a little, so that nothing is zero by luck.
fn disturb(model: &mut Model) {
    let mut stream = Seed::new(9).stream();
    let device = model.device().clone();
    let adapter = model.adapter_mut().unwrap();
    let mut numbers = adapter.parameters().to_vec().unwrap();
    for number in &mut numbers {
        *number += 0.2 * stream.unit_f32() - 0.1;
    }
    device.write(&numbers, adapter.parameters_mut());
}

/// What the adapter on a model is, by way of the files it is saved as.
fn taken_apart(model: &Model) -> AdapterWeights {
    let dir = tempfile::tempdir().unwrap();
    let (config, provenance) = (model.config(), Provenance::default());
    let adapter = model.adapter().unwrap();
    adapter
        .save(dir.path(), config, &provenance, SaveDtype::F32)
        .unwrap();
    AdapterWeights::read(dir.path(), None).unwrap()
}

/// `scale · B A`.
fn product(pair: &LoraPair) -> Vec<f32> {
    let cell = |at: usize| {
        let (row, col) = (at / pair.width, at % pair.width);
        let term = |r: usize| {
            f64::from(pair.b[row * pair.rank + r]) * f64::from(pair.a[r * pair.width + col])
        };
        (f64::from(pair.scale) * (0..pair.rank).map(term).sum::<f64>()) as f32
    };
    (0..pair.out * pair.width).map(cell).collect()
}

/// A configuration of every method, and the base it is for.
fn methods() -> Vec<(&'static str, &'static str, LoraConfig)> {
    let plain = || LoraConfig {
        rank: 2,
        alpha: 3.0,
        targets: Targets::parse("q_proj,v_proj,down_proj"),
        ..LoraConfig::default()
    };
    let with = |change: &dyn Fn(&mut LoraConfig)| {
        let mut config = plain();
        change(&mut config);
        config
    };
    vec![
        ("dora", "tied", with(&|c| c.dora = true)),
        ("dora with biases", "bias", with(&|c| c.dora = true)),
        ("pissa", "untied", with(&|c| c.initial = Initial::Pissa)),
        (
            "pissa by search",
            "tied",
            with(&|c| c.initial = Initial::PissaRounds(4)),
        ),
        ("olora", "tied", with(&|c| c.initial = Initial::Olora)),
        ("all biases", "bias", with(&|c| c.bias = TrainedBias::All)),
        (
            "own biases",
            "bias",
            with(&|c| c.bias = TrainedBias::Adapted),
        ),
        (
            "embedding whole",
            "tied",
            with(&|c| c.whole = vec!["embed_tokens".into()]),
        ),
        (
            "head whole",
            "untied",
            with(&|c| c.whole = vec!["lm_head".into()]),
        ),
        (
            "a layer whole",
            "bias",
            with(&|c| c.whole = vec!["layers.1".into()]),
        ),
        (
            "token rows",
            "tied",
            with(&|c| c.token_rows = vec![210, 245, 4]),
        ),
        (
            "token rows apart",
            "untied",
            with(&|c| c.token_rows = vec![210, 245, 4]),
        ),
        (
            "rows of a head",
            "untied",
            with(&|c| c.head_rows = vec![245, 4, 31]),
        ),
        (
            "embedding",
            "tied",
            with(&|c| c.targets = Targets::parse("embed_tokens,k_proj")),
        ),
        (
            "factors",
            "bias",
            with(&|c| {
                c.ia3 = Some(Ia3 {
                    feed_forward: vec!["down_proj".into()],
                });
            }),
        ),
        (
            "ranks of their own",
            "tied",
            with(&|c| {
                c.rank_pattern = vec![("layers.1.self_attn.q_proj".into(), 5)];
                c.alpha_pattern = vec![("v_proj".into(), 1.5)];
                c.exclude = vec!["layers.0.mlp.down_proj".into()];
                c.rank_stabilised = true;
            }),
        ),
        (
            "only whole",
            "untied",
            with(&|c| {
                c.targets = Targets::parse("down_proj");
                c.whole = vec!["down_proj".into()];
            }),
        ),
    ]
}

#[test]
fn adapters_made_by_peft_give_its_logits() {
    for case in CASES {
        let ids: Vec<u32> = ids(0).iter().map(|id| spoken(case, *id)).collect();
        let logits = tuned(case, 1).logits(&ids).unwrap();
        let difference =
            greatest_difference(&logits, &floats("methods", &format!("{case}.logits")));
        println!("{case}: logits differ by {difference:e}");
        assert!(difference < 1e-4, "{case}: logits differ by {difference}");
    }
}

#[test]
fn every_gradient_equals_pefts() {
    for case in CASES {
        let model = tuned(case, 1);
        let (_, grads) = gradients_of(&Batch::of(case), &model, OPTIONS);
        let tokens = Batch::golden().targets.len() as f32;
        let mut greatest = 0.0f32;
        for matrix in model.adapter().unwrap().matrices() {
            let is_turned = matrix.name.ends_with("lora_embedding_A");
            let mut got: Vec<f32> = grads[matrix.offset..][..matrix.size()]
                .iter()
                .map(|g| g / tokens)
                .collect();
            if is_turned {
                let (rows, cols) = (matrix.rows, matrix.cols);
                let turned = |i: usize| got[i % cols * rows + i / cols];
                got = (0..rows * cols).map(turned).collect();
            }
            if matrix.rows > 100 {
                let kept = got.chunks(matrix.cols).step_by(STRIDE);
                got = kept.flatten().copied().collect();
            }
            let name = [
                format!("{case}.grad.base_model.model.{}", matrix.name),
                format!("{case}.grad.base_model.model.{}.weight", matrix.name),
                format!("{case}.grad.{}", matrix.name),
            ];
            let name = name.iter().find(|name| golden("methods", name).is_some());
            let name =
                name.unwrap_or_else(|| panic!("{case}: PEFT has no gradient of {}", matrix.name));
            let want = floats("methods", name);
            let scale = want.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
            let difference = greatest_difference(&got, &want) / scale;
            greatest = greatest.max(difference);
            assert!(
                difference < 1e-4,
                "{case}: {} differs by {difference} of its greatest",
                matrix.name
            );
        }
        println!("{case}: gradients differ by {greatest:e} of their greatest");
    }
}

#[test]
fn a_copy_of_the_bases_embedding_is_left_out_and_another_is_refused() {
    let source = fixture("adapters/tiny-llama-tied-embedding");
    let bytes = std::fs::read(source.join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let base = base("tied");
    let embedding = base.matrix("model.embed_tokens.weight").unwrap().to_f32();
    let read = |change: f32| {
        let mut copy = embedding.clone();
        copy[7] += change;
        let copy: Vec<u8> = copy.iter().flat_map(|x| x.to_le_bytes()).collect();
        let copy = TensorView::new(Dtype::F32, vec![300, 32], &copy).unwrap();
        let name = "base_model.model.model.embed_tokens.base_layer.weight";
        let all = tensors.iter().chain([(name, copy)]);
        let dir = tempfile::tempdir().unwrap();
        let file = safetensors::serialize(all, None).unwrap();
        std::fs::write(dir.path().join("adapter_model.safetensors"), file).unwrap();
        let config = "adapter_config.json";
        std::fs::copy(source.join(config), dir.path().join(config)).unwrap();
        let mut files = AdapterFiles::read(dir.path()).unwrap();
        files.leave_out_copies(&base);
        files.into_adapter(base.config(), &Device::cpu(1).unwrap())
    };
    let alone = read(0.0).unwrap().parameters().to_vec().unwrap();
    let model = tuned("tied-embedding", 1);
    assert_eq!(
        alone,
        model.adapter().unwrap().parameters().to_vec().unwrap()
    );
    let error = read(0.5).unwrap_err().to_string();
    assert!(error.contains("is not the base's own matrix"), "{error}");
}

#[test]
fn a_fresh_adapter_of_any_method_changes_nothing() {
    for (method, name, config) in methods() {
        let mut model = load(name, 1);
        let plain = model.logits(&ids(2)).unwrap();
        let is_embedding = config.targets.to_string().contains("embed");
        fresh(&mut model, name, config);
        let begun = model.logits(&ids(2)).unwrap();
        let difference = greatest_difference(&plain, &begun);
        // A low-rank embedding begins with A zero, all others with nothing to add or with what is subtracted.
        let bound = if is_embedding { 0.0 } else { 2e-5 };
        assert!(
            difference <= bound,
            "{method}: logits differ by {difference}"
        );
    }
}

#[test]
fn every_trained_matrix_of_any_method_receives_a_gradient() {
    for (method, name, config) in methods() {
        let mut model = load(name, 1);
        fresh(&mut model, name, config);
        disturb(&mut model);
        let (_, grads) = gradients(&model, OPTIONS);
        for matrix in model.adapter().unwrap().matrices() {
            let grads = &grads[matrix.offset..][..matrix.size()];
            assert!(grads.iter().any(|g| *g != 0.0), "{method}: {}", matrix.name);
        }
    }
}

#[test]
fn gradients_of_any_method_equal_finite_differences() {
    for (method, name, config) in methods() {
        // DoRA takes lengths for constants, which a difference of losses does not; its pieces have tests of their own.
        if config.dora {
            continue;
        }
        let mut model = load(name, 1);
        fresh(&mut model, name, config);
        disturb(&mut model);
        let (_, grads) = gradients(&model, OPTIONS);
        let device = model.device().clone();
        let numbers = model.adapter().unwrap().parameters().to_vec().unwrap();
        let batch = Batch::golden();
        for matrix in model.adapter().unwrap().matrices() {
            // Along the gradient itself the loss changes most, so that rounding counts least.
            let grads = &grads[matrix.offset..][..matrix.size()];
            let length = grads.iter().map(|g| g * g).sum::<f32>().sqrt();
            let step = 2e-3f32;
            let mut nats = |sign: f32| -> f64 {
                let mut moved = numbers.clone();
                for (number, grad) in moved[matrix.offset..].iter_mut().zip(grads) {
                    *number += sign * step * grad / length;
                }
                let adapter = model.adapter_mut().unwrap();
                device.write(&moved, adapter.parameters_mut());
                model.nats(batch.packed()).unwrap().iter().sum()
            };
            let slope = (nats(1.0) - nats(-1.0)) / (2.0 * f64::from(step));
            let off = (slope / f64::from(length) - 1.0).abs();
            assert!(off < 2e-2, "{method}: {} is {off} off", matrix.name);
        }
    }
}

#[test]
fn shortcuts_threads_and_kept_layers_change_no_gradient() {
    for (method, name, config) in methods() {
        let run = |threads, options| {
            let mut model = load(name, threads);
            fresh(&mut model, name, config.clone());
            disturb(&mut model);
            gradients(&model, options)
        };
        let (nats, grads) = run(1, OPTIONS);
        let (other_nats, other) = run(
            3,
            StepOptions {
                kept_layers: 0,
                ..OPTIONS
            },
        );
        assert_eq!(nats.to_bits(), other_nats.to_bits(), "{method}");
        assert!(
            bits(&grads) == bits(&other),
            "{method}: threads or kept layers"
        );
        let shortcuts = Shortcuts::NONE;
        let (_, plain) = run(
            1,
            StepOptions {
                shortcuts,
                ..OPTIONS
            },
        );
        let scale = plain.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let difference = greatest_difference(&grads, &plain) / scale;
        assert!(difference < 2e-5, "{method}: shortcuts change {difference}");
    }
}

#[test]
fn what_is_saved_loads_with_the_same_logits() {
    for (method, name, config) in methods() {
        let mut model = load(name, 1);
        let is_subtracted = config.initial != Initial::Random;
        fresh(&mut model, name, config);
        disturb(&mut model);
        let trained = model.logits(&ids(2)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let adapter = model.detach().unwrap();
        let plain = model.logits(&ids(2)).unwrap();
        adapter
            .save(
                dir.path(),
                model.config(),
                &Provenance::default(),
                SaveDtype::F32,
            )
            .unwrap();
        let files = AdapterFiles::read(dir.path()).unwrap();
        let adapter = files.into_adapter(model.config(), model.device()).unwrap();
        model.attach(adapter);
        let loaded = model.logits(&ids(2)).unwrap();
        assert!(
            greatest_difference(&trained, &plain) > 1e-3,
            "{method} does nothing"
        );
        let difference = greatest_difference(&trained, &loaded);
        // Twice the rank in one product is another order of the same sum.
        let bound = if is_subtracted { 1e-5 } else { 0.0 };
        assert!(
            difference <= bound,
            "{method}: logits differ by {difference}"
        );
    }
}

#[test]
fn feed_forward_modules_are_written_among_the_targets() {
    for (feed_forward, targets, written) in [
        ("down_proj", vec!["down_proj", "q_proj"], vec!["down_proj"]),
        (
            "layers.1.mlp.down_proj",
            vec![
                "model.layers.0.self_attn.q_proj",
                "model.layers.0.mlp.down_proj",
                "model.layers.1.self_attn.q_proj",
                "model.layers.1.mlp.down_proj",
            ],
            vec!["model.layers.1.mlp.down_proj"],
        ),
    ] {
        let mut model = load("tied", 1);
        let config = LoraConfig {
            targets: Targets::parse("q_proj,down_proj"),
            ia3: Some(Ia3 {
                feed_forward: vec![feed_forward.into()],
            }),
            ..LoraConfig::default()
        };
        fresh(&mut model, "tied", config);
        let (dir, adapter) = (tempfile::tempdir().unwrap(), model.detach().unwrap());
        let provenance = Provenance::default();
        adapter
            .save(dir.path(), model.config(), &provenance, SaveDtype::F32)
            .unwrap();
        let config = std::fs::read(dir.path().join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["target_modules"], serde_json::json!(targets));
        assert_eq!(config["feedforward_modules"], serde_json::json!(written));
    }
}

#[test]
fn a_rehearsal_takes_the_memory_of_the_step_of_every_method() {
    for (method, name, config) in methods() {
        let peak = |device: &Device| {
            let base = base(name);
            let mut model = Model::load(&base, device, BaseFormat::Stored, 64).unwrap();
            let adapter = Adapter::new(config.clone(), model.config(), device, Seed::new(1));
            model.attach(adapter.unwrap());
            let mut grads = device.zeros(1, model.adapter().unwrap().num_parameters());
            device.reset_peak();
            let batch = Batch::golden();
            model
                .loss_and_grads(batch.packed(), OPTIONS, &mut grads)
                .unwrap();
            device.memory().peak_bytes
        };
        let counted = peak(&Rehearsal::new().device());
        let taken = peak(&Device::cpu(1).unwrap());
        // The CPU also packs what it multiplies.
        assert!(
            counted <= taken && taken < counted + (300 << 10),
            "{method}: {counted} bytes counted, {taken} taken"
        );
    }
}
