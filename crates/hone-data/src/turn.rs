//! One message of a row to a turn, in any of the spellings that are in use.
//!
//! `role` and `content`, `from` and `value`, pairs of `human` and `assistant`: who speaks and what is said is plain in
//! all of them, so each is read wherever turns stand. A key that changes what a turn means and cannot be honoured
//! refuses the row by its name.

use std::borrow::Cow;

use hone_text::{Role, ToolCall, Turn};
use serde_json::{Map, Value};

use crate::Reason;
use crate::json::json_in;
use crate::keys::{Account, MASKS, Nulls, WEIGHTS, weight};
use crate::value::{checked, content, field, is_present, kind, list, name};

/// What families of models call the reasoning of a turn.
pub(crate) const REASONING: &[&str] = &["reasoning_content", "thinking", "reasoning"];

/// The turns of a list, or of the same list written as JSON in a text, as tables hold it.
pub(crate) fn turns(value: &Value, key: &str, account: &mut Account) -> Result<Vec<Turn>, Reason> {
    let written = match value {
        Value::String(text) => Cow::Owned(json_in_text(text, key)?),
        other => Cow::Borrowed(other),
    };
    let single;
    let items = match &*written {
        Value::Array(items) => items,
        Value::Object(_) => {
            single = vec![written.into_owned()];
            &single
        }
        other => return Err(field(key, format!("must be a list, not {}", kind(other)))),
    };
    let mut turns = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        add(item, &format!("{key}[{index}]"), account, &mut turns)?;
    }
    Ok(turns)
}

/// Does the value look like turns: a list or an object of who speaks and what is said, or a text of such a list?
pub(crate) fn are_turns(value: &Value) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) => true,
        Value::String(text) if text.trim_start().starts_with('[') => {
            let said = |item: &Value| {
                let has = |key: &str| item.get(key).is_some();
                has("role") && (has("content") || has("tool_calls")) || has("from") && has("value")
            };
            match serde_json::from_str(text) {
                Ok(Value::Array(items)) => !items.is_empty() && items.iter().all(said),
                _ => false,
            }
        }
        _ => false,
    }
}

/// The key of a row under which turns stand, if the row has no field that they could be.
pub(crate) fn turns_in(row: &Map<String, Value>) -> Option<&str> {
    let speaks = |item: &Value| {
        let has = |key: &str| item.get(key).is_some();
        (has("role") || has("from")) && (has("content") || has("value"))
    };
    let are_turns = |value: &Value| {
        let items = value.as_array();
        items.is_some_and(|items| !items.is_empty() && items.iter().all(speaks))
    };
    let mut found = row.iter().filter(|(_, value)| are_turns(value));
    match (found.next(), found.next()) {
        (Some((key, _)), None) => Some(key),
        _ => None,
    }
}

fn json_in_text(text: &str, key: &str) -> Result<Value, Reason> {
    json_in(text, key)?.ok_or_else(|| {
        let hint = match text.trim_start().starts_with("[{'") {
            true => "; it is written as Python prints lists, write it with json.dumps",
            false => "",
        };
        field(key, format!("must be a list, not text{hint}"))
    })
}

/// Who speaks.
enum Voice {
    Of(Role),
    /// A turn that is a call of a tool.
    Call,
}

fn voice(name: &Value, place: &str) -> Result<Voice, Reason> {
    let known = name.as_str().map(str::to_ascii_lowercase);
    Ok(Voice::Of(match known.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user" | "human" | "prompter") => Role::User,
        Some("assistant" | "gpt" | "chatgpt" | "model" | "bot") => Role::Assistant,
        Some(
            "tool" | "observation" | "function" | "function_response" | "tool_response" | "ipython",
        ) => Role::Tool,
        Some("function_call" | "tool_call") => return Ok(Voice::Call),
        _ => {
            let known = "known are system, user, assistant and tool, also human, gpt, observation and function_call";
            return Err(field(place, format!("is {name}; {known}")));
        }
    }))
}

