//! The end of a command that did not work out: what, where, what next.
//!
//! Errors arrive as chains; the first link is the headline, the others are its reasons, and the hints are computed by
//! the error that knows what exists. The exit code tells a script whose fault it was.

use crate::base::{AdapterError, BaseError, FilesError, NoHome, OpenError};
use crate::dataset::DatasetError;
use crate::judging::{EndpointError, JudgeError};
use crate::plan::{PlanError, RunFileError, SettingError};
pub use crate::refusal::{Exit, Refusal};
use crate::screen::say_to_all;
use hone_curate::recipe::RecipeError as CurationError;
use hone_curate::{CurateError, WriteError as CurationWriteError};
use hone_data::ReadError;
use hone_data::recipe::rust_lints::RecipeError;
use hone_eval::evaluation::EvaluationError;
use hone_eval::harness::ExamError;
use hone_eval::ifd::IfdError;
use hone_eval::task::TaskError;
use hone_ledger::{DirError, LockError, Obstacle, ReadError as FileReadError, WriteError};
use hone_model::export::ExportError;
use hone_model::weights::{WeightsError, WriterError};
use hone_model::{
    AdapterWeightsError, AttachError, CombineError, GenerateError, InitError, MergeError, PeftError,
};
use hone_tensor::TensorError;
use hone_text::{RenderError, TokenizerError};
use hone_train::TrainError;
use std::io;

/// Tells the user on stderr and returns the exit code.
pub fn report(error: &anyhow::Error) -> Exit {
    // The reader of our output has left, as `head` does: not an error of ours.
    if is_broken_pipe(error) {
        return Exit::Done;
    }
    for line in describe(error) {
        say_to_all(&line);
    }
    exit_of(error)
}

/// The lines of an error: headline, reasons, hints.
fn describe(error: &anyhow::Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut lines = vec![format!("error: {said}")];
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors already end in their cause; saying it twice helps nobody.
        if !said.contains(&cause) {
            lines.push(format!("  because: {cause}"));
            said = cause;
        }
    }
    lines.extend(
        hints_of(error)
            .into_iter()
            .map(|hint| format!("hint: {hint}")),
    );
    lines
}

macro_rules! first_hints {
    ($error:expr; $($kind:ty),* $(,)?) => {
        $error
            .chain()
            .filter_map(|link| None$(.or_else(|| link.downcast_ref::<$kind>().map(|known| known.hints())))*)
            .find(|hints| !hints.is_empty())
    };
}

/// The hints of the first link that has some. What the system refused to write is a link of its own, whatever it is wrapped
/// in; where only the system's own error is left, it is said what to do about that.
fn hints_of(error: &anyhow::Error) -> Vec<String> {
    let known = first_hints!(error; Refusal, DatasetError, ReadError, CurationError, CurateError, CurationWriteError, PlanError, RecipeError, TrainError, BaseError, NoHome, OpenError, AdapterError, FilesError, RunFileError, SettingError, WeightsError, AttachError, InitError, PeftError, AdapterWeightsError,
        CombineError, MergeError, ExportError, WriterError, DirError, LockError, WriteError, GenerateError, ExamError, EvaluationError, EndpointError, JudgeError, IfdError, TaskError, RenderError, TokenizerError, TensorError, Obstacle, FileReadError);
    known.unwrap_or_else(|| error.chain().find_map(hint_of_system).into_iter().collect())
}

fn hint_of_system(link: &(dyn std::error::Error + 'static)) -> Option<String> {
    link.downcast_ref::<io::Error>()
        .and_then(Obstacle::hint_without_place)
}

fn exit_of(error: &anyhow::Error) -> Exit {
    let of_link = |link: &(dyn std::error::Error + 'static)| {
        let is_usage = link.is::<RunFileError>()
            || link.is::<SettingError>()
            || link.is::<CurationError>()
            || link.is::<TaskError>();
        // Nothing went wrong: somebody has to decide.
        let is_open =
            |error: &CurationWriteError| matches!(error, CurationWriteError::Dropped { .. });
        let to_decide = link
            .downcast_ref::<CurationWriteError>()
            .filter(|error| is_open(error));
        link.downcast_ref::<Refusal>()
            .map(Refusal::exit)
            .or_else(|| to_decide.map(|_| Exit::Found))
            .or_else(|| is_usage.then_some(Exit::Usage))
    };
    error.chain().find_map(of_link).unwrap_or(Exit::Failed)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |link: &(dyn std::error::Error + 'static)| {
        link.downcast_ref::<io::Error>().map(io::Error::kind)
    };
    error.chain().find_map(kind) == Some(io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_said_once() {
        let cause = io::Error::other("no space left");
        let error = anyhow::Error::new(cause)
            .context("cannot write a.bin: no space left")
            .context("the run stopped");
        assert_eq!(
            describe(&error),
            [
                "error: the run stopped",
                "  because: cannot write a.bin: no space left"
            ]
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_the_disk_refuses_has_a_hint_however_it_is_wrapped() {
        let refused = || {
            let source = io::Error::from_raw_os_error(28);
            WriteError::new(std::path::Path::new("out/events.jsonl"), 27, source)
        };
        let dir = || DirError::from(refused());
        let errors: [anyhow::Error; 6] = [
            hone_ledger::EventError::from(refused()).into(),
            hone_ledger::RegistryError::from(refused()).into(),
            TrainError::from(hone_train::CheckpointError::from(dir())).into(),
            TrainError::Sink(Box::new(hone_ledger::EventError::from(refused()))).into(),
            CurateError::Room(refused()).into(),
            CurateError::Told(io::Error::other(refused())).into(),
        ];
        for error in errors {
            let lines = describe(&error.context("the run stopped"));
            let [.., said, hint] = &lines[..] else {
                panic!("{lines:?}")
            };
            assert!(
                lines.iter().any(|line| line
                    .contains("no space left on the disk for out/events.jsonl (27 bytes needed)")),
                "{lines:?}"
            );
            assert!(
                said.starts_with("  because: No space left on device"),
                "{lines:?}"
            );
            assert_eq!(
                hint,
                "hint: free at least 27 bytes on the disk that holds out, or write to another disk"
            );
        }
        let bare = anyhow::Error::new(io::Error::from_raw_os_error(5)).context("cannot read a.bin");
        assert!(
            describe(&bare)
                .last()
                .unwrap()
                .starts_with("hint: look what the system says")
        );
    }

    #[test]
    fn hints_come_from_the_link_that_has_them() {
        let refused = Err::<(), _>(Refusal::usage("no such row").hint("rows: 1 to 9"));
        let error = refused.context("cannot show").unwrap_err();
        assert_eq!(describe(&error).last().unwrap(), "hint: rows: 1 to 9");
        assert_eq!(exit_of(&error), Exit::Usage);
        assert_eq!(exit_of(&anyhow::anyhow!("anything else")), Exit::Failed);
    }
}
