//! What the product lends to curation: recipes from files and flags, a tokenizer, a model's opinion, a line that tells.

use crate::base::{self, Home, OpenBase, OpenOptions};
use crate::cli::progress::Count;
use crate::data_flags::{DataFlags, KeyArgs, columns};
use crate::nearest::nearest;
use crate::notices::say_notices;
use crate::refusal::Refusal;
use crate::screen::Talk;
use anyhow::Result;
use hone_curate::mix::{MixBy, Portion};
use hone_curate::recipe::{Curation, RawRecipe, RawSource, RawSplit, RecipeError};
use hone_curate::{
    Action, CurateError, Curated, Family, Finding, Loss, RowCount, Tools, curate, rules,
};
use hone_data::{DEFAULT_MAX_LENGTH, FileReport, Reason, Record, TooLong, Usable};
use hone_eval::ifd::{MAX_TOKENS, difficulty};
use hone_model::{BaseFormat, Model};
use hone_tensor::Device;
use hone_text::TemplateOption;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Says for each file what became of keys and rows that are not used.
pub fn tell_remarks(files: &[FileReport], talk: Talk) {
    for file in files {
        for remark in file.remarks() {
            talk.say(format!("{}: {remark}", file.name()));
        }
    }
}

/// Flags about what becomes a dataset; each wins over the recipe.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RecipeArgs {
    /// Files, folders or patterns of rows: JSONL, JSON, CSV, TSV, Parquet, text, Markdown; also .gz and .zst
    #[arg(long, value_name = "F", num_args = 1..)]
    from: Vec<String>,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    data: DataFlags,
    /// What to do about what a rule or a family of rules sees, such as personal-data=redact or licence=allow:REASON
    #[arg(long = "rule", value_name = "RULE=ACTION")]
    rules: Vec<RuleFlag>,
    /// Files of evaluation rows that must not be trained on
    #[arg(long, value_name = "F", num_args = 1..)]
    benchmark: Vec<String>,
    /// Model whose tokens are counted: a directory, a .gguf file, a built-in name, or a hub id
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Chat template that rows are shown to it in: a name that the model has for one, `instruction`, `chatml`, or a .jinja file
    #[arg(long, value_name = "TEMPLATE")]
    chat_template: Option<String>,
    /// What the chat template reads beside the turns, such as enable_thinking=false: JSON or text; may be given more than once
    #[arg(long = "template-option", value_name = "NAME=VALUE")]
    template_options: Vec<TemplateOption>,
    /// Longest row in tokens of the model [default: 1024, or what the model can take]
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    /// Share of each task for the validation set [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    valid_share: Option<f64>,
    /// Share of each task for the test set [default: 0]
    #[arg(long, value_name = "SHARE")]
    test_share: Option<f64>,
    /// Share of a collection or class from which a build stops that would leave it out though nobody has told to [default: 0.3]
    #[arg(long, value_name = "SHARE")]
    max_dropped: Option<f64>,
    /// Split rows that come as train and validation rows anew, with what belongs together on one side
    #[arg(long)]
    regroup: bool,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// `RULE=ACTION` or `RULE=ACTION:REASON`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuleFlag {
    name: String,
    action: String,
    reason: Option<String>,
}

impl std::str::FromStr for RuleFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, action) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not RULE=ACTION, such as personal-data=redact"))?;
        let (action, reason) = match action.split_once(':') {
            Some((action, reason)) => (action, Some(reason.trim().to_owned())),
            None => (action, None),
        };
        let flag = Self {
            name: name.trim().into(),
            action: action.trim().into(),
            reason,
        };
        flag.check()?;
        Ok(flag)
    }
}

impl TryFrom<String> for RuleFlag {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RuleFlag> for String {
    fn from(flag: RuleFlag) -> Self {
        flag.to_string()
    }
}

impl fmt::Display for RuleFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.action)?;
        match &self.reason {
            Some(reason) => write!(f, ":{reason}"),
            None => Ok(()),
        }
    }
}

