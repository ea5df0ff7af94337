//! What stands between a hostile file and a crate that trusts what a file says of itself: its panics are errors.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is reading what may make another crate panic, and will turn that into an error. A program that has a
/// panic hook of its own asks this in it, so that nobody hears of what an error will say; this crate sets no hook.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Does some of the crate's work; its panics are errors.
pub(super) fn guarded<T, E: fmt::Display>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    IS_GUARDED.set(true);
    // What was under way is not looked at again: the error is the end of the file.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(false);
    match done {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("its parts contradict themselves".into()),
    }
}
