//! Shared runs of words: one rule's n-grams of all evaluation rows, and the rows that have them.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use super::Leak;
use super::reading::{Reading, Texts};
use super::template::Template;
use crate::hashes::Listed;
use crate::text::{Numbers, ngrams};
use crate::{BadParam, Params};

/// A rule about shared n-grams.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Overlap {
    /// Its name.
    pub name: &'static str,
    /// Raised when it begins to find other rows.
    pub version: u32,
    /// Words of an n-gram.
    pub ngram: usize,
    /// What becomes of numbers.
    pub numbers: Numbers,
    /// Which texts are compared.
    pub texts: Texts,
    /// An n-gram in more training rows than this, or in more evaluation rows, is ignored, and so are words of the template
    /// that so many rows share; `None` for never.
    pub common_rows: Option<usize>,
    /// The share of the evaluation text's words that shared n-grams must exceed.
    pub coverage: f64,
}

impl Overlap {
    /// The rule with what the recipe says.
    pub(super) fn take(self, params: &mut Params) -> Result<Self, BadParam> {
        let common_rows = params.count("common-rows", self.common_rows.unwrap_or(0))?;
        let coverage = match self.coverage > 0.0 {
            true => params.number("coverage", self.coverage)?,
            false => self.coverage,
        };
        if !(0.0..1.0).contains(&coverage) {
            return Err(BadParam::Value {
                name: "coverage".into(),
                problem: format!("must be at least 0 and below 1, not {coverage}"),
            });
        }
        Ok(Self {
            common_rows: (common_rows > 0).then_some(common_rows),
            coverage,
            ..self
        })
    }
}

/// All n-grams that one rule looks for.
pub(super) struct Grams {
    rule: Overlap,
    /// How many words of each evaluation row are compared.
    lengths: Vec<u32>,
    /// Which words of an evaluation row are the template's, once somebody asks.
    masks: Vec<OnceLock<Box<[bool]>>>,
    /// N-grams as they come, until all are there.
    added: Vec<(u64, Place)>,
    /// Where each begins, of those that are not too common to prove anything.
    places: Listed<Place>,
    /// How many training rows have each.
    rows: Vec<AtomicU32>,
}

/// Where an n-gram begins: an evaluation row, and which of its words.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    row: u32,
    position: u32,
}

/// The n-grams of one evaluation row and where they begin.
pub(super) struct GramsOfRow {
    words: u32,
    grams: Vec<(u64, u32)>,
}

impl GramsOfRow {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.grams.is_empty()
    }
}

/// An n-gram that a training row shares: where it begins there, and where in an evaluation row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shared {
    evaluation: usize,
    position: usize,
    text: usize,
    word: usize,
}

impl Grams {
    pub fn new(rule: Overlap) -> Self {
        Self {
            rule,
            lengths: Vec::new(),
            masks: Vec::new(),
            added: Vec::new(),
            places: Listed::default(),
            rows: Vec::new(),
        }
    }

    pub fn rule(&self) -> &Overlap {
        &self.rule
    }

    /// The n-grams of an evaluation row that `counts`. Its texts are read as one, so that question and answer are found in a
    /// training text that has them together.
    pub fn of_row(&self, reading: &Reading<'_>, counts: impl Fn(u64) -> bool) -> GramsOfRow {
        let words = reading.joined(self.rule.texts, self.rule.numbers);
        let grams = ngrams(&words, self.rule.ngram).zip(0..);
        GramsOfRow {
            words: words.len() as u32,
            grams: grams.filter(|&(gram, _)| counts(gram)).collect(),
        }
    }

    /// Takes the next evaluation row.
    pub fn add(&mut self, of_row: GramsOfRow) {
        let row = self.lengths.len() as u32;
        let grams = of_row.grams.into_iter();
        self.added
            .extend(grams.map(|(gram, position)| (gram, Place { row, position })));
        self.lengths.push(of_row.words);
        self.masks.push(OnceLock::new());
    }

    /// Those n-grams of a row that `counts`, each once. An n-gram that stands in it several times is asked about as often.
    pub fn ngrams_of(&self, reading: &Reading<'_>, counts: impl Fn(u64) -> bool) -> Vec<u64> {
        let words = reading.joined(self.rule.texts, self.rule.numbers);
        let all = ngrams(&words, self.rule.ngram);
        let mut counted: Vec<u64> = all.filter(|&gram| counts(gram)).collect();
        counted.sort_unstable();
        counted.dedup();
        counted
    }

    /// To be called when all evaluation rows are there.
    pub fn finish(&mut self) {
        let common = self.rule.common_rows.unwrap_or(usize::MAX);
        self.places = Listed::of(std::mem::take(&mut self.added), |places| {
            // What so many have proves nothing, and where they have it is of no use.
            places.chunk_by(|a, b| a.1.row == b.1.row).count() <= common
        });
        let count = self.places.hashes.len();
        self.rows = (0..count).map(|_| AtomicU32::new(0)).collect();
    }

