//! The experts of a block, forward and backward: a router sends each row to a few MLPs, and what they give is added up.
//!
//! A *place* is one row at one expert. Places lie expert by expert, so that each expert's matrices are read once for all its
//! rows; activations of all places lie in one tensor, so that the memory of a step does not depend on where rows go,
//! but for what is alive while a single expert is at work.
//!
//! The share `w` that a row gives an expert is never multiplied into activations in the backward pass. With `y = w · D(a)` and
//! `D` linear, `dw = dy · D(a) = Dᵀ(dy) · a` and `da = w · Dᵀ(dy)`: one product through the frozen matrix serves both.

use std::ops::Range;

use hone_tensor::{MatRef, Routing, Tensor, TopK};

use super::projection::{Back, Projections};
use super::{Pass, take};
use crate::adapter::{AdaptedGroup, Adapter};
use crate::arch::Group;
use crate::decoder::{Expert, Projection};
use crate::keep::{KeptExperts, KeptRouting, Lows};

/// Experts that have rows, with their places.
fn at_work<'e>(
    experts: &'e [Expert],
    routing: &'e Routing,
) -> impl Iterator<Item = (usize, &'e Expert, Range<usize>)> {
    let all = experts.iter().enumerate();
    let with_places = all.map(|(number, expert)| (number, expert, routing.places(number)));
    with_places.filter(|(_, _, places)| !places.is_empty())
}

impl<'a> Pass<'a> {
    fn top_k(&self) -> TopK {
        let experts = self.decoder.config.experts;
        let experts = experts.expect("a layer with experts knows how many");
        TopK {
            count: experts.per_token,
            is_normalised: experts.is_normalised,
        }
    }

    /// What the experts give for `x`, `[rows, d_model]`.
    pub(super) fn experts(
        &self,
        index: usize,
        (router, experts): (&[Projection], &[Expert]),
        (x, division): (&Tensor, &[usize]),
        keep: bool,
    ) -> (Tensor, Option<KeptExperts>) {
        let device = self.device();
        let at = Projections {
            index,
            group: Group::Router,
            all: router,
        };
        let (outs, low_router) = self.project(at, x, division);
        let [logits] = take(outs);
        let routing = device.route(&logits, self.top_k());
        let (places, width) = (routing.rows.len(), experts[0].up.rows());
        let (mut gate, mut up) = (device.empty(places, width), device.empty(places, width));
        let mut low_in = self.room_for_low(index, Group::ExpertsIn, places, keep);
        for (number, expert, places) in at_work(experts, &routing) {
            let own = self.gather_part(x, routing.rows.part(places.clone()));
            let halves = [(&expert.gate, &mut gate), (&expert.up, &mut up)];
            let mut outs = halves.map(|(weight, all)| {
                let mut y = device.empty(own.rows(), width);
                device.linear(own.view(), weight, &mut y, false);
                (y, all)
            });
            for &(adapter, weight) in self.active() {
                let Some(at) = AtExpert::of(adapter, index, Group::ExpertsIn, number) else {
                    continue;
                };
                let low = at.narrow(own.view());
                for (part, (y, _)) in outs.iter_mut().enumerate() {
                    at.add(&low, part, weight, y);
                }
                if let Some(all) = &mut low_in {
                    device.copy_rows(&low, 0, low.rows(), all, places.start);
                }
            }
            for (y, all) in outs {
                device.copy_rows(&y, 0, y.rows(), all, places.start);
            }
        }
        let active = self.activate(Some(&gate), &up);
        let kept = keep.then_some((gate, up));
        let mut low_out = self.room_for_low(index, Group::ExpertsOut, places, keep);
        let mut out = device.zeros(x.rows(), x.cols());
        for (number, expert, places) in at_work(experts, &routing) {
            let own = active.view_rows(places.clone());
            let mut y = device.empty(places.len(), x.cols());
            device.linear(own, &expert.down, &mut y, false);
            for &(adapter, weight) in self.active() {
                let Some(at) = AtExpert::of(adapter, index, Group::ExpertsOut, number) else {
                    continue;
                };
                let low = at.narrow(own);
                at.add(&low, 0, weight, &mut y);
                if let Some(all) = &mut low_out {
                    device.copy_rows(&low, 0, low.rows(), all, places.start);
                }
            }
            device.scale_rows(&mut y, shares(&routing, &places));
            device.scatter_add_rows(&y, routing.rows.part(places), &mut out);
        }
        let kept = kept.map(|(gate, up)| KeptExperts {
            gate,
            up,
            routing: KeptRouting {
                logits,
                low: low_router,
            },
            lows: [vec![low_in], vec![low_out]],
        });
        (out, kept)
    }