/// Adds the turns of one item to those before it.
fn add(
    item: &Value,
    place: &str,
    account: &mut Account,
    turns: &mut Vec<Turn>,
) -> Result<(), Reason> {
    let Some(item) = item.as_object() else {
        return Err(field(
            place,
            format!("must be an object, not {}", kind(item)),
        ));
    };
    let item = &*account.heard(item);
    let Some(speaker) = one_of(item, ["role", "from"], place)? else {
        return match pair(item, place, account)? {
            Some(pair) => {
                turns.extend(pair);
                Ok(())
            }
            None => Err(field(
                place,
                "needs `role` and `content`, or `from` and `value`",
            )),
        };
    };
    let said = one_of(item, ["content", "value"], place)?;
    let (key, said) = said.unwrap_or(("content", &Value::Null));
    match voice(speaker.1, &format!("{place}.{}", speaker.0))? {
        Voice::Of(role) => turns.push(turn(item, role, said, (place, key), account)?),
        Voice::Call => {
            let (calls, weight) = call_turn(item, said, (place, key), account)?;
            match turns.last_mut() {
                // Calls in a row are made at once.
                Some(last) if !last.calls.is_empty() && last.is_supervised == weight => {
                    last.calls.extend(calls);
                }
                _ => turns.push(Turn {
                    calls,
                    is_supervised: weight,
                    ..Turn::new(Role::Assistant, "")
                }),
            }
        }
    }
    Ok(())
}

/// The field by the one name or the other.
fn one_of<'v>(
    item: &'v Map<String, Value>,
    names: [&'static str; 2],
    place: &str,
) -> Result<Option<(&'static str, &'v Value)>, Reason> {
    let named = |name: &'static str| Some((name, item.get(name).filter(|v| !v.is_null())?));
    match (named(names[0]), named(names[1])) {
        (Some(first), Some(second)) if first.1 != second.1 => Err(field(
            &format!("{place}.{}", names[1]),
            format!("says something else than `{}`", names[0]),
        )),
        (first, second) => Ok(first.or(second)),
    }
}

/// A question and its answer in one item.
fn pair(
    item: &Map<String, Value>,
    place: &str,
    account: &mut Account,
) -> Result<Option<[Turn; 2]>, Reason> {
    let of = |names: &[&'static str]| {
        let found = names
            .iter()
            .find_map(|name| Some((*name, item.get(*name)?)));
        found.map(|(key, value)| content(value, &format!("{place}.{key}")).map(|text| (key, text)))
    };
    let (Some(asked), Some(answered)) = (of(&["human", "user"]), of(&["assistant", "gpt", "bot"]))
    else {
        return Ok(None);
    };
    let ((asking, asked), (answering, answered)) = (asked?, answered?);
    for (key, value) in item {
        if key != asking && key != answering {
            account.turn_key(place, key, value, &answered)?;
        }
    }
    Ok(Some([
        Turn::new(Role::User, asked),
        Turn {
            is_supervised: account.is_supervised(None),
            ..Turn::new(Role::Assistant, answered)
        },
    ]))
}

fn turn(
    item: &Map<String, Value>,
    role: Role,
    said: &Value,
    (place, key): (&str, &str),
    account: &mut Account,
) -> Result<Turn, Reason> {
    let at = |key: &str| format!("{place}.{key}");
    let calls = calls_of(item, place, account)?;
    if role != Role::Assistant && !calls.is_empty() {
        return Err(field(&at("tool_calls"), "only the assistant calls tools"));
    }
    let text = match said {
        Value::Null if !calls.is_empty() => String::new(),
        // A refusal in place of the content is the reason that helps.
        Value::Null if is_present(item.get("refusal")) => {
            account.turn_key(place, "refusal", &item["refusal"], "")?;
            content(said, &at(key))?
        }
        said => content(said, &at(key))?,
    };
    let reasoning = reasoning(item, place)?;
    if role != Role::Assistant && reasoning.is_some() {
        return Err(field(place, "has reasoning, which only the assistant has"));
    }
    if reasoning.is_some() {
        one_reasoning(&text, place)?;
    }
    let trains = weight_of(item, place)?;
    if role != Role::Assistant && trains == Some(true) {
        let key = WEIGHTS
            .iter()
            .chain(MASKS)
            .find(|key| item.contains_key(**key));
        let what = format!(
            "asks to train on a turn of the {role}; only the assistant's turns are trained on"
        );
        return Err(field(&at(key.unwrap_or(&"weight")), what));
    }
    let is_tool = role == Role::Tool;
    for (key, value) in item {
        let is_used = match key.as_str() {
            "role" | "from" | "content" | "value" | "tool_calls" | "function_call" => true,
            "tool_call_id" | "name" => is_tool,
            key => REASONING.contains(&key) || WEIGHTS.contains(&key) || MASKS.contains(&key),
        };
        if !is_used {
            account.turn_key(place, key, value, &text)?;
        }
    }
    let of_tool = |key: &str| match is_tool {
        true => name(item.get(key), &at(key)),
        false => Ok(None),
    };
    Ok(Turn {
        reasoning,
        calls,
        call_id: of_tool("tool_call_id")?,
        name: of_tool("name")?,
        is_supervised: role != Role::Assistant || account.is_supervised(trains),
        ..Turn::new(role, text)
    })
}

