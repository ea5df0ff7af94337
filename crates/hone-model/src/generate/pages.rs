//! Which pages of a cache hold which tokens.
//!
//! A sequence has a list of pages, and takes another one when its last is full, so a long limit on answers costs nothing
//! until it is used (Kwon et al. 2023). Whole pages of a prompt are remembered by their tokens in a tree: a prompt that begins
//! alike refers to them, and copies the tokens of the first page that differs up to where it does.

use hone_tensor::PAGE;

use crate::pass::shares::Adapters;

/// Pages, and how many hold on to each.
#[derive(Debug, Default)]
pub(super) struct Pages {
    holders: Vec<u32>,
    free: Vec<u32>,
}

impl Pages {
    /// A page that nobody holds; `None` if there is none.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.hold(page);
        Some(page)
    }

    pub fn hold(&mut self, page: u32) {
        self.holders[page as usize] += 1;
    }

    pub fn release(&mut self, page: u32) {
        let holders = &mut self.holders[page as usize];
        *holders -= 1;
        if *holders == 0 {
            self.free.push(page);
        }
    }

    /// How many there are, held or not.
    pub fn count(&self) -> usize {
        self.holders.len()
    }

    /// Adds pages up to a count. The first of them is taken first.
    pub fn grow(&mut self, count: usize) {
        let added = self.count() as u32..count as u32;
        self.free.extend(added.rev());
        self.holders.resize(count, 0);
    }
}

/// A page of a remembered beginning.
#[derive(Debug)]
struct Node {
    tokens: Vec<u32>,
    page: u32,
    parent: usize,
    children: Vec<usize>,
    /// When it was last begun with.
    used: u64,
}

/// The beginnings that are remembered. Each adapter has its own: it makes other keys and values of the same tokens.
#[derive(Debug)]
pub(super) struct Beginnings {
    /// The first is above all; where there is none, the place is free.
    nodes: Vec<Option<Node>>,
    roots: Vec<(Adapters, usize)>,
    /// How many pages are remembered at most.
    limit: usize,
    count: usize,
    clock: u64,
}

/// What a prompt may begin with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// Whole pages, to refer to.
    pub pages: Vec<u32>,
    /// A page whose first tokens are the next ones, and how many.
    pub copied: Option<(u32, usize)>,
}

impl Shared {
    pub fn tokens(&self) -> usize {
        self.pages.len() * PAGE + self.copied.map_or(0, |(_, tokens)| tokens)
    }
}

const NOWHERE: usize = usize::MAX;

impl Beginnings {
    pub fn new(limit: usize) -> Self {
        Self {
            nodes: vec![],
            roots: vec![],
            limit,
            count: 0,
            clock: 0,
        }
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("a node that is referred to")
    }

    fn node_mut(&mut self, at: usize) -> &mut Node {
        self.nodes[at].as_mut().expect("a node that is referred to")
    }

    fn root(&self, adapters: &Adapters) -> Option<usize> {
        let found = self.roots.iter().find(|(own, _)| own == adapters);
        found.map(|(_, root)| *root)
    }

    /// What of these tokens is remembered.
    pub fn shared(&mut self, adapters: &Adapters, tokens: &[u32]) -> Shared {
        self.clock += 1;
        let (mut shared, mut rest) = (Shared::default(), tokens);
        let mut at = self.root(adapters);
        while let Some(node) = at {
            let children = self.node(node).children.iter();
            let alike = |child: &usize| {
                let pairs = self.node(*child).tokens.iter().zip(rest);
                pairs.take_while(|(a, b)| a == b).count()
            };
            let nearest = children.map(|child| (alike(child), *child));
            // Of equally near ones the first.
            let nearest = nearest.max_by_key(|&(alike, child)| (alike, std::cmp::Reverse(child)));
            let Some((alike, child)) = nearest.filter(|(alike, _)| *alike > 0) else {
                break;
            };
            let clock = self.clock;
            let node = self.node_mut(child);
            node.used = clock;
            if alike < PAGE {
                shared.copied = Some((node.page, alike));
                break;
            }
            shared.pages.push(node.page);
            rest = &rest[PAGE..];
            at = Some(child);
        }
        shared
    }

