//! Curated rows to a dataset directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use hone_data::{FileReport, Kind};
use hone_ledger::{ContentId, DirError, Hasher, Unpublished};
use rayon::prelude::*;
use serde_json::json;

use crate::Loss;
use crate::curate::{CurateError, Curated, Kept};
use crate::dataset::{
    DatasetError, FINDINGS, KIND, Note, Parent, REPORT, SideNote, file_of, is_dataset,
};
use crate::decisions::{Again, Told, class_lines, told};
use crate::duplicates::near::NearOptions;
use crate::mix::Portion;
use crate::overview::{ClusterRow, Drawn, FileRow, OriginRow, Overview, Portrait};
use crate::pages::RulePage;
use crate::recipe::{Curation, Side};
use crate::tally::Tally;
use crate::{
    Action, Decision, Entry, Examiner, Finding, Replaced, RowCount, Rows as _, report, rules,
};

/// A dataset that is on disk.
pub struct Written {
    /// The id of the directory: rows, findings, report and manifest.
    pub id: ContentId,
    /// What its manifest says.
    pub note: Note,
    /// Findings, counted.
    pub tally: Tally,
    /// The same kind by kind, as the report tells them.
    pub told: Vec<Told>,
    /// Rows read, by whether something trains on them and why not.
    pub count: RowCount,
    /// The files read.
    pub files: Vec<FileReport>,
    /// In which languages no names of persons are looked for, as a sentence.
    pub names_not_looked_for: Option<String>,
    /// The mixture, where one was asked for.
    pub portions: Vec<Portion>,
    /// What the rules have left of each collection and each class.
    pub losses: Vec<Loss>,
    /// Rows that are kept and that nothing trains on yet, by kind.
    pub untrained: BTreeMap<Kind, usize>,
    /// Was the very same directory there before?
    pub was_there: bool,
    /// Was a second build of that name kept out? A file system without locks keeps out nobody.
    pub is_locked: bool,
}

/// Why a dataset could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum WriteError {
    #[error("{} cannot be built: {source}", path.display())]
    Room {
        path: PathBuf,
        source: Box<CurateError>,
    },
    #[error(transparent)]
    Curate(Box<CurateError>),
    #[error(transparent)]
    Dir(#[from] DirError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Write(#[from] hone_ledger::WriteError),
    #[error("{} holds something that is not a dataset", path.display())]
    InUse { path: PathBuf },
    #[error("{} holds another dataset, and datasets do not change", path.display())]
    Another { path: PathBuf },
    #[error("{}", told_to_stop(.losses, *.allowed))]
    Dropped {
        losses: Vec<Loss>,
        allowed: f64,
        again: Box<Again>,
    },
    #[error(
        "a value that the rule `{rule}` found and replaced still stands in {file}, line {line}; nothing was written"
    )]
    Survived {
        rule: &'static str,
        file: String,
        line: usize,
    },
    #[error("the report cannot be laid out: {source}")]
    Report { source: minijinja::Error },
}

impl From<CurateError> for WriteError {
    fn from(error: CurateError) -> Self {
        Self::Curate(Box::new(error))
    }
}

impl WriteError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Curate(error) => error.hints(),
            Self::Dir(error) => error.hints(),
            Self::InUse { .. } | Self::Another { .. } => {
                vec!["choose another --out; `hone data diff` compares two datasets".into()]
            }
            Self::Dropped { losses, again, .. } => ways_on(losses, again),
            Self::Survived { file, .. } => vec![match file.as_str() {
                FINDINGS | REPORT | hone_ledger::MANIFEST => {
                    "it may stand in the name of a file or folder, or in a reason: give it another name".into()
                }
                _ => "it stands where Hone does not replace text, which is a fault of Hone: please report it, and replace it in its file".into(),
            }],
            _ => Vec::new(),
        }
    }
}

/// Parts of which too much would leave are told one by one up to so many.
const PARTS: usize = 3;

