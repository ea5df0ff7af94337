//! Values that a template wrote as Python shows them: lm-evaluation-harness reads lists so, with `ast.literal_eval`.

use serde_json::{Number, Value};

/// The value, if the text is one literal of texts, numbers, lists and tuples.
pub(super) fn literal(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text.trim() };
    let value = reader.value(0)?;
    reader.rest.trim_start().is_empty().then_some(value)
}

const DEEPEST: usize = 20;

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            _ if depth > DEEPEST => None,
            '[' => self.list(']', depth),
            '(' => self.list(')', depth),
            quote @ ('\'' | '"') => {
                let mut text = self.text(quote)?;
                // Texts side by side are one text.
                while let Some(quote) = self.rest.trim_start().chars().next() {
                    if quote != '\'' && quote != '"' {
                        break;
                    }
                    self.rest = self.rest.trim_start();
                    text += &self.text(quote)?;
                }
                Some(Value::String(text))
            }
            _ => self.word(),
        }
    }

    fn list(&mut self, close: char, depth: usize) -> Option<Value> {
        self.rest = &self.rest[1..];
        let (mut items, mut had_comma) = (Vec::new(), true);
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(close) {
                self.rest = rest;
                // `(1)` is a number and no tuple.
                let is_one = close == ')' && items.len() == 1 && !had_comma;
                return if is_one {
                    items.pop()
                } else {
                    Some(Value::Array(items))
                };
            }
            if !had_comma {
                return None;
            }
            items.push(self.value(depth + 1)?);
            self.rest = self.rest.trim_start();
            had_comma = self.rest.starts_with(',');
            if had_comma {
                self.rest = &self.rest[1..];
            }
        }
    }

    fn text(&mut self, quote: char) -> Option<String> {
        let mut chars = self.rest[1..].char_indices();
        let mut text = String::new();
        loop {
            let (at, c) = chars.next()?;
            match c {
                c if c == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Some(text);
                }
                '\n' => return None,
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '\n' => {}
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    kind @ ('x' | 'u' | 'U') => {
                        let digits = match kind {
                            'x' => 2,
                            'u' => 4,
                            _ => 8,
                        };
                        let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&hex, 16).ok();
                        text.push(
                            code.filter(|_| hex.len() == digits)
                                .and_then(char::from_u32)?,
                        );
                    }
                    other => text.extend(['\\', other]),
                },
                c => text.push(c),
            }
        }
    }

    fn word(&mut self) -> Option<Value> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            "None" => Some(Value::Null),
            _ => match word.parse::<i64>() {
                Ok(number) => Some(number.into()),
                Err(_) if word.contains(|c: char| c.is_ascii_digit()) => {
                    Number::from_f64(word.parse().ok()?).map(Value::Number)
                }
                Err(_) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_python_shows_is_read_back() {
        let read = literal(
            r#"['a', "it's", 'say \'x\'\n', '\xe9\u2028', 3, -2.5, True, None, ('b',), (1)]"#,
        );
        let meant = json!([
            "a",
            "it's",
            "say 'x'\n",
            "é\u{2028}",
            3,
            -2.5,
            true,
            null,
            ["b"],
            1
        ]);
        assert_eq!(read, Some(meant));
        assert_eq!(literal("'a' 'b'"), Some(json!("ab")));
        for none in [
            "",
            "[1, 2",
            "['a' 1]",
            "a",
            "f(1)",
            "[,]",
            "'a",
            "1 2",
            "__import__('os')",
        ] {
            assert_eq!(literal(none), None, "{none}");
        }
        assert_eq!(literal(&"[".repeat(100_000)), None);
    }
}
