//! Losses of training rows from epoch to epoch: rows that never fall, that fall at once, and that are unlearned.
//!
//! The first loss of a row is that of the epoch in which it was met first, so rows are compared with the median row of the same
//! run and not with a number from elsewhere. One epoch has nothing to compare.

use serde::Serialize;

use super::{Finding, Weight, plural};

/// A row never fell if its loss in no later epoch was below this share of the first …
const NEVER: f64 = 0.95;
/// … while the median row fell to this share.
const MEDIAN_FELL: f64 = 0.8;
/// A row fell at once if its second loss is at most this share of the first, and half of what the median row had left.
const AT_ONCE: f64 = 0.25;
/// A row was unlearned if it fell to this share of its first loss and rose again by this factor and so many nats.
const FELL: f64 = 0.8;
const ROSE: f64 = 1.25;
const ROSE_NATS: f64 = 0.1;
/// Losses below this say nothing about learning any more.
const LEAST_LOSS: f64 = 0.05;

/// What a row did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// Its loss did not fall while that of others did.
    NeverFell,
    /// It fell at once, more than others.
    FellAtOnce,
    /// It fell, and rose again.
    Unlearned,
}

/// A row that is listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// What it did.
    pub course: Course,
    /// Which of the training rows, counted from 0.
    pub row: usize,
    /// Where it was read.
    pub source: String,
    /// Its loss in each epoch, in nats per supervised token.
    pub losses: Vec<f32>,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Training rows.
    pub rows: usize,
    /// Epochs that all of them were in.
    pub epochs: usize,
    /// The median row's loss in each epoch.
    pub median: Vec<f32>,
    /// Rows that are worth another look, the clearest of each kind first.
    pub listed: Vec<Listed>,
    /// The rule, in words.
    pub rule: &'static str,
}

const RULE: &str = "never fell: no later loss below 0.95 of the first, while the median row fell to 0.8 or less; fell at once: second loss at \
                    most 0.25 of the first and half of the median row's share; unlearned: fell to 0.8 of the first or less, and the last is 1.25 times the \
                    lowest (and the median row's rise) and 0.1 nats above it; losses below 0.05 nats count as learned";

/// Judges rows by their losses, `[row][epoch]`; `source` says where each was read.
pub fn judge(by_row: &[Vec<f32>], source: impl Fn(usize) -> String) -> (Figures, Vec<Finding>) {
    let epochs = by_row.iter().map(Vec::len).min().unwrap_or(0);
    let median: Vec<f32> = (0..epochs)
        .map(|epoch| median(by_row.iter().map(|row| row[epoch])))
        .collect();
    let mut found: Vec<(Course, f64, usize)> = Vec::new();
    if epochs >= 2 {
        for (row, losses) in by_row.iter().enumerate() {
            let courses = courses(&losses[..epochs], &median);
            found.extend(
                courses
                    .into_iter()
                    .flatten()
                    .map(|(course, by)| (course, by, row)),
            );
        }
    }
    // What stands out most comes first; of equals the first row.
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.2.cmp(&b.2)));
    let of = |course| found.iter().filter(move |(own, ..)| *own == course);
    let listed = [Course::NeverFell, Course::Unlearned, Course::FellAtOnce];
    let listed = listed.into_iter().flat_map(of);
    let listed: Vec<Listed> = listed
        .map(|&(course, _, row)| Listed {
            course,
            row,
            source: source(row),
            losses: by_row[row].clone(),
        })
        .collect();
    let findings = findings(&listed, by_row.len());
    let figures = Figures {
        rows: by_row.len(),
        epochs,
        median,
        listed,
        rule: RULE,
    };
    (figures, findings)
}

