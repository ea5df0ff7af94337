//! Matrix products, with frozen weights expanded from their stored form as they are packed.
//!
//! The usual blocked product (Goto & van de Geijn 2008) with one twist: packing the right operand
//! into panels is where a 4-bit or 16-bit weight becomes f32. That costs a pass over the weight per
//! product, which a packed batch of a thousand tokens repays a thousandfold, and it serves `x·Wᵀ` and
//! `dy·W` from the same copy. The left operand is read where it is.
//!
//! An element of the result is summed in the same order whatever the number of threads, and whatever
//! rows stand around it.

use std::cell::RefCell;
use std::sync::Arc;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::few_rows;
use super::operands::{Dense, Target};
use super::pool::Pool;
use super::simd::{self, Left, Out, Panels, Shared, TILE_COLS, TILE_ROWS};
use crate::stored::StoredMatrix;

/// Depth of a packed block: its 16-wide panel (20 KiB) stays in the first-level cache.
const DEPTH: usize = 320;
/// Columns packed at a time: with the depth above, 1.25 MiB for all threads to share.
const WIDTH: usize = 1024;
/// Rows a thread works on at a time: its piece of the left operand stays in the second-level cache.
const HEIGHT: usize = 96;
/// Rows of input that are few: a product is so short then that starting it counts.
pub const FEW: usize = 16;
/// Rows of input for which the weight is packed and not the input, which would fill half a panel at most.
const UNPACKED: usize = TILE_COLS / 2;
/// Columns that one packing task expands, or one block of the stored format where that is longer.
const GROUP: usize = 64;
/// Rows of a weight that a task expands at a time when there are few rows of input.
const WEIGHT_ROWS: usize = 48;

