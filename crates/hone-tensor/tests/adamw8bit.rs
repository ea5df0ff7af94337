//! 8-bit AdamW against bitsandbytes: codes, scales and parameters, bit for bit.

use std::path::{Path, PathBuf};

use hone_tensor::{AdamWStep, Device, Moment8, Tensor};
use safetensors::SafeTensors;

const LENGTHS: [usize; 3] = [100, 4096, 4397];

fn golden() -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/golden/adamw8bit.safetensors");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn numbers(golden: &SafeTensors, name: &str) -> Vec<f32> {
    let tensor = golden.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
    let bytes = tensor.data().as_chunks::<4>().0;
    bytes.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// `noise` of `fixtures/scripts/golden_adamw8bit.py`.
fn noise(length: usize, step: u64, index: usize) -> Vec<f32> {
    let number = |place: u64| {
        let mut x = place + (step << 32) + ((index as u64) << 24) + 1;
        x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        ((x >> 40) as f32 - 8_388_608.0) / 8_388_608.0
    };
    (0..length as u64).map(number).collect()
}

/// `magnitudes` of the same script.
fn magnitude(place: usize) -> f32 {
    match place / 256 {
        3 => 0.0,
        block => (-((block * 3 % 20) as f32) - 2.0 * (place % 5) as f32).exp2(),
    }
}

fn parameters() -> Vec<f32> {
    let lengths = LENGTHS.iter().enumerate();
    lengths.flat_map(|(i, &n)| noise(n, 0, i)).collect()
}

fn gradients(step: u64) -> Vec<f32> {
    let of_tensor = |(index, &length): (usize, &usize)| {
        let noise = noise(length, step, index).into_iter();
        noise.enumerate().map(|(i, x)| x * magnitude(i))
    };
    LENGTHS.iter().enumerate().flat_map(of_tensor).collect()
}

struct State {
    device: Device,
    parameters: Tensor,
    first: Moment8,
    second: Moment8,
}

impl State {
    fn new(threads: usize, paged: Option<&Path>) -> Self {
        let device = Device::cpu(threads).unwrap();
        let numbers = parameters();
        let moment = || Moment8::zeros(&device, &LENGTHS, paged).unwrap();
        Self {
            parameters: device.tensor(1, numbers.len(), &numbers),
            first: moment(),
            second: moment(),
            device,
        }
    }

    fn step(&mut self, step: u64) {
        let gradients = gradients(step);
        let numbers = AdamWStep {
            lr: f64::from(2e-3_f32),
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            step,
            gradient_scale: 1.0,
        };
        let gradients = self.device.tensor(1, gradients.len(), &gradients);
        let Self {
            device,
            parameters,
            first,
            second,
        } = self;
        device.adamw8bit(parameters, &gradients, first, second, numbers);
    }

    fn bits(&self) -> [Vec<u32>; 3] {
        let parameters = self.parameters.to_vec().unwrap().into_iter();
        [
            parameters.map(f32::to_bits).collect(),
            self.first.to_words().unwrap(),
            self.second.to_words().unwrap(),
        ]
    }
}

/// Scales and codes of a coded tensor's words.
fn blocks(words: &[u32], length: usize) -> (Vec<f32>, Vec<u8>) {
    let (mut scales, mut codes) = (Vec::new(), Vec::new());
    for block in words.chunks(65) {
        scales.push(f32::from_bits(block[0]));
        codes.extend(block[1..].iter().flat_map(|word| word.to_ne_bytes()));
    }
    codes.truncate(length);
    (scales, codes)
}

fn assert_states(golden: &SafeTensors, step: u64, words: &[u32], state: &str, scale: &str) {
    let mut rest = words;
    for (index, length) in LENGTHS.into_iter().enumerate() {
        let name = |part: &str| format!("{step}.{index}.{part}");
        let num_words = Moment8::num_words(&[length]);
        let (words, after) = rest.split_at(num_words);
        rest = after;
        if length < 4096 {
            let floats: Vec<f32> = words.iter().map(|&word| f32::from_bits(word)).collect();
            assert_eq!(floats, numbers(golden, &name(state)), "{}", name(state));
            continue;
        }
        let (scales, codes) = blocks(words, length);
        assert_eq!(scales, numbers(golden, &name(scale)), "{}", name(scale));
        let theirs = golden.tensor(&name(state)).unwrap();
        assert!(codes == theirs.data(), "{}", name(state));
    }
    assert!(rest.is_empty());
}

#[test]
fn twelve_steps_are_those_of_bitsandbytes_to_the_bit() {
    let bytes = golden();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let mut state = State::new(2, None);
    for step in 1..=12 {
        state.step(step);
        if step != 1 && step != 12 {
            continue;
        }
        let [parameters, first, second] = state.bits();
        assert_states(&golden, step, &first, "state1", "absmax1");
        assert_states(&golden, step, &second, "state2", "absmax2");
        let mut ours = parameters.into_iter().map(f32::from_bits);
        for index in 0..LENGTHS.len() {
            let theirs =
                |series: &str| numbers(&golden, &format!("{step}.{index}.{series}.parameters"));
            // MKL's root is one unit off at times; everything else is equal.
            for (at, (ieee, torch)) in theirs("ieee").into_iter().zip(theirs("torch")).enumerate() {
                let ours = ours.next().unwrap();
                assert_eq!(ours, ieee, "step {step}, tensor {index}, parameter {at}");
                assert!(
                    (ours - torch).abs() <= f32::EPSILON / 2.0,
                    "{ours} and {torch}"
                );
            }
        }
    }
}

#[test]
fn pages_of_a_file_and_threads_change_no_bit() {
    let dir = tempfile::tempdir().unwrap();
    let [mut plain, mut paged] = [State::new(1, None), State::new(2, Some(dir.path()))];
    for step in 1..=3 {
        plain.step(step);
        paged.step(step);
    }
    assert!(plain.bits() == paged.bits());
}

#[test]
fn a_moment_written_back_goes_on_as_before() {
    let mut whole = State::new(1, None);
    whole.step(1);
    let mut restored = State::new(1, None);
    let [parameters, first, second] = whole.bits();
    let parameters: Vec<f32> = parameters.into_iter().map(f32::from_bits).collect();
    restored.device.write(&parameters, &mut restored.parameters);
    restored.first.write(&first);
    restored.second.write(&second);
    whole.step(2);
    restored.step(2);
    assert!(whole.bits() == restored.bits());
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let device = Device::cpu(1).unwrap();
    let error = Moment8::zeros(&device, &LENGTHS, Some(Path::new("absent/place"))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("under `absent/place`"), "{text}");
}
