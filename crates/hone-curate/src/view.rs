//! A text as the recognisers of personal data see it: in plain digits, blanks and hyphens, whoever wrote it.
//!
//! People write the same number with full-width or Arabic digits, with no-break blanks, curly quotes and hyphens that do
//! not break, and with invisible marks of direction between. A view folds all that to ASCII and knows the way back,
//! so that every rule has one form to look for and a hit still means the text as it was read. Letters stay as they are.

use std::borrow::Cow;
use std::ops::{Deref, Range};

use hone_data::{Place, Record};

/// One text of a row, folded.
#[derive(Debug)]
pub struct View<'a> {
    /// Which text.
    pub place: Place,
    origin: Cow<'a, str>,
    folded: Option<Folded>,
    counts: Counts,
}

#[derive(Debug)]
struct Folded {
    text: String,
    /// From each of these places on, folded and original text run side by side: folded, original.
    steps: Vec<(usize, usize)>,
}

impl<'a> View<'a> {
    /// A text at a place.
    pub fn new(place: Place, text: impl Into<Cow<'a, str>>) -> Self {
        let origin = text.into();
        let folded = fold(&origin);
        let counts = Counts::of(folded.as_ref().map_or(&*origin, |folded| &folded.text));
        Self {
            place,
            origin,
            folded,
            counts,
        }
    }

    /// All texts of a row, and what stands beside them and may say something about a person.
    pub fn all(record: &'a Record) -> Vec<Self> {
        let parts = record.parts().map(|part| View::new(part.place, part.text));
        let beside = record.beside().into_iter();
        let beside = beside.filter(|beside| may_tell(&beside.text));
        let beside = beside.map(|beside| View::new(beside.place, beside.text));
        parts.chain(beside).collect()
    }

    /// Does it stand beside the texts of its row?
    pub fn is_beside(&self) -> bool {
        use Place::{Detail, Group, Licence, Origin, Task, Tool};
        matches!(
            self.place,
            Task | Group | Origin | Licence | Detail(_) | Tool(_)
        )
    }

    /// The text as it was read.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many decimal digits it has.
    pub fn num_digits(&self) -> usize {
        self.counts.digits
    }

    /// The most digits that stand together, with at most two characters between two of them.
    pub fn num_digits_together(&self) -> usize {
        self.counts.together
    }

    /// The most ASCII letters and digits that stand in a row.
    pub fn longest_word(&self) -> usize {
        self.counts.longest_word
    }

    /// The same of those that have a digit.
    pub fn longest_code(&self) -> usize {
        self.counts.longest_code
    }

    /// The stretches of the view in which at least so many digits stand together, with the words that they are part of.
    pub fn around_digits(&self, least: usize) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.counts.together < least {
            return found;
        }
        let bytes = self.as_bytes();
        let (mut first, mut last, mut together) = (0, 0, 0);
        let mut close = |first: usize, last: usize, together: usize| {
            if together >= least {
                // A number may have letters before and after its digits, and a bracket around the last.
                let is_part = |byte: &u8| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b' ' | b'(')
                };
                let before = bytes[..first].iter().rev().take(MARGIN);
                let start = first - before.take_while(|byte| is_part(byte)).count();
                let after = bytes[last + 1..].iter().take(MARGIN);
                let end = last + 1 + after.take_while(|byte| is_part(byte)).count();
                match found.last_mut() {
                    Some(known) if known.end >= start => known.end = known.end.max(end),
                    _ => found.push(start..end),
                }
            }
        };
        for (at, _) in bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| byte.is_ascii_digit())
        {
            if together > 0 && at - last > 3 {
                close(first, last, together);
                together = 0;
            }
            if together == 0 {
                first = at;
            }
            (last, together) = (at, together + 1);
        }
        close(first, last, together);
        found
    }

    /// The stretch of the text as it was read that a stretch of the view stands for.
    pub fn back(&self, span: &Range<usize>) -> Range<usize> {
        match &self.folded {
            None => span.clone(),
            Some(folded) => {
                let start = folded.start(span.start);
                start..folded.end(span.end).max(start)
            }
        }
    }
}

impl Deref for View<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.folded {
            None => &self.origin,
            Some(folded) => &folded.text,
        }
    }
}

impl Folded {
    /// Where a stretch begins in the original: behind what is left out before it.
    fn start(&self, at: usize) -> usize {
        let step = self.steps.partition_point(|&(folded, _)| folded <= at) - 1;
        let (folded, original) = self.steps[step];
        original + (at - folded)
    }

    /// Where one ends: before what is left out behind it.
    fn end(&self, at: usize) -> usize {
        let step = self.steps.partition_point(|&(folded, _)| folded < at);
        match self.steps.get(step) {
            Some(&(folded, original)) if folded == at => original,
            _ => self.start(at),
        }
    }
}

/// How far around its digits a number's letters stand, in bytes.
const MARGIN: usize = 24;

/// A label of a word or two says nothing about a person; sparing it the rules spares most rows most of their time.
fn may_tell(text: &str) -> bool {
    let digits = text.chars().filter(|c| c.is_numeric()).take(4).count();
    digits == 4
        || text.len() >= 16 && !text.contains(' ')
        || text.contains(['@', ':', '＠', '['])
        || text.contains(" at ")
}

