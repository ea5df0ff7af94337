//! The page about options, `docs/options.md`: made from the definitions that the command line is made from.

use super::raw::RawTrain;
use super::train_plan::MAY_CHANGE;
use crate::elsewhere;
use clap::{Arg, Args, Command};
use std::fmt::Write;

const HEAD: &str = "\
# Options of a training run

Made from the code; `UPDATE_PAGES=1 cargo test -p hone --test options` writes it anew.

Each is a flag of `hone train` and, under the same name, a key of a run file (`rank = 16`, `targets = [\"q_proj\", \"v_proj\"]`).
A flag wins over the run file, the run file over the default. The plan says what was decided and who decided it
(`hone train --dry-run --verbose`), and `run.json` keeps it. Each is part of a run's identity: `--resume` refuses a checkpoint that was
made with another value, except where *on resume* says why it may change. Names of other programs are answered with ours.
";

/// The page, in Markdown.
pub fn options() -> String {
    let command = RawTrain::augment_args(Command::new("train"));
    let mut page = HEAD.to_owned();
    for arg in command.get_arguments() {
        add(&mut page, arg);
    }
    page
}

fn add(page: &mut String, arg: &Arg) {
    let name = arg.get_long().expect("every option has a name");
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let (what, default) = match help.split_once(" [default: ") {
        Some((what, default)) => (what, Some(default.trim_end_matches(']'))),
        None => (&*help, None),
    };
    let values = arg.get_value_names().unwrap_or_default();
    let values: Vec<&str> = values.iter().map(|value| &**value).collect();
    let known = arg.get_possible_values();
    let known: Vec<String> = known
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let elsewhere = elsewhere::called(name).join("`, `");
    let on_resume = MAY_CHANGE.iter().find(|(free, _)| *free == name);
    let _ = writeln!(page, "\n## `--{name} {}`\n\n{what}.\n", values.join(" "));
    let mut line = |label: &str, text: &str| {
        let _ = writeln!(page, "- {label}: {text}");
    };
    line("default", default.unwrap_or("none"));
    if !known.is_empty() {
        line("values", &known.join(", "));
    }
    if let Some((_, why)) = on_resume {
        line("on resume", why);
    }
    if !elsewhere.is_empty() {
        line("elsewhere", &format!("`{elsewhere}`"));
    }
}
