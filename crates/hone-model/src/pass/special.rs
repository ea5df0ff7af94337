//! What an adapter trains at a projection beside a low-rank pair, forward and backward.
//!
//! In the order in which an input goes through: steps on the input, the matrix or what stands in its place, the low-rank
//! pair (elsewhere), steps on the outputs, among them the bias. What each does is its method's; here they are strung
//! together. One adapter at a time has any of these.

use hone_tensor::Tensor;

use super::shares::Share;
use crate::adapter::{Flow, Stage, Step, Through, copy_of};
use crate::arch::Group;
use crate::decoder::Projection;

/// A projection where more than a low-rank pair is trained.
#[derive(Clone, Copy)]
pub(super) struct Special<'a>(Through<'a>);

/// Something that is done to outputs.
#[derive(Clone, Copy)]
enum Link<'a> {
    Step(&'a dyn Step),
    /// The base's bias is added.
    Bias(&'a Tensor),
}

impl<'a> Special<'a> {
    /// What is special about a projection, if something is.
    pub fn of<'s: 'a>(
        share: &Share<'s>,
        (index, group, slot): (usize, Group, usize),
        projection: &'a Projection,
    ) -> Option<Self> {
        share.active.iter().find_map(|&(adapter, _)| {
            Some(Self(Through {
                at: adapter.at(index, group, slot)?,
                numbers: adapter.parameters(),
                projection,
            }))
        })
    }

    /// Whether the matrix gets another input than the projection.
    pub fn changes_input(&self) -> bool {
        !self.inputs().is_empty()
    }

    /// What the matrix gets, where that is another input.
    pub fn input(&self, x: &Tensor) -> Option<Tensor> {
        self.behind(self.inputs(), x)
    }

    fn inputs(&self) -> &'a [Box<dyn Step>] {
        let steps = &self.0.at.steps;
        &steps[..steps.partition_point(|step| step.stage() == Stage::Input)]
    }

    /// What is done to outputs, in order.
    fn outputs(&self) -> Vec<Link<'a>> {
        let steps = &self.0.at.steps[self.inputs().len()..];
        let mut links: Vec<Link> = steps.iter().map(|step| Link::Step(&**step)).collect();
        let has_own = steps.iter().any(|step| step.stage() == Stage::Bias);
        if let Some(bias) = self.0.projection.bias.as_ref().filter(|_| !has_own) {
            let place = steps.partition_point(|step| step.stage() < Stage::Bias);
            links.insert(place, Link::Bias(bias));
        }
        links
    }

    fn forward(&self, links: &[Link], y: &mut Tensor) {
        for link in links {
            match link {
                Link::Step(step) => step.forward(&self.0, y),
                Link::Bias(bias) => self.0.device().add_bias(y, bias),
            }
        }
    }

    /// `x` behind some steps, where there are any.
    fn behind(&self, steps: &[Box<dyn Step>], x: &Tensor) -> Option<Tensor> {
        let mut own = (!steps.is_empty()).then(|| copy_of(x))?;
        for step in steps {
            step.forward(&self.0, &mut own);
        }
        Some(own)
    }

    /// As far as the low-rank pair: through the matrix, without the bias.
    pub fn through(&self, x: &Tensor) -> Tensor {
        let own = self.input(x);
        let x = own.as_ref().unwrap_or(x);
        let (device, at) = (self.0.device(), self.0.at);
        let mut y = device.empty(x.rows(), at.out);
        match &at.matrix {
            Some(matrix) => matrix.product(&self.0, x, &mut y),
            None => device.linear(x.view(), &self.0.projection.weight, &mut y, false),
        }
        y
    }

    /// From the low-rank pair on.
    pub fn finish(&self, y: &mut Tensor) {
        self.forward(&self.outputs(), y);
    }

    /// Back to the low-rank pair: the gradient there. Outputs are computed again where a gradient needs them.
    pub fn finish_backward<'d>(
        &self,
        x: &Tensor,
        low: Option<&Tensor>,
        dy: &'d Tensor,
        grads: &mut Tensor,
    ) -> Flow<'d> {
        let links = self.outputs();
        let given = |links: &[Link]| {
            let mut y = self.through(x);
            if let (Some(pair), Some(low)) = (&self.0.at.pair, low) {
                pair.add(self.0.numbers, low, 1.0, &mut y);
            }
            self.forward(links, &mut y);
            y
        };
        let mut flow = Flow::Lent(dy);
        for (number, link) in links.iter().enumerate().rev() {
            if let Link::Step(step) = link {
                let given = step.needs_given().then(|| given(&links[..number]));
                flow = step.backward(&self.0, given.as_ref(), flow, grads);
            }
        }
        flow
    }

    /// Back through the matrix; `dx` says whether what it holds is kept.
    pub fn through_backward(
        &self,
        x: &Tensor,
        dz: &Tensor,
        dx: Option<(&mut Tensor, bool)>,
        grads: &mut Tensor,
    ) {
        let (device, at, inputs) = (self.0.device(), self.0.at, self.inputs());
        if let Some(matrix) = &at.matrix {
            let own = self.input(x);
            matrix.gradients(&self.0, own.as_ref().unwrap_or(x), dz, grads);
        }
        if inputs.is_empty() {
            if let Some((dx, accumulate)) = dx {
                self.input_gradient(dz, dx, accumulate);
            }
            return;
        }
        let mut dinput = device.empty(x.rows(), at.width);
        self.input_gradient(dz, &mut dinput, false);
        let mut flow = Flow::Own(dinput);
        for (number, step) in inputs.iter().enumerate().rev() {
            let own = self.behind(&inputs[..number], x);
            let given = Some(own.as_ref().unwrap_or(x));
            flow = step.backward(&self.0, given, flow, grads);
        }
        match dx {
            Some((dx, true)) => device.add(dx, &flow),
            Some((dx, false)) => device.copy_rows(&flow, 0, x.rows(), dx, 0),
            None => {}
        }
    }

    fn input_gradient(&self, dz: &Tensor, dx: &mut Tensor, accumulate: bool) {
        let (device, weight) = (self.0.device(), &self.0.projection.weight);
        match &self.0.at.matrix {
            Some(matrix) => matrix.input_gradient(&self.0, dz, dx, accumulate),
            None => device.linear_backward(dz.view(), weight, dx, accumulate),
        }
    }
}
