//! Everything that an adapter trains, in one table: where it stands, what it is for, its shape, its place in the flat
//! buffer, its learning rate and what PEFT calls it.
//!
//! Buffers on the host, on a device and in a file are read and written by this table, and by nothing else.

use super::spelling::{Role, written_end};
use crate::arch::Site;

/// One tensor that an adapter trains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its PEFT name, for example `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// First element in the flat buffer.
    pub offset: usize,
    /// Rows, as on disk.
    pub rows: usize,
    /// Columns, as on disk.
    pub cols: usize,
    /// How many experts it holds the matrices of, or 1. In the flat buffer they lie one after the other; on disk so do
    /// those of `A`, and the columns of `B` go from expert to expert.
    pub copies: usize,
    pub(super) role: Role,
    /// The linear layer that it is at; none for the embedding.
    pub(super) site: Option<Site>,
    /// Which tokens its rows are for, rising, where it has rows of single tokens.
    pub(super) tokens: Vec<u32>,
}

impl Param {
    /// A tensor of `rows × cols` numbers behind a module's path, before it has a place.
    pub(super) fn new(module: &str, role: Role, (rows, cols): (usize, usize)) -> Self {
        Self {
            name: format!("{module}{}", written_end(role)),
            offset: 0,
            rows,
            cols,
            copies: 1,
            role,
            site: None,
            tokens: vec![],
        }
    }

    /// The same at a linear layer, if there is one.
    pub(super) fn at(self, site: impl Into<Option<Site>>) -> Self {
        let site = site.into();
        Self { site, ..self }
    }

    /// How many numbers.
    pub fn size(&self) -> usize {
        self.rows * self.cols
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its numbers from the flat buffer, in the order of the file.
    pub fn to_disk(&self, flat: &[f32]) -> Vec<f32> {
        let numbers = &flat[self.offset..][..self.size()];
        match self.role {
            Role::EmbeddingA => transposed(numbers, self.cols, self.rows),
            // `[experts, out, rank]` becomes `[out, rank, experts]`.
            Role::B if self.copies > 1 => {
                transposed(numbers, self.copies, self.size() / self.copies)
            }
            _ => numbers.to_vec(),
        }
    }

    /// Puts numbers in the order of the file into the flat buffer.
    pub(super) fn place_from_disk(&self, numbers: &[f32], flat: &mut [f32]) {
        let place = &mut flat[self.offset..][..self.size()];
        match self.role {
            Role::EmbeddingA => place.copy_from_slice(&transposed(numbers, self.rows, self.cols)),
            Role::B if self.copies > 1 => {
                let size = self.size() / self.copies;
                place.copy_from_slice(&transposed(numbers, size, self.copies));
            }
            _ => place.copy_from_slice(numbers),
        }
    }

    /// Its shape in the file.
    pub(super) fn shape(&self) -> Vec<usize> {
        match self.role.is_vector() {
            true => vec![self.cols],
            false => vec![self.rows, self.cols],
        }
    }
}

/// A matrix of `rows` rows, the other way round.
pub(super) fn transposed(numbers: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let column = |col| (0..rows).map(move |row| numbers[row * cols + col]);
    (0..cols).flat_map(column).collect()
}

/// Rows of two matrices side by side, the second negated: the wide `B` of a product less another one.
pub(super) fn less(left: &[f32], right: &[f32], cols: usize) -> Vec<f32> {
    let rows = left.chunks_exact(cols).zip(right.chunks_exact(cols));
    let row = |(left, right): (&[f32], &[f32])| {
        let negated = right.iter().map(|x| -x);
        left.iter().copied().chain(negated).collect::<Vec<f32>>()
    };
    rows.flat_map(row).collect()
}

/// What an adapter trains, in the order of the flat buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ParamTable {
    params: Vec<Param>,
    /// Numbers in the flat buffer.
    len: usize,
}

impl ParamTable {
    /// Gives a tensor its place, behind all others.
    pub fn place(&mut self, param: Param) -> usize {
        let offset = self.len;
        self.len += param.size();
        self.params.push(Param { offset, ..param });
        offset
    }

    /// Numbers in the flat buffer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All of it.
    pub fn params(&self) -> &[Param] {
        &self.params
    }
}
