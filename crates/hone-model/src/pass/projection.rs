//! The linear layers of a block that read one input, and the adapters' matrices on them.
//!
//! Plain LoRA is the hot path: nothing but a product through the base and two narrow ones. What else an adapter may
//! train at a projection is in [`special`](super::special); rows with adapters of their own are in
//! [`shares`](super::shares).

use hone_tensor::{Tensor, Weight};

use super::Pass;
use super::shares::{Grads, Share, shares_of};
use super::special::Special;
use crate::adapter::{AdaptedGroup, Adapter, Flow};
use crate::arch::Group;
use crate::decoder::Projection;
use crate::keep::Lows;

/// Projections that read one input.
#[derive(Clone, Copy)]
pub(super) struct Projections<'p> {
    /// Their layer; the head counts as one past the last.
    pub index: usize,
    pub group: Group,
    pub all: &'p [Projection],
}

impl<'p> Projections<'p> {
    /// Each with what is special about it for a share, if something is.
    fn with_special<'s: 'p>(
        self,
        share: &Share<'s>,
    ) -> impl Iterator<Item = (usize, &'p Projection, Option<Special<'p>>)> {
        let all = self.all.iter().enumerate();
        all.map(move |(slot, projection)| {
            let place = (self.index, self.group, slot);
            (slot, projection, Special::of(share, place, projection))
        })
    }
}

impl<'a> Pass<'a> {
    /// `y = x·Wᵀ + bias + scale · (x·Aᵀ)·Bᵀ` for each projection of a group. `x·Aᵀ` is returned for the backward pass.
    pub(super) fn project(
        &self,
        at: Projections<'_>,
        x: &Tensor,
        division: &[usize],
    ) -> (Vec<Tensor>, Lows) {
        if let [all] = &self.shares[..] {
            let (outs, low) = self.project_share(all, at, x);
            return (outs, vec![low]);
        }
        let mut outs: Vec<Tensor> = (0..at.all.len())
            .map(|slot| self.product_of_shares(at, slot, x, division))
            .collect();
        let mut lows: Lows = self.shares.iter().map(|_| None).collect();
        let has_bias = at.all.iter().any(|projection| projection.bias.is_some());
        for (number, rows) in shares_of(division) {
            if self.shares[number].active.is_empty() && !has_bias {
                continue;
            }
            let own_x = self.rows_of(x, &rows);
            let mut own: Vec<Tensor> = outs.iter().map(|y| self.rows_of(y, &rows)).collect();
            lows[number] = self.adapt(&self.shares[number], at, &own_x, &mut own);
            for (own, y) in own.iter().zip(&mut outs) {
                self.put_rows(own, &rows, y);
            }
        }
        (outs, lows)
    }

    /// [`Self::project`] for rows of one share.
    pub(super) fn project_share(
        &self,
        share: &Share<'a>,
        at: Projections<'_>,
        x: &Tensor,
    ) -> (Vec<Tensor>, Option<Tensor>) {
        let is_plain = at
            .with_special(share)
            .all(|(_, _, special)| special.is_none());
        let through =
            |(_, projection, special): (usize, &Projection, Option<Special>)| match special {
                Some(special) => special.through(x),
                None => self.product(projection, x),
            };
        let mut outs: Vec<Tensor> = match is_plain {
            true => self.products(at.all, x),
            false => at.with_special(share).map(through).collect(),
        };
        let low = self.adapt(share, at, x, &mut outs);
        (outs, low)
    }

    /// `x·Wᵀ`.
    fn product(&self, projection: &Projection, x: &Tensor) -> Tensor {
        let mut y = self.device().empty(x.rows(), projection.weight.rows());
        self.device()
            .linear(x.view(), &projection.weight, &mut y, false);
        y
    }

    /// `x·Wᵀ` for each projection.
    fn products(&self, all: &[Projection], x: &Tensor) -> Vec<Tensor> {
        let empty = |projection: &Projection| {
            let width = projection.weight.rows();
            self.device().empty(x.rows(), width)
        };
        let mut outs: Vec<Tensor> = all.iter().map(empty).collect();
        let weights: Vec<&Weight> = all.iter().map(|projection| &*projection.weight).collect();
        self.device().linears(x.view(), &weights, &mut outs);
        outs
    }

