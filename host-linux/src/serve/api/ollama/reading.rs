//! What both of Ollama's generating calls read.
use super::super::answer::parsed::ParsedBody;
use super::super::fields::Fields;
use super::super::parameters::OLLAMA_CHAT;
use super::super::params::unknown_model;
use super::super::translation::{Translation, template_knows, wrong};
use super::options;
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use serde_json::{Value, json};

/// The name of a model without the tag that Ollama puts behind it, unless it is part of the name.
fn untagged<'n>(name: &'n str, model: &ServedModel) -> &'n str {
    if model.answers_to(name) { name } else { name.strip_suffix(":latest").unwrap_or(name) }
}

/// The name of the model as Ollama's clients see it.
pub(super) fn tagged(name: &str) -> String {
    if name.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

/// The model that a body names, without a tag; 404 if nothing is served under that name.
pub(super) fn model_name<'f>(fields: &Fields<'f>, model: &ServedModel) -> Result<Option<&'f str>, ApiError> {
    let Some(found) = fields.get("model").or_else(|| fields.get("name")) else { return Ok(None) };
    let Some(name) = found.as_str() else { return Err(wrong("model", "model", "a string", found)) };
    let name = untagged(name, model);
    if model.answers_to(name) { Ok(Some(name)) } else { Err(unknown_model(name, model)) }
}

/// Puts what both calls have into the names of chat.
pub(super) fn translate(fields: &Fields<'_>, model: &ServedModel) -> Result<Translation, ApiError> {
    let mut translation = Translation::new(fields, OLLAMA_CHAT, "messages");
    if let Some(name) = model_name(fields, model)? {
        translation.put("model", "model", json!(name));
    }
    translation.put("stream", "stream", json!(streams(fields)?));
    options::translate(fields, model, &mut translation)?;
    logprobs(fields, &mut translation)?;
    format(fields, &mut translation)?;
    think(fields, model, &mut translation)?;
    Ok(translation)
}

/// Whether the answer is a stream, which it is unless the client says otherwise.
pub(super) fn streams(fields: &Fields<'_>) -> Result<bool, ApiError> {
    if fields.get("stream").is_none() { Ok(true) } else { fields.flag("stream") }
}

/// Probabilities of tokens, and how many in each place.
fn logprobs(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let top = fields.get("top_logprobs").filter(|top| top.as_f64() != Some(0.0));
    if let Some(top) = top {
        translation.put("top_logprobs", "top_logprobs", top.clone());
    }
    if top.is_some() || fields.flag("logprobs")? {
        translation.put("logprobs", "logprobs", json!(true));
    }
    Ok(())
}

/// The form of the answer: any JSON object, or what a schema says.
fn format(fields: &Fields<'_>, translation: &mut Translation) -> Result<(), ApiError> {
    let form = match fields.get("format") {
        None => return Ok(()),
        Some(Value::String(word)) if word.is_empty() => return Ok(()),
        Some(Value::String(word)) if word == "json" => json!({"type": "json_object"}),
        Some(schema @ Value::Object(_)) => {
            let schema = json!({"name": "format", "schema": schema, "strict": true});
            json!({"type": "json_schema", "json_schema": schema})
        }
        Some(found) => return Err(wrong("format", "format", "\"json\" or a JSON schema", found)),
    };
    translation.put("response_format", "format", form);
    Ok(())
}

/// Whether the model thinks before it answers, and how much. A model that cannot do as it is told
/// is no answer to that.
fn think(fields: &Fields<'_>, model: &ServedModel, translation: &mut Translation) -> Result<(), ApiError> {
    let refused = |message: String| Err(ApiError::invalid("think", message));
    let is_on = match fields.get("think") {
        None => return Ok(()),
        Some(Value::Bool(is_on)) => *is_on,
        Some(level @ Value::String(_)) => {
            translation.put("reasoning_effort", "think", level.clone());
            return Ok(());
        }
        Some(found) => return Err(wrong("think", "think", "true, false or a level", found)),
    };
    if template_knows(model, "enable_thinking") {
        translation.template_variable("enable_thinking", json!(is_on));
        return Ok(());
    }
    match (is_on, model.format.reasoning.is_some()) {
        (true, false) => refused(format!("think: {} does not support thinking", model.name)),
        (false, true) => refused(format!("think: {} always thinks", model.name)),
        _ => Ok(()),
    }
}

/// A body that asks for nothing but that the model is loaded, as it always is.
pub(super) fn nothing_asked(fields: &Fields<'_>) -> Result<ParsedBody, ApiError> {
    let mut parsed = ParsedBody::default();
    parsed.streaming.stream = streams(fields)?;
    Ok(parsed)
}
