//! What an assistant says as itself, and not for somebody else.
//!
//! The same words are a fault in the assistant's own voice, and good work where it quotes, plays a part, writes a
//! letter for its user or translates.

use std::ops::Range;
use std::sync::LazyLock;

use hone_text::Role;
use regex::Regex;

use super::wordings::Wordings;
use crate::rules::prose;
use crate::{Hit, Row};

/// Words that are looked for in replies.
pub struct Saying {
    /// Any of them, in any language.
    pub wordings: &'static Wordings,
    /// Bytes at the beginning of a reply in which they count.
    pub within: usize,
    /// Do they mean it, with what stands around them?
    pub is_meant: fn(&Row<'_>, &str, Range<usize>) -> bool,
    /// What is said of a reply with them.
    pub message: &'static str,
}

/// Asks for other words for the same, in the languages that replies are looked at in.
static REWRITING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)translat|rephras|paraphras|rewrit|reword|correct the|grammar|proofread|do you say|übersetz|formulier|korrigier|\btradu|\btraduz|reformul|corrig|comment dit|cómo se dice|vertaal|przetłumacz|popraw|перевед|перевод|перефраз|翻译|翻譯|改写|翻訳|訳して|言い換え|번역|고쳐")
        .expect("a fixed pattern")
});

/// Speaks of the task itself, as a refusal of a translation does and a translated refusal does not.
static TASK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)translat|rephras|paraphras|rewrit|request|guidelines|content|as an ai|assist|übersetz|anfrage|tradu|demande|solicitud|richiesta|pedido|vertal|verzoek|tłumacz|prośb|перев|просьб|запрос|翻译|请求|翻訳|ご要望|번역|요청")
        .expect("a fixed pattern")
});

/// The beginning of a letter to somebody.
static SALUTATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?i:subject:|betreff:|objet\s?:|asunto:|oggetto:|assunto:|temat:|тема:|dear\b|to whom|sehr geehrte|liebe[rs]?\b|chère?\b|estimad|querid|gentile|car[oa]\b|prezad|beste\b|geachte|szanown|drog[ia]\b|уважаем|дорог)|^(?i:hi|hello|hey|hallo|bonjour|hola|ciao|olá|cześć|привет) (?:\p{Lu}[\w.]*[ ,!]\s*)+")
        .expect("a fixed pattern")
});

/// A line of a play: who says it.
static SPEAKER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^\W{0,4}\p{L}[\p{L} .'-]{0,24}\W{0,3}[:：]\W").expect("a fixed pattern")
});

impl Saying {
    /// Adds the first time that each reply says it as itself.
    pub fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut asked = "";
        for part in row.parts() {
            match part.role {
                Some(Role::User) => asked = part.text,
                Some(Role::Assistant) => {
                    let beginning = &part.text[..part.text.floor_char_boundary(self.within)];
                    let said = self.wordings.find(beginning, |found| {
                        (self.is_meant)(row, part.text, found.clone())
                            && is_own_voice(part.text, found.start, asked)
                    });
                    hits.extend(said.map(|found| Hit::at(part.place, found, self.message)));
                }
                _ => {}
            }
        }
    }
}

fn is_own_voice(text: &str, at: usize, asked: &str) -> bool {
    let is_prose = || {
        prose::stretches(text)
            .iter()
            .any(|stretch| stretch.contains(&at))
    };
    let is_letter = || SALUTATION.is_match(text.trim_start()) && at > 3;
    let is_play = || SPEAKER.find_iter(text).take(2).count() == 2 && has_speaker(text, at);
    let is_rewritten = || REWRITING.is_match(asked) && !TASK.is_match(text);
    !is_quoted(text, at) && is_prose() && !is_letter() && !is_play() && !is_rewritten()
}

fn has_speaker(text: &str, at: usize) -> bool {
    let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
    SPEAKER
        .find_at(text, line)
        .is_some_and(|speaker| speaker.start() == line && speaker.end() <= at + 1)
}

/// Stands the place inside quotation marks that were opened in the same paragraph?
fn is_quoted(text: &str, at: usize) -> bool {
    let start = text[..at].rfind("\n\n").map_or(0, |at| at + 2);
    let mut open: Vec<char> = Vec::new();
    let mut previous = ' ';
    for (offset, c) in text[start..at].char_indices() {
        let next = text[start + offset + c.len_utf8()..].chars().next();
        let starts_word = !previous.is_alphanumeric() && next.is_some_and(|c| !c.is_whitespace());
        let closes = open.last().is_some_and(|last| match c {
            '"' => *last == c,
            '\'' => *last == c && !next.is_some_and(char::is_alphanumeric),
            '“' => *last == '„',
            '”' => "“”„".contains(*last),
            '’' => *last == '‘' && !next.is_some_and(char::is_alphanumeric),
            '»' => *last == '«',
            '«' => *last == '»',
            '」' => *last == '「',
            '』' => *last == '『',
            _ => false,
        });
        if closes {
            open.pop();
        } else if "\"„“”«»「『".contains(c) || "'‘".contains(c) && starts_word {
            open.push(c);
        }
        previous = c;
    }
    !open.is_empty()
}
