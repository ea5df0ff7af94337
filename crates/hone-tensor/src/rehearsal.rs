//! A back-end without numbers: it lends no memory and computes nothing, but counts both.
//!
//! A plan has to know what a step will take before there is room for it. A formula beside the network would be
//! wrong with the network's next shortcut; the network itself, run here, takes exactly the steps it will take.

use std::sync::{Arc, Mutex};

use crate::cpu::{size_class, words_for};
use crate::device::Device;
use crate::index::{Indices, Span, Spans};
use crate::ops::{
    ActivationOps, AdamWStep, AttentionGrads, AttentionOps, AttentionSaved, Columns, ExpertOps,
    Gelu, Heads, LayerNorm, LinearOps, LossOps, Memory, NormOps, OptimizerOps, RotaryOps,
    RoundingOps, Routing, RowOps, StorageOps, TensorError, TopK,
};
use crate::stored::StoredMatrix;
use crate::tensor::{Element, MatMut, MatRef, Storage, Tensor, Weight};

/// What was asked of a device that only counts.
#[derive(Clone, Debug, Default)]
pub struct Rehearsal(Arc<Mutex<Cost>>);

/// Memory and work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes of tensors, frozen weights not counted.
    pub memory: Memory,
    /// Floating-point operations of products and attention.
    pub flops: f64,
}

/// The room of a tensor that has none.
struct Claim {
    bytes: usize,
    rehearsal: Rehearsal,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.rehearsal
            .with(|cost| cost.memory.live_bytes -= self.bytes);
    }
}

impl Rehearsal {
    /// Nothing asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The device that counts here.
    pub fn device(&self) -> Device {
        Device::from_backend(Arc::new(self.clone()))
    }

    /// The cost of `work`: the most memory alive during it, and its operations.
    pub fn of<R>(&self, work: impl FnOnce() -> R) -> (R, Cost) {
        self.reset_peak();
        let before = self.with(|cost| cost.flops);
        let result = work();
        let mut cost = self.with(|cost| *cost);
        cost.flops -= before;
        (result, cost)
    }

    fn with<R>(&self, work: impl FnOnce(&mut Cost) -> R) -> R {
        work(&mut self.0.lock().expect("no thread panics while counting"))
    }

    fn product(&self, height: usize, depth: usize, width: usize) {
        self.with(|cost| cost.flops += 2.0 * height as f64 * depth as f64 * width as f64);
    }

    /// Products over the visible part of the score matrix.
    fn over_scores(&self, products: f64, spans: &[Span], heads: Heads) {
        // Sum over `1..=n` of what a window leaves of each.
        let up_to = |n: usize| {
            let (n, window) = (n as f64, heads.window.unwrap_or(n).min(n) as f64);
            window * (window + 1.0) / 2.0 + (n - window) * window
        };
        let visible = |span: &Span| up_to(span.key_len) - up_to(span.key_len - span.query_len);
        let pairs: f64 = spans.iter().map(visible).sum();
        let width = (heads.num_heads * heads.head_dim) as f64;
        self.with(|cost| cost.flops += 2.0 * products * pairs * width);
    }
}

impl StorageOps for Rehearsal {
    fn name(&self) -> String {
        "rehearsal".into()
    }
    fn memory(&self) -> Memory {
        self.with(|cost| cost.memory)
    }
    fn reset_peak(&self) {
        self.with(|cost| cost.memory.peak_bytes = cost.memory.live_bytes);
    }
    fn allocate(&self, element: Element, len: usize) -> Storage {
        let bytes = 4 * size_class(words_for(element, len));
        self.with(|cost| {
            let memory = &mut cost.memory;
            memory.live_bytes += bytes;
            memory.peak_bytes = memory.peak_bytes.max(memory.live_bytes);
        });
        let rehearsal = self.clone();
        Box::new(Claim { bytes, rehearsal })
    }
    fn hold(&self, matrix: StoredMatrix) -> Storage {
        Box::new(matrix)
    }
    fn read_row(&self, _: &Weight, _: usize, _: &mut [f32]) {}
    fn download_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, TensorError> {
        Ok(vec![0; tensor.len() * tensor.element().bytes()])
    }
    fn write_bytes(&self, _: &[u8], _: &mut Tensor) {}
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>, TensorError> {
        Ok(vec![0.0; tensor.len()])
    }
    fn write(&self, _: &[f32], _: &mut Tensor) {}
}

