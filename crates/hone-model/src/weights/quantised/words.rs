//! GPTQ and AWQ: eight codes of four bits in a word of 32, laid out for the kernels of one kind of card.
//!
//! GPTQ's word holds eight neighbouring inputs of one output, AWQ's eight outputs of one input in the order 0 2 4 6 1 3 5 7.
//! Both are laid out anew, row by row, without touching a code: `hone_tensor::int4` says how. Zeros are packed the same way
//! along the outputs; GPTQ's first format stores them less one.

use hone_tensor::int4::{self, Columns, Int4Groups};
use hone_tensor::{Bytes, StoredMatrix};
use safetensors::tensor::Dtype;

use super::QuantisedError;
use super::{Layer, Tensors, le};
use crate::weights::located::Located;

/// Which of the two, and what the configuration says of it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::weights) enum Packing {
    /// Words along the inputs.
    Gptq {
        /// Inputs of a group; `None` for all.
        group_len: Option<usize>,
        /// Whether zeros are stored less one.
        adds_one: bool,
    },
    /// Words along the outputs.
    Awq {
        /// Inputs of a group; `None` for all.
        group_len: Option<usize>,
    },
}

/// Codes in a word.
const PER_WORD: usize = 8;

/// Which output of eight is at which nibble of AWQ's word, the lowest first.
const AWQ_ORDER: [usize; PER_WORD] = [0, 2, 4, 6, 1, 3, 5, 7];
const IN_ORDER: [usize; PER_WORD] = [0, 1, 2, 3, 4, 5, 6, 7];

/// The tensors a quantised layer is made of, and a bias of zeros, which AutoGPTQ adds to layers that have none.
pub(super) fn parts(name: &str, tensors: &Tensors) -> Vec<String> {
    let Some(layer) = name.strip_suffix(".qweight") else {
        return Vec::new();
    };
    let mut parts: Vec<String> = ["qweight", "qzeros", "scales", "g_idx"]
        .iter()
        .map(|part| format!("{layer}.{part}"))
        .collect();
    let bias = format!("{layer}.bias");
    let is_zero = |located: &Located| located.bytes.as_slice().iter().all(|byte| *byte == 0);
    if tensors.get(&bias).is_some_and(is_zero) {
        parts.push(bias);
    }
    parts
}

pub(super) fn matrix(
    layer: &Layer,
    packing: &Packing,
) -> Option<Result<StoredMatrix, QuantisedError>> {
    let part = layer.name.strip_suffix(".weight")?;
    let words = layer.get(&format!("{part}.qweight"))?;
    Some(Parts { layer, part, words }.matrix(packing))
}

struct Parts<'a> {
    layer: &'a Layer<'a>,
    part: &'a str,
    words: &'a Located,
}

