//! Runs against PyTorch's, and against themselves: interrupted, on other threads, in other pieces.

use hone_data::Example;
use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{
    Activations, Adapter, AdapterFiles, BaseFormat, Ia3, Initial, LoraConfig, Model, Provenance,
    Shortcuts, StopSignal, Targets, TrainedBias,
};
use hone_tensor::Device;
use hone_train::{
    AdamWConfig, Data, Event, LearningRate, OptimizerKind, Outcome, ROW_LOSSES, RowLosses, RunDir,
    Schedule, TrainError, TrainingPlan, train,
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

mod interrupted;
mod optimizers;
mod pytorch;
mod watching;

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(path)
}

fn base(name: &str) -> BaseWeights {
    BaseWeights::open(&fixture(&format!("models/tiny-llama-{name}"))).unwrap()
}

fn model(name: &str, threads: usize) -> Model {
    Model::load(
        &base(name),
        &Device::cpu(threads).unwrap(),
        BaseFormat::Stored,
        64,
    )
    .unwrap()
}

fn fresh(threads: usize, dropout: f32) -> Model {
    let mut model = model("tied", threads);
    let config = LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout,
        ..LoraConfig::default()
    };
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(5)).unwrap();
    model.attach(adapter);
    model
}

/// Sentences that count upwards from random places: something to learn.
fn examples(count: usize, salt: u64) -> Vec<Example> {
    let mut stream = Seed::new(salt).stream();
    (0..count)
        .map(|row| {
            let (start, len) = (3 + stream.below(200) as u32, 4 + stream.below(20) as u32);
            let ids: Vec<u32> = (start..start + len).collect();
            let supervised = (0..len).map(|i| i >= 2).collect();
            Example {
                ids,
                supervised,
                task: row % 2,
                row,
            }
        })
        .collect()
}

fn plan(steps: usize) -> TrainingPlan {
    TrainingPlan {
        steps,
        batch_size: 4,
        accumulate: 1,
        max_tokens: 4096,
        kept_layers: 2,
        activations: Activations::F32,
        shortcuts: Shortcuts::ALL,
        activation_cache: true,
        learning_rate: LearningRate::new(5e-3, Schedule::Cosine, 0.1, steps),
        optimizer: AdamWConfig {
            weight_decay: 0.01,
            ..AdamWConfig::default()
        },
        seed: 11,
        eval_every: 5,
        eval_rows: None,
        patience: None,
        min_improvement: 0.0,
        save_every: 3,
    }
}

fn run_dir(path: &Path) -> RunDir {
    // Several entries, so that an order of their own would show in the files.
    let provenance = Provenance {
        base_name: Some("tiny".into()),
        base_fingerprint: Some("abc".into()),
        template_hash: Some("def".into()),
        template_date: Some("2026-11-30".into()),
        run: Some("ghi".into()),
    };
    RunDir::new(path, "this run".into(), provenance)
}

fn tasks() -> Vec<String> {
    vec!["even".into(), "odd".into()]
}

struct Run {
    events: Vec<Event>,
    outcome: Result<Outcome, TrainError>,
}

