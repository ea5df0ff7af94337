//! Superblocks of 256 out: Q4_K, Q5_K and Q6_K by the searches of llama.cpp's reference quantiser.
//!
//! Rounding to the nearest level is not best when scale and minimum are free: a few scales around the obvious one are
//! tried, for each the scale and minimum that fit its codes by weighted least squares are computed, and the try with the
//! least error wins. The scales of the parts are then rounded themselves, and codes chosen once more for what the
//! reader will see. Sums have the reference's order, so that codes equal those of a build of it that does not fuse
//! multiplications with additions.

use half::f16;

use super::dense::half_bytes;

/// Tries of the search: `top + first + step / 10` levels between minimum and maximum, for each step.
struct Search {
    top: u8,
    first: f32,
    steps: u8,
}

/// Below this magnitude a part is zero.
const NOTHING: f32 = 1e-15;

/// Beyond this no scale fits, and squares would overflow before that shows.
const TOO_WIDE: f32 = 1e9;

pub(super) fn q4_k(block: &[f32; 256], out: &mut [u8; 144]) -> Option<()> {
    let search = Search {
        top: 15,
        first: -1.0,
        steps: 20,
    };
    let codes = scaled_parts(block, &search, &mut out[..16])?;
    put_low_nibbles(&codes, &mut out[16..]);
    Some(())
}

pub(super) fn q5_k(block: &[f32; 256], out: &mut [u8; 176]) -> Option<()> {
    let search = Search {
        top: 31,
        first: -0.5,
        steps: 15,
    };
    let codes = scaled_parts(block, &search, &mut out[..16])?;
    for (i, byte) in out[16..48].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |bits, part| bits | (codes[part * 32 + i] >> 4) << part);
    }
    put_low_nibbles(&codes, &mut out[48..]);
    Some(())
}

