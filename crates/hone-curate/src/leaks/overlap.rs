//! Shared runs of words: one rule's n-grams of all evaluation rows, and the rows that have them.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use hone_data::{Part, Record};
use hone_text::Role;
use serde::Serialize;

use super::Leak;
use super::template::Template;
use crate::hashes::{Hashed, Sieve};
use crate::text::{Numbers, Words, ngrams};
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

/// Which texts of a row are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Texts {
    /// All but the system turns, which whole datasets have in common.
    All,
    /// What users say, and texts learnt whole.
    Asked,
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

impl Texts {
    fn contains(self, part: &Part<'_>) -> bool {
        match self {
            Self::All => part.role != Some(Role::System),
            Self::Asked => matches!(part.role, None | Some(Role::User)),
        }
    }
}

/// The texts of a row as lists of words, read once for all rules.
pub(super) struct Reading<'a> {
    texts: Vec<Text<'a>>,
}

struct Text<'a> {
    part: Part<'a>,
    words: Words,
    kept: Vec<u64>,
    /// With every number as the word `0`; none where no rule asks.
    folded: Option<Vec<u64>>,
}

impl Text<'_> {
    fn hashes(&self, numbers: Numbers) -> &[u64] {
        match (numbers, &self.folded) {
            (Numbers::Zero, Some(folded)) => folded,
            _ => &self.kept,
        }
    }
}

impl<'a> Reading<'a> {
    /// With numbers as they are, and folded where a rule asks for that.
    pub fn of(record: &'a Record, is_folded: bool) -> Self {
        let text = |part: Part<'a>| {
            let words = Words::of(part.text, Numbers::Kept);
            Text {
                part,
                kept: words.hashes().collect(),
                folded: is_folded.then(|| words.folded_hashes().collect()),
                words,
            }
        };
        Self {
            texts: record.parts().map(text).collect(),
        }
    }

    /// The words of each text that is compared, numbers as they are.
    pub fn words(&self) -> impl Iterator<Item = &[u64]> {
        let compared = self
            .texts
            .iter()
            .filter(|text| Texts::All.contains(&text.part));
        compared.map(|text| &text.kept[..])
    }

    /// What users say, and texts learnt whole, numbers as they are.
    pub fn asked(&self) -> impl Iterator<Item = (&Part<'a>, &Words, &[u64])> {
        let asked = self
            .texts
            .iter()
            .filter(|text| Texts::Asked.contains(&text.part));
        asked.map(|text| (&text.part, &text.words, &text.kept[..]))
    }

    /// The words that a rule reads as one.
    fn joined(&self, texts: Texts, numbers: Numbers) -> Vec<u64> {
        let compared = self.texts.iter().filter(|text| texts.contains(&text.part));
        compared
            .flat_map(|text| text.hashes(numbers).iter().copied())
            .collect()
    }
}

/// All n-grams that one rule looks for.
pub(super) struct Grams {
    rule: Overlap,
    evaluation: Vec<Vec<u64>>,
    /// The same words with their numbers, where the rule folds them: what a template is made of.
    kept: Vec<Vec<u64>>,
    /// Which words of an evaluation row are the template's, once somebody asks.
    masks: Vec<OnceLock<Box<[bool]>>>,
    sieve: Sieve,
    numbers: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    grams: Vec<Gram>,
}

