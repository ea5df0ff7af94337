//! A base model opened: its weights mapped, its tokenizer and chat template bound into one renderer.
//!
//! The files say who the model is in two dialects, a Hugging Face directory and GGUF metadata; this is where they
//! become the same thing.

use super::Base;
use super::chat_form::{ChatForm, FormOrigin, known_templates};
use hone_data::nearest::nearest;
use hone_ledger::ContentId;
use hone_ledger::words::{for_shell, path_for_shell};
use hone_model::weights::{BaseWeights, Gguf, Malformed, NewRows, WeightsError};
use hone_model::{
    Adapter, AdapterFiles, BaseFormat, InitError, Model, PeftError, Provenance, RawAdapter,
};
use hone_text::{
    ChatTemplate, Date, GgufVocabulary, RenderError, Renderer, TemplateError, TemplateOption,
    TokenFiles, Tokenizer, TokenizerError,
};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How a base is to be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Chat template: a name that the model has for one, a built-in form, or a file; the model's own if not given.
    pub chat_template: Option<String>,
    /// What is set for the chat template, such as `enable_thinking=false`.
    pub template_options: Vec<TemplateOption>,
    /// An adapter that is to be used with it, and decides where the base leaves the chat template open.
    pub adapter: Option<AdapterOrigin>,
    /// The day that the chat template prints; the adapter's own, else today's, if not given.
    pub date: Option<Date>,
}

/// Where an adapter lies, and what it says of its training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterOrigin {
    /// Its directory.
    pub dir: PathBuf,
    /// What it says.
    pub provenance: Provenance,
}

impl From<&RawAdapter> for AdapterOrigin {
    fn from(raw: &RawAdapter) -> Self {
        Self {
            dir: raw.path().to_path_buf(),
            provenance: raw.provenance(),
        }
    }
}

/// A base model whose headers have been read and found whole.
#[allow(missing_debug_implementations)] // its renderer holds compiled templates
pub struct OpenBase {
    /// Where it is and what the user called it.
    pub base: Base,
    /// The weights, not yet in memory.
    pub weights: BaseWeights,
    /// Text to ids.
    pub renderer: Renderer,
    /// The chat template that the renderer uses.
    pub form: ChatForm,
    /// What was asked for.
    options: OpenOptions,
    /// The day that the chat template prints.
    date: Date,
    /// Tokens that were added to its own, by their text.
    pub new_tokens: Vec<String>,
    /// The tokens that each of them was spelt with before.
    spellings: Vec<Vec<u32>>,
    /// What was assumed about its files.
    notices: Vec<String>,
}

/// Why a base cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// There is no tokenizer.
    #[error("{} has no tokenizer.json, no tokenizer.model, and no vocab.json with merges.txt", .path.display())]
    NoTokenizer {
        /// The directory.
        path: PathBuf,
    },
    /// The tokenizer.
    #[error("the tokenizer of {}: {source}", .path.display())]
    Tokenizer {
        /// The model.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// The vocabulary of a GGUF file.
    #[error("the vocabulary of {}: {source}", .path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Malformed,
    },
    /// The chat template.
    #[error("{}: {source}", .path.display())]
    Template {
        /// The model.
        path: PathBuf,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A date for a template that prints none.
    #[error("the chat template prints no date, so --date would change nothing")]
    NoDate {
        /// The options it reads that may be for a date.
        reads: Vec<String>,
    },
    /// No template of this name.
    #[error("`{asked}` is no chat template of the model, no built-in form and no file")]
    NoSuchTemplate {
        /// What was asked for.
        asked: String,
        /// The names that the model has for templates.
        named: Vec<String>,
    },
    /// A configuration that was given as a file of a template.
    #[error("{} has no `chat_template`", .path.display())]
    NoTemplateInFile {
        /// The file.
        path: PathBuf,
    },
    /// A file of a template.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Tokenizer and template do not fit together.
    #[error("{}: {source}", .path.display())]
    Renderer {
        /// The model.
        path: PathBuf,
        /// What is wrong.
        source: RenderError,
    },
}

