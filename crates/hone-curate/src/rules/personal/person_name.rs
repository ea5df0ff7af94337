//! Names of persons, by lists and by the words beside them.

use hone_data::Record;

use super::gazetteer::{FAMILY_NAMES, FIRST_NAMES, PLACES, Run, each_run, ends_in};
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "person-name",
    family: Family::PersonalData,
    summary: "a person's name, with lower confidence",
    why: "A name ties everything else in a row to somebody. But names are words too, most names of the world are on no list, and authors and public figures are named with good reason: this rule points, it does not know. Look before you redact by it.",
    what: "Runs of capitalised words outside code. A first name from a list and another capitalised word score 0.7 if that is a listed family name, else 0.55; after a title such as *Mr.*, *Dr.* or *Frau*, or a phrase such as *my name is*, 0.6; a word such as *-sson*, *-ová*, *-wski* after another one 0.5; a listed first name alone 0.3, beside words such as *dear*, *told* or *regards* 0.65. Lists: some 4,000 first names (US Census 1990 and our own of other countries) and the 3,000 commonest family names of that census; names that are words first (*Will*, *May*, *Rose*) are left out. Names are looked for in Latin letters only: `data check`, `data build` and the report say in which languages of the data they are not. Recall is well below that of rules about numbers. Label `PERSON`.",
    default: Action::Report,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "dear",
    "hi",
    "hello",
    "hey",
    "regards",
    "sincerely",
    "signed",
    "cheers",
    "thanks",
    "name*",
    "called",
    "told",
    "met",
    "wife",
    "husband",
    "brother",
    "sister",
    "son",
    "daughter",
    "mother",
    "father",
    "friend",
    "colleague",
    "boss",
    "cousin",
    "aunt",
    "uncle",
    "said",
    "says",
    "asked",
    "contact",
    "patient",
    "client",
    "customer",
    "employee",
    "born",
    "married",
];

const TITLES: &[&str] = &[
    "Mr",
    "Mrs",
    "Ms",
    "Miss",
    "Dr",
    "Prof",
    "Professor",
    "Sir",
    "Madam",
    "Lord",
    "Lady",
    "Herr",
    "Frau",
    "Monsieur",
    "Madame",
    "Mademoiselle",
    "Señor",
    "Señora",
    "Signor",
    "Signora",
    "Sr",
    "Sra",
    "Hr",
    "Rev",
    "Capt",
    "Captain",
    "Sgt",
    "Lt",
    "Gen",
    "Judge",
    "Senator",
    "Doctor",
];

/// What people say before a name, in lower case; the name follows at once.
const INTRODUCED: &[&str] = &[
    "name is",
    "name's",
    "name:",
    "signed",
    "regards,",
    "sincerely,",
    "cheers,",
    "dear",
    "ich heiße",
    "je m'appelle",
    "me llamo",
    "mi chiamo",
    "attn:",
    "att:",
];

/// How family names end, and few other words: Nordic, Slavic, Greek, Romanian, Armenian, Georgian.
const ENDINGS: &[&str] = &[
    "sson", "dóttir", "dottir", "ová", "ská", "ński", "nska", "ńska", "wski", "wska", "wicz",
    "czyk", "enko", "ović", "ević", "ovic", "evic", "ovich", "evich", "ova", "eva", "opoulos",
    "akis", "escu", "yan", "shvili",
];

/// Capitalised words that end a name.
const NOT_NAMES: &[&str] = &[
    "I",
    "The",
    "A",
    "An",
    "And",
    "Or",
    "But",
    "In",
    "On",
    "At",
    "Of",
    "For",
    "To",
    "From",
    "With",
    "By",
    "As",
    "Is",
    "It",
    "If",
    "My",
    "We",
    "You",
    "He",
    "She",
    "They",
    "This",
    "That",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
    "Street",
    "Avenue",
    "Road",
    "University",
    "Inc",
    "Ltd",
    "LLC",
    "GmbH",
    "Corp",
    "Corporation",
    "Company",
    "Group",
    "Library",
    "Project",
    "Foundation",
    "Institute",
    "Linux",
    "Windows",
    "Mac",
    "Unix",
    "API",
    "License",
    "Language",
    "Software",
    "Team",
    "Server",
    "Please",
    "Yes",
    "No",
    "Sir",
    "Madam",
];

/// The language of a text, where its letters alone do not tell it and its words do.
fn reliable(text: &str) -> Option<whatlang::Lang> {
    let told = whatlang::detect(text).filter(whatlang::Info::is_reliable);
    told.map(|told| told.lang())
}

/// The code of a row's language, if it is written in letters of which the lists know no names.
pub(crate) fn without_names(record: &Record) -> Option<&'static str> {
    let texts = record.parts().map(|part| part.text);
    texts
        .filter(|text| !text.is_ascii())
        .find_map(language_without_names)
}

