//! Replaying texts through what was written.

use super::source::{Source, joined};
use crate::dataset::Dataset;
use crate::parity::{
    BaseRounding, Bound, Compared, Comparison, Measured, OtherReader, Parity, Prompts, REPLIES,
    Replay, Replies, Text, changes, compare, evenly, worth_seeing,
};
use crate::plan::{Machine, Origin, RawTrain, Settings};
use crate::refusal::Refusal;
use crate::screen::{Talk, plural, say_to_all};
use anyhow::{Context, Result};
use hone_data::{Body, Reason, Record, encode_row};
use hone_ledger::words::path_for_shell;
use hone_model::arch::DecoderConfig;
use hone_model::weights::BaseWeights;
use hone_model::{
    AdapterWeights, BaseFormat, Completion, Generation, Model, Reading, Sampling, Session,
};
use hone_text::{Renderer, Role};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Flags of every verb that proves what it writes.
#[derive(Debug, Default, clap::Args)]
pub struct Prover {
    /// Replay these instead: a line of a text file is a prompt, a row of any other is a conversation
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Let both answer up to N of the prompts and compare the replies; 8 rows or 4 built-in prompts if not given, 0 for none
    #[arg(long, value_name = "N")]
    replies: Option<usize>,
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
    Adapter(&'a AdapterWeights, &'a Path),
}

/// What is to be compared with: the reference, and what it makes of the texts.
pub struct Expected {
    prompts: Prompts,
    reference: Model,
    readings: Vec<Reading>,
}

/// Held-out rows that are replayed, where no more are asked about.
const ROWS: usize = 8;

/// Tokens of held-out rows that are replayed: enough for figures that mean something, few enough not to be waited for.
const TOKENS_OF_ROWS: usize = 3072;

/// Rows that are replayed however long they are.
const FEWEST_ROWS: usize = 4;

/// Tokens of the greedy continuations that other programs are compared by.
const CONTINUATION: usize = 24;

/// What `--prompts` takes.
const PROMPTS: &str = "a line of a .txt file is a prompt, a row of any other a conversation, with a reply at its end or without";

impl Prover {
    /// Texts: those that were asked for, else held-out rows of the run, else the built-in ones.
    pub fn prompts(&self, source: &Source, talk: Talk) -> Result<Prompts> {
        let prompts = self.find_prompts(source, talk)?;
        // A reply takes a pass over the base for each of its tokens: too long a wait where that comes from disk.
        let unasked = match source.open.weights.is_streamed() {
            true => 0,
            false => prompts.worth_asking,
        };
        let most = self.replies.unwrap_or(unasked);
        Ok(prompts.asking(most))
    }

