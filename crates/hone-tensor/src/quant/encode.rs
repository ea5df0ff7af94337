//! From f32 to a stored form, a row at a time: the slow direction, taken once when a model is written.
//!
//! F16 and BF16 round to the nearest, ties to the even one. The simple blocks equal `gguf.quants.quantize` of the
//! Python package, which equals llama.cpp's reference, bit for bit. What a form cannot hold is refused by its place:
//! numbers that are none, and those beyond the range of an f16 or of a block's scale.

use rayon::prelude::*;

use super::dense::{brain_bytes, half_bytes};
use super::{Format, encode_super, nf4};
use crate::stored::{Bytes, StoredError, StoredMatrix};

/// A row-major matrix in the form asked for.
pub(crate) fn encode(
    format: Format,
    values: &[f32],
    rows: usize,
    cols: usize,
) -> Result<StoredMatrix, StoredError> {
    nf4::check(values, rows, cols)?;
    if format == Format::Nf4 {
        return nf4::quantize(values, rows, cols, true);
    }
    let encode_row = encoder(format).ok_or(StoredError::NoEncoder { format })?;
    if !cols.is_multiple_of(format.block_len()) {
        return Err(StoredError::RaggedRow { format, cols });
    }
    let mut bytes = vec![0; rows * format.row_bytes(cols)];
    let failed = bytes
        .par_chunks_mut(format.row_bytes(cols).max(1))
        .zip(values.par_chunks(cols.max(1)))
        .enumerate()
        // The first in the matrix, whichever thread comes to one first.
        .find_map_first(|(row, (out, values))| Some((row, encode_row(values, out)?)));
    match failed {
        Some((row, col)) => Err(StoredError::OutOfRange {
            format,
            row,
            col,
            value: values[row * cols + col],
        }),
        None => StoredMatrix::new(rows, cols, format, Bytes::from_vec(bytes)),
    }
}

/// Fills a row's bytes, or says at which column it cannot.
type RowEncoder = fn(&[f32], &mut [u8]) -> Option<usize>;

fn encoder(format: Format) -> Option<RowEncoder> {
    Some(match format {
        Format::F32 => |values, out| each(values, out, |value| Some(value.to_le_bytes())),
        Format::F16 => |values, out| each(values, out, half_bytes),
        Format::Bf16 => |values, out| each(values, out, brain_bytes),
        Format::Q4_0 => |values, out| blocks(values, out, q4_0),
        Format::Q4_1 => |values, out| blocks(values, out, q4_1),
        Format::Q5_0 => |values, out| blocks(values, out, q5_0),
        Format::Q5_1 => |values, out| blocks(values, out, q5_1),
        Format::Q8_0 => |values, out| blocks(values, out, q8_0),
        Format::Q4K => |values, out| blocks(values, out, encode_super::q4_k),
        Format::Q5K => |values, out| blocks(values, out, encode_super::q5_k),
        Format::Q6K => |values, out| blocks(values, out, encode_super::q6_k),
        _ => return None,
    })
}

fn each<const BYTES: usize>(
    values: &[f32],
    out: &mut [u8],
    bytes: impl Fn(f32) -> Option<[u8; BYTES]>,
) -> Option<usize> {
    let places = out.as_chunks_mut::<BYTES>().0.iter_mut();
    places.zip(values).position(|(place, value)| {
        let bytes = bytes(*value);
        *place = bytes.unwrap_or([0; BYTES]);
        bytes.is_none()
    })
}

/// Block by block. A block that does not fit its scales is told by the place of its largest value.
fn blocks<const LEN: usize, const BYTES: usize>(
    values: &[f32],
    out: &mut [u8],
    encode: impl Fn(&[f32; LEN], &mut [u8; BYTES]) -> Option<()>,
) -> Option<usize> {
    let places = out.as_chunks_mut::<BYTES>().0.iter_mut();
    let mut values = values.as_chunks::<LEN>().0.iter().zip(places).enumerate();
    values.find_map(|(at, (block, place))| match encode(block, place) {
        Some(()) => None,
        None => Some(at * LEN + widest(block).0),
    })
}

/// Place and value of the first of the largest magnitudes.
fn widest(block: &[f32]) -> (usize, f32) {
    let mut widest = (0, block[0]);
    for (at, value) in block.iter().enumerate() {
        if value.abs() > widest.1.abs() {
            widest = (at, *value);
        }
    }
    widest
}

/// `1 / scale`, and 0 for scales that are none: such a block decodes to zeros whatever its codes.
fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

