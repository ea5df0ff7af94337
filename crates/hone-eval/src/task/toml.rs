//! Hone's own form of a task. The file is TOML; what reads TOML gives its keys.

use std::path::Path;

use hone_text::Role;
use serde_json::{Map, Value};

use super::TaskError;
use super::definition::{
    Definition, FEW_SHOT_SEED, FewShot, Generation, Kind, MAX_TOKENS, Order, Plain, Prompt,
};
use super::filter::Filter;
use super::keys::Keys;
use super::metrics::TaskMetric;
use super::text::{Choices, Target, Text};

impl Definition {
    /// The task of a file with these keys.
    ///
    /// # Errors
    /// The first key that cannot be used, by its name.
    pub fn from_toml(file: &Path, keys: Map<String, Value>) -> Result<Self, TaskError> {
        let mut keys = Keys::new(file, keys);
        let name = keys.text("name")?.unwrap_or_else(|| stem(file));
        let (version, about) = (keys.word("version")?, keys.text("about")?);
        let kind = read_kind(&mut keys, "kind")?;
        let rows = keys.text("rows")?.ok_or_else(|| {
            keys.wrong_with(
                "rows",
                "is missing",
                "the file of the questions: JSONL, JSON, CSV, Parquet or Arrow, beside the task",
            )
        })?;
        let prompt = read_prompt(&mut keys)?;
        let target = target(&mut keys, "target")?;
        let choices = choices(&mut keys, "choices")?;
        let target_delimiter = keys.text("delimiter")?.unwrap_or_else(|| " ".into());
        let few_shot = read_few_shot(&mut keys, &target_delimiter, file, choices.as_ref())?;
        let generation = read_generation(&mut keys, kind)?;
        let filters = keys.list("filters")?.unwrap_or_default();
        let filters = filters.into_iter().enumerate();
        let filters = filters.map(|(at, filter)| {
            let filter = keys.within(&format!("filters[{at}]"), filter)?;
            Filter::read(filter, "steps", "function", generation.repeats)
        });
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        let metrics = metrics(&mut keys, "metrics", "name", kind)?;
        let scorer = keys.text("scorer")?;
        if scorer.is_some() && !kind.is_answered() {
            let what = format!("is for tasks of kind {}", Kind::GenerateUntil.name());
            return Err(keys.wrong("scorer", what));
        }
        keys.finish()?;
        let definition = Self {
            scorer,
            file: file.into(),
            name,
            version,
            about,
            kind,
            rows: beside(file, &rows),
            prompt,
            target,
            choices,
            target_delimiter,
            few_shot,
            generation,
            filters: filters_or_none(filters),
            metrics,
        };
        definition.check()?;
        Ok(definition)
    }

    /// Refuses a task that lacks what its kind needs.
    pub(super) fn check(&self) -> Result<(), TaskError> {
        let lacks = |key: &str, hint: &str| {
            let what = format!("is missing in a task of kind {}", self.kind.name());
            TaskError::key(&self.file, key, what, Some(hint.into()))
        };
        if self.target.is_none() {
            return Err(lacks(
                "target",
                "what is right: a key of the rows, a template, or the number of a choice",
            ));
        }
        let has_question = match &self.prompt {
            Prompt::Text(plain) => plain.question.is_some(),
            Prompt::Chat(turns) => !turns.is_empty(),
        };
        if !has_question && self.kind != Kind::LoglikelihoodRolling {
            return Err(lacks(
                "prompt",
                "what is asked: a key of the rows, or a template",
            ));
        }
        if self.kind != Kind::GenerateUntil && self.filters.iter().any(|own| !own.is_none()) {
            let what = format!(
                "stand in a task of kind {}, which has no answers to filter",
                self.kind.name()
            );
            return Err(TaskError::key(&self.file, "filters", what, None));
        }
        if self.choices.is_none() && self.kind == Kind::MultipleChoice {
            return Err(lacks(
                "choices",
                "a list of texts, a key of the rows that holds one, or a template that writes one",
            ));
        }
        Ok(())
    }
}

