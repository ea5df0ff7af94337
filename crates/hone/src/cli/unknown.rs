//! What is said to a command line that has a name or a value we do not take, or lacks one that we need.
//!
//! clap would offer whatever is spelt alike, `--lr` for `--lora-rank`. Here the names of other programs are known first,
//! and a spelling counts as alike only within a few edits. A word that stands alone is answered with the option that it
//! was meant for, and a value with what its option takes.

use super::command;
use super::failure::Refusal;
use crate::elsewhere::{self, Here, remark};
use crate::meant::options_for;
use crate::nearest::nearest;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use hone_ledger::words::for_shell;
use std::any::TypeId;

/// The refusal of a name that is not ours, for an error of clap's that is about one; `words` is the command line.
pub fn refusal(error: &clap::Error, words: &[String]) -> Option<Refusal> {
    let mut root = command();
    root.build();
    let (verb, path) = verb_of(&root, words);
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let asked = said(ContextKind::InvalidArg)?;
            Some(match asked.starts_with('-') {
                true => unknown_option(&asked, &root, verb, &path),
                false => {
                    let refusal =
                        Refusal::usage(format!("`{path}` does not know what to do with `{asked}`"));
                    let refusal = match option_for(&asked, verb) {
                        Some(option) => {
                            refusal.hint(format!("use --{option} {}", for_shell(&asked)))
                        }
                        None => refusal,
                    };
                    refusal.hint(format!("`{path} --help` says what it takes"))
                }
            })
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let (asked, value) = (
                said(ContextKind::InvalidArg)?,
                said(ContextKind::InvalidValue)?,
            );
            let arg = verb.get_arguments().find(|arg| arg.to_string() == asked)?;
            let reason = std::error::Error::source(error).map(ToString::to_string);
            Some(unusable_value(arg, &value, reason, &path))
        }
        ErrorKind::MissingRequiredArgument => {
            let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
                return None;
            };
            Some(missing_arguments(missing, verb, &path))
        }
        ErrorKind::InvalidSubcommand => {
            let asked = said(ContextKind::InvalidSubcommand)?;
            Some(unknown_verb(&asked, verb, &path))
        }
        _ => None,
    }
}

/// The verb that the words lead to, and how it is called.
fn verb_of<'a>(root: &'a Command, words: &[String]) -> (&'a Command, String) {
    let (mut verb, mut path) = (root, String::from("hone"));
    for word in words.iter().skip(1) {
        if let Some(next) = verb.find_subcommand(word) {
            (verb, path) = (next, format!("{path} {word}"));
        } else if !word.starts_with('-') {
            break;
        }
    }
    (verb, path)
}

/// Long names that a verb shows in its help.
fn options(verb: &Command) -> impl Iterator<Item = &str> {
    let shown = verb.get_arguments().filter(|arg| !arg.is_hide_set());
    shown.filter_map(|arg| arg.get_long())
}

/// The option whose value a word is that stands alone.
fn option_for(word: &str, verb: &Command) -> Option<String> {
    let shown: Vec<&str> = options(verb).collect();
    let named = options_for(word).iter().find(|name| shown.contains(name));
    if let Some(name) = named {
        return Some((*name).to_owned());
    }
    let takes = |arg: &&Arg| {
        let mut values = arg.get_possible_values().into_iter();
        !arg.is_hide_set() && values.any(|value| value.matches(word, false))
    };
    // `true` is a value of many, and says nothing.
    let of_value = verb
        .get_arguments()
        .filter(|_| word.parse::<bool>().is_err())
        .find(takes)
        .and_then(Arg::get_long);
    let said = ["prompt"].into_iter().find(|name| shown.contains(name));
    of_value.or(said).map(str::to_owned)
}

/// A value that its option does not take, with what it does take.
fn unusable_value(arg: &Arg, value: &str, reason: Option<String>, path: &str) -> Refusal {
    let name = match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => arg.to_string(),
    };
    let all = format!("`{path} --help` says what it takes");
    if value.is_empty() && reason.is_none() {
        let help = arg.get_help().map_or(String::new(), ToString::to_string);
        return Refusal::usage(format!("{name} needs a value"))
            .hint(format!("{arg}: {help}"))
            .hint(all);
    }
    let known = arg.get_possible_values();
    let known: Vec<&str> = known
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| value.get_name())
        .collect();
    if !known.is_empty() {
        let refusal = Refusal::usage(format!(
            "{name} is `{value}`, but it has to be one of {}",
            known.join(", ")
        ));
        return match nearest(value, known.iter().copied()) {
            Some(near) => refusal.hint(format!("did you mean `{near}`?")),
            None => refusal,
        }
        .hint(all);
    }
    let reason = reason.unwrap_or_default();
    let what = match wanted(arg, &reason) {
        Some(wanted) => format!("{name} is `{value}`, but it has to be {wanted}"),
        None => format!("{name} is `{value}`: {reason}"),
    };
    Refusal::usage(what).hint(all)
}

