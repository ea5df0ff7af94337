//! An interval for a share, such as a win rate (Wilson 1927): it stays between 0 and 1, and is not empty where all or none
//! of the rows succeeded.

use super::{Interval, normal};

/// Wilson's interval for `successes` of `rows`; `None` without rows.
pub fn wilson(successes: u64, rows: u64, level: f64) -> Option<Interval> {
    if rows == 0 {
        return None;
    }
    let (n, share) = (rows as f64, successes as f64 / rows as f64);
    let z = normal::quantile(0.5 + level / 2.0);
    let scale = 1.0 + z * z / n;
    let middle = (share + z * z / (2.0 * n)) / scale;
    let half = z / scale * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // At the very ends the formula gives 0 and 1 but for rounding.
    let low = if successes == 0 { 0.0 } else { middle - half };
    let high = if successes >= rows {
        1.0
    } else {
        middle + half
    };
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_interval_of_the_textbooks() {
        for (successes, rows, low, high) in [
            (0, 10, 0.0, 0.277_532_799_0),
            (10, 10, 0.722_467_200_9, 1.0),
            (25, 50, 0.366_445_143_2, 0.633_554_856_8),
            (1, 1, 0.206_549_314_4, 1.0),
            (3, 40, 0.025_836_025_8, 0.198_642_335_2),
        ] {
            let (ours_low, ours_high) = wilson(successes, rows, 0.95).unwrap();
            assert!(
                (ours_low - low).abs() < 1e-8,
                "{successes} {rows} {ours_low}"
            );
            assert!(
                (ours_high - high).abs() < 1e-8,
                "{successes} {rows} {ours_high}"
            );
        }
        assert_eq!(wilson(0, 0, 0.95), None);
    }

    #[test]
    fn it_holds_the_true_share_in_about_95_of_100_cases() {
        // Not simulated: the chance of each number of wins, added up where the interval holds the truth.
        let covered = |truth: f64, rows: u64| {
            let mut chance = (1.0 - truth).powi(rows as i32);
            let mut covered = 0.0;
            for wins in 0..=rows {
                let (low, high) = wilson(wins, rows, 0.95).unwrap();
                covered += f64::from((low..=high).contains(&truth)) * chance;
                chance *= (rows - wins) as f64 / (wins + 1) as f64 * truth / (1.0 - truth);
            }
            covered
        };
        let shares: Vec<f64> = (1..100)
            .map(|at| covered(f64::from(at) / 100.0, 100))
            .collect();
        let mean = shares.iter().sum::<f64>() / 99.0;
        assert!((0.945..=0.96).contains(&mean), "{mean}");
        assert!(shares.iter().all(|share| *share > 0.91), "{shares:?}");
    }
}
