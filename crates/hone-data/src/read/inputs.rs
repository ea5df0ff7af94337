//! What was named, as files: a file, a folder, or a pattern.
//!
//! Files are taken in the order in which they were named; what a pattern or a folder holds, in
//! alphabetical order. A folder's documents are only taken if it holds no rows: a card beside the
//! rows it describes is not part of them. Which side of a dataset each file is, [`super::layout`] says.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use super::ReadError;
use super::layout::{self, Choices, Doubt, Found, Input, PassedOver, Told};
use crate::Side;

/// The files behind some names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Files to be read, in this order.
    pub files: Vec<Input>,
    /// Files in the folders named that are not read.
    pub passed_over: Vec<PassedOver>,
    /// What only the user can decide before anything is trained on these files.
    pub doubts: Vec<Doubt>,
}

impl Inputs {
    /// Finds the files; a name that leads to none is an error.
    pub fn find<P: AsRef<Path>>(names: &[P]) -> Result<Self, ReadError> {
        Self::find_as(names, &Choices::default())
    }

    /// Finds the files and their sides, as the user chose where a folder leaves it open.
    ///
    /// # Errors
    /// A name that leads to no file, and a choice that meets none.
    pub fn find_as<P: AsRef<Path>>(names: &[P], choices: &Choices) -> Result<Self, ReadError> {
        let mut inputs = Self::default();
        let mut all = Found::default();
        let mut matched = HashSet::new();
        let named = names.iter().map(AsRef::as_ref);
        let mut single = named
            .clone()
            .filter(|name| is_single(name))
            .map(PathBuf::from);
        let mut together = Found::default();
        if single.clone().next().is_some() {
            let single: Vec<PathBuf> = single.by_ref().collect();
            together = layout::files(&common(&single), single, true, choices);
        }
        let mut together_files = std::mem::take(&mut together.files).into_iter();
        for name in named {
            if is_single(name) {
                // Each of these is one file, and stands where it was named.
                inputs.files.extend(together_files.next());
                continue;
            }
            let mut found = if name.is_dir() {
                let found = layout::folder(name, choices);
                let found = found.map_err(|source| ReadError::Unreadable {
                    file: name.into(),
                    source,
                })?;
                if found.files.is_empty() && found.doubts.is_empty() {
                    let folder = name.into();
                    let is_left_out = |passed: &PassedOver| passed.why == layout::LEFT_OUT;
                    return Err(match found.passed_over.iter().any(is_left_out) {
                        true => ReadError::AllLeftOut { folder },
                        false => ReadError::NothingInFolder { folder },
                    });
                }
                found
            } else {
                layout::files(&fixed(name), matches(name)?, false, choices)
            };
            // Two patterns may meet in a file, and it is still one file.
            let new = std::mem::take(&mut found.files)
                .into_iter()
                .filter(|input| matched.insert(input.file.clone()));
            inputs.files.extend(new);
            all.join(found);
        }
        all.join(together);
        let files = std::mem::take(&mut inputs.files).into_iter();
        inputs.files = files
            .flat_map(|input| input.split(choices, &mut all))
            .collect();
        check_met(choices, &all)?;
        check_meant(choices, &all)?;
        // The user's word for a file not to be read.
        let is_left_out = |input: &Input| input.side.is_none() && input.told == Told::User;
        inputs.files.retain(|input| !is_left_out(input));
        inputs.passed_over = all.passed_over;
        inputs.doubts = all.doubts;
        Ok(inputs)
    }

    /// These files, if nothing about them has to be decided first.
    ///
    /// # Errors
    /// What has to be decided, and how.
    pub fn decided(self) -> Result<Self, ReadError> {
        match self.doubts.is_empty() {
            true => Ok(self),
            false => Err(ReadError::Doubts {
                doubts: self.doubts,
            }),
        }
    }

    /// Leaves out lists of documents whose keys are to be passed over.
    pub fn pass_over(&mut self, keys: &[String]) {
        self.files.retain(|input| {
            let mut keys = keys.iter();
            !keys.any(|key| input.list.as_ref() == Some(key))
        });
    }

    /// The files of a side.
    pub fn on(&self, side: Side) -> impl Iterator<Item = &Input> {
        self.files
            .iter()
            .filter(move |input| input.side == Some(side))
    }

