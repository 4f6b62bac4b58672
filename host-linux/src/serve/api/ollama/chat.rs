//! `POST /api/chat`: a conversation's next message, as Ollama's clients ask for it.
use super::super::answer;
use super::super::answer::parsed::ParsedBody;
use super::super::answer::writer::{AnswerWriter, Head};
use super::super::chat::Chat;
use super::super::dialect::Dialect;
use super::super::fields::Fields;
use super::super::limits::Reading;
use super::super::parameters::{Endpoints, OLLAMA_CHAT};
use super::super::translation::{Translation, object_at, string_in, wrong};
use super::output::{Lines, Shape};
use super::reading;
use crate::serve::error::ApiError;
use crate::serve::error_shape;
use crate::serve::events::Framing;
use crate::serve::exchange::Exchange;
use serde_json::{Map, Value, json};

/// The dialect of this endpoint.
#[derive(Clone, Copy, Debug)]
pub struct OllamaChat;

/// Generates and answers, whole or in lines.
pub fn handle(exchange: &mut Exchange<'_>) -> Result<(), ApiError> {
    answer::generate(&OllamaChat, exchange)
}

impl Dialect for OllamaChat {
    fn endpoint(&self) -> Endpoints {
        OLLAMA_CHAT
    }

    fn parse(&self, fields: &Fields<'_>, reading: Reading<'_>) -> Result<ParsedBody, ApiError> {
        let mut translation = reading::translate(fields, reading.model)?;
        translation.carry(fields, "tools", "tools");
        let list = match fields.get("messages") {
            None => &[][..],
            Some(Value::Array(list)) => list,
            Some(found) => return Err(wrong("messages", "messages", "a list", found)),
        };
        if list.is_empty() {
            return reading::nothing_asked(fields);
        }
        conversation(list, &mut translation)?;
        translation.read(&Chat, reading)
    }

    fn id_prefix(&self) -> &'static str {
        "chat-"
    }

    fn framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn error(&self, error: &ApiError) -> Value {
        error_shape::ollama(error)
    }

    fn writer<'a>(&self, head: Head<'a>) -> Box<dyn AnswerWriter + 'a> {
        Box::new(Lines::new(head, Shape::Message))
    }
}

/// Adds all messages. Calls of tools have no ids here, or new ones; results of tools name the tool
/// or the call, or follow the calls in their order.
pub(super) fn conversation(list: &[Value], translation: &mut Translation) -> Result<(), ApiError> {
    let mut open_calls: Vec<OpenCall> = Vec::new();
    for (i, message) in list.iter().enumerate() {
        let place = format!("messages[{i}]");
        let map = object_at(message, "messages", &place)?;
        let role = string_in(map, "role", "messages", &place)?;
        if map.get("images").and_then(Value::as_array).is_some_and(|images| !images.is_empty()) {
            let message = format!("{place}.images: the model reads text alone");
            return Err(ApiError::invalid("messages", message));
        }
        let content = map.get("content").cloned().unwrap_or(Value::Null);
        let mut translated = json!({"role": role, "content": content});
        if let Some(thought) = map.get("thinking").filter(|thought| thought.is_string()) {
            translated["reasoning_content"] = thought.clone();
        }
        if let Some(calls) = map.get("tool_calls").and_then(Value::as_array).filter(|calls| !calls.is_empty())
        {
            let (calls, open) = calls_of(calls, &place, i)?;
            translated["tool_calls"] = calls;
            open_calls = open;
        }
        if role == "tool" {
            let call = answered(map, &mut open_calls);
            for (name, value) in [("tool_call_id", call.id), ("name", call.name)] {
                if !value.is_empty() {
                    translated[name] = json!(value);
                }
            }
        }
        translation.message(place, translated);
    }
    Ok(())
}

/// A call that no message has answered.
#[derive(Clone, Debug, Default)]
struct OpenCall {
    id: String,
    name: String,
}

/// The calls of a message as chat has them, and as they wait for answers.
fn calls_of(calls: &[Value], place: &str, message: usize) -> Result<(Value, Vec<OpenCall>), ApiError> {
    let (mut list, mut open) = (Vec::new(), Vec::new());
    for (i, call) in calls.iter().enumerate() {
        let at = format!("{place}.tool_calls[{i}]");
        let map = object_at(call, "messages", &at)?;
        let at = format!("{at}.function");
        let function = object_at(map.get("function").unwrap_or(&Value::Null), "messages", &at)?;
        let name = string_in(function, "name", "messages", &at)?;
        let arguments = function.get("arguments").cloned().unwrap_or_else(|| json!({}));
        object_at(&arguments, "messages", &format!("{at}.arguments"))?;
        let id = match map.get("id") {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            _ => format!("call_{message}_{i}"),
        };
        let function = json!({"name": name, "arguments": arguments.to_string()});
        list.push(json!({"id": id, "type": "function", "function": function}));
        open.push(OpenCall { id, name: name.to_owned() });
    }
    Ok((Value::Array(list), open))
}

/// The call that a tool's message answers, which then waits no more.
fn answered(message: &Map<String, Value>, open: &mut Vec<OpenCall>) -> OpenCall {
    let text = |name: &str| message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (id, name) = (text("tool_call_id"), text("tool_name").or_else(|| text("name")));
    let found = match (id, name) {
        (Some(id), _) => open.iter().position(|call| call.id == id),
        (None, Some(name)) => open.iter().position(|call| call.name == name),
        (None, None) => (!open.is_empty()).then_some(0),
    };
    let call = found.map(|at| open.remove(at)).unwrap_or_default();
    OpenCall { id: id.map_or(call.id, str::to_owned), name: name.map_or(call.name, str::to_owned) }
}
