//! `rust-lints`: three small tasks from the documentation of the installed Rust toolchain.
//!
//! Every Rust machine has about 800 lint descriptions, written by people and licensed MIT or
//! Apache-2.0. Each lint gives up to three rows: its meaning in one line, from its prose; its group,
//! from the same prose; and its rewritten code, from the code it warns about. An answer that already
//! stands in its question is left out, and all rows of a lint stay on one side of the split.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use hone_ledger::{Seed, WriteError, write_whole};
use hone_text::{Conversation, Role, Turn};
use serde_json::{Value, json};

use crate::{Body, Record, ShareOutOfRange, Source, dataset_id, split};

/// The words every row begins with.
pub const SYSTEM: &str =
    "You know Clippy, the Rust linter. Answer with nothing but what is asked for.";

/// The rows of the recipe, before they are split.
#[derive(Debug)]
pub struct RustLints {
    /// Rows of the tasks `meaning`, `group` and `fix`; the group of a row is its lint.
    pub records: Vec<Record>,
    /// The version of Clippy that was asked.
    pub toolchain: String,
    /// Rows that were not made.
    pub skipped: Vec<Skipped>,
}

/// A row that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The lint.
    pub lint: String,
    /// The task.
    pub task: &'static str,
    /// Why there is no row.
    pub reason: &'static str,
}

/// The files of the recipe, split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Rows to learn from.
    pub train: PathBuf,
    /// Rows to be judged by.
    pub valid: PathBuf,
    /// Where the rows come from: toolchain, licence, counts, ids.
    pub provenance: PathBuf,
    /// How many rows there are to learn from.
    pub train_rows: usize,
    /// How many rows there are to be judged by.
    pub valid_rows: usize,
}

/// Why the recipe cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum RecipeError {
    #[error("Clippy, whose documentation `rust-lints` is made of, is not installed")]
    MissingClippy,
    #[error("`{command}` failed: {what}")]
    Command { command: String, what: String },
    #[error("`clippy-driver -W help` lists no lints of Clippy; its format may have changed")]
    NoLints,
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Share(#[from] ShareOutOfRange),
}

impl RecipeError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::MissingClippy => vec!["rustup component add clippy".into()],
            _ => Vec::new(),
        }
    }
}

/// Asks the installed Clippy about every lint; `progress` hears how many of how many are done.
pub fn build(progress: &(dyn Fn(usize, usize) + Sync)) -> Result<RustLints, RecipeError> {
    let toolchain = run("clippy-driver", &["-V"])?.trim().to_owned();
    let lints = Lint::list(&run("clippy-driver", &["-W", "help"])?);
    if lints.is_empty() {
        return Err(RecipeError::NoLints);
    }
    let mut recipe = RustLints {
        records: Vec::new(),
        toolchain,
        skipped: Vec::new(),
    };
    for (lint, explanation) in lints.iter().zip(explain_all(&lints, progress)) {
        recipe.add(lint, &explanation?);
    }
    Ok(recipe)
}

impl RustLints {
    /// Writes `train.jsonl`, `valid.jsonl` and `provenance.json` into a directory, made if need be.
    pub fn write(&self, dir: &Path, valid_share: f64, seed: Seed) -> Result<Written, RecipeError> {
        let sides = split(self.records.clone(), valid_share, seed)?;
        std::fs::create_dir_all(dir).map_err(|source| WriteError::new(dir, 0, source))?;
        let written = Written {
            train: dir.join("train.jsonl"),
            valid: dir.join("valid.jsonl"),
            provenance: dir.join("provenance.json"),
            train_rows: sides.train.len(),
            valid_rows: sides.valid.len(),
        };
        write_whole(&written.train, lines(&sides.train).as_bytes())?;
        write_whole(&written.valid, lines(&sides.valid).as_bytes())?;
        let side =
            |records: &[Record]| json!({"rows": rows_per_task(records), "id": dataset_id(records)});
        let provenance = json!({
            "recipe": "rust-lints",
            "source": "clippy-driver -W help; cargo clippy --explain LINT",
            "toolchain": self.toolchain,
            "licence": "MIT OR Apache-2.0",
            "valid_share": valid_share,
            "train": side(&sides.train),
            "valid": side(&sides.valid),
            "skipped": self.skipped_per_reason(),
        });
        write_whole(&written.provenance, format!("{provenance:#}\n").as_bytes())?;
        Ok(written)
    }

