//! Many sequences at once: each comes in when it is asked for, goes on by a token a step, and leaves when it is done.

use std::collections::VecDeque;

use hone_tensor::PAGE;

use super::cache::{Cache, LEAST, LEAST_ROOM, Piece, part_of};
use super::pages::{Beginnings, Shared};
use super::sampling::{Answer, log_probability};
use super::{Completion, GenerateError, Generation, Sampling, Stop};
use crate::finite::not_finite;
use crate::layout::Shortcuts;
use crate::mixed::MixedError;
use crate::model::Model;
use crate::pass::shares::Adapters;

/// What is to be continued, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The tokens that are there, one at least.
    pub prompt: Vec<u32>,
    /// Tokens behind the prompt that may be scored before anything is generated; they are no part of what is generated.
    pub continuation: Vec<u32>,
    /// Which tokens are scored by what comes before them: places in the prompt with its continuation, rising, none of them 0.
    pub scored: Vec<usize>,
    /// Which adapters it goes through.
    pub adapters: Adapters,
    /// When to stop, and how to choose until then. Without new tokens it is scored only.
    pub generation: Generation,
    /// Whether the probabilities of what is said are told.
    pub log_probabilities: bool,
    /// Which of the sequences of one seed this is: each draws other numbers.
    pub number: u64,
}

impl Request {
    /// Goes on from a prompt with nothing but the adapters that are on; says nothing yet.
    pub fn new(prompt: Vec<u32>) -> Self {
        Self {
            prompt,
            continuation: vec![],
            scored: vec![],
            adapters: Adapters::Active,
            generation: Generation {
                max_new_tokens: 0,
                stop_ids: vec![],
                sampling: Sampling::GREEDY,
            },
            log_probabilities: false,
            number: 0,
        }
    }

    fn speaks(&self) -> bool {
        self.generation.max_new_tokens > 0
    }

    /// How many tokens of the prompt and its continuation are read.
    fn num_read(&self) -> usize {
        let last_scored = self.scored.last().copied().unwrap_or(0);
        let prompt = if self.speaks() { self.prompt.len() } else { 0 };
        last_scored.max(prompt)
    }
}

/// How much is done at a time. What sequences say does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Sequences under way at the same time; others wait.
    pub sequences: usize,
    /// Tokens that are read in one step.
    pub tokens: usize,
    /// Tokens of prompts that are remembered for others that begin alike.
    pub remembered: usize,
    /// Those who wait begin once so many places are free: 1 answers each soonest, more read several prompts in one step, which
    /// unpacks the weights once for all of them.
    pub beginning: usize,
}

impl EngineLimits {
    /// So many sequences at the same time, and the rest as it suits most machines.
    pub fn of(sequences: usize) -> Self {
        Self {
            sequences,
            tokens: 512,
            remembered: 1024,
            beginning: sequences.div_ceil(4),
        }
    }
}

/// A sequence of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(u64);

/// What became of a sequence in a step.
#[derive(Debug)]
#[non_exhaustive]
pub enum SequenceEvent {
    /// Its continuation was scored.
    Scored {
        /// Which sequence.
        id: SequenceId,
        /// The number it was given.
        number: u64,
        /// Nats of each token.
        nats: Vec<f64>,
    },
    /// It said a token.
    Said {
        /// Which sequence.
        id: SequenceId,
        /// The number it was given.
        number: u64,
        /// The token; one that ends the answer is not said.
        token: u32,
        /// The natural logarithm of the probability that the model gave it, before temperature and cuts, if it was asked for.
        log_probability: Option<f64>,
    },
    /// It is done and gone.
    Ended {
        /// Which sequence.
        id: SequenceId,
        /// The number it was given.
        number: u64,
        /// All that it said.
        completion: Completion,
    },
    /// It cannot go on and is gone; the others can.
    Failed {
        /// Which sequence.
        id: SequenceId,
        /// The number it was given.
        number: u64,
        /// Why.
        error: GenerateError,
    },
}

/// One sequence.
struct Sequence {
    id: SequenceId,
    request: Request,
    /// The prompt and its continuation.
    input: Vec<u32>,
    /// How much of `input` was read, of so much.
    read: usize,
    num_read: usize,
    nats: Vec<f64>,
    /// After the prompt, kept while the rest is scored.
    first: Option<Vec<f32>>,
    answer: Answer,
}

