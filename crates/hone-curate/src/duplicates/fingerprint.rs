//! What is remembered of a row: ids of what it says and the bands of its MinHash.

use hone_data::{Body, Part, Record};
use hone_ledger::{ContentId, Hasher};
use hone_text::Role;

use super::near::{MinHash, NearOptions, WordsOf};
use super::rare;
use super::wording::{are_of_one_length, most_apart};
use crate::leaks::prompt;
use crate::text::{mix, same_but_case};

/// One row, remembered in a few hundred bytes.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    /// The row's number.
    pub row: usize,
    /// The prefix of the id of what it says.
    content: u64,
    /// Is it held out already? Of rows that are alike, a held-out one stays what it is.
    pub is_held_out: bool,
    /// Is its side settled? Of rows that are alike, the one that nobody has put anywhere leaves.
    pub is_pinned: bool,
    /// The id of all its texts but for case and white space.
    pub exact: ContentId,
    /// The id of all that stands before its last reply, system turns included; `None` for a text.
    pub prompt: Option<ContentId>,
    /// The prefixes of the ids of its prompts as `prompt-exact` compares them, the last one apart: most rows have no other,
    /// and a list of one costs more than the one.
    pub(crate) last_asked: Option<u64>,
    pub(crate) asked_before: Box<[u64]>,
    /// The id of its last reply.
    pub reply: Option<ContentId>,
    /// How many words the last reply has.
    pub reply_words: usize,
    /// How many bytes of it are trained on.
    pub supervised_bytes: usize,
    /// One hash per band of its MinHash; none when it has no words.
    pub(super) bands: Box<[u64]>,
    /// Its words, or a sample of them.
    pub(super) words: Box<[u32]>,
    /// How many words are asked, and how many are trained on.
    pub(super) lengths: [u32; 2],
    /// A hash of its numbers and negations, whatever their order; of both halves, apart.
    turning: u64,
    /// A hash of all its words in order; 0 when it has none.
    pub(super) reads: u64,
    /// The prefix of the id of its labels, an order among rows that say the same.
    labels: u64,
}

/// Makes fingerprints, the same ones on any thread.
pub struct Fingerprints {
    /// Where nobody looks for near-duplicates, their part of a fingerprint is left empty.
    near: Option<(NearOptions, MinHash)>,
}

impl Fingerprints {
    /// Fingerprints for a search of near-duplicates under these options.
    pub fn new(options: &NearOptions) -> Self {
        Self {
            near: Some((options.clone(), MinHash::new(options))),
        }
    }

    /// Fingerprints for a search of rows that say the same, without near-duplicates.
    pub fn exact() -> Self {
        Self { near: None }
    }

    /// The fingerprint of a row.
    pub fn of(&self, row: usize, record: &Record) -> Fingerprint {
        self.with_content(row, record, record.content_id())
    }

    /// The fingerprint of a row whose id is known.
    pub(crate) fn with_content(
        &self,
        row: usize,
        record: &Record,
        content: ContentId,
    ) -> Fingerprint {
        let parts: Vec<Part<'_>> = record.parts().collect();
        let folded: Vec<String> = parts.iter().map(|part| same_but_case(part.text)).collect();
        let said: Vec<(&Part<'_>, &str)> = parts
            .iter()
            .zip(folded.iter().map(String::as_str))
            .collect();
        let halves = halves(&said);
        let mut asked = prompt::ids(&said);
        let supervised = parts.iter().filter(|part| part.is_supervised());
        let near = self.near.as_ref().map(|(options, minhash)| {
            let read = WordsOf::read(record, options);
            (minhash.bands(&read.shingles), read)
        });
        let (bands, read) = near.unwrap_or_default();
        Fingerprint {
            row,
            is_held_out: false,
            is_pinned: false,
            content: content.prefix(),
            exact: id(&said, &record.body),
            prompt: halves.map(|(prompt, _)| id(prompt, &record.body)),
            last_asked: asked.pop(),
            asked_before: asked.into(),
            reply: halves.map(|(_, reply)| ContentId::of(reply.as_bytes())),
            reply_words: halves.map_or(0, |(_, reply)| reply.split(' ').count()),
            supervised_bytes: supervised.map(|part| part.text.len()).sum(),
            bands,
            reads: read.words.iter().fold(0, |hash, word| mix(hash ^ word)),
            words: rare::sample(&read.words),
            lengths: read.lengths,
            turning: read.turning,
            labels: labels(record),
        }
    }
}

/// The id of all texts of a row but for case and white space, [`Fingerprint::exact`] alone.
pub fn said_id(record: &Record) -> ContentId {
    let parts: Vec<Part<'_>> = record.parts().collect();
    let folded: Vec<String> = parts.iter().map(|part| same_but_case(part.text)).collect();
    let said: Vec<Said<'_>> = parts
        .iter()
        .zip(folded.iter().map(String::as_str))
        .collect();
    id(&said, &record.body)
}

impl Fingerprint {
    /// May one be a copy of the other, as far as can be told without the rows? Never says no of a copy.
    pub(super) fn may_be_copy_of(&self, other: &Self) -> bool {
        if self.turning != other.turning {
            return false;
        }
        let halves = self.lengths.iter().zip(&other.lengths);
        let mut allowed = 0;
        for (&words, &others) in halves {
            let (words, others) = (words as usize, others as usize);
            if !are_of_one_length(words, others) {
                return false;
            }
            allowed += most_apart(words.max(others));
        }
        rare::are_within(&self.words, &other.words, allowed)
    }

    /// An order of rows that does not know their numbers, except for rows that are the same in everything.
    pub(super) fn rank(&self) -> (u64, u64, usize) {
        (self.content, self.labels, self.row)
    }
}

type Said<'a> = (&'a Part<'a>, &'a str);

/// All before the last reply that is to be trained on, and that reply; `None` for a text, and without a reply.
fn halves<'a>(said: &'a [Said<'a>]) -> Option<(&'a [Said<'a>], &'a str)> {
    let reply = said
        .iter()
        .rposition(|(part, _)| part.role == Some(Role::Assistant) && !part.place.is_rejected())?;
    let thoughts = said[..reply].iter().rev();
    let num_thoughts = thoughts
        .take_while(|(part, _)| part.place.is_reasoning())
        .count();
    Some((&said[..reply - num_thoughts], said[reply].1))
}

/// The id of who says what.
fn id(said: &[Said<'_>], body: &Body) -> ContentId {
    let mut hasher = Hasher::new();
    // The same reply with another verdict is another row.
    if let Body::Unpaired(judged) = body {
        hasher.update(format!("good {} ", judged.is_good).as_bytes());
    }
    for (part, text) in said {
        let role = part.role.map_or("text", Role::name);
        hasher.update(format!("{role} {} ", text.len()).as_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finish()
}

fn labels(record: &Record) -> u64 {
    let labels = [
        Some(&record.task),
        record.group.as_ref(),
        record.origin.as_ref(),
        record.licence.as_ref(),
    ];
    ContentId::of(format!("{labels:?}").as_bytes()).prefix()
}