impl Parts<'_> {
    fn matrix(&self, packing: &Packing) -> Result<StoredMatrix, QuantisedError> {
        let (rows, cols) = self.shape(packing)?;
        let group_len = match packing {
            Packing::Gptq { group_len, .. } | Packing::Awq { group_len } => *group_len,
        };
        let group_len = group_len.unwrap_or(cols);
        let num_groups = cols.div_ceil(group_len);
        let columns = match packing {
            Packing::Gptq { .. } => self.columns(cols, group_len, num_groups)?,
            Packing::Awq { .. } => Columns::Neighbours(group_len),
        };
        let groups = Int4Groups {
            num_groups,
            scales: self.scales(rows, num_groups)?,
            zeros: self.zeros(packing, rows, num_groups)?,
            columns,
        };
        let codes = self.codes(packing, rows, cols);
        let bytes = Bytes::from_vec(int4::pack(&codes));
        StoredMatrix::int4(rows, cols, bytes, groups).map_err(|source| QuantisedError::Matrix {
            path: self.words.path.clone(),
            tensor: format!("{}.qweight", self.part),
            source,
        })
    }

    /// Outputs and inputs.
    fn shape(&self, packing: &Packing) -> Result<(usize, usize), QuantisedError> {
        let info = &self.words.info;
        let shape = match (info.dtype, &info.shape[..], packing) {
            (Dtype::I32, [words, rows], Packing::Gptq { .. }) => {
                words.checked_mul(PER_WORD).map(|cols| (*rows, cols))
            }
            (Dtype::I32, [cols, words], Packing::Awq { .. }) => {
                words.checked_mul(PER_WORD).map(|rows| (rows, *cols))
            }
            _ => None,
        };
        let fits = |(rows, cols): &(usize, usize)| {
            *rows > 0
                && *cols > 0
                && rows.is_multiple_of(PER_WORD)
                && cols.is_multiple_of(int4::BLOCK)
        };
        shape.filter(fits).ok_or_else(|| {
            let problem = format!(
                "is {:?} {:?}; words of 32 bits for outputs in eights and inputs in {}s are read",
                info.dtype,
                info.shape,
                int4::BLOCK
            );
            self.words.wrong(&format!("{}.qweight", self.part), problem)
        })
    }

    /// Codes row by row, one in a byte.
    fn codes(&self, packing: &Packing, rows: usize, cols: usize) -> Vec<u8> {
        let words = le(self.words.bytes.as_slice(), u32::from_le_bytes);
        let mut codes = vec![0; rows * cols];
        match packing {
            Packing::Gptq { .. } => {
                for (at, words) in words.chunks_exact(rows).enumerate() {
                    for (row, word) in words.iter().enumerate() {
                        let place = &mut codes[row * cols + at * PER_WORD..][..PER_WORD];
                        unpack(*word, &IN_ORDER, |i, code| place[i] = code);
                    }
                }
            }
            Packing::Awq { .. } => {
                for (col, words) in words.chunks_exact(rows / PER_WORD).enumerate() {
                    for (at, word) in words.iter().enumerate() {
                        unpack(*word, &AWQ_ORDER, |i, code| {
                            codes[(at * PER_WORD + i) * cols + col] = code;
                        });
                    }
                }
            }
        }
        codes
    }

    /// Scales by output, from a tensor by group.
    fn scales(&self, rows: usize, num_groups: usize) -> Result<Vec<f32>, QuantisedError> {
        let name = format!("{}.scales", self.part);
        let located = self.layer.need(&name)?;
        if located.info.shape != [num_groups, rows] {
            let shape = &located.info.shape;
            let problem = format!("has shape {shape:?}, and must be [{num_groups}, {rows}]");
            return Err(located.wrong(&name, problem));
        }
        Ok(turned(&self.layer.numbers(&name)?, rows, num_groups))
    }

    fn zeros(
        &self,
        packing: &Packing,
        rows: usize,
        num_groups: usize,
    ) -> Result<Vec<u8>, QuantisedError> {
        let name = format!("{}.qzeros", self.part);
        let shape = [num_groups, rows / PER_WORD];
        let located = self.layer.need_as(&name, Dtype::I32, &shape)?;
        let (order, more) = match packing {
            Packing::Gptq { adds_one, .. } => (&IN_ORDER, u8::from(*adds_one)),
            Packing::Awq { .. } => (&AWQ_ORDER, 0),
        };
        let words = le(located.bytes.as_slice(), u32::from_le_bytes);
        let mut zeros = vec![0; num_groups * rows];
        for (word, place) in words.iter().zip(zeros.chunks_exact_mut(PER_WORD)) {
            unpack(*word, order, |i, code| place[i] = code + more);
        }
        Ok(turned(&zeros, rows, num_groups))
    }

    /// The group of each input, when a tensor says so and it is not the obvious one.
    fn columns(
        &self,
        cols: usize,
        group_len: usize,
        num_groups: usize,
    ) -> Result<Columns, QuantisedError> {
        let name = format!("{}.g_idx", self.part);
        if self.layer.get(&name).is_none() {
            return Ok(Columns::Neighbours(group_len));
        }
        let located = self.layer.need_as(&name, Dtype::I32, &[cols])?;
        let groups = le(located.bytes.as_slice(), i32::from_le_bytes);
        if let Some(group) = groups
            .iter()
            .find(|it| !(0..num_groups as i64).contains(&i64::from(**it)))
        {
            let problem = format!("names group {group} of {num_groups}");
            return Err(located.wrong(&name, problem));
        }
        let listed: Vec<u32> = groups.iter().map(|group| *group as u32).collect();
        let is_obvious = (0..cols).all(|col| listed[col] as usize == col / group_len);
        Ok(match is_obvious {
            true => Columns::Neighbours(group_len),
            false => Columns::Listed(listed),
        })
    }
}

fn unpack(word: u32, order: &[usize; PER_WORD], mut place: impl FnMut(usize, u8)) {
    for (at, i) in order.iter().enumerate() {
        place(*i, (word >> (4 * at) & 15) as u8);
    }
}

/// From group by group to row by row.
fn turned<T: Copy>(values: &[T], rows: usize, num_groups: usize) -> Vec<T> {
    let places = (0..rows).flat_map(|row| (0..num_groups).map(move |group| group * rows + row));
    places.map(|at| values[at]).collect()
}
