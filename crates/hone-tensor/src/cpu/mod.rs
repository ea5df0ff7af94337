//! The CPU back-end: the default, and the reference that any other back-end is checked against.

mod attention;
mod columns;
#[cfg(target_arch = "x86_64")]
mod few_rows;
mod gelu;
mod layer_norm;
mod moving;
mod operands;
mod paged;
mod pool;
mod product;
mod routing;
mod rows;
pub(crate) mod simd;

use std::path::Path;
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::device::Device;
use crate::index::{Indices, Spans};
use crate::ops::adam8bit;
use crate::ops::{
    ActivationOps, AdamWStep, AttentionGrads, AttentionOps, AttentionSaved, Columns, ExpertOps,
    Gelu, Heads, LayerNorm, LinearOps, LossOps, Memory, NormOps, OptimizerOps, RotaryOps,
    RoundingOps, Routing, RowOps, StorageOps, TensorError, TopK, assert_same_shape, check_bias,
    check_column_factors, check_columns, check_divide, check_dot_cols, check_dot_rows, check_embed,
    check_gather, check_layer_norm, check_linear, check_linear_backward, check_paged, check_places,
    check_rms, check_rope, check_rounding, check_row_factors, check_scatter, check_spans,
    check_top, run_length,
};
use crate::stored::StoredMatrix;
use crate::tensor::{Element, MatMut, MatRef, Storage, Tensor, Weight};
use attention::Sided;
use operands::{Dense, Target};
use paged::Paged;
pub(crate) use pool::size_class;
use pool::{Buffer, Pool};
use product::Right;

/// A fixed number of threads and a pool of buffers.
#[derive(Debug)]
pub struct Cpu {
    threads: ThreadPool,
    pool: Arc<Pool>,
}

impl Cpu {
    /// Starts the threads.
    pub fn new(threads: usize) -> Result<Self, TensorError> {
        let built = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("hone-cpu-{i}"))
            .build();
        let threads = built.map_err(|error| TensorError::Threads {
            threads,
            reason: error.to_string(),
        })?;
        Ok(Self {
            threads,
            pool: Arc::default(),
        })
    }

    fn product(&self, left: MatRef, right: Right, width: usize, target: Target) {
        self.product_of(left.shape(), dense(&left), right, width, target);
    }

    fn product_of(
        &self,
        (height, depth): (usize, usize),
        left: Dense,
        right: Right,
        width: usize,
        target: Target,
    ) {
        self.threads
            .install(|| product::product(&self.pool, height, depth, width, left, right, target));
    }
}

impl Device {
    /// The CPU with a fixed number of threads; results do not depend on that number.
    pub fn cpu(threads: usize) -> Result<Self, TensorError> {
        Ok(Self::from_backend(Arc::new(Cpu::new(threads)?)))
    }
}

/// Words of four bytes that elements take.
pub(crate) fn words_for(element: Element, len: usize) -> usize {
    (len * element.bytes()).div_ceil(4)
}

const OWN: &str = "a tensor is used on the device that made it";

fn numbers(tensor: &Tensor) -> &[f32] {
    let storage = tensor.storage();
    match storage.downcast_ref::<Buffer>() {
        Some(buffer) => buffer.as_slice(),
        None => storage.downcast_ref::<Paged>().expect(OWN).as_slice(),
    }
}

fn numbers_mut(tensor: &mut Tensor) -> &mut [f32] {
    let storage = tensor.storage_mut();
    if storage.is::<Paged>() {
        let paged = storage.downcast_mut::<Paged>().expect(OWN);
        return paged.as_mut_slice();
    }
    let buffer = storage.downcast_mut::<Buffer>().expect(OWN);
    buffer.as_mut_slice()
}

fn stored(weight: &Weight) -> &StoredMatrix {
    weight.storage().downcast_ref::<StoredMatrix>().expect(OWN)
}

