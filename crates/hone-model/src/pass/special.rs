//! What an adapter may train at a projection beside a low-rank pair, there and back.
//!
//! In the order in which an input goes through: factors for inputs (IA³), a whole matrix in place of the base's, the
//! low-rank pair (elsewhere), DoRA's factor for each output, a bias in place of the base's, factors for outputs (IA³).
//! One adapter at a time has any of these.

use hone_tensor::{MatRef, Tensor};

use super::Pass;
use super::projection::add_low_rank;
use crate::adapter::{Adapter, AtSite, TokenRows};
use crate::decoder::Projection;
use crate::weights::Group;

/// A projection where more than a low-rank pair is trained.
#[derive(Clone, Copy)]
pub(super) struct Special<'a> {
    adapter: &'a Adapter,
    at: &'a AtSite,
}

impl<'a> Pass<'a> {
    /// What is special about a projection, if something is.
    pub(super) fn special(&self, index: usize, group: Group, slot: usize) -> Option<Special<'a>> {
        self.active().find_map(|(adapter, _)| {
            let at = adapter.at(index, group, slot)?;
            Some(Special { adapter, at })
        })
    }

    /// `x` with each column multiplied.
    fn scaled(&self, x: &Tensor, factors: MatRef) -> Tensor {
        let mut scaled = self.device().empty(x.rows(), x.cols());
        self.device().copy_rows(x, 0, x.rows(), &mut scaled, 0);
        self.device().scale_cols(&mut scaled, factors);
        scaled
    }

    /// A column of ones: with it a product adds a row to all rows, or all rows to one.
    fn ones(&self, rows: usize) -> Tensor {
        let mut ones = self.device().empty(rows, 1);
        self.device().fill(&mut ones, 1.0);
        ones
    }
}

