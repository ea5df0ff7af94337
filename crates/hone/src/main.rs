//! The `hone` command.
//!
//! Its allocator is the system's, and says so where the system gives nothing more: otherwise the process would end by a
//! signal, without a word on what to do.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;

fn main() -> ExitCode {
    hone::cli::run()
}

#[global_allocator]
static ALLOCATOR: Told = Told;

/// The system's allocator, which tells of its end.
struct Told;

// SAFETY: every call goes to the system's allocator as it came, and what that returns goes back, if it is something.
unsafe impl GlobalAlloc for Told {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the promise of the caller is the one that is asked for.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the memory came from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn given(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        hone::cli::end_without_memory();
    }
    pointer
}
