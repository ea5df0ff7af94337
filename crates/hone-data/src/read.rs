//! Files of rows to records.
//!
//! A file is JSONL (one row a line), or one JSON document: a list of rows, or an object that holds
//! one list of rows. Its shape is the first one recognised in it; rows of another shape are refused
//! rather than guessed at, because a file that mixes shapes is usually two files by accident.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::shape::{field, kind};
use crate::{Count, Reason, Record, Refused, Shape, Source, counts};

/// A longer line of JSONL is refused: it is a file without line breaks rather than a row.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// What was found in some files.
#[derive(Debug, Default)]
pub struct Reading {
    /// The usable rows, in the order of the files.
    pub records: Vec<Record>,
    /// What each file turned out to be.
    pub files: Vec<FileReport>,
    /// The rows that cannot be used.
    pub refused: Vec<Refused>,
}

/// What one file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// The file as it was named.
    pub file: Arc<Path>,
    /// The shape of its rows.
    pub shape: Shape,
    /// Rows used.
    pub rows: usize,
    /// Rows refused.
    pub refused: usize,
}

/// Why a file gives no rows at all.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum ReadError {
    #[error("{}: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{}: the file is empty", file.display())]
    Empty { file: PathBuf },
    #[error("{}: the file is UTF-16; save it as UTF-8", file.display())]
    Utf16 { file: PathBuf },
    #[error("{}:{line}: not JSON: {what}", file.display())]
    NotJson {
        file: PathBuf,
        line: usize,
        what: String,
    },
    #[error("{}: a JSON object must hold exactly one list of rows; its keys are {}", file.display(), keys.join(", "))]
    NoList { file: PathBuf, keys: Vec<String> },
    #[error("{}:{line}: rows of no known shape (keys: {})", file.display(), keys.join(", "))]
    UnknownShape {
        file: PathBuf,
        line: usize,
        keys: Vec<String>,
    },
    #[error("{}: none of its {count} rows can be used; the first is {first}", file.display())]
    NothingUsable {
        file: PathBuf,
        count: usize,
        first: Box<Refused>,
    },
}

impl ReadError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownShape { .. } => {
                let known = Shape::ALL
                    .map(Shape::description)
                    .map(|shape| format!("known shape: {shape}"));
                known.to_vec()
            }
            Self::NoList { .. } => {
                vec!["write one JSON object per line, or a list of objects".into()]
            }
            _ => Vec::new(),
        }
    }
}

/// Reads files of any known shape into one reading; each row keeps its file, line and task.
pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Reading, ReadError> {
    let mut reading = Reading::default();
    for file in files {
        let file = file.as_ref();
        let bytes = fs::read(file).map_err(|source| ReadError::Unreadable {
            file: file.into(),
            source,
        })?;
        reading.add(file, &bytes)?;
    }
    Ok(reading)
}

impl Record {
    /// One row as it stands in a file, without a file.
    ///
    /// # Errors
    /// Why the row cannot be used.
    pub fn from_json(row: &str) -> Result<Self, Reason> {
        let row = line_object(row.as_bytes())?;
        let shape = Shape::of(&row).ok_or_else(|| Reason::UnknownShape { keys: keys(&row) })?;
        record(&row, shape, "", Source::new("", 1))
    }
}

impl Reading {
    /// Rows per task and file.
    pub fn counts(&self) -> Vec<Count> {
        counts(&self.records)
    }

    fn add(&mut self, file: &Path, bytes: &[u8]) -> Result<(), ReadError> {
        let rows = rows(file, bytes)?;
        let (rows_before, refused_before) = (self.records.len(), self.refused.len());
        let shape = self.add_rows(file, rows)?;
        let (rows, refused) = (
            self.records.len() - rows_before,
            self.refused.len() - refused_before,
        );
        if rows == 0 {
            return Err(ReadError::NothingUsable {
                file: file.into(),
                count: refused,
                first: Box::new(self.refused.swap_remove(refused_before)),
            });
        }
        let file = Arc::from(file);
        self.files.push(FileReport {
            file,
            shape,
            rows,
            refused,
        });
        Ok(())
    }