impl LinearOps for Rehearsal {
    fn linear(&self, x: MatRef, weight: &Weight, _: &mut Tensor, _: bool) {
        self.product(x.shape().0, weight.cols(), weight.rows());
    }
    fn linear_backward(&self, dy: MatRef, weight: &Weight, _: &mut Tensor, _: bool) {
        self.product(dy.shape().0, weight.rows(), weight.cols());
    }
    fn matmul(&self, a: MatRef, b: MatRef, _: f32, _: MatMut, _: bool) {
        self.product(a.shape().0, a.shape().1, b.shape().1);
    }
    fn add_bias(&self, _: &mut Tensor, _: &Tensor) {}
    fn add(&self, _: &mut Tensor, _: &Tensor) {}
    fn scale(&self, _: &mut Tensor, _: f32) {}
}

impl RowOps for Rehearsal {
    fn fill(&self, _: &mut Tensor, _: f32) {}
    fn copy_rows(&self, _: &Tensor, _: usize, _: usize, _: &mut Tensor, _: usize) {}
    fn embed(&self, _: Indices, _: &Weight, _: &mut Tensor) {}
    fn gather_window(&self, _: MatRef, _: Indices, _: &mut Tensor) {}
    fn scatter_add_window(&self, _: &Tensor, _: Indices, _: MatMut) {}
    fn scale_cols(&self, _: &mut Tensor, _: MatRef) {}
    fn dot_cols(&self, _: MatRef, _: MatRef, _: f32, _: MatMut, _: bool) {}
    fn divide_by_root(&self, _: MatRef, _: &Tensor, _: MatMut, _: bool) {}
    fn scale_rows(&self, _: &mut Tensor, _: MatRef) {}
    fn dot_rows(&self, _: &Tensor, _: &Tensor, _: MatMut) {}
    fn split_columns(&self, _: &Tensor, _: Columns, _: &mut Tensor) {}
    fn merge_columns(&self, _: &Tensor, _: Columns, _: &mut Tensor) {}
}

impl RoundingOps for Rehearsal {
    fn round_to_bf16(&self, _: &Tensor, _: &mut Tensor) {}
    fn widen_bf16(&self, _: &Tensor, _: &mut Tensor) {}
}

impl NormOps for Rehearsal {
    fn rms_norm(&self, _: &Tensor, _: &Tensor, _: f32, _: &mut Tensor) {}
    fn rms_norm_backward(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: f32,
        _: &mut Tensor,
        _: bool,
    ) {
    }
    fn layer_norm(&self, _: &Tensor, _: LayerNorm, _: &mut Tensor) {}
    fn layer_norm_backward(&self, _: &Tensor, _: &Tensor, _: LayerNorm, _: &mut Tensor, _: bool) {}
}

impl RotaryOps for Rehearsal {
    fn rope(&self, _: &mut Tensor, _: usize, _: Indices, _: &Tensor, _: bool) {}
    fn rope_interleaved(&self, _: &mut Tensor, _: usize, _: Indices, _: &Tensor, _: bool) {}
}

impl AttentionOps for Rehearsal {
    fn attention(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        spans: &Spans,
        heads: Heads,
        _: &mut Tensor,
        _: Option<&mut Tensor>,
    ) {
        self.over_scores(2.0, spans, heads);
    }
    fn attention_paged(
        &self,
        _: &Tensor,
        _: (&Tensor, &Tensor),
        _: Indices,
        spans: &Spans,
        heads: Heads,
        _: &mut Tensor,
    ) {
        self.over_scores(2.0, spans, heads);
    }
    fn attention_backward(
        &self,
        _: AttentionSaved,
        _: &Tensor,
        spans: &Spans,
        heads: Heads,
        _: AttentionGrads,
    ) {
        self.over_scores(5.0, spans, heads);
    }
}

impl ActivationOps for Rehearsal {
    fn soft_cap(&self, _: &mut Tensor, _: f32) {}
    fn soft_cap_backward(&self, _: &Tensor, _: f32, _: &mut Tensor) {}
    fn gated_silu(&self, _: &Tensor, _: &Tensor, _: &mut Tensor) {}
    fn gated_silu_backward(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &mut Tensor,
        _: &mut Tensor,
    ) {
    }
    fn gelu(&self, _: Gelu, _: &Tensor, _: &mut Tensor) {}
    fn gelu_backward(&self, _: Gelu, _: &Tensor, _: &Tensor, _: &mut Tensor) {}
    fn gated_gelu(&self, _: Gelu, _: &Tensor, _: &Tensor, _: &mut Tensor) {}
    fn gated_gelu_backward(
        &self,
        _: Gelu,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &mut Tensor,
        _: &mut Tensor,
    ) {
    }
    fn dropout(&self, _: &Tensor, _: f32, _: u64, _: &mut Tensor, _: bool) {}
}

