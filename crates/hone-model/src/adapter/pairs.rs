//! Low-rank pairs of linear layers, the hot path: `y += s · (x·Aᵀ)·Bᵀ`.
//!
//! Projections that read the same input (query, key and value; gate and up) have their `A` side by side in the flat buffer,
//! so that one product serves them all. The small product comes first, so the dense `B·A` is never formed.

use std::ops::Range;

use hone_ledger::Seed;
use hone_tensor::{MatRef, Tensor};

use super::config::scale;
use super::settings::wrapped;
use super::spelling::Role;
use super::table::{Param, ParamTable};
use crate::arch::{DecoderConfig, Group, Site};

/// What one projection's pair is, before it has a place in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Member {
    pub site: Site,
    pub rank: usize,
    pub alpha: f32,
}

/// The adapted projections that read one input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdaptedGroup {
    pub layer: usize,
    pub group: Group,
    /// Input features.
    pub width: usize,
    /// Sum of the members' ranks.
    pub total_rank: usize,
    /// How many there are of each matrix: one, or one for each expert, one after the other.
    pub copies: usize,
    /// `A` of all members, `[total_rank, width]`, begins here in the flat buffer.
    pub a_offset: usize,
    pub members: Vec<LowRank>,
}

/// One adapted projection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LowRank {
    pub site: Site,
    pub rank: usize,
    pub alpha: f32,
    pub scale: f32,
    /// First of its rows in the group's `A`.
    pub rank_offset: usize,
    /// Input features.
    pub width: usize,
    /// Output features.
    pub out: usize,
    /// Its own `A`, `[rank, width]`, begins here in the flat buffer.
    pub a_offset: usize,
    /// `B`, `[out, rank]`, begins here.
    pub b_offset: usize,
}

/// The pairs by the input that they read, in the order of the network, each in its place.
pub(crate) fn place_groups(
    members: &[Member],
    rank_stabilised: bool,
    base: &DecoderConfig,
    table: &mut ParamTable,
) -> Vec<AdaptedGroup> {
    let mut groups: Vec<AdaptedGroup> = Vec::new();
    for member in members {
        let layer = member.site.layer_index(base.num_layers);
        let group = member.site.group();
        let (out, width) = base.projection(member.site);
        let mut known = groups.iter();
        let at = known.position(|own| own.layer == layer && own.group == group);
        let at = at.unwrap_or_else(|| {
            groups.push(AdaptedGroup {
                layer,
                group,
                width,
                copies: base.copies(member.site),
                total_rank: 0,
                a_offset: 0,
                members: vec![],
            });
            groups.len() - 1
        });
        let target = &mut groups[at];
        target.members.push(LowRank {
            site: member.site,
            rank: member.rank,
            alpha: member.alpha,
            scale: scale(member.alpha, member.rank, rank_stabilised),
            rank_offset: target.total_rank,
            width,
            out,
            a_offset: 0,
            b_offset: 0,
        });
        target.total_rank += member.rank;
    }
    groups.sort_by_key(|g| (g.layer, g.group));
    let modules = groups.iter().map(|group| {
        let members = group.members.iter();
        members
            .map(|member| module_of(member.site, &groups))
            .collect()
    });
    let modules: Vec<Vec<String>> = modules.collect();
    for (group, modules) in groups.iter_mut().zip(&modules) {
        group.place(modules, table);
    }
    groups
}

/// Where PEFT hangs the tensors of a projection's pair.
fn module_of(site: Site, groups: &[AdaptedGroup]) -> String {
    let is_around =
        |group: &AdaptedGroup| group.group == Group::ExpertsOut && site.is_in_layer(group.layer);
    wrapped(&site.path(), groups.iter().any(is_around))
}

impl AdaptedGroup {
    /// All `A`, then `B` by `B`.
    fn place(&mut self, modules: &[String], table: &mut ParamTable) {
        let (width, copies) = (self.width, self.copies);
        self.a_offset = table.len();
        let param = |module: &str, role, site, shape| Param {
            copies,
            site: Some(site),
            ..Param::new(module, role, shape)
        };
        for (member, module) in self.members.iter_mut().zip(modules) {
            let shape = (copies * member.rank, width);
            member.a_offset = table.place(param(module, Role::A, member.site, shape));
        }
        for (member, module) in self.members.iter_mut().zip(modules) {
            let shape = (member.out, copies * member.rank);
            member.b_offset = table.place(param(module, Role::B, member.site, shape));
        }
    }

