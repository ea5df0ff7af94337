//! What two rows that are alike do not share, and whether it makes two rows of them.
//!
//! A copy differs in case, punctuation, a typing error, the order of its sentences, or a word for which another one
//! stands. A row of its own may differ in as little: "is allergic" and "is not allergic", invoice 12 and invoice 13.
//! So the words that differ are looked at one by one. Numbers, negations, names, labels and what stands in code or
//! quotes make two rows; so does a stretch of other words, which is another input, and a word in a place where many
//! rows have a word of their own, which is the blank of a template. What many rows share counts for nothing:
//! [`Asked`] knows it by the number of rows that have it.

mod excluding;
mod hunks;
mod kinds;

use std::ops::Range;

use hone_data::{Part, Record};
use hone_text::Role;

use crate::boilerplate::Asked;
use crate::text::{Numbers, Words, mix};
use hunks::{Hunk, blank, cancel_moves, hunks, is_typing_error, stands_elsewhere, tells_apart};
use kinds::{TURNING, is_symbol};

pub(super) use kinds::is_turning;

pub(crate) use kinds::{NAME, NEGATION, NUMBER, ends_sentence, kind_of};

/// The words of a row, what is asked apart from what is answered.
#[derive(Debug)]
pub(super) struct Wording {
    asked: Half,
    supervised: Half,
}

/// One half of a row. There is one of each row that may be a copy, so it takes no more room than it needs.
#[derive(Debug)]
struct Half {
    /// A hash of each word.
    words: Box<[u64]>,
    /// What each word is.
    kinds: Box<[u8]>,
    /// Where each word ends in `normal`.
    ends: Box<[u32]>,
    /// The words themselves, one behind the other.
    normal: Box<str>,
    /// Where each sentence ends, in words.
    sentences: Box<[u32]>,
    /// A hash of the operators and symbols, whatever their order.
    symbols: u64,
    /// The beginnings of the words' hashes, in order.
    sorted: Box<[u32]>,
    /// A hash of the numbers and negations, whatever their order.
    turning: u64,
}

/// A half while it is read.
#[derive(Default)]
struct Reader {
    words: Vec<u64>,
    kinds: Vec<u8>,
    ends: Vec<u32>,
    normal: String,
    sentences: Vec<u32>,
    symbols: u64,
}

/// What two halves that may be copies have in common.
struct Compared {
    /// How alike they are, 0 to 1.
    likeness: f64,
    /// Words of this half that the other has not.
    changed: Vec<usize>,
    /// Words in the place of others.
    replaced: usize,
    /// What differs.
    hunks: Vec<Hunk>,
}

/// What differs where many rows have a word of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blank {
    /// Nothing differs there.
    None,
    /// A word that no other row has there.
    Own,
    /// Two words of which other rows have the same there: answers to choose from.
    Label,
}

/// Words of a half up to which it is a label: another word is another answer.
const LABEL: usize = 4;
/// Words of its own that a row has in common with another one for each that differs, from which on chance is no reason.
const FAR_MORE: usize = 16;
/// Words that few rows have, from which on what is asked is a question and no template.
const QUESTION: usize = 4;

/// The words of a row alone, which tell what it may share with others.
pub(super) struct Halves {
    asked: Vec<u64>,
    supervised: Vec<u64>,
}

impl Halves {
    pub fn of(record: &Record, numbers: Numbers) -> Self {
        let (mut asked, mut supervised) = (Vec::new(), Vec::new());
        for part in compared(record) {
            let words = Words::of(part.text, numbers);
            match part.is_supervised() {
                true => supervised.extend(words.hashes()),
                false => asked.extend(words.hashes()),
            }
        }
        Self { asked, supervised }
    }

    /// The same as [`Wording::features`].
    pub fn features(&self) -> impl Iterator<Item = u64> + '_ {
        features(&self.asked).chain(features(&self.supervised))
    }
}

/// What of a row is compared: all but system turns.
pub(super) fn compared(record: &Record) -> impl Iterator<Item = Part<'_>> {
    record
        .parts()
        .filter(|part| part.role != Some(Role::System))
}

/// May two halves of so many words be halves of copies?
pub(super) fn are_of_one_length(words: usize, others: usize) -> bool {
    4 * words.min(others) + 4 >= 3 * words.max(others)
}

/// Words that halves of this many at most may have apart if their rows are copies; one of few words may be a typing error.
pub(super) fn most_apart(most: usize) -> usize {
    (most + 12) / 6
}

