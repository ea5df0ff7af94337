//! What products read and write: matrices by their strides, for those of many rows and of few.

/// A dense operand: element `(i, j)` is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub struct Dense<'a> {
    /// The numbers.
    pub data: &'a [f32],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
}

/// Where the result goes: element `(i, j)` is `data[i * row + j * col]`.
pub struct Target<'a> {
    /// The numbers.
    pub data: &'a mut [f32],
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub col: usize,
    /// Multiplies the product.
    pub alpha: f32,
    /// Whether to add to what is there.
    pub accumulate: bool,
}
