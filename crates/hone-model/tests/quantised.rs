//! Quantised checkpoints against second opinions: bitsandbytes itself, torch, and numpy on published layouts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::bf16;
use hone_model::weights::{BaseWeights, Shards, ShardsWriter, TensorSpec};
use hone_model::{BaseFormat, Model};
use hone_tensor::nf4::{self, Nf4Scales};
use hone_tensor::{Device, Format, StoredMatrix};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value as Json;

struct Case {
    config: Json,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    shape: Vec<usize>,
    values: Vec<f32>,
    /// Whether the values were rounded to bf16, the type that the layer had: bitsandbytes does so.
    is_rounded: bool,
}

fn numbers<const WIDTH: usize>(bytes: &[u8], number: impl Fn([u8; WIDTH]) -> f32) -> Vec<f32> {
    let chunks = bytes.as_chunks::<WIDTH>().0.iter();
    chunks.map(|bytes| number(*bytes)).collect()
}

fn golden(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
    std::fs::read(path.join(file)).unwrap()
}

fn cases() -> BTreeMap<String, Case> {
    let (bytes, configs) = (golden("quantised.safetensors"), golden("quantised.json"));
    let configs: BTreeMap<String, Json> = serde_json::from_slice(&configs).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let case = |(name, config): (String, Json)| {
        let prefix = format!("{name}/");
        let own = all.iter().filter_map(|(name, view)| {
            let name = name.strip_prefix(&prefix)?.to_owned();
            let parts = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            Some((name, parts))
        });
        let mut tensors: BTreeMap<_, _> = own.collect();
        let (dtype, shape, values) = tensors.remove("values").unwrap();
        let case = Case {
            config,
            tensors,
            shape,
            is_rounded: dtype == Dtype::BF16,
            values: match dtype {
                Dtype::BF16 => numbers(&values, |half| bf16::from_le_bytes(half).to_f32()),
                _ => numbers(&values, f32::from_le_bytes),
            },
        };
        (name, case)
    };
    configs.into_iter().map(case).collect()
}

impl Case {
    fn write(&self, dir: &Path) {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        let file = safetensors::serialize(views, None).unwrap();
        std::fs::write(dir.join("model.safetensors"), file).unwrap();
        let config = serde_json::json!({"quantization_config": self.config});
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    }

    fn open(&self) -> Result<StoredMatrix, String> {
        let dir = tempfile::tempdir().unwrap();
        self.write(dir.path());
        let shards = Shards::open(dir.path()).map_err(|error| error.to_string())?;
        assert_eq!(shards.names().collect::<Vec<_>>(), ["layer.weight"]);
        shards
            .matrix("layer.weight")
            .unwrap()
            .map_err(|error| error.to_string())
    }

    /// The sentence it is refused with, from the tensor's name on.
    fn refusal(&self) -> String {
        let error = self.open().unwrap_err();
        error.split_once("safetensors: ").unwrap().1.to_owned()
    }
}

#[test]
fn quantised_layers_hold_the_numbers_their_makers_say() {
    for (name, case) in cases() {
        let matrix = case
            .open()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!([matrix.rows(), matrix.cols()], case.shape[..], "{name}");
        for (at, (ours, theirs)) in matrix.to_f32().iter().zip(&case.values).enumerate() {
            let ours = match case.is_rounded {
                true => bf16::from_f32(*ours).to_f32(),
                false => *ours,
            };
            assert_eq!(ours, *theirs, "{name}, value {at}");
        }
    }
}

#[test]
fn quantised_layers_stay_in_their_bits() {
    let per_value = |name: &str| {
        let matrix = cases()[name].open().unwrap();
        let bits = 8.0 * matrix.size_bytes() as f64;
        (
            matrix.format(),
            bits / (matrix.rows() * matrix.cols()) as f64,
        )
    };
    assert_eq!(per_value("bnb-nf4"), (Format::Nf4, 4.5));
    assert_eq!(per_value("bnb-fp4"), (Format::Fp4, 4.5));
    assert_eq!(per_value("awq"), (Format::Int4, 4.0 + 40.0 / 32.0));
    assert_eq!(per_value("gptq-asym"), (Format::Int4, 4.0 + 40.0 / 64.0));
    assert_eq!(
        per_value("fp8-tensor"),
        (Format::F8E4M3, 8.0 + 32.0 / 256.0)
    );
}