/// A file that a task names is beside the task.
pub(super) fn beside(file: &Path, named: &str) -> std::path::PathBuf {
    file.parent().unwrap_or(Path::new("")).join(named)
}

pub(super) fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

pub(super) fn filters_or_none(filters: Vec<Filter>) -> Vec<Filter> {
    match filters.is_empty() {
        true => vec![Filter::none()],
        false => filters,
    }
}

pub(super) fn read_kind(keys: &mut Keys<'_>, key: &'static str) -> Result<Kind, TaskError> {
    let names = Kind::ALL.map(Kind::name).join(", ");
    let Some(name) = keys.text(key)? else {
        return Err(keys.wrong_with(key, "is missing: what a model is asked to do", names));
    };
    Kind::named(&name).ok_or_else(|| {
        let name = hone_ledger::words::quoted(&name);
        keys.wrong_with(
            key,
            format!("is `{name}`, which is no kind of task"),
            format!("kinds: {names}"),
        )
    })
}

pub(super) fn metrics(
    keys: &mut Keys<'_>,
    list: &'static str,
    name_key: &'static str,
    kind: Kind,
) -> Result<Vec<TaskMetric>, TaskError> {
    let Some(named) = keys.list(list)? else {
        let names = kind.default_metrics().iter();
        let metric =
            |name: &&str| TaskMetric::named(kind, name).expect("kinds have their defaults");
        return Ok(names.map(metric).collect());
    };
    let named = named.into_iter().enumerate();
    named
        .map(|(at, metric)| TaskMetric::read(keys, (list, at), metric, name_key, kind))
        .collect()
}

