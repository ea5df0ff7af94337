//! A recipe: which files become a dataset, by which rules, and what to do about what they see.
//!
//! [`RawRecipe`] is what was written, [`Curation`] what will happen. A rule's section is its name, or the
//! name of its family; the rule's own section wins. What the recipe does not mention keeps the rule's
//! default, and the plan lists every value in force, so that a manifest tells them all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use hone_data::Side;
use hone_data::nearest::several;
use hone_data::{Choices, Nulls};
use hone_ledger::mistyped;
use serde::Deserialize;
use serde_json::{Value, json};
use toml::de::DeTable;

use crate::mix::RawMix;
use crate::rules::format::unusable_row;
use crate::select::RawSelect;
use crate::{Action, BadParam, Check, Doc, Entry, Family, Params, Rule, rules};

/// What was written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawRecipe {
    /// Where the rows come from.
    #[serde(default)]
    pub sources: Vec<RawSource>,
    /// The model whose tokenizer counts tokens: a name or a path.
    pub model: Option<String>,
    /// Decides which rows are held out, which are repeated, and how names are made up.
    pub seed: Option<u64>,
    /// Share of unusable rows of a file from which the build stops; 0.05 if not given, 1 where a rule says that they are dropped.
    pub max_bad_rows: Option<f64>,
    /// Share of a collection or class that may be left out though nobody has told to; 0.3 if not given.
    pub max_dropped: Option<f64>,
    /// Actions and parameters, by rule or family.
    #[serde(default)]
    pub rules: BTreeMap<String, toml::Value>,
    /// Shares that are held out.
    pub split: Option<RawSplit>,
    /// Files of evaluation rows that must not be trained on.
    #[serde(default)]
    pub benchmarks: Vec<String>,
    /// How long texts are cut.
    pub chunk: Option<RawChunk>,
    /// How many rows to choose.
    pub select: Option<RawSelect>,
    /// How much of each collection.
    pub mix: Option<RawMix>,
    /// The file that keeps made-up names and what they stand for.
    pub pseudonym_key: Option<PathBuf>,
    /// Where it was written, so that a mistake is told with its line.
    #[serde(skip)]
    pub text: RecipeText,
}

/// The text of a recipe, which knows the line of each key.
#[derive(Clone, Debug, Default)]
pub struct RecipeText {
    path: PathBuf,
    text: String,
    /// Keys whose value a flag has replaced: the file is not to blame for them.
    replaced: Vec<String>,
}

impl RecipeText {
    /// Notes that a flag stands in for a key, which is written with dots.
    pub fn replace(&mut self, key: &str) {
        self.replaced.push(key.to_owned());
    }

    /// The line under `[rules]` that has a rule do something; what else the recipe says of the rule stays.
    pub fn rule_line(&self, rule: &Ruled, action: Action) -> String {
        let name = rule.doc.name;
        let table = self.text.parse::<toml::Table>().unwrap_or_default();
        let known = table.get("rules").and_then(|rules| rules.get(name));
        let mut section = match known {
            Some(toml::Value::Table(section)) => section.clone(),
            _ => toml::Table::new(),
        };
        section.remove("reason");
        section.insert("action".into(), action.name().into());
        if action == Action::Allow {
            section.insert("reason".into(), "REASON".into());
        }
        match section.len() {
            1 => format!("{name} = \"{action}\""),
            _ => format!("{name} = {}", toml::Value::Table(section)),
        }
    }

    /// File and line of a key, given name by name; `None` if the recipe does not have it.
    pub fn place(&self, key: &[&str]) -> Option<String> {
        if self.replaced.contains(&key.join(".")) {
            return None;
        }
        let document = DeTable::parse(&self.text).ok()?;
        let mut table = document.get_ref();
        for (at, name) in key.iter().enumerate() {
            let (known, value) = table
                .iter()
                .find(|(known, _)| known.get_ref().as_ref() == *name)?;
            if at + 1 == key.len() {
                let line = self.text[..known.span().start].matches('\n').count() + 1;
                return Some(format!("{}:{line}", self.path.display()));
            }
            table = value.get_ref().as_table()?;
        }
        None
    }
}