    /// `A` uniform within `±1/√in`, as PEFT has it (Kaiming with `a = √5`); `B` stays zero.
    pub fn draw(&self, numbers: &mut [f32], seed: Seed) {
        let bound = (self.width as f32).sqrt().recip();
        for member in &self.members {
            let mut stream = seed.child(&member.site.path()).stream();
            numbers[member.a_offset..][..self.copies * member.rank * self.width]
                .fill_with(|| (2.0 * stream.unit_f32() - 1.0) * bound);
        }
    }

    /// `A` of all members, `[total_rank, width]`.
    fn a<'n>(&self, numbers: &'n Tensor) -> MatRef<'n> {
        numbers.window(self.a_offset, self.total_rank, self.width)
    }

    /// `x·Aᵀ` of all members side by side, `[rows, total_rank]`.
    pub fn hidden(&self, numbers: &Tensor, x: &Tensor) -> Tensor {
        let device = numbers.device();
        let mut low = device.empty(x.rows(), self.total_rank);
        device.matmul(x.view(), self.a(numbers).t(), 1.0, low.view_mut(), false);
        low
    }

    /// `y += weight · s · low·Bᵀ` at each member's projection.
    pub fn add(&self, numbers: &Tensor, low: &Tensor, weight: f32, outs: &mut [Tensor]) {
        for member in &self.members {
            member.add(numbers, low, weight, &mut outs[member.site.slot()]);
        }
    }

    /// `sign · s · dy·B` of all members side by side, `[rows, total_rank]`.
    pub fn hidden_gradient(&self, numbers: &Tensor, dys: &[&Tensor], sign: f32) -> Tensor {
        let device = numbers.device();
        let rows = dys.first().map_or(0, |dy| dy.rows());
        let mut dlow = device.empty(rows, self.total_rank);
        for member in &self.members {
            let dy = dys[member.site.slot()].view();
            let place = dlow.view_cols_mut(member.ranks());
            device.matmul(dy, member.b(numbers), sign * member.scale, place, false);
        }
        dlow
    }

    /// `dB += s · dyᵀ·low`, `dA += dlowᵀ·x`, where `x` is what `A` was given.
    pub fn gradients(
        &self,
        (x, low): (&Tensor, &Tensor),
        (dlow, dys): (&Tensor, &[&Tensor]),
        grads: &mut Tensor,
    ) {
        let device = x.device();
        for member in &self.members {
            let (dy, low) = (
                dys[member.site.slot()].view(),
                low.view_cols(member.ranks()),
            );
            let db = grads.window_mut(member.b_offset, member.out, member.rank);
            device.matmul(dy.t(), low, member.scale, db, true);
        }
        let da = grads.window_mut(self.a_offset, self.total_rank, self.width);
        device.matmul(dlow.view().t(), x.view(), 1.0, da, true);
    }

    /// `dx (+)= dlow·A`.
    pub fn input_gradient(&self, numbers: &Tensor, dlow: &Tensor, dx: &mut Tensor, add: bool) {
        let device = numbers.device();
        device.matmul(dlow.view(), self.a(numbers), 1.0, dx.view_mut(), add);
    }
}

impl LowRank {
    /// Its columns of the group's `x·Aᵀ`.
    pub fn ranks(&self) -> Range<usize> {
        self.rank_offset..self.rank_offset + self.rank
    }

    /// Its `A`, `[rank, width]`.
    pub fn a<'n>(&self, numbers: &'n Tensor) -> MatRef<'n> {
        numbers.window(self.a_offset, self.rank, self.width)
    }

    /// Its `B`, `[out, rank]`.
    pub fn b<'n>(&self, numbers: &'n Tensor) -> MatRef<'n> {
        numbers.window(self.b_offset, self.out, self.rank)
    }

    /// `y += weight · s · low·Bᵀ`, of the group's `low` its own columns.
    pub fn add(&self, numbers: &Tensor, low: &Tensor, weight: f32, y: &mut Tensor) {
        let low = low.view_cols(self.ranks());
        let scale = weight * self.scale;
        let b = self.b(numbers);
        numbers
            .device()
            .matmul(low, b.t(), scale, y.view_mut(), true);
    }
}
