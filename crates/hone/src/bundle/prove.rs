//! Replaying texts through what was written.

use super::source::{Source, attachable, joined};
use crate::dataset::Dataset;
use crate::parity::{
    Bound, Compared, OtherReader, Parity, Prompts, Replay, distance_of, same_shape,
};
use crate::plan::{Machine, Origin, RawTrain, Settings};
use crate::refusal::Refusal;
use crate::screen::Talk;
use anyhow::{Context, Result};
use hone_model::weights::BaseWeights;
use hone_model::{BaseFormat, Generation, LoraParts, Model, Reading, Sampling, Session};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Flags of every verb that proves what it writes.
#[derive(Debug, Default, clap::Args)]
pub struct Prover {
    /// Replay these instead: a line of a text file is a prompt, a row of any other is a conversation
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Have another program read it too, with the Python of HONE_PYTHON (default: python3)
    #[arg(long, value_name = "PROGRAM", value_enum)]
    verify_with: Vec<Verifier>,
    /// Keep what is not within its bound, with the figures beside it
    #[arg(long)]
    pub keep_anyway: bool,
}

/// Another program that can read what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Verifier {
    /// llama.cpp, through llama-cpp-python: GGUF models and adapters.
    LlamaCppPython,
    /// transformers, and PEFT for adapters: Hugging Face directories.
    Transformers,
}

/// What there is to read back.
#[derive(Debug, Clone, Copy)]
pub enum Written<'a> {
    /// A model: a GGUF file or a Hugging Face directory.
    Model(&'a Path),
    /// An adapter for the base, as it was read back, and its file or directory.
    Adapter(&'a LoraParts, &'a Path),
}

/// What is to be compared with: the reference, and what it makes of the texts.
pub struct Expected {
    prompts: Prompts,
    reference: Model,
    readings: Vec<Reading>,
}

/// Held-out rows that are replayed.
const ROWS: usize = 8;

/// Tokens of the greedy continuations that other programs are compared by.
const CONTINUATION: usize = 24;

impl Prover {
    /// Texts: those that were asked for, else held-out rows of the run, else the built-in ones.
    pub fn prompts(&self, source: &Source, talk: Talk) -> Result<Prompts> {
        let renderer = &source.open.renderer;
        if let Some(file) = &self.prompts {
            return self.read_prompts(file, source);
        }
        if let Some((_, record)) = &source.run {
            match held_out(source, &record.asked) {
                Ok(prompts) if !prompts.ids.is_empty() => return Ok(prompts),
                Ok(_) => {}
                Err(why) => talk.say(format!("the run's held-out rows cannot be read, so built-in prompts are replayed: {why:#}")),
            }
        }
        Ok(Prompts::built_in(renderer)?)
    }

    fn read_prompts(&self, file: &Path, source: &Source) -> Result<Prompts> {
        let renderer = &source.open.renderer;
        let origin = |count: usize| format!("{count} prompts of {}", file.display());
        let prompts = if file.extension().is_some_and(|end| end == "txt") {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            Prompts::said(renderer, lines.iter().copied(), origin(lines.len()))?
        } else {
            let records = hone_data::read(&[file])?.records;
            let encoded =
                hone_data::encode(renderer, &records, usize::MAX, hone_data::TooLong::Drop);
            let ids: Vec<Vec<u32>> = encoded
                .examples
                .into_iter()
                .map(|example| example.ids)
                .collect();
            let origin = origin(ids.len());
            Prompts::of_ids(ids, origin)
        };
        match prompts.ids.is_empty() {
            true => Err(Refusal::usage(format!("{} holds no prompt", file.display())).into()),
            false => Ok(prompts),
        }
    }

    /// Lets the reference read the texts while `write` writes: it needs nothing of what is being written.
    pub fn beside<T>(
        &self,
        source: &Source,
        talk: Talk,
        write: impl FnOnce() -> Result<T>,
    ) -> Result<(Expected, T)> {
        std::thread::scope(|scope| {
            let expected = scope.spawn(|| self.expect(source, talk));
            let written = write();
            let expected = joined(expected.join());
            // What could not be written matters more than what would have been compared with it.
            let written = written?;
            Ok((expected?, written))
        })
    }

