//! Texts that two models read, and prompts that both answer.
//!
//! What a fine-tuned model is for stands at the end of a row: the reply. So a row keeps its reply and the end of its prompt,
//! and what is too long is cut in the middle of the prompt.

use hone_data::Example;
use hone_model::{Completion, GenerateError, Model, Reading, Stop};
use hone_text::{Conversation, RenderError, Renderer, Role, Turn};

/// Token ids of the texts that are replayed, what is asked, and where they come from.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// Texts that both models read.
    pub texts: Vec<Text>,
    /// Prompts that both models answer.
    pub questions: Vec<Question>,
    /// `8 held-out rows of the run`.
    pub origin: String,
    /// Texts whose middle was cut out.
    pub num_cut: usize,
    /// How many of them it is worth to ask about, where nobody says how many.
    pub worth_asking: usize,
}

/// A text as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each id, whether it belongs to a reply, which a model has to write.
    pub is_reply: Vec<bool>,
    /// Whether its tokens count in figures; a reply of the reference's own beside a row's is only looked up in.
    pub counts: bool,
    /// Whether it is a row, whose replies are the right ones.
    pub is_row: bool,
}

/// A prompt and, where it comes from a row, the reply that follows there.
#[derive(Debug, Clone)]
pub struct Question {
    /// The text that it begins.
    pub text: usize,
    /// Its ids.
    pub prompt: Vec<u32>,
    /// The row's reply, with the token that ends it.
    pub expected: Option<Vec<u32>>,
    /// What the reference replies, and the text that holds it.
    pub said: Option<Said>,
}

/// A reply and where it is found.
#[derive(Debug, Clone)]
pub struct Said {
    /// The reply, without the token that ended it.
    pub reply: Completion,
    /// The text that holds prompt and reply.
    pub text: usize,
}

/// Texts of several kinds, for adapters that come without rows of their own.
const BUILT_IN: [&str; 8] = [
    "What is the capital of France, and which river runs through it?",
    "Write a haiku about a lighthouse in winter.",
    "Compute 17 * 23 and explain each step.",
    "Explain this line: fn add(a: i32, b: i32) -> i32 { a + b }",
    "Summarise in one sentence: The meeting moved to Tuesday because the room was taken.",
    "Translate to German: The train leaves at seven.",
    "List three animals that sleep in winter.",
    "Is 91 a prime number? Answer yes or no, then say why.",
];

/// Prompts that are answered, where nobody says how many.
pub const REPLIES: usize = 8;

/// The same of built-in ones, which say less about what an adapter is for than rows do.
const REPLIES_TO_BUILT_IN: usize = 4;

/// Longest prompt that is replayed whole, in tokens. Of a longer one the beginning and the end are kept.
const LONGEST_PROMPT: usize = 384;

/// Tokens of a long prompt's beginning that are kept: the system's words, mostly.
const BEGINNING: usize = 64;

/// Longest reply that is replayed whole, in tokens.
const LONGEST_REPLY: usize = 1024;

/// Tokens of texts that are read at once: enough for weights that come from disk to be worth the way.
pub(super) const TOKENS_AT_ONCE: usize = 1024;

/// A reply that is asked for may be this much longer than the row's.
const MORE_THAN_EXPECTED: usize = 8;

/// Longest reply that is asked for, in tokens: enough to see whether it begins alike.
const LONGEST_ANSWER: usize = 32;

/// Longest reply that is asked for where nothing says how long one is.
const ANSWER_TO_A_PROMPT: usize = 16;

impl Text {
    /// A row: ids, and which of them a model has to write.
    pub fn of_row(ids: Vec<u32>, supervised: Vec<bool>) -> Self {
        Self {
            ids,
            is_reply: supervised,
            counts: true,
            is_row: true,
        }
    }

    /// A prompt alone.
    pub fn of_prompt(ids: Vec<u32>) -> Self {
        Self {
            is_reply: vec![false; ids.len()],
            ids,
            counts: true,
            is_row: false,
        }
    }

    /// Where the last reply begins and ends.
    fn last_reply(&self) -> Option<(usize, usize)> {
        let end = self.is_reply.iter().rposition(|&is_reply| is_reply)? + 1;
        let before = self.is_reply[..end].iter().rposition(|&is_reply| !is_reply);
        Some((before.map_or(0, |before| before + 1), end))
    }

    /// Cuts out the middle of a prompt that is too long, and then of a reply; whether anything was cut.
    fn shorten(&mut self, context_len: usize) -> bool {
        let reply = self.last_reply().map_or(self.ids.len(), |(start, _)| start);
        // Half of the context for each, at most.
        let longest_reply = LONGEST_REPLY.min(context_len / 2);
        let longest_prompt = LONGEST_PROMPT.min(context_len / 2);
        let after = self.keep_ends(reply..self.ids.len(), longest_reply / 2, longest_reply);
        let before = self.keep_ends(0..reply, BEGINNING.min(longest_prompt / 2), longest_prompt);
        before || after
    }

