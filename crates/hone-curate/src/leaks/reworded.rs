//! Prompts that ask the same in slightly other words.
//!
//! Runs of eight or thirteen words break where one word of ten is another one, and a short question has none. Here
//! the words of two prompts are compared whatever their order, long words more than short ones, without those of the
//! template. An evaluation prompt is listed by its rarest words, so that few prompts are compared.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::Leak;
use super::reading::Reading;
use super::template::Template;
use crate::duplicates::wording::{NAME, NEGATION, NUMBER, ends_sentence, kind_of};
use crate::hashes::{Listed, Numbered};
use crate::text::{Numbers, Words};
use crate::{Action, BadParam, Doc, Family, Param, Params};

use hone_data::Part;

/// `reworded-prompt`.
pub static DOC: Doc = Doc {
    name: "reworded-prompt",
    family: Family::Leak,
    summary: "the row's prompt asks what an evaluation row asks, in slightly other words",
    why: "A question with two words exchanged, or with a greeting before it, is still the question: who has learned its answer knows \
          it. Rules about runs of words do not see it.",
    what: "Version 1. The last prompt of the evaluation row against each prompt of the training row (texts that are trained on whole \
           count as prompts), up to 128 words each. The words are compared as sets, each with a weight by its length (a word of \
           eight letters or more weighs 1), without the words of runs of five that more than 10 evaluation rows or more than 10 \
           training rows share. The weight that both have must reach `share` of the evaluation prompt's and half of what the \
           training prompt adds. Prompts that differ in a number, a negation or a name ask something else. A prompt that \
           `prompt-exact` finds is not found again.",
    default: Action::Ask,
    params: &[Param {
        name: "share",
        what: "the least share of the weight of the words, above 0 and up to 1; 0.68",
    }],
};

/// The least share, where the recipe says nothing.
pub(super) const SHARE: f64 = 0.68;

/// What the recipe says.
pub(super) fn take(params: &mut Params) -> Result<f64, BadParam> {
    let share = params.number("share", SHARE)?;
    match share > 0.0 && share <= 1.0 {
        true => Ok(share),
        false => Err(BadParam::Value {
            name: "share".into(),
            problem: format!("must be above 0 and at most 1, not {share}"),
        }),
    }
}

/// Words of the longest prompt that is looked at; runs of words find longer ones.
const LONGEST: usize = 128;
/// Words of its own that a prompt has at least: fewer ask nothing in particular.
const SHORTEST: usize = 4;
/// Words by which a prompt is listed, and how many of them another one must have to be compared.
const LISTED: usize = 8;
const NEEDED: usize = 3;
/// Prompts listed by one word at most.
const LIST: usize = 2048;

/// The evaluation prompts, by their words.
pub(super) struct Reworded {
    share: f64,
    prompts: Vec<Option<Prompt>>,
    /// Their words that are not the template's, once somebody asks.
    own: Vec<OnceLock<Own>>,
    /// Prompts by the words that list them; by none that lists too many.
    listed: Listed<u32>,
}

/// The words of a prompt, [`LONGEST`] at most.
pub(super) struct Prompt {
    /// In the order in which they stand.
    words: Box<[u64]>,
    /// Where each stands, once, in the order of their hashes.
    distinct: Box<[u8]>,
    /// Their weights, in eighths.
    weights: Box<[u8]>,
    /// Numbers, negations and names.
    kinds: Box<[u8]>,
}

impl Reworded {
    pub fn new(share: f64) -> Self {
        Self {
            share,
            prompts: Vec::new(),
            own: Vec::new(),
            listed: Listed::default(),
        }
    }

    /// What an evaluation row asks in the end.
    pub fn of_row(reading: &Reading<'_>) -> Option<Prompt> {
        let (part, words, hashes) = reading.asked().last()?;
        Prompt::of(part, words, hashes)
    }

    /// Takes the next evaluation row.
    pub fn add(&mut self, prompt: Option<Prompt>) {
        self.prompts.push(prompt);
        self.own.push(OnceLock::new());
    }