impl Sequence {
    fn new(id: SequenceId, request: Request, max_positions: usize) -> Self {
        let limit = max_positions - request.prompt.len();
        Self {
            id,
            answer: Answer::new(&request.generation, request.number, limit),
            input: [&request.prompt[..], &request.continuation].concat(),
            num_read: request.num_read(),
            request,
            read: 0,
            nats: vec![],
            first: None,
        }
    }

    /// It says no more.
    fn ended(self, stop: Stop) -> SequenceEvent {
        SequenceEvent::Ended {
            id: self.id,
            number: self.request.number,
            completion: self.answer.ended(stop),
        }
    }

    fn is_reading(&self) -> bool {
        self.read < self.num_read
    }

    /// What it brings to a step in which so many tokens have room: none while it waits.
    fn piece(&self, slot: usize, room: usize) -> Option<Piece<'_>> {
        if !self.is_reading() {
            let last = self.answer.ids.last().map(std::slice::from_ref)?;
            return (room > 0).then_some(Piece {
                slot,
                share: 0,
                ids: last,
                next: Some(0),
                scored: vec![],
            });
        }
        let prompt = self.request.prompt.len();
        // A prompt so short that attention would round it otherwise in one piece with what is scored is read alone.
        let is_short = self.request.speaks() && prompt < LEAST;
        let rest = match is_short && self.read == 0 {
            true => prompt,
            false => self.num_read - self.read,
        };
        let part = part_of(rest, room);
        let (start, end) = (self.read, self.read + part);
        let speaks_after = |at: usize| self.request.speaks() && at == prompt - 1;
        let next = (start..end).find(|at| speaks_after(*at));
        let scored = self.request.scored.iter();
        let scored = scored.filter(|place| (start..end).contains(&(**place - 1)));
        (part > 0).then(|| Piece {
            slot,
            share: 0,
            ids: &self.input[start..end],
            next: next.map(|at| at - start),
            scored: scored
                .map(|place| (place - 1 - start, self.input[*place]))
                .collect(),
        })
    }
}

/// Sequences that are generated together.
///
/// A sequence says the same tokens whatever others there are: products and attention give each row the same bits in any
/// company, and a prompt is read in parts that round alike. Prompts that begin alike are read once.
pub struct Engine<'m> {
    model: &'m Model,
    limits: EngineLimits,
    cache: Cache,
    beginnings: Beginnings,
    waiting: VecDeque<Sequence>,
    slots: Vec<Option<Sequence>>,
    next_id: u64,
}

impl std::fmt::Debug for Engine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("limits", &self.limits)
            .field("waiting", &self.waiting.len())
            .field("under_way", &self.slots.iter().flatten().count())
            .finish_non_exhaustive()
    }
}

impl<'m> Engine<'m> {
    /// An engine without sequences.
    pub fn new(model: &'m Model, limits: EngineLimits) -> Self {
        let limits = EngineLimits {
            sequences: limits.sequences.max(1),
            tokens: limits.tokens.max(LEAST_ROOM),
            beginning: limits.beginning.min(limits.sequences),
            remembered: match model.exact(Shortcuts::ALL).shared_prefix {
                true => limits.remembered,
                false => 0,
            },
        };
        Self {
            model,
            limits,
            cache: Cache::new(model, limits.sequences),
            beginnings: Beginnings::new(limits.remembered / PAGE),
            waiting: VecDeque::new(),
            slots: (0..limits.sequences).map(|_| None).collect(),
            next_id: 0,
        }
    }

    /// Takes a sequence in. It begins when there is a place for it.
    ///
    /// # Errors
    /// What cannot be continued: no prompt, one that fills the context, tokens and adapters that the model does not have, and an
    /// adapter that cannot stand beside those of the other sequences.
    pub fn add(&mut self, request: Request) -> Result<SequenceId, GenerateError> {
        let tokens = request.prompt.len() + request.continuation.len();
        self.model.check_prompt(&request.prompt)?;
        self.model.check_ids(&request.continuation)?;
        let mut last = 0;
        for &place in &request.scored {
            if place <= last || place >= tokens {
                return Err(GenerateError::ScoredPlace { place, tokens });
            }
            last = place;
        }
        let limit = self.model.max_positions();
        if tokens > limit {
            return Err(GenerateError::PromptTooLong { tokens, limit });
        }
        self.check_adapters(&request.adapters)?;
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.waiting.push_back(Sequence::new(id, request, limit));
        Ok(id)
    }

