//! What a user would notice: replies that change, right answers that are no longer given, a validation loss that rises.
//!
//! The reference replies to every prompt. Whether the written model gives the same reply needs no second generation: it has
//! read prompt and reply, and what it finds likeliest after each token says where it would have gone on otherwise.

use super::distance::{After, Comparison};
use super::texts::{Prompts, Question};
use hone_eval::metric::exact::{Rule, exact_match};
use serde::Serialize;

/// A reply that changes where the reference itself was this undecided between the two tokens is a tie: another order of
/// summation, another processor or another batch may choose the other one as well.
pub const TIE_NATS: f64 = 0.05;

/// A row's reply of at most this many tokens is an answer that is right or wrong: a label, a number, a name.
pub const SHORT_REPLY_TOKENS: usize = 16;

/// Of longer replies this share may be worded otherwise before there is a warning: one token among many that takes another
/// turn changes the rest of a text, and says little.
pub const WORDING_SHARE: f64 = 0.5;

/// Changed replies that are written out whole where nothing says what is right.
const EXAMPLES: usize = 3;

/// Characters of a text that an example shows.
const SHOWN: usize = 120;

/// What became of the replies.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replies {
    /// Prompts that were answered by both.
    pub asked: usize,
    /// Why none were, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_asked: Option<&'static str>,
    /// The most tokens that a reply could have.
    pub longest: usize,
    /// Replies that are not the same, token for token.
    pub changed: usize,
    /// Those of them where the reference was not undecided.
    pub changed_beyond_ties: usize,
    /// What counts as undecided: a lead of at most this much.
    pub tie_nats: f64,
    /// Rows whose reply has few tokens.
    pub short: Short,
    /// Those that changed and are worth seeing.
    pub examples: Vec<Example>,
}

/// Rows whose reply is short enough to be right or wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Short {
    /// How many were asked.
    pub asked: usize,
    /// A reply of at most this many tokens is short.
    pub most_tokens: usize,
    /// Replies that changed beyond ties.
    pub changed_beyond_ties: usize,
    /// Replies of the reference that are the row's.
    pub right_before: usize,
    /// Replies of the written model that are the row's.
    pub right_after: usize,
}

/// A reply that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// How the prompt ends.
    pub prompt_end: String,
    /// What the row says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What the reference says.
    pub before: String,
    /// What the written model says.
    pub after: String,
    /// Tokens of the reply that are the same.
    pub same_tokens: usize,
    /// How sure the reference was of its token against the other one, in nats.
    pub lead_nats: f64,
}

/// A question whose reply changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Which question.
    pub question: usize,
    /// Tokens of the reply that are the same.
    pub at: usize,
    /// How sure the reference was, in nats.
    pub lead: f64,
}

/// Where the written model would have gone on otherwise than the reference replied.
pub fn changes(prompts: &Prompts, comparison: &Comparison) -> Vec<Change> {
    let change = |(question, asked): (usize, &Question)| {
        let said = asked.said.as_ref()?;
        let text = &prompts.texts[said.text];
        let first = asked.prompt.len();
        let end = first + said.reply.ids.len();
        // The token that ended the reply belongs to it as well.
        let end = end + usize::from(matches!(said.reply.stop, hone_model::Stop::Token(_)));
        let tokens = first..end.min(text.ids.len());
        tokens.into_iter().find_map(|place| {
            let after: &After = &comparison.after[said.text][place - 1];
            (after.written != text.ids[place]).then(|| Change {
                question,
                at: place - first,
                lead: f64::from(after.lead),
            })
        })
    };
    let asked = prompts.questions.iter().enumerate();
    asked.filter_map(change).collect()
}

/// Which of the changes need the written model's own words: short replies, which are right or wrong, and a few of the others,
/// the surest first.
pub fn worth_seeing(prompts: &Prompts, changes: &[Change]) -> Vec<bool> {
    let is_short = |change: &Change| prompts.questions[change.question].is_short();
    let mut seen: Vec<bool> = changes.iter().map(is_short).collect();
    let mut others: Vec<usize> = (0..changes.len()).filter(|at| !seen[*at]).collect();
    others.sort_by(|a, b| changes[*b].lead.total_cmp(&changes[*a].lead));
    others.iter().take(EXAMPLES).for_each(|at| seen[*at] = true);
    seen
}