impl Wording {
    pub fn of(record: &Record, numbers: Numbers) -> Self {
        let (mut asked, mut supervised) = (Reader::default(), Reader::default());
        for part in compared(record) {
            match part.is_supervised() {
                true => supervised.read(&part, numbers),
                false => asked.read(&part, numbers),
            }
        }
        Self {
            asked: asked.finish(),
            supervised: supervised.finish(),
        }
    }

    /// What the row may share with others, for [`Asked`].
    pub fn features(&self) -> impl Iterator<Item = u64> + '_ {
        features(&self.asked.words).chain(features(&self.supervised.words))
    }

    /// How alike two rows are if one is a copy of the other, 0 to 1; `None` if they are two rows. `strictness` is the
    /// least number of shared words for each word that is not. Without `boilerplate` they are copies if it could make them so:
    /// most pairs are told apart without it.
    pub fn copy_of(
        &self,
        other: &Self,
        boilerplate: Option<&Asked>,
        strictness: f64,
    ) -> Option<f64> {
        // A label, or no more than a yes: what is asked is all there is to tell such rows apart.
        let is_labelled = self.asked.len() > 0 && self.supervised.len() <= LABEL;
        let strictness_asked = if is_labelled {
            f64::INFINITY
        } else {
            strictness
        };
        let asked = self
            .asked
            .compare(&other.asked, boilerplate, (strictness_asked, true))?;
        let own_asked = self.asked.own(&asked.changed, boilerplate);
        // To the same question, which few rows ask, an answer is a copy of another one however much it owes to a template.
        let is_same_question = asked.changed.is_empty() && own_asked >= QUESTION;
        let strictness_supervised = (strictness, !is_same_question);
        let supervised =
            self.supervised
                .compare(&other.supervised, boilerplate, strictness_supervised)?;
        let blank_supervised = self
            .supervised
            .blank(&other.supervised, &supervised, boilerplate);
        let is_synonym = is_same_question && blank_supervised != Blank::Label;
        // Two rows of one template may have much in common by chance, but not that much.
        let blank_asked = self.asked.blank(&other.asked, &asked, boilerplate);
        if blank_asked.max(blank_supervised) != Blank::None && !is_synonym {
            let own = own_asked + self.supervised.own(&supervised.changed, boilerplate);
            if own < FAR_MORE * (asked.replaced + supervised.replaced) {
                return None;
            }
        }
        Some(asked.likeness.min(supervised.likeness))
    }
}

impl Reader {
    fn read(&mut self, part: &Part<'_>, numbers: Numbers) {
        let words = Words::of(part.text, numbers);
        self.words.reserve(words.len());
        self.kinds.reserve(words.len());
        self.ends.reserve(words.len());
        let (text, first) = (part.text, self.words.len());
        let mut end = 0;
        let mut begins = true;
        for (index, hash) in words.hashes().enumerate() {
            let span = words.span(index..index + 1);
            let gap = &text[end..span.start];
            // `1.` begins an item of a list; whatever follows belongs to it.
            let is_item =
                self.kinds.last().is_some_and(|kind| kind & NUMBER != 0) && !gap.contains('\n');
            if index > 0 && ends_sentence(gap) && !is_item {
                self.sentences.push((first + index) as u32);
                begins = true;
            }
            let word = words.word(index);
            let kind = kind_of((word, hash), text, &span, begins, numbers);
            self.note_symbols(gap, kind, word, hash);
            self.words.push(hash);
            self.kinds.push(kind);
            self.normal.push_str(word);
            self.ends.push(self.normal.len() as u32);
            begins = false;
            end = span.end;
        }
        self.note_symbols(&text[end..], 0, "", 0);
        if self.words.len() > first {
            self.sentences.push(self.words.len() as u32);
        }
    }

    /// Operators and symbols, with the number or letter they stand before.
    fn note_symbols(&mut self, gap: &str, next_kind: u8, next: &str, next_hash: u64) {
        let is_operand = |kind: u8, word: &str| kind & NUMBER != 0 || word.chars().nth(1).is_none();
        let last = self.words.len().checked_sub(1);
        let follows = last.is_some_and(|last| is_operand(self.kinds[last], self.word(last)));
        let stands_before = !next.is_empty() && is_operand(next_kind, next);
        for c in gap.chars().filter(|c| !c.is_whitespace()) {
            let counts = match c {
                '-' | '*' | '\u{2212}' => {
                    stands_before && (follows || next_kind & NUMBER != 0 && gap.ends_with(c))
                }
                _ => is_symbol(c),
            };
            if counts {
                let of = if stands_before { next_hash } else { 0 };
                self.symbols = self.symbols.wrapping_add(mix(u64::from(u32::from(c)) ^ of));
            }
        }
    }

