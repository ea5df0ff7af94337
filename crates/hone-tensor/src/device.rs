//! The wall between networks and hardware: a device is a value, and a back-end is about twenty coarse ops.
//!
//! Ops are coarse so that dispatch costs nothing and each back-end may fuse as it likes. They do not
//! return errors: shapes are promises of the network above, and a device that works asynchronously
//! learns of a failure only later. A failure surfaces where a number is read back
//! ([`Device::download`], [`Device::cross_entropy`], [`Device::sum_squares`]).

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cpu::Cpu;
use crate::moment8::Moment8;
use crate::quant::Format;
use crate::stored::StoredMatrix;
use crate::tensor::{MatMut, MatRef, Storage, Tensor};

/// Why a number could not be read back from a device.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The device failed while working on what was asked of it.
    #[error("device `{device}` failed: {reason}")]
    Device {
        /// Its name.
        device: String,
        /// What it said.
        reason: String,
    },
    /// The thread pool could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
    /// There is no file to page numbers out to.
    #[error("cannot keep {bytes} bytes in a file under `{}`: {source}", dir.display())]
    Paged {
        /// How much.
        bytes: usize,
        /// Where.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Whoever wanted the numbers asked to stop before they were there.
    #[error("stopped before the numbers were there, as was asked")]
    Stopped,
}

/// A frozen matrix `[out, in]`, held by a device in its stored form.
pub struct Weight {
    rows: usize,
    cols: usize,
    format: Format,
    bytes: usize,
    storage: Storage,
}

impl Weight {
    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How its numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes it takes, scales included.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The back-end's own handle.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Weight[{}, {}] {}",
            self.rows,
            self.cols,
            self.format.name()
        )
    }
}

/// One sequence of a packed batch, for attention: which query rows see which key rows.
///
/// Causal, aligned at the end: query `i` of `query_len` sees the first
/// `key_len - query_len + i + 1` keys. In training both ranges are the same rows; with a
/// key-value cache the keys are longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First query row.
    pub query_start: usize,
    /// Number of query rows.
    pub query_len: usize,
    /// First key row.
    pub key_start: usize,
    /// Number of key rows, at least `query_len`.
    pub key_len: usize,
}

/// The shape of grouped-query attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// What scores are multiplied with, `1/√head_dim` as a rule.
    pub scale: f32,
    /// How many keys a query sees at most, itself among them: the nearest. All before it, if not said.
    pub window: Option<usize>,
    /// Scores become `cap · tanh(score / cap)`, if said (Bello et al. 2016; Gemma 2).
    pub cap: Option<f32>,
}

/// The two forms of the Gaussian error linear unit (Hendrycks & Gimpel 2016).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x · Φ(x)`.
    Erf,
    /// `x · (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2`.
    Tanh,
}

/// The weights of a layer norm, and over what it goes.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// `[1, cols]`, or `[1, width]` and the same for each stretch.
    pub weight: &'a Tensor,
    /// Like the weight.
    pub bias: Option<&'a Tensor>,
    /// Columns that are normed together; divides the columns of a row.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// Some columns of a wider matrix: `count` stretches of `width` columns, each `period` after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// First column of the first stretch.
    pub first: usize,
    /// Columns of a stretch.
    pub width: usize,
    /// Distance between the starts of two stretches.
    pub period: usize,
    /// How many stretches.
    pub count: usize,
}

impl Columns {
    /// How many columns they are together.
    pub fn total(&self) -> usize {
        self.width * self.count
    }

    /// Columns that a matrix must have for these to be inside.
    pub fn end(&self) -> usize {
        self.first + self.period * (self.count - 1) + self.width
    }
}

/// How a router's logits choose experts: the `count` greatest of their softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// Experts for each row, at least one and no more than there are.
    pub count: usize,
    /// Whether the chosen shares of a row are divided by their sum.
    pub is_normalised: bool,
}

