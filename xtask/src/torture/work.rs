//! The commands that are tortured, and what each of them gives when nobody disturbs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::imitated_hub::{Hub, Repository};

/// A command that leaves files.
#[derive(Clone, Debug)]
pub struct Work {
    pub name: String,
    pub arguments: Vec<String>,
    pub is_training: bool,
}

/// Eleven ways to train: optimizers, methods, and what a checkpoint and an adapter are stored as.
const TRAININGS: [(&str, &str); 11] = [
    ("adamw", ""),
    ("qlora", "--method qlora"),
    ("adamw8bit", "--optimizer adamw8bit"),
    ("paged-adamw", "--optimizer paged-adamw"),
    (
        "paged-adamw8bit",
        "--optimizer paged-adamw8bit --method qlora",
    ),
    ("bf16", "--save-dtype bf16"),
    ("f16", "--save-dtype f16 --rslora"),
    ("dora", "--dora"),
    ("bf16 activations", "--activations bf16"),
    (
        "dropout and LoRA+",
        "--dropout 0.1 --lora-plus 8 --accumulate 2",
    ),
    ("ia3", "--ia3"),
];

impl Work {
    /// All that is tortured.
    pub fn all() -> Vec<Self> {
        let training = |(name, flags): (&str, &str)| {
            let line = format!(
                "train -q --model BASE --data ROWS --threads 1 --epochs 1 --batch-size 8 --save-every 2 --eval-every 3 --out {OUT} {flags}"
            );
            Self::of(&format!("train, {name}"), &line, true)
        };
        let others = [
            (
                "merge",
                "merge -q --model BASE --adapter ADAPTER --replies 0 --out out",
            ),
            (
                "export to gguf",
                "export -q --to gguf --model BASE --adapter ADAPTER --replies 0 --out out",
            ),
            (
                "export to hf",
                "export -q --to hf --model BASE --adapter ADAPTER --replies 0 --out out",
            ),
            ("pull from a hub", "pull -q made/tiny"),
            ("data build", "data build -q --from ROWS --out out"),
        ];
        TRAININGS
            .into_iter()
            .map(training)
            .chain(others.map(|(name, line)| Self::of(name, line, false)))
            .collect()
    }

    fn of(name: &str, line: &str, is_training: bool) -> Self {
        Self {
            name: name.to_owned(),
            arguments: line.split_whitespace().map(str::to_owned).collect(),
            is_training,
        }
    }
}

/// The `--out` of every command that has one.
pub const OUT: &str = "out";

/// What goes on with a run.
pub fn resume() -> Vec<String> {
    ["train", "-q", "--resume", "--out", OUT]
        .map(str::to_owned)
        .to_vec()
}

/// What an undisturbed command leaves.
pub struct Reference {
    pub work: Work,
    /// Calls that change a file.
    pub calls: u64,
    /// How long it takes.
    pub seconds: f64,
    pub left: Left,
}

/// What is to be the same, and what may be there.
#[derive(Debug, PartialEq)]
pub struct Left {
    /// Files whose bytes count, by their path in the place.
    pub results: BTreeMap<String, Vec<u8>>,
    /// Events of a run with how often each is there: kind and step.
    pub events: BTreeMap<(String, u64), usize>,
    /// All paths.
    pub paths: BTreeSet<String>,
}

/// What all rounds share.
pub struct Bench {
    hone: PathBuf,
    faults: PathBuf,
    dir: PathBuf,
    base: PathBuf,
    adapter: PathBuf,
    hub: Hub,
}

/// A directory for one round, with a HONE_HOME of its own.
pub struct Place {
    pub dir: PathBuf,
}