    fn keep_ends(&mut self, part: std::ops::Range<usize>, first: usize, most: usize) -> bool {
        let gone = part.len().saturating_sub(most);
        let from = part.start + first;
        self.ids
            .drain(from.min(part.end)..(from + gone).min(part.end));
        self.is_reply
            .drain(from.min(part.end)..(from + gone).min(part.end));
        gone > 0
    }

    /// The prompt before the last reply and that reply; of a text that is one reply, its halves.
    fn split(&self) -> Option<(Vec<u32>, Option<Vec<u32>>)> {
        let (prompt, rest) = match self.last_reply() {
            None => (&self.ids[..], None),
            Some((0, _)) => {
                let (beginning, rest) = self.ids.split_at(self.ids.len().div_ceil(2));
                (beginning, Some(rest))
            }
            Some((start, end)) => (&self.ids[..start], Some(&self.ids[start..end])),
        };
        (!prompt.is_empty()).then(|| (prompt.to_vec(), rest.map(<[u32]>::to_vec)))
    }
}

impl Question {
    /// Most tokens that are asked for.
    pub fn longest_answer(&self) -> usize {
        let expected = self.expected.as_ref();
        expected.map_or(ANSWER_TO_A_PROMPT, |reply| {
            (reply.len() + MORE_THAN_EXPECTED).min(LONGEST_ANSWER)
        })
    }
}

impl Prompts {
    /// The built-in texts, as a user would say them.
    pub fn built_in(renderer: &Renderer, context_len: usize) -> Result<Self, RenderError> {
        let origin = format!("{} built-in prompts", BUILT_IN.len());
        let prompts = Self::said(renderer, BUILT_IN.into_iter(), origin, context_len)?;
        Ok(Self {
            worth_asking: REPLIES_TO_BUILT_IN,
            ..prompts
        })
    }

    /// Texts as a user would say them.
    pub fn said<'a>(
        renderer: &Renderer,
        texts: impl Iterator<Item = &'a str>,
        origin: String,
        context_len: usize,
    ) -> Result<Self, RenderError> {
        let prompt = |text| {
            let conversation = Conversation::new([Turn::new(Role::User, text)]);
            Ok(Text::of_prompt(renderer.encode_prompt(&conversation)?))
        };
        Ok(Self::of_texts(
            texts.map(prompt).collect::<Result<_, RenderError>>()?,
            origin,
            context_len,
        ))
    }

    /// Rows that are encoded already.
    pub fn of_rows<'a>(
        rows: impl Iterator<Item = &'a Example>,
        origin: String,
        context_len: usize,
    ) -> Self {
        let text = |row: &Example| Text::of_row(row.ids.clone(), row.supervised.clone());
        Self::of_texts(rows.map(text).collect(), origin, context_len)
    }

    /// Texts of any kind for models of a context; the middle of what is too long is cut out.
    pub fn of_texts(mut texts: Vec<Text>, origin: String, context_len: usize) -> Self {
        texts.retain(|text| !text.ids.is_empty());
        let cut = texts.iter_mut().map(|text| text.shorten(context_len));
        let num_cut = cut.filter(|&was_cut| was_cut).count();
        Self {
            texts,
            questions: vec![],
            origin,
            num_cut,
            worth_asking: REPLIES,
        }
    }

    /// Asks about up to `most` of the texts, evenly spread.
    pub fn asking(mut self, most: usize) -> Self {
        let places = evenly(self.texts.len(), most);
        let ask = |text: usize| {
            let (prompt, expected) = self.texts[text].split()?;
            Some(Question {
                text,
                prompt,
                expected,
                said: None,
            })
        };
        self.questions = places.into_iter().filter_map(ask).collect();
        self
    }

    /// The most tokens that a model has to be loaded for.
    pub fn longest(&self) -> usize {
        let texts = self.texts.iter().map(|text| text.ids.len());
        let asked = self.questions.iter();
        let answers = asked.map(|question| question.prompt.len() + self.longest_answer() + 1);
        texts.chain(answers).max().unwrap_or(0)
    }

    /// Most tokens of an answer.
    pub fn longest_answer(&self) -> usize {
        let longest = self.questions.iter().map(Question::longest_answer);
        longest.max().unwrap_or(0)
    }

    /// Takes what the reference replies: a prompt that nothing follows is replayed with that reply behind it; beside a
    /// row's reply it is a text of its own, to be looked up in.
    pub fn answered(&mut self, replies: Vec<Completion>) {
        for (question, reply) in self.questions.iter_mut().zip(replies) {
            let stop = match reply.stop {
                Stop::Token(id) => Some(id),
                Stop::Length | Stop::Context | Stop::Caller => None,
            };
            let prompt = &question.prompt;
            let tail: Vec<u32> = reply.ids.iter().copied().chain(stop).collect();
            let ids = [prompt.as_slice(), &tail].concat();
            let own = Text {
                is_reply: (0..ids.len()).map(|at| at >= prompt.len()).collect(),
                ids,
                counts: !self.texts[question.text].is_row,
                is_row: false,
            };
            let text = match &mut self.texts[question.text] {
                row if row.ids.starts_with(&own.ids) => question.text,
                prompt if !prompt.is_row => {
                    *prompt = own;
                    question.text
                }
                _ => {
                    self.texts.push(own);
                    self.texts.len() - 1
                }
            };
            question.said = Some(Said { reply, text });
        }
    }

    /// Reads the texts with a model, up to its head, some at a time.
    pub fn read(&self, model: &Model) -> Result<Vec<Reading>, GenerateError> {
        let mut read = Vec::new();
        let mut rest = &self.texts[..];
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|text| {
                tokens += text.ids.len();
                tokens <= TOKENS_AT_ONCE
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            let ids: Vec<Vec<u32>> = now.iter().map(|text| text.ids.clone()).collect();
            read.push(model.read(&ids)?);
            rest = later;
        }
        Ok(read)
    }

    /// The ids of the texts that count.
    pub fn counted(&self) -> Vec<&[u32]> {
        let counted = self.texts.iter().filter(|text| text.counts);
        counted.map(|text| text.ids.as_slice()).collect()
    }
}

