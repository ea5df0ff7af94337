//! The library as an outside program uses it: its own loop, runs that stop and resume, and what it refuses.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use hone_finetune::base::BaseError;
use hone_finetune::{
    AdamWConfig, Batch, BatchError, Control, Conversation, Device, Encoding, Event, FineTuneError,
    GenerateOptions, LoadOptions, LoraConfig, OptimizerError, PeftModel, Record, ReplyEnd, Role,
    SaveDtype, Target, TrainEnd, Trainer, TrainerConfig, Turn, get_peft_model, load_base,
    open_base, pack, plan,
};
use proptest::prelude::*;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(path)
}

fn base() -> hone_finetune::BaseModel {
    let options = LoadOptions {
        threads: Some(1),
        max_length: 64,
        ..LoadOptions::default()
    };
    load_base(fixture("models/tiny-llama-tied"), options).unwrap()
}

fn rows(count: usize) -> Vec<Record> {
    let row = |row: usize| {
        let (way, place) = (row % 4, row % 2);
        let question = Turn::new(Role::User, format!("Which way, {way}?"));
        let answer = Turn::new(Role::Assistant, format!("Up the hill {place}."));
        Record::from(Conversation::new([question, answer]))
    };
    (0..count).map(row).collect()
}

/// A model with a fresh adapter, and rows for it.
fn model(dropout: f32, count: usize) -> (PeftModel, Encoding) {
    let base = base();
    let examples = base.encode(&rows(count)).unwrap();
    let lora = LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout,
        ..LoraConfig::default()
    };
    (get_peft_model(base, lora, 5).unwrap(), examples)
}

fn batch_of(examples: &Encoding) -> Batch {
    pack(&examples.examples.iter().collect::<Vec<_>>())
}

#[test]
fn dropout_masks_of_two_steps_and_of_two_batches_differ_and_those_of_one_do_not() {
    let (mut model, examples) = model(0.5, 4);
    let batch = batch_of(&examples);
    // Where B is zero, the loss does not see what A's inputs are.
    let mut optimizer = model.optimizer(AdamWConfig::default()).unwrap();
    let mut grads = model.gradients(0).unwrap();
    model.accumulate(&batch, 0, &mut grads).unwrap();
    optimizer.step(&mut model, &grads, 1e-2).unwrap();
    let mut loss = |step| model.accumulate(&batch, step, &mut grads).unwrap().nats;
    let (first, again, second) = (loss(1), loss(1), loss(2));
    assert!(
        first != second && first != again,
        "{first} {again} {second}"
    );
    assert_eq!(loss(1), first);
}

#[test]
fn a_loop_of_ones_own_gives_the_trainers_parameters_to_the_bit() {
    let config = TrainerConfig {
        epochs: 3.0,
        batch_size: 3,
        gradient_accumulation_steps: 2,
        lr: Some(1e-2),
        seed: 7,
        ..TrainerConfig::default()
    };
    let place = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(config, place.path().join("run"));
    let (mut trained, examples) = model(0.1, 8);
    let mut losses = Vec::new();
    trainer
        .train(&mut trained, &examples, None, |event| {
            if let Event::Stepped(step) = event {
                losses.push(step.loss);
            }
        })
        .unwrap();

    let (mut own, examples) = model(0.1, 8);
    let plan = trainer.training_plan(&own, &examples).unwrap();
    let mut optimizer = own.optimizer(plan.optimizer).unwrap();
    let mut grads = own.gradients(plan.seed).unwrap();
    for step in 0..plan.steps {
        for batch in plan.batches(&examples.examples, step).unwrap() {
            own.accumulate(&batch, step, &mut grads).unwrap();
        }
        assert_eq!(grads.loss().mean(), Some(losses[step]));
        optimizer
            .step(&mut own, &grads, plan.learning_rate.at(step))
            .unwrap();
    }
    assert_eq!((plan.steps, losses.len()), (9, 9));
    assert_eq!(own.parameters().unwrap(), trained.parameters().unwrap());
}

fn config(steps: f64) -> TrainerConfig {
    TrainerConfig {
        epochs: steps,
        batch_size: 8,
        lr: Some(5e-3),
        eval_steps: Some(2),
        save_steps: Some(2),
        ..TrainerConfig::default()
    }
}

