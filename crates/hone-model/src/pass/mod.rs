//! A pass through the decoder, forward and backward, with the derivatives written by hand.
//!
//! The base is frozen, so the backward pass forms gradients for the adapter's matrices and for
//! activations, and for nothing else. Each layer either keeps what its backward pass will read or
//! keeps only its input and runs forward again; the numbers are the same either way.
//! Eleven pages: this one goes through the network and its loss, [`embedding`] is where tokens come in, [`layer`] goes
//! through one block, which is a mixer and a feed-forward. [`mixer`] and [`feed_forward`] choose a page for each kind,
//! [`attention`], [`mlp`] and [`experts`]; [`projection`] goes through linear layers with the adapters on them, [`shares`]
//! divides the rows among adapters, [`special`] says what more than a low-rank pair may be trained there, and [`watched`] compares what comes out with the base.

mod attention;
mod embedding;
mod experts;
mod feed_forward;
mod layer;
mod mixer;
mod mlp;
mod parts;
mod projection;
pub(crate) mod shares;
mod special;
mod watched;

use std::ops::Range;

use hone_tensor::{Device, Index, Indices, LayerNorm, Tensor, TensorError};

use crate::arch::{Group, NormKind};
use crate::decoder::{Decoder, Norm};
use crate::keep::{Activations, Held, Kept};
use crate::layout::Layout;
use crate::stop_signal::StopSignal;
use projection::{Back, Projections};
use shares::{Grads, Share};

/// Logits of this many bytes are alive at a time, and not of the whole batch.
pub(crate) const LOGITS_BYTES: usize = 32 << 20;

/// One network, possibly with adapters, possibly training.
pub(crate) struct Pass<'a> {
    pub decoder: &'a Decoder,
    /// The adapters of each share of a batch's rows; one share if all rows have the same.
    pub shares: Vec<Share<'a>>,
    /// Whether the numbers are still wanted.
    pub stop: &'a StopSignal,
}

/// A layer in the backward pass: its input, and the rest if there was room.
struct Trace {
    input: Held,
    kept: Option<Kept<Held>>,
}

/// What a backward pass needs, and how far it goes.
#[derive(Clone, Copy)]
pub(crate) struct BackwardOptions {
    /// Layers, counted from the top, that keep their activations.
    pub kept_layers: usize,
    /// In which form.
    pub activations: Activations,
    /// The backward pass ends here; nothing below has an adapter.
    pub lowest: usize,
}

impl<'a> Pass<'a> {
    /// Loss of each target, in nats.
    pub fn nats(&self, layout: &Layout) -> Result<Vec<f64>, TensorError> {
        Ok(self.nats_and_picked(layout)?.0)
    }

    /// Loss of each target, and what leaves the last layer in the head rows.
    fn nats_and_picked(&self, layout: &Layout) -> Result<(Vec<f64>, Tensor), TensorError> {
        let hidden = self.below(self.decoder.layers.len(), layout)?;
        let picked = self.gather(&hidden, &layout.head_rows);
        drop(hidden);
        let (nats, _) = self.head_loss(&picked, layout, None)?;
        Ok((nats, picked))
    }

    /// What enters layer `end`.
    pub fn below(&self, end: usize, layout: &Layout) -> Result<Tensor, TensorError> {
        let step = |hidden, layer| {
            self.stop.check()?;
            Ok(self.layer(layer, &hidden, &layout.rows, None, false).0)
        };
        let entry = self.embed(&layout.ids, &layout.rows.positions);
        (0..end).try_fold(entry, step)
    }

    /// Loss of each target, in nats, from what enters layer `start`; adds the gradients of their sum to
    /// `grads`, which is laid out like the adapter's parameters.
    pub fn nll_and_grads(
        &self,
        layout: &Layout,
        (start, entry): (usize, Tensor),
        backward: BackwardOptions,
        grads: &mut Grads,
    ) -> Result<Vec<f64>, TensorError> {
        let (num_layers, rows, device) = (self.decoder.layers.len(), &layout.rows, self.device());
        let mut traces = Vec::with_capacity(num_layers);
        let mut hidden = entry;
        for layer in start..num_layers {
            self.stop.check()?;
            // Below the lowest adapter nothing is read in the backward pass.
            let is_needed = layer >= backward.lowest;
            let keep = is_needed && layer >= num_layers.saturating_sub(backward.kept_layers);
            let (output, kept) = self.layer(layer, &hidden, rows, None, keep);
            let input = std::mem::replace(&mut hidden, output);
            traces.push(is_needed.then(|| Trace {
                input: Held::new(input, backward.activations),
                kept: kept.map(|kept| kept.hold(backward.activations)),
            }));
        }
        let picked = self.gather(&hidden, &layout.head_rows);
        let out_rows = hidden.rows();
        drop(hidden);
        let (nats, dpicked) = self.head_loss(&picked, layout, Some(grads))?;
        if backward.lowest >= num_layers {
            return Ok(nats);
        }
        let mut dhidden = device.zeros(out_rows, self.decoder.config.d_model);
        let dpicked = dpicked.expect("gradients were asked for");
        device.scatter_add_rows(&dpicked, layout.head_rows.all(), &mut dhidden);
        for layer in (backward.lowest..num_layers).rev() {
            self.stop.check()?;
            let Trace { input, kept } = traces
                .pop()
                .flatten()
                .expect("each adapted layer left a trace");
            let input = input.release();
            let kept = kept.map(Kept::release).unwrap_or_else(|| {
                self.layer(layer, &input, rows, None, true)
                    .1
                    .expect("the layer was told to keep")
            });
            let needs_input = layer > backward.lowest || self.trains_embedding();
            self.layer_backward(layer, &input, kept, rows, &mut dhidden, needs_input, grads);
        }
        self.embed_backward(&layout.ids, &dhidden, grads);
        Ok(nats)
    }

