//! What is said to a command line with a name that we do not have.
//!
//! clap would offer whatever is spelt alike, `--lr` for `--lora-rank`. Here the names of other programs are known first,
//! and a spelling counts as alike only within a few edits.

use super::Cli;
use super::failure::Refusal;
use crate::elsewhere::{self, Here, remark};
use crate::nearest::nearest;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

/// The refusal of a name that is not ours, for an error of clap's that is about one; `words` is the command line.
pub fn refusal(error: &clap::Error, words: &[String]) -> Option<Refusal> {
    let mut root = Cli::command();
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
                    Refusal::usage(format!("`{path}` does not know what to do with `{asked}`"))
                        .hint(format!("`{path} --help` says what it takes"))
                }
            })
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
    use clap::Parser;

    fn said(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let error = Cli::try_parse_from(&words).unwrap_err();
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
        let mut root = Cli::command();
        root.build();
        for ours in elsewhere::options() {
            assert!(
                !verbs_with(&root, ours).is_empty(),
                "no command has --{ours}"
            );
        }
    }
}
