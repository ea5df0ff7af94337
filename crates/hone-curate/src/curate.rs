//! A recipe followed: from files to rows that are kept, each on its side, and findings for all that is not.
//!
//! Read downwards: rows are read and examined one by one and written down; then what needs all rows at once
//! (twins, sides, leaks, choice, mixture) works on a few numbers of each row and looks a row up again only
//! where it must. So a million rows need little memory, and each step sees what the step before has left.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_data::{
    ChunkOptions, Chunking, FileReport, Part, Progress, ReadError, ReadOptions, Record, Refused,
    RowKey, Shares, stream,
};
use hone_ledger::{ContentId, Seed};
use rayon::prelude::*;

use crate::dataset::{DatasetDir, DatasetError, is_dataset};
use crate::duplicates::near::NearOptions;
use crate::duplicates::replies::ReplyOptions;
use crate::duplicates::semantic::{Embeddings, EmbeddingsError, SemanticOptions};
use crate::duplicates::{
    Cluster, Fingerprint, Fingerprints, exact, near, prompts, replies, semantic,
};
use crate::leaks::{self, Index, Leak, LeakOptions};
use crate::mix::{self, Ingredient, Portion, mix};
use crate::overview::Tally;
use crate::recipe::{Curation, RawSource, RecipeError, Ruled, Side};
use crate::redact::{KeyError, Pseudonyms};
use crate::rules::format::unusable_row;
use crate::rules::quality::LanguageDetector;
use crate::select::{self, Candidate, Passed, features, select};
use crate::{
    Action, BadParam, Decision, Examined, Examiner, Finding, Params, Rows, RowsError, Spool,
    SpoolWriter, excerpt,
};

/// Tokens of a row; `None` if the model cannot render it.
pub type CountRow<'a> = dyn Fn(&Record) -> Option<usize> + Sync + 'a;

/// The worth of each of some rows, or why it cannot be told.
pub type Judge<'a> = dyn Fn(&[Record]) -> Result<Vec<f64>, String> + Sync + 'a;

/// What the product lends to curation: a tokenizer, a model's opinion, and somebody to tell.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Tokens of a row as the target model reads it; `None` if it cannot render the row.
    pub row_tokens: Option<&'a CountRow<'a>>,
    /// Tokens of a text.
    pub text_tokens: &'a (dyn Fn(&str) -> usize + Sync),
    /// How much a reply's own model learns from it (IFD), for each of some rows.
    pub worth: Option<&'a Judge<'a>>,
    /// Hears how far a stage is: its name, units done, units in all.
    pub watch: &'a (dyn Fn(&str, u64, u64) + Sync),
}

/// What became of all rows.
pub struct Curated {
    /// Every row that the rules about single rows have left, as it is now.
    pub spool: Spool,
    /// Those that stay, in the order in which they were read.
    pub kept: Vec<Kept>,
    /// Findings, counted.
    pub tally: Tally,
    /// The files read.
    pub files: Vec<FileReport>,
    /// Rows read, usable or not.
    pub rows_in: usize,
    /// Rows whose text was changed.
    pub rows_changed: usize,
    /// Rows read of each collection.
    pub origins: BTreeMap<String, usize>,
    /// The collection of each row of the spool.
    pub origin_of: Vec<Arc<str>>,
    /// Groups of near-duplicates, the largest first: rows, and the one kept.
    pub clusters: Vec<(usize, usize)>,
    /// The mixture, where one was asked for.
    pub portions: Vec<Portion>,
}

/// A row that stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// Its number in the spool.
    pub row: usize,
    /// Its side.
    pub side: Side,
    /// How often it is learnt.
    pub copies: usize,
    /// Its length in tokens, or in words where no tokenizer counts.
    pub length: usize,
    /// The language of what is learnt, where it is sure enough.
    pub language: &'static str,
}

