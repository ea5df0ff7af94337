//! Runs against PyTorch's, and against themselves: interrupted, on other threads, in other pieces.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hone_data::Example;
use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{
    Activations, Adapter, AdapterFiles, BaseFormat, Ia3, Initial, LoraConfig, Model, Provenance,
    Shortcuts, StopSignal, Targets, TrainedBias,
};
use hone_tensor::Device;
use hone_train::{
    AdamWConfig, Data, Event, LearningRate, OptimizerKind, Outcome, RunDir, Schedule, TrainError,
    TrainingPlan, train,
};
use safetensors::SafeTensors;
use serde_json::Value;

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

/// The bytes of the best and the last adapter.
fn adapters(dir: &Path) -> Vec<Vec<u8>> {
    ["adapter", "last"]
        .iter()
        .flat_map(|which| {
            ["adapter_config.json", "adapter_model.safetensors"]
                .map(|file| std::fs::read(dir.join(which).join(file)).unwrap())
        })
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
fn paged_equals_unpaged_and_eight_bits_differ() {
    let [full, eight, paged, paged_eight] = OPTIMIZERS.map(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let run = run(
            &mut wide(2),
            &plan_with(kind, 7),
            dir.path(),
            false,
            usize::MAX,
        );
        run.outcome.unwrap();
        adapters(dir.path())
    });
    assert!(full == paged);
    assert!(eight == paged_eight);
    assert!(full != eight);
}

#[test]
fn eight_bits_learn_as_well() {
    let loss = |kind| {
        let dir = tempfile::tempdir().unwrap();
        let run = run(
            &mut wide(2),
            &plan_with(kind, 60),
            dir.path(),
            false,
            usize::MAX,
        );
        let Outcome::Finished(finished) = run.outcome.unwrap() else {
            panic!("not finished")
        };
        let totals = finished.totals;
        (
            totals.valid_loss_first.unwrap(),
            totals.valid_loss_best.unwrap(),
        )
    };
    let (start, full) = loss(OptimizerKind::AdamW);
    let (_, eight) = loss(OptimizerKind::AdamW8bit);
    assert!(
        (full - eight).abs() < 0.05 * (start - full),
        "{start}: {full} in f32, {eight} in 8 bits"
    );
}

#[test]
fn a_checkpoint_of_another_optimizer_is_refused_and_pages_are_no_other() {
    let dir = tempfile::tempdir().unwrap();
    run(&mut wide(1), &plan(9), dir.path(), false, 4)
        .outcome
        .unwrap();
    let resume = |kind| {
        run(
            &mut wide(1),
            &plan_with(kind, 9),
            dir.path(),
            true,
            usize::MAX,
        )
        .outcome
    };
    let error = resume(OptimizerKind::AdamW8bit).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("was made with adamw, whose state adamw8bit cannot use"),
        "{text}"
    );
    assert_eq!(
        error.hints(),
        ["--optimizer adamw continues it; a new --out starts again"]
    );
    assert!(matches!(
        resume(OptimizerKind::PagedAdamW).unwrap(),
        Outcome::Finished(_)
    ));
}

