//! The instructions, read from the ids and parameters of IFEval's data.
//!
//! The reference draws a missing parameter at random, which cannot be checked against anything: here it is refused.

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use whatlang::Lang;

/// One instruction with its parameters.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the names are those of the data
pub enum Instruction {
    KeywordsExist(Vec<Regex>),
    KeywordFrequency(Regex, Relation),
    ForbiddenWords(Vec<Regex>),
    LetterFrequency(char, Relation),
    ResponseLanguage(Lang),
    NumberSentences(Relation),
    NumberParagraphs(u64),
    NumberWords(Relation),
    NthParagraphFirstWord {
        paragraphs: u64,
        nth: u64,
        first_word: String,
    },
    NumberPlaceholders(u64),
    Postscript(Regex),
    NumberBulletLists(u64),
    ConstrainedResponse,
    NumberHighlightedSections(u64),
    MultipleSections(Regex, u64),
    JsonFormat,
    Title,
    TwoResponses,
    RepeatPrompt(String),
    EndChecker(String),
    CapitalWordFrequency(Relation),
    EnglishCapital,
    EnglishLowercase,
    NoComma,
    Quotation,
}

/// How often something may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Fewer times than this.
    LessThan(u64),
    /// So many times or more.
    AtLeast(u64),
}

impl Relation {
    pub(super) fn holds(self, count: usize) -> bool {
        match self {
            Self::LessThan(limit) => (count as u64) < limit,
            Self::AtLeast(limit) => count as u64 >= limit,
        }
    }
}

/// An instruction cannot be checked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the message says it all
pub enum BadInstruction {
    #[error("`{id}` is no instruction of IFEval; it has {}", IDS.join(", "))]
    Unknown { id: String },
    #[error("`{id}` needs `{parameter}`")]
    Missing { id: String, parameter: &'static str },
    #[error("`{parameter}` of `{id}` is `{value}`; it may be {allowed}")]
    NotAllowed {
        id: String,
        parameter: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error("`{parameter}` of `{id}` is `{value}`, which is no pattern")]
    NoPattern {
        id: String,
        parameter: &'static str,
        value: String,
    },
    #[error("`language` of `{id}` is `{language}`, a language that is not recognised here")]
    Language { id: String, language: String },
}

/// The ids, in the order of the paper's table.
pub const IDS: [&str; 25] = [
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "startend:quotation",
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "punctuation:no_comma",
];

impl Instruction {
    /// Reads an id of `instruction_id_list` with its entry of `kwargs`; parameters that are null, as those of other
    /// instructions are in the published data, count as absent.
    pub fn read(id: &str, parameters: &Value) -> Result<Self, BadInstruction> {
        let none = Map::new();
        let given = Parameters {
            id,
            given: parameters.as_object().unwrap_or(&none),
        };
        Ok(match id {
            "keywords:existence" => {
                Self::KeywordsExist(given.patterns("keywords", |word| word.to_string())?)
            }
            "keywords:frequency" => Self::KeywordFrequency(
                given.pattern("keyword", given.text("keyword")?.trim(), |word| {
                    word.to_string()
                })?,
                given.relation("relation", "frequency")?,
            ),
            "keywords:forbidden_words" => Self::ForbiddenWords(
                given.patterns("forbidden_words", |word| format!(r"\b{word}\b"))?,
            ),
            "keywords:letter_frequency" => Self::LetterFrequency(
                given.letter()?,
                given.relation("let_relation", "let_frequency")?,
            ),
            "language:response_language" => Self::ResponseLanguage(given.language()?),
            "length_constraints:number_sentences" => {
                Self::NumberSentences(given.relation("relation", "num_sentences")?)
            }
            "length_constraints:number_paragraphs" => {
                Self::NumberParagraphs(given.number("num_paragraphs")?)
            }
            "length_constraints:number_words" => {
                Self::NumberWords(given.relation("relation", "num_words")?)
            }
            "length_constraints:nth_paragraph_first_word" => given.nth_paragraph()?,
            "detectable_content:number_placeholders" => {
                Self::NumberPlaceholders(given.number("num_placeholders")?)
            }
            "detectable_content:postscript" => Self::Postscript(given.postscript()?),
            "detectable_format:number_bullet_lists" => {
                Self::NumberBulletLists(given.number("num_bullets")?)
            }
            "detectable_format:constrained_response" => Self::ConstrainedResponse,
            "detectable_format:number_highlighted_sections" => {
                Self::NumberHighlightedSections(given.number("num_highlights")?)
            }
            "detectable_format:multiple_sections" => given.sections()?,
            "detectable_format:json_format" => Self::JsonFormat,
            "detectable_format:title" => Self::Title,
            "combination:two_responses" => Self::TwoResponses,
            "combination:repeat_prompt" => {
                Self::RepeatPrompt(given.text("prompt_to_repeat")?.trim().to_lowercase())
            }
            "startend:end_checker" => {
                Self::EndChecker(given.text("end_phrase")?.trim().to_lowercase())
            }
            "startend:quotation" => Self::Quotation,
            "change_case:capital_word_frequency" => {
                Self::CapitalWordFrequency(given.relation("capital_relation", "capital_frequency")?)
            }
            "change_case:english_capital" => Self::EnglishCapital,
            "change_case:english_lowercase" => Self::EnglishLowercase,
            "punctuation:no_comma" => Self::NoComma,
            _ => return Err(BadInstruction::Unknown { id: id.to_string() }),
        })
    }
}

/// What was given with an id.
struct Parameters<'a> {
    id: &'a str,
    given: &'a Map<String, Value>,
}

