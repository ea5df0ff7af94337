//! What a plan says, a line for each thing: what it is about, what was decided or found, and who decided it.

use super::chosen::Origin;
use serde::{Deserialize, Serialize};

/// What was found of model, data and machine, and what follows from it: a line each.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)] // the names are those of the lines
pub struct Facts {
    pub model: PlanLine,
    pub template: PlanLine,
    pub end_of_reply: PlanLine,
    pub data: PlanLine,
    pub rows: PlanLine,
    pub training_set: PlanLine,
    pub tasks: PlanLine,
    pub validation_set: PlanLine,
    pub validations: PlanLine,
    pub adapter: PlanLine,
    pub steps: PlanLine,
    pub memory: PlanLine,
    pub disk: PlanLine,
    pub optimizer_state: PlanLine,
    /// Once a step was measured.
    pub time: Option<PlanLine>,
    /// What a user may not expect of the data: columns that are not read, sides that are left, replies that are context.
    pub notes: Vec<PlanLine>,
}

impl Facts {
    /// All of them, notes last.
    pub fn lines(&self) -> impl Iterator<Item = &PlanLine> {
        let Self {
            model,
            template,
            end_of_reply,
            data,
            rows,
            training_set,
            tasks,
            validation_set,
            validations,
            adapter,
            steps,
            memory,
            disk,
            optimizer_state,
            time,
            notes,
        } = self;
        let base = [model, template, end_of_reply];
        let data = [data, rows, training_set, tasks, validation_set, validations];
        let run = [adapter, steps, memory, disk, optimizer_state];
        let lines = base.into_iter().chain(data).chain(run);
        lines.chain(time).chain(notes)
    }
}

/// One line of the plan as it is shown and saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanLine {
    /// What it is about.
    pub name: String,
    /// What was decided or found.
    pub value: String,
    /// Who decided it.
    pub origin: Origin,
}

impl PlanLine {
    pub(super) fn new(name: &str, value: impl Into<String>, origin: Origin) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            origin,
        }
    }
}