#[test]
fn a_run_that_was_stopped_by_its_callback_or_from_elsewhere_resumes_to_the_same_bytes() {
    let place = tempfile::tempdir().unwrap();
    let file = |run: &str| {
        let adapter = place
            .path()
            .join(run)
            .join("last/adapter_model.safetensors");
        std::fs::read(adapter).unwrap()
    };
    let run = |out: &str| Trainer::new(config(7.0), place.path().join(out));
    let (mut whole, examples) = model(0.1, 8);
    let (_, valid) = model(0.0, 3);
    let trained = run("whole")
        .train(&mut whole, &examples, Some(&valid), |_| {})
        .unwrap();
    assert_eq!((trained.end, trained.steps), (TrainEnd::Finished, 7));

    let by_callback = run("callback");
    let (mut first, _) = model(0.1, 8);
    let stopped = by_callback
        .train(&mut first, &examples, Some(&valid), |event| match event {
            Event::Stepped(step) if step.step == 3 => Control::Stop,
            _ => Control::Continue,
        })
        .unwrap();
    assert_eq!((stopped.end, stopped.steps), (TrainEnd::Stopped, 3));
    assert!(stopped.train_loss.is_some() && stopped.supervised_tokens > 0);
    let (mut rest, _) = model(0.1, 8);
    let resumed = by_callback
        .resume()
        .train(&mut rest, &examples, Some(&valid), |_| {})
        .unwrap();
    assert_eq!((resumed.end, resumed.steps), (TrainEnd::Finished, 7));
    assert_eq!(resumed.train_loss, trained.train_loss);
    assert_eq!(rest.parameters().unwrap(), whole.parameters().unwrap());
    assert!(file("callback") == file("whole"));

    let from_elsewhere = run("elsewhere");
    let handle = from_elsewhere.stop_handle();
    let (tell, told) = channel();
    let other = std::thread::spawn(move || {
        told.recv().unwrap();
        handle.stop();
    });
    let (mut third, _) = model(0.1, 8);
    let mut tell = Some(tell);
    let mut other = Some(other);
    let stopped = from_elsewhere
        .train(&mut third, &examples, Some(&valid), |event| {
            if matches!(event, Event::Stepped(step) if step.step == 5) {
                tell.take().unwrap().send(()).unwrap();
                other.take().unwrap().join().unwrap();
            }
        })
        .unwrap();
    assert_eq!((stopped.end, stopped.steps), (TrainEnd::Stopped, 5));
}

#[test]
fn resuming_nothing_beginning_over_a_run_and_other_settings_are_errors_that_say_so() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("run");
    let (mut model, examples) = model(0.0, 8);
    let mut train = |config: TrainerConfig, resume: bool| {
        let trainer = Trainer::new(config, &out);
        let trainer = if resume { trainer.resume() } else { trainer };
        trainer.train(&mut model, &examples, None, |_| {})
    };
    let error = train(config(3.0), true).unwrap_err();
    assert!(
        matches!(error, FineTuneError::NothingToResume { .. }),
        "{error}"
    );
    train(config(3.0), false).unwrap();
    let error = train(config(3.0), false).unwrap_err();
    assert!(matches!(error, FineTuneError::RunExists { .. }), "{error}");
    let error = train(config(6.0), true).unwrap_err();
    let FineTuneError::ChangedOnResume { changed } = &error else {
        panic!("{error}")
    };
    assert!(changed.iter().any(|name| name == "steps"), "{changed:?}");
    assert!(error.hints()[0].contains("in a new directory"));
    let moved = TrainerConfig {
        save_steps: Some(1),
        save_dtype: SaveDtype::Bf16,
        kept_layers: Some(0),
        ..config(3.0)
    };
    assert_eq!(train(moved, true).unwrap().steps, 3);
}

#[test]
fn the_default_run_of_eight_rows_learns_something_and_its_plan_says_that_it_is_short() {
    let place = tempfile::tempdir().unwrap();
    let (mut model, examples) = model(0.0, 8);
    let before = model.evaluate(&examples).unwrap();
    let trainer = Trainer::new(TrainerConfig::default(), place.path().join("run"));
    let trained = trainer.train(&mut model, &examples, None, |_| {}).unwrap();
    let after = model.evaluate(&examples).unwrap();
    assert!(trained.steps == 1 && after < before, "{before} {after}");
    let files = open_base(fixture("models/tiny-llama-tied"), LoadOptions::default()).unwrap();
    let lengths: Vec<usize> = examples.examples.iter().map(|e| e.ids.len()).collect();
    let run = plan(
        &files,
        &LoraConfig::default(),
        &TrainerConfig::default(),
        &lengths,
    )
    .unwrap();
    assert!(
        run.remarks()[0].starts_with("1 optimizer steps"),
        "{:?}",
        run.remarks()
    );
}