impl Parameters<'_> {
    fn missing(&self, parameter: &'static str) -> BadInstruction {
        BadInstruction::Missing {
            id: self.id.to_string(),
            parameter,
        }
    }

    fn text(&self, name: &'static str) -> Result<&str, BadInstruction> {
        let text = self.given.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| self.missing(name))
    }

    /// Above zero: a zero is a missing number to the reference. Some files have whole numbers as `3.0`.
    fn number(&self, name: &'static str) -> Result<u64, BadInstruction> {
        let number = self.given.get(name);
        let whole = |number: f64| (number.fract() == 0.0 && number > 0.0).then_some(number as u64);
        let number = number.and_then(|number| number.as_u64().or_else(|| whole(number.as_f64()?)));
        number
            .filter(|number| *number > 0)
            .ok_or_else(|| self.missing(name))
    }

    fn relation(
        &self,
        relation: &'static str,
        number: &'static str,
    ) -> Result<Relation, BadInstruction> {
        let limit = self.number(number)?;
        match self.text(relation)? {
            "less than" => Ok(Relation::LessThan(limit)),
            "at least" => Ok(Relation::AtLeast(limit)),
            other => Err(BadInstruction::NotAllowed {
                id: self.id.to_string(),
                parameter: relation,
                value: other.to_string(),
                allowed: "`less than` or `at least`",
            }),
        }
    }

    /// Words are patterns to the reference, so they are patterns here.
    fn pattern(
        &self,
        name: &'static str,
        word: &str,
        around: impl Fn(&str) -> String,
    ) -> Result<Regex, BadInstruction> {
        let built = RegexBuilder::new(&around(word))
            .case_insensitive(true)
            .build();
        built.map_err(|_| BadInstruction::NoPattern {
            id: self.id.to_string(),
            parameter: name,
            value: word.to_string(),
        })
    }

    fn patterns(
        &self,
        name: &'static str,
        around: impl Fn(&str) -> String,
    ) -> Result<Vec<Regex>, BadInstruction> {
        let words = self.given.get(name).and_then(Value::as_array);
        let words = words
            .filter(|words| !words.is_empty())
            .ok_or_else(|| self.missing(name))?;
        let word = |word: &Value| match word.as_str() {
            Some(word) => self.pattern(name, word, &around),
            None => Err(self.missing(name)),
        };
        words.iter().map(word).collect()
    }

    fn letter(&self) -> Result<char, BadInstruction> {
        let text = self.text("letter")?.trim();
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Ok(letter.to_lowercase().next().unwrap_or(letter)),
            _ => Err(BadInstruction::NotAllowed {
                id: self.id.to_string(),
                parameter: "letter",
                value: text.to_string(),
                allowed: "one letter",
            }),
        }
    }

    fn language(&self) -> Result<Lang, BadInstruction> {
        let asked = self.text("language")?;
        let known = LANGUAGES.iter().find(|(code, _)| *code == asked);
        known
            .map(|(_, language)| *language)
            .ok_or_else(|| BadInstruction::Language {
                id: self.id.to_string(),
                language: asked.to_string(),
            })
    }

    fn nth_paragraph(&self) -> Result<Instruction, BadInstruction> {
        let (paragraphs, nth) = (
            self.number("num_paragraphs")?,
            self.number("nth_paragraph")?,
        );
        if nth > paragraphs {
            return Err(BadInstruction::NotAllowed {
                id: self.id.to_string(),
                parameter: "nth_paragraph",
                value: nth.to_string(),
                allowed: "at most `num_paragraphs`",
            });
        }
        Ok(Instruction::NthParagraphFirstWord {
            paragraphs,
            nth,
            first_word: self.text("first_word")?.to_lowercase(),
        })
    }

    fn postscript(&self) -> Result<Regex, BadInstruction> {
        let marker = self.text("postscript_marker")?.trim();
        self.pattern("postscript_marker", marker, |marker| match marker {
            "P.P.S" => r"p\.\s?p\.\s?s".to_string(),
            "P.S." => r"p\.\s?s\.".to_string(),
            other => other.to_lowercase(),
        })
    }

    fn sections(&self) -> Result<Instruction, BadInstruction> {
        let splitter = self.text("section_spliter")?.trim();
        let pattern = Regex::new(&format!(r"\s?{splitter}\s?\d+\s?"));
        let pattern = pattern.map_err(|_| BadInstruction::NoPattern {
            id: self.id.to_string(),
            parameter: "section_spliter",
            value: splitter.to_string(),
        })?;
        Ok(Instruction::MultipleSections(
            pattern,
            self.number("num_sections")?,
        ))
    }
}

