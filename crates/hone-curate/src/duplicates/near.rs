//! Rows that say nearly the same.
//!
//! MinHash with banding (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3) with datatrove's numbers proposes
//! pairs, and so do the rarest words of short rows; each pair is then looked at again. A web page is one text, a row
//! to learn from is two: what is asked and what is answered. Rows are alike only if both halves are, or the same
//! passage with another question would be a duplicate; and they are copies only if nothing that differs makes two
//! rows of them, or rows of one template would be. Similarity alone, the exact Jaccard similarity of the shingles, is
//! what decides where a recipe says so.

use std::collections::{HashMap, HashSet};

use hone_data::{Record, Sets};
use hone_ledger::Seed;
use rayon::prelude::*;
use serde::Serialize;

use super::join::Joining;
use super::wording::{Halves, Wording, compared, is_turning};
use super::{Cluster, Fingerprint, Link, preference, rare};
use crate::boilerplate::Asked;
use crate::text::{Numbers, Words, mix, ngrams};
use crate::{Action, BadParam, Doc, Family, Param, Params, Rows, RowsError};

/// `near-duplicate`.
pub static DOC: Doc = Doc {
    name: "near-duplicate",
    family: Family::Duplicate,
    summary: "the row says nearly the same as another one",
    why: "Copies with a changed word or a new headline are memorized like exact ones, crowd out what is rare, and put \
          the same row on both sides of a split.",
    what: "Shingles are runs of `ngram` words without case, accents and punctuation; a shorter text is one shingle. Candidates \
           share a band of their MinHash, `bands` bands of `band-hashes` hashes, as in datatrove (5, 14, 8), or a rare word and \
           most of the weight of their words. Each candidate pair is read again, what is asked and what is answered apart, \
           system turns left out. A copy differs in case, punctuation, typing errors, the order of its sentences, or in a word \
           here and there: for each word added there are `threshold / (1 - threshold)` words in common, for each of several \
           words replaced twice as many. Two rows that differ in a number, a negation, a name, a label (an answer of up to four \
           words), an operator, something in quotes or code, or in three words in a row, are two rows, however long the text \
           around it; and so are rows that differ where more than `common-rows` rows have a word of their own, which is the blank \
           of a template. What so many rows share counts for nothing. The row with the most bytes to learn stays, \
           and every row that leaves is a copy of one that stays. With `tell-apart = false` similarity alone decides: the Jaccard \
           similarity of the shingles of both halves must reach `threshold`. At 0.8 the bands miss 8 pairs of 100, at 0.9 none of \
           2,000; below they miss so many that a lower threshold would depend on the seed.",
    default: Action::Drop,
    params: &[
        Param {
            name: "threshold",
            what: "how much of both halves has to be in common, above 0 and up to 1; 0.8",
        },
        Param {
            name: "tell-apart",
            what: "keep rows that differ in what tells rows apart, however little it is; true",
        },
        Param {
            name: "common-rows",
            what: "what more rows than this share is the template of a collection; 3",
        },
        Param {
            name: "ngram",
            what: "words of a shingle; 5",
        },
        Param {
            name: "bands",
            what: "bands of the MinHash; 14",
        },
        Param {
            name: "band-hashes",
            what: "hashes of a band; 8",
        },
        Param {
            name: "fold-numbers",
            what: "read every number as 0, as datatrove does; false, since numbers are all that tells sums apart",
        },
        Param {
            name: "seed",
            what: "seed of the hashes; 1",
        },
    ],
};

/// How near-duplicates are found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NearOptions {
    /// How much of both halves has to be in common.
    pub threshold: f64,
    /// Are rows kept that differ in what tells rows apart? Otherwise their Jaccard similarity decides.
    pub tell_apart: bool,
    /// What more rows than this share is the template of a collection.
    pub common_rows: usize,
    /// Words of a shingle.
    pub ngram: usize,
    /// Bands of the MinHash.
    pub bands: usize,
    /// Hashes of a band.
    pub band_hashes: usize,
    /// What becomes of numbers.
    pub numbers: Numbers,
    /// The seed of the hashes.
    pub seed: u64,
}

