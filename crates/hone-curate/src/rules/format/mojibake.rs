//! Text that was read in the wrong encoding.

use std::ops::Range;

use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "mojibake",
    family: Family::Format,
    summary: "text was read in the wrong encoding",
    why: "The model learns to write `Ã©` for `é`, and `�` for what was lost for ever.",
    what: "U+FFFD, and runs of characters that are valid UTF-8 when taken back to the bytes of Windows-1252 or Latin-1: of two characters if they come out as Latin, Greek, Cyrillic, Hebrew or Arabic, of three and four whatever the script. What is good text by chance (`Ä“`, `é »`) comes alone; a text is hit from `least` of them on, or when one in twenty of its characters is one, or one in two hundred is one inside a word (`MÃ¼hle`). Text that was read in another encoding than these two is not found.",
    default: Action::Drop,
    params: &[Param {
        name: "least",
        what: "damaged characters from which a text counts as damaged; 3",
    }],
};

/// Windows-1252's characters for the bytes 0x80 to 0x9F; what it leaves open stands for itself, as browsers have it.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// See [`DOC`].
pub struct Mojibake {
    least: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let least = params.count("least", 3)?.max(1);
    Ok(Box::new(Mojibake { least }))
}

impl Rule for Mojibake {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts().filter(|part| !part.text.is_ascii()) {
            let damaged = damaged(part.text);
            let length = part.text.chars().count();
            let sure = damaged.iter().filter(|(span, _)| is_sure(part.text, span));
            let many = damaged.len() >= self.least
                || damaged.len() * 20 >= length
                    && !damaged
                        .iter()
                        .all(|(span, _)| ends_in_mark(part.text, span))
                || sure.count() * 200 >= length.max(1);
            if let Some((span, meant)) = damaged.first().filter(|_| many) {
                let kind = match *meant {
                    char::REPLACEMENT_CHARACTER => "lost".to_owned(),
                    meant => format!("read in the wrong encoding, the first for `{meant}`"),
                };
                let count = damaged.len();
                let s = if count == 1 { "" } else { "s" };
                hits.push(Hit::at(
                    part.place,
                    span.clone(),
                    format!("{count} character{s} {kind}"),
                ));
            }
        }
    }
}

/// Each damaged character: where, and what it was.
fn damaged(text: &str) -> Vec<(Range<usize>, char)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = text.as_bytes()[at..]
        .iter()
        .position(|byte| !byte.is_ascii())
    {
        at += offset;
        let (length, meant) = repaired(&text[at..]);
        if let Some(meant) = meant {
            found.push((at..at + length, meant));
        }
        at += length;
    }
    found
}

/// Bytes of the first character, or of all those that were one character once, and that one.
fn repaired(text: &str) -> (usize, Option<char>) {
    let mut bytes = [0; 4];
    let mut length = 0;
    let mut first = 0;
    for (filled, c) in text.chars().take(4).enumerate() {
        let Some(byte) = byte_of(c).filter(|byte| *byte >= 0x80) else {
            break;
        };
        bytes[filled] = byte;
        length += c.len_utf8();
        first = if filled == 0 { length } else { first };
        let whole = std::str::from_utf8(&bytes[..=filled])
            .ok()
            .and_then(|text| text.chars().next());
        if let Some(meant) = whole.filter(|meant| is_plausible(*meant, &text[..length])) {
            return (length, Some(meant));
        }
    }
    let c = text
        .chars()
        .next()
        .expect("called where a character starts");
    (
        first.max(c.len_utf8()),
        (c == char::REPLACEMENT_CHARACTER).then_some(c),
    )
}

fn byte_of(c: char) -> Option<u8> {
    match c {
        '\u{80}'..='\u{ff}' => Some(c as u8),
        _ => WINDOWS_1252
            .iter()
            .position(|&known| known == c)
            .map(|index| 0x80 + index as u8),
    }
}

/// Is it more likely that this is a character in the wrong encoding than that it is what was written?
///
/// Two characters are a capital letter with an accent and a sign, which good text has too, so only scripts
/// that are read in the wrong encoding often count. Three are a small letter and two signs: good text only
/// where both are blanks or marks (`é »`).
fn is_plausible(meant: char, garbled: &str) -> bool {
    match garbled.chars().count() {
        1 | 2 => matches!(meant,
            '\u{a0}'..='\u{17f}'
            | '\u{1a0}' | '\u{1a1}' | '\u{1af}' | '\u{1b0}' | '\u{218}'..='\u{21b}'
            | '\u{386}'..='\u{3ce}'
            | '\u{401}'..='\u{45f}' | '\u{490}' | '\u{491}'
            | '\u{5d0}'..='\u{5ea}'
            | '\u{60c}' | '\u{61b}' | '\u{61f}' | '\u{621}'..='\u{652}' | '\u{660}'..='\u{669}'
            | '\u{67e}' | '\u{686}' | '\u{698}' | '\u{6a9}' | '\u{6af}' | '\u{6cc}'),
        3 => !garbled.chars().skip(1).all(is_mark),
        _ => matches!(meant, '\u{1f000}'..='\u{1faff}' | '\u{20000}'..='\u{3ffff}'),
    }
}

/// Is a damaged character in the middle of a word, where good text has no capital or no sign?
fn is_sure(text: &str, span: &Range<usize>) -> bool {
    let before = text[..span.start].chars().next_back();
    let after = text[span.end..].chars().next();
    let starts_small = text[span.clone()].starts_with(char::is_lowercase);
    let in_word = before.is_some_and(char::is_lowercase) && !starts_small;
    let before_word = after.is_some_and(char::is_lowercase)
        && !text[span.clone()].ends_with(|c: char| is_mark(c) || c.is_alphabetic());
    text[span.clone()].chars().count() == 4 || in_word || before_word
}

/// A capital before a quotation mark is good text, however short.
fn ends_in_mark(text: &str, span: &Range<usize>) -> bool {
    text[span.clone()].ends_with(is_mark)
}

/// Blanks and marks that stand behind a letter in good text.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '\u{a0}'
            | '«'
            | '»'
            | '‹'
            | '›'
            | '„'
            | '‚'
            | '“'
            | '”'
            | '‘'
            | '’'
            | '–'
            | '—'
            | '…'
    )
}