    fn add_rows(&mut self, file: &Path, rows: Vec<Row>) -> Result<Shape, ReadError> {
        let objects = || {
            rows.iter()
                .filter_map(|row| Some((row.line, row.content.as_ref().ok()?)))
        };
        let shape = objects().find_map(|(_, object)| Shape::of(object));
        let Some(shape) = shape else {
            let Some((line, object)) = objects().next() else {
                return Err(nothing_usable(file, rows));
            };
            return Err(ReadError::UnknownShape {
                file: file.into(),
                line,
                keys: keys(object),
            });
        };
        let task = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name: Arc<Path> = Arc::from(file);
        for row in rows {
            let source = Source {
                file: name.clone(),
                line: row.line,
            };
            match row
                .content
                .and_then(|object| record(&object, shape, &task, source.clone()))
            {
                Ok(record) => self.records.push(record),
                Err(reason) => self.refused.push(Refused { source, reason }),
            }
        }
        Ok(shape)
    }
}

/// A row as an object, or why it is none.
struct Row {
    line: usize,
    content: Result<Map<String, Value>, Reason>,
}

fn record(
    row: &Map<String, Value>,
    shape: Shape,
    task: &str,
    source: Source,
) -> Result<Record, Reason> {
    match Shape::of(row) {
        Some(found) if found == shape => {}
        Some(found) => return Err(Reason::OtherShape { found, file: shape }),
        None => return Err(Reason::UnknownShape { keys: keys(row) }),
    }
    let group = match label(row, "group")? {
        Some(group) => Some(group),
        None => label(row, "id")?,
    };
    Ok(Record {
        task: label(row, "task")?.unwrap_or_else(|| task.to_owned()),
        group,
        origin: label(row, "origin")?,
        licence: label(row, "licence")?,
        body: shape.body(row)?,
        source,
    })
}

/// A name or a number that says something about the row.
fn label(row: &Map<String, Value>, key: &str) -> Result<Option<String>, Reason> {
    match row.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.trim().is_empty() => Err(field(key, "is empty")),
        Some(Value::String(name)) => Ok(Some(name.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(field(
            key,
            format!("must be text or a number, not {}", kind(other)),
        )),
    }
}

fn rows(file: &Path, bytes: &[u8]) -> Result<Vec<Row>, ReadError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ReadError::Utf16 { file: file.into() });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let rows = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Vec::new(),
        Some(b'[') => document(file, bytes)?,
        Some(b'{') if !first_line_is_a_row(bytes) && is_document(bytes) => document(file, bytes)?,
        Some(_) => lines(bytes),
    };
    match rows.is_empty() {
        true => Err(ReadError::Empty { file: file.into() }),
        false => Ok(rows),
    }
}

/// Does the first line hold a row by itself? Not if it is the whole file and only holds a list of rows.
fn first_line_is_a_row(bytes: &[u8]) -> bool {
    let mut lines = bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    let Some(Ok(first)) = lines
        .next()
        .map(serde_json::from_slice::<Map<String, Value>>)
    else {
        return false;
    };
    let holds_a_list = first.values().filter(|value| value.is_array()).count() == 1;
    Shape::of(&first).is_some() || !holds_a_list || lines.next().is_some()
}

fn is_document(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}

fn lines(bytes: &[u8]) -> Vec<Row> {
    let numbered = bytes.split(|&byte| byte == b'\n').enumerate();
    let filled = numbered.filter(|(_, line)| !line.trim_ascii().is_empty());
    filled
        .map(|(index, line)| Row {
            line: index + 1,
            content: line_object(line),
        })
        .collect()
}

fn line_object(line: &[u8]) -> Result<Map<String, Value>, Reason> {
    if line.len() > MAX_LINE_BYTES {
        return Err(Reason::LineTooLong {
            bytes: line.len(),
            limit: MAX_LINE_BYTES,
        });
    }
    if line.contains(&0) {
        return Err(Reason::Nul);
    }
    let text = str::from_utf8(line).map_err(|error| Reason::NotUtf8 {
        byte: error.valid_up_to() + 1,
    })?;
    object(text)
}

fn object(text: &str) -> Result<Map<String, Value>, Reason> {
    let value = serde_json::from_str(text).map_err(|error| Reason::NotJson {
        what: complaint(&error),
    })?;
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Reason::NotAnObject {
            found: kind(&other),
        }),
    }
}

/// The rows of a JSON document, each with the line it starts on.
fn document(file: &Path, bytes: &[u8]) -> Result<Vec<Row>, ReadError> {
    let not_json = |line: usize, what: String| ReadError::NotJson {
        file: file.into(),
        line,
        what,
    };
    let text = str::from_utf8(bytes).map_err(|error| {
        not_json(
            line_at(bytes, error.valid_up_to()),
            "not valid UTF-8".into(),
        )
    })?;
    let parse = |error: serde_json::Error| not_json(error.line().max(1), complaint(&error));
    let items: Vec<&RawValue> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text).map_err(parse)?,
        false => only_list(file, text)?,
    };
    let mut counted = (0, 1);
    let row = |item: &RawValue| {
        let at = item.get().as_ptr() as usize - text.as_ptr() as usize;
        // Rows come in order, so only the stretch since the last one is searched for line breaks.
        counted = (
            at,
            counted.1 + line_at(&bytes[counted.0..], at - counted.0) - 1,
        );
        Row {
            line: counted.1,
            content: object(item.get()),
        }
    };
    Ok(items.into_iter().map(row).collect())
}