/// Up to `most` of `count` places, evenly spread.
pub fn evenly(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|at| at * count / taken.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompt: usize, reply: usize) -> Text {
        let ids = (0..(prompt + reply) as u32).collect();
        let supervised = (0..prompt + reply).map(|at| at >= prompt).collect();
        Text::of_row(ids, supervised)
    }

    #[test]
    fn a_long_row_keeps_its_reply_whole_and_the_end_of_its_prompt() {
        let prompts = Prompts::of_texts(vec![row(2000, 300), row(100, 5)], "rows".into(), 4096);
        assert_eq!(prompts.num_cut, 1);
        let long = &prompts.texts[0];
        let kept: Vec<u32> = (0..64).chain(1680..2300).collect();
        assert_eq!(long.ids, kept);
        assert_eq!(long.last_reply(), Some((384, 684)));
        assert_eq!(prompts.texts[1], row(100, 5));
    }

    #[test]
    fn of_a_reply_beyond_all_bounds_both_ends_are_kept() {
        let prompts = Prompts::of_texts(vec![row(10, 5000)], "rows".into(), 4096);
        let text = &prompts.texts[0];
        assert_eq!((prompts.num_cut, text.ids.len()), (1, 10 + LONGEST_REPLY));
        assert_eq!(text.ids.last(), Some(&5009));
    }

    #[test]
    fn the_last_reply_is_asked_for_and_everything_before_it_is_the_prompt() {
        // Two turns of a conversation: the first reply belongs to the prompt of the second.
        let supervised = [false, true, false, false, true, true, false].to_vec();
        let two_turns = Text::of_row((0..7).collect(), supervised);
        let all_reply = Text::of_row(vec![5, 6, 7], vec![true; 3]);
        let asked = Prompts::of_texts(vec![two_turns, all_reply], "rows".into(), 4096).asking(9);
        let [last, half] = &asked.questions[..] else {
            panic!("{asked:?}")
        };
        assert_eq!(last.prompt, [0, 1, 2, 3]);
        assert_eq!(last.expected, Some(vec![4, 5]));
        assert_eq!(
            (&half.prompt, &half.expected),
            (&vec![5, 6], &Some(vec![7]))
        );
    }

    #[test]
    fn a_reply_of_the_references_own_is_read_beside_the_rows() {
        let mut prompts = Prompts::of_texts(
            vec![row(3, 2), row(3, 2), Text::of_prompt(vec![9])],
            "rows".into(),
            4096,
        )
        .asking(3);
        let reply = |ids: &[u32], stop| Completion {
            ids: ids.to_vec(),
            stop,
        };
        prompts.answered(vec![
            reply(&[3], Stop::Token(4)),
            reply(&[8], Stop::Token(4)),
            reply(&[8, 8], Stop::Length),
        ]);
        let place = |at: usize| prompts.questions[at].said.as_ref().unwrap().text;
        assert_eq!((place(0), place(1), place(2)), (0, 3, 2));
        assert_eq!(prompts.texts[3].ids, [0, 1, 2, 8, 4]);
        assert!(!prompts.texts[3].counts);
        assert_eq!(prompts.texts[2].is_reply, [false, true, true]);
        assert_eq!(prompts.counted().len(), 3);
    }

    #[test]
    fn places_are_spread_over_all_there_are() {
        assert_eq!(evenly(10, 4), [0, 2, 5, 7]);
        assert_eq!(evenly(3, 8), [0, 1, 2]);
        assert_eq!(evenly(0, 8), [0; 0]);
    }
}
