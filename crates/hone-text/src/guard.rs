//! Readers of strangers' files that may give up by a panic, which is then an error like any other.
//!
//! The `tokenizers` crate unwraps what a hostile `tokenizer.json` can make fail. It is the only code that is called so:
//! our own does not panic on anything from outside.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread will be told as an error, so that a panic hook has nothing to say.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// What `read` gives, or the first line of what it panics with.
pub(crate) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    let before = IS_GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(before);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let line = text.unwrap_or_default().lines().next();
        line.unwrap_or_default().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_and_the_guard_ends_with_it() {
        assert_eq!(guarded(is_guarded), Ok(true));
        let given_up = guarded(|| -> () { panic!("at byte {}\nof the file", 7) });
        assert_eq!(given_up, Err("at byte 7".to_owned()));
        assert!(!is_guarded());
    }
}
