//! From a base's name to a model in memory: files first, weights when they are wanted.

use std::fmt;
use std::path::Path;

use hone_data::{Batch, Encoding, Record, TooLong, read};
use hone_model::{BaseFormat, LossSum, Model};
use hone_tensor::Device;
use hone_text::{Conversation, Renderer, TemplateOption};
use hone_train::{SettingError, with_packed};

use crate::base::{self, Home, OpenBase, OpenOptions};
use crate::control::Control;
use crate::error::FineTuneError;
use crate::generate::{GenerateOptions, Reply, generate};

/// How a base is taken into memory.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Threads of the CPU; the machine's cores if not said. Results do not depend on it.
    pub threads: Option<usize>,
    /// Where it is computed; the CPU if not said. It brings its own threads.
    pub device: Option<Device>,
    /// Longest sequence, prompt and reply together, in tokens; at most the base's own context.
    pub max_length: usize,
    /// The form its linear layers are kept in: as stored, or as NF4 for QLoRA.
    pub format: BaseFormat,
    /// Tokens to add to the vocabulary, by their text. [`get_peft_model`](crate::get_peft_model) trains their rows; adapters are saved with the
    /// tokenizer that has them.
    ///
    /// ```
    /// use hone_finetune::{LoadOptions, LoraConfig, SaveDtype, get_peft_model, load_base};
    ///
    /// # fn main() -> Result<(), hone_finetune::FineTuneError> {
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
    /// Where fetched models lie, such as [`Home::from_env`]; needed for names that are no paths.
    pub home: Option<Home>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            threads: None,
            device: None,
            max_length: 2048,
            format: BaseFormat::Stored,
            new_tokens: vec![],
            chat_template: None,
            template_options: vec![],
            home: None,
        }
    }
}

/// A base whose headers, tokenizer and chat template are read, and whose weights are not in memory yet: enough to encode
/// rows, and to plan a run.
pub struct BaseFiles {
    pub(crate) open: OpenBase,
    pub(crate) max_positions: usize,
    format: BaseFormat,
    device: Option<Device>,
    threads: Option<usize>,
}

/// Opens a base: a Hugging Face directory, a `.gguf` file, or, with [`LoadOptions::home`], a built-in name or a hub id that
/// was fetched. Nothing is fetched here.
///
/// # Errors
/// A name that leads nowhere, files that are damaged or of a family that is not computed, no tokenizer, options that
/// contradict each other.
pub fn open_base(name: impl AsRef<Path>, options: LoadOptions) -> Result<BaseFiles, FineTuneError> {
    let LoadOptions {
        threads,
        device,
        max_length,
        format,
        new_tokens,
        chat_template,
        template_options,
        home,
    } = options;
    let is_positive = threads.is_none_or(|threads| threads > 0);
    SettingError::unless(is_positive, "threads", 0, "at least 1")?;
    let is_one = device.is_none() || threads.is_none();
    let must = "left out where a device is given, which has its own";
    SettingError::unless(is_one, "threads", threads.unwrap_or(0), must)?;
    SettingError::unless(max_length > 0, "max_length", max_length, "at least 1")?;
    let chosen = OpenOptions {
        chat_template,
        template_options,
        ..OpenOptions::default()
    };
    let name = name.as_ref().to_string_lossy();
    let mut open = OpenBase::open(base::find_in(&name, home.as_ref())?, &chosen)?;
    open.add_tokens(&new_tokens)?;
    Ok(BaseFiles {
        max_positions: max_length.min(open.weights.config().context_len),
        open,
        format,
        device,
        threads,
    })
}

/// Takes a base into memory; [`open_base`] and [`BaseFiles::load`] in one.
///
/// ```
/// use hone_finetune::{LoadOptions, load_base};
///
/// # fn main() -> Result<(), hone_finetune::FineTuneError> {
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
/// As [`open_base`], and a device without room.
pub fn load_base(name: impl AsRef<Path>, options: LoadOptions) -> Result<BaseModel, FineTuneError> {
    open_base(name, options)?.load()
}

impl BaseFiles {
    /// Takes the weights into memory.
    ///
    /// # Errors
    /// Weights that cannot be read or held in the form asked for.
    pub fn load(self) -> Result<BaseModel, FineTuneError> {
        let Self {
            open,
            max_positions,
            format,
            device,
            threads,
        } = self;
        let device = match device {
            Some(device) => device,
            None => {
                let all = || std::thread::available_parallelism().map_or(1, usize::from);
                Device::cpu(threads.unwrap_or_else(all))?
            }
        };
        let model = Model::load(&open.weights, &device, format, max_positions)?;
        Ok(BaseModel { open, model })
    }

