//! A command that scores answers: started without a shell for each answer, told what was asked on its standard input, and
//! held to limits, because it may be anything.

use crate::refusal::Refusal;
use crate::screen::{Talk, plural};
use anyhow::Result;
use hone_ledger::child::{end_all, in_own_group, limit_memory};
use hone_ledger::words::quoted;
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The command and what it may use up.
#[derive(Clone, Debug)]
pub struct Scorer {
    words: Vec<String>,
    /// Where it runs; where Hone was started if nowhere.
    dir: Option<PathBuf>,
    limits: ScorerLimits,
}

/// What a scorer may use up for one answer.
#[derive(Clone, Copy, Debug)]
pub struct ScorerLimits {
    pub time: Duration,
    pub memory_bytes: u64,
}

/// An answer to be scored, and where its row stands.
pub struct ToScore {
    pub place: String,
    /// What the scorer is told.
    pub told: Value,
}

/// What a scorer may say.
const MOST_BYTES: usize = 64 << 10;
/// What is kept of its complaints.
const KEPT_COMPLAINT: usize = 4 << 10;
/// How long its pipes may stay open once it has ended.
const GRACE: Duration = Duration::from_millis(500);

/// Why an answer has no score.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot be started: {0}")]
    Start(std::io::Error),
    #[error("ran for more than {} s", .0.as_secs_f32())]
    Time(Duration),
    #[error("said more than {} KiB", MOST_BYTES >> 10)]
    Output,
    #[error("said `{}`, which is no number", quoted(.0))]
    NoNumber(String),
    #[error("ended with {how}{}", last_line(.complaint))]
    Ended { how: String, complaint: String },
}

fn last_line(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| format!(": {}", quoted(line.trim())))
}

impl Scorer {
    /// The command of these words; a program that is a relative path is one from `dir`.
    ///
    /// # Errors
    /// A command without words, and one that is no program.
    pub fn new(words: &str, dir: Option<&Path>, limits: ScorerLimits) -> Result<Self> {
        let wrong = |what: &str| Refusal::usage(format!("the scorer `{}` {what}", quoted(words)));
        let mut split = split(words).ok_or_else(|| wrong("has a quote that is not closed"))?;
        let Some(program) = split.first_mut() else {
            return Err(wrong("has no words").hint("a scorer is a program and what it is given, as in --scorer \"python3 score.py\"").into());
        };
        if let (Some(dir), true) = (dir, program.contains('/')) {
            let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
            *program = dir.join(&*program).display().to_string();
        }
        if !is_program(program) {
            return Err(wrong("begins with no program that is here")
                .hint("a scorer is a program and what it is given, as in --scorer \"python3 score.py\"; there is no shell")
                .into());
        }
        let dir = dir
            .filter(|dir| *dir != Path::new(""))
            .map(Path::to_path_buf);
        Ok(Self {
            words: split,
            dir,
            limits,
        })
    }

    /// The score of each answer: a number that the command says, or 1 where it ends with 0 and says nothing, and 0 where it ends with
    /// 1 and says nothing. An answer that it fails on counts as 0, and that is told.
    ///
    /// # Errors
    /// A command that cannot be started, and one that fails on every answer.
    pub fn score(&self, answers: &[ToScore], who: &str, talk: Talk) -> Result<Vec<f64>> {
        let scored = self.all(answers);
        let failed = || {
            scored
                .iter()
                .zip(answers)
                .filter_map(|(score, answer)| Some((score.as_ref().err()?, answer)))
        };
        if let Some((first, answer)) = failed().next() {
            let name = quoted(&self.words.join(" "));
            let count = failed().count();
            if count == scored.len() || matches!(first, Fault::Start(_)) {
                return Err(Refusal::failed(format!("the scorer `{name}` {first} ({})", answer.place))
                    .hint("a scorer reads a JSON object from its standard input, says a number and ends with 0; or says nothing and ends with 0 (right) or 1 (wrong)")
                    .hint("--scorer-seconds and --scorer-memory say what it may use for one answer")
                    .into());
            }
            talk.warn(format!(
                "{who}: the scorer failed on {count} of {}, which count as 0; the first: {}: it {first}",
                plural(answers.len(), "answer"),
                answer.place
            ));
        }
        Ok(scored
            .into_iter()
            .map(|score| score.unwrap_or(0.0))
            .collect())
    }

