//! Names of organisations.

use super::gazetteer::{Run, each_run, ends_in};
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "organisation-name",
    family: Family::PersonalData,
    summary: "an organisation's name, with lower confidence",
    why: "An employer, a school or a clinic narrows a person down, and a client's name may be a secret of its own. An organisation alone is nobody: this rule points, it does not know.",
    what: "Capitalised words that end in a legal form (*Inc*, *Ltd*, *GmbH*, *S.A.*, …) score 0.7; those that end in *University*, *Bank*, *Hospital* and the like, or begin with *University of*, *Ministry of* and the like, 0.55; capitalised words right after *works at*, *employed by* and the like 0.5. Brands without any of these are not seen. Off unless asked for. Label `ORGANISATION`.",
    default: Action::Off,
    params: &[sighting::THRESHOLD],
};

const LEGAL: &[&str] = &[
    "Inc",
    "Incorporated",
    "Ltd",
    "Limited",
    "LLC",
    "LLP",
    "Corp",
    "Corporation",
    "PLC",
    "Plc",
    "GmbH",
    "AG",
    "KG",
    "UG",
    "SA",
    "SAS",
    "SARL",
    "Sarl",
    "SRL",
    "Srl",
    "SpA",
    "BV",
    "NV",
    "AB",
    "Oy",
    "Oyj",
    "AS",
    "ApS",
    "Pty",
    "Co",
    "Lda",
    "SL",
    "Kft",
    "Zrt",
    "eG",
];

const INSTITUTIONS: &[&str] = &[
    "University",
    "College",
    "Institute",
    "Institution",
    "Academy",
    "School",
    "Hospital",
    "Clinic",
    "Bank",
    "Insurance",
    "Foundation",
    "Association",
    "Society",
    "Ministry",
    "Agency",
    "Council",
    "Committee",
    "Commission",
    "Company",
    "Group",
    "Holdings",
    "Holding",
    "Partners",
    "Industries",
    "Technologies",
    "Airlines",
    "Consortium",
    "Universität",
    "Hochschule",
    "Stiftung",
    "Université",
    "Universidad",
    "Università",
];

const HEADS: &[&str] = &[
    "University",
    "Ministry",
    "Department",
    "Bank",
    "Institute",
    "College",
    "Church",
    "School",
    "Academy",
    "Museum",
];

const EMPLOYED: &[&str] = &[
    "works at",
    "work at",
    "worked at",
    "working at",
    "works for",
    "work for",
    "worked for",
    "working for",
    "employed by",
    "employed at",
    "job at",
    "employer is",
    "employer:",
];

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    each_run(text, |run| {
        let from = usize::from(
            run.len() > 1
                && matches!(
                    run.word(0),
                    "The" | "At" | "In" | "For" | "By" | "From" | "A" | "An"
                ),
        );
        let last = |names: &[&str]| {
            (from + 1..run.len())
                .rev()
                .find(|&at| names.contains(&run.word(at)))
        };
        if let Some(last) = last(LEGAL) {
            let dot = usize::from(
                text[run.words[last].end..].starts_with('.') && run.word(last).len() < 5,
            );
            seen.push(organisation(run.words[from].start..run.words[last].end + dot).scored(0.7));
        } else if let Some(last) = last(INSTITUTIONS) {
            seen.push(organisation(run.span(from..last + 1)).scored(0.55));
        } else if let Some(end) = of_what(run, from) {
            seen.push(organisation(run.words[from].start..end).scored(0.55));
        } else if from == 0 && employs(run) {
            seen.push(organisation(run.span(0..run.len())).scored(0.5));
        }
    });
}

fn organisation(span: std::ops::Range<usize>) -> Sighting {
    Sighting::new(span, "ORGANISATION", "perhaps an organisation")
}

/// The end of `University of …`, where the run ends in such a word and another follows.
fn of_what(run: &Run<'_>, from: usize) -> Option<usize> {
    let last = run
        .len()
        .checked_sub(1)
        .filter(|&last| last >= from && HEADS.contains(&run.word(last)))?;
    let rest = run.text[run.words[last].end..].strip_prefix(" of ")?;
    let rest = rest.strip_prefix("the ").unwrap_or(rest);
    let start = run.text.len() - rest.len();
    let mut end = None;
    each_run(
        &rest[..rest.floor_char_boundary(rest.len().min(80))],
        |found| {
            if found.words[0].start == 0 {
                end = Some(start + found.words[found.len() - 1].end);
            }
        },
    );
    end
}

fn employs(run: &Run<'_>) -> bool {
    ends_in(run.before(0), EMPLOYED)
}
