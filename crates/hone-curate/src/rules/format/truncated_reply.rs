//! Replies that break off.

use std::ops::Range;

use hone_text::Role;

use crate::rules::prose;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "truncated-reply",
    family: Family::Format,
    summary: "a reply breaks off before its end",
    why: "A reply cut at somebody's token limit teaches the model to stop in the middle of a sentence, or to leave a block of code open.",
    what: "Assistant turns with a fenced block, JSON or a bracket that is never closed, or a table whose last row is cut; whose last line of prose ends in a comma, a colon, an opening bracket or a word that wants another one (`the`, `because`, `und`, `parce que` … in nine languages), or with who does something after a conjunction (`wo er`); which ends in an operator; whose last sentence has no mark at its end though the sentences before it in the same line have one, or three in the lines above; or whose last item of a list has none though the others do. Short answers, lists, headings, signatures, links and code end as they like.",
    default: Action::Report,
    params: &[],
};

/// Words that no sentence of a language ends with, English first. A reply's language is the one of whose words it has
/// most, and two at least.
const WANTING: &[&[&str]] = &[
    &[
        "a", "an", "and", "because", "every", "its", "my", "or", "our", "such", "than", "the",
        "their", "whose", "your",
    ],
    &[
        "dass", "dem", "den", "der", "die", "eine", "einem", "einen", "einer", "eines", "im",
        "oder", "und", "vom", "weil", "zum", "zur",
    ],
    &[
        "au", "aux", "dans", "de", "des", "dont", "du", "et", "la", "le", "les", "leur", "ou",
        "parce", "que", "qui", "un", "une",
    ],
    &[
        "al", "con", "de", "del", "el", "en", "la", "las", "los", "o", "por", "porque", "que",
        "su", "un", "una", "y",
    ],
    &[
        "al", "che", "con", "del", "della", "di", "e", "gli", "i", "il", "la", "le", "lo", "nel",
        "o", "perché", "per", "un", "una",
    ],
    &[
        "a", "ao", "as", "com", "da", "de", "do", "e", "em", "na", "o", "os", "ou", "para",
        "porque", "que", "um", "uma",
    ],
    &[
        "de", "dat", "een", "en", "het", "of", "omdat", "ten", "ter", "van", "want",
    ],
    &[
        "i",
        "lub",
        "na",
        "oraz",
        "ponieważ",
        "przez",
        "w",
        "z",
        "że",
        "ze",
        "który",
        "które",
    ],
    &[
        "в",
        "и",
        "или",
        "из",
        "к",
        "на",
        "но",
        "потому",
        "с",
        "что",
        "который",
        "которая",
        "которые",
    ],
];

/// Words that tell English from languages with which it shares some of these (`do`, `a`).
const ENGLISH: &[&str] = &[
    "are", "be", "for", "that", "this", "to", "using", "when", "which", "will", "with", "would",
];

/// Words that an English sentence ends with only if another word, such as `what`, asks for it.
const WANTING_UNLESS_ASKED: &[&str] = &[
    "are", "as", "but", "for", "from", "if", "is", "of", "that", "to", "was", "were", "which",
    "with",
];
const ASKING: &[&str] = &[
    "anything",
    "how",
    "nothing",
    "one",
    "something",
    "that",
    "what",
    "when",
    "where",
    "which",
    "who",
    "whom",
    "why",
];

/// Conjunctions and who does something: after both, no sentence has ended.
const BEGUN: &[(&[&str], &[&str])] = &[
    (
        &["because", "although", "whereas", "while"],
        &["he", "i", "it", "she", "they", "we", "you"],
    ),
    (
        &["als", "dass", "ob", "weil", "wenn", "wo", "während"],
        &["er", "es", "ich", "man", "sie", "wir"],
    ),
    (
        &["где", "если", "когда", "потому", "что"],
        &["вы", "мы", "он", "она", "они", "оно", "я"],
    ),
];

/// What a line of code, or a sum, does not end in.
const OPERATORS: [&str; 7] = [" =", " +", " *", " &&", " ||", " ->", " =>"];

/// See [`DOC`].
pub struct TruncatedReply;