    /// Why no replies are compared, where there are none.
    fn why_not(&self) -> &'static str {
        match self.replies {
            Some(_) => "--replies 0",
            None => "the base is read from disk as it is used; --replies N compares N all the same",
        }
    }

    fn find_prompts(&self, source: &Source, talk: Talk) -> Result<Prompts> {
        let renderer = &source.open.renderer;
        if let Some(file) = &self.prompts {
            return self.read_prompts(file, source, talk);
        }
        if let Some((_, record)) = &source.run {
            match self.held_out(source, &record.asked) {
                Ok(prompts) if !prompts.texts.is_empty() => return Ok(prompts),
                Ok(_) => {}
                Err(why) => talk.say(format!("the run's held-out rows cannot be read, so built-in prompts are replayed: {why:#}")),
            }
        }
        Ok(Prompts::built_in(renderer, context_of(source))?)
    }

    fn read_prompts(&self, file: &Path, source: &Source, talk: Talk) -> Result<Prompts> {
        if !file.is_file() {
            let what = match file.exists() {
                true => "is not a file",
                false => "is not there",
            };
            return Err(Refusal::usage(format!("--prompts {} {what}", file.display()))
                .hint(PROMPTS)
                .hint("leave --prompts out to replay rows that the run held out, or built-in texts")
                .into());
        }
        let mut left_out: Vec<String> = Vec::new();
        let renderer = &source.open.renderer;
        let context = context_of(source);
        let origin = |count: usize| format!("{} of {}", plural(count, "prompt"), file.display());
        let prompts = if file.extension().is_some_and(|end| end == "txt") {
            let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
                ErrorKind::InvalidData => Refusal::failed(format!("{} is not UTF-8 text", file.display()))
                    .hint(format!(
                        "write it again as UTF-8, if it is UTF-16: iconv -f UTF-16 -t UTF-8 {} > prompts.txt",
                        path_for_shell(file)
                    ))
                    .into(),
                _ => anyhow::Error::new(error).context(format!("cannot read {}", file.display())),
            })?;
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| !line.trim().is_empty())
                .collect();
            Prompts::said(
                renderer,
                lines.iter().copied(),
                origin(lines.len()),
                context,
            )?
        } else {
            let reading = hone_data::Reading::of(&[file], &hone_data::ReadOptions::of_own_rows())?;
            let told = |source: &hone_data::Source, reason: &Reason| format!("{source}: {reason}");
            let refused = reading.refused.iter();
            left_out.extend(refused.map(|row| told(&row.source, &row.reason)));
            let mut texts = Vec::new();
            for record in &reading.records {
                match text_of(renderer, record) {
                    Ok(text) => texts.push(text),
                    Err(reason) => left_out.push(told(&record.source, &reason)),
                }
            }
            let origin = origin(texts.len());
            Prompts::of_texts(texts, origin, context)
        };
        if prompts.texts.is_empty() {
            let refusal = Refusal::usage(format!("{} holds no prompt", file.display()));
            let first = left_out.first();
            let refusal = first
                .map(|first| format!("the first row: {first}"))
                .into_iter()
                .fold(refusal, Refusal::hint);
            return Err(refusal.hint(PROMPTS).into());
        }
        if let Some(first) = left_out.first() {
            talk.warn(format!(
                "{} of {} cannot be replayed, the first one: {first}",
                plural(left_out.len(), "row"),
                file.display()
            ));
        }
        Ok(prompts)
    }

    /// Rows that the run held out, spread over all of them.
    fn held_out(&self, source: &Source, asked: &RawTrain) -> Result<Prompts> {
        let settings = Settings::resolve(
            asked,
            &RawTrain::default(),
            Origin::RunFile,
            Machine::measure(),
        )?;
        let limit = context_of(source);
        let settings = settings.within_context(limit)?;
        let max_length = settings.max_length.value;
        let valid = Dataset::load(&settings, &source.open.renderer, max_length)?.valid;
        let asked = self.replies.unwrap_or(REPLIES);
        let mut count = valid.len().min(ROWS.max(asked));
        loop {
            let places = evenly(valid.len(), count);
            let origin = match count == valid.len() {
                true => format!("{count} held-out rows of the run"),
                false => format!("{count} of the {} held-out rows of the run", valid.len()),
            };
            let rows = places.iter().map(|place| &valid[*place]);
            let prompts = Prompts::of_rows(rows, origin, limit);
            if count <= FEWEST_ROWS.max(asked.min(valid.len()) / 2)
                || prompts.counted().iter().map(|ids| ids.len()).sum::<usize>() <= TOKENS_OF_ROWS
            {
                return Ok(prompts);
            }
            count -= 1;
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
        let mut prompts = self.prompts(source, talk)?;
        let reference = source.reference(positions(&prompts, source))?;
        let asked = prompts.questions.iter();
        let asked: Vec<Vec<u32>> = asked.map(|question| question.prompt.clone()).collect();
        prompts.answered(answers(
            &reference,
            source,
            &asked,
            prompts.longest_answer(),
        )?);
        Ok(Expected {
            readings: prompts.read(&reference)?,
            prompts,
            reference,
        })
    }

    /// Compares what was written with what was expected. `finer` says how to write it with less rounding.
    pub fn prove(
        &self,
        source: &Source,
        expected: Expected,
        written: Written,
        finer: Option<String>,
        talk: Talk,
    ) -> Result<Parity> {
        let Expected {
            prompts,
            mut reference,
            readings,
        } = expected;
        let (model, bound) = read_back(source, written, positions(&prompts, source))?;
        let found = prompts.read(&model)?;
        let comparison = compare(&prompts, (&reference, &readings), (&model, &found))?;
        let replies = match prompts.questions.is_empty() {
            true => Replies::not_asked(self.why_not()),
            false => replies(&prompts, &comparison, &model, source)?,
        };
        drop((model, found));
        source.check_base()?;
        let mut parity = Parity::new(&prompts, &comparison, bound, replies, finer);
        if let (Written::Model(path), true) = (written, parity.bound.is_coarse()) {
            parity = parity.with_compared(compare_tensors(source, path)?);
            parity = parity.with_base_rounding(measure_rounding(
                source,
                path,
                &prompts,
                &mut reference,
            )?);
        }
        for line in parity.lines() {
            match line.strip_prefix("WARNING: ") {
                // The quiet hear it too.
                Some(_) => say_to_all(&line),
                None => talk.say(&line),
            }
        }
        if self.verify_with.is_empty() {
            return Ok(parity);
        }
        let asked = continued(&prompts);
        let continuations = continuations(&reference, &asked)?;
        let expected = Replay::of(&prompts, &reference)?;
        drop(reference);
        for verifier in &self.verify_with {
            match ask(*verifier, source, written, &prompts, &asked)? {
                None => talk.say(format!(
                    "{} is not there, so nothing was asked of it",
                    verifier.package()
                )),
                Some(answer) => {
                    let other = answer.judged(*verifier, &expected, &continuations, &parity);
                    talk.say(format!(
                        "{}: mean KL {:.2e} nats, top-1 agreement {:.1} %, {} of {} continuations the same",
                        other.program,
                        other.distance.mean_kl,
                        100.0 * other.distance.top1_agreement,
                        other.same_continuations.0,
                        other.same_continuations.1
                    ));
                    parity = parity.with_other(other);
                }
            }
        }
        Ok(parity)
    }
}

