//! What a body of `/v1/messages` asks for, in the names of chat.
use super::super::fields::Fields;
use super::super::parameters::MESSAGES;
use super::super::translation::{Translation, list, object_at, string_in, template_knows, tool, wrong};
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::text::quote::{quote, quote_value};
use serde_json::{Map, Value, json};

/// Puts a body into the names of chat, except for its length.
pub(super) fn translate(fields: &Fields<'_>, model: &ServedModel) -> Result<Translation, ApiError> {
    let mut translation = Translation::new(fields, MESSAGES, "messages");
    translation.carry(fields, "stream", "stream");
    stop_sequences(fields, &mut translation)?;
    tools(fields, &mut translation)?;
    tool_choice(fields, &mut translation)?;
    thinking(fields, model, &mut translation)?;
    output_config(fields, &mut translation)?;
    conversation(fields, &mut translation)?;
    Ok(translation)
}

fn stop_sequences(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    match fields.get("stop_sequences") {
        None => {}
        Some(list @ Value::Array(_)) => translation.put("stop", "stop_sequences", list.clone()),
        Some(found) => return Err(wrong("stop_sequences", "stop_sequences", "a list of strings", found)),
    }
    Ok(())
}

fn tools(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let Some(list) = list(fields, "tools")? else { return Ok(()) };
    let mut tools = Vec::with_capacity(list.len());
    for (i, value) in list.iter().enumerate() {
        let place = format!("tools[{i}]");
        let map = object_at(value, "tools", &place)?;
        let kind = map.get("type").filter(|kind| !kind.is_null());
        if let Some(kind) = kind.filter(|kind| *kind != "custom") {
            let message = format!("{place}.type = {} is not supported; only custom is", quote_value(kind));
            return Err(ApiError::invalid("tools", message));
        }
        string_in(map, "name", "tools", &place)?;
        let schema = map.get("input_schema").filter(|schema| schema.is_object());
        if schema.is_none() {
            let message = format!("{place}.input_schema must be an object");
            return Err(ApiError::invalid("tools", message));
        }
        tools.push(tool(&map["name"], map.get("description"), schema, map.get("strict")));
    }
    translation.put("tools", "tools", Value::Array(tools));
    Ok(())
}

fn tool_choice(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let Some(value) = fields.get("tool_choice") else { return Ok(()) };
    let map = object_at(value, "tool_choice", "tool_choice")?;
    let choice = match string_in(map, "type", "tool_choice", "tool_choice")? {
        kind @ ("auto" | "none") => json!(kind),
        "any" => json!("required"),
        "tool" => {
            let name = string_in(map, "name", "tool_choice", "tool_choice")?;
            json!({"type": "function", "function": {"name": name}})
        }
        kind => {
            let message = format!("tool_choice.type must be auto, any, tool or none, found {}", quote(kind));
            return Err(ApiError::invalid("tool_choice", message));
        }
    };
    translation.put("tool_choice", "tool_choice", choice);
    match map.get("disable_parallel_tool_use") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(disabled)) => {
            translation.put("parallel_tool_calls", "tool_choice", json!(!disabled));
        }
        Some(found) => {
            let place = "tool_choice.disable_parallel_tool_use";
            return Err(wrong("tool_choice", place, "true or false", found));
        }
    }
    Ok(())
}

/// Whether the model thinks before it answers, where its template knows of it.
fn thinking(fields: &Fields<'_>, model: &ServedModel, translation: &mut Translation) -> Result<(), ApiError> {
    let Some(value) = fields.get("thinking") else { return Ok(()) };
    let map = object_at(value, "thinking", "thinking")?;
    let is_on = match string_in(map, "type", "thinking", "thinking")? {
        "enabled" => true,
        "disabled" => false,
        // The model decides, as it does if nothing is said.
        "adaptive" => return Ok(()),
        kind => {
            let expected = "thinking.type must be enabled, disabled or adaptive";
            return Err(ApiError::invalid("thinking", format!("{expected}, found {}", quote(kind))));
        }
    };
    if template_knows(model, "enable_thinking") {
        translation.template_variable("enable_thinking", json!(is_on));
    } else if is_on {
        translation.ignore("thinking");
    } else if model.format.reasoning.is_some() {
        let message = "thinking.type = \"disabled\" is not supported: this model always thinks";
        return Err(ApiError::invalid("thinking", message));
    }
    Ok(())
}

/// The effort, and the format of the answer.
fn output_config(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let Some(value) = fields.get("output_config") else { return Ok(()) };
    let map = object_at(value, "output_config", "output_config")?;
    let fields = Fields::new(map);
    if let Some(effort) = fields.get("effort") {
        translation.put("reasoning_effort", "output_config", effort.clone());
    }
    let Some(format) = fields.get("format") else { return Ok(()) };
    let format = object_at(format, "output_config", "output_config.format")?;
    let kind = string_in(format, "type", "output_config", "output_config.format")?;
    let Some(schema) = format.get("schema").filter(|_| kind == "json_schema") else {
        let message = "output_config.format must have the type json_schema, and a schema";
        return Err(ApiError::invalid("output_config", message));
    };
    let schema = json!({"name": "output", "schema": schema, "strict": true});
    translation.put(
        "response_format",
        "output_config",
        json!({"type": "json_schema", "json_schema": schema}),
    );
    Ok(())
}

