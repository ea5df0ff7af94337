//! The questions of a task: what its templates make of each row, with the examples before it.

use std::path::Path;

use hone_data::{Body, Record, Source, plain_rows};
use hone_text::{Conversation, Role, RowTemplateError, Turn};
use serde_json::Value;

use super::definition::{Definition, FewShot, Kind, Order, Plain, Prompt};
use super::python_random::PythonRandom;
use super::text::{Choices, Row, Target, shown};
use super::{TaskError, is_space};

/// A task and its questions.
#[derive(Debug)]
pub struct Task {
    /// How it is written down.
    pub definition: Definition,
    /// What is asked, in the order of the rows.
    pub questions: Vec<Question>,
}

/// One row as it is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which row of the file it is, from 0.
    pub row: usize,
    /// Where the row stands.
    pub source: Source,
    /// The row itself.
    pub fields: Row,
    /// What the row asks, without description and examples.
    pub asked: String,
    /// What the model is given.
    pub context: Context,
    /// What it can choose among; of other kinds none.
    pub choices: Vec<String>,
    /// What is right.
    pub gold: Gold,
}

/// What stands before an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Context {
    /// A text that is continued.
    Text(String),
    /// Turns that are replied to.
    Chat(Vec<Turn>),
}

/// What is right.
#[derive(Clone, Debug, PartialEq)]
pub enum Gold {
    /// One of these choices, by number.
    Choices(Vec<usize>),
    /// One of these texts.
    Texts(Vec<String>),
}

impl Gold {
    /// As people read it.
    pub fn shown(&self, choices: &[String]) -> Vec<String> {
        match self {
            Self::Choices(numbers) => {
                let named = numbers.iter().filter_map(|at| choices.get(*at));
                named.cloned().collect()
            }
            Self::Texts(texts) => texts.clone(),
        }
    }
}

/// What is put together from one row, for a question or an example.
struct Parts<'a> {
    question: Option<&'a super::text::Text>,
    target: &'a Target,
    choices: Option<&'a Choices>,
    prefix: Option<&'a super::text::Text>,
}

impl Task {
    /// The questions of a task. With `as_chat` a prompt that is a text is put as turns, as lm-evaluation-harness's
    /// `apply_chat_template` does with examples as turns of their own.
    ///
    /// # Errors
    /// Rows that cannot be read, and the first row of which the templates make no question.
    pub fn read(definition: Definition, as_chat: bool) -> Result<Self, TaskError> {
        let rows = plain_rows(&definition.rows)?;
        let examples = match (&definition.few_shot.rows, definition.few_shot.number) {
            (_, 0) => Vec::new(),
            (Some(file), _) if *file != definition.rows => plain_rows(file)?,
            _ => rows.clone(),
        };
        let mut chosen = Examples::of(&definition, &examples)?;
        let mut questions = Vec::with_capacity(rows.len());
        for (at, (source, fields)) in rows.into_iter().enumerate() {
            let shots = chosen.for_row(&fields)?;
            let place = source.to_string();
            let question = Asking {
                definition: &definition,
                place: &place,
                as_chat,
            };
            questions.push(question.of(at, &source, &fields, &shots)?);
        }
        Ok(Self {
            definition,
            questions,
        })
    }

    /// The rows as rows to train on would be: for whoever knows which of those were trained on.
    pub fn records(&self) -> Vec<Record> {
        let record = |question: &Question| {
            let gold = question.gold.shown(&question.choices);
            let reply = gold.into_iter().next().unwrap_or_default();
            let body = match self.definition.kind {
                Kind::LoglikelihoodRolling => Body::Text(reply),
                _ => Body::Chat(Conversation::new([
                    Turn::new(Role::User, &question.asked),
                    Turn::new(Role::Assistant, &reply),
                ])),
            };
            Record {
                task: self.definition.name.clone(),
                group: None,
                origin: None,
                licence: None,
                copies: 1,
                body,
                source: question.source.clone(),
            }
        };
        self.questions.iter().map(record).collect()
    }
}

