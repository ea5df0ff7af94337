//! One reply to several prompts.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Cluster, Fingerprint, alike};
use crate::{Action, BadParam, Doc, Family, Param, Params};

/// `same-reply`.
pub static DOC: Doc = Doc {
    name: "same-reply",
    family: Family::Duplicate,
    summary: "the reply also answers other prompts, word for word",
    why: "A reply that fits every prompt (a refusal, a greeting, a template of the generator) is learned as the answer to \
          everything.",
    what: "The last reply, equal but for case and white space, after at least `min-prompts` different prompts. Replies of \
           fewer than `min-words` words are left alone: labels, numbers and a plain yes are bound to recur.",
    default: Action::Report,
    params: &[
        Param {
            name: "min-prompts",
            what: "different prompts that share the reply; 3",
        },
        Param {
            name: "min-words",
            what: "words of the shortest reply looked at; 8",
        },
    ],
};

/// How often is too often.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReplyOptions {
    /// Different prompts that share the reply.
    pub min_prompts: usize,
    /// Words of the shortest reply looked at.
    pub min_words: usize,
}

impl Default for ReplyOptions {
    fn default() -> Self {
        Self {
            min_prompts: 3,
            min_words: 8,
        }
    }
}

impl ReplyOptions {
    /// What the recipe says.
    pub fn take(params: &mut Params) -> Result<Self, BadParam> {
        let default = Self::default();
        Ok(Self {
            min_prompts: params.count("min-prompts", default.min_prompts)?,
            min_words: params.count("min-words", default.min_words)?,
        })
    }
}

/// Clusters of rows that share a reply to different prompts.
pub fn clusters(prints: &[Fingerprint], options: &ReplyOptions) -> Vec<Cluster> {
    let long = |print: &Fingerprint| {
        print
            .reply
            .filter(|_| print.reply_words >= options.min_words)
    };
    alike(prints, long)
        .iter()
        .filter(|group| prompts(group) >= options.min_prompts)
        .filter_map(|group| Cluster::around_the_kept(group))
        .collect()
}

fn prompts(group: &[&Fingerprint]) -> usize {
    let prompts: BTreeSet<_> = group.iter().map(|print| print.prompt).collect();
    prompts.len()
}
