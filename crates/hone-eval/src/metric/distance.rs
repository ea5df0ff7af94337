//! Edit distance (Levenshtein 1965): how many letters must be put in, taken out or replaced.
//!
//! Sixty-four cells of the table are computed at a time (Myers 1999, in blocks as Hyyrö 2003), because answers are whole
//! pages. Letters are Unicode scalar values, as in Python, not bytes.

use std::collections::HashMap;

/// The number of edits that make one text the other.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let ends = a.iter().rev().zip(b.iter().rev());
    let end = ends.take_while(|(a, b)| a == b).count();
    distance(&a[..a.len() - end], &b[..b.len() - end])
}

/// 1 for equal texts, 0 for texts that share nothing: `1 - distance / length of the longer`. Two empty texts are equal.
pub fn edit_similarity(a: &str, b: &str) -> f64 {
    let longer = a.chars().count().max(b.chars().count());
    match longer {
        0 => 1.0,
        _ => 1.0 - edit_distance(a, b) as f64 / longer as f64,
    }
}

fn distance(a: &[char], b: &[char]) -> usize {
    if a.is_empty() || b.is_empty() {
        return a.len().max(b.len());
    }
    let blocks = a.len().div_ceil(64);
    let mut masks: HashMap<char, Vec<u64>> = HashMap::new();
    for (at, letter) in a.iter().enumerate() {
        masks.entry(*letter).or_insert_with(|| vec![0; blocks])[at / 64] |= 1 << (at % 64);
    }
    let nowhere = vec![0; blocks];
    let mut column = vec![Block::default(); blocks];
    let last_row = (a.len() - 1) % 64;
    let mut distance = a.len() as i64;
    for letter in b {
        let masks = masks.get(letter).unwrap_or(&nowhere);
        // The table's first row counts up: everything so far is put in.
        let mut above = 1;
        for (at, (block, mask)) in column.iter_mut().zip(masks).enumerate() {
            let row = if at + 1 == blocks { last_row } else { 63 };
            above = block.advance(*mask, above, row);
        }
        distance += i64::from(above);
    }
    distance as usize
}

/// Sixty-four rows of a column: where a cell is one more, and where it is one less, than the one above it.
#[derive(Clone)]
struct Block {
    more: u64,
    less: u64,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            more: u64::MAX,
            less: 0,
        }
    }
}

impl Block {
    /// The next column, from how the row above these changed; answers how row `row` changed.
    fn advance(&mut self, equal: u64, above: i32, row: usize) -> i32 {
        let vertical = equal | self.less;
        let equal = equal | u64::from(above < 0);
        let diagonal = ((equal & self.more).wrapping_add(self.more) ^ self.more) | equal;
        let rise = self.less | !(diagonal | self.more);
        let fall = self.more & diagonal;
        let change = i32::from(rise >> row & 1 == 1) - i32::from(fall >> row & 1 == 1);
        let rise = rise << 1 | u64::from(above > 0);
        let fall = fall << 1 | u64::from(above < 0);
        self.more = fall | !(vertical | rise);
        self.less = rise & vertical;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted_not_bytes() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("naïve", "naive"), 1);
        assert_eq!(edit_distance("", "日本"), 2);
        assert_eq!(edit_similarity("", ""), 1.0);
        assert_eq!(edit_similarity("abcd", "abxd"), 0.75);
        assert_eq!(edit_similarity("abc", "xyz"), 0.0);
    }

    #[test]
    fn blocks_give_the_distance_of_the_table() {
        let mut stream = hone_ledger::Seed::new(1).stream();
        for round in 0..300 {
            let kinds = if round % 2 == 0 { 3 } else { 20 };
            let mut text = || -> Vec<char> {
                let length = stream.below(210);
                let letter = |_| char::from(b'a' + stream.below(kinds) as u8);
                (0..length).map(letter).collect()
            };
            let (a, b) = (text(), text());
            let mut row: Vec<usize> = (0..=b.len()).collect();
            for (i, x) in a.iter().enumerate() {
                let mut diagonal = std::mem::replace(&mut row[0], i + 1);
                for (j, y) in b.iter().enumerate() {
                    let replaced = diagonal + usize::from(x != y);
                    diagonal = row[j + 1];
                    row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
                }
            }
            assert_eq!(distance(&a, &b), row[b.len()], "{a:?} {b:?}");
        }
    }
}
