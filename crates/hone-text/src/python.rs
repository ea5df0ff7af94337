//! Values as Python shows them, for templates that were written for Jinja2 in transformers.
//!
//! minijinja is close to Jinja2 and differs where Rust prints a number or a text unlike Python: `1e-7` is `1e-07` there, a
//! list shows its texts in quotes of Python's choice, and `tojson` is `json.dumps`. What a conversation holds is handed to
//! a template as objects of this module, so that they print alike wherever a template puts them; `{{ … }}` and the
//! filters that make text of a value go through [`text`].

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectExt, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;

/// Deeper values are refused; Python's own limit is about the same.
const MAX_DEPTH: usize = 900;

/// A value of a row as templates see it.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::String(text) => Value::from(text.as_str()),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, Some(number)) => float(number),
            _ => Value::from(number.to_string()),
        },
        Json::Array(items) => Value::from_object(List(items.iter().map(value).collect())),
        Json::Object(fields) => dict(fields.iter().map(|(key, field)| (key, value(field)))),
    }
}

/// A dictionary in the order of its fields.
pub(crate) fn dict<K: AsRef<str>>(fields: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::from_object(Dict::new(fields))
}

/// A list.
pub(crate) fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::from_object(List(items.into_iter().collect()))
}

/// What a call tells its tool: an object where a template looks into it, text where a template prints it.
pub(crate) fn arguments(json: &Json, text: String, is_text: bool) -> Value {
    let dict = match json {
        Json::Object(fields) => Dict::new(fields.iter().map(|(key, field)| (key, value(field)))),
        _ => Dict::new(std::iter::empty::<(&str, Value)>()),
    };
    Value::from_object(Arguments {
        dict: Arc::new(dict),
        text,
        is_text,
    })
}

/// A number with a fraction. One that Rust prints otherwise than Python becomes an object that can be printed and
/// compared with nothing.
fn float(number: f64) -> Value {
    let plain = Value::from(number);
    match plain.to_string() == float_text(number) {
        true => plain,
        false => Value::from_object(Float(number)),
    }
}

#[derive(Debug)]
struct List(Vec<Value>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(&Value::from_dyn_object(self.clone()), f)
    }
}

#[derive(Debug)]
struct Dict {
    fields: Vec<(Value, Value)>,
    places: HashMap<String, usize>,
}

impl Dict {
    fn new<K: AsRef<str>>(fields: impl IntoIterator<Item = (K, Value)>) -> Self {
        let (mut list, mut places) = (Vec::new(), HashMap::new());
        for (key, field) in fields {
            places.insert(key.as_ref().to_owned(), list.len());
            list.push((Value::from(key.as_ref()), field));
        }
        Self {
            fields: list,
            places,
        }
    }

    fn get(&self, key: &Value) -> Option<Value> {
        let place = *self.places.get(key.as_str()?)?;
        Some(self.fields[place].1.clone())
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|dict| Box::new(dict.fields.iter().map(|field| field.0.clone())))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.fields.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(&Value::from_dyn_object(self.clone()), f)
    }
}

#[derive(Debug)]
struct Arguments {
    dict: Arc<Dict>,
    /// As the row has them, or as `json.dumps` writes them.
    text: String,
    /// Whether the row has them as a text.
    is_text: bool,
}

impl Object for Arguments {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.dict.get(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.dict.enumerate()
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.dict.fields.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A number that Rust prints otherwise than Python.
#[derive(Debug)]
struct Float(f64);

impl Object for Float {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.0 != 0.0
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&float_text(self.0))
    }
}

/// A text that was marked as safe. What is added to it Jinja2 escapes for HTML, whatever its settings; here it cannot be
/// added to.
#[derive(Debug)]
struct Safe(String);

