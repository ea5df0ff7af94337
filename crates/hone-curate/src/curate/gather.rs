//! Each row by itself: read, examined, fingerprinted, written down.
//!
//! Rows come in batches; a batch is examined on all threads, and its rows are entered in the order in which they
//! were read, so that nothing depends on the threads.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_data::{
    Choices, ChunkOptions, Chunking, FileReport, Input, Inputs, Part, Progress, ReadError,
    ReadOptions, Reason, Record, Refused, Told, check_named, stream_files,
};
use hone_ledger::ContentId;
use hone_text::Role;
use rayon::prelude::*;

use super::losses::{Labels, Lost, label_of};
use super::table::{Fact, Table};
use super::{CurateError, Noted, Tools, UsableRow, near_options};
use crate::count::{Why, unusable};
use crate::dataset::{DatasetDir, is_dataset};
use crate::duplicates::{Fingerprint, Fingerprints, near};
use crate::recipe::{Curation, RawSource, Side};
use crate::redact::{Pseudonyms, StandIn};
use crate::replaced::Replaced;
use crate::rules::personal::{phone, without_names};
use crate::rules::quality::{LanguageDetector, called};
use crate::text::{hash, same_but_case};
use crate::{
    Action, Decision, Doc, Examined, Examiner, Family, Finding, Hit, Params, Row, RowCount,
    SpoolWriter,
};

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
                usable: tools.usable,
                skips_unusable: tools.skips_unusable,
                examiner: Examiner::new(&curation.rules, pseudonyms),
                fingerprints: match curation.rule(near::DOC.name) {
                    Some(_) => Fingerprints::new(&near_options(curation)?),
                    None => Fingerprints::exact(),
                },
                languages: LanguageDetector::new(&mut Params::default())
                    .expect("its defaults are good"),
                looks_for_names: curation.rule("person-name").is_some(),
            },
            noted,
            spool,
            batch: Vec::with_capacity(BATCH),
            pinned: None,
            is_settled: false,
            facts: Vec::new(),
            prints: Vec::new(),
            unread: Vec::new(),
            benchmark: Vec::new(),
            benchmarks: Vec::new(),
            names: BTreeSet::new(),
            groups: BTreeMap::new(),
            files: Vec::new(),
            met: Vec::new(),
            inputs: Inputs::default(),
            rows_in: 0,
            count: RowCount::default(),
            rows_changed: 0,
            origins: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            labels: Labels::default(),
            lost: Lost::default(),
            replaced: Replaced::default(),
            first_refused: BTreeMap::new(),
        };
        let sided = Sided::of(curation)?;
        let mut read = Vec::new();
        for (source, inputs) in curation.sources.iter().zip(sided.by_source) {
            gathering.read_source(source, &inputs)?;
            gathering.inputs.join(inputs);
            read.push((source, std::mem::take(&mut gathering.met)));
        }
        gathering.read_benchmarks()?;
        check_sources(&read, &gathering.benchmarks)?;
        gathering.finish()
    }
}

/// Has the pseudonyms know the country of each telephone number that is written with its code, before any number is
/// replaced: which spelling comes first must not matter.
pub(super) fn meet_numbers(
    curation: &Curation,
    pseudonyms: &mut Pseudonyms,
) -> Result<(), CurateError> {
    let ruled = curation.rule(phone::DOC.name);
    let made_up = ruled.filter(|ruled| ruled.action == Action::Pseudonymise);
    let Some(rule) = made_up.and_then(|ruled| ruled.rule.as_ref()) else {
        return Ok(());
    };
    let numbers = |record: &Record| -> Vec<String> {
        let (row, mut hits) = (Row::new(record, None), Vec::new());
        rule.check(&row, &mut hits);
        let text = |hit: Hit| Some(row.text(hit.place?)?.get(hit.span)?.to_owned());
        hits.into_iter().filter_map(text).collect()
    };
    let mut meet = |batch: &mut Vec<Record>| {
        let met: Vec<String> = batch.par_iter().flat_map_iter(numbers).collect();
        met.iter().for_each(|number| pseudonyms.meet_number(number));
        batch.clear();
    };
    let sided = Sided::of(curation)?;
    let mut batch = Vec::with_capacity(BATCH);
    for (source, inputs) in curation.sources.iter().zip(sided.by_source) {
        let mut files = inputs.files;
        for path in source
            .files
            .iter()
            .map(Path::new)
            .filter(|path| is_dataset(path))
        {
            let dataset = DatasetDir::open(path)?;
            for rows in Side::ALL
                .into_iter()
                .filter_map(|side| dataset.rows_of(side))
            {
                let mut rows = Inputs::find(&[rows])?;
                rows.files.iter_mut().for_each(|input| input.is_own = true);
                files.append(&mut rows.files);
            }
        }
        stream_files(&files, &options_of(source), &mut |row| {
            batch.extend(row.ok());
            if batch.len() >= BATCH {
                meet(&mut batch);
            }
            ControlFlow::Continue(())
        })?;
    }
    batch.extend(benchmark_rows(curation)?.0);
    meet(&mut batch);
    Ok(())
}

