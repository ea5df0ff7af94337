//! What adapters start from, against PEFT: PiSSA, OLoRA, LoftQ, and the lengths of DoRA.

use super::*;

#[test]
fn starts_equal_those_of_peft() {
    for (start, initial) in [("pissa", Initial::Pissa), ("olora", Initial::Olora)] {
        let mut model = load("untied", 1);
        let config = LoraConfig {
            rank: 4,
            alpha: 16.0,
            initial,
            ..LoraConfig::default()
        };
        fresh(&mut model, "untied", config);
        let adapter = model.adapter().unwrap();
        let (numbers, matrices) = (adapter.parameters().to_vec().unwrap(), adapter.matrices());
        for site in ["layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"] {
            let half = |half: &str| {
                let name = format!("model.{site}.{half}.weight");
                let matrix = matrices.iter().find(|m| m.name == name).unwrap();
                let ours = numbers[matrix.offset..][..matrix.size()].to_vec();
                let pefts = floats("methods", &format!("initial.{start}.{site}.{half}"));
                (ours, pefts, matrix.rows, matrix.cols)
            };
            let (a, peft_a, rank, width) = half("lora_A");
            let (b, peft_b, out, _) = half("lora_B");
            // A vector and its partner may both change their sign.
            for r in 0..rank {
                let row = |a: &[f32]| a[r * width..][..width].to_vec();
                let column = |b: &[f32]| (0..out).map(|o| b[o * rank + r]).collect::<Vec<f32>>();
                let sign: f32 = row(&a).iter().zip(row(&peft_a)).map(|(x, y)| x * y).sum();
                for (ours, pefts) in [(row(&a), row(&peft_a)), (column(&b), column(&peft_b))] {
                    let turned: Vec<f32> = ours.iter().map(|x| x * sign.signum()).collect();
                    let scale = pefts.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                    let difference = greatest_difference(&turned, &pefts) / scale;
                    assert!(difference < 1e-4, "{start} {site} {r}: {difference}");
                }
            }
        }
    }
}

