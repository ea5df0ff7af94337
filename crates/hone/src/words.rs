//! Words of strangers, made safe for the place they are put in: one function for every place.
//!
//! Files, rows, models and servers choose their own words. On a terminal they could move the cursor or hide text, in a
//! command line they could be another command, in Markdown and YAML another document. What is quoted is also kept short.

use std::borrow::Cow;

/// The most that is quoted of one value, in characters.
const MOST_CHARS: usize = 200;

/// Text for a terminal: what would end the line, steer the terminal, hide or turn text is written as an escape.
pub fn on_terminal(text: &str) -> Cow<'_, str> {
    escaped(text, is_unruly)
}

fn escaped(text: &str, is_unruly: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unruly) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_unruly(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Whether a character has no place in a name: it steers a terminal, or takes no room though it is there. The joiners that
/// scripts and emoji need are neither.
pub fn is_unruly(c: char) -> bool {
    is_steering(c)
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}'
                ..='\u{206f}' | '\u{feff}'
        )
}

/// Whether a character ends a line, steers a terminal, overrides the direction of what follows, or hides text.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A value as it is quoted: its middle gives way when it is long, and how much was left out is told.
pub fn shortened(text: &str) -> Cow<'_, str> {
    shortened_to(text, MOST_CHARS)
}

/// A value with at most so many characters of its own.
pub fn shortened_to(text: &str, most_chars: usize) -> Cow<'_, str> {
    // A character has at least one byte.
    if text.len() <= most_chars {
        return Cow::Borrowed(text);
    }
    let num_chars = text.chars().count();
    if num_chars <= most_chars {
        return Cow::Borrowed(text);
    }
    let at = |index: usize| {
        let found = text.char_indices().nth(index);
        found.map_or(text.len(), |(at, _)| at)
    };
    let (head, tail) = (most_chars.div_ceil(2), most_chars / 2);
    Cow::Owned(format!(
        "{}… {} characters …{}",
        &text[..at(head)],
        num_chars - most_chars,
        &text[at(num_chars - tail)..]
    ))
}

/// Text with the user names and passwords of its addresses left out: `https://me:secret@host` becomes `https://…@host`.
pub fn without_credentials(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        safe.push_str(before);
        let ends = |c: char| c.is_whitespace() || "/?#\"'`<>".contains(c);
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(sign) => {
                safe.push('…');
                &after[sign..]
            }
            None => after,
        };
    }
    safe + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_written_as_an_escape() {
        assert!(matches!(
            on_terminal("grüß `x` 👩‍💻 می‌خواهم"),
            Cow::Borrowed(_)
        ));
        assert_eq!(
            on_terminal("a\nb\x1b[2J\u{85}\u{9b}31m\u{202e}c\u{200b}\u{feff}\u{e0041}\r\x07"),
            r"a\nb\u{1b}[2J\u{85}\u{9b}31m\u{202e}c\u{200b}\u{feff}\u{e0041}\r\u{7}"
        );
    }

    #[test]
    fn long_values_lose_their_middle_and_say_how_much() {
        assert_eq!(shortened_to("größe", 5), "größe");
        assert_eq!(shortened_to("0123456789", 5), "012… 5 characters …89");
        let long = shortened(&"ä".repeat(1 << 20)).chars().count();
        assert!(long < MOST_CHARS + 40, "{long}");
    }

    #[test]
    fn addresses_are_shown_without_their_passwords() {
        for (text, shown) in [
            ("https://me:p@ss@host/x", "https://…@host/x"),
            (
                "at http://a@b:1 and https://c/d@e",
                "at http://…@b:1 and https://c/d@e",
            ),
            ("no address @ all", "no address @ all"),
            ("x://", "x://"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
