//! A model's own chat template: Jinja from a stranger, run with limits.
//!
//! Templates are programs that arrive with weights. They get fuel, a bounded output, no files and no clock: the date
//! they may print is handed in, so a rendering never depends on the day it was made. What fuel does not see is
//! caught by the thread that they run on, see [`aside`](crate::aside).

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind};

use crate::aside::{Aside, aside};
use crate::tokenizer::sha256_hex;
use crate::{Conversation, Turn};

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
        "`chat_template` in the tokenizer configuration is neither text nor a list with a `default` (found: {found})"
    )]
    NotATemplate { found: String },
}

/// Where a template came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateOrigin {
    /// It came with the model, or the user chose it.
    Model,
    /// The model has none; Hone's plain `Instruction:` / `Response:` form is used.
    Fallback,
}

/// A calendar day, for templates that print one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year, for example 2026.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

impl Date {
    /// The day that templates which may print one print unless told otherwise: the one Llama 3's
    /// template falls back to by itself.
    pub const DEFAULT: Self = Self {
        year: 2024,
        month: 7,
        day: 26,
    };
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
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    limits: Limits,
    origin: TemplateOrigin,
    hash: String,
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

    /// The template inside a `tokenizer_config.json`, if it has one.
    pub fn from_config(json: &[u8]) -> Result<Option<Self>, TemplateError> {
        let config: serde_json::Value =
            serde_json::from_slice(json).map_err(|error| TemplateError::NotATemplate {
                found: format!("no JSON: {error}"),
            })?;
        let named = |list: &[serde_json::Value]| {
            let default = list.iter().find(|entry| entry["name"] == "default")?;
            Some(default["template"].as_str()?.to_owned())
        };
        let source = match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => return Ok(None),
            Some(serde_json::Value::String(source)) => Some(source.clone()),
            Some(serde_json::Value::Array(list)) => named(list),
            Some(_) => None,
        };
        let source = source.ok_or_else(|| TemplateError::NotATemplate {
            found: config["chat_template"]
                .to_string()
                .chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect(),
        })?;
        Self::new(&source).map(Some)
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