fn dense<'a>(matrix: &MatRef<'a>) -> Dense<'a> {
    let data = &numbers(matrix.tensor)[matrix.offset..];
    let (row, col) = if matrix.transposed {
        (1, matrix.stride)
    } else {
        (matrix.stride, 1)
    };
    Dense { data, row, col }
}

fn whole(out: &mut Tensor, accumulate: bool) -> Target<'_> {
    let row = out.cols();
    Target {
        data: numbers_mut(out),
        row,
        col: 1,
        alpha: 1.0,
        accumulate,
    }
}

fn sided(tensor: &Tensor, head_dim: usize) -> Sided<'_> {
    Sided {
        data: numbers(tensor),
        num_heads: tensor.cols() / head_dim,
        head_dim,
        pages: None,
    }
}

impl StorageOps for Cpu {
    fn name(&self) -> String {
        let simd = simd::Simd::best().name();
        format!(
            "cpu, {} threads, {simd}",
            self.threads.current_num_threads()
        )
    }

    fn memory(&self) -> Memory {
        self.pool.memory()
    }

    fn reset_peak(&self) {
        self.pool.reset_peak();
    }

    fn trim(&self) {
        self.pool.trim();
    }

    fn run(&self, work: &mut (dyn FnMut() + Send)) {
        self.threads.install(work);
    }

    fn allocate(&self, element: Element, len: usize) -> Storage {
        Box::new(self.pool.take(words_for(element, len)))
    }

    fn allocate_paged(
        &self,
        element: Element,
        len: usize,
        dir: &Path,
    ) -> Result<Storage, TensorError> {
        let words = words_for(element, len);
        let paged = Paged::zeros(dir, words).map_err(|source| TensorError::Paged {
            bytes: 4 * words,
            dir: dir.to_path_buf(),
            source,
        })?;
        Ok(Box::new(paged))
    }

    fn hold(&self, matrix: StoredMatrix) -> Storage {
        Box::new(matrix)
    }

    fn read_row(&self, weight: &Weight, row: usize, out: &mut [f32]) {
        stored(weight).decode_row(row, 0..weight.cols(), out);
    }

    fn download_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, TensorError> {
        let bytes: &[u8] = bytemuck::cast_slice(numbers(tensor));
        Ok(bytes[..tensor.len() * tensor.element().bytes()].to_vec())
    }

    fn write_bytes(&self, bytes: &[u8], out: &mut Tensor) {
        assert_eq!(
            bytes.len(),
            out.len() * out.element().bytes(),
            "as many bytes as there are"
        );
        let room: &mut [u8] = bytemuck::cast_slice_mut(numbers_mut(out));
        room[..bytes.len()].copy_from_slice(bytes);
    }

    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>, TensorError> {
        Ok(numbers(tensor).to_vec())
    }

    fn write(&self, data: &[f32], out: &mut Tensor) {
        numbers_mut(out).copy_from_slice(data);
    }
}

impl LinearOps for Cpu {
    fn linear(&self, x: MatRef, weight: &Weight, out: &mut Tensor, accumulate: bool) {
        check_linear(x, weight, out);
        let (row, out) = (out.cols(), numbers_mut(out));
        for band in stored(weight).bands(1) {
            let target = Target {
                data: &mut out[band.first_row()..],
                row,
                col: 1,
                alpha: 1.0,
                accumulate,
            };
            self.product(x, Right::StoredTransposed(&band), band.rows(), target);
        }
    }

    fn linears(&self, x: MatRef, weights: &[&Weight], outs: &mut [Tensor]) {
        assert_eq!(weights.len(), outs.len(), "an output for each weight");
        // Where a few rows are multiplied the threads wait for each other after every weight. A weight that is read from
        // disk as it is used has the memory for one of its parts, not for those of several.
        let is_short = x.shape().0 <= product::FEW;
        if is_short && !weights.iter().any(|weight| stored(weight).is_streamed()) {
            let outs = weights.par_iter().zip(outs);
            let all = outs.map(|(weight, out)| self.linear(x, weight, out, false));
            return self.threads.install(|| all.collect());
        }
        for (weight, out) in weights.iter().zip(outs) {
            self.linear(x, weight, out, false);
        }
    }

