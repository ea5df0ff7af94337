//! The one way from a conversation to ids, for training, evaluation and serving alike.
//!
//! What is supervised is what the model itself has to write: from where the generation prompt ends to
//! the end-of-turn token, that token included and nothing after it. The text is cut where the
//! generation prompt ends, because serving encodes the prompt alone and the model continues from its
//! last token; so the ids of a prompt are a prefix of the ids of the finished conversation, always.
//!
//! Templates show a conversation otherwise once it has gone on: earlier replies lose their reasoning, or end in another
//! token. Such a reply is context as the template writes it, and not supervised, because the model is never asked to write
//! it so. Some templates take the reasoning out of the last reply as well, while their generation prompt opens it: what
//! is trained on then is the prompt and the reply as the model has to continue it, `thoughts </think> answer`.
//!
//! A conversation whose spans cannot be proven (see [`crate::skeleton`]) is refused with the reason.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

use serde_json::{Map, Value, json};

use crate::python::inexact;
use crate::skeleton::{
    Piece, Place, Point, ReasoningTags, Skeleton, Word, WordKind, first_damaged, pieces, probe,
    stand_in, with_marks, words,
};
use crate::template::{ReasoningKey, Showing};
use crate::tokenizer::{Borders, Span, sha256_hex};
use crate::{
    ChatTemplate, Conversation, Role, TOOL_USE, TemplateOption, TemplateOrigin, Tokenizer,
    ToolCall, Turn,
};

pub use error::RenderError;

mod error;
mod reply;

/// A finished conversation, or a text, as a model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each id, whether the model is taught to write it.
    pub supervised: Vec<bool>,
    /// The rendered text.
    pub text: String,
    /// The turns whose replies the row would have trained on and that are context only: the template shows them, now
    /// that the conversation has gone on, otherwise than the model has to write them.
    pub context_replies: Vec<usize>,
}

/// Tokenizer and chat template, bound together.
pub struct Renderer {
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    /// The same with the template that the model has for conversations with tools.
    with_tools: Option<Box<Renderer>>,
    hash: String,
    /// What sample conversations have as tools, so that a template for tools is found out about with some.
    sample_tools: Vec<Value>,
    named_tokens: Vec<(&'static str, String)>,
    stops: Vec<u32>,
    /// What the template writes behind a reply, up to the last token that ends it.
    closing: Option<String>,
    /// What sets off reasoning inside replies, for this template or at least for this tokenizer.
    reasoning_tags: Option<ReasoningTags>,
    end_of_reply: Option<u32>,
    layouts: RwLock<Layouts>,
    /// See [`Renderer::closing_option`]; found when it is asked for.
    closing_option: OnceLock<Option<TemplateOption>>,
    /// See [`Renderer::opening_option`].
    opening_option: OnceLock<Option<TemplateOption>>,
    /// Rows of the model's embedding: tokens with greater numbers are nothing it can be given.
    rows: usize,
}

/// Layouts by the form of a conversation and whether a generation prompt follows.
type Layouts = HashMap<(Conversation, bool), Arc<Layout>>;

/// A rendering in which every place is known.
struct Proven {
    text: String,
    /// What people and models said.
    said: Vec<Place>,
    /// What the model has to write, a reply each.
    replies: Vec<Place>,
    /// Turns whose replies are context.
    context: Vec<usize>,
    /// Those of them that nobody could learn, with the token that ends each too early.
    cut: Vec<(usize, String)>,
}

/// The part of an encoding that follows from everything but the words: the roles, mostly.
struct Layout {
    skeleton: Skeleton,
    replies: Vec<Reply>,
    context: Vec<usize>,
    cut: Vec<(usize, String)>,
    continued: Option<Continued>,
}

/// One reply: from the end of its prompt to the end of its end token.
#[derive(Clone, Copy)]
struct Reply {
    turn: usize,
    start: Point,
    end: Point,
}

/// A last reply whose reasoning the template takes out: it is the prompt, then the reasoning, then the rest of the reply as
/// the template writes it.
struct Continued {
    reply: Reply,
    /// Spaces behind the start of the reply that `after` stands for.
    skipped: usize,
    before: String,
    after: String,
}

/// A text that templates do not contain.
const MARK: &str = "\u{f8e0}shown\u{f8e1}";

/// More different forms than this are not remembered.
const MAX_LAYOUTS: usize = 1024;

impl Renderer {
    /// Binds the two; `None` stands for [`ChatTemplate::fallback`], which needs an EOS token.
    ///
    /// `more_stops` are further ids that end a reply, as from a model's generation config.
    pub fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        more_stops: &[u32],
    ) -> Result<Self, RenderError> {
        if template.is_none() && tokenizer.eos().is_none() {
            return Err(RenderError::NoEndOfSequence);
        }
        let template = template.unwrap_or_else(ChatTemplate::fallback);
        Ok(Self::bind(
            Arc::new(tokenizer),
            template,
            more_stops,
            Vec::new(),
        ))
    }