fn told_to_stop(losses: &[Loss], allowed: f64) -> String {
    let told = losses.iter().take(PARTS).map(Loss::told_to_stop);
    let told: Vec<String> = told.collect();
    let more = match losses.len().saturating_sub(PARTS) {
        0 => String::new(),
        more => format!("; and so of {more} more"),
    };
    format!(
        "nothing is written, because more than max-dropped = {allowed} would leave that nobody has told to: {}{more}",
        told.join("; ")
    )
}

/// The commands that go on where too much would leave.
fn ways_on(losses: &[Loss], again: &Again) -> Vec<String> {
    let lost = losses.iter().flat_map(|loss| &loss.undecided);
    let rules: std::collections::BTreeSet<&str> = lost.map(|lost| lost.rule.as_str()).collect();
    let leave = rules.iter().map(|rule| {
        let command = again.same_with(&format!("--rule {rule}=drop"));
        format!("to leave them out: {command}")
    });
    let keep = rules.iter().filter_map(|rule| {
        let entry = rules::named(rule).filter(|entry| entry.takes(Action::Report))?;
        let command = again.same_with(&format!("--rule {}=report", entry.doc.name));
        Some(format!("to keep them: {command}"))
    });
    let whatever = again.same_with("--max-dropped 1");
    let whatever =
        format!("to leave out whatever leaves (in a recipe: max-dropped = 1.0): {whatever}");
    leave.chain(keep).chain([whatever]).collect()
}

/// Somewhere for findings to go.
pub type Sink<'a> = &'a mut dyn FnMut(&Finding) -> io::Result<()>;

/// Writes what `run` curates as the directory `out`; `length_unit` is what lengths are counted in, `again` the
/// command that the report offers again.
pub fn write(
    out: &Path,
    curation: &Curation,
    length_unit: &str,
    again: &Again,
    run: impl FnOnce(Sink<'_>) -> Result<Curated, CurateError>,
) -> Result<Written, WriteError> {
    if out.exists() && !is_dataset(out) {
        return Err(WriteError::InUse {
            path: out.to_path_buf(),
        });
    }
    let mut dir = Unpublished::begin(out, "hone data build")?;
    let is_locked = dir.is_locked();
    let mut findings = Findings::create(dir.path_of(FINDINGS))?;
    let curated = run(&mut |finding| findings.push(finding)).map_err(|error| match error {
        CurateError::Room(_) => WriteError::Room {
            path: out.to_path_buf(),
            source: Box::new(error),
        },
        error => error.into(),
    })?;
    findings.finish()?;
    let allowed = curation.max_dropped;
    let losses = curated.losses.iter();
    let losses: Vec<Loss> = losses
        .filter(|loss| loss.is_too_much(allowed))
        .cloned()
        .collect();
    if !losses.is_empty() {
        return Err(WriteError::Dropped {
            losses,
            allowed,
            again: Box::new(again.clone()),
        });
    }
    let (rows, portrait) = write_rows(&mut dir, &curated)?;
    let note = note(&rows, &curated, curation)?;
    let name = out
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let rest = format!("all are in {}", out.join(FINDINGS).display());
    let told = told(&curated.tally, curation, again, &rest);
    let page = overview(
        name,
        &note,
        portrait,
        &curated,
        curation,
        length_unit,
        &told,
    )?;
    let said_of_rules = Overview {
        pages: page.pages.clone(),
        ..Overview::default()
    };
    let rendered = |page| report::render(page).map_err(|source| WriteError::Report { source });
    let (page, said_of_rules) = (rendered(&page)?, rendered(&said_of_rules)?);
    let path = dir.path_of(REPORT);
    let bytes = page.len() as u64;
    std::fs::write(&path, page)
        .map_err(|source| hone_ledger::WriteError::new(&path, bytes, source))?;
    let manifest = json!(note);
    let written = WrittenFiles {
        dir: &dir.dir(),
        rows: &rows,
        manifest: &manifest.to_string(),
        said_of_rules: said_of_rules.lines().collect(),
    };
    written.refuse_survivors(&curated.replaced)?;
    let id = dir.id(manifest.clone())?;
    let was_there = out.exists();
    if was_there && hone_ledger::open_dir(out)?.id() != id {
        return Err(WriteError::Another {
            path: out.to_path_buf(),
        });
    }
    if !was_there {
        dir.publish(manifest)?;
    }
    Ok(Written {
        id,
        note,
        untrained: curated.untrained(),
        names_not_looked_for: curated.names_not_looked_for(),
        tally: curated.tally,
        told,
        count: curated.count,
        files: curated.files,
        portions: curated.portions,
        losses: curated.losses,
        was_there,
        is_locked,
    })
}

/// The files of a dataset before it has its name.
struct WrittenFiles<'a> {
    dir: &'a Path,
    rows: &'a Rows,
    manifest: &'a str,
    /// Lines of the report that are there whatever the rows say: the pages of rules have names of persons as examples.
    said_of_rules: BTreeSet<&'a str>,
}

