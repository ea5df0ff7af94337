//! Tensors of a GGUF file: their headers, and where in the file their data lies.

use std::collections::{BTreeMap, HashSet};

use hone_tensor::{Format, StoredError};

use super::Malformed;
use super::types::format_of;
use super::values::Reader;

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorEntry {
    /// Extent of each axis, fastest first: columns, then rows.
    pub dims: Vec<usize>,
    /// How its values are stored.
    pub format: Format,
    /// Which of the files holds it.
    pub(super) part: usize,
    /// First byte, from the start of that file.
    pub(super) start: usize,
    pub(super) size_bytes: usize,
}

/// A tensor as the header describes it, not yet compared with the data.
pub(super) struct Header {
    name: String,
    dims: Vec<usize>,
    format: Format,
    pub(super) size_bytes: usize,
    offset: u64,
}

pub(super) fn read_headers(reader: &mut Reader, count: u64) -> Result<Vec<Header>, Malformed> {
    // A tensor takes at least the length of its name, a count, one axis, a type and an offset.
    let count = reader.plausible(count, 8 + 4 + 8 + 4 + 8, "tensors")?;
    let (mut seen, mut headers) = (HashSet::new(), Vec::new());
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

/// Compares every tensor with the data that follows the headers, and with each other.
pub(super) fn place(
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
                part: 0,
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

impl Reader<'_> {
    fn header(&mut self) -> Result<Header, Malformed> {
        let name = self.name("a tensor name")?;
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
pub(super) fn extent(dims: &[u64], format: Format) -> Option<(Vec<usize>, usize)> {
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