impl RuleFlag {
    /// Refuses what no rule is called and what cannot be done about it, with what could be meant.
    fn check(&self) -> Result<(), String> {
        let Self { name, action, .. } = self;
        let meant: Vec<_> = rules::all()
            .filter(|entry| entry.doc.name == name || entry.doc.family.name() == name)
            .collect();
        if meant.is_empty() {
            return Err(no_such_rule(name));
        }
        let takes: Vec<&str> = Action::ALL
            .into_iter()
            .filter(|action| meant.iter().any(|entry| entry.takes(*action)))
            .map(Action::name)
            .collect();
        if !takes.contains(&action.as_str()) {
            let near = nearest(action, takes.iter().copied());
            let near = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
            return Err(format!(
                "`{action}` is nothing that can be done about `{name}`{near}; there are {}",
                takes.join(", ")
            ));
        }
        let has_reason = self
            .reason
            .as_deref()
            .is_some_and(|reason| !reason.is_empty());
        let is_number = |reason: &str| reason.parse::<f64>().is_ok();
        if let Some(reason) = self.reason.as_deref().filter(|reason| is_number(reason)) {
            let params = meant.iter().flat_map(|entry| entry.doc.params);
            let set = params.map(|param| param.name).next().map_or(String::new(), |param| {
                format!("; a recipe sets what the rule goes by, as in [rules.{name}] {param} = {reason}")
            });
            return Err(format!(
                "`{reason}` is no reason for `{action}`{set}; `hone data rules {name}` says what it takes"
            ));
        }
        match action == Action::Allow.name() && !has_reason {
            true => Err(format!(
                "`allow` needs a reason, which is kept with the dataset: --rule '{name}=allow:REASON'"
            )),
            false => Ok(()),
        }
    }

    /// The rule or family it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn section(&self) -> toml::Value {
        let action = ("action".to_owned(), self.action.clone().into());
        let reason = self
            .reason
            .clone()
            .map(|reason| ("reason".to_owned(), reason.into()));
        toml::Value::Table([action].into_iter().chain(reason).collect())
    }
}

/// What is said of a name that no rule has.
fn no_such_rule(name: &str) -> String {
    let known = rules::all()
        .map(|entry| entry.doc.name)
        .chain(Family::ALL.map(Family::name));
    match nearest(name, known) {
        Some(near) => format!("there is no rule and no family `{name}`; did you mean `{near}`?"),
        None => format!("there is no rule and no family `{name}`; `hone data rules` lists them"),
    }
}

/// The sections of flags, by rule or family.
pub fn sections(flags: &[RuleFlag]) -> BTreeMap<String, toml::Value> {
    flags
        .iter()
        .map(|flag| (flag.name.clone(), flag.section()))
        .collect()
}

impl RecipeArgs {
    /// These flags with more files.
    pub fn with_files(&self, files: &[String]) -> Self {
        let from = [&self.from[..], files].concat();
        Self {
            from,
            ..self.clone()
        }
    }

