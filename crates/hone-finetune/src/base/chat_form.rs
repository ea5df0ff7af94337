//! Which chat template a model is used with: its own, one of several that it names, a file, or a plain form of ours.
//!
//! A model answers well in the form it was trained in and in no other, so the form is chosen in one place, it is said
//! where it comes from, and it travels with what was trained.

use super::OpenError;
use hone_data::nearest::nearest;
use hone_model::weights::{BaseWeights, GgufError, Malformed};
use hone_text::{ChatTemplate, Renderer, TOOL_USE, TemplateError, TemplateOption, TemplateSet};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The file that a directory keeps its template in, as transformers and PEFT do.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";

/// The folder of further templates beside it.
pub(super) const MORE_TEMPLATES: &str = "additional_chat_templates";

/// The name of the template that is used unless another is asked for.
pub(super) const DEFAULT: &str = "default";

/// Bytes of a file that is read as a template; [`hone_text::Limits`] says how many one may have.
const LONGEST_FILE: u64 = 1 << 20;

/// A chosen chat template: its text, and where that is from. `None` stands for the plain form that a model without a
/// template is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatForm {
    source: Source,
    origin: FormOrigin,
    /// What the user sets for it.
    options: Vec<TemplateOption>,
    /// Further templates of the set that it is the default of: name and text.
    others: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Text(String),
    BuiltIn(&'static str),
    Missing,
}

/// Where a chat template comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormOrigin {
    /// The model itself: the one it uses unless asked, from this file or key.
    Model {
        /// A file beside the weights, or a key of GGUF metadata.
        place: String,
    },
    /// The model itself: one of several, asked for by name.
    Named {
        /// What the model calls it.
        name: String,
    },
    /// A file of the user's.
    File(PathBuf),
    /// A plain form of ours, asked for by name.
    BuiltIn(&'static str),
    /// What the adapter in this directory was trained with.
    Adapter(PathBuf),
    /// The model has none.
    Missing,
}

impl fmt::Display for FormOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { place } => write!(f, "the model's own ({place})"),
            Self::Named { name } => write!(f, "the model's own `{name}`"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::BuiltIn(name) => write!(f, "the built-in form `{name}`"),
            Self::Adapter(dir) => write!(f, "the adapter's own (of {})", dir.display()),
            Self::Missing => write!(f, "none in the model, Instruction/Response form"),
        }
    }
}

impl ChatForm {
    /// The template that was asked for, else the model's own; a model without one gets the plain form.
    pub fn choose(
        weights: &BaseWeights,
        asked: Option<&str>,
        options: &[TemplateOption],
    ) -> Result<Self, OpenError> {
        Self::chosen(weights, asked)?.with_options(options, weights.path())
    }

    fn chosen(weights: &BaseWeights, asked: Option<&str>) -> Result<Self, OpenError> {
        let (set, place) = templates_of(weights)?;
        let Some(asked) = asked else {
            let source = set.default_source();
            let source = source.map_err(|source| of_template(weights.path(), source))?;
            return Ok(match source {
                Some(_) => Self::own(&set, FormOrigin::Model { place }),
                None => Self::plain(Source::Missing, FormOrigin::Missing),
            });
        };
        if let Some(source) = set.get(asked) {
            // Asked for by its name, the default is for all rows, with tools or without.
            return Ok(match asked == DEFAULT && set.get(TOOL_USE).is_none() {
                true => Self::own(&set, FormOrigin::Model { place }),
                false => Self::plain(
                    Source::Text(source.into()),
                    FormOrigin::Named { name: asked.into() },
                ),
            });
        }
        if let Some(name) = ChatTemplate::built_in_names().find(|name| *name == asked) {
            return Ok(Self::plain(
                Source::BuiltIn(name),
                FormOrigin::BuiltIn(name),
            ));
        }
        match Path::new(asked) {
            path if path.is_file() => Self::of_file(path),
            _ => Err(OpenError::NoSuchTemplate {
                asked: asked.to_owned(),
                named: set.names().map(str::to_owned).collect(),
            }),
        }
    }

    /// What the adapter in `dir` was trained with: the template beside it, else, by its recorded hash, one that the model
    /// names or that is built in. `None` if nothing of this is known.
    pub fn of_adapter(
        weights: &BaseWeights,
        dir: &Path,
        recorded: Option<&str>,
    ) -> Result<Option<Self>, OpenError> {
        let origin = FormOrigin::Adapter(dir.to_path_buf());
        let (beside, _) = templates_in(dir, &|name| read_beside(dir, name))?;
        let source = beside.default_source();
        let source = source.map_err(|source| of_template(dir, source))?;
        if source.is_some() {
            return Ok(Some(Self::own(&beside, origin)));
        }
        let Some(recorded) = recorded else {
            return Ok(None);
        };
        let (set, _) = templates_of(weights)?;
        let alone = set.names().filter_map(|name| set.get(name));
        let alone = alone
            .map(|source| Source::Text(source.into()))
            .chain(ChatTemplate::built_in_names().map(Source::BuiltIn))
            .map(|source| Self::plain(source, origin.clone()));
        let together = set.get(DEFAULT).map(|_| Self::own(&set, origin.clone()));
        let mut forms = together.into_iter().chain(alone);
        Ok(forms.find(|form| form.hash().as_deref() == Some(recorded)))
    }

