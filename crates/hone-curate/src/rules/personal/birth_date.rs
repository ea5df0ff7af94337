//! Days of birth.

use super::dates::days;
use super::sighting::{self, Sighting};
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "birth-date",
    family: Family::PersonalData,
    summary: "a date of birth",
    why: "With a postal code and a sex, a date of birth singles out most people of a country (Sweeney, 2000), and call centres take it as proof of who is calling.",
    what: "A day with its year, in numbers or with the month's name, within five words after *born*, *date of birth*, *dob*, *birthday* or their German, French, Spanish and Italian counterparts. Label `BIRTH_DATE`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

const CONTEXT: &[&str] = &[
    "born",
    "birth",
    "birthday",
    "birthdate",
    "dob",
    "d o b",
    "geboren",
    "geb",
    "geburts*",
    "né le",
    "née le",
    "naissance",
    "nacido",
    "nacida",
    "nacimiento",
    "nato",
    "nata",
    "nascita",
    "född",
    "syntynyt",
    "urodzon*",
];

/// See [`DOC`].
pub fn see(text: &str, seen: &mut Vec<Sighting>) {
    seen.extend(days(text).into_iter().map(|span| {
        Sighting::new(span, "BIRTH_DATE", "a date of birth")
            .scored(0.3)
            .beside(CONTEXT)
    }));
}
