//! All evaluation rows, as every rule looks for them.

use std::sync::atomic::{AtomicBool, Ordering};

use hone_data::Record;
use rayon::prelude::*;

use super::overlap::{Grams, Reading};
use super::prompt::{self, Prompts};
use super::{Leak, LeakOptions};
use crate::text::Numbers;
use crate::{Rows, RowsError};

/// What the rules look for.
pub struct Index {
    prompts: Option<Prompts>,
    grams: Vec<Grams>,
    /// Per rule, in the order of [`Index::rules`]: which evaluation rows have been found.
    leaked: Vec<Vec<AtomicBool>>,
}

impl Index {
    /// The index of these evaluation rows.
    pub fn new(options: &LeakOptions, evaluation: &dyn Rows) -> Result<Self, RowsError> {
        let mut prompts = options.prompt_exact.then(Prompts::default);
        let mut grams: Vec<Grams> = options.overlaps.iter().cloned().map(Grams::new).collect();
        for row in 0..evaluation.len() {
            let record = evaluation.record(row)?;
            grams.iter_mut().for_each(|grams| grams.add(&record));
            prompts
                .iter_mut()
                .for_each(|prompts| prompts.add(row, &record));
        }
        grams.iter_mut().for_each(Grams::finish);
        let rules = grams.len() + usize::from(prompts.is_some());
        let unseen = || {
            (0..evaluation.len())
                .map(|_| AtomicBool::new(false))
                .collect()
        };
        Ok(Self {
            prompts,
            grams,
            leaked: (0..rules).map(|_| unseen()).collect(),
        })
    }

    /// The rules' names.
    pub fn rules(&self) -> Vec<&'static str> {
        let prompt = self.prompts.iter().map(|_| prompt::DOC.name);
        prompt
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
        let readings = self.readings(record);
        let noted = self
            .grams
            .iter()
            .fold(false, |noted, grams| grams.note(&readings) | noted);
        noted
            || self
                .prompts
                .as_ref()
                .is_some_and(|prompts| prompts.contains(record))
    }

    /// What the rules find in a training row, at most one leak each. All rows must have been noted.
    pub fn leaks(&self, row: usize, record: &Record) -> Vec<Leak> {
        let readings = self.readings(record);
        let prompt = self.prompts.iter().map(|prompts| prompts.leak(row, record));
        let found = prompt.chain(self.grams.iter().map(|grams| grams.leak(row, &readings)));
        let seen = |(leaked, found): (&Vec<AtomicBool>, Option<(Leak, Vec<usize>)>)| {
            let (leak, rows) = found?;
            rows.into_iter()
                .for_each(|row| leaked[row].store(true, Ordering::Relaxed));
            Some(leak)
        };
        self.leaked.iter().zip(found).filter_map(seen).collect()
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

    fn readings<'a>(&self, record: &'a Record) -> Vec<Reading<'a>> {
        let needed = |numbers: &Numbers| {
            self.grams
                .iter()
                .any(|grams| grams.rule().numbers == *numbers)
        };
        [Numbers::Kept, Numbers::Zero]
            .into_iter()
            .filter(needed)
            .map(|numbers| Reading::of(record, numbers))
            .collect()
    }
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

    use super::super::Overlap;
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
