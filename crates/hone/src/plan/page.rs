//! The page about options, `docs/options.md`: made from the definitions that the command line is made from.

use super::options::RawTrain;
use super::table::OptionInfo;
use clap::builder::PossibleValue;
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
    let mut section = "";
    for arg in command.get_arguments() {
        let option = arg.get_long().and_then(OptionInfo::of);
        let option = option.expect("every flag is an option of the table");
        if section != option.section {
            section = option.section;
            let _ = writeln!(page, "\n## {section}");
        }
        add(&mut page, arg, option);
    }
    page
}

fn add(page: &mut String, arg: &Arg, option: &OptionInfo) {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let what = help.split(" [default: ").next().unwrap_or_default();
    let values = arg.get_value_names().unwrap_or_default();
    let values: Vec<&str> = values.iter().map(|value| &**value).collect();
    let known = arg.get_possible_values();
    let known: Vec<&str> = known.iter().map(PossibleValue::get_name).collect();
    let name = option.name;
    let _ = writeln!(page, "\n### `--{name} {}`\n\n{what}.\n", values.join(" "));
    let mut line = |label: &str, text: &str| {
        let _ = writeln!(page, "- {label}: {text}");
    };
    line("default", option.default_words().unwrap_or("none"));
    if !known.is_empty() {
        line("values", &format!("`{}`", known.join("`, `")));
    }
    line("example", &format!("`{name} = {}`", option.example));
    if let Some(resume) = option.on_resume {
        line("on resume", resume.why);
    }
    let elsewhere = option.elsewhere.iter();
    let elsewhere: Vec<&str> = elsewhere.flat_map(|(names, _)| names.split(' ')).collect();
    if !elsewhere.is_empty() {
        line("elsewhere", &format!("`{}`", elsewhere.join("`, `")));
    }
}
