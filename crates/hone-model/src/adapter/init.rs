//! What a fresh adapter takes from its base: lengths, biases, whole matrices, and the vectors of PiSSA, OLoRA and LoftQ.
//!
//! PiSSA and OLoRA begin with a part of the base and take that part out of it. Here the base stays as it lies on disk: the
//! part is kept and subtracted beside the adapter, `W·x + s·(BA − B₀A₀)·x`. That is the same function, needs no second
//! copy of the base, and is what the adapter is saved as: a plain one of twice the rank on the untouched base.

use hone_tensor::{Device, TensorError, Weight};

use super::trained::{PANEL, panel};
use super::{Adapter, AttachError, Initial, Layout, LoraConfig, LowRank, Wanted};
use crate::arch::DecoderConfig;
use crate::decoder::{BaseFormat, Decoder};
use crate::decompose::{Pair, leading_orthogonal, leading_singular, leading_singular_by_search};
use crate::weights::{BaseWeights, NewRows, WeightsError};

/// Why an adapter cannot begin with the base's own numbers.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// LoftQ makes up for what NF4 takes away, and the base is held as it is.
    #[error("the base is not held in NF4, so there is nothing that LoftQ could make up for")]
    NotQuantised,
    /// The files of the base cannot be read again.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The device failed.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl InitError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NotQuantised => vec!["--method qlora holds the base in NF4".into()],
            Self::Weights(error) => error.hints(),
            Self::Tensor(_) => vec![],
        }
    }
}

impl Adapter {
    /// Whether it could be trained as it is: it is not still waiting for numbers of a base.
    pub fn is_initialized(&self) -> bool {
        self.is_decomposed
    }

    /// Bytes on the host that finding what an adapter starts from takes at once, for plans.
    pub fn init_bytes(config: &LoraConfig, base: &DecoderConfig) -> Result<usize, AttachError> {
        if config.initial == Initial::Random {
            return Ok(0);
        }
        let layout = Layout::new(Wanted::of(config, base)?, base);
        let of_member = |member: &LowRank| {
            let (out, width, rank) = (member.out, member.width, member.rank);
            let (matrix, pair) = (out * width, rank * (out + width));
            let short = out.min(width);
            8 * 3 * pair
                + match config.initial {
                    Initial::Random => 0,
                    Initial::Olora => 4 * matrix,
                    Initial::PissaRounds(_) => 4 * matrix + 8 * 2 * pair,
                    // The matrix and what is left of it, its columns, the Gram matrix, its reflections and vectors.
                    Initial::Pissa | Initial::Loftq => (2 * 4 + 8) * matrix + 8 * 3 * short * short,
                }
        };
        let members = layout.groups.iter().flat_map(|group| &group.members);
        let largest = members.map(of_member);
        Ok(4 * layout.table.len() + largest.max().unwrap_or(0))
    }

    /// Fills in lengths, biases, whole matrices and token rows of the base.
    pub(crate) fn fill_from(&mut self, decoder: &Decoder) {
        self.layout.forget(true);
        if std::mem::replace(&mut self.is_filled, true) {
            return;
        }
        for (site, own) in self.layout.trained() {
            match site.map(|site| decoder.at(site)) {
                Some(projection) => {
                    let bias = projection.bias.as_ref();
                    own.fill(&projection.weight, bias, &mut self.parameters);
                }
                None => own.fill(&decoder.embedding, None, &mut self.parameters),
            }
        }
    }

    /// Gives trained rows of single tokens other numbers to start from: `rows` has them in the order of `tokens`. Tokens whose
    /// rows are not trained one by one keep what they have.
    pub fn start_rows(
        &mut self,
        tokens: &[u32],
        rows: &NewRows,
        device: &Device,
    ) -> Result<(), TensorError> {
        let mut parameters = self.parameters.to_vec()?;
        for param in self.layout.table.params() {
            let numbers = match param.site {
                Some(_) => &rows.head,
                None => &rows.embedding,
            };
            let numbers = numbers.iter().flat_map(|n| n.chunks_exact(param.cols));
            for (token, row) in tokens.iter().zip(numbers) {
                if let Ok(place) = param.tokens.binary_search(token) {
                    let at = param.offset + place * param.cols;
                    parameters[at..][..param.cols].copy_from_slice(row);
                }
            }
        }
        device.write(&parameters, &mut self.parameters);
        Ok(())
    }