/// Why curation stopped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum CurateError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Rows(#[from] RowsError),
    #[error("cannot write to {}: {source}", dir.display())]
    Room { dir: PathBuf, source: io::Error },
    #[error("{}: {refused} of {rows} rows are unusable, which is more than max-bad-rows allows ({allowed}); the first is {first}", file.display())]
    TooManyBadRows {
        file: PathBuf,
        refused: usize,
        rows: usize,
        allowed: f64,
        first: Box<Refused>,
    },
    #[error("the model cannot judge the rows: {what}")]
    Worth { what: String },
    #[error("selection by quality needs a model that judges; the recipe names none")]
    NoJudge,
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Embeddings(#[from] EmbeddingsError),
    #[error("the recipe asks to {what}, and the rule `{rule}` that does it is off")]
    Contradiction {
        what: &'static str,
        rule: &'static str,
    },
}

impl CurateError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Read(error) => error.hints(),
            Self::Recipe(error) => error.hints(),
            Self::TooManyBadRows { .. } => vec![
                "the file may be of another shape; `columns` in its [[sources]] names its columns"
                    .into(),
                "max-bad-rows = 1.0 in the recipe sets all of them aside".into(),
            ],
            Self::NoJudge => vec!["name one: model = \"smollm2-135m-instruct\"".into()],
            _ => Vec::new(),
        }
    }
}

/// Follows a recipe. Rows are written down in a nameless file in `room`; each finding goes to `sink`.
pub fn curate(
    curation: &Curation,
    tools: Tools<'_>,
    room: &Path,
    sink: &mut dyn FnMut(&Finding) -> io::Result<()>,
) -> Result<Curated, CurateError> {
    let pseudonyms = pseudonyms(curation)?;
    let mut noted = Noted {
        tally: Tally::default(),
        sink,
        room,
    };
    let mut table = Table::gather(curation, tools, pseudonyms.as_ref(), &mut noted)?;
    if let Some(pseudonyms) = &pseudonyms {
        pseudonyms.save()?;
    }
    table.leave_out_twins(curation, tools, &mut noted)?;
    table.take_sides(curation)?;
    table.leave_out_leaks(curation, tools, &mut noted)?;
    table.choose(curation, tools, &mut noted)?;
    table.weigh(curation, &mut noted)?;
    Ok(table.finish(noted.tally))
}

/// Made-up names, if a rule asks for them.
fn pseudonyms(curation: &Curation) -> Result<Option<Pseudonyms>, CurateError> {
    let wanted = curation
        .rules
        .iter()
        .any(|ruled| ruled.action == Action::Pseudonymise);
    let (true, Some(path)) = (wanted, &curation.pseudonym_key) else {
        return Ok(None);
    };
    Ok(Some(Pseudonyms::open(path, fresh_key)?))
}

/// A key that nobody can guess; the seed of the recipe would be known to all who read it.
fn fresh_key() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(ContentId::of(&bytes).to_string())
}

/// Findings on their way out.
struct Noted<'a> {
    tally: Tally,
    sink: &'a mut dyn FnMut(&Finding) -> io::Result<()>,
    room: &'a Path,
}

impl Noted<'_> {
    fn note(&mut self, finding: &Finding) -> Result<(), CurateError> {
        self.tally.add(finding);
        (self.sink)(finding).map_err(|source| self.no_room(source))
    }

    fn no_room(&self, source: io::Error) -> CurateError {
        CurateError::Room {
            dir: self.room.to_path_buf(),
            source,
        }
    }
}

/// What is kept in memory of each row.
struct Fact {
    task: Arc<str>,
    group: Option<Box<str>>,
    origin: Arc<str>,
    length: usize,
    language: &'static str,
    /// How often it stands in the data as read.
    copies: usize,
    /// The side it was read from, where that is settled.
    pinned: Option<Side>,
    /// The id of what it says.
    content: ContentId,
}

/// All rows, and which of them are still in.
struct Table {
    spool: Spool,
    facts: Vec<Fact>,
    /// What duplicates are told by, of the rows that are in; empty once they have been.
    prints: Vec<Fingerprint>,
    /// How often each row is learnt; 0 once it is out.
    copies: Vec<usize>,
    sides: Vec<Side>,
    /// Rows that must stand on one side.
    links: Vec<(usize, usize)>,
    files: Vec<FileReport>,
    rows_in: usize,
    rows_changed: usize,
    origins: BTreeMap<String, usize>,
    clusters: Vec<(usize, usize)>,
    portions: Vec<Portion>,
}

