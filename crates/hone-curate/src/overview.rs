//! What came in, what left and why, and what the dataset is like: the numbers of a report.

use std::collections::BTreeMap;

use hone_data::{Part, Record};
use hone_text::Role;
use serde::Serialize;

use crate::Loss;
use crate::curate::kept::Kept;
use crate::decisions::Told;
use crate::mix::Portion;
use crate::pages::RulePage;
use crate::recipe::Side;
use crate::tally::{Bar, Contamination};
use crate::text::{hash, mix, ngrams};

/// Everything a report tells, in the order in which it is read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overview {
    /// What the dataset is called.
    pub name: String,
    /// The hash of what is in it.
    pub id: String,
    /// Rows read.
    pub rows_in: usize,
    /// Rows in the dataset, repeats not counted.
    pub rows_out: usize,
    /// Rows dropped.
    pub rows_dropped: usize,
    /// Rows whose text was changed.
    pub rows_changed: usize,
    /// Findings that wait for a decision.
    pub undecided: usize,
    /// Rows and tokens of each side and task.
    pub sides: Vec<SideRow>,
    /// What was seen, the undecided first.
    pub told: Vec<Told>,
    /// Rows of each class before and after, in lines; empty where no row of a class has left.
    pub classes: Vec<String>,
    /// The pages of the rules that saw something.
    pub pages: Vec<RulePage>,
    /// Training rows that repeat evaluation rows.
    pub contamination: Contamination,
    /// The same in a line; empty where there are none.
    pub contaminated: String,
    /// What the rules have left of each collection and each class.
    pub losses: Vec<Loss>,
    /// Each collection before and after.
    pub origins: Vec<OriginRow>,
    /// Rows dropped, by rule.
    pub left: Vec<Bar>,
    /// Rows by length.
    pub lengths: Vec<Bar>,
    /// What the lengths are counted in.
    pub length_unit: String,
    /// Rows by language of what is trained on.
    pub languages: Vec<Bar>,
    /// In which languages no names of persons are looked for, as a sentence; empty where there are none.
    pub names_not_looked_for: String,
    /// The commonest ways in which replies begin.
    pub openers: Vec<Bar>,
    /// Different pairs of words per pair of words, over all replies.
    pub distinct_pairs: f64,
    /// Rows about whose quality a rule said something.
    pub rows_remarked: usize,
    /// Rows by the share of different words in what is trained on, of those with words enough to tell.
    pub variety: Vec<Bar>,
    /// The likeness from which on rows count as near-duplicates.
    pub near_threshold: f64,
    /// The largest groups of near-duplicates.
    pub clusters: Vec<ClusterRow>,
    /// How surely a pair of a likeness is looked at: likeness and probability.
    pub curve: Vec<(f64, f64)>,
    /// The mixture, where there is one.
    pub portions: Vec<Portion>,
    /// Files read.
    pub files: Vec<FileRow>,
}

impl Overview {
    /// What it shows of the rows' own words, beside findings: tasks, collections and how replies begin.
    pub(crate) fn shown_names(&mut self) -> impl Iterator<Item = &mut String> {
        let tasks = self.sides.iter_mut().map(|side| &mut side.task);
        let origins = self.origins.iter_mut().map(|row| &mut row.origin);
        let portions = self.portions.iter_mut().map(|portion| &mut portion.origin);
        let openers = self.openers.iter_mut().map(|bar| &mut bar.label);
        tasks.chain(origins).chain(portions).chain(openers)
    }
}

/// One task on one side.
#[derive(Clone, Debug, Serialize)]
pub struct SideRow {
    /// The side.
    pub side: &'static str,
    /// The task.
    pub task: String,
    /// Its rows.
    pub rows: usize,
    /// Their length.
    pub length: usize,
}

/// One collection before and after.
#[derive(Clone, Debug, Serialize)]
pub struct OriginRow {
    /// The collection.
    pub origin: String,
    /// Rows read.
    pub rows_in: usize,
    /// Rows kept.
    pub rows_out: usize,
}