/// The files of every source, each with its side.
struct Sided {
    by_source: Vec<Inputs>,
}

impl Sided {
    fn of(curation: &Curation) -> Result<Self, CurateError> {
        let open = |source: &&RawSource| source.side.is_none();
        let named_for_a_side = curation.sources.iter().filter(|source| !open(source));
        let without: Vec<PathBuf> = named_for_a_side
            .flat_map(files_of)
            .filter(|file| file.is_file())
            .collect();
        // train.jsonl and test.jsonl are two sides also where each is a source of its own.
        let single = curation.sources.iter().filter(open).flat_map(files_of);
        let single: Vec<PathBuf> = single.filter(|file| file.is_file()).collect();
        let together = Inputs::find(&single)?.files;
        let mut by_source = Vec::new();
        for source in &curation.sources {
            let choices = Choices {
                without: match source.side {
                    None => without.clone(),
                    Some(_) => Vec::new(),
                },
                as_named: source.side.is_some(),
                ..source.choices()?
            };
            let files: Vec<PathBuf> = files_of(source).collect();
            let mut inputs = match files.is_empty() {
                true => Inputs::default(),
                false => Inputs::find_as(&files, &choices)?,
            };
            if curation.asks && source.side.is_none() {
                inputs = inputs.decided()?;
            }
            inputs.pass_over(&source.ignore_keys);
            for input in &mut inputs.files {
                let among = together.iter().find(|other| other.file == input.file);
                match (source.side, among) {
                    (Some(side), _) => (input.side, input.told) = (Some(side), Told::User),
                    (None, Some(among)) if input.told == Told::Nobody => {
                        (input.side, input.told) = (among.side, among.told);
                    }
                    _ => {}
                }
            }
            by_source.push(inputs);
        }
        Ok(Self { by_source })
    }
}

/// What a source names beside dataset directories, which know their sides.
fn files_of(source: &RawSource) -> impl Iterator<Item = PathBuf> {
    let files = source.files.iter().map(PathBuf::from);
    files.filter(|file| !is_dataset(file))
}

/// Refuses a column or a key that none of the files has for which it is named.
fn check_sources(
    read: &[(&RawSource, Vec<FileReport>)],
    benchmarks: &[FileReport],
) -> Result<(), ReadError> {
    let files_of = |names: &dyn Fn(&RawSource) -> bool| -> Vec<&FileReport> {
        let named = read.iter().filter(|(source, _)| names(source));
        let files = named.flat_map(|(_, files)| files);
        files.chain(benchmarks).collect()
    };
    for (source, _) in read {
        for (field, column) in &source.columns {
            let files = files_of(&|other| other.columns.get(field) == Some(column));
            check_named([(field, column)], [], files.iter().copied())?;
        }
        for key in &source.ignore_keys {
            let files = files_of(&|other| other.ignore_keys.contains(key));
            check_named([], [key], files.iter().copied())?;
        }
    }
    Ok(())
}

