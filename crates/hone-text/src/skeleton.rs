//! What a template writes *around* the words of a conversation, found by rendering stand-ins.
//!
//! A template is a program, so where a reply stands in its output cannot be read off; searching for
//! the reply's text would be a guess (a reply of "a" is everywhere). Instead every text is replaced by
//! a mark that nothing else contains, once per sequence of roles. The rendering then reads
//! `glue mark glue mark … glue`. A real rendering must be exactly the same glue with the real texts in
//! the slots; when it is, every position is proven, and when it is not, the template changed what was
//! said and the row is refused. In a tool call the texts among the arguments are words, and its names,
//! numbers and brackets are glue. Reasoning inside a reply is a word of its own, because templates take replies apart at
//! the tags around it; the tags stay in the stand-in.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::python::{dumps, escapes};
use crate::{Conversation, Role, ToolCall, Turn};

const OPEN: char = '\u{f8e0}';
const CLOSE: char = '\u{f8e1}';

/// The glue and slots of every rendering of conversations that differ only in their words.
#[derive(Debug)]
pub(crate) struct Skeleton {
    /// One more than slots: before the first, between two, after the last.
    glue: Vec<String>,
    slots: Vec<Slot>,
}

/// Where a word of a turn stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    word: usize,
    turn: usize,
}

/// A text that a template must write as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<'a> {
    pub turn: usize,
    pub text: &'a str,
    pub kind: WordKind,
    /// An argument as it is spelt in the row's own JSON.
    spelling: Option<&'a str>,
}

/// What a word is to its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordKind {
    /// What the assistant thinks before it answers.
    Reasoning,
    /// What is said.
    Text,
    /// An argument of a call, which is mostly written as JSON.
    Argument,
}

/// What opens and closes reasoning inside a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReasoningTags {
    pub open: &'static str,
    pub close: &'static str,
}

impl ReasoningTags {
    /// The ones that models have been trained with.
    pub const KNOWN: [Self; 7] = [
        Self::of("<think>", "</think>"),
        Self::of("[THINK]", "[/THINK]"),
        Self::of("<seed:think>", "</seed:think>"),
        Self::of("<thinking>", "</thinking>"),
        Self::of("<|channel>thought", "<channel|>"),
        Self::of("<|START_THINKING|>", "<|END_THINKING|>"),
        Self::of("<|inner_prefix|>", "<|inner_suffix|>"),
    ];

    /// The bytes at the end of a prompt that open reasoning and close it again with nothing in it.
    pub fn closed_block(self, prompt: &str) -> Option<usize> {
        let inner = prompt.trim_end().strip_suffix(self.close)?;
        let before = inner.trim_end().strip_suffix(self.open)?;
        Some(prompt.len() - before.len())
    }

    const fn of(open: &'static str, close: &'static str) -> Self {
        Self { open, close }
    }
}

/// A piece of what a turn says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// What templates look at: the tags around reasoning, and spaces.
    Form(&'a str),
    Word(WordKind, &'a str),
}

/// What a template wrote of marks, with the marks whole again: `tojson(ensure_ascii=true)` and Python's `repr` escape them.
pub(crate) fn with_marks(rendered: String) -> String {
    match rendered.contains("\\uf8e") {
        true => rendered
            .replace("\\uf8e0", "\u{f8e0}")
            .replace("\\uf8e1", "\u{f8e1}"),
        false => rendered,
    }
}

/// The turn of the first word whose mark a rendering does not have whole, though it has marks.
pub(crate) fn first_damaged(rendered: &str, words: &[Word<'_>]) -> Option<usize> {
    let is_whole = |word: usize| rendered.contains(&format!("{OPEN}{word}{CLOSE}"));
    let damaged = (0..words.len()).find(|&word| !is_whole(word));
    damaged.map(|word| words[word].turn)
}

/// What a turn says, taken apart at the tags that templates take it apart at.
pub(crate) fn pieces(turn: &Turn, tags: Option<ReasoningTags>) -> Vec<Piece<'_>> {
    let text = turn.text.as_str();
    if text.trim().is_empty() {
        // Whether there is any text decides what many templates write.
        return vec![Piece::Form(text)];
    }
    let inline = tags.filter(|_| turn.role == Role::Assistant);
    let inline = inline.and_then(|tags| inline_reasoning(text, tags));
    inline.unwrap_or_else(|| vec![Piece::Word(WordKind::Text, text)])
}

fn inline_reasoning(text: &str, tags: ReasoningTags) -> Option<Vec<Piece<'_>>> {
    let close = text.find(tags.close)?;
    let open = match text[..close].find(tags.open) {
        None => 0,
        Some(open) if text[..open].trim().is_empty() => open + tags.open.len(),
        Some(_) => return None,
    };
    let inner = &text[open..close];
    let thought = inner.trim();
    let behind = close + tags.close.len();
    let answer = text[behind..].trim_start();
    if thought.is_empty() {
        let words = text.len() - answer.len();
        let mut pieces = vec![Piece::Form(&text[..words])];
        pieces.extend((!answer.is_empty()).then_some(Piece::Word(WordKind::Text, answer)));
        return Some(pieces);
    }
    let start = open + (inner.len() - inner.trim_start().len());
    let end = start + thought.len();
    let mut pieces = vec![
        Piece::Form(&text[..start]),
        Piece::Word(WordKind::Reasoning, thought),
        Piece::Form(&text[end..text.len() - answer.len()]),
    ];
    pieces.extend((!answer.is_empty()).then_some(Piece::Word(WordKind::Text, answer)));
    Some(pieces)
}