/// A turn that is a call, its content JSON: `{"name": …, "arguments": …}`, or a list of them.
fn call_turn(
    item: &Map<String, Value>,
    said: &Value,
    (place, key): (&str, &str),
    account: &mut Account,
) -> Result<(Vec<ToolCall>, bool), Reason> {
    let at = format!("{place}.{key}");
    let written = match said {
        Value::String(text) => json_in(text, &at)?
            .ok_or_else(|| field(&at, "is a call that is not written as JSON"))?,
        other => other.clone(),
    };
    let list = match written {
        Value::Array(_) => written,
        other => Value::Array(vec![other]),
    };
    let made = calls(Some(&*settled_calls(&list, &at, account)?), &at)?;
    let trains = weight_of(item, place)?;
    for (key, value) in item {
        let is_used = matches!(key.as_str(), "role" | "from" | "content" | "value")
            || WEIGHTS.contains(&key.as_str())
            || MASKS.contains(&key.as_str());
        if !is_used {
            account.turn_key(place, key, value, "")?;
        }
    }
    match made.is_empty() {
        true => Err(field(&at, "calls nothing")),
        false => Ok((made, account.is_supervised(trains))),
    }
}

/// What a turn calls, by `tool_calls` or by OpenAI's older `function_call`.
fn calls_of(
    item: &Map<String, Value>,
    place: &str,
    account: &mut Account,
) -> Result<Vec<ToolCall>, Reason> {
    let (key, value) = match (item.get("tool_calls"), item.get("function_call")) {
        (calls, Some(call)) if is_present(Some(call)) => {
            if is_present(calls) {
                let what = "stands beside `tool_calls`; one of the two is enough";
                return Err(field(&format!("{place}.function_call"), what));
            }
            (
                "function_call",
                Cow::Owned(Value::Array(vec![call.clone()])),
            )
        }
        (Some(Value::String(text)), _) if !text.is_empty() => {
            let at = format!("{place}.tool_calls");
            let list = json_in(text, &at)?.ok_or_else(|| field(&at, "must be a list, not text"))?;
            ("tool_calls", Cow::Owned(list))
        }
        (Some(list), _) if is_present(Some(list)) => ("tool_calls", Cow::Borrowed(list)),
        _ => return Ok(Vec::new()),
    };
    let at = format!("{place}.{key}");
    calls(Some(&*settled_calls(&value, &at, account)?), &at)
}

/// The calls of a list.
fn calls(value: Option<&Value>, place: &str) -> Result<Vec<ToolCall>, Reason> {
    if !is_present(value) {
        return Ok(Vec::new());
    }
    let calls = list(value.unwrap_or(&Value::Null), place)?;
    let call = |(index, value): (usize, &Value)| call(value, &format!("{place}[{index}]"));
    calls.iter().enumerate().map(call).collect()
}

fn call(value: &Value, place: &str) -> Result<ToolCall, Reason> {
    let function = value.get("function").unwrap_or(value);
    let place_of = |key: &str| format!("{place}.function.{key}");
    let Some(name) = name(function.get("name"), &place_of("name"))? else {
        return Err(field(place, "needs a function's `name` and `arguments`"));
    };
    let place = place_of("arguments");
    // OpenAI writes the arguments as JSON in a text, Hugging Face as an object.
    let written = match function.get("arguments") {
        Some(Value::String(written)) => Some(checked(written, &place)?),
        _ => None,
    };
    let arguments = match (&written, function.get("arguments")) {
        (Some(written), _) => {
            json_in(written, &place)?.ok_or_else(|| field(&place, "is not JSON"))?
        }
        (None, None | Some(Value::Null)) => Value::Object(Map::new()),
        (None, Some(other)) => other.clone(),
    };
    match arguments {
        Value::Object(arguments) => Ok(ToolCall {
            id: self::name(value.get("id"), &place)?,
            name,
            arguments,
            written,
        }),
        other => Err(field(
            &place,
            format!("must be an object, not {}", kind(&other)),
        )),
    }
}

