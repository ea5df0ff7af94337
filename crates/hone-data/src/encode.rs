//! Records to examples: ids, and which of them are trained on.
//!
//! Rows that do not fit are dropped whole by default: a reply cut in the middle teaches a model to
//! stop in the middle.

use std::num::NonZero;
use std::thread;

use hone_text::{Encoded, Renderer, Role, Turn};
use serde::{Deserialize, Serialize};

use crate::{Body, Reason, Record, Refused, Source};

/// What happens to a row longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TooLong {
    /// It is refused.
    #[default]
    Drop,
    /// Its end is cut off; it is refused only if nothing to learn from is left.
    #[serde(rename = "truncate")]
    TruncateEnd,
}

/// A row as a model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each id, whether the model is taught to write it; true for at least one after the first.
    pub supervised: Vec<bool>,
    /// Index into [`Encoding::tasks`].
    pub task: usize,
    /// Index into the records that were encoded.
    pub row: usize,
}

/// Examples, and what became of the other rows.
#[derive(Debug, Default)]
pub struct Encoding {
    /// The usable rows, in their order.
    pub examples: Vec<Example>,
    /// The names of the tasks, in alphabetical order.
    pub tasks: Vec<String>,
    /// Rows that are not used.
    pub refused: Vec<Refused>,
    /// Rows whose end was cut off.
    pub truncated: Vec<Truncated>,
    /// Replies of usable rows that are context only, since the template shows them otherwise than a model has to write
    /// them once the conversation has gone on ([`Encoded::context_replies`]).
    pub num_context_replies: usize,
}

/// A row whose end was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Where it stands.
    pub source: Source,
    /// How long it was.
    pub tokens: usize,
}

impl Example {
    /// How many ids are trained on. The first one has nothing before it to be predicted from.
    pub fn num_supervised(&self) -> usize {
        self.supervised
            .iter()
            .skip(1)
            .filter(|&&supervised| supervised)
            .count()
    }
}

impl Encoding {
    /// Tokens of all examples.
    pub fn num_tokens(&self) -> usize {
        self.examples.iter().map(|example| example.ids.len()).sum()
    }

    /// Learnt tokens of all examples.
    pub fn num_supervised(&self) -> usize {
        self.examples.iter().map(Example::num_supervised).sum()
    }
}

/// Encodes every record on all cores, in order.
pub fn encode(
    renderer: &Renderer,
    records: &[Record],
    max_length: usize,
    too_long: TooLong,
) -> Encoding {
    let mut tasks: Vec<String> = records.iter().map(|record| record.task.clone()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let mut encoding = Encoding {
        tasks,
        ..Encoding::default()
    };
    for (row, outcome) in encode_all(renderer, records).into_iter().enumerate() {
        let fitted = outcome.and_then(|encoded| fit(encoded, max_length, too_long));
        encoding.add(row, &records[row], fitted);
    }
    encoding
}

impl Encoding {
    fn add(&mut self, row: usize, record: &Record, fitted: Result<Fitted, Reason>) {
        let source = || record.source.clone();
        match fitted {
            Err(reason) => self.refused.push(Refused {
                source: source(),
                reason,
            }),
            Ok(fitted) => {
                self.num_context_replies += fitted.num_context_replies;
                self.truncated
                    .extend(fitted.cut_from.map(|tokens| Truncated {
                        source: source(),
                        tokens,
                    }));
                self.examples.push(Example {
                    ids: fitted.ids,
                    supervised: fitted.supervised,
                    task: self
                        .tasks
                        .binary_search(&record.task)
                        .expect("every task is listed"),
                    row,
                });
            }
        }
    }
}

/// Ids within the limit.
struct Fitted {
    ids: Vec<u32>,
    supervised: Vec<bool>,
    /// The length before the end was cut off.
    cut_from: Option<usize>,
    num_context_replies: usize,
}

fn fit(encoded: Encoded, limit: usize, too_long: TooLong) -> Result<Fitted, Reason> {
    let Encoded {
        mut ids,
        mut supervised,
        context_replies,
        ..
    } = encoded;
    let num_context_replies = context_replies.len();
    let learns = |supervised: &[bool]| supervised.iter().skip(1).any(|&supervised| supervised);
    let tokens = ids.len();
    if !learns(&supervised) {
        return Err(Reason::NothingSupervised);
    }
    if tokens <= limit {
        return Ok(Fitted {
            ids,
            supervised,
            cut_from: None,
            num_context_replies,
        });
    }
    ids.truncate(limit);
    supervised.truncate(limit);
    match too_long {
        TooLong::Drop => Err(Reason::TooLong { tokens, limit }),
        TooLong::TruncateEnd if !learns(&supervised) => {
            Err(Reason::PromptTooLong { tokens, limit })
        }
        TooLong::TruncateEnd => Ok(Fitted {
            ids,
            supervised,
            cut_from: Some(tokens),
            num_context_replies,
        }),
    }
}

/// How many tokens a row may have where nobody says.
pub const DEFAULT_MAX_LENGTH: usize = 1024;

/// What a record has to be so that something trains on it: the one question that every command asks that reads rows.
#[derive(Clone, Copy)]
pub struct Usable<'a> {
    /// The template and the tokens of a model; without it lengths are not counted, and only what holds for every model is
    /// known.
    pub renderer: Option<&'a Renderer>,
    /// How many tokens a row may have.
    pub max_length: usize,
    /// What happens to longer ones.
    pub too_long: TooLong,
}

