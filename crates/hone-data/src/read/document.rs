//! One JSON document that holds rows: a list of them, or an object with one list.
//!
//! The document is not parsed as a whole: a scanner that knows only strings and brackets finds where
//! each row begins and ends, and the parser sees one row at a time. So a document of any size is read,
//! and a row nested too deep or too long to be one is refused by itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::bytes::Bytes;
use super::format::{Format, stem_of};
use super::layout::words::{Said, said};
use super::lines::endless;
use super::row::{Beside, Object, Row, keys};
use super::{MAX_LINE_BYTES, MAX_SKIPPED_BYTES, ReadError, ReadOptions};
use crate::json::{complaint, object};
use crate::keys::{refusal_of_file, tells_of_no_shape};
use crate::turn::turns_in;
use crate::{Reason, Shape, Side};

/// Does the first line hold a row by itself? Not if it is the whole file and only holds a list of rows.
pub(super) fn first_line_is_a_row(head: &[u8], options: &ReadOptions<'_>) -> bool {
    let mut lines = head
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    let Some(Ok(mut first)) = lines.next().map(serde_json::from_slice::<Object>) else {
        return false;
    };
    options.rename(&mut first);
    let lists = || first.iter().filter(|(_, value)| value.is_array());
    let holds_a_list = lists().count() == 1 || lists().any(|(key, _)| said(key) != Said::Nothing);
    Shape::of(&first).is_some()
        || tells_of_no_shape(&first).is_some()
        || turns_in(&first).is_some()
        || !holds_a_list
        || lines.next().is_some()
}

/// Is this a document, or the beginning of one?
pub(super) fn is_document(head: &[u8], is_whole: bool) -> bool {
    match serde_json::from_slice::<&RawValue>(head) {
        Ok(_) => true,
        Err(error) => !is_whole && error.is_eof(),
    }
}

/// The rows of a document.
pub(super) struct Document<'a, R> {
    file: PathBuf,
    scan: Scan<R>,
    place: Place,
    /// The names of the fields seen, where the document is an object.
    keys: Vec<String>,
    /// Keys to be passed over.
    ignored: &'a BTreeSet<String>,
    /// What stands around its rows.
    beside: Rc<RefCell<Beside>>,
    num_lists: usize,
    /// The list that is meant, where several are sides of a dataset; the others are read by themselves.
    only: Option<&'a str>,
    /// The document itself is a row.
    is_row: bool,
    /// Rows of its list so far, and the line on which the last one ends, or the list begins.
    num_rows: usize,
    last_line: usize,
}

/// Where the scanner stands.
enum Place {
    Start,
    /// Before a row, or at the end of the list.
    List {
        is_first: bool,
        in_object: bool,
    },
    /// Before a field, or at the end of the object.
    Fields {
        is_first: bool,
    },
    End,
}

/// Is the document itself a row? A small object that is none must hold exactly one list of rows.
pub(super) fn is_row(
    file: &Path,
    head: &[u8],
    is_whole: bool,
    options: &ReadOptions<'_>,
) -> Result<bool, ReadError> {
    let ignored = &options.ignored_keys;
    let fields = match is_whole {
        true => serde_json::from_slice::<Object>(head).ok(),
        false => None,
    };
    let Some(mut fields) = fields.filter(|_| options.list.is_none()) else {
        return Ok(false);
    };
    options.rename(&mut fields);
    let lists = || {
        let lists = fields.iter().filter(|(_, value)| value.is_array());
        lists.filter(|(key, _)| !ignored.contains(*key))
    };
    let num_lists = lists().count();
    // The scanner says what is wrong with it.
    let has_sides = lists().any(|(key, _)| is_of_another_side(file, key));
    match Shape::of(&fields) {
        Some(_) => Ok(true),
        None if tells_of_no_shape(&fields).is_some() || turns_in(&fields).is_some() => Ok(true),
        None if num_lists == 1 || has_sides => Ok(false),
        None => Err(ReadError::NoList {
            file: file.into(),
            keys: keys(&fields),
        }),
    }
}

/// The lists of a JSON document whose names say sides of a dataset; none of a file that is something else, or damaged, or
/// that is one row.
pub(super) fn sides_in(file: &Path) -> Vec<String> {
    if Format::named(file) != Some(Format::Json) {
        return Vec::new();
    }
    let taken = Cell::new(0);
    let found = Bytes::open(file, &taken).ok().and_then(|bytes| {
        let bytes = bytes.buffered();
        side_lists(Scan { bytes, line: 1 }).ok()
    });
    found.unwrap_or_default()
}