#[test]
fn a_plan_bounds_what_the_run_takes_before_a_weight_is_loaded() {
    let (mut model, examples) = model(0.0, 8);
    let files = open_base(fixture("models/tiny-llama-tied"), LoadOptions::default()).unwrap();
    let lengths: Vec<usize> = examples.examples.iter().map(|e| e.ids.len()).collect();
    let lora = model.model().adapter().unwrap().config().clone();
    let planned = plan(&files, &lora, &config(2.0), &lengths).unwrap();
    assert_eq!(
        planned.trainable_parameters,
        model.num_parameters().unwrap().0
    );
    assert_eq!((planned.training.steps, planned.steps_per_epoch), (2, 1));
    let place = tempfile::tempdir().unwrap();
    let device = model.model().device().clone();
    device.reset_peak();
    let trainer = Trainer::new(config(2.0), place.path().join("run"));
    trainer.train(&mut model, &examples, None, |_| {}).unwrap();
    let taken = device.memory().peak_bytes;
    let bound = planned.step_bytes + planned.optimizer_bytes;
    assert!(taken <= bound && bound < 4 * taken, "{taken} of {bound}");

    for (lengths, what) in [
        (vec![], "NoExamples"),
        (vec![1], "a length"),
        (vec![5000], "TooLong"),
    ] {
        let error = plan(&files, &lora, &config(1.0), &lengths).unwrap_err();
        assert!(format!("{error:?}").contains(what), "{error:?}");
    }
}

#[test]
fn every_setting_out_of_its_range_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (mut model, examples) = model(0.0, 2);
    let fine = TrainerConfig::default();
    let adamw = |optimizer| TrainerConfig {
        optimizer,
        ..fine.clone()
    };
    let optimizer = fine.optimizer;
    let epochs = |epochs| TrainerConfig {
        epochs,
        ..fine.clone()
    };
    let lr = |lr| TrainerConfig {
        lr: Some(lr),
        ..fine.clone()
    };
    for (config, name) in [
        (epochs(f64::NAN), "epochs"),
        (epochs(-1.0), "epochs"),
        (epochs(0.0), "epochs"),
        (epochs(f64::INFINITY), "epochs"),
        (epochs(1e30), "steps"),
        (lr(-1.0), "lr"),
        (lr(0.0), "lr"),
        (lr(f32::NAN), "lr"),
        (lr(f32::INFINITY), "lr"),
        (
            TrainerConfig {
                warmup_ratio: 1.5,
                ..fine.clone()
            },
            "warmup_ratio",
        ),
        (
            TrainerConfig {
                warmup_ratio: f64::NAN,
                ..fine.clone()
            },
            "warmup_ratio",
        ),
        (
            TrainerConfig {
                batch_size: 0,
                ..fine.clone()
            },
            "batch_size",
        ),
        (
            TrainerConfig {
                gradient_accumulation_steps: 0,
                ..fine.clone()
            },
            "gradient_accumulation_steps",
        ),
        (
            TrainerConfig {
                eval_steps: Some(0),
                ..fine.clone()
            },
            "eval_steps",
        ),
        (
            TrainerConfig {
                save_steps: Some(0),
                ..fine.clone()
            },
            "save_steps",
        ),
        (
            TrainerConfig {
                kept_layers: Some(3),
                ..fine.clone()
            },
            "kept_layers",
        ),
        (
            adamw(AdamWConfig {
                beta1: 2.0,
                ..optimizer
            }),
            "beta1",
        ),
        (
            adamw(AdamWConfig {
                beta2: -0.1,
                ..optimizer
            }),
            "beta2",
        ),
        (
            adamw(AdamWConfig {
                eps: 0.0,
                ..optimizer
            }),
            "eps",
        ),
        (
            adamw(AdamWConfig {
                weight_decay: f64::NAN,
                ..optimizer
            }),
            "weight_decay",
        ),
        (
            adamw(AdamWConfig {
                clip: -1.0,
                ..optimizer
            }),
            "clip",
        ),
    ] {
        let trainer = Trainer::new(config, place.path().join("run"));
        let error = trainer
            .train(&mut model, &examples, None, |_| {})
            .unwrap_err();
        let FineTuneError::Setting(setting) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(setting.name, name);
    }
    assert!(!place.path().join("run").exists(), "nothing was written");
}

