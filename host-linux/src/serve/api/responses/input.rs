//! What a body of `/v1/responses` asks for, in the names of chat.
use super::super::fields::Fields;
use super::super::parameters::RESPONSES;
use super::super::translation::{Translation, list, object_at, string_in, tool, wrong};
use crate::serve::error::ApiError;
use crate::text::quote::{quote, quote_value};
use serde_json::{Map, Value, json};

/// Puts a body into the names of chat. What a server that remembers nothing cannot do, the table of
/// parameters has refused.
pub(super) fn translate(fields: &Fields<'_>) -> Result<Translation, ApiError> {
    let mut translation = Translation::new(fields, RESPONSES, "input");
    translation.carry(fields, "stream", "stream");
    translation.carry(fields, "max_output_tokens", "max_completion_tokens");
    translation.carry(fields, "parallel_tool_calls", "parallel_tool_calls");
    logprobs(fields, &mut translation)?;
    tools(fields, &mut translation)?;
    tool_choice(fields, &mut translation)?;
    text(fields, &mut translation)?;
    reasoning(fields, &mut translation)?;
    conversation(fields, &mut translation)?;
    Ok(translation)
}

/// Whether probabilities are listed, and how many.
fn logprobs(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let list = match fields.get("include") {
        None => &[][..],
        Some(Value::Array(list)) => list,
        Some(found) => return Err(wrong("include", "include", "a list", found)),
    };
    let mut is_listed = false;
    for value in list {
        match value.as_str() {
            Some("message.output_text.logprobs") => is_listed = true,
            // Thoughts are told in plain text, which goes back as it came.
            Some(name @ "reasoning.encrypted_content") => translation.ignore(format!("include.{name}")),
            _ => {
                let message = format!("include: {} is not supported", quote_value(value));
                return Err(ApiError::invalid("include", message));
            }
        }
    }
    let top = fields.get("top_logprobs").filter(|top| top.as_f64() != Some(0.0));
    if let Some(top) = top {
        translation.put("top_logprobs", "top_logprobs", top.clone());
    }
    if top.is_some() || is_listed {
        translation.put("logprobs", "include", json!(true));
    }
    Ok(())
}

fn tools(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let Some(list) = list(fields, "tools")? else { return Ok(()) };
    let mut tools = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let place = format!("tools[{i}]");
        let map = object_at(value, "tools", &place)?;
        let kind = string_in(map, "type", "tools", &place)?;
        if kind != "function" {
            let message = format!("{place}: tools of type {} are not supported, only function", quote(kind));
            return Err(ApiError::invalid("tools", message));
        }
        string_in(map, "name", "tools", &place)?;
        tools.push(tool(&map["name"], map.get("description"), map.get("parameters"), map.get("strict")));
    }
    translation.put("tools", "tools", Value::Array(tools));
    Ok(())
}

fn tool_choice(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let choice = match fields.get("tool_choice") {
        None => return Ok(()),
        Some(word @ Value::String(_)) => word.clone(),
        Some(value) => {
            let map = object_at(value, "tool_choice", "tool_choice")?;
            let kind = string_in(map, "type", "tool_choice", "tool_choice")?;
            if kind != "function" {
                let message = format!("tool_choice of type {} is not supported, only function", quote(kind));
                return Err(ApiError::invalid("tool_choice", message));
            }
            let name = string_in(map, "name", "tool_choice", "tool_choice")?;
            json!({"type": "function", "function": {"name": name}})
        }
    };
    translation.put("tool_choice", "tool_choice", choice);
    Ok(())
}

/// The format of the answer.
fn text(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let Some(value) = fields.get("text") else { return Ok(()) };
    if let Some(value) = Fields::new(object_at(value, "text", "text")?).get("format") {
        translation.put("response_format", "text.format", format(value)?);
    }
    Ok(())
}

/// A format as chat has it, where a schema stands in an object of its own.
fn format(value: &Value) -> Result<Value, ApiError> {
    let map = object_at(value, "text.format", "text.format")?;
    let kind = string_in(map, "type", "text.format", "text.format")?;
    if kind != "json_schema" {
        return Ok(value.clone());
    }
    let inner: Map<String, Value> = map
        .iter()
        .filter(|(name, _)| *name != "type")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(json!({"type": "json_schema", "json_schema": inner}))
}

/// How much the model thinks. What it thinks is in the answer whole, so no summary is made.
fn reasoning(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let Some(value) = fields.get("reasoning") else { return Ok(()) };
    let reasoning = Fields::new(object_at(value, "reasoning", "reasoning")?);
    if let Some(effort) = reasoning.get("effort") {
        translation.put("reasoning_effort", "reasoning.effort", effort.clone());
    }
    Ok(())
}