#[test]
fn a_checkpoint_keeps_eight_bits_as_eight_bits() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = wide(1);
    let plan = plan_with(OptimizerKind::AdamW8bit, 1);
    run(&mut model, &plan, dir.path(), false, usize::MAX)
        .outcome
        .unwrap();
    let matrices = model.adapter().unwrap().matrices();
    let lengths: Vec<usize> = matrices.iter().map(|matrix| matrix.size()).collect();
    let checkpoint = dir.path().join("checkpoints/step-00000001");
    let size = |file: &str| std::fs::metadata(checkpoint.join(file)).unwrap().len() as usize;
    let both = OptimizerKind::AdamW8bit.resident_bytes(&lengths);
    assert_eq!(size("first.8bit") + size("second.8bit"), both);
    assert!(both < OptimizerKind::AdamW.resident_bytes(&lengths));
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before() {
    let whole = tempfile::tempdir().unwrap();
    run(
        &mut fresh(1, 0.0),
        &plan(12),
        whole.path(),
        false,
        usize::MAX,
    )
    .outcome
    .unwrap();
    let parts = tempfile::tempdir().unwrap();
    run(&mut fresh(1, 0.0), &plan(12), parts.path(), false, 8)
        .outcome
        .unwrap();
    let newest = parts.path().join("checkpoints/step-00000008/first.f32");
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let rest = run(
        &mut fresh(1, 0.0),
        &plan(12),
        parts.path(),
        true,
        usize::MAX,
    );
    let Outcome::Finished(finished) = rest.outcome.unwrap() else {
        panic!("not finished")
    };
    assert_eq!(finished.damaged, 1);
    assert!(adapters(parts.path()) == adapters(whole.path()));
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

/// What a run says of its steps and validations, and what it leaves.
fn told_and_left(
    dir: &Path,
    resume: bool,
    signal: &StopSignal,
) -> (Vec<(usize, bool, String)>, Outcome) {
    let (train_set, valid_set, tasks) = (examples(18, 1), examples(6, 2), tasks());
    let data = Data {
        train: &train_set,
        valid: &valid_set,
        tasks: &tasks,
    };
    let plan = TrainingPlan {
        eval_every: 2,
        save_every: 2,
        ..plan(3)
    };
    let mut told = Vec::new();
    let mut sink = |event: &Event| match event {
        Event::Stepped(stepped) => told.push((stepped.step, false, stepped.loss.to_string())),
        Event::Validated(look) => told.push((look.step, true, look.loss.to_string())),
        Event::Saved { .. } | Event::Resumed(_) => {}
    };
    let mut model = fresh(1, 0.0);
    let dir = run_dir(dir);
    let outcome = train(&mut model, data, &plan, &dir, resume, &mut sink, signal);
    (told, outcome.unwrap())
}

#[test]
fn a_run_stopped_at_any_moment_ends_as_one_that_never_was() {
    let dir = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let counting = StopSignal::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        false
    });
    let (whole, _) = told_and_left(dir.path(), false, &counting);
    let whole_adapters = adapters(dir.path());
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked > 30, "a run is asked {asked} times whether to stop");

    let mut moments = std::collections::BTreeSet::new();
    for moment in 0..asked {
        let dir = tempfile::tempdir().unwrap();
        let left = AtomicUsize::new(moment);
        let take =
            move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        let signal = StopSignal::new(move || take().is_err());
        let (mut told, outcome) = told_and_left(dir.path(), false, &signal);
        let Outcome::Interrupted { step } = outcome else {
            panic!("the run did not stop when it was asked for the {moment}th time")
        };
        moments.insert((step, told.len()));
        let (rest, _) = told_and_left(dir.path(), true, &StopSignal::never());
        told.extend(rest);
        assert_eq!(told, whole, "stopped when asked for the {moment}th time");
        assert!(adapters(dir.path()) == whole_adapters, "{moment}");
    }
    // Before the first step, in each of the three, and in each of the three validations.
    let expected = [(0, 0), (1, 1), (1, 2), (2, 3), (2, 4), (3, 5)];
    assert_eq!(moments.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_best_adapter_is_made_again_from_the_checkpoint_whatever_became_of_it() {
    for stop_after in [4, 8, 11] {
        let dir = tempfile::tempdir().unwrap();
        let stopped = |resume, stop_after| {
            let run = run(
                &mut fresh(1, 0.0),
                &plan(12),
                dir.path(),
                resume,
                stop_after,
            );
            run.outcome.unwrap()
        };
        stopped(false, stop_after);
        let best = dir.path().join("adapter");
        let files =
            ["adapter_config.json", "adapter_model.safetensors"].map(|name| best.join(name));
        let read = || files.clone().map(|file| std::fs::read(file).unwrap());
        let before = read();
        let went_on = |harm: &dyn Fn()| {
            harm();
            let stop = StopSignal::new(|| true);
            let (train_set, valid_set, tasks) = (examples(18, 1), examples(6, 2), tasks());
            let data = Data {
                train: &train_set,
                valid: &valid_set,
                tasks: &tasks,
            };
            let mut sink = |_: &Event| {};
            let place = run_dir(dir.path());
            let mut model = fresh(1, 0.0);
            train(&mut model, data, &plan(12), &place, true, &mut sink, &stop).unwrap();
            assert!(read() == before, "stopped after {stop_after}");
        };
        went_on(&|| std::fs::remove_dir_all(&best).unwrap());
        went_on(&|| std::fs::write(&files[1], "damaged").unwrap());
    }
}

#[test]
fn no_more_than_two_checkpoints_are_left_whatever_a_kill_left() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = dir.path().join("checkpoints");
    run(&mut fresh(1, 0.0), &plan(12), dir.path(), false, 8)
        .outcome
        .unwrap();
    // As after a kill between publishing a checkpoint and forgetting an older one, and before a third has its name.
    let copy = |name: &str| {
        std::fs::create_dir(checkpoints.join(name)).unwrap();
        for entry in std::fs::read_dir(checkpoints.join("step-00000006")).unwrap() {
            let entry = entry.unwrap();
            let to = checkpoints.join(name).join(entry.file_name());
            std::fs::copy(entry.path(), to).unwrap();
        }
    };
    copy("step-00000003");
    let begun = checkpoints.join(".step-00000009.hone-0123456789abcdef");
    std::fs::create_dir_all(begun.join("made")).unwrap();
    std::fs::write(begun.join("made-by-hone"), "").unwrap();
    std::fs::create_dir(checkpoints.join("notes")).unwrap();
    run(&mut fresh(1, 0.0), &plan(12), dir.path(), true, 9)
        .outcome
        .unwrap();
    let mut left: Vec<String> = std::fs::read_dir(&checkpoints)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["notes", "step-00000008", "step-00000009"]);
}

