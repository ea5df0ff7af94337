//! What a licence that is declared asks of those who train on the text: one table for all places where one is named.
//!
//! Rows, recipes, dataset cards, headers and prose name licences by SPDX ids, by the Hub's ids (`cc-by-nc-4.0`,
//! `llama3.1`) and by their names ("GNU GPL v3"). All are folded to the same words, versions left aside.

use std::borrow::Cow;
use std::cell::RefCell;

/// What a licence asks, from little to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Terms {
    /// Anybody may use the text, naming the author at most, or passing changed texts on under the same licence.
    Permits,
    /// It may be used under conditions, which somebody has to weigh.
    Asks,
    /// It may not be used without leave of the owner.
    Forbids,
}

/// A licence as it is named, and what it asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The part of what was said that decides.
    pub name: String,
    /// What it asks.
    pub terms: Terms,
    /// Why it asks or forbids, as the end of a sentence; empty where it permits.
    pub because: &'static str,
}

use Terms::{Asks, Forbids, Permits};

const COPYLEFT: &str = "what is made of it has to be under it too";
const NOT_FOR_COMMERCE: &str = "it is not for commercial use";
const UNCHANGED: &str = "changed versions may not be passed on";
const SOME_USES: &str = "it rules out some uses";
const SAYS_NOTHING: &str = "it does not say what is allowed";
const CLOSED: &str = "it may not be used without leave of its owner";

/// Words of a licence's name, as [`fold`] leaves them, and what it asks. Of several that fit, the longest counts.
const TABLE: &[(&str, Terms, &str)] = &[
    ("0 bsd", Permits, ""),
    ("afl", Permits, ""),
    ("academic free", Permits, ""),
    ("apache", Permits, ""),
    ("artistic", Permits, ""),
    ("asl", Permits, ""),
    ("attribution", Permits, ""),
    ("blueoak", Permits, ""),
    ("bsd", Permits, ""),
    ("boost", Permits, ""),
    ("boost software", Permits, ""),
    ("bsl", Permits, ""),
    ("cc 0", Permits, ""),
    ("cc by", Permits, ""),
    ("cc by sa", Permits, ""),
    ("cc pdm", Permits, ""),
    ("cdla permissive", Permits, ""),
    ("cdla sharing", Permits, ""),
    ("dl de by", Permits, ""),
    ("dl de 0", Permits, ""),
    ("ecl", Permits, ""),
    ("eclipse public", Permits, ""),
    ("epl", Permits, ""),
    ("etalab", Permits, ""),
    ("expat", Permits, ""),
    ("isc", Permits, ""),
    ("mit", Permits, ""),
    ("mozilla public", Permits, ""),
    ("mpl", Permits, ""),
    ("ms pl", Permits, ""),
    ("ncsa", Permits, ""),
    ("o uda", Permits, ""),
    ("odbl", Permits, ""),
    ("odc by", Permits, ""),
    ("odc odbl", Permits, ""),
    ("odc pddl", Permits, ""),
    ("ofl", Permits, ""),
    ("ogl uk", Permits, ""),
    ("open database", Permits, ""),
    ("open government", Permits, ""),
    ("openssl", Permits, ""),
    ("pddl", Permits, ""),
    ("pdm", Permits, ""),
    ("postgresql", Permits, ""),
    ("psf", Permits, ""),
    ("public domain", Permits, ""),
    ("python", Permits, ""),
    ("python software foundation", Permits, ""),
    ("sil open font", Permits, ""),
    ("unlicense", Permits, ""),
    ("upl", Permits, ""),
    ("us government work", Permits, ""),
    ("w 3 c", Permits, ""),
    ("wtfpl", Permits, ""),
    ("x 11", Permits, ""),
    ("zlib", Permits, ""),
    ("affero general public", Asks, COPYLEFT),
    ("agpl", Asks, COPYLEFT),
    ("cecill", Asks, COPYLEFT),
    ("eupl", Asks, COPYLEFT),
    ("free documentation", Asks, COPYLEFT),
    ("general public", Asks, COPYLEFT),
    ("gfdl", Asks, COPYLEFT),
    ("gpl", Asks, COPYLEFT),
    ("lesser general public", Asks, COPYLEFT),
    ("lgpl", Asks, COPYLEFT),
    ("osl", Asks, COPYLEFT),
    ("sspl", Asks, COPYLEFT),
    ("cc by nc", Asks, NOT_FOR_COMMERCE),
    ("cc by nc sa", Asks, NOT_FOR_COMMERCE),
    ("cc nc", Asks, NOT_FOR_COMMERCE),
    (
        "cc by nc nd",
        Asks,
        "it is not for commercial use, and changed versions may not be passed on",
    ),
    ("fair noncommercial research", Asks, NOT_FOR_COMMERCE),
    ("fair nc research", Asks, NOT_FOR_COMMERCE),
    ("intel research", Asks, NOT_FOR_COMMERCE),
    ("nc", Asks, NOT_FOR_COMMERCE),
    ("research only", Asks, NOT_FOR_COMMERCE),
    ("polyform", Asks, NOT_FOR_COMMERCE),
    ("cc by nd", Asks, UNCHANGED),
    ("apple amlr", Asks, SOME_USES),
    ("apple ascl", Asks, SOME_USES),
    ("bigcode openrail m", Asks, SOME_USES),
    ("bigscience bloom rail", Asks, SOME_USES),
    ("bigscience openrail m", Asks, SOME_USES),
    ("bsl 1 1", Asks, SOME_USES),
    ("business source", Asks, SOME_USES),
    ("busl", Asks, SOME_USES),
    ("c uda", Asks, SOME_USES),
    ("creativeml openrail m", Asks, SOME_USES),
    ("deepfloyd if", Asks, SOME_USES),
    ("deepseek", Asks, SOME_USES),
    ("elastic", Asks, SOME_USES),
    ("falcon", Asks, SOME_USES),
    ("gemma", Asks, SOME_USES),
    ("jamba", Asks, SOME_USES),
    ("llama", Asks, SOME_USES),
    ("qwen", Asks, SOME_USES),
    ("tongyi qianwen", Asks, SOME_USES),
    ("yi", Asks, SOME_USES),
    ("openmdw", Permits, ""),
    ("openrail", Asks, SOME_USES),
    ("openrail m", Asks, SOME_USES),
    ("openrail +", Asks, SOME_USES),
    ("mrl", Asks, NOT_FOR_COMMERCE),
    ("mnpl", Asks, NOT_FOR_COMMERCE),
    ("cc", Asks, SAYS_NOTHING),
    ("custom", Asks, SAYS_NOTHING),
    ("other", Asks, SAYS_NOTHING),
    ("unknown", Asks, SAYS_NOTHING),
    ("noassertion", Asks, SAYS_NOTHING),
    ("all rights reserved", Forbids, CLOSED),
    ("closed", Forbids, CLOSED),
    ("confidential", Forbids, CLOSED),
    ("no ai", Forbids, CLOSED),
    ("no training", Forbids, CLOSED),
    ("noai", Forbids, CLOSED),
    ("none", Forbids, CLOSED),
    ("proprietary", Forbids, CLOSED),
    ("licenseref proprietary", Forbids, CLOSED),
    // What npm writes of packages that nobody may use; the Unlicense is another thing.
    ("unlicensed", Forbids, CLOSED),
];