/// The instructions and all items.
fn conversation(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    match fields.get("instructions") {
        None => {}
        Some(text @ Value::String(_)) => {
            translation.message("instructions", json!({"role": "system", "content": text}));
        }
        Some(found) => return Err(wrong("instructions", "instructions", "a string", found)),
    }
    let list = match fields.get("input") {
        None => return Err(ApiError::invalid("input", "input is missing")),
        Some(text @ Value::String(_)) => {
            translation.message("input", json!({"role": "user", "content": text}));
            return Ok(());
        }
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => {
            let message = "input must be a string, or a list of at least one item";
            return Err(ApiError::invalid("input", message));
        }
    };
    for (i, item) in list.iter().enumerate() {
        let place = format!("input[{i}]");
        let map = object_at(item, "input", &place)?;
        let kind = map.get("type").filter(|kind| !kind.is_null());
        match kind.map_or(Some("message"), Value::as_str) {
            Some("message") => message(map, place, translation)?,
            Some("function_call") => function_call(map, place, translation)?,
            Some("function_call_output") => function_call_output(map, place, translation)?,
            Some("reasoning") => thought(map, place, translation)?,
            _ => {
                let kind = quote_value(kind.unwrap_or(&Value::Null));
                let message = format!("{place}: items of type {kind} are not supported");
                return Err(ApiError::invalid("input", message));
            }
        }
    }
    Ok(())
}

/// A string, or the parts of a message as chat has them.
fn content(value: &Value, place: &str) -> Result<Value, ApiError> {
    let list = match value {
        Value::String(_) => return Ok(value.clone()),
        Value::Array(list) => list,
        _ => return Err(wrong("input", place, "a string or a list of parts", value)),
    };
    let part = |(i, part): (usize, &Value)| {
        let place = format!("{place}[{i}]");
        let map = object_at(part, "input", &place)?;
        let name = match string_in(map, "type", "input", &place)? {
            "input_text" | "output_text" | "text" => "text",
            "refusal" => "refusal",
            kind => {
                let message = format!("{place}: parts of type {} are not supported", quote(kind));
                return Err(ApiError::invalid("input", message));
            }
        };
        Ok(json!({"type": "text", "text": string_in(map, name, "input", &place)?}))
    };
    list.iter().enumerate().map(part).collect()
}

/// The assistant's message that items before have begun with a thought, or a new one. Items of one
/// turn of the assistant are one message of chat.
fn assistant(translation: &mut Translation, place: String) -> &mut Value {
    let goes_on = translation.messages().last().is_some_and(|last| last["role"] == "assistant");
    if !goes_on {
        translation.message(place, json!({"role": "assistant", "content": ""}));
    }
    let last = translation.messages().len() - 1;
    &mut translation.messages()[last]
}

fn message(map: &Map<String, Value>, place: String, translation: &mut Translation) -> Result<(), ApiError> {
    let role = string_in(map, "role", "input", &place)?;
    let Some(value) = map.get("content") else {
        return Err(ApiError::invalid("input", format!("{place}.content is missing")));
    };
    let content = content(value, &format!("{place}.content"))?;
    if !matches!(role, "user" | "assistant" | "system" | "developer") {
        let expected = "must be user, assistant, system or developer";
        let message = format!("{place}.role {expected}, found {}", quote(role));
        return Err(ApiError::invalid("input", message));
    }
    if role == "assistant" {
        let message = assistant(translation, place.clone());
        if message["content"] == "" && message.get("tool_calls").is_none() {
            message["content"] = content;
            return Ok(());
        }
    }
    translation.message(place, json!({"role": role, "content": content}));
    Ok(())
}

fn function_call(
    map: &Map<String, Value>,
    place: String,
    translation: &mut Translation,
) -> Result<(), ApiError> {
    let id = string_in(map, "call_id", "input", &place)?;
    let name = string_in(map, "name", "input", &place)?;
    let arguments = string_in(map, "arguments", "input", &place)?;
    let function = json!({"name": name, "arguments": arguments});
    let call = json!({"id": id, "type": "function", "function": function});
    let message = assistant(translation, place);
    match message.get_mut("tool_calls").and_then(Value::as_array_mut) {
        Some(calls) => calls.push(call),
        None => message["tool_calls"] = json!([call]),
    }
    Ok(())
}

fn function_call_output(
    map: &Map<String, Value>,
    place: String,
    translation: &mut Translation,
) -> Result<(), ApiError> {
    let id = string_in(map, "call_id", "input", &place)?;
    let Some(output) = map.get("output") else {
        return Err(ApiError::invalid("input", format!("{place}.output is missing")));
    };
    let content = content(output, &format!("{place}.output"))?;
    translation.message(place, json!({"role": "tool", "tool_call_id": id, "content": content}));
    Ok(())
}

/// What the model thought before its next message or call. A summary of it is none.
fn thought(map: &Map<String, Value>, place: String, translation: &mut Translation) -> Result<(), ApiError> {
    let list = match map.get("content") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(list)) => list,
        Some(found) => return Err(wrong("input", &format!("{place}.content"), "a list", found)),
    };
    let mut text = String::new();
    for (i, part) in list.iter().enumerate() {
        let at = format!("{place}.content[{i}]");
        text.push_str(string_in(object_at(part, "input", &at)?, "text", "input", &at)?);
    }
    let message = json!({"role": "assistant", "content": "", "reasoning_content": text});
    translation.message(place, message);
    Ok(())
}