#[test]
fn another_runs_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    run(&mut fresh(1, 0.0), &plan(9), dir.path(), false, 4)
        .outcome
        .unwrap();
    let (set, tasks) = (examples(18, 1), tasks());
    let data = Data {
        train: &set,
        valid: &[],
        tasks: &tasks,
    };
    let other = RunDir::new(dir.path(), "another run".into(), Provenance::default());
    let stop = StopSignal::never();
    let error = train(
        &mut fresh(1, 0.0),
        data,
        &plan(9),
        &other,
        true,
        &mut |_: &Event| {},
        &stop,
    )
    .unwrap_err();
    assert!(matches!(error, TrainError::OtherRun { .. }), "{error}");
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

/// Ten full-batch steps from PEFT's adapter, against `torch.optim.AdamW`.
#[test]
fn ten_adamw_steps_equal_pytorch() {
    for name in ["tied", "untied"] {
        let json: Value = serde_json::from_slice(
            &std::fs::read(fixture(&format!("golden/{name}.json"))).unwrap(),
        )
        .unwrap();
        let bytes = std::fs::read(fixture(&format!("golden/{name}.safetensors"))).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let set: Vec<Example> = (0..3)
            .map(|row| {
                let raw = tensors.tensor(&format!("ids.{row}")).unwrap();
                let ids = raw
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| u32::from_le_bytes(*b))
                    .collect();
                let mask = tensors.tensor(&format!("supervised.{row}")).unwrap();
                Example {
                    ids,
                    supervised: mask.data().iter().map(|&b| b == 1).collect(),
                    task: 0,
                    row,
                }
            })
            .collect();
        for series in ["adamw", "clipped"] {
            let golden = &json[series];
            let clip = golden["max_norm"].as_f64().unwrap_or(0.0) as f32;
            let warmup_steps = golden["warmup_steps"].as_u64().unwrap() as usize;
            let schedule = if series == "adamw" {
                Schedule::Constant
            } else {
                Schedule::Cosine
            };
            let plan = TrainingPlan {
                batch_size: 3,
                learning_rate: LearningRate {
                    peak: 1e-2,
                    schedule,
                    warmup_steps,
                    steps: 10,
                },
                optimizer: AdamWConfig {
                    weight_decay: 0.01,
                    clip,
                    ..AdamWConfig::default()
                },
                ..plan(10)
            };
            let mut model = model(name, 1);
            let files =
                AdapterFiles::read(&fixture(&format!("adapters/tiny-llama-{name}"))).unwrap();
            let adapter = files.into_adapter(model.config(), model.device()).unwrap();
            model.attach(adapter);
            let dir = tempfile::tempdir().unwrap();
            let tasks = vec!["all".to_owned()];
            let data = Data {
                train: &set,
                valid: &[],
                tasks: &tasks,
            };
            let mut steps = Vec::new();
            let mut sink = |event: &Event| {
                if let Event::Stepped(stepped) = event {
                    steps.push(stepped.clone());
                }
            };
            train(
                &mut model,
                data,
                &plan,
                &run_dir(dir.path()),
                false,
                &mut sink,
                &StopSignal::never(),
            )
            .unwrap();
            for (i, stepped) in steps.iter().enumerate() {
                let want = |key: &str| golden[key][i].as_f64().unwrap();
                assert!(
                    (stepped.loss - want("losses")).abs() < 1e-3,
                    "{name} {series} {i}: {} and {}",
                    stepped.loss,
                    want("losses")
                );
                assert!(
                    (f64::from(stepped.lr) - want("lrs")).abs() < 1e-8,
                    "{name} {series} {i}: rate {}",
                    stepped.lr
                );
                assert!(
                    (stepped.grad_norm - want("grad_norms")).abs() < 1e-3 * want("grad_norms"),
                    "{name} {series} {i}: norm"
                );
            }
            let numbers = model.adapter().unwrap().parameters().to_vec().unwrap();
            for matrix in model.adapter().unwrap().matrices() {
                let key = format!("{series}.final.base_model.model.{}", matrix.name);
                let raw = tensors.tensor(&key).unwrap();
                let want = raw
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b));
                let greatest = want
                    .zip(&numbers[matrix.offset..])
                    .map(|(w, g)| (w - g).abs())
                    .fold(0.0, f32::max);
                assert!(greatest < 2e-3, "{name} {key}: differs by {greatest}");
            }
        }
    }
}

