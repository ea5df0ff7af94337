//! The plan as it is shown: a screenful, or every line.

use super::chosen::Origin;
use super::facts::PlanLine;
use super::rate::Rate;
use super::raw::{Method, Own, Shortcut};
use super::settings::{Length, Settings};
use super::train_plan::TrainPlan;
use crate::screen::plural;
use hone_model::LayerRange;
use hone_train::two_digits;
use std::fmt;

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
            settings.rate_line(settings.lr.value),
            settings.schedule.value,
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
        let asked = settings.rows().into_iter();
        let asked = asked.filter(|(_, _, origin)| origin.is_asked());
        let asked: Vec<String> = asked
            .map(|(name, value, origin)| format!("{name} {value} ({origin})"))
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
        let options = self
            .settings
            .rows()
            .into_iter()
            .map(|(name, value, origin)| PlanLine::new(name, value, origin));
        let every = |name, steps, origin| PlanLine::new(name, plural(steps, "step"), origin);
        let (training, settings) = (&self.training, &self.settings);
        let intervals = [
            every(
                "eval-every",
                training.eval_every,
                settings.eval_every.origin,
            ),
            every(
                "save-every",
                training.save_every,
                settings.save_every.origin,
            ),
        ];
        self.facts
            .lines()
            .cloned()
            .chain(options)
            .chain(intervals)
            .collect()
    }
}

impl Settings {
    /// The plan's screenful: name, value and origin of every option, in the order of a person's questions.
    pub fn rows(&self) -> Vec<(&'static str, String, Origin)> {
        macro_rules! rows {
            ($($label:literal $field:ident $show:expr),* $(,)?) => {
                vec![$(($label, $show(&self.$field.value), self.$field.origin)),*]
            };
        }
        fn plain<T: fmt::Display>(value: &T) -> String {
            value.to_string()
        }
        fn list<T: fmt::Display>(values: &[T]) -> String {
            match values {
                [] => "nothing".into(),
                values => values
                    .iter()
                    .map(T::to_string)
                    .collect::<Vec<_>>()
                    .join(","),
            }
        }
        let mut rows = rows![
            "regroup" regroup plain,
            "method" method plain,
            "rank" rank plain,
            "alpha" alpha plain,
            "targets" targets |names: &Vec<String>| names.join(","),
            "exclude" exclude |names: &Vec<String>| list(names),
            "rank-pattern" rank_pattern |own: &Vec<Own>| list(own),
            "alpha-pattern" alpha_pattern |own: &Vec<Own>| list(own),
            "layers" layers |range: &Option<LayerRange>| range.map_or("all".into(), |r| r.to_string()),
            "dropout" dropout plain,
            "rslora" rslora plain,
            "lora-plus" lora_plus plain,
            "dora" dora plain,
            "init" init plain,
            "bias" bias plain,
            "modules-to-save" whole |names: &Vec<String>| list(names),
            "token-rows" token_rows |ids: &Vec<u32>| list(ids),
            "new-tokens" new_tokens |texts: &Vec<String>| list(texts),
            "ia3" ia3 plain,
            "feed-forward" feed_forward |names: &Vec<String>| list(names),
            "length" length plain,
            "optimizer" optimizer plain,
            "lr" lr |rate: &Rate| self.rate_line(*rate),
            "schedule" schedule plain,
            "warmup-ratio" warmup_ratio plain,
            "batch-size" batch_size plain,
            "accumulate" accumulate plain,
            "max-length" max_length plain,
            "too-long" too_long plain,
            "clip" clip plain,
            "weight-decay" weight_decay plain,
            "save-dtype" save_dtype plain,
            "seed" seed plain,
            "threads" threads plain,
            "memory" memory plain,
            "activations" activations plain,
            "without" without |names: &Vec<Shortcut>| list(names),
        ];
        // The name that a user would type.
        for (name, _, _) in rows.iter_mut().filter(|(name, _, _)| *name == "length") {
            *name = match self.length.value {
                Length::Epochs(_) => "epochs",
                Length::Minutes { .. } => "minutes",
            };
        }
        if self.ia3.value {
            // Factors have no rank, and nothing is said of one.
            rows.retain(|(name, _, _)| !["rank", "alpha", "rslora", "lora-plus"].contains(name));
        }
        rows
    }

    /// The rate, and those of B and of fully trained modules where they are others.
    fn rate_line(&self, rate: Rate) -> String {
        let ratio = self.lora_plus.value;
        let of_b = rate.peak().filter(|_| ratio != 1.0);
        let of_b = of_b.map(|peak| format!("{:e} for B", two_digits(peak * ratio)));
        let is_other = rate.whole_share() != 1.0 && !self.whole.value.is_empty();
        let of_whole = rate.of_whole().filter(|_| is_other);
        let of_whole = of_whole.map(|whole| format!("{whole:e} for fully trained modules"));
        let all = [Some(rate.to_string()), of_b, of_whole];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