impl Default for NearOptions {
    fn default() -> Self {
        Self {
            threshold: 0.8,
            tell_apart: true,
            common_rows: 3,
            ngram: 5,
            bands: 14,
            band_hashes: 8,
            numbers: Numbers::Kept,
            seed: 1,
        }
    }
}

impl NearOptions {
    /// What the recipe says.
    pub fn take(params: &mut Params) -> Result<Self, BadParam> {
        let default = Self::default();
        let options = Self {
            threshold: params.number("threshold", default.threshold)?,
            tell_apart: params.flag("tell-apart", default.tell_apart)?,
            common_rows: params.count("common-rows", default.common_rows)?,
            ngram: params.count("ngram", default.ngram)?,
            bands: params.count("bands", default.bands)?,
            band_hashes: params.count("band-hashes", default.band_hashes)?,
            numbers: match params.flag("fold-numbers", false)? {
                true => Numbers::Zero,
                false => Numbers::Kept,
            },
            seed: params.count("seed", default.seed as usize)? as u64,
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), BadParam> {
        let counts = [
            ("ngram", self.ngram, 100),
            ("bands", self.bands, 200),
            ("band-hashes", self.band_hashes, 50),
            ("common-rows", self.common_rows, 200),
        ];
        let count = counts
            .into_iter()
            .find(|&(_, value, most)| !(1..=most).contains(&value))
            .map(|(name, value, most)| (name, format!("must be 1 to {most}, not {value}")));
        let threshold = (!(self.threshold > 0.0 && self.threshold <= 1.0)).then(|| {
            let problem = format!("must be above 0 and at most 1, not {}", self.threshold);
            ("threshold", problem)
        });
        match count.or(threshold) {
            None => Ok(()),
            Some((name, problem)) => Err(BadParam::Value {
                name: name.into(),
                problem,
            }),
        }
    }

    /// How likely a pair of this similarity is to become a candidate: `1 - (1 - sʰ)ᵇ`.
    pub fn curve(&self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.band_hashes as i32)).powi(self.bands as i32)
    }
}

/// Clusters of rows that say nearly the same, exact twins included.
pub fn clusters(
    prints: &[Fingerprint],
    rows: &dyn Rows,
    options: &NearOptions,
) -> Result<Vec<Cluster>, RowsError> {
    // From here on a row is its rank, so that nothing depends on where it stands.
    let mut ranked: Vec<&Fingerprint> = prints.iter().collect();
    ranked.par_sort_unstable_by_key(|print| print.rank());
    let mut clusters = match options.tell_apart {
        true => Copies::find(&ranked, rows, options)?,
        false => alike(&ranked, rows, options)?,
    };
    clusters.sort_unstable_by_key(|cluster| cluster.rows[0]);
    Ok(clusters)
}

/// Clusters by the similarity of shingles alone.
fn alike(
    ranked: &[&Fingerprint],
    rows: &dyn Rows,
    options: &NearOptions,
) -> Result<Vec<Cluster>, RowsError> {
    let groups = Group::all(ranked.len(), buckets(ranked, options.bands));
    let clusters: Vec<Vec<Cluster>> = groups
        .into_par_iter()
        .map(|group| group.verify(ranked, rows, options))
        .collect::<Result<_, _>>()?;
    Ok(clusters.into_iter().flatten().collect())
}

/// A bucket of more rows is left to the rarest words: rows of one template share bands by the thousand.
const BUCKET: usize = 64;

/// Rows without a candidate that are counted too where a template is looked for.
const OTHERS: usize = 4096;

/// Pairs whose rows are read at once.
const PAIRS: usize = 16_384;

/// Rounds in which copies are looked for: what leaves in the first no longer counts among the rows that share a template.
const ROUNDS: usize = 2;

/// Rows that may be alike, by rank.
struct Candidates {
    /// Two rows, the lesser rank first; in order.
    pairs: Vec<[u32; 2]>,
    /// Rows that read the same.
    reading: Vec<Vec<usize>>,
}

/// Rows that are copies of others.
struct Copies<'a> {
    ranked: &'a [&'a Fingerprint],
    rows: &'a dyn Rows,
    options: &'a NearOptions,
    /// Of rows that may be copies; what is told apart at once is forgotten.
    wordings: Vec<Option<Box<Wording>>>,
}

