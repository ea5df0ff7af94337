//! A model's own chat template: Jinja from a stranger, run with limits.
//!
//! Templates are programs that arrive with weights. They get fuel, a bounded output, no files and no clock: the date
//! they may print is handed in, so a rendering never depends on the day it was made. What fuel does not see is
//! caught by the thread that they run on, see [`aside`](crate::aside).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, ErrorKind};
use serde_json::Value as Json;

use crate::aside::{Aside, aside};
use crate::jinja_source::jinja_source;
use crate::one_line::tame;
use crate::python::{self, text_of_arguments};
use crate::template_option::options_read;
use crate::tokenizer::sha256_hex;
use crate::{Conversation, Date, TemplateOption, TemplateSet, ToolCall, Turn, python_text};

/// What the forms below begin with: `add_bos` says whether the tokenizer starts texts with BOS.
const OPENING: &str = "{%- if add_bos %}{{ bos_token }}{% endif -%}\n";

/// Turns between the control tokens `<|im_start|>` and `<|im_end|>`.
const CHATML: &str = "\
{%- if add_bos %}{{ bos_token }}{% endif -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}";

/// Plain forms by the names that a user chooses them by.
const BUILT_IN: [(&str, &str); 2] = [("instruction", FALLBACK), ("chatml", CHATML)];

/// Used for models that bring no template: headed paragraphs, each reply closed by the model's EOS.
const FALLBACK: &str = "\
{%- if add_bos %}{{ bos_token }}{% endif -%}
{%- for message in messages -%}
    {%- if message['role'] == 'user' %}{{ 'Instruction:\\n' }}
    {%- elif message['role'] == 'assistant' %}{{ 'Response:\\n' }}
    {%- elif message['role'] == 'system' %}{{ 'System:\\n' }}
    {%- else %}{{ 'Tool:\\n' }}{% endif -%}
    {{- message['content'] -}}
    {%- if message['role'] == 'assistant' %}{{ eos_token }}{% endif -%}
    {%- if not loop.last or message['role'] != 'assistant' %}{{ '\\n\\n' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ 'Response:\\n' }}{% endif -%}";

/// Why a template cannot be used or does not render.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum TemplateError {
    #[error("the chat template is {bytes} bytes long; the limit is {limit}")]
    SourceTooLong { bytes: usize, limit: usize },
    #[error("the chat template does not parse: {what}")]
    Syntax { what: String },
    #[error("the chat template refuses this conversation: {message}")]
    Raised { message: String },
    #[error("the chat template did not come to an end within {fuel} steps")]
    OutOfFuel { fuel: u64 },
    #[error("the chat template did not come to an end within {} s", .time.as_secs_f32())]
    OutOfTime { time: Duration },
    #[error("the chat template wrote more than {limit} bytes")]
    OutputTooLong { limit: usize },
    #[error("the chat template fails: {what}")]
    Failed { what: String },
    #[error(
        "`chat_template` in the tokenizer configuration is neither text nor templates by name (found: {found})"
    )]
    NotATemplate { found: String },
    #[error(
        "there are chat templates by name, and none of them is the `default`: {}", .names.join(", ")
    )]
    NoDefault { names: Vec<String> },
    #[error("the chat template is empty")]
    Blank,
    #[error("two different chat templates are called `{name}`")]
    NamedTwice { name: String },
    #[error("the chat template reads no option `{name}`; it reads {}", list_of(.reads))]
    NoSuchOption { name: String, reads: Vec<String> },
    #[error("the option `{name}` of the chat template is given twice")]
    OptionTwice { name: String },
    #[error("a chat template is called `{name}`, which is no name of a file")]
    OddName { name: String },
}

/// What stands in for a template that does not do.
pub(crate) const ANOTHER: &str = "--chat-template takes another one: a .jinja file, or the built-in form `instruction` or `chatml`";

impl TemplateError {
    /// What to do next, of a template that a conversation was shown to.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Raised { .. } => vec![format!(
                "write the row as the chat template wants it, or {ANOTHER}"
            )],
            _ => vec![ANOTHER.to_owned()],
        }
    }
}

fn list_of(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.join(", "),
    }
}