impl ExpertOps for Rehearsal {
    /// Every row to the same experts: the work of any choice, and the most memory that one can take.
    fn route(&self, logits: &Tensor, top: TopK) -> Routing {
        let (rows, experts) = (logits.rows(), logits.cols());
        let places = rows * top.count;
        Routing {
            rows: (0..places).map(|place| place % rows.max(1)).collect(),
            starts: (0..=experts).map(|e| e.min(top.count) * rows).collect(),
            weights: logits.device().empty(places, 1),
        }
    }
    fn route_backward(&self, _: &Tensor, _: &Routing, _: TopK, _: &Tensor, _: &mut Tensor) {}
}

impl LossOps for Rehearsal {
    fn cross_entropy(
        &self,
        _: &mut Tensor,
        targets: Indices,
        _: bool,
    ) -> Result<Vec<f64>, TensorError> {
        Ok(vec![0.0; targets.len()])
    }
    fn divergence(&self, logits: &mut Tensor, _: &mut Tensor) -> Result<Vec<f64>, TensorError> {
        Ok(vec![0.0; logits.rows()])
    }
    fn sum_squares(&self, _: &Tensor) -> Result<f64, TensorError> {
        Ok(0.0)
    }
}

impl OptimizerOps for Rehearsal {
    fn adamw_by_runs(
        &self,
        _: &mut Tensor,
        _: &Tensor,
        _: &mut Tensor,
        _: &mut Tensor,
        _: &[(usize, AdamWStep)],
    ) {
    }
    fn adamw8bit_words(
        &self,
        _: &[usize],
        _: &mut Tensor,
        _: &Tensor,
        _: [&mut Tensor; 2],
        _: &[(usize, AdamWStep)],
    ) {
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_the_cpu_and_work_is_counted() {
        let layer = |device: &Device| {
            let weight = device.weight(StoredMatrix::from_f32(&[0.5; 48 * 80], 48, 80).unwrap());
            let x = device.zeros(1000, 80);
            let mut y = device.empty(1000, 48);
            device.linear(x.view(), &weight, &mut y, false);
            drop(x);
            let mut dx = device.empty(1000, 80);
            device.linear_backward(y.view(), &weight, &mut dx, false);
        };
        let rehearsal = Rehearsal::new();
        let ((), cost) = rehearsal.of(|| layer(&rehearsal.device()));
        assert_eq!(cost.flops, 2.0 * 2.0 * 1000.0 * 48.0 * 80.0);
        assert_eq!(
            (cost.memory.live_bytes, rehearsal.memory().live_bytes),
            (0, 0)
        );

        let device = Device::cpu(1).unwrap();
        layer(&device);
        let (counted, taken) = (cost.memory.peak_bytes, device.memory().peak_bytes);
        // The CPU also packs the weight.
        assert!(
            counted <= taken && taken < counted + (100 << 10),
            "{counted} counted, {taken} taken"
        );
    }

    #[test]
    fn attention_counts_what_is_visible() {
        let heads = Heads {
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 8,
            scale: 1.0,
            window: None,
            cap: None,
        };
        let span = Span {
            query_start: 0,
            query_len: 2,
            key_start: 0,
            key_len: 5,
        };
        let rehearsal = Rehearsal::new();
        let ((), cost) = rehearsal.of(|| rehearsal.over_scores(2.0, &[span], heads));
        assert_eq!(cost.flops, 2.0 * 2.0 * (4.0 + 5.0) * 16.0);
        for (window, pairs) in [(3, 3.0 + 3.0), (4, 4.0 + 4.0), (9, 4.0 + 5.0)] {
            let heads = Heads {
                window: Some(window),
                ..heads
            };
            let ((), cost) = rehearsal.of(|| rehearsal.over_scores(2.0, &[span], heads));
            assert_eq!(cost.flops, 2.0 * 2.0 * pairs * 16.0, "window {window}");
        }
    }
}
