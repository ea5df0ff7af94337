//! What every back-end must do: each op against a slow loop in f64, each gradient against finite differences of that loop.
//!
//! The checks are a library, so that a back-end in any crate runs the same ones:
//!
//! ```
//! let device = hone_tensor::Device::cpu(1)?;
//! hone_conformance::check_named(&device, |name| name.contains("softmax") || name.contains("columns"));
//! # Ok::<(), hone_tensor::TensorError>(())
//! ```
//!
//! A check panics with the op, the place and both numbers. That results do not depend on the number of threads is a
//! promise of the CPU back-end, tested there.

mod activations;
mod attention;
mod experts;
mod losses;
mod norms;
mod optimizers;
mod plain;
mod products;
mod rotation;
mod rows;

pub use attention::packed;
pub use experts::by_row;
pub use plain::Plain;

use hone_tensor::Device;

/// A promise of a back-end, and what tries it.
pub struct Check {
    /// The promise, words joined by underscores.
    pub name: &'static str,
    /// Panics where it does not hold.
    pub run: fn(&Device),
}

macro_rules! checks {
    ($($module:ident: $($name:ident)*;)*) => {
        &[$($(Check { name: stringify!($name), run: $module::$name },)*)*]
    };
}

/// All of them.
pub const CHECKS: &[Check] = checks! {
    products:
        linear_and_its_transpose_agree_with_a_loop_at_awkward_shapes
        matmul_agrees_with_a_loop_in_all_orientations
        a_window_reads_and_writes_its_part_only
        columns_of_a_tensor_are_operands_too;
    norms:
        rms_norm_and_its_gradient
        layer_norm_and_its_gradient_over_rows_and_over_stretches
        a_short_weight_makes_rms_norm_go_head_by_head;
    rotation:
        rope_turns_pairs_and_its_inverse_is_its_gradient
        a_narrow_table_turns_the_beginning_of_a_head_and_neighbours_turn_together;
    attention:
        attention_agrees_with_a_loop_whatever_the_lengths
        keys_in_pages_are_found
        queries_at_the_end_of_longer_keys_see_all_before_them
        attention_gradients_by_finite_differences
        attention_gradients_of_long_sequences_agree_with_a_loop
        windows_and_caps_of_attention_forward_and_back_whatever_the_lengths
        with_a_cache_the_last_queries_see_their_window_only;
    activations:
        gated_silu_and_its_gradients
        gelu_and_its_gradients_alone_and_as_a_gate
        far_out_gelu_is_its_input_or_nothing
        scaling_and_soft_caps_and_their_gradient
        dropout_keeps_its_share_scales_it_and_repeats;
    losses:
        cross_entropy_and_its_gradient
        divergence_is_that_of_a_loop_and_nothing_between_equals
        a_logit_that_is_not_finite_makes_the_loss_not_finite;
    rows:
        rows_are_gathered_added_back_and_biased
        fused_columns_come_apart_and_together_again
        dots_of_columns_agree_with_a_loop_whichever_way_they_lie
        columns_are_scaled_and_the_dot_is_the_gradient_of_the_factors
        numbers_are_divided_by_roots_and_nothing_by_zero
        rows_of_a_window_are_gathered_and_added_back
        rows_are_scaled_and_multiplied_with_each_other;
    experts:
        rows_go_to_the_experts_with_the_greatest_shares_and_the_gradient_comes_back
        of_equal_shares_the_lower_expert_is_chosen
        a_logit_that_is_no_number_reaches_the_factors;
    optimizers:
        adamw_follows_the_formula
        runs_of_a_flat_buffer_are_stepped_as_tensors_of_their_own;
};

/// Runs all checks.
///
/// # Panics
/// At the first promise that does not hold.
pub fn check(device: &Device) {
    check_named(device, |_| true);
}

/// Runs the checks whose names are wanted.
///
/// # Panics
/// At the first promise that does not hold.
pub fn check_named(device: &Device, wanted: impl Fn(&str) -> bool) {
    for check in CHECKS.iter().filter(|check| wanted(check.name)) {
        (check.run)(device);
    }
}

/// Numbers in [-1, 1] that look random and never change.
pub fn noise(len: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

pub(crate) fn assert_close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    let scale = want.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (f64::from(*g) - w).abs() <= tolerance * scale,
            "{name}[{i}]: got {g}, want {w}"
        );
    }
}

/// Gradient of `sum(f(x) · dy)` by central differences in f64.
pub(crate) fn numeric_gradient(x: &[f32], dy: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let x = wide(x);
    let loss = |x: &[f64]| -> f64 { f(x).iter().zip(dy).map(|(y, d)| y * f64::from(*d)).sum() };
    let h = 1e-5;
    (0..x.len())
        .map(|i| {
            let (mut up, mut down) = (x.clone(), x.clone());
            up[i] += h;
            down[i] -= h;
            (loss(&up) - loss(&down)) / (2.0 * h)
        })
        .collect()
}

pub(crate) fn matmul(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                c[i * n + j] += a[i * k + l] * b[l * n + j];
            }
        }
    }
    c
}

pub(crate) fn transpose(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    let mut t = vec![0.0; a.len()];
    for i in 0..rows {
        for j in 0..cols {
            t[j * rows + i] = a[i * cols + j];
        }
    }
    t
}
