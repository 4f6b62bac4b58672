//! The schemas of answers, as far as every answer has these fields.
use serde_json::{Value, json};

/// An object with these fields at least.
fn with(fields: &Value) -> Value {
    let names: Vec<&String> = fields.as_object().into_iter().flat_map(|map| map.keys()).collect();
    json!({"type": "object", "properties": fields, "required": names})
}

fn string() -> Value {
    json!({"type": "string"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn texts() -> Value {
    json!({"type": "array", "items": string()})
}

/// The field of an answer that only Verbatim's have.
fn verbatim() -> Value {
    json!({"type": "object", "properties": {"seed": count(), "ignored": texts()}, "required": ["seed"]})
}

fn usage() -> Value {
    with(&json!({"prompt_tokens": count(), "completion_tokens": count(), "total_tokens": count()}))
}

/// An answer with choices of these fields.
fn choices(object: &str, choice: &Value) -> Value {
    with(&json!({
        "id": string(),
        "object": {"const": object},
        "created": count(),
        "model": string(),
        "system_fingerprint": string(),
        "choices": {"type": "array", "items": with(choice)},
        "usage": usage(),
        "verbatim": verbatim(),
    }))
}

pub(super) fn completion() -> Value {
    choices(
        "text_completion",
        &json!({
            "index": count(),
            "text": string(),
            "logprobs": {"type": ["object", "null"]},
            "finish_reason": {"enum": ["stop", "length"]},
        }),
    )
}

pub(super) fn chat() -> Value {
    let message = with(&json!({"role": {"const": "assistant"}, "content": {"type": ["string", "null"]}}));
    choices(
        "chat.completion",
        &json!({
            "index": count(),
            "message": message,
            "logprobs": {"type": ["object", "null"]},
            "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
        }),
    )
}

pub(super) fn response() -> Value {
    with(&json!({
        "id": string(), "object": {"const": "response"}, "status": string(),
        "output": {"type": "array", "items": {"type": "object"}},
    }))
}

pub(super) fn message() -> Value {
    with(&json!({
        "id": string(), "type": {"const": "message"}, "role": {"const": "assistant"},
        "content": {"type": "array", "items": {"type": "object"}},
        "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use"]},
    }))
}

pub(super) fn token_count() -> Value {
    with(&json!({"input_tokens": count()}))
}

pub(super) fn list() -> Value {
    with(&json!({"object": {"const": "list"}, "data": {"type": "array", "items": {"type": "object"}}}))
}

pub(super) fn object() -> Value {
    json!({"type": "object"})
}

pub(super) fn model() -> Value {
    with(&json!({"id": string(), "object": {"const": "model"}, "created": count(), "max_model_len": count()}))
}

pub(super) fn tokens() -> Value {
    with(&json!({"tokens": {"type": "array"}}))
}

pub(super) fn text() -> Value {
    with(&json!({"prompt": string(), "content": string()}))
}

pub(super) fn prompt() -> Value {
    with(&json!({"prompt": string()}))
}

pub(super) fn status() -> Value {
    with(&json!({"status": string()}))
}

/// An error as OpenAI's clients expect it.
pub(super) fn openai_error() -> Value {
    let nullable = json!({"type": ["string", "null"]});
    with(&json!({"error": with(&json!({
        "message": string(), "type": string(), "param": nullable, "code": nullable,
    }))}))
}

/// An error as Anthropic's clients expect it.
pub(super) fn anthropic_error() -> Value {
    with(&json!({"type": {"const": "error"}, "error": with(&json!({"type": string(), "message": string()}))}))
}

/// An error as Ollama's clients expect it.
pub(super) fn ollama_error() -> Value {
    with(&json!({"error": string()}))
}
