//! What a user sets for a chat template: `enable_thinking=false`, and whatever else a template reads beside the turns.
//!
//! TRL and vLLM call them `chat_template_kwargs`. A value stands in front of the template as an assignment, so the text that
//! is rendered here is the text that is saved and exported, and every program that runs it renders the same.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::jinja_source::{Tag, tags, words_of};
use crate::one_line::tame;

/// A variable of a chat template, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TemplateOption {
    /// What the template calls it.
    pub name: String,
    /// JSON; a value that is none is text.
    pub value: Value,
}

/// What a template is given with every conversation, by the conversation itself, by the tokenizer or by Jinja.
const GIVEN: [&str; 15] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "add_bos",
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "loop",
    "self",
    "super",
    "caller",
];

impl FromStr for TemplateOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| is_name(name))
            .ok_or_else(|| {
                format!(
                    "`{}` is not NAME=VALUE, such as enable_thinking=false",
                    tame(text)
                )
            })?;
        if GIVEN.contains(&name) {
            return Err(format!(
                "`{name}` is not set by an option: the rows and the tokenizer say it"
            ));
        }
        let value = match (serde_json::from_str(value), value) {
            (Ok(value), _) => value,
            (Err(_), "True" | "False" | "None") => {
                return Err(format!(
                    "`{value}` is Python's: write {name}={}",
                    match value {
                        "None" => "null".to_owned(),
                        other => other.to_lowercase(),
                    }
                ));
            }
            (Err(error), json) if json.starts_with(['{', '[', '"']) => {
                return Err(format!("the value of `{name}` is no JSON: {error}"));
            }
            (Err(_), text) => Value::from(text),
        };
        match crate::python::inexact(&value) {
            Some(number) => Err(format!(
                "the value of `{name}` holds the number {number}, which is too large to be kept as it is written"
            )),
            None => Ok(Self {
                name: name.into(),
                value,
            }),
        }
    }
}

impl fmt::Display for TemplateOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value } = self;
        if let Value::String(text) = value {
            let plain = format!("{name}={text}");
            if plain.parse().as_ref() == Ok(self) {
                return f.write_str(&plain);
            }
        }
        write!(f, "{name}={value}")
    }
}

impl TryFrom<String> for TemplateOption {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TemplateOption> for String {
    fn from(option: TemplateOption) -> Self {
        option.to_string()
    }
}

impl TemplateOption {
    /// The line of a template that gives the variable its value. With Hugging Face's settings nothing of it is written, and
    /// what follows is read as the beginning of a template is.
    pub(crate) fn assignment(&self) -> String {
        format!("{{% set {} = {} %}}\n", self.name, jinja(&self.value))
    }
}

fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// A value as Jinja2 writes it: as JSON, but for `null`.
fn jinja(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Null => "none".into(),
        Value::Array(items) => format!("[{}]", list(items.iter().map(jinja).collect())),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                format!("{}: {}", Value::from(name.as_str()), jinja(value))
            };
            format!("{{{}}}", list(fields.iter().map(field).collect()))
        }
        plain => plain.to_string(),
    }
}

/// The variables that a user may set: those that a template reads where nothing before has given them a value, among what
/// minijinja finds to be `undeclared`, and those that it keeps, `{% set effort = effort if effort is defined else 'high' %}`.
/// minijinja alone takes a variable for undeclared that both branches of a condition set, and loses the kept ones.
pub(crate) fn options_read(
    source: &str,
    undeclared: &HashSet<String>,
    is_global: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let mut reading = Reading {
        scopes: vec![Scope::default()],
        ..Reading::default()
    };
    for tag in tags(source) {
        match tag {
            Tag::Expression(text) => reading.read_all(&text),
            Tag::Statement(text) => reading.statement(&text),
        }
    }
    let top = &reading.scopes[0].assigned;
    // A macro may come before what it reads is set.
    let in_macros = reading.in_macros.iter().filter(|name| !top.contains(*name));
    let read = reading.read.iter().chain(in_macros);
    let is_read = |name: &&String| undeclared.contains(*name);
    let all = read.filter(is_read).chain(&reading.kept);
    let is_option = |name: &&String| !GIVEN.contains(&name.as_str()) && !is_global(name);
    all.filter(is_option).cloned().collect()
}

