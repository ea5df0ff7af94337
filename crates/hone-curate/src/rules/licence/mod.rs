//! Whose text it is.

use crate::{Check, Entry};

mod copyright_line;
mod licence_text;
mod publisher_boilerplate;
mod restrictive_licence;
mod rights_reserved;
mod spdx_header;
mod terms;
mod texts;
mod unknown_licence;
mod verbatim_overlap;

/// The family's rules.
pub const RULES: &[Entry] = &[
    Entry {
        doc: &spdx_header::DOC,
        check: Check::Row(|_| Ok(Box::new(spdx_header::SpdxHeader))),
    },
    Entry {
        doc: &licence_text::DOC,
        check: Check::Row(|_| Ok(Box::new(licence_text::LicenceText))),
    },
    Entry {
        doc: &restrictive_licence::DOC,
        check: Check::Row(|_| Ok(Box::new(restrictive_licence::RestrictiveLicence))),
    },
    Entry {
        doc: &unknown_licence::DOC,
        check: Check::Row(|_| Ok(Box::new(unknown_licence::UnknownLicence))),
    },
    Entry {
        doc: &copyright_line::DOC,
        check: Check::Row(|_| Ok(Box::new(copyright_line::CopyrightLine))),
    },
    Entry {
        doc: &rights_reserved::DOC,
        check: Check::Row(|_| Ok(Box::new(rights_reserved::RightsReserved::default()))),
    },
    Entry {
        doc: &publisher_boilerplate::DOC,
        check: Check::Row(|_| {
            Ok(Box::new(
                publisher_boilerplate::PublisherBoilerplate::default(),
            ))
        }),
    },
    Entry {
        doc: &verbatim_overlap::DOC,
        check: Check::Row(verbatim_overlap::rule),
    },
];
