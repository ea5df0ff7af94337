//! All evaluation rows, as every rule looks for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hone_data::Record;
use hone_ledger::ContentId;
use rayon::prelude::*;

use super::overlap::{Grams, GramsOfRow, Overlap};
use super::prompt::{self, Prompts};
use super::reading::{Kept, Reading};
use super::reworded::{self, Prompt, Reworded};
use super::template::Template;
use super::{Leak, LeakOptions};
use crate::hashes::Numbered;
use crate::text::{Numbers, mix};
use crate::{Rows, RowsError};

/// What the rules look for.
pub struct Index {
    prompts: Option<Prompts>,
    reworded: Option<Reworded>,
    grams: Vec<Grams>,
    template: Template,
    /// Which evaluation rows have an n-gram that counts, or ask more than in the end.
    is_rich: Vec<bool>,
    /// Per rule, in the order of [`Index::rules`]: which evaluation rows have been found.
    leaked: Vec<Vec<AtomicBool>>,
}

/// What is entered of an evaluation row.
struct Entry {
    grams: Vec<GramsOfRow>,
    kept: Kept,
    prompt: Option<Prompt>,
    asked: Option<ContentId>,
    is_rich: bool,
}

impl Index {
    /// The index of these evaluation rows.
    pub fn new(options: &LeakOptions, evaluation: &dyn Rows) -> Result<Self, RowsError> {
        let words = (0..evaluation.len())
            .map(|row| Ok(about_words(&*evaluation.record(row)?)))
            .sum::<Result<usize, RowsError>>()?;
        Self::of(options, evaluation, words, None)
    }

    /// The index of these rows of about so many words; with `repeated`, of the n-grams only that several rows have.
    fn of(
        options: &LeakOptions,
        evaluation: &dyn Rows,
        words: usize,
        repeated: Option<&[Numbered]>,
    ) -> Result<Self, RowsError> {
        let mut prompts = options.prompt_exact.then(Prompts::default);
        let mut reworded = options.reworded.map(Reworded::new);
        let mut grams: Vec<Grams> = options.overlaps.iter().cloned().map(Grams::new).collect();
        let is_folded = folds(&options.overlaps);
        let mut template = Template::with_room(words, options.template_rows);
        let mut is_rich = Vec::with_capacity(evaluation.len());
        let all: Vec<usize> = (0..evaluation.len()).collect();
        for rows in all.chunks(BATCH) {
            let entry = |&row: &usize| {
                let record = evaluation.record(row)?;
                let reading = Reading::of(&record, is_folded);
                template.add(&reading);
                let counts = |rule: usize| {
                    move |gram| repeated.is_none_or(|repeated| repeated[rule].has(gram))
                };
                let grams = grams.iter().enumerate();
                let grams: Vec<GramsOfRow> = grams
                    .map(|(rule, grams)| grams.of_row(&reading, counts(rule)))
                    .collect();
                // Of a row without an n-gram that counts, no rule about n-grams finds anything.
                let is_found = grams.iter().any(|grams| !grams.is_empty());
                Ok(Entry {
                    is_rich: is_found || reading.asked().count() > 1,
                    kept: match is_found {
                        true => reading.kept(),
                        false => Kept::default(),
                    },
                    grams,
                    prompt: reworded.as_ref().and_then(|_| Reworded::of_row(&reading)),
                    asked: prompts.as_ref().and_then(|_| Prompts::of_row(&record)),
                })
            };
            let entries = rows
                .par_iter()
                .map(entry)
                .collect::<Result<Vec<_>, RowsError>>()?;
            for (&row, entry) in rows.iter().zip(entries) {
                is_rich.push(entry.is_rich);
                template.keep(entry.kept);
                grams
                    .iter_mut()
                    .zip(entry.grams)
                    .for_each(|(grams, of_row)| grams.add(of_row));
                if let Some(reworded) = &mut reworded {
                    reworded.add(entry.prompt);
                }
                if let Some(prompts) = &mut prompts {
                    prompts.add(row, entry.asked);
                }
            }
        }
        grams.iter_mut().for_each(Grams::finish);
        reworded.iter_mut().for_each(Reworded::finish);
        let rules = grams.len() + usize::from(prompts.is_some()) + usize::from(reworded.is_some());
        let unseen = || {
            (0..evaluation.len())
                .map(|_| AtomicBool::new(false))
                .collect()
        };
        Ok(Self {
            prompts,
            reworded,
            grams,
            template,
            is_rich,
            leaked: (0..rules).map(|_| unseen()).collect(),
        })
    }

