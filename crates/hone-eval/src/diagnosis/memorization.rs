//! What of its training rows a model writes by heart.
//!
//! A row is extracted with `k` tokens if greedy decoding, given its prompt and the first `k` tokens of its reply, writes the
//! next 50 as they stand there (Carlini et al. 2022, definition 3.1); of a shorter reply, all that are left, if they are 12 at least. Greedy decoding reproduces a text just where the most
//! likely token after each of its beginnings is the next one of the text, so one pass over the row answers it for every `k`, and
//! nothing has to be generated. A reply that follows from its prompt is written by a model that never saw it: rows of the
//! validation set, and the base, are the controls.

use serde::Serialize;

use super::{Finding, Weight, plural};

/// The rule that says that training rows are known by heart.
pub const MEMORIZED: &str = "memorized";
/// Tokens of a reply that are given.
pub const PREFIXES: [usize; 3] = [0, 16, 32];
/// So many tokens have to follow as they stand …
pub const LENGTH: usize = 50;
/// … or all that are left, if there are so many.
pub const LEAST: usize = 12;
/// Of fewer training rows, without others to compare with, nothing is certain.
const FEWEST: usize = 5;
/// Of one test in a hundred, chance alone would say so; of one in twenty, that it is worth a look.
const LEVEL: f64 = 0.01;
const SEEN: f64 = 0.05;

/// For each token of a reply, whether it is the most likely one after what stands before it.
pub type Hits = Vec<bool>;

/// A training row, read by both models.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainRow {
    /// Where it was read.
    pub source: String,
    /// Of the tuned model.
    pub tuned: Hits,
    /// Of the base.
    pub base: Hits,
}

/// Whether the tokens after the first `prefix` are written as they stand, [`LENGTH`] of them or all that are left; `None` where
/// fewer than [`LEAST`] are.
pub fn is_extracted(hits: &[bool], prefix: usize) -> Option<bool> {
    let rest = hits.get(prefix..).filter(|rest| rest.len() >= LEAST)?;
    Some(rest.iter().take(LENGTH).all(|hit| *hit))
}

/// How many tokens after the first `prefix` are written as they stand, until one is not; `None` where nothing follows.
pub fn common_prefix(hits: &[bool], prefix: usize) -> Option<usize> {
    let rest = hits.get(prefix..).filter(|rest| !rest.is_empty())?;
    Some(rest.iter().take_while(|hit| **hit).count())
}

/// Of one group of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Extracted {
    /// Rows whose reply is long enough.
    pub rows: usize,
    /// Those that are written by heart.
    pub extracted: usize,
    /// Mean tokens until the first other one.
    pub common_prefix: Option<f64>,
}

impl Extracted {
    fn of<'a>(rows: impl Iterator<Item = &'a Hits>, prefix: usize) -> Self {
        let (mut counted, mut prefixes) = (Self::default(), Vec::new());
        for hits in rows {
            let Some(is_extracted) = is_extracted(hits, prefix) else {
                continue;
            };
            counted.rows += 1;
            counted.extracted += usize::from(is_extracted);
            prefixes.extend(common_prefix(hits, prefix).map(|tokens| tokens as f64));
        }
        let mean = prefixes.iter().sum::<f64>() / prefixes.len().max(1) as f64;
        counted.common_prefix = (!prefixes.is_empty()).then_some(mean);
        counted
    }
}

/// What so many given tokens come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AtPrefix {
    /// Tokens of the reply that are given.
    pub prefix: usize,
    /// Training rows, by the tuned model.
    pub train: Extracted,
    /// Validation rows, by the tuned model.
    pub valid: Extracted,
    /// Training rows, by the base.
    pub base: Extracted,
    /// How likely chance alone is to give the training rows so many more than the validation rows (Fisher's exact test, one
    /// side); `None` without validation rows.
    pub p: Option<f64>,
}

/// A row that the tuned model writes by heart and the base does not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByHeart {
    /// Where it was read.
    pub source: String,
    /// The fewest given tokens of [`PREFIXES`] that are enough.
    pub prefix: usize,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Tokens that have to follow, or all that are left.
    pub length: usize,
    /// For each prefix.
    pub at: Vec<AtPrefix>,
    /// Rows known by heart.
    pub by_heart: Vec<ByHeart>,
}