    fn expect(&self, source: &Source, talk: Talk) -> Result<Expected> {
        let prompts = self.prompts(source, talk)?;
        let reference = source.reference(prompts.longest() + CONTINUATION)?;
        Ok(Expected {
            readings: prompts.read(&reference)?,
            prompts,
            reference,
        })
    }

    /// Compares what was written with what was expected.
    pub fn prove(
        &self,
        source: &Source,
        expected: Expected,
        written: Written,
        bound: Option<Bound>,
        talk: Talk,
    ) -> Result<Parity> {
        let Expected {
            prompts,
            reference,
            readings,
        } = expected;
        let (model, bound) = read_back(source, written, bound, prompts.longest() + CONTINUATION)?;
        let found = prompts.read(&model)?;
        let distance = distance_of((&reference, &readings), (&model, &found))?;
        drop((model, found));
        source.check_base()?;
        let mut parity = Parity::new(&prompts, distance, bound);
        if let (Written::Model(path), true) = (written, parity.bound.is_coarse()) {
            parity.compared = Some(compare(source, path)?);
        }
        talk.say(parity.sentence());
        if self.verify_with.is_empty() {
            return Ok(parity);
        }
        let continuations = continuations(&reference, &prompts)?;
        let expected = prompts.replay(&reference)?;
        drop(reference);
        for verifier in &self.verify_with {
            match ask(*verifier, source, written, &prompts)? {
                None => talk.say(format!(
                    "{} is not there, so nothing was asked of it",
                    verifier.package()
                )),
                Some(answer) => {
                    let other = answer.judged(*verifier, &expected, &continuations, &parity.bound);
                    talk.say(format!(
                        "{}: mean KL {:.2e} nats, top-1 agreement {:.1} %, {} of {} continuations the same",
                        other.program,
                        other.distance.mean_kl,
                        100.0 * other.distance.top1_agreement,
                        other.same_continuations.0,
                        other.same_continuations.1
                    ));
                    parity.others.push(other);
                }
            }
        }
        Ok(parity)
    }
}

/// Rows that the run held out.
fn held_out(source: &Source, asked: &RawTrain) -> Result<Prompts> {
    let settings = Settings::resolve(
        asked,
        &RawTrain::default(),
        Origin::RunFile,
        Machine::measure(),
    )?;
    let limit = source.open.weights.config().context_len;
    let settings = settings.within_context(limit)?;
    let max_length = settings.max_length.value;
    let dataset = Dataset::load(&settings, &source.open.renderer, max_length)?;
    let ids: Vec<Vec<u32>> = dataset
        .valid
        .iter()
        .take(ROWS)
        .map(|example| example.ids.clone())
        .collect();
    let origin = format!("{} held-out rows of the run", ids.len());
    Ok(Prompts::of_ids(ids, origin))
}

fn read_back(
    source: &Source,
    written: Written,
    bound: Option<Bound>,
    longest: usize,
) -> Result<(Model, Bound)> {
    match written {
        Written::Model(path) => {
            let mut weights = BaseWeights::open(path)?;
            if source.open.weights.is_streamed() {
                weights.stream();
            }
            if !same_shape(source.open.weights.config(), weights.config()) {
                return Err(Refusal::failed(format!(
                    "{} is read back as another model than was written",
                    path.display()
                ))
                .into());
            }
            let bound = bound.unwrap_or_else(|| Bound::of(&weights));
            Ok((
                Model::load(&weights, &source.device, BaseFormat::Stored, longest)?,
                bound,
            ))
        }
        Written::Adapter(parts, _) => {
            let mut model = Model::load(
                &source.open.weights,
                &source.device,
                BaseFormat::Stored,
                longest,
            )?;
            let adapter = attachable(parts, &model)?;
            model.attach(adapter);
            Ok((model, bound.unwrap_or(Bound::FULL)))
        }
    }
}

/// Every number of a written model beside the merged one.
fn compare(source: &Source, path: &Path) -> Result<Compared> {
    let mut there = BaseWeights::open(path)?;
    if source.open.weights.is_streamed() {
        there.stream();
    }
    Ok(Compared::of(&source.merged()?.residual(&there)?))
}

