//! Which side of a dataset each file of a folder is: train, validation or test.
//!
//! People keep datasets as the Hub does, as mlx-lm, as LLaMA-Factory, or as `save_to_disk` writes them; a file of test
//! rows among them must not be trained on because it lies in the same folder. Who tells is tried in this order: the
//! card (`README.md`), LLaMA-Factory's `dataset_info.json`, the names of files and folders; what `save_to_disk` wrote
//! says itself which files are its rows. Where nothing tells, nothing is guessed: files beside known sides whose own
//! side nobody knows are a [`Doubt`], and the user's `--side` and `--config` answer it.

use hone_ledger::words::for_shell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document;
use super::format::stem_of;
use super::{FileReport, Format};
use crate::Side;
use words::{Said, is_a_side, said};

mod card;
mod factory;
pub(super) mod words;

/// A file to be read, and what is known of it before it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file.
    pub file: PathBuf,
    /// The side its rows stand on; `None` if nothing tells of sides.
    pub side: Option<Side>,
    /// Who tells.
    pub told: Told,
    /// Fields that have another name in this file.
    pub columns: BTreeMap<String, String>,
    /// Keys that an index beside it leaves unread.
    pub unread: BTreeSet<String>,
    /// Which of the lists of a JSON document, where several are sides of a dataset.
    pub list: Option<String>,
    /// The licence that the card of its dataset declares.
    pub licence: Option<String>,
    /// Did Hone write it? Every null in it is meant, and its rows were examined already.
    pub is_own: bool,
}

impl Input {
    /// A file of which nothing else is known.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            side: None,
            told: Told::Nobody,
            columns: BTreeMap::new(),
            unread: BTreeSet::new(),
            list: None,
            licence: None,
            is_own: false,
        }
    }

    /// The file, and which of its lists, as people read it.
    pub fn name(&self) -> String {
        named(&self.file, self.list.as_deref())
    }

    /// Are its rows the ones that a report speaks of?
    pub fn is_of(&self, report: &FileReport) -> bool {
        *self.file == *report.file && self.list == report.list
    }

    /// The lists of a document that are sides, each by itself; else the input as it is.
    pub(super) fn split(self, choices: &Choices, found: &mut Found) -> Vec<Self> {
        let lists = document::sides_in(&self.file);
        let is_chosen = |list: &&String| choices.sides.contains_key(*list);
        found.met.extend(lists.iter().filter(is_chosen).cloned());
        found.known.extend(lists.iter().cloned());
        let side = |list: &String| match said(list) {
            Said::Side(side) => Some(side),
            Said::Eval => {
                let has_test = lists
                    .iter()
                    .any(|list| said(list) == Said::Side(Side::Test));
                Some(if has_test { Side::Valid } else { Side::Test })
            }
            Said::Nothing | Said::Unclear => None,
        };
        if let [list] = &lists[..] {
            return vec![self.of_its_only(list, side(list), choices)];
        }
        let is_open = |list: &String| {
            let is_said = self.told == Told::User || choices.sides.contains_key(list);
            !is_said && side(list).is_none()
        };
        if lists.is_empty() || lists.iter().any(is_open) {
            return vec![self];
        }
        let mut inputs = Vec::new();
        for list in &lists {
            let (side, told) = match (choices.sides.get(list), self.told) {
                (Some(chosen), _) => (*chosen, Told::User),
                (None, Told::User) => (self.side, Told::User),
                (None, _) => (side(list), Told::List),
            };
            inputs.push(Self {
                side,
                told,
                list: Some(list.clone()),
                ..self.clone()
            });
        }
        inputs
    }

    /// The input with the only list of its document, whose name says the side where nothing nearer does.
    fn of_its_only(self, list: &String, says: Option<Side>, choices: &Choices) -> Self {
        let chosen = choices.sides.get(list);
        let is_alike = |of_file: Said| of_file == Said::Nothing || of_file == said(list);
        let (side, told) = match (chosen, self.told, says) {
            (Some(chosen), ..) => (*chosen, Told::User),
            (None, Told::User, _) => (self.side, Told::User),
            (None, Told::Nobody, _) if choices.as_named => (self.side, self.told),
            // Where the file's name says another side, nobody knows which of the two is meant.
            (None, Told::Nobody, Some(_)) if is_alike(said(&stem_of(&self.file))) => {
                (says, Told::List)
            }
            _ => return self,
        };
        Self {
            side,
            told,
            list: Some(list.clone()),
            ..self
        }
    }
}