    fn linear_backward(&self, dy: MatRef, weight: &Weight, dx: &mut Tensor, accumulate: bool) {
        check_linear_backward(dy, weight, dx);
        let (height, left, matrix) = (dy.shape().0, dense(&dy), stored(weight));
        for band in matrix.bands(product::band_step(matrix)) {
            let left = Dense {
                data: &left.data[band.first_row() * left.col..],
                ..left
            };
            let target = whole(dx, accumulate || band.first_row() > 0);
            let shape = (height, band.rows());
            self.product_of(shape, left, Right::Stored(&band), weight.cols(), target);
        }
    }

    fn matmul(&self, a: MatRef, b: MatRef, alpha: f32, out: MatMut, accumulate: bool) {
        let ((height, depth), (b_depth, width)) = (a.shape(), b.shape());
        assert_eq!(
            (depth, height, width),
            (b_depth, out.rows, out.cols),
            "a · b"
        );
        let stride = out.stride;
        let data = &mut numbers_mut(out.tensor)[out.offset..];
        // A wide, flat result is quicker as the transpose of a tall, narrow one: the large operand is
        // then read where it is instead of being packed.
        if height < width && height <= 64 {
            let target = Target {
                data,
                row: 1,
                col: stride,
                alpha,
                accumulate,
            };
            self.product(b.t(), Right::Dense(dense(&a.t())), height, target);
        } else {
            let target = Target {
                data,
                row: stride,
                col: 1,
                alpha,
                accumulate,
            };
            self.product(a, Right::Dense(dense(&b)), width, target);
        }
    }

    fn add_bias(&self, x: &mut Tensor, bias: &Tensor) {
        check_bias(x, bias);
        let x = numbers_mut(x);
        self.threads.install(|| rows::add_bias(x, numbers(bias)));
    }

    fn add(&self, y: &mut Tensor, x: &Tensor) {
        assert_same_shape(y, x);
        let y = numbers_mut(y);
        self.threads.install(|| rows::add(y, numbers(x)));
    }

    fn scale(&self, x: &mut Tensor, factor: f32) {
        let x = numbers_mut(x);
        self.threads.install(|| rows::scale(x, factor));
    }
}

impl RowOps for Cpu {
    fn fill(&self, out: &mut Tensor, value: f32) {
        let out = numbers_mut(out);
        self.threads
            .install(|| rows::by_rows(out, 1, |_, out| out.fill(value)));
    }

    fn copy_rows(&self, src: &Tensor, from: usize, count: usize, out: &mut Tensor, to: usize) {
        let cols = src.cols();
        assert_eq!(cols, out.cols(), "rows of one width");
        numbers_mut(out)[to * cols..][..count * cols]
            .copy_from_slice(&numbers(src)[from * cols..][..count * cols]);
    }

    fn embed(&self, ids: Indices, weight: &Weight, out: &mut Tensor) {
        let cols = weight.cols();
        check_embed(ids, weight, out);
        let matrix = stored(weight).in_use();
        let out = numbers_mut(out);
        self.threads.install(|| {
            out.par_chunks_exact_mut(cols)
                .zip(ids.on_host())
                .for_each(|(row, &id)| matrix.decode_row(id as usize, 0..cols, row));
        });
    }

    fn gather_window(&self, x: MatRef, rows: Indices, out: &mut Tensor) {
        check_gather(x, rows, out);
        let (cols, stride) = (x.cols, x.stride);
        let (x, out) = (&numbers(x.tensor)[x.offset..], numbers_mut(out));
        self.threads
            .install(|| moving::gather_rows(x, stride, rows.on_host(), cols, out));
    }

