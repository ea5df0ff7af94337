//! The command that is running, to be offered again with an option more.

use hone_curate::decisions::Again;

/// The command of this process, without what only says how it talks. A dataset that was built does not change: the next one
/// stands beside it.
pub fn again() -> Again {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    of(&words)
}

/// What is added to the name of a directory for the one that is built with decisions made.
const DECIDED: &str = "-decided";

fn of(words: &[String]) -> Again {
    let (options, operands) = match words.iter().position(|word| word == "--") {
        Some(at) => words.split_at(at),
        None => (words, &[] as &[String]),
    };
    let mut again = Again {
        words: vec!["hone".into()],
        same: vec!["hone".into()],
        operands: operands.to_vec(),
    };
    let decided = |out: &str| format!("{}{DECIDED}", out.trim_end_matches('/'));
    let mut is_out = false;
    for word in options {
        let said = match (is_out, word.strip_prefix("--out=")) {
            (true, _) => decided(word),
            (_, Some(out)) => format!("--out={}", decided(out)),
            _ if matches!(word.as_str(), "--json" | "--quiet" | "-q") => continue,
            _ => word.clone(),
        };
        is_out = word == "--out";
        again.words.push(said);
        again.same.push(word.clone());
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_offered_again_with_another_directory_and_without_what_says_how_it_talks() {
        let again = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            of(&words).with("--rule email=redact")
        };
        assert_eq!(
            again("data build --json --from a.jsonl --out runs/a/ -q"),
            "hone data build --from a.jsonl --out runs/a-decided --rule email=redact"
        );
        assert_eq!(
            again("data check -- --odd.jsonl"),
            "hone data check --rule email=redact -- --odd.jsonl"
        );
    }
}
