//! What a row was found to say about a person stands nowhere in what is left of it, wherever it stood and however it was written.

use std::collections::HashSet;

use hone_curate::recipe::ruled;
use hone_curate::redact::Pseudonyms;
use hone_curate::{Action, Decision, Examiner, Family, Finding};
use hone_data::Record;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Values that rules find wherever they stand, each written in two ways.
const VALUES: &[[&str; 2]] = &[
    ["bo.lund@kranich-it.ch", "bo.lund [at] kranich-it [dot] ch"],
    ["4539578763621486", "4539 5787 6362 1486"],
    ["DE02120300000000202051", "DE02 1203 0000 0000 2020 51"],
    ["+41 79 234 56 78", "+41\u{a0}79\u{a0}234\u{a0}56\u{a0}78"],
    ["756.9217.0769.85", "756.9217.0769.85"],
    [
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    ],
    ["a4:5e:60:c2:11:9c", "A4-5E-60-C2-11-9C"],
    [
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
    ],
    ["93.184.217.34", "93.184.217.34"],
    ["1985年3月12日", "12.03.1985"],
];

/// What stands around a value.
const AROUND: &[[&str; 2]] = &[
    ["", ""],
    ["born, phone, card: ", "."],
    ["“", "” ok"],
    ["出生电话", "请"],
    ["{\"born phone\": \"", "\", \"n\": 1}"],
    ["{\"card\": ", ", \"n\": 1}"],
    ["https://lina:", "@db.hafenkontor.no/x"],
    ["| born | phone |\n|---|---|\n| a | ", " |"],
    ["tel=", "&x=1"],
    ["<b>", "</b>"],
];

fn text() -> impl Strategy<Value = String> {
    let one = (0..VALUES.len(), 0..2usize, 0..AROUND.len());
    let some = prop::collection::vec(one, 1..4);
    some.prop_map(|some| {
        let said = some.iter().map(|&(value, form, around)| {
            let [before, after] = AROUND[around];
            format!("{before}{}{after}", VALUES[value][form])
        });
        said.collect::<Vec<_>>().join(" – ")
    })
}

fn row() -> impl Strategy<Value = Value> {
    // A reply that says its prompt again is left out by `echoed-reply`, with all that is in it.
    let texts = prop::collection::vec(text(), 5).prop_filter("a text comes twice", |texts| {
        texts.iter().collect::<HashSet<_>>().len() == texts.len()
    });
    (texts, any::<[bool; 3]>()).prop_map(|(texts, with)| {
        let arguments = json!({ "what": texts[0], "pan": 4539578763621486u64, "bo.lund@kranich-it.ch": 1 });
        let call = json!({ "id": "c1", "type": "function", "function": { "name": "save", "arguments": arguments } });
        let mut row = json!({ "messages": [
            { "role": "system", "content": texts[1] },
            { "role": "user", "content": texts[2] },
            { "role": "assistant", "content": "", "tool_calls": [call] },
            { "role": "tool", "content": texts[3], "tool_call_id": "c1", "name": "save" },
            { "role": "assistant", "content": texts[4], "reasoning_content": texts[0] },
        ] });
        if with[0] {
            row["group"] = texts[1].clone().into();
        }
        if with[1] {
            row["origin"] = texts[2].clone().into();
        }
        if with[2] {
            row["tools"] = json!([{ "type": "function", "function": { "name": "save", "description": texts[3], "default": 4539578763621486u64 } }]);
        }
        row
    })
}

/// What was seen, as it was read.
fn seen(record: &Record, finding: &Finding) -> Option<String> {
    let [start, end] = finding.span?;
    let place = finding.place.as_deref()?;
    let parts = record
        .parts()
        .map(|part| (part.place.to_string(), part.text.to_owned()));
    let beside = record
        .beside()
        .into_iter()
        .map(|beside| (beside.place.to_string(), beside.text.into_owned()));
    let (_, text) = parts.chain(beside).find(|(name, _)| name == place)?;
    Some(text[start..end].to_owned())
}

/// The texts, keys and numbers of a value.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, field)| {
            found.push(key.clone());
            leaves(field, found);
        }),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_was_found_is_left_in_a_row_or_in_what_is_told_of_it(row in row(), pseudonymise: bool) {
        let dir = tempfile::tempdir().unwrap();
        let pseudonyms = Pseudonyms::open(&dir.path().join("key"), || Ok("k".into())).unwrap();
        let mut rules = ruled(&Default::default()).unwrap();
        for rule in rules.iter_mut().filter(|rule| rule.doc.family == Family::PersonalData && rule.action != Action::Off) {
            rule.action = if pseudonymise { Action::Pseudonymise } else { Action::Redact };
        }
        let record = Record::from_json(&row.to_string()).unwrap();
        let examined = Examiner::new(&rules, Some(&pseudonyms)).examine(record.clone(), None);
        let changed = examined.findings.iter().filter(|finding| finding.decision == Decision::Changed);
        let values: Vec<String> = changed.filter_map(|finding| seen(&record, finding)).collect();
        prop_assert!(!values.is_empty());
        let mut left = Vec::new();
        leaves(&examined.record.unwrap().to_json(), &mut left);
        for finding in &examined.findings {
            left.extend([finding.evidence.clone(), finding.message.clone()]);
        }
        for value in values {
            let whole = left.iter().find(|text| text.contains(&value));
            prop_assert!(whole.is_none(), "{value:?} in {whole:?} of {row}");
        }
    }
}