    /// `x·Wᵀ` of all shares at once, each with the input that its adapter makes of `x`.
    fn product_of_shares(
        &self,
        at: Projections<'_>,
        slot: usize,
        x: &Tensor,
        division: &[usize],
    ) -> Tensor {
        let mut own: Option<Tensor> = None;
        for (number, rows) in shares_of(division) {
            let place = (at.index, at.group, slot);
            let special = Special::of(&self.shares[number], place, &at.all[slot]);
            let input = special.and_then(|special| special.input(&self.rows_of(x, &rows)));
            if let Some(input) = input {
                let all = own.get_or_insert_with(|| crate::adapter::copy_of(x));
                self.put_rows(&input, &rows, all);
            }
        }
        self.product(&at.all[slot], own.as_ref().unwrap_or(x))
    }

    /// From products through the base, without biases, to outputs; `x·Aᵀ` comes back.
    fn adapt(
        &self,
        share: &Share<'a>,
        at: Projections<'_>,
        x: &Tensor,
        outs: &mut [Tensor],
    ) -> Option<Tensor> {
        for (slot, projection, special) in at.with_special(share) {
            if let (None, Some(bias)) = (special, &projection.bias) {
                self.device().add_bias(&mut outs[slot], bias);
            }
        }
        let mut hidden = None;
        for &(adapter, weight) in &share.active {
            let Some(adapted) = adapter.group(at.index, at.group) else {
                continue;
            };
            let low = {
                let dropped = self.dropped(share, adapted, x);
                adapted.hidden(adapter.parameters(), dropped.as_ref().unwrap_or(x))
            };
            adapted.add(adapter.parameters(), &low, weight, outs);
            if let Some(start) = adapter.start() {
                let low = adapted.hidden(start, x);
                adapted.add(start, &low, -weight, outs);
            }
            hidden = Some(low);
        }
        for (slot, _, special) in at.with_special(share) {
            if let Some(special) = special {
                special.finish(&mut outs[slot]);
            }
        }
        hidden
    }

    /// The adapter's input with some elements zeroed, if it trains with dropout. The projections of a
    /// group share one mask.
    fn dropped(&self, share: &Share, adapted: &AdaptedGroup, x: &Tensor) -> Option<Tensor> {
        let (p, seed) = share.dropout_of(adapted)?;
        let mut dropped = self.device().empty(x.rows(), x.cols());
        self.device().dropout(x, p, seed, &mut dropped, false);
        Some(dropped)
    }
}

impl Share<'_> {
    fn dropout_of(&self, adapted: &AdaptedGroup) -> Option<(f32, u64)> {
        let (p, seed) = self.dropout.filter(|(p, _)| *p > 0.0)?;
        let place = (adapted.layer as u64) << 8 | adapted.group as u64;
        Some((p, hone_ledger::Seed::new(seed).index(place).value()))
    }
}

/// The backward pass through one layer's projections.
pub(super) struct Back<'a, 'b, 'g> {
    pub pass: &'b Pass<'a>,
    pub index: usize,
    pub grads: &'b mut Grads<'g>,
}