    /// How the model that counts tokens shows rows to itself.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions {
            chat_template: self.chat_template.clone(),
            template_options: self.template_options.clone(),
            ..OpenOptions::default()
        }
    }

    /// The recipe of a file, if one is given, under these flags.
    pub fn over(&self, recipe: Option<&Path>) -> Result<RawRecipe> {
        let mut raw = recipe.map(RawRecipe::read).transpose()?.unwrap_or_default();
        if !self.from.is_empty() {
            raw.sources = vec![RawSource {
                files: self.from.clone(),
                ..RawSource::default()
            }];
        }
        for source in &mut raw.sources {
            source
                .ignore_keys
                .extend(self.keys.ignore_keys.iter().cloned());
            source.nulls = self.keys.nulls.or(source.nulls);
            source.columns.extend(columns(&self.data.columns));
            let sides = self.data.sides.iter();
            source.sides.extend(sides.map(|flag| {
                let side = flag.side.map_or("skip", hone_data::Side::name);
                (flag.name.clone(), side.to_owned())
            }));
            source.configs.extend(self.data.configs.iter().cloned());
        }
        for (name, section) in sections(&self.rules) {
            // A flag says what to do; parameters that the recipe sets stay.
            match (raw.rules.get_mut(&name), section) {
                (Some(toml::Value::Table(known)), toml::Value::Table(given)) => known.extend(given),
                (_, section) => {
                    raw.rules.insert(name, section);
                }
            }
        }
        if let Some(tokens) = self.max_length {
            set_max_tokens(&mut raw, tokens);
        }
        raw.benchmarks.extend(self.benchmark.iter().cloned());
        raw.model = self.model.clone().or(raw.model);
        raw.seed = self.seed.or(raw.seed);
        if self.max_dropped.is_some() {
            raw.text.replace("max-dropped");
            raw.max_dropped = self.max_dropped;
        }
        for (key, is_given) in [
            ("split.valid", self.valid_share.is_some()),
            ("split.test", self.test_share.is_some()),
        ] {
            if is_given {
                raw.text.replace(key);
            }
        }
        let split = raw.split.unwrap_or_default();
        raw.split = Some(RawSplit {
            valid: self.valid_share.or(split.valid),
            test: self.test_share.or(split.test),
            regroup: self.regroup.then_some(true).or(split.regroup),
        });
        Ok(raw)
    }
}

/// The rule about lengths, and its limit.
const TOO_LONG: (&str, &str) = ("too-long", "max-tokens");

/// Has the rule about lengths take this limit, whatever else is said of it.
fn set_max_tokens(raw: &mut RawRecipe, tokens: usize) {
    let (rule, param) = TOO_LONG;
    let section = raw.rules.remove(rule);
    let mut section = match section {
        Some(toml::Value::Table(section)) => section,
        Some(action) => toml::Table::from_iter([("action".to_owned(), action)]),
        None => toml::Table::new(),
    };
    section.insert(param.to_owned(), (tokens as i64).into());
    raw.rules.insert(rule.to_owned(), section.into());
}

fn has_max_tokens(raw: &RawRecipe) -> bool {
    let (rule, param) = TOO_LONG;
    let section = raw.rules.get(rule).and_then(toml::Value::as_table);
    section.is_some_and(|section| section.contains_key(param))
}

/// The count of rows in a line, and what it cannot know.
pub fn count_line(count: &RowCount, counts_lengths: bool) -> String {
    match counts_lengths {
        true => count.to_string(),
        false => format!("{count}; lengths are not counted without --model"),
    }
}

/// A recipe, and the model that counts its tokens.
pub struct Curator {
    /// What will happen.
    pub curation: Curation,
    open: Option<OpenBase>,
    /// The base in memory, where rows are chosen by what it has to learn from them.
    judge: Option<Model>,
}

impl Curator {
    /// Resolves a recipe and opens its model under these options.
    pub fn new(mut raw: RawRecipe, options: &OpenOptions, talk: Talk) -> Result<Self> {
        let open = match &raw.model {
            Some(model) => {
                let found = base::find(model, &Home::from_env()?)?;
                Some(OpenBase::open(found, options)?)
            }
            None if options != &OpenOptions::default() => {
                return Err(Refusal::usage(
                    "a chat template is that of a model, and none is named",
                )
                .hint("name the base that is to be trained: --model M")
                .into());
            }
            None => None,
        };
        if let Some(open) = &open {
            say_notices(open, talk);
        }
        if let (Some(open), false) = (&open, has_max_tokens(&raw)) {
            let context_len = open.weights.config().context_len;
            set_max_tokens(&mut raw, DEFAULT_MAX_LENGTH.min(context_len));
        }
        let curation = Curation::resolve(raw).map_err(|error| match error.apart() {
            (place, RecipeError::NoSuchRule { name }) => {
                let place = place.map_or(String::new(), |place| format!("{place}: "));
                Refusal::usage(format!("{place}{}", no_such_rule(&name))).into()
            }
            (Some(place), source) => {
                let source = Box::new(source);
                anyhow::Error::from(RecipeError::At { place, source })
            }
            (None, error) => anyhow::Error::from(error),
        })?;
        let choosing = open.as_ref().filter(|_| curation.select.is_some());
        let judge = choosing.map(load_judge).transpose()?;
        Ok(Self {
            curation,
            open,
            judge,
        })
    }