/// Which rows go to which expert. A place is one row at one expert; places lie expert by expert, the rows of an
/// expert rising.
#[derive(Debug)]
pub struct Routing {
    /// The row of each place.
    pub rows: Vec<usize>,
    /// Where each expert's places begin, and after them where the last one's end.
    pub starts: Vec<usize>,
    /// What comes back from each place is multiplied with, `[places, 1]`.
    pub weights: Tensor,
}

impl Routing {
    /// The places of an expert.
    pub fn places(&self, expert: usize) -> Range<usize> {
        self.starts[expert]..self.starts[expert + 1]
    }
}

/// One AdamW step's numbers (Loshchilov & Hutter 2019, as in `torch.optim.AdamW`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// 1 for the first step.
    pub step: u64,
    /// What gradients are multiplied with first: `1/tokens`, times the clipping factor.
    pub gradient_scale: f32,
}

/// What a back-end implements. `out` arguments are written whole unless `accumulate` is set.
pub trait Backend: Send + Sync + fmt::Debug {
    /// Name for plans and error messages.
    fn name(&self) -> String;
    /// Bytes of tensors alive now, and the most there have been.
    fn memory(&self) -> Memory;
    /// Forgets the greatest memory use so far.
    fn reset_peak(&self);
    /// Gives back memory that is kept for tensors to come.
    fn trim(&self) {}
    /// Runs `work` where the device's ops are cheapest to start.
    fn run(&self, work: &mut (dyn FnMut() + Send));

    /// Room for `len` numbers, contents unspecified.
    fn allocate(&self, len: usize) -> Storage;
    /// Room for `len` numbers that the system may move to a file under `dir` while memory is short; contents
    /// unspecified. A back-end whose memory has no pages allocates as ever.
    fn allocate_paged(&self, len: usize, _dir: &Path) -> Result<Storage, TensorError> {
        Ok(self.allocate(len))
    }
    /// Copies numbers from the host.
    fn upload(&self, data: &[f32]) -> Storage;
    /// Takes a frozen matrix, in its stored form.
    fn hold(&self, matrix: StoredMatrix) -> Storage;
    /// Copies numbers to the host.
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>, TensorError>;
    /// Overwrites a tensor from the host.
    fn write(&self, data: &[f32], out: &mut Tensor);
    /// Sets every element to `value`.
    fn fill(&self, out: &mut Tensor, value: f32);
    /// Copies `src` rows `[from, from + count)` to `out` rows `[to, to + count)`.
    fn copy_rows(&self, src: &Tensor, from: usize, count: usize, out: &mut Tensor, to: usize);

    /// `out (+)= x · Wᵀ`: `[t, in] × [out, in] → [t, out]`.
    fn linear(&self, x: MatRef, weight: &Weight, out: &mut Tensor, accumulate: bool);
    /// `dx (+)= dy · W`: `[t, out] × [out, in] → [t, in]`.
    fn linear_backward(&self, dy: MatRef, weight: &Weight, dx: &mut Tensor, accumulate: bool);
    /// `out (+)= alpha · a · b`, all f32.
    fn matmul(&self, a: MatRef, b: MatRef, alpha: f32, out: MatMut, accumulate: bool);
    /// Adds `bias [1, cols]` to every row.
    fn add_bias(&self, x: &mut Tensor, bias: &Tensor);
    /// `y += x`.
    fn add(&self, y: &mut Tensor, x: &Tensor);

