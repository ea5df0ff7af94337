//! From the files of an adapter to the mathematics in them, once a check has found nothing that stands against it.

use std::path::Path;

use super::check::{AdapterCheck, check_adapter};
use super::facts::CheckedBase;
use super::finding::Finding;
use super::methods::METHODS;
use super::peft::PeftError;
use super::plain::repeatable;
use super::raw::RawAdapter;
use super::weights::AdapterWeights;
use crate::weights::{BaseWeights, WeightsError};

/// Why the weights of an adapter cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AdapterWeightsError {
    /// It cannot be read at all.
    #[error(transparent)]
    Peft(#[from] PeftError),
    /// The base that it is for.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl AdapterWeightsError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Peft(error) => error.hints(),
            Self::Weights(error) => error.hints(),
        }
    }
}

impl AdapterWeights {
    /// Reads an adapter directory that has to pass the check, against `base` if one is given.
    pub fn read(dir: &Path, base: Option<CheckedBase>) -> Result<Self, AdapterWeightsError> {
        let raw = RawAdapter::read(dir)?;
        let check = check_adapter(&raw, base);
        Self::of(&raw, &check)
    }

    /// The weights of what has been checked.
    pub fn of(raw: &RawAdapter, check: &AdapterCheck) -> Result<Self, AdapterWeightsError> {
        check.accept(raw.path())?;
        Ok(Self::of_tensors(raw))
    }

    /// Refuses a base other than the one that the adapter in `dir` names, if it names one: the one check that needs the
    /// hash of the whole base, and so may come later than the others.
    pub fn check_base(&self, dir: &Path, fingerprint: &str) -> Result<(), AdapterWeightsError> {
        let other = Finding::other_base(&self.provenance, fingerprint);
        Ok(PeftError::refuse(dir, other.iter())?)
    }

    /// As [`Self::of`], and takes names without PEFT's prefix, whose meaning is plain. With
    /// `base`, the one that it was trained on, also PiSSA and OLoRA that were saved as they were trained: what they took
    /// out of the base is found again, and the adapter is plain LoRA of twice the rank.
    pub fn repaired(
        raw: &RawAdapter,
        check: &AdapterCheck,
        base: Option<&BaseWeights>,
    ) -> Result<Self, AdapterWeightsError> {
        let method = check.facts.changes_base.as_deref();
        let again = base.zip(method.and_then(repeatable));
        let is_plain = |finding: &&Finding| match finding {
            Finding::NoPrefix { .. } => true,
            Finding::ChangesBase { .. } => again.is_some(),
            _ => false,
        };
        let others = check.errors().filter(|finding| !is_plain(finding));
        PeftError::refuse(raw.path(), others)?;
        let weights = Self::of_tensors(raw);
        match again {
            Some((base, method)) => Ok(weights.less_its_start(base, method)?),
            None => Ok(weights),
        }
    }

    fn of_tensors(raw: &RawAdapter) -> Self {
        let mut all = Self {
            dropout: raw.settings.dropout,
            provenance: raw.provenance(),
            ..Self::default()
        };
        for module in raw.modules(&mut vec![]).values() {
            METHODS
                .iter()
                .for_each(|method| method.take(module, &mut all));
        }
        all
    }

    /// Names for `target_modules` of an adapter on the same modules as `raw`: its own list, where that is one and
    /// nothing else narrows it, whole paths otherwise.
    pub fn target_names(&self, raw: &RawAdapter) -> Vec<String> {
        match raw.settings.plain_targets() {
            Some(names) => names.to_vec(),
            None => self.paths(),
        }
    }
}
