//! Saying something: key-value cache, greedy and sampled decoding, many sequences in one batch.
//!
//! A step of generation is an ordinary packed batch in which most sequences bring one token, so a
//! fresh prompt can join while others are in mid-sentence, and there is one decoder for all of it.

use hone_ledger::{Seed, Stream};
use hone_tensor::{Index, Span, Tensor, TensorError};
use serde::{Deserialize, Serialize};

use crate::arch::LayerSpec;
use crate::finite::{NotFinite, not_finite};
use crate::layout::{LastRows, Rows, Shortcuts};
use crate::model::Model;
use crate::pass::Pass;
use crate::state::LayerState;

/// What a model remembers of several sequences.
#[derive(Debug)]
struct Cache {
    layers: Vec<LayerState>,
    capacity: usize,
    lengths: Vec<usize>,
}

impl Cache {
    fn new(model: &Model, slots: usize, capacity: usize) -> Self {
        let room = |layer: &LayerSpec| {
            LayerState::new(layer, model.config(), model.device(), (slots, capacity))
        };
        Self {
            layers: model.config().layers.iter().map(room).collect(),
            capacity,
            lengths: vec![0; slots],
        }
    }

    /// Forgets what a slot holds beyond its first `len` tokens, and says how many it still knows: fewer, if a layer's state
    /// cannot go back that far.
    fn rewind(&mut self, slot: usize, len: usize) -> usize {
        let had = self.lengths[slot];
        let layers = self.layers.iter_mut();
        let left = layers.map(|state| state.rewind(slot, had, len)).min();
        self.lengths[slot] = left.unwrap_or(len);
        self.lengths[slot]
    }

    /// Feeds new tokens to some slots; logits after the last token of each, `[pieces, vocabulary]`.
    fn extend(&mut self, model: &Model, pieces: &[(usize, &[u32])]) -> Tensor {
        let (mut positions, mut spans) = (Vec::new(), Vec::new());
        let (mut ids, mut last) = (Vec::new(), Vec::new());
        for &(slot, new) in pieces {
            let past = self.lengths[slot];
            assert!(
                !new.is_empty() && past + new.len() <= self.capacity,
                "the cache has room"
            );
            positions.extend(past as u32..(past + new.len()) as u32);
            spans.push(Span {
                query_start: ids.len(),
                query_len: new.len(),
                key_start: slot * self.capacity,
                key_len: past + new.len(),
            });
            ids.extend_from_slice(new);
            last.push(ids.len() - 1);
            self.lengths[slot] += new.len();
        }
        // Of the last layer's rows only these feed a logit.
        let ids = Index::from(ids);
        let mut rows = Rows::new(positions.into(), spans.into());
        let spans = rows.spans.iter().enumerate().map(|(piece, span)| Span {
            query_start: piece,
            query_len: 1,
            ..*span
        });
        let last_rows = LastRows {
            spans: spans.collect(),
            rows: last.iter().copied().collect(),
            division: vec![],
        };
        let asked = model.exact(Shortcuts::ALL).last_layer;
        rows.last = asked.then_some(last_rows);
        let pass: Pass = model.pass();
        let mut hidden = pass.embed(&ids, &rows.positions);
        for (index, state) in self.layers.iter_mut().enumerate() {
            hidden = pass.layer(index, &hidden, &rows, Some(state), false).0;
        }
        let fed: Index = match asked {
            true => (0..pieces.len()).collect(),
            false => last.into_iter().collect(),
        };
        pass.logits(&hidden, &fed)
    }
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token; 1 samples from the model's own distribution.
    pub temperature: f32,
    /// Sample from the smallest set of tokens that holds this much probability.
    pub top_p: f32,
    /// Sample from at most this many tokens; 0 means all.
    pub top_k: usize,
    /// Where the randomness comes from.
    pub seed: u64,
}

impl Sampling {
    /// The most likely token each time.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        seed: 0,
    };
}

/// When to stop, and how to choose until then.
#[derive(Clone, Debug)]
pub struct Generation {
    /// At most this many new tokens.
    pub max_new_tokens: usize,
    /// Tokens that end the answer; the one met is not part of it.
    pub stop_ids: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// A stop token came.
    Token(u32),
    /// The limit on new tokens was met.
    Length,
    /// The model's context is full.
    Context,
    /// The caller had enough.
    Caller,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "stop_token",
            Self::Length => "length",
            Self::Context => "context",
            Self::Caller => "caller",
        })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Its tokens, the stop token not among them.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop: Stop,
}