/// What the assistant thinks before it answers, by any of its names; two that differ are no reasoning.
pub(crate) fn reasoning(item: &Map<String, Value>, place: &str) -> Result<Option<String>, Reason> {
    let mut found: Option<(&str, String)> = None;
    for key in REASONING {
        let Some(value) = item.get(*key).filter(|value| is_present(Some(value))) else {
            continue;
        };
        let at = match place.is_empty() {
            true => (*key).to_owned(),
            false => format!("{place}.{key}"),
        };
        let text = content(value, &at)?;
        match &found {
            Some((other, known)) if *known != text => {
                return Err(field(&at, format!("says something else than `{other}`")));
            }
            _ => found = Some((key, text)),
        }
    }
    Ok(found.map(|(_, text)| text))
}

/// Refuses a reply that thinks in its text, too: a chat template would show both.
pub(crate) fn one_reasoning(text: &str, place: &str) -> Result<(), Reason> {
    match text.contains("</think>") {
        true => Err(field(
            place,
            "has reasoning by itself and again in its text, before `</think>`; one of the two is enough",
        )),
        false => Ok(()),
    }
}

/// Whether the turn is trained on, if it says so.
fn weight_of(item: &Map<String, Value>, place: &str) -> Result<Option<bool>, Reason> {
    weight(|key| item.get(key), |key| format!("{place}.{key}"))
}

/// Calls whose arguments have no null property, or only such as are meant. Arguments that are text were never part of a
/// table's columns, so their nulls are meant.
fn settled_calls<'v>(
    calls: &'v Value,
    place: &str,
    account: &Account,
) -> Result<Cow<'v, Value>, Reason> {
    let arguments = |call: &Value| {
        let function = call.get("function").unwrap_or(call);
        function.get("arguments").and_then(null_property)
    };
    let found = calls.as_array().into_iter().flatten().enumerate();
    let found = found
        .filter_map(|(index, call)| Some((index, arguments(call)?)))
        .next();
    let Some((index, property)) = found else {
        return Ok(Cow::Borrowed(calls));
    };
    match account.nulls() {
        Some(Nulls::Keep) => Ok(Cow::Borrowed(calls)),
        Some(Nulls::Drop) => Ok(Cow::Owned(without_nulls(calls))),
        None => Err(undecided(&format!(
            "{place}[{index}].function.arguments{property}"
        ))),
    }
}

/// Schemas of tools whose null properties are settled. `default` and `const` may well be null.
pub(crate) fn settled_tools(tools: Value, account: &Account) -> Result<Value, Reason> {
    let Some(property) = null_property(&tools) else {
        return Ok(tools);
    };
    match account.nulls() {
        Some(Nulls::Keep) => Ok(tools),
        Some(Nulls::Drop) => Ok(without_nulls(&tools)),
        None if only_defaults_are_null(&tools) => Ok(tools),
        None => Err(undecided(&format!("tools{property}"))),
    }
}

fn undecided(place: &str) -> Reason {
    field(
        place,
        "is null, which is padding if the file was made from a table; say --nulls drop, or --nulls keep if it is meant",
    )
}

/// The path to the first property that is null. Null items of a list are no padding.
fn null_property(value: &Value) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match value {
            Value::Null => Some(format!(".{key}")),
            value => null_property(value).map(|rest| format!(".{key}{rest}")),
        }),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| {
                null_property(item).map(|rest| format!("[{index}]{rest}"))
            })
        }
        _ => None,
    }
}

fn only_defaults_are_null(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().all(|(key, value)| match value {
            Value::Null => matches!(key.as_str(), "default" | "const"),
            value => only_defaults_are_null(value),
        }),
        Value::Array(items) => items.iter().all(only_defaults_are_null),
        _ => true,
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
