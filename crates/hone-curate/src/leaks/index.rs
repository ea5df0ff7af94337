//! All evaluation rows, as every rule looks for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hone_data::Record;
use rayon::prelude::*;

use super::overlap::{Grams, Overlap, Reading};
use super::prompt::{self, Prompts};
use super::reworded::{self, Reworded};
use super::template::Template;
use super::{Leak, LeakOptions};
use crate::text::{Numbers, mix};
use crate::{Rows, RowsError};

/// What the rules look for.
pub struct Index {
    prompts: Option<Prompts>,
    reworded: Option<Reworded>,
    grams: Vec<Grams>,
    template: Template,
    /// Per rule, in the order of [`Index::rules`]: which evaluation rows have been found.
    leaked: Vec<Vec<AtomicBool>>,
}

impl Index {
    /// The index of these evaluation rows.
    pub fn new(options: &LeakOptions, evaluation: &dyn Rows) -> Result<Self, RowsError> {
        Self::of(options, evaluation, None)
    }

    /// The index of these rows; with `twice`, of the n-grams only that several rows have.
    fn of(
        options: &LeakOptions,
        evaluation: &dyn Rows,
        twice: Option<&[Twice]>,
    ) -> Result<Self, RowsError> {
        let mut prompts = options.prompt_exact.then(Prompts::default);
        let mut reworded = options.reworded.map(Reworded::new);
        let mut grams: Vec<Grams> = options.overlaps.iter().cloned().map(Grams::new).collect();
        let is_folded = folds(&options.overlaps);
        let mut words = 0;
        for row in 0..evaluation.len() {
            let record = evaluation.record(row)?;
            let reading = Reading::of(&record, is_folded);
            for (rule, grams) in grams.iter_mut().enumerate() {
                let twice = twice.map(|twice| &twice[rule]);
                grams.add(&reading, |gram| twice.is_none_or(|twice| twice.has(gram)));
            }
            reworded
                .iter_mut()
                .for_each(|reworded| reworded.add(&reading));
            prompts
                .iter_mut()
                .for_each(|prompts| prompts.add(row, &record));
            words += reading.words().map(<[u64]>::len).sum::<usize>();
        }
        grams.iter_mut().for_each(Grams::finish);
        reworded.iter_mut().for_each(Reworded::finish);
        let template = Template::with_room(words, options.template_rows);
        (0..evaluation.len()).into_par_iter().try_for_each(|row| {
            let record = evaluation.record(row)?;
            template.add(&Reading::of(&record, false));
            Ok::<(), RowsError>(())
        })?;
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

/// N-grams that several rows have: of most there is one, and an index need not hold it.
struct Twice {
    once: Vec<AtomicU64>,
    again: Vec<AtomicU64>,
}

impl Twice {
    fn with_room(grams: usize) -> Self {
        let words = (grams / 8).next_power_of_two().max(64);
        let zeros = || (0..words).map(|_| AtomicU64::new(0)).collect();
        Self {
            once: zeros(),
            again: zeros(),
        }
    }

    /// Notes an n-gram of one more row, from any thread.
    fn add(&self, gram: u64) {
        let (word, bit) = self.place(gram);
        if self.once[word].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            self.again[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Do several rows have it? Seldom wrongly yes.
    fn has(&self, gram: u64) -> bool {
        let (word, bit) = self.place(gram);
        self.again[word].load(Ordering::Relaxed) & bit != 0
    }

    fn place(&self, gram: u64) -> (usize, u64) {
        let spread = mix(gram);
        let word = (spread >> 6) as usize & (self.once.len() - 1);
        (word, 1 << (spread & 63))
    }
}

/// Pairs of rows of one set that a rule would find on two sides; enough of them to connect all that belong together.
///
/// What so many rows share that they prove nothing is told by the set; so rows are counted as related that are found
/// whatever two sides are made of it.
pub fn related(options: &LeakOptions, rows: &dyn Rows) -> Result<Vec<(usize, usize)>, RowsError> {
    let options = options.of_one_set();
    let is_folded = folds(&options.overlaps);
    let grams: Vec<Grams> = options.overlaps.iter().cloned().map(Grams::new).collect();
    let words = (0..rows.len())
        .into_par_iter()
        .map(|row| {
            let record = rows.record(row)?;
            let parts = record.parts();
            Ok(parts.map(|part| part.text.len() / 5).sum::<usize>())
        })
        .sum::<Result<usize, RowsError>>()?;
    let twice: Vec<Twice> = grams.iter().map(|_| Twice::with_room(8 * words)).collect();
    (0..rows.len()).into_par_iter().try_for_each(|row| {
        let record = rows.record(row)?;
        let reading = Reading::of(&record, is_folded);
        for (grams, twice) in grams.iter().zip(&twice) {
            let all = grams.ngrams_of(&reading).into_iter();
            all.for_each(|gram| twice.add(gram));
        }
        Ok::<(), RowsError>(())
    })?;
    let index = Index::of(&options, rows, Some(&twice))?;
    let found = (0..rows.len())
        .into_par_iter()
        .map(|row| {
            let found = index.found_in(row, &*rows.record(row)?);
            let others = found.into_iter().filter(|&other| other != row);
            Ok(others.map(|other| (row, other)).collect::<Vec<_>>())
        })
        .collect::<Result<Vec<_>, RowsError>>()?;
    Ok(found.into_iter().flatten().collect())
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