impl Question {
    /// Whether the row's reply is an answer that is right or wrong.
    fn is_short(&self) -> bool {
        let expected = self.expected.as_ref();
        expected.is_some_and(|ids| ids.len() <= SHORT_REPLY_TOKENS)
    }
}

impl Replies {
    /// None were asked for.
    pub fn not_asked(why: &'static str) -> Self {
        Self {
            not_asked: Some(why),
            tie_nats: TIE_NATS,
            ..Self::default()
        }
    }

    /// From the replies that changed and what the written model says instead of those that are [`worth_seeing`]; `text_of`
    /// decodes.
    pub fn of(
        prompts: &Prompts,
        changes: &[Change],
        instead: &[Option<Vec<u32>>],
        text_of: &dyn Fn(&[u32]) -> String,
    ) -> Self {
        let mut replies = Self {
            asked: prompts.questions.len(),
            longest: prompts.longest_answer(),
            changed: changes.len(),
            tie_nats: TIE_NATS,
            short: Short {
                most_tokens: SHORT_REPLY_TOKENS,
                ..Short::default()
            },
            ..Self::default()
        };
        for (at, question) in prompts.questions.iter().enumerate() {
            let Some(said) = &question.said else { continue };
            let place = changes.iter().position(|change| change.question == at);
            let change = place.map(|place| &changes[place]);
            let before = text_of(&said.reply.ids);
            let after = place.and_then(|place| instead[place].as_deref());
            let after = after.map(text_of);
            let is_beyond = change.is_some_and(|change| change.lead > TIE_NATS);
            replies.changed_beyond_ties += usize::from(is_beyond);
            let expected = question.expected.as_ref();
            if let Some(expected) = expected.filter(|_| question.is_short()) {
                let right = text_of(expected);
                let is_right = |said: &str| usize::from(exact_match(&right, said, Rule::Strict));
                replies.short.asked += 1;
                replies.short.changed_beyond_ties += usize::from(is_beyond);
                replies.short.right_before += is_right(&before);
                replies.short.right_after += is_right(after.as_deref().unwrap_or(&before));
            }
            if let (Some(change), Some(after)) = (change, after) {
                replies.examples.push(Example {
                    prompt_end: end_of(&text_of(&question.prompt)),
                    expected: expected.map(|ids| start_of(&text_of(ids))),
                    before: start_of(&before),
                    after: start_of(&after),
                    same_tokens: change.at,
                    lead_nats: change.lead,
                });
            }
        }
        // Those that were sure come first: they are what somebody would want to see.
        replies
            .examples
            .sort_by(|a, b| b.lead_nats.total_cmp(&a.lead_nats));
        replies
    }

    /// Replies longer than a short answer.
    fn long(&self) -> (usize, usize) {
        let asked = self.asked - self.short.asked;
        let changed = self.changed_beyond_ties - self.short.changed_beyond_ties;
        (changed, asked)
    }

    /// Why somebody should look before they use it.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        let short = &self.short;
        if short.changed_beyond_ties > 0 {
            all.push(format!(
                "{} of {} short replies changed ({} were right, {} are)",
                short.changed_beyond_ties, short.asked, short.right_before, short.right_after
            ));
        }
        let (changed, asked) = self.long();
        if changed as f64 > WORDING_SHARE * asked as f64 {
            all.push(format!("{changed} of {asked} longer replies changed"));
        }
        all
    }

    /// In a line.
    pub fn sentence(&self) -> String {
        if let Some(why) = self.not_asked {
            return format!("no replies were compared ({why})");
        }
        let ties = match self.changed - self.changed_beyond_ties {
            0 => String::new(),
            ties => format!(", {ties} of them a tie between two tokens"),
        };
        let right = match self.short.asked {
            0 => String::new(),
            asked => format!(
                "; of {asked} short ones {} were right before, {} after",
                self.short.right_before, self.short.right_after
            ),
        };
        format!(
            "{} of {} replies changed{ties}{right}",
            self.changed, self.asked
        )
    }
}

