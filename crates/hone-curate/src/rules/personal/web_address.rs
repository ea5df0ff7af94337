//! Addresses of pages and sites.

use std::sync::LazyLock;

use regex::Regex;

use super::email::is_reserved;
use super::sighting::{self, Sighting};
use crate::view::View;
use crate::{Action, Doc, Family};

pub static DOC: Doc = Doc {
    name: "web-address",
    family: Family::PersonalData,
    summary: "a web address",
    why: "A private page or profile leads to its owner; HIPAA's Safe Harbor lists web addresses. Most in a dataset are public pages, so this rule is off unless asked for.",
    what: "`http://`, `https://`, `ftp://` or `www.` up to a blank, a quote or a bracket, without closing punctuation. Reserved domains (RFC 2606) are nobody's. Label `URL`.",
    default: Action::Off,
    params: &[sighting::THRESHOLD],
};

static WRITTEN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?i-u:\b(?:(?:https?|ftp)://|www\.))[^\s<>"'`{}|\\^\[\]]{3,2000}"#;
    Regex::new(pattern).expect("the pattern is valid")
});

/// See [`DOC`].
pub fn see(view: &View<'_>, seen: &mut Vec<Sighting>) {
    let text: &str = view;
    for found in WRITTEN.find_iter(text) {
        let address = found
            .as_str()
            .trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '*', '_']);
        let host = address.split_once("://").map_or(address, |(_, rest)| rest);
        let host = host.split(['/', ':', '?', '#']).next().unwrap_or_default();
        if host.contains('.') && !is_reserved(host) {
            let span = found.start()..found.start() + address.len();
            seen.push(Sighting::new(span, "URL", "a web address").scored(0.8));
        }
    }
}
