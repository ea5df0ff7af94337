//! What happened: content ids, manifests, events, whole-file writes, run registry.

mod seed;

pub use seed::{Seed, Stream};
