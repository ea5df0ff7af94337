//! Taking turns, and what is said of the times.

use std::time::Instant;

use serde_json::{Value, json};

/// One thing that was timed.
pub struct Figure {
    /// What.
    pub name: String,
    /// Each time it took, sorted.
    pub seconds: Vec<f64>,
    /// Useful floating-point operations in it; 0 where memory is the bound.
    pub flops: f64,
    /// Tokens in it, or 0.
    pub tokens: usize,
    /// Greatest memory for activations and adapter, or 0.
    pub peak_bytes: usize,
}

impl Figure {
    /// Sorts the times.
    pub fn new(name: impl Into<String>, mut seconds: Vec<f64>, flops: f64) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self {
            name: name.into(),
            seconds,
            flops,
            tokens: 0,
            peak_bytes: 0,
        }
    }

    /// The shortest time.
    pub fn min(&self) -> f64 {
        self.seconds[0]
    }

    /// The middle time.
    pub fn median(&self) -> f64 {
        self.seconds[self.seconds.len() / 2]
    }

    /// As a row for machines.
    pub fn to_json(&self, roofline: f64) -> Value {
        json!({
            "name": self.name,
            "min_seconds": self.min(),
            "median_seconds": self.median(),
            "flops": self.flops,
            "roofline_share": self.flops / self.min() / roofline,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens as f64 / self.min(),
            "tokens_per_second_median": self.tokens as f64 / self.median(),
            "peak_bytes": self.peak_bytes,
        })
    }
}

/// Times the contestants in turns, after one round that is not counted.
pub fn in_turns(repeats: usize, contestants: &mut [&mut dyn FnMut()]) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); contestants.len()];
    for round in 0..=repeats.max(1) {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let started = Instant::now();
            contestant();
            if round > 0 {
                times.push(started.elapsed().as_secs_f64());
            }
        }
    }
    times
}

/// For people, on stderr.
pub fn print_table(figures: &[Figure], roofline: f64) {
    let width = figures
        .iter()
        .map(|f| f.name.chars().count())
        .max()
        .unwrap_or(0);
    eprintln!(
        "{:width$}  {:>10}  {:>10}  {:>8}  {:>6}  {:>9}  {:>8}",
        "", "min ms", "median ms", "GFLOP/s", "roof", "tokens/s", "peak MB"
    );
    let or_dash = |x: f64, text: String| if x > 0.0 { text } else { "-".into() };
    for f in figures {
        let rate = f.flops / f.min();
        let tokens = f.tokens as f64 / f.min();
        eprintln!(
            "{:width$}  {:>10.3}  {:>10.3}  {:>8}  {:>6}  {:>9}  {:>8}",
            f.name,
            f.min() * 1e3,
            f.median() * 1e3,
            or_dash(rate, format!("{:.1}", rate / 1e9)),
            or_dash(rate, format!("{:.0} %", 100.0 * rate / roofline)),
            or_dash(tokens, format!("{tokens:.1}")),
            or_dash(
                f.peak_bytes as f64,
                format!("{:.0}", f.peak_bytes as f64 / 1e6)
            ),
        );
    }
}
