//! The sequences of a batch as a tree: tokens that begin several of them stand in it once.
//!
//! Under causal attention a token's activations depend on the tokens before it and on nothing else, so
//! two sequences that begin alike share them up to where they part, forward and backward.

/// A shorter common beginning is computed twice: splitting for it costs more than it saves.
const LEAST_SHARED: usize = 16;

/// A run of tokens that belongs to the same sequences throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its first row in the tree's order.
    pub row: usize,
    /// Its tokens.
    pub len: usize,
    /// Tokens before it in its sequences.
    pub depth: usize,
    /// The segment before it.
    pub parent: Option<usize>,
    /// Its first token in the batch.
    source: usize,
    children: Vec<usize>,
}

/// Sequences with common beginnings laid down once.
#[derive(Clone, Debug)]
pub(crate) struct PrefixTree {
    /// Parents before their children, rows in rising order.
    pub segments: Vec<Segment>,
    /// The row of each token of the batch.
    pub row_of: Vec<usize>,
    /// The token of the batch that each row was taken from.
    pub sources: Vec<usize>,
}

impl PrefixTree {
    /// One segment for each sequence, nothing shared.
    pub fn separate(boundaries: &[usize]) -> Self {
        let pairs = boundaries.windows(2).filter(|pair| pair[1] > pair[0]);
        let segments = pairs.map(|pair| Segment {
            row: pair[0],
            len: pair[1] - pair[0],
            depth: 0,
            parent: None,
            source: pair[0],
            children: vec![],
        });
        let rows = boundaries.last().copied().unwrap_or(0);
        Self {
            segments: segments.collect(),
            row_of: (0..rows).collect(),
            sources: (0..rows).collect(),
        }
    }

    /// Common beginnings of [`LEAST_SHARED`] tokens or more stand once.
    pub fn shared(ids: &[u32], boundaries: &[usize]) -> Self {
        let mut builder = PrefixTreeBuilder::default();
        let ends: Vec<Option<usize>> = boundaries
            .windows(2)
            .map(|pair| builder.insert(ids, pair[0], pair[1]))
            .collect();
        builder.into_tree(&ends, boundaries)
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.sources.len()
    }

    /// Whether a token stands for several.
    pub fn is_shared(&self) -> bool {
        self.sources.len() < self.row_of.len()
    }

    /// The rows of a segment's sequence up to its end, in order.
    pub fn path(&self, segment: usize) -> Vec<usize> {
        let mut chain: Vec<&Segment> = std::iter::successors(Some(&self.segments[segment]), |s| {
            s.parent.map(|parent| &self.segments[parent])
        })
        .collect();
        chain.reverse();
        chain.iter().flat_map(|s| s.row..s.row + s.len).collect()
    }
}

/// Trees under construction, in order of insertion.
#[derive(Default)]
struct PrefixTreeBuilder {
    segments: Vec<Segment>,
    roots: Vec<usize>,
}

impl PrefixTreeBuilder {
    /// Lays down tokens `[at, end)` of the batch; returns the segment that they end in.
    fn insert(&mut self, ids: &[u32], mut at: usize, end: usize) -> Option<usize> {
        let (mut parent, mut depth) = (None, 0);
        while at < end {
            let Some((child, common)) = self.nearest(parent, ids, &ids[at..end]) else {
                return Some(self.add(parent, at, end - at, depth));
            };
            let whole = common == self.segments[child].len;
            if !whole && common < LEAST_SHARED {
                return Some(self.add(parent, at, end - at, depth));
            }
            parent = Some(if whole {
                child
            } else {
                self.split(child, common)
            });
            (at, depth) = (at + common, depth + common);
        }
        parent
    }

    fn siblings(&mut self, parent: Option<usize>) -> &mut Vec<usize> {
        match parent {
            Some(parent) => &mut self.segments[parent].children,
            None => &mut self.roots,
        }
    }

    /// The child that agrees longest with `rest`, and for how long.
    fn nearest(
        &mut self,
        parent: Option<usize>,
        ids: &[u32],
        rest: &[u32],
    ) -> Option<(usize, usize)> {
        let children = self.siblings(parent).clone();
        let common = |child: usize| {
            let Segment { source, len, .. } = self.segments[child];
            let pairs = ids[source..source + len].iter().zip(rest);
            pairs.take_while(|(a, b)| a == b).count()
        };
        children
            .into_iter()
            .map(|child| (child, common(child)))
            .max_by_key(|&(child, common)| (common, std::cmp::Reverse(child)))
    }

