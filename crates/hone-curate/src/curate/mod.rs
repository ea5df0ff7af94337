//! A recipe followed: from files to rows that are kept, each on its side, and findings for all that is not.
//!
//! Read downwards: rows are read and examined one by one and written down; then what needs all rows at once
//! (twins, sides, leaks, choice, mixture) works on a few numbers of each row and looks a row up again only
//! where it must. So a million rows need little memory, and each step sees what the step before has left.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_data::{FileReport, Inputs, Kind, ReadError, Reason, Record, Refused};
use hone_ledger::words::path_for_shell;
use hone_ledger::{ContentId, WriteError};

use crate::dataset::DatasetError;
use crate::duplicates::near::{self, NearOptions};
use crate::duplicates::semantic::EmbeddingsError;
use crate::mix::{MixError, Portion};
use crate::recipe::{Curation, RecipeError, Ruled};
use crate::redact::{KeyError, Pseudonyms};
use crate::tally::Tally;
use crate::{Action, BadParam, Finding, Params, Replaced, RowCount, RowsError, Spool};

mod gather;
pub(crate) mod kept;
mod losses;
mod noted;
mod table;

pub use kept::Kept;
pub use losses::{Loss, LostRows};
use noted::Noted;
use table::Table;

/// Tokens of a row where a model counts them, or why nothing trains on it.
pub type UsableRow<'a> = dyn Fn(&Record) -> Result<Option<usize>, Reason> + Sync + 'a;

/// The worth of each of some rows, or why it cannot be told.
pub type Judge<'a> = dyn Fn(&[Record]) -> Result<Vec<f64>, String> + Sync + 'a;

/// What the product lends to curation: a tokenizer, a model's opinion, and somebody to tell.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Tokens of a row as the target model reads it, or why nothing trains on it.
    pub usable: &'a UsableRow<'a>,
    /// Are rows that nothing trains on skipped, before any side is drawn from them? Else they are kept, and counted.
    pub skips_unusable: bool,
    /// Tokens of a text.
    pub text_tokens: &'a (dyn Fn(&str) -> usize + Sync),
    /// How much a reply's own model learns from it (IFD), for each of some rows.
    pub worth: Option<&'a Judge<'a>>,
    /// Hears how far a stage is: its name, units done, units in all.
    pub watch: &'a (dyn Fn(&str, u64, u64) + Sync),
}

/// What became of all rows.
pub struct Curated {
    /// Every row that the rules about single rows have left, as it is now.
    pub spool: Spool,
    /// Those that stay, in the order in which they were read.
    pub kept: Vec<Kept>,
    /// Findings, counted.
    pub tally: Tally,
    /// The files read.
    pub files: Vec<FileReport>,
    /// Which side each file is, and what was passed over.
    pub inputs: Inputs,
    /// Files of evaluation rows that leaks were looked for from.
    pub benchmarks: Vec<FileReport>,
    /// Rows read, usable or not.
    pub rows_in: usize,
    /// The same rows, by whether something trains on them and why not.
    pub count: RowCount,
    /// Rows whose text was changed.
    pub rows_changed: usize,
    /// Rows read of each collection.
    pub origins: BTreeMap<String, usize>,
    /// Rows in whose language no names of persons are looked for, by its code.
    pub unnamed: BTreeMap<&'static str, usize>,
    /// What the rules have left of each collection and each class.
    pub losses: Vec<Loss>,
    /// What was replaced and must stand nowhere.
    pub replaced: Replaced,
    /// The collection of each row of the spool.
    pub origin_of: Vec<Arc<str>>,
    /// Groups of near-duplicates, the largest first: rows, and the one kept.
    pub clusters: Vec<(usize, usize)>,
    /// The mixture, where one was asked for.
    pub portions: Vec<Portion>,
}

impl Curated {
    /// What is said of rows in whose language no names of persons are looked for; `None` where there are none.
    pub fn names_not_looked_for(&self) -> Option<String> {
        let rows = |(language, &rows): (&&str, &usize)| match rows {
            1 => format!("{language} (1 row)"),
            rows => format!("{language} ({rows} rows)"),
        };
        let languages: Vec<String> = self.unnamed.iter().map(rows).collect();
        let said = || format!("names are not looked for in {}", languages.join(", "));
        (!languages.is_empty()).then(said)
    }

    /// Rows that stay and that nothing trains on yet, by kind.
    pub fn untrained(&self) -> BTreeMap<Kind, usize> {
        let mut untrained = BTreeMap::new();
        for kept in self.kept.iter().filter(|kept| !kept.kind.is_trained_on()) {
            *untrained.entry(kept.kind).or_default() += 1;
        }
        untrained
    }
}