fn only_list<'a>(file: &Path, text: &'a str) -> Result<Vec<&'a RawValue>, ReadError> {
    let fields: Map<String, Value> = serde_json::from_str(text).expect("checked to be a document");
    if Shape::of(&fields).is_some() {
        return Ok(vec![
            serde_json::from_str(text).expect("checked to be a document"),
        ]);
    }
    let mut lists = fields
        .iter()
        .filter(|(_, value)| value.is_array())
        .map(|(key, _)| key);
    let (Some(key), None) = (lists.next(), lists.next()) else {
        return Err(ReadError::NoList {
            file: file.into(),
            keys: keys(&fields),
        });
    };
    let raw: std::collections::HashMap<String, &'a RawValue> =
        serde_json::from_str(text).expect("checked to be a document");
    Ok(serde_json::from_str(raw[key].get()).expect("checked to be a list"))
}

fn line_at(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count()
}

/// serde_json's message without its own idea of the line.
fn complaint(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    match message.strip_suffix(&position) {
        Some(plain) => format!("{plain} (column {})", error.column()),
        None => message,
    }
}

fn nothing_usable(file: &Path, rows: Vec<Row>) -> ReadError {
    let count = rows.len();
    let refused = rows.into_iter().find_map(|row| {
        let source = Source::new(file, row.line);
        row.content.err().map(|reason| Refused { source, reason })
    });
    ReadError::NothingUsable {
        file: file.into(),
        count,
        first: Box::new(refused.expect("rows without objects were refused")),
    }
}

