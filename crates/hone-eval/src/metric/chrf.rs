//! chrF and chrF++ (Popović 2015, 2017) as sacreBLEU 2.6 computes them: runs of one to six letters without white space,
//! for chrF++ runs of one and two words too, F with recall weighted twice.
//!
//! As with BLEU, counts are added over the rows of a corpus and divided once. Of several references the one counts
//! that gives the row's highest score.

use serde::Serialize;

use super::exact::is_space;

const LETTERS: usize = 6;
const WORDS: usize = 2;

/// Which of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chrf {
    /// Letters only: chrF.
    #[default]
    Letters,
    /// Letters and words: chrF++.
    Words,
}

/// Of runs of each length: how many the prediction has, how many the reference has, and how many both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts([[u64; 3]; LETTERS + WORDS]);

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            ours.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, counts| {
            sum += counts;
            sum
        })
    }
}

impl Chrf {
    /// The counts of one row, of several references with the best one.
    pub fn counts<S: AsRef<str>>(&self, references: &[S], prediction: &str) -> Counts {
        let prediction = self.grams(prediction);
        let (mut best, mut best_score) = (Counts::default(), -1.0);
        for reference in references {
            let reference = self.grams(reference.as_ref());
            let mut counts = Counts::default();
            for ((count, said), expected) in counts.0.iter_mut().zip(&prediction).zip(&reference) {
                *count = matches(said, expected);
            }
            let score = self.score(&counts);
            if score > best_score {
                (best, best_score) = (counts, score);
            }
        }
        best
    }

    /// The score of counts, from 0 to 100.
    pub fn score(&self, counts: &Counts) -> f64 {
        const BETA_SQUARED: f64 = 4.0;
        let (mut precision, mut recall, mut order) = (0.0, 0.0, 0.0);
        for [said, expected, both] in &counts.0[..self.orders()] {
            // Lengths that one side has none of are left out of the mean.
            if *said > 0 && *expected > 0 {
                precision += *both as f64 / *said as f64;
                recall += *both as f64 / *expected as f64;
                order += 1.0;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / order, recall / order);
        let f = (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall);
        100.0 * f
    }

    /// The score of one row.
    pub fn sentence<S: AsRef<str>>(&self, references: &[S], prediction: &str) -> f64 {
        self.score(&self.counts(references, prediction))
    }

    /// What sacreBLEU prints beside such a score. `references` is how many each row has, `None` when that differs.
    pub fn signature(&self, references: Option<usize>) -> String {
        format!(
            "nrefs:{}|case:mixed|eff:yes|nc:6|nw:{}|space:no|version:2.6.0",
            references.map_or("var".into(), |count| count.to_string()),
            self.orders() - LETTERS,
        )
    }

    fn orders(&self) -> usize {
        match self {
            Self::Letters => LETTERS,
            Self::Words => LETTERS + WORDS,
        }
    }

    fn grams(&self, text: &str) -> Vec<Grams> {
        let letters: Vec<char> = text.chars().filter(|c| !is_space(*c)).collect();
        // 21 bits hold any letter, so six of them are one number.
        let packed = |run: &[char]| {
            run.iter()
                .fold(0, |all, c| all << 21 | u128::from(*c as u32))
        };
        let mut all: Vec<Grams> = (1..=LETTERS)
            .map(|n| Grams::Letters(sorted(letters.windows(n).map(packed))))
            .collect();
        if *self == Self::Words {
            let words = words(text);
            let run = |run: &[&str]| run.join(" ");
            all.extend((1..=WORDS).map(|n| Grams::Words(sorted(words.windows(n).map(run)))));
        }
        all
    }
}

/// Every run of a length, sorted.
enum Grams {
    Letters(Vec<u128>),
    Words(Vec<String>),
}

fn sorted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    all
}

fn matches(said: &Grams, expected: &Grams) -> [u64; 3] {
    match (said, expected) {
        (Grams::Letters(said), Grams::Letters(expected)) => both(said, expected),
        (Grams::Words(said), Grams::Words(expected)) => both(said, expected),
        _ => [0; 3],
    }
}

fn both<T: Ord>(said: &[T], expected: &[T]) -> [u64; 3] {
    if expected.is_empty() {
        return [0; 3];
    }
    let (mut i, mut j, mut both) = (0, 0, 0);
    while i < said.len() && j < expected.len() {
        match said[i].cmp(&expected[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, both) = (i + 1, j + 1, both + 1),
        }
    }
    [said.len() as u64, expected.len() as u64, both]
}

/// Words with one sign of punctuation at their end, or else at their beginning, as a word of its own.
fn words(text: &str) -> Vec<&str> {
    let mut words = vec![];
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        let last = word.len() - word.chars().next_back().map_or(0, char::len_utf8);
        let first = word.chars().next().map_or(0, char::len_utf8);
        let is_sign = |sign: &str| sign.bytes().all(|byte| byte.is_ascii_punctuation());
        let parts = match word {
            _ if last == 0 => (word, ""),
            _ if is_sign(&word[last..]) => word.split_at(last),
            _ if is_sign(&word[..first]) => word.split_at(first),
            _ => (word, ""),
        };
        words.push(parts.0);
        words.extend((!parts.1.is_empty()).then_some(parts.1));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sign_is_taken_off_a_word() {
        assert_eq!(
            words("(hi) \"yes! é, ."),
            ["(hi", ")", "\"yes", "!", "é", ",", "."]
        );
    }

    #[test]
    fn equal_texts_score_a_hundred_and_unlike_ones_nothing() {
        for kind in [Chrf::Letters, Chrf::Words] {
            assert_eq!(
                kind.sentence(&["a model is trained"], "a model is trained"),
                100.0
            );
            assert_eq!(kind.sentence(&["xyz"], "abc"), 0.0);
            assert_eq!(kind.sentence::<&str>(&[], "abc"), 0.0);
            assert_eq!(kind.sentence(&[""], ""), 0.0);
        }
    }
}