impl Rule for TruncatedReply {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row
            .parts()
            .filter(|part| part.role == Some(Role::Assistant))
        {
            if prose::has_open_fence(part.text) {
                hits.push(Hit::of(part.place, "a fenced block is never closed"));
            } else if has_open_json(part.text) {
                hits.push(Hit::of(part.place, "JSON is never closed"));
            } else if let Some(line) = broken_off(part.text) {
                hits.push(Hit::at(part.place, line, "the reply breaks off"));
            }
        }
    }
}

/// Is the text an object or a list in JSON without its end?
fn has_open_json(text: &str) -> bool {
    let mut marks = text.chars().filter(|c| !c.is_whitespace());
    let is_json = match (marks.next(), marks.next()) {
        (Some('{'), Some('"')) => true,
        (Some('['), Some(second)) => "\"{[".contains(second) || second.is_ascii_digit(),
        _ => false,
    };
    is_json
        && serde_json::Deserializer::from_str(text)
            .into_iter::<serde::de::IgnoredAny>()
            .next()
            .is_some_and(|read| read.is_err_and(|error| error.is_eof()))
}

/// The last line, if it cannot be the end.
fn broken_off(text: &str) -> Option<Range<usize>> {
    let end = text.trim_end().len();
    let start = text[..end].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..end].trim();
    let span = end - line.len()..end;
    let above = &text[..start];
    if OPERATORS.iter().any(|operator| line.ends_with(operator)) {
        return Some(span);
    }
    let prose = prose::stretches(text).pop()?;
    if prose.end < end || is_heading_or_quotation(line) {
        return None;
    }
    let is_cut = if line.starts_with('|') {
        is_cut_row(line, above)
    } else if let Some(item) = item_of(line) {
        is_cut_item(item, above)
    } else {
        is_cut_line(line, above)
    };
    is_cut.then_some(span)
}

/// Has the row of a table fewer bars than the row above?
fn is_cut_row(line: &str, above: &str) -> bool {
    let previous = above.trim_end().rsplit('\n').next().unwrap_or("").trim();
    let bars = |row: &str| row.matches('|').count();
    previous.starts_with('|') && previous.ends_with('|') && bars(line) < bars(previous)
}

/// Does an item of a list end without a mark, after others that all have one?
fn is_cut_item(item: &str, above: &str) -> bool {
    let mut others = above.lines().filter_map(|line| item_of(line.trim()));
    let marked = others.clone().count() >= 2 && others.all(|item| item.ends_with(is_end));
    ends_openly(item) && (marked || wants_more(item, above))
}