fn side_lists<R: BufRead>(mut scan: Scan<R>) -> io::Result<Vec<String>> {
    let (mut lists, mut fields) = (Vec::new(), Object::new());
    if scan.peek()? != Some(b'{') {
        return Ok(lists);
    }
    scan.skip();
    let mut text = Vec::new();
    loop {
        match scan.peek()? {
            Some(b',') => scan.skip(),
            Some(b'}') => break,
            Some(b'"') => {
                text.clear();
                scan.value(&mut text)?;
                let key: Option<String> = serde_json::from_slice(&text).ok();
                let (Some(key), Some(b':')) = (key, scan.peek()?) else {
                    return Ok(Vec::new());
                };
                scan.skip();
                let is_list = scan.peek()? == Some(b'[');
                text.clear();
                scan.value(&mut text)?;
                fields.insert(key.clone(), Value::Bool(true));
                lists.extend((is_list && said(&key) != Said::Nothing).then_some(key));
            }
            _ => return Ok(Vec::new()),
        }
    }
    scan.skip();
    // What goes on after the object is a file of lines, and a row may have tests, too.
    match scan.peek()? {
        None if Shape::of(&fields).is_none() => Ok(lists),
        _ => Ok(Vec::new()),
    }
}

/// Does the name of a list say that its rows are not for training, where the file's own name does not say the same?
fn is_of_another_side(file: &Path, key: &str) -> bool {
    let side = said(key);
    !matches!(side, Said::Nothing | Said::Side(Side::Train)) && said(&stem_of(file)) != side
}

impl<'a, R: BufRead> Document<'a, R> {
    pub fn new(
        file: PathBuf,
        is_row: bool,
        options: &'a ReadOptions<'a>,
        beside: Rc<RefCell<Beside>>,
        bytes: R,
    ) -> Self {
        Self {
            file,
            scan: Scan { bytes, line: 1 },
            place: Place::Start,
            keys: Vec::new(),
            ignored: &options.ignored_keys,
            beside,
            num_lists: 0,
            only: options.list.as_deref(),
            is_row,
            num_rows: 0,
            last_line: 0,
        }
    }

    fn row(&mut self) -> Result<Option<Row>, ReadError> {
        loop {
            let next = self.scan.peek().map_err(|source| self.damaged(source))?;
            match (&self.place, next) {
                (Place::Start, Some(b'{')) if self.is_row => {
                    self.place = Place::End;
                    return self.element().map(Some);
                }
                (Place::Start, Some(open)) => {
                    self.last_line = self.scan.line;
                    self.scan.skip();
                    self.place = match open {
                        b'[' => Place::List {
                            is_first: true,
                            in_object: false,
                        },
                        _ => Place::Fields { is_first: true },
                    };
                }
                (Place::List { in_object, .. }, Some(b']')) => {
                    self.place = match in_object {
                        true => Place::Fields { is_first: false },
                        false => Place::End,
                    };
                    self.scan.skip();
                }
                (
                    &Place::List {
                        is_first,
                        in_object,
                    },
                    Some(_),
                ) => {
                    if !is_first {
                        self.expect(b',')?;
                    }
                    self.place = Place::List {
                        is_first: false,
                        in_object,
                    };
                    return self.element().map(Some);
                }
                (Place::Fields { .. }, Some(b'}')) => {
                    self.place = Place::End;
                    self.scan.skip();
                }
                (&Place::Fields { is_first }, Some(_)) => {
                    if !is_first {
                        self.expect(b',')?;
                    }
                    self.field()?;
                }
                (Place::End, None) => return self.end(),
                (Place::End, Some(_)) => return Err(self.not_json("trailing characters")),
                (_, None) => return Err(self.not_json("the document is not closed")),
            }
        }
    }

    /// One row, or whatever stands in its place.
    fn element(&mut self) -> Result<Row, ReadError> {
        let (line, text) = self.value()?;
        let content = match text {
            Ok(text) => object(&text),
            Err(reason) => Err(reason),
        };
        self.num_rows += 1;
        let is_alone = self.is_row || line != self.last_line;
        self.last_line = self.scan.line;
        Ok(Row {
            line,
            number: (!is_alone).then_some(self.num_rows),
            content,
        })
    }

    /// One field of the object: its list is entered, anything else is passed over.
    fn field(&mut self) -> Result<(), ReadError> {
        let (_, key) = self.value()?;
        let key = key.ok().and_then(|key| serde_json::from_str(&key).ok());
        let key: String = key.ok_or_else(|| self.not_json("key must be a string"))?;
        self.keys.push(key.clone());
        self.expect(b':')?;
        let is_meant = self.only == Some(key.as_str());
        let is_ignored = self.ignored.contains(&key) && !is_meant;
        let is_read_elsewhere = self.only.is_some() && !is_meant && said(&key) != Said::Nothing;
        if is_read_elsewhere
            && self.scan.peek().map_err(|source| self.damaged(source))? == Some(b'[')
        {
            self.place = Place::Fields { is_first: false };
            // Its rows are those of another input, if they are wanted.
            let (_, _rows) = self.value()?;
            if is_ignored {
                self.beside.borrow_mut().keys.push(key);
            }
            return Ok(());
        }
        if !is_ignored && self.scan.peek().map_err(|source| self.damaged(source))? == Some(b'[') {
            if !is_meant && is_of_another_side(&self.file, &key) {
                let file = self.file.clone();
                return Err(ReadError::SideInFile { file, key });
            }
            self.num_lists += 1;
            if self.num_lists == 1 {
                self.beside.borrow_mut().list = Some(key);
                self.last_line = self.scan.line;
                self.scan.skip();
                self.place = Place::List {
                    is_first: true,
                    in_object: true,
                };
                return Ok(());
            }
        }
        let is_list = self.scan.peek().map_err(|source| self.damaged(source))? == Some(b'[');
        self.place = Place::Fields { is_first: false };
        let (_, text) = self.value()?;
        let value = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        let refusal = match value {
            // A second list of rows is told of at the end.
            _ if is_ignored || is_list => None,
            Some(value) => refusal_of_file(&key, &value),
            None => Some("is too long to be looked at"),
        };
        match refusal {
            Some(what) => Err(ReadError::KeyOfFile {
                file: self.file.clone(),
                key,
                what: what.into(),
            }),
            None => {
                self.beside.borrow_mut().keys.push(key);
                Ok(())
            }
        }
    }