    fn add(&mut self, lint: &Lint, explanation: &str) {
        let explanation = Explanation::read(explanation);
        let rows = [
            ("meaning", meaning(lint, &explanation)),
            ("group", group(lint, &explanation)),
            ("fix", fix(lint, &explanation)),
        ];
        for (task, made) in rows {
            match made {
                Ok((question, answer)) => self.records.push(record(lint, task, question, answer)),
                Err(reason) => self.skipped.push(Skipped {
                    lint: lint.name.clone(),
                    task,
                    reason,
                }),
            }
        }
    }

    fn skipped_per_reason(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for skipped in &self.skipped {
            *counts
                .entry(format!("{}: {}", skipped.task, skipped.reason))
                .or_default() += 1;
        }
        counts
    }
}

/// A question and its answer, or why there is none.
type Made = Result<(String, String), &'static str>;

fn meaning(lint: &Lint, explanation: &Explanation) -> Made {
    let prose = explanation.prose()?;
    let answer = lint.meaning.clone();
    if answer.is_empty() {
        return Err("no one-line meaning");
    }
    if words(&prose).contains(&words(&answer)) {
        return Err("the answer stands in the question");
    }
    Ok((
        format!("Say in one line what this lint looks for.\n\n{prose}"),
        answer,
    ))
}

fn group(lint: &Lint, explanation: &Explanation) -> Made {
    let prose = explanation.prose()?;
    let answer = lint.group.clone().ok_or("in no group")?;
    if words(&prose).contains(&words(&answer)) {
        return Err("the answer stands in the question");
    }
    Ok((format!("Name the group of this lint.\n\n{prose}"), answer))
}

fn fix(lint: &Lint, explanation: &Explanation) -> Made {
    let (before, after) = explanation.rewrite()?;
    if before.contains(after.trim()) {
        return Err("the answer stands in the question");
    }
    let question = format!(
        "Rewrite this code so that `{}` no longer warns.\n\n{before}",
        lint.name
    );
    Ok((question, after))
}

fn record(lint: &Lint, task: &str, question: String, answer: String) -> Record {
    let turns = [
        Turn::new(Role::System, SYSTEM),
        Turn::new(Role::User, question),
        Turn::new(Role::Assistant, answer),
    ];
    Record {
        task: task.to_owned(),
        group: Some(lint.name.clone()),
        origin: None,
        licence: None,
        copies: 1,
        body: Body::Chat(Conversation::new(turns)),
        source: Source::new(format!("cargo clippy --explain {}", lint.name), 1),
    }
}

fn lines(records: &[Record]) -> String {
    records
        .iter()
        .map(|record| format!("{}\n", record.to_line()))
        .collect()
}

fn rows_per_task(records: &[Record]) -> Value {
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records {
        *rows.entry(&record.task).or_default() += 1;
    }
    json!(rows)
}

/// A line of `clippy-driver -W help`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lint {
    name: String,
    meaning: String,
    group: Option<String>,
}

impl Lint {
    /// All lints of Clippy in the order listed, each with its group. Lines read
    /// `clippy::name  level  meaning`, and further down `clippy::group  clippy::name, clippy::name`.
    fn list(help: &str) -> Vec<Self> {
        let mut groups: HashMap<String, &str> = HashMap::new();
        let mut lints = Vec::new();
        for line in help.lines() {
            let Some((name, rest)) = line
                .trim()
                .strip_prefix("clippy::")
                .and_then(|line| line.split_once("  "))
            else {
                continue;
            };
            match rest.trim_start().split_once("  ") {
                Some(("allow" | "warn" | "deny" | "forbid", meaning)) => {
                    lints.push((snake(name), meaning.trim()))
                }
                // `all` only repeats the groups that warn by default.
                _ if name != "all" => {
                    let members = rest
                        .split(',')
                        .filter_map(|lint| lint.trim().strip_prefix("clippy::"));
                    groups.extend(members.map(|lint| (snake(lint), name)));
                }
                _ => {}
            }
        }
        let lint = |(name, meaning): (String, &str)| Self {
            meaning: meaning.to_owned(),
            group: groups.get(&name).map(|&group| group.to_owned()),
            name,
        };
        lints.into_iter().map(lint).collect()
    }
}