    /// Finds what low-rank pairs start from, as the configuration asks; `base` is the files of `decoder`.
    pub(crate) fn decompose(
        &mut self,
        decoder: &Decoder,
        base: &BaseWeights,
        format: BaseFormat,
    ) -> Result<(), InitError> {
        if self.is_decomposed {
            return Ok(());
        }
        if self.config.initial == Initial::Loftq && format != BaseFormat::Nf4 {
            return Err(InitError::NotQuantised);
        }
        let mut numbers = self.parameters.to_vec()?;
        for member in self.members() {
            let pair = self.pair_of(member, decoder, base)?;
            place(&pair, member, &mut numbers);
        }
        let device = self.parameters.device().clone();
        device.write(&numbers, &mut self.parameters);
        if let Some(start) = &mut self.start {
            device.write(&numbers, start);
        }
        self.is_decomposed = true;
        self.layout.forget(true);
        Ok(())
    }

    /// `B` and `A` with `s·B·A` the part to begin with.
    fn pair_of(
        &self,
        member: &LowRank,
        decoder: &Decoder,
        base: &BaseWeights,
    ) -> Result<Pair, InitError> {
        let weight = &decoder.at(member.site).weight;
        let held = rows_of(decoder.device(), weight)?;
        let (shape, rank) = ((member.out, member.width), member.rank);
        let scale = f64::from(member.scale);
        let from = match self.config.initial {
            Initial::Loftq => {
                let stored = numbers_of(base, &member.site.stored_path())?;
                let lost = stored.iter().zip(&held).map(|(stored, held)| stored - held);
                lost.collect()
            }
            _ => held,
        };
        Ok(first_pair(self.config.initial, &from, shape, rank, scale))
    }
}

/// The pair of a matrix that an adapter begins with.
pub(super) fn first_pair(
    initial: Initial,
    matrix: &[f32],
    shape: (usize, usize),
    rank: usize,
    scale: f64,
) -> Pair {
    match initial {
        Initial::Random => unreachable!("a random start needs no decomposition"),
        Initial::Pissa | Initial::Loftq => leading_singular(matrix, shape, rank).over(scale),
        Initial::PissaRounds(rounds) => {
            leading_singular_by_search(matrix, shape, rank, rounds).over(scale)
        }
        // PEFT leaves Q and R as they are and subtracts `s·Q·R`.
        Initial::Olora => leading_orthogonal(matrix, shape, rank),
    }
}

/// The matrix of a module as it is stored.
pub(super) fn numbers_of(base: &BaseWeights, path: &str) -> Result<Vec<f32>, WeightsError> {
    let matrix = base.matrix(&format!("{path}.weight"))?;
    let numbers = matrix.to_f32();
    matrix.release();
    Ok(numbers)
}

/// A frozen matrix as numbers on the host.
fn rows_of(device: &Device, weight: &Weight) -> Result<Vec<f32>, TensorError> {
    let mut numbers = Vec::with_capacity(weight.rows() * weight.cols());
    for first in (0..weight.rows()).step_by(PANEL) {
        numbers.extend(panel(device, weight, first).to_vec()?);
    }
    Ok(numbers)
}

/// Puts a pair where its projection's matrices lie in the flat buffer.
fn place(pair: &Pair, member: &LowRank, numbers: &mut [f32]) {
    for (to, from) in [(member.a_offset, &pair.a), (member.b_offset, &pair.b)] {
        for (number, value) in numbers[to..][..from.len()].iter_mut().zip(from) {
            *number = *value as f32;
        }
    }
}