/// The same of a text.
fn language_without_names(text: &str) -> Option<&'static str> {
    use whatlang::Script;
    let sample = &text[..text.floor_char_boundary(text.len().min(600))];
    Some(match whatlang::detect_script(sample)? {
        Script::Latin => return None,
        Script::Hiragana | Script::Katakana => "ja",
        Script::Mandarin if sample.contains(|c| matches!(c, '\u{3041}'..='\u{30fa}')) => "ja",
        Script::Mandarin => "zh",
        Script::Hangul => "ko",
        Script::Cyrillic => match reliable(sample) {
            Some(whatlang::Lang::Ukr) => "uk",
            Some(whatlang::Lang::Bul) => "bg",
            Some(whatlang::Lang::Srp) => "sr",
            Some(whatlang::Lang::Bel) => "be",
            Some(whatlang::Lang::Mkd) => "mk",
            _ => "ru",
        },
        Script::Arabic => match reliable(sample) {
            Some(whatlang::Lang::Pes) => "fa",
            Some(whatlang::Lang::Urd) => "ur",
            _ => "ar",
        },
        Script::Devanagari => "hi",
        Script::Hebrew => "he",
        Script::Greek => "el",
        Script::Thai => "th",
        Script::Bengali => "bn",
        Script::Tamil => "ta",
        Script::Telugu => "te",
        Script::Kannada => "kn",
        Script::Malayalam => "ml",
        Script::Gujarati => "gu",
        Script::Gurmukhi => "pa",
        Script::Georgian => "ka",
        Script::Armenian => "hy",
        Script::Ethiopic => "am",
        Script::Khmer => "km",
        Script::Myanmar => "my",
        Script::Oriya => "or",
        Script::Sinhala => "si",
    })
}

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    each_run(text, |run| {
        let mut at = 0;
        while at < run.len() {
            let (next, sighting) = person(run, at);
            seen.extend(sighting);
            at = next;
        }
    });
}

/// A name that begins with a word of a run, and the word to look at next.
fn person(run: &Run<'_>, at: usize) -> (usize, Option<Sighting>) {
    let word = run.word(at);
    if TITLES.contains(&word.trim_end_matches('.')) && at + 1 < run.len() {
        let end = name_end(run, at + 1);
        let found = (end > at + 1).then(|| sighting(run, at + 1, end).scored(0.6));
        return (end.max(at + 1), found);
    }
    let is_first = FIRST_NAMES.contains(word);
    let introduced = is_introduced(run, at);
    if !is_first && !introduced && !is_followed_by_a_family_name(run, at) {
        return (at + 1, None);
    }
    let end = name_end(run, at);
    if end == at || PLACES.contains(&run.text[run.span(at..end)]) {
        return (at + 1, None);
    }
    let others = (at + 1..end).filter(|&at| !is_initial(run.word(at)));
    let listed = others.clone().any(|at| FAMILY_NAMES.contains(run.word(at)));
    let score = match (is_first, others.count()) {
        (true, 1..) if listed => 0.7,
        (_, _) if introduced => 0.6,
        (true, 1..) => 0.55,
        (false, _) => 0.5,
        _ => 0.3,
    };
    let found = sighting(run, at, end).scored(score);
    (
        end,
        Some(if score < 0.5 {
            found.beside(CONTEXT)
        } else {
            found
        }),
    )
}

/// Does a word follow, at once or after an initial, that ends as only family names do?
fn is_followed_by_a_family_name(run: &Run<'_>, at: usize) -> bool {
    let next = at + 1 + usize::from(at + 1 < run.len() && is_initial(run.word(at + 1)));
    let told = next < run.len()
        && run.word(next).len() > 5
        && ENDINGS
            .iter()
            .any(|ending| run.word(next).ends_with(ending));
    told && !is_initial(run.word(at)) && !NOT_NAMES.contains(&run.word(at))
}

fn sighting(run: &Run<'_>, start: usize, end: usize) -> Sighting {
    Sighting::new(run.span(start..end), "PERSON", "perhaps a person's name")
}

/// Where a name that begins with this word ends: four words at most.
fn name_end(run: &Run<'_>, start: usize) -> usize {
    let is_part = |&at: &usize| {
        let word = run.word(at);
        !NOT_NAMES.contains(&word)
            && (is_initial(word) || word.chars().skip(1).any(char::is_lowercase))
    };
    let end = start
        + (start..run.len().min(start + 4))
            .take_while(is_part)
            .count();
    // An initial ends no name.
    end - usize::from(end > start + 1 && is_initial(run.word(end - 1)))
}

fn is_initial(word: &str) -> bool {
    word.trim_end_matches('.').chars().count() == 1
}

fn is_introduced(run: &Run<'_>, at: usize) -> bool {
    ends_in(run.before(at), INTRODUCED)
}