fn is_cut_line(line: &str, above: &str) -> bool {
    let ends_in_colon = line.ends_with([':', '：']) && starts_openly(line) && num_words(line) >= 3;
    if ends_in_colon {
        return true;
    }
    let sentences = sentences(line);
    let is_signature = || sentences.len() == 1 && closes_letter(above);
    if !starts_openly(line) || !ends_openly(line) || is_signature() {
        return false;
    }
    let (last, finished) = sentences.split_last().expect("a line that is not empty");
    let finished = finished
        .iter()
        .filter(|sentence| !is_exclamation(sentence))
        .count();
    let words = num_words(last);
    let is_open = last.ends_with([',', '，', '、', '(', '[', '（']) && words >= 3
        || last.matches(['(', '（']).count() > last.matches([')', '）']).count()
        || has_open_quotation(last);
    // Of a label (`Step 3: done`) and of a number in groups (`+41 44 123 45`) the end says nothing.
    let is_label = last
        .split_once(": ")
        .is_some_and(|(_, rest)| num_words(rest) < 3);
    let mut ends = last.rsplit(' ').take(2);
    let is_number = ends.all(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    if is_label || is_number {
        return is_open;
    }
    let beside = finished >= 2 && words >= 2 || finished == 1 && words >= 3;
    let below = || words >= 6 && finished_sentences(above) >= 3;
    is_open || beside || below() || wants_more(last, above)
}

/// After `Sure!` or `Thanks for asking!` a line may go on as it likes.
fn is_exclamation(sentence: &str) -> bool {
    let words = num_words(sentence);
    words < 3 || words == 3 && sentence.ends_with(['!', '！'])
}

/// Is the last quotation mark one that opens?
fn has_open_quotation(sentence: &str) -> bool {
    let Some(at) = sentence.rfind(['"', '“', '”', '„', '«', '»']) else {
        return false;
    };
    let mut around = sentence[at..].chars();
    let mark = around.next();
    let is_straight = mark == Some('"');
    let starts_word = sentence[..at].ends_with(char::is_whitespace)
        && around.next().is_some_and(char::is_alphanumeric);
    (is_straight || mark == Some('“'))
        && starts_word
        && (!is_straight || sentence.matches('"').count() % 2 == 1)
}

/// Does a sentence end in a word that wants another one?
fn wants_more(sentence: &str, above: &str) -> bool {
    let lower = sentence.to_lowercase();
    let words: Vec<&str> = prose::words(&lower, 0..lower.len())
        .map(|word| &lower[word])
        .collect();
    let Some(last) = words.last().filter(|_| words.len() > 2) else {
        return false;
    };
    if words.len() >= 5 {
        let before = words[words.len() - 2];
        let begun = BEGUN
            .iter()
            .any(|(joins, who)| joins.contains(&before) && who.contains(last));
        if begun {
            return true;
        }
    }
    let all = format!("{above} {lower}").to_lowercase();
    let known = |list: &[&str]| {
        prose::words(&all, 0..all.len())
            .filter(|word| list.contains(&&all[word.clone()]))
            .count()
    };
    let english = known(WANTING[0]) + known(ENGLISH);
    let others = WANTING[1..].iter().map(|list| known(list)).max();
    let most = others.unwrap_or(0).max(english);
    let wants = |(at, list): (usize, &&[&str])| {
        let count = if at == 0 { english } else { known(list) };
        list.contains(last) && count >= 2 && count == most
    };
    let is_asked = || words.iter().rev().skip(1).any(|word| ASKING.contains(word));
    WANTING.iter().enumerate().any(wants)
        || WANTING_UNLESS_ASKED.contains(last)
            && words.len() >= 6
            && english >= 2
            && english == most
            && !is_asked()
}

/// Sentences of a line, in scripts that part them with blanks and in those that do not.
fn sentences(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let ends = match c {
            '。' | '！' | '？' => true,
            c => is_end(c) && next.is_some_and(char::is_whitespace),
        };
        if ends {
            let end = at + c.len_utf8();
            found.push(line[start..end].trim());
            start = end;
        }
    }
    found.push(line[start..].trim());
    found
}

fn finished_sentences(text: &str) -> usize {
    let ends = |sentence: &&str| sentence.ends_with(is_end);
    text.lines()
        .flat_map(|line| sentences(line.trim()))
        .filter(ends)
        .count()
}

fn is_end(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？' | '।' | '؟')
}

/// Words, of which two characters make one where words are not parted by blanks.
fn num_words(text: &str) -> usize {
    let unparted = text
        .chars()
        .filter(|c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}'));
    match unparted.count() {
        0 => text.split_whitespace().count(),
        count => count / 2,
    }
}

/// What follows the mark of an item of a list, or its head in bold.
fn item_of(line: &str) -> Option<&str> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let marks: &[&str] = if digits > 0 {
        &[". ", ") "]
    } else {
        &["- ", "* ", "• ", "+ "]
    };
    let bold = || Some(line.strip_prefix("**")?.split_once("**")?.1);
    marks
        .iter()
        .find_map(|mark| line[digits..].strip_prefix(mark))
        .or_else(bold)
        .map(str::trim)
}

/// Is the line above the last the end of a letter (`Kind regards,`), and the last a name?
fn closes_letter(above: &str) -> bool {
    let previous = above.trim_end().rsplit('\n').next().unwrap_or("").trim();
    previous.ends_with(',') && previous.split_whitespace().count() <= 3
}

fn starts_openly(line: &str) -> bool {
    line.chars()
        .next()
        .is_some_and(|c| c.is_alphanumeric() || "\"'“‘(¿¡«„「".contains(c))
}

/// Does the line end in a letter, a digit, a comma or an opening bracket, and not in a link or an expression?
fn ends_openly(line: &str) -> bool {
    let last = line.rsplit(char::is_whitespace).next().unwrap_or(line);
    line.ends_with(|c: char| c.is_alphanumeric() || ",([，、（".contains(c))
        && !line.ends_with(":(")
        && !last.contains(['/', '=', '_', '<', '|'])
}

/// Is the line a heading or a quotation, whose end says nothing?
fn is_heading_or_quotation(line: &str) -> bool {
    line.starts_with(['#', '>'])
}