    /// Does any file stand on the side?
    pub fn has(&self, side: Side) -> bool {
        self.on(side).next().is_some()
    }

    /// Files of several finds together.
    pub fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.passed_over.extend(other.passed_over);
        self.doubts.extend(other.doubts);
    }

    /// Files to train on: those of the training side, and those of no side.
    pub fn to_train_on(&self) -> impl Iterator<Item = &Input> {
        let is_for_training = |input: &&Input| matches!(input.side, None | Some(Side::Train));
        self.files.iter().filter(is_for_training)
    }
}

impl Found {
    fn join(&mut self, other: Self) {
        self.passed_over.extend(other.passed_over);
        self.doubts.extend(other.doubts);
        self.met.extend(other.met);
        self.known.extend(other.known);
        self.meant.extend(other.meant);
    }
}

/// A choice that meets nothing is a slip of the finger, and would leave a file on the wrong side.
fn check_met(choices: &Choices, found: &Found) -> Result<(), ReadError> {
    let asked = choices
        .sides
        .keys()
        .map(|name| ("side", name))
        .chain(choices.configs.iter().map(|name| ("config", name)));
    let mut known = found.known.clone();
    known.sort_unstable();
    known.dedup();
    for (flag, name) in asked {
        if !found.met.contains(name) {
            return Err(ReadError::NotMet {
                flag,
                name: name.clone(),
                known,
            });
        }
    }
    Ok(())
}

/// A name that moves a file from the side it is known to stand on, together with files of which something else is known,
/// is hardly meant for all of them.
fn check_meant(choices: &Choices, found: &Found) -> Result<(), ReadError> {
    for (name, side) in &choices.sides {
        let of_name = || found.meant.iter().filter(|meant| meant.name == *name);
        let moves = of_name().any(|meant| meant.own.is_some() && meant.own != *side);
        let are_alike = of_name().all(|meant| Some(meant.own) == of_name().next().map(|m| m.own));
        if let Some(side) = side.filter(|_| moves && !are_alike) {
            let told = |meant: &layout::Meant| {
                let own = meant.own.map_or("of no known side", Side::name);
                format!("{} ({own})", meant.file.display())
            };
            return Err(ReadError::SeveralMeant {
                name: name.clone(),
                side,
                files: of_name().map(told).collect(),
                own_names: of_name().map(|meant| meant.own_name.clone()).collect(),
            });
        }
    }
    Ok(())
}

/// Is this the name of one file, there or not?
fn is_single(name: &Path) -> bool {
    match fs::metadata(name) {
        Ok(metadata) => !metadata.is_dir(),
        Err(_) => !is_pattern(name),
    }
}

/// The folder that all these files stand in.
fn common(files: &[PathBuf]) -> PathBuf {
    let parent = |file: &PathBuf| file.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut folders = files.iter().map(parent);
    let first = folders.next().unwrap_or_default();
    folders.fold(first, |common, folder| {
        let mut shared = common.ancestors();
        let shared = shared.find(|ancestor| folder.starts_with(ancestor));
        shared.map(Path::to_path_buf).unwrap_or_default()
    })
}

