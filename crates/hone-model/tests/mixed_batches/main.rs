//! One batch with rows of several adapters and of none: each row is what it would be alone, to the bit.

mod sequences;

use std::path::PathBuf;

use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{
    Activations, Adapter, BaseFormat, Ia3, Initial, LoraConfig, MixedError, Model, Packed,
    Shortcuts, StepOptions, Targets, TrainedBias,
};
use hone_tensor::{Device, Tensor};

fn fixture(path: &str) -> PathBuf {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    fixtures.join(path)
}

/// Low-rank pairs on some projections, changed by `change`.
fn lora(targets: &str, rank: usize, change: impl Fn(&mut LoraConfig)) -> LoraConfig {
    let mut config = LoraConfig {
        rank,
        alpha: 3.0,
        targets: Targets::parse(targets),
        ..LoraConfig::default()
    };
    change(&mut config);
    config
}

/// Adapters of every kind that shares a batch, on a model whose linear layers have biases.
fn adapters() -> Vec<(&'static str, LoraConfig)> {
    vec![
        ("rank two", lora("q_proj,v_proj,down_proj", 2, |_| {})),
        ("rank five", lora("all-linear", 5, |_| {})),
        (
            "upper layer",
            lora("up_proj", 3, |c| c.layers = Some("1".parse().unwrap())),
        ),
        ("dora", lora("q_proj,o_proj,up_proj", 2, |c| c.dora = true)),
        (
            "ia3",
            lora("k_proj,v_proj,down_proj,up_proj", 2, |c| {
                let feed_forward = vec!["down_proj".into(), "up_proj".into()];
                c.ia3 = Some(Ia3 { feed_forward });
            }),
        ),
        ("biases", lora("k_proj", 2, |c| c.bias = TrainedBias::All)),
        (
            "pissa",
            lora("q_proj,gate_proj", 2, |c| c.initial = Initial::Pissa),
        ),
        ("dropout", lora("v_proj,gate_proj", 2, |c| c.dropout = 0.3)),
    ]
}

