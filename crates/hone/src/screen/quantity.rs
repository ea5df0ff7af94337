//! Numbers as a person reads them.

/// `42 s`, `5 min 2 s`, `3 h 10 min`, and `18 ms` where a tenth of a second would say nothing.
pub fn duration(seconds: f64) -> String {
    if (0.0..0.1).contains(&seconds) {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// `950`, `48.2 k`, `4.88 M`, `1.10 G`.
pub fn count(n: u64) -> String {
    match n as f64 {
        x if x >= 1e9 => format!("{:.2} G", x / 1e9),
        x if x >= 1e6 => format!("{:.2} M", x / 1e6),
        x if x >= 1e4 => format!("{:.1} k", x / 1e3),
        _ => n.to_string(),
    }
}

/// The noun in the number that fits: `1 row`, `2 rows`.
pub fn plural(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_two_units() {
        assert_eq!(duration(0.0184), "18 ms");
        assert_eq!(duration(3.21), "3.2 s");
        assert_eq!(duration(59.6), "1 min 0 s");
        assert_eq!(duration(302.0), "5 min 2 s");
        assert_eq!(duration(11_400.0), "3 h 10 min");
    }

    #[test]
    fn counts_keep_three_digits() {
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(48_213), "48.2 k");
        assert_eq!(count(4_884_480), "4.88 M");
    }
}
