//! The linear layers of a block that read one input, and the adapters' matrices on them.
//!
//! Plain LoRA is the hot path: nothing but a product through the base and two narrow ones. What else an adapter may
//! train at a projection is in [`special`](super::special).

use hone_tensor::Tensor;

use super::Pass;
use crate::adapter::{AdaptedGroup, Adapter, Flow};
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

    /// `y = x·Wᵀ + bias + scale · (x·Aᵀ)·Bᵀ` for each projection of a group. `x·Aᵀ` is returned for the backward pass.
    pub(super) fn project(
        &self,
        index: usize,
        group: Group,
        projections: &[Projection],
        x: &Tensor,
    ) -> (Vec<Tensor>, Option<Tensor>) {
        let through = |(slot, projection)| match self.special((index, group, slot), projection) {
            Some(special) => special.through(x),
            None => self.plain(projection, x),
        };
        let mut outs: Vec<Tensor> = projections.iter().enumerate().map(through).collect();
        let mut hidden = None;
        for (adapter, weight) in self.active() {
            let Some(adapted) = adapter.group(index, group) else {
                continue;
            };
            let low = {
                let dropped = self.dropped(adapted, x);
                adapted.hidden(adapter.parameters(), dropped.as_ref().unwrap_or(x))
            };
            adapted.add(adapter.parameters(), &low, weight, &mut outs);
            if let Some(start) = adapter.start() {
                let low = adapted.hidden(start, x);
                adapted.add(start, &low, -weight, &mut outs);
            }
            hidden = Some(low);
        }
        for (slot, projection) in projections.iter().enumerate() {
            if let Some(special) = self.special((index, group, slot), projection) {
                special.finish(&mut outs[slot]);
            }
        }
        (outs, hidden)
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
        let mut inner: Vec<Flow> = Vec::with_capacity(dys.len());
        for (slot, (projection, dy)) in projections.iter().zip(dys).enumerate() {
            let place = dx.as_mut().map(|dx| (dx, slot > 0));
            let Some(special) = pass.special((self.index, group, slot), projection) else {
                if let Some((dx, accumulate)) = place {
                    device.linear_backward(dy.view(), &projection.weight, dx, accumulate);
                }
                inner.push(Flow::Lent(dy));
                continue;
            };
            let dz = special.finish_backward(x, low.as_ref(), dy, self.grads);
            special.through_backward(x, &dz, place, self.grads);
            inner.push(dz);
        }
        let inner: Vec<&Tensor> = inner.iter().map(|dz| &**dz).collect();
        let mut active = pass.active();
        if let (Some((adapter, weight)), Some(low)) = (active.next(), low)
            && let Some(adapted) = adapter.group(self.index, group)
        {
            debug_assert!(
                weight == 1.0 && active.next().is_none(),
                "one adapter learns"
            );
            self.low_rank(adapter, adapted, (x, low), &inner, dx.as_mut());
        }
        dx
    }

    /// With `y = s · (x·Aᵀ)·Bᵀ`: `dB += s · dyᵀ·(x·Aᵀ)`, `dA += (s · dy·B)ᵀ·x`, `dx += (s · dy·B)·A`.
    fn low_rank(
        &mut self,
        adapter: &Adapter,
        adapted: &AdaptedGroup,
        (x, low): (&Tensor, &Tensor),
        dys: &[&Tensor],
        dx: Option<&mut Tensor>,
    ) {
        let (device, numbers) = (self.pass.device(), adapter.parameters());
        let dlow = adapted.hidden_gradient(numbers, dys, 1.0);
        let dropped = self.pass.dropped(adapted, x);
        let input = dropped.as_ref().unwrap_or(x);
        adapted.gradients((input, low), (&dlow, dys), self.grads);
        let Some(dx) = dx else { return };
        match self.pass.dropout_of(adapted) {
            None => adapted.input_gradient(numbers, &dlow, dx, true),
            Some((p, seed)) => {
                let mut ddropped = device.empty(x.rows(), adapted.width);
                adapted.input_gradient(numbers, &dlow, &mut ddropped, false);
                device.dropout(&ddropped, p, seed, dx, true);
            }
        }
        // What is subtracted is frozen, and its input still has a gradient.
        if let Some(start) = adapter.start() {
            let dlow = adapted.hidden_gradient(start, dys, -1.0);
            adapted.input_gradient(start, &dlow, dx, true);
        }
    }
}