#[test]
fn tensors_that_do_not_make_a_layer_are_refused_by_name() {
    let spoilt = |name: &str, spoil: &dyn Fn(&mut Case)| {
        let mut case = cases().remove(name).unwrap();
        spoil(&mut case);
        case.refusal()
    };
    let without =
        |name: &str, tensor: &str| spoilt(name, &|case| drop(case.tensors.remove(tensor).unwrap()));
    assert_eq!(
        without("gptq-sym", "layer.scales"),
        "`layer.weight` is quantised, but `layer.scales`, which belongs to it, is not there"
    );
    assert!(without("bnb-nf4", "layer.weight.absmax").contains("`layer.weight.absmax`"));
    assert!(without("fp8-rows", "layer.weight_scale").contains("`layer.weight_scale`"));
    assert!(
        without("bnb-nf4", "layer.weight.quant_state.bitsandbytes__nf4")
            .contains("holds bytes, but no `layer.weight.quant_state.bitsandbytes__nf4`")
    );
    let change = |name: &str, tensor: &str, at: usize, byte: u8| {
        spoilt(name, &|case| {
            case.tensors.get_mut(tensor).unwrap().2[at] = byte
        })
    };
    let line = change("gptq-by-activity", "layer.g_idx", 2, 1);
    assert!(line.starts_with("`layer.g_idx` names group 6553"), "{line}");
    assert!(
        change("bnb-nf4", "layer.weight.quant_map", 0, 1)
            .contains("other levels than those of nf4")
    );
    assert!(change("bnb-nf4-nested", "layer.weight.nested_quant_map", 0, 1).contains("dynamic"));
    // An infinite f16, f32 and bf16.
    assert_eq!(
        spoilt("awq", &|case| case
            .tensors
            .get_mut("layer.scales")
            .unwrap()
            .2[..2]
            .copy_from_slice(&[0x00, 0x7c])),
        "`layer.scales` holds inf"
    );
    let reshaped = |name: &str, tensor: &str, shape: &[usize]| {
        spoilt(name, &|case| {
            case.tensors.get_mut(tensor).unwrap().1 = shape.to_vec()
        })
    };
    assert_eq!(
        reshaped("awq", "layer.scales", &[48, 4]),
        "`layer.scales` has shape [48, 4], and must be [4, 48]"
    );
    assert_eq!(
        reshaped("awq", "layer.qzeros", &[6, 4]),
        "`layer.qzeros` is I32 [6, 4], and must be I32 [4, 6]"
    );
    assert!(reshaped("gptq-sym", "layer.qweight", &[40, 12]).contains("inputs in 32s"));
    assert!(
        reshaped("fp8-blocks", "layer.weight_scale_inv", &[4, 1])
            .contains("which scales no 40 × 80 matrix; the configuration names blocks of 32 × 64")
    );
    let note = |text: &str| {
        spoilt("bnb-nf4", &|case| {
            let note = "layer.weight.quant_state.bitsandbytes__nf4";
            let entry = (Dtype::U8, vec![text.len()], text.as_bytes().to_vec());
            case.tensors.insert(note.into(), entry);
        })
    };
    assert!(note("{").contains("is not a quantisation state"));
    assert!(
        note(r#"{"quant_type": "int4", "blocksize": 64, "shape": [12, 128]}"#)
            .contains("is quantised as `int4`")
    );
    for state in [
        r#"{"quant_type": "nf4", "blocksize": 0, "shape": [12, 128]}"#,
        r#"{"quant_type": "nf4", "blocksize": 63, "shape": [12, 128]}"#,
    ] {
        assert!(note(state).contains("NF4 has no blocks of"));
    }
    assert!(
        note(r#"{"quant_type": "nf4", "blocksize": 128, "shape": [12, 128]}"#)
            .contains("takes 12 scales, found 24")
    );
    assert!(
        note(r#"{"quant_type": "nf4", "blocksize": 64, "shape": [13, 128]}"#)
            .contains("takes 832 bytes, found 768")
    );
    assert!(
        note(r#"{"quant_type": "nf4", "blocksize": 64, "shape": [4294967296, 4294967296]}"#)
            .contains("larger than the address space")
    );
}

#[test]
fn a_configuration_that_is_not_computed_is_refused_before_any_weight_is_read() {
    let mut case = cases().remove("gptq-sym").unwrap();
    case.config["bits"] = 8.into();
    let error = case.open().unwrap_err();
    assert!(
        error.ends_with("config.json: `quantization_config.bits` is 8; Hone reads 4-bit GPTQ"),
        "{error}"
    );
}

/// The projections of the tiny model as bitsandbytes would save them, the rest as it is.
fn save_in_nf4(dir: &Path) {
    let base = BaseWeights::open(&fixture("tiny-llama-untied")).unwrap();
    let mut tensors: Vec<(TensorSpec, Vec<u8>)> = Vec::new();
    let mut put = |name: String, dtype, shape: &[usize], bytes: Vec<u8>| {
        let shape = shape.to_vec();
        tensors.push((TensorSpec { name, dtype, shape }, bytes));
    };
    let f32s = |numbers: &[f32]| {
        numbers
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    for name in base.names() {
        let matrix = base.matrix(name).unwrap();
        let (rows, cols) = (matrix.rows(), matrix.cols());
        if !name.ends_with("_proj.weight") {
            let shape = if rows == 1 {
                vec![cols]
            } else {
                vec![rows, cols]
            };
            put(name.into(), Dtype::F32, &shape, matrix.bytes().to_vec());
            continue;
        }
        let quantised = nf4::quantize(&matrix.to_f32(), rows, cols, true).unwrap();
        let Some(Nf4Scales::Double {
            codes,
            nested,
            offset,
        }) = quantised.nf4_scales()
        else {
            panic!("double scales")
        };
        let state = serde_json::json!({"quant_type": "nf4", "blocksize": 64, "dtype": "float32",
            "shape": [rows, cols], "nested_blocksize": 256, "nested_dtype": "float32",
            "nested_offset": f64::from(*offset)});
        let state = state.to_string().into_bytes();
        let part = |part: &str| format!("{name}.{part}");
        put(
            name.into(),
            Dtype::U8,
            &[rows * cols / 2, 1],
            quantised.bytes().to_vec(),
        );
        put(part("absmax"), Dtype::U8, &[codes.len()], codes.clone());
        put(part("quant_map"), Dtype::F32, &[16], f32s(&nf4::LEVELS));
        put(
            part("nested_absmax"),
            Dtype::F32,
            &[nested.len()],
            f32s(nested),
        );
        put(
            part("nested_quant_map"),
            Dtype::F32,
            &[256],
            f32s(nf4::dynamic_map()),
        );
        put(
            part("quant_state.bitsandbytes__nf4"),
            Dtype::U8,
            &[state.len()],
            state,
        );
    }
    let specs = tensors.iter().map(|tensor| tensor.0.clone()).collect();
    let mut writer = ShardsWriter::create(dir, specs, 40_000, &BTreeMap::new()).unwrap();
    for spec in writer.tensors().to_vec() {
        let (_, bytes) = tensors.iter().find(|tensor| tensor.0 == spec).unwrap();
        writer.append(&spec.name, bytes).unwrap();
    }
    assert!(
        writer.finish().unwrap().len() > 2,
        "several shards and an index"
    );
    let config = std::fs::read(fixture("tiny-llama-untied").join("config.json")).unwrap();
    let mut config: Json = serde_json::from_slice(&config).unwrap();
    config["quantization_config"] = cases()["bnb-nf4-nested"].config.clone();
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/models")
        .join(name)
}

#[test]
fn a_checkpoint_in_nf4_is_the_model_that_is_quantised_on_loading() {
    let dir = tempfile::tempdir().unwrap();
    save_in_nf4(dir.path());
    let device = Device::cpu(1).unwrap();
    let logits = |path: &Path, format| {
        let base = BaseWeights::open(path).unwrap();
        let model = Model::load(&base, &device, format, 64).unwrap();
        model.logits(&[5, 17, 250, 3, 99, 41]).unwrap()
    };
    let saved = logits(dir.path(), BaseFormat::Stored);
    let quantised_here = logits(&fixture("tiny-llama-untied"), BaseFormat::Nf4);
    assert!(saved.iter().any(|logit| logit.abs() > 1e-3));
    assert!(saved == quantised_here);
    assert!(BaseWeights::open(dir.path()).unwrap().is_mapped());
    assert_eq!(
        BaseWeights::open(dir.path()).unwrap().format_summary(),
        "F32, NF4"
    );
}
