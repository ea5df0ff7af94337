//! `hone data show`: rows as a model sees them, with the tokens that are trained on marked.

use crate::base::OpenBase;
use crate::cli::failure::{Exit, Refusal};
use crate::cli::model::ModelArgs;
use crate::curation::{count_line, tell_remarks};
use crate::data_flags::{DataFlags, KeyArgs, chosen_inputs};
use crate::screen::{self, Talk, count, plural};
use crate::sifted::{SieveArgs, Sifted};
use anyhow::Result;
use hone_curate::Sifting;
use hone_data::{Place, Record, Side, encode_row};
use hone_text::{Encoded, Renderer, TemplateOption};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::PathBuf;

/// Arguments of `hone data show`.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// File of rows, or a folder or dataset directory; of one with sides, its training side
    file: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    flags: DataFlags,
    #[command(flatten)]
    sieve: SieveArgs,
    /// Side to show: train, valid or test [default: train]
    #[arg(long, value_name = "SIDE")]
    split: Option<Side>,
    /// Model whose template and tokens are shown: a directory, a .gguf file, a built-in name, or a hub id
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Adapter directory, for the tokens that it brings
    #[arg(long, value_name = "DIR", requires = "model")]
    adapter: Option<PathBuf>,
    /// Chat template: a name that the model has for one, `instruction`, `chatml`, or a .jinja file
    #[arg(long, value_name = "TEMPLATE", requires = "model")]
    chat_template: Option<String>,
    /// What the chat template reads beside the turns, such as enable_thinking=false: JSON or text; may be given more than
    /// once. The adapter's own if not given
    #[arg(
        long = "template-option",
        value_name = "NAME=VALUE",
        requires = "model"
    )]
    template_options: Vec<TemplateOption>,
    /// Day that the chat template prints, where it prints one, as 2026-11-30; the adapter's own, else today, if not given
    #[arg(long, value_name = "DATE", requires = "model")]
    date: Option<hone_text::Date>,
    /// Kept for command lines that name it: nothing here takes threads
    #[arg(long, value_name = "N", hide = true)]
    threads: Option<u16>,
    /// How many rows to print
    #[arg(long, value_name = "N", default_value_t = 3)]
    rows: usize,
    /// The first row to print, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// Print one JSON object per row, and one with the counts at the end
    #[arg(long)]
    json: bool,
}

