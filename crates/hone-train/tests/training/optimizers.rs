//! What optimizers keep, and how.

use super::*;

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
