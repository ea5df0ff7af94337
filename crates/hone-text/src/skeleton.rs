//! What a template writes *around* the words of a conversation, found by rendering stand-ins.
//!
//! A template is a program, so where a reply stands in its output cannot be read off; searching for
//! the reply's text would be a guess (a reply of "a" is everywhere). Instead every text is replaced by
//! a mark that nothing else contains, once per sequence of roles. The rendering then reads
//! `glue mark glue mark … glue`. A real rendering must be exactly the same glue with the real texts in
//! the slots; when it is, every position is proven, and when it is not, the template changed what was
//! said and the row is refused. In a tool call the texts among the arguments are words, and its names,
//! numbers and brackets are glue.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::{Conversation, ToolCall, Turn};

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
pub(crate) fn words(conversation: &Conversation) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    for (turn, said) in conversation.turns.iter().enumerate() {
        let word = |text, kind| Word { turn, text, kind };
        let reasoning = said.reasoning.as_deref();
        words.extend(reasoning.map(|text| word(text, WordKind::Reasoning)));
        words.extend(has_text(said).then(|| word(&said.text, WordKind::Text)));
        words.extend(said.arguments().map(|text| word(text, WordKind::Argument)));
    }
    words
}

/// A turn that only calls has no text to be placed.
fn has_text(turn: &Turn) -> bool {
    turn.calls.is_empty() || !turn.text.is_empty()
}

/// A conversation of the same form, each word a mark.
pub(crate) fn stand_in(conversation: &Conversation) -> Conversation {
    let mut marks = (0..).map(|word: usize| format!("{OPEN}{word}{CLOSE}"));
    let mut stand_in = conversation.clone();
    for turn in &mut stand_in.turns {
        turn.is_learnt = true;
        let has_text = has_text(turn);
        let said = turn.reasoning.as_mut().into_iter();
        for word in said.chain(has_text.then_some(&mut turn.text)) {
            *word = marks.next().expect("marks do not end");
        }
        for word in turn.arguments_mut() {
            *word = marks.next().expect("marks do not end");
        }
    }
    stand_in
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
            *call = ToolCall {
                id: call.id.take(),
                name: mark(Some(index)),
                arguments: marked_fields(&call.arguments, &mut || mark(Some(index))),
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

    /// Which glue stands straight before the first word of a turn.
    pub fn glue_before(&self, turn: usize) -> Option<usize> {
        self.slots.iter().position(|slot| slot.turn == turn)
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
        let escaped = (word.kind == WordKind::Argument).then(|| escaped(word.text));
        let forms = escaped.as_deref().into_iter().chain(forms(word.text));
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

/// A text as it stands between the quotes of JSON.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
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