/// `cargo clippy --explain`, taken apart: Markdown in sections of `### ` headings.
struct Explanation {
    sections: Vec<(String, Vec<Part>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Prose(String),
    Code { language: String, text: String },
}

impl Explanation {
    fn read(markdown: &str) -> Self {
        let mut sections: Vec<(String, Vec<&str>)> = Vec::new();
        let mut in_code = false;
        for line in markdown.lines() {
            in_code ^= line.trim_start().starts_with("```");
            match (
                line.strip_prefix("### ").filter(|_| !in_code),
                sections.last_mut(),
            ) {
                (Some(heading), _) => sections.push((heading_words(heading), Vec::new())),
                (None, Some((_, lines))) => lines.push(line),
                (None, None) => {}
            }
        }
        Self {
            sections: sections
                .into_iter()
                .map(|(heading, lines)| (heading, parts(&lines)))
                .collect(),
        }
    }

    /// What the lint does and why, without code. The headings say why in two ways, one of which gives
    /// the group away; here there is one.
    fn prose(&self) -> Result<String, &'static str> {
        let what = self.text(&["what it does"]);
        let why = self.text(&["why is this bad", "why restrict this"]);
        if what.is_empty() || what.len() + why.len() < 40 {
            return Err("hardly any prose");
        }
        Ok(match why.is_empty() {
            true => format!("What it does: {what}"),
            false => format!("What it does: {what}\n\nWhy: {why}"),
        })
    }

    /// The first code in the examples that is followed by what to write instead.
    fn rewrite(&self) -> Result<(String, String), &'static str> {
        let examples = self
            .sections
            .iter()
            .filter(|(heading, _)| matches!(heading.as_str(), "example" | "examples"));
        let parts: Vec<&Part> = examples.flat_map(|(_, parts)| parts).collect();
        let rewrite = |window: &[&Part]| match window {
            [
                Part::Code {
                    language: a,
                    text: before,
                },
                Part::Prose(between),
                Part::Code {
                    language: b,
                    text: after,
                },
            ] if is_rust(a) && is_rust(b) && announces_rewrite(between) => {
                Some((before.clone(), after.clone()))
            }
            _ => None,
        };
        let found = parts
            .windows(3)
            .find_map(rewrite)
            .filter(|(_, after)| !after.is_empty());
        found.ok_or("no code with what to write instead")
    }

    fn text(&self, headings: &[&str]) -> String {
        let wanted = self
            .sections
            .iter()
            .filter(|(heading, _)| headings.contains(&heading.as_str()));
        let prose = wanted
            .flat_map(|(_, parts)| parts)
            .filter_map(|part| match part {
                Part::Prose(prose) => Some(prose.as_str()),
                Part::Code { .. } => None,
            });
        prose.collect::<Vec<_>>().join("\n")
    }
}

fn heading_words(heading: &str) -> String {
    heading
        .trim()
        .trim_end_matches(['?', '.', ':'])
        .to_lowercase()
}

/// Prose and fenced code, in order; prose has one line per paragraph or list item.
fn parts(lines: &[&str]) -> Vec<Part> {
    let (mut parts, mut prose) = (Vec::new(), Vec::new());
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            prose.push(*line);
            continue;
        };
        push_prose(&mut parts, &mut prose);
        let indent = line.len() - line.trim_start().len();
        let code = lines
            .by_ref()
            .take_while(|line| !line.trim_start().starts_with("```"));
        let dedent = |line: &&str| {
            line.get(indent..)
                .unwrap_or(line.trim_start())
                .trim_end()
                .to_owned()
        };
        let text = code
            .map(dedent)
            .collect::<Vec<_>>()
            .join("\n")
            .trim_matches('\n')
            .to_owned();
        parts.push(Part::Code {
            language: language.trim().to_owned(),
            text,
        });
    }
    push_prose(&mut parts, &mut prose);
    parts
}

fn push_prose(parts: &mut Vec<Part>, lines: &mut Vec<&str>) {
    let mut text = String::new();
    let mut fresh = true;
    for line in lines.drain(..).map(str::trim) {
        let starts_item =
            line.starts_with(['*', '-', '#']) || line.starts_with(|c: char| c.is_ascii_digit());
        if line.is_empty() {
            fresh = true;
            continue;
        }
        match (text.is_empty(), fresh || starts_item) {
            (true, _) => {}
            (false, true) => text.push('\n'),
            (false, false) => text.push(' '),
        }
        text.push_str(line);
        fresh = false;
    }
    if !text.is_empty() {
        parts.push(Part::Prose(text));
    }
}

fn is_rust(language: &str) -> bool {
    language.is_empty() || language.starts_with("rust")
}