#[test]
fn batches_that_the_engine_would_not_be_safe_with_are_refused() {
    let (model, examples) = model(0.0, 2);
    let fine = batch_of(&examples);
    let mut grads = model.gradients(0).unwrap();
    let mut refused = |change: &dyn Fn(&mut Batch)| {
        let mut batch = fine.clone();
        change(&mut batch);
        let error = model.accumulate(&batch, 0, &mut grads).unwrap_err();
        assert!(model.loss(&batch).is_err());
        match error {
            FineTuneError::Batch(error) => error,
            other => panic!("{other:?}"),
        }
    };
    let target = |row, token, weight| Target { row, token, weight };
    assert!(matches!(
        refused(&|b| *b = Batch::default()),
        BatchError::Empty { .. }
    ));
    assert!(matches!(
        refused(&|b| b.targets.clear()),
        BatchError::Empty { .. }
    ));
    assert!(matches!(
        refused(&|b| b.ids[0] = 300),
        BatchError::UnknownToken { id: 300, .. }
    ));
    assert!(matches!(
        refused(&|b| b.targets[0].token = 900),
        BatchError::UnknownToken { .. }
    ));
    let contradictions: [&dyn Fn(&mut Batch); 7] = [
        &|b| b.boundaries.clear(),
        &|b| b.boundaries.push(1),
        &|b| b.boundaries[1] = 0,
        &|b| b.targets.push(target(0, 1, 1.0)),
        &|b| b.targets.push(target(10_000, 1, 1.0)),
        &|b| b.targets[0].weight = f32::NAN,
        &|b| b.targets[0].weight = -1.0,
    ];
    for change in contradictions {
        assert!(matches!(refused(change), BatchError::Contradicts { .. }));
    }
    let long = |b: &mut Batch| {
        (b.ids, b.boundaries) = (vec![1; 65], vec![0, 65]);
        b.targets = vec![target(3, 1, 1.0)];
    };
    assert_eq!(
        refused(&long),
        BatchError::TooLong {
            tokens: 65,
            limit: 64
        }
    );
    model.accumulate(&fine, 0, &mut grads).unwrap();
}

#[test]
fn examples_that_were_put_together_wrongly_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let (mut model, examples) = model(0.0, 2);
    let changes: [&dyn Fn(&mut hone_finetune::Example); 4] = [
        &|example| example.supervised.push(true),
        &|example| example.supervised.fill(false),
        &|example| (example.ids, example.supervised) = (vec![], vec![]),
        &|example| example.ids[0] = 1 << 30,
    ];
    for change in changes {
        let mut wrong = model.encode(&rows(2)).unwrap();
        change(&mut wrong.examples[1]);
        let trainer = Trainer::new(TrainerConfig::default(), place.path().join("run"));
        let error = trainer.train(&mut model, &wrong, None, |_| {}).unwrap_err();
        assert!(matches!(error, FineTuneError::Train(_)), "{error:?}");
    }
    let mut valid = model.encode(&rows(1)).unwrap();
    valid.examples[0].task = 9;
    let trainer = Trainer::new(TrainerConfig::default(), place.path().join("run"));
    let error = trainer
        .train(&mut model, &examples, Some(&valid), |_| {})
        .unwrap_err();
    assert!(
        error.to_string().contains("a task that has a name"),
        "{error}"
    );
}

#[test]
fn what_belongs_to_another_adapter_or_was_done_already_is_refused() {
    let (mut model, examples) = model(0.0, 4);
    let batch = batch_of(&examples);
    let mut optimizer = model.optimizer(AdamWConfig::default()).unwrap();
    let mut grads = model.gradients(0).unwrap();
    let error = optimizer.step(&mut model, &grads, 1e-3).unwrap_err();
    assert!(
        matches!(error, FineTuneError::Optimizer(OptimizerError::NoTokens)),
        "{error}"
    );
    model.accumulate(&batch, 0, &mut grads).unwrap();
    let error = optimizer.step(&mut model, &grads, f32::NAN).unwrap_err();
    assert!(error.to_string().starts_with("lr is NaN"), "{error}");
    optimizer.step(&mut model, &grads, 1e-3).unwrap();
    let error = optimizer.step(&mut model, &grads, 1e-3).unwrap_err();
    assert!(
        matches!(error, FineTuneError::StepTaken { step: 0 }),
        "{error}"
    );

    let saved = tempfile::tempdir().unwrap();
    model.save_adapter(saved.path(), SaveDtype::F32).unwrap();
    let taken = model.add_adapter("default", saved.path()).unwrap_err();
    assert!(matches!(taken, FineTuneError::NameTaken { .. }), "{taken}");
    model.add_adapter("other", saved.path()).unwrap();
    model.set_adapters(&[("other", 1.0)]).unwrap();
    let error = model.accumulate(&batch, 1, &mut grads).unwrap_err();
    assert!(
        matches!(error, FineTuneError::OtherAdapter { .. }),
        "{error}"
    );
    let mut of_other = model.gradients(0).unwrap();
    model.accumulate(&batch, 1, &mut of_other).unwrap();
    let error = optimizer.step(&mut model, &of_other, 1e-3).unwrap_err();
    assert!(
        matches!(error, FineTuneError::OtherAdapter { .. }),
        "{error}"
    );
    model
        .set_adapters(&[("default", 0.5), ("other", 0.5)])
        .unwrap();
    let error = model.gradients(0).unwrap_err();
    assert!(matches!(error, FineTuneError::NotOneAdapter), "{error}");
    model.remove_adapter("other").unwrap();
    assert!(model.remove_adapter("other").is_err());
    assert!(model.restore(&[1.0]).is_err());
}

