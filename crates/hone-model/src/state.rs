//! What a layer keeps of sequences while they are generated.

use hone_tensor::{Device, Index, PAGE, Span, Tensor};

use crate::arch::{DecoderConfig, LayerSpec, Mixer};

/// What a layer's mixer keeps.
#[derive(Debug)]
pub(crate) enum LayerState {
    Attention(KeyValues),
}

impl LayerState {
    /// Nothing yet, and no room.
    pub fn new(layer: &LayerSpec, config: &DecoderConfig, device: &Device) -> Self {
        match layer.mixer {
            Mixer::Attention(_) => {
                let cols = config.num_kv_heads * config.head_dim;
                Self::Attention(KeyValues {
                    keys: device.empty(0, cols),
                    values: device.empty(0, cols),
                })
            }
        }
    }

    /// Takes room for so many pages in all; what is there stays.
    pub fn grow(&mut self, pages: usize) {
        match self {
            Self::Attention(state) => {
                for side in [&mut state.keys, &mut state.values] {
                    let device = side.device().clone();
                    let mut grown = device.empty(pages * PAGE, side.cols());
                    device.copy_rows(side, 0, side.rows(), &mut grown, 0);
                    *side = grown;
                }
            }
        }
    }

    /// Copies the first tokens of a page to another page.
    pub fn copy_page(&mut self, from: u32, to: u32, tokens: usize) {
        match self {
            Self::Attention(state) => {
                for side in [&mut state.keys, &mut state.values] {
                    let device = side.device().clone();
                    let mut copied = device.empty(tokens, side.cols());
                    device.copy_rows(side, from as usize * PAGE, tokens, &mut copied, 0);
                    device.copy_rows(&copied, 0, tokens, side, to as usize * PAGE);
                }
            }
        }
    }

    /// Goes back from the `had` tokens that a slot holds to the first `len`, or to as many as it can; says how many are left.
    pub fn rewind(&mut self, _slot: usize, had: usize, len: usize) -> usize {
        match self {
            // Keys and values stand token by token, and those behind are written over.
            Self::Attention(_) => len.min(had),
        }
    }
}

/// Keys and values, `[pages · PAGE, num_kv_heads · head_dim]`.
#[derive(Debug)]
pub(crate) struct KeyValues {
    pub keys: Tensor,
    pub values: Tensor,
}

impl KeyValues {
    /// Writes the new rows of each span behind what its pages hold already.
    pub fn append(&mut self, k: &Tensor, v: &Tensor, spans: &[Span], pages: &Index) {
        let device = k.device();
        for span in spans {
            let mut row = span.query_start;
            let end = span.key_start + span.key_len;
            let mut token = end - span.query_len;
            while token < end {
                let count = (PAGE - token % PAGE).min(end - token);
                let to = pages[token / PAGE] as usize * PAGE + token % PAGE;
                device.copy_rows(k, row, count, &mut self.keys, to);
                device.copy_rows(v, row, count, &mut self.values, to);
                (row, token) = (row + count, token + count);
            }
        }
    }
}