/// The right operand, `[depth, width]`.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// f32 numbers.
    Dense(Dense<'a>),
    /// `W`, for `dy · W`.
    Stored(&'a StoredMatrix),
    /// `Wᵀ`, for `x · Wᵀ`.
    StoredTransposed(&'a StoredMatrix),
}

/// `target (+)= alpha · left · right`, `[height, depth] × [depth, width]`.
pub fn product(
    pool: &Arc<Pool>,
    height: usize,
    depth: usize,
    width: usize,
    left: Dense,
    right: Right,
    target: Target,
) {
    if height == 0 || width == 0 {
        return;
    }
    check_bounds(height, depth, width, &left, &target);
    match right {
        #[cfg(target_arch = "x86_64")]
        Right::StoredTransposed(weight) if few_rows::suits(height, weight) => {
            let step = block_depth(depth, &right);
            few_rows::product(height, left, weight, step, &mut { target });
        }
        Right::StoredTransposed(_) if height <= UNPACKED => {
            by_columns(height, depth, width, left, right, target)
        }
        Right::StoredTransposed(weight) if height <= HEIGHT => {
            by_weight_rows(pool, height, depth, left, weight, target)
        }
        _ if height <= HEIGHT => by_columns(height, depth, width, left, right, target),
        _ => by_rows(pool, height, depth, width, left, right, target),
    }
}

fn check_bounds(height: usize, depth: usize, width: usize, left: &Dense, target: &Target) {
    let last =
        |rows: usize, row: usize, cols: usize, col: usize| (rows - 1) * row + (cols - 1) * col;
    assert!(depth > 0, "a product has a depth");
    assert!(
        last(height, left.row, depth, left.col) < left.data.len(),
        "left operand too short"
    );
    assert!(
        last(height, target.row, width, target.col) < target.data.len(),
        "target too short"
    );
}

/// Many rows: pack a block of the right operand once, then split the rows over the threads.
fn by_rows(
    pool: &Arc<Pool>,
    height: usize,
    depth: usize,
    width: usize,
    left: Dense,
    right: Right,
    target: Target,
) {
    let step = block_depth(depth, &right);
    let group = GROUP.max(block_len(&right));
    let task_rows = rows_per_task(height);
    let mut packed = pool.take(step.min(depth) * WIDTH.min(width).next_multiple_of(TILE_COLS));
    let out = Shared(target.data.as_mut_ptr());
    for first_col in (0..width).step_by(WIDTH) {
        let cols = WIDTH.min(width - first_col);
        for first_step in (0..depth).step_by(step) {
            let steps = step.min(depth - first_step);
            let panels = &mut packed.as_mut_slice()[..steps * cols.next_multiple_of(TILE_COLS)];
            panels
                .par_chunks_mut(steps * group)
                .enumerate()
                .for_each(|(task, panels)| {
                    let at = task * group;
                    pack(
                        &right,
                        first_step,
                        steps,
                        first_col + at,
                        group.min(cols - at),
                        panels,
                    );
                });
            let panels = &*panels;
            (0..height.div_ceil(task_rows))
                .into_par_iter()
                .for_each(|task| {
                    let first_row = task * task_rows;
                    let block = Block {
                        first_row,
                        rows: task_rows.min(height - first_row),
                        first_col,
                        cols,
                        first_step,
                        steps,
                    };
                    let accumulate = target.accumulate || first_step > 0;
                    // SAFETY: tasks write disjoint rows, inside the bounds that `check_bounds` checked.
                    unsafe {
                        multiply_block(
                            &block,
                            &left,
                            panels,
                            out,
                            &target_shape(&target, accumulate),
                        )
                    };
                });
        }
    }
}

/// Few rows: split the columns over the threads; each packs what it needs.
fn by_columns(
    height: usize,
    depth: usize,
    width: usize,
    left: Dense,
    right: Right,
    target: Target,
) {
    let step = block_depth(depth, &right);
    let out = Shared(target.data.as_mut_ptr());
    let group = GROUP.max(block_len(&right));
    (0..width.div_ceil(group)).into_par_iter().for_each(|task| {
        let first_col = task * group;
        let cols = group.min(width - first_col);
        with_scratch(
            step.min(depth) * group.next_multiple_of(TILE_COLS),
            |panels| {
                for first_step in (0..depth).step_by(step) {
                    let steps = step.min(depth - first_step);
                    pack(&right, first_step, steps, first_col, cols, panels);
                    let block = Block {
                        first_row: 0,
                        rows: height,
                        first_col,
                        cols,
                        first_step,
                        steps,
                    };
                    let accumulate = target.accumulate || first_step > 0;
                    // SAFETY: tasks write disjoint columns, inside the bounds that `check_bounds` checked.
                    unsafe {
                        multiply_block(
                            &block,
                            &left,
                            panels,
                            out,
                            &target_shape(&target, accumulate),
                        )
                    };
                }
            },
        );
    });
}

/// Few rows against `Wᵀ`, as in generation: the two change roles. The rows of the weight are expanded
/// where they lie, without the transposition that packing needs, and the input is packed instead.
fn by_weight_rows(
    pool: &Arc<Pool>,
    height: usize,
    depth: usize,
    left: Dense,
    weight: &StoredMatrix,
    target: Target,
) {
    let step = block_depth(depth, &Right::StoredTransposed(weight));
    let width = height.next_multiple_of(TILE_COLS);
    let mut packed = pool.take(depth * width);
    let input = Right::Dense(Dense {
        data: left.data,
        row: left.col,
        col: left.row,
    });
    for first_step in (0..depth).step_by(step) {
        let steps = step.min(depth - first_step);
        let panels = &mut packed.as_mut_slice()[first_step * width..][..steps * width];
        pack(&input, first_step, steps, 0, height, panels);
    }
    let (packed, out) = (packed.as_slice(), Shared(target.data.as_mut_ptr()));
    (0..weight.rows().div_ceil(WEIGHT_ROWS))
        .into_par_iter()
        .for_each(|task| {
            let first_row = task * WEIGHT_ROWS;
            let rows = WEIGHT_ROWS.min(weight.rows() - first_row);
            with_scratch(rows * step.min(depth), |expanded| {
                for first_step in (0..depth).step_by(step) {
                    let steps = step.min(depth - first_step);
                    for (row, expanded) in expanded.chunks_exact_mut(steps).take(rows).enumerate() {
                        weight.decode_row(
                            first_row + row,
                            first_step..first_step + steps,
                            expanded,
                        );
                    }
                    let left = Dense {
                        data: expanded,
                        row: steps,
                        col: 1,
                    };
                    let block = Block {
                        first_row: 0,
                        rows,
                        first_col: 0,
                        cols: height,
                        first_step: 0,
                        steps,
                    };
                    let shape = TargetShape {
                        row: target.col,
                        col: target.row,
                        alpha: target.alpha,
                        accumulate: target.accumulate || first_step > 0,
                    };
                    // SAFETY: tasks write disjoint columns of the target, inside the bounds that
                    // `check_bounds` checked.
                    unsafe {
                        let out = Shared(out.get().add(first_row * target.col));
                        multiply_block(&block, &left, &packed[first_step * width..], out, &shape);
                    }
                }
            });
        });
}

struct Block {
    first_row: usize,
    rows: usize,
    first_col: usize,
    cols: usize,
    first_step: usize,
    steps: usize,
}

struct TargetShape {
    row: usize,
    col: usize,
    alpha: f32,
    accumulate: bool,
}

fn target_shape(target: &Target, accumulate: bool) -> TargetShape {
    TargetShape {
        row: target.row,
        col: target.col,
        alpha: target.alpha,
        accumulate,
    }
}

/// # Safety
/// The block must lie inside both operands and the target, and be no other thread's.
unsafe fn multiply_block(
    block: &Block,
    left: &Dense,
    panels: &[f32],
    out: Shared,
    shape: &TargetShape,
) {
    let start = &left.data[block.first_row * left.row + block.first_step * left.col..];
    let left = Left {
        start: start.as_ptr(),
        row: left.row,
        step: left.col,
    };
    let panels = Panels {
        start: panels.as_ptr(),
        next: block.steps * TILE_COLS,
    };
    // SAFETY: the caller's promise; `panels` hold a panel for each 16 columns.
    unsafe {
        let out = Out {
            start: out.get(),
            row: shape.row,
            col: shape.col,
            alpha: shape.alpha,
            accumulate: shape.accumulate,
        };
        let out = out.at(block.first_row, block.first_col);
        simd::multiply(block.steps, left, panels, block.rows, block.cols, out);
    }
}

/// Packs `[steps, cols]` of the right operand into 16-wide panels, zeros past the last column.
fn pack(
    right: &Right,
    first_step: usize,
    steps: usize,
    first_col: usize,
    cols: usize,
    panels: &mut [f32],
) {
    match right {
        Right::Dense(dense) if dense.col == 1 => {
            for k in 0..steps {
                scatter_row(
                    &dense.data[(first_step + k) * dense.row + first_col..][..cols],
                    k,
                    steps,
                    panels,
                );
            }
        }
        Right::Dense(dense) => {
            for j in 0..cols {
                let column = &dense.data[(first_col + j) * dense.col + first_step * dense.row..];
                let panel = &mut panels[(j / TILE_COLS) * steps * TILE_COLS + j % TILE_COLS..];
                for k in 0..steps {
                    panel[k * TILE_COLS] = column[k * dense.row];
                }
            }
        }
        Right::Stored(weight) => with_decode_scratch(cols, |row| {
            for k in 0..steps {
                weight.decode_row(first_step + k, first_col..first_col + cols, row);
                scatter_row(row, k, steps, panels);
            }
        }),
        Right::StoredTransposed(weight) => with_decode_scratch(TILE_COLS * steps, |rows| {
            for (panel, first) in (0..cols).step_by(TILE_COLS).enumerate() {
                let valid = TILE_COLS.min(cols - first);
                for j in 0..valid {
                    weight.decode_row(
                        first_col + first + j,
                        first_step..first_step + steps,
                        &mut rows[j * steps..][..steps],
                    );
                }
                rows[valid * steps..].fill(0.0);
                simd::transpose_panel(
                    rows,
                    steps,
                    &mut panels[panel * steps * TILE_COLS..][..steps * TILE_COLS],
                );
            }
        }),
    }
    let rest = cols % TILE_COLS;
    if rest != 0 {
        let last = &mut panels[(cols / TILE_COLS) * steps * TILE_COLS..][..steps * TILE_COLS];
        last.chunks_exact_mut(TILE_COLS)
            .for_each(|row| row[rest..].fill(0.0));
    }
}

/// Writes one row of the right operand to its place in each panel.
fn scatter_row(row: &[f32], k: usize, steps: usize, panels: &mut [f32]) {
    let (whole, rest) = row.as_chunks::<TILE_COLS>();
    let at = |panel: usize| (panel * steps + k) * TILE_COLS;
    for (panel, part) in whole.iter().enumerate() {
        panels[at(panel)..][..TILE_COLS].copy_from_slice(part);
    }
    if !rest.is_empty() {
        panels[at(whole.len())..][..rest.len()].copy_from_slice(rest);
    }
}

fn block_len(right: &Right) -> usize {
    match right {
        Right::Dense(_) => 1,
        Right::Stored(weight) | Right::StoredTransposed(weight) => weight.format().block_len(),
    }
}

/// Splits the depth evenly, at block borders of the stored format. A band of a weight is split where the
/// whole weight would be, so that its sums have the same order.
fn block_depth(depth: usize, right: &Right) -> usize {
    let (depth, unit) = match right {
        Right::StoredTransposed(weight) => (depth, weight.format().block_len().max(TILE_COLS)),
        Right::Stored(weight) => (weight.whole_rows(), TILE_COLS),
        Right::Dense(_) => (depth, TILE_COLS),
    };
    depth
        .div_ceil(depth.div_ceil(DEPTH.max(unit)))
        .next_multiple_of(unit)
}

/// Rows of a weight that `dy · W` sums at a time: bands of it are multiples of that.
pub fn band_step(weight: &StoredMatrix) -> usize {
    block_depth(weight.rows(), &Right::Stored(weight))
}

fn rows_per_task(height: usize) -> usize {
    let threads = rayon::current_num_threads();
    height
        .div_ceil(threads * height.div_ceil(threads * HEIGHT))
        .next_multiple_of(TILE_ROWS)
}

fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) });
    borrow(&SCRATCH, len, work)
}

fn with_decode_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) });
    borrow(&SCRATCH, len, work)
}

fn borrow<R>(
    scratch: &'static std::thread::LocalKey<RefCell<Vec<f32>>>,
    len: usize,
    work: impl FnOnce(&mut [f32]) -> R,
) -> R {
    scratch.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        work(&mut buffer[..len])
    })
}
