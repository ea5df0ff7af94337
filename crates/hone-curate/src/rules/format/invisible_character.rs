//! Characters that nobody sees.

use std::ops::Range;

use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "invisible-character",
    family: Family::Format,
    summary: "control, zero-width or direction characters stand in the text",
    why: "They split words into tokens that no reader would expect, carry watermarks, and can hide instructions: text in Unicode's tag characters is invisible to people and legible to models.",
    what: "C0 and C1 controls other than tab and line ends, soft hyphens, zero-width spaces, byte order marks, direction overrides and isolates, and tag characters. Zero-width joiners and variation selectors count only between Latin letters; emoji and several scripts are written with them. The flags of England, Scotland and Wales are the one good use of tags.",
    default: Action::Report,
    params: &[],
};

/// See [`DOC`].
pub struct InvisibleCharacter;

impl Rule for InvisibleCharacter {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts().filter(|part| may_hold_one(part.text)) {
            let found: Vec<Range<usize>> = invisible(part.text).collect();
            if let Some(first) = found.first() {
                let c = part.text[first.clone()]
                    .chars()
                    .next()
                    .expect("a span of one character");
                let message = match found.len() {
                    1 => format!("an invisible character: {}", name(c)),
                    count => format!("{count} invisible characters, the first {}", name(c)),
                };
                hits.push(Hit::at(part.place, first.clone(), message));
            }
        }
    }
}

fn may_hold_one(text: &str) -> bool {
    text.bytes()
        .any(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r') || byte >= 0x7f)
}

fn invisible(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut before = ' ';
    let mut in_flag = false;
    text.char_indices().filter_map(move |(at, c)| {
        in_flag = c == '🏴' || in_flag && is_tag(c);
        let end = at + c.len_utf8();
        let latin = |c: char| c.is_ascii_alphanumeric();
        let seen = match c {
            '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' => {
                latin(before) && text[end..].starts_with(latin)
            }
            '\t' | '\n' | '\r' => false,
            c if is_tag(c) => !in_flag,
            c => c.is_control() || is_zero_width(c),
        };
        before = c;
        seen.then_some(at..end)
    })
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0000}'..='\u{e007f}')
}

fn is_zero_width(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn name(c: char) -> String {
    let kind = match c {
        '\u{ad}' => "soft hyphen",
        '\u{200b}' => "zero-width space",
        '\u{200c}' | '\u{200d}' => "zero-width joiner",
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "direction override",
        '\u{feff}' => "byte order mark",
        c if is_tag(c) => "tag character",
        c if c.is_control() => "control character",
        _ => "zero-width character",
    };
    format!("U+{:04X}, {kind}", c as u32)
}
