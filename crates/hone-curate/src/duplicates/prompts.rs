//! One prompt, several replies.

use std::collections::BTreeSet;

use super::{Cluster, Fingerprint, alike};
use crate::{Action, Doc, Family};

/// `same-prompt`.
pub static DOC: Doc = Doc {
    name: "same-prompt",
    family: Family::Duplicate,
    summary: "another row answers the same prompt differently",
    why: "Two replies to one prompt are either wanted variety or a contradiction that the model cannot learn; in a split \
          they put a prompt on both sides.",
    what: "Everything before the last reply, with roles and system turns, equal but for case and white space, while the \
           replies differ. Texts that are trained on whole have no prompt.",
    default: Action::Report,
    params: &[],
};

/// Clusters of rows with one prompt and more than one reply.
pub fn clusters(prints: &[Fingerprint]) -> Vec<Cluster> {
    alike(prints, |print| print.prompt)
        .iter()
        .filter(|group| replies(group) > 1)
        .filter_map(|group| Cluster::around_the_kept(group))
        .collect()
}

fn replies(group: &[&Fingerprint]) -> usize {
    let replies: BTreeSet<_> = group.iter().map(|print| print.reply).collect();
    replies.len()
}
