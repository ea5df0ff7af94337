//! The check itself: keyword by keyword, down the value.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::keywords::find;
use super::{DEPTH, STEPS, Violation};
use crate::metric::json::same;

/// Checks a value by a schema whose keywords were looked at.
pub(super) fn check(
    root: &Value,
    patterns: &HashMap<String, Regex>,
    value: &Value,
) -> Result<(), Violation> {
    let mut check = Check {
        root,
        patterns,
        place: String::new(),
        steps: 0,
        depth: 0,
        followed: vec![],
    };
    check.schema(root, value)
}

struct Check<'a> {
    root: &'a Value,
    patterns: &'a HashMap<String, Regex>,
    /// Where in the value, as a JSON pointer.
    place: String,
    steps: u64,
    depth: usize,
    /// The references that are being followed, each with the value it is asked about: the same pair again never ends.
    followed: Vec<(*const Value, *const Value)>,
}

type Checked = Result<(), Violation>;

impl<'a> Check<'a> {
    fn schema(&mut self, schema: &'a Value, value: &Value) -> Checked {
        self.spend(1)?;
        if self.depth == DEPTH {
            return Err(Violation::TooDeep {
                place: self.place.clone(),
            });
        }
        self.depth += 1;
        let checked = self.keywords(schema, value);
        self.depth -= 1;
        checked
    }

