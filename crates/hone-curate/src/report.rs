//! The report of a dataset: one HTML page that needs nothing but itself.
//!
//! The template only lays out the numbers of an [`Overview`]; everything goes through its escaping, because rows
//! may contain markup, and it is shown, not run.

use minijinja::value::Serde;
use minijinja::{Environment, context};

use crate::decisions::WHY;
use crate::overview::Overview;
use crate::tally::Bar;

/// The page.
///
/// # Errors
/// What the template engine says; the template is fixed, so this is a mistake of ours.
pub fn render(overview: &Overview) -> Result<String, minijinja::Error> {
    let mut engine = Environment::new();
    // The name ends in .html: that is what turns escaping on.
    engine.add_template("dataset.html", include_str!("dataset.html"))?;
    engine.add_filter("thousands", thousands);
    let charts = context! {
        left => shares(&overview.left),
        lengths => shares(&overview.lengths),
        variety => shares(&overview.variety),
        languages => shares(&overview.languages),
        openers => shares(&overview.openers),
        curve => polyline(&overview.curve),
    };
    engine.get_template("dataset.html")?.render(context! {
        page => Serde(overview), charts, why => WHY, version => env!("CARGO_PKG_VERSION"),
    })
}

/// What a line of a page says, its tags and all.
pub(crate) fn unescaped(line: &str) -> String {
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ];
    let replaced = |text: String, (name, mark): &(&str, &str)| text.replace(name, mark);
    named.iter().fold(line.to_owned(), replaced)
}

/// Each bar with its length in per cent of the longest.
fn shares(bars: &[Bar]) -> Vec<(String, usize, f64)> {
    let longest = bars.iter().map(|bar| bar.count).max().unwrap_or(1).max(1) as f64;
    bars.iter()
        .map(|bar| {
            (
                bar.label.clone(),
                bar.count,
                100.0 * bar.count as f64 / longest,
            )
        })
        .collect()
}

/// Points of the unit square in a drawing of 300 × 100.
fn polyline(curve: &[(f64, f64)]) -> String {
    let point = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", 300.0 * x, 100.0 - 100.0 * y);
    curve.iter().map(point).collect::<Vec<_>>().join(" ")
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).expect("digits"))
        .collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_says_is_shown_and_never_run() {
        let overview = Overview {
            name: "<script>alert(1)</script>".into(),
            openers: vec![Bar {
                label: "<b>Sure".into(),
                count: 3,
            }],
            curve: vec![(0.0, 0.0), (1.0, 1.0)],
            ..Overview::default()
        };
        let html = render(&overview).unwrap();
        assert!(!html.contains("<script") && html.contains("&lt;b&gt;Sure"));
        for reference in ["src=", "href=\"http", "@import", "url("] {
            assert!(!html.contains(reference), "{reference}");
        }
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(
            thousands(1_234_567),
            "1\u{202f}234\u{202f}567".replace('\u{202f}', " ")
        );
        assert_eq!(thousands(12), "12");
    }
}
