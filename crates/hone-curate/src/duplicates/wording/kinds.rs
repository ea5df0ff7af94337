//! What a word is where it stands: a number, a negation, a name, something in quotes or code.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::LazyLock;

use crate::hashes::Hashed;
use crate::text::{Numbers, hash};

/// A number, or a word for one.
pub(crate) const NUMBER: u8 = 1;
/// A negation.
pub(crate) const NEGATION: u8 = 2;
/// A word whose opposite would read as well.
pub(super) const CONTRAST: u8 = 16;
/// A capital letter where no sentence begins.
pub(crate) const NAME: u8 = 4;
/// In quotes, or part of code, a path or an address.
pub(super) const LITERAL: u8 = 8;
/// Any of these makes two rows of two that differ in it.
pub(super) const PROTECTS: u8 = NUMBER | NEGATION | LITERAL;

/// Does a sentence end in what stands between two words?
pub(crate) fn ends_sentence(gap: &str) -> bool {
    let mut chars = gap.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '!' | '?' | ';' | '。' | '！' | '？' | '।' | '؟' => return true,
            '.' | ':' | '…' if chars.peek().is_none_or(|next| !next.is_alphanumeric()) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// Is it an operator, a currency, an arrow or a picture rather than punctuation of prose?
pub(super) fn is_symbol(c: char) -> bool {
    matches!(c,
        '+' | '=' | '<' | '>' | '%' | '$' | '&' | '/' | '\\' | '|' | '^' | '~' | '@' | '{' | '}' | '[' | ']'
        | '\u{a2}'..='\u{a5}' | '\u{b0}' | '\u{b1}' | '\u{d7}' | '\u{f7}'
        | '\u{20a0}'..='\u{20cf}' | '\u{2190}'..='\u{23ff}' | '\u{2500}'..='\u{27bf}'
        | '\u{27c0}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

/// What a word is that stands at a place of a text, given with its hash.
pub(crate) fn kind_of(
    (word, hash): (&str, u64),
    text: &str,
    span: &Range<usize>,
    begins_sentence: bool,
    numbers: Numbers,
) -> u8 {
    let mut kind = kind_alone(word, hash, numbers);
    let seen = &text[span.clone()];
    let is_capital = seen.chars().next().is_some_and(char::is_uppercase);
    if is_capital && !begins_sentence {
        kind |= NAME;
    }
    let mut before = text[..span.start].chars().rev();
    let (last, last_but_one) = (before.next(), before.next());
    let mut behind = text[span.end..].chars();
    let next = behind.next();
    let joins = |c: Option<char>| matches!(c, Some('_' | '/' | '\\' | '@' | '#' | '$' | '='));
    let is_quote = |c: Option<char>| matches!(c, Some('"' | '`' | '\'' | '“' | '«' | '„' | '‘'));
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_quoted = is_quote(last) && !is_part(last_but_one);
    let is_member = last == Some('.') && is_part(last_but_one);
    if is_quoted || is_member || joins(last) || joins(next) || next == Some('(') {
        kind |= LITERAL;
    }
    kind
}

/// What a word is wherever it stands.
fn kind_alone(word: &str, hash: u64, numbers: Numbers) -> u8 {
    let known = KNOWN.get(&hash).copied().unwrap_or(0);
    if numbers == Numbers::Zero {
        return known & !NUMBER;
    }
    let is_number = match word.is_ascii() {
        true => word.bytes().any(|byte| byte.is_ascii_digit()),
        false => word.chars().any(char::is_numeric),
    };
    known | if is_number { NUMBER } else { 0 }
}

/// Is it a number or a negation? Rows that differ in one are two rows, whatever else they have in common.
pub(in crate::duplicates) fn is_turning(word: &str, hash: u64, numbers: Numbers) -> bool {
    kind_alone(word, hash, numbers) & TURNING != 0
}

/// Numbers and negations.
pub(super) const TURNING: u8 = NUMBER | NEGATION;

/// What is known of words by themselves, by their hashes.
static KNOWN: LazyLock<HashMap<u64, u8, BuildHasherDefault<Hashed>>> = LazyLock::new(|| {
    let mut known: HashMap<u64, u8, _> = HashMap::default();
    for (words, kind) in [
        (NUMBER_WORDS, NUMBER),
        (NEGATIONS, NEGATION),
        (CONTRASTS, CONTRAST),
    ] {
        for word in words.split_whitespace() {
            *known.entry(hash(word.as_bytes())).or_default() |= kind;
        }
    }
    known
});

/// Numbers, months and days, as words: they are told apart as figures are.
const NUMBER_WORDS: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen \
         eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half quarter \
         double triple once twice first second third fourth fifth sixth seventh eighth ninth tenth last next previous \
         january february march april june july august september october november december \
         monday tuesday wednesday thursday friday saturday sunday \
         null eins zwei drei vier funf sechs sieben acht neun zehn elf zwolf zwanzig hundert tausend erste zweite dritte \
         januar februar marz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag sonntag \
         deux trois quatre cinq sept huit neuf dix onze douze vingt cent mille premier premiere deuxieme \
         janvier fevrier mars avril juin juillet aout septembre octobre novembre decembre \
         lundi mardi mercredi jeudi vendredi samedi dimanche \
         dos tres cuatro cinco seis siete ocho nueve diez once doce veinte cien mil primero segundo tercero \
         enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre \
         lunes martes miercoles jueves viernes sabado domingo \
         due tre quattro cinque sei sette otto nove dieci cento uno primo secondo terzo \
         gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre lunedi martedi mercoledi giovedi venerdi \
         dois quatro sete oito nove dez cem janeiro fevereiro marco maio junho julho setembro outubro dezembro \
         一 二 三 四 五 六 七 八 九 十 百 千 万";

/// Words that deny.
const NEGATIONS: &str = "not no never none nobody nothing neither nor without cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt \
         shouldnt couldnt hasnt havent hadnt t except unless non \
         nicht kein keine keinen keinem keiner nie niemals ohne weder noch nein \
         pas ne jamais aucun aucune rien sans ni nunca ningun ninguna nadie nada sin tampoco \
         nessuno nessuna niente senza nao nem nenhum nenhuma sem niet geen nooit zonder \
         nej inte ingen aldrig utan ikke aldri uden ei emme ette eivat ilman nie bez ani zaden neni nikdy nem nincs soha nelkul \
         nu niciodata fara degil yok hayir asla не нет ни никогда без нельзя ні немає khong bukan tidak tanpa δεν μη οχι χωρις \
         لا ليس لم لن بدون غير לא אין בלי नहीं मत बिना 不 没 沒 无 無 非 未 否 别 勿 莫 안 못 않 없";

/// Words of which another of the list in the same place says something else, or the opposite; and words that limit.
const CONTRASTS: &str = "true false yes with before after above below over under inside outside left right up down in out on off \
         more less most least fewer greater smaller higher lower larger minimum maximum min max north south east west \
         early late earlier later always sometimes often rarely only also if while until and or but \
         he she his her him male female man woman boy girl father mother positive negative allow deny allowed denied forbidden \
         forbid accept reject refuse accepted rejected refused approve approved declined enable disable enabled disabled \
         open close opened closed start stop begin end buy sell win lose won lost hot cold safe dangerous good bad right wrong \
         same different everybody somebody all some any every each must may present absent acute chronic benign malignant \
         mit vor nach uber unter mehr weniger ja oder und alle einige avec avant apres plus moins oui ou et tous \
         con antes despues mas menos si todos prima dopo meno tutti com depois mais todos";

/// Beginnings that make another word of a word, often its opposite.
const PREFIXES: [&str; 43] = [
    "a", "an", "un", "in", "im", "il", "ir", "non", "dis", "de", "mis", "anti", "hyper", "hypo",
    "inter", "intra", "pre", "post", "sub", "super", "over", "under", "ex", "counter", "en", "em",
    "des", "ab", "auf", "aus", "ein", "ent", "ver", "zu", "ne", "nie", "ni", "не", "без", "ن",
    "na", "up", "down",
];

/// What denies within Japanese words, which stand letter by letter.
const DENYING_KANA: [&str; 7] = ["せん", "ない", "なか", "なく", "なけ", "ず", "ぬ"];

/// What denies within Turkish words.
const DENYING_SYLLABLES: [&str; 10] = [
    "maz", "mez", "madi", "medi", "madı", "mayac", "meyec", "mıyor", "miyor", "muyor",
];

/// Does one of two stretches deny, by what stands within its words, and the other not?
pub(super) fn denies_within(a: &str, b: &str) -> bool {
    let any = |of: &[&str], word: &str| of.iter().any(|part| word.contains(part));
    let stem = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let differ = |of: &[&str]| any(of, a) != any(of, b);
    differ(&DENYING_KANA) || stem > 1 && differ(&DENYING_SYLLABLES)
}

/// Are two words one word with another beginning, such as `typical` and `atypical`?
pub(super) fn begins_otherwise(a: &str, b: &str) -> bool {
    let shared = a.chars().rev().zip(b.chars().rev());
    let shared = shared.take_while(|(a, b)| a == b);
    let bytes: usize = shared.clone().map(|(c, _)| c.len_utf8()).sum();
    let is_prefix = |prefix: &str| prefix.is_empty() || PREFIXES.contains(&prefix);
    // The longest common end may take a letter of the beginning with it: `unable` and `enable`.
    shared.count() > 3 && is_prefix(&a[..a.len() - bytes]) && is_prefix(&b[..b.len() - bytes])
}
