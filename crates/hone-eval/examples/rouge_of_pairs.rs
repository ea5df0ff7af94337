//! ROUGE of a file of pairs, for `bench/rouge.py`: `rouge_of_pairs PAIRS.jsonl [--stemmer] [--repeats N]`.
//!
//! A row is `{"target": …, "prediction": …}`. Prints one JSON object: the seconds of each repeat, reading the file left
//! out, and F of ROUGE-1, -2, -L and -Lsum of every row.

use std::time::Instant;

use hone_eval::metric::rouge::{Scorer, Scores};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments
        .first()
        .ok_or("rouge_of_pairs PAIRS.jsonl [--stemmer] [--repeats N]")?;
    let use_stemmer = arguments.iter().any(|argument| argument == "--stemmer");
    let repeats = arguments
        .iter()
        .skip_while(|argument| *argument != "--repeats")
        .nth(1);
    let repeats: usize = repeats.map_or(Ok(5), |repeats| repeats.parse())?;

    let text = std::fs::read_to_string(path)?;
    let rows: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let of = |row: &Value, name| row[name].as_str().unwrap_or_default().to_string();
    let pairs: Vec<(String, String)> = rows
        .iter()
        .map(|row| (of(row, "target"), of(row, "prediction")))
        .collect();

    let (mut seconds, mut scores) = (vec![], vec![]);
    for _ in 0..repeats {
        let started = Instant::now();
        // A new one each time: it has yet to meet every word.
        let mut scorer = Scorer::new(use_stemmer);
        scores = pairs
            .iter()
            .map(|(target, said)| scorer.score(target, said))
            .collect();
        seconds.push(started.elapsed().as_secs_f64());
    }
    let f = |score: &Scores| {
        [
            score.rouge1.f,
            score.rouge2.f,
            score.rouge_l.f,
            score.rouge_lsum.f,
        ]
    };
    let scores: Vec<[f64; 4]> = scores.iter().map(f).collect();
    println!("{}", json!({"seconds": seconds, "scores": scores}));
    Ok(())
}
