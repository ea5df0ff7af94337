//! Trained biases: a vector in place of the base's, PEFT's `bias`.

use hone_tensor::{Device, Index, Tensor, Weight};

use crate::adapter::config::{AttachError, TrainedBias, together};
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
use crate::adapter::trained::{Flow, Stage, Step, Through, Trained};
use crate::adapter::weights::AdapterWeights;
use crate::arch::{DecoderConfig, Site};

pub(super) struct Bias;

impl Method for Bias {
    fn name(&self) -> &'static str {
        "trained biases"
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Bias, Role::BaseBias]
    }

    fn ask(&self, asked: &Asked, wanted: &mut Wanted) -> Result<(), AttachError> {
        let base = asked.base;
        let all = match asked.config.bias {
            TrainedBias::None => return Ok(()),
            TrainedBias::All => base.sites(),
            TrainedBias::Adapted => asked.sites.clone(),
        };
        // PEFT means the biases of norms too.
        let of_norms = asked.config.bias == TrainedBias::All && base.norm.has_bias();
        together([(of_norms, "all biases", "norms that have biases")])?;
        let mut with_bias = all.into_iter().filter(|site| base.has_bias(*site));
        let first = with_bias.next().ok_or(AttachError::NoBias)?;
        for site in std::iter::once(first).chain(with_bias) {
            wanted.add_step(site, OwnBias::new(site, base));
        }
        Ok(())
    }

    fn fit(&self, site: Site, fitting: &mut Fitting, wanted: &mut Wanted) {
        let path = site.path();
        let own = [Role::Bias, Role::BaseBias].map(|role| fitting.at(&path, role));
        if own.iter().any(Option::is_some) && fitting.base.has_bias(site) {
            wanted.add_step(site, OwnBias::new(site, fitting.base));
        }
    }

    fn unexpected(&self, role: Role, module: &Module) -> Option<&'static str> {
        let (settings, path) = (module.settings, &module.path);
        match role {
            Role::BaseBias if settings.bias == TrainedBias::None => {
                Some("is a bias of the base, but `bias` is none")
            }
            Role::BaseBias => None,
            _ if module.has_pair() => {
                Some("is the bias of an adapted module, which PEFT calls `base_layer.bias`")
            }
            _ if settings.bias != TrainedBias::All && !settings.saves_whole(path) => {
                Some("is a whole bias, but neither `bias` nor `modules_to_save` names it")
            }
            _ => None,
        }
    }

    fn promised(&self, site: Site, module: &Module, base: &DecoderConfig) -> Option<Role> {
        let is_target = module.is_target();
        let is_trained = match module.settings.bias {
            TrainedBias::None => false,
            TrainedBias::All => true,
            TrainedBias::Adapted => is_target,
        };
        let is_due = is_trained && base.has_bias(site);
        let role = match is_target {
            true => Role::BaseBias,
            false => Role::Bias,
        };
        (is_due && !module.has(&[Role::Bias, Role::BaseBias])).then_some(role)
    }

    fn take(&self, module: &Module, weights: &mut AdapterWeights) {
        let own = [Role::Bias, Role::BaseBias].into_iter();
        if let Some(held) = own.filter_map(|role| module.held(role)).next() {
            weights.whole.insert(format!("{}.bias", module.path), held);
        }
    }

    fn judge(&self, facts: &Facts, said: &mut Verdict) {
        said.refuses_if(Runtime::Vllm, facts.biases, "`bias` is refused");
        said.refuses_if(
            Runtime::LlamaCpp,
            facts.biases,
            "its converter refuses biases",
        );
    }
}

/// The bias of one projection, `[out]`.
#[derive(Debug)]
pub(crate) struct OwnBias {
    site: Site,
    out: usize,
    offset: usize,
}

impl OwnBias {
    pub fn new(site: Site, base: &DecoderConfig) -> Self {
        Self {
            site,
            out: base.projection(site).0,
            offset: 0,
        }
    }
}

/// A column of ones: with it a product adds a row to all rows, or all rows to one.
fn ones(device: &Device, rows: usize) -> Tensor {
    let mut ones = device.empty(rows, 1);
    device.fill(&mut ones, 1.0);
    ones
}

impl Trained for OwnBias {
    /// PEFT wraps an adapted module, and its own parameters move one level down.
    fn place(&mut self, pair: Option<&LowRank>, table: &mut ParamTable) {
        let role = match pair {
            Some(_) => Role::BaseBias,
            None => Role::Bias,
        };
        let param = Param::new(&self.site.path(), role, (1, self.out));
        self.offset = table.place(param.at(self.site));
    }

    fn fill(&self, _: &Weight, bias: Option<&Tensor>, numbers: &mut Tensor) {
        if let Some(bias) = bias {
            let device = numbers.device().clone();
            let place = numbers.window_mut(self.offset, 1, self.out);
            device.scatter_add_window(bias, Index::from(vec![0]).all(), place);
        }
    }
}

impl Step for OwnBias {
    fn stage(&self) -> Stage {
        Stage::Bias
    }

    fn forward(&self, at: &Through, y: &mut Tensor) {
        let ones = ones(at.device(), y.rows());
        let bias = at.row(self.offset, self.out);
        at.device()
            .matmul(ones.view(), bias, 1.0, y.view_mut(), true);
    }

    fn needs_given(&self) -> bool {
        false
    }

    fn backward<'d>(
        &self,
        at: &Through,
        _: Option<&Tensor>,
        dy: Flow<'d>,
        grads: &mut Tensor,
    ) -> Flow<'d> {
        let ones = ones(at.device(), dy.rows());
        let place = grads.window_mut(self.offset, 1, self.out);
        at.device()
            .matmul(ones.view().t(), dy.view(), 1.0, place, true);
        dy
    }
}