#[test]
fn a_reply_comes_piece_by_piece_and_ends_where_it_is_asked_to() {
    let base = base();
    let conversation = Conversation::new([Turn::new(Role::User, "Which way is north?")]);
    let options = GenerateOptions {
        max_new_tokens: 12,
        ..GenerateOptions::default()
    };
    let mut pieces = Vec::new();
    let reply = base.generate(&conversation, &options, |piece| {
        pieces.push(piece.to_owned())
    });
    let reply = reply.unwrap();
    assert_eq!(pieces.concat(), reply.text);
    assert!(pieces.len() > 1, "{pieces:?}");
    let sampled = |seed| {
        let options = GenerateOptions {
            temperature: 1.5,
            seed,
            ..options.clone()
        };
        base.generate(&conversation, &options, |_| {}).unwrap().text
    };
    assert_eq!(sampled(1), sampled(1));
    assert!((2..9).any(|seed| sampled(seed) != sampled(1)));
    let stop = reply.text.chars().nth(2).unwrap().to_string();
    let cut = GenerateOptions {
        stop: vec![stop.clone()],
        ..options.clone()
    };
    let cut = base.generate(&conversation, &cut, |_| {}).unwrap();
    assert_eq!(cut.end, ReplyEnd::StopText);
    assert_eq!(Some(cut.text.as_str()), reply.text.split(&stop).next());
    let stopped = base
        .generate(&conversation, &options, |_| Control::Stop)
        .unwrap();
    assert_eq!(
        (stopped.end, stopped.tokens < reply.tokens),
        (ReplyEnd::Stopped, true)
    );
    let wrong = GenerateOptions {
        top_p: 2.0,
        ..options
    };
    let error = base.generate(&conversation, &wrong, |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("top_p is 2"), "{error}");
}

#[test]
fn a_base_merged_in_memory_is_another_base_and_answers_as_the_adapter_did() {
    let (mut model, examples) = model(0.0, 4);
    let batch = batch_of(&examples);
    let mut optimizer = model.optimizer(AdamWConfig::default()).unwrap();
    let mut grads = model.gradients(0).unwrap();
    for step in 0..3 {
        model.accumulate(&batch, step, &mut grads).unwrap();
        optimizer.step(&mut model, &grads, 1e-2).unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    let (before, after) = (place.path().join("before"), place.path().join("after"));
    model.save_adapter(&before, SaveDtype::F32).unwrap();
    let expected = model.loss(&batch).unwrap().nats;
    let merged = model.merge().unwrap();
    let found = merged.loss(&batch).unwrap().nats;
    assert!(
        (found - expected).abs() < 1e-3 * expected,
        "{found} {expected}"
    );
    // An adapter of the merged base is none of the base that it was made of.
    let again = get_peft_model(merged, LoraConfig::default(), 0).unwrap();
    again.save_adapter(&after, SaveDtype::F32).unwrap();
    assert!(base().load_adapter(&before).is_ok());
    let error = base().load_adapter(&after).unwrap_err();
    assert!(error.to_string().contains("base"), "{error}");
    let exists = again.save_merged(&before).unwrap_err();
    assert!(matches!(exists, FineTuneError::Exists { .. }), "{exists}");
}

#[test]
fn a_path_needs_no_home_and_a_name_asks_for_one() {
    let error = load_base("smollm2-135m-instruct", LoadOptions::default()).unwrap_err();
    assert!(
        matches!(error, FineTuneError::Base(BaseError::NoHome { .. })),
        "{error}"
    );
    let home = tempfile::tempdir().unwrap();
    let options = LoadOptions {
        home: Some(hone_finetune::Home::at(home.path())),
        ..LoadOptions::default()
    };
    let error = load_base("smollm2-135m-instruct", options).unwrap_err();
    assert!(
        matches!(error, FineTuneError::Base(BaseError::NotPulled { .. })),
        "{error}"
    );
    let both = LoadOptions {
        device: Some(Device::cpu(1).unwrap()),
        threads: Some(2),
        ..LoadOptions::default()
    };
    let error = load_base(fixture("models/tiny-llama-tied"), both).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("threads is 2, and must be left out"),
        "{error}"
    );
}