/// Rows examined together, on all threads.
const BATCH: usize = 1024;

impl Table {
    /// Reads, examines and writes down every row of every source.
    fn gather(
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

    /// Leaves out all but one of rows that say the same, and ties together what must stand on one side.
    fn leave_out_twins(
        &mut self,
        curation: &Curation,
        tools: Tools<'_>,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        const STAGES: u64 = 5;
        let told = |stage| (tools.watch)("looking for duplicates", stage, STAGES);
        told(0);
        if let Some(rule) = curation.rule(exact::DOC.name) {
            let clusters = exact::clusters(&self.prints);
            self.settle(rule, &clusters, noted)?;
            self.tie(&clusters);
        }
        told(1);
        if let Some(rule) = curation.rule(near::DOC.name) {
            let clusters = near::clusters(&self.prints, &self.spool, &near_options(curation)?)?;
            self.settle(rule, &clusters, noted)?;
            self.tie(&clusters);
            self.clusters = largest(&clusters);
        }
        told(2);
        if let Some(rule) = curation.rule(prompts::DOC.name) {
            let clusters = prompts::clusters(&self.prints);
            self.settle(rule, &clusters, noted)?;
            self.tie(&clusters);
        }
        told(3);
        if let Some(rule) = curation.rule(replies::DOC.name) {
            let options = ReplyOptions::take(&mut params_of(rule));
            let options = options.map_err(|source| wrong(rule, source))?;
            // Rows with one answer are as many as a task has; they need not stand on one side.
            self.settle(rule, &replies::clusters(&self.prints, &options), noted)?;
        }
        told(4);
        if let Some(rule) = curation.rule(semantic::DOC.name) {
            let options = SemanticOptions::take(&mut params_of(rule));
            if let Some(options) = options.map_err(|source| wrong(rule, source))? {
                let table = Embeddings::load(&options.embeddings, &options.tokenizer)?;
                let clusters = semantic::clusters(&self.prints, &self.spool, &table, &options)?;
                self.settle(rule, &clusters, noted)?;
                self.tie(&clusters);
            }
        }
        told(STAGES);
        self.prints = Vec::new();
        Ok(())
    }

    /// Has the rows of each cluster stand on one side.
    fn tie(&mut self, clusters: &[Cluster]) {
        for cluster in clusters {
            let others = cluster.rows.iter().filter(|&&row| row != cluster.keep);
            self.links.extend(others.map(|&row| (cluster.keep, row)));
        }
    }

    /// Does to each row of a cluster but the kept one what the recipe says.
    fn settle(
        &mut self,
        rule: &Ruled,
        clusters: &[Cluster],
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        for cluster in clusters {
            let kept = format!("{} is kept", self.spool.source(cluster.keep));
            for &row in cluster.rows.iter().filter(|&&row| row != cluster.keep) {
                let finding = Finding {
                    other: Some(kept.clone()),
                    score: similarity(cluster, row) as f32,
                    ..self.finding(rule, row, rule.doc.summary)
                };
                if finding.decision == Decision::SetAside {
                    self.copies[row] = 0;
                }
                noted.note(&finding)?;
            }
        }
        let copies = &self.copies;
        self.prints.retain(|print| copies[print.row] > 0);
        Ok(())
    }

    /// Gives every row its side: the one it was read from, or its share by content and seed.
    fn take_sides(&mut self, curation: &Curation) -> Result<(), CurateError> {
        let shares = Shares {
            valid: curation.valid,
            test: curation.test,
        };
        let loose: Vec<usize> = self
            .alive()
            .filter(|&row| self.facts[row].pinned.is_none())
            .collect();
        let at: BTreeMap<usize, usize> = loose
            .iter()
            .enumerate()
            .map(|(at, &row)| (row, at))
            .collect();
        let links: Vec<(usize, usize)> = self
            .links
            .iter()
            .filter_map(|(a, b)| Some((*at.get(a)?, *at.get(b)?)))
            .collect();
        let keys: Vec<RowKey<'_>> = loose.iter().map(|&row| self.facts[row].key()).collect();
        let sides = hone_data::sides(
            &keys,
            &links,
            shares,
            Seed::new(curation.seed).child("split"),
        );
        let sides = sides.map_err(|error| RecipeError::OutOfRange {
            name: "split",
            value: error.share,
            wanted: "shares must leave rows to learn from",
        })?;
        for (row, fact) in self.facts.iter().enumerate() {
            self.sides[row] = fact.pinned.unwrap_or(Side::Train);
        }
        loose
            .iter()
            .zip(sides)
            .for_each(|(&row, side)| self.sides[row] = side);
        Ok(())
    }

    /// Finds evaluation rows among the rows to learn from.
    ///
    /// Benchmarks are looked for by every rule under its action. Held-out rows of the tasks that are learnt share
    /// the form of the task with them, and with it whole n-grams: of those that came with a side, n-grams are
    /// reported rather than asked about; those that this build held out stand apart from their groups and
    /// near-duplicates already, and only an equal prompt would give them away.
    fn leave_out_leaks(
        &mut self,
        curation: &Curation,
        tools: Tools<'_>,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        const STAGES: u64 = 3;
        let told = |stage| (tools.watch)("looking for leaks", stage, STAGES);
        let all = leak_options(curation)?;
        let prompts = LeakOptions {
            prompt_exact: all.prompt_exact,
            overlaps: Vec::new(),
        };
        told(0);
        let benchmarks = match &curation.benchmarks[..] {
            [] => Vec::new(),
            files => hone_data::read(files)?.records,
        };
        self.leave_out_leaks_of(&benchmarks, &all, false, curation, noted)?;
        told(1);
        let brought = self.held_out(|fact| fact.pinned.is_some())?;
        self.leave_out_leaks_of(&brought, &all, true, curation, noted)?;
        told(2);
        let own = self.held_out(|fact| fact.pinned.is_none())?;
        self.leave_out_leaks_of(&own, &prompts, true, curation, noted)?;
        told(STAGES);
        Ok(())
    }

    fn leave_out_leaks_of(
        &mut self,
        evaluation: &[Record],
        options: &LeakOptions,
        share_the_form: bool,
        curation: &Curation,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        if evaluation.is_empty() {
            return Ok(());
        }
        let train = self.on(Side::Train);
        let index = Index::new(options, &evaluation)?;
        let rows = Chosen {
            spool: &self.spool,
            rows: &train,
        };
        for leak in leaks::find(&index, &rows)? {
            let row = train[leak.row];
            let rule = curation
                .rule(leak.rule)
                .expect("only rules that are asked find something");
            let mut finding = self.leak(rule, row, &leak, &evaluation[leak.evaluation])?;
            let by_ngrams = leak.rule != leaks::PROMPT_EXACT;
            if share_the_form && by_ngrams && finding.decision == Decision::Undecided {
                finding.decision = Decision::Reported;
            }
            if finding.decision == Decision::SetAside {
                self.copies[row] = 0;
            }
            noted.note(&finding)?;
        }
        Ok(())
    }

    /// Held-out rows of which something holds.
    fn held_out(&self, holds: impl Fn(&Fact) -> bool) -> Result<Vec<Record>, CurateError> {
        let rows = [Side::Valid, Side::Test]
            .into_iter()
            .flat_map(|side| self.on(side));
        let rows = rows.filter(|&row| holds(&self.facts[row]));
        let records = rows.map(|row| self.spool.record(row).map(Cow::into_owned));
        Ok(records.collect::<Result<_, _>>()?)
    }

    fn leak(
        &self,
        rule: &Ruled,
        row: usize,
        leak: &Leak,
        evaluation: &Record,
    ) -> Result<Finding, CurateError> {
        let record = self.spool.record(row)?;
        let text = record.text(leak.place).unwrap_or("");
        let more = match leak.others {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        Ok(Finding {
            place: Some(leak.place.to_string()),
            span: Some([leak.span.start, leak.span.end]),
            evidence: excerpt(&text[leak.span.clone()]),
            score: leak.coverage as f32,
            other: Some(format!("evaluation row {}{more}", evaluation.source)),
            ..self.finding(
                rule,
                row,
                &format!("shares {:.0} % of an evaluation row", 100.0 * leak.coverage),
            )
        })
    }

    /// Rows of a side that are still in.
    fn on(&self, side: Side) -> Vec<usize> {
        self.alive()
            .filter(|&row| self.sides[row] == side)
            .collect()
    }

    /// Keeps the rows to learn from that are worth most and unlike each other, if the recipe asks for fewer.
    fn choose(
        &mut self,
        curation: &Curation,
        tools: Tools<'_>,
        noted: &mut Noted<'_>,
    ) -> Result<(), CurateError> {
        let Some(wanted) = &curation.select else {
            return Ok(());
        };
        let rule = active(curation, select::DOC.name, "choose rows")?;
        let train = self.on(Side::Train);
        let candidates = self.candidates(&train, tools)?;
        let selection = select(
            &candidates,
            wanted.rows,
            wanted.by.unwrap_or_default(),
            wanted.max_similarity.unwrap_or(0.9),
        );
        for (at, why) in selection.passed {
            let row = train[at];
            let mut finding = self.finding(rule, row, "not chosen: there was no room for it");
            finding.decision = Decision::SetAside;
            finding.score = candidates[at].quality as f32;
            if let Passed::Like(other, cosine) = why {
                finding.message =
                    format!("not chosen: it is like a chosen row (cosine {cosine:.2})");
                finding.other = Some(self.spool.source(train[other]).to_string());
            }
            self.copies[row] = 0;
            noted.note(&finding)?;
        }
        Ok(())
    }

    fn candidates(&self, rows: &[usize], tools: Tools<'_>) -> Result<Vec<Candidate>, CurateError> {
        let judge = tools.worth.ok_or(CurateError::NoJudge)?;
        let mut candidates = Vec::with_capacity(rows.len());
        for some in rows.chunks(BATCH) {
            let records = some
                .iter()
                .map(|&row| self.spool.record(row).map(Cow::into_owned));
            let records: Vec<Record> = records.collect::<Result<_, _>>()?;
            let worth = judge(&records).map_err(|what| CurateError::Worth { what })?;
            let features: Vec<Vec<f32>> = records
                .par_iter()
                .map(|record| features(&said(record)))
                .collect();
            let found = some.iter().zip(worth).zip(features);
            candidates.extend(found.map(|((&row, quality), features)| Candidate {
                id: self.facts[row].content,
                quality,
                features,
            }));
            (tools.watch)("judging rows", candidates.len() as u64, rows.len() as u64);
        }
        Ok(candidates)
    }

    /// Repeats and leaves out rows to learn from until each collection has its weight.
    fn weigh(&mut self, curation: &Curation, noted: &mut Noted<'_>) -> Result<(), CurateError> {
        let Some(wanted) = &curation.mix else {
            return Ok(());
        };
        let rule = active(curation, mix::DOC.name, "mix collections")?;
        let train = self.on(Side::Train);
        let ingredient = |&row: &usize| {
            let fact = &self.facts[row];
            Ingredient {
                origin: fact.origin.to_string(),
                id: fact.content,
                tokens: fact.length,
                copies: fact.copies,
            }
        };
        let ingredients: Vec<Ingredient> = train.iter().map(ingredient).collect();
        let (copies, portions) = mix(&ingredients, wanted, Seed::new(curation.seed).child("mix"))?;
        self.portions = portions;
        for (&row, copies) in train.iter().zip(copies) {
            self.copies[row] = copies;
            if copies == 0 {
                let message = format!("the mixture takes fewer rows of {}", self.facts[row].origin);
                let mut finding = self.finding(rule, row, &message);
                finding.decision = Decision::SetAside;
                noted.note(&finding)?;
            }
        }
        Ok(())
    }

    fn finish(self, tally: Tally) -> Curated {
        let kept = |row: usize| Kept {
            row,
            side: self.sides[row],
            copies: self.copies[row],
            length: self.facts[row].length,
            language: self.facts[row].language,
        };
        let kept = self.alive().map(kept).collect();
        Curated {
            kept,
            origin_of: self.facts.into_iter().map(|fact| fact.origin).collect(),
            spool: self.spool,
            tally,
            files: self.files,
            rows_in: self.rows_in,
            rows_changed: self.rows_changed,
            origins: self.origins,
            clusters: self.clusters,
            portions: self.portions,
        }
    }

    /// Rows that are still in.
    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.facts.len()).filter(|&row| self.copies[row] > 0)
    }