#[test]
fn a_search_finds_at_least_what_pefts_finds() {
    let site = "layers.1.mlp.down_proj";
    let mut model = load("untied", 1);
    let config = LoraConfig {
        rank: 4,
        alpha: 16.0,
        initial: Initial::PissaRounds(16),
        ..LoraConfig::default()
    };
    fresh(&mut model, "untied", config);
    let matrix = base("untied")
        .matrix(&format!("model.{site}.weight"))
        .unwrap();
    let (w, width) = (matrix.to_f32(), matrix.cols());
    let left = |a: &[f32], b: &[f32]| -> f64 {
        let rank = a.len() / width;
        let residual = |i: usize| {
            let (row, col) = (i / width, i % width);
            let product = |r| f64::from(b[row * rank + r]) * f64::from(a[r * width + col]);
            f64::from(w[i]) - 4.0 * (0..rank).map(product).sum::<f64>()
        };
        (0..w.len())
            .map(|i| residual(i).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let adapter = model.adapter().unwrap();
    let numbers = adapter.parameters().to_vec().unwrap();
    let ours = |half: &str| {
        let name = format!("model.{site}.{half}.weight");
        let matrix = adapter
            .matrices()
            .into_iter()
            .find(|m| m.name == name)
            .unwrap();
        numbers[matrix.offset..][..matrix.size()].to_vec()
    };
    let pefts = |start: &str, half| floats("methods", &format!("initial.{start}.{site}.{half}"));
    let found = left(&ours("lora_A"), &ours("lora_B"));
    let best = left(&pefts("pissa", "lora_A"), &pefts("pissa", "lora_B"));
    let peft_found = left(&pefts("niter", "lora_A"), &pefts("niter", "lora_B"));
    assert!(
        found <= peft_found + 1e-6,
        "{found} is left, {peft_found} by PEFT"
    );
    assert!(found < best * 1.001, "{found} is left, {best} at best");
}

#[test]
fn loftq_makes_up_for_what_nf4_takes_away() {
    let exact = load("untied", 1).logits(&ids(2)).unwrap();
    let device = Device::cpu(1).unwrap();
    let logits = |rank: Option<usize>| {
        let mut model = Model::load(&base("untied"), &device, BaseFormat::Nf4, 64).unwrap();
        if let Some(rank) = rank {
            let config = LoraConfig {
                rank,
                alpha: 16.0,
                initial: Initial::Loftq,
                ..LoraConfig::default()
            };
            fresh(&mut model, "untied", config);
        }
        model.logits(&ids(2)).unwrap()
    };
    let off = |rank| greatest_difference(&exact, &logits(rank));
    let (none, some, all) = (off(None), off(Some(8)), off(Some(32)));
    assert!(some < 0.8 * none, "{none} without, {some} with rank 8");
    // Of the full rank nothing of the loss is left.
    assert!(all < 1e-4 && none > 0.01, "{none} without, {all} with all");

    let mut model = load("untied", 1);
    let config = LoraConfig {
        initial: Initial::Loftq,
        ..LoraConfig::default()
    };
    let adapter = Adapter::new(config, model.config(), model.device(), Seed::new(1)).unwrap();
    let error = model.init_and_attach(adapter, &base("untied")).unwrap_err();
    assert!(error.hints()[0].contains("qlora"), "{error}");
}

/// A matrix of the untied base as numbers, in the form it is held in.
fn held(name: &str, format: BaseFormat) -> Vec<f32> {
    let matrix = base("untied").matrix(name).unwrap();
    match format {
        BaseFormat::Nf4 => nf4::quantize(&matrix.to_f32(), matrix.rows(), matrix.cols(), true)
            .unwrap()
            .to_f32(),
        _ => matrix.to_f32(),
    }
}

#[test]
fn lengths_of_rows_equal_those_of_the_dense_matrix() {
    for format in [BaseFormat::Stored, BaseFormat::Nf4] {
        let device = Device::cpu(1).unwrap();
        let mut model = Model::load(&base("untied"), &device, format, 64).unwrap();
        let config = LoraConfig {
            rank: 3,
            alpha: 24.0,
            dora: true,
            ..LoraConfig::default()
        };
        let adapter = Adapter::new(config, model.config(), &device, Seed::new(1)).unwrap();
        model.attach(adapter);
        disturb(&mut model);
        // Magnitudes that are the dense lengths leave the sum as it is.
        let adapter = model.adapter().unwrap();
        let matrices = adapter.matrices();
        let mut numbers = adapter.parameters().to_vec().unwrap();
        for (path, pair) in taken_apart(&model).pairs {
            let (out, width) = (pair.out, pair.width);
            let held = held(&format!("{path}.weight"), format);
            let product = product(&pair);
            let name = format!("{path}.lora_magnitude_vector");
            let place = matrices.iter().find(|m| m.name == name).unwrap().offset;
            for row in 0..out {
                let sum = |i: usize| f64::from(held[i]) + f64::from(product[i]);
                let square: f64 = (row * width..(row + 1) * width)
                    .map(|i| sum(i).powi(2))
                    .sum();
                numbers[place + row] = square.sqrt() as f32;
            }
        }
        device.write(&numbers, model.adapter_mut().unwrap().parameters_mut());
        let with_lengths = model.logits(&ids(2)).unwrap();
        // The same low-rank pairs without DoRA.
        let plain = LoraConfig {
            rank: 3,
            alpha: 24.0,
            ..LoraConfig::default()
        };
        let mut plain = Adapter::new(plain, model.config(), &device, Seed::new(1)).unwrap();
        let count = plain.num_parameters();
        device.write(&numbers[..count], plain.parameters_mut());
        model.attach(plain);
        let difference = greatest_difference(&with_lengths, &model.logits(&ids(2)).unwrap());
        assert!(
            difference < 2e-5,
            "{format:?}: logits differ by {difference}"
        );
    }
}
