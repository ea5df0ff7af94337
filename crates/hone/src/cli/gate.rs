//! `hone gate`: whether a model is good enough to go on with, by conditions that a script can ask for.

use super::compare::{Named, tell_rows};
use super::failure::{Exit, Refusal};
use crate::screen::{self, Talk};
use anyhow::Result;
use hone_eval::evaluation::{Compared, Comparison, compare};
use hone_eval::report::FEWEST_ROWS;
use serde::Serialize;
use serde_json::json;

/// Arguments of `hone gate`.
#[derive(Debug, clap::Args)]
pub struct Gate {
    /// The evaluation of what is there: DIR, DIR:base or DIR:tuned, as for `hone compare`
    #[arg(value_name = "DIR")]
    first: String,
    /// The evaluation of what is to replace it; without one, base and tuned model of the first are compared
    #[arg(value_name = "DIR")]
    second: Option<String>,
    /// The second must be better, by more than chance explains; may be given more than once
    #[arg(long, value_name = "TASK[:METRIC]")]
    win: Vec<String>,
    /// The second must not be worse by more than this, at the bad end of the range: TASK:METRIC=0.02, TASK=0.02 for each metric
    /// of a task but its loss, or 0.02 for those of all tasks; may be given more than once
    #[arg(long, value_name = "[TASK[:METRIC]=]AMOUNT")]
    keep: Vec<String>,
    /// The second must score at least this (of a loss: at most); may be given more than once
    #[arg(long, value_name = "TASK:METRIC=SCORE")]
    reach: Vec<String>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// A condition that was looked at.
#[derive(Debug, Serialize)]
struct Checked {
    condition: String,
    holds: bool,
    why: String,
}

impl Gate {
    /// Looks at each condition.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        if self.win.is_empty() && self.keep.is_empty() && self.reach.is_empty() {
            return Err(Refusal::usage("no condition is given")
                .hint("--win TASK, --keep 0.02 and --reach TASK:METRIC=0.9 are conditions")
                .into());
        }
        let first = Named::read(&self.first)?;
        let second = self.second.as_deref().map(Named::read).transpose()?;
        let (a, b) = match &second {
            None => first.both()?,
            Some(second) => (first.model()?, second.model()?),
        };
        let newer = second.as_ref().unwrap_or(&first);
        newer.warn_of_contamination(talk);
        let comparison = compare(a, b)?;
        tell_rows(&comparison, talk);
        let mut checked = vec![Checked {
            condition: "the second answered every row of the first".into(),
            holds: comparison.only_first == 0,
            why: match comparison.only_first {
                0 => format!("{} rows", comparison.rows),
                missing => format!("{missing} rows are of the first alone"),
            },
        }];
        if comparison.rules_differ {
            checked.push(Checked {
                condition: "both were made and matched by the same rules".into(),
                holds: false,
                why: "--max-tokens or --match differ".into(),
            });
        }
        for asked in &self.win {
            let metrics = one(&comparison, "--win", asked)?;
            checked.push(wins(asked, metrics));
        }
        for asked in &self.keep {
            checked.extend(keeps(&comparison, asked)?);
        }
        for asked in &self.reach {
            let (name, score) = amount("--reach", asked)?;
            let name = name.ok_or_else(|| malformed("--reach", asked, "TASK:METRIC=0.9"))?;
            checked.push(reaches(name, score, one(&comparison, "--reach", name)?));
        }
        let holds = checked.iter().all(|own| own.holds);
        if self.json {
            screen::data_json(&json!({
                "passes": holds,
                "conditions": checked,
                "first": a.name(),
                "second": b.name(),
            }))?;
        } else {
            for own in &checked {
                let word = if own.holds { "holds" } else { "FAILS" };
                screen::data(format!("{word}  {}: {}", own.condition, own.why))?;
            }
            let failed = checked.iter().filter(|own| !own.holds).count();
            screen::data(match failed {
                0 => format!("passes: {}", b.name()),
                _ => format!(
                    "does not pass: {failed} of {} conditions fail for {}",
                    checked.len(),
                    b.name()
                ),
            })?;
        }
        Ok(if holds { Exit::Done } else { Exit::Found })
    }
}

fn malformed(flag: &str, asked: &str, example: &str) -> Refusal {
    Refusal::usage(format!("{flag} {asked} is not understood"))
        .hint(format!("an example: {flag} {example}"))
}

/// A number, and what stands before it.
fn amount<'a>(flag: &str, asked: &'a str) -> Result<(Option<&'a str>, f64)> {
    let (name, number) = match asked.rsplit_once('=') {
        Some((name, number)) => (Some(name), number),
        None => (None, asked),
    };
    let number: Option<f64> = number
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite());
    let number = number.ok_or_else(|| malformed(flag, asked, "TASK:METRIC=0.02"))?;
    Ok((name, number))
}

