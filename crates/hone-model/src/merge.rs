//! A base with an adapter worked into it, read tensor by tensor and never in memory as a whole.
//!
//! Merging is not a step that makes a model: it is a way of reading one. Whoever writes a file asks for the rows of one
//! tensor after another and gets `W + scale · B A` in f32 for a panel of rows, whatever form `W` is stored in; a tensor
//! that no adapter touches can be had as its stored bytes. So a base of any size merges in the memory of a panel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hone_tensor::{Device, Format, StoredError, StoredMatrix, TensorError, nf4};

use crate::adapter::{
    AdapterWeights, AddedBias, Edit, Factors, Lengths, LoraPair, OwnNumbers, TrainedRows, expert_of,
};
use crate::arch::{DecoderConfig, Group, Site, Slot, slots};
use crate::finite::not_finite;
use crate::weights::{BaseWeights, WeightsError};

/// Which numbers the adapter is added to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MergeBase {
    /// The base as it is stored.
    #[default]
    Original,
    /// The base as a QLoRA training saw it: linear layers through NF4 and back.
    DequantisedNf4,
}

/// A base and what adapters change in it.
#[derive(Debug)]
pub struct Merged<'a> {
    base: &'a BaseWeights,
    device: Device,
    kind: MergeBase,
    config: DecoderConfig,
    /// Name of the embedding's matrix.
    embedding: String,
    edits: BTreeMap<String, Vec<Box<dyn Edit>>>,
}

/// Tensors that stand in place of the base's: shape and numbers of each.
type Replacements = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Why an adapter cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The base.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The device.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The adapter changes something that the base does not have.
    #[error("the adapter changes `{tensor}`, which {} does not have", base.display())]
    NoSuchTensor {
        /// The tensor.
        tensor: String,
        /// The base.
        base: PathBuf,
    },
    /// The adapter's matrices are of other sizes than the base's.
    #[error("the adapter's `{tensor}` is for {found}, and the base's is {expected}")]
    Misshaped {
        /// The tensor.
        tensor: String,
        /// Rows and columns of the adapter.
        found: String,
        /// Rows and columns of the base.
        expected: String,
    },
    /// The embedding is the head too, and they were trained apart.
    #[error(
        "the adapter replaces `{tensor}`, and in this model the embedding and the head are one matrix"
    )]
    Tied {
        /// The tensor.
        tensor: String,
    },
    /// A tensor that is to be copied and holds something that is no number.
    #[error("`{tensor}` of the base {} holds {value}; nothing was written", base.display())]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The base.
        base: PathBuf,
        /// What it holds.
        value: f32,
    },
    /// A tensor that cannot be brought into NF4.
    #[error("`{tensor}` cannot be quantised: {source}")]
    Quantise {
        /// The tensor.
        tensor: String,
        /// Why not.
        source: StoredError,
    },
}

impl MergeError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Weights(error) => error.hints(),
            Self::NoSuchTensor { .. } | Self::Misshaped { .. } => {
                vec!["name the base that the adapter was trained on with --model".into()]
            }
            Self::Tied { .. } => {
                vec!["serve the adapter beside its base instead".into()]
            }
            Self::NotFinite { .. } => {
                vec![
                    "fetch the base again; where it is the same again, its files are at fault"
                        .into(),
                ]
            }
            Self::Tensor(_) | Self::Quantise { .. } => vec![],
        }
    }
}

/// f32 numbers in memory at a time; a panel has whole rows, at least one. A megabyte stays in the cache on its way from
/// the base to the file, and its buffers are used again instead of being fresh pages.
const PANEL: usize = 1 << 18;

impl<'a> Merged<'a> {
    /// Looks whether every part of the adapters has its place in the base; several are added one after another.
    pub fn new(
        base: &'a BaseWeights,
        adapters: Vec<AdapterWeights>,
        kind: MergeBase,
        device: &Device,
    ) -> Result<Self, MergeError> {
        let mut merged = Self {
            base,
            device: device.clone(),
            kind,
            config: base.config().clone(),
            embedding: format!("{}.weight", base.config().names.embedding.0),
            edits: BTreeMap::new(),
        };
        let ends = merged.ends();
        let changes_one_end = |parts: &AdapterWeights| {
            let mut pairs = parts.embeddings.keys().chain(parts.pairs.keys());
            pairs.any(|path| ends.contains(&format!("{path}.weight")))
        };
        // An end that changes alone is no longer the other one.
        if adapters.iter().any(changes_one_end) {
            merged.config.tied_head = false;
        }
        let slots: BTreeMap<String, Slot> = slots(&merged.config)
            .map(|slot| (slot.name.clone(), slot))
            .collect();
        for parts in adapters {
            for (tensor, (shape, numbers)) in merged.ends_once(parts.whole)? {
                merged.replace(&slots, tensor, &shape, numbers)?;
            }
            for (path, pair) in parts.pairs.into_iter().chain(parts.embeddings) {
                merged.add(&slots, &path, pair)?;
            }
            for (path, factors) in parts.factors {
                merged.multiply(&slots, &path, factors)?;
            }
            for (path, rows) in merged.rows_once(parts.token_rows)? {
                merged.replace_rows(&slots, &path, rows)?;
            }
        }
        Ok(merged)
    }

