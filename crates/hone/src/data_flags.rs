//! Flags of every command that reads rows: which column is which field, and which file of a folder is which side.

use crate::refusal::Refusal;
use crate::screen::Talk;
use anyhow::Result;
use hone_curate::dataset::{DatasetDir, is_dataset};
use hone_data::{Choices, Input, Inputs, Nulls, ReadError, ReadOptions, Side};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Flags about the keys of rows, of every verb that reads them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KeyArgs {
    /// Key of a row that is passed over whatever it holds; turn.KEY for keys of turns
    #[arg(long = "ignore-key", value_name = "KEY")]
    pub ignore_keys: Vec<String>,
    /// What null properties of tool calls and tools are: keep or drop; rows of JSON that have one are refused without it
    #[arg(long, value_name = "WHAT", value_parser = nulls)]
    pub nulls: Option<Nulls>,
}

impl KeyArgs {
    /// How files are read under these flags.
    pub fn options(&self) -> ReadOptions<'static> {
        ReadOptions {
            ignored_keys: self.ignore_keys.iter().cloned().collect(),
            nulls: self.nulls,
            ..ReadOptions::default()
        }
    }
}

/// `keep` or `drop`.
pub fn nulls(text: &str) -> Result<Nulls, String> {
    match text {
        "keep" => Ok(Nulls::Keep),
        "drop" => Ok(Nulls::Drop),
        _ => Err("it is keep (null is meant) or drop (null is padding)".into()),
    }
}

/// Flags about files of rows.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DataFlags {
    /// A field that stands in a column of another name, such as prompt=question; may be given more than once
    #[arg(long = "column", value_name = "FIELD=COLUMN")]
    pub columns: Vec<ColumnFlag>,
    /// Which side a file or a split of a folder is: train, valid, test or skip, such as forget=train
    #[arg(long = "side", value_name = "NAME=SIDE")]
    pub sides: Vec<SideFlag>,
    /// Configuration of a folder's README.md, or dataset of its dataset_info.json
    #[arg(long = "config", value_name = "NAME")]
    pub configs: Vec<String>,
}

impl DataFlags {
    /// What the flags say about folders that leave sides open.
    pub fn choices(&self) -> Choices {
        choices(&self.sides, &self.configs)
    }

    /// How files are read.
    pub fn options(&self, keys: &KeyArgs) -> ReadOptions<'static> {
        ReadOptions {
            columns: columns(&self.columns),
            ..keys.options()
        }
    }
}

/// What flags say about folders that leave sides open.
pub fn choices(sides: &[SideFlag], configs: &[String]) -> Choices {
    Choices {
        configs: configs.to_vec(),
        sides: sides
            .iter()
            .map(|flag| (flag.name.clone(), flag.side))
            .collect(),
        ..Choices::default()
    }
}

/// Fields and their columns.
pub fn columns(flags: &[ColumnFlag]) -> BTreeMap<String, String> {
    flags
        .iter()
        .map(|flag| (flag.field.clone(), flag.column.clone()))
        .collect()
}

/// The files of one side alone, where any side is known: the side asked for, or the one that is meant by default.
pub fn only(
    inputs: &mut Inputs,
    asked: Option<Side>,
    default: Side,
    named: &str,
) -> Result<Option<Side>, ReadError> {
    if inputs.files.iter().all(|input| input.side.is_none()) && asked.is_none() {
        *inputs = std::mem::take(inputs).decided()?;
        return Ok(None);
    }
    let side = asked.unwrap_or(default);
    let whole = inputs.doubts.iter().filter(|doubt| !doubt.is_of_one_file);
    let mut doubts: Vec<_> = whole.cloned().collect();
    if !inputs.has(side) {
        let there = Side::ALL.into_iter().filter(|side| inputs.has(*side));
        let hint = other_sides(&there.collect::<Vec<_>>(), default);
        doubts.insert(
            0,
            hone_data::Doubt {
                what: format!("{named} has no rows of the {} side", side.name()),
                hint,
                is_of_one_file: false,
            },
        );
    }
    inputs.doubts = doubts;
    *inputs = std::mem::take(inputs).decided()?;
    inputs.files.retain(|input| input.side == Some(side));
    Ok(Some(side))
}

/// What to type where a side has no rows. Whoever judges a model does not want the rows that it was trained on.
fn other_sides(there: &[Side], default: Side) -> String {
    let is_fit = |side: &&Side| default != Side::Test || **side != Side::Train;
    let fit: Vec<&str> = there
        .iter()
        .filter(is_fit)
        .map(|side| side.name())
        .collect();
    match (&fit[..], there) {
        ([], []) => "leave out --split: nothing tells of sides here".to_owned(),
        ([], _) => {
            "there are only rows to train on: name a file of other rows, or hold some out, as `hone data build --test-share 0.1` does"
                .to_owned()
        }
        (fit, _) => format!("--split {}", fit.join(" or --split ")),
    }
}