    /// Tokenizer and chat template: text to ids and back.
    pub fn renderer(&self) -> &Renderer {
        &self.open.renderer
    }

    /// Rows in memory as the base will see them.
    ///
    /// # Errors
    /// As [`BaseModel::encode`].
    pub fn encode(&self, records: &[Record]) -> Result<Encoding, FineTuneError> {
        encode(&self.open, self.max_positions, records)
    }

    pub(crate) fn format(&self) -> BaseFormat {
        self.format
    }
}

impl fmt::Debug for BaseFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("BaseFiles");
        shown
            .field("path", &self.open.base.path)
            .finish_non_exhaustive()
    }
}

/// A frozen base in memory, with its tokenizer and chat template.
pub struct BaseModel {
    pub(crate) open: OpenBase,
    pub(crate) model: Model,
}

impl fmt::Debug for BaseModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("BaseModel");
        shown
            .field("path", &self.open.base.path)
            .finish_non_exhaustive()
    }
}

impl BaseModel {
    /// The network itself, for what this page does not cover. Its methods trust the ids and shapes that they are given.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Tokenizer and chat template: text to ids and back.
    pub fn renderer(&self) -> &Renderer {
        &self.open.renderer
    }

    /// Rows in memory as the base will see them. A conversation becomes a row by `Record::from`, a row as it stands in a
    /// JSONL file by [`Record::from_json`].
    ///
    /// # Errors
    /// Any row that cannot be used or is longer than the model was loaded for: none is left out in silence.
    pub fn encode(&self, records: &[Record]) -> Result<Encoding, FineTuneError> {
        encode(&self.open, self.model.max_positions(), records)
    }

    /// Rows of files as the base will see them: JSONL, JSON, CSV, TSV, Parquet, text or Markdown, in any shape that
    /// `hone train` reads.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`Self::encode`].
    pub fn encode_files<P: AsRef<Path>>(&self, files: &[P]) -> Result<Encoding, FineTuneError> {
        encode_files(&self.open, self.model.max_positions(), files)
    }

    /// Loss of one packed batch: its sum in nats, and how many supervised tokens that is over.
    ///
    /// # Errors
    /// A batch that the model cannot be given.
    pub fn loss(&self, batch: &Batch) -> Result<LossSum, FineTuneError> {
        loss(&self.model, batch)
    }

    /// The base's reply to a conversation; see [`PeftModel::generate`](crate::PeftModel::generate).
    ///
    /// # Errors
    /// As there.
    pub fn generate<C: Into<Control>>(
        &self,
        conversation: &Conversation,
        options: &GenerateOptions,
        on_text: impl FnMut(&str) -> C + Send,
    ) -> Result<Reply, FineTuneError> {
        generate((&self.open, &self.model), conversation, options, on_text)
    }
}

pub(crate) fn encode(
    open: &OpenBase,
    limit: usize,
    records: &[Record],
) -> Result<Encoding, FineTuneError> {
    let encoding = hone_data::encode(&open.renderer, records, limit, TooLong::Drop);
    match encoding.refused.is_empty() {
        true => Ok(encoding),
        false => Err(FineTuneError::Rows {
            rows: encoding.refused,
        }),
    }
}

pub(crate) fn encode_files<P: AsRef<Path>>(
    open: &OpenBase,
    limit: usize,
    files: &[P],
) -> Result<Encoding, FineTuneError> {
    let reading = read(files)?;
    match reading.refused.is_empty() {
        true => encode(open, limit, &reading.records),
        false => Err(FineTuneError::Rows {
            rows: reading.refused,
        }),
    }
}

pub(crate) fn loss(model: &Model, batch: &Batch) -> Result<LossSum, FineTuneError> {
    check_batch(model, batch)?;
    let nats = with_packed(batch, |packed| model.nats(packed))?;
    Ok(nats.into_iter().collect())
}

/// Refuses a batch that the engine would not be safe with.
pub(crate) fn check_batch(model: &Model, batch: &Batch) -> Result<(), FineTuneError> {
    let (vocab_size, limit) = (model.config().vocab_size, model.max_positions());
    Ok(with_packed(batch, |packed| {
        packed.check(vocab_size, limit)
    })?)
}
