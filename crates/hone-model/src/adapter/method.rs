//! What a method of fine-tuning has to say of itself.

use super::config::{AttachError, LoraConfig};
use super::facts::Facts;
use super::fitting::Fitting;
use super::layout::Wanted;
use super::raw::Module;
use super::runtimes::Verdict;
use super::select::Asked;
use super::spelling::Role;
use super::weights::AdapterWeights;
use crate::arch::{DecoderConfig, Site};

/// A way of training a module.
pub(crate) trait Method: Sync {
    /// As its users call it.
    fn name(&self) -> &'static str;

    /// The roles of its tensors.
    fn roles(&self) -> &'static [Role];

    /// Whether rows of other adapters may be in the same batch: it leaves alone what all rows share.
    fn mixes(&self) -> bool {
        true
    }

    /// Refuses a configuration that asks for what it does not go together with.
    fn check(&self, _config: &LoraConfig) -> Result<(), AttachError> {
        Ok(())
    }

    /// Adds what a configuration asks of it.
    fn ask(&self, asked: &Asked, wanted: &mut Wanted) -> Result<(), AttachError>;

    /// Adds what the tensors of a file put on a linear layer.
    fn fit(&self, site: Site, fitting: &mut Fitting, wanted: &mut Wanted);

    /// Adds what the tensors of a file put on the embedding.
    fn fit_embedding(&self, _fitting: &mut Fitting, _wanted: &mut Wanted) {}

    /// Why a tensor of its is not one that belongs on a module, if it is not.
    fn unexpected(&self, role: Role, module: &Module) -> Option<&'static str>;

    /// What a module lacks of it, whatever the base.
    fn lacks(&self, _module: &Module) -> Option<Role> {
        None
    }

    /// What the settings promise at a linear layer of a base, and no tensor keeps.
    fn promised(&self, _site: Site, _module: &Module, _base: &DecoderConfig) -> Option<Role> {
        None
    }

    /// Takes its tensors of a module over into the mathematics of an adapter.
    fn take(&self, module: &Module, weights: &mut AdapterWeights);

    /// Says what vLLM and llama.cpp make of it.
    fn judge(&self, facts: &Facts, said: &mut Verdict);
}
