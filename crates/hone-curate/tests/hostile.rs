//! Texts made to hurt the rules: each rule looks at a long one in bounded time, whatever it sees in it.
//!
//! Files made to hurt the readers are in `crates/hone-data/tests/hostile.rs`.

use std::time::{Duration, Instant};

use hone_curate::Row;
use hone_curate::recipe::ruled;
use hone_data::Record;
use serde_json::json;

/// Far more than a row has, far less than a row may have.
const BYTES: usize = 1 << 17;

/// What a rule may take for it on a busy machine, where the slowest takes a fraction of one; a square of the length would take forty.
const SECONDS: u64 = 10;

#[test]
fn no_text_takes_a_rule_longer_than_its_length_does() {
    let pieces = [
        "a",
        "A",
        "1",
        "@",
        ".",
        " ",
        "\n",
        "-",
        "+1 ",
        "1 2 ",
        "0-",
        "(0 ",
        "a@b.de ",
        "a.",
        "12.34.56.78 ",
        "::",
        "ab:",
        "Ana ",
        "A. ",
        "Ana van der ",
        "1 Main Street ",
        "X Inc. ",
        "DE89",
        "AKIA",
        "http://a:b@",
        "<a ",
        "&amp;",
        "{{",
        "{% for x in y %}",
        "(a+)+$",
        "(c) 2020 A ",
        "SPDX-License-Identifier: ",
        "never kill you ",
        "\"not\" idiot ",
        "é",
        "Ã©",
        "\u{200b}",
        "你好",
        "```",
        "# ",
        "- a\n",
        "…",
        "a\n;\n",
        "` a",
        "\"a",
        "Hi. ",
        "<!--",
        "word word. ",
    ];
    let rules = ruled(&Default::default()).unwrap();
    let mut slow = Vec::new();
    for piece in pieces {
        let text = piece.repeat(BYTES / piece.len());
        for (prompt, reply) in [("Why?", text.as_str()), (text.as_str(), "So.")] {
            let row = json!({ "prompt": prompt, "completion": reply });
            let record = Record::from_json(&row.to_string()).unwrap();
            for rule in rules
                .iter()
                .filter_map(|ruled| Some((ruled.doc.name, ruled.rule.as_ref()?)))
            {
                let started = Instant::now();
                let mut hits = Vec::new();
                rule.1.check(&Row::new(&record, None), &mut hits);
                let took = started.elapsed();
                if took > Duration::from_secs(SECONDS) {
                    slow.push(format!(
                        "{}: {piece:?}, {} hits: {took:?}",
                        rule.0,
                        hits.len()
                    ));
                    eprintln!("{}", slow.last().unwrap());
                }
            }
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}