/// Words that are not said for nothing, wherever they stand in a name that [`TABLE`] does not have. The first that fits counts.
const ANYWHERE: &[(&str, Terms, &str)] = &[
    ("proprietary", Forbids, CLOSED),
    ("confidential", Forbids, CLOSED),
    ("rights reserved", Forbids, CLOSED),
    ("copyrighted", Forbids, CLOSED),
    ("do not distribute", Forbids, CLOSED),
    ("internal use", Forbids, CLOSED),
    ("closed source", Forbids, CLOSED),
    ("no ai", Forbids, CLOSED),
    ("no training", Forbids, CLOSED),
    ("for training", Asks, SOME_USES),
    ("nc", Asks, NOT_FOR_COMMERCE),
    ("non profit", Asks, NOT_FOR_COMMERCE),
    ("research", Asks, NOT_FOR_COMMERCE),
    ("academic use", Asks, NOT_FOR_COMMERCE),
    ("academic purposes", Asks, NOT_FOR_COMMERCE),
    ("educational", Asks, NOT_FOR_COMMERCE),
    ("personal use", Asks, NOT_FOR_COMMERCE),
    ("polyform", Asks, NOT_FOR_COMMERCE),
    ("nd", Asks, UNCHANGED),
    ("agpl", Asks, COPYLEFT),
    ("lgpl", Asks, COPYLEFT),
    ("gpl", Asks, COPYLEFT),
    ("openrail", Asks, SOME_USES),
    ("rail", Asks, SOME_USES),
    ("llama", Asks, SOME_USES),
    ("gemma", Asks, SOME_USES),
    ("nvidia", Asks, SOME_USES),
    ("terms of use", Asks, SOME_USES),
    ("custom", Asks, SAYS_NOTHING),
];

