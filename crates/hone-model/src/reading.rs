//! Several texts read in one pass, and what a model would say after each of their tokens.
//!
//! Texts are packed and a beginning that several share is computed once, so weights are read once for all of them, also
//! where they are streamed from disk. Logits, by far the largest result, are asked for some rows at a time.

use std::ops::Range;

use hone_tensor::{Index, Tensor};

use crate::batch::Packed;
use crate::generate::GenerateError;
use crate::layout::Shortcuts;
use crate::model::Model;

/// What a model holds of some texts before its head, a row for each distinct beginning.
#[derive(Debug)]
pub struct Reading {
    /// `[rows, d_model]`, past all layers.
    hidden: Tensor,
    times: Vec<usize>,
    /// The row of each token, text after text.
    row_of: Vec<usize>,
    boundaries: Vec<usize>,
}

impl Reading {
    /// How many tokens of the texts each row stands for: more than one where texts begin alike. Depends on the texts
    /// alone, so rows of two models can be compared one by one.
    pub fn times(&self) -> &[usize] {
        &self.times
    }

    /// How many texts were read.
    pub fn num_texts(&self) -> usize {
        self.boundaries.len() - 1
    }

    /// The row of each token of a text.
    pub fn rows_of(&self, text: usize) -> &[usize] {
        &self.row_of[self.boundaries[text]..self.boundaries[text + 1]]
    }
}

impl Model {
    /// Reads texts, none of them empty or longer than [`Self::max_positions`], all at once: memory grows with their
    /// tokens.
    pub fn read(&self, texts: &[Vec<u32>]) -> Result<Reading, GenerateError> {
        let mut boundaries = vec![0];
        for ids in texts {
            self.check_text(ids)?;
            boundaries.push(boundaries[boundaries.len() - 1] + ids.len());
        }
        let batch = Packed {
            ids: &texts.concat(),
            boundaries: &boundaries,
            rows: &[],
            targets: &[],
            weights: None,
        };
        let shortcuts = Shortcuts {
            shared_prefix: true,
            ..Shortcuts::NONE
        };
        let layout = self.layout(&batch, shortcuts);
        let mut times = vec![0; layout.ids.len()];
        layout.row_of.rows().for_each(|row| times[row] += 1);
        let hidden = self
            .device()
            .scope(|| self.pass().below(self.config().num_layers, &layout))?;
        Ok(Reading {
            hidden,
            times,
            row_of: layout.row_of.rows().collect(),
            boundaries,
        })
    }

    /// Logits of some rows of what this model has read, `[rows, vocabulary]` in row-major order.
    pub fn logits_of(
        &self,
        reading: &Reading,
        rows: Range<usize>,
    ) -> Result<Vec<f32>, GenerateError> {
        let rows: Index = rows.collect();
        let logits = || self.pass().logits(&reading.hidden, &rows, &[]).to_vec();
        Ok(self.device().scope(logits)?)
    }

    /// Logits after every token of one sequence, `[ids, vocabulary]` in row-major order.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>, GenerateError> {
        let reading = self.read(&[ids.to_vec()])?;
        self.logits_of(&reading, 0..ids.len())
    }

    fn check_text(&self, ids: &[u32]) -> Result<(), GenerateError> {
        self.check_ids(ids)?;
        if ids.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if ids.len() > self.max_positions() {
            return Err(GenerateError::PromptTooLong {
                tokens: ids.len(),
                limit: self.max_positions(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hone_tensor::Device;

    use super::*;
    use crate::decoder::BaseFormat;
    use crate::weights::BaseWeights;

    #[test]
    fn texts_read_at_once_say_what_each_says_alone() {
        let base =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-tied");
        let base = BaseWeights::open(&base).unwrap();
        let device = Device::cpu(2).unwrap();
        let model = Model::load(&base, &device, BaseFormat::Stored, 64).unwrap();
        let begins: Vec<u32> = (30..50).collect();
        let texts = [vec![7, 9, 11, 8], vec![200; 17], vec![]]
            .map(|ends: Vec<u32>| [begins.clone(), ends].concat());
        let reading = model.read(&texts).unwrap();
        let times = reading.times().to_vec();
        assert_eq!(times, [vec![3; 20], vec![1; 21]].concat());
        let rows: Vec<usize> = (0..20).chain(24..41).collect();
        assert_eq!((reading.num_texts(), reading.rows_of(1)), (3, &rows[..]));

        let vocab = model.config().vocab_size;
        let halves = [0..9, 9..times.len()].map(|rows| model.logits_of(&reading, rows).unwrap());
        let alone = texts.map(|ids| model.logits(&ids).unwrap());
        let distinct = [&alone[0][..], &alone[1][20 * vocab..]].concat();
        let greatest = distinct.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (i, (together, alone)) in halves.concat().iter().zip(&distinct).enumerate() {
            let apart = (together - alone).abs() / greatest;
            assert!(apart < 2e-6, "row {}: {apart:e}", i / vocab);
        }
        assert_eq!(halves.concat().len(), distinct.len());
        assert_eq!(alone[2], alone[0][..20 * vocab]);
    }
}
