//! A model with its adapter worked in answers as the model with its adapter beside it, whatever it is written as.

use std::path::{Path, PathBuf};

use hone_ledger::Seed;
use hone_model::export::{
    GgufKind, GgufMetadata, MergeDtype, read_gguf_adapter, read_mlx_adapter, write_gguf,
    write_gguf_adapter, write_mlx_adapter, write_safetensors,
};
use hone_model::weights::BaseWeights;
use hone_model::{
    AdapterFiles, AdapterWeights, BaseFormat, Combination, CombineError, CombineKind, LoraPair,
    MergeBase, Merged, Model, RawAdapter, SaveDtype, combine,
};
use hone_tensor::{Device, Format};
use safetensors::SafeTensors;

const IDS: [u32; 12] = [1, 40, 77, 5, 130, 21, 2, 8, 255, 99, 12, 64];

/// Every adapter of the fixtures, with its base.
const ADAPTERS: [(&str, &str); 23] = [
    ("tiny-llama-tied", "tiny-llama-tied"),
    ("tiny-llama-tied-rslora", "tiny-llama-tied"),
    ("tiny-llama-tied-qv", "tiny-llama-tied"),
    ("tiny-llama-untied", "tiny-llama-untied"),
    ("tiny-llama-untied-rslora", "tiny-llama-untied"),
    ("tiny-llama-untied-patterns", "tiny-llama-untied"),
    ("tiny-llama-untied", "tiny-llama.gguf"),
    ("tiny-llama-tied-dora", "tiny-llama-tied"),
    ("tiny-llama-bias-dora", "tiny-llama-bias"),
    ("tiny-llama-bias-all", "tiny-llama-bias"),
    ("tiny-llama-bias-own", "tiny-llama-bias"),
    ("tiny-llama-bias-ia3", "tiny-llama-bias"),
    ("tiny-llama-tied-ia3", "tiny-llama-tied"),
    ("tiny-llama-tied-rows", "tiny-llama-tied"),
    ("tiny-llama-untied-rows", "tiny-llama-untied"),
    ("tiny-llama-tied-embedding", "tiny-llama-tied"),
    ("tiny-llama-untied-head", "tiny-llama-untied"),
    ("tiny-llama-untied-saved", "tiny-llama-untied"),
    ("tiny-llama-untied-whole", "tiny-llama-untied"),
    ("tiny-llama-tied-grown", "tiny-llama-tied"),
    ("tiny-llama-untied-grown", "tiny-llama-untied"),
    ("tiny-llama-untied-grown", "tiny-llama.gguf"),
    ("tiny-llama-untied-grown-saved", "tiny-llama-untied"),
];

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(path)
}

fn base(name: &str) -> BaseWeights {
    BaseWeights::open(&fixture(&format!("models/{name}"))).unwrap()
}

/// A base with the tokens that an adapter brings, if any.
fn base_for(adapter: &str, name: &str) -> BaseWeights {
    let mut base = base(name);
    let raw = RawAdapter::read(&fixture(&format!("adapters/{adapter}"))).unwrap();
    if let Some(rows) = raw.new_rows(base.config(), base.config().vocab_size + 3) {
        base.grow(&rows).unwrap();
    }
    base
}

fn parts(name: &str) -> AdapterWeights {
    AdapterWeights::read(&fixture(&format!("adapters/{name}")), None).unwrap()
}

fn device() -> Device {
    Device::cpu(2).unwrap()
}

fn logits(base: &BaseWeights, format: BaseFormat, adapter: Option<&Path>) -> Vec<f32> {
    let mut model = Model::load(base, &device(), format, 64).unwrap();
    if let Some(dir) = adapter {
        let mut files = AdapterFiles::read(dir).unwrap();
        files.leave_out_copies(base);
        let adapter = files.into_adapter(model.config(), model.device()).unwrap();
        model.attach(adapter);
    }
    // Of a grown vocabulary it is a new token.
    let last = model.config().vocab_size as u32 - 1;
    let ids: Vec<u32> = IDS.into_iter().chain([last, 3]).collect();
    model.logits(&ids).unwrap()
}

