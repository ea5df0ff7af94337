//! The proof that what was written answers as what was trained: the same texts through both, token by token, and the same
//! prompts answered by both.
//!
//! The reference is the base with its adapter beside it, as it was trained; the other is the file just written, read
//! back as anybody would read it. Two questions are kept apart. Is it what was to be written, rounded to its type and nothing
//! else? If not, it is refused. Does the rounding change what a user sees, replies and the loss of held-out rows? Then it is
//! what was asked for, and the user is warned.

mod distance;
mod replies;
mod rounding;
mod texts;

pub use distance::{After, Comparison, Distance, Replay, compare};
pub use replies::{
    Change, Example, Replies, SHORT_REPLY_TOKENS, Short, TIE_NATS, Validation, WORDING_SHARE,
    changes, worth_seeing,
};
pub use rounding::{BaseRounding, Measured};
pub use texts::{Prompts, Question, REPLIES, Said, Text, evenly};

use hone_model::Residual;
use hone_model::arch::DecoderConfig;
use hone_model::weights::BaseWeights;
use hone_tensor::Format;
use serde::Serialize;

/// What is still the same model, at some precision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bound {
    /// The precision: `bf16`.
    pub precision: &'static str,
    /// Mean divergence over all tokens that rounding of this type may cause, in nats per token. `None` where rounding may cause
    /// so much that the figure tells nothing; there every number is compared instead.
    pub mean_kl: Option<f64>,
    /// Greatest difference of logits that is allowed, as a share of the largest logit of the reference.
    pub max_logit_difference_share: Option<f64>,
    /// Where the figures come from.
    pub reason: &'static str,
}

/// One bound for each precision, coarsest last. Each allows three times and more of what SmolLM2-135M shows, the smallest and so
/// the most delicate model that people use: 2e-11 nats in f32, 5e-6 in f16, 3e-4 in bf16, 2e-3 in 8 bits. It shows 0.09 to
/// 0.28 in 5 and 6 bits and up to 0.57 in 4, where one permuted tensor shows 0.27: there divergence tells rounding from nothing, so
/// [`Compared`] and the settings that were read back decide.
const BOUNDS: [(&[Format], Bound); 6] = [
    (
        &[Format::F32],
        Bound {
            precision: "f32",
            mean_kl: Some(1e-6),
            max_logit_difference_share: Some(1e-3),
            reason: "the same numbers, added in another order",
        },
    ),
    (
        &[Format::F16],
        Bound {
            precision: "f16",
            mean_kl: Some(1e-4),
            max_logit_difference_share: Some(1e-1),
            reason: "weights rounded to 11 bits",
        },
    ),
    (
        &[Format::Bf16],
        Bound {
            precision: "bf16",
            mean_kl: Some(5e-3),
            max_logit_difference_share: None,
            reason: "weights rounded to 8 bits",
        },
    ),
    (
        &[Format::Q8_0],
        Bound {
            precision: "8 bits",
            mean_kl: Some(1e-2),
            max_logit_difference_share: None,
            reason: "weights rounded to 8 bits of their block's largest",
        },
    ),
    (
        &[Format::Q5_0, Format::Q5_1, Format::Q5K, Format::Q6K],
        Bound {
            precision: "5 or 6 bits",
            mean_kl: None,
            max_logit_difference_share: None,
            reason: "weights rounded to 5 or 6 bits of their block's largest",
        },
    ),
    (
        &[Format::Q4_0, Format::Q4_1, Format::Q4K, Format::Nf4],
        Bound {
            precision: "4 bits",
            mean_kl: None,
            max_logit_difference_share: None,
            reason: "weights rounded to 16 levels",
        },
    ),
];

impl Bound {
    /// The bound for numbers written in full.
    pub const FULL: Self = BOUNDS[0].1;

    /// The bound of a model's coarsest format.
    pub fn of(written: &BaseWeights) -> Self {
        let coarsest = written.formats().iter().map(|row| place_of(row.0)).max();
        BOUNDS[coarsest.unwrap_or(0)].1
    }

    /// Whether rounding may hide a single wrong tensor from a replay.
    pub fn is_coarse(&self) -> bool {
        self.mean_kl
            .is_none_or(|mean_kl| Some(mean_kl) >= BOUNDS[3].1.mean_kl)
    }

    /// Whether a distance is within it. What is no number never is.
    pub fn holds(&self, distance: &Distance) -> bool {
        let within = |figure: f64, bound: Option<f64>| match bound {
            Some(bound) => figure <= bound,
            None => figure.is_finite(),
        };
        within(distance.mean_kl, self.mean_kl)
            && within(
                distance.max_logit_difference_share,
                self.max_logit_difference_share,
            )
    }