    /// Logits of the chosen rows of a hidden state that has passed all layers; `division` says how these divide among the
    /// shares, where there are several.
    pub fn logits(&self, hidden: &Tensor, rows: &Index, division: &[usize]) -> Tensor {
        let normed = self.norm(&self.gather(hidden, rows), &self.decoder.final_norm);
        let (outs, _) = self.project(self.head(), &normed, division);
        let [mut logits] = take(outs);
        self.cap_logits(&mut logits, false);
        logits
    }

    /// Loss of the target of each of the chosen rows, which belong to one share, in nats.
    pub fn nats_of(
        &self,
        share: usize,
        hidden: &Tensor,
        rows: &Index,
        targets: &Index,
    ) -> Result<Vec<f64>, TensorError> {
        let mut nats = Vec::with_capacity(rows.len());
        let chunk = head_chunk_rows(self.decoder.config.vocab_size);
        for first in (0..rows.len()).step_by(chunk) {
            self.stop.check()?;
            let part = first..rows.len().min(first + chunk);
            let picked = self.gather_part(hidden, rows.part(part.clone()));
            let normed = self.norm(&picked, &self.decoder.final_norm);
            let (outs, _) = self.project_share(&self.shares[share], self.head(), &normed);
            let [mut logits] = take(outs);
            self.cap_logits(&mut logits, false);
            let targets = targets.part(part);
            nats.extend(self.device().cross_entropy(&mut logits, targets, false)?);
        }
        Ok(nats)
    }

