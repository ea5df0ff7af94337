//! A template's source as minijinja takes it: Jinja2's rules where the two differ before anything runs.
//!
//! Lines end as Jinja2 ends them, texts between quotes have Python's escapes, and `{% generation %}`, with which templates
//! mark replies for other tools, is a block that always runs: which tokens are supervised follows one rule for all
//! templates, see [`crate::Renderer`]. What stands in comments and in `{% raw %}` is left alone.

/// The source with the differences written out.
pub(crate) fn jinja_source(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(open) = opening(rest) {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        rest = match tag.as_bytes()[1] {
            b'#' => {
                let end = tag[2..].find("#}").map_or(tag.len(), |end| end + 4);
                out.push_str(&tag[..end]);
                &tag[end..]
            }
            kind => {
                let close = if kind == b'%' { "%}" } else { "}}" };
                let (inner, after) = inside(&tag[2..], close);
                let word = inner.trim_matches(['-', '+']).trim();
                let after = match word {
                    "generation" if kind == b'%' => {
                        out += &format!("{{%{}%}}", inner.replace(word, "if true"));
                        after
                    }
                    "endgeneration" if kind == b'%' => {
                        out += &format!("{{%{}%}}", inner.replace(word, "endif"));
                        after
                    }
                    _ => {
                        out.push_str(&tag[..2]);
                        out.push_str(&inner);
                        // Nothing closes an unfinished tag, which minijinja refuses by its line.
                        let is_closed =
                            tag[..tag.len() - after.len()].ends_with(close) && tag.len() > 3;
                        out.push_str(if is_closed { close } else { "" });
                        after
                    }
                };
                match (word, kind) {
                    ("raw", b'%') => {
                        let end = end_of_raw(after);
                        out.push_str(&after[..end]);
                        &after[end..]
                    }
                    _ => after,
                }
            }
        };
    }
    out + rest
}

/// What stands between the brackets of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `{% … %}`
    Statement(String),
    /// `{{ … }}`
    Expression(String),
}

/// The tags of a source in their order; what comments and `{% raw %}` hold is none.
pub(crate) fn tags(source: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = source;
    while let Some(open) = opening(rest) {
        let tag = &rest[open..];
        rest = match tag.as_bytes()[1] {
            b'#' => tag[2..].find("#}").map_or("", |end| &tag[end + 4..]),
            b'{' => {
                let (inner, after) = inside(&tag[2..], "}}");
                tags.push(Tag::Expression(inner));
                after
            }
            _ => {
                let (inner, after) = inside(&tag[2..], "%}");
                let inner = inner.trim_matches(['-', '+']).trim().to_owned();
                let is_raw = inner == "raw";
                tags.push(Tag::Statement(inner));
                if is_raw {
                    &after[end_of_raw(after)..]
                } else {
                    after
                }
            }
        };
    }
    tags
}

/// The names in a statement, without attributes and what stands between quotes.
pub(crate) fn words_of(statement: &str) -> impl Iterator<Item = &str> {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = statement;
    std::iter::from_fn(move || {
        let mut last = ' ';
        while let Some(c) = rest.chars().next() {
            let end = match c {
                '\'' | '"' => end_of_text(rest, c),
                c if is_of_word(c) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            let (token, after) = rest.split_at(end);
            rest = after;
            if is_of_word(c) && last != '.' {
                return Some(token);
            }
            last = c;
        }
        None
    })
}

fn opening(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(1))
        .find(|&at| bytes[at] == b'{' && matches!(bytes[at + 1], b'{' | b'%' | b'#'))
}