/// Files that belong together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawSource {
    /// Paths, folders or patterns.
    pub files: Vec<String>,
    /// The collection's name.
    pub name: Option<String>,
    /// The task of rows that name none.
    pub task: Option<String>,
    /// The licence of rows that name none.
    pub licence: Option<String>,
    /// Which column is meant by which of our fields.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Keys that are passed over whatever they hold; `turn.NAME` for keys of turns.
    #[serde(default)]
    pub ignore_keys: Vec<String>,
    /// What null properties of tool calls and tools are: `keep` or `drop`.
    pub nulls: Option<Nulls>,
    /// The side on which all its rows stand; without it, the side that names, cards and folders tell.
    pub side: Option<Side>,
    /// The side of single files, by name, split or folder: train, valid, test or skip.
    #[serde(default)]
    pub sides: BTreeMap<String, String>,
    /// Configurations of a card, or datasets of an index, that are meant.
    #[serde(default)]
    pub configs: Vec<String>,
}

impl RawSource {
    /// What it says about folders that leave sides open.
    pub fn choices(&self) -> Result<Choices, RecipeError> {
        let side = |(name, side): (&String, &String)| {
            let side = match side.as_str() {
                "skip" => None,
                side => Some(side.parse::<Side>().map_err(|what| RecipeError::Side {
                    name: name.clone(),
                    what,
                })?),
            };
            Ok((name.clone(), side))
        };
        Ok(Choices {
            configs: self.configs.clone(),
            sides: self
                .sides
                .iter()
                .map(side)
                .collect::<Result<_, RecipeError>>()?,
            ..Choices::default()
        })
    }
}

/// Share of unusable rows from which a build stops where nobody decides about them.
pub const DEFAULT_MAX_BAD_ROWS: f64 = 0.05;

/// Shares that are held out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawSplit {
    /// Of each task, to watch learning by; 0.1 if not given.
    pub valid: Option<f64>,
    /// Of each task, to judge the result by; 0 if not given.
    pub test: Option<f64>,
    /// Are rows that come as train and validation rows split anew?
    pub regroup: Option<bool>,
}

/// How long texts are cut.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RawChunk {
    /// Tokens of a piece at most.
    pub tokens: Option<usize>,
    /// Tokens that a piece repeats of the one before.
    pub overlap: Option<usize>,
}

/// What will happen.
pub struct Curation {
    /// Where the rows come from.
    pub sources: Vec<RawSource>,
    /// Decides about chance.
    pub seed: u64,
    /// Share of unusable rows of a file from which the build stops.
    pub max_bad_rows: f64,
    /// Share of a collection or class from which a build stops that leaves it out though nobody has told to.
    pub max_dropped: f64,
    /// Are rows that come as train and validation rows split anew?
    pub regroup: bool,
    /// Every rule, with what is done about what it sees.
    pub rules: Vec<Ruled>,
    /// Held out to watch learning by, 0 to 1.
    pub valid: f64,
    /// Held out to judge the result by, 0 to 1.
    pub test: f64,
    /// Files of evaluation rows that must not be trained on.
    pub benchmarks: Vec<String>,
    /// Tokens of a piece of a long text, and how many of them it repeats.
    pub chunk: (usize, usize),
    /// How many rows to choose, and how.
    pub select: Option<RawSelect>,
    /// How much of each collection.
    pub mix: Option<RawMix>,
    /// The file that keeps made-up names and what they stand for.
    pub pseudonym_key: Option<PathBuf>,
    /// Sides of folders that are not read: what is only trained on needs no test.
    pub unread: Vec<Side>,
    /// Is it an error if a folder leaves open which side a file is?
    pub asks: bool,
    /// Where it was written.
    pub text: RecipeText,
}

