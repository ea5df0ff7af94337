//! What was asked, expected and answered, row by row: the lines of a report's `answers.jsonl`.

use hone_data::{Body, Record};
use hone_text::Turn;
use serde::Serialize;

use crate::harness::Judged;

/// One row and what one model, or base and tuned model, made of it.
#[derive(Debug, Serialize)]
pub struct AnswerLine<'a> {
    /// Where the row was read.
    pub source: String,
    /// Its task.
    pub task: &'a str,
    /// All turns before the reply; none of a text.
    pub prompt: &'a [Turn],
    /// What should be said; of a text, the text.
    pub reference: &'a str,
    /// Was the tuned model trained on the prompt? Left out where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<bool>,
    /// What the base said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Said<'a>>,
    /// What the tuned model said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuned: Option<Said<'a>>,
}

/// What a model said to a row, and how it is scored.
#[derive(Debug, Serialize)]
pub struct Said<'a> {
    /// The answer; `None` where nothing was asked: a text, or a reply that calls tools.
    pub text: Option<&'a str>,
    /// Why it ended.
    pub stop: Option<String>,
    /// Was it the expected one?
    pub exact_match: Option<bool>,
    /// Its ROUGE-L F.
    #[serde(rename = "rougeL")]
    pub rouge_l: Option<f64>,
    /// Nats for each supervised token of the reference.
    pub loss: Option<f64>,
    /// How many those are.
    pub loss_tokens: u64,
}

impl<'a> Said<'a> {
    /// What a model made of a row.
    pub fn of(judged: &'a Judged) -> Self {
        let (score, answer) = (&judged.score, judged.answer.as_ref());
        Self {
            text: answer.map(|answer| answer.text.as_str()),
            stop: answer.map(|answer| answer.stop.to_string()),
            exact_match: score.exact_match,
            rouge_l: score.rouge_l,
            loss: (score.tokens > 0).then(|| score.nats / score.tokens as f64),
            loss_tokens: score.tokens,
        }
    }
}

impl<'a> AnswerLine<'a> {
    /// The row that was judged, without what was made of it.
    pub fn of(records: &'a [Record], judged: &'a Judged) -> Self {
        let record = &records[judged.score.row];
        let (prompt, reference) = match &record.body {
            Body::Chat(chat) => match chat.turns.split_last() {
                Some((last, prompt)) => (prompt, last.text.as_str()),
                None => (&[][..], ""),
            },
            Body::Text(text) => (&[][..], text.as_str()),
            // Preferences are not judged by.
            Body::Preference(_) | Body::Unpaired(_) => (&[][..], ""),
        };
        Self {
            source: record.source.to_string(),
            task: &judged.score.task,
            prompt,
            reference,
            trained_on: None,
            base: None,
            tuned: None,
        }
    }
}
