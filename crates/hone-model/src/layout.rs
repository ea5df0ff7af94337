//! Which rows of a batch are computed where, and which need not be because their numbers are known.
//!
//! A frozen base leaves some work without effect: tokens that begin several sequences alike, prompt rows
//! above the last layer's keys and values, the first layer's projections of a token met before. Leaving
//! it out changes sums only in their order; [`Shortcuts`] switches each off, for comparison.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use hone_tensor::{Index, Span, Spans};
use serde::{Deserialize, Serialize};

use crate::batch::Packed;
use crate::prefix::PrefixTree;

/// Work that is left out because it would change nothing.
///
/// Dropout draws a mask for each row, so while it is on, rows are not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortcuts {
    /// Tokens that begin several sequences of a micro-batch alike are computed once.
    pub shared_prefix: bool,
    /// The first layer projects each distinct token once.
    pub distinct_tokens: bool,
    /// Beyond its keys and values, the last layer computes only rows that feed a supervised logit.
    pub last_layer: bool,
    /// The head computes supervised rows only.
    pub supervised_head: bool,
    /// The backward pass ends at the lowest adapted layer.
    pub lowest_layer: bool,
}

impl Shortcuts {
    /// Everything left out that can be.
    pub const ALL: Self = Self {
        shared_prefix: true,
        distinct_tokens: true,
        last_layer: true,
        supervised_head: true,
        lowest_layer: true,
    };
    /// Everything computed everywhere.
    pub const NONE: Self = Self {
        shared_prefix: false,
        distinct_tokens: false,
        last_layer: false,
        supervised_head: false,
        lowest_layer: false,
    };

    /// Those under which each row still has a dropout mask of its own.
    pub(crate) fn with_rows_apart(self) -> Self {
        Self {
            shared_prefix: false,
            distinct_tokens: false,
            last_layer: false,
            ..self
        }
    }
}

impl Default for Shortcuts {
    fn default() -> Self {
        Self::ALL
    }
}

/// How rows divide among the shares of a batch, each with adapters of its own: where each share begins, and where the last
/// ends. Empty where all rows are one share.
pub(crate) type Division = Vec<usize>;

/// Where the rows of a batch stand.
pub(crate) struct Rows {
    pub positions: Index,
    pub spans: Spans,
    /// The row that each key of `spans` is, where that is not the key's own number.
    pub keys: Option<Index>,
    /// The pages of a cache that the keys of `spans` lie in, where they do.
    pub pages: Index,
    /// The first layer's rows by distinct token.
    pub first: Option<Distinct>,
    /// The only rows that matter after the last layer's keys and values.
    pub last: Option<LastRows>,
    pub division: Division,
}

impl Rows {
    /// Every row computed everywhere.
    pub fn new(positions: Index, spans: Spans) -> Self {
        Self {
            positions,
            spans,
            keys: None,
            pages: Index::default(),
            first: None,
            last: None,
            division: vec![],
        }
    }
}

/// Rows grouped by token.
pub(crate) struct Distinct {
    /// One row of each distinct token.
    pub representatives: Index,
    /// The place among them that each row has.
    pub of_row: Index,
    /// Of the representatives.
    pub division: Division,
}

impl Distinct {
    /// Each of some rows stands for itself.
    fn apart(rows: usize) -> Self {
        Self {
            representatives: (0..rows).collect(),
            of_row: (0..rows).collect(),
            division: vec![],
        }
    }

    fn of(ids: &[u32]) -> Option<Self> {
        let (mut places, mut representatives) = (HashMap::new(), Vec::new());
        let place = |(row, id)| {
            *places.entry(id).or_insert_with(|| {
                representatives.push(row);
                representatives.len() - 1
            })
        };
        let of_row: Vec<usize> = ids.iter().enumerate().map(place).collect();
        (representatives.len() < ids.len()).then(|| Self {
            representatives: representatives.into_iter().collect(),
            of_row: of_row.into_iter().collect(),
            division: vec![],
        })
    }
}

/// The rows of the last layer's output.
pub(crate) struct LastRows {
    /// Rising.
    pub rows: Index,
    /// As [`Rows::spans`], with queries counted among `rows`.
    pub spans: Spans,
    pub division: Division,
}