pub(super) fn q6_k(block: &[f32; 256], out: &mut [u8; 210]) -> Option<()> {
    if block.iter().any(|value| value.abs() > TOO_WIDE) {
        return None;
    }
    let mut codes = [0; 256];
    let mut scales = [0.0; 16];
    let parts = block.as_chunks::<16>().0.iter();
    for ((part, codes), scale) in parts.zip(codes.as_chunks_mut::<16>().0).zip(&mut scales) {
        *scale = fit_around_zero(part, codes);
    }
    let widest = scales.iter().fold(0.0_f32, |widest, scale| {
        if scale.abs() > widest.abs() {
            *scale
        } else {
            widest
        }
    });
    if widest.abs() < NOTHING {
        out.fill(0);
        return Some(());
    }
    let inverse = -128.0 / widest;
    let whole = half_bytes(1.0 / inverse)?;
    out[208..].copy_from_slice(&whole);
    let whole = f16::from_le_bytes(whole).to_f32();
    for (part, scale) in scales.iter().enumerate() {
        let rounded = nearest(inverse * scale).min(127) as i8;
        out[192 + part] = rounded as u8;
        let scale = whole * f32::from(rounded);
        if scale == 0.0 {
            continue;
        }
        for at in part * 16..part * 16 + 16 {
            codes[at] = (nearest(block[at] / scale).clamp(-32, 31) + 32) as u8;
        }
    }
    for (side, codes) in codes.as_chunks::<128>().0.iter().enumerate() {
        for i in 0..32 {
            let [a, b, c, d] = [codes[i], codes[32 + i], codes[64 + i], codes[96 + i]];
            out[side * 64 + i] = a & 15 | c << 4;
            out[side * 64 + 32 + i] = b & 15 | d << 4;
            out[128 + side * 32 + i] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
    Some(())
}

/// Codes of eight parts of 32. `head` gets scale and minimum of the whole and, in 6 bits each, of the parts.
fn scaled_parts(block: &[f32; 256], search: &Search, head: &mut [u8]) -> Option<[u8; 256]> {
    if block.iter().any(|value| value.abs() > TOO_WIDE) {
        return None;
    }
    let mut codes = [0; 256];
    let (mut scales, mut mins) = ([0.0; 8], [0.0; 8]);
    for (at, part) in block.as_chunks::<32>().0.iter().enumerate() {
        let fit = search.fit(part);
        (scales[at], mins[at]) = (fit.scale, -fit.min);
        codes[at * 32..][..32].copy_from_slice(&fit.codes);
    }
    let (scale, scales) = six_bits(&scales)?;
    let (min, mins) = six_bits(&mins)?;
    head[..2].copy_from_slice(&scale.to_le_bytes());
    head[2..4].copy_from_slice(&min.to_le_bytes());
    put_six_bits(&scales, &mins, &mut head[4..]);
    for (at, part) in block.as_chunks::<32>().0.iter().enumerate() {
        let scale = scale.to_f32() * f32::from(scales[at]);
        let min = min.to_f32() * f32::from(mins[at]);
        if scale == 0.0 {
            continue;
        }
        for (code, value) in codes[at * 32..].iter_mut().zip(part) {
            *code = nearest((value + min) / scale).clamp(0, search.top.into()) as u8;
        }
    }
    Some(codes)
}

/// Numbers that are not negative as a common f16 times 0 to 63.
fn six_bits(numbers: &[f32; 8]) -> Option<(f16, [u8; 8])> {
    let largest = numbers.iter().fold(0.0_f32, |max, number| max.max(*number));
    let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    let common = f16::from_le_bytes(half_bytes(largest / 63.0)?);
    Some((
        common,
        numbers.map(|number| nearest(inverse * number).clamp(0, 63) as u8),
    ))
}

/// The first four in the low six bits of a byte each; the low halves of the others in four bytes of their own, their
/// upper two bits above those of the first four.
fn put_six_bits(scales: &[u8; 8], mins: &[u8; 8], out: &mut [u8]) {
    for i in 0..4 {
        out[i] = scales[i] | scales[4 + i] >> 4 << 6;
        out[4 + i] = mins[i] | mins[4 + i] >> 4 << 6;
        out[8 + i] = scales[4 + i] & 15 | (mins[4 + i] & 15) << 4;
    }
}

/// Of each 64 values the first 32 are low halves of bytes, the others high halves.
fn put_low_nibbles(codes: &[u8; 256], out: &mut [u8]) {
    for (pair, out) in codes.as_chunks::<64>().0.iter().zip(out.chunks_mut(32)) {
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = pair[i] & 15 | pair[32 + i] << 4;
        }
    }
}

/// `scale · code + min` for a part; the minimum is not positive.
struct Fit {
    scale: f32,
    min: f32,
    codes: [u8; 32],
}

impl Search {
    fn fit(&self, part: &[f32; 32]) -> Fit {
        let squares = part.iter().fold(0.0, |sum, value| sum + value * value);
        let spread = (squares / 32.0).sqrt();
        let weights = part.map(|value| spread + value.abs());
        let min = part.iter().fold(part[0], |min, value| min.min(*value));
        let max = part.iter().fold(part[0], |max, value| max.max(*value));
        let min = min.min(0.0);
        if max == min {
            let (scale, codes) = (0.0, [0; 32]);
            return Fit { scale, min, codes };
        }
        let inverse = f32::from(self.top) / (max - min);
        let mut best = Fit {
            scale: 1.0 / inverse,
            min,
            codes: self.codes(part, min, inverse),
        };
        if !inverse.is_finite() {
            // So narrow that no scale in f16 tells its values apart.
            return best;
        }
        let mut least = best.error(part, &weights);
        for step in 0..=self.steps {
            let levels = self.first + 0.1 * f32::from(step) + f32::from(self.top);
            // From the best minimum so far, which is how later tries come closer.
            let codes = self.codes(part, best.min, levels / (max - best.min));
            let Some(fit) = least_squares(part, &weights, codes) else {
                continue;
            };
            let error = fit.error(part, &weights);
            if error < least {
                (best, least) = (fit, error);
            }
        }
        best
    }

    fn codes(&self, part: &[f32; 32], min: f32, inverse: f32) -> [u8; 32] {
        part.map(|value| nearest(inverse * (value - min)).clamp(0, self.top.into()) as u8)
    }
}

impl Fit {
    fn error(&self, part: &[f32; 32], weights: &[f32; 32]) -> f32 {
        let values = part.iter().zip(weights).zip(&self.codes);
        values.fold(0.0, |sum, ((value, weight), code)| {
            let off = self.scale * f32::from(*code) + self.min - value;
            sum + weight * (off * off)
        })
    }
}

/// The scale and the minimum, at most zero, that come closest with these codes; none when all codes are one.
fn least_squares(part: &[f32; 32], weights: &[f32; 32], codes: [u8; 32]) -> Option<Fit> {
    let (mut w, mut x) = (weights[0], weights[0] * part[0]);
    let (mut l, mut ll, mut xl) = (0.0, 0.0, 0.0);
    for (value, weight) in part.iter().zip(weights).skip(1) {
        w += weight;
        x += weight * value;
    }
    for ((value, weight), code) in part.iter().zip(weights).zip(&codes) {
        let code = f32::from(*code);
        l += weight * code;
        ll += weight * code * code;
        xl += weight * code * value;
    }
    let determinant = w * ll - l * l;
    if determinant <= 0.0 || determinant.is_nan() {
        return None;
    }
    let scale = (w * xl - x * l) / determinant;
    let min = (ll * x - l * xl) / determinant;
    Some(match min > 0.0 {
        true => Fit {
            scale: xl / ll,
            min: 0.0,
            codes,
        },
        false => Fit { scale, min, codes },
    })
}

/// Codes 0 to 63 of 16 values around 32, and their scale, by least squares weighted with the squares of the values.
fn fit_around_zero(part: &[f32; 16], codes: &mut [u8; 16]) -> f32 {
    let widest = part.iter().fold(0.0_f32, |widest, value| {
        if value.abs() > widest.abs() {
            *value
        } else {
            widest
        }
    });
    if widest.abs() < NOTHING {
        codes.fill(0);
        return 0.0;
    }
    let code = |inverse: f32, value: f32| nearest(inverse * value).clamp(-32, 31);
    let sums = |inverse: f32| {
        part.iter().fold((0.0, 0.0), |(xl, ll), value| {
            let (weight, l) = (value * value, code(inverse, *value) as f32);
            (xl + weight * value * l, ll + weight * l * l)
        })
    };
    let mut chosen = -32.0 / widest;
    let (xl, ll) = sums(chosen);
    let mut scale = if ll == 0.0 { 0.0 } else { xl / ll };
    let mut best = scale * xl;
    for step in (-9..=9).filter(|step| *step != 0) {
        let inverse = -(32.0 + 0.1 * step as f32) / widest;
        let (xl, ll) = sums(inverse);
        if ll > 0.0 && xl * xl > best * ll {
            chosen = inverse;
            scale = xl / ll;
            best = scale * xl;
        }
    }
    for (place, value) in codes.iter_mut().zip(part) {
        *place = (code(chosen, *value) + 32) as u8;
    }
    scale
}

/// The nearest integer, of two equally near the even one.
fn nearest(value: f32) -> i32 {
    value.round_ties_even() as i32
}