    fn end(&self) -> Result<Option<Row>, ReadError> {
        match self.keys.is_empty() || self.num_lists == 1 {
            true => Ok(None),
            false => Err(ReadError::NoList {
                file: self.file.clone(),
                keys: self.keys.clone(),
            }),
        }
    }

    /// The text of the next value and its line; a text that is no JSON ends the document.
    fn value(&mut self) -> Result<(usize, Result<String, Reason>), ReadError> {
        let mut bytes = Vec::new();
        self.scan.peek().map_err(|source| self.damaged(source))?;
        let line = self.scan.line;
        let length = self
            .scan
            .value(&mut bytes)
            .map_err(|source| self.damaged(source))?;
        if length > MAX_LINE_BYTES {
            let limit = MAX_LINE_BYTES;
            return Ok((
                line,
                Err(Reason::RowTooLong {
                    bytes: length,
                    limit,
                }),
            ));
        }
        let not_json = |line, what| ReadError::NotJson {
            file: self.file.clone(),
            line,
            what,
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let breaks = before.iter().filter(|&&byte| byte == b'\n').count();
            not_json(line + breaks, "not valid UTF-8".into())
        })?;
        if let Err(error) = serde_json::from_str::<&RawValue>(&text) {
            return Err(not_json(
                line + error.line().saturating_sub(1),
                complaint(&error),
            ));
        }
        Ok((line, Ok(text)))
    }

    fn expect(&mut self, wanted: u8) -> Result<(), ReadError> {
        match self.scan.peek().map_err(|source| self.damaged(source))? {
            Some(found) if found == wanted => {
                self.scan.skip();
                Ok(())
            }
            _ => Err(self.not_json(&format!("expected `{}`", wanted as char))),
        }
    }

    fn not_json(&self, what: &str) -> ReadError {
        ReadError::NotJson {
            file: self.file.clone(),
            line: self.scan.line,
            what: what.into(),
        }
    }

    fn damaged(&self, source: io::Error) -> ReadError {
        ReadError::Damaged {
            file: self.file.clone(),
            line: self.scan.line,
            source,
        }
    }
}

impl<R: BufRead> Iterator for Document<'_, R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.row().transpose()
    }
}

/// Bytes of a document, line by line.
struct Scan<R> {
    bytes: R,
    line: usize,
}

impl<R: BufRead> Scan<R> {
    /// The next byte that is no white space, without taking it.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let available = self.bytes.fill_buf()?;
            if available.is_empty() {
                return Ok(None);
            }
            let spaces = available
                .iter()
                .position(|byte| !byte.is_ascii_whitespace());
            let passed = &available[..spaces.unwrap_or(available.len())];
            self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
            let (next, passed) = (available.get(passed.len()).copied(), passed.len());
            self.bytes.consume(passed);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Takes the byte that was seen.
    fn skip(&mut self) {
        self.bytes.consume(1);
    }

    /// Takes one value and gives its length; bytes past the longest row are not held.
    fn value(&mut self, held: &mut Vec<u8>) -> io::Result<usize> {
        let (mut extent, mut length) = (Extent::default(), 0);
        loop {
            let available = self.bytes.fill_buf()?;
            let end = available.iter().position(|&byte| extent.ends_before(byte));
            let taken = end.unwrap_or(available.len());
            let room = (MAX_LINE_BYTES + 1).saturating_sub(held.len());
            held.extend_from_slice(&available[..taken.min(room)]);
            self.line += available[..taken]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            length += taken;
            let is_over = end.is_some() || available.is_empty();
            self.bytes.consume(taken);
            if is_over {
                return Ok(length);
            }
            if length as u64 > MAX_SKIPPED_BYTES {
                return Err(endless());
            }
        }
    }
}

/// How far a value reaches: to the bracket or quote that closes it, or to what cannot be part of it.
#[derive(Default)]
struct Extent {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    is_closed: bool,
}

impl Extent {
    fn ends_before(&mut self, byte: u8) -> bool {
        if self.is_closed {
            return true;
        }
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            self.is_closed = !self.in_string && self.depth == 0;
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth == 0 => return true,
            b'}' | b']' => {
                self.depth -= 1;
                self.is_closed = self.depth == 0;
            }
            b',' | b':' if self.depth == 0 => return true,
            space if self.depth == 0 && space.is_ascii_whitespace() => return true,
            _ => {}
        }
        false
    }
}
