//! AdamW with moments in 8 bits, as bitsandbytes' `AdamW8bit` on a CPU does it: decay first, then the step, then the
//! new moments back into codes.
//!
//! The step itself uses the moments before they are rounded. Where PyTorch fuses a product with a sum this fuses too, so
//! that codes, scales and parameters are equal to the bit.

use rayon::prelude::*;

use super::adamw::AdamWStep;
use crate::cpu::simd;
use crate::quant::dynamic::{self, CodeBook};

/// Numbers that share a scale.
pub(crate) const BLOCK: usize = 256;

/// Words of a whole block: its scale, and four codes each.
pub(crate) const BLOCK_WORDS: usize = 1 + BLOCK / 4;

/// Tensors of fewer numbers stay in f32.
const SMALLEST: usize = 4096;

/// Blocks of a task.
const TASK_BLOCKS: usize = 16;

/// One pass over flat buffers that hold parameter tensors of these lengths, with a step for each run of whole tensors.
pub fn adamw8bit(
    lengths: &[usize],
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    runs: &[(usize, AdamWStep)],
) {
    let of_tensor = numbers_of_tensors(lengths, runs);
    let whole = Piece { p, g, m, v };
    pieces(lengths, whole)
        .into_par_iter()
        .for_each(|(tensor, is_coded, piece)| piece.step(is_coded, of_tensor[tensor]));
}

fn numbers_of_tensors(lengths: &[usize], runs: &[(usize, AdamWStep)]) -> Vec<Numbers> {
    let mut ends = Vec::new();
    for &(len, step) in runs {
        let begin = ends.last().map_or(0, |&(end, _)| end);
        ends.push((begin + len, Numbers::new(step)));
    }
    let mut end = 0;
    let of_tensor = |&len: &usize| {
        let begin = end;
        end += len;
        let run = ends.iter().find(|(run_end, _)| begin < *run_end);
        let &(run_end, numbers) = run.expect("runs are the buffer");
        assert!(end <= run_end, "a run is of whole tensors");
        numbers
    };
    lengths.iter().map(of_tensor).collect()
}

/// Numbers of one parameter tensor, and the words of their moments.
struct Piece<'a> {
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

/// Whole small tensors, and runs of blocks of the others, each with the number of its tensor.
fn pieces<'a>(lengths: &[usize], mut rest: Piece<'a>) -> Vec<(usize, bool, Piece<'a>)> {
    let mut pieces = Vec::new();
    for (index, &len) in lengths.iter().enumerate() {
        let (mut tensor, after) = rest.split(len, words_of(len));
        rest = after;
        if !is_coded(len) {
            pieces.push((index, false, tensor));
            continue;
        }
        while tensor.p.len() > TASK_BLOCKS * BLOCK {
            let (task, after) = tensor.split(TASK_BLOCKS * BLOCK, TASK_BLOCKS * BLOCK_WORDS);
            pieces.push((index, true, task));
            tensor = after;
        }
        pieces.push((index, true, tensor));
    }
    pieces
}

impl<'a> Piece<'a> {
    fn split(self, len: usize, words: usize) -> (Self, Self) {
        let (p, later_p) = self.p.split_at_mut(len);
        let (g, later_g) = self.g.split_at(len);
        let (m, later_m) = self.m.split_at_mut(words);
        let (v, later_v) = self.v.split_at_mut(words);
        let later = Self {
            p: later_p,
            g: later_g,
            m: later_m,
            v: later_v,
        };
        (Self { p, g, m, v }, later)
    }

    /// Compiled for AVX2 with FMA as well, where a fused product is one instruction and not a call.
    fn step(self, is_coded: bool, numbers: Numbers) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn wide(piece: Piece, is_coded: bool, numbers: Numbers) {
                piece.plain(is_coded, numbers);
            }
            if simd::has_avx2() {
                // SAFETY: the processor has AVX2 and FMA, just checked.
                return unsafe { wide(self, is_coded, numbers) };
            }
        }
        self.plain(is_coded, numbers);
    }

    #[inline(always)]
    fn plain(self, is_coded: bool, numbers: Numbers) {
        if !is_coded {
            return numbers.small(self);
        }
        let blocks = self.p.chunks_mut(BLOCK).zip(self.g.chunks(BLOCK));
        let moments = self
            .m
            .chunks_mut(BLOCK_WORDS)
            .zip(self.v.chunks_mut(BLOCK_WORDS));
        for ((p, g), (m, v)) in blocks.zip(moments) {
            numbers.block(p, g, m, v);
        }
    }
}

/// Whether a parameter tensor of `len` numbers has its moments in 8 bits.
pub(crate) fn is_coded(len: usize) -> bool {
    len >= SMALLEST
}