/// A file, and which of its lists, as people read it.
pub(super) fn named(file: &Path, list: Option<&str>) -> String {
    match list {
        Some(list) => format!("{} ({list})", file.display()),
        None => file.display().to_string(),
    }
}

/// Who tells on which side a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nobody.
    #[default]
    Nobody,
    /// Its name, or its folder's.
    Name,
    /// The card of the dataset, `README.md`.
    Card,
    /// `state.json` of `save_to_disk`.
    State,
    /// LLaMA-Factory's `dataset_info.json`.
    Factory,
    /// The name of its list, in a document of several.
    List,
    /// The user.
    User,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nothing tells its side",
            Self::Name => "by its name",
            Self::Card => "README.md",
            Self::State => "state.json",
            Self::Factory => "dataset_info.json",
            Self::List => "by the name of its list",
            Self::User => "--side",
        })
    }
}

/// A file that is not read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

/// Something about a folder that only the user can decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// What is not clear, in a sentence.
    pub what: String,
    /// What to type.
    pub hint: String,
    /// Is it about one file's side, so that files whose side is known are not touched by it?
    pub is_of_one_file: bool,
}

/// What the user says about folders that leave it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Names of configurations of a card, or of datasets of LLaMA-Factory's `dataset_info.json`.
    pub configs: Vec<String>,
    /// The side of files, by their name, split or folder; `None` for files not to be read.
    pub sides: BTreeMap<String, Option<Side>>,
    /// Files named one by one are what the user takes them for, whatever their names say.
    pub as_named: bool,
    /// Files that are used otherwise and not among these.
    pub without: Vec<PathBuf>,
}

/// What became of a folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub files: Vec<Input>,
    pub passed_over: Vec<PassedOver>,
    pub doubts: Vec<Doubt>,
    /// Which of the user's `sides` and `configs` met something.
    pub met: Vec<String>,
    /// Names that `--side` could have meant.
    pub known: Vec<String>,
    /// What each of the user's `sides` decided about.
    pub meant: Vec<Meant>,
}

/// A file whose side the user says.
#[derive(Debug)]
pub(super) struct Meant {
    /// The name by which it was met.
    pub name: String,
    pub file: PathBuf,
    /// A name that meets it and nothing of another side.
    pub own_name: String,
    /// The side it would have stood on.
    pub own: Option<Side>,
}

/// A file on its way to a side.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub file: PathBuf,
    /// Its path within what was named.
    pub within: PathBuf,
    /// The split that something beside it says it belongs to.
    pub split: Option<(String, Told)>,
    pub columns: BTreeMap<String, String>,
    /// Keys that its index leaves unread.
    pub unread: BTreeSet<String>,
    /// Why its rows cannot be had, and what brings them.
    pub lacking: Option<(String, &'static str)>,
}

impl Candidate {
    fn new(file: PathBuf, root: &Path) -> Self {
        let within = file.strip_prefix(root).unwrap_or(&file).to_path_buf();
        Self {
            file,
            within,
            split: None,
            columns: BTreeMap::new(),
            unread: BTreeSet::new(),
            lacking: None,
        }
    }

    /// A file that something names and that is not there.
    fn absent(path: &Path, root: &Path, who: &str) -> Self {
        let why = format!("{who} names it, and it is not here");
        Self {
            lacking: Some((why, "fetch it")),
            ..Self::new(root.join(path), root)
        }
    }

    /// Names by which the user may mean it, that of the fewest files first.
    fn names(&self) -> Vec<String> {
        let split = self.split.iter().map(|(split, _)| split.clone());
        let file = self.within.file_name().unwrap_or_default();
        let file = file.to_string_lossy().into_owned();
        let folders = self.within.ancestors().skip(1);
        let folders = folders
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(|folder| folder.display().to_string());
        [
            self.file.display().to_string(),
            self.within.display().to_string(),
            file,
        ]
        .into_iter()
        .chain(split)
        .chain([stem_of(&self.file)])
        .chain(folders)
        .collect()
    }

