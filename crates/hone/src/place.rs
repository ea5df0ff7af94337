//! Where results go: found to be usable before any work is done.
//!
//! A directory that cannot be written is a slip of the command line, and nobody should learn of it after an hour.

use crate::refusal::Refusal;
use crate::screen::Talk;
use anyhow::Result;
use hone_ledger::{Obstacle, Unpublished, sweep_beside};
use std::path::Path;

/// Refuses an `--out` that cannot be a directory to write to, by making a file where it is or will be. Nothing is left.
pub fn refuse_unwritable(out: &Path) -> Result<(), Refusal> {
    // What hangs in the air, as a link to nowhere does, is there for this purpose.
    let existing = out
        .ancestors()
        .find(|place| place.symlink_metadata().is_ok());
    // The empty path is the parent of a relative one: the current directory.
    let existing = existing.filter(|place| *place != Path::new(""));
    let existing = existing.unwrap_or(Path::new("."));
    let hint = "choose another --out";
    if !existing.is_dir() {
        let what = match existing == out {
            true => format!("{} is not a directory", out.display()),
            false => format!(
                "{} cannot be made: {} is not a directory",
                out.display(),
                existing.display()
            ),
        };
        return Err(Refusal::usage(what).hint(hint));
    }
    // Without a name, so that a kill leaves nothing.
    match tempfile::tempfile_in(existing) {
        Ok(_) => Ok(()),
        Err(error) => {
            // The reason alone: the path in the error is that of the file that was tried.
            let reason = error.to_string();
            let reason = reason.split(" at path ").next().unwrap_or_default();
            let what = match existing == out {
                true => format!("nothing can be written to {}: {reason}", out.display()),
                false => format!(
                    "{} cannot be made: nothing can be written to {}: {reason}",
                    out.display(),
                    existing.display()
                ),
            };
            let hints = Obstacle::new(out, 0, error).hints();
            let refusal = hints.into_iter().fold(Refusal::usage(what), Refusal::hint);
            Err(refusal.hint(hint))
        }
    }
}

/// Refuses an `--out` that is there already, or that cannot be made.
pub fn refuse_used(out: &Path) -> Result<(), Refusal> {
    if out.symlink_metadata().is_ok() {
        sweep_beside(out);
        return Err(Refusal::usage(format!("{} exists already", out.display()))
            .hint("name a directory that is not there yet"));
    }
    refuse_unwritable(out)
}

/// Begins the directory `out`, which must not exist, as `command`. A second command with the same `out` is refused.
pub fn begin(out: &Path, command: &str, talk: Talk) -> Result<Unpublished> {
    refuse_used(out)?;
    let made = Unpublished::begin(out, command)?;
    if !made.is_locked() {
        talk.warn(unlocked(out));
    }
    // Another command may have made it while this one waited for the lock.
    refuse_used(out)?;
    Ok(made)
}

/// What is said where a file system cannot keep a second process from writing the same.
pub fn unlocked(out: &Path) -> String {
    format!(
        "the file system of {} has no locks: nothing keeps a second command from writing there, so start no other",
        out.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_can_be_written_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        refuse_unwritable(&dir.path().join("not/yet")).unwrap();
        refuse_unwritable(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        refuse_unwritable(Path::new("not-yet")).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("notes.txt");
        std::fs::write(&file, "mine").unwrap();
        let said = |path: &Path| refuse_unwritable(path).unwrap_err().to_string();
        assert!(said(&file).ends_with("notes.txt is not a directory"));
        let below = said(&file.join("run"));
        assert!(
            below.contains("cannot be made: ") && below.ends_with("notes.txt is not a directory"),
            "{below}"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_place_that_refuses_files_is_named() {
        let error = refuse_unwritable(Path::new("/proc/self/run"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(
                "/proc/self/run cannot be made: nothing can be written to /proc/self: "
            ),
            "{error}"
        );
    }
}
