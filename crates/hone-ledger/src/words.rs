//! Words of strangers, made safe for the place they are put in: one function for every place.
//!
//! Files, rows, models and servers choose their own words. On a terminal they could move the cursor or hide text, in a
//! command line they could be another command, in Markdown and YAML another document. What is quoted is also kept short.

use std::borrow::Cow;
use std::path::Path;

/// The most that is quoted of one value, in characters.
const MOST_CHARS: usize = 200;

/// Text for a terminal: what would end the line, steer the terminal, hide or turn text is written as an escape.
pub fn on_terminal(text: &str) -> Cow<'_, str> {
    escaped(text, is_unruly)
}

/// Text of several lines for a terminal, such as what a model says: line breaks and tabs stay.
pub fn lines_on_terminal(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_steering(c) && c != '\n' && c != '\t')
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

/// A value as a message quotes it: one short line that steers no terminal.
pub fn quoted(text: &str) -> String {
    quoted_to(text, MOST_CHARS)
}

/// The same with at most so many characters, for a list of values or a sentence that quotes some.
pub fn quoted_to(text: &str, most_chars: usize) -> String {
    // Twice: escapes are longer than what they stand for, and a text may be longer than memory should be spent on.
    shortened_to(&on_terminal(&shortened_to(text, most_chars)), most_chars).into_owned()
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

/// A word of a command line for a shell, quoted if it has to be.
///
/// Control characters are written in the form `$'…'`, which bash, zsh and ksh read.
pub fn for_shell(word: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    // A tilde or an option is only what it seems to be at the beginning.
    if !word.is_empty() && word.chars().all(is_bare) {
        return word.to_owned();
    }
    if word.contains(is_unruly) {
        let mut quoted = String::from("$'");
        for c in word.chars() {
            match c {
                '\'' | '\\' => quoted.extend(['\\', c]),
                c if is_unruly(c) => {
                    let mut bytes = [0; 4];
                    for byte in c.encode_utf8(&mut bytes).bytes() {
                        quoted.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                c => quoted.push(c),
            }
        }
        quoted.push('\'');
        return quoted;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A path of a command line for a shell.
pub fn path_for_shell(path: &Path) -> String {
    for_shell(&path.to_string_lossy())
}

/// Text inside a paragraph or a cell of Markdown, with nothing in it that Markdown or HTML would act on.
pub fn in_markdown(text: &str) -> String {
    let text = on_terminal(text);
    let mut safe = String::with_capacity(text.len() + 16);
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // Inside a word an underscore is one.
        let is_inner = |c: char| c.is_alphanumeric() || c == '_';
        let is_in_word = is_inner(before) && rest.peek().copied().is_some_and(is_inner);
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '_' if is_in_word => safe.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => safe.extend(['\\', c]),
            c => safe.push(c),
        }
        before = c;
    }
    // A scheme makes a link of its own.
    safe.replace("://", ":&#47;/").replace("www.", "www&#46;")
}

/// A piece of code inside a line of Markdown: as it is, between as many backticks as it takes.
pub fn in_markdown_code(text: &str) -> String {
    let text = on_terminal(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let room = match text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() {
        true => " ",
        false => "",
    };
    format!("{fence}{room}{text}{room}{fence}")
}

/// A value of YAML: a bare word, or a string in double quotes, which is also JSON.
pub fn in_yaml(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    // Words that YAML takes for something else than text.
    const KEYWORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_keyword = |word: &str| KEYWORDS.contains(&word);
    if begins && text.chars().all(is_bare) && !is_keyword(&text.to_ascii_lowercase()) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_unruly(c) => push_utf16(c, &mut quoted),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// JSON that holds the same texts and steers no terminal: outside of its strings there is nothing that could.
pub fn json_on_terminal(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unruly) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_unruly(c) {
            true => push_utf16(c, &mut safe),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn push_utf16(c: char, to: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        to.push_str(&format!("\\u{unit:04x}"));
    }
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
        assert_eq!(lines_on_terminal("a\n\tb\r\x1b"), "a\n\tb\\r\\u{1b}");
    }

    #[test]
    fn long_values_lose_their_middle_and_say_how_much() {
        assert_eq!(shortened_to("größe", 5), "größe");
        assert_eq!(shortened_to("0123456789", 5), "012… 5 characters …89");
        let long = quoted(&"\u{202e}".repeat(1 << 20)).chars().count();
        assert!(long < MOST_CHARS + 40, "{long}");
        let long = shortened(&"ä".repeat(1 << 20)).chars().count();
        assert!(long < MOST_CHARS + 40, "{long}");
    }

    #[test]
    fn a_shell_reads_the_word_that_was_meant() {
        for (word, quoted) in [
            ("a/b-1.json", "a/b-1.json"),
            ("", "''"),
            ("a b; rm -rf ~", "'a b; rm -rf ~'"),
            ("it's $(x)", r"'it'\''s $(x)'"),
            ("~/x", "'~/x'"),
            ("a\n'\x1b", r"$'a\x0a\'\x1b'"),
        ] {
            assert_eq!(for_shell(word), quoted);
        }
        #[cfg(unix)]
        for word in ["a\n'\\ b", "$(x)`y`", "\u{202e}ü\x1b", "'"] {
            let script = format!("printf %s {}", for_shell(word));
            let Ok(output) = std::process::Command::new("bash")
                .args(["-c", &script])
                .output()
            else {
                continue;
            };
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }

    #[test]
    fn markdown_acts_on_nothing_that_was_put_in() {
        assert_eq!(
            in_markdown("lora_a _b_ <img src=x>\n# [a](b) `c` | **d** https://e www.f &amp;"),
            r"lora_a \_b\_ &lt;img src=x&gt;\\n\# \[a\](b) \`c\` \| \*\*d\*\* https:&#47;/e www&#46;f &amp;amp;"
        );
        assert_eq!(in_markdown_code("a`b``c"), "```a`b``c```");
        assert_eq!(in_markdown_code("`"), "`` ` ``");
    }

    #[test]
    fn yaml_reads_back_what_was_put_in() {
        for text in [
            "a: b\n---\nc",
            "\"\\",
            "\u{1b}\u{202e}\u{e0041}",
            "- x",
            "",
            "null",
            "ä#",
        ] {
            let quoted = in_yaml(text);
            assert!(!quoted.contains(is_unruly), "{quoted}");
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
        for bare in ["apache-2.0", "owner/name", "llama3"] {
            assert_eq!(in_yaml(bare), bare);
        }
    }

    #[test]
    fn json_says_the_same_without_what_steers_a_terminal() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{202e}ü\u{e0041}\n", 1] });
        let json = serde_json::to_string(&value).unwrap();
        let safe = json_on_terminal(&json);
        assert!(!safe.contains(is_unruly), "{safe}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&safe).unwrap(),
            value
        );
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