/// Names in the order in which a template has them.
#[derive(Default)]
struct Reading {
    scopes: Vec<Scope>,
    /// Read outside of macros before they were set, with words that are no variables.
    read: BTreeSet<String>,
    /// The same inside of macros.
    in_macros: BTreeSet<String>,
    /// First set to what they are.
    kept: BTreeSet<String>,
}

/// What a loop or a macro sets is not set outside of it.
#[derive(Default)]
struct Scope {
    is_macro: bool,
    assigned: BTreeSet<String>,
}

impl Reading {
    fn statement(&mut self, text: &str) {
        let words: Vec<&str> = words_of(text).collect();
        match words[..] {
            ["for", ref rest @ ..] => {
                let at = rest.iter().position(|word| *word == "in");
                let (targets, read) = rest.split_at(at.unwrap_or(rest.len()));
                read.iter().for_each(|name| self.read(name));
                self.begin(false, targets);
            }
            ["macro", name, ref arguments @ ..] => {
                self.assign(name);
                self.begin(true, arguments);
            }
            ["with", ref rest @ ..] => {
                rest.iter().for_each(|name| self.read(name));
                self.begin(false, rest);
            }
            ["endfor" | "endmacro" | "endwith", ..] if self.scopes.len() > 1 => {
                self.scopes.pop();
            }
            ["set", ..] => self.set(text),
            _ => self.read_all(text),
        }
    }

    fn set(&mut self, text: &str) {
        let (targets, value) = text.split_once('=').unwrap_or((text, ""));
        if targets.contains('.') {
            return self.read_all(value);
        }
        let names: Vec<&str> = words_of(targets).skip(1).collect();
        // Of a block that is set, filters stand behind the name.
        let names = if value.is_empty() {
            &names[..names.len().min(1)]
        } else {
            &names[..]
        };
        for read in words_of(value) {
            if names.contains(&read) && !self.is_assigned(read) {
                self.kept.insert(read.to_owned());
            }
            self.read(read);
        }
        names.iter().for_each(|name| self.assign(name));
    }

    fn read_all(&mut self, text: &str) {
        words_of(text).for_each(|name| self.read(name));
    }

    fn read(&mut self, name: &str) {
        if !self.is_assigned(name) {
            let is_in_macro = self.scopes.iter().any(|scope| scope.is_macro);
            let names = if is_in_macro {
                &mut self.in_macros
            } else {
                &mut self.read
            };
            names.insert(name.to_owned());
        }
    }

    fn is_assigned(&self, name: &str) -> bool {
        self.scopes
            .iter()
            .any(|scope| scope.assigned.contains(name))
    }

    fn assign(&mut self, name: &str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.assigned.insert(name.to_owned());
        }
    }

    fn begin(&mut self, is_macro: bool, names: &[&str]) {
        let assigned = names.iter().map(|name| (*name).to_owned()).collect();
        self.scopes.push(Scope { is_macro, assigned });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TemplateOption, String> {
        text.parse()
    }

    #[test]
    fn a_value_is_json_or_text() {
        for (text, value, jinja) in [
            ("enable_thinking=false", "false", "false"),
            ("n = 3", "3", "3"),
            ("effort=low", "\"low\"", "\"low\""),
            ("effort=\"3\"", "\"3\"", "\"3\""),
            ("x=", "\"\"", "\"\""),
            ("x=a=b", "\"a=b\"", "\"a=b\""),
            (
                "x={\"a\": [null, true, -1.5]}",
                "{\"a\":[null,true,-1.5]}",
                "{\"a\": [none, true, -1.5]}",
            ),
        ] {
            let option = read(text).unwrap();
            assert_eq!(option.value.to_string(), value, "{text}");
            assert!(
                option.assignment().ends_with(&format!(" = {jinja} %}}\n")),
                "{text}"
            );
            assert_eq!(read(&option.to_string()), Ok(option), "{text}");
        }
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        for (text, why) in [
            ("enable_thinking", "is not NAME=VALUE"),
            ("enable-thinking=false", "is not NAME=VALUE"),
            ("=false", "is not NAME=VALUE"),
            ("enable_thinking=False", "write enable_thinking=false"),
            ("x=None", "write x=null"),
            ("x={a", "is no JSON"),
            ("tools=[]", "the rows and the tokenizer say it"),
            ("x=123456789012345678901234567890", "too large"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
