//! A base, and a base with an adapter on it.

use super::FineTuneError;
use crate::base::{self, Home, OpenBase, OpenOptions};
use crate::bundle::{Prover, Source, write_merged};
use crate::screen::Talk;
use hone_data::{Batch, Encoding, TooLong, encode, read};
use hone_ledger::Seed;
use hone_model::export::MergeDtype;
use hone_model::{
    Adapter, BaseFormat, Generation, LoraConfig, LossSum, Model, Param, Provenance,
    Role as MatrixRole, Sampling, SaveDtype, Session, StepOptions, write_beside,
};
use hone_tensor::{Device, Tensor};
use hone_text::{Conversation, Role, TemplateOption, Turn};
use hone_train::{AdamW, AdamWConfig, with_packed};
use std::path::Path;

/// How a base is taken into memory.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Threads to compute on; the machine's cores if not said. Results do not depend on it.
    pub threads: Option<usize>,
    /// Longest sequence, prompt and reply together, in tokens; at most the base's own context.
    pub max_length: usize,
    /// The form its linear layers are kept in: as stored, or as NF4 for QLoRA.
    pub format: BaseFormat,
    /// Tokens to add to the vocabulary, by their text. [`get_peft_model`] trains their rows; adapters are saved with the
    /// tokenizer that has them.
    ///
    /// ```
    /// use hone::finetune::{LoadOptions, LoraConfig, SaveDtype, get_peft_model, load_base};
    ///
    /// # fn main() -> Result<(), hone::finetune::FineTuneError> {
    /// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
    /// # let place = tempfile::tempdir().unwrap();
    /// # let out = place.path().join("adapter");
    /// let options = LoadOptions { new_tokens: vec!["<part>".into()], ..LoadOptions::default() };
    /// let model = get_peft_model(load_base(dir, options)?, LoraConfig::default(), 0)?;
    /// model.save_adapter(&out, SaveDtype::F32)?; // and tokenizer.json beside it
    ///
    /// let again = load_base(dir, LoadOptions::default())?.load_adapter(&out)?;
    /// assert_eq!(again.model().config().vocab_size, 301);
    /// # Ok(())
    /// # }
    /// ```
    pub new_tokens: Vec<String>,
    /// Chat template: a name that the model has for one, `instruction`, `chatml`, or the path of a .jinja file; the model's
    /// own if not given.
    pub chat_template: Option<String>,
    /// What is set for the chat template, such as `enable_thinking=false`.
    pub template_options: Vec<TemplateOption>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            threads: None,
            max_length: 2048,
            format: BaseFormat::Stored,
            new_tokens: vec![],
            chat_template: None,
            template_options: vec![],
        }
    }
}

/// A frozen base in memory, with its tokenizer and chat template.
pub struct BaseModel {
    open: OpenBase,
    model: Model,
}

/// Takes a base into memory: a Hugging Face directory, a `.gguf` file, a built-in name or a hub id that `hone pull` has
/// fetched. Nothing is fetched here.
///
/// ```
/// use hone::finetune::{LoadOptions, load_base};
///
/// # fn main() -> Result<(), hone::finetune::FineTuneError> {
/// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
/// let base = load_base(dir, LoadOptions { threads: Some(1), ..LoadOptions::default() })?;
/// assert_eq!(base.model().config().num_layers, 2);
///
/// let missing = load_base("smollm3", LoadOptions::default()).err().unwrap();
/// println!("{missing}; {}", missing.hints().join("; "));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// A name that leads nowhere, files that are damaged or of a family that is not computed, no tokenizer.
pub fn load_base(name: &str, options: LoadOptions) -> Result<BaseModel, FineTuneError> {
    let chosen = OpenOptions {
        chat_template: options.chat_template,
        template_options: options.template_options,
        ..OpenOptions::default()
    };
    let mut open = OpenBase::open(base::find(name, &Home::from_env()?)?, &chosen)?;
    open.add_tokens(&options.new_tokens)?;
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let device = Device::cpu(threads.unwrap_or(1))?;
    let max_positions = options.max_length.min(open.weights.config().context_len);
    let model = Model::load(&open.weights, &device, options.format, max_positions)?;
    Ok(BaseModel { open, model })
}