impl WrittenFiles<'_> {
    /// Looks once more whether what was replaced stands in anything that was written: rows, findings, report, manifest.
    fn refuse_survivors(&self, replaced: &Replaced) -> Result<(), WriteError> {
        if replaced.is_empty() {
            return Ok(());
        }
        let index = replaced.index();
        let found = |line: &str| {
            let json = || serde_json::from_str::<serde_json::Value>(line).ok();
            match index.may_be_in(line).then(json)? {
                Some(json) => index.rule_of_json(&json),
                None => index.rule_of(&report::unescaped(line)),
            }
        };
        let survived = |(rule, file, line): (&'static str, &str, usize)| WriteError::Survived {
            rule,
            file: file.to_owned(),
            line,
        };
        if let Some(doc) = found(self.manifest) {
            return Err(survived((doc.name, hone_ledger::MANIFEST, 1)));
        }
        let sides = self.rows.iter().filter(|(_, rows)| !rows.is_empty());
        let sides = sides.map(|(&side, _)| file_of(side));
        for name in [FINDINGS.to_owned(), REPORT.to_owned()]
            .into_iter()
            .chain(sides)
        {
            let path = self.dir.join(&name);
            let fail = |source| DatasetError::Unreadable {
                path: path.clone(),
                source,
            };
            let lines = io::BufReader::new(File::open(&path).map_err(fail)?).lines();
            for (at, line) in lines.enumerate() {
                let line = line.map_err(fail)?;
                let is_of_rules = name == REPORT && self.said_of_rules.contains(line.as_str());
                if let Some(doc) = (!is_of_rules).then(|| found(&line)).flatten() {
                    return Err(survived((doc.name, &name, at + 1)));
                }
            }
        }
        Ok(())
    }
}

/// The lines of each side that go into its id.
type Rows = BTreeMap<Side, Vec<ContentId>>;

fn write_rows(dir: &mut Unpublished, curated: &Curated) -> Result<(Rows, Portrait), WriteError> {
    let (mut rows, mut portrait) = (Rows::from([(Side::Train, Vec::new())]), Portrait::default());
    for side in Side::ALL {
        let of_side = curated.kept.iter().filter(|kept| kept.side == side);
        let of_side: Vec<&Kept> = of_side.collect();
        if of_side.is_empty() {
            continue;
        }
        let ids = rows.entry(side).or_default();
        let mut file = Lines::create(dir.path_of(&file_of(side)))?;
        for batch in of_side.chunks(BATCH) {
            let written = batch.par_iter().map(|kept| row(curated, kept));
            for row in written.collect::<Result<Vec<_>, CurateError>>()? {
                file.push(&row.line).map_err(|source| file.failed(source))?;
                ids.push(row.id);
                portrait.add(row.drawn);
            }
        }
        file.finish()?;
    }
    Ok((rows, portrait))
}