/// The codes of the data, which are those of `langdetect`.
const LANGUAGES: [(&str, Lang); 63] = [
    ("af", Lang::Afr),
    ("ak", Lang::Aka),
    ("am", Lang::Amh),
    ("ar", Lang::Ara),
    ("az", Lang::Aze),
    ("be", Lang::Bel),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("ca", Lang::Cat),
    ("cs", Lang::Ces),
    ("da", Lang::Dan),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("en", Lang::Eng),
    ("es", Lang::Spa),
    ("et", Lang::Est),
    ("fa", Lang::Pes),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("gu", Lang::Guj),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("hr", Lang::Hrv),
    ("hu", Lang::Hun),
    ("hy", Lang::Hye),
    ("id", Lang::Ind),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("jv", Lang::Jav),
    ("ka", Lang::Kat),
    ("km", Lang::Khm),
    ("kn", Lang::Kan),
    ("ko", Lang::Kor),
    ("lt", Lang::Lit),
    ("lv", Lang::Lav),
    ("mk", Lang::Mkd),
    ("ml", Lang::Mal),
    ("mr", Lang::Mar),
    ("my", Lang::Mya),
    ("ne", Lang::Nep),
    ("nl", Lang::Nld),
    ("no", Lang::Nob),
    ("pa", Lang::Pan),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("si", Lang::Sin),
    ("sk", Lang::Slk),
    ("sl", Lang::Slv),
    ("sr", Lang::Srp),
    ("sv", Lang::Swe),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("tl", Lang::Tgl),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("ur", Lang::Urd),
    ("vi", Lang::Vie),
    ("zh", Lang::Cmn),
    ("zh-cn", Lang::Cmn),
    ("zh-tw", Lang::Cmn),
];
