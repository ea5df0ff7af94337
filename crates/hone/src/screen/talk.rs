//! Who is spoken to: data goes to stdout, talk to stderr.
//!
//! A command's result can be piped while its talk is read; `--quiet` silences the talk and nothing else.

use serde::Serialize;
use std::io::{self, IsTerminal, Write};

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
            // stderr may be gone; there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{}", line.as_ref());
        }
    }

    /// Says what is lost or not kept safe, to the quiet too.
    pub fn warn(self, line: impl AsRef<str>) {
        let _ = writeln!(io::stderr(), "warning: {}", line.as_ref());
    }
}

/// Writes a line of data to stdout.
pub fn data(line: impl AsRef<str>) -> io::Result<()> {
    writeln!(io::stdout(), "{}", line.as_ref())
}

/// Writes a piece of data to stdout at once, for text that grows while it is read.
pub fn data_piece(piece: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout
        .write_all(piece.as_bytes())
        .and_then(|()| stdout.flush())
}

/// Writes one JSON object as one line of data.
pub fn data_json(value: &impl Serialize) -> io::Result<()> {
    data(serde_json::to_string(value)?)
}

/// Whether stdout is read by a person who wants colour.
pub fn has_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
