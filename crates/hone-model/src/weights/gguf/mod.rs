//! GGUF: one file with typed metadata and tensors in stored blocks.
//!
//! The reader believes nothing: every count is compared with the bytes that are left before memory is taken for
//! it, every product and sum is checked, and names may not repeat. What it returns points into the mapped file.

mod malformed;
mod split;
mod tensors;
mod types;
mod values;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use hone_tensor::{Bytes, StoredMatrix};

pub use malformed::{GgufError, Malformed};
pub use split::PartName;
pub use tensors::TensorEntry;
pub use values::Value;
pub use writer::{GgufTensor, GgufWriter, Typed};

use values::{Entry, Reader};

/// A GGUF file whose header has been read and checked, or several that hold one model.
#[derive(Clone, Debug)]
pub struct Gguf {
    metadata: HashMap<String, Entry>,
    tensors: BTreeMap<String, TensorEntry>,
    /// The file, or the files that a model is spread over; metadata is that of the first.
    parts: Vec<Bytes>,
}

impl Gguf {
    /// Maps and checks a file; of a model that is spread over several all of them, which lie beside the given one.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::open_one(path)?.with_other_parts(path)
    }

    fn open_one(path: &Path) -> Result<Self, GgufError> {
        super::mapped::map(path)
            .map_err(Malformed::Unreadable)
            .and_then(Self::parse)
            .map_err(|problem| GgufError {
                path: path.to_path_buf(),
                problem,
            })
    }

    /// Checks bytes that are a whole file.
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader {
            bytes: bytes.as_slice(),
            at: 0,
        };
        reader.expect_magic()?;
        reader.expect_version()?;
        let num_tensors = reader.u64("the tensor count")?;
        let num_keys = reader.u64("the metadata count")?;
        let metadata = values::read_metadata(&mut reader, num_keys)?;
        let headers = tensors::read_headers(&mut reader, num_tensors)?;
        let alignment = values::alignment(&metadata)?;
        let tensors = tensors::place(headers, reader.at, bytes.len(), alignment)?;
        Ok(Self {
            metadata,
            tensors,
            parts: vec![bytes],
        })
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key).map(|entry| &entry.value)
    }

    /// A metadata value with its type, to be written into another file.
    pub fn typed(&self, key: &str) -> Option<Typed> {
        let span = self.metadata.get(key)?.span.clone();
        Some(Typed::Copied(self.parts[0].as_slice()[span].to_vec()))
    }

    /// All metadata keys, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let mut entries: Vec<(&String, &Entry)> = self.metadata.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.span.start);
        entries.into_iter().map(|(key, _)| key.as_str())
    }

    /// A non-negative integer, when the key is there.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Malformed> {
        self.taken(key, "an integer of 32 bits", |value| match value {
            Value::Int(number) => (*number).try_into().ok(),
            _ => None,
        })
    }

    /// A number, when the key is there.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Malformed> {
        self.taken(key, "a number", |value| match value {
            Value::Float(number) => Some(*number as f32),
            Value::Int(number) => Some(*number as f32),
            _ => None,
        })
    }

    /// Yes or no, when the key is there.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Malformed> {
        self.taken(key, "true or false", |value| match value {
            Value::Bool(answer) => Some(*answer),
            _ => None,
        })
    }

    /// Text, when the key is there.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Malformed> {
        self.taken(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Texts in a row, when the key is there.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Malformed> {
        self.taken(key, "an array of text", |value| match value {
            Value::Texts(texts) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// Integers in a row, when the key is there.
    pub fn ints(&self, key: &str) -> Result<Option<&[i64]>, Malformed> {
        self.taken(key, "an array of integers", |value| match value {
            Value::Ints(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// Numbers in a row, when the key is there.
    pub fn floats(&self, key: &str) -> Result<Option<&[f64]>, Malformed> {
        self.taken(key, "an array of numbers", |value| match value {
            Value::Floats(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    fn taken<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        take: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || Malformed::Key {
            key: key.to_owned(),
            expected,
            found: value.describe(),
        };
        take(value).map(Some).ok_or_else(wrong)
    }

    /// Every tensor, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorEntry)> {
        self.tensors
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// Where a tensor lies.
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.tensors.get(name)
    }

    /// A tensor in its stored form, when it is there; it shares the file's memory. Axes beyond the second are
    /// further rows.
    pub fn matrix(&self, name: &str) -> Option<Result<StoredMatrix, Malformed>> {
        self.tensors.get(name).map(|entry| {
            let bytes = self.parts[entry.part]
                .slice(entry.start..entry.start + entry.size_bytes)
                .expect("every tensor was placed inside the file");
            StoredMatrix::new(
                entry.dims[1..].iter().product(),
                entry.dims[0],
                entry.format,
                bytes,
            )
            .map_err(|source| Malformed::Matrix {
                name: name.to_owned(),
                source,
            })
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use hone_tensor::Format;

    use super::*;

    /// Writes a small file: metadata values and tensors as given, data all zeros.
    pub(in super::super) struct Writer {
        pub version: u32,
        pub metadata: Vec<Vec<u8>>,
        pub tensors: Vec<Vec<u8>>,
        pub data: usize,
    }

    pub(in super::super) fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    pub(in super::super) fn key(name: &str, id: u32, value: &[u8]) -> Vec<u8> {
        [&text(name), &id.to_le_bytes()[..], value].concat()
    }

    pub(in super::super) fn tensor(name: &str, dims: &[u64], id: u32, offset: u64) -> Vec<u8> {
        let mut bytes = text(name);
        bytes.extend((dims.len() as u32).to_le_bytes());
        bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        bytes.extend(id.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes
    }

    impl Writer {
        fn small() -> Self {
            let array = |id: u32, count: u64, rest: &[u8]| {
                [&id.to_le_bytes()[..], &count.to_le_bytes(), rest].concat()
            };
            Self {
                version: 3,
                metadata: vec![
                    key("a.number", 4, &7_u32.to_le_bytes()),
                    key("a.minus", 5, &(-7_i32).to_le_bytes()),
                    key("a.fraction", 6, &0.5_f32.to_le_bytes()),
                    key("an.answer", 7, &[1]),
                    key("a.text", 8, &text("grüß")),
                    key(
                        "some.texts",
                        9,
                        &array(8, 2, &[text("a"), text("")].concat()),
                    ),
                    key(
                        "some.numbers",
                        9,
                        &array(5, 2, &[1, 0, 0, 0, 255, 255, 255, 255]),
                    ),
                ],
                tensors: vec![tensor("w", &[32, 3], 3, 0), tensor("v", &[4], 0, 64)],
                data: 80,
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let mut bytes = b"GGUF".to_vec();
            bytes.extend(self.version.to_le_bytes());
            bytes.extend((self.tensors.len() as u64).to_le_bytes());
            bytes.extend((self.metadata.len() as u64).to_le_bytes());
            bytes.extend(self.metadata.iter().chain(&self.tensors).flatten());
            bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
            bytes
        }

        pub(in super::super) fn parse(&self) -> Result<Gguf, Malformed> {
            Gguf::parse(Bytes::from_vec(self.bytes()))
        }

        fn refusal(&self) -> String {
            self.parse().unwrap_err().to_string()
        }
    }

    #[test]
    fn values_and_tensors_are_read_as_written() {
        let file = Writer::small().parse().unwrap();
        assert_eq!(file.u32("a.number").unwrap(), Some(7));
        assert_eq!(file.get("a.minus"), Some(&Value::Int(-7)));
        assert_eq!(file.f32("a.fraction").unwrap(), Some(0.5));
        assert_eq!(file.bool("an.answer").unwrap(), Some(true));
        assert_eq!(file.str("a.text").unwrap(), Some("grüß"));
        assert_eq!(file.strings("some.texts").unwrap().unwrap(), ["a", ""]);
        assert_eq!(file.ints("some.numbers").unwrap().unwrap(), [1, -1]);
        assert_eq!(file.u32("not.there").unwrap(), None);
        let matrix = file.matrix("w").unwrap().unwrap();
        assert_eq!(
            (matrix.rows(), matrix.cols(), matrix.format()),
            (3, 32, Format::Q4_1)
        );
        assert!(file.matrix("x").is_none());
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_key() {
        let file = Writer::small().parse().unwrap();
        let message = |error: Malformed| error.to_string();
        assert_eq!(
            message(file.u32("a.minus").unwrap_err()),
            "metadata `a.minus` should be an integer of 32 bits, found -7"
        );
        assert_eq!(
            message(file.str("some.texts").unwrap_err()),
            "metadata `some.texts` should be text, found an array of 2 texts"
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = Writer::small().bytes();
        for len in 0..whole.len() {
            let error = Gguf::parse(Bytes::from_vec(whole[..len].to_vec())).unwrap_err();
            assert!(!error.to_string().is_empty(), "cut to {len} bytes");
        }
        assert!(Gguf::parse(Bytes::from_vec(whole)).is_ok());
    }

    #[test]
    fn any_byte_may_change_without_a_panic() {
        let whole = Writer::small().bytes();
        for at in 0..whole.len() {
            for value in [0, 1, 7, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(file) = Gguf::parse(Bytes::from_vec(bytes)) {
                    let names: Vec<&str> = file.tensors().map(|(name, _)| name).collect();
                    names.iter().for_each(|name| {
                        drop(file.matrix(name).map(|matrix| matrix.map(|m| m.to_f32())))
                    });
                }
            }
        }
    }

    #[test]
    fn what_is_not_gguf_is_refused_by_its_first_bytes() {
        let parse = |bytes: &[u8]| {
            Gguf::parse(Bytes::from_vec(bytes.to_vec()))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            parse(b"PK\x03\x04rest"),
            "not a GGUF file: it starts with [50, 4b, 03, 04] instead of \"GGUF\""
        );
        assert_eq!(
            parse(b""),
            "not a GGUF file: it starts with [] instead of \"GGUF\""
        );
        let refusal = Writer {
            version: 1,
            ..Writer::small()
        }
        .refusal();
        assert_eq!(
            refusal,
            "GGUF version 1; versions 2 and 3 in little-endian order are known"
        );
        assert!(
            Writer {
                version: 3_u32.swap_bytes(),
                ..Writer::small()
            }
            .refusal()
            .contains("50331648")
        );
    }

    #[test]
    fn counts_beyond_the_file_take_no_memory() {
        for at in [8, 16] {
            let mut bytes = Writer::small().bytes();
            bytes[at..at + 8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
            let error = Gguf::parse(Bytes::from_vec(bytes)).unwrap_err();
            assert!(matches!(error, Malformed::Count { .. }), "{error}");
        }
        let mut file = Writer::small();
        file.metadata[0] = key(
            "a",
            9,
            &[4, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        assert!(matches!(file.parse(), Err(Malformed::Count { .. })));
        file.metadata[0] = key("a", 8, &u64::MAX.to_le_bytes());
        assert!(matches!(file.parse(), Err(Malformed::Count { .. })));
    }

    #[test]
    fn names_appear_once() {
        let mut file = Writer::small();
        file.metadata[1] = key("a.number", 7, &[0]);
        assert_eq!(file.refusal(), "metadata `a.number` appears twice");
        let mut file = Writer::small();
        file.tensors[1] = tensor("w", &[4], 0, 64);
        assert_eq!(file.refusal(), "tensor `w` appears twice");
    }

    #[test]
    fn unknown_types_are_refused_by_name_with_the_known_ones() {
        let mut file = Writer::small();
        file.tensors[0] = tensor("w", &[256], 22, 0);
        assert_eq!(
            file.refusal(),
            "tensor `w` is stored as IQ2_S; Hone reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K"
        );
        file.tensors[0] = tensor("w", &[256], 99, 0);
        assert!(file.refusal().contains("stored as type 99"));
        let mut file = Writer::small();
        file.metadata[0] = key("odd", 13, &[]);
        assert_eq!(
            file.refusal(),
            "metadata `odd` has type 13, which is unknown here"
        );
        file.metadata[0] = key("odd", 9, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(
            file.parse(),
            Err(Malformed::ValueType { id: 9, .. })
        ));
    }

    #[test]
    fn shapes_that_overflow_or_hold_nothing_are_refused() {
        let mut file = Writer::small();
        for dims in [
            &[u64::MAX, 32][..],
            &[32, u64::MAX],
            &[1 << 32, 1 << 32],
            &[0],
            &[32, 0],
        ] {
            file.tensors[0] = tensor("w", dims, 0, 0);
            assert!(
                matches!(file.parse(), Err(Malformed::Shape { .. })),
                "{dims:?}"
            );
        }
        for dims in [&[][..], &[1; 5]] {
            file.tensors[0] = tensor("w", dims, 0, 0);
            assert!(
                matches!(file.parse(), Err(Malformed::Axes { .. })),
                "{dims:?}"
            );
        }
        file.tensors[0] = tensor("w", &[48], 3, 0);
        assert_eq!(
            file.refusal(),
            "tensor `w`: rows of 48 values do not divide into Q4_1 blocks of 32"
        );
    }

    #[test]
    fn data_lies_inside_the_file_aligned_and_apart() {
        let mut file = Writer::small();
        for offset in [96, 61, u64::MAX - 31, 1 << 40] {
            file.tensors[1] = tensor("v", &[4], 0, offset);
            assert!(
                matches!(file.parse(), Err(Malformed::Offset { .. })),
                "{offset}"
            );
        }
        file.tensors[1] = tensor("v", &[4], 0, 32);
        assert_eq!(file.refusal(), "tensors `w` and `v` overlap");
    }

    #[test]
    fn an_alignment_is_a_power_of_two() {
        for alignment in [0_u32, 3, 48] {
            let mut file = Writer::small();
            file.metadata
                .push(key("general.alignment", 4, &alignment.to_le_bytes()));
            assert_eq!(
                file.refusal(),
                format!("alignment {alignment} is not a power of two")
            );
        }
        let mut file = Writer::small();
        file.metadata
            .push(key("general.alignment", 4, &(1_u32 << 31).to_le_bytes()));
        assert!(matches!(file.parse(), Err(Malformed::Offset { .. })));
    }
}