    /// The head.
    fn head(&self) -> Projections<'a> {
        Projections {
            index: self.decoder.layers.len(),
            group: Group::Head,
            all: &self.decoder.head,
        }
    }

    fn device(&self) -> &'a Device {
        &self.decoder.device
    }

    fn eps(&self) -> f32 {
        self.decoder.config.norm_eps
    }

    pub fn gather(&self, x: &Tensor, rows: &Index) -> Tensor {
        self.gather_part(x, rows.all())
    }

    fn gather_part(&self, x: &Tensor, rows: Indices) -> Tensor {
        let mut picked = self.device().empty(rows.len(), x.cols());
        self.device().gather_rows(x, rows, &mut picked);
        picked
    }

    /// `rows` rows of zeros with `x` added at their places.
    fn scatter(&self, x: &Tensor, places: &Index, rows: usize) -> Tensor {
        let mut out = self.device().zeros(rows, x.cols());
        self.device().scatter_add_rows(x, places.all(), &mut out);
        out
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> Tensor {
        let mut out = self.device().empty(x.rows(), x.cols());
        match self.decoder.config.norm {
            NormKind::Rms => self
                .device()
                .rms_norm(x, &norm.weight, self.eps(), &mut out),
            NormKind::Layer | NormKind::LayerNoBias => {
                self.device().layer_norm(x, self.layer_norm(norm), &mut out)
            }
        }
        out
    }

    fn layer_norm<'n>(&self, norm: &'n Norm) -> LayerNorm<'n> {
        LayerNorm {
            weight: &norm.weight,
            bias: norm.bias.as_ref(),
            width: norm.width,
            eps: self.eps(),
        }
    }

    /// `dx (+)= ∂norm/∂x · dnormed`.
    fn norm_backward(
        &self,
        dnormed: &Tensor,
        x: &Tensor,
        norm: &Norm,
        dx: &mut Tensor,
        accumulate: bool,
    ) {
        let (device, eps) = (self.device(), self.eps());
        match self.decoder.config.norm {
            NormKind::Rms => {
                device.rms_norm_backward(dnormed, x, &norm.weight, eps, dx, accumulate)
            }
            NormKind::Layer | NormKind::LayerNoBias => {
                device.layer_norm_backward(dnormed, x, self.layer_norm(norm), dx, accumulate)
            }
        }
    }

    /// Head and loss of each supervised target, in the order of the batch. With `grads`, also the gradient of `picked`.
    fn head_loss(
        &self,
        picked: &Tensor,
        layout: &Layout,
        mut grads: Option<&mut Grads>,
    ) -> Result<(Vec<f64>, Option<Tensor>), TensorError> {
        let mut nats = Vec::with_capacity(layout.targets.len());
        let empty = || self.device().empty(picked.rows(), picked.cols());
        let mut dpicked = grads.is_some().then(empty);
        for (share, head) in layout.heads.iter().enumerate() {
            let chunk = head_chunk_rows(self.decoder.config.vocab_size);
            let before = nats.len();
            for first in head.range.clone().step_by(chunk) {
                self.stop.check()?;
                let rows = first..head.range.end.min(first + chunk);
                let ignored = rows.start.max(head.range.start + head.supervised)..rows.end;
                let weights = layout.weights.as_ref();
                let targets = Targets {
                    ids: layout.targets.part(rows.clone()),
                    weights: weights.map(|weights| &weights[rows.clone()]),
                };
                let way_back = grads.as_deref_mut().zip(dpicked.as_mut());
                nats.extend(self.head_chunk(share, picked, (rows, ignored), targets, way_back)?);
            }
            nats.truncate(before + head.supervised);
        }
        let nats = match &layout.order {
            None => nats,
            Some(order) => {
                let mut ordered = vec![0.0; nats.len()];
                order
                    .iter()
                    .zip(nats)
                    .for_each(|(&place, own)| ordered[place] = own);
                ordered
            }
        };
        Ok((nats, dpicked))
    }

    /// [`Self::head_loss`] of some rows of one share, so that `[rows, vocabulary]` is never whole; of `ignored` ones nothing
    /// goes back.
    fn head_chunk(
        &self,
        share: usize,
        picked: &Tensor,
        (range, ignored): (Range<usize>, Range<usize>),
        targets: Targets<'_>,
        way_back: Option<(&mut Grads, &mut Tensor)>,
    ) -> Result<Vec<f64>, TensorError> {
        let (device, decoder) = (self.device(), self.decoder);
        let rows = self.rows_of(picked, &range);
        let normed = self.norm(&rows, &decoder.final_norm);
        let (outs, low) = self.project_share(&self.shares[share], self.head(), &normed);
        let [mut logits] = take(outs);
        let capped = self.cap_logits(&mut logits, way_back.is_some());
        let nats = device.cross_entropy(&mut logits, targets.ids, way_back.is_some())?;
        let Some((grads, dpicked)) = way_back else {
            return Ok(nats);
        };
        if !ignored.is_empty() {
            let zeros = device.zeros(ignored.len(), logits.cols());
            let at = ignored.start - range.start;
            device.copy_rows(&zeros, 0, ignored.len(), &mut logits, at);
        }
        if let Some(weights) = targets.weights {
            let weights = device.tensor(weights.len(), 1, weights);
            device.scale_rows(&mut logits, weights.view());
        }
        if let (Some(cap), Some(capped)) = (decoder.config.logit_cap, &capped) {
            device.soft_cap_backward(capped, cap, &mut logits);
        }
        drop(capped);
        let head = self.head();
        let mut back = Back {
            pass: self,
            index: head.index,
            grads,
        };
        let dnormed = back
            .project_share(share, head, &normed, low.as_ref(), &[&logits], true)
            .expect(ASKED);
        let mut drows = device.empty(rows.rows(), rows.cols());
        self.norm_backward(&dnormed, &rows, &decoder.final_norm, &mut drows, false);
        self.put_rows(&drows, &range, dpicked);
        Ok(nats)
    }

    /// Caps logits if the model does; with `keep`, returns a copy, because the loss overwrites them.
    fn cap_logits(&self, logits: &mut Tensor, keep: bool) -> Option<Tensor> {
        let cap = self.decoder.config.logit_cap?;
        self.device().soft_cap(logits, cap);
        keep.then(|| {
            let mut copy = self.device().empty(logits.rows(), logits.cols());
            let rows = logits.rows();
            self.device().copy_rows(logits, 0, rows, &mut copy, 0);
            copy
        })
    }
}

/// What some rows of the head should have said, and how much each counts.
#[derive(Clone, Copy)]
struct Targets<'a> {
    ids: Indices<'a>,
    /// 1 where nothing is said.
    weights: Option<&'a [f32]>,
}

fn take<const N: usize>(outs: Vec<Tensor>) -> [Tensor; N] {
    outs.try_into()
        .expect("as many outputs as projections in the group")
}

const ASKED: &str = "the gradient of the input was asked for";

/// How many rows of logits are alive at a time.
pub(crate) fn head_chunk_rows(vocab_size: usize) -> usize {
    (LOGITS_BYTES / (4 * vocab_size)).max(1)
}
