//! What a template writes *around* the turns of a conversation, found by rendering stand-ins.
//!
//! A template is a program, so where a reply stands in its output cannot be read off; searching for
//! the reply's text would be a guess (a reply of "a" is everywhere). Instead every turn's text is
//! replaced by a mark that nothing else contains, once per sequence of roles. The rendering then reads
//! `glue mark glue mark … glue`. A real rendering must be exactly the same glue with the real texts in
//! the slots; when it is, every position is proven, and when it is not, the template changed what was
//! said and the row is refused.

use std::ops::Range;

use crate::{Conversation, Role, Turn};

const OPEN: char = '\u{f8e0}';
const CLOSE: char = '\u{f8e1}';

/// The glue and slots of every rendering with one sequence of roles.
#[derive(Debug)]
pub(crate) struct Skeleton {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Glue(String),
    Slot(usize),
}

/// Where the text of one turn stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub turn: usize,
    pub bytes: Range<usize>,
}

/// A conversation of the same roles, each text a mark.
pub(crate) fn stand_in(roles: &[Role]) -> Conversation {
    Conversation::new(
        roles
            .iter()
            .enumerate()
            .map(|(turn, &role)| Turn::new(role, format!("{OPEN}{turn}{CLOSE}"))),
    )
}

impl Skeleton {
    /// Reads the rendering of a [`stand_in`]; `None` if a mark was damaged.
    pub fn read(rendered: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = rendered;
        while let Some(open) = rest.find(OPEN) {
            let (glue, marked) = rest.split_at(open);
            let (turn, after) = marked[OPEN.len_utf8()..].split_once(CLOSE)?;
            pieces.extend([
                Piece::Glue(glue.to_owned()),
                Piece::Slot(turn.parse().ok()?),
            ]);
            rest = after;
        }
        pieces.push(Piece::Glue(rest.to_owned()));
        (!rest.contains(CLOSE)).then_some(Self { pieces })
    }

    /// How often the template writes a turn.
    pub fn count(&self, turn: usize) -> usize {
        self.pieces
            .iter()
            .filter(|piece| **piece == Piece::Slot(turn))
            .count()
    }

    /// What the template writes straight after a turn.
    pub fn glue_after(&self, turn: usize) -> &str {
        let slot = self
            .pieces
            .iter()
            .position(|piece| *piece == Piece::Slot(turn));
        match slot.map(|slot| &self.pieces[slot + 1]) {
            Some(Piece::Glue(glue)) => glue,
            _ => "",
        }
    }

    /// If this rendering begins with all of `prompt`, which ends straight before `turn`, the bytes the
    /// template writes between the two.
    pub fn gap_after(&self, prompt: &Self, turn: usize) -> Option<usize> {
        let (tail, head) = prompt.pieces.split_last()?;
        let (same, rest) = self.pieces.split_at_checked(head.len())?;
        match (tail, rest) {
            (Piece::Glue(tail), [Piece::Glue(glue), Piece::Slot(slot), ..])
                if same == head && *slot == turn =>
            {
                Some(glue.strip_prefix(tail.as_str())?.len())
            }
            _ => None,
        }
    }

    /// Where every turn stands in `text`; the turn that could not be placed if the glue does not fit.
    pub fn place(&self, text: &str, conversation: &Conversation) -> Result<Vec<Place>, usize> {
        let mut search = Search {
            text,
            conversation,
            places: Vec::new(),
            most_placed: 0,
            stuck_at: 0,
        };
        match search.fits(&self.pieces, 0) {
            true => Ok(search.places),
            false => Err(search.stuck_at),
        }
    }
}

/// Tries the text as it is, then trimmed as templates trim, and goes back when the glue does not fit.
struct Search<'a> {
    text: &'a str,
    conversation: &'a Conversation,
    places: Vec<Place>,
    /// How far the best attempt came, and the turn it could not place.
    most_placed: usize,
    stuck_at: usize,
}

impl Search<'_> {
    fn fits(&mut self, pieces: &[Piece], at: usize) -> bool {
        let Some((Piece::Glue(glue), pieces)) = pieces.split_first() else {
            return false;
        };
        let rest = &self.text[at..];
        let Some((Piece::Slot(turn), pieces)) = pieces.split_first() else {
            return rest == glue;
        };
        if self.places.len() >= self.most_placed {
            (self.most_placed, self.stuck_at) = (self.places.len(), *turn);
        }
        if !rest.starts_with(glue.as_str()) {
            return false;
        }
        let start = at + glue.len();
        for form in forms(&self.conversation.turns[*turn].text) {
            if !self.text[start..].starts_with(form) {
                continue;
            }
            let bytes = start..start + form.len();
            self.places.push(Place {
                turn: *turn,
                bytes: bytes.clone(),
            });
            if self.fits(pieces, bytes.end) {
                return true;
            }
            self.places.pop();
        }
        false
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