impl<'a> Copies<'a> {
    fn find(
        ranked: &'a [&'a Fingerprint],
        rows: &'a dyn Rows,
        options: &'a NearOptions,
    ) -> Result<Vec<Cluster>, RowsError> {
        let mut copies = Self {
            ranked,
            rows,
            options,
            wordings: ranked.iter().map(|_| None).collect(),
        };
        let Candidates { pairs, reading } = copies.pairs();
        let counted = copies.counted(&pairs, &reading);
        let mut buckets = copies.may_be_copies(pairs, reading)?;
        let asked = copies.asked(&buckets, &counted)?;
        let mut clusters = Vec::new();
        for _ in 0..ROUNDS {
            let groups = Group::all(ranked.len(), buckets.clone());
            let found: Vec<(Cluster, Vec<usize>)> = groups
                .par_iter()
                .flat_map_iter(|group| copies.copies_of(group, &asked))
                .collect();
            let gone = found.iter().flat_map(|(cluster, ranks)| {
                let gone = move |rank: &&usize| ranked[**rank].row != cluster.keep;
                ranks.iter().filter(gone)
            });
            let gone: HashSet<usize> = gone.copied().collect();
            if gone.is_empty() {
                break;
            }
            gone.par_iter()
                .for_each(|&rank| asked.remove_row(copies.wording(rank).features()));
            buckets
                .iter_mut()
                .for_each(|bucket| bucket.retain(|rank| !gone.contains(rank)));
            buckets.retain(|bucket| bucket.len() > 1);
            clusters.extend(found.into_iter().map(|(cluster, _)| cluster));
        }
        Ok(clusters)
    }

    /// Rows that are counted where a template is looked for. Rows of one template all have candidates if they are many; of
    /// few rows most have none.
    fn counted(&self, pairs: &[[u32; 2]], reading: &[Vec<usize>]) -> Vec<usize> {
        let mut is_candidate = vec![false; self.ranked.len()];
        let of_pairs = pairs.iter().flatten().map(|&rank| rank as usize);
        let all = of_pairs.chain(reading.iter().flatten().copied());
        all.for_each(|rank| is_candidate[rank] = true);
        let ranks = |wanted: bool| {
            let is_candidate = &is_candidate;
            (0..self.ranked.len()).filter(move |&rank| is_candidate[rank] == wanted)
        };
        ranks(true).chain(ranks(false).take(OTHERS)).collect()
    }

    /// Buckets of rows that may be copies of each other, whatever many rows share; their wordings are kept.
    fn may_be_copies(
        &mut self,
        mut pairs: Vec<[u32; 2]>,
        reading: Vec<Vec<usize>>,
    ) -> Result<Vec<Vec<usize>>, RowsError> {
        let print = |rank: u32| self.ranked[rank as usize];
        pairs.retain(|&[a, b]| print(a).may_be_copy_of(print(b)));
        let mut buckets = Vec::new();
        // A part at a time, so that few rows are held that turn out to be like no other.
        for pairs in pairs.chunks(PAIRS) {
            let mut ranks: Vec<usize> = pairs.iter().flatten().map(|&rank| rank as usize).collect();
            ranks.sort_unstable();
            ranks.dedup();
            ranks.retain(|&rank| self.wordings[rank].is_none());
            self.read(&ranks)?;
            let found: Vec<Vec<usize>> = pairs
                .par_iter()
                .map(|pair| pair.map(|rank| rank as usize))
                .filter(|&[a, b]| self.copy(a, b, None).is_some())
                .map(Vec::from)
                .collect();
            let kept: HashSet<usize> = found.iter().flatten().copied().collect();
            for rank in ranks.into_iter().filter(|rank| !kept.contains(rank)) {
                self.wordings[rank] = None;
            }
            buckets.extend(found);
        }
        let mut ranks: Vec<usize> = reading.iter().flatten().copied().collect();
        ranks.retain(|&rank| self.wordings[rank].is_none());
        self.read(&ranks)?;
        buckets.extend(reading);
        Ok(buckets)
    }

    /// How many of the rows that are counted share what rows of the buckets have.
    fn asked(&self, buckets: &[Vec<usize>], counted: &[usize]) -> Result<Asked, RowsError> {
        let mut compared: Vec<usize> = buckets.iter().flatten().copied().collect();
        compared.sort_unstable();
        compared.dedup();
        let features = compared
            .iter()
            .flat_map(|&rank| self.wording(rank).features());
        let asked = Asked::about(features, self.options.common_rows as u32);
        if compared.is_empty() {
            return Ok(asked);
        }
        counted.par_iter().try_for_each(|&rank| {
            match &self.wordings[rank] {
                Some(wording) => asked.add_row(wording.features()),
                None => {
                    let record = self.rows.record(self.ranked[rank].row)?;
                    asked.add_row(Halves::of(&record, self.options.numbers).features());
                }
            }
            Ok(())
        })?;
        Ok(asked)
    }

    fn read(&mut self, ranks: &[usize]) -> Result<(), RowsError> {
        let wording = |&rank: &usize| {
            let record = self.rows.record(self.ranked[rank].row)?;
            Ok((rank, Box::new(Wording::of(&record, self.options.numbers))))
        };
        let read: Vec<_> = ranks.par_iter().map(wording).collect::<Result<_, _>>()?;
        for (rank, wording) in read {
            self.wordings[rank] = Some(wording);
        }
        Ok(())
    }

    /// Rows to be compared: those that read the same but for case and punctuation, those that share a band, those that
    /// share rare words.
    fn pairs(&self) -> Candidates {
        let keyed = |of: &(dyn Fn(&Fingerprint) -> Option<u64> + Sync)| {
            let prints = self.ranked.iter().enumerate();
            let keyed = prints.filter_map(|(rank, print)| Some((of(print)?, rank as u32)));
            let mut keyed: Vec<(u64, u32)> = keyed.collect();
            keyed.sort_unstable();
            keyed
        };
        let reading = keyed(&|print| (print.reads != 0).then_some(print.reads));
        // What reads the same is compared by one of its rows.
        let mut stands_for_all = vec![false; self.ranked.len()];
        for bucket in reading.chunk_by(|a, b| a.0 == b.0) {
            stands_for_all[bucket[0].1 as usize] = true;
        }
        let shared = (0..self.options.bands)
            .into_par_iter()
            .flat_map_iter(|band| {
                let keyed = keyed(&|print| print.bands.get(band).copied());
                let mut pairs = Vec::new();
                for bucket in keyed
                    .chunk_by(|a, b| a.0 == b.0)
                    .filter(|bucket| bucket.len() > 1)
                {
                    let ranks = bucket.iter().map(|&(_, rank)| rank);
                    let bucket: Vec<u32> = ranks
                        .filter(|&rank| stands_for_all[rank as usize])
                        .collect();
                    if bucket.len() <= BUCKET {
                        for (at, &a) in bucket.iter().enumerate() {
                            pairs.extend(bucket[at + 1..].iter().map(|&b| [a, b]));
                        }
                    }
                }
                pairs
            });
        let mut pairs: Vec<[u32; 2]> = shared.collect();
        let ranks = 0..self.ranked.len() as u32;
        let listed: Vec<u32> = ranks
            .filter(|&rank| stands_for_all[rank as usize])
            .collect();
        let words: Vec<&[u32]> = listed
            .iter()
            .map(|&rank| &*self.ranked[rank as usize].words)
            .collect();
        let rare = rare::pairs(&words);
        pairs.extend(
            rare.into_iter()
                .map(|pair| pair.map(|at| listed[at as usize])),
        );
        // Two rows share many bands, and are compared once.
        pairs.par_sort_unstable();
        pairs.dedup();
        let reading = reading.chunk_by(|a, b| a.0 == b.0);
        let reading = reading.filter(|bucket| bucket.len() > 1);
        let reading = reading.map(|bucket| bucket.iter().map(|&(_, rank)| rank as usize).collect());
        Candidates {
            pairs,
            reading: reading.collect(),
        }
    }

    fn wording(&self, rank: usize) -> &Wording {
        self.wordings[rank]
            .as_deref()
            .expect("rows of buckets are read")
    }

    /// How alike two rows are if one is a copy of the other; without `asked`, if it may be one.
    fn copy(&self, a: usize, b: usize, asked: Option<&Asked>) -> Option<f64> {
        let strictness = self.options.threshold / (1.0 - self.options.threshold).max(1e-9);
        self.wording(a).copy_of(self.wording(b), asked, strictness)
    }

    fn copies_of(&self, group: &Group, asked: &Asked) -> Vec<(Cluster, Vec<usize>)> {
        let copy = |a: usize, b: usize| self.copy(group.ranks[a], group.ranks[b], Some(asked));
        let mut joining = Joining::new(group.ranks.len());
        for bucket in &group.buckets {
            joining.bucket(&group.members(bucket), copy);
        }
        let connected = joining.into_members().into_iter();
        connected
            .flat_map(|members| self.around_the_kept(group, members, copy))
            .collect()
    }

    /// Splits connected rows into clusters around rows that are kept: the copy of a copy may be a row of its own.
    fn around_the_kept(
        &self,
        group: &Group,
        mut members: Vec<usize>,
        copy: impl Fn(usize, usize) -> Option<f64>,
    ) -> Vec<(Cluster, Vec<usize>)> {
        let print = |member: usize| self.ranked[group.ranks[member]];
        members.sort_by_cached_key(|&member| preference(print(member)));
        let mut stars: Vec<(usize, Vec<(usize, f64)>)> = Vec::new();
        for member in members {
            let found = stars
                .iter_mut()
                .find_map(|(kept, copies)| Some((copies, copy(*kept, member)?)));
            match found {
                Some((copies, similarity)) => copies.push((member, similarity)),
                None => stars.push((member, Vec::new())),
            }
        }
        let cluster = |(kept, copies): (usize, Vec<(usize, f64)>)| {
            let keep = print(kept).row;
            let rows = copies.iter().map(|&(member, _)| print(member).row);
            let mut rows: Vec<usize> = rows.chain([keep]).collect();
            rows.sort_unstable();
            let link = |&(member, similarity): &(usize, f64)| {
                let row = print(member).row;
                Link {
                    a: keep.min(row),
                    b: keep.max(row),
                    similarity,
                }
            };
            let cluster = Cluster {
                rows,
                keep,
                links: copies.iter().map(link).collect(),
            };
            let members = copies.iter().map(|&(member, _)| member).chain([kept]);
            let ranks = members.map(|member| group.ranks[member]).collect();
            (cluster, ranks)
        };
        stars
            .into_iter()
            .filter(|(_, copies)| !copies.is_empty())
            .map(cluster)
            .collect()
    }
}

