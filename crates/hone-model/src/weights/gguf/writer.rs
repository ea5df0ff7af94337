//! GGUF out: metadata first, then what every tensor is and where, then the numbers in the same order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hone_tensor::Format;

use super::super::sections::{Section, Sections, WriterError};
use super::tensors::extent;
use super::types::id_of;

/// A metadata value as GGUF types it. Readers ask for exact types: llama.cpp takes `block_count` as `U32` and
/// refuses it as `U64`.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// One byte.
    U8(u8),
    /// One byte with sign.
    I8(i8),
    /// Two bytes.
    U16(u16),
    /// Two bytes with sign.
    I16(i16),
    /// Four bytes, as most counts are.
    U32(u32),
    /// Four bytes with sign, as token types are.
    I32(i32),
    /// Eight bytes.
    U64(u64),
    /// Eight bytes with sign.
    I64(i64),
    /// A number in single precision, as most are.
    F32(f32),
    /// A number in double precision.
    F64(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(String),
    /// Counts in a row.
    U32s(Vec<u32>),
    /// Integers in a row.
    I32s(Vec<i32>),
    /// Numbers in a row, as the scores of tokens are.
    F32s(Vec<f32>),
    /// Answers in a row.
    Bools(Vec<bool>),
    /// Texts in a row, as the vocabulary is.
    Texts(Vec<String>),
    /// Type and value as another file holds them: what `Gguf::typed` gives.
    Copied(Vec<u8>),
}

/// A tensor to be written: what the header says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    /// Its name, of fewer than 64 bytes: llama.cpp has no room for more.
    pub name: String,
    /// Extent of each axis, fastest first: columns, then rows.
    pub dims: Vec<usize>,
    /// How its values are stored.
    pub format: Format,
}

impl GgufTensor {
    /// Bytes it takes; `None` when its rows do not divide into blocks, or it holds nothing or too much.
    pub fn size_bytes(&self) -> Option<u64> {
        let dims: Vec<u64> = self.dims.iter().map(|dim| *dim as u64).collect();
        let has_rows = dims
            .first()
            .is_some_and(|cols| cols.is_multiple_of(self.format.block_len() as u64));
        let (_, size) = extent(&dims, self.format).filter(|_| has_rows && dims.len() <= 4)?;
        Some(size as u64)
    }
}

/// Writes a GGUF file, version 3, tensor by tensor in the order of its header.
///
/// Dropped before [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub struct GgufWriter {
    sections: Sections,
}

/// Where data may begin, unless metadata says otherwise.
const ALIGNMENT: u32 = 32;

/// Bytes of a tensor's name that llama.cpp has room for.
const MAX_NAME_BYTES: usize = 63;

impl GgufWriter {
    /// Begins the file `path`. Data begins at multiples of 32 bytes, or of `general.alignment` when the metadata has it.
    pub fn create(
        path: &Path,
        metadata: &[(String, Typed)],
        tensors: &[GgufTensor],
    ) -> Result<Self, WriterError> {
        let checked = Checked { path };
        let alignment = checked.alignment(metadata)?;
        checked.names(metadata.iter().map(|(key, _)| key))?;
        checked.names(tensors.iter().map(|tensor| &tensor.name))?;
        let mut header = b"GGUF".to_vec();
        header.extend(3_u32.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_text(&mut header, key);
            put_value(&mut header, value);
        }
        let mut sections = Vec::with_capacity(tensors.len());
        let mut offset = 0_u64;
        for tensor in tensors {
            let (id, size_bytes) = checked.tensor(tensor)?;
            put_text(&mut header, &tensor.name);
            header.extend((tensor.dims.len() as u32).to_le_bytes());
            for dim in &tensor.dims {
                header.extend((*dim as u64).to_le_bytes());
            }
            header.extend(id.to_le_bytes());
            header.extend(offset.to_le_bytes());
            let end = offset.checked_add(size_bytes);
            offset = end
                .and_then(|end| end.checked_next_multiple_of(alignment))
                .ok_or_else(|| {
                    checked.unwritable(&tensor.name, "ends beyond what a file can hold".into())
                })?;
            sections.push(Section {
                name: tensor.name.clone(),
                size_bytes,
            });
        }
        Ok(Self {
            sections: Sections::begin(path, &header, sections, alignment)?,
        })
    }