    /// To be called when all evaluation rows are there.
    pub fn finish(&mut self) {
        let prompts = || self.prompts.iter().flatten();
        let words = Numbered::of(prompts().flat_map(Prompt::each).collect());
        let mut rows = vec![0_u32; words.len()];
        for word in prompts().flat_map(Prompt::each) {
            rows[words.number_of(word).expect("all words are numbered")] += 1;
        }
        let rows = |word| words.number_of(word).map_or(0, |number| rows[number]);
        let prompts = self.prompts.par_iter().enumerate();
        let listed = prompts
            .filter_map(|(number, prompt)| Some((prompt.as_ref()?.rarest(rows), number as u32)))
            .flat_map_iter(|(words, number)| words.into_iter().map(move |word| (word, number)));
        self.listed = Listed::of(listed.collect(), |prompts| prompts.len() <= LIST);
    }

    /// May a row ask what another row of this index does, of which this is all that it asks?
    pub fn may_be_asked_elsewhere(&self, row: usize) -> bool {
        let Some(prompt) = &self.prompts[row] else {
            return false;
        };
        let candidates = self.candidates(&prompt.words);
        candidates.into_iter().any(|other| other as usize != row)
    }

    /// May an evaluation prompt be reworded in this row?
    pub fn note(&self, reading: &Reading<'_>) -> bool {
        let mut asked = reading
            .asked()
            .filter(|(_, _, hashes)| hashes.len() <= LONGEST);
        asked.any(|(_, _, hashes)| !self.candidates(hashes).is_empty())
    }

