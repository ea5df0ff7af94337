//! What a run watches while it goes: divergence from the base, samples of the validation set, patience.

use super::*;
use hone_data::pack;
use hone_model::{Generation, Sampling};
use hone_train::{StoppedEarly, Validation, with_packed};

/// A model whose adapter is not what it began as.
fn moved(by: f32) -> Model {
    let mut model = fresh(1, 0.0);
    let device = model.device().clone();
    let adapter = model.adapter_mut().unwrap();
    let mut numbers = adapter.parameters().to_vec().unwrap();
    let mut stream = Seed::new(9).stream();
    numbers
        .iter_mut()
        .for_each(|number| *number += by * (stream.unit_f32() - 0.5));
    device.write(&numbers, adapter.parameters_mut());
    model
}

/// Shares of the vocabulary after each token.
fn shares(model: &Model, ids: &[u32]) -> Vec<Vec<f64>> {
    let logits = model.logits(ids).unwrap();
    let rows = logits.chunks(logits.len() / ids.len());
    let share = |row: &[f32]| {
        let powers: Vec<f64> = row.iter().map(|x| f64::from(*x).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    };
    rows.map(share).collect()
}

#[test]
fn divergence_is_what_a_loop_over_all_logits_finds() {
    let mut model = moved(0.3);
    let examples = examples(3, 4);
    let batch = pack(&examples.iter().collect::<Vec<_>>());
    let watched = [0, 1, batch.boundaries[1] + 1, batch.boundaries[2]];
    let (nats, divergence) = with_packed(&batch, |packed| {
        let base = model.base_hidden(packed, &watched).unwrap();
        model.nats_and_divergence(packed, &watched, &base).unwrap()
    });
    let alone = with_packed(&batch, |packed| model.nats(packed)).unwrap();
    assert_eq!(nats, alone, "the loss is the same beside it");

    let tuned: Vec<_> = examples
        .iter()
        .map(|row| shares(&model, &row.ids))
        .collect();
    let tuned = tuned.concat();
    model.detach();
    let base: Vec<_> = examples
        .iter()
        .map(|row| shares(&model, &row.ids))
        .collect();
    let base = base.concat();
    for (&at, divergence) in watched.iter().zip(divergence) {
        let pairs = tuned[at].iter().zip(&base[at]);
        let by_loop: f64 = pairs.map(|(p, q)| p * (p / q).ln()).sum();
        assert!(by_loop > 1e-4, "the adapter moved something: {by_loop}");
        assert!(
            (divergence - by_loop).abs() < 1e-5 * (1.0 + by_loop),
            "{divergence} and {by_loop}"
        );
    }
}

#[test]
fn an_adapter_that_changes_nothing_has_moved_nothing() {
    let (model, valid, tasks) = (fresh(2, 0.0), examples(30, 2), tasks());
    let data = Data {
        train: &valid,
        valid: &valid,
        tasks: &tasks,
    };
    let divergence = |model: &Model| {
        let mut validation = Validation::new(data, &plan(3));
        validation.read_base(model, &mut |_, _| {}).unwrap();
        validation.look(model, &mut |_, _| {}).unwrap().divergence
    };
    assert_eq!(divergence(&model), Some(0.0));
    assert!(divergence(&moved(0.3)).unwrap() > 1e-4);
}

#[test]
fn the_most_likely_tokens_are_those_that_greedy_decoding_writes() {
    let model = moved(0.3);
    let prompt: Vec<u32> = (5..20).collect();
    let settings = Generation {
        max_new_tokens: 12,
        stop_ids: vec![],
        sampling: Sampling::GREEDY,
    };
    let written = model.generate_many(std::slice::from_ref(&prompt), &settings, 1, |_, _| {});
    let written = written.unwrap().remove(0).ids;
    let ids = [&prompt[..], &written].concat();
    let example = Example {
        supervised: (0..ids.len()).map(|at| at >= prompt.len()).collect(),
        ids,
        task: 0,
        row: 0,
    };
    let batch = pack(&[&example]);
    let likely = with_packed(&batch, |packed| model.most_likely(packed)).unwrap();
    assert_eq!(likely, written);
}

/// A run that soon gets worse: it learns one thing and is judged by another.
fn overtrain(
    dir: &Path,
    resume: bool,
    signal: &StopSignal,
    patience: Option<usize>,
) -> (Vec<Event>, Outcome) {
    let (train_set, valid_set, tasks) = (examples(6, 1), examples(8, 7), tasks());
    let data = Data {
        train: &train_set,
        valid: &valid_set,
        tasks: &tasks,
    };
    let plan = TrainingPlan {
        eval_every: 2,
        save_every: 3,
        eval_rows: Some(5),
        patience,
        min_improvement: 0.01,
        learning_rate: LearningRate::new(1e-1, Schedule::Constant, 0.0, 40),
        ..plan(40)
    };
    let mut events = Vec::new();
    let mut sink = |event: &Event| events.push(event.clone());
    let mut model = fresh(1, 0.0);
    let dir = run_dir(dir);
    let outcome = train(&mut model, data, &plan, &dir, resume, &mut sink, signal).unwrap();
    (events, outcome)
}

fn stopped_early(events: &[Event]) -> Option<&StoppedEarly> {
    events.iter().find_map(|event| match event {
        Event::StoppedEarly(stopped) => Some(stopped),
        _ => None,
    })
}

#[test]
fn a_run_without_patience_left_ends_and_keeps_its_best() {
    let dir = tempfile::tempdir().unwrap();
    let (events, outcome) = overtrain(dir.path(), false, &StopSignal::never(), Some(3));
    let Outcome::Finished(finished) = outcome else {
        panic!("not finished")
    };
    let stopped = stopped_early(&events).expect("it stops early");
    let looks: Vec<(usize, f64, usize)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Validated(look) => Some((look.step, look.loss, look.rows)),
            _ => None,
        })
        .collect();
    assert!(looks.iter().all(|(_, _, rows)| *rows == 5));
    let last_three = &looks[looks.len() - 3..];
    assert!(
        last_three
            .iter()
            .all(|(_, loss, _)| *loss >= stopped.to_beat - 0.01)
    );
    assert_eq!(
        (finished.steps, stopped.step, stopped.waited),
        (looks.last().unwrap().0, finished.steps, 3)
    );
    assert!(finished.steps < 40);
    let best = looks.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!((stopped.best_step, stopped.best_loss), (best.0, best.1));
    assert_eq!(finished.totals.best_step, best.0);
    let words = stopped.to_string();
    assert!(
        words.contains("the last validations (3) were not below"),
        "{words}"
    );

    let patient = tempfile::tempdir().unwrap();
    let (events, _) = overtrain(patient.path(), false, &StopSignal::never(), None);
    assert_eq!(stopped_early(&events), None);
}

