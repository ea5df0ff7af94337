//! The peak learning rate that suits a base's width.
//!
//! LoRA's best rate hardly depends on the rank, but it falls as a base gets wider: 2e-4 is the habit of bases around
//! 4096 wide, and a base of 576 learns little from it in a short run. The formula and its exponents are
//! those of `tinker_cookbook` 0.6.1 (`hyperparam_utils.get_lr`), which knows Llama and Qwen; other families get
//! Llama's, and the result stays within what has been tried.

use std::fmt;

use hone_model::arch::DecoderConfig;

/// The rate at the width that the formula was fitted around: ten times a full fine-tuning's 5e-5.
const RATE: f64 = 5e-5 * 10.0;

/// The width that the formula was fitted around.
const WIDTH: f64 = 2000.0;

/// The lowest and the highest rate that a width gives.
pub const RATE_BOUNDS: [f64; 2] = [1e-4, 2e-3];

/// What a fully trained module's rate is of a low-rank pair's: LoRA's best rates are about ten times those of full
/// fine-tuning ("LoRA Without Regret": a fitted factor of 9.8).
pub const WHOLE_SHARE: f64 = 0.1;

/// How steeply the rate falls with the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WidthForm {
    /// Exponent 0.781.
    Llama,
    /// Exponent 0.0775.
    Qwen,
}

/// A base's width and form, from which its rate follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WidthRate {
    width: usize,
    form: WidthForm,
}

impl WidthRate {
    /// Of the base that is adapted.
    pub fn of(base: &DecoderConfig) -> Self {
        let form = match base.model_type.starts_with("qwen") {
            true => WidthForm::Qwen,
            false => WidthForm::Llama,
        };
        Self {
            width: base.d_model,
            form,
        }
    }

    /// `5e-4 · (2000 / width)^p`, within [`RATE_BOUNDS`], in two digits, so that it can be worked out by hand.
    pub fn peak(self) -> f64 {
        let [least, most] = RATE_BOUNDS;
        two_digits(self.unbounded().clamp(least, most))
    }

    fn unbounded(self) -> f64 {
        let exponent = match self.form {
            WidthForm::Llama => 0.781,
            WidthForm::Qwen => 0.0775,
        };
        RATE * (WIDTH / self.width.max(1) as f64).powf(exponent)
    }
}

/// The nearest number of two significant digits.
pub fn two_digits(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

impl fmt::Display for WidthRate {
    /// `width 576, Llama form`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "width {}, {:?} form", self.width, self.form)?;
        let [least, most] = RATE_BOUNDS;
        match self.unbounded() {
            rate if rate > most => write!(f, ", at most {most:e}"),
            rate if rate < least => write!(f, ", at least {least:e}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(width: usize, form: WidthForm) -> WidthRate {
        WidthRate { width, form }
    }

    #[test]
    fn the_rate_of_a_width_is_that_of_tinker_in_two_digits() {
        // Worked out with tinker_cookbook's formula: 5e-5 * 10 * (2000 / width) ** p.
        for (width, form, rate) in [
            (576, WidthForm::Llama, 1.3e-3),
            (2048, WidthForm::Llama, 4.9e-4),
            (4096, WidthForm::Llama, 2.9e-4),
            (8192, WidthForm::Llama, 1.7e-4),
            (896, WidthForm::Qwen, 5.3e-4),
            (3584, WidthForm::Qwen, 4.8e-4),
        ] {
            assert_eq!(of(width, form).peak(), rate, "{width}");
        }
    }

    #[test]
    fn very_narrow_and_very_wide_bases_stay_within_what_has_been_tried() {
        assert_eq!(of(32, WidthForm::Llama).peak(), 2e-3);
        assert_eq!(of(65_536, WidthForm::Llama).peak(), 1e-4);
        assert_eq!(of(0, WidthForm::Llama).peak(), 2e-3);
        let words = |width| of(width, WidthForm::Llama).to_string();
        assert_eq!(words(576), "width 576, Llama form");
        assert_eq!(words(32), "width 32, Llama form, at most 2e-3");
        assert_eq!(words(65_536), "width 65536, Llama form, at least 1e-4");
    }
}
