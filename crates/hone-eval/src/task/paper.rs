//! The questions of a task as token ids: what a model of one tokenizer is given.
//!
//! A text and what may follow it are spelt together, and parted by the length of the first: so a token that stands across
//! the border belongs to what follows, and white space at the end of a prompt goes to the answer, as in
//! lm-evaluation-harness. What a chat template makes of a prompt is spelt as it is for training and for serving.

use hone_ledger::{ContentId, Hasher};
use hone_text::{Conversation, RenderError, Renderer, Role, Tokenizer, TokenizerError, Turn};

use super::definition::{Generation, Kind};
use super::questions::{Context, Gold, Question, Task};
use super::{TaskError, is_space};

/// A sequence of which the last tokens are judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judging {
    /// Which question it belongs to.
    pub question: usize,
    pub ids: Vec<u32>,
    /// How many of the last ones are judged: at least one, and not the first.
    pub judged: usize,
}

/// A task as a model sees it.
#[derive(Debug)]
pub struct Paper {
    pub(super) requests: Vec<Judging>,
    /// For questions that are answered: a prompt each.
    pub(super) prompts: Vec<Vec<u32>>,
    pub(super) generation: Generation,
    /// Has to be known whether the judged tokens are the likeliest?
    pub(super) asks_for_greedy: bool,
    /// Where each question stands.
    pub(super) places: Vec<String>,
    /// Questions of which the beginning had to be left out.
    pub cut: usize,
}

/// Spells the texts of one tokenizer and keeps them in bounds.
struct Speller<'a> {
    renderer: &'a Renderer,
    max_length: usize,
    cut: usize,
}

impl Paper {
    /// Spells a task. What is longer than `max_length` tokens loses its beginning, which [`Paper::cut`] counts.
    ///
    /// # Errors
    /// A question that cannot be spelt or rendered, or of which nothing is left to judge.
    pub fn set(task: &Task, renderer: &Renderer, max_length: usize) -> Result<Self, TaskError> {
        let definition = &task.definition;
        let mut paper = Self {
            requests: Vec::new(),
            prompts: Vec::new(),
            generation: definition.generation.clone(),
            asks_for_greedy: definition
                .metrics
                .iter()
                .any(|metric| metric.asks_for_greedy()),
            places: task
                .questions
                .iter()
                .map(|question| question.source.to_string())
                .collect(),
            cut: 0,
        };
        let mut speller = Speller {
            renderer,
            max_length,
            cut: 0,
        };
        let asks_unconditional = definition
            .metrics
            .iter()
            .any(|metric| metric.metric.name == "acc_mutual_info");
        for (at, question) in task.questions.iter().enumerate() {
            let cut_before = speller.cut;
            match definition.kind {
                Kind::MultipleChoice => {
                    let delimiter = &definition.target_delimiter;
                    for choice in &question.choices {
                        let request =
                            speller.request(at, question, &question.context, delimiter, choice)?;
                        paper.requests.push(request);
                    }
                    // How likely each is by itself.
                    let nothing = Context::Text(String::new());
                    for choice in question.choices.iter().filter(|_| asks_unconditional) {
                        let request = speller.request(at, question, &nothing, delimiter, choice)?;
                        paper.requests.push(request);
                    }
                }
                Kind::Loglikelihood => {
                    let target = question.gold_text();
                    let request = speller.request(at, question, &question.context, "", target)?;
                    paper.requests.push(request);
                }
                Kind::LoglikelihoodRolling => {
                    paper.requests.extend(speller.windows(at, question)?);
                }
                Kind::GenerateUntil => {
                    let room = paper.generation.max_tokens;
                    paper.prompts.push(speller.prompt(question, room)?);
                }
            }
            // A question of several choices is one question.
            paper.cut += usize::from(speller.cut > cut_before);
        }
        Ok(paper)
    }

    /// Sequences of which the ends are judged, and where each question stands.
    pub(crate) fn of_judgings(requests: Vec<Judging>, places: Vec<String>) -> Self {
        Self {
            requests,
            prompts: Vec::new(),
            generation: Generation {
                until: Vec::new(),
                max_tokens: 0,
                temperature: 0.0,
                seed: 0,
                repeats: 1,
            },
            asks_for_greedy: false,
            places,
            cut: 0,
        }
    }