    fn word(&self, index: usize) -> &str {
        word(&self.normal, &self.ends, index)
    }

    fn finish(self) -> Half {
        let words = self.words.iter().zip(&self.kinds);
        let turning = words.filter(|(_, kind)| *kind & TURNING != 0);
        let turning = turning.fold(0_u64, |sum, (word, _)| sum.wrapping_add(mix(*word)));
        let mut sorted: Box<[u32]> = self.words.iter().map(|word| (word >> 32) as u32).collect();
        sorted.sort_unstable();
        Half {
            words: self.words.into(),
            kinds: self.kinds.into(),
            ends: self.ends.into(),
            normal: self.normal.into(),
            sentences: self.sentences.into(),
            symbols: self.symbols,
            sorted,
            turning,
        }
    }
}

fn word<'a>(normal: &'a str, ends: &[u32], index: usize) -> &'a str {
    let before = index.checked_sub(1);
    let start = before.map_or(0, |before| ends[before] as usize);
    &normal[start..ends[index] as usize]
}

impl Half {
    fn len(&self) -> usize {
        self.words.len()
    }

    fn word(&self, index: usize) -> &str {
        word(&self.normal, &self.ends, index)
    }

    fn alone(&self, index: usize) -> u64 {
        alone(&self.words, index)
    }

    fn run(&self, index: usize) -> u64 {
        run(&self.words, index)
    }

    fn blanks(&self, index: usize) -> [u64; 2] {
        blanks(&self.words, index)
    }

    /// The same places with the word in them.
    fn filled(&self, index: usize) -> [u64; 2] {
        let index = index as isize;
        [four(&self.words, index - 2), four(&self.words, index - 1)]
    }

    /// Words that neither many rows share nor are among `changed`, which are in order.
    fn own(&self, changed: &[usize], boilerplate: Option<&Asked>) -> usize {
        let Some(boilerplate) = boilerplate else {
            return self.len() - changed.len();
        };
        // A word is boilerplate if one of the three runs is that it stands in.
        let (mut own, mut common_until, mut changed) = (0, 0, changed.iter().peekable());
        for index in 0..self.len() {
            if boilerplate.has(self.run(index)) {
                common_until = index + 3;
            }
            let is_changed = changed.next_if(|next| **next == index).is_some();
            own += usize::from(index >= common_until && !is_changed);
        }
        own
    }

    /// What needs no look at single words.
    fn may_be_copy_of(&self, other: &Self) -> bool {
        if self.turning != other.turning || self.symbols != other.symbols {
            return false;
        }
        let most = self.len().max(other.len());
        are_of_one_length(self.len(), other.len())
            && most - common(&self.sorted, &other.sorted) <= most_apart(most)
    }

    /// What the halves of two rows have in common; `None` where something in them makes two rows. Of the words in common those
    /// that many rows share count only where not `only_own` ones do.
    fn compare(
        &self,
        other: &Self,
        boilerplate: Option<&Asked>,
        (strictness, only_own): (f64, bool),
    ) -> Option<Compared> {
        if !self.may_be_copy_of(other) {
            return None;
        }
        let most = self.len().max(other.len());
        let same = || Compared {
            likeness: 1.0,
            changed: Vec::new(),
            replaced: 0,
            hunks: Vec::new(),
        };
        if self.words == other.words {
            return Some(same());
        }
        let (mine, theirs) = self.unmatched(other);
        let mut hunks = hunks(self, &mine, other, &theirs)?;
        cancel_moves(self, other, &mut hunks);
        hunks.retain(|hunk| !is_typing_error(self, other, hunk, boilerplate));
        if hunks.is_empty() {
            return Some(same());
        }
        if self.len().min(other.len()) <= LABEL {
            return None;
        }
        if hunks.iter().any(|hunk| tells_apart(self, other, hunk))
            || stands_elsewhere(self, other, &hunks)
        {
            return None;
        }
        let (mut replaced, mut added) = (0, 0);
        for hunk in &hunks {
            let (left, right) = (hunk.left.len(), hunk.right.len());
            match left.min(right) {
                0 => added += left + right,
                _ => replaced += left.max(right),
            }
        }
        // A copy has one word replaced; two of them weigh more than twice as much.
        let cost = match (replaced, added) {
            (1, 0) => 1,
            _ => 2 * replaced + added,
        };
        let needed = strictness * cost as f64;
        let mut changed: Vec<usize> = hunks.iter().flat_map(|hunk| hunk.left.clone()).collect();
        changed.sort_unstable();
        let common = boilerplate.filter(|_| only_own);
        if needed > self.len() as f64 || (self.own(&changed, common) as f64) < needed {
            return None;
        }
        let differing = replaced + added;
        Some(Compared {
            likeness: (most - differing.min(most)) as f64 / most as f64,
            changed,
            replaced,
            hunks,
        })
    }

