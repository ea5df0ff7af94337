//! The methods of fine-tuning: each is one file and its line in [`METHODS`].
//!
//! A method owns what it trains (roles, shapes), what that begins with, its arithmetic forward and backward, what merging makes of
//! it, and what can be done with it, as [`Method`] asks it. The rest of the crate goes through the table and knows no method
//! by name.

pub(crate) mod bias;
pub(crate) mod dora;
pub(crate) mod ia3;
pub(crate) mod lora;
pub(crate) mod token_rows;
pub(crate) mod whole;

use super::config::{AttachError, LoraConfig};
use super::finding::Finding;
use super::fitting::Fitting;
use super::layout::{Layout, Wanted};
use super::method::Method;
use super::raw::{Modules, RawAdapter};
use super::select::Asked;
use crate::arch::DecoderConfig;

/// Every method. Where two train at one projection, their numbers lie in this order.
pub(crate) const METHODS: [&dyn Method; 6] = [
    &lora::Lora,
    &dora::Dora,
    &bias::Bias,
    &whole::Whole,
    &token_rows::TokenRows,
    &ia3::Ia3,
];

impl LoraConfig {
    /// Refuses numbers that make no adapter, and wishes that do not go together.
    pub fn check(&self) -> Result<(), AttachError> {
        self.check_numbers()?;
        METHODS.iter().try_for_each(|method| method.check(self))
    }
}

impl Wanted {
    /// Everything that a configuration names, each name checked to mean something.
    pub fn of(config: &LoraConfig, base: &DecoderConfig) -> Result<Self, AttachError> {
        config.check()?;
        let asked = Asked::of(config, base)?;
        let mut wanted = Self {
            rank_stabilised: config.rank_stabilised,
            ..Self::default()
        };
        for method in METHODS {
            method.ask(&asked, &mut wanted)?;
        }
        Ok(wanted)
    }
}

impl Layout {
    /// What the tensors of an adapter put on `base`. A tensor that has no place there, one of another shape, and what Hone
    /// cannot apply become findings; what is missing, a check has found.
    pub(super) fn of_tensors(
        raw: &RawAdapter,
        modules: &Modules,
        base: &DecoderConfig,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut fitting = Fitting::new(raw, modules, base, findings);
        let mut wanted = Wanted {
            rank_stabilised: raw.settings.rank_stabilised,
            ..Wanted::default()
        };
        for site in base.sites() {
            METHODS
                .iter()
                .for_each(|method| method.fit(site, &mut fitting, &mut wanted));
        }
        for method in METHODS {
            method.fit_embedding(&mut fitting, &mut wanted);
        }
        let layout = Self::new(wanted, base);
        fitting.tie_ends();
        fitting.compare_shapes(layout.table.params());
        fitting.report_others();
        layout
    }
}