impl OpenError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Weights(error) => error.hints(),
            Self::NoTokenizer { .. } => vec![
                "save it with transformers' AutoTokenizer.from_pretrained(…).save_pretrained(DIR), which writes tokenizer.json"
                    .into(),
            ],
            Self::Tokenizer { source, .. } => source.hints(),
            // A name chooses among the model's own templates, and not among those of a file.
            Self::Template { source: TemplateError::NoDefault { .. }, path } if is_json(path) => {
                vec!["write the one that is meant into a file of its own: --chat-template FILE.jinja".into()]
            }
            Self::Template { source: TemplateError::NoDefault { names }, .. } => {
                let first = for_shell(names.first().map_or("NAME", String::as_str));
                vec![format!("choose one, as with --chat-template {first}")]
            }
            Self::Template { source: TemplateError::NoSuchOption { name, reads }, .. } => {
                let near = nearest(name, reads.iter().map(String::as_str));
                let near = near.map(|near| format!("did you mean `{near}`?"));
                let none = || "leave it out, or take a template that reads it: --chat-template FILE".into();
                vec![near.unwrap_or_else(none)]
            }
            Self::Template { source: TemplateError::OptionTwice { .. }, .. } => vec![],
            Self::Template { .. } => vec![
                "--chat-template takes another one: a .jinja file, or the built-in form `instruction` or `chatml`".into(),
            ],
            Self::NoDate { reads } => match reads.first() {
                Some(name) => vec![format!(
                    "it takes the date as it is to be written: --template-option {name}=\"26 Jul 2024\""
                )],
                None => vec!["leave --date out".into()],
            },
            Self::NoSuchTemplate { asked, named } => known_templates(asked, named),
            Self::NoTemplateInFile { .. } => vec!["give the .jinja file itself".into()],
            Self::Renderer { source, .. } => source.hints(),
            Self::Unreadable { path, source } => vec![match source.kind() {
                ErrorKind::IsADirectory => format!(
                    "give the directory another name, or take it away: {} is looked for as a file",
                    path.display()
                ),
                ErrorKind::InvalidData => format!(
                    "write it again as UTF-8: iconv -f UTF-16 -t UTF-8 {0} > FILE.jinja, and --chat-template FILE.jinja",
                    path_for_shell(path)
                ),
                _ => "--chat-template takes another one: a .jinja file, or the built-in form `instruction` or `chatml`".into(),
            }],
            Self::Vocabulary { .. } => vec![
                "fetch the model again, or save its tokenizer again where it was made (`hone pull` brings what is damaged of a model of the hub)"
                    .into(),
            ],
        }
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "json")
}

/// An adapter that does not belong on this base, and why.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// Its files, or what they say of the base's weights.
    #[error(transparent)]
    Files(#[from] PeftError),
    /// The base.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Its tokenizer cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its tokenizer is not the base's with more tokens.
    #[error("{}: {source}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// It has rows for tokens that nothing names, so that no text would ever use them.
    #[error("the adapter in {} has rows for {count} tokens more than the base, and no tokenizer.json that says what they are", path.display())]
    Unnamed {
        /// The adapter's directory.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The base with its tokens.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It was trained with another chat template, so that prompts would look different to it.
    #[error("the adapter in {} was trained with another chat template than {used}", path.display())]
    OtherTemplate {
        /// The adapter's directory.
        path: PathBuf,
        /// The one that would be used.
        used: Box<ChatForm>,
    },
}

impl AdapterError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Files(error) => error.hints(),
            Self::Weights(error) => error.hints(),
            Self::OtherTemplate { used, .. } => vec![match used.origin() {
                _ if !used.options().is_empty() => {
                    "leave --template-option out: the adapter's own form is used then".into()
                }
                FormOrigin::Model { .. } | FormOrigin::Missing => {
                    "give the template it was trained with: --chat-template FILE.jinja".into()
                }
                FormOrigin::Adapter(_) => {
                    "adapters that go together were trained with one chat template".into()
                }
                _ => "leave --chat-template out: the adapter's own form is used then".into(),
            }],
            Self::Tokenizer { .. } => {
                vec!["use the base it was trained on, with that base's own tokenizer".into()]
            }
            Self::Unnamed { path, .. } => vec![format!(
                "save the tokenizer that it was trained with beside it: tokenizer.save_pretrained(\"{}\")",
                path.display()
            )],
            Self::Open(error) => error.hints(),
            Self::Read { .. } => vec![],
        }
    }
}

