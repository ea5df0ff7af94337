//! What a rule is: a look at one row, its documentation, and its parameters.
//!
//! A rule does not decide. It reports hits; the recipe says whether a hit is reported, asked about,
//! redacted, dropped or allowed. Code, reason and consequence stand together in one file, and both
//! `hone data rules` and the pages under `docs/rules/` are made from it.

use std::cell::OnceCell;
use std::fmt;

use hone_data::{Part, Place, Record};
use serde::{Deserialize, Serialize};

use crate::Hit;
use crate::view::View;

/// Looks at one row at a time, from any thread.
pub trait Rule: Send + Sync {
    /// Adds what it sees in the row.
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>);
}

/// A row under examination.
pub struct Row<'a> {
    /// What was read.
    pub record: &'a Record,
    /// Its length in tokens of the target model, where a model was named.
    pub tokens: Option<usize>,
    views: OnceCell<Vec<View<'a>>>,
}

impl<'a> Row<'a> {
    /// A row of `tokens` tokens.
    pub fn new(record: &'a Record, tokens: Option<usize>) -> Self {
        Self {
            record,
            tokens,
            views: OnceCell::new(),
        }
    }

    /// Its texts, and what stands beside them and may be personal, as recognisers of personal data see them.
    pub(crate) fn views(&self) -> &[View<'a>] {
        self.views.get_or_init(|| View::all(self.record))
    }

    /// What stands at a place, as it was read.
    pub(crate) fn text(&self, place: Place) -> Option<&str> {
        let seen = || self.views.get()?.iter().find(|view| view.place == place);
        self.record.text(place).or_else(|| seen().map(View::origin))
    }

    /// All texts of the row, first to last.
    pub fn parts(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        self.record.parts()
    }

    /// The texts that are trained on: replies, or the text itself.
    pub fn supervised(&self) -> impl Iterator<Item = Part<'a>> + use<'a> {
        self.parts().filter(Part::is_supervised)
    }
}

/// What is told about a rule.
#[derive(Debug)]
pub struct Doc {
    /// Its name in recipes, findings and pages: lower case, words joined by `-`, never reused.
    pub name: &'static str,
    /// What it is about.
    pub family: Family,
    /// One line.
    pub summary: &'static str,
    /// Why it matters to somebody who fine-tunes; Markdown.
    pub why: &'static str,
    /// What exactly is looked for, with source; Markdown.
    pub what: &'static str,
    /// What happens to a hit unless the recipe says otherwise.
    pub default: Action,
    /// What can be set, beside `action`.
    pub params: &'static [Param],
}

/// A number or list that a recipe can set.
#[derive(Debug)]
pub struct Param {
    /// Its key.
    pub name: &'static str,
    /// What it means, with unit and default.
    pub what: &'static str,
}

/// A rule of the house, and how it is carried out.
pub struct Entry {
    /// Its documentation.
    pub doc: &'static Doc,
    /// Who does the work.
    pub check: Check,
}

impl Entry {
    /// Is it no look at rows, but a step of the build that a section of the recipe asks for?
    pub fn is_step(&self) -> bool {
        matches!(self.doc.name, "not-chosen" | "mixed-out")
    }

    /// Can a recipe ask for this? Only text that was seen can be replaced, and what a step of the build leaves out is out.
    pub fn takes(&self, action: Action) -> bool {
        match (action, self.doc.name) {
            (Action::Drop, _) => true,
            (_, "unusable-row") => false,
            (Action::Off, _) => true,
            _ if self.is_step() => false,
            (Action::Redact | Action::Pseudonymise, _) => {
                matches!(self.check, Check::Row(_)) && self.doc.family != Family::Quality
            }
            _ => true,
        }
    }
}

/// Who carries a rule out.
pub enum Check {
    /// A look at each row by itself.
    Row(fn(&mut Params) -> Result<Box<dyn Rule>, BadParam>),
    /// A stage of the build that sees all rows; the function takes its parameters, to check them.
    Dataset(fn(&mut Params) -> Result<(), BadParam>),
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// The shape of conversations and text.
    Format,
    /// The same thing twice.
    Duplicate,
    /// Text that points to a person, and secrets.
    PersonalData,
    /// Text that harms.
    Harm,
    /// Whose text it is.
    Licence,
    /// Evaluation rows that are also trained on.
    Leak,
    /// How much there is to learn from it.
    Quality,
}

impl Family {
    /// All families, in the order in which they are told.
    pub const ALL: [Self; 7] = [
        Self::Format,
        Self::Duplicate,
        Self::PersonalData,
        Self::Harm,
        Self::Licence,
        Self::Leak,
        Self::Quality,
    ];