impl Usable<'_> {
    /// The tokens of the record as it would be trained on; `None` where no model counts them.
    ///
    /// # Errors
    /// Why it cannot be trained on.
    pub fn tokens(&self, record: &Record) -> Result<Option<usize>, Reason> {
        let Some(renderer) = self.renderer else {
            return for_every_model(record).map(|()| None);
        };
        let encoded = encode_row(renderer, record)?;
        let tokens = encoded.ids.len();
        fit(encoded, self.max_length, self.too_long).map(|_| Some(tokens))
    }
}

/// What is known of a record whatever the model.
fn for_every_model(record: &Record) -> Result<(), Reason> {
    match &record.body {
        Body::Preference(_) => Err(Reason::Preference),
        Body::Unpaired(_) => Err(Reason::Unpaired),
        Body::Chat(chat) if !chat.turns.iter().any(is_supervised) => Err(Reason::NothingSupervised),
        Body::Chat(_) | Body::Text(_) => Ok(()),
    }
}

fn is_supervised(turn: &Turn) -> bool {
    turn.role == Role::Assistant && turn.is_supervised
}

fn encode_all(renderer: &Renderer, records: &[Record]) -> Vec<Result<Encoded, Reason>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = records.len().div_ceil(threads).max(1);
    let encode_share = |records: &[Record]| -> Vec<_> {
        records
            .iter()
            .map(|record| encode_row(renderer, record))
            .collect()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = records
            .chunks(share)
            .map(|records| scope.spawn(move || encode_share(records)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("encoding does not panic"))
            .collect()
    })
}

/// One record as ids, with what is trained on marked.
///
/// # Errors
/// Why it cannot be trained on.
pub fn encode_row(renderer: &Renderer, record: &Record) -> Result<Encoded, Reason> {
    Ok(match &record.body {
        Body::Chat(conversation) => renderer.encode_conversation(conversation)?,
        Body::Text(text) => renderer.encode_text(text)?,
        Body::Preference(_) => return Err(Reason::Preference),
        Body::Unpaired(_) => return Err(Reason::Unpaired),
    })
}

#[cfg(test)]
mod tests {
    use hone_text::{Conversation, GgufVocabulary, Tokenizer};

    use super::*;