    /// Room for the narrow activations of all places, where they will be read in the backward pass.
    fn room_for_low(
        &self,
        index: usize,
        group: Group,
        places: usize,
        keep: bool,
    ) -> Option<Tensor> {
        let (adapter, _) = self.active().first().filter(|_| keep)?;
        let adapted = adapter.group(index, group)?;
        Some(self.device().empty(places, adapted.total_rank))
    }

    /// Back from the gradient of what the experts gave to that of `x`, if it is needed.
    pub(super) fn experts_backward(
        &self,
        back: &mut Back,
        (router, experts): (&[Projection], &[Expert]),
        (x, division): (&Tensor, &[usize]),
        kept: &KeptExperts,
        dout: &Tensor,
        needs_input: bool,
    ) -> Option<Tensor> {
        let (device, top) = (self.device(), self.top_k());
        let routing = device.route(&kept.routing.logits, top);
        let places = routing.rows.len();
        let mut dactive = device.empty(places, kept.up.cols());
        let mut dshares = device.empty(places, 1);
        {
            let active = self.activate(Some(&kept.gate), &kept.up);
            for (number, expert, places) in at_work(experts, &routing) {
                let dy = self.gather_part(dout, routing.rows.part(places.clone()));
                let mut own = device.empty(places.len(), active.cols());
                device.linear_backward(dy.view(), &expert.down, &mut own, false);
                if let Some((at, low)) =
                    self.learning(back.index, Group::ExpertsOut, number, &kept.lows[1])
                {
                    let shares = shares(&routing, &places);
                    let low = (low, places.clone());
                    let dlow = at.backward(&[dy.view()], low, Some(shares), back.grads.of(0));
                    at.add_input(&dlow, &mut own);
                    let mut dlow = dlow;
                    device.scale_rows(&mut dlow, shares);
                    at.add_a(&dlow, active.view_rows(places.clone()), back.grads.of(0));
                }
                device.copy_rows(&own, 0, own.rows(), &mut dactive, places.start);
            }
            device.dot_rows(&dactive, &active, dshares.view_mut());
        }
        device.scale_rows(&mut dactive, routing.weights.view());
        let dparts = self.activate_backward(dactive, Some(&kept.gate), &kept.up);
        let mut dlogits = device.empty(kept.routing.logits.rows(), kept.routing.logits.cols());
        device.route_backward(&kept.routing.logits, &routing, top, &dshares, &mut dlogits);
        drop(dshares);
        let low = &kept.routing.low;
        let (router, read) = ((Group::Router, router), (x, division));
        let mut dx = back.project(router, read, low, &[&dlogits], needs_input);
        drop(dlogits);
        for (number, expert, places) in at_work(experts, &routing) {
            let rows = routing.rows.part(places.clone());
            let dys: Vec<MatRef> = dparts
                .iter()
                .map(|dy| dy.view_rows(places.clone()))
                .collect();
            let mut own = dx.as_ref().map(|_| {
                let mut own = device.empty(rows.len(), x.cols());
                device.linear_backward(dys[0], &expert.gate, &mut own, false);
                device.linear_backward(dys[1], &expert.up, &mut own, true);
                own
            });
            if let Some((at, low)) =
                self.learning(back.index, Group::ExpertsIn, number, &kept.lows[0])
            {
                let dlow = at.backward(&dys, (low, places.clone()), None, back.grads.of(0));
                if let Some(own) = &mut own {
                    at.add_input(&dlow, own);
                }
                at.add_a(&dlow, self.gather_part(x, rows).view(), back.grads.of(0));
            }
            if let (Some(dx), Some(own)) = (&mut dx, &own) {
                device.scatter_add_rows(own, rows, dx);
            }
        }
        dx
    }

    /// The one adapter that learns, at an expert, and its narrow activations of all places.
    fn learning<'l>(
        &self,
        index: usize,
        group: Group,
        expert: usize,
        lows: &'l Lows,
    ) -> Option<(AtExpert<'a>, &'l Tensor)> {
        let (adapter, _) = self.active().first()?;
        let low = lows.first()?.as_ref()?;
        Some((AtExpert::of(adapter, index, group, expert)?, low))
    }
}