    /// Several at a time, in the order of the answers.
    fn all(&self, answers: &[ToScore]) -> Vec<Result<f64, Fault>> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let part = answers.len().div_ceil(workers).max(1);
        let score = |part: &[ToScore]| -> Vec<Result<f64, Fault>> {
            part.iter().map(|answer| self.one(&answer.told)).collect()
        };
        std::thread::scope(|scope| {
            let parts: Vec<_> = answers
                .chunks(part)
                .map(|part| scope.spawn(move || score(part)))
                .collect();
            let done = parts.into_iter().map(|part| part.join());
            done.flat_map(|part| part.expect("a scorer's failure is no panic"))
                .collect()
        })
    }

    fn one(&self, told: &Value) -> Result<f64, Fault> {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        in_own_group(&mut command);
        let mut running = Running(command.spawn().map_err(Fault::Start)?);
        limit_memory(&running.0, self.limits.memory_bytes);
        let mut input = running.0.stdin.take().expect("it is piped");
        let line = format!("{told}\n");
        // One that does not read leaves this thread behind until it ends.
        std::thread::spawn(move || input.write_all(line.as_bytes()));
        let (out, err) = (running.0.stdout.take(), running.0.stderr.take());
        let said = first_bytes(out.expect("it is piped"), MOST_BYTES, AndThen::Leave);
        let complained = first_bytes(err.expect("it is piped"), KEPT_COMPLAINT, AndThen::Drain);
        let started = Instant::now();
        let mut heard = None;
        let status = loop {
            if let Ok(Some(status)) = running.0.try_wait() {
                break status;
            }
            if heard.is_none() {
                heard = said.try_recv().ok();
            }
            if heard.as_ref().is_some_and(|said| said.len() > MOST_BYTES) {
                return Err(Fault::Output);
            }
            if started.elapsed() > self.limits.time {
                return Err(Fault::Time(self.limits.time));
            }
            std::thread::sleep(PAUSE);
        };
        // What it has started itself may hold the pipes open: it goes with it.
        let heard = heard.or_else(|| said.recv_timeout(GRACE).ok());
        drop(running);
        let heard = heard
            .or_else(|| said.recv_timeout(GRACE).ok())
            .unwrap_or_default();
        if heard.len() > MOST_BYTES {
            return Err(Fault::Output);
        }
        let complaint = complained.recv_timeout(GRACE).unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint).into_owned();
        let said = String::from_utf8_lossy(&heard);
        match (status.code(), said.trim()) {
            (Some(0), "") => Ok(1.0),
            // Python ends so as well when it has raised.
            (Some(1), "") if complaint.trim().is_empty() => Ok(0.0),
            (Some(0), text) => {
                let last = text.lines().next_back().unwrap_or_default().trim();
                let number = last.parse::<f64>().ok().filter(|number| number.is_finite());
                number.ok_or_else(|| Fault::NoNumber(last.to_owned()))
            }
            _ => Err(Fault::Ended {
                how: status.to_string(),
                complaint,
            }),
        }
    }
}

/// Is there a file of this name, or in the places where programs are?
fn is_program(name: &str) -> bool {
    let path = Path::new(name);
    if path.components().count() > 1 || cfg!(windows) {
        return path.is_file() || cfg!(windows);
    }
    let places = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&places).any(|place| place.join(path).is_file())
}

/// How long is waited before it is asked again whether a scorer has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// A scorer at work, which ends with all that it has started when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        end_all(&mut self.0);
    }
}

/// What becomes of what is not kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AndThen {
    /// Nobody reads it, so its writer waits or ends.
    Leave,
    Drain,
}

/// The first bytes of a pipe, one more than `most` where there are more, once they are there.
fn first_bytes(
    mut pipe: impl Read + Send + 'static,
    most: usize,
    and_then: AndThen,
) -> Receiver<Vec<u8>> {
    let (give, given) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.by_ref().take(most as u64 + 1).read_to_end(&mut bytes);
        let _ = give.send(bytes);
        if and_then == AndThen::Drain {
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
    });
    given
}