    /// One id per ASCII character, EOS last; rendered with the plain fallback template.
    fn renderer() -> Renderer {
        let mut tokens: Vec<String> = ('!'..='~').map(String::from).collect();
        tokens.extend(["Ġ", "Ċ", "</s>"].map(String::from));
        let eos = tokens.len() as u32 - 1;
        let mut token_types = vec![1; tokens.len()];
        token_types[eos as usize] = 3;
        let vocabulary = GgufVocabulary {
            model: "gpt2".into(),
            pre: Some("gpt-2".into()),
            tokens,
            token_types,
            eos: Some(eos),
            ..GgufVocabulary::default()
        };
        Renderer::new(Tokenizer::from_gguf(&vocabulary).unwrap(), None, &[]).unwrap()
    }

    fn chat(task: &str, line: usize, turns: &[(Role, &str)]) -> Record {
        Record {
            task: task.into(),
            group: None,
            origin: None,
            licence: None,
            copies: 1,
            body: Body::Chat(Conversation::new(
                turns.iter().map(|&(role, text)| Turn::new(role, text)),
            )),
            source: Source::new("f", line),
        }
    }

    fn rows() -> Vec<Record> {
        vec![
            chat("b", 1, &[(Role::User, "q"), (Role::Assistant, "short")]),
            chat(
                "a",
                2,
                &[(Role::User, "q"), (Role::Assistant, "a much longer reply")],
            ),
            chat("b", 3, &[(Role::User, "q")]),
            chat("a", 4, &[(Role::User, "é"), (Role::Assistant, "x")]),
            Record {
                body: Body::Text("a text".into()),
                ..chat("a", 5, &[])
            },
        ]
    }

    #[test]
    fn unusable_rows_are_listed_with_their_place_and_reason() {
        let encoding = encode(&renderer(), &rows(), 36, TooLong::Drop);
        let refused: Vec<String> = encoding.refused.iter().map(Refused::to_string).collect();
        assert_eq!(
            refused,
            [
                "f:2: 46 tokens long; the limit is 36",
                "f:3: has no supervised token: no reply of the assistant, or each with weight 0",
                "f:4: the vocabulary cannot spell \"é\"",
            ]
        );
        let kept: Vec<_> = encoding
            .examples
            .iter()
            .map(|e| (e.row, encoding.tasks[e.task].as_str(), e.num_supervised()))
            .collect();
        assert_eq!(kept, [(0, "b", 6), (4, "a", 6)]);
        assert_eq!(encoding.num_supervised(), 12);
        assert_eq!(encoding.num_tokens(), 32 + 7);
    }

    #[test]
    fn a_row_may_be_cut_but_not_to_its_prompt() {
        let encoding = encode(&renderer(), &rows()[1..2], 30, TooLong::TruncateEnd);
        assert_eq!(
            (
                encoding.examples[0].ids.len(),
                encoding.examples[0].num_supervised()
            ),
            (30, 4)
        );
        assert_eq!(
            encoding.truncated,
            [Truncated {
                source: Source::new("f", 2),
                tokens: 46
            }]
        );
        let nothing = encode(&renderer(), &rows()[1..2], 26, TooLong::TruncateEnd);
        assert!(matches!(
            nothing.refused[0].reason,
            Reason::PromptTooLong {
                tokens: 46,
                limit: 26
            }
        ));
    }

    #[test]
    fn many_rows_keep_their_order() {
        let records: Vec<_> = (0..97)
            .map(|line| {
                chat(
                    "t",
                    line,
                    &[(Role::User, "q"), (Role::Assistant, &"x".repeat(line + 1))],
                )
            })
            .collect();
        let encoding = encode(&renderer(), &records, 1000, TooLong::Drop);
        assert!(
            encoding
                .examples
                .iter()
                .enumerate()
                .all(|(at, e)| e.row == at && e.num_supervised() == at + 2)
        );
        assert!(
            encode(&renderer(), &[], 10, TooLong::Drop)
                .examples
                .is_empty()
        );
    }
}
