//! Licences by the sentences that only they have.
//!
//! Headers are wrapped at any column and framed by comment marks, so between two words of a sentence
//! stands white space with any of `* / # ; > -`. One set of all sentences tells in a single pass that a
//! text has none, which is nearly always.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

/// What a licence asks of those who build on the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Naming the author at most; or the same licence for changed texts only.
    Permissive,
    /// Copyleft, no commercial use, or no changes: somebody has to decide.
    Restrictive,
}

/// A licence found in a text.
#[derive(Debug)]
pub struct Found {
    /// Its SPDX id.
    pub spdx: String,
    /// Where its sentence stands.
    pub span: Range<usize>,
}

use Kind::{Permissive, Restrictive};

/// SPDX id, kind, sentence. Of several that match, the first is told, so the longer names stand first.
/// A sentence with `{version}` has its number in the id, where `{version}` stands too.
const SENTENCES: &[(&str, Kind, &str)] = &[
    (
        "AGPL-{version}",
        Restrictive,
        "under the terms of the GNU Affero General Public License",
    ),
    (
        "AGPL-{version}",
        Restrictive,
        "GNU AFFERO GENERAL PUBLIC LICENSE Version {version}",
    ),
    (
        "LGPL-{version}",
        Restrictive,
        "under the terms of the GNU Lesser General Public License",
    ),
    (
        "LGPL-{version}",
        Restrictive,
        "under the terms of the GNU Library General Public License",
    ),
    (
        "LGPL-{version}",
        Restrictive,
        "GNU LESSER GENERAL PUBLIC LICENSE Version {version}",
    ),
    (
        "GPL-{version}",
        Restrictive,
        "under the terms of the GNU General Public License",
    ),
    (
        "GPL-{version}",
        Restrictive,
        "GNU GENERAL PUBLIC LICENSE Version {version}",
    ),
    (
        "GFDL-{version}",
        Restrictive,
        "under the terms of the GNU Free Documentation License",
    ),
    (
        "CC-BY-NC-ND-{version}",
        Restrictive,
        "Creative Commons Attribution-NonCommercial-NoDeriv(?:ative)?s",
    ),
    (
        "CC-BY-NC-SA-{version}",
        Restrictive,
        "Creative Commons Attribution-NonCommercial-ShareAlike",
    ),
    (
        "CC-BY-NC-{version}",
        Restrictive,
        "Creative Commons Attribution-NonCommercial",
    ),
    (
        "CC-BY-ND-{version}",
        Restrictive,
        "Creative Commons Attribution-NoDeriv(?:ative)?s",
    ),
    (
        "CC-BY-NC-ND-{version}",
        Restrictive,
        "creativecommons.org/licenses/by-nc-nd/{version}",
    ),
    (
        "CC-BY-NC-SA-{version}",
        Restrictive,
        "creativecommons.org/licenses/by-nc-sa/{version}",
    ),
    (
        "CC-BY-NC-{version}",
        Restrictive,
        "creativecommons.org/licenses/by-nc/{version}",
    ),
    (
        "CC-BY-ND-{version}",
        Restrictive,
        "creativecommons.org/licenses/by-nd/{version}",
    ),
    (
        "CC-BY-SA-{version}",
        Permissive,
        "Creative Commons Attribution-ShareAlike",
    ),
    (
        "CC-BY-SA-{version}",
        Permissive,
        "creativecommons.org/licenses/by-sa/{version}",
    ),
    (
        "CC-BY-{version}",
        Permissive,
        "Creative Commons Attribution {version}",
    ),
    (
        "CC-BY-{version}",
        Permissive,
        "creativecommons.org/licenses/by/{version}",
    ),
    ("CC0-1.0", Permissive, "CC0 1.0 Universal"),
    (
        "CC0-1.0",
        Permissive,
        "creativecommons.org/publicdomain/zero/1.0",
    ),
    (
        "MPL-2.0",
        Permissive,
        "subject to the terms of the Mozilla Public License",
    ),
    ("MPL-2.0", Permissive, "Mozilla Public License Version 2.0"),
    ("EPL-2.0", Permissive, "Eclipse Public License -? ?v ?2.0"),
    (
        "Apache-2.0",
        Permissive,
        "Licensed under the Apache License,? Version 2.0",
    ),
    (
        "Apache-2.0",
        Permissive,
        "Apache License Version 2.0, January 2004",
    ),
    (
        "MIT",
        Permissive,
        "Permission is hereby granted, free of charge, to any person obtaining a copy",
    ),
    (
        "BSD",
        Permissive,
        "Redistribution and use in source and binary forms, with or without modification",
    ),
    (
        "ISC",
        Permissive,
        "Permission to use, copy, modify, and(?:/or)? distribute this software for any purpose with or without fee",
    ),
    (
        "Zlib",
        Permissive,
        "This software is provided 'as-is', without any express or implied warranty",
    ),
    (
        "BSL-1.0",
        Permissive,
        "Boost Software License - Version 1.0",
    ),
    (
        "Unlicense",
        Permissive,
        "free and unencumbered software released into the public domain",
    ),
];