/// Words between spaces; quotes hold words together, and nothing else means anything. `None` where a quote is open.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_without_a_shell() {
        let words = |text: &str| split(text).unwrap();
        assert_eq!(
            words(" python3  'my score.py' --x=\"a b\"c '' "),
            ["python3", "my score.py", "--x=a bc", ""]
        );
        assert_eq!(words("echo $HOME; rm *"), ["echo", "$HOME;", "rm", "*"]);
        assert_eq!(split("a 'b"), None);
    }

    #[cfg(unix)]
    fn score(script: &str) -> Result<f64, String> {
        let limits = ScorerLimits {
            time: Duration::from_millis(1500),
            memory_bytes: 1 << 30,
        };
        let mut scorer = Scorer::new("sh -c", None, limits).unwrap();
        scorer.words.push(script.into());
        let told = serde_json::json!({"answer": "It is 3.", "target": ["It is 3."]});
        scorer.one(&told).map_err(|fault| fault.to_string())
    }

    #[test]
    #[cfg(unix)]
    fn a_number_or_the_way_it_ends_is_the_score() {
        assert_eq!(score("echo working; echo 0.25"), Ok(0.25));
        assert_eq!(score("exit 0"), Ok(1.0));
        assert_eq!(score("exit 1"), Ok(0.0));
        assert_eq!(score("grep -q 'It is 3'"), Ok(1.0));
        assert_eq!(score("grep -q 'It is 4'"), Ok(0.0));
    }

    #[test]
    #[cfg(unix)]
    fn what_a_scorer_does_wrong_is_one_line() {
        let error = |script: &str| score(script).unwrap_err();
        assert_eq!(error("echo well"), "said `well`, which is no number");
        assert_eq!(error("echo NaN"), "said `NaN`, which is no number");
        assert_eq!(
            error("echo oh >&2; exit 1"),
            "ended with exit status: 1: oh"
        );
        assert_eq!(error("exit 3"), "ended with exit status: 3");
        assert!(error("kill -9 $$").starts_with("ended with signal: 9"));
        let started = Instant::now();
        assert_eq!(error("sleep 60"), "ran for more than 1.5 s");
        // What it leaves behind holds its pipe.
        assert_eq!(error("sleep 60 & wait"), "ran for more than 1.5 s");
        assert_eq!(score("sleep 60 & echo 1"), Ok(1.0));
        assert_eq!(error("cat /dev/zero"), "said more than 64 KiB");
        assert_eq!(error("cat /dev/zero >&2"), "ran for more than 1.5 s");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_held_to_its_limit() {
        let said = score("read -r line; ulimit -v");
        assert_eq!(said, Ok(1048576.0));
    }

    #[test]
    #[cfg(unix)]
    fn a_scorer_that_never_scores_ends_the_evaluation() {
        let limits = ScorerLimits {
            time: Duration::from_secs(1),
            memory_bytes: 1 << 30,
        };
        let error = |words: &str| Scorer::new(words, None, limits).unwrap_err().to_string();
        let start = "the scorer `no-such-program-at-all -x` begins with no program";
        assert!(error("no-such-program-at-all -x").starts_with(start));
        assert!(error("  ").ends_with("has no words"));
        assert!(error("a 'b").ends_with("has a quote that is not closed"));
        let scorer = Scorer::new("false", None, limits).unwrap();
        let answer = |line: usize| ToScore {
            place: format!("rows.jsonl:{line}"),
            told: Value::Null,
        };
        let scored = scorer.score(&[answer(1), answer(2)], "base", Talk::new(true));
        assert_eq!(scored.unwrap(), [0.0, 0.0]);
        let scorer = Scorer::new("echo one", None, limits).unwrap();
        let error = scorer
            .score(&[answer(1), answer(2)], "base", Talk::new(true))
            .unwrap_err();
        let whole = "the scorer `echo one` said `one`, which is no number (rows.jsonl:1)";
        assert_eq!(error.to_string(), whole);
    }
}