    /// The bound for another program, which rounds activations too: to 8 bits and fewer where weights are, as llama.cpp does.
    /// `own` is how far the written model is from the reference by our own arithmetic; what another program adds may be as
    /// much again, and a few 8-bit roundings.
    pub fn holds_for_another_program(&self, distance: &Distance, own: &Distance) -> bool {
        let eight_bits = BOUNDS[3].1.mean_kl.unwrap_or_default();
        distance.max_logit_difference.is_finite()
            && distance.mean_kl <= self.mean_kl.unwrap_or(2.0 * own.mean_kl).max(eight_bits)
    }
}

/// The place of a format among [`BOUNDS`].
fn place_of(format: Format) -> usize {
    let found = BOUNDS
        .iter()
        .position(|(formats, _)| formats.contains(&format));
    found.unwrap_or(BOUNDS.len() - 1)
}

/// Layout of `parity.json`.
const VERSION: u32 = 2;

/// What the figures come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was written answers as what was trained.
    Holds,
    /// It is what was to be written, but rounding changes what a user would notice.
    Warned,
    /// It differs by more than the rounding of its type.
    Refused,
}

/// The outcome, for `parity.json` and the card.
#[derive(Debug, Clone, Serialize)]
pub struct Parity {
    /// Layout of this file.
    pub version: u32,
    /// What the figures come to.
    pub verdict: Verdict,
    /// Why it is not `holds`.
    pub reasons: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Where the texts come from.
    pub prompts: String,
    /// Texts whose middle was cut out before they were replayed.
    pub texts_cut: usize,
    /// How far the written model is from the reference, over all tokens.
    #[serde(flatten)]
    pub distance: Distance,
    /// The same over the tokens of replies alone.
    pub reply_tokens: Distance,
    /// What rounding of the written type may cause.
    pub bound: Bound,
    /// Whether it differs by no more than rounding: the verdict is not `refused`.
    pub holds: bool,
    /// Every number compared with the merged one, where precision is coarse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<Compared>,
    /// What rounding alone changes the base by, where precision is coarse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_rounding: Option<Measured>,
    /// Replies to the prompts, before and after.
    pub replies: Replies,
    /// The loss of the rows' replies, before and after, where the texts are rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Read back by others, each with its own distance.
    pub others: Vec<OtherReader>,
}

/// Written tensors, number by number beside the merged ones.
#[derive(Debug, Clone, Serialize)]
pub struct Compared {
    /// How many.
    pub tensors: usize,
    /// Those with a number that rounding does not explain.
    pub beyond_rounding: Vec<String>,
    /// A setting of the model that is read back as another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_setting: Option<String>,
}

impl Compared {
    /// Judges what is left between tensors, and whether the settings that were read back compute the same.
    pub fn of(residuals: &[Residual], merged: &DecoderConfig, there: &DecoderConfig) -> Self {
        let beyond = residuals.iter();
        let beyond = beyond.filter(|residual| !residual.is_rounding_by_block());
        // A file may say the same in its own words.
        let differs = merged.difference(there);
        let differs = differs.and_then(|_| merged.in_gguf().difference(there));
        Self {
            tensors: residuals.len(),
            beyond_rounding: beyond.map(|residual| residual.tensor.clone()).collect(),
            other_setting: differs.map(|(setting, ours, theirs)| {
                format!("`{setting}` is {ours}, and is read back as {theirs}")
            }),
        }
    }

    fn refusal(&self) -> Option<String> {
        let first = self.beyond_rounding.first().map(|first| {
            format!(
                "{} of {} tensors are not the merged ones, `{first}` among them",
                self.beyond_rounding.len(),
                self.tensors
            )
        });
        first.or_else(|| self.other_setting.clone())
    }
}

/// What another program made of the written files.
#[derive(Debug, Clone, Serialize)]
pub struct OtherReader {
    /// Which, and its version.
    pub program: String,
    /// Its distance from the reference.
    #[serde(flatten)]
    pub distance: Distance,
    /// Greedy continuations that are those of the reference, of how many.
    pub same_continuations: (usize, usize),
    /// Whether it is within the bound.
    pub holds: bool,
}

impl Parity {
    /// Judges two models beside each other.
    pub fn new(
        prompts: &Prompts,
        comparison: &Comparison,
        bound: Bound,
        replies: Replies,
        finer: Option<String>,
    ) -> Self {
        let mut parity = Self {
            version: VERSION,
            verdict: Verdict::Holds,
            reasons: vec![],
            advice: finer,
            prompts: prompts.origin.clone(),
            texts_cut: prompts.num_cut,
            distance: comparison.all,
            reply_tokens: comparison.replies,
            bound,
            holds: true,
            compared: None,
            base_rounding: None,
            validation: Validation::of(prompts, comparison),
            replies,
            others: vec![],
        };
        parity.judge();
        parity
    }

