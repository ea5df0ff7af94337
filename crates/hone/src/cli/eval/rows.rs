//! The rows of an evaluation: which are judged by, and why others are not.

use super::arguments::{Eval, Match};
use super::scorer::Scorer;
use super::seen::Seen;
use crate::base::OpenBase;
use crate::curation::{count_line, tell_remarks};
use crate::data_flags::chosen_inputs;
use crate::refusal::Refusal;
use crate::screen::{Talk, plural};
use crate::sifted::Sifted;
use anyhow::Result;
use hone_curate::{RowCount, Sifting};
use hone_data::{Record, Side};
use hone_eval::harness::{Exam, Rules};
use hone_eval::metric::exact::Rule;
use hone_eval::scored;
use hone_eval::task::among_labels::AmongLabels;
use hone_ledger::Seed;

/// Rows as they are put to the models.
pub struct RowExam {
    pub records: Vec<Record>,
    /// All that were read, by what became of them.
    pub count: RowCount,
    /// Which of them the adapter was trained on.
    pub seen: Option<Seen>,
    pub exam: Exam,
    pub rules: Rules,
    /// A command that scores answers.
    pub scorer: Option<Scorer>,
    /// Of tasks of labels: how likely each label is.
    pub among: Option<AmongLabels>,
}

impl RowExam {
    /// Reads the rows of `--data`.
    pub fn set(args: &Eval, open: &OpenBase, talk: Talk) -> Result<Self> {
        let sifted = args.sifted(open, talk)?;
        let count = sifted.count.clone();
        let records = args.records(sifted, talk)?;
        let seen = match &args.model.adapter {
            Some(adapter) => Seen::by(adapter, &records, "", talk)?,
            None => None,
        };
        let limit = open.weights.config().context_len;
        let exam = Exam::set(&open.renderer, &records, args.sieve.max_length.min(limit));
        // Before a model has answered for minutes.
        scored::check(&args.metrics, exam.references()).map_err(|error| {
            Refusal::usage(error.to_string())
                .hint("take the metric out, or judge by rows whose replies are of that kind")
        })?;
        let rules = Rules {
            max_new_tokens: args.max_tokens,
            slots: usize::from(args.slots),
            exact: match args.rule {
                Match::Strict => Rule::Strict,
                Match::Squad => Rule::Squad,
            },
            with_loss: true,
        };
        let among = AmongLabels::set(&open.renderer, &records, &exam);
        let scorer = match &args.scorer {
            None => None,
            Some(words) => Some(Scorer::new(words, None, args.scorer_limits())?),
        };
        Ok(Self {
            scorer,
            among,
            records,
            count,
            seen,
            exam,
            rules,
        })
    }
}

impl Eval {
    /// Why no row is left, and what would change that.
    fn nothing_to_judge(&self, sifted: &Sifted) -> Refusal {
        let files: Vec<String> = self
            .data
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let rows = plural(sifted.count.read, "row");
        let refusal = Refusal::failed(format!(
            "nothing can be judged: none of the {rows} of {} can be used",
            files.join(", ")
        ));
        let first = sifted
            .rows
            .iter()
            .find_map(|(record, sifting)| Some((record, sifting.why_not()?)));
        let refusal = match first {
            Some((record, why)) => {
                let first = format!("the first one: {}: {}", record.source, why.message);
                let hints = why.hints.iter().cloned();
                hints.fold(refusal.hint(first), Refusal::hint)
            }
            None => refusal.hint("a row to judge by has a reply of the assistant at its end"),
        };
        match sifted.count.not_usable.get("too-long") {
            None => refusal,
            Some(long) => refusal.hint(format!(
                "{long} of them are too long: --max-length is {}",
                self.sieve.max_length
            )),
        }
    }

    /// All rows of the side, each with the reason why it is not judged by, if so.
    fn sifted(&self, open: &OpenBase, talk: Talk) -> Result<Sifted> {
        let inputs = chosen_inputs(&self.data, &self.flags, self.split, Side::Test, talk)?;
        let options = self.flags.options(&self.keys);
        let sifted = self.sieve.read(&inputs, &options, Some(open), |_| true)?;
        tell_remarks(&sifted.files, talk);
        for refused in &sifted.refused {
            talk.say(format!("skipped: {}: {}", refused.source, refused.reason));
        }
        for (record, sifting) in &sifted.rows {
            match sifting {
                Sifting::Usable => {}
                Sifting::Odd(why) => talk.say(format!(
                    "odd, and judged by: {}: {}",
                    record.source, why.message
                )),
                Sifting::Unusable(why) => {
                    talk.say(format!("skipped: {}: {}", record.source, why.message));
                }
            }
        }
        talk.say(count_line(&sifted.count, true));
        Ok(sifted)
    }

    /// The rows to judge by.
    fn records(&self, sifted: Sifted, talk: Talk) -> Result<Vec<Record>> {
        if sifted.count.usable == 0 {
            return Err(self.nothing_to_judge(&sifted).into());
        }
        let rows = sifted.rows.into_iter();
        let mut records: Vec<Record> = rows
            .filter_map(|(record, sifting)| sifting.why_not().is_none().then_some(record))
            .collect();
        let Some(num_rows) = self
            .rows
            .map(|rows| rows as usize)
            .filter(|&rows| rows < records.len())
        else {
            return Ok(records);
        };
        talk.say(format!(
            "judging {num_rows} of {}",
            plural(records.len(), "row")
        ));
        Seed::new(self.seed)
            .child("eval-rows")
            .stream()
            .shuffle(&mut records);
        records.truncate(num_rows);
        Ok(records)
    }
}
