//! Who is spoken to: data goes to stdout, talk to stderr.
//!
//! A command's result can be piped while its talk is read; `--quiet` silences the talk and nothing else.
//!
//! This is the only door to both (Clippy refuses others in this crate). Lines may quote files, rows, models and servers, so each
//! is one line that steers no terminal, whoever wrote it. What a model or a row says keeps its bytes where it is piped to a
//! program, and is made safe where a person reads it.

#![allow(clippy::disallowed_methods)]

use hone_ledger::words::{json_on_terminal, lines_on_terminal, on_terminal, shortened_to};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// A line of talk has no more characters than this; values are quoted with far fewer.
const MOST_CHARS: usize = 4000;

/// The command's voice on stderr.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    quiet: bool,
}

impl Talk {
    /// Speaks unless quiet.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Whether nothing is to be said.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Whether a line can be redrawn in place.
    pub fn is_live(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Says a line.
    pub fn say(self, line: impl AsRef<str>) {
        if !self.quiet {
            say_to_all(line.as_ref());
        }
    }

    /// Asks a person for the next line of input.
    pub fn prompt(sign: &str) {
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{}", on_terminal(sign)).and_then(|()| stderr.flush());
    }

    /// Says what is lost or not kept safe, to the quiet too.
    pub fn warn(self, line: impl AsRef<str>) {
        say_to_all(&format!("warning: {}", line.as_ref()));
    }
}

/// Says a line that the quiet hear too, such as an error.
pub fn say_to_all(line: &str) {
    let line = shortened_to(line, MOST_CHARS);
    // stderr may be gone; there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", on_terminal(&line));
}

/// Says words of our own with nothing but a call of the system: no memory is asked for.
pub fn say_unbuffered(words: &str) {
    // stderr may be gone; there is nobody left to tell.
    let _ = io::stderr().write_all(words.as_bytes());
}

/// Writes a line of data to stdout.
pub fn data(line: impl AsRef<str>) -> io::Result<()> {
    writeln!(io::stdout(), "{}", on_terminal(line.as_ref())).map_err(unsaid)
}

/// Writes several lines of data to stdout, such as a page.
pub fn data_lines(text: impl AsRef<str>) -> io::Result<()> {
    writeln!(io::stdout(), "{}", lines_on_terminal(text.as_ref())).map_err(unsaid)
}

/// Writes several lines to stdout of which some pieces are marked: each piece with what begins and ends it.
pub fn data_marked<'a>(
    pieces: impl IntoIterator<Item = (&'static str, Cow<'a, str>, &'static str)>,
) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for (begin, text, end) in pieces {
        write!(stdout, "{begin}{}{end}", lines_on_terminal(&text))?;
    }
    writeln!(stdout)
}

/// Writes the place of a result to stdout, as it is where a program reads it.
pub fn data_path(path: &Path) -> io::Result<()> {
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        return data(path.display().to_string());
    }
    stdout.write_all(path.as_os_str().as_encoded_bytes())?;
    writeln!(stdout)
}

/// Writes a piece of what a model says to stdout at once; as it is where a program reads it.
pub fn data_piece(piece: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    let piece = match stdout.is_terminal() {
        true => lines_on_terminal(piece),
        false => Cow::Borrowed(piece),
    };
    stdout
        .write_all(piece.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(unsaid)
}

/// An error of stdout that says so, of the same kind.
fn unsaid(error: io::Error) -> io::Error {
    let what = format!("cannot write to standard output: {error}");
    io::Error::new(error.kind(), what)
}

/// Writes one JSON object as one line of data.
pub fn data_json(value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string(value)?;
    writeln!(io::stdout(), "{}", json_on_terminal(&json))
}

/// Whether stdout is read by a person who wants colour.
pub fn has_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
