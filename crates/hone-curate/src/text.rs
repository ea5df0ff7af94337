//! Texts as comparison sees them: words without case, accents and punctuation.
//!
//! The one normaliser of duplicates and leaks, in the order of datatrove's `simplify_text`: lower case, numbers
//! to `0` where asked, punctuation to a space, white space to one space, NFD without its marks. It differs in
//! four points: every symbol counts as punctuation; what is invisible (`Cf`) is left out, so that it hides
//! nothing; letters and digits of full width are those of ASCII; and a letter of a script that does not part its
//! words is a word by itself.
//!
//! ```text
//! Words of "Café 3.50, s'il…"      kept: cafe 3.50 s il      as zero: cafe 0 s il
//! ```

use std::ops::Range;
use std::sync::LazyLock;

use regex_syntax::hir::{Class as HirClass, HirKind};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_canonical;

/// What becomes of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Numbers {
    /// `12` and `13` are two words: the only difference between two rows of arithmetic.
    Kept,
    /// All numbers are the word `0`, as in datatrove.
    Zero,
}

/// The words of a text, and where they stand in it.
#[derive(Debug, Default)]
pub struct Words {
    normal: String,
    words: Vec<Word>,
}

#[derive(Debug)]
struct Word {
    hash: u64,
    normal: Range<usize>,
    origin: Range<usize>,
}

impl Words {
    /// Reads a text.
    pub fn of(text: &str, numbers: Numbers) -> Self {
        let mut reader = Reader {
            text,
            at: 0,
            numbers,
            open: None,
            words: Self {
                normal: String::with_capacity(text.len()),
                words: Vec::with_capacity(text.len() / 5),
            },
        };
        while reader.at < text.len() {
            reader.step();
        }
        reader.close();
        reader.words
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// A word, normalised.
    pub fn word(&self, index: usize) -> &str {
        &self.normal[self.words[index].normal.clone()]
    }

    /// Where a stretch of words, not empty, stands in the text, in bytes.
    pub fn span(&self, words: Range<usize>) -> Range<usize> {
        self.words[words.start].origin.start..self.words[words.end - 1].origin.end
    }

    /// The hashes that the words would have with every number as the word `0`: what [`Words::of`] finds under
    /// [`Numbers::Zero`], without reading the text again.
    pub fn folded_hashes(&self) -> impl ExactSizeIterator<Item = u64> {
        (0..self.len()).map(|index| {
            let word = self.word(index);
            let has_number = match word.is_ascii() {
                true => word.bytes().any(|byte| byte.is_ascii_digit()),
                false => word.chars().any(|c| class(c) == Class::Digit),
            };
            match has_number {
                true => hash(Self::of(word, Numbers::Zero).word(0).as_bytes()),
                false => self.words[index].hash,
            }
        })
    }

    /// A hash of each word.
    pub fn hashes(&self) -> impl ExactSizeIterator<Item = u64> {
        self.words.iter().map(|word| word.hash)
    }
}

/// The text normalised: its words, one space between them.
pub fn normalise(text: &str, numbers: Numbers) -> String {
    let words = Words::of(text, numbers);
    let words: Vec<&str> = (0..words.len()).map(|index| words.word(index)).collect();
    words.join(" ")
}

/// The text but for case, white space and Unicode form: what differs otherwise may be the point of the row.
pub fn same_but_case(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        match word.is_ascii() {
            true => folded.extend(word.bytes().map(|byte| byte.to_ascii_lowercase() as char)),
            false => {
                let narrow = word.chars().map(narrow);
                folded.extend(narrow.flat_map(char::to_lowercase).nfc());
            }
        }
    }
    folded
}

/// The n-grams of a list of words, one hash for each, in order; none where there are fewer words than `n`.
pub fn ngrams(words: &[u64], n: usize) -> impl Iterator<Item = u64> + '_ {
    // Polynomials in an odd base: the next one is the last one times the base, without its first term.
    let leaving = (0..n).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let mut sum = 0_u64;
    words.iter().enumerate().filter_map(move |(index, &word)| {
        sum = sum.wrapping_mul(BASE).wrapping_add(word);
        if index >= n {
            sum = sum.wrapping_sub(words[index - n].wrapping_mul(leaving));
        }
        (index + 1 >= n).then(|| mix(sum))
    })
}