impl OpenBase {
    /// Reads the adapter in `dir` for a model of this base, if it was trained on these weights and this template, as far
    /// as it says.
    pub fn read_adapter(&self, model: &Model, dir: &Path) -> Result<Adapter, AdapterError> {
        let mut files = AdapterFiles::read(dir)?;
        if files.provenance().base_fingerprint.is_some() {
            files.check_base(&self.weights.fingerprint()?.to_string())?;
        }
        let template = files.provenance().template_hash.as_deref();
        if template.is_some_and(|hash| hash != self.renderer.template_hash()) {
            return Err(AdapterError::OtherTemplate {
                path: dir.into(),
                used: Box::new(self.form.clone()),
            });
        }
        files.leave_out_copies(&self.weights);
        Ok(files.into_adapter(model.config(), model.device())?)
    }

    /// Adds tokens behind those that are there, to the tokenizer and, where it has no rows to spare, to the weights: a row is
    /// the mean of those of the tokens that spelt it so far.
    pub fn add_tokens(&mut self, texts: &[String]) -> Result<(), OpenError> {
        if texts.is_empty() {
            return Ok(());
        }
        let grown = self.renderer.tokenizer().with_tokens(texts);
        let grown = grown.map_err(|source| self.of_tokenizer(source))?;
        let spellings = self.spell(texts)?;
        let (had, rows) = (
            self.renderer.tokenizer().vocab_size(),
            self.weights.config().vocab_size,
        );
        // Tokens of its own that the base has no row for come first; they have no spelling.
        let mut beyond = vec![vec![]; had.saturating_sub(rows)];
        beyond.extend(spellings.into_iter().skip(rows.saturating_sub(had)));
        let rows = self.weights.rows_spelt(&beyond)?;
        self.grow(Some(grown), texts.to_vec(), &rows)
    }

    /// Lets the trained rows of new tokens start from what spelt them, also where they lie in rows that the base had to spare.
    pub fn start_new_tokens(&self, model: &mut Model) -> Result<(), InitError> {
        if self.spellings.is_empty() {
            return Ok(());
        }
        let (rows, ids) = (self.weights.rows_spelt(&self.spellings)?, self.new_ids());
        let device = model.device().clone();
        if let Some(adapter) = model.adapter_mut() {
            adapter.start_rows(&ids, &rows, &device)?;
        }
        Ok(())
    }