/// The rows that are shown before questions.
struct Examples<'a> {
    few_shot: &'a FewShot,
    file: &'a Path,
    rows: &'a [(Source, Row)],
    random: PythonRandom,
}

impl<'a> Examples<'a> {
    fn of(definition: &'a Definition, rows: &'a [(Source, Row)]) -> Result<Self, TaskError> {
        let few_shot = &definition.few_shot;
        let needed = few_shot.number + usize::from(few_shot.is_own_rows && few_shot.number > 0);
        if rows.len() < needed && few_shot.number > 0 {
            let what = format!(
                "asks for {} examples, and there are {} rows",
                few_shot.number,
                rows.len()
            );
            let key = "few-shot";
            return Err(TaskError::key(&definition.file, key, what, None));
        }
        let seed = match few_shot.order {
            Order::Random { seed } => seed,
            Order::First => 0,
        };
        Ok(Self {
            few_shot,
            file: &definition.file,
            rows,
            random: PythonRandom::new(seed),
        })
    }

    /// The examples before the question of a row.
    fn for_row(&mut self, row: &Row) -> Result<Vec<&'a (Source, Row)>, TaskError> {
        let (number, rows) = (self.few_shot.number, self.rows);
        if number == 0 {
            return Ok(Vec::new());
        }
        let is_other = |example: &&(Source, Row)| !self.few_shot.is_own_rows || example.1 != *row;
        let examples: Vec<_> = match self.few_shot.order {
            Order::First => rows.iter().filter(is_other).take(number).collect(),
            Order::Random { .. } => {
                let drawn = number + usize::from(self.few_shot.is_own_rows);
                let drawn = self.random.sample(rows.len(), drawn);
                let drawn = drawn.into_iter().map(|at| &rows[at]);
                drawn.filter(is_other).take(number).collect()
            }
        };
        match examples.len() == number {
            true => Ok(examples),
            false => Err(TaskError::key(
                self.file,
                "few-shot",
                format!(
                    "asks for {number} examples, and too many rows are equal to the one that is asked"
                ),
                None,
            )),
        }
    }
}

/// A row on its way to a question.
struct Asking<'a> {
    definition: &'a Definition,
    place: &'a str,
    as_chat: bool,
}

/// Something that is said, and what follows it in a text.
struct Said {
    role: Role,
    text: String,
    delimiter: String,
}

fn said(role: Role, text: String, delimiter: &str) -> Said {
    Said {
        role,
        text,
        delimiter: delimiter.to_owned(),
    }
}

