//! `hone adapter check`: everything that is wrong with an adapter, and what each program would do with it.

use crate::base::{self, Home, OpenBase, OpenOptions};
use crate::cli::failure::{Exit, Refusal};
use crate::place::{begin, refuse_used};
use crate::screen::{self, Talk, plural};
use anyhow::Result;
use hone_ledger::words::path_for_shell;
use hone_model::{
    AdapterCheck, AdapterWeights, CheckedBase, Finding, Outcome, RawAdapter, Runtime, SaveDtype,
    Severity, Verdict, check_adapter,
};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Arguments of `hone adapter check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Adapter directory, as PEFT or Hone wrote it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The base it is for: then what is missing, its sizes and its fingerprint are compared too
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Ask about one program only: hone, peft, vllm, llama.cpp, ollama or mlx. Exit code 4 if it would not read the adapter right
    #[arg(long = "for", value_name = "PROGRAM")]
    runtime: Option<Runtime>,
    /// Write an adapter that the program reads right: scales, ranks and alphas go into the numbers, names are PEFT's. With
    /// --model also PiSSA and OLoRA as plain LoRA, and DoRA as the nearest one
    #[arg(long, value_name = "OUT", requires = "runtime")]
    fix: Option<PathBuf>,
    /// Rank of the plain LoRA that stands for DoRA
    #[arg(long, value_name = "R", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    dora_rank: u16,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Looks and tells; ends with 4 if there is an error, or the program asked about would not read it right.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let mut raw = RawAdapter::read(&self.dir)?;
        let open = self.open(&raw)?;
        let check = look(&mut raw, open.as_ref())?;
        let verdicts: Vec<Verdict> = match self.runtime {
            Some(runtime) => vec![check.facts.verdict(runtime)],
            None => check.facts.verdicts(),
        };
        if let (Some(out), Some(runtime)) = (&self.fix, self.runtime) {
            self.fix((&raw, &check), open.as_ref(), runtime, out, talk)?;
            return Ok(Exit::Done);
        }
        if self.json {
            screen::data_json(&self.object(&check, &verdicts))?;
        } else {
            self.print(&check, &verdicts)?;
        }
        let is_right = match self.runtime {
            Some(_) => verdicts
                .iter()
                .all(|verdict| verdict.outcome == Outcome::Right),
            None => check.is_sound(),
        };
        Ok(match is_right {
            true => Exit::Done,
            false => Exit::Found,
        })
    }

    fn open(&self, raw: &RawAdapter) -> Result<Option<OpenBase>> {
        let Some(name) = &self.model else {
            return Ok(None);
        };
        let options = OpenOptions {
            adapter: Some(raw.into()),
            ..OpenOptions::default()
        };
        let mut open = OpenBase::open(base::find(name, &Home::from_env()?)?, &options)?;
        open.fit_to(raw)?;
        Ok(Some(open))
    }

    fn print(&self, check: &AdapterCheck, verdicts: &[Verdict]) -> Result<()> {
        let facts = &check.facts;
        let ranks: Vec<String> = facts.ranks.iter().map(usize::to_string).collect();
        screen::data(format!(
            "{}: {} in {}, rank {}{}",
            self.dir.display(),
            plural(facts.tensors, "tensor"),
            plural(facts.modules, "module"),
            if ranks.is_empty() {
                "unknown".into()
            } else {
                ranks.join(", ")
            },
            scales_in_words(facts.scales)
        ))?;
        for finding in &check.findings {
            screen::data(format!("{}: {finding}", finding.severity()))?;
            if let Some(hint) = finding.hint() {
                screen::data(format!("  hint: {hint}"))?;
            }
        }
        screen::data(String::new())?;
        for verdict in verdicts {
            let reasons = verdict.reasons.join("; ");
            let line = format!(
                "{:10} {:8} {reasons}",
                verdict.runtime,
                outcome_in_words(verdict.outcome)
            );
            screen::data(line.trim_end())?;
        }
        Ok(())
    }

    fn object(&self, check: &AdapterCheck, verdicts: &[Verdict]) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "code": finding.code(),
                "severity": finding.severity(),
                "message": finding.to_string(),
                "hint": finding.hint(),
            })
        };
        json!({
            "adapter": self.dir.display().to_string(),
            "sound": check.is_sound(),
            "findings": check.findings.iter().map(finding).collect::<Vec<_>>(),
            "facts": check.facts,
            "programs": verdicts,
        })
    }

    fn fix(
        &self,
        (raw, check): (&RawAdapter, &AdapterCheck),
        open: Option<&OpenBase>,
        runtime: Runtime,
        out: &std::path::Path,
        talk: Talk,
    ) -> Result<()> {
        if runtime == Runtime::Mlx {
            return Err(Refusal::usage(
                "mlx reads its own format, which no fix of PEFT's files makes",
            )
            .hint(format!(
                "hone export --to mlx --adapter {}",
                path_for_shell(&self.dir)
            ))
            .into());
        }
        let is_of_pefts = matches!(runtime, Runtime::Hone | Runtime::Peft);
        if check.facts.experts && !is_of_pefts {
            return Err(Refusal::failed(format!(
                "{runtime} does not read pairs on experts, which no other form of PEFT's stands for"
            ))
            .hint("`hone merge` works them into the base; `hone export --to gguf-adapter` writes them for llama.cpp")
            .into());
        }
        refuse_used(out)?;
        let weights = open.map(|open| &open.weights);
        let mut parts = AdapterWeights::repaired(raw, check, weights)?;
        let has_lengths = parts.pairs.values().any(|pair| pair.magnitude.is_some());
        if let Some(weights) = weights.filter(|_| has_lengths && !is_of_pefts) {
            let left;
            (parts, left) = parts.without_magnitudes(weights, self.dora_rank.into())?;
            talk.say(format!(
                "DoRA became plain LoRA of rank {}, which leaves out {:.1} % of what it adds; a higher --dora-rank leaves out less, `hone merge` nothing",
                self.dora_rank,
                100.0 * left
            ));
        }
        let fixed = match runtime {
            Runtime::Hone | Runtime::Peft => parts,
            _ => match parts.beyond_pairs() {
                Some(part) => {
                    return Err(Refusal::failed(format!("{runtime} does not read {part}, and no pair of narrow matrices stands for it"))
                        .hint(match (has_lengths, open) {
                            (true, None) => "with --model the nearest plain LoRA is found; `hone merge` is exact",
                            _ => "`hone merge` works every part of an adapter into its base",
                        })
                        .into());
                }
                None => parts.uniform(),
            },
        };
        if let Some(part) = fixed.beyond_pairs() {
            return Err(Refusal::failed(format!(
                "the adapter has {part}, which a fix cannot write yet"
            ))
            .hint("`hone merge` works every part of an adapter into its base")
            .into());
        }
        let made = begin(out, "hone adapter check", talk)?;
        fixed.save(&made.dir(), SaveDtype::F32, &fixed.target_names(raw))?;
        made.publish_without_manifest()?;
        let checked = look(&mut RawAdapter::read(out)?, open)?;
        for finding in checked
            .findings
            .iter()
            .filter(|finding| finding.severity() > Severity::Note)
        {
            talk.say(format!("{}: {finding}", finding.severity()));
        }
        let verdict = checked.facts.verdict(runtime);
        if self.json {
            screen::data_json(
                &json!({ "written": out.display().to_string(), "program": verdict, "sound": checked.is_sound() }),
            )?;
        }
        talk.say(format!(
            "wrote {}: {} in {runtime}{}",
            out.display(),
            outcome_in_words(verdict.outcome),
            scales_in_words(checked.facts.scales)
        ));
        Ok(())
    }
}

fn look(raw: &mut RawAdapter, open: Option<&OpenBase>) -> Result<AdapterCheck> {
    let Some(open) = open else {
        return Ok(check_adapter(raw, None));
    };
    raw.leave_out_copies(&open.weights);
    // Hashing a base takes as long as reading it; only an adapter that names one is worth that.
    let fingerprint = match raw.provenance().base_fingerprint {
        Some(_) => Some(open.weights.fingerprint()?.to_string()),
        None => None,
    };
    let base = CheckedBase {
        config: open.weights.config(),
        new_tokens: open.weights.new_tokens(),
        fingerprint: fingerprint.as_deref(),
        template_hash: Some(open.renderer.template_hash()),
    };
    Ok(check_adapter(raw, Some(base)))
}

fn outcome_in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Right => "right",
        Outcome::Refuses => "refuses",
        Outcome::Wrong => "WRONG",
    }
}

fn scales_in_words(scales: Option<(f32, f32)>) -> String {
    match scales {
        None => String::new(),
        Some((least, most)) if least == most => format!(", scale {least}"),
        Some((least, most)) => format!(", scales {least} to {most}"),
    }
}