    fn spell(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, OpenError> {
        let spell = |text: &String| self.renderer.tokenizer().encode_plain(text);
        let spelt = texts.iter().map(spell).collect::<Result<_, _>>();
        spelt.map_err(|source| self.of_tokenizer(source))
    }

    fn of_tokenizer(&self, source: TokenizerError) -> OpenError {
        OpenError::Tokenizer {
            path: self.base.path.clone(),
            source,
        }
    }

    /// Numbers of the tokens that were added.
    pub fn new_ids(&self) -> Vec<u32> {
        let tokenizer = self.renderer.tokenizer();
        let id = |text: &String| tokenizer.token_id(text);
        self.new_tokens.iter().filter_map(id).collect()
    }

    /// Takes over what the adapter in `dir` was trained with and this base does not have: tokens, see
    /// `take_tokens_of`, and a chat template. Returns whether the vocabulary grew.
    pub fn fit_to_adapter(&mut self, dir: &Path) -> Result<bool, AdapterError> {
        self.fit_to(&RawAdapter::read(dir)?)
    }

    /// As [`Self::fit_to_adapter`], of an adapter that has been read.
    pub fn fit_to(&mut self, raw: &RawAdapter) -> Result<bool, AdapterError> {
        let dir = raw.path();
        let grew = self.take_tokens_of(dir, raw)?;
        self.take_form_of(dir, raw.provenance().template_hash.as_deref())?;
        Ok(grew)
    }

    /// Uses the chat template of the adapter in `dir`, if it says which. A template that the user asked for, or options of
    /// one, have to make the one that the adapter records; of an adapter that records none the user knows better.
    fn take_form_of(&mut self, dir: &Path, recorded: Option<&str>) -> Result<(), AdapterError> {
        let Some(mut form) = ChatForm::of_adapter(&self.weights, dir, recorded)? else {
            return Ok(());
        };
        let OpenOptions {
            chat_template,
            template_options,
            ..
        } = &self.options;
        let is_free = template_options.is_empty() || recorded.is_none();
        let is_taken = chat_template.is_none() && is_free;
        if is_taken {
            form = form.with_options(template_options, &self.base.path)?;
        }
        let tokenizer = self.renderer.tokenizer().clone();
        let renderer = render_with(tokenizer, &form, self.date, &self.weights, &self.base.path)?;
        if renderer.template_hash() == self.renderer.template_hash() {
            return Ok(());
        }
        if is_taken {
            if let FormOrigin::Adapter(_) = self.form.origin() {
                let (path, used) = (dir.into(), Box::new(self.form.clone()));
                return Err(AdapterError::OtherTemplate { path, used });
            }
            (self.renderer, self.form) = (renderer, form);
            return Ok(());
        }
        let used = &self.form;
        match recorded {
            Some(_) => Err(AdapterError::OtherTemplate {
                path: dir.into(),
                used: Box::new(used.clone()),
            }),
            None => {
                self.notices.push(format!(
                    "the adapter in {} brings a chat template, and {used} is used instead",
                    dir.display()
                ));
                Ok(())
            }
        }
    }

    /// What was assumed about its files, in sentences.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Takes over the tokens that the adapter in `dir` was trained with and this base does not have: their rows, and what
    /// the `tokenizer.json` beside it calls them. Returns whether the vocabulary grew.
    fn take_tokens_of(&mut self, dir: &Path, raw: &RawAdapter) -> Result<bool, AdapterError> {
        let path = dir.join("tokenizer.json");
        let json = match std::fs::read(&path) {
            Ok(json) => Some(json),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => return Err(AdapterError::Read { path, source }),
        };
        let tokenizer = self.renderer.tokenizer();
        let named = |limit| {
            json.as_ref()
                .map(|json| tokenizer.with_tokens_of(json, limit))
        };
        let known = match named(usize::MAX) {
            Some(Ok(Some(grown))) => grown.vocab_size(),
            _ => 0,
        };
        let config = self.weights.config();
        let rows = raw.new_rows(config, known);
        let rows = rows.unwrap_or_default();
        // Tokens that the model has no rows for are nothing that can be computed, here or elsewhere.
        let grown = named(config.vocab_size + rows.tokens).transpose();
        let grown = grown.map_err(|source| AdapterError::Tokenizer { path, source })?;
        let grown = grown.flatten();
        let all = grown.as_ref().unwrap_or(tokenizer).vocab_size();
        // A matrix may have more rows than there are tokens; rows that were trained one by one were meant.
        if rows.tokens > 0 && rows.embedding.is_none() && all < config.vocab_size + rows.tokens {
            return Err(AdapterError::Unnamed {
                path: dir.into(),
                count: config.vocab_size + rows.tokens - all,
            });
        }
        if rows.tokens == 0 && grown.is_none() {
            return Ok(false);
        }
        let first = tokenizer.vocab_size() as u32;
        let new = grown.as_ref().map_or(vec![], |grown| {
            let last = grown.vocab_size() as u32;
            (first..last).filter_map(|id| grown.token(id)).collect()
        });
        self.grow(grown, new, &rows)?;
        Ok(true)
    }

    fn grow(
        &mut self,
        tokenizer: Option<Tokenizer>,
        new_tokens: Vec<String>,
        rows: &NewRows,
    ) -> Result<(), OpenError> {
        self.spellings.extend(self.spell(&new_tokens)?);
        if rows.tokens > 0 {
            self.weights.grow(rows)?;
        }
        if let Some(tokenizer) = tokenizer {
            self.renderer = render_with(
                tokenizer,
                &self.form,
                self.date,
                &self.weights,
                &self.base.path,
            )?;
        }
        self.new_tokens.extend(new_tokens);
        Ok(())
    }

    /// Bytes of the frozen base as it will be held in this form.
    pub fn loaded_bytes(&self, format: BaseFormat) -> usize {
        let weights = &self.weights;
        let stored = weights.size_bytes() + weights.grown_bytes();
        let linear_bytes = match format {
            BaseFormat::Stored => return stored,
            BaseFormat::F32 => 4.0,
            BaseFormat::Bf16 => 2.0,
            // 4 bits, a byte of scale for 64 of them, a float for 256 scales.
            BaseFormat::Nf4 => 0.516,
        };
        // The linear layers change their form; embedding and head stay as they are.
        let linear = weights.config().linear_parameters() as f64;
        let per_parameter = stored as f64 / weights.num_parameters().max(1) as f64;
        (stored as f64 - linear * (per_parameter - linear_bytes)) as usize
    }

    /// The hash of what a run is about: these weights, by their fingerprint and configuration, the rows, by what is known of them and by their
    /// ids, and what makes tokens of them.
    pub fn content<'a>(
        &self,
        fingerprint: ContentId,
        data: Value,
        rows: impl Iterator<Item = &'a Vec<u32>>,
    ) -> ContentId {
        // What is computed with the weights is part of what they are; where an answer ends is not.
        let mut config = json!(self.weights.config());
        if let Some(fields) = config.as_object_mut() {
            fields.remove("eos");
        }
        let whole = json!({
            "base": fingerprint,
            "config": config,
            "template": self.renderer.template_hash(),
            "template_date": self.printed_date().map(|date| date.to_string()),
            "tokenizer": self.renderer.tokenizer().hash(),
            "data": data,
            "ids": rows.collect::<Vec<_>>(),
        });
        ContentId::of(whole.to_string().as_bytes())
    }