    /// Rows of the embedding matrix for `ids`.
    fn embed(&self, ids: &[u32], weight: &Weight, out: &mut Tensor);
    /// `out[i] = x[rows[i]]`.
    fn gather_rows(&self, x: &Tensor, rows: &[usize], out: &mut Tensor) {
        self.gather_window(x.view(), rows, out);
    }
    /// The same from a window into a tensor: rows of one matrix of a flat buffer.
    fn gather_window(&self, x: MatRef, rows: &[usize], out: &mut Tensor);
    /// `out[rows[i]] += x[i]`, in the order of `i`; rows may repeat.
    fn scatter_add_rows(&self, x: &Tensor, rows: &[usize], out: &mut Tensor) {
        self.scatter_add_window(x, rows, out.view_mut());
    }
    /// The same into a window.
    fn scatter_add_window(&self, x: &Tensor, rows: &[usize], out: MatMut);
    /// Multiplies column `j` with element `j` of `factors [1, cols]`.
    fn scale_cols(&self, x: &mut Tensor, factors: MatRef);
    /// `out[j] (+)= alpha · Σᵢ a[i, j] · b[i, j]`, with `out [1, cols]`; summed in f64.
    fn dot_cols(&self, a: MatRef, b: MatRef, alpha: f32, out: MatMut, accumulate: bool);
    /// `out[j] (+)= x[j] / √squares[j]`, all `[1, cols]`; nothing where the square is zero.
    fn divide_by_root(&self, x: MatRef, squares: &Tensor, out: MatMut, accumulate: bool);
    /// Rounds to bf16, for safekeeping only: `out` has half as many numbers, rounded up, and is good for
    /// [`Backend::widen_bf16`] alone.
    fn round_to_bf16(&self, x: &Tensor, out: &mut Tensor);
    /// Back from [`Backend::round_to_bf16`].
    fn widen_bf16(&self, x: &Tensor, out: &mut Tensor);

    /// Multiplies row `i` with element `i` of `factors [rows, 1]`.
    fn scale_rows(&self, x: &mut Tensor, factors: MatRef);
    /// `out[i] = Σⱼ a[i, j] · b[i, j]`, with `out [rows, 1]`; summed in f64.
    fn dot_rows(&self, a: &Tensor, b: &Tensor, out: MatMut);
    /// Sends rows to experts by the logits `[rows, experts]` of a router: softmax, its greatest shares, of equal ones the
    /// lower expert's. A device that failed may send them anywhere; the failure surfaces where a number is read back.
    fn route(&self, logits: &Tensor, top: TopK) -> Routing;
    /// The gradient of `logits` from that of [`Routing::weights`], `[places, 1]`. Which experts are chosen is taken for
    /// given, as autograd does.
    fn route_backward(
        &self,
        logits: &Tensor,
        routing: &Routing,
        top: TopK,
        dweights: &Tensor,
        dlogits: &mut Tensor,
    );

    /// Copies some columns of `x` side by side into `out`.
    fn split_columns(&self, x: &Tensor, columns: Columns, out: &mut Tensor);
    /// The reverse: writes `x` to some columns of `out` and leaves its others.
    fn merge_columns(&self, x: &Tensor, columns: Columns, out: &mut Tensor);
    /// `x *= factor`.
    fn scale(&self, x: &mut Tensor, factor: f32);
    /// `x = cap · tanh(x / cap)`.
    fn soft_cap(&self, x: &mut Tensor, cap: f32);
    /// `dx *= 1 - (y / cap)²`, with `y` what [`Backend::soft_cap`] gave.
    fn soft_cap_backward(&self, y: &Tensor, cap: f32, dx: &mut Tensor);