/// What a tag holds, with its texts in minijinja's escapes, and what follows the tag.
fn inside<'a>(text: &'a str, close: &str) -> (String, &'a str) {
    let mut out = String::new();
    let mut rest = text;
    // Braces of a dictionary may come together: `{{ {'a': {}} }}` ends at the last two.
    let mut depth = 0_usize;
    while let Some(c) = rest.chars().next() {
        if depth == 0 && rest.starts_with(close) {
            return (out, &rest[close.len()..]);
        }
        match c {
            '\'' | '"' => {
                let end = end_of_text(rest, c);
                out.push_str(&with_escapes(&rest[..end]));
                rest = &rest[end..];
                continue;
            }
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    (out, rest)
}

/// Behind the quote that closes a text; all, if none does.
fn end_of_text(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A text between quotes whose escapes mean to minijinja what they mean to Python.
fn with_escapes(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            // A line that goes on.
            Some('\n') => {}
            Some(c @ ('\\' | '\'' | '"' | 'n' | 'r' | 't' | 'u' | 'x')) => {
                out.push('\\');
                out.push(c);
            }
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some(c @ '0'..='7') => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    code = 8 * code + digit;
                    chars.next();
                }
                match char::from_u32(code) {
                    Some('\\') => out.push_str("\\\\"),
                    Some(c @ ('\'' | '"')) => {
                        out.push('\\');
                        out.push(c);
                    }
                    Some(c) => out.push(c),
                    None => {}
                }
            }
            Some('U') => {
                let digits: String = chars.clone().take(8).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                match code {
                    Some(c) if digits.len() == 8 => {
                        out.push(c);
                        (0..8).for_each(|_| {
                            chars.next();
                        });
                    }
                    _ => out.push_str("\\U"),
                }
            }
            // A character by its name, which nobody here knows: minijinja refuses the escape.
            Some('N') => out.push_str("\\uN"),
            // Python keeps the backslash of an escape that is none.
            Some(c) => {
                out.push_str("\\\\");
                out.push(c);
            }
            None => out.push('\\'),
        }
    }
    out
}

/// Where `{% endraw %}` begins; all, if it does not come.
fn end_of_raw(text: &str) -> usize {
    let mut from = 0;
    while let Some(open) = text[from..].find("{%") {
        let at = from + open;
        let inner = text[at + 2..].split("%}").next().unwrap_or_default();
        if inner.trim_matches(['-', '+']).trim() == "endraw" {
            return at;
        }
        from = at + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_blocks_and_all_else_stays() {
        for (source, told) in [
            (
                "a {%- generation -%} b {% endgeneration +%}",
                "a {%- if true -%} b {% endif +%}",
            ),
            (
                "{# {% generation %} #}{% if x %}",
                "{# {% generation %} #}{% if x %}",
            ),
            (
                "{% raw %}{% generation %}{% endraw %}{%generation%}",
                "{% raw %}{% generation %}{% endraw %}{%if true%}",
            ),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            ("{{ {'a': {}} }}x", "{{ {'a': {}} }}x"),
            (
                "{{ \"%}\" }}{% set x = '%}' %}",
                "{{ \"%}\" }}{% set x = '%}' %}",
            ),
            ("{%}", "{%}"),
            ("{{", "{{"),
            ("{% raw", "{% raw"),
            ("{#", "{#"),
            ("{{ 'a", "{{ 'a"),
        ] {
            assert_eq!(jinja_source(source), told, "{source}");
        }
    }

    #[test]
    fn tags_and_their_names_are_told_from_all_else() {
        let source = "{# {% a %} #}{% raw %}{% b %}{% endraw %}{{ '{% c %}' }}{%- set x = m.x if m['y'] else \"z\" -%}{% if";
        let told = tags(source);
        let names = |tag: &Tag| match tag {
            Tag::Statement(text) => words_of(text).collect::<Vec<_>>().join(" "),
            Tag::Expression(text) => {
                format!("shows {}", words_of(text).collect::<Vec<_>>().join(" "))
            }
        };
        let names: Vec<_> = told.iter().map(names).collect();
        assert_eq!(
            names,
            ["raw", "endraw", "shows ", "set x m if m else", "if"]
        );
    }

    #[test]
    fn texts_have_pythons_escapes_and_lines_end_in_one_way() {
        assert_eq!(jinja_source("a\r\nb\rc"), "a\nb\nc");
        assert_eq!(
            jinja_source(r"{{ 'it\'s \q \/ \101 \x41 \u00e9 \n' }}"),
            r"{{ 'it\'s \\q \\/ A \x41 \u00e9 \n' }}"
        );
        assert_eq!(jinja_source("{{ 'a\\\nb' }} \\q"), "{{ 'ab' }} \\q");
        assert_eq!(jinja_source(r"{{ '\U0001F600\134' }}"), "{{ '😀\\\\' }}");
    }
}