/// What a number has to be, where the standard library refused to read it and says no more than that.
fn wanted(arg: &Arg, reason: &str) -> Option<&'static str> {
    const OF_THE_LIBRARY: [&str; 6] = [
        "invalid digit found in string",
        "cannot parse integer from empty string",
        "number too large to fit in target type",
        "number too small to fit in target type",
        "invalid float literal",
        "cannot parse float from empty string",
    ];
    if !OF_THE_LIBRARY.contains(&reason) {
        return None;
    }
    let kind = arg.get_value_parser().type_id();
    let is_float = [TypeId::of::<f32>(), TypeId::of::<f64>()]
        .iter()
        .any(|float| kind == *float);
    Some(match () {
        () if is_float => "a number",
        () if reason.contains("too large") => "a smaller number",
        () => "a whole number, 0 or more",
    })
}

/// Arguments that a verb cannot do without, each with what it is.
fn missing_arguments(missing: &[String], verb: &Command, path: &str) -> Refusal {
    let refusal = Refusal::usage(format!("`{path}` needs {}", missing.join(" and ")));
    // One that is needed only sometimes shows its name in other brackets.
    let bare = |shown: &str| shown.trim_matches(['<', '>', '[', ']', '.']).to_owned();
    let help_of = |asked: &String| {
        let mut args = verb.get_arguments();
        let arg = args.find(|arg| bare(&arg.to_string()) == bare(asked))?;
        Some(format!("{asked}: {}", arg.get_help()?))
    };
    missing
        .iter()
        .filter_map(help_of)
        .fold(refusal, Refusal::hint)
        .hint(format!("`{path} --help` has all of it"))
}

fn unknown_option(asked: &str, root: &Command, verb: &Command, path: &str) -> Refusal {
    let name = asked.trim_start_matches('-');
    let refusal = Refusal::usage(format!("`{path}` has no option `{asked}`"));
    let has =
        |verb: &Command, ours: &str| verb.get_arguments().any(|arg| arg.get_long() == Some(ours));
    let all = format!("`{path} --help` lists its options");
    match elsewhere::find(name) {
        Some(Here::Option(ours, note)) if has(verb, ours) => refusal
            .hint(format!("`{asked}` is `--{ours}` here{}", remark(note)))
            .hint(all),
        Some(Here::None(why)) => refusal.hint(format!("it needs none: {why}")).hint(all),
        Some(Here::Never(why)) => refusal
            .hint(format!("Hone has nothing of the kind: {why}"))
            .hint(all),
        _ => match nearest(name, options(verb)) {
            Some(near) => refusal.hint(format!("did you mean `--{near}`?")).hint(all),
            None => match verbs_with(root, name).as_slice() {
                [] => refusal.hint(all),
                verbs => refusal
                    .hint(format!("`{asked}` is an option of {}", verbs.join(" and ")))
                    .hint(all),
            },
        },
    }
}

/// Verbs that do have an option of this name, as they are called.
fn verbs_with(root: &Command, name: &str) -> Vec<String> {
    fn look(verb: &Command, path: &str, name: &str, found: &mut Vec<String>) {
        if options(verb).any(|option| option == name) {
            found.push(format!("`{path}`"));
        }
        for next in verb.get_subcommands().filter(|next| !next.is_hide_set()) {
            look(next, &format!("{path} {}", next.get_name()), name, found);
        }
    }
    let mut found = Vec::new();
    look(root, "hone", name, &mut found);
    found
}