    /// What an adapter records of it; `None` where it does not compile, or is made for the tokenizer.
    fn hash(&self) -> Option<String> {
        let (template, tool_use) = (self.compile().ok()??, self.compile_tool_use().ok()?);
        Some(Renderer::hash_of(&template, tool_use.as_ref()))
    }

    fn plain(source: Source, origin: FormOrigin) -> Self {
        Self {
            source,
            origin,
            options: vec![],
            others: vec![],
        }
    }

    /// The default one of a set that has one, and beside it all others.
    fn own(set: &TemplateSet, origin: FormOrigin) -> Self {
        let all = set.names().filter_map(|name| Some((name, set.get(name)?)));
        let others = all.filter(|(name, _)| *name != DEFAULT);
        Self {
            source: Source::Text(set.get(DEFAULT).unwrap_or_default().into()),
            origin,
            options: vec![],
            others: others
                .map(|(name, text)| (name.into(), text.into()))
                .collect(),
        }
    }

    fn of_file(path: &Path) -> Result<Self, OpenError> {
        let bytes = read_file(path)?;
        let is_config = path.extension().is_some_and(|end| end == "json");
        let origin = FormOrigin::File(path.into());
        if !is_config {
            let source = text(path, bytes)?;
            return match source.trim().is_empty() {
                true => Err(of_template(path, TemplateError::Blank)),
                false => Ok(Self::plain(Source::Text(source), origin)),
            };
        }
        let set = TemplateSet::from_config(&bytes);
        let set = set.map_err(|source| of_template(path, source))?;
        let source = set.default_source();
        match source.map_err(|source| of_template(path, source))? {
            Some(_) => Ok(Self::own(&set, origin)),
            None => Err(OpenError::NoTemplateInFile { path: path.into() }),
        }
    }

    /// The same with what the user sets for it.
    ///
    /// # Errors
    /// An option that it does not read, with those that it does; a template of the model in `path` that does not compile.
    pub fn with_options(
        mut self,
        options: &[TemplateOption],
        path: &Path,
    ) -> Result<Self, OpenError> {
        if options.is_empty() {
            return Ok(self);
        }
        let fail = |source| of_template(self.file(path), source);
        let templates = [
            self.compile().map_err(fail)?,
            self.compile_tool_use().map_err(fail)?,
        ];
        let reads: BTreeSet<&String> = templates
            .iter()
            .flatten()
            .flat_map(ChatTemplate::reads)
            .collect();
        if let Some(option) = options.iter().find(|option| !reads.contains(&option.name)) {
            return Err(fail(TemplateError::NoSuchOption {
                name: option.name.clone(),
                reads: reads.into_iter().cloned().collect(),
            }));
        }
        self.options = options.to_vec();
        Ok(self)
    }

    /// The file or directory that it is in, of the model in `path` where nothing else is said.
    pub(super) fn file<'a>(&'a self, path: &'a Path) -> &'a Path {
        match &self.origin {
            FormOrigin::File(file) => file,
            FormOrigin::Adapter(dir) => dir,
            _ => path,
        }
    }

    /// What the user sets for it.
    pub fn options(&self) -> &[TemplateOption] {
        &self.options
    }

    /// Where it comes from.
    pub fn origin(&self) -> &FormOrigin {
        &self.origin
    }

    /// Name and text of further templates that lie beside it.
    pub fn others(&self) -> &[(String, String)] {
        &self.others
    }

    /// The template that conversations with tools are shown in, if it is another.
    pub fn tool_use(&self) -> Option<&str> {
        let mut others = self.others.iter();
        let (_, source) = others.find(|(name, _)| name == TOOL_USE)?;
        Some(source)
    }

    /// Whether it is what the model's files say themselves, so that copies of them say it too.
    pub fn is_the_models(&self) -> bool {
        matches!(self.origin, FormOrigin::Model { .. }) && self.options.is_empty()
    }

    /// Ready to render; `None` for the plain form of a model without a template.
    pub fn compile(&self) -> Result<Option<ChatTemplate>, TemplateError> {
        let template = match &self.source {
            Source::Text(source) => ChatTemplate::saved(source)?,
            Source::BuiltIn(name) => match ChatTemplate::built_in(name) {
                Some(template) => template,
                None => return Ok(None),
            },
            Source::Missing => return Ok(None),
        };
        template.with_options(&self.options).map(Some)
    }

    /// The template for conversations with tools, ready to render.
    pub fn compile_tool_use(&self) -> Result<Option<ChatTemplate>, TemplateError> {
        let template = self.tool_use().map(ChatTemplate::saved).transpose()?;
        let with_options = |template: ChatTemplate| template.with_options(&self.options);
        template.map(with_options).transpose()
    }
}

