//! What every training row lost each time it was trained on: `row-losses.bin` in the run's directory.
//!
//! The loss pass has these numbers anyway, so a record costs eight bytes and no work. Numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `HONEROWS` |
//! | 4 | version, `1` |
//! | 4 | `n`, the training rows |
//! | 4 · `n` | supervised tokens of each row |
//! | 8 a record | the row, counted from 0, and its mean loss as f32, in nats per supervised token |
//!
//! Records stand in the order in which rows were trained on, so `n` of them are an epoch. The file is only added to; when a
//! run goes on, what came after its checkpoint is cut off, and what a crash of the machine lost is filled with NaN.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hone_data::{Batch, Example, Sampler};
use hone_ledger::{ReadError, WriteError};

/// The name of the file in a run's directory.
pub const ROW_LOSSES: &str = "row-losses.bin";

const MAGIC: &[u8; 8] = b"HONEROWS";
const VERSION: u32 = 1;
const RECORD_BYTES: usize = 8;

/// One time that a row was trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowLoss {
    /// Which of the training rows, counted from 0.
    pub row: usize,
    /// Mean loss of its supervised tokens before the step, in nats; NaN where it was lost.
    pub loss: f32,
}

impl RowLoss {
    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..4].copy_from_slice(&(self.row as u32).to_le_bytes());
        bytes[4..].copy_from_slice(&self.loss.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self {
            row: u32::from_le_bytes([a, b, c, d]) as usize,
            loss: f32::from_le_bytes([e, f, g, h]),
        }
    }
}

/// The file while a run adds to it.
#[derive(Debug)]
pub(crate) struct RowLossFile {
    file: File,
    path: PathBuf,
}

impl RowLossFile {
    /// Opens the file of a run that has trained on `seen` rows so far, each with its epoch, and makes it what an
    /// uninterrupted run would have written by then.
    pub fn open(
        dir: &Path,
        examples: &[Example],
        sampler: &Sampler,
        seen: usize,
    ) -> Result<Self, WriteError> {
        let path = dir.join(ROW_LOSSES);
        let fail = |source| WriteError::new(&path, 0, source);
        fs::create_dir_all(dir).map_err(fail)?;
        let head = head(examples);
        let found = match seen {
            0 => vec![],
            _ => fs::read(&path).unwrap_or_default(),
        };
        let records = found.strip_prefix(&head[..]).unwrap_or_default();
        let records = mended(records, examples.len(), sampler, seen);
        let whole = [head, records].concat();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(fail)?;
        let kept = whole.iter().zip(&found).take_while(|(a, b)| a == b).count();
        let write = |file: &mut File| {
            file.set_len(kept as u64)?;
            file.seek(SeekFrom::Start(kept as u64))?;
            file.write_all(&whole[kept..])?;
            file.sync_data()
        };
        write(&mut file).map_err(fail)?;
        Ok(Self { file, path })
    }

    /// Adds the rows of a step, in one write.
    pub fn append(&mut self, rows: &[RowLoss]) -> Result<(), WriteError> {
        let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_bytes()).collect();
        let written = self.file.write_all(&bytes);
        written.map_err(|source| WriteError::new(&self.path, bytes.len() as u64, source))
    }

    /// Waits until everything added is on the disk.
    pub fn sync(&self) -> Result<(), WriteError> {
        let synced = self.file.sync_data();
        synced.map_err(|source| WriteError::new(&self.path, 0, source))
    }
}

fn head(examples: &[Example]) -> Vec<u8> {
    let numbers = [VERSION, examples.len() as u32].into_iter();
    let tokens = examples.iter().map(|row| row.num_supervised() as u32);
    let numbers = numbers.chain(tokens).flat_map(u32::to_le_bytes);
    MAGIC.iter().copied().chain(numbers).collect()
}

/// The first `seen` records; one that is not there, or not of the row that was trained on there, has no loss.
fn mended(found: &[u8], num_rows: usize, sampler: &Sampler, seen: usize) -> Vec<u8> {
    let (found, _) = found.as_chunks::<RECORD_BYTES>();
    let mut records = Vec::with_capacity(seen * RECORD_BYTES);
    for epoch in 0..seen.div_ceil(num_rows.max(1)) {
        let first = epoch * num_rows;
        let rows = sampler.epoch(epoch).into_iter().take(seen - first);
        for (at, row) in rows.enumerate() {
            let record = found.get(first + at).map(RowLoss::from_bytes);
            let loss = f32::NAN;
            let record = record.filter(|record| record.row == row);
            records.extend(record.unwrap_or(RowLoss { row, loss }).to_bytes());
        }
    }
    records
}

/// The mean loss of each row of a batch, whose targets lost `nats`, in their order.
pub(crate) fn row_means(batch: &Batch, nats: &[f64]) -> Vec<f32> {
    let mut rest = batch.targets.iter().zip(nats).peekable();
    let ends = batch.boundaries.iter().skip(1);
    ends.map(|&end| {
        let (mut sum, mut tokens) = (0.0, 0_usize);
        while let Some((_, nats)) = rest.next_if(|(target, _)| target.row < end) {
            sum += nats;
            tokens += 1;
        }
        (sum / tokens as f64) as f32
    })
    .collect()
}

/// The whole file, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowLosses {
    /// Supervised tokens of each row.
    pub tokens: Vec<u32>,
    /// In the order of training.
    pub records: Vec<RowLoss>,
}

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says it all
pub enum RowLossesError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{} is not a file of row losses that this version reads: {what}", path.display())]
    Foreign { path: PathBuf, what: &'static str },
}