impl Show {
    /// Prints the rows.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let open = self.open(talk)?;
        let names = [self.file.clone()];
        let inputs = chosen_inputs(&names, &self.flags, self.split, Side::Train, talk)?;
        let options = self.flags.options(&self.keys);
        let is_to_evaluate = |side: Option<Side>| side.is_some_and(|side| side != Side::Train);
        let sifted = self
            .sieve
            .read(&inputs, &options, open.as_ref(), is_to_evaluate)?;
        tell_remarks(&sifted.files, talk);
        for refused in &sifted.refused {
            talk.say(format!("skipped: {}: {}", refused.source, refused.reason));
        }
        let first = self.from as usize - 1;
        if first >= sifted.rows.len() {
            let num_rows = plural(sifted.rows.len(), "row");
            return Err(Refusal::usage(format!(
                "--from {} is past the end: {} has {num_rows} that can be read",
                self.from,
                self.file.display()
            ))
            .hint(format!("--from {} is the last of them", sifted.rows.len()))
            .into());
        }
        let shown = sifted.rows.iter().skip(first).take(self.rows);
        let Some(open) = open else {
            for (record, sifting) in shown {
                self.print_plain(record, sifting)?;
            }
            self.print_plain_counts(&sifted)?;
            return Ok(Exit::Done);
        };
        let marks = if screen::has_colour() { COLOUR } else { PLAIN };
        for (record, sifting) in shown {
            self.print_row(record, sifting, &open.renderer, marks)?;
        }
        self.print_counts(&sifted, &open.renderer)?;
        Ok(Exit::Done)
    }

    fn open(&self, talk: Talk) -> Result<Option<OpenBase>> {
        let Some(model) = &self.model else {
            return Ok(None);
        };
        let model = ModelArgs {
            model: model.clone(),
            adapter: self.adapter.clone(),
            chat_template: self.chat_template.clone(),
            template_options: self.template_options.clone(),
            date: self.date,
            threads: None,
        };
        model.open(talk).map(Some)
    }

    /// A row as it was read: who says what, and between marks what would be trained on.
    fn print_plain(&self, record: &Record, sifting: &Sifting) -> Result<()> {
        if self.json {
            return Ok(screen::data_json(&json!({
                "source": record.source.to_string(), "task": record.task, "row": record.to_json(),
                "not_usable": not_usable(sifting), "odd": odd(sifting),
            }))?);
        }
        screen::data(format!(
            "── {}  task {}{}",
            record.source,
            record.task,
            remark(sifting)
        ))?;
        for part in record.parts() {
            let speaker = match (part.place, part.role) {
                (Place::Turn(_) | Place::Text, Some(role)) => role.to_string(),
                (Place::Turn(_) | Place::Text, None) => String::new(),
                (place, _) => place.to_string(),
            };
            let is_supervised = part.is_supervised() && sifting.why_not().is_none();
            let (begin, end) = if is_supervised { PLAIN } else { ("", "") };
            let label = if speaker.is_empty() {
                speaker
            } else {
                format!("[{speaker}] ")
            };
            let label = ("", label.into(), "");
            screen::data_marked([label, (begin, part.text.into(), end)])?;
        }
        Ok(())
    }

    fn print_plain_counts(&self, sifted: &Sifted) -> Result<()> {
        if self.json {
            return self.print_count_object(sifted, json!({}));
        }
        Ok(screen::data(format!(
            "── {}",
            count_line(&sifted.count, false)
        ))?)
    }

    fn print_row(
        &self,
        record: &Record,
        sifting: &Sifting,
        renderer: &Renderer,
        marks: Marks,
    ) -> Result<()> {
        let encoded = match encode_row(renderer, record) {
            Ok(encoded) => encoded,
            Err(reason) if self.json => {
                return Ok(screen::data_json(&json!({
                    "source": record.source.to_string(), "task": record.task,
                    "not_usable": reason.to_string(),
                }))?);
            }
            Err(reason) => {
                return Ok(screen::data(format!(
                    "── {}: not usable: {reason}",
                    record.source
                ))?);
            }
        };
        let supervised = num_supervised(&encoded);
        let context = (!encoded.context_replies.is_empty()).then(|| {
            let turns: Vec<String> = encoded.context_replies.iter().map(|turn| (turn + 1).to_string()).collect();
            format!(
                "; not trained on: the reply of turn {}, which the template shows otherwise once the conversation has gone on",
                turns.join(", ")
            )
        });
        if self.json {
            let object = json!({
                "source": record.source.to_string(), "task": record.task,
                "ids": encoded.ids, "supervised": encoded.supervised, "text": encoded.text,
                "context_replies": encoded.context_replies, "not_usable": not_usable(sifting), "odd": odd(sifting),
            });
            return Ok(screen::data_json(&object)?);
        }
        screen::data(format!(
            "── {}  task {}  {} tokens, {supervised} supervised{}{}",
            record.source,
            record.task,
            encoded.ids.len(),
            remark(sifting),
            context.unwrap_or_default()
        ))?;
        Ok(screen::data_marked(mark(&encoded, renderer, marks)?)?)
    }

    /// Usable is what a run could train on.
    fn print_counts(&self, sifted: &Sifted, renderer: &Renderer) -> Result<()> {
        let usable = sifted
            .rows
            .iter()
            .filter(|(_, sifting)| sifting.why_not().is_none());
        let encoded: Vec<Encoded> = usable
            .filter_map(|(record, _)| encode_row(renderer, record).ok())
            .collect();
        let tokens: usize = encoded.iter().map(|encoded| encoded.ids.len()).sum();
        let supervised: usize = encoded.iter().map(num_supervised).sum();
        let longest = encoded
            .iter()
            .map(|encoded| encoded.ids.len())
            .max()
            .unwrap_or(0);
        if self.json {
            let more =
                json!({ "tokens": tokens, "supervised_tokens": supervised, "longest": longest });
            return self.print_count_object(sifted, more);
        }
        screen::data(format!("── {}", count_line(&sifted.count, true)))?;
        let (tokens, supervised) = (count(tokens as u64), count(supervised as u64));
        Ok(screen::data(format!(
            "── {} usable, {tokens} tokens, {supervised} supervised, longest {longest}",
            encoded.len()
        ))?)
    }

    fn print_count_object(&self, sifted: &Sifted, mut object: Value) -> Result<()> {
        let count = &sifted.count;
        object["rows"] = count.read.into();
        object["usable"] = count.usable.into();
        object["count"] = json!(count);
        Ok(screen::data_json(&object)?)
    }
}

/// Why nothing trains on a row, or what is odd about one to evaluate by, at the end of its heading.
fn remark(sifting: &Sifting) -> String {
    match sifting {
        Sifting::Usable => String::new(),
        Sifting::Odd(why) => format!("; odd, and evaluated by: {}", why.message),
        Sifting::Unusable(why) => format!("; not usable: {}", why.message),
    }
}

fn not_usable(sifting: &Sifting) -> Option<&str> {
    sifting.why_not().map(|why| why.message.as_str())
}

fn odd(sifting: &Sifting) -> Option<&str> {
    match sifting {
        Sifting::Odd(why) => Some(&why.message),
        _ => None,
    }
}

/// The first token has nothing before it to be predicted from.
fn num_supervised(encoded: &Encoded) -> usize {
    encoded
        .supervised
        .iter()
        .skip(1)
        .filter(|&&supervised| supervised)
        .count()
}

/// What stands around a run of supervised tokens.
type Marks = (&'static str, &'static str);

const PLAIN: Marks = ("⟦", "⟧");
const COLOUR: Marks = ("\x1b[1;32m⟦", "⟧\x1b[0m");

/// The row's tokens as text, supervised runs between marks.
fn mark(
    encoded: &Encoded,
    renderer: &Renderer,
    (begin, end): Marks,
) -> Result<Vec<(&'static str, Cow<'static, str>, &'static str)>> {
    let mut marked = Vec::new();
    let mut rest = encoded.ids.as_slice();
    for run in encoded.supervised.chunk_by(|a, b| a == b) {
        let (ids, after) = rest.split_at(run.len());
        let text = renderer.tokenizer().decode(ids, false)?;
        marked.push(match run[0] {
            true => (begin, text.into(), end),
            false => ("", text.into(), ""),
        });
        rest = after;
    }
    Ok(marked)
}