/// Rows of the head that belong to one share, its supervised ones first.
pub(crate) struct HeadRows {
    /// Which of all.
    pub range: Range<usize>,
    /// How many are supervised; the rest is computed and not looked at.
    pub supervised: usize,
}

/// A batch as it will be computed.
pub(crate) struct Layout {
    pub ids: Index,
    pub rows: Rows,
    /// The token of the batch that each row was taken from.
    pub sources: Index,
    /// The row of each token of the batch.
    pub row_of: Index,
    /// Rows of the last layer's output that go through the head, share by share.
    pub head_rows: Index,
    /// The next token for each of `head_rows`.
    pub targets: Index,
    /// What the gradient of each of them is multiplied with; nothing where it is 1.
    pub weights: Option<Vec<f32>>,
    /// How `head_rows` divide among the shares.
    pub heads: Vec<HeadRows>,
    /// The place that each supervised row has in the batch, where that is another.
    pub order: Option<Vec<usize>>,
}

impl Layout {
    pub fn new(batch: &Packed, shortcuts: Shortcuts) -> Self {
        let tree = match shortcuts.shared_prefix {
            true => PrefixTree::shared(batch.ids, batch.boundaries),
            false => PrefixTree::separate(batch.boundaries),
        };
        let ids: Vec<u32> = tree.sources.iter().map(|&token| batch.ids[token]).collect();
        let mut head_rows: Vec<usize> =
            batch.rows.iter().map(|&token| tree.row_of[token]).collect();
        let mut targets = batch.targets.to_vec();
        if !shortcuts.supervised_head {
            let seen: BTreeSet<usize> = head_rows.iter().copied().collect();
            head_rows.extend((0..ids.len()).filter(|row| !seen.contains(row)));
            targets.resize(head_rows.len(), 0);
        }
        let weights = batch.weights.map(|weights| {
            let mut weights = weights.to_vec();
            weights.resize(head_rows.len(), 0.0);
            weights
        });
        let (spans, keys) = spans(&tree);
        let last = shortcuts
            .last_layer
            .then(|| last_rows(&tree, &spans, &head_rows))
            .flatten();
        if let Some(last) = &last {
            let place = |row: &usize| {
                let found = last.rows.binary_search(&(*row as u32));
                found.expect("a head row is needed")
            };
            head_rows = head_rows.iter().map(place).collect();
        }
        let first = shortcuts
            .distinct_tokens
            .then(|| Distinct::of(&ids))
            .flatten();
        Self {
            rows: Rows {
                keys: keys.map(|keys| keys.into_iter().collect()),
                first,
                last,
                ..Rows::new(positions(&tree), spans.into())
            },
            ids: ids.into(),
            sources: tree.sources.into_iter().collect(),
            row_of: tree.row_of.into_iter().collect(),
            heads: vec![HeadRows {
                range: 0..head_rows.len(),
                supervised: batch.rows.len(),
            }],
            head_rows: head_rows.into_iter().collect(),
            targets: targets.into(),
            weights,
            order: None,
        }
    }

    /// A batch whose sequences are in shares with adapters of their own; `shares` has the sequences of each and the work that
    /// is left out for it. Nothing is shared between shares: each is laid out as it would be alone, one after another.
    pub fn of_shares(batch: &Packed, shares: &[(Vec<usize>, Shortcuts)]) -> Self {
        let parts = shares.iter().map(|(sequences, shortcuts)| {
            let part = SomeSequences::of(batch, sequences);
            (Self::new(&part.packed(), *shortcuts), part)
        });
        let mut parts: Vec<(Self, SomeSequences)> = parts.collect();
        let has = |of: fn(&Rows) -> bool| parts.iter().any(|(layout, _)| of(&layout.rows));
        let (keys, first, last) = (
            has(|rows| rows.keys.is_some()),
            has(|rows| rows.first.is_some()),
            has(|rows| rows.last.is_some()),
        );
        let mut all = Self {
            ids: Index::default(),
            rows: Rows {
                keys: keys.then(Index::default),
                first: first.then(|| Distinct::apart(0)),
                last: last.then(|| LastRows::all(0, Spans::default())),
                ..Rows::new(Index::default(), Spans::default())
            },
            sources: Index::default(),
            row_of: Index::default(),
            head_rows: Index::default(),
            targets: Index::default(),
            weights: batch.weights.map(|_| vec![]),
            heads: vec![],
            order: Some(vec![]),
        };
        let mut row_of = vec![0; batch.ids.len()];
        for (layout, part) in parts.drain(..) {
            let at = all.ids.len();
            for (&token, row) in part.tokens.iter().zip(layout.row_of.rows()) {
                row_of[token] = at + row;
            }
            all.append(layout, &part);
        }
        all.row_of = row_of.into_iter().collect();
        all.divide();
        all
    }