    /// The most tokens a model has to be loaded for.
    pub fn max_positions(&self) -> usize {
        let judged = self.requests.iter().map(|request| request.ids.len());
        let answers = self
            .prompts
            .iter()
            .map(|prompt| prompt.len().saturating_add(self.generation.max_tokens));
        judged.chain(answers).max().unwrap_or(1)
    }

    /// Questions.
    pub fn num_questions(&self) -> usize {
        self.places.len()
    }

    /// The id of all that a model's replies depend on but for the model and its tokenizer.
    pub fn id(&self) -> ContentId {
        let mut hasher = Hasher::new();
        let mut add = |numbers: &mut dyn Iterator<Item = u32>| {
            for number in numbers {
                hasher.update(&number.to_le_bytes());
            }
            hasher.update(b"\xff\xff\xff\xff|");
        };
        for request in &self.requests {
            let head = [request.question as u32, request.judged as u32];
            add(&mut head.into_iter().chain(request.ids.iter().copied()));
        }
        for prompt in &self.prompts {
            add(&mut prompt.iter().copied());
        }
        let Generation {
            until,
            max_tokens,
            temperature,
            seed,
            repeats,
        } = &self.generation;
        if !self.prompts.is_empty() {
            hasher.update(
                format!("{until:?} {max_tokens} {temperature} {seed} {repeats}").as_bytes(),
            );
        }
        hasher.update(format!("task {} {}", self.asks_for_greedy, self.places.len()).as_bytes());
        hasher.finish()
    }
}

impl Question {
    fn gold_text(&self) -> &str {
        match &self.gold {
            Gold::Texts(texts) => texts.first().map_or("", String::as_str),
            Gold::Choices(_) => "",
        }
    }
}