impl<'a> Special<'a> {
    fn numbers(&self) -> &'a Tensor {
        self.adapter.parameters()
    }

    fn input_factors(&self) -> Option<usize> {
        let factors = self.at.factors.filter(|(_, is_input)| *is_input);
        factors.map(|(offset, _)| offset)
    }

    fn output_factors(&self) -> Option<usize> {
        let factors = self.at.factors.filter(|(_, is_input)| !is_input);
        factors.map(|(offset, _)| offset)
    }

    fn token_rows(&self) -> Option<&'a TokenRows> {
        self.at.token_rows.as_ref()
    }

    /// As far as the low-rank pair: through the matrix, without the bias.
    pub fn through(&self, pass: &Pass, projection: &Projection, x: &Tensor) -> Tensor {
        let (device, at) = (pass.device(), self.at);
        let factors = self.input_factors();
        let scaled =
            factors.map(|offset| pass.scaled(x, self.numbers().window(offset, 1, at.width)));
        let x = scaled.as_ref().unwrap_or(x);
        let mut y = device.empty(x.rows(), at.out);
        match at.whole {
            Some(offset) => {
                let whole = self.numbers().window(offset, at.out, at.width);
                device.matmul(x.view(), whole.t(), 1.0, y.view_mut(), false);
            }
            None => device.linear(x.view(), &projection.weight, &mut y, false),
        }
        if let Some(rows) = self.token_rows() {
            for (i, &id) in rows.ids.iter().enumerate() {
                let row = self
                    .numbers()
                    .window(rows.offset + i * at.width, 1, at.width);
                let column = y.view_cols_mut(id as usize..id as usize + 1);
                device.matmul(x.view(), row.t(), 1.0, column, false);
            }
        }
        y
    }

    /// From the low-rank pair on.
    pub fn finish(&self, pass: &Pass, projection: &Projection, y: &mut Tensor) {
        let device = pass.device();
        if self.at.magnitude.is_some() {
            let gain = self.adapter.gain(self.at, &projection.weight);
            device.scale_cols(y, gain.factors.view());
        }
        self.add_bias(pass, projection, y);
        if let Some(offset) = self.output_factors() {
            device.scale_cols(y, self.numbers().window(offset, 1, self.at.out));
        }
    }

    fn add_bias(&self, pass: &Pass, projection: &Projection, y: &mut Tensor) {
        match (self.at.bias, &projection.bias) {
            (Some(offset), _) => {
                let bias = self.numbers().window(offset, 1, self.at.out);
                let ones = pass.ones(y.rows());
                pass.device()
                    .matmul(ones.view(), bias, 1.0, y.view_mut(), true);
            }
            (None, Some(bias)) => pass.device().add_bias(y, bias),
            (None, None) => {}
        }
    }

    /// Back to the low-rank pair; the gradient there, if it is another than `dy`. Outputs are computed again where a
    /// gradient needs them.
    pub fn finish_backward(
        &self,
        pass: &Pass,
        projection: &Projection,
        x: &Tensor,
        low: Option<&Tensor>,
        dy: &Tensor,
        grads: &mut Tensor,
    ) -> Option<Tensor> {
        let (device, out) = (pass.device(), self.at.out);
        let mut inner = None;
        if let Some(offset) = self.output_factors() {
            let mut y = self.through(pass, projection, x);
            self.add_bias(pass, projection, &mut y);
            let place = grads.window_mut(offset, 1, out);
            device.dot_cols(dy.view(), y.view(), 1.0, place, true);
            inner = Some(pass.scaled(dy, self.numbers().window(offset, 1, out)));
        }
        if let Some(offset) = self.at.bias {
            let dy = inner.as_ref().unwrap_or(dy);
            let ones = pass.ones(dy.rows());
            let place = grads.window_mut(offset, 1, out);
            device.matmul(ones.view().t(), dy.view(), 1.0, place, true);
        }
        if let Some(offset) = self.at.magnitude {
            let mut y = self.through(pass, projection, x);
            let member = self.adapter.member(self.at.site);
            if let (Some(member), Some(low)) = (member, low) {
                add_low_rank(self.numbers(), member, low, 1.0, &mut y);
            }
            let gain = self.adapter.gain(self.at, &projection.weight);
            let mut dots = device.empty(1, out);
            device.dot_cols(dy.view(), y.view(), 1.0, dots.view_mut(), false);
            let place = grads.window_mut(offset, 1, out);
            device.divide_by_root(dots.view(), &gain.squares, place, true);
            // The length of a row is taken for a constant, as the paper and PEFT do.
            inner = Some(pass.scaled(dy, gain.factors.view()));
        }
        inner
    }

    /// Back through the matrix; `dx` says whether what it holds is kept.
    pub fn through_backward(
        &self,
        pass: &Pass,
        projection: &Projection,
        x: &Tensor,
        dz: &Tensor,
        dx: Option<(&mut Tensor, bool)>,
        grads: &mut Tensor,
    ) {
        let (device, at) = (pass.device(), self.at);
        if let Some(offset) = at.whole {
            let place = grads.window_mut(offset, at.out, at.width);
            device.matmul(dz.view().t(), x.view(), 1.0, place, true);
        }
        if let Some(rows) = self.token_rows() {
            for (i, &id) in rows.ids.iter().enumerate() {
                let place = grads.window_mut(rows.offset + i * at.width, 1, at.width);
                let column = dz.view_cols(id as usize..id as usize + 1);
                device.matmul(column.t(), x.view(), 1.0, place, true);
            }
        }
        let Some(offset) = self.input_factors() else {
            if let Some((dx, accumulate)) = dx {
                self.input_gradient(pass, projection, dz, dx, accumulate);
            }
            return;
        };
        let mut dscaled = device.empty(x.rows(), at.width);
        self.input_gradient(pass, projection, dz, &mut dscaled, false);
        let place = grads.window_mut(offset, 1, at.width);
        device.dot_cols(dscaled.view(), x.view(), 1.0, place, true);
        if let Some((dx, accumulate)) = dx {
            device.scale_cols(&mut dscaled, self.numbers().window(offset, 1, at.width));
            match accumulate {
                true => device.add(dx, &dscaled),
                false => device.copy_rows(&dscaled, 0, x.rows(), dx, 0),
            }
        }
    }

    fn input_gradient(
        &self,
        pass: &Pass,
        projection: &Projection,
        dz: &Tensor,
        dx: &mut Tensor,
        accumulate: bool,
    ) {
        let (device, at) = (pass.device(), self.at);
        match at.whole {
            Some(offset) => {
                let whole = self.numbers().window(offset, at.out, at.width);
                device.matmul(dz.view(), whole, 1.0, dx.view_mut(), accumulate);
            }
            None => device.linear_backward(dz.view(), &projection.weight, dx, accumulate),
        }
        if let Some(rows) = self.token_rows() {
            // The base's row went through; the trained one should have.
            let mut base = device.empty(rows.ids.len(), at.width);
            device.embed(&rows.ids, &projection.weight, &mut base);
            for (i, &id) in rows.ids.iter().enumerate() {
                let column = dz.view_cols(id as usize..id as usize + 1);
                let trained = self
                    .numbers()
                    .window(rows.offset + i * at.width, 1, at.width);
                let base = base.view_rows(i..i + 1);
                device.matmul(column, base, -1.0, dx.view_mut(), true);
                device.matmul(column, trained, 1.0, dx.view_mut(), true);
            }
        }
    }
}