    /// The embedding and the head.
    fn ends(&self) -> [String; 2] {
        let names = self.config.names;
        [names.embedding.0, names.head.module].map(|module| format!("{module}.weight"))
    }

    /// Matrices that an adapter brings whole, without copies of the base's own, which PEFT saves beside an adapter on the
    /// embedding or the head. The ends of a tied model are replaced by one matrix, or not at all.
    fn ends_once(&self, mut whole: Replacements) -> Result<Replacements, MergeError> {
        let ends = self.ends();
        for end in &ends {
            let own = whole.get(end).map(|(_, numbers)| self.is_own(end, numbers));
            if own.transpose()?.unwrap_or(false) {
                whole.remove(end);
            }
        }
        if self.base.config().tied_head {
            let [embedding, head] = &ends;
            match (whole.get(embedding), whole.get(head)) {
                (None, None) => {}
                (Some(one), Some(other)) if one == other && self.config.tied_head => {
                    whole.remove(head);
                }
                (one, _) => {
                    let tensor = if one.is_some() { embedding } else { head }.clone();
                    return Err(MergeError::Tied { tensor });
                }
            }
        }
        Ok(whole)
    }

    /// Trained rows; those of a tied head are the embedding's, and PEFT may save them by both names.
    fn rows_once(
        &self,
        mut rows: BTreeMap<String, TrainedRows>,
    ) -> Result<BTreeMap<String, TrainedRows>, MergeError> {
        let names = self.config.names;
        let head = names.head.module;
        if self.base.config().tied_head
            && let Some(of_head) = rows.remove(head)
            && rows.get(names.embedding.0) != Some(&of_head)
        {
            let tensor = format!("{head}.weight");
            return Err(MergeError::Tied { tensor });
        }
        Ok(rows)
    }

    fn is_own(&self, end: &str, numbers: &[f32]) -> Result<bool, MergeError> {
        Ok(self.base.matrix(self.source_of(end))?.to_f32() == numbers)
    }

    /// The tensor of the base that a tensor of the merged model comes from: the head of a model that is tied no longer is
    /// the base's embedding.
    fn source_of<'s>(&'s self, tensor: &'s str) -> &'s str {
        let config = self.base.config();
        let is_head = || tensor.strip_suffix(".weight") == Some(config.names.head.module);
        match config.tied_head && is_head() {
            true => &self.embedding,
            false => tensor,
        }
    }