    /// Evaluation rows with too few words for a single n-gram.
    pub fn blind(&self) -> usize {
        let short = |words: &&u32| (**words as usize) < self.rule.ngram;
        self.lengths.iter().filter(short).count()
    }

    /// Counts the row for each n-gram it shares; false if there is none.
    pub fn note(&self, reading: &Reading<'_>) -> bool {
        let mut found: Vec<usize> = self.shared(reading).map(|(_, _, number)| number).collect();
        found.sort_unstable();
        found.dedup();
        for &number in &found {
            self.rows[number].fetch_add(1, Ordering::Relaxed);
        }
        !found.is_empty()
    }

    /// What the rule has to say about a row, and all evaluation rows it finds there.
    pub fn leak(
        &self,
        row: usize,
        reading: &Reading<'_>,
        template: &Template,
    ) -> Option<(Leak, Vec<usize>)> {
        let texts = &reading.texts;
        let found = self.places(reading, template);
        let rows: Vec<(&[Shared], f64)> = found
            .chunk_by(|a, b| a.evaluation == b.evaluation)
            .map(|shared| (shared, self.coverage(shared, template)))
            .filter(|&(_, coverage)| coverage > self.rule.coverage)
            .collect();
        // The last of equal maxima wins, so the search goes backwards.
        let &(shared, coverage) = rows.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let (text, words) = longest_stretch(shared, self.rule.ngram);
        let leak = Leak {
            rule: self.rule.name,
            row,
            evaluation: shared[0].evaluation,
            others: rows.len() - 1,
            place: texts[text].part.place,
            span: texts[text].words.span(words),
            coverage,
        };
        Some((
            leak,
            rows.iter()
                .map(|(shared, _)| shared[0].evaluation)
                .collect(),
        ))
    }

    /// Which words of an evaluation row belong to what many rows share; none where the rule is not to look away.
    fn mask(&self, evaluation: usize, template: &Template) -> &[bool] {
        self.masks[evaluation].get_or_init(|| match self.rule.common_rows {
            None => vec![false; self.lengths[evaluation] as usize].into(),
            Some(_) => template.mask_of_row(evaluation, self.rule.texts),
        })
    }

    /// The n-grams that the row shares: text, word, number.
    fn shared<'a>(
        &'a self,
        reading: &'a Reading<'_>,
    ) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
        let texts = reading.texts.iter().enumerate();
        texts
            .filter(|(_, text)| self.rule.texts.contains(&text.part))
            .flat_map(move |(at, text)| {
                ngrams(text.hashes(self.rule.numbers), self.rule.ngram)
                    .enumerate()
                    .filter_map(move |(word, hash)| {
                        Some((at, word, self.places.hashes.number_of(hash)?))
                    })
            })
    }

    /// Where the row's n-grams stand in evaluation rows, those left out that are too common to prove anything.
    fn places(&self, reading: &Reading<'_>, template: &Template) -> Vec<Shared> {
        let common = self.rule.common_rows.unwrap_or(usize::MAX);
        let mut places = Vec::new();
        for (text, word, number) in self.shared(reading) {
            if self.rows[number].load(Ordering::Relaxed) as usize > common {
                continue;
            }
            let shared = self.places.list(number).iter().map(|place| Shared {
                evaluation: place.row as usize,
                position: place.position as usize,
                text,
                word,
            });
            // A run that is mostly template and a word or two of the row proves nothing either.
            places.extend(shared.filter(|shared| {
                let words = shared.position..shared.position + self.rule.ngram;
                let mask = &self.mask(shared.evaluation, template)[words];
                let masked = mask.iter().filter(|&&is_masked| is_masked).count();
                2 * masked <= self.rule.ngram
            }));
        }
        places.sort_unstable();
        places
    }

    /// The share of an evaluation row's own words that lie in shared n-grams, which are in order.
    fn coverage(&self, shared: &[Shared], template: &Template) -> f64 {
        let mask = self.mask(shared[0].evaluation, template);
        let own = |words: Range<usize>| mask[words].iter().filter(|&&masked| !masked).count();
        let (mut covered, mut end) = (0, 0);
        for place in shared {
            let from = place.position.max(end);
            end = place.position + self.rule.ngram;
            covered += own(from.min(end)..end);
        }
        covered as f64 / own(0..mask.len()).max(1) as f64
    }
}

/// The text and the words of the longest stretch of shared n-grams that overlap or touch; the first of equals.
fn longest_stretch(shared: &[Shared], ngram: usize) -> (usize, Range<usize>) {
    let mut words: Vec<(usize, usize)> = shared
        .iter()
        .map(|place| (place.text, place.word))
        .collect();
    words.sort_unstable();
    let mut longest = (words[0].0, words[0].1..words[0].1 + ngram);
    let mut current = longest.clone();
    for (text, word) in words {
        match text == current.0 && word <= current.1.end {
            true => current.1.end = word + ngram,
            false => current = (text, word..word + ngram),
        }
        if current.1.len() > longest.1.len() {
            longest = current.clone();
        }
    }
    longest
}
