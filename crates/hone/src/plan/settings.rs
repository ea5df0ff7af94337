//! What was decided before looking at model and data: every option with its value and origin.
//!
//! A flag wins over the run file, the run file over the default. Values that make no sense are refused here, by name,
//! before anything is loaded: each by its own range, and together where they exclude each other.

use super::chosen::{Chosen, Origin};
use super::error::SettingError;
use super::options::{RawTrain, Settings};
use super::rate::Rate;
use super::table::typed;
use super::values::Machine;
use hone_ledger::words::{for_shell, path_for_shell};
use hone_model::arch::DecoderConfig;
use hone_train::WidthRate;
use serde_json::Value;
use std::path::PathBuf;

/// Where held-out examples come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Valid {
    /// A file of their own.
    File(PathBuf),
    /// A share of the data; zero means none.
    Share(f64),
}

impl Settings {
    /// Decides every option: flag, else file, else default. `by_file` says what the file was.
    pub fn resolve(
        flags: &RawTrain,
        file: &RawTrain,
        by_file: Origin,
        machine: Machine,
    ) -> Result<Self, SettingError> {
        let given = flags.over(file);
        if given.valid.is_some() && given.valid_share.is_some() {
            return Err(conflict("valid", "valid-share"));
        }
        let mut settings = Self::decide(flags, &given, by_file, machine)?;
        if settings.save_every.value.is_none() && settings.eval_every.value.is_some() {
            settings.save_every = Chosen::new(settings.eval_every.value, Origin::Derived);
        }
        settings.check_adapter()?;
        Ok(settings)
    }

    /// Refuses what has no meaning for the chosen method: an option that would change nothing is not passed over.
    fn check_adapter(&self) -> Result<(), SettingError> {
        let is_asked = |origin: Origin| origin != Origin::Default;
        if !self.ia3.value {
            let is_idle = is_asked(self.feed_forward.origin) && !self.feed_forward.value.is_empty();
            return match is_idle {
                true => Err(SettingError::OutOfRange {
                    name: "feed-forward",
                    value: "given".into(),
                    range: "left out without --ia3",
                }),
                false => Ok(()),
            };
        }
        let of_lora = [
            ("rank", is_asked(self.rank.origin)),
            ("alpha", is_asked(self.alpha.origin)),
            ("rslora", self.rslora.value),
            ("lora-plus", self.lora_plus.value != 1.0),
            ("rank-pattern", !self.rank_pattern.value.is_empty()),
            ("alpha-pattern", !self.alpha_pattern.value.is_empty()),
        ];
        match of_lora.into_iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => Err(conflict("ia3", name)),
            None => Ok(()),
        }
    }

    /// Fits the longest example into what the model was made for; asking for more is refused.
    pub fn within_context(mut self, limit: usize) -> Result<Self, SettingError> {
        self.base.context = Some(limit);
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
        self.base.rate = Some(WidthRate::of(base));
        if self.lr.value.is_none() {
            self.lr.origin = Origin::BaseWidth;
        }
        self
    }

    /// The peak learning rate: what was asked, or what suits the base.
    pub fn rate(&self) -> Rate {
        let by_width = Rate::ByWidth(self.base.rate);
        self.lr.value.map_or(by_width, Rate::Asked)
    }

    /// Where the validation set comes from, and who said so.
    pub fn validation(&self) -> Chosen<Valid> {
        let share = || {
            Chosen::new(
                Valid::Share(self.valid_share.value),
                self.valid_share.origin,
            )
        };
        let file = self.valid.value.clone();
        file.map_or_else(share, |file| {
            Chosen::new(Valid::File(file), self.valid.origin)
        })
    }

    /// Steps between validations, and between checkpoints, of a run of this many: about ten a run where nobody says. What
    /// validations cost may ask for fewer, which a plan settles.
    pub fn intervals(&self, num_steps: usize) -> (usize, usize) {
        let tenth = num_steps.div_ceil(10).max(1);
        let [eval, save] = [&self.eval_every, &self.save_every].map(|every| every.value);
        (eval.unwrap_or(tenth), save.unwrap_or(tenth))
    }

    /// The command that tells of every row of the data, to be pasted.
    pub fn check_command(&self) -> String {
        const ITS_OPTIONS: &str = "column ignore-key nulls side config rule model chat-template template-option max-length";
        let mut words: Vec<String> = self
            .data
            .value
            .iter()
            .map(|path| path_for_shell(path))
            .collect();
        let chosen = self.json();
        for name in ITS_OPTIONS.split(' ') {
            let of_name = chosen.iter().filter(|(option, _)| *option == name);
            for (_, chosen) in of_name.filter(|(_, chosen)| chosen.origin != Origin::Default) {
                let values = match &chosen.value {
                    Value::Array(values) => values.as_slice(),
                    value => std::slice::from_ref(value),
                };
                let flag = |value| format!("--{name} {}", for_shell(&typed(value)));
                words.extend(values.iter().map(flag));
            }
        }
        format!("hone data check {} --json", words.join(" "))
    }
}