    fn slot<'s>(
        &self,
        slots: &'s BTreeMap<String, Slot>,
        tensor: &str,
    ) -> Result<&'s Slot, MergeError> {
        slots.get(tensor).ok_or_else(|| MergeError::NoSuchTensor {
            tensor: tensor.to_owned(),
            base: self.base.path().to_path_buf(),
        })
    }

    fn replace(
        &mut self,
        slots: &BTreeMap<String, Slot>,
        tensor: String,
        shape: &[usize],
        numbers: Vec<f32>,
    ) -> Result<(), MergeError> {
        let slot = self.slot(slots, &tensor)?;
        let expected = match slot.rows {
            1 => vec![slot.cols],
            rows => vec![rows, slot.cols],
        };
        if shape != expected {
            return Err(MergeError::Misshaped {
                tensor,
                found: format!("{shape:?}"),
                expected: format!("{expected:?}"),
            });
        }
        self.edits
            .entry(tensor)
            .or_default()
            .push(Box::new(OwnNumbers(numbers)));
        Ok(())
    }

    fn add(
        &mut self,
        slots: &BTreeMap<String, Slot>,
        path: &str,
        mut pair: LoraPair,
    ) -> Result<(), MergeError> {
        if let Some((parameter, expert)) = expert_of(path) {
            return self.add_to_expert(slots, (parameter, expert), &pair);
        }
        let path = &self.stored_path(path);
        let tensor = format!("{path}.weight");
        let slot = self.slot(slots, &tensor)?;
        if (slot.rows, slot.cols) != (pair.out, pair.width) {
            return Err(MergeError::Misshaped {
                tensor,
                found: format!("{} × {}", pair.out, pair.width),
                expected: format!("{} × {}", slot.rows, slot.cols),
            });
        }
        if let Some(bias) = pair.bias.take() {
            let tensor = format!("{path}.bias");
            self.slot(slots, &tensor)?;
            let scaled = bias.iter().map(|x| x * pair.scale).collect();
            self.edits
                .entry(tensor)
                .or_default()
                .push(Box::new(AddedBias(scaled)));
        }
        let lengths = pair.magnitude.take();
        let edits = self.edits.entry(tensor).or_default();
        edits.push(Box::new(pair));
        if let Some(lengths) = lengths {
            edits.push(Box::new(Lengths(lengths)));
        }
        Ok(())
    }

    /// What files call the module that an adapter calls `path`.
    fn stored_path(&self, path: &str) -> String {
        let mut sites = self.config.sites().into_iter();
        let site = sites.find(|site| site.path() == path);
        site.map_or_else(|| path.to_owned(), |site| site.stored_path())
    }

    /// Adds the parts of an expert's pair to the matrices that files hold one by one.
    fn add_to_expert(
        &mut self,
        slots: &BTreeMap<String, Slot>,
        (parameter, expert): (&str, usize),
        pair: &LoraPair,
    ) -> Result<(), MergeError> {
        let mut sites = self.config.sites().into_iter();
        let site = sites.find(|site| site.group().is_of_experts() && site.path() == parameter);
        let Some((site, names)) = site.zip(self.config.names.experts.as_ref()) else {
            return Err(MergeError::NoSuchTensor {
                tensor: parameter.to_owned(),
                base: self.base.path().to_path_buf(),
            });
        };
        let layer = site.layer_index(self.config.num_layers);
        let expected = self.config.projection(site);
        if expected != (pair.out, pair.width) {
            return Err(MergeError::Misshaped {
                tensor: parameter.to_owned(),
                found: format!("{} × {}", pair.out, pair.width),
                expected: format!("{} × {}", expected.0, expected.1),
            });
        }
        let mut first = 0;
        for part in site.place().parts {
            let tensor = self.config.expert_tensor(layer, expert, names.of(*part));
            let rows = self.slot(slots, &tensor)?.rows;
            let own = Box::new(pair.outputs(first..first + rows));
            self.edits.entry(tensor).or_default().push(own);
            first += rows;
        }
        Ok(())
    }

    fn multiply(
        &mut self,
        slots: &BTreeMap<String, Slot>,
        path: &str,
        factors: Factors,
    ) -> Result<(), MergeError> {
        let tensor = format!("{path}.weight");
        let slot = self.slot(slots, &tensor)?;
        let expected = match factors.is_input {
            true => slot.cols,
            false => slot.rows,
        };
        if factors.numbers.len() != expected {
            return Err(MergeError::Misshaped {
                tensor,
                found: format!("{} factors", factors.numbers.len()),
                expected: format!("{} × {}", slot.rows, slot.cols),
            });
        }
        let bias = format!("{path}.bias");
        if !factors.is_input && slots.contains_key(&bias) {
            // A bias is one row of outputs.
            let is_input = true;
            let numbers = factors.numbers.clone();
            let edits = self.edits.entry(bias).or_default();
            edits.push(Box::new(Factors { numbers, is_input }));
        }
        let edits = self.edits.entry(tensor).or_default();
        edits.push(Box::new(factors));
        Ok(())
    }

    fn replace_rows(
        &mut self,
        slots: &BTreeMap<String, Slot>,
        path: &str,
        rows: TrainedRows,
    ) -> Result<(), MergeError> {
        let tensor = format!("{path}.weight");
        let slot = self.slot(slots, &tensor)?;
        let is_inside = rows.ids.iter().all(|id| (*id as usize) < slot.rows);
        if !is_inside || rows.numbers.len() != rows.ids.len() * slot.cols {
            return Err(MergeError::Misshaped {
                tensor,
                found: format!("tokens {:?}, {} numbers", rows.ids, rows.numbers.len()),
                expected: format!("{} × {}", slot.rows, slot.cols),
            });
        }
        let edits = self.edits.entry(tensor).or_default();
        edits.push(Box::new(rows));
        Ok(())
    }

    /// The base under the adapters.
    pub fn base(&self) -> &BaseWeights {
        self.base
    }

    /// Where it is computed.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the merged decoder looks like.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Every tensor, in the order of the network.
    pub fn slots(&self) -> Vec<Slot> {
        slots(&self.config).collect()
    }

    /// Whether an adapter changes the tensor, or quantising does.
    pub fn is_changed(&self, tensor: &str) -> bool {
        self.edits.contains_key(tensor) || self.is_quantised(tensor)
    }

    fn is_quantised(&self, tensor: &str) -> bool {
        let is_linear = || {
            let path = tensor.strip_suffix(".weight");
            let is_inner = |site: &Site| !matches!(site.group(), Group::Head | Group::Router);
            let mut inner = self.config.sites().into_iter().filter(is_inner);
            self.config.is_of_expert(tensor)
                || path.is_some_and(|path| inner.any(|site| site.stored_path() == path))
        };
        self.kind == MergeBase::DequantisedNf4 && is_linear()
    }

    /// The tensor before any adapter, as the merge sees it.
    fn before(&self, tensor: &str) -> Result<StoredMatrix, MergeError> {
        let stored = self.base.matrix(self.source_of(tensor))?;
        if !self.is_quantised(tensor) {
            return Ok(stored);
        }
        let quantise = |source| MergeError::Quantise {
            tensor: tensor.to_owned(),
            source,
        };
        let values = stored.to_f32();
        let quantised =
            nf4::quantize(&values, stored.rows(), stored.cols(), true).map_err(quantise)?;
        stored.release();
        Ok(quantised)
    }

    /// How the tensor is stored in the base.
    pub fn stored_format(&self, tensor: &str) -> Result<Format, MergeError> {
        Ok(self.base.matrix(self.source_of(tensor))?.format())
    }

    /// Hands out the stored bytes of each row of a tensor that nothing changes; row `r` is the base's row `order(r)`.
    pub fn stored_rows(
        &self,
        tensor: &str,
        order: Option<&dyn Fn(usize) -> usize>,
        each: impl FnMut(&[u8]),
    ) -> Result<(), MergeError> {
        let stored = self.base.matrix(self.source_of(tensor))?;
        let ordered = match order {
            Some(order) => stored.permute_rows(order),
            None => stored,
        };
        // What is copied is looked at as what is made is.
        let mut numbers = vec![0.0; ordered.cols()];
        for row in 0..ordered.rows() {
            ordered.decode_row(row, 0..numbers.len(), &mut numbers);
            if let Some(value) = not_finite(&numbers) {
                return Err(MergeError::NotFinite {
                    tensor: tensor.to_owned(),
                    base: self.base.path().to_path_buf(),
                    value,
                });
            }
        }
        ordered.release();
        ordered.read_rows(each);
        Ok(())
    }

    /// Hands out the merged tensor in f32, panel by panel from the first row on; row `r` is the network's row
    /// `order(r)`. `each` gets the number of the first row and the rows, one after another.
    pub fn panels<E: From<MergeError>>(
        &self,
        tensor: &str,
        order: Option<&dyn Fn(usize) -> usize>,
        mut each: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.before(tensor)?;
        let (rows, cols) = (before.rows(), before.cols());
        let edits = self.edits.get(tensor).map_or(&[][..], Vec::as_slice);
        let step = (PANEL / cols.max(1)).max(1);
        let mut edits: Vec<_> = edits.iter().map(|edit| edit.begin(&self.device)).collect();
        for first in (0..rows).step_by(step) {
            let sources: Vec<usize> = (first..rows.min(first + step))
                .map(|row| order.map_or(row, |order| order(row)))
                .collect();
            let mut panel = vec![0.0; sources.len() * cols];
            for (row, out) in sources.iter().zip(panel.chunks_exact_mut(cols)) {
                before.decode_row(*row, 0..cols, out);
            }
            before.release();
            for edit in &mut edits {
                edit(&sources, &mut panel).map_err(MergeError::from)?;
            }
            each(first, &panel)?;
        }
        Ok(())
    }

    /// The greatest `|W' − ΔW − W|` over `written`, relative to the greatest `|W|`, tensor by tensor: what is left of
    /// taking the adapters out of a merged model again. DoRA and whole matrices are compared forwards, `|W' − merged|`.
    pub fn residual(&self, written: &BaseWeights) -> Result<Vec<Residual>, MergeError> {
        let mut all = Vec::new();
        for slot in self.slots() {
            let there = written.matrix(&slot.name)?;
            let mut residual = Residual {
                tensor: slot.name.clone(),
                largest: 0.0,
                scale: 0.0,
                rounding: rounding_of(there.format()),
                blocks_beyond: 0,
                is_changed: self.is_changed(&slot.name),
            };
            let block = there.format().block_len();
            let of_block = block_rounding_of(there.format());
            let mut row = vec![0.0; slot.cols];
            self.panels::<MergeError>(&slot.name, None, |first, panel| {
                for (at, merged) in panel.chunks_exact(slot.cols).enumerate() {
                    there.decode_row(first + at, 0..slot.cols, &mut row);
                    for (x, y) in row.iter().zip(merged) {
                        residual.largest = residual.largest.max((x - y).abs());
                        residual.scale = residual.scale.max(y.abs());
                    }
                    let Some(of_block) = of_block else { continue };
                    let blocks = row.chunks(block).zip(merged.chunks(block));
                    let beyond = blocks.filter(|(x, y)| !is_rounded_block(x, y, of_block));
                    residual.blocks_beyond += beyond.count();
                }
                there.release();
                Ok(())
            })?;
            all.push(residual);
        }
        Ok(all)
    }
}