/// The system's text and all messages. An answer that the client has begun is continued.
fn conversation(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    if let Some(system) = fields.get("system") {
        let content = texts(system, "system", "system")?;
        translation.message("system", json!({"role": "system", "content": content}));
    }
    let list = match fields.get("messages") {
        None => return Err(ApiError::invalid("messages", "messages is missing")),
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => return Err(ApiError::invalid("messages", "messages must be a list of at least one")),
    };
    for (i, message) in list.iter().enumerate() {
        let place = format!("messages[{i}]");
        let map = object_at(message, "messages", &place)?;
        let role = string_in(map, "role", "messages", &place)?;
        let content = map.get("content").filter(|content| !content.is_null());
        let Some(content) = content else {
            return Err(ApiError::invalid("messages", format!("{place}.content is missing")));
        };
        match role {
            "user" => user(content, &place, translation)?,
            "assistant" => assistant(content, &place, translation)?,
            "system" => {
                let content = texts(content, "messages", &format!("{place}.content"))?;
                translation.message(place, json!({"role": "system", "content": content}));
            }
            _ => {
                let message =
                    format!("{place}.role must be user, assistant or system, found {}", quote(role));
                return Err(ApiError::invalid("messages", message));
            }
        }
    }
    let last = translation.messages().last();
    if last.is_some_and(|last| last["role"] == "assistant" && last.get("tool_calls").is_none()) {
        translation.put("continue_final_message", "messages", json!(true));
        translation.put("add_generation_prompt", "messages", json!(false));
    }
    Ok(())
}

/// A string, or a list of blocks of text as chat has them.
fn texts(value: &Value, param: &str, place: &str) -> Result<Value, ApiError> {
    let list = match value {
        Value::String(_) => return Ok(value.clone()),
        Value::Array(list) => list,
        _ => return Err(wrong(param, place, "a string or a list of blocks", value)),
    };
    let text = |(i, block): (usize, &Value)| {
        let place = format!("{place}[{i}]");
        let map = object_at(block, param, &place)?;
        match string_in(map, "type", param, &place)? {
            "text" => text_part(map, param, &place),
            kind => Err(unsupported_block(param, &place, kind)),
        }
    };
    list.iter().enumerate().map(text).collect()
}

fn text_part(map: &Map<String, Value>, param: &str, place: &str) -> Result<Value, ApiError> {
    let text = string_in(map, "text", param, place)?;
    Ok(json!({"type": "text", "text": text}))
}

fn unsupported_block(param: &str, place: &str, kind: &str) -> ApiError {
    ApiError::invalid(param, format!("{place}: blocks of type {} are not supported here", quote(kind)))
}

/// A user's message. Results of tools in it are messages of their own.
fn user(content: &Value, place: &str, translation: &mut Translation) -> Result<(), ApiError> {
    let Value::Array(list) = content else {
        let content = texts(content, "messages", &format!("{place}.content"))?;
        translation.message(place, json!({"role": "user", "content": content}));
        return Ok(());
    };
    let mut texts_so_far = Vec::new();
    let flush = |texts: &mut Vec<Value>, translation: &mut Translation| {
        if !texts.is_empty() {
            let content = std::mem::take(texts);
            translation.message(place, json!({"role": "user", "content": content}));
        }
    };
    for (i, block) in list.iter().enumerate() {
        let at = format!("{place}.content[{i}]");
        let map = object_at(block, "messages", &at)?;
        match string_in(map, "type", "messages", &at)? {
            "text" => texts_so_far.push(text_part(map, "messages", &at)?),
            "tool_result" => {
                flush(&mut texts_so_far, translation);
                let id = string_in(map, "tool_use_id", "messages", &at)?;
                let content = match map.get("content").filter(|content| !content.is_null()) {
                    Some(content) => texts(content, "messages", &format!("{at}.content"))?,
                    None => json!(""),
                };
                let message = json!({"role": "tool", "tool_call_id": id, "content": content});
                translation.message(at, message);
            }
            kind => return Err(unsupported_block("messages", &at, kind)),
        }
    }
    flush(&mut texts_so_far, translation);
    Ok(())
}

/// A message of the assistant: what it thought, said and called.
fn assistant(content: &Value, place: &str, translation: &mut Translation) -> Result<(), ApiError> {
    let Value::Array(list) = content else {
        let content = texts(content, "messages", &format!("{place}.content"))?;
        translation.message(place, json!({"role": "assistant", "content": content}));
        return Ok(());
    };
    let (mut thought, mut said, mut calls) = (String::new(), Vec::new(), Vec::new());
    for (i, block) in list.iter().enumerate() {
        let at = format!("{place}.content[{i}]");
        let map = object_at(block, "messages", &at)?;
        match string_in(map, "type", "messages", &at)? {
            "text" => said.push(text_part(map, "messages", &at)?),
            "thinking" => thought.push_str(string_in(map, "thinking", "messages", &at)?),
            "tool_use" => {
                let id = string_in(map, "id", "messages", &at)?;
                let name = string_in(map, "name", "messages", &at)?;
                let input = map.get("input").unwrap_or(&Value::Null);
                object_at(input, "messages", &format!("{at}.input"))?;
                let function = json!({"name": name, "arguments": input.to_string()});
                calls.push(json!({"id": id, "type": "function", "function": function}));
            }
            kind => return Err(unsupported_block("messages", &at, kind)),
        }
    }
    let mut message = json!({"role": "assistant", "content": said});
    if !thought.is_empty() {
        message["reasoning_content"] = json!(thought);
    }
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    translation.message(place, message);
    Ok(())
}