/// The files of some names for a command that reads one side: of folders and dataset directories that have sides, the
/// one asked for or the one that the command means; files named one by one as they are. Says which side was taken.
pub fn chosen_inputs(
    names: &[PathBuf],
    flags: &DataFlags,
    asked: Option<Side>,
    default: Side,
    talk: Talk,
) -> Result<Inputs> {
    let (datasets, files): (Vec<&PathBuf>, Vec<&PathBuf>) =
        names.iter().partition(|path| is_dataset(path));
    let mut taken = Inputs::default();
    if !files.is_empty() {
        let choices = Choices {
            as_named: asked.is_none(),
            ..flags.choices()
        };
        let mut inputs = Inputs::find_as(&files, &choices)?;
        if asked.is_none() {
            // A file that is named beside a folder is read, whatever side the folder gives.
            let is_named = |input: &Input| input.side.is_none() && files.contains(&&input.file);
            let (named, others) = inputs.files.drain(..).partition(is_named);
            (taken.files, inputs.files) = (named, others);
        }
        if !inputs.files.is_empty() || !inputs.doubts.is_empty() {
            let named: Vec<String> = files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            if let Some(side) = only(&mut inputs, asked, default, &named.join(", "))? {
                say_side(side, asked, &inputs, talk);
            }
        }
        taken.join(inputs);
    }
    for path in datasets {
        let side = asked.unwrap_or(default);
        let dataset = DatasetDir::open(path)?;
        let Some(rows) = dataset.rows_of(side) else {
            let there = Side::ALL
                .into_iter()
                .filter(|side| dataset.rows_of(*side).is_some());
            let hint = other_sides(&there.collect::<Vec<_>>(), default);
            return Err(Refusal::usage(format!(
                "the dataset {} has no rows of the {} side",
                path.display(),
                side.name()
            ))
            .hint(hint)
            .into());
        };
        let mut rows = Inputs::find(&[rows])?;
        rows.files.iter_mut().for_each(|input| input.is_own = true);
        say_side(side, asked, &rows, talk);
        taken.join(rows);
    }
    Ok(taken)
}

fn say_side(side: Side, asked: Option<Side>, inputs: &Inputs, talk: Talk) {
    let files = inputs.files.iter().map(|input| input.name());
    let files: Vec<String> = files.collect();
    let other = match asked {
        Some(_) => "",
        None => "; --split takes another side",
    };
    talk.say(format!("{} side: {}{other}", side.name(), files.join(", ")));
}

/// `FIELD=COLUMN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ColumnFlag {
    /// A field of ours.
    pub field: String,
    /// The column of the file.
    pub column: String,
}

impl std::str::FromStr for ColumnFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, column) = text
            .split_once('=')
            .map(|(field, column)| (field.trim(), column.trim()))
            .filter(|(field, column)| !field.is_empty() && !column.is_empty())
            .ok_or_else(|| format!("`{text}` is not FIELD=COLUMN, such as prompt=question"))?;
        let known: Vec<&str> = hone_data::fields().collect();
        if !known.contains(&field) {
            let near = crate::nearest::nearest(field, known.iter().copied());
            let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!(
                "no row has a field `{field}`{near}; fields are {}",
                known.join(", ")
            ));
        }
        Ok(Self {
            field: field.into(),
            column: column.into(),
        })
    }
}

/// `NAME=SIDE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SideFlag {
    /// The name of a file, a split or a folder.
    pub name: String,
    /// Its side; `None` if it is not to be read.
    pub side: Option<Side>,
}

impl std::str::FromStr for SideFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, side) = text
            .rsplit_once('=')
            .map(|(name, side)| (name.trim(), side.trim()))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("`{text}` is not NAME=SIDE, such as extra.jsonl=train"))?;
        let side = match side {
            "skip" => None,
            side => Some(
                side.parse::<Side>()
                    .map_err(|what| format!("{what}, or skip"))?,
            ),
        };
        Ok(Self {
            name: name.into(),
            side,
        })
    }
}

impl fmt::Display for ColumnFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.field, self.column)
    }
}

impl fmt::Display for SideFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.side.map_or("skip", Side::name))
    }
}

/// Values that are read as they are written, in a run file as on the command line.
macro_rules! as_text {
    ($($flag:ty),*) => {$(
        impl TryFrom<String> for $flag {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$flag> for String {
            fn from(flag: $flag) -> Self {
                flag.to_string()
            }
        }
    )*};
}
pub(crate) use as_text;
as_text!(ColumnFlag, SideFlag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_flag_names_a_field_that_rows_have() {
        let flag: ColumnFlag = "prompt=My question".parse().unwrap();
        assert_eq!(
            (flag.field.as_str(), flag.column.as_str()),
            ("prompt", "My question")
        );
        let error = "promt=question".parse::<ColumnFlag>().unwrap_err();
        assert!(error.contains("did you mean `prompt`?"), "{error}");
        assert!(
            "prompt"
                .parse::<ColumnFlag>()
                .unwrap_err()
                .contains("FIELD=COLUMN")
        );
    }

    #[test]
    fn a_side_flag_names_a_side_or_leaves_a_file_out() {
        let side = |text: &str| text.parse::<SideFlag>().map(|flag| flag.side);
        assert_eq!(side("extra=validation"), Ok(Some(Side::Valid)));
        assert_eq!(side("a=b.jsonl=skip"), Ok(None));
        assert!(
            side("extra=both")
                .unwrap_err()
                .contains("train, valid and test, or skip")
        );
    }
}
