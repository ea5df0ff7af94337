//! A mapped file that another program cuts short: the system answers a look at the lost pages with a signal.
//!
//! Nothing can be computed from there on, and unwinding is not possible where the signal strikes. So the process ends at
//! once, as one that is killed does, after it has said which file it was: whatever is on disk is whole, and a training run
//! goes on from its last checkpoint. Other faults go to whoever handled them before.

use memmap2::Mmap;
use std::path::Path;

/// How a process ends whose weights were cut short under it.
pub const EXIT_WHEN_CUT_SHORT: u8 = 5;

/// From now on, until another file is mapped there, a look at pages that `map` of the file `path` has lost ends the process
/// with a sentence. Costs a few bytes of memory a file, however often it is mapped.
pub(super) fn watch(path: &Path, map: &Mmap) {
    #[cfg(unix)]
    unix::watch(path, map);
    #[cfg(not(unix))]
    let _ = (path, map);
}

#[cfg(unix)]
mod unix {
    use std::collections::BTreeMap;
    use std::ffi::c_void;
    use std::mem::MaybeUninit;
    use std::path::{Path, PathBuf};
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};

    use libc::{SA_ONSTACK, SA_SIGINFO, SIGBUS, c_int, sigaction, siginfo_t};
    use memmap2::Mmap;

    use super::EXIT_WHEN_CUT_SHORT;
    use crate::one_line::one_line;

    /// A mapped file, as the handler sees it: addresses, and the sentence that is leaked so that it lives as long as any.
    struct Slot {
        start: AtomicUsize,
        /// Zero while the slot is empty or being filled.
        end: AtomicUsize,
        said: AtomicPtr<u8>,
        said_len: AtomicUsize,
    }

    /// More files than any model has; of one beyond them nothing is said, and the signal ends the process.
    static SLOTS: [Slot; 1024] = [const {
        Slot {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            said: AtomicPtr::new(ptr::null_mut()),
            said_len: AtomicUsize::new(0),
        }
    }; 1024];

    /// What is said of each file that was ever watched: a file that is mapped again is told in the same words. One fills
    /// slots at a time.
    static SENTENCES: Mutex<BTreeMap<PathBuf, &'static str>> = Mutex::new(BTreeMap::new());

    /// Who handled the signal before; the standard library looks whether a stack has overflowed.
    static BEFORE: OnceLock<sigaction> = OnceLock::new();

    pub fn watch(path: &Path, map: &Mmap) {
        let mut sentences = SENTENCES.lock().unwrap_or_else(PoisonError::into_inner);
        let start = map.as_ptr() as usize;
        let end = start + map.len();
        // What overlaps was unmapped, or this could not lie there.
        let overlaps = |slot: &&Slot| {
            let (from, to) = (&slot.start, &slot.end);
            from.load(Ordering::Relaxed) < end && start < to.load(Ordering::Relaxed)
        };
        let is_empty = |slot: &&Slot| slot.end.load(Ordering::Relaxed) == 0;
        for stale in SLOTS.iter().filter(overlaps) {
            stale.end.store(0, Ordering::SeqCst);
        }
        if let Some(slot) = SLOTS.iter().find(is_empty) {
            let new = || -> &'static str { sentence(path).leak() };
            let said = *sentences.entry(path.to_path_buf()).or_insert_with(new);
            slot.said.store(said.as_ptr().cast_mut(), Ordering::SeqCst);
            slot.said_len.store(said.len(), Ordering::SeqCst);
            slot.start.store(start, Ordering::SeqCst);
            slot.end.store(end, Ordering::SeqCst);
        }
        BEFORE.get_or_init(install);
        drop(sentences);
    }

    fn sentence(path: &Path) -> String {
        format!(
            "\nerror: {} was cut short by another program while it was in use\nhint: put the file back as it was, then give the command again; a training run goes on with --resume\n",
            one_line(path.display())
        )
    }

    fn install() -> sigaction {
        let mut before = MaybeUninit::<sigaction>::zeroed();
        // SAFETY: both structures are plain data for which zeros are valid, the handler has the signature that SA_SIGINFO
        // asks for, and it calls nothing that is not async-signal-safe.
        unsafe {
            let mut ours: sigaction = MaybeUninit::zeroed().assume_init();
            ours.sa_sigaction =
                handle as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
            // On the other stack, since it may be a stack that has overflowed.
            ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
            libc::sigemptyset(&mut ours.sa_mask);
            libc::sigaction(SIGBUS, &ours, before.as_mut_ptr());
            before.assume_init()
        }
    }

    extern "C" fn handle(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
        // SAFETY: the system hands over a valid structure, and for this signal it has an address.
        let address = unsafe { (*info).si_addr() } as usize;
        for slot in &SLOTS {
            let end = slot.end.load(Ordering::SeqCst);
            if slot.start.load(Ordering::SeqCst) <= address && address < end {
                let said = slot.said.load(Ordering::SeqCst);
                let len = slot.said_len.load(Ordering::SeqCst);
                // SAFETY: pointer and length are those of a leaked text, stored before the slot was filled; `write` and
                // `_exit` may be called in a handler.
                unsafe {
                    libc::write(libc::STDERR_FILENO, said.cast::<c_void>(), len);
                    libc::_exit(EXIT_WHEN_CUT_SHORT.into());
                }
            }
        }
        // Not ours: the instruction runs into it again, and then whoever was there before has it.
        let before = BEFORE.get();
        // SAFETY: it is what the system gave when ours was installed, or all zeros, which is the default.
        unsafe {
            let default: sigaction = MaybeUninit::zeroed().assume_init();
            libc::sigaction(SIGBUS, before.unwrap_or(&default), ptr::null_mut());
        }
    }
}
