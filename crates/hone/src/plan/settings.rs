//! What was decided before looking at model and data: every option with its value and origin.
//!
//! A flag wins over the run file, the run file over the default. Values that make no sense are refused here, by name,
//! before anything is loaded.

use super::chosen::{Chosen, Origin};
use super::error::SettingError;
use super::rate::Rate;
use super::raw::{
    Activations, Bias, Method, Optimizer, Own, RawTrain, SaveDtype, Schedule, Shortcut, Size,
    TooLong,
};
use crate::curation::RuleFlag;
use crate::data_flags::{ColumnFlag, SideFlag};
use hone_data::Nulls;
use hone_ledger::words::{for_shell, path_for_shell};
use hone_model::weights::DecoderConfig;
use hone_model::{Initial, LayerRange};
use hone_text::{Date, TemplateOption};
use hone_train::WidthRate;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// Every option of a run that does not depend on the model or the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // each field is the option of the same name; `RawTrain` describes it once
pub struct Settings {
    pub model: Chosen<String>,
    pub chat_template: Chosen<Option<String>>,
    /// What is set for it.
    pub template_options: Chosen<Vec<TemplateOption>>,
    #[serde(skip)]
    pub date: Chosen<Option<Date>>,
    pub data: Chosen<Vec<PathBuf>>,
    pub valid: Chosen<Valid>,
    pub regroup: Chosen<bool>,
    #[serde(rename = "column")]
    pub columns: Chosen<Vec<ColumnFlag>>,
    #[serde(rename = "side")]
    pub sides: Chosen<Vec<SideFlag>>,
    #[serde(rename = "config")]
    pub configs: Chosen<Vec<String>>,
    #[serde(rename = "rule")]
    pub rules: Chosen<Vec<RuleFlag>>,
    #[serde(rename = "ignore-key")]
    pub ignore_keys: Chosen<Vec<String>>,
    pub nulls: Chosen<Option<Nulls>>,
    pub out: Chosen<PathBuf>,
    pub method: Chosen<Method>,
    pub rank: Chosen<usize>,
    pub alpha: Chosen<f64>,
    pub targets: Chosen<Vec<String>>,
    pub exclude: Chosen<Vec<String>>,
    pub rank_pattern: Chosen<Vec<Own>>,
    pub alpha_pattern: Chosen<Vec<Own>>,
    pub layers: Chosen<Option<LayerRange>>,
    pub dropout: Chosen<f64>,
    pub rslora: Chosen<bool>,
    pub lora_plus: Chosen<f64>,
    pub dora: Chosen<bool>,
    pub init: Chosen<Initial>,
    pub bias: Chosen<Bias>,
    pub whole: Chosen<Vec<String>>,
    pub token_rows: Chosen<Vec<u32>>,
    pub new_tokens: Chosen<Vec<String>>,
    pub ia3: Chosen<bool>,
    pub feed_forward: Chosen<Vec<String>>,
    pub length: Chosen<Length>,
    pub optimizer: Chosen<Optimizer>,
    pub lr: Chosen<Rate>,
    pub schedule: Chosen<Schedule>,
    pub warmup_ratio: Chosen<f64>,
    pub batch_size: Chosen<usize>,
    pub accumulate: Chosen<usize>,
    pub max_length: Chosen<usize>,
    /// The tokens that the model was made for, once it is known.
    #[serde(skip)]
    pub context: Option<usize>,
    pub too_long: Chosen<TooLong>,
    pub clip: Chosen<f64>,
    pub weight_decay: Chosen<f64>,
    pub eval_every: Chosen<Interval>,
    pub save_every: Chosen<Interval>,
    pub save_dtype: Chosen<SaveDtype>,
    pub seed: Chosen<u64>,
    pub threads: Chosen<usize>,
    pub memory: Chosen<Size>,
    pub activations: Chosen<Activations>,
    pub without: Chosen<Vec<Shortcut>>,
}

/// The share of the data that is held out where nothing is said.
pub const VALID_SHARE: f64 = 0.05;

/// Where held-out examples come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Valid {
    /// A file of their own.
    File(PathBuf),
    /// A share of the data; zero means none.
    Share(f64),
}

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// So many passes over the data.
    Epochs(f64),
    /// As many steps as fit in the time, at most so many passes.
    Minutes {
        /// The budget.
        minutes: f64,
        /// The bound on passes.
        at_most_epochs: f64,
    },
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epochs(1.0) => f.write_str("1 epoch"),
            Self::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Self::Minutes {
                minutes,
                at_most_epochs,
            } => write!(f, "{minutes} min, at most {at_most_epochs} epochs"),
        }
    }
}

