//! BLEU (Papineni et al. 2002) as sacreBLEU 2.6 computes it: the tokenizer 13a, up to four words, exponential smoothing.
//!
//! BLEU is a score of a corpus: counts are added over the rows and divided once. The score of a single sentence is for
//! looking at rows, and wants `effective_order`, because a sentence of three words has no run of four.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

use super::exact::is_space;

/// Runs of one to so many words are compared.
const ORDER: usize = 4;

/// What may be chosen; the default is sacreBLEU's for a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bleu {
    /// Whether case does not count.
    pub lowercase: bool,
    /// Whether runs that are longer than the whole prediction are left out, as for single sentences.
    pub effective_order: bool,
}

/// What BLEU is computed from; counts of rows add up to those of their corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Runs of one to four words of the prediction that a reference has too.
    pub correct: [u64; ORDER],
    /// All runs of the prediction.
    pub total: [u64; ORDER],
    /// Words of the prediction.
    pub predicted: u64,
    /// Words of the reference whose length is nearest.
    pub reference: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for n in 0..ORDER {
            self.correct[n] += other.correct[n];
            self.total[n] += other.total[n];
        }
        self.predicted += other.predicted;
        self.reference += other.reference;
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

/// BLEU with its parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// From 0 to 100.
    pub bleu: f64,
    /// Per cent of the runs of one to four words that are right, smoothed.
    pub precisions: [f64; ORDER],
    /// What is taken off for being shorter than the reference; 1 for nothing.
    pub brevity_penalty: f64,
}

impl Bleu {
    /// For single sentences.
    pub const SENTENCE: Self = Self {
        lowercase: false,
        effective_order: true,
    };

    /// The counts of one row, which may have several references.
    pub fn counts<S: AsRef<str>>(&self, references: &[S], prediction: &str) -> Counts {
        let prediction = self.tokenize(prediction);
        let words: Vec<&str> = prediction.split(' ').filter(|w| !w.is_empty()).collect();
        let references: Vec<String> = references
            .iter()
            .map(|text| self.tokenize(text.as_ref()))
            .collect();
        let mut allowed: HashMap<&[&str], u64> = HashMap::new();
        let references: Vec<Vec<&str>> = references
            .iter()
            .map(|text| text.split(' ').filter(|w| !w.is_empty()).collect())
            .collect();
        for words in &references {
            for (gram, count) in grams(words) {
                let most = allowed.entry(gram).or_default();
                *most = count.max(*most);
            }
        }
        let mut counts = Counts {
            predicted: words.len() as u64,
            reference: nearest(words.len(), references.iter().map(Vec::len)),
            ..Counts::default()
        };
        for (gram, count) in grams(&words) {
            counts.total[gram.len() - 1] += count;
            counts.correct[gram.len() - 1] +=
                count.min(allowed.get(gram).copied().unwrap_or_default());
        }
        counts
    }

    /// The score of counts.
    pub fn score(&self, counts: &Counts) -> Score {
        let (predicted, reference) = (counts.predicted as f64, counts.reference as f64);
        let mut score = Score {
            bleu: 0.0,
            precisions: [0.0; ORDER],
            brevity_penalty: match predicted {
                _ if predicted >= reference => 1.0,
                0.0 => 0.0,
                _ => (1.0 - reference / predicted).exp(),
            },
        };
        if counts.correct == [0; ORDER] {
            return score;
        }
        let (mut smoothing, mut order) = (1.0, ORDER);
        for n in 0..ORDER {
            let (correct, total) = (counts.correct[n] as f64, counts.total[n] as f64);
            if total == 0.0 {
                break;
            }
            if self.effective_order {
                order = n + 1;
            }
            score.precisions[n] = if correct > 0.0 {
                100.0 * correct / total
            } else {
                // Each run of a length that nothing has counts half as much as the one before.
                smoothing *= 2.0;
                100.0 / (smoothing * total)
            };
        }
        let log = |p: &f64| if *p == 0.0 { -9_999_999_999.0 } else { p.ln() };
        let logs: f64 = score.precisions[..order].iter().map(log).sum();
        score.bleu = score.brevity_penalty * (logs / order as f64).exp();
        score
    }

