//! ROUGE (Lin 2004) as Google's Python package `rouge_score` 0.1.2 computes it: ROUGE-N, ROUGE-L and ROUGE-Lsum, with
//! and without its stemmer, to the last digit.
//!
//! The tokens are runs of ASCII letters and digits after Unicode lower-casing. Text in other scripts has none
//! and scores zero, there as here; the fixtures hold such pairs. A [`Scorer`] numbers the tokens it meets, so words are
//! stemmed once and compared as numbers, and a longest common subsequence takes 64 cells of its table at a time.

use std::collections::HashMap;

use serde::Serialize;

use super::porter;

/// Precision, recall and their harmonic mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rouge {
    /// Share of the prediction's tokens that are in the target.
    pub precision: f64,
    /// Share of the target's tokens that are in the prediction.
    pub recall: f64,
    /// `2pr / (p + r)`: the number usually quoted.
    pub f: f64,
}

impl Rouge {
    fn of(hits: usize, predicted: usize, target: usize) -> Self {
        let precision = hits as f64 / predicted.max(1) as f64;
        let recall = hits as f64 / target.max(1) as f64;
        let f = if precision + recall > 0.0 {
            2.0 * precision * recall / (precision + recall)
        } else {
            0.0
        };
        Self {
            precision,
            recall,
            f,
        }
    }
}

/// The four scores that papers on summaries quote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Shared words.
    pub rouge1: Rouge,
    /// Shared pairs of words.
    pub rouge2: Rouge,
    /// The longest common subsequence of the whole texts.
    #[serde(rename = "rougeL")]
    pub rouge_l: Rouge,
    /// The union of the longest common subsequences of their lines.
    #[serde(rename = "rougeLsum")]
    pub rouge_lsum: Rouge,
}

/// ROUGE-L of a prediction, without a stemmer.
pub fn rouge_l(target: &str, prediction: &str) -> Rouge {
    let mut scorer = Scorer::new(false);
    let (target, prediction) = (scorer.read(target), scorer.read(prediction));
    scorer.rouge_l(&target, &prediction)
}

/// Scores many pairs; what it has met of words it remembers.
pub struct Scorer {
    use_stemmer: bool,
    /// The number of each word; with a stemmer, of its stem.
    numbers: HashMap<Box<[u8]>, u32, Fnv>,
    count: u32,
    /// Where a token's bits stand in `masks` while a subsequence is looked for, plus one.
    places: Vec<u32>,
    masks: Vec<u64>,
}

impl Scorer {
    /// `use_stemmer` as in `RougeScorer(use_stemmer=…)`: words of more than three letters are stemmed.
    pub fn new(use_stemmer: bool) -> Self {
        Self {
            use_stemmer,
            numbers: HashMap::default(),
            count: 0,
            places: vec![],
            masks: vec![],
        }
    }

    /// Compares a prediction with the text that was expected.
    pub fn score(&mut self, target: &str, prediction: &str) -> Scores {
        let (target, prediction) = (self.read(target), self.read(prediction));
        self.score_read(&target, &prediction)
    }

    /// Compares a prediction with several texts of which any would do: for each score the one that gives the
    /// highest F, as `score_multi` takes it. `None` when there is no target.
    pub fn score_multi<S: AsRef<str>>(
        &mut self,
        targets: &[S],
        prediction: &str,
    ) -> Option<Scores> {
        let prediction = self.read(prediction);
        let all = targets.iter().map(|target| {
            let target = self.read(target.as_ref());
            self.score_read(&target, &prediction)
        });
        all.reduce(|best, other| {
            let better = |best: Rouge, other: Rouge| if other.f > best.f { other } else { best };
            Scores {
                rouge1: better(best.rouge1, other.rouge1),
                rouge2: better(best.rouge2, other.rouge2),
                rouge_l: better(best.rouge_l, other.rouge_l),
                rouge_lsum: better(best.rouge_lsum, other.rouge_lsum),
            }
        })
    }