    /// Shows conversations that have tools in a template of their own, as models have one called [`TOOL_USE`]; all others
    /// stay as they are. Ids that end a reply in either template end one.
    pub fn with_tool_use(mut self, template: ChatTemplate) -> Self {
        let sample = json!({"type": "function", "function": {
            "name": "name", "description": "text",
            "parameters": {"type": "object", "properties": {}, "required": []},
        }});
        let tokenizer = Arc::clone(&self.tokenizer);
        let mut with_tools = Self::bind(tokenizer, template, &self.stops, vec![sample]);
        self.stops.clone_from(&with_tools.stops);
        self.hash = Self::hash_of(&self.template, Some(&with_tools.template));
        with_tools.hash.clone_from(&self.hash);
        self.with_tools = Some(Box::new(with_tools));
        self
    }

    /// For a model with so many rows in its embedding: what would need a token beyond them is refused. Many tokenizers have a
    /// token or two more than their model.
    #[must_use]
    pub fn for_rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    /// Refuses ids that the model has no row for.
    fn refuse_beyond(&self, ids: &[u32]) -> Result<(), RenderError> {
        match ids.iter().find(|id| **id as usize >= self.rows) {
            None => Ok(()),
            Some(&id) => Err(RenderError::NoRow {
                token: self.tokenizer.token(id).unwrap_or_default(),
                id,
                rows: self.rows,
            }),
        }
    }

    /// SHA-256 of the chat template, and of the one for conversations with tools where there is one.
    pub fn hash_of(template: &ChatTemplate, tool_use: Option<&ChatTemplate>) -> String {
        match tool_use {
            None => template.hash().to_owned(),
            Some(other) => {
                let both = format!("default {}\n{TOOL_USE} {}\n", template.hash(), other.hash());
                sha256_hex(both.as_bytes())
            }
        }
    }

    fn bind(
        tokenizer: Arc<Tokenizer>,
        template: ChatTemplate,
        more_stops: &[u32],
        sample_tools: Vec<Value>,
    ) -> Self {
        let named_tokens = tokenizer.named_tokens().collect();
        let mut renderer = Self {
            tokenizer,
            hash: Self::hash_of(&template, None),
            template,
            with_tools: None,
            sample_tools,
            named_tokens,
            stops: Vec::new(),
            end_of_reply: None,
            closing: None,
            reasoning_tags: None,
            layouts: RwLock::default(),
            closing_option: OnceLock::new(),
            opening_option: OnceLock::new(),
            rows: usize::MAX,
        };
        let knows = |tags: &ReasoningTags| {
            let is_token = |text: &str| {
                let found = renderer.tokenizer.first_added(text);
                found.is_some_and(|span| span.bytes == (0..text.len()))
            };
            [tags.open, tags.close]
                .into_iter()
                .any(|tag| renderer.template.mentions(tag) || is_token(tag))
        };
        renderer.reasoning_tags = ReasoningTags::KNOWN.into_iter().find(knows);
        renderer.find_showing();
        renderer.closing = renderer.find_closing();
        renderer.end_of_reply = renderer.turn_end();
        let ids = renderer
            .end_of_reply
            .into_iter()
            .chain(renderer.tokenizer.eos())
            .chain(more_stops.iter().copied());
        let mut stops: Vec<u32> = ids.collect();
        stops.sort_unstable();
        stops.dedup();
        renderer.stops = stops;
        renderer
    }