    /// The text of `conversation`, ready to be encoded.
    pub(crate) fn render(
        &self,
        conversation: &Conversation,
        generation_prompt: bool,
        named_tokens: &[(&'static str, String)],
        add_bos: bool,
    ) -> Result<String, TemplateError> {
        let messages = conversation.turns.iter().map(message);
        let tools = match conversation.tools.is_empty() {
            true => Value::from(()),
            false => Value::from(Serde(&conversation.tools)),
        };
        let tokens = named_tokens
            .iter()
            .map(|(name, token)| (*name, Value::from(token)));
        let rest = [
            ("messages", messages.collect()),
            ("add_generation_prompt", Value::from(generation_prompt)),
            ("add_bos", Value::from(add_bos)),
            ("tools", tools),
            ("documents", Value::from(())),
        ];
        let context = Value::from_pairs(tokens.chain(rest));
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
        let environment = run(limits, move || Self::environment(&source, limits))?;
        Ok(Self {
            environment: Arc::new(environment),
            limits,
            origin,
            hash,
        })
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
        environment.set_unknown_method_callback(python_method);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |format: &str| Date::DEFAULT.format(format));
        environment.add_filter("tojson", to_json);
        environment.add_test("iterable", is_iterable);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
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

/// Python's methods of strings, lists and dictionaries. The width that `format` fills is the only number that none of the
/// limits sees before it is memory.
fn python_method(
    state: &mut minijinja::State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, minijinja::Error> {
    let digits = |text: &str| {
        let runs = text.split(|c: char| !c.is_ascii_digit());
        runs.map(str::len).max().unwrap_or(0)
    };
    if method == "format" && value.as_str().is_some_and(|text| digits(text) > 4) {
        let what = "`format` fills at most 9999 places";
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, what));
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

/// A turn as Hugging Face shows it to templates; what it has not is not there.
fn message(turn: &Turn) -> Value {
    let calls = (!turn.calls.is_empty()).then(|| Value::from(Serde(&turn.calls)));
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let fields = [
        ("role", Some(Value::from(turn.role.name()))),
        ("content", Some(Value::from(turn.text.as_str()))),
        // Each family of models has its own name for it.
        ("reasoning_content", text(&turn.reasoning)),
        ("thinking", text(&turn.reasoning)),
        ("reasoning", text(&turn.reasoning)),
        ("tool_calls", calls),
        ("tool_call_id", text(&turn.call_id)),
        ("name", text(&turn.name)),
    ];
    Value::from_pairs(
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    )
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

fn one_line(error: &minijinja::Error) -> String {
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

/// What a template says, in one line and without control characters.
pub(crate) fn tame(said: &str) -> String {
    let tame = |c: char| if c.is_control() { ' ' } else { c };
    said.chars().map(tame).collect()
}

fn syntax_error(error: &minijinja::Error) -> TemplateError {
    TemplateError::Syntax {
        what: one_line(error),
    }
}

/// `{% generation %}` marks replies for other tools; here it is a block that always runs. Which tokens
/// are supervised follows one rule for all templates, see [`crate::Renderer`].
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        // Not the same per cent sign twice, as in `{%}`.
        let Some(inner_len) = tag[2..].find("%}") else {
            return out + tag;
        };
        let close = 2 + inner_len;
        let inner = &tag[2..close];
        let word = inner.trim_matches(['-', '+']).trim();
        match word {
            "generation" => out += &format!("{{%{}%}}", inner.replace(word, "if true")),
            "endgeneration" => out += &format!("{{%{}%}}", inner.replace(word, "endif")),
            _ => out.push_str(&tag[..close + 2]),
        }
        rest = &tag[close + 2..];
    }
    out + rest
}

/// Python's `json.dumps`: separators with a space, no HTML escapes, optional `indent`.
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    for ignored in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(ignored)?;
    }
    options.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let mut out = String::new();
    write_json(&json, indent, 0, &mut out);
    Ok(out)
}

fn write_json(value: &serde_json::Value, indent: Option<usize>, depth: usize, out: &mut String) {
    use serde_json::Value as Json;
    match value {
        Json::Array(items) if !items.is_empty() => {
            write_list(items, ('[', ']'), indent, depth, out, |item, out| {
                write_json(item, indent, depth + 1, out)
            });
        }
        Json::Object(fields) if !fields.is_empty() => {
            write_list(
                fields,
                ('{', '}'),
                indent,
                depth,
                out,
                |(key, field), out| {
                    out.push_str(&Json::from(key.as_str()).to_string());
                    out.push_str(": ");
                    write_json(field, indent, depth + 1, out);
                },
            );
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_list<T>(
    items: impl IntoIterator<Item = T>,
    (open, close): (char, char),
    indent: Option<usize>,
    depth: usize,
    out: &mut String,
    mut write: impl FnMut(T, &mut String),
) {
    let line =
        |depth: usize| indent.map(|width| format!("\n{}", " ".repeat(width.min(16) * depth)));
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        match (index, line(depth + 1)) {
            (0, line) => out.push_str(&line.unwrap_or_default()),
            (_, Some(line)) => *out += &format!(",{line}"),
            (_, None) => out.push_str(", "),
        }
        write(item, out);
    }
    out.push_str(&line(depth).unwrap_or_default());
    out.push(close);
}

impl Date {
    /// C's `strftime`, as far as chat templates use it.
    fn format(self, format: &str) -> Result<String, minijinja::Error> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some('Y') => out += &format!("{:04}", self.year),
                Some('m') => out += &format!("{:02}", self.month),
                Some('d') => out += &format!("{:02}", self.day),
                Some('B') => out += self.month_name(),
                Some('b') => out += &self.month_name()[..3],
                Some('A') => out += self.weekday(),
                Some('a') => out += &self.weekday()[..3],
                Some('H' | 'M' | 'S') => out += "00",
                Some('%') => out.push('%'),
                other => {
                    let code = other.map(String::from).unwrap_or_default();
                    let what = format!("strftime_now does not know `%{code}`");
                    return Err(minijinja::Error::new(ErrorKind::InvalidOperation, what));
                }
            }
        }
        Ok(out)
    }

    fn month_name(self) -> &'static str {
        const MONTHS: [&str; 12] = [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        MONTHS[usize::from(self.month.clamp(1, 12)) - 1]
    }

    /// Sakamoto's method.
    fn weekday(self) -> &'static str {
        const DAYS: [&str; 7] = [
            "Sunday",
            "Monday",
            "Tuesday",
            "Wednesday",
            "Thursday",
            "Friday",
            "Saturday",
        ];
        const SHIFT: [i32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = self.year - i32::from(self.month < 3);
        let shift = SHIFT[usize::from(self.month.clamp(1, 12)) - 1];
        let day = year + year / 4 - year / 100 + year / 400 + shift + i32::from(self.day);
        DAYS[day.rem_euclid(7) as usize]
    }
}

/// Takes bytes up to a limit, then refuses.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
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
mod tests {
    use super::*;
    use crate::Role;

