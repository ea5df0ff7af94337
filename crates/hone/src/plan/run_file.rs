//! A run file: the options of `hone train` as TOML, under the names of the flags.
//!
//! Names are checked before anything else, against the very list the command line is made from, so a slip is answered
//! with its line and the name that was meant. Relative paths mean relative to the file: a run file and its data can be
//! moved together.

use super::options::{OPTIONS, RawTrain};
use crate::elsewhere::{self, Here, remark};
use crate::meant::options_for;
use crate::nearest::nearest;
use clap::{Arg, Args, Command};
use hone_ledger::mistyped;
use hone_ledger::words::path_for_shell;
use std::path::{Path, PathBuf};

/// Why a run file was refused.
#[derive(Debug, thiserror::Error)]
pub enum RunFileError {
    /// It cannot be read.
    #[error("cannot read the run file {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key that is no option.
    #[error("{}:{line}: unknown name `{name}`", .path.display())]
    UnknownName {
        /// The file.
        path: PathBuf,
        /// Where in it.
        line: usize,
        /// The key.
        name: String,
        /// Whether it is a table of keys.
        is_section: bool,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("{}:{line}: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it.
        line: usize,
        /// What the reader said.
        reason: String,
    },
}

impl RunFileError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        let Self::UnknownName {
            name, is_section, ..
        } = self
        else {
            return self.of_another_kind().into_iter().collect();
        };
        let known = option_names();
        let near = || {
            let near = nearest(name, known.iter().copied())?;
            Some(format!("did you mean `{near}`?"))
        };
        let first = match elsewhere::find(name) {
            _ if *is_section => Some(format!(
                "a run file has no sections: write the options of `[{name}]` at the top, as in rank = 16"
            )),
            Some(Here::Option(ours, note)) if known.contains(&ours) => {
                Some(format!("`{name}` is `{ours}` here{}", remark(note)))
            }
            Some(Here::Option(ours, _)) => Some(format!("--{ours} is for the command line")),
            Some(Here::None(why)) => Some(format!("it needs none: {why}")),
            Some(Here::Never(why)) => Some(format!("Hone has nothing of the kind: {why}")),
            None => near(),
        };
        first
            .into_iter()
            .chain([format!("known names: {}", known.join(", "))])
            .collect()
    }
}

impl RunFileError {
    /// What somebody meant who gave a file that is no TOML.
    fn of_another_kind(&self) -> Option<String> {
        let (Self::Malformed { path, .. } | Self::Read { path, .. }) = self else {
            return None;
        };
        let named = path.to_str().map_or(&[] as &[&str], options_for);
        let known = option_names();
        if let Some(option) = named.iter().find(|name| known.contains(name)) {
            return Some(format!(
                "the run file comes first and is optional; what this is goes with --{option} {}",
                path_for_shell(path)
            ));
        }
        match path.extension().and_then(|end| end.to_str()) {
            Some("yaml" | "yml") => Some(
                "a run file is TOML with the names of the flags, as in rank = 16; `hone train --help` lists them".into(),
            ),
            _ if !path.exists() => Some(hone_data::nearest::instead_of(path)),
            _ => None,
        }
    }
}

/// Every option of a run, as it is called on the command line and in a run file.
pub fn option_names() -> Vec<&'static str> {
    OPTIONS.iter().map(|option| option.name).collect()
}

/// The same, with names that options had before.
fn names_and_aliases() -> Vec<String> {
    let command = RawTrain::augment_args(Command::new("train"));
    let aliases = command.get_arguments().filter_map(Arg::get_all_aliases);
    let aliases: Vec<&str> = aliases.flatten().collect();
    let names = option_names().into_iter().chain(aliases);
    names.map(String::from).collect()
}

