//! Formats whose scales lie beside their codes: products with them are products with the numbers they stand for.

use hone_tensor::int4::{self, Columns, Int4Groups};
use hone_tensor::nf4::Nf4Scales;
use hone_tensor::{BAND_BYTES, Bytes, Device, Format, ScaleGrid, StoredMatrix, Tensor};

fn codes(count: usize) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let states = std::iter::successors(Some(7_u32), next);
    states
        .map(|state| (state >> 24) as u8)
        .take(count)
        .collect()
}

fn scales(count: usize) -> Vec<f32> {
    (0..count).map(|i| 0.01 + (i % 37) as f32 * 1e-3).collect()
}

fn four_bit(format: Format, rows: usize, cols: usize, block: usize) -> StoredMatrix {
    let bytes = Bytes::from_vec(codes((rows * cols).div_ceil(2)));
    let scales = Nf4Scales::Plain(scales((rows * cols).div_ceil(block)));
    StoredMatrix::four_bit(format, rows, cols, bytes, block, scales).unwrap()
}

/// Bytes without the two codes that are no numbers.
fn fp8(rows: usize, cols: usize, block_rows: usize, block_cols: usize) -> StoredMatrix {
    let mut bytes = codes(rows * cols);
    bytes.iter_mut().for_each(|code| *code &= 0xbf);
    let grid = ScaleGrid {
        block_rows,
        block_cols,
        scales: scales(rows.div_ceil(block_rows) * cols.div_ceil(block_cols)),
    };
    StoredMatrix::fp8(rows, cols, Bytes::from_vec(bytes), grid).unwrap()
}

fn int4(rows: usize, cols: usize, columns: Columns, num_groups: usize) -> StoredMatrix {
    let codes: Vec<u8> = codes(rows * cols).iter().map(|code| code >> 4).collect();
    let groups = Int4Groups {
        num_groups,
        scales: scales(rows * num_groups),
        zeros: (0..rows * num_groups).map(|i| (i % 17) as u8).collect(),
        columns,
    };
    StoredMatrix::int4(rows, cols, Bytes::from_vec(int4::pack(&codes)), groups).unwrap()
}

fn every_kind() -> Vec<(&'static str, StoredMatrix)> {
    let listed = (0..160).map(|col| col * 7 % 5).collect();
    vec![
        ("NF4 in 128s", four_bit(Format::Nf4, 70, 160, 128)),
        ("FP4", four_bit(Format::Fp4, 70, 160, 64)),
        ("FP4 over rows", four_bit(Format::Fp4, 33, 37, 64)),
        ("E4M3, one scale", fp8(70, 150, 70, 150)),
        ("E4M3 by row", fp8(70, 150, 1, 150)),
        ("E4M3 in blocks", fp8(70, 150, 32, 48)),
        ("INT4", int4(70, 160, Columns::Neighbours(64), 3)),
        (
            "INT4, columns listed",
            int4(70, 160, Columns::Listed(listed), 5),
        ),
    ]
}

fn noise(device: &Device, rows: usize, cols: usize) -> Tensor {
    let number = |i: usize| (i.wrapping_mul(2_654_435_761) % 1000) as f32 * 1e-3 - 0.5;
    let numbers: Vec<f32> = (0..rows * cols).map(number).collect();
    device.tensor(rows, cols, &numbers)
}

/// `x·Wᵀ` and `dy·W`.
fn products(device: &Device, matrix: StoredMatrix, height: usize) -> [Vec<f32>; 2] {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let weight = device.weight(matrix);
    let mut y = device.zeros(height, rows);
    device.linear(noise(device, height, cols).view(), &weight, &mut y, false);
    let mut dx = device.zeros(height, cols);
    device.linear_backward(noise(device, height, rows).view(), &weight, &mut dx, false);
    [y, dx].map(|tensor| tensor.to_vec().unwrap())
}

#[test]
fn products_are_those_of_the_numbers_they_stand_for() {
    let device = Device::cpu(2).unwrap();
    for (name, matrix) in every_kind() {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let values = matrix.to_f32();
        assert!(values.iter().all(|value| value.is_finite()) && values.iter().any(|v| *v != 0.0));
        let dense = StoredMatrix::from_f32(&values, rows, cols).unwrap();
        for height in [3, 130] {
            // Depths below a panel's are summed in one go, so that even the bits agree.
            let expected = products(&device, dense.clone(), height);
            assert!(
                products(&device, matrix.clone(), height) == expected,
                "{name}, {height} rows"
            );
        }
    }
}