    /// Follows the recipe, with room for rows in `room`.
    pub fn curate(
        &self,
        room: &Path,
        talk: Talk,
        sink: &mut dyn FnMut(&Finding) -> io::Result<()>,
    ) -> Result<Curated, CurateError> {
        let line = Mutex::new(Count::start(talk));
        let watch = |stage: &str, done: u64, total: u64| {
            if let Ok(mut line) = line.lock() {
                line.tell_of(done as usize, total as usize, stage);
            }
        };
        let usable = self.usable();
        let count_row =
            |record: &Record| -> Result<Option<usize>, Reason> { usable.tokens(record) };
        let count_text = |text: &str| self.text_tokens(text);
        let judge = self.judge.as_ref().zip(self.open.as_ref());
        let worth = |records: &[Record]| {
            judge.map_or(Ok(vec![]), |(model, open)| worth(model, open, records))
        };
        let tools = Tools {
            usable: &count_row,
            skips_unusable: false,
            text_tokens: &count_text,
            worth: judge.is_some().then_some(&worth as _),
            watch: &watch,
        };
        let curated = curate(&self.curation, tools, room, sink);
        if let Ok(line) = line.into_inner() {
            line.finish();
        }
        curated
    }

    /// What a mixture weighs.
    pub fn mixes_by(&self) -> MixBy {
        let mix = self.curation.mix.as_ref();
        mix.and_then(|mix| mix.by).unwrap_or_default()
    }

    /// What lengths are counted in.
    pub fn length_unit(&self) -> &'static str {
        if self.open.is_some() {
            "tokens"
        } else {
            "words"
        }
    }

    /// Does a model count lengths?
    pub fn counts_lengths(&self) -> bool {
        self.open.is_some()
    }

    /// What a row has to be so that `hone train` trains on it, within the limit of the rule about lengths.
    fn usable(&self) -> Usable<'_> {
        let (rule, param) = TOO_LONG;
        let rule = self.curation.rule(rule);
        let limit = rule.and_then(|rule| rule.params.get(param)?.as_integer());
        Usable {
            renderer: self.open.as_ref().map(|open| &open.renderer),
            max_length: limit.map_or(usize::MAX, |limit| limit as usize),
            too_long: TooLong::Drop,
        }
    }

    /// Tokens of a text.
    fn text_tokens(&self, text: &str) -> usize {
        let counted = self
            .open
            .as_ref()
            .and_then(|open| open.renderer.tokenizer().encode_plain(text).ok());
        counted.map_or_else(|| estimated_tokens(text), |ids| ids.len())
    }
}

/// Tokens of a text where no model is named: a word and a third each, which is what English takes.
pub fn estimated_tokens(text: &str) -> usize {
    text.split_whitespace().count() * 4 / 3
}

/// The base, ready to judge rows.
fn load_judge(open: &OpenBase) -> Result<Model> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let positions = MAX_TOKENS.min(open.weights.config().context_len);
    Ok(Model::load(
        &open.weights,
        &Device::cpu(threads)?,
        BaseFormat::Stored,
        positions,
    )?)
}

/// What there is to learn from each row: its difficulty, or nothing where the prompt does not help.
fn worth(model: &Model, open: &OpenBase, records: &[Record]) -> Result<Vec<f64>, String> {
    let found = difficulty(model, &open.renderer, records).map_err(|error| error.to_string())?;
    Ok(found
        .into_iter()
        .map(|ifd| if ifd < 1.0 { ifd } else { 0.0 })
        .collect())
}

/// The flags that would decide about findings of these rules, a line for each rule.
pub fn ways_to_decide(undecided: &BTreeMap<String, usize>) -> Vec<String> {
    undecided.keys().map(|rule| ways_of(rule)).collect()
}