/// Where a text of a turn stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub turn: usize,
    pub bytes: Range<usize>,
}

/// A place in the glue, wherever the words before it end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub glue: usize,
    pub offset: usize,
}

/// The words of a conversation, in the order of their marks.
pub(crate) fn words(conversation: &Conversation, tags: Option<ReasoningTags>) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    for (turn, said) in conversation.turns.iter().enumerate() {
        let word = |kind, text| Word {
            turn,
            text,
            kind,
            spelling: None,
        };
        let reasoning = said
            .reasoning
            .as_deref()
            .filter(|text| !text.trim().is_empty());
        words.extend(reasoning.map(|text| word(WordKind::Reasoning, text)));
        words.extend(
            pieces(said, tags)
                .into_iter()
                .filter_map(|piece| match piece {
                    Piece::Form(_) => None,
                    Piece::Word(kind, text) => Some(word(kind, text)),
                }),
        );
        for call in &said.calls {
            let texts: Vec<&str> = call.arguments_texts().collect();
            let written = call.written.as_deref().unwrap_or_default();
            let spellings = text_values(written);
            for (index, text) in texts.iter().enumerate() {
                let is_spelt = spellings.len() == texts.len();
                words.push(Word {
                    spelling: is_spelt.then(|| &written[spellings[index].clone()]),
                    ..word(WordKind::Argument, text)
                });
            }
        }
    }
    words
}

/// A conversation of the same form, each word a mark.
pub(crate) fn stand_in(conversation: &Conversation, tags: Option<ReasoningTags>) -> Conversation {
    let mut marks = (0..).map(|word: usize| format!("{OPEN}{word}{CLOSE}"));
    let mut mark = || marks.next().expect("marks do not end");
    let mut stand_in = conversation.clone();
    for (turn, said) in stand_in.turns.iter_mut().zip(&conversation.turns) {
        turn.is_supervised = true;
        if let Some(text) = &mut turn.reasoning
            && !text.trim().is_empty()
        {
            *text = mark();
        }
        let text = pieces(said, tags).into_iter().map(|piece| match piece {
            Piece::Form(text) => text.to_owned(),
            Piece::Word(..) => mark(),
        });
        turn.text = text.collect();
        for call in &mut turn.calls {
            let mut own = Vec::new();
            for text in call.arguments_texts_mut() {
                own.push(mark());
                text.clone_from(&own[own.len() - 1]);
            }
            if let Some(written) = &mut call.written {
                let marked = with_texts(written, &own);
                *written = marked.unwrap_or_else(|| dumps(&Value::Object(call.arguments.clone())));
            }
        }
    }
    stand_in
}

/// Where the texts among the values of JSON stand, between their quotes.
fn text_values(json: &str) -> Vec<Range<usize>> {
    let mut values = Vec::new();
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'"' {
            at += 1;
            continue;
        }
        let start = at + 1;
        let mut end = start;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        at = end + 1;
        let is_key = json
            .get(at..)
            .is_some_and(|rest| rest.trim_start().starts_with(':'));
        if !is_key && json.get(start..end).is_some() {
            values.push(start..end);
        }
    }
    values
}

/// The same JSON with other texts among its values; `None` if there are not so many.
fn with_texts(json: &str, texts: &[String]) -> Option<String> {
    let values = text_values(json);
    if values.len() != texts.len() {
        return None;
    }
    let (mut out, mut from) = (String::new(), 0);
    for (value, text) in values.into_iter().zip(texts) {
        out.push_str(&json[from..value.start]);
        out.push_str(text);
        from = value.end;
    }
    Some(out + &json[from..])
}