/// A rule and what is done about what it sees.
pub struct Ruled {
    /// What is told about it.
    pub doc: &'static Doc,
    /// What is done.
    pub action: Action,
    /// Does the recipe, or a flag, say what is done, and not the rule's default?
    pub is_decided: bool,
    /// Why it is allowed.
    pub reason: Option<String>,
    /// Its parameters in force.
    pub params: toml::Table,
    /// Who looks at single rows; `None` for rules that see all rows.
    pub rule: Option<Box<dyn Rule>>,
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum RecipeError {
    #[error("cannot read the recipe {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}:{line}: {what}", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        what: String,
    },
    #[error("there is no rule and no family `{name}`")]
    NoSuchRule { name: String },
    #[error("rule `{name}`: {source}")]
    Params { name: String, source: BadParam },
    #[error("rule `{name}`: {what}")]
    Section { name: String, what: String },
    #[error("side of `{name}`: {what}, or skip")]
    Side { name: String, what: String },
    #[error("the recipe names no sources")]
    NoSources,
    #[error("`{name}` is {value}; {wanted}")]
    OutOfRange {
        name: &'static str,
        value: f64,
        wanted: &'static str,
    },
    #[error("{place}: {source}")]
    At { place: String, source: Box<Self> },
}

impl RecipeError {
    /// What is wrong, apart from the place in the recipe where it stands, if it stands in one.
    pub fn apart(self) -> (Option<String>, Self) {
        match self {
            Self::At { place, source } => (Some(place), *source),
            error => (None, error),
        }
    }

    /// The same, with its line where the recipe has one.
    fn in_text(self, text: &RecipeText) -> Self {
        let key: Vec<&str> = match &self {
            Self::NoSuchRule { name } | Self::Params { name, .. } | Self::Section { name, .. } => {
                vec!["rules", name]
            }
            Self::OutOfRange { name, .. } => name.split('.').collect(),
            _ => return self,
        };
        match text.place(&key) {
            Some(place) => Self::At {
                place,
                source: Box::new(self),
            },
            None => self,
        }
    }

    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::At { source, .. } => source.hints(),
            Self::NoSuchRule { name } => {
                let families = Family::ALL.map(Family::name);
                let known = rules::all().map(|entry| entry.doc.name).chain(families);
                let near = several(name, known);
                near.first()
                    .map(|near| format!("did you mean `{near}`?"))
                    .into_iter()
                    .chain(["`hone data rules` lists them".to_owned()])
                    .collect()
            }
            Self::NoSources => vec!["add [[sources]] with files = [\"rows.jsonl\"]".into()],
            Self::Params { name, .. } | Self::Section { name, .. } => {
                vec![format!("`hone data rules {name}` says what it takes")]
            }
            Self::Unreadable { .. } => {
                vec!["without a recipe: hone data build --from rows.jsonl --out DIR".into()]
            }
            _ => Vec::new(),
        }
    }
}

impl RawRecipe {
    /// Reads a recipe; relative paths in it mean relative to the recipe.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        let malformed = |error: toml::de::Error, is_grammar: bool| {
            let at = error.span().map(|span| span.start);
            RecipeError::Malformed {
                path: path.to_path_buf(),
                line: at.map_or(1, |at| text[..at].matches('\n').count() + 1),
                what: match is_grammar {
                    true => error.message().to_owned(),
                    false => mistyped(&text, at, error.message()),
                },
            }
        };
        toml::from_str::<toml::Table>(&text).map_err(|error| malformed(error, true))?;
        let mut raw: Self = toml::from_str(&text).map_err(|error| malformed(error, false))?;
        raw.stand_beside(path.parent().unwrap_or(Path::new("")));
        raw.text = RecipeText {
            path: path.to_path_buf(),
            text,
            replaced: Vec::new(),
        };
        Ok(raw)
    }

    fn stand_beside(&mut self, dir: &Path) {
        let files = self.sources.iter_mut().flat_map(|source| &mut source.files);
        for file in files.chain(&mut self.benchmarks) {
            *file = dir.join(&*file).display().to_string();
        }
        if let Some(key) = &mut self.pseudonym_key {
            *key = dir.join(&*key);
        }
        for (rule, param) in FILE_PARAMS {
            if let Some(value) = self
                .rules
                .get_mut(rule)
                .and_then(|section| section.get_mut(param))
            {
                stand_value_beside(value, dir);
            }
        }
    }
}

