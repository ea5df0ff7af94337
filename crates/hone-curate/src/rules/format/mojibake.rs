//! Text that was read in the wrong encoding.

use std::ops::Range;

use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "mojibake",
    family: Family::Format,
    summary: "text was read in the wrong encoding",
    why: "The model learns to write `Ã©` for `é`, and `�` for what was lost for ever.",
    what: "U+FFFD, and runs of characters that are valid UTF-8 when taken back to the bytes of Windows-1252 or Latin-1 and come out as a letter, a punctuation mark or an emoji. Pairs that are good text by chance (`Ä“`) come alone; a text is hit from `least` of them on, or when one in twenty of its characters is one.",
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
            let many = damaged.len() >= self.least
                || damaged.len() * 20 >= part.text.chars().count() && !damaged.is_empty();
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
        if let Some(meant) = whole.filter(|meant| is_plausible(*meant)) {
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

/// What European text, typography and chats are made of.
fn is_plausible(c: char) -> bool {
    matches!(c,
        '\u{a0}'..='\u{17f}'
        | '\u{391}'..='\u{3c9}'
        | '\u{410}'..='\u{44f}'
        | '\u{2010}'..='\u{2044}'
        | '\u{20ac}' | '\u{2122}' | '\u{2190}'..='\u{2193}' | '\u{2212}'
        | '\u{feff}' | '\u{fffd}'
        | '\u{1f300}'..='\u{1faff}')
}