    /// The shortest name that meets this file, and others only if the same is to be said of them.
    fn own_name(&self, says: &Says, all: &[(Candidate, Says)]) -> String {
        let path = self.within.display().to_string();
        let split = self.split.iter().map(|(split, _)| split.clone());
        let file = self.within.file_name().unwrap_or_default();
        let folder = self
            .within
            .parent()
            .map(|folder| folder.display().to_string());
        // The name of a folder says no side where its files say nothing.
        let folder = folder.filter(|folder| !folder.is_empty() && *says == Ok(None));
        let means_the_same = |name: &String| {
            all.iter().all(|(other, of_other)| {
                !other.names().contains(name)
                    || other.within == self.within
                    || (of_other == says
                        && other.lacking == self.lacking
                        && other.within.parent() == self.within.parent())
            })
        };
        split
            .chain([stem_of(&self.file), file.to_string_lossy().into_owned()])
            .chain(folder)
            .find(means_the_same)
            .unwrap_or(path)
    }
}

/// What is known of a file's side, or why nothing is.
type Says = Result<Option<Side>, String>;

/// The files of a folder.
pub(super) fn folder(root: &Path, choices: &Choices) -> io::Result<Found> {
    let mut found = Found::default();
    let mut all = Vec::new();
    walk(root, root, &mut all, &mut found.passed_over)?;
    all.sort_unstable_by(|a, b| a.file.cmp(&b.file));
    found.leave_out(&mut all, |candidate| used_otherwise(candidate, choices));
    let head = card::head(root);
    let card = head.as_deref().and_then(card::read);
    found.leave_out(&mut all, |candidate| {
        let is_card = card.is_some() && candidate.within == Path::new(card::FILE);
        describes(&candidate.file).or_else(|| is_card.then(|| DESCRIBES.to_owned()))
    });
    let by_card = card.and_then(|card| card.sort(root, &all, choices, &mut found));
    let sorted = match by_card {
        Some(sorted) => Some(sorted),
        None => factory::read(root).map(|infos| infos.sort(root, &all, choices, &mut found)),
    };
    let declared = sorted.is_some();
    let mut candidates = sorted.unwrap_or(all);
    let has_rows = candidates.iter().any(|candidate| has_rows(&candidate.file));
    found.leave_out(&mut candidates, |candidate| {
        match Format::named(&candidate.file) {
            // What a card or an index names is read whatever its name ends in.
            _ if declared => None,
            Some(format) if format.has_rows() == has_rows => None,
            Some(_) => Some("a document beside rows".to_owned()),
            None => Some("no kind of file that is read".to_owned()),
        }
    });
    found.give_sides(candidates, choices);
    let licence = head.as_deref().and_then(card::licence);
    found
        .files
        .iter_mut()
        .for_each(|input| input.licence.clone_from(&licence));
    Ok(found)
}

fn used_otherwise(candidate: &Candidate, choices: &Choices) -> Option<String> {
    let same = |file: &PathBuf| is_same(file, &candidate.file);
    let is_used = choices.without.iter().any(same);
    is_used.then(|| "named by itself for a side".to_owned())
}

/// Files that were found in another way than as a folder, by a pattern or one by one.
pub(super) fn files(root: &Path, files: Vec<PathBuf>, are_named: bool, choices: &Choices) -> Found {
    let mut found = Found::default();
    let candidate = |file: PathBuf| Candidate::new(file, root);
    let mut candidates: Vec<Candidate> = files.into_iter().map(candidate).collect();
    if !are_named {
        found.leave_out(&mut candidates, |candidate| {
            used_otherwise(candidate, choices)
        });
        found.leave_out(&mut candidates, |candidate| describes(&candidate.file));
    }
    let sides = says(&candidates);
    // Whoever names one file, or files of one side only, has said which side it is to be.
    let is_said =
        sides.windows(2).all(|pair| pair[0] == pair[1]) || (are_named && choices.as_named);
    if is_said {
        let chosen = found.chosen(&with_sides(&candidates, &sides), choices);
        for (candidate, chosen) in candidates.into_iter().zip(chosen) {
            found.take(candidate, chosen.unwrap_or((None, Told::Nobody)));
        }
        return found;
    }
    match are_named {
        true => {
            let chosen = found.chosen(&with_sides(&candidates, &sides), choices);
            for ((candidate, side), chosen) in candidates.into_iter().zip(sides).zip(chosen) {
                let by_name = match side {
                    Ok(side) => (side, Told::Name),
                    Err(_) => (None, Told::Nobody),
                };
                found.take(candidate, chosen.unwrap_or(by_name));
            }
        }
        false => found.give_sides(candidates, choices),
    }
    found
}

