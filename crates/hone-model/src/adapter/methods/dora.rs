//! DoRA (Liu et al. 2024): the length of each row of `W + s·BA` is trained apart from its direction.
//!
//! The length of a row is needed at each step, and the dense matrix is not:
//! `‖w + s·ba‖² = ‖w‖² + 2s · b·(A·wᵀ) + s² · b·(A·Aᵀ)·bᵀ`, which takes `rank` rows through the base instead of all
//! tokens. Kept until a number of the adapter changes, so that a token that is generated alone does not pay for it.

use std::sync::OnceLock;

use hone_tensor::{Device, Tensor, Weight};

use crate::adapter::config::{AttachError, Initial, LoraConfig, together};
use crate::adapter::facts::Facts;
use crate::adapter::fitting::Fitting;
use crate::adapter::layout::Wanted;
use crate::adapter::method::Method;
use crate::adapter::pairs::LowRank;
use crate::adapter::raw::Module;
use crate::adapter::runtimes::{Runtime, Verdict};
use crate::adapter::select::Asked;
use crate::adapter::spelling::Role;
use crate::adapter::table::{Param, ParamTable};
use crate::adapter::trained::{
    Edit, EditRows, Flow, PANEL, Stage, Step, Through, Trained, panel, row_by_row,
};
use crate::adapter::weights::AdapterWeights;
use crate::arch::{DecoderConfig, Site};

pub(super) struct Dora;

impl Method for Dora {
    fn name(&self) -> &'static str {
        "DoRA"
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Magnitude]
    }

    fn check(&self, config: &LoraConfig) -> Result<(), AttachError> {
        let decomposes = config.initial != Initial::Random;
        together([
            (config.dora && config.dropout > 0.0, "DoRA", "dropout"),
            (
                config.dora && decomposes,
                "DoRA",
                "a start from the base's own vectors",
            ),
        ])
    }

    fn ask(&self, asked: &Asked, wanted: &mut Wanted) -> Result<(), AttachError> {
        asked.refuse_at_parameters(asked.config.dora, "DoRA")?;
        for member in wanted.pairs.clone() {
            if asked.config.dora {
                wanted.add_step(member.site, Magnitudes::new(member.site, asked.base));
            }
        }
        Ok(())
    }

    fn fit(&self, site: Site, fitting: &mut Fitting, wanted: &mut Wanted) {
        let has_pair = wanted.pairs.iter().any(|pair| pair.site == site);
        if has_pair && fitting.settings.dora {
            wanted.add_step(site, Magnitudes::new(site, fitting.base));
        }
    }

    fn fit_embedding(&self, fitting: &mut Fitting, _: &mut Wanted) {
        let path = fitting.base.names.embedding.0;
        if let Some(magnitude) = fitting.at(path, Role::Magnitude) {
            fitting.refuse(magnitude, "is DoRA on an embedding");
        }
    }

    fn unexpected(&self, _: Role, module: &Module) -> Option<&'static str> {
        match module.settings.dora {
            _ if !module.has_pair() => Some("belongs to no adapted module"),
            false => {
                Some("holds DoRA's magnitudes, but `use_dora` is false: PEFT would leave them out")
            }
            true => None,
        }
    }

    fn lacks(&self, module: &Module) -> Option<Role> {
        let is_due = module.has_pair() && module.settings.dora;
        (is_due && !module.has(&[Role::Magnitude])).then_some(Role::Magnitude)
    }

    fn take(&self, module: &Module, weights: &mut AdapterWeights) {
        if let Some(pair) = weights.pairs.get_mut(&module.path) {
            pair.magnitude = module.held(Role::Magnitude).map(|held| held.1);
        }
    }

    fn judge(&self, facts: &Facts, said: &mut Verdict) {
        said.refuses_if(Runtime::Vllm, facts.dora, "DoRA is refused");
        said.refuses_if(
            Runtime::LlamaCpp,
            facts.dora,
            "its converter refuses DoRA's magnitudes",
        );
    }
}

/// The trained magnitudes of one projection's rows, `[out]`.
#[derive(Debug)]
pub(crate) struct Magnitudes {
    site: Site,
    out: usize,
    /// The pair at the same projection.
    pair: Option<LowRank>,
    offset: usize,
    /// Squared lengths of the base's rows.
    of_base: OnceLock<Tensor>,
    gain: OnceLock<Gain>,
}

/// The factors of one projection.
#[derive(Debug)]
struct Gain {
    /// Squared length of each row of `W + s·BA`, `[1, out]`.
    squares: Tensor,
    /// Magnitude over length, `[1, out]`: what an output is multiplied with.
    factors: Tensor,
}