/// Six full-batch steps from PEFT's adapter with B sixteen times as fast, against PEFT's `create_loraplus_optimizer`.
#[test]
fn a_faster_b_learns_as_pefts_lora_plus() {
    let json = std::fs::read(fixture("golden/methods.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let golden = &json["loraplus"];
    let read = |name: &str| std::fs::read(fixture(&format!("golden/{name}.safetensors"))).unwrap();
    let (sequences, finals) = (read("tied"), read("methods"));
    let sequences = SafeTensors::deserialize(&sequences).unwrap();
    let set: Vec<Example> = (0..3)
        .map(|row| {
            let tensor = |name: &str| sequences.tensor(&format!("{name}.{row}")).unwrap();
            let ids = tensor("ids").data().as_chunks::<4>().0.to_vec();
            Example {
                ids: ids.into_iter().map(u32::from_le_bytes).collect(),
                supervised: tensor("supervised")
                    .data()
                    .iter()
                    .map(|&b| b == 1)
                    .collect(),
                task: 0,
                row,
            }
        })
        .collect();
    let plan = TrainingPlan {
        batch_size: 3,
        learning_rate: LearningRate::new(1e-3, Schedule::Constant, 0.0, 6),
        optimizer: AdamWConfig {
            weight_decay: 0.01,
            clip: 0.0,
            faster: golden["ratio"].as_f64(),
            ..AdamWConfig::default()
        },
        ..plan(6)
    };
    let mut model = model("tied", 1);
    let files = AdapterFiles::read(&fixture("adapters/tiny-llama-tied")).unwrap();
    let adapter = files.into_adapter(model.config(), model.device()).unwrap();
    model.attach(adapter);
    let (dir, tasks) = (tempfile::tempdir().unwrap(), vec!["all".to_owned()]);
    let data = Data {
        train: &set,
        valid: &[],
        tasks: &tasks,
    };
    let mut events = Vec::new();
    let mut sink = |event: &Event| events.push(event.clone());
    let (run_dir, stop) = (run_dir(dir.path()), StopSignal::never());
    train(&mut model, data, &plan, &run_dir, false, &mut sink, &stop).unwrap();
    for (i, loss) in losses(&events).into_iter().enumerate() {
        let want = golden["losses"][i].as_f64().unwrap();
        assert!((loss - want).abs() < 1e-3, "step {i}: {loss} and {want}");
    }
    let finals = SafeTensors::deserialize(&finals).unwrap();
    let numbers = model.adapter().unwrap().parameters().to_vec().unwrap();
    let mut compared = 0;
    for matrix in model.adapter().unwrap().matrices() {
        let key = format!("loraplus.final.base_model.model.{}", matrix.name);
        let Ok(want) = finals.tensor(&key) else {
            continue;
        };
        let want = want
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        let off = want
            .zip(&numbers[matrix.offset..])
            .map(|(w, g)| (w - g).abs());
        let greatest = off.fold(0.0, f32::max);
        assert!(greatest < 1e-3, "{key}: differs by {greatest}");
        compared += 1;
    }
    assert_eq!(compared, 2, "A and B of one projection");
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
    model.begin(adapter, &base(name)).unwrap();
    model
}

#[test]
fn resume_equals_uninterrupted_for_every_method_and_two_rates() {
    let kinds = [OptimizerKind::AdamW, OptimizerKind::PagedAdamW8bit];
    for method in ["dora", "pissa", "bias", "whole", "rows", "ia3"] {
        for kind in kinds {
            let mut plan = plan_with(kind, 7);
            plan.optimizer.faster = Some(4.0);
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
    assert!(matches!(error, Err(TrainError::NotBegun)));
}