impl Found {
    /// Passes over candidates for a reason.
    fn leave_out(
        &mut self,
        candidates: &mut Vec<Candidate>,
        why: impl Fn(&Candidate) -> Option<String>,
    ) {
        candidates.retain(|candidate| match why(candidate) {
            None => true,
            Some(why) => {
                let file = candidate.file.clone();
                self.passed_over.push(PassedOver { file, why });
                false
            }
        });
    }

    fn take(&mut self, candidate: Candidate, (side, told): (Option<Side>, Told)) {
        let split = candidate.split.as_ref().map(|(split, _)| split.clone());
        let name = split.unwrap_or_else(|| stem_of(&candidate.file));
        self.known.push(name);
        self.files.push(Input {
            side,
            told,
            columns: candidate.columns,
            unread: candidate.unread,
            ..Input::new(candidate.file)
        });
    }

    /// What the user says of each file; `Some(None)` side with `Told::User` means it is not to be read.
    fn chosen(
        &mut self,
        all: &[(Candidate, Says)],
        choices: &Choices,
    ) -> Vec<Option<(Option<Side>, Told)>> {
        let chosen = |(candidate, says): &(Candidate, Says)| {
            let names = candidate.names();
            let met = names
                .iter()
                .filter_map(|name| choices.sides.get_key_value(name));
            self.met.extend(met.clone().map(|(name, _)| name.clone()));
            let (name, side) = met.clone().next()?;
            self.meant.push(Meant {
                name: name.clone(),
                file: candidate.file.clone(),
                own_name: candidate.own_name(says, all),
                own: says.clone().unwrap_or_default(),
            });
            Some((*side, Told::User))
        };
        all.iter().map(chosen).collect()
    }

    /// Gives each file its side, or a doubt.
    fn give_sides(&mut self, candidates: Vec<Candidate>, choices: &Choices) {
        let sides = says(&candidates);
        let all = with_sides(&candidates, &sides);
        let own_names: Vec<String> = all
            .iter()
            .map(|(candidate, says)| candidate.own_name(says, &all))
            .collect();
        let of_sides = sides.iter().position(|side| !matches!(side, Ok(None)));
        let beside = of_sides.map(|known| own_names[known].clone());
        let chosen = self.chosen(&all, choices);
        // A file that is left out says nothing of the sides of the others.
        let any_is_chosen = chosen.iter().flatten().any(|(side, _)| side.is_some());
        let all = all.into_iter().zip(own_names).zip(chosen);
        for (((mut candidate, side), name), chosen) in all {
            let lacking = candidate.lacking.take();
            match (chosen, lacking) {
                (Some((None, _)), _) => {
                    self.passed_over.push(PassedOver {
                        file: candidate.file,
                        why: LEFT_OUT.into(),
                    });
                    continue;
                }
                (_, Some((why, way))) => {
                    let skip = for_shell(&format!("{name}=skip"));
                    self.doubts.push(Doubt {
                        what: format!("{}: {why}", candidate.file.display()),
                        hint: format!("{way}, or go on without it: --side {skip}"),
                        is_of_one_file: false,
                    });
                    continue;
                }
                (Some(chosen), None) => {
                    self.take(candidate, chosen);
                    continue;
                }
                (None, None) => {}
            }
            let why = match side {
                Ok(Some(side)) => {
                    let told = candidate
                        .split
                        .as_ref()
                        .map_or(Told::Name, |(_, told)| *told);
                    self.take(candidate, (Some(side), told));
                    continue;
                }
                Ok(None) if beside.is_none() && !any_is_chosen => {
                    self.take(candidate, (None, Told::Nobody));
                    continue;
                }
                Ok(None) => match &beside {
                    Some(beside) => format!("nothing says which side it is, beside `{beside}`"),
                    None => "nothing says which side it is".to_owned(),
                },
                Err(why) => why,
            };
            let doubt = Doubt {
                what: format!("{}: {why}", candidate.file.display()),
                hint: format!(
                    "--side {}, or =valid, =test, =skip",
                    for_shell(&format!("{name}=train"))
                ),
                is_of_one_file: true,
            };
            if !self.doubts.contains(&doubt) {
                self.doubts.push(doubt);
            }
            self.take(candidate, (None, Told::Nobody));
        }
    }
}

/// Why a file is not read that the user does not want.
pub(super) const LEFT_OUT: &str = "left out by --side";