impl Back<'_, '_, '_> {
    /// Adds the gradients of a group's adapters; returns the gradient of the group's input if needed.
    pub(super) fn project(
        &mut self,
        (group, all): (Group, &[Projection]),
        (x, division): (&Tensor, &[usize]),
        lows: &Lows,
        dys: &[&Tensor],
        needs_input: bool,
    ) -> Option<Tensor> {
        let index = self.index;
        let at = Projections { index, group, all };
        match self.pass.shares.len() {
            1 => self.project_share(0, at, x, lows[0].as_ref(), dys, needs_input),
            _ => self.project_shares(at, (x, division), lows, dys, needs_input),
        }
    }

    /// [`Self::project`] for rows of one share.
    pub(super) fn project_share(
        &mut self,
        number: usize,
        at: Projections<'_>,
        x: &Tensor,
        low: Option<&Tensor>,
        dys: &[&Tensor],
        needs_input: bool,
    ) -> Option<Tensor> {
        let (device, share) = (self.pass.device(), &self.pass.shares[number]);
        let mut dx = needs_input.then(|| device.empty(x.rows(), x.cols()));
        // Gradients of the plain outputs, where an adapter does more than add to them.
        let mut inner: Vec<Flow> = Vec::with_capacity(dys.len());
        for ((slot, projection, special), dy) in at.with_special(share).zip(dys) {
            let place = dx.as_mut().map(|dx| (dx, slot > 0));
            let Some(special) = special else {
                if let Some((dx, accumulate)) = place {
                    device.linear_backward(dy.view(), &projection.weight, dx, accumulate);
                }
                inner.push(Flow::Lent(dy));
                continue;
            };
            let grads = self.grads.of(number);
            let dz = special.finish_backward(x, low, dy, grads);
            special.through_backward(x, &dz, place, grads);
            inner.push(dz);
        }
        let inner: Vec<&Tensor> = inner.iter().map(|dz| &**dz).collect();
        self.low_rank(number, at, (x, low), &inner, dx.as_mut());
        dx
    }

    /// The same for several shares: the backward pass through the base is one product where no adapter changes its input.
    fn project_shares(
        &mut self,
        at: Projections<'_>,
        (x, division): (&Tensor, &[usize]),
        lows: &Lows,
        dys: &[&Tensor],
        needs_input: bool,
    ) -> Option<Tensor> {
        let (device, pass) = (self.pass.device(), self.pass);
        let mut dx = needs_input.then(|| device.empty(x.rows(), x.cols()));
        let mut inner: Vec<Tensor> = Vec::with_capacity(dys.len());
        for (slot, dy) in dys.iter().enumerate() {
            let projection = &at.all[slot];
            let special = |number: usize| {
                let place = (at.index, at.group, slot);
                Special::of(&pass.shares[number], place, projection)
            };
            let mut dz = crate::adapter::copy_of(dy);
            let mut changes_input = false;
            for (number, rows) in shares_of(division) {
                let Some(special) = special(number) else {
                    continue;
                };
                changes_input |= special.changes_input();
                let (own_x, own_dy) = (pass.rows_of(x, &rows), pass.rows_of(dy, &rows));
                let (low, grads) = (lows[number].as_ref(), self.grads.of(number));
                let own = special.finish_backward(&own_x, low, &own_dy, grads);
                pass.put_rows(&own, &rows, &mut dz);
            }
            let accumulate = slot > 0;
            if !changes_input {
                if let Some(dx) = &mut dx {
                    device.linear_backward(dz.view(), &projection.weight, dx, accumulate);
                }
                inner.push(dz);
                continue;
            }
            for (number, rows) in shares_of(division) {
                let (own_x, own_dz) = (pass.rows_of(x, &rows), pass.rows_of(&dz, &rows));
                let mut own = dx.as_ref().map(|dx| pass.rows_of(dx, &rows));
                let place = own.as_mut().map(|own| (own, accumulate));
                match (special(number), place) {
                    (Some(special), place) => {
                        let grads = self.grads.of(number);
                        special.through_backward(&own_x, &own_dz, place, grads);
                    }
                    (None, Some((own, add))) => {
                        device.linear_backward(own_dz.view(), &projection.weight, own, add);
                    }
                    (None, None) => {}
                }
                if let (Some(own), Some(dx)) = (&own, &mut dx) {
                    pass.put_rows(own, &rows, dx);
                }
            }
            inner.push(dz);
        }
        for (number, rows) in shares_of(division) {
            let Some(low) = &lows[number] else { continue };
            let own_x = pass.rows_of(x, &rows);
            let own: Vec<Tensor> = inner.iter().map(|dz| pass.rows_of(dz, &rows)).collect();
            let own: Vec<&Tensor> = own.iter().collect();
            let mut own_dx = dx.as_ref().map(|dx| pass.rows_of(dx, &rows));
            self.low_rank(number, at, (&own_x, Some(low)), &own, own_dx.as_mut());
            if let (Some(own), Some(dx)) = (&own_dx, &mut dx) {
                pass.put_rows(own, &rows, dx);
            }
        }
        dx
    }

    /// With `y = s · (x·Aᵀ)·Bᵀ`: `dB += s · dyᵀ·(x·Aᵀ)`, `dA += (s · dy·B)ᵀ·x`, `dx += (s · dy·B)·A`.
    fn low_rank(
        &mut self,
        number: usize,
        at: Projections<'_>,
        (x, low): (&Tensor, Option<&Tensor>),
        dys: &[&Tensor],
        dx: Option<&mut Tensor>,
    ) {
        let (device, share) = (self.pass.device(), &self.pass.shares[number]);
        let Some((adapter, low)) = share.learning().zip(low) else {
            return;
        };
        let Some(adapted) = adapter.group(at.index, at.group) else {
            return;
        };
        let numbers = adapter.parameters();
        let dlow = adapted.hidden_gradient(numbers, dys, 1.0);
        {
            let dropped = self.pass.dropped(share, adapted, x);
            let input = dropped.as_ref().unwrap_or(x);
            adapted.gradients((input, low), (&dlow, dys), self.grads.of(number));
        }
        let Some(dx) = dx else { return };
        match share.dropout_of(adapted) {
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

impl<'a> Share<'a> {
    /// The adapter that learns: one, and whole.
    pub fn learning(&self) -> Option<&'a Adapter> {
        let (adapter, weight) = self.active.first()?;
        debug_assert!(
            *weight == 1.0 && self.active.len() == 1,
            "one adapter learns"
        );
        Some(adapter)
    }
}