    /// The family's name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Duplicate => "duplicate",
            Self::PersonalData => "personal-data",
            Self::Harm => "harm",
            Self::Licence => "licence",
            Self::Leak => "leak",
            Self::Quality => "quality",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to what a rule sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The rule is not asked.
    Off,
    /// The row stays; the finding is listed.
    Report,
    /// The row stays for now; training on it is refused until the recipe decides.
    Ask,
    /// The row stays; a reason was given.
    Allow,
    /// The text seen is replaced by a placeholder that names its kind.
    Redact,
    /// The text seen is replaced by a made-up one, the same for the same text.
    Pseudonymise,
    /// The row is dropped.
    Drop,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Off,
        Self::Report,
        Self::Ask,
        Self::Allow,
        Self::Drop,
        Self::Redact,
        Self::Pseudonymise,
    ];

    /// The action's name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Report => "report",
            Self::Ask => "ask",
            Self::Allow => "allow",
            Self::Redact => "redact",
            Self::Pseudonymise => "pseudonymise",
            Self::Drop => "drop",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The parameters of one rule: what the recipe wrote, and what will be used.
///
/// Each taking notes the value in force, so that the manifest lists defaults as well; what nobody took
/// is a mistake in the recipe.
#[derive(Debug, Default)]
pub struct Params {
    written: toml::Table,
    used: toml::Table,
}

/// A parameter that the rule does not have, or of the wrong kind.
#[derive(Debug, thiserror::Error, PartialEq)]
#[allow(missing_docs)] // the message says what each field is
pub enum BadParam {
    #[error("`{name}` must be {wanted}, not {found}")]
    Kind {
        name: String,
        wanted: &'static str,
        found: String,
    },
    #[error("no parameter `{name}`; there are {}", known.join(", "))]
    Unknown { name: String, known: Vec<String> },
    #[error("`{name}`: {problem}")]
    Value { name: String, problem: String },
}

impl Params {
    /// What the recipe wrote about the rule, without its action.
    pub fn new(written: toml::Table) -> Self {
        Self {
            written,
            used: toml::Table::new(),
        }
    }

    /// A number.
    pub fn number(&mut self, name: &str, default: f64) -> Result<f64, BadParam> {
        let value = match self.written.remove(name) {
            None => default,
            Some(toml::Value::Float(value)) => value,
            Some(toml::Value::Integer(value)) => value as f64,
            Some(other) => return Err(wrong(name, "a number", &other)),
        };
        self.used.insert(name.into(), value.into());
        Ok(value)
    }

    /// A count.
    pub fn count(&mut self, name: &str, default: usize) -> Result<usize, BadParam> {
        let value = match self.written.remove(name) {
            None => default,
            Some(toml::Value::Integer(value)) if value >= 0 => value as usize,
            Some(other) => return Err(wrong(name, "a whole number", &other)),
        };
        self.used.insert(name.into(), (value as i64).into());
        Ok(value)
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, BadParam> {
        let value = match self.written.remove(name) {
            None => default,
            Some(toml::Value::Boolean(value)) => value,
            Some(other) => return Err(wrong(name, "true or false", &other)),
        };
        self.used.insert(name.into(), value.into());
        Ok(value)
    }

    /// A text.
    pub fn text(&mut self, name: &str, default: &str) -> Result<String, BadParam> {
        let value = match self.written.remove(name) {
            None => default.to_owned(),
            Some(toml::Value::String(value)) => value,
            Some(other) => return Err(wrong(name, "a text", &other)),
        };
        self.used.insert(name.into(), value.clone().into());
        Ok(value)
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str, default: &[&str]) -> Result<Vec<String>, BadParam> {
        let texts = match self.written.remove(name) {
            None => default.iter().map(|&text| text.to_owned()).collect(),
            Some(toml::Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    toml::Value::String(text) => Ok(text),
                    other => Err(wrong(name, "a list of texts", &other)),
                })
                .collect::<Result<Vec<_>, _>>()?,
            Some(other) => return Err(wrong(name, "a list of texts", &other)),
        };
        self.used.insert(name.into(), texts.clone().into());
        Ok(texts)
    }

    /// The values in force, once the rule has taken its own; an error if something is left over.
    pub fn finish(self) -> Result<toml::Table, BadParam> {
        match self.written.into_iter().next() {
            None => Ok(self.used),
            Some((name, _)) => Err(BadParam::Unknown {
                name,
                known: self.used.keys().cloned().chain(["action".into()]).collect(),
            }),
        }
    }
}

fn wrong(name: &str, wanted: &'static str, found: &toml::Value) -> BadParam {
    BadParam::Kind {
        name: name.to_owned(),
        wanted,
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(written: &str) -> Params {
        Params::new(toml::from_str(written).unwrap())
    }

    #[test]
    fn parameters_in_force_are_noted_with_their_defaults() {
        let mut given = params("threshold = 0.9");
        assert_eq!(given.number("threshold", 0.7).unwrap(), 0.9);
        assert_eq!(given.count("ngram", 5).unwrap(), 5);
        assert_eq!(
            given.finish().unwrap().to_string(),
            "ngram = 5\nthreshold = 0.9\n"
        );
    }

    #[test]
    fn a_parameter_that_nobody_takes_is_refused() {
        let mut given = params("treshold = 0.9");
        given.number("threshold", 0.7).unwrap();
        let error = given.finish().unwrap_err().to_string();
        assert_eq!(
            error,
            "no parameter `treshold`; there are threshold, action"
        );
    }

    #[test]
    fn a_parameter_of_another_kind_is_refused() {
        let error = params("ngram = \"five\"").count("ngram", 5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`ngram` must be a whole number, not \"five\""
        );
    }
}
