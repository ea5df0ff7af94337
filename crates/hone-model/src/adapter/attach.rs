//! From the files of an adapter to an adapter on a model: its tensors decide what it puts where, its settings how strong.
//!
//! A check of an adapter against a base and the use of it come through
//! [`Layout::of_tensors`](super::Layout::of_tensors), so that what is found is what is refused, and nothing else is.

use std::path::Path;

use hone_tensor::Device;

use super::check::check_adapter;
use super::facts::CheckedBase;
use super::finding::Finding;
use super::fitting::tensor_of;
use super::peft::PeftError;
use super::provenance::Provenance;
use super::raw::{Module, RawAdapter};
use super::spelling::read_name;
use super::{Adapter, AdapterWeights, LoraConfig};
use crate::arch::DecoderConfig;
use crate::weights::BaseWeights;

/// An adapter directory that has been read and in which nothing is wrong, whatever its base is; it is on no model yet.
#[derive(Debug)]
pub struct AdapterFiles {
    raw: RawAdapter,
    config: LoraConfig,
    provenance: Provenance,
}

impl AdapterFiles {
    /// Reads and checks a PEFT adapter directory.
    pub fn read(dir: &Path) -> Result<Self, PeftError> {
        Self::of(RawAdapter::read(dir)?)
    }

    /// What has been read, if a check without a base finds no error.
    pub fn of(raw: RawAdapter) -> Result<Self, PeftError> {
        check_adapter(&raw, None).accept(raw.path())?;
        let modules = raw.modules(&mut vec![]).into_values();
        let adapted = modules.filter(Module::is_adapted);
        let adapted = adapted.map(|module| module.path).collect();
        Ok(Self {
            config: raw.settings.config(adapted),
            provenance: raw.provenance(),
            raw,
        })
    }

    /// Where it comes from, as far as it says.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// What it was asked to be.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Refuses a base other than the one that the adapter names, if it names one.
    pub fn check_base(&self, fingerprint: &str) -> Result<(), PeftError> {
        let other = Finding::other_base(&self.provenance, fingerprint);
        PeftError::refuse(self.raw.path(), other.iter())
    }

    /// As [`RawAdapter::leave_out_copies`].
    pub fn leave_out_copies(&mut self, base: &BaseWeights) {
        self.raw.leave_out_copies(base);
    }

    /// Lays the numbers out for `base` on `device`, if a check against it finds no error: every tensor has its place, and every
    /// place its tensor.
    pub fn into_adapter(self, base: &DecoderConfig, device: &Device) -> Result<Adapter, PeftError> {
        let checked = CheckedBase {
            config: base,
            new_tokens: 0,
            fingerprint: None,
            template_hash: None,
        };
        let check = check_adapter(&self.raw, Some(checked));
        check.accept(self.raw.path())?;
        let layout = check
            .layout
            .expect("a check against a base says where everything goes");
        let modules = self.raw.modules(&mut vec![]);
        let mut adapter = Adapter::of_layout(self.config, layout, device);
        let mut flat = vec![0.0; adapter.num_parameters()];
        for matrix in adapter.matrices() {
            let tensor = tensor_of(&matrix.name, &self.raw, &modules);
            let tensor = tensor.expect("the check has found every tensor");
            let numbers = self.raw.numbers(tensor);
            let mut numbers = numbers.expect("the check has read every number");
            if !matrix.tokens.is_empty() {
                let module = read_name(&matrix.name).map_or("", |spelled| spelled.module);
                numbers = rising(self.raw.settings.tokens_at(module), &numbers, matrix.cols);
            }
            matrix.place_from_disk(&numbers, &mut flat);
        }
        device.write(&flat, adapter.parameters_mut());
        Ok(adapter)
    }
}

impl AdapterWeights {
    /// Pairs as an adapter of a model: by the contents of the files that would be written, read as any others.
    pub fn to_adapter(&self, base: &DecoderConfig, device: &Device) -> Result<Adapter, PeftError> {
        let (config, weights) = self.to_files(super::SaveDtype::F32)?;
        let raw = RawAdapter::of_bytes(Path::new("in memory"), &config, weights)?;
        AdapterFiles::of(raw)?.into_adapter(base, device)
    }
}

/// Rows in the order of their tokens.
fn rising(ids: &[u32], numbers: &[f32], cols: usize) -> Vec<f32> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&place| ids[place]);
    let row = |&place: &usize| numbers[place * cols..][..cols].iter().copied();
    order.iter().flat_map(row).collect()
}