fn with_sides(candidates: &[Candidate], sides: &[Says]) -> Vec<(Candidate, Says)> {
    candidates
        .iter()
        .cloned()
        .zip(sides.iter().cloned())
        .collect()
}

/// What names and folders, or the splits that were declared, say about each file; `Err` if it is unclear.
fn says(candidates: &[Candidate]) -> Vec<Result<Option<Side>, String>> {
    let documents = candidates
        .iter()
        .all(|candidate| !has_rows(&candidate.file));
    let said: Vec<(Said, Said)> = candidates
        .iter()
        .map(|candidate| say(candidate, documents))
        .collect();
    let some = |wanted: Said| {
        said.iter()
            .any(|(own, folder)| *own == wanted || *folder == wanted)
    };
    // A page about tests is a page; train.txt beside test.txt is a dataset.
    let are_pages = documents && !some(Said::Side(Side::Train));
    let eval = match some(Said::Side(Side::Test)) && !some(Said::Side(Side::Valid)) {
        true => Side::Valid,
        false => Side::Test,
    };
    let side = |(candidate, &(own, folder)): (&Candidate, &(Said, Said))| {
        // A folder whose files say its own side too is one that holds several sides.
        let holds_several = candidates.iter().zip(&said).any(|(other, (own, _))| {
            other.within.parent() == candidate.within.parent() && *own == folder
        });
        match (own, folder) {
            _ if are_pages => Ok(None),
            (Said::Unclear, _) => Err("its name does not say clearly which side it is".to_owned()),
            (Said::Nothing, Said::Unclear) => {
                Err("its folder's name does not say clearly which side it is".to_owned())
            }
            (Said::Side(own), Said::Side(folder)) if own != folder && !holds_several => {
                Err(format!(
                    "its name says {}, its folder says {}",
                    own.name(),
                    folder.name()
                ))
            }
            (Said::Side(side), _) | (Said::Nothing, Said::Side(side)) => Ok(Some(side)),
            (Said::Eval, _) | (Said::Nothing, Said::Eval) => Ok(Some(eval)),
            (Said::Nothing, Said::Nothing) => Ok(None),
        }
    };
    let sides: Vec<_> = candidates.iter().zip(&said).map(side).collect();
    one_split_a_side(candidates, sides)
}

/// Splits of different names that say the same side, as `train_sft` and `train_gen`, are different sets of rows.
fn one_split_a_side(
    candidates: &[Candidate],
    sides: Vec<Result<Option<Side>, String>>,
) -> Vec<Result<Option<Side>, String>> {
    let mut splits: BTreeMap<Side, Vec<&str>> = BTreeMap::new();
    for (candidate, side) in candidates.iter().zip(&sides) {
        if let (Some((split, _)), Ok(Some(side))) = (&candidate.split, side) {
            let of_side = splits.entry(*side).or_default();
            if !of_side.contains(&split.as_str()) {
                of_side.push(split);
            }
        }
    }
    let unclear = |side: Side| {
        let several = splits.get(&side).filter(|splits| splits.len() > 1)?;
        Some(format!(
            "{} are several splits for {}",
            several.join(", "),
            side.name()
        ))
    };
    let declared = candidates.iter().map(|candidate| candidate.split.is_some());
    sides
        .iter()
        .zip(declared)
        .map(|(side, is_declared)| match side {
            Ok(Some(side)) if is_declared => unclear(*side).map_or(Ok(Some(*side)), Err),
            other => other.clone(),
        })
        .collect()
}

/// What a file's own name, or its split, and the nearest folder that says anything say.
fn say(candidate: &Candidate, is_document: bool) -> (Said, Said) {
    if let Some((split, _)) = &candidate.split {
        return (said(split), Said::Nothing);
    }
    let stem = stem_of(&candidate.file);
    let own = match is_document && !is_a_side(&stem) {
        true => Said::Nothing,
        false => said(&stem),
    };
    let folders = candidate.within.parent().into_iter().flat_map(Path::iter);
    let mut folders: Vec<Said> = folders
        .map(|folder| said(&folder.to_string_lossy()))
        .filter(|said| *said != Said::Nothing)
        .collect();
    match is_document {
        true => (own, Said::Nothing),
        false => (own, folders.pop().unwrap_or(Said::Nothing)),
    }
}