fn announces_rewrite(prose: &str) -> bool {
    let last = prose.lines().last().unwrap_or_default().to_lowercase();
    let phrases = [
        "use instead",
        "written",
        "better",
        "simplify to",
        "should be",
        "correct use",
        "expressed with",
        "instead",
    ];
    phrases.iter().any(|phrase| last.contains(phrase)) && last.len() < 60
}

/// The words of a text, set apart, so that one text can be looked for in another word by word.
fn words(text: &str) -> String {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(str::to_lowercase).collect();
    format!(" {} ", words.join(" "))
}

fn snake(name: &str) -> String {
    name.trim().replace('-', "_")
}

fn explain_all(
    lints: &[Lint],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<Result<String, RecipeError>> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let explained = Mutex::new(Vec::with_capacity(lints.len()));
    let claim = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        Some((index, lints.get(index)?))
    };
    let work = || {
        while let Some((index, lint)) = claim() {
            let text = run("cargo", &["clippy", "--explain", &lint.name]);
            explained
                .lock()
                .expect("no worker panics")
                .push((index, text));
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, lints.len());
        }
    };
    // A command mostly waits for itself to start, so even one core gains from two at a time.
    let workers = thread::available_parallelism()
        .map_or(2, NonZero::get)
        .max(2);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let mut explained = explained.into_inner().expect("no worker panics");
    explained.sort_unstable_by_key(|(index, _)| *index);
    explained.into_iter().map(|(_, text)| text).collect()
}

fn run(program: &str, arguments: &[&str]) -> Result<String, RecipeError> {
    let failed = |what: String| RecipeError::Command {
        command: format!("{program} {}", arguments.join(" ")),
        what,
    };
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RecipeError::MissingClippy);
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => String::from_utf8(output.stdout).map_err(|error| failed(error.to_string())),
        false if is_missing(&complaint) => Err(RecipeError::MissingClippy),
        false => Err(failed(
            complaint.lines().next().unwrap_or("no message").to_owned(),
        )),
    }
}