/// Why nothing can be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Nothing to continue.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The prompt alone fills the context.
    #[error(
        "the prompt has {tokens} tokens, and the model takes at most {limit} with room for an answer"
    )]
    PromptTooLong {
        /// Its tokens.
        tokens: usize,
        /// What fits.
        limit: usize,
    },
    /// A token that the model does not have.
    #[error("token {id} is not in the model's vocabulary of {vocab_size}")]
    UnknownToken {
        /// The token.
        id: u32,
        /// How many there are.
        vocab_size: usize,
    },
    /// The model gives no number for the next token.
    #[error("the model gives no finite numbers for the next token: {cause}")]
    NotFinite {
        /// Which of the prompts was to be continued.
        prompt: usize,
        /// Where they come from.
        cause: NotFinite,
    },
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl GenerateError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::EmptyPrompt => {
                vec!["an answer begins after a prompt of at least one token".into()]
            }
            Self::PromptTooLong { tokens, limit } => vec![format!(
                "leave out {} tokens of it, or take a base with a longer context",
                tokens - limit
            )],
            Self::UnknownToken { .. } => {
                vec!["the tokenizer and the weights are of different models; fetch both from one place".into()]
            }
            Self::NotFinite { cause, .. } => cause.hints(),
            Self::Tensor(_) => vec![],
        }
    }
}

/// One answer under way.
struct Sequence {
    prompt: usize,
    stream: Stream,
    ids: Vec<u32>,
    limit: usize,
}

impl Sequence {
    fn new(prompt: usize, prompt_len: usize, settings: &Generation, max_positions: usize) -> Self {
        Self {
            prompt,
            stream: Seed::new(settings.sampling.seed)
                .child("sampling")
                .index(prompt as u64)
                .stream(),
            ids: Vec::new(),
            limit: max_positions - prompt_len,
        }
    }

    /// Takes the next token after `prompt` and what was said from its logits, or says why it stops.
    fn sample_next(
        &mut self,
        logits: &[f32],
        settings: &Generation,
        (model, prompt): (&Model, &[u32]),
    ) -> Result<Option<Stop>, GenerateError> {
        if not_finite(logits).is_some() {
            return Err(GenerateError::NotFinite {
                prompt: self.prompt,
                cause: model.why_not_finite(&[prompt, &self.ids].concat())?,
            });
        }
        let id = choose(logits, settings.sampling, &mut self.stream);
        if settings.stop_ids.contains(&id) {
            return Ok(Some(Stop::Token(id)));
        }
        self.ids.push(id);
        if self.ids.len() >= settings.max_new_tokens {
            return Ok(Some(Stop::Length));
        }
        Ok((self.ids.len() >= self.limit).then_some(Stop::Context))
    }
}

impl Model {
    /// Answers many prompts, `slots` at a time; a slot that falls free takes the next prompt. Answers
    /// come back in the order of the prompts; `done` hears of each as it ends.
    pub fn generate_many(
        &self,
        prompts: &[Vec<u32>],
        settings: &Generation,
        slots: usize,
        mut done: impl FnMut(usize, &Completion) + Send,
    ) -> Result<Vec<Completion>, GenerateError> {
        for prompt in prompts {
            self.check_prompt(prompt)?;
        }
        if settings.max_new_tokens == 0 {
            let silent = Completion {
                ids: vec![],
                stop: Stop::Length,
            };
            return Ok(vec![silent; prompts.len()]);
        }
        let slots = slots.clamp(1, prompts.len().max(1));
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let capacity = longest
            .saturating_add(settings.max_new_tokens)
            .min(self.max_positions());
        let device = self.device().clone();
        device.scope(|| {
            let mut cache = Cache::new(self, slots, capacity);
            let mut sequences: Vec<Option<Sequence>> = (0..slots).map(|_| None).collect();
            let mut answers: Vec<Option<Completion>> = vec![None; prompts.len()];
            let mut waiting = 0..prompts.len();
            loop {
                for (slot, sequence) in sequences
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, s)| s.is_none())
                {
                    cache.rewind(slot, 0);
                    *sequence = waiting.next().map(|p| {
                        Sequence::new(p, prompts[p].len(), settings, self.max_positions())
                    });
                }
                let active: Vec<usize> = (0..slots)
                    .filter(|&slot| sequences[slot].is_some())
                    .collect();
                if active.is_empty() {
                    break;
                }
                let pieces: Vec<(usize, &[u32])> = active
                    .iter()
                    .map(|&slot| {
                        let sequence = sequences[slot]
                            .as_ref()
                            .expect("an active slot has a sequence");
                        let last = sequence.ids.last().map(std::slice::from_ref);
                        (slot, last.unwrap_or(&prompts[sequence.prompt]))
                    })
                    .collect();
                let logits = cache.extend(self, &pieces);
                let (vocab, logits) = (logits.cols(), logits.to_vec()?);
                for (&slot, logits) in active.iter().zip(logits.chunks_exact(vocab)) {
                    let sequence = sequences[slot]
                        .as_mut()
                        .expect("an active slot has a sequence");
                    let prompt = (self, &prompts[sequence.prompt][..]);
                    if let Some(stop) = sequence.sample_next(logits, settings, prompt)? {
                        let sequence = sequences[slot]
                            .take()
                            .expect("an active slot has a sequence");
                        let answer = Completion {
                            ids: sequence.ids,
                            stop,
                        };
                        done(sequence.prompt, &answer);
                        answers[sequence.prompt] = Some(answer);
                    }
                }
            }
            Ok(answers
                .into_iter()
                .map(|a| a.expect("each prompt was answered"))
                .collect())
        })
    }

    fn check_prompt(&self, prompt: &[u32]) -> Result<(), GenerateError> {
        let limit = self.max_positions().saturating_sub(1);
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if prompt.len() > limit {
            return Err(GenerateError::PromptTooLong {
                tokens: prompt.len(),
                limit,
            });
        }
        self.check_ids(prompt)
    }

    pub(crate) fn check_ids(&self, ids: &[u32]) -> Result<(), GenerateError> {
        let vocab_size = self.config().vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            Some(&id) => Err(GenerateError::UnknownToken { id, vocab_size }),
            None => Ok(()),
        }
    }
}

