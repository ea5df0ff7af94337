//! An adapter worked into its base: in memory, or as a directory that was read back before it took its name.

use std::path::Path;

use hone_ledger::{Unpublished, WriteError, sweep_beside, write_whole};
use hone_model::export::{MergeDtype, write_safetensors};
use hone_model::weights::BaseWeights;
use hone_model::{
    AdapterWeights, BaseFormat, CheckedBase, MergeBase, Merged, Model, RawAdapter, SaveDtype,
    check_adapter,
};
use serde_json::json;

use crate::error::FineTuneError;
use crate::load::BaseModel;
use crate::model::PeftModel;
use crate::parity::{Bound, Parity, Prompts, Replies, compare};

/// Bytes of a file of weights, at most.
const SHARD_BYTES: u64 = 5_000_000_000;

/// Tokens that the proof reads at most, beside what the texts of the proof have.
const ROOM: usize = 64;

impl PeftModel {
    /// Works the active adapter into the base, in memory: matrices that it changes are made anew in the base's own types (f16
    /// for GGUF's blocks), with f32 arithmetic; the others stay those of the files.
    ///
    /// ```
    /// use hone_finetune::{LoadOptions, load_base};
    ///
    /// # fn main() -> Result<(), hone_finetune::FineTuneError> {
    /// # let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    /// # let (base, adapter) = (format!("{fixtures}/models/tiny-llama-tied"), format!("{fixtures}/adapters/tiny-llama-tied"));
    /// let model = load_base(&base, LoadOptions::default())?.load_adapter(&adapter)?;
    /// let beside = model.model().logits(&[1, 5, 9])?;
    /// let merged = model.merge()?;
    /// let within = merged.model().logits(&[1, 5, 9])?;
    /// assert!(beside.iter().zip(&within).all(|(a, b)| (a - b).abs() < 1e-4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Several adapters are active, or none; parts of an adapter that cannot be merged; a type that cannot hold a merged
    /// parameter.
    pub fn merge(self) -> Result<BaseModel, FineTuneError> {
        let (device, max_positions) = (self.model.device().clone(), self.model.max_positions());
        let parts = self.parts()?;
        let kind = self.merge_base();
        let BaseModel { mut open, model } = self.unload();
        drop(model);
        let merged = Merged::new(&open.weights, vec![parts], kind, &device)?;
        let weights = merged.to_weights(MergeDtype::Keep)?;
        open.weights = weights;
        let model = Model::load(&open.weights, &device, BaseFormat::Stored, max_positions)?;
        Ok(BaseModel { open, model })
    }

    /// Writes the base with the active adapter worked in as a Hugging Face directory: weights as [`Self::merge`] makes them,
    /// configuration, tokenizer, chat template and licence beside them. Before the directory takes its name it is read back
    /// and compared with this model over a few texts.
    ///
    /// ```
    /// use hone_finetune::{LoadOptions, load_base};
    ///
    /// # fn main() -> Result<(), hone_finetune::FineTuneError> {
    /// # let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    /// # let (base, adapter) = (format!("{fixtures}/models/tiny-llama-tied"), format!("{fixtures}/adapters/tiny-llama-tied"));
    /// # let place = tempfile::tempdir().unwrap();
    /// # let out = place.path().join("merged");
    /// let model = load_base(&base, LoadOptions::default())?.load_adapter(&adapter)?;
    /// model.save_merged(&out)?;
    /// let written = load_base(&out, LoadOptions::default())?;
    /// assert_eq!(written.model().logits(&[1, 5, 9])?, model.merge()?.model().logits(&[1, 5, 9])?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::merge`]; a directory that exists already or cannot be written; a result that does not answer as this model.
    pub fn save_merged(&self, out: impl AsRef<Path>) -> Result<(), FineTuneError> {
        let out = out.as_ref();
        let exists = || {
            let path = out.to_path_buf();
            sweep_beside(out);
            FineTuneError::Exists { path }
        };
        if out.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let mut made = Unpublished::begin(out, "hone's library")?;
        // Somebody else may have made it while this one waited for the lock.
        if out.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let (open, device) = (&self.open, self.model.device());
        let merged = Merged::new(
            &open.weights,
            vec![self.parts()?],
            self.merge_base(),
            device,
        )?;
        let dtype = MergeDtype::Keep;
        for file in write_safetensors(&merged, &made.dir(), dtype, SHARD_BYTES)? {
            if let Some(name) = file.file_name().and_then(|name| name.to_str()) {
                made.path_of(name);
            }
        }
        let word = dtype.word_of(&open.weights);
        for (name, bytes) in open.model_files(merged.config(), word)? {
            let path = made.path_of(&name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|source| WriteError::new(&path, 0, source))?;
            }
            write_whole(&path, &bytes)?;
        }
        let parity = self.compared_with(&made.dir())?;
        if !parity.all_hold() {
            let reasons = parity.reasons.clone();
            return Err(FineTuneError::NotAsTrained { reasons });
        }
        open.weights.check_unchanged(None)?;
        let proof = json!(parity);
        write_whole(
            &made.path_of("parity.json"),
            format!("{proof:#}\n").as_bytes(),
        )?;
        let version = env!("CARGO_PKG_VERSION");
        made.publish(json!({ "what": "merged model", "hone": version, "parity_holds": true }))?;
        Ok(())
    }

    /// The directory read back, and what it makes of a few texts beside this model.
    fn compared_with(&self, dir: &Path) -> Result<Parity, FineTuneError> {
        let limit = self.model.max_positions();
        let prompts = Prompts::built_in(&self.open.renderer, limit)?.asking(0);
        let weights = BaseWeights::open(dir)?;
        let positions = (prompts.longest() + ROOM).min(limit);
        let device = self.model.device();
        let written = Model::load(&weights, device, BaseFormat::Stored, positions)?;
        let (expected, found) = (prompts.read(&self.model)?, prompts.read(&written)?);
        let comparison = compare(&prompts, (&self.model, &expected), (&written, &found))?;
        let replies = Replies::not_asked("the library compares texts");
        let bound = Bound::of(&weights);
        Ok(Parity::new(&prompts, &comparison, bound, replies, None))
    }

    /// The active adapter as what it does to each matrix, through the files that others read.
    fn parts(&self) -> Result<AdapterWeights, FineTuneError> {
        let beside = tempfile::tempdir()
            .map_err(|source| WriteError::new(&std::env::temp_dir(), 0, source))?;
        self.save_adapter(beside.path(), SaveDtype::F32)?;
        let checked = CheckedBase {
            config: self.open.weights.config(),
            new_tokens: self.open.weights.new_tokens(),
            fingerprint: None,
            template_hash: None,
        };
        let mut raw = RawAdapter::read(beside.path())?;
        raw.leave_out_copies(&self.open.weights);
        Ok(AdapterWeights::of(
            &raw,
            &check_adapter(&raw, Some(checked)),
        )?)
    }

    /// What the adapter was trained on.
    fn merge_base(&self) -> MergeBase {
        match self.model.format() {
            BaseFormat::Nf4 => MergeBase::DequantisedNf4,
            _ => MergeBase::Original,
        }
    }
}