    /// Evaluation prompts that share several of their rarest words with some words.
    fn candidates(&self, hashes: &[u64]) -> Vec<u32> {
        let mut words: Vec<usize> = hashes
            .iter()
            .filter_map(|&word| self.listed.hashes.number_of(word))
            .collect();
        if words.len() < NEEDED {
            return Vec::new();
        }
        words.sort_unstable();
        words.dedup();
        // Counted, not sorted: a word may list thousands of prompts of which few have three.
        thread_local! {
            static COUNTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        COUNTS.with_borrow_mut(|counts| {
            counts.resize(self.prompts.len().max(counts.len()), 0);
            let lists = || words.iter().flat_map(|&word| self.listed.list(word));
            let mut found = Vec::new();
            for &prompt in lists() {
                let count = &mut counts[prompt as usize];
                *count = count.saturating_add(1);
                if usize::from(*count) == NEEDED {
                    found.push(prompt);
                }
            }
            lists().for_each(|&prompt| counts[prompt as usize] = 0);
            found.sort_unstable();
            found
        })
    }

    /// The evaluation row that the row asks most alike, and all that it asks.
    pub fn leak(
        &self,
        row: usize,
        reading: &Reading<'_>,
        template: &Template,
    ) -> Option<(Leak, Vec<usize>)> {
        let mut found: Vec<(f64, usize, Part<'_>)> = Vec::new();
        for (part, words, hashes) in reading.asked() {
            if hashes.len() > LONGEST {
                continue;
            }
            let candidates = self.candidates(hashes);
            if candidates.is_empty() {
                continue;
            }
            let Some(prompt) = Prompt::of(part, words, hashes) else {
                continue;
            };
            let own = prompt.own(template);
            let likeness = |number: &u32| {
                let number = *number as usize;
                let evaluation = self.prompts[number].as_ref()?;
                let theirs = self.own[number].get_or_init(|| evaluation.own(template));
                let share = theirs.share_in(&own)?;
                let is_asked = share >= self.share && !own.asks_else(&prompt, theirs, evaluation);
                is_asked.then_some((share, number, *part))
            };
            found.extend(candidates.iter().filter_map(likeness));
        }
        // The last of equal maxima wins, so the search goes backwards.
        let &(share, evaluation, part) = found.iter().rev().max_by(|a, b| a.0.total_cmp(&b.0))?;
        let mut all: Vec<usize> = found.iter().map(|&(_, number, _)| number).collect();
        all.sort_unstable();
        all.dedup();
        let leak = Leak {
            rule: DOC.name,
            row,
            evaluation,
            others: all.len() - 1,
            place: part.place,
            span: 0..part.text.len(),
            coverage: share,
        };
        Some((leak, all))
    }
}

impl Prompt {
    /// The words of a prompt that is neither too long nor too short to be compared.
    fn of(part: &Part<'_>, words: &Words, hashes: &[u64]) -> Option<Self> {
        if !(SHORTEST..=LONGEST).contains(&hashes.len()) {
            return None;
        }
        let (mut kinds, mut end) = (Vec::with_capacity(hashes.len()), 0);
        for index in 0..hashes.len() {
            let span = words.span(index..index + 1);
            let begins = index == 0 || ends_sentence(&part.text[end..span.start]);
            kinds.push(kind_of(
                (words.word(index), hashes[index]),
                part.text,
                &span,
                begins,
                Numbers::Kept,
            ));
            end = span.end;
        }
        let weight = |index| words.word(index).chars().count().min(8) as u8;
        let mut distinct: Vec<u8> = (0..hashes.len() as u8).collect();
        distinct.sort_by_key(|&at| hashes[usize::from(at)]);
        distinct.dedup_by_key(|at| hashes[usize::from(*at)]);
        Some(Self {
            words: hashes.into(),
            distinct: distinct.into(),
            weights: (0..hashes.len()).map(weight).collect(),
            kinds: kinds.into(),
        })
    }

    /// Each word once, in the order of their hashes.
    fn each(&self) -> impl Iterator<Item = u64> + '_ {
        self.distinct.iter().map(|&at| self.words[usize::from(at)])
    }

    /// The words that fewest evaluation rows have, long ones first.
    fn rarest(&self, rows: impl Fn(u64) -> u32) -> Vec<u64> {
        let words = self.words.iter().zip(&self.weights);
        let mut words: Vec<(u32, Reverse<u8>, u64)> = words
            .map(|(&word, &weight)| (rows(word), Reverse(weight), word))
            .collect();
        words.sort_unstable();
        words.dedup();
        words.truncate(LISTED);
        words.into_iter().map(|(_, _, word)| word).collect()
    }

    fn has(&self, word: u64) -> bool {
        let at = |at: &u8| self.words[usize::from(*at)];
        self.distinct.binary_search_by_key(&word, at).is_ok()
    }

    /// The words that are not the template's.
    fn own(&self, template: &Template) -> Own {
        let mask = template.mask(&self.words);
        let words = self.words.iter().zip(&self.weights).zip(&self.kinds);
        let own = words.zip(mask).filter(|(_, is_masked)| !is_masked);
        let own = own.map(|(((&word, &weight), &kind), _)| OwnWord { word, weight, kind });
        // Of a word that stands there twice, the last.
        let mut own: Vec<OwnWord> = own.rev().collect();
        own.sort_by_key(|own| own.word);
        own.dedup_by_key(|own| own.word);
        Own(own)
    }
}

/// The words of a prompt that are not the template's, each once, in the order of their hashes.
struct Own(Vec<OwnWord>);

struct OwnWord {
    word: u64,
    /// In eighths.
    weight: u8,
    kind: u8,
}

impl Own {
    /// How much of these words of an evaluation prompt is in a row's prompt; `None` if they are too few to say.
    fn share_in(&self, row: &Self) -> Option<f64> {
        if self.0.len() < SHORTEST {
            return None;
        }
        let (mut all, mut shared, mut added) = (0.0_f64, 0.0, 0.0);
        let mut rest = row.0.iter().peekable();
        for own in &self.0 {
            while let Some(other) = rest.next_if(|other| other.word < own.word) {
                added += f64::from(other.weight);
            }
            all += f64::from(own.weight);
            if rest.next_if(|other| other.word == own.word).is_some() {
                shared += f64::from(own.weight);
            }
        }
        rest.for_each(|other| added += f64::from(other.weight));
        Some(shared / (all + added / 2.0).max(f64::EPSILON))
    }

    /// Do two prompts differ in what makes another question? A word of a template may be in the row all the same: what counts
    /// is that it is there.
    fn asks_else(&self, prompt: &Prompt, other: &Self, other_prompt: &Prompt) -> bool {
        let lacks = |own: &Self, other: &Prompt, kinds: u8| {
            let telling = own.0.iter().filter(|own| own.kind & kinds != 0);
            telling.into_iter().any(|own| !other.has(own.word))
        };
        let turns = NUMBER | NEGATION;
        lacks(self, other_prompt, turns)
            || lacks(other, prompt, turns)
            || lacks(self, other_prompt, NAME) && lacks(other, prompt, NAME)
    }
}