/// Parameters of rules that are files.
const FILE_PARAMS: [(&str, &str); 3] = [
    ("semantic-duplicate", "embeddings"),
    ("semantic-duplicate", "tokenizer"),
    ("verbatim-overlap", "files"),
];

fn stand_value_beside(value: &mut toml::Value, dir: &Path) {
    match value {
        toml::Value::String(file) => *file = dir.join(&*file).display().to_string(),
        toml::Value::Array(files) => {
            files
                .iter_mut()
                .for_each(|file| stand_value_beside(file, dir));
        }
        _ => {}
    }
}

impl Curation {
    /// What will happen by a recipe, every value decided.
    pub fn resolve(raw: RawRecipe) -> Result<Self, RecipeError> {
        let text = raw.text.clone();
        Self::decide(raw).map_err(|error| error.in_text(&text))
    }

    fn decide(raw: RawRecipe) -> Result<Self, RecipeError> {
        if raw.sources.is_empty() {
            return Err(RecipeError::NoSources);
        }
        let split = raw.split.unwrap_or_default();
        let (valid, test) = (split.valid.unwrap_or(0.1), split.test.unwrap_or(0.0));
        // Whoever says what becomes of unusable rows has decided about all of them.
        let decides = raw.rules.contains_key(unusable_row::DOC.name);
        let max_bad_rows = raw.max_bad_rows.unwrap_or(match decides {
            true => 1.0,
            false => DEFAULT_MAX_BAD_ROWS,
        });
        let max_dropped = raw.max_dropped.unwrap_or(0.3);
        let below_one = "it must be at least 0 and below 1";
        within("split.valid", valid, (0.0..1.0).contains(&valid), below_one)?;
        within(
            "split.test",
            test,
            (0.0..1.0 - valid).contains(&test),
            "valid and test together must be below 1",
        )?;
        within(
            "max-bad-rows",
            max_bad_rows,
            (0.0..=1.0).contains(&max_bad_rows),
            "it must be 0 to 1",
        )?;
        within(
            "max-dropped",
            max_dropped,
            (0.0..=1.0).contains(&max_dropped),
            "it must be 0 to 1",
        )?;
        let chunk = raw.chunk.unwrap_or_default();
        let rules = ruled(&raw.rules)?;
        let made_up = rules
            .iter()
            .find(|ruled| ruled.action == Action::Pseudonymise);
        if let (Some(ruled), None) = (made_up, &raw.pseudonym_key) {
            return Err(RecipeError::Section {
                name: ruled.doc.name.to_owned(),
                what: "`pseudonymise` needs pseudonym-key = \"FILE\", which leads back from made-up names".into(),
            });
        }
        Ok(Self {
            sources: raw.sources,
            seed: raw.seed.unwrap_or(0),
            max_bad_rows,
            max_dropped,
            regroup: split.regroup.unwrap_or(false),
            rules,
            valid,
            test,
            benchmarks: raw.benchmarks,
            chunk: (chunk.tokens.unwrap_or(512), chunk.overlap.unwrap_or(0)),
            select: raw.select,
            mix: raw.mix,
            pseudonym_key: raw.pseudonym_key,
            unread: Vec::new(),
            asks: true,
            text: raw.text,
        })
    }

    /// The rule of a name, unless it is off.
    pub fn rule(&self, name: &str) -> Option<&Ruled> {
        let rule = self.rules.iter().find(|ruled| ruled.doc.name == name);
        rule.filter(|ruled| ruled.action != Action::Off)
    }

    /// What is decided beside the rules, for the manifest.
    pub fn settings(&self) -> Value {
        json!({
            "seed": self.seed,
            "valid": self.valid,
            "test": self.test,
            "max-bad-rows": self.max_bad_rows,
            "regroup": self.regroup,
            "chunk": { "tokens": self.chunk.0, "overlap": self.chunk.1 },
            "select": self.select,
            "mix": self.mix,
        })
    }