/// A conversation that remembers: what a new prompt shares with the last one is not computed again.
#[derive(Debug)]
pub struct Session {
    cache: Cache,
    ids: Vec<u32>,
}

impl Session {
    /// Room for one conversation of as many tokens as the model was loaded for.
    pub fn new(model: &Model) -> Self {
        Self {
            cache: Cache::new(model, 1, model.max_positions()),
            ids: vec![],
        }
    }

    /// Answers `prompt`, the whole conversation so far; `say` hears each token and may end the answer.
    pub fn answer(
        &mut self,
        model: &Model,
        prompt: &[u32],
        settings: &Generation,
        mut say: impl FnMut(u32) -> bool + Send,
    ) -> Result<Completion, GenerateError> {
        model.check_prompt(prompt)?;
        let device = model.device().clone();
        device.scope(|| {
            let mut sequence = Sequence::new(0, prompt.len(), settings, model.max_positions());
            if settings.max_new_tokens == 0 {
                return Ok(Completion {
                    ids: vec![],
                    stop: Stop::Length,
                });
            }
            let mut logits = self.sample_next(model, prompt);
            loop {
                let stop = sequence.sample_next(&logits.to_vec()?, settings, (model, prompt))?;
                let said = !matches!(stop, Some(Stop::Token(_)));
                let last = *sequence.ids.last().unwrap_or(&0);
                let stop = if said && !say(last) {
                    stop.or(Some(Stop::Caller))
                } else {
                    stop
                };
                if let Some(stop) = stop {
                    return Ok(Completion {
                        ids: sequence.ids,
                        stop,
                    });
                }
                self.ids.push(last);
                logits = self.cache.extend(model, &[(0, &[last])]);
            }
        })
    }

    /// Feeds what is new in `prompt`; at least its last token, whose logits are wanted.
    fn sample_next(&mut self, model: &Model, prompt: &[u32]) -> Tensor {
        let same = self
            .ids
            .iter()
            .zip(prompt)
            .take_while(|(a, b)| a == b)
            .count()
            .min(prompt.len() - 1);
        let same = self.cache.rewind(0, same);
        self.ids.clear();
        self.ids.extend_from_slice(prompt);
        self.cache.extend(model, &[(0, &prompt[same..])])
    }
}

/// The index of the greatest logit, or one drawn from the softened, cut distribution.
fn choose(logits: &[f32], sampling: Sampling, stream: &mut Stream) -> u32 {
    let greatest = || {
        let better = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
        (0..logits.len()).fold(0, better) as u32
    };
    if sampling.temperature <= 0.0 {
        return greatest();
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let max = logits[order[0] as usize];
    let weight = |id: u32| f64::from((logits[id as usize] - max) / sampling.temperature).exp();
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    let mut held = 0.0;
    let nucleus = order.iter().take_while(|&&id| {
        let inside = held < f64::from(sampling.top_p) * total;
        held += weight(id);
        inside
    });
    let nucleus: Vec<u32> = nucleus.copied().collect();
    let mut point =
        f64::from(stream.unit_f32()) * nucleus.iter().map(|&id| weight(id)).sum::<f64>();
    for &id in &nucleus {
        point -= weight(id);
        if point < 0.0 {
            return id;
        }
    }
    *nucleus.last().unwrap_or(&order[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_follows_the_distribution_within_its_cuts() {
        let logits = [2.0f32.ln(), 1.0f32.ln(), 1.0f32.ln(), f32::MIN];
        let count = |sampling| {
            let mut stream = Seed::new(1).stream();
            let mut counts = [0; 4];
            (0..4000).for_each(|_| counts[choose(&logits, sampling, &mut stream) as usize] += 1);
            counts
        };
        let plain = Sampling {
            temperature: 1.0,
            ..Sampling::GREEDY
        };
        let counts = count(plain);
        assert!(
            (1850..2150).contains(&counts[0]) && counts[3] == 0,
            "{counts:?}"
        );
        assert_eq!(
            count(Sampling {
                top_p: 0.5,
                ..plain
            })[0],
            4000
        );
        assert_eq!(count(Sampling { top_k: 2, ..plain })[2], 0);
        assert_eq!(count(Sampling::GREEDY)[0], 4000);
    }
}
