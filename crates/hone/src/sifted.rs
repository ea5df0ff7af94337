//! Rows of files as `hone data show` and `hone eval` take them: read, and asked what curation asks of each of its rows.

use crate::base::OpenBase;
use crate::curation::{RuleFlag, sections};
use crate::refusal::Refusal;
use anyhow::Result;
use hone_curate::recipe::ruled;
use hone_curate::{Family, RowCount, Sieve, Sifting, rules};
use hone_data::{
    DEFAULT_MAX_LENGTH, FileReport, Inputs, ReadOptions, Record, Refused, Side, TooLong, Usable,
    check_named, stream_files,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Flags about which rows are used.
#[derive(Debug, Clone, clap::Args)]
pub struct SieveArgs {
    /// What to do about what a rule about the form of rows sees, such as empty-reply=report; a rule that drops a row leaves it out, of rows to evaluate by one that is named here
    #[arg(long = "rule", value_name = "RULE=ACTION")]
    rules: Vec<RuleFlag>,
    /// Longest row in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = DEFAULT_MAX_LENGTH)]
    pub max_length: usize,
}

/// Rows that could be read, and what became of all.
pub struct Sifted {
    /// Every row that could be read, and what it is good for.
    pub rows: Vec<(Record, Sifting)>,
    /// Rows that could not be read.
    pub refused: Vec<Refused>,
    /// What each file turned out to be.
    pub files: Vec<FileReport>,
    /// All rows, by whether something trains on them and why not.
    pub count: RowCount,
}

impl SieveArgs {
    /// Reads and sifts the rows of some files; without a model, lengths are not counted. Rows of a side that `is_to_evaluate`
    /// stay whatever the rules see in them.
    pub fn read(
        &self,
        inputs: &Inputs,
        options: &ReadOptions<'_>,
        open: Option<&OpenBase>,
        is_to_evaluate: impl Fn(Option<Side>) -> bool,
    ) -> Result<Sifted> {
        for flag in &self.rules {
            let mut meant = rules::all()
                .filter(|entry| [entry.doc.name, entry.doc.family.name()].contains(&flag.name()));
            if !meant.any(|entry| entry.doc.family == Family::Format) {
                return Err(Refusal::usage(format!(
                    "--rule {flag} has no effect here: only rules about the form of rows leave one out"
                ))
                .hint("`hone data check` and `hone data build` follow all rules")
                .into());
            }
        }
        let limit = open.map_or(usize::MAX, |open| open.weights.config().context_len);
        let usable = Usable {
            renderer: open.map(|open| &open.renderer),
            max_length: self.max_length.min(limit),
            too_long: TooLong::Drop,
        };
        let rules = ruled(&sections(&self.rules))?;
        let known = inputs.files.iter().map(|input| {
            let is_to_evaluate = is_to_evaluate(input.side);
            (&*input.file, (input.is_own, is_to_evaluate))
        });
        let known: BTreeMap<&Path, (bool, bool)> = known.collect();
        let mut sieve = Sieve::new(usable, &rules);
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        let files = stream_files(&inputs.files, options, &mut |row| {
            match row {
                Ok(record) => {
                    let (is_own, is_to_evaluate) =
                        known.get(&*record.source.file).copied().unwrap_or_default();
                    let sifting = sieve.sift(&record, is_own, is_to_evaluate);
                    rows.push((record, sifting));
                }
                Err(row) => {
                    sieve.refuse(&row);
                    refused.push(row);
                }
            }
            ControlFlow::Continue(())
        })?;
        check_named(&options.columns, &options.ignored_keys, &files)?;
        Ok(Sifted {
            rows,
            refused,
            files,
            count: sieve.count,
        })
    }
}
