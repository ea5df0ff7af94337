//! Stored formats against second opinions: the `gguf` Python package and bitsandbytes, bit for bit.

use std::path::PathBuf;

use hone_tensor::nf4::{self, Nf4Scales};
use hone_tensor::{Bytes, Format, StoredMatrix};
use safetensors::SafeTensors;

struct Golden(Vec<u8>);

impl Golden {
    fn read(file: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/golden")
            .join(file);
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.bytes(name);
        (
            shape,
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        )
    }
}

fn assert_same_bits(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (at, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(same, "{what}, value {at}: {a} is not {b}");
    }
}

#[test]
fn every_gguf_type_dequantises_like_the_gguf_package() {
    let golden = Golden::read("gguf_blocks.safetensors");
    for format in Format::ALL
        .into_iter()
        .filter(|format| *format != Format::F32 && !format.has_scales_aside())
    {
        let name = format.name();
        let (shape, values) = golden.f32(&format!("{name}.values"));
        let (_, bytes) = golden.bytes(&format!("{name}.bytes"));
        let matrix = StoredMatrix::new(shape[0], shape[1], format, Bytes::from_vec(bytes)).unwrap();
        assert_same_bits(&matrix.to_f32(), &values, name);
    }
}

#[test]
fn simple_formats_are_encoded_like_the_gguf_package() {
    let golden = Golden::read("gguf_encoded.safetensors");
    let (shape, values) = golden.f32("input");
    for format in [
        Format::F16,
        Format::Bf16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
    ] {
        let matrix = StoredMatrix::encode(format, &values, shape[0], shape[1]).unwrap();
        let (_, theirs) = golden.bytes(&format!("{}.bytes", format.name()));
        for (row, theirs) in theirs.chunks(format.row_bytes(shape[1])).enumerate() {
            assert_eq!(matrix.row_bytes(row), theirs, "{} row {row}", format.name());
        }
    }
}

const NF4_CASES: [&str; 9] = [
    "normal",
    "nested",
    "straddling",
    "partial",
    "odd",
    "zeros",
    "all_zero",
    "small",
    "ties",
];

#[test]
fn nf4_is_what_bitsandbytes_makes_of_it() {
    let golden = Golden::read("nf4.safetensors");
    for case in NF4_CASES {
        let (shape, values) = golden.f32(&format!("{case}.input"));
        let matrix = nf4::quantize(&values, shape[0], shape[1], false).unwrap();
        assert_eq!(
            matrix.bytes(),
            golden.bytes(&format!("{case}.packed")).1,
            "{case}"
        );
        let Some(Nf4Scales::Plain(scales)) = matrix.nf4_scales() else {
            panic!("{case}: plain scales")
        };
        assert_same_bits(scales, &golden.f32(&format!("{case}.absmax")).1, case);
        assert_same_bits(
            &matrix.to_f32(),
            &golden.f32(&format!("{case}.dequantised")).1,
            case,
        );
    }
}

#[test]
fn double_quantised_scales_are_what_bitsandbytes_makes_of_them() {
    let golden = Golden::read("nf4.safetensors");
    for case in NF4_CASES {
        let (shape, values) = golden.f32(&format!("{case}.input"));
        let matrix = nf4::quantize(&values, shape[0], shape[1], true).unwrap();
        let Some(Nf4Scales::Double {
            codes,
            nested,
            offset,
        }) = matrix.nf4_scales()
        else {
            panic!("{case}: double scales")
        };
        let expect = |part: &str| golden.f32(&format!("{case}.nested.{part}")).1;
        assert_same_bits(&[*offset], &expect("offset"), case);
        assert_same_bits(nested, &expect("absmax"), case);
        assert_eq!(
            codes,
            &golden.bytes(&format!("{case}.nested.absmax_codes")).1,
            "{case}"
        );
        assert_same_bits(&matrix.to_f32(), &expect("dequantised"), case);
    }
}

#[test]
fn the_code_books_are_those_of_bitsandbytes() {
    let golden = Golden::read("nf4.safetensors");
    assert_same_bits(&nf4::LEVELS, &golden.f32("quant_map").1, "levels");
    assert_same_bits(
        nf4::dynamic_map(),
        &golden.f32("nested_quant_map").1,
        "dynamic map",
    );
}
