//! A back-end of six methods whose ops are the plain loops: where a new one begins, and a device that a test can wrap.

use hone_tensor::{
    ActivationOps, AttentionOps, Element, ExpertOps, LinearOps, LossOps, NormOps, OptimizerOps,
    RotaryOps, RoundingOps, RowOps, Storage, StorageOps, StoredMatrix, Tensor, TensorError, Weight,
};

/// Bytes in a vector, and nothing else of its own.
#[derive(Debug)]
pub struct Plain;

impl StorageOps for Plain {
    fn name(&self) -> String {
        "plain loops".into()
    }

    fn allocate(&self, element: Element, len: usize) -> Storage {
        Box::new(vec![0u8; len * element.bytes()])
    }

    fn hold(&self, matrix: StoredMatrix) -> Storage {
        Box::new(matrix)
    }

    fn read_row(&self, weight: &Weight, row: usize, out: &mut [f32]) {
        let matrix: &StoredMatrix = weight.storage().downcast_ref().expect(OURS);
        matrix.decode_row(row, 0..weight.cols(), out);
    }

    fn download_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, TensorError> {
        Ok(tensor
            .storage()
            .downcast_ref::<Vec<u8>>()
            .expect(OURS)
            .clone())
    }

    fn write_bytes(&self, bytes: &[u8], out: &mut Tensor) {
        let room: &mut Vec<u8> = out.storage_mut().downcast_mut().expect(OURS);
        room.copy_from_slice(bytes);
    }
}

impl LinearOps for Plain {}
impl RowOps for Plain {}
impl RoundingOps for Plain {}
impl NormOps for Plain {}
impl RotaryOps for Plain {}
impl AttentionOps for Plain {}
impl ActivationOps for Plain {}
impl ExpertOps for Plain {}
impl LossOps for Plain {}
impl OptimizerOps for Plain {}

const OURS: &str = "storage comes from this device";