/// What rustup and cargo say when the component is not there.
fn is_missing(complaint: &str) -> bool {
    complaint.contains("is not installed") || complaint.contains("no such command")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written for these tests in the format of the real commands.
    const HELP: &str = "
Lint checks provided by rustc:
                 name  default  meaning
     unused-variables  warn     detects unused variables

Lint checks loaded by this crate:
        clippy::lamp-left-on  warn     a lamp that burns in an empty room
        clippy::two-kettles   allow    boils water twice

Lint groups loaded by this crate:
        clippy::all      clippy::lamp-left-on
        clippy::pedantic  clippy::two-kettles
        clippy::style    clippy::lamp-left-on, clippy::other-lint
";

    const LAMP: &str = "### What it does
Checks for lamps that are lit
while nobody is in the room.

### Why restrict this?
It wastes oil:
* by day
* by night

### Example
```rust
// ### not a heading
let lamp = Lamp::lit();
```
Use instead:
```rust
let lamp = Lamp::dark();
```

### Configuration for clippy::lamp_left_on:
#### Example
```toml
lamps = 3
```
";

    fn lint(name: &str, meaning: &str, group: &str) -> Lint {
        Lint {
            name: name.into(),
            meaning: meaning.into(),
            group: Some(group.into()),
        }
    }

    fn recipe(explanations: &[(Lint, &str)]) -> RustLints {
        let mut recipe = RustLints {
            records: Vec::new(),
            toolchain: "clippy 0.0.0".into(),
            skipped: Vec::new(),
        };
        explanations
            .iter()
            .for_each(|(lint, explanation)| recipe.add(lint, explanation));
        recipe
    }

    fn rows(recipe: &RustLints) -> Vec<(&str, &str, &str)> {
        let row = |record: &'_ Record| match &record.body {
            Body::Chat(conversation) => {
                let [system, question, answer] = &conversation.turns[..] else {
                    panic!("three turns")
                };
                assert_eq!(system.text, SYSTEM);
                (question.text.clone(), answer.text.clone())
            }
            _ => panic!("a conversation"),
        };
        recipe
            .records
            .iter()
            .map(|record| {
                let (question, answer) = row(record);
                (record.task.as_str(), &*question.leak(), &*answer.leak())
            })
            .collect()
    }

    #[test]
    fn lints_are_listed_with_meaning_and_group() {
        let lints = Lint::list(HELP);
        assert_eq!(
            lints,
            [
                lint(
                    "lamp_left_on",
                    "a lamp that burns in an empty room",
                    "style"
                ),
                lint("two_kettles", "boils water twice", "pedantic"),
            ]
        );
    }

    #[test]
    fn a_lint_gives_three_rows() {
        let prose = "What it does: Checks for lamps that are lit while nobody is in the room.\n\nWhy: It wastes oil:\n* by day\n* by night";
        let recipe = recipe(&[(
            lint(
                "lamp_left_on",
                "a lamp that burns in an empty room",
                "style",
            ),
            LAMP,
        )]);
        assert_eq!(
            rows(&recipe),
            [
                (
                    "meaning",
                    format!("Say in one line what this lint looks for.\n\n{prose}").as_str(),
                    "a lamp that burns in an empty room"
                ),
                (
                    "group",
                    &format!("Name the group of this lint.\n\n{prose}"),
                    "style"
                ),
                (
                    "fix",
                    "Rewrite this code so that `lamp_left_on` no longer warns.\n\n// ### not a heading\nlet lamp = Lamp::lit();",
                    "let lamp = Lamp::dark();"
                ),
            ]
        );
        assert!(
            recipe
                .records
                .iter()
                .all(|record| record.group.as_deref() == Some("lamp_left_on"))
        );
    }

    #[test]
    fn an_answer_that_stands_in_the_question_gives_no_row() {
        let told = LAMP
            .replace("It wastes oil", "It is bad style")
            .replace("Lamp::dark()", "Lamp::lit()");
        let recipe = recipe(&[(
            lint(
                "lamp_left_on",
                "lamps that are lit, while nobody is in the room.",
                "style",
            ),
            &told,
        )]);
        assert_eq!(recipe.records.len(), 0);
        assert!(
            recipe
                .skipped
                .iter()
                .all(|skipped| skipped.reason == "the answer stands in the question")
        );
    }

    #[test]
    fn part_of_a_word_is_not_the_answer() {
        assert!(words("bad style.").contains(&words("style")));
        assert!(!words("stylish performance").contains(&words("perf")));
    }

    #[test]
    fn a_lint_without_prose_or_rewrite_is_skipped_with_the_reason() {
        let bare = "### What it does\nNothing.\n### Example\n```rust\na\n```\nor\n```rust\nb\n```\n```toml\nc = 1\n```\nUse instead:\n```toml\nd = 1\n```";
        let recipe = recipe(&[(lint("bare", "x", "style"), bare)]);
        let reasons: Vec<_> = recipe
            .skipped
            .iter()
            .map(|skipped| (skipped.task, skipped.reason))
            .collect();
        assert_eq!(
            reasons,
            [
                ("meaning", "hardly any prose"),
                ("group", "hardly any prose"),
                ("fix", "no code with what to write instead"),
            ]
        );
    }

    #[test]
    fn what_is_written_can_be_read_and_no_lint_is_on_both_sides() {
        let lints: Vec<_> = (0..20)
            .map(|n| {
                (
                    lint(&format!("lamp_{n}"), &format!("meaning {n}"), "style"),
                    LAMP.replace("oil", &format!("oil {n}")),
                )
            })
            .collect();
        let explanations: Vec<_> = lints
            .iter()
            .map(|(lint, text)| (lint.clone(), text.as_str()))
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let recipe = recipe(&explanations);
        let written = recipe
            .write(&dir.path().join("made"), 0.2, Seed::new(1))
            .unwrap();
        assert_eq!((written.train_rows, written.valid_rows), (48, 12));
        let lints_of = |path: &Path| -> std::collections::BTreeSet<Option<String>> {
            crate::read(&[path])
                .unwrap()
                .records
                .into_iter()
                .map(|record| record.group)
                .collect()
        };
        assert!(lints_of(&written.train).is_disjoint(&lints_of(&written.valid)));
        let provenance: Value =
            serde_json::from_slice(&std::fs::read(&written.provenance).unwrap()).unwrap();
        assert_eq!(provenance["toolchain"], "clippy 0.0.0");
        assert_eq!(
            provenance["valid"]["rows"],
            json!({"fix": 4, "group": 4, "meaning": 4})
        );
    }

    #[test]
    fn a_missing_component_says_how_to_get_it() {
        assert!(is_missing(
            "error: 'cargo-clippy' is not installed for the toolchain 'stable'"
        ));
        assert!(is_missing("error: no such command: `clippy`"));
        assert!(matches!(
            run("no-such-program-here", &[]),
            Err(RecipeError::MissingClippy)
        ));
        assert_eq!(
            RecipeError::MissingClippy.hints(),
            ["rustup component add clippy"]
        );
    }
}
