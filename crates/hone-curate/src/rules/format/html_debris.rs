//! Markup of web pages in prose.

use std::sync::LazyLock;

use regex::Regex;

use crate::rules::prose;
use crate::{Action, Doc, Family, Hit, Row, Rule};

pub static DOC: Doc = Doc {
    name: "html-debris",
    family: Family::Format,
    summary: "HTML tags or entities stand in prose",
    why: "Scraped replies teach the model to answer in tags that no chat shows, and `&amp;nbsp;` for a space.",
    what: "Tags with names that HTML has, comments, and character entities, outside of code. Unknown names pass, so a type parameter is none.",
    default: Action::Report,
    params: &[],
};

static MARKUP: LazyLock<Regex> = LazyLock::new(|| {
    let tags = "a|abbr|article|aside|b|blockquote|body|br|button|center|cite|code|dd|del|div|dl|dt|em|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|label|li|link|main|meta|nav|noscript|ol|option|p|pre|script|section|select|small|span|strong|style|sub|sup|svg|table|tbody|td|th|thead|title|tr|u|ul";
    let entities = "nbsp|amp|lt|gt|quot|apos|ndash|mdash|hellip|rsquo|lsquo|rdquo|ldquo|bull|copy|#[0-9]{2,6}|#[xX][0-9A-Fa-f]{2,6}";
    let pattern = format!(
        r#"(?:</?(?:{tags}|A|BR|DIV|P|TABLE|TD|TR)(?:\s+[a-zA-Z-]+(?:=(?:"[^"<>]*"|'[^'<>]*'|[^\s<>"']+))?)*\s*/?>|&(?:{entities});|<!--)"#
    );
    Regex::new(&pattern).expect("a fixed pattern")
});

/// See [`DOC`].
pub struct HtmlDebris;

impl Rule for HtmlDebris {
    fn check(&self, row: &Row<'_>, hits: &mut Vec<Hit>) {
        for part in row.parts().filter(|part| MARKUP.is_match(part.text)) {
            let stretches = prose::stretches(part.text);
            let mut found = stretches.into_iter().flat_map(|stretch| {
                let found = MARKUP.find_iter(&part.text[stretch.clone()]);
                found.map(move |found| stretch.start + found.start()..stretch.start + found.end())
            });
            let Some(first) = found.next() else { continue };
            let message = match found.count() {
                0 => "HTML in prose".to_owned(),
                more => format!("HTML in prose, {} times", more + 1),
            };
            hits.push(Hit::at(part.place, first, message));
        }
    }
}
