//! Each row by itself: read, examined, fingerprinted, written down.
//!
//! Rows come in batches; a batch is examined on all threads, and its rows are entered in the order in which they
//! were read, so that nothing depends on the threads.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_data::{
    ChunkOptions, Chunking, FileReport, Nulls, Part, Progress, ReadOptions, Record, Refused, stream,
};
use rayon::prelude::*;

use super::table::{Fact, Table};
use super::{CountRow, CurateError, Noted, Tools, near_options};
use crate::dataset::{DatasetDir, is_dataset};
use crate::duplicates::{Fingerprint, Fingerprints};
use crate::recipe::{Curation, RawSource, Side};
use crate::redact::Pseudonyms;
use crate::rules::format::unusable_row;
use crate::rules::quality::LanguageDetector;
use crate::{Decision, Examined, Examiner, Family, Finding, Params, SpoolWriter};

/// Rows examined together, on all threads.
const BATCH: usize = 1024;

impl Table {
    /// Reads, examines and writes down every row of every source.
    pub(super) fn gather(
        curation: &Curation,
        tools: Tools<'_>,
        pseudonyms: Option<&Pseudonyms>,
        noted: &mut Noted<'_>,
    ) -> Result<Self, CurateError> {
        let spool = SpoolWriter::begin(noted.room).map_err(|source| noted.no_room(source))?;
        let mut gathering = Gathering {
            curation,
            tools,
            lens: Lens {
                row_tokens: tools.row_tokens,
                examiner: Examiner::new(&curation.rules, pseudonyms),
                fingerprints: Fingerprints::new(&near_options(curation)?),
                languages: LanguageDetector::new(&mut Params::default())
                    .expect("its defaults are good"),
            },
            noted,
            spool,
            batch: Vec::with_capacity(BATCH),
            pinned: None,
            facts: Vec::new(),
            prints: Vec::new(),
            names: BTreeSet::new(),
            files: Vec::new(),
            rows_in: 0,
            rows_changed: 0,
            origins: BTreeMap::new(),
            first_refused: BTreeMap::new(),
        };
        for source in &curation.sources {
            gathering.read_source(source)?;
        }
        gathering.finish()
    }
}

/// Rows on their way from files to the table.
struct Gathering<'a, 'b> {
    curation: &'a Curation,
    tools: Tools<'a>,
    lens: Lens<'a>,
    noted: &'a mut Noted<'b>,
    spool: SpoolWriter,
    batch: Vec<Record>,
    /// The side of the rows in the batch.
    pinned: Option<Side>,
    facts: Vec<Fact>,
    prints: Vec<Fingerprint>,
    names: BTreeSet<Arc<str>>,
    files: Vec<FileReport>,
    rows_in: usize,
    rows_changed: usize,
    origins: BTreeMap<String, usize>,
    /// The first unusable row of each file being read.
    first_refused: BTreeMap<PathBuf, Refused>,
}

impl Gathering<'_, '_> {
    /// Reads a source; one that is a dataset directory gives the rows of each side to that side.
    fn read_source(&mut self, source: &RawSource) -> Result<(), CurateError> {
        let (datasets, files): (Vec<&String>, Vec<&String>) = source
            .files
            .iter()
            .partition(|file| is_dataset(Path::new(file)));
        for path in datasets {
            let dataset = DatasetDir::open(Path::new(path))?;
            for side in Side::ALL {
                if let Some(rows) = dataset.rows_of(side) {
                    self.read_files(
                        &[rows.display().to_string()],
                        source,
                        source.side.or(Some(side)),
                        true,
                    )?;
                }
            }
        }
        match files.is_empty() {
            true => Ok(()),
            false => self.read_files(
                &files.into_iter().cloned().collect::<Vec<_>>(),
                source,
                source.side,
                false,
            ),
        }
    }

    fn read_files(
        &mut self,
        files: &[String],
        source: &RawSource,
        side: Option<Side>,
        of_dataset: bool,
    ) -> Result<(), CurateError> {
        self.pinned = side;
        let (tools, (tokens, overlap)) = (self.tools, self.curation.chunk);
        let told =
            |progress: Progress| (tools.watch)("reading", progress.bytes, progress.total_bytes);
        let count = |text: &str| (tools.text_tokens)(text);
        let options = ReadOptions {
            columns: source.columns.clone(),
            ignored_keys: source.ignore_keys.iter().cloned().collect(),
            nulls: source.nulls.or(of_dataset.then_some(Nulls::Keep)),
            task: source.task.clone(),
            origin: source.name.clone(),
            licence: source.licence.clone(),
            chunking: Some(Chunking {
                options: ChunkOptions { tokens, overlap },
                count: &count,
            }),
            told: Some(&told),
        };
        let mut stopped = None;
        let reports = stream(files, &options, &mut |row| match self.take(row) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                stopped = Some(error);
                ControlFlow::Break(())
            }
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        self.examine_batch()?;
        let reports = reports?;
        for report in &reports {
            self.stop_if_bad(report)?;
        }
        self.files.extend(reports);
        Ok(())
    }

    fn take(&mut self, row: Result<Record, Refused>) -> Result<(), CurateError> {
        self.rows_in += 1;
        match row {
            Ok(record) => self.batch.push(record),
            Err(refused) => self.refuse(refused)?,
        }
        match self.batch.len() < BATCH {
            true => Ok(()),
            false => self.examine_batch(),
        }
    }