    /// Remembers the whole pages of a beginning, each with its page.
    pub fn remember(
        &mut self,
        adapters: &Adapters,
        tokens: &[u32],
        (own, pages): (&[u32], &mut Pages),
    ) {
        if self.limit == 0 {
            return;
        }
        self.clock += 1;
        let mut at = self.root(adapters).unwrap_or_else(|| {
            let root = self.insert(NOWHERE, vec![], 0);
            self.roots.push((adapters.clone(), root));
            root
        });
        for (tokens, &page) in tokens.chunks_exact(PAGE).zip(own) {
            let mut children = self.node(at).children.iter();
            let known = children.find(|child| self.node(**child).tokens == tokens);
            at = match known {
                Some(&known) => known,
                None => {
                    if self.count == self.limit && !self.forget_one(pages) {
                        return;
                    }
                    pages.hold(page);
                    self.count += 1;
                    let added = self.insert(at, tokens.to_vec(), page);
                    self.node_mut(at).children.push(added);
                    added
                }
            };
            let clock = self.clock;
            self.node_mut(at).used = clock;
        }
    }

    fn insert(&mut self, parent: usize, tokens: Vec<u32>, page: u32) -> usize {
        let node = Some(Node {
            tokens,
            page,
            parent,
            children: vec![],
            used: self.clock,
        });
        match self.nodes.iter().position(Option::is_none) {
            Some(free) => {
                self.nodes[free] = node;
                free
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    /// Forgets the end of the beginning that was not begun with for longest, but none of the one that is being remembered.
    /// Says whether there was one.
    fn forget_one(&mut self, pages: &mut Pages) -> bool {
        let ends = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let node = node.as_ref()?;
            let is_end = node.children.is_empty() && node.parent != NOWHERE;
            (is_end && node.used < self.clock).then_some((node.used, at))
        });
        let Some((_, oldest)) = ends.min() else {
            return false;
        };
        let node = self.nodes[oldest].take().expect("it was found");
        let siblings = &mut self.node_mut(node.parent).children;
        siblings.retain(|child| *child != oldest);
        pages.release(node.page);
        self.count -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Adapters = Adapters::None;

    fn remembered(limit: usize) -> (Beginnings, Pages) {
        let mut pages = Pages::default();
        pages.grow(8);
        (Beginnings::new(limit), pages)
    }

    fn run(first: u32, count: usize) -> Vec<u32> {
        (first..).take(count).collect()
    }

    fn remember(all: &mut Beginnings, pages: &mut Pages, tokens: &[u32]) -> Vec<u32> {
        let taken: Vec<u32> = tokens
            .chunks_exact(PAGE)
            .map(|_| pages.take().unwrap())
            .collect();
        all.remember(&BASE, tokens, (&taken, pages));
        taken.iter().for_each(|page| pages.release(*page));
        taken
    }

    #[test]
    fn a_beginning_is_shared_page_by_page_and_then_token_by_token() {
        let (mut all, mut pages) = remembered(8);
        let first = [run(0, 2 * PAGE), run(100, 5)].concat();
        let taken = remember(&mut all, &mut pages, &first);
        let other = [run(0, PAGE + 3), run(200, 40)].concat();
        let shared = all.shared(&BASE, &other);
        assert_eq!(
            (shared.pages.clone(), shared.copied),
            (vec![taken[0]], Some((taken[1], 3)))
        );
        assert_eq!(shared.tokens(), PAGE + 3);
        assert_eq!(all.shared(&BASE, &first).pages, taken);
        assert_eq!(all.shared(&BASE, &run(1, 40)), Shared::default());
        let adapter = Adapters::Named("a".into());
        assert_eq!(all.shared(&adapter, &first), Shared::default());
    }

    #[test]
    fn the_oldest_end_is_forgotten_and_its_page_is_free_again() {
        let (mut all, mut pages) = remembered(2);
        let [a, b, c] = [0, 100, 200].map(|first| run(first, PAGE));
        let kept = remember(&mut all, &mut pages, &a);
        remember(&mut all, &mut pages, &b);
        all.shared(&BASE, &a);
        remember(&mut all, &mut pages, &c);
        assert_eq!(all.shared(&BASE, &a).pages, kept);
        assert_eq!(all.shared(&BASE, &b), Shared::default());
        assert_eq!(all.shared(&BASE, &c).tokens(), PAGE);
        let free: Vec<u32> = std::iter::from_fn(|| pages.take()).collect();
        assert_eq!(free.len(), 6);
        // One beginning of more pages than are remembered takes those it can.
        let (mut all, mut pages) = remembered(2);
        let long = run(0, 3 * PAGE);
        remember(&mut all, &mut pages, &long);
        assert_eq!(all.shared(&BASE, &long).tokens(), 2 * PAGE);
    }
}