/// How often something happens during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interval {
    /// Every so many steps.
    Steps(usize),
    /// About ten times a run.
    TenTimes,
}

impl Interval {
    /// The interval in steps for a run of this many.
    pub fn in_steps(self, num_steps: usize) -> usize {
        match self {
            Self::Steps(steps) => steps,
            Self::TenTimes => num_steps.div_ceil(10).max(1),
        }
    }
}

/// What this machine offers; measured once by the caller, so that resolving stays a pure function.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Processor threads.
    pub threads: usize,
    /// Memory that is free for us.
    pub memory: Size,
}

impl Settings {
    /// The command that tells of every row of the data, to be pasted.
    pub fn check_command(&self) -> String {
        let data = self.data.value.iter().map(|path| path_for_shell(path));
        let flag = |name: &str, value: &dyn fmt::Display| {
            format!("--{name} {}", for_shell(&value.to_string()))
        };
        let columns = self
            .columns
            .value
            .iter()
            .map(|column| flag("column", column));
        let keys = self
            .ignore_keys
            .value
            .iter()
            .map(|key| flag("ignore-key", key));
        let nulls = self
            .nulls
            .value
            .iter()
            .map(|nulls| flag("nulls", &nulls.name()));
        let sides = self.sides.value.iter().map(|side| flag("side", side));
        let configs = self
            .configs
            .value
            .iter()
            .map(|config| flag("config", config));
        let rules = self.rules.value.iter().map(|rule| flag("rule", rule));
        let flags = columns.chain(keys).chain(nulls).chain(sides).chain(configs);
        let model = std::iter::once(flag("model", &self.model.value));
        let is_given = self.max_length.origin != Origin::Default;
        let max_length = is_given.then(|| flag("max-length", &self.max_length.value));
        let template = self.chat_template.value.iter();
        let template = template.map(|template| flag("chat-template", template));
        let options = self.template_options.value.iter();
        let options = options.map(|option| flag("template-option", option));
        let flags = flags
            .chain(rules)
            .chain(model)
            .chain(template)
            .chain(options);
        let flags = flags.chain(max_length);
        let words: Vec<String> = data.chain(flags).collect();
        format!("hone data check {} --json", words.join(" "))
    }

