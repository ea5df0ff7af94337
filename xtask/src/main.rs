//! Checks, golden fixtures and benchmarks of this repository.

fn main() {}