impl Bench {
    pub fn set_up(root: &Path, hone: &Path, faults: &Path) -> Result<Self> {
        let dir = root.join("target/torture");
        let row = |n: usize| {
            let (question, answer) = (format!("what is {n} and {}?", n % 7), n + n % 7);
            format!(
                "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{question}\"}}, {{\"role\": \"assistant\", \"content\": \"it is {answer}\"}}]}}\n"
            )
        };
        fs::write(dir.join("rows.jsonl"), (0..64).map(row).collect::<String>())?;
        let fixtures = root.join("fixtures");
        let mut repository = Repository::new(&"c".repeat(40));
        let files = fs::read_dir(fixtures.join("models/tiny-llama-untied"))?;
        for (number, entry) in files.enumerate() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // One that is no hash, as mirrors have them: sizes alone tell what arrived.
            let etag = format!("{number:010x}");
            repository.add(&name, fs::read(entry.path())?, etag);
        }
        Ok(Self {
            hub: Hub::start(move |request| repository.reply(request)),
            hone: hone.to_path_buf(),
            faults: faults.to_path_buf(),
            dir,
            base: fixtures.join("models/tiny-llama-untied"),
            adapter: fixtures.join("adapters/tiny-llama-untied"),
        })
    }

    /// An empty directory for a round.
    pub fn place(&self, seed: u64) -> Result<Place> {
        let dir = self.dir.join(format!("round-{seed}"));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Place { dir })
    }

    /// A command in a place, with what disturbs it.
    pub fn command(
        &self,
        place: &Place,
        arguments: &[String],
        disturb: &[(&str, String)],
    ) -> Command {
        let mut command = Command::new(&self.hone);
        let rows = self.dir.join("rows.jsonl");
        let real = |argument: &String| match argument.as_str() {
            "BASE" => self.base.clone().into_os_string(),
            "ROWS" => rows.clone().into_os_string(),
            "ADAPTER" => self.adapter.clone().into_os_string(),
            other => other.into(),
        };
        command
            .args(arguments.iter().map(real))
            .current_dir(&place.dir)
            .env("HONE_HOME", place.dir.join("home"))
            .env("HF_HOME", place.dir.join("hf"))
            .env("HF_ENDPOINT", self.hub.address())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !disturb.is_empty() {
            command
                .env("LD_PRELOAD", &self.faults)
                .env("FAULTS_UNDER", &place.dir)
                .envs(disturb.iter().map(|(name, value)| (name, value)));
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(
        &self,
        place: &Place,
        arguments: &[String],
        disturb: &[(&str, String)],
    ) -> Result<Output> {
        let mut command = self.command(place, arguments, disturb);
        wait(command.spawn().context("hone cannot be run")?)
    }

    /// Runs a command undisturbed, as what all rounds are compared with.
    pub fn reference(&self, work: &Work) -> Result<Reference> {
        let place = self.place(u64::MAX)?;
        let count = self.dir.join("calls");
        let started = Instant::now();
        let ran = self.run(
            &place,
            &work.arguments,
            &[("FAULTS_COUNT", count.display().to_string())],
        )?;
        ensure!(
            ran.status.success(),
            "{} undisturbed: {}",
            work.name,
            String::from_utf8_lossy(&ran.stderr)
        );
        let reference = Reference {
            work: work.clone(),
            calls: fs::read_to_string(&count)?.trim().parse()?,
            seconds: started.elapsed().as_secs_f64(),
            left: self.left(&place)?,
        };
        ensure!(
            !reference.left.results.is_empty(),
            "{} gives no files to compare",
            work.name
        );
        fs::remove_dir_all(&place.dir)?;
        Ok(reference)
    }

    /// The states of the runs that `hone runs` lists.
    pub fn states(&self, place: &Place) -> Result<Result<Vec<String>, String>> {
        let ran = self.run(place, &["runs".to_owned(), "--json".to_owned()], &[])?;
        if !ran.status.success() {
            return Ok(Err(String::from_utf8_lossy(&ran.stderr).into_owned()));
        }
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let state = |line: &str| {
            let row: Value = serde_json::from_str(line)?;
            Ok(row["status"].as_str().unwrap_or_default().to_owned())
        };
        Ok(Ok(text.lines().map(state).collect::<Result<_>>()?))
    }

    /// What is in a place.
    pub fn left(&self, place: &Place) -> Result<Left> {
        let mut paths = BTreeSet::new();
        walk(&place.dir, &place.dir, &mut paths)?;
        let out = format!("{OUT}/");
        let is_result = |path: &&String| {
            let kept = [
                ".safetensors",
                ".gguf",
                "rows.jsonl",
                "train.jsonl",
                "valid.jsonl",
                "adapter_config.json",
            ];
            (path.starts_with(&out) || path.contains("/snapshots/"))
                && !path.contains("/checkpoints/")
                && kept.iter().any(|end| path.ends_with(end))
        };
        let read = |path: &String| Ok((path.clone(), fs::read(place.dir.join(path))?));
        let results = paths.iter().filter(is_result).map(read);
        Ok(Left {
            results: results.collect::<Result<_>>()?,
            events: events(&place.dir.join(OUT).join("events.jsonl"))?,
            paths,
        })
    }
}

/// No command takes so long, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(120);

/// A command that did not end.
#[derive(Debug)]
pub struct Hang {
    limit: Duration,
    said: String,
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, said) = (self.limit.as_secs_f64(), &self.said);
        write!(f, "a command did not end in {seconds} s; it said: {said}")
    }
}

impl std::error::Error for Hang {}

/// Waits for the end of a command, and for what it says; one that does not end is killed, and an error.
pub fn wait(child: Child) -> Result<Output> {
    wait_at_most(LONGEST, child)
}

fn wait_at_most(limit: Duration, mut child: Child) -> Result<Output> {
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let (stdout, stderr) = (joined(stdout)?, joined(stderr)?);
    match status {
        Some(status) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        None => {
            let said = String::from_utf8_lossy(&stderr).into_owned();
            Err(Hang { limit, said }.into())
        }
    }
}

/// Reads a pipe beside: a command whose words nobody takes stands still.
fn reader(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut said)?;
        }
        Ok(said)
    })
}

fn joined(reader: JoinHandle<io::Result<Vec<u8>>>) -> Result<Vec<u8>> {
    Ok(reader.join().expect("reading does not panic")?)
}

/// Steps, validations and checkpoints of a log; none where there is no log.
fn events(log: &Path) -> Result<BTreeMap<(String, u64), usize>> {
    let mut events = BTreeMap::new();
    let Ok(text) = fs::read(log) else {
        return Ok(events);
    };
    for line in String::from_utf8_lossy(&text).lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let (Some(kind), Some(step)) = (event["event"].as_str(), event["step"].as_u64()) else {
            continue;
        };
        if ["stepped", "validated", "saved"].contains(&kind) {
            *events.entry((kind.to_owned(), step)).or_default() += 1;
        }
    }
    Ok(events)
}

fn walk(root: &Path, folder: &Path, paths: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let within = path.strip_prefix(root)?.display().to_string();
        if entry.file_type()?.is_dir() {
            walk(root, &path, paths)?;
        }
        paths.insert(within);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_end_is_ended_and_what_it_said_is_told() {
        let run = |script: &str, limit: Duration| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped());
            wait_at_most(limit, command.stderr(Stdio::piped()).spawn().unwrap())
        };
        let ran = run("echo done; exit 3", LONGEST).unwrap();
        assert_eq!(
            (ran.status.code(), ran.stdout),
            (Some(3), b"done\n".to_vec())
        );
        let error = run(
            "echo waiting >&2; exec sleep 600",
            Duration::from_millis(300),
        )
        .unwrap_err();
        assert!(error.is::<Hang>());
        let told = error.to_string();
        assert!(told.ends_with("0.3 s; it said: waiting\n"), "{told}");
    }
}