    /// Adds the rows of another share behind those that are there.
    fn append(&mut self, other: Self, part: &SomeSequences) {
        let (at, rows) = (self.ids.len(), other.ids.len());
        let Rows {
            positions,
            spans,
            keys,
            first,
            last,
            ..
        } = other.rows;
        let key_at = self.rows.keys.as_ref().map_or(at, |keys| keys.len());
        let own_spans = moved(&spans, at, key_at);
        self.rows.division.push(at);
        if let Some(all) = &mut self.rows.keys {
            let own = keys.unwrap_or_else(|| (0..rows).collect());
            all.extend(own.rows().map(|row| at + row));
        }
        if let Some(all) = &mut self.rows.first {
            let own = first.unwrap_or_else(|| Distinct::apart(rows));
            let places = all.representatives.len();
            all.division.push(places);
            all.of_row
                .extend(own.of_row.rows().map(|place| places + place));
            all.representatives
                .extend(own.representatives.rows().map(|row| at + row));
        }
        let mut head_at = at;
        if let Some(all) = &mut self.rows.last {
            let own = last.unwrap_or_else(|| LastRows::all(rows, spans));
            head_at = all.rows.len();
            all.division.push(head_at);
            all.spans.extend(moved(&own.spans, head_at, key_at));
            all.rows.extend(own.rows.rows().map(|row| at + row));
        }
        self.rows.spans.extend(own_spans);
        self.rows.positions.extend(positions.iter().copied());
        self.ids.extend(other.ids.iter().copied());
        self.sources
            .extend(other.sources.rows().map(|token| part.tokens[token]));
        let first_head = self.head_rows.len();
        self.head_rows
            .extend(other.head_rows.rows().map(|row| head_at + row));
        self.targets.extend(other.targets.iter().copied());
        if let (Some(all), Some(own)) = (&mut self.weights, other.weights) {
            all.extend(own);
        }
        self.heads.push(HeadRows {
            range: first_head..self.head_rows.len(),
            supervised: part.rows.len(),
        });
        self.order
            .iter_mut()
            .for_each(|order| order.extend(&part.order));
    }

    /// Says where the last share ends.
    fn divide(&mut self) {
        self.rows.division.push(self.ids.len());
        if let Some(first) = &mut self.rows.first {
            first.division.push(first.representatives.len());
        }
        if let Some(last) = &mut self.rows.last {
            last.division.push(last.rows.len());
        }
    }
}

impl LastRows {
    /// Every row of the layer.
    fn all(rows: usize, spans: Spans) -> Self {
        Self {
            rows: (0..rows).collect(),
            spans,
            division: vec![],
        }
    }
}

fn moved(spans: &[Span], rows: usize, keys: usize) -> Vec<Span> {
    let moved = |span: &Span| Span {
        query_start: span.query_start + rows,
        key_start: span.key_start + keys,
        ..*span
    };
    spans.iter().map(moved).collect()
}

/// Some sequences of a batch as one of their own.
struct SomeSequences {
    ids: Vec<u32>,
    boundaries: Vec<usize>,
    rows: Vec<usize>,
    targets: Vec<u32>,
    weights: Option<Vec<f32>>,
    /// The token of the batch that each token is.
    tokens: Vec<usize>,
    /// The place in the batch of each supervised row.
    order: Vec<usize>,
}