/// Where a template came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateOrigin {
    /// It came with the model, or the user chose it.
    Model,
    /// The model has none; Hone's plain `Instruction:` / `Response:` form is used.
    Fallback,
    /// A plain form of ours, which the user chose.
    BuiltIn,
}

/// A form of ours where nothing says `add_bos`.
fn concrete(source: &str, add_bos: bool) -> String {
    let rest = source.strip_prefix(OPENING).unwrap_or(source);
    match add_bos {
        true => format!("{{{{- bos_token -}}}}\n{rest}"),
        false => rest.to_owned(),
    }
}

/// What a template may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of source.
    pub source_bytes: usize,
    /// Bytes of one rendering.
    pub output_bytes: usize,
    /// Steps of one rendering; each also pays for 64 bytes of memory.
    pub fuel: u64,
    /// How long one rendering may take. No template of a model comes near it; steps may be long.
    pub time: Duration,
    /// Depth of nested macros and loops.
    pub recursion: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_bytes: 256 << 10,
            output_bytes: 16 << 20,
            fuel: 200_000,
            time: Duration::from_secs(30),
            recursion: 100,
        }
    }
}

/// A compiled chat template.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    source: String,
    limits: Limits,
    origin: TemplateOrigin,
    hash: String,
    showing: Showing,
    /// Variables that it reads and nothing here gives it.
    reads: BTreeSet<String>,
}

/// How a template wants to be shown what turns say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Showing {
    /// A text is a list of parts, `{"type": "text", "text": …}`.
    pub parts: bool,
    /// Beside a call an empty text is `none`.
    pub no_text_beside_calls: bool,
    /// What it calls the reasoning of a reply.
    pub reasoning: ReasoningKey,
}

/// The key that a message has its reasoning under. A message has it under one: a template that writes every key of a
/// message, or joins two, would show the same reasoning twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReasoningKey(&'static str);

impl Default for ReasoningKey {
    /// As transformers and TRL write it.
    fn default() -> Self {
        Self("reasoning_content")
    }
}

impl ReasoningKey {
    /// The keys that models have been trained with, the usual one first.
    pub const KNOWN: [Self; 3] = [
        Self("reasoning_content"),
        Self("reasoning"),
        Self("thinking"),
    ];

