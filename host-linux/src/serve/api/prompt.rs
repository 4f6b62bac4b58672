//! The conversation in a body, as a prompt: `messages`, the functions that are offered, and the
//! parameters of the chat template.
use super::fields::Fields;
use super::json_limits;
use super::limits::Reading;
use super::params;
use super::tools::Tools;
use crate::runtime::ServedModel;
use crate::serve::error::ApiError;
use crate::text::conversation::is_reserved;
use crate::text::quote::quote;
use crate::text::{ChatEncoder, Conversation, RenderedChat, TextError};
use serde_json::{Map, Value};

/// Variables of a template that may be given at most.
const VARIABLES_MAX: usize = 64;

fn refused(error: TextError) -> ApiError {
    ApiError::text("messages", &error)
}

fn encoder(model: &ServedModel) -> Result<ChatEncoder<'_>, ApiError> {
    ChatEncoder::new(&model.tokenizer, model.template.as_ref()).map_err(refused)
}

/// The ids of a text that [`rendered`] made. Unless they will be cut, a text that is longer than a
/// prompt may be is refused before it is tokenized.
pub fn ids(rendered: &RenderedChat, model: &ServedModel, is_cut: bool) -> Result<Vec<u32>, ApiError> {
    if !is_cut {
        params::check_text_fits(&rendered.text, model, "messages")?;
    }
    encoder(model)?.ids(&rendered.text).map_err(refused)
}

/// The text of the conversation in `messages`, in which special tokens that messages wrote are
/// marked.
pub fn rendered(fields: &Fields<'_>, tools: &Tools, reading: Reading<'_>) -> Result<RenderedChat, ApiError> {
    let wrong = |message: &str| ApiError::invalid("messages", message);
    let model = reading.model;
    let encoder = encoder(model)?;
    let list = fields.get("messages").ok_or_else(|| wrong("messages is missing"))?;
    let list = list.as_array().filter(|list| !list.is_empty());
    let messages: &[Value] = list.ok_or_else(|| wrong("messages must be a list of at least one"))?;
    json_limits::check_inner("messages", messages.iter().flat_map(arguments), reading.bounds)?;
    let continue_final_message = fields.flag("continue_final_message")?;
    let opens =
        fields.get("add_generation_prompt").map(|_| fields.flag("add_generation_prompt")).transpose()?;
    if continue_final_message && opens == Some(true) {
        let message = "continue_final_message needs add_generation_prompt to be false";
        return Err(ApiError::invalid("continue_final_message", message));
    }
    let documents = match fields.get("documents") {
        None => None,
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => Some(list.as_slice()),
        Some(_) => return Err(ApiError::invalid("documents", "documents must be a list of objects")),
    };
    if documents.is_some_and(|list| !list.is_empty()) && !knows(model, "documents") {
        return Err(not_known("documents"));
    }
    let variables = variables(fields, model)?;
    let rendered = encoder.render(&Conversation {
        messages,
        tools: &tools.listed,
        documents,
        variables: Some(&variables),
        add_generation_prompt: opens.unwrap_or(!continue_final_message),
        continue_final_message,
    });
    rendered.map_err(refused)
}

/// The arguments of a message's calls that are texts; objects are made of them.
fn arguments(message: &Value) -> impl Iterator<Item = &str> {
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    calls.filter_map(|call| call["function"]["arguments"].as_str())
}

fn knows(model: &ServedModel, name: &str) -> bool {
    model.template.as_ref().is_some_and(|template| template.knows(name))
}

fn not_known(param: &str) -> ApiError {
    ApiError::invalid(param, format!("{param} is not supported: the model's chat template does not know it"))
}

/// Reads `chat_template_kwargs` and `reasoning_effort`, which templates know by that name.
fn variables(fields: &Fields<'_>, model: &ServedModel) -> Result<Map<String, Value>, ApiError> {
    let param = "chat_template_kwargs";
    let wrong = |message: String| ApiError::invalid(param, message);
    let mut variables = match fields.get(param) {
        None => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(_) => return Err(wrong(format!("{param} must be an object"))),
    };
    if variables.len() > VARIABLES_MAX {
        let message = format!("{param} has {} names, at most {VARIABLES_MAX} are allowed", variables.len());
        return Err(wrong(message));
    }
    if let Some(name) = variables.keys().find(|name| is_reserved(name)) {
        return Err(wrong(format!("{param} must not set {}", quote(name))));
    }
    let param = "reasoning_effort";
    if let Some(effort) = fields.get(param) {
        if !knows(model, param) {
            return Err(not_known(param));
        }
        if !effort.is_string() {
            return Err(ApiError::invalid(param, "reasoning_effort must be a string"));
        }
        variables.insert(param.to_owned(), effort.clone());
    }
    Ok(variables)
}