/// A conversation of the same roles in which all of a call is marked, and the names of the tools:
/// whether a template writes them at all. With the turn of each mark; `None` for a tool.
pub(crate) fn probe(conversation: &Conversation) -> (Conversation, Vec<(String, Option<usize>)>) {
    let mut marks = Vec::new();
    let mut mark = |turn| {
        // No mark of a word, which the conversation may already be made of.
        let mark = format!("{OPEN}probe {}{CLOSE}", marks.len());
        marks.push((mark.clone(), turn));
        mark
    };
    let mut probe = conversation.clone();
    for (index, turn) in probe.turns.iter_mut().enumerate() {
        for call in &mut turn.calls {
            let name = mark(Some(index));
            let arguments = marked_fields(&call.arguments, &mut || mark(Some(index)));
            let is_text = call.written.is_some();
            *call = ToolCall {
                id: call.id.take(),
                name,
                written: is_text.then(|| dumps(&Value::Object(arguments.clone()))),
                arguments,
            };
        }
    }
    for tool in &mut probe.tools {
        let function = match tool.get_mut("function") {
            Some(function) => function,
            None => tool,
        };
        if let Some(name) = function.get_mut("name") {
            *name = mark(None).into();
        }
    }
    (probe, marks)
}

fn marked_fields(
    fields: &Map<String, Value>,
    mark: &mut dyn FnMut() -> String,
) -> Map<String, Value> {
    let field = |value: &Value| (mark(), marked(value, mark));
    fields.values().map(field).collect()
}

fn marked(value: &Value, mark: &mut dyn FnMut() -> String) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| marked(item, mark)).collect(),
        Value::Object(fields) => marked_fields(fields, mark).into(),
        _ => mark().into(),
    }
}

impl Skeleton {
    /// Reads the rendering of a [`stand_in`] with these words; `None` if a mark was damaged.
    pub fn read(rendered: &str, words: &[Word<'_>]) -> Option<Self> {
        let (mut glue, mut slots) = (Vec::new(), Vec::new());
        let mut rest = rendered;
        while let Some(open) = rest.find(OPEN) {
            let (before, marked) = rest.split_at(open);
            let (word, after) = marked[OPEN.len_utf8()..].split_once(CLOSE)?;
            let word = word.parse().ok()?;
            glue.push(before.to_owned());
            slots.push(Slot {
                word,
                turn: words.get(word)?.turn,
            });
            rest = after;
        }
        glue.push(rest.to_owned());
        (!rest.contains(CLOSE)).then_some(Self { glue, slots })
    }

    /// How often the template writes a word.
    pub fn count(&self, word: usize) -> usize {
        self.slots.iter().filter(|slot| slot.word == word).count()
    }

    /// What the template writes in one place.
    pub fn glue(&self, index: usize) -> &str {
        &self.glue[index]
    }

    /// Which glue stands straight after the last word of a turn.
    pub fn glue_after(&self, turn: usize) -> Option<usize> {
        let last = self.slots.iter().rposition(|slot| slot.turn == turn);
        last.map(|slot| slot + 1)
    }

    /// Where `prompt` ends, if this rendering begins with all of it.
    pub fn after(&self, prompt: &Self) -> Option<Point> {
        let glue = prompt.slots.len();
        let (same, _) = self.slots.split_at_checked(glue)?;
        let is_same = same == prompt.slots && self.glue[..glue] == prompt.glue[..glue];
        let tail = prompt.glue[glue].as_str();
        let offset = tail.len();
        (is_same && self.glue[glue].starts_with(tail)).then_some(Point { glue, offset })
    }

    /// The turns of the words behind a point, in their order.
    pub fn turns_after(&self, point: Point) -> impl Iterator<Item = usize> {
        self.slots.iter().skip(point.glue).map(|slot| slot.turn)
    }

    /// How often the template writes a word behind a point.
    pub fn count_after(&self, word: usize, point: Point) -> usize {
        let slots = self.slots.iter().skip(point.glue);
        slots.filter(|slot| slot.word == word).count()
    }

    /// The glue between two points, put together.
    pub fn between(&self, start: Point, end: Point) -> String {
        let glue = self.glue.iter().enumerate();
        let inside = glue.take(end.glue + 1).skip(start.glue);
        let part = |(index, glue): (usize, &String)| {
            let from = if index == start.glue { start.offset } else { 0 };
            let to = if index == end.glue {
                end.offset
            } else {
                glue.len()
            };
            glue.get(from..to).unwrap_or_default().to_owned()
        };
        inside.map(part).collect()
    }

    /// The glue behind the last word.
    pub fn tail(&self) -> &str {
        self.glue.last().map_or("", String::as_str)
    }

    /// The same without so many bytes at its end, which are glue.
    pub fn without_end(&self, bytes: usize) -> Self {
        let mut glue = self.glue.clone();
        if let Some(tail) = glue.last_mut() {
            tail.truncate(tail.len().saturating_sub(bytes));
        }
        let slots = self.slots.clone();
        Self { glue, slots }
    }

    /// Does another rendering read like this one up to a point?
    pub fn agrees_up_to(&self, other: &Self, point: Point) -> bool {
        let same = |a: &Self, b: &Self| -> Option<bool> {
            let slots = a.slots.get(..point.glue)? == b.slots.get(..point.glue)?;
            let glue = a.glue.get(..point.glue)? == b.glue.get(..point.glue)?;
            let begun = a.glue.get(point.glue)?.get(..point.offset)?;
            Some(slots && glue && b.glue.get(point.glue)?.starts_with(begun))
        };
        same(self, other).unwrap_or(false)
    }

    /// Where every word stands in `text`; the turn that could not be placed if the glue does not fit.
    pub fn place(&self, text: &str, words: &[Word<'_>]) -> Result<Vec<Place>, usize> {
        let mut search = Search {
            skeleton: self,
            text,
            words,
            places: Vec::new(),
            next_forms: vec![0],
        };
        // How far the best attempt came, and the turn it could not place.
        let (mut most_placed, mut stuck_at) = (0, 0);
        for _ in 0..MAX_STEPS {
            let placed = search.places.len();
            if let Some(slot) = self.slots.get(placed)
                && placed >= most_placed
            {
                (most_placed, stuck_at) = (placed, slot.turn);
            }
            match search.step() {
                Step::Done => return Ok(search.places),
                Step::Stuck => break,
                Step::Going => {}
            }
        }
        Err(stuck_at)
    }
}

/// A search goes back from a trimmed word to an untrimmed one; a text made to send it back and forth
/// is not placed.
const MAX_STEPS: usize = 1 << 20;

impl Point {
    /// Its byte in a rendering whose words stand in these places.
    pub fn byte(self, places: &[Place]) -> usize {
        let before = self
            .glue
            .checked_sub(1)
            .map_or(0, |word| places[word].bytes.end);
        before + self.offset
    }
}

/// Tries the text as it is, then trimmed as templates trim, and goes back when the glue does not fit.
struct Search<'a> {
    skeleton: &'a Skeleton,
    text: &'a str,
    words: &'a [Word<'a>],
    places: Vec<Place>,
    /// For each word placed, and the one to be placed, the form to be tried next.
    next_forms: Vec<usize>,
}

