//! Which chat template a model is used with: its own, one of several that it names, a file, or a plain form of ours.
//!
//! A model answers well in the form it was trained in and in no other, so the form is chosen in one place, it is said
//! where it comes from, and it travels with what was trained.

use super::OpenError;
use crate::nearest::nearest;
use hone_model::weights::{BaseWeights, GgufError, Malformed};
use hone_text::{ChatTemplate, TemplateError, TemplateSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// The file that a directory keeps its template in, as transformers and PEFT do.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";

/// The folder of further templates beside it.
pub(super) const MORE_TEMPLATES: &str = "additional_chat_templates";

/// Bytes of a file that is read as a template; [`hone_text::Limits`] says how many one may have.
const LONGEST_FILE: u64 = 1 << 20;

/// A chosen chat template: its text, and where that is from. `None` stands for the plain form that a model without a
/// template is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatForm {
    source: Source,
    origin: FormOrigin,
    /// Further templates of a model whose own one this is: name and text.
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
    pub fn choose(weights: &BaseWeights, asked: Option<&str>) -> Result<Self, OpenError> {
        let (set, place) = templates_of(weights)?;
        let Some(asked) = asked else {
            let source = set.default_source();
            let source = source.map_err(|source| of_template(weights.path(), source))?;
            return Ok(match source {
                Some(_) => Self::own(&set, place),
                None => Self::plain(Source::Missing, FormOrigin::Missing),
            });
        };
        if let Some(source) = set.get(asked) {
            return Ok(match asked {
                "default" => Self::own(&set, place),
                name => Self::plain(
                    Source::Text(source.into()),
                    FormOrigin::Named { name: name.into() },
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
        if let Some(source) = source {
            return Ok(Some(Self::plain(Source::Text(source.into()), origin)));
        }
        let Some(recorded) = recorded else {
            return Ok(None);
        };
        let (set, _) = templates_of(weights)?;
        let own = set.names().filter_map(|name| set.get(name));
        let sources = own
            .map(|source| Source::Text(source.into()))
            .chain(ChatTemplate::built_in_names().map(Source::BuiltIn));
        for source in sources {
            let form = Self::plain(source, origin.clone());
            if let Ok(Some(template)) = form.compile()
                && template.hash() == recorded
            {
                return Ok(Some(form));
            }
        }
        Ok(None)
    }

    fn plain(source: Source, origin: FormOrigin) -> Self {
        Self {
            source,
            origin,
            others: vec![],
        }
    }

    /// The default one of a set that has one.
    fn own(set: &TemplateSet, place: String) -> Self {
        const DEFAULT: &str = "default";
        let all = set.names().filter_map(|name| Some((name, set.get(name)?)));
        let others = all.filter(|(name, _)| *name != DEFAULT);
        Self {
            source: Source::Text(set.get(DEFAULT).unwrap_or_default().into()),
            origin: FormOrigin::Model { place },
            others: others
                .map(|(name, text)| (name.into(), text.into()))
                .collect(),
        }
    }

    fn of_file(path: &Path) -> Result<Self, OpenError> {
        let bytes = read_file(path)?;
        let is_config = path.extension().is_some_and(|end| end == "json");
        let source = match is_config {
            true => {
                let set = TemplateSet::from_config(&bytes);
                let set = set.map_err(|source| of_template(path, source))?;
                let source = set.default_source();
                let source = source.map_err(|source| of_template(path, source))?;
                let none = || OpenError::NoTemplateInFile { path: path.into() };
                source.ok_or_else(none)?.to_owned()
            }
            false => text(path, bytes)?,
        };
        Ok(Self::plain(
            Source::Text(source),
            FormOrigin::File(path.into()),
        ))
    }

    /// Where it comes from.
    pub fn origin(&self) -> &FormOrigin {
        &self.origin
    }

    /// Name and text of further templates that the model has beside its own one.
    pub fn others(&self) -> &[(String, String)] {
        &self.others
    }

    /// Whether it is what the model's files say themselves, so that copies of them say it too.
    pub fn is_the_models(&self) -> bool {
        matches!(self.origin, FormOrigin::Model { .. })
    }

    /// Ready to render; `None` for the plain form of a model without a template.
    pub fn compile(&self) -> Result<Option<ChatTemplate>, TemplateError> {
        match &self.source {
            Source::Text(source) => ChatTemplate::saved(source).map(Some),
            Source::BuiltIn(name) => Ok(ChatTemplate::built_in(name)),
            Source::Missing => Ok(None),
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