/// Trains; asks to stop once `stop_after` steps were taken.
fn run(model: &mut Model, plan: &TrainingPlan, dir: &Path, resume: bool, stop_after: usize) -> Run {
    let (train_set, valid_set, tasks) = (examples(18, 1), examples(6, 2), tasks());
    let data = Data {
        train: &train_set,
        valid: &valid_set,
        tasks: &tasks,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut events = Vec::new();
    let mut sink = |event: &Event| {
        if matches!(event, Event::Stepped(_)) && event.step() == stop_after {
            stop.store(true, Ordering::Relaxed);
        }
        events.push(event.clone());
    };
    let signal = Arc::clone(&stop).into();
    let outcome = train(model, data, plan, &run_dir(dir), resume, &mut sink, &signal);
    Run { events, outcome }
}

/// The bytes of the best and the last adapter, and of the losses of rows.
fn adapters(dir: &Path) -> Vec<Vec<u8>> {
    let files = ["adapter", "last"].iter().flat_map(|which| {
        ["adapter_config.json", "adapter_model.safetensors"].map(|file| dir.join(which).join(file))
    });
    files
        .chain([dir.join(ROW_LOSSES)])
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

fn losses(events: &[Event]) -> Vec<f64> {
    let loss = |event: &Event| match event {
        Event::Stepped(stepped) => Some(stepped.loss),
        _ => None,
    };
    events.iter().filter_map(loss).collect()
}

#[test]
fn training_learns_and_keeps_the_best_and_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = fresh(1, 0.0);
    let learning_rate = LearningRate::new(3e-2, Schedule::Cosine, 0.1, 60);
    let plan = TrainingPlan {
        learning_rate,
        ..plan(60)
    };
    let run = run(&mut model, &plan, dir.path(), false, usize::MAX);
    let Outcome::Finished(finished) = run.outcome.unwrap() else {
        panic!("not finished")
    };
    let totals = finished.totals;
    assert!(
        totals.valid_loss_best.unwrap() < totals.valid_loss_first.unwrap() - 0.5,
        "{totals:?}"
    );
    assert_eq!(
        totals.examples,
        12 * 18,
        "twelve epochs of 18 examples in five batches each"
    );
    let last = AdapterFiles::read(&dir.path().join("last")).unwrap();
    let last = last.into_adapter(model.config(), model.device()).unwrap();
    assert_eq!(
        last.parameters().to_vec().unwrap(),
        model.adapter().unwrap().parameters().to_vec().unwrap()
    );
    let best: Vec<usize> = run
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Validated(validated) if validated.best => Some(validated.step),
            _ => None,
        })
        .collect();
    assert_eq!(best.last(), Some(&totals.best_step));
}

const OPTIMIZERS: [OptimizerKind; 4] = [
    OptimizerKind::AdamW,
    OptimizerKind::AdamW8bit,
    OptimizerKind::PagedAdamW,
    OptimizerKind::PagedAdamW8bit,
];

fn plan_with(kind: OptimizerKind, steps: usize) -> TrainingPlan {
    let plan = plan(steps);
    let optimizer = AdamWConfig {
        kind,
        ..plan.optimizer
    };
    TrainingPlan { optimizer, ..plan }
}

/// Matrices of 5,120 and 1,280 numbers among others: some moments in 8 bits, some too small for it.
fn wide(threads: usize) -> Model {
    let mut model = model("tied", threads);
    let config = LoraConfig {
        rank: 64,
        alpha: 64.0,
        dropout: 0.1,
        ..LoraConfig::default()
    };
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(5)).unwrap();
    model.attach(adapter);
    model
}

/// Loss and gradients of a batch, its targets weighted in turn.
fn weighted(weights: &[f32]) -> (hone_train::WeightedLoss, Vec<f32>) {
    let model = fresh(1, 0.0);
    let examples = examples(3, 7);
    let mut batch = hone_data::pack(&examples.iter().collect::<Vec<_>>());
    let turns = weights.iter().cycle();
    for (target, weight) in batch.targets.iter_mut().zip(turns) {
        target.weight = *weight;
    }
    batch.targets.retain(|target| target.weight >= 0.0);
    let numbers = model.adapter().unwrap().num_parameters();
    let mut grads = model.device().zeros(1, numbers);
    let options = hone_model::StepOptions::default();
    let loss = hone_train::loss_and_grads(&model, &batch, options, None, &mut grads).unwrap();
    (loss, grads.to_vec().unwrap())
}

