//! Python's methods of strings, dictionaries and lists, as templates call them.
//!
//! What is here is what `str` in Python does, whitespace and all; `format` and the views of a dictionary are left to
//! minijinja-contrib, and a method that is nowhere is an error that names it.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use crate::python::{is_printable, text_of_arguments};

/// What a method gives.
pub(crate) fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let text = value.as_str().or_else(|| match method {
        // A dictionary's, should a template look into arguments that a row has as a text.
        "items" | "keys" | "values" | "get" => None,
        _ => text_of_arguments(value),
    });
    if let Some(text) = text
        && let Some(answer) = of_text(state, text, method, arguments)?
    {
        return Ok(answer);
    }
    match (value.kind(), method) {
        (ValueKind::Map | ValueKind::Seq, "copy") => {
            let () = from_args(arguments)?;
            Ok(value.clone())
        }
        (ValueKind::Seq, "index") => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let place = value.try_iter()?.position(|item| item == *wanted);
            place
                .map(Value::from)
                .ok_or_else(|| failed("the list has no such item"))
        }
        _ => unknown_method_callback(state, value, method, arguments),
    }
}

fn of_text(
    state: &mut State,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Option<Value>, Error> {
    let none = || from_args::<()>(arguments);
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(arguments)?;
            Value::from(stripped(
                text,
                characters,
                method != "rstrip",
                method != "lstrip",
            ))
        }
        "title" => {
            none()?;
            Value::from(title(text))
        }
        "capitalize" => {
            none()?;
            Value::from(capitalized(text))
        }
        "swapcase" => {
            none()?;
            let swapped = text.chars().map(|c| match c.is_uppercase() {
                true => c.to_lowercase().to_string(),
                false => c.to_uppercase().to_string(),
            });
            Value::from(swapped.collect::<String>())
        }
        "casefold" => {
            none()?;
            Value::from(text.replace('ß', "ss").to_lowercase())
        }
        "islower" => {
            none()?;
            Value::from(
                text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
            )
        }
        "isupper" => {
            none()?;
            Value::from(
                text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
            )
        }
        "istitle" => {
            none()?;
            Value::from(text.chars().any(char::is_alphabetic) && title(text) == text)
        }
        "isspace" => {
            none()?;
            Value::from(!text.is_empty() && text.chars().all(is_space))
        }
        "isdecimal" => {
            none()?;
            Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        }
        "isprintable" => {
            none()?;
            Value::from(text.chars().all(is_printable))
        }
        "isidentifier" => {
            none()?;
            let first = |c: char| c == '_' || c.is_alphabetic();
            let rest = |c: char| first(c) || c.is_numeric();
            Value::from(text.chars().next().is_some_and(first) && text.chars().all(rest))
        }
        "split" | "rsplit" => {
            let (separator, most, options): (Option<Value>, Option<i64>, Kwargs) =
                from_args(arguments)?;
            let separator =
                separator.map_or_else(|| options.get("sep"), |given| Ok(Some(given)))?;
            let most = most.map_or_else(|| options.get("maxsplit"), |given| Ok(Some(given)))?;
            options.assert_all_used()?;
            let separator = separator.filter(|separator: &Value| !separator.is_none());
            let separator = separator.as_ref().map(|separator| {
                separator
                    .as_str()
                    .ok_or_else(|| failed("a text is split at a text"))
            });
            let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX);
            let parts = match separator.transpose()? {
                Some("") => return Err(failed("empty separator")),
                Some(separator) if method == "split" => {
                    text.splitn(most.saturating_add(1), separator).collect()
                }
                Some(separator) => reversed(text.rsplitn(most.saturating_add(1), separator)),
                None if method == "split" => words(text, most),
                None if most == usize::MAX => words(text, most),
                None => return Err(failed("`rsplit` at whitespace knows no limit here")),
            };
            list(parts)
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let found = match method {
                _ if separator.is_empty() => return Err(failed("empty separator")),
                "partition" => text.split_once(separator),
                _ => text.rsplit_once(separator),
            };
            let parts = match (found, method) {
                (Some((before, after)), _) => [before, separator, after],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "splitlines" => {
            let (keep, options): (Option<bool>, Kwargs) = from_args(arguments)?;
            let keep = keep.map_or_else(|| options.get("keepends"), |given| Ok(Some(given)))?;
            options.assert_all_used()?;
            list(lines(text, keep.unwrap_or(false)))
        }
        "removeprefix" | "removesuffix" => {
            let (cut,): (&str,) = from_args(arguments)?;
            let rest = match method {
                "removeprefix" => text.strip_prefix(cut),
                _ => text.strip_suffix(cut),
            };
            Value::from(rest.unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let (wanted, from, to): (&str, Option<i64>, Option<i64>) = from_args(arguments)?;
            let length = text.chars().count();
            let place = |at: Option<i64>, otherwise: usize| match at {
                None => otherwise,
                Some(at) if at < 0 => (length as i64 + at).max(0) as usize,
                Some(at) => (at as usize).min(length),
            };
            let (from, to) = (place(from, 0), place(to, length));
            let part: String = text
                .chars()
                .skip(from)
                .take(to.saturating_sub(from))
                .collect();
            if method == "count" {
                return Ok(Some(Value::from(part.matches(wanted).count())));
            }
            let byte = match method.starts_with('r') {
                true => part.rfind(wanted),
                false => part.find(wanted),
            };
            match byte {
                Some(byte) => Value::from(from + part[..byte].chars().count()),
                None if method.ends_with("index") => return Err(failed("substring not found")),
                None => Value::from(-1),
            }
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            let (width, fill): (usize, Option<char>) = from_args(arguments)?;
            if width > 9999 {
                return Err(failed("a text is filled to at most 9999 places"));
            }
            let missing = width.saturating_sub(text.chars().count());
            let filled = |count: usize, fill: char| fill.to_string().repeat(count);
            let fill = fill.unwrap_or(' ');
            Value::from(match method {
                "ljust" => format!("{text}{}", filled(missing, fill)),
                "rjust" => format!("{}{text}", filled(missing, fill)),
                "zfill" => match text.strip_prefix(['+', '-']) {
                    Some(rest) => format!("{}{}{rest}", &text[..1], filled(missing, '0')),
                    None => format!("{}{text}", filled(missing, '0')),
                },
                _ => {
                    let left = missing / 2 + (missing & width & 1);
                    format!(
                        "{}{text}{}",
                        filled(left, fill),
                        filled(missing - left, fill)
                    )
                }
            })
        }
        "startswith" | "endswith" if text_of(arguments).is_some() => {
            let wanted = text_of(arguments).unwrap_or_default();
            Value::from(match method {
                "startswith" => text.starts_with(wanted),
                _ => text.ends_with(wanted),
            })
        }
        "join" => {
            let (items,): (&Value,) = from_args(arguments)?;
            let mut joined = String::new();
            for (index, item) in items.try_iter()?.enumerate() {
                if index > 0 {
                    state.consume_fuel((text.len() / 64) as u64)?;
                    joined.push_str(text);
                }
                match item.as_str() {
                    Some(item) => joined.push_str(item),
                    None => return Err(failed("`join` puts texts together, and an item is none")),
                }
            }
            Value::from(joined)
        }
        // The width that `format` fills is the only number that none of the limits sees before it is memory.
        "format" if longest_number(text) > 4 => {
            return Err(failed("`format` fills at most 9999 places"));
        }
        _ => match text_of_other(state, text, method, arguments) {
            Err(error) if error.kind() == ErrorKind::UnknownMethod => return Ok(None),
            other => other?,
        },
    }))
}

