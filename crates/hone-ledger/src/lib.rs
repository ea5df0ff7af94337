//! What happened: content ids, manifests, events, whole-file writes, run registry; and how words of strangers are quoted.
//!
//! Nothing here knows machine learning. The other crates hand over bytes, notes and rows; this one
//! promises that what is read back is what was written, or an error that names the file.

mod aside;
pub mod child;
mod content;
mod dir;
mod events;
mod lock;
mod mistyped;
mod obstacle;
#[cfg(feature = "registry")]
mod registry;
mod seed;
mod whole;
pub mod words;

pub use content::{ContentId, Hasher, NotAContentId, ReadError};
pub use dir::{
    DirError, MANIFEST, Newest, Unpublished, VerifiedDir, abandon, complete_dirs, discard_dir,
    keep_newest, open_dir, open_newest, publish_dir, sweep, sweep_beside,
};
pub use events::{EventError, EventLog, Events, Retained, read_events};
pub use lock::{Held, Holder, Lock, LockError, who_holds, who_writes_in};
pub use mistyped::mistyped;
pub use obstacle::Obstacle;
#[cfg(feature = "registry")]
pub use registry::{Listed, Registry, RegistryError, RunRow, RunStatus};
pub use seed::{Seed, Stream};
pub use whole::{
    SealedFile, WholeFile, WriteError, fail_beyond_file_limit, write_private, write_whole,
};