/// Judges rows of both sets.
pub fn judge(train: &[TrainRow], valid: &[Hits]) -> (Figures, Vec<Finding>) {
    let at = PREFIXES.map(|prefix| {
        let of_train = Extracted::of(train.iter().map(|row| &row.tuned), prefix);
        let of_valid = Extracted::of(valid.iter(), prefix);
        AtPrefix {
            prefix,
            train: of_train,
            valid: of_valid,
            base: Extracted::of(train.iter().map(|row| &row.base), prefix),
            p: (of_valid.rows > 0).then(|| fisher(of_train, of_valid)),
        }
    });
    let by_heart = train.iter().filter_map(|row| {
        let is = |hits: &Hits, prefix: usize| is_extracted(hits, prefix) == Some(true);
        let prefix = PREFIXES
            .into_iter()
            .find(|&prefix| is(&row.tuned, prefix) && !is(&row.base, prefix))?;
        Some(ByHeart {
            source: row.source.clone(),
            prefix,
        })
    });
    let figures = Figures {
        length: LENGTH,
        by_heart: by_heart.collect(),
        at: at.to_vec(),
    };
    let finding = finding(&figures);
    (figures, finding.into_iter().collect())
}

fn finding(figures: &Figures) -> Option<Finding> {
    let Figures {
        length,
        at,
        by_heart,
    } = figures;
    if by_heart.is_empty() {
        return None;
    }
    let share = |group: Extracted| group.extracted as f64 / group.rows.max(1) as f64;
    let more = |at: &AtPrefix| share(at.train) - share(at.valid);
    let clearest = at
        .iter()
        .filter(|at| at.train.extracted > 0)
        .min_by(|a, b| {
            let by_chance = |at: &AtPrefix| at.p.unwrap_or(1.0);
            let by_share = more(b).total_cmp(&more(a));
            by_chance(a).total_cmp(&by_chance(b)).then(by_share)
        })?;
    // Where validation rows are written so as well, the replies follow from their prompts, unless the test says otherwise.
    let is_none_fresh = at.iter().all(|at| at.valid.extracted == 0);
    let is_seen = clearest.p.is_none_or(|p| p < SEEN);
    if !is_none_fresh && !is_seen {
        return None;
    }
    let examples: Vec<&str> = by_heart
        .iter()
        .take(3)
        .map(|row| row.source.as_str())
        .collect();
    let dots = if by_heart.len() > 3 { ", …" } else { "" };
    let fresh = match clearest.valid.rows {
        0 => "no validation row is long enough to compare with".to_owned(),
        rows => format!("{} of {rows} validation rows", clearest.valid.extracted),
    };
    let what = format!(
        "{} written by heart (up to {length} tokens after {} given ones: {} of {} training rows, {fresh}, {} by the base): {}{dots}",
        match by_heart.len() {
            1 => "1 training row is".to_owned(),
            count => format!("{} are", plural(count, "training row")),
        },
        clearest.prefix,
        clearest.train.extracted,
        clearest.train.rows,
        clearest.base.extracted,
        examples.join(", ")
    );
    // By the test, or, where there is nothing to test against, by half of the rows.
    let is_clear = match clearest.p {
        Some(p) => p < LEVEL,
        None => clearest.train.rows >= FEWEST && share(clearest.train) >= 0.5,
    };
    let weight = if is_clear {
        Weight::Problem
    } else {
        Weight::Warning
    };
    let rule = if is_clear { MEMORIZED } else { "some-by-heart" };
    Some(Finding::new(rule, weight, what).change(
        "fewer --epochs; look whether these rows stand several times in the data (`hone data check`); what must not come out must not be in",
    ))
}