    /// Decides every option: flag, else file, else default. `file_origin` says what the file was.
    pub fn resolve(
        flags: &RawTrain,
        file: &RawTrain,
        file_origin: Origin,
        machine: Machine,
    ) -> Result<Self, SettingError> {
        let asked = Asked { file_origin };
        macro_rules! pick {
            ($name:ident, $default:expr, $origin:expr) => {
                asked
                    .pick(&flags.$name, &file.$name)
                    .unwrap_or_else(|| Chosen::new($default, $origin))
            };
            ($name:ident, $default:expr) => {
                pick!($name, $default, Origin::Default)
            };
            ($name:ident) => {
                asked
                    .pick(&flags.$name, &file.$name)
                    .ok_or(SettingError::Missing {
                        name: stringify!($name),
                    })?
            };
        }
        let is_ia3 = flags.ia3.or(file.ia3) == Some(true);
        let settings = Self {
            model: pick!(model),
            chat_template: asked.optional(&flags.chat_template, &file.chat_template),
            template_options: pick!(template_options, vec![]),
            date: asked.optional(&flags.date, &file.date),
            data: pick!(data),
            out: pick!(out),
            valid: asked.valid(flags, file)?,
            regroup: pick!(regroup, false),
            columns: pick!(columns, vec![]),
            sides: pick!(sides, vec![]),
            configs: pick!(configs, vec![]),
            rules: pick!(rules, vec![]),
            ignore_keys: pick!(ignore_keys, vec![]),
            nulls: asked.optional(&flags.nulls, &file.nulls),
            method: pick!(method, Method::Lora),
            rank: pick!(rank, 16),
            alpha: pick!(alpha, 32.0),
            targets: pick!(
                targets,
                owned(if is_ia3 {
                    &IA3_TARGETS
                } else {
                    &["all-linear"]
                })
            ),
            exclude: pick!(exclude, vec![]),
            rank_pattern: pick!(rank_pattern, vec![]),
            alpha_pattern: pick!(alpha_pattern, vec![]),
            layers: asked.optional(&flags.layers, &file.layers),
            dropout: pick!(dropout, 0.0),
            rslora: pick!(rslora, false),
            lora_plus: pick!(lora_plus, 1.0),
            dora: pick!(dora, false),
            init: pick!(init, Initial::Random),
            bias: pick!(bias, Bias::None),
            whole: pick!(whole, vec![]),
            token_rows: pick!(token_rows, vec![]),
            new_tokens: pick!(new_tokens, vec![]),
            ia3: pick!(ia3, false),
            feed_forward: pick!(
                feed_forward,
                owned(if is_ia3 { &IA3_FEED_FORWARD } else { &[] })
            ),
            length: asked.length(flags, file),
            optimizer: pick!(optimizer, Optimizer::Adamw),
            lr: asked
                .pick(&flags.lr, &file.lr)
                .map_or(Chosen::new(Rate::ByWidth(None), Origin::BaseWidth), |lr| {
                    Chosen::new(Rate::Asked(lr.value), lr.origin)
                }),
            schedule: pick!(schedule, Schedule::Cosine),
            warmup_ratio: pick!(warmup_ratio, 0.05),
            batch_size: pick!(batch_size, 8),
            accumulate: pick!(accumulate, 1),
            max_length: pick!(max_length, hone_data::DEFAULT_MAX_LENGTH),
            context: None,
            too_long: pick!(too_long, TooLong::Drop),
            clip: pick!(clip, 1.0),
            weight_decay: pick!(weight_decay, 0.0),
            eval_every: asked.interval(flags.eval_every, file.eval_every, None),
            save_every: asked.interval(
                flags.save_every.or(flags.eval_every),
                file.save_every.or(file.eval_every),
                Some(flags.save_every.or(file.save_every).is_none()),
            ),
            save_dtype: pick!(save_dtype, SaveDtype::F32),
            seed: pick!(seed, 0),
            threads: pick!(threads, machine.threads, Origin::Measured),
            memory: pick!(memory, machine.memory, Origin::Measured),
            activations: pick!(activations, Activations::F32),
            without: pick!(without, vec![]),
        };
        settings.check()?;
        Ok(settings)
    }

    /// Fits the longest example into what the model was made for; asking for more is refused.
    pub fn within_context(mut self, limit: usize) -> Result<Self, SettingError> {
        self.context = Some(limit);
        let asked = self.max_length.value;
        if asked > limit {
            if self.max_length.origin != Origin::Default {
                return Err(SettingError::PastContext {
                    asked,
                    limit,
                    model: self.model.value,
                });
            }
            self.max_length = Chosen::new(limit, Origin::Model);
        }
        Ok(self)
    }

    /// Settles what nobody asked for and what depends on the base.
    pub fn met_with(mut self, base: &DecoderConfig) -> Self {
        self.lr.value = self.lr.value.meet(WidthRate::of(base));
        self
    }