/// The rows of benchmarks, which may leave their answers out, and their files. Columns that a source names are read from
/// them, too, where they have them.
fn benchmark_rows(curation: &Curation) -> Result<(Vec<Record>, Vec<FileReport>), ReadError> {
    if curation.benchmarks.is_empty() {
        return Ok(Default::default());
    }
    let mut options = ReadOptions {
        replies_are_optional: true,
        ..ReadOptions::default()
    };
    for source in &curation.sources {
        for (field, column) in &source.columns {
            let named = options.columns.entry(field.clone());
            named.or_insert_with(|| column.clone());
        }
        options
            .ignored_keys
            .extend(source.ignore_keys.iter().cloned());
        options.nulls = options.nulls.or(source.nulls);
    }
    let mut records = Vec::new();
    let files = hone_data::stream(&curation.benchmarks, &options, &mut |row| {
        records.extend(row.ok());
        ControlFlow::Continue(())
    })?;
    Ok((records, files))
}

/// How a source says that its rows are read.
fn options_of<'a>(source: &RawSource) -> ReadOptions<'a> {
    ReadOptions {
        columns: source.columns.clone(),
        ignored_keys: source.ignore_keys.iter().cloned().collect(),
        nulls: source.nulls,
        task: source.task.clone(),
        origin: source.name.clone(),
        licence: source.licence.clone(),
        ..ReadOptions::default()
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
    /// Was that side settled by the user, and not by the files?
    is_settled: bool,
    facts: Vec<Fact>,
    prints: Vec<Fingerprint>,
    /// Rows of the test side that are not read otherwise.
    unread: Vec<Record>,
    /// Rows of benchmarks, and their files.
    benchmark: Vec<Record>,
    benchmarks: Vec<FileReport>,
    names: BTreeSet<Arc<str>>,
    /// What stands in for groups that were called by what is personal.
    groups: BTreeMap<String, String>,
    files: Vec<FileReport>,
    /// The files of the source being read, on whatever side they stand.
    met: Vec<FileReport>,
    inputs: Inputs,
    rows_in: usize,
    count: RowCount,
    rows_changed: usize,
    origins: BTreeMap<String, usize>,
    /// Rows in whose language no names of persons are looked for, by its code.
    unnamed: BTreeMap<&'static str, usize>,
    labels: Labels,
    /// What the rules about single rows have left out.
    lost: Lost,
    /// What was replaced and must stand nowhere.
    replaced: Replaced,
    /// The first unusable row of each file being read.
    first_refused: BTreeMap<PathBuf, Refused>,
}

impl Gathering<'_, '_> {
    /// Reads a source; one that is a dataset directory gives the rows of each side to that side.
    fn read_source(&mut self, source: &RawSource, inputs: &Inputs) -> Result<(), CurateError> {
        for path in source
            .files
            .iter()
            .filter(|file| is_dataset(Path::new(file)))
        {
            let dataset = DatasetDir::open(Path::new(path))?;
            for side in Side::ALL {
                if let Some(rows) = dataset.rows_of(side) {
                    let mut rows = Inputs::find(&[rows])?;
                    rows.files.iter_mut().for_each(|input| input.is_own = true);
                    let side = self.settled(Some(side));
                    self.read_files(&rows.files, source, source.side.or(side))?;
                }
            }
        }
        // With a validation side of their own, rows to train on are not held out.
        let has_valid = inputs.has(Side::Valid);
        let regroup = self.curation.regroup;
        let pinned = |input: &Input| match input.side {
            Some(Side::Train) if !has_valid => None,
            Some(Side::Train | Side::Valid) if regroup => None,
            side => side,
        };
        // Tests first: of two held-out rows that are the same in everything, the one of the test stays.
        for side in [Some(Side::Test), Some(Side::Valid), Some(Side::Train), None] {
            let is_unread = source.side.is_none()
                && side.is_some_and(|side| self.curation.unread.contains(&side));
            let files = inputs.files.iter().filter(|input| pinned(input) == side);
            let files: Vec<Input> = files.cloned().collect();
            match (files.is_empty(), is_unread) {
                (true, _) => {}
                (false, false) => self.read_files(&files, source, source.side.or(side))?,
                // What a later evaluation judges by must not be trained on, though nothing else is done with it now.
                (false, true) if side == Some(Side::Test) => self.read_unread(&files, source)?,
                (false, true) => {}
            }
        }
        Ok(())
    }

    /// The side on which rows stay that were read from it: with `regroup`, train and validation rows are split anew.
    fn settled(&self, side: Option<Side>) -> Option<Side> {
        side.filter(|&side| side == Side::Test || !self.curation.regroup)
    }

    /// Reads rows that leaks are looked for from; those that cannot be used are none to leak.
    fn read_unread(&mut self, files: &[Input], source: &RawSource) -> Result<(), CurateError> {
        let options = options_of(source);
        let examiner = &self.lens.examiner;
        let unread = &mut self.unread;
        let reports = stream_files(files, &options, &mut |row| {
            unread.extend(row.ok().map(|record| examiner.replaced(record)));
            ControlFlow::Continue(())
        })?;
        self.met.extend(reports);
        Ok(())
    }

    /// Reads the rows of benchmarks, redacted as the rows they are compared with: an address that is replaced on one
    /// side only would hide the leak.
    fn read_benchmarks(&mut self) -> Result<(), CurateError> {
        let (records, files) = benchmark_rows(self.curation)?;
        self.benchmarks = files;
        let examiner = &self.lens.examiner;
        let records = records.into_par_iter();
        self.benchmark = records.map(|record| examiner.replaced(record)).collect();
        Ok(())
    }

    fn read_files(
        &mut self,
        files: &[Input],
        source: &RawSource,
        side: Option<Side>,
    ) -> Result<(), CurateError> {
        self.pinned = side;
        self.is_settled = source.side.is_some();
        let (tools, (tokens, overlap)) = (self.tools, self.curation.chunk);
        let told =
            |progress: Progress| (tools.watch)("reading", progress.bytes, progress.total_bytes);
        let count = |text: &str| (tools.text_tokens)(text);
        let source = options_of(source);
        let options = ReadOptions {
            chunking: Some(Chunking {
                options: ChunkOptions { tokens, overlap },
                count: &count,
            }),
            told: Some(&told),
            ..source
        };
        let mut stopped = None;
        let reports = stream_files(files, &options, &mut |row| match self.take(row) {
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
        self.met.extend(reports.iter().cloned());
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
        self.count.pass_over(refused.reason.kind());
        let mut finding = unusable(&refused.source, &refused.reason, Decision::Dropped);
        finding.message = self.lens.examiner.shown_whole(&finding.message);
        self.noted.note(&finding)?;
        self.first_refused
            .entry(refused.source.file.to_path_buf())
            .or_insert(refused);
        Ok(())
    }

    fn stop_if_bad(&mut self, report: &FileReport) -> Result<(), CurateError> {
        let rows = report.rows + report.refused;
        match self.first_refused.remove(&*report.file) {
            Some(first) if report.bad_share() > self.curation.max_bad_rows => {
                Err(CurateError::TooManyBadRows {
                    file: report.file.to_path_buf(),
                    refused: report.refused,
                    rows,
                    allowed: self.curation.max_bad_rows,
                    first: Box::new(first),
                })
            }
            _ => Ok(()),
        }
    }

    /// Examines the batch on all threads, and takes the results in the order of the rows.
    fn examine_batch(&mut self) -> Result<(), CurateError> {
        let (batch, lens) = (std::mem::take(&mut self.batch), &self.lens);
        let held_out = self.pinned.filter(|&side| side != Side::Train);
        let looked: Vec<Looked> = batch
            .into_par_iter()
            .map(|record| lens.look(record, held_out))
            .collect();
        looked.into_iter().try_for_each(|looked| self.enter(looked))
    }

    fn enter(&mut self, looked: Looked) -> Result<(), CurateError> {
        if let Some(refused) = looked.unusable {
            return self.refuse(refused);
        }
        match (&looked.why, &looked.seen) {
            (Some(why), _) => self.count.pass_over(&why.kind),
            (None, Some(seen)) => self.count.use_row(seen.fingerprint.exact),
            (None, None) => {}
        }
        *self.origins.entry(looked.origin.clone()).or_default() += 1;
        if let Some(label) = &looked.label {
            self.labels.add(label);
        }
        let row = looked.seen.as_ref().map(|_| self.facts.len());
        for finding in &looked.findings {
            match row {
                Some(row) => self.noted.note_of(row, finding)?,
                None => self.noted.note(finding)?,
            }
            if finding.decision == Decision::Dropped {
                self.lost
                    .add(&looked.origin, looked.label.as_deref(), finding);
            }
        }
        for (value, by, doc) in looked.replaced {
            self.replaced.add(value, by, doc);
        }
        let Some(Seen {
            content,
            context,
            mut fingerprint,
            length,
            language,
            mut record,
            group,
            unnamed,
        }) = looked.seen
        else {
            return Ok(());
        };
        let changed = looked
            .findings
            .iter()
            .any(|finding| finding.decision == Decision::Changed);
        self.rows_changed += usize::from(changed);
        if let Some(group) = group.filter(|group| record.group.as_ref() != Some(group)) {
            record.group = record.group.map(|name| self.group(group, name));
        }
        let is_remarked = looked
            .findings
            .iter()
            .any(|finding| finding.family == Family::Quality);
        if let Some(language) = unnamed {
            *self.unnamed.entry(language).or_default() += 1;
        }
        self.spool
            .push(&record)
            .map_err(|source| self.noted.no_room(source))?;
        fingerprint.row = self.facts.len();
        fingerprint.is_held_out = matches!(self.pinned, Some(Side::Valid | Side::Test));
        fingerprint.is_pinned = self.pinned.is_some();
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
            is_of_split: self.pinned.is_some() && !self.is_settled,
            kind: record.body.kind(),
            is_changed: changed,
            label: looked.label.map(String::into_boxed_str),
            content,
            context,
        });
        self.prints.push(fingerprint);
        Ok(())
    }

    /// What a group is called whose name was replaced: a placeholder is the same for all of them, and they are not one.
    fn group(&mut self, group: String, name: String) -> String {
        let number = self.groups.len() + 1;
        let numbered = || format!("{name} {number}");
        self.groups.entry(group).or_insert_with(numbered).clone()
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

    fn finish(mut self) -> Result<Table, CurateError> {
        // Sides are read in the order that keeps held-out rows; people read of them in that of learning.
        let side = |report: &FileReport| {
            let mut inputs = self.inputs.files.iter();
            let input = inputs.find(|input| input.is_of(report));
            input.and_then(|input| input.side).unwrap_or(Side::Train)
        };
        self.files.sort_by_key(side);
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
            unread: self.unread,
            benchmark: self.benchmark,
            links: Vec::new(),
            files: self.files,
            inputs: self.inputs,
            benchmarks: self.benchmarks,
            rows_in: self.rows_in,
            count: self.count,
            rows_changed: self.rows_changed,
            origins: self.origins,
            unnamed: self.unnamed,
            labels: self.labels,
            lost: self.lost,
            replaced: self.replaced,
            clusters: Vec::new(),
            portions: Vec::new(),
        })
    }
}

