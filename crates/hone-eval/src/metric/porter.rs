//! Porter's stemmer (1980) with the extensions of NLTK 3.10's `PorterStemmer`, which is what `rouge_score` stems with.
//!
//! NLTK departs from the paper in ways that change one word in a hundred: a table of irregular forms, words of one or
//! two letters left alone, short `-ies` and `-ied`, `y` only after a consonant, `alli`, `fulli` and `logi`. Other
//! stemmers of the same name give other scores, so the golden words come from NLTK.

/// Stems a word of lower-case ASCII letters and digits.
pub fn stem(word: &str) -> String {
    let mut bytes = word.as_bytes().to_vec();
    stem_bytes(&mut bytes);
    String::from_utf8(bytes).expect("ASCII stays ASCII")
}

/// The same in place.
pub(super) fn stem_bytes(word: &mut Vec<u8>) {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| form.as_bytes() == word) {
        word.clear();
        word.extend_from_slice(stem.as_bytes());
        return;
    }
    if word.len() <= 2 {
        return;
    }
    plural(word);
    past_and_gerund(word);
    final_y(word);
    double_suffixes(word);
    apply(word, &STEP_3);
    apply(word, &STEP_4);
    final_e(word);
    if word.ends_with(b"ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
}

const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// A suffix, what replaces it, and what must hold of the word before it.
type Rule = (&'static str, &'static str, fn(&[u8]) -> bool);

/// The first rule whose suffix is there decides, whether its condition holds or not.
fn apply(word: &mut Vec<u8>, rules: &[Rule]) {
    let Some((suffix, replacement, holds)) = rules
        .iter()
        .find(|(suffix, _, _)| word.ends_with(suffix.as_bytes()))
    else {
        return;
    };
    let end = word.len() - suffix.len();
    if holds(&word[..end]) {
        word.truncate(end);
        word.extend_from_slice(replacement.as_bytes());
    }
}

fn always(_: &[u8]) -> bool {
    true
}

fn some(stem: &[u8]) -> bool {
    measure(stem) > 0
}

fn several(stem: &[u8]) -> bool {
    measure(stem) > 1
}

/// `(m>1 and (*S or *T)) ION`.
fn several_before_ion(stem: &[u8]) -> bool {
    several(stem) && matches!(stem.last(), Some(b's' | b't'))
}

/// The `l` of `logi` belongs to the stem, so that `geologi` works as `archaeologi` does.
fn some_with_l(stem: &[u8]) -> bool {
    let mut stem = stem.to_vec();
    stem.push(b'l');
    some(&stem)
}

const STEP_1A: [Rule; 4] = [
    ("sses", "ss", always),
    ("ies", "i", always),
    ("ss", "ss", always),
    ("s", "", always),
];

const STEP_2: [Rule; 22] = [
    ("ational", "ate", some),
    ("tional", "tion", some),
    ("enci", "ence", some),
    ("anci", "ance", some),
    ("izer", "ize", some),
    ("bli", "ble", some),
    ("alli", "al", some),
    ("entli", "ent", some),
    ("eli", "e", some),
    ("ousli", "ous", some),
    ("ization", "ize", some),
    ("ation", "ate", some),
    ("ator", "ate", some),
    ("alism", "al", some),
    ("iveness", "ive", some),
    ("fulness", "ful", some),
    ("ousness", "ous", some),
    ("aliti", "al", some),
    ("iviti", "ive", some),
    ("biliti", "ble", some),
    ("fulli", "ful", some),
    ("logi", "log", some_with_l),
];

const STEP_3: [Rule; 7] = [
    ("icate", "ic", some),
    ("ative", "", some),
    ("alize", "al", some),
    ("iciti", "ic", some),
    ("ical", "ic", some),
    ("ful", "", some),
    ("ness", "", some),
];

const STEP_4: [Rule; 19] = [
    ("al", "", several),
    ("ance", "", several),
    ("ence", "", several),
    ("er", "", several),
    ("ic", "", several),
    ("able", "", several),
    ("ible", "", several),
    ("ant", "", several),
    ("ement", "", several),
    ("ment", "", several),
    ("ent", "", several),
    ("ion", "", several_before_ion),
    ("ou", "", several),
    ("ism", "", several),
    ("ate", "", several),
    ("iti", "", several),
    ("ous", "", several),
    ("ive", "", several),
    ("ize", "", several),
];

/// Step 1a.
fn plural(word: &mut Vec<u8>) {
    if word.ends_with(b"ies") && word.len() == 4 {
        word.pop();
        return;
    }
    apply(word, &STEP_1A);
}