/// What a character is folded to; `None` leaves it as it is, an empty text leaves it out.
fn folded(c: char) -> Option<Option<u8>> {
    let digit = |zero: u32| Some(Some((u32::from(c) - zero) as u8 + b'0'));
    match c {
        '\u{ff01}'..='\u{ff5e}' => Some(Some((u32::from(c) - 0xff01) as u8 + b'!')),
        '\u{660}'..='\u{669}' => digit(0x660),
        '\u{6f0}'..='\u{6f9}' => digit(0x6f0),
        '\u{966}'..='\u{96f}' => digit(0x966),
        '\u{9e6}'..='\u{9ef}' => digit(0x9e6),
        '\u{e50}'..='\u{e59}' => digit(0xe50),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            Some(Some(b' '))
        }
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe63}' | '\u{fe58}' => Some(Some(b'-')),
        '\u{201c}'..='\u{201f}' | '«' | '»' => Some(Some(b'"')),
        '\u{2018}'..='\u{201b}' => Some(Some(b'\'')),
        '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => Some(None),
        _ => None,
    }
}

fn fold(text: &str) -> Option<Folded> {
    // The first bytes of what is folded; most texts have none of them.
    let may_fold = |&byte: &u8| matches!(byte, 0xc2 | 0xd9 | 0xdb | 0xe0 | 0xe2 | 0xe3 | 0xef);
    let first = text.as_bytes().iter().position(may_fold)?;
    let first = first
        + text[first..]
            .char_indices()
            .find(|(_, c)| folded(*c).is_some())?
            .0;
    let mut made = String::with_capacity(text.len());
    made.push_str(&text[..first]);
    let mut steps = vec![(0, 0)];
    for (at, c) in text[first..].char_indices() {
        match folded(c) {
            None => made.push(c),
            Some(byte) => {
                let at = first + at;
                steps.push((made.len(), at));
                made.extend(byte.map(char::from));
                steps.push((made.len(), at + c.len_utf8()));
            }
        }
    }
    Some(Folded { text: made, steps })
}

/// How many digits there are, and how many letters and digits stand in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    digits: usize,
    together: usize,
    longest_word: usize,
    longest_code: usize,
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self::default();
        let bytes = text.as_bytes();
        let (mut at, mut together, mut last_digit) = (0, 0, 0);
        while at < bytes.len() {
            if !IS_WORD[bytes[at] as usize] {
                at += 1;
                continue;
            }
            let (start, mut has_digit) = (at, false);
            while at < bytes.len() && IS_WORD[bytes[at] as usize] {
                if bytes[at].is_ascii_digit() {
                    has_digit = true;
                    counts.digits += 1;
                    together = if together > 0 && at - last_digit <= 3 {
                        together + 1
                    } else {
                        1
                    };
                    counts.together = counts.together.max(together);
                    last_digit = at;
                }
                at += 1;
            }
            counts.longest_word = counts.longest_word.max(at - start);
            if has_digit {
                counts.longest_code = counts.longest_code.max(at - start);
            }
        }
        counts
    }
}

/// Is a byte an ASCII letter or digit?
const IS_WORD: [bool; 256] = {
    let mut is_word = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        is_word[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    is_word
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn view(text: &str) -> View<'_> {
        View::new(Place::Text, text)
    }

    #[test]
    fn numbers_of_any_script_are_seen_in_plain_digits_and_lead_back() {
        let text = "Tel：＋４９\u{a0}151\u{2011}23 ٠١٢ “x” \u{200e}९";
        let seen = view(text);
        assert_eq!(&*seen, "Tel:+49 151-23 012 \"x\" 9");
        let at = seen.find("+49 151-23").unwrap();
        assert_eq!(
            &text[seen.back(&(at..at + 10))],
            "＋４９\u{a0}151\u{2011}23"
        );
        let at = seen.find("x").unwrap();
        assert_eq!(&text[seen.back(&(at..at + 1))], "x");
        assert_eq!(seen.num_digits(), 11);
    }

    #[test]
    fn a_text_without_such_characters_is_not_copied() {
        assert!(view("Käse für 3 €, ДА, 漢字").folded.is_none());
    }

    #[test]
    fn digits_stand_together_where_little_stands_between_them() {
        assert_eq!(view("a 12-34 (56) 7 b 8").num_digits_together(), 7);
        assert_eq!(view("1 and 2").num_digits_together(), 1);
    }

    proptest! {
        #[test]
        fn every_stretch_of_a_view_leads_back_to_whole_characters(text in "[a0\u{a0}１\u{200e}é漢“-]{0,20}") {
            let seen = view(&text);
            let bounds: Vec<usize> = seen.char_indices().map(|(at, _)| at).chain([seen.len()]).collect();
            for (index, &start) in bounds.iter().enumerate() {
                for &end in &bounds[index..] {
                    let span = seen.back(&(start..end));
                    prop_assert!(span.start <= span.end);
                    let told = text.get(span).expect("whole characters");
                    prop_assert_eq!(&*view(told), &seen[start..end]);
                }
            }
        }
    }
}
