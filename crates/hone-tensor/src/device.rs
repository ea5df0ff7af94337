//! The wall between networks and hardware: a device is a value, and a back-end is what it can do ([`Backend`]).

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::ops::{Backend, TensorError};
use crate::stored::StoredMatrix;
use crate::tensor::{Element, Storage, Tensor, Weight};

/// A handle to a back-end; clones are the same device. Ops are the methods of [`Backend`].
#[derive(Clone, Debug)]
pub struct Device(Arc<dyn Backend>);

impl Device {
    /// A device from elsewhere, for example a GPU crate.
    pub fn from_backend(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }

    /// A tensor with unspecified contents, for an op to fill.
    pub fn empty(&self, rows: usize, cols: usize) -> Tensor {
        self.empty_of(Element::F32, rows, cols)
    }

    /// The same with elements of another kind.
    pub fn empty_of(&self, element: Element, rows: usize, cols: usize) -> Tensor {
        self.adopt(rows, cols, element, self.0.allocate(element, rows * cols))
    }

    fn adopt(&self, rows: usize, cols: usize, element: Element, storage: Storage) -> Tensor {
        Tensor::new(rows, cols, element, Box::new(self.clone()), storage)
    }

    /// A tensor of zeros.
    pub fn zeros(&self, rows: usize, cols: usize) -> Tensor {
        let mut out = self.empty(rows, cols);
        self.0.fill(&mut out, 0.0);
        out
    }

    /// A tensor of zeros, in pages of a file under `paged` if one is given.
    pub fn zeros_in(
        &self,
        rows: usize,
        cols: usize,
        paged: Option<&Path>,
    ) -> Result<Tensor, TensorError> {
        self.zeroed(Element::F32, rows, cols, paged)
    }

    /// A row of words that are zero, in pages of a file under `paged` if one is given.
    pub fn zero_words(&self, len: usize, paged: Option<&Path>) -> Result<Tensor, TensorError> {
        self.zeroed(Element::Word, 1, len, paged)
    }

    fn zeroed(
        &self,
        element: Element,
        rows: usize,
        cols: usize,
        paged: Option<&Path>,
    ) -> Result<Tensor, TensorError> {
        let storage = match paged {
            Some(dir) => self.0.allocate_paged(element, rows * cols, dir)?,
            None => self.0.allocate(element, rows * cols),
        };
        let mut out = self.adopt(rows, cols, element, storage);
        // Four bytes of zero are the number zero.
        self.0.fill(&mut out, 0.0);
        Ok(out)
    }

    /// A tensor from host numbers in row-major order.
    pub fn tensor(&self, rows: usize, cols: usize, data: &[f32]) -> Tensor {
        assert_eq!(data.len(), rows * cols, "as many numbers as elements");
        let mut out = self.empty(rows, cols);
        self.0.write(data, &mut out);
        out
    }

    /// A frozen matrix, kept in its stored form.
    pub fn weight(&self, matrix: StoredMatrix) -> Weight {
        let (rows, cols, format, bytes) = (
            matrix.rows(),
            matrix.cols(),
            matrix.format(),
            matrix.size_bytes(),
        );
        Weight::new(rows, cols, format, bytes, self.0.hold(matrix))
    }

    /// Runs `work` inside the device's threads, so that each op in it starts at once.
    pub fn scope<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let (mut work, mut result) = (Some(work), None);
        self.0.run(&mut || result = work.take().map(|w| w()));
        result.expect("a back-end runs the work it is given")
    }
}

impl Deref for Device {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Tensor {
    /// Where it lives.
    pub fn device(&self) -> &Device {
        self.home()
            .downcast_ref()
            .expect("tensors are made by devices")
    }

    /// A tensor on the same device.
    pub(crate) fn like(&self, rows: usize, cols: usize, storage: Storage) -> Self {
        self.device().adopt(rows, cols, Element::F32, storage)
    }

    /// Copies the numbers to the host, in row-major order.
    pub fn to_vec(&self) -> Result<Vec<f32>, TensorError> {
        self.device().download(self)
    }
}
