//! A base with adapters on it: which are active, what they answer, and how they are saved.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hone_data::{Batch, Encoding, Record};
use hone_ledger::Seed;
use hone_model::{Adapter, LoraConfig, LossSum, Model, Provenance, SaveDtype, write_beside};
use hone_tensor::Tensor;
use hone_text::{Conversation, Renderer};

use crate::base::OpenBase;
use crate::control::Control;
use crate::error::FineTuneError;
use crate::generate::{GenerateOptions, Reply, generate};
use crate::load::{self, BaseModel};

/// A base with adapters on it; the parameters of the active one are what is trained.
pub struct PeftModel {
    pub(crate) open: OpenBase,
    pub(crate) model: Model,
    tags: Vec<(String, AdapterTag)>,
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
    model.init_and_attach(adapter, &open.weights)?;
    open.start_new_tokens(&mut model)?;
    Ok(PeftModel::new(open, model))
}

impl BaseModel {
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
        Ok(PeftModel::new(open, model))
    }
}

/// Tells an adapter from every other, whatever it is called: gradients and optimizers belong to one.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdapterTag(Arc<()>);

impl AdapterTag {
    /// Refuses what belongs to another adapter than the active one.
    pub fn check(&self, model: &PeftModel, what: &'static str) -> Result<(), FineTuneError> {
        match Arc::ptr_eq(&self.0, &model.tag()?.0) {
            true => Ok(()),
            false => Err(FineTuneError::OtherAdapter { what }),
        }
    }
}

impl fmt::Debug for PeftModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PeftModel");
        shown.field("base", &self.open.base.path);
        shown
            .field("adapters", &self.model.adapters())
            .finish_non_exhaustive()
    }
}

impl PeftModel {
    /// A model whose adapters are on already.
    pub(crate) fn new(open: OpenBase, model: Model) -> Self {
        let names = model.adapters().into_iter();
        let tags = names.map(|(name, _)| (name.to_owned(), AdapterTag::default()));
        Self {
            tags: tags.collect(),
            open,
            model,
        }
    }

    /// The network itself, for what this page does not cover. Its methods trust the ids and shapes that they are given.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Tokenizer and chat template: text to ids and back.
    pub fn renderer(&self) -> &Renderer {
        &self.open.renderer
    }

    /// Rows in memory as the model will see them.
    ///
    /// # Errors
    /// As [`BaseModel::encode`].
    pub fn encode(&self, records: &[Record]) -> Result<Encoding, FineTuneError> {
        load::encode(&self.open, self.model.max_positions(), records)
    }

    /// Rows of files as the model will see them.
    ///
    /// # Errors
    /// As [`BaseModel::encode_files`].
    pub fn encode_files<P: AsRef<Path>>(&self, files: &[P]) -> Result<Encoding, FineTuneError> {
        load::encode_files(&self.open, self.model.max_positions(), files)
    }

    /// The one that is trained and saved.
    pub(crate) fn adapter(&self) -> Result<&Adapter, FineTuneError> {
        self.model.adapter().ok_or(FineTuneError::NotOneAdapter)
    }

    /// Of the active adapter.
    pub(crate) fn tag(&self) -> Result<AdapterTag, FineTuneError> {
        let mut active = self.model.adapters().into_iter();
        let active = active.find(|(_, weight)| *weight != 0.0);
        let (name, _) = active.ok_or(FineTuneError::NotOneAdapter)?;
        let tag = self.tags.iter().find(|(of, _)| of == name);
        let (_, tag) = tag.ok_or(FineTuneError::NotOneAdapter)?;
        self.adapter().map(|_| tag.clone())
    }

    /// How many parameters are trained, and how many there are in all.
    ///
    /// # Errors
    /// Several adapters are active, or none.
    pub fn num_parameters(&self) -> Result<(usize, usize), FineTuneError> {
        let (config, trained) = (self.model.config(), self.adapter()?.num_parameters());
        let embedding = config.vocab_size * config.d_model;
        let head = if config.tied_head { 0 } else { embedding };
        Ok((
            trained,
            trained + config.linear_parameters() + embedding + head,
        ))
    }

    /// All trainable parameters, flat `[1, n]`; [`Adapter::matrices`] says which is where.
    ///
    /// # Errors
    /// Several adapters are active, or none.
    pub fn parameters_mut(&mut self) -> Result<&mut Tensor, FineTuneError> {
        let adapter = self.model.adapter_mut();
        Ok(adapter
            .ok_or(FineTuneError::NotOneAdapter)?
            .parameters_mut())
    }

    /// A copy of all trainable parameters, such as to go back to the best ones of a loop with [`Self::restore`].
    ///
    /// # Errors
    /// Several adapters are active, or none; the device failed.
    pub fn parameters(&self) -> Result<Vec<f32>, FineTuneError> {
        Ok(self.adapter()?.parameters().to_vec()?)
    }

    /// Takes parameters that [`Self::parameters`] gave.
    ///
    /// # Errors
    /// Several adapters are active, or none; parameters of another length or that are not finite.
    pub fn restore(&mut self, parameters: &[f32]) -> Result<(), FineTuneError> {
        let expected = self.adapter()?.num_parameters();
        let is_right = parameters.len() == expected;
        let what = "parameters";
        if !is_right {
            return Err(FineTuneError::OtherAdapter { what });
        }
        let is_finite = parameters.iter().all(|number| number.is_finite());
        hone_train::SettingError::unless(is_finite, what, "not finite", "finite")?;
        let device = self.model.device().clone();
        device.write(parameters, self.parameters_mut()?);
        Ok(())
    }

