//! IA³ (Liu et al. 2022): a trained factor for each output of a linear layer, or for each input of those that count as
//! feed-forward.

use hone_ledger::Seed;
use hone_tensor::{Device, Tensor};

use super::lora::NOT_NAMED;
use crate::adapter::config::{AttachError, Initial, LoraConfig, TrainedBias, together};
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
use crate::adapter::targets::target_matches;
use crate::adapter::trained::{Edit, EditRows, Flow, Stage, Step, Through, Trained, row_by_row};
use crate::adapter::weights::{AdapterWeights, Factors};
use crate::arch::{DecoderConfig, Site};

pub(super) struct Ia3;

impl Method for Ia3 {
    fn name(&self) -> &'static str {
        "IA3"
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Factors]
    }

    fn check(&self, config: &LoraConfig) -> Result<(), AttachError> {
        let beside = [
            (config.dora, "DoRA"),
            (
                config.initial != Initial::Random,
                "a start from the base's own vectors",
            ),
            (config.dropout > 0.0, "dropout"),
            (config.bias != TrainedBias::None, "trained biases"),
            (
                !(config.token_rows.is_empty() && config.head_rows.is_empty()),
                "trained token rows",
            ),
            (!config.whole.is_empty(), "modules trained whole"),
        ];
        together(beside.map(|(is_asked, other)| (is_asked && config.ia3.is_some(), "IA3", other)))
    }

    fn ask(&self, asked: &Asked, wanted: &mut Wanted) -> Result<(), AttachError> {
        let config = asked.config;
        let Some(ia3) = &config.ia3 else {
            return Ok(());
        };
        asked.refuse_at_parameters(true, "IA3")?;
        let has_patterns = !(config.rank_pattern.is_empty() && config.alpha_pattern.is_empty());
        together([
            (asked.embedding, "IA3", "a target `embed_tokens`"),
            (has_patterns, "IA3", "ranks or alphas of single modules"),
        ])?;
        asked.all_match("the feed-forward modules", ia3.feed_forward.iter())?;
        for site in &asked.sites {
            let path = site.path();
            let is_input = ia3
                .feed_forward
                .iter()
                .any(|name| target_matches(name, &path));
            let shape = asked.base.projection(*site);
            wanted.add_step(*site, TrainedFactors::new(*site, shape, is_input));
        }
        Ok(())
    }

    fn fit(&self, site: Site, fitting: &mut Fitting, wanted: &mut Wanted) {
        let path = site.path();
        if fitting.at(&path, Role::Factors).is_some() {
            let is_input = fitting.settings.scales_input(&path);
            let shape = fitting.base.projection(site);
            wanted.add_step(site, TrainedFactors::new(site, shape, is_input));
        }
    }

    fn unexpected(&self, _: Role, module: &Module) -> Option<&'static str> {
        match module.settings.feed_forward {
            None => Some("belongs to another method than LoRA"),
            Some(_) if module.is_no_target() => Some(NOT_NAMED),
            Some(_) => None,
        }
    }

    fn promised(&self, _: Site, module: &Module, _: &DecoderConfig) -> Option<Role> {
        let is_due = module.is_target() && module.settings.feed_forward.is_some();
        (is_due && !module.has(&[Role::Factors])).then_some(Role::Factors)
    }

    fn take(&self, module: &Module, weights: &mut AdapterWeights) {
        if let Some((_, numbers)) = module.held(Role::Factors) {
            let is_input = module.settings.scales_input(&module.path);
            let factors = Factors { numbers, is_input };
            weights.factors.insert(module.path.clone(), factors);
        }
    }

    fn judge(&self, facts: &Facts, said: &mut Verdict) {
        said.refuses_if(
            Runtime::Vllm,
            facts.ia3,
            "methods other than LoRA are refused",
        );
        said.refuses_if(
            Runtime::LlamaCpp,
            facts.ia3,
            "its converter refuses methods other than LoRA",
        );
    }
}

/// The factors of one projection.
#[derive(Debug)]
pub(crate) struct TrainedFactors {
    site: Site,
    count: usize,
    is_input: bool,
    offset: usize,
}

impl TrainedFactors {
    /// For a projection of `(out, in)`.
    pub fn new(site: Site, (out, width): (usize, usize), is_input: bool) -> Self {
        Self {
            site,
            count: if is_input { width } else { out },
            is_input,
            offset: 0,
        }
    }
}

impl Trained for TrainedFactors {
    fn place(&mut self, _: Option<&LowRank>, table: &mut ParamTable) {
        let shape = match self.is_input {
            true => (1, self.count),
            false => (self.count, 1),
        };
        let param = Param::new(&self.site.path(), Role::Factors, shape);
        self.offset = table.place(param.at(self.site));
    }

    /// Ones, which change nothing.
    fn draw(&self, numbers: &mut [f32], _: Seed) {
        numbers[self.offset..][..self.count].fill(1.0);
    }
}

impl Step for TrainedFactors {
    fn stage(&self) -> Stage {
        match self.is_input {
            true => Stage::Input,
            false => Stage::Output,
        }
    }

    fn forward(&self, at: &Through, y: &mut Tensor) {
        at.device().scale_cols(y, at.row(self.offset, self.count));
    }

    fn backward<'d>(
        &self,
        at: &Through,
        given: Option<&Tensor>,
        dy: Flow<'d>,
        grads: &mut Tensor,
    ) -> Flow<'d> {
        if let Some(x) = given {
            let place = grads.window_mut(self.offset, 1, self.count);
            at.device().dot_cols(dy.view(), x.view(), 1.0, place, true);
        }
        dy.scaled(at.row(self.offset, self.count))
    }
}

/// Each row, or each column, times a factor.
impl Edit for Factors {
    fn begin<'e>(&'e self, _: &'e Device) -> EditRows<'e> {
        row_by_row(move |row, out| match self.is_input {
            true => out
                .iter_mut()
                .zip(&self.numbers)
                .for_each(|(x, factor)| *x *= factor),
            false => out.iter_mut().for_each(|x| *x *= self.numbers[row]),
        })
    }
}
