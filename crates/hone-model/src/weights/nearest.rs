//! Names that are nearly one that was meant.

/// The name among `known` that takes the fewest changed letters, when it is close at all.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let far = name.len() / 3;
    // Lengths alone tell most names apart, and a hostile one may be long.
    let known = known.filter(|other| name.len().abs_diff(other.len()) <= far);
    let (distance, near) = known.map(|other| (distance(name, other), other)).min()?;
    (distance <= far).then(|| near.to_owned())
}

/// Levenshtein's distance in bytes.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_with_fewest_changes() {
        let known = [
            "model.norm.weight",
            "lm_head.weight",
            "model.layers.0.mlp.up_proj.weight",
        ];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(
            near("model.norms.weight").as_deref(),
            Some("model.norm.weight")
        );
        assert_eq!(near("transformer.h.0.attn"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
