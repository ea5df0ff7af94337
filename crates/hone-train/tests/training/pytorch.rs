//! Steps against those of PyTorch and PEFT.

use super::*;

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
            lora_plus_ratio: golden["ratio"].as_f64(),
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