static SET: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(SENTENCES.iter().map(pattern)).expect("fixed patterns"));
static EACH: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let compiled = SENTENCES
        .iter()
        .map(|sentence| Regex::new(&pattern(sentence)));
    compiled.collect::<Result<_, _>>().expect("fixed patterns")
});
static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\A[^0-9]{0,120}?\b(?:version|v)?[\s*/#;>.-]*([1-4](?:\.[0-9])?)\b")
        .expect("a fixed pattern")
});
static OR_LATER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)any[\s*/#;>-]+later[\s*/#;>-]+version").expect("a fixed pattern")
});

/// The licences of a kind in a text, each once.
pub fn find(text: &str, kind: Kind) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    if !may_hold_one(text) {
        return found;
    }
    for index in SET.matches(text) {
        let (name, its_kind, _) = SENTENCES[index];
        let Some(captures) = EACH[index].captures(text).filter(|_| its_kind == kind) else {
            continue;
        };
        let span = captures.get(0).expect("the match itself").range();
        let version = captures.name("version").map(|version| version.as_str());
        let spdx = id(name, version, &text[span.end..], text);
        let overlaps = |other: &Found| {
            other.spdx == spdx || other.span.start < span.end && span.start < other.span.end
        };
        if !found.iter().any(overlaps) {
            found.push(Found { spdx, span });
        }
    }
    found.sort_by_key(|found| found.span.start);
    found
}

/// Words of which each sentence and each declaration has at least one: a pass over the bytes instead of one over the set.
pub fn may_hold_one(text: &str) -> bool {
    static WORDS: LazyLock<aho_corasick::AhoCorasick> = LazyLock::new(|| {
        let words = [
            "licens",
            "licence",
            "released under",
            "distributed under",
            "it under",
            "subject to",
            "published under",
            "shared under",
            "made available under",
            "creative",
            "cc0",
            "redistribution",
            "permission",
            "provided 'as",
            "unencumbered",
        ];
        aho_corasick::AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .expect("a short list of words")
    });
    WORDS.is_match(text)
}

fn pattern((_, _, sentence): &(&str, Kind, &str)) -> String {
    let words = sentence
        .replace(". ", r"\. ")
        .replace("s.org", r"s\.org")
        .replace("2.0", r"2\.0")
        .replace("1.0", r"1\.0")
        .replace(' ', r"[\s*/#;>-]+")
        .replace("{version}", r"(?P<version>[1-4](?:\.[0-9])?)");
    format!("(?i){words}")
}

/// The SPDX id, with the version that the sentence has or that follows it.
fn id(name: &str, version: Option<&str>, after: &str, text: &str) -> String {
    if name == "BSD" {
        let clauses = if text.contains("either the name") {
            3
        } else {
            2
        };
        return format!("BSD-{clauses}-Clause");
    }
    let Some(family) = name.strip_suffix("-{version}") else {
        return name.to_owned();
    };
    let follows = || Some(VERSION.captures(after)?.get(1)?.as_str());
    let Some(version) = version.or_else(follows) else {
        return family.to_owned();
    };
    let dot_zero = if version.contains('.') { "" } else { ".0" };
    let later = match (family.ends_with("GPL"), OR_LATER.is_match(text)) {
        (true, true) => "-or-later",
        (true, false) => "-only",
        _ => "",
    };
    format!("{family}-{version}{dot_zero}{later}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str, kind: Kind) -> Vec<String> {
        find(text, kind)
            .into_iter()
            .map(|found| found.spdx)
            .collect()
    }

    #[test]
    fn every_sentence_finds_itself_behind_the_quick_look() {
        for (index, (name, kind, sentence)) in SENTENCES.iter().enumerate() {
            let text = sentence
                .replace("(?:ative)?", "")
                .replace("(?:/or)?", "")
                .replace("{version}", "3")
                .replace('?', "");
            assert!(EACH[index].is_match(&text), "{text}");
            let family = name.trim_end_matches("-{version}");
            assert!(
                ids(&text, *kind).iter().any(|id| id.starts_with(family)),
                "{text}: {:?}",
                find(&text, *kind)
            );
        }
    }

    #[test]
    fn a_wrapped_and_framed_header_is_read_with_its_version() {
        let header = " * it under the terms of the GNU General Public\n * License as published by the Free Software Foundation; either version 3 of\n * the License, or (at your option) any later\n * version.";
        assert_eq!(ids(header, Restrictive), ["GPL-3.0-or-later"]);
        assert_eq!(ids(header, Permissive), [""; 0]);
    }
}
