//! What enters the lowest adapted layer, kept from epoch to epoch.
//!
//! Below the lowest adapter nothing ever changes, so an example's activations there are the same each
//! time it is seen. They are kept in pages of a anonymous temporary file, which may leave memory, and epochs after
//! the first compute only the layers above.

use std::path::Path;

use hone_data::Example;
use hone_model::{Model, Packed};
use hone_tensor::{Index, Tensor, TensorError};

/// One row for each token of the training examples.
pub(crate) struct ActivationCache {
    rows: Tensor,
    /// Where each example begins, and the end.
    starts: Vec<usize>,
    known: Vec<bool>,
}

impl ActivationCache {
    /// Room for all examples, in a file under `dir`; `None` where the lowest layer has an adapter.
    pub fn new(
        model: &Model,
        examples: &[Example],
        dir: &Path,
    ) -> Result<Option<Self>, TensorError> {
        let lowest = model.lowest_adapted_layer();
        if lowest == 0 || lowest >= model.config().num_layers {
            return Ok(None);
        }
        let mut starts = vec![0];
        for example in examples {
            starts.push(starts[starts.len() - 1] + example.ids.len());
        }
        let tokens = starts[examples.len()];
        let width = model.config().d_model;
        Ok(Some(Self {
            rows: model.device().zeros_in(tokens, width, Some(dir))?,
            starts,
            known: vec![false; examples.len()],
        }))
    }

    /// What enters the lowest adapted layer for these examples, packed in this order.
    pub fn of(
        &mut self,
        model: &Model,
        examples: &[usize],
        packed: Packed,
    ) -> Result<Tensor, TensorError> {
        let spans = examples
            .iter()
            .map(|&i| (i, self.starts[i]..self.starts[i + 1]));
        if examples.iter().all(|&i| self.known[i]) {
            let rows: Index = spans.flat_map(|(_, span)| span).collect();
            let mut entry = model.device().empty(rows.len(), self.rows.cols());
            model
                .device()
                .gather_rows(&self.rows, rows.all(), &mut entry);
            return Ok(entry);
        }
        let entry = model.entry(packed)?;
        let mut at = 0;
        for (i, span) in spans {
            let (len, device) = (span.len(), model.device());
            device.copy_rows(&entry, at, len, &mut self.rows, span.start);
            self.known[i] = true;
            at += len;
        }
        Ok(entry)
    }
}