    /// Loss of one packed batch: its sum in nats, and how many supervised tokens that is over.
    ///
    /// # Errors
    /// A batch that the model cannot be given.
    pub fn loss(&self, batch: &Batch) -> Result<LossSum, FineTuneError> {
        load::loss(&self.model, batch)
    }

    /// Mean loss over examples, in nats per supervised token.
    ///
    /// # Errors
    /// No examples; a device that failed.
    pub fn evaluate(&self, examples: &Encoding) -> Result<f64, FineTuneError> {
        let mut sum = LossSum::default();
        for example in &examples.examples {
            sum += self.loss(&hone_data::pack(&[example]))?;
        }
        sum.mean().ok_or(FineTuneError::NoRows)
    }

    /// The model's reply to a conversation. `on_text` hears each piece as it comes and may stop the reply: it returns
    /// [`Control`], or nothing at all.
    ///
    /// ```
    /// use hone_finetune::{Control, Conversation, GenerateOptions, LoadOptions, Role, Turn, load_base};
    ///
    /// # fn main() -> Result<(), hone_finetune::FineTuneError> {
    /// # let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models/tiny-llama-tied");
    /// let base = load_base(dir, LoadOptions::default())?;
    /// let conversation = Conversation::new([Turn::new(Role::User, "Which way is north?")]);
    /// let options = GenerateOptions { max_new_tokens: 8, ..GenerateOptions::default() };
    /// let mut heard = String::new();
    /// let reply = base.generate(&conversation, &options, |piece| heard.push_str(piece))?;
    /// assert_eq!(reply.text, heard);
    ///
    /// let first = base.generate(&conversation, &options, |_| Control::Stop)?;
    /// assert!(reply.text.starts_with(&first.text));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Settings out of range, a conversation that the template refuses or that fills the context.
    pub fn generate<C: Into<Control>>(
        &self,
        conversation: &Conversation,
        options: &GenerateOptions,
        on_text: impl FnMut(&str) -> C + Send,
    ) -> Result<Reply, FineTuneError> {
        generate((&self.open, &self.model), conversation, options, on_text)
    }

    /// Writes the adapter as PEFT does: `adapter_config.json` and `adapter_model.safetensors`, with the hashes of base and
    /// chat template where PEFT does not look.
    ///
    /// # Errors
    /// A directory that cannot be written, a parameter that `dtype` cannot hold.
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

    pub(crate) fn provenance(&self) -> Result<Provenance, FineTuneError> {
        Ok(Provenance {
            base_name: None,
            base_fingerprint: Some(self.open.weights.fingerprint()?.to_string()),
            template_hash: Some(self.open.renderer.template_hash().to_owned()),
            template_date: self.open.printed_date().map(|date| date.to_string()),
            run: None,
        })
    }

    /// Puts another adapter beside those that are there, under a name of its own; it is inactive until it is asked for. The
    /// first one is called `default`.
    ///
    /// # Errors
    /// A name that is taken, and as [`BaseModel::load_adapter`].
    pub fn add_adapter(&mut self, name: &str, dir: impl AsRef<Path>) -> Result<(), FineTuneError> {
        if self.tags.iter().any(|(taken, _)| taken == name) {
            let name = name.to_owned();
            return Err(FineTuneError::NameTaken { name });
        }
        let adapter = self.open.read_adapter(&self.model, dir.as_ref())?;
        self.model.add(name, adapter);
        self.tags.push((name.to_owned(), AdapterTag::default()));
        Ok(())
    }

    /// Takes one adapter off; the others stay as they are.
    ///
    /// # Errors
    /// A name that is not there.
    pub fn remove_adapter(&mut self, name: &str) -> Result<(), FineTuneError> {
        if self.model.remove(name).is_none() {
            let available = self.tags.iter().map(|(name, _)| name.clone()).collect();
            let name = name.to_owned();
            return Err(hone_model::ActiveError::Unknown { name, available }.into());
        }
        self.tags.retain(|(of, _)| of != name);
        Ok(())
    }

    /// Uses these adapters, each with a weight, and no others; no base is loaded again.
    ///
    /// ```
    /// use hone_finetune::{LoadOptions, load_base};
    ///
    /// # fn main() -> Result<(), hone_finetune::FineTuneError> {
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

    /// Names of the adapters and what each is multiplied with, in the order they were added; 0 is inactive.
    pub fn adapters(&self) -> Vec<(&str, f32)> {
        self.model.adapters()
    }

    /// Does something with the base alone; afterwards the same adapters are active again.
    pub fn disable_adapter<R>(&mut self, work: impl FnOnce(&Model) -> R) -> R {
        self.model.with_adapter_disabled(|model| work(model))
    }

    /// Takes the adapters off.
    pub fn unload(self) -> BaseModel {
        let Self {
            open, mut model, ..
        } = self;
        while model.detach().is_some() {}
        BaseModel { open, model }
    }
}