/// What a row did, and by how much it stands out.
fn courses(losses: &[f32], median: &[f32]) -> [Option<(Course, f64)>; 3] {
    let of = |losses: &[f32]| -> Vec<f64> { losses.iter().map(|loss| f64::from(*loss)).collect() };
    let (losses, median) = (of(losses), of(median));
    if losses.iter().any(|loss| !loss.is_finite()) {
        return [None; 3];
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    let lowest = losses[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let median_left = median[median.len() - 1] / median[0].max(1e-9);
    let left = lowest / first.max(1e-9);
    let never = (left > NEVER && median_left <= MEDIAN_FELL && first > LEAST_LOSS)
        .then_some((Course::NeverFell, lowest));
    let second = losses[1] / first.max(1e-9);
    let median_second = median[1] / median[0].max(1e-9);
    let at_once = (second <= AT_ONCE && second <= median_second / 2.0 && first > LEAST_LOSS)
        .then_some((Course::FellAtOnce, first - losses[1]));
    let rise = last - lowest;
    // Where all rows rise, the run falls apart, and no row is to blame.
    let median_lowest = median[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let median_rose = median[median.len() - 1] / median_lowest.max(1e-9);
    let unlearned = (left <= FELL && last >= ROSE * median_rose * lowest && rise >= ROSE_NATS)
        .then_some((Course::Unlearned, rise));
    [never, at_once, unlearned]
}

fn findings(listed: &[Listed], rows: usize) -> Vec<Finding> {
    let finding = |course, rule, what: &str, change: &str| {
        let of: Vec<&Listed> = listed.iter().filter(|row| row.course == course).collect();
        let examples: Vec<&str> = of.iter().take(3).map(|row| row.source.as_str()).collect();
        (!of.is_empty()).then(|| {
            let dots = if of.len() > 3 { ", …" } else { "" };
            let what = format!(
                "{} of {rows} {what}: {}{dots}",
                of.len(),
                examples.join(", ")
            );
            Finding::new(rule, Weight::Note, what).change(change)
        })
    };
    let never = finding(
        Course::NeverFell,
        "rows-never-fall",
        "rows did not get better while the others did",
        "look at them: wrong, cut or unpredictable replies",
    );
    let unlearned = finding(
        Course::Unlearned,
        "rows-unlearned",
        "rows got better and then worse again",
        "look at them: they may contradict other rows",
    );
    let at_once = finding(
        Course::FellAtOnce,
        "rows-fall-at-once",
        "rows were learned the first time",
        "look at them: short or templated replies, or several rows that are one",
    );
    [never, unlearned, at_once].into_iter().flatten().collect()
}

/// The number in the middle, of those that are known.
fn median(losses: impl Iterator<Item = f32>) -> f32 {
    let mut known: Vec<f32> = losses.filter(|loss| loss.is_finite()).collect();
    known.sort_by(f32::total_cmp);
    known.get(known.len() / 2).copied().unwrap_or(f32::NAN)
}

/// The rows of one kind in a sentence, for a screen.
pub fn summary(figures: &Figures) -> String {
    let count = |course| {
        figures
            .listed
            .iter()
            .filter(|row| row.course == course)
            .count()
    };
    format!(
        "{} over {}: {} never fell, {} fell at once, {} unlearned",
        plural(figures.rows, "training row"),
        plural(figures.epochs, "epoch"),
        count(Course::NeverFell),
        count(Course::FellAtOnce),
        count(Course::Unlearned)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(special: &[&[f32]]) -> Vec<(Course, usize)> {
        let ordinary = (0..9).map(|_| vec![2.0, 1.5, 1.2, 1.0]);
        let rows: Vec<Vec<f32>> = ordinary
            .chain(special.iter().map(|row| row.to_vec()))
            .collect();
        let (figures, _) = judge(&rows, |row| format!("rows.jsonl:{}", row + 1));
        figures
            .listed
            .iter()
            .map(|row| (row.course, row.row))
            .collect()
    }

    #[test]
    fn each_kind_of_row_is_found_and_ordinary_ones_are_not() {
        assert_eq!(listed(&[]), []);
        assert_eq!(listed(&[&[2.0, 1.96, 2.1, 2.2]]), [(Course::NeverFell, 9)]);
        assert_eq!(listed(&[&[2.0, 0.3, 0.2, 0.1]]), [(Course::FellAtOnce, 9)]);
        assert_eq!(listed(&[&[2.0, 1.2, 1.0, 1.6]]), [(Course::Unlearned, 9)]);
        // Known from the start, and lost in a crash.
        assert_eq!(
            listed(&[&[0.01, 0.01, 0.01, 0.01], &[2.0, f32::NAN, 2.0, 2.0]]),
            []
        );
    }

    #[test]
    fn where_no_row_falls_none_stands_out() {
        let rows = vec![vec![2.0, 2.0]; 5];
        assert_eq!(judge(&rows, |_| String::new()).0.listed, []);
    }

    #[test]
    fn where_all_rows_rise_none_is_unlearned() {
        let rows = vec![vec![3.0, 1.0, 1.5]; 5];
        assert_eq!(judge(&rows, |_| String::new()).0.listed, []);
    }

    #[test]
    fn an_epoch_that_is_not_complete_does_not_count() {
        let rows = vec![vec![2.0, 1.0, 0.5], vec![2.0, 1.0]];
        let (figures, _) = judge(&rows, |_| String::new());
        assert_eq!((figures.epochs, figures.median), (2, vec![2.0, 1.0]));
        assert_eq!(judge(&[vec![2.0]], |_| String::new()).0.listed, []);
    }

    #[test]
    fn a_row_is_told_with_where_it_stands() {
        let rows: Vec<Vec<f32>> = (0..9)
            .map(|_| vec![2.0, 1.0])
            .chain([vec![2.0, 2.5]])
            .collect();
        let (figures, findings) = judge(&rows, |row| format!("rows.jsonl:{}", row + 1));
        assert_eq!(
            findings[0].what,
            "1 of 10 rows did not get better while the others did: rows.jsonl:10"
        );
        assert_eq!(
            summary(&figures),
            "10 training rows over 2 epochs: 1 never fell, 0 fell at once, 0 unlearned"
        );
    }
}