/// A row as it is replayed: whole, or as a prompt where its last word is the user's.
fn text_of(renderer: &Renderer, record: &Record) -> Result<Text, Reason> {
    if let Body::Chat(conversation) = &record.body
        && conversation
            .turns
            .last()
            .is_some_and(|turn| turn.role == Role::User)
    {
        return Ok(Text::of_prompt(renderer.encode_prompt(conversation)?));
    }
    let encoded = encode_row(renderer, record)?;
    Ok(Text::of_row(encoded.ids, encoded.supervised))
}

fn context_of(source: &Source) -> usize {
    source.open.weights.config().context_len
}

/// Tokens that models are loaded for.
fn positions(prompts: &Prompts, source: &Source) -> usize {
    (prompts.longest() + CONTINUATION).min(context_of(source))
}

/// Greedy replies, many at a time.
fn answers(
    model: &Model,
    source: &Source,
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
) -> Result<Vec<Completion>> {
    let generation = Generation {
        max_new_tokens,
        stop_ids: source.open.renderer.stop_ids().to_vec(),
        sampling: Sampling::GREEDY,
    };
    Ok(model.generate_many(prompts, &generation, prompts.len(), |_, _| {})?)
}

/// What became of the replies; only those that changed are generated again.
fn replies(
    prompts: &Prompts,
    comparison: &Comparison,
    written: &Model,
    source: &Source,
) -> Result<Replies> {
    let changes = changes(prompts, comparison);
    let seen = worth_seeing(prompts, &changes);
    let asked = changes.iter().zip(&seen).filter(|(_, seen)| **seen);
    let asked: Vec<Vec<u32>> = asked
        .map(|(change, _)| prompts.questions[change.question].prompt.clone())
        .collect();
    let mut replies = answers(written, source, &asked, prompts.longest_answer())?.into_iter();
    let mut next = || replies.next().map(|reply| reply.ids);
    let instead: Vec<Option<Vec<u32>>> = seen
        .iter()
        .map(|seen| seen.then(&mut next).flatten())
        .collect();
    let tokenizer = source.open.renderer.tokenizer();
    // A text for people: ids that no text has are shown as the ids that they are.
    let text_of = |ids: &[u32]| {
        let decoded = tokenizer.decode(ids, true);
        decoded.unwrap_or_else(|_| format!("{ids:?}"))
    };
    Ok(Replies::of(prompts, &changes, &instead, &text_of))
}

