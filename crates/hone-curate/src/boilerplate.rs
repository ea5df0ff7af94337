//! What many rows of a collection have in common: instructions, forms, templates.
//!
//! It tells nothing about any of them: rows are copies, and evaluation rows are trained on, only by the rest. What is
//! boilerplate is not described anywhere; it is what more than a handful of rows have, so rows that have a run of words
//! are counted.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::hashes::Numbered;
use crate::text::{mix, ngrams};

/// What many rows share: how many rows have a run of words, or what stands around a blank.
///
/// Counts are never too small, and stop at 255: of what is looked for, a handful of rows is many.
pub(crate) struct Boilerplate {
    counts: Vec<AtomicU8>,
    /// More rows than this are many.
    pub common_rows: u8,
}

impl Boilerplate {
    /// Room for about this many different features.
    pub fn with_room(features: usize, common_rows: u8) -> Self {
        let room = (4 * features).clamp(1 << 10, 1 << 28).next_power_of_two();
        Self {
            counts: (0..room).map(|_| AtomicU8::new(0)).collect(),
            common_rows,
        }
    }

    /// Counts a feature of one row, from any thread.
    pub fn add(&self, feature: u64) {
        for slot in self.slots(feature) {
            let counted = |count: u8| count.checked_add(1);
            let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
            // At 255 it stays.
            let _ = self.counts[slot].fetch_update(set, fetch, counted);
        }
    }

    /// How many rows have it.
    pub fn rows(&self, feature: u64) -> u8 {
        let counts = self
            .slots(feature)
            .map(|slot| self.counts[slot].load(Ordering::Relaxed));
        counts[0].min(counts[1])
    }

    /// Do many rows have it?
    pub fn has(&self, feature: u64) -> bool {
        self.rows(feature) > self.common_rows
    }

    fn slots(&self, feature: u64) -> [usize; 2] {
        let mask = self.counts.len() - 1;
        let spread = mix(feature);
        [spread as usize & mask, (spread >> 32) as usize & mask]
    }
}

/// Words of a run that is counted where a text is told from its template.
const RUN: usize = 5;

impl Boilerplate {
    /// Counts the runs of some texts, given as hashes of their words, of one row; only those that `counts`.
    pub fn add_row<'a>(
        &self,
        texts: impl Iterator<Item = &'a [u64]>,
        counts: impl Fn(u64) -> bool,
    ) {
        let mut runs: Vec<u64> = texts.flat_map(|words| ngrams(words, RUN)).collect();
        runs.sort_unstable();
        runs.dedup();
        let counted = runs.into_iter().filter(|&run| counts(run));
        counted.for_each(|run| self.add(run));
    }
}

/// Which of these words stand in a run that `is_common`.
pub(crate) fn covered(words: &[u64], is_common: impl Fn(u64) -> bool) -> Box<[bool]> {
    let mut covered = vec![false; words.len()];
    for (at, run) in ngrams(words, RUN).enumerate() {
        if is_common(run) {
            covered[at..at + RUN].fill(true);
        }
    }
    covered.into()
}

/// How many rows have each of some features that will be asked about. Most rows are like no other, and what only they
/// have need not be counted. Counts are exact.
pub(crate) struct Asked {
    features: Numbered,
    /// How many rows have each.
    rows: Box<[AtomicU32]>,
    /// More rows than this are many.
    pub common_rows: u32,
}

impl Asked {
    /// Will be asked about these features, which are hashes; no row has been counted.
    pub fn about(features: impl Iterator<Item = u64>, common_rows: u32) -> Self {
        let features = Numbered::of(features.collect());
        Self {
            rows: (0..features.len()).map(|_| AtomicU32::new(0)).collect(),
            features,
            common_rows,
        }
    }

    /// Counts a row, from any thread.
    pub fn add_row(&self, features: impl Iterator<Item = u64>) {
        self.each(features, |rows| rows.fetch_add(1, Ordering::Relaxed));
    }

    /// Counts a row no more that was counted before.
    pub fn remove_row(&self, features: impl Iterator<Item = u64>) {
        self.each(features, |rows| rows.fetch_sub(1, Ordering::Relaxed));
    }

    /// The count of each feature of a row that will be asked about, once.
    fn each(&self, features: impl Iterator<Item = u64>, of: impl Fn(&AtomicU32) -> u32) {
        let mut asked: Vec<usize> = features
            .filter_map(|feature| self.features.number_of(feature))
            .collect();
        asked.sort_unstable();
        asked.dedup();
        for number in asked {
            of(&self.rows[number]);
        }
    }

    /// How many rows have it.
    pub fn rows(&self, feature: u64) -> u32 {
        let number = self.features.number_of(feature);
        number.map_or(0, |number| self.rows[number].load(Ordering::Relaxed))
    }

    /// Do many rows have it?
    pub fn has(&self, feature: u64) -> bool {
        self.rows(feature) > self.common_rows
    }
}
