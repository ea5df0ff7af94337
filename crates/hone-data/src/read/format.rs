//! What kind of file a file is: by its name, and where names say little, by its beginning.

use std::fmt;
use std::path::Path;

use super::layout::words::is_a_side;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// One JSON document with a list of rows.
    Json,
    /// Comma-separated values with a header; also with tabs or semicolons.
    Table,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow, a stream of batches, as `save_to_disk` and Feather write it.
    Arrow,
    /// Paragraphs.
    Text,
    /// Paragraphs under headings.
    Markdown,
}

/// Endings of packed files.
const PACKED: [&str; 4] = ["gz", "gzip", "zst", "zstd"];

impl Format {
    /// The format that a name tells, whether packed or not.
    pub(super) fn named(file: &Path) -> Option<Self> {
        let name = unpacked_name(file);
        let (_, ending) = name.rsplit_once('.')?;
        Some(match ending.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "jsonlines" => Self::JsonLines,
            "json" => Self::Json,
            "csv" | "tsv" | "tab" => Self::Table,
            "parquet" => Self::Parquet,
            "arrow" | "feather" => Self::Arrow,
            "txt" | "text" => Self::Text,
            "md" | "markdown" => Self::Markdown,
            _ => return None,
        })
    }

    /// Does its name say that a file can be read, or that it is packed?
    pub fn is_told_by_name(file: &Path) -> bool {
        let packed = || Some(file.extension()?.to_str()?.to_ascii_lowercase());
        Self::named(file).is_some() || packed().is_some_and(|end| PACKED.contains(&end.as_str()))
    }

    /// Does a file of this kind hold rows, and not a document?
    pub(super) fn has_rows(self) -> bool {
        !matches!(self, Self::Text | Self::Markdown)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonLines => "JSONL",
            Self::Json => "JSON",
            Self::Table => "CSV",
            Self::Parquet => "Parquet",
            Self::Arrow => "Arrow",
            Self::Text => "text",
            Self::Markdown => "Markdown",
        })
    }
}

/// The task of rows that name none: the file's name without its endings and without its part of a
/// larger file, as in `train-00002-of-00016.parquet`. A name that says nothing but a side is no task: `sql/train.jsonl`
/// and `sql/valid.jsonl` hold rows of one, so the nearest folder that says more has the name; where none does it is
/// `rows`.
pub(super) fn task_of(file: &Path) -> String {
    let stem = stem_of(file);
    // `data-00000-of-00001.arrow` is the same in every folder.
    let is_named_by_folder = unpacked_name(file).ends_with(".arrow");
    if !is_named_by_folder && !is_a_side(&stem) {
        return stem;
    }
    let folders = file.ancestors().skip(1).filter_map(Path::file_name);
    let folders = folders.map(|folder| folder.to_string_lossy().into_owned());
    let mut says_more = folders.filter(|folder| {
        let is_hidden = folder.starts_with('.');
        folder != "data" && !is_hidden && !is_a_side(folder)
    });
    says_more.next().unwrap_or_else(|| "rows".to_owned())
}

/// The file's name without its endings and its part of a larger file.
pub(super) fn stem_of(file: &Path) -> String {
    let name = unpacked_name(file);
    let stem = name
        .rsplit_once('.')
        .map_or(name.as_str(), |(stem, _)| stem);
    let stem = if stem.is_empty() { &name } else { stem };
    whole_of(stem).unwrap_or(stem).to_owned()
}

fn unpacked_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit_once('.') {
        Some((stem, ending)) if PACKED.contains(&ending.to_ascii_lowercase().as_str()) => {
            stem.to_owned()
        }
        _ => name.into_owned(),
    }
}

fn whole_of(part: &str) -> Option<&str> {
    let is_number = |text: &str| text.len() >= 4 && text.bytes().all(|b| b.is_ascii_digit());
    let (rest, count) = part.rsplit_once("-of-")?;
    let (whole, index) = rest.rsplit_once('-')?;
    (is_number(count) && is_number(index) && !whole.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_format_and_the_task_whether_packed_or_not() {
        for (name, format, task) in [
            ("d/poems.jsonl", Some(Format::JsonLines), "poems"),
            ("poems.v2.JSON.gz", Some(Format::Json), "poems.v2"),
            (
                "train-00002-of-00016.parquet",
                Some(Format::Parquet),
                "rows",
            ),
            ("sql/train.jsonl", Some(Format::JsonLines), "sql"),
            (
                "sql/data/valid-00000-of-00001.parquet",
                Some(Format::Parquet),
                "sql",
            ),
            (
                "sql/train/data-00000-of-00002.arrow",
                Some(Format::Arrow),
                "sql",
            ),
            (
                "sql/train_hard.jsonl",
                Some(Format::JsonLines),
                "train_hard",
            ),
            ("t-2-of-3.csv.zst", Some(Format::Table), "t-2-of-3"),
            ("notes", None, "notes"),
            (".md", Some(Format::Markdown), ".md"),
        ] {
            assert_eq!(Format::named(Path::new(name)), format, "{name}");
            assert_eq!(task_of(Path::new(name)), task, "{name}");
        }
    }
}
