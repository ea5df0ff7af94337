//! How far an adapter has moved its base, measured where the base is asked as well.
//!
//! A distribution over a vocabulary is long, and what leaves the last layer is short: what is kept of the base is the latter,
//! from which its distribution is made again, by the same products in the same order.

use hone_tensor::{Tensor, TensorError};

use crate::Shortcuts;
use crate::batch::Packed;
use crate::layout::Layout;
use crate::model::Model;
use crate::pass::Pass;
use crate::pass::shares::Share;

impl Model {
    /// What the base alone, whatever adapters are on, has after its last layer in the rows `watched` of a batch: `[watched,
    /// d_model]`, for [`Self::nats_and_divergence`] of the same batch.
    ///
    /// # Errors
    /// The device failed, or was asked to stop.
    pub fn base_hidden(&self, batch: Packed, watched: &[usize]) -> Result<Tensor, TensorError> {
        let layout = self.watched_layout(batch, watched);
        let rows = batch.rows.len()..batch.rows.len() + watched.len();
        self.device()
            .scope(|| self.base_pass().hidden(&layout, rows))
    }

    /// Negative log-likelihood of each target, in nats, as [`Self::nats`]; and, for each row of `watched`, how far the
    /// distribution of its next token is from that of the base, `Σ p ln(p / q)` in nats with `p` by the adapters that are on
    /// and `q` by the base, of which `base` is what [`Self::base_hidden`] gave.
    ///
    /// # Errors
    /// The device failed, or was asked to stop.
    pub fn nats_and_divergence(
        &self,
        batch: Packed,
        watched: &[usize],
        base: &Tensor,
    ) -> Result<(Vec<f64>, Vec<f64>), TensorError> {
        let layout = self.watched_layout(batch, watched);
        let rows = batch.rows.len()..batch.rows.len() + watched.len();
        self.device().scope(|| {
            let pass = self.pass();
            let (nats, hidden) = pass.nats_and_hidden(&layout, rows)?;
            let divergence = pass.divergence(&hidden, (&self.base_pass(), base))?;
            Ok((nats, divergence))
        })
    }

    /// The most likely next token after each of the batch's rows; of equally likely ones the first. Where all of them are
    /// the targets, greedy decoding would write just these.
    ///
    /// # Errors
    /// The device failed, or was asked to stop.
    pub fn most_likely(&self, batch: Packed) -> Result<Vec<u32>, TensorError> {
        let layout = self.layout(&batch, Shortcuts::ALL);
        self.device().scope(|| {
            let pass = self.pass();
            let hidden = pass.hidden(&layout, 0..batch.rows.len())?;
            pass.most_likely(&hidden)
        })
    }

    /// As a loss is laid out, with more rows through the head that nothing is supervised in.
    fn watched_layout(&self, batch: Packed, watched: &[usize]) -> Layout {
        let rows = [batch.rows, watched].concat();
        let mut targets = batch.targets.to_vec();
        targets.resize(rows.len(), 0);
        let all = Packed {
            rows: &rows,
            targets: &targets,
            weights: None,
            ..batch
        };
        let mut layout = self.layout(&all, Shortcuts::ALL);
        for head in &mut layout.heads {
            head.range = 0..batch.rows.len();
            head.supervised = batch.rows.len();
        }
        layout
    }

    /// A pass through no adapter.
    fn base_pass(&self) -> Pass<'_> {
        let share = Share {
            active: vec![],
            dropout: None,
        };
        Pass {
            shares: vec![share],
            ..self.pass()
        }
    }
}