fn unknown_verb(asked: &str, verb: &Command, path: &str) -> Refusal {
    let known = verb.get_subcommands().filter(|next| !next.is_hide_set());
    let known: Vec<&str> = known
        .map(Command::get_name)
        .filter(|name| *name != "help")
        .collect();
    let refusal = Refusal::usage(format!("`{path}` has no command `{asked}`"));
    let elsewhere = elsewhere::find_verb(asked).filter(|ours| known.contains(ours));
    let refusal = match (elsewhere, nearest(asked, known.iter().copied())) {
        (Some(ours), _) => refusal.hint(format!("`{asked}` is `{path} {ours}` here")),
        (None, Some(near)) => refusal.hint(format!("did you mean `{path} {near}`?")),
        (None, None) => refusal,
    };
    refusal.hint(format!("its commands: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let error = command().try_get_matches_from(&words).unwrap_err();
        let refusal = refusal(&error, &words).unwrap();
        [vec![refusal.to_string()], refusal.hints()].concat()
    }

    #[test]
    fn an_option_of_another_program_is_answered_with_ours() {
        assert_eq!(
            said("hone train --lora-rank 8"),
            [
                "`hone train` has no option `--lora-rank`",
                "`--lora-rank` is `--rank` here",
                "`hone train --help` lists its options"
            ]
        );
        let batch = said("hone train --per_device_train_batch_size=4");
        assert!(
            batch[1].contains("is `--batch-size` here: the examples of a whole optimizer step"),
            "{batch:?}"
        );
        let packing = said("hone train --packing");
        assert!(
            packing[1].starts_with("it needs none: rows are always packed"),
            "{packing:?}"
        );
        let tokens = said("hone generate --model m --prompt p --max-new-tokens 9");
        assert_eq!(tokens[1], "`--max-new-tokens` is `--max-tokens` here");
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_and_nonsense_with_nothing() {
        assert_eq!(said("hone train --rnak 4")[1], "did you mean `--rank`?");
        assert_eq!(said("hone train --qqqqqq 4").len(), 2);
        assert_eq!(
            said("hone runs --dora")[1],
            "`--dora` is an option of `hone train`"
        );
    }

    #[test]
    fn a_value_that_an_option_does_not_take_is_answered_with_what_it_takes() {
        for (line, answer) in [
            (
                "train --seed -1",
                "--seed is `-1`, but it has to be a whole number, 0 or more",
            ),
            (
                "train --rank x",
                "--rank is `x`, but it has to be a whole number, 0 or more",
            ),
            (
                "train --lr fast",
                "--lr is `fast`, but it has to be a number",
            ),
            (
                "train --seed 99999999999999999999",
                "--seed is `99999999999999999999`, but it has to be a smaller number",
            ),
            (
                "train --method dora",
                "--method is `dora`, but it has to be one of lora, qlora",
            ),
            (
                "train --memory x",
                "--memory is `x`: `x` is not a size; write it like 1500MB, 2GB or 2GiB",
            ),
            (
                "generate --temperature -1",
                "--temperature is `-1`: must be 0 or more",
            ),
            ("train --seed", "--seed needs a value"),
            ("pull", "`hone pull` needs <NAME>"),
        ] {
            assert_eq!(said(&format!("hone {line}"))[0], answer);
        }
        assert_eq!(
            said("hone pull")[1],
            "<NAME>: A built-in name, or a hub id owner/name"
        );
        // A number below zero is a value, and its range is told like that of any other.
        for line in [
            "train --clip -1",
            "data build --valid-share -0.1",
            "train --epochs -1",
        ] {
            let words = format!("hone {line}");
            assert!(
                command().try_get_matches_from(words.split(' ')).is_ok(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_word_that_stands_alone_is_answered_with_the_option_it_was_meant_for() {
        for (line, answer) in [
            ("generate hi", "use --prompt hi"),
            ("generate org/model", "use --model org/model"),
            ("eval rows.jsonl", "use --data rows.jsonl"),
            ("chat model.gguf", "use --model model.gguf"),
            ("merge model.gguf", "use --model model.gguf"),
            ("export gguf", "use --to gguf"),
            ("chat hi", "`hone chat --help` says what it takes"),
        ] {
            assert_eq!(said(&format!("hone {line}"))[1], answer);
        }
    }

    #[test]
    fn what_other_programs_have_and_hone_has_not_is_said_to_be_that() {
        let hint = |name: &str| said(&format!("hone train --{name}"))[1].clone();
        for name in ["train_on_inputs", "neftune_noise_alpha", "deepspeed"] {
            let hint = hint(name);
            assert!(
                hint.starts_with("Hone has nothing of the kind: "),
                "{name}: {hint}"
            );
        }
        for name in ["packing", "mask_prompt", "gradient_checkpointing"] {
            let hint = hint(name);
            assert!(hint.starts_with("it needs none: "), "{name}: {hint}");
        }
    }

    #[test]
    fn a_command_of_another_program_is_answered_with_ours() {
        assert_eq!(said("hone finetune")[1], "`finetune` is `hone train` here");
        assert_eq!(said("hone trian")[1], "did you mean `hone train`?");
        assert!(said("hone xyzzy")[1].starts_with("its commands: quickstart, pull, train"));
        assert_eq!(
            said("hone adapter chekc x")[1],
            "did you mean `hone adapter check`?"
        );
    }

    #[test]
    fn every_name_that_is_offered_is_an_option_of_some_command() {
        let mut root = command();
        root.build();
        for ours in elsewhere::options() {
            assert!(
                !verbs_with(&root, ours).is_empty(),
                "no command has --{ours}"
            );
        }
    }
}
