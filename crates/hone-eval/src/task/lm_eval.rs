//! The simple subset of lm-evaluation-harness's task files: YAML with local data and Jinja, without Python.
//!
//! A key means here what it means there (0.4.13), or it is refused by its name; none is passed over but those that say
//! nothing about the scores.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::TaskError;
use super::definition::{
    Definition, FEW_SHOT_SEED, FewShot, Generation, Kind, MAX_TOKENS, Order, Plain, Prompt,
};
use super::filter::Filter;
use super::keys::Keys;
use super::toml::{
    beside, check_generation, choices, filters_or_none, metrics, read_kind, stem, target, text,
};

/// Keys that ask for something else than rows, templates and scores, and what to do instead.
const REFUSED: [(&str, &str); 11] = [
    (
        "process_docs",
        "it is Python: write the rows as it would leave them into a file, and name that",
    ),
    (
        "process_results",
        "it is Python: name metrics and filters, or a command as `scorer` in a TOML task",
    ),
    (
        "custom_dataset",
        "it is Python: write its rows into a file, and name that as `data_files`",
    ),
    (
        "class",
        "it is Python: a task here is rows, templates and metrics",
    ),
    (
        "use_prompt",
        "prompts of promptsource are not read: write the template as doc_to_text",
    ),
    ("doc_to_image", "pictures are not read"),
    ("doc_to_audio", "sound is not read"),
    (
        "group",
        "this is a group: give each of its task files with a --task of its own",
    ),
    (
        "aggregate_metric_list",
        "this is a group: give each of its task files with a --task of its own",
    ),
    (
        "unsafe_code",
        "answers are not run; a command of yours can be the `scorer` in a TOML task",
    ),
    (
        "weight_by_size",
        "this is a group: give each of its task files with a --task of its own",
    ),
];

/// Files that include one another no deeper than this.
const MOST_INCLUDES: usize = 16;
/// A larger file is no task.
const MOST_BYTES: u64 = 1 << 20;