    pub fn name(self) -> &'static str {
        self.0
    }
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a model's template with the default limits.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        Self::with_limits(source, Limits::default())
    }

    /// Compiles a model's template.
    pub fn with_limits(source: &str, limits: Limits) -> Result<Self, TemplateError> {
        Self::compile(source, limits, TemplateOrigin::Model)
    }

    /// The plain form for models without a template.
    pub fn fallback() -> Self {
        Self::compile(FALLBACK, Limits::default(), TemplateOrigin::Fallback)
            .expect("the fallback template compiles")
    }

    /// A plain form of ours by its name, one of [`built_in_names`](Self::built_in_names).
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, source) = BUILT_IN.iter().find(|(own, _)| *own == name)?;
        let compiled = Self::compile(source, Limits::default(), TemplateOrigin::BuiltIn);
        Some(compiled.expect("the forms of ours compile"))
    }

    /// The names of the plain forms that [`built_in`](Self::built_in) knows.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A template that was saved with an adapter or a model: a form of ours is known again, see
    /// [`source`](Self::source).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn saved(source: &str) -> Result<Self, TemplateError> {
        let is_this = |(_, own): &&(&str, &str)| {
            [true, false]
                .into_iter()
                .any(|add_bos| source == concrete(own, add_bos))
        };
        match BUILT_IN.iter().find(is_this) {
            Some((name, _)) => Ok(Self::built_in(name).expect("it has this name")),
            None => Self::new(source),
        }
    }

    /// The template inside a `tokenizer_config.json`, if it has one.
    ///
    /// # Errors
    /// As [`TemplateSet::from_config`] and [`TemplateSet::default_source`].
    pub fn from_config(json: &[u8]) -> Result<Option<Self>, TemplateError> {
        let set = TemplateSet::from_config(json)?;
        set.default_source()?.map(Self::new).transpose()
    }

    /// The template as transformers, vLLM and llama.cpp can run it. They have no `add_bos`: in the forms of ours its
    /// value stands in its place.
    pub fn source(&self, add_bos: bool) -> String {
        match self.origin {
            TemplateOrigin::Model => self.source.clone(),
            TemplateOrigin::Fallback | TemplateOrigin::BuiltIn => concrete(&self.source, add_bos),
        }
    }

    /// What a user may set for it: variables that it reads beside what every conversation has.
    pub fn reads(&self) -> &BTreeSet<String> {
        &self.reads
    }

    /// The template with values for those of the options that it reads. What it is rendered from then is its source with
    /// assignments in front, which is its [`source`](Self::source) from here on.
    ///
    /// # Errors
    /// The same option twice; a source that is too long with them.
    pub fn with_options(self, options: &[TemplateOption]) -> Result<Self, TemplateError> {
        let mut own = BTreeMap::new();
        for option in options
            .iter()
            .filter(|option| self.reads.contains(&option.name))
        {
            if own.insert(&option.name, option.assignment()).is_some() {
                let name = option.name.clone();
                return Err(TemplateError::OptionTwice { name });
            }
        }
        if own.is_empty() {
            return Ok(self);
        }
        let assignments: String = own.into_values().collect();
        Self::compile(&(assignments + &self.source), self.limits, self.origin)
    }

    /// The day the template may print, if not [`Date::DEFAULT`].
    pub fn with_date(mut self, date: Date) -> Self {
        Arc::make_mut(&mut self.environment)
            .add_function("strftime_now", move |format: &str| date.format(format));
        self
    }

    /// Where the template came from.
    pub fn origin(&self) -> TemplateOrigin {
        self.origin
    }

    /// SHA-256 of the source, for provenance.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn showing(&self) -> Showing {
        self.showing
    }

    pub(crate) fn set_showing(&mut self, showing: Showing) {
        self.showing = showing;
    }

    /// Whether the source has this text in it.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.source.contains(text)
    }

    /// Whether the template prints a date.
    pub fn has_date(&self) -> bool {
        self.mentions("strftime_now")
    }

    /// The text of `conversation`, ready to be encoded.
    pub(crate) fn render(
        &self,
        conversation: &Conversation,
        generation_prompt: bool,
        named_tokens: &[(&'static str, String)],
        add_bos: bool,
    ) -> Result<String, TemplateError> {
        let once = |form| {
            let messages = conversation.turns.iter();
            let messages = python::list(messages.map(|turn| message(turn, form, self.showing)));
            let tools = &conversation.tools;
            self.run_template(context(
                messages,
                tools,
                generation_prompt,
                named_tokens,
                add_bos,
            ))
        };
        let looked_into = once(Arguments::Both);
        let has_calls = conversation.turns.iter().any(|turn| !turn.calls.is_empty());
        match looked_into {
            // A template that puts the arguments together with texts wants a text.
            Err(TemplateError::Failed { .. }) if has_calls => once(Arguments::Text).or(looked_into),
            other => other,
        }
    }

    fn run_template(&self, context: Value) -> Result<String, TemplateError> {
        let (environment, limits) = (Arc::clone(&self.environment), self.limits);
        run(limits, move || {
            let mut out = Bounded {
                bytes: Vec::new(),
                limit: limits.output_bytes,
            };
            let template = environment
                .get_template(NAME)
                .expect("compiled under this name");
            match template.render_captured_to(context, &mut out) {
                Ok(_) => Ok(String::from_utf8(out.bytes).expect("templates write text")),
                Err(_) if out.bytes.len() > out.limit => {
                    Err(TemplateError::OutputTooLong { limit: out.limit })
                }
                Err(error) => Err(explain(&error, limits)),
            }
        })
    }

    fn compile(
        source: &str,
        limits: Limits,
        origin: TemplateOrigin,
    ) -> Result<Self, TemplateError> {
        if source.len() > limits.source_bytes {
            return Err(TemplateError::SourceTooLong {
                bytes: source.len(),
                limit: limits.source_bytes,
            });
        }
        let hash = sha256_hex(source.as_bytes());
        let source = source.to_owned();
        let kept = source.clone();
        let (environment, reads) = run(limits, move || {
            let environment = Self::environment(&source, limits)?;
            let reads = Self::read_by(&environment, &source);
            Ok((environment, reads))
        })?;
        Ok(Self {
            reads,
            environment: Arc::new(environment),
            source: kept,
            limits,
            origin,
            hash,
            showing: Showing::default(),
        })
    }

    fn read_by(environment: &Environment<'_>, source: &str) -> BTreeSet<String> {
        let template = environment.get_template(NAME);
        let undeclared = template.map(|template| template.undeclared_variables(false));
        let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
        let is_global = |name: &str| globals.contains(name);
        options_read(source, &undeclared.unwrap_or_default(), is_global)
    }

    fn environment(source: &str, limits: Limits) -> Result<Environment<'static>, TemplateError> {
        let mut environment = Environment::new();
        // Hugging Face's own settings: a tag takes its line's indentation and newline with it.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| syntax_error(&error))?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(limits.fuel));
        environment.set_recursion_limit(limits.recursion);
        speak_python(&mut environment);
        environment
            .add_template_owned(NAME, jinja_source(source))
            .map_err(|error| syntax_error(&error))?;
        Ok(environment)
    }
}

