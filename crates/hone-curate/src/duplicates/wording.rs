//! What two rows that are alike do not share, and whether it makes two rows of them.
//!
//! A copy differs in case, punctuation, a typing error, the order of its sentences, or a word for which another one
//! stands. A row of its own may differ in as little: "is allergic" and "is not allergic", invoice 12 and invoice 13.
//! So the words that differ are looked at one by one. Numbers, negations, names, labels and what stands in code or
//! quotes make two rows; so does a stretch of other words, which is another input, and a word in a place where many
//! rows have a word of their own, which is the blank of a template. What many rows share counts for nothing:
//! [`Boilerplate`] knows it by the number of rows that have it.

use std::ops::Range;
use std::sync::LazyLock;

use std::collections::{HashMap, HashSet};

use hone_data::{Part, Record};
use hone_text::Role;

use crate::boilerplate::Boilerplate;
use crate::text::{Numbers, Words, mix};

/// The words of a row, what is asked apart from what is answered.
#[derive(Debug)]
pub(super) struct Wording {
    asked: Half,
    learnt: Half,
}

/// One half of a row.
#[derive(Debug, Default)]
struct Half {
    /// A hash of each word.
    words: Vec<u64>,
    /// What each word is.
    kinds: Vec<u8>,
    /// Where each word ends in `normal`.
    ends: Vec<u32>,
    /// The words themselves, one behind the other.
    normal: String,
    /// Where each sentence ends, in words.
    sentences: Vec<u32>,
    /// A hash of the operators and symbols, whatever their order.
    symbols: u64,
    /// The words in order of their hashes.
    sorted: Vec<u64>,
    /// A hash of the numbers and negations, whatever their order.
    turning: u64,
}

/// What two halves that may be copies have in common.
struct Compared {
    /// How alike they are, 0 to 1.
    likeness: f64,
    /// Words that both have and many rows have not.
    own: usize,
    /// Words in the place of others.
    replaced: usize,
    /// Does one stand where many rows have a word of their own?
    fills_a_blank: bool,
}

/// A number, or a word for one.
pub(crate) const NUMBER: u8 = 1;
/// A negation.
pub(crate) const NEGATION: u8 = 2;
/// A word whose opposite would read as well.
const CONTRAST: u8 = 16;
/// A capital letter where no sentence begins.
pub(crate) const NAME: u8 = 4;
/// In quotes, or part of code, a path or an address.
const LITERAL: u8 = 8;
/// Any of these makes two rows of two that differ in it.
const PROTECTS: u8 = NUMBER | NEGATION | LITERAL;

/// Words of a half up to which it is a label: another word is another answer.
const LABEL: usize = 4;
/// Words that are other ones in a row, from which on they are another input.
const INPUT: usize = 3;
/// Words from which on a stretch that stands elsewhere was moved.
const MOVED: usize = 2;
/// Words of its own that a row has in common with another one for each that differs, from which on chance is no reason.
const FAR_MORE: usize = 16;
/// The largest table of a comparison, in cells; what differs more is no copy.
const MOST_CELLS: usize = 1 << 13;

impl Wording {
    /// Features of a word.
    pub const FEATURES: usize = 6;

    pub fn of(record: &Record, numbers: Numbers) -> Self {
        let (mut asked, mut learnt) = (Half::default(), Half::default());
        for part in record
            .parts()
            .filter(|part| part.role != Some(Role::System))
        {
            match part.is_learnt() {
                true => learnt.read(&part, numbers),
                false => asked.read(&part, numbers),
            }
        }
        for half in [&mut asked, &mut learnt] {
            let words = half.words.iter().zip(&half.kinds);
            let turning = words.filter(|(_, kind)| *kind & (NUMBER | NEGATION) != 0);
            half.turning = turning.fold(0, |sum, (word, _)| sum.wrapping_add(mix(*word)));
            half.sorted = half.words.clone();
            half.sorted.sort_unstable();
        }
        Self { asked, learnt }
    }

    /// How many words it has.
    pub fn len(&self) -> usize {
        self.asked.len() + self.learnt.len()
    }

