//! llama.cpp on the same file, tokens and threads, in turns with Hone: reading a prompt, and one sequence written greedily.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use hone::base::OpenBase;
use hone::model::{BaseFormat, Generation, Model, Sampling, Session};
use hone::tensor::Device;

use crate::measure::Figure;

const PROMPT_TOKENS: usize = 512;
const NEW_TOKENS: usize = 128;

/// The process that holds llama.cpp.
struct LlamaCpp {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl LlamaCpp {
    /// `dir` has node-llama-cpp and `llama_cpp.mjs`.
    fn start(dir: &Path, file: &Path, threads: usize, prompt: &[u32]) -> Result<Self> {
        let mut child = Command::new("node")
            .arg("llama_cpp.mjs")
            .arg(file)
            .args([threads.to_string(), NEW_TOKENS.to_string()])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("node does not start")?;
        let mut stdin = child.stdin.take().context("node has no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("node has no stdout")?);
        writeln!(stdin, "{prompt:?}")?;
        Ok(Self {
            child,
            stdin,
            stdout,
        })
    }

    /// Seconds of a `prompt` or a `decode`.
    fn ask(&mut self, what: &str) -> Result<f64> {
        writeln!(self.stdin, "{what}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let seconds = line.trim().parse();
        seconds.with_context(|| format!("llama.cpp said `{}` to {what}", line.trim()))
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of both, for a prompt and for decoding.
pub fn beside(
    base: &OpenBase,
    dir: &Path,
    (device, threads): (&Device, usize),
    repeats: usize,
) -> Result<Vec<Figure>> {
    let file = base.weights.path();
    if file.extension().is_none_or(|ending| ending != "gguf") {
        eprintln!(
            "skipped: llama.cpp beside Hone, since {} is no GGUF file",
            file.display()
        );
        return Ok(vec![]);
    }
    let text =
        "The lighthouse keeper walked down to the shore and looked at the ships. ".repeat(80);
    let mut prompt = base.renderer.tokenizer().encode(&text)?;
    prompt.truncate(PROMPT_TOKENS);
    let model = Model::load(&base.weights, device, BaseFormat::Stored, 1024)?;
    let settings = |max_new_tokens| Generation {
        max_new_tokens,
        stop_ids: vec![],
        sampling: Sampling::GREEDY,
    };
    let read = || -> Result<f64> {
        let begin = Instant::now();
        Session::new(&model).answer(&model, &prompt, &settings(1), |_| true)?;
        Ok(begin.elapsed().as_secs_f64())
    };
    let decode = || -> Result<f64> {
        let mut begin = None;
        Session::new(&model).answer(&model, &prompt[..8], &settings(NEW_TOKENS + 1), |_| {
            begin.get_or_insert_with(Instant::now);
            true
        })?;
        Ok(begin.context("something was said")?.elapsed().as_secs_f64())
    };
    let mut llama = LlamaCpp::start(dir, file, threads, &prompt)?;
    let mut times: [Vec<f64>; 4] = Default::default();
    // The first round is not counted: files come from the disk.
    for round in 0..=repeats.max(1) {
        let taken = [
            read()?,
            llama.ask("prompt")?,
            decode()?,
            llama.ask("decode")?,
        ];
        if round > 0 {
            times
                .iter_mut()
                .zip(taken)
                .for_each(|(all, own)| all.push(own));
        }
    }
    let names = [
        ("prompt", PROMPT_TOKENS),
        ("prompt, llama.cpp", PROMPT_TOKENS),
        ("decode", NEW_TOKENS),
        ("decode, llama.cpp", NEW_TOKENS),
    ];
    let figures = names.into_iter().zip(times);
    let figures: Vec<Figure> = figures
        .map(|((name, tokens), seconds)| Figure {
            tokens,
            ..Figure::new(name, seconds, 0.0)
        })
        .collect();
    for pair in figures.chunks_exact(2) {
        let [own, other] = pair else { continue };
        eprintln!(
            "{}: {:.2} times llama.cpp by the shortest times, {:.2} by the medians",
            own.name,
            other.min() / own.min(),
            other.median() / own.median()
        );
    }
    Ok(figures)
}