    fn scatter_add_window(&self, x: &Tensor, rows: Indices, out: MatMut) {
        check_scatter(x, rows, &out);
        let (cols, stride) = (out.cols, out.stride);
        let out = &mut numbers_mut(out.tensor)[out.offset..];
        self.threads
            .install(|| moving::scatter_add_rows(numbers(x), rows.on_host(), cols, stride, out));
    }

    fn scale_cols(&self, x: &mut Tensor, factors: MatRef) {
        check_column_factors(x, factors);
        let factors = &numbers(factors.tensor)[factors.offset..][..factors.cols];
        let x = numbers_mut(x);
        self.threads.install(|| columns::scale(x, factors));
    }

    fn dot_cols(&self, a: MatRef, b: MatRef, alpha: f32, out: MatMut, accumulate: bool) {
        let (rows, cols) = a.shape();
        check_dot_cols(a, b, &out);
        let (a, b) = (dense(&a), dense(&b));
        let out = &mut numbers_mut(out.tensor)[out.offset..][..cols];
        self.threads
            .install(|| columns::dot(a, b, rows, alpha, out, accumulate));
    }

    fn divide_by_root(&self, x: MatRef, squares: &Tensor, out: MatMut, accumulate: bool) {
        check_divide(x, squares, &out);
        let cols = out.cols;
        let x = &numbers(x.tensor)[x.offset..][..cols];
        let out = &mut numbers_mut(out.tensor)[out.offset..][..cols];
        columns::divide_by_root(x, numbers(squares), out, accumulate);
    }

    fn scale_rows(&self, x: &mut Tensor, factors: MatRef) {
        check_row_factors(x, factors);
        let cols = x.cols();
        let factors = &numbers(factors.tensor)[factors.offset..][..factors.rows];
        let x = numbers_mut(x);
        self.threads
            .install(|| routing::scale_rows(x, cols, factors));
    }

    fn dot_rows(&self, a: &Tensor, b: &Tensor, out: MatMut) {
        check_dot_rows(a, b, &out);
        let cols = a.cols();
        let out = &mut numbers_mut(out.tensor)[out.offset..][..out.rows];
        self.threads
            .install(|| routing::dot_rows(numbers(a), numbers(b), cols, out));
    }

    fn split_columns(&self, x: &Tensor, columns: Columns, out: &mut Tensor) {
        check_columns(columns, out, x);
        let cols = x.cols();
        let out = numbers_mut(out);
        self.threads
            .install(|| moving::split_columns(numbers(x), cols, columns, out));
    }

    fn merge_columns(&self, x: &Tensor, columns: Columns, out: &mut Tensor) {
        check_columns(columns, x, out);
        let cols = out.cols();
        let out = numbers_mut(out);
        self.threads
            .install(|| moving::merge_columns(numbers(x), columns, cols, out));
    }
}

impl RoundingOps for Cpu {
    fn round_to_bf16(&self, x: &Tensor, out: &mut Tensor) {
        check_rounding(x, out);
        let halves = &mut bytemuck::cast_slice_mut(numbers_mut(out))[..x.len()];
        self.threads
            .install(|| moving::round_to_bf16(numbers(x), halves));
    }

    fn widen_bf16(&self, x: &Tensor, out: &mut Tensor) {
        check_rounding(out, x);
        let halves = &bytemuck::cast_slice(numbers(x))[..x.len()];
        let out = numbers_mut(out);
        self.threads.install(|| moving::widen_bf16(halves, out));
    }
}

