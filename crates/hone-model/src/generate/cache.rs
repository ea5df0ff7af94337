//! What a model remembers of several sequences, and how it reads more of them.

use hone_tensor::{FEW_QUERIES, Index, PAGE, Span, TensorError};

use super::pages::{Pages, Shared};
use crate::layout::{LastRows, Rows, Shortcuts};
use crate::model::Model;
use crate::pass::Pass;
use crate::pass::shares::Share;
use crate::state::LayerState;

/// A cache grows by at least so many pages.
const GROWTH: usize = 16;

/// What each layer keeps of the tokens of each sequence. A sequence is a slot.
#[derive(Debug)]
pub(super) struct Cache {
    layers: Vec<LayerState>,
    pages: Pages,
    slots: Vec<Slot>,
}

/// A sequence's tokens: the pages they lie in, and how many they are.
#[derive(Debug, Default)]
struct Slot {
    pages: Vec<u32>,
    len: usize,
}

/// Tokens that follow what a slot holds.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub slot: usize,
    /// Which of the shares it belongs to; pieces come in their order.
    pub share: usize,
    pub ids: &'a [u32],
    /// The token, counted in `ids`, after which the logits of the next one are wanted.
    pub next: Option<usize>,
    /// The tokens, counted in `ids`, whose followers are scored, and what follows each.
    pub scored: Vec<(usize, u32)>,
}

/// What was asked for, in the order of the pieces.
pub(super) struct Read {
    /// For each piece that wanted them.
    pub logits: Vec<Vec<f32>>,
    /// Nats of what was scored, for each piece.
    pub nats: Vec<Vec<f64>>,
}

/// Fewer tokens than this attention may round otherwise than more.
pub(super) const LEAST: usize = FEW_QUERIES + 1;
/// With room for so many at a time, tokens of any number can be read in parts.
pub(super) const LEAST_ROOM: usize = 2 * LEAST;

/// How many of `rest` tokens are read at a time where there is room for so many; none if it is better to wait. No part is so
/// short that attention would round it otherwise than all in one.
pub(super) fn part_of(rest: usize, room: usize) -> usize {
    match rest <= room {
        true => rest,
        false => {
            let part = room.min(rest.saturating_sub(LEAST));
            if part < LEAST { 0 } else { part }
        }
    }
}

impl Cache {
    pub fn new(model: &Model, slots: usize) -> Self {
        let (config, device) = (model.config(), model.device());
        let layers = config.layers.iter();
        Self {
            layers: layers
                .map(|layer| LayerState::new(layer, config, device))
                .collect(),
            pages: Pages::default(),
            slots: (0..slots).map(|_| Slot::default()).collect(),
        }
    }

    /// Forgets what a slot holds beyond its first `len` tokens, and says how many it still knows: fewer, if a layer's state
    /// cannot go back that far.
    pub fn rewind(&mut self, slot: usize, len: usize) -> usize {
        let had = self.slots[slot].len;
        let layers = self.layers.iter_mut();
        let left = layers.map(|state| state.rewind(slot, had, len)).min();
        let own = &mut self.slots[slot];
        own.len = left.unwrap_or(len);
        for page in own.pages.drain(own.len.div_ceil(PAGE)..) {
            self.pages.release(page);
        }
        own.len
    }

    /// Lets an empty slot begin with what others have read.
    pub fn begin_with(&mut self, slot: usize, shared: &Shared) {
        for &page in &shared.pages {
            self.pages.hold(page);
            self.slots[slot].pages.push(page);
        }
        self.slots[slot].len = shared.tokens();
        if let Some((from, tokens)) = shared.copied {
            let to = self.take_page(slot);
            let layers = self.layers.iter_mut();
            layers.for_each(|layer| layer.copy_page(from, to, tokens));
        }
    }

    /// The pages of a slot, and all.
    pub fn pages_of(&mut self, slot: usize) -> (&[u32], &mut Pages) {
        (&self.slots[slot].pages, &mut self.pages)
    }

    fn take_page(&mut self, slot: usize) -> u32 {
        let page = self.pages.take().unwrap_or_else(|| {
            let had = self.pages.count();
            let count = had + GROWTH.max(had / 4);
            self.layers.iter_mut().for_each(|layer| layer.grow(count));
            self.pages.grow(count);
            self.pages.take().expect("pages were added")
        });
        self.slots[slot].pages.push(page);
        page
    }