/// Rows written together, on all threads.
const BATCH: usize = 1024;

/// A row as it is written, and what the report says of it.
struct WrittenRow<'a> {
    line: String,
    id: ContentId,
    drawn: Drawn<'a>,
}

fn row<'a>(curated: &Curated, kept: &'a Kept) -> Result<WrittenRow<'a>, CurateError> {
    let mut record = curated.spool.record(kept.row)?.into_owned();
    record.copies = kept.copies;
    let line = record.to_line();
    Ok(WrittenRow {
        id: ContentId::of(line.as_bytes()),
        line,
        drawn: Drawn::of(record, kept),
    })
}

/// The id of rows in whatever order.
fn id_of<'a>(rows: impl IntoIterator<Item = &'a ContentId>) -> ContentId {
    let mut rows: Vec<&ContentId> = rows.into_iter().collect();
    rows.sort_unstable();
    let mut hasher = Hasher::new();
    rows.iter()
        .for_each(|row| hasher.update(row.to_string().as_bytes()));
    hasher.finish()
}

fn note(rows: &Rows, curated: &Curated, curation: &Curation) -> Result<Note, WriteError> {
    let side = |(&side, rows): (&Side, &Vec<ContentId>)| {
        (
            side,
            SideNote {
                id: id_of(rows),
                rows: rows.len(),
            },
        )
    };
    let parent = |file: &hone_data::FileReport| {
        let sha256 = ContentId::of_file(&file.file).map_err(DirError::from)?;
        let name = file
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Parent {
            file: name,
            sha256,
            rows: file.rows,
            refused: file.refused,
        })
    };
    let parents = curated.files.iter().map(parent);
    let benchmarks = curated.benchmarks.iter().map(parent);
    let sides: BTreeMap<Side, SideNote> = rows.iter().map(side).collect();
    let ids: Vec<ContentId> = sides.values().map(|side| side.id).collect();
    let counts = [
        ("read", curated.rows_in),
        ("kept", curated.kept.len()),
        ("dropped", curated.rows_in - curated.kept.len()),
        ("changed", curated.rows_changed),
    ];
    Ok(Note {
        kind: KIND.into(),
        tool: format!("hone {}", env!("CARGO_PKG_VERSION")),
        content: id_of(&ids),
        sides,
        parents: parents.collect::<Result<_, WriteError>>()?,
        benchmarks: benchmarks.collect::<Result<_, WriteError>>()?,
        settings: curation.settings(),
        steps: curation.steps(),
        counts: counts.map(|(name, count)| (name.to_owned(), count)).into(),
        undecided: curated.tally.undecided(),
    })
}