/// The shares of an expert's places.
fn shares<'r>(routing: &'r Routing, places: &Range<usize>) -> MatRef<'r> {
    routing.weights.window(places.start, places.len(), 1)
}

/// An adapter's pair of matrices at one expert. Its outputs may be several parts, one below the other in `B`.
struct AtExpert<'a> {
    numbers: &'a Tensor,
    rank: usize,
    width: usize,
    out: usize,
    scale: f32,
    a_offset: usize,
    b_offset: usize,
}

impl<'a> AtExpert<'a> {
    fn of(adapter: &'a Adapter, index: usize, group: Group, expert: usize) -> Option<Self> {
        let adapted: &AdaptedGroup = adapter.group(index, group)?;
        let member = adapted.members.first()?;
        Some(Self {
            numbers: adapter.parameters(),
            rank: member.rank,
            width: adapted.width,
            out: member.out,
            scale: member.scale,
            a_offset: adapted.a_offset + expert * member.rank * adapted.width,
            b_offset: member.b_offset + expert * member.out * member.rank,
        })
    }

    fn a(&self) -> MatRef<'a> {
        self.numbers.window(self.a_offset, self.rank, self.width)
    }

    /// Where the rows of `B` for one of `count` parts begin, and how many there are.
    fn part(&self, part: usize, out: usize) -> (usize, usize) {
        (self.b_offset + part * out * self.rank, out)
    }

    fn b(&self, part: usize, out: usize) -> MatRef<'a> {
        let (offset, out) = self.part(part, out);
        self.numbers.window(offset, out, self.rank)
    }

    /// `x·Aᵀ`.
    fn narrow(&self, x: MatRef) -> Tensor {
        let device = self.numbers.device();
        let mut low = device.empty(x.shape().0, self.rank);
        device.matmul(x, self.a().t(), 1.0, low.view_mut(), false);
        low
    }

    /// `y += weight · scale · low·Bᵀ`, for one part of the outputs.
    fn add(&self, low: &Tensor, part: usize, weight: f32, y: &mut Tensor) {
        let b = self.b(part, y.cols());
        let scale = weight * self.scale;
        let device = self.numbers.device();
        device.matmul(low.view(), b.t(), scale, y.view_mut(), true);
    }

    /// Adds the gradient of `B`, given that of the outputs part by part, and returns `scale · dy·B`. With `shares`, the
    /// gradient of `B` is that of outputs which were multiplied with them.
    fn backward(
        &self,
        dys: &[MatRef],
        (low, places): (&Tensor, Range<usize>),
        shares: Option<MatRef>,
        grads: &mut Tensor,
    ) -> Tensor {
        let device = self.numbers.device();
        let scaled = shares.map(|shares| {
            let mut scaled = device.empty(places.len(), self.rank);
            device.copy_rows(low, places.start, places.len(), &mut scaled, 0);
            device.scale_rows(&mut scaled, shares);
            scaled
        });
        let low = match &scaled {
            Some(scaled) => scaled.view(),
            None => low.view_rows(places.clone()),
        };
        let mut dlow = device.empty(places.len(), self.rank);
        debug_assert_eq!(dys.iter().map(|dy| dy.cols).sum::<usize>(), self.out);
        for (part, dy) in dys.iter().enumerate() {
            let (offset, out) = self.part(part, dy.cols);
            let db = grads.window_mut(offset, out, self.rank);
            device.matmul(dy.t(), low, self.scale, db, true);
            let b = self.b(part, dy.cols);
            device.matmul(*dy, b, self.scale, dlow.view_mut(), part > 0);
        }
        dlow
    }

    /// `dA += dlowᵀ·x`.
    fn add_a(&self, dlow: &Tensor, x: MatRef, grads: &mut Tensor) {
        let da = grads.window_mut(self.a_offset, self.rank, self.width);
        self.numbers
            .device()
            .matmul(dlow.view().t(), x, 1.0, da, true);
    }

    /// `dx += dlow·A`.
    fn add_input(&self, dlow: &Tensor, dx: &mut Tensor) {
        let device = self.numbers.device();
        device.matmul(dlow.view(), self.a(), 1.0, dx.view_mut(), true);
    }
}