/// All that is done to a row by itself, from any thread.
struct Lens<'a> {
    usable: &'a UsableRow<'a>,
    skips_unusable: bool,
    examiner: Examiner<'a>,
    fingerprints: Fingerprints,
    languages: LanguageDetector,
    /// Is a rule on that looks for names of persons?
    looks_for_names: bool,
}

impl Lens<'_> {
    /// `held_out` is the side of rows that the user brought to evaluate by.
    fn look(&self, mut record: Record, held_out: Option<Side>) -> Looked {
        let raw_origin = origin_of(&mut record);
        let source = record.source.clone();
        let label = label_of(&record);
        let skipped = |reason| Looked {
            origin: String::new(),
            label: None,
            findings: Vec::new(),
            replaced: Vec::new(),
            seen: None,
            why: None,
            unusable: Some(Refused {
                source: source.clone(),
                reason,
            }),
        };
        let (mut tokens, mut reason) = match self.tokens(&record) {
            (_, Some(reason)) if self.skips_unusable => return skipped(reason),
            told => told,
        };
        let group = record.group.clone();
        let Examined {
            record,
            mut findings,
            replaced,
        } = self.examiner.examine_on(held_out, record, tokens);
        // A collection is told of by the name that its rows have now.
        let origin = record.as_ref().and_then(|record| record.origin.clone());
        let origin = origin.unwrap_or(raw_origin);
        let is_changed = findings
            .iter()
            .any(|finding| finding.decision == Decision::Changed);
        if let Some(changed) = record.as_ref().filter(|_| is_changed) {
            (tokens, reason) = match self.tokens(changed) {
                (_, Some(reason)) if self.skips_unusable => return skipped(reason),
                told => told,
            };
        }
        let why = reason.as_ref().map(Why::of_reason);
        let why = why.or_else(|| Why::of_findings(&findings));
        // Lengths are for a rule to tell, and kinds that nothing trains on yet for the report of their file.
        let is_told = |reason: &&Reason| {
            reason.is_too_long() || matches!(reason, Reason::Preference | Reason::Unpaired)
        };
        if let (Some(reason), Some(_)) =
            (reason.as_ref().filter(|reason| !is_told(reason)), &record)
        {
            let mut finding = unusable(&source, reason, Decision::Reported);
            finding.message = self.examiner.shown_whole(&finding.message);
            findings.push(finding);
        }
        let seen = record.map(|record| {
            let content = record.content_id();
            let context = context(&record);
            Seen {
                context,
                // The number of a row is known once the rows before it are written down.
                fingerprint: self.fingerprints.with_content(0, &record, content),
                content,
                length: tokens.unwrap_or_else(|| words(&record)),
                language: self.language(&record),
                unnamed: self
                    .looks_for_names
                    .then(|| without_names(&record))
                    .flatten(),
                record,
                group,
            }
        });
        Looked {
            origin,
            label,
            findings,
            replaced,
            seen,
            why,
            unusable: None,
        }
    }

    /// Tokens of a row where a model counts them, and why nothing trains on it, if so.
    fn tokens(&self, record: &Record) -> (Option<usize>, Option<Reason>) {
        match (self.usable)(record) {
            Ok(tokens) => (tokens, None),
            Err(reason) => (reason.tokens(), Some(reason)),
        }
    }

    fn language(&self, record: &Record) -> &'static str {
        let mut supervised = record.parts().filter(Part::is_supervised);
        let found = supervised.find_map(|part| self.languages.language(part.text));
        found.map_or("too short to tell", called)
    }
}