    /// The one that shows this conversation.
    fn of(&self, conversation: &Conversation) -> &Self {
        match &self.with_tools {
            Some(with_tools) if !conversation.tools.is_empty() => with_tools,
            _ => self,
        }
    }

    /// A conversation that stands for many.
    fn sample(&self, turns: impl IntoIterator<Item = Turn>) -> Conversation {
        Conversation::new(turns).with_tools(self.sample_tools.clone())
    }

    /// Finds out how the template wants texts: as they are; as lists of parts, as templates of models that see pictures
    /// do; or none at all beside a call. And which key it reads the reasoning from.
    fn find_showing(&mut self) {
        let asked = Turn::new(Role::User, MARK);
        let called = Turn {
            calls: vec![ToolCall {
                id: None,
                name: MARK.into(),
                arguments: Map::new(),
                written: None,
            }],
            ..Turn::new(Role::Assistant, "")
        };
        let plain = self.sample([asked.clone()]);
        let calling = self.sample([Turn::new(Role::User, "text"), called]);
        let shows = |renderer: &Self, conversation: &Conversation| {
            let rendered = renderer.render(conversation, false);
            rendered.is_ok_and(|rendered| rendered.contains(MARK))
        };
        let parts = |showing: Showing| Showing {
            parts: true,
            ..showing
        };
        let no_text = |showing: Showing| Showing {
            no_text_beside_calls: true,
            ..showing
        };
        for (conversation, other) in [
            (&plain, &parts as &dyn Fn(Showing) -> Showing),
            (&calling, &no_text),
        ] {
            let usual = self.template.showing();
            if !shows(self, conversation) {
                self.template.set_showing(other(usual));
                if !shows(self, conversation) {
                    self.template.set_showing(usual);
                }
            }
        }
        let called = Turn {
            calls: vec![ToolCall {
                // As long as those templates want it that look.
                id: Some("c12345678".into()),
                name: "name".into(),
                arguments: Map::new(),
                written: None,
            }],
            ..Turn::new(Role::Assistant, "")
        };
        let replies = [Turn::new(Role::Assistant, "text"), called]
            .map(|reply| self.sample([Turn::new(Role::User, "text"), reply]));
        let usual = self.template.showing();
        let plain = replies
            .each_ref()
            .map(|talk| self.render(talk, false).unwrap_or_default());
        let mut read = Vec::new();
        for reasoning in ReasoningKey::KNOWN {
            self.template.set_showing(Showing { reasoning, ..usual });
            let told = replies.clone().map(|mut talk| {
                talk.turns[1].reasoning = Some(MARK.into());
                self.render(&talk, false).unwrap_or_default()
            });
            let is_shown = told.iter().any(|told| told.contains(MARK));
            // Some change what they show.
            if self.template.mentions(reasoning.name()) && told != plain {
                read.push((!is_shown, reasoning));
            }
        }
        let first = read.into_iter().min_by_key(|(is_changed, _)| *is_changed);
        let reasoning = first.map_or(usual.reasoning, |(_, reasoning)| reasoning);
        self.template.set_showing(Showing { reasoning, ..usual });
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ids that end a reply, ascending.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stops
    }

    /// Where the chat template came from.
    pub fn template_origin(&self) -> TemplateOrigin {
        self.template.origin()
    }

    /// The chat template as other programs can run it, see [`ChatTemplate::source`].
    pub fn template_source(&self) -> String {
        self.template.source(self.tokenizer.adds_bos())
    }

    /// The template for conversations with tools, where there is one of its own, see [`ChatTemplate::source`].
    pub fn tool_use_source(&self) -> Option<String> {
        self.with_tools.as_ref().map(|own| own.template_source())
    }

    /// The token that a reply is taught to end with.
    pub fn end_of_reply(&self) -> Option<u32> {
        self.end_of_reply
    }

    /// Whether the chat template prints a date.
    pub fn prints_date(&self) -> bool {
        let all = [Some(self), self.with_tools.as_deref()];
        all.into_iter().flatten().any(|own| own.template.has_date())
    }

