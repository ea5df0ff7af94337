//! Words, words in capitals, and sentences, as IFEval counts them.
//!
//! Words in capitals are those of NLTK's word tokenizer: what it splits changes how many there are (`DON'T` is two).
//! Sentences are counted by rules that agree with NLTK's Punkt on ordinary prose and lists; Punkt's tables, from which it
//! knows 156 abbreviations and how 20,000 words are written, are not ours to carry.

use crate::metric::exact::is_space;

/// Runs of letters, digits and underscores.
pub fn words(text: &str) -> usize {
    let mut within = false;
    let begins = |c: char| {
        let before = std::mem::replace(&mut within, is_word(c));
        within && !before
    };
    text.chars().map(begins).filter(|begins| *begins).count()
}

/// Python's `\w`: no marks, other than in Rust's patterns.
fn is_word(c: char) -> bool {
    c == '_' || c.is_numeric() || (c.is_alphabetic() && !is_mark(c))
}

/// Vowel signs of scripts such as Devanagari are alphabetic and no letters.
fn is_mark(c: char) -> bool {
    use std::sync::LazyLock;
    static MARK: LazyLock<regex::Regex> =
        LazyLock::new(|| regex::Regex::new(r"^\p{M}").expect("a pattern of our own"));
    !c.is_ascii() && MARK.is_match(c.encode_utf8(&mut [0; 4]))
}

/// Whether there is a letter with case, and all that have one are capitals.
pub fn is_upper(text: &str) -> bool {
    let capital = |c: char| c.is_uppercase();
    text.chars().any(capital) && !text.chars().any(|c| c.is_lowercase() || is_title(c))
}

/// Whether there is a letter with case, and all that have one are small.
pub fn is_lower(text: &str) -> bool {
    let small = |c: char| c.is_lowercase();
    text.chars().any(small) && !text.chars().any(|c| c.is_uppercase() || is_title(c))
}

/// The few letters like `ǅ` that are neither.
fn is_title(c: char) -> bool {
    matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}' | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

/// How many of a text's tokens are in capitals.
pub fn capital_words(text: &str) -> usize {
    let sentences = split_sentences(text);
    let pieces = sentences
        .into_iter()
        .flat_map(|sentence| pieces(without_final_dot(sentence)));
    let mut count = 0;
    for piece in pieces {
        let (stem, clitics) = without_clitics(piece);
        count += clitics.iter().filter(|clitic| is_upper(clitic)).count();
        let halves = if is_two_words(stem) { 2 } else { 1 };
        count += if is_upper(stem) { halves } else { 0 };
    }
    count
}

/// The dot at the end of a sentence is a token; one within it, as in `U.S. law`, belongs to its word.
fn without_final_dot(sentence: &str) -> &str {
    let closers = |c: char| is_space(c) || "])}>\"'»”’".contains(c);
    let bare = sentence.trim_end_matches(closers);
    match bare.strip_suffix('.') {
        Some(bare) if !bare.ends_with('.') => bare,
        _ => sentence,
    }
}

/// The text at white space and at the signs that are tokens of their own.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = vec![];
    let mut start = 0;
    let letters: Vec<(usize, char)> = text.char_indices().collect();
    for (at, (place, letter)) in letters.iter().enumerate() {
        let next = letters.get(at + 1).map(|(_, next)| *next);
        let before = at.checked_sub(1).map(|before| letters[before].1);
        let alone = match letter {
            c if is_space(*c) => true,
            '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ';' | '@' | '#' | '$' | '%' | '&'
            | '?' | '!' | '*' | '"' | '`' | '«' | '»' | '“' | '”' | '‘' | '’' | '„' | '‒' | '–'
            | '—' | '―' => true,
            ':' | ',' => !next.is_some_and(char::is_numeric),
            '-' | '.' | '\'' => next == Some(*letter) || before == Some(*letter),
            _ => false,
        };
        if alone {
            pieces.push(&text[start..*place]);
            start = place + letter.len_utf8();
        }
    }
    pieces.push(&text[start..]);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

const CLITICS: [&str; 14] = [
    "'s", "'S", "'m", "'M", "'d", "'D", "'ll", "'LL", "'re", "'RE", "'ve", "'VE", "n't", "N'T",
];

/// A word and what is split off its end: first one of the short ones, then one of the long.
fn without_clitics(word: &str) -> (&str, Vec<&str>) {
    let mut rest = word.strip_suffix('\'').unwrap_or(word);
    let mut split = vec![];
    for kinds in [&CLITICS[..6], &CLITICS[6..]] {
        let found = kinds.iter().find(|clitic| {
            let stem = rest.strip_suffix(**clitic);
            stem.is_some_and(|stem| !stem.is_empty() && !stem.ends_with('\''))
        });
        if let Some(clitic) = found {
            let end = rest.len() - clitic.len();
            split.push(&rest[end..]);
            rest = &rest[..end];
        }
    }
    (rest, split)
}

fn is_two_words(word: &str) -> bool {
    let two = ["cannot", "gimme", "gonna", "gotta", "lemme", "wanna"];
    two.iter().any(|two| word.eq_ignore_ascii_case(two))
}

/// How many sentences there are.
pub fn sentences(text: &str) -> usize {
    split_sentences(text).len()
}

