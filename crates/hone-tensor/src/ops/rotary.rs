//! Rotary positions.

use super::{StorageOps, host, put};
use crate::index::Indices;
use crate::tensor::Tensor;

/// Rotary embedding, forward and backward.
pub trait RotaryOps: StorageOps {
    /// Rotary embedding, half-split pairs, in place (Su et al. 2021). `table` is `[positions, rotary width]`,
    /// cosines then sines; a head's columns past the rotary width stay as they are. `inverse` rotates back, which is
    /// also the backward pass.
    fn rope(
        &self,
        x: &mut Tensor,
        head_dim: usize,
        positions: Indices,
        table: &Tensor,
        inverse: bool,
    ) {
        check_rope(x, head_dim, positions, table);
        let half = table.cols() / 2;
        turn(self, x, head_dim, positions, table, inverse, |i| {
            (i, i + half)
        });
    }
    /// The same with neighbouring columns as pairs, as in the original paper.
    fn rope_interleaved(
        &self,
        x: &mut Tensor,
        head_dim: usize,
        positions: Indices,
        table: &Tensor,
        inverse: bool,
    ) {
        check_rope(x, head_dim, positions, table);
        turn(self, x, head_dim, positions, table, inverse, |i| {
            (2 * i, 2 * i + 1)
        });
    }
}

/// The promise of both.
pub(crate) fn check_rope(x: &Tensor, head_dim: usize, positions: Indices, table: &Tensor) {
    assert_eq!(x.rows(), positions.len(), "a position for each row");
    assert!(
        table.cols() <= head_dim && x.cols().is_multiple_of(head_dim),
        "heads at least as wide as what turns"
    );
}

/// Turns the pairs of each head that `pair` names, by the angles of a row's position.
fn turn<D: StorageOps + ?Sized>(
    device: &D,
    x: &mut Tensor,
    head_dim: usize,
    positions: Indices,
    table: &Tensor,
    inverse: bool,
    pair: impl Fn(usize) -> (usize, usize),
) {
    let (cols, width) = (x.cols(), table.cols());
    let (Some(mut y), Some(table)) = (host(device, x), host(device, table)) else {
        return;
    };
    for (row, position) in y.chunks_exact_mut(cols).zip(positions.on_host()) {
        let (cosines, sines) = table[*position as usize * width..][..width].split_at(width / 2);
        for head in row.chunks_exact_mut(head_dim) {
            for (i, (cosine, sine)) in cosines.iter().zip(sines).enumerate() {
                let (a, b) = pair(i);
                let sine = if inverse { -sine } else { *sine };
                (head[a], head[b]) = (
                    head[a] * cosine - head[b] * sine,
                    head[b] * cosine + head[a] * sine,
                );
            }
        }
    }
    put(device, x, &y);
}