impl Definition {
    /// The task of a YAML file.
    ///
    /// # Errors
    /// The first key that cannot be used, by its name.
    pub fn from_lm_eval(file: &Path) -> Result<Self, TaskError> {
        let map = with_includes(file, &mut Vec::new())?;
        let mut keys = Keys::new(file, map);
        refuse_what_is_not_done(&mut keys)?;
        let name = match keys.take("task") {
            None => stem(file),
            Some(Value::String(name)) => name,
            Some(_) => {
                return Err(keys.wrong_with(
                    "task",
                    "is no name",
                    "a list of tasks is a group: give each of its task files with a --task of its own",
                ));
            }
        };
        // What they say is for lists of tasks.
        for key in ["task_alias", "tag", "doc_to_decontamination_query"] {
            keys.take_unnamed(key);
        }
        if keys.flag("should_decontaminate")?.unwrap_or_default() {
            return Err(keys.wrong_with(
                "should_decontaminate",
                "is true",
                "take it out: whether an adapter was trained on the rows is told by every evaluation",
            ));
        }
        let version = match keys.table("metadata")? {
            // Whatever else stands there is for people.
            Some(mut metadata) => metadata.word("version")?,
            None => None,
        };
        let has_kind = keys.has("output_type");
        let kind = match has_kind {
            true => read_kind(&mut keys, "output_type")?,
            false => Kind::GenerateUntil,
        };
        let data = Data::read(&mut keys)?;
        let [training, validation, test, examples] = [
            keys.text("training_split")?,
            keys.text("validation_split")?,
            keys.text("test_split")?,
            keys.text("fewshot_split")?,
        ];
        let Some(asked) = test.as_ref().or(validation.as_ref()) else {
            return Err(keys.wrong_with(
                "test_split",
                "is missing, and so is validation_split",
                "one of the two names the rows that are asked",
            ));
        };
        let rows = data.split(&keys, asked)?;
        let delimiter = |keys: &mut Keys<'_>, key, usual: &str| -> Result<String, TaskError> {
            Ok(keys.text(key)?.unwrap_or_else(|| usual.to_owned()))
        };
        let target_delimiter = delimiter(&mut keys, "target_delimiter", " ")?;
        let few_delimiter = delimiter(&mut keys, "fewshot_delimiter", "\n\n")?;
        let prompt = Plain {
            description: text(&mut keys, "description")?,
            question: text(&mut keys, "doc_to_text")?,
            prefix: text(&mut keys, "gen_prefix")?,
        };
        let target = target(&mut keys, "doc_to_target")?;
        let choices = choices(&mut keys, "doc_to_choice")?;
        let mut few_shot = FewShot {
            number: keys.number("num_fewshot")?.unwrap_or_default(),
            rows: None,
            is_own_rows: false,
            order: Order::Random {
                seed: FEW_SHOT_SEED,
            },
            delimiter: few_delimiter.clone(),
            question: None,
            target: None,
            choices: choices.clone(),
            prefix: prompt.prefix.clone(),
            target_delimiter: target_delimiter.clone(),
        };
        let mut split = examples;
        if let Some(mut own) = keys.table("fewshot_config")? {
            split = own.text("split")?.or(split);
            few_shot.read_config(&mut own)?;
            own.finish()?;
        }
        if few_shot.number > 0 {
            let from = split.as_ref().or(training.as_ref()).or(validation.as_ref());
            let Some(from) = from else {
                return Err(keys.wrong_with(
                    "fewshot_split",
                    "is missing: the examples would be drawn among the questions themselves",
                    "name the split of the examples, or num_fewshot: 0",
                ));
            };
            // As there, the row at hand is left out only where the same split is named for both.
            few_shot.is_own_rows = split.is_some() && split == test;
            few_shot.rows = Some(data.split(&keys, from)?);
        }
        let repeats = keys.number("repeats")?.unwrap_or(1);
        let generation = generation(&mut keys, kind, &few_delimiter, repeats)?;
        let filters = keys.list("filter_list")?.unwrap_or_default();
        let filters = filters.into_iter().enumerate();
        let filters = filters.map(|(at, filter)| {
            let filter = keys.within(&format!("filter_list[{at}]"), filter)?;
            Filter::read(filter, "filter", "function", repeats)
        });
        let filters = filters.collect::<Result<Vec<_>, _>>()?;
        let metrics = metrics(&mut keys, "metric_list", "metric", kind)?;
        keys.finish()?;
        let definition = Self {
            file: file.into(),
            name,
            version,
            about: None,
            scorer: None,
            kind,
            rows,
            prompt: Prompt::Text(prompt),
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
}

fn refuse_what_is_not_done(keys: &mut Keys<'_>) -> Result<(), TaskError> {
    for (key, instead) in REFUSED {
        match keys.take_unnamed(key) {
            None | Some(Value::Bool(false)) => {}
            Some(_) => return Err(keys.wrong_with(key, "is not read", instead)),
        }
    }
    Ok(())
}

impl FewShot {
    fn read_config(&mut self, keys: &mut Keys<'_>) -> Result<(), TaskError> {
        match keys.text("sampler")?.as_deref() {
            None | Some("default") => {}
            Some("first_n") => self.order = Order::First,
            Some(other) => {
                let other = hone_ledger::words::quoted(other);
                let what = format!("is `{other}`, which Hone has not");
                return Err(keys.wrong_with("sampler", what, "samplers: default, first_n"));
            }
        }
        for key in ["samples", "fewshot_indices", "process_docs"] {
            if keys.take(key).is_some() {
                let instead = "write the examples into a file, and name it as a split";
                return Err(keys.wrong_with(key, "is not read", instead));
            }
        }
        if let Some(delimiter) = keys.text("fewshot_delimiter")? {
            self.delimiter = delimiter;
        }
        if let Some(delimiter) = keys.text("target_delimiter")? {
            self.target_delimiter = delimiter;
        }
        self.question = text(keys, "doc_to_text")?;
        self.target = target(keys, "doc_to_target")?;
        if let Some(choices) = choices(keys, "doc_to_choice")? {
            self.choices = Some(choices);
        }
        if let Some(prefix) = text(keys, "gen_prefix")? {
            self.prefix = Some(prefix);
        }
        Ok(())
    }
}

fn generation(
    keys: &mut Keys<'_>,
    kind: Kind,
    few_delimiter: &str,
    repeats: usize,
) -> Result<Generation, TaskError> {
    let mut generation = Generation {
        until: vec![few_delimiter.to_owned()],
        max_tokens: MAX_TOKENS,
        temperature: 0.0,
        seed: FEW_SHOT_SEED,
        repeats,
    };
    let Some(mut own) = keys.table("generation_kwargs")? else {
        check_generation(keys, &generation, ["", "", "repeats"])?;
        return Ok(generation);
    };
    if kind != Kind::GenerateUntil {
        let what = format!("is for tasks of kind {}", Kind::GenerateUntil.name());
        return Err(keys.wrong("generation_kwargs", what));
    }
    if let Some(until) = own.texts("until")? {
        generation.until = until;
    }
    // All are the same there; the first one counts.
    let names = [
        "max_gen_toks",
        "max_new_tokens",
        "max_tokens",
        "max_completion_tokens",
    ];
    let mut most = None;
    for name in names {
        let given = own.number(name)?;
        most = most.or(given);
    }
    generation.max_tokens = most.unwrap_or(MAX_TOKENS);
    let temperature = own.real("temperature")?.unwrap_or_default();
    generation.temperature = match own.flag("do_sample")? {
        Some(false) => 0.0,
        Some(true) if temperature == 0.0 => {
            return Err(own.wrong_with(
                "do_sample",
                "is true without a temperature",
                "give a temperature, or do_sample: false",
            ));
        }
        _ => temperature as f32,
    };
    check_generation(
        &own,
        &generation,
        ["max_gen_toks", "temperature", "repeats"],
    )?;
    own.finish()?;
    Ok(generation)
}

/// The files of a task's splits.
struct Data {
    splits: BTreeMap<String, PathBuf>,
}

/// Kinds of files that `datasets` reads by these names.
const LOADERS: [&str; 4] = ["json", "csv", "parquet", "arrow"];

impl Data {
    fn read(keys: &mut Keys<'_>) -> Result<Self, TaskError> {
        let path = keys.text("dataset_path")?;
        let path = path.ok_or_else(|| {
            keys.wrong_with(
                "dataset_path",
                "is missing",
                "dataset_path: json, and dataset_kwargs with data_files",
            )
        })?;
        let name = keys.text("dataset_name")?;
        let own = keys.table("dataset_kwargs")?;
        let dir = beside(keys.file(), &path);
        if !LOADERS.contains(&path.as_str()) && !dir.is_dir() {
            let path = hone_ledger::words::quoted(&path);
            return Err(keys.wrong_with(
                "dataset_path",
                format!("is `{path}`, and Hone reads files of this machine"),
                format!("dataset_path: {}, and dataset_kwargs: {{data_files: {{test: rows.jsonl}}}}, beside the task", LOADERS.join(" or ")),
            ));
        }
        if name.is_some_and(|name| name != "default") {
            return Err(keys.wrong_with(
                "dataset_name",
                "names a configuration, and files have none",
                "take it out, and name the files of it as data_files",
            ));
        }
        let mut splits = BTreeMap::new();
        if let Some(mut own) = own {
            own.take("trust_remote_code");
            let task = own.file();
            let file = |value: &Value| match value {
                Value::String(name) => Some(beside(task, name)),
                Value::Array(names) => match &names[..] {
                    [Value::String(name)] => Some(beside(task, name)),
                    _ => None,
                },
                _ => None,
            };
            match own.take("data_files") {
                None => {}
                Some(Value::Object(map)) => {
                    for (split, value) in &map {
                        let file = file(value).ok_or_else(|| {
                            let what = format!("must name one file for `{split}`");
                            own.wrong("data_files", what)
                        })?;
                        splits.insert(split.clone(), file);
                    }
                }
                Some(value) => {
                    let file = file(&value).ok_or_else(|| {
                        own.wrong("data_files", "must name one file for each split")
                    })?;
                    // As `datasets` has it.
                    splits.insert("train".to_owned(), file);
                }
            }
            own.finish()?;
        } else if dir.is_dir() {
            let entries = fs::read_dir(&dir).map_err(|source| TaskError::Unreadable {
                file: dir.clone(),
                source,
            })?;
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            for file in files {
                let ending = file.extension().and_then(|ending| ending.to_str());
                if ending.is_some_and(|e| ["jsonl", "json", "csv", "parquet", "arrow"].contains(&e))
                {
                    splits.insert(stem(&file), file);
                }
            }
        }
        Ok(Self { splits })
    }

