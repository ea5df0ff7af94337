//! Dynamic 8-bit codes (Dettmers 2016): seven decades below one, each with twice the steps of the one below it.
//!
//! A block keeps its largest magnitude and a code for each value. Small values get a relative precision that equal
//! steps could not give, which is what the moments of an optimiser and the scales of NF4 need. Codes equal those that
//! bitsandbytes chooses on a CPU, bit for bit.

use std::sync::LazyLock;

/// The values of the codes, and the way from a value to its code.
#[derive(Debug)]
pub(crate) struct CodeBook {
    values: [f32; 256],
    nearest: Vec<u8>,
}

/// For values of either sign.
pub(crate) fn signed() -> &'static CodeBook {
    static BOOK: LazyLock<CodeBook> = LazyLock::new(|| CodeBook::new(true));
    &BOOK
}

/// For values that are never negative: twice the steps.
pub(crate) fn unsigned() -> &'static CodeBook {
    static BOOK: LazyLock<CodeBook> = LazyLock::new(|| CodeBook::new(false));
    &BOOK
}

/// Steps between -1 and 1 that values are rounded to before their code is looked up. bitsandbytes does so on a CPU,
/// which makes about one code in 600 not the nearest.
const STEPS: f32 = 65_535.0;

impl CodeBook {
    fn new(is_signed: bool) -> Self {
        let values = values(is_signed);
        let middles: Vec<f32> = values
            .windows(2)
            .map(|pair| 0.5 * (pair[0] + pair[1]))
            .collect();
        let code = |step: u16| {
            let value = f32::from(step) * 2.0 / STEPS - 1.0;
            middles.partition_point(|middle| *middle < value) as u8
        };
        Self {
            values,
            nearest: (0..=u16::MAX).map(code).collect(),
        }
    }

    /// The 256 values, rising.
    pub fn values(&self) -> &[f32; 256] {
        &self.values
    }

    /// Codes of a block and the scale they go with. A block of zeros gets code 0, whose value times a scale of zero
    /// is zero.
    #[inline(always)]
    pub fn encode(&self, block: &[f32], codes: &mut [u8]) -> f32 {
        let scale = largest(block);
        if scale == 0.0 {
            codes.fill(0);
            return scale;
        }
        let nearest: &[u8; 1 << 16] = self.nearest[..].try_into().expect("a code for each step");
        let inverse = 1.0 / scale;
        for (code, value) in codes.iter_mut().zip(block) {
            let normal = (value * inverse).clamp(-1.0, 1.0);
            let step = ((normal + 1.0) * 0.5).mul_add(STEPS, 0.5) as u16;
            *code = nearest[usize::from(step)];
        }
        scale
    }
}

/// The largest magnitude of finite numbers, compared as integers: those the compiler may reorder into lanes.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    f32::from_bits(
        values
            .iter()
            .map(|value| value.abs().to_bits())
            .max()
            .unwrap_or(0),
    )
}

/// Decade by decade, the middles of equal steps between 0.1 and 1, and their opposites; then zero and one.
fn values(is_signed: bool) -> [f32; 256] {
    const DECADES: [f32; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
    let mut values = vec![0.0, 1.0];
    for (power, decade) in DECADES.iter().enumerate() {
        let bounds = tenth_to_one(if is_signed { 1 << power } else { 2 << power });
        let middles = bounds
            .windows(2)
            .map(|pair| decade * ((pair[0] + pair[1]) / 2.0));
        for middle in middles {
            values.push(middle);
            values.extend(is_signed.then_some(-middle));
        }
    }
    values.sort_by(f32::total_cmp);
    values
        .try_into()
        .expect("2 × (1 + 2 + … + 64) + 2 values are 256, and so are 2 + 4 + … + 128 + 2")
}

/// `torch.linspace(0.1, 1, steps + 1)`: fused, and counted from the nearer end.
fn tenth_to_one(steps: usize) -> Vec<f32> {
    let step = (1.0 - 0.1_f32) / steps as f32;
    let bound = |i: usize| {
        if i < steps.div_ceil(2) {
            step.mul_add(i as f32, 0.1)
        } else {
            (-step).mul_add((steps - i) as f32, 1.0)
        }
    };
    (0..=steps).map(bound).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_more_than_a_few_steps_have_their_own_code() {
        for book in [signed(), unsigned()] {
            let mut codes = [0; 256];
            assert_eq!(book.encode(book.values(), &mut codes), 1.0);
            for (code, (own, value)) in codes.iter().zip((0..=255).zip(book.values())) {
                assert!(
                    *code == own || value.abs() < 1e-4,
                    "{value} got code {code}"
                );
            }
        }
    }

    #[test]
    fn the_values_are_those_of_bitsandbytes() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/golden/adamw8bit.safetensors"
        );
        let bytes = std::fs::read(path).unwrap();
        let golden = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, book) in [("signed", signed()), ("unsigned", unsigned())] {
            let theirs = golden.tensor(name).unwrap();
            let ours = book.values().map(f32::to_le_bytes);
            assert!(ours.as_flattened() == theirs.data(), "{name}");
        }
    }

    #[test]
    fn a_block_of_zeros_decodes_to_zeros() {
        let mut codes = [7; 3];
        assert_eq!(signed().encode(&[0.0, -0.0, 0.0], &mut codes), 0.0);
        assert_eq!(codes, [0; 3]);
    }
}