impl Object for Safe {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text as Jinja2's `safe` gives it.
pub(crate) fn marked_safe(text: String) -> Value {
    Value::from_object(Safe(text))
}

/// The text of arguments that a row has as a text; Python would see no more than that.
pub(crate) fn text_of_arguments(value: &Value) -> Option<&str> {
    let arguments = value.downcast_object_ref::<Arguments>()?;
    arguments.is_text.then_some(arguments.text.as_str())
}

pub(crate) fn is_float(value: &Value) -> bool {
    value.downcast_object_ref::<Float>().is_some()
        || (value.kind() == ValueKind::Number && !value.is_integer())
}

fn shown(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut out = String::new();
    write_shown(value, 0, &mut out).map_err(|_| fmt::Error)?;
    f.write_str(&out)
}

/// Python's `str`.
pub(crate) fn text(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::Bytes | ValueKind::Plain => Ok(value.to_string()),
        _ if value.downcast_object_ref::<Arguments>().is_some() => Ok(value.to_string()),
        _ => {
            let mut out = String::new();
            write_shown(value, 0, &mut out)?;
            Ok(out)
        }
    }
}

/// Python's `repr`.
fn write_shown(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    if let Some(text) = text_of_arguments(value).or(value.as_str()) {
        write_quoted(text, out);
        return Ok(());
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if value.is_integer() => *out += &value.to_string(),
        ValueKind::Number => {
            *out += &f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float_text)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let is_tuple = value.is_tuple();
            out.push(if is_tuple { '(' } else { '[' });
            let mut count = 0;
            for item in value.try_iter()? {
                if count > 0 {
                    out.push_str(", ");
                }
                write_shown(&item, depth + 1, out)?;
                count += 1;
            }
            if is_tuple && count == 1 {
                out.push(',');
            }
            out.push(if is_tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_shown(&key, depth + 1, out)?;
                out.push_str(": ");
                write_shown(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => *out += &value.to_string(),
    }
    Ok(())
}

/// A text between quotes: single ones, unless that would take escapes and double ones would not.
fn write_quoted(text: &str, out: &mut String) {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// As texts between quotes are escaped in JSON and in Python, for the search of a text in what a template wrote.
pub(crate) fn escapes(text: &str) -> [String; 3] {
    let mut python = String::new();
    write_quoted(text, &mut python);
    let inner = |quoted: &str| quoted[1..quoted.len() - 1].to_owned();
    let (mut json, mut ascii) = (String::new(), String::new());
    write_json_text(text, false, &mut json);
    write_json_text(text, true, &mut ascii);
    [inner(&json), inner(&ascii), inner(&python)]
}

/// Python's `str.isprintable` for one character, as far as Rust knows the categories.
pub(crate) fn is_printable(c: char) -> bool {
    let invisible = c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(u32::from(c),
            0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890 | 0x891 | 0x8e2 | 0x180e
            | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb
            | 0xe000..=0xf8ff | 0xfff0..=0xfff8 | 0xfffe | 0xffff | 0x110bd | 0x110cd
            | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0x10ffff);
    !invisible || matches!(u32::from(c), 0xe0100..=0xe01ef)
}

/// Python's `repr` of a float: the shortest digits that say it, with an exponent from 1e16 and below 1e-4.
pub(crate) fn float_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    let short = format!("{number:e}");
    let (digits, exponent) = short.split_once('e').expect("the form has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// How `json.dumps` is asked to write.
struct Dumps {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

/// transformers' `tojson`: `json.dumps` with its options.
pub(crate) fn to_json(
    value: &Value,
    ascii: Option<Value>,
    indent: Option<Value>,
    separators: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let option = |given: Option<Value>, name: &str| -> Result<Option<Value>, Error> {
        let value = match given {
            Some(value) => Some(value),
            None => options.get(name)?,
        };
        Ok(value.filter(|value: &Value| !value.is_none()))
    };
    let ascii = option(ascii, "ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = match option(indent, "indent")? {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(width) => {
            let width = i64::try_from(width)?.max(0);
            if width > 64 {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "`tojson` indents by at most 64",
                ));
            }
            Some(" ".repeat(width as usize))
        }
    };
    let (mut item, mut key) = match &indent {
        None => (", ".to_owned(), ": ".to_owned()),
        Some(_) => (",".to_owned(), ": ".to_owned()),
    };
    if let Some(pair) = option(separators, "separators")? {
        let texts: Vec<Value> = pair.try_iter()?.collect();
        match texts.iter().map(Value::as_str).collect::<Vec<_>>()[..] {
            [Some(first), Some(second)] => (item, key) = (first.to_owned(), second.to_owned()),
            _ => {
                let what = "`separators` of `tojson` are two texts";
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
        }
    }
    let sort = option(None, "sort_keys")?.is_some_and(|value| value.is_true());
    options.assert_all_used()?;
    let how = Dumps {
        ascii,
        indent,
        item,
        key,
        sort,
    };
    let mut out = String::new();
    how.write(value, 0, &mut out)?;
    Ok(out)
}

/// `json.dumps` as it writes without options, of a value of a row.
pub(crate) fn dumps(json: &Json) -> String {
    let plain = Dumps {
        ascii: false,
        indent: None,
        item: ", ".into(),
        key: ": ".into(),
        sort: false,
    };
    let mut out = String::new();
    match plain.write(&value(json), 0, &mut out) {
        Ok(()) => out,
        Err(_) => json.to_string(),
    }
}

impl Dumps {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        if let Some(text) = value.as_str() {
            write_json_text(text, self.ascii, out);
            return Ok(());
        }
        if let Some(number) = number(value) {
            *out += &number;
            return Ok(());
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.container(('[', ']'), items, depth, out, |item, out| {
                    self.write(&item, depth + 1, out)
                })?;
            }
            ValueKind::Map => {
                let mut fields = Vec::new();
                for key in value.try_iter()? {
                    fields.push((key_text(&key)?, value.get_item(&key)?));
                }
                if self.sort {
                    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.container(('{', '}'), fields, depth, out, |(key, field), out| {
                    write_json_text(&key, self.ascii, out);
                    out.push_str(&self.key);
                    self.write(&field, depth + 1, out)
                })?;
            }
            other => {
                let what = format!("{other} cannot be written as JSON");
                return Err(Error::new(ErrorKind::BadSerialization, what));
            }
        }
        Ok(())
    }

    fn container<T>(
        &self,
        (open, close): (char, char),
        items: impl IntoIterator<Item = T>,
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, out: &mut String| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                (0..depth).for_each(|_| out.push_str(indent));
            }
        };
        out.push(open);
        let mut is_empty = true;
        for item in items {
            if !is_empty {
                out.push_str(&self.item);
            }
            line(depth + 1, out);
            write(item, out)?;
            is_empty = false;
        }
        if !is_empty {
            line(depth, out);
        }
        out.push(close);
        Ok(())
    }
}