/// Rows that share a band, for every band: the candidates.
fn buckets(ranked: &[&Fingerprint], bands: usize) -> Vec<Vec<usize>> {
    let of_band = |band: usize| {
        let mut keyed: Vec<(u64, usize)> = ranked
            .iter()
            .enumerate()
            .filter_map(|(rank, print)| Some((*print.bands.get(band)?, rank)))
            .collect();
        keyed.sort_unstable();
        keyed
            .chunk_by(|a, b| a.0 == b.0)
            .filter(|bucket| bucket.len() > 1)
            .map(|bucket| bucket.iter().map(|&(_, rank)| rank).collect())
            .collect::<Vec<Vec<usize>>>()
    };
    (0..bands).into_par_iter().flat_map_iter(of_band).collect()
}

/// Rows that are connected by candidates, and by no candidate with any other row.
struct Group {
    ranks: Vec<usize>,
    buckets: Vec<Vec<usize>>,
}

impl Group {
    fn all(rows: usize, buckets: Vec<Vec<usize>>) -> Vec<Self> {
        let mut sets = Sets::new(rows);
        for bucket in &buckets {
            bucket
                .windows(2)
                .for_each(|pair| sets.join(pair[0], pair[1]));
        }
        let mut of_root: HashMap<usize, Vec<Vec<usize>>> = HashMap::new();
        for bucket in buckets {
            of_root
                .entry(sets.root(bucket[0]))
                .or_default()
                .push(bucket);
        }
        let group = |ranks: Vec<usize>| {
            let mut buckets = of_root.remove(&ranks[0])?;
            buckets.sort_unstable();
            buckets.dedup();
            Some(Self { ranks, buckets })
        };
        sets.into_clusters().into_iter().filter_map(group).collect()
    }

