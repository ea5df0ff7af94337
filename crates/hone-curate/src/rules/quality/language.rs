//! Which language a supervised text is in.

use std::cell::RefCell;
use std::collections::VecDeque;

use whatlang::{Detector, Lang, Script};

use crate::rules::prose;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "language",
    family: Family::Quality,
    summary: "a supervised text is in a language that the recipe does not allow",
    why: "A few rows in another language teach the model to change language in the middle of a conversation.",
    what: "The language of the supervised text's first 600 bytes outside of code, by trigrams and alphabet (crate `whatlang`, 69 languages), where it is sure enough. From 60 letters and a confidence of 0.5 on, it was sure of 19 in 20 short dialogues in sixteen languages, and then wrong in 3 of 1,000. English text is known by its small words, without the detector. Nothing is reported while `allow` is empty.",
    default: Action::Report,
    params: &[
        Param {
            name: "allow",
            what: "languages by ISO 639-1 or 639-3 code, such as `en` or `eng`; all",
        },
        MIN_LENGTH,
        CONFIDENCE,
    ],
};

/// Shared with `reply-language`.
pub const MIN_LENGTH: Param = Param {
    name: "min-length",
    what: "letters from which a text's language is looked for, where a Chinese character counts as four, a syllable of Hangul as three, a kana as two; 60",
};

/// Shared with `reply-language`.
pub const CONFIDENCE: Param = Param {
    name: "confidence",
    what: "how sure the detector has to be, 0 to 1; 0.5",
};

/// What is read of a text, in bytes: more does not make the detector surer, only slower.
const SAMPLE: usize = 600;

/// See [`DOC`].
pub struct Language {
    allow: Vec<Lang>,
    detector: LanguageDetector,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let allow = params.texts("allow", &[])?;
    let allow = allow
        .iter()
        .map(|code| of_code(code))
        .collect::<Result<_, _>>()?;
    let detector = LanguageDetector::new(params)?;
    Ok(Box::new(Language { allow, detector }))
}

impl Rule for Language {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        if self.allow.is_empty() {
            return;
        }
        for part in row.supervised() {
            let found = self.detector.language(part.text);
            if let Some(language) = found.filter(|language| !self.allow.contains(language)) {
                hits.push(Hit::of(part.place, format!("in {}", called(language))));
            }
        }
    }
}

/// A language's name in English; of what is written, not spoken.
pub fn called(language: Lang) -> &'static str {
    match language {
        Lang::Cmn => "Chinese",
        other => other.eng_name(),
    }
}

/// Tells the language of texts that are long enough.
pub struct LanguageDetector {
    detector: Detector,
    min_length: usize,
    confidence: f64,
}

impl LanguageDetector {
    /// Takes `min-length` and `confidence`.
    pub fn new(params: &mut Params) -> Result<Self, BadParam> {
        Ok(Self {
            detector: Detector::new(),
            min_length: params.count("min-length", 60)?,
            confidence: params.number("confidence", 0.5)?,
        })
    }

    /// The language of a text's prose, if there is enough of it to be sure.
    pub fn language(&self, text: &str) -> Option<Lang> {
        let sample = self.sample(text, self.min_length)?;
        if is_english(&sample) {
            return Some(Lang::Eng);
        }
        let (language, confidence) =
            LATEST.with_borrow_mut(|latest| self.detect(sample, latest))?;
        (confidence >= self.confidence).then_some(language)
    }

    /// The languages of two texts in two scripts, which are two languages for certain, so that less of them is enough.
    pub fn of_two_scripts(&self, one: &str, other: &str) -> Option<(Lang, Lang)> {
        // What is ASCII is in the script of all that is.
        if one.is_ascii() && other.is_ascii() {
            return None;
        }
        let of = |text: &str| {
            let sample = self.sample(text, self.min_length * 2 / 3)?;
            let script = script(&sample)?;
            let english = is_english(&sample).then_some(Lang::Eng);
            let found = || LATEST.with_borrow_mut(|latest| self.detect(sample, latest));
            Some((script, english.or_else(|| Some(found()?.0))?))
        };
        let ((one_script, one), (other_script, other)) = (of(one)?, of(other)?);
        (one_script != other_script && one != other).then_some((one, other))
    }

    /// What is looked at of a text, if it has as many letters.
    fn sample(&self, text: &str, letters: usize) -> Option<String> {
        // What counts most for its bytes, an ideograph, counts four and has three.
        if text.len() * 4 < letters * 3 {
            return None;
        }
        let sample = sample(text);
        (sample.chars().map(letters_of).sum::<usize>() >= letters).then_some(sample)
    }

    /// Detects the language of a sample that is not among the latest.
    fn detect(&self, sample: String, latest: &mut VecDeque<Detected>) -> Option<(Lang, f64)> {
        if let Some((_, found)) = latest.iter().find(|(other, _)| *other == sample) {
            return *found;
        }
        let info = self.detector.detect(&sample);
        let found = info.map(|info| (info.lang(), info.confidence()));
        latest.truncate(LATEST_SAMPLES - 1);
        latest.push_front((sample, found));
        found
    }
}

/// A sample, and the detector's language and confidence.
type Detected = (String, Option<(Lang, f64)>);

/// Several rules ask about the same text one after the other, and a system turn comes with every row.
const LATEST_SAMPLES: usize = 4;

