//! Numbers: tensors, devices, ops forward and backward, CPU kernels, quantised blocks.

mod cpu;
mod device;
mod moment8;
mod quant;
mod rehearsal;
mod stored;
mod tensor;

pub use device::{
    AdamWStep, AttentionGrads, AttentionSaved, Backend, Columns, Device, Gelu, Heads, LayerNorm,
    Memory, Routing, Span, TensorError, TopK, Weight,
};
pub use moment8::Moment8;
pub use quant::{Format, ScaleGrid, int4, nf4};
pub use rehearsal::{Cost, Rehearsal};
pub use stored::{BAND_BYTES, Bytes, StoredError, StoredMatrix};
pub use tensor::{MatMut, MatRef, Storage, Tensor};