    /// RMS norm (Zhang & Sennrich 2019): `out = x / rms(x) · weight`. A weight shorter than a row norms each
    /// stretch of its length by itself, head by head for example.
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f32, out: &mut Tensor);
    /// `dx (+)= ∂rms_norm/∂x · dy`; recomputes the root mean square from `x`.
    fn rms_norm_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        weight: &Tensor,
        eps: f32,
        dx: &mut Tensor,
        accumulate: bool,
    );

    /// Layer norm (Ba et al. 2016): `out = (x - mean) / √(variance + eps) · weight + bias`.
    fn layer_norm(&self, x: &Tensor, norm: LayerNorm, out: &mut Tensor);
    /// `dx (+)= ∂layer_norm/∂x · dy`; recomputes mean and variance from `x`.
    fn layer_norm_backward(
        &self,
        dy: &Tensor,
        x: &Tensor,
        norm: LayerNorm,
        dx: &mut Tensor,
        accumulate: bool,
    );

    /// Rotary embedding, half-split pairs, in place (Su et al. 2021). `table` is `[positions, rotary width]`,
    /// cosines then sines; a head's columns past the rotary width stay as they are. `inverse` rotates back, which is
    /// also the backward pass.
    fn rope(
        &self,
        x: &mut Tensor,
        head_dim: usize,
        positions: &[u32],
        table: &Tensor,
        inverse: bool,
    );

    /// The same with neighbouring columns as pairs, as in the original paper.
    fn rope_interleaved(
        &self,
        x: &mut Tensor,
        head_dim: usize,
        positions: &[u32],
        table: &Tensor,
        inverse: bool,
    );

    /// Block-diagonal causal attention; `lse [rows, num_heads]` keeps the log-sum-exp of each row for backward.
    fn attention(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        spans: &[Span],
        heads: Heads,
        out: &mut Tensor,
        lse: Option<&mut Tensor>,
    );
    /// Gradients of [`Backend::attention`]; scores are recomputed block by block from `lse`.
    fn attention_backward(
        &self,
        saved: AttentionSaved,
        dout: &Tensor,
        spans: &[Span],
        heads: Heads,
        grads: AttentionGrads,
    );

    /// `out = silu(gate) · up`.
    fn gated_silu(&self, gate: &Tensor, up: &Tensor, out: &mut Tensor);
    /// Gradients of [`Backend::gated_silu`].
    fn gated_silu_backward(
        &self,
        dout: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        dgate: &mut Tensor,
        dup: &mut Tensor,
    );

    /// `out = gelu(x)`.
    fn gelu(&self, kind: Gelu, x: &Tensor, out: &mut Tensor);
    /// `dx = dout · gelu'(x)`.
    fn gelu_backward(&self, kind: Gelu, dout: &Tensor, x: &Tensor, dx: &mut Tensor);
    /// `out = gelu(gate) · up`.
    fn gated_gelu(&self, kind: Gelu, gate: &Tensor, up: &Tensor, out: &mut Tensor);
    /// Gradients of [`Backend::gated_gelu`].
    fn gated_gelu_backward(
        &self,
        kind: Gelu,
        dout: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        dgate: &mut Tensor,
        dup: &mut Tensor,
    );

    /// Inverted dropout: keeps an element with probability `1 - p`, decided by `(seed, index)` alone.
    /// With `accumulate`, adds, which makes it its own backward pass.
    fn dropout(&self, x: &Tensor, p: f32, seed: u64, out: &mut Tensor, accumulate: bool);

    /// Sum of `-ln softmax(logits)[target]` over rows, in nats; `logits` become its gradient if `backward`.
    fn cross_entropy(
        &self,
        logits: &mut Tensor,
        targets: &[u32],
        backward: bool,
    ) -> Result<Vec<f64>, TensorError>;

    /// Sum of squares of all elements.
    fn sum_squares(&self, x: &Tensor) -> Result<f64, TensorError>;
    /// One AdamW pass over flat buffers.
    fn adamw(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
        step: AdamWStep,
    ) {
        let runs = [(parameters.len(), step)];
        self.adamw_by_runs(parameters, gradients, first, second, &runs);
    }
    /// The same with a step of its own for each run of consecutive numbers, all of them together the whole buffer.
    fn adamw_by_runs(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Tensor,
        second: &mut Tensor,
        runs: &[(usize, AdamWStep)],
    );
    /// [`Backend::adamw`] with moments in 8 bits, bit for bit as bitsandbytes' `AdamW8bit` on a CPU.
    fn adamw8bit(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Moment8,
        second: &mut Moment8,
        step: AdamWStep,
    ) {
        let runs = [(parameters.len(), step)];
        self.adamw8bit_by_runs(parameters, gradients, first, second, &runs);
    }
    /// The same by runs, each of whole parameter tensors.
    fn adamw8bit_by_runs(
        &self,
        parameters: &mut Tensor,
        gradients: &Tensor,
        first: &mut Moment8,
        second: &mut Moment8,
        runs: &[(usize, AdamWStep)],
    );
}