    /// The day that the chat template prints, if it prints one.
    pub fn printed_date(&self) -> Option<Date> {
        self.renderer.prints_date().then_some(self.date)
    }

    /// Opens a base that has been found.
    pub fn open(base: Base, options: &OpenOptions) -> Result<Self, OpenError> {
        let weights = BaseWeights::open(&base.path)?;
        Self::with_weights(base, weights, options)
    }

    /// The rest of a base whose weights are open.
    pub fn with_weights(
        base: Base,
        weights: BaseWeights,
        options: &OpenOptions,
    ) -> Result<Self, OpenError> {
        let asked = options.chat_template.as_deref();
        let form = match ChatForm::choose(&weights, asked, &options.template_options) {
            Err(open) => match options.adapter.as_ref().map(|from| form_of(&weights, from)) {
                Some(Ok(Some(form))) if asked.is_none() => {
                    form.with_options(&options.template_options, &base.path)?
                }
                _ => return Err(open),
            },
            chosen => chosen?,
        };
        let (tokenizer, mut notices) = open_tokenizer(&weights, &base.path)?;
        let recorded = options.adapter.as_ref().and_then(date_of);
        let date = options.date.or(recorded).unwrap_or_else(today);
        let renderer = render_with(tokenizer, &form, date, &weights, &base.path)?;
        // The template of an adapter may print one where that of the base does not.
        if options.date.is_some() && options.adapter.is_none() && !renderer.prints_date() {
            let dates = renderer
                .template_reads()
                .filter(|name| name.contains("date"));
            let reads = dates.map(str::to_owned).collect();
            return Err(OpenError::NoDate { reads });
        }
        if options.date.is_none() && recorded.is_none() && options.adapter.is_some() {
            let is_printed = renderer.prints_date();
            notices.extend(is_printed.then(|| {
                format!("the chat template prints a date, and the adapter does not say which it was trained with: {date} is used (--date)")
            }));
        }
        notices.extend(unknown_ends(&weights, &renderer));
        notices.extend(different_ends(&weights, &renderer));
        Ok(Self {
            renderer,
            form,
            options: options.clone(),
            date,
            base,
            weights,
            new_tokens: vec![],
            spellings: vec![],
            notices,
        })
    }
}

