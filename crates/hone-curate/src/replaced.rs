//! Values that were replaced, and stand nowhere any more.
//!
//! A rule finds a telephone number where words beside it tell what it is. The same number in another row, or in the
//! name of a file that the findings quote, is found by nobody; so what was replaced once is looked for in all rows,
//! and, when everything is written, in every file. Only what is one person's by itself counts, a full name too: a day, a
//! town or a first name in another row is another thing.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use hone_data::Record;
use serde_json::Value;

use crate::Doc;
use crate::redact::{Replacement, StandIn, replace};

/// Values that were replaced, each with what stands in for it and the rule that found it.
#[derive(Debug, Default)]
pub struct Replaced {
    values: BTreeMap<String, (StandIn, &'static Doc)>,
}

/// Values that one automaton looks for: more of them take more memory than they save time.
const AT_ONCE: usize = 100_000;

/// Letters and digits of a value that stands by chance nowhere else.
const LEAST: usize = 8;

/// Is this one person's, wherever it stands? A full name is, and a street with the number of a house; a first name, a town, a
/// day or an age in another row is another one's.
pub(crate) fn is_telling(label: &str, value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    match label {
        "AGE" | "BIRTH_DATE" | "DATE" | "ORGANISATION" | "POSTAL_CODE" => false,
        "PERSON" => digits == 0 && letters >= LEAST && words(value) > 1,
        "PLACE" => digits > 0 && letters + digits >= LEAST && words(value) > 0,
        _ => {
            let is_long = digits > 8 || digits > 1 && letters > 0 && digits + letters >= LEAST;
            value.contains('@') || is_long
        }
    }
}

/// Words of more than an initial.
fn words(value: &str) -> usize {
    let letters = |word: &str| word.chars().filter(|c| c.is_alphabetic()).count();
    let words = value.split(|c: char| !c.is_alphabetic());
    words.filter(|word| letters(word) > 2).count()
}

impl Replaced {
    /// Adds a value; one that is there stays what it is.
    pub(crate) fn add(&mut self, value: String, by: StandIn, doc: &'static Doc) {
        self.values.entry(value).or_insert((by, doc));
    }

    /// Were there none?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Something to look for them with.
    pub fn index(&self) -> Index<'_> {
        let values: Vec<&str> = self.values.keys().map(String::as_str).collect();
        let automaton = |values: &[&str]| {
            let written = values.iter().flat_map(|value| spellings(value));
            AhoCorasick::builder()
                .match_kind(MatchKind::Standard)
                .build(written)
                .expect("so many patterns have room")
        };
        Index {
            replaced: self,
            written: values.chunks(AT_ONCE).map(automaton).collect(),
        }
    }
}

/// A value as it is written in JSON and in a page.
fn spellings(value: &str) -> Vec<String> {
    let json = Value::from(value).to_string();
    let page = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#x27;")
        .replace('/', "&#x2f;");
    let mut spellings = vec![value.to_owned(), json[1..json.len() - 1].to_owned(), page];
    spellings.dedup();
    spellings
}

/// Looks for values that were replaced.
pub struct Index<'a> {
    replaced: &'a Replaced,
    /// By the values as they may be written.
    written: Vec<AhoCorasick>,
}

impl Index<'_> {
    /// May one stand in this text, which may be JSON or a page?
    pub fn may_be_in(&self, text: &str) -> bool {
        self.written
            .iter()
            .any(|automaton| automaton.is_match(text))
    }

    /// The rule that found a value which stands in this text, and not as a part of a longer word or number.
    pub fn rule_of(&self, text: &str) -> Option<&'static Doc> {
        self.found(text).first().map(|found| found.doc)
    }

    /// The same for all texts, keys and numbers of a line of JSON.
    pub fn rule_of_json(&self, value: &Value) -> Option<&'static Doc> {
        match value {
            Value::String(text) => self.rule_of(text),
            Value::Number(number) => self.rule_of(&number.to_string()),
            Value::Array(items) => items.iter().find_map(|item| self.rule_of_json(item)),
            Value::Object(fields) => fields.iter().find_map(|(key, field)| {
                let of_key = self.rule_of(key);
                of_key.or_else(|| self.rule_of_json(field))
            }),
            _ => None,
        }
    }

    /// The row without values that were replaced in other rows, and the rules that found them; `None` if it has none.
    pub fn without(&self, record: &Record) -> Option<(Record, Vec<&'static Doc>)> {
        let (mut changed, mut rules) = (record.clone(), Vec::new());
        changed.rewrite(&mut |text, is_number| {
            let found = self.found(text);
            if let Some(found) = found
                .iter()
                .find(|found| is_number && found.span.len() == text.len())
            {
                rules.push(found.doc);
                return Some(found.by.number.clone());
            }
            rules.extend(found.iter().map(|found| found.doc));
            let replacements = found.iter().map(|found| Replacement {
                span: found.span.clone(),
                by: found.by.clone(),
                score: 1.0,
            });
            (!found.is_empty()).then(|| replace(text, replacements.collect()))
        });
        (!rules.is_empty()).then_some((changed, rules))
    }

    /// The values that stand in a text.
    fn found(&self, text: &str) -> Vec<Found<'_>> {
        let seen = |automaton: &AhoCorasick| -> Vec<Found<'_>> {
            let seen = automaton.find_overlapping_iter(text).filter_map(|seen| {
                let (by, doc) = self.replaced.values.get(&text[seen.range()])?;
                Some(Found {
                    span: seen.range(),
                    by,
                    doc,
                })
            });
            seen.filter(|found| is_whole(text, found.span.start, found.span.end))
                .collect()
        };
        self.written.iter().flat_map(seen).collect()
    }
}