/// Words that say which version of a licence is meant, or nothing.
const OF_VERSIONS: [&str; 19] = [
    "any",
    "clause",
    "clear",
    "community",
    "deed",
    "igo",
    "international",
    "intl",
    "generic",
    "later",
    "modified",
    "new",
    "only",
    "or",
    "revised",
    "simplified",
    "unported",
    "universal",
    "+",
];

thread_local! {
    /// What was declared last, and what it asks.
    static LAST: RefCell<(String, Option<Named>)> = const { RefCell::new((String::new(), None)) };
}

/// [`of_declaration`] for what a row declares: the rows of a file declare the same, and more than one rule asks.
pub fn of_row(said: &str) -> Option<Named> {
    LAST.with_borrow_mut(|(last, named)| {
        if last != said || last.is_empty() {
            *named = of_declaration(said);
            said.clone_into(last);
        }
        named.clone()
    })
}

/// What a declaration asks: an SPDX expression (SPDX 2.3, annex D), an id, a name, or several with a slash between.
/// `None` if the table does not have it.
pub fn of_declaration(said: &str) -> Option<Named> {
    let words: Vec<&str> = said.split_whitespace().collect();
    let mut tokens = Vec::new();
    for word in words {
        let inner = word.trim_start_matches('(');
        tokens.extend(std::iter::repeat_n("(", word.len() - inner.len()));
        let name = inner.trim_end_matches(')');
        tokens.push(name);
        tokens.extend(std::iter::repeat_n(")", inner.len() - name.len()));
    }
    tokens.retain(|token| !token.is_empty());
    let mut expression = Expression {
        tokens: &tokens,
        at: 0,
    };
    match expression.either() {
        Some(named) if expression.at == tokens.len() => named,
        // An expression that is none is not guessed at.
        _ if tokens.iter().any(|token| OPERATORS.contains(token)) => None,
        _ => of_name(said),
    }
}

/// What a licence asks whose name is the whole text, versions aside.
fn of_name(said: &str) -> Option<Named> {
    let words = fold(said);
    let known = longest(&words).filter(|(row, len)| {
        let is_country = |word: &str| {
            row.0.starts_with("cc") && word.len() == 2 && !["nc", "nd", "sa"].contains(&word)
        };
        let mut rest = words[*len..].iter();
        rest.all(|word| is_of_version(word) || is_country(word))
    });
    let known = known.map(|(row, _)| row);
    let has = |wanted: &str| {
        let wanted: Vec<&str> = wanted.split(' ').collect();
        words.windows(wanted.len()).any(|window| window == wanted)
    };
    // A slash stands between two names, and each is looked up by itself below.
    let beside = || {
        let mut rows = ANYWHERE.iter();
        rows.find(|row| !said.contains('/') && has(row.0))
    };
    if let Some((_, terms, because)) = known.or_else(beside) {
        let name = said.trim().to_owned();
        return Some(Named {
            name,
            terms: *terms,
            because,
        });
    }
    // Cargo's older way to say OR.
    let (first, second) = said.split_once('/')?;
    either(of_name(first), of_name(second))
}

/// The licence that a text begins with, as people name it in a sentence: what it asks, and how many bytes name it.
pub fn at_beginning(text: &str) -> Option<(Named, usize)> {
    // As few bytes as say the same as all do.
    let ends = text
        .char_indices()
        .filter(|(_, c)| !is_of_name(*c))
        .map(|(at, _)| at)
        .chain([text.len()]);
    let words = fold(text);
    let (row, len) = longest(&words)?;
    let versions = words[len..]
        .iter()
        .take_while(|word| is_of_version(word))
        .count();
    let wanted = &words[..len + versions];
    let end = ends
        .into_iter()
        .find(|end| fold(&text[..*end]).starts_with(wanted))?;
    let named = text[..end].trim_end_matches(|c| c == '.' || !is_of_name(c));
    let name = named.trim_start_matches(|c| !is_of_name(c));
    let name = name.strip_prefix("the ").unwrap_or(name).to_owned();
    let end = named.len();
    Some((
        Named {
            name,
            terms: row.1,
            because: row.2,
        },
        end,
    ))
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | '+')
}