/// As the engine computes it with the adapter beside the base.
fn expected(adapter: &str, base: &BaseWeights) -> Vec<f32> {
    logits(
        base,
        BaseFormat::Stored,
        Some(&fixture(&format!("adapters/{adapter}"))),
    )
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}

fn spread(a: &[f32]) -> f32 {
    a.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// Merged safetensors in a directory that can be opened.
fn written(
    merged: &Merged,
    dir: &Path,
    dtype: MergeDtype,
    max_shard: u64,
    config_of: &str,
) -> BaseWeights {
    write_safetensors(merged, dir, dtype, max_shard).unwrap();
    let config = std::fs::read(fixture(&format!("models/{config_of}/config.json"))).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["tie_word_embeddings"] = merged.config().tied_head.into();
    config["vocab_size"] = merged.config().vocab_size.into();
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    BaseWeights::open(dir).unwrap()
}

#[test]
fn merged_equals_base_plus_adapter() {
    for (adapter, model) in ADAPTERS {
        let base = base_for(adapter, model);
        let merged =
            Merged::new(&base, vec![parts(adapter)], MergeBase::Original, &device()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config_of = if model.ends_with(".gguf") {
            "tiny-llama-untied"
        } else {
            model
        };
        let there = written(&merged, dir.path(), MergeDtype::F32, u64::MAX, config_of);
        let (want, found) = (
            expected(adapter, &base),
            logits(&there, BaseFormat::Stored, None),
        );
        let apart = distance(&want, &found);
        assert!(
            apart < 2e-5 * spread(&want).max(1.0),
            "{adapter} on {model}: {apart}"
        );
        let moved = distance(&want, &logits(&base, BaseFormat::Stored, None));
        assert!(
            moved > 0.01,
            "{adapter} changes nothing, so this proves nothing"
        );
    }
}

#[test]
fn shards_keep_the_bytes_of_what_no_adapter_touches_and_their_type() {
    let base = base("tiny-llama-untied-sharded");
    let only_queries = AdapterWeights {
        pairs: parts("tiny-llama-untied")
            .pairs
            .into_iter()
            .filter(|(path, _)| path.ends_with("q_proj"))
            .collect(),
        ..AdapterWeights::default()
    };
    let merged = Merged::new(&base, vec![only_queries], MergeBase::Original, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let there = written(
        &merged,
        dir.path(),
        MergeDtype::Keep,
        20_000,
        "tiny-llama-untied-sharded",
    );
    assert!(dir.path().join("model.safetensors.index.json").is_file());
    for name in base.names() {
        let (before, after) = (base.matrix(name).unwrap(), there.matrix(name).unwrap());
        assert_eq!(after.format(), Format::Bf16, "{name}");
        assert_eq!(
            before.bytes() == after.bytes(),
            !name.contains("q_proj"),
            "{name}"
        );
    }
    // Rounded once, from the sum in f32: nothing is further away than half a unit of bf16.
    for residual in merged.residual(&there).unwrap() {
        assert!(residual.is_rounding(), "{residual:?}");
    }
}

#[test]
fn taking_the_adapter_out_of_another_model_leaves_more_than_rounding() {
    let base = base("tiny-llama-tied");
    let merged =
        |name| Merged::new(&base, vec![parts(name)], MergeBase::Original, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let there = written(
        &merged("tiny-llama-tied"),
        dir.path(),
        MergeDtype::F32,
        u64::MAX,
        "tiny-llama-tied",
    );
    let wrong = |name| {
        let residuals = merged(name).residual(&there).unwrap();
        residuals
            .iter()
            .filter(|residual| !residual.is_rounding())
            .count()
    };
    assert_eq!(wrong("tiny-llama-tied"), 0);
    // Another scale on all fourteen projections.
    assert_eq!(wrong("tiny-llama-tied-rslora"), 14);
}

#[test]
fn a_qlora_adapter_merges_into_the_base_that_it_was_trained_on() {
    let base = base("tiny-llama-untied");
    let adapter = fixture("adapters/tiny-llama-untied");
    let want = logits(&base, BaseFormat::Nf4, Some(&adapter));
    let merge = |kind| {
        let merged = Merged::new(&base, vec![parts("tiny-llama-untied")], kind, &device()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let there = written(
            &merged,
            dir.path(),
            MergeDtype::F32,
            u64::MAX,
            "tiny-llama-untied",
        );
        distance(&want, &logits(&there, BaseFormat::Stored, None))
    };
    let (right, wrong) = (merge(MergeBase::DequantisedNf4), merge(MergeBase::Original));
    assert!(right < 2e-5 * spread(&want), "{right}");
    assert!(wrong > 100.0 * right, "{wrong}");
}

#[test]
fn several_adapters_are_added_one_after_another() {
    let base = base("tiny-llama-tied");
    let names = ["tiny-llama-tied", "tiny-llama-tied-other"];
    let merged = Merged::new(
        &base,
        names.map(parts).into(),
        MergeBase::Original,
        &device(),
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let there = written(
        &merged,
        dir.path(),
        MergeDtype::F32,
        u64::MAX,
        "tiny-llama-tied",
    );
    let how = Combination {
        kind: CombineKind::Cat,
        weights: vec![1.0, 1.0],
        density: None,
        rank: None,
        seed: Seed::new(0),
    };
    let sum = combine(&names.map(parts), &how).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    sum.save(adapter.path(), SaveDtype::F32, &sum.paths())
        .unwrap();
    let want = logits(&base, BaseFormat::Stored, Some(adapter.path()));
    let apart = distance(&want, &logits(&there, BaseFormat::Stored, None));
    assert!(apart < 2e-5 * spread(&want), "{apart}");
}

#[test]
fn a_merged_gguf_is_the_merged_model() {
    for (adapter, model) in ADAPTERS {
        let base = base_for(adapter, model);
        let merged =
            Merged::new(&base, vec![parts(adapter)], MergeBase::Original, &device()).unwrap();
        let want = expected(adapter, &base);
        let dir = tempfile::tempdir().unwrap();
        for (kind, bound) in [
            ("f32", Some(2e-5)),
            ("f16", Some(2e-2)),
            ("bf16", Some(2e-1)),
            ("q8_0", None),
            ("q5_1", None),
            ("q4_0", None),
            ("q4_k_m", None),
        ] {
            let path = dir.path().join(format!("{kind}.gguf"));
            write_gguf(
                &merged,
                &path,
                kind.parse::<GgufKind>().unwrap(),
                GgufMetadata::default(),
            )
            .unwrap();
            let there = BaseWeights::open(&path).unwrap();
            let shape = merged.config().in_gguf();
            assert_eq!(shape.difference(there.config()), None, "{model} as {kind}");
            for residual in merged.residual(&there).unwrap() {
                assert!(
                    residual.is_rounding(),
                    "{adapter} on {model} as {kind}: {residual:?}"
                );
            }
            let apart = distance(&want, &logits(&there, BaseFormat::Stored, None));
            assert!(
                bound.is_none_or(|bound| apart < bound * spread(&want)),
                "{adapter} on {model} as {kind}: {apart} of {}",
                spread(&want)
            );
        }
    }
}

#[test]
fn biases_and_scaled_rotary_positions_go_through_gguf() {
    let base = base("tiny-llama-bias");
    let merged = Merged::new(&base, vec![], MergeBase::Original, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(
        &merged,
        &path,
        "f32".parse().unwrap(),
        GgufMetadata::default(),
    )
    .unwrap();
    let want = logits(&base, BaseFormat::Stored, None);
    let apart = distance(
        &want,
        &logits(&BaseWeights::open(&path).unwrap(), BaseFormat::Stored, None),
    );
    assert!(apart < 2e-5 * spread(&want), "{apart}");
}

#[test]
fn a_gguf_base_hands_its_metadata_over() {
    let base = base("tiny-llama.gguf");
    let merged = Merged::new(
        &base,
        vec![parts("tiny-llama-untied")],
        MergeBase::Original,
        &device(),
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(
        &merged,
        &path,
        "q8_0".parse().unwrap(),
        GgufMetadata::default(),
    )
    .unwrap();
    let there = BaseWeights::open(&path).unwrap();
    let (before, after) = (base.gguf().unwrap(), there.gguf().unwrap());
    for key in before.keys().filter(|key| {
        ![
            "general.file_type",
            "general.quantization_version",
            "general.alignment",
        ]
        .contains(key)
    }) {
        assert_eq!(before.get(key), after.get(key), "{key}");
    }
}

/// `scale · B A`, the only thing about a pair that anybody computes with.
fn product(pair: &LoraPair) -> Vec<f32> {
    let cell = |at: usize| {
        let (o, i) = (at / pair.width, at % pair.width);
        let terms = (0..pair.rank)
            .map(|r| f64::from(pair.b[o * pair.rank + r]) * f64::from(pair.a[r * pair.width + i]));
        (terms.sum::<f64>() * f64::from(pair.scale)) as f32
    };
    (0..pair.out * pair.width).map(cell).collect()
}

fn assert_same_products(found: &AdapterWeights, want: &AdapterWeights, what: &str) {
    assert!(found.pairs.keys().eq(want.pairs.keys()), "{what}");
    for (path, pair) in &want.pairs {
        let (x, y) = (product(&found.pairs[path]), product(pair));
        assert!(distance(&x, &y) <= 1e-6 * spread(&y), "{what}: {path}");
    }
}

#[test]
fn adapters_for_llama_cpp_and_mlx_have_the_same_products() {
    for (adapter, model) in ADAPTERS {
        let (base, parts) = (base_for(adapter, model), parts(adapter));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("adapter.gguf");
        if let Some(part) = parts.beyond_pairs() {
            let error = write_gguf_adapter(&parts, base.config(), "tiny", &path).unwrap_err();
            let message = format!("a GGUF adapter has no place for {part}");
            assert_eq!(error.to_string(), message, "{adapter}");
            continue;
        }
        write_gguf_adapter(&parts, base.config(), "tiny", &path).unwrap();
        assert_same_products(
            &read_gguf_adapter(&path, base.config()).unwrap(),
            &parts,
            adapter,
        );
        let written = write_mlx_adapter(&parts, base.config(), dir.path());
        if parts.pairs.contains_key("lm_head") {
            let message = "an MLX adapter has no place for `lm_head`, which is in no layer";
            assert_eq!(written.unwrap_err().to_string(), message);
            continue;
        }
        written.unwrap();
        assert_same_products(&read_mlx_adapter(dir.path()).unwrap(), &parts, adapter);
    }
}

#[test]
fn a_gguf_adapter_bakes_what_the_upstream_converter_passes_over() {
    let base = base("tiny-llama-untied");
    let parts = parts("tiny-llama-untied-rslora");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter.gguf");
    write_gguf_adapter(&parts, base.config(), "tiny", &path).unwrap();
    let gguf = hone_model::weights::Gguf::open(&path).unwrap();
    // alpha 16 and rank 4: 16 / √4 = 32 / 4, and llama.cpp divides by the rank.
    assert_eq!(gguf.f32("adapter.lora.alpha").unwrap(), Some(32.0));
    // Rows of q are interleaved, those of v are not.
    let rows = |name: &str| gguf.matrix(name).unwrap().unwrap().to_f32();
    let pair = |site: &str| &parts.pairs[&format!("model.layers.0.self_attn.{site}")];
    assert_eq!(rows("blk.0.attn_v.weight.lora_b"), pair("v_proj").b);
    let q = rows("blk.0.attn_q.weight.lora_b");
    assert_eq!(
        q[4..8],
        pair("q_proj").b[8 * 4..9 * 4],
        "row 1 of GGUF is row 8 of a head 16 wide"
    );
}

#[test]
fn combined_adapters_have_the_numbers_of_peft() {
    let bytes = std::fs::read(fixture("golden/combine.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| -> Vec<f32> {
        let view = golden.tensor(name).unwrap();
        view.data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    };
    let both = ["tiny-llama-tied", "tiny-llama-tied-other"].map(parts);
    for (kind, name, density) in [
        (CombineKind::Linear, "linear", None),
        (CombineKind::Cat, "cat", None),
        (CombineKind::Ties, "ties", Some(0.5)),
        (CombineKind::MagnitudePrune, "magnitude_prune", Some(0.5)),
        (CombineKind::Svd, "svd", None),
    ] {
        let how = Combination {
            kind,
            weights: vec![0.7, -0.4],
            density,
            rank: (kind == CombineKind::Svd).then_some(3),
            seed: Seed::new(0),
        };
        let combined = combine(&both, &how).unwrap();
        for (module, path) in [
            ("both", "model.layers.0.self_attn.q_proj"),
            ("first", "model.layers.1.mlp.down_proj"),
        ] {
            let pair = &combined.pairs[path];
            let compare = |found: &[f32], half: &str| {
                let want = numbers(&format!("{name}.{module}.{half}"));
                let apart = distance(found, &want);
                assert!(
                    apart <= 2e-6 * spread(&want),
                    "{name} {module} {half}: {apart}"
                );
            };
            if kind == CombineKind::Svd {
                assert_eq!(pair.rank, 3);
                compare(&product(pair), "product");
            } else {
                compare(&pair.a, "a");
                compare(&pair.b, "b");
            }
        }
    }
}

#[test]
fn what_cannot_be_combined_is_refused() {
    let how = |kind, weights: &[f32], density| Combination {
        kind,
        weights: weights.to_vec(),
        density,
        rank: None,
        seed: Seed::new(0),
    };
    let two = |a, b| [parts(a), parts(b)];
    let tied = || two("tiny-llama-tied", "tiny-llama-tied-other");
    let refused = |parts: &[AdapterWeights], how: &Combination| combine(parts, how).unwrap_err();
    use CombineKind::{Cat, Linear, Svd, Ties};
    assert!(matches!(
        refused(&tied(), &how(Linear, &[1.0], None)),
        CombineError::Weights { .. }
    ));
    assert!(matches!(
        refused(&tied(), &how(Linear, &[1.0, f32::NAN], None)),
        CombineError::NotFinite(_)
    ));
    assert!(matches!(
        refused(&tied(), &how(Ties, &[1.0, 1.0], None)),
        CombineError::Density(_)
    ));
    assert!(matches!(
        refused(&tied(), &how(Ties, &[1.0, 1.0], Some(0.0))),
        CombineError::Density(_)
    ));
    assert!(matches!(
        refused(&tied(), &how(Svd, &[1.0, 1.0], Some(0.5))),
        CombineError::Density(_)
    ));
    let ranks = two("tiny-llama-tied", "tiny-llama-tied-qv");
    assert!(matches!(
        refused(&ranks, &how(Linear, &[1.0, 1.0], None)),
        CombineError::Ranks { .. }
    ));
    combine(&ranks, &how(Svd, &[1.0, 1.0], None)).unwrap();
    let bases = two("tiny-llama-tied", "tiny-llama-untied");
    assert!(matches!(
        refused(&bases, &how(Cat, &[1.0, 1.0], None)),
        CombineError::Shapes { .. }
    ));
    assert_eq!(refused(&[], &how(Cat, &[], None)), CombineError::Nothing);
}