fn read_back(source: &Source, written: Written, longest: usize) -> Result<(Model, Bound)> {
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
            let bound = Bound::of(&weights);
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
            model.attach(parts.to_adapter(model.config(), model.device())?);
            Ok((model, Bound::FULL))
        }
    }
}

/// Whether two decoders can be compared at all.
fn same_shape(ours: &DecoderConfig, theirs: &DecoderConfig) -> bool {
    (ours.vocab_size, ours.num_layers, ours.d_model)
        == (theirs.vocab_size, theirs.num_layers, theirs.d_model)
}

/// Every number of a written model beside the merged one.
fn compare_tensors(source: &Source, path: &Path) -> Result<Compared> {
    let mut there = BaseWeights::open(path)?;
    if source.open.weights.is_streamed() {
        there.stream();
    }
    let merged = source.merged()?;
    let residuals = merged.residual(&there)?;
    Ok(Compared::of(&residuals, merged.config(), there.config()))
}

/// What the types that were written make of the base alone, over the texts of the proof. The reference lends its base, which
/// is in memory, and has its adapter back afterwards.
fn measure_rounding(
    source: &Source,
    path: &Path,
    prompts: &Prompts,
    reference: &mut Model,
) -> Result<Measured> {
    let base = &source.open.weights;
    let written = BaseWeights::open(path)?;
    if let Some(not_measured) = Measured::why_not(base, &written) {
        return Ok(Measured::No { not_measured });
    }
    let rounded = source.rounded_base(&written, positions(prompts, source))?;
    let adapter = reference.detach();
    let expected = prompts.read(reference)?;
    let found = prompts.read(&rounded)?;
    let comparison = compare(prompts, (reference, &expected), (&rounded, &found))?;
    if let Some(adapter) = adapter {
        reference.attach(adapter);
    }
    Ok(Measured::Yes(Box::new(BaseRounding::of(comparison.all))))
}

/// Prompts that other programs continue: those of the replies; without any the texts.
fn continued(prompts: &Prompts) -> Vec<Vec<u32>> {
    let asked = prompts.questions.iter();
    let asked: Vec<Vec<u32>> = asked.map(|question| question.prompt.clone()).collect();
    match asked.is_empty() {
        true => prompts.counted().iter().map(|ids| ids.to_vec()).collect(),
        false => asked,
    }
}

fn continuations(model: &Model, prompts: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let generation = Generation {
        max_new_tokens: CONTINUATION,
        stop_ids: vec![],
        sampling: Sampling::GREEDY,
    };
    let mut all = Vec::new();
    for ids in prompts {
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
    texts: Vec<&'a [u32]>,
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
    asked_to_continue: &[Vec<u32>],
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
        texts: prompts.counted(),
        prompts: asked_to_continue,
        new_tokens: CONTINUATION,
        logits: &logits,
    };
    let asked = dir.path().join("question.json");
    hone_ledger::write_whole(&asked, json!(question).to_string().as_bytes())?;
    let script = dir.path().join("verify.py");
    hone_ledger::write_whole(&script, verifier.script().as_bytes())?;
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
        .counted()
        .into_iter()
        .map(|ids| numbers.by_ref().take(ids.len() * said.vocab).collect());
    let replay = Replay {
        rows: rows.collect(),
        vocab: said.vocab,
    };
    Ok(Some(Answer { said, replay }))
}

