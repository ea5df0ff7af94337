//! A walk over a schema before anything is checked by it: every keyword is one that is checked, and has the form it must.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::BadSchema;

/// Reads the patterns on the way.
pub(super) fn read_patterns(root: &Value) -> Result<HashMap<String, Regex>, BadSchema> {
    let mut walk = Walk {
        root,
        patterns: HashMap::new(),
    };
    walk.schema("#", root)?;
    Ok(walk.patterns)
}

/// What stands behind a keyword.
enum Form {
    Schema,
    Schemas,
    NamedSchemas,
    PatternSchemas,
    SchemaOrSchemas,
    Number,
    PositiveNumber,
    Count,
    Truth,
    Texts,
    NamedTexts,
    Pattern,
    Types,
    List,
    Reference,
    Anything,
}

/// Every keyword that is checked, and those that only say something to readers.
fn form(keyword: &str) -> Option<Form> {
    Some(match keyword {
        "not"
        | "if"
        | "then"
        | "else"
        | "contains"
        | "propertyNames"
        | "additionalProperties"
        | "additionalItems" => Form::Schema,
        "items" => Form::SchemaOrSchemas,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Form::Schemas,
        "properties" | "$defs" | "definitions" | "dependentSchemas" => Form::NamedSchemas,
        "patternProperties" => Form::PatternSchemas,
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => Form::Number,
        "multipleOf" => Form::PositiveNumber,
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minContains" | "maxContains"
        | "minProperties" | "maxProperties" => Form::Count,
        "uniqueItems" => Form::Truth,
        "required" => Form::Texts,
        "dependentRequired" => Form::NamedTexts,
        "pattern" => Form::Pattern,
        "type" => Form::Types,
        "enum" => Form::List,
        "$ref" => Form::Reference,
        "const" | "title" | "description" | "default" | "examples" | "example" | "$schema"
        | "$id" | "$comment" | "deprecated" | "readOnly" | "writeOnly" | "format"
        | "contentEncoding" | "contentMediaType" | "contentSchema" => Form::Anything,
        _ if keyword.starts_with("x-") => Form::Anything,
        _ => return None,
    })
}

const TYPES: [&str; 7] = [
    "null", "boolean", "object", "array", "number", "string", "integer",
];

struct Walk<'a> {
    root: &'a Value,
    patterns: HashMap<String, Regex>,
}

impl Walk<'_> {
    fn schema(&mut self, place: &str, schema: &Value) -> Result<(), BadSchema> {
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(keywords) => keywords
                .iter()
                .try_for_each(|(keyword, value)| self.keyword(place, keyword, value)),
            _ => Err(BadSchema::NoSchema {
                place: place.to_string(),
            }),
        }
    }

    fn keyword(&mut self, place: &str, keyword: &str, value: &Value) -> Result<(), BadSchema> {
        let Some(form) = form(keyword) else {
            return Err(BadSchema::NotChecked {
                place: place.to_string(),
                keyword: keyword.to_string(),
            });
        };
        let within = format!("{place}/{keyword}");
        let wrong = |expected| {
            Err(BadSchema::Keyword {
                place: place.to_string(),
                keyword: keyword.to_string(),
                expected,
            })
        };
        let is_texts = |value: &Value| {
            let list = value.as_array();
            list.is_some_and(|list| list.iter().all(Value::is_string))
        };
        match form {
            Form::Schema => self.schema(&within, value),
            Form::SchemaOrSchemas if !value.is_array() => self.schema(&within, value),
            Form::Schemas | Form::SchemaOrSchemas => match value.as_array() {
                Some(list) => list
                    .iter()
                    .enumerate()
                    .try_for_each(|(at, schema)| self.schema(&format!("{within}/{at}"), schema)),
                None => wrong("a list of schemas"),
            },
            Form::NamedSchemas | Form::PatternSchemas => match value.as_object() {
                Some(map) => self.named(&within, map, matches!(form, Form::PatternSchemas)),
                None => wrong("an object of schemas"),
            },
            Form::Number if !value.is_number() => wrong("a number"),
            Form::PositiveNumber if !value.as_f64().is_some_and(|n| n > 0.0) => {
                wrong("a number above 0")
            }
            Form::Count if !value.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0) => {
                wrong("a whole number of at least 0")
            }
            Form::Truth if !value.is_boolean() => wrong("true or false"),
            Form::Texts if !is_texts(value) => wrong("a list of texts"),
            Form::NamedTexts if !value.as_object().is_some_and(|m| m.values().all(is_texts)) => {
                wrong("an object of lists of texts")
            }
            Form::Types if !is_types(value) => {
                wrong("one or several of null, boolean, object, array, number, string, integer")
            }
            Form::List if !value.is_array() => wrong("a list"),
            Form::Pattern => match value.as_str() {
                Some(pattern) => self.pattern(place, pattern),
                None => wrong("a text"),
            },
            Form::Reference => match value.as_str() {
                Some(reference) if find(self.root, reference).is_some() => Ok(()),
                Some(reference) => Err(BadSchema::Reference {
                    place: place.to_string(),
                    reference: reference.to_string(),
                }),
                None => wrong("a text"),
            },
            _ => Ok(()),
        }
    }

    fn named(
        &mut self,
        place: &str,
        schemas: &Map<String, Value>,
        are_patterns: bool,
    ) -> Result<(), BadSchema> {
        for (name, schema) in schemas {
            if are_patterns {
                self.pattern(place, name)?;
            }
            self.schema(&format!("{place}/{name}"), schema)?;
        }
        Ok(())
    }

    fn pattern(&mut self, place: &str, pattern: &str) -> Result<(), BadSchema> {
        let regex = Regex::new(pattern).map_err(|error| BadSchema::Pattern {
            place: place.to_string(),
            pattern: pattern.to_string(),
            reason: crate::metric::wrong_in_pattern(&error),
        })?;
        self.patterns.insert(pattern.to_string(), regex);
        Ok(())
    }
}

fn is_types(value: &Value) -> bool {
    let is_type = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    match value {
        Value::Array(list) => list.iter().all(is_type),
        one => is_type(one),
    }
}

/// What a reference names in the same document.
pub(super) fn find<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let found = root.pointer(reference.strip_prefix('#')?)?;
    (found.is_object() || found.is_boolean()).then_some(found)
}
