//! Writes an adapter on each tiny model of `fixtures/families/`, and the logits that Hone gives with it, for PEFT to
//! judge: `cargo xtask interop`; and a directory made from the GGUF file, where there is one, which must be the same model. Where GGUF can say what the model is, base and adapter are written as GGUF too, for
//! llama.cpp: `cargo xtask deploy`.

use std::error::Error;
use std::path::{Path, PathBuf};

use hone_ledger::Seed;
use hone_model::export::{
    ExportError, GgufMetadata, MergeDtype, hf_config, write_gguf, write_gguf_adapter,
    write_safetensors,
};
use hone_model::weights::{BaseWeights, Typed};
use hone_model::{
    Adapter, AdapterFiles, AdapterWeights, BaseFormat, LoraConfig, MergeBase, Merged, Model,
    Provenance, SaveDtype,
};
use hone_tensor::Device;
use serde_json::json;

const IDS: [u32; 17] = [
    3, 90, 41, 41, 7, 12, 66, 5, 88, 23, 9, 54, 31, 3, 77, 20, 11,
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).map(PathBuf::from);
    let out = out.ok_or("usage: family_adapters OUT")?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/families");
    for entry in std::fs::read_dir(fixtures)? {
        let path = entry?.path();
        if path.is_dir() {
            write(
                &path.join("base"),
                &out.join(path.file_name().ok_or("a name")?),
            )?;
        }
    }
    Ok(())
}

fn write(base: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let (weights, device) = (BaseWeights::open(base)?, Device::cpu(1)?);
    let mut model = Model::load(&weights, &device, BaseFormat::Stored, 64)?;
    let config = LoraConfig {
        rank: 3,
        alpha: 5.0,
        ..LoraConfig::default()
    };
    let mut adapter = Adapter::new(config, model.config(), &device, Seed::new(1))?;
    let mut stream = Seed::new(2).stream();
    let noise: Vec<f32> = (0..adapter.num_parameters())
        .map(|_| 0.4 * stream.unit_f32() - 0.2)
        .collect();
    device.write(&noise, adapter.parameters_mut());
    let provenance = Provenance::default();
    adapter.save(
        &out.join("adapter"),
        model.config(),
        &provenance,
        SaveDtype::F32,
    )?;
    model.attach(adapter);
    write_logits(&model, &out.join("logits.json"))?;
    let gguf = base.with_extension("gguf");
    if gguf.is_file() {
        write_from_gguf(&gguf, &device, &out.join("from-gguf"))?;
    }
    write_as_gguf(&weights, &device, out)
}

fn write_logits(model: &Model, path: &Path) -> Result<(), Box<dyn Error>> {
    let logits = model.logits(&IDS)?;
    let rows: Vec<&[f32]> = logits.chunks(model.config().vocab_size).collect();
    let context = model.config().gguf_context_len();
    let answer = json!({ "ids": IDS, "logits": rows, "gguf_context": context });
    Ok(std::fs::write(path, answer.to_string())?)
}

/// Llama.cpp makes room for 256 tokens at least, and so takes the list that LongRoPE has for more than 64.
const LLAMA_CPP_CONTEXT: usize = 256;

fn write_from_gguf(gguf: &Path, device: &Device, out: &Path) -> Result<(), Box<dyn Error>> {
    let weights = BaseWeights::open(gguf)?;
    let merged = Merged::new(&weights, vec![], MergeBase::Original, device)?;
    std::fs::create_dir_all(out)?;
    write_safetensors(&merged, out, MergeDtype::F32, u64::MAX)?;
    let config = hf_config(weights.config(), "float32")?;
    Ok(std::fs::write(out.join("config.json"), config.to_string())?)
}

fn write_as_gguf(weights: &BaseWeights, device: &Device, out: &Path) -> Result<(), Box<dyn Error>> {
    let merged = Merged::new(weights, vec![], MergeBase::Original, device)?;
    let extra = GgufMetadata {
        name: "tiny".into(),
        // The tiny models have no tokenizer, which llama.cpp wants to be told.
        tokenizer: vec![("tokenizer.ggml.model".into(), Typed::Text("none".into()))],
        outdated: vec![],
    };
    match write_gguf(&merged, &out.join("model.gguf"), "f32".parse()?, extra) {
        Ok(()) => {}
        Err(ExportError::Unsupported { .. } | ExportError::Unsaid { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let parts = AdapterWeights::read(&out.join("adapter"), None)?;
    let path = out.join("adapter.gguf");
    write_gguf_adapter(&parts, weights.config(), "tiny", &path)?;
    let mut model = Model::load(weights, device, BaseFormat::Stored, LLAMA_CPP_CONTEXT)?;
    let files = AdapterFiles::read(&out.join("adapter"))?;
    let adapter = files.into_adapter(model.config(), device)?;
    model.attach(adapter);
    write_logits(&model, &out.join("llama_cpp.json"))
}