impl SomeSequences {
    fn of(batch: &Packed, sequences: &[usize]) -> Self {
        let mut own = Self {
            ids: vec![],
            boundaries: vec![0],
            rows: vec![],
            targets: vec![],
            weights: batch.weights.map(|_| vec![]),
            tokens: vec![],
            order: vec![],
        };
        for &sequence in sequences {
            let range = batch.boundaries[sequence]..batch.boundaries[sequence + 1];
            let first = own.ids.len();
            let supervised = batch.rows.iter().zip(batch.targets).enumerate();
            for (place, (row, target)) in supervised.filter(|(_, (row, _))| range.contains(*row)) {
                own.rows.push(first + row - range.start);
                own.targets.push(*target);
                if let (Some(own), Some(all)) = (&mut own.weights, batch.weights) {
                    own.push(all[place]);
                }
                own.order.push(place);
            }
            own.ids.extend(&batch.ids[range.clone()]);
            own.tokens.extend(range);
            own.boundaries.push(own.ids.len());
        }
        own
    }

    fn packed(&self) -> Packed<'_> {
        Packed {
            ids: &self.ids,
            boundaries: &self.boundaries,
            rows: &self.rows,
            targets: &self.targets,
            weights: self.weights.as_deref(),
        }
    }
}

fn positions(tree: &PrefixTree) -> Index {
    let segments = tree.segments.iter();
    segments
        .flat_map(|s| s.depth as u32..(s.depth + s.len) as u32)
        .collect()
}

/// One span for each segment. With common beginnings, the keys of a sequence do not lie side by side, so
/// each segment gets a copy of its whole path.
fn spans(tree: &PrefixTree) -> (Vec<Span>, Option<Vec<usize>>) {
    let mut keys = Vec::new();
    let span = |(number, segment): (usize, &crate::prefix::Segment)| {
        let key_start = match tree.is_shared() {
            true => {
                keys.extend(tree.path(number));
                keys.len() - (segment.depth + segment.len)
            }
            false => segment.row,
        };
        Span {
            query_start: segment.row,
            query_len: segment.len,
            key_start,
            key_len: segment.depth + segment.len,
        }
    };
    let spans = tree.segments.iter().enumerate().map(span).collect();
    (spans, tree.is_shared().then_some(keys))
}

/// From the first to the last row of each span that the head reads.
fn last_rows(tree: &PrefixTree, spans: &[Span], head_rows: &[usize]) -> Option<LastRows> {
    let needed: BTreeSet<usize> = head_rows.iter().copied().collect();
    let (mut rows, mut last_spans) = (Vec::new(), Vec::new());
    for span in spans {
        let mut inside = needed.range(span.query_start..span.query_start + span.query_len);
        let Some(&from) = inside.next() else { continue };
        let to = inside.next_back().map_or(from, |&row| row) + 1;
        last_spans.push(Span {
            query_start: rows.len(),
            query_len: to - from,
            key_start: span.key_start,
            key_len: span.key_len - (span.query_start + span.query_len - to),
        });
        rows.extend(from..to);
    }
    let fewer = !rows.is_empty() && rows.len() < tree.num_rows();
    fewer.then(|| LastRows {
        rows: rows.into_iter().collect(),
        spans: last_spans.into(),
        division: vec![],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_everything_switched_off_each_row_is_computed_everywhere() {
        let ids = [7u32; 40];
        let batch = Packed {
            ids: &ids,
            boundaries: &[0, 20, 40],
            rows: &[18],
            targets: &[7],
            weights: None,
        };
        let plain = Layout::new(&batch, Shortcuts::NONE);
        assert_eq!((plain.ids.len(), plain.head_rows.len()), (40, 40));
        assert!(
            plain.rows.keys.is_none() && plain.rows.first.is_none() && plain.rows.last.is_none()
        );

        let short = Layout::new(&batch, Shortcuts::ALL);
        assert_eq!((short.ids.len(), &short.head_rows[..]), (20, &[0][..]));
        let last = short.rows.last.unwrap();
        assert_eq!(last.rows[..], [18]);
        assert_eq!(
            last.spans[..],
            [Span {
                query_start: 0,
                query_len: 1,
                key_start: 0,
                key_len: 19
            }]
        );
        assert_eq!(short.rows.first.unwrap().representatives[..], [0]);
    }
}
