//! Texts of licences that somebody has to decide about.

use std::sync::LazyLock;

use regex::Regex;

use super::texts::{self, Kind};
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "restrictive-licence",
    family: Family::Licence,
    summary: "the text is under copyleft, or not for commerce, or not to be changed",
    why: "Whether a model may learn from such text, and what then holds for the model, is for its owner to decide before training, not for a tool and not afterwards.",
    what: "The notices of the GNU licences (GPL, LGPL, AGPL, GFDL) and of the Creative Commons licences with NC or ND, by their own sentences and links, and SPDX identifiers of these. The name of a licence alone is talk about it, and passes.",
    default: Action::Ask,
    params: &[],
};

static IDENTIFIER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"SPDX-License-Identifier:[ \t]*[^\n]*?((?:[AL]?GPL|GFDL|CC-BY-(?:NC|ND)|SSPL|BUSL)[-A-Za-z0-9.+]*)").expect("a fixed pattern")
});

/// See [`DOC`].
pub struct RestrictiveLicence;

impl Rule for RestrictiveLicence {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            let identifiers = IDENTIFIER.captures_iter(part.text).map(|found| {
                let id = found.get(1).expect("the pattern has one group");
                (
                    found.get(0).expect("the match itself").range(),
                    id.as_str().to_owned(),
                )
            });
            let sentences = texts::find(part.text, Kind::Restrictive).into_iter();
            let found = identifiers.chain(sentences.map(|found| (found.span, found.spdx)));
            hits.extend(found.map(|(span, spdx)| {
                Hit::at(part.place, span, format!("under the licence {spdx}"))
            }));
        }
    }
}