    /// A finding about a row under the action of a rule.
    fn finding(&self, rule: &Ruled, row: usize, message: &str) -> Finding {
        let decision = match rule.action {
            Action::Drop => Decision::SetAside,
            Action::Allow => Decision::Allowed,
            Action::Report => Decision::Reported,
            _ => Decision::Undecided,
        };
        let finding = Finding::of_row(
            rule.doc.name,
            rule.doc.family,
            decision,
            &self.spool.source(row),
            message,
        );
        Finding {
            reason: rule
                .reason
                .clone()
                .filter(|_| decision == Decision::Allowed),
            ..finding
        }
    }
}

impl Fact {
    fn key(&self) -> RowKey<'_> {
        RowKey {
            task: &self.task,
            group: self.group.as_deref(),
            content: self.content,
        }
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
            ),
        }
    }

    fn read_files(
        &mut self,
        files: &[String],
        source: &RawSource,
        side: Option<Side>,
    ) -> Result<(), CurateError> {
        self.pinned = side;
        let (tools, (tokens, overlap)) = (self.tools, self.curation.chunk);
        let told =
            |progress: Progress| (tools.watch)("reading", progress.bytes, progress.total_bytes);
        let count = |text: &str| (tools.text_tokens)(text);
        let options = ReadOptions {
            columns: source.columns.clone(),
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
            copies: record.copies,
            pinned: self.pinned,
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

/// All that a record says.
fn said(record: &Record) -> String {
    record
        .parts()
        .map(|part| part.text)
        .collect::<Vec<_>>()
        .join("\n")
}

/// How near-duplicates are looked for, whether or not they are.
pub(crate) fn near_options(curation: &Curation) -> Result<NearOptions, CurateError> {
    let rule = curation
        .rules
        .iter()
        .find(|ruled| ruled.doc.name == near::DOC.name);
    rule.map_or(Ok(NearOptions::default()), |rule| {
        NearOptions::take(&mut params_of(rule)).map_err(|source| wrong(rule, source))
    })
}

fn leak_options(curation: &Curation) -> Result<LeakOptions, CurateError> {
    let mut options = LeakOptions::none();
    for rule in curation
        .rules
        .iter()
        .filter(|rule| rule.action != Action::Off)
    {
        options
            .add(rule.doc.name, &mut params_of(rule))
            .map_err(|source| wrong(rule, source))?;
    }
    Ok(options)
}

fn params_of(rule: &Ruled) -> Params {
    Params::new(rule.params.clone())
}

fn wrong(rule: &Ruled, source: BadParam) -> CurateError {
    RecipeError::Params {
        name: rule.doc.name.to_owned(),
        source,
    }
    .into()
}

fn active<'a>(
    curation: &'a Curation,
    rule: &'static str,
    what: &'static str,
) -> Result<&'a Ruled, CurateError> {
    curation
        .rule(rule)
        .ok_or(CurateError::Contradiction { what, rule })
}

/// Rows and kept row of the largest clusters, for the report.
fn largest(clusters: &[Cluster]) -> Vec<(usize, usize)> {
    let size = |cluster: &Cluster| (cluster.rows.len(), cluster.keep);
    let mut largest: Vec<(usize, usize)> = clusters.iter().map(size).collect();
    largest.sort_by_key(|&(rows, keep)| (Reverse(rows), keep));
    largest.truncate(10);
    largest
}

fn similarity(cluster: &Cluster, row: usize) -> f64 {
    let links = cluster
        .links
        .iter()
        .filter(|link| link.a == row || link.b == row);
    links.map(|link| link.similarity).fold(0.0, f64::max)
}

/// Some rows of a spool, numbered from 0.
struct Chosen<'a> {
    spool: &'a Spool,
    rows: &'a [usize],
}

impl Rows for Chosen<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn record(&self, row: usize) -> Result<Cow<'_, Record>, RowsError> {
        self.spool.record(self.rows[row])
    }
}
