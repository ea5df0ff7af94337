//! The known name nearest to a mistyped one.
//!
//! Every refusal of a name offers the one that was probably meant; one notion of "near" serves columns of
//! files, flags, models and adapters.

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