/// Where it comes from, and what else it does.
impl fmt::Display for ChatForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        for (at, option) in self.options.iter().enumerate() {
            write!(f, "{}{option}", if at == 0 { ", with " } else { " and " })?;
        }
        match self.tool_use() {
            Some(_) => write!(f, "; rows with tools take its `{TOOL_USE}`"),
            None => Ok(()),
        }
    }
}

fn of_template(path: &Path, source: TemplateError) -> OpenError {
    OpenError::Template {
        path: path.to_path_buf(),
        source,
    }
}

/// Every template of a model, and what holds the default one.
fn templates_of(weights: &BaseWeights) -> Result<(TemplateSet, String), OpenError> {
    let Some(gguf) = weights.gguf() else {
        let dir = weights.path();
        return templates_in(dir, &|name| weights.file(name).map_err(OpenError::from));
    };
    const KEY: &str = "tokenizer.chat_template";
    let path = weights.path();
    let mut set = TemplateSet::default();
    let fail = |problem: Malformed| {
        let error = GgufError {
            path: path.into(),
            problem,
        };
        OpenError::Weights(error.into())
    };
    let twice = |source| of_template(path, source);
    if let Some(source) = gguf.str(KEY).map_err(fail)? {
        set.add_default(source).map_err(twice)?;
    }
    let named = |key| Some((key, str::strip_prefix(key, KEY)?.strip_prefix('.')?));
    for (key, name) in gguf.keys().filter_map(named) {
        if let Some(source) = gguf.str(key).map_err(fail)? {
            set.add(name, source).map_err(twice)?;
        }
    }
    Ok((set, KEY.to_owned()))
}

/// Reads a file of a directory by its name, if it is there.
type ReadBeside<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>, OpenError> + 'a;

/// As transformers reads a directory: files of templates win over the tokenizer's configuration.
fn templates_in(dir: &Path, read: &ReadBeside) -> Result<(TemplateSet, String), OpenError> {
    const CONFIG: &str = "tokenizer_config.json";
    const OF_A_PROCESSOR: &str = "chat_template.json";
    let fail = |name: &str| {
        let path = dir.join(name);
        move |source| of_template(&path, source)
    };
    let mut set = TemplateSet::default();
    if let Some(bytes) = read(TEMPLATE_FILE)? {
        let source = text(&dir.join(TEMPLATE_FILE), bytes)?;
        set.add_default(&source).map_err(fail(TEMPLATE_FILE))?;
    }
    for name in more_templates(dir) {
        let file = format!("{MORE_TEMPLATES}/{name}.jinja");
        if let Some(bytes) = read(&file)? {
            let source = text(&dir.join(&file), bytes)?;
            set.add(&name, &source).map_err(fail(&file))?;
        }
    }
    if !set.is_empty() {
        return Ok((set, TEMPLATE_FILE.to_owned()));
    }
    for place in [CONFIG, OF_A_PROCESSOR] {
        if let Some(bytes) = read(place)? {
            let found = TemplateSet::from_config(&bytes).map_err(fail(place))?;
            if !found.is_empty() {
                return Ok((found, place.to_owned()));
            }
        }
    }
    Ok((set, String::new()))
}

/// Names of the templates in the folder of further ones.
pub(super) fn more_templates(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join(MORE_TEMPLATES))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".jinja").map(str::to_owned)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn read_beside(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
    let path = dir.join(name);
    match path.is_file() {
        true => read_file(&path).map(Some),
        false => Ok(None),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, OpenError> {
    let fail = |source| OpenError::Unreadable {
        path: path.into(),
        source,
    };
    let length = std::fs::metadata(path).map_err(fail)?.len();
    if length > LONGEST_FILE {
        let too_long = TemplateError::SourceTooLong {
            bytes: length as usize,
            limit: LONGEST_FILE as usize,
        };
        return Err(of_template(path, too_long));
    }
    std::fs::read(path).map_err(fail)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, OpenError> {
    String::from_utf8(bytes).map_err(|error| OpenError::Unreadable {
        path: path.into(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}

/// What can be given to `--chat-template`, the nearest to what was asked first.
pub(super) fn known_templates(asked: &str, named: &[String]) -> Vec<String> {
    let built_in: Vec<&str> = ChatTemplate::built_in_names().collect();
    let near = nearest(
        asked,
        named
            .iter()
            .map(String::as_str)
            .chain(built_in.iter().copied()),
    );
    let near = near.map(|name| format!("did you mean `{name}`?"));
    let own = match named {
        [] => "the model names none".to_owned(),
        named => format!("the model names {}", named.join(", ")),
    };
    let all = format!(
        "{own}; built in are {}; anything else is the path of a .jinja file",
        built_in.join(" and ")
    );
    near.into_iter().chain([all]).collect()
}
