//! The CPU, and a back-end of six methods whose ops are the plain loops, do what every back-end must do.

use std::sync::Arc;

use hone_conformance::CHECKS;
use hone_tensor::{
    ActivationOps, AttentionOps, Device, Element, ExpertOps, LinearOps, LossOps, NormOps,
    OptimizerOps, RotaryOps, RoundingOps, RowOps, Storage, StorageOps, StoredMatrix, Tensor,
    TensorError, Weight,
};

/// Bytes in a vector, and nothing else of its own.
#[derive(Debug)]
struct Plain;

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
        let matrix: &StoredMatrix = weight.storage().downcast_ref().unwrap();
        matrix.decode_row(row, 0..weight.cols(), out);
    }

    fn download_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, TensorError> {
        Ok(tensor.storage().downcast_ref::<Vec<u8>>().unwrap().clone())
    }

    fn write_bytes(&self, bytes: &[u8], out: &mut Tensor) {
        let room: &mut Vec<u8> = out.storage_mut().downcast_mut().unwrap();
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

fn conforms(device: &Device) {
    for check in CHECKS {
        println!("{}: {}", device.name(), check.name);
        (check.run)(device);
    }
}

#[test]
fn the_cpu_conforms_on_one_thread() {
    conforms(&Device::cpu(1).unwrap());
}

#[test]
fn the_cpu_conforms_on_three_threads() {
    conforms(&Device::cpu(3).unwrap());
}

#[test]
fn six_methods_make_a_back_end_that_conforms() {
    conforms(&Device::from_backend(Arc::new(Plain)));
}

#[test]
fn bf16_and_words_come_back_as_they_went_on_every_device() {
    for device in [
        Device::cpu(2).unwrap(),
        Device::from_backend(Arc::new(Plain)),
    ] {
        let x = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -2.5, f32::MAX];
        let mut rounded = device.empty_of(Element::Bf16, 1, x.len());
        device.round_to_bf16(&device.tensor(1, x.len(), &x), &mut rounded);
        let mut back = device.empty(1, x.len());
        device.widen_bf16(&rounded, &mut back);
        assert_eq!(
            back.to_vec().unwrap(),
            [1.0, 1.0, 1.0 + 4.0 / 256.0, -2.5, f32::INFINITY]
        );
        assert_eq!(device.download_bytes(&rounded).unwrap().len(), 2 * x.len());

        let words = [0, u32::MAX, 0x7fa0_0001, 7];
        let mut held = device.empty_of(Element::Word, 1, words.len());
        device.write_words(&words, &mut held);
        assert_eq!(device.download_words(&held).unwrap(), words);
    }
}
