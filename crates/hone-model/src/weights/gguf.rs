//! GGUF: one file with typed metadata and tensors in stored blocks.
//!
//! The reader believes nothing: every count is compared with the bytes that are left before memory is taken for
//! it, every product and sum is checked, and names may not repeat. What it returns points into the mapped file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use hone_tensor::{Bytes, Format, StoredError, StoredMatrix};

/// A GGUF file whose header has been read and checked.
#[derive(Clone, Debug)]
pub struct Gguf {
    metadata: HashMap<String, Value>,
    tensors: BTreeMap<String, TensorEntry>,
    bytes: Bytes,
}

/// A metadata value; integers of every width are widened.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A signed or unsigned integer.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(String),
    /// Integers in a row.
    Ints(Vec<i64>),
    /// Numbers in a row.
    Floats(Vec<f64>),
    /// Answers in a row.
    Bools(Vec<bool>),
    /// Texts in a row.
    Texts(Vec<String>),
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// Extent of each axis, fastest first: columns, then rows.
    pub dims: Vec<usize>,
    /// How its values are stored.
    pub format: Format,
    /// First byte, from the start of the file.
    start: usize,
    size_bytes: usize,
}

/// A GGUF file that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct GgufError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: Malformed,
}

/// What is wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The file cannot be opened.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The first four bytes are something else.
    #[error("not a GGUF file: it starts with {0:02x?} instead of \"GGUF\"")]
    Magic(Vec<u8>),
    /// A version from before or after.
    #[error("GGUF version {0}; versions 2 and 3 in little-endian order are known")]
    Version(u32),
    /// The file ends too early.
    #[error(
        "ends inside {what}: {needed} bytes needed at offset {at}, {left} left; the file may be truncated"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where in the file.
        at: usize,
        /// How many bytes it takes.
        needed: usize,
        /// How many there are.
        left: usize,
    },
    /// A count that the rest of the file could not hold.
    #[error("claims {count} {what}, more than the {left} bytes left can hold")]
    Count {
        /// What is counted.
        what: String,
        /// How many.
        count: u64,
        /// Bytes left in the file.
        left: usize,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8 text")]
    NotText {
        /// What was being read.
        what: String,
    },
    /// A metadata type that does not exist, or an array of arrays.
    #[error("metadata `{key}` has type {id}, which is unknown here")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        id: u32,
    },
    /// A key or a tensor that appears twice.
    #[error("{what} `{name}` appears twice")]
    Duplicate {
        /// Metadata or tensor.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// An alignment that is not a power of two.
    #[error("alignment {0} is not a power of two")]
    Alignment(u64),
    /// No axes, or too many.
    #[error("tensor `{name}` has {count} axes; one to four are possible")]
    Axes {
        /// The tensor.
        name: String,
        /// How many axes.
        count: u32,
    },
    /// A tensor of nothing, or of more than memory can address.
    #[error("tensor `{name}` has the impossible shape {dims:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Extent of each axis, as written.
        dims: Vec<u64>,
    },
    /// A type Hone does not read.
    #[error("tensor `{name}` is stored as {found}; Hone reads {known}")]
    TensorType {
        /// The tensor.
        name: String,
        /// The type's name, or its number.
        found: String,
        /// The ones that are read.
        known: String,
    },
    /// Data outside the file, or not where data can start.
    #[error(
        "tensor `{name}` takes {size_bytes} bytes at data offset {offset}, but the file holds {available} bytes of data in steps of {alignment}"
    )]
    Offset {
        /// The tensor.
        name: String,
        /// Where its data starts.
        offset: u64,
        /// How long it is.
        size_bytes: usize,
        /// How much data there is.
        available: usize,
        /// Where data can start.
        alignment: usize,
    },
    /// Two tensors in one place.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that starts earlier.
        first: String,
        /// The other.
        second: String,
    },
    /// A key with another type than it should have.
    #[error("metadata `{key}` should be {expected}, found {found}")]
    Key {
        /// The key.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A key that must be there.
    #[error("metadata `{key}` is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A tensor that does not fit its type.
    #[error("tensor `{name}`: {source}")]
    Matrix {
        /// The tensor.
        name: String,
        /// What does not fit.
        source: StoredError,
    },
}