impl Magnitudes {
    pub fn new(site: Site, base: &DecoderConfig) -> Self {
        Self {
            site,
            out: base.projection(site).0,
            pair: None,
            offset: 0,
            of_base: OnceLock::new(),
            gain: OnceLock::new(),
        }
    }

    fn gain(&self, at: &Through) -> &Gain {
        self.gain.get_or_init(|| {
            let (device, out) = (at.device(), self.out);
            let squares = self.row_squares(at.numbers, &at.projection.weight);
            let mut factors = device.empty(1, out);
            let magnitudes = at.row(self.offset, out);
            device.divide_by_root(magnitudes, &squares, factors.view_mut(), false);
            Gain { squares, factors }
        })
    }

    /// Squared length of each row of `W + s·BA`, `[1, out]`.
    fn row_squares(&self, numbers: &Tensor, weight: &Weight) -> Tensor {
        let (device, out) = (numbers.device(), self.out);
        let of_base = self.of_base.get_or_init(|| base_squares(device, weight));
        let mut squares = device.empty(1, out);
        device.copy_rows(of_base, 0, 1, &mut squares, 0);
        let Some(pair) = &self.pair else {
            return squares;
        };
        let (rank, scale) = (pair.rank, pair.scale);
        let (a, b) = (pair.a(numbers), pair.b(numbers));
        let mut through = device.empty(rank, out);
        device.linear(a, weight, &mut through, false);
        device.dot_cols(through.view(), b.t(), 2.0 * scale, squares.view_mut(), true);
        let mut gram = device.empty(rank, rank);
        device.matmul(a, a.t(), 1.0, gram.view_mut(), false);
        let mut product = device.empty(out, rank);
        device.matmul(b, gram.view(), 1.0, product.view_mut(), false);
        let product = product.view().t();
        device.dot_cols(product, b.t(), scale * scale, squares.view_mut(), true);
        squares
    }
}

/// Squared length of each row of a frozen matrix, `[1, out]`.
fn base_squares(device: &Device, weight: &Weight) -> Tensor {
    let mut squares = device.empty(1, weight.rows());
    for first in (0..weight.rows()).step_by(PANEL) {
        let rows = panel(device, weight, first);
        let place = squares.view_cols_mut(first..first + rows.rows());
        device.dot_cols(rows.view().t(), rows.view().t(), 1.0, place, false);
    }
    squares
}

impl Trained for Magnitudes {
    fn place(&mut self, pair: Option<&LowRank>, table: &mut ParamTable) {
        self.pair = pair.cloned();
        let param = Param::new(&self.site.path(), Role::Magnitude, (1, self.out));
        self.offset = table.place(param.at(self.site));
    }

    /// The lengths that rows have.
    fn fill(&self, weight: &Weight, _: Option<&Tensor>, numbers: &mut Tensor) {
        let squares = self.row_squares(numbers, weight);
        let device = numbers.device().clone();
        let place = numbers.window_mut(self.offset, 1, self.out);
        // A length is its square over its root.
        device.divide_by_root(squares.view(), &squares, place, false);
    }

    fn forget(&mut self, base_too: bool) {
        self.gain.take();
        if base_too {
            self.of_base.take();
        }
    }
}

impl Step for Magnitudes {
    fn stage(&self) -> Stage {
        Stage::Gain
    }

    fn forward(&self, at: &Through, y: &mut Tensor) {
        at.device().scale_cols(y, self.gain(at).factors.view());
    }

    fn backward<'d>(
        &self,
        at: &Through,
        given: Option<&Tensor>,
        dy: Flow<'d>,
        grads: &mut Tensor,
    ) -> Flow<'d> {
        let (device, gain) = (at.device(), self.gain(at));
        if let Some(y) = given {
            let mut dots = device.empty(1, self.out);
            device.dot_cols(dy.view(), y.view(), 1.0, dots.view_mut(), false);
            let place = grads.window_mut(self.offset, 1, self.out);
            device.divide_by_root(dots.view(), &gain.squares, place, true);
        }
        // The length of a row is taken for a constant, as the paper and PEFT do.
        dy.scaled(gain.factors.view())
    }
}

/// The lengths that rows of a merged matrix are brought to.
#[derive(Debug)]
pub(crate) struct Lengths(pub Vec<f32>);

impl Edit for Lengths {
    fn begin<'e>(&'e self, _: &'e Device) -> EditRows<'e> {
        row_by_row(move |row, out| {
            let squares: f64 = out.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let factor = f64::from(self.0[row]) / squares.sqrt();
            out.iter_mut()
                .for_each(|x| *x = (f64::from(*x) * factor) as f32);
        })
    }
}