/// Puts a fresh adapter on a base. It changes nothing yet: logits are the base's own until a step is taken.
///
/// # Errors
/// Targets that the base does not have, and numbers out of range.
pub fn get_peft_model(
    base: BaseModel,
    config: LoraConfig,
    seed: u64,
) -> Result<PeftModel, FineTuneError> {
    let BaseModel { open, mut model } = base;
    let seed = Seed::new(seed).child("adapter");
    let config = config.with_new_tokens(&open.new_ids(), model.config())?;
    let adapter = Adapter::new(config, model.config(), model.device(), seed)?;
    model.begin(adapter, &open.weights)?;
    open.start_new_tokens(&mut model)?;
    Ok(PeftModel { open, model })
}

impl BaseModel {
    /// The network itself, for what this page does not cover.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Rows of files as the base will see them: JSONL, JSON, CSV, TSV, Parquet, text or Markdown, in any shape that
    /// `hone train` reads.
    ///
    /// # Errors
    /// A file that cannot be read, and any row that cannot be used or is longer than the model was loaded for: none is
    /// left out in silence.
    pub fn encode_files<P: AsRef<Path>>(&self, files: &[P]) -> Result<Encoding, FineTuneError> {
        let reading = read(files)?;
        if !reading.refused.is_empty() {
            return Err(FineTuneError::Rows {
                rows: reading.refused,
            });
        }
        let (renderer, limit) = (&self.open.renderer, self.model.max_positions());
        let encoding = encode(renderer, &reading.records, limit, TooLong::Drop);
        match encoding.refused.is_empty() {
            true => Ok(encoding),
            false => Err(FineTuneError::Rows {
                rows: encoding.refused,
            }),
        }
    }

    /// Puts an adapter from a PEFT directory on the base. If it brings tokens that the base does not have, the base is loaded
    /// again with rows for them.
    ///
    /// # Errors
    /// Tensors that are missing, left over, mis-shaped or not finite, a method that is not computed, another base or
    /// another chat template than the adapter was trained with.
    pub fn load_adapter(self, dir: impl AsRef<Path>) -> Result<PeftModel, FineTuneError> {
        let Self {
            mut open,
            mut model,
        } = self;
        if open.fit_to_adapter(dir.as_ref())? {
            let (device, format) = (model.device().clone(), model.format());
            let max_positions = model.max_positions();
            drop(model);
            model = Model::load(&open.weights, &device, format, max_positions)?;
        }
        let adapter = open.read_adapter(&model, dir.as_ref())?;
        model.attach(adapter);
        Ok(PeftModel { open, model })
    }
}

/// A base with an adapter on it; the adapter's numbers are what is trained.
pub struct PeftModel {
    open: OpenBase,
    model: Model,
}

impl PeftModel {
    /// The network itself, for what this page does not cover.
    pub fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    pub(super) fn base(&self) -> &OpenBase {
        &self.open
    }

    /// The one that learns and is saved.
    fn adapter(&self) -> Result<&Adapter, FineTuneError> {
        self.model.adapter().ok_or(FineTuneError::NotOneAdapter)
    }

    /// How many numbers are trained, and how many there are in all.
    ///
    /// # Errors
    /// Several adapters are on, or none.
    pub fn num_parameters(&self) -> Result<(usize, usize), FineTuneError> {
        let (config, trained) = (self.model.config(), self.adapter()?.num_parameters());
        let embedding = config.vocab_size * config.d_model;
        let head = if config.tied_head { 0 } else { embedding };
        Ok((
            trained,
            trained + config.linear_parameters() + embedding + head,
        ))
    }

    /// All trainable numbers, flat `[1, n]`; [`Adapter::matrices`] says which is where.
    ///
    /// # Errors
    /// Several adapters are on, or none.
    pub fn parameters_mut(&mut self) -> Result<&mut Tensor, FineTuneError> {
        let adapter = self.model.adapter_mut();
        Ok(adapter
            .ok_or(FineTuneError::NotOneAdapter)?
            .parameters_mut())
    }