/// What is left of a tensor after its adapters were taken out again and the base subtracted.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// Which tensor.
    pub tensor: String,
    /// The greatest difference.
    pub largest: f32,
    /// The greatest number of the tensor.
    pub scale: f32,
    /// How far rounding alone can move a number of that size, relatively.
    pub rounding: f32,
    /// Blocks of a block format in which a number is further off than rounding of that block can bring it.
    pub blocks_beyond: usize,
    /// Whether an adapter is on it.
    pub is_changed: bool,
}

impl Residual {
    /// Whether rounding explains the difference.
    pub fn is_rounding(&self) -> bool {
        self.largest <= self.scale * self.rounding
    }

    /// The same, block by block: a number is no further off than its own block explains. For files that were written by
    /// this program, from the numbers they are compared with.
    pub fn is_rounding_by_block(&self) -> bool {
        self.is_rounding() && self.blocks_beyond == 0
    }
}

/// What rounding a scale to f16 below its normal numbers does at most, times the largest code.
const TINY: f32 = 4e-6;

fn is_rounded_block(there: &[f32], merged: &[f32], share: f32) -> bool {
    let largest = merged.iter().fold(0.0f32, |most, y| most.max(y.abs()));
    let within = |(x, y): (&f32, &f32)| (x - y).abs() <= share * largest + TINY;
    there.iter().zip(merged).all(within)
}

