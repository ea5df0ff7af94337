//! A router's choice of experts and its gradient.

use hone_tensor::{Device, Routing, TopK};

use crate::{assert_close, noise, numeric_gradient, wide};

/// The experts of one row, rising, with their factors: a slow loop in f64.
fn chosen(logits: &[f64], top: TopK) -> Vec<(usize, f64)> {
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = logits.iter().map(|x| (x - greatest).exp()).collect();
    let sum: f64 = shares.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Stable: of equal ones the lower.
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let mut taken = order[..top.count].to_vec();
    taken.sort_unstable();
    let of_taken: f64 = taken.iter().map(|e| shares[*e]).sum();
    let divisor = if top.is_normalised { of_taken } else { sum };
    taken
        .into_iter()
        .map(|e| (e, shares[e] / divisor))
        .collect()
}

/// The experts of each row, rising, with their factors.
pub fn by_row(routing: &Routing, rows: usize, experts: usize) -> Vec<Vec<(usize, f32)>> {
    let weights = routing.weights.to_vec().unwrap();
    let mut of_row = vec![vec![]; rows];
    for expert in 0..experts {
        let places = routing.places(expert);
        let own = &routing.rows[places.clone()];
        assert!(own.is_sorted_by(|a, b| a < b), "rows of an expert rise");
        for (row, place) in own.iter().zip(places) {
            of_row[*row as usize].push((expert, weights[place]));
        }
    }
    of_row
}

const TOPS: [TopK; 4] = [
    TopK {
        count: 1,
        is_normalised: false,
    },
    TopK {
        count: 2,
        is_normalised: true,
    },
    TopK {
        count: 3,
        is_normalised: false,
    },
    TopK {
        count: 5,
        is_normalised: true,
    },
];

pub fn rows_go_to_the_experts_with_the_greatest_shares_and_the_gradient_comes_back(
    device: &Device,
) {
    for top in TOPS {
        let (rows, experts) = (7, 5);
        let logits: Vec<f32> = noise(rows * experts, 41).iter().map(|x| 3.0 * x).collect();
        let tensor = device.tensor(rows, experts, &logits);
        let routing = device.route(&tensor, top);
        for (row, got) in by_row(&routing, rows, experts).into_iter().enumerate() {
            let want = chosen(&wide(&logits[row * experts..][..experts]), top);
            let names = |of: &[(usize, f32)]| of.iter().map(|x| x.0).collect::<Vec<_>>();
            let expected: Vec<usize> = want.iter().map(|x| x.0).collect();
            assert_eq!(names(&got), expected, "row {row}");
            for ((_, got), (_, want)) in got.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "row {row}");
            }
        }
        let places = rows * top.count;
        let dweights = noise(places, 42);
        let mut dlogits = device.empty(rows, experts);
        let tdweights = device.tensor(places, 1, &dweights);
        device.route_backward(&tensor, &routing, top, &tdweights, &mut dlogits);
        // The reference gives factors row by row; those of the device lie expert by expert.
        let mut dy = vec![0.0; places];
        let mut at = 0;
        for row in 0..rows {
            for expert in 0..experts {
                let mut own = routing.places(expert);
                if let Some(place) = own.find(|place| routing.rows[*place] as usize == row) {
                    dy[at] = dweights[place];
                    at += 1;
                }
            }
        }
        let factors = |x: &[f64]| -> Vec<f64> {
            let rows = x.chunks(experts).flat_map(|row| chosen(row, top));
            rows.map(|(_, factor)| factor).collect()
        };
        let want = numeric_gradient(&logits, &dy, factors);
        assert_close("route_backward", &dlogits.to_vec().unwrap(), &want, 1e-5);
    }
}

pub fn of_equal_shares_the_lower_expert_is_chosen(device: &Device) {
    let logits = device.tensor(2, 4, &[0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    let top = TopK {
        count: 2,
        is_normalised: true,
    };
    let routing = device.route(&logits, top);
    let names = |row: &Vec<(usize, f32)>| row.iter().map(|x| x.0).collect::<Vec<_>>();
    let rows = by_row(&routing, 2, 4);
    assert_eq!([names(&rows[0]), names(&rows[1])], [[1, 2], [0, 1]]);
    assert!(routing.weights.to_vec().unwrap().iter().all(|w| *w == 0.5));
}

pub fn a_logit_that_is_no_number_reaches_the_factors(device: &Device) {
    let logits = device.tensor(1, 3, &[0.0, f32::NAN, 1.0]);
    let top = TopK {
        count: 1,
        is_normalised: false,
    };
    let weights = device.route(&logits, top).weights.to_vec().unwrap();
    assert!(weights[0].is_nan());
}
