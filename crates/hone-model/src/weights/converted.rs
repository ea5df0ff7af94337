//! What llama.cpp's converter does to a tensor, and its undoing: the order of rows, and the numbers of some norms.

use hone_tensor::{Format, StoredMatrix};

use crate::arch::{DecoderConfig, Packing, Part};

/// A tensor of a GGUF file as Hugging Face has it; `name` is Hugging Face's.
pub(super) fn hugging_face(
    stored: &StoredMatrix,
    name: &str,
    config: &DecoderConfig,
) -> StoredMatrix {
    let offset = config.gguf_offset(name);
    if offset != 0.0 {
        return shifted(stored, -offset);
    }
    match config.gguf_rows(name) {
        Some(source) => reordered(stored, source),
        None => stored.clone(),
    }
}

impl DecoderConfig {
    /// A tensor of a Hugging Face directory as llama.cpp's converter would write it to a GGUF file: with its rows in
    /// the order, and its numbers as, llama.cpp expects them. `name` is Hugging Face's.
    pub fn as_gguf(&self, name: &str, stored: &StoredMatrix) -> StoredMatrix {
        let offset = self.gguf_offset(name);
        if offset != 0.0 {
            return shifted(stored, offset);
        }
        let Some(source) = self.gguf_rows(name) else {
            return stored.clone();
        };
        let count = stored
            .rows()
            .max(if stored.rows() == 1 { stored.cols() } else { 0 });
        let mut place = vec![0; count];
        (0..count).for_each(|row| place[source(row)] = row);
        reordered(stored, |row| place[row])
    }

    /// What GGUF adds to every number of a tensor: to norms, what the family leaves out of them. `name` is Hugging Face's.
    pub(crate) fn gguf_offset(&self, name: &str) -> f32 {
        match self.names.is_norm(name) {
            true => self.norm_offset,
            false => 0.0,
        }
    }

    /// Whether a Hugging Face directory holds this tensor with rows and columns exchanged.
    pub fn is_stored_transposed(&self, name: &str) -> bool {
        self.names.is_transposed && name.ends_with(".weight") && self.names.place_of(name).is_some()
    }

    /// The row of a GGUF tensor in which each of Hugging Face's rows lies, if the two orders differ.
    pub(crate) fn gguf_rows(&self, name: &str) -> Option<Box<dyn Fn(usize) -> usize>> {
        let place = self.names.place_of(name)?;
        match (place.packing, place.parts) {
            (Packing::ByKeyHead, _) => {
                let group = self.num_heads / self.num_kv_heads;
                Some(Box::new(by_blocks(group, self.num_kv_heads, self.head_dim)))
            }
            (_, [Part::Query | Part::Key]) if self.names.gguf_interleaves => {
                Some(Box::new(interleaved(self.head_dim)))
            }
            _ => None,
        }
    }
}

fn shifted(stored: &StoredMatrix, offset: f32) -> StoredMatrix {
    let numbers: Vec<f32> = stored.to_f32().iter().map(|x| x + offset).collect();
    StoredMatrix::from_f32(&numbers, stored.rows(), stored.cols())
        .expect("as many numbers as before")
}

/// The matrix whose row `r` is row `source(r)`. A bias is one row of as many values as its weight has rows.
fn reordered(stored: &StoredMatrix, source: impl Fn(usize) -> usize) -> StoredMatrix {
    if stored.rows() > 1 && stored.format() != Format::Nf4 {
        return stored.permute_rows(source);
    }
    if stored.rows() > 1 {
        // Its blocks run over the ends of rows.
        let plain = StoredMatrix::from_f32(&stored.to_f32(), stored.rows(), stored.cols());
        return plain
            .expect("as many numbers as before")
            .permute_rows(source);
    }
    let values = stored.to_f32();
    let ordered: Vec<f32> = (0..values.len()).map(|at| values[source(at)]).collect();
    StoredMatrix::from_f32(&ordered, 1, ordered.len()).expect("as many values as before")
}

/// Undoes `w.reshape(heads, 2, half, cols).swapaxes(1, 2)`: GGUF row `2j + s` of a head is row `s · half + j`.
fn interleaved(head_dim: usize) -> impl Fn(usize) -> usize {
    let half = head_dim / 2;
    move |row| {
        let (head, within) = (row / head_dim, row % head_dim);
        head * head_dim + within % half * 2 + within / half
    }
}

/// Hugging Face keeps queries, key and value of a key head together; GGUF all queries, all keys, all values.
fn by_blocks(group: usize, num_kv_heads: usize, head_dim: usize) -> impl Fn(usize) -> usize {
    let period = (group + 2) * head_dim;
    move |row| {
        let (head, within) = (row / period, row % period);
        let queries = group * num_kv_heads * head_dim;
        match within.checked_sub(group * head_dim) {
            None => head * group * head_dim + within,
            Some(at) if at < head_dim => queries + head * head_dim + at,
            Some(at) => queries + (num_kv_heads + head) * head_dim + at - head_dim,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_rows_return_to_halves() {
        // Two heads of width 4. Hugging Face rows 0 1 2 3 of a head are two halves (0 1) (2 3); GGUF writes 0 2 1 3.
        let gguf = StoredMatrix::from_f32(&[0., 2., 1., 3., 4., 6., 5., 7.], 8, 1).unwrap();
        let order = |stored: &StoredMatrix, width| reordered(stored, interleaved(width)).to_f32();
        assert_eq!(order(&gguf, 4), [0., 1., 2., 3., 4., 5., 6., 7.]);
        let bias = StoredMatrix::from_f32(&gguf.to_f32(), 1, 8).unwrap();
        assert_eq!(order(&bias, 4), [0., 1., 2., 3., 4., 5., 6., 7.]);
        // Width 6, to tell the permutation from its inverse: GGUF writes 0 3 1 4 2 5.
        let gguf = StoredMatrix::from_f32(&[0., 3., 1., 4., 2., 5.], 6, 1).unwrap();
        assert_eq!(order(&gguf, 6), [0., 1., 2., 3., 4., 5.]);
    }

    #[test]
    fn queries_keys_and_values_return_to_their_key_head() {
        // Two key heads of width 1 with two queries each. GGUF: queries 0 1 4 5, keys 2 6, values 3 7.
        let gguf = StoredMatrix::from_f32(&[0., 1., 4., 5., 2., 6., 3., 7.], 8, 1).unwrap();
        let ordered = reordered(&gguf, by_blocks(2, 2, 1)).to_f32();
        assert_eq!(ordered, [0., 1., 2., 3., 4., 5., 6., 7.]);
    }
}