    /// Refuses the first value outside its range.
    fn check(&self) -> Result<(), SettingError> {
        let above_zero = |value: f64| value.is_finite() && value > 0.0;
        let zero_or_more = |value: f64| value.is_finite() && value >= 0.0;
        let is_share = |value: f64| (0.0..1.0).contains(&value);
        const SHARE: &str = "at least 0 and below 1";
        const PARTS: &str = "between 1 and --batch-size, which it divides into parts";

        require(
            "data",
            !self.data.value.is_empty(),
            "empty",
            "at least one file",
        )?;
        if let Valid::Share(share) = self.valid.value {
            require("valid-share", is_share(share), share, SHARE)?;
        }
        match self.length.value {
            Length::Epochs(epochs) => require("epochs", above_zero(epochs), epochs, "above 0")?,
            Length::Minutes {
                minutes,
                at_most_epochs: epochs,
            } => {
                require("minutes", above_zero(minutes), minutes, "above 0")?;
                require("epochs", above_zero(epochs), epochs, "above 0")?;
            }
        }
        let (rank, alpha, targets) = (self.rank.value, self.alpha.value, &self.targets.value);
        require("rank", rank > 0, rank, "at least 1")?;
        require("alpha", above_zero(alpha), alpha, "above 0")?;
        require(
            "targets",
            !targets.is_empty(),
            "empty",
            "all-linear or names of layers",
        )?;
        require(
            "dropout",
            is_share(self.dropout.value),
            self.dropout.value,
            SHARE,
        )?;
        self.check_adapter()?;
        let warmup_ratio = self.warmup_ratio.value;
        if let Rate::Asked(lr) = self.lr.value {
            // The engine computes in f32.
            let is_held = (lr as f32).is_finite() && lr as f32 > 0.0;
            require("lr", is_held, lr, "above 0 and in the range of f32")?;
        }
        require("warmup-ratio", is_share(warmup_ratio), warmup_ratio, SHARE)?;
        let (batch_size, accumulate) = (self.batch_size.value, self.accumulate.value);
        require("batch-size", batch_size > 0, batch_size, "at least 1")?;
        require(
            "accumulate",
            (1..=batch_size).contains(&accumulate),
            accumulate,
            PARTS,
        )?;
        require(
            "max-length",
            self.max_length.value > 1,
            self.max_length.value,
            "at least 2",
        )?;
        let (clip, weight_decay) = (self.clip.value, self.weight_decay.value);
        require("clip", zero_or_more(clip), clip, "0 or more")?;
        require(
            "weight-decay",
            zero_or_more(weight_decay),
            weight_decay,
            "0 or more",
        )?;
        for (name, interval) in [
            ("eval-every", &self.eval_every),
            ("save-every", &self.save_every),
        ] {
            require(name, interval.value != Interval::Steps(0), 0, "at least 1")?;
        }
        let threads = self.threads.value;
        require(
            "threads",
            (1..=1024).contains(&threads),
            threads,
            "between 1 and 1024",
        )
    }

    /// Refuses what has no meaning for the chosen method: an option that would change nothing is not passed over.
    fn check_adapter(&self) -> Result<(), SettingError> {
        let ratio = self.lora_plus.value;
        require(
            "lora-plus",
            ratio.is_finite() && ratio >= 1.0,
            ratio,
            "at least 1",
        )?;
        for own in &self.rank_pattern.value {
            let is_rank = own.value >= 1.0 && own.value.fract() == 0.0;
            require("rank-pattern", is_rank, own, "a whole number of at least 1")?;
        }
        for own in &self.alpha_pattern.value {
            require("alpha-pattern", own.value > 0.0, own, "above 0")?;
        }
        let is_qlora = self.method.value == Method::Qlora;
        let is_loftq = self.init.value == Initial::Loftq;
        const START: &str = "another start, or loftq with --method qlora";
        require("init", is_qlora || !is_loftq, "loftq", START)?;
        let conflict = |first, second| Err(SettingError::Conflict { first, second });
        if !self.ia3.value {
            let is_asked = self.feed_forward.origin != Origin::Default;
            let means_something = !is_asked || self.feed_forward.value.is_empty();
            return require(
                "feed-forward",
                means_something,
                "given",
                "left out without --ia3",
            );
        }
        let is_asked = |origin: Origin| origin != Origin::Default;
        let of_lora = [
            ("rank", is_asked(self.rank.origin)),
            ("alpha", is_asked(self.alpha.origin)),
            ("rslora", self.rslora.value),
            ("lora-plus", ratio != 1.0),
            ("rank-pattern", !self.rank_pattern.value.is_empty()),
            ("alpha-pattern", !self.alpha_pattern.value.is_empty()),
        ];
        match of_lora.into_iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => conflict("ia3", name),
            None => Ok(()),
        }
    }
}

/// Where IA3 goes by default, as in PEFT for llamas.
const IA3_TARGETS: [&str; 3] = ["k_proj", "v_proj", "down_proj"];
const IA3_FEED_FORWARD: [&str; 1] = ["down_proj"];

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn require(
    name: &'static str,
    holds: bool,
    value: impl fmt::Display,
    range: &'static str,
) -> Result<(), SettingError> {
    if holds {
        return Ok(());
    }
    Err(SettingError::OutOfRange {
        name,
        value: value.to_string(),
        range,
    })
}

/// Chooses between what was asked by flag and what was asked in the file.
struct Asked {
    file_origin: Origin,
}