impl Answer {
    fn judged(
        self,
        verifier: Verifier,
        expected: &Replay,
        continuations: &[Vec<u32>],
        parity: &Parity,
    ) -> OtherReader {
        let distance = expected.distance(&self.replay);
        let same = continuations
            .iter()
            .zip(&self.said.continuations)
            .filter(|(ours, theirs)| ours == theirs);
        let complete = self.replay.rows.iter().map(Vec::len).sum::<usize>()
            == self.said.vocab * distance.tokens
            && self.said.continuations.len() == continuations.len();
        let bound = &parity.bound;
        OtherReader {
            program: format!("{} {}", verifier.package(), self.said.version),
            same_continuations: (same.count(), continuations.len()),
            holds: complete && bound.holds_for_another_program(&distance, &parity.distance),
            distance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{SourceArgs, tokenizer_metadata};
    use crate::parity::Verdict;
    use hone_model::export::{GgufKind, GgufMetadata, write_gguf};

    /// Exports the tiny model with four bits, and changes the file before it is read back.
    fn proven(change: impl FnOnce(&mut Vec<u8>)) -> Parity {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
        let args = SourceArgs {
            model: fixtures
                .join("models/tiny-llama-untied")
                .display()
                .to_string(),
            adapters: vec![fixtures.join("adapters/tiny-llama-untied")],
            base: "original".into(),
            chat_template: None,
            template_options: vec![],
            threads: Some(1),
        };
        let source = args.open(Talk::new(true)).unwrap();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("model.gguf");
        let (prover, talk) = (Prover::default(), Talk::new(true));
        let write = || {
            let extra = GgufMetadata {
                name: "tiny".into(),
                tokenizer: tokenizer_metadata(&source)?,
                outdated: Vec::new(),
            };
            let kind = GgufKind::Plain(hone_tensor::Format::Q4_0);
            write_gguf(&source.merged()?, &path, kind, extra)?;
            let mut bytes = std::fs::read(&path)?;
            change(&mut bytes);
            Ok(std::fs::write(&path, bytes)?)
        };
        let (expected, ()) = prover.beside(&source, talk, write).unwrap();
        let written = Written::Model(&path);
        prover
            .prove(&source, expected, written, None, talk)
            .unwrap()
    }

    #[test]
    fn a_tensor_that_was_tampered_with_is_refused_though_four_bits_hide_it_from_a_replay() {
        let sound = proven(|_| {});
        assert_ne!(sound.verdict, Verdict::Refused, "{:?}", sound.reasons);
        assert!(sound.replies.asked == 4 && sound.reply_tokens.tokens > 8);
        let tampered = proven(|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 200]
                .iter_mut()
                .for_each(|byte| *byte ^= 0x88);
        });
        assert_eq!(tampered.verdict, Verdict::Refused, "{:?}", tampered.reasons);
        assert!(
            tampered.reasons[0].contains("are not the merged ones"),
            "{:?}",
            tampered.reasons
        );
    }

    #[test]
    fn a_setting_that_was_tampered_with_is_refused_by_name() {
        let tampered = proven(|bytes| {
            let key = b"rope.freq_base";
            let at = bytes
                .windows(key.len())
                .position(|window| window == key)
                .unwrap();
            // After the key stand its type, 6 for f32, and the number.
            let value = at + key.len() + 4;
            bytes[value..value + 4].copy_from_slice(&2e5f32.to_le_bytes());
        });
        assert_eq!(tampered.verdict, Verdict::Refused);
        assert!(
            tampered.reasons[0].contains("rope"),
            "{:?}",
            tampered.reasons
        );
    }
}
