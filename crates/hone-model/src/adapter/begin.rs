//! What a fresh adapter takes from its base: lengths, biases, whole matrices, and the vectors of PiSSA, OLoRA and LoftQ.
//!
//! PiSSA and OLoRA begin with a part of the base and take that part out of it. Here the base stays as it lies on disk: the
//! part is kept and subtracted beside the adapter, `W·x + s·(BA − B₀A₀)·x`. That is the same function, needs no second
//! copy of the base, and is what the adapter is saved as: a plain one of twice the rank on the untouched base.

use hone_tensor::{Device, TensorError, Weight};

use super::decompose::{Pair, leading_orthogonal, leading_singular, leading_singular_by_search};
use super::dora::{PANEL, panel};
use super::{
    AdaptedGroup, Adapter, AtSite, AttachError, Initial, Layout, LoraConfig, LowRank, TokenRows,
    Wanted,
};
use crate::decoder::{BaseFormat, Decoder};
use crate::weights::{BaseWeights, DecoderConfig, NewRows, WeightsError};

/// Why an adapter cannot begin with the base's own numbers.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
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

impl BeginError {
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
    pub fn has_begun(&self) -> bool {
        self.is_decomposed
    }

    /// Bytes on the host that finding what an adapter starts from takes at once, for plans.
    pub fn begin_bytes(config: &LoraConfig, base: &DecoderConfig) -> Result<usize, AttachError> {
        if config.initial == Initial::Random {
            return Ok(0);
        }
        let layout = Layout::new(&Wanted::of(config, base)?, base);
        let of_member = |group: &AdaptedGroup, member: &LowRank| {
            let (out, width, rank) = (member.out, group.width, member.rank);
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
        let groups = layout.groups.iter();
        let largest =
            groups.flat_map(|group| group.members.iter().map(move |m| of_member(group, m)));
        Ok(4 * layout.len + largest.max().unwrap_or(0))
    }

    /// Fills in lengths, biases, whole matrices and token rows of the base.
    pub(crate) fn fill_from(&mut self, decoder: &Decoder) {
        self.gains.forget_base();
        if std::mem::replace(&mut self.is_filled, true) {
            return;
        }
        for at in self.layout.sites.clone() {
            self.fill_site(&at, decoder);
        }
        let embedding = self.layout.embedding.clone();
        let (device, weight) = (decoder.device(), &decoder.embedding);
        if let Some(offset) = embedding.whole {
            self.fill_whole(offset, weight, device);
        }
        if let Some(rows) = embedding.token_rows {
            self.fill_rows(&rows, weight, device);
        }
    }

    fn fill_site(&mut self, at: &AtSite, decoder: &Decoder) {
        let (device, projection) = (decoder.device(), decoder.at(at.site));
        if let Some(offset) = at.magnitude {
            let squares = self.row_squares(at, &projection.weight);
            let place = self.parameters.window_mut(offset, 1, at.out);
            // A length is its square over its root.
            device.divide_by_root(squares.view(), &squares, place, false);
        }
        if let (Some(offset), Some(bias)) = (at.bias, &projection.bias) {
            let place = self.parameters.window_mut(offset, 1, at.out);
            device.scatter_add_window(bias, &[0], place);
        }
        // A tied head shares the matrix of the embedding, which is filled in there.
        let is_own = !(decoder.config().tied_head && at.site.is_head());
        if let Some(offset) = at.whole.filter(|_| is_own) {
            self.fill_whole(offset, &projection.weight, device);
        }
        if let Some(rows) = at.token_rows.as_ref().filter(|_| is_own) {
            self.fill_rows(rows, &projection.weight, device);
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
        let width = self.layout.d_model;
        let heads = self.layout.sites.iter();
        let head = heads.filter_map(|at| at.token_rows.as_ref()).next();
        let ends = [
            (head, &rows.head),
            (self.layout.embedding.token_rows.as_ref(), &rows.embedding),
        ];
        for (trained, numbers) in ends {
            let (Some(trained), Some(numbers)) = (trained, numbers) else {
                continue;
            };
            for (token, row) in tokens.iter().zip(numbers.chunks_exact(width)) {
                if let Ok(place) = trained.ids.binary_search(token) {
                    let at = trained.offset + place * width;
                    parameters[at..at + width].copy_from_slice(row);
                }
            }
        }
        device.write(&parameters, &mut self.parameters);
        Ok(())
    }

    fn fill_rows(&mut self, rows: &TokenRows, weight: &Weight, device: &Device) {
        let count = rows.ids.len();
        let mut numbers = device.empty(count, weight.cols());
        device.embed(&rows.ids, weight, &mut numbers);
        let places: Vec<usize> = (0..count).collect();
        let place = self
            .parameters
            .window_mut(rows.offset, count, weight.cols());
        device.scatter_add_window(&numbers, &places, place);
    }

    fn fill_whole(&mut self, offset: usize, weight: &Weight, device: &Device) {
        for first in (0..weight.rows()).step_by(PANEL) {
            let rows = panel(device, weight, first);
            let places: Vec<usize> = (0..rows.rows()).collect();
            let at = offset + first * weight.cols();
            let place = self.parameters.window_mut(at, rows.rows(), weight.cols());
            device.scatter_add_window(&rows, &places, place);
        }
    }

    /// Finds what low-rank pairs start from, as the configuration asks; `base` is the files of `decoder`.
    pub(crate) fn decompose(
        &mut self,
        decoder: &Decoder,
        base: &BaseWeights,
        format: BaseFormat,
    ) -> Result<(), BeginError> {
        if self.is_decomposed {
            return Ok(());
        }
        if self.config.initial == Initial::Loftq && format != BaseFormat::Nf4 {
            return Err(BeginError::NotQuantised);
        }
        let mut numbers = self.parameters.to_vec()?;
        for group in &self.layout.groups {
            for member in &group.members {
                let pair = self.pair_of(group, member, decoder, base)?;
                place(&pair, group, member, &mut numbers);
            }
        }
        let device = self.parameters.device().clone();
        device.write(&numbers, &mut self.parameters);
        if let Some(start) = &mut self.start {
            device.write(&numbers, start);
        }
        self.is_decomposed = true;
        self.gains.forget_base();
        Ok(())
    }

    /// `B` and `A` with `s·B·A` the part to begin with.
    fn pair_of(
        &self,
        group: &AdaptedGroup,
        member: &LowRank,
        decoder: &Decoder,
        base: &BaseWeights,
    ) -> Result<Pair, BeginError> {
        let weight = &decoder.at(member.site).weight;
        let held = rows_of(decoder.device(), weight)?;
        let (shape, rank) = ((member.out, group.width), member.rank);
        let scale = f64::from(member.scale);
        Ok(match self.config.initial {
            Initial::Random => unreachable!("a random start needs no decomposition"),
            Initial::Pissa => leading_singular(&held, shape, rank).over(scale),
            Initial::PissaRounds(rounds) => {
                leading_singular_by_search(&held, shape, rank, rounds).over(scale)
            }
            // PEFT leaves Q and R as they are and subtracts `s·Q·R`.
            Initial::Olora => leading_orthogonal(&held, shape, rank),
            Initial::Loftq => {
                let matrix = base.matrix(&format!("{}.weight", member.site.stored_path()))?;
                let mut lost = matrix.to_f32();
                matrix.release();
                for (lost, held) in lost.iter_mut().zip(&held) {
                    *lost -= held;
                }
                leading_singular(&lost, shape, rank).over(scale)
            }
        })
    }
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
fn place(pair: &Pair, group: &AdaptedGroup, member: &LowRank, numbers: &mut [f32]) {
    let a_offset = group.a_offset + member.rank_offset * group.width;
    for (to, from) in [(a_offset, &pair.a), (member.b_offset, &pair.b)] {
        for (number, value) in numbers[to..][..from.len()].iter_mut().zip(from) {
            *number = *value as f32;
        }
    }
}
