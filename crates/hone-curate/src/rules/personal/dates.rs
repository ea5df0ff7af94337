//! Days as people write them: what the rules about births and dates look for.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::check_digits::is_day;
use crate::view::View;

static NUMERIC: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u:\b)(?:[0-9]{1,2}[/.-][0-9]{1,2}[/.-](?:[0-9]{4}|[0-9]{2})|[0-9]{1,2}\. [0-9]{1,2}\. [0-9]{4}|[0-9]{4}[/.-][0-9]{1,2}[/.-][0-9]{1,2})(?:(?-u:\b)|T[0-9])";
    Regex::new(pattern).expect("the pattern is valid")
});

/// `1985年3月12日`, `1985년 3월 12일`.
static EASTERN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?:[12][0-9]{3}|(?:明治|大正|昭和|平成|令和) ?(?:[0-9]{1,2}|元)) ?[年년] ?[0-9]{1,2} ?[月월] ?[0-9]{1,2} ?[日일号號]";
    Regex::new(pattern).expect("the pattern is valid")
});

static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let month = "(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|märz|apr(?:il)?|ma[yi]|june?|juni|july?|juli|aug(?:ust)?|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|gennaio|febbraio|maggio|giugno|luglio|settembre|ottobre|dicembre|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro|januari|februari|maart|mei|augustus|mars|maj|augusti|januar|februar|marts|marz[aeo]|maja|stycznia|lutego|marca|kwietnia|czerwca|lipca|sierpnia|września|października|listopada|grudnia|ledna|února|března|dubna|května|června|července|srpna|září|října|prosince|января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря|січня|лютого|березня|квітня|травня|червня|липня|серпня|вересня|жовтня|листопада|грудня|ocak|şubat|mart|nisan|mayıs|haziran|temmuz|ağustos|eylül|ekim|kasım|aralık|tammikuuta|helmikuuta|maaliskuuta|huhtikuuta|toukokuuta|kesäkuuta|heinäkuuta|elokuuta|syyskuuta|lokakuuta|marraskuuta|joulukuuta|ianuarie|februarie|martie|aprilie|iunie|iulie|septembrie|octombrie|noiembrie|decembrie|január|február|március|április|május|június|július|augusztus|szeptember|október)";
    let day = r"[0-3]?[0-9](?:st|nd|rd|th|er|º|\.)?";
    let year = r"[12][0-9]{3}(?-u:\b)";
    let pattern = format!(
        r"(?i)(?-u:\b)(?:{day}[ -](?:of |de |di )?{month}\.?,?[ -](?:de )?{year}|{year}\.? {month} {day}|{month}\.? {day},? {year})"
    );
    Regex::new(&pattern).expect("the pattern is valid")
});

/// Days of the calendar, in numbers or with the month's name, year included.
pub fn days(text: &View<'_>) -> Vec<Range<usize>> {
    // A day has one digit at least, and a year four.
    if text.num_digits() < 5 && text.num_digits_together() < 4 {
        return Vec::new();
    }
    let numeric = NUMERIC.find_iter(text).filter_map(|found| {
        // The time of day goes on behind a `T`.
        let day = found.as_str().split('T').next().unwrap_or_default();
        let span = found.start()..found.start() + day.len();
        let is_day = is_numeric_day(day) && stands_free(text, span.clone());
        is_day.then_some(span)
    });
    let named = NAMED.find_iter(text).chain(EASTERN.find_iter(text));
    numeric.chain(named.map(|found| found.range())).collect()
}

fn is_numeric_day(text: &str) -> bool {
    let fields: Vec<u32> = text
        .split(['/', '.', '-'])
        .filter_map(|field| field.trim().parse().ok())
        .collect();
    let joints: Vec<char> = text
        .chars()
        .filter(|c| !c.is_ascii_digit() && *c != ' ')
        .collect();
    let [a, b, c] = fields[..] else { return false };
    let year = |year: u32| match year {
        0..100 => 1900 + year,
        _ => year,
    };
    let likely = |year: u32| (1880..=2050).contains(&year);
    joints[0] == joints[1]
        && match a {
            1000.. => likely(a) && is_day(a, b, c),
            _ => likely(year(c)) && (is_day(year(c), b, a) || is_day(year(c), a, b)),
        }
}

/// Is it no part of a longer number, path or version?
fn stands_free(text: &str, span: Range<usize>) -> bool {
    let joins = |c: char| matches!(c, '/' | '-' | '.' | '_');
    let before = text[..span.start].chars().next_back();
    let mut after = text[span.end..].chars();
    let goes_on =
        after.next().is_some_and(joins) && after.next().is_some_and(char::is_alphanumeric);
    !before.is_some_and(joins) && !goes_on
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let view = View::new(hone_data::Place::Text, text);
        days(&view).into_iter().map(|span| &text[span]).collect()
    }

    #[test]
    fn days_are_found_in_the_usual_orders() {
        let text = "2/28/1990 28.2.1990 1990-02-28 28 February 1990, Feb. 28th, 1990; 28 de febrero de 1990";
        assert_eq!(found(text).len(), 6, "{:?}", found(text));
    }

    #[test]
    fn versions_paths_and_days_that_do_not_exist_are_none() {
        let text = "1.2.3 31/31/1990 2023-02-29 1990-02-28-rc1 2/1990 a/2/28/1990 12-31 10.20.30.40 1.12.2150";
        assert_eq!(found(text), Vec::<&str>::new());
    }
}