    fn split(&self, keys: &Keys<'_>, split: &str) -> Result<PathBuf, TaskError> {
        let file = self.splits.get(split).cloned();
        file.ok_or_else(|| {
            let there: Vec<&str> = self.splits.keys().map(String::as_str).collect();
            let there = match there.is_empty() {
                true => "no split has a file: dataset_kwargs: {data_files: {test: rows.jsonl}}"
                    .to_owned(),
                false => format!("splits with a file: {}", there.join(", ")),
            };
            let split = hone_ledger::words::quoted(split);
            keys.wrong_with(
                "dataset_kwargs",
                format!("names no file for the split `{split}`"),
                there,
            )
        })
    }
}

/// The keys of a file and of those that it includes; its own win.
fn with_includes(file: &Path, above: &mut Vec<PathBuf>) -> Result<Map<String, Value>, TaskError> {
    let malformed = |what: String| TaskError::Malformed {
        file: file.into(),
        what,
    };
    let unreadable = |source| TaskError::Unreadable {
        file: file.into(),
        source,
    };
    let real = file.canonicalize().map_err(unreadable)?;
    if above.contains(&real) {
        return Err(malformed("includes itself".into()));
    }
    if above.len() >= MOST_INCLUDES {
        return Err(malformed(format!("is included {MOST_INCLUDES} files deep")));
    }
    if real.metadata().map_err(unreadable)?.len() > MOST_BYTES {
        return Err(malformed(format!("is larger than {MOST_BYTES} bytes")));
    }
    let text = fs::read_to_string(&real).map_err(unreadable)?;
    if let Some((key, function)) = python_in(&text) {
        let what = format!(
            "is the Python function `{}`, and no Python is run",
            hone_ledger::words::quoted(function)
        );
        let hint = match REFUSED.iter().find(|(refused, _)| *refused == key) {
            Some((_, instead)) => (*instead).to_owned(),
            None => {
                "write a Jinja template in its place, or what it gives into the rows".to_owned()
            }
        };
        return Err(TaskError::key(file, key, what, Some(hint)));
    }
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
        let what = error.to_string();
        malformed(format!(
            "is no YAML: {}",
            hone_ledger::words::quoted(what.lines().next().unwrap_or_default())
        ))
    })?;
    let Value::Object(mut own) = value else {
        return Err(malformed("is no table of keys".into()));
    };
    let Some(include) = own.shift_remove("include") else {
        return Ok(own);
    };
    let Value::String(include) = include else {
        return Err(TaskError::key(file, "include", "must name one file", None));
    };
    above.push(real);
    let mut all = with_includes(&beside(file, &include), above)?;
    above.pop();
    all.extend(own);
    Ok(all)
}

/// A key whose value is a function, and which one.
fn python_in(text: &str) -> Option<(&str, &str)> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let function = value.trim().strip_prefix("!function")?;
        let key = key
            .trim()
            .trim_start_matches("- ")
            .trim_matches(['"', '\'']);
        Some((key, function.trim()))
    })
}