    /// What a user may set for the template, or for that of rows with tools: see [`ChatTemplate::reads`].
    pub fn template_reads(&self) -> impl Iterator<Item = &str> {
        let all = [Some(self), self.with_tools.as_deref()].into_iter();
        all.flatten()
            .flat_map(|own| own.template.reads())
            .map(String::as_str)
    }

    /// For provenance, see [`hash_of`](Self::hash_of).
    pub fn template_hash(&self) -> &str {
        &self.hash
    }

    /// A finished conversation with its supervised tokens marked.
    pub fn encode_conversation(&self, conversation: &Conversation) -> Result<Encoded, RenderError> {
        let own = self.of(conversation);
        let proven = own.prove(conversation, false)?;
        let mut cut = proven.cut.iter();
        if let Some((turn, token)) = cut.find(|(turn, _)| conversation.turns[*turn].is_supervised) {
            return Err(RenderError::StopBeforeCall {
                number: turn + 1,
                token: token.clone(),
            });
        }
        let spans = own.encode_proven(&proven)?;
        let supervised: Vec<&Place> = proven
            .replies
            .iter()
            .filter(|reply| conversation.turns[reply.turn].is_supervised)
            .collect();
        let is_reply = |span: &Span| {
            supervised
                .iter()
                .any(|reply| reply.bytes.contains(&span.bytes.start))
        };
        let ids: Vec<u32> = spans.iter().map(|span| span.id).collect();
        self.refuse_beyond(&ids)?;
        Ok(Encoded {
            supervised: spans.iter().map(is_reply).collect(),
            ids,
            text: proven.text,
            context_replies: proven
                .context
                .into_iter()
                .filter(|turn| conversation.turns[*turn].is_supervised)
                .collect(),
        })
    }

    /// The ids a model is given to reply to: a prefix of the ids of the conversation with that reply.
    pub fn encode_prompt(&self, conversation: &Conversation) -> Result<Vec<u32>, RenderError> {
        let own = self.of(conversation);
        let spans = own.encode_proven(&own.prove(conversation, true)?)?;
        let ids: Vec<u32> = spans.into_iter().map(|span| span.id).collect();
        self.refuse_beyond(&ids)?;
        Ok(ids)
    }

