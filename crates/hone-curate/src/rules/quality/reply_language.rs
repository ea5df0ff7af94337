//! Replies in another language than their prompt's.

use std::sync::LazyLock;

use hone_text::Role;
use regex::Regex;
use whatlang::Lang;

use super::language::{CONFIDENCE, LanguageDetector, MIN_LENGTH, called, sample};
use super::small_words;
use crate::{Action, BadParam, Doc, Family, Hit, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "reply-language",
    family: Family::Quality,
    summary: "a reply is in another language than its prompt",
    why: "Who asks in one language expects an answer in it; translated halves of rows are a common fault of merged collections.",
    what: "The languages of the assistant's turn and of the user's turn before it, as `language` finds them, where it is sure of both; of two scripts, two thirds of the letters are enough, and of English, German, French, Spanish, Portuguese, Italian and Dutch five words of which a few are small ones of one of these (`der`, `the`, `les`; two of a question and three of a reply). Nothing is reported where the other language was wanted: a turn before asks for a translation, an original or a commit message, names the reply's language (in one of twelve languages), or has a paragraph in it.",
    default: Action::Report,
    params: &[MIN_LENGTH, CONFIDENCE],
};

/// Asks for a translation, in twelve languages, or for what is often in English whatever one speaks.
static TRANSLATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)translat|überset|\btradu|\btraduz|vertaal|vertal|tłumacz|перев[её]д|перевод|翻译|翻譯|译成|译为|翻訳|訳して|번역|\boriginal|\bcommit\b",
    )
    .expect("a fixed pattern")
});

/// What languages are called: the beginnings of their names in the languages that people ask in.
const CALLED: &[(Lang, &[&str])] = &[
    (
        Lang::Eng,
        &[
            "english",
            "englisch",
            "anglais",
            "inglés",
            "ingles",
            "inglês",
            "engels",
            "angielsk",
            "английск",
            "англійськ",
            "英语",
            "英文",
            "英語",
            "영어",
            "engelsk",
            "ingiliz",
            "الإنجليزية",
            "अंग्रेज",
        ],
    ),
    (
        Lang::Deu,
        &[
            "german",
            "deutsch",
            "allemand",
            "alemán",
            "aleman",
            "alemão",
            "tedesc",
            "duits",
            "niemieck",
            "немецк",
            "德语",
            "德文",
            "ドイツ語",
            "독일어",
            "tysk",
        ],
    ),
    (
        Lang::Fra,
        &[
            "french",
            "französisch",
            "français",
            "francés",
            "francese",
            "francês",
            "frans",
            "francusk",
            "французск",
            "法语",
            "法文",
            "フランス語",
            "프랑스어",
            "불어",
        ],
    ),
    (
        Lang::Spa,
        &[
            "spanish",
            "spanisch",
            "espagnol",
            "español",
            "spagnol",
            "espanhol",
            "castellano",
            "spaans",
            "hiszpańsk",
            "испанск",
            "西班牙",
            "スペイン語",
            "스페인어",
        ],
    ),
    (
        Lang::Ita,
        &[
            "italian",
            "italienisch",
            "italien",
            "italiaans",
            "włosk",
            "итальянск",
            "意大利",
            "イタリア語",
            "이탈리아어",
        ],
    ),
    (
        Lang::Por,
        &[
            "portuguese",
            "portugiesisch",
            "portugais",
            "portugu",
            "portoghese",
            "portugees",
            "portugalsk",
            "португальск",
            "葡萄牙",
            "ポルトガル語",
            "포르투갈어",
        ],
    ),
    (
        Lang::Nld,
        &[
            "dutch",
            "niederländisch",
            "holländisch",
            "néerlandais",
            "neerlandés",
            "holandés",
            "olandese",
            "holandês",
            "nederlands",
            "niderlandzk",
            "holendersk",
            "голландск",
            "нидерландск",
            "荷兰",
            "オランダ語",
            "네덜란드어",
        ],
    ),
    (
        Lang::Pol,
        &[
            "polish",
            "polnisch",
            "polonais",
            "polac",
            "polonês",
            "polaco",
            "pools",
            "polsk",
            "польск",
            "波兰",
            "ポーランド語",
            "폴란드어",
        ],
    ),
    (
        Lang::Rus,
        &[
            "russian",
            "russisch",
            "russe",
            "ruso",
            "russo",
            "rosyjsk",
            "русск",
            "俄语",
            "俄文",
            "ロシア語",
            "러시아어",
        ],
    ),
    (
        Lang::Cmn,
        &[
            "chinese",
            "mandarin",
            "chinesisch",
            "chinois",
            "chino",
            "cinese",
            "chinês",
            "chinees",
            "chińsk",
            "китайск",
            "中文",
            "汉语",
            "漢語",
            "中国語",
            "중국어",
        ],
    ),
    (
        Lang::Jpn,
        &[
            "japanese",
            "japanisch",
            "japonais",
            "japonés",
            "giappones",
            "japonês",
            "japans",
            "japońsk",
            "японск",
            "日语",
            "日文",
            "日本語",
            "일본어",
        ],
    ),
    (
        Lang::Kor,
        &[
            "korean",
            "koreanisch",
            "coréen",
            "coreano",
            "coreano",
            "koreaans",
            "koreańsk",
            "корейск",
            "韩语",
            "韓語",
            "韩文",
            "韓国語",
            "한국어",
        ],
    ),
];

