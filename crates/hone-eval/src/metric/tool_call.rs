//! Whether a model calls the tools it should, with the arguments it should.
//!
//! Calls made in one turn have no order, so they are compared as a set in which equal calls count as often as they are
//! made. Names and arguments are scored apart: a wrong tool is another fault than a wrong argument.

use serde::Serialize;
use serde_json::Value;

use super::json;

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// Its arguments, an object.
    pub arguments: Value,
}

/// How far the calls of a turn are the expected ones. A turn in which none is expected is right when none is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ToolScore {
    /// Whether exactly the expected tools are called.
    pub names: bool,
    /// Whether all calls are the expected ones, arguments and all.
    pub calls: bool,
    /// F1 of the calls.
    pub call_f1: f64,
    /// F1 of the arguments' fields, of calls paired by name in their order; 1 when there is no argument at all.
    pub argument_f1: f64,
}

/// Reads the calls of an answer: JSON of one call or a list of them, bare or in a block of code, or calls between
/// `<tool_call>` and `</tool_call>` with any words around them. A call is `{"name": …, "arguments": …}`, its arguments an
/// object or JSON in a text, as in OpenAI's interface (`parameters` is read in place of `arguments`, and what `function`
/// holds). `None` when the answer is no call, and when one of several cannot be read.
pub fn read(answer: &str) -> Option<Vec<ToolCall>> {
    if answer.contains("<tool_call>") {
        let parts = answer.split("<tool_call>").skip(1);
        let inner = |part: &str| call(&json::read(part.split("</tool_call>").next()?).value?);
        return parts.map(inner).collect();
    }
    match json::read(answer).value? {
        Value::Array(list) => list.iter().map(call).collect(),
        one => Some(vec![call(&one)?]),
    }
}

fn call(value: &Value) -> Option<ToolCall> {
    let value = value
        .get("function")
        .filter(|f| f.is_object())
        .unwrap_or(value);
    let arguments = value.get("arguments").or_else(|| value.get("parameters"));
    let arguments = match arguments {
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        Some(arguments) => arguments.clone(),
        None => Value::Object(Default::default()),
    };
    Some(ToolCall {
        name: value.get("name")?.as_str()?.to_string(),
        arguments: arguments.is_object().then_some(arguments)?,
    })
}

/// Compares the calls of a turn with those that were expected.
pub fn compare(expected: &[ToolCall], said: &[ToolCall]) -> ToolScore {
    let is_same =
        |a: &ToolCall, b: &ToolCall| a.name == b.name && json::same(&a.arguments, &b.arguments);
    let by_name = pairs(expected, said, |a, b| a.name == b.name);
    let both = pairs(expected, said, is_same).len();
    let all = expected.len() + said.len();
    ToolScore {
        names: by_name.len() * 2 == all,
        calls: both * 2 == all,
        call_f1: f1(both, all),
        argument_f1: argument_f1(expected, said, &by_name),
    }
}

/// Twice what both have over what each has: the harmonic mean of precision and recall.
fn f1(both: usize, all: usize) -> f64 {
    if all == 0 {
        return 1.0;
    }
    2.0 * both as f64 / all as f64
}

/// Each expected call with the first of the others that fits and is not taken.
fn pairs<'a>(
    expected: &'a [ToolCall],
    said: &'a [ToolCall],
    fits: impl Fn(&ToolCall, &ToolCall) -> bool,
) -> Vec<(&'a ToolCall, &'a ToolCall)> {
    let mut left: Vec<&ToolCall> = said.iter().collect();
    let mut pairs = vec![];
    for call in expected {
        if let Some(at) = left.iter().position(|other| fits(call, other)) {
            pairs.push((call, left.remove(at)));
        }
    }
    pairs
}

fn argument_f1(
    expected: &[ToolCall],
    said: &[ToolCall],
    by_name: &[(&ToolCall, &ToolCall)],
) -> f64 {
    // Arguments that are none are no field.
    let has_any = |call: &ToolCall| {
        call.arguments
            .as_object()
            .is_some_and(|map| !map.is_empty())
    };
    let count = |calls: &[ToolCall]| -> usize {
        let calls = calls.iter().filter(|call| has_any(call));
        calls.map(|call| json::count_fields(&call.arguments)).sum()
    };
    let named = by_name.iter().filter(|(call, _)| has_any(call));
    let both = named.map(|(a, b)| json::count_same(&a.arguments, &b.arguments));
    f1(both.sum(), count(expected) + count(said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(name: &str, arguments: Value) -> ToolCall {
        ToolCall {
            name: name.into(),
            arguments,
        }
    }

    #[test]
    fn calls_are_read_in_the_forms_that_models_write() {
        let weather = made("weather", json!({"city": "Bern"}));
        for answer in [
            r#"{"name": "weather", "arguments": {"city": "Bern"}}"#,
            r#"[{"name": "weather", "parameters": {"city": "Bern"}}]"#,
            "```json\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n```",
            r#"Let me look. <tool_call>{"name": "weather", "arguments": {"city": "Bern"}}</tool_call>"#,
            r#"{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Bern\"}"}}"#,
        ] {
            assert_eq!(read(answer), Some(vec![weather.clone()]), "{answer}");
        }
        assert_eq!(
            read(r#"{"name": "now"}"#),
            Some(vec![made("now", json!({}))])
        );
        for answer in [
            "It is sunny.",
            r#"{"arguments": {}}"#,
            r#"{"name": "x", "arguments": [1]}"#,
            r#"{"name": "x", "arguments": "{"}"#,
            r#"<tool_call>{"name": "x"}</tool_call><tool_call>oops</tool_call>"#,
        ] {
            assert_eq!(read(answer), None, "{answer}");
        }
    }

    #[test]
    fn order_does_not_count_and_number_does() {
        let (a, b) = (made("a", json!({"x": 1})), made("b", json!({})));
        let score = compare(&[a.clone(), b.clone()], &[b.clone(), a.clone()]);
        assert!(score.names && score.calls);
        assert_eq!((score.call_f1, score.argument_f1), (1.0, 1.0));
        let score = compare(std::slice::from_ref(&a), &[a.clone(), a.clone()]);
        assert!(!score.names && !score.calls);
        assert_eq!(score.call_f1, 2.0 / 3.0);
        let twice = compare(&[a.clone(), a.clone()], std::slice::from_ref(&a));
        assert_eq!((twice.call_f1, twice.argument_f1), (2.0 / 3.0, 2.0 / 3.0));
        let nothing = compare(&[], &[]);
        assert!(nothing.calls && nothing.call_f1 == 1.0);
        assert!(!compare(&[], &[a]).names);
    }

    #[test]
    fn a_wrong_argument_is_no_wrong_tool() {
        let expected = [made("a", json!({"x": 1, "y": {"z": "q"}}))];
        let said = [made("a", json!({"x": 1, "y": {"z": "r"}, "w": true}))];
        let score = compare(&expected, &said);
        assert!(score.names && !score.calls);
        assert_eq!((score.call_f1, score.argument_f1), (0.0, 2.0 / 5.0));
    }
}
