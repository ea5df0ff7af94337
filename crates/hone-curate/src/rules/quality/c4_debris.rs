//! Lines that web pages have and answers do not.

use crate::rules::phrases::Phrases;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "c4-debris",
    family: Family::Quality,
    summary: "filler text, notices about scripts or cookies, or page navigation",
    why: "Scraped replies end in the page's footer, and so does the model that learns from them.",
    what: "C4's `lorem ipsum`, its notices about JavaScript and cookies (Raffel et al. 2020, arXiv:1910.10683, section 2.2), and the links of a page's frame. C4 drops every line with the word JavaScript and every page with a curly bracket; replies about programs have both, so only the notices count.",
    default: Action::Report,
    params: &[],
};

const PHRASES: &[&str] = &[
    "lorem ipsum dolor",
    "enable javascript",
    "javascript is disabled",
    "javascript is not enabled",
    "javascript must be enabled",
    "requires javascript",
    "this site uses cookies",
    "this website uses cookies",
    "we use cookies",
    "accept all cookies",
    "cookie policy",
    "terms of use and privacy policy",
    "privacy policy and terms of service",
    "by continuing to use this site",
    "by clicking accept",
    "subscribe to our newsletter",
    "sign up for our newsletter",
    "click here to read more",
    "click here to subscribe",
    "skip to main content",
    "share on facebook",
    "follow us on twitter",
];

/// See [`DOC`].
pub struct C4Debris(Phrases);

impl Default for C4Debris {
    fn default() -> Self {
        Self(Phrases::new(PHRASES))
    }
}

impl Rule for C4Debris {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.supervised() {
            let first = self.0.find(part.text).next();
            hits.extend(first.map(|span| Hit::at(part.place, span, "debris of a web page")));
        }
    }
}