/// All files below a folder, without hidden ones and without following links to other folders. Of what `save_to_disk`
/// wrote, those are taken that it lists.
fn walk(
    root: &Path,
    folder: &Path,
    files: &mut Vec<Candidate>,
    passed_over: &mut Vec<PassedOver>,
) -> io::Result<()> {
    let saved = Saved::read(folder);
    // What it lists is part of the dataset, there or not.
    files.extend(saved.iter().flat_map(|saved| saved.files(folder, root)));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(root, &path, files, passed_over)?;
            continue;
        }
        if !path.is_file() {
            continue;
        }
        let candidate = Candidate::new(path, root);
        match &saved {
            None => files.push(candidate),
            Some(saved) if saved.lists(&candidate.file) => {}
            Some(_) => passed_over.push(PassedOver {
                why: describes(&candidate.file)
                    .unwrap_or_else(|| "not among the files that state.json lists".to_owned()),
                file: candidate.file,
            }),
        }
    }
    Ok(())
}

/// What `save_to_disk` wrote beside the rows of one split.
struct Saved {
    names: Vec<String>,
    split: Option<String>,
    /// Which rows it takes of them, if not all.
    picks: Option<&'static str>,
}

const STATE: &str = "state.json";

impl Saved {
    fn read(folder: &Path) -> Option<Self> {
        let state = json_at(&folder.join(STATE))?;
        let files = state.get("_data_files")?.as_array()?;
        let name = |file: &Value| Some(file.get("filename")?.as_str()?.to_owned());
        let holds = |key: &&str| {
            let list = state.get(key).and_then(Value::as_array);
            list.is_some_and(|files| !files.is_empty())
        };
        let split = state.get("_split").and_then(Value::as_str);
        Some(Self {
            names: files.iter().filter_map(name).collect(),
            split: split.map(str::to_owned),
            picks: ["_indices_files", "_indices_data_files"]
                .into_iter()
                .find(holds),
        })
    }

    fn lists(&self, file: &Path) -> bool {
        let name = file.file_name().and_then(|name| name.to_str());
        self.names.iter().any(|listed| name == Some(listed))
    }

    fn files(&self, folder: &Path, root: &Path) -> Vec<Candidate> {
        let file = |name: &String| {
            let path = folder.join(name);
            let mut candidate = match path.is_file() {
                true => Candidate::new(path, root),
                false => Candidate::absent(&path, root, STATE),
            };
            // The split a dataset was taken from says little of a folder of several: its own name does.
            if folder == root {
                candidate.split = self.split.clone().map(|split| (split, Told::State));
            }
            if let (None, Some(key)) = (&candidate.lacking, self.picks) {
                let why =
                    format!("{STATE} takes some of its rows only (`{key}`), and Hone reads all");
                let way = "save it again after `flatten_indices()`";
                candidate.lacking = Some((why, way));
            }
            candidate
        };
        self.names.iter().map(file).collect()
    }
}

const DESCRIBES: &str = "it describes the dataset";

/// What a file beside rows is, if it is known to describe them and not to hold any.
fn describes(file: &Path) -> Option<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let lower = name.to_ascii_lowercase();
    let described = DESCRIBES.to_owned();
    match lower.as_str() {
        "dataset_infos.json" | "dataset_info.json" | "dataset_dict.json" | "state.json"
        | "croissant.json" | "config.json" => Some(described),
        _ if lower.ends_with(".json") && is_linked_data(file) => Some(described),
        _ if lower.ends_with(".arrow")
            && (lower.starts_with("cache-") || lower.starts_with("tmp")) =>
        {
            Some("a cache of the datasets library".to_owned())
        }
        _ => None,
    }
}

/// Does a file begin as JSON-LD, the form of Croissant's descriptions?
fn is_linked_data(file: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(4096).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    let mut signs = head
        .trim_start()
        .strip_prefix('{')
        .unwrap_or("")
        .trim_start()
        .splitn(3, '"');
    read.is_ok() && signs.nth(1).is_some_and(|key| key == "@context")
}

fn has_rows(file: &Path) -> bool {
    Format::named(file).is_some_and(Format::has_rows)
}

/// A longer description is none.
const MAX_DESCRIPTION_BYTES: u64 = 16 << 20;

/// A small file as JSON, if it is that.
fn json_at(path: &Path) -> Option<Value> {
    serde_json::from_str(&text_at(path)?).ok()
}

/// A small file as text, if it is that.
fn text_at(path: &Path) -> Option<String> {
    let size = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    (size <= MAX_DESCRIPTION_BYTES).then(|| fs::read_to_string(path).ok())?
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}
