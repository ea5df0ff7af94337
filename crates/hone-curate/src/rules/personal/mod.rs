//! Text that points to a person, and secrets.
//!
//! A recogniser only sees; `sighting.rs` says how sure a form, its check digits and the words beside it make, as Presidio
//! does. Labels name what stands in for the text when it is redacted.

use crate::{Check, Entry};

mod age;
mod api_key;
mod birth_date;
mod card;
mod check_digits;
mod crypto_address;
mod date_time;
mod dates;
mod email;
mod gazetteer;
mod iban;
mod ip_address;
mod mac_address;
mod national_number;
mod organisation_name;
mod person_name;
pub(crate) mod phone;
mod place_name;
mod postal_code;
mod sighting;
mod stand_in;
mod url_credentials;
mod web_address;

/// An entry for a rule whose only parameter is its threshold.
macro_rules! entry {
    ($rule:ident) => {
        Entry {
            doc: &$rule::DOC,
            check: Check::Row(|params| {
                let looks_beside = matches!($rule::DOC.default, crate::Action::Ask);
                sighting::rule(params, $rule::see, looks_beside)
            }),
        }
    };
}

pub(crate) use person_name::without_names;

/// The family's rules.
pub const RULES: &[Entry] = &[
    entry!(email),
    entry!(phone),
    entry!(card),
    entry!(iban),
    entry!(national_number),
    entry!(ip_address),
    entry!(mac_address),
    entry!(url_credentials),
    entry!(api_key),
    entry!(crypto_address),
    entry!(birth_date),
    entry!(person_name),
    entry!(place_name),
    entry!(organisation_name),
    entry!(age),
    entry!(date_time),
    entry!(postal_code),
    entry!(web_address),
];