    /// The rules and their parameters in force, for the manifest.
    pub fn steps(&self) -> Value {
        let rule = |ruled: &Ruled| {
            let mut step =
                json!({ "rule": ruled.doc.name, "action": ruled.action, "params": ruled.params });
            if let Some(reason) = &ruled.reason {
                step["reason"] = reason.as_str().into();
            }
            step
        };
        let active = self
            .rules
            .iter()
            .filter(|ruled| ruled.action != Action::Off);
        active.map(rule).collect()
    }
}

/// All rules under the sections of a recipe.
pub fn ruled(sections: &BTreeMap<String, toml::Value>) -> Result<Vec<Ruled>, RecipeError> {
    for (name, section) in sections {
        if rules::named(name).is_none() && rules::family(name).is_none() {
            return Err(RecipeError::NoSuchRule { name: name.clone() });
        }
        let asked = Section::read(name, section)?.action;
        let mut meant =
            rules::all().filter(|entry| entry.doc.name == name || entry.doc.family.name() == name);
        match asked {
            Some(action) if !meant.any(|entry| entry.takes(action)) => {
                return Err(RecipeError::Section {
                    name: name.clone(),
                    what: format!("`{action}` is nothing that can be done about what it sees"),
                });
            }
            _ => {}
        }
    }
    rules::all()
        .map(|entry| rule_under(entry, sections))
        .collect()
}

fn rule_under(
    entry: &'static Entry,
    sections: &BTreeMap<String, toml::Value>,
) -> Result<Ruled, RecipeError> {
    let read = |name: &str| {
        sections
            .get(name)
            .map(|section| Section::read(name, section))
            .transpose()
    };
    let (own, family) = (
        read(entry.doc.name)?.unwrap_or_default(),
        read(entry.doc.family.name())?.unwrap_or_default(),
    );
    if let Some(param) = family.params.keys().next() {
        return Err(RecipeError::Section {
            name: entry.doc.family.to_string(),
            what: format!(
                "`{param}` belongs to one rule, not to a family; a family has action and reason"
            ),
        });
    }
    // Every year and every link is a date or a web address: whoever says what to do about personal data means neither.
    // Whoever switches off what is said about quality does not mean the choice and the mixture that [select] and [mix] ask for.
    let of_family = family.action.filter(|&action| {
        entry.doc.default != Action::Off && !entry.is_step() && entry.takes(action)
    });
    let wrong = |source| RecipeError::Params {
        name: entry.doc.name.to_owned(),
        source,
    };
    let mut params = Params::new(own.params);
    let rule = match entry.check {
        Check::Row(make) => Some(make(&mut params).map_err(wrong)?),
        Check::Dataset(take) => {
            take(&mut params).map_err(wrong)?;
            None
        }
    };
    Ok(Ruled {
        doc: entry.doc,
        action: own.action.or(of_family).unwrap_or(entry.doc.default),
        is_decided: own.action.or(of_family).is_some(),
        reason: own.reason.or(family.reason),
        params: params.finish().map_err(wrong)?,
        rule,
    })
}

/// One section of `[rules]`.
#[derive(Default)]
struct Section {
    action: Option<Action>,
    reason: Option<String>,
    params: toml::Table,
}

impl Section {
    fn read(name: &str, section: &toml::Value) -> Result<Self, RecipeError> {
        let wrong = |what: String| RecipeError::Section {
            name: name.to_owned(),
            what,
        };
        let action = |value: toml::Value| {
            value.clone().try_into::<Action>().map_err(|_| {
            wrong(format!("{value} is no action; there are off, report, ask, allow, redact, pseudonymise and drop"))
        })
        };
        let section = match section {
            toml::Value::Table(table) => {
                let mut params = table.clone();
                let reason = match params.remove("reason") {
                    None => None,
                    Some(toml::Value::String(reason)) => Some(reason),
                    Some(other) => {
                        return Err(wrong(format!("`reason` must be text, not {other}")));
                    }
                };
                Self {
                    action: params.remove("action").map(action).transpose()?,
                    reason,
                    params,
                }
            }
            other => Self {
                action: Some(action(other.clone())?),
                ..Self::default()
            },
        };
        if section.action == Some(Action::Allow)
            && section.reason.as_deref().unwrap_or("").trim().is_empty()
        {
            return Err(wrong(
                "`allow` needs a reason = \"…\", which is kept with the dataset".into(),
            ));
        }
        Ok(section)
    }
}

