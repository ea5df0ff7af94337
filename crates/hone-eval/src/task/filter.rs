//! What is taken out of an answer before it is scored: lm-evaluation-harness's filters, in the order in which they stand.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::TaskError;
use super::is_space;
use super::keys::Keys;
use super::text::shown;
use crate::metric::wrong_in_pattern;

/// A chain of steps under a name: each makes a score of its own.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub name: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Regex {
        pattern: Regex,
        group: i64,
        fallback: String,
    },
    Lowercase,
    Uppercase,
    RemoveWhitespace,
    Map {
        texts: BTreeMap<String, String>,
        otherwise: String,
    },
    TakeFirst,
    TakeFirstK(usize),
    MajorityVote,
}

/// Names of the steps.
const STEPS: [&str; 8] = [
    "regex",
    "take_first",
    "take_first_k",
    "majority_vote",
    "lowercase",
    "uppercase",
    "remove_whitespace",
    "map",
];

/// The pattern of a `regex` that names none: GSM8K's.
const PATTERN: &str = r"#### (\-?[0-9\.\,]+)";

impl Filter {
    /// What is used where a task names none: the first answer.
    pub fn none() -> Self {
        Self {
            name: "none".into(),
            steps: vec![Step::TakeFirst],
        }
    }

    /// Does it leave the first answer as it is?
    pub fn is_none(&self) -> bool {
        self.steps
            .iter()
            .all(|step| matches!(step, Step::TakeFirst))
    }

    /// A filter of a file; `steps` is its key for the chain, `function` the key of a step's name.
    pub fn read(
        mut keys: Keys<'_>,
        steps: &'static str,
        function: &'static str,
        repeats: usize,
    ) -> Result<Self, TaskError> {
        let name = keys.text("name")?;
        let name = name.ok_or_else(|| keys.wrong("name", "is missing: what a filter is called"))?;
        let chain = keys.list(steps)?.unwrap_or_default();
        let mut read = Vec::new();
        for (at, step) in chain.into_iter().enumerate() {
            let key = format!("{steps}[{at}]");
            let mut keys = match step {
                // A step without options is its name.
                Value::String(name) => {
                    let map = [(function.to_owned(), Value::String(name))];
                    keys.within(&key, Value::Object(map.into_iter().collect()))?
                }
                other => keys.within(&key, other)?,
            };
            read.push(Step::read(&mut keys, function, repeats)?);
            keys.finish()?;
        }
        let is_single = |step: &Step| matches!(step, Step::TakeFirst);
        if !read.iter().any(is_single) {
            return Err(keys.wrong_with(
                steps,
                "leaves a list of answers",
                "end it with `take_first`, which leaves one",
            ));
        }
        keys.finish()?;
        Ok(Self { name, steps: read })
    }

    /// What is left of the answers to one question.
    pub fn apply(&self, answers: &[String]) -> String {
        let mut answers = answers.to_vec();
        for step in &self.steps {
            step.apply(&mut answers);
        }
        answers.into_iter().next().unwrap_or_default()
    }
}

impl Step {
    fn read(
        keys: &mut Keys<'_>,
        function: &'static str,
        repeats: usize,
    ) -> Result<Self, TaskError> {
        let name = keys.text(function)?;
        let name = name.ok_or_else(|| keys.wrong(function, "is missing: what the step does"))?;
        Ok(match name.as_str() {
            "regex" => {
                let text = keys.text("regex_pattern")?;
                let text = text.unwrap_or_else(|| PATTERN.to_owned());
                let pattern = Regex::new(&text).map_err(|error| {
                    let why = wrong_in_pattern(&error);
                    keys.wrong("regex_pattern", format!("cannot be used: {why}"))
                })?;
                let group = keys.take("group_select").unwrap_or(0.into());
                let group = group.as_i64();
                let group =
                    group.ok_or_else(|| keys.wrong("group_select", "must be a whole number"))?;
                let fallback = keys.text("fallback")?;
                Self::Regex {
                    pattern,
                    group,
                    fallback: fallback.unwrap_or_else(|| "[invalid]".into()),
                }
            }
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            "remove_whitespace" => Self::RemoveWhitespace,
            "map" => {
                let Some(Value::Object(map)) = keys.take("mapping_dict") else {
                    return Err(keys.wrong("mapping_dict", "must be a table of texts"));
                };
                let texts = map.iter().map(|(key, text)| (key.clone(), shown(text)));
                let otherwise = keys.take("default_value").unwrap_or_default();
                Self::Map {
                    texts: texts.collect(),
                    otherwise: shown(&otherwise),
                }
            }
            "take_first" => Self::TakeFirst,
            "take_first_k" => match keys.number("k")? {
                Some(k) if (1..=repeats).contains(&k) => Self::TakeFirstK(k),
                _ => {
                    let what =
                        format!("must be from 1 to the number of answers, which is {repeats}");
                    return Err(keys.wrong("k", what));
                }
            },
            "majority_vote" if repeats > 1 => Self::MajorityVote,
            "majority_vote" => {
                return Err(keys.wrong_with(
                    function,
                    "is majority_vote, and there is one answer to vote on",
                    "`repeats` says how many answers a question is given",
                ));
            }
            other => {
                let other = hone_ledger::words::quoted(other);
                let what = format!("names the filter `{other}`, which Hone has not");
                let hint = format!("filters: {}", STEPS.join(", "));
                return Err(keys.wrong_with(function, what, hint));
            }
        })
    }