/// See [`DOC`].
pub struct ReplyLanguage {
    detector: LanguageDetector,
}

/// The rule with a recipe's parameters.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let detector = LanguageDetector::new(params)?;
    Ok(Box::new(ReplyLanguage { detector }))
}

impl Rule for ReplyLanguage {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        let mut asked = None;
        let mut before: Vec<(bool, &str)> = Vec::new();
        for part in row.parts() {
            match part.role {
                Some(Role::User) => {
                    asked = Some((part.text, self.detector.language(part.text)));
                    before.push((true, part.text));
                }
                Some(Role::Assistant) => {
                    let Some((question, asked)) = asked else {
                        continue;
                    };
                    let said = self.language(part.text, 3);
                    // Of most replies the language is known, and of most questions.
                    let asked = asked.or_else(|| said.and_then(|_| self.language(question, 2)));
                    let pair = asked.zip(said);
                    let pair = pair.or_else(|| self.detector.of_two_scripts(question, part.text));
                    let is_other = |(asked, said): &(Lang, Lang)| {
                        said != asked && !self.is_wanted(*said, &before)
                    };
                    if let Some((asked, said)) = pair.filter(is_other) {
                        let message = format!("in {}, asked in {}", called(said), called(asked));
                        hits.push(Hit::of(part.place, message));
                    }
                }
                _ => before.push((false, part.text)),
            }
        }
    }
}

impl ReplyLanguage {
    /// The language of a text; where it is too short for the detector, by so many different small words.
    fn language(&self, text: &str, small_words: usize) -> Option<Lang> {
        let found = self.detector.language(text);
        found.or_else(|| small_words::language(&sample(text), small_words))
    }

    /// Does a turn before the reply ask for a translation or for this language, or is there text in it to work with?
    fn is_wanted(&self, language: Lang, before: &[(bool, &str)]) -> bool {
        let names = CALLED.iter().find(|(called, _)| *called == language);
        let names = names.map_or(&[][..], |(_, names)| names);
        before.iter().any(|(is_asked, text)| {
            let lower = text.to_lowercase();
            let has_name = names.iter().any(|name| lower.contains(name))
                || [language.eng_name(), language.name()]
                    .iter()
                    .any(|name| lower.contains(&name.to_lowercase()));
            has_name
                || TRANSLATION.is_match(text)
                || text.lines().any(|line| {
                    // A system turn of a few words is in English whatever the row's language is.
                    let found = match is_asked {
                        true => self.language(line, 3),
                        false => self.detector.language(line),
                    };
                    found == Some(language)
                })
        })
    }
}
