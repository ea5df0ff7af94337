//! What the name of a file or a folder says about the side its rows stand on.
//!
//! The words are those of the Hub, where a name says a side if one of its words does, whatever else it says: asking
//! once too often costs a flag, training on a test file costs the result. Words of two sides in one name say nothing
//! sure.

use crate::Side;

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::read) enum Said {
    /// No side.
    Nothing,
    /// A side.
    Side(Side),
    /// A test on the Hub, and the validation set of those who have a test beside it.
    Eval,
    /// Some side, but not which.
    Unclear,
}

const WORDS: [(&str, Said); 23] = [
    ("train", Said::Side(Side::Train)),
    ("training", Said::Side(Side::Train)),
    ("trainset", Said::Side(Side::Train)),
    ("traindata", Said::Side(Side::Train)),
    ("validation", Said::Side(Side::Valid)),
    ("valid", Said::Side(Side::Valid)),
    ("val", Said::Side(Side::Valid)),
    ("dev", Said::Side(Side::Valid)),
    ("validset", Said::Side(Side::Valid)),
    ("valset", Said::Side(Side::Valid)),
    ("devset", Said::Side(Side::Valid)),
    ("development", Said::Side(Side::Valid)),
    ("test", Said::Side(Side::Test)),
    ("tests", Said::Side(Side::Test)),
    ("testing", Said::Side(Side::Test)),
    ("testset", Said::Side(Side::Test)),
    ("testdata", Said::Side(Side::Test)),
    ("eval", Said::Eval),
    ("evals", Said::Eval),
    ("evaluation", Said::Eval),
    ("evalset", Said::Eval),
    ("holdout", Said::Unclear),
    ("heldout", Said::Unclear),
];

/// What the words of a name say.
pub(in crate::read) fn said(name: &str) -> Said {
    let words = words(name);
    let held_out = words.windows(2).any(|pair| {
        let is_hold = matches!(pair[0].as_str(), "held" | "hold");
        is_hold && pair[1] == "out"
    });
    let mut found = if held_out {
        Said::Unclear
    } else {
        Said::Nothing
    };
    for word in &words {
        let Some((_, said)) = WORDS.iter().find(|(known, _)| known == word) else {
            continue;
        };
        found = match found {
            Said::Nothing => *said,
            same if same == *said => same,
            _ => Said::Unclear,
        };
    }
    found
}

/// Does the name say nothing but a side, as `train.txt` does?
pub(in crate::read) fn is_a_side(stem: &str) -> bool {
    words(stem).len() == 1 && said(stem) != Said::Nothing
}

/// Runs of letters in lower case; `TrainSet` is two.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_alphabetic() {
            let begins =
                !before.is_alphabetic() || (before.is_lowercase() && letter.is_uppercase());
            if begins {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(letter.to_lowercase());
            }
        }
        before = letter;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_a_side_if_one_of_its_words_does() {
        let (train, valid, test) = (
            Said::Side(Side::Train),
            Said::Side(Side::Valid),
            Said::Side(Side::Test),
        );
        for (name, expected) in [
            ("train-00000-of-00001", train),
            ("valid", valid),
            ("DEV", valid),
            ("my_test", test),
            ("squad2.0-validation", valid),
            ("TestSet", test),
            ("train2", train),
            ("test_results_v2", test),
            ("eval", Said::Eval),
            ("latest", Said::Nothing),
            ("contest", Said::Nothing),
            ("attrain", Said::Nothing),
            ("poems", Said::Nothing),
            ("train_test", Said::Unclear),
            ("held-out", Said::Unclear),
        ] {
            assert_eq!(said(name), expected, "{name}");
        }
    }

    #[test]
    fn only_a_name_that_says_nothing_else_is_a_side() {
        assert!(is_a_side("test") && is_a_side("train-00001"));
        assert!(!is_a_side("test-plan") && !is_a_side("poems"));
    }
}