#[test]
fn a_target_counts_by_its_weight_in_the_loss_and_in_the_gradient() {
    let (plain, grads) = weighted(&[1.0]);
    assert_eq!(plain.weight, plain.tokens as f64);
    // Doubling is exact.
    let (twice, twice_grads) = weighted(&[2.0]);
    assert_eq!(
        (twice.nats, twice.weight),
        (2.0 * plain.nats, 2.0 * plain.weight)
    );
    assert_eq!(twice.mean(), plain.mean());
    assert!(grads.iter().zip(&twice_grads).all(|(g, t)| 2.0 * g == *t));
    // One without weight teaches as much as one that is not there.
    let (zero, zero_grads) = weighted(&[1.0, 0.0]);
    let (without, without_grads) = weighted(&[1.0, -1.0]);
    assert_eq!(zero.weight, without.weight);
    assert!(
        (zero.nats - without.nats).abs() < 1e-9 * plain.nats,
        "{zero:?} {without:?}"
    );
    let largest = grads.iter().fold(0.0f32, |most, g| most.max(g.abs()));
    let off = zero_grads
        .iter()
        .zip(&without_grads)
        .map(|(z, w)| (z - w).abs());
    assert!(off.fold(0.0f32, f32::max) < 1e-5 * largest && largest > 0.0);
}

#[test]
fn a_plan_that_no_run_can_have_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let fine = plan(3);
    let rate = |peak| LearningRate {
        peak,
        ..fine.learning_rate
    };
    for (plan, named) in [
        (
            TrainingPlan {
                steps: 0,
                ..fine.clone()
            },
            "steps",
        ),
        (
            TrainingPlan {
                batch_size: 0,
                ..fine.clone()
            },
            "batch_size",
        ),
        (
            TrainingPlan {
                eval_every: 0,
                ..fine.clone()
            },
            "eval_steps",
        ),
        (
            TrainingPlan {
                save_every: 0,
                ..fine.clone()
            },
            "save_steps",
        ),
        (
            TrainingPlan {
                learning_rate: rate(f32::NAN),
                ..fine.clone()
            },
            "lr",
        ),
        (
            TrainingPlan {
                learning_rate: rate(-1.0),
                ..fine.clone()
            },
            "lr",
        ),
    ] {
        let run = run(&mut fresh(1, 0.0), &plan, dir.path(), false, usize::MAX);
        let error = run.outcome.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{named} is ")), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn resume_equals_uninterrupted() {
    for kind in OPTIMIZERS {
        let plan = plan_with(kind, 17);
        let whole = tempfile::tempdir().unwrap();
        run(&mut wide(1), &plan, whole.path(), false, usize::MAX)
            .outcome
            .unwrap();
        for stop_after in [1, 4, 6, 16] {
            let parts = tempfile::tempdir().unwrap();
            let first = run(&mut wide(1), &plan, parts.path(), false, stop_after);
            let interrupted = Outcome::Interrupted { step: stop_after };
            assert_eq!(first.outcome.unwrap(), interrupted);
            let rest = run(&mut wide(1), &plan, parts.path(), true, usize::MAX);
            let next = rest.events.iter().map(Event::step).find(|s| *s > 0);
            assert_eq!(next, Some(stop_after + 1));
            assert!(matches!(rest.outcome.unwrap(), Outcome::Finished(_)));
            assert!(
                adapters(parts.path()) == adapters(whole.path()),
                "{kind}, interrupted after {stop_after}"
            );
        }
    }
}

#[test]
fn one_thread_equals_two() {
    let bytes = |threads| {
        let dir = tempfile::tempdir().unwrap();
        run(
            &mut fresh(threads, 0.1),
            &plan(7),
            dir.path(),
            false,
            usize::MAX,
        )
        .outcome
        .unwrap();
        adapters(dir.path())
    };
    assert!(bytes(1) == bytes(2));
}