    /// Reads the pieces, each with the adapters of its share.
    pub fn read(
        &mut self,
        model: &Model,
        shares: Vec<Share<'_>>,
        pieces: &[Piece],
    ) -> Result<Read, TensorError> {
        let num_shares = shares.len();
        let pass = Pass {
            shares,
            ..model.pass()
        };
        let mut laid = Laid::new(num_shares);
        for piece in pieces {
            let end = self.slots[piece.slot].len + piece.ids.len();
            while self.slots[piece.slot].pages.len() * PAGE < end {
                self.take_page(piece.slot);
            }
            let slot = &mut self.slots[piece.slot];
            slot.len = end;
            laid.add(piece, slot);
        }
        laid.begin_share(num_shares);
        let (ids, rows, asked) = laid.into_rows(model.exact(Shortcuts::ALL).last_layer);
        let mut hidden = pass.embed(&ids, &rows.positions);
        for (index, state) in self.layers.iter_mut().enumerate() {
            pass.stop.check()?;
            hidden = pass.layer(index, &hidden, &rows, Some(state), false).0;
        }
        let mut nats: Vec<Vec<f64>> = pieces.iter().map(|_| vec![]).collect();
        for (share, rows) in asked.scored.iter().enumerate() {
            let own = || {
                let pieces = pieces.iter().enumerate();
                pieces.filter(|(_, piece)| piece.share == share)
            };
            let targets = own().flat_map(|(_, piece)| &piece.scored);
            let targets: Vec<u32> = targets.map(|(_, target)| *target).collect();
            let all = pass.nats_of(share, &hidden, rows, &targets.into())?;
            let mut all = all.into_iter();
            for (place, piece) in own() {
                nats[place] = all.by_ref().take(piece.scored.len()).collect();
            }
        }
        let mut logits = vec![];
        if !asked.next.is_empty() {
            let all = pass.logits(&hidden, &asked.next, &asked.next_division);
            let vocab = all.cols();
            logits.extend(all.to_vec()?.chunks_exact(vocab).map(<[f32]>::to_vec));
        }
        Ok(Read { logits, nats })
    }
}

/// Pieces as rows of one batch.
struct Laid {
    ids: Vec<u32>,
    positions: Vec<u32>,
    spans: Vec<Span>,
    pages: Vec<u32>,
    division: Vec<usize>,
    /// The rows that feed a logit, each with a span of its own: so they are rounded alike, whatever is asked beside them.
    asked: Vec<usize>,
    asked_spans: Vec<Span>,
    asked_division: Vec<usize>,
    /// Those of `asked` whose logits are wanted.
    next: Vec<usize>,
    next_division: Vec<usize>,
    /// Those of `asked` that are scored, share by share.
    scored: Vec<Vec<usize>>,
}

/// The rows of what leaves the last layer that something is asked of.
struct Asked {
    next: Index,
    next_division: Vec<usize>,
    scored: Vec<Index>,
}

impl Laid {
    fn new(num_shares: usize) -> Self {
        Self {
            ids: vec![],
            positions: vec![],
            spans: vec![],
            pages: vec![],
            division: vec![],
            asked: vec![],
            asked_spans: vec![],
            asked_division: vec![],
            next: vec![],
            next_division: vec![],
            scored: vec![vec![]; num_shares],
        }
    }

    /// What follows belongs to this share; the shares that were passed over are empty.
    fn begin_share(&mut self, share: usize) {
        while self.division.len() <= share {
            self.division.push(self.ids.len());
            self.asked_division.push(self.asked.len());
            self.next_division.push(self.next.len());
        }
    }

    /// Adds a piece at the end of a slot, whose length includes it.
    fn add(&mut self, piece: &Piece, slot: &Slot) {
        self.begin_share(piece.share);
        let first = self.ids.len();
        let past = slot.len - piece.ids.len();
        let span = Span {
            query_start: first,
            query_len: piece.ids.len(),
            key_start: self.pages.len() * PAGE,
            key_len: slot.len,
        };
        self.positions.extend(past as u32..slot.len as u32);
        self.ids.extend(piece.ids);
        self.pages.extend(&slot.pages[..slot.len.div_ceil(PAGE)]);
        self.spans.push(span);
        let scored = piece.scored.iter().map(|(at, _)| *at);
        for at in piece.next.into_iter().chain(scored) {
            self.asked_spans.push(Span {
                query_start: self.asked.len(),
                query_len: 1,
                key_len: past + at + 1,
                ..span
            });
            self.asked.push(first + at);
        }
        let first_scored = self.asked.len() - piece.scored.len();
        self.scored[piece.share].extend(first_scored..self.asked.len());
        self.next.extend(piece.next.map(|_| first_scored - 1));
    }

    /// The batch for a network whose last layer computes only the rows that feed a logit, or all of them.
    fn into_rows(self, only_asked: bool) -> (Index, Rows, Asked) {
        let only_asked = only_asked && !self.asked.is_empty();
        let fed = |places: &[usize]| -> Index {
            let row = |place: &usize| match only_asked {
                true => *place,
                false => self.asked[*place],
            };
            places.iter().map(row).collect()
        };
        let asked = Asked {
            next: fed(&self.next),
            scored: self.scored.iter().map(|own| fed(own)).collect(),
            next_division: self.next_division,
        };
        let mut rows = Rows {
            pages: self.pages.into(),
            division: self.division,
            ..Rows::new(self.positions.into(), self.spans.into())
        };
        rows.last = only_asked.then(|| LastRows {
            rows: self.asked.into_iter().collect(),
            spans: self.asked_spans.into(),
            division: self.asked_division,
        });
        (self.ids.into(), rows, asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_neither_longer_than_the_room_nor_too_short_to_round_alike() {
        for total in 1..60 {
            for room in LEAST_ROOM..30 {
                let (mut rest, mut parts) = (total, vec![]);
                while rest > 0 {
                    let part = part_of(rest, room);
                    assert!(part > 0, "{total} by {room}: {parts:?}");
                    parts.push(part);
                    rest -= part;
                }
                assert!(parts.iter().all(|part| *part <= room));
                let is_long = |part: &usize| *part > FEW_QUERIES;
                assert!(parts.len() == 1 || parts.iter().all(is_long), "{parts:?}");
            }
        }
        assert_eq!(part_of(100, 3), 0);
    }
}