fn text_of_other(
    state: &mut State,
    text: &str,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    unknown_method_callback(state, &Value::from(text), method, arguments)
}

fn text_of(arguments: &[Value]) -> Option<&str> {
    match arguments {
        [argument] => argument.as_str(),
        _ => None,
    }
}

fn longest_number(text: &str) -> usize {
    let runs = text.split(|c: char| !c.is_ascii_digit());
    runs.map(str::len).max().unwrap_or(0)
}

/// A text without the characters at its ends; without whitespace if none are named.
pub(crate) fn stripped<'a>(
    text: &'a str,
    characters: Option<&str>,
    left: bool,
    right: bool,
) -> &'a str {
    let goes =
        |c: char| characters.map_or_else(|| is_space(c), |characters| characters.contains(c));
    let text = if left {
        text.trim_start_matches(goes)
    } else {
        text
    };
    if right {
        text.trim_end_matches(goes)
    } else {
        text
    }
}

/// Python's `str.isspace` for one character: Unicode's white space, and the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// Each run of letters begins with a capital.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_letter = false;
    for c in text.chars() {
        match after_letter {
            true => out.extend(c.to_lowercase()),
            false => out.push_str(&titled(c)),
        }
        after_letter = c.is_lowercase() || c.is_uppercase();
    }
    out
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(titled).unwrap_or_default();
    first + &characters.as_str().to_lowercase()
}

/// A capital as the first letter of a word has it: of two letters in one, only the first is.
fn titled(c: char) -> String {
    match c {
        'Ǆ' | 'ǆ' => "ǅ".into(),
        'Ǉ' | 'ǉ' => "ǈ".into(),
        'Ǌ' | 'ǌ' => "ǋ".into(),
        'Ǳ' | 'ǳ' => "ǲ".into(),
        c => {
            let upper = c.to_uppercase().to_string();
            let mut letters = upper.chars();
            let first: String = letters.by_ref().take(1).collect();
            first + &letters.as_str().to_lowercase()
        }
    }
}

fn reversed<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut parts: Vec<&str> = parts.collect();
    parts.reverse();
    parts
}

/// The parts between white space, of which the last may have some.
fn words(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest.trim_end_matches(is_space));
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

fn lines(text: &str, keep: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    while let Some(at) = rest.find(ends) {
        let end = match rest[at..].starts_with("\r\n") {
            true => at + 2,
            false => at + rest[at..].chars().next().map_or(1, char::len_utf8),
        };
        lines.push(&rest[..if keep { end } else { at }]);
        rest = &rest[end..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

fn list(parts: Vec<&str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.to_owned())
}