    /// ROUGE-N for any `n` of at least one.
    pub fn rouge_n(&mut self, n: usize, target: &str, prediction: &str) -> Rouge {
        let (target, prediction) = (self.read(target), self.read(prediction));
        let grams = |text: &Text| -> Vec<Vec<u32>> {
            text.tokens.windows(n.max(1)).map(<[u32]>::to_vec).collect()
        };
        shared_grams(grams(&target), grams(&prediction))
    }

    fn score_read(&mut self, target: &Text, prediction: &Text) -> Scores {
        let pairs = |text: &Text| -> Vec<u64> {
            let pair = |pair: &[u32]| u64::from(pair[0]) << 32 | u64::from(pair[1]);
            text.tokens.windows(2).map(pair).collect()
        };
        Scores {
            rouge1: shared_grams(target.tokens.clone(), prediction.tokens.clone()),
            rouge2: shared_grams(pairs(target), pairs(prediction)),
            rouge_l: self.rouge_l(target, prediction),
            rouge_lsum: self.rouge_lsum(target, prediction),
        }
    }

    fn rouge_l(&mut self, target: &Text, prediction: &Text) -> Rouge {
        let (target, prediction) = (&target.tokens, &prediction.tokens);
        if target.is_empty() || prediction.is_empty() {
            return Rouge::default();
        }
        let words = self.mark(target);
        let mut column = vec![u64::MAX; words];
        for token in prediction {
            self.advance(&mut column, *token);
        }
        self.unmark(target);
        Rouge::of(
            column_length(&column, target.len()),
            prediction.len(),
            target.len(),
        )
    }

    /// Tokens of each line of the target that some line of the prediction has in order, counted no more often than
    /// both texts have them.
    fn rouge_lsum(&mut self, target: &Text, prediction: &Text) -> Rouge {
        if target.tokens.is_empty() || prediction.tokens.is_empty() {
            return Rouge::default();
        }
        let mut left = [&target.tokens, &prediction.tokens].map(|tokens| {
            let mut left = vec![0_usize; self.count as usize];
            tokens.iter().for_each(|token| left[*token as usize] += 1);
            left
        });
        let mut hits = 0;
        for line in target.lines() {
            let mut common = vec![false; line.len()];
            let words = self.mark(line);
            for other in prediction.lines() {
                self.trace(line, other, words, &mut common);
            }
            self.unmark(line);
            for (token, _) in line.iter().zip(&common).filter(|(_, common)| **common) {
                let counts = left.each_mut().map(|left| &mut left[*token as usize]);
                if counts.iter().all(|count| **count > 0) {
                    hits += 1;
                    counts.into_iter().for_each(|count| *count -= 1);
                }
            }
        }
        Rouge::of(hits, prediction.tokens.len(), target.tokens.len())
    }

    /// Says which tokens of `line` are in one longest common subsequence, of several the one that `rouge_score` reads
    /// out. The line must be marked.
    ///
    /// With `t[i][j]` the length for the first `i` and `j` tokens, column `j` keeps one bit for each `i`: 0 where
    /// `t[i][j] = t[i-1][j] + 1`. Where the tokens at `i` and `j` differ, that is the case exactly when
    /// `t[i][j-1] > t[i-1][j]`, which is what the back-tracking asks; so the table itself is never needed.
    fn trace(&self, line: &[u32], other: &[u32], words: usize, common: &mut [bool]) {
        let mut columns = vec![u64::MAX; words];
        columns.reserve(words * other.len());
        for token in other {
            let at = columns.len() - words;
            columns.extend_from_within(at..);
            self.advance(&mut columns[at + words..], *token);
        }
        let (mut i, mut j) = (line.len(), other.len());
        while i > 0 && j > 0 {
            if line[i - 1] == other[j - 1] {
                common[i - 1] = true;
                (i, j) = (i - 1, j - 1);
            } else if columns[j * words + (i - 1) / 64] >> ((i - 1) % 64) & 1 == 0 {
                j -= 1;
            } else {
                i -= 1;
            }
        }
    }

    /// Notes where each token of a line stands, one bit each; answers how many words of bits that takes.
    fn mark(&mut self, line: &[u32]) -> usize {
        let words = line.len().div_ceil(64);
        self.masks.clear();
        self.places.resize(self.count as usize, 0);
        for (at, token) in line.iter().enumerate() {
            let place = &mut self.places[*token as usize];
            if *place == 0 {
                self.masks.resize(self.masks.len() + words, 0);
                *place = (self.masks.len() / words) as u32;
            }
            self.masks[(*place as usize - 1) * words + at / 64] |= 1 << (at % 64);
        }
        words
    }