impl NormOps for Cpu {
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f32, out: &mut Tensor) {
        assert_same_shape(x, out);
        check_rms(x, weight);
        let out = numbers_mut(out);
        self.threads
            .install(|| rows::rms_norm(numbers(x), numbers(weight), eps, out));
    }

    fn rms_norm_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        dx: &mut Tensor,
        accumulate: bool,
    ) {
        assert_same_shape(dy, x);
        assert_same_shape(x, dx);
        let dx = numbers_mut(dx);
        self.threads.install(|| {
            rows::rms_norm_backward(
                numbers(dy),
                numbers(x),
                numbers(weight),
                eps,
                dx,
                accumulate,
            )
        });
    }

    fn layer_norm(&self, x: &Tensor, norm: LayerNorm, out: &mut Tensor) {
        assert_same_shape(x, out);
        let settings = layer_norm_settings(x, norm);
        let out = numbers_mut(out);
        self.threads
            .install(|| layer_norm::layer_norm(numbers(x), settings, out));
    }

    fn layer_norm_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        norm: LayerNorm,
        dx: &mut Tensor,
        accumulate: bool,
    ) {
        assert_same_shape(dy, x);
        assert_same_shape(x, dx);
        let settings = layer_norm_settings(x, norm);
        let dx = numbers_mut(dx);
        self.threads.install(|| {
            layer_norm::layer_norm_backward(numbers(dy), numbers(x), settings, dx, accumulate)
        });
    }
}

impl RotaryOps for Cpu {
    fn rope(
        &self,
        x: &mut Tensor,
        head_dim: usize,
        positions: Indices,
        table: &Tensor,
        inverse: bool,
    ) {
        check_rope(x, head_dim, positions, table);
        let positions = positions.on_host();
        let (cols, rotary_dim) = (x.cols(), table.cols());
        let (x, table) = (numbers_mut(x), numbers(table));
        self.threads
            .install(|| rows::rope(x, cols, head_dim, positions, table, rotary_dim, inverse));
    }

    fn rope_interleaved(
        &self,
        x: &mut Tensor,
        head_dim: usize,
        positions: Indices,
        table: &Tensor,
        inverse: bool,
    ) {
        check_rope(x, head_dim, positions, table);
        let positions = positions.on_host();
        let (cols, rotary_dim) = (x.cols(), table.cols());
        let (x, table) = (numbers_mut(x), numbers(table));
        self.threads.install(|| {
            rows::rope_interleaved(x, cols, head_dim, positions, table, rotary_dim, inverse)
        });
    }
}

impl AttentionOps for Cpu {
    fn attention(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        spans: &Spans,
        heads: Heads,
        out: &mut Tensor,
        lse: Option<&mut Tensor>,
    ) {
        check_spans(spans, q.rows(), k.rows());
        assert_same_shape(q, out);
        assert_same_shape(k, v);
        let written = attention::Written {
            out: numbers_mut(out),
            lse: lse.map(numbers_mut),
        };
        let side = |tensor| sided(tensor, heads.head_dim);
        self.threads.install(|| {
            attention::forward(&self.pool, side(q), side(k), side(v), spans, heads, written)
        });
    }

    fn attention_paged(
        &self,
        q: &Tensor,
        (k, v): (&Tensor, &Tensor),
        pages: Indices,
        spans: &Spans,
        heads: Heads,
        out: &mut Tensor,
    ) {
        check_paged(spans, q, (k, v), pages);
        assert_same_shape(q, out);
        let written = attention::Written {
            out: numbers_mut(out),
            lse: None,
        };
        let pages = Some(pages.on_host());
        let paged = |tensor| Sided {
            pages,
            ..sided(tensor, heads.head_dim)
        };
        self.threads.install(|| {
            let q = sided(q, heads.head_dim);
            attention::forward(&self.pool, q, paged(k), paged(v), spans, heads, written)
        });
    }