#[test]
fn any_part_of_a_row_decodes_like_the_whole() {
    for (name, matrix) in every_kind() {
        let unit = match matrix.format() {
            Format::Int4 => 32,
            _ => 1,
        };
        let cols = matrix.cols();
        let whole = matrix.to_f32();
        for row in [0, 1, matrix.rows() - 1] {
            for start in (0..cols).step_by(unit) {
                for end in (start..=cols).step_by(unit) {
                    let mut out = vec![0.0; end - start];
                    matrix.decode_row(row, start..end, &mut out);
                    assert!(
                        out == whole[row * cols + start..row * cols + end],
                        "{name}, row {row}, {start}..{end}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_in_another_order_keep_their_scales() {
    for matrix in [fp8(6, 40, 2, 16), int4(6, 64, Columns::Neighbours(32), 2)] {
        let (cols, whole) = (matrix.cols(), matrix.to_f32());
        let turned = matrix.permute_rows(|row| 5 - row).to_f32();
        for row in 0..6 {
            let expected = &whole[(5 - row) * cols..][..cols];
            assert_eq!(&turned[row * cols..][..cols], expected);
        }
    }
}

#[test]
fn streamed_in_bands_they_give_the_same_bits() {
    let device = Device::cpu(2).unwrap();
    // The rows of the first end inside blocks and bytes.
    for matrix in [
        four_bit(Format::Nf4, 65_537, 1031, 64),
        fp8(33_001, 1024, 128, 128),
    ] {
        assert!(matrix.size_bytes() > BAND_BYTES, "one band shows nothing");
        let expected = products(&device, matrix.clone(), 2);
        assert!(products(&device, matrix.streamed(), 2) == expected);
    }
}

#[test]
fn reading_rows_reads_codes_and_scales() {
    for (name, matrix) in every_kind() {
        let mut read = Vec::new();
        matrix.read_rows(|bytes| read.extend_from_slice(bytes));
        assert!(read.starts_with(matrix.bytes()), "{name}");
        assert!(read.len() >= matrix.size_bytes(), "{name}");
    }
}

#[test]
fn codes_scales_and_groups_must_fit_each_other() {
    let refusal = |made: Result<StoredMatrix, hone_tensor::StoredError>| {
        made.map(|_| ()).unwrap_err().to_string()
    };
    let bytes = |count| Bytes::from_vec(vec![0; count]);
    let plain = |count| Nf4Scales::Plain(vec![1.0; count]);
    assert_eq!(
        refusal(StoredMatrix::four_bit(
            Format::Nf4,
            2,
            64,
            bytes(63),
            64,
            plain(2)
        )),
        "a 2 × 64 matrix of NF4 takes 64 bytes, found 63"
    );
    assert_eq!(
        refusal(StoredMatrix::four_bit(
            Format::Fp4,
            2,
            64,
            bytes(64),
            64,
            plain(3)
        )),
        "a 2 × 64 matrix of FP4 takes 2 scales, found 3"
    );
    let short = Nf4Scales::Double {
        codes: vec![0; 2],
        nested: Vec::new(),
        offset: 0.0,
    };
    refusal(StoredMatrix::four_bit(
        Format::Nf4,
        2,
        64,
        bytes(64),
        64,
        short,
    ));
    refusal(StoredMatrix::four_bit(
        Format::Q4_0,
        2,
        64,
        bytes(64),
        64,
        plain(2),
    ));
    let grid = |block_rows, block_cols, count| ScaleGrid {
        block_rows,
        block_cols,
        scales: vec![1.0; count],
    };
    assert_eq!(
        refusal(StoredMatrix::fp8(3, 5, bytes(15), grid(2, 2, 5))),
        "a 3 × 5 matrix of F8_E4M3 takes 6 scales, found 5"
    );
    refusal(StoredMatrix::fp8(3, 5, bytes(15), grid(0, 2, 5)));
    refusal(StoredMatrix::fp8(3, 5, bytes(14), grid(2, 2, 6)));
    let int4 = |columns, num_groups, count, num_zeros, num_bytes| {
        let groups = Int4Groups {
            num_groups,
            scales: vec![1.0; count],
            zeros: vec![8; num_zeros],
            columns,
        };
        refusal(StoredMatrix::int4(2, 64, bytes(num_bytes), groups))
    };
    let near = Columns::Neighbours;
    assert_eq!(
        int4(near(32), 2, 3, 4, 64),
        "3 scales and 4 zeros for 2 groups in each of 2 rows"
    );
    assert_eq!(
        int4(near(32), 1, 2, 2, 64),
        "1 groups of 32 columns for 64 columns"
    );
    assert_eq!(
        int4(near(48), 2, 4, 4, 64),
        "groups of 48 columns, not a multiple of 32"
    );
    assert_eq!(
        int4(Columns::Listed(vec![0; 63]), 2, 4, 4, 64),
        "groups of 63 columns, there are 64"
    );
    assert_eq!(
        int4(Columns::Listed(vec![2; 64]), 2, 4, 4, 64),
        "group 2 of 2"
    );
    assert_eq!(
        int4(near(32), 2, 4, 4, 63),
        "a 2 × 64 matrix of INT4 takes 64 bytes, found 63"
    );
}
