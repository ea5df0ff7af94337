//! The known name nearest to a mistyped one.
//!
//! Every refusal of a name offers the one that was probably meant; one notion of "near" serves columns of
//! files, flags, models and adapters.

use std::path::Path;

use hone_ledger::words::{path_for_shell, quoted};

/// The known name within a third of its length in edits, if there is one.
pub fn nearest<'a>(asked: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edits(asked, name), name))
        .filter(|(distance, name)| *distance <= name.chars().count().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The known names that could be meant, nearest first: those that [`nearest`] would take, and those of which one holds the
/// other, whatever their case. At most three.
pub fn several<'a>(asked: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let lower = asked.to_lowercase();
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let known = name.to_lowercase();
            let distance = edits(&lower, &known);
            let is_near = distance <= known.chars().count().max(3) / 3;
            let is_part = lower.len() > 2 && known.contains(&lower)
                || known.len() > 2 && lower.contains(&known);
            (is_near || is_part).then_some((distance, name))
        })
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter()
        .take(3)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// What to do about a path that leads nowhere: the name beside it that was probably meant, or what there is.
pub fn instead_of(path: &Path) -> String {
    const SHOWN: usize = 8;
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let Ok(entries) = std::fs::read_dir(dir) else {
        return format!(
            "check the path: {} is no directory that can be looked into",
            dir.display()
        );
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    let asked = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(near) = nearest(&asked, names.iter().map(String::as_str)) {
        return format!(
            "did you mean {}?",
            path_for_shell(&path.with_file_name(near))
        );
    }
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let names: Vec<String> = names.iter().map(|name| quoted(name).to_string()).collect();
    match (names.is_empty(), more) {
        (true, _) => format!("check the path: {} is empty", dir.display()),
        (false, 0) => format!(
            "check the path: {} holds {}",
            dir.display(),
            names.join(", ")
        ),
        (false, more) => format!(
            "check the path: {} holds {} and {more} more",
            dir.display(),
            names.join(", ")
        ),
    }
}

/// Insertions, deletions, substitutions and swaps of neighbours that lead from one to the other (optimal string
/// alignment), two rows of the table at a time.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut above: Vec<usize> = vec![0; to.len() + 1];
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, &a) in from.iter().enumerate() {
        let mut next = vec![i + 1; to.len() + 1];
        for (j, &b) in to.iter().enumerate() {
            let substituted = row[j] + usize::from(a != b);
            next[j + 1] = substituted.min(row[j + 1] + 1).min(next[j] + 1);
            let is_swap = i > 0 && j > 0 && a == to[j - 1] && b == from[i - 1];
            if is_swap {
                next[j + 1] = next[j + 1].min(above[j - 1] + 1);
            }
        }
        above = std::mem::replace(&mut row, next);
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["max-length", "batch-size", "lr"];

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        assert_eq!(nearest("max-lenght", KNOWN), Some("max-length"));
        assert_eq!(nearest("batchsize", KNOWN), Some("batch-size"));
    }

    #[test]
    fn a_foreign_name_finds_nothing() {
        assert_eq!(nearest("per_device_train_batch_size", KNOWN), None);
        assert_eq!(nearest("lora-rank", KNOWN), None);
    }

    #[test]
    fn edits_count_insertions_deletions_substitutions_and_swaps() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
        assert_eq!(edits("rnak", "rank"), 1);
    }
}
