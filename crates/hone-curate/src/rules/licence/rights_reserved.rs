//! Phrases with which publishers keep a text to themselves.

use super::texts::{self, Kind};
use crate::rules::phrases::Phrases;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "rights-reserved",
    family: Family::Licence,
    summary: "the text says that it may not be reused",
    why: "Text that says so was taken from somewhere it should have stayed, or its owner agreed; only people know which.",
    what: "`All rights reserved`, `No part of this publication may be reproduced` and their like. The first stands in the notices of permissive licences too; a text that carries such a licence passes.",
    default: Action::Ask,
    params: &[],
};

const PHRASES: &[&str] = &[
    "all rights reserved",
    "no part of this publication",
    "no part of this book",
    "no part of this work may be",
    "may not be reproduced",
    "may not be published, broadcast",
    "may not be copied or distributed",
    "without the prior written permission",
    "without prior written permission",
    "without written permission from the publisher",
    "unauthorized reproduction",
    "unauthorised reproduction",
];

/// See [`DOC`].
pub struct RightsReserved(Phrases);

impl Default for RightsReserved {
    fn default() -> Self {
        Self(Phrases::new(PHRASES))
    }
}

impl Rule for RightsReserved {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts() {
            let first = self.0.find(part.text).next();
            let Some(span) = first.filter(|_| texts::find(part.text, Kind::Permissive).is_empty())
            else {
                continue;
            };
            hits.push(Hit::at(part.place, span, "rights are reserved"));
        }
    }
}
