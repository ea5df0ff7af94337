//! Pairs to clusters: compares the rows of a bucket as far as they are not connected already.

use hone_data::Sets;

use super::{Cluster, Fingerprint, Link};

/// Rows, by number from 0, and the pairs that connect them so far.
pub(super) struct Joining {
    sets: Sets,
    links: Vec<Pair>,
}

/// Two rows and how alike they are.
pub(super) type Pair = (usize, usize, f64);

impl Joining {
    pub fn new(rows: usize) -> Self {
        Self {
            sets: Sets::new(rows),
            links: Vec::new(),
        }
    }

    /// Connects two rows, unless they are.
    pub fn link(&mut self, (a, b, similarity): Pair) {
        if self.sets.root(a) != self.sets.root(b) {
            self.sets.join(a, b);
            self.links.push((a, b, similarity));
        }
    }

    /// Connects the rows of a bucket that `similar` finds alike. A pair that is connected already is not compared:
    /// this changes no cluster, and turns thousands of copies from a square of comparisons into a line.
    pub fn bucket(&mut self, rows: &[usize], similar: impl Fn(usize, usize) -> Option<f64>) {
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for &row in rows {
            let mut home: Option<usize> = None;
            let mut at = 0;
            while at < parts.len() {
                match (self.connects(&parts[at], row, &similar), home) {
                    (false, _) => at += 1,
                    (true, None) => (home, at) = (Some(at), at + 1),
                    (true, Some(home)) => {
                        let part = parts.swap_remove(at);
                        parts[home].extend(part);
                    }
                }
            }
            match home {
                Some(home) => parts[home].push(row),
                None => parts.push(vec![row]),
            }
        }
    }

    /// Is the row connected with a part, or does comparing connect it?
    fn connects(
        &mut self,
        part: &[usize],
        row: usize,
        similar: &impl Fn(usize, usize) -> Option<f64>,
    ) -> bool {
        if self.sets.root(part[0]) == self.sets.root(row) {
            return true;
        }
        let found = part
            .iter()
            .find_map(|&other| Some((other, row, similar(other, row)?)));
        found.inspect(|&pair| self.link(pair)).is_some()
    }

    /// The pairs that connect, in the order in which they were found.
    pub fn links(self) -> Vec<Pair> {
        self.links
    }

    /// The rows that are connected, by number.
    pub fn into_members(self) -> Vec<Vec<usize>> {
        let mut members = self.sets.into_clusters();
        members.retain(|members| members.len() > 1);
        members
    }

    /// The clusters of more than one row.
    pub fn into_clusters(mut self, prints: &[&Fingerprint]) -> Vec<Cluster> {
        let mut links = vec![Vec::new(); prints.len()];
        for (a, b, similarity) in self.links {
            let (a_row, b_row) = (prints[a].row, prints[b].row);
            links[self.sets.root(a)].push(Link {
                a: a_row.min(b_row),
                b: a_row.max(b_row),
                similarity,
            });
        }
        let cluster = |members: Vec<usize>| {
            let links = std::mem::take(&mut links[members[0]]);
            let prints: Vec<&Fingerprint> = members.iter().map(|&row| prints[row]).collect();
            Cluster::of(&prints, links)
        };
        self.sets
            .into_clusters()
            .into_iter()
            .filter_map(cluster)
            .collect()
    }
}