/// Bytes of tensors on a device, frozen weights not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Alive now.
    pub live_bytes: usize,
    /// The most there have been.
    pub peak_bytes: usize,
}

/// What attention's forward pass leaves for its backward pass.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSaved<'a> {
    /// Queries `[t, num_heads · head_dim]`, rotated.
    pub q: &'a Tensor,
    /// Keys `[t, num_kv_heads · head_dim]`, rotated.
    pub k: &'a Tensor,
    /// Values `[t, num_kv_heads · head_dim]`.
    pub v: &'a Tensor,
    /// The output.
    pub out: &'a Tensor,
    /// Log-sum-exp of each row and head `[t, num_heads]`.
    pub lse: &'a Tensor,
}

/// Where attention's backward pass writes.
#[derive(Debug)]
pub struct AttentionGrads<'a> {
    /// Like the queries.
    pub dq: &'a mut Tensor,
    /// Like the keys.
    pub dk: &'a mut Tensor,
    /// Like the values.
    pub dv: &'a mut Tensor,
}

/// A handle to a back-end; clones are the same device. Ops are the methods of [`Backend`].
#[derive(Clone, Debug)]
pub struct Device(Arc<dyn Backend>);

impl Device {
    /// The CPU with a fixed number of threads; results do not depend on that number.
    pub fn cpu(threads: usize) -> Result<Self, TensorError> {
        Ok(Self(Arc::new(Cpu::new(threads)?)))
    }

    /// A device from elsewhere, for example a GPU crate.
    pub fn from_backend(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }

    /// A tensor with unspecified contents, for an op to fill.
    pub fn empty(&self, rows: usize, cols: usize) -> Tensor {
        Tensor::new(rows, cols, self.clone(), self.0.allocate(rows * cols))
    }

    /// A tensor of zeros.
    pub fn zeros(&self, rows: usize, cols: usize) -> Tensor {
        let mut out = self.empty(rows, cols);
        self.0.fill(&mut out, 0.0);
        out
    }

    /// A tensor of zeros, in pages of a file under `paged` if one is given.
    pub fn zeros_in(
        &self,
        rows: usize,
        cols: usize,
        paged: Option<&Path>,
    ) -> Result<Tensor, TensorError> {
        let Some(dir) = paged else {
            return Ok(self.zeros(rows, cols));
        };
        let storage = self.0.allocate_paged(rows * cols, dir)?;
        let mut out = Tensor::new(rows, cols, self.clone(), storage);
        self.0.fill(&mut out, 0.0);
        Ok(out)
    }

    /// A tensor from host numbers in row-major order.
    pub fn tensor(&self, rows: usize, cols: usize, data: &[f32]) -> Tensor {
        assert_eq!(data.len(), rows * cols, "as many numbers as elements");
        Tensor::new(rows, cols, self.clone(), self.0.upload(data))
    }

    /// A frozen matrix, kept in its stored form.
    pub fn weight(&self, matrix: StoredMatrix) -> Weight {
        let (rows, cols, format, bytes) = (
            matrix.rows(),
            matrix.cols(),
            matrix.format(),
            matrix.size_bytes(),
        );
        Weight {
            rows,
            cols,
            format,
            bytes,
            storage: self.0.hold(matrix),
        }
    }

    /// Runs `work` inside the device's threads, so that each op in it starts at once.
    pub fn scope<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let (mut work, mut result) = (Some(work), None);
        self.0.run(&mut || result = work.take().map(|w| w()));
        result.expect("a back-end runs the work it is given")
    }
}

impl Deref for Device {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
