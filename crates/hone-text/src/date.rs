//! The day that a template may print, in the forms of `strftime`.

use minijinja::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// A calendar day, for templates that print one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date {
    /// Year, for example 2026.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

/// A text that names no day.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{written:?} is no date; write year, month and day, as 2026-11-30")]
pub struct NoDate {
    /// What was written.
    pub written: String,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl TryFrom<String> for Date {
    type Error = NoDate;

    fn try_from(written: String) -> Result<Self, NoDate> {
        written.parse()
    }
}

impl std::str::FromStr for Date {
    type Err = NoDate;

    /// Reads `2026-11-30`.
    fn from_str(written: &str) -> Result<Self, NoDate> {
        let no_date = || NoDate {
            written: written.to_owned(),
        };
        let is_form = written.len() == 10
            && written.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !is_form {
            return Err(no_date());
        }
        let number =
            |range: std::ops::Range<usize>| written[range].parse::<u16>().map_err(|_| no_date());
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let date = Self {
            year: i32::from(year),
            month: month as u8,
            day: day as u8,
        };
        let exists =
            year > 0 && (1..=12).contains(&month) && (1..=date.days_of_month()).contains(&date.day);
        exists.then_some(date).ok_or_else(no_date)
    }
}

impl Date {
    /// The day that templates which may print one print unless told otherwise: the one Llama 3's
    /// template falls back to by itself.
    pub const DEFAULT: Self = Self {
        year: 2024,
        month: 7,
        day: 26,
    };

    /// The day that many days after the first of January 1970, as in UTC.
    pub fn from_days(days: i64) -> Self {
        // Howard Hinnant's civil_from_days: years begin in March, eras have 400 of them.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Self {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as i32,
            month: month as u8,
            day: day as u8,
        }
    }

