//! A model on the questions of a task: how likely it finds what it is shown, and what it answers.

use hone_model::{
    Engine, EngineLimits, GenerateError, Generation as Writing, Model, Packed, Request, Sampling,
    SequenceEvent,
};
use hone_text::Renderer;
use serde::{Deserialize, Serialize};

use super::paper::{Judging, Paper};
use crate::harness::{ExamError, Progress};

/// What a model made of one question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The log-likelihood of each choice, text or window, in nats, in the order in which they were shown.
    pub log_likelihoods: Vec<f64>,
    /// Whether each is what the model would have written; empty where nobody asks.
    pub greedy: Vec<bool>,
    /// Its answers, cut before the first text that ends one.
    pub answers: Vec<String>,
    /// Why each ended.
    pub stops: Vec<String>,
}

/// Tokens that are read at a time.
const BATCH_TOKENS: usize = 2048;

impl Paper {
    /// Has a model reply to every question; `told` hears of the progress.
    pub fn sit(
        &self,
        model: &Model,
        renderer: &Renderer,
        slots: usize,
        mut told: impl FnMut(Progress) + Send,
    ) -> Result<Vec<Reply>, ExamError> {
        let mut replies = vec![Reply::default(); self.num_questions()];
        let num_answers = self.prompts.len() * self.generation.repeats;
        let total = self.requests.len() + num_answers;
        let mut done = 0;
        for batch in self.batches() {
            for (request, (nats, greedy)) in batch.iter().zip(self.judge(model, batch)?) {
                let reply = &mut replies[request.question];
                reply.log_likelihoods.push(-nats);
                reply.greedy.extend(greedy);
            }
            done += batch.len();
            told(Progress { done, total });
        }
        let mut done = self.requests.len();
        self.answer(model, renderer, slots, &mut replies, || {
            done += 1;
            told(Progress { done, total });
        })?;
        Ok(replies)
    }

    /// Requests that are read together. Those of a question stay together where they fit: what they have in common is then
    /// read once.
    fn batches(&self) -> Vec<&[Judging]> {
        let (mut batches, mut start, mut tokens) = (Vec::new(), 0, 0);
        let mut at = 0;
        while at < self.requests.len() {
            let question = self.requests[at].question;
            let rest = &self.requests[at..];
            let own = rest
                .iter()
                .take_while(|request| request.question == question);
            let own: Vec<&Judging> = own.collect();
            let prompt = own.iter().map(|request| request.ids.len() - request.judged);
            let answers: usize = own.iter().map(|request| request.judged).sum();
            let cost = prompt.max().unwrap_or(0) + answers;
            if at > start && tokens + cost > BATCH_TOKENS {
                batches.push(&self.requests[start..at]);
                (start, tokens) = (at, 0);
            }
            (at, tokens) = (at + own.len(), tokens + cost);
        }
        if start < self.requests.len() {
            batches.push(&self.requests[start..]);
        }
        // Many long choices of one question.
        let most = |batch: &&[Judging]| {
            let longest = batch.iter().map(|request| request.ids.len()).max();
            (4 * BATCH_TOKENS / longest.unwrap_or(1).max(1)).max(1)
        };
        let parts = batches.into_iter().flat_map(|batch| {
            let is_large =
                batch.iter().map(|request| request.judged).sum::<usize>() > 2 * BATCH_TOKENS;
            let most = if is_large { most(&batch) } else { batch.len() };
            batch.chunks(most.max(1))
        });
        parts.collect()
    }

    /// The nats of what is judged in each request, and whether it is what the model would have written.
    fn judge(
        &self,
        model: &Model,
        requests: &[Judging],
    ) -> Result<Vec<(f64, Option<bool>)>, ExamError> {
        let mut ids = Vec::new();
        let (mut boundaries, mut rows, mut targets) = (vec![0], Vec::new(), Vec::new());
        for request in requests {
            let start = ids.len();
            let (read, first) = (request.ids.len() - 1, request.ids.len() - request.judged);
            ids.extend(&request.ids[..read]);
            rows.extend(start + first - 1..start + read);
            targets.extend(&request.ids[first..]);
            boundaries.push(ids.len());
        }
        let nats = model.nats(Packed {
            ids: &ids,
            boundaries: &boundaries,
            rows: &rows,
            targets: &targets,
            weights: None,
        })?;
        let mut rest = nats.as_slice();
        let mut judged = Vec::with_capacity(requests.len());
        for request in requests {
            let (own, others) = rest.split_at(request.judged);
            rest = others;
            let sum: f64 = own.iter().sum();
            if !sum.is_finite() {
                let cause = model.why_not_finite(&request.ids[..request.ids.len() - 1])?;
                let row = self.places[request.question].clone();
                return Err(ExamError::NotFinite { row, cause });
            }
            let greedy = match self.asks_for_greedy {
                true => Some(is_greedy(model, request, own)?),
                false => None,
            };
            judged.push((sum, greedy));
        }
        Ok(judged)
    }

