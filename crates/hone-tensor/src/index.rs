//! Lists that ops read beside numbers: tokens, rows, positions, targets, and the spans of attention.
//!
//! A batch makes each of them once, and every layer reads it, forward and backward. So a device may keep a list in a form of its
//! own, made when an op first asks for it ([`List::held`]): one transfer for a batch, not one for each op. A device
//! whose ops read the host's memory asks for nothing and pays nothing.

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use crate::tensor::Storage;

/// One sequence of a packed batch, for attention: which query rows see which key rows.
///
/// Causal, aligned at the end: query `i` of `query_len` sees the first
/// `key_len - query_len + i + 1` keys. In training both ranges are the same rows; with a
/// key-value cache the keys are longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First query row.
    pub query_start: usize,
    /// Number of query rows.
    pub query_len: usize,
    /// First key row.
    pub key_start: usize,
    /// Number of key rows, at least `query_len`.
    pub key_len: usize,
}

/// A list on the host, and what the device that it is given to keeps of it. Both belong to one batch on one device.
pub struct List<T> {
    items: Vec<T>,
    held: OnceLock<Storage>,
}

/// Numbers of rows, or tokens.
pub type Index = List<u32>;

/// The sequences of a batch.
pub type Spans = List<Span>;

impl<T> List<T> {
    /// What the device keeps of it; `make` is asked once, for all of it.
    pub fn held(&self, make: impl FnOnce(&[T]) -> Storage) -> &Storage {
        self.held.get_or_init(|| make(&self.items))
    }
}

impl Index {
    /// All of it, for an op.
    pub fn all(&self) -> Indices<'_> {
        self.part(0..self.len())
    }

    /// Some of it.
    pub fn part(&self, range: Range<usize>) -> Indices<'_> {
        assert!(range.end <= self.len(), "a part past the end of the list");
        Indices {
            list: self,
            range: (range.start, range.len()),
        }
    }

    /// The numbers of rows in it.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.iter().map(|row| *row as usize)
    }
}

/// A part of an [`Index`], as ops read it.
#[derive(Clone, Copy)]
pub struct Indices<'a> {
    list: &'a Index,
    range: (usize, usize),
}

impl<'a> Indices<'a> {
    /// Its numbers on the host.
    pub fn on_host(self) -> &'a [u32] {
        &self.list[self.range.0..][..self.range.1]
    }

    /// What the device keeps of the whole list, and where in it this part begins; `make` is asked once for a list.
    pub fn held(self, make: impl FnOnce(&[u32]) -> Storage) -> (&'a Storage, usize) {
        (self.list.held(make), self.range.0)
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.range.1
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.range.1 == 0
    }
}

impl std::fmt::Debug for Indices<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.on_host().fmt(f)
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for List<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.items.fmt(f)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        let held = OnceLock::new();
        Self { items, held }
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Vec::from_iter(items).into()
    }
}

/// Without what a device keeps of it.
impl<T: Clone> Clone for List<T> {
    fn clone(&self) -> Self {
        self.items.clone().into()
    }
}

/// What a device kept of a shorter list is forgotten.
impl<T> Extend<T> for List<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        self.held.take();
        self.items.extend(items);
    }
}

fn number(row: usize) -> u32 {
    row.try_into().expect("a batch has fewer than 2³² rows")
}

impl FromIterator<usize> for Index {
    fn from_iter<I: IntoIterator<Item = usize>>(rows: I) -> Self {
        rows.into_iter().map(number).collect()
    }
}

impl Extend<usize> for Index {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, rows: I) {
        self.extend(rows.into_iter().map(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_takes_a_list_once_for_all_its_parts_and_anew_when_it_has_grown() {
        let mut index = Index::from_iter([3_usize, 1, 2]);
        let mut taken = 0;
        let mut ask = |part: Indices| {
            let (kept, start) = part.held(|all| {
                taken += 1;
                Box::new(all.to_vec())
            });
            let kept = kept.downcast_ref::<Vec<u32>>().unwrap();
            assert_eq!(&kept[start..][..part.len()], part.on_host());
        };
        ask(index.all());
        ask(index.part(1..3));
        ask(index.part(2..2));
        index.extend([7_usize]);
        ask(index.part(3..4));
        assert_eq!(taken, 2);
    }

    #[test]
    #[should_panic(expected = "past the end")]
    fn a_part_lies_inside() {
        Index::from(vec![1]).part(1..3);
    }
}