    /// With every number compared.
    pub fn with_compared(mut self, compared: Compared) -> Self {
        self.compared = Some(compared);
        self.judge();
        self
    }

    /// With what rounding alone does to the base.
    pub fn with_base_rounding(mut self, measured: Measured) -> Self {
        self.base_rounding = Some(measured);
        self.judge();
        self
    }

    /// With what another program made of it.
    pub fn with_other(mut self, other: OtherReader) -> Self {
        self.others.push(other);
        self.judge();
        self
    }

    fn judge(&mut self) {
        let refusals = self.refusals();
        let warnings = self.warnings();
        self.holds = refusals.is_empty();
        (self.verdict, self.reasons) = match (&refusals[..], &warnings[..]) {
            ([], []) => (Verdict::Holds, vec![]),
            ([], _) => (Verdict::Warned, warnings),
            _ => (Verdict::Refused, refusals),
        };
    }

    fn refusals(&self) -> Vec<String> {
        let mut all = Vec::new();
        if !self.bound.holds(&self.distance) {
            all.push(format!(
                "it is beyond the bound of {}",
                self.bound.precision
            ));
        }
        all.extend(self.compared.as_ref().and_then(Compared::refusal));
        let measured = self.base_rounding.as_ref();
        all.extend(measured.and_then(|measured| measured.refusal(&self.distance)));
        let others = self.others.iter().filter(|other| !other.holds);
        all.extend(others.map(|other| format!("{} reads it otherwise", other.program)));
        all
    }

    fn warnings(&self) -> Vec<String> {
        let loss = self.validation.as_ref().and_then(Validation::warning);
        self.replies.warnings().into_iter().chain(loss).collect()
    }

    /// Whether every tensor is what it should be, and everyone who read it within the bound.
    pub fn all_hold(&self) -> bool {
        self.verdict != Verdict::Refused
    }

    /// The distance in a line.
    pub fn sentence(&self) -> String {
        let Distance {
            tokens,
            mean_kl,
            max_logit_difference,
            largest_logit,
            top1_agreement,
            ..
        } = self.distance;
        let bound = match self.bound.mean_kl {
            Some(bound) => format!("bound {bound:.0e} for {}", self.bound.precision),
            None => format!("{}: no bound of its own", self.bound.precision),
        };
        let of_replies = match self.reply_tokens.tokens {
            0 => String::new(),
            tokens => format!(
                "; over the {tokens} of replies mean KL {:.2e}, top-1 agreement {:.1} %",
                self.reply_tokens.mean_kl,
                100.0 * self.reply_tokens.top1_agreement
            ),
        };
        let compared = match &self.compared {
            Some(compared) => match compared.refusal() {
                Some(refusal) => format!("; {refusal}"),
                None => format!(
                    "; all {} tensors are the merged ones, rounded",
                    compared.tensors
                ),
            },
            None => String::new(),
        };
        let cut = match self.texts_cut {
            0 => String::new(),
            cut => format!(", {cut} of them with the middle cut out"),
        };
        format!(
            "mean KL {mean_kl:.2e} nats ({bound}), greatest logit difference {max_logit_difference:.2e} of {largest_logit:.1}, \
             top-1 agreement {:.1} % over {tokens} tokens of {}{cut}{of_replies}{compared}",
            100.0 * top1_agreement,
            self.prompts,
        )
    }