fn form_of(weights: &BaseWeights, from: &AdapterOrigin) -> Result<Option<ChatForm>, AdapterError> {
    let recorded = from.provenance.template_hash.as_deref();
    Ok(ChatForm::of_adapter(weights, &from.dir, recorded)?)
}

/// The day in UTC.
fn today() -> Date {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    Date::from_days((seconds / 86_400) as i64)
}

/// The day that the template of an adapter printed, if it says so.
fn date_of(from: &AdapterOrigin) -> Option<Date> {
    from.provenance.template_date.as_ref()?.parse().ok()
}

/// The tokenizer and a chat template, fitted together.
fn render_with(
    tokenizer: Tokenizer,
    form: &ChatForm,
    date: Date,
    weights: &BaseWeights,
    path: &Path,
) -> Result<Renderer, OpenError> {
    let fail = |source| OpenError::Template {
        path: form.file(path).to_path_buf(),
        source,
    };
    let dated = |template: ChatTemplate| template.with_date(date);
    let template = form.compile().map_err(fail)?.map(dated);
    let tool_use = form.compile_tool_use().map_err(fail)?.map(dated);
    let renderer = Renderer::new(tokenizer, template, &weights.config().eos);
    let renderer = renderer.map_err(|source| OpenError::Renderer {
        path: path.to_path_buf(),
        source,
    })?;
    let renderer = renderer.for_rows(weights.config().vocab_size);
    Ok(match tool_use {
        Some(tool_use) => renderer.with_tool_use(tool_use),
        None => renderer,
    })
}

/// The tokenizer, whose tokens are those of the weights, and what was assumed about its files.
fn open_tokenizer(
    weights: &BaseWeights,
    path: &Path,
) -> Result<(Tokenizer, Vec<String>), OpenError> {
    let (tokenizer, assumed) = read_tokenizer(weights, path)?;
    match tokenizer.refuse_beyond(weights.config().vocab_size) {
        Ok(()) => Ok((tokenizer, assumed)),
        Err(source) => Err(OpenError::Tokenizer {
            path: path.to_path_buf(),
            source,
        }),
    }
}

fn read_tokenizer(
    weights: &BaseWeights,
    path: &Path,
) -> Result<(Tokenizer, Vec<String>), OpenError> {
    let fail = |source| OpenError::Tokenizer {
        path: path.to_path_buf(),
        source,
    };
    if let Some(gguf) = weights.gguf() {
        let vocabulary = read_vocabulary(gguf).map_err(|source| OpenError::Vocabulary {
            path: path.to_path_buf(),
            source,
        })?;
        let tokenizer = Tokenizer::from_gguf(&vocabulary).map_err(fail)?;
        let says_how = vocabulary.pre.is_some() || vocabulary.model != "gpt2";
        let unsaid = (!says_how).then(|| {
            "the GGUF file does not say how its tokenizer cuts words (tokenizer.ggml.pre): `default` is assumed, as llama.cpp \
             does, and tokens may be others than in training; convert the model again to be sure"
                .to_owned()
        });
        return Ok((tokenizer, unsaid.into_iter().collect()));
    }
    let file = |name: &str| weights.file(name);
    let (config, map) = (
        file("tokenizer_config.json")?,
        file("special_tokens_map.json")?,
    );
    let added = file("added_tokens.json")?;
    let files = TokenFiles {
        config: config.as_deref(),
        special_tokens_map: map.as_deref(),
        added_tokens: added.as_deref(),
        bos: weights.config().bos,
        eos: &weights.config().eos,
    };
    let tokenizer = match weights.tokenizer_json()? {
        Some(json) => Tokenizer::from_json(&json).map_err(|error| error.of_file("tokenizer.json")),
        None => older_tokenizer(weights, path, config.as_deref())?,
    };
    let tokenizer = tokenizer.map_err(fail)?;
    tokenizer.with_files(&files).map_err(fail)
}

