//! What a layer keeps of several sequences while they are generated, a slot for each.

use hone_tensor::{Device, Span, Tensor};

use crate::arch::{DecoderConfig, LayerSpec, Mixer};

/// What a layer's mixer keeps.
#[derive(Debug)]
pub(crate) enum LayerState {
    Attention(KeyValues),
}

impl LayerState {
    /// Room for so many sequences of so many tokens.
    pub fn new(
        layer: &LayerSpec,
        config: &DecoderConfig,
        device: &Device,
        (slots, capacity): (usize, usize),
    ) -> Self {
        match layer.mixer {
            Mixer::Attention(_) => {
                let (rows, cols) = (slots * capacity, config.num_kv_heads * config.head_dim);
                Self::Attention(KeyValues {
                    keys: device.empty(rows, cols),
                    values: device.empty(rows, cols),
                })
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

/// Keys and values, `[slots · capacity, num_kv_heads · head_dim]`.
#[derive(Debug)]
pub(crate) struct KeyValues {
    pub keys: Tensor,
    pub values: Tensor,
}

impl KeyValues {
    /// Writes the new rows of each span behind what its slot holds already.
    pub fn append(&mut self, k: &Tensor, v: &Tensor, spans: &[Span]) {
        let device = k.device();
        for span in spans {
            let to = span.key_start + span.key_len - span.query_len;
            device.copy_rows(k, span.query_start, span.query_len, &mut self.keys, to);
            device.copy_rows(v, span.query_start, span.query_len, &mut self.values, to);
        }
    }
}