    fn attention_backward(
        &self,
        saved: AttentionSaved,
        dout: &Tensor,
        spans: &Spans,
        heads: Heads,
        grads: AttentionGrads,
    ) {
        check_spans(spans, saved.q.rows(), saved.k.rows());
        let AttentionGrads { dq, dk, dv } = grads;
        assert_same_shape(saved.q, dq);
        assert_same_shape(saved.k, dk);
        assert_same_shape(saved.v, dv);
        assert_same_shape(saved.q, dout);
        let side = |tensor| sided(tensor, heads.head_dim);
        let read = attention::Saved {
            q: side(saved.q),
            k: side(saved.k),
            v: side(saved.v),
            out: side(saved.out),
            dout: side(dout),
            lse: numbers(saved.lse),
        };
        let grads = attention::Grads {
            dq: numbers_mut(dq),
            dk: numbers_mut(dk),
            dv: numbers_mut(dv),
        };
        self.threads
            .install(|| attention::backward(&self.pool, read, spans, heads, grads));
    }
}

impl ActivationOps for Cpu {
    fn soft_cap(&self, x: &mut Tensor, cap: f32) {
        let x = numbers_mut(x);
        self.threads.install(|| rows::soft_cap(x, cap));
    }

    fn soft_cap_backward(&self, y: &Tensor, cap: f32, dx: &mut Tensor) {
        assert_same_shape(y, dx);
        let dx = numbers_mut(dx);
        self.threads
            .install(|| rows::soft_cap_backward(numbers(y), cap, dx));
    }

    fn gated_silu(&self, gate: &Tensor, up: &Tensor, out: &mut Tensor) {
        assert_same_shape(gate, up);
        assert_same_shape(gate, out);
        let out = numbers_mut(out);
        self.threads
            .install(|| rows::gated_silu(numbers(gate), numbers(up), out));
    }

    fn gated_silu_backward(
        &self,
        dout: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        dgate: &mut Tensor,
        dup: &mut Tensor,
    ) {
        assert_same_shape(dout, gate);
        assert_same_shape(gate, up);
        assert_same_shape(dgate, dup);
        let (dgate, dup) = (numbers_mut(dgate), numbers_mut(dup));
        self.threads.install(|| {
            rows::gated_silu_backward(numbers(dout), numbers(gate), numbers(up), dgate, dup)
        });
    }

    fn gelu(&self, kind: Gelu, x: &Tensor, out: &mut Tensor) {
        assert_same_shape(x, out);
        let out = numbers_mut(out);
        self.threads.install(|| gelu::gelu(kind, numbers(x), out));
    }

    fn gelu_backward(&self, kind: Gelu, dout: &Tensor, x: &Tensor, dx: &mut Tensor) {
        assert_same_shape(dout, x);
        assert_same_shape(x, dx);
        let dx = numbers_mut(dx);
        self.threads
            .install(|| gelu::gelu_backward(kind, numbers(dout), numbers(x), dx));
    }

    fn gated_gelu(&self, kind: Gelu, gate: &Tensor, up: &Tensor, out: &mut Tensor) {
        assert_same_shape(gate, up);
        assert_same_shape(gate, out);
        let out = numbers_mut(out);
        self.threads
            .install(|| gelu::gated_gelu(kind, numbers(gate), numbers(up), out));
    }

    fn gated_gelu_backward(
        &self,
        kind: Gelu,
        dout: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        dgate: &mut Tensor,
        dup: &mut Tensor,
    ) {
        assert_same_shape(dout, gate);
        assert_same_shape(gate, up);
        assert_same_shape(dgate, dup);
        let (dgate, dup) = (numbers_mut(dgate), numbers_mut(dup));
        self.threads.install(|| {
            let (dout, gate, up) = (numbers(dout), numbers(gate), numbers(up));
            gelu::gated_gelu_backward(kind, dout, gate, up, dgate, dup)
        });
    }

    fn dropout(&self, x: &Tensor, p: f32, seed: u64, out: &mut Tensor, accumulate: bool) {
        assert_same_shape(x, out);
        assert!((0.0..1.0).contains(&p), "a probability below one");
        let out = numbers_mut(out);
        self.threads
            .install(|| rows::dropout(numbers(x), p, seed, out, accumulate));
    }
}