impl Speller<'_> {
    fn tokenizer(&self) -> &Tokenizer {
        self.renderer.tokenizer()
    }

    fn wrong(question: &Question, key: &'static str, what: impl Into<String>) -> TaskError {
        TaskError::Row {
            place: question.source.to_string(),
            key,
            what: what.into(),
        }
    }

    /// The ids of a text, with the token that begins a sequence where the tokenizer has one.
    fn spell(&self, question: &Question, text: &str) -> Result<Vec<u32>, TaskError> {
        let spelt = self.spell_bare(question, text)?;
        let tokenizer = self.tokenizer();
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        // A prompt may have brought it along.
        let bos = bos.filter(|bos| spelt.first() != Some(bos));
        Ok(bos.into_iter().chain(spelt).collect())
    }

    fn spell_bare(&self, question: &Question, text: &str) -> Result<Vec<u32>, TaskError> {
        let spelt = self.tokenizer().encode(text);
        spelt.map_err(|source: TokenizerError| TaskError::Tokenizer {
            place: question.source.to_string(),
            source,
        })
    }

    /// What a sequence begins with that has nothing before it.
    fn first(&self, question: &Question) -> Result<u32, TaskError> {
        let tokenizer = self.tokenizer();
        tokenizer.bos().or(tokenizer.eos()).ok_or_else(|| {
            Self::wrong(
                question,
                "prompt",
                "is empty, and the tokenizer has no token that begins a text",
            )
        })
    }

    /// A context and what may follow it.
    fn request(
        &mut self,
        at: usize,
        question: &Question,
        context: &Context,
        delimiter: &str,
        answer: &str,
    ) -> Result<Judging, TaskError> {
        let (context, answer) = match context {
            Context::Text(context) => {
                self.pair(question, context, &format!("{delimiter}{answer}"))?
            }
            // The template says what stands between a prompt and its reply.
            Context::Chat(turns) => self.reply(question, turns, answer)?,
        };
        if answer.is_empty() {
            let what = "has no token of its own behind the prompt";
            return Err(Self::wrong(question, "choices", what));
        }
        let mut ids = context;
        let judged = answer.len();
        ids.extend(answer);
        if judged > self.max_length {
            let what = format!(
                "has {judged} tokens, and the model takes {}",
                self.max_length
            );
            return Err(Self::wrong(question, "target", what));
        }
        // The last token is judged and not read, so there is room for one more.
        let excess = ids.len().saturating_sub(self.max_length + 1);
        self.cut += usize::from(excess > 0);
        ids.drain(..excess);
        Ok(Judging {
            question: at,
            ids,
            judged,
        })
    }

    fn pair(
        &self,
        question: &Question,
        context: &str,
        answer: &str,
    ) -> Result<(Vec<u32>, Vec<u32>), TaskError> {
        if context.is_empty() {
            let (first, answer) = (self.first(question)?, self.spell_bare(question, answer)?);
            return Ok(match answer.split_first() {
                Some((bos, rest)) if *bos == first => (vec![first], rest.to_vec()),
                _ => (vec![first], answer),
            });
        }
        let kept = context.trim_end_matches(is_space);
        let answer = format!("{}{answer}", &context[kept.len()..]);
        let mut whole = self.spell(question, &format!("{kept}{answer}"))?;
        let context = self.spell(question, kept)?;
        let answer = whole.split_off(context.len().min(whole.len()));
        // Nothing but white space is nothing to stand behind.
        if context.is_empty() {
            return Ok((vec![self.first(question)?], answer));
        }
        Ok((context, answer))
    }

    /// A prompt of turns, and the reply as the model would write it, without the token that ends it.
    fn reply(
        &self,
        question: &Question,
        turns: &[Turn],
        answer: &str,
    ) -> Result<(Vec<u32>, Vec<u32>), TaskError> {
        let render = |source: RenderError| TaskError::Render {
            place: question.source.to_string(),
            source,
        };
        let prompt = Conversation::new(turns.iter().cloned());
        let prompt_ids = self.renderer.encode_prompt(&prompt).map_err(render)?;
        let whole = turns
            .iter()
            .cloned()
            .chain([Turn::new(Role::Assistant, answer)]);
        let whole = self.renderer.encode_conversation(&Conversation::new(whole));
        let mut ids = whole.map_err(render)?.ids;
        let mut reply = ids.split_off(prompt_ids.len().min(ids.len()));
        let stops = self.renderer.stop_ids();
        if let Some(end) = reply.iter().position(|id| stops.contains(id)) {
            reply.truncate(end);
        }
        Ok((prompt_ids, reply))
    }

    /// A text in windows as long as the model takes, each judged once.
    fn windows(&mut self, at: usize, question: &Question) -> Result<Vec<Judging>, TaskError> {
        let text = question.gold_text();
        let ids = self.spell(question, text)?;
        if ids.is_empty() {
            return Err(Self::wrong(question, "target", "is an empty text"));
        }
        let first = self.first(question)?;
        let mut windows = Vec::new();
        let mut judged = 0;
        while judged < ids.len() {
            let end = ids.len().min(judged + self.max_length);
            let own = end - judged;
            // One token more than is read: what is judged last is not read.
            let start = (end + 1).saturating_sub(self.max_length + 1).min(judged);
            let window = match start {
                0 => [first]
                    .into_iter()
                    .chain(ids[..end].iter().copied())
                    .collect(),
                _ => ids[start - 1..end].to_vec(),
            };
            windows.push(Judging {
                question: at,
                ids: window,
                judged: own,
            });
            judged = end;
        }
        Ok(windows)
    }

    /// What is answered, with room for the answer.
    fn prompt(&mut self, question: &Question, room: usize) -> Result<Vec<u32>, TaskError> {
        let mut ids = match &question.context {
            Context::Text(text) => self.spell(question, text)?,
            Context::Chat(turns) => {
                let prompt = Conversation::new(turns.iter().cloned());
                let spelt = self.renderer.encode_prompt(&prompt);
                spelt.map_err(|source| TaskError::Render {
                    place: question.source.to_string(),
                    source,
                })?
            }
        };
        let limit = self.max_length.saturating_sub(room);
        if limit == 0 {
            let what = format!(
                "lets an answer have {room} tokens, and the model takes {} with its prompt",
                self.max_length
            );
            return Err(Self::wrong(question, "generation", what));
        }
        if ids.is_empty() {
            ids.push(self.first(question)?);
        }
        let excess = ids.len().saturating_sub(limit);
        self.cut += usize::from(excess > 0);
        ids.drain(..excess);
        Ok(ids)
    }
}
