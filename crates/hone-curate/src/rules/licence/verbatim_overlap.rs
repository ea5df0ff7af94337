//! Passages taken word for word from texts that the user names.
//!
//! Every run of `window` words of the named files is hashed; a row's runs are looked up one by one, and
//! runs found next to each other in row and file make one passage. 64-bit hashes of fifty words do not
//! collide in practice, so a passage is not compared again.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;

use crate::rules::prose;
use crate::{Action, BadParam, Doc, Family, Hit, Param, Params, Row, Rule};

pub static DOC: Doc = Doc {
    name: "verbatim-overlap",
    family: Family::Licence,
    summary: "a passage stands word for word in a text that the recipe names",
    why: "A model can recite what it saw a few times. Name the works that it must not recite, and see which rows carry them.",
    what: "Runs of at least `window` words, apart from case and punctuation, that stand in one of `files` in the same order. The message names the file, the longest run and the share of the text's words that are covered. Fifty words are the window of Lee et al. 2022 (arXiv:2107.06499) and of memorisation tests.",
    default: Action::Ask,
    params: &[
        Param {
            name: "files",
            what: "plain text files to compare with; none",
        },
        Param {
            name: "window",
            what: "words in a row that make a passage; 50",
        },
    ],
};

/// Where a run of words starts: which file, which word.
#[derive(Clone, Copy)]
struct Start {
    file: u32,
    word: u32,
}

/// See [`DOC`].
pub struct VerbatimOverlap {
    files: Vec<String>,
    window: usize,
    starts: HashMap<u64, Start>,
}

/// The rule with a recipe's parameters; reads the files.
pub fn rule(params: &mut Params) -> Result<Box<dyn Rule>, BadParam> {
    let window = params.count("window", 50)?;
    let files = params.texts("files", &[])?;
    if window == 0 {
        return Err(bad("window", "must be at least 1".into()));
    }
    let mut starts = HashMap::new();
    for (file, name) in (0..).zip(&files) {
        let bytes = fs::read(name).map_err(|problem| bad("files", format!("{name}: {problem}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|problem| bad("files", format!("{name}: {problem}")))?;
        let (_, hashes) = hashes(&text);
        for (word, run) in (0..).zip(runs(&hashes, window)) {
            starts.entry(run).or_insert(Start { file, word });
        }
    }
    Ok(Box::new(VerbatimOverlap {
        files,
        window,
        starts,
    }))
}

fn bad(name: &str, problem: String) -> BadParam {
    BadParam::Value {
        name: name.into(),
        problem,
    }
}

impl Rule for VerbatimOverlap {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        if self.starts.is_empty() {
            return;
        }
        for part in row.parts() {
            let (words, hashes) = hashes(part.text);
            let passages = self.passages(&hashes);
            let covered: usize = passages.iter().map(|(passage, _)| passage.len()).sum();
            let Some((longest, file)) = passages
                .into_iter()
                .max_by_key(|(passage, _)| passage.len())
            else {
                continue;
            };
            let message = format!(
                "{} words in a row as in {}; {} % of the text is such",
                longest.len(),
                self.files[file as usize],
                covered.min(words.len()) * 100 / words.len(),
            );
            let span = words[longest.start].start..words[longest.end - 1].end;
            hits.push(Hit::at(part.place, span, message));
        }
    }
}

impl VerbatimOverlap {
    /// Runs of words that stand in one file in the same order, with the file; none overlaps another.
    fn passages(&self, hashes: &[u64]) -> Vec<(Range<usize>, u32)> {
        let mut passages: Vec<(Range<usize>, u32)> = Vec::new();
        let mut before: Option<Start> = None;
        for (word, run) in runs(hashes, self.window).enumerate() {
            let start = self.starts.get(&run).copied();
            if let Some(start) = start {
                let follows = before.is_some_and(|before| {
                    before.file == start.file && before.word + 1 == start.word
                });
                match passages.last_mut() {
                    Some((passage, _)) if follows => passage.end = word + self.window,
                    Some((passage, _)) if passage.end > word => {}
                    _ => passages.push((word..word + self.window, start.file)),
                }
            }
            before = start;
        }
        passages
    }
}

/// The words of a text, and a hash of each in lower case.
fn hashes(text: &str) -> (Vec<Range<usize>>, Vec<u64>) {
    let hash = |word: &Range<usize>| {
        let letters = text[word.clone()].chars().flat_map(char::to_lowercase);
        letters.fold(0xcbf2_9ce4_8422_2325, |hash: u64, letter| {
            mixed(hash ^ u64::from(u32::from(letter)))
        })
    };
    let words: Vec<_> = prose::words(text, 0..text.len()).collect();
    let hashes = words.iter().map(hash).collect();
    (words, hashes)
}

/// A hash of each run of words, rolled on from word to word.
fn runs(hashes: &[u64], window: usize) -> impl Iterator<Item = u64> {
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let leaving = (1..window).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut run = 0u64;
    (0..hashes.len()).filter_map(move |at| {
        if at >= window {
            run = run.wrapping_sub(hashes[at - window].wrapping_mul(leaving));
        }
        run = run.wrapping_mul(BASE).wrapping_add(hashes[at]);
        (at + 1 >= window).then(|| mixed(run))
    })
}

/// Spreads each bit over all (SplitMix64's last steps).
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(files: &[&str], window: usize) -> Result<Box<dyn Rule>, BadParam> {
        let mut written = toml::Table::new();
        written.insert("files".into(), files.to_vec().into());
        written.insert("window".into(), (window as i64).into());
        rule(&mut Params::new(written))
    }

    #[test]
    fn a_rolled_hash_is_that_of_its_words_alone() {
        let words: Vec<u64> = (0..40).map(|word| mixed(word * word)).collect();
        let rolled: Vec<u64> = runs(&words, 7).collect();
        assert_eq!(rolled.len(), 34);
        for (at, run) in rolled.iter().enumerate() {
            assert_eq!(runs(&words[at..at + 7], 7).next(), Some(*run));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told_before_the_run() {
        let error = overlap(&["no/such/file"], 50).err().unwrap().to_string();
        assert!(error.starts_with("`files`: no/such/file: "), "{error}");
        let error = overlap(&[], 0).err().unwrap().to_string();
        assert_eq!(error, "`window`: must be at least 1");
    }
}