impl Ruled {
    /// Is it about text that must not be trained on unseen?
    pub fn must_be_decided(&self) -> bool {
        self.action == Action::Ask
            && matches!(
                self.doc.family,
                Family::PersonalData | Family::Leak | Family::Licence
            )
    }
}

fn within(
    name: &'static str,
    value: f64,
    is_within: bool,
    wanted: &'static str,
) -> Result<(), RecipeError> {
    match is_within {
        true => Ok(()),
        false => Err(RecipeError::OutOfRange {
            name,
            value,
            wanted,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(rules: &str) -> Result<Vec<Ruled>, RecipeError> {
        ruled(&toml::from_str(rules).unwrap())
    }

    fn action(rules: &str, name: &str) -> Action {
        let all = resolved(rules).unwrap();
        all.iter()
            .find(|ruled| ruled.doc.name == name)
            .unwrap()
            .action
    }

    #[test]
    fn a_rule_of_its_own_wins_over_its_family_and_both_over_the_default() {
        assert_eq!(action("", "empty-reply"), Action::Drop);
        assert_eq!(action("format = \"report\"", "empty-reply"), Action::Report);
        assert_eq!(
            action("format = \"report\"\nempty-reply = \"off\"", "empty-reply"),
            Action::Off
        );
    }

    #[test]
    fn a_rule_that_is_off_is_switched_on_by_its_own_name_only() {
        let rules = "personal-data = \"redact\"";
        assert_eq!(action(rules, "email"), Action::Redact);
        assert_eq!(action(rules, "date-time"), Action::Off);
        assert_eq!(
            action("date-time = \"redact\"", "date-time"),
            Action::Redact
        );
    }

    #[test]
    fn what_a_recipe_cannot_mean_is_refused_in_one_sentence() {
        for (rules, told) in [
            (
                "emty-reply = \"drop\"",
                "there is no rule and no family `emty-reply`",
            ),
            (
                "empty-reply = \"delete\"",
                "rule `empty-reply`: \"delete\" is no action",
            ),
            (
                "empty-reply = \"allow\"",
                "rule `empty-reply`: `allow` needs a reason",
            ),
            (
                "empty-reply = { threshold = 1 }",
                "rule `empty-reply`: no parameter `threshold`",
            ),
            (
                "format = { threshold = 1 }",
                "rule `format`: `threshold` belongs to one rule",
            ),
            (
                "near-duplicate = \"redact\"",
                "rule `near-duplicate`: `redact` is nothing that can be done",
            ),
            (
                "duplicate = \"redact\"",
                "rule `duplicate`: `redact` is nothing that can be done",
            ),
            (
                "unusable-row = \"report\"",
                "rule `unusable-row`: `report` is nothing that can be done",
            ),
        ] {
            let error = resolved(rules).err().expect(rules).to_string();
            assert!(error.starts_with(told), "{rules}: {error}");
        }
    }

    #[test]
    fn a_recipe_says_where_it_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        std::fs::write(&path, "seed = 1\nsources = 3\n").unwrap();
        let error = RawRecipe::read(&path).unwrap_err().to_string();
        assert!(error.contains("recipe.toml:2: "), "{error}");
        let text = "[[sources]]\nfiles = [\"a.jsonl\"]\n[rules]\nverbatim-overlap = { files = [\"b.txt\"] }\n";
        std::fs::write(&path, text).unwrap();
        let raw = RawRecipe::read(&path).unwrap();
        let files = raw.rules["verbatim-overlap"]["files"].as_array().unwrap();
        assert_eq!(
            Path::new(files[0].as_str().unwrap()),
            dir.path().join("b.txt")
        );
        assert_eq!(
            Path::new(&raw.sources[0].files[0]),
            dir.path().join("a.jsonl")
        );
    }
}