fn conflict(first: &'static str, second: &'static str) -> SettingError {
    SettingError::Conflict { first, second }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Size;
    use clap::{Args, Command};

    const NEEDED: &str = "model = 'base'\ndata = ['a.jsonl']\nout = 'run'\n";

    /// What comes of flags and a file, both written as a run file.
    fn resolve(flags: &str, file: &str) -> Result<Settings, SettingError> {
        let [flags, file] = [flags, file].map(|text| toml::from_str(text).unwrap());
        let memory = Size {
            bytes: 4_000_000_000,
        };
        let machine = Machine { threads: 2, memory };
        Settings::resolve(&flags, &file, Origin::RunFile, machine)
    }

    /// What comes of flags beside those that are needed.
    fn with(flags: &str) -> Result<Settings, SettingError> {
        resolve(&format!("{NEEDED}{flags}"), "")
    }

    #[test]
    fn a_flag_wins_over_the_run_file_and_the_run_file_over_the_default() {
        let flags = format!("{NEEDED}rank = 4");
        let settings = resolve(&flags, "rank = 8\nalpha = 64.0").unwrap();
        assert_eq!(settings.rank, Chosen::new(4, Origin::Flag));
        assert_eq!(settings.alpha, Chosen::new(64.0, Origin::RunFile));
        assert_eq!(settings.seed, Chosen::new(0, Origin::Default));
        assert_eq!(settings.threads, Chosen::new(2, Origin::Measured));
    }

    #[test]
    fn a_flag_of_one_kind_overrides_a_key_of_the_other() {
        let flags = format!("{NEEDED}valid-share = 0.2");
        let settings = resolve(&flags, "valid = 'held.jsonl'").unwrap();
        let validation = settings.validation();
        assert_eq!(validation, Chosen::new(Valid::Share(0.2), Origin::Flag));
    }

    #[test]
    fn minutes_bound_the_steps_and_epochs_bound_the_minutes() {
        let epochs = |flags| with(flags).unwrap().epochs.value;
        assert_eq!(epochs(""), 1.0);
        assert_eq!(epochs("minutes = 5.0"), 3.0);
        assert_eq!(epochs("minutes = 5.0\nepochs = 1.0"), 1.0);
    }

    #[test]
    fn checkpoints_are_made_where_the_run_is_validated_unless_somebody_says() {
        let save = |flags: &str, file| {
            resolve(&format!("{NEEDED}{flags}"), file)
                .unwrap()
                .save_every
        };
        assert_eq!(save("", ""), Chosen::new(None, Origin::Default));
        assert_eq!(
            save("eval-every = 7", ""),
            Chosen::new(Some(7), Origin::Derived)
        );
        assert_eq!(
            save("eval-every = 7", "save-every = 3"),
            Chosen::new(Some(3), Origin::RunFile)
        );
    }

    #[test]
    fn a_validation_every_tenth_of_a_run_is_at_least_every_step() {
        let intervals = |flags, steps| with(flags).unwrap().intervals(steps);
        assert_eq!(intervals("", 95), (10, 10));
        assert_eq!(intervals("", 3), (1, 1));
        assert_eq!(intervals("eval-every = 7", 3), (7, 7));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |text: &str| resolve(text, "").unwrap_err().to_string();
        assert_eq!(refused("data = ['a']\nout = 'run'"), "--model is needed");
        assert_eq!(refused("model = 'base'\nout = 'run'"), "--data is needed");
        assert_eq!(refused("model = 'base'\ndata = ['a']"), "--out is needed");
        for (flags, words) in [
            ("rank = 0", "--rank is 0, but it has to be at least 1"),
            (
                "lr = nan",
                "--lr is no finite number, but it has to be above 0 and in the range of f32",
            ),
            (
                "lr = 0.0",
                "--lr is 0, but it has to be above 0 and in the range of f32",
            ),
            (
                "accumulate = 9",
                "--accumulate is 9, but it has to be between 1 and --batch-size, which it divides into parts",
            ),
            (
                "save-every = 0",
                "--save-every is 0, but it has to be at least 1",
            ),
            (
                "targets = []",
                "--targets is empty, but it has to be all-linear or names of layers",
            ),
            (
                "rank-pattern = ['q_proj=1.5']",
                "--rank-pattern is q_proj=1.5, but it has to be a whole number of at least 1",
            ),
            (
                "init = 'loftq'",
                "--init is loftq, but it has to be another start, or loftq with --method qlora",
            ),
            (
                "feed-forward = ['x']",
                "--feed-forward is given, but it has to be left out without --ia3",
            ),
            (
                "ia3 = true\nrank = 4",
                "--ia3 and --rank cannot both be given",
            ),
            (
                "valid = 'x'\nvalid-share = 0.1",
                "--valid and --valid-share cannot both be given",
            ),
        ] {
            assert_eq!(with(flags).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn the_help_tells_the_defaults_that_are_used() {
        let command = RawTrain::augment_args(Command::new("train"));
        let help = |name: &str| {
            let arg = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(name));
            arg.unwrap().get_help().unwrap().to_string()
        };
        assert_eq!(help("rank"), "Rank of the adapter [default: 16]");
        for (name, default) in [
            ("alpha", "32"),
            ("epochs", "1"),
            ("targets", "all-linear"),
            ("lr", "by the base's width"),
        ] {
            assert!(
                help(name).ends_with(&format!(" [default: {default}]")),
                "{name}"
            );
        }
        // What depends on other options or on the machine is told in words.
        for name in ["exclude", "threads", "memory", "save-every", "model"] {
            assert!(!help(name).contains("default:"), "{name}");
        }
    }

    #[test]
    fn the_command_that_lists_rows_reads_them_as_the_run_does() {
        let settings =
            with("rule = ['leak=drop', 'personal-data=redact']\nmax-length = 60\nseed = 3")
                .unwrap();
        assert_eq!(
            settings.check_command(),
            "hone data check a.jsonl --rule leak=drop --rule personal-data=redact --model base --max-length 60 --json"
        );
    }

    #[test]
    fn the_models_context_bounds_the_default_and_refuses_a_wish() {
        let settings = with("").unwrap().within_context(512).unwrap();
        assert_eq!(settings.max_length, Chosen::new(512, Origin::Model));
        let refused = with("max-length = 600")
            .unwrap()
            .within_context(512)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "--max-length is 600, and `base` was made for 512 tokens"
        );
    }
}
