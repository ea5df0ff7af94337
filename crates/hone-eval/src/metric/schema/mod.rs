//! Whether a JSON value obeys a JSON Schema (draft 2020-12), as the Python package `jsonschema` 4.26 judges it.
//!
//! Written here because what a task asks of an answer needs a page of the standard, and crates that have all of it bring
//! some twenty others along. What is not checked is refused by its name when the schema is read, so no answer is called
//! valid that was only half looked at: references to other documents, `unevaluated…`, dynamic references, and words that are
//! no keywords. `format` is a note and no check, as the standard has it by default. Nothing is fetched, and a schema that
//! refers to itself without end is an error and no hang.

mod keywords;
mod validate;

use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use keywords::read_patterns;

/// A schema that can be checked.
#[derive(Debug)]
pub struct Schema {
    root: Value,
    patterns: HashMap<String, Regex>,
}

/// A schema cannot be checked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the message says it all
pub enum BadSchema {
    #[error("at `{place}`: a schema is an object or a truth value")]
    NoSchema { place: String },
    #[error(
        "at `{place}`: `{keyword}` is not checked here; leave it out or say the same with other keywords"
    )]
    NotChecked { place: String, keyword: String },
    #[error("at `{place}`: `{keyword}` must be {expected}")]
    Keyword {
        place: String,
        keyword: String,
        expected: &'static str,
    },
    #[error("at `{place}`: the pattern `{pattern}` cannot be used: {reason}")]
    Pattern {
        place: String,
        pattern: String,
        reason: String,
    },
    #[error(
        "at `{place}`: `$ref` names `{reference}`, which is not in this schema; only `#` and `#/…` are followed"
    )]
    Reference { place: String, reference: String },
}

/// What is wrong with a value, or with checking it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the message says it all
pub enum Violation {
    #[error("`{place}`: {what}")]
    Value { place: String, what: String },
    #[error("`{place}`: the schema refers to itself without end")]
    Endless { place: String },
    #[error("`{place}`: the schema leads more than {DEPTH} levels down")]
    TooDeep { place: String },
    #[error("checking takes more than {STEPS} steps")]
    TooMuch,
}

/// How many comparisons a check may take: a fraction of a second.
const STEPS: u64 = 1_000_000;

/// How far a check may go down, which each level pays for in stack.
const DEPTH: usize = 500;

impl Schema {
    /// Reads a schema, all of it: what cannot be checked is refused here.
    pub fn read(root: &Value) -> Result<Self, BadSchema> {
        let patterns = read_patterns(root)?;
        Ok(Self {
            root: root.clone(),
            patterns,
        })
    }

    /// Whether the value obeys; the first thing that does not, if any.
    pub fn check(&self, value: &Value) -> Result<(), Violation> {
        validate::check(&self.root, &self.patterns, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(schema: Value) -> String {
        Schema::read(&schema).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_checked_is_refused_by_its_place() {
        assert_eq!(
            refused(json!({"properties": {"a": {"unevaluatedProperties": false}}})),
            "at `#/properties/a`: `unevaluatedProperties` is not checked here; leave it out or say the same with other keywords"
        );
        assert!(refused(json!({"maxlength": 3})).contains("`maxlength` is not checked"));
        assert!(refused(json!({"$ref": "https://example.org/x"})).contains("only `#` and `#/…`"));
        assert!(refused(json!({"$ref": "#/$defs/none"})).contains("`#/$defs/none`"));
        assert!(refused(json!({"type": "text"})).contains("`type` must be"));
        assert!(refused(json!({"items": 3})).contains("an object or a truth value"));
        assert!(refused(json!({"pattern": "(?=a)b"})).contains("look-around"));
        assert!(refused(json!({"required": "a"})).contains("`required` must be"));
    }

    #[test]
    fn a_violation_says_where_and_what() {
        let schema =
            json!({"properties": {"a": {"items": {"type": "integer"}}}, "required": ["a"]});
        let schema = Schema::read(&schema).unwrap();
        let said = |value| schema.check(&value).unwrap_err().to_string();
        assert_eq!(said(json!({"a": [1, "x"]})), "`/a/1`: is no integer");
        assert_eq!(said(json!({})), "``: `a` is missing");
        assert_eq!(schema.check(&json!({"a": [1, 2.0]})), Ok(()));
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let endless = Schema::read(&json!({"$ref": "#"})).unwrap();
        assert!(matches!(
            endless.check(&json!(1)),
            Err(Violation::Endless { .. })
        ));
        let two = json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}});
        assert!(matches!(
            Schema::read(&two).unwrap().check(&json!(1)),
            Err(Violation::Endless { .. })
        ));
        // A tree, as deep as what was read can be.
        let tree =
            Schema::read(&json!({"properties": {"next": {"$ref": "#"}}, "required": ["value"]}))
                .unwrap();
        let mut value = json!({"value": 1});
        for _ in 0..100 {
            value = json!({"value": 1, "next": value});
        }
        assert_eq!(tree.check(&value), Ok(()));
    }

    #[test]
    fn a_schema_of_many_references_is_given_up_before_the_stack_is() {
        let mut definitions = serde_json::Map::new();
        for at in 0..20_000 {
            definitions.insert(
                format!("d{at}"),
                json!({"$ref": format!("#/$defs/d{}", at + 1)}),
            );
        }
        definitions.insert("d20000".into(), json!(true));
        let schema = Schema::read(&json!({"$ref": "#/$defs/d0", "$defs": definitions})).unwrap();
        assert!(matches!(
            schema.check(&json!(1)),
            Err(Violation::TooDeep { .. })
        ));
        let dependent = json!({"dependentSchemas": {"a": {"$ref": "#"}}});
        let checked = Schema::read(&dependent).unwrap().check(&json!({"a": 1}));
        assert!(matches!(checked, Err(Violation::Endless { .. })));
    }

    #[test]
    fn a_schema_that_doubles_its_work_is_given_up() {
        let mut definitions = serde_json::Map::new();
        for at in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
            definitions.insert(format!("d{at}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("d40".into(), json!(true));
        let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
        assert_eq!(
            Schema::read(&schema).unwrap().check(&json!(1)),
            Err(Violation::TooMuch)
        );
    }
}