fn number(value: &Value) -> Option<String> {
    let number = match value.downcast_object_ref::<Float>() {
        Some(float) => float.0,
        None if value.kind() != ValueKind::Number => return None,
        None if value.is_integer() => return Some(value.to_string()),
        None => f64::try_from(value.clone()).ok()?,
    };
    Some(match number {
        nan if nan.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        number => float_text(number),
    })
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(number(key).unwrap_or_else(|| key.to_string())),
        other => {
            let what = format!("{other} cannot be a key in JSON");
            Err(Error::new(ErrorKind::BadSerialization, what))
        }
    }
}

fn write_json_text(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ascii && !matches!(c, ' '..='~')) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn too_deep() -> Error {
    let what = "a value is nested too deeply to be written";
    Error::new(ErrorKind::InvalidOperation, what)
}

/// A whole number that did not fit, and is known by its first digits only.
pub(crate) fn inexact(value: &Json) -> Option<String> {
    match value {
        Json::Number(number) if number.is_f64() => {
            let float = number.as_f64()?;
            let is_whole = float.fract() == 0.0 && float.abs() >= 2_f64.powi(64);
            is_whole.then(|| number.to_string())
        }
        Json::Array(items) => items.iter().find_map(inexact),
        Json::Object(fields) => fields.values().find_map(inexact),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_the_shortest_digits_and_exponents_of_two() {
        for (number, told) in [
            (1e-7, "1e-07"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.0001, "0.0001"),
            (0.000_012, "1.2e-05"),
            (5e-324, "5e-324"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float_text(number), told);
        }
    }
}
