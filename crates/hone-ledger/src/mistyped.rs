//! A value of a settings file that is not of the kind that was wanted, in plain words.
//!
//! Readers answer in the words of a program (`expected u64`). Whoever wrote the file has to know which key is meant, what it
//! takes, and how that is written.

/// What `said` means, an error of a reader of `text`, a TOML file whose grammar is right. `at` is where in it the value stands,
/// in bytes. What is no matter of a value is handed back as it is.
pub fn mistyped(text: &str, at: Option<usize>, said: &str) -> String {
    let Some(key) = at.and_then(|at| key_at(text, at)) else {
        return said.to_owned();
    };
    if let Some((found, wanted)) = found_and_wanted(said) {
        let found = Found::of(found);
        let (wanted, example) = kind_of(wanted, &found);
        let example = example.map_or(String::new(), |value| format!(", as in {key} = {value}"));
        return format!(
            "`{key}` is {}, and has to be {wanted}{example}",
            found.words
        );
    }
    match said.split_once(", expected ") {
        Some((variant, known)) if variant.starts_with("unknown variant `") => {
            let variant = variant.trim_start_matches("unknown variant ");
            let known = known.trim_start_matches("one of ");
            format!("`{key}` is {variant}, and has to be one of {known}")
        }
        _ if said == "wanted string or table" => {
            format!("`{key}` has to be text in quotes, the name of what is meant")
        }
        _ if said.starts_with("missing field") || said.starts_with("unknown field") => {
            said.to_owned()
        }
        _ => format!("`{key}`: {said}"),
    }
}

/// The key whose value stands at a place, in this line or in one before, where the value goes over several.
fn key_at(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at)?;
    let line = before.rsplit('\n').next()?;
    // In a table on one line the key is the nearest.
    if let Some((_, inner)) = line.rsplit_once(['{', ','])
        && line.contains('{')
        && let Some((key, _)) = inner.split_once('=')
        && is_key(key.trim())
    {
        return Some(key.trim().to_owned());
    }
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let mut lines = text[..end].lines().rev();
    lines.find_map(|line| {
        let (key, _) = line.split_once('=')?;
        Some(key.trim().trim_matches('"').to_owned()).filter(|key| is_key(key))
    })
}

fn is_key(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || ['-', '_', '.'].contains(&c);
    !text.is_empty() && text.chars().all(is_plain)
}

fn found_and_wanted(said: &str) -> Option<(&str, &str)> {
    let said = said
        .strip_prefix("invalid type: ")
        .or_else(|| said.strip_prefix("invalid value: "))?;
    said.rsplit_once(", expected ")
}

/// What stands in the file.
struct Found<'a> {
    words: String,
    /// The text, where it is one, and the digits of a number.
    text: Option<&'a str>,
    number: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn of(said: &'a str) -> Self {
        let quoted = said.split_once('`').and_then(|(_, rest)| {
            let (inside, _) = rest.rsplit_once('`')?;
            Some(inside)
        });
        let (words, text, number) = match (said.split(' ').next(), quoted) {
            (Some("string"), _) => {
                let text = said.trim_start_matches("string ");
                (format!("the text {text}"), Some(text), None)
            }
            (Some("integer"), Some(number)) => (format!("the number {number}"), None, Some(number)),
            (Some("floating"), Some(number)) => {
                (format!("the number {number}"), None, Some(number))
            }
            (Some("boolean"), Some(value)) => (value.to_owned(), None, None),
            (Some("map"), _) => ("a table or a date".to_owned(), None, None),
            (Some("sequence"), _) => ("a list".to_owned(), None, None),
            _ => (said.to_owned(), None, None),
        };
        Self {
            words,
            text,
            number,
        }
    }
}

/// What is wanted, and how it may be written; what was found says what suits.
fn kind_of(wanted: &str, found: &Found) -> (String, Option<String>) {
    let (words, example) = match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => ("a whole number, 0 or more", Some("8".into())),
        "i8" | "i16" | "i32" | "i64" | "isize" => ("a whole number", Some("8".into())),
        "f32" | "f64" => ("a number", Some("0.5".into())),
        "a boolean" => ("true or false, without quotes", Some("true".into())),
        "a string" => {
            let value = found.number.map(|number| format!("\"{number}\""));
            ("text in quotes", value)
        }
        "a sequence" => {
            let value = found.text.map(|text| format!("[{text}]"));
            ("a list in brackets", value)
        }
        "a map" => ("a table of keys", None),
        "any valid TOML value" => ("a number that is not so large", None),
        other => (other, None),
    };
    (words.to_owned(), example)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_kind_is_told_by_its_key_with_what_is_wanted_and_how_it_is_written() {
        let said = |text: &str, value: &str, said: &str| mistyped(text, text.find(value), said);
        assert_eq!(
            said(
                "rank = \"x\"\n",
                "\"x\"",
                "invalid type: string \"x\", expected usize"
            ),
            "`rank` is the text \"x\", and has to be a whole number, 0 or more, as in rank = 8"
        );
        assert_eq!(
            said(
                "a = 1\nlr = true\n",
                "true",
                "invalid type: boolean `true`, expected f64"
            ),
            "`lr` is true, and has to be a number, as in lr = 0.5"
        );
        assert_eq!(
            said(
                "data = \"a=b\"",
                "\"a",
                "invalid type: string \"a=b\", expected a sequence"
            ),
            "`data` is the text \"a=b\", and has to be a list in brackets, as in data = [\"a=b\"]"
        );
        assert_eq!(
            said(
                "new-tokens = [\n  1,\n]",
                "1",
                "invalid type: integer `1`, expected a string"
            ),
            "`new-tokens` is the number 1, and has to be text in quotes, as in new-tokens = \"1\""
        );
        assert_eq!(
            said(
                "x = { a = 1, b = \"c\" }",
                "\"c\"",
                "invalid type: string \"c\", expected f64"
            ),
            "`b` is the text \"c\", and has to be a number, as in b = 0.5"
        );
        assert_eq!(
            said(
                "nulls = \"x\"",
                "\"x\"",
                "unknown variant `x`, expected `keep` or `drop`"
            ),
            "`nulls` is `x`, and has to be one of `keep` or `drop`"
        );
        assert_eq!(
            said(
                "memory = \"x\"",
                "\"x\"",
                "`x` is not a size; write it like 2GB"
            ),
            "`memory`: `x` is not a size; write it like 2GB"
        );
        assert_eq!(
            mistyped("", None, "missing field `files`"),
            "missing field `files`"
        );
    }
}
