//! What differs between two halves that are alike, stretch by stretch, and what it means.

use std::collections::HashSet;

use super::excluding::exclude_each_other;
use super::kinds::{
    CONTRAST, LITERAL, NAME, NEGATION, NUMBER, PROTECTS, begins_otherwise, denies_within,
};
use super::{Blank, Half};
use crate::boilerplate::Asked;

/// Words that are other ones in a row, from which on they are another input.
const INPUT: usize = 3;
/// Words from which on a stretch that stands elsewhere was moved.
const MOVED: usize = 2;
/// The largest table of a comparison, in cells; what differs more is no copy.
const MOST_CELLS: usize = 1 << 13;

/// Words of one half in whose place the other has other words, or none.
#[derive(Debug)]
pub(super) struct Hunk {
    pub left: Vec<usize>,
    pub right: Vec<usize>,
}

/// What differs between two lists of words, by their longest common subsequence; `None` if it is too much to be told.
pub(super) fn hunks(a: &Half, mine: &[usize], b: &Half, theirs: &[usize]) -> Option<Vec<Hunk>> {
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
pub(super) fn cancel_moves(a: &Half, b: &Half, hunks: &mut Vec<Hunk>) {
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
pub(super) fn stands_elsewhere(a: &Half, b: &Half, hunks: &[Hunk]) -> bool {
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
pub(super) fn tells_apart(a: &Half, b: &Half, hunk: &Hunk) -> bool {
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
    let joined = |half: &Half, words: &[usize]| -> String {
        words.iter().map(|&at| half.word(at)).collect()
    };
    if denies_within(&joined(a, &hunk.left), &joined(b, &hunk.right)) {
        return true;
    }
    let excludes = |mine: usize| {
        let mut theirs = hunk.right.iter();
        theirs.any(|&theirs| exclude_each_other(a.words[mine], b.words[theirs]))
    };
    if hunk.left.iter().any(|&mine| excludes(mine)) {
        return true;
    }
    match (&hunk.left[..], &hunk.right[..]) {
        (&[mine], &[theirs]) => {
            let (mine, theirs) = (a.word(mine), b.word(theirs));
            // Variables, options to choose from, units.
            let is_letter = |word: &str| word.chars().nth(1).is_none();
            is_letter(mine) && is_letter(theirs) || begins_otherwise(mine, theirs)
        }
        _ => false,
    }
}

/// Is this a place where many rows have a word of their own?
pub(super) fn blank(a: &Half, b: &Half, hunk: &Hunk, boilerplate: Option<&Asked>) -> Blank {
    let Some(boilerplate) = boilerplate else {
        return Blank::None;
    };
    if hunk.left.is_empty() || hunk.right.is_empty() {
        return Blank::None;
    }
    let ends = |words: &[usize]| (words[0], words[words.len() - 1]);
    let ((mine_first, mine_last), (theirs_first, theirs_last)) =
        (ends(&hunk.left), ends(&hunk.right));
    let blank = |blank: u64, mine: u64, theirs: u64| {
        let all = boilerplate.rows(blank);
        let (mine, theirs) = (boilerplate.rows(mine), boilerplate.rows(theirs));
        // Where nearly all have the same word, the other one rewords what all share.
        let most = mine.max(theirs);
        let is_blank = all > boilerplate.common_rows && 5 * u64::from(most) < 4 * u64::from(all);
        match (is_blank, mine.min(theirs)) {
            (false, _) => Blank::None,
            (true, ..=1) => Blank::Own,
            (true, _) => Blank::Label,
        }
    };
    let ([left, _], [_, right]) = (a.blanks(mine_first), a.blanks(mine_last));
    let ([their_left, _], [_, their_right]) = (b.blanks(theirs_first), b.blanks(theirs_last));
    let (first, their_first) = (a.filled(mine_first)[0], b.filled(theirs_first)[0]);
    let (last, their_last) = (a.filled(mine_last)[1], b.filled(theirs_last)[1]);
    let of_left = (left == their_left).then(|| blank(left, first, their_first));
    let of_right = (right == their_right).then(|| blank(right, last, their_last));
    of_left.max(of_right).unwrap_or(Blank::None)
}

/// Is one of two words the other with a letter too many, too few, another or swapped with its neighbour?
pub(super) fn is_typing_error(
    a: &Half,
    b: &Half,
    hunk: &Hunk,
    boilerplate: Option<&Asked>,
) -> bool {
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

fn is_mistyped(
    a: &Half,
    mine: usize,
    b: &Half,
    theirs: usize,
    boilerplate: Option<&Asked>,
) -> bool {
    let (both, either) = (
        a.kinds[mine] & b.kinds[theirs],
        a.kinds[mine] | b.kinds[theirs],
    );
    let turns = NEGATION | CONTRAST;
    if either & (LITERAL | NUMBER) != 0 || both & turns != 0 {
        return false;
    }
    let (word, other) = (a.word(mine), b.word(theirs));
    if exclude_each_other(a.words[mine], b.words[theirs]) || begins_otherwise(word, other) {
        return false;
    }
    let shorter = word.chars().count().min(other.chars().count());
    // Two words that other rows have too are two words, and so are two names that nobody else has. A short word is a typing
    // error of one that is everywhere, or another word.
    let may_be = boilerplate.is_none_or(|boilerplate| {
        let rows = [
            boilerplate.rows(a.alone(mine)),
            boilerplate.rows(b.alone(theirs)),
        ];
        let (rare, often) = (rows[0].min(rows[1]), rows[0].max(rows[1]));
        rare <= 1
            && match both & NAME != 0 {
                true => often > 1 && shorter > 3,
                false => shorter > 3 || shorter > 1 && often > boilerplate.common_rows,
            }
    });
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

#[cfg(test)]
mod tests {
    use super::*;

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