/// Words that a moment of a parameter tensor of `len` numbers takes.
pub(crate) fn words_of(len: usize) -> usize {
    if is_coded(len) {
        len.div_ceil(BLOCK) + len.div_ceil(4)
    } else {
        len
    }
}

/// A step's numbers, each rounded to f32 where PyTorch rounds it.
#[derive(Clone, Copy)]
struct Numbers {
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    decay: f32,
    step_size: f32,
    root_bias2: f32,
    eps: f32,
    /// For tensors in f32, where bitsandbytes moves the correction of the second moment out of the root.
    small_step_size: f32,
    small_eps: f32,
}

impl Numbers {
    fn new(step: AdamWStep) -> Self {
        let AdamWStep {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay,
            ..
        } = step;
        let bias1 = 1.0 - beta1.powf(step.step as f64);
        let root_bias2 = (1.0 - beta2.powf(step.step as f64)).sqrt();
        Self {
            gradient_scale: step.gradient_scale,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            decay: (1.0 - lr * weight_decay) as f32,
            step_size: (-lr / bias1) as f32,
            root_bias2: root_bias2 as f32,
            eps: eps as f32,
            small_step_size: (-lr * root_bias2 / bias1) as f32,
            small_eps: (eps * root_bias2) as f32,
        }
    }

    #[inline(always)]
    fn moments(&self, g: f32, m: f32, v: f32) -> (f32, f32) {
        (
            g.mul_add(self.rest1, m * self.beta1),
            (self.rest2 * g).mul_add(g, v * self.beta2),
        )
    }

    #[inline(always)]
    fn small(&self, piece: Piece) {
        let Piece { p, g, m, v } = piece;
        for i in 0..p.len() {
            (m[i], v[i]) = self.moments(g[i] * self.gradient_scale, m[i], v[i]);
            let update = m[i] / (v[i].sqrt() + self.small_eps);
            p[i] = update.mul_add(self.small_step_size, p[i] * self.decay);
        }
    }

    #[inline(always)]
    fn block(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        let (mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK]);
        decode(dynamic::signed(), m, &mut first[..p.len()]);
        decode(dynamic::unsigned(), v, &mut second[..p.len()]);
        let moments = first.iter_mut().zip(&mut second);
        for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(moments) {
            (*m, *v) = self.moments(g * self.gradient_scale, *m, *v);
            let denominator = v.sqrt() / self.root_bias2 + self.eps;
            *p = *p * self.decay + self.step_size * *m / denominator;
        }
        encode(dynamic::signed(), &first[..p.len()], m);
        encode(dynamic::unsigned(), &second[..p.len()], v);
    }
}

#[inline(always)]
fn decode(book: &CodeBook, words: &[f32], out: &mut [f32]) {
    let (scale, codes) = words.split_first().expect("a block begins with its scale");
    let codes: &[u8] = bytemuck::cast_slice(codes);
    for (value, code) in out.iter_mut().zip(codes) {
        *value = book.values()[usize::from(*code)] * scale;
    }
}

#[inline(always)]
fn encode(book: &CodeBook, values: &[f32], words: &mut [f32]) {
    let (scale, codes) = words
        .split_first_mut()
        .expect("a block begins with its scale");
    let codes: &mut [u8] = bytemuck::cast_slice_mut(codes);
    *scale = book.encode(values, &mut codes[..values.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portable_path_gives_the_same_bits() {
        for len in [100, 5000] {
            let ramp = |factor: usize| -> Vec<f32> {
                let number = |i: usize| ((i * factor) % 1009) as f32 / 700.0 - 0.7;
                (0..len).map(number).collect()
            };
            let run = |is_portable: bool| {
                let (mut p, g) = (ramp(7919), ramp(104_729));
                let [mut m, mut v] = [vec![0.0; words_of(len)], vec![0.0; words_of(len)]];
                for index in 1..=3 {
                    let numbers = Numbers::new(AdamWStep {
                        lr: 1e-2,
                        beta1: 0.9,
                        beta2: 0.999,
                        eps: 1e-8,
                        weight_decay: 0.1,
                        step: index,
                        gradient_scale: 0.3,
                    });
                    let (p, g, m, v) = (&mut p[..], &g[..], &mut m[..], &mut v[..]);
                    let piece = Piece { p, g, m, v };
                    match is_portable {
                        true => piece.plain(is_coded(len), numbers),
                        false => piece.step(is_coded(len), numbers),
                    }
                }
                [p, m, v].map(|x| x.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            assert!(run(false) == run(true), "{len} numbers");
        }
    }
}
