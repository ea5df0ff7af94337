//! One op at a time, at the model's own shapes, and the roofline among them.

use hone::model::arch::DecoderConfig;
use hone::tensor::{
    AdamWStep, AttentionGrads, AttentionSaved, Device, Heads, Index, Span, Spans, StoredMatrix,
    Tensor, Weight,
};

use crate::measure::{Figure, in_turns};

/// Tokens of a dense batch, four sequences of 512.
pub const TOKENS: usize = 2048;
const SEQUENCE: usize = 512;

/// Floating-point operations a second of the best f32 product at this model's shapes.
pub fn roofline(config: &DecoderConfig, device: &Device, repeats: usize) -> f64 {
    products(config, device, repeats.max(5))
        .iter()
        .map(|f| f.flops / f.min())
        .fold(0.0, f64::max)
}

/// Every op.
pub fn all(config: &DecoderConfig, device: &Device, repeats: usize) -> Vec<Figure> {
    let mut figures = products(config, device, repeats);
    figures.extend(attention(config, device, repeats));
    figures.extend(by_element(config, device, repeats));
    figures.push(head_and_loss(config, device, repeats));
    figures
}

fn noise(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| (i.wrapping_mul(2_654_435_761) % 1000) as f32 * 1e-3 - 0.5)
        .collect()
}

fn tensor(device: &Device, rows: usize, cols: usize) -> Tensor {
    device.tensor(rows, cols, &noise(rows * cols))
}

fn weight(device: &Device, rows: usize, cols: usize) -> Weight {
    device.weight(
        StoredMatrix::from_f32(&noise(rows * cols), rows, cols)
            .expect("numbers as many as the shape says"),
    )
}

fn products(config: &DecoderConfig, device: &Device, repeats: usize) -> Vec<Figure> {
    let (queries, keys) = (
        config.num_heads * config.head_dim,
        config.num_kv_heads * config.head_dim,
    );
    let shapes = [
        ("q", queries, config.d_model),
        ("kv", keys, config.d_model),
        ("gate", config.d_ff, config.d_model),
        ("down", config.d_model, config.d_ff),
    ];
    shapes
        .iter()
        .flat_map(|&(name, out, width)| product(name, out, width, device, repeats))
        .collect()
}

/// The three orientations: forward, gradient of the input, gradient of a weight of rank 16.
fn product(name: &str, out: usize, width: usize, device: &Device, repeats: usize) -> Vec<Figure> {
    const RANK: usize = 16;
    let w = weight(device, out, width);
    let (x, dy, low) = (
        tensor(device, TOKENS, width),
        tensor(device, TOKENS, out),
        tensor(device, TOKENS, RANK),
    );
    let (mut y, mut dx, mut db) = (
        device.empty(TOKENS, out),
        device.empty(TOKENS, width),
        device.empty(out, RANK),
    );
    let times = in_turns(
        repeats,
        &mut [
            &mut || device.linear(x.view(), &w, &mut y, false),
            &mut || device.linear_backward(dy.view(), &w, &mut dx, false),
            &mut || device.matmul(dy.view().t(), low.view(), 1.0, db.view_mut(), false),
        ],
    );
    let dense = 2.0 * (TOKENS * out * width) as f64;
    let narrow = 2.0 * (TOKENS * out * RANK) as f64;
    let names = [("x·Wᵀ", dense), ("dy·W", dense), ("dyᵀ·low", narrow)];
    let figure = |((what, flops), seconds): ((&str, f64), Vec<f64>)| {
        Figure::new(format!("{name} {width}→{out} {what}"), seconds, flops)
    };
    names.into_iter().zip(times).map(figure).collect()
}

/// Scores and sums over the visible half of each square, twice forward and five times backward.
pub fn attention_flops(heads: &Heads, lengths: &[usize]) -> (f64, f64) {
    let pairs: f64 = lengths.iter().map(|&n| (n * (n + 1)) as f64 / 2.0).sum();
    let product = 2.0 * pairs * (heads.num_heads * heads.head_dim) as f64;
    (2.0 * product, 5.0 * product)
}

/// The shape of attention, as the decoder uses it.
pub fn heads(config: &DecoderConfig) -> Heads {
    Heads {
        num_heads: config.num_heads,
        num_kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        scale: (config.head_dim as f32).sqrt().recip(),
        window: None,
        cap: None,
    }
}