#[test]
fn every_row_has_a_loss_in_every_epoch_and_their_mean_is_the_steps() {
    let dir = tempfile::tempdir().unwrap();
    // Eighteen examples in batches of four, dealt into three parts: five steps an epoch, the last one of two rows.
    let plan = TrainingPlan {
        accumulate: 3,
        learning_rate: LearningRate::new(3e-2, Schedule::Constant, 0.0, 15),
        ..plan(15)
    };
    let run = run(&mut fresh(1, 0.0), &plan, dir.path(), false, usize::MAX);
    let losses_of_rows = RowLosses::read(dir.path()).unwrap().unwrap();
    let by_row = losses_of_rows.by_row();
    assert!(by_row.iter().all(|epochs| epochs.len() == 3));
    assert!(by_row.iter().all(|epochs| epochs[2] < epochs[0]));
    let mut records = losses_of_rows.records.iter();
    for loss in losses(&run.events) {
        let rows = if records.len() % 18 == 2 { 2 } else { 4 };
        let (mut nats, mut tokens) = (0.0, 0.0);
        for record in records.by_ref().take(rows) {
            let supervised = f64::from(losses_of_rows.tokens[record.row]);
            nats += f64::from(record.loss) * supervised;
            tokens += supervised;
        }
        assert!((nats / tokens - loss).abs() < 1e-6, "{loss}");
    }
    // A second opinion: what a row loses alone, before anything was learned.
    let (set, fresh) = (examples(18, 1), fresh(1, 0.0));
    for record in &losses_of_rows.records[..4] {
        let batch = hone_data::pack(&[&set[record.row]]);
        let nats = hone_train::with_packed(&batch, |packed| fresh.nats(packed)).unwrap();
        let alone = nats.iter().sum::<f64>() / nats.len() as f64;
        assert!(
            (alone - f64::from(record.loss)).abs() < 1e-6,
            "{alone} and {record:?}"
        );
    }
}

#[test]
fn accumulating_four_equals_one_batch_of_four() {
    let trained = |accumulate, max_tokens| {
        let dir = tempfile::tempdir().unwrap();
        let plan = TrainingPlan {
            accumulate,
            max_tokens,
            ..plan(10)
        };
        losses(&run(&mut fresh(1, 0.0), &plan, dir.path(), false, usize::MAX).events)
    };
    let one = trained(1, 4096);
    for other in [trained(4, 4096), trained(1, 20)] {
        for (a, b) in one.iter().zip(&other) {
            assert!((a - b).abs() < 1e-5 * a, "{a} and {b}");
        }
    }
}

#[test]
fn what_is_kept_from_epoch_to_epoch_changes_no_byte() {
    let trained = |activation_cache, stop_after| {
        let mut model = model("untied", 2);
        let config = LoraConfig {
            rank: 4,
            layers: Some("1-".parse().unwrap()),
            ..LoraConfig::default()
        };
        let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(5)).unwrap();
        model.attach(adapter);
        let plan = TrainingPlan {
            activation_cache,
            // Eighteen examples in batches of four: five steps an epoch.
            ..plan(13)
        };
        let dir = tempfile::tempdir().unwrap();
        run(&mut model, &plan, dir.path(), false, stop_after);
        if stop_after < 13 {
            run(&mut model, &plan, dir.path(), true, usize::MAX);
        }
        adapters(dir.path())
    };
    let plain = trained(false, usize::MAX);
    assert_eq!(trained(true, usize::MAX), plain);
    assert_eq!(trained(true, 8), plain, "resumed with nothing kept");
}

#[test]
fn a_loss_that_is_not_finite_stops_with_the_rows_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = fresh(1, 0.0);
    let device = model.device().clone();
    let adapter = model.adapter_mut().unwrap();
    let huge = vec![1e30; adapter.num_parameters()];
    device.write(&huge, adapter.parameters_mut());
    let (set, tasks) = (examples(3, 1), tasks());
    let data = Data {
        train: &set,
        valid: &[],
        tasks: &tasks,
    };
    let stop = StopSignal::never();
    let error = train(
        &mut model,
        data,
        &plan(9),
        &run_dir(dir.path()),
        false,
        &mut |_: &Event| {},
        &stop,
    )
    .unwrap_err();
    let TrainError::NonFiniteLoss { step: 1, mut rows } = error else {
        panic!("{error}")
    };
    rows.sort_unstable();
    assert_eq!(rows, [0, 1, 2]);
    assert!(!dir.path().join("last").exists());
}

