//! What the rows of a benchmark, or the training rows, have in common, so that overlap is counted on the rest.
//!
//! An instruction that every evaluation row begins with, and every training row of that task too, is no leak, and it
//! makes one of every row. A run of words counts as such where more than a handful of evaluation rows have it, or more
//! than a handful of training rows; the words under such runs are the template's, not the row's.

use std::sync::OnceLock;

use super::reading::{Kept, Reading, Texts};
use crate::boilerplate::{Boilerplate, covered};

/// Runs of words that many evaluation rows have, or many training rows.
pub(super) struct Template {
    evaluation: Boilerplate,
    /// Once there is one: rows of one set are not compared with others.
    train: OnceLock<Boilerplate>,
    /// About how many words the evaluation rows have.
    words: usize,
    /// The words of each evaluation row of which something may be found.
    rows: Vec<Kept>,
}

impl Template {
    /// A template of evaluation rows of about so many words.
    pub fn with_room(words: usize, common_rows: usize) -> Self {
        let common_rows = u8::try_from(common_rows).unwrap_or(u8::MAX);
        Self {
            evaluation: Boilerplate::with_room(words, common_rows),
            train: OnceLock::new(),
            words,
            rows: Vec::new(),
        }
    }

    /// Keeps the words of the next evaluation row.
    pub fn keep(&mut self, words: Kept) {
        self.rows.push(words);
    }

    /// Counts an evaluation row, from any thread.
    pub fn add(&self, reading: &Reading<'_>) {
        self.evaluation.add_row(reading.words(), |_| true);
    }

    /// Counts a training row for the runs that an evaluation row has too.
    pub fn note(&self, reading: &Reading<'_>) {
        let is_known = |run| self.evaluation.rows(run) > 0;
        let of_as_many = || Boilerplate::with_room(self.words, self.evaluation.common_rows);
        self.train
            .get_or_init(of_as_many)
            .add_row(reading.words(), is_known);
    }

    /// Which of these words, given by the hashes that keep numbers, are the template's.
    pub fn mask(&self, words: &[u64]) -> Box<[bool]> {
        let train = self.train.get();
        covered(words, |run| {
            self.evaluation.has(run) || train.is_some_and(|train| train.has(run))
        })
    }

    /// Which words of an evaluation row are the template's.
    pub fn mask_of_row(&self, row: usize, texts: Texts) -> Box<[bool]> {
        self.mask(&self.rows[row].joined(texts))
    }
}
