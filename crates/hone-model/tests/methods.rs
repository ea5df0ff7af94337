//! Adapters of every method against PEFT, on the tiny models of `fixtures/`.

use std::path::{Path, PathBuf};

use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{
    Activations, Adapter, AdapterFiles, BaseFormat, Ia3, Initial, LoraConfig, LoraPair, LoraParts,
    Model, Packed, Provenance, RawAdapter, SaveDtype, Shortcuts, StepOptions, Targets, TrainedBias,
    check_adapter,
};
use hone_tensor::{Device, Rehearsal, Tensor, nf4};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

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
    model.begin(adapter, &base(name)).unwrap();
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

#[test]
fn starts_equal_those_of_peft() {
    for (start, initial) in [("pissa", Initial::Pissa), ("olora", Initial::Olora)] {
        let mut model = load("untied", 1);
        let config = LoraConfig {
            rank: 4,
            alpha: 16.0,
            initial,
            ..LoraConfig::default()
        };
        fresh(&mut model, "untied", config);
        let adapter = model.adapter().unwrap();
        let (numbers, matrices) = (adapter.parameters().to_vec().unwrap(), adapter.matrices());
        for site in ["layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"] {
            let half = |half: &str| {
                let name = format!("model.{site}.{half}.weight");
                let matrix = matrices.iter().find(|m| m.name == name).unwrap();
                let ours = numbers[matrix.offset..][..matrix.size()].to_vec();
                let pefts = floats("methods", &format!("initial.{start}.{site}.{half}"));
                (ours, pefts, matrix.rows, matrix.cols)
            };
            let (a, peft_a, rank, width) = half("lora_A");
            let (b, peft_b, out, _) = half("lora_B");
            // A vector and its partner may both change their sign.
            for r in 0..rank {
                let row = |a: &[f32]| a[r * width..][..width].to_vec();
                let column = |b: &[f32]| (0..out).map(|o| b[o * rank + r]).collect::<Vec<f32>>();
                let sign: f32 = row(&a).iter().zip(row(&peft_a)).map(|(x, y)| x * y).sum();
                for (ours, pefts) in [(row(&a), row(&peft_a)), (column(&b), column(&peft_b))] {
                    let turned: Vec<f32> = ours.iter().map(|x| x * sign.signum()).collect();
                    let scale = pefts.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                    let difference = greatest_difference(&turned, &pefts) / scale;
                    assert!(difference < 1e-4, "{start} {site} {r}: {difference}");
                }
            }
        }
    }
}

