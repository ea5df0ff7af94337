//! The plan as it is shown: a screenful, or every line.

use super::chosen::{Chosen, Origin};
use super::facts::PlanLine;
use super::options::{Settings, shown};
use super::rate::Rate;
use super::table::{OptionInfo, typed};
use super::train_plan::TrainPlan;
use super::values::Method;
use crate::screen::plural;
use hone_train::two_digits;
use serde_json::Value;

impl TrainPlan {
    /// The plan in a screenful: what was decided, and every option that somebody asked for.
    pub fn overview(&self) -> Vec<PlanLine> {
        let (facts, settings) = (&self.facts, &self.settings);
        let line = |name, value: String, origin| PlanLine::new(name, value, origin);
        let method = match settings.method.value {
            Method::Lora if settings.ia3.value => "IA3",
            Method::Lora => "LoRA",
            Method::Qlora if settings.ia3.value => "IA3 on a base in NF4",
            Method::Qlora => "QLoRA",
        };
        let rank = match settings.ia3.value {
            true => String::new(),
            false => format!(
                ", rank {}, alpha {}",
                settings.rank.value, settings.alpha.value
            ),
        };
        let adapter = format!(
            "{method}{rank}, on {}: {}",
            settings.targets.value.join(","),
            facts.adapter.value
        );
        let rate = format!(
            "{}, {}, warm-up {}",
            settings.rate_line(),
            typed(&settings.schedule.value),
            settings.warmup_ratio.value
        );
        let steps = format!(
            "{} of {}; validation and checkpoint every {} and {}",
            facts.steps.value,
            plural(settings.batch_size.value, "example"),
            self.training.eval_every,
            self.training.save_every
        );
        let needed = format!("memory {}; disk {}", facts.memory.value, facts.disk.value);
        let asked = settings.lines().into_iter();
        let asked = asked.filter(|line| line.origin.is_asked());
        let asked: Vec<String> = asked
            .map(|line| format!("{} {} ({})", line.name, line.value, line.origin))
            .collect();
        let asked = match &asked[..] {
            [] => "none, all options are as they are by default".to_owned(),
            asked => asked.join(", "),
        };
        let lines = [
            facts.model.clone(),
            facts.template.clone(),
            facts.data.clone(),
            facts.rows.clone(),
            facts.training_set.clone(),
            facts.validation_set.clone(),
            facts.validations.clone(),
            line("adapter", adapter, settings.method.origin),
            line("learning rate", rate, settings.lr.origin),
            line("steps", steps, facts.steps.origin),
            line("needed", needed, Origin::Derived),
        ];
        let options = line("options", asked, Origin::Derived);
        let time = facts.time.iter().cloned();
        lines.into_iter().chain(time).chain([options]).collect()
    }

    /// The whole plan, line by line: facts first, then every option.
    pub fn lines(&self) -> Vec<PlanLine> {
        let mut options = self.settings.lines();
        for line in &mut options {
            // What they come to in a run of so many steps.
            match line.name.as_str() {
                "eval-every" => line.value = plural(self.training.eval_every, "step"),
                "eval-rows" => {
                    let sampled = self.training.eval_rows.map(|rows| rows.to_string());
                    line.value = sampled.unwrap_or_else(|| "all".into());
                }
                "save-every" => line.value = plural(self.training.save_every, "step"),
                _ => {}
            }
        }
        self.facts.lines().cloned().chain(options).collect()
    }
}

/// What to know of a rate that was not asked for and is that of another method. "Few-Shot Parameter-Efficient Fine-Tuning Is
/// Better and Cheaper than In-Context Learning" (2022) trains IA3 with 3e-3.
const IA3_RATE: &str = "a rule for LoRA: IA3's authors took 3e-3, as --lr 3e-3 does";

impl Settings {
    /// A line for every option that no line about something else tells of.
    fn lines(&self) -> Vec<PlanLine> {
        // Factors have no rank, and nothing is said of one.
        let is_idle =
            |name| self.ia3.value && ["rank", "alpha", "rslora", "lora-plus"].contains(&name);
        let is_fact = |name| OptionInfo::of(name).is_some_and(|option| option.is_fact);
        let chosen = self.json().into_iter();
        let chosen = chosen.filter(|(name, _)| !is_idle(name) && !is_fact(name));
        let line = |(name, chosen): (&str, Chosen<Value>)| {
            let value = match name {
                "lr" => self.rate_line(),
                "memory" => self.memory.value.to_string(),
                _ => shown(name, &chosen.value).unwrap_or_else(|| "none".into()),
            };
            PlanLine::new(name, value, chosen.origin)
        };
        chosen.map(line).collect()
    }

    /// The rate, and those of B and of fully trained modules where they are others.
    fn rate_line(&self) -> String {
        let (rate, ratio) = (self.rate(), self.lora_plus.value);
        let of_b = rate.peak().filter(|_| ratio != 1.0);
        let of_b = of_b.map(|peak| format!("{:e} for B", two_digits(peak * ratio)));
        let is_other = rate.whole_share() != 1.0 && !self.modules_to_save.value.is_empty();
        let of_whole = rate.of_whole().filter(|_| is_other);
        let of_whole = of_whole.map(|whole| format!("{whole:e} for fully trained modules"));
        // The formula was fitted to low-rank pairs; factors that start at one take larger steps.
        let is_of_lora = self.ia3.value && matches!(rate, Rate::ByWidth(_));
        let of_factors = is_of_lora.then(|| IA3_RATE.to_owned());
        let all = [Some(rate.to_string()), of_b, of_whole, of_factors];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
