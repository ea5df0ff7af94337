//! Jinja over one row of data, as evaluation tasks write their prompts: a stranger's program, run with limits.
//!
//! The settings are those of lm-evaluation-harness: a tag leaves its line as it is, the last line break stays, and a name
//! that the row has not is an error and no empty text. What a value looks like is what Python makes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use regex::Regex;
use serde_json::{Map, Value as Json};

use crate::aside::{Aside, aside};
use crate::jinja_source::jinja_source;
use crate::one_line::tame;
use crate::python;
use crate::template::{Bounded, Limits, one_line, speak_python};

/// Why a template of a task cannot be used, or makes nothing of a row.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum RowTemplateError {
    #[error("it is {bytes} bytes long; the limit is {limit}")]
    SourceTooLong { bytes: usize, limit: usize },
    #[error("it is no Jinja: {what}")]
    Syntax { what: String },
    #[error("it reads `{name}`, which the row has not")]
    Unknown { name: String },
    #[error("it did not come to an end within {fuel} steps")]
    OutOfFuel { fuel: u64 },
    #[error("it did not come to an end within {} s", .time.as_secs_f32())]
    OutOfTime { time: Duration },
    #[error("it wrote more than {limit} bytes")]
    OutputTooLong { limit: usize },
    #[error("{what}")]
    Failed { what: String },
}

/// What a template of a task may use up: a prompt of more bytes is none.
const LIMITS: Limits = Limits {
    source_bytes: 256 << 10,
    output_bytes: 4 << 20,
    fuel: 200_000,
    time: Duration::from_secs(10),
    recursion: 100,
};

const NAME: &str = "row";

/// A compiled template.
#[derive(Clone)]
pub struct RowTemplate {
    environment: Arc<Environment<'static>>,
    reads: BTreeSet<String>,
}

impl std::fmt::Debug for RowTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowTemplate")
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

impl RowTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// A source that is no Jinja, or too long.
    pub fn new(source: &str) -> Result<Self, RowTemplateError> {
        if source.len() > LIMITS.source_bytes {
            return Err(RowTemplateError::SourceTooLong {
                bytes: source.len(),
                limit: LIMITS.source_bytes,
            });
        }
        let source = source.to_owned();
        run(move || {
            let mut environment = Environment::new();
            environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
            let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
            environment
                .set_syntax(syntax.expect("only the last line break differs from the usual"));
            environment.set_undefined_behavior(UndefinedBehavior::Strict);
            environment.set_fuel(Some(LIMITS.fuel));
            environment.set_recursion_limit(LIMITS.recursion);
            speak_python(&mut environment);
            environment.add_filter("regex_replace", regex_replace);
            let added = environment.add_template_owned(NAME, jinja_source(&source));
            added.map_err(|error| RowTemplateError::Syntax {
                what: one_line(&error),
            })?;
            let template = environment
                .get_template(NAME)
                .expect("compiled under this name");
            let reads = template.undeclared_variables(false);
            let globals: BTreeSet<&str> = environment.globals().map(|(name, _)| name).collect();
            let reads = reads
                .into_iter()
                .filter(|name| !globals.contains(name.as_str()))
                .collect();
            Ok(Self {
                environment: Arc::new(environment),
                reads,
            })
        })
    }

    /// The text that it makes of a row.
    ///
    /// # Errors
    /// What it does wrong, or that it takes too much.
    pub fn render(&self, row: &Map<String, Json>) -> Result<String, RowTemplateError> {
        let environment = Arc::clone(&self.environment);
        let fields = row
            .iter()
            .map(|(key, field)| (key.clone(), python::value(field)));
        let fields: Vec<(String, Value)> = fields.collect();
        let unknown = self.reads.iter().find(|name| !row.contains_key(*name));
        let unknown = unknown.cloned();
        run(move || {
            let mut out = Bounded {
                bytes: Vec::new(),
                limit: LIMITS.output_bytes,
            };
            let template = environment
                .get_template(NAME)
                .expect("compiled under this name");
            match template.render_captured_to(Value::from_pairs(fields), &mut out) {
                Ok(_) => Ok(String::from_utf8(out.bytes).expect("templates write text")),
                Err(_) if out.bytes.len() > out.limit => {
                    Err(RowTemplateError::OutputTooLong { limit: out.limit })
                }
                Err(error) => Err(match (error.kind(), unknown) {
                    (ErrorKind::OutOfFuel, _) => RowTemplateError::OutOfFuel { fuel: LIMITS.fuel },
                    (ErrorKind::UndefinedError, Some(name)) => RowTemplateError::Unknown { name },
                    _ => RowTemplateError::Failed {
                        what: one_line(&error),
                    },
                }),
            }
        })
    }
}