impl Example {
    /// In a line.
    pub fn sentence(&self) -> String {
        let expected = match &self.expected {
            Some(expected) => format!(" (the row says {expected:?})"),
            None => String::new(),
        };
        format!(
            "…{:?}: {:?} became {:?}{expected}",
            self.prompt_end, self.before, self.after
        )
    }
}

/// The loss of the rows' replies before and after.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Validation {
    /// Rows.
    pub rows: usize,
    /// Tokens of their replies.
    pub tokens: usize,
    /// Mean negative log-likelihood of the reference, in nats per token.
    pub loss_before: f64,
    /// That of the written model.
    pub loss_after: f64,
    /// Standard error of the difference, rows as they differ from each other; not known for a single row.
    pub standard_error: Option<f64>,
}

/// A rise of the loss below this share of it is no news, however sure it is.
const LOSS_SHARE: f64 = 0.01;

impl Validation {
    /// The loss over the replies of rows; `None` where no text is a row.
    pub fn of(prompts: &Prompts, comparison: &Comparison) -> Option<Self> {
        // Nats before, nats after and tokens of each row.
        let mut rows: Vec<(f64, f64, usize)> = Vec::new();
        let texts = prompts.texts.iter().zip(&comparison.after);
        for (_, after) in texts.filter(|(text, _)| text.is_row) {
            let both = after.iter().filter_map(|after| after.nll);
            let (mut row, mut tokens) = ((0.0, 0.0), 0);
            for (before, after) in both {
                row = (row.0 + before, row.1 + after);
                tokens += 1;
            }
            if tokens > 0 {
                rows.push((row.0, row.1, tokens));
            }
        }
        let tokens: usize = rows.iter().map(|row| row.2).sum();
        if tokens == 0 {
            return None;
        }
        let of = |part: fn(&(f64, f64, usize)) -> f64| rows.iter().map(part).sum::<f64>();
        let (before, after) = (
            of(|row| row.0) / tokens as f64,
            of(|row| row.1) / tokens as f64,
        );
        let spread = rows.iter().map(|(before_row, after_row, tokens)| {
            let off = after_row - before_row - (after - before) * *tokens as f64;
            off * off
        });
        let count = rows.len() as f64;
        let error = (spread.sum::<f64>() * count / (count - 1.0)).sqrt() / tokens as f64;
        Some(Self {
            rows: rows.len(),
            tokens,
            loss_before: before,
            loss_after: after,
            standard_error: (rows.len() > 1).then_some(error),
        })
    }

    /// Why somebody should look before they use it: the loss rises by more than twice its standard error.
    pub fn warning(&self) -> Option<String> {
        let rise = self.loss_after - self.loss_before;
        let is_news = rise > LOSS_SHARE * self.loss_before || rise.is_nan();
        let is_sure = self.standard_error.is_none_or(|error| rise > 2.0 * error);
        (is_news && is_sure).then(|| {
            format!(
                "the loss of {} rows rises from {:.4} to {:.4}",
                self.rows, self.loss_before, self.loss_after
            )
        })
    }

    /// In a line.
    pub fn sentence(&self) -> String {
        let error = self
            .standard_error
            .map(|error| format!(" (standard error of the difference {error:.4})"));
        format!(
            "validation loss of these rows {:.4} before, {:.4} after{}",
            self.loss_before,
            self.loss_after,
            error.unwrap_or_default()
        )
    }
}

