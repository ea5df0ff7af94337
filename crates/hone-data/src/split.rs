//! Rows to learn from and rows to be judged by.
//!
//! Which side a row falls on depends on what it says and on the seed, not on its position: adding
//! files or shuffling rows moves nothing that it need not move. Rows of one group, rows with the same
//! text, and rows linked from outside (near-duplicates) go to the same side together. A test side is
//! taken from what the validation side leaves, so that asking for one moves no other held-out row.

use std::collections::{BTreeMap, HashMap};

use hone_ledger::{ContentId, Seed};
use serde::{Deserialize, Serialize};

use crate::Record;

/// The sides, each in the order of the input.
#[derive(Debug, Default)]
pub struct Split {
    /// Rows to learn from.
    pub train: Vec<Record>,
    /// Rows held out, looked at during training.
    pub valid: Vec<Record>,
    /// Rows held out until the end.
    pub test: Vec<Record>,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Among the rows to learn from.
    Train,
    /// Among the rows looked at during training.
    Valid,
    /// Among the rows held out until the end.
    Test,
}

impl std::str::FromStr for Side {
    type Err = String;

    /// The names of sides, as people call them.
    fn from_str(name: &str) -> Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Ok(Self::Train),
            "valid" | "validation" | "val" | "dev" => Ok(Self::Valid),
            "test" => Ok(Self::Test),
            _ => Err(format!(
                "`{name}` is no side; there are train, valid and test"
            )),
        }
    }
}

impl Side {
    /// All sides.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The side's name, which is that of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

/// The shares of the rows of every task that are held out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shares {
    /// Looked at during training.
    pub valid: f64,
    /// Held out until the end.
    pub test: f64,
}

/// What the split sees of a row.
#[derive(Clone, Copy, Debug)]
pub struct RowKey<'a> {
    /// The row's task: every task gives its share.
    pub task: &'a str,
    /// The row's group: groups stay together.
    pub group: Option<&'a str>,
    /// The id of what it says.
    pub content: ContentId,
}

/// Shares of held-out rows that are none.
#[derive(Debug, thiserror::Error)]
#[error("the share of held-out rows must be at least 0 and below 1, not {share}")]
pub struct ShareOutOfRange {
    /// What was asked for, alone or in all.
    pub share: f64,
}

/// Holds out about `valid_share` of the rows of every task; at least one row of a task where that
/// leaves one to learn from, never more than the share rounded up.
pub fn split(records: Vec<Record>, valid_share: f64, seed: Seed) -> Result<Split, ShareOutOfRange> {
    let shares = Shares {
        valid: valid_share,
        test: 0.0,
    };
    let keys: Vec<RowKey> = records.iter().map(RowKey::of).collect();
    let sides = sides(&keys, &[], shares, seed)?;
    let mut split = Split::default();
    for (record, side) in records.into_iter().zip(sides) {
        match side {
            Side::Train => split.train.push(record),
            Side::Valid => split.valid.push(record),
            Side::Test => split.test.push(record),
        }
    }
    Ok(split)
}

/// The side of each row: of every task about the share of each held-out side, never more than it rounded
/// up, and at least one row to learn from. `links` are pairs of rows that must stay together.
pub fn sides(
    rows: &[RowKey<'_>],
    links: &[(usize, usize)],
    shares: Shares,
    seed: Seed,
) -> Result<Vec<Side>, ShareOutOfRange> {
    shares.check()?;
    let mut room = Room::new(rows, shares);
    let mut sides = vec![Side::Train; rows.len()];
    for cluster in clusters(rows, links, seed) {
        if let Some(side) = room.take(rows, &cluster) {
            cluster.into_iter().for_each(|row| sides[row] = side);
        }
    }
    Ok(sides)
}

impl Shares {
    fn check(self) -> Result<(), ShareOutOfRange> {
        let out_of_range = [self.valid, self.test, self.valid + self.test]
            .into_iter()
            .find(|share| !(0.0..1.0).contains(share));
        match out_of_range {
            None => Ok(()),
            Some(share) => Err(ShareOutOfRange { share }),
        }
    }
}

impl<'a> RowKey<'a> {
    /// The key of a record.
    pub fn of(record: &'a Record) -> Self {
        Self {
            task: &record.task,
            group: record.group.as_deref(),
            content: record.content_id(),
        }
    }
}

/// How many more rows of each task may be held out, for validation and for the test.
struct Room<'a>(HashMap<&'a str, [usize; 2]>);