#[test]
fn examples_that_the_model_cannot_take_are_refused_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = tasks();
    let refused = |ids: Vec<u32>| {
        let set = [Example {
            supervised: vec![true; ids.len()],
            ids,
            task: 0,
            row: 41,
        }];
        let data = Data {
            train: &set,
            valid: &[],
            tasks: &tasks,
        };
        let stop = StopSignal::never();
        train(
            &mut fresh(1, 0.0),
            data,
            &plan(9),
            &run_dir(dir.path()),
            false,
            &mut |_: &Event| {},
            &stop,
        )
        .unwrap_err()
        .to_string()
    };
    assert!(refused(vec![1, 300]).contains("row 41 has token 300"));
    assert!(refused(vec![1; 65]).contains("row 41 has 65 tokens"));
}

/// One of each kind of trained matrix.
fn of_method(method: &str, threads: usize) -> Model {
    let mut model = model(if method == "bias" { "bias" } else { "tied" }, threads);
    let mut config = LoraConfig {
        rank: 64,
        alpha: 64.0,
        targets: Targets::parse("q_proj,v_proj,down_proj"),
        ..LoraConfig::default()
    };
    match method {
        "dora" => config.dora = true,
        "pissa" => (config.initial, config.dropout) = (Initial::Pissa, 0.1),
        "bias" => config.bias = TrainedBias::All,
        "whole" => config.whole = vec!["embed_tokens".into(), "layers.1".into()],
        "rows" => config.token_rows = vec![20, 7],
        "ia3" => {
            config.ia3 = Some(Ia3 {
                feed_forward: vec!["down_proj".into()],
            });
        }
        other => panic!("no method {other}"),
    }
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(5)).unwrap();
    let name = if method == "bias" { "bias" } else { "tied" };
    model.init_and_attach(adapter, &base(name)).unwrap();
    model
}

#[test]
fn resume_equals_uninterrupted_for_every_method_and_two_rates() {
    let kinds = [OptimizerKind::AdamW, OptimizerKind::PagedAdamW8bit];
    for method in ["dora", "pissa", "bias", "whole", "rows", "ia3"] {
        for kind in kinds {
            let mut plan = plan_with(kind, 7);
            plan.optimizer.lora_plus_ratio = Some(4.0);
            let whole = tempfile::tempdir().unwrap();
            let mut model = of_method(method, 3);
            let before = model.adapter().unwrap().parameters().to_vec().unwrap();
            let all = run(&mut model, &plan, whole.path(), false, usize::MAX);
            all.outcome.unwrap();
            let after = model.adapter().unwrap().parameters().to_vec().unwrap();
            assert!(before != after, "{method} learns");
            let parts = tempfile::tempdir().unwrap();
            let first = run(&mut of_method(method, 1), &plan, parts.path(), false, 4);
            assert_eq!(first.outcome.unwrap(), Outcome::Interrupted { step: 4 });
            let rest = run(
                &mut of_method(method, 1),
                &plan,
                parts.path(),
                true,
                usize::MAX,
            );
            assert!(matches!(rest.outcome.unwrap(), Outcome::Finished(_)));
            assert!(
                adapters(parts.path()) == adapters(whole.path()),
                "{method} with {kind}, interrupted and on another number of threads"
            );
        }
    }
}

#[test]
fn an_adapter_without_what_it_starts_from_does_not_learn() {
    let mut model = model("tied", 1);
    let config = LoraConfig {
        initial: Initial::Pissa,
        ..LoraConfig::default()
    };
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(5)).unwrap();
    model.attach(adapter);
    let dir = tempfile::tempdir().unwrap();
    let error = run(&mut model, &plan(3), dir.path(), false, usize::MAX).outcome;
    assert!(matches!(error, Err(TrainError::NotInitialized)));
}
