//! The texts of a row as lists of words, read once for all rules.

use std::borrow::Cow;
use std::ops::Range;

use hone_data::{Part, Record};
use hone_text::Role;
use serde::Serialize;

use crate::text::{Numbers, Words};

/// Which texts of a row are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Texts {
    /// All but the system turns, which whole datasets have in common.
    All,
    /// What users say, and texts trained on whole.
    Asked,
}

impl Texts {
    pub(super) fn contains(self, part: &Part<'_>) -> bool {
        match self {
            Self::All => part.role != Some(Role::System),
            Self::Asked => matches!(part.role, None | Some(Role::User)),
        }
    }
}

/// The texts of a row as lists of words.
pub(super) struct Reading<'a> {
    pub texts: Vec<Text<'a>>,
}

/// One text.
pub(super) struct Text<'a> {
    pub part: Part<'a>,
    pub words: Words,
    kept: Vec<u64>,
    /// With every number as the word `0`; none where no rule asks.
    folded: Option<Vec<u64>>,
}

impl Text<'_> {
    /// A hash of each word.
    pub fn hashes(&self, numbers: Numbers) -> &[u64] {
        match (numbers, &self.folded) {
            (Numbers::Zero, Some(folded)) => folded,
            _ => &self.kept,
        }
    }
}

impl<'a> Reading<'a> {
    /// With numbers as they are, and folded where a rule asks for that.
    pub fn of(record: &'a Record, is_folded: bool) -> Self {
        let text = |part: Part<'a>| {
            let words = Words::of(part.text, Numbers::Kept);
            Text {
                part,
                kept: words.hashes().collect(),
                folded: is_folded.then(|| words.folded_hashes().collect()),
                words,
            }
        };
        Self {
            texts: record.parts().map(text).collect(),
        }
    }

    /// What is kept of a row: the words of all texts that are compared, numbers as they are.
    pub fn kept(&self) -> Kept {
        let (mut words, mut asked) = (Vec::new(), Vec::new());
        let compared = self.texts.iter();
        for text in compared.filter(|text| Texts::All.contains(&text.part)) {
            let begin = words.len() as u32;
            words.extend_from_slice(&text.kept);
            if Texts::Asked.contains(&text.part) {
                asked.push(begin..words.len() as u32);
            }
        }
        Kept {
            words: words.into(),
            asked: asked.into(),
        }
    }

    /// The words of each text that is compared, numbers as they are.
    pub fn words(&self) -> impl Iterator<Item = &[u64]> {
        let compared = self
            .texts
            .iter()
            .filter(|text| Texts::All.contains(&text.part));
        compared.map(|text| &text.kept[..])
    }

    /// What users say, and texts trained on whole, numbers as they are.
    pub fn asked(&self) -> impl Iterator<Item = (&Part<'a>, &Words, &[u64])> {
        let asked = self
            .texts
            .iter()
            .filter(|text| Texts::Asked.contains(&text.part));
        asked.map(|text| (&text.part, &text.words, &text.kept[..]))
    }

    /// The words that a rule reads as one.
    pub fn joined(&self, texts: Texts, numbers: Numbers) -> Vec<u64> {
        let compared = self.texts.iter().filter(|text| texts.contains(&text.part));
        compared
            .flat_map(|text| text.hashes(numbers).iter().copied())
            .collect()
    }
}

/// The words of a row, of which some are asked.
#[derive(Default)]
pub(super) struct Kept {
    words: Box<[u64]>,
    asked: Box<[Range<u32>]>,
}

impl Kept {
    /// The words that a rule reads as one.
    pub fn joined(&self, texts: Texts) -> Cow<'_, [u64]> {
        let of = |words: &Range<u32>| &self.words[words.start as usize..words.end as usize];
        match texts {
            Texts::All => Cow::Borrowed(&self.words),
            Texts::Asked => Cow::Owned(self.asked.iter().flat_map(of).copied().collect()),
        }
    }
}