    fn unmark(&mut self, line: &[u32]) {
        line.iter()
            .for_each(|token| self.places[*token as usize] = 0);
    }

    /// The next column of the table of common subsequences (Hyyrö 2004).
    fn advance(&self, column: &mut [u64], token: u32) {
        let place = self.places[token as usize] as usize;
        let Some(place) = place.checked_sub(1) else {
            return;
        };
        let masks = &self.masks[place * column.len()..][..column.len()];
        let mut carry = false;
        for (word, mask) in column.iter_mut().zip(masks) {
            let (sum, first) = word.overflowing_add(*word & mask);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *word = sum | (*word & !mask);
        }
    }

    fn read(&mut self, text: &str) -> Text {
        let lower = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            text.to_lowercase()
        };
        let (mut tokens, mut ends, mut start) = (vec![], vec![], 0);
        let bytes = lower.as_bytes();
        for at in 0..=bytes.len() {
            let byte = bytes.get(at).copied().unwrap_or(b'\n');
            if byte.is_ascii_lowercase() || byte.is_ascii_digit() {
                continue;
            }
            if start < at {
                tokens.push(self.number(&bytes[start..at]));
            }
            start = at + 1;
            if byte == b'\n' && ends.last().copied().unwrap_or(0) < tokens.len() {
                ends.push(tokens.len());
            }
        }
        Text { tokens, ends }
    }

    fn number(&mut self, word: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(word) {
            return *number;
        }
        let number = if self.use_stemmer {
            self.number_of_stem(word)
        } else {
            self.new_number()
        };
        self.numbers.insert(word.into(), number);
        number
    }

    /// Stems live in the same map, behind a byte that no word has: `use` is a word and the stem of `used`.
    fn number_of_stem(&mut self, word: &[u8]) -> u32 {
        let mut stem = word.to_vec();
        if word.len() > 3 {
            porter::stem_bytes(&mut stem);
        }
        stem.insert(0, b' ');
        if let Some(number) = self.numbers.get(stem.as_slice()) {
            return *number;
        }
        let number = self.new_number();
        self.numbers.insert(stem.into(), number);
        number
    }

    fn new_number(&mut self) -> u32 {
        self.count += 1;
        self.count - 1
    }
}

/// A text as numbers of tokens, and where each line that has any ends.
struct Text {
    tokens: Vec<u32>,
    ends: Vec<usize>,
}

impl Text {
    fn lines(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.tokens[start..*end])
    }
}

/// How long the common subsequence is: the zero bits of the last column.
fn column_length(column: &[u64], rows: usize) -> usize {
    let last = column.len() - 1;
    let unused = u64::MAX.checked_shl((rows - last * 64) as u32).unwrap_or(0);
    let zeros = |(at, word): (usize, &u64)| match at == last {
        true => (word | unused).count_zeros(),
        false => word.count_zeros(),
    };
    column.iter().enumerate().map(zeros).sum::<u32>() as usize
}

/// Counts what both have, each as often as both have it.
fn shared_grams<T: Ord>(mut target: Vec<T>, mut prediction: Vec<T>) -> Rouge {
    target.sort_unstable();
    prediction.sort_unstable();
    let (mut i, mut j, mut hits) = (0, 0, 0);
    while i < target.len() && j < prediction.len() {
        match target[i].cmp(&prediction[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, hits) = (i + 1, j + 1, hits + 1),
        }
    }
    Rouge::of(hits, prediction.len(), target.len())
}

/// Words are short and their numbers are looked up for every token, so the default hasher would be most of the time.
type Fnv = std::hash::BuildHasherDefault<FnvHasher>;

struct FnvHasher(u64);