    fn render(source: &str) -> Result<String, TemplateError> {
        render_with(ChatTemplate::new(source)?)
    }

    fn render_with(template: ChatTemplate) -> Result<String, TemplateError> {
        let conversation = Conversation::new([Turn::new(Role::User, "hi <b>\"é\"</b>")]);
        template.render(&conversation, true, &[("bos_token", "<s>".into())], true)
    }

    #[test]
    fn a_template_sees_what_hugging_face_shows_it() {
        let source = "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'user' %}\n{{ m['content'] | trim }}\n    {% endif %}\n{% endfor %}{{ eos_token }}{{ tools is none }}{{ add_generation_prompt }}";
        assert_eq!(render(source).unwrap(), "<s>hi <b>\"é\"</b>\nTrueTrue");
    }

    #[test]
    fn python_methods_and_slices_work() {
        let source = "{{ messages[0].content.split(' ')[-1].startswith('<b>') }}{{ messages[::-1] | length }}{{ ' x '.strip() }}";
        assert_eq!(render(source).unwrap(), "True1x");
    }

    #[test]
    fn nothing_is_not_iterable() {
        let source =
            "{{ tools is iterable }} {{ messages is iterable }} {{ messages[0].role is iterable }}";
        assert_eq!(render(source).unwrap(), "False True True");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        assert_eq!(
            render("{{ messages | tojson }}").unwrap(),
            r#"[{"role": "user", "content": "hi <b>\"é\"</b>"}]"#
        );
        assert_eq!(
            render("{{ {'a': [1, 2.5], 'b': {}} | tojson(indent=2) }}").unwrap(),
            "{\n  \"a\": [\n    1,\n    2.5\n  ],\n  \"b\": {}\n}"
        );
    }

    #[test]
    fn generation_tags_are_blocks_that_always_run() {
        let source = "{% for m in messages %}  {%- generation -%}  {{ m.content }}  {%- endgeneration %}\n{% endfor %}";
        assert_eq!(render(source).unwrap(), "hi <b>\"é\"</b>");
    }

    #[test]
    fn a_raised_exception_is_told_in_its_own_words() {
        let error = render("{{ raise_exception('a\nb\x1b[2Jc') }}").unwrap_err();
        assert!(
            error.to_string().ends_with("conversation: a b [2Jc"),
            "{error}"
        );
        let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the chat template refuses this conversation: roles must alternate"
        );
    }