    /// What the row shares with others, for [`Boilerplate`]; each once.
    pub fn features(&self) -> Vec<u64> {
        let mut features: Vec<u64> = [&self.asked, &self.learnt]
            .into_iter()
            .flat_map(Half::features)
            .collect();
        features.sort_unstable();
        features.dedup();
        features
    }

    /// How alike two rows are if one is a copy of the other, 0 to 1; `None` if they are two rows. `strictness` is the
    /// least number of shared words for each word that is not.
    pub fn copy_of(&self, other: &Self, boilerplate: &Boilerplate, strictness: f64) -> Option<f64> {
        // A label, or no more than a yes: what is asked is all there is to tell such rows apart.
        let is_labelled = self.asked.len() > 0 && self.learnt.len() <= LABEL;
        let strictness_asked = if is_labelled {
            f64::INFINITY
        } else {
            strictness
        };
        let asked = self
            .asked
            .compare(&other.asked, boilerplate, strictness_asked)?;
        let learnt = self
            .learnt
            .compare(&other.learnt, boilerplate, strictness)?;
        // Two rows of one template may have much in common by chance, but not that much.
        let by_chance = asked.own + learnt.own < FAR_MORE * (asked.replaced + learnt.replaced);
        if by_chance && (asked.fills_a_blank || learnt.fills_a_blank) {
            return None;
        }
        Some(asked.likeness.min(learnt.likeness))
    }
}

impl Half {
    fn read(&mut self, part: &Part<'_>, numbers: Numbers) {
        let words = Words::of(part.text, numbers);
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
            let kind = kind_of(word, text, &span, begins, numbers);
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

    fn len(&self) -> usize {
        self.words.len()
    }

    fn word(&self, index: usize) -> &str {
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        &self.normal[start..self.ends[index] as usize]
    }

    /// The word at a distance, or what stands for the edge of the text.
    fn at(&self, index: usize, offset: isize) -> u64 {
        let at = index.checked_add_signed(offset);
        at.and_then(|at| self.words.get(at))
            .copied()
            .unwrap_or(EDGE)
    }

    fn features(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).flat_map(|index| {
            let [left, right] = self.blanks(index);
            [
                self.words[index] ^ ALONE,
                self.run(index),
                left,
                right,
                filled(left, self.words[index]),
                filled(right, self.words[index]),
            ]
        })
    }

    /// Three words from here on.
    fn run(&self, index: usize) -> u64 {
        hash_of([RUN, self.words[index], self.at(index, 1), self.at(index, 2)])
    }

    /// What stands around a word, without it: two before and one behind, and one before and two behind.
    fn blanks(&self, index: usize) -> [u64; 2] {
        let at = |offset| self.at(index, offset);
        [
            hash_of([BLANK, at(-2), at(-1), at(1)]),
            hash_of([BLANK ^ 1, at(-1), at(1), at(2)]),
        ]
    }

    /// Is the word part of what many rows share?
    fn is_boilerplate(&self, index: usize, boilerplate: &Boilerplate) -> bool {
        let from = index.saturating_sub(2);
        (from..=index).any(|at| boilerplate.has(self.run(at)))
    }

