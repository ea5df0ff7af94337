//! Made-up rows with known copies, for tests.

use hone_data::{Body, Record, Source};
use hone_ledger::{Seed, Stream};
use hone_text::{Conversation, Role, Turn};

use super::{Fingerprint, Fingerprints, NearOptions};

/// Forty-word texts, each followed by a copy in which `changed` words are others.
pub fn copies(originals: usize, changed: usize, seed: u64) -> Vec<Record> {
    let mut stream = Seed::new(seed).stream();
    let mut rows = Vec::new();
    for _ in 0..originals {
        let mut words: Vec<String> = (0..40).map(|_| word(&mut stream)).collect();
        rows.push(text(&words.join(" ")));
        for _ in 0..changed {
            let at = stream.below(words.len() as u64) as usize;
            words[at] = word(&mut stream);
        }
        rows.push(text(&words.join(" ")));
    }
    rows
}

fn word(stream: &mut Stream) -> String {
    letters(stream.below(5000))
}

pub fn text(text: &str) -> Record {
    record(Body::Text(text.into()))
}

pub fn chat(prompt: &str, reply: &str) -> Record {
    record(Body::Chat(Conversation::new([
        Turn::new(Role::User, prompt),
        Turn::new(Role::Assistant, reply),
    ])))
}

fn record(body: Body) -> Record {
    Record {
        task: "t".into(),
        group: None,
        origin: None,
        licence: None,
        copies: 1,
        body,
        source: Source::new("f", 1),
    }
}

pub fn prints(rows: &[Record]) -> Vec<Fingerprint> {
    let fingerprints = Fingerprints::new(&NearOptions::default());
    rows.iter()
        .enumerate()
        .map(|(row, record)| fingerprints.of(row, record))
        .collect()
}

/// A word without digits: those would tell rows apart.
fn letters(mut number: u64) -> String {
    let mut word = String::from("w");
    for _ in 0..5 {
        word.push(char::from(b'a' + (number % 7 + 3 * (number % 3)) as u8));
        number /= 5;
    }
    word
}