    #[test]
    fn the_date_is_handed_in() {
        let date = Date {
            year: 2024,
            month: 2,
            day: 29,
        };
        let template = ChatTemplate::new("{{ strftime_now('%A %d %b %Y, %B %m %%') }}").unwrap();
        assert_eq!(
            render_with(template.with_date(date)).unwrap(),
            "Thursday 29 Feb 2024, February 02 %"
        );
        assert_eq!(
            render("{{ strftime_now('%d %b %Y') }}").unwrap(),
            "26 Jul 2024"
        );
    }

    /// Each of these ended the process, never ended, or took all memory.
    #[test]
    fn what_fuel_does_not_see_is_an_error_all_the_same() {
        assert!(ChatTemplate::new("{%}").is_err());
        let signs = format!("{{{{ {}1 }}}}", "-".repeat(200_000));
        if let Ok(template) = ChatTemplate::new(&signs) {
            let _ = render_with(template);
        }
        let sum = format!("{{{{ 1{} }}}}", "+1".repeat(100_000));
        if let Ok(template) = ChatTemplate::new(&sum) {
            let _ = render_with(template);
        }
        for last in [
            "",
            "{{ ns.x }}",
            "{{ ns.x|tojson }}",
            "{{ ns.x == [ns.x] }}",
        ] {
            let nested = format!(
                "{{% set ns = namespace(x=[]) %}}{{% for i in range(4500) %}}{{% set ns.x = {}ns.x{} %}}{{% endfor %}}{last}",
                "[".repeat(30),
                "]".repeat(30)
            );
            let _ = render(&nested);
        }
        let wide = render("{{ '{:>999999999999}'.format(1) }}").unwrap_err();
        assert!(wide.to_string().contains("9999 places"), "{wide}");
        let limits = Limits {
            time: Duration::from_millis(300),
            ..Limits::default()
        };
        let doubled = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}";
        let template = ChatTemplate::with_limits(doubled, limits).unwrap();
        let error = render_with(template).unwrap_err().to_string();
        assert_eq!(
            error,
            "the chat template did not come to an end within 0.3 s"
        );
    }

    #[test]
    fn an_endless_template_runs_out_of_fuel() {
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}{{ '' }}{% endfor %}{% endfor %}";
        assert!(matches!(
            render(endless),
            Err(TemplateError::OutOfFuel { .. })
        ));
        let doubling = "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
        assert!(matches!(
            render(doubling),
            Err(TemplateError::OutOfFuel { .. })
        ));
    }

    #[test]
    fn endless_recursion_is_an_error() {
        let error = render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").unwrap_err();
        assert!(matches!(error, TemplateError::Failed { .. }), "{error}");
    }

    #[test]
    fn long_sources_and_outputs_are_refused() {
        let limits = Limits {
            source_bytes: 100,
            output_bytes: 50,
            ..Limits::default()
        };
        let long = " ".repeat(101);
        assert!(matches!(
            ChatTemplate::with_limits(&long, limits),
            Err(TemplateError::SourceTooLong { bytes: 101, .. })
        ));
        let wide = ChatTemplate::with_limits("{{ 'x' * 1000 }}", limits).unwrap();
        assert!(matches!(
            render_with(wide),
            Err(TemplateError::OutputTooLong { limit: 50 })
        ));
    }

    #[test]
    fn a_broken_template_is_refused_with_its_line() {
        let Err(error) = ChatTemplate::new("ok\n{% if %}") else {
            panic!("it compiled")
        };
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn the_configuration_may_hold_one_template_or_a_list() {
        let one = ChatTemplate::from_config(br#"{"chat_template": "{{ 1 }}"}"#)
            .unwrap()
            .unwrap();
        let list = br#"{"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "{{ 1 }}"}]}"#;
        let default = ChatTemplate::from_config(list).unwrap().unwrap();
        assert_eq!(one.hash(), default.hash());
        assert!(ChatTemplate::from_config(b"{}").unwrap().is_none());
        assert!(ChatTemplate::from_config(br#"{"chat_template": 3}"#).is_err());
    }
}