    /// What the halves of two rows have in common; `None` where something in them makes two rows.
    fn compare(
        &self,
        other: &Self,
        boilerplate: &Boilerplate,
        strictness: f64,
    ) -> Option<Compared> {
        if self.turning != other.turning || self.symbols != other.symbols {
            return None;
        }
        let most = self.len().max(other.len());
        if 4 * self.len().min(other.len()) + 4 < 3 * most {
            return None;
        }
        let common = common(&self.sorted, &other.sorted);
        // One of few words may be a typing error.
        if 6 * (most - common) > most + 12 {
            return None;
        }
        let same = || Compared {
            likeness: 1.0,
            own: self.own(&[], boilerplate),
            replaced: 0,
            fills_a_blank: false,
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
        let changed: Vec<usize> = hunks.iter().flat_map(|hunk| hunk.left.clone()).collect();
        let own = self.own(&changed, boilerplate);
        // A copy has one word replaced; two of them weigh more than twice as much.
        let cost = match (replaced, added) {
            (1, 0) => 1,
            _ => 2 * replaced + added,
        };
        let is_copy = own as f64 >= strictness * cost as f64;
        let differing = replaced + added;
        is_copy.then(|| Compared {
            likeness: (most - differing.min(most)) as f64 / most as f64,
            own,
            replaced,
            fills_a_blank: hunks
                .iter()
                .any(|hunk| fills_a_blank(self, other, hunk, boilerplate)),
        })
    }

    /// Words that neither many rows share nor are among `changed`.
    fn own(&self, changed: &[usize], boilerplate: &Boilerplate) -> usize {
        (0..self.len())
            .filter(|index| !changed.contains(index) && !self.is_boilerplate(*index, boilerplate))
            .count()
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

/// Words of one half in whose place the other has other words, or none.
#[derive(Debug)]
struct Hunk {
    left: Vec<usize>,
    right: Vec<usize>,
}

/// What differs between two lists of words, by their longest common subsequence; `None` if it is too much to be told.
fn hunks(a: &Half, mine: &[usize], b: &Half, theirs: &[usize]) -> Option<Vec<Hunk>> {
    let same = |i: usize, j: usize| a.words[mine[i]] == b.words[theirs[j]];
    let least = mine.len().min(theirs.len());
    let head = (0..least).take_while(|&at| same(at, at)).count();
    let tail = (0..least - head)
        .take_while(|at| same(mine.len() - 1 - at, theirs.len() - 1 - at))
        .count();
    let (rows, columns) = (mine.len() - head - tail, theirs.len() - head - tail);
    if rows * columns > MOST_CELLS {
        return None;
    }
    let width = columns + 1;
    let mut longest = vec![0_u32; (rows + 1) * width];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            longest[i * width + j] = match same(head + i, head + j) {
                true => longest[(i + 1) * width + j + 1] + 1,
                false => longest[(i + 1) * width + j].max(longest[i * width + j + 1]),
            };
        }
    }
    let mut hunks: Vec<Hunk> = Vec::new();
    let (mut i, mut j, mut is_open) = (0, 0, false);
    while i < rows || j < columns {
        if i < rows && j < columns && same(head + i, head + j) {
            (i, j, is_open) = (i + 1, j + 1, false);
            continue;
        }
        if !is_open {
            hunks.push(Hunk {
                left: Vec::new(),
                right: Vec::new(),
            });
            is_open = true;
        }
        let hunk = hunks.last_mut().expect("one is open");
        let takes_left =
            j == columns || i < rows && longest[(i + 1) * width + j] >= longest[i * width + j + 1];
        match takes_left {
            true => {
                hunk.left.push(mine[head + i]);
                i += 1;
            }
            false => {
                hunk.right.push(theirs[head + j]);
                j += 1;
            }
        }
    }
    Some(hunks)
}

/// Takes out stretches that stand in both, at another place.
fn cancel_moves(a: &Half, b: &Half, hunks: &mut Vec<Hunk>) {
    let said = |half: &Half, words: &[usize]| -> Vec<u64> {
        words.iter().map(|&at| half.words[at]).collect()
    };
    let mut at = 0;
    while at < hunks.len() {
        let left = said(a, &hunks[at].left);
        let there = (left.len() >= MOVED)
            .then(|| hunks.iter().position(|hunk| said(b, &hunk.right) == left))
            .flatten();
        match there {
            Some(there) => {
                hunks[at].left.clear();
                hunks[there].right.clear();
                at += 1;
            }
            None => at += 1,
        }
    }
    hunks.retain(|hunk| !hunk.left.is_empty() || !hunk.right.is_empty());
}

/// Do the same words stand at other places? "A pays B" and "B pays A" are two rows.
fn stands_elsewhere(a: &Half, b: &Half, hunks: &[Hunk]) -> bool {
    let left: HashSet<u64> = hunks
        .iter()
        .flat_map(|hunk| hunk.left.iter().map(|&at| a.words[at]))
        .collect();
    let mut right = hunks
        .iter()
        .flat_map(|hunk| hunk.right.iter().map(|&at| b.words[at]));
    right.any(|word| left.contains(&word))
}

/// Does what differs here make two rows?
fn tells_apart(a: &Half, b: &Half, hunk: &Hunk) -> bool {
    let any = |half: &Half, words: &[usize], kinds: u8| {
        words.iter().any(|&at| half.kinds[at] & kinds != 0)
    };
    if any(a, &hunk.left, PROTECTS) || any(b, &hunk.right, PROTECTS) {
        return true;
    }
    let contrasts = [any(a, &hunk.left, CONTRAST), any(b, &hunk.right, CONTRAST)];
    let is_replaced = !hunk.left.is_empty() && !hunk.right.is_empty();
    // `buy` and `purchase` say the same, `buy` and `sell` do not, and `only` limits what it is added to.
    if contrasts[0] && contrasts[1] || !is_replaced && (contrasts[0] || contrasts[1]) {
        return true;
    }
    if hunk.left.len().min(hunk.right.len()) >= INPUT {
        return true;
    }
    if any(a, &hunk.left, NAME) && any(b, &hunk.right, NAME) {
        return true;
    }
    matches!((&hunk.left[..], &hunk.right[..]), (&[mine], &[theirs]) if begins_otherwise(a.word(mine), b.word(theirs)))
}

/// Is this a place where many rows have a word of their own?
fn fills_a_blank(a: &Half, b: &Half, hunk: &Hunk, boilerplate: &Boilerplate) -> bool {
    if hunk.left.is_empty() || hunk.right.is_empty() {
        return false;
    }
    let ends = |words: &[usize]| (words[0], words[words.len() - 1]);
    let ((mine_first, mine_last), (theirs_first, theirs_last)) =
        (ends(&hunk.left), ends(&hunk.right));
    let is_blank = |blank: u64, mine: u64, theirs: u64| {
        let all = boilerplate.rows(blank);
        let most = boilerplate
            .rows(filled(blank, mine))
            .max(boilerplate.rows(filled(blank, theirs)));
        // Where nearly all have the same word, the other one rewords what all share.
        all > boilerplate.common_rows && u32::from(most) * 5 < u32::from(all) * 4
    };
    let ([left, _], [_, right]) = (a.blanks(mine_first), a.blanks(mine_last));
    let ([their_left, _], [_, their_right]) = (b.blanks(theirs_first), b.blanks(theirs_last));
    let (first, their_first) = (a.words[mine_first], b.words[theirs_first]);
    let (last, their_last) = (a.words[mine_last], b.words[theirs_last]);
    (left == their_left && is_blank(left, first, their_first))
        || (right == their_right && is_blank(right, last, their_last))
}

/// Is one of two words the other with a letter too many, too few, another or swapped with its neighbour?
fn is_typing_error(a: &Half, b: &Half, hunk: &Hunk, boilerplate: &Boilerplate) -> bool {
    let joined = |half: &Half, words: &[usize]| -> String {
        words.iter().map(|&at| half.word(at)).collect()
    };
    match (&hunk.left[..], &hunk.right[..]) {
        (&[mine], &[theirs]) => is_mistyped(a, mine, b, theirs, boilerplate),
        // A space too many or too few.
        (&[_], &[_, _]) | (&[_, _], &[_]) => joined(a, &hunk.left) == joined(b, &hunk.right),
        (left, right) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .all(|(&mine, &theirs)| is_mistyped(a, mine, b, theirs, boilerplate)),
        _ => false,
    }
}

fn is_mistyped(a: &Half, mine: usize, b: &Half, theirs: usize, boilerplate: &Boilerplate) -> bool {
    let (both, either) = (
        a.kinds[mine] & b.kinds[theirs],
        a.kinds[mine] | b.kinds[theirs],
    );
    let turns = NEGATION | CONTRAST;
    if either & (LITERAL | NUMBER) != 0 || both & turns != 0 {
        return false;
    }
    let (word, other) = (a.word(mine), b.word(theirs));
    let rows = [
        boilerplate.rows(a.words[mine] ^ ALONE),
        boilerplate.rows(b.words[theirs] ^ ALONE),
    ];
    let (rare, often) = (rows[0].min(rows[1]), rows[0].max(rows[1]));
    let shorter = word.chars().count().min(other.chars().count());
    // Two words that other rows have too are two words, and so are two names that nobody else has. A short word is a typing
    // error of one that is everywhere, or another word.
    let may_be = rare <= 1
        && match both & NAME != 0 {
            true => often > 1 && shorter > 3,
            false => shorter > 3 || shorter > 1 && often > boilerplate.common_rows,
        };
    match slip(word, other) {
        // `not` and `now` are one letter apart, `nto` is no word.
        Some(slip) if either & turns != 0 => may_be && (slip == Slip::Swapped || shorter > 4),
        Some(_) => may_be,
        None => false,
    }
}

/// How one word becomes another one by a slip of a finger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slip {
    /// Two neighbouring letters change places.
    Swapped,
    /// One letter is another one.
    Replaced,
    /// One letter is too many or too few.
    Added,
}