    /// The score of one row.
    pub fn sentence<S: AsRef<str>>(&self, references: &[S], prediction: &str) -> Score {
        self.score(&self.counts(references, prediction))
    }

    /// What sacreBLEU prints beside such a score, so that it can be compared. `references` is how many each row has,
    /// `None` when that differs.
    pub fn signature(&self, references: Option<usize>) -> String {
        format!(
            "nrefs:{}|case:{}|eff:{}|tok:13a|smooth:exp|version:2.6.0",
            references.map_or("var".into(), |count| count.to_string()),
            if self.lowercase { "lc" } else { "mixed" },
            if self.effective_order { "yes" } else { "no" },
        )
    }

    fn tokenize(&self, text: &str) -> String {
        let text = text.trim_end_matches(is_space);
        if self.lowercase {
            tokenize_13a(&text.to_lowercase())
        } else {
            tokenize_13a(text)
        }
    }
}

/// Every run of one to four words with how often it occurs.
fn grams<'a, 'b>(words: &'b [&'a str]) -> HashMap<&'b [&'a str], u64> {
    let mut counts = HashMap::new();
    for n in 1..=ORDER {
        words
            .windows(n)
            .for_each(|gram| *counts.entry(gram).or_default() += 1);
    }
    counts
}

/// Of two lengths that are equally near, the shorter.
fn nearest(length: usize, references: impl Iterator<Item = usize>) -> u64 {
    let near = references.min_by_key(|other| (other.abs_diff(length), *other));
    near.unwrap_or(0) as u64
}

/// The tokenizer of WMT's `mteval-v13a`, words joined by single spaces.
fn tokenize_13a(text: &str) -> String {
    let mut text = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    if text.contains('&') {
        for (entity, letter) in [
            ("&quot;", "\""),
            ("&amp;", "&"),
            ("&lt;", "<"),
            ("&gt;", ">"),
        ] {
            text = text.replace(entity, letter);
        }
    }
    // One after the other, because a pass sees what the one before made.
    static PASSES: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
        let pass = |pattern, replacement| {
            let regex = Regex::new(pattern).expect("a pattern of our own");
            (regex, replacement)
        };
        [
            pass(r"[\{-\~\[-\` -\&\(-\+\:-\@\/]", " $0 "),
            pass(r"([^0-9])([\.,])", "$1 $2 "),
            pass(r"([\.,])([^0-9])", " $1 $2"),
            pass(r"([0-9])(-)", "$1 $2 "),
        ]
    });
    let mut text = Cow::Owned(format!(" {text} "));
    for (regex, replacement) in PASSES.iter() {
        text = Cow::Owned(regex.replace_all(&text, *replacement).into_owned());
    }
    let words: Vec<&str> = text.split(is_space).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_dots_and_words_do_not() {
        assert_eq!(
            tokenize_13a("It's 3.14, (ca.) &lt;pi&gt;; 2-3\nrow-\ns"),
            "It's 3.14 , ( ca . ) < pi > ; 2 - 3 rows"
        );
    }

    #[test]
    fn a_corpus_is_no_mean_of_sentences() {
        let bleu = Bleu::default();
        let rows = [("a b c d e", "a b c d e"), ("f g h i j", "f x h y j")];
        let counts: Vec<Counts> = rows
            .iter()
            .map(|(reference, said)| bleu.counts(&[reference], said))
            .collect();
        let corpus = bleu.score(&counts.iter().copied().sum()).bleu;
        let mean = counts.iter().map(|one| bleu.score(one).bleu).sum::<f64>() / 2.0;
        assert!((corpus - mean).abs() > 0.5, "{corpus} {mean}");
    }

    #[test]
    fn without_references_nothing_is_right() {
        assert_eq!(Bleu::default().sentence::<&str>(&[], "a b").bleu, 0.0);
    }
}
