//! What is wrong after a round.

use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use anyhow::Result;

use super::work::{Bench, OUT, Place, Reference, resume};
use super::{Fault, Kind};

/// How it goes on after a disturbance.
pub enum Next {
    /// To the end.
    Done,
    /// Not; the last message.
    Refused(String),
}

/// Does what a user does next: goes on with a run, or gives the command again, or what a refusal leaves.
pub fn go_on(
    bench: &Bench,
    reference: &Reference,
    place: &Place,
    faults: &mut Vec<Fault>,
) -> Result<Next> {
    let is_training = reference.work.is_training;
    if is_training {
        match bench.states(place)? {
            Ok(states) if states.iter().any(|state| state == "running") => {
                add(
                    faults,
                    Kind::Status,
                    format!("listed as running: {states:?}"),
                );
            }
            Ok(_) => {}
            Err(why) => add(faults, Kind::Status, format!("`hone runs` fails: {why}")),
        }
        let ran = bench.run(place, &resume(), &[])?;
        if ran.status.success() {
            return Ok(Next::Done);
        }
        ending(&ran, "--resume", faults);
    }
    let ran = bench.run(place, &reference.work.arguments, &[])?;
    ending(&ran, "the command again", faults);
    // A result that is there already is no reason to make it again.
    let is_there = !is_training && results_differ(bench, reference, place)?.is_none();
    Ok(match ran.status.success() || is_there {
        true => Next::Done,
        false => Next::Refused(message(&ran)),
    })
}

/// Is the end of a command one that a user can make something of?
pub fn ending(ran: &Output, which: &str, faults: &mut Vec<Fault>) {
    let text = String::from_utf8_lossy(&ran.stderr);
    if let Some(signal) = ran.status.signal() {
        add(
            faults,
            Kind::Crash,
            format!("{which}: signal {signal}: {text}"),
        );
    }
    if ran.status.code() == Some(101) || text.contains("panicked at") {
        add(faults, Kind::Crash, format!("{which} panicked: {text}"));
    }
    if ran.status.success() || ran.status.signal().is_some() {
        return;
    }
    let error = message(ran);
    let names_a_path = [OUT, "home", "hf"].iter().any(|name| error.contains(name));
    if !error.starts_with("error:") || !error.contains("hint:") || !names_a_path {
        add(faults, Kind::Message, format!("{which}: {error}"));
    }
}

/// The last error of a command with its hints.
pub fn message(ran: &Output) -> String {
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    let at = text.rfind("error:").unwrap_or(0);
    text[at..].trim().to_owned()
}

/// Everything that a disturbance must not change.
pub fn all(
    bench: &Bench,
    reference: &Reference,
    place: &Place,
    faults: &mut Vec<Fault>,
) -> Result<()> {
    results(bench, reference, place, faults)?;
    let (left, wanted) = (bench.left(place)?, &reference.left);
    if left.events != wanted.events {
        let differs = |(event, count): (&(String, u64), &usize)| {
            let wanted = wanted.events.get(event).copied().unwrap_or(0);
            (wanted != *count).then(|| format!("{} {} x {count}, not {wanted}", event.0, event.1))
        };
        let missing = wanted
            .events
            .keys()
            .filter(|event| !left.events.contains_key(event));
        let missing = missing.map(|(kind, step)| format!("no {kind} {step}"));
        let all: Vec<String> = left
            .events
            .iter()
            .filter_map(differs)
            .chain(missing)
            .collect();
        add(faults, Kind::Events, all.join(", "));
    }
    let extra: Vec<&String> = left.paths.difference(&wanted.paths).collect();
    if !extra.is_empty() {
        add(faults, Kind::Leftover, format!("{extra:?}"));
    }
    states(bench, reference, place, faults)
}

/// What a damage must not change, but for what stood in the damaged file alone.
pub fn damaged(
    bench: &Bench,
    reference: &Reference,
    place: &Place,
    file: Option<&str>,
    faults: &mut Vec<Fault>,
) -> Result<()> {
    // `last` is a copy of an earlier state that nothing reads; the log has no second copy.
    if file.is_none_or(|file| !file.contains("/last/")) {
        results(bench, reference, place, faults)?;
    }
    states(bench, reference, place, faults)?;
    if let Some(fault) = faults.last_mut() {
        fault.what += &format!(" (damaged: {})", file.unwrap_or("nothing"));
    }
    Ok(())
}

fn states(
    bench: &Bench,
    reference: &Reference,
    place: &Place,
    faults: &mut Vec<Fault>,
) -> Result<()> {
    if reference.work.is_training {
        match bench.states(place)? {
            Ok(states) if states == ["finished"] => {}
            Ok(states) => add(
                faults,
                Kind::Status,
                format!("{states:?}, not one finished run"),
            ),
            Err(why) => add(faults, Kind::Status, format!("`hone runs` fails: {why}")),
        }
    }
    Ok(())
}

/// Are the results the same, to the byte?
pub fn results(
    bench: &Bench,
    reference: &Reference,
    place: &Place,
    faults: &mut Vec<Fault>,
) -> Result<()> {
    if let Some(what) = results_differ(bench, reference, place)? {
        add(faults, Kind::Bytes, what);
    }
    Ok(())
}

fn results_differ(bench: &Bench, reference: &Reference, place: &Place) -> Result<Option<String>> {
    let (found, wanted) = (bench.left(place)?.results, &reference.left.results);
    let differs = |(path, bytes): (&String, &Vec<u8>)| match found.get(path) {
        None => Some(format!("{path} is missing")),
        Some(other) if other != bytes => Some(format!("{path} differs")),
        Some(_) => None,
    };
    let all: Vec<String> = wanted.iter().filter_map(differs).collect();
    Ok((!all.is_empty()).then(|| all.join(", ")))
}

fn add(faults: &mut Vec<Fault>, kind: Kind, what: String) {
    faults.push(Fault { kind, what });
}