/// The slip that two words are apart. A negating first `a` is no slip, nor is the first letter of `never`.
fn slip(a: &str, b: &str) -> Option<Slip> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (a, b) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let rest = |from: usize, of: &[char]| of[from.min(of.len())..].to_vec();
    match b.len() - a.len() {
        0 if head + 1 < a.len()
            && (a[head], a[head + 1]) == (b[head + 1], b[head])
            && rest(head + 2, &a) == rest(head + 2, &b) =>
        {
            Some(Slip::Swapped)
        }
        0 if head < a.len() && rest(head + 1, &a) == rest(head + 1, &b) => Some(Slip::Replaced),
        1 if rest(head, &a) == rest(head + 1, &b) && !(head == 0 && matches!(b[0], 'a' | 'n')) => {
            Some(Slip::Added)
        }
        _ => None,
    }
}

/// How many words two sorted lists share.
fn common(a: &[u64], b: &[u64]) -> usize {
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

const EDGE: u64 = 0x6564_6765_5f5f_5f5f;
const ALONE: u64 = 0x616c_6f6e_655f_5f5f;
const RUN: u64 = 0x7275_6e5f_5f5f_5f5f;
const BLANK: u64 = 0x626c_616e_6b5f_5f5f;

fn hash_of(words: [u64; 4]) -> u64 {
    words
        .into_iter()
        .fold(0, |hash, word| mix(hash ^ word).wrapping_add(1))
}

fn filled(blank: u64, word: u64) -> u64 {
    mix(blank ^ word.rotate_left(17))
}

/// Does a sentence end in what stands between two words?
pub(crate) fn ends_sentence(gap: &str) -> bool {
    let mut chars = gap.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '!' | '?' | ';' | '。' | '！' | '？' | '।' | '؟' => return true,
            '.' | ':' | '…' if chars.peek().is_none_or(|next| !next.is_alphanumeric()) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Is it an operator, a currency, an arrow or a picture rather than punctuation of prose?
fn is_symbol(c: char) -> bool {
    matches!(c,
        '+' | '=' | '<' | '>' | '%' | '$' | '&' | '/' | '\\' | '|' | '^' | '~' | '@' | '{' | '}' | '[' | ']'
        | '\u{a2}'..='\u{a5}' | '\u{b0}' | '\u{b1}' | '\u{d7}' | '\u{f7}'
        | '\u{20a0}'..='\u{20cf}' | '\u{2190}'..='\u{23ff}' | '\u{2500}'..='\u{27bf}'
        | '\u{27c0}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

/// What a word is that stands at a place of a text.
pub(crate) fn kind_of(
    word: &str,
    text: &str,
    span: &Range<usize>,
    begins_sentence: bool,
    numbers: Numbers,
) -> u8 {
    let mut kind = 0;
    let has_digit = || word.chars().any(char::is_numeric);
    kind |= KNOWN.get(word).copied().unwrap_or(0);
    if has_digit() {
        kind |= NUMBER;
    }
    if numbers == Numbers::Zero {
        kind &= !NUMBER;
    }
    let seen = &text[span.clone()];
    let is_capital = seen.chars().next().is_some_and(char::is_uppercase);
    if is_capital && !begins_sentence {
        kind |= NAME;
    }
    let mut before = text[..span.start].chars().rev();
    let (last, last_but_one) = (before.next(), before.next());
    let mut behind = text[span.end..].chars();
    let next = behind.next();
    let joins = |c: Option<char>| matches!(c, Some('_' | '/' | '\\' | '@' | '#' | '$' | '='));
    let is_quote = |c: Option<char>| matches!(c, Some('"' | '`' | '\'' | '“' | '«' | '„' | '‘'));
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_quoted = is_quote(last) && !is_part(last_but_one);
    let is_member = last == Some('.') && is_part(last_but_one);
    if is_quoted || is_member || joins(last) || joins(next) || next == Some('(') {
        kind |= LITERAL;
    }
    kind
}

/// What is known of words by themselves: one look for each.
static KNOWN: LazyLock<HashMap<&str, u8>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for (words, kind) in [
        (&NUMBER_WORDS, NUMBER),
        (&NEGATIONS, NEGATION),
        (&CONTRASTS, CONTRAST),
    ] {
        for &word in words.iter() {
            *known.entry(word).or_default() |= kind;
        }
    }
    known
});

fn set(words: &'static str) -> HashSet<&'static str> {
    words.split_whitespace().collect()
}

/// Numbers, months and days, as words: they are told apart as figures are.
static NUMBER_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    set(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen \
         eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half quarter \
         double triple once twice first second third fourth fifth sixth seventh eighth ninth tenth last next previous \
         january february march april june july august september october november december \
         monday tuesday wednesday thursday friday saturday sunday \
         null eins zwei drei vier funf sechs sieben acht neun zehn elf zwolf zwanzig hundert tausend erste zweite dritte \
         januar februar marz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag sonntag \
         deux trois quatre cinq sept huit neuf dix onze douze vingt cent mille premier premiere deuxieme \
         janvier fevrier mars avril juin juillet aout septembre octobre novembre decembre \
         lundi mardi mercredi jeudi vendredi samedi dimanche \
         dos tres cuatro cinco seis siete ocho nueve diez once doce veinte cien mil primero segundo tercero \
         enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre \
         lunes martes miercoles jueves viernes sabado domingo \
         due tre quattro cinque sei sette otto nove dieci cento uno primo secondo terzo \
         gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre lunedi martedi mercoledi giovedi venerdi \
         dois quatro sete oito nove dez cem janeiro fevereiro marco maio junho julho setembro outubro dezembro \
         一 二 三 四 五 六 七 八 九 十 百 千 万",
    )
});

/// Words that deny.
static NEGATIONS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    set(
        "not no never none nobody nothing neither nor without cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt \
         shouldnt couldnt hasnt havent hadnt t except unless non \
         nicht kein keine keinen keinem keiner nie niemals ohne weder noch nein \
         pas ne jamais aucun aucune rien sans ni nunca ningun ninguna nadie nada sin tampoco \
         nessuno nessuna niente senza nao nem nenhum nenhuma sem niet geen nooit zonder \
         nej inte ingen aldrig utan ikke aldri uden ei emme ette eivat ilman nie bez ani zaden neni nikdy nem nincs soha nelkul \
         nu niciodata fara degil yok hayir asla не нет ни никогда без нельзя ні немає khong bukan tidak tanpa δεν μη οχι χωρις \
         لا ليس لم لن بدون غير לא אין בלי नहीं मत बिना 不 没 沒 无 無 非 未 否 别 勿 莫 안 못 않 없",
    )
});