fn q4_0(block: &[f32; 32], out: &mut [u8; 18]) -> Option<()> {
    let scale = widest(block).1 / -8.0;
    out[..2].copy_from_slice(&half_bytes(scale)?);
    let inverse = inverse(scale);
    put_nibbles(
        &block.map(|value| (value * inverse + 8.5).min(15.0) as u8),
        &mut out[2..],
    );
    Some(())
}

fn q5_0(block: &[f32; 32], out: &mut [u8; 22]) -> Option<()> {
    let scale = widest(block).1 / -16.0;
    out[..2].copy_from_slice(&half_bytes(scale)?);
    let inverse = inverse(scale);
    let codes = block.map(|value| (value * inverse + 16.5).min(31.0) as u8);
    out[2..6].copy_from_slice(&fifth_bits(&codes));
    put_nibbles(&codes, &mut out[6..]);
    Some(())
}

fn q4_1(block: &[f32; 32], out: &mut [u8; 20]) -> Option<()> {
    let codes = above_minimum(block, 15, &mut out[..4])?;
    put_nibbles(&codes, &mut out[4..]);
    Some(())
}

fn q5_1(block: &[f32; 32], out: &mut [u8; 24]) -> Option<()> {
    let codes = above_minimum(block, 31, &mut out[..4])?;
    out[4..8].copy_from_slice(&fifth_bits(&codes));
    put_nibbles(&codes, &mut out[8..]);
    Some(())
}

fn q8_0(block: &[f32; 32], out: &mut [u8; 34]) -> Option<()> {
    let scale = widest(block).1.abs() / 127.0;
    out[..2].copy_from_slice(&half_bytes(scale)?);
    let inverse = inverse(scale);
    for (code, value) in out[2..].iter_mut().zip(block) {
        // Halves go away from zero.
        *code = (value * inverse).round() as i8 as u8;
    }
    Some(())
}

/// Codes from the smallest value up to the largest; scale and minimum go into `head`.
fn above_minimum(block: &[f32; 32], top: u8, head: &mut [u8]) -> Option<[u8; 32]> {
    let (min, max) = block
        .iter()
        .fold((f32::MAX, f32::MIN), |(min, max), value| {
            (min.min(*value), max.max(*value))
        });
    let scale = (max - min) / f32::from(top);
    head[..2].copy_from_slice(&half_bytes(scale)?);
    head[2..].copy_from_slice(&half_bytes(min)?);
    let inverse = inverse(scale);
    Some(block.map(|value| ((value - min) * inverse + 0.5).min(f32::from(top)) as u8))
}

/// Low four bits: value `i` in the low half of byte `i`, value `16 + i` in its high half.
fn put_nibbles(codes: &[u8; 32], out: &mut [u8]) {
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = codes[i] & 15 | codes[16 + i] << 4;
    }
}