impl Default for FnvHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl std::hash::Hasher for FnvHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_counts_and_gaps_do_not() {
        let score = rouge_l("police killed the gunman", "the gunman police killed");
        assert_eq!(
            score,
            Rouge {
                precision: 0.5,
                recall: 0.5,
                f: 0.5
            }
        );
        let score = rouge_l("a b c", "a x b y c z");
        assert_eq!((score.precision, score.recall), (0.5, 1.0));
    }

    #[test]
    fn case_and_punctuation_do_not_count() {
        assert_eq!(rouge_l("Use `iter()`!", "use ITER").f, 1.0);
    }

    #[test]
    fn nothing_in_common_or_nothing_at_all_is_zero() {
        for (target, prediction) in [("", ""), ("a", ""), ("", "a"), ("a", "b"), ("好的", "好的")]
        {
            assert_eq!(
                Scorer::new(true).score(target, prediction),
                Scores::default(),
                "{target:?} {prediction:?}"
            );
        }
    }

    #[test]
    fn letters_that_become_ascii_when_lowered_count() {
        // Kelvin sign, and capital I with a dot, which lowers to `i` and a combining mark.
        assert_eq!(rouge_l("k", "\u{212a}").f, 1.0);
        assert_eq!(rouge_l("i stanbul", "İstanbul").f, 1.0);
    }

    #[test]
    fn a_scorer_gives_the_same_scores_whatever_it_has_read_before() {
        let pair = ("he uses many arrays\nof use", "used an array\nuse of it");
        let fresh = Scorer::new(true).score(pair.0, pair.1);
        let mut used = Scorer::new(true);
        for at in 0..200 {
            used.score(&format!("word{at} used"), "using it");
        }
        assert_eq!(used.score(pair.0, pair.1), fresh);
        assert_eq!(fresh.rouge1.recall, 4.0 / 6.0);
    }

    #[test]
    fn the_best_reference_is_taken_for_each_score_and_the_first_of_equals() {
        let scores = Scorer::new(false)
            .score_multi(&["a b", "b a c", "a b"], "a b c")
            .unwrap();
        assert_eq!(scores.rouge1.f, 1.0);
        assert_eq!(scores.rouge2.recall, 1.0);
        assert_eq!(Scorer::new(false).score_multi::<&str>(&[], "a"), None);
    }

    /// The table that `rouge_score` fills, and its back-tracking through it.
    fn slow_trace(line: &[u32], other: &[u32]) -> (usize, Vec<bool>) {
        let mut table = vec![vec![0; other.len() + 1]; line.len() + 1];
        for i in 1..=line.len() {
            for j in 1..=other.len() {
                table[i][j] = if line[i - 1] == other[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut common) = (line.len(), other.len(), vec![false; line.len()]);
        while i > 0 && j > 0 {
            if line[i - 1] == other[j - 1] {
                common[i - 1] = true;
                (i, j) = (i - 1, j - 1);
            } else if table[i][j - 1] > table[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        (table[line.len()][other.len()], common)
    }

    #[test]
    fn a_carry_goes_through_words_in_which_nothing_matches() {
        let target = ["a ".repeat(64), "b ".repeat(64), "a ".repeat(64)].concat();
        assert_eq!(rouge_l(&target, "a").recall, 1.0 / 192.0);
    }

    #[test]
    fn bits_give_the_subsequence_of_the_table() {
        let mut stream = hone_ledger::Seed::new(4).stream();
        for round in 0..300 {
            let kinds = 1 + stream.below(if round % 2 == 0 { 4 } else { 60 });
            let mut text = |longest| -> Vec<u32> {
                let length = 1 + stream.below(longest);
                (0..length).map(|_| stream.below(kinds) as u32).collect()
            };
            let (line, other) = (text(200), text(150));
            let (length, expected) = slow_trace(&line, &other);
            let mut scorer = Scorer::new(false);
            scorer.count = kinds as u32;
            let words = scorer.mark(&line);
            let mut common = vec![false; line.len()];
            scorer.trace(&line, &other, words, &mut common);
            assert_eq!(common, expected, "{line:?} {other:?}");
            scorer.unmark(&line);
            let text = |tokens: Vec<u32>| Text {
                ends: vec![tokens.len()],
                tokens,
            };
            let score = scorer.rouge_l(&text(line.clone()), &text(other));
            assert_eq!(score.recall, length as f64 / line.len() as f64);
        }
    }
}