/// The types Hone reads, by their numbers in the file.
const READ: [(u32, Format); 11] = [
    (0, Format::F32),
    (1, Format::F16),
    (30, Format::Bf16),
    (2, Format::Q4_0),
    (3, Format::Q4_1),
    (6, Format::Q5_0),
    (7, Format::Q5_1),
    (8, Format::Q8_0),
    (12, Format::Q4K),
    (13, Format::Q5K),
    (14, Format::Q6K),
];

/// The types it only knows by name.
const NAMED: [(u32, &str); 23] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl Gguf {
    /// Maps and checks a file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
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
        let metadata = read_metadata(&mut reader, num_keys)?;
        let headers = read_headers(&mut reader, num_tensors)?;
        let tensors = place(headers, reader.at, bytes.len(), alignment(&metadata)?)?;
        Ok(Self {
            metadata,
            tensors,
            bytes,
        })
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// All metadata keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// A non-negative integer, when the key is there.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, Malformed> {
        self.typed(key, "an integer of 32 bits", |value| match value {
            Value::Int(number) => (*number).try_into().ok(),
            _ => None,
        })
    }

    /// A number, when the key is there.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Malformed> {
        self.typed(key, "a number", |value| match value {
            Value::Float(number) => Some(*number as f32),
            Value::Int(number) => Some(*number as f32),
            _ => None,
        })
    }

    /// Yes or no, when the key is there.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Malformed> {
        self.typed(key, "true or false", |value| match value {
            Value::Bool(answer) => Some(*answer),
            _ => None,
        })
    }

    /// Text, when the key is there.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Malformed> {
        self.typed(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Texts in a row, when the key is there.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Malformed> {
        self.typed(key, "an array of text", |value| match value {
            Value::Texts(texts) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// Integers in a row, when the key is there.
    pub fn ints(&self, key: &str) -> Result<Option<&[i64]>, Malformed> {
        self.typed(key, "an array of integers", |value| match value {
            Value::Ints(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// Numbers in a row, when the key is there.
    pub fn floats(&self, key: &str) -> Result<Option<&[f64]>, Malformed> {
        self.typed(key, "an array of numbers", |value| match value {
            Value::Floats(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        take: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.metadata.get(key) else {
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
            let bytes = self
                .bytes
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

impl Value {
    fn describe(&self) -> String {
        let array = |count: usize, of: &str| format!("an array of {count} {of}");
        match self {
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(answer) => answer.to_string(),
            Self::Text(text) => format!("text of {} bytes", text.len()),
            Self::Ints(numbers) => array(numbers.len(), "integers"),
            Self::Floats(numbers) => array(numbers.len(), "numbers"),
            Self::Bools(answers) => array(answers.len(), "booleans"),
            Self::Texts(texts) => array(texts.len(), "texts"),
        }
    }
}

/// A tensor as the header describes it, not yet compared with the data.
struct Header {
    name: String,
    dims: Vec<usize>,
    format: Format,
    size_bytes: usize,
    offset: u64,
}

fn read_metadata(reader: &mut Reader, count: u64) -> Result<HashMap<String, Value>, Malformed> {
    // A key takes at least its length, a type and one byte.
    let count = reader.plausible(count, 8 + 4 + 1, "metadata keys")?;
    let mut metadata = HashMap::with_capacity(count);
    for _ in 0..count {
        let key = reader.string("a metadata key")?;
        let value = reader.value(&key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(Malformed::Duplicate {
                what: "metadata",
                name: key,
            });
        }
    }
    Ok(metadata)
}

fn read_headers(reader: &mut Reader, count: u64) -> Result<Vec<Header>, Malformed> {
    // A tensor takes at least the length of its name, a count, one axis, a type and an offset.
    let count = reader.plausible(count, 8 + 4 + 8 + 4 + 8, "tensors")?;
    let mut seen = HashSet::with_capacity(count);
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let header = reader.header()?;
        if !seen.insert(header.name.clone()) {
            return Err(Malformed::Duplicate {
                what: "tensor",
                name: header.name,
            });
        }
        headers.push(header);
    }
    Ok(headers)
}

fn alignment(metadata: &HashMap<String, Value>) -> Result<usize, Malformed> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(Value::Int(number)) => match u32::try_from(*number) {
            Ok(alignment) if alignment.is_power_of_two() => Ok(alignment as usize),
            _ => Err(Malformed::Alignment(
                u64::try_from(*number).unwrap_or(u64::MAX),
            )),
        },
        Some(value) => Err(Malformed::Key {
            key: "general.alignment".into(),
            expected: "an integer of 32 bits",
            found: value.describe(),
        }),
    }
}

/// Compares every tensor with the data that follows the headers, and with each other.
fn place(
    headers: Vec<Header>,
    end_of_headers: usize,
    len: usize,
    alignment: usize,
) -> Result<BTreeMap<String, TensorEntry>, Malformed> {
    let data = end_of_headers.next_multiple_of(alignment);
    let available = len.saturating_sub(data);
    let mut tensors = BTreeMap::new();
    let mut spans = Vec::with_capacity(headers.len());
    for Header {
        name,
        dims,
        format,
        size_bytes,
        offset,
    } in headers
    {
        let inside = usize::try_from(offset).ok().filter(|offset| {
            offset.is_multiple_of(alignment)
                && offset
                    .checked_add(size_bytes)
                    .is_some_and(|end| end <= available)
        });
        let Some(offset) = inside else {
            return Err(Malformed::Offset {
                name,
                offset,
                size_bytes,
                available,
                alignment,
            });
        };
        spans.push((offset, offset + size_bytes, name.clone()));
        tensors.insert(
            name,
            TensorEntry {
                dims,
                format,
                start: data + offset,
                size_bytes,
            },
        );
    }
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(Malformed::Overlap {
            first: pair[0].2.clone(),
            second: pair[1].2.clone(),
        }),
        None => Ok(tensors),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, needed: usize, what: &str) -> Result<&'a [u8], Malformed> {
        let (at, left) = (self.at, self.left());
        if needed > left {
            return Err(Malformed::Truncated {
                what: what.to_owned(),
                at,
                needed,
                left,
            });
        }
        self.at += needed;
        Ok(&self.bytes[at..at + needed])
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Malformed> {
        Ok(self
            .take(N, what)?
            .try_into()
            .expect("as many bytes were taken"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn expect_magic(&mut self) -> Result<(), Malformed> {
        let start = &self.bytes[..self.bytes.len().min(4)];
        if start != b"GGUF" {
            return Err(Malformed::Magic(start.to_vec()));
        }
        self.at = 4;
        Ok(())
    }

    fn expect_version(&mut self) -> Result<(), Malformed> {
        match self.u32("the version")? {
            2 | 3 => Ok(()),
            version => Err(Malformed::Version(version)),
        }
    }

    /// A count of things that take at least `each` bytes, when so many fit into the rest of the file.
    fn plausible(&self, count: u64, each: usize, what: &str) -> Result<usize, Malformed> {
        let left = self.left();
        match usize::try_from(count) {
            Ok(number) if number <= left / each => Ok(number),
            _ => Err(Malformed::Count {
                what: what.to_owned(),
                count,
                left,
            }),
        }
    }

    fn string(&mut self, what: &str) -> Result<String, Malformed> {
        let len = self.u64(what)?;
        let len = self.plausible(len, 1, &format!("bytes in {what}"))?;
        let text = std::str::from_utf8(self.take(len, what)?);
        text.map(str::to_owned).map_err(|_| Malformed::NotText {
            what: what.to_owned(),
        })
    }

    fn value(&mut self, key: &str) -> Result<Value, Malformed> {
        let what = format!("metadata `{key}`");
        match self.u32(&what)? {
            8 => Ok(Value::Text(self.string(&what)?)),
            9 => self.values(key, &what),
            id => self.scalar(id, &what)?.ok_or_else(|| Malformed::ValueType {
                key: key.to_owned(),
                id,
            }),
        }
    }

    /// A value of fixed width; `None` when there is no such type.
    fn scalar(&mut self, id: u32, what: &str) -> Result<Option<Value>, Malformed> {
        Ok(Some(match id {
            0 => Value::Int(u8::from_le_bytes(self.array(what)?).into()),
            1 => Value::Int(i8::from_le_bytes(self.array(what)?).into()),
            2 => Value::Int(u16::from_le_bytes(self.array(what)?).into()),
            3 => Value::Int(i16::from_le_bytes(self.array(what)?).into()),
            4 => Value::Int(u32::from_le_bytes(self.array(what)?).into()),
            5 => Value::Int(i32::from_le_bytes(self.array(what)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(what)?).into()),
            7 => Value::Bool(self.array::<1>(what)? != [0]),
            10 => Value::Int(u64::from_le_bytes(self.array(what)?).into()),
            11 => Value::Int(i64::from_le_bytes(self.array(what)?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array(what)?)),
            _ => return Ok(None),
        }))
    }

    fn values(&mut self, key: &str, what: &str) -> Result<Value, Malformed> {
        let id = self.u32(what)?;
        let count = self.u64(what)?;
        let width = match id {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            _ => {
                return Err(Malformed::ValueType {
                    key: key.to_owned(),
                    id,
                });
            }
        };
        let count = self.plausible(count, width, &format!("values in {what}"))?;
        match id {
            6 => self
                .each(count, |file| {
                    Ok(f32::from_le_bytes(file.array(what)?).into())
                })
                .map(Value::Floats),
            12 => self
                .each(count, |file| Ok(f64::from_le_bytes(file.array(what)?)))
                .map(Value::Floats),
            7 => self
                .each(count, |file| Ok(file.array::<1>(what)? != [0]))
                .map(Value::Bools),
            8 => self.each(count, |file| file.string(what)).map(Value::Texts),
            _ => self
                .each(count, |file| file.int(id, key, what))
                .map(Value::Ints),
        }
    }

    fn each<T>(
        &mut self,
        count: usize,
        read: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        (0..count).map(|_| read(self)).collect()
    }

    fn int(&mut self, id: u32, key: &str, what: &str) -> Result<i64, Malformed> {
        let Some(Value::Int(number)) = self.scalar(id, what)? else {
            return Err(Malformed::ValueType {
                key: key.to_owned(),
                id,
            });
        };
        let expected = "integers of 64 bits with sign";
        number.try_into().map_err(|_| Malformed::Key {
            key: key.to_owned(),
            expected,
            found: number.to_string(),
        })
    }

    fn header(&mut self) -> Result<Header, Malformed> {
        let name = self.string("a tensor name")?;
        let what = format!("tensor `{name}`");
        let num_dims = self.u32(&what)?;
        if !(1..=4).contains(&num_dims) {
            return Err(Malformed::Axes {
                name,
                count: num_dims,
            });
        }
        let dims = self.each(num_dims as usize, |file| file.u64(&what))?;
        let id = self.u32(&what)?;
        let offset = self.u64(&what)?;
        let format = format_of(id, &name)?;
        let Some((dims, size_bytes)) = extent(&dims, format) else {
            return Err(Malformed::Shape { name, dims });
        };
        if !dims[0].is_multiple_of(format.block_len()) {
            return Err(Malformed::Matrix {
                name,
                source: StoredError::RaggedRow {
                    format,
                    cols: dims[0],
                },
            });
        }
        Ok(Header {
            name,
            dims,
            format,
            size_bytes,
            offset,
        })
    }
}

/// Axes and bytes of a tensor, when it has elements and no more than memory can address.
fn extent(dims: &[u64], format: Format) -> Option<(Vec<usize>, usize)> {
    let dims: Vec<usize> = dims
        .iter()
        .map(|dim| usize::try_from(*dim).ok())
        .collect::<Option<_>>()?;
    let count = dims
        .iter()
        .try_fold(1_usize, |count, dim| count.checked_mul(*dim))
        .filter(|count| *count > 0)?;
    let size_bytes = (count / format.block_len()).checked_mul(format.block_bytes())?;
    Some((dims, size_bytes))
}

fn format_of(id: u32, name: &str) -> Result<Format, Malformed> {
    READ.iter()
        .find(|row| row.0 == id)
        .map(|row| row.1)
        .ok_or_else(|| Malformed::TensorType {
            name: name.to_owned(),
            found: NAMED
                .iter()
                .find(|row| row.0 == id)
                .map_or_else(|| format!("type {id}"), |row| row.1.to_owned()),
            known: READ.map(|row| row.1.name()).join(", "),
        })
}

#[cfg(test)]
pub(super) mod tests {
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
            "tensor `w` is stored as IQ2_S; Hone reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K"
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