impl RowLosses {
    /// Reads the file of the run in `dir`; `None` where it has none. A last record that a kill tore does not count.
    ///
    /// # Errors
    /// It cannot be read, or is something else.
    pub fn read(dir: &Path) -> Result<Option<Self>, RowLossesError> {
        let path = dir.join(ROW_LOSSES);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| ReadError {
                path: path.clone(),
                source,
            })?,
        };
        let foreign = |what| RowLossesError::Foreign {
            path: path.clone(),
            what,
        };
        let rest = bytes.strip_prefix(MAGIC);
        let rest = rest.ok_or_else(|| foreign("it does not begin with HONEROWS"))?;
        let (words, _) = rest.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
        if words.next() != Some(VERSION) {
            return Err(foreign("its version is another one"));
        }
        let short = || foreign("it ends before its list of rows does");
        let num_rows = words.next().ok_or_else(short)? as usize;
        let tokens: Vec<u32> = words.take(num_rows).collect();
        if tokens.len() < num_rows {
            return Err(short());
        }
        let (records, _) = rest[8 + 4 * num_rows..].as_chunks::<RECORD_BYTES>();
        let records: Vec<RowLoss> = records.iter().map(RowLoss::from_bytes).collect();
        if records.iter().any(|record| record.row >= num_rows) {
            return Err(foreign("a record is of a row that is not in its list"));
        }
        Ok(Some(Self { tokens, records }))
    }

    /// The loss of each row in each epoch: `[row][epoch]`, NaN where it is not known. An epoch that is not complete counts for
    /// the rows that it came to.
    pub fn by_row(&self) -> Vec<Vec<f32>> {
        let mut rows = vec![vec![]; self.tokens.len()];
        for record in &self.records {
            rows[record.row].push(record.loss);
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_ledger::Seed;

    fn examples() -> Vec<Example> {
        let example = |row: usize| Example {
            ids: vec![1; 3 + row],
            supervised: vec![true; 3 + row],
            task: 0,
            row,
        };
        (0..5).map(example).collect()
    }

    fn sampler() -> Sampler {
        Sampler::new(5, 2, Seed::new(3)).unwrap()
    }

    /// Appends the rows of some steps, as a run does.
    fn go_on(dir: &Path, steps: std::ops::Range<usize>) {
        let seen: usize = (0..steps.start)
            .map(|step| sampler().batch(step).len())
            .sum();
        let mut file = RowLossFile::open(dir, &examples(), &sampler(), seen).unwrap();
        for step in steps {
            let rows = sampler().batch(step).into_iter();
            let loss = |row| (100 * step + row) as f32;
            let rows = rows.map(|row| RowLoss {
                row,
                loss: loss(row),
            });
            file.append(&rows.collect::<Vec<_>>()).unwrap();
        }
    }

    fn bytes(dir: &Path) -> Vec<u8> {
        fs::read(dir.join(ROW_LOSSES)).unwrap()
    }

    #[test]
    fn what_came_after_a_checkpoint_is_cut_and_written_again() {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        go_on(whole.path(), 0..7);
        go_on(parts.path(), 0..5);
        go_on(parts.path(), 4..7);
        assert_eq!(bytes(parts.path()), bytes(whole.path()));
        let read = RowLosses::read(whole.path()).unwrap().unwrap();
        assert_eq!(read.tokens, [2, 3, 4, 5, 6]);
        // Three steps an epoch: every row was met in the first two, and some in the third.
        let lengths: Vec<usize> = read.by_row().iter().map(Vec::len).collect();
        assert_eq!(lengths.iter().sum::<usize>(), 12);
        assert!(lengths.iter().all(|times| (2..=3).contains(times)));
    }

    #[test]
    fn what_was_lost_is_not_made_up() {
        let dir = tempfile::tempdir().unwrap();
        go_on(dir.path(), 0..3);
        let all = bytes(dir.path());
        // Torn in the middle of the third of five records, and the second is of no row of the run.
        let head = all.len() - 5 * RECORD_BYTES;
        let mut torn = all[..head + 2 * RECORD_BYTES + 3].to_vec();
        torn[head + RECORD_BYTES] ^= 0x40;
        fs::write(dir.path().join(ROW_LOSSES), torn).unwrap();
        go_on(dir.path(), 3..4);
        let read = RowLosses::read(dir.path()).unwrap().unwrap();
        let lost: Vec<bool> = read
            .records
            .iter()
            .map(|record| record.loss.is_nan())
            .collect();
        assert_eq!(lost, [false, true, true, true, true, false, false]);
        let rows: Vec<usize> = read.records.iter().map(|record| record.row).collect();
        assert_eq!(rows[..5], sampler().epoch(0));
    }

    #[test]
    fn other_files_are_refused_by_what_is_wrong_with_them() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RowLosses::read(dir.path()).unwrap(), None);
        go_on(dir.path(), 0..1);
        let all = bytes(dir.path());
        let mut other = all.clone();
        other[8] = 9;
        let mut stray = all.clone();
        let last = stray.len() - RECORD_BYTES;
        stray[last] = 77;
        for (bytes, words) in [
            (b"plain text".to_vec(), "does not begin"),
            (other, "version"),
            (all[..20].to_vec(), "ends before"),
            (stray, "not in its list"),
        ] {
            fs::write(dir.path().join(ROW_LOSSES), bytes).unwrap();
            let error = RowLosses::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