impl Asking<'_> {
    fn of(
        &self,
        at: usize,
        source: &Source,
        row: &Row,
        shots: &[&(Source, Row)],
    ) -> Result<Question, TaskError> {
        let definition = self.definition;
        let target = definition
            .target
            .as_ref()
            .expect("a task was checked for one");
        let choices = definition.choices.as_ref();
        let choices = match choices {
            Some(choices) => self.choices(choices, row)?,
            None => Vec::new(),
        };
        let gold = self.gold(target, row, &choices)?;
        let (asked, context) = match &definition.prompt {
            Prompt::Chat(turns) => self.chat(turns, row, shots)?,
            Prompt::Text(plain) => self.plain(plain, row, shots)?,
        };
        Ok(Question {
            row: at,
            source: source.clone(),
            fields: row.clone(),
            asked,
            context,
            choices,
            gold,
        })
    }

    fn wrong(&self, key: &'static str, what: impl Into<String>) -> TaskError {
        TaskError::Row {
            place: self.place.to_owned(),
            key,
            what: what.into(),
        }
    }

    fn template(&self, key: &'static str) -> impl Fn(RowTemplateError) -> TaskError {
        move |error| self.wrong(key, format!("makes nothing of the row: {error}"))
    }

    fn choices(&self, choices: &Choices, row: &Row) -> Result<Vec<String>, TaskError> {
        let choices = choices
            .of(row)
            .map_err(|what| self.wrong("choices", what))?;
        match choices.iter().any(String::is_empty) || choices.is_empty() {
            true if choices.is_empty() => Err(self.wrong("choices", "gives no choices")),
            true => Err(self.wrong("choices", "gives an empty choice")),
            false => Ok(choices),
        }
    }

    /// What is right, of a question with or without choices.
    fn gold(&self, target: &Target, row: &Row, choices: &[String]) -> Result<Gold, TaskError> {
        let value = target.value(row, !choices.is_empty());
        let value = value.map_err(self.template("target"))?;
        let is_choice = !choices.is_empty();
        let number = |value: &Value| -> Result<usize, TaskError> {
            let range = || format!("choices are from 0 to {}", choices.len() - 1);
            match value {
                Value::Number(number) => {
                    let number = number.as_i64().and_then(|n| usize::try_from(n).ok());
                    let number = number.filter(|number| *number < choices.len());
                    number.ok_or_else(|| self.wrong("target", format!("is {value}: {}", range())))
                }
                other => {
                    let text = shown(other);
                    let at = choices.iter().position(|choice| *choice == text);
                    at.ok_or_else(|| {
                        let text = hone_ledger::words::quoted(&text);
                        self.wrong(
                            "target",
                            format!("is `{text}`, which is none of the choices"),
                        )
                    })
                }
            }
        };
        let golds = match &value {
            Value::Array(items) if items.is_empty() => {
                return Err(self.wrong("target", "is an empty list"));
            }
            Value::Array(items) => &items[..],
            one => std::slice::from_ref(one),
        };
        // A choice by its number is a text in an answer that is written.
        let numbers = || golds.iter().map(number).collect::<Result<Vec<_>, _>>();
        Ok(match (self.definition.kind, is_choice) {
            (Kind::MultipleChoice, _) => Gold::Choices(numbers()?),
            (_, true) => {
                let named = numbers()?.into_iter().map(|at| choices[at].clone());
                Gold::Texts(named.collect())
            }
            _ => Gold::Texts(golds.iter().map(shown).collect()),
        })
    }

    /// What is said of one row: the question, and the answer where it is an example.
    fn turn(
        &self,
        parts: &Parts<'_>,
        row: &Row,
        with_answer: bool,
        (target_delimiter, few_delimiter): (&str, &str),
    ) -> Result<Vec<Said>, TaskError> {
        let question = match parts.question {
            Some(question) => question.text(row).map_err(self.template("prompt"))?,
            None => String::new(),
        };
        let prefix = match parts.prefix {
            Some(prefix) => prefix.text(row).map_err(self.template("answer-prefix"))?,
            None => String::new(),
        };
        let answer = match with_answer {
            false => None,
            true => self.example_answer(parts, row)?,
        };
        let needs_delimiter = !prefix.is_empty()
            && !question.is_empty()
            && !question.ends_with(is_space)
            && !prefix.starts_with(is_space);
        let delimiter = match (&answer, prefix.is_empty()) {
            (Some(_), true) => target_delimiter,
            _ if needs_delimiter => target_delimiter,
            _ => "",
        };
        let asked = said(Role::User, question, delimiter);
        Ok(match answer {
            Some(answer) => {
                let answer = delimited(&prefix, &answer, " ");
                vec![asked, said(Role::Assistant, answer, few_delimiter)]
            }
            None if prefix.is_empty() => vec![asked],
            None => vec![asked, said(Role::Assistant, prefix, "")],
        })
    }

    /// What an example answers; nothing is as if there were none.
    fn example_answer(&self, parts: &Parts<'_>, row: &Row) -> Result<Option<String>, TaskError> {
        let has_choices = parts.choices.is_some();
        let value = parts.target.value(row, has_choices);
        let value = match value.map_err(self.template("target"))? {
            Value::Array(items) => items.into_iter().next().unwrap_or_default(),
            one => one,
        };
        if let (Value::Number(number), Some(choices)) = (&value, parts.choices) {
            let choices = self.choices(choices, row)?;
            let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
            let choice = at.and_then(|at| choices.get(at)).cloned();
            let what = || format!("is {number} in an example with {} choices", choices.len());
            return choice.map(Some).ok_or_else(|| self.wrong("target", what()));
        }
        let text = shown(&value);
        Ok((!value.is_null() && !text.is_empty()).then_some(text))
    }

    fn plain(
        &self,
        plain: &Plain,
        row: &Row,
        shots: &[&(Source, Row)],
    ) -> Result<(String, Context), TaskError> {
        let definition = self.definition;
        let few_shot = &definition.few_shot;
        let description = match &plain.description {
            Some(description) => description
                .text(row)
                .map_err(self.template("description"))?,
            None => String::new(),
        };
        let mut all = Vec::new();
        if !description.is_empty() {
            all.push(said(Role::System, description, ""));
        }
        let target = definition
            .target
            .as_ref()
            .expect("a task was checked for one");
        let example = Parts {
            question: few_shot.question.as_ref().or(plain.question.as_ref()),
            target: few_shot.target.as_ref().unwrap_or(target),
            choices: few_shot.choices.as_ref(),
            prefix: few_shot.prefix.as_ref(),
        };
        for (_, shot) in shots {
            let delimiters = (&few_shot.target_delimiter[..], &few_shot.delimiter[..]);
            all.extend(self.turn(&example, shot, true, delimiters)?);
        }
        let own = Parts {
            question: plain.question.as_ref(),
            target,
            choices: None,
            prefix: plain.prefix.as_ref(),
        };
        let own = self.turn(&own, row, false, (&definition.target_delimiter, ""))?;
        let asked = own[0].text.clone();
        all.extend(own);
        if !self.as_chat {
            let text = all
                .iter()
                .map(|said| format!("{}{}", said.text, said.delimiter));
            return Ok((asked, Context::Text(text.collect())));
        }
        if plain.prefix.is_some() {
            return Err(self.wrong(
                "answer-prefix",
                "begins a reply, which a chat template is not asked to do here; take one of the two out",
            ));
        }
        let turns = all.into_iter().map(|said| Turn::new(said.role, &said.text));
        Ok((asked, Context::Chat(turns.collect())))
    }

    fn chat(
        &self,
        turns: &[(Role, super::text::Text)],
        row: &Row,
        shots: &[&(Source, Row)],
    ) -> Result<(String, Context), TaskError> {
        let rendered = |row: &Row| -> Result<Vec<Turn>, TaskError> {
            let turn = |(role, content): &(Role, super::text::Text)| {
                let text = content.text(row).map_err(self.template("messages"))?;
                Ok(Turn::new(*role, &text))
            };
            turns.iter().map(turn).collect()
        };
        let own = rendered(row)?;
        let asked = own.iter().rfind(|turn| turn.role == Role::User);
        let asked = asked.map(|turn| turn.text.clone()).unwrap_or_default();
        let mut all: Vec<Turn> = Vec::new();
        let system = own.iter().filter(|turn| turn.role == Role::System);
        all.extend(system.cloned());
        let target = self
            .definition
            .target
            .as_ref()
            .expect("a task was checked for one");
        let parts = Parts {
            question: None,
            target,
            choices: self.definition.few_shot.choices.as_ref(),
            prefix: None,
        };
        let is_said = |turn: &Turn| turn.role != Role::System;
        for (_, shot) in shots {
            all.extend(rendered(shot)?.into_iter().filter(is_said));
            let answer = self.example_answer(&parts, shot)?.unwrap_or_default();
            all.push(Turn::new(Role::Assistant, &answer));
        }
        all.extend(own.into_iter().filter(is_said));
        Ok((asked, Context::Chat(all)))
    }
}

/// Two texts, with something between them where neither has white space there.
fn delimited(before: &str, after: &str, delimiter: &str) -> String {
    let has_space = before.ends_with(is_space) || after.starts_with(is_space);
    match before.is_empty() || after.is_empty() || has_space {
        true => format!("{before}{after}"),
        false => format!("{before}{delimiter}{after}"),
    }
}