/// Runs what a template asks for where it can do no harm.
fn run<T: Send + 'static>(
    limits: Limits,
    program: impl FnOnce() -> Result<T, TemplateError> + Send + 'static,
) -> Result<T, TemplateError> {
    aside(limits.time, program).map_err(|why| match why {
        Aside::OutOfTime => TemplateError::OutOfTime { time: limits.time },
        Aside::GaveUp(what) => TemplateError::Failed { what: tame(&what) },
    })?
}

fn explain(error: &minijinja::Error, limits: Limits) -> TemplateError {
    let detail = error.detail().unwrap_or_default();
    if let Some(message) = detail.strip_prefix(RAISED) {
        return TemplateError::Raised {
            message: tame(message),
        };
    }
    match error.kind() {
        ErrorKind::OutOfFuel => TemplateError::OutOfFuel { fuel: limits.fuel },
        _ => TemplateError::Failed {
            what: one_line(error),
        },
    }
}

/// Jinja2 as transformers runs it, where minijinja by itself does otherwise.
pub(crate) fn speak_python(environment: &mut Environment<'static>) {
    environment
        .set_formatter(|out, _, value| out.write_str(&python::text(value)?).map_err(Into::into));
    environment.set_unknown_method_callback(python_text::method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", |format: &str| Date::DEFAULT.format(format));
    environment.add_function("cycler", |items: Rest<Value>| {
        minijinja_contrib::globals::cycler(items.0)
    });
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_filter("tojson", python::to_json);
    environment.add_filter("string", |value: &Value| python::text(value));
    environment.add_filter("trim", |value: &Value, characters: Option<&str>| {
        let text = python::text(value)?;
        Ok::<_, minijinja::Error>(python_text::stripped(&text, characters, true, true).to_owned())
    });
    environment.add_filter("join", join);
    environment.add_filter("safe", |value: &Value| {
        Ok::<_, minijinja::Error>(python::marked_safe(python::text(value)?))
    });
    environment.add_filter("float", to_float);
    // Shown otherwise than Python shows it, and no template of a model's has it.
    environment.remove_filter("pprint");
    environment.add_test("iterable", is_iterable);
    environment.add_test("sequence", |value: &Value| {
        let is_plain = matches!(value.kind(), ValueKind::String | ValueKind::Undefined);
        is_plain || (value.kind() == ValueKind::Map && !value.is_none()) || is_iterable(value)
    });
    environment.add_test("string", |value: &Value| {
        value.as_str().is_some() || text_of_arguments(value).is_some()
    });
    environment.add_test("mapping", |value: &Value| {
        value.kind() == ValueKind::Map && text_of_arguments(value).is_none()
    });
    environment.add_test("float", python::is_float);
    environment.add_test("number", |value: &Value| {
        python::is_float(value) || matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    environment.add_test("callable", |value: &Value| {
        // Functions and macros are objects without contents.
        value.kind() == ValueKind::Plain && !python::is_float(value)
    });
}

/// Jinja2's `join`, which makes texts of the items as Python does.
fn join(
    value: &Value,
    separator: Option<Value>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<String, minijinja::Error> {
    let separator = match separator {
        Some(separator) => Some(separator),
        None => options.get("d")?,
    };
    let separator = separator.map_or(Ok(String::new()), |separator| python::text(&separator))?;
    let attribute = attribute.map_or_else(|| options.get("attribute"), |given| Ok(Some(given)))?;
    options.assert_all_used()?;
    let mut out = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        let item = match attribute {
            Some(path) => path
                .split('.')
                .try_fold(item, |item, name| item.get_attr(name))?,
            None => item,
        };
        if index > 0 {
            out.push_str(&separator);
        }
        out += &python::text(&item)?;
        if out.len() > MAX_JOINED {
            let what = format!("`join` wrote more than {MAX_JOINED} bytes");
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, what));
        }
    }
    Ok(out)
}

/// More than any conversation is; what fuel would not see in time.
const MAX_JOINED: usize = 64 << 20;

/// Jinja2's `float`: what is no number gives the default.
fn to_float(value: &Value, default: Option<f64>) -> f64 {
    let read = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    };
    read.unwrap_or(default.unwrap_or(0.0))
}