impl Asked {
    fn pick<T: Clone>(&self, flag: &Option<T>, file: &Option<T>) -> Option<Chosen<T>> {
        let by_flag = flag.clone().map(|value| Chosen::new(value, Origin::Flag));
        by_flag.or_else(|| {
            file.clone()
                .map(|value| Chosen::new(value, self.file_origin))
        })
    }

    /// An option that may be left unsaid.
    fn optional<T: Clone>(&self, flag: &Option<T>, file: &Option<T>) -> Chosen<Option<T>> {
        match self.pick(flag, file) {
            Some(Chosen { value, origin }) => Chosen::new(Some(value), origin),
            None => Chosen::new(None, Origin::Default),
        }
    }

    /// A flag of either kind overrides both keys of the file.
    fn valid(&self, flags: &RawTrain, file: &RawTrain) -> Result<Chosen<Valid>, SettingError> {
        for (raw, origin) in [(flags, Origin::Flag), (file, self.file_origin)] {
            match (&raw.valid, raw.valid_share) {
                (Some(_), Some(_)) => {
                    return Err(SettingError::Conflict {
                        first: "valid",
                        second: "valid-share",
                    });
                }
                (Some(path), None) => return Ok(Chosen::new(Valid::File(path.clone()), origin)),
                (None, Some(share)) => return Ok(Chosen::new(Valid::Share(share), origin)),
                (None, None) => {}
            }
        }
        Ok(Chosen::new(Valid::Share(VALID_SHARE), Origin::Default))
    }

    fn length(&self, flags: &RawTrain, file: &RawTrain) -> Chosen<Length> {
        let epochs = self.pick(&flags.epochs, &file.epochs);
        match (self.pick(&flags.minutes, &file.minutes), epochs) {
            (Some(minutes), epochs) => {
                let at_most_epochs = epochs.map_or(3.0, |epochs| epochs.value);
                Chosen::new(
                    Length::Minutes {
                        minutes: minutes.value,
                        at_most_epochs,
                    },
                    minutes.origin,
                )
            }
            (None, Some(epochs)) => Chosen::new(Length::Epochs(epochs.value), epochs.origin),
            (None, None) => Chosen::new(Length::Epochs(1.0), Origin::Default),
        }
    }