    /// What differs from another half, as they were compared, where many rows have a word of their own.
    fn blank(&self, other: &Self, compared: &Compared, boilerplate: Option<&Asked>) -> Blank {
        let hunks = compared.hunks.iter();
        let blanks = hunks.map(|hunk| blank(self, other, hunk, boilerplate));
        blanks.max().unwrap_or(Blank::None)
    }

    /// The words of each that are not in a sentence that both have.
    fn unmatched(&self, other: &Self) -> (Vec<usize>, Vec<usize>) {
        let (mine, theirs) = (self.spans(), other.spans());
        if mine.len() < 2 && theirs.len() < 2 {
            return ((0..self.len()).collect(), (0..other.len()).collect());
        }
        let mut taken = vec![false; theirs.len()];
        let mut left = Vec::new();
        for span in mine {
            let same = theirs.iter().enumerate().position(|(at, their)| {
                !taken[at] && other.words[their.clone()] == self.words[span.clone()]
            });
            match same {
                Some(at) => taken[at] = true,
                None => left.extend(span),
            }
        }
        let rest = theirs.into_iter().zip(taken).filter(|(_, taken)| !taken);
        (left, rest.flat_map(|(span, _)| span).collect())
    }

    fn spans(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let span = |&end: &u32| {
            let span = start..end as usize;
            start = end as usize;
            span
        };
        self.sentences.iter().map(span).collect()
    }
}
/// How many words two sorted lists share.
fn common(a: &[u32], b: &[u32]) -> usize {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, common) = (i + 1, j + 1, common + 1),
        }
    }
    common
}

/// What a half of these words may share with others.
fn features(words: &[u64]) -> impl Iterator<Item = u64> + '_ {
    // Around `n` words there are `n + 1` places for four in a row.
    let fours = (0..=words.len()).filter(|_| !words.is_empty());
    let fours = fours.map(|end| four(words, end as isize - 2));
    let others = (0..words.len()).flat_map(|index| {
        let [left, right] = blanks(words, index);
        [alone(words, index), run(words, index), left, right]
    });
    others.chain(fours)
}

/// The word at a place, or what stands for the edge of the text.
fn at(words: &[u64], index: isize) -> u64 {
    let word = usize::try_from(index).ok().and_then(|at| words.get(at));
    word.copied().unwrap_or(EDGE)
}

/// The word, wherever it stands.
fn alone(words: &[u64], index: usize) -> u64 {
    words[index] ^ ALONE
}

/// Three words from here on.
fn run(words: &[u64], index: usize) -> u64 {
    let at = |offset| at(words, index as isize + offset);
    hash_of(RUN, [at(0), at(1), at(2), 0])
}

/// What stands around a word, without it: two before and one behind, and one before and two behind.
fn blanks(words: &[u64], index: usize) -> [u64; 2] {
    let at = |offset| at(words, index as isize + offset);
    [
        hash_of(BLANK, [at(-2), at(-1), at(1), 0]),
        hash_of(BLANK ^ 1, [at(-1), at(1), at(2), 0]),
    ]
}

/// Four words from a place on, which may stand before the first.
fn four(words: &[u64], from: isize) -> u64 {
    let at = |offset| at(words, from + offset);
    hash_of(FOUR, [at(0), at(1), at(2), at(3)])
}

const EDGE: u64 = 0x6564_6765_5f5f_5f5f;
const ALONE: u64 = 0x616c_6f6e_655f_5f5f;
const RUN: u64 = 0x7275_6e5f_5f5f_5f5f;
const BLANK: u64 = 0x626c_616e_6b5f_5f5f;
const FOUR: u64 = 0x666f_7572_5f5f_5f5f;