/// Why curation stopped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum CurateError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error("the rows have no room while they are examined: {0}")]
    Room(#[source] WriteError),
    #[error("{0}")]
    Told(#[source] io::Error),
    #[error("{}: {refused} of {rows} rows are unusable, which is more than max-bad-rows allows ({allowed}); the first is {first}", file.display())]
    TooManyBadRows {
        file: PathBuf,
        refused: usize,
        rows: usize,
        allowed: f64,
        first: Box<Refused>,
    },
    #[error("the model cannot judge the rows: {what}")]
    Worth { what: String },
    #[error("selection by quality needs a model that judges; the recipe names none")]
    NoJudge,
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Mix(#[from] MixError),
    #[error(transparent)]
    Embeddings(#[from] EmbeddingsError),
    #[error("the recipe asks to {what}, and the rule `{rule}` that does it is off")]
    Contradiction {
        what: &'static str,
        rule: &'static str,
    },
    #[error("{place}: {source}")]
    At { place: String, source: Box<Self> },
}

impl CurateError {
    /// The same, with the line of a key of the recipe, if it has one.
    fn at(self, curation: &Curation, key: &[&str]) -> Self {
        match curation.text.place(key) {
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
            Self::Read(error) => error.hints(),
            Self::Recipe(error) => error.hints(),
            Self::Key(error) => error.hints(),
            Self::TooManyBadRows { file, .. } => vec![
                "columns of other names are read with --column FIELD=COLUMN, or `columns` in its [[sources]]"
                    .into(),
                "--rule unusable-row=drop, or max-bad-rows = 1.0 in a recipe, leaves all of them out".into(),
                format!("to see all of them: hone data check {}", path_for_shell(file)),
            ],
            Self::At { source, .. } => source.hints(),
            Self::Mix(error) => error.hints(),
            Self::Contradiction { rule, .. } => vec![format!(
                "take `{rule} = \"off\"` out of [rules], or the section that asks for it out of the recipe"
            )],
            Self::Worth { .. } => vec!["have another model judge: --model NAME".into()],
            Self::NoJudge => vec!["--model smollm2-135m-instruct, or model = \"…\" in the recipe".into()],
            _ => Vec::new(),
        }
    }
}

/// Follows a recipe. Rows are written down in a nameless file in `room`; each finding goes to `sink`.
pub fn curate(
    curation: &Curation,
    tools: Tools<'_>,
    room: &Path,
    sink: &mut dyn FnMut(&Finding) -> io::Result<()>,
) -> Result<Curated, CurateError> {
    let mut pseudonyms = pseudonyms(curation)?;
    if let Some(pseudonyms) = &mut pseudonyms {
        gather::meet_numbers(curation, pseudonyms)?;
    }
    let mut noted = Noted::new(sink, room);
    let mut table = Table::gather(curation, tools, pseudonyms.as_ref(), &mut noted)?;
    if let Some(pseudonyms) = &pseudonyms {
        pseudonyms.save()?;
    }
    table.replace_elsewhere(&mut noted)?;
    table.leave_out_twins(curation, tools, &mut noted)?;
    table.leave_out_leaks(curation, tools, &mut noted)?;
    table.take_sides(curation, tools)?;
    let losses = table.losses(curation);
    table.choose(curation, tools, &mut noted)?;
    table.weigh(curation, &mut noted)?;
    table.keep_sides_apart(curation, &mut noted)?;
    let tally = noted.settle(|row| table.copies[row] > 0)?;
    Ok(table.finish(tally, losses))
}

/// Made-up names, if a rule asks for them.
fn pseudonyms(curation: &Curation) -> Result<Option<Pseudonyms>, CurateError> {
    let wanted = curation
        .rules
        .iter()
        .any(|ruled| ruled.action == Action::Pseudonymise);
    let (true, Some(path)) = (wanted, &curation.pseudonym_key) else {
        return Ok(None);
    };
    Ok(Some(Pseudonyms::open(path, fresh_key)?))
}

/// A key that nobody can guess; the seed of the recipe would be known to all who read it.
fn fresh_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(ContentId::of(&bytes).to_string())
}

/// How near-duplicates are looked for, whether or not they are.
pub(crate) fn near_options(curation: &Curation) -> Result<NearOptions, CurateError> {
    let rule = curation
        .rules
        .iter()
        .find(|ruled| ruled.doc.name == near::DOC.name);
    rule.map_or(Ok(NearOptions::default()), |rule| {
        NearOptions::take(&mut params_of(rule)).map_err(|source| wrong(rule, source))
    })
}

fn params_of(rule: &Ruled) -> Params {
    Params::new(rule.params.clone())
}

fn wrong(rule: &Ruled, source: BadParam) -> CurateError {
    RecipeError::Params {
        name: rule.doc.name.to_owned(),
        source,
    }
    .into()
}