    /// The rules' names.
    pub fn rules(&self) -> Vec<&'static str> {
        let prompt = self.prompts.iter().map(|_| prompt::DOC.name);
        let reworded = self.reworded.iter().map(|_| reworded::DOC.name);
        prompt
            .chain(reworded)
            .chain(self.grams.iter().map(|grams| grams.rule().name))
            .collect()
    }

    /// Per rule about n-grams, how many evaluation rows are too short for it to find.
    pub fn blind(&self) -> Vec<(&'static str, usize)> {
        let blind = |grams: &Grams| (grams.rule().name, grams.blind());
        self.grams.iter().map(blind).collect()
    }

    /// Notes a training row, once and from any thread; true if it shares something and is worth a look when all are noted.
    pub fn note(&self, record: &Record) -> bool {
        let reading = self.reading(record);
        let noted = self
            .grams
            .iter()
            .fold(false, |noted, grams| grams.note(&reading) | noted);
        let noted = noted
            || self
                .reworded
                .as_ref()
                .is_some_and(|reworded| reworded.note(&reading));
        if noted {
            self.template.note(&reading);
        }
        noted
            || self
                .prompts
                .as_ref()
                .is_some_and(|prompts| prompts.contains(record))
    }

    /// What the rules find in a training row, at most one leak each. All rows must have been noted.
    pub fn leaks(&self, row: usize, record: &Record) -> Vec<Leak> {
        let reading = self.reading(record);
        let mut found: Vec<Option<(Leak, Vec<usize>)>> = Vec::new();
        found.extend(self.prompts.iter().map(|prompts| prompts.leak(row, record)));
        let is_exact = matches!(found.first(), Some(Some(_)));
        found.extend(self.reworded.iter().map(|reworded| match is_exact {
            // The very prompt is no rewording.
            true => None,
            false => reworded.leak(row, &reading, &self.template),
        }));
        let grams = self.grams.iter();
        found.extend(grams.map(|grams| grams.leak(row, &reading, &self.template)));
        let seen = |(leaked, found): (&Vec<AtomicBool>, Option<(Leak, Vec<usize>)>)| {
            let (leak, rows) = found?;
            rows.into_iter()
                .for_each(|row| leaked[row].store(true, Ordering::Relaxed));
            Some(leak)
        };
        self.leaked.iter().zip(found).filter_map(seen).collect()
    }

    /// May a rule find another row of the index in one of its own rows? Told without reading the row.
    fn may_find_others_in(&self, row: usize) -> bool {
        let mut reworded = self.reworded.iter();
        self.is_rich[row] || reworded.any(|reworded| reworded.may_be_asked_elsewhere(row))
    }

    /// Evaluation rows that any rule finds in a row.
    fn found_in(&self, row: usize, record: &Record) -> Vec<usize> {
        let reading = self.reading(record);
        let reworded = self.reworded.iter();
        let reworded = reworded.filter_map(|rule| rule.leak(row, &reading, &self.template));
        let grams = self.grams.iter();
        let grams = grams.filter_map(|grams| grams.leak(row, &reading, &self.template));
        let mut found: Vec<usize> = reworded.chain(grams).flat_map(|(_, rows)| rows).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Per rule, the evaluation rows found in the training rows looked at so far.
    pub fn leaked(&self) -> Vec<(&'static str, Vec<usize>)> {
        let rows = |leaked: &Vec<AtomicBool>| {
            (0..leaked.len())
                .filter(|&row| leaked[row].load(Ordering::Relaxed))
                .collect()
        };
        self.rules()
            .into_iter()
            .zip(self.leaked.iter().map(rows))
            .collect()
    }

    fn reading<'a>(&self, record: &'a Record) -> Reading<'a> {
        Reading::of(record, folds(self.grams.iter().map(Grams::rule)))
    }
}

/// Is there a rule that folds numbers?
fn folds<'a>(rules: impl IntoIterator<Item = &'a Overlap>) -> bool {
    let mut rules = rules.into_iter();
    rules.any(|rule| rule.numbers == Numbers::Zero)
}

/// Rows that are read at once.
const BATCH: usize = 1024;