    /// An optimiser for this adapter, its moments zero.
    ///
    /// # Errors
    /// No room for paged moments in the directory for temporary files.
    pub fn adamw(&self, config: AdamWConfig) -> Result<AdamW, FineTuneError> {
        let of_matrix = |matrix: &Param| (matrix.size(), matrix.role());
        let tensors: Vec<(usize, MatrixRole)> =
            self.adapter()?.matrices().iter().map(of_matrix).collect();
        Ok(AdamW::new(
            config,
            &tensors,
            self.model.device(),
            &std::env::temp_dir(),
        )?)
    }

    /// Loss and gradients of one packed batch, both as sums over its supervised tokens: nats, and `[1, n]` laid out like
    /// the parameters. Divide once a step, by the tokens of all its batches; [`AdamW::step`] does.
    ///
    /// # Errors
    /// The device failed.
    pub fn loss_and_grads(&self, batch: &Batch) -> Result<(LossSum, Tensor), FineTuneError> {
        let mut grads = self
            .model
            .device()
            .zeros(1, self.adapter()?.num_parameters());
        let options = StepOptions {
            kept_layers: self.model.config().num_layers,
            ..StepOptions::default()
        };
        let nats = with_packed(batch, |packed| {
            self.model.loss_and_grads(packed, options, &mut grads)
        })?;
        Ok((nats.into_iter().collect(), grads))
    }

    /// Loss of one packed batch: its sum in nats, and how many supervised tokens that is over.
    ///
    /// # Errors
    /// The device failed.
    pub fn loss(&self, batch: &Batch) -> Result<LossSum, FineTuneError> {
        Ok(with_packed(batch, |packed| self.model.nats(packed))?
            .into_iter()
            .collect())
    }

    /// The model's answer to one message, the most likely token each time.
    ///
    /// # Errors
    /// A prompt that the template refuses or that fills the context.
    pub fn generate(&self, message: &str, max_new_tokens: usize) -> Result<String, FineTuneError> {
        let renderer = &self.open.renderer;
        let prompt =
            renderer.encode_prompt(&Conversation::new([Turn::new(Role::User, message)]))?;
        let settings = Generation {
            max_new_tokens,
            stop_ids: renderer.stop_ids().to_vec(),
            sampling: Sampling::GREEDY,
        };
        let answer = Session::new(&self.model).answer(&self.model, &prompt, &settings, |_| true)?;
        Ok(renderer.tokenizer().decode(&answer.ids, true)?)
    }

    /// Writes the adapter as PEFT does: `adapter_config.json` and `adapter_model.safetensors`, with the hashes of base and
    /// chat template where PEFT does not look.
    ///
    /// # Errors
    /// A directory that cannot be written, a number that `dtype` cannot hold.
    pub fn save_adapter(
        &self,
        dir: impl AsRef<Path>,
        dtype: SaveDtype,
    ) -> Result<(), FineTuneError> {
        let provenance = self.provenance()?;
        write_beside(dir.as_ref(), &self.open.files_beside_an_adapter()?)?;
        Ok(self
            .adapter()?
            .save(dir.as_ref(), self.model.config(), &provenance, dtype)?)
    }

    pub(super) fn provenance(&self) -> Result<Provenance, FineTuneError> {
        Ok(Provenance {
            base_name: None,
            base_fingerprint: Some(self.open.weights.fingerprint()?.to_string()),
            template_hash: Some(self.open.renderer.template_hash().to_owned()),
            template_date: self.open.printed_date().map(|date| date.to_string()),
            run: None,
        })
    }

    /// Puts another adapter beside those that are there, under a name of its own; it is off until it is asked for. The
    /// first one is called `default`.
    ///
    /// # Errors
    /// As [`BaseModel::load_adapter`].
    pub fn add_adapter(&mut self, name: &str, dir: impl AsRef<Path>) -> Result<(), FineTuneError> {
        let adapter = self.open.read_adapter(&self.model, dir.as_ref())?;
        self.model.add(name, adapter);
        Ok(())
    }