#[test]
fn a_run_that_stops_early_ends_the_same_however_often_it_was_stopped() {
    let whole = tempfile::tempdir().unwrap();
    let (events, outcome) = overtrain(whole.path(), false, &StopSignal::never(), Some(2));
    let numbers = |events: &[Event]| -> Vec<String> {
        let number = |event: &Event| match event {
            Event::Stepped(stepped) => Some(format!("{} {}", stepped.step, stepped.loss)),
            Event::Validated(look) => {
                Some(format!("{} {} {:?}", look.step, look.loss, look.divergence))
            }
            Event::StoppedEarly(stopped) => Some(stopped.to_string()),
            Event::Saved { .. } | Event::Resumed(_) => None,
        };
        events.iter().filter_map(number).collect()
    };
    for patience in [23, 61, 140] {
        let dir = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        let mut resume = false;
        let last = loop {
            let left = AtomicUsize::new(patience);
            let take = move || {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            };
            let signal = StopSignal::new(move || take().is_err());
            let (part, outcome) = overtrain(dir.path(), resume, &signal, Some(2));
            told.extend(numbers(&part));
            resume = true;
            if let Outcome::Finished(finished) = outcome {
                break finished;
            }
        };
        let Outcome::Finished(finished) = &outcome else {
            panic!("not finished")
        };
        assert_eq!(last.steps, finished.steps);
        assert_eq!(
            told,
            numbers(&events),
            "stopped after every {patience} questions"
        );
        assert!(adapters(dir.path()) == adapters(whole.path()));
    }
}

#[test]
fn a_validation_says_how_far_it_is() {
    struct Heard(Vec<(usize, usize, usize)>);
    impl hone_train::Sink for Heard {
        fn emit(&mut self, _: &Event) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Ok(())
        }
        fn validating(&mut self, step: usize, done: usize, total: usize) {
            self.0.push((step, done, total));
        }
    }
    let (set, tasks) = (examples(6, 1), tasks());
    let data = Data {
        train: &set,
        valid: &set,
        tasks: &tasks,
    };
    let dir = tempfile::tempdir().unwrap();
    let mut heard = Heard(vec![]);
    let stop = StopSignal::never();
    let mut model = fresh(1, 0.0);
    train(
        &mut model,
        data,
        &plan(2),
        &run_dir(dir.path()),
        false,
        &mut heard,
        &stop,
    )
    .unwrap();
    // The base first, then the untouched adapter and the one after the last step; a pack for each task.
    let once = |step| [(step, 3, 6), (step, 6, 6)];
    assert_eq!(heard.0, [once(0), once(0), once(2)].concat());
}
