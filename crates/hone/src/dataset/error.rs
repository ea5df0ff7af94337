//! Why there is nothing to train on, and what to do about it.

use crate::curation::ways_to_decide;
use hone_curate::dataset::FINDINGS;
use hone_curate::recipe::RecipeError;
use hone_curate::{Against, CurateError, Decision, Finding};
use hone_data::ReadError;
use hone_ledger::words::for_shell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why there is nothing to learn from.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The rules.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// What the rules were asked to do could not be done.
    #[error(transparent)]
    Curate(#[from] CurateError),
    /// A dataset directory.
    #[error(transparent)]
    Dir(#[from] hone_curate::dataset::DatasetError),
    /// Something must not be trained on unseen.
    #[error("{} for a decision before training: {}{}", waits(.undecided), told(.undecided), between(.regroup))]
    Undecided {
        /// What to type to split anew what came with sides, where findings are between the sides of the user's split.
        regroup: Option<String>,
        /// How often, by rule.
        undecided: BTreeMap<String, usize>,
        /// The first of them.
        first: Option<String>,
        /// The dataset directory whose recipe has to decide; files are decided about by flags.
        dataset: Option<PathBuf>,
    },
    /// All rows are of kinds that nothing trains on.
    #[error("the rows of {} are {what}: nothing trains on them yet", list(.files))]
    Untrained {
        /// Where from.
        files: Vec<PathBuf>,
        /// What they are.
        what: String,
    },
    /// All files are for something else.
    #[error("{} {} no files to train on: {}", list(.files), if .files.len() == 1 { "has" } else { "have" }, .there)]
    NothingToTrainOn {
        /// What was named.
        files: Vec<PathBuf>,
        /// The files there are, with their sides.
        there: String,
        /// A name that `--side` takes.
        example: String,
    },
    /// Options about the reading of files, and no files.
    #[error("{} can change nothing about {}: what a built dataset holds was decided when it was built", options.join(", "), list(.datasets))]
    Decided {
        /// The options.
        options: Vec<String>,
        /// The dataset directories.
        datasets: Vec<PathBuf>,
    },
    /// No row is left.
    #[error("none of the {num_rows} rows of {} can be trained on", list(.files))]
    NothingLeft {
        /// Rows that were read.
        num_rows: usize,
        /// Where from.
        files: Vec<PathBuf>,
        /// Why the first of them is not used.
        first: Option<String>,
        /// How many tokens a row may have, if some have more, and whether the model takes no more.
        max_length: Option<(usize, bool)>,
        /// How many usable rows are in the validation set.
        num_valid: usize,
        /// What to do about rows that cannot be shown to the model.
        hints: BTreeSet<String>,
    },
}

fn list(files: &[PathBuf]) -> String {
    files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn waits(undecided: &BTreeMap<String, usize>) -> String {
    match undecided.values().sum() {
        1 => "1 finding waits".into(),
        findings => format!("{findings} findings wait"),
    }
}

fn told(undecided: &BTreeMap<String, usize>) -> String {
    let rules: Vec<String> = undecided
        .iter()
        .map(|(rule, count)| format!("{count} of {rule}"))
        .collect();
    rules.join(", ")
}

fn between(regroup: &Option<String>) -> &'static str {
    match regroup {
        Some(_) => ", between the sides of your split",
        None => "",
    }
}

impl DatasetError {
    pub(super) fn undecided(
        undecided: BTreeMap<String, usize>,
        findings: Vec<Finding>,
        dataset: Option<&Path>,
        regroup: impl FnOnce() -> Option<String>,
    ) -> Self {
        let is_between = are_between_sides(&findings);
        let regroup = is_between.then(regroup).flatten();
        let mut findings = findings.into_iter();
        let first = findings.find(|finding| finding.decision == Decision::Undecided);
        Self::Undecided {
            regroup,
            undecided,
            first: first.map(|finding| finding.to_string()),
            dataset: dataset.map(Path::to_path_buf),
        }
    }

    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Read(error) => error.hints(),
            Self::Recipe(error) => error.hints(),
            Self::Curate(error) => error.hints(),
            Self::Dir(_) => Vec::new(),
            Self::Untrained { .. } => vec![
                "`hone data build` keeps them for later; to train on good replies alone, write them as prompt and completion without a label".into(),
            ],
            Self::Undecided {
                regroup,
                undecided,
                first,
                dataset,
            } => {
                let first = first.iter().map(|first| format!("the first one: {first}"));
                let regroup = regroup.iter().map(|typed| {
                    format!("to split train and validation rows anew, with what belongs together on one side: {typed}")
                });
                let decide: Vec<String> = match dataset {
                    Some(dataset) => ways_to_decide(undecided)
                        .into_iter()
                        .map(|ways| format!("build it again into another directory, with `hone data build` and {ways}"))
                        .chain([format!("all are in {}", dataset.join(FINDINGS).display())])
                        .collect(),
                    None => ways_to_decide(undecided)
                        .into_iter()
                        .map(|ways| format!("decide with {ways}"))
                        .collect(),
                };
                first.chain(regroup).chain(decide).collect()
            }
            Self::Decided { options, .. } => vec![format!(
                "give {} to `hone data build`, and build it again into another directory",
                options.join(", ")
            )],
            Self::NothingToTrainOn { example, .. } => {
                vec![format!("--side {} trains on it all the same", for_shell(&format!("{example}=train")))]
            }
            Self::NothingLeft {
                first,
                max_length,
                num_valid,
                hints,
                ..
            } => {
                let first = first
                    .iter()
                    .map(|reason| format!("the first one: {reason}"));
                let longer = max_length.map(|(tokens, is_all)| match is_all {
                    true => format!(
                        "the model was made for {tokens} tokens, and no row may have more: --too-long truncate cuts longer ones"
                    ),
                    false => format!("rows may have {tokens} tokens: --max-length takes longer ones, --too-long truncate cuts them"),
                });
                let held_out = (*num_valid > 0).then(|| {
                    format!("{num_valid} usable rows are all in the validation set: --valid-share 0 trains on them")
                });
                first.chain(hints.iter().cloned()).chain(longer).chain(held_out).collect()
            }
        }
    }
}

/// Are there findings between rows to train on and rows to validate by that wait for a decision?
fn are_between_sides(findings: &[Finding]) -> bool {
    let is_between = |finding: &Finding| {
        let of_split = matches!(finding.against, Some(Against::Split | Against::Validation));
        of_split && finding.decision == Decision::Undecided
    };
    findings.iter().any(is_between)
}