    fn add(&mut self, parent: Option<usize>, source: usize, len: usize, depth: usize) -> usize {
        let added = self.segments.len();
        self.segments.push(Segment {
            row: 0,
            len,
            depth,
            parent,
            source,
            children: vec![],
        });
        self.siblings(parent).push(added);
        added
    }

    /// Cuts a segment after `len` tokens; it keeps its number below the cut, the upper part is returned.
    fn split(&mut self, lower: usize, len: usize) -> usize {
        let upper = self.segments.len();
        let Segment {
            source,
            depth,
            parent,
            ..
        } = self.segments[lower];
        self.segments.push(Segment {
            row: 0,
            len,
            depth,
            parent,
            source,
            children: vec![lower],
        });
        let place = self.siblings(parent).iter_mut().find(|s| **s == lower);
        *place.expect("a segment is among its parent's children") = upper;
        let below = &mut self.segments[lower];
        below.parent = Some(upper);
        below.source += len;
        below.depth += len;
        below.len -= len;
        upper
    }

    /// Numbers rows and segments, parents first.
    fn into_tree(self, ends: &[Option<usize>], boundaries: &[usize]) -> PrefixTree {
        let mut new_number = vec![0; self.segments.len()];
        let (mut segments, mut sources) = (Vec::new(), Vec::new());
        let mut open: Vec<usize> = self.roots.iter().rev().copied().collect();
        while let Some(old) = open.pop() {
            let segment = &self.segments[old];
            new_number[old] = segments.len();
            segments.push(Segment {
                row: sources.len(),
                parent: segment.parent.map(|parent| new_number[parent]),
                ..segment.clone()
            });
            sources.extend(segment.source..segment.source + segment.len);
            open.extend(segment.children.iter().rev());
        }
        let mut tree = PrefixTree {
            segments,
            row_of: Vec::with_capacity(boundaries.last().copied().unwrap_or(0)),
            sources,
        };
        for (end, pair) in ends.iter().zip(boundaries.windows(2)) {
            if let Some(end) = end {
                let path = tree.path(new_number[*end]);
                tree.row_of.extend(&path[..pair[1] - pair[0]]);
            }
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(sequences: &[Vec<u32>]) -> (PrefixTree, Vec<u32>) {
        let ids = sequences.concat();
        let mut boundaries = vec![0];
        for sequence in sequences {
            boundaries.push(boundaries.last().unwrap() + sequence.len());
        }
        (PrefixTree::shared(&ids, &boundaries), ids)
    }

    /// `count` tokens that begin at `first`.
    fn run(first: u32, count: u32) -> Vec<u32> {
        (first..first + count).collect()
    }

    #[test]
    fn a_common_beginning_stands_once_and_every_token_has_its_row() {
        let system = run(0, 20);
        let sequences = [
            [system.clone(), run(100, 20), run(200, 3)].concat(),
            [system.clone(), run(300, 5)].concat(),
            [system.clone(), run(100, 20), run(400, 4)].concat(),
            run(500, 7),
            system.clone(),
        ];
        let (tree, ids) = tree(&sequences);
        assert_eq!(tree.num_rows(), 20 + 20 + 3 + 5 + 4 + 7);
        for (token, &row) in tree.row_of.iter().enumerate() {
            assert_eq!(ids[tree.sources[row]], ids[token], "token {token}");
        }
        let lens: Vec<usize> = tree.segments.iter().map(|s| s.len).collect();
        assert_eq!(lens, [20, 20, 3, 4, 5, 7]);
        assert_eq!(tree.path(3).len(), 44);
    }

    #[test]
    fn short_agreement_is_not_worth_a_split() {
        let sequences = [
            [run(0, LEAST_SHARED as u32 - 1), run(100, 3)].concat(),
            [run(0, LEAST_SHARED as u32 - 1), run(200, 3)].concat(),
        ];
        let (tree, ids) = tree(&sequences);
        assert_eq!(tree.num_rows(), ids.len());
        assert_eq!(
            tree.segments,
            PrefixTree::separate(&[0, 18, 36]).segments,
            "as if apart"
        );
    }

    #[test]
    fn a_sequence_that_begins_another_and_an_empty_one_are_no_trouble() {
        for order in [[0, 1, 2], [2, 1, 0]] {
            let all = [run(0, 30), vec![], run(0, 50)];
            let sequences: Vec<Vec<u32>> = order.iter().map(|&i| all[i].clone()).collect();
            let (tree, ids) = tree(&sequences);
            assert_eq!(tree.num_rows(), 50);
            assert_eq!(tree.row_of.len(), ids.len());
            let repeated: Vec<u32> = tree
                .row_of
                .iter()
                .map(|&row| ids[tree.sources[row]])
                .collect();
            assert_eq!(repeated, ids);
        }
    }
}