/// A group of near-duplicates.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterRow {
    /// Its rows.
    pub rows: usize,
    /// The row that was kept.
    pub kept: String,
    /// How it begins.
    pub excerpt: String,
}

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
pub struct FileRow {
    /// As it was named.
    pub file: String,
    /// What its rows turned out to be.
    pub shape: String,
    /// Rows read.
    pub rows: usize,
    /// Rows that are unusable.
    pub refused: usize,
}

/// What the rows of a dataset are like, gathered row by row.
#[derive(Debug, Default)]
pub struct Portrait {
    sides: BTreeMap<(Side, String), (usize, usize)>,
    lengths: BTreeMap<u32, usize>,
    languages: BTreeMap<&'static str, usize>,
    openers: BTreeMap<String, usize>,
    rows_remarked: usize,
    variety: BTreeMap<usize, usize>,
    pairs: usize,
    different_pairs: Different,
}

/// What a portrait takes from one row, told from any thread.
#[derive(Debug)]
pub struct Drawn<'a> {
    kept: &'a Kept,
    task: String,
    variety: Option<usize>,
    openers: Vec<String>,
    /// A hash of each pair of neighbouring words of what is trained on.
    pairs: Vec<u64>,
}

impl<'a> Drawn<'a> {
    /// Reads a row that stays.
    pub fn of(record: Record, kept: &'a Kept) -> Self {
        let mut drawn = Self {
            kept,
            task: String::new(),
            variety: variety(&record),
            openers: Vec::new(),
            pairs: Vec::new(),
        };
        for reply in record.parts().filter(Part::is_supervised) {
            drawn.read_reply(&reply);
        }
        Self {
            task: record.task,
            ..drawn
        }
    }

    fn read_reply(&mut self, reply: &Part<'_>) {
        let words: Vec<&str> = reply.text.split_whitespace().collect();
        if reply.role == Some(Role::Assistant) && words.len() > OPENER {
            self.openers.push(words[..OPENER].join(" "));
        }
        let hashes: Vec<u64> = words.iter().map(|word| hash(word.as_bytes())).collect();
        self.pairs.extend(ngrams(&hashes, 2));
    }
}

impl Portrait {
    /// Adds a row that stays.
    pub fn add(&mut self, row: Drawn<'_>) {
        let Drawn { kept, task, .. } = row;
        let (rows, lengths) = self.sides.entry((kept.side, task)).or_default();
        (*rows, *lengths) = (*rows + 1, *lengths + kept.length);
        *self.lengths.entry(kept.length.max(1).ilog2()).or_default() += 1;
        *self.languages.entry(kept.language).or_default() += 1;
        self.rows_remarked += usize::from(kept.is_remarked);
        if let Some(share) = row.variety {
            *self.variety.entry(share).or_default() += 1;
        }
        for opener in row.openers {
            *self.openers.entry(opener).or_default() += 1;
        }
        self.pairs += row.pairs.len();
        row.pairs
            .into_iter()
            .for_each(|pair| self.different_pairs.add(pair));
    }

    /// Puts what was seen into an overview.
    pub fn tell(self, overview: &mut Overview) {
        overview.sides = self
            .sides
            .into_iter()
            .map(|((side, task), (rows, length))| SideRow {
                side: side.name(),
                task,
                rows,
                length,
            })
            .collect();
        let length = |(log, count): (u32, usize)| Bar {
            label: format!("{} to {}", 1u64 << log, (1u64 << (log + 1)) - 1),
            count,
        };
        overview.lengths = self.lengths.into_iter().map(length).collect();
        let variety = |(tenth, count): (usize, usize)| Bar {
            label: format!("{} to {} %", 10 * tenth, 10 * (tenth + 1)),
            count,
        };
        overview.variety = self.variety.into_iter().map(variety).collect();
        overview.rows_remarked = self.rows_remarked;
        overview.languages = Bar::commonest(
            self.languages
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count)),
            8,
        );
        overview.openers =
            Bar::commonest(self.openers.into_iter().filter(|(_, count)| *count > 1), 8);
        overview.distinct_pairs = self.different_pairs.count() / self.pairs.max(1) as f64;
    }
}

