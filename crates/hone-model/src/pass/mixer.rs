//! What mixes the tokens of a block, forward and backward: a file for each kind, chosen here.

use hone_tensor::Tensor;

use super::Pass;
use super::projection::Back;
use crate::decoder::MixerWeights;
use crate::keep::KeptMixer;
use crate::layout::Rows;
use crate::state::LayerState;

impl Pass<'_> {
    /// What the mixer gives, before its norm.
    pub(super) fn mixer(
        &self,
        index: usize,
        input: &Tensor,
        rows: &Rows,
        state: Option<&mut LayerState>,
        keep: bool,
    ) -> (Tensor, Option<KeptMixer>) {
        match &self.decoder.layers[index].mixer {
            MixerWeights::Attention(weights) => {
                let cache = state.map(|LayerState::Attention(cache)| cache);
                let (out, kept) = self.attention((index, weights), input, rows, cache, keep);
                (out, kept.map(KeptMixer::Attention))
            }
        }
    }

    /// The gradient of what was mixed, from that of what the mixer gave.
    pub(super) fn mixer_out_backward(
        &self,
        back: &mut Back,
        kept: &KeptMixer,
        dout: &Tensor,
        rows: &Rows,
    ) -> Tensor {
        match (&self.decoder.layers[back.index].mixer, kept) {
            (MixerWeights::Attention(weights), KeptMixer::Attention(kept)) => {
                self.attention_out_backward(back, weights, kept, dout, rows)
            }
        }
    }

    /// The rest of the way: to the gradient of the normed input of every row, if it is needed.
    pub(super) fn mixer_in_backward(
        &self,
        back: &mut Back,
        input: &Tensor,
        kept: KeptMixer,
        dmixed: Tensor,
        rows: &Rows,
        needs_input: bool,
    ) -> Option<Tensor> {
        match (&self.decoder.layers[back.index].mixer, kept) {
            (MixerWeights::Attention(weights), KeptMixer::Attention(kept)) => {
                let at = (back.index, weights);
                let dqkv = self.attention_backward(at, kept.parts(), &dmixed, rows);
                drop(dmixed);
                self.attention_in_backward((back, weights), input, &kept, dqkv, rows, needs_input)
            }
        }
    }
}