    fn keywords(&mut self, schema: &'a Value, value: &Value) -> Checked {
        let Some(keywords) = schema.as_object() else {
            return self.demand(schema != &Value::Bool(false), "nothing is allowed here");
        };
        if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
            self.follow(reference, value)?;
        }
        self.any(keywords, value)?;
        self.combined(keywords, value)?;
        match value {
            Value::Object(map) => self.object(keywords, value, map),
            Value::Array(list) => self.array(keywords, list),
            Value::String(text) => self.text(keywords, text),
            Value::Number(_) => self.number(keywords, value),
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    fn spend(&mut self, steps: u64) -> Checked {
        self.steps += steps;
        if self.steps > STEPS {
            return Err(Violation::TooMuch);
        }
        Ok(())
    }

    fn demand(&self, holds: bool, what: impl Into<String>) -> Checked {
        if holds {
            return Ok(());
        }
        Err(Violation::Value {
            place: self.place.clone(),
            what: what.into(),
        })
    }

    /// Whether a value obeys, where not to is no error; one that never ends still is.
    fn obeys(&mut self, schema: &'a Value, value: &Value) -> Result<bool, Violation> {
        match self.schema(schema, value) {
            Ok(()) => Ok(true),
            Err(Violation::Value { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn follow(&mut self, reference: &str, value: &Value) -> Checked {
        let schema =
            find(self.root, reference).expect("references were looked up when the schema was read");
        let pair = (std::ptr::from_ref(schema), std::ptr::from_ref(value));
        if self.followed.contains(&pair) {
            return Err(Violation::Endless {
                place: self.place.clone(),
            });
        }
        self.followed.push(pair);
        let checked = self.schema(schema, value);
        self.followed.pop();
        checked
    }

    fn within(&mut self, name: &str, schema: &'a Value, value: &Value) -> Checked {
        let end = self.place.len();
        self.place.push('/');
        self.place
            .push_str(&name.replace('~', "~0").replace('/', "~1"));
        let checked = self.schema(schema, value);
        self.place.truncate(end);
        checked
    }

    fn any(&mut self, keywords: &Map<String, Value>, value: &Value) -> Checked {
        if let Some(types) = keywords.get("type") {
            let names: Vec<&str> = match types {
                Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
                one => one.as_str().into_iter().collect(),
            };
            let holds = names.iter().any(|name| is_type(name, value));
            self.demand(holds, format!("is no {}", names.join(" or ")))?;
        }
        if let Some(Value::Array(list)) = keywords.get("enum") {
            self.spend(list.len() as u64)?;
            let holds = list.iter().any(|one| same(one, value));
            self.demand(holds, "is none of the values of `enum`")?;
        }
        if let Some(one) = keywords.get("const") {
            self.demand(same(one, value), "is not the value of `const`")?;
        }
        Ok(())
    }

    fn combined(&mut self, keywords: &'a Map<String, Value>, value: &Value) -> Checked {
        for schema in schemas(keywords, "allOf") {
            self.schema(schema, value)?;
        }
        for (name, most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            if !keywords.contains_key(name) {
                continue;
            }
            let mut obeyed = 0;
            for schema in schemas(keywords, name) {
                obeyed += usize::from(self.obeys(schema, value)?);
                if obeyed > most || (most > 1 && obeyed == 1) {
                    break;
                }
            }
            let holds = (1..=most).contains(&obeyed);
            self.demand(
                holds,
                format!(
                    "obeys {} of `{name}`",
                    if obeyed == 0 { "none" } else { "several" }
                ),
            )?;
        }
        if let Some(schema) = keywords.get("not") {
            let obeys = self.obeys(schema, value)?;
            self.demand(!obeys, "obeys what stands in `not`")?;
        }
        if let Some(condition) = keywords.get("if") {
            let branch = if self.obeys(condition, value)? {
                "then"
            } else {
                "else"
            };
            if let Some(schema) = keywords.get(branch) {
                self.schema(schema, value)?;
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        keywords: &'a Map<String, Value>,
        object: &Value,
        map: &Map<String, Value>,
    ) -> Checked {
        self.between(
            keywords,
            ["minProperties", "maxProperties"],
            map.len(),
            "keys",
        )?;
        for name in texts(keywords.get("required")) {
            self.demand(map.contains_key(name), format!("`{name}` is missing"))?;
        }
        for (name, needed) in entries(keywords, "dependentRequired") {
            for other in texts(map.contains_key(name).then_some(needed)) {
                self.demand(
                    map.contains_key(other),
                    format!("`{other}` is missing beside `{name}`"),
                )?;
            }
        }
        for (name, schema) in entries(keywords, "dependentSchemas") {
            if map.contains_key(name) {
                self.schema(schema, object)?;
            }
        }
        for (name, value) in map {
            if let Some(schema) = keywords.get("propertyNames") {
                self.schema(schema, &Value::String(name.clone()))?;
            }
            let mut is_known = false;
            if let Some(schema) = keywords.get("properties").and_then(|all| all.get(name)) {
                is_known = true;
                self.within(name, schema, value)?;
            }
            for (pattern, schema) in entries(keywords, "patternProperties") {
                if self.patterns[pattern.as_str()].is_match(name) {
                    is_known = true;
                    self.within(name, schema, value)?;
                }
            }
            match keywords.get("additionalProperties") {
                Some(Value::Bool(false)) if !is_known => {
                    self.demand(false, format!("`{name}` is not allowed"))?;
                }
                Some(schema) if !is_known => self.within(name, schema, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn array(&mut self, keywords: &'a Map<String, Value>, list: &[Value]) -> Checked {
        self.between(keywords, ["minItems", "maxItems"], list.len(), "elements")?;
        // A list under `items` and what follows it under `additionalItems` is how earlier drafts say `prefixItems`.
        let (first, rest) = match keywords.get("items") {
            Some(Value::Array(first)) => (&first[..], keywords.get("additionalItems")),
            rest => {
                let first = keywords.get("prefixItems").and_then(Value::as_array);
                (first.map_or(&[][..], |first| first), rest)
            }
        };
        for (at, value) in list.iter().enumerate() {
            if let Some(schema) = first.get(at).or(rest) {
                self.within(&at.to_string(), schema, value)?;
            }
        }
        if let Some(schema) = keywords.get("contains") {
            let mut found = 0;
            for value in list {
                found += usize::from(self.obeys(schema, value)?);
            }
            let least = keywords.get("minContains").map_or(1, count);
            let most = keywords.get("maxContains").map_or(usize::MAX, count);
            let holds = (least..=most).contains(&found);
            self.demand(holds, format!("{found} elements obey `contains`"))?;
        }
        if keywords.get("uniqueItems") == Some(&Value::Bool(true)) {
            for (at, value) in list.iter().enumerate() {
                self.spend(at as u64)?;
                let holds = !list[..at].iter().any(|other| same(other, value));
                self.demand(holds, format!("element {at} is there before"))?;
            }
        }
        Ok(())
    }

    fn text(&mut self, keywords: &Map<String, Value>, text: &str) -> Checked {
        self.between(
            keywords,
            ["minLength", "maxLength"],
            text.chars().count(),
            "letters",
        )?;
        if let Some(pattern) = keywords.get("pattern").and_then(Value::as_str) {
            let holds = self.patterns[pattern].is_match(text);
            self.demand(holds, format!("does not match `{pattern}`"))?;
        }
        Ok(())
    }

    fn number(&mut self, keywords: &Map<String, Value>, value: &Value) -> Checked {
        let number = value.as_f64().unwrap_or(f64::NAN);
        type Holds = fn(f64, f64) -> bool;
        let bounds: [(&str, Holds, &str); 4] = [
            ("minimum", |number, limit| number >= limit, "below"),
            ("maximum", |number, limit| number <= limit, "above"),
            (
                "exclusiveMinimum",
                |number, limit| number > limit,
                "not above",
            ),
            (
                "exclusiveMaximum",
                |number, limit| number < limit,
                "not below",
            ),
        ];
        for (name, holds, how) in bounds {
            if let Some(limit) = keywords.get(name).and_then(Value::as_f64) {
                self.demand(holds(number, limit), format!("{number} is {how} {limit}"))?;
            }
        }
        if let Some(step) = keywords.get("multipleOf") {
            self.demand(
                is_multiple(value, step),
                format!("{value} is no multiple of {step}"),
            )?;
        }
        Ok(())
    }

    fn between(
        &self,
        keywords: &Map<String, Value>,
        [least, most]: [&str; 2],
        number: usize,
        of: &str,
    ) -> Checked {
        if let Some(least) = keywords.get(least).map(count) {
            self.demand(
                number >= least,
                format!("has {number} {of}, fewer than {least}"),
            )?;
        }
        if let Some(most) = keywords.get(most).map(count) {
            self.demand(
                number <= most,
                format!("has {number} {of}, more than {most}"),
            )?;
        }
        Ok(())
    }
}

fn schemas<'a>(
    keywords: &'a Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a Value> + use<'a> {
    let list = keywords.get(name).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn entries<'a>(
    keywords: &'a Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    let map = keywords.get(name).and_then(Value::as_object);
    map.into_iter().flatten()
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = list.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn count(value: &Value) -> usize {
    value.as_f64().map_or(0, |number| number as usize)
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        // 1.0 is one.
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

fn is_multiple(value: &Value, step: &Value) -> bool {
    if let (Some(value), Some(step)) = (value.as_i64(), step.as_i64()) {
        return value % step == 0;
    }
    let (Some(value), Some(step)) = (value.as_f64(), step.as_f64()) else {
        return false;
    };
    let quotient = value / step;
    quotient.is_finite() && quotient.fract() == 0.0
}