/// How far rounding alone can move a number, as a share of the greatest of its block. Formats that search for a scale may
/// clip the greatest number by a step; those have room for that.
fn block_rounding_of(format: Format) -> Option<f32> {
    // The scale, and where there is one the least number, are rounded to 11 bits.
    let scales = 3.0 * 2.0f32.powi(-11);
    Some(match format {
        Format::Q8_0 => 0.5 / 127.0 + scales,
        // Eight steps on one side of zero, seven on the other.
        Format::Q4_0 => 1.0 / 8.0 + scales,
        Format::Q5_0 => 1.0 / 16.0 + scales,
        // Half of a step of 15, of a range that is twice the greatest number at most; of 31.
        Format::Q4_1 => 1.0 / 15.0 + scales,
        Format::Q5_1 => 1.0 / 31.0 + scales,
        Format::Q6K => 1.0 / 16.0,
        Format::Q4K => 1.0 / 4.0,
        _ => return None,
    })
}

/// Half a unit in the last place of each stored form, relative to the greatest number of a tensor. The sum itself is
/// made in f32, in another order than whoever merged may have used: four units of f32 come on top.
fn rounding_of(format: Format) -> f32 {
    let sum = 4.0 * f32::EPSILON;
    sum + match format {
        Format::F32 => 0.0,
        Format::F16 => 2.0f32.powi(-11),
        Format::Bf16 => 2.0f32.powi(-8),
        // Half a step of the block's scale: an 8-bit step is 1/127 of the greatest, a 4-bit one 2/15.
        // The scale itself is rounded to 11 bits.
        Format::Q8_0 => 0.5 / 127.0 + 2.0f32.powi(-11),
        Format::Q6K => 1.0 / 32.0,
        Format::Q5_0 | Format::Q5_1 | Format::Q5K => 1.0 / 16.0,
        _ => 1.0 / 8.0,
    }
}
