//! Which modules a name or a pattern picks: one answer for configurations, for files of others, and for what is written.
//!
//! PEFT picks modules by their paths. A list picks whole paths, or their ends after a dot; a pattern has to fit all of a path.

use regex::{Regex, RegexBuilder};

use super::config::AttachError;
use crate::arch::Site;
use crate::weights::distance;

/// Whether PEFT's rule for a list of targets picks the module at `path`.
pub fn target_matches(target: &str, path: &str) -> bool {
    path == target
        || path
            .strip_suffix(target)
            .is_some_and(|head| head.ends_with('.'))
}

/// A pattern of modules' paths, all of a path. Patterns arrive with adapters, so what one takes up has a limit.
pub(super) fn path_pattern(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(1 << 20)
        .dfa_size_limit(1 << 20)
        .build()
}

/// Whether `module` is a run of whole parts of `path`.
pub(super) fn is_inside(path: &str, module: &str) -> bool {
    format!(".{path}.").contains(&format!(".{module}."))
}

/// The last parts of their paths, as families name them.
pub(super) const EMBEDDINGS: [&str; 4] = ["embed_tokens", "wte", "embed_in", "word_embeddings"];
pub(super) const HEADS: [&str; 2] = ["lm_head", "embed_out"];

/// By the last part of its path.
pub(super) fn names_any(module: &str, names: &[&str]) -> bool {
    names.iter().any(|name| target_matches(name, module))
}

/// A rule for names of modules.
#[derive(Debug)]
pub(crate) enum Names {
    /// Whole paths, or their ends after a dot.
    List(Vec<String>),
    /// A pattern that the whole path must fit.
    Pattern(Regex),
    /// A pattern that Hone cannot match: whatever it picks, it says so in Python only.
    Unread,
    /// Every linear layer but the head.
    AllLinear,
    /// Nothing is said.
    Unsaid,
}

impl Names {
    /// Whether the module at `path` is picked; `None` where that is not known.
    pub fn pick(&self, path: &str) -> Option<bool> {
        Some(match self {
            Self::List(names) => names.iter().any(|name| target_matches(name, path)),
            Self::Pattern(pattern) => pattern.is_match(path),
            Self::Unread => return None,
            Self::AllLinear => !names_any(path, &HEADS) && !names_any(path, &EMBEDDINGS),
            Self::Unsaid => false,
        })
    }

    pub fn names_exactly(&self, path: &str) -> bool {
        matches!(self, Self::List(names) if names.iter().any(|name| name == path))
    }

    pub fn list(&self) -> Vec<String> {
        match self {
            Self::List(names) => names.clone(),
            _ => vec![],
        }
    }
}

/// Ends of the paths of `adapted`, if they pick exactly these among `all`; whole paths otherwise.
pub(super) fn exact_names(
    adapted: Vec<String>,
    end: impl Fn(&String) -> String,
    all: impl Iterator<Item = String>,
) -> Vec<String> {
    let mut short: Vec<String> = adapted.iter().map(end).collect();
    short.sort();
    short.dedup();
    let picked = all.filter(|path| short.iter().any(|name| target_matches(name, path)));
    match picked.count() == adapted.len() {
        true => short,
        false => adapted,
    }
}

/// A name that picks nothing of a model, with the closest that would.
pub(super) fn unknown_target(target: &str, sites: &[Site]) -> AttachError {
    let mut available: Vec<String> = sites.iter().map(|site| site.name().to_owned()).collect();
    available.sort();
    available.dedup();
    let wanted = target.rsplit('.').next().unwrap_or(target).to_lowercase();
    let near = available.iter().map(|name| (distance(&wanted, name), name));
    let near = near.min_by_key(|near| near.0).filter(|near| near.0 <= 3);
    AttachError::UnknownTarget {
        target: target.to_owned(),
        near: near.map(|near| near.1.clone()),
        available,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_match_whole_paths_and_ends_after_a_dot() {
        let path = "model.layers.1.self_attn.q_proj";
        assert!(
            target_matches("q_proj", path)
                && target_matches("self_attn.q_proj", path)
                && target_matches(path, path)
        );
        assert!(!target_matches("proj", path) && !target_matches("_proj", path));
    }
}