enum Step {
    Going,
    Done,
    Stuck,
}

impl Search<'_> {
    /// Places one more word, or takes back the last one.
    fn step(&mut self) -> Step {
        let index = self.places.len();
        let at = self.places.last().map_or(0, |place| place.bytes.end);
        let (rest, glue) = (&self.text[at..], self.skeleton.glue[index].as_str());
        let Some(&slot) = self.skeleton.slots.get(index) else {
            return match rest == glue {
                true => Step::Done,
                false => self.back(),
            };
        };
        let Some(rest) = rest.strip_prefix(glue) else {
            return self.back();
        };
        let word = self.words[slot.word];
        let escaped = (word.kind == WordKind::Argument).then(|| escapes(word.text));
        let escaped = escaped.iter().flatten().map(String::as_str);
        let forms = word
            .spelling
            .into_iter()
            .chain(escaped)
            .chain(forms(word.text));
        let mut untried = forms.enumerate().skip(self.next_forms[index]);
        let Some((form, text)) = untried.find(|(_, form)| rest.starts_with(form)) else {
            return self.back();
        };
        let start = at + glue.len();
        self.places.push(Place {
            turn: slot.turn,
            bytes: start..start + text.len(),
        });
        self.next_forms[index] = form + 1;
        self.next_forms.push(0);
        Step::Going
    }

    fn back(&mut self) -> Step {
        self.next_forms.pop();
        match self.places.pop() {
            Some(_) => Step::Going,
            None => Step::Stuck,
        }
    }
}

/// A text as it is and as templates trim it, without repetition.
fn forms(text: &str) -> Vec<&str> {
    let newlines = |text: &'_ str| -> (usize, usize) {
        (
            text.len() - text.trim_start_matches('\n').len(),
            text.trim_end_matches('\n').len(),
        )
    };
    let (first, last) = newlines(text);
    let mut forms = vec![
        text,
        text.trim(),
        text.trim_start(),
        text.trim_end(),
        &text[first..],
        &text[..last],
    ];
    if first < last {
        forms.push(&text[first..last]);
    }
    let mut seen: Vec<&str> = Vec::new();
    forms.retain(|form| {
        !seen.contains(form) && {
            seen.push(form);
            true
        }
    });
    forms
}