impl ExpertOps for Cpu {
    fn route(&self, logits: &Tensor, top: TopK) -> Routing {
        let experts = logits.cols();
        check_top(logits, top);
        let choices = self
            .threads
            .install(|| routing::choose(numbers(logits), experts, top));
        let (rows, starts, weights) = routing::by_expert(&choices, experts, top.count);
        Routing {
            weights: logits.device().tensor(weights.len(), 1, &weights),
            rows: rows.into(),
            starts,
        }
    }

    fn route_backward(
        &self,
        logits: &Tensor,
        routing: &Routing,
        top: TopK,
        dweights: &Tensor,
        dlogits: &mut Tensor,
    ) {
        assert_same_shape(logits, dlogits);
        check_places(logits, top, dweights);
        let experts = logits.cols();
        let dlogits = numbers_mut(dlogits);
        let given = routing::by_row(&routing.rows, &routing.starts, numbers(dweights), top.count);
        self.threads
            .install(|| routing::backward(numbers(logits), experts, top, &given, dlogits));
    }
}

impl LossOps for Cpu {
    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: Indices,
        backward: bool,
    ) -> Result<Vec<f64>, TensorError> {
        let cols = logits.cols();
        assert_eq!(logits.rows(), targets.len(), "a target for each row");
        let logits = numbers_mut(logits);
        Ok(self
            .threads
            .install(|| rows::cross_entropy(logits, cols, targets.on_host(), backward)))
    }

    fn divergence(
        &self,
        logits: &mut Tensor,
        others: &mut Tensor,
    ) -> Result<Vec<f64>, TensorError> {
        assert_same_shape(logits, others);
        let cols = logits.cols();
        let (logits, others) = (numbers_mut(logits), numbers_mut(others));
        Ok(self
            .threads
            .install(|| rows::divergence(logits, others, cols)))
    }

    fn sum_squares(&self, x: &Tensor) -> Result<f64, TensorError> {
        Ok(self.threads.install(|| rows::sum_squares(numbers(x))))
    }
}

impl OptimizerOps for Cpu {
    fn adamw_by_runs(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
        runs: &[(usize, AdamWStep)],
    ) {
        assert_same_shape(parameters, gradients);
        assert_eq!(run_length(runs), parameters.len(), "runs are the buffer");
        let (mut p, mut m, mut v) = (
            numbers_mut(parameters),
            numbers_mut(first),
            numbers_mut(second),
        );
        let mut g = numbers(gradients);
        self.threads.install(|| {
            for &(len, step) in runs {
                let ((run_p, later_p), (run_m, later_m), (run_v, later_v)) = (
                    p.split_at_mut(len),
                    m.split_at_mut(len),
                    v.split_at_mut(len),
                );
                let (run_g, later_g) = g.split_at(len);
                rows::adamw(run_p, run_g, run_m, run_v, step);
                (p, m, v, g) = (later_p, later_m, later_v, later_g);
            }
        });
    }

    fn adamw8bit_words(
        &self,
        lengths: &[usize],
        parameters: &mut Tensor,
        gradients: &Tensor,
        [first, second]: [&mut Tensor; 2],
        runs: &[(usize, AdamWStep)],
    ) {
        assert_same_shape(parameters, gradients);
        assert_eq!(run_length(runs), parameters.len(), "runs are the buffer");
        let (p, g) = (numbers_mut(parameters), numbers(gradients));
        let (m, v) = (numbers_mut(first), numbers_mut(second));
        self.threads
            .install(|| adam8bit::adamw8bit(lengths, p, g, m, v, runs));
    }
}

fn layer_norm_settings<'a>(x: &Tensor, norm: LayerNorm<'a>) -> layer_norm::Settings<'a> {
    let LayerNorm {
        weight,
        bias,
        width,
        eps,
    } = norm;
    check_layer_norm(x, norm);
    layer_norm::Settings {
        weight: numbers(weight),
        bias: bias.map(numbers),
        cols: x.cols(),
        width,
        eps,
    }
}
