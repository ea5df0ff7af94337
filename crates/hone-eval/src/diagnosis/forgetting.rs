//! What the base lost: its loss on general texts, beside that of the tuned model, and how far prompts were moved from it.

use serde::Serialize;

use super::{Finding, Weight, plural};
use crate::statistics::estimate::{mean, standard_error};

/// The texts that are read where the user gives none: plain facts and everyday prose in the words of this project.
const BUILT_IN: &str = include_str!("general.txt");

/// Texts that have nothing to do with any task.
pub fn built_in() -> Vec<&'static str> {
    BUILT_IN
        .split("\n\n")
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect()
}

/// A loss that is larger by this many nats a token, a twentieth in perplexity, …
const LOST: f64 = 0.05;
/// … and by so many of its standard errors counts; the larger one is a problem.
const ERRORS: f64 = 2.0;
const MUCH: f64 = 0.3;

/// One text, read by both models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextLoss {
    /// The base's mean loss, in nats a token.
    pub base: f64,
    /// The tuned model's.
    pub tuned: f64,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Where the texts are from.
    pub origin: String,
    /// Texts.
    pub texts: usize,
    /// The base's mean loss over texts, in nats a token.
    pub base: f64,
    /// The tuned model's.
    pub tuned: f64,
    /// The standard error of the difference.
    pub standard_error: Option<f64>,
    /// KL(tuned‖base) on prompts of the validation set at the last validation, in nats a token.
    pub divergence: Option<f64>,
}

/// Judges losses of general texts; `None` without texts.
pub fn judge(
    losses: &[TextLoss],
    origin: &str,
    divergence: Option<f64>,
) -> Option<(Figures, Vec<Finding>)> {
    let of = |number: fn(&TextLoss) -> f64| -> Vec<f64> { losses.iter().map(number).collect() };
    let differences = of(|text| text.tuned - text.base);
    let figures = Figures {
        origin: origin.to_owned(),
        texts: losses.len(),
        base: mean(&of(|text| text.base))?,
        tuned: mean(&of(|text| text.tuned))?,
        standard_error: standard_error(&differences),
        divergence,
    };
    let lost = figures.tuned - figures.base;
    let is_clear = figures
        .standard_error
        .is_some_and(|error| lost > ERRORS * error);
    if lost <= LOST || !is_clear {
        return Some((figures, vec![]));
    }
    let moved = divergence.map_or(String::new(), |kl| {
        format!("; KL from the base on prompts {kl:.3}")
    });
    let what = format!(
        "general texts cost the tuned model {:.3} nats a token, the base {:.3} ({}, {origin}){moved}: it has forgotten some of what its base knew",
        figures.tuned,
        figures.base,
        plural(losses.len(), "text")
    );
    let weight = if lost > MUCH {
        Weight::Problem
    } else {
        Weight::Warning
    };
    let finding = Finding::new("forgot", weight, what)
        .change("a lower --lr, fewer --epochs or a lower --rank forgets less; so do rows of other kinds in the mixture");
    Some((figures, vec![finding]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(by: f64) -> Vec<TextLoss> {
        let text = |at: usize| {
            let base = 2.0 + at as f64 / 10.0;
            TextLoss {
                base,
                tuned: base + by + (at % 3) as f64 / 100.0,
            }
        };
        (0..20).map(text).collect()
    }

    fn rules(losses: &[TextLoss]) -> Vec<(&'static str, Weight)> {
        let (_, findings) = judge(losses, "built-in", Some(0.4)).unwrap();
        findings
            .iter()
            .map(|finding| (finding.rule, finding.weight))
            .collect()
    }

    #[test]
    fn what_is_lost_is_told_and_what_is_not_is_none() {
        assert_eq!(rules(&texts(0.0)), []);
        assert_eq!(rules(&texts(-0.5)), []);
        assert_eq!(rules(&texts(0.1)), [("forgot", Weight::Warning)]);
        assert_eq!(rules(&texts(0.6)), [("forgot", Weight::Problem)]);
    }

    #[test]
    fn a_difference_that_chance_explains_is_none() {
        let noisy = [1.0, -1.0, 1.2, -0.8, 0.1].map(|by| TextLoss {
            base: 2.0,
            tuned: 2.0 + by,
        });
        assert_eq!(rules(&noisy), []);
        assert_eq!(judge(&[], "none", None), None);
    }

    #[test]
    fn the_built_in_texts_are_many_and_of_some_length() {
        let texts = built_in();
        assert!(texts.len() >= 20, "{}", texts.len());
        assert!(
            texts
                .iter()
                .all(|text| text.split_whitespace().count() >= 30)
        );
    }
}