impl<'a> Room<'a> {
    fn new(rows: &[RowKey<'a>], shares: Shares) -> Self {
        let mut per_task: HashMap<&str, usize> = HashMap::new();
        for row in rows {
            *per_task.entry(row.task).or_default() += 1;
        }
        let room = |rows: usize| {
            let share = |share: f64| (rows as f64 * share).ceil() as usize;
            let valid = share(shares.valid).min(rows - 1);
            [valid, share(shares.test).min(rows - 1 - valid)]
        };
        Self(
            per_task
                .into_iter()
                .map(|(task, rows)| (task, room(rows)))
                .collect(),
        )
    }

    /// Takes the rows for the first side on which every task among them has room for its part.
    fn take(&mut self, rows: &[RowKey<'a>], cluster: &[usize]) -> Option<Side> {
        let mut needed: HashMap<&str, usize> = HashMap::new();
        for &row in cluster {
            *needed.entry(rows[row].task).or_default() += 1;
        }
        let held_out = [Side::Valid, Side::Test];
        let fits = |at: &usize| needed.iter().all(|(task, rows)| self.0[task][*at] >= *rows);
        let at = (0..held_out.len()).find(fits)?;
        for (task, rows) in needed {
            self.0.get_mut(task).expect("counted above")[at] -= rows;
        }
        Some(held_out[at])
    }
}

/// Rows that must stay together, in an order that depends on their content and the seed alone.
fn clusters(rows: &[RowKey<'_>], links: &[(usize, usize)], seed: Seed) -> Vec<Vec<usize>> {
    let mut sets = Sets::new(rows.len());
    let (mut by_content, mut by_group) = (HashMap::new(), HashMap::new());
    for (index, row) in rows.iter().enumerate() {
        sets.join(index, *by_content.entry(row.content).or_insert(index));
        if let Some(group) = row.group {
            sets.join(index, *by_group.entry(group).or_insert(index));
        }
    }
    for &(a, b) in links {
        sets.join(a, b);
    }
    let place = |cluster: &Vec<usize>| {
        let first = cluster
            .iter()
            .map(|&row| rows[row].content)
            .min()
            .expect("clusters have rows");
        ContentId::of(format!("{:016x} {first}", seed.value()).as_bytes())
    };
    let mut clusters = sets.into_clusters();
    clusters.sort_by_cached_key(place);
    clusters
}

/// Disjoint sets of the numbers below a count.
pub struct Sets(Vec<usize>);

impl Sets {
    /// Each number alone.
    pub fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    /// The least number of a set.
    pub fn root(&mut self, mut of: usize) -> usize {
        while self.0[of] != of {
            self.0[of] = self.0[self.0[of]];
            of = self.0[of];
        }
        of
    }

    /// Makes one set of two.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// All sets, by their least numbers, each in order.
    pub fn into_clusters(mut self) -> Vec<Vec<usize>> {
        let mut clusters: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for number in 0..self.0.len() {
            clusters.entry(self.root(number)).or_default().push(number);
        }
        clusters.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{Body, Place, Source};

    fn record(task: &str, group: Option<u8>, text: u16) -> Record {
        Record {
            task: task.into(),
            group: group.map(|group| format!("g{group}")),
            origin: None,
            licence: None,
            copies: 1,
            body: Body::Text(format!("text {text}")),
            source: Source::new("f", 1),
        }
    }

    fn texts(records: &[Record]) -> HashSet<ContentId> {
        records.iter().map(Record::content_id).collect()
    }

    fn groups(records: &[Record]) -> HashSet<&str> {
        records
            .iter()
            .filter_map(|record| record.group.as_deref())
            .collect()
    }

    fn some_records() -> impl Strategy<Value = Vec<Record>> {
        let row = ("[ab]", prop::option::of(0..20_u8), 0..60_u16);
        prop::collection::vec(
            row.prop_map(|(task, group, text)| record(&task, group, text)),
            1..80,
        )
    }

    fn keys(records: &[Record]) -> Vec<RowKey<'_>> {
        records.iter().map(RowKey::of).collect()
    }

    proptest! {
        #[test]
        fn linked_rows_stay_together_and_every_side_keeps_to_its_share(
            records in some_records(),
            links in prop::collection::vec((0..80_usize, 0..80_usize), 0..20),
            seed: u64,
        ) {
            let links: Vec<_> = links
                .into_iter()
                .map(|(a, b)| (a % records.len(), b % records.len()))
                .collect();
            let shares = Shares { valid: 0.2, test: 0.3 };
            let keys = keys(&records);
            let sides = sides(&keys, &links, shares, Seed::new(seed)).unwrap();
            for (a, b) in links {
                prop_assert_eq!(sides[a], sides[b]);
            }
            for task in ["a", "b"] {
                let of = |side| (0..keys.len()).filter(|&row| keys[row].task == task && sides[row] == side).count();
                let rows = of(Side::Train) + of(Side::Valid) + of(Side::Test);
                prop_assert!(of(Side::Valid) <= (rows as f64 * shares.valid).ceil() as usize);
                prop_assert!(of(Side::Test) <= (rows as f64 * shares.test).ceil() as usize);
                prop_assert!(rows == 0 || of(Side::Train) > 0);
            }
        }

        #[test]
        fn a_test_side_moves_no_row_of_the_validation_side(records in some_records(), seed: u64) {
            let keys = keys(&records);
            let valid = |test| -> Vec<bool> {
                let sides = sides(&keys, &[], Shares { valid: 0.2, test }, Seed::new(seed)).unwrap();
                sides.into_iter().map(|side| side == Side::Valid).collect()
            };
            prop_assert_eq!(valid(0.0), valid(0.3));
        }

        #[test]
        fn no_text_and_no_group_is_on_both_sides(records in some_records(), seed: u64) {
            let count = records.len();
            let split = split(records, 0.3, Seed::new(seed)).unwrap();
            prop_assert_eq!(split.train.len() + split.valid.len(), count);
            prop_assert!(texts(&split.train).is_disjoint(&texts(&split.valid)));
            prop_assert!(groups(&split.train).is_disjoint(&groups(&split.valid)));
            prop_assert!(!split.train.is_empty());
        }

        #[test]
        fn the_order_of_rows_changes_nothing(records in some_records(), seed: u64) {
            let mut shuffled = records.clone();
            Seed::new(seed).stream().shuffle(&mut shuffled);
            let valid = |records| texts(&split(records, 0.3, Seed::new(7)).unwrap().valid);
            prop_assert_eq!(valid(records), valid(shuffled));
        }
    }

    #[test]
    fn every_task_gives_its_share() {
        let records: Vec<_> = (0..300)
            .map(|text| record(if text < 200 { "a" } else { "b" }, None, text))
            .collect();
        let split = split(records, 0.1, Seed::new(0)).unwrap();
        let held_out = |task: &str| {
            split
                .valid
                .iter()
                .filter(|record| record.task == task)
                .count()
        };
        assert_eq!((held_out("a"), held_out("b")), (20, 10));
    }

    #[test]
    fn the_rows_held_out_under_a_seed_are_always_the_same() {
        let records: Vec<_> = (0..20)
            .map(|text| {
                record(
                    if text < 12 { "a" } else { "b" },
                    (text % 5 == 0).then_some(1),
                    text,
                )
            })
            .collect();
        let split = split(records, 0.25, Seed::new(7)).unwrap();
        let texts: Vec<&str> = split
            .valid
            .iter()
            .filter_map(|record| record.text(Place::Text))
            .collect();
        assert_eq!(texts, ["text 2", "text 3", "text 7", "text 13", "text 16"]);
    }

    #[test]
    fn three_sides_have_their_shares() {
        let records: Vec<_> = (0..200).map(|text| record("a", None, text)).collect();
        let shares = Shares {
            valid: 0.1,
            test: 0.2,
        };
        let sides = sides(&keys(&records), &[], shares, Seed::new(0)).unwrap();
        let of = |side| sides.iter().filter(|&&other| other == side).count();
        assert_eq!(
            (of(Side::Train), of(Side::Valid), of(Side::Test)),
            (140, 20, 40)
        );
        let too_much = Shares {
            valid: 0.5,
            test: 0.5,
        };
        let error = super::sides(&keys(&records), &[], too_much, Seed::new(0)).unwrap_err();
        assert!(error.to_string().ends_with("not 1"), "{error}");
    }

    #[test]
    fn another_seed_holds_out_other_rows() {
        let valid = |seed| {
            let records = (0..100).map(|text| record("a", None, text)).collect();
            texts(&split(records, 0.2, Seed::new(seed)).unwrap().valid)
        };
        assert_eq!(valid(1), valid(1));
        assert_ne!(valid(1), valid(2));
    }

    #[test]
    fn a_share_must_leave_something_to_learn_from() {
        for share in [1.0, -0.1, f64::NAN] {
            assert!(
                split(vec![record("a", None, 1)], share, Seed::new(0)).is_err(),
                "{share}"
            );
        }
        let none = split(
            vec![record("a", None, 1), record("a", None, 2)],
            0.0,
            Seed::new(0),
        )
        .unwrap();
        assert_eq!((none.train.len(), none.valid.len()), (2, 0));
        let alone = split(vec![record("a", None, 1)], 0.5, Seed::new(0)).unwrap();
        assert_eq!((alone.train.len(), alone.valid.len()), (1, 0));
    }
}
