//! Answers that are to be JSON: whether they are, and how many of the expected fields they have right.
//!
//! There is no reference that everybody quotes; these are the rules, chosen so that a score can be explained from the
//! answer. Numbers are equal when their values are (`1` and `1.0`), the order of an object's keys does not count, that of a
//! list's elements does.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::exact::is_space;

/// An answer read as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The value; `None` when the answer is no JSON.
    pub value: Option<Value>,
    /// Whether it stood in a block of code, as chat models like to write it; a program that reads the bare answer would have
    /// failed on it.
    pub is_fenced: bool,
}

/// Reads a whole answer as one JSON value, with or without a block of code around it. Nothing is repaired, and nothing is
/// looked for in between other words.
pub fn read(answer: &str) -> Reading {
    let answer = answer.trim_matches(is_space);
    let fenced = unfenced(answer);
    Reading {
        value: serde_json::from_str(fenced.unwrap_or(answer)).ok(),
        is_fenced: fenced.is_some(),
    }
}

/// What stands between the first and the last line, when those are a block's.
fn unfenced(answer: &str) -> Option<&str> {
    let inner = answer.strip_prefix("```")?.strip_suffix("```")?;
    let (language, inner) = inner.split_once('\n')?;
    language
        .trim_end()
        .chars()
        .all(char::is_alphanumeric)
        .then_some(inner)
}

/// How far a value is the expected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FieldScore {
    /// Whether the two are equal.
    pub equal: bool,
    /// The share of the answer's fields that are expected.
    pub precision: f64,
    /// The share of the expected fields that the answer has, with the right value.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// Compares field by field; a field is a path to a value that is neither a list nor an object, or an empty one of those. An
/// answer that is no JSON has no field right.
pub fn fields(expected: &Value, said: Option<&Value>) -> FieldScore {
    let Some(said) = said else {
        return FieldScore::default();
    };
    let right = count_same(expected, said) as f64;
    let (wanted, given) = (count_fields(expected) as f64, count_fields(said) as f64);
    FieldScore {
        equal: same(expected, said),
        precision: right / given,
        recall: right / wanted,
        f1: 2.0 * right / (given + wanted),
    }
}

/// How many fields two values share.
pub(super) fn count_same(a: &Value, b: &Value) -> usize {
    let (a, b) = (leaves(a), leaves(b));
    let by_path: HashMap<&str, &Value> = b.iter().map(|(path, value)| (&**path, *value)).collect();
    let is_same = |(path, value): &&(String, &Value)| {
        let other = by_path.get(path.as_str());
        other.is_some_and(|other| same(other, value))
    };
    a.iter().filter(is_same).count()
}

/// How many fields a value has, at least one.
pub(super) fn count_fields(value: &Value) -> usize {
    leaves(value).len()
}

/// Whether two values are equal.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            // Whole numbers beyond 2^53 are not compared as the same rounded one.
            let whole = |n: &serde_json::Number| n.is_i64() || n.is_u64();
            if whole(a) && whole(b) {
                a == b
            } else {
                a.as_f64() == b.as_f64()
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let found = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(found)
        }
        _ => a == b,
    }
}

/// Every leaf with its path, as a JSON pointer (RFC 6901). Values that were read are at most 128 deep.
fn leaves(value: &Value) -> Vec<(String, &Value)> {
    fn walk<'a>(path: &mut String, value: &'a Value, leaves: &mut Vec<(String, &'a Value)>) {
        let mut step = |name: &str, value: &'a Value| {
            let end = path.len();
            path.push('/');
            path.push_str(name);
            walk(path, value, leaves);
            path.truncate(end);
        };
        match value {
            Value::Object(map) if !map.is_empty() => map
                .iter()
                .for_each(|(key, value)| step(&key.replace('~', "~0").replace('/', "~1"), value)),
            Value::Array(list) if !list.is_empty() => list
                .iter()
                .enumerate()
                .for_each(|(at, value)| step(&at.to_string(), value)),
            _ => leaves.push((path.clone(), value)),
        }
    }
    let mut leaves = vec![];
    walk(&mut String::new(), value, &mut leaves);
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_block_of_code_is_opened_and_nothing_is_repaired() {
        let bare = read(" {\"a\": 1}\n");
        assert_eq!((bare.value, bare.is_fenced), (Some(json!({"a": 1})), false));
        let fenced = read("```json\n[1, 2]\n```");
        assert_eq!(
            (fenced.value, fenced.is_fenced),
            (Some(json!([1, 2])), true)
        );
        for broken in [
            "",
            "{'a': 1}",
            "{\"a\": 1,}",
            "Here: {}",
            "{} {}",
            "```json\n{}",
            "NaN",
        ] {
            assert_eq!(read(broken).value, None, "{broken}");
        }
        assert_eq!(read(&"[".repeat(100_000)).value, None);
    }

    #[test]
    fn fields_are_paths_with_values() {
        let expected = json!({"name": "x", "size": {"w": 1, "h": 2}, "tags": ["a", "b"]});
        let said =
            json!({"tags": ["b", "a"], "size": {"w": 1.0, "h": 3}, "name": "x", "more": null});
        let score = fields(&expected, Some(&said));
        assert!(!score.equal);
        // `name` and `size/w`, of five that are expected and six that were given.
        assert_eq!((score.precision, score.recall), (2.0 / 6.0, 2.0 / 5.0));
        assert!((score.f1 - 4.0 / 11.0).abs() < 1e-15);
        assert_eq!(fields(&expected, Some(&expected)).f1, 1.0);
        assert!(fields(&expected, Some(&expected)).equal);
        assert_eq!(fields(&expected, None), FieldScore::default());
    }

    #[test]
    fn empty_values_and_keys_with_slashes_are_fields_too() {
        assert!(!fields(&json!({"a": []}), Some(&json!({"a": {}}))).equal);
        assert!(fields(&json!({}), Some(&json!({}))).equal);
        assert!(!fields(&json!({"a/b": 1}), Some(&json!({"a": {"b": 1}}))).equal);
        let large = json!(9_007_199_254_740_993_u64);
        assert!(!same(&large, &json!(9_007_199_254_740_992_u64)));
        assert!(same(&json!({"a": [1]}), &json!({"a": [1.0]})));
    }
}
