//! The linear layers of a block that read one input, and the adapters' matrices on them.
//!
//! Plain LoRA is the hot path: nothing but a product through the base and two narrow ones. What else an adapter may
//! train at a projection is in [`special`](super::special).

use hone_tensor::Tensor;

use super::Pass;
use crate::adapter::{AdaptedGroup, Adapter, LowRank};
use crate::decoder::Projection;
use crate::weights::Group;

impl<'a> Pass<'a> {
    /// Adapters that are on, and how strongly.
    pub(super) fn active(&self) -> impl Iterator<Item = (&'a Adapter, f32)> + use<'a> {
        let on = |worn: &'a crate::model::Worn| {
            (worn.weight != 0.0).then_some((&worn.adapter, worn.weight))
        };
        self.worn.iter().filter_map(on)
    }

    /// `y = x·Wᵀ + bias + scale · (x·Aᵀ)·Bᵀ` for each projection of a group. The small product comes
    /// first, so the dense `B·A` is never formed; it is returned for the backward pass.
    pub(super) fn project(
        &self,
        index: usize,
        group: Group,
        projections: &[Projection],
        x: &Tensor,
    ) -> (Vec<Tensor>, Option<Tensor>) {
        let device = self.device();
        let through = |(slot, projection)| match self.special(index, group, slot) {
            Some(special) => special.through(self, projection, x),
            None => self.plain(projection, x),
        };
        let mut outs: Vec<Tensor> = projections.iter().enumerate().map(through).collect();
        let mut narrow = None;
        for (adapter, weight) in self.active() {
            let Some(adapted) = adapter.group(index, group) else {
                continue;
            };
            let low = self.narrow(adapter, adapted, x);
            for member in &adapted.members {
                let out = &mut outs[member.site.slot()];
                add_low_rank(adapter.parameters(), member, &low, weight, out);
            }
            if let Some(start) = adapter.start() {
                let mut low = device.empty(x.rows(), adapted.total_rank);
                let a = start.window(adapted.a_offset, adapted.total_rank, adapted.width);
                device.matmul(x.view(), a.t(), 1.0, low.view_mut(), false);
                for member in &adapted.members {
                    add_low_rank(start, member, &low, -weight, &mut outs[member.site.slot()]);
                }
            }
            narrow = Some(low);
        }
        for (slot, projection) in projections.iter().enumerate() {
            if let Some(special) = self.special(index, group, slot) {
                special.finish(self, projection, &mut outs[slot]);
            }
        }
        (outs, narrow)
    }

    /// `x·Wᵀ + bias`.
    fn plain(&self, projection: &Projection, x: &Tensor) -> Tensor {
        let device = self.device();
        let mut y = device.empty(x.rows(), projection.weight.rows());
        device.linear(x.view(), &projection.weight, &mut y, false);
        if let Some(bias) = &projection.bias {
            device.add_bias(&mut y, bias);
        }
        y
    }

    /// `x·Aᵀ` for all members of a group at once, `[rows, total_rank]`.
    fn narrow(&self, adapter: &Adapter, adapted: &AdaptedGroup, x: &Tensor) -> Tensor {
        let mut low = self.device().empty(x.rows(), adapted.total_rank);
        let a = adapter
            .parameters()
            .window(adapted.a_offset, adapted.total_rank, adapted.width);
        let dropped = self.dropped(adapted, x);
        let x = dropped.as_ref().unwrap_or(x);
        self.device()
            .matmul(x.view(), a.t(), 1.0, low.view_mut(), false);
        low
    }

    /// The adapter's input with some elements zeroed, if it trains with dropout. The projections of a
    /// group share one mask.
    fn dropped(&self, adapted: &AdaptedGroup, x: &Tensor) -> Option<Tensor> {
        let (p, seed) = self.dropout_of(adapted)?;
        let mut dropped = self.device().empty(x.rows(), x.cols());
        self.device().dropout(x, p, seed, &mut dropped, false);
        Some(dropped)
    }

    fn dropout_of(&self, adapted: &AdaptedGroup) -> Option<(f32, u64)> {
        let (p, seed) = self.dropout.filter(|(p, _)| *p > 0.0)?;
        let place = (adapted.layer as u64) << 8 | adapted.group as u64;
        Some((p, hone_ledger::Seed::new(seed).index(place).value()))
    }
}

/// The way back through one layer's projections.
pub(super) struct Back<'a, 'b> {
    pub pass: &'b Pass<'a>,
    pub index: usize,
    pub grads: &'b mut Tensor,
}