/// What to know where a model's configuration ends texts with numbers that stand for no token.
fn unknown_ends(weights: &BaseWeights, renderer: &Renderer) -> Option<String> {
    let tokenizer = renderer.tokenizer();
    let ends = weights.config().eos.iter();
    let unknown: Vec<String> = ends
        .filter(|id| tokenizer.token(**id).is_none())
        .map(u32::to_string)
        .collect();
    let unknown = match &unknown[..] {
        [] => return None,
        unknown => unknown.join(", "),
    };
    let taught = match renderer.end_of_reply().or(tokenizer.eos()) {
        Some(id) => match tokenizer.token(id) {
            Some(token) => format!("replies end with {token} ({id})"),
            None => format!("replies end with {id}"),
        },
        None => "nothing ends a reply".to_owned(),
    };
    Some(format!(
        "the model's configuration ends texts with {unknown}, and its tokenizer has no such token (it has {}): {taught}; eos_token_id in \
         config.json or generation_config.json should be the number of a token",
        tokenizer.vocab_size()
    ))
}

/// What to know where the files of a model name different tokens as the end of a text.
fn different_ends(weights: &BaseWeights, renderer: &Renderer) -> Option<String> {
    let (ends, eos) = (&weights.config().eos, renderer.tokenizer().eos()?);
    let is_known = |id: &u32| renderer.tokenizer().token(*id).is_some();
    let ends: Vec<u32> = ends.iter().copied().filter(is_known).collect();
    if ends.is_empty() || ends.contains(&eos) {
        return None;
    }
    let named = |id: u32| {
        let token = renderer.tokenizer().token(id);
        format!("{} ({id})", token.unwrap_or_else(|| "no token".into()))
    };
    let list = |ids: &[u32]| {
        ids.iter()
            .copied()
            .map(named)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let taught = renderer.end_of_reply().unwrap_or(eos);
    Some(format!(
        "the model's configuration ends texts with {}, and its tokenizer with {}: replies are trained to end with {}, and \
         generation stops at any of {}",
        list(&ends),
        named(eos),
        named(taught),
        list(renderer.stop_ids())
    ))
}

/// The forms of a directory without a `tokenizer.json`: a SentencePiece model, or a vocabulary and its merges.
fn older_tokenizer(
    weights: &BaseWeights,
    path: &Path,
    config: Option<&[u8]>,
) -> Result<Result<Tokenizer, TokenizerError>, OpenError> {
    if let Some(model) = weights.file("tokenizer.model")? {
        let tokenizer = Tokenizer::from_sentence_piece(&model, config);
        return Ok(tokenizer.map_err(|error| error.of_file("tokenizer.model")));
    }
    match (weights.file("vocab.json")?, weights.file("merges.txt")?) {
        (Some(vocabulary), Some(merges)) => {
            Ok(Tokenizer::from_byte_pairs(&vocabulary, &merges, config))
        }
        _ => Err(OpenError::NoTokenizer {
            path: path.to_path_buf(),
        }),
    }
}

/// The tokenizer part of a GGUF header.
pub fn read_vocabulary(gguf: &Gguf) -> Result<GgufVocabulary, Malformed> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let text = |name: &str| gguf.str(&key(name)).map(|value| value.map(String::from));
    let strings = |name: &str| {
        gguf.strings(&key(name))
            .map(|list| list.unwrap_or_default().to_vec())
    };
    Ok(GgufVocabulary {
        model: text("model")?.unwrap_or_default(),
        pre: text("pre")?,
        tokens: strings("tokens")?,
        // Types are a small enumeration; one that does not fit is as unknown as any other.
        token_types: gguf
            .ints(&key("token_type"))?
            .unwrap_or_default()
            .iter()
            .map(|&kind| i32::try_from(kind).unwrap_or(i32::MAX))
            .collect(),
        scores: gguf
            .floats(&key("scores"))?
            .unwrap_or_default()
            .iter()
            .map(|&score| score as f32)
            .collect(),
        merges: strings("merges")?,
        bos: gguf.u32(&key("bos_token_id"))?,
        eos: gguf.u32(&key("eos_token_id"))?,
        unknown: gguf.u32(&key("unknown_token_id"))?,
        padding: gguf.u32(&key("padding_token_id"))?,
        add_bos: gguf.bool(&key("add_bos_token"))?,
        add_space_prefix: gguf.bool(&key("add_space_prefix"))?,
    })
}