/// How many tenths of the first hundred words that are trained on are different ones, if there are so many: longer texts
/// repeat words whatever they say.
fn variety(record: &Record) -> Option<usize> {
    let supervised = record.parts().filter(Part::is_supervised);
    let words: Vec<String> = supervised
        .flat_map(|part| part.text.split_whitespace())
        .take(VARIETY_WORDS)
        .map(str::to_lowercase)
        .collect();
    let different: std::collections::HashSet<&String> = words.iter().collect();
    (words.len() == VARIETY_WORDS).then(|| (10 * different.len() / VARIETY_WORDS).min(9))
}

/// Words among which different ones are counted.
const VARIETY_WORDS: usize = 100;
/// Words of an opener.
const OPENER: usize = 3;

/// How many different hashes there are among many, in a memory that does not grow: each sets a bit, and the number follows
/// from the share of bits that are not set. Within 0.03 % for a million, and for a few it is their number.
///
/// K.-Y. Whang, B. T. Vander-Zanden, H. M. Taylor: A linear-time probabilistic counting algorithm for database
/// applications. ACM TODS 15 (1990).
#[derive(Debug, Default)]
struct Different {
    bits: Vec<u64>,
    set: usize,
}

/// Bits of [`Different`], 4 MB, enough for three hundred million.
const BITS: usize = 1 << 25;

impl Different {
    fn add(&mut self, hash: u64) {
        if self.bits.is_empty() {
            self.bits = vec![0; BITS / 64];
        }
        let at = mix(hash) as usize % BITS;
        let bit = 1 << (at % 64);
        self.set += usize::from(self.bits[at / 64] & bit == 0);
        self.bits[at / 64] |= bit;
    }

    fn count(&self) -> f64 {
        // With every bit set there are more than it can tell.
        let unset = (BITS - self.set).max(1) as f64 / BITS as f64;
        (-unset.ln() * BITS as f64).round()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_hashes_are_counted_however_often_each_comes() {
        for different in [0, 1, 9, 1000, 200_000] {
            let mut counted = Different::default();
            for hash in (0..different).chain(0..different / 2) {
                counted.add(mix(hash));
            }
            let off = (counted.count() - different as f64).abs();
            assert!(off <= 0.001 * different as f64, "{off} of {different}");
        }
    }

    #[test]
    fn a_portrait_counts_rows_lengths_and_openers() {
        let row = |reply: &str| {
            Record::from_json(&format!(
                r#"{{"task": "t", "prompt": "q", "completion": "{reply}"}}"#
            ))
            .unwrap()
        };
        let mut portrait = Portrait::default();
        let record_kind = hone_data::Kind::Chat;
        let kept = |side, length, language| Kept {
            row: 0,
            side,
            copies: 1,
            length,
            language,
            is_remarked: length == 1,
            kind: record_kind,
        };
        let long = "one two three four five ".repeat(20);
        for (reply, kept) in [
            ("Sure, here is one", kept(Side::Train, 9, "en")),
            ("Sure, here is another", kept(Side::Train, 12, "en")),
            ("No", kept(Side::Valid, 1, "de")),
            (&long, kept(Side::Test, 100, "en")),
        ] {
            portrait.add(Drawn::of(row(reply), &kept));
        }
        let mut overview = Overview::default();
        portrait.tell(&mut overview);
        assert_eq!(
            overview.openers,
            [Bar {
                label: "Sure, here is".into(),
                count: 2
            }]
        );
        assert_eq!(
            overview.lengths,
            [
                Bar {
                    label: "1 to 1".into(),
                    count: 1
                },
                Bar {
                    label: "8 to 15".into(),
                    count: 2
                },
                Bar {
                    label: "64 to 127".into(),
                    count: 1
                }
            ]
        );
        assert_eq!(
            overview.languages[0],
            Bar {
                label: "en".into(),
                count: 3
            }
        );
        // Five different words in a hundred; the short rows do not tell.
        assert_eq!(
            overview.variety,
            [Bar {
                label: "0 to 10 %".into(),
                count: 1
            }]
        );
        assert_eq!(overview.rows_remarked, 1);
        assert_eq!(
            (
                overview.sides[0].rows,
                overview.sides[0].length,
                overview.sides[1].side
            ),
            (2, 21, "valid")
        );
        // Six pairs, of which "Sure, here" and "here is" stand twice, and 99 of which five are different.
        assert!((overview.distinct_pairs - 9.0 / 105.0).abs() < 1e-9);
    }
}