const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads every bit over all others, and back (the finaliser of SplitMix64).
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same on every machine; eight bytes at a time, since most words are no longer.
pub(crate) fn hash(word: &[u8]) -> u64 {
    word.chunks(8).fold(word.len() as u64, |hash, chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        mix(hash ^ u64::from_le_bytes(bytes)).wrapping_add(BASE)
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    numbers: Numbers,
    /// Where the word began, in the normal text and in the text.
    open: Option<(usize, usize)>,
    words: Words,
}

impl Reader<'_> {
    fn step(&mut self) {
        let byte = self.text.as_bytes()[self.at];
        match byte.is_ascii() {
            true => self.ascii(byte),
            false => self.beyond_ascii(),
        }
    }

    fn ascii(&mut self, byte: u8) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {
                self.open();
                self.words.normal.push(byte.to_ascii_lowercase() as char);
                self.at += 1;
            }
            b'0'..=b'9' => self.number(),
            _ => {
                self.close();
                self.at += 1;
            }
        }
    }

    fn beyond_ascii(&mut self) {
        let c = self.char_at(self.at).expect("within the text");
        match class(c) {
            Class::Digit => return self.number(),
            Class::Dropped => {}
            Class::Break => self.close(),
            Class::Letter => {
                self.open();
                self.push(c);
            }
            Class::Ideograph => {
                self.close();
                self.open();
                self.push(c);
                self.at += c.len_utf8();
                return self.close();
            }
        }
        self.at += c.len_utf8();
    }

    fn push(&mut self, c: char) {
        for c in narrow(c).to_lowercase() {
            decompose_canonical(c, |part| {
                if class(part) != Class::Dropped {
                    self.words.normal.push(part);
                }
            });
        }
    }

    /// Digits, and one decimal part.
    fn number(&mut self) {
        self.open();
        let whole = self.digits(self.at);
        let part = self.char_at(whole).filter(|c| SEPARATORS.contains(c));
        let end = part.map_or(whole, |separator| {
            match self.digits(whole + separator.len_utf8()) {
                end if end > whole + separator.len_utf8() => end,
                _ => whole,
            }
        });
        match self.numbers {
            Numbers::Kept => {
                let number = self.text[self.at..end].chars();
                let seen = number.filter(|&c| class(c) != Class::Dropped);
                self.words.normal.extend(seen.map(narrow));
            }
            Numbers::Zero => self.words.normal.push('0'),
        }
        self.at = end;
    }

    /// The end of the digits from here on, whatever invisible stands between them.
    fn digits(&self, from: usize) -> usize {
        if self.char_at(from).map(class) != Some(Class::Digit) {
            return from;
        }
        let rest = self.text[from..].chars();
        from + rest
            .take_while(|&c| matches!(class(c), Class::Digit | Class::Dropped))
            .map(char::len_utf8)
            .sum::<usize>()
    }

    fn char_at(&self, at: usize) -> Option<char> {
        self.text[at..].chars().next()
    }

    fn open(&mut self) {
        self.open.get_or_insert((self.words.normal.len(), self.at));
    }

    fn close(&mut self) {
        let Some((normal, origin)) = self.open.take() else {
            return;
        };
        let normal = normal..self.words.normal.len();
        // A letter may be nothing but its marks.
        if !normal.is_empty() {
            self.words.words.push(Word {
                hash: hash(&self.words.normal.as_bytes()[normal.clone()]),
                normal,
                origin: origin..self.at,
            });
        }
    }
}

/// The character of ASCII that one of full width stands for: East Asian texts have both.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(c) - 0xfee0).expect("printable ASCII is 0xfee0 below")
        }
        _ => c,
    }
}

/// Decimal separators, those of datatrove's pattern.
const SEPARATORS: [char; 7] = [
    '.', ',', '\u{60c}', '\u{66b}', '\u{2396}', '\u{2397}', '\u{2398}',
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Parts words: white space, punctuation, symbols, control characters.
    Break,
    /// Belongs to a word.
    Letter,
    /// Begins or continues a number.
    Digit,
    /// A word by itself.
    Ideograph,
    /// Neither seen nor heard: marks above and below letters, and what is invisible.
    Dropped,
}

/// What each character is; a megabyte, of which a text touches a few pages.
static CLASSES: LazyLock<Vec<Class>> = LazyLock::new(|| {
    let mut classes = vec![Class::Break; char::MAX as usize + 1];
    let kinds = [
        (r"[\p{L}\p{N}\p{M}]", Class::Letter),
        (
            r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}&&\p{L}]",
            Class::Ideograph,
        ),
        (r"\p{Nd}", Class::Digit),
        (r"[\p{Mn}\p{Cf}]", Class::Dropped),
    ];
    for (pattern, class) in kinds {
        for range in ranges(pattern) {
            classes[range].fill(class);
        }
    }
    classes
});

fn class(c: char) -> Class {
    CLASSES[c as usize]
}

fn ranges(pattern: &str) -> Vec<std::ops::RangeInclusive<usize>> {
    let parsed = regex_syntax::parse(pattern).expect("a class of characters");
    let HirKind::Class(HirClass::Unicode(class)) = parsed.into_kind() else {
        unreachable!("{pattern} is a class of characters beyond ASCII")
    };
    class
        .iter()
        .map(|range| range.start() as usize..=range.end() as usize)
        .collect()
}