#[test]
fn rows_that_cannot_be_used_are_an_error_and_never_left_out() {
    let mut long = String::new();
    (0..200).for_each(|word| write!(long, "word{word} ").unwrap());
    let turns = [
        Turn::new(Role::User, long),
        Turn::new(Role::Assistant, "Yes."),
    ];
    let records = [rows(1), vec![Record::from(Conversation::new(turns))]].concat();
    let error = base().encode(&records).unwrap_err();
    let FineTuneError::Rows { rows } = error else {
        panic!("{error}")
    };
    assert_eq!(rows.len(), 1);
}

#[test]
fn what_people_hold_can_be_sent_to_other_threads() {
    fn is_sent<T: Send + Sync + std::fmt::Debug>() {}
    is_sent::<hone_finetune::BaseFiles>();
    is_sent::<hone_finetune::BaseModel>();
    is_sent::<PeftModel>();
    is_sent::<Trainer>();
    is_sent::<hone_finetune::StopHandle>();
    is_sent::<hone_finetune::Optimizer>();
    is_sent::<hone_finetune::Gradients>();
    is_sent::<hone_finetune::RunPlan>();
    is_sent::<FineTuneError>();
}

/// A number of a kind that people write by mistake, or one that is right.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => 1e-4..2.0f64,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 0.0, 1e30, 1e-40, f64::MAX]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_asked_of_a_run_it_is_refused_or_ends_in_finite_parameters(
        (lr, epochs, warmup_ratio) in (number(), number(), number()),
        (beta1, beta2, eps, weight_decay, clip) in (number(), number(), number(), number(), number()),
        (batch_size, accumulate) in (0..4usize, 0..3usize),
    ) {
        let (mut model, examples) = model(0.0, 3);
        let place = tempfile::tempdir().unwrap();
        let optimizer = AdamWConfig { beta1, beta2, eps, weight_decay, clip: clip as f32, ..AdamWConfig::default() };
        let config = TrainerConfig {
            lr: Some(lr as f32),
            epochs,
            warmup_ratio,
            batch_size,
            gradient_accumulation_steps: accumulate,
            optimizer,
            ..TrainerConfig::default()
        };
        let trainer = Trainer::new(config, place.path().join("run"));
        if trainer.train(&mut model, &examples, None, |_| {}).is_ok() {
            prop_assert!(model.parameters().unwrap().iter().all(|number| number.is_finite()));
        }
    }

    #[test]
    fn whatever_a_batch_holds_it_is_refused_or_steps_to_finite_parameters(
        ids in prop::collection::vec(0..320u32, 0..40),
        cuts in prop::collection::vec(0..45usize, 0..4),
        targets in prop::collection::vec((0..45usize, 0..320u32, prop::sample::select(vec![1.0, 0.5, 0.0, -1.0, f32::NAN])), 0..6),
        is_sound: bool,
        lr in number(),
    ) {
        let (mut model, _) = model(0.0, 1);
        let mut batch = Batch { boundaries: cuts, ids, targets: vec![] };
        batch.targets.extend(targets.into_iter().map(|(row, token, weight)| Target { row, token, weight }));
        if is_sound {
            batch.boundaries.extend([0, batch.ids.len()]);
            batch.boundaries.sort_unstable();
            batch.boundaries.dedup();
            batch.targets.sort_by_key(|target| target.row);
            batch.targets.dedup_by_key(|target| target.row);
        }
        let mut grads = model.gradients(0).unwrap();
        let mut optimizer = model.optimizer(AdamWConfig::default()).unwrap();
        let stepped = model.accumulate(&batch, 0, &mut grads).and_then(|_| optimizer.step(&mut model, &grads, lr as f32));
        if stepped.is_ok() {
            prop_assert!(model.parameters().unwrap().iter().all(|number| number.is_finite()));
        }
    }
}