fn model(
    path: &str,
    format: BaseFormat,
    threads: usize,
    adapters: &[(&'static str, LoraConfig)],
) -> Model {
    let device = Device::cpu(threads).unwrap();
    let base = BaseWeights::open(&fixture(path)).unwrap();
    let mut stream = Seed::new(9).stream();
    let mut model = Model::load(&base, &device, format, 64).unwrap();
    for (name, config) in adapters {
        // What starts from the base's vectors is found by beginning with it.
        let mut alone = Model::load(&base, &device, format, 64).unwrap();
        let adapter = Adapter::new(config.clone(), model.config(), &device, Seed::new(1)).unwrap();
        alone.init_and_attach(adapter, &base).unwrap();
        let mut adapter = alone.detach().unwrap();
        let mut numbers = adapter.parameters().to_vec().unwrap();
        for number in &mut numbers {
            *number += 0.2 * stream.unit_f32() - 0.1;
        }
        device.write(&numbers, adapter.parameters_mut());
        model.add(name, adapter);
    }
    model
}

/// Sequences with their supervised rows.
#[derive(Default)]
struct Batch {
    ids: Vec<u32>,
    boundaries: Vec<usize>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Batch {
    fn of(sequences: &[Vec<u32>]) -> Self {
        let mut batch = Self {
            boundaries: vec![0],
            ..Self::default()
        };
        for (i, ids) in sequences.iter().enumerate() {
            for t in ids.len() - 4 - i % 3..ids.len() {
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

    /// The places of the supervised rows of some sequences.
    fn places(&self, of: &[usize]) -> Vec<usize> {
        let inside = |row: &usize| {
            of.iter()
                .any(|&s| (self.boundaries[s]..self.boundaries[s + 1]).contains(row))
        };
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, row)| inside(row))
            .map(|(place, _)| place)
            .collect()
    }
}

/// `count` sequences that begin alike, of which every third does not.
fn sequences(count: usize) -> Vec<Vec<u32>> {
    let mut stream = Seed::new(4).stream();
    let mut run = |len: usize| -> Vec<u32> {
        (0..len)
            .map(|_| (stream.unit_f32() * 60.0) as u32)
            .collect()
    };
    let system = run(18);
    (0..count)
        .map(|i| match i % 3 {
            2 => run(12 + i),
            _ => [system.clone(), run(7 + i)].concat(),
        })
        .collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Compares every row of a mixed batch, forward and backward, with its adapter's rows alone.
fn assert_each_as_alone(
    model: &mut Model,
    names: &[Option<&str>],
    options: StepOptions,
    what: &str,
) {
    let all = sequences(names.len());
    let batch = Batch::of(&all);
    let (device, count) = (model.device().clone(), names.len());
    let mut distinct: Vec<Option<&str>> = names.to_vec();
    distinct.sort();
    distinct.dedup();
    let mut grads: Vec<(&str, Tensor)> = Vec::new();
    for name in distinct.iter().flatten() {
        model.set_active(&[(name, 1.0)]).unwrap();
        let numbers = model.adapter().unwrap().num_parameters();
        grads.push((name, device.zeros(1, numbers)));
    }
    // What is on does not matter to a batch that says which adapters it goes through.
    model.set_active(&[]).unwrap();
    let mut places: Vec<(&str, &mut Tensor)> =
        grads.iter_mut().map(|own| (own.0, &mut own.1)).collect();
    let judged = model.nats_with(batch.packed(), names).unwrap();
    let supervised = model
        .loss_and_grads_with(batch.packed(), names, options, &mut places)
        .unwrap();
    for name in distinct {
        let of: Vec<usize> = (0..count).filter(|&s| names[s] == name).collect();
        let alone = Batch::of_some(&all, &of);
        let own =
            |nats: &[f64]| -> Vec<f64> { batch.places(&of).iter().map(|&p| nats[p]).collect() };
        model
            .set_active(&name.iter().map(|name| (*name, 1.0)).collect::<Vec<_>>())
            .unwrap();
        assert_eq!(
            own(&judged),
            model.nats(alone.packed()).unwrap(),
            "{what}: {name:?}"
        );
        let Some(name) = name else {
            let nobody = vec![None; of.len()];
            let nats = model.loss_and_grads_with(alone.packed(), &nobody, options, &mut []);
            assert_eq!(own(&supervised), nats.unwrap(), "{what}: the base");
            continue;
        };
        let mut want = device.zeros(1, model.adapter().unwrap().num_parameters());
        let nats = model
            .loss_and_grads(alone.packed(), options, &mut want)
            .unwrap();
        assert_eq!(own(&supervised), nats, "{what}: {name}");
        let found = &grads.iter().find(|own| own.0 == name).unwrap().1;
        let (found, want) = (found.to_vec().unwrap(), want.to_vec().unwrap());
        assert!(want.iter().any(|x| *x != 0.0), "{what}: {name} learns");
        assert_eq!(bits(&found), bits(&want), "{what}: gradients of {name}");
    }
}

impl Batch {
    /// Some sequences, each supervised as among all.
    fn of_some(all: &[Vec<u32>], which: &[usize]) -> Self {
        let whole = Self::of(all);
        let mut batch = Self {
            boundaries: vec![0],
            ..Self::default()
        };
        for &s in which {
            let range = whole.boundaries[s]..whole.boundaries[s + 1];
            for (row, target) in whole.rows.iter().zip(&whole.targets) {
                if range.contains(row) {
                    batch.rows.push(batch.ids.len() + row - range.start);
                    batch.targets.push(*target);
                }
            }
            batch.ids.extend(&whole.ids[range]);
            batch.boundaries.push(batch.ids.len());
        }
        batch
    }
}

const OPTIONS: StepOptions = StepOptions {
    kept_layers: usize::MAX,
    activations: Activations::F32,
    shortcuts: Shortcuts::ALL,
    dropout_seed: 7,
};

#[test]
fn rows_of_every_adapter_and_of_none_are_what_they_are_alone_to_the_bit() {
    let adapters = adapters();
    // Interleaved, so that the rows of an adapter do not lie side by side in the batch.
    let once = || adapters.iter().map(|own| Some(own.0)).chain([None]);
    let names: Vec<Option<&str>> = once().chain(once()).chain([None]).collect();
    let ways = [
        ("kept", 1, BaseFormat::Stored, OPTIONS),
        (
            "recomputed in 4 bits",
            2,
            BaseFormat::Nf4,
            StepOptions {
                kept_layers: 0,
                ..OPTIONS
            },
        ),
        (
            "without shortcuts",
            1,
            BaseFormat::Stored,
            StepOptions {
                shortcuts: Shortcuts::NONE,
                ..OPTIONS
            },
        ),
        (
            "rounded",
            2,
            BaseFormat::Stored,
            StepOptions {
                activations: Activations::Bf16,
                ..OPTIONS
            },
        ),
    ];
    for (what, threads, format, options) in ways {
        let mut model = model("models/tiny-llama-bias", format, threads, &adapters);
        assert_each_as_alone(&mut model, &names, options, what);
    }
}

#[test]
fn rows_that_go_to_experts_are_what_they_are_alone() {
    let adapters = [
        ("queries", lora("q_proj", 2, |_| {})),
        ("outputs", lora("o_proj,v_proj", 3, |_| {})),
    ];
    let names = [
        Some("queries"),
        None,
        Some("outputs"),
        Some("queries"),
        None,
    ];
    let mut model = model("families/mixtral/base", BaseFormat::Stored, 2, &adapters);
    assert_each_as_alone(&mut model, &names, OPTIONS, "experts");
}

#[test]
fn a_parallel_block_of_fused_projections_keeps_rows_apart() {
    let adapters = [
        ("lora", lora("all-linear", 2, |_| {})),
        ("dora", lora("all-linear", 2, |c| c.dora = true)),
    ];
    let names = [Some("dora"), Some("lora"), None, Some("dora")];
    for family in ["gpt_neox", "phi3", "gemma2"] {
        let mut model = model(
            &format!("families/{family}/base"),
            BaseFormat::Stored,
            1,
            &adapters,
        );
        assert_each_as_alone(&mut model, &names, OPTIONS, family);
    }
}

#[test]
fn one_adapter_for_all_rows_may_be_of_any_method() {
    let whole = lora("down_proj", 2, |c| c.whole = vec!["down_proj".into()]);
    let mut model = model(
        "models/tiny-llama-bias",
        BaseFormat::Stored,
        1,
        &[("whole", whole)],
    );
    assert_each_as_alone(&mut model, &[Some("whole"); 3], OPTIONS, "alone");
}

#[test]
fn what_all_rows_share_is_not_mixed_and_the_error_names_it() {
    let adapters = [
        ("plain", lora("q_proj", 2, |_| {})),
        (
            "whole",
            lora("q_proj", 2, |c| c.whole = vec!["down_proj".into()]),
        ),
        ("rows", lora("q_proj", 2, |c| c.token_rows = vec![4, 5])),
        ("embedding", lora("embed_tokens,q_proj", 2, |_| {})),
    ];
    let model = model("models/tiny-llama-bias", BaseFormat::Stored, 1, &adapters);
    let batch = Batch::of(&sequences(2));
    for (name, part) in [
        ("whole", "modules trained whole"),
        ("rows", "trained token rows"),
        ("embedding", "a pair of the embedding"),
    ] {
        for other in [Some("plain"), None] {
            let error = model
                .nats_with(batch.packed(), &[Some(name), other])
                .unwrap_err();
            assert!(
                matches!(&error, MixedError::Unmixable { name: found, part: why } if found == name && *why == part),
                "{name}: {error}"
            );
            assert_eq!(error.hints().len(), 1);
        }
    }
    let error = model
        .nats_with(batch.packed(), &[Some("plian"), None])
        .unwrap_err();
    assert!(error.to_string().contains("plian"), "{error}");
    let error = model.nats_with(batch.packed(), &[None]).unwrap_err();
    assert!(
        matches!(
            error,
            MixedError::Count {
                sequences: 2,
                named: 1
            }
        ),
        "{error}"
    );
    let mut small = model.device().zeros(1, 3);
    let named = [Some("plain"), None];
    for grads in [&mut [][..], &mut [("plain", &mut small)]] {
        let error = model
            .loss_and_grads_with(batch.packed(), &named, OPTIONS, grads)
            .unwrap_err();
        assert!(matches!(error, MixedError::Gradients { .. }), "{error}");
    }
}
