//! Numbers: tensors, devices, ops forward and backward, CPU kernels, quantised blocks.

mod cpu;
mod device;
mod index;
mod moment8;
mod ops;
mod quant;
mod rehearsal;
mod stored;
mod tensor;

pub use device::Device;
pub use index::{Index, Indices, List, Span, Spans};
pub use moment8::Moment8;
pub use ops::{
    ActivationOps, AdamWStep, AttentionGrads, AttentionOps, AttentionSaved, Backend, Columns,
    DropoutMask, ExpertOps, FEW_QUERIES, Gelu, Heads, LayerNorm, LinearOps, LossOps, Memory,
    NormOps, OptimizerOps, PAGE, RotaryOps, RoundingOps, Routing, RowOps, StorageOps, TensorError,
    TopK,
};
pub use quant::{Format, ScaleGrid, int4, nf4};
pub use rehearsal::{Cost, Rehearsal};
pub use stored::{BAND_BYTES, Bytes, StoredError, StoredMatrix};
pub use tensor::{Element, MatMut, MatRef, Storage, Tensor, Weight};

/// The instructions that this processor computes with on the CPU; results of one kind of instructions are the same anywhere.
pub fn instruction_set() -> &'static str {
    cpu::simd::Simd::best().name()
}
