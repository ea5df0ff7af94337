//! Work left out changes no number: each shortcut against the plain path, where every row is computed
//! everywhere.

use std::path::PathBuf;

use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{
    Activations, Adapter, BaseFormat, LoraConfig, Model, Packed, Shortcuts, StepOptions, Targets,
};
use hone_tensor::Device;

/// An untied model of three layers or fewer with an adapter that changes something.
fn model(targets: &str) -> Model {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-untied");
    let device = Device::cpu(2).unwrap();
    let base = BaseWeights::open(&path).unwrap();
    let mut model = Model::load(&base, &device, BaseFormat::Stored, 64).unwrap();
    let config = LoraConfig {
        rank: 4,
        targets: Targets::parse(targets),
        ..LoraConfig::default()
    };
    let mut adapter = Adapter::new(config, model.config(), &device, Seed::new(1)).unwrap();
    let mut stream = Seed::new(9).stream();
    let noise: Vec<f32> = (0..adapter.num_parameters())
        .map(|_| 0.4 * stream.unit_f32() - 0.2)
        .collect();
    device.write(&noise, adapter.parameters_mut());
    model.attach(adapter);
    model
}

/// Five sequences that begin alike in twos and threes; the last has nothing to learn from.
struct Batch {
    ids: Vec<u32>,
    boundaries: Vec<usize>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Batch {
    fn new() -> Self {
        let mut stream = Seed::new(4).stream();
        let mut run = |len: usize| -> Vec<u32> {
            (0..len)
                .map(|_| (stream.unit_f32() * 60.0) as u32)
                .collect()
        };
        let (system, task) = (run(20), run(17));
        let sequences = [
            [system.clone(), task.clone(), run(9)].concat(),
            [system.clone(), run(12)].concat(),
            run(25),
            [system.clone(), task, run(6)].concat(),
            system,
        ];
        let mut batch = Self {
            ids: vec![],
            boundaries: vec![0],
            rows: vec![],
            targets: vec![],
        };
        for (i, sequence) in sequences.iter().enumerate() {
            let supervised = if i == 4 { 0 } else { 5 + i };
            for at in sequence.len() - supervised..sequence.len() {
                batch.rows.push(batch.ids.len() + at - 1);
                batch.targets.push(sequence[at]);
            }
            batch.ids.extend(sequence);
            batch.boundaries.push(batch.ids.len());
        }
        // A reply that begins inside the common part: one row, two sequences, two targets.
        batch.rows.insert(0, 18);
        batch.targets.insert(0, 3);
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

const PLAIN: StepOptions = StepOptions {
    kept_layers: usize::MAX,
    activations: Activations::F32,
    shortcuts: Shortcuts::NONE,
    dropout_seed: 0,
};

fn gradients(model: &Model, options: StepOptions) -> (Vec<f64>, Vec<f32>) {
    let count = model.adapter().unwrap().num_parameters();
    let mut grads = model.device().zeros(1, count);
    let nats = model.loss_and_grads(Batch::new().packed(), options, &mut grads);
    (nats.unwrap(), grads.to_vec().unwrap())
}

/// Of the greatest element of `want`.
fn relative_difference(got: &[f32], want: &[f32]) -> f32 {
    let scale = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    assert!(scale > 0.0, "there is something to compare");
    let pairs = got.iter().zip(want);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

fn one_by_one() -> Vec<(&'static str, Shortcuts)> {
    let with = |change: fn(&mut Shortcuts)| {
        let mut shortcuts = Shortcuts::NONE;
        change(&mut shortcuts);
        shortcuts
    };
    vec![
        ("shared prefix", with(|s| s.shared_prefix = true)),
        ("distinct tokens", with(|s| s.distinct_tokens = true)),
        ("last layer", with(|s| s.last_layer = true)),
        ("supervised head", with(|s| s.supervised_head = true)),
        ("lowest layer", with(|s| s.lowest_layer = true)),
        ("all", Shortcuts::ALL),
    ]
}

#[test]
fn each_shortcut_gives_the_losses_and_gradients_of_the_plain_path() {
    for targets in ["all-linear", "model.layers.1.mlp.up_proj,lm_head", "q_proj"] {
        let model = model(targets);
        let (nats, grads) = gradients(&model, PLAIN);
        for (name, shortcuts) in one_by_one() {
            for kept_layers in [0, 1, usize::MAX] {
                let options = StepOptions {
                    shortcuts,
                    kept_layers,
                    ..PLAIN
                };
                let (short_nats, short) = gradients(&model, options);
                for (a, b) in short_nats.iter().zip(&nats) {
                    assert!((a - b).abs() < 1e-5, "{targets}, {name}: {a} and {b}");
                }
                let difference = relative_difference(&short, &grads);
                assert!(difference < 1e-5, "{targets}, {name}: {difference:e}");
            }
        }
    }
}

#[test]
fn common_beginnings_are_counted_once() {
    let batch = Batch::new();
    assert_eq!(batch.ids.len(), 46 + 32 + 25 + 43 + 20);
    assert_eq!(batch.packed().distinct_rows(), 20 + 17 + 9 + 12 + 25 + 6);
}

#[test]
fn what_enters_the_lowest_adapter_can_be_kept_for_the_next_epoch_to_the_bit() {
    let model = model("model.layers.1.self_attn.v_proj,model.layers.1.mlp.down_proj");
    assert_eq!(model.lowest_adapted_layer(), 1);
    let batch = Batch::new();
    let entry = model.entry(batch.packed()).unwrap();
    let count = model.adapter().unwrap().num_parameters();
    for shortcuts in [Shortcuts::ALL, Shortcuts::NONE] {
        let options = StepOptions { shortcuts, ..PLAIN };
        let (nats, grads) = gradients(&model, options);
        let mut above = model.device().zeros(1, count);
        let above_nats = model
            .loss_and_grads_above(&entry, batch.packed(), options, &mut above)
            .unwrap();
        match shortcuts {
            Shortcuts::ALL => assert_eq!((above_nats, above.to_vec().unwrap()), (nats, grads)),
            _ => assert!(relative_difference(&above.to_vec().unwrap(), &grads) < 1e-5),
        }
    }
}

#[test]
fn bf16_activations_leave_the_loss_alone_and_move_gradients_by_their_rounding() {
    let model = model("all-linear");
    let (nats, grads) = gradients(&model, PLAIN);
    let options = StepOptions {
        activations: Activations::Bf16,
        ..PLAIN
    };
    let (rounded_nats, rounded) = gradients(&model, options);
    assert_eq!(rounded_nats, nats);
    let difference = relative_difference(&rounded, &grads);
    assert!((1e-5..3e-2).contains(&difference), "{difference:e}");
}