    /// Looks at the rows again and keeps the pairs that are alike.
    fn verify(
        self,
        ranked: &[&Fingerprint],
        rows: &dyn Rows,
        options: &NearOptions,
    ) -> Result<Vec<Cluster>, RowsError> {
        let prints: Vec<&Fingerprint> = self.ranks.iter().map(|&rank| ranked[rank]).collect();
        let shingles: Vec<Shingles> = prints
            .par_iter()
            .map(|print| Ok(Shingles::of(&*rows.record(print.row)?, options)))
            .collect::<Result<_, _>>()?;
        let alike = |a: usize, b: usize| {
            let similarity = shingles[a].similarity(&shingles[b]);
            (similarity >= options.threshold).then_some(similarity)
        };
        let mut joining = Joining::new(prints.len());
        for bucket in &self.buckets {
            joining.bucket(&self.members(bucket), alike);
        }
        Ok(joining.into_clusters(&prints))
    }

    /// Ranks as numbers within the group.
    fn members(&self, ranks: &[usize]) -> Vec<usize> {
        let member = |rank| {
            self.ranks
                .binary_search(rank)
                .expect("a group has the rows of its buckets")
        };
        ranks.iter().map(member).collect()
    }
}

/// The shingles of a row, each half as a sorted set.
#[derive(Default)]
pub(super) struct Shingles {
    asked: Vec<u64>,
    supervised: Vec<u64>,
}