fn attention(config: &DecoderConfig, device: &Device, repeats: usize) -> Vec<Figure> {
    let heads = heads(config);
    let (queries, keys) = (
        heads.num_heads * heads.head_dim,
        heads.num_kv_heads * heads.head_dim,
    );
    let spans: Spans = (0..TOKENS / SEQUENCE)
        .map(|i| Span {
            query_start: i * SEQUENCE,
            query_len: SEQUENCE,
            key_start: i * SEQUENCE,
            key_len: SEQUENCE,
        })
        .collect();
    let (q, k, v) = (
        tensor(device, TOKENS, queries),
        tensor(device, TOKENS, keys),
        tensor(device, TOKENS, keys),
    );
    let dout = tensor(device, TOKENS, queries);
    let (mut out, mut lse) = (
        device.empty(TOKENS, queries),
        device.empty(TOKENS, heads.num_heads),
    );
    let forward = in_turns(
        repeats,
        &mut [&mut || device.attention(&q, &k, &v, &spans, heads, &mut out, Some(&mut lse))],
    );
    let (mut dq, mut dk, mut dv) = (
        device.empty(TOKENS, queries),
        device.empty(TOKENS, keys),
        device.empty(TOKENS, keys),
    );
    let backward = in_turns(
        repeats,
        &mut [&mut || {
            let saved = AttentionSaved {
                q: &q,
                k: &k,
                v: &v,
                out: &out,
                lse: &lse,
            };
            let grads = AttentionGrads {
                dq: &mut dq,
                dk: &mut dk,
                dv: &mut dv,
            };
            device.attention_backward(saved, &dout, &spans, heads, grads);
        }],
    );
    let flops = attention_flops(&heads, &[SEQUENCE; TOKENS / SEQUENCE]);
    [
        ("attention 4×512", forward, flops.0),
        ("attention backward", backward, flops.1),
    ]
    .into_iter()
    .map(|(name, mut times, flops)| Figure::new(name, times.remove(0), flops))
    .collect()
}

fn by_element(config: &DecoderConfig, device: &Device, repeats: usize) -> Vec<Figure> {
    let (x, dy) = (
        tensor(device, TOKENS, config.d_model),
        tensor(device, TOKENS, config.d_model),
    );
    let norm = tensor(device, 1, config.d_model);
    let (mut y, mut dx) = (
        device.empty(TOKENS, config.d_model),
        device.empty(TOKENS, config.d_model),
    );
    let (gate, up) = (
        tensor(device, TOKENS, config.d_ff),
        tensor(device, TOKENS, config.d_ff),
    );
    let (mut active, mut dgate) = (
        device.empty(TOKENS, config.d_ff),
        device.empty(TOKENS, config.d_ff),
    );
    let mut dup = device.empty(TOKENS, config.d_ff);
    let len = 5_000_000;
    let (mut p, g) = (tensor(device, 1, len), tensor(device, 1, len));
    let (mut m, mut v) = (device.zeros(1, len), device.zeros(1, len));
    let step = AdamWStep {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        step: 1,
        gradient_scale: 1.0,
    };
    let times = in_turns(
        repeats,
        &mut [
            &mut || device.rms_norm(&x, &norm, 1e-5, &mut y),
            &mut || device.rms_norm_backward(&dy, &x, &norm, 1e-5, &mut dx, true),
            &mut || device.gated_silu(&gate, &up, &mut active),
            &mut || device.gated_silu_backward(&gate, &gate, &up, &mut dgate, &mut dup),
            &mut || device.adamw(&mut p, &g, &mut m, &mut v, step),
        ],
    );
    [
        "norm",
        "norm backward",
        "gated activation",
        "gated activation backward",
        "adamw, 5 M numbers",
    ]
    .into_iter()
    .zip(times)
    .map(|(name, seconds)| Figure::new(name, seconds, 0.0))
    .collect()
}

fn head_and_loss(config: &DecoderConfig, device: &Device, repeats: usize) -> Figure {
    const ROWS: usize = 256;
    let head = weight(device, config.vocab_size, config.d_model);
    let x = tensor(device, ROWS, config.d_model);
    let targets: Index = (0..ROWS).collect();
    let (mut logits, mut dx) = (
        device.empty(ROWS, config.vocab_size),
        device.empty(ROWS, config.d_model),
    );
    let mut times = in_turns(
        repeats,
        &mut [&mut || {
            device.linear(x.view(), &head, &mut logits, false);
            device
                .cross_entropy(&mut logits, targets.all(), true)
                .expect("the CPU does not fail");
            device.linear_backward(logits.view(), &head, &mut dx, false);
        }],
    );
    let flops = 4.0 * (ROWS * config.vocab_size * config.d_model) as f64;
    Figure::new("head and loss, 256 rows", times.remove(0), flops)
}
