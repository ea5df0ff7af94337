//! Where an adapter comes from, as it is kept beside its numbers.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use hone_ledger::ContentId;

use crate::one_line::one_line;

/// Where an adapter comes from; kept in the weight file's metadata, which PEFT passes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The base by the name that others know it by; never a path of one machine.
    pub base_name: Option<String>,
    /// Hash of the base's weights.
    pub base_fingerprint: Option<String>,
    /// Hash of the chat template that it was trained with.
    pub template_hash: Option<String>,
    /// The day that its chat template printed, as `2026-11-30`, if the template prints one.
    pub template_date: Option<String>,
    /// The run that made it.
    pub run: Option<String>,
}

const FINGERPRINT: &str = "hone.base_fingerprint";
const TEMPLATE: &str = "hone.template_hash";
const DATE: &str = "hone.template_date";
const RUN: &str = "hone.run";
pub(super) const SCALING: &str = "hone.scaling";

/// A hash of what the product of each module is multiplied with, kept beside the numbers: an edit of rank, alpha or
/// `use_rslora` in the configuration changes the model's answers and no tensor.
pub(super) fn scaling_hash<'a>(scales: impl Iterator<Item = (Cow<'a, str>, f32)>) -> String {
    let mut lines: Vec<String> = scales
        // Three digits: an initialisation that is converted when it is saved moves the last ones.
        .map(|(path, scale)| format!("{path} {scale:.3e}\n"))
        .collect();
    lines.sort();
    ContentId::of(lines.concat().as_bytes()).to_string()
}

impl Provenance {
    pub(super) fn to_metadata(&self) -> BTreeMap<&'static str, String> {
        let ours = [
            (FINGERPRINT, &self.base_fingerprint),
            (TEMPLATE, &self.template_hash),
            (DATE, &self.template_date),
            (RUN, &self.run),
        ];
        let ours = ours
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)));
        ours.chain([("format", "pt".to_owned())]).collect()
    }

    pub(super) fn from_metadata(
        metadata: &HashMap<String, String>,
        base_name: Option<String>,
    ) -> Self {
        let get = |key| metadata.get(key).map(one_line);
        Self {
            base_name,
            base_fingerprint: get(FINGERPRINT),
            template_hash: get(TEMPLATE),
            template_date: get(DATE),
            run: get(RUN),
        }
    }
}
