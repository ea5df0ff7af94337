//! Room for numbers, their way in and out, and what a back-end says of itself.

use std::path::Path;

use super::{Memory, TensorError};
use crate::stored::StoredMatrix;
use crate::tensor::{Element, Storage, Tensor, Weight};

/// Room, transfers, and a word about oneself. What has no body here is all that a back-end must write.
pub trait StorageOps: Send + Sync + std::fmt::Debug {
    /// Name for plans and error messages.
    fn name(&self) -> String;
    /// Bytes of tensors alive now, and the most there have been. A back-end that does not count says zero.
    fn memory(&self) -> Memory {
        Memory::default()
    }
    /// Forgets the greatest memory use so far.
    fn reset_peak(&self) {}
    /// Gives back memory that is kept for tensors to come.
    fn trim(&self) {}
    /// Runs `work` where the device's ops are cheapest to start.
    fn run(&self, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    /// Room for `len` elements, contents unspecified.
    fn allocate(&self, element: Element, len: usize) -> Storage;
    /// Room for `len` elements that the system may move to a file under `dir` while memory is short; contents
    /// unspecified. A back-end whose memory has no pages allocates as ever.
    fn allocate_paged(
        &self,
        element: Element,
        len: usize,
        _dir: &Path,
    ) -> Result<Storage, TensorError> {
        Ok(self.allocate(element, len))
    }
    /// Takes a frozen matrix, in its stored form.
    fn hold(&self, matrix: StoredMatrix) -> Storage;
    /// Row `row` of a frozen matrix as f32, on the host.
    fn read_row(&self, weight: &Weight, row: usize, out: &mut [f32]);
    /// Copies elements of any kind to the host, in its order of bytes.
    fn download_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, TensorError>;
    /// Overwrites a tensor of any kind from the host.
    fn write_bytes(&self, bytes: &[u8], out: &mut Tensor);

    /// Copies f32 numbers to the host.
    fn download(&self, tensor: &Tensor) -> Result<Vec<f32>, TensorError> {
        let bytes = self.download_bytes(tensor)?;
        let numbers = bytes.as_chunks().0.iter();
        Ok(numbers.map(|number| f32::from_ne_bytes(*number)).collect())
    }
    /// Overwrites a tensor of f32 from the host.
    fn write(&self, data: &[f32], out: &mut Tensor) {
        self.write_bytes(bytemuck::cast_slice(data), out);
    }
    /// Copies a tensor of [`Element::Word`] to the host.
    fn download_words(&self, tensor: &Tensor) -> Result<Vec<u32>, TensorError> {
        let bytes = self.download_bytes(tensor)?;
        let words = bytes.as_chunks().0.iter();
        Ok(words.map(|word| u32::from_ne_bytes(*word)).collect())
    }
    /// Overwrites a tensor of [`Element::Word`] from the host.
    fn write_words(&self, data: &[u32], out: &mut Tensor) {
        self.write_bytes(bytemuck::cast_slice(data), out);
    }
}