    /// A row that cannot be used is a finding, whatever the recipe says: there is nothing to keep.
    fn refuse(&mut self, refused: Refused) -> Result<(), CurateError> {
        let doc = &unusable_row::DOC;
        let message = refused.reason.to_string();
        let finding = Finding::of_row(
            doc.name,
            doc.family,
            Decision::SetAside,
            &refused.source,
            message,
        );
        self.noted.note(&finding)?;
        self.first_refused
            .entry(refused.source.file.to_path_buf())
            .or_insert(refused);
        Ok(())
    }

    fn stop_if_bad(&mut self, report: &FileReport) -> Result<(), CurateError> {
        let rows = report.rows + report.refused;
        let share = report.refused as f64 / rows.max(1) as f64;
        match self.first_refused.remove(&*report.file) {
            Some(first) if share > self.curation.max_bad_rows => Err(CurateError::TooManyBadRows {
                file: report.file.to_path_buf(),
                refused: report.refused,
                rows,
                allowed: self.curation.max_bad_rows,
                first: Box::new(first),
            }),
            _ => Ok(()),
        }
    }

    /// Examines the batch on all threads, and takes the results in the order of the rows.
    fn examine_batch(&mut self) -> Result<(), CurateError> {
        let (batch, lens) = (std::mem::take(&mut self.batch), &self.lens);
        let looked: Vec<Looked> = batch
            .into_par_iter()
            .map(|record| lens.look(record))
            .collect();
        looked.into_iter().try_for_each(|looked| self.enter(looked))
    }

    fn enter(&mut self, looked: Looked) -> Result<(), CurateError> {
        *self.origins.entry(looked.origin.clone()).or_default() += 1;
        for finding in &looked.findings {
            self.noted.note(finding)?;
        }
        let Some(Seen {
            mut fingerprint,
            length,
            language,
            record,
        }) = looked.seen
        else {
            return Ok(());
        };
        let changed = looked
            .findings
            .iter()
            .any(|finding| finding.decision == Decision::Changed);
        self.rows_changed += usize::from(changed);
        let is_remarked = looked
            .findings
            .iter()
            .any(|finding| finding.family == Family::Quality);
        self.spool
            .push(&record)
            .map_err(|source| self.noted.no_room(source))?;
        fingerprint.row = self.facts.len();
        let (task, origin) = (self.name(record.task), self.name(looked.origin));
        self.facts.push(Fact {
            task,
            group: record.group.map(String::into_boxed_str),
            origin,
            length,
            language,
            is_remarked,
            copies: record.copies,
            pinned: self.pinned,
            kind: record.body.kind(),
            content: fingerprint.content,
        });
        self.prints.push(fingerprint);
        Ok(())
    }

    /// A name that many rows have, kept once.
    fn name(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.names.get(name.as_str()) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn finish(self) -> Result<Table, CurateError> {
        let spool = self
            .spool
            .finish()
            .map_err(|source| self.noted.no_room(source))?;
        Ok(Table {
            spool,
            copies: self.facts.iter().map(|fact| fact.copies).collect(),
            sides: vec![Side::Train; self.facts.len()],
            facts: self.facts,
            prints: self.prints,
            links: Vec::new(),
            files: self.files,
            benchmarks: Vec::new(),
            rows_in: self.rows_in,
            rows_changed: self.rows_changed,
            origins: self.origins,
            clusters: Vec::new(),
            portions: Vec::new(),
        })
    }
}

/// All that is done to a row by itself, from any thread.
struct Lens<'a> {
    row_tokens: Option<&'a CountRow<'a>>,
    examiner: Examiner<'a>,
    fingerprints: Fingerprints,
    languages: LanguageDetector,
}

impl Lens<'_> {
    fn look(&self, mut record: Record) -> Looked {
        let origin = origin_of(&mut record);
        let tokens = self.tokens(&record);
        let Examined { record, findings } = self.examiner.examine(record, tokens);
        let seen = record.map(|record| Seen {
            // The number of a row is known once the rows before it are written down.
            fingerprint: self.fingerprints.of(0, &record),
            length: self.tokens(&record).unwrap_or_else(|| words(&record)),
            language: self.language(&record),
            record,
        });
        Looked {
            origin,
            findings,
            seen,
        }
    }

    fn tokens(&self, record: &Record) -> Option<usize> {
        self.row_tokens.and_then(|count| count(record))
    }

    fn language(&self, record: &Record) -> &'static str {
        let mut learnt = record.parts().filter(Part::is_learnt);
        let found = learnt.find_map(|part| self.languages.language(&part));
        found.map_or("too short to tell", |language| language.eng_name())
    }
}

/// A row after its examination.
struct Looked {
    origin: String,
    findings: Vec<Finding>,
    /// What is kept of it, if it stays.
    seen: Option<Seen>,
}

struct Seen {
    fingerprint: Fingerprint,
    length: usize,
    language: &'static str,
    record: Record,
}

/// The row's collection; its file, where none is named.
fn origin_of(record: &mut Record) -> String {
    let of_file = || {
        record
            .source
            .file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let origin = record.origin.clone().unwrap_or_else(of_file);
    record.origin = Some(origin.clone());
    origin
}

fn words(record: &Record) -> usize {
    record
        .parts()
        .map(|part| part.text.split_whitespace().count())
        .sum()
}
