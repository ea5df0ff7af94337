//! The CPU, and a back-end of six methods whose ops are the plain loops, do what every back-end must do.

use std::sync::Arc;

use hone_conformance::{CHECKS, Plain};
use hone_tensor::{Device, Element};

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
