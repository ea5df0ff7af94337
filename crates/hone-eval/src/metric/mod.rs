//! From texts to numbers. Each metric follows the implementation that papers and harnesses quote, to the last
//! digit, and says which one that is: a number that cannot be compared with anyone else's is not worth a column.

pub mod exact;
pub mod repetition;
pub mod rouge;

#[cfg(test)]
mod tests {
    use super::{exact, rouge};
    use serde_json::Value;

    fn golden() -> Vec<Value> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/golden/rouge.json"
        );
        let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(rows.len() >= 60, "only {} pairs", rows.len());
        rows
    }

    #[test]
    fn rouge_l_equals_rouge_score_to_the_last_bit() {
        for row in golden() {
            let (target, prediction) = (
                row["target"].as_str().unwrap(),
                row["prediction"].as_str().unwrap(),
            );
            let score = rouge::rouge_l(target, prediction);
            for (name, ours) in [
                ("precision", score.precision),
                ("recall", score.recall),
                ("f", score.f),
            ] {
                assert_eq!(
                    Some(ours),
                    row["rougeL"][name].as_f64(),
                    "{name} of {prediction:?} for {target:?}"
                );
            }
        }
    }

    #[test]
    fn exact_match_equals_the_squad_script() {
        for row in golden() {
            let (target, prediction) = (
                row["target"].as_str().unwrap(),
                row["prediction"].as_str().unwrap(),
            );
            let ours = exact::exact_match(target, prediction, exact::Rule::Squad);
            assert_eq!(
                Some(ours),
                row["exact_match"].as_bool(),
                "{prediction:?} for {target:?}"
            );
        }
    }
}