/// The text at the ends of sentences that have something after them.
fn split_sentences(text: &str) -> Vec<&str> {
    let mut rest = text.trim_matches(is_space);
    let (mut sentences, mut start) = (vec![], 0);
    while let Some(at) = rest[start..].find(['.', '?', '!']) {
        let end = start + at + 1;
        let after = rest[end..].chars().next();
        let is_end = after.is_none_or(|c| is_space(c) || "?!)\";}]*:@'({[".contains(c));
        start = end;
        // Signs in a row end one sentence, at the last of them.
        if !is_end || after.is_some_and(|c| matches!(c, '?' | '!')) {
            continue;
        }
        let following = following(&rest[end..]);
        if following.is_empty() {
            break;
        }
        if ends_sentence(&rest[..end], following) {
            sentences.push(&rest[..rest.len() - following.len()]);
            (rest, start) = (following, 0);
        }
    }
    sentences.extend((!rest.is_empty()).then_some(rest));
    sentences
}

/// What comes after an end, without the quotes and brackets that close it.
fn following(after: &str) -> &str {
    let closed = after.trim_start_matches(['"', '\'', ')', ']', '}']);
    let closes = closed.is_empty() || closed.starts_with(is_space);
    let after = if closes { closed } else { after };
    after.trim_start_matches(is_space)
}

fn ends_sentence(before: &str, following: &str) -> bool {
    if !before.ends_with('.') {
        return true;
    }
    let word = before.rsplit(is_space).next().unwrap_or_default();
    let word = word.trim_start_matches(['(', '"', '\'', '[', '{', '*', '“', '‘']);
    let next = following.split(is_space).next().unwrap_or_default();
    let next = next.trim_matches(|c: char| !c.is_alphanumeric());
    let is_capital = next.starts_with(char::is_uppercase);
    let is_small = next.starts_with(char::is_lowercase);
    if word.ends_with("..") {
        return is_capital && is_common(next);
    }
    let name = word[..word.len() - 1].to_lowercase();
    if !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_numeric() || matches!(c, '.' | ',' | '-'))
    {
        return !is_small;
    }
    let is_initial = name.chars().count() == 1 && name.starts_with(char::is_alphabetic);
    if is_initial || is_abbreviation(&name) {
        return is_capital && is_common(next);
    }
    true
}

fn is_abbreviation(name: &str) -> bool {
    let name = name.rsplit('-').next().unwrap_or(name);
    ABBREVIATIONS.contains(&name)
        || (name.contains('.') && name.split('.').all(|part| part.chars().count() == 1))
}

const ABBREVIATIONS: [&str; 62] = [
    "adm", "al", "apr", "assoc", "aug", "ave", "blvd", "bros", "ca", "calif", "capt", "cf", "co",
    "col", "conn", "corp", "dec", "dept", "dr", "etc", "feb", "fig", "fla", "ft", "gen", "gov",
    "hon", "inc", "jan", "jr", "lt", "ltd", "maj", "mass", "mich", "minn", "mr", "mrs", "ms", "mt",
    "nov", "oct", "pa", "ph", "ph.d", "prof", "rep", "rev", "sen", "sept", "sgt", "sr", "st",
    "ste", "tel", "tenn", "va", "vol", "vs", "wash", "wis", "yr",
];

/// Words that are written small wherever they do not begin a sentence.
fn is_common(word: &str) -> bool {
    const COMMON: [&str; 60] = [
        "a", "after", "all", "also", "although", "an", "and", "another", "are", "as", "at",
        "because", "both", "but", "by", "can", "did", "do", "each", "even", "every", "finally",
        "first", "for", "from", "he", "her", "here", "his", "how", "however", "if", "in", "is",
        "it", "its", "many", "most", "no", "not", "now", "of", "on", "or", "she", "so", "some",
        "that", "the", "their", "then", "there", "these", "they", "this", "to", "we", "what",
        "when", "you",
    ];
    COMMON.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_are_counted_by_tokens() {
        for (text, count) in [
            ("DON'T PANIC", 3),
            ("IBM's CEO-LEVEL A/B", 3),
            ("I said NO! (YES)", 3),
            ("CANNOT", 2),
            ("X:Y 1:2 ÉTÉ 42", 3),
            ("A:1B", 1),
            ("IT'S. And IT'S.", 4),
            ("U.S. law is IT'S", 3),
            ("lower Title", 0),
            ("IT’S", 2),
            ("A--B...C", 3),
        ] {
            assert_eq!(capital_words(text), count, "{text}");
        }
    }

    #[test]
    fn abbreviations_and_initials_end_no_sentence() {
        for (text, count) in [
            ("", 0),
            ("One", 1),
            ("One. Two! Three? Four", 4),
            ("Mr. Smith met J. Doe at 5 p.m. on Monday.", 1),
            ("He said \"No.\" She left.", 2),
            ("It costs 3.50 today. Fine.", 2),
            ("1. First\n2. Second", 3),
            ("Really?! Yes.", 2),
        ] {
            assert_eq!(sentences(text), count, "{text}");
        }
    }

    #[test]
    fn words_are_runs() {
        assert_eq!(words("it's a_b 日本 3.5"), 6);
        assert_eq!(words(" … "), 0);
    }
}
