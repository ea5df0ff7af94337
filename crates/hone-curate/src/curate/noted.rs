//! Findings on their way out, each once it is known whether somebody has to decide about it.
//!
//! A finding that waits for a decision is about a row that a later stage may leave out: as a copy, by another rule, for
//! want of room. Nobody has to decide about such a row. So these findings wait in an anonymous temporary file until all
//! rows are settled; there may be as many of them as rows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use hone_ledger::WriteError;

use super::CurateError;
use crate::tally::Tally;
use crate::{Decision, Finding};

/// Findings on their way out.
pub(super) struct Noted<'a> {
    tally: Tally,
    /// Those that wait, counted as they were noted.
    waiting: Tally,
    /// The row of each of them and the finding itself, a line each.
    lines: Option<BufWriter<File>>,
    sink: &'a mut dyn FnMut(&Finding) -> io::Result<()>,
    /// A folder that has room.
    pub(super) room: &'a Path,
}

impl<'a> Noted<'a> {
    pub(super) fn new(sink: &'a mut dyn FnMut(&Finding) -> io::Result<()>, room: &'a Path) -> Self {
        Self {
            tally: Tally::default(),
            waiting: Tally::default(),
            lines: None,
            sink,
            room,
        }
    }

    /// Counts a finding and passes it on.
    pub(super) fn note(&mut self, finding: &Finding) -> Result<(), CurateError> {
        self.tally.add(finding);
        (self.sink)(finding).map_err(CurateError::Told)
    }

    /// The same for a finding about a row of the table, which may leave yet.
    pub(super) fn note_of(&mut self, row: usize, finding: &Finding) -> Result<(), CurateError> {
        if finding.decision != Decision::Undecided {
            return self.note(finding);
        }
        self.waiting.add(finding);
        self.write(row, finding)
            .map_err(|source| self.no_room(source))
    }

    fn write(&mut self, row: usize, finding: &Finding) -> io::Result<()> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let file = tempfile::tempfile_in(self.room)?;
                self.lines.insert(BufWriter::new(file))
            }
        };
        writeln!(lines, "{row} {}", serde_json::to_string(finding)?)
    }

    /// Is it among the first of its kind, which are shown?
    pub(super) fn shows(&self, finding: &Finding) -> bool {
        match finding.decision {
            Decision::Undecided => self.waiting.shows(finding),
            _ => self.tally.shows(finding),
        }
    }

    /// Passes on what has waited, now that every row is settled, and gives the counts of all findings.
    pub(super) fn settle(mut self, stays: impl Fn(usize) -> bool) -> Result<Tally, CurateError> {
        let Some(lines) = self.lines.take() else {
            return Ok(self.tally);
        };
        let read = lines.into_inner().map_err(|error| error.into_error());
        let read = read.and_then(|mut file| file.rewind().map(|()| BufReader::new(file)));
        let lines = read.map_err(|source| self.no_room(source))?.lines();
        for line in lines {
            let waited = line.and_then(|line| waited(&line));
            let (row, mut finding) = waited.map_err(|source| self.no_room(source))?;
            if !stays(row) {
                finding.leave();
            }
            self.note(&finding)?;
        }
        Ok(self.tally)
    }

    pub(super) fn no_room(&self, source: io::Error) -> CurateError {
        // An anonymous temporary file.
        let rows = self.room.join("rows");
        CurateError::Room(WriteError::new(&rows, 0, source))
    }
}

/// A row and what was found in it, as they were written down.
fn waited(line: &str) -> io::Result<(usize, Finding)> {
    let (row, finding) = line.split_once(' ').unwrap_or((line, ""));
    let row = row.parse().map_err(io::Error::other)?;
    Ok((row, serde_json::from_str(finding)?))
}
