//! Matrices on one device, trained or frozen, and borrowed windows into them.
//!
//! Activations of a packed batch are matrices by nature, `[tokens, features]`, so a tensor has two
//! axes and no broadcasting rules. What a device keeps behind it is the device's own business:
//! nothing above this crate sees a slice until it asks for a download.

use std::any::Any;
use std::ops::Range;

use crate::quant::Format;

/// What a back-end keeps for one tensor or weight.
pub type Storage = Box<dyn Any + Send + Sync>;

/// What an element of a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// What ops compute with.
    F32,
    /// In safekeeping: good for [`crate::RoundingOps::widen_bf16`] alone.
    Bf16,
    /// Four bytes that only their op understands: codes of 8-bit moments with their scales.
    Word,
}

impl Element {
    /// Its size.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 | Self::Word => 4,
        }
    }
}

/// The device that a tensor is on, as far as this file knows of it: [`crate::Device`] puts itself here.
pub(crate) type Home = Box<dyn Any + Send + Sync>;

/// A row-major `[rows, cols]` matrix, of f32 as a rule.
pub struct Tensor {
    rows: usize,
    cols: usize,
    element: Element,
    home: Home,
    storage: Storage,
}

impl Tensor {
    /// Wraps what a back-end allocated; called by [`crate::Device`] only.
    pub(crate) fn new(
        rows: usize,
        cols: usize,
        element: Element,
        home: Home,
        storage: Storage,
    ) -> Self {
        Self {
            rows,
            cols,
            element,
            home,
            storage,
        }
    }

    /// What its elements are.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Where it lives.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Number of rows: tokens, for an activation.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: features, for an activation.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The back-end's own handle.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The back-end's own handle, for writing.
    pub fn storage_mut(&mut self) -> &mut Storage {
        &mut self.storage
    }

    /// The whole tensor as a matrix operand.
    pub fn view(&self) -> MatRef<'_> {
        MatRef {
            tensor: self,
            offset: 0,
            rows: self.rows,
            cols: self.cols,
            stride: self.cols,
            transposed: false,
        }
    }

    /// Rows `range` as a matrix operand.
    pub fn view_rows(&self, range: Range<usize>) -> MatRef<'_> {
        self.window(range.start * self.cols, range.len(), self.cols)
    }

    /// A dense `[rows, cols]` window that starts at element `offset`: one adapter matrix of a flat
    /// parameter buffer, for example.
    pub fn window(&self, offset: usize, rows: usize, cols: usize) -> MatRef<'_> {
        assert!(
            offset + rows * cols <= self.len(),
            "window past the end of the tensor"
        );
        MatRef {
            tensor: self,
            offset,
            rows,
            cols,
            stride: cols,
            transposed: false,
        }
    }

    /// Columns `range` of every row.
    pub fn view_cols(&self, range: Range<usize>) -> MatRef<'_> {
        assert!(range.end <= self.cols, "columns past the end of the tensor");
        MatRef {
            tensor: self,
            offset: range.start,
            rows: self.rows,
            cols: range.len(),
            stride: self.cols,
            transposed: false,
        }
    }

    /// Columns `range` of every row, for writing.
    pub fn view_cols_mut(&mut self, range: Range<usize>) -> MatMut<'_> {
        assert!(range.end <= self.cols, "columns past the end of the tensor");
        let (rows, stride) = (self.rows, self.cols);
        MatMut {
            tensor: self,
            offset: range.start,
            rows,
            cols: range.len(),
            stride,
        }
    }

    /// The whole tensor as a place to write to.
    pub fn view_mut(&mut self) -> MatMut<'_> {
        let (rows, cols) = (self.rows, self.cols);
        MatMut {
            tensor: self,
            offset: 0,
            rows,
            cols,
            stride: cols,
        }
    }

    /// Like [`Tensor::window`], for writing.
    pub fn window_mut(&mut self, offset: usize, rows: usize, cols: usize) -> MatMut<'_> {
        assert!(
            offset + rows * cols <= self.len(),
            "window past the end of the tensor"
        );
        MatMut {
            tensor: self,
            offset,
            rows,
            cols,
            stride: cols,
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor[{}, {}]", self.rows, self.cols)
    }
}

/// A frozen matrix `[out, in]`, held by a device in its stored form.
pub struct Weight {
    rows: usize,
    cols: usize,
    format: Format,
    bytes: usize,
    storage: Storage,
}

impl Weight {
    /// Wraps what a back-end holds; called by [`crate::Device`] only.
    pub(crate) fn new(
        rows: usize,
        cols: usize,
        format: Format,
        bytes: usize,
        storage: Storage,
    ) -> Self {
        Self {
            rows,
            cols,
            format,
            bytes,
            storage,
        }
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How its numbers are stored.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes it takes, scales included.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The back-end's own handle.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Weight[{}, {}] {}",
            self.rows,
            self.cols,
            self.format.name()
        )
    }
}

/// A matrix inside a tensor, possibly read as its transpose.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    /// Where the elements are.
    pub tensor: &'a Tensor,
    /// First element.
    pub offset: usize,
    /// Rows as stored.
    pub rows: usize,
    /// Columns as stored.
    pub cols: usize,
    /// Distance between rows as stored.
    pub stride: usize,
    /// Whether the operand is the transpose of what is stored.
    pub transposed: bool,
}

impl MatRef<'_> {
    /// The same elements, read as the transpose.
    pub fn t(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }

    /// `(rows, cols)` of the operand, after transposition.
    pub fn shape(&self) -> (usize, usize) {
        if self.transposed {
            (self.cols, self.rows)
        } else {
            (self.rows, self.cols)
        }
    }
}

/// A matrix inside a tensor, for writing.
#[derive(Debug)]
pub struct MatMut<'a> {
    /// Where the elements are.
    pub tensor: &'a mut Tensor,
    /// First element.
    pub offset: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Distance between rows.
    pub stride: usize,
}

impl MatMut<'_> {
    /// The same elements, for reading.
    pub fn view(&self) -> MatRef<'_> {
        MatRef {
            tensor: self.tensor,
            offset: self.offset,
            rows: self.rows,
            cols: self.cols,
            stride: self.stride,
            transposed: false,
        }
    }
}