    /// Refuses adapters that are not there, and such as one batch does not mix with those of the others.
    fn check_adapters(&self, adapters: &Adapters) -> Result<(), GenerateError> {
        self.model.share_of(adapters).map_err(MixedError::Active)?;
        let others = self.slots.iter().flatten().chain(&self.waiting);
        let others = others.map(|sequence| &sequence.request.adapters);
        let Some(other) = others.into_iter().find(|other| *other != adapters) else {
            return Ok(());
        };
        for adapters in [adapters, other] {
            self.model.check_mixes(adapters)?;
        }
        Ok(())
    }

    /// Takes a sequence out, done or not; says whether it was there.
    pub fn remove(&mut self, id: SequenceId) -> bool {
        if let Some(place) = self.waiting.iter().position(|own| own.id == id) {
            self.waiting.remove(place);
            return true;
        }
        let is_own = |own: &Option<Sequence>| own.as_ref().is_some_and(|own| own.id == id);
        match self.slots.iter().position(is_own) {
            Some(slot) => {
                self.leave(slot);
                true
            }
            None => false,
        }
    }

    /// Whether there is no sequence.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.slots.iter().all(Option::is_none)
    }

    /// Steps on: sequences under way by a token each, and as much of the prompts as there is room for.
    ///
    /// # Errors
    /// The device failed, or gave up on request. What a single sequence fails by is an event.
    pub fn step(&mut self) -> Result<Vec<SequenceEvent>, GenerateError> {
        let mut events = self.begin_waiting();
        if self.slots.iter().any(Option::is_some) {
            let device = self.model.device().clone();
            events.extend(device.scope(|| self.step_inside())?);
        }
        Ok(events)
    }

    /// Gives free slots to those who wait; those of whom nothing is asked are done.
    fn begin_waiting(&mut self) -> Vec<SequenceEvent> {
        let mut done = Vec::new();
        let is_silent = |own: &Sequence| !own.request.speaks() && own.request.scored.is_empty();
        let free = self.slots.iter().filter(|slot| slot.is_none()).count();
        if free < self.limits.beginning {
            return done;
        }
        for slot in 0..self.slots.len() {
            while self.waiting.front().is_some_and(is_silent) {
                let silent = self.waiting.pop_front();
                done.extend(silent.map(|own| own.ended(Stop::Length)));
            }
            if self.slots[slot].is_some() {
                continue;
            }
            let Some(mut sequence) = self.waiting.pop_front() else {
                break;
            };
            // So much is read, at least, that attention rounds it as if nothing were shared.
            let prompt = &sequence.request.prompt;
            let sharable = prompt.len().min(sequence.num_read).saturating_sub(LEAST);
            // A token is scored by reading the one before it.
            let first_scored = sequence.request.scored.first();
            let sharable = first_scored.map_or(sharable, |first| sharable.min(first - 1));
            let adapters = &sequence.request.adapters;
            let shared = self.beginnings.shared(adapters, &prompt[..sharable]);
            if shared != Shared::default() {
                sequence.read = shared.tokens();
                self.cache.begin_with(slot, &shared);
            }
            self.slots[slot] = Some(sequence);
        }
        done
    }

    fn step_inside(&mut self) -> Result<Vec<SequenceEvent>, GenerateError> {
        let Self {
            model,
            cache,
            slots,
            limits,
            ..
        } = self;
        // Those in mid-sentence first: they wait for nothing.
        let under_way = slots.iter().enumerate();
        let mut order: Vec<(usize, &Sequence)> = under_way
            .filter_map(|(slot, own)| Some((slot, own.as_ref()?)))
            .collect();
        order.sort_by_key(|(_, own)| (own.is_reading(), own.id));
        let mut room = limits.tokens.max(slots.len());
        let mut pieces = Vec::new();
        for (slot, sequence) in order {
            if let Some(piece) = sequence.piece(slot, room) {
                room -= piece.ids.len();
                pieces.push(piece);
            }
        }
        // A batch lies share by share.
        let mut adapters: Vec<&Adapters> = Vec::new();
        for piece in &mut pieces {
            let own = slots[piece.slot].as_ref().expect("it brought a piece");
            let own = &own.request.adapters;
            piece.share = match adapters.iter().position(|other| *other == own) {
                Some(share) => share,
                None => {
                    adapters.push(own);
                    adapters.len() - 1
                }
            };
        }
        pieces.sort_by_key(|piece: &Piece| piece.share);
        let shares = adapters.iter().map(|adapters| model.share_of(adapters));
        let shares = shares.collect::<Result<Vec<_>, _>>();
        let read = cache.read(model, shares.map_err(MixedError::Active)?, &pieces)?;
        let steps: Vec<(usize, usize, bool)> = pieces
            .iter()
            .map(|piece| (piece.slot, piece.ids.len(), piece.next.is_some()))
            .collect();
        let mut logits = read.logits.into_iter();
        let mut events = Vec::new();
        for ((slot, tokens, has_next), nats) in steps.into_iter().zip(read.nats) {
            let logits = has_next.then(|| logits.next().expect("it was asked for"));
            self.advance(slot, tokens, nats, logits, &mut events)?;
        }
        Ok(events)
    }

    /// Notes what was read for a sequence, and says what comes of it.
    fn advance(
        &mut self,
        slot: usize,
        tokens: usize,
        nats: Vec<f64>,
        logits: Option<Vec<f32>>,
        events: &mut Vec<SequenceEvent>,
    ) -> Result<(), GenerateError> {
        let sequence = self.slots[slot].as_mut().expect("it brought a piece");
        let (id, number) = (sequence.id, sequence.request.number);
        let mut logits = logits;
        if sequence.is_reading() {
            sequence.read += tokens;
            sequence.nats.extend(nats);
            if logits.is_some() {
                sequence.first = logits.take();
            }
            if sequence.is_reading() {
                return Ok(());
            }
            let Request {
                prompt, adapters, ..
            } = &sequence.request;
            let pages = self.cache.pages_of(slot);
            self.beginnings.remember(adapters, prompt, pages);
            if !sequence.request.scored.is_empty() {
                let nats = std::mem::take(&mut sequence.nats);
                if nats.iter().any(|nats| !nats.is_finite()) {
                    return self.fail(slot, events);
                }
                events.push(SequenceEvent::Scored { id, number, nats });
                let prompt = sequence.request.prompt.len().min(sequence.read);
                self.cache.rewind(slot, prompt);
            }
            logits = sequence.first.take();
        }
        let Some(logits) = logits else {
            let scored = self.leave(slot);
            events.extend(scored.map(|own| own.ended(Stop::Length)));
            return Ok(());
        };
        if not_finite(&logits).is_some() {
            return self.fail(slot, events);
        }
        let (token, stop) = sequence.answer.take(&logits, &sequence.request.generation);
        if let Some(token) = token {
            let asked = sequence.request.log_probabilities;
            events.push(SequenceEvent::Said {
                id,
                number,
                token,
                log_probability: asked.then(|| log_probability(&logits, token)),
            });
        }
        if let Some(stop) = stop {
            let done = self.leave(slot);
            events.extend(done.map(|own| own.ended(stop)));
        }
        Ok(())
    }

    /// Takes a sequence out whose numbers are none, and says why.
    fn fail(&mut self, slot: usize, events: &mut Vec<SequenceEvent>) -> Result<(), GenerateError> {
        let sequence = self.leave(slot).expect("it failed");
        let ids = [&sequence.input[..], &sequence.answer.ids].concat();
        let adapters = &sequence.request.adapters;
        let share = self.model.share_of(adapters).map_err(MixedError::Active)?;
        let cause = self.model.why_not_finite_in(share, &ids)?;
        events.push(SequenceEvent::Failed {
            id: sequence.id,
            number: sequence.request.number,
            error: GenerateError::NotFinite {
                prompt: sequence.request.number as usize,
                cause,
            },
        });
        Ok(())
    }

    fn leave(&mut self, slot: usize) -> Option<Sequence> {
        self.cache.rewind(slot, 0);
        self.slots[slot].take()
    }
}