/// Step 1b.
fn past_and_gerund(word: &mut Vec<u8>) {
    if word.ends_with(b"ied") {
        let kept = if word.len() == 4 { 1 } else { 2 };
        word.truncate(word.len() - kept);
        return;
    }
    if word.ends_with(b"eed") {
        if some(&word[..word.len() - 3]) {
            word.pop();
        }
        return;
    }
    let with_vowel = |suffix: &&[u8]| {
        word.ends_with(suffix) && contains_vowel(&word[..word.len() - suffix.len()])
    };
    let Some(suffix) = [&b"ed"[..], &b"ing"[..]].into_iter().find(with_vowel) else {
        return;
    };
    word.truncate(word.len() - suffix.len());
    if [b"at", b"bl", b"iz"].iter().any(|end| word.ends_with(*end)) {
        word.push(b'e');
    } else if ends_in_double_consonant(word) {
        if !matches!(word.last(), Some(b'l' | b's' | b'z')) {
            word.pop();
        }
    } else if measure(word) == 1 && ends_in_cvc(word) {
        word.push(b'e');
    }
}

/// Step 1c, after a consonant only and not in words like `by`.
fn final_y(word: &mut [u8]) {
    let Some((last, stem)) = word.split_last_mut() else {
        return;
    };
    if *last == b'y' && stem.len() > 1 && is_consonant(stem, stem.len() - 1) {
        *last = b'i';
    }
}

/// Step 2; what `alli` leaves goes through it again.
fn double_suffixes(word: &mut Vec<u8>) {
    while word.ends_with(b"alli") && some(&word[..word.len() - 4]) {
        word.truncate(word.len() - 2);
    }
    apply(word, &STEP_2);
}

/// Step 5a.
fn final_e(word: &mut Vec<u8>) {
    if let Some((b'e', stem)) = word.split_last() {
        let measure = measure(stem);
        if measure > 1 || (measure == 1 && !ends_in_cvc(stem)) {
            word.pop();
        }
    }
}

fn is_vowel(letter: u8) -> bool {
    matches!(letter, b'a' | b'e' | b'i' | b'o' | b'u')
}

/// A `y` is one where the letter before it is none: every second one of a run of them.
fn is_consonant(word: &[u8], at: usize) -> bool {
    if word[at] != b'y' {
        return !is_vowel(word[at]);
    }
    let first = word[..at].iter().rposition(|letter| *letter != b'y');
    let run = at - first.unwrap_or(0);
    match first {
        // The run begins the word with a consonant.
        None => run.is_multiple_of(2),
        Some(first) => is_vowel(word[first]) != run.is_multiple_of(2),
    }
}

/// How often a consonant follows a vowel: `m` in `[C](VC)^m[V]`.
fn measure(stem: &[u8]) -> usize {
    let (mut count, mut before) = (0, true);
    for (at, letter) in stem.iter().enumerate() {
        let consonant = follows(*letter, at, before);
        count += usize::from(consonant && !before);
        before = consonant;
    }
    count
}

fn contains_vowel(stem: &[u8]) -> bool {
    let mut before = true;
    stem.iter().enumerate().any(|(at, letter)| {
        before = follows(*letter, at, before);
        !before
    })
}

/// Whether a letter is a consonant, from whether the one before it is.
fn follows(letter: u8, at: usize, before: bool) -> bool {
    match letter {
        b'y' => at == 0 || !before,
        _ => !is_vowel(letter),
    }
}

fn ends_in_double_consonant(word: &[u8]) -> bool {
    let len = word.len();
    len >= 2 && word[len - 1] == word[len - 2] && is_consonant(word, len - 1)
}

/// Consonant, vowel, consonant other than w, x and y; NLTK also counts a vowel and a consonant alone.
fn ends_in_cvc(word: &[u8]) -> bool {
    let len = word.len();
    if len == 2 {
        return !is_consonant(word, 0) && is_consonant(word, 1);
    }
    len >= 3
        && is_consonant(word, len - 3)
        && !is_consonant(word, len - 2)
        && is_consonant(word, len - 1)
        && !matches!(word[len - 1], b'w' | b'x' | b'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_where_stemmers_differ() {
        for (word, expected) in [
            ("used", "use"),
            ("they", "they"),
            ("array", "array"),
            ("technology", "technolog"),
            ("this", "thi"),
            ("various", "variou"),
            ("general", "gener"),
            ("dies", "die"),
            ("flies", "fli"),
            ("spied", "spi"),
            ("died", "die"),
            ("sky", "sky"),
            ("yyyy", "yyyi"),
            ("", ""),
            ("s", "s"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