thread_local! {
    static LATEST: RefCell<VecDeque<Detected>> = const { RefCell::new(VecDeque::new()) };
}

/// Letters of an alphabet that say as much as this character.
fn letters_of(c: char) -> usize {
    match c {
        '\u{3040}'..='\u{30ff}' => 2,
        '\u{ac00}'..='\u{d7a3}' => 3,
        '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}' => 4,
        c => c.is_alphabetic().into(),
    }
}

/// The script of most letters; Chinese, Japanese and Korean share theirs.
fn script(text: &str) -> Option<Script> {
    Some(match whatlang::detect_script(text)? {
        Script::Hiragana | Script::Katakana | Script::Hangul => Script::Mandarin,
        other => other,
    })
}

/// The beginning of a text's prose.
pub fn sample(text: &str) -> String {
    let mut sample = String::new();
    for stretch in prose::stretches(text) {
        let left = SAMPLE - sample.len();
        let stretch = &text[stretch];
        sample += &stretch[..stretch.floor_char_boundary(left)];
        if sample.len() + 4 > SAMPLE {
            break;
        }
        sample.push(' ');
    }
    sample
}

/// Has the text the small words of English? Most texts are English, and this takes a tenth of the detector's time.
///
/// Words that no other language has, at least four of them, a tenth of all; or some, and with those that others have too a quarter of all.
fn is_english(text: &str) -> bool {
    let (mut small, mut own, mut first, mut all) = (0, 0, None, 0);
    let mut has_several = false;
    for word in text.split_ascii_whitespace() {
        all += 1;
        let among = |words: &[&str]| {
            words
                .iter()
                .position(|small| small.eq_ignore_ascii_case(word))
        };
        if let Some(at) = among(&OWN) {
            own += 1;
            has_several |= *first.get_or_insert(at) != at;
        } else if among(&OTHERS_HAVE).is_some() {
            small += 1;
        }
    }
    let has_many = own >= 4 && own * 10 >= all;
    let has_some = has_several && own + small >= 4 && (own + small) * 4 >= all && text.is_ascii();
    has_many || has_some
}

/// Small words that only English has.
const OWN: [&str; 14] = [
    "the", "of", "and", "that", "with", "this", "are", "which", "from", "you", "your", "should",
    "when", "what",
];

/// Small words of English that are words of other languages too.
const OTHERS_HAVE: [&str; 12] = [
    "a", "to", "is", "in", "for", "it", "as", "on", "an", "be", "by", "or",
];

/// ISO 639-1 codes of the languages that the detector knows.
const TWO_LETTERS: &[(&str, &str)] = &[
    ("af", "afr"),
    ("ak", "aka"),
    ("am", "amh"),
    ("ar", "ara"),
    ("az", "aze"),
    ("be", "bel"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("cy", "cym"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("et", "est"),
    ("fa", "pes"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("jv", "jav"),
    ("ka", "kat"),
    ("km", "khm"),
    ("kn", "kan"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lt", "lit"),
    ("lv", "lav"),
    ("mk", "mkd"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("my", "mya"),
    ("ne", "nep"),
    ("nl", "nld"),
    ("no", "nob"),
    ("nb", "nob"),
    ("or", "ori"),
    ("pa", "pan"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sn", "sna"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("th", "tha"),
    ("tk", "tuk"),
    ("tl", "tgl"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("yi", "yid"),
    ("zh", "cmn"),
    ("zu", "zul"),
];

fn of_code(code: &str) -> Result<Lang, BadParam> {
    let long = TWO_LETTERS
        .iter()
        .find(|(short, _)| *short == code)
        .map_or(code, |(_, long)| long);
    Lang::from_code(long).ok_or_else(|| BadParam::Value {
        name: "allow".into(),
        problem: format!(
            "no language `{code}`; there are {}",
            TWO_LETTERS
                .iter()
                .map(|(short, _)| *short)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_of_the_detector_has_its_two_letters() {
        for (short, long) in TWO_LETTERS {
            assert!(Lang::from_code(*long).is_some(), "{short} {long}");
        }
        let missing: Vec<_> = Lang::all()
            .iter()
            .filter(|language| !TWO_LETTERS.iter().any(|(_, long)| *long == language.code()))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn small_words_make_english_only_where_there_are_many() {
        assert!(is_english("the cat and the dog that sat with this mouse"));
        assert!(!is_english("le mot and n'est pas of the langue"));
        let rare = format!("the and of with {}", "mot ".repeat(37));
        assert!(!is_english(&rare));
        assert!(is_english(
            "This package contains data for a library and is made to be read"
        ));
        for other in [
            "Vi har en god plan for dag to, og det er på tide, for as is in an by or be",
            "He leido The Lord of the Rings a los diez anos y luego otra vez en la escuela con mis amigos",
            "the the the is in a to for it",
        ] {
            assert!(!is_english(other), "{other}");
        }
    }

    #[test]
    fn an_unknown_code_is_told_with_those_there_are() {
        let mut params = Params::new(toml::from_str("allow = [\"english\"]").unwrap());
        let error = rule(&mut params).err().unwrap().to_string();
        assert!(
            error.starts_with("`allow`: no language `english`; there are af, ak, "),
            "{error}"
        );
    }
}
