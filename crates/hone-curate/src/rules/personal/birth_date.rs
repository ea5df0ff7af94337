//! Days of birth.

use super::dates::days;
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "birth-date",
    family: Family::PersonalData,
    summary: "a date of birth",
    why: "With a postal code and a sex, a date of birth singles out most people of a country (Sweeney, 2000), and call centres take it as proof of who is calling.",
    what: "A day with its year, in numbers or with the month's name, within five words after *born*, *date of birth*, *dob*, *birthday* or their counterparts in forty languages. Days are also written `1985年3月12日` and with months' names of the larger of them. Label `BIRTH_DATE`.",
    default: Action::Ask,
    params: &[sighting::THRESHOLD],
};

#[rustfmt::skip]
const CONTEXT: &[&str] = &[
    "born", "birth", "birthday", "birthdate", "dob", "d o b", "date of birth", "bday",
    // German, Dutch, Afrikaans
    "geboren", "geb", "geburts*", "geboorte*", "geboortedatum", "verjaardag", "gebore",
    // French, Spanish, Portuguese, Italian, Romanian, Catalan
    "né le", "née le", "né", "née", "naissance", "nacido", "nacida", "nacimiento", "nació", "f nac", "nascido", "nascida", "nascimento", "nasceu", "d n", "nasc",
    "nato", "nata", "nascita", "născut*", "nașter*", "naștere*", "nascut", "nascuda", "naixement",
    // Swedish, Danish, Norwegian, Finnish, Icelandic, Estonian
    "född", "född*", "födelse*", "født", "fødsels*", "fødselsdato", "fødselsdag", "syntynyt", "syntymä*", "syntymäaika", "fæddur", "fædd", "sündinud", "sünni*",
    // Polish, Czech, Slovak, Croatian, Serbian, Slovenian
    "urodzon*", "urodzin*", "urodzen*", "urodził*", "ur", "narozen*", "nar", "roden*", "narození", "narodenia", "rođen*", "rođenja", "rojen*", "rojstva",
    // Russian, Ukrainian, Bulgarian, Greek
    "родил*", "рожд*", "рожден*", "д р", "народил*", "народжен*", "роден*", "раждане", "γεννήθηκε", "γέννηση*", "γεννηθείς", "ημερομηνία γέννησης",
    // Hungarian, Turkish, Lithuanian, Latvian
    "született", "születés*", "szül", "doğum*", "doğdu", "d tarihi", "gimim*", "gimė", "gimęs", "dzimšanas", "dzimis", "dzimusi",
    // Chinese, Japanese, Korean, Vietnamese, Thai, Indonesian
    "出生", "生日", "生年月日", "生まれ", "誕生日", "생년월일", "생일", "출생", "태어", "sinh ngày", "ngày sinh", "sinh", "เกิด", "lahir", "tanggal lahir",
    // Arabic, Persian, Hebrew, Hindi, Bengali
    "ميلاد", "مواليد", "ولد", "ولدت", "تولد", "متولد", "נולד", "לידה", "जन्म", "জন্ম",
];

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    seen.extend(days(view).into_iter().map(|span| {
        // Korean and Japanese say *born* right behind the day.
        let is_born = view[span.end..].starts_with(['생', '生']);
        Sighting::new(span, "BIRTH_DATE", "a date of birth")
            .scored(if is_born { 0.7 } else { 0.3 })
            .beside(CONTEXT)
    }));
}