    /// Uses these adapters, each with a weight, and no others; no base is loaded again.
    ///
    /// ```
    /// use hone::finetune::{LoadOptions, load_base};
    ///
    /// # fn main() -> Result<(), hone::finetune::FineTuneError> {
    /// # let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    /// # let (base, first, second) = (format!("{fixtures}/models/tiny-llama-tied"), format!("{fixtures}/adapters/tiny-llama-tied"), format!("{fixtures}/adapters/tiny-llama-tied-qv"));
    /// let mut model = load_base(&base, LoadOptions::default())?.load_adapter(&first)?;
    /// model.add_adapter("legal", &second)?;
    /// model.set_adapters(&[("legal", 1.0)])?; // switched
    /// model.set_adapters(&[("default", 0.5), ("legal", 0.5)])?; // stacked
    /// let plain = model.disable_adapter(|base| base.logits(&[1, 5, 9]))?; // the base alone
    /// # assert_eq!(plain.len(), 3 * 300);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A name that is not there or is named twice, a weight that is no number, methods that do more than add.
    pub fn set_adapters(&mut self, active: &[(&str, f32)]) -> Result<(), FineTuneError> {
        Ok(self.model.set_active(active)?)
    }

    /// Does something with the base alone; afterwards the same adapters are on again.
    pub fn disable_adapter<R>(&mut self, work: impl FnOnce(&mut Model) -> R) -> R {
        self.model.with_adapter_disabled(work)
    }

    /// Works the adapter into the base and writes the result as a Hugging Face directory: the base's own types, or f16 for
    /// GGUF's blocks, with f32 arithmetic, tensor by tensor. The directory is read back and replayed against this model before
    /// it takes its name. What comes back is the merged base, loaded from there.
    ///
    /// ```
    /// use hone::finetune::{LoadOptions, load_base};
    ///
    /// # fn main() -> Result<(), hone::finetune::FineTuneError> {
    /// # let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    /// # let (base, adapter) = (format!("{fixtures}/models/tiny-llama-tied"), format!("{fixtures}/adapters/tiny-llama-tied"));
    /// # let place = tempfile::tempdir().unwrap();
    /// # let out = place.path().join("merged");
    /// let model = load_base(&base, LoadOptions::default())?.load_adapter(&adapter)?;
    /// let beside = model.model().logits(&[1, 5, 9])?;
    /// let merged = model.merge_and_unload(&out)?;
    /// let within = merged.model().logits(&[1, 5, 9])?;
    /// assert!(beside.iter().zip(&within).all(|(a, b)| (a - b).abs() < 1e-4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Several adapters are on, parts of an adapter that cannot be merged, a directory that exists already, a result that
    /// does not answer as this model does.
    pub fn merge_and_unload(self, out: impl AsRef<Path>) -> Result<BaseModel, FineTuneError> {
        let merge = |error: anyhow::Error| FineTuneError::Merge(error.into());
        let (out, device) = (out.as_ref(), self.model.device().clone());
        let (format, max_positions) = (self.model.format(), self.model.max_positions());
        let beside = tempfile::tempdir().map_err(|error| merge(error.into()))?;
        self.save_adapter(beside.path(), SaveDtype::F32)?;
        let BaseModel { open, model } = self.unload();
        drop(model);
        let source = Source::of_one(
            open,
            beside.path(),
            format == BaseFormat::Nf4,
            device.clone(),
        )
        .map_err(merge)?;
        let (dtype, shard_bytes) = (MergeDtype::Keep, 5_000_000_000);
        write_merged(
            &source,
            out,
            dtype,
            shard_bytes,
            &Prover::default(),
            Talk::new(true),
        )
        .map_err(merge)?;
        let merged = base::Base {
            name: out.display().to_string(),
            path: out.to_path_buf(),
        };
        let open = OpenBase::open(merged, &OpenOptions::default())?;
        let model = Model::load(&open.weights, &device, BaseFormat::Stored, max_positions)?;
        Ok(BaseModel { open, model })
    }

    /// Takes the adapters off.
    pub fn unload(self) -> BaseModel {
        let Self { open, mut model } = self;
        model.detach();
        BaseModel { open, model }
    }
}