fn continuations(model: &Model, prompts: &Prompts) -> Result<Vec<Vec<u32>>> {
    let generation = Generation {
        max_new_tokens: CONTINUATION,
        stop_ids: vec![],
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: 0,
        },
    };
    let mut all = Vec::new();
    for ids in &prompts.ids {
        all.push(
            Session::new(model)
                .answer(model, ids, &generation, |_| true)?
                .ids,
        );
    }
    Ok(all)
}

impl Verifier {
    fn package(self) -> &'static str {
        match self {
            Self::LlamaCppPython => "llama-cpp-python",
            Self::Transformers => "transformers",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::LlamaCppPython => include_str!("verify_llama_cpp.py"),
            Self::Transformers => include_str!("verify_transformers.py"),
        }
    }
}

#[derive(Serialize)]
struct Question<'a> {
    base: &'a Path,
    model: Option<&'a Path>,
    adapter: Option<&'a Path>,
    prompts: &'a [Vec<u32>],
    new_tokens: usize,
    logits: &'a Path,
}

/// What another program says: its logits are in a file of their own.
#[derive(Deserialize)]
struct Said {
    version: String,
    continuations: Vec<Vec<u32>>,
    vocab: usize,
}

struct Answer {
    said: Said,
    replay: Replay,
}

/// Asks another program; `None` where it is not installed.
fn ask(
    verifier: Verifier,
    source: &Source,
    written: Written,
    prompts: &Prompts,
) -> Result<Option<Answer>> {
    let python = std::env::var_os("HONE_PYTHON").unwrap_or_else(|| "python3".into());
    let dir = tempfile::tempdir()?;
    let logits = dir.path().join("logits.f32");
    let question = Question {
        base: &source.open.base.path,
        model: match written {
            Written::Model(path) => Some(path),
            Written::Adapter(..) => None,
        },
        adapter: match written {
            Written::Model(_) => None,
            Written::Adapter(_, path) => Some(path),
        },
        prompts: &prompts.ids,
        new_tokens: CONTINUATION,
        logits: &logits,
    };
    let asked = dir.path().join("question.json");
    std::fs::write(&asked, json!(question).to_string())?;
    let script = dir.path().join("verify.py");
    std::fs::write(&script, verifier.script())?;
    let output = Command::new(&python)
        .arg(&script)
        .arg(&asked)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot start {}", python.to_string_lossy()));
        }
    };
    // 77 is how scripts say that what they need is not installed.
    if output.status.code() == Some(77) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.lines().last().unwrap_or("no message").to_owned();
        return Err(Refusal::failed(format!(
            "{} cannot use what was written: {last}",
            verifier.package()
        ))
        .into());
    }
    let said: Said = serde_json::from_str(last)
        .with_context(|| format!("{} answered {last:?}", verifier.package()))?;
    let numbers = std::fs::read(&logits)?;
    let mut numbers = numbers
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    let rows = prompts
        .ids
        .iter()
        .map(|ids| numbers.by_ref().take(ids.len() * said.vocab).collect());
    let replay = Replay {
        rows: rows.collect(),
        vocab: said.vocab,
    };
    Ok(Some(Answer { said, replay }))
}

impl Answer {
    /// Other programs compute with activations in 8 bits where weights are quantised, so their bound is that of 8 bits
    /// at least.
    fn judged(
        self,
        verifier: Verifier,
        expected: &Replay,
        continuations: &[Vec<u32>],
        bound: &Bound,
    ) -> OtherReader {
        let distance = expected.distance(&self.replay);
        let same = continuations
            .iter()
            .zip(&self.said.continuations)
            .filter(|(ours, theirs)| ours == theirs);
        let complete = self.replay.rows.iter().map(Vec::len).sum::<usize>()
            == self.said.vocab * distance.tokens
            && self.said.continuations.len() == continuations.len();
        OtherReader {
            program: format!("{} {}", verifier.package(), self.said.version),
            same_continuations: (same.count(), continuations.len()),
            holds: complete && bound.at_least_eight_bits().holds(&distance),
            distance,
        }
    }
}