/// Sets what is asked apart from what is answered.
const ASKED: u64 = 0x6173_6b65_645f_5f5f;

/// What the words of a row say of it, read once.
#[derive(Default)]
pub(super) struct WordsOf {
    pub shingles: Shingles,
    /// The hashes of all words in order.
    pub words: Vec<u64>,
    /// How many words are asked, and how many are trained on.
    pub lengths: [u32; 2],
    /// A hash of the numbers and negations, whatever their order; of both halves, apart.
    pub turning: u64,
}

impl WordsOf {
    pub fn read(record: &Record, options: &NearOptions) -> Self {
        let (mut asked, mut supervised, mut all) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lengths, mut turning) = ([0_u32; 2], 0_u64);
        for part in compared(record) {
            let read = Words::of(part.text, options.numbers);
            let words: Vec<u64> = read.hashes().collect();
            let n = options.ngram.min(words.len()).max(1);
            let half = if part.is_supervised() { 0 } else { ASKED };
            match part.is_supervised() {
                true => supervised.extend(ngrams(&words, n)),
                false => asked.extend(ngrams(&words, n).map(|gram| mix(gram ^ half))),
            }
            for (index, &word) in words.iter().enumerate() {
                if is_turning(read.word(index), word, options.numbers) {
                    turning = turning.wrapping_add(mix(word ^ half));
                }
            }
            let length = &mut lengths[usize::from(part.is_supervised())];
            *length = length.saturating_add(words.len() as u32);
            all.extend(words);
        }
        for half in [&mut asked, &mut supervised] {
            half.sort_unstable();
            half.dedup();
        }
        Self {
            shingles: Shingles { asked, supervised },
            words: all,
            lengths,
            turning,
        }
    }
}

impl Shingles {
    pub fn of(record: &Record, options: &NearOptions) -> Self {
        WordsOf::read(record, options).shingles
    }

    /// The Jaccard similarity of the halves, the lesser of the two.
    pub fn similarity(&self, other: &Self) -> f64 {
        jaccard(&self.supervised, &other.supervised).min(jaccard(&self.asked, &other.asked))
    }
}

/// The share of two sorted sets that is common to both; two empty ones are the same.
fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut common, mut rest) = (0_usize, b);
    for value in a {
        rest = &rest[rest.iter().take_while(|other| *other < value).count()..];
        common += usize::from(rest.first() == Some(value));
    }
    match a.len() + b.len() - common {
        0 => 1.0,
        all => common as f64 / all as f64,
    }
}

/// Hash functions `h ↦ (a·h + b) >> 32` with odd `a`, and how their minima form bands.
pub(super) struct MinHash {
    factors: Vec<u64>,
    summands: Vec<u64>,
    band_hashes: usize,
}

