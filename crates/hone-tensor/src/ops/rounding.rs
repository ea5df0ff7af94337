//! Numbers in safekeeping at half their width.

use half::bf16;

use super::{StorageOps, assert_same_shape, host, put};
use crate::tensor::{Element, Tensor};

/// There and back between f32 and bf16.
pub trait RoundingOps: StorageOps {
    /// Rounds to bf16 (nearest, ties to even): `out` has the shape of `x` and elements of [`Element::Bf16`].
    fn round_to_bf16(&self, x: &Tensor, out: &mut Tensor) {
        check_rounding(x, out);
        let Some(x) = host(self, x) else {
            return;
        };
        let rounded = x.iter().flat_map(|x| bf16::from_f32(*x).to_ne_bytes());
        self.write_bytes(&rounded.collect::<Vec<_>>(), out);
    }
    /// Back from [`RoundingOps::round_to_bf16`], but for the rounding.
    fn widen_bf16(&self, x: &Tensor, out: &mut Tensor) {
        check_rounding(out, x);
        let Ok(x) = self.download_bytes(x) else {
            return;
        };
        let widened = x
            .as_chunks()
            .0
            .iter()
            .map(|x| bf16::from_ne_bytes(*x).to_f32());
        put(self, out, &widened.collect::<Vec<_>>());
    }
}

/// The promise of both.
pub(crate) fn check_rounding(whole: &Tensor, rounded: &Tensor) {
    assert_same_shape(whole, rounded);
    assert_eq!(
        (whole.element(), rounded.element()),
        (Element::F32, Element::Bf16),
        "f32 on the one side and bf16 on the other"
    );
}
