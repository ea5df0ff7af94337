//! The MLP of a block, there and back: one for all tokens here, experts in [`experts`](super::experts).

use hone_tensor::Tensor;

use super::experts::KeptExperts;
use super::layer::Into;
use super::projection::{Back, Projections};
use super::{ASKED, Pass, take};
use crate::decoder::{Mlp, Norm, Projection};
use crate::keep::KeptMlp;
use crate::layout::Rows;
use crate::weights::Group;

impl<'a> Pass<'a> {
    /// What the MLP adds to the stream.
    pub(super) fn mlp(
        &self,
        index: usize,
        x: &Tensor,
        rows: &Rows,
        keep: bool,
    ) -> (Tensor, Option<KeptMlp>) {
        let layer = &self.decoder.layers[index];
        let normed = layer.mlp_norm.as_ref().map(|norm| self.norm(x, norm));
        let read = normed.as_ref().unwrap_or(x);
        let division = self.division(index, rows);
        let (into, out) = match &layer.mlp {
            Mlp::Dense { into, out } => (into, out),
            Mlp::Experts { router, experts } => {
                let (out, kept) = self.experts(index, (router, experts), (read, division), keep);
                drop(normed);
                let (added, out) = self.branch(out, layer.mlp_out_norm.as_ref());
                let kept = kept.map(|kept| KeptMlp {
                    gate: Some(kept.gate),
                    up: kept.up,
                    out,
                    lows: kept.lows,
                    routing: Some(kept.routing),
                });
                return (added, kept);
            }
        };
        let at = |group, all| Projections { index, group, all };
        let (outs, low_in) = self.project(at(Group::MlpIn, into), read, division);
        drop(normed);
        let (gate, up) = gate_and_up(self.split(Group::MlpIn, outs));
        let active = self.activate(gate.as_ref(), &up);
        let (outs, low_out) = self.project(at(Group::MlpOut, out), &active, division);
        drop(active);
        let [out] = take(outs);
        let (added, out) = self.branch(out, layer.mlp_out_norm.as_ref());
        let kept = keep.then(|| KeptMlp {
            gate,
            up,
            out,
            lows: [low_in, low_out],
            routing: None,
        });
        (added, kept)
    }

    /// Back from the gradient of the stream, `dhidden`, to that of what the MLP read.
    pub(super) fn mlp_backward(
        &self,
        back: &mut Back,
        (x, rows): (&Tensor, &Rows),
        kept: KeptMlp,
        dhidden: &mut Tensor,
        into: Into,
    ) -> Option<Tensor> {
        let layer = &self.decoder.layers[back.index];
        let norm = layer.mlp_norm.as_deref();
        let dout = self.branch_backward(dhidden, layer.mlp_out_norm.as_ref(), kept.out.as_ref());
        let (needs_input, division) = (into != Into::Nowhere, self.division(back.index, rows));
        let dnormed = match &layer.mlp {
            Mlp::Dense {
                into: way_in,
                out: way_out,
            } => {
                let ways = (&way_in[..], &way_out[..]);
                let x = (x, norm, division);
                self.dense_backward(back, ways, x, kept, (dout, dhidden), needs_input)
            }
            Mlp::Experts { router, experts } => {
                let kept = KeptExperts {
                    gate: kept.gate.expect("experts have gates"),
                    up: kept.up,
                    routing: kept
                        .routing
                        .expect("a layer with experts keeps its routing"),
                    lows: kept.lows,
                };
                let normed = norm.map(|norm| self.norm(x, norm));
                let read = normed.as_ref().unwrap_or(x);
                let dout = dout.as_ref().unwrap_or(dhidden);
                let read = (read, division);
                self.experts_backward(back, (router, experts), read, &kept, dout, needs_input)
            }
        };
        match into {
            Into::Stream => {
                self.through_norm(dnormed.expect(ASKED), x, norm, dhidden);
                None
            }
            Into::Aside => {
                let mut dx = self.device().zeros(x.rows(), x.cols());
                self.through_norm(dnormed.expect(ASKED), x, norm, &mut dx);
                Some(dx)
            }
            Into::Nowhere => None,
        }
    }

    /// Back through an MLP for all tokens, to the gradient of its normed input. The gradient of what it gave is `dout`, or
    /// that of the stream.
    fn dense_backward(
        &self,
        back: &mut Back,
        (way_in, way_out): (&[Projection], &[Projection]),
        (x, norm, division): (&Tensor, Option<&Norm>, &[usize]),
        kept: KeptMlp,
        (dout, dhidden): (Option<Tensor>, &Tensor),
        needs_input: bool,
    ) -> Option<Tensor> {
        let [low_in, low_out] = &kept.lows;
        let dactive = {
            let active = self.activate(kept.gate.as_ref(), &kept.up);
            let dout = dout.as_ref().unwrap_or(dhidden);
            let dactive = back.project(
                (Group::MlpOut, way_out),
                (&active, division),
                low_out,
                &[dout],
                true,
            );
            dactive.expect(ASKED)
        };
        drop(dout);
        let dparts = self.activate_backward(dactive, kept.gate.as_ref(), &kept.up);
        let dys = self.merge(Group::MlpIn, dparts);
        let normed = norm.map(|norm| self.norm(x, norm));
        let read = normed.as_ref().unwrap_or(x);
        let dys: Vec<&Tensor> = dys.iter().collect();
        back.project(
            (Group::MlpIn, way_in),
            (read, division),
            low_in,
            &dys,
            needs_input,
        )
    }

    pub(super) fn activate(&self, gate: Option<&Tensor>, up: &Tensor) -> Tensor {
        let device = self.device();
        let mut active = device.empty(up.rows(), up.cols());
        match (gate, self.decoder.config.activation.gelu()) {
            (Some(gate), None) => device.gated_silu(gate, up, &mut active),
            (Some(gate), Some(kind)) => device.gated_gelu(kind, gate, up, &mut active),
            (None, Some(kind)) => device.gelu(kind, up, &mut active),
            (None, None) => unreachable!("a family without a gate has a GELU"),
        }
        active
    }

    /// Gradients of gate and up, or of up alone.
    pub(super) fn activate_backward(
        &self,
        dactive: Tensor,
        gate: Option<&Tensor>,
        up: &Tensor,
    ) -> Vec<Tensor> {
        let device = self.device();
        let empty = || device.empty(up.rows(), up.cols());
        let mut dup = empty();
        let kind = self.decoder.config.activation.gelu();
        let Some(gate) = gate else {
            let kind = kind.expect("a family without a gate has a GELU");
            device.gelu_backward(kind, &dactive, up, &mut dup);
            return vec![dup];
        };
        let mut dgate = empty();
        match kind {
            None => device.gated_silu_backward(&dactive, gate, up, &mut dgate, &mut dup),
            Some(kind) => {
                device.gated_gelu_backward(kind, &dactive, gate, up, &mut dgate, &mut dup)
            }
        }
        vec![dgate, dup]
    }
}

fn gate_and_up(parts: Vec<Tensor>) -> (Option<Tensor>, Tensor) {
    let mut parts = parts.into_iter().rev();
    let up = parts.next().expect("an MLP has a way in");
    (parts.next(), up)
}