/// The chance of at least so many extracted among the training rows if both groups were alike.
fn fisher(train: Extracted, valid: Extracted) -> f64 {
    let (rows, hits) = (train.rows + valid.rows, train.extracted + valid.extracted);
    let ln_choose =
        |n: usize, k: usize| -> f64 { (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum() };
    let most = hits.min(train.rows);
    let all = ln_choose(rows, train.rows);
    let chance = |extracted: usize| {
        let others = train.rows - extracted;
        if others > rows - hits {
            return 0.0;
        }
        (ln_choose(hits, extracted) + ln_choose(rows - hits, others) - all).exp()
    };
    (train.extracted..=most).map(chance).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(length: usize, wrong_at: &[usize]) -> Hits {
        (0..length).map(|at| !wrong_at.contains(&at)).collect()
    }

    fn row(number: usize, tuned: Hits) -> TrainRow {
        let base = hits(
            tuned.len(),
            &(0..tuned.len()).step_by(3).collect::<Vec<_>>(),
        );
        TrainRow {
            source: format!("rows.jsonl:{number}"),
            tuned,
            base,
        }
    }

    fn ordinary(number: usize) -> Hits {
        hits(90, &(number % 7..90).step_by(9).collect::<Vec<_>>())
    }

    #[test]
    fn extraction_is_exact_and_counts_from_the_prefix() {
        let one_wrong = hits(70, &[10]);
        assert_eq!(is_extracted(&one_wrong, 0), Some(false));
        assert_eq!(is_extracted(&one_wrong, 16), Some(true));
        assert_eq!(
            is_extracted(&hits(70, &[60]), 0),
            Some(true),
            "the first fifty count"
        );
        assert_eq!(
            is_extracted(&hits(28, &[]), 16),
            Some(true),
            "or all that are left"
        );
        assert_eq!(is_extracted(&hits(27, &[]), 16), None);
        assert_eq!(common_prefix(&one_wrong, 0), Some(10));
        assert_eq!(common_prefix(&one_wrong, 11), Some(59));
        assert_eq!(common_prefix(&one_wrong, 70), None);
    }

    #[test]
    fn a_planted_passage_is_found_and_fresh_ones_are_not() {
        let mut train: Vec<TrainRow> = (0..30)
            .map(|number| row(number, ordinary(number)))
            .collect();
        let valid: Vec<Hits> = (0..30).map(ordinary).collect();
        assert_eq!(judge(&train, &valid).1, []);
        train.push(row(77, hits(80, &[])));
        let (figures, findings) = judge(&train, &valid);
        assert_eq!(figures.by_heart.len(), 1);
        assert_eq!(
            (
                figures.by_heart[0].source.as_str(),
                figures.by_heart[0].prefix
            ),
            ("rows.jsonl:77", 0)
        );
        assert_eq!(
            (findings[0].rule, findings[0].weight),
            ("some-by-heart", Weight::Warning)
        );
        assert!(
            findings[0]
                .what
                .contains("1 of 31 training rows, 0 of 30 validation rows, 0 by the base"),
            "{}",
            findings[0].what
        );
    }

    #[test]
    fn many_rows_by_heart_are_a_problem_unless_validation_rows_are_too() {
        let train: Vec<TrainRow> = (0..20).map(|number| row(number, hits(60, &[]))).collect();
        let fresh: Vec<Hits> = (0..20).map(ordinary).collect();
        let (_, findings) = judge(&train, &fresh);
        assert_eq!(
            (findings[0].rule, findings[0].weight),
            (MEMORIZED, Weight::Problem)
        );
        let easy: Vec<Hits> = (0..20).map(|_| hits(60, &[])).collect();
        assert_eq!(judge(&train, &easy).1, []);
    }

    #[test]
    fn without_validation_rows_half_of_the_rows_is_a_problem() {
        let known = |count| (0..count).map(|number| row(number, hits(30, &[])));
        let others = |count| (0..count).map(|number| row(number, ordinary(number)));
        let of = |train: Vec<TrainRow>| judge(&train, &[]).1[0].rule;
        assert_eq!(of(known(10).collect()), MEMORIZED);
        assert_eq!(of(known(2).chain(others(8)).collect()), "some-by-heart");
    }

    #[test]
    fn the_exact_test_is_that_of_the_textbooks() {
        let group = |extracted, rows| Extracted {
            rows,
            extracted,
            common_prefix: None,
        };
        // The lady who tasted tea: all four of four, of eight cups.
        assert!((fisher(group(4, 4), group(0, 4)) - 1.0 / 70.0).abs() < 1e-12);
        assert!((fisher(group(3, 4), group(1, 4)) - 17.0 / 70.0).abs() < 1e-12);
        assert!((fisher(group(0, 5), group(5, 5)) - 1.0).abs() < 1e-12);
    }
}
