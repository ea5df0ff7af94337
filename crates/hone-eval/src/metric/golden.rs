//! Every metric beside the package it follows, on the pairs of `fixtures/scripts/golden_metrics.py`.

use serde_json::Value;

use super::bleu::{self, Bleu};
use super::chrf::{self, Chrf};
use super::classification::Confusion;
use super::ifeval::{self, Instruction};
use super::lm_eval::{ExactMatch, last_number, strict_number};
use super::schema::Schema;
use super::{exact, porter, rouge};

fn golden(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden");
    serde_json::from_slice(&std::fs::read(format!("{folder}/{name}")).unwrap()).unwrap()
}

fn rows(name: &str, at_least: usize) -> Vec<Value> {
    let Value::Array(rows) = golden(name) else {
        panic!("{name} is no list")
    };
    assert!(rows.len() >= at_least, "only {} rows", rows.len());
    rows
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().unwrap();
    list.iter().map(|text| text.as_str().unwrap()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Pairs with one to four targets, empty ones and such in several scripts among them.
fn pairs() -> Vec<Value> {
    let pairs = rows("metrics_text.json", 1000);
    let count = |holds: fn(&Value) -> bool| pairs.iter().filter(|row| holds(row)).count();
    assert!(count(|row| texts(&row["targets"]).len() > 1) > 300);
    assert!(count(|row| !text(row, "prediction").is_ascii()) > 300);
    assert!(count(|row| text(row, "prediction").trim().is_empty()) > 10);
    pairs
}

#[test]
fn rouge_l_equals_rouge_score_to_the_last_bit() {
    for row in rows("rouge.json", 60) {
        let (target, prediction) = (text(&row, "target"), text(&row, "prediction"));
        let plain = rouge::rouge_l(target, prediction);
        let stemmed = rouge::Scorer::new(true).score(target, prediction).rouge_l;
        for (kind, score) in [("rougeL", plain), ("rougeL_stemmed", stemmed)] {
            let ours = [score.precision, score.recall, score.f];
            for (name, ours) in ["precision", "recall", "f"].into_iter().zip(ours) {
                let theirs = row[kind][name].as_f64();
                assert_eq!(
                    Some(ours),
                    theirs,
                    "{kind} {name} of {prediction:?} for {target:?}"
                );
            }
        }
    }
}

#[test]
fn rouge_of_many_pairs_equals_rouge_score_to_the_last_bit() {
    let scorers = ["rouge", "stemmed"].map(|kind| (kind, kind == "stemmed"));
    let mut scorers = scorers.map(|(kind, stem)| (kind, rouge::Scorer::new(stem)));
    for row in pairs() {
        let (targets, prediction) = (texts(&row["targets"]), text(&row, "prediction"));
        for (kind, scorer) in &mut scorers {
            let scores = scorer.score_multi(&targets, prediction).unwrap();
            let all = [
                scores.rouge1,
                scores.rouge2,
                scores.rouge_l,
                scores.rouge_lsum,
            ];
            let f: Vec<f64> = all.iter().map(|score| score.f).collect();
            assert_eq!(f, numbers(&row[*kind]), "{kind} of {row}");
            if *kind == "rouge" && !row["parts"].is_null() {
                for (score, parts) in all.iter().zip(row["parts"].as_array().unwrap()) {
                    assert_eq!(vec![score.precision, score.recall], numbers(parts), "{row}");
                }
                let three = scorer.rouge_n(3, targets[0], prediction).f;
                assert_eq!(Some(three), row["rouge3"].as_f64(), "{row}");
            }
        }
    }
}

#[test]
fn stems_are_those_of_nltk() {
    let golden = golden("metrics_stems.json");
    let words: Vec<&str> = text(&golden, "words").split(' ').collect();
    let stems: Vec<&str> = text(&golden, "stems").split(' ').collect();
    assert!(words.len() > 4000 && words.len() == stems.len());
    for (word, stem) in words.into_iter().zip(stems) {
        assert_eq!(porter::stem(word), stem, "{word}");
    }
}

#[test]
fn exact_match_equals_the_squad_script() {
    for row in rows("rouge.json", 60) {
        let (target, prediction) = (text(&row, "target"), text(&row, "prediction"));
        let ours = exact::exact_match(target, prediction, exact::Rule::Squad);
        assert_eq!(
            Some(ours),
            row["exact_match"].as_bool(),
            "{prediction:?} for {target:?}"
        );
    }
}

#[test]
fn the_best_of_several_answers_is_squads() {
    for row in pairs() {
        let ours = exact::squad(&texts(&row["targets"]), text(&row, "prediction")).unwrap();
        assert_eq!(
            Some(u64::from(ours.exact_match)),
            row["exact"].as_u64(),
            "{row}"
        );
        assert_eq!(Some(ours.f1), row["f1"].as_f64(), "{row}");
    }
}

fn near(ours: f64, theirs: &Value, what: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!(
        (ours - theirs).abs() <= 1e-9,
        "{ours} is not {theirs}: {what}"
    );
}

#[test]
fn bleu_and_chrf_of_sentences_are_those_of_sacrebleu() {
    for row in pairs() {
        let (targets, prediction) = (texts(&row["targets"]), text(&row, "prediction"));
        let ours = Bleu::SENTENCE.sentence(&targets, prediction).bleu;
        near(ours, &row["bleu"], &row);
        if !row["plain_bleu"].is_null() {
            let ours = Bleu::default().sentence(&targets, prediction).bleu;
            near(ours, &row["plain_bleu"], &row);
        }
        for (at, kind) in [Chrf::Letters, Chrf::Words].into_iter().enumerate() {
            near(kind.sentence(&targets, prediction), &row["chrf"][at], &row);
        }
    }
}

#[test]
fn bleu_and_chrf_of_corpora_and_their_signatures_are_those_of_sacrebleu() {
    let pairs = pairs();
    for corpus in rows("metrics_corpus.json", 10) {
        let references = corpus["references"].as_u64().unwrap() as usize;
        let rows: Vec<(Vec<&str>, &str)> = match corpus["rows"].as_array() {
            Some(rows) => rows
                .iter()
                .map(|at| &pairs[at.as_u64().unwrap() as usize])
                .map(|row| (texts(&row["targets"]), text(row, "prediction")))
                .collect(),
            None => vec![(texts(&corpus["row"][0]), corpus["row"][1].as_str().unwrap())],
        };
        let plain = Bleu::default();
        let lower = Bleu {
            lowercase: true,
            ..plain
        };
        let counts = |bleu: &Bleu| -> bleu::Counts {
            let of = |(all, said): &(Vec<&str>, &str)| bleu.counts(&all[..references], said);
            rows.iter().map(of).sum()
        };
        let score = plain.score(&counts(&plain));
        near(score.bleu, &corpus["bleu"], &corpus);
        near(score.brevity_penalty, &corpus["bp"], &corpus);
        for (ours, theirs) in score
            .precisions
            .iter()
            .zip(corpus["precisions"].as_array().unwrap())
        {
            near(*ours, theirs, &corpus);
        }
        let lengths = counts(&plain);
        let lengths = vec![lengths.predicted as f64, lengths.reference as f64];
        assert_eq!(lengths, numbers(&corpus["lengths"]), "{corpus}");
        near(lower.score(&counts(&lower)).bleu, &corpus["lower"], &corpus);
        for (name, kind) in [("chrf", Chrf::Letters), ("chrf++", Chrf::Words)] {
            let of = |(all, said): &(Vec<&str>, &str)| kind.counts(&all[..references], said);
            let counts: chrf::Counts = rows.iter().map(of).sum();
            near(kind.score(&counts), &corpus[name], &corpus);
        }
        let references = Some(references);
        let ours = [
            plain.signature(references),
            lower.signature(references),
            Chrf::Letters.signature(references),
            Chrf::Words.signature(references),
        ];
        assert_eq!(ours.to_vec(), texts(&corpus["signatures"]));
    }
}

#[test]
fn exact_match_under_every_option_is_that_of_lm_eval() {
    let golden = &rows("metrics_exact.json", 1)[0];
    let regexes: Vec<Vec<&str>> = golden["regexes"]
        .as_array()
        .unwrap()
        .iter()
        .map(texts)
        .collect();
    let pairs = golden["pairs"].as_array().unwrap();
    assert!(pairs.len() * regexes.len() * 8 > 1000);
    for (pair, equal) in pairs.iter().zip(golden["equal"].as_array().unwrap()) {
        let pair = texts(pair);
        for (regexes, bits) in regexes.iter().zip(numbers(equal)) {
            for flags in 0..8 {
                let rule = ExactMatch {
                    ignore_case: flags & 1 != 0,
                    ignore_punctuation: flags & 2 != 0,
                    ignore_numbers: flags & 4 != 0,
                    ..ExactMatch::default()
                };
                let ours = rule.ignoring(regexes).unwrap().matches(pair[1], pair[0]);
                let theirs = bits as u64 >> flags & 1 == 1;
                assert_eq!(ours, theirs, "{pair:?} {flags} {regexes:?}");
            }
        }
    }
}

#[test]
fn numbers_are_found_as_by_the_filters_of_gsm8k() {
    for row in rows("metrics_exact.json", 1)[0]["numbers"]
        .as_array()
        .unwrap()
    {
        let row = texts(row);
        let ours = [strict_number(row[0]), last_number(row[0])];
        let ours = ours.map(|number| number.unwrap_or("[invalid]"));
        assert_eq!(ours, row[1..], "{:?}", row[0]);
    }
}

#[test]
fn scores_of_labels_are_those_of_scikit_learn() {
    for case in rows("metrics_labels.json", 8) {
        let said = case["said"].as_array().unwrap().iter().map(Value::as_str);
        let confusion = Confusion::of(
            &texts(&case["names"]),
            texts(&case["gold"]).into_iter().zip(said),
        )
        .unwrap();
        near(confusion.accuracy(), &case["accuracy"], &case);
        near(confusion.mcc(), &case["mcc"], &case);
        near(confusion.macro_f1(), &case["macro"], &case);
        near(confusion.micro_f1(), &case["micro"], &case);
        for (at, label) in confusion.per_label().into_iter().enumerate() {
            near(label.precision, &case["precision"][at], &case);
            near(label.recall, &case["recall"][at], &case);
            near(label.f1, &case["f1"][at], &case);
            assert_eq!(Some(label.support), case["support"][at].as_u64());
            let mut counts: Vec<f64> = confusion.counts[at].iter().map(|c| *c as f64).collect();
            counts.push(confusion.unparseable[at] as f64);
            assert_eq!(counts, numbers(&case["confusion"][at]));
        }
    }
}

/// Counts agreement as well: where models of language decide, it is not whole.
#[test]
fn instructions_are_judged_as_by_lm_eval() {
    let mut rows = rows("metrics_ifeval.json", 150).into_iter();
    let head = rows.next().unwrap();
    let listed = head["instructions"].as_array().unwrap();
    let read = |pair: &Value| Instruction::read(pair[0].as_str().unwrap(), &pair[1]).unwrap();
    let instructions: Vec<Instruction> = listed.iter().map(read).collect();
    let kinds: std::collections::BTreeSet<&str> = listed
        .iter()
        .map(|pair| pair[0].as_str().unwrap())
        .collect();
    assert_eq!(kinds.len(), 25);
    let models_from = head["models_of_language_from"].as_u64().unwrap() as usize;
    // Of a few words neither side can tell a language, so long answers are counted apart.
    let (mut judged, mut same) = ([0; 2], [0; 2]);
    for row in rows {
        let row = texts(&row);
        let ours = [
            ifeval::strict(&instructions, row[0]),
            ifeval::loose(&instructions, row[0]),
        ];
        for (ours, theirs) in ours.iter().zip(&row[1..]) {
            for (at, theirs) in theirs.bytes().map(|digit| digit == b'1').enumerate() {
                let ours = ours.instructions[at];
                if at < models_from {
                    assert_eq!(ours, theirs, "{} of {:?}", listed[at], row[0]);
                } else {
                    let is_long = usize::from(row[0].chars().count() >= 50);
                    judged[is_long] += 1;
                    same[is_long] += usize::from(ours == theirs);
                }
            }
        }
    }
    let shares = [0, 1].map(|at| same[at] as f64 / f64::from(judged[at]));
    assert!(
        shares[0] > 0.95 && shares[1] > 0.98,
        "{shares:?} of {judged:?}"
    );
}

#[test]
fn values_are_valid_as_by_jsonschema() {
    let mut rows = rows("metrics_schema.json", 40).into_iter();
    let values = rows.next().unwrap()["values"].as_array().unwrap().clone();
    assert!(values.len() > 40);
    for row in rows {
        let schema = Schema::read(&row[0]).unwrap();
        for (value, theirs) in values.iter().zip(row[1].as_str().unwrap().bytes()) {
            let ours = schema.check(value);
            assert_eq!(
                ours.is_ok(),
                theirs == b'1',
                "{value} by {}: {ours:?}",
                row[0]
            );
        }
    }
}