fn fifth_bits(codes: &[u8; 32]) -> [u8; 4] {
    let bits = codes.iter().enumerate();
    bits.fold(0_u32, |bits, (i, code)| bits | u32::from(code >> 4) << i)
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Roughly normal numbers, from an integer generator that any language repeats.
    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as i32 - (1 << 23)
        };
        let mut value = || (next() + next() + next() + next()) as f32 / (1 << 24) as f32;
        (0..count).map(|_| value()).collect()
    }

    fn rms_error(format: Format, values: &[f32]) -> f64 {
        let matrix = StoredMatrix::encode(format, values, values.len() / 256, 256).unwrap();
        let squares = matrix.to_f32();
        let squares = squares.iter().zip(values);
        let sum: f64 = squares.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (sum / values.len() as f64).sqrt()
    }

    #[test]
    fn more_bits_come_closer() {
        let values = noise(64 * 256, 7);
        let spread = (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()
            / values.len() as f64)
            .sqrt();
        // Of the values' spread: Q4_0 8.24 %, Q4_1 7.59 %, Q4_K 6.88 %, Q5_0 4.08 %, Q5_1 3.69 %, Q5_K 3.50 %,
        // Q6_K 1.71 %, Q8_0 0.51 %.
        let falling = [
            Format::Q4_0,
            Format::Q4_1,
            Format::Q4K,
            Format::Q5_0,
            Format::Q5_1,
            Format::Q5K,
            Format::Q6K,
            Format::Q8_0,
            Format::Bf16,
            Format::F16,
            Format::F32,
        ];
        let errors = falling.map(|format| rms_error(format, &values) / spread);
        assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
        assert_eq!(errors[10], 0.0);
        assert!((errors[2] - 0.068_792).abs() < 1e-5, "Q4_K: {}", errors[2]);
    }

    #[test]
    fn codes_are_those_of_llama_cpp_bit_for_bit() {
        // FNV-1a over what the `quantize_row_…_ref` of ggml d99724f2 write, compiled by gcc with -ffp-contract=off. A
        // build that fuses, as -march=native does, chooses otherwise in 1 % of Q4_K's blocks, and is as far off.
        let theirs = [
            (Format::Q4_0, 0xe52b_1d04_c318_2b0f),
            (Format::Q4_1, 0xd7f5_5ded_0c89_9a7c),
            (Format::Q5_0, 0xb699_812a_d542_13d5),
            (Format::Q5_1, 0x0fe5_789f_84c7_f78c),
            (Format::Q8_0, 0x3222_aa95_46b6_51a3),
            (Format::Q4K, 0x492d_820d_d061_a634),
            (Format::Q5K, 0x5843_2a4e_d136_3add),
            (Format::Q6K, 0xfde0_14c1_ff64_74e3),
        ];
        let values = noise(64 * 256, 7);
        for (format, hash) in theirs {
            let matrix = StoredMatrix::encode(format, &values, 64, 256).unwrap();
            let bytes = matrix.bytes().iter();
            let ours = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            assert_eq!(ours, hash, "{}", format.name());
        }
    }

    #[test]
    fn what_a_form_cannot_hold_is_refused_by_place() {
        let refusal = |format, value: f32| {
            let mut values = vec![0.5; 2 * 256];
            values[256 + 37] = value;
            StoredMatrix::encode(format, &values, 2, 256).map(|_| ())
        };
        for format in [Format::F32, Format::Bf16, Format::Q8_0, Format::Q4K] {
            let error = refusal(format, f32::NAN);
            assert!(matches!(
                error,
                Err(StoredError::NotFinite {
                    row: 1,
                    col: 37,
                    ..
                })
            ));
        }
        let cases = [
            (Format::F16, 65_520.0),
            (Format::Bf16, f32::MAX),
            (Format::Q4_0, -1e6),
            (Format::Q4_1, -65_520.0),
            (Format::Q5_0, 2e6),
            (Format::Q5_1, f32::MAX),
            (Format::Q8_0, 1e7),
            (Format::Q4K, 1e8),
            (Format::Q4K, -f32::MAX),
            (Format::Q5K, -1e7),
            (Format::Q6K, 1e9),
            (Format::Q6K, f32::MAX),
        ];
        for (format, value) in cases {
            let expected = StoredError::OutOfRange {
                format,
                row: 1,
                col: 37,
                value,
            };
            assert_eq!(refusal(format, value), Err(expected));
        }
        for (format, value) in [
            (Format::F32, f32::MAX),
            (Format::F16, 65_504.0),
            (Format::Q8_0, 8e6),
        ] {
            assert_eq!(refusal(format, value), Ok(()));
        }
    }

    #[test]
    fn forms_without_an_encoder_and_rows_that_do_not_divide_are_refused() {
        assert_eq!(
            StoredMatrix::encode(Format::Q2K, &[0.0; 256], 1, 256)
                .unwrap_err()
                .to_string(),
            "Hone reads Q2_K but does not write it"
        );
        assert!(matches!(
            StoredMatrix::encode(Format::Q4K, &[0.0; 128], 1, 128),
            Err(StoredError::RaggedRow { cols: 128, .. })
        ));
        assert!(matches!(
            StoredMatrix::encode(Format::F16, &[0.0; 5], 2, 3),
            Err(StoredError::WrongLength { .. })
        ));
    }

    #[test]
    fn blocks_of_zeros_and_of_tiny_numbers_decode_to_zeros() {
        for format in [
            Format::Q4_0,
            Format::Q4_1,
            Format::Q5_0,
            Format::Q5_1,
            Format::Q8_0,
            Format::Q4K,
            Format::Q5K,
            Format::Q6K,
        ] {
            for tiny in [0.0, -0.0, 1e-45, -1e-39, 1e-20] {
                let mut values = [0.0; 256];
                values[5] = tiny;
                let matrix = StoredMatrix::encode(format, &values, 1, 256).unwrap();
                assert!(
                    matrix.to_f32().iter().all(|value| *value == 0.0),
                    "{} of {tiny}",
                    format.name()
                );
            }
        }
    }

    #[test]
    fn the_number_of_threads_makes_no_difference() {
        let values = noise(33 * 512, 3);
        let encode = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let matrix = pool.install(|| StoredMatrix::encode(Format::Q4K, &values, 33, 512));
            matrix.unwrap().bytes().to_vec()
        };
        assert!(encode(1) == encode(3));
    }
}
