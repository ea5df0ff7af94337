//! What ops read beside numbers goes to a device once for a batch, however many layers read it: a back-end of plain loops
//! that keeps a list the first time it is given one, and counts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hone_conformance::Plain;
use hone_ledger::Seed;
use hone_model::weights::BaseWeights;
use hone_model::{Adapter, BaseFormat, LoraConfig, Model, Packed, Shortcuts, StepOptions};
use hone_tensor::{
    ActivationOps, AttentionOps, Device, Element, ExpertOps, Index, Indices, LinearOps, LossOps,
    MatMut, MatRef, NormOps, OptimizerOps, RotaryOps, RoundingOps, RowOps, Storage, StorageOps,
    StoredMatrix, Tensor, TensorError, Weight,
};

/// Plain loops that read lists from copies of their own.
#[derive(Debug, Default)]
struct Keeping {
    taken: AtomicUsize,
    asked: AtomicUsize,
}

impl Keeping {
    /// The numbers of a part as this device keeps them.
    fn kept(&self, part: Indices) -> Index {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (kept, start) = part.held(|all| {
            self.taken.fetch_add(1, Ordering::Relaxed);
            Box::new(all.to_vec())
        });
        let kept = kept.downcast_ref::<Vec<u32>>().unwrap();
        kept[start..][..part.len()].to_vec().into()
    }
}

impl StorageOps for Keeping {
    fn name(&self) -> String {
        Plain.name()
    }

    fn allocate(&self, element: Element, len: usize) -> Storage {
        Plain.allocate(element, len)
    }

    fn hold(&self, matrix: StoredMatrix) -> Storage {
        Plain.hold(matrix)
    }

    fn read_row(&self, weight: &Weight, row: usize, out: &mut [f32]) {
        Plain.read_row(weight, row, out);
    }

    fn download_bytes(&self, tensor: &Tensor) -> Result<Vec<u8>, TensorError> {
        Plain.download_bytes(tensor)
    }

    fn write_bytes(&self, bytes: &[u8], out: &mut Tensor) {
        Plain.write_bytes(bytes, out);
    }
}

impl RowOps for Keeping {
    fn embed(&self, ids: Indices, weight: &Weight, out: &mut Tensor) {
        Plain.embed(self.kept(ids).all(), weight, out);
    }

    fn gather_window(&self, x: MatRef, rows: Indices, out: &mut Tensor) {
        Plain.gather_window(x, self.kept(rows).all(), out);
    }

    fn scatter_add_window(&self, x: &Tensor, rows: Indices, out: MatMut) {
        Plain.scatter_add_window(x, self.kept(rows).all(), out);
    }
}

impl RotaryOps for Keeping {
    fn rope(
        &self,
        x: &mut Tensor,
        head_dim: usize,
        positions: Indices,
        table: &Tensor,
        inverse: bool,
    ) {
        Plain.rope(x, head_dim, self.kept(positions).all(), table, inverse);
    }
}

impl LinearOps for Keeping {}
impl RoundingOps for Keeping {}
impl NormOps for Keeping {}
impl AttentionOps for Keeping {}
impl ActivationOps for Keeping {}
impl ExpertOps for Keeping {}
impl LossOps for Keeping {}
impl OptimizerOps for Keeping {}

#[test]
fn a_step_gives_each_list_to_the_device_once() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-untied");
    let base = BaseWeights::open(&path).unwrap();
    let step = |device: &Device| {
        let mut model = Model::load(&base, device, BaseFormat::Stored, 16).unwrap();
        let seed = Seed::new(1);
        let adapter = Adapter::new(LoraConfig::default(), model.config(), device, seed).unwrap();
        model.attach(adapter);
        let batch = Packed {
            ids: &[5, 6, 7, 8, 9, 10, 11],
            boundaries: &[0, 4, 7],
            rows: &[1, 2, 5],
            targets: &[7, 8, 11],
            weights: None,
        };
        let options = StepOptions {
            shortcuts: Shortcuts::NONE,
            ..StepOptions::default()
        };
        let parameters = model.adapter().unwrap().num_parameters();
        let mut grads = device.zeros(1, parameters);
        model.loss_and_grads(batch, options, &mut grads).unwrap()
    };
    let keeping = Arc::new(Keeping::default());
    let nats = step(&Device::from_backend(Arc::clone(&keeping) as _));
    let [taken, asked] =
        [&keeping.taken, &keeping.asked].map(|count| count.load(Ordering::Relaxed));
    // Tokens, positions, and the rows of the head; positions turn queries and keys of each layer three times.
    assert_eq!(taken, 3, "lists taken");
    assert_eq!(asked, 3 + 2 * 2 * 3, "lists read");
    let of_cpu = step(&Device::cpu(1).unwrap());
    for (ours, cpus) in nats.iter().zip(&of_cpu) {
        assert!((ours - cpus).abs() < 1e-4, "{ours} is not {cpus}");
    }
}
