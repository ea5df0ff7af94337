//! The same thing twice: exactly, nearly, in meaning, or in one half of a row.
//!
//! ```text
//! Record ─fingerprint→ Fingerprint ─exact, near, semantic→ Cluster: rows, the one to keep, what links them
//!                                  ─prompts, replies→ rows that share one half
//! ```
//!
//! A fingerprint is made of one row while rows stream by, on any thread, and takes a few hundred bytes.
//! Everything after that works on fingerprints; [`near`] and [`semantic`] look at the rows that may be
//! alike once more. Nothing depends on the order of rows or on the number of threads: where a choice is
//! to be made, what the rows say decides.

use std::cmp::Reverse;

use serde::Serialize;

use crate::{Check, Entry};

pub(crate) mod beside;
pub mod exact;
mod fingerprint;
mod join;
pub mod near;
#[cfg(test)]
mod planted;
pub mod prompts;
mod rare;
pub mod replies;
pub mod semantic;
pub(crate) mod wording;

pub use fingerprint::{Fingerprint, Fingerprints, said_id};
pub use near::NearOptions;
pub use replies::ReplyOptions;
pub use semantic::{Embeddings, EmbeddingsError, SemanticOptions};

/// The family's rules.
pub const RULES: &[Entry] = &[
    Entry {
        doc: &exact::DOC,
        check: Check::Dataset(|_| Ok(())),
    },
    Entry {
        doc: &near::DOC,
        check: Check::Dataset(|params| NearOptions::take(params).map(drop)),
    },
    Entry {
        doc: &semantic::DOC,
        check: Check::Dataset(|params| SemanticOptions::take(params).map(drop)),
    },
    Entry {
        doc: &prompts::DOC,
        check: Check::Dataset(|_| Ok(())),
    },
    Entry {
        doc: &replies::DOC,
        check: Check::Dataset(|params| ReplyOptions::take(params).map(drop)),
    },
];

/// Rows that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// Two rows or more, in order.
    pub rows: Vec<usize>,
    /// The one to keep: a held-out one before others, then one whose side is settled, then that with the most to learn, and among equals the one with the least content id.
    pub keep: usize,
    /// What makes it one cluster: enough pairs to connect all its rows, though not all pairs.
    pub links: Vec<Link>,
}

/// Two rows that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Link {
    /// One row.
    pub a: usize,
    /// The other row.
    pub b: usize,
    /// How alike they are, 0 to 1.
    pub similarity: f64,
}

impl Cluster {
    /// What these rows amount to, if they are more than one.
    fn of(prints: &[&Fingerprint], links: Vec<Link>) -> Option<Self> {
        let keep = prints.iter().min_by_key(|print| preference(print))?;
        let mut rows: Vec<usize> = prints.iter().map(|print| print.row).collect();
        rows.sort_unstable();
        (rows.len() > 1).then_some(Self {
            rows,
            keep: keep.row,
            links,
        })
    }

    /// A cluster of rows of which each is as much like the one to keep.
    fn around_the_kept(prints: &[&Fingerprint]) -> Option<Self> {
        let mut cluster = Self::of(prints, Vec::new())?;
        let others = cluster.rows.iter().filter(|&&row| row != cluster.keep);
        cluster.links = others
            .map(|&row| Link {
                a: cluster.keep,
                b: row,
                similarity: 1.0,
            })
            .collect();
        Some(cluster)
    }
}

/// The order in which rows are kept; rows that say the same are told apart by their labels, and twins by number.
fn preference(print: &Fingerprint) -> impl Ord + use<> {
    (
        Reverse(print.is_held_out),
        Reverse(print.is_pinned),
        Reverse(print.supervised_bytes),
        print.rank(),
    )
}

/// The clusters of rows with equal keys, in the order of their first rows; rows without a key are in none.
fn alike<K: Ord>(
    prints: &[Fingerprint],
    key: impl Fn(&Fingerprint) -> Option<K>,
) -> Vec<Vec<&Fingerprint>> {
    let mut keyed: Vec<(K, usize, &Fingerprint)> = prints
        .iter()
        .filter_map(|print| Some((key(print)?, print.row, print)))
        .collect();
    keyed.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut groups: Vec<Vec<&Fingerprint>> = keyed
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|group| group.len() > 1)
        .map(|group| group.iter().map(|&(_, _, print)| print).collect())
        .collect();
    groups.sort_unstable_by_key(|group| group[0].row);
    groups
}

#[cfg(test)]
mod tests {
    use super::planted::{chat, prints, text};
    use super::*;

    #[test]
    fn of_equal_rows_the_same_one_is_kept_whatever_their_order() {
        let rows = ["A b", "a  b", "a B"].map(text);
        let kept = |order: [usize; 3]| {
            let rows = order.map(|row| rows[row].clone());
            rows[exact::clusters(&prints(&rows))[0].keep].content_id()
        };
        assert_eq!(kept([0, 1, 2]), rows[1].content_id());
        assert_eq!(kept([2, 1, 0]), rows[1].content_id());
    }

    #[test]
    fn rows_that_say_the_same_are_told_apart_by_their_labels() {
        let labelled = |task: &str| {
            let mut row = chat("q", "a");
            row.task = task.into();
            row
        };
        let kept = |tasks: [&str; 2]| {
            let rows = tasks.map(labelled);
            rows[exact::clusters(&prints(&rows))[0].keep].task.clone()
        };
        assert_eq!(kept(["a", "b"]), kept(["b", "a"]));
    }

    #[test]
    fn links_connect_all_rows_of_a_cluster() {
        let rows = ["x", "y", "X", "x ", "z", "Y"].map(text);
        let clusters = exact::clusters(&prints(&rows));
        let rows: Vec<_> = clusters
            .iter()
            .map(|cluster| cluster.rows.clone())
            .collect();
        assert_eq!(rows, [vec![0, 2, 3], vec![1, 5]]);
        for cluster in clusters {
            assert_eq!(cluster.links.len(), cluster.rows.len() - 1);
            assert!(
                cluster
                    .links
                    .iter()
                    .all(|link| link.a == cluster.keep && link.b != link.a)
            );
        }
    }

    #[test]
    fn a_fingerprint_takes_a_few_hundred_bytes() {
        let bytes = size_of::<Fingerprint>() + 14 * size_of::<u64>() + 32 * size_of::<u32>();
        assert!(bytes <= 500, "{bytes}");
    }
}