fn start_of(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn end_of(text: &str) -> String {
    let count = text.chars().count();
    text.chars().skip(count.saturating_sub(SHOWN)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::texts::Text;
    use super::*;
    use hone_model::{Completion, Stop};

    fn after(written: u32, lead: f32) -> After {
        After {
            reference: 0,
            written,
            lead,
            nll: None,
        }
    }

    /// One row: prompt 1 2, reply 3 and the end token 4; the reference says what the row says.
    fn asked() -> Prompts {
        let row = Text::of_row(vec![1, 2, 3, 4], vec![false, false, true, true]);
        let mut prompts = Prompts::of_texts(vec![row], "one row".into(), 4096).asking(1);
        prompts.answered(vec![Completion {
            ids: vec![3],
            stop: Stop::Token(4),
        }]);
        prompts
    }

    fn text_of(ids: &[u32]) -> String {
        let ids = ids.iter().filter(|id| **id != 4);
        ids.map(|id| format!("t{id} ")).collect()
    }

    #[test]
    fn a_reply_is_the_same_where_the_written_model_would_have_gone_on_alike() {
        let prompts = asked();
        let same = Comparison {
            after: vec![vec![
                after(9, 0.0),
                after(3, 0.0),
                after(4, 0.0),
                after(7, 0.0),
            ]],
            ..Comparison::default()
        };
        assert_eq!(changes(&prompts, &same), []);
        let replies = Replies::of(&prompts, &[], &[], &text_of);
        assert_eq!((replies.asked, replies.changed), (1, 0));
        assert_eq!(
            (replies.short.right_before, replies.short.right_after),
            (1, 1)
        );
        assert_eq!(
            replies.sentence(),
            "0 of 1 replies changed; of 1 short ones 1 were right before, 1 after"
        );
    }

    #[test]
    fn a_label_that_changes_is_a_warning_with_an_example_and_a_tie_is_none() {
        let prompts = asked();
        for (lead, beyond) in [(0.7, 1), (0.01, 0)] {
            let other = Comparison {
                after: vec![vec![
                    after(9, 0.0),
                    after(8, lead),
                    after(4, 0.0),
                    after(7, 0.0),
                ]],
                ..Comparison::default()
            };
            let changed = changes(&prompts, &other);
            assert_eq!((changed.len(), changed[0].at), (1, 0));
            let replies = Replies::of(&prompts, &changed, &[Some(vec![8])], &text_of);
            assert_eq!((replies.changed, replies.changed_beyond_ties), (1, beyond));
            assert_eq!(
                (replies.short.right_before, replies.short.right_after),
                (1, 0)
            );
            assert_eq!(replies.warnings().len(), beyond);
            let example = &replies.examples[0];
            assert_eq!((&*example.before, &*example.after), ("t3 ", "t8 "));
            assert_eq!(example.expected.as_deref(), Some("t3 "));
        }
    }

    #[test]
    fn a_reply_that_would_have_gone_on_is_changed_at_its_end_token() {
        let prompts = asked();
        let longer = Comparison {
            after: vec![vec![
                after(9, 0.0),
                after(3, 0.0),
                after(5, 2.0),
                after(7, 0.0),
            ]],
            ..Comparison::default()
        };
        let changed = changes(&prompts, &longer);
        assert_eq!((changed[0].at, changed[0].lead), (1, 2.0));
    }

    #[test]
    fn a_loss_that_rises_in_every_row_is_a_warning_and_one_that_wavers_is_none() {
        let loss = |rows: &[(f64, f64)]| {
            let text = |_: &(f64, f64)| Text::of_row(vec![1, 2], vec![false, true]);
            let prompts = Prompts::of_texts(rows.iter().map(text).collect(), "rows".into(), 4096);
            let nll = |row: &(f64, f64)| {
                vec![After {
                    nll: Some(*row),
                    ..after(0, 0.0)
                }]
            };
            let comparison = Comparison {
                after: rows.iter().map(nll).collect(),
                ..Comparison::default()
            };
            Validation::of(&prompts, &comparison).unwrap()
        };
        let rises = loss(&[(1.0, 1.4), (2.0, 2.5), (1.5, 1.9), (1.1, 1.6)]);
        assert_eq!((rises.rows, rises.tokens, rises.loss_before), (4, 4, 1.4));
        assert!(rises.warning().is_some(), "{rises:?}");
        // Four differences 0.4, 0.5, 0.4, 0.5: their standard deviation over two.
        assert!((rises.standard_error.unwrap() - 0.003_333_333_f64.sqrt() / 2.0).abs() < 1e-6);
        let wavers = loss(&[(1.0, 1.4), (2.0, 1.6), (1.5, 1.9), (1.1, 0.9)]);
        assert!(wavers.warning().is_none(), "{wavers:?}");
        let falls = loss(&[(1.0, 0.4), (2.0, 1.5), (1.5, 0.9), (1.1, 0.6)]);
        assert!(falls.warning().is_none(), "{falls:?}");
    }
}