/// Reads a run file.
pub fn read_run_file(path: &Path) -> Result<RawTrain, RunFileError> {
    let text = std::fs::read_to_string(path).map_err(|source| RunFileError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let mut raw = parse(&text, path)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    raw.data
        .iter_mut()
        .flatten()
        .chain(raw.valid.iter_mut())
        .chain(raw.out.iter_mut())
        .for_each(|relative| {
            *relative = beside.join(&*relative);
        });
    // A model may be a name; it is a path only if the path is there.
    if let Some(model) = raw
        .model
        .as_mut()
        .filter(|model| beside.join(model).exists())
    {
        *model = beside.join(&*model).display().to_string();
    }
    Ok(raw)
}

fn parse(text: &str, path: &Path) -> Result<RawTrain, RunFileError> {
    let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
    let malformed = |error: toml::de::Error| RunFileError::Malformed {
        path: path.to_path_buf(),
        line: error.span().map_or(1, |span| line_of(span.start)),
        reason: error.message().to_string(),
    };
    let table: toml::Table = toml::from_str(text).map_err(malformed)?;
    let known = names_and_aliases();
    if let Some(name) = table.keys().find(|key| !known.contains(key)) {
        let line = text.lines().position(|line| {
            line.trim_start()
                .trim_start_matches(['[', '"'])
                .starts_with(name)
        });
        return Err(RunFileError::UnknownName {
            path: path.to_path_buf(),
            line: line.map_or(1, |index| index + 1),
            name: name.clone(),
            is_section: table[name].is_table(),
        });
    }
    toml::from_str(text).map_err(|error| {
        let at = error.span().map(|span| span.start);
        let reason = mistyped(text, at, error.message());
        match malformed(error) {
            RunFileError::Malformed { path, line, .. } => {
                RunFileError::Malformed { path, line, reason }
            }
            other => other,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Method;

    fn refusal(text: &str) -> RunFileError {
        parse(text, Path::new("run.toml")).unwrap_err()
    }

    #[test]
    fn the_names_of_the_flags_are_the_names_of_the_keys() {
        let raw = RawTrain {
            batch_size: Some(4),
            max_length: Some(512),
            method: Some(Method::Qlora),
            memory: Some("2GB".parse().unwrap()),
            ..RawTrain::default()
        };
        let text = "batch-size = 4\nmax-length = 512\nmethod = \"qlora\"\nmemory = \"2GB\"\n";
        assert_eq!(parse(text, Path::new("run.toml")).unwrap(), raw);
        for name in option_names() {
            // Every flag is a field of the file: a wrong type is refused as a type, never as a name.
            let error = refusal(&format!("{name} = {{}}\n"));
            assert!(
                matches!(error, RunFileError::Malformed { .. }),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn a_name_that_an_option_had_before_is_still_read() {
        let read = |text: &str| parse(text, Path::new("run.toml")).unwrap().modules_to_save;
        let named = read("modules-to-save = [\"lm_head\"]\n");
        assert_eq!(named, Some(vec!["lm_head".to_owned()]));
        assert_eq!(read("whole = [\"lm_head\"]\n"), named);
    }

    #[test]
    fn a_name_of_another_program_is_answered_with_ours() {
        let hint = |text: &str| refusal(text).hints()[0].clone();
        assert_eq!(hint("lora_r = 8\n"), "`lora_r` is `rank` here");
        assert!(hint("iters = 100\n").starts_with("`iters` is `epochs` here: one of mlx-lm's"));
        assert!(hint("gradient_checkpointing = true\n").starts_with("it needs none: "));
        assert_eq!(
            hint("resume_from_checkpoint = true\n"),
            "--resume is for the command line"
        );
        assert!(hint("[lora]\nrank = 1\n").starts_with("a run file has no sections"));
        let rows = parse("{\"text\": 1}\n", Path::new("rows.jsonl")).unwrap_err();
        assert!(
            rows.hints()[0].ends_with("--data rows.jsonl"),
            "{:?}",
            rows.hints()
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_line_and_nearest() {
        let error = refusal("# a run\nlr = 1e-4\nmax-lenght = 4096\n");
        assert_eq!(error.to_string(), "run.toml:3: unknown name `max-lenght`");
        assert_eq!(error.hints()[0], "did you mean `max-length`?");
        let error = refusal("[lora]\nrank = 1\n");
        assert_eq!(error.to_string(), "run.toml:1: unknown name `lora`");
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_line() {
        let error = refusal("rank = 8\nlr = \"fast\"\n").to_string();
        assert_eq!(
            error,
            "run.toml:2: `lr` is the text \"fast\", and has to be a number, as in lr = 0.5"
        );
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.toml");
        std::fs::create_dir(dir.path().join("base")).unwrap();
        std::fs::write(
            &file,
            "model = \"base\"\ndata = [\"a.jsonl\"]\nout = \"run\"\n",
        )
        .unwrap();
        let raw = read_run_file(&file).unwrap();
        assert_eq!(raw.data.unwrap(), [dir.path().join("a.jsonl")]);
        assert_eq!(raw.out.unwrap(), dir.path().join("run"));
        assert_eq!(PathBuf::from(raw.model.unwrap()), dir.path().join("base"));

        std::fs::write(&file, "model = \"smollm2-135m-instruct\"\n").unwrap();
        assert_eq!(
            read_run_file(&file).unwrap().model.unwrap(),
            "smollm2-135m-instruct"
        );
    }
}