/// The row of the table with the most words that these begin with, and how many.
fn longest(
    words: &[Cow<'static, str>],
) -> Option<(&'static (&'static str, Terms, &'static str), usize)> {
    let fits = |row: &&(&str, Terms, &str)| {
        let mut own = row.0.split(' ');
        let mut theirs = words.iter();
        own.all(|word| theirs.next().is_some_and(|other| other == word))
    };
    let len = |row: &(&str, Terms, &str)| row.0.split(' ').count();
    let row = TABLE.iter().filter(fits).max_by_key(|row| len(row))?;
    Some((row, len(row)))
}

fn is_of_version(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit()) || OF_VERSIONS.contains(&word)
}

/// A name's words: in small letters, numbers apart, without what every name has, the long forms of Creative Commons short.
fn fold(said: &str) -> Vec<Cow<'static, str>> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in said.chars() {
        let kind = |c: char| (c.is_alphabetic(), c.is_ascii_digit());
        // `GPLv3`
        if c.is_ascii_digit()
            && before == 'v'
            && let Some(word) = words.last_mut()
            && word.len() > 1
        {
            word.pop();
        }
        if c.is_alphanumeric() {
            match words.last_mut() {
                Some(word) if kind(before) == kind(c) => word.extend(c.to_lowercase()),
                _ => words.push(c.to_lowercase().collect()),
            }
        } else if c == '+' {
            words.push("+".to_owned());
        }
        before = c;
    }
    let mut folded: Vec<Cow<'static, str>> = Vec::new();
    for word in words {
        let short = match (folded.last().map(|word| &**word), word.as_str()) {
            (
                _,
                "the" | "a" | "an" | "gnu" | "license" | "licence" | "licenses" | "version" | "v"
                | "ver",
            ) => continue,
            (Some("creative"), "commons") => {
                folded.pop();
                "cc"
            }
            (Some("non"), "commercial") | (_, "noncommercial") => {
                if folded.last().is_some_and(|word| word == "non") {
                    folded.pop();
                }
                "nc"
            }
            (Some("no"), "derivs" | "derivatives") => {
                folded.pop();
                "nd"
            }
            (_, "noderivs" | "noderivatives") => "nd",
            (Some("share"), "alike") => {
                folded.pop();
                "sa"
            }
            (_, "sharealike") => "sa",
            (Some("cc"), "attribution") => "by",
            (Some("cc"), "zero") => "0",
            _ => {
                folded.push(word.into());
                continue;
            }
        };
        folded.push(short.into());
    }
    folded
}

/// Whoever may choose takes what asks less.
fn either(one: Option<Named>, other: Option<Named>) -> Option<Named> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.terms < one.terms { other } else { one }),
        (Some(one), None) | (None, Some(one)) => (one.terms == Permits).then_some(one),
        (None, None) => None,
    }
}

/// Whoever has to keep both is asked what asks more.
fn both(one: Option<Named>, other: Option<Named>) -> Option<Named> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.terms > one.terms { other } else { one }),
        (Some(one), None) | (None, Some(one)) => (one.terms != Permits).then_some(one),
        (None, None) => None,
    }
}

/// Between the ids of an expression; in capitals.
const OPERATORS: [&str; 3] = ["OR", "AND", "WITH"];

