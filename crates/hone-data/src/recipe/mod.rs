//! Datasets made from what is already on the machine.

pub mod rust_lints;
