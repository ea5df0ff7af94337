//! A row of input gives the same bits whatever rows stand around it, in each of the ways a product is made.

use hone_conformance::noise;
use hone_tensor::{Device, Format, StoredMatrix, Tensor};

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.to_vec().unwrap();
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_few_rows_give_the_bits_they_give_among_many() {
    // More rows than any way for a few takes; rows of the weight that fill no group of sixteen; one step of a sum, and two.
    const MANY: usize = 40;
    for (rows, cols) in [(1, 256), (77, 256), (33, 768), (100, 512)] {
        for format in Format::ALL {
            let values = noise(rows * cols, 3);
            let Ok(weight) = StoredMatrix::encode(format, &values, rows, cols) else {
                continue;
            };
            for threads in [1, 2] {
                let device = Device::cpu(threads).unwrap();
                let weight = device.weight(weight.clone());
                let x = noise(MANY * cols, 5);
                let before = noise(MANY * rows, 7);
                for accumulate in [false, true] {
                    let product = |first: usize, count: usize| {
                        let x = device.tensor(count, cols, &x[first * cols..][..count * cols]);
                        let mut y =
                            device.tensor(count, rows, &before[first * rows..][..count * rows]);
                        device.linear(x.view(), &weight, &mut y, accumulate);
                        bits(&y)
                    };
                    let all = product(0, MANY);
                    for count in 1..=18 {
                        let first = MANY - count;
                        assert_eq!(
                            product(first, count),
                            all[first * rows..],
                            "{count} rows, {rows} × {cols} {format:?}, {threads} threads, accumulate {accumulate}"
                        );
                    }
                }
            }
        }
    }
}