impl MinHash {
    pub fn new(options: &NearOptions) -> Self {
        let mut stream = Seed::new(options.seed).child("minhash").stream();
        let count = options.bands * options.band_hashes;
        let pairs = (0..count).map(|_| (stream.next_u64() | 1, stream.next_u64()));
        let (factors, summands) = pairs.unzip();
        Self {
            factors,
            summands,
            band_hashes: options.band_hashes,
        }
    }

    /// One hash per band; rows that share one share all minima of that band. None for a row without words.
    pub fn bands(&self, shingles: &Shingles) -> Box<[u64]> {
        let shingles = [&*shingles.asked, &*shingles.supervised];
        let any = shingles.iter().any(|half| !half.is_empty());
        let mut minima = vec![u32::MAX; self.factors.len()];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for; it has no other condition.
            unsafe { self.lower_with_avx2(&mut minima, shingles) };
        } else {
            self.lower(&mut minima, shingles);
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.lower(&mut minima, shingles);
        let band = |minima: &[u32]| {
            minima.iter().fold(0, |hash, &least| {
                mix(hash ^ u64::from(least)).wrapping_add(1)
            })
        };
        match any {
            true => minima.chunks(self.band_hashes).map(band).collect(),
            false => Box::default(),
        }
    }

    /// The same as [`MinHash::lower`] with wider registers: most of the time of a fingerprint is spent here.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn lower_with_avx2(&self, minima: &mut [u32], shingles: [&[u64]; 2]) {
        self.lower(minima, shingles);
    }

    /// Lowers each minimum to the least hash of a shingle.
    #[inline(always)]
    fn lower(&self, minima: &mut [u32], shingles: [&[u64]; 2]) {
        for &shingle in shingles.into_iter().flatten() {
            let factors = self.factors.iter().zip(&self.summands);
            for (least, (factor, summand)) in minima.iter_mut().zip(factors) {
                let value = (factor.wrapping_mul(shingle).wrapping_add(*summand) >> 32) as u32;
                *least = value.min(*least);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hone_ledger::ContentId;
    use proptest::prelude::*;

    use super::super::planted::{chat, copies, prints, text};
    use super::*;

    fn near(rows: &Vec<Record>) -> Vec<Cluster> {
        clusters(&prints(rows), rows, &NearOptions::default()).unwrap()
    }

    fn similar(rows: &Vec<Record>) -> Vec<Cluster> {
        let options = NearOptions {
            tell_apart: false,
            ..NearOptions::default()
        };
        clusters(&prints(rows), rows, &options).unwrap()
    }

    fn similarity(a: &Record, b: &Record) -> f64 {
        let options = NearOptions::default();
        Shingles::of(a, &options).similarity(&Shingles::of(b, &options))
    }

    fn kept(rows: &Vec<Record>) -> BTreeSet<ContentId> {
        let mut kept: BTreeSet<usize> = (0..rows.len()).collect();
        for cluster in near(rows) {
            kept.retain(|row| *row == cluster.keep || !cluster.rows.contains(row));
        }
        kept.into_iter().map(|row| rows[row].content_id()).collect()
    }

    #[test]
    fn every_link_is_verified_and_close_copies_are_found() {
        let rows: Vec<Record> = [copies(300, 1, 1), copies(300, 4, 2)].concat();
        let clusters = similar(&rows);
        for link in clusters.iter().flat_map(|cluster| &cluster.links) {
            assert_eq!(link.similarity, similarity(&rows[link.a], &rows[link.b]));
            assert!(link.similarity >= 0.8);
        }
        let found: BTreeSet<usize> = clusters.iter().map(|cluster| cluster.rows[0]).collect();
        let pairs = (0..rows.len()).step_by(2);
        let alike: Vec<usize> = pairs
            .filter(|&row| similarity(&rows[row], &rows[row + 1]) >= 0.8)
            .collect();
        let missed = alike.iter().filter(|row| !found.contains(row)).count();
        // One changed word of 40 leaves 0.76 or more; the bands promise nine of ten at 0.8.
        assert!(alike.len() > 30 && alike.len() < 300, "{}", alike.len());
        assert!(missed * 10 <= alike.len(), "{missed} of {}", alike.len());
        assert!(found.iter().all(|row| alike.contains(row)));
    }

    #[test]
    fn fingerprints_never_say_no_of_a_copy() {
        let rows: Vec<Record> = (0..6).flat_map(|words| copies(60, words, 9)).collect();
        let prints = prints(&rows);
        let wordings: Vec<Wording> = rows
            .iter()
            .map(|row| Wording::of(row, Numbers::Kept))
            .collect();
        let (mut copies, mut refused) = (0, 0);
        for (a, b) in (0..rows.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let is_copy = wordings[a].copy_of(&wordings[b], None, 4.0).is_some();
            let may_be = prints[a].may_be_copy_of(&prints[b]);
            assert!(may_be || !is_copy, "{:?} {:?}", rows[a], rows[b]);
            copies += usize::from(is_copy);
            refused += usize::from(!may_be);
        }
        assert!(copies > 100 && refused > copies, "{copies} {refused}");
    }

    #[test]
    fn the_order_of_rows_changes_nothing() {
        let rows = [copies(100, 1, 3), copies(50, 0, 4)].concat();
        let mut shuffled = rows.clone();
        Seed::new(5).stream().shuffle(&mut shuffled);
        assert_eq!(kept(&rows), kept(&shuffled));
        assert!(kept(&rows).len() < 250, "{}", kept(&rows).len());
    }

    #[test]
    fn one_thread_finds_what_many_find() {
        let rows = [copies(100, 1, 3), copies(50, 0, 4)].concat();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| near(&rows))
        };
        assert_eq!(with(1), with(4));
    }

    #[test]
    fn thousands_of_copies_take_no_square_of_comparisons() {
        let rows = vec![text("one two three four five six seven"); 20_000];
        let clusters = near(&rows);
        assert_eq!(clusters.len(), 1);
        assert_eq!(clusters[0].links.len(), rows.len() - 1);
    }

    #[test]
    fn both_halves_count_and_rows_without_words_are_alike_to_none() {
        let passage = "the quick brown fox jumps over the lazy dog and runs far away from here";
        let asked = similarity(&chat(passage, "yes"), &chat(passage, "no"));
        let answered = similarity(&chat("why", passage), &chat("how", passage));
        assert_eq!((asked, answered), (0.0, 0.0));
        assert_eq!(
            similarity(&chat(passage, "yes"), &chat(passage, "YES!")),
            1.0
        );
        assert!(near(&vec![text("…"), text("!!!")]).is_empty());
    }

    #[test]
    fn the_curve_is_that_of_the_bands() {
        let options = NearOptions::default();
        let at = |similarity| (1000.0 * options.curve(similarity)).round() / 1000.0;
        assert_eq!(
            [at(0.0), at(0.7), at(0.8), at(0.9), at(1.0)],
            [0.0, 0.565, 0.924, 1.0, 1.0]
        );
    }

    #[test]
    fn minima_agree_as_often_as_the_sets_are_similar() {
        let options = NearOptions {
            bands: 4000,
            band_hashes: 1,
            ..NearOptions::default()
        };
        let minhash = MinHash::new(&options);
        let set = |from: u64| Shingles {
            asked: Vec::new(),
            supervised: (from..from + 60).map(mix).collect(),
        };
        let (a, b) = (minhash.bands(&set(0)), minhash.bands(&set(20)));
        let agreed = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        // 40 of 80 in common; the standard error of 4,000 draws is 0.008.
        assert!((agreed as f64 / 4000.0 - 0.5).abs() < 0.03, "{agreed}");
    }

    #[test]
    fn options_without_a_meaning_are_refused() {
        for written in [
            "threshold = 0",
            "threshold = 1.1",
            "bands = 0",
            "ngram = 101",
            "seed = -1",
        ] {
            let mut params = Params::new(toml::from_str(written).unwrap());
            assert!(NearOptions::take(&mut params).is_err(), "{written}");
        }
    }

    proptest! {
        #[test]
        fn jaccard_is_that_of_sets(a in prop::collection::btree_set(0..30_u64, 0..20), b in prop::collection::btree_set(0..30_u64, 0..20)) {
            let (x, y): (Vec<u64>, Vec<u64>) = (a.iter().copied().collect(), b.iter().copied().collect());
            let all = a.union(&b).count();
            let expected = if all == 0 { 1.0 } else { a.intersection(&b).count() as f64 / all as f64 };
            prop_assert_eq!(jaccard(&x, &y), expected);
        }
    }
}