#[test]
fn a_search_finds_at_least_what_pefts_finds() {
    let site = "layers.1.mlp.down_proj";
    let mut model = load("untied", 1);
    let config = LoraConfig {
        rank: 4,
        alpha: 16.0,
        initial: Initial::PissaRounds(16),
        ..LoraConfig::default()
    };
    fresh(&mut model, "untied", config);
    let matrix = base("untied")
        .matrix(&format!("model.{site}.weight"))
        .unwrap();
    let (w, width) = (matrix.to_f32(), matrix.cols());
    let left = |a: &[f32], b: &[f32]| -> f64 {
        let rank = a.len() / width;
        let residual = |i: usize| {
            let (row, col) = (i / width, i % width);
            let product = |r| f64::from(b[row * rank + r]) * f64::from(a[r * width + col]);
            f64::from(w[i]) - 4.0 * (0..rank).map(product).sum::<f64>()
        };
        (0..w.len())
            .map(|i| residual(i).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let adapter = model.adapter().unwrap();
    let numbers = adapter.parameters().to_vec().unwrap();
    let ours = |half: &str| {
        let name = format!("model.{site}.{half}.weight");
        let matrix = adapter
            .matrices()
            .into_iter()
            .find(|m| m.name == name)
            .unwrap();
        numbers[matrix.offset..][..matrix.size()].to_vec()
    };
    let pefts = |start: &str, half| floats("methods", &format!("initial.{start}.{site}.{half}"));
    let found = left(&ours("lora_A"), &ours("lora_B"));
    let best = left(&pefts("pissa", "lora_A"), &pefts("pissa", "lora_B"));
    let peft_found = left(&pefts("niter", "lora_A"), &pefts("niter", "lora_B"));
    assert!(
        found <= peft_found + 1e-6,
        "{found} is left, {peft_found} by PEFT"
    );
    assert!(found < best * 1.001, "{found} is left, {best} at best");
}

#[test]
fn loftq_makes_up_for_what_nf4_takes_away() {
    let exact = load("untied", 1).logits(&ids(2)).unwrap();
    let device = Device::cpu(1).unwrap();
    let logits = |rank: Option<usize>| {
        let mut model = Model::load(&base("untied"), &device, BaseFormat::Nf4, 64).unwrap();
        if let Some(rank) = rank {
            let config = LoraConfig {
                rank,
                alpha: 16.0,
                initial: Initial::Loftq,
                ..LoraConfig::default()
            };
            fresh(&mut model, "untied", config);
        }
        model.logits(&ids(2)).unwrap()
    };
    let off = |rank| greatest_difference(&exact, &logits(rank));
    let (none, some, all) = (off(None), off(Some(8)), off(Some(32)));
    assert!(some < 0.8 * none, "{none} without, {some} with rank 8");
    // Of the full rank nothing of the loss is left.
    assert!(all < 1e-4 && none > 0.01, "{none} without, {all} with all");

    let mut model = load("untied", 1);
    let config = LoraConfig {
        initial: Initial::Loftq,
        ..LoraConfig::default()
    };
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(1)).unwrap();
    let error = model.begin(adapter, &base("untied")).unwrap_err();
    assert!(error.hints()[0].contains("qlora"), "{error}");
}

/// A matrix of the untied base as numbers, in the form it is held in.
fn held(name: &str, format: BaseFormat) -> Vec<f32> {
    let matrix = base("untied").matrix(name).unwrap();
    match format {
        BaseFormat::Nf4 => nf4::quantize(&matrix.to_f32(), matrix.rows(), matrix.cols(), true)
            .unwrap()
            .to_f32(),
        _ => matrix.to_f32(),
    }
}

#[test]
fn lengths_of_rows_equal_those_of_the_dense_matrix() {
    for format in [BaseFormat::Stored, BaseFormat::Nf4] {
        let device = Device::cpu(1).unwrap();
        let mut model = Model::load(&base("untied"), &device, format, 64).unwrap();
        let config = LoraConfig {
            rank: 3,
            alpha: 24.0,
            dora: true,
            ..LoraConfig::default()
        };
        let adapter = Adapter::new(config, model.config(), &device, Seed::new(1)).unwrap();
        model.attach(adapter);
        disturb(&mut model);
        // Magnitudes that are the dense lengths leave the sum as it is.
        let adapter = model.adapter().unwrap();
        let matrices = adapter.matrices();
        let mut numbers = adapter.parameters().to_vec().unwrap();
        for (path, pair) in taken_apart(&model).pairs {
            let (out, width) = (pair.out, pair.width);
            let held = held(&format!("{path}.weight"), format);
            let product = product(&pair);
            let name = format!("{path}.lora_magnitude_vector");
            let place = matrices.iter().find(|m| m.name == name).unwrap().offset;
            for row in 0..out {
                let sum = |i: usize| f64::from(held[i]) + f64::from(product[i]);
                let square: f64 = (row * width..(row + 1) * width)
                    .map(|i| sum(i).powi(2))
                    .sum();
                numbers[place + row] = square.sqrt() as f32;
            }
        }
        device.write(&numbers, model.adapter_mut().unwrap().parameters_mut());
        let with_lengths = model.logits(&ids(2)).unwrap();
        // The same low-rank pairs without DoRA.
        let plain = LoraConfig {
            rank: 3,
            alpha: 24.0,
            ..LoraConfig::default()
        };
        let mut plain = Adapter::new(plain, model.config(), &device, Seed::new(1)).unwrap();
        let count = plain.num_parameters();
        device.write(&numbers[..count], plain.parameters_mut());
        model.attach(plain);
        let difference = greatest_difference(&with_lengths, &model.logits(&ids(2)).unwrap());
        assert!(
            difference < 2e-5,
            "{format:?}: logits differ by {difference}"
        );
    }
}

#[test]
fn adapters_are_switched_stacked_and_disabled_without_loading_again() {
    let mut model = load("tied", 1);
    let plain = model.logits(&ids(2)).unwrap();
    let alone = |name: &str| {
        let mut model = load("tied", 1);
        let adapter = read(&model, name);
        model.attach(adapter);
        model.logits(&ids(2)).unwrap()
    };
    for name in ["tied", "tied-qv", "tied-dora"] {
        let adapter = read(&model, name);
        model.add(name, adapter);
    }
    let logits = |model: &Model| model.logits(&ids(2)).unwrap();
    assert_eq!(
        bits(&logits(&model)),
        bits(&alone("tied")),
        "the first one is on"
    );
    for name in ["tied-qv", "tied-dora", "tied"] {
        model.set_active(&[(name, 1.0)]).unwrap();
        assert_eq!(bits(&logits(&model)), bits(&alone(name)), "{name}");
        let disabled = model.with_adapter_disabled(|model| logits(model));
        assert_eq!(bits(&disabled), bits(&plain));
        assert_eq!(
            bits(&logits(&model)),
            bits(&alone(name)),
            "{name} is on again"
        );
    }
    model.set_active(&[]).unwrap();
    assert_eq!(bits(&logits(&model)), bits(&plain));

    model
        .set_active(&[("tied", 0.5), ("tied-qv", -2.0)])
        .unwrap();
    assert!(model.adapter().is_none(), "none of two learns");
    let stacked = logits(&model);
    let summed = with_sum_of_products(&[("tied", 0.5), ("tied-qv", -2.0)]);
    let difference = greatest_difference(&stacked, &logits(&summed));
    assert!(difference < 2e-5, "logits differ by {difference}");
    assert!(greatest_difference(&stacked, &plain) > 0.1);
}

/// What the adapter on a model is, by way of the files it is saved as.
fn taken_apart(model: &Model) -> LoraParts {
    let dir = tempfile::tempdir().unwrap();
    let (config, provenance) = (model.config(), Provenance::default());
    let adapter = model.adapter().unwrap();
    adapter
        .save(dir.path(), config, &provenance, SaveDtype::F32)
        .unwrap();
    LoraParts::read(dir.path(), None).unwrap()
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

/// The tied base with the sum of low-rank products in its matrices.
fn with_sum_of_products(adapters: &[(&str, f32)]) -> Model {
    let mut model = load("tied", 1);
    let config = LoraConfig {
        targets: Targets::parse("q_proj"),
        whole: vec!["self_attn".into(), "mlp".into()],
        ..LoraConfig::default()
    };
    fresh(&mut model, "tied", config);
    let matrices = model.adapter().unwrap().matrices();
    let mut numbers = model.adapter().unwrap().parameters().to_vec().unwrap();
    for (name, weight) in adapters {
        let dir = fixture(&format!("adapters/tiny-llama-{name}"));
        for (path, pair) in LoraParts::read(&dir, None).unwrap().pairs {
            let name = format!("{path}.weight");
            let matrix = matrices.iter().find(|m| m.name == name).unwrap();
            let place = &mut numbers[matrix.offset..][..matrix.size()];
            for (number, x) in place.iter_mut().zip(product(&pair)) {
                *number += weight * x;
            }
        }
    }
    let device = model.device().clone();
    device.write(&numbers, model.adapter_mut().unwrap().parameters_mut());
    model
}

#[test]
fn adapters_that_cannot_be_used_together_are_refused_by_name() {
    let mut model = load("tied", 1);
    for name in ["tied", "tied-dora"] {
        let adapter = read(&model, name);
        model.add(name, adapter);
    }
    let mut refused = |active: &[(&str, f32)]| model.set_active(active).unwrap_err();
    let error = refused(&[("tide", 1.0)]);
    assert_eq!(error.hints(), ["adapters of this model: tied, tied-dora"]);
    for active in [
        &[("tied", 1.0), ("tied-dora", 1.0)][..],
        &[("tied-dora", 0.5)],
        &[("tied", f32::NAN)],
        &[("tied", 0.5), ("tied", 0.5)],
    ] {
        assert!(refused(active).to_string().contains("`tied"), "{active:?}");
    }
    assert_eq!(model.adapters(), [("tied", 1.0), ("tied-dora", 0.0)]);
    assert_eq!(model.remove("tied").unwrap().config().rank, 4);
    assert_eq!(model.adapters(), [("tied-dora", 0.0)]);
}

#[test]
fn what_has_no_meaning_together_is_refused_by_name() {
    let refused = |name: &str, change: &dyn Fn(&mut LoraConfig)| {
        let model = load(name, 1);
        let mut config = LoraConfig::default();
        change(&mut config);
        let fresh = Adapter::new(config, model.config(), model.device(), Seed::new(1));
        fresh.unwrap_err().to_string()
    };
    let rows = |c: &mut LoraConfig| c.token_rows = vec![300];
    assert!(refused("tied", &rows).contains("token 300"));
    let bias = |c: &mut LoraConfig| c.bias = TrainedBias::All;
    assert!(refused("tied", &bias).contains("biases"));
    let head = |c: &mut LoraConfig| c.whole = vec!["lm_head".into()];
    assert!(refused("tied", &head).contains("tied"));
    let dropout = |c: &mut LoraConfig| (c.dora, c.dropout) = (true, 0.1);
    assert!(refused("tied", &dropout).contains("DoRA together with dropout"));
    let exclude = |c: &mut LoraConfig| c.exclude = vec!["lm_head".into()];
    assert!(refused("tied", &exclude).contains("`lm_head` in the excluded modules"));
    let ranks = |c: &mut LoraConfig| c.rank_pattern = vec![("qproj".into(), 3)];
    assert!(refused("tied", &ranks).contains("`qproj` in the ranks"));
    let whole = |c: &mut LoraConfig| c.whole = vec!["layers.7".into()];
    assert!(refused("tied", &whole).contains("layers.7"));
    let both = |c: &mut LoraConfig| {
        c.token_rows = vec![3];
        c.whole = vec!["embed_tokens".into()];
    };
    assert!(refused("untied", &both).contains("token rows"));
}

/// The adapter's own numbers under PEFT's names, as PEFT saves what it trained when it is not asked to convert it.
fn save_as_trained(model: &Model, init: &str, dir: &Path) {
    let adapter = model.adapter().unwrap();
    let numbers = adapter.parameters().to_vec().unwrap();
    let matrices = adapter.matrices();
    let held: Vec<(String, Vec<usize>, Vec<u8>)> = matrices
        .iter()
        .map(|matrix| {
            let part = &numbers[matrix.offset..][..matrix.size()];
            let bytes = part.iter().flat_map(|x| x.to_le_bytes()).collect();
            let name = format!("base_model.model.{}", matrix.name);
            (name, vec![matrix.rows, matrix.cols], bytes)
        })
        .collect();
    let views = held.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let file = safetensors::serialize(views, None).unwrap();
    std::fs::write(dir.join("adapter_model.safetensors"), file).unwrap();
    let config = json!({
        "peft_type": "LORA", "r": adapter.config().rank, "lora_alpha": adapter.config().alpha,
        "target_modules": ["q_proj", "v_proj", "down_proj"], "init_lora_weights": init,
    });
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
}

#[test]
fn pissa_and_olora_saved_as_they_were_trained_become_plain_lora() {
    for (init, initial) in [("pissa", Initial::Pissa), ("olora", Initial::Olora)] {
        let mut model = load("untied", 1);
        let config = LoraConfig {
            rank: 2,
            alpha: 3.0,
            targets: Targets::parse("q_proj,v_proj,down_proj"),
            initial,
            ..LoraConfig::default()
        };
        fresh(&mut model, "untied", config);
        disturb(&mut model);
        let expected = model.logits(&ids(2)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        save_as_trained(&model, init, dir.path());
        let raw = RawAdapter::read(dir.path()).unwrap();
        let check = check_adapter(&raw, None);
        assert!(LoraParts::repaired(&raw, &check, None).is_err());
        let parts = LoraParts::repaired(&raw, &check, Some(&base("untied"))).unwrap();
        let found = with_parts("untied", &parts);
        let difference = greatest_difference(&found, &expected);
        assert!(difference < 1e-4, "{init}: {difference}");
    }
}

/// Logits of a base with the adapter that these parts are.
fn with_parts(name: &str, parts: &LoraParts) -> Vec<f32> {
    let (mut model, dir) = (load(name, 1), tempfile::tempdir().unwrap());
    parts
        .save(dir.path(), SaveDtype::F32, &parts.paths())
        .unwrap();
    let files = AdapterFiles::read(dir.path()).unwrap();
    let adapter = files.into_adapter(model.config(), model.device()).unwrap();
    model.attach(adapter);
    model.logits(&ids(2)).unwrap()
}

#[test]
fn dora_as_plain_lora_leaves_out_less_the_wider_it_is() {
    let model = tuned("tied-dora", 1);
    let expected = model.logits(&ids(2)).unwrap();
    let dir = fixture("adapters/tiny-llama-tied-dora");
    let parts = LoraParts::read(&dir, None).unwrap();
    let mut before = f64::INFINITY;
    for rank in [2, 8, 32] {
        let (plain, left) = parts.without_magnitudes(&base("tied"), rank).unwrap();
        assert!(plain.beyond_pairs().is_none());
        assert!(left < before, "rank {rank}: {left}");
        before = left;
        // No matrix of this model has a greater rank than 32.
        if rank == 32 {
            assert!(left < 1e-5, "{left}");
            let difference = greatest_difference(&with_parts("tied", &plain), &expected);
            assert!(difference < 1e-3, "logits differ by {difference}");
        }
    }
}

#[test]
fn a_new_row_is_the_mean_of_those_that_spelt_it_and_the_base_keeps_its_fingerprint() {
    for name in ["tied", "untied"] {
        let mut base = base(name);
        let files = base.fingerprint().unwrap();
        let rows = base.rows_spelt(&[vec![7, 9, 300], vec![40]]).unwrap();
        let before = base.matrix("model.embed_tokens.weight").unwrap().to_f32();
        let row = |id: usize| &before[id * 32..][..32];
        let mean = row(7).iter().zip(row(9)).map(|(a, b)| (a + b) / 2.0);
        let wanted: Vec<f32> = mean.chain(row(40).iter().copied()).collect();
        assert!(greatest_difference(rows.embedding.as_ref().unwrap(), &wanted) < 1e-7);
        assert_eq!(rows.head.is_some(), name == "untied");

        base.grow(&rows).unwrap();
        assert_eq!((base.new_tokens(), base.config().vocab_size), (2, 302));
        let after = base.matrix("model.embed_tokens.weight").unwrap().to_f32();
        assert_eq!(after[..before.len()], before);
        assert_eq!(after[before.len()..], *rows.embedding.unwrap());
        assert_eq!(base.fingerprint().unwrap(), files);
    }
}