    /// What a person is told, line by line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.sentence()];
        lines.extend(self.base_rounding.as_ref().map(Measured::sentence));
        lines.extend(self.validation.as_ref().map(Validation::sentence));
        lines.push(self.replies.sentence());
        let examples = self.replies.examples.iter().take(3);
        lines.extend(examples.map(|example| format!("  {}", example.sentence())));
        if self.verdict == Verdict::Warned {
            lines.push(format!(
                "WARNING: {} answer otherwise than what was trained: {}",
                self.bound.precision,
                self.reasons.join("; ")
            ));
            let advice = self.advice.iter();
            lines.extend(advice.map(|advice| format!("hint: {advice}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> DecoderConfig {
        let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/models/tiny-llama-tied");
        BaseWeights::open(&base).unwrap().config().clone()
    }

    fn residual(tensor: &str, largest: f32) -> Residual {
        Residual {
            tensor: tensor.into(),
            largest,
            scale: 1.0,
            rounding: 0.1,
            blocks_beyond: 0,
            is_changed: true,
        }
    }

    fn parity(distance: Distance, bound: Bound) -> Parity {
        let prompts = Prompts::of_texts(vec![Text::of_prompt(vec![1])], "one prompt".into(), 64);
        let comparison = Comparison {
            all: distance,
            after: vec![vec![]],
            ..Comparison::default()
        };
        let replies = Replies::not_asked("in a test");
        Parity::new(&prompts, &comparison, bound, replies, None)
    }

    #[test]
    fn a_tensor_that_rounding_does_not_explain_is_named_though_the_replay_holds() {
        let parity = parity(Distance::default(), Bound::FULL);
        let [right, wrong] = [residual("q", 0.05), residual("k", 0.5)];
        assert_eq!(parity.verdict, Verdict::Holds);
        let refused = parity.clone().with_compared(Compared::of(
            &[right.clone(), wrong],
            &config(),
            &config(),
        ));
        assert_eq!(refused.verdict, Verdict::Refused);
        let said = refused.sentence();
        assert!(
            said.ends_with("; 1 of 2 tensors are not the merged ones, `k` among them"),
            "{said}"
        );
        let mut other = config();
        other.norm_eps = 1e-3;
        let other = Compared::of(std::slice::from_ref(&right), &config(), &other);
        assert!(other.other_setting.is_some());
        assert_eq!(
            parity.clone().with_compared(other).verdict,
            Verdict::Refused
        );
        let held = parity.with_compared(Compared::of(&[right], &config(), &config()));
        assert!(
            held.all_hold()
                && held
                    .sentence()
                    .ends_with("; all 1 tensors are the merged ones, rounded")
        );
    }

    #[test]
    fn what_differs_by_more_than_rounding_changes_the_base_by_is_refused_though_every_tensor_is_right()
     {
        let by = |mean_kl: f64| Distance {
            tokens: 10,
            mean_kl,
            ..Distance::default()
        };
        let rounding = |mean_kl: f64| Measured::Yes(Box::new(BaseRounding::of(by(mean_kl))));
        let four_bits = parity(by(0.3), BOUNDS[5].1);
        assert_eq!(four_bits.verdict, Verdict::Holds);
        let explained = four_bits.clone().with_base_rounding(rounding(0.2));
        assert_eq!(explained.verdict, Verdict::Holds);
        let said = serde_json::to_value(&explained).unwrap();
        assert_eq!(said["base_rounding"]["mean_kl"], 0.2);
        assert!(
            said["base_rounding"]["explains_mean_kl"].as_f64().unwrap() > 0.3,
            "{said}"
        );
        let beyond = four_bits.clone().with_base_rounding(rounding(0.01));
        assert_eq!(beyond.verdict, Verdict::Refused);
        assert!(
            beyond.reasons[0].starts_with(
                "it differs by 3.0e-1 nats, where rounding changes the base by 1.0e-2"
            ),
            "{:?}",
            beyond.reasons
        );
        let why = Measured::No {
            not_measured: "in a test".into(),
        };
        assert_eq!(four_bits.with_base_rounding(why).verdict, Verdict::Holds);
    }

    #[test]
    fn what_is_no_number_is_never_within_a_bound() {
        let replay = |rows: &[f32]| Replay {
            rows: vec![rows.to_vec()],
            vocab: 3,
        };
        let broken = replay(&[1.0, 2.0, 0.5]).distance(&replay(&[1.0, f32::NAN, 0.5]));
        assert!(
            BOUNDS.iter().all(|(_, bound)| !bound.holds(&broken)),
            "{broken:?}"
        );
    }

    #[test]
    fn the_file_says_what_each_bound_is_compared_with() {
        let distance = Distance {
            tokens: 10,
            mean_kl: 2e-3,
            max_logit_difference: 1.5,
            largest_logit: 20.0,
            max_logit_difference_share: 0.075,
            ..Distance::default()
        };
        let said = serde_json::to_value(parity(distance, BOUNDS[1].1)).unwrap();
        assert_eq!(said["version"], 2);
        // Beyond the bound of f16 by its mean, within it by its greatest difference: figure and bound go by one name.
        assert_eq!(
            (&said["verdict"], &said["holds"]),
            (&"refused".into(), &false.into())
        );
        assert_eq!(said["reasons"][0], "it is beyond the bound of f16");
        for name in ["mean_kl", "max_logit_difference_share"] {
            assert!(
                said[name].is_f64() && said["bound"][name].is_f64(),
                "{said}"
            );
        }
        let coarse = serde_json::to_value(parity(distance, BOUNDS[5].1)).unwrap();
        assert_eq!(
            (&coarse["holds"], &coarse["bound"]["mean_kl"]),
            (&true.into(), &serde_json::Value::Null)
        );
    }
}