fn keys(row: &Map<String, Value>) -> Vec<String> {
    row.keys().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(name: &str, bytes: impl AsRef<[u8]>) -> Result<Reading, ReadError> {
        let mut reading = Reading::default();
        reading.add(Path::new(name), bytes.as_ref())?;
        Ok(reading)
    }

    fn texts(reading: &Reading) -> Vec<(usize, String)> {
        let text = |record: &Record| record.parts().map(|part| part.text).collect::<String>();
        reading
            .records
            .iter()
            .map(|record| (record.source.line, text(record)))
            .collect()
    }

    fn refusals(reading: &Reading) -> Vec<String> {
        reading.refused.iter().map(Refused::to_string).collect()
    }

    #[test]
    fn lines_lists_and_objects_with_a_list_are_all_read_with_their_lines() {
        let rows = [(1, "a"), (3, "b")].map(|(line, text)| (line, text.to_owned()));
        assert_eq!(
            texts(&reading("x.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}").unwrap()),
            rows
        );
        assert_eq!(
            texts(
                &reading(
                    "x.jsonl",
                    "\u{feff}{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}\r\n"
                )
                .unwrap()
            ),
            rows
        );
        assert_eq!(
            texts(&reading("x.json", "[{\"text\": \"a\"},\n\n{\"text\": \"b\"}]").unwrap()),
            rows
        );
        let inside =
            "{\"version\": 1,\n \"data\": [\n  {\"text\": \"a\"},\n  {\n\"text\": \"b\"}]}";
        assert_eq!(
            texts(&reading("x.json", inside).unwrap()),
            [(3, "a".into()), (4, "b".into())]
        );
        assert_eq!(
            texts(&reading("x.json", r#"{"data": [{"text": "a"}]}"#).unwrap()),
            [(1, "a".into())]
        );
        let spread = "{\n\"messages\": [\n{\"role\": \"user\", \"content\": \"a\"}]\n}\n";
        assert_eq!(
            texts(&reading("x.json", spread).unwrap()),
            [(1, "a".into())]
        );
        let one_row = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        assert_eq!(
            texts(&reading("x.jsonl", one_row).unwrap()),
            [(1, "a".into())]
        );
    }

    #[test]
    fn bad_rows_are_refused_by_file_and_line_and_the_rest_is_kept() {
        let file = [
            &b"{\"text\": \"ok\"}\n"[..],
            b"{\"text\": \"open}\n",
            b"{\"text\": \"\xff\"}\n",
            b"{\"text\": \"\0\"}\n",
            b"[1]\n",
            b"{\"prompt\": \"q\", \"completion\": \"a\"}\n",
            b"{\"other\": 1}\n",
            b"{\"text\": 5}\n",
            b"{\"text\": \"x\", \"task\": []}\n",
        ];
        let reading = reading("d/x.jsonl", file.concat()).unwrap();
        assert_eq!(texts(&reading), [(1, "ok".into())]);
        let told = refusals(&reading);
        let expected = [
            "d/x.jsonl:2: not JSON: EOF while parsing a string",
            "d/x.jsonl:3: not valid UTF-8 from byte 11",
            "d/x.jsonl:4: holds a NUL",
            "d/x.jsonl:5: not an object but a list",
            "d/x.jsonl:6: of shape prompt/completion, while the file is text",
            "d/x.jsonl:7: of no known shape (keys: other)",
            "d/x.jsonl:8: `text` must be text, not a number",
            "d/x.jsonl:9: `task` must be text or a number, not a list",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told} / {expected}");
        }
        let report = &reading.files[0];
        assert_eq!(
            (report.shape, report.rows, report.refused),
            (Shape::Text, 1, 8)
        );
    }

    #[test]
    fn a_line_without_end_is_refused_not_read() {
        let long = format!(
            "{{\"text\": \"ok\"}}\n{{\"text\": \"{}\"}}",
            "x".repeat(MAX_LINE_BYTES)
        );
        let reading = reading("x.jsonl", long).unwrap();
        assert!(refusals(&reading)[0].contains("limit is 16777216"));
    }

    #[test]
    fn tasks_and_groups_are_kept_and_the_file_names_the_rest() {
        let rows = "{\"text\": \"a\", \"task\": \"sum\", \"group\": \"g\", \"id\": 1}\n{\"text\": \"b\", \"id\": 7}\n{\"text\": \"c\"}";
        let reading = reading("dir/poems.jsonl", rows).unwrap();
        let labels: Vec<_> = reading
            .records
            .iter()
            .map(|r| (r.task.as_str(), r.group.as_deref()))
            .collect();
        assert_eq!(
            labels,
            [("sum", Some("g")), ("poems", Some("7")), ("poems", None)]
        );
    }

    #[test]
    fn files_without_rows_are_errors_in_one_sentence() {
        let error = |name: &str, bytes: &[u8]| reading(name, bytes).unwrap_err().to_string();
        assert_eq!(error("x.jsonl", b" \n\n"), "x.jsonl: the file is empty");
        assert_eq!(error("x.json", b"[]"), "x.json: the file is empty");
        assert!(error("x.json", b"\xff\xfe[\0").contains("UTF-16"));
        assert!(
            error("x.json", b"[{\"text\": \"a\"},\n\n{\"text\" 5}]")
                .starts_with("x.json:3: not JSON: expected `:`")
        );
        assert!(
            error("x.json", b"[\n\"\xff\"]").starts_with("x.json:2: not JSON: not valid UTF-8")
        );
        assert!(error("x.json", b"{\n\"a\": [], \"b\": []}").contains("its keys are a, b"));
        assert!(
            error("x.jsonl", b"{\"text\": 1}\n{\"text\": 2}")
                .contains("none of its 2 rows can be used; the first is x.jsonl:1")
        );
        assert!(error("x.jsonl", b"nonsense\n").contains("none of its 1 rows"));
    }

    #[test]
    fn an_unknown_shape_says_what_was_seen_and_what_is_known() {
        let error = reading("x.jsonl", r#"{"question": "q", "answer": "a"}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.jsonl:1: rows of no known shape (keys: question, answer)"
        );
        assert_eq!(error.hints().len(), Shape::ALL.len());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(&["/nonexistent/x.jsonl"]).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/x.jsonl: "), "{error}");
    }

    #[test]
    fn several_files_make_one_reading() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.jsonl", "b.json"].map(|name| dir.path().join(name));
        fs::write(&paths[0], "{\"text\": \"1\"}\n{\"text\": \"2\"}").unwrap();
        fs::write(&paths[1], "[{\"prompt\": \"q\", \"completion\": \"a\"}]").unwrap();
        let reading = read(&paths).unwrap();
        let counts: Vec<_> = reading
            .counts()
            .into_iter()
            .map(|count| (count.task, count.rows))
            .collect();
        assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        let shapes: Vec<_> = reading.files.iter().map(|file| file.shape).collect();
        assert_eq!(shapes, [Shape::Text, Shape::PromptCompletion]);
    }
}
