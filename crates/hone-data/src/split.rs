//! Rows to learn from and rows to be judged by.
//!
//! Which side a row falls on depends on what it says and on the seed, not on its position: adding
//! files or shuffling rows moves nothing that it need not move. Rows of one group, and rows with the
//! same text, go to the same side together.

use std::collections::{BTreeMap, HashMap};

use hone_ledger::{ContentId, Seed};

use crate::Record;

/// The two sides, each in the order of the input.
#[derive(Debug, Default)]
pub struct Split {
    /// Rows to learn from.
    pub train: Vec<Record>,
    /// Rows held out.
    pub valid: Vec<Record>,
}

/// A share of held-out rows that is none.
#[derive(Debug, thiserror::Error)]
#[error("the share of held-out rows must be at least 0 and below 1, not {share}")]
pub struct ShareOutOfRange {
    /// What was asked for.
    pub share: f64,
}

/// Holds out about `valid_share` of the rows of every task; at least one row of a task where that
/// leaves one to learn from, never more than the share rounded up.
pub fn split(records: Vec<Record>, valid_share: f64, seed: Seed) -> Result<Split, ShareOutOfRange> {
    if !(0.0..1.0).contains(&valid_share) {
        return Err(ShareOutOfRange { share: valid_share });
    }
    let mut room = Room::new(&records, valid_share);
    let mut held_out = vec![false; records.len()];
    for cluster in clusters(&records, seed) {
        if room.take(&records, &cluster) {
            cluster.into_iter().for_each(|row| held_out[row] = true);
        }
    }
    let mut split = Split::default();
    for (record, held_out) in records.into_iter().zip(held_out) {
        match held_out {
            true => split.valid.push(record),
            false => split.train.push(record),
        }
    }
    Ok(split)
}

/// How many more rows of each task may be held out.
struct Room(HashMap<String, usize>);

impl Room {
    fn new(records: &[Record], share: f64) -> Self {
        let mut rows: HashMap<String, usize> = HashMap::new();
        for record in records {
            *rows.entry(record.task.clone()).or_default() += 1;
        }
        let room = |rows: usize| ((rows as f64 * share).ceil() as usize).min(rows - 1);
        Self(
            rows.into_iter()
                .map(|(task, rows)| (task, room(rows)))
                .collect(),
        )
    }

    /// Takes the rows if every task among them has room for its part.
    fn take(&mut self, records: &[Record], cluster: &[usize]) -> bool {
        let mut needed: HashMap<&str, usize> = HashMap::new();
        for &row in cluster {
            *needed.entry(&records[row].task).or_default() += 1;
        }
        let fits = needed.iter().all(|(task, rows)| self.0[*task] >= *rows);
        if fits {
            needed
                .into_iter()
                .for_each(|(task, rows)| *self.0.get_mut(task).expect("counted above") -= rows);
        }
        fits
    }
}

/// Rows that must stay together, in an order that depends on their content and the seed alone.
fn clusters(records: &[Record], seed: Seed) -> Vec<Vec<usize>> {
    let contents: Vec<ContentId> = records.iter().map(Record::content_id).collect();
    let mut sets = Sets::new(records.len());
    let (mut by_content, mut by_group) = (HashMap::new(), HashMap::new());
    for (row, record) in records.iter().enumerate() {
        sets.join(row, *by_content.entry(contents[row]).or_insert(row));
        if let Some(group) = &record.group {
            sets.join(row, *by_group.entry(group.as_str()).or_insert(row));
        }
    }
    let mut clusters: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for row in 0..records.len() {
        clusters.entry(sets.root(row)).or_default().push(row);
    }
    let place = |cluster: &Vec<usize>| {
        let first = cluster
            .iter()
            .map(|&row| contents[row])
            .min()
            .expect("clusters have rows");
        ContentId::of(format!("{:016x} {first}", seed.value()).as_bytes())
    };
    let mut clusters: Vec<_> = clusters.into_values().collect();
    clusters.sort_by_cached_key(place);
    clusters
}

/// Disjoint sets of rows.
struct Sets(Vec<usize>);

impl Sets {
    fn new(rows: usize) -> Self {
        Self((0..rows).collect())
    }

    fn root(&mut self, mut row: usize) -> usize {
        while self.0[row] != row {
            self.0[row] = self.0[self.0[row]];
            row = self.0[row];
        }
        row
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{Body, Source};

    fn record(task: &str, group: Option<u8>, text: u16) -> Record {
        Record {
            task: task.into(),
            group: group.map(|group| format!("g{group}")),
            origin: None,
            licence: None,
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

    proptest! {
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