/// Words of which another of the list in the same place says something else, or the opposite; and words that limit.
static CONTRASTS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    set(
        "true false yes with before after above below over under inside outside left right up down in out on off \
         more less most least fewer greater smaller higher lower larger minimum maximum min max north south east west \
         early late earlier later always sometimes often rarely only also if while until and or but \
         he she his her him male female man woman boy girl father mother positive negative allow deny allowed denied forbidden \
         forbid accept reject refuse accepted rejected refused approve approved declined enable disable enabled disabled \
         open close opened closed start stop begin end buy sell win lose won lost hot cold safe dangerous good bad right wrong \
         same different everybody somebody all some any every each must may present absent acute chronic benign malignant \
         mit vor nach uber unter mehr weniger ja oder und alle einige avec avant apres plus moins oui ou et tous \
         con antes despues mas menos si todos prima dopo meno tutti com depois mais todos",
    )
});

/// Beginnings that make another word of a word, often its opposite.
const PREFIXES: [&str; 24] = [
    "a", "an", "un", "in", "im", "il", "ir", "non", "dis", "de", "mis", "anti", "hyper", "hypo",
    "inter", "intra", "pre", "post", "sub", "super", "over", "under", "ex", "counter",
];

/// Are two words one word with another beginning, such as `typical` and `atypical`?
fn begins_otherwise(a: &str, b: &str) -> bool {
    let shared = a.chars().rev().zip(b.chars().rev());
    let shared = shared.take_while(|(a, b)| a == b);
    let bytes: usize = shared.clone().map(|(c, _)| c.len_utf8()).sum();
    let is_prefix = |prefix: &str| prefix.is_empty() || PREFIXES.contains(&prefix);
    // The longest common end may take a letter of the beginning with it: `unable` and `enable`.
    shared.count() > 3 && is_prefix(&a[..a.len() - bytes]) && is_prefix(&b[..b.len() - bytes])
}