fn ways_of(rule: &str) -> String {
    let takes = |action| rules::named(rule).is_none_or(|entry| entry.takes(action));
    let actions = [Action::Redact, Action::Drop, Action::Report];
    let mut ways: Vec<String> = actions
        .into_iter()
        .filter(|action| takes(*action))
        // Noting what must not be trained on unseen is no decision about it: that is what `allow` is for.
        .filter(|action| *action != Action::Report || !takes(Action::Allow))
        .map(|action| format!("--rule {rule}={}", action.name()))
        .collect();
    if takes(Action::Allow) {
        ways.push(format!("--rule '{rule}=allow:REASON'"));
    }
    match ways.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => format!("`hone data rules {rule}` says what can be done"),
    }
}

/// Says where the mixture is not what its weights ask for.
pub fn tell_shortfalls(portions: &[Portion], by: MixBy, talk: Talk) {
    for portion in portions {
        if let Some(shortfall) = portion.shortfall(by.unit()) {
            talk.warn(shortfall);
        }
    }
}

/// Warns of collections and classes of which much has left, or would, so that a build stops.
pub fn tell_losses(losses: &[Loss], allowed: f64, talk: Talk) {
    for loss in losses {
        if loss.is_too_much(allowed) {
            talk.warn(format!(
                "`hone data build` stops, because {}; a --rule that says what to do about them, or --max-dropped, lets it go on",
                loss.told_to_stop()
            ));
        } else if loss.is_much(allowed) {
            talk.warn(loss.told(allowed));
        }
    }
}

/// The folder in which a dataset directory will stand.
pub fn beside(out: &Path) -> PathBuf {
    match out.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_flag_has_an_action_and_perhaps_a_reason() {
        let flag: RuleFlag = "licence=allow: we wrote it".parse().unwrap();
        assert_eq!(flag.name, "licence");
        assert_eq!(
            flag.section().to_string(),
            "{ action = \"allow\", reason = \"we wrote it\" }"
        );
        let error = |text: &str| text.parse::<RuleFlag>().unwrap_err();
        assert!(error("persnal-data=drop").contains("did you mean `personal-data`?"));
        assert!(error("personal-data=allow").contains("--rule 'personal-data=allow:REASON'"));
        assert!(error("near-duplicate=redact").contains("there are off, report, ask, allow, drop"));
        assert_eq!(
            error("near-duplicate=drop:0.8"),
            "`0.8` is no reason for `drop`; a recipe sets what the rule goes by, as in [rules.near-duplicate] threshold = 0.8; \
             `hone data rules near-duplicate` says what it takes"
        );
        assert!(error("email=redactt").contains("did you mean `redact`?"));
        assert!(
            "licence"
                .parse::<RuleFlag>()
                .unwrap_err()
                .contains("RULE=ACTION")
        );
    }

    #[test]
    fn each_rule_that_waits_is_told_what_can_be_done_about_it() {
        let undecided = [("email".to_owned(), 2), ("prompt-exact".to_owned(), 1)];
        assert_eq!(
            ways_to_decide(&undecided.into()),
            [
                "--rule email=redact, --rule email=drop or --rule 'email=allow:REASON'",
                "--rule prompt-exact=drop or --rule 'prompt-exact=allow:REASON'",
            ]
        );
    }

    #[test]
    fn a_flag_changes_the_action_and_keeps_the_parameters_of_the_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recipe.toml");
        std::fs::write(
            &path,
            "[rules]\nphone = { action = \"report\", regions = [\"DE\"] }\n",
        )
        .unwrap();
        let args = RecipeArgs {
            rules: vec!["phone=drop".parse().unwrap()],
            ..RecipeArgs::default()
        };
        let raw = args.over(Some(&path)).unwrap();
        assert_eq!(
            raw.rules["phone"].to_string(),
            "{ action = \"drop\", regions = [\"DE\"] }"
        );
    }
}
