//! Text as prose: its stretches outside code, and the sentences and words in a stretch.
//!
//! A type parameter is no HTML tag, and a loop no repetition: rules about language look only at what is
//! left when fenced blocks, inline code and lines that read like source are taken out. Stretches keep
//! their place in the text, so that a hit can be shown.

use std::ops::Range;

/// The longest run of prose without a line of code, and so on to the end; inline code splits a stretch.
pub fn stretches(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    let mut fence: Option<&str> = None;
    for line in lines(text) {
        let content = &text[line.clone()];
        let is_code = match (fence, fence_of(content)) {
            (Some(open), mark) => {
                if mark.is_some_and(|mark| mark.starts_with(open)) {
                    fence = None;
                }
                true
            }
            (None, Some(mark)) => {
                fence = Some(mark);
                true
            }
            (None, None) => is_source(content),
        };
        match (is_code, start) {
            (false, None) => start = Some(line.start),
            (true, Some(begin)) => {
                without_inline_code(text, begin..line.start, &mut found);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(begin) = start {
        without_inline_code(text, begin..text.len(), &mut found);
    }
    found
}

/// Is a fenced block opened and never closed?
pub fn has_open_fence(text: &str) -> bool {
    let mut fence: Option<&str> = None;
    for mark in text.lines().filter_map(fence_of) {
        match fence {
            None => fence = Some(mark),
            Some(open) if mark.starts_with(open) => fence = None,
            Some(_) => {}
        }
    }
    fence.is_some()
}

/// Lines with their end-of-line characters.
pub fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        start += line.len();
        start - line.len()..start
    })
}

/// Sentences of a stretch, trimmed; a line ends a sentence.
pub fn sentences(text: &str, stretch: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = stretch.start;
    std::iter::from_fn(move || {
        while at < stretch.end {
            let rest = &text[at..stretch.end];
            // Only this sentence is trimmed: what follows may be a megabyte of empty lines, each looked at in turn.
            let untrimmed = &rest[..sentence_length(rest)];
            let sentence = untrimmed.trim_start();
            let begin = at + (untrimmed.len() - sentence.len());
            at += untrimmed.len();
            let sentence = sentence.trim_end();
            if !sentence.is_empty() {
                return Some(begin..begin + sentence.len());
            }
        }
        None
    })
}

/// Words of a stretch: letters and digits, with the apostrophes between them.
pub fn words(text: &str, stretch: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = stretch.start;
    std::iter::from_fn(move || {
        let start = at + text[at..stretch.end].find(char::is_alphanumeric)?;
        let mut end = start;
        let mut chars = text[start..stretch.end].chars().peekable();
        while let Some(c) = chars.next() {
            let joins =
                matches!(c, '\'' | '’') && chars.peek().is_some_and(|c| c.is_alphanumeric());
            if !c.is_alphanumeric() && !joins {
                break;
            }
            end += c.len_utf8();
        }
        at = end;
        Some(start..end)
    })
}

/// All words outside code.
pub fn all_words(text: &str) -> impl Iterator<Item = &str> {
    stretches(text)
        .into_iter()
        .flat_map(move |stretch| words(text, stretch).map(move |word| &text[word]))
}

/// The characters of a line that open or close a fenced block.
fn fence_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mark = line.bytes().next().filter(|mark| b"`~".contains(mark))?;
    let length = line.bytes().take_while(|&byte| byte == mark).count();
    (length >= 3).then(|| &line[..length])
}

fn is_source(line: &str) -> bool {
    let content = line.trim();
    if content.is_empty() {
        return false;
    }
    let indented = line.starts_with("    ") || line.starts_with('\t');
    let last = content.as_bytes()[content.len() - 1];
    indented && !is_list_item(content)
        || matches!(last, b';' | b'{' | b'}')
        || ["//", "/*", "#[", "#!", ">>> ", "$ "]
            .iter()
            .any(|mark| content.starts_with(mark))
}

fn is_list_item(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    ["- ", "* ", "• ", "+ "]
        .iter()
        .any(|mark| line.starts_with(mark))
        || digits > 0
            && [". ", ") "]
                .iter()
                .any(|mark| line[digits..].starts_with(mark))
}

/// Adds the parts of a stretch between its pairs of backticks.
fn without_inline_code(text: &str, stretch: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut start = stretch.start;
    while let Some(open) = text[start..stretch.end]
        .find('`')
        .map(|offset| start + offset)
    {
        let ticks = text[open..stretch.end]
            .bytes()
            .take_while(|&byte| byte == b'`')
            .count();
        let inside = open + ticks;
        let Some(close) = text[inside..stretch.end].find(&text[open..inside]) else {
            break;
        };
        found.extend((start < open).then_some(start..open));
        start = inside + close + ticks;
    }
    found.extend((start < stretch.end).then_some(start..stretch.end));
}

/// Bytes up to and with the end of the first sentence.
fn sentence_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends = |at: usize| match bytes[at] {
        b'\n' => true,
        b'.' | b'!' | b'?' => bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace),
        _ => false,
    };
    (0..bytes.len())
        .find(|&at| ends(at))
        .map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside_code(text: &str) -> Vec<&str> {
        stretches(text)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn code_is_left_out_fenced_inline_and_bare() {
        assert_eq!(outside_code("a\n```rust\nb\n```\nc"), ["a\n", "c"]);
        assert_eq!(outside_code("a `b` c ``d`e`` f"), ["a ", " c ", " f"]);
        assert_eq!(
            outside_code("let x = 1;\nA line.\n    x()\n"),
            ["A line.\n"]
        );
        assert_eq!(outside_code("a lone ` tick"), ["a lone ` tick"]);
    }

    #[test]
    fn a_longer_fence_holds_a_shorter_one() {
        assert_eq!(outside_code("````\n```\n````\nend"), ["end"]);
        assert!(has_open_fence("````\n```\n"));
        assert!(!has_open_fence("````\n```\n````\n"));
    }

    #[test]
    fn sentences_end_at_marks_and_lines() {
        let text = "One. Two v1.5 is!\n\n - three\nfour";
        let found: Vec<_> = sentences(text, 0..text.len())
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, ["One.", "Two v1.5 is!", "- three", "four"]);
    }

    #[test]
    fn words_hold_letters_digits_and_inner_apostrophes() {
        assert_eq!(
            all_words("It's 'fine', naïve x2").collect::<Vec<_>>(),
            ["It's", "fine", "naïve", "x2"]
        );
    }
}
