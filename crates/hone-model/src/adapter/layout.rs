//! Where everything an adapter trains lies in its one flat buffer, and where the passes find it.
//!
//! First the low-rank pairs, group by group: the hot path reads nothing else. Then what is trained at single
//! projections (a magnitude, a bias, a whole matrix, factors), then what is trained at the embedding.

use super::pairs::{AdaptedGroup, LowRank, Member, place_groups};
use super::table::ParamTable;
use super::trained::{AtProjection, AtSite, Matrix, Rows, Step, Trained};
use crate::arch::{DecoderConfig, Site};

/// Everything an adapter trains, before it has a place in memory.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub pairs: Vec<Member>,
    pub rank_stabilised: bool,
    pub at_sites: Vec<(Site, AtProjection)>,
    pub at_embedding: Vec<Box<dyn Rows>>,
}

impl Wanted {
    pub fn add_step(&mut self, site: Site, step: impl Step + 'static) {
        self.at_sites
            .push((site, AtProjection::Step(Box::new(step))));
    }

    pub fn add_matrix(&mut self, site: Site, matrix: impl Matrix + 'static) {
        let matrix = AtProjection::Matrix(Box::new(matrix));
        self.at_sites.push((site, matrix));
    }

    pub fn add_rows(&mut self, rows: impl Rows + 'static) {
        self.at_embedding.push(Box::new(rows));
    }
}

/// An adapter's places.
#[derive(Debug)]
pub(crate) struct Layout {
    pub groups: Vec<AdaptedGroup>,
    pub sites: Vec<AtSite>,
    pub embedding: Vec<Box<dyn Rows>>,
    pub table: ParamTable,
}

impl Layout {
    /// Gives everything its place.
    pub fn new(wanted: Wanted, base: &DecoderConfig) -> Self {
        let mut table = ParamTable::default();
        let groups = place_groups(&wanted.pairs, wanted.rank_stabilised, base, &mut table);
        let mut waiting = wanted.at_sites;
        let mut sites = Vec::new();
        for site in base.sites() {
            let pair = member_of(&groups, site);
            let own = waiting.extract_if(.., |(place, _)| *place == site);
            let mut at = AtSite::empty(site, base, pair);
            for (_, mut own) in own {
                own.trained().place(pair, &mut table);
                at.add(own);
            }
            if at.is_trained() {
                sites.push(at);
            }
        }
        let mut embedding = wanted.at_embedding;
        for rows in &mut embedding {
            rows.place(None, &mut table);
        }
        let of_head = embedding.iter().filter_map(|rows| rows.at_tied_head());
        for matrix in of_head.filter(|_| base.tied_head) {
            let mut head = AtSite::empty(base.head(), base, None);
            head.matrix = Some(matrix);
            head.is_tied = true;
            sites.push(head);
        }
        Self {
            groups,
            sites,
            embedding,
            table,
        }
    }

    /// Whether it changes nothing at all.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// What is trained beside low-rank pairs of linear layers, each with the projection that it is at.
    pub fn trained(&self) -> impl Iterator<Item = (Option<Site>, &dyn Trained)> {
        let own = self.sites.iter().filter(|at| !at.is_tied);
        let at_sites = own.flat_map(|at| at.trained().map(|own| (Some(at.site), own)));
        let rows = self.embedding.iter().map(|rows| &**rows as &dyn Trained);
        at_sites.chain(rows.map(|rows| (None, rows)))
    }

    /// A number may change, or even the base.
    pub fn forget(&mut self, base_too: bool) {
        let steps = self.sites.iter_mut().flat_map(|at| &mut at.steps);
        steps.for_each(|step| step.forget(base_too));
    }

    /// The first layer where something is trained.
    pub fn lowest_layer(&self) -> usize {
        if !self.embedding.is_empty() {
            return 0;
        }
        let groups = self.groups.iter().map(|group| group.layer);
        let sites = self.sites.iter().map(|at| at.layer);
        groups.chain(sites).min().unwrap_or(usize::MAX)
    }
}

fn member_of(groups: &[AdaptedGroup], site: Site) -> Option<&LowRank> {
    let mut members = groups.iter().flat_map(|group| &group.members);
    members.find(|member| member.site == site)
}
