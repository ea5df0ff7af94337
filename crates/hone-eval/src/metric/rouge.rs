//! ROUGE-L (Lin 2004) as the Python package `rouge_score` 0.1.2 computes it, without its stemmer.
//!
//! The tokens are runs of ASCII letters and digits after Unicode lower-casing. Text in other scripts has none
//! and scores zero, there as here; the fixture holds such pairs.

use serde::Serialize;

/// Precision, recall and their harmonic mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rouge {
    /// Share of the prediction's tokens in the longest common subsequence.
    pub precision: f64,
    /// Share of the target's tokens in it.
    pub recall: f64,
    /// `2pr / (p + r)`: the number usually quoted.
    pub f: f64,
}

/// Compares a prediction with the text that was expected.
pub fn rouge_l(target: &str, prediction: &str) -> Rouge {
    let (target, prediction) = (tokens(target), tokens(prediction));
    if target.is_empty() || prediction.is_empty() {
        return Rouge::default();
    }
    let common = longest_common_subsequence(&target, &prediction) as f64;
    let (precision, recall) = (
        common / prediction.len() as f64,
        common / target.len() as f64,
    );
    let f = if precision + recall > 0.0 {
        2.0 * precision * recall / (precision + recall)
    } else {
        0.0
    };
    Rouge {
        precision,
        recall,
        f,
    }
}

fn tokens(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let runs = lower.split(|c: char| !matches!(c, 'a'..='z' | '0'..='9'));
    runs.filter(|run| !run.is_empty())
        .map(str::to_string)
        .collect()
}

/// Its length, in `O(n m)` time and two rows of memory.
fn longest_common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut above = vec![0; b.len() + 1];
    let mut row = above.clone();
    for left in a {
        for (j, right) in b.iter().enumerate() {
            row[j + 1] = if left == right {
                above[j] + 1
            } else {
                above[j + 1].max(row[j])
            };
        }
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
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
                rouge_l(target, prediction),
                Rouge::default(),
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
}
