//! The linear layers of a block that read one input, and the adapter's matrices on them.

use hone_tensor::Tensor;

use super::Pass;
use crate::adapter::{AdaptedGroup, Adapter, LowRank};
use crate::decoder::Projection;
use crate::weights::Group;

impl<'a> Pass<'a> {
    fn adapted(&self, index: usize, group: Group) -> Option<(&'a Adapter, &'a AdaptedGroup)> {
        let adapter = self.adapter?;
        adapter
            .group(index, group)
            .map(|adapted| (adapter, adapted))
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
        let plain = |projection: &Projection| {
            let mut y = device.empty(x.rows(), projection.weight.rows());
            device.linear(x.view(), &projection.weight, &mut y, false);
            if let Some(bias) = &projection.bias {
                device.add_bias(&mut y, bias);
            }
            y
        };
        let mut outs: Vec<Tensor> = projections.iter().map(plain).collect();
        let low = self.adapted(index, group).map(|(adapter, adapted)| {
            let low = self.narrow(adapter, adapted, x);
            for member in &adapted.members {
                add_low_rank(adapter, member, &low, &mut outs[member.site.slot()]);
            }
            low
        });
        (outs, low)
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
        let device = self.pass.device();
        let mut dx = needs_input.then(|| {
            let mut dx = device.empty(x.rows(), x.cols());
            for (i, (projection, dy)) in projections.iter().zip(dys).enumerate() {
                device.linear_backward(dy.view(), &projection.weight, &mut dx, i > 0);
            }
            dx
        });
        if let (Some((adapter, adapted)), Some(low)) = (self.pass.adapted(self.index, group), low) {
            self.low_rank(adapter, adapted, x, low, dys, dx.as_mut());
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
        let mut dlow = device.empty(x.rows(), adapted.total_rank);
        for member in &adapted.members {
            let (dy, ranks) = (dys[member.site.slot()].view(), member.ranks());
            let b = adapter
                .parameters()
                .window(member.b_offset, member.out, member.rank);
            device.matmul(
                dy,
                b,
                member.scale,
                dlow.view_cols_mut(ranks.clone()),
                false,
            );
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

/// `y += scale · low·Bᵀ`.
fn add_low_rank(adapter: &Adapter, member: &LowRank, low: &Tensor, y: &mut Tensor) {
    let b = adapter
        .parameters()
        .window(member.b_offset, member.out, member.rank);
    let low = low.view_cols(member.ranks());
    adapter
        .parameters()
        .device()
        .matmul(low, b.t(), member.scale, y.view_mut(), true);
}