/// A value that stands in a text.
struct Found<'a> {
    span: Range<usize>,
    by: &'a StandIn,
    doc: &'static Doc,
}

/// Is this no part of a longer word or number?
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let joined = |before: Option<char>, after: Option<char>| {
        let both = |kind: fn(&char) -> bool| {
            before.as_ref().is_some_and(kind) && after.as_ref().is_some_and(kind)
        };
        both(char::is_ascii_digit)
            || both(|c| c.is_alphanumeric() && !crate::text::has_no_spaces(*c))
    };
    let mut before = text[..start].chars();
    let mut after = text[end..].chars();
    let mut inside = text[start..end].chars();
    let (first, last) = (inside.next(), inside.next_back());
    !joined(before.next_back(), first) && !joined(last, after.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    fn replaced(values: &[&str]) -> Replaced {
        let doc = rules::named("email").expect("it is there").doc;
        let mut replaced = Replaced::default();
        for value in values {
            replaced.add((*value).to_owned(), StandIn::placeholder("EMAIL"), doc);
        }
        replaced
    }

    #[test]
    fn a_value_is_found_in_text_json_and_pages_and_not_within_a_longer_one() {
        let replaced = replaced(&["bo@kranich-it.ch", "a&b\"1@x.org", "0792345678"]);
        let index = replaced.index();
        for text in [
            "to bo@kranich-it.ch.",
            "联系bo@kranich-it.ch吧",
            "(0792345678)",
        ] {
            assert!(
                index.may_be_in(text) && index.rule_of(text).is_some(),
                "{text}"
            );
        }
        for text in ["jambo@kranich-it.ch", "10792345678", "nobody"] {
            assert!(index.rule_of(text).is_none(), "{text}");
        }
        let line = serde_json::json!({ "a&b\"1@x.org": [792345678] });
        assert!(index.may_be_in(&line.to_string()));
        assert!(index.rule_of_json(&line).is_some());
        assert!(index.may_be_in("<p>a&amp;b&quot;1@x.org</p>"));
    }

    #[test]
    fn a_row_loses_every_value_of_other_rows() {
        let replaced = replaced(&["bo@kranich-it.ch", "0792345678", "555123456789"]);
        let record = Record::from_json(
            r#"{"text": "0792345678, bo@kranich-it.ch and bo@kranich-it.ch; 10792345678"}"#,
        );
        let (changed, rules) = replaced.index().without(&record.unwrap()).unwrap();
        assert_eq!(
            changed.parts().next().unwrap().text,
            "<EMAIL>, <EMAIL> and <EMAIL>; 10792345678"
        );
        assert_eq!(rules.len(), 3);
        let other = Record::from_json(r#"{"text": "nobody"}"#).unwrap();
        assert!(replaced.index().without(&other).is_none());
    }

    #[test]
    fn what_many_rows_may_have_is_no_one_s() {
        for (label, value) in [
            ("BIRTH_DATE", "12.03.1985"),
            ("PERSON", "Henrietta"),
            ("PERSON", "J. Hill"),
            ("PERSON", "Mark 2nd of Hillside"),
            ("PLACE", "New York City"),
            ("PLACE", "Via 5"),
            ("AGE", "34 years old"),
            ("IP_ADDRESS", "8.8.8.8"),
        ] {
            assert!(!is_telling(label, value), "{value}");
        }
        for (label, value) in [
            ("EMAIL", "bo@x-it.ch"),
            ("PHONE", "079 234 56 78"),
            ("SECRET", "ghp_16C7e42F"),
            ("MAC_ADDRESS", "a4:5e:60:c2:11:9c"),
            ("PERSON", "Jörg Hinterhuber"),
            ("PLACE", "Lindenstraße 14b"),
            ("PLACE", "221 Baker Street"),
        ] {
            assert!(is_telling(label, value), "{value}");
        }
    }
}