pub(super) fn text(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<Text>, TaskError> {
    let source = keys.text(key)?;
    let text = |source| Text::new(keys.file(), key, source);
    source.map(text).transpose()
}

/// A target: a template or key, or a value that stands in the task.
pub(super) fn target(keys: &mut Keys<'_>, key: &'static str) -> Result<Option<Target>, TaskError> {
    Ok(match keys.take(key) {
        None => None,
        Some(Value::String(source)) => Some(Target::Text(Text::new(keys.file(), key, source)?)),
        Some(value) => Some(Target::Fixed(value)),
    })
}

/// Choices: a template or key, or a list of texts.
pub(super) fn choices(
    keys: &mut Keys<'_>,
    key: &'static str,
) -> Result<Option<Choices>, TaskError> {
    let shown = |items: Vec<Value>| items.iter().map(super::text::shown).collect();
    Ok(match keys.take(key) {
        None => None,
        Some(Value::String(source)) => Some(Choices::Text(Text::new(keys.file(), key, source)?)),
        Some(Value::Array(items)) => Some(Choices::Fixed(shown(items))),
        // The values of a table are choices in its order.
        Some(Value::Object(map)) => Some(Choices::Fixed(shown(
            map.into_iter().map(|(_, text)| text).collect(),
        ))),
        Some(other) => {
            let what = format!("must be a list of texts or a template, not {other}");
            return Err(keys.wrong(key, what));
        }
    })
}

fn read_prompt(keys: &mut Keys<'_>) -> Result<Prompt, TaskError> {
    let description = text(keys, "description")?;
    let (question, prefix) = (text(keys, "prompt")?, text(keys, "answer-prefix")?);
    let Some(messages) = keys.list("messages")? else {
        return Ok(Prompt::Text(Plain {
            description,
            question,
            prefix,
        }));
    };
    if description.is_some() || question.is_some() || prefix.is_some() {
        return Err(keys.wrong_with(
            "messages",
            "stands beside `prompt`, `description` or `answer-prefix`",
            "`messages` go through the model's chat template, the others are a text that the model continues: write one of the two",
        ));
    }
    let mut turns = Vec::new();
    for (at, message) in messages.into_iter().enumerate() {
        let mut keys = keys.within(&format!("messages[{at}]"), message)?;
        let role = keys.text("role")?.unwrap_or_default();
        let known = [Role::System, Role::User, Role::Assistant];
        let role = known.into_iter().find(|known| known.name() == role);
        let role = role.ok_or_else(|| keys.wrong("role", "must be system, user or assistant"))?;
        let content = text(&mut keys, "content")?;
        let content = content.ok_or_else(|| keys.wrong("content", "is missing"))?;
        keys.finish()?;
        turns.push((role, content));
    }
    Ok(Prompt::Chat(turns))
}

fn read_few_shot(
    keys: &mut Keys<'_>,
    target_delimiter: &str,
    file: &Path,
    choices: Option<&Choices>,
) -> Result<FewShot, TaskError> {
    let mut few_shot = FewShot {
        number: 0,
        rows: None,
        is_own_rows: true,
        order: Order::First,
        delimiter: "\n\n".into(),
        question: None,
        target: None,
        choices: choices.cloned(),
        prefix: None,
        target_delimiter: target_delimiter.to_owned(),
    };
    let Some(mut keys) = keys.table("few-shot")? else {
        return Ok(few_shot);
    };
    few_shot.number = keys.number("number")?.unwrap_or_default();
    let rows = keys.text("rows")?;
    few_shot.is_own_rows = rows.is_none();
    few_shot.rows = rows.map(|rows| beside(file, &rows));
    let seed = keys.number("seed")?;
    few_shot.order = match (keys.text("take")?.as_deref(), seed) {
        (None | Some("first"), None) => Order::First,
        (Some("random"), seed) => Order::Random {
            seed: seed.map_or(FEW_SHOT_SEED, |seed| seed as u64),
        },
        (None | Some("first"), Some(_)) => {
            return Err(keys.wrong("seed", "is for `take = \"random\"`"));
        }
        (Some(_), _) => return Err(keys.wrong("take", "must be first or random")),
    };
    if let Some(delimiter) = keys.text("delimiter")? {
        few_shot.delimiter = delimiter;
    }
    keys.finish()?;
    Ok(few_shot)
}

fn read_generation(keys: &mut Keys<'_>, kind: Kind) -> Result<Generation, TaskError> {
    let mut generation = Generation {
        until: vec!["\n\n".into()],
        max_tokens: MAX_TOKENS,
        temperature: 0.0,
        seed: 0,
        repeats: 1,
    };
    let Some(mut own) = keys.table("generation")? else {
        return Ok(generation);
    };
    if kind != Kind::GenerateUntil {
        let what = format!("is for tasks of kind {}", Kind::GenerateUntil.name());
        return Err(keys.wrong("generation", what));
    }
    if let Some(until) = own.texts("until")? {
        generation.until = until;
    }
    generation.max_tokens = own.number("max-tokens")?.unwrap_or(MAX_TOKENS);
    generation.temperature = own.real("temperature")?.unwrap_or_default() as f32;
    generation.seed = own.number("seed")?.unwrap_or_default() as u64;
    generation.repeats = own.number("repeats")?.unwrap_or(1);
    check_generation(&own, &generation, ["max-tokens", "temperature", "repeats"])?;
    own.finish()?;
    Ok(generation)
}

pub(super) fn check_generation(
    keys: &Keys<'_>,
    generation: &Generation,
    [max_tokens, temperature, repeats]: [&str; 3],
) -> Result<(), TaskError> {
    if !(1..=MOST_TOKENS).contains(&generation.max_tokens) {
        return Err(keys.wrong(max_tokens, format!("must be from 1 to {MOST_TOKENS}")));
    }
    if !(generation.temperature.is_finite() && generation.temperature >= 0.0) {
        return Err(keys.wrong(temperature, "must be a number of at least 0"));
    }
    if !(1..=MOST_REPEATS).contains(&generation.repeats) {
        return Err(keys.wrong(repeats, format!("must be from 1 to {MOST_REPEATS}")));
    }
    if generation.repeats > 1 && generation.temperature == 0.0 {
        return Err(keys.wrong_with(
            repeats,
            "asks for several answers that would all be the same",
            "give a temperature above 0",
        ));
    }
    Ok(())
}

const MOST_TOKENS: usize = 1 << 20;
const MOST_REPEATS: usize = 1000;
