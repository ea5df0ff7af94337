//! The MLP of a block that all tokens go through, forward and backward.

use hone_tensor::Tensor;

use super::projection::{Back, Projections};
use super::{ASKED, Pass, take};
use crate::arch::Group;
use crate::decoder::{Norm, Projection};
use crate::keep::KeptMlp;

impl<'a> Pass<'a> {
    /// What the MLP gives for `x`, which is read as `normed` where a norm stands before it.
    pub(super) fn dense(
        &self,
        index: usize,
        (into, out): (&[Projection], &[Projection]),
        (x, normed): (&Tensor, Option<Tensor>),
        division: &[usize],
        keep: bool,
    ) -> (Tensor, Option<KeptMlp>) {
        let at = |group, all| Projections { index, group, all };
        let read = normed.as_ref().unwrap_or(x);
        let (outs, low_in) = self.project(at(Group::MlpIn, into), read, division);
        drop(normed);
        let (gate, up) = gate_and_up(self.split(index, Group::MlpIn, outs));
        let active = self.activate(gate.as_ref(), &up);
        let (outs, low_out) = self.project(at(Group::MlpOut, out), &active, division);
        let [out] = take(outs);
        let kept = keep.then(|| KeptMlp {
            gate,
            up,
            lows: [low_in, low_out],
        });
        (out, kept)
    }

    /// Back through an MLP for all tokens, to the gradient of its normed input. The gradient of what it gave is `dout`, or
    /// that of the stream.
    pub(super) fn dense_backward(
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
        let dys = self.merge(back.index, Group::MlpIn, dparts);
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
