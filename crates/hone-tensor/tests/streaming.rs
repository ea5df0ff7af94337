//! A weight that is streamed from disk gives the numbers of one in memory, bit for bit: how much memory a run
//! may use must not show in what it learns.

use hone_tensor::{Bytes, Device, Format, Index, StoredMatrix, Tensor};
use std::fs::File;
use std::io::Write;

/// A band and a part of one, of blocks that decode to small numbers.
fn weight(format: Format, rows: usize, cols: usize) -> StoredMatrix {
    let block = |i: usize| {
        let small = half::f16::from_f32(1e-3 + i as f32 * 1e-6).to_le_bytes();
        let next = |x: &u8| Some(x.wrapping_mul(5).wrapping_add(3));
        let rest = std::iter::successors(Some(i as u8), next);
        small.into_iter().chain(rest).take(format.block_bytes())
    };
    let pattern: Vec<u8> = (0..997).flat_map(block).collect();
    let len = rows * cols / format.block_len() * format.block_bytes();
    let mut bytes = pattern.repeat(len / pattern.len() + 1);
    bytes.truncate(len);
    let path = tempfile::NamedTempFile::new().unwrap();
    path.as_file().write_all(&bytes).unwrap();
    // SAFETY: nobody else knows the file.
    let map = unsafe { memmap2::Mmap::map(&File::open(path.path()).unwrap()).unwrap() };
    StoredMatrix::new(rows, cols, format, Bytes::mapped(map)).unwrap()
}

fn noise(device: &Device, rows: usize, cols: usize) -> Tensor {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) % 1000) as f32 * 1e-3 - 0.5;
    let numbers: Vec<f32> = (0..rows * cols).map(number).collect();
    device.tensor(rows, cols, &numbers)
}

#[test]
fn a_streamed_weight_gives_the_same_bits() {
    for (format, rows, cols) in [(Format::Q8_0, 33_001, 1024), (Format::F16, 17_001, 1040)] {
        let matrix =
            weight(format, rows, cols).permute_rows(|row| row ^ usize::from(row + 1 < rows));
        assert!(
            matrix.size_bytes() > hone_tensor::BAND_BYTES,
            "one band shows nothing"
        );
        let device = Device::cpu(2).unwrap();
        let (held, streamed) = (
            device.weight(matrix.clone()),
            device.weight(matrix.streamed()),
        );
        for height in [3, 100] {
            let (x, dy) = (noise(&device, height, cols), noise(&device, height, rows));
            let ids: Index = (0..height).map(|i| i * 3001 % rows).collect();
            let [expected, found] = [&held, &streamed].map(|weight| {
                let mut y = device.zeros(height, rows);
                device.linear(x.view(), weight, &mut y, false);
                let mut dx = noise(&device, height, cols);
                device.linear_backward(dy.view(), weight, &mut dx, true);
                let mut embedded = device.zeros(height, cols);
                device.embed(ids.all(), weight, &mut embedded);
                [y, dx, embedded].map(|tensor| tensor.to_vec().unwrap())
            });
            let name = format.name();
            assert!(expected.iter().flatten().all(|x| x.is_finite()) && expected[0][5] != 0.0);
            for (what, (expected, found)) in ["x·Wᵀ", "dy·W", "embed"]
                .iter()
                .zip(expected.iter().zip(&found))
            {
                assert!(
                    expected == found,
                    "{what} of {height} rows, {name}, {rows} × {cols}"
                );
            }
        }
    }
}
