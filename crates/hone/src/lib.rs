//! Hone as a library: one door to the crates underneath.
