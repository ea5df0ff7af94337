//! The peak learning rate of a run: what was asked, or what suits the base's width.
//!
//! Settings are decided before the base is opened, so a rate that nobody asked for is open until they meet.

use hone_train::{RATE_BOUNDS, WHOLE_SHARE, WidthRate, two_digits};
use std::fmt;

/// A peak learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Said by somebody: of every trained number.
    Asked(f64),
    /// By the base's width, once there is a base.
    ByWidth(Option<WidthRate>),
}

/// An asked rate this many times outside of what a width gives deserves a word.
const FAR: f64 = 5.0;

impl Rate {
    /// The rate; `None` while it waits for a base.
    pub fn peak(self) -> Option<f64> {
        match self {
            Self::Asked(rate) => Some(rate),
            Self::ByWidth(base) => base.map(WidthRate::peak),
        }
    }

    /// What the rate of fully trained modules is multiplied with: a rate that somebody asked for is meant as it stands.
    pub fn whole_share(self) -> f64 {
        match self {
            Self::Asked(_) => 1.0,
            Self::ByWidth(_) => WHOLE_SHARE,
        }
    }

    /// The rate of fully trained modules.
    pub fn of_whole(self) -> Option<f64> {
        self.peak()
            .map(|peak| two_digits(peak * self.whole_share()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, most] = RATE_BOUNDS;
        match *self {
            Self::ByWidth(None) => f.write_str("by the base's width"),
            Self::ByWidth(Some(base)) => write!(f, "{:e} ({base})", base.peak()),
            Self::Asked(rate) if rate > FAR * most => write!(
                f,
                "{rate:e} (far above the {least:e} to {most:e} that suit most bases: the loss may blow up)"
            ),
            Self::Asked(rate) if rate < least / FAR => write!(
                f,
                "{rate:e} (far below the {least:e} to {most:e} that suit most bases: little may be learned)"
            ),
            Self::Asked(rate) => write!(f, "{rate:e}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_far_outside_of_what_suits_is_remarked_on() {
        let words = |rate| Rate::Asked(rate).to_string();
        assert_eq!(words(2e-4), "2e-4");
        assert_eq!(words(0.01), "1e-2");
        assert!(words(0.1).contains("far above"), "{}", words(0.1));
        assert!(words(1e-6).contains("far below"), "{}", words(1e-6));
    }

    #[test]
    fn a_rate_that_was_asked_for_is_that_of_whole_modules_too() {
        assert_eq!(Rate::Asked(3e-4).of_whole(), Some(3e-4));
        assert_eq!(Rate::ByWidth(None).of_whole(), None);
    }
}