/// How the arguments of calls are handed to a template.
#[derive(Clone, Copy)]
enum Arguments {
    /// As an object that prints itself as text.
    Both,
    /// As text.
    Text,
}

fn context(
    messages: Value,
    tools: &[Json],
    generation_prompt: bool,
    named_tokens: &[(&'static str, String)],
    add_bos: bool,
) -> Value {
    let tools = match tools.is_empty() {
        true => Value::from(()),
        false => python::list(tools.iter().map(python::value)),
    };
    let tokens = named_tokens
        .iter()
        .map(|(name, token)| (*name, Value::from(token)));
    let rest = [
        ("messages", messages),
        ("add_generation_prompt", Value::from(generation_prompt)),
        ("add_bos", Value::from(add_bos)),
        ("tools", tools),
        ("documents", Value::from(())),
    ];
    Value::from_pairs(tokens.chain(rest))
}

/// A turn as transformers shows it to templates; what it has not is not there.
fn message(turn: &Turn, form: Arguments, showing: Showing) -> Value {
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let calls = (!turn.calls.is_empty())
        .then(|| python::list(turn.calls.iter().map(|call| shown_call(call, form))));
    let content = match turn.text.as_str() {
        "" if showing.no_text_beside_calls && !turn.calls.is_empty() => Value::from(()),
        said if showing.parts => {
            let part = [("type", Value::from("text")), ("text", Value::from(said))];
            python::list([python::dict(part)])
        }
        said => Value::from(said),
    };
    let fields = [
        ("role", Some(Value::from(turn.role.name()))),
        ("content", Some(content)),
        (showing.reasoning.name(), text(&turn.reasoning)),
        ("tool_calls", calls),
        ("tool_call_id", text(&turn.call_id)),
        ("name", text(&turn.name)),
    ];
    let present = fields.into_iter();
    python::dict(present.filter_map(|(name, value)| Some((name, value?))))
}

fn shown_call(call: &ToolCall, form: Arguments) -> Value {
    let arguments = Json::Object(call.arguments.clone());
    let text = call.arguments_text();
    let arguments = match form {
        Arguments::Both => python::arguments(&arguments, text, call.is_text()),
        Arguments::Text => Value::from(text),
    };
    let function = python::dict([
        ("name", Value::from(call.name.as_str())),
        ("arguments", arguments),
    ]);
    let id = call.id.as_deref().map(|id| ("id", Value::from(id)));
    let rest = [("type", Value::from("function")), ("function", function)];
    python::dict(id.into_iter().chain(rest))
}

/// Python's idea of it: `none` is not, though it could be looped over here.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// Marks an error that the template raised on purpose; not something a message starts with by chance.
const RAISED: &str = "\u{1}raised: ";

fn raise_exception(message: &str) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(
        ErrorKind::InvalidOperation,
        format!("{RAISED}{message}"),
    ))
}

pub(crate) fn one_line(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map(|line| format!(" (line {line} of the template)"))
        .unwrap_or_default();
    let detail = error
        .detail()
        .map(|detail| format!(": {detail}"))
        .unwrap_or_default();
    tame(&format!("{}{detail}{line}", error.kind()))
}

fn syntax_error(error: &minijinja::Error) -> TemplateError {
    TemplateError::Syntax {
        what: one_line(error),
    }
}

/// Takes bytes up to a limit, then refuses.
pub(crate) struct Bounded {
    pub bytes: Vec<u8>,
    pub limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        match self.bytes.len() > self.limit {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