/// A hash of words in order.
fn hash_of(of: u64, words: [u64; 4]) -> u64 {
    const FACTORS: [u64; 4] = [
        0x9e37_79b9_7f4a_7c15,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0xd6e8_feb8_6659_fd93,
    ];
    let products = words
        .iter()
        .zip(FACTORS)
        .map(|(word, by)| word.wrapping_mul(by));
    mix(products.fold(of, u64::wrapping_add))
}

#[cfg(test)]
mod tests {
    use super::super::planted::{chat, text};
    use super::*;

    /// How alike two rows are, where all others are given too.
    fn among(rows: &[Record]) -> Asked {
        let of = |row| Wording::of(row, Numbers::Kept);
        let wordings: Vec<Wording> = rows.iter().map(of).collect();
        let asked = Asked::about(wordings.iter().flat_map(Wording::features), 3);
        wordings
            .iter()
            .for_each(|row| asked.add_row(row.features()));
        asked
    }

    fn is_copy(a: &Record, b: &Record) -> bool {
        let boilerplate = among(&[a.clone(), b.clone()]);
        let of = |row| Wording::of(row, Numbers::Kept);
        of(a).copy_of(&of(b), Some(&boilerplate), 4.0).is_some()
    }

    const TEXT: &str = "The ferry leaves the old harbour shortly after the fishermen return. It carries parcels for the \
                        islands and a few passengers who know the captain.";

    #[test]
    fn case_punctuation_typing_errors_order_of_sentences_and_a_synonym_make_no_other_row() {
        for copy in [
            TEXT.to_uppercase(),
            TEXT.replace('.', "!").replace("harbour", "harbour,"),
            TEXT.replace("fishermen", "fishremen"),
            TEXT.replace("the old", "teh old"),
            TEXT.replace("passengers who", "passengerswho"),
            TEXT.replace("parcels", "packages"),
            "It carries parcels for the islands and a few passengers who know the captain. The ferry leaves the old harbour \
             shortly after the fishermen return."
                .to_owned(),
        ] {
            assert!(is_copy(&text(TEXT), &text(&copy)), "{copy}");
            let (row, same) = (chat(TEXT, "So it is, I think."), chat(&copy, "so it is i think"));
            assert!(is_copy(&row, &same), "{copy}");
        }
    }

    #[test]
    fn numbers_negations_names_labels_and_operators_make_another_row() {
        for (a, b) in [
            (
                "The patient in the second ward is allergic to nuts and milk.",
                "The patient in the second ward is not allergic to nuts and milk.",
            ),
            (
                "Please pay the invoice for the garden chairs, it is 40 euros in all.",
                "Please pay the invoice for the garden chairs, it is 41 euros in all.",
            ),
            (
                "Please pay the invoice for three garden chairs before the month ends.",
                "Please pay the invoice for seven garden chairs before the month ends.",
            ),
            (
                "Thank you for the talk last week, dear Anna, it was a pleasure.",
                "Thank you for the talk last week, dear Berta, it was a pleasure.",
            ),
            (
                "Work out what a + b makes when a and b are both small and round.",
                "Work out what a - b makes when a and b are both small and round.",
            ),
            (
                "Set the variable region to `north` and restart the whole service now.",
                "Set the variable region to `south` and restart the whole service now.",
            ),
            (
                "A long message from the gardener to the neighbour about the hedge.",
                "A long message from the neighbour to the gardener about the hedge.",
            ),
            (
                "Read the message with care and decide. Message: the spade broke at once",
                "Read the message with care and decide. Message: all good so far",
            ),
            (
                "The man gave the woman a book that he had liked very much.",
                "The man gave the woman a book that she had liked very much.",
            ),
        ] {
            assert!(!is_copy(&text(a), &text(b)), "{a} | {b}");
        }
        assert!(!is_copy(&chat(TEXT, "positive"), &chat(TEXT, "negative")));
        assert!(!is_copy(
            &chat(TEXT, "yes"),
            &chat(&TEXT.replace("parcels", "packages"), "yes")
        ));
        assert!(!is_copy(
            &chat(TEXT, "a red boat"),
            &chat(TEXT, "a red ship")
        ));
        assert!(!is_copy(
            &text("the atypical course of an illness that few have seen"),
            &text("the typical course of an illness that few have seen")
        ));
    }