#[cfg(test)]
mod tests {
    use super::super::planted::{chat, text};
    use super::*;

    /// How alike two rows are, where all others are given too.
    fn among(rows: &[Record]) -> Boilerplate {
        let features: Vec<Vec<u64>> = rows
            .iter()
            .map(|row| Wording::of(row, Numbers::Kept).features())
            .collect();
        let boilerplate = Boilerplate::with_room(features.iter().map(Vec::len).sum(), 3);
        features
            .iter()
            .flatten()
            .for_each(|&feature| boilerplate.add(feature));
        boilerplate
    }

    fn is_copy(a: &Record, b: &Record) -> bool {
        let boilerplate = among(&[a.clone(), b.clone()]);
        let of = |row| Wording::of(row, Numbers::Kept);
        of(a).copy_of(&of(b), &boilerplate, 4.0).is_some()
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
    fn a_word_where_many_rows_have_their_own_is_the_point_of_the_row() {
        let row = |what: &str| {
            text(&format!(
                "Write a short poem in which the {what} is sad because the summer is gone."
            ))
        };
        let rows: Vec<Record> = ["oak", "river", "lamp", "piano", "kettle"].map(row).into();
        let of = |row| Wording::of(row, Numbers::Kept);
        let (a, b) = (of(&rows[0]), of(&rows[1]));
        assert!(a.copy_of(&b, &among(&rows), 4.0).is_none());
        // Two rows alone may be copies with a synonym.
        assert!(a.copy_of(&b, &among(&rows[..2]), 4.0).is_some());
        // A typing error among them is one.
        let wrong = row("kettel");
        let all: Vec<Record> = rows.iter().cloned().chain([wrong.clone()]).collect();
        assert!(
            of(&rows[4])
                .copy_of(&of(&wrong), &among(&all), 4.0)
                .is_some()
        );
    }

    #[test]
    fn what_is_one_letter_away_is_a_typing_error() {
        for (a, b, told) in [
            ("letter", "leter", Some(Slip::Added)),
            ("letter", "lettre", Some(Slip::Swapped)),
            ("letter", "better", Some(Slip::Replaced)),
            ("typical", "atypical", None),
            ("never", "ever", None),
            ("letter", "ltteer", None),
            ("letter", "letter", None),
        ] {
            assert_eq!(slip(a, b), told, "{a} {b}");
            assert_eq!(slip(b, a), told, "{b} {a}");
        }
    }
}