/// A row after its examination.
struct Looked {
    origin: String,
    label: Option<String>,
    findings: Vec<Finding>,
    /// What was replaced in it and is one person's wherever it stands, with what stands in for it.
    replaced: Vec<(String, StandIn, &'static Doc)>,
    /// What is kept of it, if it stays.
    seen: Option<Seen>,
    /// Why nothing trains on it, whether it stays or not.
    why: Option<Why>,
    /// Why it is skipped.
    unusable: Option<Refused>,
}

struct Seen {
    content: ContentId,
    /// See [`Fact::context`].
    context: Option<NonZeroU64>,
    fingerprint: Fingerprint,
    length: usize,
    language: &'static str,
    record: Record,
    /// Its group as it was read.
    group: Option<String>,
    /// Its language, where no names are looked for in it.
    unnamed: Option<&'static str>,
}

/// A hash of what a row's system turns say, where that is as long as a passage.
fn context(record: &Record) -> Option<NonZeroU64> {
    const PASSAGE: usize = 80;
    let told = record
        .parts()
        .filter(|part| part.role == Some(Role::System));
    let told: Vec<&str> = told.map(|part| part.text).collect();
    let is_passage = told.iter().map(|text| text.len()).sum::<usize>() >= PASSAGE;
    let hash = is_passage.then(|| hash(same_but_case(&told.join(" ")).as_bytes()));
    NonZeroU64::new(hash?)
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