    fn answer(
        &self,
        model: &Model,
        renderer: &Renderer,
        slots: usize,
        replies: &mut [Reply],
        mut told: impl FnMut() + Send,
    ) -> Result<(), ExamError> {
        let settings = &self.generation;
        let repeats = settings.repeats;
        let writing = Writing {
            max_new_tokens: settings.max_tokens,
            stop_ids: renderer.stop_ids().to_vec(),
            sampling: Sampling {
                temperature: settings.temperature,
                seed: settings.seed,
                ..Sampling::GREEDY
            },
        };
        let mut engine = Engine::new(model, EngineLimits::of(slots));
        let mut ids: Vec<Vec<u32>> = vec![Vec::new(); self.prompts.len() * repeats];
        for number in 0..ids.len() {
            engine.add(Request {
                generation: writing.clone(),
                number: number as u64,
                ..Request::new(self.prompts[number / repeats].clone())
            })?;
        }
        let mut answer = |number: u64, ids: &[u32], stop: &str| -> Result<(), ExamError> {
            let text = renderer.tokenizer().decode(ids, true)?;
            let (text, is_ended) = ended(&text, &settings.until);
            let reply = &mut replies[number as usize / repeats];
            // Answers of one question come in any order, and are told apart by theirs.
            let at = number as usize % repeats;
            let missing = (at + 1).saturating_sub(reply.answers.len());
            reply
                .answers
                .extend(std::iter::repeat_n(String::new(), missing));
            reply
                .stops
                .extend(std::iter::repeat_n(String::new(), missing));
            text.clone_into(&mut reply.answers[at]);
            reply.stops[at] = if is_ended { "until" } else { stop }.to_owned();
            told();
            Ok(())
        };
        while !engine.is_idle() {
            for event in engine.step()? {
                match event {
                    SequenceEvent::Said {
                        id, number, token, ..
                    } => {
                        let said = &mut ids[number as usize];
                        said.push(token);
                        let text = renderer.tokenizer().decode(said, true)?;
                        // One that has come to its own end in this step is told of by itself.
                        if ended(&text, &settings.until).1 && engine.remove(id) {
                            answer(number, said, "until")?;
                        }
                    }
                    SequenceEvent::Ended {
                        number, completion, ..
                    } => {
                        answer(number, &completion.ids, &completion.stop.to_string())?;
                    }
                    SequenceEvent::Failed { number, error, .. } => {
                        return Err(match error {
                            GenerateError::NotFinite { cause, .. } => ExamError::NotFinite {
                                row: self.places[number as usize / repeats].clone(),
                                cause,
                            },
                            error => error.into(),
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// An answer up to the first text that ends it.
fn ended<'a>(text: &'a str, until: &[String]) -> (&'a str, bool) {
    let ends = until.iter().filter(|end| !end.is_empty());
    let end = ends.filter_map(|end| text.find(end.as_str())).min();
    (&text[..end.unwrap_or(text.len())], end.is_some())
}

/// Is every judged token the likeliest where it stands? More than half of the probability is the most.
fn is_greedy(model: &Model, request: &Judging, nats: &[f64]) -> Result<bool, ExamError> {
    let first = request.ids.len() - request.judged;
    let doubtful: Vec<usize> = (0..nats.len()).filter(|at| nats[*at] >= 0.69).collect();
    if doubtful.is_empty() {
        return Ok(true);
    }
    let reading = model.read(&[request.ids[..request.ids.len() - 1].to_vec()])?;
    let vocabulary = model.config().vocab_size;
    for at in doubtful {
        let row = reading.rows_of(0)[first - 1 + at];
        let logits = model.logits_of(&reading, row..row + 1)?;
        let target = logits[request.ids[first + at] as usize];
        if logits[..vocabulary].iter().any(|logit| *logit > target) {
            return Ok(false);
        }
    }
    Ok(true)
}