/// Is this a letter of a script that does not part its words?
pub(crate) fn has_no_spaces(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{e7f}' | '\u{1100}'..='\u{11ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_normalised_as_by_datatrove() {
        // Left: a text; right: what `datatrove.utils.text.simplify_text` of version 0.10.1 makes of it.
        let cases = [
            (
                "The QUICK, brown fox -- jumps!",
                "the quick brown fox jumps",
            ),
            ("don't  stop\n\tme_now", "don t stop me now"),
            ("1|2|3 and 1.2.3 and 1,000.50", "0 0 0 and 0 0 and 0 0"),
            ("v2.5x, 2nd, ٣٫١٤", "v0x 0nd 0"),
            ("Crème brûlée à l’Élysée", "creme brulee a l elysee"),
            ("«ÅNGSTRÖM» … ﬁn", "angstrom ﬁn"),
            ("e\u{301}te\u{301}", "ete"),
            ("", ""),
            (" ,.; ", ""),
        ];
        for (text, normal) in cases {
            assert_eq!(normalise(text, Numbers::Zero), normal, "{text}");
        }
    }

    #[test]
    fn numbers_are_kept_where_asked() {
        assert_eq!(normalise("1|2|3 v2.5x", Numbers::Kept), "1 2 3 v2.5x");
        assert_eq!(normalise("7. 8", Numbers::Kept), "7 8");
    }

    #[test]
    fn invisible_characters_hide_nothing_and_scripts_without_spaces_have_words() {
        assert_eq!(
            normalise("conta\u{200b}mi\u{ad}nated", Numbers::Zero),
            "contaminated"
        );
        assert_eq!(normalise("1\u{200b}2", Numbers::Zero), "0");
        assert_eq!(normalise("漢字かな ok", Numbers::Zero), "漢 字 か な ok");
    }

    #[test]
    fn letters_and_digits_of_full_width_are_those_of_ascii() {
        let (wide, narrow) = ("Ｗｈｙ　ｉｓ　７　＞　６？", "why is 7 > 6?");
        assert_eq!(normalise(wide, Numbers::Kept), "why is 7 6");
        assert_eq!(same_but_case(wide), same_but_case(narrow));
        let hashes = |text| Words::of(text, Numbers::Kept).hashes().collect::<Vec<_>>();
        assert_eq!(hashes(wide), hashes(narrow));
    }

    #[test]
    fn a_word_knows_where_it_stands() {
        let text = "«Ünder 3.50 €» 漢字";
        let words = Words::of(text, Numbers::Zero);
        let stand: Vec<&str> = (0..words.len())
            .map(|index| &text[words.span(index..index + 1)])
            .collect();
        assert_eq!(stand, ["Ünder", "3.50", "漢", "字"]);
        assert_eq!(&text[words.span(0..2)], "Ünder 3.50");
    }

    #[test]
    fn only_case_white_space_and_form_are_folded_away() {
        assert_eq!(same_but_case(" A +\n b"), same_but_case("a + B"));
        assert_eq!(
            same_but_case("E\u{301}t\u{e9}"),
            same_but_case("\u{e9}te\u{301}")
        );
        assert_ne!(same_but_case("a + b"), same_but_case("a - b"));
        assert_ne!(same_but_case("ano"), same_but_case("año"));
    }

    #[test]
    fn the_nth_gram_depends_on_its_own_words_alone() {
        let words: Vec<u64> = (0..40).map(|word| mix(word % 7)).collect();
        let rolled: Vec<u64> = ngrams(&words, 5).collect();
        let alone: Vec<u64> = words
            .windows(5)
            .map(|window| ngrams(window, 5).next().unwrap())
            .collect();
        assert_eq!(rolled, alone);
        assert_eq!(rolled[0], rolled[7]);
        assert_ne!(rolled[0], rolled[1]);
        assert_eq!(ngrams(&words[..4], 5).count(), 0);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text: String) {
            let once = normalise(&text, Numbers::Zero);
            prop_assert_eq!(normalise(&once, Numbers::Zero), once);
        }

        #[test]
        fn folding_afterwards_is_reading_with_numbers_folded(text in r"([0-9٣]{0,3}[.,٫ a-zé²\u{200b}\u{301}]{0,3}){0,8}|\PC*") {
            let folded: Vec<u64> = Words::of(&text, Numbers::Kept).folded_hashes().collect();
            let read: Vec<u64> = Words::of(&text, Numbers::Zero).hashes().collect();
            prop_assert_eq!(folded, read);
        }

        #[test]
        fn spans_are_in_order_and_whole_characters(text: String) {
            let words = Words::of(&text, Numbers::Kept);
            let mut end = 0;
            for index in 0..words.len() {
                let span = words.span(index..index + 1);
                prop_assert!(end <= span.start && span.start < span.end);
                prop_assert!(text.get(span.clone()).is_some());
                end = span.end;
            }
        }

        #[test]
        fn equal_words_have_equal_hashes_and_others_do_not(a in "[ab]{1,20}", b in "[ab]{1,20}") {
            let hash = |text: &str| Words::of(text, Numbers::Kept).hashes().next().unwrap();
            prop_assert_eq!(hash(&a) == hash(&b), a == b);
        }
    }
}
