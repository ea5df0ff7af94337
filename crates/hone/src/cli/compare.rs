//! `hone compare`: models of two or more evaluations on the rows that they have in common.

use super::eval::tables::show_comparison;
use super::failure::{Exit, Refusal};
use crate::judge::compared_row;
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_eval::evaluation::{Comparison, Evaluation, Model, Which, compare};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `hone compare`.
#[derive(Debug, clap::Args)]
pub struct Compare {
    /// Evaluations, as `hone eval --out` writes them: the first and those that are compared with it. DIR is its tuned model, or
    /// the base where there is none; DIR:base and DIR:tuned name one. Of a single directory, base and tuned are compared
    #[arg(value_name = "DIR", required = true)]
    evaluations: Vec<String>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

/// A model of an evaluation by its name on a command line.
pub struct Named {
    evaluation: Evaluation,
    which: Option<Which>,
}

impl Named {
    /// Reads the evaluation that is named.
    pub fn read(name: &str) -> Result<Self> {
        let endings = [(":base", Which::Base), (":tuned", Which::Tuned)];
        let named = endings
            .into_iter()
            .find_map(|(ending, which)| Some((name.strip_suffix(ending)?, which)));
        let (dir, which) = match named {
            // A directory may be called so.
            Some((dir, which)) if !Path::new(name).is_dir() => (dir, Some(which)),
            _ => (name, None),
        };
        Ok(Self {
            evaluation: Evaluation::read(&PathBuf::from(dir))?,
            which,
        })
    }

    /// The model.
    pub fn model(&self) -> Result<Model<'_>> {
        Ok(self.evaluation.model(self.which)?)
    }

    /// Whether it is one model, because it is named or there is no other.
    pub fn is_single(&self) -> bool {
        self.which.is_some() || self.evaluation.model(Some(Which::Tuned)).is_err()
    }

    /// The base beside the tuned model, where one directory has both.
    pub fn both(&self) -> Result<(Model<'_>, Model<'_>)> {
        if self.which.is_some() {
            return Err(Refusal::usage("one model has nothing to be compared with")
                .hint("name a second evaluation, or the directory alone: then its base and tuned model are compared")
                .into());
        }
        let of = |which| self.evaluation.model(Some(which));
        Ok((of(Which::Base)?, of(Which::Tuned)?))
    }

    /// Says where the tuned model was trained on rows of the evaluation.
    pub fn warn_of_contamination(&self, talk: Talk) {
        let count = self.evaluation.num_trained_on();
        if count > 0 && self.which != Some(Which::Base) {
            talk.warn(format!(
                "contaminated: the tuned model of an evaluation was trained on the prompts of {} of it",
                plural(count, "row")
            ));
        }
    }
}

impl Compare {
    /// Compares, and prints a table for each pair.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let named = self.evaluations.iter().map(|name| Named::read(name));
        let named: Vec<Named> = named.collect::<Result<_>>()?;
        named.iter().for_each(|own| own.warn_of_contamination(talk));
        let pairs: Vec<(Model<'_>, Model<'_>)> = match &named[..] {
            [one] => vec![one.both()?],
            [first, others @ ..] => {
                let first = first.model()?;
                let pairs = others.iter().map(|other| Ok((first, other.model()?)));
                pairs.collect::<Result<_>>()?
            }
            [] => unreachable!("clap asks for one"),
        };
        let mut objects = Vec::new();
        let mut num_lines = 0;
        for (first, second) in pairs {
            let comparison = compare(first, second)?;
            tell_rows(&comparison, talk);
            if self.json {
                objects.push(json!({
                    "first": first.name(),
                    "second": second.name(),
                    "comparison": comparison,
                }));
                continue;
            }
            screen::data(format!("first:  {}", first.name()))?;
            screen::data(format!("second: {}", second.name()))?;
            let rows: Vec<_> = comparison.metrics.iter().map(compared_row).collect();
            num_lines += rows.len();
            show_comparison(&rows, ["first", "second"], screen::data)?;
        }
        if self.json {
            screen::data_json(&json!({ "comparisons": objects }))?;
            return Ok(Exit::Done);
        }
        talk.say("difference: second less first; range: 95 % of resamples of the rows");
        talk.say(format!(
            "better and worse are told line by line: of 20 lines without a difference, one is told to have one; here are {num_lines}"
        ));
        Ok(Exit::Done)
    }
}

/// Says on which rows models are compared, where that is not all.
pub fn tell_rows(comparison: &Comparison, talk: Talk) {
    let Comparison {
        rows,
        only_first,
        only_second,
        ..
    } = comparison;
    if comparison.rules_differ {
        talk.warn("the two were made or matched by different rules (--max-tokens, --match), which makes scores differ by itself");
    }
    if !comparison.not_compared.is_empty() {
        talk.warn(format!(
            "not compared, since answers.jsonl has no score of each row: {}",
            comparison.not_compared.join(", ")
        ));
    }
    if only_first + only_second > 0 {
        talk.warn(format!(
            "compared on the {rows} rows that both have; {only_first} are of the first alone, {only_second} of the second"
        ));
    }
}
