//! The language of a text that is too short for trigrams, by its small words: `der`, `the`, `les`.
//!
//! A question of six words has three of them, and few are words of two languages. Where they are, nothing is said.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use whatlang::Lang;

/// Words of a text from which on its small words are counted.
const FEWEST: usize = 5;

static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#""[^"\n]*"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|»[^«\n]*«"#).expect("a fixed pattern")
});

/// Small words, as many as a language needs in every other sentence; in small letters.
const SMALL: [(Lang, &str); 7] = [
    (
        Lang::Eng,
        "the of and that with this are which from you your should when what is it to for as by have has not can be they \
         their there but if its than then how who will would into more most also each where while about these those why do does did my we our me he his her at so",
    ),
    (
        Lang::Deu,
        "der die das und ist nicht ein eine einen einem einer mit auf für von den dem des im zu wird werden auch sich wie aus \
         bei nach oder aber kann können sind wenn weil dass hat haben durch über ich du sie wir ihr noch nur sehr wo warum \
         welche welcher welches zum zur vom am viele wann mir dir mich dich kannst muss soll wurde seit heute",
    ),
    (
        Lang::Fra,
        "le la les des du de et est une un dans pour que qui sur pas avec sont plus ce cette il elle nous vous au aux par mais \
         ou où ne se son sa ses leur quel quelle comment pourquoi c'est qu'il",
    ),
    (
        Lang::Spa,
        "el la los las de del y es una un en que por para con no se su al lo como más pero son está este esta qué cuál cómo \
         hay muy también",
    ),
    (
        Lang::Por,
        "o a os as de do da dos das e é um uma em que por para com não se no na mais mas são está isso você ao qual como \
         também muito",
    ),
    (
        Lang::Ita,
        "il lo la gli le di del della dei e è un una che per con non si al dal nel nella più ma sono questo come anche \
         perché qual quale",
    ),
    (
        Lang::Nld,
        "de het een en van is dat met op voor niet zijn aan ook als maar door wordt kan bij uit naar deze waarom welke wat hoe \
         hebben er je",
    ),
];

/// In which of the languages a word is a small one: a bit for each, in their order.
static SMALL_IN: LazyLock<HashMap<&str, u8>> = LazyLock::new(|| {
    let mut found = HashMap::new();
    for (number, (_, small)) in SMALL.iter().enumerate() {
        for word in small.split_ascii_whitespace() {
            *found.entry(word).or_default() |= 1 << number;
        }
    }
    found
});

/// The language whose small words make up a quarter of a text outside of quotes, at least `different` of them different, and of
/// no other language half as many.
pub fn language(text: &str, different: usize) -> Option<Lang> {
    // What is quoted may be in any language, and so may names: `Le Monde`, `Die Zeit`.
    let text = QUOTED.replace_all(text, " ");
    let is_apart = |c: char| !c.is_alphabetic() && c != '\'' && c != '_';
    let mut words: Vec<&str> = text
        .split(is_apart)
        .filter(|word| !word.is_empty())
        .collect();
    if words.len() < FEWEST {
        return None;
    }
    let first = words[0].to_lowercase();
    words[0] = &first;
    words.sort_unstable();
    let mut counts = SMALL.map(|(language, _)| (0, 0, language));
    for same in words.chunk_by(|one, other| one == other) {
        let of = SMALL_IN.get(same[0]).copied().unwrap_or(0);
        for (number, (met, all, _)) in counts.iter_mut().enumerate() {
            if of >> number & 1 == 1 {
                *met += 1;
                *all += same.len();
            }
        }
    }
    counts.sort_by_key(|(met, all, _)| std::cmp::Reverse((*met, *all)));
    let [(most, all, language), (second, ..), ..] = counts;
    let is_clear = most >= different && 4 * all >= words.len() && 2 * second <= most;
    is_clear.then_some(language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_words_tell_a_language() {
        for (text, known) in [
            ("Was ist die Hauptstadt von Frankreich?", Some(Lang::Deu)),
            ("The capital of France is Paris.", Some(Lang::Eng)),
            (
                "Quelle est la capitale de l'Italie et pourquoi ?",
                Some(Lang::Fra),
            ),
            (
                "Wat is de hoofdstad van het land en waarom?",
                Some(Lang::Nld),
            ),
            // A name, a title, too few words, two languages.
            ("Paris Saint-Germain Olympique Lyon Marseille Monaco", None),
            ("The Lord of the Rings", None),
            ("Compare Le Monde, Les Echos, La Croix, Le Soir", None),
            ("Guten Morgen", None),
            (
                "Was bedeutet the early bird catches the worm in der Regel?",
                None,
            ),
            (
                "Wer sagte \"To be or not to be, that is the question\"?",
                None,
            ),
            (
                "SELECT name FROM the_table WHERE that IS NOT NULL AND this IN (1)",
                None,
            ),
            ("cat file | grep -v the > out.txt && rm file", None),
        ] {
            assert_eq!(language(text, 3), known, "{text}");
        }
    }
}