/// The folder below which a pattern looks.
fn fixed(pattern: &Path) -> PathBuf {
    let mut folders = pattern.ancestors().skip(1);
    folders
        .find(|folder| !is_pattern(folder))
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

fn is_pattern(name: &Path) -> bool {
    name.to_string_lossy().contains(['*', '?', '['])
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let text = pattern.to_string_lossy();
    let wrong = |what: &str| ReadError::Pattern {
        pattern: pattern.into(),
        what: what.into(),
    };
    let visible = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let found = glob::glob_with(&text, visible).map_err(|error| wrong(error.msg))?;
    let mut files: Vec<PathBuf> = found
        .filter_map(Result::ok)
        .filter(|path| path.is_file())
        .collect();
    files.sort_unstable();
    match files.is_empty() {
        true => Err(ReadError::NoMatch {
            pattern: pattern.into(),
            there: neighbours(pattern),
        }),
        false => Ok(files),
    }
}

/// How many names a hint tells.
const NEIGHBOURS: usize = 8;

/// What stands where the pattern looks.
fn neighbours(pattern: &Path) -> Vec<String> {
    let folder = match fixed(pattern) {
        here if here.as_os_str().is_empty() => PathBuf::from("."),
        folder => folder,
    };
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    names.truncate(NEIGHBOURS);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            write(folder.path(), name, "x");
        }
        folder
    }

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn names(folder: &Path, inputs: &Inputs) -> Vec<String> {
        let name = |input: &Input| within(folder, &input.file);
        inputs.files.iter().map(name).collect()
    }

    fn within(folder: &Path, file: &Path) -> String {
        file.strip_prefix(folder)
            .unwrap_or(file)
            .display()
            .to_string()
    }

    /// Files with their sides, `train a.jsonl`, in one line.
    fn sides(folder: &Path, inputs: &Inputs) -> Vec<String> {
        let told = |input: &Input| {
            let side = input.side.map_or("-", Side::name);
            format!("{side} {}", within(folder, &input.file))
        };
        inputs.files.iter().map(told).collect()
    }

    fn find(folder: &Path) -> Inputs {
        Inputs::find(&[folder]).unwrap()
    }

    #[test]
    fn folders_and_patterns_become_files_in_alphabetical_order_each_once() {
        let folder = folder_of(&[
            "b.jsonl",
            "a.jsonl.gz",
            "sub/c.parquet",
            "README.md",
            "d.png",
            ".e.jsonl",
        ]);
        let root = folder.path();
        let found = Inputs::find(&[root.join("*.jsonl"), root.into()]).unwrap();
        assert_eq!(
            names(root, &found),
            ["b.jsonl", "a.jsonl.gz", "sub/c.parquet"]
        );
        let passed_over: Vec<String> = found
            .passed_over
            .iter()
            .map(|passed| within(root, &passed.file))
            .collect();
        assert_eq!(passed_over, ["README.md", "d.png"]);
        assert!(found.files.iter().all(|input| input.side.is_none()));
    }

    #[test]
    fn a_folder_of_documents_alone_is_read_as_such() {
        let folder = folder_of(&["two.txt", "one.md", "three.rs", "test-plan.md", "test.md"]);
        assert_eq!(
            sides(folder.path(), &find(folder.path())),
            ["- one.md", "- test-plan.md", "- test.md", "- two.txt"]
        );
        let folder = folder_of(&["train.txt", "test.txt"]);
        assert_eq!(
            sides(folder.path(), &find(folder.path())),
            ["test test.txt", "train train.txt"]
        );
    }

    #[test]
    fn a_name_that_leads_to_nothing_is_an_error_that_says_what_there_is() {
        let folder = folder_of(&["rows.jsonl", "notes.rs"]);
        let error = Inputs::find(&[folder.path().join("*.csv")]).unwrap_err();
        assert!(
            error.to_string().ends_with("no file matches the pattern"),
            "{error}"
        );
        assert!(
            error.hints()[0].contains("notes.rs, rows.jsonl"),
            "{error:?}"
        );
        let nothing = folder_of(&["notes.rs"]);
        let error = Inputs::find(&[nothing.path()]).unwrap_err();
        assert!(error.hints()[0].contains(".jsonl"), "{error:?}");
        let error = Inputs::find(&["a***b"]).unwrap_err().to_string();
        assert!(error.starts_with("a***b: not a pattern"), "{error}");
    }

    #[test]
    fn names_of_files_and_folders_say_which_side_they_are() {
        let folder = folder_of(&["train.jsonl", "valid.jsonl.gz", "my_test.CSV"]);
        assert_eq!(
            sides(folder.path(), &find(folder.path())),
            [
                "test my_test.CSV",
                "train train.jsonl",
                "valid valid.jsonl.gz"
            ]
        );
        let folder = folder_of(&["data/train/a.parquet", "data/dev/a.parquet", "Test/a.json"]);
        assert_eq!(
            sides(folder.path(), &find(folder.path())),
            [
                "test Test/a.json",
                "valid data/dev/a.parquet",
                "train data/train/a.parquet"
            ]
        );
        let folder = folder_of(&["training_data/train.jsonl", "training_data/test.jsonl"]);
        let found = find(folder.path());
        assert_eq!(
            sides(folder.path(), &found),
            [
                "test training_data/test.jsonl",
                "train training_data/train.jsonl"
            ]
        );
        assert_eq!(found.doubts, []);
        let folder = folder_of(&["train.jsonl", "test.jsonl", "eval.jsonl"]);
        assert_eq!(
            sides(folder.path(), &find(folder.path())),
            ["valid eval.jsonl", "test test.jsonl", "train train.jsonl"]
        );
    }

    #[test]
    fn what_no_name_tells_beside_known_sides_is_for_the_user_to_say() {
        for (files, doubtful) in [
            (&["train.jsonl", "forget.jsonl"][..], "forget"),
            (&["test.jsonl", "poems.jsonl"], "poems"),
            (&["poems.jsonl", "held_out.jsonl"], "held_out"),
            (&["a.jsonl", "train_test.jsonl"], "train_test"),
            (&["train/test_1.jsonl", "train/a.jsonl"], "test_1"),
        ] {
            let folder = folder_of(files);
            let found = find(folder.path());
            let hints: Vec<&str> = found
                .doubts
                .iter()
                .map(|doubt| doubt.hint.as_str())
                .collect();
            assert!(
                hints
                    .iter()
                    .any(|hint| hint.starts_with(&format!("--side {doubtful}=train"))),
                "{files:?}: {found:?}"
            );
            let error = found.decided().unwrap_err();
            assert!(error.to_string().contains(doubtful), "{error}");
        }
    }

    #[test]
    fn the_user_says_which_side_a_file_is() {
        let folder = folder_of(&[
            "train.jsonl",
            "forget.jsonl",
            "extra-00000-of-00001.parquet",
        ]);
        let choices = |pairs: &[(&str, Option<Side>)]| Choices {
            sides: pairs
                .iter()
                .map(|(name, side)| ((*name).to_owned(), *side))
                .collect(),
            ..Choices::default()
        };
        let all = choices(&[("forget", Some(Side::Train)), ("extra", None)]);
        let found = Inputs::find_as(&[folder.path()], &all)
            .unwrap()
            .decided()
            .unwrap();
        assert_eq!(
            sides(folder.path(), &found),
            ["train forget.jsonl", "train train.jsonl"]
        );
        assert!(found.passed_over[0].why.contains("--side"));
        let slip = choices(&[("forgt", None)]);
        let error = Inputs::find_as(&[folder.path()], &slip).unwrap_err();
        assert!(error.to_string().contains("forgt"), "{error}");
        assert!(error.hints()[0].contains("forget"), "{:?}", error.hints());
    }

    #[test]
    fn one_file_is_what_the_user_takes_it_for_and_several_keep_their_sides() {
        let folder = folder_of(&["train.jsonl", "test.jsonl", "test2.jsonl", "poems.jsonl"]);
        let root = folder.path();
        let found = |files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(|file| root.join(file)).collect();
            sides(root, &Inputs::find(&files).unwrap().decided().unwrap())
        };
        assert_eq!(found(&["test.jsonl"]), ["- test.jsonl"]);
        assert_eq!(found(&["test*.jsonl"]), ["- test.jsonl", "- test2.jsonl"]);
        assert_eq!(
            found(&["test.jsonl", "train.jsonl"]),
            ["test test.jsonl", "train train.jsonl"]
        );
        assert_eq!(
            found(&["poems.jsonl", "test.jsonl"]),
            ["- poems.jsonl", "test test.jsonl"]
        );
        assert_eq!(
            found(&["t*.jsonl"]),
            ["test test.jsonl", "test test2.jsonl", "train train.jsonl"]
        );
        let all = Inputs::find(&[root.join("*.jsonl")]).unwrap();
        assert_eq!(all.doubts.len(), 1, "{all:?}");
        let as_named = Choices {
            as_named: true,
            ..Choices::default()
        };
        let files = ["train.jsonl", "test.jsonl"].map(|file| root.join(file));
        let named = Inputs::find_as(&files, &as_named).unwrap();
        assert_eq!(sides(root, &named), ["- train.jsonl", "- test.jsonl"]);
    }

    const CARD: &str = "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n";

    #[test]
    fn the_card_says_which_files_are_which_split() {
        let files = [
            "rows/a-1.jsonl",
            "rows/a-2.jsonl",
            "rows/b.jsonl",
            "more.jsonl",
        ];
        for data_files in [
            "  - split: train\n    path: rows/a-*\n  - split: test\n    path: rows/b.jsonl\n",
            "  - split: train\n    path:\n    - rows/a-1.jsonl\n    - rows/a-2.jsonl\n  - split: test\n    path: \"**/b.*\"\n",
            "    train: rows/a-*\n    test: [rows/b.jsonl]\n",
        ] {
            let folder = folder_of(&files);
            let text = format!("{CARD}{data_files}---\n# Rows\n");
            write(folder.path(), "README.md", &text);
            let found = find(folder.path()).decided().unwrap();
            assert_eq!(
                sides(folder.path(), &found),
                [
                    "train rows/a-1.jsonl",
                    "train rows/a-2.jsonl",
                    "test rows/b.jsonl"
                ],
                "{data_files}"
            );
            let more = found
                .passed_over
                .iter()
                .find(|passed| passed.file.ends_with("more.jsonl"));
            assert_eq!(more.unwrap().why, "README.md does not name it");
            let card = found
                .passed_over
                .iter()
                .find(|passed| passed.file.ends_with("README.md"));
            assert_eq!(card.unwrap().why, "it describes the dataset");
        }
        let folder = folder_of(&files);
        write(
            folder.path(),
            "README.md",
            "---\nconfigs:\n- config_name: x\n  data_files: rows/a-*\n---\n",
        );
        assert_eq!(
            sides(folder.path(), &find(folder.path())),
            ["- rows/a-1.jsonl", "- rows/a-2.jsonl"]
        );
    }

    #[test]
    fn several_configurations_are_asked_about_and_chosen_by_name() {
        let folder = folder_of(&["en/train.jsonl", "en/test.jsonl", "de/train.jsonl"]);
        let card = "---\nconfigs:\n- config_name: en\n  data_dir: en\n- config_name: de\n  data_files:\n  - split: train\n    path: de/*.jsonl\n---\n";
        write(folder.path(), "README.md", card);
        let doubts = find(folder.path()).doubts;
        assert!(doubts[0].what.contains("en, de"), "{doubts:?}");
        let chosen = |name: &str| {
            let choices = Choices {
                configs: vec![name.into()],
                ..Choices::default()
            };
            Inputs::find_as(&[folder.path()], &choices)
        };
        assert_eq!(
            sides(folder.path(), &chosen("en").unwrap().decided().unwrap()),
            ["test en/test.jsonl", "train en/train.jsonl"]
        );
        assert_eq!(
            sides(folder.path(), &chosen("de").unwrap().decided().unwrap()),
            ["train de/train.jsonl"]
        );
        let hints = chosen("fr").unwrap_err().hints();
        assert!(hints[0].contains("de, en"), "{hints:?}");
    }

    #[test]
    fn splits_of_one_side_and_what_the_card_cannot_mean_are_asked_about() {
        let doubts = |data_files: &str| {
            let folder = folder_of(&["a.jsonl", "b.jsonl"]);
            let text = format!("{CARD}{data_files}---\n");
            write(folder.path(), "README.md", &text);
            let doubts = find(folder.path()).doubts;
            doubts
                .into_iter()
                .map(|doubt| doubt.what + " " + &doubt.hint)
                .collect::<String>()
        };
        let sft =
            "  - split: train_sft\n    path: a.jsonl\n  - split: train_gen\n    path: b.jsonl\n";
        assert!(doubts(sft).contains("train_sft, train_gen are several splits for train"));
        let forget = "  - split: train\n    path: a.jsonl\n  - split: forget\n    path: b.jsonl\n";
        assert!(doubts(forget).contains("--side forget=train"));
        let both = "  - split: train\n    path: '*.jsonl'\n  - split: test\n    path: b.jsonl\n";
        assert!(doubts(both).contains("b.jsonl is in more than one split"));
        let field = "  - split: train\n    path: a.jsonl\n  field: rows\n";
        assert!(doubts(field).contains("`field`"));
        assert!(doubts("  - split: [\n").contains("not sound YAML"));
        let away = "  - split: train\n    path: https://example.org/a.jsonl\n";
        assert!(doubts(away).contains("is not in this folder"));
    }

    #[test]
    fn files_that_describe_rows_are_none() {
        let folder = folder_of(&[
            "train.jsonl",
            "dataset_infos.json",
            "state.json",
            "cache-1.arrow",
        ]);
        let croissant = "{\n  \"@context\": {}, \"recordSet\": [{\"text\": \"a\"}]}";
        write(folder.path(), "metadata.json", croissant);
        write(
            folder.path(),
            "dataset_info.json",
            r#"{"features": {}, "citation": ""}"#,
        );
        assert_eq!(
            sides(folder.path(), &find(folder.path())),
            ["train train.jsonl"]
        );
    }

    #[test]
    fn what_save_to_disk_wrote_says_which_files_are_its_rows() {
        let folder = folder_of(&[
            "train/data-0.arrow",
            "train/cache-1.arrow",
            "test/data-0.arrow",
        ]);
        let root = folder.path();
        let state = r#"{"_data_files": [{"filename": "data-0.arrow"}], "_split": "train"}"#;
        write(
            root,
            "dataset_dict.json",
            r#"{"splits": ["train", "test"]}"#,
        );
        write(root, "train/state.json", state);
        write(root, "test/state.json", state);
        assert_eq!(
            sides(root, &find(root)),
            ["test test/data-0.arrow", "train train/data-0.arrow"]
        );
        let alone = find(&root.join("test"));
        assert_eq!(sides(root, &alone), ["train test/data-0.arrow"]);
    }

    #[test]
    fn an_index_of_llama_factory_says_what_columns_mean() {
        let folder = folder_of(&["a.json", "b.json", "note.json"]);
        let root = folder.path();
        let index = |text: &str| {
            write(root, "dataset_info.json", text);
            find(root)
        };
        let found = index(
            r#"{"mine": {"file_name": "a.json", "columns": {"prompt": "question", "response": "answer"}}, "away": {"hf_hub_url": "x/y"}}"#,
        );
        assert_eq!(sides(root, &found), ["- a.json"]);
        let columns: Vec<(&str, &str)> = found.files[0]
            .columns
            .iter()
            .map(|(field, column)| (field.as_str(), column.as_str()))
            .collect();
        assert_eq!(columns, [("instruction", "question"), ("output", "answer")]);
        let found = index(
            r#"{"chat": {"file_name": "a.json", "formatting": "sharegpt", "columns": {"messages": "turns"}, "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}}}"#,
        );
        assert_eq!(found.files[0].columns["messages"], "turns");
        let found =
            index(r#"{"my_train": {"file_name": "a.json"}, "my_test": {"file_name": "b.json"}}"#);
        assert_eq!(sides(root, &found), ["train a.json", "test b.json"]);
        let found = index(r#"{"one": {"file_name": "a.json"}, "two": {"file_name": "b.json"}}"#);
        assert!(found.doubts[0].what.contains("one, two"), "{found:?}");
        let choices = Choices {
            configs: vec!["two".into()],
            ..Choices::default()
        };
        let found = Inputs::find_as(&[root], &choices)
            .unwrap()
            .decided()
            .unwrap();
        assert_eq!(sides(root, &found), ["- b.json"]);
        for (entry, told) in [
            (r#""ranking": true"#, "ranking"),
            (r#""num_samples": 5"#, "num_samples"),
            (r#""columns": {"images": "pictures"}"#, "images"),
            (
                r#""formatting": "sharegpt", "tags": {"user_tag": "Q"}"#,
                "user_tag",
            ),
        ] {
            let found = index(&format!(r#"{{"one": {{"file_name": "a.json", {entry}}}}}"#));
            assert!(found.doubts[0].what.contains(told), "{entry}: {found:?}");
        }
    }

    #[test]
    fn the_file_of_the_validation_set_is_not_also_among_the_others() {
        let folder = folder_of(&["rows.jsonl", "held.jsonl"]);
        let choices = Choices {
            without: vec![folder.path().join("held.jsonl")],
            ..Choices::default()
        };
        let found = Inputs::find_as(&[folder.path()], &choices).unwrap();
        assert_eq!(names(folder.path(), &found), ["rows.jsonl"]);
    }
}