/// An SPDX expression on its way through its tokens; the outer `None` is that it is none.
struct Expression<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl Expression<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.tokens.get(self.at).is_some_and(|token| *token == word);
        self.at += usize::from(is_next);
        is_next
    }

    fn either(&mut self) -> Option<Option<Named>> {
        let mut named = self.both()?;
        while self.takes("OR") {
            named = either(named, self.both()?);
        }
        Some(named)
    }

    fn both(&mut self) -> Option<Option<Named>> {
        let mut named = self.one()?;
        while self.takes("AND") {
            named = both(named, self.one()?);
        }
        Some(named)
    }

    fn one(&mut self) -> Option<Option<Named>> {
        if self.takes("(") {
            let inner = self.either()?;
            return self.takes(")").then_some(inner);
        }
        let id = *self.tokens.get(self.at)?;
        if OPERATORS.contains(&id) || id == ")" {
            return None;
        }
        self.at += 1;
        // An exception only ever allows more.
        if self.takes("WITH") {
            self.at += 1;
        }
        Some(of_name(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(said: &str) -> Option<Terms> {
        of_declaration(said).map(|named| named.terms)
    }

    #[test]
    fn what_rows_declare_in_turn_is_judged_each_by_itself() {
        for said in ["mit", "gpl-3.0", "gpl-3.0", "", "no such licence", "mit"] {
            assert_eq!(of_row(said), of_declaration(said), "{said}");
        }
    }

    #[test]
    fn a_licence_is_known_by_every_spelling_that_people_use() {
        for said in [
            "MIT",
            "mit",
            "MIT License",
            "Apache-2.0",
            "apache 2.0",
            "Apache License, Version 2.0",
            "BSD-3-Clause",
            "bsd",
            "CC0-1.0",
            "cc0",
            "CC BY 4.0",
            "cc-by-sa-3.0",
            "Creative Commons Attribution 4.0 International",
            "Creative Commons Zero v1.0 Universal",
            "ODC-By-1.0",
            "odbl",
            "Unlicense",
            "MPL-2.0",
            "public domain",
            "MIT/Apache-2.0",
            "CC BY 3.0 DE",
            "Attribution 4.0 International",
            "pddl",
            "0BSD",
            "Zlib",
            "cdla-permissive-2.0",
            "BSL-1.0",
        ] {
            assert_eq!(terms(said), Some(Permits), "{said}");
        }
        for said in [
            "GPL-3.0-only",
            "gpl-3.0",
            "GPLv3",
            "GNU GPL v2 or later",
            "GNU General Public License v3.0",
            "AGPL-3.0",
            "lgpl-2.1+",
            "GFDL-1.3",
            "CC-BY-NC-4.0",
            "cc-by-nc-sa-4.0",
            "CC BY-ND 4.0",
            "cc-by-nc-nd-3.0",
            "Creative Commons Attribution-NonCommercial 4.0",
            "Creative Commons Attribution Non Commercial Share Alike",
            "llama3.1",
            "Llama 2 Community License",
            "gemma",
            "openrail++",
            "bigscience-openrail-m",
            "other",
            "unknown",
            "cc",
            "BUSL-1.1",
            "SSPL-1.0",
            "our-own-nc-terms",
            "CC BY-ND 3.0 DE",
            "META LLAMA 3 COMMUNITY LICENSE",
            "for research purposes only",
            "Qwen Research License",
        ] {
            assert_eq!(terms(said), Some(Asks), "{said}");
        }
        for said in [
            "Proprietary",
            "All rights reserved",
            "UNLICENSED",
            "no training",
            "Proprietary - do not distribute",
            "internal use only",
        ] {
            assert_eq!(terms(said), Some(Forbids), "{said}");
        }
        for said in ["", "ours", "MITRE terms", "apache-like", "see README"] {
            assert_eq!(terms(said), None, "{said}");
        }
    }

    #[test]
    fn of_an_expression_the_part_that_decides_is_told() {
        for (said, expected) in [
            ("MIT OR GPL-3.0-only", Some((Permits, "MIT"))),
            ("MIT AND GPL-3.0-only", Some((Asks, "GPL-3.0-only"))),
            (
                "(MIT OR Apache-2.0) AND CC-BY-NC-4.0",
                Some((Asks, "CC-BY-NC-4.0")),
            ),
            (
                "GPL-2.0-only WITH Classpath-exception-2.0",
                Some((Asks, "GPL-2.0-only")),
            ),
            ("LicenseRef-ours OR MIT", Some((Permits, "MIT"))),
            ("LicenseRef-ours AND MIT", None),
            (
                "LicenseRef-ours AND Proprietary",
                Some((Forbids, "Proprietary")),
            ),
            ("MIT OR", None),
        ] {
            let found = of_declaration(said);
            let found = found
                .as_ref()
                .map(|named| (named.terms, named.name.as_str()));
            assert_eq!(found, expected, "{said}");
        }
    }

    #[test]
    fn a_sentence_begins_with_as_much_as_names_the_licence() {
        for (text, name) in [
            ("CC BY-NC 4.0 by its authors", "CC BY-NC 4.0"),
            (
                "the GNU GPL v3 or later, see COPYING",
                "GNU GPL v3 or later",
            ),
            ("AGPL-3.0.", "AGPL-3.0"),
            ("MIT and nothing else", "MIT"),
        ] {
            let (named, end) = at_beginning(text).unwrap();
            assert_eq!(named.name, name, "{text}");
            assert!(text[..end].ends_with(name), "{text}");
        }
        assert_eq!(at_beginning("terms that we set"), None);
    }
}