    /// Plain text to learn by heart: BOS if the tokenizer adds one, the text, EOS; all supervised.
    pub fn encode_text(&self, text: &str) -> Result<Encoded, RenderError> {
        let eos = self.tokenizer.eos().ok_or(RenderError::NoEndOfSequence)?;
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos());
        let ids: Vec<u32> = bos
            .into_iter()
            .chain(self.tokenizer.encode_plain(text)?)
            .chain([eos])
            .collect();
        self.refuse_beyond(&ids)?;
        Ok(Encoded {
            supervised: vec![true; ids.len()],
            ids,
            text: text.to_owned(),
            context_replies: Vec::new(),
        })
    }

    /// The text a conversation is rendered to.
    pub fn render(
        &self,
        conversation: &Conversation,
        generation_prompt: bool,
    ) -> Result<String, RenderError> {
        let (own, add_bos) = (self.of(conversation), self.tokenizer.adds_bos());
        Ok(own
            .template
            .render(conversation, generation_prompt, &own.named_tokens, add_bos)?)
    }

    /// The rendering, and where everything in it stands.
    fn prove(
        &self,
        conversation: &Conversation,
        generation_prompt: bool,
    ) -> Result<Proven, RenderError> {
        if conversation.turns.is_empty() {
            return Err(RenderError::Empty);
        }
        let text = self.render(conversation, generation_prompt)?;
        let form = stand_in(conversation, self.reasoning_tags);
        let layout = self.layout(form, generation_prompt)?;
        let words = words(conversation, self.reasoning_tags);
        let placed = layout.skeleton.place(&text, &words);
        let places = placed.map_err(|turn| RenderError::Rewritten {
            number: turn + 1,
            role: conversation.turns[turn].role,
        })?;
        match &layout.continued {
            Some(continued) => self.prove_continued(conversation, continued, &text, &places),
            None => Ok(Proven {
                replies: layout.spans(&places),
                said: places,
                text,
                context: layout.context.clone(),
                cut: layout.cut.clone(),
            }),
        }
    }

    /// The prompt, and what the model has to write after it; `text` is what the template makes of the finished
    /// conversation, with `places` in it.
    fn prove_continued(
        &self,
        conversation: &Conversation,
        continued: &Continued,
        text: &str,
        places: &[Place],
    ) -> Result<Proven, RenderError> {
        let turn = continued.reply.turn;
        let mut proven = self.prove(&conversation.up_to(turn), true)?;
        let start = proven.text.len();
        proven.text.push_str(&continued.before);
        let thought = words(conversation, self.reasoning_tags);
        let thought = thought
            .iter()
            .find(|word| word.turn == turn && word.kind == WordKind::Reasoning)
            .map_or("", |word| word.text.trim());
        let said = |text: &str, thought: &str| Place {
            turn,
            bytes: text.len()..text.len() + thought.len(),
        };
        proven.said.push(said(&proven.text, thought));
        proven.text.push_str(thought);
        proven.text.push_str(&continued.after);
        let from = continued.reply.start.byte(places) + continued.skipped;
        let end = continued.reply.end.byte(places);
        let behind = places.iter().filter(|place| place.bytes.start >= from);
        for place in behind.filter(|place| place.bytes.end <= end) {
            let at = proven.text.len() + place.bytes.start - from;
            proven.said.push(Place {
                turn: place.turn,
                bytes: at..at + place.bytes.len(),
            });
        }
        proven.text.push_str(&text[from..end]);
        proven.replies.push(Place {
            turn,
            bytes: start..proven.text.len(),
        });
        Ok(proven)
    }

    fn encode_proven(&self, proven: &Proven) -> Result<Vec<Span>, RenderError> {
        let borders = Borders {
            plain: proven
                .said
                .iter()
                .map(|place| place.bytes.clone())
                .collect(),
            cuts: proven
                .replies
                .iter()
                .map(|reply| reply.bytes.start)
                .collect(),
        };
        let spans = self.tokenizer.spans(&proven.text, &borders)?;
        for Place { turn, bytes } in &proven.replies {
            let (prompt, reply) = proven.text.split_at(bytes.start);
            if self.tokenizer.may_melt(reply)
                && !starts_with(&spans, &self.tokenizer.spans(prompt, &borders)?)
            {
                return Err(RenderError::Straddled { number: turn + 1 });
            }
        }
        Ok(spans)
    }

    fn layout(
        &self,
        form: Conversation,
        generation_prompt: bool,
    ) -> Result<Arc<Layout>, RenderError> {
        let key = (form, generation_prompt);
        if let Some(known) = self.layouts.read().expect("no writer panics").get(&key) {
            return Ok(known.clone());
        }
        let layout = Arc::new(self.make_layout(&key.0, generation_prompt)?);
        let mut known = self.layouts.write().expect("no writer panics");
        if known.len() >= MAX_LAYOUTS {
            known.clear();
        }
        known.insert(key, layout.clone());
        Ok(layout)
    }

    fn make_layout(
        &self,
        form: &Conversation,
        generation_prompt: bool,
    ) -> Result<Layout, RenderError> {
        self.check_calls(form)?;
        let words = words(form, self.reasoning_tags);
        let skeleton = self.skeleton(form, generation_prompt)?;
        for (word, &Word { turn, kind, .. }) in words.iter().enumerate() {
            let (number, role) = (turn + 1, form.turns[turn].role);
            match skeleton.count(word) {
                1 => {}
                // Whether that may be, its reply decides.
                0 if kind == WordKind::Reasoning => {}
                0 => return Err(RenderError::Dropped { number, role }),
                count if role == Role::Assistant => {
                    return Err(RenderError::Repeated {
                        number,
                        role,
                        count,
                    });
                }
                _ => {}
            }
        }
        let mut layout = Layout {
            skeleton,
            replies: Vec::new(),
            context: Vec::new(),
            cut: Vec::new(),
            continued: None,
        };
        let turns = form.turns.iter().enumerate();
        for (turn, _) in turns.filter(|(_, turn)| turn.role == Role::Assistant) {
            let prompt = self.skeleton(&form.up_to(turn), true);
            if turn + 1 == form.turns.len() && !generation_prompt {
                let prompt = prompt?;
                match self.reply(&layout.skeleton, &prompt, form, &words, turn) {
                    Ok(reply) => layout.replies.push(reply),
                    Err(error) => {
                        let continued =
                            self.continued(&layout.skeleton, &prompt, form, &words, turn, error);
                        layout.continued = Some(continued?);
                    }
                }
                continue;
            }
            // As the model was asked for it, when it was the last.
            let asked = self.skeleton(&form.up_to(turn + 1), false);
            let reply = asked.and_then(|asked| {
                let reply = self.reply(&asked, &prompt?, form, &words, turn)?;
                Ok((asked, reply))
            });
            match reply {
                Ok((asked, reply)) if asked.agrees_up_to(&layout.skeleton, reply.end) => {
                    layout.replies.push(reply);
                }
                Err(RenderError::StopBeforeCall { token, .. }) => {
                    layout.context.push(turn);
                    layout.cut.push((turn, token));
                }
                _ => layout.context.push(turn),
            }
        }
        Ok(layout)
    }

    /// Tools and calls are shown whole, and none of their names speaks in control tokens.
    fn check_calls(&self, form: &Conversation) -> Result<(), RenderError> {
        let calls = form.turns.iter().flat_map(|turn| &turn.calls);
        if form.tools.is_empty() && calls.clone().next().is_none() {
            return Ok(());
        }
        let ids = form
            .turns
            .iter()
            .flat_map(|turn| [&turn.call_id, &turn.name]);
        let texts = calls
            .map(|call| json!([call]).to_string())
            .chain(form.tools.iter().map(ToString::to_string))
            .chain(ids.flatten().cloned());
        let told = calls_told(form).chain(form.tools.iter().cloned());
        if let Some(number) = told.into_iter().find_map(|told| inexact(&told)) {
            return Err(RenderError::NumberTooLarge { number });
        }
        for text in texts {
            if let Some(span) = self.tokenizer.first_added(&text) {
                let token = text[span.bytes].to_owned();
                return Err(RenderError::ControlInCall { token });
            }
        }
        let (probe, marks) = probe(form);
        let rendered = with_marks(self.render(&probe, false)?);
        match marks.iter().find(|(mark, _)| !rendered.contains(mark)) {
            None => Ok(()),
            Some((_, None)) => Err(RenderError::ToolsDropped),
            Some((_, Some(turn))) => Err(RenderError::CallDropped { number: turn + 1 }),
        }
    }

    fn skeleton(
        &self,
        form: &Conversation,
        generation_prompt: bool,
    ) -> Result<Skeleton, RenderError> {
        let rendered = with_marks(self.render(form, generation_prompt)?);
        let words = words(form, self.reasoning_tags);
        Skeleton::read(&rendered, &words).ok_or_else(|| {
            // Marks that people wrote into their text are nobody's turn; the first one is named then.
            let turn = first_damaged(&rendered, &words).unwrap_or(0);
            RenderError::Rewritten {
                number: turn + 1,
                role: form.turns[turn].role,
            }
        })
    }
}

impl Layout {
    /// Every reply from the end of its prompt to the end of its end token.
    fn spans(&self, places: &[Place]) -> Vec<Place> {
        let span = |reply: &Reply| Place {
            turn: reply.turn,
            bytes: reply.start.byte(places)..reply.end.byte(places),
        };
        self.replies.iter().map(span).collect()
    }
}

fn starts_with(spans: &[Span], prompt: &[Span]) -> bool {
    let ids = |spans: &[Span]| -> Vec<u32> { spans.iter().map(|span| span.id).collect() };
    ids(spans).starts_with(&ids(prompt))
}

/// What the calls of a conversation are told.
fn calls_told(form: &Conversation) -> impl Iterator<Item = Value> {
    let calls = form.turns.iter().flat_map(|turn| &turn.calls);
    calls.map(|call| Value::Object(call.arguments.clone()))
}

#[cfg(test)]
mod tests;