#[derive(Default)]
struct Gram {
    /// Evaluation rows and word positions where it begins.
    places: Vec<(usize, usize)>,
    /// How many evaluation rows have it.
    evaluation_rows: usize,
    /// The last of them.
    last: Option<usize>,
    /// How many training rows have it.
    rows: AtomicUsize,
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
            evaluation: Vec::new(),
            kept: Vec::new(),
            masks: Vec::new(),
            sieve: Sieve::default(),
            numbers: HashMap::default(),
            grams: Vec::new(),
        }
    }

    pub fn rule(&self) -> &Overlap {
        &self.rule
    }

    /// Takes the next evaluation row, with the n-grams that `counts`. Its texts are read as one, so that question and
    /// answer are found in a training text that has them together.
    pub fn add(&mut self, reading: &Reading<'_>, counts: impl Fn(u64) -> bool) {
        let joined = |numbers| reading.joined(self.rule.texts, numbers);
        let words = joined(self.rule.numbers);
        let row = self.evaluation.len();
        let mut is_counted = words.len() < self.rule.ngram;
        for (position, hash) in ngrams(&words, self.rule.ngram).enumerate() {
            if !counts(hash) {
                continue;
            }
            is_counted = true;
            let number = *self.numbers.entry(hash).or_insert(self.grams.len());
            if number == self.grams.len() {
                self.grams.push(Gram::default());
            }
            let gram = &mut self.grams[number];
            gram.evaluation_rows += usize::from(gram.last != Some(row));
            gram.last = Some(row);
            match gram.evaluation_rows > self.rule.common_rows.unwrap_or(usize::MAX) {
                // What so many have proves nothing, and where they have it is of no use.
                true => gram.places = Vec::new(),
                false => gram.places.push((row, position)),
            }
        }
        // Of a row without an n-gram that counts, nothing is ever found.
        let kept = |words: Vec<u64>| match is_counted {
            true => words,
            false => Vec::new(),
        };
        if self.rule.numbers != Numbers::Kept && self.rule.common_rows.is_some() {
            self.kept.push(kept(joined(Numbers::Kept)));
        }
        self.masks.push(OnceLock::new());
        self.evaluation.push(kept(words));
    }

    /// All n-grams of a row, for whoever decides which of them count.
    pub fn ngrams_of(&self, reading: &Reading<'_>) -> Vec<u64> {
        let words = reading.joined(self.rule.texts, self.rule.numbers);
        let mut all: Vec<u64> = ngrams(&words, self.rule.ngram).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// To be called when all evaluation rows are there.
    pub fn finish(&mut self) {
        self.sieve = Sieve::of(self.numbers.keys().copied(), self.numbers.len());
    }

    /// Evaluation rows with too few words for a single n-gram.
    pub fn blind(&self) -> usize {
        let short = |words: &&Vec<u64>| words.len() < self.rule.ngram;
        self.evaluation.iter().filter(short).count()
    }

    /// Counts the row for each n-gram it shares; false if there is none.
    pub fn note(&self, reading: &Reading<'_>) -> bool {
        let mut found: Vec<usize> = self.shared(reading).map(|(_, _, number)| number).collect();
        found.sort_unstable();
        found.dedup();
        for &number in &found {
            self.grams[number].rows.fetch_add(1, Ordering::Relaxed);
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
        self.masks[evaluation].get_or_init(|| {
            let words = &self.evaluation[evaluation];
            match self.rule.common_rows {
                None => vec![false; words.len()].into(),
                Some(_) => template.mask(self.kept.get(evaluation).unwrap_or(words)),
            }
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
                    .filter(|&(_, hash)| self.sieve.may_hold(hash))
                    .filter_map(move |(word, hash)| Some((at, word, *self.numbers.get(&hash)?)))
            })
    }

    /// Where the row's n-grams stand in evaluation rows, those left out that are too common to prove anything.
    fn places(&self, reading: &Reading<'_>, template: &Template) -> Vec<Shared> {
        let texts = &reading.texts;
        let common = self.rule.common_rows.unwrap_or(usize::MAX);
        let mut places = Vec::new();
        for (text, word, number) in self.shared(reading) {
            let gram = &self.grams[number];
            if gram.rows.load(Ordering::Relaxed) > common {
                continue;
            }
            let here = &texts[text].hashes(self.rule.numbers)[word..word + self.rule.ngram];
            // Two n-grams with one hash would be a find of nothing.
            let same = |&&(row, position): &&(usize, usize)| {
                let until = position + self.rule.ngram;
                let masked = || {
                    let mask = &self.mask(row, template)[position..until];
                    mask.iter().filter(|&&is_masked| is_masked).count()
                };
                // A run that is mostly template and a word or two of the row proves nothing either.
                self.evaluation[row][position..].starts_with(here)
                    && 2 * masked() <= self.rule.ngram
            };
            places.extend(
                gram.places
                    .iter()
                    .filter(same)
                    .map(|&(evaluation, position)| Shared {
                        evaluation,
                        position,
                        text,
                        word,
                    }),
            );
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