fn overview(
    name: String,
    note: &Note,
    portrait: Portrait,
    curated: &Curated,
    curation: &Curation,
    length_unit: &str,
    told: &[Told],
) -> Result<Overview, CurateError> {
    let mut overview = Overview {
        name,
        id: note.content.to_string(),
        rows_in: curated.rows_in,
        rows_out: curated.kept.len(),
        rows_dropped: curated.rows_in - curated.kept.len(),
        rows_changed: curated.rows_changed,
        undecided: curated.tally.count(Decision::Undecided),
        told: told.to_vec(),
        classes: class_lines(&curated.losses),
        contaminated: curated.tally.contamination().told().unwrap_or_default(),
        left: curated.tally.left(),
        contamination: curated.tally.contamination(),
        losses: curated.losses.clone(),
        origins: origins(curated)?,
        length_unit: length_unit.to_owned(),
        portions: curated.portions.clone(),
        names_not_looked_for: curated.names_not_looked_for().unwrap_or_default(),
        ..Overview::default()
    };
    if let Ok(near) = crate::curate::near_options(curation) {
        overview.curve = curve(&near);
        overview.near_threshold = near.threshold;
    }
    // What nobody decided about stands in the rows; the report is for showing.
    let examiner = Examiner::new(&curation.rules, None);
    for &(rows, keep) in &curated.clusters {
        let record = curated.spool.record(keep)?;
        let text = record
            .parts()
            .last()
            .map(|part| examiner.shown(part.text, 0..part.text.len()))
            .unwrap_or_default();
        overview.clusters.push(ClusterRow {
            rows,
            kept: record.source.to_string(),
            excerpt: text,
        });
    }
    let kinds = curated.tally.kinds();
    let has_page = |entry: &&Entry| kinds.iter().any(|(kind, ..)| kind.rule == entry.doc.name);
    overview.pages = rules::all().filter(has_page).map(RulePage::of).collect();
    let file = |file: &hone_data::FileReport| FileRow {
        file: file.file.display().to_string(),
        shape: file.shape.to_string(),
        rows: file.rows,
        refused: file.refused,
    };
    overview.files = curated.files.iter().map(file).collect();
    portrait.tell(&mut overview);
    for label in overview.shown_names() {
        *label = examiner.shown_whole(label);
    }
    Ok(overview)
}

fn curve(near: &NearOptions) -> Vec<(f64, f64)> {
    (0..=50)
        .map(|step| f64::from(step) / 50.0)
        .map(|alike| (alike, near.curve(alike)))
        .collect()
}

fn origins(curated: &Curated) -> Result<Vec<OriginRow>, CurateError> {
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    for origin in curated.kept.iter().map(|kept| &curated.origin_of[kept.row]) {
        *kept.entry(&**origin).or_default() += 1;
    }
    let row = |(origin, &rows_in): (&String, &usize)| OriginRow {
        origin: origin.clone(),
        rows_in,
        rows_out: kept.get(origin.as_str()).copied().unwrap_or(0),
    };
    Ok(curated.origins.iter().map(row).collect())
}

/// The findings in the making: those that wait for a decision as they come, the others behind them.
struct Findings {
    lines: Lines,
    later: BufWriter<File>,
}

impl Findings {
    fn create(path: PathBuf) -> Result<Self, WriteError> {
        let room = path.parent().unwrap_or(Path::new("."));
        let later = tempfile::tempfile_in(room)
            .map_err(|source| hone_ledger::WriteError::new(&path, 0, source))?;
        Ok(Self {
            later: BufWriter::new(later),
            lines: Lines::create(path)?,
        })
    }

    fn push(&mut self, finding: &Finding) -> io::Result<()> {
        let line = serde_json::to_string(finding)?;
        let pushed = match finding.decision {
            Decision::Undecided => self.lines.push(&line),
            _ => writeln!(self.later, "{line}"),
        };
        pushed.map_err(|source| io::Error::other(self.lines.failed(source)))
    }

    fn finish(self) -> Result<(), WriteError> {
        let Self { mut lines, later } = self;
        let append = || {
            let mut later = later.into_inner().map_err(|error| error.into_error())?;
            later.rewind()?;
            io::copy(&mut later, &mut lines.file)
        };
        append().map_err(|source| lines.failed(source))?;
        lines.finish()
    }
}

/// A file of lines in the making.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    fn create(path: PathBuf) -> Result<Self, WriteError> {
        match File::create(&path) {
            Ok(file) => Ok(Self {
                path,
                file: BufWriter::new(file),
            }),
            Err(source) => Err(hone_ledger::WriteError::new(&path, 0, source).into()),
        }
    }

    fn push(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.file, "{line}")
    }

    fn failed(&self, source: io::Error) -> hone_ledger::WriteError {
        hone_ledger::WriteError::new(&self.path, 0, source)
    }

    fn finish(mut self) -> Result<(), WriteError> {
        Ok(self.file.flush().map_err(|source| self.failed(source))?)
    }
}
