//! Arguments of `hone eval`.

use super::scorer::ScorerLimits;
use crate::cli::generate::at_least_one;
use crate::cli::model::ModelArgs;
use crate::data_flags::{DataFlags, KeyArgs};
use crate::plan::Size;
use crate::sifted::SieveArgs;
use clap::ValueEnum;
use hone_data::Side;
use hone_eval::scored::BY_REFERENCE;
use hone_eval::task::slices::SliceBy;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `hone eval`.
#[derive(Debug, clap::Args)]
pub struct Eval {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Files or folders of rows; of a folder with sides, its test side. A row's last assistant turn is the reference
    #[arg(long, value_name = "F", required_unless_present = "tasks", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Task to judge by: a .toml file, or a .yaml file of lm-evaluation-harness that needs no Python and names files of this
    /// machine; may be given more than once. docs/tasks.md says how one is written
    #[arg(long = "task", value_name = "FILE")]
    pub tasks: Vec<PathBuf>,
    /// Put the prompts of tasks through the model's chat template, examples as turns of their own
    #[arg(long)]
    pub apply_chat_template: bool,
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub flags: DataFlags,
    /// Side of a folder or dataset directory to judge by: train, valid or test [default: test]
    #[arg(long, value_name = "SIDE")]
    pub split: Option<Side>,
    /// Judge by this many rows, and by as many questions of each task, chosen by seed; all if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: Option<u64>,
    /// Seed of the choice of rows
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub sieve: SieveArgs,
    /// Longest answer in tokens; a longer one is cut there and judged as it is
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub max_tokens: usize,
    /// What counts as an exact match: strict ignores white space at the ends, squad also case, punctuation and articles
    #[arg(long = "match", value_name = "RULE", default_value = "strict")]
    pub rule: Match,
    /// Answers written at the same time; more need more memory
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub slots: u16,
    /// Further metrics by which answers are scored against their references; may be given more than once. docs/metrics.md
    /// says whose definitions they follow
    #[arg(long = "metric", value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(BY_REFERENCE))]
    pub metrics: Vec<String>,
    /// Scores of parts of the rows as well: by task, source, length or language, or by a key of a task's rows; may be given
    /// more than once
    #[arg(long, value_name = "WHAT")]
    pub by: Vec<SliceBy>,
    /// Command that scores each answer to the rows of --data, without a shell: it is given a JSON object on its standard input
    /// (task, source, prompt, reference, answer) and says a number, or ends with 0 (right) or 1 (wrong); docs/tasks.md
    #[arg(long, value_name = "COMMAND")]
    pub scorer: Option<String>,
    /// How long a scorer may take for one answer
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub scorer_seconds: u64,
    /// How much address space a scorer may have, such as 500MB; on Linux
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub scorer_memory: Size,
    /// Ask again, and do not take answers that an earlier evaluation of the same rows has left in HONE_HOME
    #[arg(long)]
    pub fresh: bool,
    /// Directory for the report, which must not exist: answers.jsonl has each row's prompt, reference, answers and scores,
    /// report.json every number
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// End with one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Match {
    Strict,
    Squad,
}

impl Eval {
    /// What a scorer may use up for one answer.
    pub fn scorer_limits(&self) -> ScorerLimits {
        ScorerLimits {
            time: Duration::from_secs(self.scorer_seconds),
            memory_bytes: self.scorer_memory.bytes,
        }
    }
}
