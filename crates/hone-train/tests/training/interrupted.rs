//! Runs that are stopped, killed or damaged, and go on.

use super::*;

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
        Event::StoppedEarly(_) | Event::Saved { .. } | Event::Resumed(_) => {}
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
