//! Text that is not made of words, by Gopher's measures.

use crate::rules::prose;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "gopher-quality",
    family: Family::Quality,
    summary: "a supervised text is made of symbols, odd words, bullets or ellipses",
    why: "Tables torn apart, navigation bars and keyword lists have the look of text and nothing to say.",
    what: "Gopher's measures where they fit replies (Rae et al. 2021, arXiv:2112.11446, table A1): mean word length outside 3 to 10 characters; more than one `#` or ellipsis per ten words; more than 90 % of lines that begin with a bullet, or 30 % that end in an ellipsis; less than 80 % of words with a letter. Its stop words fit English alone, and its 50 to 100,000 words fit no chat: the first is left out, and of the second `min-words` remains, below which nothing is measured. Code is left out.",
    default: Action::Report,
    params: &[Param {
        name: "min-words",
        what: "words from which a text is measured; 50",
    }],
};

const WORD_LENGTH: (f64, f64) = (3.0, 10.0);
const SYMBOLS_PER_WORD: f64 = 0.1;
const BULLET_LINES: f64 = 0.9;
const ELLIPSIS_LINES: f64 = 0.3;
const WORDS_WITH_A_LETTER: f64 = 0.8;

/// See [`DOC`].
pub struct GopherQuality {
    min_words: usize,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let min_words = params.count("min-words", 50)?.max(1);
    Ok(Box::new(GopherQuality { min_words }))
}

impl Rule for GopherQuality {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.supervised() {
            let counts = Counts::of(part.text);
            let problem = (counts.words >= self.min_words)
                .then(|| counts.problem())
                .flatten();
            hits.extend(problem.map(|problem| Hit::of(part.place, problem)));
        }
    }
}

#[derive(Default)]
struct Counts {
    words: usize,
    letters: usize,
    words_with_a_letter: usize,
    hashes: usize,
    ellipses: usize,
    lines: usize,
    bullet_lines: usize,
    ellipsis_lines: usize,
}

impl Counts {
    fn of(text: &str) -> Self {
        let mut counts = Self::default();
        for stretch in prose::stretches(text) {
            for line in text[stretch]
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
            {
                counts.add(line);
            }
        }
        counts
    }

    fn add(&mut self, line: &str) {
        self.lines += 1;
        self.bullet_lines += usize::from(line.starts_with(['•', '-', '*']));
        self.ellipsis_lines += usize::from(line.ends_with("...") || line.ends_with('…'));
        self.hashes += line.matches('#').count();
        self.ellipses += line.matches("...").count() + line.matches('…').count();
        for word in line.split_whitespace() {
            let length = word.chars().filter(|c| c.is_alphanumeric()).count();
            self.words += usize::from(length > 0);
            self.letters += length;
            self.words_with_a_letter += usize::from(word.contains(char::is_alphabetic));
        }
    }

    fn problem(&self) -> Option<String> {
        let of = |part: usize, whole: usize| part as f64 / whole as f64;
        let mean = of(self.letters, self.words);
        let symbols = self.hashes.max(self.ellipses);
        if !(WORD_LENGTH.0..=WORD_LENGTH.1).contains(&mean) {
            Some(format!("words are {mean:.1} characters long on average"))
        } else if of(symbols, self.words) > SYMBOLS_PER_WORD {
            Some(format!(
                "{symbols} hashes or ellipses among {} words",
                self.words
            ))
        } else if of(self.bullet_lines, self.lines) > BULLET_LINES {
            Some(format!(
                "{} of {} lines begin with a bullet",
                self.bullet_lines, self.lines
            ))
        } else if of(self.ellipsis_lines, self.lines) > ELLIPSIS_LINES {
            Some(format!(
                "{} of {} lines end in an ellipsis",
                self.ellipsis_lines, self.lines
            ))
        } else if of(self.words_with_a_letter, self.words) < WORDS_WITH_A_LETTER {
            Some(format!(
                "{} of {} words have a letter",
                self.words_with_a_letter, self.words
            ))
        } else {
            None
        }
    }
}
