//! Writes an adapter on each tiny model of `fixtures/families/`, and the logits that Hone gives with it, for PEFT to
//! judge: `cargo xtask interop`.

use std::error::Error;
use std::path::{Path, PathBuf};

use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{Adapter, BaseFormat, LoraConfig, Model, Provenance, SaveDtype};
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
    let logits = model.logits(&IDS)?;
    let rows: Vec<&[f32]> = logits.chunks(model.config().vocab_size).collect();
    let answer = json!({ "ids": IDS, "logits": rows });
    std::fs::write(out.join("logits.json"), answer.to_string())?;
    Ok(())
}