impl Back<'_, '_> {
    /// Adds the gradients of a group's adapters; returns the gradient of the group's input if needed.
    pub(super) fn project(
        &mut self,
        group: Group,
        projections: &[Projection],
        x: &Tensor,
        low: &Option<Tensor>,
        dys: &[&Tensor],
        needs_input: bool,
    ) -> Option<Tensor> {
        let (device, pass) = (self.pass.device(), self.pass);
        let mut dx = needs_input.then(|| device.empty(x.rows(), x.cols()));
        // Gradients of the plain outputs, where an adapter does more than add to them.
        let mut inner: Vec<Option<Tensor>> = Vec::with_capacity(dys.len());
        for (slot, (projection, dy)) in projections.iter().zip(dys).enumerate() {
            let Some(special) = pass.special(self.index, group, slot) else {
                if let Some(dx) = &mut dx {
                    device.linear_backward(dy.view(), &projection.weight, dx, slot > 0);
                }
                inner.push(None);
                continue;
            };
            let dz = special.finish_backward(pass, projection, x, low.as_ref(), dy, self.grads);
            let dz_or_dy = dz.as_ref().unwrap_or(dy);
            let place = dx.as_mut().map(|dx| (dx, slot > 0));
            special.through_backward(pass, projection, x, dz_or_dy, place, self.grads);
            inner.push(dz);
        }
        let inner: Vec<&Tensor> = inner
            .iter()
            .zip(dys)
            .map(|(dz, dy)| dz.as_ref().unwrap_or(dy))
            .collect();
        let mut active = pass.active();
        if let (Some((adapter, weight)), Some(low)) = (active.next(), low)
            && let Some(adapted) = adapter.group(self.index, group)
        {
            debug_assert!(
                weight == 1.0 && active.next().is_none(),
                "one adapter learns"
            );
            self.low_rank(adapter, adapted, x, low, &inner, dx.as_mut());
            if let (Some(start), Some(dx)) = (adapter.start(), dx.as_mut()) {
                start_backward(start, adapted, &inner, dx);
            }
        }
        dx
    }

    /// With `y = s · (x·Aᵀ)·Bᵀ`: `dB += s · dyᵀ·(x·Aᵀ)`, `dA += (s · dy·B)ᵀ·x`, `dx += (s · dy·B)·A`.
    fn low_rank(
        &mut self,
        adapter: &Adapter,
        adapted: &AdaptedGroup,
        x: &Tensor,
        low: &Tensor,
        dys: &[&Tensor],
        dx: Option<&mut Tensor>,
    ) {
        let device = self.pass.device();
        let dlow = narrow_gradient(adapter.parameters(), adapted, dys, 1.0);
        for member in &adapted.members {
            let (dy, ranks) = (dys[member.site.slot()].view(), member.ranks());
            let db = self
                .grads
                .window_mut(member.b_offset, member.out, member.rank);
            device.matmul(dy.t(), low.view_cols(ranks), member.scale, db, true);
        }
        let (offset, rank, width) = (adapted.a_offset, adapted.total_rank, adapted.width);
        let dropped = self.pass.dropped(adapted, x);
        let input = dropped.as_ref().unwrap_or(x);
        device.matmul(
            dlow.view().t(),
            input.view(),
            1.0,
            self.grads.window_mut(offset, rank, width),
            true,
        );

        let Some(dx) = dx else { return };
        let a = adapter.parameters().window(offset, rank, width);
        match self.pass.dropout_of(adapted) {
            None => device.matmul(dlow.view(), a, 1.0, dx.view_mut(), true),
            Some((p, seed)) => {
                let mut ddropped = device.empty(x.rows(), width);
                device.matmul(dlow.view(), a, 1.0, ddropped.view_mut(), false);
                device.dropout(&ddropped, p, seed, dx, true);
            }
        }
    }
}

/// `sign · s · dy·B` of all members side by side, `[rows, total_rank]`.
fn narrow_gradient(numbers: &Tensor, adapted: &AdaptedGroup, dys: &[&Tensor], sign: f32) -> Tensor {
    let device = numbers.device();
    let rows = dys.first().map_or(0, |dy| dy.rows());
    let mut dlow = device.empty(rows, adapted.total_rank);
    for member in &adapted.members {
        let dy = dys[member.site.slot()].view();
        let b = numbers.window(member.b_offset, member.out, member.rank);
        let place = dlow.view_cols_mut(member.ranks());
        device.matmul(dy, b, sign * member.scale, place, false);
    }
    dlow
}

/// What is subtracted is frozen, and its input still has a gradient.
fn start_backward(start: &Tensor, adapted: &AdaptedGroup, dys: &[&Tensor], dx: &mut Tensor) {
    let dlow = narrow_gradient(start, adapted, dys, -1.0);
    let a = start.window(adapted.a_offset, adapted.total_rank, adapted.width);
    start
        .device()
        .matmul(dlow.view(), a, 1.0, dx.view_mut(), true);
}

/// `y += weight · scale · low·Bᵀ`.
pub(super) fn add_low_rank(
    numbers: &Tensor,
    member: &LowRank,
    low: &Tensor,
    weight: f32,
    y: &mut Tensor,
) {
    let b = numbers.window(member.b_offset, member.out, member.rank);
    let low = low.view_cols(member.ranks());
    let scale = weight * member.scale;
    numbers
        .device()
        .matmul(low, b.t(), scale, y.view_mut(), true);
}