    /// The next bytes of a tensor, in its format and row-major: all of it, or a part.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriterError> {
        self.sections.append(name, bytes)
    }

    /// Gives the file its name once all numbers are there.
    pub fn finish(self) -> Result<(), WriterError> {
        Ok(self.sections.seal()?.take_the_name()?)
    }
}

/// What is compared before anything is written.
struct Checked<'a> {
    path: &'a Path,
}

impl Checked<'_> {
    fn unwritable(&self, name: &str, problem: String) -> WriterError {
        WriterError::Unwritable {
            path: PathBuf::from(self.path),
            name: name.to_owned(),
            problem,
        }
    }

    fn alignment(&self, metadata: &[(String, Typed)]) -> Result<u64, WriterError> {
        let key = "general.alignment";
        let value = metadata
            .iter()
            .find(|row| row.0 == key)
            .map(|row| row.1.clone());
        let alignment = match value {
            None => ALIGNMENT,
            Some(Typed::U32(alignment)) => alignment,
            // A copied value: its type, then the number.
            Some(Typed::Copied(bytes)) => match bytes[..] {
                [4, 0, 0, 0, a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
                _ => 0,
            },
            Some(_) => 0,
        };
        if alignment.is_power_of_two() && alignment >= 8 {
            return Ok(alignment.into());
        }
        Err(self.unwritable(key, "is not a power of two of at least 8 in 32 bits".into()))
    }

    fn names<'n>(&self, names: impl Iterator<Item = &'n String>) -> Result<(), WriterError> {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                return Err(WriterError::Twice {
                    path: PathBuf::from(self.path),
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }

    fn tensor(&self, tensor: &GgufTensor) -> Result<(u32, u64), WriterError> {
        let format = tensor.format.name();
        let id = id_of(tensor.format);
        let id = id.ok_or_else(|| {
            self.unwritable(
                &tensor.name,
                format!("is stored as {format}, which GGUF has no type for"),
            )
        })?;
        if tensor.name.len() > MAX_NAME_BYTES {
            let problem =
                format!("is a longer name than the {MAX_NAME_BYTES} bytes that llama.cpp reads");
            return Err(self.unwritable(&tensor.name, problem));
        }
        let size_bytes = tensor.size_bytes().ok_or_else(|| {
            let problem = format!("cannot have the shape {:?} as {format}", tensor.dims);
            self.unwritable(&tensor.name, problem)
        })?;
        Ok((id, size_bytes))
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Typed) {
    match value {
        Typed::U8(number) => put_scalar(out, 0, number.to_le_bytes()),
        Typed::I8(number) => put_scalar(out, 1, number.to_le_bytes()),
        Typed::U16(number) => put_scalar(out, 2, number.to_le_bytes()),
        Typed::I16(number) => put_scalar(out, 3, number.to_le_bytes()),
        Typed::U32(number) => put_scalar(out, 4, number.to_le_bytes()),
        Typed::I32(number) => put_scalar(out, 5, number.to_le_bytes()),
        Typed::F32(number) => put_scalar(out, 6, number.to_le_bytes()),
        Typed::Bool(answer) => put_scalar(out, 7, [u8::from(*answer)]),
        Typed::U64(number) => put_scalar(out, 10, number.to_le_bytes()),
        Typed::I64(number) => put_scalar(out, 11, number.to_le_bytes()),
        Typed::F64(number) => put_scalar(out, 12, number.to_le_bytes()),
        Typed::Text(text) => {
            out.extend(8_u32.to_le_bytes());
            put_text(out, text);
        }
        Typed::U32s(numbers) => {
            put_array(out, 4, numbers, |out, n| out.extend(n.to_le_bytes()));
        }
        Typed::I32s(numbers) => {
            put_array(out, 5, numbers, |out, n| out.extend(n.to_le_bytes()));
        }
        Typed::F32s(numbers) => {
            put_array(out, 6, numbers, |out, n| out.extend(n.to_le_bytes()));
        }
        Typed::Bools(answers) => put_array(out, 7, answers, |out, a| out.push(u8::from(*a))),
        Typed::Texts(texts) => put_array(out, 8, texts, |out, text| put_text(out, text)),
        Typed::Copied(bytes) => out.extend(bytes),
    }
}

fn put_scalar<const WIDTH: usize>(out: &mut Vec<u8>, id: u32, bytes: [u8; WIDTH]) {
    out.extend(id.to_le_bytes());
    out.extend(bytes);
}

fn put_array<T>(out: &mut Vec<u8>, id: u32, values: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend(9_u32.to_le_bytes());
    out.extend(id.to_le_bytes());
    out.extend((values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| put(out, value));
}

#[cfg(test)]
mod tests {
    use super::super::{Gguf, Value};
    use super::*;

    fn tensor(name: &str, dims: &[usize], format: Format) -> GgufTensor {
        GgufTensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            format,
        }
    }

    fn every_type() -> Vec<(String, Typed)> {
        let values = [
            Typed::U8(200),
            Typed::I8(-100),
            Typed::U16(60_000),
            Typed::I16(-30_000),
            Typed::U32(4_000_000_000),
            Typed::I32(-2_000_000_000),
            Typed::U64(u64::MAX),
            Typed::I64(i64::MIN),
            Typed::F32(0.1),
            Typed::F64(0.1),
            Typed::Bool(true),
            Typed::Text("grüß".into()),
            Typed::U32s(vec![1, 4_000_000_000]),
            Typed::I32s(vec![-1, 1]),
            Typed::F32s(vec![0.5, -1e30]),
            Typed::Bools(vec![true, false]),
            Typed::Texts(vec!["a".into(), String::new()]),
        ];
        let keyed = values.into_iter().enumerate();
        keyed.map(|(at, value)| (format!("k{at}"), value)).collect()
    }

    #[test]
    fn values_of_every_type_and_tensors_are_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let tensors = [
            tensor("w", &[32, 3], Format::Q8_0),
            tensor("odd", &[3], Format::F16),
            tensor("cube", &[2, 2, 2], Format::F32),
        ];
        let mut writer = GgufWriter::create(&path, &every_type(), &tensors).unwrap();
        for byte in 0..102 {
            writer.append("w", &[byte]).unwrap();
        }
        writer.append("odd", &[7; 6]).unwrap();
        assert!(!path.exists());
        writer.append("cube", &[0; 32]).unwrap();
        writer.finish().unwrap();

        let file = Gguf::open(&path).unwrap();
        let value = |at: usize| file.get(&format!("k{at}")).unwrap().clone();
        assert_eq!(value(0), Value::Int(200));
        assert_eq!(value(1), Value::Int(-100));
        assert_eq!(value(2), Value::Int(60_000));
        assert_eq!(value(3), Value::Int(-30_000));
        assert_eq!(value(4), Value::Int(4_000_000_000));
        assert_eq!(value(5), Value::Int(-2_000_000_000));
        assert_eq!(value(6), Value::Int(u64::MAX.into()));
        assert_eq!(value(7), Value::Int(i64::MIN.into()));
        assert_eq!(value(8), Value::Float(0.1_f32.into()));
        assert_eq!(value(9), Value::Float(0.1));
        assert_eq!(value(10), Value::Bool(true));
        assert_eq!(value(11), Value::Text("grüß".into()));
        assert_eq!(value(12), Value::Ints(vec![1, 4_000_000_000]));
        assert_eq!(value(13), Value::Ints(vec![-1, 1]));
        assert_eq!(value(14), Value::Floats(vec![0.5, (-1e30_f32).into()]));
        assert_eq!(value(15), Value::Bools(vec![true, false]));
        assert_eq!(value(16), Value::Texts(vec!["a".into(), String::new()]));
        let matrix = file.matrix("w").unwrap().unwrap();
        assert_eq!((matrix.rows(), matrix.cols()), (3, 32));
        assert!(matrix.bytes().iter().copied().eq(0..102));
        assert_eq!(file.matrix("odd").unwrap().unwrap().bytes(), [7; 6]);
        assert_eq!(file.tensor("cube").unwrap().dims, [2, 2, 2]);
    }

    #[test]
    fn metadata_copied_from_another_file_keeps_types_and_order() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.gguf"), dir.path().join("b.gguf"));
        let mut metadata = every_type();
        metadata.push(("general.alignment".into(), Typed::U32(64)));
        let write = |path: &Path, metadata: &[(String, Typed)]| {
            let tensors = [tensor("v", &[1], Format::F32)];
            let mut writer = GgufWriter::create(path, metadata, &tensors).unwrap();
            writer.append("v", &[0; 4]).unwrap();
            writer.finish().unwrap();
        };
        write(&first, &metadata);
        let file = Gguf::open(&first).unwrap();
        let copied: Vec<(String, Typed)> = file
            .keys()
            .map(|key| (key.to_owned(), file.typed(key).unwrap()))
            .collect();
        assert!(
            copied
                .iter()
                .map(|row| &row.0)
                .eq(metadata.iter().map(|row| &row.0))
        );
        write(&second, &copied);
        let bytes = std::fs::read(&first).unwrap();
        assert!(bytes.len().is_multiple_of(64));
        assert!(bytes == std::fs::read(&second).unwrap());
    }

    #[test]
    fn what_gguf_cannot_hold_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let refusal = |metadata: &[(String, Typed)], tensors: &[GgufTensor]| {
            let error = GgufWriter::create(&path, metadata, tensors).unwrap_err();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            error.to_string().split_once(": ").unwrap().1.to_owned()
        };
        let one = |name: &str, dims: &[usize], format| refusal(&[], &[tensor(name, dims, format)]);
        assert_eq!(
            one("w", &[48, 2], Format::Q4_0),
            "`w` cannot have the shape [48, 2] as Q4_0"
        );
        for dims in [&[][..], &[0], &[1; 5], &[usize::MAX, 2]] {
            assert!(one("w", dims, Format::F32).contains("cannot have the shape"));
        }
        assert_eq!(
            one("w", &[64], Format::Nf4),
            "`w` is stored as NF4, which GGUF has no type for"
        );
        assert!(one(&"w".repeat(64), &[1], Format::F32).ends_with("that llama.cpp reads"));
        let w = tensor("w", &[1], Format::F32);
        assert_eq!(refusal(&[], &[w.clone(), w]), "`w` would be written twice");
        let key = ("k".to_owned(), Typed::Bool(true));
        assert_eq!(
            refusal(&[key.clone(), key], &[]),
            "`k` would be written twice"
        );
        for alignment in [Typed::U32(48), Typed::U32(0), Typed::U64(32)] {
            let key = ("general.alignment".to_owned(), alignment);
            assert!(refusal(&[key], &[]).contains("not a power of two"));
        }
    }

    #[test]
    fn an_unfinished_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.gguf");
        let tensors = [tensor("v", &[2], Format::F32)];
        let mut writer = GgufWriter::create(&path, &[], &tensors).unwrap();
        writer.append("v", &[0; 4]).unwrap();
        assert!(matches!(
            writer.finish(),
            Err(WriterError::Unfinished { left: 4, .. })
        ));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
