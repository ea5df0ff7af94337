//! The command line: one file per verb, this one to choose among them.
//!
//! Only here are arguments, environment and terminal read. Results go to stdout, talk to stderr, and every way to end
//! has an exit code.

mod adapter;
mod chat;
mod compare;
mod data;
mod diagnose;
mod eval;
mod export;
mod failure;
mod gate;
mod generate;
mod interrupt;
mod judge;
mod logits;
mod merge;
mod model;
pub mod progress;
mod pull;
mod quickstart;
mod runs;
mod train;
mod unknown;

use crate::screen::{Talk, say_to_all, say_unbuffered};
use clap::{Arg, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use failure::{Exit, report};
use std::ffi::OsString;
use std::process::ExitCode;

/// Fine-tune language models on the machine at hand.
#[derive(Debug, Parser)]
#[command(name = "hone", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Say nothing but results, errors and warnings
    #[arg(long, short, global = true)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
To begin: hone quickstart, or hone train --model smollm2-135m-instruct --data rows.jsonl --out runs/first

Exit codes: 0 done, 1 failed, 2 wrong command line, run file or recipe, 3 interrupted and saved,
4 looked and found something to decide (data check, data build), a difference (data diff), a fault (adapter check) or a condition that does not hold (gate),
5 a file of weights was cut short by another program.
Fetched models, built datasets and answers of evaluations are kept in HONE_HOME (default: $XDG_CACHE_HOME/hone or ~/.cache/hone).";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Fetch, build, train, judge and report, in minutes
    Quickstart(quickstart::Quickstart),
    /// Fetch a base model by name
    Pull(pull::Pull),
    /// Train an adapter
    #[command(after_help = train::NEEDED)]
    Train(Box<train::Train>),
    /// Score a model, and an adapter beside it
    Eval(eval::Eval),
    /// Compare models of two evaluations, row by row
    Compare(compare::Compare),
    /// Look whether a model fulfils conditions, for scripts
    Gate(gate::Gate),
    /// Have a language model judge the answers of evaluations
    Judge(judge::Judge),
    /// Answer a prompt
    Generate(generate::Generate),
    /// Talk with a model
    Chat(chat::Chat),
    /// Look at a dataset, check it, build one
    #[command(subcommand)]
    Data(data::Data),
    /// Work adapters into their base
    Merge(Box<merge::Merge>),
    /// Write a model or an adapter for another program
    Export(Box<export::Export>),
    /// Check an adapter, repair it, make one of several
    #[command(subcommand)]
    Adapter(adapter::Adapter),
    /// Tell whether a run has overfitted, memorized or forgotten, and what to change
    Diagnose(Box<diagnose::Diagnose>),
    /// List the runs of this machine
    Runs(runs::Runs),
    /// Print logits
    #[command(hide = true)]
    Logits(logits::Logits),
}

/// The command line. A number below zero is a value everywhere and never a name, so that its option can say what it takes.
fn command() -> Command {
    fn with_numbers(command: Command) -> Command {
        let number = |arg: Arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        };
        command.mut_args(number).mut_subcommands(with_numbers)
    }
    with_numbers(Cli::command())
}

/// The words of a command line, in which a number below zero that is written with an exponent (`-1e-4`) is joined to the
/// option before it: clap takes it for options of one letter.
fn with_numbers_joined(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for word in words {
        let is_number = word.to_str().is_some_and(|word| {
            word.starts_with('-') && word.contains(['e', 'E']) && word.parse::<f64>().is_ok()
        });
        let option = joined.last_mut().filter(|last| {
            let last = last.to_string_lossy();
            last.starts_with("--") && last.len() > 2 && !last.contains('=')
        });
        match option.filter(|_| is_number) {
            Some(option) => {
                option.push("=");
                option.push(word);
            }
            None => joined.push(word),
        }
    }
    joined
}

/// Runs the command the process was started with.
pub fn run() -> ExitCode {
    std::panic::set_hook(Box::new(confess));
    hone_ledger::fail_beyond_file_limit();
    let words = with_numbers_joined(std::env::args_os());
    let parsed = command().try_get_matches_from(&words);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<String> = words
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            if let Some(refusal) = unknown::refusal(&error, &words) {
                return report(&refusal.into()).into();
            }
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    let talk = Talk::new(cli.quiet);
    let outcome = match cli.verb {
        Verb::Quickstart(verb) => verb.run(talk),
        Verb::Pull(verb) => verb.run(talk),
        Verb::Train(verb) => verb.run(talk),
        Verb::Eval(verb) => verb.run(talk),
        Verb::Compare(verb) => verb.run(talk),
        Verb::Gate(verb) => verb.run(talk),
        Verb::Judge(verb) => verb.run(talk),
        Verb::Data(verb) => verb.run(talk),
        Verb::Merge(verb) => verb.run(talk),
        Verb::Export(verb) => verb.run(talk),
        Verb::Adapter(verb) => verb.run(talk),
        Verb::Diagnose(verb) => verb.run(talk),
        Verb::Runs(verb) => verb.run(talk),
        Verb::Generate(verb) => verb.run(talk),
        Verb::Chat(verb) => verb.run(talk),
        Verb::Logits(verb) => verb.run(talk),
    };
    interrupt::wait_if_leaving();
    outcome.unwrap_or_else(|error| report(&error)).into()
}

/// Ends the process where the system gives no more memory, after it has said so. What was in the making is left as by a
/// kill, for the next command to remove.
#[cold]
pub fn end_without_memory() -> ! {
    end_exhausted("memory")
}

/// Says what the system gives no more of, and leaves at once: neither asks for memory.
fn end_exhausted(what: &str) -> ! {
    for piece in [
        "\nerror: the system gives no more ",
        what,
        "\nhint: end other programs, lift the limits (`ulimit -v` and `ulimit -u` tell them), or take less: --threads 1, --memory\n",
    ] {
        say_unbuffered(piece);
    }
    #[cfg(unix)]
    // SAFETY: it takes a number, and nothing runs after it.
    unsafe {
        libc::_exit(Exit::Failed as i32)
    }
    #[cfg(not(unix))]
    std::process::abort()
}

/// One sentence instead of a stack trace: a panic is our mistake, not the user's.
fn confess(panic: &std::panic::PanicHookInfo<'_>) {
    // A library gave up on somebody's file: an error follows that says which.
    if hone_text::is_guarded() || hone_data::is_guarded() {
        return;
    }
    let text = panic
        .payload_as_str()
        .unwrap_or("no message")
        .lines()
        .next()
        .unwrap_or_default();
    // Threads that cannot be started are no mistake, and libraries know no other way to say so.
    if ["failed to spawn thread", "ThreadPoolBuildError"]
        .iter()
        .any(|said| text.contains(said))
    {
        end_exhausted("threads");
    }
    let place = panic
        .location()
        .map(|at| format!(" at {}:{}", at.file(), at.line()))
        .unwrap_or_default();
    say_to_all(&format!(
        "error: hone broke one of its own promises{place}: {text}; this is a bug, please report it"
    ));
}
