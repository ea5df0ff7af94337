//! What a run is: what a checkpoint must agree with to be continued.
//!
//! Everything that decides about a number of the run is part of it; what does not is taken out here, so that it may be another
//! one when the run is resumed.

use hone_ledger::ContentId;
use hone_model::{Activations, LoraConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::plan::TrainingPlan;

/// Content, adapter, options and plan of a run, as far as they decide about its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct RunIdentity(Value);

impl RunIdentity {
    /// `content` is the hash of base, rows and template; `options` are whatever else the caller lets count, by name.
    pub fn new(
        content: ContentId,
        lora: &LoraConfig,
        options: Map<String, Value>,
        plan: &TrainingPlan,
    ) -> Self {
        let training = Self::counted(plan);
        Self(json!({
            "content": content,
            "lora": lora,
            "options": options,
            "training": training,
        }))
    }

    /// What of a plan counts, as a JSON object.
    pub fn counted(plan: &TrainingPlan) -> Map<String, Value> {
        let mut training = object(plan);
        training.remove("save_every");
        // Layers that keep rounded activations have other gradients than those that compute them again.
        if plan.activations != Activations::Bf16 {
            training.remove("kept_layers");
        }
        training["optimizer"]["kind"] = plan.optimizer.kind.is_8bit().into();
        training
    }

    /// The hash of all of it.
    pub fn id(&self) -> String {
        ContentId::of(self.0.to_string().as_bytes()).to_string()
    }

    /// All of it, as JSON.
    pub fn parts(&self) -> &Value {
        &self.0
    }

    /// The names under which two parts differ.
    pub fn differences(one: &Value, other: &Value) -> Vec<String> {
        let (Value::Object(one), Value::Object(other)) = (one, other) else {
            return vec![];
        };
        let differs = |name: &&String| one.get(*name) != other.get(*name);
        let mut names: Vec<&String> = one.keys().chain(other.keys()).filter(differs).collect();
        names.sort();
        names.dedup();
        names.into_iter().cloned().collect()
    }
}

/// As a JSON object.
fn object(part: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(part) {
        Ok(Value::Object(object)) => object,
        other => unreachable!("a plan is a plain JSON object, and not {other:?}"),
    }
}