    fn apply(&self, answers: &mut Vec<String>) {
        let each = |answers: &mut Vec<String>, of: &dyn Fn(&str) -> String| {
            answers.iter_mut().for_each(|answer| *answer = of(answer));
        };
        match self {
            Self::Regex {
                pattern,
                group,
                fallback,
            } => each(answers, &|answer| {
                found(pattern, *group, answer).unwrap_or_else(|| fallback.clone())
            }),
            Self::Lowercase => each(answers, &str::to_lowercase),
            Self::Uppercase => each(answers, &str::to_uppercase),
            Self::RemoveWhitespace => {
                each(answers, &|answer| answer.trim_matches(is_space).to_owned());
            }
            Self::Map { texts, otherwise } => each(answers, &|answer| {
                texts.get(answer).unwrap_or(otherwise).clone()
            }),
            Self::TakeFirst => answers.truncate(1),
            Self::TakeFirstK(k) => answers.truncate(*k),
            Self::MajorityVote => {
                // Of those that come equally often the first, as Python's `Counter` has it.
                let times = |answer: &String| answers.iter().filter(|a| *a == answer).count();
                let most = answers.iter().map(times).max();
                let voted = answers.iter().find(|answer| Some(times(answer)) == most);
                *answers = voted.cloned().into_iter().collect();
            }
        }
    }
}

/// Which of the matches is chosen, as Python's `findall` gives them: a match's group, where there is one; of several groups
/// the first that is not empty.
fn found(pattern: &Regex, chosen: i64, answer: &str) -> Option<String> {
    let matches: Vec<regex::Captures<'_>> = pattern.captures_iter(answer).collect();
    let at = match chosen {
        0.. => usize::try_from(chosen).ok()?,
        _ => matches.len().checked_sub(chosen.unsigned_abs() as usize)?,
    };
    let captures = matches.get(at)?;
    let group = |at: usize| captures.get(at).map_or("", |group| group.as_str());
    let text = match captures.len() {
        1 => group(0),
        2 => group(1),
        groups => (1..groups).map(group).find(|text| !text.is_empty())?,
    };
    Some(text.trim_matches(is_space).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn filter(steps: Value, repeats: usize) -> Result<Filter, String> {
        let map = json!({"name": "f", "filter": steps});
        let keys = Keys::new(Path::new("t.yaml"), map.as_object().unwrap().clone());
        Filter::read(keys, "filter", "function", repeats).map_err(|error| error.to_string())
    }

    fn apply(steps: Value, answers: &[&str]) -> String {
        let answers: Vec<String> = answers.iter().map(|&answer| answer.into()).collect();
        filter(steps, answers.len()).unwrap().apply(&answers)
    }

    #[test]
    fn matches_are_chosen_as_python_lists_them() {
        let regex = |pattern: &str, group: i64| json!([{"function": "regex", "regex_pattern": pattern, "group_select": group}, "take_first"]);
        let text = ["1 of 2, $3 and 44"];
        assert_eq!(apply(regex("[0-9]+", 0), &text), "1");
        assert_eq!(apply(regex("[0-9]+", -1), &text), "44");
        assert_eq!(apply(regex(r"(\$[0-9]+)|([0-9]+ and)", 0), &text), "$3");
        assert_eq!(apply(regex("x", 0), &text), "[invalid]");
        assert_eq!(apply(regex("[0-9]+", 9), &text), "[invalid]");
        assert_eq!(
            apply(
                json!([{"function": "regex"}, "take_first"]),
                &["so\n#### -7.5"]
            ),
            "-7.5"
        );
    }

    #[test]
    fn steps_are_taken_one_after_the_other() {
        let steps = json!([
            "remove_whitespace",
            "lowercase",
            "majority_vote",
            "take_first"
        ]);
        assert_eq!(apply(steps, &[" A", "b ", "B"]), "b");
        let steps = json!(["take_first", {"function": "map", "mapping_dict": {"a": "1"}, "default_value": "?"}]);
        assert_eq!(apply(steps.clone(), &["a"]), "1");
        assert_eq!(apply(steps, &["A"]), "?");
    }

    #[test]
    fn what_is_no_filter_is_refused_by_name() {
        let error = |steps: Value| filter(steps, 1).unwrap_err();
        assert_eq!(
            error(json!(["custom"])),
            "t.yaml: `filter[0].function` names the filter `custom`, which Hone has not"
        );
        assert!(error(json!(["lowercase"])).contains("leaves a list"));
        assert!(error(json!(["majority_vote"])).contains("one answer to vote on"));
        let group = json!([{"function": "take_first", "grup": 1}]);
        assert_eq!(error(group), "t.yaml: unknown key `filter[0].grup`");
        let pattern = json!([{"function": "regex", "regex_pattern": "(?<=a)"}]);
        assert!(error(pattern).contains("look-around"));
    }
}
