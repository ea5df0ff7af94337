//! Adapters that are switched, stacked, written as others and combined with what they cannot be.

use super::*;

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
        for (path, pair) in AdapterWeights::read(&dir, None).unwrap().pairs {
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
        assert!(AdapterWeights::repaired(&raw, &check, None).is_err());
        let parts = AdapterWeights::repaired(&raw, &check, Some(&base("untied"))).unwrap();
        let found = with_parts("untied", &parts);
        let difference = greatest_difference(&found, &expected);
        assert!(difference < 1e-4, "{init}: {difference}");
    }
}

/// Logits of a base with the adapter that these parts are.
fn with_parts(name: &str, parts: &AdapterWeights) -> Vec<f32> {
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
    let parts = AdapterWeights::read(&dir, None).unwrap();
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