fn run<T: Send + 'static>(
    program: impl FnOnce() -> Result<T, RowTemplateError> + Send + 'static,
) -> Result<T, RowTemplateError> {
    aside(LIMITS.time, program).map_err(|why| match why {
        Aside::OutOfTime => RowTemplateError::OutOfTime { time: LIMITS.time },
        Aside::GaveUp(what) => RowTemplateError::Failed { what: tame(&what) },
    })?
}

/// lm-evaluation-harness's own filter, which is Python's `re.sub`; the patterns are Rust's.
fn regex_replace(
    text: &str,
    pattern: &str,
    replacement: &str,
    options: Kwargs,
) -> Result<String, minijinja::Error> {
    let count: Option<usize> = options.get("count")?;
    options.assert_all_used()?;
    let wrong = |what: String| minijinja::Error::new(ErrorKind::InvalidOperation, what);
    let regex = Regex::new(pattern)
        .map_err(|error| wrong(format!("`{pattern}` is no pattern: {}", last_line(&error))))?;
    // `\1` there is `${1}` here, and a dollar there is only a dollar.
    let mut with = String::new();
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' => with.push_str("$$"),
            '\\' if chars.peek().is_some_and(char::is_ascii_digit) => {
                with.push_str("${");
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    with.push(digit);
                }
                with.push('}');
            }
            '\\' => match chars.next() {
                Some('n') => with.push('\n'),
                Some('t') => with.push('\t'),
                Some('\\') | None => with.push('\\'),
                Some(other) => return Err(wrong(format!("`\\{other}` in a replacement"))),
            },
            c => with.push(c),
        }
    }
    let changed = regex.replacen(text, count.unwrap_or(0), with.as_str());
    match changed.len() > LIMITS.output_bytes {
        true => Err(wrong("`regex_replace` wrote too much".into())),
        false => Ok(changed.into_owned()),
    }
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, row: Json) -> Result<String, String> {
        let template = RowTemplate::new(source).map_err(|error| error.to_string())?;
        let row = row.as_object().unwrap();
        template.render(row).map_err(|error| error.to_string())
    }

    #[test]
    fn values_look_as_in_python_and_the_last_line_break_stays() {
        let row = json!({"q": " Why? ", "options": ["a'b", "c"], "n": 3, "yes": true, "f": 2.0});
        let source =
            "{{q.strip()}}\n  {% if yes %}{{ options }} {{ n }} {{ yes }} {{ f }}{% endif %}\n";
        assert_eq!(
            render(source, row.clone()).unwrap(),
            "Why?\n  [\"a'b\", 'c'] 3 True 2.0\n"
        );
        let source = r"{{ q | regex_replace('(W)(hy)', '\\2$\\1') }}";
        assert_eq!(render(source, row).unwrap(), " hy$W? ");
    }

    #[test]
    fn hostile_templates_end_in_a_sentence() {
        let error = |source: &str| render(source, json!({"a": "x"})).unwrap_err();
        assert_eq!(error("{{ b }}"), "it reads `b`, which the row has not");
        assert!(error("{{ a ").starts_with("it is no Jinja: "));
        assert_eq!(
            error("{% for i in range(9000) %}{% for j in range(9000) %}{% endfor %}{% endfor %}"),
            "it did not come to an end within 200000 steps"
        );
        let large = "{% set ns = namespace(a='x' * 1000) %}{% for i in range(40) %}{% set ns.a = ns.a ~ ns.a %}{{ ns.a }}{% endfor %}";
        assert!(
            error(large).contains("wrote more than 4194304 bytes"),
            "{}",
            error(large)
        );
        assert!(error("{{ a | regex_replace('(', '') }}").contains("is no pattern"));
        assert!(error("{{ a | nothing }}").contains("nothing"));
    }
}
