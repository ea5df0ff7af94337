//! Values of a GGUF file: numbers, texts and arrays, each read only after comparing it with the bytes left.

use std::collections::HashMap;
use std::ops::Range;

use super::Malformed;
use crate::one_line::{is_unruly, one_line};

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

impl Value {
    pub(super) fn describe(&self) -> String {
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

/// A value, and where the file holds its type and bytes.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub value: Value,
    pub span: Range<usize>,
}

pub(super) fn read_metadata(
    reader: &mut Reader,
    count: u64,
) -> Result<HashMap<String, Entry>, Malformed> {
    // A key takes at least its length, a type and one byte.
    let count = reader.plausible(count, 8 + 4 + 1, "metadata keys")?;
    // It grows as keys are found: a file with holes can be as long as it likes and hold none of them.
    let mut metadata = HashMap::new();
    for _ in 0..count {
        let key = reader.name("a metadata key")?;
        let start = reader.at;
        let value = reader.value(&key)?;
        let span = start..reader.at;
        if metadata
            .insert(key.clone(), Entry { value, span })
            .is_some()
        {
            return Err(Malformed::Duplicate {
                what: "metadata",
                name: key,
            });
        }
    }
    Ok(metadata)
}

pub(super) fn alignment(metadata: &HashMap<String, Entry>) -> Result<usize, Malformed> {
    match metadata.get("general.alignment").map(|entry| &entry.value) {
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

/// GGUF allows keys of 65,535 bytes; nobody writes names longer than a line or two.
const LONGEST_NAME: usize = 1024;

pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
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

    pub fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub fn expect_magic(&mut self) -> Result<(), Malformed> {
        let start = &self.bytes[..self.bytes.len().min(4)];
        if start != b"GGUF" {
            return Err(Malformed::Magic(start.to_vec()));
        }
        self.at = 4;
        Ok(())
    }

    pub fn expect_version(&mut self) -> Result<(), Malformed> {
        match self.u32("the version")? {
            2 | 3 => Ok(()),
            version => Err(Malformed::Version(version)),
        }
    }

    /// A count of things that take at least `each` bytes, when so many fit into the rest of the file.
    pub fn plausible(&self, count: u64, each: usize, what: &str) -> Result<usize, Malformed> {
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

    /// Text that is repeated in messages, and so has to be of a length and of letters that fit there.
    pub fn name(&mut self, what: &'static str) -> Result<String, Malformed> {
        let name = self.string(what)?;
        match name.len() > LONGEST_NAME || name.contains(is_unruly) {
            true => Err(Malformed::Name {
                what,
                name: one_line(name.chars().take(80).collect::<String>()),
            }),
            false => Ok(name),
        }
    }

    pub fn string(&mut self, what: &str) -> Result<String, Malformed> {
        let len = self.u64(what)?;
        // Said only where it is wrong: arrays have many texts, and their keys may be long.
        let len = match usize::try_from(len) {
            Ok(number) if number <= self.left() => number,
            _ => self.plausible(len, 1, &format!("bytes in {what}"))?,
        };
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

    pub fn each<T>(
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
}