    fn interval(
        &self,
        flag: Option<usize>,
        file: Option<usize>,
        derived: Option<bool>,
    ) -> Chosen<Interval> {
        let Some(steps) = self.pick(&flag, &file) else {
            return Chosen::new(Interval::TenTimes, Origin::Default);
        };
        let origin = if derived == Some(true) {
            Origin::Derived
        } else {
            steps.origin
        };
        Chosen::new(Interval::Steps(steps.value), origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command};

    const MACHINE: Machine = Machine {
        threads: 2,
        memory: Size {
            bytes: 4_000_000_000,
        },
    };

    fn asked() -> RawTrain {
        RawTrain {
            model: Some("base".into()),
            data: Some(vec!["a.jsonl".into()]),
            out: Some("run".into()),
            ..RawTrain::default()
        }
    }

    fn resolve(flags: RawTrain, file: RawTrain) -> Result<Settings, SettingError> {
        Settings::resolve(&flags, &file, Origin::RunFile, MACHINE)
    }

    #[test]
    fn a_flag_wins_over_the_run_file_and_the_run_file_over_the_default() {
        let flags = RawTrain {
            rank: Some(4),
            ..asked()
        };
        let file = RawTrain {
            rank: Some(8),
            alpha: Some(64.0),
            ..RawTrain::default()
        };
        let settings = resolve(flags, file).unwrap();
        assert_eq!(settings.rank, Chosen::new(4, Origin::Flag));
        assert_eq!(settings.alpha, Chosen::new(64.0, Origin::RunFile));
        assert_eq!(settings.seed, Chosen::new(0, Origin::Default));
        assert_eq!(settings.threads, Chosen::new(2, Origin::Measured));
    }

    #[test]
    fn a_flag_of_one_kind_overrides_a_key_of_the_other() {
        let file = RawTrain {
            valid: Some("held.jsonl".into()),
            ..RawTrain::default()
        };
        let settings = resolve(
            RawTrain {
                valid_share: Some(0.2),
                ..asked()
            },
            file,
        )
        .unwrap();
        assert_eq!(settings.valid, Chosen::new(Valid::Share(0.2), Origin::Flag));
    }

    #[test]
    fn minutes_bound_the_steps_and_epochs_bound_the_minutes() {
        let length = |raw| resolve(raw, RawTrain::default()).unwrap().length.value;
        let minutes = RawTrain {
            minutes: Some(5.0),
            ..asked()
        };
        assert_eq!(
            length(minutes.clone()),
            Length::Minutes {
                minutes: 5.0,
                at_most_epochs: 3.0
            }
        );
        let both = RawTrain {
            epochs: Some(1.0),
            ..minutes
        };
        assert_eq!(
            length(both),
            Length::Minutes {
                minutes: 5.0,
                at_most_epochs: 1.0
            }
        );
    }

    #[test]
    fn what_has_no_default_is_asked_for_by_name() {
        let refused = |raw| resolve(raw, RawTrain::default()).unwrap_err().to_string();
        assert_eq!(
            refused(RawTrain {
                model: None,
                ..asked()
            }),
            "--model is needed"
        );
        assert_eq!(
            refused(RawTrain {
                data: None,
                ..asked()
            }),
            "--data is needed"
        );
        assert_eq!(
            refused(RawTrain {
                out: None,
                ..asked()
            }),
            "--out is needed"
        );
    }

    #[test]
    fn values_outside_their_range_are_refused_by_name() {
        let refused = |raw| resolve(raw, RawTrain::default()).unwrap_err().to_string();
        assert_eq!(
            refused(RawTrain {
                rank: Some(0),
                ..asked()
            }),
            "--rank is 0, but it has to be at least 1"
        );
        assert!(
            refused(RawTrain {
                lr: Some(f64::NAN),
                ..asked()
            })
            .starts_with("--lr is NaN")
        );
        assert!(
            refused(RawTrain {
                accumulate: Some(9),
                ..asked()
            })
            .contains("between 1 and --batch-size")
        );
        assert!(
            refused(RawTrain {
                save_every: Some(0),
                ..asked()
            })
            .starts_with("--save-every is 0")
        );
    }

    #[test]
    fn the_help_tells_the_defaults_that_are_used() {
        let settings = resolve(asked(), RawTrain::default()).unwrap();
        let mut shown: Vec<(&str, String)> = settings
            .rows()
            .into_iter()
            .map(|(name, value, _)| (name, value))
            .filter(|(name, _)| *name != "epochs")
            .collect();
        shown.push(("valid-share", "0.05".into()));
        // A plan says "1 epoch", the help "1".
        shown.push((
            "epochs",
            settings
                .length
                .value
                .to_string()
                .trim_end_matches(" epoch")
                .to_string(),
        ));
        // Which template that is, is a fact of the base and not among the options' lines.
        assert_eq!(settings.chat_template.value, None);
        shown.push(("chat-template", "the model's own".into()));
        assert_eq!(settings.date.value, None);
        shown.push(("date", "today".into()));
        let command = RawTrain::augment_args(Command::new("train"));
        let mut num_checked = 0;
        for arg in command.get_arguments() {
            let help = arg
                .get_help()
                .expect("every option is described")
                .to_string();
            let Some((_, default)) = help.split_once("[default: ") else {
                continue;
            };
            let name = arg.get_long().expect("options are long");
            let value = shown
                .iter()
                .find(|(label, _)| *label == name)
                .map(|(_, value)| value.as_str());
            assert_eq!(value, Some(default.trim_end_matches(']')), "--{name}");
            num_checked += 1;
        }
        assert_eq!(num_checked, 30);
    }

    #[test]
    fn the_models_context_bounds_the_default_and_refuses_a_wish() {
        let settings = resolve(asked(), RawTrain::default())
            .unwrap()
            .within_context(512)
            .unwrap();
        assert_eq!(settings.max_length, Chosen::new(512, Origin::Model));
        let wish = RawTrain {
            max_length: Some(600),
            ..asked()
        };
        let refused = resolve(wish, RawTrain::default())
            .unwrap()
            .within_context(512)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "--max-length is 600, and `base` was made for 512 tokens"
        );
    }

    #[test]
    fn ten_times_a_run_is_at_least_every_step() {
        assert_eq!(Interval::TenTimes.in_steps(95), 10);
        assert_eq!(Interval::TenTimes.in_steps(3), 1);
        assert_eq!(Interval::Steps(7).in_steps(3), 7);
    }
}
