//! The built command, run in a directory of its own, and what it said.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A directory with a HONE_HOME and nothing else; gone when dropped.
pub struct Place {
    dir: tempfile::TempDir,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Place {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Names in this directory that a listing does not show: locks, and what is in the making.
    pub fn hidden(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.')).collect()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Rows a tiny model can learn in a few steps.
    pub fn examples(&self, name: &str, num_rows: usize) -> PathBuf {
        let row = |i: usize| {
            let task = if i.is_multiple_of(2) { "even" } else { "odd" };
            format!(
                r#"{{"task":"{task}","instruction":"Say the number {i}","output":"It is {i}."}}"#
            )
        };
        self.write(
            name,
            &((0..num_rows).map(row).collect::<Vec<_>>().join("\n") + "\n"),
        )
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hone"));
        command.args(words(line));
        self.at_home(&mut command);
        command
    }

    /// The same under a limit that the shell takes on itself and the command inherits, such as `ulimit -v 2000000`.
    #[cfg(unix)]
    pub fn limited(&self, limit: &str, line: &str) -> Command {
        let hone = self.command(line);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", &format!("{limit} && exec \"$@\""), "sh"])
            .arg(hone.get_program())
            .args(hone.get_args());
        self.at_home(&mut limited);
        limited
    }

    fn at_home(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("HONE_HOME", self.path("home"));
        for name in [
            "HF_HOME",
            "HF_HUB_CACHE",
            "HF_TOKEN",
            "HF_HUB_OFFLINE",
            "HF_ENDPOINT",
        ] {
            command.env_remove(name);
        }
    }

    pub fn run(&self, line: &str) -> Ran {
        self.command(line).output().unwrap().into()
    }

    /// Runs a command that has to succeed.
    pub fn ok(&self, line: &str) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "hone {line}\n{}", ran.stderr);
        ran
    }

    /// Runs a command that has to fail; its stderr with this directory written as `DIR`.
    pub fn refusal(&self, line: &str) -> String {
        let ran = self.run(line);
        assert!(
            ran.code == 1 || ran.code == 2,
            "hone {line} ended with {}\n{}",
            ran.code,
            ran.stderr
        );
        assert!(
            ran.stdout.is_empty(),
            "hone {line} printed {:?}",
            ran.stdout
        );
        let error = ran
            .stderr
            .lines()
            .skip_while(|line| !line.starts_with("error:"))
            .collect::<Vec<_>>()
            .join("\n");
        error
            .replace(&self.dir.path().display().to_string(), "DIR")
            .replace(&fixtures().display().to_string(), "FIXTURES")
    }

    pub fn start(&self, line: &str) -> Child {
        self.command(line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

impl Ran {
    /// The last line of stdout, which has to be one JSON object.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.stdout.lines().last().unwrap_or_default()).unwrap()
    }
}

/// Splits at spaces, but not inside single quotes; `{tied}` and its like stand for fixtures.
fn words(line: &str) -> Vec<String> {
    let place = |word: &str| match word {
        "{tied}" => model("tiny-llama-tied"),
        "{untied}" => model("tiny-llama-untied"),
        "{gguf}" => model("tiny-llama.gguf"),
        _ => word.to_string(),
    };
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().map(place).collect::<Vec<_>>(),
        _ => vec![part.to_string()],
    });
    words.collect()
}

pub fn model(name: &str) -> String {
    fixtures().join("models").join(name).display().to_string()
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .canonicalize()
        .unwrap()
}