/// The metrics that a name means: of a task, or one of its metrics.
fn named<'a>(comparison: &'a Comparison, flag: &str, name: &str) -> Result<Vec<&'a Compared>> {
    let of = |is_meant: &dyn Fn(&Compared) -> bool| -> Vec<&'a Compared> {
        let metrics = comparison.metrics.iter();
        metrics.filter(|own| is_meant(own)).collect()
    };
    // The name of a task may have a colon.
    let of_task = of(&|own| own.task == name);
    if !of_task.is_empty() {
        return Ok(of_task);
    }
    if let Some((task, metric)) = name.rsplit_once(':') {
        let metric = metric.replace('_', " ");
        let is_metric = |own: &Compared| own.metric.replace('_', " ") == metric;
        let one = of(&|own| own.task == task && is_metric(own));
        if !one.is_empty() {
            return Ok(one);
        }
    }
    let known: Vec<String> = comparison
        .metrics
        .iter()
        .map(|own| format!("{}:{}", own.task, own.metric))
        .collect();
    Err(
        Refusal::usage(format!("{flag} {name}: no such task or metric"))
            .hint(format!("there are {}", known.join(", ")))
            .into(),
    )
}

/// The one metric that a name means: of a task, the only one that is no loss.
fn one<'a>(comparison: &'a Comparison, flag: &str, name: &str) -> Result<&'a Compared> {
    let all = named(comparison, flag, name)?;
    let scores: Vec<&Compared> = all.iter().copied().filter(|own| !is_loss(own)).collect();
    match (&all[..], &scores[..]) {
        ([one], _) | (_, [one]) => Ok(one),
        _ => {
            let names: Vec<String> = all
                .iter()
                .map(|own| format!("{}:{}", own.task, own.metric))
                .collect();
            Err(
                Refusal::usage(format!("{flag} {name} could mean several metrics"))
                    .hint(format!("name one of {}", names.join(", ")))
                    .into(),
            )
        }
    }
}

fn is_loss(compared: &Compared) -> bool {
    compared.metric == "loss"
}

fn range(compared: &Compared) -> String {
    match compared.interval {
        Some((low, high)) => format!("{:+.3} ({low:+.3} to {high:+.3})", compared.difference),
        None => format!("{:+.3}", compared.difference),
    }
}

fn wins(asked: &str, compared: &Compared) -> Checked {
    let holds = compared.is_clear && compared.is_better() && compared.rows >= FEWEST_ROWS;
    let word = match (holds, compared.is_clear) {
        _ if compared.rows < FEWEST_ROWS => "too few rows to tell",
        (true, _) => "better",
        (false, true) => "worse",
        (false, false) => "no clear difference",
    };
    Checked {
        condition: format!("{asked} wins"),
        holds,
        why: format!("{word}, {} {}", compared.metric, range(compared)),
    }
}

fn keeps(comparison: &Comparison, asked: &str) -> Result<Vec<Checked>> {
    let (name, most) = amount("--keep", asked)?;
    if most < 0.0 {
        return Err(Refusal::usage(format!(
            "--keep {asked}: the most that may be lost is 0 or more"
        ))
        .hint("--win asks for a gain")
        .into());
    }
    let metrics: Vec<&Compared> = match name {
        None => comparison
            .metrics
            .iter()
            .filter(|own| !is_loss(own))
            .collect(),
        Some(name) => {
            let all = named(comparison, "--keep", name)?;
            let is_task = all.iter().all(|own| own.task == name);
            let is_meant = |own: &&Compared| !is_task || !is_loss(own);
            all.into_iter().filter(is_meant).collect()
        }
    };
    if metrics.is_empty() {
        return Err(Refusal::usage(format!(
            "--keep {asked} is about no metric of these evaluations"
        ))
        .hint("name one as TASK:METRIC; a loss counts only where it is named")
        .into());
    }
    let check = |own: &Compared| Checked {
        condition: format!("{}:{} loses {most} at most", own.task, own.metric),
        holds: own.rows >= FEWEST_ROWS && own.loss_at_most() <= most,
        why: match own.rows >= FEWEST_ROWS {
            true => range(own),
            false => format!("{} rows prove nothing", own.rows),
        },
    };
    Ok(metrics.into_iter().map(check).collect())
}

fn reaches(name: &str, score: f64, compared: &Compared) -> Checked {
    let (holds, word) = match compared.higher_is_better {
        true => (compared.second >= score, "at least"),
        false => (compared.second <= score, "at most"),
    };
    Checked {
        condition: format!("{name} scores {word} {score}"),
        holds,
        why: format!("{:.3} of {} rows", compared.second, compared.rows),
    }
}