    /// What Python's `strftime` gives for the first moment of the day, in the C locale. Codes that need a zone or a
    /// clock beyond that are refused.
    pub(crate) fn format(self, format: &str) -> Result<String, Error> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut written = String::from("%");
            let (mut pad, mut upper) = (None, false);
            let code = loop {
                let next = chars.next();
                written.extend(next);
                match next {
                    Some(flag @ ('-' | '_' | '0')) => pad = Some(flag),
                    Some('^') => upper = true,
                    other => break other,
                }
            };
            let number = |value: i32, width: usize, fill: char| match pad.unwrap_or(fill) {
                '-' => value.to_string(),
                '_' => format!("{value:width$}"),
                '0' => format!("{value:0width$}"),
                _ => format!("{value:width$}"),
            };
            let text = match code {
                Some('%') => "%".into(),
                Some('n') => "\n".into(),
                Some('t') => "\t".into(),
                Some('Y') => number(self.year, if pad.is_some() { 4 } else { 1 }, '0'),
                Some('C') => number(self.year / 100, if pad.is_some() { 2 } else { 1 }, '0'),
                Some('y') => number(self.year % 100, 2, '0'),
                Some('m') => number(self.month.into(), 2, '0'),
                Some('d') => number(self.day.into(), 2, '0'),
                Some('e') => number(self.day.into(), 2, '_'),
                Some('j') => number(self.day_of_year(), 3, '0'),
                Some('B') => self.month_name().into(),
                Some('b' | 'h') => self.month_name()[..3].into(),
                Some('A') => self.day_name().into(),
                Some('a') => self.day_name()[..3].into(),
                Some('w') => self.weekday().to_string(),
                Some('u') => (if self.weekday() == 0 {
                    7
                } else {
                    self.weekday()
                })
                .to_string(),
                Some('U') => number((self.day_of_year() + 6 - self.weekday()) / 7, 2, '0'),
                Some('W') => number(
                    (self.day_of_year() + 6 - (self.weekday() + 6) % 7) / 7,
                    2,
                    '0',
                ),
                Some('G') => number(self.iso_week().0, if pad.is_some() { 4 } else { 1 }, '0'),
                Some('g') => number(self.iso_week().0 % 100, 2, '0'),
                Some('V') => number(self.iso_week().1, 2, '0'),
                Some('H' | 'M' | 'S') => number(0, 2, '0'),
                Some('k') => number(0, 2, '_'),
                Some('I') => number(12, 2, '0'),
                Some('l') => number(12, 2, '_'),
                Some('f') => "000000".into(),
                Some('p') => "AM".into(),
                Some('P') => "am".into(),
                Some('z' | 'Z') => String::new(),
                Some('D' | 'x') => self.format("%m/%d/%y")?,
                Some('F') => self.format("%Y-%m-%d")?,
                Some('T' | 'X') => "00:00:00".into(),
                Some('R') => "00:00".into(),
                Some('r') => "12:00:00 AM".into(),
                Some('c') => self.format("%a %b %e 00:00:00 %Y")?,
                _ => {
                    let what = format!("strftime_now does not know `{written}`");
                    return Err(Error::new(ErrorKind::InvalidOperation, what));
                }
            };
            out += &if upper { text.to_uppercase() } else { text };
        }
        Ok(out)
    }

    fn month_name(self) -> &'static str {
        MONTHS[usize::from(self.month.clamp(1, 12)) - 1]
    }

    fn day_name(self) -> &'static str {
        DAYS[self.weekday() as usize]
    }

    /// From Sunday, 0; Sakamoto's method.
    fn weekday(self) -> i32 {
        const SHIFT: [i32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = self.year - i32::from(self.month < 3);
        let shift = SHIFT[usize::from(self.month.clamp(1, 12)) - 1];
        (year + year / 4 - year / 100 + year / 400 + shift + i32::from(self.day)).rem_euclid(7)
    }

    fn is_leap(year: i32) -> bool {
        (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
    }

    fn days_of_month(self) -> u8 {
        match self.month {
            2 => 28 + u8::from(Self::is_leap(self.year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// From 1.
    fn day_of_year(self) -> i32 {
        let before = (1..self.month).map(|month| i32::from(Self { month, ..self }.days_of_month()));
        before.sum::<i32>() + i32::from(self.day)
    }

    /// Year and number of the week by ISO 8601: weeks begin on Monday, and the first has the year's first Thursday.
    fn iso_week(self) -> (i32, i32) {
        let from_monday = (self.weekday() + 6) % 7;
        let week = (self.day_of_year() - 1 - from_monday + 10) / 7;
        let weeks = |year: i32| {
            let last = |year: i32| (year + year / 4 - year / 100 + year / 400).rem_euclid(7);
            52 + i32::from(last(year) == 4 || last(year - 1) == 3)
        };
        match week {
            0 => (self.year - 1, weeks(self.year - 1)),
            53 if weeks(self.year) < 53 => (self.year + 1, 1),
            week => (self.year, week),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_exist_are_read() {
        let leap: Date = "2024-02-29".parse().unwrap();
        assert_eq!((leap.year, leap.month, leap.day), (2024, 2, 29));
        assert_eq!(leap.to_string(), "2024-02-29");
        for written in [
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "24-1-1",
            "2024-1-01",
            "today",
            "2024-02-3é",
            "+024-02-03",
        ] {
            let error = written.parse::<Date>().unwrap_err();
            assert!(error.to_string().contains("as 2026-11-30"), "{error}");
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        for (days, date) in [
            (0, "1970-01-01"),
            (19_782, "2024-02-29"),
            (20_787, "2026-11-30"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(Date::from_days(days).to_string(), date);
        }
    }

    #[test]
    fn codes_of_a_clock_or_of_nobody_are_refused_by_name() {
        for format in ["%s", "%Q", "%", "%-", "%Ey"] {
            let error = Date::DEFAULT.format(format).unwrap_err();
            assert!(
                error.to_string().contains(&format!("`{format}")[..2]),
                "{error}"
            );
        }
    }
}