    #[test]
    fn words_that_exclude_each_other_make_another_row_in_many_languages() {
        for (a, b) in [
            (
                "Give the child five mg of the syrup after each meal and once more in bed.",
                "Give the child five ml of the syrup after each meal and once more in bed.",
            ),
            (
                "The meeting with the new suppliers begins at 9 am in the small room upstairs.",
                "The meeting with the new suppliers begins at 9 pm in the small room upstairs.",
            ),
            (
                "Write a function to encode the message with the key that both of them know.",
                "Write a function to decode the message with the key that both of them know.",
            ),
            (
                "translate the next sentence to french and keep its tone as far as you can",
                "translate the next sentence to german and keep its tone as far as you can",
            ),
            (
                "The answer to the riddle that the miller asked at the gate is option (a).",
                "The answer to the riddle that the miller asked at the gate is option (b).",
            ),
            (
                "Der Antrag wurde von der Behörde am Montag genehmigt und liegt im Rathaus bereit.",
                "Der Antrag wurde von der Behörde am Montag abgelehnt und liegt im Rathaus bereit.",
            ),
            (
                "このお店では現金で支払うことができますので、入口の機械で切符を買ってください。",
                "このお店では現金で支払うことができませんので、入口の機械で切符を買ってください。",
            ),
            (
                "Bu ilacı yemekten sonra suyla birlikte içebilirsiniz, çocuklardan uzakta saklanır.",
                "Bu ilacı yemekten sonra suyla birlikte içemezsiniz, çocuklardan uzakta saklanır.",
            ),
            (
                "Pacient může po operaci jíst vše, co mu chutná, a chodit na krátké procházky.",
                "Pacient nemůže po operaci jíst vše, co mu chutná, a chodit na krátké procházky.",
            ),
            (
                "Most of the poor families in the valley kept a goat and sold the cheese.",
                "Most of the wealthy families in the valley kept a goat and sold the cheese.",
            ),
        ] {
            assert!(!is_copy(&text(a), &text(b)), "{a} | {b}");
        }
        // A typing error in such a word is one.
        let long =
            "The old engine is quiet at low speed, and the seats are comfortable on long roads.";
        assert!(is_copy(&text(long), &text(&long.replace("quiet", "qiuet"))));
    }

    #[test]
    fn a_synonym_in_the_answer_to_the_same_question_is_a_copy_and_a_label_in_a_sentence_is_not() {
        let questions = [
            "Why does crooked velvet matter to a patient gardener?",
            "Which drum beside the glacier annoys my neighbour most?",
            "How would bakers explain thunder to an otter?",
            "Tell me what copper coins were worth in spring.",
            "Can you describe how lanterns travel along canals?",
        ];
        let answer =
            |how: &str| format!("Nobody in the village believes that it {how} the battery.");
        let hows = ["admires", "repairs", "paints", "hides", "trims"];
        let mut rows: Vec<Record> = questions
            .iter()
            .zip(hows)
            .map(|(question, how)| chat(question, &answer(how)))
            .collect();
        rows.push(chat(questions[4], &answer("prunes")));
        // An answer that other rows have, too, is an answer to choose from.
        rows.push(chat(questions[4], &answer("hides")));
        rows.push(chat("Does velvet burn?", &answer("trims")));
        let asked = among(&rows);
        let copy = |a: usize, b: usize| {
            let of = |row| Wording::of(row, Numbers::Kept);
            let (a, b) = (of(&rows[a]), of(&rows[b]));
            a.copy_of(&b, Some(&asked), 4.0).is_some()
        };
        assert!(copy(4, 5));
        assert!(!copy(4, 6));
        assert!(!copy(0, 1));
    }

    #[test]
    fn a_word_where_many_rows_have_their_own_is_the_point_of_the_row() {
        let row = |what: &str| {
            text(&format!(
                "Write a short poem in which the {what} is sad because the summer is gone."
            ))
        };
        let rows: Vec<Record> = ["oak", "river", "lamp", "piano", "kettle"].map(row).into();
        let of = |row| Wording::of(row, Numbers::Kept);
        let (a, b) = (of(&rows[0]), of(&rows[1]));
        assert!(a.copy_of(&b, Some(&among(&rows)), 4.0).is_none());
        // Two rows alone may be copies with a synonym.
        assert!(a.copy_of(&b, Some(&among(&rows[..2])), 4.0).is_some());
        // A typing error among them is one.
        let wrong = row("kettel");
        let all: Vec<Record> = rows.iter().cloned().chain([wrong.clone()]).collect();
        assert!(
            of(&rows[4])
                .copy_of(&of(&wrong), Some(&among(&all)), 4.0)
                .is_some()
        );
    }
}
