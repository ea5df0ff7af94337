//! Exact match and token F1: is the answer the answer?
//!
//! Two rules are in use and give different numbers, so the rule is a value that travels with the score:
//! [`Rule::Strict`] for labels and code, where a dot or a capital matters, and [`Rule::Squad`] for prose
//! answers, as the SQuAD 1.1 evaluation script normalises them.

use std::collections::HashMap;

use serde::Serialize;

/// What counts as equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Equal but for white space at both ends.
    Strict,
    /// Equal after SQuAD's normalisation: lower case, no ASCII punctuation, no articles, single spaces.
    Squad,
}

/// Whether the prediction is the target.
pub fn exact_match(target: &str, prediction: &str, rule: Rule) -> bool {
    match rule {
        Rule::Strict => target.trim() == prediction.trim(),
        Rule::Squad => squad_words(target) == squad_words(prediction),
    }
}

/// Harmonic mean of precision and recall over the words left by SQuAD's normalisation, each counted as often
/// as it occurs in both.
pub fn token_f1(target: &str, prediction: &str) -> f64 {
    let (target, prediction) = (squad_words(target), squad_words(prediction));
    if target.is_empty() || prediction.is_empty() {
        return f64::from(target.len() == prediction.len());
    }
    let shared = shared_words(&target, &prediction) as f64;
    if shared == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (
        shared / prediction.len() as f64,
        shared / target.len() as f64,
    );
    2.0 * precision * recall / (precision + recall)
}

/// Exact match and F1 against several answers of which any would do, as SQuAD's script takes the best of each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Squad {
    /// Whether one of the answers was given.
    pub exact_match: bool,
    /// The highest F1.
    pub f1: f64,
}

/// SQuAD's two numbers; `None` without an answer to compare with.
pub fn squad<S: AsRef<str>>(targets: &[S], prediction: &str) -> Option<Squad> {
    let of = |target: &S| Squad {
        exact_match: exact_match(target.as_ref(), prediction, Rule::Squad),
        f1: token_f1(target.as_ref(), prediction),
    };
    targets.iter().map(of).reduce(|best, other| Squad {
        exact_match: best.exact_match || other.exact_match,
        f1: best.f1.max(other.f1),
    })
}

fn shared_words(target: &[String], prediction: &[String]) -> usize {
    let mut left: HashMap<&str, usize> = HashMap::new();
    target
        .iter()
        .for_each(|word| *left.entry(word).or_default() += 1);
    let mut take = |word: &String| match left.get_mut(word.as_str()) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    prediction.iter().filter(|word| take(word)).count()
}

fn squad_words(text: &str) -> Vec<String> {
    let plain: String = text
        .to_lowercase()
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    without_articles(&plain)
        .split(is_space)
        .filter(|word| !word.is_empty())
        .map(str::to_string)
        .collect()
}

/// `re.sub(r"\b(a|an|the)\b", " ", text)`: an article is a whole run of word characters, so the one in
/// `the–end` goes and the one in `theory` stays.
fn without_articles(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = first.is_alphanumeric();
        let end = rest
            .find(|c: char| c.is_alphanumeric() != in_word)
            .unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        kept.push_str(if matches!(run, "a" | "an" | "the") {
            " "
        } else {
            run
        });
        rest = tail;
    }
    kept
}

/// Python's `str.split` also splits at the four ASCII separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_forgives_only_white_space_at_the_ends() {
        assert!(exact_match("style", " style\n", Rule::Strict));
        for other in ["Style", "style.", "the style", "sty le"] {
            assert!(!exact_match("style", other, Rule::Strict), "{other}");
        }
    }

    #[test]
    fn squad_forgives_case_punctuation_articles_and_spacing() {
        for same in [
            "The Eiffel  tower",
            "eiffel tower!",
            "(an) Eiffel\ttower",
            "Eiffel\x1ctower",
        ] {
            assert!(exact_match("Eiffel Tower", same, Rule::Squad), "{same}");
        }
        for other in ["Eiffel theory tower", "EiffelTower", "Eiffel Tower 2"] {
            assert!(!exact_match("Eiffel Tower", other, Rule::Squad), "{other}");
        }
    }

    #[test]
    fn squad_removes_only_ascii_punctuation() {
        assert!(!exact_match("end", "“end”", Rule::Squad));
        assert!(exact_match("–end", "the–end", Rule::Squad));
    }

    #[test]
    fn f1_counts_each_word_as_often_as_both_have_it() {
        assert_eq!(token_f1("x x y", "x y y"), 2.0 / 3.0);
        assert_eq!(token_f1("x", "x x x x"), 0.4);
        assert_eq!(token_f1("x", "y"), 0.0);
    }

    #[test]
    fn f1_of_empty_answers_is_one_only_when_both_are() {
        assert_eq!(token_f1("the", "..."), 1.0);
        assert_eq!(token_f1("", "x"), 0.0);
        assert_eq!(token_f1("x", ""), 0.0);
    }
}