/// About how many words a row has, or a few more.
fn about_words(record: &Record) -> usize {
    record.parts().map(|part| part.text.len() / 4).sum()
}

/// N-grams being met for the first time, or not.
struct Met {
    /// Two bits of one word for each n-gram, so that one step tells whether both were set.
    bits: Vec<AtomicU64>,
}

/// Bits of [`Met`] for each n-gram: one of seventy is said to have been met that has not.
const BITS: usize = 16;

impl Met {
    fn with_room(grams: usize) -> Self {
        let words = (BITS * grams / 64).next_power_of_two().max(64);
        Self {
            bits: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Notes an n-gram, from any thread; true if it was noted before, and seldom if not.
    fn again(&self, gram: u64) -> bool {
        let spread = mix(gram);
        let word = (spread >> 12) as usize & (self.bits.len() - 1);
        let both = 1 << (spread & 63) | 1 << (spread >> 6 & 63);
        self.bits[word].fetch_or(both, Ordering::Relaxed) & both == both
    }
}

/// Pairs of rows of one set, of about so many words, that a rule would find on two sides; enough of them to connect all that belong together.
///
/// What so many rows share that they prove nothing is told by the set; so rows are counted as related that are found
/// whatever two sides are made of it.
pub(crate) fn related(
    options: &LeakOptions,
    rows: &dyn Rows,
    words: usize,
) -> Result<Vec<(usize, usize)>, RowsError> {
    let options = options.of_one_set();
    let is_folded = folds(&options.overlaps);
    let grams: Vec<Grams> = options.overlaps.iter().cloned().map(Grams::new).collect();
    let met: Vec<Met> = grams.iter().map(|_| Met::with_room(words)).collect();
    let again = |row: &usize| {
        let record = rows.record(*row)?;
        let reading = Reading::of(&record, is_folded);
        let again =
            |(grams, met): (&Grams, &Met)| grams.ngrams_of(&reading, |gram| met.again(gram));
        Ok(grams.iter().zip(&met).map(again).collect::<Vec<_>>())
    };
    let mut repeated: Vec<Vec<u64>> = vec![Vec::new(); grams.len()];
    let all: Vec<usize> = (0..rows.len()).collect();
    for batch in all.chunks(BATCH) {
        let again = batch.par_iter().map(again);
        for again in again.collect::<Result<Vec<_>, RowsError>>()? {
            let lists = repeated.iter_mut().zip(again);
            lists.for_each(|(repeated, again)| repeated.extend(again));
        }
    }
    drop(met);
    let repeated: Vec<Numbered> = grams
        .iter()
        .zip(repeated)
        .map(|(grams, again)| rare_enough(again, grams.rule().common_rows))
        .collect();
    let index = Index::of(&options, rows, words, Some(&repeated))?;
    drop(repeated);
    let found = all
        .into_par_iter()
        .filter(|&row| index.may_find_others_in(row))
        .map(|row| {
            let found = index.found_in(row, &*rows.record(row)?);
            let others = found.into_iter().filter(|&other| other != row);
            Ok(others.map(|other| (row, other)).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<_>, RowsError>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// N-grams that several rows have, of those that rows after the first have, and the first where they stand in it twice: an
/// index need not hold what one row has, nor what more than `common_rows` have, which proves nothing.
fn rare_enough(mut again: Vec<u64>, common_rows: Option<usize>) -> Numbered {
    again.par_sort_unstable();
    let common = common_rows.unwrap_or(usize::MAX);
    let same = again.chunk_by(|a, b| a == b);
    let rare = same.filter(|same| same.len() <= common);
    Numbered::in_order(rare.map(|same| same[0]).collect())
}

/// All leaks of the training rows, in their order.
pub fn find(index: &Index, rows: &dyn Rows) -> Result<Vec<Leak>, RowsError> {
    let noted = (0..rows.len())
        .into_par_iter()
        .map(|row| Ok(index.note(&*rows.record(row)?).then_some(row)))
        .collect::<Result<Vec<_>, RowsError>>()?;
    let leaks = noted
        .into_par_iter()
        .flatten()
        .map(|row| Ok(index.leaks(row, &*rows.record(row)?)))
        .collect::<Result<Vec<_>, RowsError>>()?;
    Ok(leaks.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hone_data::{Body, Source};
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Record {
        Record {
            task: "t".into(),
            group: None,
            origin: None,
            licence: None,
            copies: 1,
            body: Body::Text(text.into()),
            source: Source::new("f", 1),
        }
    }

    fn words(numbers: impl IntoIterator<Item = u8>) -> String {
        let words: Vec<String> = numbers
            .into_iter()
            .map(|number| format!("w{number}"))
            .collect();
        words.join(" ")
    }

    fn only(ngram: usize, common_rows: Option<usize>) -> LeakOptions {
        let mut options = LeakOptions::all();
        options.prompt_exact = false;
        options.reworded = None;
        options.overlaps.truncate(1);
        options.overlaps[0] = Overlap {
            ngram,
            common_rows,
            ..options.overlaps[0].clone()
        };
        options
    }

    fn rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(0..4_u8, 0..20), 0..12)
    }

    fn texts(rows: &[Vec<u8>]) -> Vec<Record> {
        rows.iter()
            .map(|row| text(&words(row.iter().copied())))
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_comparing_all_with_all_finds(train in rows(), evaluation in rows()) {
            const N: usize = 4;
            let index = Index::new(&only(N, None), &texts(&evaluation)).unwrap();
            let leaks = find(&index, &texts(&train)).unwrap();
            let shared = |a: &[u8], b: &[u8]| a.windows(N).any(|gram| b.windows(N).any(|other| gram == other));
            let expected: Vec<(usize, usize)> = (0..train.len())
                .map(|row| (row, evaluation.iter().filter(|other| shared(&train[row], other)).count()))
                .filter(|&(_, found)| found > 0)
                .collect();
            let found: Vec<(usize, usize)> = leaks.iter().map(|leak| (leak.row, leak.others + 1)).collect();
            prop_assert_eq!(found, expected);
            let leaked: Vec<usize> = (0..evaluation.len())
                .filter(|&row| train.iter().any(|other| shared(other, &evaluation[row])))
                .collect();
            prop_assert_eq!(&index.leaked()[0].1, &leaked);
            for leak in leaks {
                let (row, evaluation) = (&train[leak.row], &evaluation[leak.evaluation]);
                let covered: BTreeSet<usize> = evaluation
                    .windows(N)
                    .enumerate()
                    .filter(|(_, gram)| row.windows(N).any(|other| other == *gram))
                    .flat_map(|(at, _)| at..at + N)
                    .collect();
                prop_assert_eq!(leak.coverage, covered.len() as f64 / evaluation.len() as f64);
                let span = &words(row.iter().copied())[leak.span];
                prop_assert!(span.split(' ').count() >= N);
            }
        }
    }

    #[test]
    fn an_ngram_of_eleven_rows_proves_nothing_and_of_ten_it_does() {
        let evaluation = vec![text(&words(0..13))];
        let leaks = |rows: usize| {
            let index = Index::new(&only(13, Some(10)), &evaluation).unwrap();
            find(&index, &vec![text(&words(0..13)); rows])
                .unwrap()
                .len()
        };
        assert_eq!((leaks(10), leaks(11)), (10, 0));
    }

    #[test]
    fn one_thread_finds_what_many_find() {
        let rows: Vec<Record> = (0..200_u8)
            .map(|row: u8| text(&words((0..40).map(|at| row.wrapping_mul(at) % 50))))
            .collect();
        let found = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let index = Index::new(&LeakOptions::all(), &rows[..40].to_vec()).unwrap();
                (find(&index, &rows).unwrap(), index.leaked())
            })
        };
        assert_eq!(found(1), found(4));
        assert!(found(1).0.len() >= 40);
    }

    #[test]
    fn evaluation_rows_too_short_for_a_rule_are_counted() {
        let evaluation =
            [words(0..7), words(0..8), words(0..12), words(0..13)].map(|words| text(&words));
        let index = Index::new(&LeakOptions::all(), &evaluation.to_vec()).unwrap();
        assert_eq!(
            index.blind(),
            [("gpt3-13", 3), ("tulu3-8", 1), ("datatrove-12", 2)]
        );
    }

    #[test]
    fn without_evaluation_rows_nothing_leaks() {
        let index = Index::new(&LeakOptions::all(), &Vec::new()).unwrap();
        assert!(
            find(&index, &vec![text("one two three")])
                .unwrap()
                .is_empty()
        );
    }
}
